"""The most similar moments: found by graphs or among all rows, looked at again exactly, and kept apart.

Similarity is the cosine of the angle between two embeddings: 1 in the same direction, 0 at a right angle.

Shape letters: W rows, E values of an embedding, Q embeddings of the example.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from auricle.search.graphs import Graph
from auricle.search.store import BLOCK_BYTES, Moment, Segment, VectorIndex

FIRST_CANDIDATES = 64  # at least; four times as many whenever those are not enough
DECIMALS = 6  # of a similarity; equal ones are in the order of paths and times


def find_moments(
    index: VectorIndex,
    queries_QE: np.ndarray,
    *,
    count: int = 10,
    gap: float | None = None,
    per_file: int | None = None,
    exact: bool = False,
    without: tuple[str, float, float] | None = None,
) -> list[Moment]:
    """The moments that are most like an example.

    A moment is as similar as to that embedding of the example which it is most similar to.

    Args:
        index: where.
        queries_QE: (Q, E) embeddings of the example.
        count: how many at most.
        gap: seconds that moments of one recording are apart, from start to start; None takes a window's
            length. 0 gives neighbours, too.
        per_file: how many of one recording at most.
        exact: look at every row; else by graphs, which may miss some, where there are graphs.
        without: (path, start, end): what overlaps with that is left out, the example itself as a rule.

    Returns:
        By falling similarity.

    Raises:
        ValueError: an example of another size, or one that has no direction (zeros).

    >>> find_moments(VectorIndex("out/index"), example, count=3)  # doctest: +SKIP
    """
    queries = unit_rows(queries_QE, index.size)
    gap = index.window_seconds if gap is None else gap
    left_out = np.zeros(0, np.int64) if without is None else index.rows_of(*without)
    candidates = _Candidates(index, queries, left_out, exact)
    most = count if per_file is None else min(count, per_file * _recordings(index, left_out))
    number = max(FIRST_CANDIDATES, 4 * count)
    while True:
        positions, floor = candidates.best(number)
        ranked = rank(index, positions, queries)
        kept = keep_apart(ranked.recordings, ranked.spans[:, 0], count, gap, per_file)
        # A row that was not looked at yet may stand before one of these, unless none is as similar.
        full = len(kept) == most and (not most or ranked.scores[kept[-1]] > round(floor, DECIMALS))
        if floor == -np.inf or full:
            return [
                Moment(index.names[recording], float(start), float(end), float(score))
                for recording, (start, end), score in zip(*(each[kept] for each in ranked), strict=True)
            ]
        number *= 4


def unit_rows(values_QE: np.ndarray, size: int) -> np.ndarray:
    """Embeddings as float64 of length 1, those without a direction left out.

    Raises:
        ValueError: none is left, or they are of another size.

    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]), 2)
    array([[0.6, 0.8]])
    """
    values = np.asarray(values_QE, np.float64)
    if values.ndim != 2 or values.shape[1] != size:
        raise ValueError(f"expected embeddings (Q, {size}), got {values.shape}")
    norms = np.linalg.norm(values, axis=1)
    if not (norms > 0).any():
        raise ValueError(
            "the example's embedding is zero everywhere, which is like nothing; give another one"
        )
    return values[norms > 0] / norms[norms > 0, None]


class Ranked(NamedTuple):
    """Rows by falling similarity, equal ones in the order of paths and times."""

    recordings: np.ndarray  # (W,) places in the index's `names`
    spans: np.ndarray  # (W, 2) seconds
    scores: np.ndarray  # (W,) float64


def rank(index: VectorIndex, positions: np.ndarray, queries_QE: np.ndarray) -> Ranked:
    """Rows by similarity, which is computed anew: the same however they were found.

    >>> rank(VectorIndex("out/index"), np.array([0]), queries)  # doctest: +SKIP
    """
    scores = np.empty(len(positions))
    step = max(1, BLOCK_BYTES // (8 * index.size))
    for first in range(0, len(positions), step):
        rows = slice(first, first + step)
        scores[rows] = cosines(index.values(positions[rows]), queries_QE)
    scores = np.round(scores, DECIMALS)
    recordings, spans = index.recordings(positions), index.spans(positions)
    order = np.lexsort((spans[:, 0], recordings, -scores))
    return Ranked(recordings[order], spans[order], scores[order])


def cosines(values_WE: np.ndarray, queries_QE: np.ndarray) -> np.ndarray:
    """(W,) float64: how similar each row is to the query, of length 1, that it is most similar to.

    >>> cosines(np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[1.0, 0.0]]))
    array([0.6, 0. ])
    """
    values = values_WE.astype(np.float64)
    norms = np.linalg.norm(values, axis=1)
    # A row at a time by the same sums: a matrix product may round differently among other rows.
    products = np.einsum("we,qe->wq", values, queries_QE).max(axis=1, initial=-np.inf)
    return np.where(norms > 0, products / np.maximum(norms, 1e-300), 0.0)


def keep_apart(
    recordings_W: np.ndarray, starts_W: np.ndarray, count: int, gap: float, per_file: int | None = None
) -> np.ndarray:
    """The first rows of which no two of one recording begin less than `gap` seconds from each other.

    Args:
        recordings_W: numbers of recordings, best rows first.
        starts_W: seconds.
        count: how many at most.
        gap: see above.
        per_file: how many of one recording at most.

    >>> keep_apart(np.array([0, 0, 1]), np.array([4.0, 4.5, 4.5]), 2, 2.0)
    array([0, 2])
    """
    by_time = np.lexsort((starts_W, recordings_W))
    times = starts_W[by_time]
    _, own, rows = np.unique(recordings_W, return_inverse=True, return_counts=True)
    ends = np.cumsum(rows)  # where each recording's rows end in `by_time`
    taken = np.zeros(len(rows), np.int64)
    free = np.ones(len(recordings_W), bool)
    kept: list[int] = []
    at = 0
    while len(kept) < count and at < len(free):
        at += int(np.argmax(free[at:]))
        if not free[at]:
            break
        kept.append(at)
        recording, start = own[at], starts_W[at]
        taken[recording] += 1
        first, end = ends[recording] - rows[recording], ends[recording]
        if taken[recording] != per_file:
            first, end = first + np.searchsorted(times[first:end], [start - gap, start + gap + 1e-9])
            near = np.abs(times[first:end] - start) < gap - 1e-9
            free[by_time[first:end][near]] = False
        else:
            free[by_time[first:end]] = False
        free[at] = False
        at += 1
    return np.array(kept, np.int64)


def scan(index: VectorIndex, score: Callable[[Segment, slice], np.ndarray]) -> np.ndarray:
    """A score for every row, four bytes each, computed some at a time; -inf for those that are gone.

    >>> scan(VectorIndex("out/index"), lambda segment, rows: segment.norms[rows])  # doctest: +SKIP
    """
    out = np.full(index.offsets[-1], -np.inf, np.float32)
    for segment, offset in zip(index.segments, index.offsets[:-1], strict=True):
        out[offset : offset + len(segment)] = scan_segment(segment, score)
    return out


def similar(queries_QE: np.ndarray) -> Callable[[Segment, slice], np.ndarray]:
    """For `scan`: the similarity to the nearest of some embeddings of length 1.

    >>> scores = scan(VectorIndex("out/index"), similar(unit_rows(example, 256)))  # doctest: +SKIP
    """
    queries = queries_QE.astype(np.float32).T

    def score(segment: Segment, rows: slice) -> np.ndarray:
        products = (segment.values[rows].astype(np.float32) @ queries).max(axis=1)
        return products / np.maximum(segment.norms[rows], np.float32(1e-30))

    return score


def scan_segment(segment: Segment, score: Callable[[Segment, slice], np.ndarray]) -> np.ndarray:
    """`scan` of one segment.

    >>> scan_segment(index.segments[0], lambda segment, rows: segment.norms[rows])  # doctest: +SKIP
    """
    scores = np.concatenate([score(segment, rows) for rows in segment.blocks()])
    return np.where(segment.alive, scores, -np.inf).astype(np.float32)


def _recordings(index: VectorIndex, left_out: np.ndarray) -> int:
    """How many recordings have rows that are not left out; `left_out` is of one."""
    rows: Counter[str] = Counter()
    for piece in index.pieces:
        rows[piece.path] += piece.rows
    if len(left_out):
        rows[index.names[int(index.recordings(left_out[:1])[0])]] -= len(left_out)
    return sum(count > 0 for count in rows.values())


class _Candidates:
    """Rows that may be among the best, ever more of them."""

    def __init__(self, index: VectorIndex, queries_QE: np.ndarray, left_out: np.ndarray, exact: bool):
        self.index, self.queries, self.left_out, self.exact = index, queries_QE, left_out, exact
        self._scores: dict[int, np.ndarray] = {}  # of the segments that were looked through

    def best(self, number: int) -> tuple[np.ndarray, float]:
        """Positions of about so many of the best rows of each segment, and a similarity.

        No other row is more similar than that, as far as graphs can tell; -inf where there is no other.
        """
        found, floor = [np.zeros(0, np.int64)], -np.inf
        for at, segment in enumerate(self.index.segments):
            if number >= len(segment):
                rows, least = np.arange(len(segment)), -np.inf
            elif not self.exact and segment.graph is not None:
                rows, least = self._linked(segment, segment.graph, number)
            else:
                rows, least = self._top(at, number)
            floor = max(floor, least)
            found.append(self.index.offsets[at] + rows[segment.owners(rows) >= 0])
        positions = np.concatenate(found)
        return positions[~np.isin(positions, self.left_out)], floor

    def _linked(self, segment: Segment, graph: Graph, number: int) -> tuple[np.ndarray, float]:
        near = graph.near(self.queries, number)
        least = -np.inf
        for (rows, lacking), query in zip(near, self.queries, strict=True):
            # What is not near to an embedding of the example is less similar to it than all that is; copies
            # that are missing are as similar as what they are copies of.
            least = max(least, float(cosines(segment.values[rows], query[None]).min(initial=1.0)))
            least = max(least, float(cosines(segment.values[lacking], query[None]).max(initial=-1.0)))
        return np.unique(np.concatenate([rows for rows, _ in near])), least

    def _top(self, at: int, number: int) -> tuple[np.ndarray, float]:
        if at not in self._scores:
            scores = scan_segment(self.index.segments[at], similar(self.queries))
            first, last = self.index.offsets[at : at + 2]
            own = self.left_out[(self.left_out >= first) & (self.left_out < last)]
            scores[own - first] = -np.inf
            self._scores[at] = scores
        scores = self._scores[at]
        rows = np.argpartition(-scores, number - 1)[:number]
        return rows, float(scores[rows].min())
