"""How sure ranking figures are: intervals from drawing whole groups of clips again.

A draw holds some clips several times. A positive then stands beside its own copies, so average precision is
higher in draws than it is of the clips themselves: by 0.05 where a class has few positives, and an interval
of plain percentiles may leave out the very figure that it is of. The draws say how far figures spread, not
where: the interval is moved so that the median of the draws falls on the figure.

Draws of recordings that have not erred never err. So where few recordings err, the interval of accuracy is
made wide enough for exact bounds (`auricle.metrics.bounds`). Average precision and AUC have none such: where
draws all give the same there is no interval, not one without width; where few err it is too narrow.

Shape letters: N clips, K columns of scores, S classes ranked, P positives, D draws, M ranked pairs (N for a
class, N * S for micro).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from auricle.metrics.areas import d_primes, positives, validated
from auricle.metrics.blocks import MEMORY, one_best, ordered_keys, turned
from auricle.metrics.bounds import share_bounds

METRICS = ("map", "auc", "d_prime", "d_prime_mean", "accuracy", "micro_ap", "micro_auc")
UNBOUNDED = ("d_prime", "d_prime_mean")  # the others lie between 0 and 1
BLOCK = 2**18  # weights ranked at a time: the block and its sums stay in the cache


def bootstrap_intervals(
    targets_NK: np.ndarray,
    scores_NK: np.ndarray,
    groups: np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    progress: Callable[[int], object] | None = None,
) -> dict[str, tuple[float, float]]:
    """Intervals of the figures of `summarise`, by drawing whole groups again with replacement.

    Clips of one recording err together; drawing clips one by one would make the intervals too narrow. The
    scores are sorted once, and each draw is a weight for each clip.

    Args:
        targets_NK: (N, K) of 0 and 1, or bool.
        scores_NK: (N, K) of any real scores; larger means more likely.
        groups: (N,) the group of each clip, of any type that sorts.
        draws: how often to draw.
        seed: of the draws; the same seed gives the same intervals.
        level: share of the draws that an interval covers.
        progress: called with the number of rankings done since the last call, K + 1 in all.

    Returns:
        Metric -> (low, high): percentiles of the draws, moved so that their median is the figure itself, and
        cut where a figure cannot be; of accuracy wide enough for exact bounds where few groups err. Draws in
        which a metric is not defined are left out; (NaN, NaN) if none is left, or they are all the same, or
        the figure is not defined.

    Raises:
        ValueError: as in `summarise`, or the groups do not match the clips, or an option is out of range.

    >>> targets, scores = np.array([[1, 0], [0, 1], [1, 1]]), np.array([[0.9, 0.1], [0.3, 0.2], [0.8, 0.1]])
    >>> found = bootstrap_intervals(targets, scores, np.array(["a", "b", "b"]), draws=20)
    >>> [round(bound, 2) for bound in found["accuracy"]]
    [0.03, 1.0]

    Source: Efron and Tibshirani (1993), chapter 13; moved as the head of this file says.
    """
    targets, scores = validated(targets_NK, scores_NK, ndim=2)
    best_N = scores.argmax(axis=1) if scores.shape[1] else np.zeros(len(scores), np.int64)
    indptr, clips = positives(targets)
    return bootstrap_blocks(
        scores,
        indptr,
        clips,
        groups,
        best_N,
        draws=draws,
        seed=seed,
        level=level,
        progress=progress,
    )


def bootstrap_blocks(
    scores_NK: np.ndarray,
    indptr: np.ndarray,
    clips: np.ndarray,
    groups: np.ndarray,
    best_N: np.ndarray,
    *,
    columns: Sequence[int] | np.ndarray | None = None,
    micro: bool = True,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    memory: int = MEMORY,
    progress: Callable[[int], object] | None = None,
) -> dict[str, tuple[float, float]]:
    """`bootstrap_intervals` of scores in memory or on disk, from sparse targets, in blocks of classes.

    A draw costs about 4 ns for each clip and class. Two bytes for each draw and clip are held beside
    `memory`.

    Args:
        scores_NK: (N, K) scores, as `auricle.metrics.blocks.rank_blocks` takes them.
        indptr: (S + 1,) bounds in `clips`.
        clips: the positives of each class.
        groups: (N,) the group of each clip, of any type that sorts.
        best_N: (N,) each clip's best label, as `rank_blocks` gives it.
        columns: (S,) the column of each class; None takes all.
        micro: also of the micro figures, for which all pairs are held and sorted at once: 24 bytes a pair.
        draws: how often to draw.
        seed: of the draws; the same seed gives the same intervals.
        level: share of the draws that an interval covers.
        memory: bytes of scores to hold at a time.
        progress: called with the number of rankings done since the last call, S, and 1 for micro.

    Returns:
        Metric -> (low, high), as `bootstrap_intervals` has it.

    Raises:
        ValueError: the groups do not match the clips, or an option is out of range.

    >>> scores, indptr, clips = np.array([[0.9], [0.3], [0.8], [0.1]]), np.array([0, 2]), np.array([0, 3])
    >>> bootstrap_blocks(scores, indptr, clips, np.arange(4), np.zeros(4, int), draws=50)["auc"]
    (0.0, 1.0)
    """
    taken = np.arange(scores_NK.shape[1]) if columns is None else np.asarray(columns, np.int64)
    groups = np.asarray(groups)
    if groups.shape != (len(scores_NK),):
        raise ValueError(f"groups have shape {groups.shape}: expected ({len(scores_NK)},), one for each clip")
    if draws < 1:
        raise ValueError(f"draws is {draws}: expected at least 1")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: expected a number between 0 and 1, like 0.95")
    if not len(scores_NK):
        return {name: (float("nan"), float("nan")) for name in METRICS if micro or "micro" not in name}
    step = progress or (lambda count: None)
    weights_DN = group_weights(groups, draws, seed)
    means = {name: _Mean(len(weights_DN)) for name in ("map", "auc", "d_prime_mean")}
    width = max(1, memory // (16 * len(scores_NK)))  # the scores and their order
    for start in range(0, len(taken), width):
        block_CN = ordered_keys(turned(scores_NK, taken[start : start + width]))
        for k, row in enumerate(block_CN, start):
            targets = np.zeros(len(row), bool)
            targets[clips[indptr[k] : indptr[k + 1]]] = True
            ap_D, auc_D = _areas(_rank(targets, row), weights_DN)
            means["map"].add(ap_D)
            means["auc"].add(auc_D)
            means["d_prime_mean"].add(d_primes(auc_D))
            step(1)
    values = {name: mean.values() for name, mean in means.items()}
    values["d_prime"] = d_primes(values["auc"])
    correct_N, labelled_N = one_best(best_N, indptr, clips)
    values["accuracy"] = _accuracies(correct_N, labelled_N, weights_DN)
    if micro:
        pairs_NS = ordered_keys(turned(scores_NK, taken)).T
        targets_NS = np.zeros(pairs_NS.shape, bool)
        targets_NS[clips, np.repeat(np.arange(len(taken)), np.diff(indptr))] = True
        ranked = _rank(targets_NS.ravel(), pairs_NS.ravel(), columns=len(taken))
        values["micro_ap"], values["micro_auc"] = _areas(ranked, weights_DN)
        step(1)
    found = {
        name: moved_interval(values[name], level, bounded=name not in UNBOUNDED)
        for name in METRICS
        if name in values
    }
    if exact := _accuracy_bounds(correct_N, labelled_N, groups, level):
        low, high = found["accuracy"]
        found["accuracy"] = (float(np.fmin(low, exact[0])), float(np.fmax(high, exact[1])))
    return found


def figure_draws(
    targets_NK: np.ndarray,
    scores_NK: np.ndarray,
    groups: np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Accuracy and mAP of the clips and of each draw of groups, for intervals of differences.

    The draws follow from the groups and the seed alone: what was scored in two ways is drawn alike, and the
    difference of two results, draw by draw, is a paired one. `moved_interval` makes an interval of it.

    Args:
        targets_NK: (N, K) of 0 and 1, or bool.
        scores_NK: (N, K) of any real scores; larger means more likely.
        groups: (N,) the group of each clip, of any type that sorts.
        draws: how often to draw.
        seed: of the draws.

    Returns:
        "accuracy" and "map" -> (1 + D,): the figure itself, then that of each draw.

    Raises:
        ValueError: as in `summarise`, or the groups do not match the clips.

    >>> targets, scores = np.eye(2, dtype=int), np.array([[0.9, 0.1], [0.8, 0.2]])
    >>> figure_draws(targets, scores, np.array(["a", "b"]), draws=3)["accuracy"].tolist()
    [0.5, 0.0, 0.5, 1.0]
    """
    targets, scores = validated(targets_NK, scores_NK, ndim=2)
    if np.shape(groups) != (len(scores),):
        raise ValueError(f"groups have shape {np.shape(groups)}: expected ({len(scores)},), one a clip")
    weights_DN, mean = group_weights(np.asarray(groups), draws, seed), _Mean(1 + draws)
    for k in range(scores.shape[1]):
        mean.add(_areas(_rank(targets[:, k].astype(bool), scores[:, k]), weights_DN)[0])
    correct_N, labelled_N = one_best(scores.argmax(axis=1), *positives(targets))
    return {"accuracy": _accuracies(correct_N, labelled_N, weights_DN), "map": mean.values()}


