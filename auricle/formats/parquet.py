"""Parquet, for analysis: every score of every window, in a row group at a time.

Shape letters: W windows, K labels.
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from auricle.formats.results import About, Result, spans, unpacked
from auricle.text import as_utf8

if TYPE_CHECKING:
    import numpy as np

GROUP_BYTES = 8 << 20  # of scores in a row group: what the writer holds


def write_parquet(results: Iterable[Result], stream: TextIO, *, about: About) -> None:
    """Write one row a window: path, start, end (seconds), on_grid, scores (float32, one for each label).

    The labels, in the order of the scores, stand in the file's metadata under "labels", as JSON; beside them
    "model" and "fingerprint". Rows go out in groups, so that memory does not grow; the windows of a file that
    failed are there up to where it did.

    Args:
        results: of any number of files, whose windows have {"start", "end", "on_grid", "scores"}.
        stream: the text stream of a file that is open for writing; the bytes below it are written.
        about: the model and its labels.

    Raises:
        ValueError: the stream takes no bytes, there are no labels, or a window has scores of another number.

    >>> import tempfile, numpy as np, pyarrow.parquet
    >>> window = {"start": 0.0, "end": 1.0, "on_grid": True, "scores": np.array([0.25, 0.5])}
    >>> with tempfile.TemporaryFile("w+") as file:
    ...     write_parquet([{"path": "a.wav", "windows": [window]}], file, about=About(labels=("dog", "rain")))
    ...     pyarrow.parquet.read_table(file.buffer)["scores"].to_pylist()
    [[0.25, 0.5]]
    """
    import pyarrow.parquet as pq

    below = getattr(stream, "buffer", None)
    if below is None:
        raise ValueError("Parquet is bytes, not text; open a file for it")
    if not about.labels:
        raise ValueError("Parquet has a score for each label, and there are no labels; give them in `about`")
    stream.flush()
    schema = _schema(about)
    rows = _Rows(schema, len(about.labels))
    # Scores hardly repeat, so dictionaries give nothing; bytes of one kind side by side compress.
    options = {
        "compression": "zstd",
        "use_dictionary": ["path"],
        "use_byte_stream_split": ["scores.list.element"],
        "write_statistics": ["path", "start", "end"],
    }
    # pyarrow leaves a file open that it did not open itself.
    with pq.ParquetWriter(below, schema, **options) as writer:
        for result in results:
            for window in spans(result):
                rows.add(result["path"], window)
                if rows.full():
                    writer.write_batch(rows.taken(), row_group_size=rows.group)
                    below.flush()
        if rows.paths:
            writer.write_batch(rows.taken(), row_group_size=rows.group)
    below.flush()


class _Rows:
    """Rows of the group that is being filled."""

    def __init__(self, schema: Any, size: int):
        self.schema, self.size = schema, size
        self.group = max(1, GROUP_BYTES // (4 * size))
        self.paths: list[str] = []
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.on_grid: list[bool] = []
        self.scores: list[np.ndarray] = []

    def add(self, path: str, window: dict[str, Any]) -> None:
        scores = unpacked(window["scores"])
        if scores.shape != (self.size,):
            raise ValueError(f"{path}: a window has {len(scores)} scores, expected {self.size}, one a label")
        self.paths.append(as_utf8(path))
        self.starts.append(window["start"])
        self.ends.append(window["end"])
        self.on_grid.append(window["on_grid"])
        self.scores.append(scores)

    def full(self) -> bool:
        return len(self.paths) >= self.group

    def taken(self) -> Any:
        """A record batch of the rows, which are then gone."""
        import numpy as np
        import pyarrow as pa

        values = pa.array(np.concatenate(self.scores))
        columns = [
            pa.array(self.paths, pa.string()),
            pa.array(self.starts, pa.float64()),
            pa.array(self.ends, pa.float64()),
            pa.array(self.on_grid, pa.bool_()),
            pa.FixedSizeListArray.from_arrays(values, self.size),
        ]
        for column in (self.paths, self.starts, self.ends, self.on_grid, self.scores):
            column.clear()
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _schema(about: About) -> Any:
    import pyarrow as pa

    fields = [
        ("path", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("on_grid", pa.bool_()),
        ("scores", pa.list_(pa.float32(), len(about.labels))),
    ]
    metadata = {"labels": json.dumps(about.labels), "model": about.model, "fingerprint": about.fingerprint}
    return pa.schema(fields).with_metadata(metadata)
