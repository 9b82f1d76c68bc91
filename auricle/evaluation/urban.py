"""Evaluation by the protocol of urban sound tagging: a verified truth, predictions, figures by level.

The truth is what annotator 0 says of the clips of a split, from a file of annotations or from a pack's label
set; predictions are a file in the challenge's format, or a model's scores.

Shape letters: N clips, K labels of the taxonomy, L labels that are scored.
"""

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auricle.datasets.annotations import read_annotations
from auricle.datasets.taxonomy import Taxonomy, read_taxonomy
from auricle.disk import full_disk_told
from auricle.evaluation import affordable_draws, provenance
from auricle.evaluation.choice import select_clips
from auricle.evaluation.files import Replacing, jsonable
from auricle.evaluation.heard import in_training
from auricle.evaluation.scoring import open_model, stream_scores
from auricle.evaluation.submission import Submission, listed, read_submission, some, write_submission
from auricle.evaluation.truth import (
    LABEL_SET,
    LEVELS,
    Truth,
    annotated_truth,
    branches_of,
    level_labels,
    names_of,
    packed_taxonomy,
    packed_truth,
)
from auricle.hierarchy import coarse_from_fine
from auricle.metrics.urban import Branch, coarse_metrics, fine_metrics, urban_intervals
from auricle.pooling import pooling_of
from auricle.progress import Progress
from auricle.remote import results_folder
from auricle.shards import Pack
from auricle.text import counted

LEVEL = 0.95  # share of the draws that an interval covers
DRAW_COST = 25  # of a clip and label, in draws of ranking figures


