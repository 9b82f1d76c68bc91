"""The benchmark of few examples: what is drawn, what may embed, and that it runs."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from running import load_script
from tiny_model import RATE
from tiny_model import save as save_tiny

from auricle.engine import pack
from auricle.shards import Pack, add_embeddings

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def few_shot() -> ModuleType:
    return load_script("benchmarks/few_shot.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten classes of six tones, in two folds."""
    folder = tmp_path_factory.mktemp("data")
    rows = ["path,labels,split,group"]
    for number in range(60):
        random = np.random.default_rng(number)
        time = np.arange(int(RATE * 0.5)) / RATE
        samples = 0.4 * np.sin(2 * np.pi * (150 + 330 * (number % 10)) * time + random.uniform(0, 6))
        soundfile.write(folder / f"{number}.wav", samples + random.normal(0, 0.02, len(time)), RATE)
        rows.append(f"{number}.wav,c{number % 10},fold{number // 30 + 1},g{number}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    pack(folder / "table.csv", folder / "pack", rate=RATE, jobs=1, quiet=True)
    return folder / "pack"


def test_draws_are_nested_balanced_and_from_other_folds(few_shot: ModuleType, data: Path) -> None:
    examples = few_shot.clips_of(Pack(data), few_shot.held_out(Pack(data)))
    assert examples.labels == ("c4", "c9")
    few, more = (few_shot.draw(examples, "fold1", count, 0) for count in (1, 3))
    assert set(few) < set(more) and len(more) == 6
    assert examples.targets[more].sum(axis=0).tolist() == [3, 3]
    assert set(examples.splits[more]) == {"fold2"}
    with pytest.raises(SystemExit, match="3 clips outside fold1, fewer than the 4"):
        few_shot.draw(examples, "fold1", 4, 0)


def test_an_embedder_that_has_learned_the_classes_is_refused(
    few_shot: ModuleType, data: Path, tmp_path: Path
) -> None:
    opened = Pack(data)
    examples = few_shot.clips_of(opened, few_shot.held_out(opened))
    clean = save_tiny(tmp_path / "clean")
    assert few_shot.check_known(opened, clean, examples) == "trained elsewhere"
    same = save_tiny(tmp_path / "same", labels=["c0", "c1", "c2"], training={"data": opened.fingerprint})
    assert few_shot.check_known(opened, same, examples) == "trained on 3 other classes of the pack"
    knows = save_tiny(tmp_path / "knows", labels=["c0", "c4", "c2"])
    with pytest.raises(SystemExit, match="has learned c4"):
        few_shot.check_known(opened, knows, examples)


def test_it_runs(few_shot: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_tiny(tmp_path / "model").path
    arguments = ["few_shot", "--data", str(data), "--out", str(tmp_path / "out"), "--model", str(model)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--per-class", "2,3", "--draws", "2"])
    few_shot.main()
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["per_class"] for row in found["rows"]] == [2, 3]
    for row in found["rows"]:
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
    assert "| model's embeddings, trained elsewhere |" in (tmp_path / "out" / "table.md").read_text()


def test_the_benchmark_of_calibrated_classes_runs(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("own_calibration", ROOT / "benchmarks/own_calibration.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    opened, rng = Pack(data), np.random.default_rng(0)
    targets = opened.targets(np.arange(len(opened)))
    about = {"model": "m", "fingerprint": "f", "rate": RATE, "window": 8, "hop": 8}
    rows = [(row + rng.normal(0, 0.3, (2, len(row)))).astype(np.float32) for row in targets]
    add_embeddings(data, "planted", rows, about, replace=True)
    monkeypatch.setattr(module, "COUNTS", (3,))
    monkeypatch.setattr(sys, "argv", ["x", "--data", str(data), "--embeddings", "planted", "--quick"])
    module.main()
    heads, *lines = capsys.readouterr().out.splitlines()
    assert heads.startswith("clips") and [line.split()[1] for line in lines] == [
        "accuracy",
        "ece",
        "log_loss",
    ]
    assert float(lines[0].split()[2]) > 0.9
