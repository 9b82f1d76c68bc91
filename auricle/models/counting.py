"""How large and how slow the models are, counted on the nets themselves."""

import inspect
from typing import Any

import torch
from torch import nn

from auricle.models import MODELS, build

LOGMEL_PATCH = (96, 64)  # frames and bands where a model does not say: 0.96 s, as most papers have it


def count_weights(net: nn.Module) -> int:
    """The number of trainable parameters.

    >>> count_weights(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def count_multiplies(net: nn.Module, example: torch.Tensor) -> int:
    """Multiplications of convolutions and linear layers for one forward pass.

    Args:
        net: is run once, in evaluation mode.
        example: its input; the figure is for the whole of it.

    >>> count_multiplies(nn.Conv1d(2, 3, kernel_size=5), torch.zeros(1, 2, 14))
    300
    """
    total = 0

    def add(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        total += output.numel() * weight[0].numel()  # one product for each weight of an output's filter

    hooks = [
        module.register_forward_hook(add)
        for module in net.modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear)
    ]
    training = net.training
    try:
        with torch.inference_mode():
            net.eval()(example)
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return total


def describe_models(num_classes: int) -> list[dict[str, Any]]:
    """A row for each model: name, weights, multiplies (of one patch), input, source.

    Args:
        num_classes: width of the last layer.

    >>> describe_models(num_classes=50)[0]["name"]
    'compact'
    """
    rows = []
    for name in MODELS:
        net = build(name, num_classes=num_classes)
        patch = tuple(getattr(net, "patch", LOGMEL_PATCH))
        rows.append(
            {
                "name": name,
                "weights": count_weights(net),
                "multiplies": count_multiplies(net, torch.zeros(1, 1, *patch)),
                "input": f"{net.input_kind} {' x '.join(map(str, patch))}",
                "source": _source(net),
            }
        )
    return rows


def _source(net: nn.Module) -> str:
    """What stands after "Source:" at the head of the model's file, up to the first full stop."""
    text = " ".join((inspect.getdoc(inspect.getmodule(net)) or "").split())
    return text.partition("Source: ")[2].partition(". ")[0].rstrip(".").strip()
