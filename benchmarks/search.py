"""Finding the nearest of many embeddings: usearch and LanceDB beside an exact search, on the same vectors.

The vectors are made like embeddings of long recordings: every recording is a walk through a space of 24
dimensions around one of some thousand centres, seen through a random layer with a ReLU. Neighbours in time
are neighbours in space, and values are never negative. What is asked for was never stored. `--vectors
FILE.npy` takes real ones in their place, (N, E), of which the last 500 rows ask.

Each contender stores the vectors from a file, in blocks, in a process of its own, and answers in another
one that opens what is on the disk: so peak memory is its own. Recall at 10: how many of the ten that it finds
are as near as the tenth that an exact search finds (recordings have windows that are equal, of silence).
LanceDB is left out where it is not installed (pip install lancedb).

    python benchmarks/search.py [--count 1000000] [--size 256] [--threads 2] [--only usearch] [--quick]
    python benchmarks/search.py --silence

--silence asks another question, of 20,000 vectors of which a half or nine in ten are the same, or nearly so,
as those of digital silence are: what share of the ten nearest of the others a graph finds.
"""

import argparse
import json
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 50_000  # vectors that are stored, or looked through, at a time
K, QUERIES = 10, 500
HIDDEN = 24
LIBRARIES = ("usearch", "numkong", "lancedb", "numpy")  # numkong: usearch needs it
WINDOWS = 600  # of a recording: ten minutes at a window a second


