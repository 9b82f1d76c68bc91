"""How far d' scatters by chance alone, because a test split holds few clips of a class.

Sources: Hanley and McNeil, "The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC)
Curve", Radiology 143 (1982), p. 31: the variance of an AUC, from P positives and N negatives, with two
quantities Q1 and Q2. Their shortcut for these holds for exponential scores. Here they are those of normal
scores of equal variance, which is what d' = sqrt(2) z(AUC) presupposes: the shortcut would give 1.2 times the
deviation at d' = 1, 1.6 times at 2.5. The step from AUC to d' is the first term of its Taylor series.
"""

import math
from typing import Any

import numpy as np

FEWEST = 5  # positives in the median: below, the mean of finite d' and its slope say too much
APART = 3.0  # the greatest median of positives by the least, from which on decades are said to differ much
_GRID = np.linspace(-8.0, 8.0, 641)
_WEIGHTS = np.exp(-0.5 * _GRID**2) / math.sqrt(2 * math.pi) * (_GRID[1] - _GRID[0])
_CDF = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in np.linspace(-24.0, 24.0, 1921)])


def auc_deviation(d_prime: float, positives: Any, negatives: Any) -> np.ndarray:
    """Standard deviation of an AUC over test splits, of a class whose true d' is known.

    Args:
        d_prime: finite.
        positives: (S,) clips of the class, at least 1.
        negatives: (S,) other clips, at least 1.

    Returns:
        (S,).

    >>> auc_deviation(0.0, 1, 1).round(3).item()  # an AUC of 0 or 1, as a coin falls
    0.5
    """
    count, others = np.asarray(positives, float), np.asarray(negatives, float)
    auc = 0.5 * math.erfc(-d_prime / 2)
    # The chance that two positives beat one negative; as the scores lie, also that one beats two.
    both = _WEIGHTS @ np.interp(d_prime - _GRID, np.linspace(-24.0, 24.0, 1921), _CDF) ** 2
    variance = (auc * (1 - auc) + (count + others - 2) * (both - auc**2)) / (count * others)
    return np.sqrt(np.maximum(variance, 0.0))


def d_prime_deviation(d_prime: float, positives: Any, negatives: Any) -> np.ndarray:
    """Standard deviation of d' over test splits, of a class whose true d' is known.

    Args:
        d_prime: finite.
        positives: (S,) clips of the class, at least 1.
        negatives: (S,) other clips, at least 1.

    Returns:
        (S,).

    >>> d_prime_deviation(1.5, [5, 20, 80], 1000).round(2).tolist()
    [0.51, 0.26, 0.13]
    """
    # d' = sqrt(2) z(AUC), and z changes by 1 / density(z).
    slope = math.sqrt(2) * math.sqrt(2 * math.pi) * math.exp(min(d_prime**2 / 4, 600.0))
    return slope * auc_deviation(d_prime, positives, negatives)


def by_sampling(mean: float, positives: np.ndarray, clips: int) -> float | None:
    """What the standard deviation of d' over classes would be if all had one true d', the mean.

    Args:
        mean: that d'.
        positives: (S,) of each class, in the clips evaluated.
        clips: evaluated; 0 where not known.

    Returns:
        The root of the mean variance; None where a number is missing, or the median of positives is below 5:
        with so few, the finite d' lie above the true one, and what they would scatter grows with it.

    >>> by_sampling(1.5, np.array([5, 20, 80]), 1000).__round__(2)
    0.34
    """
    counts = np.asarray(positives, float)
    if not len(counts) or clips < 2 or (counts < 1).any() or (counts >= clips).any():
        return None
    if np.median(counts) < FEWEST:
        return None
    return math.sqrt(float((d_prime_deviation(mean, counts, clips - counts) ** 2).mean()))


def few_clips(rows: list[dict[str, Any]]) -> str:
    """One line where the decades of the prior differ much in positives; "" where they do not.

    >>> few_clips([{"positives": 4.0}, {"positives": 90.0}])[:58]
    'the median of test positives runs from 4 to 90 by decade: '
    >>> few_clips([{"positives": 40.0}, {"positives": 90.0}])
    ''
    """
    counts = [row["positives"] for row in rows if row["positives"]]
    if len(counts) < 2 or max(counts) < APART * min(counts):
        return ""
    return (
        f"the median of test positives runs from {min(counts):g} to {max(counts):g} by decade: the spread of "
        "rare labels is then partly that of few clips; mix a balanced test split"
    )


def spread_words(rows: list[dict[str, Any]]) -> str:
    """Positives and spread of each decade of the prior as a sentence, for under a figure.

    >>> row = {"low": 0.01, "positives": 7.0, "deviation": 0.91, "by_sampling": 0.5}
    >>> spread_words([row])
    'by decade of the prior (from 0.01): test positives, median 7; standard deviation 0.91 (by sampling 0.50)'
    """

    def listed(name: str, digits: str) -> str:
        return ", ".join("–" if row[name] is None else format(row[name], digits) for row in rows)

    if all(row["positives"] is None for row in rows):
        return ""
    return (
        f"by decade of the prior (from {listed('low', 'g')}): test positives, median "
        f"{listed('positives', 'g')}; standard deviation {listed('deviation', '.2f')} "
        f"(by sampling {listed('by_sampling', '.2f')})"
    )
