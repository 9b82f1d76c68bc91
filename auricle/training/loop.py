"""Training: one visible loop.

Nothing random is kept between steps: what a step draws is a function of (seed, step).  That is why a run that
was killed and resumed ends, on a CPU, with the same weights bit for bit as one that was not.
"""

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from auricle.augment import mix, random_gain, random_masks, random_speed, source_samples
from auricle.evaluation import score_clips
from auricle.frontend import LogMel
from auricle.metrics.ranking import summarise
from auricle.models import build
from auricle.progress import Progress
from auricle.sampling import PatchSampler, hash_uint64
from auricle.shards import Pack
from auricle.shards.layout import locked
from auricle.training.batches import Batches
from auricle.training.checkpoints import load_checkpoint, open_run, save_checkpoint
from auricle.training.config import TrainConfig
from auricle.training.log import RunLog
from auricle.training.outcome import LiveRunner, save_model

MONITOR = "map"  # what makes a checkpoint the best


@dataclass
class State:
    """All that changes from step to step."""

    net: nn.Module
    average: nn.Module  # running average of the net: validated and kept
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = -math.inf
    loss: float = 0.0  # running mean


def train(config: TrainConfig, out: str | Path, *, resume: bool = False, quiet: bool = False) -> Path:
    """Train a model on a pack.

    Args:
        config: everything that decides the result.
        out: the run's folder: config.json, log.jsonl, tensorboard/, checkpoint.pt, and the models best/ (by
            validation mAP, where there is a validation split) and last/.
        resume: go on from the run's last checkpoint; a finished run is left as it is.
        quiet: print nothing.

    Returns:
        The folder of the trained model: RUN/best with a validation split, RUN/last without.

    Raises:
        ValueError: the pack, the folder or the configuration do not fit (the message says which), or the loss
            is no longer a number.

    >>> train(TrainConfig(data=Path("packs/birds"), epochs=20), "runs/birds")  # doctest: +SKIP
    PosixPath('runs/birds/best')
    """
    run, pack = Path(out), Pack(config.data)
    device = pick_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    train_clips, validation_clips = choose_clips(pack, config)
    sampler = make_sampler(pack, train_clips, config)
    steps = config.steps or max(1, round(float(config.epochs or 0) * sampler.epoch_size / config.batch))
    labels = pack.label_names(config.label_set)
    if not labels:
        raise ValueError(
            f"{config.data}: label set {config.label_set!r} has no label, so there is nothing to learn"
        )
    state = make_state(config, len(labels), device)
    live = LiveRunner(config, pack, state.average, device, pick_dtype(config.precision, device))
    run.mkdir(parents=True, exist_ok=True)
    with locked(run):
        open_run(run, config, pack, resume=resume)
        saved = load_checkpoint(run)
        if saved is not None:
            restore(state, saved)
        if state.step < steps or not (run / "last").is_dir():
            run_steps(
                state, steps, config, run, pack, sampler, (train_clips, validation_clips), live, quiet=quiet
            )
    return run / ("best" if (run / "best").is_dir() else "last")


