"""The command line: its surface is frozen, results stand alone on standard output, errors are one line."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import typer
from running import run
from tiny_model import LABELS

from auricle.cli import main, verbs
from auricle.cli.output import (
    assignments,
    describe,
    missing,
    print_error,
    print_table,
    print_warning,
    show_warning,
)

SURFACE = Path(__file__).parent / "cli_surface.txt"
COMMANDS = verbs()


def one_line_error(err: str) -> str:
    lines = err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("auricle: error: ")
    return lines[0]


# --- the surface


def surface() -> str:
    """Each verb with its arguments and options, one a line."""
    lines = []
    for verb, command in COMMANDS.items():
        for parameter in command.params:
            if parameter.name != "help":
                lines.append(f"{verb} {max(parameter.opts, key=len)}")
    return "\n".join(lines) + "\n"


def test_verbs_and_options_are_the_frozen_ones() -> None:
    # A new or renamed option is a decision: change tests/cli_surface.txt by hand, and the changelog.
    assert surface() == SURFACE.read_text()


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *verb.split(), "--help")
    assert status == 0 and not err
    assert f"Example: auricle {verb}" in out
    assert len(out.splitlines()) > 8


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['auricle', '--help']\n"
        "from auricle.cli import main\n"
        "try: main()\n"
        "finally: print(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {name.split(".")[0] for name in modules.splitlines()[-1].split()}
    assert "auricle" in loaded
    heavy = "torch scipy pyarrow av onnxruntime matplotlib numpy soundfile soxr safetensors".split()
    assert not loaded & set(heavy)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--version")
    assert status == 0 and out.startswith("auricle 0.")


# --- exit status and errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonesuch"],
        ["tag"],
        ["tag", "a.wav", "--format", "xml"],
        ["tag", "a.wav", "--top", "0"],
        ["tag", "a.wav", "--threshold", "2"],
        ["tag", "a.wav", "--start", "3", "--end", "2"],
        ["tag", "a.wav", "--raw", "16000"],
        ["tag", "a.wav", "--raw", "16000,1,s17le"],
        ["train", "--data", "x", "--out", "y", "--recipe", "z", "--set", "epochs"],
        ["evaluate", "default", "pack", "--where", "licence"],
        ["export", "default", "model.txt"],
        ["compare", "architectures", "--data", "x", "--out", "y", "--fractions", "1,.5"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert not out
    assert "Error: " in err and "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["tag", "a.wav", "--model", "nonesuch"],
        ["pack", "nonesuch", "out"],
        ["evaluate", "nonesuch", "nonesuch-pack"],
        ["check", "nonesuch"],
        ["export", "nonesuch", "model.onnx"],
    ],
    ids=" ".join,
)
def test_a_failure_ends_with_1_and_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    assert status == 1
    assert not out
    assert "nonesuch" in one_line_error(err)


def test_an_unknown_recipe_is_answered_with_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    status, _, err = run(capsys, "train", "--data", "x", "--out", "y", "--recipe", "nonesuch")
    assert status == 1
    assert "nonesuch" in one_line_error(err) and "compact-esc50" in err


def test_debugging_lets_the_error_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURICLE_DEBUG", "1")
    with pytest.raises(ValueError, match="nonesuch"):
        main(["check", "nonesuch"])


def test_what_is_not_expected_says_so() -> None:
    assert describe(KeyError("x")).startswith("KeyError: 'x' (not expected")
    assert describe(ValueError("one\n  two")) == "one two"
    assert describe(PermissionError(13, "Permission denied", "a.wav")) == "a.wav: Permission denied"


def test_a_missing_extra_is_named() -> None:
    assert "pip install 'auricle[train]'" in missing("torch")
    assert describe(ModuleNotFoundError("no", name="onnxscript.x")) == missing("onnxscript")
    assert "pip install numpy" in missing("numpy")


def test_warnings_are_one_line_and_those_about_code_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    show_warning("the file\nends early", UserWarning)
    show_warning("use another function", DeprecationWarning)
    assert capsys.readouterr().err == "auricle: warning: the file ends early\n"


def test_what_training_and_settings_raise_is_expected() -> None:
    import yaml

    assert describe(FloatingPointError("the loss is no number")) == "the loss is no number"
    with pytest.raises(yaml.YAMLError) as wrong:
        yaml.safe_load("[1, ")
    assert "not expected" not in describe(wrong.value) and "\n" not in describe(wrong.value)


def test_names_do_nothing_to_a_terminal_and_stay_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b[2J\r\nb\u202e  \udce9.wav"
    print_error(name)
    print_warning(name)
    print_table(sys.stdout, ["name"], [[name]], title=name)
    printed = capsys.readouterr()
    safe = r"a\x1b[2J\r\nb\u202e  \xe9.wav"
    assert printed.err.splitlines() == [f"auricle: error: {safe}", f"auricle: warning: {safe}"]
    assert [line.strip() for line in printed.out.splitlines()] == [safe, "name", safe]


def test_assignments_are_refused_twice() -> None:
    with pytest.raises(typer.BadParameter, match="given twice"):
        assignments(["a=1", "a=2"], "--set")


# --- tag


def test_tag_writes_a_table_for_people(
    model: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, "tag", recordings / "a.wav", "--model", model, "--windows")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{recordings / 'a.wav'}  (2.0 s)"
    assert lines[1].split() == ["score", "label"]
    assert {line.split()[1] for line in lines[2:5]} == set(LABELS)
    assert lines[6].split() == ["from", "to", "sounds"]
    assert [line.split()[:2] for line in lines[7:9]] == [["0.0", "0.2"], ["0.2", "0.5"]]
    assert "\x1b" not in out  # no colours where there is no terminal


def test_tag_writes_json_lines_and_nothing_else_to_standard_output(
    model: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "tag", recordings, "--model", model, "--format", "jsonl", "--top", 2)
    assert status == 0
    results = [json.loads(line) for line in out.splitlines()]
    assert [Path(result["path"]).name for result in results] == ["a.wav", "b, c.flac"]
    assert all(list(result) == ["path", "duration", "tags"] for result in results)
    assert all(len(result["tags"]) == 2 for result in results)
    assert results[0]["tags"][0]["score"] >= results[0]["tags"][1]["score"]


def test_tag_writes_csv_with_times(model: Path, recordings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(
        capsys, "tag", recordings / "a.wav", "--model", model, "--format", "csv", "--start", 0.5, "--top", 1
    )
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 0
    assert [(row["start"], row["end"]) for row in rows] == [("0.5", "2")]


def test_tag_writes_to_a_file_and_says_nothing(
    model: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_file = tmp_path / "tags.csv"
    status, out, _ = run(capsys, "tag", recordings, "--model", model, "--format", "csv", "--out", out_file)
    assert (status, out) == (0, "")
    assert len(out_file.read_text().splitlines()) == 1 + 2 * 3


def test_a_bad_file_is_named_and_the_others_are_tagged(
    model: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = recordings / "aa.wav"
    bad.write_text("this is no sound")
    status, out, err = run(
        capsys, "tag", recordings, recordings / "gone.wav", "--model", model, "--format", "csv", "--top", 1
    )
    assert status == 1
    assert [Path(row["path"]).name for row in csv.DictReader(io.StringIO(out))] == ["a.wav", "b, c.flac"]
    errors = [line for line in err.splitlines() if line.startswith("auricle: error: ")]
    assert len(errors) == 3
    assert "aa.wav" in errors[0] and "gone.wav" in errors[1] and "2 of 4 inputs" in errors[2]


def test_several_processes_say_the_same_in_the_same_order(
    model: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["tag", recordings, "--model", model, "--format", "jsonl", "--threads", 1]
    _, alone, _ = run(capsys, *arguments)
    _, together, _ = run(capsys, *arguments, "--jobs", 2)
    assert alone and alone == together


def test_a_path_that_cannot_be_looked_at_does_not_stop_the_others(
    model: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = "a" * 300 + ".wav"
    arguments = ["tag", recordings / "a.wav", bad, "", recordings / "x\ny.wav", "--model", model]
    status, out, err = run(capsys, *arguments, "--format", "csv", "--top", 1)
    assert status == 1 and len(out.splitlines()) == 2
    errors = [line for line in err.splitlines() if line.startswith("auricle: error: ")]
    assert errors == [
        f"auricle: error: {bad}: File name too long",
        "auricle: error: a path is empty; name a file or a folder, say . for this one",
        rf"auricle: error: {recordings}/x\ny.wav: no such file or folder",
        "auricle: error: 3 of 4 inputs could not be tagged: they are named above",
    ]


def test_an_error_of_a_file_names_it_once(
    model: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = recordings / "not\nsound\x1b.wav"
    bad.write_text("this is no sound")
    status, _, err = run(capsys, "tag", bad, "--model", model)
    assert status == 1
    line = one_line_error(err)
    assert line.startswith(rf"auricle: error: {recordings}/not\nsound") and line.count("not\\nsound") == 1
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("count", "options", "expected"),
    [
        (128, [], (4, 1)),  # 32 files a core
        (127, [], (1, None)),
        (128, ["--threads", "3"], (1, 3)),
        (128, ["--jobs", "1"], (1, None)),
        (8, ["--jobs", "2"], (2, 2)),
        (8, ["--jobs", "8"], (8, 1)),
        (2, ["--jobs", "8"], (2, 2)),
        (8, ["--jobs", "2", "--threads", "3"], (2, 3)),
    ],
)
def test_processes_share_the_cores(
    model: Path,
    recordings: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    options: list[str],
    expected: tuple[int, int | None],
) -> None:
    import auricle.engine
    import auricle.tagging

    seen: list[tuple[int, int | None]] = []

    def answer(path: str, options: Any) -> dict[str, Any]:
        return {"path": path, "duration": options.threads or 0, "tags": []}

    def run_files(function: Any, files: list[str], *, jobs: int, ordered: bool) -> Iterator[tuple[int, Any]]:
        assert ordered
        seen.append((jobs, function.keywords["options"].threads))
        return ((number, answer(file, function.keywords["options"])) for number, file in enumerate(files))

    def follow_file(path: str, options: Any, *rest: Any, **listening: Any) -> Iterator[dict[str, Any]]:
        seen.append((1, options.threads))
        yield answer(path, options)

    monkeypatch.setattr(auricle.engine, "default_jobs", lambda: 4)
    monkeypatch.setattr(auricle.engine, "run_files", run_files)
    monkeypatch.setattr(auricle.tagging, "follow_file", follow_file)
    for number in range(count):
        (recordings / f"many{number}.wav").touch()
    files = sorted(recordings.glob("many*.wav"))
    status, out, _ = run(capsys, "tag", *files, "--model", model, "--format", "jsonl", *options)
    assert status == 0 and set(seen) == {expected}
    assert [json.loads(line)["path"] for line in out.splitlines()] == [str(file) for file in files]


def test_raw_shows_how_to_say_it(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "tag", "a.wav", "--raw", "8000")
    assert status == 2
    assert "'8000': 1 of 3 parts; expected RATE,CHANNELS,DTYPE, say 8000,1,s16le" in " ".join(err.split())


def test_a_recording_that_breaks_while_it_is_written_is_a_failure(
    model: Path, recordings: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import auricle.tagging

    def breaks(path: str, *rest: Any, **listening: Any) -> Iterator[dict[str, Any]]:
        yield {"start": 0, "end": 1, "tags": [{"label": "rain", "score": 0.5}]}
        if path.endswith("a.wav"):
            raise auricle.audio.AudioError(f"{path}: the disk went away; plug it in")

    monkeypatch.setattr(auricle.tagging, "follow_file", breaks)
    arguments = ["tag", recordings, "--model", model, "--windows", "--format", "csv"]
    status, out, err = run(capsys, *arguments)
    assert status == 1 and len(out.splitlines()) == 3
    assert f"{recordings / 'a.wav'}: the disk went away" in err and "1 of 2 inputs" in err


def test_pcm_without_a_header_is_tagged(
    model: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, rate = soundfile.read(recordings / "a.wav", dtype="int16")
    raw = recordings / "a.raw"
    raw.write_bytes(samples.astype("<i2").tobytes())
    options = ["--model", model, "--format", "jsonl"]
    status, out, _ = run(capsys, "tag", raw, *options, "--raw", f"{rate},1,s16le")
    _, wav, _ = run(capsys, "tag", recordings / "a.wav", *options)
    assert status == 0
    assert json.loads(out)["tags"] == json.loads(wav)["tags"]


def test_colour_is_for_terminals_that_want_it(model: Path, recordings: Path) -> None:
    pty = pytest.importorskip("pty")

    def on_terminal(**environment: str) -> bytes:
        reader, writer = pty.openpty()
        command = [sys.executable, "-m", "auricle", "tag", str(recordings / "a.wav"), "--model", str(model)]
        settings = {**os.environ, "TERM": "xterm-256color", **environment}
        subprocess.run(command, stdout=writer, stderr=subprocess.DEVNULL, check=True, env=settings)
        os.close(writer)
        printed = os.read(reader, 100_000)
        os.close(reader)
        return printed

    plain = {name: value for name, value in os.environ.items() if name == "NO_COLOR"}
    assert plain or b"\x1b[1m" in on_terminal()
    assert b"\x1b[3" not in on_terminal(NO_COLOR="1")


# --- the other verbs


def test_check_compares_with_the_stored_logits(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "check", model)
    assert status == 0 and "ok, largest difference" in out


def test_check_fails_where_they_differ(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import auricle.runners

    verdict = {"max_difference": 0.5, "tolerance": 1e-4, "ok": False}
    monkeypatch.setattr(auricle.runners, "check", lambda runner: verdict)
    status, out, err = run(capsys, "check", model)
    assert (status, out) == (1, "")
    assert "largest difference 0.5" in one_line_error(err)


def test_pack_names_what_failed_and_evaluate_reads_the_pack(
    model: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = recordings / "meta.csv"
    table.write_text(
        "path,labels,split,licence\n"
        "a.wav,dog,test,CC0\n"
        '"b, c.flac",rain,test,CC-BY\n'
        "a.wav,dog;rain,train,CC0\n".replace("a.wav,dog;rain", "notes.txt,dog")
    )
    pack = tmp_path / "pack"
    status, out, err = run(capsys, "pack", table, pack, "--jobs", 1, "--verify")
    assert status == 1
    assert "2 clips" in out and "notes.txt" in err and "failures.parquet" in err
    arguments = ["evaluate", model, pack, "--split", "test", "--format", "json"]
    status, out, _ = run(capsys, *arguments, "--out", tmp_path / "judged")
    assert status == 0
    assert json.loads(out)["clips"] == 2
    assert (tmp_path / "judged" / "metrics.json").is_file()
    status, out, _ = run(capsys, *arguments, "--where", "licence=CC0")
    assert json.loads(out)["clips"] == 1
    status, out, _ = run(capsys, "evaluate", model, pack, "--split", "test")
    lines = out.splitlines()
    assert status == 0
    assert lines[0].split() == ["figure", "value", "95%", "interval"] and lines[1].startswith("map ")
    assert "2 clips of 2 recordings, 2 classes" in lines
    status, out, _ = run(capsys, "evaluate", model, pack, "--where", "licence=CC0")
    assert "mAP is not defined for 1 of 2 classes: left out of its mean: rain" in out.splitlines()
    assert "labels of the model that the pack lacks, left out: 1: clock" in out.splitlines()


def test_models_are_counted_on_the_nets(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from auricle.models import build

    width = build("compact", num_classes=2).embedding_size
    status, out, _ = run(capsys, "models", "--classes", 50, "--format", "json")
    rows = {row["name"]: row for row in json.loads(out)}
    _, wider, _ = run(capsys, "models", "--classes", 51, "--format", "json")
    more = {row["name"]: row for row in json.loads(wider)}
    compact = rows["compact"]
    assert {"name", "weights", "multiplies", "input", "source"} <= set(compact)
    assert more["compact"]["weights"] - compact["weights"] == width + 1  # one more label: a row and a bias
    assert more["compact"]["multiplies"] - compact["multiplies"] == width
    assert compact["weights"] < 2_000_000 and compact["source"]


if __name__ == "__main__":
    SURFACE.write_text(surface())
