"""What the page draws of a sound: its waveform and its spectrogram, at every width, made while it is decoded.

Both are written as they come, in memory that does not grow, and read by place: peaks as the smallest and
largest sample of 2 ms, of 16 ms, 128 ms and so on; the spectrogram as 96 mel bands in half decibels, a column
each 20 ms (10 ms of shorter recordings), and, coarser, a column for 16 of these, and so on. A picture's
columns are made of the coarsest that are fine enough.

Shape letters: T columns, F mel bands.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from auricle.features import FeatureConfig, log_mel
from auricle.serve.columns import column_times, reduced

PEAKS_A_SECOND = 500
PEAK_STEP = 8  # from one level of peaks to the next
BANDS, TILE = 96, 256
FINE_SECONDS, COARSE_SECONDS, SHORT_SECONDS = (
    0.01,
    0.02,
    1200.0,
)  # a column; up to what length it is the finer
WINDOW_SECONDS = 0.04
LOW_HERTZ = 40.0
STORED_STEP = 4  # one level in so many is stored, the others are made of it
DECIBELS_BELOW = 120.0  # what 0 stands for, below a sine at full scale; 255 is that sine
CONTRAST = 70.0  # decibels from black to white
PART = 1 << 16  # columns, of what is gone through at the end

Take = Callable[[int], None]  # is told of bytes before they are written


class PeakWriter:
    """Writes the smallest and largest sample of every 2 ms.

    Args:
        folder: for the files.
        rate: of the samples, Hz.
        take: see `Take`.
    """

    def __init__(self, folder: Path, rate: int, take: Take):
        self.folder, self.each, self.take = folder, max(1, rate // PEAKS_A_SECOND), take
        self._rest = np.zeros(0, np.float32)
        self._file = _peak_path(folder, 0).open("wb")

    def add(self, samples: np.ndarray) -> None:
        """Some more samples, float32."""
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // self.each * self.each
        self._write(samples[:whole].reshape(-1, self.each))
        self._rest = samples[whole:]

    def finish(self) -> dict[str, Any]:
        """Write what is left and the coarser levels; what `peaks` needs to know."""
        if len(self._rest):
            self._write(self._rest[None])
        self._file.close()
        level = 0
        while len(finer := _peak_rows(self.folder, level)) > PEAK_STEP * 1024:
            level += 1
            with _peak_path(self.folder, level).open("wb") as file:
                for start in range(0, len(finer), PART * PEAK_STEP):
                    part = np.asarray(finer[start : start + PART * PEAK_STEP])
                    at = np.arange(0, len(part), PEAK_STEP)
                    low, high = np.minimum.reduceat(part[:, 0], at), np.maximum.reduceat(part[:, 1], at)
                    self._put(file, low, high)
        return {"each": self.each, "levels": level + 1}

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _write(self, samples_TN: np.ndarray) -> None:
        if len(samples_TN):
            both = np.stack([samples_TN.min(1), samples_TN.max(1)]).clip(-1, 1)
            self._put(self._file, *np.rint(both * 127).astype(np.int8))

    def _put(self, file: IO[bytes], low: np.ndarray, high: np.ndarray) -> None:
        content = np.stack([low, high], axis=1).tobytes()
        self.take(len(content))
        file.write(content)


def peaks(
    folder: Path, about: dict[str, Any], rate: int, start: float, end: float, columns: int
) -> np.ndarray:
    """(columns, 2) int8: smallest and largest sample of each column, of 127; 0 beyond the end.

    Args:
        folder: that a `PeakWriter` wrote into.
        about: what it said.
        rate: of the samples, Hz.
        start: seconds.
        end: seconds, above `start`.
        columns: how many.
    """
    width = (end - start) / columns
    each, level = about["each"] / rate, 0
    while level + 1 < about["levels"] and each * PEAK_STEP <= width:
        each, level = each * PEAK_STEP, level + 1
    rows = _peak_rows(folder, level)
    begin, stop = column_times(start, end, columns)
    first = np.floor(begin / each + 1e-6).astype(np.int64)
    last = np.maximum(first, np.ceil(stop / each - 1e-6).astype(np.int64) - 1)
    inside = (first < len(rows)) & (last >= 0)
    out = np.zeros((columns, 2), np.int8)
    if inside.any():
        first, last = (value[inside].clip(0, len(rows) - 1) for value in (first, last))
        out[inside, 0] = reduced(rows[:, 0], first, last, np.minimum)
        out[inside, 1] = reduced(rows[:, 1], first, last, np.maximum)
    return out


def _peak_path(folder: Path, level: int) -> Path:
    return folder / f"peaks.{level}"


def _peak_rows(folder: Path, level: int) -> np.ndarray:
    return _mapped(_peak_path(folder, level), np.int8, 2)


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """What there is of a spectrogram, fit for JSON.

    Args:
        column: seconds.
        levels: each half as fine as the one before; the last is one tile.
        low: Hz, the lower edge of the lowest band.
        high: Hz.
        dark: what is black, of what is stored.
        light: what is white.
    """

    column: float
    levels: int
    low: float
    high: float
    dark: int
    light: int

    def about(self) -> dict[str, Any]:
        """What the page is told."""
        own = {"column": self.column, "levels": self.levels, "low": self.low, "high": self.high}
        return own | {"tile": TILE, "bands": BANDS}


class SpectrumWriter:
    """Writes the columns of a spectrogram.

    Args:
        folder: for the files.
        rate: of the samples, Hz.
        fine: whether columns are of 10 ms, not 20.
        take: see `Take`.
    """

    def __init__(self, folder: Path, rate: int, fine: bool, take: Take):
        self.folder, self.take = folder, take
        self.config = spectrum_config(rate, fine)
        # A column stands for its hop: its window reaches as far before it as beyond.
        self._before = (self.config.window - self.config.hop) // 2
        self._rest = np.zeros(self._before, np.float32)
        self._heard = self._written = 0
        self._count = np.zeros(256, np.int64)
        self._file = _spectrum_path(folder, 0).open("wb")

    def add(self, samples: np.ndarray) -> None:
        """Some more samples, float32."""
        self._heard += len(samples)
        self._analyse(np.concatenate([self._rest, samples]))

    def finish(self) -> Spectrum:
        """Write what is left and the coarser levels."""
        hop, window = self.config.hop, self.config.window
        lacking = -(-self._heard // hop) - self._written
        if lacking > 0:
            needed = (lacking - 1) * hop + window
            self._analyse(np.concatenate([self._rest, np.zeros(needed, np.float32)])[:needed])
        self._file.close()
        length, level = self._written, 0
        while length > TILE:
            length, level = -(-length // 2), level + 1
        for stored in range(STORED_STEP, level + 1, STORED_STEP):
            self._coarser(stored)
        dark, light = _contrast(self._count)
        column = hop / self.config.rate
        edges = {"low": self.config.low, "high": self.config.high}
        return Spectrum(column=column, levels=level + 1, dark=dark, light=light, **edges)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _analyse(self, samples: np.ndarray) -> None:
        values_TF = log_mel(samples, self.config)
        self._rest = samples[len(values_TF) * self.config.hop :]
        # Of a sine at full scale, the largest magnitude is a quarter of the window's length.
        decibels = (values_TF - np.log(self.config.window / 4)) * np.float32(20 / np.log(10))
        stored = np.rint(decibels * np.float32(255 / DECIBELS_BELOW) + 255).clip(0, 255).astype(np.uint8)
        self._count += np.bincount(stored.ravel(), minlength=256)
        self._written += len(stored)
        self.take(stored.nbytes)
        self._file.write(stored.tobytes())

    def _coarser(self, level: int) -> None:
        finer = _spectrum_rows(self.folder, level - STORED_STEP)
        with _spectrum_path(self.folder, level).open("wb") as file:
            for start in range(0, len(finer), PART):
                content = _halved(np.asarray(finer[start : start + PART]), STORED_STEP).tobytes()
                self.take(len(content))
                file.write(content)


@lru_cache(maxsize=8)
def spectrum_config(rate: int, fine: bool) -> FeatureConfig:
    """The front end of the picture at a rate; no band is empty."""
    hop = max(1, round(rate * (FINE_SECONDS if fine else COARSE_SECONDS)))
    window = max(2 * hop, round(rate * WINDOW_SECONDS))
    least = window / 4 * 10 ** (-DECIBELS_BELOW / 20)
    fft = 1 << (window - 1).bit_length()
    while True:
        try:
            return FeatureConfig(
                rate=rate,
                window=window,
                hop=hop,
                fft=fft,
                bands=BANDS,
                low=min(LOW_HERTZ, rate / 100),
                high=rate / 2,
                log_offset=least,
            )
        except ValueError:
            fft *= 2
            if fft > 1 << 16:
                raise


def tile(folder: Path, spectrum: Spectrum, level: int, number: int) -> bytes | None:
    """A tile as PNG, 256 columns (the last has fewer), the highest of 96 bands first; None beyond the end."""
    if level >= spectrum.levels:
        return None
    stored = level // STORED_STEP * STORED_STEP
    rows = _spectrum_rows(folder, stored)
    width = TILE << (level - stored)
    part = np.asarray(rows[number * width : (number + 1) * width])
    if not len(part):
        return None
    grey = np.arange(256, dtype=np.float32) - spectrum.dark
    grey = np.rint(grey * (255 / (spectrum.light - spectrum.dark))).clip(0, 255).astype(np.uint8)
    return png(grey[_halved(part, level - stored)].T[::-1])


def png(grey: np.ndarray) -> bytes:
    """An 8-bit picture (rows, columns) as PNG."""
    height, width = grey.shape
    lines = np.zeros((height, width + 1), np.uint8)  # each begins with its filter: none
    lines[:, 1:] = grey
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _halved(stored_TF: np.ndarray, times: int) -> np.ndarray:
    """Columns of twice the width, so many times: the mean of their powers."""
    if not times:
        return stored_TF
    power = _powers()[stored_TF]
    step = 1 << times
    at = np.arange(0, len(power), step)
    counts = np.minimum(step, len(power) - at)[:, None]
    mean = np.add.reduceat(power, at, axis=0) / counts
    decibels = 10 * np.log10(np.maximum(mean, 1e-30))
    return np.rint(decibels * (255 / DECIBELS_BELOW) + 255).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _powers() -> np.ndarray:
    return (10 ** ((np.arange(256) - 255) * (DECIBELS_BELOW / 255 / 10))).astype(np.float32)


def _contrast(count: np.ndarray) -> tuple[int, int]:
    """White is all but the loudest thousandth, black so many decibels below: what is black, what is white."""
    total = count[1:].sum()  # digital silence says nothing
    share = np.cumsum(count[1:]) / max(1, total)
    light = 1 + int(np.searchsorted(share, 0.999)) if total else 255
    dark = max(0, light - round(CONTRAST * 255 / DECIBELS_BELOW))
    return dark, max(light, dark + 1)


def _spectrum_path(folder: Path, level: int) -> Path:
    return folder / f"spectrum.{level}"


def _spectrum_rows(folder: Path, level: int) -> np.ndarray:
    return _mapped(_spectrum_path(folder, level), np.uint8, BANDS)


def _mapped(path: Path, kind: type, width: int) -> np.ndarray:
    """A file's rows, which are read when they are looked at."""
    rows = path.stat().st_size // (np.dtype(kind).itemsize * width)
    if not rows:
        return np.zeros((0, width), kind)
    return np.memmap(path, kind, "r", shape=(rows, width))
