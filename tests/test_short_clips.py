"""Recordings far longer than the clips that a model's thresholds are of, and tables without a row."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.artifact import load_artifact, save_changed
from auricle.cli import main
from auricle.thresholds import of_short_clips

ABOUT = {
    "calibration": {"method": "keep", "pack": "a.pack", "recordings": 9, "clips": 90, "hours": 0.05}  # of 2 s
    | {"goal": {"precision": 0.9}, "thresholds": {}}
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    loaded = load_artifact("default")
    path = tmp_path_factory.mktemp("models") / "calibrated"
    save_changed(loaded, path, thresholds=[0.999] * loaded.num_classes, metrics=ABOUT)
    return path


def tagged(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["tag", *map(str, arguments)])
    assert not ended.value.code
    return capsys.readouterr()


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for name, seconds in (("a.wav", 7.5), ("b.wav", 12), ("c.wav", 13)):
        noise = np.random.default_rng(1).normal(0, 0.01, round(8000 * seconds))
        soundfile.write(tmp_path / name, noise, 8000)
    return tmp_path


NONE = "       none reaches its threshold; --threshold 0 shows the highest scores\n"


def test_a_table_without_a_row_says_why_and_long_recordings_are_told_of_once(
    model: Path, sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = tagged(capsys, sounds, "--model", model, "--jobs", 1)
    assert out.count(NONE) == 3
    (said,) = [line for line in err.splitlines() if " are of clips of " in line]
    assert f"{sounds}/b.wav: lasts 12.0 s, and thresholds of this model are of clips of about 2 s:" in said
    for hushed in (["--quiet"], ["--threshold", "0.999"], ["--windows"], ["--events"]):
        out, err = tagged(capsys, sounds / "b.wav", "--model", model, *hushed)
        assert " are of clips of " not in err and ("none reaches" in out)
    out, err = tagged(capsys, sounds, "--model", model, "--format", "csv", "--out", sounds / "tags.csv")
    assert err.count(" are of clips of ") == 1 and (sounds / "tags.csv").read_text().count("\n") == 1
    out, err = tagged(capsys, sounds, "--model", model, "--out", f"{sounds}/tags/")
    assert err.count(" are of clips of ") == 1 and NONE in (sounds / "tags" / "c.wav.txt").read_text()
    out, err = tagged(capsys, sounds / "a.wav", "--model", model, "--threshold", "0", "--top", "1")
    assert "none reaches" not in out and " are of clips of " not in err


SAID = "no label reaches the model's threshold for it; "


def test_where_no_row_is_written_a_line_says_why(
    model: Path, sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = "--threshold 0 shows the highest scores\n"
    for one in (["csv"], ["jsonl", "--windows"], ["webvtt"]):
        err = tagged(capsys, sounds / "a.wav", "--model", model, "--format", *one)[1]
        assert err.endswith(f"auricle: {sounds}/a.wav: {SAID}{shown}"), one
    for where in ([], ["--out", sounds / "tags.csv"], ["--out", f"{sounds}/tags/"]):
        err = tagged(capsys, sounds, "--model", model, "--format", "csv", "--windows", *where)[1]
        assert err.endswith(f"auricle: in 3 of 3 recordings {SAID}{shown}"), where
    err = tagged(capsys, sounds / "a.wav", "--model", model, "--live")[1]
    assert err.endswith(f" heard; {SAID}{shown}")
    err = tagged(capsys, sounds / "a.wav", "--model", model, "--events")[1]
    assert err.endswith(f"{SAID}--set onset=0.2 finds weaker events\n")
    for hushed in (["--quiet"], ["--threshold", "0.999"], ["--model", str(sounds / "loud")]):
        save_changed(load_artifact("default"), sounds / "loud", thresholds=[0.0] * 50)
        for how in ([], ["--live"], ["--events"]):
            given = [sounds / "a.wav", "--model", model, "--format", "csv", *how, *hushed]
            assert SAID not in tagged(capsys, *given)[1], given


def test_more_windows_are_more_false_alarms_also_of_the_whole_where_one_window_is_enough(
    sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_artifact("default")
    about = {"calibration": ABOUT["calibration"] | {"goal": {"false_alarms": 2.0}, "goal_hop": 2.0}}
    for pooling, said in (("max", True), ("mean", False)):
        path = sounds / pooling
        given = {"thresholds": [0.5] * loaded.num_classes, "metrics": about}
        save_changed(replace(loaded, pooling=pooling), path, **given)
        err = tagged(capsys, sounds / "a.wav", "--model", path, "--hop", 0.5)[1]
        assert ("about 4 times as many" in err) is said
        assert "times as many" not in tagged(capsys, sounds / "a.wav", "--model", path)[1]


def test_only_what_is_of_clips_is_held_against_a_recordings_length(model: Path) -> None:
    artifact = load_artifact(model)
    assert of_short_clips(artifact, 8.0) == "" != of_short_clips(artifact, 8.1)
    assert of_short_clips(artifact, 99.0, threshold=0.5) == ""
    line = {"kind": "affine", "scale": [1.0] * 50, "offset": [0.0] * 50}
    mapped = replace(artifact, calibration=line | {"clips": line})
    assert "thresholds and calibration of this model" in of_short_clips(mapped, 99.0)
    assert "and calibration of this model" in of_short_clips(mapped, 99.0, threshold=0.5)
    assert of_short_clips(replace(artifact, thresholds=None, calibration=line), 99.0) == ""
    assert of_short_clips(load_artifact("default"), 9999.0) == ""
