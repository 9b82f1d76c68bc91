"""All that changes from step to step, made, kept and put back."""

import copy
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from auricle import distributed
from auricle.features import num_frames
from auricle.models import MODELS, build
from auricle.training.beside import Beside
from auricle.training.config import TrainConfig
from auricle.training.recompute import recompute_blocks
from auricle.training.stagnation import Stagnation, begin_stagnation


@dataclass
class State:
    """All that changes from step to step."""

    net: nn.Module
    average: nn.Module  # running average of the net: validated and kept; the net itself where there is none
    optimizer: torch.optim.Optimizer
    predict: Callable[[Tensor], Tensor | list[Tensor]]  # the net as training calls it
    loss: Tensor  # running mean, float64, on the device: reading it waits for the GPU
    arguments: dict[str, Any]  # that the net was built with, but for the number of classes
    start: dict[str, Any] = field(default_factory=dict)  # `take_weights`: what it started from
    taught: list[dict[str, Any]] = field(default_factory=list)  # what its teachers were trained on
    teachers: list[dict[str, str]] = field(default_factory=list)  # "model" and "fingerprint" of each
    step: int = 0
    began: int = 0  # the step at which this stage of the training began
    best: dict[str, float] = field(default_factory=dict)  # figure -> the highest at which a model was kept
    stagnation: Stagnation | None = None  # where the rate is, of a schedule that follows the figures
    metrics: dict[str, float] = field(default_factory=dict)  # of the last validation


def make_state(
    config: TrainConfig,
    num_classes: int,
    device: torch.device,
    embeddings: Any = None,
    beside: Beside | None = None,
) -> State:
    """A fresh net, its average and the optimizer; the same seed gives the same net."""
    if config.compile and device.type != "cuda":
        raise ValueError(f"compile=true is for GPUs, but the device is {device}; leave it out")
    if config.sync_batch_norm and device.type != "cuda":
        raise ValueError(f"sync_batch_norm=true is for GPUs, but the device is {device}; leave it out")
    torch.manual_seed(config.seed)
    arguments = net_arguments(config, embeddings, beside)
    with shape_told(config, arguments):
        net = build(config.model, num_classes=num_classes, **arguments)
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(net).requires_grad_(False).eval() if config.average else net
    if config.sync_batch_norm and distributed.world() > 1:  # of one process the statistics are all there are
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    if config.checkpoint_activations:  # of the net alone: its average never wants a gradient
        recompute_blocks(net)
    predict = getattr(net, "forward_all", net)
    return State(
        net=net,
        average=average,
        optimizer=make_optimizer(net, config),
        predict=torch.compile(predict) if config.compile else predict,
        loss=torch.zeros((), dtype=torch.float64, device=device),
        arguments=arguments,
        stagnation=begin_stagnation(config) if config.schedule == "stagnation" else None,
    )


@contextmanager
def shape_told(config: TrainConfig, arguments: dict[str, Any]) -> Iterator[None]:
    """A net's error about `input_shape` names what nobody has set: this names the setting it follows from.

    >>> from pathlib import Path
    >>> config = TrainConfig(data=Path("pack"), steps=1, model="raw_waveform", window=1000)
    >>> with shape_told(config, net_arguments(config)):
    ...     raise ValueError("input_shape is (1000,); expected (N,), N at least 2048")
    Traceback (most recent call last):
    ValueError: window is 1000 samples, 0.0625 s, and model 'raw_waveform' does not take what that gives:
    input_shape is (1000,); expected (N,), N at least 2048; set a longer window, and hop with it
    """
    try:
        yield
    except ValueError as error:
        given = "input_shape" in config.model_arguments or "input_shape" not in arguments
        if given or config.embeddings or "input_shape" not in str(error):
            raise
        bands = "" if len(arguments["input_shape"]) == 1 else ", or more features.bands"
        raise ValueError(
            f"window is {config.window} samples, {config.window / config.features.rate:.3g} s, and model "
            f"{config.model!r} does not take what that gives: {error}; set a longer window, and hop with it"
            f"{bands}"
        ) from error


def make_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """A fresh one; weight decay is of matrices and kernels only."""
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer]
    return kind(groups, lr=config.learning_rate, fused=True)


def net_arguments(
    config: TrainConfig, embeddings: Any = None, beside: Beside | None = None
) -> dict[str, Any]:
    """The model's arguments; one built for a shape of input is told which, where it is not its usual one.

    >>> from pathlib import Path
    >>> net_arguments(TrainConfig(data=Path("pack"), steps=1, model_arguments={"dropout": 0.5}))
    {'dropout': 0.5}
    """
    arguments = dict(config.model_arguments)
    if config.model not in MODELS:
        return arguments
    model = MODELS[config.model]
    taken = inspect.signature(model).parameters
    if embeddings is not None:
        if "input_kind" not in taken and getattr(model, "input_kind", "") != "embedding":
            return arguments  # it does not take them, and is refused in words of its own
        shape = [config.embedding_windows, int(embeddings.values.shape[1])]
        seen = {"input_kind": "embedding", "input_shape": shape}
    elif beside is not None:
        heard = [config.window]
        if getattr(model, "input_kind", "")[0] == "logmel":
            heard = [1, num_frames(config.window, config.features), config.features.bands]
        seen = {"input_shape": [heard, beside.shape]}
    elif getattr(model, "input_kind", "") == "logmel":
        seen = {"input_shape": [1, num_frames(config.window, config.features), config.features.bands]}
    elif getattr(model, "input_kind", "") == "waveform":
        seen = {"input_shape": [config.window]}
    else:
        return arguments
    for name, value in seen.items():
        usual = getattr(model, name, None)
        if name in taken and value != (json.loads(json.dumps(usual)) if isinstance(usual, tuple) else usual):
            arguments.setdefault(name, value)
    return arguments


def as_saved(state: State) -> dict[str, Any]:
    """The state as a checkpoint holds it."""
    return {
        "net": state.net.state_dict(),
        "average": None if state.average is state.net else state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "began": state.began,
        "best": state.best,
        "stagnation": None if state.stagnation is None else state.stagnation.as_saved(),
        "metrics": state.metrics,
        "loss": state.loss.item(),
        "start": state.start,
    }


def restore(state: State, saved: dict[str, Any]) -> None:
    """Put a checkpoint back."""
    state.net.load_state_dict(saved["net"])
    if state.average is not state.net:
        state.average.load_state_dict(saved["average"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.step, state.start = saved["step"], saved.get("start", {})
    state.best = saved["best"] if isinstance(saved["best"], dict) else {"map": saved["best"]}  # an older one
    if saved.get("stagnation"):
        state.stagnation = Stagnation(**saved["stagnation"])
    state.began, state.metrics = saved.get("began", 0), saved.get("metrics", {})
    state.loss.fill_(saved["loss"])


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, *, decay: float) -> None:
    """Move the average a step towards the net, its statistics included."""
    mine, theirs = (list(module.state_dict().values()) for module in (average, net))
    pairs = list(zip(mine, theirs, strict=True))
    floating = [(a, b) for a, b in pairs if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floating], [b for _, b in floating], 1 - decay)
    for a, b in pairs:
        if not a.is_floating_point():
            a.copy_(b)
