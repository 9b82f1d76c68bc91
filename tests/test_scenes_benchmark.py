"""The benchmark of fold models on scenes: what is judged, by whose settings, and what is refused."""

import csv
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
import tiny_model
from onnx import numpy_helper
from running import ROOT, load_script

from auricle.artifact import load_artifact
from auricle.engine import pack
from auricle.evaluation import evaluate, event_choice
from auricle.evaluation.event_choice import choose_events
from auricle.evaluation.events import Tolerances, evaluate_events
from auricle.experiments.lines import RESULTS
from auricle.metrics.events import Counts, event_table, f1_figures, segment_counts
from auricle.shards import Pack

FOLDS = ("fold1", "fold2")
PITCHES = (500, 1000, 2000)
WINDOW, HOP = 0.5, 0.1
SMALL = {"dense": {"seconds": 4.0, "events": 2.0, "longest": 2.0, "pools": 3}, "mixtures": {"pools": 3}}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        module = load_script("benchmarks/esc50_scenes.py")
    finally:
        sys.path.pop(0)
    assert [kind.name for kind in module.KINDS] == list(SMALL)
    module.KINDS = tuple(
        dataclasses.replace(kind, few=8, recipe=dataclasses.replace(kind.recipe, **SMALL[kind.name]))
        for kind in module.KINDS
    )
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones of three labels in two folds, each with a pause within."""
    folder = tmp_path_factory.mktemp("tones")
    rows = ["path,labels,split,group"]
    time = np.arange(2 * tiny_model.RATE) / tiny_model.RATE
    for number in range(24):
        label, fold = number % 3, FOLDS[number // 3 % 2]
        sound = 0.3 * np.sin(2 * np.pi * PITCHES[label] * (1 + number / 200) * time)
        sound[(time > 0.8) & (time < 1.1)] = 0
        soundfile.write(folder / f"{number:02d}.wav", sound, tiny_model.RATE)
        rows.append(f"{number:02d}.wav,{tiny_model.LABELS[label]},{fold},g{number}")
    (folder / "meta.csv").write_text("\n".join(rows) + "\n")
    pack(folder / "meta.csv", folder / "pack", rate=tiny_model.RATE, jobs=1, quiet=True)
    return folder / "pack"


def listener(bias: float) -> bytes:
    """A model that knows its three tones; how loud one has to be, the bias says."""
    model = onnx.load_from_string(tiny_model.graph())
    time = np.arange(64) / tiny_model.RATE
    arrays = {
        "kernel": np.array([[np.cos(2 * np.pi * pitch * time) / 32] for pitch in (*PITCHES, 3000)]),
        "matrix": 200 * np.eye(4)[:, :3],
        "bias": np.full(3, -bias),
    }
    for tensor in model.graph.initializer:
        if tensor.name in arrays:
            array = arrays[tensor.name].astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models that know the tones, one of which scores far lower."""
    folder = tmp_path_factory.mktemp("folds")
    for fold, bias in zip(FOLDS, (1.0, 4.0), strict=True):
        made = tiny_model.save(folder / fold / "run" / "last", content=listener(bias), tail="align")
        (made.path.parent / "log.jsonl").write_text('{"seconds": 1800}\n')
        (made.path.parent / "config.json").write_text('{"seed": 2}')
    return folder


