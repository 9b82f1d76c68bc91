"""EfficientAT's front end: equal to SciPy's parts on real recordings; a wrong constant is seen."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from real_clips import clips

from auricle.features import FeatureConfig, hann_window, log_mel, mel_matrix, num_frames, shortest
from auricle.presets import efficientat

RATE, WINDOW, FFT, HIGH = 32000, 800, 1024, 15000.0  # fschmid56/EfficientAT, models/preprocess.py


def kaldi_banks(bands: int) -> np.ndarray:
    """(513, bands) triangles by loops, as Kaldi's `MelBanks`: 512 bins, the one at half the rate has none."""

    def mel(hertz: float) -> float:
        return 1127.0 * math.log(1.0 + hertz / 700.0)

    step = (mel(HIGH) - mel(0.0)) / (bands + 1)
    weights = np.zeros((FFT // 2 + 1, bands))
    for band in range(bands):
        left, centre, right = (mel(0.0) + (band + i) * step for i in range(3))
        for place in range(FFT // 2):
            here = mel(place * RATE / FFT)
            if left < here < right:
                up, down = (here - left) / (centre - left), (right - here) / (right - centre)
                weights[place, band] = up if here <= centre else down
    return weights


def by_scipy(samples: np.ndarray, *, hop: int = 320, bands: int = 128) -> np.ndarray:
    """The published computation out of SciPy's parts: its filter, its window, its STFT."""
    emphasised = scipy.signal.lfilter([1.0, -0.97], [1.0], samples)[1:]
    turned = np.pad(emphasised, FFT // 2, mode="reflect")
    window = np.zeros(FFT)
    window[(FFT - WINDOW) // 2 : (FFT + WINDOW) // 2] = scipy.signal.get_window("hann", WINDOW, fftbins=False)
    _, _, spectra = scipy.signal.stft(
        turned, window=window, nperseg=FFT, noverlap=FFT - hop, boundary=None, padded=False
    )
    power = np.abs(spectra * window.sum()) ** 2
    return (np.log(kaldi_banks(bands).T @ power + 1e-5).T + 4.5) / 5


def sounds() -> list[np.ndarray]:
    """Noise, a sweep in noise (beside a tone alone, float32 has too few digits), clicks on silence."""
    rng, time = np.random.default_rng(0), np.arange(RATE) / RATE
    sweep = 0.1 * np.sin(2 * np.pi * (100 + 7000 * time) * time) + 0.1 * rng.standard_normal(RATE)
    clicks = np.zeros(RATE, np.float32)
    clicks[::5000] = 0.9
    return [
        (0.1 * rng.standard_normal(RATE)).astype(np.float32),
        sweep.astype(np.float32),
        clicks,
    ]


def test_the_constants_are_the_published_ones() -> None:
    config = efficientat()
    assert (config.rate, config.window, config.fft, config.hop, config.bands) == (RATE, WINDOW, FFT, 320, 128)
    assert (config.low, config.high, config.log_offset, config.power) == (0.0, HIGH, 1e-5, 2)
    assert (config.preemphasis, config.shift, 1 / config.scale) == (0.97, 4.5, 5.0)
    assert num_frames(320_000, config) == 1000, "ten seconds, as the networks were trained"


def test_values_are_those_of_an_independent_computation() -> None:
    for samples in sounds():
        expected = by_scipy(samples.astype(np.float64))
        np.testing.assert_allclose(log_mel(samples, efficientat(), np.float64), expected, atol=1e-9)
        np.testing.assert_allclose(log_mel(samples, efficientat()), expected, atol=1e-4)


def test_values_of_real_recordings_are_those_of_an_independent_computation(shared_data: Path) -> None:
    for samples in clips(shared_data, RATE):
        expected = by_scipy(samples.astype(np.float64))
        assert np.ptp(expected) > 1
        np.testing.assert_allclose(log_mel(samples, efficientat()), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("hop", "bands"), [(160, 128), (480, 128), (800, 128), (320, 40), (320, 64), (320, 256)]
)
def test_other_hops_and_numbers_of_bands_are_computed_alike(hop: int, bands: int) -> None:
    for samples in sounds()[:2]:
        found = log_mel(samples, efficientat(hop=hop, bands=bands), np.float64)
        np.testing.assert_allclose(
            found, by_scipy(samples.astype(np.float64), hop=hop, bands=bands), atol=1e-9
        )


def test_bands_are_those_of_kaldi() -> None:
    for bands in (40, 64, 128, 256):
        np.testing.assert_allclose(mel_matrix(efficientat(bands=bands)), kaldi_banks(bands), atol=1e-12)
    empty = ~mel_matrix(efficientat(bands=256)).any(axis=0)
    assert empty.sum() > 10 and not (~mel_matrix(efficientat()).any(axis=0)).any()
    constant = log_mel(sounds()[0], efficientat(bands=256))[:, empty]
    np.testing.assert_allclose(constant, (math.log(1e-5) + 4.5) / 5, atol=1e-6)


@pytest.mark.parametrize(
    "fault",
    [
        {"preemphasis": 0.95},
        {"preemphasis": 0.0},
        {"hann": "periodic"},
        {"pad": "zeros"},
        {"high": 16000.0},
        {"mel": "slaney"},
        {"power": 1},
        {"log_offset": 1e-6},
        {"shift": 4.0},
        {"scale": 0.25},
        {"low": 20.0},
    ],
    ids=str,
)
def test_a_wrong_constant_is_far_from_the_published_values(fault: dict[str, object]) -> None:
    wrong = dataclasses.replace(efficientat(), **fault)
    furthest = 0.0
    for samples in sounds():
        expected = by_scipy(samples.astype(np.float64))
        found = log_mel(samples, wrong, np.float64)[: len(expected)]
        furthest = max(furthest, float(np.abs(found - expected[: len(found)]).max()))
    assert furthest > 5e-4


def test_torch_computes_the_same_by_both_methods() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from auricle.frontend import LogMel

    torch.set_num_threads(1)
    odd = FeatureConfig(rate=8000, window=201, fft=256, hop=77, bands=20, high=4000, hann="symmetric")
    odd = dataclasses.replace(odd, preemphasis=0.9, shift=1.0, scale=0.5)
    for config in (efficientat(), efficientat(hop=800, bands=256), odd):
        samples = np.stack(sounds())
        expected = np.stack([log_mel(one, config) for one in samples])
        for method in ("fft", "convolution"):
            found = LogMel(config, method=method)(torch.from_numpy(samples))[:, 0].numpy()
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_signals_of_any_length_give_the_frames_that_are_promised() -> None:
    config = efficientat()
    least = shortest(config)
    assert least == 402, "half a window is reflected, and pre-emphasis takes a sample"
    for count in (0, 1, least - 1, least, least + 1, 640, 641, 642, 1000):
        frames = log_mel(np.zeros(count, np.float32), config)
        assert frames.shape == (num_frames(count, config), 128)
        assert (len(frames) > 0) == (count >= least)
    np.testing.assert_allclose(
        log_mel(np.zeros(2000, np.float32), config), (math.log(1e-5) + 4.5) / 5, rtol=1e-6
    )


def test_windows_are_those_of_scipy() -> None:
    for size in (4, 5, 800, 801):
        for kind in ("periodic", "symmetric"):
            config = FeatureConfig(rate=32000, window=size, fft=1024, high=16000, hann=kind)
            expected = scipy.signal.get_window("hann", size, fftbins=kind == "periodic")
            np.testing.assert_allclose(hann_window(config), expected, atol=1e-12)


def test_settings_at_their_defaults_stand_in_no_description() -> None:
    assert not {"hann", "preemphasis", "constant_bands", "shift", "scale"} & set(FeatureConfig().as_dict())
    said = efficientat().as_dict()
    assert FeatureConfig(**said) == efficientat() and "constant_bands" not in said
    assert efficientat(bands=256).as_dict()["constant_bands"] is True


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"hann": "flat"}, "hann is 'flat': expected 'periodic' or 'symmetric'"),
        ({"preemphasis": 1.5}, "preemphasis is 1.5: expected a share"),
        ({"preemphasis": "much"}, "preemphasis is 'much': expected a number"),
        ({"shift": float("nan")}, "shift is nan: expected a finite number"),
        ({"scale": 0}, "scale is 0: expected a finite number above 0"),
        ({"constant_bands": 1}, "constant_bands is 1: expected true or false"),
        ({"rate": 32000, "bands": 256, "high": 15000.0, "low": 0.0}, "mel bands hold no FFT bin"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureConfig(**setting)
