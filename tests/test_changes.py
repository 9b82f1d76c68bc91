"""Numbers say what was done to a clip, and make the same sound again."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tones import RATE, make_corpus

from auricle.changes import (
    Change,
    ChangeRanges,
    apply_changes,
    draw_changes,
    generator_of_step,
)
from auricle.noise import Recordings, noise_clips
from auricle.sampling import PatchSampler
from auricle.shards import Pack

ALL = ChangeRanges(noises=("white", "pink", "brown", "recording"), noise_share=0.8, snr=(5.0, 25.0))
SAMPLES = 6000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return Pack(make_corpus(tmp_path_factory.mktemp("changes")))


@pytest.fixture(scope="module")
def backgrounds(corpus: Pack) -> Recordings:
    return Recordings(corpus, noise_clips(corpus), rate=RATE)


def waveforms(batch: int) -> torch.Tensor:
    return 0.1 * torch.randn(batch, SAMPLES, generator=torch.Generator().manual_seed(9))


def test_draws_stay_in_their_ranges_and_reach_them(backgrounds: Recordings) -> None:
    drawn = draw_changes(4000, generator_of_step(0, 0), ALL, samples=SAMPLES, recordings=backgrounds)
    for name, low, high in (("semitones", -3, 3), ("gain", -4, 4)):
        values = np.array([getattr(change, name) for change in drawn])
        assert low <= values.min() < low + 0.02 and high - 0.02 < values.max() <= high
        assert values.mean() == pytest.approx(0, abs=0.1)
    with_noise = [change for change in drawn if change.noise]
    assert len(with_noise) == pytest.approx(3200, abs=100)
    for noise in ALL.noises:
        assert sum(change.noise == noise for change in drawn) == pytest.approx(800, abs=100)
    ratios = [change.snr for change in with_noise]
    assert 5 <= min(ratios) < 5.1 and 24.9 < max(ratios) <= 25
    coloured = [change.seed for change in with_noise if change.noise != "recording"]
    assert len(set(coloured)) > 0.99 * len(coloured)


def test_the_defaults_are_those_of_the_paper() -> None:
    assert (ChangeRanges().semitones, ChangeRanges().gain) == (3.0, 4.0)


def test_a_gain_is_in_decibels_of_amplitude() -> None:
    out = apply_changes(torch.ones(2, 3), [Change(gain=20.0), Change(gain=-40.0)], rate=RATE)
    torch.testing.assert_close(out, torch.tensor([[10.0] * 3, [0.01] * 3]))


def test_a_row_does_not_depend_on_the_rows_after_it(backgrounds: Recordings) -> None:
    for batch in (1, 2, 7, 16, 33):
        drawn = [
            draw_changes(count, generator_of_step(3, 8), ALL, samples=SAMPLES, recordings=backgrounds)
            for count in (batch, batch + 5)
        ]
        assert drawn[0] == drawn[1][:batch]


def test_steps_and_seeds_draw_differently() -> None:
    drawn = {
        draw_changes(1, generator_of_step(seed, step), ChangeRanges(), samples=9)[0]
        for seed in range(5)
        for step in range(5)
    }
    assert len(drawn) == 25


def test_the_same_numbers_are_the_same_sound_bit_for_bit_also_from_a_file(backgrounds: Recordings) -> None:
    drawn = draw_changes(12, generator_of_step(1, 2), ALL, samples=SAMPLES, recordings=backgrounds)
    assert {change.noise for change in drawn} >= {"recording", "pink"}
    heard = apply_changes(waveforms(12), drawn, rate=RATE, recordings=backgrounds)
    written = json.loads(json.dumps([dataclasses.asdict(change) for change in drawn]))
    again = [Change(**fields) for fields in written]
    assert again == drawn
    assert torch.equal(apply_changes(waveforms(12), again, rate=RATE, recordings=backgrounds), heard)
    for row, change in enumerate(again):
        alone = apply_changes(waveforms(12)[row : row + 1], [change], rate=RATE, recordings=backgrounds)
        assert torch.equal(alone[0], heard[row]), change


def test_a_row_of_a_step_is_made_again_from_the_pack_alone(corpus: Pack, backgrounds: Recordings) -> None:
    """What training heard in row 5 of step 17, from nothing but seed, step and row."""
    seed, step, row, batch = 4, 17, 5, 9
    train = corpus.select(["train"])

    def sampler(size: int) -> PatchSampler:
        return PatchSampler(corpus.lengths[train], patch=SAMPLES, batch=size, seed=seed)

    drawn, offsets = sampler(batch).draw(step)
    waveform = torch.from_numpy(corpus.patches(train[drawn], offsets, SAMPLES)).float() / 32768
    changes = draw_changes(batch, generator_of_step(seed, step), ALL, samples=SAMPLES, recordings=backgrounds)
    heard = apply_changes(waveform, changes, rate=RATE, recordings=backgrounds)[row]

    drawn, offsets = sampler(batch).draw(step)
    clip = corpus.patches(train[drawn[row : row + 1]], offsets[row : row + 1], SAMPLES)
    opened = Recordings(Pack(corpus.path), noise_clips(Pack(corpus.path)), rate=RATE)
    change = draw_changes(row + 1, generator_of_step(seed, step), ALL, samples=SAMPLES, recordings=opened)[
        row
    ]
    again = apply_changes(torch.from_numpy(clip).float() / 32768, [change], rate=RATE, recordings=opened)
    assert torch.equal(again[0], heard)
    assert not torch.equal(heard, waveform[row])


def test_nothing_asked_for_is_nothing_done() -> None:
    ranges = ChangeRanges(semitones=0.0, gain=0.0, noise_share=0.0, noises=())
    drawn = draw_changes(3, generator_of_step(0, 0), ranges, samples=SAMPLES)
    assert drawn == [Change()] * 3
    assert torch.equal(apply_changes(waveforms(3), drawn, rate=RATE), waveforms(3))


@pytest.mark.parametrize(
    "field, value, said",
    [
        ("semitones", 13.0, "semitones: expected 0 to 12, got 13.0"),
        ("gain", -1.0, "gain: expected 0 to 60 dB, got -1.0"),
        ("noises", ("blue",), "noises: expected some of white, pink, brown, recording, got"),
        ("noises", (), "noises: expected at least one, or a noise_share of 0"),
        ("noise_share", 1.5, "noise_share: expected 0 to 1, got 1.5"),
        ("snr", (20.0, 10.0), "snr: expected two numbers from -60 to 120 dB, the smaller first, got"),
        ("snr", (float("nan"), 10.0), "snr: expected two numbers"),
    ],
)
def test_ranges_that_make_no_sense_are_named(field: str, value: object, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}".replace("(", r"\(")):
        ChangeRanges(**{field: value})  # type: ignore[arg-type]


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ValueError, match="ranges is None: pitch_semitones and gain_decibels are 0 and noise"):
        draw_changes(1, generator_of_step(0, 0), None, samples=9)
    with pytest.raises(ValueError, match="'recording' needs recordings to draw from"):
        draw_changes(1, generator_of_step(0, 0), ALL, samples=9)
    with pytest.raises(ValueError, match="give the recordings it was drawn from"):
        apply_changes(torch.ones(1, 9), [Change(noise="recording")], rate=RATE)
    with pytest.raises(ValueError, match="unknown noise 'blue'"):
        apply_changes(torch.ones(1, 9), [Change(noise="blue")], rate=RATE)
    with pytest.raises(ValueError, match="a change for each of 2 clips, got 1"):
        apply_changes(torch.ones(2, 9), [Change()], rate=RATE)


def test_the_sounds_of_the_documentation_are_those_of_their_script(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, str(root / "examples" / "draw_augmented.py")]
    subprocess.run([*command, str(tmp_path), str(tmp_path / "x.png")], check=True, capture_output=True)
    made, kept = (sorted(folder.glob("*.ogg")) for folder in (tmp_path, root / "docs" / "sounds"))
    assert [path.name for path in made] == [path.name for path in kept] and len(made) > 4
    for ours, theirs in zip(made, kept, strict=True):
        sounds = [soundfile.read(path)[0] for path in (ours, theirs)]
        assert np.corrcoef(*sounds)[0, 1] > 0.9, ours.name
    assert sum(path.stat().st_size for path in kept) < 500_000
