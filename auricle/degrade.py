"""What happens to sound between its source and a file: a room, noise, a narrow channel, a microphone.

A training that hears clean clips alone makes a network that fails in rooms, in noise and on the telephone.
Most conditions by which `auricle.recipes.robustness` judges a model are of the kinds that are drawn here:
of a model that was trained so, it tells what was learned, not how strange a room or noise may be.

`equalize` is what microphones and places do to every sound: a colour of its own.

Source of rooms: Polack's model as Jot, Cerveau and Warusfel have it, AES Convention 103 (1997), section 1.

Shape letters: B clips, N samples, M of a padded clip, F bins.
"""

import math

import torch
from scipy.fft import next_fast_len
from torch import Generator, Tensor

from auricle.augment import uniform

RT60 = (0.1, 1.0)  # seconds, even in their logarithm
DIRECT = (-6.0, 12.0)  # dB, of the direct sound over the tail
SNR = (0.0, 30.0)  # dB that noise lies below a clip
SLOPE = (0.0, 1.0)  # amplitude of noise falls with frequency to this power: white to brown
LOWEST = 20.0  # Hz: noise is flat below
HIGH_END = (1500.0, 7500.0)  # Hz: nothing above; even in its logarithm
LOW_END = (20.0, 500.0)  # Hz: nothing below
EDGE = 0.1  # octaves from all to nothing
KNOTS = tuple(62.5 * 2**octave for octave in range(9))  # Hz, between which colour is straight


