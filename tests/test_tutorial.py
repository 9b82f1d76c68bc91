"""The tutorial runs as it stands: every block marked `sh`, in order, in one folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)


def test_the_tutorial_runs(tmp_path: Path) -> None:
    assert len(BLOCKS) >= 7
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    bin_folder = tmp_path / "bin"  # `python` and `auricle` are those that run this test
    bin_folder.mkdir()
    for name, arguments in (("python", ""), ("auricle", "-m auricle ")):
        (bin_folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        (bin_folder / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    printed = {}
    for block in BLOCKS:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        printed[block] = done.stdout
    assert (tmp_path / "out" / "judged" / "metrics.json").is_file()
    tags = next(text for block, text in printed.items() if "auricle tag - " in block)
    assert re.search(r"0\.0 +2\.0 +siren", tags)  # the film begins with a siren
    assert re.search(r"4\.0 +6\.0 +rain", tags)
    assert (tmp_path / "out" / "tags.csv").read_text().count("\n") == 1 + 50
