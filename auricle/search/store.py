"""An index of embeddings, opened: mapped from the disk, rows read when they are looked at.

Shape letters: W rows, E values of an embedding, Q rows that are asked for.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from auricle.search.copies import find_copies
from auricle.search.graphs import Graph, open_graph
from auricle.search.layout import NOWHERE, Piece, array_file, read_about, read_contents

BLOCK_BYTES = 16 << 20  # of float32 values that are held at a time


class Moment(NamedTuple):
    """A stretch of a recording, in seconds, and what is said of it."""

    path: str
    start: float
    end: float
    score: float


class Segment:
    """Rows that lie together. Some may be of recordings that are gone: those have no piece."""

    def __init__(self, path: Path, number: int, pieces: list[Piece]):
        self.number = number
        self.pieces = sorted(pieces, key=lambda piece: piece.first)
        self.graph_file = array_file(path, number, "usearch")
        try:
            arrays = [
                np.load(array_file(path, number, kind), mmap_mode="r")
                for kind in ("values", "norms", "spans")
            ]
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{path}: segment {number} cannot be read ({error}); make the index again"
            ) from None
        self.values, self.norms, self.spans = arrays
        self._firsts = np.array([piece.first for piece in self.pieces], np.int64)
        self._ends = self._firsts + np.array([piece.rows for piece in self.pieces], np.int64)
        if not len(self.values) == len(self.norms) == len(self.spans) >= self._ends.max(initial=0):
            raise ValueError(f"{path}: segment {number} is not as it was written; make the index again")

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def graph(self) -> Graph | None:
        """See `auricle.search.graphs`; None where there is none."""
        return open_graph(self.graph_file, len(self))

    @cached_property
    def alive(self) -> np.ndarray:
        """(W,) bool: the rows of recordings that are still there."""
        return self.owners(np.arange(len(self))) >= 0

    def owners(self, rows: np.ndarray) -> np.ndarray:
        """For each row the position of its piece, -1 where its recording is gone."""
        if not len(self._firsts):
            return np.full(len(rows), -1)
        owner = np.searchsorted(self._firsts, rows, side="right") - 1
        return np.where((owner >= 0) & (rows < self._ends[owner]), owner, -1)

    def blocks(self) -> Iterator[slice]:
        """The rows, some at a time."""
        step = max(1, BLOCK_BYTES // (4 * self.values.shape[1]))
        return (slice(first, min(first + step, len(self))) for first in range(0, len(self), step))


class VectorIndex:
    """An index that `auricle index` wrote.

    Rows have positions: those of the first segment, then those of the second, and so on.

    Args:
        path: the folder.

    Raises:
        ValueError: it is none, or it is damaged.

    >>> index = VectorIndex("out/index")  # doctest: +SKIP
    >>> len(index), index.about["model"]  # doctest: +SKIP
    (86400, 'auricle-esc50')
    """

    def __init__(self, path: str | Path):
        self.path, self.about = Path(path), read_about(path)
        self.pieces = read_contents(self.path)
        by_segment: dict[int, list[Piece]] = {}
        for piece in self.pieces:
            if piece.segment != NOWHERE:
                by_segment.setdefault(piece.segment, []).append(piece)
        self.segments = [Segment(self.path, number, by_segment[number]) for number in sorted(by_segment)]
        self.offsets = np.cumsum([0, *(len(segment) for segment in self.segments)])

    def __len__(self) -> int:
        return sum(piece.rows for piece in self.pieces)

    @property
    def size(self) -> int:
        """E."""
        return int(self.about["size"])

    @property
    def window_seconds(self) -> float:
        """How long a window is."""
        return float(self.about["window"] / self.about["rate"])

    @cached_property
    def by_path(self) -> dict[str, list[Piece]]:
        """Path of a recording -> its pieces."""
        found: dict[str, list[Piece]] = {}
        for piece in self.pieces:
            found.setdefault(piece.path, []).append(piece)
        return found

    @cached_property
    def names(self) -> list[str]:
        """The paths of all recordings, sorted."""
        return sorted(self.by_path)

    @cached_property
    def _names_of(self) -> dict[int, np.ndarray]:
        """Number of a segment -> for each of its pieces the place in `names`; at last -1, of no piece."""
        places = {name: place for place, name in enumerate(self.names)}
        return {
            segment.number: np.array([*(places[piece.path] for piece in segment.pieces), -1], np.int64)
            for segment in self.segments
        }

    @cached_property
    def alive(self) -> np.ndarray:
        """Positions of the rows that are there, ascending."""
        return np.flatnonzero(
            np.concatenate([segment.alive for segment in self.segments] or [np.zeros(0, bool)])
        )

    @cached_property
    def copies(self) -> dict[str, tuple[str, ...]]:
        """See `auricle.search.copies.find_copies`."""
        return find_copies(self)

    @cached_property
    def sounds(self) -> np.ndarray:
        """`alive`, of recordings that are the same sound the first alone."""
        others = {name for same in self.copies.values() for name in same[1:]}
        places = [place for place, name in enumerate(self.names) if name in others]
        return self.alive[~np.isin(self.recordings(self.alive), places)] if places else self.alive

    def all_named(self, path: str) -> tuple[str, ...]:
        """The recordings that are the same sound as one: at least that one."""
        return self.copies.get(path, (path,))

    def values(self, positions: np.ndarray) -> np.ndarray:
        """(W, E) float32 embeddings of some rows."""
        out = np.empty((len(positions), self.size), np.float32)
        for segment, rows, where in self._split(positions):
            out[where] = segment.values[rows]
        return out

    def norms(self, positions: np.ndarray) -> np.ndarray:
        """(W,) lengths of the embeddings of some rows."""
        out = np.empty(len(positions), np.float32)
        for segment, rows, where in self._split(positions):
            out[where] = segment.norms[rows]
        return out

    def spans(self, positions: np.ndarray) -> np.ndarray:
        """(W, 2) start and end of some rows, in seconds."""
        out = np.empty((len(positions), 2))
        for segment, rows, where in self._split(positions):
            out[where] = segment.spans[rows]
        return out

    def paths(self, positions: np.ndarray) -> list[str]:
        """Of which recording some rows are; "" where it is gone."""
        out = [""] * len(positions)
        for segment, rows, where in self._split(positions):
            for place, owner in zip(np.flatnonzero(where), segment.owners(rows), strict=True):
                out[place] = segment.pieces[owner].path if owner >= 0 else ""
        return out

    def recordings(self, positions: np.ndarray) -> np.ndarray:
        """(W,) int64 of which recording some rows are, as its place in `names`; -1 where it is gone."""
        out = np.empty(len(positions), np.int64)
        for segment, rows, where in self._split(positions):
            out[where] = self._names_of[segment.number][segment.owners(rows)]
        return out

    def rows_of(self, path: str, start: float = 0.0, end: float = float("inf")) -> np.ndarray:
        """Positions of a recording's rows that overlap with a stretch of it, in seconds."""
        found = [np.zeros(0, np.int64)]
        numbers = [segment.number for segment in self.segments]
        for piece in self.by_path.get(path, []):
            if piece.segment == NOWHERE:
                continue
            at = numbers.index(piece.segment)
            rows = np.arange(piece.first, piece.first + piece.rows)
            starts, ends = np.asarray(self.segments[at].spans[rows]).T
            found.append(self.offsets[at] + rows[(starts < end - 1e-9) & (ends > start + 1e-9)])
        return np.concatenate(found)

    def _split(self, positions: np.ndarray) -> Iterator[tuple[Segment, np.ndarray, np.ndarray]]:
        """(segment, rows of it, mask of the positions that these are)."""
        at = np.searchsorted(self.offsets, positions, side="right") - 1
        for number in np.unique(at):
            where = at == number
            yield self.segments[number], positions[where] - self.offsets[number], where
