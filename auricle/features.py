"""Log-mel features in NumPy: the reference for every other front end, and what pictures are drawn from.

Source: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017,
https://arxiv.org/abs/1609.09430, section 3; what the paper leaves open is as in Google's VGGish release
(tensorflow/models, research/audioset/vggish, mel_features): periodic Hann window, magnitude and not power,
triangles that are straight in mel, no weight on bin 0, log(x + 0.01), frames only where a whole window fits.

Shape letters: N samples, T frames, F mel bands.
"""

import operator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft

CHUNK_FRAMES = 128  # frames at a time: their windows and spectra stay in a core's cache
SMALL_PRODUCT = 2**18  # multiplies up to which OpenBLAS keeps a product to the thread that asks for it


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Settings of a log-mel front end; the defaults are Hershey's. They travel with a model's weights.

    Args:
        rate: sampling rate in Hz.
        window: length of the Hann window in samples.
        hop: samples from one frame to the next.
        fft: length of the Fourier transform in samples, at least `window`.
        bands: F, the number of mel bands.
        low: lower edge of the first band in Hz.
        high: upper edge of the last band in Hz, at most half the rate.
        log_offset: added to each band's magnitude before the logarithm.

    Raises:
        ValueError: a setting is out of its range, or a band is so narrow that no FFT bin falls into it.

    >>> FeatureConfig().hop / FeatureConfig().rate  # seconds
    0.01
    """

    rate: int = 16000
    window: int = 400
    hop: int = 160
    fft: int = 512
    bands: int = 64
    low: float = 125.0
    high: float = 7500.0
    log_offset: float = 0.01

    def __post_init__(self) -> None:
        for name in ("rate", "window", "hop", "fft", "bands"):
            value = getattr(self, name)
            try:
                whole = operator.index(value)
            except TypeError:
                raise ValueError(f"{name} is {value!r}: expected a whole number") from None
            if isinstance(value, bool) or whole < 1:
                raise ValueError(f"{name} is {value!r}: expected a whole number of at least 1")
            object.__setattr__(self, name, whole)  # a NumPy integer would not go into JSON
        for name in ("low", "high", "log_offset"):
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, float(value))
            except (TypeError, ValueError):
                raise ValueError(f"{name} is {value!r}: expected a number") from None
        if self.window < 2:
            raise ValueError(f"window is {self.window} sample: expected 2 or more")
        if self.fft < self.window:
            raise ValueError(
                f"fft is {self.fft}, shorter than the window of {self.window} samples: raise fft to "
                f"{2 ** (self.window - 1).bit_length()} or shorten the window"
            )
        if not 0 <= self.low < self.high <= self.rate / 2:
            raise ValueError(
                f"bands from {self.low:g} to {self.high:g} Hz at {self.rate} Hz: expected 0 <= low < high <= "
                f"{self.rate / 2:g}, half the rate"
            )
        if not 0 < self.log_offset < float("inf"):
            raise ValueError(f"log_offset is {self.log_offset:g}: expected a finite number above 0")
        empty = np.flatnonzero(~mel_matrix(self).any(axis=0))
        if len(empty):
            raise ValueError(
                f"{len(empty)} of {self.bands} mel bands hold no FFT bin (the first is band {empty[0]}), so "
                f"they would never change: raise fft (now {self.fft}), use fewer bands or a wider range"
            )


def num_frames(num_samples: int, config: FeatureConfig) -> int:
    """Count the frames of a signal; only whole windows count.

    >>> [num_frames(n, FeatureConfig()) for n in (16000, 15600, 400, 399)]
    [98, 96, 1, 0]
    """
    if num_samples < config.window:
        return 0
    return 1 + (num_samples - config.window) // config.hop


def hertz_to_mel(hertz: np.ndarray | float) -> np.ndarray:
    """Convert Hz to mel by the formula mel(f) = 1127 ln(1 + f / 700).

    >>> round(float(hertz_to_mel(1000.0)), 1)
    1000.0
    """
    return 1127.0 * np.log1p(np.asarray(hertz, dtype=np.float64) / 700.0)


def mel_to_hertz(mel: np.ndarray | float) -> np.ndarray:
    """Convert mel to Hz, the inverse of `hertz_to_mel`.

    >>> round(float(mel_to_hertz(hertz_to_mel(440.0))), 6)
    440.0
    """
    return 700.0 * np.expm1(np.asarray(mel, dtype=np.float64) / 1127.0)


def band_edges(config: FeatureConfig) -> np.ndarray:
    """Edges of the mel bands in Hz: band i starts at edge i, peaks at edge i + 1 and ends at edge i + 2.

    Returns:
        (F + 2,) float64, increasing.

    >>> band_edges(FeatureConfig())[[0, 1, -1]].round(1)
    array([ 125. ,  154.7, 7500. ])
    """
    low, high = hertz_to_mel(config.low), hertz_to_mel(config.high)
    return mel_to_hertz(np.linspace(low, high, config.bands + 2))


def mel_matrix(config: FeatureConfig) -> np.ndarray:
    """Weights that turn FFT magnitudes into mel bands: triangles, straight in mel, peaking at 1.

    Returns:
        (fft // 2 + 1, F) float64; row 0, the constant part of the signal, is zero.

    >>> mel_matrix(FeatureConfig()).shape
    (257, 64)
    """
    bin_mel = hertz_to_mel(np.arange(config.fft // 2 + 1) * (config.rate / config.fft))[:, None]
    edges_mel = np.linspace(hertz_to_mel(config.low), hertz_to_mel(config.high), config.bands + 2)
    lower, peak, upper = edges_mel[:-2], edges_mel[1:-1], edges_mel[2:]
    rising = (bin_mel - lower) / (peak - lower)
    falling = (upper - bin_mel) / (upper - peak)
    # Bin 0 lies at 0 mel, where no band has begun to rise: its weight is 0 without a line that says so.
    return np.maximum(0.0, np.minimum(rising, falling))


def hann_window(config: FeatureConfig) -> np.ndarray:
    """Periodic Hann window, whose period is the window's length.

    Returns:
        (window,) float64; the first value is 0, the last is not.

    >>> hann_window(FeatureConfig(window=4, fft=512))
    array([0. , 0.5, 1. , 0.5])
    """
    return 0.5 - 0.5 * np.cos(2 * np.pi / config.window * np.arange(config.window))


def used_bins(config: FeatureConfig) -> slice:
    """FFT bins that any band weighs: the others need not be computed.

    >>> used_bins(FeatureConfig())
    slice(5, 240, None)
    """
    rows = np.flatnonzero(mel_matrix(config).any(axis=1))
    return slice(int(rows[0]), int(rows[-1]) + 1)


def log_mel(
    samples: np.ndarray, config: FeatureConfig, dtype: type = np.float32, *, threads: int = 1
) -> np.ndarray:
    """Log-mel spectrogram of a mono signal.

    Args:
        samples: (N,) real samples, full scale at -1 and 1.
        config: the front end's settings; `samples` must be at `config.rate`.
        dtype: np.float32, or np.float64 for a reference; what is computed in and returned.
        threads: how many threads share the work.

    Returns:
        (T, F) of `dtype`, natural logarithms; (0, F) if the signal is shorter than a window.

    Raises:
        ValueError: the samples are not a vector of floating-point numbers, or `dtype` is neither.

    >>> log_mel(np.zeros(16000, np.float32), FeatureConfig()).shape
    (98, 64)

    Source: Hershey et al. (2017), section 3.
    """
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise ValueError(f"dtype is {kind}: expected float32 or float64")
    samples = np.asarray(samples)
    if samples.ndim != 1:
        raise ValueError(
            f"samples have shape {samples.shape}: expected (N,), mono; mix the channels down first"
        )
    if samples.dtype.kind != "f" and samples.size:
        raise ValueError(f"samples are {samples.dtype}: expected floats in -1..1; divide 16-bit PCM by 32768")
    samples = np.ascontiguousarray(samples, dtype=kind)
    count = num_frames(len(samples), config)
    out = np.empty((count, config.bands), kind)
    if not count:
        return out
    step = samples.strides[0]
    windows_TN = np.lib.stride_tricks.as_strided(
        samples, (count, config.window), (step * config.hop, step), writeable=False
    )
    if threads <= 1:
        _fill(out, windows_TN, config)
        return out
    bounds = np.linspace(0, count, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        parts = [slice(a, b) for a, b in zip(bounds, bounds[1:], strict=False)]
        list(pool.map(lambda part: _fill(out[part], windows_TN[part], config), parts))
    return out


def _fill(out_TF: np.ndarray, windows_TN: np.ndarray, config: FeatureConfig) -> None:
    """Write the log-mel of each window to its row."""
    hann, mel, bins = _constants(config, out_TF.dtype.char)
    padded = np.zeros((min(CHUNK_FRAMES, len(out_TF)), config.fft), out_TF.dtype)
    for start in range(0, len(out_TF), CHUNK_FRAMES):
        windows = windows_TN[start : start + CHUNK_FRAMES]
        chunk = padded[: len(windows)]
        np.multiply(windows, hann, out=chunk[:, : config.window])
        magnitude = np.abs(scipy.fft.rfft(chunk, axis=1)[:, bins])
        bands = out_TF[start : start + CHUNK_FRAMES]
        _small_products(magnitude, mel, bands)
        bands += out_TF.dtype.type(config.log_offset)
        np.log(bands, out=bands)


def _small_products(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """Matrix product by blocks of rows, too small for OpenBLAS to share among threads of its own.

    Products this size gain nothing from that, and on a busy machine the threads wait for each other: it was
    seen to cost ten times the whole front end.
    """
    rows = max(1, SMALL_PRODUCT // right.size)
    whole = len(left) // rows * rows
    if whole:
        shape = (-1, rows)
        np.matmul(
            left[:whole].reshape(*shape, left.shape[1]), right, out=out[:whole].reshape(*shape, out.shape[1])
        )
    if whole < len(left):
        np.matmul(left[whole:], right, out=out[whole:])


@lru_cache(maxsize=32)
def _constants(config: FeatureConfig, dtype: str) -> tuple[np.ndarray, np.ndarray, slice]:
    """Window, mel weights of the used bins, and those bins, in the type that is computed in."""
    bins = used_bins(config)
    return hann_window(config).astype(dtype), np.ascontiguousarray(mel_matrix(config)[bins], dtype), bins
