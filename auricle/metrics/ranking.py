"""How well scores rank clips: average precision, ROC AUC, d', 1-best accuracy, and intervals for them.

Conventions: a target is 0 or 1, a larger score means more likely, any real number is a score (also a logit,
also infinity, never NaN). Clips with equal scores share one threshold. What is not defined is NaN, never 0: a
class without positives has no AP and no AUC, one without negatives no AUC; means leave such classes out and
say how many they were. Everything is exact: no thresholds are sampled, no curve is approximated.

Shape letters: N clips, K classes, P positives, D bootstrap draws, M ranked pairs (N for a class, N * K for
micro).
"""

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

METRICS = ("map", "auc", "d_prime", "d_prime_mean", "accuracy", "micro_ap", "micro_auc")
BLOCK = 2**18  # weights ranked at a time in a bootstrap: the block and its sums stay in the cache


def average_precision(targets: np.ndarray, scores: np.ndarray) -> float:
    """Average precision of one class: the mean, over positives, of precision at that positive's rank.

    Clips with equal scores share one threshold, as in scikit-learn.

    Args:
        targets: (N,) of 0 and 1, or bool.
        scores: (N,) of any real scores; larger means more likely.

    Returns:
        A fraction in (0, 1]; NaN where the class has no positive clip.

    Raises:
        ValueError: the shapes differ, a target is neither 0 nor 1, or a score is NaN.

    >>> round(average_precision(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])), 4)
    0.8333

    Source: Manning, Raghavan and Schuetze (2008), section 8.4.
    """
    ap, _ = _one_class(targets, scores)
    return ap


