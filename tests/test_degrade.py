"""Rooms, noise and narrow channels of a training, each against NumPy or SciPy on its own."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve

from auricle import degrade as module
from auricle.degrade import KNOTS, degrade, equalize

RATE = 16000


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(batch: int, samples: int = 2 * RATE, seed: int = 5) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=drawn(seed))


def rms(wave_BN: torch.Tensor) -> torch.Tensor:
    return wave_BN.square().mean(1).sqrt()


def test_the_shares_are_kept_and_each_is_drawn_by_itself() -> None:
    wave_BN = noise(2000, samples=400)
    heard_BN = degrade(wave_BN, drawn(), rate=RATE, share=0.3)
    untouched = float((heard_BN == wave_BN).all(1).float().mean())
    assert untouched == pytest.approx(0.7**3, abs=0.04)
    assert torch.isfinite(heard_BN).all()


def test_the_same_generator_gives_the_same_sound_and_what_comes_in_is_left_alone() -> None:
    wave_BN = noise(8)
    before = wave_BN.clone()
    one, two = (degrade(wave_BN, drawn(3), rate=RATE, share=0.9) for _ in range(2))
    assert torch.equal(one, two) and torch.equal(wave_BN, before)
    assert not torch.equal(one, degrade(wave_BN, drawn(4), rate=RATE, share=0.9))


def test_a_room_is_a_convolution_that_keeps_the_energy() -> None:
    wave_BN = torch.zeros(1, RATE)
    wave_BN[0, 100] = 1.0  # the response itself
    rt60, direct = torch.tensor([[0.3]]), torch.tensor([[3.0]])
    response = module._in_rooms(wave_BN, rt60, direct, drawn(1), RATE)[0, 100:]
    assert float(response.square().sum()) == pytest.approx(1.0, rel=1e-5)
    tail = response[1:]
    ratio = 10 * math.log10(float(response[0] ** 2 / tail.square().sum()))
    assert ratio == pytest.approx(3.0, abs=0.01)
    # Schroeder: the energy that is still to come falls by 60 dB in RT60.
    left = 10 * np.log10(np.cumsum(tail.double().numpy()[::-1] ** 2)[::-1])
    first, last = (int(np.argmax(left < left[0] - fall)) for fall in (5, 35))
    assert (last - first) / RATE == pytest.approx(0.15, rel=0.1)
    other_BN = noise(1, RATE)
    heard = module._in_rooms(other_BN, rt60, direct, drawn(1), RATE)[0].double().numpy()
    there = fftconvolve(other_BN[0].double().numpy(), response.double().numpy())[:RATE]
    there *= np.sqrt(np.mean(other_BN[0].double().numpy() ** 2) / np.mean(there**2))
    assert np.abs(heard - there).max() < 1e-5


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_noise_has_its_ratio_and_its_slope(slope: float) -> None:
    wave_BN = noise(4)
    snr = torch.tensor([[0.0], [10.0], [20.0], [30.0]])
    added_BN = module._noise(wave_BN, snr, torch.full((4, 1), slope), drawn(2), RATE)
    ratios = 20 * torch.log10(rms(wave_BN) / rms(added_BN))
    assert ratios.tolist() == pytest.approx([0, 10, 20, 30], abs=0.01)
    power = np.abs(np.fft.rfft(added_BN.double().numpy())) ** 2
    frequency = np.fft.rfftfreq(added_BN.shape[1], 1 / RATE)
    octave = [power[:, (frequency >= low) & (frequency < 2 * low)].mean() for low in (250, 2000)]
    assert 10 * np.log10(octave[0] / octave[1]) == pytest.approx(slope * 6.02 * 3, abs=1.0)


def test_a_channel_takes_what_lies_outside_and_leaves_the_rest() -> None:
    times = torch.arange(RATE) / RATE
    low, high = torch.tensor([[300.0]]), torch.tensor([[3400.0]])
    for frequency, expected in ((1000.0, 1.0), (2500.0, 1.0), (200.0, 0.0), (5000.0, 0.0)):
        tone = torch.sin(2 * math.pi * frequency * times)[None] * torch.hann_window(RATE)
        heard = module._through_channels(tone, low, high, RATE)
        assert float(rms(heard) / rms(tone)) == pytest.approx(expected, abs=0.002), frequency


def test_silence_stays_silent_and_the_shortest_clip_works() -> None:
    assert degrade(torch.zeros(32, 800), drawn(), rate=RATE, share=0.99).abs().max() == 0
    short = degrade(noise(32, samples=1), drawn(), rate=RATE, share=0.99)
    assert short.shape == (32, 1) and torch.isfinite(short).all()


@pytest.mark.parametrize("rate", [8000, 44100])
def test_other_rates_have_the_same_channels(rate: int) -> None:
    """And what lies above half the rate is no limit."""
    times = torch.arange(rate) / rate
    tone = torch.sin(2 * math.pi * 1000.0 * times)[None] * torch.hann_window(rate)
    for high, expected in ((500.0, 0.0), (2000.0, 1.0), (7000.0, 1.0)):
        heard = module._through_channels(tone, torch.tensor([[50.0]]), torch.tensor([[high]]), rate)
        assert float(rms(heard) / rms(tone)) == pytest.approx(expected, abs=0.002)
    assert torch.isfinite(degrade(noise(16, samples=rate), drawn(), rate=rate, share=0.9)).all()


def test_noise_comes_after_the_room_and_the_channel_after_both(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for name in ("_in_rooms", "_noise", "_through_channels"):
        real = getattr(module, name)

        def noted(*given: object, name: str = name, real: object = real) -> torch.Tensor:
            called.append(name)
            return real(*given)  # type: ignore[operator, no-any-return]

        monkeypatch.setattr(module, name, noted)
    degrade(noise(64, samples=400), drawn(), rate=RATE, share=0.9)
    assert called == ["_in_rooms", "_noise", "_through_channels"]


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"share is 1\.5; expected 0 to 1"):
        degrade(noise(1), drawn(), rate=RATE, share=1.5)


def test_equalizing_raises_octaves_by_normal_levels_and_keeps_the_rms() -> None:
    """The curve is read from what came out, at the knots; deviations are even up to the greatest."""
    wave_BN = torch.zeros(600, 8000)
    wave_BN[:, 4000] = 0.5  # all frequencies alike
    heard_BN = equalize(wave_BN, drawn(), rate=RATE, decibels=8.0)
    assert torch.allclose(rms(heard_BN), rms(wave_BN), rtol=1e-4)
    turned_BN = torch.cat([heard_BN[:, 4000:], torch.zeros(600, 1)], 1)  # as much after the click as before
    assert torch.allclose(turned_BN[:, :4000], heard_BN[:, 1:4001].flip(1), atol=1e-5)
    spectrum_BF = np.abs(np.fft.rfft(heard_BN.double().numpy()))
    frequency_F = np.fft.rfftfreq(8000, 1 / RATE)
    knots = [int(np.argmin(np.abs(frequency_F - knot))) for knot in KNOTS if 125 < knot < RATE / 2]
    level_BK = 20 * np.log10(spectrum_BF[:, knots])
    # Of normal levels whose deviation is even in (0, 8): the mean square about a clip's own mean is 8^2 / 3.
    assert level_BK.var(1, ddof=1).mean() == pytest.approx(64 / 3, rel=0.1)
    rng = np.random.default_rng(0)
    expected_BK = rng.uniform(0, 8, (20000, 1)) * rng.standard_normal((20000, len(knots)))
    for quantile in (0.1, 0.5, 0.9):
        there, found = (np.quantile(one.std(1, ddof=1), quantile) for one in (expected_BK, level_BK))
        assert found == pytest.approx(there, rel=0.15, abs=0.1), quantile
    # Straight over the logarithm of frequency: half-way between two octaves lies their mean.
    between = int(np.argmin(np.abs(frequency_F - 1000 * 2**0.5)))
    one, two = (int(np.argmin(np.abs(frequency_F - knot))) for knot in (1000.0, 2000.0))
    level_BF = 20 * np.log10(spectrum_BF)
    assert np.abs(level_BF[:, between] - (level_BF[:, one] + level_BF[:, two]) / 2).max() < 0.3


def test_equalizing_follows_its_generator_and_leaves_what_comes_in() -> None:
    wave_BN = noise(8)
    before = wave_BN.clone()
    one, two = (equalize(wave_BN, drawn(3), rate=RATE, decibels=6.0) for _ in range(2))
    assert torch.equal(one, two) and torch.equal(wave_BN, before)
    assert not torch.equal(one, equalize(wave_BN, drawn(4), rate=RATE, decibels=6.0))
    assert equalize(wave_BN, drawn(), rate=RATE, decibels=0.0) is wave_BN


@pytest.mark.parametrize(("rate", "samples"), [(8000, 8000), (44100, 9000), (16000, 1)])
def test_equalizing_takes_silence_other_rates_and_the_shortest_clip(rate: int, samples: int) -> None:
    assert equalize(torch.zeros(4, samples), drawn(), rate=rate, decibels=8.0).abs().max() == 0
    assert torch.isfinite(equalize(noise(4, samples=samples), drawn(), rate=rate, decibels=8.0)).all()