def run_steps(
    state: State,
    steps: int,
    config: TrainConfig,
    run: Path,
    pack: Pack,
    sampler: PatchSampler,
    clips: tuple[np.ndarray, np.ndarray],
    live: LiveRunner,
    *,
    quiet: bool,
) -> None:
    """The loop: from the state's step to the last; log, validation, models and checkpoints on the way."""
    reading = Batches(
        pack,
        clips[0],
        sampler,
        samples=source_samples(config.window, config.speed_spread),
        label_set=config.label_set,
        steps=range(state.step, steps),
        pin=live.device.type == "cuda",
    )
    progress = Progress(steps, "training", "steps", quiet=quiet)
    metrics: dict[str, float] = {}
    with reading as batches, RunLog(run, state.step) as log, progress:
        progress.resume_at(state.step)
        counts = {"train_clips": len(clips[0]), "validation_clips": len(clips[1])}
        where = {"device": str(live.device), "dtype": str(live.dtype).removeprefix("torch.")}
        log.write(step=state.step, event="start", steps=steps, **counts, **where)
        for step in range(state.step, steps):
            figures = update(state, batches.next(), learning_rate(config, step, steps), live, config)
            if not math.isfinite(state.loss):
                raise ValueError(
                    f"{run}: the loss of step {step} is {state.loss}; lower learning_rate, or set "
                    "precision=float32"
                )
            if is_due(state.step, config.log_every, steps):
                log.write(step=state.step, loss=state.loss, **figures)
            if len(clips[1]) and is_due(state.step, config.validate_every, steps):
                metrics = validate(live, pack, clips[1], config)
                log.write(step=state.step, **{f"validation_{name}": value for name, value in metrics.items()})
                shown = f"mAP {metrics['map']:.3f}, accuracy {metrics['accuracy']:.3f}"
                progress.note(f"step {state.step}: loss {state.loss:.3f}, validation {shown}")
                if metrics[MONITOR] > state.best:
                    state.best = metrics[MONITOR]
                    save_model(run / "best", config, pack, live, step=state.step, metrics=metrics)
            if is_due(state.step, config.checkpoint_every, steps):
                save_checkpoint(run, as_saved(state))
            progress.advance(note=f"loss {state.loss:.3f}")
    save_model(run / "last", config, pack, live, step=state.step, metrics=metrics)


def update(
    state: State,
    batch: tuple[Tensor, Tensor],
    rate: float,
    live: LiveRunner,
    config: TrainConfig,
) -> dict[str, float]:
    """One step: batch to gradient to weights to their average. Returns figures for the log."""
    step, device, dtype = state.step, live.device, live.dtype
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    generator = seed_step(config.seed, step, device)
    waveform, targets = (part.to(device, non_blocking=True) for part in batch)
    logmel, targets = augment(waveform, targets, generator, live.frontend, config)

    state.net.train()
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = state.net(logmel)
    loss = functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum") / len(
        targets
    )
    state.optimizer.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(state.net.parameters(), config.clip_norm)
    state.optimizer.step()
    state.step = step + 1
    follow(state.average, state.net, decay=min(config.average, (1 + step) / (10 + step)))
    state.loss += (loss.item() - state.loss) / min(step + 1, 50)
    return {"learning_rate": rate, "gradient_norm": norm.item()}


def augment(
    waveform_BN: Tensor, targets_BK: Tensor, generator: torch.Generator, frontend: LogMel, config: TrainConfig
) -> tuple[Tensor, Tensor]:
    """From stored PCM to what the network sees: speed, mixing and gain, the front end, masks."""
    waveform_BN = waveform_BN.float() / 32768
    waveform_BN = random_speed(waveform_BN, generator, samples=config.window, spread=config.speed_spread)
    waveform_BN, targets_BK = mix(waveform_BN, targets_BK, generator, how=config.mixing)
    if config.gain_decibels:
        waveform_BN = random_gain(waveform_BN, generator, decibels=config.gain_decibels)
    logmel = frontend(waveform_BN)
    if config.mask_frames or config.mask_bands:
        logmel = random_masks(logmel, generator, frames=config.mask_frames, bands=config.mask_bands)
    return logmel, targets_BK


