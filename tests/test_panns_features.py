"""PANNs' front end: equal to librosa's parts and to SciPy's on real recordings; a wrong constant is seen."""

import dataclasses
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from real_clips import clips

from auricle.features import FeatureConfig, log_mel, mel_matrix, num_frames, shortest
from auricle.presets import panns

RATES = (32000, 16000, 8000)
# Kong et al. 2020, section VI: window, hop, upper edge; the release's model names say those of other rates.
PUBLISHED = {32000: (1024, 320, 14000.0), 16000: (512, 160, 8000.0), 8000: (256, 80, 4000.0)}


def slaney_edges(low: float, high: float, count: int) -> np.ndarray:
    """Hz of points that are equally spaced on the scale of Slaney's toolbox: 200/3 Hz a mel below 1 kHz."""

    def mel(hertz: float) -> float:
        return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)

    def hertz(value: float) -> float:
        return value * 200 / 3 if value < 15 else 1000 * 6.4 ** ((value - 15) / 27)

    first, last = mel(low), mel(high)
    return np.array([hertz(first + (last - first) * i / (count - 1)) for i in range(count)])


def by_scipy(samples: np.ndarray, rate: int) -> np.ndarray:
    """The published computation out of SciPy's parts: its STFT, its window, triangles by `np.interp`."""
    size, hop, high = PUBLISHED[rate]
    turned = np.concatenate([samples[size // 2 : 0 : -1], samples, samples[-2 : -size // 2 - 2 : -1]])
    window = scipy.signal.get_window("hann", size, fftbins=True)
    _, _, spectra = scipy.signal.stft(
        turned, window=window, nperseg=size, noverlap=size - hop, boundary=None, padded=False
    )
    spectra *= window.sum()  # it gives spectra of a full-scale sine the height 1/2
    assert spectra.shape[1] == 1 + len(samples) // hop
    edges = slaney_edges(50.0, high, 66)
    hertz = np.arange(size // 2 + 1) * rate / size
    rows = []
    for lower, peak, upper in zip(edges, edges[1:], edges[2:], strict=False):
        triangle = np.interp(hertz, [lower, peak, upper], [0, 1, 0], left=0, right=0)
        rows.append(2 / (upper - lower) * triangle @ np.abs(spectra) ** 2)
    return 10 * np.log10(np.maximum(np.array(rows).T, 1e-10))


def by_librosa(samples: np.ndarray, rate: int) -> np.ndarray:
    librosa = pytest.importorskip("librosa")
    size, hop, high = PUBLISHED[rate]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spectra = librosa.stft(samples, n_fft=size, hop_length=hop, window="hann", pad_mode="reflect")
        bands = librosa.filters.mel(sr=rate, n_fft=size, n_mels=64, fmin=50, fmax=high, dtype=np.float64)
        return librosa.power_to_db(bands @ np.abs(spectra) ** 2, ref=1.0, amin=1e-10, top_db=None).T


def test_the_constants_are_the_published_ones() -> None:
    for rate, (size, hop, high) in PUBLISHED.items():
        config = panns(rate)
        assert (config.window, config.fft, config.hop, config.high) == (size, size, hop, high)
        assert (config.rate, config.bands, config.low, config.mel, config.power) == (
            rate,
            64,
            50.0,
            "slaney",
            2,
        )
        assert config.centred and config.absolute and config.pad == "reflect"
        assert num_frames(10 * rate, config) == 1001 and mel_matrix(config).shape == (size // 2 + 1, 64)
    with pytest.raises(ValueError, match="rate is 44100: expected 32000, 16000 or 8000"):
        panns(44100)


@pytest.mark.parametrize("rate", RATES)
def test_real_recordings_give_what_scipys_and_librosas_parts_give(rate: int, shared_data: Path) -> None:
    for samples in clips(shared_data, rate):
        double = samples.astype(np.float64)
        ours = log_mel(double, panns(rate), np.float64)
        assert ours.shape == (1 + len(samples) // PUBLISHED[rate][1], 64)
        np.testing.assert_allclose(ours, by_scipy(double, rate), atol=1e-4, rtol=0)
        np.testing.assert_allclose(ours, by_librosa(double, rate), atol=1e-4, rtol=0)
        single = log_mel(samples, panns(rate))
        heard = ours > ours.max(axis=1, keepdims=True) - 60  # below is the rounding of the frame's loudest
        assert heard.mean() > 0.5
        np.testing.assert_allclose(single[heard], ours[heard], atol=2e-3, rtol=0)


FAULTS = {
    "zeros beyond the ends": {"pad": "zeros"},
    "a band too low": {"low": 40.0},
    "a range to half the rate": {"high": 16000.0},
    "magnitudes": {"power": 1},
    "HTK's mel": {"mel": "htk"},
    "a window shorter than the transform": {"window": 800},
    "levels relative to the loudest": {"absolute": False, "decibels": 200.0},
    "frames that are not centred": {"centred": False, "pad": "zeros"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_constant_would_be_noticed(fault: str) -> None:
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal(6400) * np.linspace(0.1, 1, 6400)
    published = by_scipy(samples, 32000)
    np.testing.assert_allclose(log_mel(samples, panns(), np.float64), published, atol=1e-8, rtol=0)
    wrong = log_mel(samples, dataclasses.replace(panns(), **FAULTS[fault]), np.float64)  # type: ignore[arg-type]
    count = min(len(wrong), len(published))
    assert np.abs(wrong[:count] - published[:count]).max() > 0.1


def test_silence_is_a_hundred_decibels_down_and_louder_is_higher() -> None:
    assert (log_mel(np.zeros(3200), panns(), np.float64) == -100).all()
    samples = 0.01 * np.random.default_rng(1).standard_normal(6400)
    quiet, loud = (log_mel(gain * samples, panns(), np.float64) for gain in (1, 10))
    np.testing.assert_allclose(loud - quiet, 20, atol=1e-9)


def test_a_reflection_needs_more_samples_than_it_adds() -> None:
    assert shortest(panns()) == 513 and num_frames(512, panns()) == 0 and num_frames(513, panns()) == 2
    assert log_mel(np.ones(512), panns()).shape == (0, 64) and log_mel(np.ones(513), panns()).shape == (2, 64)
    samples = np.random.default_rng(2).standard_normal(700)
    np.testing.assert_allclose(log_mel(samples, panns(), np.float64), by_scipy(samples, 32000), atol=1e-8)


def test_settings_that_do_not_go_together_are_refused_and_others_are_kept_as_before() -> None:
    for settings, message in (
        ({"pad": "edge"}, "pad is 'edge': expected 'zeros' or 'reflect'"),
        ({"pad": "reflect"}, "pad is 'reflect', but frames are not centred"),
        ({"absolute": 1}, "absolute is 1: expected true or false"),
        ({"absolute": True, "decibels": 80}, "decibels is 80.*but absolute asks.*leave one of them out"),
        ({"absolute": True, "log_offset": 0.1}, "log_offset is 0.1, but absolute is true"),
    ):
        with pytest.raises(ValueError, match=message):
            FeatureConfig(**settings)  # type: ignore[arg-type]
    assert not {"pad", "absolute"} & FeatureConfig(centred=True).as_dict().keys()
    assert FeatureConfig(**panns().as_dict()) == panns()


@pytest.mark.parametrize("method", ["fft", "convolution"])
@pytest.mark.parametrize("rate", RATES)
def test_torchs_front_end_equals_numpys(rate: int, method: str) -> None:
    torch = pytest.importorskip("torch")
    from auricle.frontend import LogMel

    rng = np.random.default_rng(3)
    waveform = 0.1 * rng.standard_normal((3, 6417)) * np.linspace(0.01, 1, 6417)
    waveform[2] = 0
    ours = LogMel(panns(rate), method=method)(torch.from_numpy(waveform).float())
    assert ours.shape == (3, 1, num_frames(6417, panns(rate)), 64)
    for row, samples in zip(ours.numpy()[:, 0], waveform, strict=True):
        np.testing.assert_allclose(row, log_mel(samples, panns(rate), np.float64), atol=1e-3, rtol=0)
    alone = LogMel(panns(rate), method=method)(torch.from_numpy(waveform[1:2]).float())
    torch.testing.assert_close(alone[0], ours[1], atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="samples, fewer than"):
        LogMel(panns(rate), method=method)(torch.zeros(1, PUBLISHED[rate][0] // 2))
