"""Collections: what has not changed is skipped, results go to the disk as they come, names suit any disk."""

import csv
import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from running import run

from auricle import progress as progress_module
from auricle.engine import Engine, tagging
from auricle.engine.done import DONE, look_at
from auricle.engine.names import DEVICES, portable, result_names
from auricle.formats import write_csv, write_jsonl
from auricle.progress import Progress, silence
from auricle.tagging import TagOptions

HERE = Engine(kind="here")


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    (folder / "deep").mkdir(parents=True)
    for number in range(4):
        write(folder / ("deep" if number % 2 else ".") / f"{number}.wav", number)
    return folder


def write(path: Path, seed: int) -> None:
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, 4000), 8000)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the recordings that were listened to."""
    names: list[str] = []
    real = tagging.follow_file

    def follow(path: str, *arguments: Any, **more: Any) -> Iterator[dict[str, Any]]:
        names.append(Path(path).name)
        return real(path, *arguments, **more)

    monkeypatch.setattr(tagging, "follow_file", follow)
    return names


# --- what has not changed


def test_a_name_that_is_too_long_for_a_disk_is_shortened_and_stays_its_own() -> None:
    long = ["x/" + "ü" * 120 + end for end in ("a.wav", "b.wav", ".wav")]
    names = result_names(long, ".csv")
    assert len(set(names)) == 3 and all(len(os.fsencode(name)) <= 255 for name in names)
    assert names[0].endswith(".wav.csv") and "~" not in names[2]
    assert result_names(["x/" + "a" * 247 + ".wav"], ".csv") != result_names(
        ["x/" + "a" * 246 + "b.wav"], ".csv"
    )


def test_a_second_run_listens_to_what_is_new_and_no_more(
    model: Path, sounds: Path, tmp_path: Path, heard: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (sounds / "bad.wav").write_text("no sound")
    arguments = ["tag", sounds, "--model", model, "--format", "csv", "--out", f"{tmp_path}/tags/"]
    status, _, err = run(capsys, *arguments)
    assert status == 1 and len(heard) == 5 and "skipped" not in err
    first = contents(tmp_path / "tags")

    def again(*more: Any, told: str = "") -> list[str]:
        heard.clear()
        _, out, err = run(capsys, *arguments, *more)
        assert out == "" and told in err
        assert ("bad.wav" in err) == (sounds / "bad.wav").exists()
        return sorted(heard)

    assert again(told="4 of 5 recordings have not changed since an earlier run: skipped") == ["bad.wav"], (
        "what failed is tried"
    )
    assert contents(tmp_path / "tags") == first
    (sounds / "bad.wav").unlink()
    assert again() == [] and not (tmp_path / "tags" / "failures.csv").exists()
    write(sounds / "new.wav", 9)
    assert again() == ["new.wav"]
    write(sounds / "deep" / "1.wav", 8)
    assert again() == ["1.wav"], "its content changed, its size did not"
    assert (tmp_path / "tags/deep/1.wav.csv").read_bytes() != first["deep/1.wav.csv"]
    os.utime(sounds / "0.wav", ns=(1, 1))
    assert again() == ["0.wav"]
    (tmp_path / "tags/2.wav.csv").unlink()
    assert again() == ["2.wav"], "its result is gone"
    (tmp_path / "tags/deep/3.wav.csv").write_text("cut")
    assert again() == ["3.wav"], "its result was changed"
    assert again("--threads", 1) == [], "that changes no score"
    assert len(again("--redo")) == 5
    assert len(again("--top", 1)) == 5 and again("--top", 1) == []
    assert len(again("--hop", 0.125, "--top", 1)) == 5
    other = tmp_path / "other.onnx"
    other.write_bytes(model.read_bytes())
    arguments[3] = other
    assert again("--hop", 0.125, "--top", 1) == [], "the model is known by what it is"
    status, _, err = run(capsys, *arguments, "--quiet", "--hop", 0.125, "--top", 1)
    assert (status, err) == (0, "")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_killed_run_is_gone_on_with_though_recordings_have_come_since(
    model: Path, sounds: Path, tmp_path: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = TagOptions(model=str(model), threads=1)
    files = [str(path) for path in sorted(sounds.rglob("*.wav"))]
    done: list[str] = []

    def write_two(results: Any, stream: Any) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        [result] = results
        done.append(result["path"])
        write_csv([result], stream)

    tag: dict[str, Any] = {"suffix": ".csv", "engine": HERE, "quiet": True, "task_bytes": 1}
    with pytest.raises(KeyboardInterrupt):
        tagging.tag_to_folder(files, tmp_path / "tags", options, write_two, **tag)
    assert len(done) == 2 and len(list((tmp_path / "tags" / tagging.JOURNAL).glob("0*.json"))) == 2
    write(sounds / "new.wav", 5)
    write(Path(done[0]), 6)
    heard.clear()
    monkeypatch.setattr(tagging, "Engine", lambda jobs: HERE)  # not in another process, to be counted
    files = [str(path) for path in sorted(sounds.rglob("*.wav"))]
    tagging.tag_to_folder(files, tmp_path / "tags", options, write_csv, **tag)
    assert sorted(heard) == sorted(Path(file).name for file in files if file != done[1])
    assert not (tmp_path / "tags" / tagging.JOURNAL).exists()
    tagging.tag_to_folder(files, tmp_path / "whole", options, write_csv, **tag)
    assert contents(tmp_path / "tags") == contents(tmp_path / "whole"), "bytes of an undisturbed run"


def test_warnings_of_a_killed_run_are_told_by_the_one_that_goes_on_and_then_no_more(
    model: Path, sounds: Path, tmp_path: Path
) -> None:
    whole = (sounds / "0.wav").read_bytes()
    (sounds / "0.wav").write_bytes(whole[:4000])
    options, seen = TagOptions(model=str(model), threads=1), []
    tag: dict[str, Any] = {"suffix": ".csv", "engine": HERE, "quiet": True, "task_bytes": 1}
    files = [str(sounds / "0.wav"), str(sounds / "2.wav")]

    def write_one(results: Any, stream: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(results)
        write_csv(results, stream)

    with pytest.raises(KeyboardInterrupt):
        tagging.tag_to_folder(files, tmp_path / "tags", options, write_one, **tag)
    for count in (1, 0):
        results = tagging.tag_to_folder(files, tmp_path / "tags", options, write_csv, **tag)
        assert [len(result["warnings"]) for result in results] == [count, 0]


@pytest.mark.parametrize("damage", ["", "no json\n", '["a"]\n', '{"a": 1}\n[1, 2]\n'])
def test_a_damaged_record_costs_time_and_nothing_else(
    model: Path, sounds: Path, tmp_path: Path, heard: list[str], damage: str
) -> None:
    options = TagOptions(model=str(model), threads=1)
    files = [str(path) for path in sorted(sounds.rglob("*.wav"))]
    tag: dict[str, Any] = {"suffix": ".csv", "engine": HERE, "quiet": True}
    tagging.tag_to_folder(files, tmp_path / "tags", options, write_csv, **tag)
    before = contents(tmp_path / "tags")
    (tmp_path / "tags" / DONE).write_text(damage)
    heard.clear()
    tagging.tag_to_folder(files, tmp_path / "tags", options, write_csv, **tag)
    assert len(heard) == 4 and contents(tmp_path / "tags") == before


def test_what_is_not_there_is_seen_as_that() -> None:
    assert look_at(["no-such-file", "nul\0byte"]) == [("no-such-file", -1, ""), ("nul\0byte", -1, "")]


# --- nothing is gathered


WINDOWS = 8_000  # a day of the bundled model has 43,200


def long_one(path: str, options: TagOptions, warn: Any, **listening: Any) -> Iterator[dict[str, Any]]:
    tags = [{"label": f"label {k}", "score": 0.5} for k in range(5)]
    if options.windows:
        for number in range(WINDOWS):
            yield {"start": 2.0 * number, "end": 2.0 * number + 2, "tags": [dict(tag) for tag in tags]}
    yield {"path": path, "duration": 2.0 * WINDOWS, "tags": tags}


@pytest.mark.parametrize("write", [write_csv, write_jsonl])
@pytest.mark.parametrize("place", ["folder", "file"])
def test_windows_of_a_day_are_never_gathered(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, write: Any
) -> None:
    monkeypatch.setattr(tagging, "follow_file", long_one)
    soundfile.write(tmp_path / "day.wav", np.zeros(10), 8000)
    options = TagOptions(model=str(model), threads=1, windows=True)
    files = [str(tmp_path / "day.wav")]
    tagging.load_tagger(options)
    tracemalloc.start()
    if place == "folder":
        tag: dict[str, Any] = {"suffix": ".x", "engine": HERE, "quiet": True}
        tagging.tag_to_folder(files, tmp_path / "out", options, write, **tag)
        out = tmp_path / "out" / "day.wav.x"
    else:
        out = tmp_path / "out.x"
        tagging.tag_to_file(files, out, options, write, engine=HERE, quiet=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert out.stat().st_size > 1_500_000 and peak < 4_000_000, "as lists they take 14 MB"
    if write is write_jsonl:
        result = json.loads(out.read_text())
        assert list(result) == ["path", "duration", "tags", "windows"] and len(result["windows"]) == WINDOWS
    else:
        assert out.read_text().count("\n") == 1 + 5 * WINDOWS


def test_windows_from_several_processes_are_those_of_one(
    model: Path, sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sounds / "bad.wav").write_text("no sound")
    for format in ("jsonl", "table"):
        arguments = ["tag", sounds, "--model", model, "--format", format, "--windows"]
        one, two = (run(capsys, *arguments, "--jobs", jobs) for jobs in (1, 2))
        assert one[:2] == two[:2] and one[0] == 1 and len(one[1]) > 500
        assert errors(one[2]) == errors(two[2])


def errors(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("auricle: error: ")]


def test_what_broke_in_the_middle_leaves_no_result(
    model: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(path: str, options: TagOptions, warn: Any) -> Iterator[dict[str, Any]]:
        yield {"start": 0.0, "end": 1.0, "tags": [{"label": "dog", "score": 0.5}]}
        warn(f"{path}: is odd")
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(tagging, "follow_file", breaks)
    options = TagOptions(model=str(model), threads=1, windows=True)
    files = [str(sounds / "0.wav")]
    tag: dict[str, Any] = {"suffix": ".csv", "engine": HERE, "quiet": True}
    [told] = tagging.tag_to_folder(files, tmp_path / "tags", options, write_csv, **tag)
    assert "Input/output error" in told["error"] and told["warnings"] == [f"{files[0]}: is odd"]
    assert sorted(contents(tmp_path / "tags")) == [DONE, "failures.csv"]
    out = io.StringIO()
    tagging.tag_to_file(files, tmp_path / "x.csv", options, lambda r, s: out.write(str(list(r))), engine=HERE)
    assert "'error'" in out.getvalue() and "dog" not in out.getvalue()


# --- what failed


def test_failures_are_listed_where_they_are_asked_for(
    model: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "failed.csv"
    listed.write_text("of an earlier run")
    arguments = ["tag", sounds, "--model", model, "--failures", listed]
    assert run(capsys, *arguments)[0] == 0 and not listed.exists()
    (sounds / "a, b.wav").write_text("no sound")
    for more in ([], ["--out", tmp_path / "tags.csv"], ["--out", f"{tmp_path}/tags/"], ["--jobs", 2]):
        assert run(capsys, *arguments, tmp_path / "gone.wav", *more)[0] == 1
        with listed.open(newline="") as stream:
            rows = list(csv.reader(stream))
        assert rows[0] == ["path", "error"]
        assert [row[0] for row in rows[1:]] == [str(sounds / "a, b.wav"), str(tmp_path / "gone.wav")]
    status, _, err = run(capsys, *arguments[:-1], tmp_path / "none" / "x.csv")
    assert status == 2 and "none/x.csv" in err


# --- names


def test_names_of_results_suit_windows_too() -> None:
    awkward = [
        "2026-11-21T22:00:00.wav", "a?b*c.wav", 'say "hi".wav', "con.wav", "x/Aux/b.wav", "x/nul",
        "com1.a.wav",
        "dots./a.wav", "space /a.wav", "back\\slash.wav", "tab\there.wav", "<a|b>.wav", "lpt9 .wav",
    ]  # fmt: skip
    names = result_names(awkward, ".csv")
    assert len(set(names)) == len(awkward)
    for name in names:
        assert not set('<>:"|?*\\\t') & set(name)
        for part in name.split("/"):
            assert not part.endswith((".", " ")) and not DEVICES.match(part), name
    for name in ("a.wav.csv", "x/y z/über (1).wav.csv", "condor.wav", "..a.wav", "100%.wav", "com10.wav"):
        assert portable(name) == name, "ordinary names stay as they are"


def test_two_recordings_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="are one recording; name it once"):
        result_names(["a.wav", "./a.wav"], ".csv")
    with pytest.raises(
        ValueError, match=r"a:b.wav and .*would both be called a%3Ab.wav.csv; tag them into two"
    ):
        result_names(["x/a:b.wav", "x/a%3Ab.wav"], ".csv")
    assert result_names(["s3://bucket/n/a.wav", "s3://bucket/n/d/b.wav"], ".csv") == [
        "a.wav.csv",
        "d/b.wav.csv",
    ]


def test_recordings_on_several_drives_keep_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_common(paths: Any) -> str:
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(os.path, "commonpath", no_common)
    monkeypatch.setattr(os.path, "abspath", str)
    assert result_names(["C:/a.wav", "D:/a.wav"], ".csv") == ["C%3A/a.wav.csv", "D%3A/a.wav.csv"]


# --- progress


def test_progress_says_sound_speed_and_the_time_left_by_bytes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    with Progress(10, "tagging", size=1000) as progress:
        progress.resume_at(2, 500)
        now[0] = 60.0
        progress.advance(7, size=100, seconds=7200.0)
        now[0] = 65.0
    first, last = capsys.readouterr().err.splitlines()
    assert first == (
        "tagging: 9/10 files, 1 min 00 s, 4 min 00 s left; 2 h 00 min of sound, 120 times real time"
    )
    assert last.startswith("tagging: 9/10 files, 1 min 05 s")


def test_a_terminal_has_a_bar_without_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Progress(10, "tagging", size=1000) as progress:
        progress.resume_at(2, 500)
        progress.advance(7, "a note", size=400, seconds=3600.0)
    last = terminal.getvalue().splitlines()[-2]
    assert "tagging" in last and "9/10 files" in last and "1 h 00 min of sound" in last and "a note" in last
    assert "\x1b[3" not in terminal.getvalue(), "colour"


def test_quiet_shows_no_progress_and_the_next_verb_does(
    model: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["tag", sounds, "--model", model, "--out", tmp_path / "tags.csv"]
    assert run(capsys, *arguments, "--quiet") == (0, "", "")
    status, _, err = run(capsys, *arguments)
    assert status == 0 and "tagging: 4/4 files" in err and "2.0 s of sound" in err
    silence()
    try:
        with Progress(1, "x"):
            pass
        assert capsys.readouterr().err == ""
    finally:
        silence(False)


def test_a_long_recording_shows_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    monkeypatch.setattr("auricle.cli.recordings.LONG_SECONDS", 1.0)
    monkeypatch.setattr(progress_module, "LINE_EVERY_SECONDS", -1.0)
    soundfile.write(tmp_path / "long.wav", np.zeros(8000 * 10), 8000)
    status, _, err = run(capsys, "tag", tmp_path / "long.wav", "--model", model, "--out", tmp_path / "x.csv")
    lines = err.splitlines()
    assert status == 0 and len(lines) >= 10
    assert "s left; 5.0 s of sound" in err and "10.0 s of sound" in lines[-1]


# --- the shell


def test_the_shell_completes_verbs_options_and_values() -> None:
    def offered(words: str) -> list[str]:
        shell = {
            "_AURICLE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        command = [sys.executable, "-m", "auricle"]
        done = subprocess.run(command, env=os.environ | shell, capture_output=True, text=True)
        return done.stdout.split()

    assert offered("auricle ta") == ["tag"]
    assert "--windows" in offered("auricle tag --win") and "jsonl" in offered("auricle tag --format js")


def test_help_is_there_at_once() -> None:
    command, took = [sys.executable, "-m", "auricle", "--help"], []
    for _ in range(3):
        begin = os.times().children_user + os.times().children_system
        subprocess.run(command, capture_output=True, check=True)
        took.append(os.times().children_user + os.times().children_system - begin)
    assert min(took) < 0.5, "seconds of a core; 0.2 where nothing heavy is imported"


def test_a_wrong_hop_is_one_error_and_takes_no_result_away(
    model: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["tag", sounds, "--model", model, "--format", "csv", "--out", f"{tmp_path}/tags/", "--jobs", 1]
    assert run(capsys, *given)[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "tags").rglob("*.csv")}
    status, _, error = run(capsys, *given, "--hop", 30)
    assert status == 1 and error.count("hop is 30 s; expected a sample or more, and at most 0.25 s") == 1
    status, _, error = run(capsys, *given, "--start", 100)  # of which no recording has any sound
    assert status == 1 and error.count("give an earlier start") == 4
    names = {path.name: path.read_bytes() for path in (tmp_path / "tags").rglob("*.csv")}
    assert before == {name: content for name, content in names.items() if name != "failures.csv"}


def test_a_recording_keeps_its_name_when_others_come(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in ("one", "two"):
        (tmp_path / "days" / day).mkdir(parents=True)
    given = ["tag", tmp_path / "days", "--model", model, "--format", "csv", "--out", f"{tmp_path}/tags/"]
    for day in ("one", "two"):
        write(tmp_path / "days" / day / "a.wav", len(day))
        assert run(capsys, *given, "--jobs", 1)[0] == 0
    found = sorted(path.relative_to(tmp_path / "tags").as_posix() for path in tmp_path.rglob("*.wav.csv"))
    assert found == ["one/a.wav.csv", "two/a.wav.csv"]
    glob = f"{tmp_path}/days/*/a*.wav"
    files = [str(tmp_path / "days" / "one" / "a.wav")]
    assert result_names(files, ".csv", [glob]) == ["one/a.wav.csv"]
    assert result_names(files, ".csv", files) == ["a.wav.csv"] == result_names(files, ".csv")


def test_results_of_other_recordings_are_not_replaced(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for card in ("x", "y"):
        (tmp_path / card).mkdir()
        write(tmp_path / card / "a.wav", ord(card))
    end = ["--model", model, "--format", "csv", "--out", f"{tmp_path}/tags/", "--jobs", 1]
    assert run(capsys, "tag", tmp_path / "x", *end)[0] == 0
    before = (tmp_path / "tags" / "a.wav.csv").read_bytes()
    status, _, error = run(capsys, "tag", tmp_path / "y", *end)
    assert status == 1 and f"{tmp_path}/y/a.wav would replace it" in error
    assert (tmp_path / "tags" / "a.wav.csv").read_bytes() == before
    assert run(capsys, "tag", tmp_path / "y", *end, "--redo")[0] == 0
    assert (tmp_path / "tags" / "a.wav.csv").read_bytes() != before


def test_names_that_some_disk_takes_for_one_are_refused_and_the_list_of_failures_keeps_its_own() -> None:
    with pytest.raises(ValueError, match="would both be called"):
        result_names(["x/A.wav", "x/a.wav"], ".csv")
    with pytest.raises(ValueError, match="would both be called"):
        result_names(["x/\u00e9.wav", "x/e\u0301.wav"], ".csv")
    assert result_names(["x/failures", "x/b.wav"], ".csv") == ["failures_.csv", "b.wav.csv"]


def test_an_output_stays_where_no_recording_was_found(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keep.csv").write_text("precious\n")
    given = ["tag", tmp_path / "nosuch.wav", "--model", model, "--format", "csv"]
    assert run(capsys, *given, "--out", tmp_path / "keep.csv")[0] == 1
    assert (tmp_path / "keep.csv").read_text() == "precious\n"
