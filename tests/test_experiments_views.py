"""Label sets are judged on what they share; detectors learn what their embedder did not."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_experiments import make_corpus, options_for

from auricle.artifact import load_artifact
from auricle.experiments import compare
from auricle.experiments.embeddings import embeddings, split_labels
from auricle.experiments.label_set import label_set
from auricle.experiments.views import choose_labels
from auricle.shards import Pack
from auricle.training.data import choose_clips


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "tones")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_label_sets_lie_within_each_other(corpus: Path) -> None:
    pack = Pack(corpus)
    found = choose_labels(pack, ["4", "3", "esc10"], ["train"], "labels")
    assert found == [
        ["class0", "class1", "class2", "class3"],
        ["class0", "class1", "class2"],
        ["class0", "class1"],
    ]
    with pytest.raises(ValueError, match="different sizes"):
        choose_labels(pack, ["2", "esc10"], ["train"], "labels")
    with pytest.raises(ValueError, match="4 labels of 'labels' occur in train, fewer than the 5"):
        choose_labels(pack, ["5"], ["train"], "labels")
    with pytest.raises(ValueError, match="got 'birds'"):
        choose_labels(pack, ["birds"], ["train"], "labels")


def test_all_label_sets_are_judged_on_the_common_labels_and_their_clips(corpus: Path, tmp_path: Path) -> None:
    options = options_for(corpus, tmp_path / "out", models=("fully_connected",), labels=("4", "esc10"))
    rows = compare("label-set", options, quiet=True)
    assert [(row["columns"]["bottleneck"], row["columns"]["labels"]) for row in rows] == [
        ("no", 4), ("no", 2), ("yes", 4), ("yes", 2)
    ]  # fmt: skip
    pack = Pack(corpus)
    tests = pack.select(["test"])
    judged = [clip for clip in tests if (pack.targets(np.array([clip]))[0, :2] > 0).any()]
    for row in rows:
        assert (row["figures"]["classes"], row["figures"]["clips"]) == (2, len(judged))
        model = load_artifact(tmp_path / "out" / "runs" / row["name"] / "last")
        assert model.labels == ("class0", "class1", "class2", "class3")[: row["columns"]["labels"]]
        assert row["train_clips"] == len(pack.select(["train"]))
        assert model.architecture["arguments"].get("bottleneck") == (
            128 if row["columns"]["bottleneck"] == "yes" else None
        )
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    compared = [detail.split(":")[0] for verdict in results["verdicts"] for detail in verdict["details"]]
    assert "fully_connected, 4 labels against fully_connected, 4 labels, bottleneck" in compared
    assert len(compared) == 4


def test_unlabelled_clips_may_be_left_out_of_training(corpus: Path, tmp_path: Path) -> None:
    options = options_for(corpus, tmp_path, models=("fully_connected",), labels=("4", "2"), unlabelled="drop")
    pack = Pack(corpus)
    counts = [len(choose_clips(Pack(corpus), run.config)[0]) for run in label_set(options).runs]
    whole = len(pack.select(["train"]))
    assert counts == [whole, whole / 2, whole, whole / 2]


def test_planning_twice_adds_nothing_to_the_pack(corpus: Path, tmp_path: Path) -> None:
    options = options_for(corpus, tmp_path, labels=("4", "2"))
    label_set(options), embeddings(options)
    before = Pack(corpus).manifest
    label_set(options), embeddings(options)
    assert Pack(corpus).manifest == before


def test_three_label_sets_stand_beside_the_papers_three(corpus: Path, tmp_path: Path) -> None:
    options = options_for(corpus, tmp_path, models=("resnet50",), labels=("4", "3", "2"))
    beside = {run.row: run.paper for run in label_set(options).runs}
    assert beside["resnet50, 2 labels"] == {"labels": "400", "auc": 0.928, "d_prime": 2.067, "map": 0.376}
    assert beside["resnet50, 4 labels, bottleneck"]["map"] == 0.369
    assert beside["resnet50, 4 labels"] == {}  # the paper did not train it


def test_detectors_on_embeddings_of_a_network_that_never_heard_their_classes(
    corpus: Path, tmp_path: Path
) -> None:
    options = options_for(corpus, tmp_path / "out", models=(), embedder="alexnet", embeddings=("own",))
    rows = compare("embeddings", options, quiet=True)
    pack = Pack(corpus)
    embedder = load_artifact(tmp_path / "out/runs/embedder-seed0/last")
    assert embedder.labels == ("class0", "class2")
    shown = [row for row in rows if row["shown"]]
    assert [row["row"] for row in shown] == [
        "log-mel, fully_connected", "own, fully_connected", "own, single_attention", "own, multi_attention"
    ]  # fmt: skip
    plan = embeddings(options)
    heard = set(choose_clips(pack, plan.runs[0].config)[0].tolist())
    for run, row in zip(plan.runs[1:], shown, strict=True):
        learned = set(choose_clips(pack, run.config)[0].tolist())
        assert learned and not learned & heard
        assert (row["figures"]["classes"], row["train_clips"]) == (2, len(learned))
        detector = load_artifact(tmp_path / "out/runs" / row["name"] / "last")
        assert detector.labels == ("class1", "class3")
    assert plan.runs[1].config.model_arguments["input_shape"] == [1, 20, 64]
    assert plan.runs[1].config.window == 400 + 19 * 160
    stored = pack.embeddings(plan.runs[0].makes_embeddings)
    assert stored.values.shape[1] == embedder.embedding_size
    again = compare("embeddings", options, quiet=True)
    assert again == rows


def test_stored_embeddings_of_any_model_may_stand_beside(corpus: Path, tmp_path: Path) -> None:
    first = options_for(corpus, tmp_path / "one", models=(), embedder="alexnet", heads=("fully_connected",))
    compare("embeddings", first, quiet=True)
    name = Pack(corpus).embedding_sets[0]
    model = tmp_path / "one/runs/embedder-seed0/last"
    beside = dataclasses.replace(first, out=tmp_path / "two", embeddings=(f"{name}={model}",))
    rows = compare("embeddings", beside, quiet=True)
    assert [row["row"] for row in rows] == ["log-mel, fully_connected", f"{name}, fully_connected"]
    with pytest.raises(ValueError, match="nosuch"):
        compare("embeddings", dataclasses.replace(beside, embeddings=("nosuch",)), quiet=True)


def test_classes_are_split_as_told(corpus: Path, tmp_path: Path) -> None:
    pack, options = Pack(corpus), options_for(corpus, tmp_path)
    assert split_labels(pack, options) == (["class0", "class2"], ["class1", "class3"])
    told = dataclasses.replace(options, embedder_labels=("class3",))
    assert split_labels(pack, told) == (["class3"], ["class0", "class1", "class2"])
    with pytest.raises(ValueError, match="no label 'dog'"):
        split_labels(pack, dataclasses.replace(options, embedder_labels=("dog",)))
    with pytest.raises(ValueError, match="leave 0 to detect"):
        split_labels(pack, dataclasses.replace(options, embedder_labels=tuple(pack.label_names())))
