"""What stands above what, of a pack's labels: kept with a label set, saved with models, and then used."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_urban
import torch
from running import run
from tones import TinyPlain, config_for, make_corpus

from auricle.artifact import load_artifact
from auricle.datasets import ontology
from auricle.datasets.taxonomy import Taxonomy
from auricle.hierarchy import ancestors
from auricle.models import MODELS
from auricle.runners import check, load_runner
from auricle.shards import Pack, add_label_view, add_labels, add_parents, label_parents
from auricle.training import train

LABELS = ["low", "middle", "high", "tonal", "sound"]
TREE = "low: tonal\nmiddle: [tonal]\ntonal: sound\nhigh: hiss\nhiss: noise\nrain: noise\n"  # hiss is no label
LEVELS = [["sound"], ["tonal"], ["low", "middle", "high"]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones with a label set `deep` of three levels, given its parents by the command."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("deep")
    path = make_corpus(folder)
    reader = Pack(path)
    said = {}
    for clip, row in zip(reader.ids.tolist(), reader.targets(np.arange(len(reader))), strict=True):
        name = reader.label_names()[int(row.argmax())]
        said[clip] = [name] if name == "high" else [name, "tonal", "sound"]
    add_labels(path, "deep", said, names=LABELS)
    (folder / "tree.yaml").write_text(TREE)
    return path


def test_three_levels_go_from_the_pack_into_the_model_and_from_there_into_tags_and_figures(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(MODELS, "tiny_plain", TinyPlain)
    tree = corpus.parent / "tree.yaml"
    code, out, _ = run(capsys, "labels", corpus, "--label-set", "deep", "--parents", tree)
    assert code == 0 and "5 of 5 labels in the hierarchy; labels of each level, from the top: 1, 1, 3" in out
    config = config_for(
        corpus, label_set="deep", model="tiny_plain", model_arguments={}, steps=2, mask_frames=0, mask_bands=0
    )
    train(config, tmp_path / "run", quiet=True)
    model = tmp_path / "run" / "best"
    saved = json.loads((model / "model.json").read_text())
    assert dict(zip(saved["labels"], saved["parents"], strict=True)) == {
        "low": ["tonal"],
        "middle": ["tonal"],
        "high": [],  # what it stands under is no label
        "tonal": ["sound"],
        "sound": [],
    }
    assert check(load_runner(load_artifact(model)))["ok"]
    tones = sorted(map(str, (corpus.parent / "tones").glob("*.wav")))
    scores = {}
    for option in ([], ["--consistent"]):
        code, out, err = run(
            capsys, "tag", *tones, "--model", model, *option, "--format", "jsonl", "--top", 5, "--jobs", 1
        )
        assert code == 0, err
        rows = [{tag["label"]: tag["score"] for tag in json.loads(line)["tags"]} for line in out.splitlines()]
        scores[bool(option)] = rows
    plain, consistent = scores[False], scores[True]
    assert len(plain) == len(consistent) == 24 and plain != consistent
    for before, after in zip(plain, consistent, strict=True):
        tonal = max(before[name] for name in ("tonal", "low", "middle"))
        assert after == before | {"tonal": tonal, "sound": max(tonal, before["sound"])}
    code, _, err = run(
        capsys, "evaluate", model, corpus, "--label-set", "deep", "--out", tmp_path / "eval", "--draws", 0
    )
    assert code == 0, err
    levels = json.loads((tmp_path / "eval" / "metrics.json").read_text())["levels"]
    with (tmp_path / "eval" / "per_class.csv").open() as file:
        ap = {row["label"]: float(row["ap"]) for row in csv.DictReader(file)}
    assert [(level["level"], level["classes"]) for level in levels] == [(0, 1), (1, 1), (2, 3)]
    for level, names in zip(levels, LEVELS, strict=True):
        assert level["map"] == pytest.approx(np.mean([ap[name] for name in names]), abs=1e-6)


def test_a_model_of_both_levels_of_a_taxonomy_is_saved_with_them_and_one_of_a_single_level_flat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(MODELS, "tiny_plain", TinyPlain)
    torch.set_num_threads(1)
    pack, tree = tiny_urban.make_corpus(tmp_path), tiny_urban.TREE
    add_label_view(pack, "fine", tree.fine_labels, of="agreement50")
    for label_set in ("agreement50", "fine"):
        train(tiny_urban.config_for(pack, steps=2, label_set=label_set), tmp_path / label_set, quiet=True)
    both, fine = (load_artifact(tmp_path / name / "best") for name in ("agreement50", "fine"))
    assert both.parents == [tree.parents[label] for label in both.labels] and both.parents[0] == ["1_engine"]
    assert fine.parents is None
    sounds = tmp_path / "sounds" / "03.wav"
    command = ["tag", sounds, "--format", "jsonl", "--top", len(tree.labels), "--consistent", "--model"]
    code, out, _ = run(capsys, *command, both.path)
    scores = {tag["label"]: tag["score"] for tag in json.loads(out)["tags"]}
    assert code == 0 and all(scores[up] >= scores[low] for low, above in tree.parents.items() for up in above)
    assert run(capsys, *command, fine.path)[0] == 2, "no label of it stands above another"


def test_a_view_keeps_the_whole_hierarchy_and_labels_stay_as_they_are(corpus: Path) -> None:
    before = Pack(corpus).targets(np.arange(24), "deep")
    kept = add_parents(corpus, ontology.read_parents(corpus.parent / "tree.yaml"), "deep", replace=True)
    assert kept == {
        "sound": [],
        "tonal": ["sound"],
        "low": ["tonal"],
        "middle": ["tonal"],
        "noise": [],
        "hiss": ["noise"],
        "high": ["hiss"],
    }, "rain has no label below it"
    assert np.array_equal(before, Pack(corpus).targets(np.arange(24), "deep"))
    add_label_view(corpus, "some", ["low", "sound"], of="deep", replace=True)
    reader = Pack(corpus)
    assert label_parents(reader, "some") == label_parents(reader, "deep") == kept
    assert label_parents(reader, "labels") == {} and reader.taxonomy("deep") is None


def test_the_command_gives_parents_to_the_set_that_it_makes(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = corpus.parent / "tree.yaml"
    add_labels(corpus, "flat", {}, names=LABELS, replace=True)
    keep = corpus.parent / "keep.txt"
    keep.write_text("low\nsound\n")
    options = ["--label-set", "flat", "--keep", keep, "--name", "two", "--parents", tree]
    code, out, _ = run(capsys, "labels", corpus, *options)
    assert code == 0 and "2 of 2 labels in the hierarchy" in out
    assert label_parents(Pack(corpus), "two")["low"] == ["tonal"] and not label_parents(Pack(corpus), "flat")
    code, out, err = run(capsys, "labels", corpus, "--label-set", "two", "--parents", tree)
    assert code == 1 and "has parents already" in err
    code, out, _ = run(
        capsys, "labels", corpus, "--label-set", "two", "--parents", tree, "--replace", "--format", "json"
    )
    assert code == 0 and json.loads(out)["label_set"] == "two"


def test_what_is_no_hierarchy_of_these_labels_is_refused_and_nothing_is_written(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (corpus / "manifest.json").read_bytes()
    with pytest.raises(ValueError, match="no label of set 'labels' stands below another"):
        add_parents(corpus, {"Low": ["tonal"]})
    with pytest.raises(ValueError, match="its own ancestor: low < high < low"):
        add_parents(corpus, {"low": ["high"], "high": ["low"]})
    file = tmp_path / "tree"
    for name, text, said in (
        ("no.json", None, "no such file"),
        ("bad.json", "{", "neither JSON nor YAML"),
        ("deep.json", "[" * 200_000, "neither JSON nor YAML"),
        ("bad.yaml", "low: [", "neither JSON nor YAML"),
        ("text.json", '"low"', "expected LABEL: [labels right above it]"),
        ("number.json", '{"low": [1]}', "'low': expected the list of labels"),
        ("none.json", '{"low": null}', "'low': expected the list of labels"),
        ("list.json", '[{"id": 1}]', "not an ontology of AudioSet"),
    ):
        file = tmp_path / name
        if text is not None:
            file.write_text(text)
        code, out, err = run(capsys, "labels", corpus, "--parents", file)
        assert code == 1 and said in err and name in err and len(err.splitlines()) == 1, err
    assert (corpus / "manifest.json").read_bytes() == before


def test_a_set_with_a_taxonomy_keeps_it(corpus: Path) -> None:
    tree = Taxonomy(("1_dog",), (("1-1_bark", "1-2_growl"),))
    add_labels(corpus, "dogs", {}, names=tree.labels, taxonomy=tree.as_dict(), replace=True)
    assert label_parents(Pack(corpus), "dogs") == tree.parents
    with pytest.raises(ValueError, match="has a taxonomy"):
        add_parents(corpus, {"1-1_bark": ["1-2_growl"]}, "dogs", replace=True)


def test_audiosets_527_labels_know_their_places_by_its_ontology(
    corpus: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "audioset"
    names = list(ontology.read_classes(folder / "class_labels_indices.csv").values())
    add_labels(corpus, "audioset", {}, names=names, replace=True)
    code, out, _ = run(
        capsys, "labels", corpus, "--label-set", "audioset", "--parents", folder / "ontology.json"
    )
    assert code == 0 and "527 of 527 labels in the hierarchy" in out
    assert "from the top: 2, 23, 265, 191, 44, 2" in out
    kept, whole = label_parents(Pack(corpus), "audioset"), ontology.parents(folder / "ontology.json")
    assert all(set(ancestors(kept)[name]) == set(ancestors(whole)[name]) for name in names)
