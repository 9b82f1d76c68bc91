"""Backgrounds have the slope, the ratio and the source that is asked for."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from auricle.engine import pack
from auricle.noise import (
    COLOURS,
    Recordings,
    active_level,
    add_noise,
    coloured_noise,
    noise_clips,
    stretch,
)
from auricle.shards import Pack

RATE = 16000


def level(sound: torch.Tensor) -> float:
    return float(20 * torch.log10(sound.double().square().mean().sqrt()))


# --- colours


@pytest.mark.parametrize("colour, slope", [("white", 0.0), ("pink", -3.01), ("brown", -6.02)])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_colours_fall_by_their_decibels_an_octave(colour: str, slope: float, rate: int) -> None:
    sounds = coloured_noise([colour] * 8, list(range(8)), 4 * rate, rate=rate)
    power = torch.fft.rfft(sounds).abs().square().mean(0)
    hertz = torch.arange(len(power)) / 4
    octaves = [30 * 2**k for k in range(8)]
    means = [float(10 * power[(hertz >= f) & (hertz < 2 * f)].mean().log10()) for f in octaves]
    assert np.diff(means) == pytest.approx(slope, abs=0.4)
    assert (means[-1] - means[0]) / 7 == pytest.approx(slope, abs=0.1)


def test_noise_has_a_level_of_one_no_offset_and_many_values() -> None:
    sounds = coloured_noise(list(COLOURS), [1, 2, 3], 50001, rate=RATE)
    assert sounds.shape == (3, 50001) and sounds.dtype == torch.float32
    assert sounds.square().mean(1).sqrt().numpy() == pytest.approx(1.0, abs=1e-5)
    assert sounds.mean(1).abs().max() < 0.2
    white = sounds[0].double()
    assert (white**4).mean() == pytest.approx(3.0, abs=0.15), "as often far out as a normal distribution"


def test_the_same_seed_is_the_same_noise_alone_and_in_a_batch() -> None:
    colours, seeds = ["pink", "white", "brown", "pink"], [5, 6, 7, 8]
    together = coloured_noise(colours, seeds, 9000, rate=RATE)
    for row, (colour, seed) in enumerate(zip(colours, seeds, strict=True)):
        assert torch.equal(coloured_noise([colour], [seed], 9000, rate=RATE)[0], together[row])
    assert not torch.equal(together[0], together[3])
    correlation = (together[0] * together[3]).mean()
    assert abs(float(correlation)) < 0.2


def test_a_length_of_a_large_prime_is_made_too() -> None:
    assert coloured_noise(["pink"], [0], 100003, rate=RATE).shape == (1, 100003)
    assert coloured_noise(["brown"], [0], 1, rate=RATE).isfinite().all()
    assert coloured_noise([], [], 10, rate=RATE).shape == (0, 10)


def test_an_unknown_colour_is_refused_with_the_known() -> None:
    with pytest.raises(ValueError, match="^unknown noise 'blue'; known: white, pink, brown$"):
        coloured_noise(["blue"], [0], 10, rate=RATE)
    with pytest.raises(ValueError, match="at least one sample"):
        coloured_noise(["white"], [0], 0, rate=RATE)


# --- levels and ratios


def active_by_hand(sound: np.ndarray, rate: int) -> float:
    """RMS over frames of 10 ms within 35 dB of the loudest and above -60 dB, one after the other."""
    hop = rate // 100
    powers = [
        float(np.mean(np.square(sound[i : i + hop], dtype=np.float64)))
        for i in range(0, len(sound) - hop + 1, hop)
    ]
    counted = [
        p for p in powers if p > 0 and 10 * math.log10(p / max(powers)) >= -35 and 10 * math.log10(p) >= -60
    ]
    return math.sqrt(sum(counted) / len(counted)) if counted else 0.0


def test_levels_are_those_of_active_frames() -> None:
    generator = np.random.default_rng(0)
    sounds = generator.normal(size=(6, 3 * RATE + 77)).astype(np.float32)
    sounds *= np.repeat(10 ** generator.uniform(-4, 0, size=(6, 31)), 1600, axis=1)[
        :, : sounds.shape[1]
    ].astype(np.float32)
    sounds[3, 20000:] = 0
    sounds[4] = 0
    sounds[5] *= 1e-4
    got = active_level(torch.from_numpy(sounds), rate=RATE).numpy()
    assert got == pytest.approx([active_by_hand(sound, RATE) for sound in sounds], rel=1e-5)
    assert got[4] == 0


def test_a_clip_shorter_than_a_frame_has_a_level() -> None:
    assert active_level(torch.full((1, 40), 0.25), rate=RATE).tolist() == [0.25]


@pytest.mark.parametrize("snr", [-10.0, 0.0, 17.5, 40.0])
def test_the_ratio_is_the_one_asked_for(snr: float) -> None:
    clips = 0.2 * torch.randn(3, 2 * RATE, generator=torch.Generator().manual_seed(3))
    noise = coloured_noise(list(COLOURS), [1, 2, 3], 2 * RATE, rate=RATE)
    added = add_noise(clips, noise, [snr] * 3, rate=RATE) - clips
    for clip, background in zip(clips, added, strict=True):
        assert level(clip) - level(background) == pytest.approx(snr, abs=0.4)  # brown rises and falls slowly


def test_silence_around_a_sound_does_not_change_the_ratio() -> None:
    bark = 0.2 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(3))
    padded = torch.cat([bark, torch.zeros(1, 4 * RATE)], dim=1)
    noise = coloured_noise(["white"], [1], 5 * RATE, rate=RATE)
    alone = add_noise(bark, noise[:, :RATE], [20.0], rate=RATE) - bark
    among = add_noise(padded, noise, [20.0], rate=RATE) - padded
    assert level(alone) == pytest.approx(level(among), abs=0.2)


def test_silence_gets_noise_as_if_it_were_at_minus_60_decibels() -> None:
    silent = torch.stack([torch.zeros(RATE), torch.full((RATE,), 1e-7)])
    noise = coloured_noise(["white", "white"], [1, 2], RATE, rate=RATE)
    out = add_noise(silent, noise, [20.0, 20.0], rate=RATE)
    assert [level(row) for row in out] == pytest.approx([-80, -80], abs=0.2)


def test_a_background_without_sound_adds_nothing_and_infinity_adds_none() -> None:
    clip = 0.1 * torch.randn(1, RATE)
    assert torch.equal(add_noise(clip, torch.zeros(1, RATE), [0.0], rate=RATE), clip)
    assert torch.equal(add_noise(clip, torch.full((1, RATE), 1e-5), [0.0], rate=RATE), clip)
    assert torch.equal(add_noise(clip, torch.ones(1, RATE), [math.inf], rate=RATE), clip)


def test_nothing_is_clipped() -> None:
    loud = torch.full((1, RATE), 0.99)
    out = add_noise(loud, coloured_noise(["white"], [0], RATE, rate=RATE), [0.0], rate=RATE)
    assert out.max() > 2


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(1, 10\), \(1, 9\) and \(1,\)"):
        add_noise(torch.zeros(1, 10), torch.zeros(1, 9), [0.0], rate=RATE)
    for wrong in (math.nan, -math.inf):
        with pytest.raises(ValueError, match="expected ratios in dB"):
            add_noise(torch.zeros(1, 10), torch.zeros(1, 10), [wrong], rate=RATE)


# --- recordings


def test_a_sound_that_is_too_short_is_repeated_at_one_level_without_steps() -> None:
    sound = np.random.default_rng(0).normal(size=8000).astype(np.float32)
    out = stretch(sound, 100, 40000, fade=800)
    frames = np.sqrt(np.square(out.reshape(-1, 400)).mean(1))
    assert out.shape == (40000,) and 0.8 < frames.min() and frames.max() < 1.2
    assert out[: 7200 - 100] == pytest.approx(stretch(sound, 0, 40000, fade=800)[100:7200])
    assert out[:30000] == pytest.approx(out[7200:37200]), "it comes again"
    slow = np.sin(np.arange(8000) * 0.003).astype(np.float32)
    assert np.abs(np.diff(stretch(slow, 0, 40000, fade=800))).max() < 0.01


def test_a_sound_that_is_long_enough_is_taken_as_it_is() -> None:
    sound = np.arange(100, dtype=np.int16)
    assert stretch(sound, 40, 60, fade=5).tolist() == list(range(40, 100))
    with pytest.raises(ValueError, match="a place from 0 to 99 was expected, got 100"):
        stretch(sound, 100, 1, fade=5)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Nine clips of six recordings: four of r0, r3 audible for 0.1 s, r4 in the test split, r5 short."""
    folder = tmp_path_factory.mktemp("street")
    random = np.random.default_rng(5)
    rows = []
    for number, group in enumerate(["r0", "r0", "r0", "r0", "r1", "r2", "r3", "r4", "r5"]):
        sound = random.normal(0, 0.05, RATE * (3 if number < 7 else 1)) + 0.01 * number
        if group == "r3":
            sound[: RATE // 10] = 0.5
            sound[RATE // 10 :] = 0  # audible for 100 ms
        soundfile.write(folder / f"{number}.wav", sound, RATE)
        rows.append([f"{number}.wav", "street", "test" if group == "r4" else "train", group])
    with (folder / "meta.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "labels", "split", "group"], *rows])
    pack(folder / "meta.csv", folder / "pack", rate=RATE, jobs=1, quiet=True)
    return Pack(folder / "pack")


def test_noise_never_comes_from_what_models_are_judged_by(street: Pack) -> None:
    assert sorted(set(street.recordings[noise_clips(street)])) == ["r0", "r1", "r2", "r3", "r5"]
    assert "test" not in street.splits[noise_clips(street)]
    with pytest.raises(ValueError, match="noise may not come from split 'test': models are judged by it$"):
        noise_clips(street, ["train", "test"])
    with pytest.raises(ValueError, match="no split 'fold1'"):
        noise_clips(street, ["fold1"])
    left = noise_clips(street, apart_from=["r0", "r5"])
    assert sorted(set(street.recordings[left])) == ["r1", "r2", "r3"]
    with pytest.raises(ValueError, match="no clip is left for noise; there are splits 'test', 'train'"):
        noise_clips(street, apart_from=[f"r{n}" for n in range(6)])


def test_splits_whose_names_say_nothing_must_be_named(street: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    names, codes = np.array(["fold0", "fold1"], dtype=object), np.arange(9) % 2
    monkeypatch.setattr(street, "_split_codes", lambda: (names, codes))
    monkeypatch.setattr(street, "splits", names[codes])
    with pytest.raises(ValueError, match="name the splits that noise may come from.*'fold0', 'fold1'"):
        noise_clips(street)
    assert noise_clips(street, ["fold0"]).tolist() == [0, 2, 4, 6, 8]


def test_recordings_are_drawn_equally_often_at_any_place(street: Pack) -> None:
    backgrounds = Recordings(street, noise_clips(street), rate=RATE)
    assert len(backgrounds) == 7, "the clip that is hardly audible is left out"
    clips, places = backgrounds.draw(np.random.default_rng(0).random((8000, 3)), RATE * 2)
    names, counts = np.unique(street.recordings[clips], return_counts=True)
    assert names.tolist() == ["r0", "r1", "r2", "r5"]
    assert counts == pytest.approx(2000, abs=160), "by recording, not by clip"
    long = places[street.audible[clips] > 2 * RATE]
    assert 0 <= long.min() < 100 and RATE - 100 < long.max() <= RATE
    short = places[street.recordings[clips] == "r5"]
    assert short.min() >= 0 and 0.93 * RATE < short.max() < 0.95 * RATE
    out = backgrounds.stretches(clips[:50].tolist(), places[:50].tolist(), RATE * 2)
    assert out.shape == (50, RATE * 2) and np.abs(out).max() < 1
    row = int(np.flatnonzero(street.audible[clips[:50]] > 2 * RATE)[0])
    exact = street.patch(clips[row], int(places[row]), RATE * 2) / np.float32(32768)
    assert np.array_equal(out[row], exact)


def test_recordings_of_another_rate_or_without_sound_are_refused(street: Pack) -> None:
    with pytest.raises(
        ValueError, match="its rate is 16000 Hz, and noise is wanted at 44100 Hz; pack it again"
    ):
        Recordings(street, noise_clips(street), rate=44100)
    quiet = np.flatnonzero(street.recordings == "r3")
    with pytest.raises(ValueError, match="none of 1 clips is audible for 0.5 s$"):
        Recordings(street, quiet, rate=RATE)


def test_real_recordings_are_backgrounds(shared_data: Path, tmp_path: Path) -> None:
    with (shared_data / "esc50" / "meta.csv").open() as file:
        some = [row for row in csv.DictReader(file) if row["category"] in ("rain", "wind")][:6]
    paths = [next((shared_data / "esc50").rglob(Path(row["path"]).name)) for row in some]
    with (tmp_path / "meta.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "labels"], *[[str(path), "rain"] for path in paths]])
    pack(tmp_path / "meta.csv", tmp_path / "pack", rate=RATE, jobs=1, quiet=True)
    wind = Pack(tmp_path / "pack")
    backgrounds = Recordings(wind, noise_clips(wind), rate=RATE)
    clips, places = backgrounds.draw(np.random.default_rng(1).random((4, 3)), 10 * RATE)
    noise = torch.from_numpy(backgrounds.stretches(clips.tolist(), places.tolist(), 10 * RATE))
    tone = torch.sin(torch.arange(10 * RATE) * 0.3).repeat(4, 1)
    added = add_noise(tone, noise, [15.0] * 4, rate=RATE) - tone
    ratios = (
        active_level(tone, rate=RATE).log10() * 20 - active_level(added * 10, rate=RATE).log10() * 20 + 20
    )
    assert ratios.numpy() == pytest.approx(15.0, abs=0.5)