def _accuracy_bounds(
    correct_N: np.ndarray, labelled_N: np.ndarray, groups: np.ndarray, level: float
) -> tuple[float, float] | None:
    """`share_bounds` of accuracy; None where draws tell."""
    group_of = np.unique(groups, return_inverse=True)[1]
    right, sizes = (np.bincount(group_of[flags]) for flags in (correct_N, labelled_N))
    return share_bounds(np.pad(right, (0, len(sizes) - len(right))), sizes, level)


class _Mean:
    """Means over classes, one for each draw, of what is defined."""

    def __init__(self, draws: int):
        self._sum_D, self._count_D = np.zeros(draws), np.zeros(draws, np.int64)

    def add(self, values_D: np.ndarray) -> None:
        """One class."""
        defined_D = ~np.isnan(values_D)
        with np.errstate(invalid="ignore"):  # both infinities have no mean
            self._sum_D += np.where(defined_D, values_D, 0.0)
        self._count_D += defined_D

    def values(self) -> np.ndarray:
        """(D,), NaN where no class was defined."""
        out_D = np.full(len(self._sum_D), np.nan)
        return np.divide(self._sum_D, self._count_D, out=out_D, where=self._count_D > 0)


def _accuracies(correct_N: np.ndarray, labelled_N: np.ndarray, weights_DN: np.ndarray) -> np.ndarray:
    """(D,) 1-best accuracy of each draw; NaN where it drew no clip with a label."""
    correct, labelled = (
        weights_DN[:, flags].sum(axis=1, dtype=np.int64) for flags in (correct_N, labelled_N)
    )
    return np.divide(correct, labelled, out=np.full(len(weights_DN), np.nan), where=labelled > 0)