def evaluate_submission(
    predictions: str | Path,
    annotations: str | Path,
    taxonomy: str | Path,
    *,
    splits: Sequence[str] | None = None,
    levels: Sequence[str] | None = None,
    out: str | Path | None = None,
    draws: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Figures of a file of predictions, by the challenge's rules.

    Args:
        predictions: CSV with `audio_filename` and a column of scores for each label.
        annotations: CSV as `auricle.datasets.annotations.read_annotations` takes it.
        taxonomy: YAML as `auricle.datasets.taxonomy.read_taxonomy` takes it.
        splits: only clips of these splits; None takes all.
        levels: of "fine" and "coarse", columns of others are not read; None takes those of which the
            predictions have a column with scores.
        out: a folder, or its address, for `metrics.json`; None writes nothing.
        draws: bootstrap draws, of sensors, for the intervals; 0 leaves them out; None takes what is quick.
        seed: of the draws.

    Returns:
        `protocol`, `clips`, `groups`, `splits`, the files' names, and for each level what `level_figures`
        gives.

    Raises:
        ValueError: a file is missing or damaged, no clip of the split has a verified truth, predictions have
            no scores of a level asked for, or are of other clips than those that have a truth.

    >>> figures = evaluate_submission("pred.csv", "annotations-dev.csv", "taxonomy.yaml",
    ...                               splits=["validate"])  # doctest: +SKIP
    >>> figures["coarse"]["micro_auprc"]  # doctest: +SKIP
    0.88445445928942
    """
    read = read_taxonomy(taxonomy)
    wanted = None if levels is None else {label for level in levels for label in level_labels(read, level)}
    submission = read_submission(predictions, read, wanted)
    truth = annotated_truth(read_annotations(annotations, read), splits, str(annotations))
    able = [level for level in LEVELS if set(level_labels(read, level)) & set(submission.labels)]
    levels = able if levels is None else levels
    if lacking := [level for level in levels if level not in able]:
        raise ValueError(
            f"{predictions}: has no scores of {lacking[0]} labels; expected columns like "
            f"{level_labels(read, lacking[0])[0]!r}, or another level"
        )
    figures: dict[str, Any] = {"protocol": "urban", "clips": len(truth.clips)}
    figures |= {"groups": len(np.unique(truth.groups)), "splits": names_of(splits)}
    files = {"predictions": predictions, "annotations": annotations, "taxonomy": taxonomy}
    figures |= {name: str(file) for name, file in files.items()}
    submission = in_order(submission, truth)
    with results_folder(out) as folder:  # made before intervals are drawn
        for level in levels:
            figures[level] = level_figures(truth, submission, level, draws=draws, seed=seed)
        figures = jsonable(figures)
        if folder is not None:
            write_figures(folder, figures)
    return figures


def evaluate_urban(
    model: Any,
    pack: Any,
    *,
    splits: Sequence[str] | None = None,
    where: Mapping[str, tuple[str, ...]] | None = None,
    subset: str | None = None,
    levels: Sequence[str] | None = None,
    out: str | Path | None = None,
    label_set: str = LABEL_SET,
    pooling: str | None = None,
    batch: int = 16,
    threads: int | None = None,
    device: str = "cpu",
    draws: int | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a model on the clips of a pack that have a truth, and compare by the challenge's rules.

    Where the model has no output for a coarse class, its score is the highest of the class's fine labels, the
    unknown one among them. A model that has no fine labels is judged at the coarse level alone.

    Args:
        model: a model's name or path, an artifact, or a runner.
        pack: a pack's folder, or a `Pack`. One of a higher rate than the model's is resampled.
        splits: only clips of these splits; None takes all.
        where: attribute -> values; only clips that have one of them.
        subset: only clips of this subset of the pack.
        levels: of "fine" and "coarse"; None takes those that the model can be judged at.
        out: folder, or its address, for `submission.csv` and `metrics.json`; None writes nothing.
        label_set: a label set with a taxonomy.
        pooling: of a clip's windows, as `auricle.evaluation.evaluate` takes it.
        batch: windows scored at once.
        threads: of the runner; None takes every core.
        device: of the runner.
        draws: bootstrap draws, of groups of clips, for the intervals; 0 leaves them out; None takes what is
            quick.
        seed: of the draws.
        quiet: show no progress.

    Returns:
        What `metrics.json` holds: `protocol`, `clips`, `groups`, for each level what `level_figures` gives,
        `clips_in_training` and `training_not_told`, `coarse_inferred`, and where all of it comes from.

    Raises:
        ValueError: no such model, pack, label set, split, subset or pooling; the label set has no taxonomy or
            no clip with a truth; the model has no label of the taxonomy, or none of a level asked for.

    >>> evaluate_urban("out/run/best", "out/pack", splits=["validate"], out="out/eval")  # doctest: +SKIP
    """
    pack = pack if hasattr(pack, "label_names") else Pack(pack)
    taxonomy = packed_taxonomy(pack, label_set)
    runner, artifact = open_model(model, pack, batch=batch, threads=threads, device=device)
    levels = model_levels(artifact, taxonomy, levels)
    clips = select_clips(pack, splits, where, subset)
    truth, clips = packed_truth(pack, clips, label_set)
    with results_folder(out, ("metrics.json",)) as folder:  # made before the work, which may take hours
        started = time.perf_counter()
        scores = np.empty((len(clips), len(artifact.labels)))
        with Progress(len(clips), "scoring", unit="clips", quiet=quiet) as progress:
            scored = stream_scores(runner, pack, clips, batch=batch, pooling=pooling)
            for row, scores_K in zip(scores, scored, strict=True):
                row[:] = scores_K
                progress.advance()
        seconds = time.perf_counter() - started
        submission, inferred = of_model(artifact, scores, truth)
        figures: dict[str, Any] = {"protocol": "urban", "clips": len(clips)}
        figures["groups"] = len(np.unique(truth.groups))
        for level in levels:
            figures[level] = level_figures(truth, submission, level, draws=draws, seed=seed)
        figures |= {"coarse_inferred": inferred, "taxonomy": taxonomy.as_dict()}
        figures |= in_training(artifact, pack, clips)
        figures |= {"pooling": pooling or pooling_of(artifact), "seed": seed, "subset": subset}
        figures |= provenance(artifact, pack, clips, splits, where, label_set, seconds)
        figures = jsonable(figures)
        if folder is not None:
            with full_disk_told(folder, "make room, or name another folder"):
                write_submission(folder / "submission.csv", submission)
                write_figures(folder, figures)
    return figures


def level_figures(
    truth: Truth, submission: Submission, level: str, *, draws: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Figures of one level; a column that predictions lack counts as zeros, and a warning names it.

    Args:
        truth: what is there.
        submission: the scores, of the same clips in the same order.
        level: "fine" or "coarse".
        draws: for intervals; None takes what is quick, 0 none.
        seed: of the draws.

    Returns:
        `micro_auprc`, `micro_f1`, `macro_auprc`; `class_auprc` and `clips_with` by coarse class;
        `never_there`, the classes that no clip has: their AUPRC is 0; `missing_columns`; and `intervals`,
        `interval_level`, `interval_draws` where there are more groups than one.

    Raises:
        ValueError: another level.

    >>> dogs = Taxonomy(("1_dog",), (("1-1_barking",),))
    >>> positive = np.ones((1, 2), bool)
    >>> truth = Truth(taxonomy=dogs, clips=("a",), positive=positive, groups=np.zeros(1), source="")
    >>> said = Submission(clips=("a",), labels=("1_dog",), scores=np.ones((1, 1)), source="")
    >>> level_figures(truth, said, "coarse")["class_auprc"]
    {'1_dog': 1.0}
    """
    taxonomy, labels = truth.taxonomy, level_labels(truth.taxonomy, level)
    place = {label: column for column, label in enumerate(submission.labels)}
    missing = [label for label in labels if label not in place]
    scores = np.zeros((len(truth.clips), len(labels)))
    for column, label in enumerate(labels):
        if label in place:
            scores[:, column] = submission.scores[:, place[label]]
    if missing:
        warnings.warn(
            f"{submission.source}: no column for {counted(len(missing), 'label')}, which count as zeros: "
            f"{some(missing)}",
            stacklevel=2,
        )
    position = {label: column for column, label in enumerate(taxonomy.labels)}
    positive = truth.positive[:, [position[label] for label in labels]]
    branches = branches_of(taxonomy) if level == "fine" else None
    figures = (
        coarse_metrics(positive, scores) if branches is None else fine_metrics(positive, scores, branches)
    )
    figures["class_auprc"] = dict(zip(taxonomy.coarse, figures["class_auprc"].tolist(), strict=True))
    with_class = positive.sum(axis=0) if branches is None else _with_any(positive, branches)
    figures["clips_with"] = dict(zip(taxonomy.coarse, (int(n) for n in with_class), strict=True))
    figures["never_there"] = [label for label, n in figures["clips_with"].items() if not n]
    figures["missing_columns"] = missing
    if draws is None:
        draws = affordable_draws(DRAW_COST * len(positive), len(labels))
    if draws and len(np.unique(truth.groups)) > 1:
        found = urban_intervals(positive, scores, branches, truth.groups, draws=draws, seed=seed, level=LEVEL)
        classes = [list(interval) for interval in found.pop("class_auprc")]
        intervals: dict[str, Any] = {name: list(interval) for name, interval in found.items()}
        intervals["class_auprc"] = dict(zip(taxonomy.coarse, classes, strict=True))
        figures |= {"intervals": intervals, "interval_level": LEVEL, "interval_draws": draws}
    return figures


def model_levels(artifact: Any, taxonomy: Taxonomy, levels: Sequence[str] | None) -> list[str]:
    """The levels that a model can be judged at, or those asked for.

    Raises:
        ValueError: it has no label of the taxonomy, or none of a level asked for.

    >>> class Barks:
    ...     path, labels = "barks", ("1-1_barking",)
    >>> model_levels(Barks, Taxonomy(("1_dog",), (("1-1_barking",),)), None)
    ['fine', 'coarse']
    """
    has = set(artifact.labels)
    fine, coarse = has & set(taxonomy.fine_labels), has & set(taxonomy.coarse)
    able = [level for level in LEVELS if fine or (coarse and level == "coarse")]
    if not able:
        raise ValueError(
            f"{artifact.path}: none of its labels ({some(artifact.labels)}) is one of the taxonomy's "
            f"({some(taxonomy.labels)}): names must be equal, letter by letter"
        )
    for level in levels or ():
        level_labels(taxonomy, level)
        if level not in able:
            raise ValueError(
                f"{artifact.path}: has no {level} labels; it can be judged at: {', '.join(able)}"
            )
    return list(levels or able)


def of_model(artifact: Any, scores_NM: np.ndarray, truth: Truth) -> tuple[Submission, list[str]]:
    """A model's scores as predictions; and the coarse classes that were inferred from fine labels.

    Args:
        artifact: the model; its M labels may have others among them.
        scores_NM: (N, M) in [0, 1].
        truth: of the same clips.

    >>> of_model(load_artifact("out/run/best"), scores, truth)  # doctest: +SKIP
    """
    taxonomy = truth.taxonomy
    columns = {label: scores_NM[:, k] for k, label in enumerate(artifact.labels) if label in taxonomy.labels}
    inferred = [
        coarse
        for coarse, fine in zip(taxonomy.coarse, taxonomy.fine, strict=True)
        if coarse not in columns and any(label in columns for label in fine)
    ]
    if inferred:
        below = [label for label in taxonomy.fine_labels if label in columns]
        table = np.stack([columns[label] for label in below], axis=1)
        made = coarse_from_fine(table, below, inferred, taxonomy.parents)
        columns |= dict(zip(inferred, made.T, strict=True))
    labels = tuple(label for label in taxonomy.labels if label in columns)
    scores = np.clip(np.stack([columns[label] for label in labels], axis=1), 0.0, 1.0)
    return Submission(clips=truth.clips, labels=labels, scores=scores, source=artifact.name), inferred


def in_order(submission: Submission, truth: Truth) -> Submission:
    """Predictions with clips in the order of the truth's.

    Raises:
        ValueError: they are of other clips; the message names up to twenty of each and counts the rest.

    >>> in_order(Submission(clips=("a",), labels=(), scores=np.zeros((1, 0)), source="p.csv"),
    ...          Truth(taxonomy=Taxonomy(("1_dog",), (("1-1_barking",),)), clips=("b",), groups=np.zeros(1),
    ...                positive=np.zeros((1, 2), bool), source="t.csv"))
    Traceback (most recent call last):
    ValueError: p.csv: its clips are not those of the truth in t.csv: 1 clip without a truth: a; 1 clip
    without a prediction: b
    """
    place = {clip: row for row, clip in enumerate(submission.clips)}
    there = set(truth.clips)
    parts = [
        f"{counted(len(names), 'clip')} without a {what}: {listed(names)}"
        for names, what in (
            ([clip for clip in submission.clips if clip not in there], "truth"),
            ([clip for clip in truth.clips if clip not in place], "prediction"),
        )
        if names
    ]
    if parts:
        raise ValueError(
            f"{submission.source}: its clips are not those of the truth in {truth.source}: {'; '.join(parts)}"
        )
    rows = [place[clip] for clip in truth.clips]
    return Submission(
        clips=truth.clips,
        labels=submission.labels,
        scores=submission.scores[rows],
        source=submission.source,
    )


def write_figures(folder: Path, figures: Mapping[str, Any]) -> None:
    """Write `metrics.json` into an existing folder.

    >>> write_figures(Path("out/eval"), {"protocol": "urban"})  # doctest: +SKIP
    """
    with Replacing(folder / "metrics.json") as path:
        path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _with_any(positive_NF: np.ndarray, branches: Sequence[Branch]) -> list[int]:
    columns = [[*complete, *([] if unknown is None else [unknown])] for complete, unknown in branches]
    return [int(positive_NF[:, each].any(axis=1).sum()) for each in columns]
