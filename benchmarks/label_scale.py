"""Labels at the paper's scale: opening, counting, views and a balanced set with 30,871 labels, 1 M clips.

    python benchmarks/label_scale.py [--clips N] [--labels K] [--quick]

The pack is made up: labels by Zipf's law, five draws a clip, no sound. Beside ours stands what people write
for the same: a `Counter` over lists for counting, and for the balanced set clips in random order, each taken
if one of its labels still lacks some.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from auricle.shards import Pack, add_label_view, most_frequent
from auricle.shards.subsets import balanced_subset

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from zipf_pack import write_zipf_pack  # noqa: E402

PER_CLASS = 33


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Print how long it took and by how much resident memory grew."""
    before, start = resident(), time.perf_counter()
    result = work()
    print(f"{what:<52} {time.perf_counter() - start:9.4f} s {resident() - before:8.1f} MB")
    return result


def resident() -> float:
    """Megabytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def by_counter(reader: Pack, clips: np.ndarray) -> list[tuple[int, int]]:
    """Label and count of the commonest, with the standard library."""
    indptr, labels = reader.clip_labels()
    lists = [labels[indptr[clip] : indptr[clip + 1]].tolist() for clip in clips]
    return Counter(label for of in lists for label in of).most_common(400)


def in_random_order(reader: Pack) -> np.ndarray:
    """Counts of labels in clips that are taken one by one while one of their labels lacks some."""
    indptr, labels = reader.clip_labels()
    counts = np.zeros(len(reader.label_names()), dtype=np.int64)
    for clip in np.random.default_rng(0).permutation(len(reader)):
        own = labels[indptr[clip] : indptr[clip + 1]]
        if (counts[own] < PER_CLASS).any():
            counts[own] += 1
    return counts


def main() -> None:
    """Make the pack in a temporary folder and time everything once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=30_871)
    parser.add_argument("--quick", action="store_true", help="a tenth of the clips and labels")
    arguments = parser.parse_args()
    clips, labels = (
        number // (10 if arguments.quick else 1) for number in (arguments.clips, arguments.labels)
    )
    with tempfile.TemporaryDirectory() as folder:
        out = write_zipf_pack(Path(folder) / "pack", clips, labels, clips_a_group=2)
        reader = timed("open", lambda: Pack(out))
        timed("names of labels", reader.label_names)
        counts = timed("counts of labels in all clips", reader.label_counts)
        train = timed("clips of a split", lambda: reader.select(["train"]))
        top = timed("the 400 most frequent in them", lambda: most_frequent(reader, 400, clips=train))
        timed("  the same with a Counter", lambda: by_counter(reader, train))
        timed("the view of 400", lambda: add_label_view(out, "top400", top))
        most = most_frequent(reader, min(3000, labels // 2), clips=train)
        timed(f"the view of {len(most):,}", lambda: add_label_view(out, "more", most))
        draw = np.random.default_rng(0)
        batches = [draw.integers(0, clips, 128) for _ in range(100)]
        timed("sparse targets of 128 clips, 100 times", lambda: [reader.target_pairs(b) for b in batches])
        chosen, report = timed("balanced set", lambda: balanced_subset(reader, PER_CLASS))
        greedy = timed("  in random order, while one lacks some", lambda: in_random_order(reader))
    over = int(np.count_nonzero(greedy > 2 * PER_CLASS))
    print(f"priors {counts[counts > 0].min() / clips:.2g} to {counts.max() / clips:.2g}")
    print(
        f"balanced: {len(chosen)} clips, {len(report['short'])} labels with fewer than {PER_CLASS} (all that "
        f"there are), {len(report['over'])} with more than {2 * PER_CLASS}; in random order {over}"
    )


if __name__ == "__main__":
    main()
