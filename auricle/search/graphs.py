"""A graph over the rows of a segment, by which near ones are found without looking at all: usearch's HNSW.

The only importer of usearch, which need not be installed: without a graph every row is looked at.

A graph becomes islands, and what a search does not begin on it does not find, where many rows are much the
same. So rows are entered in random order and not in that of time; of rows that are equal (silence) one is
entered; and values have 16 bits, because in 8 bits rows are equal that are not. Measured on 20,000 rows of
which nine in ten are silence with a little noise, 10 nearest of the others: 9.97 found, 1.8 with 8 bits; of
exact silence 2.8 where every copy is entered (benchmarks/search.py --silence).

Shape letters: W rows, E values of an embedding, Q rows that are asked for.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from auricle.shards.layout import publish, temporary_for, write_array

PRECISION = "f16"
EXPANSION = 512  # candidates that a search keeps in view, see benchmarks/search.py
BLOCK = 8192
NO_DIRECTION = -1  # twin of a row of zeros, which is near to nothing


def can_graph() -> bool:
    """Whether usearch is installed.

    >>> can_graph() in (True, False)
    True
    """
    try:
        return find_spec("usearch") is not None
    except ModuleNotFoundError:  # somebody has forbidden it
        return False


def find_twins(values_WE: np.ndarray) -> np.ndarray:
    """(W,) int32: for each row the first that is equal to it, itself as a rule; -1 for rows of zeros.

    >>> find_twins(np.array([[1, 2], [0, 0], [1, 2], [2, 1]], np.float16))
    array([ 0, -1,  0,  3], dtype=int32)
    """
    first: dict[bytes, int] = {}
    twins = np.empty(len(values_WE), np.int32)
    for row, values in enumerate(values_WE):
        mark = hashlib.blake2b((values + np.float16(0)).tobytes(), digest_size=16).digest()  # -0 is 0
        twins[row] = first.setdefault(mark, row) if values.any() else NO_DIRECTION
    return twins


def build_graph(values_WE: np.ndarray, path: Path, *, threads: int = 0, seed: int = 0) -> None:
    """Write the graph of a segment; it appears under its name when it is complete, after its twins.

    Args:
        values_WE: (W, E) float16, may be mapped from the disk.
        path: the file.
        threads: 0 takes every core.
        seed: of the order in which rows are entered.

    >>> build_graph(values, Path("index/segments/00000.usearch"))  # doctest: +SKIP
    """
    from usearch.index import Index

    twins = find_twins(values_WE)
    write_array(_twins_file(path), twins)
    distinct = np.flatnonzero(twins == np.arange(len(twins)))
    graph = Index(ndim=values_WE.shape[1], metric="cos", dtype=PRECISION)
    order = np.random.default_rng(seed).permutation(distinct)
    for first in range(0, len(order), BLOCK):
        rows = order[first : first + BLOCK]
        graph.add(rows.astype(np.uint64), values_WE[rows].astype(np.float32), threads=threads)
    temporary = temporary_for(path)
    try:
        graph.save(temporary)
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Graph:
    """A graph, mapped from the disk. See `open_graph`."""

    def __init__(self, graph: Any, twins: np.ndarray):
        self._graph = graph
        copies = np.flatnonzero((twins != np.arange(len(twins))) & (twins != NO_DIRECTION))
        order = np.argsort(twins[copies], kind="stable")
        self._copies, self._originals = copies[order], twins[copies][order]  # those of one side by side

    def near(self, queries_QE: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each query about `count` rows that are near to it, and their copies, of the nearest first.

        Returns:
            For each query (rows, in no order; those of them of which copies are missing: there are more than
            `count`, and the copies of what is nearer came first).
        """
        self._graph.expansion_search = max(EXPANSION, count)
        found = []
        for query in np.ascontiguousarray(queries_QE, np.float32):
            matches = self._graph.search(query, min(count, len(self._graph)), threads=1)
            rows = matches.keys.astype(np.int64)[np.argsort(matches.distances, kind="stable")]
            first, end = (np.searchsorted(self._originals, rows, side) for side in ("left", "right"))
            taken = np.minimum(end - first, np.maximum(0, count - (np.cumsum(end - first) - (end - first))))
            copies = [self._copies[a : a + n] for a, n in zip(first, taken, strict=True) if n]
            found.append((np.concatenate([rows, *copies]), rows[taken < end - first]))
        return found


def open_graph(path: Path, rows: int) -> Graph | None:
    """The graph of a segment; None where there is none of so many rows, or usearch is not installed.

    >>> open_graph(Path("no-such-file"), 3) is None
    True
    """
    if not path.is_file() or not can_graph():
        return None
    from usearch.index import Index

    try:
        graph: Any = Index.restore(path, view=True)
        twins = np.load(_twins_file(path))
    except Exception:  # whatever usearch says of a damaged file: the rows themselves are there
        return None
    whole = graph is not None and len(twins) == rows
    return Graph(graph, twins) if whole and len(graph) == (twins == np.arange(rows)).sum() > 0 else None


def _twins_file(path: Path) -> Path:
    return path.with_suffix(".twins.npy")
