"""Writing an index: rows into segments, then the contents that name them, then what nobody names is removed.

Killed at any moment, the contents that are there name segments that are whole.

Shape letters: W rows, E values of an embedding.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from auricle.search.graphs import build_graph, can_graph
from auricle.search.layout import ARRAYS, NOWHERE, SEGMENTS, Piece, array_file, read_contents, write_contents
from auricle.search.store import Segment
from auricle.shards.layout import TEMPORARY, publish, sync_folder

# Rows of a segment. More make a search of many segments quicker, and take more memory while a graph is built:
# 64 MB of 256 values.
SEGMENT_ROWS = 131_072
GRAPH_ROWS = 16_384  # below, all rows are looked at in a few milliseconds
COPY_ROWS = 16_384

Rows = Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]  # starts and ends in seconds, (W, E) embeddings


class Heard(NamedTuple):
    """A recording and its rows, some at a time."""

    path: str
    size: int
    mark: str
    error: str
    rows: Rows


def commit(
    path: Path,
    keep: Callable[[Piece], bool],
    new: Iterable[Heard],
    size: int,
    *,
    segment_rows: int = SEGMENT_ROWS,
) -> list[Piece]:
    """Put recordings into an index, and leave others out: all of it at once, or nothing.

    Segments that are less than half full of what is kept are written anew, together with the new rows, so
    that there are never many small ones; others stay as they are.

    Args:
        path: the index, held against other writers.
        keep: whether a piece that is there stays.
        new: recordings that are not there, or whose pieces are not kept.
        size: E.
        segment_rows: of a full segment.

    Returns:
        What it holds now.

    >>> commit(Path("index"), lambda piece: True, [], 256)  # doctest: +SKIP
    """
    before = read_contents(path)
    kept = [piece for piece in before if keep(piece)]
    counts: dict[int, int] = {}
    for piece in kept:
        counts[piece.segment] = counts.get(piece.segment, 0) + piece.rows
    small = {number for number, rows in counts.items() if number != NOWHERE and 2 * rows < segment_rows}
    writer = _Writer(path, max([NOWHERE, *(piece.segment for piece in before)]) + 1, size, segment_rows)
    new = iter(new)
    upcoming = next(new, None)
    stale = {piece.segment for piece in before if not keep(piece)} & small
    if upcoming is None and len(small) < 2 and not stale:
        small = set()  # what is there is as well as it can be
    for number in sorted(small):
        pieces = [piece for piece in kept if piece.segment == number]
        segment = Segment(path, number, pieces)
        for piece in segment.pieces:
            writer.add(Heard(*piece[:4], _copied(segment, piece)))
    while upcoming is not None:
        writer.add(upcoming)
        upcoming = next(new, None)
    pieces = [piece for piece in kept if piece.segment not in small] + writer.finish()
    sync_folder(path / SEGMENTS)
    write_contents(path, pieces)
    remove_unnamed(path)
    return pieces


def remove_unnamed(path: Path) -> None:
    """Remove files of segments that the contents do not name: of a run that was killed, or replaced.

    >>> remove_unnamed(Path("no-such-folder"))
    """
    named = {piece.segment for piece in read_contents(path)}
    for file in (path / SEGMENTS).glob("*"):
        number = file.name.partition(".")[0]
        if file.name.endswith(TEMPORARY) or (number.isdecimal() and int(number) not in named):
            with contextlib.suppress(PermissionError):  # Windows keeps what a search has open; later then
                file.unlink(missing_ok=True)


def missing_graphs(path: Path, graph_rows: int = GRAPH_ROWS) -> list[tuple[int, int]]:
    """(segment, its rows) of those that are worth a graph and have none; none where usearch is missing.

    >>> missing_graphs(Path("no-such-folder"))
    []
    """
    ends: dict[int, int] = {}
    for piece in read_contents(path):
        if piece.segment != NOWHERE:
            ends[piece.segment] = max(ends.get(piece.segment, 0), piece.first + piece.rows)
    return [
        (number, rows)
        for number, rows in sorted(ends.items())
        if can_graph() and rows >= graph_rows and not array_file(path, number, "usearch").is_file()
    ]


def add_graph(path: Path, segment: int, *, threads: int = 0) -> None:
    """Build the graph of a segment.

    >>> add_graph(Path("index"), 0)  # doctest: +SKIP
    """
    values = np.load(array_file(path, segment, "values"), mmap_mode="r")
    build_graph(values, array_file(path, segment, "usearch"), threads=threads, seed=segment)


def _copied(segment: Segment, piece: Piece) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for first in range(piece.first, piece.first + piece.rows, COPY_ROWS):
        rows = slice(first, min(first + COPY_ROWS, piece.first + piece.rows))
        spans = np.asarray(segment.spans[rows])
        yield spans[:, 0], spans[:, 1], np.asarray(segment.values[rows])


class _Writer:
    """Rows into segments, each closed when it is full; a recording may go on in the next."""

    def __init__(self, path: Path, number: int, size: int, segment_rows: int):
        self.path, self.number, self.size, self.segment_rows = path, number, size, segment_rows
        self.pieces: list[Piece] = []
        self._files: dict[str, Any] = {}
        self._rows = 0
        (path / SEGMENTS).mkdir(exist_ok=True)

    def add(self, heard: Heard) -> None:
        """All rows of a recording, or of a piece of one."""
        described = heard[:4]
        first, written = self._rows, False
        for starts, ends, values in heard.rows:
            while len(values):
                part = slice(0, self.segment_rows - self._rows)
                self._write(starts[part], ends[part], values[part])
                starts, ends, values = (array[part.stop :] for array in (starts, ends, values))
                if self._rows == self.segment_rows:
                    self.pieces.append(Piece(*described, self.number, first, self._rows - first))
                    self._close()
                    first, written = 0, True
        if self._rows > first:
            self.pieces.append(Piece(*described, self.number, first, self._rows - first))
        elif not written:
            self.pieces.append(Piece(*described, NOWHERE, 0, 0))

    def finish(self) -> list[Piece]:
        """Close the last segment; what was written."""
        if self._rows:
            self._close()
        return self.pieces

    def _write(self, starts: np.ndarray, ends: np.ndarray, values: np.ndarray) -> None:
        if not self._files:
            self._files = {kind: self._temporary(kind).open("wb") for kind in ARRAYS}
            for kind in ARRAYS:
                self._header(kind)
        stored = np.ascontiguousarray(values, "<f2")
        self._files["values"].write(stored.data)
        self._files["norms"].write(np.linalg.norm(stored.astype(np.float32), axis=1).astype("<f4").data)
        self._files["spans"].write(np.ascontiguousarray(np.stack([starts, ends], axis=1), "<f8").data)
        self._rows += len(stored)

    def _header(self, kind: str) -> int:
        described = {"values": ("<f2", (self.size,)), "norms": ("<f4", ()), "spans": ("<f8", (2,))}
        dtype, rest = described[kind]
        header = {"descr": dtype, "fortran_order": False, "shape": (self._rows, *rest)}
        np.lib.format.write_array_header_1_0(self._files[kind], header)
        return int(self._files[kind].tell())

    def _close(self) -> None:
        for kind, file in self._files.items():
            file.seek(0)
            self._header(kind)  # of the same length: NumPy leaves room for the number of rows to grow
            file.close()
            publish(self._temporary(kind), array_file(self.path, self.number, kind))
        self._files, self._rows, self.number = {}, 0, self.number + 1

    def _temporary(self, kind: str) -> Path:
        file = array_file(self.path, self.number, kind)
        return file.with_name(file.name + TEMPORARY)
