"""The mean of models: its weights, its check, what it has heard, and what is refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_fusion
import torch
from running import run
from safetensors.numpy import save_file
from tones import config_for, make_corpus

from auricle.artifact import load_artifact, save_changed
from auricle.averaging import average_models, mean_weights, unrelated
from auricle.evaluation import evaluate
from auricle.runners import check, load_runner
from auricle.shards import Pack
from auricle.training import train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def two(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One model, and one that began with its weights."""
    folder = tmp_path_factory.mktemp("two")
    settings = {"validation_splits": (), "validation_fraction": 0.0, "learning_rate": 3e-3}
    first = train(config_for(corpus, name="first", licence="CC0-1.0", **settings), folder / "a", quiet=True)
    later = config_for(corpus, name="later", seed=1, init_from=str(first), licence="MIT", **settings)
    return first, train(later, folder / "b", quiet=True)


def test_weights_are_the_mean_and_the_check_is_what_they_give(two: tuple[Path, Path], tmp_path: Path) -> None:
    made = average_models(two, tmp_path / "mean", shares=[1, 3])
    first, later, mean = (load_artifact(path).read_weights() for path in (*two, made.path))
    assert mean.keys() == first.keys()
    for key, array in mean.items():
        assert array.dtype == first[key].dtype and array.shape == first[key].shape
        if array.dtype == np.float32:
            np.testing.assert_allclose(array, 0.25 * first[key] + 0.75 * later[key], rtol=1e-6, atol=1e-7)
        else:
            np.testing.assert_array_equal(array, first[key])
    assert any(not np.array_equal(first[key], later[key]) for key in first)
    assert check(load_runner(made))["max_difference"] < 1e-5 and made.changed_parts() == []
    given = made.read_check()[1]
    assert np.abs(given - load_artifact(two[0]).read_check()[1]).max() > 1e-3, "the check is its own"


def test_the_mean_of_a_model_and_its_copy_says_the_same(two: tuple[Path, Path], tmp_path: Path) -> None:
    made = average_models([two[1], two[1]], tmp_path / "mean")
    waveforms, logits, _ = load_artifact(two[1]).read_check()
    np.testing.assert_allclose(load_runner(made).run(waveforms)[0], logits, atol=1e-5)


def test_it_tells_whose_it_is_and_what_they_heard(
    two: tuple[Path, Path], corpus: Path, tmp_path: Path
) -> None:
    calibrated = save_changed(load_artifact(two[0]), tmp_path / "calibrated", thresholds=[0.5, 0.6, 0.7])
    made = average_models([calibrated.path, two[1]], tmp_path / "mean", name="ours")
    assert (made.name, made.licence) == ("ours", "CC0-1.0; MIT")
    assert made.thresholds is None and made.metrics == {}
    assert [part["model"] for part in made.training["averaged"]] == ["first", "later"]
    later = load_artifact(two[1])
    assert made.training["averaged"][1] == {
        "model": "later", "fingerprint": later.fingerprint, "share": 0.5, "step": 30,
        "init_from": later.training["init_from"],
    }  # fmt: skip
    assert [about["config"]["name"] for about in made.training["within"]] == ["later"]
    found = evaluate(made.path, corpus, splits=["train"], out=tmp_path / "eval", quiet=True)
    assert found["clips_in_training"] == len(Pack(corpus).select(["train"]))


def test_what_only_the_second_model_heard_is_known(
    two: tuple[Path, Path], corpus: Path, tmp_path: Path
) -> None:
    """Planted: were its training not taken over, nothing would say that the test clips were trained on."""
    settings = {"train_splits": ("test",), "validation_splits": (), "validation_fraction": 0.0, "steps": 2}
    other = train(config_for(corpus, **settings), tmp_path / "other", quiet=True)
    made = average_models([two[0], other], tmp_path / "mean")
    for model, heard in ((two[0], 0), (made.path, 6)):
        out = tmp_path / f"eval{heard}"
        found = evaluate(model, corpus, splits=["test"], out=out, quiet=True)
        assert found["clips_in_training"] == heard


def test_what_cannot_be_averaged_is_refused(two: tuple[Path, Path], corpus: Path, tmp_path: Path) -> None:
    first, later = two
    renamed = save_changed(load_artifact(later), tmp_path / "renamed", labels=["a", "b", "c"])
    longer = save_changed(load_artifact(later), tmp_path / "longer", hop=2000)
    for models, shares, said in (
        ([first], None, "models to average: 1; give two or more"),
        ([first, later], [1], "1 shares for 2 models; give one for each"),
        ([first, later], [1, -1], "shares 1, -1; expected numbers above 0"),
        ([first, later], [1, float("nan")], "expected numbers above 0"),
        ([first, later], [1e-320, 1], "expected numbers above 0, none a millionth of another"),
        ([first, renamed.path], None, "differs from .* in labels;"),
        ([first, longer.path], None, "differs from .* in hop;"),
        (["default", first], None, "has a graph"),
    ):
        with pytest.raises(ValueError, match=said):
            average_models(models, tmp_path / "mean", shares=shares)
    for own in (first, later, later / "inside"):
        with pytest.raises(ValueError, match="is, or is in, one of the models; name another folder"):
            average_models(two, own)
    assert not (tmp_path / "mean").exists()
    assert load_artifact(first).name == "first"


