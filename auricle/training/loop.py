"""Training: one visible loop.

Nothing random is kept between steps: what a step draws is a function of (seed, step).  That is why a run that
was killed and resumed ends, on a CPU, with the same weights bit for bit as one that was not.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from auricle.augment import mix, random_gain, random_masks, random_speed, source_samples
from auricle.disk import full_disk_told
from auricle.progress import Progress
from auricle.sampling import PatchSampler, hash_uint64
from auricle.shards import Pack
from auricle.shards.layout import locked
from auricle.training.batches import Batch, Batches
from auricle.training.checkpoints import load_checkpoint, open_run, save_checkpoint
from auricle.training.config import TrainConfig
from auricle.training.data import choose_clips, make_sampler, padding_in_words
from auricle.training.devices import full_memory_told, pick_device, pick_dtype, set_up
from auricle.training.log import RunLog
from auricle.training.outcome import LiveRunner, find_embedder, save_model
from auricle.training.stages import Stage, begin_finetuning, plan_stages, stage_in_words
from auricle.training.start import in_words, take_weights
from auricle.training.state import State, as_saved, follow, make_state, restore
from auricle.training.validation import validate

MONITOR = "map"  # what makes a checkpoint the best
TOO_LITTLE = ("more than 1 value per channel", "batch norm cannot train on")  # in torch's errors, and in ours
OnValidation = Callable[[int, int, Mapping[str, float]], None]  # step, of how many, figures


class Diverged(ValueError):
    """The loss is no longer a number.

    >>> issubclass(Diverged, ValueError)
    True
    """


def train(
    config: TrainConfig,
    out: str | Path,
    *,
    resume: bool = False,
    quiet: bool = False,
    on_validation: OnValidation | None = None,
) -> Path:
    """Train a model on a pack.

    Args:
        config: everything that decides the result.
        out: the run's folder: config.json, log.jsonl, tensorboard/, checkpoint.pt, and the models best/ (by
            validation mAP, where there is a validation split) and last/; of a two-step training also stage1/,
            what step one leaves.
        resume: go on from the run's last checkpoint; a finished run is left as it is.
        quiet: print nothing.
        on_validation: called after each validation with the step, how many there are (of both stages), and
            the figures. What it raises ends the run, which can be resumed.

    Returns:
        The folder of the trained model: RUN/best with a validation split, RUN/last without.

    Raises:
        ValueError: the pack, the folder or the configuration do not fit (the message says which).
        Diverged: the loss is no longer a number; a ValueError too.
        OutOfMemoryError: the batch does not fit into memory; a ValueError too, and torch's.

    >>> train(TrainConfig(data=Path("packs/birds"), epochs=20), "runs/birds")  # doctest: +SKIP
    PosixPath('runs/birds/best')
    """
    run, pack = Path(out), Pack(config.data)
    device = pick_device(config.device)
    set_up(device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    embeddings = pack.embeddings(config.embeddings) if config.embeddings else None
    train_clips, validation_clips = choose_clips(pack, config)
    sampler = make_sampler(pack, train_clips, config, embeddings)
    stages = plan_stages(config, sampler.epoch_size)
    labels = pack.label_names(config.label_set)
    if not labels:
        raise ValueError(
            f"{config.data}: label set {config.label_set!r} has no label, so there is nothing to learn"
        )
    with full_memory_told(device, config):
        state = make_state(config, len(labels), device, embeddings)
    dtype = pick_dtype(config.precision, device)
    live = LiveRunner(config, pack, state.average, device, dtype, embeddings=embeddings)
    if embeddings is not None:
        find_embedder(config, embeddings)  # now, rather than when the first model is to be kept
    if config.init_from and not resume:
        state.start = take_weights(state.net, config)  # a model that does not fit leaves no run behind
    run.mkdir(parents=True, exist_ok=True)
    remedy = "make room and go on with --resume"
    with locked(run), full_disk_told(run, remedy), full_memory_told(device, config):
        open_run(run, config, pack, resume=resume)
        saved = load_checkpoint(run)
        if saved is not None:
            restore(state, saved)
        elif config.init_from:
            state.start = state.start or take_weights(state.net, config)
            state.average.load_state_dict(state.net.state_dict())
        if state.step < stages[-1].end or not (run / "last").is_dir():
            clips = (train_clips, validation_clips)
            run_steps(
                state,
                stages,
                config,
                run,
                pack,
                sampler,
                clips,
                live,
                quiet=quiet,
                on_validation=on_validation,
            )
    return run / ("best" if (run / "best").is_dir() else "last")


def run_steps(
    state: State,
    stages: list[Stage],
    config: TrainConfig,
    run: Path,
    pack: Pack,
    sampler: PatchSampler,
    clips: tuple[np.ndarray, np.ndarray],
    live: LiveRunner,
    *,
    quiet: bool,
    on_validation: OnValidation | None = None,
) -> None:
    """The loop: from the state's step to the last; log, validation, models and checkpoints on the way."""
    steps = stages[-1].end
    reading = read_ahead(pack, clips[0], sampler, range(state.step, steps), live, config)
    progress = Progress(steps, "training", "steps", quiet=quiet)
    with reading as batches, RunLog(run, state.step) as log, progress:
        progress.resume_at(state.step)
        counts = {"train_clips": len(clips[0]), "validation_clips": len(clips[1])}
        where = {"device": str(live.device), "dtype": str(live.dtype).removeprefix("torch.")}
        log.write(step=state.step, event="start", steps=steps, **counts, **where)
        if state.start and not state.step:
            progress.note(in_words(state.start))
            log.write(step=0, event="init", **state.start)
        if not state.step and (warning := padding_in_words(pack, clips[0], config)):
            progress.note(warning)
        loss = 0.0
        for stage in stages:
            if stage.number > 1 and state.step == stage.first:
                save_model(run / "stage1", config, pack, live, state)
                begin_finetuning(state, stage.config)
            if stage.first <= state.step < stage.end and len(stages) > 1:
                progress.note(stage_in_words(stage))
                now = {"mixing": stage.config.mixing, "learning_rate": stage.config.learning_rate}
                log.write(step=state.step, event="stage", stage=stage.number, steps=stage.steps, **now)
            for step in range(state.step, stage.end):
                rate = learning_rate(stage.config, step - stage.first, stage.steps)
                figures = update(state, batches.next(), rate, live, stage.config)
                logging, validating, saving = (
                    is_due(state.step, every, stage.end)
                    for every in (config.log_every, config.validate_every, config.checkpoint_every)
                )
                # On a GPU a figure is only looked at when needed: that waits for all that was sent there.
                if logging or validating or saving or live.device.type == "cpu":
                    loss = finite(state.loss.item(), run, step)
                if logging:
                    shown = {name: float(value) for name, value in figures.items()}
                    shown = {"loss": loss, "waited": batches.waited()} | shown
                    log.write(step=state.step, stage=stage.number, **shown)
                validating = validating and len(clips[1]) > 0
                if validating:
                    state.metrics = validate(live, pack, clips[1], config)
                    judged = {f"validation_{name}": value for name, value in state.metrics.items()}
                    log.write(step=state.step, stage=stage.number, **judged)
                    progress.note(f"step {state.step}: loss {loss:.3f}, {validation_in_words(state.metrics)}")
                    if state.metrics[MONITOR] > state.best:
                        state.best = state.metrics[MONITOR]
                        save_model(run / "best", config, pack, live, state)
                if saving:
                    save_checkpoint(run, as_saved(state))
                if validating and on_validation is not None:  # after the checkpoint: it may end the run
                    on_validation(state.step, steps, state.metrics)
                progress.advance(note=f"stage {stage.number}, " * (len(stages) > 1) + f"loss {loss:.3f}")
    save_model(run / "last", config, pack, live, state)


