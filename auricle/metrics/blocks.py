"""Ranking figures of scores that are too many for memory: exact, a block of clips at a time.

Scores lie clip by clip, as they were written. AP and AUC of a class need no more than two counts at each of
its positives: clips that score at least as high, and clips that score higher. Counts add up over blocks of
clips. So the positives' scores are read first; then, for each block, every class is turned into a row and
sorted, and its positives are looked up in it. The same is done with all pairs of clip and class as one
ranking. float16 is sorted as 16-bit integers in the same order, which takes two counting passes and no
comparison.

Counts add up over processes, too, each of which has some of the clips: then the positives' scores are brought
together, and counts, but no other scores (`Together`).

The file is read twice, from beginning to end. Counts are whole numbers: figures are the same to the last bit
for any size of block and number of threads. Sorting, copying and looking up leave Python's lock, so threads
share the work.

Shape letters: N clips, K columns of scores, S classes ranked, P positives.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from auricle.metrics.areas import areas_of_counts, counts, d_prime, d_primes, mean_defined

MEMORY = 2**29  # bytes of scores held at a time, all threads together
ROWS, TILE = 1024, 64  # a turned tile reads two lines of 64 bytes a clip and stays in the cache
PAIRS = 2**22  # pairs of clip and class sorted at a time, at least, where memory lets
AT_A_TIME = 2**20  # positives read at a time
KEY_OF_INFINITY = (0x03FF, 0xFC00)  # of minus and plus infinity: keys beyond are NaN


class Together(NamedTuple):
    """How processes that have some of the clips each work together; as it stands, one has them all."""

    gather: Callable[[Any], list[Any]] = lambda value: [value]
    """The values of all processes, in an order that is the same on each."""
    add: Callable[[np.ndarray], np.ndarray] = lambda counts: counts
    """int64 counts, added up over all processes."""


ALONE = Together()


class Ranking(NamedTuple):
    """What `rank_blocks` found."""

    figures: dict[str, float]
    """As `auricle.metrics.ranking.summarise` gives them."""
    classes: dict[str, np.ndarray]
    """As `auricle.metrics.ranking.per_class` gives them."""
    best_N: np.ndarray
    """(N,) int64: position, in `columns`, of each clip's best label."""