class _Ranked(NamedTuple):
    """One ranking, best score first, reduced to what its positives need."""

    clips: np.ndarray  # (M,) clip of each rank
    positives: np.ndarray  # (P,) ranks of the positives, increasing
    first: np.ndarray  # (P,) first rank of the ties that the positive is in
    last: np.ndarray  # (P,) rank after the last of them


def _rank(targets: np.ndarray, scores: np.ndarray, columns: int = 1) -> _Ranked:
    """Describe the ranking of (M,) scores; `columns` neighbouring pairs belong to one clip."""
    order = np.argsort(~scores if scores.dtype == np.uint16 else -scores)
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else order
    positives = np.flatnonzero(targets[order])
    ties = np.searchsorted(starts, positives, side="right")
    ends = np.append(starts[1:], len(ordered))
    return _Ranked(order // columns if columns > 1 else order, positives, starts[ties - 1], ends[ties - 1])


def _areas(ranked: _Ranked, weights_DN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AP and AUC, (D,) each, when clip n counts weights[d, n] times; NaN where not defined."""
    draws = len(weights_DN)
    ap, auc = np.full(draws, np.nan), np.full(draws, np.nan)
    if not len(ranked.positives):
        return ap, auc
    block = max(1, BLOCK // len(ranked.clips))
    for start in range(0, draws, block):
        part = slice(start, start + block)
        ap[part], auc[part] = _areas_of_block(ranked, weights_DN[part])
    return ap, auc


def _areas_of_block(ranked: _Ranked, weights_DN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    above = _running_sum(np.take(weights_DN, ranked.clips, axis=1))  # weight of all pairs before a rank
    weight = np.take(weights_DN, ranked.clips[ranked.positives], axis=1)  # (D, P)
    true_above = _running_sum(weight)
    first, last = (np.searchsorted(ranked.positives, rank) for rank in (ranked.first, ranked.last))
    total, total_true = above[:, ranked.last], true_above[:, last]  # at the threshold of each positive
    positive = true_above[:, -1].astype(np.float64)
    negative = above[:, -1] - positive
    precision = np.divide(total_true, total, out=np.zeros(total.shape), where=total > 0)
    # A positive loses to the negatives strictly above it, and half to those it ties with.
    lost = (above[:, ranked.first] - true_above[:, first]) + (total - total_true)
    ap = np.divide(
        (weight * precision).sum(axis=1), positive, out=np.full(len(positive), np.nan), where=positive > 0
    )
    pairs = positive * negative
    share = np.divide(
        (weight * lost).sum(axis=1), 2 * pairs, out=np.full(len(pairs), np.nan), where=pairs > 0
    )
    return ap, 1.0 - share


def _running_sum(values_DM: np.ndarray) -> np.ndarray:
    """(D, M) -> (D, M + 1): column m is the sum of the m columns before it."""
    out = np.zeros((values_DM.shape[0], values_DM.shape[1] + 1), np.int64)
    np.cumsum(values_DM, axis=1, out=out[:, 1:])
    return out


def group_weights(groups: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """(1 + D, N): each clip once; then how often it is drawn where as many groups are drawn as there are.

    >>> group_weights(np.array(["a", "b", "b"]), 2, seed=0).tolist()
    [[1, 1, 1], [0, 2, 2], [1, 1, 1]]
    """
    names, group_of_clip = np.unique(groups, return_inverse=True)
    generator = np.random.default_rng(seed)
    weights_DN = np.ones((1 + draws, len(groups)), np.uint16)  # no group is drawn 65,536 times
    for row in weights_DN[1:]:
        drawn = generator.integers(len(names), size=len(names))
        row[:] = np.bincount(drawn, minlength=len(names))[group_of_clip]
    return weights_DN


def moved_interval(values_D: np.ndarray, level: float, *, bounded: bool) -> tuple[float, float]:
    """Percentiles of all values but the first, moved so that their median is the first, the figure itself.

    Without interpolation, which infinite values would not survive. (NaN, NaN) where the draws do not tell how
    far the figure spreads: none is defined, or they are all the same.

    >>> moved_interval(np.array([0.5, 0.5, 0.6, 0.7]), 0.95, bounded=True)
    (0.4, 0.6)
    >>> moved_interval(np.ones(4), 0.95, bounded=True)
    (nan, nan)
    """
    figure, drawn = float(values_D[0]), np.sort(values_D[1:][~np.isnan(values_D[1:])])
    if np.isnan(figure) or not len(drawn):
        return float("nan"), float("nan")
    outside = int((1 - level) / 2 * len(drawn) + 1e-9)
    median = float(drawn[(len(drawn) - 1) // 2])
    shift = figure - median if np.isfinite(figure) and np.isfinite(median) else 0.0
    low, high = (float(drawn[place]) + shift for place in (outside, -1 - outside))
    if low == high:
        return float("nan"), float("nan")
    return (max(low, 0.0), min(high, 1.0)) if bounded else (low, high)
