"""One step of training: a batch, what is done to its sound, the gradient, the weights.

Shape letters: B patches, N samples, K classes.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from auricle import distributed
from auricle.augment import mix, random_masks, random_speed
from auricle.changes import apply_changes, draw_changes, generator_of_step
from auricle.degrade import degrade, equalize
from auricle.features import FeatureConfig, in_decibels
from auricle.sampling import hash_uint64, share
from auricle.training.batches import Batch
from auricle.training.config import TrainConfig
from auricle.training.objective import cross_entropy
from auricle.training.outcome import LiveRunner
from auricle.training.state import State, follow
from auricle.training.task import NO_TASK, Task

TOO_LITTLE = ("more than 1 value per channel", "batch norm cannot train on")  # in torch's errors, and in ours


def update(
    state: State, batch: Batch, rate: float, live: LiveRunner, config: TrainConfig, task: Task = NO_TASK
) -> dict[str, float | Tensor]:
    """One step: batch to gradient to weights to their average. Returns figures for the log.

    The batch is mixed whole, before it is cut into parts. Of several processes each has a share of the batch,
    which is a batch of its own in all but the gradient, the loss and its changes of pitch, volume and
    background: these are as one process would have them.
    """
    step = state.step
    of_stage = step - state.began
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    generator = seed_step(config.seed, step, live.device)
    batch = batch.to(live.device)
    num_classes = len(live.artifact.labels)
    inputs: tuple[Tensor, ...] = (batch.inputs,)
    targets = batch.targets(num_classes)
    unknown = torch.zeros_like(targets, dtype=torch.bool)[:, :0]
    if config.unknown == "mask":
        unknown = batch.unknown(num_classes)
        targets.masked_fill_(unknown, 0.0)
    if live.embeddings is None:
        inputs, targets, unknown = prepare(batch, targets, unknown, generator, step, live, config, task)

    state.net.train()
    state.optimizer.zero_grad()
    loss = torch.zeros((), device=live.device)
    count = parts_of(len(targets), config.accumulate)
    parts = [part.tensor_split(count) for part in (*inputs, targets, unknown)]
    # Gradients are averaged over processes, whose shares of the batch may differ by one.
    usual = len(targets) if distributed.world() == 1 else config.batch / distributed.world()
    for number, (*some, wanted, hidden) in enumerate(zip(*parts, strict=True), 1):
        masked = hidden if hidden.shape[1] else None
        with distributed.unsummed(state.predict) if number < count else nullcontext():
            part = summed_loss(state, as_input(some), wanted, live, task.weights_K, masked) / usual
            part.backward()
        loss += part.detach()
    loss = distributed.mean(loss)
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


def as_input(parts: Sequence[Tensor]) -> Any:
    """What a net takes: a tensor, or a tuple of those of a net of several inputs; float32.

    >>> as_input([torch.zeros(1, dtype=torch.int16)]).dtype
    torch.float32
    """
    floats = tuple(part.float() for part in parts)
    return floats if len(floats) > 1 else floats[0]


def parts_of(batch: int, accumulate: int) -> int:
    """How many parts a batch goes through in: as few as hold no more than the largest of `accumulate` ones.

    6 in 4 parts are 2, 2 and 2, not 2, 2, 1 and 1: batch norm wants more than one clip where that may be.

    >>> [parts_of(6, accumulate) for accumulate in (1, 2, 4, 5, 6)]
    [1, 2, 3, 3, 6]
    """
    return math.ceil(batch / math.ceil(batch / accumulate))


def summed_loss(
    state: State,
    inputs: Any,
    targets_BK: Tensor,
    live: LiveRunner,
    weights_K: Tensor | None = None,
    unknown_BK: Tensor | None = None,
) -> Tensor:
    """What is minimised, summed over classes and patches: `auricle.training.objective.cross_entropy`."""
    with (
        torch.autocast(live.device.type, live.dtype, enabled=live.dtype != torch.float32),
        norms_told(inputs),
    ):
        predicted = state.predict(inputs)
    return cross_entropy(predicted, targets_BK, weights_K, unknown_BK)


@contextmanager
def norms_told(inputs: Any) -> Iterator[None]:
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
        shapes = [tuple(one.shape) for one in (inputs if isinstance(inputs, tuple) else (inputs,))]
        raise ValueError(
            f"{' and '.join(map(str, shapes))} at a time leaves batch norm a single value to train on; "
            "expected more examples, or longer ones: set a larger batch, a smaller accumulate, or a larger "
            "window"
        ) from None


def prepare(
    batch: Batch,
    targets_BK: Tensor,
    unknown_BK: Tensor,
    generator: torch.Generator,
    step: int,
    live: LiveRunner,
    config: TrainConfig,
    task: Task,
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """From stored PCM to what the network sees, embeddings beside it where it takes them.

    What is unknown of one of two mixed clips is so of both, unless the other has the label for certain.

    Returns:
        The inputs, the targets, and (B, K) bool where these are not known ((B, 0) if that is not asked for).
    """
    num_classes = targets_BK.shape[1]
    waveform_BN = batch.inputs.float() / 32768
    both = torch.cat([targets_BK, unknown_BK.float()], 1)
    waveform_BN, both = augment(waveform_BN, both, generator, step, config, task)
    targets_BK, unknown_BK = both[:, :num_classes], both[:, num_classes:]
    if unknown_BK.shape[1]:
        unknown_BK = (unknown_BK > 0) & (targets_BK < 1)
    clean_BN = waveform_BN
    if config.degrade:
        waveform_BN = degrade(clean_BN, generator, rate=config.features.rate, share=config.degrade)
    waveform_BN = equalize(
        waveform_BN, generator, rate=config.features.rate, decibels=config.equalize_decibels
    )
    logmel = live.frontend(waveform_BN)
    if task.teachers is not None:  # who need not bear what the student is to learn to
        heard = logmel if waveform_BN is clean_BN else live.frontend(clean_BN)
        told_BK = task.teachers.listen(clean_BN, heard, config.seed, step)
        targets_BK = torch.lerp(targets_BK, told_BK, config.teacher_share)
    if config.mask_frames or config.mask_bands:
        logmel = random_masks(
            logmel,
            generator,
            frames=config.mask_frames,
            bands=config.mask_bands,
            fill=middle_level(config.features),
        )
    if live.beside is None:
        return (logmel,), targets_BK, unknown_BK
    stored = batch.embeddings
    return (logmel, stored if stored.shape[1] else live.beside.embed(waveform_BN)), targets_BK, unknown_BK


def middle_level(features: FeatureConfig) -> float:
    """What masks cover a log-mel with: about the middle of what it holds.

    Levels in dB lie from -`decibels` to 0, absolute ones from -100 to about 30. Natural logarithms begin at
    that of the offset, -4.6.

    >>> middle_level(FeatureConfig()), middle_level(FeatureConfig(decibels=80.0))
    (-2.5, -40.0)
    """
    plain = -2.5
    if in_decibels(features):
        plain = -35.0 if features.absolute else -features.decibels / 2
    return (plain + features.shift) * features.scale


def augment(
    waveform_BN: Tensor,
    targets: Tensor,
    generator: torch.Generator,
    step: int,
    config: TrainConfig,
    task: Task,
) -> tuple[Tensor, Tensor]:
    """The waveform's changes: speed, then pitch, volume and background, then mixing.

    Volume alone comes after mixing, which would else take it for a clip's own loudness and even it out.
    """
    waveform_BN = random_speed(waveform_BN, generator, samples=config.window, spread=config.speed_spread)
    volume_alone = not config.pitch_semitones and not config.noise
    if not volume_alone:
        waveform_BN = change(waveform_BN, step, config, task)
    waveform_BN, targets = mix(waveform_BN, targets, generator, how=config.mixing, mix_range=config.mix_range)
    if volume_alone:
        waveform_BN = change(waveform_BN, step, config, task)
    return waveform_BN, targets


def change(waveform_BN: Tensor, step: int, config: TrainConfig, task: Task) -> Tensor:
    """Pitch, volume and background of a step, which follow from seed, step and row (`auricle.changes`).

    >>> from pathlib import Path
    >>> config = TrainConfig(data=Path("pack"), steps=1, gain_decibels=6.0)
    >>> change(torch.ones(1, 2), 0, config, NO_TASK).ne(1).tolist()
    [[True, True]]
    """
    if config.changes is None:
        return waveform_BN
    samples, recordings = waveform_BN.shape[1], task.recordings
    draws = generator_of_step(config.seed, step)
    before = share(config.batch, distributed.rank(), distributed.world()).start  # rows of other processes
    count = before + len(waveform_BN)
    changes = draw_changes(count, draws, config.changes, samples=samples, recordings=recordings)[before:]
    return apply_changes(waveform_BN, changes, rate=config.features.rate, recordings=recordings)


def seed_step(seed: int, step: int, device: torch.device) -> torch.Generator:
    """The generator of a step's augmentation; torch's own, for dropout, is seeded beside it.

    Each process has others: what it draws is of its share of the batch.
    """
    rank = distributed.rank()
    number = int(hash_uint64(seed, step, 11, rank) if rank else hash_uint64(seed, step, 11)) >> 1
    torch.manual_seed(number)
    return torch.Generator(device).manual_seed(number)
