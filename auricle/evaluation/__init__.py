"""A model's scores on a pack, and what they are worth: figures with intervals, class by class, scores.

Scores go to disk as they come and are ranked from there in blocks; targets stay sparse. Memory does not grow
with the number of clips, but by a few numbers for each.

Shape letters: M clips evaluated, K classes of the model, S classes that model and pack share.
"""

import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soxr

import auricle
from auricle.datasets.label_maps import LabelMap
from auricle.disk import full_disk_told
from auricle.evaluation.choice import (
    left_out,
    match_labels,
    positives_of,
    select_clips,
    share_of_classes,
    training_prior,
    unknown_of,
)
from auricle.evaluation.files import ScoreFile, jsonable, score_batches, write
from auricle.evaluation.heard import in_training
from auricle.evaluation.levels import hierarchy_of, level_figures
from auricle.evaluation.mapped import judged_as
from auricle.evaluation.reliability import reliability_figures
from auricle.evaluation.scoring import open_model, score_clips, stream_scores
from auricle.metrics.blocks import MEMORY, Ranking, rank_blocks
from auricle.metrics.bootstrap import bootstrap_blocks
from auricle.pooling import pooling_of
from auricle.progress import Progress
from auricle.remote import results_folder
from auricle.shards import Pack
from auricle.thresholds import own_thresholds

__all__ = ["affordable_draws", "evaluate", "provenance", "score_clips", "select_clips"]

LEVEL = 0.95  # share of the draws that an interval covers
DRAWS, FEWEST_DRAWS = 1000, 50
DRAWN_PAIRS = 2 * 10**10  # of draw, clip and class, by default: about a minute and a half on one core
DRAWN_CLIPS = 2**28  # of draw and clip: half a gigabyte of weights
MICRO_PAIRS = 2**24  # of clip and class, beyond which micro figures get no interval: they rank all at once