def read_ahead(
    pack: Pack,
    clips: np.ndarray,
    sampler: PatchSampler,
    steps: range,
    live: LiveRunner,
    config: TrainConfig,
) -> Batches:
    """The batches of these steps, read by a thread."""
    from_audio = source_samples(config.window, config.speed_spread)
    return Batches(
        pack,
        clips,
        sampler,
        samples=from_audio if live.embeddings is None else config.embedding_windows,
        label_set=config.label_set,
        steps=steps,
        embeddings=live.embeddings,
        pin=live.device.type == "cuda",
    )


def finite(loss: float, run: Path, step: int) -> float:
    """The loss, if it is a number.

    >>> finite(0.5, Path("run"), 3)
    0.5
    """
    if not math.isfinite(loss):
        raise Diverged(
            f"{run}: the loss of step {step} is {loss}; lower learning_rate, or set precision=float32"
        )
    return loss


def validation_in_words(metrics: Mapping[str, float]) -> str:
    """What is shown of a validation.

    >>> validation_in_words({"map": 0.5, "accuracy": 0.25, "auc": 0.75})
    'validation mAP 0.500, accuracy 0.250'
    """
    return f"validation mAP {metrics['map']:.3f}, accuracy {metrics['accuracy']:.3f}"


def update(
    state: State, batch: Batch, rate: float, live: LiveRunner, config: TrainConfig
) -> dict[str, float | Tensor]:
    """One step: batch to gradient to weights to their average. Returns figures for the log.

    The batch is mixed whole, before it is cut into parts.
    """
    step = state.step
    of_stage = step - state.began
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    generator = seed_step(config.seed, step, live.device)
    batch = batch.to(live.device)
    inputs, targets = batch.inputs, batch.targets(len(live.artifact.labels))
    if live.embeddings is None:
        inputs, targets = augment(inputs, targets, generator, live.frontend, config)

    state.net.train()
    state.optimizer.zero_grad()
    loss = torch.zeros((), device=live.device)
    count = parts_of(len(targets), config.accumulate)
    for some, wanted in zip(inputs.tensor_split(count), targets.tensor_split(count), strict=True):
        part = summed_loss(state, some.float(), wanted, live) / len(targets)
        part.backward()
        loss += part.detach()
    parameters = list(state.net.parameters())
    if config.clip_norm is None:
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    else:
        norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
    state.optimizer.step()
    state.step = step + 1
    if state.average is not state.net:
        follow(state.average, state.net, decay=min(config.average, (1 + of_stage) / (10 + of_stage)))
    state.loss += (loss.double() - state.loss) / min(of_stage + 1, 50)
    return {"learning_rate": rate, "gradient_norm": norm}


