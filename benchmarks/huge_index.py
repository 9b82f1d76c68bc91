"""The index of a pack of 70 million clips: opened, and drawn from, in the memory of a small program.

    python benchmarks/huge_index.py [--clips 70000000] [--labels 30871] [--folder DIR] [--keep] [--quick]

Writes everything of such a pack but its 600 TB of sound, in pieces, as `auricle pack` lays it out: tables,
index, a label set of five labels a clip by Zipf's law, checksums. It takes some 7.5 GB of disk for 70 million
clips and is deleted at the end. Then, each in a process of its own whose memory for data is limited to 1 GB:

- open: the pack, its label index, and a sampler over all clips, until the first batch is there
- draw: batches of 128 places of patches, by each of the balances; the time of one patch
- labels: the labels of such a batch, as pairs, as training takes them; the time of one clip

once after the index has been put out of the machine's file cache ("cold"), once with it there. "Own" is
memory that the process needs for itself; "mapped" is the part of the index that happens to lie in the file
cache and is in view: it is the system's, which takes it back when others need it. "Busy" is processor time:
on a machine with other work, what the clock would say without that. The goals: open in under 2 s and 1 GB,
draw in under 10 microseconds.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from auricle.grids import BLOCK, patch_counts, stored_grids
from auricle.sampling import PatchSampler
from auricle.shards import Pack
from auricle.shards.layout import (
    CLIPS,
    FAILURES,
    FORMAT,
    MANIFEST,
    SHARDS,
    file_facts,
    grid_file,
    label_file,
    shard_file,
    write_array,
    write_json,
    write_table,
)
from auricle.shards.source import MOST_BYTES
from auricle.shards.writer import INDEX, SHARD_SCHEMA

RATE = 16_000
MEAN_SECONDS, LONGEST_SECONDS = 268.5, 3600.0  # 5.24 million hours, Hershey et al. 2017, section 1
PIECE = 1 << 21  # clips that are made at a time; a whole number of blocks
PER_CLIP = 5  # labels, section 2
BATCH = 128
GOAL_SECONDS, GOAL_BYTES, GOAL_DRAW = 2.0, 1e9, 10e-6
CASES = ("clips", "patches", "classes")


class ArrayFile:
    """A one-dimensional .npy file that is written in pieces, its length known at the end."""

    def __init__(self, path: Path, dtype: type):
        self.path, self.dtype, self.count = path, np.dtype(dtype), 0
        self._file = path.open("wb")
        self._header()

    def _header(self) -> None:
        shape = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self._file, shape)
        assert self._file.tell() == 128, "NumPy leaves room for any length"

    def append(self, values: np.ndarray) -> None:
        """Write some more."""
        self._file.write(values.astype(self.dtype, copy=False).data)
        self.count += len(values)

    def close(self) -> None:
        """Say how many there are."""
        self._file.seek(0)
        self._header()
        self._file.close()


def write_pack(out: Path, clips: int, labels: int, *, piece: int = PIECE, seed: int = 0) -> None:
    """A pack without sound, in memory that does not grow with the number of clips."""
    for folder in ("shards", "labels", "index"):
        (out / folder).mkdir(parents=True)
    write_array(out / "index/labels.unknown_indices.npy", np.zeros(0, np.int32))
    empty = np.lib.format.open_memmap(  # nobody writes to it, so it is a hole on the disk
        out / "index/labels.unknown_indptr.npy", mode="w+", dtype=np.int64, shape=(clips + 1,)
    )
    del empty
    samples, per_label = _write_clips(out, clips, labels, piece, seed)
    _write_label_clips(out, per_label, piece)
    write_table(
        out / FAILURES, pa.table({name: pa.array([], pa.string()) for name in ("id", "path", "error")})
    )
    grids = [grid_file(*grid) for grid in stored_grids(RATE)]
    index = [f"index/{name}.npy" for name in (*INDEX, "shard_bytes")]
    label_index = [f"index/{file.name}" for file in sorted((out / "index").glob("labels.*"))]
    entry = {"labels": labels, "soft": False, "positives": int(per_label.sum()), "source": "of nothing"}
    manifest = {
        "format": FORMAT,
        "rate": RATE,
        "encoding": "int16",
        "source": "synthetic",
        "fingerprint": f"{clips} clips of nothing",
        "clips": clips,
        "failures": 0,
        "samples": samples,
        "seconds": samples / RATE,
        "label_sets": {"labels": entry | file_facts(out, [label_file("labels"), *label_index])},
    }
    write_json(out / MANIFEST, manifest | file_facts(out, [CLIPS, FAILURES, SHARDS, *index, *grids]))


def _write_clips(out: Path, clips: int, labels: int, piece: int, seed: int) -> tuple[int, np.ndarray]:
    """All that goes clip by clip; samples in all, and clips of each label."""
    assert piece % BLOCK == 0
    files = {name: ArrayFile(out / f"index/{name}.npy", dtype) for name, dtype in INDEX.items()}
    indptr = ArrayFile(out / "index/labels.indptr.npy", np.int64)
    indices = ArrayFile(out / "index/labels.indices.npy", np.int32)
    grids = {grid: ArrayFile(out / grid_file(*grid), np.int64) for grid in stored_grids(RATE)}
    indptr.append(np.zeros(1, np.int64))
    patches = dict.fromkeys(grids, 0)
    per_label, words = np.zeros(labels, np.int64), 0
    shard_clips: list[np.ndarray] = []
    names = [f"label{number:05d}" for number in range(labels)]
    about = {"labels": json.dumps(names)}
    tables: dict[str, pq.ParquetWriter] = {}
    for number, first in enumerate(range(0, clips, piece)):
        draw = np.random.default_rng((seed, number))
        count = min(piece, clips - first)
        seconds = np.minimum(draw.exponential(MEAN_SECONDS, count) + 1.0, LONGEST_SECONDS)
        lengths = (seconds * RATE).astype(np.int64)
        # A shard is closed at 320 MB, as in a real pack: the sound of nine clips or ninety.
        before = words + np.cumsum(lengths) - lengths
        shard = before // (MOST_BYTES // 2)
        words = int(before[-1] + lengths[-1])
        columns = {"shard": shard, "offset": before % (MOST_BYTES // 2) + 256, "samples": lengths}
        columns["audible"] = lengths
        for name, file in files.items():
            file.append(columns[name])
        shard_clips.append(np.unique(shard))
        for grid, file in grids.items():
            counts = np.add.reduceat(patch_counts(lengths, *grid), np.arange(0, count, BLOCK))
            ends = patches[grid] + np.cumsum(counts)
            file.append(ends)
            patches[grid] = int(ends[-1])
        rows, drawn = zipf(draw, count, labels)
        indptr.append(indices.count + np.cumsum(rows))
        indices.append(drawn)
        per_label += np.bincount(drawn, minlength=labels)
        _append_tables(out, tables, first, columns, rows, drawn, about)
    for file in (*files.values(), *grids.values(), indptr, indices):
        file.close()
    for table in tables.values():
        table.close()
    count = int(shard_clips[-1][-1]) + 1
    write_array(out / "index/shard_bytes.npy", np.full(count, MOST_BYTES, np.int64))
    facts = {
        "file": [shard_file(number) for number in range(count)],
        "clips": [0] * count,
        "bytes": [MOST_BYTES] * count,
        "blake2b": [""] * count,
    }
    write_table(out / SHARDS, pa.table(facts, schema=SHARD_SCHEMA))
    return words, per_label


def zipf(draw: np.random.Generator, count: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """How many labels each clip has, and which, ascending: label k is drawn about as 1 / (k + 1)."""
    drawn = ((labels + 1.0) ** draw.random((count, PER_CLIP)) - 1.0).astype(np.int32)
    np.clip(drawn, 0, labels - 1, out=drawn)
    drawn.sort(axis=1)
    new = np.ones(drawn.shape, bool)
    new[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
    return new.sum(axis=1), drawn[new]


def _append_tables(
    out: Path,
    tables: dict[str, pq.ParquetWriter],
    first: int,
    columns: dict[str, np.ndarray],
    rows: np.ndarray,
    drawn: np.ndarray,
    about: dict[str, str],
) -> None:
    count = len(rows)
    # The row within a shard begins at 0 anew where the shard does.
    starts = np.flatnonzero(np.diff(columns["shard"], prepend=-1))
    ids = pc.cast(pa.array(np.arange(first, first + count)), pa.string())
    bounds = np.concatenate([[0], np.cumsum(rows)]).astype(np.int32)
    none = pa.array(np.zeros(count + 1, np.int32))
    clips = {
        "id": ids,
        "path": pc.binary_join_element_wise(ids, pa.scalar("webm"), "."),
        "start": pa.nulls(count, pa.float64()),
        "end": pa.nulls(count, pa.float64()),
        "group": pa.nulls(count, pa.string()),
        "split": pa.array(np.full(count, "train")),
        "shard": pa.array(columns["shard"], pa.int32()),
        "row": pa.array(np.arange(count) - np.repeat(starts, np.diff(starts, append=count)), pa.int32()),
        "samples": pa.array(columns["samples"], pa.int64()),
        "audible": pa.array(columns["audible"], pa.int64()),
        "clipped": pa.array(np.zeros(count, np.int64)),
        "warnings": pa.ListArray.from_arrays(none, pa.array([], pa.string())),
    }
    positive = pa.ListArray.from_arrays(pa.array(bounds), pa.array(drawn))
    unknown = pa.ListArray.from_arrays(none, pa.array([], pa.int32()))
    labelled = {"id": ids, "positive": positive, "unknown": unknown}
    for name, table in ((CLIPS, clips), (label_file("labels"), labelled)):
        made = pa.table(table)
        if name != CLIPS:
            made = made.replace_schema_metadata(about)
        if name not in tables:
            tables[name] = pq.ParquetWriter(out / name, made.schema, compression="zstd")
        tables[name].write_table(made)


def _write_label_clips(out: Path, per_label: np.ndarray, piece: int) -> None:
    """Label -> clips from clip -> labels: each piece of clips goes behind the one before, label by label."""
    starts = np.concatenate([[0], np.cumsum(per_label)])
    write_array(out / "index/labels.label_indptr.npy", starts)
    bounds, labels = (
        np.load(out / f"index/labels.{name}.npy", mmap_mode="r") for name in ("indptr", "indices")
    )
    found = np.lib.format.open_memmap(
        out / "index/labels.label_clips.npy", mode="w+", dtype=np.int64, shape=(int(starts[-1]),)
    )
    next_of = starts[:-1].copy()
    for first in range(0, len(bounds) - 1, piece):
        rows = np.asarray(bounds[first : first + piece + 1])
        part = np.asarray(labels[rows[0] : rows[-1]])
        clip = np.repeat(np.arange(first, first + len(rows) - 1), np.diff(rows))
        small = part.astype(np.uint16) if len(per_label) <= 1 << 16 else part
        order = np.argsort(small, kind="stable")  # of 16 bits: counted, not compared
        counts = np.bincount(part, minlength=len(per_label))
        within = np.arange(len(part)) - np.repeat(np.cumsum(counts) - counts, counts)
        found[np.repeat(next_of, counts) + within] = clip[order]
        next_of += counts
    found.flush()


def memory() -> dict[str, float]:
    """Bytes of this process: own (anonymous) and mapped (files), resident now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss")}
    return {"own": found["RssAnon"], "mapped": found["RssFile"] + found["RssShmem"]}


