"""MobileNets a second time, from the papers' tables, clip by clip in float64: mn, dymn, yamnet, with faults.

Weights come one by one in the order of a network's layers, as in model_oracles.py.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Iterator[Tensor]
# Howard et al. 2019, table 1: kernel, "exp size", "#out", SE, NL, s.
TABLE = """
3 16 16 - RE 1
3 64 24 - RE 2
3 72 24 - RE 1
5 72 40 SE RE 2
5 120 40 SE RE 1
5 120 40 SE RE 1
3 240 80 - HS 2
3 200 80 - HS 1
3 184 80 - HS 1
3 184 80 - HS 1
3 480 112 SE HS 1
3 672 112 SE HS 1
5 672 160 SE HS 2
5 960 160 SE HS 1
5 960 160 SE HS 1
"""
ROWS = [
    (int(kernel), squeeze == "SE", name, int(stride))
    for kernel, _, _, squeeze, name, stride in (line.split() for line in TABLE.split("\n") if line)
]


def hard_swish(x: Tensor) -> Tensor:
    return x * (x + 3).clamp(0, 6) / 6


def nonlinear(name: str, x: Tensor) -> Tensor:
    return hard_swish(x) if name == "HS" else x.clamp(min=0)


def normal(x: Tensor, w: Weights, epsilon: float) -> Tensor:
    """Batch norm from its four vectors."""
    factor, bias, mean, variance = (next(w).view(1, -1, 1, 1) for _ in range(4))
    return (x - mean) / torch.sqrt(variance + epsilon) * factor + bias


def each_channel(x: Tensor, kernel: Tensor, stride: int, pads: tuple[int, int, int, int]) -> Tensor:
    """A depthwise convolution as a sum of shifted maps: (1, C, h, w), (C, 1, k, k)."""
    x = F.pad(x, pads)
    size = kernel.shape[-1]
    rows, columns = ((n - size) // stride + 1 for n in x.shape[2:])
    total = torch.zeros(1, x.shape[1], rows, columns, dtype=x.dtype)
    for i in range(size):
        for j in range(size):
            part = x[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
            total += part[:, :, :rows, :columns] * kernel[:, 0, i, j].view(1, -1, 1, 1)
    return total


def at_each_place(x: Tensor, kernel: Tensor) -> Tensor:
    """A convolution of kernel 1 as a product: (1, C, h, w), (O, C, 1, 1)."""
    return torch.einsum("bchw,oc->bohw", x, kernel[:, :, 0, 0])


def mn(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """The table, and the head of Schmid et al."""
    weights = [one.double() for one in w]
    return torch.cat([mn_of_one(clip[None], iter(weights), fault) for clip in x.double()]).float()


def mn_of_one(x: Tensor, w: Weights, fault: str) -> Tensor:
    x = x if fault == "time first" else x.transpose(2, 3)
    x = hard_swish(normal(F.conv2d(x, next(w), stride=2, padding=1), w, 1e-3))
    for number, (kernel, squeeze, name, stride) in enumerate(ROWS):
        y = x
        if number:
            y = nonlinear(name, normal(at_each_place(y, next(w)), w, 1e-3))
        y = normal(each_channel(y, next(w), stride, (kernel // 2,) * 4), w, 1e-3)
        y = nonlinear("HS" if fault == "one activation" else name, y)
        if squeeze:
            matrix, bias, back, back_bias = (next(w) for _ in range(4))
            hidden = (y.mean((2, 3)) @ matrix.T + bias).clamp(min=0)
            factor = hidden @ back.T + back_bias
            factor = (factor + 3).clamp(0, 6) / 6 if fault == "hard sigmoid" else torch.sigmoid(factor)
            y = y * factor[:, :, None, None]
        y = normal(at_each_place(y, next(w)), w, 1e-3)
        x = y + x if stride == 1 and y.shape == x.shape else y
        if fault == "activation after the sum":
            x = nonlinear(name, x)
    return head(hard_swish(normal(at_each_place(x, next(w)), w, 1e-3)).mean((2, 3)), w, fault)


def head(x: Tensor, w: Weights, fault: str) -> Tensor:
    hidden = x @ next(w).T + next(w)
    hidden = hidden.clamp(min=0) if fault == "ReLU in the head" else hard_swish(hidden)
    return hidden @ next(w).T + next(w)


def dymn(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Schmid et al. 2023, section III."""
    weights = [one.double() for one in w]
    return torch.cat([dymn_of_one(clip[None], iter(weights), fault) for clip in x.double()]).float()