def parts_of(batch: int, accumulate: int) -> int:
    """How many parts a batch goes through in: as few as hold no more than the largest of `accumulate` ones.

    6 in 4 parts are 2, 2 and 2, not 2, 2, 1 and 1: batch norm wants more than one clip where that may be.

    >>> [parts_of(6, accumulate) for accumulate in (1, 2, 4, 5, 6)]
    [1, 2, 3, 3, 6]
    """
    return math.ceil(batch / math.ceil(batch / accumulate))


def summed_loss(state: State, inputs: Tensor, targets_BK: Tensor, live: LiveRunner) -> Tensor:
    """Sigmoid cross-entropy summed over classes and patches; of several predictions, the mean of theirs."""
    with (
        torch.autocast(live.device.type, live.dtype, enabled=live.dtype != torch.float32),
        norms_told(inputs),
    ):
        predicted = state.predict(inputs)
    several = predicted if isinstance(predicted, (list, tuple)) else [predicted]
    losses = [
        functional.binary_cross_entropy_with_logits(logits.float(), targets_BK, reduction="sum")
        for logits in several
    ]
    return losses[0] if len(losses) == 1 else torch.stack(losses).mean()


@contextmanager
def norms_told(inputs: Tensor) -> Iterator[None]:
    """Batch norm's error of too little to train on names a map within the net: this names what came in.

    >>> with norms_told(torch.zeros(1, 1, 128)):
    ...     torch.nn.BatchNorm1d(2)(torch.zeros(1, 2))
    Traceback (most recent call last):
    ValueError: (1, 1, 128) at a time leaves batch norm a single value to train on; expected more examples, or
    longer ones: set a larger batch, a smaller accumulate, or a larger window
    """
    try:
        yield
    except ValueError as error:
        if not any(words in str(error) for words in TOO_LITTLE):
            raise
        raise ValueError(
            f"{tuple(inputs.shape)} at a time leaves batch norm a single value to train on; expected more "
            "examples, or longer ones: set a larger batch, a smaller accumulate, or a larger window"
        ) from None


def augment(
    waveform_BN: Tensor,
    targets_BK: Tensor,
    generator: torch.Generator,
    frontend: nn.Module,
    config: TrainConfig,
) -> tuple[Tensor, Tensor]:
    """From stored PCM to what the network sees: speed, mixing and gain, the front end, masks."""
    waveform_BN = waveform_BN.float() / 32768
    waveform_BN = random_speed(waveform_BN, generator, samples=config.window, spread=config.speed_spread)
    waveform_BN, targets_BK = mix(
        waveform_BN, targets_BK, generator, how=config.mixing, mix_range=config.mix_range
    )
    if config.gain_decibels:
        waveform_BN = random_gain(waveform_BN, generator, decibels=config.gain_decibels)
    logmel = frontend(waveform_BN)
    if config.mask_frames or config.mask_bands:
        logmel = random_masks(logmel, generator, frames=config.mask_frames, bands=config.mask_bands)
    return logmel, targets_BK


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
