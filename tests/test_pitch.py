"""A shifted sound has another pitch and nothing else: length, level, attacks and edges stay."""

import math

import numpy as np
import pytest
import torch

import auricle.pitch as module
from auricle.audio import read
from auricle.pitch import _peaks, _rotation, _shifted, pitch_shift

RATE = 44100
SHIFTS = (-3.0, -1.27, 0.5, 3.0)


def tones(frequencies: list[float], seconds: float = 1.0, rate: int = RATE) -> torch.Tensor:
    """(1, N) tones that begin at any phase, together."""
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return sum(0.3 * torch.sin(2 * math.pi * f * time + f) for f in frequencies).float()[None]  # type: ignore[union-attr]


def noise(batch: int, samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def peak_hertz(sound: torch.Tensor, rate: int = RATE) -> float:
    """Where the spectrum is greatest, by a parabola through its logarithm."""
    inner = sound[len(sound) // 8 : -len(sound) // 8]
    size = 8 * len(inner)
    power = torch.fft.rfft(inner.double() * torch.hann_window(len(inner)), n=size).abs().log()
    at = int(power.argmax())
    left, middle, right = power[at - 1 : at + 2].tolist()
    return (at + 0.5 * (left - right) / (left - 2 * middle + right)) * rate / size


def decibels(after: torch.Tensor, before: torch.Tensor) -> float:
    return float(10 * torch.log10(after.double().square().mean() / before.double().square().mean()))


@pytest.mark.parametrize("semitones", SHIFTS)
@pytest.mark.parametrize("hertz, rate", [(110.0, 44100), (440.0, 44100), (5000.0, 44100), (700.0, 16000)])
def test_a_tone_moves_by_its_semitones_and_keeps_its_level(semitones: float, hertz: float, rate: int) -> None:
    tone = tones([hertz], rate=rate)
    out = pitch_shift(tone, [semitones], rate=rate)
    cents = 1200 * math.log2(peak_hertz(out[0], rate) / (hertz * 2 ** (semitones / 12)))
    assert abs(cents) < 0.05
    assert out.shape == tone.shape and out.dtype == torch.float32
    assert abs(decibels(out, tone)) < 0.1


@pytest.mark.parametrize("semitones", SHIFTS)
def test_noise_and_chords_keep_their_level(semitones: float) -> None:
    sounds = torch.cat([noise(1, RATE), tones([200.0, 310.0, 1234.0]), tones([80.0, 160.0, 240.0, 320.0])])
    band = torch.fft.rfft(sounds)
    band[:, 15000:] = 0  # a bin is 1 Hz: what moves up stays below half the rate
    sounds = torch.fft.irfft(band, n=RATE)
    for before, after in zip(sounds, pitch_shift(sounds, [semitones] * 3, rate=RATE), strict=True):
        assert abs(decibels(after, before)) < 0.2


@pytest.mark.parametrize("semitones", SHIFTS)
def test_an_attack_stays_where_it_is_and_short(semitones: float) -> None:
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        at, length = int(torch.randint(8000, 30000, (1,), generator=generator)), 88  # 2 ms
        click = torch.zeros(1, RATE)
        click[0, at : at + length] = torch.hann_window(length) * torch.randn(length, generator=generator)
        share = pitch_shift(click, [semitones], rate=RATE)[0].double().square().cumsum(0)
        early, late = ((share < part * share[-1]).sum().item() - at for part in (0.05, 0.95))
        assert -0.002 * RATE < early and late < 0.005 * RATE, (early, late)


@pytest.mark.parametrize("semitones", SHIFTS)
def test_no_clicks_at_the_edges(semitones: float) -> None:
    tone = tones([440.0, 997.0])
    out = pitch_shift(tone, [semitones], rate=RATE)[0]
    steps, most = out.diff().abs(), 2048
    inner = steps[most:-most].max()
    assert steps[:most].max() < 1.35 * inner and steps[-most:].max() < 1.35 * inner
    for edge in (out[:most], out[-most:]):
        assert abs(decibels(edge, out)) < 1.5


def test_no_semitones_are_the_identity() -> None:
    sounds = noise(3, 30000)
    out = pitch_shift(sounds, [0.0, -0.0, 1.0], rate=RATE)
    assert torch.equal(out[:2], sounds[:2]) and not torch.equal(out[2], sounds[2])
    assert out.data_ptr() != sounds.data_ptr(), "a copy: nothing done to it changes the clip"


def test_the_vocoder_itself_gives_back_what_it_gets_at_a_ratio_of_one() -> None:
    sounds = noise(2, 30000)
    out = _shifted(sounds, torch.ones(2, dtype=torch.float64), 2048)
    assert (out - sounds).abs().max() < 1e-6  # -100 dB of a clip at -20


def test_up_and_down_again_is_nearly_the_sound_in_every_band() -> None:
    sound = torch.from_numpy(read("examples/scene.ogg", RATE, start=2, end=6))[None]
    back = pitch_shift(pitch_shift(sound, [2.0], rate=RATE), [-2.0], rate=RATE)
    power = [
        torch.stft(x, 2048, window=torch.hann_window(2048), return_complex=True).abs().square()
        for x in (sound, back)
    ]
    bands = [part[0, 4:700].reshape(24, 29, -1).sum(1).mean(1).log10() * 10 for part in power]
    assert (bands[0] - bands[1]).abs().mean() < 1.0


def test_each_clip_has_its_own_ratio_and_comes_out_the_same_alone_and_in_a_batch() -> None:
    sounds, semitones = noise(5, 20000), [-3.0, 3.0, 0.25, 0.0, -1.1]
    together = pitch_shift(sounds, semitones, rate=16000)
    for row in range(5):
        alone = pitch_shift(sounds[row : row + 1], semitones[row : row + 1], rate=16000)[0]
        assert torch.equal(together[row], alone)


def test_how_many_clips_go_at_once_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    sounds, semitones = noise(4, 9000), torch.tensor([-3.0, 3.0, 1.0, 2.0])
    at_once = pitch_shift(sounds, semitones, rate=16000)
    monkeypatch.setitem(module.SAMPLES_AT_ONCE, "cpu", 1)
    assert torch.equal(pitch_shift(sounds, semitones, rate=16000), at_once)


@pytest.mark.parametrize("samples", [1, 2, 31, 700, 2047])
def test_clips_of_any_length(samples: int) -> None:
    out = pitch_shift(noise(2, samples), [3.0, -12.0], rate=RATE)
    assert out.shape == (2, samples) and out.isfinite().all()


def test_silence_stays_silent_and_a_batch_of_none_is_none() -> None:
    assert not pitch_shift(torch.zeros(2, 5000), [2.0, -2.0], rate=RATE).any()
    assert pitch_shift(torch.zeros(0, 50), [], rate=RATE).shape == (0, 50)


@pytest.mark.parametrize("semitones", [[float("nan")], [12.5], [float("inf")]])
def test_a_shift_that_is_none_is_refused(semitones: list[float]) -> None:
    with pytest.raises(ValueError, match="expected from -12 to 12 semitones, got"):
        pitch_shift(torch.zeros(1, 100), semitones, rate=RATE)


@pytest.mark.parametrize("shape, count", [((2, 100), 1), ((100,), 1), ((1, 0), 1)])
def test_other_shapes_are_refused(shape: tuple[int, ...], count: int) -> None:
    with pytest.raises(ValueError, match=r"expected clips \(B, N\) .* got"):
        pitch_shift(torch.zeros(shape), [1.0] * count, rate=RATE)


def test_half_precision_around_it_changes_nothing() -> None:
    sounds = noise(1, 9000)
    with torch.autocast("cpu", torch.bfloat16):
        inside = pitch_shift(sounds, [2.0], rate=16000)
    assert torch.equal(inside, pitch_shift(sounds, [2.0], rate=16000))


# --- against slow and obvious versions


def test_turns_are_those_of_a_loop_over_frames_and_bins() -> None:
    """Identity phase locking as published: each peak goes on in phase, its bins turn with it."""
    batch, frames, bins, hop = 2, 9, 33, 16
    size = 2 * (bins - 1)
    generator = torch.Generator().manual_seed(1)
    spectrum = torch.randn(batch, frames, bins, dtype=torch.complex64, generator=generator)
    starts = torch.stack([torch.arange(frames) * 13, (torch.arange(frames) * 18.4).round().long()])
    got = _rotation(spectrum, starts, hop)
    values = spectrum.numpy().astype(np.complex128)
    for clip in range(batch):
        turned = np.angle(values[clip, 0])  # phases of what comes out
        for k in range(1, frames):
            frame, before = values[clip, k], values[clip, k - 1]
            magnitude = np.abs(frame)
            peaks = [b for b in range(bins) if magnitude[b] == magnitude[max(0, b - 2) : b + 3].max()]
            step = int(starts[clip, k] - starts[clip, k - 1])
            new = np.empty(bins)
            for b in range(bins):
                peak = min(peaks, key=lambda p: (abs(p - b), p))
                centre = 2 * np.pi * peak / size
                moved = np.angle(frame[peak]) - np.angle(before[peak]) - centre * step
                moved -= 2 * np.pi * np.round(moved / (2 * np.pi))
                there = turned[peak] + (centre + moved / step) * hop
                new[b] = there - np.angle(frame[peak]) + np.angle(frame[b])
            turned = new
            expected = np.exp(1j * (turned - np.angle(frame)))
            assert np.abs(got[clip, k].numpy() - expected).max() < 1e-4, (clip, k)


def test_every_bin_belongs_to_the_nearest_peak_of_its_frame() -> None:
    spectrum = torch.randn(2, 3, 40, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    peaks, owner = _peaks(spectrum)
    for place, number in enumerate(owner.tolist()):
        row = [p for p in peaks.tolist() if p // 40 == place // 40]
        assert abs(int(peaks[number]) - place) == min(abs(p - place) for p in row)


@pytest.mark.parametrize("semitones", [-2.6, 1.7])
def test_librosa_moves_sounds_to_the_same_place(semitones: float) -> None:
    librosa = pytest.importorskip("librosa")
    tone = tones([441.0])
    theirs = librosa.effects.pitch_shift(tone[0].numpy(), sr=RATE, n_steps=semitones)
    ours = pitch_shift(tone, [semitones], rate=RATE)[0]
    assert abs(1200 * math.log2(peak_hertz(ours) / peak_hertz(torch.from_numpy(theirs)))) < 0.1
    # Real mixtures: the same spectrum, band by band, but for the level that librosa loses.
    scene = read("examples/scene.ogg", RATE, start=6, end=10)
    pair = (
        pitch_shift(torch.from_numpy(scene)[None], [semitones], rate=RATE)[0].numpy(),
        librosa.effects.pitch_shift(scene, sr=RATE, n_steps=semitones),
        scene,
    )
    ours_db, theirs_db, before_db = (
        10 * np.log10(librosa.feature.melspectrogram(y=x, sr=RATE, n_mels=48, fmax=16000).mean(1))
        for x in pair
    )
    between = np.abs((ours_db - theirs_db) - np.median(ours_db - theirs_db)).mean()
    from_before = np.abs((ours_db - before_db) - np.median(ours_db - before_db)).mean()
    assert between < 1.5, between
    assert from_before > between, "the comparison tells a shift from none"


@pytest.mark.gpu
def test_a_gpu_gives_the_sound_of_a_cpu() -> None:
    sounds, semitones = noise(4, RATE), [-3.0, 3.0, 0.3, 0.0]
    there = pitch_shift(sounds.cuda(), semitones, rate=RATE)
    assert torch.equal(there, pitch_shift(sounds.cuda(), semitones, rate=RATE))
    # Bits differ, and a peak that is hardly one may be one here only: the sounds agree, not the samples.
    error = (there.cpu() - pitch_shift(sounds, semitones, rate=RATE)).square().mean()
    assert error < 0.01 * sounds.square().mean()
