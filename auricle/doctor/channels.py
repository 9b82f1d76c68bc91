"""Figures of each channel of a recording: peaks, flat tops, means, and which are dead."""

import numpy as np

from auricle.fingerprint import decibels

FLAT_RUN = 3  # equal samples in a row at the peak, entered and left by a step
DEAD = -40.0  # dB against the loudest channel


class Channels:
    """Figures of each channel of a recording, from its samples in any pieces.

    >>> channels = Channels()
    >>> channels.add(np.array([[0.5, 0.0], [-0.5, 0.0]], np.float32))
    >>> channels.count, channels.peak, channels.dead
    (2, 0.5, [2])
    """

    def __init__(self) -> None:
        self.samples = np.zeros(0, np.int64)
        self._sums = np.zeros(0)
        self._squares = np.zeros(0)
        self._peaks = np.zeros(0)
        self._units = np.zeros(0)  # what the samples count in
        self._flat = np.zeros(0, np.int64)
        self._over = np.zeros(0, np.int64)

    def add(self, samples: np.ndarray) -> None:
        """Hear (N, channels) float32; NaN and infinity count as 0."""
        if not np.isfinite(samples).all():
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        for _ in range(len(self.samples), samples.shape[1]):
            for name in ("samples", "_sums", "_squares", "_peaks", "_units", "_flat", "_over"):
                array = getattr(self, name)
                setattr(self, name, np.append(array, np.array(name == "_units", array.dtype)))
        for place, column in enumerate(samples.T):
            self._add(place, np.ascontiguousarray(column))

    def _add(self, place: int, samples: np.ndarray) -> None:
        size = np.abs(samples)
        self.samples[place] += len(samples)
        self._sums[place] += float(samples.sum(dtype=np.float64))
        self._squares[place] += float(np.square(samples, dtype=np.float64).sum())
        peak = float(size.max(initial=0.0))
        if peak > 1:
            self._over[place] += int(np.count_nonzero(size > 1))
        if not peak or peak < 0.98 * self._peaks[place]:
            return
        if peak * 0.98 > self._peaks[place]:
            self._flat[place] = 0  # what was the peak until now lies below it
        self._peaks[place] = max(peak, self._peaks[place])
        self._units[place] = min(self._units[place], unit_of(samples))
        steps = np.abs(np.diff(samples))
        self._flat[place] += flat_tops(size, steps, 0.98 * self._peaks[place], 3 * self._units[place])

    @property
    def count(self) -> int:
        """How many channels there are."""
        return len(self.samples)

    @property
    def peak(self) -> float:
        """The largest size of a sample."""
        return float(self._peaks.max(initial=0.0))

    @property
    def flat(self) -> float:
        """The share of samples in flat tops, of the channel that has most."""
        return float((self._flat / np.maximum(self.samples, 1)).max(initial=0.0))

    @property
    def over(self) -> float:
        """The share of samples beyond full scale, of the channel that has most."""
        return float((self._over / np.maximum(self.samples, 1)).max(initial=0.0))

    @property
    def offset(self) -> float:
        """The mean of the samples of the channel where it is farthest from 0."""
        means = self._sums / np.maximum(self.samples, 1)
        return float(means[np.argmax(np.abs(means))]) if len(means) else 0.0

    @property
    def powers(self) -> np.ndarray:
        """(C,) mean squares, without each channel's mean."""
        counts = np.maximum(self.samples, 1)
        return np.maximum(self._squares / counts - (self._sums / counts) ** 2, 0.0)

    @property
    def dead(self) -> list[int]:
        """Which channels, from 1 on, hold nothing beside what the loudest holds."""
        powers = self.powers
        if len(powers) < 2 or not powers.max() > 0:
            return []
        return [place + 1 for place in np.flatnonzero(decibels(powers / powers.max()) < DEAD).tolist()]


def unit_of(samples: np.ndarray) -> float:
    """What samples count in: the step of integers of 8, 16 or 24 bits, whatever they are stored in.

    >>> unit_of(np.array([0.5, -0.25], np.float32)), 1 / unit_of(np.array([0.5, 3 / 32768], np.float32))
    (0.0078125, 32768.0)
    """
    for bits in (7, 15):
        scaled = samples * np.float32(2.0**bits)
        if (scaled == np.rint(scaled)).all():
            return float(2.0**-bits)
    return float(2.0**-23)


def flat_tops(sizes: np.ndarray, steps: np.ndarray, lowest: float, least: float) -> int:
    """How many samples lie in runs of equal ones at the peak that are entered and left by a real step.

    A slow wave, too, stands still at its top for some samples, as integers; but by single steps.

    Args:
        sizes: (N,) of the samples, without sign.
        steps: (N - 1,) from each sample to the next, without sign.
        lowest: size from which on a sample counts as at the peak.
        least: a step must be more than this.

    >>> samples = np.array([0.0, 0.5, 0.9, 0.9, 0.9, 0.9, 0.4], np.float32)
    >>> flat_tops(samples, np.abs(np.diff(samples)), 0.88, 0.001)
    4
    """
    still = np.concatenate([[False], (steps == 0) & (sizes[1:] >= lowest), [False]])
    edges = np.diff(still.astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    inside = (starts > 0) & (ends < len(steps)) & (ends - starts + 1 >= FLAT_RUN)
    starts, ends = starts[inside], ends[inside]
    stepped = (steps[starts - 1] > least) & (steps[ends] > least) if len(starts) else np.zeros(0, bool)
    return int((ends - starts + 1)[stepped].sum())
