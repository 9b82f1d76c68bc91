"""What an index of embeddings is on the disk: its description, its recordings, and where their rows are.

- `index.json`: what made the embeddings: model (and how it was given), fingerprint, rate, window and hop in
  samples, size
- `contents.parquet`: a row for each piece of a recording: path, size, mark, error, segment, first, rows. It
  is replaced whole, and decides: rows that it does not name are not there
- `segments/NNNNN.values.npy`: (W, E) float16 embeddings as the model gave them; `.norms.npy` (W,) float32,
  their lengths; `.spans.npy` (W, 2) float64, start and end in seconds
- `segments/NNNNN.usearch`: a graph over the same rows, of which `.twins.npy` says which are equal; where it
  is missing, every row is looked at
- `journal/`: only while recordings are embedded: what is finished

Shape letters: W windows, E values of an embedding.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from auricle.shards.layout import write_json, write_table

FORMAT = 1
ABOUT, CONTENTS, SEGMENTS, JOURNAL = "index.json", "contents.parquet", "segments", "journal"
NEEDED = ("model", "given", "fingerprint", "rate", "window", "hop", "size")
ARRAYS = ("values", "norms", "spans")
NOWHERE = -1  # segment of a recording that has no rows


class Piece(NamedTuple):
    """Rows of one recording that stand together; a long recording may have several pieces."""

    path: str  # absolute, or an address
    size: int  # bytes that the recording had when it was heard
    mark: str  # changes with the recording: when it was written; "" elsewhere
    error: str  # why it, or the rest of it, is not here
    segment: int
    first: int
    rows: int


def array_file(path: Path, segment: int, kind: str) -> Path:
    """Where an array of a segment lies; "usearch": its graph.

    >>> array_file(Path("index"), 3, "norms").as_posix(), array_file(Path("index"), 3, "usearch").name
    ('index/segments/00003.norms.npy', '00003.usearch')
    """
    return path / SEGMENTS / f"{segment:05d}.{kind}{'.npy' if kind in ARRAYS else ''}"


def begin(path: Path, about: Mapping[str, Any]) -> None:
    """Write the description of a new index, or see that one which is there is of the same model and hop.

    Raises:
        ValueError: it is of another.

    >>> import tempfile
    >>> about = {"model": "m", "given": "m", "rate": 8000, "window": 8, "hop": 8000, "size": 2}
    >>> about |= {"fingerprint": "f" * 64}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     begin(Path(folder), about)
    ...     begin(Path(folder), about | {"fingerprint": "e" * 64})
    Traceback (most recent call last):
    ...
    ValueError: ...: holds embeddings of the model m (fingerprint ffffffff), a window every 1 s; ...
    """
    if not (path / ABOUT).is_file():
        write_json(path / ABOUT, {"format": FORMAT} | dict(about))
        return
    refuse_other_model(path, read_about(path), about)


def refuse_other_model(path: Path, about: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse a model, or a hop, that is not the one whose embeddings an index holds.

    Args:
        path: of the index.
        about: its description.
        given: what `auricle.embedding.describe_model` says of the model that is to be used with it.

    Raises:
        ValueError: it is another.

    >>> refuse_other_model(Path("index"), {"fingerprint": "a"}, {"fingerprint": "a"})
    """
    if about["fingerprint"] == given["fingerprint"]:
        return

    def named(one: Mapping[str, Any]) -> str:
        return (
            f"the model {one['model']} (fingerprint {one['fingerprint'][:8]}), a window every "
            f"{one['hop'] / one['rate']:g} s"
        )

    raise ValueError(
        f"{path}: holds embeddings of {named(about)}; this is {named(given)}: embeddings of two models "
        "cannot be compared; give that model and hop, or make another index"
    )


def read_about(path: str | Path) -> dict[str, Any]:
    """The description of an index.

    Raises:
        ValueError: there is none, or it is of a later version.

    >>> read_about("no-such-folder")
    Traceback (most recent call last):
    ValueError: no-such-folder: no index; expected a folder that `auricle index` wrote
    """
    file = Path(path) / ABOUT
    if not file.is_file():
        raise ValueError(f"{path}: no index; expected a folder that `auricle index` wrote")
    try:
        about = json.loads(file.read_text(encoding="ascii"))
        missing = [name for name in ("format", *NEEDED) if name not in about]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: damaged ({error}); make the index again") from None
    if missing:
        raise ValueError(f"{file}: does not say {', '.join(missing)}; make the index again")
    if about["format"] > FORMAT:
        raise ValueError(
            f"{file}: version {about['format']}, newer than the {FORMAT} known here; update auricle"
        )
    return dict(about)


def read_contents(path: Path) -> list[Piece]:
    """Which recordings an index holds; none before the first run into it has ended.

    >>> read_contents(Path("no-such-folder"))
    []
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = path / CONTENTS
    if not file.is_file():
        return []
    try:
        columns = pq.read_table(file).to_pydict()
        paths = [os.fsdecode(name) for name in columns.pop("path")]
        return [
            Piece(*row) for row in zip(paths, *(columns[name] for name in Piece._fields[1:]), strict=True)
        ]
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{file}: damaged ({error}); make the index again") from None


def write_contents(path: Path, pieces: Iterable[Piece]) -> None:
    """Say what an index holds from now on.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_contents(Path(folder), [Piece("/a.wav", 10, "7", "", 0, 0, 3)])
    ...     read_contents(Path(folder))
    [Piece(path='/a.wav', size=10, mark='7', error='', segment=0, first=0, rows=3)]
    """
    import pyarrow as pa

    pieces = list(pieces)
    kinds = [pa.binary(), pa.int64(), pa.string(), pa.string(), pa.int32(), pa.int64(), pa.int64()]
    columns = [list(column) for column in zip(*pieces, strict=True)] or [[] for _ in kinds]
    columns[0] = [os.fsencode(name) for name in columns[0]]  # names of any bytes
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    write_table(path / CONTENTS, pa.table(arrays, names=list(Piece._fields)))