def choose_clips(pack: Pack, config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """The pack's clips to train on and to validate on; no group is in both."""
    allowed = pack.select(None, config.where)
    held = np.zeros(len(pack), bool)
    if config.validation_splits:
        held[pack.select(config.validation_splits)] = True
    elif config.validation_fraction:
        chosen = pack.select(config.train_splits)
        groups, of_clip = np.unique(pack.groups[chosen].astype(str), return_inverse=True)
        order = np.argsort(hash_uint64(config.seed, np.arange(len(groups)), 5))
        held_groups = order[: round(config.validation_fraction * len(groups))]
        held[chosen[np.isin(of_clip, held_groups)]] = True
    validation = allowed[held[allowed]]
    candidates = np.intersect1d(allowed, pack.select(config.train_splits))
    train_clips = candidates[~held[candidates]]
    if not len(train_clips):
        raise ValueError(
            f"{config.data}: no clip left to train on with train_splits={config.train_splits}, "
            f"validation_splits={config.validation_splits}, where={config.where}"
        )
    return train_clips, validation


def make_sampler(pack: Pack, clips: np.ndarray, config: TrainConfig) -> PatchSampler:
    """Over the chosen clips, numbered from 0; trailing digital silence is not drawn from."""
    label_clips = None
    if config.balance == "classes":
        targets = pack.targets(clips, config.label_set) > 0
        label_clips = (np.concatenate([[0], np.cumsum(targets.sum(0))]), np.nonzero(targets.T)[1])
    return PatchSampler(
        pack.audible[clips],
        patch=source_samples(config.window, config.speed_spread),
        batch=config.batch,
        seed=config.seed,
        balance=config.balance,
        label_clips=label_clips,
    )


def make_state(config: TrainConfig, num_classes: int, device: torch.device) -> State:
    """A fresh net, its average and the optimizer; the same seed gives the same net."""
    torch.manual_seed(config.seed)
    net = build(config.model, num_classes=num_classes, **config.model_arguments)
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(net).requires_grad_(False).eval()
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer]
    return State(net, average, kind(groups, lr=config.learning_rate, fused=True))


def as_saved(state: State) -> dict[str, Any]:
    """The state as a checkpoint holds it."""
    return {
        "net": state.net.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "best": state.best,
        "loss": state.loss,
    }


def restore(state: State, saved: dict[str, Any]) -> None:
    """Put a checkpoint back."""
    state.net.load_state_dict(saved["net"])
    state.average.load_state_dict(saved["average"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.step, state.best, state.loss = saved["step"], saved["best"], saved["loss"]


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, *, decay: float) -> None:
    """Move the average a step towards the net, its statistics included."""
    mine, theirs = (list(module.state_dict().values()) for module in (average, net))
    pairs = list(zip(mine, theirs, strict=True))
    floating = [(a, b) for a, b in pairs if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floating], [b for _, b in floating], 1 - decay)
    for a, b in pairs:
        if not a.is_floating_point():
            a.copy_(b)


def validate(live: LiveRunner, pack: Pack, clips: np.ndarray, config: TrainConfig) -> dict[str, float]:
    """Metrics on the validation clips."""
    scores = score_clips(live, pack, clips, batch=live.batch, quiet=True)
    summary = summarise(pack.targets(clips, config.label_set) > 0, scores)
    return {name: float(value) for name, value in summary.items()}


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The rate of a step: a linear rise, then the schedule.

    >>> config = TrainConfig(data=Path("pack"), steps=10, learning_rate=1.0, warmup_steps=0, schedule="step")
    >>> [learning_rate(config, step, 17) for step in (0, 12, 13)]
    [1.0, 1.0, 0.1]
    """
    rise = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    shape = 1.0
    if config.schedule == "cosine":
        shape = 0.5 + 0.5 * math.cos(math.pi * step / steps)
    elif config.schedule == "step" and step >= config.drop_at * steps:
        shape = 0.1
    return config.learning_rate * rise * shape


def seed_step(seed: int, step: int, device: torch.device) -> torch.Generator:
    """The generator of a step's augmentation; torch's own, for dropout, is seeded beside it."""
    number = int(hash_uint64(seed, step, 11)) >> 1
    torch.manual_seed(number)
    return torch.Generator(device).manual_seed(number)


def is_due(step: int, every: int, steps: int) -> bool:
    """Whether something done every so many steps, and at the end, is done now.

    >>> [is_due(step, 2, 5) for step in (1, 2, 5)]
    [False, True, True]
    """
    return step % every == 0 or step == steps


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is the GPU where there is one.

    >>> pick_device("cpu").type
    'cpu'
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device is {name!r}; expected cpu, cuda, cuda:1 or auto") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but torch sees no CUDA device here; use --device cpu")
    return device


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What the network computes in: "auto" is bfloat16 where the hardware has it.

    >>> pick_dtype("float32", torch.device("cpu"))
    torch.float32
    """
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported()
        else:
            able = torch.cpu.get_capabilities()
            fast = bool(able.get("avx512_bf16") or able.get("amx_bf16"))
        precision = "bfloat16" if fast else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32
