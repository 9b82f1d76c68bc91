"""Less memory for more time: what a network's blocks hold for the gradient is thrown away and computed twice.

Source: Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016,
https://arxiv.org/abs/1604.06174, by torch.utils.checkpoint.  The result is the same: the second time,
dropout drops the same units, and batch norm leaves its running statistics alone.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
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
    return _checkpointed(self, type(self).forward, self, *inputs)


def _pieces_twice(self: nn.Sequential, x: Tensor) -> Tensor:
    """The forward of a sequence of plain layers, piece by piece."""
    for piece in _pieces(self):
        x = _checkpointed(self, _run, piece, x)
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


def _checkpointed(block: nn.Module, function: Any, *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return function(*inputs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), statistics_kept(block)

    return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def statistics_kept(net: nn.Module) -> Iterator[None]:
    """Within, batch norm gathers its running statistics in copies that are thrown away.

    >>> norm = nn.BatchNorm1d(2)
    >>> with statistics_kept(norm):
    ...     _ = norm(torch.ones(3, 2))
    >>> norm.running_mean.tolist(), norm.num_batches_tracked.item()
    ([0.0, 0.0], 0)
    """
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    kept = [dict(norm._buffers) for norm in norms]
    for norm in norms:  # not by switching them off: autograd counts on the same tensors the second time
        norm._buffers.update({name: None if b is None else b.clone() for name, b in norm._buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)