def make_vectors(path: Path, count: int, size: int) -> None:
    """(count + QUERIES, size) float16, the queries last: windows of recordings that are not stored."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(50, count // 20_000 * 50), HIDDEN)).astype(np.float32)
    layer = rng.standard_normal((HIDDEN, size)).astype(np.float32) / HIDDEN**0.5
    bias = rng.standard_normal(size).astype(np.float32) * 0.5
    out = np.lib.format.open_memmap(path, "w+", np.float16, (count + QUERIES, size))
    filled = 0
    while filled < len(out):
        # Queries come from as many recordings as there are queries.
        windows = min(WINDOWS, count - filled) if filled < count else 1
        steps = rng.standard_normal((windows, HIDDEN)).astype(np.float32) * 0.05
        hidden = centres[rng.integers(len(centres))] + rng.standard_normal(HIDDEN) * 0.4 + np.cumsum(steps, 0)
        hidden = hidden + rng.standard_normal((windows, HIDDEN)) * 0.1
        out[filled : filled + windows] = np.maximum(hidden @ layer + bias, 0)
        filled += windows
    out.flush()


def blocks(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for first in range(0, len(vectors), BLOCK):
        yield first, np.asarray(vectors[first : first + BLOCK])


# --- an exact search, which all others are held against


def exact(vectors: np.ndarray, queries_QE: np.ndarray) -> np.ndarray:
    """(Q, K) positions of the nearest by the cosine."""
    queries = queries_QE / np.linalg.norm(queries_QE, axis=1, keepdims=True)
    best = np.zeros((len(queries), 0), np.float32)
    found = np.zeros((len(queries), 0), np.int64)
    for first, block in blocks(vectors):
        values = block.astype(np.float32)
        scores = queries @ (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-30)).T
        best = np.concatenate([best, scores], axis=1)
        found = np.concatenate([found, np.arange(first, first + len(block))[None].repeat(len(queries), 0)], 1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :K]
        best, found = np.take_along_axis(best, order, 1), np.take_along_axis(found, order, 1)
    return found


def cosines(vectors: np.ndarray, queries_QE: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
    """(Q, K) of each query with its own rows, in float64."""
    values = vectors[rows_QK].astype(np.float64)
    lengths = np.linalg.norm(values, axis=2) * np.linalg.norm(queries_QE, axis=1)[:, None]
    return np.einsum("qke,qe->qk", values, queries_QE.astype(np.float64)) / np.maximum(lengths, 1e-300)


def exact_open(vectors_file: Path, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    vectors = np.load(vectors_file, mmap_mode="r")[:-QUERIES]
    return lambda query: exact(vectors, query[None])[0]


# --- usearch


def usearch_build(dtype: str, mixed: bool = True) -> Callable[[np.ndarray, Path, int], None]:
    """`mixed`: entered in random order; else as they lie, recording after recording."""

    def build(vectors: np.ndarray, folder: Path, threads: int) -> None:
        from usearch.index import Index

        index = Index(ndim=vectors.shape[1], metric="cos", dtype=dtype)
        order = np.random.default_rng(0).permutation(len(vectors)) if mixed else np.arange(len(vectors))
        for keys in np.array_split(order, -(-len(order) // BLOCK)):
            index.add(keys.astype(np.uint64), vectors[keys].astype(np.float32), threads=threads)
        index.save(folder / "graph.usearch")

    return build


def usearch_open(dtype: str, expansion: int, again: int) -> Callable[[Path, Path], Any]:
    """`again`: how many candidates are looked at again exactly, in the vectors' own file; 0 for none."""

    def open_index(vectors_file: Path, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
        from usearch.index import Index

        index = Index.restore(folder / "graph.usearch", view=True)
        index.expansion_search = expansion
        vectors = np.load(vectors_file, mmap_mode="r")

        def search(query: np.ndarray) -> np.ndarray:
            keys = index.search(query, again or K, threads=1).keys.astype(np.int64)
            if not again:
                return keys
            values = vectors[keys].astype(np.float32)
            return keys[np.argsort(-(values @ query) / np.linalg.norm(values, axis=1), kind="stable")[:K]]

        return search

    return open_index


# --- LanceDB


def lance_build(kind: str) -> Callable[[np.ndarray, Path, int], None]:
    def build(vectors: np.ndarray, folder: Path, threads: int) -> None:
        import lancedb
        import pyarrow as pa

        size = vectors.shape[1]
        schema = pa.schema([("key", pa.int64()), ("vector", pa.list_(pa.float32(), size))])

        def batches() -> Iterator[pa.RecordBatch]:
            order = np.random.default_rng(0).permutation(len(vectors))  # its graphs need that, too
            for keys in np.array_split(order, -(-len(order) // BLOCK)):
                values = pa.array(vectors[keys].astype(np.float32).reshape(-1))
                lists = pa.FixedSizeListArray.from_arrays(values, size)
                yield pa.RecordBatch.from_arrays([pa.array(keys), lists], schema=schema)

        table = lancedb.connect(folder).create_table("vectors", batches(), schema=schema)
        more = {"num_sub_vectors": size // 8} if kind == "IVF_PQ" else {}
        table.create_index(metric="cosine", index_type=kind, **more)

    return build


def lance_open(probes: int, refine: int) -> Callable[[Path, Path], Any]:
    def open_index(vectors_file: Path, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
        import lancedb

        table = lancedb.connect(folder).open_table("vectors")

        def search(query: np.ndarray) -> np.ndarray:
            asked = table.search(query).distance_type("cosine").nprobes(probes).refine_factor(refine)
            return asked.select(["key", "_distance"]).limit(K).to_arrow()["key"].to_numpy()

        return search

    return open_index


# --- auricle: graphs of segments, each in random order, and a second look


def auricle_build(vectors: np.ndarray, folder: Path, threads: int) -> None:
    from auricle.search.layout import begin
    from auricle.search.writing import Heard, add_graph, commit, missing_graphs

    described = {"model": "none", "given": "none", "fingerprint": "", "rate": 1, "window": 1, "hop": 1}
    begin(folder, described | {"size": vectors.shape[1]})

    def heard() -> Iterator[Heard]:
        for first, block in blocks(vectors):
            starts = np.arange(first, first + len(block), dtype=float)
            yield Heard(f"/{first}", 1, "", "", [(starts, starts + 1, block)])

    commit(folder, lambda piece: True, heard(), vectors.shape[1])
    for segment, _ in missing_graphs(folder):
        add_graph(folder, segment, threads=threads)


def auricle_open(all_rows: bool) -> Callable[[Path, Path], Any]:
    def open_index(vectors_file: Path, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
        from auricle.search import VectorIndex, find_moments

        index = VectorIndex(folder)

        def search(query: np.ndarray) -> np.ndarray:
            found = find_moments(index, query[None], count=K, gap=0.0, exact=all_rows)
            return np.array([int(moment.start) for moment in found])

        return search

    return open_index


BUILDS: dict[str, Callable[[np.ndarray, Path, int], None]] = {
    "exact": lambda vectors, folder, threads: None,
    "usearch f16 in the order of time": usearch_build("f16", mixed=False),
    "usearch f16": usearch_build("f16"),
    "usearch i8": usearch_build("i8"),
    "auricle": auricle_build,
    "lancedb IVF_HNSW_SQ": lance_build("IVF_HNSW_SQ"),
    "lancedb IVF_PQ": lance_build("IVF_PQ"),
}
# What each answers with, quick settings first.
OPENS: dict[str, dict[str, Callable[[Path, Path], Any]]] = {
    "exact": {"": exact_open},
    "usearch f16 in the order of time": {f"expansion {e}": usearch_open("f16", e, 0) for e in (64, 256)},
    "auricle": {"graphs": auricle_open(False), "--exact": auricle_open(True)},
    "usearch f16": {f"expansion {e}": usearch_open("f16", e, 0) for e in (64, 128, 256, 512)},
    "usearch i8": {
        f"expansion {e}, {a} looked at again": usearch_open("i8", e, a)
        for e, a in ((64, 20), (64, 64), (256, 64), (512, 64))
    },
    "lancedb IVF_HNSW_SQ": {
        f"{p} probes, refined {r}x": lance_open(p, r) for p, r in ((5, 5), (20, 10), (50, 20))
    },
    "lancedb IVF_PQ": {
        f"{p} probes, refined {r}x": lance_open(p, r) for p, r in ((5, 5), (20, 10), (50, 20))
    },
}


# --- rows of which most are the same, as silence is


def print_silence(count: int = 20_000, size: int = 64) -> None:
    """A row for each graph: how many it finds of the ten rows nearest to each of 200 sounds."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal
    sounds = np.maximum(noise((count, 12)) @ noise((12, size)) + 0.5 * noise(size), 0)
    print(f"| silence among {count:,} rows | entered | values | found |\n|---|---|---|---:|")
    for share, loudness in ((0.5, 0.0), (0.9, 0.0), (0.9, 1e-3)):
        rows, silent = sounds.copy(), int(share * count)
        rows[:silent] = rows[0] * (1 + loudness * noise((silent, size)))
        rows = rows.astype(np.float16)
        queries = rows[-200:].astype(np.float32) + 0.01 * noise((200, size)).astype(np.float32)
        tenth = cosines(rows, queries, exact(rows, queries)).min(axis=1)
        what = f"{share:.0%}, " + ("all equal" if not loudness else "apart by a thousandth")
        for how, answers in graphs_of(rows, queries):
            found = 0
            for query, keys, least in zip(queries, answers, tenth, strict=True):
                near = cosines(rows, query[None], keys[None])[0] >= least - 1e-6
                found += min(K, int(near.sum()))
            print(f"| {what} | {how} | {found / K / len(queries):.1%} |", flush=True)


def graphs_of(rows: np.ndarray, queries: np.ndarray) -> Iterator[tuple[str, list[np.ndarray]]]:
    """What is entered, in how many bits, and 64 candidates of each question or a few more."""
    from usearch.index import Index

    from auricle.search.graphs import EXPANSION, build_graph, open_graph

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for bits, dtype in (("16 bits", "f16"), ("8 bits", "i8")):
            usearch_build(dtype)(rows, folder, 1)
            index = Index.restore(folder / "graph.usearch")
            assert index is not None
            index.expansion_search = EXPANSION
            yield f"all | {bits}", [index.search(q, 64, threads=1).keys.astype(np.int64) for q in queries]
        build_graph(rows, folder / "segment", threads=1)
        graph = open_graph(folder / "segment", len(rows))
        assert graph is not None
        yield "one of those that are equal (auricle) | 16 bits", [keys for keys, _ in graph.near(queries, 64)]


def build(name: str, vectors_file: Path, folder: Path, threads: int) -> dict[str, Any]:
    vectors = np.load(vectors_file, mmap_mode="r")[:-QUERIES]
    started = time.perf_counter()
    BUILDS[name](vectors, folder, threads)
    return {"seconds": time.perf_counter() - started}


def answer(
    name: str, setting: str, vectors_file: Path, folder: Path, truth: Path, count: int
) -> dict[str, Any]:
    queries = np.load(vectors_file, mmap_mode="r")[-QUERIES:][:count].astype(np.float32)
    vectors = np.load(vectors_file, mmap_mode="r")
    tenth, times, found = cosines(vectors, queries, np.load(truth)[: len(queries)]).min(axis=1), [], 0
    started = time.perf_counter()
    search = OPENS[name][setting](vectors_file, folder)
    search(queries[0])
    first = time.perf_counter() - started
    for query, least in zip(queries, tenth, strict=True):
        began = time.perf_counter()
        keys = search(query)
        times.append(time.perf_counter() - began)
        assert len(set(keys.tolist())) == len(keys)
        found += int((cosines(vectors, query[None], keys[None]) >= least - 1e-6).sum())
    return {
        "recall": found / K / len(queries),
        "first_ms": 1e3 * first,
        "median_ms": 1e3 * statistics.median(times),
        "p95_ms": 1e3 * sorted(times)[int(0.95 * len(times))],
    }


def peak_mb() -> float:
    """The most that this process has held, pages of files that it maps among it; not what its parent held."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_process(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def child(kind: str, name: str, setting: str, vectors: str, folder: str, rest: list[str]) -> None:
    if kind == "build":
        result = build(name, Path(vectors), Path(folder), int(rest[0]))
    else:
        result = answer(name, setting, Path(vectors), Path(folder), Path(rest[0]), int(rest[1]))
    print(json.dumps(result | {"peak_mb": peak_mb()}))


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        return child(*sys.argv[2:7], sys.argv[7:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2, help="of usearch; LanceDB takes every core")
    parser.add_argument("--vectors", type=Path, help="(N, E) .npy in place of made ones")
    parser.add_argument("--only", default="", help="contenders whose name has this in it")
    parser.add_argument("--folder", type=Path, help="where indexes are kept while this runs")
    parser.add_argument("--quick", action="store_true", help="20,000 vectors")
    parser.add_argument(
        "--silence", action="store_true", help="graphs of rows of which most are much the same"
    )
    options = parser.parse_args()
    print(
        platform.processor() or platform.machine(), ", ".join(filter(None, map(known, LIBRARIES))), sep=", "
    )
    if options.silence:
        return print_silence()
    count = 20_000 if options.quick else options.count
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        vectors, truth = Path(temporary, "vectors.npy"), Path(temporary, "truth.npy")
        if options.vectors:
            np.save(vectors, np.load(options.vectors, mmap_mode="r").astype(np.float16))
        else:
            make_vectors(vectors, count, options.size)
        mapped = np.load(vectors, mmap_mode="r")
        print(f"{len(mapped) - QUERIES:,} vectors of {mapped.shape[1]} values, {QUERIES} queries, cosine")
        np.save(truth, exact(mapped[:-QUERIES], mapped[-QUERIES:].astype(np.float32)))
        for name in BUILDS:
            library = name.split()[0]
            if options.only not in name or (library in ("usearch", "lancedb") and find_spec(library) is None):
                continue
            run(name, vectors, truth, options.threads, temporary)


def run(name: str, vectors: Path, truth: Path, threads: int, temporary: str) -> None:
    folder = Path(temporary, name.replace(" ", "-"))
    folder.mkdir()
    built = in_process("build", name, "", vectors, folder, threads)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(
        f"\n{name}: built in {built['seconds']:.1f} s, peak memory {built['peak_mb']:.0f} MB, "
        f"{size / 1e6:.0f} MB on the disk",
        flush=True,
    )
    for setting in OPENS[name]:
        queries = 20 if "exact" in name + setting else QUERIES
        told = in_process("answer", name, setting, vectors, folder, truth, queries)
        print(
            f"  {setting or 'all of them'}: recall {told['recall']:.4f}, median {told['median_ms']:.2f} ms, "
            f"95% below {told['p95_ms']:.2f} ms, opened and first {told['first_ms']:.0f} ms, "
            f"peak memory {told['peak_mb']:.0f} MB",
            flush=True,
        )
    shutil.rmtree(folder)


def known(name: str) -> str:
    """A library's name and version, and what its own files take on the disk; "" where it is not installed."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return ""
    paths = [Path(str(file.locate())) for file in found.files or ()]
    size = sum(path.stat().st_size for path in paths if path.is_file() and path.suffix != ".pyc")
    return f"{name} {found.version} ({size / 1e6:.0f} MB)"


if __name__ == "__main__":
    main()
