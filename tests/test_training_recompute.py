"""Blocks computed twice hold less and give the same, for every model of the package."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tones import config_for, log_of, make_corpus, same_weights
from torch import nn

from auricle.models import MODELS, build
from auricle.training import TrainConfig, train
from auricle.training.recompute import POOLS, blocks_of, buffers_kept, recompute_blocks
from auricle.training.state import State, make_state
from auricle.training.step import summed_loss

CPU = torch.device("cpu")
SMALL: dict[str, dict[str, Any]] = {  # all others: a twentieth of their width
    "compact": {"stem": 8, "widths": [8, 16], "blocks": [2, 1], "dropout": 0.3},
    "raw_waveform": {"bands": 16, "hidden": 16, "width": 0.05, "depth_2d": 18, "input_shape": [4096]},
    "urban_cnn": {"width": 0.05, "input_shape": [1, 784, 108]},
    "urban_fusion": {"width": 0.05, "input_shape": [[1, 784, 108], [2, 8]]},
    "wavegram_logmel_cnn14": {"width": 0.05, "input_shape": [12000]},
}


HELD = {"mobilenet_v1": 0.26, "yamnet": 0.5}  # blocks of so few layers that their inputs are much of it


def small(name: str) -> dict[str, Any]:
    return SMALL.get(name, {"width": 0.05})


def inputs_of(net: nn.Module, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    if isinstance(net.input_kind, tuple):
        return tuple(torch.randn(4, *shape, generator=generator) for shape in net.input_shape)  # type: ignore[union-attr]
    return torch.randn(4, *net.input_shape, generator=generator)  # type: ignore[misc]


def one_step(state: State, step: int, dtype: torch.dtype) -> float:
    """In training, with a gradient, on inputs and dropout that the step decides."""
    torch.manual_seed(100 + step)
    state.net.train()
    state.optimizer.zero_grad()
    targets = (torch.rand(4, 3, generator=torch.Generator().manual_seed(step)) > 0.5).float()
    live: Any = SimpleNamespace(device=CPU, dtype=dtype)
    loss = summed_loss(state, inputs_of(state.net, step), targets, live)
    loss.backward()
    state.optimizer.step()
    return loss.item()


def state_of(name: str, **changes: Any) -> State:
    window = 15600 if MODELS[name].input_kind == "logmel" else 4096  # type: ignore[attr-defined]
    config = TrainConfig(
        data=Path("x"), steps=3, model=name, model_arguments=small(name), window=window, **changes
    )
    return make_state(config, 3, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MODELS)
def test_three_steps_end_with_the_same_weights_and_statistics(name: str, dtype: torch.dtype) -> None:
    """To the last bit, dropout and batch norm included."""
    torch.set_num_threads(1)
    plain, twice = state_of(name), state_of(name, checkpoint_activations=True)
    names = list(plain.net.state_dict())
    assert names == list(twice.net.state_dict())
    for step in range(3):
        assert one_step(plain, step, dtype) == one_step(twice, step, dtype)
    for key, value in plain.net.state_dict().items():
        assert torch.equal(value, twice.net.state_dict()[key]), key
    tracked = [value.item() for key, value in twice.net.state_dict().items() if "num_batches" in key]
    assert set(tracked) <= {3}, "statistics were gathered once a step"
    assert list(blocks_of(twice.net)), "there is something to compute twice"


@pytest.mark.parametrize("name", MODELS)
def test_blocks_run_twice_with_a_gradient_and_once_without(name: str) -> None:
    net = build(name, num_classes=3, **small(name))
    runs: list[str] = []
    for key, module in net.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            module.register_forward_hook(lambda *_, key=key: runs.append(key))
    recompute_blocks(net)
    inside = {
        id(layer)
        for block in blocks_of(net)
        for layer in block.modules()
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear))
    }
    loss = net(inputs_of(net, 0)).sum()
    once = list(runs)
    runs.clear()
    loss.backward()
    modules = dict(net.named_modules())
    again = [key for key in once if id(modules[key]) in inside]
    assert set(runs) <= set(again) and len(runs) >= len(again) * 0.5, "what follows in a block may be skipped"
    runs.clear()
    with torch.no_grad():
        net(inputs_of(net, 0))
    assert runs == once


def held(net: nn.Module) -> int:
    """Bytes that autograd keeps of a forward pass, outside blocks that are computed twice."""
    total = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net.train()(inputs_of(net, 0))
    return total


@pytest.mark.parametrize("name", MODELS)
def test_less_is_held(name: str) -> None:
    """Of networks with convolutions, far less."""
    net = build(name, num_classes=3, **small(name))
    convolves = any(isinstance(layer, (nn.Conv1d, nn.Conv2d)) for layer in net.modules())
    before = held(net)
    recompute_blocks(net)
    assert held(net) < HELD.get(name, 0.25 if convolves else 1) * before


def test_a_copy_runs_its_own_layers_and_not_those_of_the_original() -> None:
    net = build("resnet50", num_classes=3, width=0.05)
    recompute_blocks(net)
    x = inputs_of(net, 0)
    expected = net.eval()(x)
    copied = copy.deepcopy(net)
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
    assert torch.equal(copied.eval()(x), expected) and not torch.equal(net(x), expected)
    for block in blocks_of(copied):
        assert block.forward.__self__ is block  # type: ignore[attr-defined]


def test_a_sequence_of_plain_layers_is_cut_behind_its_pools() -> None:
    net = build("vgg", num_classes=3, width=0.05)
    pools = sum(isinstance(layer, POOLS) for layer in net.features)  # type: ignore[union-attr]
    assert pools == 5 and recompute_blocks(net) == 5 + 1, "and the hidden layers"


def test_what_changes_its_input_in_place_is_left_as_it_is() -> None:
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 3))
    assert recompute_blocks(net) == 0


class Fading(nn.Module):
    """Squashes by a buffer that every pass halves."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.scale = self.scale / 2
        return torch.tanh(x * self.scale)


