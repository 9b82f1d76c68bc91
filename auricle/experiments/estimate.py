"""How long runs will take, measured: a few real steps of each kind, and a few batches scored."""

import dataclasses
import json
import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auricle.experiments.options import Run
from auricle.experiments.trainings import finished_twin, identity, trainings
from auricle.shards import Pack
from auricle.training import TrainConfig, train
from auricle.training.beside import takes_both
from auricle.training.config import STAGNATION
from auricle.training.data import choose_clips, make_sampler
from auricle.training.stages import plan_stages

WARM_STEPS, TIMED_STEPS = 2, 3
FORWARD_SHARE = 1 / 2  # of a training step: a forward pass alone is a third in the same precision
SPEED_FIELDS = (  # what a step's duration depends on
    "model", "model_arguments", "features", "window", "label_set", "batch", "accumulate", "precision",
    "device", "threads", "compile", "embeddings", "embedding_windows", "data", "checkpoint_activations",
    "pitch_semitones", "noise",
)  # fmt: skip
# Fields that say there is no fine-tuning; steps of both kinds take as long.
WITHOUT_STAGNATION: dict[str, Any] = {**STAGNATION}
WITHOUT_STEP_TWO: dict[str, Any] = {
    name: getattr(TrainConfig, name)
    for name in ("finetune_steps", "finetune_epochs", "finetune_rate", "finetune_mixing")
}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of one run.

    Args:
        name: of the run.
        steps: that it has, both of a training and its fine-tuning.
        step_seconds: measured, of one step; NaN where it could not be measured yet.
        seconds: of training, validation and evaluation together.
    """

    name: str
    steps: int
    step_seconds: float
    seconds: float


def estimate(
    runs: Sequence[Run],
    scratch: Path | None = None,
    *,
    out: Path | None = None,
    mixtures: Pack | None = None,
    judge_training: bool = False,
) -> list[Estimate]:
    """Time a few steps for each kind of run.

    Runs that differ in what does not change a step's duration are timed once. A run whose embeddings are not
    made yet cannot be timed: its seconds are NaN.

    Args:
        runs: what is to come, in order.
        scratch: where to put trial runs; a temporary folder by default.
        out: the comparison's folder: what other runs have finished there, or do before, is not done again.
        mixtures: scenes that every run is judged by, too.
        judge_training: whether every run is judged on its training clips, too.
    """
    measured: dict[str, float] = {}
    known: set[str] = set()  # trainings that an earlier run does
    found = []
    for run in runs:
        config = run.config
        step = step_of(config, measured, scratch)
        steps, seconds = 0, 0.0
        for part in trainings(run).values():
            name = json.dumps(identity(part), sort_keys=True)
            if name in known or (out is not None and finished_twin(part, out) is not None):
                continue
            known.add(name)
            long = steps_of(part)
            steps += long
            seconds += long * step
            if not math.isnan(step):  # else its embeddings are not there yet, and nothing says which clips
                seconds += validation_seconds(part, long, step)
        judged = windows_to_score(run) * max(1, len(set(run.checkpoints.values())))
        judged *= 2 if config.finetune_steps else 1  # what step one leaves is judged, too
        if mixtures is not None:
            judged += windows_of(mixtures, np.arange(len(mixtures)), config)
        if judge_training and run.shown and not math.isnan(step):
            pack = Pack(config.data)
            judged += windows_of(pack, choose_clips(pack, config)[0], config)
        seconds += judged / config.batch * step * FORWARD_SHARE
        found.append(Estimate(name=run.name, steps=steps, step_seconds=step, seconds=seconds))
    return found


def step_of(config: TrainConfig, measured: dict[str, float], scratch: Path | None) -> float:
    """Seconds of a step, measured once of its kind."""
    about = {name: str(getattr(config, name)) for name in SPEED_FIELDS}
    if config.monitors != TrainConfig.monitors:  # a head of some labels more costs nothing there
        del about["label_set"]
    kind = json.dumps(about)
    if kind not in measured:
        measured[kind] = measure_step(config, scratch)
    return measured[kind]


def steps_of(config: TrainConfig) -> int:
    """Mini-batches of a training, and of its fine-tuning."""
    if config.steps is not None and (config.finetune_steps is not None or not config.two_steps):
        return config.steps + (config.finetune_steps or 0)
    return plan_stages(config, epoch_of(config))[-1].end


def epoch_of(config: TrainConfig) -> int:
    """Draws of an epoch."""
    pack = Pack(config.data)
    stored = pack.embeddings(config.embeddings) if config.embeddings and not takes_both(config) else None
    return make_sampler(pack, choose_clips(pack, config)[0], config, stored).epoch_size


def validation_seconds(config: TrainConfig, steps: int, step: float) -> float:
    """Of all validations of a training."""
    if not (config.validation_splits or config.validation_subset):
        return 0.0
    pack = Pack(config.data)
    windows = windows_of(pack, choose_clips(pack, config)[1], config)
    every: float = config.validate_every
    if config.validate_epochs is not None:
        every = max(1, round(config.validate_epochs * epoch_of(config) / config.batch))
    return -(-steps // every) * windows / config.batch * step * FORWARD_SHARE


def measure_step(config: TrainConfig, scratch: Path | None = None) -> float:
    """Seconds of a training step: the median of a few, after a few that are not counted."""
    if config.embeddings and config.embeddings not in Pack(config.data).embedding_sets:
        return float("nan")
    trial = dataclasses.replace(
        config,
        steps=WARM_STEPS + TIMED_STEPS,
        epochs=None,
        **WITHOUT_STEP_TWO,
        **WITHOUT_STAGNATION,
        schedule="constant",  # one that follows validation has nothing to follow
        validate_epochs=None,
        monitors=("map",),
        learning_rate=1e-9,  # a step takes as long at any rate, but at a high one the loss may diverge
        log_every=1,
        validation_splits=(),
        validation_subset="",
        validation_fraction=0.0,
        checkpoint_every=10**9,
    )
    with tempfile.TemporaryDirectory(dir=scratch, prefix="timing-") as folder:
        train(trial, Path(folder) / "run", quiet=True)
        lines = (Path(folder) / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    times = [entry["seconds"] for line in lines if "loss" in (entry := json.loads(line))]
    return statistics.median(np.diff(times)[WARM_STEPS - 1 :].tolist())


def windows_to_score(run: Run) -> int:
    """Windows that an evaluation scores."""
    config, pack = run.config, Pack(run.config.data)
    subset = run.evaluation.get("subset")
    judged = pack.subset(subset) if subset else pack.select(run.evaluation.get("splits"))
    return windows_of(pack, judged, config)


def windows_of(pack: Pack, clips: np.ndarray, config: TrainConfig) -> int:
    """Windows that some clips have, as a configuration cuts them."""
    if config.embeddings:
        return len(clips)
    return int(np.maximum(1, (pack.lengths[clips] - config.window) // config.hop + 1).sum())
