"""Mix-training on every kind of network, and the published recipe from its command to figures."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_cli import run as run_cli
from tones import TinyWave, config_for, make_corpus, same_weights

from auricle.artifact import load_artifact
from auricle.models import MODELS
from auricle.recipes import configure as by_recipe
from auricle.runners import check, load_runner
from auricle.training import TrainConfig, train
from auricle.training.loop import learning_rate
from auricle.training.stages import plan_stages
from auricle.training.state import net_arguments


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(autouse=True)
def _tiny_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_wave", TinyWave)


class Killed(Exception):
    pass


class ShapedWave(TinyWave):
    """The same, told for which length of input it is."""

    input_shape: tuple[int, ...] = (160_000,)

    def __init__(self, *, num_classes: int, input_shape: Any = (160_000,)):
        super().__init__(num_classes=num_classes)
        self.input_shape = tuple(input_shape)


def test_a_network_on_waveforms_is_told_its_window() -> None:
    MODELS["shaped_wave"] = ShapedWave
    try:
        config = TrainConfig(data=Path("x"), steps=1, model="shaped_wave", window=8000)
        assert net_arguments(config) == {"input_shape": [8000]}
        assert net_arguments(dataclasses.replace(config, window=160_000)) == {}, "its usual one is not said"
        given = dataclasses.replace(config, model_arguments={"input_shape": [4096]})
        assert net_arguments(given) == {"input_shape": [4096]}, "what is set counts"
    finally:
        del MODELS["shaped_wave"]
    assert net_arguments(dataclasses.replace(config, model="tiny_wave")) == {}


KINDS: dict[str, dict[str, Any]] = {
    "logmel": {},
    "tiny_wave": {"model": "tiny_wave", "model_arguments": {}, "mask_frames": 0, "mask_bands": 0},
    "raw_waveform": {
        "model": "raw_waveform",
        "model_arguments": {"depth_2d": 18, "bands": 16, "hidden": 16, "width": 0.05},
        "mask_frames": 0,
        "mask_bands": 0,
        "window": 4096,
        "hop": 4096,
    },
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mixing", ["mix_training", "mixup"])
def test_every_kind_of_network_trains_in_two_steps_balanced_and_in_parts(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, mixing: str
) -> None:
    """All options at once, stopped within each stage: the same weights as never stopped."""
    import auricle.training.loop as loop

    options = {"balance": "classes", "accumulate": 2, "average": 0.0, "checkpoint_activations": True}
    lengths = {"steps": 6, "finetune_steps": 4, "validate_every": 100, "checkpoint_every": 2}
    config = config_for(corpus, **({"mixing": mixing} | KINDS[kind] | options | lengths))
    train(config, tmp_path / "whole", quiet=True)
    plain = loop.update
    for stop in (3, 7):

        def until(state: Any, *rest: Any, stop: int = stop) -> Any:
            if state.step == stop:
                raise Killed
            return plain(state, *rest)

        monkeypatch.setattr(loop, "update", until)
        with pytest.raises(Killed):
            train(config, tmp_path / "run", resume=True, quiet=True)
    monkeypatch.setattr(loop, "update", plain)
    train(config, tmp_path / "run", resume=True, quiet=True)
    assert same_weights(tmp_path / "whole", tmp_path / "run")
    assert check(load_runner(load_artifact(tmp_path / "run" / "last"), threads=1))["ok"]


RECIPE = ["--recipe", "chen", "--device", "cpu", "--threads", "1"]
SMALL = {
    "model_arguments": "{depth_2d: 18, bands: 16, hidden: 16, width: 0.05}",
    "window": "16384",
    "hop": "16384",
    "steps": "4",
    "finetune_steps": "3",
    "batch": "6",
    "validate_every": "2",
    "train_splits": "train",
    "validation_splits": "test",
    "precision": "float32",
}


def test_the_recipe_trains_by_one_command_is_judged_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raw waveforms at 16 kHz: killed in step one, gone on with, judged from each model that was left."""
    import auricle.training.loop as loop

    data, run = make_corpus(tmp_path, rate=16_000), tmp_path / "run"
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    command = ["train", "--data", str(data), "--out", str(run), *RECIPE, *settings]
    plain = loop.update

    def until_two(state: Any, *rest: Any) -> Any:
        if state.step == 2:
            raise ValueError("killed")
        return plain(state, *rest)

    monkeypatch.setattr(loop, "update", until_two)
    assert run_cli(capsys, *command)[0] == 1
    monkeypatch.setattr(loop, "update", plain)
    status, out, err = run_cli(capsys, *command, "--resume")
    assert (status, out.strip()) == (0, str(run / "best")), err
    assert "step two: fine-tuning for 3 steps at a rate of 3e-05, mixing none" in err
    found = load_artifact(run / "best")
    assert found.inputs[0] == {"kind": "waveform", "rate": 16_000} and found.window == 16_384
    assert found.architecture["arguments"]["input_shape"] == [16_384]
    for name in ("stage1", "best", "last"):
        options = ["--split", "test", "--out", str(tmp_path / name)]
        status, out, err = run_cli(capsys, "evaluate", str(run / name), str(data), *options)
        assert status == 0 and "map" in out and "was trained on these" not in err
        assert json.loads((tmp_path / name / "metrics.json").read_text())


def test_the_recipe_is_the_paper_s(corpus: Path) -> None:
    config = by_recipe("chen", data=corpus)
    assert (config.model, config.window, config.features.rate) == ("raw_waveform", 160_000, 16_000)
    assert (config.optimizer, config.batch, config.balance) == ("adam", 256, "classes")
    assert (config.mixing, config.mix_range, config.finetune_mixing) == ("mix_training", (0.4, 0.6), "none")
    assert (config.weight_decay, config.warmup_steps, config.average) == (0, 0, 0)
    first, second = plan_stages(config, 527)
    for stage, rate in ((first, 3e-4), (second, 3e-5)):
        rates = [learning_rate(stage.config, step, stage.steps) for step in (0, stage.steps - 1)]
        assert rates == pytest.approx([rate, rate])
    for settings in ({"mixing": "none"}, {"mixing": "mixup"}, {"mix_range": "0,1"}, {"finetune_epochs": "9"}):
        assert by_recipe("chen", data=corpus, settings=settings).two_steps
    assert not by_recipe("chen", data=corpus, settings={"finetune_steps": "null"}).two_steps
