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
from auricle.shards import Pack
from auricle.training import TrainConfig, train
from auricle.training.data import choose_clips

WARM_STEPS, TIMED_STEPS = 2, 3
FORWARD_SHARE = 1 / 2  # of a training step: a forward pass alone is a third in the same precision
SPEED_FIELDS = (  # what a step's duration depends on
    "model", "model_arguments", "features", "window", "label_set", "batch", "accumulate", "precision",
    "device", "threads", "compile", "embeddings", "embedding_windows", "data", "checkpoint_activations",
)  # fmt: skip
# Fields that say there is no fine-tuning; steps of both kinds take as long.
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
    mixtures: Pack | None = None,
    judge_training: bool = False,
) -> list[Estimate]:
    """Time a few steps for each kind of run.

    Runs that differ in what does not change a step's duration are timed once. A run whose embeddings are not
    made yet cannot be timed: its seconds are NaN.

    Args:
        runs: configurations that have `steps`.
        scratch: where to put trial runs; a temporary folder by default.
        mixtures: scenes that every run is judged by, too.
        judge_training: whether every run is judged on its training clips, too.
    """
    measured: dict[str, float] = {}
    found = []
    for run in runs:
        config = run.config
        kind = json.dumps({name: str(getattr(config, name)) for name in SPEED_FIELDS})
        if kind not in measured:
            measured[kind] = measure_step(config, scratch)
        step = measured[kind]
        assert config.steps is not None, "experiments count in steps"
        steps = config.steps + (config.finetune_steps or 0)
        judged, validated = windows_to_score(run)
        judged *= 2 if config.finetune_steps else 1  # what step one leaves is judged, too
        if mixtures is not None:
            judged += windows_of(mixtures, np.arange(len(mixtures)), config)
        if judge_training and run.shown and not math.isnan(step):
            pack = Pack(config.data)
            judged += windows_of(pack, choose_clips(pack, config)[0], config)
        validations = -(-steps // config.validate_every) if validated else 0
        scored = (judged + validations * validated) / config.batch * step * FORWARD_SHARE
        found.append(Estimate(name=run.name, steps=steps, step_seconds=step, seconds=steps * step + scored))
    return found


def measure_step(config: TrainConfig, scratch: Path | None = None) -> float:
    """Seconds of a training step: the median of a few, after a few that are not counted."""
    if config.embeddings and config.embeddings not in Pack(config.data).embedding_sets:
        return float("nan")
    trial = dataclasses.replace(
        config,
        steps=WARM_STEPS + TIMED_STEPS,
        **WITHOUT_STEP_TWO,
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


def windows_to_score(run: Run) -> tuple[int, int]:
    """Windows that the evaluation scores, and that each validation does."""
    config, pack = run.config, Pack(run.config.data)
    subset = run.evaluation.get("subset")
    judged = pack.subset(subset) if subset else pack.select(run.evaluation.get("splits"))
    if not config.validation_splits:
        return windows_of(pack, judged, config), 0
    held = pack.select(config.validation_splits)
    share = min(1.0, config.validation_clips / len(held)) if config.validation_clips and len(held) else 1.0
    return windows_of(pack, judged, config), round(windows_of(pack, held, config) * share)


def windows_of(pack: Pack, clips: np.ndarray, config: TrainConfig) -> int:
    """Windows that some clips have, as a configuration cuts them."""
    if config.embeddings:
        return len(clips)
    return int(np.maximum(1, (pack.lengths[clips] - config.window) // config.hop + 1).sum())