def rank_blocks(
    scores_NK: np.ndarray,
    indptr: np.ndarray,
    clips: np.ndarray,
    *,
    columns: Sequence[int] | np.ndarray | None = None,
    memory: int = MEMORY,
    threads: int | None = None,
    progress: Callable[[int], object] | None = None,
    together: Together = ALONE,
) -> Ranking:
    """All ranking figures of scores in memory or on disk, from sparse targets, in bounded memory.

    What is held beside `memory`: some 100 bytes for each positive and 8 for each clip.

    Args:
        scores_NK: (N, K) real scores, larger means more likely: an array, or `np.load(..., mmap_mode="r")`.
            float16 is the fastest.
        indptr: (S + 1,) bounds in `clips`: the positives of class s are `clips[indptr[s]:indptr[s + 1]]`.
        clips: (P,) rows of the positives, none twice in a class.
        columns: (S,) the column of each class; None ranks all columns.
        memory: bytes of scores to hold at a time; those of one clip at least are.
        threads: that rank; None takes every core.
        progress: called with the number of scores done since the last call, 2 * N * S in all.
        together: where N and P are of this process's clips, and others have others: how they work together.
            Figures and classes are then of all clips, on each process; `best_N` is of its own.

    Raises:
        ValueError: shapes do not match, a clip or column is not there, or a score is NaN.

    >>> scores = np.array([[0.9, 0.1], [0.3, 0.2], [0.8, 0.1]], np.float16)
    >>> ranking = rank_blocks(scores, np.array([0, 2, 4]), np.array([0, 2, 1, 2]))
    >>> ranking.figures["map"], ranking.classes["auc"].tolist()
    (0.9166666666666666, [1.0, 0.75])
    """
    taken = np.arange(scores_NK.shape[1]) if columns is None else np.asarray(columns, np.int64)
    indptr, clips = np.asarray(indptr), np.asarray(clips)
    _check(scores_NK, indptr, clips, taken)
    step = progress or (lambda count: None)
    true_scores, bounds = _of_all(_true_scores(scores_NK, indptr, clips, taken), indptr, together)
    tallies = [_Tally(true_scores[start:end]) for start, end in zip(bounds, bounds[1:], strict=False)]
    all_pairs, best_N = _Tally(true_scores), np.zeros(len(scores_NK), np.int64)
    with _threads(threads) as (run, count):
        size, pair = true_scores.itemsize, max(1, len(taken))
        parts = list(_even(len(taken), -(-len(taken) // count)))
        # More pairs at a time where more is looked up in them; they are held as read and as sorted.
        held = min(max(PAIRS, 8 * len(all_pairs.times)), memory // count // (2 * size))
        for rows in _even(len(scores_NK), memory // (size * pair)):
            block_NK = scores_NK[rows]
            for part, _ in zip(
                parts, run(partial(_tally_classes, block_NK, taken, tallies), parts), strict=True
            ):
                step(len(block_NK) * (part.stop - part.start))
            spans = list(_even(len(block_NK), held // pair))
            found = run(partial(_tally_pairs, block_NK, taken, all_pairs), spans)
            for span, (best, at_least, above) in zip(spans, found, strict=True):
                best_N[rows][span] = best
                all_pairs.at_least += at_least
                all_pairs.above += above
                step(len(best) * len(taken))
    correct, labelled = one_best(best_N, indptr, clips)
    added = together.add(np.array([len(scores_NK), correct.sum(), labelled.sum()], np.int64))
    total, num_correct, num_labelled = (int(number) for number in added)
    if together is not ALONE:
        _add_up([*tallies, all_pairs], together)
    areas = np.array([tally.areas(total) for tally in tallies]).reshape(len(tallies), 2)
    classes = {
        "positives": np.diff(bounds).astype(np.int64),
        "ap": areas[:, 0].copy(),
        "auc": areas[:, 1].copy(),
        "d_prime": d_primes(areas[:, 1]),
    }
    micro = all_pairs.areas(total * len(taken))
    return Ranking(_figures(classes, micro, total, num_correct, num_labelled), classes, best_N)


def one_best(best_N: np.ndarray, indptr: np.ndarray, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each clip's best label is true, and whether it has a label at all; (N,) bool each.

    >>> one_best(np.array([0, 0, 1]), np.array([0, 1, 2]), np.array([0, 1]))
    (array([ True, False, False]), array([ True,  True, False]))
    """
    correct, labelled = np.zeros(len(best_N), bool), np.zeros(len(best_N), bool)
    labelled[clips] = True
    label = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    correct[clips[best_N[clips] == label]] = True
    return correct, labelled


def turned(scores_NK: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(C, N): some columns of (N, K) scores as rows, copied tile by tile; whole numbers as float64.

    >>> turned(np.array([[1, 2], [3, 4]]), np.array([1]))
    array([[2., 4.]])
    """
    out = np.empty((len(columns), len(scores_NK)), _held(scores_NK[:0]).dtype)
    tiles = [(tile, _span(columns[tile : tile + TILE])) for tile in range(0, len(columns), TILE)]
    for start in range(0, len(scores_NK), ROWS):
        rows = scores_NK[start : start + ROWS]
        for tile, part in tiles:
            out[tile : tile + TILE, start : start + ROWS] = rows[:, part].T
    return out


def ordered_keys(scores: np.ndarray) -> np.ndarray:
    """float16 as uint16 in the same order, made in the same memory; other scores as they are.

    The two zeros, which are equal, have one key.

    >>> ordered_keys(np.array([-np.inf, -1, -0.0, 0, 6e-8, np.inf], np.float16))
    array([ 1023, 17407, 32768, 32768, 32769, 64512], dtype=uint16)
    """
    if scores.dtype != np.float16:
        return scores
    keys = scores.view(np.uint16)
    flips = (scores.view(np.int16) >> 15).view(np.uint16)  # all bits of a negative, else none
    flips |= 0x8000
    keys ^= flips
    keys += keys == 0x7FFF  # minus zero
    return keys


class _Tally:
    """What is counted of one ranking: how many are at least as high as a positive's score, and above it."""

    def __init__(self, true_scores: np.ndarray):
        self.thresholds, self.times = np.unique(true_scores, return_counts=True)
        self.at_least, self.above = np.zeros((2, len(self.times)), np.int64)

    def areas(self, total: int) -> tuple[float, float]:
        return areas_of_counts(self.times[::-1], self.at_least[::-1], self.above[::-1], total)


def _true_scores(
    scores_NK: np.ndarray, indptr: np.ndarray, clips: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """(P,) keys of the positives, class by class, read clip by clip."""
    column = np.repeat(columns, np.diff(indptr))
    order = np.argsort(clips, kind="stable")
    out = np.empty(len(clips), _held(scores_NK[:0]).dtype)
    for start in range(0, len(order), AT_A_TIME):
        part = order[start : start + AT_A_TIME]
        out[part] = scores_NK[clips[part], column[part]]
    return ordered_keys(out)


def _of_all(true_scores: np.ndarray, indptr: np.ndarray, together: Together) -> tuple[np.ndarray, np.ndarray]:
    """Keys of the positives of all processes, class by class, and each class's bounds."""
    found = together.gather((true_scores, np.diff(indptr)))
    if len(found) == 1:
        return true_scores, indptr
    sizes = [of_class for _, of_class in found]
    label = np.concatenate([np.repeat(np.arange(len(of_class)), of_class) for of_class in sizes])
    order = np.argsort(label, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.sum(sizes, axis=0))])
    return np.concatenate([keys for keys, _ in found])[order], bounds


def _add_up(tallies: list[_Tally], together: Together) -> None:
    """What all processes counted, all rankings at once."""
    counted = np.concatenate([np.stack([tally.at_least, tally.above]) for tally in tallies], axis=1)
    ends = np.cumsum([len(tally.times) for tally in tallies])
    for tally, part in zip(tallies, np.split(together.add(counted), ends[:-1], axis=1), strict=True):
        tally.at_least, tally.above = part


def _tally_classes(block_NK: np.ndarray, columns: np.ndarray, tallies: list[_Tally], part: slice) -> None:
    """Count some classes of a block of clips; no two threads have the same class."""
    for tally, row in zip(tallies[part], turned(block_NK, columns[part]), strict=True):
        keys = ordered_keys(row)  # one class at a time: it stays in the cache
        _sort(keys)
        _refuse_nan(keys)
        at_least, above = counts(keys, tally.thresholds)
        tally.at_least += at_least
        tally.above += above


def _tally_pairs(
    block_NK: np.ndarray, columns: np.ndarray, tally: _Tally, span: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best label of some clips of a block, and what all their scores add to the counts."""
    if not len(columns):
        return np.zeros(span.stop - span.start, np.int64), tally.at_least, tally.above
    scores = ordered_keys(_held(block_NK[span, _span(columns)]))
    best = scores.argmax(axis=1)
    flat = scores.reshape(-1)
    _sort(flat)
    return best, *counts(flat, tally.thresholds)


def _even(total: int, most: int) -> Iterator[slice]:
    """Slices of at most so many (one, where that is none), as even as can be."""
    parts = -(-total // max(1, most))
    bounds = [total * part // parts for part in range(parts + 1)] if parts else []
    return (slice(a, b) for a, b in zip(bounds, bounds[1:], strict=False))


def _sort(values: np.ndarray) -> None:
    """In place, along the last axis; "stable" is the radix sort for 16-bit integers."""
    values.sort(axis=-1, kind="stable" if values.dtype == np.uint16 else None)


def _refuse_nan(rising_N: np.ndarray) -> None:
    """Sorted scores have their NaN at the ends."""
    if not len(rising_N):
        return
    low, high = KEY_OF_INFINITY if rising_N.dtype == np.uint16 else (-np.inf, np.inf)
    if not low <= rising_N[0] <= rising_N[-1] <= high:
        raise ValueError("scores are NaN: a NaN has no rank; find where it came from")


def _held(scores: np.ndarray) -> np.ndarray:
    """A copy in this machine's byte order, whole numbers as float64."""
    kind = scores.dtype.newbyteorder("=") if scores.dtype.kind == "f" else np.dtype(np.float64)
    return np.array(scores, kind, order="C")


def _span(columns: np.ndarray) -> slice | np.ndarray:
    """The columns, as a slice where they are neighbours: copied without a look at each."""
    if len(columns) and (np.diff(columns) == 1).all():
        return slice(int(columns[0]), int(columns[-1]) + 1)
    return columns


def _figures(
    classes: dict[str, np.ndarray], micro: tuple[float, float], clips: int, correct: int, labelled: int
) -> dict[str, float]:
    macro_auc = mean_defined(classes["auc"])
    return {
        "map": mean_defined(classes["ap"]),
        "auc": macro_auc,
        "d_prime": d_prime(macro_auc),
        "d_prime_mean": mean_defined(classes["d_prime"]),
        "accuracy": correct / labelled if labelled else float("nan"),
        "micro_ap": micro[0],
        "micro_auc": micro[1],
        "clips": clips,
        "classes": len(classes["ap"]),
        "excluded_ap": int(np.isnan(classes["ap"]).sum()),
        "excluded_auc": int(np.isnan(classes["auc"]).sum()),
        "excluded_accuracy": clips - labelled,
        "infinite_d_prime": int(np.isinf(classes["d_prime"]).sum()),
    }


def _check(scores_NK: np.ndarray, indptr: np.ndarray, clips: np.ndarray, columns: np.ndarray) -> None:
    if scores_NK.ndim != 2 or scores_NK.dtype.kind not in "fiu":
        raise ValueError(
            f"scores are {scores_NK.dtype} of shape {scores_NK.shape}: expected real numbers (N, K)"
        )
    if indptr.shape != (len(columns) + 1,) or indptr[0] != 0 or indptr[-1] != len(clips):
        raise ValueError(
            f"indptr has shape {indptr.shape}: expected ({len(columns) + 1},), from 0 to {len(clips)}"
        )
    for what, values, most in (("clips", clips, len(scores_NK)), ("columns", columns, scores_NK.shape[1])):
        if len(values) and not 0 <= values.min() <= values.max() < most:
            raise ValueError(f"{what} go from {values.min()} to {values.max()}: expected 0 to {most - 1}")


@contextmanager
def _threads(count: int | None) -> Iterator[tuple[Callable[..., Any], int]]:
    """A map in order over so many threads, and how many there are."""
    if count is None:
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count < 2:
        yield map, 1
        return
    pool = ThreadPoolExecutor(count)
    try:
        yield pool.map, count
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, what has not begun is left
