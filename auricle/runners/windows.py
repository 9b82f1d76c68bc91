"""Where windows stand in a recording, and how their scores become one clip's: used by tagging and evaluation.

Shape letters: N samples, W windows, K classes.
"""

from typing import Self

import numpy as np


def window_starts(num_samples: int, window: int, hop: int, tail: str = "drop") -> np.ndarray:
    """First samples of the windows over `num_samples` samples.

    A recording shorter than one window has one window, at 0, which the caller pads with zeros.

    Args:
        num_samples: N, length of the recording.
        window: length of a window in samples.
        hop: samples from one start to the next.
        tail: "drop" leaves an incomplete last window out, as published systems do; "align" adds one more
            window that ends with the last sample, so that nothing goes unheard.

    Returns:
        (W,) int64, rising; empty where there are no samples.

    Raises:
        ValueError: a length is not positive, or `tail` is unknown.

    >>> window_starts(10, 4, 4), window_starts(10, 4, 4, "align"), window_starts(3, 4, 4)
    (array([0, 4]), array([0, 4, 6]), array([0]))
    """
    if window < 1 or hop < 1 or num_samples < 0:
        raise ValueError(
            f"expected window, hop >= 1 and num_samples >= 0, got {window}, {hop}, {num_samples}"
        )
    if tail not in ("drop", "align"):
        raise ValueError(f'tail is {tail!r}; expected "drop" or "align"')
    if num_samples == 0:
        return np.zeros(0, np.int64)
    last = max(num_samples - window, 0)
    starts = np.arange(0, last + 1, hop, dtype=np.int64)
    if tail == "align" and starts[-1] != last:
        starts = np.append(starts, np.int64(last))
    return starts


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logistic function in float64, without overflow.

    >>> sigmoid(np.array([0.0, -1000.0, 1000.0]))
    array([0.5, 0. , 1. ])
    """
    small = np.exp(-np.abs(np.asarray(logits, dtype=np.float64)))
    return np.where(np.asarray(logits) >= 0, 1.0, small) / (1.0 + small)


def clip_scores(logits_WK: np.ndarray) -> np.ndarray:
    """Scores of a clip: the mean over its windows of the sigmoid of their logits.

    Args:
        logits_WK: (W, K), at least one window.

    Returns:
        (K,) float64 in [0, 1].

    Raises:
        ValueError: there is no window, or the array is not (W, K).

    >>> clip_scores(np.array([[0.0, 100.0], [0.0, -100.0]]))
    array([0.5, 0.5])

    Source: Hershey et al. (2017), section 3: the scores of a video are the mean of its patches' scores.
    """
    logits_WK = np.asarray(logits_WK)
    if logits_WK.ndim != 2:
        raise ValueError(f"expected logits (windows, classes), got {logits_WK.shape}")
    return MeanScores(logits_WK.shape[1]).add(logits_WK).mean()


class MeanScores:
    """`clip_scores` of windows that arrive a few at a time, the same to the last bit however they are cut.

    >>> MeanScores(1).add(np.zeros((2, 1))).add(np.zeros((1, 1))).mean()
    array([0.5])
    """

    def __init__(self, num_classes: int):
        self.count = 0
        self._sum_K = np.zeros(num_classes)

    def add(self, logits_WK: np.ndarray) -> Self:
        """Count some more windows in."""
        if len(logits_WK):
            # A plain sum would pair terms up by the length of what it is given; accumulate goes one by one.
            terms = np.concatenate([self._sum_K[None], sigmoid(logits_WK)])
            self._sum_K = np.add.accumulate(terms, axis=0)[-1]
            self.count += len(logits_WK)
        return self

    def mean(self) -> np.ndarray:
        """(K,) float64; ValueError where no window was added."""
        if self.count == 0:
            raise ValueError("no windows to take the mean of: the recording is empty")
        return self._sum_K / self.count
