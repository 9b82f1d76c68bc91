"""The scripts that print figures of the pages on calibration, search and the doctor, in small."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_model
from running import ROOT, load_script

from auricle.engine import pack

RATE = 16000


def noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(0, 0.1, 2 * RATE)


def corpus(folder: Path, labels: list[str], made: Callable[[int], np.ndarray], rate: int) -> Path:
    """A clip for each label, in two splits by turns, and a table and a pack of them."""
    rows = ["path,labels,split"]
    for number, label in enumerate(labels):
        soundfile.write(folder / f"{number:03d}.wav", made(number), rate)
        rows.append(f"{number:03d}.wav,{label},{'ab'[number % 2]}")
    (folder / "meta.csv").write_text("\n".join(rows) + "\n")
    pack(folder / "meta.csv", folder / "pack", rate=rate, jobs=1, quiet=True)
    return folder / "meta.csv"


@pytest.mark.parametrize("windows", [1, 3])
def test_what_thresholds_of_clips_do_to_windows_is_counted(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    windows: int,
) -> None:
    rng = np.random.default_rng(0)

    def loud_and_faint(number: int) -> np.ndarray:
        """Noise: faint of the first label, loud of the second."""
        return (
            rng.uniform(-1, 1, windows * tiny_model.WINDOW)
            * [0.05, 0.8, 0.3][number % 3]
            * rng.uniform(0.5, 1)
        )

    table = corpus(tmp_path, [*tiny_model.LABELS] * 20, loud_and_faint, tiny_model.RATE)
    script = load_script("benchmarks/calibration.py")
    arguments = ["x", "--data", str(table.parent / "pack"), "--windows", "--model", str(model)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--threads", "1"])
    script.main()
    head, *rows = capsys.readouterr().out.splitlines()
    assert f"60 clips that {model} was not trained on" in head
    counts = [int(row.split("|")[2]) for row in rows[2:]]
    assert len(counts) == 5
    assert all(0 <= float(row.split("|")[3]) <= 1 for row in rows[2:])
    if windows == 1:
        assert len(set(counts)) == 1, "a clip is its window, and there is no map of clips"
    else:
        assert counts[2] <= counts[1] <= 3 * counts[2]


def test_memory_is_told_of_thresholds(capsys: pytest.CaptureFixture[str]) -> None:
    load_script("benchmarks/calibration.py").print_memory(2000, labels=3)
    told = capsys.readouterr().out
    assert "2,000 windows of 3 labels" in told and told.count(" GB at most") == 2


def test_auricles_graph_finds_what_lies_among_silence(capsys: pytest.CaptureFixture[str]) -> None:
    load_script("benchmarks/search.py").print_silence(500)
    rows = capsys.readouterr().out.splitlines()[2:]
    found = {tuple(cell.strip() for cell in row.split("|")[1:4]): row.split("|")[4] for row in rows}
    assert len(found) == 9
    ours = [float(share.strip(" %")) for key, share in found.items() if "auricle" in key[1]]
    assert min(ours) > 99


def test_faults_that_are_made_are_found(tmp_path: Path) -> None:
    table = corpus(tmp_path, ["one", "other"], noise, RATE)
    script = ROOT / "benchmarks" / "doctor_faults.py"
    command = [sys.executable, str(script), str(table), "--data", str(tmp_path / "pack"), "--every", "1"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = {row.split("|")[1].strip(): row.split("|")[3] for row in told.splitlines() if row.startswith("| ")}
    for made, kind in (
        ("8 kHz", "rate 2"),
        ("a mean of 0.02", "offset 2"),
        ("-60 dB", "quiet 2"),
        ("a second channel turned, 0.95 as loud", "cancelled 2"),
    ):
        assert kind in rows[made]