def roc_auc(targets: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve of one class: how often a positive beats a negative, a tie counting half.

    Args:
        targets: (N,) of 0 and 1, or bool.
        scores: (N,) of any real scores; larger means more likely.

    Returns:
        A fraction in [0, 1], 0.5 by chance; NaN where the class has no positive or no negative clip.

    Raises:
        ValueError: the shapes differ, a target is neither 0 nor 1, or a score is NaN.

    >>> roc_auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75

    Source: Hanley and McNeil, Radiology 143 (1982).
    """
    _, auc = _one_class(targets, scores)
    return auc


def d_prime(auc: float) -> float:
    """Distance between the scores of positives and negatives, in standard deviations, that gives this AUC.

    It is sqrt(2) times the inverse of the normal distribution function: 0 by chance, infinite at 0 and 1.

    Args:
        auc: area under the ROC curve, in [0, 1], or NaN.

    Returns:
        A real number, infinity at 1, minus infinity at 0, NaN for NaN.

    Raises:
        ValueError: the area is not in [0, 1].

    >>> round(d_prime(0.921), 3)
    1.997

    Source: Hershey et al. (2017), section 3.2.
    """
    if np.isnan(auc):
        return float("nan")
    if not 0 <= auc <= 1:
        raise ValueError(f"AUC is {auc}: expected a number from 0 to 1")
    if auc in (0, 1):
        return float("inf") if auc == 1 else float("-inf")
    return float(np.sqrt(2) * NormalDist().inv_cdf(float(auc)))


def one_best_accuracy(targets_NK: np.ndarray, scores_NK: np.ndarray) -> float:
    """Fraction of clips whose best-scored label is one of their true labels.

    Where several labels share the best score, the one with the lowest index is taken. Clips without any label
    are left out.

    Args:
        targets_NK: (N, K) of 0 and 1, or bool.
        scores_NK: (N, K) of any real scores; larger means more likely.

    Returns:
        A fraction in [0, 1]; NaN if no clip has a label.

    Raises:
        ValueError: the shapes differ or are not (N, K), a target is neither 0 nor 1, or a score is NaN.

    >>> one_best_accuracy(np.array([[1, 0], [1, 1], [0, 1]]), np.array([[0.9, 0.1], [0.3, 0.2], [0.6, 0.5]]))
    0.6666666666666666
    """
    targets, scores = _validated(targets_NK, scores_NK, ndim=2)
    correct, labelled = _one_best(targets, scores)
    return float(correct.sum() / labelled.sum()) if labelled.any() else float("nan")


def per_class(targets_NK: np.ndarray, scores_NK: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of each class on its own.

    Args:
        targets_NK: (N, K) of 0 and 1, or bool.
        scores_NK: (N, K) of any real scores; larger means more likely.

    Returns:
        `positives` (K,) int64, and `ap`, `auc`, `d_prime`, each (K,) float64 with NaN where not defined.

    Raises:
        ValueError: the shapes differ or are not (N, K), a target is neither 0 nor 1, or a score is NaN.

    >>> per_class(np.array([[1, 0], [0, 0]]), np.array([[0.9, 0.1], [0.3, 0.2]]))["ap"]
    array([ 1., nan])
    """
    targets, scores = _validated(targets_NK, scores_NK, ndim=2)
    return _per_class(targets, _ranked_classes(targets, scores))


def summarise(targets_NK: np.ndarray, scores_NK: np.ndarray) -> dict[str, float]:
    """All figures of a labelled set of clips.

    Args:
        targets_NK: (N, K) of 0 and 1, or bool.
        scores_NK: (N, K) of any real scores; larger means more likely.

    Returns:
        `map` and `auc`: means over the classes that have them. `d_prime`: from the mean AUC. `d_prime_mean`:
        mean of the classes' d', infinite as soon as one class is ranked perfectly. `accuracy`: 1-best.
        `micro_ap` and `micro_auc`: all pairs of clip and class as one ranking. Counts: `clips`, `classes`,
        `excluded_ap` and `excluded_auc` (classes left out), `excluded_accuracy` (clips without a label),
        `infinite_d_prime` (classes whose AUC is 0 or 1). NaN where nothing is left to average.

    Raises:
        ValueError: the shapes differ or are not (N, K), a target is neither 0 nor 1, or a score is NaN.

    >>> targets, scores = np.array([[1, 0], [0, 1], [1, 1]]), np.array([[0.9, 0.1], [0.3, 0.2], [0.8, 0.1]])
    >>> figures = summarise(targets, scores)
    >>> figures["map"], figures["auc"], figures["clips"]
    (0.9166666666666666, 0.875, 3)
    """
    targets, scores = _validated(targets_NK, scores_NK, ndim=2)
    classes = _per_class(targets, _ranked_classes(targets, scores))
    micro_ap, micro_auc = _areas(_ranked_pairs(targets, scores), np.ones((1, len(targets)), np.int64))
    correct, labelled = _one_best(targets, scores)
    macro_auc = _mean_defined(classes["auc"])
    return {
        "map": _mean_defined(classes["ap"]),
        "auc": macro_auc,
        "d_prime": d_prime(macro_auc),
        "d_prime_mean": _mean_defined(classes["d_prime"]),
        "accuracy": float(correct.sum() / labelled.sum()) if labelled.any() else float("nan"),
        "micro_ap": float(micro_ap[0]),
        "micro_auc": float(micro_auc[0]),
        "clips": len(targets),
        "classes": targets.shape[1],
        "excluded_ap": int(np.isnan(classes["ap"]).sum()),
        "excluded_auc": int(np.isnan(classes["auc"]).sum()),
        "excluded_accuracy": int((~labelled).sum()),
        "infinite_d_prime": int(np.isinf(classes["d_prime"]).sum()),
    }


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
    """Percentile intervals of the figures of `summarise`, by drawing whole groups again with replacement.

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
        Metric -> (low, high). Draws in which a metric is not defined are left out; (NaN, NaN) if none is
        left.

    Raises:
        ValueError: as in `summarise`, or the groups do not match the clips, or an option is out of range.

    >>> targets, scores = np.array([[1, 0], [0, 1], [1, 1]]), np.array([[0.9, 0.1], [0.3, 0.2], [0.8, 0.1]])
    >>> bootstrap_intervals(targets, scores, np.array(["a", "b", "b"]), draws=20)["accuracy"]
    (0.5, 1.0)

    Source: Efron and Tibshirani (1993), chapter 13.
    """
    targets, scores = _validated(targets_NK, scores_NK, ndim=2)
    groups = np.asarray(groups)
    if groups.shape != (len(targets),):
        raise ValueError(f"groups have shape {groups.shape}: expected ({len(targets)},), one for each clip")
    if draws < 1:
        raise ValueError(f"draws is {draws}: expected at least 1")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: expected a number between 0 and 1, like 0.95")
    if not len(targets):
        return {name: (float("nan"), float("nan")) for name in METRICS}
    weights_DN = _group_weights(groups, draws, seed)
    ap_DK, auc_DK = np.empty((draws, targets.shape[1])), np.empty((draws, targets.shape[1]))
    for k, ranked in enumerate(_ranked_classes(targets, scores)):
        ap_DK[:, k], auc_DK[:, k] = _areas(ranked, weights_DN)
        if progress is not None:
            progress(1)
    micro = _areas(_ranked_pairs(targets, scores), weights_DN)
    if progress is not None:
        progress(1)
    values = _figures_of_draws(ap_DK, auc_DK, micro, _accuracies(targets, scores, weights_DN))
    return {name: _interval(np.asarray(values[name]), level) for name in METRICS}


def _accuracies(targets: np.ndarray, scores: np.ndarray, weights_DN: np.ndarray) -> np.ndarray:
    """(D,) 1-best accuracy of each draw; NaN where it drew no clip with a label."""
    correct, labelled = (weights_DN @ flags.astype(np.int64) for flags in _one_best(targets, scores))
    return np.divide(correct, labelled, out=np.full(len(weights_DN), np.nan), where=labelled > 0)


def _figures_of_draws(
    ap_DK: np.ndarray, auc_DK: np.ndarray, micro: tuple[np.ndarray, np.ndarray], accuracy: np.ndarray
) -> dict[str, Sequence[float] | np.ndarray]:
    """Metric -> (D,) its value in each draw."""
    macro_auc = [_mean_defined(row) for row in auc_DK]
    return {
        "map": [_mean_defined(row) for row in ap_DK],
        "auc": macro_auc,
        "d_prime": [d_prime(area) for area in macro_auc],
        "d_prime_mean": [_mean_defined(row) for row in _d_primes(auc_DK)],
        "accuracy": accuracy,
        "micro_ap": micro[0],
        "micro_auc": micro[1],
    }


class _Ranked(NamedTuple):
    """One ranking, best score first, reduced to what its positives need."""

    clips: np.ndarray  # (M,) clip of each rank
    positives: np.ndarray  # (P,) ranks of the positives, increasing
    first: np.ndarray  # (P,) first rank of the ties that the positive is in
    last: np.ndarray  # (P,) rank after the last of them


def _rank(targets: np.ndarray, scores: np.ndarray, order: np.ndarray, columns: int = 1) -> _Ranked:
    """Describe the ranking of (M,) scores; `columns` neighbouring pairs belong to one clip."""
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else order
    positives = np.flatnonzero(targets[order])
    ties = np.searchsorted(starts, positives, side="right")
    ends = np.append(starts[1:], len(ordered))
    return _Ranked(order // columns if columns > 1 else order, positives, starts[ties - 1], ends[ties - 1])


def _ranked_classes(targets_NK: np.ndarray, scores_NK: np.ndarray) -> list[_Ranked]:
    scores_KN = np.ascontiguousarray(scores_NK.T)
    orders_KN = np.argsort(-scores_KN, axis=1)
    return [_rank(*row) for row in zip(targets_NK.T, scores_KN, orders_KN, strict=True)]


def _ranked_pairs(targets_NK: np.ndarray, scores_NK: np.ndarray) -> _Ranked:
    """All pairs of clip and class as one ranking."""
    scores = scores_NK.ravel()
    return _rank(targets_NK.ravel(), scores, np.argsort(-scores), columns=targets_NK.shape[1])


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


def _group_weights(groups: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """(D, N): how often each clip is drawn when as many groups are drawn, with replacement, as there are."""
    names, group_of_clip = np.unique(groups, return_inverse=True)
    generator = np.random.default_rng(seed)
    weights_DN = np.empty((draws, len(groups)), np.int64)
    for row in weights_DN:
        drawn = generator.integers(len(names), size=len(names))
        row[:] = np.bincount(drawn, minlength=len(names))[group_of_clip]
    return weights_DN


def _interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Percentiles without interpolation, which infinite values would not survive."""
    values = np.sort(values[~np.isnan(values)])
    if not len(values):
        return float("nan"), float("nan")
    outside = int((1 - level) / 2 * len(values) + 1e-9)
    return float(values[outside]), float(values[-1 - outside])


def _per_class(targets_NK: np.ndarray, ranked: list[_Ranked]) -> dict[str, np.ndarray]:
    once = np.ones((1, len(targets_NK)), np.int64)
    areas = np.array([_areas(ranking, once) for ranking in ranked]).reshape(len(ranked), 2)
    positives = targets_NK.sum(axis=0, dtype=np.int64)
    return {"positives": positives, "ap": areas[:, 0], "auc": areas[:, 1], "d_prime": _d_primes(areas[:, 1])}


def _one_class(targets: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    targets, scores = _validated(targets, scores, ndim=1)
    ap, auc = _areas(_rank(targets, scores, np.argsort(-scores)), np.ones((1, len(targets)), np.int64))
    return float(ap[0]), float(auc[0])


def _one_best(targets_NK: np.ndarray, scores_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each clip's best label is true, and whether it has a label at all; (N,) bool each."""
    labelled = np.asarray(targets_NK.any(axis=1))
    if not targets_NK.shape[1]:
        return labelled, labelled
    return targets_NK[np.arange(len(targets_NK)), scores_NK.argmax(axis=1)], labelled


def _d_primes(areas: np.ndarray) -> np.ndarray:
    return np.array([d_prime(area) for area in areas.ravel()], np.float64).reshape(areas.shape)


def _mean_defined(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    if np.isposinf(defined).any() and np.isneginf(defined).any():
        return float("nan")
    return float(defined.mean()) if len(defined) else float("nan")


def _validated(targets: np.ndarray, scores: np.ndarray, *, ndim: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets as bool, scores as they are, of one shape; refuses what would give a wrong figure."""
    targets, scores = np.asarray(targets), np.asarray(scores)
    expected = "(N,)" if ndim == 1 else "(N, K)"
    if targets.shape != scores.shape or targets.ndim != ndim:
        raise ValueError(
            f"targets have shape {targets.shape} and scores {scores.shape}: expected {expected} for both"
        )
    if targets.dtype != bool:
        if not np.isin(targets, (0, 1)).all():
            odd = targets[~np.isin(targets, (0, 1))].flat[0]
            raise ValueError(
                f"a target is {odd}: expected 0 and 1; compare soft labels with a threshold first"
            )
        targets = targets.astype(bool)
    if scores.dtype.kind not in "fiu":
        raise ValueError(f"scores are {scores.dtype}: expected real numbers")
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)  # unsigned integers cannot be negated to sort downwards
    if np.isnan(scores).any():
        raise ValueError(
            f"{int(np.isnan(scores).sum())} scores are NaN: a NaN has no rank; find where it came from"
        )
    return targets, scores