def forget(folder: Path) -> None:
    """Put a pack's files out of the system's file cache."""
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def measure(folder: Path, balance: str, batches: int) -> dict[str, float]:
    """What opening and drawing cost this process, which has done nothing else yet."""
    resource.setrlimit(resource.RLIMIT_DATA, (int(GOAL_BYTES), int(GOAL_BYTES)))
    before = memory()
    begin, begin_busy = time.perf_counter(), time.process_time()
    pack = Pack(folder)
    ((patch, hop),) = stored_grids(pack.rate)
    sampler = PatchSampler(
        pack.audible,
        patch=patch,
        hop=hop,
        batch=BATCH,
        seed=1,
        balance=balance,
        label_clips=pack.label_clips() if balance == "classes" else None,
        ends=pack.patch_ends(patch, hop) if balance == "patches" else None,
    )
    sampler.draw(0)
    opened, opened_busy = time.perf_counter() - begin, time.process_time() - begin_busy
    after = memory()
    drawn = []
    begin, begin_busy = time.perf_counter(), time.process_time()
    for step in range(1000, 1000 + batches):
        drawn.append(sampler.draw(step))
    took, busy = time.perf_counter() - begin, time.process_time() - begin_busy
    begin, begin_busy = time.perf_counter(), time.process_time()
    for clips, _ in drawn:
        pack.target_pairs(clips)
    labelled, labelled_busy = time.perf_counter() - begin, time.process_time() - begin_busy
    clips, offsets = (np.concatenate(part) for part in zip(*drawn, strict=True))
    assert (offsets >= 0).all() and (offsets < np.maximum(pack.lengths[clips], 1)).all()
    end = memory()
    places = batches * BATCH
    return {
        "open_seconds": opened,
        "open_busy_seconds": opened_busy,
        "open_own_bytes": after["own"] - before["own"],
        "open_bytes": sum(after.values()),
        "epoch": sampler.epoch_size,
        "draw_seconds": took / places,
        "draw_busy_seconds": busy / places,
        "labels_seconds": labelled / places,
        "labels_busy_seconds": labelled_busy / places,
        "end_own_bytes": end["own"],
        "end_mapped_bytes": end["mapped"],
    }