def mixed(w: Weights, context: Tensor, fault: str) -> Tensor:
    """One kernel of four, equations 5 and 6."""
    kernels, matrix, bias = (next(w) for _ in range(3))
    logits = (context @ matrix.T + bias) / (30 if fault == "hot" else 1)
    shares = torch.exp(logits - logits.max())
    shares = shares / shares.sum()
    apart = kernels.view(4, -1, *kernels.shape[1:])
    if fault == "kernels in another order":
        apart = kernels.view(-1, 4, *kernels.shape[1:]).transpose(0, 1)
    return sum(share * kernel for share, kernel in zip(shares[0], apart, strict=True))


def pooled(x: Tensor, fault: str) -> Tensor:
    """(C, n) -> (C, n / 2): means of three with zeros beyond the ends."""
    padded = F.pad(x, (1, 1))
    total = padded[:, :-2:2] + padded[:, 1:-1:2] + padded[:, 2::2]
    if fault == "ends not counted":
        ones = F.pad(torch.ones_like(x), (1, 1))
        return total / (ones[:, :-2:2] + ones[:, 1:-1:2] + ones[:, 2::2])
    return total / 3


def dymn_of_one(x: Tensor, w: Weights, fault: str) -> Tensor:
    x = x.transpose(2, 3)
    x = hard_swish(normal(F.conv2d(x, next(w), stride=2, padding=1), w, 1e-3))
    for number, (kernel, _, name, stride) in enumerate(ROWS):
        sequence = torch.cat([x.mean(3), x.mean(2)], dim=2)[..., None]  # bands, then frames
        sequence = hard_swish(normal(at_each_place(sequence, next(w)), w, 1e-3))[0, :, :, 0]
        bands, frames = sequence[:, : x.shape[2]], sequence[:, x.shape[2] :]
        context = sequence.mean(1)[None]
        if fault == "context of both means":
            context = (bands.mean(1) + frames.mean(1))[None] / 2
        if stride == 2:
            bands, frames = pooled(bands, fault), pooled(frames, fault)
        attention = [next(w)[:, :, 0, 0] @ part + next(w)[:, None] for part in (bands, frames)]
        y = x
        if number:
            y = nonlinear(name, normal(at_each_place(y, mixed(w, context, fault)), w, 1e-3))
        y = normal(each_channel(y, mixed(w, context, fault), stride, (kernel // 2,) * 4), w, 1e-3)
        theta = 2 * torch.sigmoid(context @ next(w).T + next(w)) - 1
        slope, other, offset, second = theta.view(-1, 4).T.view(4, 1, -1, 1, 1)
        half = 1.0 if fault == "offsets not halved" else 0.5
        y = torch.maximum(y * (1 + slope) + half * offset, y * other + half * second)
        if fault != "no coordinate attention":
            over_bands, over_frames = (torch.sigmoid(part) for part in attention)
            y = y * over_bands[None, :, :, None] * over_frames[None, :, None, :]
        y = normal(at_each_place(y, mixed(w, context, fault)), w, 1e-3)
        x = y + x if stride == 1 and y.shape == x.shape else y
    return head(hard_swish(normal(at_each_place(x, next(w)), w, 1e-3)).mean((2, 3)), w, fault)


def yamnet(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """The layers of the release: thirteen pairs after the first."""
    weights = [one.double() for one in w]
    return torch.cat([yamnet_of_one(clip[None], iter(weights), fault) for clip in x.double()]).float()


def yamnet_of_one(x: Tensor, w: Weights, fault: str) -> Tensor:
    def edges(stride: int) -> tuple[int, int, int, int]:
        if stride == 1 or fault == "edges on both sides":
            return (1, 1, 1, 1)
        return (1, 0, 1, 0) if fault == "edges before" else (0, 1, 0, 1)

    def shifted(x: Tensor) -> Tensor:
        """Batch norm without a factor, as the release has it."""
        bias, mean, variance = (next(w)[:, None, None] for _ in range(3))
        return (x - mean) / (variance + 1e-4).sqrt() + bias

    x = shifted(F.conv2d(F.pad(x, edges(2)), next(w), stride=2)).clamp(min=0)
    for stride in (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1):
        x = shifted(each_channel(x, next(w), stride, edges(stride)))
        if fault != "one ReLU a pair":
            x = x.clamp(min=0)
        x = shifted(at_each_place(x, next(w))).clamp(min=0)
    assert x.shape[2:] == (3, 2)
    return x.mean((2, 3)) @ next(w).T + next(w)


MOBILE_ORACLES = {
    "mn": (
        mn,
        ["time first", "one activation", "hard sigmoid", "activation after the sum", "ReLU in the head"],
    ),
    "dymn": (
        dymn,
        [
            "hot",
            "kernels in another order",
            "offsets not halved",
            "no coordinate attention",
        ],
    ),
    "yamnet": (yamnet, ["edges on both sides", "edges before", "one ReLU a pair"]),
}
