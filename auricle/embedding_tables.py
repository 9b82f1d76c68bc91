"""Embeddings as a Parquet file: written a row group at a time, read clip by clip.

Shape letters: W rows, E values of an embedding.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from auricle.disk import full_disk_told
from auricle.text import as_utf8

GROUP_BYTES = 8 << 20  # of embeddings in a row group: what writer and reader hold at a time
NUMBERS = ("rate", "window", "hop", "size")  # of the metadata, which are text in the file
NEEDED = ("model", "fingerprint", *NUMBERS)
PRECISIONS = ("float32", "float16")


class EmbeddingTable:
    """A Parquet file of embeddings that is being written; it appears under its name when it is complete.

    Without a row there is no file.

    Args:
        path: the file.
        about: its metadata; at least model, fingerprint, rate, window, hop and size (E).
        key: name of the first column, "path" or "clip".
        precision: of the values, "float32" (which every Parquet reader knows) or "float16".
        temporary: its name until it is complete, on the same disk; at first a hidden one beside it.

    Raises:
        ValueError: there is no folder for the file, or the precision is unknown.

    >>> import tempfile
    >>> about = {"model": "m", "fingerprint": "f", "rate": 8000, "window": 8000, "hop": 8000, "size": 2}
    >>> with EmbeddingTable(Path(tempfile.mkdtemp()) / "x.parquet", about) as table:
    ...     table.add("a.wav", [0.0, 1.0], [1.0, 2.0], np.zeros((2, 2)))
    >>> table.rows
    2
    """

    def __init__(
        self,
        path: str | Path,
        about: Mapping[str, Any],
        *,
        key: str = "path",
        precision: str = "float32",
        temporary: Path | None = None,
    ):
        import pyarrow as pa

        self.path, self.rows = Path(path), 0
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}; expected {' or '.join(PRECISIONS)}")
        if not self.path.parent.is_dir():
            raise ValueError(f"{path}: the folder {self.path.parent} does not exist; create it")
        if self.path.is_dir():
            raise ValueError(f"{path}: is a folder; name a file")
        self._size, self._dtype = int(about["size"]), np.dtype(precision)
        value = pa.float32() if precision == "float32" else pa.float16()
        fields = [(key, pa.string()), ("start", pa.float64()), ("end", pa.float64())]
        schema = pa.schema([*fields, ("embedding", pa.list_(value, self._size))])
        self._schema = schema.with_metadata({name: str(entry) for name, entry in about.items()})
        self._group = max(1, GROUP_BYTES // (self._dtype.itemsize * self._size))
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._temporary = beside if temporary is None else temporary
        self._writer: Any = None
        self._keys: list[str] = []
        self._parts: list[tuple[np.ndarray, ...]] = []

    def __enter__(self) -> Self:
        import pyarrow.parquet as pq

        # Embeddings hardly compress and are all different: dictionaries and statistics cost and give nothing.
        options = {
            "compression": "zstd",
            "use_dictionary": [self._schema.names[0]],
            "write_statistics": False,
        }
        self._writer = pq.ParquetWriter(self._temporary, self._schema, **options)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._write()
            with full_disk_told(self.path.parent):
                self._writer.close()
            if kind is None and self.rows:  # a file of nothing would only take an older one's place
                with self._temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def add(self, key: str, starts: ArrayLike, ends: ArrayLike, embeddings_WE: np.ndarray) -> None:
        """Append rows of one recording or clip.

        Raises:
            ValueError: embeddings of another size, or a value that is not finite in the file's precision.
        """
        spans = np.asarray(starts, np.float64), np.asarray(ends, np.float64)
        if embeddings_WE.shape != (len(spans[0]), self._size):
            raise ValueError(f"{key}: expected {(len(spans[0]), self._size)}, got {embeddings_WE.shape}")
        stored = as_stored(key, embeddings_WE, self._dtype)
        self._keys += [as_utf8(key)] * len(stored)
        self._parts.append((*spans, stored))
        self.rows += len(stored)
        if len(self._keys) >= self._group:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa

        if not self._keys:
            return
        starts, ends, values = (np.concatenate(columns) for columns in zip(*self._parts, strict=True))
        lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), self._size)
        columns = [pa.array(self._keys, pa.string()), pa.array(starts), pa.array(ends), lists]
        batch = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        with full_disk_told(self.path.parent):
            self._writer.write_batch(batch, row_group_size=self._group)
        self._keys, self._parts = [], []


def as_stored(key: str, embeddings_WE: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Embeddings of a recording or clip in the precision in which they are kept.

    Raises:
        ValueError: a value is not finite in it.

    >>> as_stored("a.wav", np.ones((1, 2), np.float32), "float16").dtype
    dtype('float16')
    """
    with np.errstate(over="ignore"):  # told below, in words
        stored = embeddings_WE.astype(dtype)
    if not np.isfinite(stored).all():
        raise ValueError(f"{key}: an embedding has a value that is not finite as {np.dtype(dtype)}")
    return stored


