"""How large a network is: weights and multiplies, counted on the network itself."""

import inspect
import re
from typing import Any

import torch
from torch import nn


def count_weights(net: nn.Module, *, kernels_only: bool = False) -> int:
    """Trainable numbers of a network.

    Args:
        net: any module.
        kernels_only: leave out biases and batch norm, as papers often do.

    >>> count_weights(nn.Linear(3, 2)), count_weights(nn.Linear(3, 2), kernels_only=True)
    (8, 6)
    """
    return sum(p.numel() for p in net.parameters() if p.requires_grad and (p.ndim > 1 or not kernels_only))


def count_multiplies(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiplies of the convolutions and linear layers for one input.

    Args:
        net: any module with weights; on the device "meta" nothing is computed, only counted.
        shape: of the input without the batch, e.g. (1, 96, 64).

    >>> count_multiplies(nn.Conv2d(1, 2, 3), (1, 5, 5))
    162
    """
    total = 0

    def add(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        total += output.numel() * weight[0].numel()  # of one input, which may be several windows

    layers = [m for m in net.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    was_training = net.training
    try:
        with torch.inference_mode():
            net.eval()(torch.zeros(1, *shape, device=next(net.parameters()).device))
    finally:
        net.train(was_training)
        for hook in hooks:
            hook.remove()
    return total


def source_of(model: type[nn.Module]) -> str:
    """The sentence after "Source:" in the docstring of a model's file.

    >>> from auricle.models.compact import Compact
    >>> source_of(Compact)
    'our own'
    """
    module = inspect.getmodule(model)
    found = re.search(r"Source:\s*(.*?)\.\s", (module.__doc__ or "") if module else "", re.DOTALL)
    return " ".join(found[1].split()) if found else ""
