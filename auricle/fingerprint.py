"""What a recording's sound is like, in figures gathered piece by piece; and what that of a training was like.

`Sound` takes a recording of any length in memory that does not grow. `fingerprint` is of many clips: for
each figure the quantiles over clips, which a model keeps as `training["audio"]` for `auricle doctor`.

Levels are in dB of full scale (0 dB: a mean square of 1). A frame is about 50 ms, its mean taken off.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

FRAME_SECONDS = 0.05
LOWEST, HIGHEST = -120, 60  # dB: the levels that are told apart
SILENT = -90.0  # dB: a frame below is digital silence, or the last bit of 16 at work
AUDIBLE, BELOW_MEAN = -70.0, 10.0  # the two gates of ITU-R BS.1770, on frames without its weighting
CLEAR = -65.0  # dB: frames above count for the edge of the spectrum
FLOOR = -135.0  # dB of a cell: beneath 16 bits, and above what float32 makes of a loud tone
CELLS = 128  # of equal width, in which the edge is looked for
FAINT = -80.0  # dB below the whole: a band is nothing more than that
RINGING = 2.0  # dB by which the last cell stands out: what is cut off right at half the rate rings there
LEAST_DROP = 30.0  # dB within a few cells: an edge that no sound has, and every resampler makes
PIECE = 1 << 18  # samples that are looked at together
QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
CLIPS = 2000  # at most so many speak for a training
CLIP_SECONDS = 60.0  # and of each what is heard in its first minute


class Sound:
    """Figures of one recording, from its mono samples in any pieces.

    Args:
        rate: Hz.

    >>> sound = Sound(16000)
    >>> sound.add(np.sin(np.arange(32000)).astype(np.float32))
    >>> round(sound.level, 1), sound.cutoff
    (-3.0, None)
    """

    def __init__(self, rate: int):
        self.rate = rate
        self.size = 1 << max(5, round(math.log2(FRAME_SECONDS * rate)))
        self.samples = self.frames = self.silent_frames = self.clear_frames = 0
        self._sum = self._squares = 0.0
        self._power = np.zeros(self.size // 2 + 1)
        self._logs = np.zeros(min(CELLS, self.size // 2))
        self._counts = np.zeros(HIGHEST - LOWEST, np.int64)
        self._energies = np.zeros(HIGHEST - LOWEST)
        self._rest = np.empty(0, np.float32)
        self._window = np.hanning(self.size + 1)[:-1].astype(np.float32)
        self._scale = 2.0 / (self.size * float((self._window.astype(np.float64) ** 2).sum()))

    def add(self, samples: np.ndarray) -> None:
        """Hear (N,) more samples, float32 with full scale at 1."""
        for first in range(0, len(samples), PIECE):
            self._add(samples[first : first + PIECE])

    def finish(self) -> None:
        """Hear what is left of a recording shorter than a frame."""
        if not self.frames and len(self._rest):
            self._add_frames(np.pad(self._rest, (0, self.size - len(self._rest)), mode="edge")[None])

    def _add(self, samples: np.ndarray) -> None:
        self.samples += len(samples)
        self._sum += float(samples.sum(dtype=np.float64))
        self._squares += float(np.square(samples, dtype=np.float64).sum())
        joined = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        whole = len(joined) // self.size * self.size
        self._rest = joined[whole:].copy()
        if whole:
            self._add_frames(joined[:whole].reshape(-1, self.size))

    def _add_frames(self, frames_TN: np.ndarray) -> None:
        frames_TN = frames_TN - frames_TN.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        powers = np.square(frames_TN, dtype=np.float64).mean(axis=1)
        levels = decibels(powers)
        places = np.clip(np.floor(levels) - LOWEST, 0, len(self._counts) - 1).astype(int)
        self.frames += len(levels)
        self.silent_frames += int((levels < SILENT).sum())
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._energies += np.bincount(places, powers, minlength=len(self._counts))
        spectra = np.fft.rfft(frames_TN * self._window)
        spectra_TF = (spectra.real**2 + spectra.imag**2) * np.float32(self._scale)
        self._power += spectra_TF.sum(axis=0, dtype=np.float64)
        clear = spectra_TF[levels > CLEAR, 1:]
        self.clear_frames += len(clear)
        if len(clear):
            cells_TC = clear.reshape(len(clear), len(self._logs), -1).mean(axis=2)
            self._logs += np.log10(cells_TC + np.float32(1e-20)).sum(axis=0, dtype=np.float64)

    @property
    def offset(self) -> float:
        """The mean of the samples: what is called DC."""
        return self._sum / max(1, self.samples)

    @property
    def power(self) -> float:
        """The mean square of the samples, without their mean."""
        return max(0.0, self._squares / max(1, self.samples) - self.offset**2)

    @property
    def silence(self) -> float:
        """The share of frames that hold nothing."""
        return self.silent_frames / max(1, self.frames)

    @property
    def level(self) -> float:
        """In dB: the mean of what is neither silent nor far below the mean of the rest; -inf for nothing.

        The gates are those of ITU-R BS.1770-5 (annex 1), on other frames, and without a weighting.
        """
        audible = np.arange(LOWEST, HIGHEST) >= AUDIBLE
        if not self._counts[audible].any():
            return -math.inf
        mean = self._energies[audible].sum() / self._counts[audible].sum()
        kept = audible & (np.arange(LOWEST, HIGHEST) >= math.floor(decibels(mean) - BELOW_MEAN))
        return float(decibels(self._energies[kept].sum() / self._counts[kept].sum()))

    @property
    def cells(self) -> np.ndarray:
        """(C,) dB: the mean over frames, in dB, of each of C equal parts of the spectrum."""
        return 10 * self._logs / max(1, self.clear_frames)

    @property
    def cutoff(self) -> float | None:
        """Hz above which there is nothing, where the spectrum ends in an edge; None without one."""
        cells = np.maximum(self.cells, FLOOR)
        count = len(cells)
        if not self.clear_frames or count < 16:
            return None
        highest = np.maximum.accumulate(cells[::-1])[::-1]  # of a cell and all above it
        best, found = 0.0, None
        for edge in range(6, int(0.92 * count)):
            beneath = np.sort(cells[int(0.7 * edge) : max(int(0.95 * edge), int(0.7 * edge) + 2)])
            below, above = beneath[len(beneath) // 4], highest[math.ceil(1.06 * edge) + 1]
            if below - above > max(best, LEAST_DROP):
                best, found = below - above, (below + above) / 2
        if found is None:
            return None
        return float((np.flatnonzero(cells > found)[-1] + 1) / count * self.rate / 2)

    @property
    def fold(self) -> float | None:
        """By how many dB the top of the spectrum lies below what is under it; None where that says nothing.

        What is sampled or resampled by a filter with a slope falls off before half its rate; what was
        thinned out (every second sample, say) does not. Neither does what a Fourier transform cut off right
        there; that often rings on at half the rate where the sound is over, and is known by it. In steady
        sounds there is nothing to tell the two by: one spectrum may come about either way.
        """
        cells = self.cells
        count = len(cells)
        if not self.clear_frames or count < CELLS:
            return None
        below, top = cells[int(0.75 * count) : int(0.88 * count)].mean(), cells[-2:].mean()
        if below < cells.max() - 50 or below < -105:
            return None
        if cells[-1] - cells[-6:-2].mean() > RINGING:
            return None
        return float(below - top)

    def bands(self, edges: Iterable[float]) -> np.ndarray:
        """(B,) dB: the level of each band between B + 1 edges, in Hz, against that of all bands."""
        edges = np.asarray(list(edges), float)
        sums = np.concatenate([[0.0], np.cumsum(self._power[1:])])
        at = np.interp(edges / (self.rate / 2) * (len(sums) - 1), np.arange(len(sums)), sums)
        powers = np.diff(at)
        if not powers.sum() > 0:
            return np.full(len(powers), FAINT)
        return np.maximum(decibels(powers / powers.sum()), FAINT)


def decibels(power: Any) -> Any:
    """Decibels of a mean square; -200 of nothing.

    >>> float(decibels(0.5).round(2))
    -3.01
    """
    return 10 * np.log10(np.maximum(power, 1e-20))


def band_edges(rate: int) -> list[float]:
    """Hz: octaves from 62.5 Hz on; the last band ends where a resampler to the rate begins to fall.

    >>> band_edges(16000)
    [62.5, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 7200.0]
    """
    top = 0.45 * rate
    edges = [62.5]
    while edges[-1] * 2 < 0.75 * top:
        edges.append(edges[-1] * 2)
    return [*edges, top]


def chosen(count: int, most: int = CLIPS) -> np.ndarray:
    """Places of at most so many of `count` clips, evenly over all.

    >>> chosen(3), chosen(10, 4)
    (array([0, 1, 2]), array([0, 3, 6, 9]))
    """
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(int)


def fingerprint(clips: Iterable[np.ndarray], rate: int) -> dict[str, Any]:
    """What clips are like: for each figure its quantiles over the clips.

    Args:
        clips: (N,) samples each, int16 or float32; a clip of silence counts for `silence` only.
        rate: Hz.

    Returns:
        {"rate", "clips", "edges" in Hz, "quantiles", and for each quantile "level" in dB, "silence" as a
        share, "bandwidth" in Hz; "bands": a list for each band}; empty where nothing is heard in any clip.

    >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, (3, 32000)).astype(np.float32)
    >>> fingerprint(noise, 16000)["level"]
    [-24.8, -24.8, -24.8, -24.8, -24.8]
    """
    edges, rows, silences = band_edges(rate), [], []
    for samples in clips:
        sound = heard(samples, rate)
        silences.append(sound.silence)
        if math.isfinite(sound.level):
            rows.append([sound.level, sound.cutoff or rate / 2, *sound.bands(edges)])
    if not rows:
        return {}
    levels, bandwidths, *bands = np.quantile(np.array(rows), QUANTILES, axis=0).T
    return {
        "rate": rate,
        "clips": len(rows),
        "edges": edges,
        "quantiles": list(QUANTILES),
        "level": _rounded(levels, 1),
        "silence": _rounded(np.quantile(silences, QUANTILES), 3),
        "bandwidth": _rounded(bandwidths, 0),
        "bands": [_rounded(band, 1) for band in bands],
    }


def heard(samples: np.ndarray, rate: int) -> Sound:
    """The figures of one clip, of its first minute where it is longer.

    >>> heard(np.zeros(16000, np.int16), 16000).silence
    1.0
    """
    sound = Sound(rate)
    samples = samples[: int(CLIP_SECONDS * rate)]
    for first in range(0, len(samples), PIECE):
        piece = samples[first : first + PIECE]
        sound.add(piece.astype(np.float32) / np.float32(1 if piece.dtype.kind == "f" else 32768))
    sound.finish()
    return sound


def valid(about: Any) -> bool:
    """Whether a model's `training["audio"]` is a fingerprint that can be compared with.

    >>> valid({}), valid({"level": [0.0] * 5})
    (False, False)
    """
    if not isinstance(about, Mapping):
        return False
    count = len(about.get("quantiles") or ())
    rows = [about.get(name) for name in ("level", "silence", "bandwidth")]
    bands, edges = about.get("bands"), about.get("edges")
    if not isinstance(bands, list) or not isinstance(edges, list) or len(edges) != len(bands) + 1:
        return False
    return tuple(about["quantiles"]) == QUANTILES and all(
        isinstance(row, list) and len(row) == count and all(isinstance(x, int | float) for x in row)
        for row in (*rows, *bands)
    )


def _rounded(values: np.ndarray, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
