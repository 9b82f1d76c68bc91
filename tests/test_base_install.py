"""The base install has no torch: every module that belongs to it works where torch cannot be imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_model import save_file

ROOT = Path(__file__).parents[1]
BUNDLED = ROOT / "auricle" / "bundled" / "auricle-esc50"
NEEDS_TORCH = (
    "frontend",
    "augment",
    "changes",
    "degrade",
    "noise",
    "pitch",
    "distributed",
    "models",
    "training",
    "recipes",
    "interop",
    "experiments",
    "own_classes.fine_tuning",
    "runners.torch",
)
BLOCK = """
import importlib.abc, sys

BLOCKED = "torch tensorboard onnx onnxscript librosa sklearn ray fsspec s3fs usearch".split()

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def without_torch(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", BLOCK + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=dict(os.environ))


def base_modules() -> list[str]:
    names = []
    for path in sorted((ROOT / "auricle").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        inner = name.removeprefix("auricle.")
        if not any(inner == needy or inner.startswith(needy + ".") for needy in NEEDS_TORCH):
            names.append(name)
    return [name for name in names if not name.endswith("__main__")]


def test_the_block_blocks() -> None:
    done = without_torch("import torch")
    assert done.returncode != 0 and "No module named 'torch'" in done.stderr
    assert without_torch("import auricle.frontend").returncode != 0


def test_every_base_module_imports_without_torch() -> None:
    names = base_modules()
    assert {"auricle.cli", "auricle.tagging", "auricle.engine", "auricle.evaluation"} <= set(names)
    done = without_torch("import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)", *names)
    assert done.returncode == 0, done.stderr


def test_tagging_works_without_torch(tmp_path: Path) -> None:
    model = save_file(tmp_path / "tiny.onnx")
    arguments = ["tag", "examples/scene.ogg", "--model", str(model), "--format", "jsonl", "--windows"]
    done = without_torch("from auricle.cli import main\nmain(sys.argv[1:])", *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["duration"] == pytest.approx(26.0, abs=0.1)


def test_recordings_are_indexed_and_found_without_torch_and_usearch(tmp_path: Path) -> None:
    model, index = save_file(tmp_path / "tiny.onnx"), tmp_path / "index"
    run = "from auricle.cli import main\nmain(sys.argv[1:])"
    done = without_torch(run, "index", "examples/scene.ogg", "--model", str(model), "--out", str(index))
    assert done.returncode == 0 and "of 1 recording" in done.stdout, done.stderr
    asked = ["examples/scene.ogg", "--start", "4", "--end", "4.25", "--index", str(index), "--format", "csv"]
    done = without_torch(run, "find", *asked)
    assert done.returncode == 0 and done.stdout.count("examples/scene.ogg") == 10, done.stderr


@pytest.mark.parametrize("verb", ["models", "train --data x --out y --recipe z"])
def test_a_verb_that_needs_torch_says_what_to_install(verb: str) -> None:
    done = without_torch("from auricle.cli import main\nmain(sys.argv[1:])", *verb.split())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "auricle: error: this needs torch, which is not installed: pip install 'auricle[train]'"
    ]


def test_the_bundled_model_names_the_sounds_of_the_example_without_torch() -> None:
    assert BUNDLED.is_dir(), f"the bundled model is missing: {BUNDLED} does not exist"
    arguments = [
        "tag",
        "examples/scene.ogg",
        *"--format jsonl --top 50 --windows --threshold 0 --threads 1".split(),
    ]
    done = without_torch("from auricle.cli import main\nmain(sys.argv[1:])", *arguments)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result["tags"]) == 50
    best = {window["tags"][0]["label"] for window in result["windows"]}
    assert {"church_bells", "clock_tick", "siren"} <= best


def test_a_model_that_runs_tells_nobody_and_notes_nothing_in_the_home(tmp_path: Path) -> None:
    script = "from auricle.tagging import Tagger; Tagger('default')"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(tmp_path / "mpl")}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert not [path for path in tmp_path.rglob("*") if "onnx" in str(path).lower()]
