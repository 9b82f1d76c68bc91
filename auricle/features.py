"""Log-mel features in NumPy: the reference for every other front end, and what pictures are drawn from.

Source: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017,
https://arxiv.org/abs/1609.09430, section 3; what the paper leaves open is as in Google's VGGish release
(tensorflow/models, research/audioset/vggish, mel_features): periodic Hann window, magnitude and not power,
triangles that are straight in mel, no weight on bin 0, log(x + 0.01), frames only where a whole window fits.
The other settings are those of librosa (McFee et al., "librosa: Audio and Music Signal Analysis in Python",
SciPy 2015; version 0.11), whose defaults the urban systems use: `librosa_defaults`; of PANNs and EfficientAT
as `auricle.presets` cites them.

Shape letters: N samples, T frames, F mel bands.
"""

import operator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft

CHUNK_FRAMES = 128  # frames at a time: their windows and spectra stay in a core's cache
SMALL_PRODUCT = 2**18  # multiplies up to which OpenBLAS keeps a product to the thread that asks for it
QUIETEST = 1e-10  # power that counts as silence where levels are decibels, as in librosa
KNEE = 1000.0  # Hz: Slaney's scale is linear up to here, logarithmic from here on
MELS_AT_KNEE = 15.0
LOG_STEP = np.log(6.4) / 27  # by which the logarithm of Hz rises with each mel above it
# Settings that a description may leave out.
LATER = (
    "centred",
    "mel",
    "power",
    "decibels",
    "pad",
    "absolute",
    "hann",
    "preemphasis",
    "constant_bands",
    "shift",
    "scale",
)


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
        centred: frame t has its middle at sample t * hop, with zeros beyond both ends of the signal; else the
            first frame begins with the first sample, and only whole windows count.
        mel: "htk", the formula 1127 ln(1 + f / 700) with triangles that are straight in mel and peak at 1; or
            "slaney", linear up to 1 kHz and logarithmic above, with triangles straight in Hz of equal areas.
        power: 1 sums magnitudes in each band, 2 their squares.
        decibels: 0 for the natural logarithm. Above 0: levels in dB relative to the loudest value of the
            signal that is given, none further below it than this; `log_offset` then has no part.
        pad: what lies beyond the ends of a signal whose frames are centred: "zeros", or "reflect", the signal
            turned round, without its first or last sample once more.
        absolute: levels in dB of themselves, whatever else is in the signal: 10 log10 of each band's power,
            none below -100. `decibels` is then 0, and `log_offset` has no part.
        hann: "periodic", or "symmetric", whose last value is as small as its first.
        preemphasis: above 0, each sample's share that is taken off the next one, which begins the signal:
            y[t] = x[t + 1] - preemphasis * x[t], one sample fewer.
        constant_bands: let bands be so narrow that no FFT bin falls into them, so that they never change.
        shift: added to each value at the very end.
        scale: multiplies what comes of that.

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
    centred: bool = False
    mel: str = "htk"
    power: int = 1
    decibels: float = 0.0
    pad: str = "zeros"
    absolute: bool = False
    hann: str = "periodic"
    preemphasis: float = 0.0
    constant_bands: bool = False
    shift: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("rate", "window", "hop", "fft", "bands", "power"):
            value = getattr(self, name)
            try:
                whole = operator.index(value)
            except TypeError:
                raise ValueError(f"{name} is {value!r}: expected a whole number") from None
            if isinstance(value, bool) or whole < 1:
                raise ValueError(f"{name} is {value!r}: expected a whole number of at least 1")
            object.__setattr__(self, name, whole)  # a NumPy integer would not go into JSON
        for name in ("low", "high", "log_offset", "decibels", "preemphasis", "shift", "scale"):
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
        self._check_later_settings()
        empty = np.flatnonzero(~mel_matrix(self).any(axis=0))
        if len(empty) and not self.constant_bands:
            raise ValueError(
                f"{len(empty)} of {self.bands} mel bands hold no FFT bin (the first is band {empty[0]}), so "
                f"they would never change: raise fft (now {self.fft}), use fewer bands or a wider range"
            )

    def _check_later_settings(self) -> None:
        for name in ("centred", "absolute", "constant_bands"):
            value = getattr(self, name)
            if not isinstance(value, (bool, np.bool_)):
                raise ValueError(f"{name} is {value!r}: expected true or false")
            object.__setattr__(self, name, bool(value))
        if self.mel not in ("htk", "slaney"):
            raise ValueError(f"mel is {self.mel!r}: expected 'htk' or 'slaney'")
        if self.power not in (1, 2):
            raise ValueError(f"power is {self.power}: expected 1 (magnitudes) or 2 (their squares)")
        if not 0 <= self.decibels < float("inf"):
            raise ValueError(
                f"decibels is {self.decibels:g}: expected 0 (a natural logarithm) or how far below the "
                "loudest value levels may lie, say 80"
            )
        if self.decibels and self.absolute:
            raise ValueError(
                f"decibels is {self.decibels:g}, levels relative to the loudest value, but absolute asks for "
                "levels of themselves; leave one of them out"
            )
        if in_decibels(self) and self.log_offset != FeatureConfig.log_offset:
            why = "absolute is true" if self.absolute else f"decibels is {self.decibels:g}"
            raise ValueError(
                f"log_offset is {self.log_offset:g}, but {why} and decibels have no offset; leave log_offset "
                "out"
            )
        if self.pad not in ("zeros", "reflect"):
            raise ValueError(f"pad is {self.pad!r}: expected 'zeros' or 'reflect'")
        if self.pad == "reflect" and not self.centred:
            raise ValueError("pad is 'reflect', but frames are not centred, so nothing is padded")
        if self.hann not in ("periodic", "symmetric"):
            raise ValueError(f"hann is {self.hann!r}: expected 'periodic' or 'symmetric'")
        if not 0 <= self.preemphasis <= 1:
            raise ValueError(f"preemphasis is {self.preemphasis:g}: expected a share from 0, for none, to 1")
        if not np.isfinite(self.shift):
            raise ValueError(f"shift is {self.shift:g}: expected a finite number")
        if not 0 < self.scale < float("inf"):
            raise ValueError(f"scale is {self.scale:g}: expected a finite number above 0")

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it, for what is kept: settings that came later are left out at their defaults.

        So models and runs without them are written, and fingerprinted, as they always were.

        >>> FeatureConfig(power=2).as_dict().keys() - FeatureConfig().as_dict().keys()
        {'power'}
        """
        values = asdict(self)
        for name in LATER:
            if values[name] == getattr(FeatureConfig, name):
                del values[name]
        return values


def in_decibels(config: FeatureConfig) -> bool:
    """Whether levels are decibels, and no natural logarithms.

    >>> in_decibels(FeatureConfig()), in_decibels(FeatureConfig(decibels=80.0))
    (False, True)
    """
    return config.absolute or config.decibels > 0


def num_frames(num_samples: int, config: FeatureConfig) -> int:
    """Count the frames of a signal: whole windows only, or one each `hop` samples where frames are centred.

    >>> [num_frames(n, FeatureConfig()) for n in (16000, 15600, 400, 399)]
    [98, 96, 1, 0]
    >>> [num_frames(n, FeatureConfig(centred=True)) for n in (16000, 160, 159, 1, 0)]
    [101, 2, 1, 1, 0]
    """
    if num_samples < shortest(config):
        return 0
    num_samples -= config.preemphasis > 0
    return 1 + (num_samples if config.centred else num_samples - config.window) // config.hop


def shortest(config: FeatureConfig) -> int:
    """Samples that give a frame; a reflection takes one more than it adds, and so does pre-emphasis.

    >>> shortest(FeatureConfig()), shortest(FeatureConfig(centred=True))
    (400, 1)
    >>> shortest(FeatureConfig(centred=True, pad="reflect"))
    201
    """
    lost = int(config.preemphasis > 0)
    if not config.centred:
        return config.window + lost
    return 1 + lost + (max(padding(config)) if config.pad == "reflect" else 0)


def padding(config: FeatureConfig) -> tuple[int, int]:
    """Samples to add before and after a signal, so that its whole windows are its frames.

    >>> padding(FeatureConfig()), padding(FeatureConfig(centred=True))
    ((0, 0), (200, 200))
    """
    if not config.centred:
        return 0, 0
    # The window stands in the middle of a transform, and the transform's middle sample on the frame's.
    before = config.fft // 2 - (config.fft - config.window) // 2
    return before, config.window - before


def hertz_to_mel(hertz: np.ndarray | float, mel: str = "htk") -> np.ndarray:
    """Convert Hz to mel: "htk" by mel(f) = 1127 ln(1 + f / 700), "slaney" as in Slaney's Auditory Toolbox.

    >>> [round(float(hertz_to_mel(1000.0, mel)), 1) for mel in ("htk", "slaney")]
    [1000.0, 15.0]
    """
    if mel == "slaney":
        hertz = np.asarray(hertz, dtype=np.float64)
        above = MELS_AT_KNEE + np.log(np.maximum(hertz, KNEE) / KNEE) / LOG_STEP
        return np.where(hertz < KNEE, hertz * (MELS_AT_KNEE / KNEE), above)
    return 1127.0 * np.log1p(np.asarray(hertz, dtype=np.float64) / 700.0)


def mel_to_hertz(value: np.ndarray | float, mel: str = "htk") -> np.ndarray:
    """Convert mel to Hz, the inverse of `hertz_to_mel`.

    >>> [round(float(mel_to_hertz(hertz_to_mel(4400.0, mel), mel)), 6) for mel in ("htk", "slaney")]
    [4400.0, 4400.0]
    """
    value = np.asarray(value, dtype=np.float64)
    if mel == "slaney":
        above = KNEE * np.exp((np.maximum(value, MELS_AT_KNEE) - MELS_AT_KNEE) * LOG_STEP)
        return np.where(value < MELS_AT_KNEE, value * (KNEE / MELS_AT_KNEE), above)
    return 700.0 * np.expm1(value / 1127.0)


def band_edges(config: FeatureConfig) -> np.ndarray:
    """Edges of the mel bands in Hz: band i starts at edge i, peaks at edge i + 1 and ends at edge i + 2.

    Returns:
        (F + 2,) float64, increasing.

    >>> band_edges(FeatureConfig())[[0, 1, -1]].round(1)
    array([ 125. ,  154.7, 7500. ])
    """
    low, high = (hertz_to_mel(edge, config.mel) for edge in (config.low, config.high))
    return mel_to_hertz(np.linspace(low, high, config.bands + 2), config.mel)


def mel_matrix(config: FeatureConfig) -> np.ndarray:
    """Weights that turn FFT magnitudes, or their squares, into mel bands: triangles, see `FeatureConfig.mel`.

    Returns:
        (fft // 2 + 1, F) float64; row 0, the constant part of the signal, is zero.

    >>> mel_matrix(FeatureConfig()).shape
    (257, 64)
    """
    if config.mel == "slaney":
        hertz, edges = (
            np.arange(config.fft // 2 + 1)[:, None] * (config.rate / config.fft),
            band_edges(config),
        )
        lower, peak, upper = edges[:-2], edges[1:-1], edges[2:]
        triangles = np.minimum((hertz - lower) / (peak - lower), (upper - hertz) / (upper - peak))
        return np.maximum(0.0, triangles) * (2 / (upper - lower))
    bin_mel = hertz_to_mel(np.arange(config.fft // 2 + 1) * (config.rate / config.fft))[:, None]
    edges_mel = np.linspace(hertz_to_mel(config.low), hertz_to_mel(config.high), config.bands + 2)
    lower, peak, upper = edges_mel[:-2], edges_mel[1:-1], edges_mel[2:]
    rising = (bin_mel - lower) / (peak - lower)
    falling = (upper - bin_mel) / (upper - peak)
    # Bin 0 lies at 0 mel, where no band has begun to rise: its weight is 0 without a line that says so.
    return np.maximum(0.0, np.minimum(rising, falling))


def hann_window(config: FeatureConfig) -> np.ndarray:
    """Hann window, whose period is the window's length, or one sample less where it is symmetric.

    Returns:
        (window,) float64; the first value is 0, and of a symmetric one also the last.

    >>> hann_window(FeatureConfig(window=4, fft=512))
    array([0. , 0.5, 1. , 0.5])
    >>> hann_window(FeatureConfig(window=5, fft=512, hann="symmetric"))
    array([0. , 0.5, 1. , 0.5, 0. ])
    """
    period = config.window - (config.hann == "symmetric")
    return 0.5 - 0.5 * np.cos(2 * np.pi / period * np.arange(config.window))


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
        (T, F) of `dtype`, natural logarithms, or dB where the settings say so: absolute ones, or at most 0
        (all 0 of a silent signal, whose loudest value is any); then shifted and scaled; (0, F) if the signal
        is too short for a frame, see `shortest`.

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
    if config.preemphasis:
        samples = samples[1:] - kind.type(config.preemphasis) * samples[:-1]
    if config.centred:
        samples = np.pad(samples, padding(config), mode="reflect" if config.pad == "reflect" else "constant")
    step = samples.strides[0]
    windows_TN = np.lib.stride_tricks.as_strided(
        samples, (count, config.window), (step * config.hop, step), writeable=False
    )
    if threads <= 1:
        _fill(out, windows_TN, config)
        return _finished(out, config)
    bounds = np.linspace(0, count, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        parts = [slice(a, b) for a, b in zip(bounds, bounds[1:], strict=False)]
        list(pool.map(lambda part: _fill(out[part], windows_TN[part], config), parts))
    return _finished(out, config)


def decibel_scale(config: FeatureConfig) -> tuple[float, float]:
    """What multiplies the decimal logarithm of a band to give dB, and the value below which a band is silent.

    >>> decibel_scale(FeatureConfig(power=2, decibels=80.0))
    (10.0, 1e-10)
    """
    return 20 / config.power, QUIETEST ** (config.power / 2)


def _finished(bands_TF: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """What stands at the end, in place: decibels, a shift, a scale."""
    if in_decibels(config):
        bands_TF = _decibels(bands_TF, config)
    if config.shift:
        bands_TF += bands_TF.dtype.type(config.shift)
    if config.scale != 1:
        bands_TF *= bands_TF.dtype.type(config.scale)
    return bands_TF


def _decibels(bands_TF: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Sums of bands -> dB, in place, relative to the largest where they are not absolute."""
    factor, quietest = decibel_scale(config)
    np.maximum(bands_TF, quietest, out=bands_TF)
    np.log10(bands_TF, out=bands_TF)
    bands_TF *= factor
    if config.absolute:
        return bands_TF
    bands_TF -= bands_TF.max()
    return np.maximum(bands_TF, -config.decibels, out=bands_TF)


def _fill(out_TF: np.ndarray, windows_TN: np.ndarray, config: FeatureConfig) -> None:
    """Write the log-mel of each window to its row; the sums of its bands where levels are decibels."""
    hann, mel, bins = _constants(config, out_TF.dtype.char)
    padded = np.zeros((min(CHUNK_FRAMES, len(out_TF)), config.fft), out_TF.dtype)
    for start in range(0, len(out_TF), CHUNK_FRAMES):
        windows = windows_TN[start : start + CHUNK_FRAMES]
        chunk = padded[: len(windows)]
        np.multiply(windows, hann, out=chunk[:, : config.window])
        spectrum = scipy.fft.rfft(chunk, axis=1)[:, bins]
        magnitude = np.abs(spectrum) if config.power == 1 else spectrum.real**2 + spectrum.imag**2
        bands = out_TF[start : start + CHUNK_FRAMES]
        _small_products(magnitude, mel, bands)
        if not in_decibels(config):
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
