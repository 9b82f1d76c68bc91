"""The NumPy log-mel equals the published computation, written out again in the slowest obvious way."""

import json
import math
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from auricle.features import (
    FeatureConfig,
    band_edges,
    hann_window,
    hertz_to_mel,
    log_mel,
    mel_matrix,
    mel_to_hertz,
    num_frames,
    padding,
    shortest,
    used_bins,
)
from auricle.presets import librosa_defaults

HERSHEY = FeatureConfig()
URBAN = librosa_defaults()


def published_mel(hertz: float) -> float:
    return 1127.0 * math.log(1.0 + hertz / 700.0)


def published_log_mel(samples: np.ndarray, config: FeatureConfig) -> list[list[float]]:
    """Hershey's log-mel, frame by frame and bin by bin, from the definitions.

    Periodic Hann window, DFT of the zero-padded window, magnitude, triangles between edges equally spaced in
    mel, no weight for bin 0, log(x + offset); only whole windows.
    """
    low, high = published_mel(config.low), published_mel(config.high)
    edges = [low + (high - low) * i / (config.bands + 1) for i in range(config.bands + 2)]
    frames = []
    start = 0
    while start + config.window <= len(samples):
        padded = np.zeros(config.fft)
        for n in range(config.window):
            padded[n] = samples[start + n] * (0.5 - 0.5 * math.cos(2 * math.pi * n / config.window))
        magnitude = [abs(value) for value in np.fft.fft(padded)[: config.fft // 2 + 1]]
        bands = []
        for band in range(config.bands):
            lower, centre, upper = edges[band : band + 3]
            total = 0.0
            for k in range(1, config.fft // 2 + 1):
                mel = published_mel(k * config.rate / config.fft)
                slope = min((mel - lower) / (centre - lower), (upper - mel) / (upper - centre))
                total += max(0.0, slope) * magnitude[k]
            bands.append(math.log(total + config.log_offset))
        frames.append(bands)
        start += config.hop
    return frames


def voice(count: int, rng: np.random.Generator) -> np.ndarray:
    """Harmonics of a gliding fundamental with a little noise, as speech has it."""
    phase = np.cumsum(np.linspace(0.04, 0.12, count))
    return sum(np.sin(h * phase) / h for h in range(1, 25)) * 0.2 + 1e-3 * rng.standard_normal(count)


def clicks(count: int) -> np.ndarray:
    out = np.zeros(count)
    out[::407] = 1.0
    out[200::391] = -1.0
    return out


def signals(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "noise": 0.3 * rng.standard_normal(count),
        "full-scale noise": rng.uniform(-1, 1, count),
        "faint noise": 1e-4 * rng.standard_normal(count),
        "voice": voice(count, rng),
        "clicks": clicks(count),
        "silence": np.zeros(count),
        "constant": np.full(count, 0.5) + 0.01 * rng.standard_normal(count),
    }


SIGNALS = signals(1733)  # 9 frames and a rest


def test_the_reference_transform_is_the_dft() -> None:
    # The reference leans on np.fft for its DFT: hold that against the defining sum once.
    x = np.random.default_rng(1).standard_normal(64)
    sums = [sum(x[n] * np.exp(-2j * np.pi * k * n / 64) for n in range(64)) for k in range(64)]
    np.testing.assert_allclose(np.fft.fft(x), sums, atol=1e-12)


@pytest.mark.parametrize("name", SIGNALS)
def test_equals_the_published_computation(name: str) -> None:
    reference = np.array(published_log_mel(SIGNALS[name], HERSHEY))
    assert reference.shape == (9, 64)
    double = log_mel(SIGNALS[name], HERSHEY, np.float64)
    single = log_mel(SIGNALS[name].astype(np.float32), HERSHEY)
    assert (double.dtype, single.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(double, reference, atol=1e-6, rtol=0)
    np.testing.assert_allclose(single, reference, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "config",
    [
        FeatureConfig(rate=8000, window=200, hop=80, fft=256, bands=24, low=0.0, high=4000.0),
        FeatureConfig(rate=44100, window=1103, hop=441, fft=2048, bands=128, low=20.0, high=22050.0),
        FeatureConfig(window=400, hop=130, fft=401, bands=10, low=300.0, high=3400.0, log_offset=1e-6),
        FeatureConfig(window=100, hop=300, fft=512, bands=1, low=50.0, high=8000.0),
    ],
    ids=lambda config: f"{config.rate} Hz, {config.bands} bands",
)
def test_other_settings_equal_the_published_computation_too(config: FeatureConfig) -> None:
    samples = 0.3 * np.random.default_rng(2).standard_normal(4 * config.window + 3 * config.hop)
    reference = published_log_mel(samples, config)
    assert len(reference) == num_frames(len(samples), config) > 1
    np.testing.assert_allclose(log_mel(samples, config, np.float64), reference, atol=1e-6, rtol=0)
    np.testing.assert_allclose(log_mel(samples, config), reference, atol=1e-4, rtol=0)


def test_real_recordings_equal_the_published_computation(shared_data: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    paths = sorted((shared_data / "esc50" / "audio").glob("*.ogg"))[::400]
    assert len(paths) >= 4
    for path in paths:
        samples, _ = soundfile.read(path, dtype="float64", always_2d=True)
        samples = samples.mean(axis=1)[8000:11000]  # read as if at 16 kHz: the numbers are what matters
        reference = np.array(published_log_mel(samples, HERSHEY))
        np.testing.assert_allclose(log_mel(samples, HERSHEY, np.float64), reference, atol=1e-6, rtol=0)
        single = log_mel(samples, HERSHEY)
        np.testing.assert_allclose(single, reference, atol=1e-3, rtol=0)
        # A band a hundred thousand times weaker than the frame's strongest is the log of almost nothing.
        magnitude = np.exp(reference) - 0.01
        heard = magnitude > 1e-5 * magnitude.max(axis=1, keepdims=True)
        assert heard.mean() > 0.5
        np.testing.assert_allclose(single[heard], reference[heard], atol=1e-4, rtol=0)


@pytest.mark.parametrize("hertz", [440.0, 1000.0, 3000.1])
def test_a_pure_tone_is_the_limit_of_float32(hertz: float) -> None:
    # Far from a full-scale tone the bands hold only window side lobes, up to a million times weaker than the
    # tone: float32 rounds the tone's sum (magnitude 100) by about 1e-5, next to an offset of 0.01 under the
    # logarithm. In float64 the tone is as exact as anything, and so are bands that hold some signal.
    samples = np.sin(2 * np.pi * hertz / 16000 * np.arange(1733))
    reference = np.array(published_log_mel(samples, HERSHEY))
    np.testing.assert_allclose(log_mel(samples, HERSHEY, np.float64), reference, atol=1e-6, rtol=0)
    single = log_mel(samples.astype(np.float32), HERSHEY)
    np.testing.assert_allclose(single, reference, atol=3e-3, rtol=0)
    loud = reference > -2
    assert 0.05 < loud.mean() < 0.9
    np.testing.assert_allclose(single[loud], reference[loud], atol=1e-4, rtol=0)


def test_frame_counts_are_those_of_whole_windows() -> None:
    # 1 s; 0.96 s; a VGGish patch of 96 frames; one window; one sample less; nothing.
    counts = {16000: 98, 15360: 94, 15600: 96, 400: 1, 399: 0, 559: 1, 560: 2, 1: 0, 0: 0}
    for samples, frames in counts.items():
        assert num_frames(samples, HERSHEY) == frames
        assert log_mel(np.zeros(samples, np.float32), HERSHEY).shape == (frames, 64)


def test_band_edges_are_the_published_ones() -> None:
    edges = band_edges(HERSHEY)
    assert len(edges) == 66
    assert edges[0] == pytest.approx(125.0, abs=1e-9)
    assert edges[-1] == pytest.approx(7500.0, abs=1e-9)
    np.testing.assert_allclose(np.diff(hertz_to_mel(edges)), (2774.9 - 185.2) / 65, rtol=1e-3)
    # 1127 ln(1 + 125/700) = 185.17, 1127 ln(1 + 7500/700) = 2774.0: the first peak is 39.83 mel further up.
    assert edges[1] == pytest.approx(700 * (math.exp((185.1675 + 39.8278) / 1127) - 1), abs=0.01)
    assert mel_to_hertz(hertz_to_mel(1234.5)) == pytest.approx(1234.5, abs=1e-9)


def test_mel_weights_follow_the_formula_and_leave_bin_zero_out() -> None:
    weights = mel_matrix(HERSHEY)
    assert weights.shape == (257, 64) and weights.dtype == np.float64
    assert not weights[0].any()
    assert weights.min() == 0 and 0.9 < weights.max() <= 1
    assert weights.any(axis=0).all()
    # Below 125 Hz (bin 4) and above 7500 Hz (bin 240) nothing is weighed.
    assert used_bins(HERSHEY) == slice(5, 240)
    # Between the first peak and the last, the two triangles over a bin sum to 1.
    hertz, edges = np.arange(257) * 31.25, band_edges(HERSHEY)
    between = (hertz > edges[1]) & (hertz < edges[-2])
    np.testing.assert_allclose(weights.sum(axis=1)[between], 1.0, atol=1e-12)


def test_bin_zero_stays_out_also_where_the_range_starts_at_zero() -> None:
    config = FeatureConfig(low=0.0, high=8000.0, bands=40)
    assert not mel_matrix(config)[0].any()
    loud_constant = log_mel(np.full(400, 1.0), replace(config, window=400, fft=400), np.float64)
    assert loud_constant[0, 5:].max() < math.log(0.011)


def test_the_window_is_periodic() -> None:
    window = hann_window(HERSHEY)
    assert window[0] == 0 and window[200] == 1
    np.testing.assert_allclose(window[1:], window[:0:-1], atol=1e-15)
    np.testing.assert_allclose(window[:200] + window[200:], 1.0, atol=1e-15)  # a symmetric one would not


def test_silence_is_the_logarithm_of_the_offset() -> None:
    np.testing.assert_array_equal(log_mel(np.zeros(800), HERSHEY, np.float64), math.log(0.01))


def test_many_frames_equal_few_and_threads_change_no_bit() -> None:
    samples = np.random.default_rng(3).standard_normal(16000 * 5).astype(np.float32)
    whole = log_mel(samples, HERSHEY)
    for start in (0, 100, 127, 128, 129, 400):  # around the edges of the chunks that it works in
        part = log_mel(samples[start * 160 : start * 160 + 400], HERSHEY)
        np.testing.assert_allclose(part[0], whole[start], atol=2e-6, rtol=0)
    for threads in (2, 3):
        np.testing.assert_allclose(log_mel(samples, HERSHEY, threads=threads), whole, atol=2e-6, rtol=0)
    assert log_mel(samples[:400], HERSHEY, threads=4).shape == (1, 64)


def test_samples_may_be_strided_read_only_or_of_another_float_type() -> None:
    samples = np.random.default_rng(4).standard_normal(4000).astype(np.float32)
    samples.flags.writeable = False
    expected = log_mel(samples[::2].copy(), HERSHEY)
    np.testing.assert_array_equal(log_mel(samples[::2], HERSHEY), expected)
    np.testing.assert_array_equal(log_mel(samples[::2].astype(np.float64), HERSHEY), expected)
    np.testing.assert_array_equal(log_mel(samples[::2].tolist(), HERSHEY), expected)
    assert log_mel([], HERSHEY).shape == (0, 64)


def test_samples_that_are_not_a_mono_float_signal_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 16000\): expected \(N,\)"):
        log_mel(np.zeros((2, 16000)), HERSHEY)
    with pytest.raises(ValueError, match="int16.*divide 16-bit PCM by 32768"):
        log_mel(np.zeros(16000, np.int16), HERSHEY)
    with pytest.raises(ValueError, match="dtype is float16"):
        log_mel(np.zeros(16000), HERSHEY, np.float16)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fft": 256}, "fft is 256, shorter than the window of 400 samples: raise fft to 512"),
        ({"high": 8001.0}, "0 <= low < high <= 8000"),
        ({"low": 7500.0}, "from 7500 to 7500 Hz"),
        ({"low": -1.0}, "from -1 to"),
        ({"high": math.nan}, "to nan Hz"),
        ({"hop": 0}, "hop is 0: expected a whole number of at least 1"),
        ({"bands": -3}, "bands is -3"),
        ({"window": 400.5}, "window is 400.5: expected a whole number"),
        ({"window": 1}, "window is 1 sample"),
        ({"rate": True}, "rate is True"),
        ({"rate": "16000"}, "rate is '16000'"),
        ({"low": "low"}, "low is 'low': expected a number"),
        ({"log_offset": 0.0}, "log_offset is 0: expected a finite number above 0"),
        ({"log_offset": math.inf}, "log_offset is inf"),
        ({"centred": 1}, "centred is 1: expected true or false"),
        ({"mel": "bark"}, "mel is 'bark': expected 'htk' or 'slaney'"),
        ({"power": 3}, r"power is 3: expected 1 \(magnitudes\) or 2"),
        ({"power": 0}, "power is 0: expected a whole number of at least 1"),
        ({"power": 1.5}, "power is 1.5: expected a whole number"),
        ({"decibels": -80}, r"decibels is -80: expected 0 \(a natural logarithm\) or how far below"),
        ({"decibels": math.inf}, "decibels is inf"),
        ({"decibels": 80, "log_offset": 0.1}, "log_offset is 0.1, but decibels is 80.*leave log_offset out"),
        ({"bands": 250, "mel": "slaney"}, r"mel bands hold no FFT bin"),
        ({"bands": 128}, r"mel bands hold no FFT bin \(the first is band \d+\).*raise fft \(now 512\)"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_reason(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureConfig(**settings)


def test_settings_survive_json_and_serve_as_a_key() -> None:
    config = FeatureConfig(rate=np.int64(8000), high=np.float32(3500), low=100)  # type: ignore[arg-type]
    assert FeatureConfig(**json.loads(json.dumps(asdict(config)))) == config
    assert len({config, replace(config), HERSHEY}) == 2


def test_more_bands_work_with_a_longer_transform() -> None:
    assert log_mel(np.zeros(16000), FeatureConfig(bands=128, fft=2048)).shape == (98, 128)


# --- librosa's defaults


def published_decibels(samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """librosa's log-mel from its documentation, frame by frame, with an own DFT and triangles bin by bin."""
    half = config.fft // 2
    padded = np.concatenate([np.zeros(half), samples, np.zeros(half)])

    def hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * math.log(config.high / 1000) / math.log(6.4)
    edges = [hertz(top * i / (config.bands + 1)) for i in range(config.bands + 2)]
    basis = np.exp(-2j * np.pi * np.outer(np.arange(half + 1), np.arange(config.fft)) / config.fft)
    window = np.array([0.5 - 0.5 * math.cos(2 * math.pi * n / config.fft) for n in range(config.fft)])
    rows = []
    for start in range(0, len(samples) + 1, config.hop):
        power = np.abs(basis @ (padded[start : start + config.fft] * window)) ** 2
        bands = []
        for lower, centre, upper in zip(edges, edges[1:], edges[2:], strict=False):
            total = 0.0
            for k in range(half + 1):
                at = k * config.rate / config.fft
                slope = min((at - lower) / (centre - lower), (upper - at) / (upper - centre))
                total += max(0.0, slope) * power[k]
            bands.append(10 * math.log10(max(1e-10, total * 2 / (upper - lower))))
        rows.append(bands)
    levels = np.array(rows)
    return np.maximum(levels - levels.max(), -80.0)


def test_librosas_defaults_equal_their_definition() -> None:
    samples = voice(1500, np.random.default_rng(5)) * np.linspace(0, 1, 1500) ** 4
    ours = log_mel(samples, URBAN, np.float64)
    reference = published_decibels(samples, URBAN)
    assert ours.shape == reference.shape == (3, 128)
    np.testing.assert_allclose(ours, reference, atol=1e-8, rtol=0)
    assert ours.max() == 0 and ours.min() == -80
    np.testing.assert_allclose(log_mel(samples.astype(np.float32), URBAN), reference, atol=1e-3, rtol=0)


@pytest.mark.parametrize("samples", [441_000, 44_100, 2_048, 512, 700, 1])
def test_librosas_defaults_equal_librosa(samples: int) -> None:
    librosa = pytest.importorskip("librosa")
    rng = np.random.default_rng(6)
    signal = 0.1 * rng.standard_normal(samples) * np.linspace(0.01, 1, samples) ** 3
    signal[samples // 2 :] += 0.3 * np.sin(2 * np.pi * 440 / 44100 * np.arange(samples - samples // 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of signals shorter than a window
        for dtype, tolerance in ((np.float64, 1e-6), (np.float32, 1e-3)):
            mel = librosa.feature.melspectrogram(y=signal.astype(dtype), sr=44100)
            theirs = librosa.power_to_db(mel, ref=np.max).T
            ours = log_mel(signal.astype(dtype), URBAN, dtype)
            assert ours.shape == theirs.shape == (num_frames(samples, URBAN), 128)
            np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0)


def test_slaneys_bands_equal_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    for config in (URBAN, librosa_defaults(22_050), replace(URBAN, low=50.0, high=11_000.0, bands=40)):
        theirs = librosa.filters.mel(
            sr=config.rate,
            n_fft=config.fft,
            n_mels=config.bands,
            fmin=config.low,
            fmax=config.high,
            dtype=np.float64,
        )
        np.testing.assert_allclose(mel_matrix(config), theirs.T, atol=1e-15)
    frequencies = np.array([0.0, 440.0, 999.9, 1000.0, 1000.1, 20_000.0])
    np.testing.assert_allclose(hertz_to_mel(frequencies, "slaney"), librosa.hz_to_mel(frequencies), atol=1e-9)


def test_librosas_other_settings_equal_librosa_too() -> None:
    librosa = pytest.importorskip("librosa")
    signal = 0.2 * np.random.default_rng(7).standard_normal(9_000)
    config = FeatureConfig(
        rate=22_050,
        window=800,
        hop=300,
        fft=1024,
        bands=40,
        low=0.0,
        high=11_025.0,
        centred=True,
        mel="slaney",
        decibels=60.0,
    )
    mel = librosa.feature.melspectrogram(
        y=signal, sr=22_050, n_fft=1024, hop_length=300, win_length=800, n_mels=40, power=1.0
    )
    theirs = librosa.amplitude_to_db(mel, ref=np.max, top_db=60.0).T
    np.testing.assert_allclose(log_mel(signal, config, np.float64), theirs, atol=1e-6, rtol=0)
    natural = replace(config, decibels=0.0)
    np.testing.assert_allclose(log_mel(signal, natural, np.float64), np.log(mel.T + 0.01), atol=1e-6, rtol=0)


def test_golden_decibels() -> None:
    """Kept numbers, which need no librosa: `python tests/test_features.py` prints them (0.11 gave them)."""
    ours = log_mel(golden_signal(), URBAN, np.float64)
    assert ours.shape == (8, 128)
    np.testing.assert_allclose(ours[GOLDEN_FRAMES][:, GOLDEN_BANDS], GOLDEN, atol=1e-5, rtol=0)


def golden_signal() -> np.ndarray:
    """A rising tone over a decaying one, by a formula."""
    time = np.arange(4000) / 44100
    rising = np.sin(2 * np.pi * (300 + 40_000 * time) * time)
    return 0.5 * rising * time / time[-1] + 0.1 * np.exp(-60 * time) * np.sin(2 * np.pi * 9000 * time)


GOLDEN_FRAMES, GOLDEN_BANDS = [0, 3, 7], [0, 5, 20, 60, 100, 127]
GOLDEN = [
    [-52.298895, -47.218777, -25.790402, -53.566473, -12.302327, -59.400215],
    [-80.0, -80.0, -80.0, -11.573643, -23.216766, -80.0],
    [-52.5892, -52.380495, -51.767681, -47.922008, -32.012866, -45.69138],
]


def test_decibels_are_of_each_signal_and_silence_is_all_loudest() -> None:
    """As librosa has it: the loudest value is 0 dB, whatever it is, and a louder signal looks the same."""
    signal = 0.1 * np.random.default_rng(8).standard_normal(5000)
    np.testing.assert_allclose(
        log_mel(signal, URBAN, np.float64), log_mel(8 * signal, URBAN, np.float64), atol=1e-9
    )
    np.testing.assert_array_equal(log_mel(np.zeros(5000), URBAN), 0.0)
    for threads in (2, 3):
        np.testing.assert_allclose(
            log_mel(signal, URBAN, threads=threads), log_mel(signal, URBAN), atol=1e-4, rtol=0
        )


def test_centred_frames_are_counted_from_the_first_sample() -> None:
    for samples, frames in {441_000: 862, 512: 2, 511: 1, 1: 1, 0: 0}.items():
        assert num_frames(samples, URBAN) == frames
        assert log_mel(np.zeros(samples), URBAN).shape == (frames, 128)
    assert (shortest(URBAN), shortest(HERSHEY)) == (1, 400)
    for window, fft in ((400, 512), (401, 512), (400, 513), (401, 513)):
        config = FeatureConfig(window=window, fft=fft, centred=True)
        before, after = padding(config)
        assert before + after == window
        # A click at a frame's middle is loudest in that frame, also where window and transform are odd.
        click = np.zeros(1601)
        click[800] = 1.0
        assert log_mel(click, config).sum(1).argmax() == 5


def test_descriptions_of_settings_as_they_were_stay_as_they_were() -> None:
    """Fields that came later are written only where they are not at their defaults: fingerprints stay."""
    old = ["rate", "window", "hop", "fft", "bands", "low", "high", "log_offset"]
    assert list(HERSHEY.as_dict()) == old
    assert HERSHEY.as_dict() == {name: asdict(HERSHEY)[name] for name in old}
    assert FeatureConfig(**HERSHEY.as_dict()) == HERSHEY
    assert set(URBAN.as_dict()) - set(old) == {"centred", "mel", "power", "decibels"}
    assert FeatureConfig(**json.loads(json.dumps(URBAN.as_dict()))) == URBAN
    assert set(replace(HERSHEY, power=np.int64(2), centred=np.True_).as_dict()) - set(old) == {
        "power",
        "centred",
    }


if __name__ == "__main__":
    import librosa

    _mel = librosa.feature.melspectrogram(y=golden_signal(), sr=44100)
    _levels = librosa.power_to_db(_mel, ref=np.max).T
    print(_levels[GOLDEN_FRAMES][:, GOLDEN_BANDS].round(6).tolist())
