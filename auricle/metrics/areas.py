"""What every ranking figure shares: from counts at each positive to AP, AUC and d', and what is let through.

Shape letters: N clips, K classes, P positives, U distinct scores of positives.
"""

from statistics import NormalDist

import numpy as np


def areas_of_counts(
    times_U: np.ndarray, at_least_U: np.ndarray, above_U: np.ndarray, total: int
) -> tuple[float, float]:
    """AP and AUC of one ranking, from what is counted at each score that a positive has, best first.

    Args:
        times_U: (U,) positives with exactly this score.
        at_least_U: (U,) clips, positive or not, that score at least as high.
        above_U: (U,) clips that score higher.
        total: clips in all.

    Returns:
        Fractions; NaN for both without positives, NaN for AUC without negatives.

    >>> areas_of_counts(np.array([1, 1]), np.array([1, 3]), np.array([0, 2]), 4)  # ranking: + - + -
    (0.8333333333333333, 0.75)

    Source: Manning, Raghavan and Schuetze (2008), section 8.4; Hanley and McNeil, Radiology 143 (1982).
    """
    true_at_least = np.cumsum(times_U, dtype=np.int64)
    positives = int(true_at_least[-1]) if len(true_at_least) else 0
    if not positives:
        return float("nan"), float("nan")
    ap = float(np.repeat(true_at_least / at_least_U, times_U).sum() / positives)
    negatives = total - positives
    if not negatives:
        return ap, float("nan")
    # A positive loses to the negatives strictly above it, and half to those it ties with.
    lost = int((times_U * (above_U - (true_at_least - times_U) + at_least_U - true_at_least)).sum())
    return ap, 1.0 - float(np.float64(lost) / (2.0 * positives * negatives))


def areas(scores_N: np.ndarray, true_P: np.ndarray) -> tuple[float, float]:
    """AP and AUC of one class.

    Args:
        scores_N: (N,) scores of all clips, rising.
        true_P: (P,) scores of the positives among them, in any order.

    >>> areas(np.array([0.1, 0.35, 0.4, 0.8]), np.array([0.8, 0.35]))
    (0.8333333333333333, 0.75)
    """
    thresholds, times = np.unique(true_P, return_counts=True)
    at_least, above = counts(scores_N, thresholds)
    return areas_of_counts(times[::-1], at_least[::-1], above[::-1], len(scores_N))


def counts(scores_N: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of the rising scores are at least each threshold, and how many above it.

    >>> counts(np.array([1, 2, 2, 3]), np.array([2, 9]))
    (array([3, 0]), array([1, 0]))
    """
    below = np.searchsorted(scores_N, thresholds, side="left")
    return len(scores_N) - below, len(scores_N) - np.searchsorted(scores_N, thresholds, side="right")


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


def d_primes(areas: np.ndarray) -> np.ndarray:
    """`d_prime` of each of an array of areas, of any shape.

    >>> d_primes(np.array([0.5, 1.0, np.nan]))
    array([ 0., inf, nan])
    """
    from scipy.special import ndtri  # a hundred times the speed of one after the other

    return np.sqrt(2) * ndtri(np.asarray(areas, np.float64))


def mean_defined(values: np.ndarray) -> float:
    """Mean of what is not NaN; NaN where nothing is left, or where both infinities are in it.

    >>> mean_defined(np.array([1.0, np.nan, 2.0]))
    1.5
    """
    defined = values[~np.isnan(values)]
    if np.isposinf(defined).any() and np.isneginf(defined).any():
        return float("nan")
    return float(defined.mean()) if len(defined) else float("nan")


def positives(targets_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positive clips of each class of a dense array: class k's are `clips[indptr[k]:indptr[k + 1]]`.

    >>> positives(np.array([[True, False], [True, True]]))
    (array([0, 2, 3]), array([0, 1, 1]))
    """
    classes, clips = np.nonzero(targets_NK.T)
    return np.searchsorted(classes, np.arange(targets_NK.shape[1] + 1)), clips


def validated(targets: np.ndarray, scores: np.ndarray, *, ndim: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets as bool, scores as they are, of one shape; refuses what would give a wrong figure.

    Args:
        targets: 0 and 1, or bool.
        scores: real numbers; whole numbers become float64.
        ndim: 1 for one class, 2 for (N, K).

    Raises:
        ValueError: the shapes differ, a target is neither 0 nor 1, or a score is NaN.

    >>> validated(np.array([0, 1]), np.array([2.5, 3]), ndim=1)
    (array([False,  True]), array([2.5, 3. ]))
    """
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
        scores = scores.astype(np.float64)  # unsigned integers cannot be negated, to sort downwards
    if np.isnan(scores).any():
        raise ValueError(
            f"{int(np.isnan(scores).sum())} scores are NaN: a NaN has no rank; find where it came from"
        )
    return targets, scores
