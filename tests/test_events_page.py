"""docs/events.md runs as it stands."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from auricle.artifact import load_artifact
from auricle.cli import main
from auricle.evaluation import event_choice
from auricle.evaluation.events import Tolerances
from auricle.events import EventConfig
from auricle.metrics.psds import PSDS1, PSDS2

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "events.md").read_text()
THREADED = ("tag", "evaluate", "events")


def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    commands = [
        line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
    ]
    assert len(commands) == 12
    told = []
    for command in commands:
        name, *arguments = shlex.split(command)
        if name == "python":
            monkeypatch.setattr(sys, "argv", arguments)
            monkeypatch.syspath_prepend(str(tmp_path / "examples"))
            runpy.run_path(arguments[0], run_name="__main__")
            continue
        if name == "printf":
            subprocess.run(command, shell=True, check=True)
            continue
        assert name == "auricle"
        threads = ["--threads", "1"] if arguments[0] in THREADED else ["--jobs", "1"]
        threads = [] if "--predictions" in arguments else threads  # no model runs
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *threads])
        printed = capsys.readouterr()
        assert not ended.value.code, printed.err
        told.append(printed.out)
    [table] = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    rows = [line.split() for line in table.splitlines()[1:]]
    found = [line.split() for line in told[0].splitlines()[-len(rows) :]]
    assert [row[3] for row in found] == [row[3] for row in rows]
    for ours, theirs in zip(found, rows, strict=True):
        assert [float(time) for time in ours[:2]] == pytest.approx([float(t) for t in theirs[:2]], abs=0.3)
    assert load_artifact("out/mine").events is not None
    assert {path.name for path in Path("out/judged").iterdir()} == {
        "metrics.json", "per_class.csv", "events.csv"
    }  # fmt: skip
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for block in blocks:
        exec(compile(block, "docs/events.md", "exec"), {})  # noqa: S102
    said = capsys.readouterr().out.strip()
    assert said == "[{'start': 1.5, 'end': 3.5, 'label': 'dog', 'score': 0.8}]"


def test_the_page_says_what_the_settings_are_at_first() -> None:
    for name, value in EventConfig().as_dict().items():
        if name != "labels":
            at_first = {"offset": "as `onset`", "hop": "the model's"}.get(
                name, f"{value:g}" if value is not None else ""
            )
            assert re.search(rf"^\| `{name}` \| (seconds|score) \| {at_first} \|", PAGE, re.MULTILINE), name


def test_the_page_says_what_is_tried_and_judged() -> None:
    onsets = event_choice.ONSETS
    assert f"of {onsets[0]:g} to {onsets[-1]:g} in twelve steps" in PAGE and len(onsets) == 12
    assert "of 1, 0.6 and 0.3 times the onset" in PAGE and event_choice.OFFSET_SHARES == (1.0, 0.6, 0.3)
    assert "`smooth` of 0, 2 and 4 hops" in PAGE and event_choice.SMOOTH_HOPS == (0, 2, 4)
    assert "`max_gap` of 0, 1, 2 and 4 hops" in PAGE and event_choice.GAP_HOPS == (0, 1, 2, 4)
    assert "`min_length` of 0, 2, 3 and 5" in PAGE and event_choice.LENGTH_HOPS == (0, 2, 3, 5)
    assert Tolerances() == Tolerances(segment=1.0, onset_collar=0.2, offset_collar=0.2, offset_share=0.2)
    assert (PSDS1.dtc, PSDS1.gtc, PSDS2.dtc, PSDS2.cttc) == (0.7, 0.7, 0.1, 0.3)
    assert PSDS1.alpha_st == PSDS2.alpha_st == 1 and PSDS1.most == PSDS2.most == 100
