"""How large a network is: weights and multiplies, counted on the network itself."""

import inspect
import re
from collections.abc import Sequence
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


def count_multiplies(net: nn.Module, shape: Sequence[int] | Sequence[Sequence[int]]) -> int:
    """Multiplies of the convolutions, linear and bilinear layers for one input.

    Of a bilinear layer one for each weight is counted, as of a linear one: what multiplies the two inputs
    with each other is not there in all ways to compute it, and is below a hundredth.

    Args:
        net: any module with weights; on the device "meta" nothing is computed, only counted.
        shape: of the input without the batch, e.g. (1, 96, 64); of a net that takes a tuple, a shape each.

    >>> count_multiplies(nn.Conv2d(1, 2, 3), (1, 5, 5))
    162
    """
    total = 0

    def add(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        total += output.numel() * weight[0].numel()  # of one input, which may be several windows

    layers = [m for m in net.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Linear, nn.Bilinear))]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    was_training = net.training
    try:
        with torch.inference_mode():
            net.eval()(zeros(shape, 1, next(net.parameters()).device))
    finally:
        net.train(was_training)
        for hook in hooks:
            hook.remove()
    return total


def zeros(
    shape: Sequence[int] | Sequence[Sequence[int]], batch: int, device: torch.device | str = "cpu"
) -> Any:
    """A batch of silent inputs of a net's `input_shape`: a tensor, or a tuple of them.

    >>> zeros((1, 96, 64), 2).shape, [one.shape for one in zeros(((1, 8, 4), (10, 128)), 2)]
    (torch.Size([2, 1, 96, 64]), [torch.Size([2, 1, 8, 4]), torch.Size([2, 10, 128])])
    """
    sizes: list[Any] = list(shape)
    if isinstance(sizes[0], Sequence):
        return tuple(torch.zeros(batch, *one, device=device) for one in sizes)
    return torch.zeros(batch, *sizes, device=device)


def shape_in_words(kind: str | Sequence[str], shape: Sequence[int] | Sequence[Sequence[int]]) -> str:
    """What a net takes, for a table.

    >>> shape_in_words("logmel", (1, 96, 64)), shape_in_words(("logmel", "embedding"), ((1, 8, 4), (10, 128)))
    ('logmel 1 x 96 x 64', 'logmel 1 x 8 x 4 + embedding 10 x 128')
    """
    pairs: list[Any] = [(kind, shape)] if isinstance(kind, str) else list(zip(kind, shape, strict=True))
    return " + ".join(f"{one} {' x '.join(str(size) for size in sizes)}" for one, sizes in pairs)


def source_of(model: type[nn.Module]) -> str:
    """The sentence after "Source:" in the docstring of a model's file.

    >>> from auricle.models.compact import Compact
    >>> source_of(Compact)
    'our own'
    """
    module = inspect.getmodule(model)
    found = re.search(r"Source:\s*(.*?)\.\s", (module.__doc__ or "") if module else "", re.DOTALL)
    return " ".join(found[1].split()) if found else ""
