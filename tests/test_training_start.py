"""Where training starts: at another model's weights; and at the published configuration."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from test_cli import run as run_cli
from tones import config_for, log_of, make_corpus, same_weights

from auricle.artifact import load_artifact
from auricle.experiments.trainings import finished_twin
from auricle.features import FeatureConfig
from auricle.models import MODELS
from auricle.recipes import GOES_ON, RECIPES
from auricle.recipes import configure as by_recipe
from auricle.shards import Pack, add_labels
from auricle.training import TrainConfig, train
from auricle.training.checkpoints import load_checkpoint
from auricle.training.loop import learning_rate
from auricle.training.start import take_weights


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones, with a label set of two."""
    torch.set_num_threads(1)
    path = make_corpus(tmp_path_factory.mktemp("tones"))
    add_labels(path, "view", {id: [f"l{number % 2}"] for number, id in enumerate(Pack(path).ids)})
    return path


# --- where to start


@pytest.fixture(scope="module")
def source(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("source") / "run"
    return train(config_for(corpus, steps=4, validation_splits=(), validation_fraction=0.0), run, quiet=True)


def test_a_run_starts_from_a_model_and_says_so(
    corpus: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two labels in place of three: all but the head is taken."""
    config = config_for(corpus, steps=3, label_set="view", init_from=str(source), learning_rate=1e-12)
    found = load_artifact(train(config, tmp_path / "run"))
    said = capsys.readouterr().err
    assert "started from model: took " in said
    assert "left there: head.bias (3,), here (2,), head.weight (3, 16), here (2, 16);" in said
    assert "at random here: head.bias, head.weight" in said
    entry = next(entry for entry in log_of(tmp_path / "run") if entry.get("event") == "init")
    assert "stem.0.weight" in entry["taken"] and entry["fresh"] == ["head.bias", "head.weight"]
    record = found.training["init_from"]
    assert record["fingerprint"] == load_artifact(source).fingerprint and record["fresh"] == 2
    assert "init_from" not in found.training["config"], "a path says nothing elsewhere"
    assert "before" not in record and "before" not in entry
    assert found.training["within"][0]["heard"] == load_artifact(source).training["heard"]
    before, after = load_artifact(source).read_weights(), found.read_weights()
    for name in ("stem.0.weight", "body.0.conv1.weight"):
        assert after[name] == pytest.approx(before[name], abs=1e-6), "the average starts there, too"


def test_vggish_goes_into_the_first_layers_of_a_larger_model(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, rate=16_000)
    settings = {"window": 15600, "hop": 15360, "tail": "drop", "validation_fraction": 0.0, "average": 0.0}
    settings |= {"validation_splits": (), "model": "vggish", "batch": 2, "learning_rate": 1e-12}
    settings["features"] = FeatureConfig()
    narrow = {"width": 0.02, "bottleneck": 8}
    config = config_for(corpus, **settings, steps=1, model_arguments=narrow)
    released = train(config, tmp_path / "released", quiet=True)
    more = {"model_arguments": narrow | {"hidden": [1200]}, "init_from": str(released)}
    found = load_artifact(train(dataclasses.replace(config, **more), tmp_path / "larger", quiet=True))
    before, after = load_artifact(released).read_weights(), found.read_weights()
    assert after["head.3.weight"].shape == (3, 24) and after["head.1.weight"].shape == (24, 8)
    lower = [name for name in before if not name.startswith("head.")]
    assert len(lower) == 18
    for name in lower:
        np.testing.assert_allclose(after[name], before[name], atol=1e-6)


def test_a_refused_start_leaves_no_folder(corpus: Path, source: Path, tmp_path: Path) -> None:
    config = config_for(corpus, steps=1, init_from=str(source), init_prefix={"": "nowhere."})
    with pytest.raises(ValueError, match="no weight of equal name and shape"):
        train(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_resuming_does_not_start_again(corpus: Path, source: Path, tmp_path: Path) -> None:
    moved = tmp_path / "source"
    moved.symlink_to(source)
    config = config_for(corpus, steps=8, init_from=str(moved), validation_splits=(), validation_fraction=0.0)
    train(config, tmp_path / "whole", quiet=True)
    train(config, tmp_path / "run", quiet=True)
    saved = load_checkpoint(tmp_path / "run")
    assert saved is not None and saved["start"]["fingerprint"] == load_artifact(source).fingerprint
    moved.unlink()
    for folder in (tmp_path / "run").glob("last/*"):
        folder.unlink()
    (tmp_path / "run" / "last").rmdir()
    train(config, tmp_path / "run", resume=True, quiet=True)
    assert same_weights(tmp_path / "whole", tmp_path / "run")
    assert load_artifact(tmp_path / "run" / "last").training["init_from"]["model"] == "model"


@pytest.mark.parametrize("named", ["init_from", "teachers"])
def test_a_finished_training_by_a_model_that_is_another_now_is_no_twin(
    corpus: Path, tmp_path: Path, named: str
) -> None:
    rest = {"validation_splits": (), "validation_fraction": 0.0}
    other = train(config_for(corpus, steps=2, **rest), tmp_path / "other", quiet=True)
    given = {"init_from": str(other)} if named == "init_from" else {"teachers": (str(other),)}
    config = config_for(corpus, steps=2, seed=5, **rest, **given)
    run = tmp_path / "out" / "runs" / "a"
    train(config, run, quiet=True)
    assert finished_twin(config, tmp_path / "out") == run
    shutil.rmtree(tmp_path / "other")
    assert finished_twin(config, tmp_path / "out") is None, "gone, which is for the training to say"
    train(config_for(corpus, steps=2, seed=7, **rest), tmp_path / "other", quiet=True)
    assert finished_twin(config, tmp_path / "out") is None


def test_lower_layers_go_into_a_larger_model_by_prefix(
    corpus: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Larger(torch.nn.Module):
        def __init__(self, *, num_classes: int):
            super().__init__()
            self.base = MODELS["compact"](**config_for(corpus).model_arguments, num_classes=7)
            self.top = torch.nn.Linear(7, num_classes)

    net = Larger(num_classes=5)
    config = config_for(corpus, init_from=str(source), init_prefix={"": "base."})
    taken = take_weights(net, config)
    assert "base.stem.0.weight" in taken["taken"] and "top.weight" in taken["fresh"]
    assert taken["left"][0].startswith("head.")
    weights = load_artifact(source).read_weights()
    assert np.array_equal(net.base.stem[0].weight.detach().numpy(), weights["stem.0.weight"])
    only = take_weights(net, dataclasses.replace(config, init_prefix={"": "no.", "stem.": "base.stem."}))
    assert only["taken"] and all(name.startswith("base.stem.") for name in only["taken"])


def test_a_model_of_which_nothing_fits_is_an_error(corpus: Path, source: Path, tmp_path: Path) -> None:
    config = config_for(corpus, init_from=str(source), init_prefix={"": "elsewhere."})
    with pytest.raises(ValueError, match="no weight of equal name and shape: there .*; init_prefix maps"):
        train(config, tmp_path / "run", quiet=True)


def test_a_graph_has_no_weights_to_start_from(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"it has a graph \(onnx\) and no weights to start from; give the folder"
    ):
        train(config_for(corpus, init_from="default"), tmp_path / "run", quiet=True)
    train(
        config_for(corpus, steps=1), tmp_path / "run", quiet=True
    )  # the corrected command finds no run there


# --- the published training


def test_the_recipe_is_the_paper_s(corpus: Path) -> None:
    settings = {"model": "vgg", "model_arguments.bottleneck": "128"}
    config = by_recipe("hershey", data=corpus, settings=settings)
    assert (config.model, config.model_arguments) == ("vgg", {"bottleneck": 128})
    assert (config.optimizer, config.batch, config.balance) == ("adam", 128, "patches")
    assert (config.window, config.hop, config.tail) == (15_600, 15_360, "drop")
    assert (config.weight_decay, config.warmup_steps, config.average) == (0, 0, 0)
    assert (config.mixing, config.clip_norm, config.precision) == ("none", None, "auto")
    assert config.features == TrainConfig(data=corpus, steps=1).features
    assert config.steps == 17_000_000
    rates = [learning_rate(config, step, 17_000_000) for step in (0, 12_999_999, 13_000_000, 16_999_999)]
    assert rates == pytest.approx([3e-5, 3e-5, 3e-6, 3e-6])


@pytest.mark.parametrize("model", ["fully_connected", "alexnet", "vgg", "inception_v3", "resnet50"])
def test_the_recipe_trains_every_network_of_the_paper(corpus_16k: Path, tmp_path: Path, model: str) -> None:
    settings = {
        "model": model,
        "model_arguments.width": "0.02",
        "model_arguments.bottleneck": "4",
        "steps": "2",
        "batch": "4",
        "precision": "float32",
    }
    config = by_recipe("hershey", data=corpus_16k, settings=settings, device="cpu", threads=1)
    run = tmp_path / "run"
    found = load_artifact(train(config, run, quiet=True))
    assert (found.window, found.hop, found.tail, found.embedding_size) == (15_600, 15_360, "drop", 4)
    assert found.architecture["name"] == model
    log = log_of(run)
    assert {"validation_map", "validation_accuracy"} <= {name for entry in log for name in entry}


@pytest.fixture(scope="module")
def corpus_16k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("tones16"), rate=16_000)


def test_init_from_is_an_option_of_the_command(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(corpus), "--out", str(tmp_path / "run"), "--recipe", "hershey"]
    status, _, err = run_cli(
        capsys, "train", *options, "--set", "features.high=3800", "--set", "features.rate=8000",
        "--set", "model=fully_connected", "--set", "model_arguments.units=4", "--init-from", "default",
    )  # fmt: skip
    assert status == 1 and "it has a graph (onnx) and no weights to start from" in err


def test_a_recipe_for_trained_weights_says_that_it_has_none(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(corpus), "--set", "train_splits=nosuch"]  # refused, after the warning
    assert set(GOES_ON) <= set(RECIPES)
    for recipe, said in (*((name, True) for name in GOES_ON), ("compact-esc50-robust", False)):
        status, _, err = run_cli(
            capsys, "train", *options, "--out", str(tmp_path / "run"), "--recipe", recipe
        )
        assert (status, "--init-from RUN/last names some" in err) == (1, said)