class Around(nn.Module):
    """A block around layers."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.inside = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inside(x)


@pytest.mark.parametrize("around", [True, False], ids=["block", "plain layers"])
@pytest.mark.parametrize(
    "layer",
    [nn.InstanceNorm1d(4, track_running_stats=True), nn.BatchNorm1d(4), Fading()],
    ids=lambda layer: type(layer).__name__,
)
def test_whatever_keeps_buffers_ends_with_the_same(layer: nn.Module, around: bool) -> None:
    """Also where what comes out depends on them."""
    torch.manual_seed(0)
    layers = [nn.Conv1d(1, 4, 3), copy.deepcopy(layer), nn.MaxPool1d(2), nn.Conv1d(4, 4, 3), nn.Tanh()]
    plain = nn.Sequential(Around(*layers)) if around else nn.Sequential(*layers)
    twice = copy.deepcopy(plain)
    assert recompute_blocks(twice) == (1 if around else 2)
    for step in range(3):
        x = torch.randn(2, 1, 20, generator=torch.Generator().manual_seed(step))
        for net in (plain, twice):
            net(x).square().sum().backward()
    for key, value in plain.state_dict().items():
        assert torch.equal(value, twice.state_dict()[key]), key
    for one, other in zip(plain.parameters(), twice.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None and torch.equal(one.grad, other.grad)


def test_statistics_are_gathered_again_after_an_error() -> None:
    norm = nn.BatchNorm1d(2)
    mean = norm.running_mean
    with pytest.raises(RuntimeError), buffers_kept([norm]):
        norm(torch.rand(4, 2))
        raise RuntimeError
    assert norm.running_mean is mean and mean.tolist() == [0, 0]
    norm(torch.rand(4, 2))
    assert min(mean.tolist()) > 0 and norm.num_batches_tracked.item() == 1


def test_a_run_may_go_on_with_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: Path
) -> None:
    """It is no part of what a run computes: begun with, ended without, the same weights."""
    import auricle.training.loop as loop

    plain = loop.update
    changes: dict[str, Any] = {"steps": 6, "finetune_steps": 4, "mixing": "mix_training", "average": 0.9}
    train(config_for(corpus, **changes), tmp_path / "plain", quiet=True)
    twice = config_for(corpus, **changes, checkpoint_activations=True)
    train(twice, tmp_path / "twice", quiet=True)
    assert same_weights(tmp_path / "plain", tmp_path / "twice")
    assert log_of(tmp_path / "plain") == log_of(tmp_path / "twice")

    def until_seven(state: State, *rest: Any) -> Any:
        if state.step == 7:
            raise InterruptedError
        return plain(state, *rest)

    monkeypatch.setattr(loop, "update", until_seven)
    with pytest.raises(InterruptedError):
        train(twice, tmp_path / "both", quiet=True)
    monkeypatch.setattr(loop, "update", plain)
    train(config_for(corpus, **changes), tmp_path / "both", resume=True, quiet=True)
    assert same_weights(tmp_path / "plain", tmp_path / "both")
    published = (tmp_path / "twice" / "last" / "model.json").read_text()
    assert "checkpoint_activations" not in published


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("tones"))
