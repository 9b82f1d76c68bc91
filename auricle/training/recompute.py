"""Less memory for more time: what a network's blocks hold for the gradient is thrown away and computed twice.

Source: Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016,
https://arxiv.org/abs/1604.06174, by torch.utils.checkpoint.  The result is the same: the second time,
dropout drops the same units, and layers find their buffers as they were the first time, and leave them alone.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)


def recompute_blocks(net: nn.Module) -> int:
    """From now on, when gradients are wanted, the net's blocks are computed once more on the way back.

    A block is an element of an nn.Sequential or nn.ModuleList that is made of modules itself; an
    nn.Sequential of plain layers is cut into blocks behind each of its pools, where the least is to be kept.
    Names of weights stay; a deep copy is a net of the same kind.

    Returns:
        How many blocks there are.

    >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(2, 2, 3), nn.ReLU())
    >>> recompute_blocks(net)
    2
    """
    count = 0
    for block in blocks_of(net):
        flat = isinstance(block, nn.Sequential)
        block.forward = MethodType(_pieces_twice if flat else _twice, block)
        count += len(_pieces(block)) if isinstance(block, nn.Sequential) else 1
    return count


def blocks_of(net: nn.Module) -> Iterator[nn.Module]:
    """The modules that `recompute_blocks` changes: composed ones, and sequences of plain layers."""
    if isinstance(net, nn.Sequential) and not any(_composed(layer) for layer in net):
        # One that changes its input in place could not have it again.
        if len(net) > 1 and not getattr(net[0], "inplace", False):
            yield net
    elif isinstance(net, (nn.Sequential, nn.ModuleList)):
        for element in net:
            if isinstance(element, (nn.Sequential, nn.ModuleList)):
                yield from blocks_of(element)
            elif _composed(element):
                yield element
    else:
        for child in net.children():
            yield from blocks_of(child)


def _composed(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def _twice(self: nn.Module, *inputs: Any) -> Any:
    """A block's forward."""
    return _checkpointed([self], type(self).forward, self, *inputs)


def _pieces_twice(self: nn.Sequential, x: Tensor) -> Tensor:
    """The forward of a sequence of plain layers, piece by piece."""
    for piece in _pieces(self):
        x = _checkpointed(piece, _run, piece, x)
    return x


def _run(piece: list[nn.Module], x: Tensor) -> Tensor:
    for layer in piece:
        x = layer(x)
    return x


def _pieces(layers: nn.Sequential) -> list[list[nn.Module]]:
    """The layers up to and with each pool, and those behind the last."""
    pieces: list[list[nn.Module]] = [[]]
    for layer in layers:
        if pieces[-1] and isinstance(pieces[-1][-1], POOLS) and not getattr(layer, "inplace", False):
            pieces.append([])
        pieces[-1].append(layer)
    return pieces


def _checkpointed(layers: Iterable[nn.Module], function: Any, *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return function(*inputs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), buffers_kept(layers)

    return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)


def buffers_kept(layers: Iterable[nn.Module]) -> AbstractContextManager[None]:
    """Within, buffers (running statistics, say) are as they are at this call; what becomes of them is lost.

    >>> norm = nn.BatchNorm1d(2)
    >>> with buffers_kept([norm]):
    ...     _ = norm(torch.ones(3, 2))
    >>> norm.running_mean.tolist(), norm.num_batches_tracked.item()
    ([0.0, 0.0], 0)
    """
    modules = [module for layer in layers for module in layer.modules() if module._buffers]
    # Copies, since autograd counts on the same tensors the second time: nothing may be switched off.
    before = [{name: None if b is None else b.clone() for name, b in m._buffers.items()} for m in modules]
    return _swapped(modules, before)


@contextmanager
def _swapped(modules: list[nn.Module], buffers: list[dict[str, Tensor | None]]) -> Iterator[None]:
    kept = [dict(module._buffers) for module in modules]
    for module, others in zip(modules, buffers, strict=True):
        module._buffers.update(others)
    try:
        yield
    finally:
        for module, own in zip(modules, kept, strict=True):
            module._buffers.update(own)
