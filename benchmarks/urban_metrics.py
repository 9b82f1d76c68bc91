"""Urban figures at all thresholds by sorting, beside a loop over thresholds of the same rules, in one run.

The loop goes over each class's thresholds and, for the micro figures, over all; at each it counts all clips
at once with NumPy, which is what the challenge's code does. Every figure of the two is compared.

    python benchmarks/urban_metrics.py [--quick] [--clips N ...]
    python benchmarks/urban_metrics.py --predictions CSV --annotations CSV --taxonomy YAML

Random scores are all distinct; taxonomy and size are the challenge's. With files, these are measured too. At
many clips the loop is too long for a benchmark: `--loop` thresholds of each class, evenly spread, are timed
and the rest is reckoned from them; then figures are not compared, but the counts at those thresholds are.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from auricle.metrics.urban import Branch, columns_alone, count, fine_metrics

# The challenge's taxonomy: numbers of complete fine labels, and whether there is one of unknown class.
CLASSES = ((3, True), (4, True), (1, False), (3, True), (4, True), (3, True), (4, True), (1, False))
GOAL = 50


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, nargs="+", default=[443, 10_000])
    parser.add_argument(
        "--loop", type=int, default=1000, metavar="N", help="thresholds of a class looped over"
    )
    parser.add_argument("--quick", action="store_true", help="few thresholds of the loop, few repetitions")
    parser.add_argument("--predictions", type=Path)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--taxonomy", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.loop = min(options.loop, 50)
    machine = platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0))
    print(f"{machine}, {cores} cores, one used, NumPy {np.__version__}; processor time, best of several")
    if options.predictions:
        for level, case in from_files(options.predictions, options.annotations, options.taxonomy).items():
            measure(f"{options.predictions.name}, {level}", *case, loop=options.loop, quick=options.quick)
    for clips in options.clips:
        case = challenge(clips)
        measure(f"{clips:,} clips, scores all distinct, fine", *case, loop=options.loop, quick=options.quick)


def challenge(clips: int) -> tuple[np.ndarray, np.ndarray, list[Branch]]:
    """Truth and scores of so many clips under the challenge's taxonomy."""
    random, branches, column = np.random.default_rng(0), [], 0
    for complete, unknown in CLASSES:
        stop = column + complete
        branches.append((tuple(range(column, stop)), stop if unknown else None))
        column = stop + unknown
    truth = random.random((clips, column)) < 0.08
    return truth, (random.random(truth.shape) + 0.5 * truth) / 1.5, branches


def from_files(
    predictions: Path, annotations: Path, taxonomy: Path
) -> dict[str, tuple[np.ndarray, np.ndarray, list[Branch]]]:
    from auricle.datasets.annotations import read_annotations
    from auricle.datasets.taxonomy import read_taxonomy
    from auricle.evaluation.submission import read_submission
    from auricle.evaluation.truth import annotated_truth, branches_of, level_labels
    from auricle.evaluation.urban import in_order

    read = read_taxonomy(taxonomy)
    truth = annotated_truth(read_annotations(annotations, read), ["validate"], str(annotations))
    scores = in_order(read_submission(predictions, read), truth)
    cases = {}
    for level in ("fine", "coarse"):
        labels = level_labels(read, level)
        if set(labels) <= set(scores.labels):
            columns = [read.labels.index(label) for label in labels]
            scored = [scores.labels.index(label) for label in labels]
            branches = branches_of(read) if level == "fine" else columns_alone(len(labels))
            cases[level] = truth.positive[:, columns], scores.scores[:, scored], branches
    return cases


