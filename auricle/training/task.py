"""What stays the same from step to step, and follows from the pack and the configuration."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from auricle.changes import RECORDING
from auricle.noise import Recordings, noise_clips
from auricle.shards import Pack
from auricle.training.config import TrainConfig
from auricle.training.objective import class_weights
from auricle.training.teachers import Teachers
from auricle.training.validation import figure_names


@dataclass(frozen=True, kw_only=True)
class Task:
    """What stays the same from step to step.

    Args:
        weights_K: how much more a positive of each class counts; None for as much as a negative.
        recordings: backgrounds; None where there are none.
        teachers: whose word is learned beside the labels; None where there are none.
        validate_every: steps.
        train_clips: positions in the pack.
        validation_clips: these too.
    """

    weights_K: Tensor | None = None
    recordings: Recordings | None = None
    teachers: Teachers | None = None
    validate_every: int = 1
    train_clips: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    validation_clips: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


NO_TASK = Task()


def make_task(
    config: TrainConfig,
    pack: Pack,
    clips: tuple[np.ndarray, np.ndarray],
    epoch_size: int,
    device: torch.device,
    teachers: Teachers | None = None,
) -> Task:
    """What a run's steps have in common.

    Args:
        config: of the run.
        pack: trained on.
        clips: to train on, and to validate on.
        epoch_size: draws of an epoch.
        device: of the network.
        teachers: of the network.

    Raises:
        ValueError: a schedule that follows validation has no clips for it; a monitored figure is not one; or
            no recording can be background.
    """
    train_clips, validation_clips = clips
    if config.schedule == "stagnation" and not len(validation_clips):
        raise ValueError(
            "schedule='stagnation' follows the figures of validation, but no clip is left for it; set "
            "validation_splits, or another schedule"
        )
    known = figure_names(pack, config.label_set)
    if unknown := [name for name in config.monitors if name not in known]:
        raise ValueError(f"monitors has {unknown[0]!r}; figures of validation: {', '.join(known)}")
    weights_K = class_weights(
        pack, train_clips, config.label_set, config.class_weights, masked=config.unknown == "mask"
    )
    every = config.validate_every
    if config.validate_epochs is not None:
        every = max(1, round(config.validate_epochs * epoch_size / config.batch))
    return Task(
        weights_K=None if weights_K is None else torch.from_numpy(weights_K).to(device),
        recordings=open_recordings(config, pack, train_clips, validation_clips),
        teachers=teachers,
        validate_every=every,
        train_clips=train_clips,
        validation_clips=validation_clips,
    )


def open_recordings(
    config: TrainConfig, pack: Pack, train_clips: np.ndarray, validation_clips: np.ndarray
) -> Recordings | None:
    """The backgrounds of noise="recording": clips that are trained on, or those of another pack.

    Of another pack no recording is taken that this one holds and does not train on.
    """
    if RECORDING not in config.noise:
        return None
    if not config.noise_pack:
        return Recordings(pack, train_clips, rate=config.features.rate)
    others = np.setdiff1d(np.arange(len(pack)), train_clips)
    judged = {str(name) for name in pack.recordings[np.union1d(others, validation_clips)]}
    noises = Pack(config.noise_pack)
    clips = noise_clips(noises, config.noise_splits or None, apart_from=judged)
    return Recordings(noises, clips, rate=config.features.rate)
