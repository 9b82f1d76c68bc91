"""A model's scores on a pack, and what they are worth: figures with intervals, class by class, scores.

Shape letters: M clips evaluated, K classes of the model, S classes that model and pack share.
"""

import csv
import json
import math
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soxr

import auricle
from auricle.artifact import load_artifact
from auricle.metrics.ranking import METRICS, bootstrap_intervals, per_class, summarise
from auricle.progress import Progress
from auricle.runners import load_runner
from auricle.runners.windows import MeanScores, window_starts
from auricle.shards import Pack

LEVEL = 0.95  # share of the draws that an interval covers


def evaluate(
    model: Any,
    pack: Any,
    *,
    splits: Sequence[str] | None = None,
    where: Mapping[str, tuple[str, ...]] | None = None,
    out: str | Path | None = None,
    label_set: str = "labels",
    batch: int = 16,
    threads: int | None = None,
    device: str = "cpu",
    draws: int = 1000,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a model on a pack's clips and compare with their labels.

    A clip's score is the mean over its windows of the sigmoid of their logits; windows are cut as the
    artifact says and never across clips. Labels are matched by name, and figures are over those that both
    sides have.

    Args:
        model: a model's name or path, an artifact, or a runner.
        pack: a pack's folder, or a `Pack`. One of a higher rate than the model's is resampled.
        splits: only clips of these splits; None takes all.
        where: attribute -> values; only clips that have one of them.
        out: folder for `scores.parquet`, `metrics.json` and `per_class.csv`; None writes nothing.
        label_set: the labels to compare with.
        batch: windows scored at once.
        threads: of the runner; None takes every core.
        device: of the runner.
        draws: bootstrap draws, of groups of clips, for the intervals; 0 leaves the intervals out.
        seed: of the draws.
        quiet: show no progress.

    Returns:
        What `metrics.json` holds: the figures of `auricle.metrics.ranking.summarise` (None where not defined
        or infinite), `intervals`, what was left out, `clips_in_training`, and where all of it comes from.

    Raises:
        ValueError: no such model, pack, label set, split or attribute value (the message lists what there
            is), no clip is left, no label is shared, or the pack's rate is below the model's.

    >>> figures = evaluate("default", "out/pack", splits=["fold5"], out="out/fold5")  # doctest: +SKIP

    Source: Hershey et al. (2017), section 3.2; intervals are not from there.
    """
    pack = pack if hasattr(pack, "label_names") else Pack(pack)
    runner, artifact = _open_model(model, pack, batch=batch, threads=threads, device=device)
    clips = select_clips(pack, splits, where)
    labels = pack.label_names(label_set)
    columns = _match(artifact, pack, labels, label_set)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)  # before the work, which may take hours
    started = time.perf_counter()
    scores_MK = score_clips(runner, pack, clips, batch=batch, quiet=quiet)
    seconds = time.perf_counter() - started
    targets_ML = pack.targets(clips, label_set) > 0.5
    in_model, in_pack = (list(side) for side in zip(*columns, strict=True))
    shared = targets_ML[:, in_pack], scores_MK[:, in_model]
    names, classes = [artifact.labels[k] for k in in_model], per_class(*shared)
    figures = _figures(*shared, pack.groups[clips], draws=draws, seed=seed, quiet=quiet)
    figures |= _left_out(artifact.labels, labels, names, classes)
    figures["clips_in_training"] = _clips_in_training(artifact, pack, clips)
    figures |= _provenance(artifact, pack, clips, splits, where, label_set, seconds)
    figures = _jsonable(figures)
    if out is not None:
        table = _score_table(pack, clips, scores_MK, list(artifact.labels), targets_ML, labels)
        write(Path(out), figures, names, classes, table)
    return figures


def select_clips(
    pack: Any, splits: Sequence[str] | None = None, where: Mapping[str, tuple[str, ...]] | None = None
) -> np.ndarray:
    """Positions of the chosen clips of a pack, at least one.

    Raises:
        ValueError: no such split, attribute or value; the message lists what there is.

    >>> class OneSplit:
    ...     path, splits = "pack", np.array(["test"])
    >>> select_clips(OneSplit(), ["tset"])
    Traceback (most recent call last):
    ValueError: pack: no split 'tset'; there are: test
    """
    if isinstance(splits, str):
        splits = [splits]
    _require_known(pack, "split", splits or (), pack.splits)
    for name, values in (where or {}).items():
        values = (values,) if isinstance(values, str) else tuple(values)
        _require_known(pack, f"{name} equal to", values, pack.attributes(name))
    clips = pack.select(splits, where)
    if not len(clips):
        asked = {"split": splits or ()} | dict(where or {})
        chosen = " and ".join(f"{name} {' or '.join(values)}" for name, values in asked.items() if values)
        raise ValueError(f"{pack.path}: no clips{f' with {chosen}' if chosen else ''}; choose others")
    return clips


def score_clips(
    runner: Any, pack: Any, clips: np.ndarray, *, batch: int = 16, quiet: bool = False
) -> np.ndarray:
    """Scores of clips of a pack, by the artifact's window, hop and tail.

    Args:
        runner: as `auricle.runners.load_runner` gives it.
        pack: a `Pack` whose rate is at least the model's.
        clips: (M,) positions in the pack.
        batch: windows scored at once.
        quiet: show no progress.

    Returns:
        (M, K) float32 in [0, 1]. A clip without samples scores as silence.

    Raises:
        ValueError: the pack's rate is below the model's.

    >>> runner = load_runner(load_artifact("default"))  # doctest: +SKIP
    >>> score_clips(runner, Pack("out/pack"), np.arange(10)).shape  # doctest: +SKIP
    (10, 50)
    """
    artifact = runner.artifact
    _check_rate(artifact, pack)
    means = [MeanScores(len(artifact.labels)) for _ in clips]
    scores_MK = np.empty((len(clips), len(artifact.labels)), np.float32)
    buffer = np.zeros((batch, artifact.window), np.float32)
    owners: list[int] = []  # of the buffer's rows
    finished = 0
    with Progress(len(clips), "scoring", unit="clips", quiet=quiet) as progress:
        for owner, window in _windows(artifact, pack, clips):
            buffer[len(owners), : len(window)] = window
            buffer[len(owners), len(window) :] = 0
            owners.append(owner)
            if len(owners) == batch:
                _add(means, owners, runner.run(buffer)[0])
                owners.clear()
                progress.advance(owner - finished)
                finished = owner
        if owners:
            _add(means, owners, runner.run(buffer[: len(owners)])[0])
        progress.advance(len(clips) - finished)
    for row, mean in zip(scores_MK, means, strict=True):
        row[:] = mean.mean()
    return scores_MK


def _windows(artifact: Any, pack: Any, clips: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(row of the clip, its next window as float32, shorter where the clip ends)."""
    for row, clip in enumerate(clips):
        samples = pack.samples(int(clip))
        if pack.rate != artifact.rate:
            samples = soxr.resample(
                samples.astype(np.float32) / 32768, pack.rate, artifact.rate, quality="HQ"
            )
        starts = window_starts(len(samples), artifact.window, artifact.hop, artifact.tail)
        for start in starts if len(starts) else (0,):
            window = samples[start : start + artifact.window]
            yield row, window.astype(np.float32) / 32768 if window.dtype == np.int16 else window


def _add(means: list[MeanScores], owners: list[int], logits_WK: np.ndarray) -> None:
    """Give each window's logits to its clip; neighbouring windows of one clip go together."""
    bounds = np.flatnonzero(np.diff(owners, prepend=-1, append=-1))
    for start, end in zip(bounds, bounds[1:], strict=False):
        means[owners[start]].add(logits_WK[start:end])


def _open_model(model: Any, pack: Any, **options: Any) -> tuple[Any, Any]:
    """Runner and artifact of what the caller gave; the rate is looked at before anything heavy is loaded."""
    if hasattr(model, "run"):
        _check_rate(model.artifact, pack)
        return model, model.artifact
    artifact = model if hasattr(model, "labels") else load_artifact(model)
    _check_rate(artifact, pack)
    return load_runner(artifact, **options), artifact


def _check_rate(artifact: Any, pack: Any) -> None:
    if pack.rate < artifact.rate:
        raise ValueError(
            f"{pack.path}: packed at {pack.rate} Hz, but the model needs {artifact.rate} Hz, and what was "
            f"cut off does not come back: pack the source again with --rate {artifact.rate}"
        )


def _match(artifact: Any, pack: Any, labels: list[str], label_set: str) -> list[tuple[int, int]]:
    """(column in the model, column in the pack) of each shared label, in the model's order."""
    if not labels:
        raise ValueError(f"{pack.path}: label set {label_set!r} holds no label to compare scores with")
    position = {label: column for column, label in enumerate(labels)}
    columns = [(k, position[label]) for k, label in enumerate(artifact.labels) if label in position]
    if not columns:
        raise ValueError(
            f"{pack.path}: label set {label_set!r} ({_some(labels)}) shares no label with "
            f"the model ({_some(artifact.labels)}): names must be equal, letter by letter"
        )
    return columns


def _some(labels: Sequence[str]) -> str:
    return ", ".join([*labels[:5], *["..."] * (len(labels) > 5)])


def _require_known(pack: Any, what: str, wanted: Sequence[str], there: np.ndarray) -> None:
    known = sorted({str(value) for value in there if value is not None})
    for value in wanted:
        if value not in known:
            listed = ", ".join(known[:50]) + (f", ... ({len(known)} in all)" if len(known) > 50 else "")
            raise ValueError(f"{pack.path}: no {what} {value!r}; there are: {listed or 'none'}")


def _figures(
    targets_MS: np.ndarray,
    scores_MS: np.ndarray,
    groups: np.ndarray,
    *,
    draws: int,
    seed: int,
    quiet: bool,
) -> dict[str, Any]:
    """The figures, and their intervals where draws are wanted."""
    figures: dict[str, Any] = dict(summarise(targets_MS, scores_MS))
    figures["groups"] = len(np.unique(groups))
    if draws:
        with Progress(targets_MS.shape[1] + 1, "intervals", unit="rankings", quiet=quiet) as progress:
            intervals = bootstrap_intervals(
                targets_MS, scores_MS, groups, draws=draws, seed=seed, level=LEVEL, progress=progress.advance
            )
        figures["intervals"] = {name: list(intervals[name]) for name in METRICS}
        figures["interval_level"], figures["interval_draws"] = LEVEL, draws
    return figures


def _left_out(
    model_labels: Sequence[str],
    pack_labels: Sequence[str],
    names: Sequence[str],
    classes: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Labels that only one side has, and of the shared ones those without a figure."""
    in_model, in_pack = set(model_labels), set(pack_labels)
    without = {
        f"classes_without_{figure}": [
            name for name, value in zip(names, classes[figure], strict=True) if math.isnan(value)
        ]
        for figure in ("ap", "auc")
    }
    return {
        "labels_not_in_model": [label for label in pack_labels if label not in in_model],
        "labels_not_in_pack": [label for label in model_labels if label not in in_pack],
        **without,
    }


def _clips_in_training(artifact: Any, pack: Any, clips: np.ndarray) -> int:
    """How many of the clips the model may have been trained on, by what it says of its training.

    Which clips training held back by chance (validation_fraction) it does not say: these are counted too.
    """
    if artifact.training.get("data") != pack.fingerprint:
        return 0
    config = artifact.training.get("config") or {}
    trained = np.intersect1d(pack.select(config.get("train_splits")), pack.select(None, config.get("where")))
    if held := config.get("validation_splits"):
        trained = np.setdiff1d(trained, pack.select(held))
    return len(np.intersect1d(clips, trained))


def _provenance(
    artifact: Any,
    pack: Any,
    clips: np.ndarray,
    splits: Sequence[str] | None,
    where: Mapping[str, tuple[str, ...]] | None,
    label_set: str,
    seconds: float,
) -> dict[str, Any]:
    audio_seconds = float(pack.lengths[clips].sum()) / pack.rate
    libraries = {"numpy": np.__version__, "soxr": soxr.__version__, "pyarrow": pa.__version__}
    return {
        "model": artifact.name,
        "model_fingerprint": artifact.fingerprint,
        "pack": str(pack.path),
        "pack_fingerprint": pack.fingerprint,
        "label_set": label_set,
        "splits": None if splits is None else [splits] if isinstance(splits, str) else list(splits),
        "where": {name: [v] if isinstance(v, str) else list(v) for name, v in (where or {}).items()},
        "resampled_from": pack.rate if pack.rate != artifact.rate else None,
        "audio_seconds": audio_seconds,
        "scoring_seconds": seconds,
        "times_real_time": audio_seconds / seconds if seconds else None,
        "versions": {"auricle": auricle.__version__, "python": platform.python_version()} | libraries,
    }


def _score_table(
    pack: Any,
    clips: np.ndarray,
    scores_MK: np.ndarray,
    names: list[str],
    targets_ML: np.ndarray,
    labels: list[str],
) -> pa.Table:
    """One row a clip; the order of the scores stands in the schema's metadata."""
    true_labels = [[labels[k] for k in np.flatnonzero(row)] for row in targets_ML]
    flat = pa.array(scores_MK.reshape(-1), pa.float32())
    columns = {
        "id": pa.array(pack.ids[clips], pa.string()),
        "path": _paths(pack, clips),
        "split": pa.array(pack.splits[clips], pa.string()),
        "group": pa.array(pack.groups[clips], pa.string()),
        "scores": pa.FixedSizeListArray.from_arrays(flat, len(names)),
        "labels": pa.array(true_labels, pa.list_(pa.string())),
    }
    return pa.table(columns).replace_schema_metadata({"labels": json.dumps(names, ensure_ascii=False)})


def _paths(pack: Any, clips: np.ndarray) -> pa.Array:
    column = pq.read_table(Path(pack.path) / "clips.parquet", columns=["path"])["path"]
    return column.take(pa.array(clips)).combine_chunks().cast(pa.string())


def write(
    out: Path, figures: dict[str, Any], names: list[str], classes: dict[str, np.ndarray], table: pa.Table
) -> None:
    """Write the three files of an evaluation, each whole or not at all.

    Args:
        out: an existing folder.
        figures: for `metrics.json`.
        names: (S,) labels, in the order of `classes`.
        classes: as `auricle.metrics.ranking.per_class` gives it; what is not defined stays empty.
        table: for `scores.parquet`.

    >>> write(Path("out/fold5"), figures, names, per_class(targets, scores), table)  # doctest: +SKIP
    """
    with _Replacing(out / "scores.parquet") as path:
        pq.write_table(table, path, compression="zstd")
    with _Replacing(out / "per_class.csv") as path, path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["label", *classes])
        for label, *values in zip(names, *classes.values(), strict=True):
            writer.writerow([label, *("" if math.isnan(value) else value for value in values)])
    with _Replacing(out / "metrics.json") as path:  # last: where it is, all is there
        path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class _Replacing:
    """A temporary path beside `path`, which takes its place when all went well."""

    def __init__(self, path: Path):
        self.path, self.temporary = path, path.with_name(f"{path.name}.{os.getpid()}.partial")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self.temporary.replace(self.path)
        else:
            self.temporary.unlink(missing_ok=True)


def _jsonable(value: Any) -> Any:
    """NumPy values as Python's, and None for what JSON cannot say: NaN and infinity."""
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