def measure(
    name: str,
    truth: np.ndarray,
    scores: np.ndarray,
    branches: Sequence[Branch],
    *,
    loop: int,
    quick: bool,
) -> None:
    ours, figures = best(lambda: fine_metrics(truth, scores, branches), 5 if quick else 20)
    sizes = [len(count(truth, scores, branch).thresholds) for branch in branches]
    if max(sizes) <= loop:
        theirs, looped = best(lambda: loop_metrics(truth, scores, branches), 1 if quick else 3)
        worst = max(abs(figures[key] - looped[key]) for key in looped)
        said = f"largest difference of a figure {worst:.1e}"
    else:
        theirs = sampled_loop(truth, scores, branches, loop)
        said = f"reckoned from {loop} thresholds of each class, whose counts are the same"
    print(f"{name}: {sum(sizes):,} thresholds in {len(sizes)} classes")
    print(f"  auricle {ours * 1e3:.3f} ms, loop {theirs * 1e3:,.1f} ms ({said})")
    print(f"  auricle is {theirs / ours:,.0f} times faster ({GOAL} is the goal)")


def best(work: Callable[[], dict], rounds: int) -> tuple[float, dict]:
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        found = work()
        times.append(time.process_time() - begin)
    return min(times), found


def counts_at(truth: np.ndarray, scores: np.ndarray, branch: Branch, threshold: float) -> np.ndarray:
    """TP, FP and FN of a class at one threshold, by the rules, all clips at once."""
    complete, unknown = list(branch[0]), branch[1]
    there, predicted = truth[:, complete], scores[:, complete] >= threshold
    both = there & predicted
    if unknown is None:
        return np.array([both.sum(), (predicted & ~there).sum(), (there & ~predicted).sum()])
    u, q = truth[:, unknown], scores[:, unknown] >= threshold
    none_there, any_said = ~there.any(axis=1), predicted.any(axis=1) | q
    tp = both.sum() + (u & any_said & ~both.any(axis=1)).sum()
    lone = ~u & none_there & q & ~predicted.all(axis=1)
    fp = (predicted & ~there & ~u[:, None]).sum() + lone.sum()
    fn = (there & ~predicted).sum() + (u & none_there & ~any_said).sum()
    return np.array([tp, fp, fn])


def thresholds_of(scores: np.ndarray, branch: Branch) -> np.ndarray:
    own = scores[:, list(branch[0])]
    return np.unique(np.append(own[own >= 0.01], 1.0))


def loop_metrics(truth: np.ndarray, scores: np.ndarray, branches: Sequence[Branch]) -> dict[str, float]:
    own = [thresholds_of(scores, branch) for branch in branches]
    tables = [
        np.array([counts_at(truth, scores, branch, t) for t in thresholds])
        for branch, thresholds in zip(branches, own, strict=True)
    ]
    union = np.unique(np.concatenate(own))
    total = np.zeros((len(union), 3), int)
    for place, t in enumerate(union):
        for thresholds, table in zip(own, tables, strict=True):
            total[place] += table[np.searchsorted(thresholds, t)]
    tp, fp, fn = total[np.searchsorted(union, 0.5)]
    f1 = 2 * tp / max(2 * tp + fp + fn, 1)
    areas = [area(table) for table in tables]
    return {"micro_auprc": area(total), "micro_f1": f1, "macro_auprc": float(np.mean(areas))}


def area(table: np.ndarray) -> float:
    tp, fp, fn = table[::-1].T
    precision = np.concatenate([[1], tp / np.maximum(tp + fp, 0.5), [0]])
    recall = np.concatenate([[0], tp / np.maximum(tp + fn, 0.5), [1]])
    return float(np.trapezoid(precision, recall))


def sampled_loop(truth: np.ndarray, scores: np.ndarray, branches: Sequence[Branch], loop: int) -> float:
    """Seconds of the whole loop's counts, from some thresholds of each class; micro sums are not counted."""
    seconds = 0.0
    for branch in branches:
        points, thresholds = count(truth, scores, branch), thresholds_of(scores, branch)
        places = np.unique(np.linspace(0, len(thresholds) - 1, loop).astype(int))
        begin = time.process_time()
        table = np.array([counts_at(truth, scores, branch, t) for t in thresholds[places]])
        seconds += (time.process_time() - begin) / len(places) * len(thresholds)
        ours = np.stack([points.tp[0], points.fp[0], points.fn[0]], axis=1)[places]
        assert np.array_equal(table, ours), "the counts differ"
    return seconds


if __name__ == "__main__":
    main()