def test_another_network_is_refused(two: tuple[Path, Path], corpus: Path, tmp_path: Path) -> None:
    alone: dict = {"validation_splits": (), "validation_fraction": 0.0, "steps": 2}
    wider = {"stem": 8, "widths": [8, 24], "blocks": [1, 1]}
    for field, changes in (
        ("architecture", {"model_arguments": wider}),
        ("inputs", {"features": dataclasses.replace(config_for(corpus).features, low=200.0)}),
        ("window", {"window": 6000}),
        ("pooling", {"pooling": "max"}),
    ):
        other = train(config_for(corpus, **alone, **changes), tmp_path / field, quiet=True)
        with pytest.raises(ValueError, match=f"differs from .* in {field};"):
            average_models([two[0], other], tmp_path / "mean")


def test_damaged_weights_are_refused_by_the_model_s_name(two: tuple[Path, Path], tmp_path: Path) -> None:
    damaged = shutil.copytree(two[1], tmp_path / "damaged")
    content = bytearray((damaged / "weights.safetensors").read_bytes())
    content[-5] ^= 0x10
    (damaged / "weights.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="damaged: weights.safetensors: not as saved, so damaged or edited"):
        average_models([two[0], damaged], tmp_path / "mean")
    weights = load_artifact(two[1]).read_weights()
    weights["head.bias"][0] = np.nan
    save_file(weights, damaged / "weights.safetensors")
    about = json.loads((damaged / "model.json").read_text())
    (damaged / "model.json").write_text(json.dumps(about | {"checksum": ""}))
    with pytest.raises(ValueError, match=r"damaged: weight head.bias is not finite: its training diverged"):
        average_models([two[0], damaged], tmp_path / "mean")


def test_what_all_models_have_alike_stays(two: tuple[Path, Path], tmp_path: Path) -> None:
    parents = [[], ["high"], []]
    changed = [
        save_changed(load_artifact(model), tmp_path / name, parents=parents, pooling="max", tail="align")
        for name, model in zip("ab", two, strict=True)
    ]
    made = average_models([model.path for model in changed], tmp_path / "mean")
    assert (made.parents, made.pooling, made.tail) == (parents, "max", "align")
    assert made.tolerance == max(model.tolerance for model in changed)
    assert made.training["audio"] == changed[0].training["audio"]


def test_a_model_on_embeddings_keeps_its_embedder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_fusion.register(monkeypatch)
    embedder = tiny_fusion.save_embedder(tmp_path / "embedder")
    for seed in (0, 1):
        tiny_fusion.save(tmp_path / str(seed), ["a", "b"], embedder=embedder, seed=seed)
    made = average_models([tmp_path / "0", tmp_path / "1"], tmp_path / "mean")
    assert made.embedder is not None and made.embedder.fingerprint == load_artifact(embedder).fingerprint
    assert check(load_runner(made))["ok"]


def test_shares_of_any_size_are_parts_of_one(two: tuple[Path, Path], tmp_path: Path) -> None:
    made = average_models(two, tmp_path / "mean", shares=[1e308, 1e308])
    assert [part["share"] for part in made.training["averaged"]] == [0.5, 0.5]


def test_models_of_which_nothing_tells_that_they_are_near_are_named(
    two: tuple[Path, Path], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"validation_splits": (), "validation_fraction": 0.0, "steps": 2}
    apart = train(config_for(corpus, seed=9, **settings), tmp_path / "apart", quiet=True)
    begun = train(config_for(corpus, init_from=str(two[1]), **settings), tmp_path / "begun", quiet=True)
    mean = average_models(two, tmp_path / "mean").path
    assert unrelated([*two, begun, mean]) == [] and unrelated([begun, *two]) == []
    later = average_models([two[1], begun], tmp_path / "later").path
    deeper = average_models([later, begun], tmp_path / "deeper").path
    assert unrelated([later, two[0]]) == [] and unrelated([deeper, two[0]]) == []
    assert unrelated([two[0], apart, two[1]]) == [str(apart)]
    for models, said in (((two[0], apart), True), (two, False)):
        status, _, err = run(capsys, "average", *models, "--out", tmp_path / "made")
        assert status == 0 and ("nothing tells that it began with the weights of" in err) == said


def test_counts_are_not_averaged() -> None:
    one, other = ({"steps": np.array(number), "w": np.float32([number])} for number in (4, 9))
    mean = mean_weights([one, other], [0.5, 0.5])
    assert mean["steps"] == 4 and mean["w"] == np.float32(6.5)
    assert one["w"] == 4, "what is given stays"


def test_the_verb_makes_a_model(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mean"
    status, printed, _ = run(capsys, "average", *two, "--out", out, "--shares", "1,1", "--name", "ours")
    assert (status, printed) == (0, f"{out}\n")
    made = load_artifact(out)
    assert made.name == "ours"
    assert made == dataclasses.replace(average_models(two, tmp_path / "other", name="ours"), path=made.path)
    status, printed, err = run(capsys, "average", *two, "--out", out, "--shares", "1,much")
    assert (status, printed) == (2, "") and "'1,much'; expected numbers, say 1,3" in err