def call(script: ModuleType, data: Path, folds: Path, out: Path, *more: str) -> Any:
    """The script, in small; what it keeps in figures.json."""
    given = ["--data", str(data), "--folds", str(folds), "--out", str(out), "--window", f"{WINDOW}:{HOP}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["x", *given, "--quick", "--threads", "1", *more])
        script.main()
    return json.loads((out / "figures.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def fewer_settings() -> Iterator[None]:
    """A smaller grid is tried, by the script and by what it is compared with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_choice, "ONSETS", (0.1, 0.3, 0.5, 0.8))
        for name in ("SMOOTH_HOPS", "GAP_HOPS", "LENGTH_HOPS"):
            patch.setattr(event_choice, name, (0, 2))
        yield


@pytest.fixture(scope="module")
def out(script: ModuleType, data: Path, folds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run has left, its table among it."""
    folder = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "FOLDS", FOLDS)  # the five of which it wants all
        call(script, data, folds, folder, "--results", str(folder / "results.csv"))
    return folder


@pytest.fixture
def figures(out: Path) -> Any:
    return json.loads((out / "figures.json").read_text())


def test_each_model_is_judged_on_scenes_of_its_fold(folds: Path, out: Path, figures: Any) -> None:
    for fold in FOLDS:
        model, scenes = load_artifact(folds / fold / "run" / "last"), Pack(out / "dense-8" / fold)
        assert scenes.manifest["mixed_from"]["splits"]["test"]["from"] == [fold] and len(scenes) == 8
        row = figures["labels"]["dense"][0]
        expected = evaluate(model, scenes, draws=0, threads=1, quiet=True)
        assert (row["pooling"], row[fold]["map"]) == ("mean", pytest.approx(expected["map"]))
        greatest = evaluate(model, scenes, pooling="max", draws=0, threads=1, quiet=True)
        assert figures["labels"]["dense"][1][fold]["auc"] == pytest.approx(greatest["auc"])
        if fold == "fold1":  # the other errs nowhere, and has none
            sure = evaluate(model, scenes, draws=100, threads=1, quiet=True)["intervals"]["map"]
            assert row["intervals"][fold]["map"] == pytest.approx(sure) and sure[0] < sure[1]


def test_settings_come_from_the_other_fold_and_its_model(folds: Path, out: Path, figures: Any) -> None:
    at = {"window": round(WINDOW * tiny_model.RATE), "hop": round(HOP * tiny_model.RATE)}
    models = [dataclasses.replace(load_artifact(folds / fold / "run" / "last"), **at) for fold in FOLDS]
    scenes = [Pack(out / "dense-8" / fold) for fold in FOLDS]
    rows = {row["settings"]: row for row in figures["events"] if row["window"] == "0.5 s every 0.1 s"}
    assert list(rows) == ["at first", "chosen by segments", "chosen by events"]
    quiet: dict[str, Any] = {"threads": 1, "quiet": True}
    for by, tolerances in (("segments", None), ("events", Tolerances(onset_collar=0.5, offset_collar=0.5))):
        row, chosen = rows[f"chosen by {by}"], []
        for mine, other in ((0, 1), (1, 0)):
            asked = {"by": by, "tolerances": tolerances, "per_label": None} | quiet
            chosen.append(choose_events(models[other], scenes[other], **asked)[0])
            found = evaluate_events(models[mine], scenes[mine], config=chosen[-1], draws=0, **quiet)
            told = row[FOLDS[mine]]
            for kind in ("segments", "events"):
                assert told[f"{kind}_f1_macro"] == pytest.approx(found[kind]["f1_macro"])
            assert (told["psds1"], told["psds2"]) == pytest.approx((found["psds1"], found["psds2"]))
        assert chosen[0] != chosen[1], "else it could not be seen whose settings are used"
        assert [row["used"][fold]["onset"] for fold in FOLDS] == [config.onset for config in chosen]


def test_figures_of_all_scenes_and_rows_of_the_table(figures: Any, out: Path) -> None:
    row = next(row for row in figures["events"] if row["settings"] == "chosen by segments")
    for name in ("segments_f1_micro", "segments_error_rate"):
        each = [row[fold][name] for fold in FOLDS]
        assert row["mean"][name] == pytest.approx(np.mean(each))
        assert min(each) < row["all out of fold"][name] < max(each)
    low, high = row["intervals"]["all out of fold"]["segments_error_rate"]
    assert low <= row["all out of fold"]["segments_error_rate"] <= high
    with (out / "results.csv").open(newline="") as stream:
        head, *rows = csv.reader(stream)
    assert tuple(head) == RESULTS
    assert {len(row) for row in rows} == {11} and {row[7] for row in rows} == {"0.500", "1.000"}
    assert {row[9] for row in rows} == {"2"}
    own = [
        row for row in rows if row[0] == "compact-esc50" and row[1].startswith("Dense") and row[3] == "map"
    ]
    assert [row[2] for row in own] == [*FOLDS, "mean", "all out of fold"]
    assert float(own[0][4]) == pytest.approx(figures["labels"]["dense"][0]["fold1"]["map"], abs=1e-4)


def test_what_is_there_is_not_made_again(
    script: ModuleType,
    data: Path,
    folds: Path,
    out: Path,
    figures: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def again(*arguments: Any, **options: Any) -> None:
        raise AssertionError("asked again")

    for name in ("load_runner", "make_scenes", "choose_events"):
        monkeypatch.setattr(f"fold_scenes.{name}", again)
    assert call(script, data, folds, out) == figures
    printed = capsys.readouterr().out
    assert "| 0.5 s every 0.1 s | chosen by segments | all scenes | " in printed
    assert "| mixtures | 0.25 s every 0.25 s | mean | all scenes | " in printed


def test_errors_of_a_second_are_the_more_of_missed_and_false(script: ModuleType) -> None:
    truth = event_table([(0, 0, 0.0, 2.0), (0, 1, 0.5, 1.5), (1, 2, 0.0, 1.0)])
    found = event_table([(0, 2, 0.0, 2.0), (0, 0, 1.2, 2.0), (1, 2, 0.0, 1.0), (1, 0, 2.5, 3.0)])
    # Scene 0: second 0 has 0 and 1 for 2, two errors; second 1 has 0 and 1 for 0 and 2, one. Scene 1: one.
    assert script.errors(truth, found, np.array([3.0, 3.0]), 3).tolist() == [[3, 4], [1, 1]]


def test_seconds_are_those_of_the_project(script: ModuleType) -> None:
    rng = np.random.default_rng(4)

    def events() -> Any:
        start = rng.uniform(0, 8, 60).round(1)
        ends = (start + rng.uniform(0.1, 2, 60).round(1)).tolist()
        return event_table(zip(rng.integers(5, size=60), rng.integers(4, size=60), start, ends, strict=True))

    truth, found = events(), events()
    there, said = (script.active(table, 5, 10, 4) for table in (truth, found))
    counts = segment_counts(truth, found, np.full(5, 10.0), 4)
    assert counts.hits.tolist() == (there & said).sum((0, 1)).tolist()
    assert counts.missed.tolist() == (there & ~said).sum((0, 1)).tolist()
    assert f1_figures(Counts(*counts))["f1_micro"] < 1


def test_a_model_that_has_heard_the_fold_is_refused(
    script: ModuleType, data: Path, out: Path, tmp_path: Path
) -> None:
    scenes = Pack(out / "dense-8" / "fold1")
    for told in ({"config": {"train_splits": ["fold1"]}}, {"config": {"train_splits": ["fold2"]}}):
        model = tiny_model.save(tmp_path / "model", training=told | {"data": Pack(data).fingerprint})
        if told["config"]["train_splits"] == ["fold1"]:
            with pytest.raises(ValueError, match="fold1: its model was trained on it"):
                script.read_fold("fold1", model, scenes)
        else:
            assert len(script.read_fold("fold1", model, scenes).groups) == 8


def test_other_windows_than_those_heard_are_refused(script: ModuleType) -> None:
    first, second = np.ones((2, 4), np.float32), np.full((1, 4), 2.0, np.float32)
    replay = script.Replay(None, np.eye(3), np.array([4.0, 4.0, 8.0]))
    for _ in range(2):
        np.testing.assert_array_equal(replay.run(first)[0], np.eye(3)[:2])
        np.testing.assert_array_equal(replay.run(second)[0], np.eye(3)[2:])
    with pytest.raises(ValueError, match="other windows"):
        replay.run(second)