def evaluate(
    model: Any,
    pack: Any,
    *,
    splits: Sequence[str] | None = None,
    where: Mapping[str, tuple[str, ...]] | None = None,
    subset: str | None = None,
    clips: np.ndarray | None = None,
    out: str | Path | None = None,
    label_set: str = "labels",
    label_map: str | Path | LabelMap | None = None,
    pooling: str | None = None,
    window: float | None = None,
    class_share: float = 1.0,
    half: bool = False,
    batch: int = 16,
    threads: int | None = None,
    device: str = "cpu",
    draws: int | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a model on a pack's clips and compare with their labels.

    A clip's score is the mean over its windows of the sigmoid of their logits, or what else `pooling` says,
    calibrated where the model has a calibration; windows are cut as the artifact says and never across clips.
    Labels are matched by name, and figures are over those that both sides have.

    Args:
        model: a model's name or path, an artifact, or a runner.
        pack: a pack's folder, its address, or a `Pack`. One of a higher rate than the model's is resampled.
        splits: only clips of these splits; None takes all.
        where: attribute -> values; only clips that have one of them.
        subset: only clips of this subset of the pack.
        clips: only these, positions in the pack.
        out: folder, or its address, for `scores.parquet`, `metrics.json` and `per_class.csv`; None writes
            nothing.
        label_set: the labels to compare with.
        label_map: a bundled map's name, or a file, that says which labels of the model stand for which of the
            pack: see `auricle.datasets.label_maps`. A clip's score for a label is then the greatest of its
            scores for those that stand for it. None takes equal names.
        pooling: "mean", or what else `auricle.runners.windows.PooledScores` has; None is the model's own way.
        window: seconds of a window; None is the model's own.
        class_share: of the shared classes, chosen at random, that the figures are over.
        half: keep clip scores as float16 logits, and rank those: half the room, 11 bits of a logit.
        batch: windows scored at once.
        threads: of the runner and the ranking; None takes every core.
        device: of the runner.
        draws: bootstrap draws, of groups of clips, for the intervals; 0 leaves the intervals out; None
            takes what `affordable_draws` says.
        seed: of the draws, and of the share of the classes.
        quiet: show no progress.

    Returns:
        What `metrics.json` holds: the figures of `auricle.metrics.ranking.summarise` (None where not defined
        or infinite), `levels` where labels stand above each other, `intervals`, what was left out,
        `clips_in_training`, why it cannot be told of the others (`training_not_told`), the map of labels, and
        where all of it comes from.

    Raises:
        ValueError: no such model, pack, label set, split, subset, attribute value, map or pooling (the
            message lists what there is), no clip is left, no label is shared, the map names labels that are
            not there, the share is not in (0, 1], or the pack's rate is below the model's.

    >>> figures = evaluate("default", "out/pack", splits=["fold5"], out="out/fold5")  # doctest: +SKIP

    Source: Hershey et al. (2017), section 3.2; intervals are not from there.
    """
    pack = pack if hasattr(pack, "label_names") else Pack(pack)
    runner, artifact = open_model(model, pack, window, batch=batch, threads=threads, device=device)
    clips = select_clips(pack, splits, where, subset, clips)
    labels = pack.label_names(label_set)
    judged = judged_as(artifact, label_map, labels)
    columns = match_labels(judged, pack, labels, label_set)
    columns = [columns[k] for k in share_of_classes(len(columns), class_share, seed)]
    in_model, in_pack = (list(side) for side in zip(*columns, strict=True))
    with (
        results_folder(out, ("metrics.json",)) as folder,  # made before the work, which may take hours
        full_disk_told(folder or tempfile.gettempdir(), "make room, or name another folder for the scores"),
        ScoreFile(folder, (len(clips), len(judged.labels)), half=half) as kept,
    ):
        started = time.perf_counter()
        with Progress(len(clips), "scoring", unit="clips", quiet=quiet) as progress:
            for scores_K in stream_scores(runner, pack, clips, batch=batch, pooling=pooling):
                kept.append(judged.scores(scores_K))
                progress.advance()
        seconds = time.perf_counter() - started
        positives = positives_of(pack, clips, label_set, in_pack)
        ranking = rank_blocks(kept.array(), *positives, columns=in_model, memory=MEMORY, threads=threads)
        figures: dict[str, Any] = dict(ranking.figures)
        figures |= _intervals(
            kept.array(),
            positives,
            pack.recordings[clips],
            ranking,
            in_model,
            draws=draws,
            seed=seed,
            quiet=quiet,
        )
        names = [judged.labels[k] for k in in_model]
        thresholds = own_thresholds(judged)
        reliable, sure, errors = reliability_figures(
            kept.array(),
            positives,
            unknown_of(pack, clips, label_set, in_pack),
            pack.recordings[clips],
            in_model,
            thresholds=None if thresholds is None else [thresholds[k] for k in in_model],
            draws=figures.get("interval_draws", 0),
            seed=seed,
            level=LEVEL,
        )
        figures |= reliable
        if sure:
            figures["intervals"] |= {name: list(interval) for name, interval in sure.items()}
        classes, priors_of = _with_priors(ranking.classes, artifact, pack, label_set, in_pack, len(clips))
        classes["ece"] = errors
        figures |= level_figures(names, classes, hierarchy_of(judged, pack, label_set))
        figures |= left_out(judged.labels, labels, names, classes)
        figures |= in_training(artifact, pack, clips)
        pooling = pooling or pooling_of(artifact)
        figures |= {"window_seconds": runner.artifact.window / artifact.rate}
        figures |= {"pooling": pooling, "class_share": class_share, "seed": seed, "subset": subset}
        figures |= {"training_prior_of": priors_of, "stored_as": "logits" if half else "scores"}
        figures |= {"label_map": judged.about}
        figures |= provenance(artifact, pack, clips, splits, where, label_set, seconds)
        figures = jsonable(figures)
        if folder is not None:
            mapped_by = "" if judged.about is None else judged.about["name"]
            batches = score_batches(
                pack, clips, kept.array(), list(judged.labels), label_set, label_map=mapped_by
            )
            write(folder, figures, names, classes, batches)
    return figures


def affordable_draws(clips: int, classes: int) -> int:
    """Bootstrap draws that take a minute or two at most: 1000, or fewer, or none where not even 50 fit.

    >>> affordable_draws(400, 50), affordable_draws(100_000, 527), affordable_draws(100_000, 30_871)
    (1000, 379, 0)
    """
    most = min(DRAWS, DRAWN_PAIRS // max(1, clips * classes), DRAWN_CLIPS // max(1, clips))
    return most if most >= FEWEST_DRAWS else 0


def _intervals(
    scores_MK: np.ndarray,
    positives: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
    ranking: Ranking,
    columns: Sequence[int],
    *,
    draws: int | None,
    seed: int,
    quiet: bool,
) -> dict[str, Any]:
    """How many groups there are, and intervals where draws are wanted and affordable."""
    found: dict[str, Any] = {"groups": len(np.unique(groups))}
    if draws is None:
        draws = affordable_draws(len(scores_MK), len(columns))
        if not draws:
            pairs = f"{len(scores_MK):,} clips x {len(columns):,} classes"
            found["intervals_left_out"] = f"{FEWEST_DRAWS} draws of {pairs} would take too long"
    if not draws:
        return found
    micro = len(scores_MK) * len(columns) <= MICRO_PAIRS
    with Progress(len(columns) + micro, "intervals", unit="rankings", quiet=quiet) as progress:
        intervals = bootstrap_blocks(
            scores_MK,
            *positives,
            groups,
            ranking.best_N,
            columns=columns,
            memory=MEMORY,
            micro=micro,
            draws=draws,
            seed=seed,
            level=LEVEL,
            progress=progress.advance,
        )
    found["intervals"] = {name: list(interval) for name, interval in intervals.items()}
    return found | {"interval_level": LEVEL, "interval_draws": draws}


def _with_priors(
    classes: dict[str, np.ndarray],
    artifact: Any,
    pack: Any,
    label_set: str,
    columns: Sequence[int],
    clips: int,
) -> tuple[dict[str, np.ndarray], str | None]:
    """The classes' figures and their share of the clips, here and in training; and which training that is."""
    prior, source = training_prior(artifact, pack, label_set, columns)
    return classes | {"prior": classes["positives"] / clips, "training_prior": prior}, source


def provenance(
    artifact: Any,
    pack: Any,
    clips: np.ndarray,
    splits: Sequence[str] | None,
    where: Mapping[str, tuple[str, ...]] | None,
    label_set: str,
    seconds: float,
) -> dict[str, Any]:
    """Where figures come from: model, pack, choice of clips, versions, and how long the scoring took.

    >>> provenance(artifact, pack, clips, ["fold5"], None, "labels", 12.5)["model"]  # doctest: +SKIP
    'compact'
    """
    audio_seconds = float(pack.lengths[clips].sum()) / pack.rate
    libraries = {"numpy": np.__version__, "soxr": soxr.__version__, "pyarrow": pa.__version__}
    return {
        "model": artifact.name,
        "model_fingerprint": artifact.fingerprint,
        "pack": getattr(pack, "name", str(pack.path)),
        "pack_fingerprint": pack.fingerprint,
        "mixed_from": (pack.manifest.get("mixed_from") or {}).get("heading"),
        "label_set": label_set,
        "splits": None if splits is None else [splits] if isinstance(splits, str) else list(splits),
        "where": {name: [v] if isinstance(v, str) else list(v) for name, v in (where or {}).items()},
        "resampled_from": pack.rate if pack.rate != artifact.rate else None,
        "audio_seconds": audio_seconds,
        "scoring_seconds": seconds,
        "times_real_time": audio_seconds / seconds if seconds else None,
        "versions": {"auricle": auricle.__version__, "python": platform.python_version()} | libraries,
    }
