"""Inception V3 with a truncated stem, on log-mel patches.

Source: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017, section
3.3.4, https://arxiv.org/abs/1609.09430; modules of Szegedy et al., "Rethinking the Inception Architecture
for Computer Vision", CVPR 2016, with the channels of its authors' release. As published: the stem's first
four layers (three convolutions and the max pool) are gone, so is the auxiliary network, and the last map is
10 x 6; 28 M weights with 3,087 labels.

The published 4.7 G multiplies do not follow from this: convolutions and linear layers sum to 5.44 G. The
paper also tried, and left, the whole stem without its first stride and first max pool: `full_stem=True`,
whose last map is 10 x 6 too.

Without padding in the stem and its pool, as in the original, the last frame and the last band of a patch
reach no unit of the truncated net.

Shape letters: B clips, C channels (1), T frames (96 of 10 ms), F mel bands (64), E embedding (2048), K
classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from auricle.models.parts import (
    PATCH,
    check_patches,
    conv_norm,
    initialise,
    output_layers,
    patch_shape,
    scaled,
)

# A tower is a list of layers: (channels, kernel[, stride]), a 3x3 pool, or a list of towers side by side.
Tower = list[Any]
AVERAGE, MAX = "average", "max"  # the average keeps the map's size, the max halves it
SPLIT: list[Tower] = [[(384, (1, 3))], [(384, (3, 1))]]


def _square(pooled: int) -> list[Tower]:
    return [
        [(64, 1)],
        [(48, 1), (64, 5)],
        [(64, 1), (96, 3), (96, 3)],
        [AVERAGE, (pooled, 1)],
    ]


def _long(inner: int) -> list[Tower]:
    return [
        [(192, 1)],
        [(inner, 1), (inner, (1, 7)), (192, (7, 1))],
        [(inner, 1), (inner, (7, 1)), (inner, (1, 7)), (inner, (7, 1)), (192, (1, 7))],
        [AVERAGE, (192, 1)],
    ]


MODULES: list[list[Tower]] = [
    _square(32),  # 46 x 30
    _square(64),
    _square(64),
    [[(384, 3, 2)], [(64, 1), (96, 3), (96, 3, 2)], [MAX]],  # -> 22 x 14
    _long(128),
    _long(160),
    _long(160),
    _long(192),
    [[(192, 1), (320, 3, 2)], [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)], [MAX]],  # -> 10 x 6
    [[(320, 1)], [(384, 1), SPLIT], [(448, 1), (384, 3), SPLIT], [AVERAGE, (192, 1)]],
    [[(320, 1)], [(384, 1), SPLIT], [(448, 1), (384, 3), SPLIT], [AVERAGE, (192, 1)]],
]
STEM = ((32, 3, 0), (32, 3, 0), (64, 3, 1))  # channels, kernel, padding: gone in the truncated net
NECK = ((80, 1, 0), (192, 3, 0))


class InceptionV3(nn.Module):
    """Log-mel patch of 0.96 s -> logits.

    Args:
        num_classes: K, the width of the logits.
        full_stem: keep the stem's first three convolutions, the first with stride 1.
        bottleneck: units of a linear layer before the output; None for none.
        width: multiplies the channels.
        input_shape: (1, T, F) of a patch; the last map is averaged whatever its size.

    Shapes:
        forward: (B, 1, 96, 64) log-mel -> (B, K) logits, no sigmoid.
        embed:   (B, 1, 96, 64) log-mel -> (B, E): the mean of the last map, or the bottleneck.

    >>> import torch
    >>> InceptionV3(num_classes=5, width=0.1)(torch.zeros(2, 1, 96, 64)).shape
    torch.Size([2, 5])
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = PATCH

    def __init__(
        self,
        *,
        num_classes: int,
        full_stem: bool = False,
        bottleneck: int | None = None,
        width: float = 1.0,
        input_shape: Sequence[int] = PATCH,
    ):
        super().__init__()
        self.num_classes = num_classes
        least = 21 if full_stem else 17  # frames and bands that leave a last map of 1 x 1
        self.input_shape = patch_shape(input_shape, least=(least, least))
        stem, size = [], 1
        for channels, kernel, padding in (*STEM, *NECK) if full_stem else NECK:
            channels = scaled(channels, width)
            stem += [*conv_norm(size, channels, kernel, padding=padding), nn.ReLU(inplace=True)]
            size = channels
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(3, 2))
        mixed: list[nn.Module] = []
        for towers in MODULES:
            module = Towers(size, towers, width)
            mixed.append(module)
            size = module.channels
        self.mixed = nn.Sequential(*mixed)
        self.bottleneck, self.head, self.embedding_size = output_layers(size, num_classes, bottleneck)
        initialise(self, self.head)

    def embed(self, logmel_BCTF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, E)."""
        check_patches(logmel_BCTF, self.input_shape)
        return self.bottleneck(self.mixed(self.stem(logmel_BCTF)).mean((2, 3)))

    def forward(self, logmel_BCTF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, K) logits."""
        return self.head(self.embed(logmel_BCTF))


class Towers(nn.Module):
    """Towers side by side on one map, their channels joined; attribute `channels` is their number."""

    def __init__(self, size_in: int, towers: list[Tower], width: float):
        super().__init__()
        built = [_tower(size_in, layers, width) for layers in towers]
        self.towers = nn.ModuleList(tower for tower, _ in built)
        self.channels = sum(size for _, size in built)

    def forward(self, map_BCTF: Tensor) -> Tensor:
        """(B, C, T, F) -> (B, channels, T', F')."""
        return torch.cat([tower(map_BCTF) for tower in self.towers], 1)


def _tower(size: int, layers: Tower, width: float) -> tuple[nn.Sequential, int]:
    """The layers of a tower, and how many channels leave it."""
    made: list[nn.Module] = []
    average = False
    for layer in layers:
        if layer == AVERAGE:
            average = True
        elif layer == MAX:
            made.append(nn.MaxPool2d(3, 2))
        elif isinstance(layer, list):
            split = Towers(size, layer, width)
            made.append(split)
            size = split.channels
        else:
            channels, kernel, stride = (*layer, 1)[:3]
            kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
            padding = (kernel[0] // 2, kernel[1] // 2) if stride == 1 else 0
            channels = scaled(channels, width)
            conv, norm = conv_norm(size, channels, kernel, stride=stride, padding=padding)
            made.append(conv)
            if average:  # the same after a 1x1 convolution as before it, on a fraction of the channels
                made.append(nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False))
            made += [norm, nn.ReLU(inplace=True)]
            size, average = channels, False
    return nn.Sequential(*made), size
