"""`auricle augment` writes what training would hear, and says how to make it again."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from auricle.audio import read
from auricle.changes import Change, apply_changes
from auricle.cli import main

RATE = 22050


@pytest.fixture
def dog(tmp_path: Path) -> Path:
    sound = 0.2 * np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    soundfile.write(tmp_path / "dog.flac", sound, RATE)
    return tmp_path / "dog.flac"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["augment", *map(str, arguments)])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_what_is_written_is_what_training_hears(dog: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = dog.with_name("x.wav")
    options = "--pitch -1.5 --gain 3 --noise brown --snr 12 --seed 5".split()
    status, printed, err = run(capsys, dog, "--out", out, *options)
    assert (status, err) == (0, "") or "full scale" in err
    assert printed.startswith(f"{out}: 1.000 s at {RATE} Hz, peak 1.") or "peak 0." in printed
    heard = apply_changes(
        torch.from_numpy(read(dog, RATE))[None],
        [Change(semitones=-1.5, gain=3.0, noise="brown", snr=12.0, seed=5)],
        rate=RATE,
    )
    written, rate = soundfile.read(out, dtype="float32")
    assert rate == RATE and np.array_equal(written, heard[0].numpy())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "more", ["", "--noise wind.wav", "--noise pink --start 0.25 --end 0.75", "--rate 16000"]
)
def test_the_command_that_is_printed_makes_the_same_again(
    seed: int, more: str, dog: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dog.parent)
    soundfile.write("wind.wav", 0.1 * np.random.default_rng(1).normal(size=RATE // 3), RATE)
    status, printed, _ = run(capsys, dog, "--out", "x.wav", "--random", "--seed", seed, *more.split())
    assert status == 0
    command = printed.splitlines()[-1].partition("the same again: auricle augment ")[2]
    assert "--random" not in command
    shutil.move("x.wav", "first.wav")
    run(capsys, *shlex.split(command))
    assert Path("x.wav").read_bytes() == Path("first.wav").read_bytes()
    assert not np.array_equal(soundfile.read("x.wav")[0][:9], soundfile.read("dog.flac")[0][:9])


def test_seeds_draw_differently(dog: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sounds = set()
    for seed in range(3):
        run(capsys, dog, "--out", dog.with_name("x.wav"), "--random", "--seed", seed)
        sounds.add(dog.with_name("x.wav").read_bytes())
    assert len(sounds) == 3


def test_floats_keep_what_is_above_full_scale_and_it_is_said(
    dog: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(capsys, dog, "--out", dog.with_name("x.wav"), "--gain", 20)
    assert status == 0 and "goes above full scale" in err
    assert np.abs(soundfile.read(dog.with_name("x.wav"))[0]).max() > 2


@pytest.mark.parametrize(
    "options, status, said",
    [
        ("--out x.mp3", 2, "x.mp3: is written as .wav"),
        ("--out x.wav --pitch nan", 2, "nan; expected from -12 to 12"),
        ("--out x.wav --gain 90", 2, "90; expected from -60 to 60"),
        ("--out x.wav --noise blue", 2, "'blue' is neither white, pink, brown nor a file"),
        ("--out x.wav --snr 3", 2, "there is none; add --noise"),
        ("--out x.wav --noise pink --at 1", 2, "is for a noise from a file"),
        ("--out x.wav --noise dog.flac --at 1", 2, "1; the noise ends at 1 s"),
        ("--out no/x.wav", 1, "the folder no does not exist"),
    ],
)
def test_mistakes_are_said(
    options: str,
    status: int,
    said: str,
    dog: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(dog.parent)
    found, out, err = run(capsys, "dog.flac", *options.split())
    assert (found, out) == (status, "") and said in err
    assert not Path("x.wav").exists()


def test_no_rate_is_no_rate(dog: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rate in (0, 999, -16000):
        status, out, err = run(capsys, dog, "--out", dog.with_name("x.wav"), "--gain", 1, "--rate", rate)
        assert (status, out) == (2, "") and "--rate" in err
    assert not dog.with_name("x.wav").exists()


def test_a_silent_noise_is_told(dog: Path, capsys: pytest.CaptureFixture[str]) -> None:
    silent, out = dog.with_name("silent.wav"), dog.with_name("x.wav")
    soundfile.write(silent, np.zeros(2 * RATE), RATE)
    status, _, err = run(capsys, dog, "--out", out, "--noise", silent, "--snr", 20)
    assert status == 0 and f"{silent}: is silent there, so nothing is added" in err
    soundfile.write(silent, np.r_[np.zeros(RATE), np.ones(RATE) / 9], RATE)
    assert "is silent" in run(capsys, dog, "--out", out, "--noise", silent, "--at", 0)[2]
    assert "is silent" not in run(capsys, dog, "--out", out, "--noise", silent, "--at", 0.5)[2]


def test_the_recording_itself_is_never_written_over(dog: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wav = dog.with_name("dog.wav")
    soundfile.write(wav, np.zeros(100), RATE)
    before = wav.read_bytes()
    status, _, err = run(capsys, wav, "--out", wav)
    assert status == 1 and "is the recording itself" in err and wav.read_bytes() == before