class TableRows:
    """A Parquet file of embeddings, opened; embeddings themselves are read when they are taken.

    Args:
        path: the file, as `EmbeddingTable` writes it.

    Raises:
        ValueError: it is no such file.
    """

    def __init__(self, path: str | Path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"{path}: no such file; expected Parquet as `auricle embed` writes it")
        try:
            self._file = pq.ParquetFile(self.path)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: not a Parquet file ({error})") from None
        schema = self._file.schema_arrow
        self.key = schema.names[0]
        known = {name.decode(): entry.decode() for name, entry in (schema.metadata or {}).items()}
        missing = [name for name in NEEDED if name not in known]
        names = ["start", "end", "embedding"]
        if self.key not in ("path", "clip") or schema.names[1:] != names or missing:
            raise ValueError(
                f"{path}: expected columns path or clip, {', '.join(names)} and metadata "
                f"{', '.join(NEEDED)}, as `auricle embed` writes them; got {', '.join(schema.names)}"
                + (f" without {', '.join(missing)}" if missing else "")
            )
        # Arrow's own entry is none of ours.
        known = {name: entry for name, entry in known.items() if not name.startswith("ARROW:")}
        self.about: dict[str, Any] = known | {name: int(known[name]) for name in NUMBERS}
        table = self._file.read(columns=[self.key, "start", "end"])
        encoded = table[self.key].combine_chunks().dictionary_encode()
        self._codes, self.keys = encoded.indices.to_numpy(), encoded.dictionary.to_pylist()  # of rows; all
        self.starts, self.ends = table["start"].to_numpy(), table["end"].to_numpy()
        groups = [self._file.metadata.row_group(g).num_rows for g in range(self._file.num_row_groups)]
        self._bounds = np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)
        self._read: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def take(self, positions: np.ndarray) -> np.ndarray:
        """(W, E) embeddings of some rows, in the file's precision.

        Rows in the file's order are read once; at most two row groups are held.
        """
        out = np.empty((len(positions), self.about["size"]), np.float32)
        groups = np.searchsorted(self._bounds, positions, side="right") - 1
        for group in np.unique(groups):
            here = groups == group
            out[here] = self._group(int(group))[positions[here] - self._bounds[group]]
        return out

    def of_clips(self, ids: np.ndarray) -> list[np.ndarray]:
        """For each clip id, the positions of its rows.

        Raises:
            ValueError: rows of other ids.
        """
        found = self._by_key()
        if foreign := sorted(set(found) - set(ids.tolist())):
            raise ValueError(
                f"{self.path}: rows of {len(foreign)} clips that are not in the pack, e.g. "
                f"{', '.join(foreign[:3])}"
            )
        nothing = np.zeros(0, np.int64)
        return [found.get(clip, nothing) for clip in ids.tolist()]

    def of_paths(self, paths: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> list[np.ndarray]:
        """For each clip, the positions of its recording's rows, of those that lie within the clip.

        Args:
            paths: of each clip's recording, as the pack has it.
            starts: seconds at which a clip begins; NaN where it is the whole recording.
            ends: where it ends.

        Raises:
            ValueError: several recordings of the file are a clip's by their paths.
        """
        found = self._by_key()
        by_path: dict[str, list[str]] = {path: [] for path in paths.tolist()}
        for key in found:
            # The longest end of a row's path that a clip has for its own: b/x.wav rather than x.wav.
            parts = key.replace("\\", "/").split("/")
            tails = (key, *("/".join(parts[first:]) for first in range(len(parts))))
            if (own := next((tail for tail in tails if tail in by_path), None)) is not None:
                by_path[own].append(key)
        owned = []
        for path, start, end in zip(paths.tolist(), starts.tolist(), ends.tolist(), strict=True):
            keys = by_path[path]
            if len(keys) > 1:
                raise ValueError(
                    f"{self.path}: {keys[0]} and {keys[1]} could both be {path} of the pack; embed only "
                    "the folder that was packed"
                )
            rows = found[keys[0]] if keys else np.zeros(0, np.int64)
            if start == start or end == end:  # not NaN: the clip is a part
                first, last = (start if start == start else 0.0), (end if end == end else np.inf)
                rows = rows[(self.starts[rows] >= first - 1e-6) & (self.ends[rows] <= last + 1e-6)]
            owned.append(rows)
        return owned

    def _by_key(self) -> dict[str, np.ndarray]:
        """Key -> positions of its rows, in the file's order."""
        order = np.argsort(self._codes, kind="stable")
        cuts = np.cumsum(np.bincount(self._codes, minlength=len(self.keys)))[:-1]
        return dict(zip(self.keys, np.split(order, cuts), strict=True)) if self.keys else {}

    def _group(self, group: int) -> np.ndarray:
        if group not in self._read:
            if len(self._read) == 2:
                del self._read[min(self._read)]
            column = self._file.read_row_group(group, columns=["embedding"])["embedding"].combine_chunks()
            values = column.flatten().to_numpy(zero_copy_only=False)
            self._read[group] = values.reshape(-1, self.about["size"])
        return self._read[group]
