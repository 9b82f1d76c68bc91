"""Are scores probabilities? Of what scores 0.8, eight in ten should be true.

Scores are sorted into bins of equal width; a bin of a well calibrated model has as many true as its
scores add up to. The expected calibration error is how far the two are apart: the mean over all scores of
the distance between their bin's mean score and its share of true ones. It says nothing of how well scores
tell labels apart: a model that gives every clip the label's share has none.

Sources: DeGroot and Fienberg, "The comparison and evaluation of forecasters", The Statistician 1983 (the
diagram); Naeini et al., AAAI 2015, and Guo et al., ICML 2017, section 2 (the error, of the best label); Kull
et al., "Beyond temperature scaling", NeurIPS 2019 (of each class).

Shape letters: N scores, B bins.
"""

import numpy as np

BINS = 15  # as Guo et al.


def bin_sums(
    scores_N: np.ndarray, true_N: np.ndarray, weights_N: np.ndarray | None = None, *, bins: int = BINS
) -> np.ndarray:
    """(3, B) float64 of each bin: how many scores (or the sum of weights), their sum, how many are true.

    A bin holds its lower edge; the last also 1.

    Raises:
        ValueError: a score is not in [0, 1], or the lengths differ.

    >>> bin_sums(np.array([0.1, 0.5, 1.0]), np.array([False, False, True]), bins=2)
    array([[1. , 2. ],
           [0.1, 1.5],
           [0. , 1. ]])
    """
    scores = np.asarray(scores_N, np.float64)
    if scores.ndim != 1 or np.shape(true_N) != scores.shape:
        raise ValueError(f"expected as many scores as truths, got {scores.shape} and {np.shape(true_N)}")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("a score is not between 0 and 1; take the sigmoid of logits first")
    weights = np.ones(len(scores)) if weights_N is None else np.asarray(weights_N, np.float64)
    which = np.minimum((scores * bins).astype(np.int64), bins - 1)
    parts = (weights, weights * scores, weights * np.asarray(true_N, np.float64))
    return np.stack([np.bincount(which, part, bins) for part in parts])


def calibration_error(sums: np.ndarray) -> np.ndarray:
    """The expected calibration error of sums (..., 3, B); NaN where there is no score.

    >>> calibration_error(bin_sums(np.array([0.25, 0.25, 1]), np.array([False, True, True]))).round(3).item()
    0.167
    """
    count = sums[..., 0, :].sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.abs(sums[..., 1, :] - sums[..., 2, :]).sum(axis=-1) / count)


def bin_rows(sums: np.ndarray) -> list[dict[str, float]]:
    """The bins that hold a score, for people and JSON: edges, how many scores, mean score, share of true.

    >>> bin_rows(bin_sums(np.array([0.25, 0.25]), np.array([False, True]), bins=2))
    [{'low': 0.0, 'high': 0.5, 'count': 2.0, 'score': 0.25, 'true': 0.5}]
    """
    bins = sums.shape[1]
    return [
        {"low": b / bins, "high": (b + 1) / bins, "count": n, "score": score / n, "true": true / n}
        for b, (n, score, true) in enumerate(sums.T.tolist())
        if n
    ]


def losses(scores: np.ndarray, true: np.ndarray, least: float = 1e-7) -> tuple[np.ndarray, np.ndarray]:
    """(squared error, logarithmic loss) of each score, both least in the mean for true probabilities.

    Args:
        scores: of any shape, in [0, 1].
        true: bool, of the same shape.
        least: scores nearer to 0 or 1 count as this, so that one certain error is not infinite.

    >>> [part.round(3).item() for part in losses(np.array(0.5), np.array(True))]
    [0.25, 0.693]

    Source: Gneiting and Raftery, "Strictly proper scoring rules", JASA 2007.
    """
    scores = np.asarray(scores, np.float64)
    right = np.where(true, scores, 1 - scores)
    return (1 - right) ** 2, -np.log(np.clip(right, least, 1 - least))
