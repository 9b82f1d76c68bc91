"""Bounds that hold however few the errors: of a share (Clopper and Pearson), of events an hour (Garwood).

Draws of recordings in which nothing has erred never err: the interval that they give has no width. These
bounds do not need an error to have happened. What is of one recording goes together, so it counts once:
recordings of which a_1, a_2, ... are counted, are worth (sum of a)**2 / (sum of a**2).

Sources: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the
binomial", Biometrika, 1934; Garwood, "Fiducial limits for the Poisson distribution", Biometrika, 1936; Kish,
"Survey sampling", 1965 (how many recordings of one size those of many sizes are worth).

Shape letters: G recordings, or other groups of clips that err together.
"""

import numpy as np
from scipy.special import betaincinv, gammaincinv

FEW = 4  # recordings with an error (or with none), below which draws do not tell


def share_bounds(right_G: np.ndarray, sizes_G: np.ndarray, level: float = 0.95) -> tuple[float, float] | None:
    """Bounds of a share, such as accuracy, where few recordings err, or few do not.

    Args:
        right_G: (G,) how many are right, of each recording.
        sizes_G: (G,) of how many.
        level: share of cases in which the bounds hold.

    Returns:
        (low, high); None where enough recordings err that draws of them tell, or where there is nothing.

    >>> [round(bound, 3) for bound in share_bounds(np.ones(24), np.ones(24))]
    [0.858, 1.0]
    """
    erring, some = np.count_nonzero(right_G < sizes_G), np.count_nonzero(right_G)
    if not sizes_G.any() or min(erring, some) >= FEW:
        return None
    tail, count = (1 - level) / 2, _worth(sizes_G)
    hits = count * right_G.sum() / sizes_G.sum()
    low = betaincinv(hits, count - hits + 1, tail) if some else 0.0
    return float(low), float(betaincinv(hits + 1, count - hits, 1 - tail)) if erring else 1.0


def rate_bounds(counts_G: np.ndarray, hours: float, level: float = 0.95) -> tuple[float, float] | None:
    """Bounds of how many an hour there are, where few recordings have some.

    Args:
        counts_G: (G,) how many, of each recording.
        hours: of all recordings.
        level: share of cases in which the bounds hold.

    Returns:
        (low, high); None where enough recordings have some that draws of them tell, or there are no hours.

    >>> [round(bound, 1) for bound in rate_bounds(np.zeros(5), 0.1)]
    [0.0, 36.9]
    """
    if not hours or np.count_nonzero(counts_G) >= FEW:
        return None
    tail, count = (1 - level) / 2, _worth(counts_G)
    hours *= count / counts_G.sum() if count else 1.0
    low = gammaincinv(count, tail) / hours if count else 0.0
    return float(low), float(gammaincinv(count + 1, 1 - tail) / hours)


def _worth(counts_G: np.ndarray) -> float:
    """How many recordings of equal counts they are worth."""
    return float(counts_G.sum() ** 2 / (counts_G.astype(np.float64) ** 2).sum()) if counts_G.any() else 0.0