def degrade(waveform_BN: Tensor, generator: Generator, *, rate: int, share: float) -> Tensor:
    """(B, N) float32: `share` of the clips in a room, `share` in noise, `share` over a narrow channel.

    Each is drawn by itself, and in this order: noise is not of the room, and a channel takes its part of the
    noise too. A clip's energy stays as it was through a room, and what a channel leaves keeps its level.
    Noise lies below the RMS of the whole clip, its silence included.

    Args:
        waveform_BN: full scale at 1.
        generator: where all numbers come from; how many are drawn depends on how many clips are changed.
        rate: Hz.
        share: 0 to 1.

    Raises:
        ValueError: a share that is none.

    >>> degrade(torch.ones(2, 1600), Generator().manual_seed(0), rate=16000, share=0.0).unique().tolist()
    [1.0]
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; expected 0 to 1")
    batch, samples = waveform_BN.shape
    rooms, noises, channels = (uniform(batch, 0.0, 1.0, generator)[:, 0] < share for _ in range(3))
    rt60, direct = _log_uniform(batch, RT60, generator), uniform(batch, *DIRECT, generator)
    snr, slope = uniform(batch, *SNR, generator), uniform(batch, *SLOPE, generator)
    low, high = _log_uniform(batch, LOW_END, generator), _log_uniform(batch, HIGH_END, generator)
    out_BN = waveform_BN.clone()
    if (there := rooms.nonzero()[:, 0]).numel():
        out_BN[there] = _in_rooms(out_BN[there], rt60[there], direct[there], generator, rate)
    if (there := noises.nonzero()[:, 0]).numel():
        out_BN[there] += _noise(out_BN[there], snr[there], slope[there], generator, rate)
    if (there := channels.nonzero()[:, 0]).numel():
        out_BN[there] = _through_channels(out_BN[there], low[there], high[there], rate)
    assert out_BN.shape == (batch, samples)
    return out_BN


def equalize(waveform_BN: Tensor, generator: Generator, *, rate: int, decibels: float) -> Tensor:
    """(B, N) float32: each clip coloured by a curve of its own, at the RMS that it had.

    A curve has a level at each octave (`KNOTS`) and is straight over frequency's logarithm between them.
    Levels are normal, of a deviation that is even between nothing and `decibels`, by clip. No delay; what a
    curve rings beyond a clip's ends is cut off. Peaks may come to lie beyond full scale; nothing is clipped.

    Args:
        waveform_BN: full scale at 1.
        generator: where all numbers come from.
        rate: Hz.
        decibels: the greatest deviation; 0 changes nothing.

    >>> equalize(torch.ones(2, 1600), Generator().manual_seed(0), rate=16000, decibels=0.0).unique().tolist()
    [1.0]
    """
    if not decibels:
        return waveform_BN
    batch = len(waveform_BN)
    spread_B1 = uniform(batch, 0.0, decibels, generator)
    level_BK = spread_B1 * torch.randn(batch, len(KNOTS), generator=generator, device=waveform_BN.device)
    frequency_F = _frequencies(waveform_BN, rate)
    place_F = (frequency_F.clamp(min=1e-3) / KNOTS[0]).log2().clamp(0, len(KNOTS) - 1 - 1e-4)
    index_F = place_F.long()
    curve_BF = torch.lerp(level_BK[:, index_F], level_BK[:, index_F + 1], place_F - index_F)
    return _levelled(_filtered(waveform_BN, 10 ** (curve_BF / 20), rate), waveform_BN)


def _log_uniform(batch: int, ends: tuple[float, float], generator: Generator) -> Tensor:
    return torch.exp(uniform(batch, math.log(ends[0]), math.log(ends[1]), generator))


def _rms(waveform_BN: Tensor) -> Tensor:
    return waveform_BN.square().mean(1, keepdim=True).sqrt()


def _levelled(changed_BN: Tensor, waveform_BN: Tensor) -> Tensor:
    """The same at the RMS of another."""
    return changed_BN * (_rms(waveform_BN) / _rms(changed_BN).clamp(min=1e-9))


def _in_rooms(
    waveform_BN: Tensor, rt60_B1: Tensor, direct_B1: Tensor, generator: Generator, rate: int
) -> Tensor:
    """Convolved with a direct path and a decaying tail of noise, cut where the clip ends."""
    batch, samples = waveform_BN.shape
    tail = min(samples, round(RT60[1] * rate))
    times = torch.arange(1, tail + 1, device=waveform_BN.device) / rate
    response_BN = torch.randn(batch, tail, generator=generator, device=waveform_BN.device)
    response_BN *= torch.exp(-math.log(1000) / rt60_B1 * times)  # 60 dB
    response_BN *= 10 ** (-direct_B1 / 20) / response_BN.square().sum(1, keepdim=True).sqrt()
    size = next_fast_len(samples + tail, real=True)
    spectrum = torch.fft.rfft(waveform_BN, size) * torch.fft.rfft(response_BN, size)
    wet_BN = waveform_BN.clone()
    wet_BN[:, 1:] += torch.fft.irfft(spectrum, size)[:, : samples - 1]
    return _levelled(wet_BN, waveform_BN)


def _noise(waveform_BN: Tensor, snr_B1: Tensor, slope_B1: Tensor, generator: Generator, rate: int) -> Tensor:
    """Gaussian noise of each clip's slope and level."""
    batch, samples = waveform_BN.shape
    size = next_fast_len(samples, real=True)
    frequency_F = torch.arange(size // 2 + 1, device=waveform_BN.device) * (rate / size)
    drawn_BF2 = torch.randn(batch, len(frequency_F), 2, generator=generator, device=waveform_BN.device)
    shape_BF = frequency_F.clamp(min=LOWEST) ** -slope_B1
    noise_BN = torch.fft.irfft(torch.view_as_complex(drawn_BF2) * shape_BF, size)[:, :samples]
    return noise_BN * (10 ** (-snr_B1 / 20) * _rms(waveform_BN) / _rms(noise_BN).clamp(min=1e-12))


def _through_channels(waveform_BN: Tensor, low_B1: Tensor, high_B1: Tensor, rate: int) -> Tensor:
    """What lies between two frequencies, by straight slopes over frequency's logarithm, without delay.

    Slopes are steep and of zero phase: a click rings before and after itself, for some milliseconds at the
    high end, and softly for tenths of a second at the lowest low ends.
    """
    octaves_F = _frequencies(waveform_BN, rate).clamp(min=1e-3).log2()
    below_BF = ((high_B1.log2() - octaves_F) / EDGE + 0.5).clamp(0, 1)
    above_BF = ((octaves_F - low_B1.log2()) / EDGE + 0.5).clamp(0, 1)
    return _filtered(waveform_BN, below_BF * above_BF, rate)


def _padded(waveform_BN: Tensor, rate: int) -> int:
    """Samples of a transform with room for most of what rings beyond the ends."""
    return next_fast_len(waveform_BN.shape[1] + rate // 10, real=True)


def _frequencies(waveform_BN: Tensor, rate: int) -> Tensor:
    """(F,) Hz, of the gains that `_filtered` takes."""
    size = _padded(waveform_BN, rate)
    return torch.arange(size // 2 + 1, device=waveform_BN.device) * (rate / size)


def _filtered(waveform_BN: Tensor, gain_BF: Tensor, rate: int) -> Tensor:
    """(B, N): each frequency times its gain, without delay."""
    size = _padded(waveform_BN, rate)
    return torch.fft.irfft(torch.fft.rfft(waveform_BN, size) * gain_BF, size)[:, : waveform_BN.shape[1]]
