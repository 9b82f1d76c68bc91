"""Where windows stand in a recording, and how their scores become one clip's: used by tagging and evaluation.

Shape letters: N samples, W windows, K classes.
"""

from typing import Self

import numpy as np

from auricle.pooling import POOLINGS


def check_windows(waveforms_BN: np.ndarray, window: int) -> None:
    """Refuse waveforms that are not (B, window).

    >>> check_windows(np.zeros((2, 3, 400)), 400)
    Traceback (most recent call last):
    ValueError: expected waveforms (B, 400), got (2, 3, 400)
    """
    if waveforms_BN.ndim != 2 or waveforms_BN.shape[1] != window:
        raise ValueError(f"expected waveforms (B, {window}), got {waveforms_BN.shape}")


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


def step_spans(
    start: int, stop: int, *, step: int, count: int, covered: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which steps of a window are told, and from when to when: each moment once, as the first window says.

    Args:
        start: first sample of the window.
        stop: the end of what was heard of it; steps beyond are of padding, and left out.
        step: samples of a step. The last one stands for the rest of its window, too.
        count: S, steps in a window.
        covered: end of the windows before; steps up to there are left out, and one that began before it
            begins there.

    Returns:
        (S,) bool, which; and of these first samples and ends, int64, rising.

    >>> step_spans(0, 10, step=3, count=3, covered=0)[1:]
    (array([0, 3, 6]), array([ 3,  6, 10]))
    >>> step_spans(5, 15, step=3, count=3, covered=10)
    (array([False,  True,  True]), array([10, 11]), array([11, 15]))
    """
    starts = start + step * np.arange(count, dtype=np.int64)
    stops = np.minimum(np.append(starts[1:], stop), stop)
    told = (starts < stop) & (stops > covered)
    return told, np.maximum(starts[told], covered), stops[told]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logistic function in float64, without overflow.

    >>> sigmoid(np.array([0.0, -1000.0, 1000.0]))
    array([0.5, 0. , 1. ])
    """
    small = np.exp(-np.abs(np.asarray(logits, dtype=np.float64)))
    return np.where(np.asarray(logits) >= 0, 1.0, small) / (1.0 + small)


def logit(scores: np.ndarray) -> np.ndarray:
    """Inverse of `sigmoid`, infinite at 0 and 1: as float16 it tells scores apart that float16 makes equal.

    >>> logit(np.array([0.0, 0.5, 1.0]))
    array([-inf,   0.,  inf])
    """
    with np.errstate(divide="ignore"):
        return np.log(scores) - np.log1p(-scores)


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
        self._sum_K = _added_one_by_one(self._sum_K, sigmoid(logits_WK))
        self.count += len(logits_WK)
        return self

    def mean(self) -> np.ndarray:
        """(K,) float64; ValueError where no window was added."""
        if self.count == 0:
            raise ValueError("no windows to take the mean of: the recording is empty")
        return self._sum_K / self.count


class PooledScores:
    """A clip's scores by another rule than the mean, of windows that arrive a few at a time.

    With p the scores of a clip's windows for a class, the sigmoids of their logits: "mean" is theirs, as of
    `MeanScores`; "max" is the greatest; "attention" weighs each window by the softmax of its own score,
    sum(p * exp(p)) / sum(exp(p)), and lies between the two.

    Args:
        num_classes: K.
        pooling: one of `POOLINGS`.

    Raises:
        ValueError: the pooling is unknown.

    >>> logits = np.array([[-9.0], [9.0], [-9.0]])
    >>> [PooledScores(1, pooling).add(logits).score().round(3).item() for pooling in POOLINGS]
    [0.333, 1.0, 0.576]

    Source: Wang, Li and Metze, ICASSP 2019, section 2 ("exponential softmax").
    """

    def __init__(self, num_classes: int, pooling: str = "mean"):
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}")
        self.pooling = pooling
        self._mean = MeanScores(num_classes)
        self._max_K = np.zeros(num_classes)
        self._sums_2K = np.zeros((2, num_classes))  # of p exp(p), and of exp(p)

    def add(self, logits_WK: np.ndarray) -> Self:
        """Count some more windows in."""
        if self.pooling == "mean":
            self._mean.add(logits_WK)
            return self
        self._mean.count += len(logits_WK)
        scores_WK = sigmoid(logits_WK)
        if self.pooling == "max":
            self._max_K = np.maximum(self._max_K, scores_WK.max(axis=0, initial=0.0))
        else:
            weights_WK = np.exp(scores_WK)
            terms = np.stack([scores_WK * weights_WK, weights_WK], axis=1)
            self._sums_2K = _added_one_by_one(self._sums_2K, terms)
        return self

    def score(self) -> np.ndarray:
        """(K,) float64 in [0, 1]; ValueError where no window was added."""
        if self.pooling == "mean":
            return self._mean.mean()
        if self._mean.count == 0:
            raise ValueError("no windows to pool: the recording is empty")
        return self._max_K if self.pooling == "max" else self._sums_2K[0] / self._sums_2K[1]


def _added_one_by_one(total: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """The total and the terms along their first axis: a plain sum pairs terms up by how many it is given."""
    return np.add.accumulate(np.concatenate([total[None], terms]), axis=0)[-1]
