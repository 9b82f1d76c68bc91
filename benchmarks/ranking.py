"""AP, AUC and d' of every class from scores on disk, beside a scikit-learn loop in the same run.

Scores are float16 logits, clip by clip, in a .npy file; priors of the classes follow Zipf's law. The loop
calls average_precision_score and roc_auc_score for each class, on float32 scores that it gets class by class
from memory: what it would take to get them there is not counted. Every figure of the two is compared.

    python benchmarks/ranking.py [--clips 100000] [--classes 3087] [--threads N] [--float32] [--quick]
    python benchmarks/ranking.py --clips 1000000 --classes 30871 --slice 512

The second form makes only so many classes, rare and frequent as all of them are, with all clips and blocks of
as many clips as all classes would have, and extrapolates to all classes.
"""

import argparse
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from auricle.metrics.blocks import MEMORY, Ranking, rank_blocks

ROWS = 4096  # clips made at a time


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=3087)
    parser.add_argument("--slice", type=int, metavar="CLASSES", help="make and rank only so many classes")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory", type=int, default=MEMORY, help="bytes of scores held at a time")
    parser.add_argument("--float32", action="store_true", help="store float32 in place of float16")
    parser.add_argument("--loop", type=int, metavar="CLASSES", help="classes of the loop; all at first")
    parser.add_argument("--folder", type=Path, help="where the scores are written; the system's at first")
    parser.add_argument("--quick", action="store_true", help="a tenth of the clips, a hundredth of the loop")
    options = parser.parse_args()
    if options.quick:
        options.clips //= 10
        options.loop = options.loop or max(1, options.classes // 100)
    made = options.slice or options.classes
    memory = options.memory * made // options.classes
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "scores.npy"
        dtype = np.float32 if options.float32 else np.float16
        indptr, clips = make(path, options.clips, np.linspace(1, options.classes, made), dtype)
        machine = f"{platform.processor() or platform.machine()}, {options.threads} threads"
        print(f"{machine}, NumPy {np.__version__}, {memory / 2**20:.0f} MiB of scores at a time")
        size = path.stat().st_size
        print(f"{options.clips:,} clips x {made:,} classes, {len(clips):,} positives, {size / 1e9:.2f} GB")
        print(f"reading the file once, from the cache: {read(path):.2f} s")
        drop(path)
        for source in ("disk", "memory"):
            before = resource.getrusage(resource.RUSAGE_SELF)
            begin = time.perf_counter()
            scores = np.load(path, mmap_mode="r")
            ranking = rank_blocks(scores, indptr, clips, memory=memory, threads=options.threads)
            ours = time.perf_counter() - begin
            after = resource.getrusage(resource.RUSAGE_SELF)
            busy = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            rate = f"{ours / made * 1e3:.3f} ms a class, {ours / options.clips / made * 1e9:.2f} ns a score"
            print(f"auricle, file in {source}: {ours:.2f} s ({busy:.2f} s of processor), {rate}")
        if options.slice:
            times = options.classes / made
            print(
                f"all {options.classes:,} classes: {size * times / 1e9:.1f} GB, read twice, "
                f"{ours * times / 3600:.2f} h at this rate, {busy * times / 3600:.2f} h of one processor"
            )
        else:
            compare(path, indptr, clips, ranking, ours, busy, min(options.loop or made, made))


def make(path: Path, clips: int, rank: np.ndarray, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Write scores; the positives of the classes of these ranks, from half of the clips down to a handful."""
    rng, classes = np.random.default_rng(0), len(rank)
    scores = np.lib.format.open_memmap(path, "w+", dtype=dtype, shape=(clips, classes))
    counts = np.maximum(np.minimum(clips * 0.5, clips * 3.0 / rank), min(5, clips // 2)).astype(int)
    columns = [np.sort(rng.choice(clips, count, replace=False)) for count in counts]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    positive, label = np.concatenate(columns), np.repeat(np.arange(classes), counts)
    order = np.argsort(positive, kind="stable")
    positive_of_clip, label_of_clip = positive[order], label[order]
    for start in range(0, clips, ROWS):
        stop = min(start + ROWS, clips)
        rows = rng.standard_normal((stop - start, classes), np.float32) * 2 - 6
        a, b = np.searchsorted(positive_of_clip, [start, stop])
        rows[positive_of_clip[a:b] - start, label_of_clip[a:b]] += 4
        scores[start:stop] = rows
    scores.flush()
    return indptr, positive


def read(path: Path) -> float:
    buffer, begin = bytearray(2**24), time.perf_counter()
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
    return time.perf_counter() - begin


def drop(path: Path) -> None:
    """Ask the system to forget the file's pages."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def compare(
    path: Path,
    indptr: np.ndarray,
    clips: np.ndarray,
    ranking: Ranking,
    ours: float,
    busy: float,
    loop: int,
) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    classes = np.unique(np.linspace(0, len(indptr) - 2, loop).astype(int))
    scores, spent, spent_busy, worst = np.load(path, mmap_mode="r"), 0.0, 0.0, 0.0
    for k in classes:
        column = np.ascontiguousarray(scores[:, k], dtype=np.float32)
        targets = np.zeros(len(column), np.int8)
        targets[clips[indptr[k] : indptr[k + 1]]] = 1
        begin, begin_busy = time.perf_counter(), time.process_time()
        ap, auc = average_precision_score(targets, column), roc_auc_score(targets, column)
        spent += time.perf_counter() - begin
        spent_busy += time.process_time() - begin_busy
        found = ranking.classes["ap"][k], ranking.classes["auc"][k]
        worst = max(worst, abs(found[0] - ap), abs(found[1] - auc))
    theirs, theirs_busy = (each / len(classes) * (len(indptr) - 1) for each in (spent, spent_busy))
    said = "" if len(classes) == len(indptr) - 1 else f", from {len(classes)} classes of them"
    print(f"scikit-learn's loop: {theirs:.1f} s{said}; largest difference of a figure {worst:.1e}")
    print(f"auricle is {theirs / ours:.0f} times faster (10 is the goal)")
    print(f"by processor time, which other work disturbs less: {theirs_busy / busy:.0f} times")


if __name__ == "__main__":
    main()
