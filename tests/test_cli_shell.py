"""In a shell: what completion offers, what --quiet leaves, how the list of verbs is set."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import run

import auricle
from auricle.cli import app, completion, verbs

COMMANDS = verbs()
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """What a shell is told, asked as that shell asks."""

    def ask(*words: str, shell: str = "bash") -> list[str]:
        monkeypatch.setenv("_AURICLE_COMPLETE", f"complete_{shell}")
        line = ["auricle", *words]
        if shell == "bash":
            monkeypatch.setenv("COMP_WORDS", "\n".join(line))
            monkeypatch.setenv("COMP_CWORD", str(len(words)))
        else:
            monkeypatch.setenv("_TYPER_COMPLETE_ARGS", " ".join(line))
            monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        status, out, err = run(capsys)
        assert status == 0 and not err
        return out.split("\n")[:-1] if out.strip() else []

    return ask


# --- the list of verbs


@pytest.mark.parametrize("width", [80, 60])
def test_no_verb_is_described_by_half_a_sentence(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for words in ([], ["import"]):
        status, out, _ = run(capsys, *words, "--help")
        listed = out.partition("Commands:\n")[2]
        assert status == 0 and "..." not in listed and "…" not in listed
        assert all(len(line) <= width for line in out.splitlines())
        if width == 80:  # a line each
            assert all(line[2] != " " and line.endswith(".") for line in listed.splitlines()), listed
        flat = " ".join(listed.split())
        for verb in (verb for verb in COMMANDS if verb.startswith("import ") == bool(words)):
            assert COMMANDS[verb].get_short_help_str(limit=1000) in flat


# --- values of options


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_of_fixed_values_is_completed(shell: str, offered: Any) -> None:
    for option, values in {
        ("tag", "--format"): "table csv jsonl parquet audacity raven webvtt jams",
        ("tag", "--engine"): "local ray",
        ("tag", "--device"): "cpu cuda",
        ("train", "--device"): "auto cpu cuda",
        (
            "train",
            "--recipe",
        ): "chen compact-esc50 compact-esc50-equalized compact-esc50-equalized-free compact-esc50-free "
        "compact-esc50-long compact-esc50-long-free compact-esc50-robust compact-esc50-robust-free "
        "hershey tompkins",
        ("train", "--family"): "coarse all",
        ("export", "--quantize"): "int8",
        ("embed", "--precision"): "float32 float16",
        ("calibrate", "--method"): "affine temperature isotonic keep",
        ("sweep", "--sampler"): "tpe random grid",
        ("compare", "--unlabelled"): "keep drop",
        ("augment", "--noise"): "white pink brown",
    }.items():
        given = " ".join(offered(*option, "", shell=shell))
        assert [word for word in values.split() if word not in given] == [], (option, given)
        if shell == "bash":
            assert given == values


def test_no_value_is_told_by_its_metavar_and_offered_by_none(offered: Any) -> None:
    """An option that another verb gets is completed by its name, or by what its help shows as its values."""
    for verb, command in COMMANDS.items():
        for parameter in command.params:
            name = parameter.name or ""
            known = f"{verb} {name}" in completion.COMPLETE or name in completion.COMPLETE
            if known and name not in ("label_set", "subset", "within", "label"):
                words = [] if parameter.param_type_name == "argument" else [max(parameter.opts, key=len)]
                if words or parameter is command.params[0]:
                    assert offered(*verb.split(), *words, ""), (verb, name)


def test_models_are_names_and_those_that_lie_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: Any
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.json").write_text("{}")
    (tmp_path / "owls.onnx").touch()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    assert offered("tag", "--model", "") == ["default", "auricle-esc50", "mine", "owls.onnx"]
    assert offered("check", "o") == ["owls.onnx"]
    assert offered("train", "--init-from", "def") == ["default"]
    assert offered("tag", "--model", "other/") == []  # the shell's own names of files


def test_names_in_a_pack_and_labels_of_a_model(tmp_path: Path, offered: Any) -> None:
    sets = {"label_sets": {"labels": {}, "top400": {}}, "subsets": {"balanced": {}}}
    (tmp_path / "manifest.json").write_text(json.dumps(sets))
    assert offered("evaluate", "default", str(tmp_path), "--label-set", "") == ["labels", "top400"]
    assert offered("labels", str(tmp_path), "--label-set", "t") == ["top400"]
    assert offered("evaluate", "default", str(tmp_path), "--subset", "") == ["balanced"]
    assert offered("train", "--data", str(tmp_path), "--label-set", "") == []  # it has no such option
    (tmp_path / "index.json").write_text(json.dumps({"given": "default"}))
    assert offered("review", str(tmp_path), "--label", "cl") == ["clapping", "clock_alarm", "clock_tick"]
    (tmp_path / "manifest.json").write_text("no JSON")
    assert offered("labels", str(tmp_path), "--label-set", "") == []


def test_the_last_of_several_names_is_completed(offered: Any) -> None:
    assert offered("compare", "--models", "compact,vgg") == ["compact,vgg", "compact,vggish"]


def test_the_names_that_completion_knows_are_those_there_are() -> None:
    from auricle.calibration import KEEP, METHODS
    from auricle.experiments.compare import EXPERIMENTS
    from auricle.experiments.space import PRESETS
    from auricle.models import MODELS
    from auricle.noise import COLOURS
    from auricle.planning.costs import SHIPPED
    from auricle.recipes import RECIPES

    assert completion.RECIPES == tuple(sorted(RECIPES)) and completion.NETWORKS == tuple(MODELS)
    assert completion.EXPERIMENTS == tuple(EXPERIMENTS) and completion.METHODS == (*METHODS, KEEP)
    assert completion.PRESETS == tuple(PRESETS) and completion.COSTS == tuple(SHIPPED)
    assert completion.NOISES == tuple(COLOURS)


def test_bash_itself_completes(tmp_path: Path) -> None:
    """By its own machinery: the function that --install-completion writes, called as bash calls it."""
    program = tmp_path / "auricle"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m auricle "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(_AURICLE_COMPLETE=source_bash auricle)"; complete -p auricle\n'
        "COMP_WORDS=(auricle tag \"'my sounds'\" --format j); COMP_CWORD=4\n"
        '_auricle_completion auricle; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={**os.environ, **path})
    assert not done.stderr
    assert done.stdout.splitlines()[-2:] == ["jsonl", "jams"] and "-F _auricle_completion" in done.stdout


def test_completion_imports_nothing_heavy() -> None:
    code = "import sys; from auricle.cli import main\ntry: main([])\nfinally: print(*sys.modules)"
    for line in ("train\n--recipe", "tag\n--model", "evaluate\nx\ny\n--label-set"):
        asked = {"COMP_WORDS": f"auricle\n{line}", "COMP_CWORD": str(line.count("\n") + 2)}
        environment = {**os.environ, **asked, "_AURICLE_COMPLETE": "complete_bash"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
        heavy = "torch scipy pyarrow av onnxruntime matplotlib numpy soundfile soxr rich".split()
        assert "auricle" in loaded and not loaded & set(heavy)


# --- --quiet


def test_every_verb_takes_quiet_and_it_means_the_same() -> None:
    said = set()
    for verb, command in COMMANDS.items():
        [quiet] = [parameter for parameter in command.params if "--quiet" in parameter.opts]
        assert quiet.name == "quiet" and quiet.is_flag and not quiet.default, verb
        said.add(quiet.help)
    assert said == {"No progress, no notes; errors and warnings stay."}


def test_quiet_verbs_leave_standard_error_alone(
    model: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = recordings / "a.wav"
    for arguments in (
        ["tag", sound, recordings / "b, c.flac", "--model", model, "--out", tmp_path / "x.csv"],
        ["tag", sound, "--model", model],
        ["embed", sound, "--model", model, "--out", tmp_path / "x.parquet"],
        ["augment", sound, "--out", tmp_path / "x.wav", "--gain", "-12"],
        ["events", model, "--set", "onset=0.4"],
        ["check", model],
        ["import", "tflite", "--help"],
    ):
        status, _, err = run(capsys, *arguments, "--quiet")
        assert status == 0 and not err, (arguments, err)
    status, _, err = run(capsys, "check", tmp_path / "nonesuch", "--quiet")
    assert status == 1 and err.startswith("auricle: error: ")  # errors stay


def test_notes_of_verbs_go_through_what_quiet_hushes() -> None:
    """What prints to standard error by itself is told here; all else is an error, a warning or `say`."""
    package = Path(auricle.__file__).parent
    allowed = {
        "progress.py", "cli/output.py", "cli/own.py", "cli/review.py",  # the questions of review
        "experiments/compare.py", "experiments/rates.py", "experiments/sweep.py", "training/family.py",
    }  # fmt: skip
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "file":
                if ast.unparse(node.value) == "sys.stderr":
                    found.add(path.relative_to(package).as_posix())
    assert found <= allowed, found - allowed
    assert app.info.cls is not None


# --- wrong values


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("tag x --top five", "Invalid value for '--top': 'five'; expected a valid integer"),
        ("tag x --top=0", "Invalid value for '--top': '0'; expected something greater than or equal to 1"),
        ("tag x --threshold nan", "'nan'; expected something less than or equal to 1"),
        ("plan --hours -1", "'-1'; expected something greater than or equal to 0"),
        ("tag x --format xml", "Invalid value for '--format': 'xml' is not one of 'table', 'csv'"),
        ("tag x --device cuda", "--device: 'cuda'; an ONNX model runs on the CPU here: leave --device out"),
        ("tag x --failures nowhere/f.csv", "nowhere/f.csv: the folder nowhere does not exist; create it"),
        ("tag x --failures .", "is a folder; name a file"),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status, out, err = run(capsys, *arguments.split())
    assert status == 2 and not out and said in err.splitlines()[-1]
