"""Scores on disk while they are made, and what an evaluation leaves: figures, classes, scores.

Shape letters: M clips evaluated, K classes of the model.
"""

import csv
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from auricle.runners.windows import logit

BUFFER = 2**22  # bytes of scores written at a time


class ScoreFile:
    """Scores of clips, written as they come to a file without a name, and read as one array.

    Args:
        folder: on whose disk; None takes the system's folder for temporary files.
        shape: (M, K).
        half: keep logits as float16, half the room, in place of scores as float32.

    >>> with ScoreFile(None, (1, 3), half=True) as kept:
    ...     kept.append(np.array([0.0, 0.5, 1.0]))
    ...     kept.array()
    memmap([[-inf,   0.,  inf]], dtype=float16)
    """

    def __init__(self, folder: Path | None, shape: tuple[int, int], *, half: bool = False):
        self.shape, self.half = shape, half
        self.dtype = np.dtype(np.float16 if half else np.float32)
        self._file = tempfile.TemporaryFile(dir=folder, buffering=BUFFER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):  # of a full disk, told before; what was left to write is not needed
            self._file.close()

    def append(self, scores_K: np.ndarray) -> None:
        """Write the next clip's scores, float64 in [0, 1]."""
        self._file.write((logit(scores_K) if self.half else scores_K).astype(self.dtype).tobytes())

    def array(self) -> np.ndarray:
        """(M, K), mapped; to be read while the file is open."""
        self._file.flush()
        return np.memmap(self._file, self.dtype, "r", shape=self.shape)


def write(
    out: Path,
    figures: dict[str, Any],
    names: list[str],
    classes: dict[str, np.ndarray],
    scores: Iterator[pa.RecordBatch],
) -> None:
    """Write the three files of an evaluation, each whole or not at all.

    Args:
        out: an existing folder.
        figures: for `metrics.json`.
        names: (S,) labels, in the order of `classes`.
        classes: as `auricle.metrics.ranking.per_class` gives it, and more; what is not defined stays empty.
        scores: for `scores.parquet`, as `score_batches` gives them: one at least.

    >>> write(Path("out/fold5"), figures, names, classes, score_batches(...))  # doctest: +SKIP
    """
    with Replacing(out / "scores.parquet") as path:
        first = next(scores)
        with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
            writer.write_batch(first)
            for batch in scores:
                writer.write_batch(batch)
    write_figures(out, figures, names, classes)


def write_figures(
    out: Path, figures: Mapping[str, Any], names: Sequence[str], classes: Mapping[str, np.ndarray]
) -> None:
    """Write `per_class.csv` and, last of all that an evaluation leaves, `metrics.json`.

    Args:
        out: an existing folder.
        figures: for `metrics.json`.
        names: (S,) labels, in the order of `classes`.
        classes: name of a column -> (S,) values; what is not defined stays empty.

    >>> write_figures(Path("out/fold5"), {"map": 0.5}, ["dog"], {"ap": np.array([0.5])})  # doctest: +SKIP
    """
    with Replacing(out / "per_class.csv") as path, path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["label", *classes])
        for label, *values in zip(names, *classes.values(), strict=True):
            writer.writerow([label, *("" if math.isnan(value) else value for value in values)])
    with Replacing(out / "metrics.json") as path:  # last: where it is, all is there
        path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def score_batches(
    pack: Any,
    clips: np.ndarray,
    scores_MK: np.ndarray,
    names: list[str],
    label_set: str,
    *,
    label_map: str = "",
) -> Iterator[pa.RecordBatch]:
    """Rows of `scores.parquet`, some clips at a time; the order of the scores stands in the schema.

    The column is `scores`, or `logits` where they are float16. The map of labels that the names came by, if
    there is one, stands in the schema too.

    >>> next(score_batches(pack, clips, scores_MK, names, "labels")).num_rows  # doctest: +SKIP
    400
    """
    labels = pa.array(pack.label_names(label_set), pa.string())
    indptr, indices = pack.clip_labels(label_set)
    paths = pq.read_table(Path(pack.path) / "clips.parquet", columns=["path"])["path"]
    kind, column = (pa.float16(), "logits") if scores_MK.dtype == np.float16 else (pa.float32(), "scores")
    metadata = {"labels": json.dumps(names, ensure_ascii=False)}
    metadata |= {"label_map": label_map} if label_map else {}
    rows = max(1, BUFFER // (scores_MK.dtype.itemsize * len(names)))
    for start in range(0, len(clips), rows):
        part = clips[start : start + rows]
        flat = pa.array(np.asarray(scores_MK[start : start + rows]).reshape(-1), kind)
        of_clip = [np.sort(indices[indptr[clip] : indptr[clip + 1]]) for clip in part]
        bounds = np.cumsum([0, *(len(each) for each in of_clip)], dtype=np.int32)
        true = labels.take(pa.array(np.concatenate(of_clip), pa.int32()))
        columns = {
            "id": pa.array(pack.ids[part], pa.string()),
            "path": paths.take(pa.array(part)).combine_chunks().cast(pa.string()),
            "split": pa.array(pack.splits[part], pa.string()),
            "group": pa.array(pack.groups[part], pa.string()),
            column: pa.FixedSizeListArray.from_arrays(flat, len(names)),
            "labels": pa.ListArray.from_arrays(bounds, true),
        }
        batch = pa.RecordBatch.from_pydict(columns)
        yield batch.replace_schema_metadata(metadata)


class Replacing:
    """A temporary path beside `path`, which takes its place when all went well.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Replacing(Path(folder, "whole.txt")) as partial:
    ...         _ = partial.write_text("all of it")
    ...     Path(folder, "whole.txt").read_text()
    'all of it'
    """

    def __init__(self, path: Path):
        self.path, self.temporary = path, path.with_name(f"{path.name}.{os.getpid()}.partial")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self.temporary.replace(self.path)
        else:
            self.temporary.unlink(missing_ok=True)


def jsonable(value: Any) -> Any:
    """NumPy values as Python's, and None for what JSON cannot say: NaN and infinity.

    >>> jsonable({"auc": np.float64(0.5), "d_prime": np.inf})
    {'auc': 0.5, 'd_prime': None}
    """
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
