"""Pieces of MobileNetV3-Large that its plain and its dynamic form share: the table, channel counts, layers.

Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, table 1; constants as in the release of Schmid
et al. (fschmid56/EfficientAT): batch norm with epsilon 0.001 and momentum 0.01.

Shape letters: B clips, C channels, T frames, F mel bands, E embedding, K classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

TEN_SECONDS = (1, 1000, 128)  # C, T, F: for counting; any number of frames and bands will do
FIRST, LAST, UNITS = 16, 160, 1280  # channels of the stem and of the last block, units of the head
EXPANDED_LAST = 6  # times the last block's channels: what is averaged to the embedding
STRIDED = (1, 3, 6, 12)  # blocks whose strides the released variants set
STRIDES = (2, 2, 2, 2)
HEADS = ("mlp", "linear")


class Row(NamedTuple):
    """A row of table 1: a block."""

    kernel: int
    expanded: int
    out: int
    squeeze: bool
    hard_swish: bool


ROWS = (
    Row(3, 16, 16, False, False),
    Row(3, 64, 24, False, False),
    Row(3, 72, 24, False, False),
    Row(5, 72, 40, True, False),
    Row(5, 120, 40, True, False),
    Row(5, 120, 40, True, False),
    Row(3, 240, 80, False, True),
    Row(3, 200, 80, False, True),
    Row(3, 184, 80, False, True),
    Row(3, 184, 80, False, True),
    Row(3, 480, 112, True, True),
    Row(3, 672, 112, True, True),
    Row(5, 672, 160, True, True),
    Row(5, 960, 160, True, True),
    Row(5, 960, 160, True, True),
)


class Shape(NamedTuple):
    """A block at some width: its row, with channels that come in and its stride."""

    size_in: int
    expanded: int
    size_out: int
    kernel: int
    stride: int
    squeeze: bool
    hard_swish: bool


def in_eights(count: float) -> int:
    """The multiple of 8 nearest to a number of channels, at least 8, and none that loses a tenth or more.

    >>> [in_eights(count) for count in (6.4, 28.8, 9.6, 2688.0)]
    [8, 32, 16, 2688]
    """
    rounded = max(8, int(count + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * count else rounded


def shapes(width: float, strides: Sequence[int]) -> list[Shape]:
    """The blocks of the table, their channels multiplied by `width`.

    >>> shapes(1.0, (2, 2, 2, 2))[-1]
    Shape(size_in=160, expanded=960, size_out=160, kernel=5, stride=1, squeeze=True, hard_swish=True)
    """
    if not 0 < width < 100:
        raise ValueError(f"width is {width}; expected a number above 0, 1 for the published size")
    if len(strides) != len(STRIDED) or any(stride not in (1, 2) for stride in strides):
        raise ValueError(f"strides is {list(strides)}; expected four numbers, each 1 or 2")
    by_block = dict(zip(STRIDED, strides, strict=True))
    made, size_in = [], in_eights(FIRST * width)
    for number, row in enumerate(ROWS):
        expanded, size_out = in_eights(row.expanded * width), in_eights(row.out * width)
        stride = by_block.get(number, 1)
        made.append(Shape(size_in, expanded, size_out, row.kernel, stride, row.squeeze, row.hard_swish))
        size_in = size_out
    return made


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with the release's constants.

    >>> norm(8).eps
    0.001
    """
    return nn.BatchNorm2d(channels, eps=0.001, momentum=0.01)


