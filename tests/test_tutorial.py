"""The tutorials run as they stand: every block marked `sh`, in order, in one folder."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def printed_by_the_page(name: str, folder: Path) -> list[tuple[str, str]]:
    """Every block of a page and what it printed, run in one shell that begins in that folder."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL)
    assert len(blocks) >= 7
    shutil.copytree(ROOT / "examples", folder / "examples")
    bin_folder = folder / "bin"  # `python` and `auricle` are those that run this test
    bin_folder.mkdir()
    for command, arguments in (("python", ""), ("auricle", "-m auricle ")):
        (bin_folder / command).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        (bin_folder / command).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    cut = "<<< next block >>>"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"echo '{cut}'\n".join(blocks)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    printed = done.stdout.split(f"{cut}\n")
    assert done.returncode == 0, f"{blocks[len(printed) - 1]}\n{printed[-1]}\n{done.stderr}"
    return list(zip(blocks, printed, strict=True))


def test_the_tutorial_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    printed = printed_by_the_page("tutorial.md", tmp_path)
    assert (tmp_path / "out" / "judged" / "metrics.json").is_file()
    tags = next(text for block, text in printed if "auricle tag - " in block)
    assert re.search(r"0\.0 +2\.0 +siren", tags)  # the film begins with a siren
    assert re.search(r"4\.0 +6\.0 +rain", tags)
    assert (tmp_path / "out" / "tags.csv").read_text().count("\n") == 1 + 50


def test_recordings_become_reviewed_events(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    printed = printed_by_the_page("from-recordings-to-events.md", tmp_path)
    street = tmp_path / "street"

    def said(verb: str) -> str:
        return next(text for block, text in printed if f"auricle {verb} " in block)

    truth = rows_of(street / "truth.csv")
    moments = [line.split() for line in said("find").splitlines() if "recordings/monday/" in line]
    assert len(moments) == 5
    for _, start, end, path in moments:  # each one in a siren, at least in half of it
        assert any(
            row["path"] == path
            and row["label"] == "siren"
            and min(float(end), float(row["end"])) - max(float(start), float(row["start"])) >= 1.0
            for row in truth
        )
    found = [line for line in said("doctor").splitlines() if ": ok " not in line]
    assert found and all(line.startswith("recordings/thursday/0700.wav: ") for line in found)
    report = json.loads((street / "mine" / "report.json").read_text())
    assert report["accuracy"] > 0.8
    # What was confirmed on Wednesday is what sounds there: once each, give or take a far one.
    reviewed = rows_of(street / "reviewed.csv")
    confirmed = [(row["path"], row["label"]) for row in reviewed if "wednesday" in row["path"]]
    sounding = [(row["path"], row["label"]) for row in truth if "wednesday" in row["path"]]
    assert len(sounding) == 15 and len(set(confirmed) & set(sounding)) >= 13
    # Nobody has touched the label tracks: they come back as written (an empty one as a recording).
    columns = ("path", "start", "end", "label")
    tables = [rows_of(street / name) for name in ("events.csv", "corrected.csv")]
    written, back = (
        {tuple(row[name] for name in columns) for row in table if row["label"]} for table in tables
    )
    assert written == back
    figures = json.loads((street / "judged" / "metrics.json").read_text())
    assert figures["true_events"] == 15 and figures["segments"]["f1_macro"] > 0.75
    recordings = {row["path"] for row in reviewed}
    for kind in (".labels.txt", ".selections.txt", ".jams"):
        files = {path.relative_to(street / "reviewed") for path in street.glob(f"reviewed/**/*{kind}")}
        assert {Path(path + kind) for path in recordings} <= files
    labelled = rows_of(street / "more.csv")
    assert {(row["path"], row["start"], row["end"]) for row in labelled} == {
        (row["path"], row["start"], row["end"]) for row in reviewed
    }
    # The exported tagger finds the events that the folder found.
    last = [line.split() for line in printed[-1][1].splitlines() if re.match(r" *\d+\.\d +\d+\.\d +\d", line)]
    events = [row for row in rows_of(street / "events.csv") if row["path"].endswith("wednesday/0700.mp3")]
    assert [line[3] for line in last] == [row["label"] for row in events] != []


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))
