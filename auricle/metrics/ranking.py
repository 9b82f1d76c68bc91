"""How well scores rank clips: average precision, ROC AUC, d', 1-best accuracy, and intervals for them.

Conventions: a target is 0 or 1, a larger score means more likely, any real number is a score (also a logit,
also infinity, never NaN). Clips with equal scores share one threshold. What is not defined is NaN, never 0: a
class without positives has no AP and no AUC, one without negatives no AUC; means leave such classes out and
say how many they were. Everything is exact: no thresholds are sampled, no curve is approximated.

Here are whole arrays; `auricle.metrics.blocks` has the same figures of scores that are too many for memory.

Shape letters: N clips, K classes.
"""

import numpy as np

from auricle.metrics.areas import areas, d_prime, positives, validated
from auricle.metrics.blocks import one_best, rank_blocks
from auricle.metrics.bootstrap import METRICS, bootstrap_intervals

__all__ = [
    "METRICS",
    "average_precision",
    "bootstrap_intervals",
    "d_prime",
    "one_best_accuracy",
    "per_class",
    "roc_auc",
    "summarise",
]


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
    targets, scores = validated(targets_NK, scores_NK, ndim=2)
    if not targets.any():
        return float("nan")
    correct, labelled = one_best(scores.argmax(axis=1), *positives(targets))
    return float(correct.sum() / labelled.sum())


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
    targets, scores = validated(targets_NK, scores_NK, ndim=2)
    return rank_blocks(scores, *positives(targets), threads=1).classes


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
    targets, scores = validated(targets_NK, scores_NK, ndim=2)
    return rank_blocks(scores, *positives(targets), threads=1).figures


def _one_class(targets: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    targets, scores = validated(targets, scores, ndim=1)
    return areas(np.sort(scores), scores[targets])