def conv_norm(size_in: int, size_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A padded convolution without bias and its batch norm.

    >>> len(conv_norm(1, 8, 3))
    2
    """
    padding = kernel // 2
    layer = nn.Conv2d(size_in, size_out, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(layer, norm(size_out))


def swish(hard: bool) -> nn.Module:
    """A block's activation: hard swish, or ReLU in the first blocks.

    >>> swish(False)
    ReLU()
    """
    return nn.Hardswish() if hard else nn.ReLU()


class Inverted(nn.Module):
    """A block of MobileNetV3: expand, each channel by itself, squeeze-and-excitation, project.

    Args:
        shape: its row at some width.
        squeeze: whether it has squeeze-and-excitation, over channels.
    """

    def __init__(self, shape: Shape, *, squeeze: bool):
        super().__init__()
        wide = shape.expanded
        self.expand = conv_norm(shape.size_in, wide, 1) if wide != shape.size_in else None
        self.depth = conv_norm(wide, wide, shape.kernel, stride=shape.stride, groups=wide)
        self.squeeze = Squeeze(wide) if squeeze else None
        self.project = conv_norm(wide, shape.size_out, 1)
        self.act = swish(shape.hard_swish)
        self.shortcut = shape.stride == 1 and shape.size_in == shape.size_out

    def forward(self, map_BCFT: Tensor) -> Tensor:
        """(B, C, F, T) -> (B, C', F / stride, T / stride), rounded up."""
        inner = map_BCFT if self.expand is None else self.act(self.expand(map_BCFT))
        inner = self.act(self.depth(inner))
        if self.squeeze is not None:
            inner = self.squeeze(inner)
        inner = self.project(inner)
        return inner + map_BCFT if self.shortcut else inner


class Squeeze(nn.Module):
    """Squeeze-and-excitation of Hu et al. (2018): each channel times a number made of all channels' means.

    Over channels, to a quarter of them, with a plain sigmoid, as released (`se_dims` "c", `se_r` 4).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.down = nn.Linear(channels, in_eights(channels // 4))
        self.up = nn.Linear(in_eights(channels // 4), channels)

    def forward(self, map_BCFT: Tensor) -> Tensor:
        """(B, C, F, T) -> (B, C, F, T)."""
        factor_BC = self.up(self.down(map_BCFT.mean((2, 3))).relu()).sigmoid()
        return map_BCFT * factor_BC[:, :, None, None]


def make_head(
    kind: str, size: int, num_classes: int, *, width: float, dropout: float
) -> tuple[nn.Sequential, nn.Linear]:
    """From the embedding to the logits, and the last layer of that.

    Args:
        kind: "mlp", with a hidden layer of 1280 units times `width`, or "linear".
        size: E.
        num_classes: K.
        width: of the network.
        dropout: share of the hidden layer dropped in training.

    >>> len(make_head("mlp", 960, 527, width=1.0, dropout=0.2)[0])
    4
    """
    if kind not in HEADS:
        raise ValueError(f"head is {kind!r}; known: {', '.join(HEADS)}")
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; expected at least 1")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; expected a share from 0 to below 1")
    if kind == "linear":
        last = nn.Linear(size, num_classes)
        return nn.Sequential(last), last
    units = in_eights(UNITS * width)
    last = nn.Linear(units, num_classes)
    return nn.Sequential(nn.Linear(size, units), nn.Hardswish(), nn.Dropout(dropout), last), last


def frequency_first(logmel_B1TF: Tensor, *, training: bool, least: int) -> Tensor:
    """(B, 1, T, F) log-mel -> (B, 1, F, T), as the released kernels lie.

    Raises:
        ValueError: it is none, or in training one clip of whose last map one place is left.

    >>> frequency_first(torch.zeros(2, 1, 1000, 128), training=False, least=32).shape
    torch.Size([2, 1, 128, 1000])
    """
    shape = tuple(logmel_B1TF.shape)
    if len(shape) != 4 or shape[1] != 1:
        raise ValueError(f"expected log-mel (B, 1, T, F), got {shape}")
    if not torch.compiler.is_exporting():
        if not shape[2] or not shape[3]:
            raise ValueError(f"expected log-mel (B, 1, T, F) of at least one frame and band, got {shape}")
        if training and shape[0] == 1 and shape[2] <= least and shape[3] <= least:
            raise ValueError(
                "expected log-mel (B, 1, T, F) of more than one clip in training, or longer ones: batch norm "
                f"cannot train on a last map of 1 x 1, got {shape}"
            )
    return logmel_B1TF.transpose(2, 3)