def run(folder: Path, balance: str, batches: int) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--folder", str(folder), "--measure", balance]
    done = subprocess.run([*command, "--batches", str(batches)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def report(folder: Path, batches: int) -> list[dict]:
    """A line for each balance, cold and warm: first what opening takes, then what drawing does."""
    heads = (
        "balance",
        "cache",
        "open s",
        "(busy)",
        "all MB",
        "own MB",
        "draw us",
        "(busy)",
        "labels us",
        "(busy)",
    )
    print("".join(f"{head:>10}" for head in heads) + f"{'then own + mapped MB':>22}{'of an epoch of':>18}")
    rows = []
    for balance in CASES:
        for cache in ("cold", "warm"):
            if cache == "cold":
                forget(folder)
            row = run(folder, balance, batches)
            rows.append({"balance": balance, "cache": cache} | row)
            cells = [row["open_seconds"], row["open_busy_seconds"]]
            line = f"{balance:>10}{cache:>10}" + "".join(f"{cell:10.3f}" for cell in cells)
            line += f"{row['open_bytes'] / 1e6:10.1f}{row['open_own_bytes'] / 1e6:10.1f}"
            for name in ("draw", "draw_busy", "labels", "labels_busy"):
                line += f"{row[f'{name}_seconds'] * 1e6:10.2f}"
            line += f"{row['end_own_bytes'] / 1e6:12,.0f} + {row['end_mapped_bytes'] / 1e6:7,.0f}"
            print(line + f"{row['epoch']:18,}", flush=True)
    return rows


def pieces(folder: Path) -> Iterator[str]:
    """Disk of a pack's parts, the largest first."""
    sizes = {file: file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()}
    for file, size in sorted(sizes.items(), key=lambda pair: -pair[1])[:12]:
        yield f"{file.relative_to(folder)} {size / 1e6:,.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=70_000_000)
    parser.add_argument("--labels", type=int, default=30_871)
    parser.add_argument(
        "--folder", type=Path, help="where the pack is written; a temporary folder by default"
    )
    parser.add_argument("--batches", type=int, default=2000)
    parser.add_argument("--keep", action="store_true", help="do not delete the pack; use one that is there")
    parser.add_argument("--quick", action="store_true", help="100,000 clips of 3,000 labels, 100 batches")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    parser.add_argument("--measure", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.folder, options.measure, options.batches)))
        return
    if options.quick:
        options.clips, options.labels, options.batches = 100_000, 3000, 100
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "pack"
        begin = time.perf_counter()
        try:
            if not (folder / MANIFEST).is_file():
                write_pack(folder, options.clips, options.labels)
            used = sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
            machine = platform.processor() or platform.machine()
            print(f"{machine}, Python {sys.version.split()[0]}, NumPy {np.__version__}")
            print(
                f"{options.clips:,} clips, {options.labels:,} labels: {used / 1e9:.2f} GB, written in "
                f"{time.perf_counter() - begin:.0f} s"
            )
            print("  " + "; ".join(pieces(folder)))
            rows = report(folder, options.batches)
        finally:
            if not options.keep:
                shutil.rmtree(folder, ignore_errors=True)
    for name, what in (("", "by the clock"), ("busy_", "by processor time")):
        ok = all(
            row[f"open_{name}seconds"] < GOAL_SECONDS
            and row["open_bytes"] < GOAL_BYTES
            and (row[f"draw_{name}seconds"] < GOAL_DRAW or row["cache"] == "cold")
            for row in rows
        )
        print(f"opened in 2 s and 1 GB, drawn in 10 us from the cache, {what}: {'yes' if ok else 'no'}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
