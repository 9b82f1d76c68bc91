"""A graph over the rows of a segment, by which near ones are found without looking at all: usearch's HNSW.

The only importer of usearch, which need not be installed: without a graph every row is looked at. What a
graph names is looked at again in the segment itself, so its own values may be coarse.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from auricle.shards.layout import publish, temporary_for

# Measured by benchmarks/search.py.
PRECISION = "i8"  # finds as many again as float16, for half of the disk and of the time that linking takes
EXPANSION = 512  # candidates that a search keeps in view
BLOCK = 8192


def can_graph() -> bool:
    """Whether usearch is installed.

    >>> can_graph() in (True, False)
    True
    """
    try:
        return find_spec("usearch") is not None
    except ModuleNotFoundError:  # somebody has forbidden it
        return False


def build_graph(values_WE: np.ndarray, path: Path, *, threads: int = 0, seed: int = 0) -> None:
    """Write the graph of a segment; it appears under its name when it is complete.

    Rows are entered in random order. Entered in the order of time, each recording becomes an island that a
    search from elsewhere does not reach: of the ten nearest of 100,000 rows it then found 5 and not 9.5.

    Args:
        values_WE: (W, E) float16, may be mapped from the disk.
        path: the file.
        threads: 0 takes every core.
        seed: of the order.

    >>> build_graph(values, Path("index/segments/00000.usearch"))  # doctest: +SKIP
    """
    from usearch.index import Index

    graph = Index(ndim=values_WE.shape[1], metric="cos", dtype=PRECISION)
    order = np.random.default_rng(seed).permutation(len(values_WE))
    for first in range(0, len(order), BLOCK):
        rows = order[first : first + BLOCK]
        graph.add(rows.astype(np.uint64), values_WE[rows].astype(np.float32), threads=threads)
    temporary = temporary_for(path)
    try:
        graph.save(temporary)
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def open_graph(path: Path, rows: int) -> Any:
    """A graph, mapped from the disk; None where there is none of so many rows, or usearch is not installed.

    >>> open_graph(Path("no-such-file"), 3) is None
    True
    """
    if not path.is_file() or not can_graph():
        return None
    from usearch.index import Index

    try:
        graph: Any = Index.restore(path, view=True)
    except Exception:  # whatever usearch says of a damaged file: the rows themselves are there
        return None
    if graph is None or len(graph) != rows:
        return None
    return graph


def near(graph: Any, queries_QE: np.ndarray, count: int) -> list[np.ndarray]:
    """Of each query about `count` rows that are near to it.

    >>> near(open_graph(path, 131072), queries, 50)  # doctest: +SKIP
    """
    graph.expansion_search = max(EXPANSION, count)
    found = []
    for query in np.ascontiguousarray(queries_QE, np.float32):
        found.append(graph.search(query, min(count, len(graph)), threads=1).keys.astype(np.int64))
    return found
