"""YAMNet: MobileNetV1 on patches of 0.96 s, the network behind Google's released AudioSet tagger.

Source: Plakal and Ellis, "YAMNet", 2020 (tensorflow/models, research/audioset/yamnet), whose layers are those
of Howard et al., "MobileNets", 2017, https://arxiv.org/abs/1704.04861, table 1. As in the release: batch norm
without a factor, epsilon 0.0001; plain ReLUs; zeros beyond the edges as TensorFlow's "same" has them, which
for stride 2 on an even map is none before it and one after it; log-mel with log(x + 0.001).

Ours: `width`, other patches, first weights.

Shape letters: B clips, C channels, T frames (96), F mel bands (64), E embedding (1024), K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from auricle.models.parts import PATCH, check_patches, initialise, output_layers, patch_shape, scaled

STEM = 32
BLOCKS = (  # channels, stride
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
EPSILON = 1e-4
KERNEL = 3


class YAMNet(nn.Module):
    """Log-mel patch of 0.96 s -> logits, by way of 1024 values.

    Args:
        num_classes: K, the width of the logits; the release's are 521.
        input_shape: (1, T, F).
        width: multiplies the channels.

    Shapes:
        forward: (B, 1, 96, 64) log-mel -> (B, K) logits, no sigmoid.
        embed:   (B, 1, 96, 64) log-mel -> (B, E).

    Raises:
        ValueError: an argument is none of those above, or log-mel is not (B, *input_shape).

    >>> import torch
    >>> YAMNet(num_classes=5, width=0.25).embed(torch.zeros(2, 1, 96, 64)).shape
    torch.Size([2, 256])
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = PATCH

    def __init__(self, *, num_classes: int, input_shape: Sequence[int] = PATCH, width: float = 1.0):
        super().__init__()
        self.num_classes, self.input_shape = num_classes, patch_shape(input_shape, least=(1, 1))
        size = scaled(STEM, width)
        self.stem = ConvNorm(1, size, KERNEL, stride=2)
        blocks = []
        for channels, stride in BLOCKS:
            wide = scaled(channels, width)
            blocks.append(
                nn.Sequential(
                    ConvNorm(size, size, KERNEL, stride=stride, groups=size), ConvNorm(size, wide, 1)
                )
            )
            size = wide
        self.blocks = nn.Sequential(*blocks)
        _, self.head, self.embedding_size = output_layers(size, num_classes, None)
        initialise(self, self.head)

    def embed(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, E)."""
        check_patches(logmel_B1TF, self.input_shape)
        return self.blocks(self.stem(logmel_B1TF)).mean((2, 3))

    def forward(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, K) logits."""
        return self.head(self.embed(logmel_B1TF))


class ConvNorm(nn.Module):
    """Convolution with TensorFlow's "same" edges, batch norm, ReLU."""

    def __init__(self, size_in: int, size_out: int, kernel: int, *, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(size_in, size_out, kernel, stride, groups=groups, bias=False)
        self.norm = ShiftNorm(size_out, eps=EPSILON)

    def forward(self, map_BCTF: Tensor) -> Tensor:
        """(B, C, T, F) -> (B, C', T / stride, F / stride), rounded up."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if kernel > 1:
            edges = [*same_edges(map_BCTF.shape[3], kernel, stride)]
            edges += same_edges(map_BCTF.shape[2], kernel, stride)
            map_BCTF = functional.pad(map_BCTF, edges)
        return self.norm(self.conv(map_BCTF)).relu()


class ShiftNorm(nn.BatchNorm2d):
    """Batch norm without a factor: its ones are no weight, and are in no state dict.

    >>> norm = ShiftNorm(2)
    >>> [name for name, _ in norm.named_parameters()], sorted(norm.state_dict())[:3], norm.weight.tolist()
    (['bias'], ['bias', 'num_batches_tracked', 'running_mean'], [1.0, 1.0])
    """

    def __init__(self, channels: int, eps: float = EPSILON):
        super().__init__(channels, eps=eps)
        del self.weight
        self.register_buffer("weight", torch.ones(channels), persistent=False)


def same_edges(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis for size / stride outputs, rounded up; the odd one stands after.

    >>> same_edges(96, 3, 1), same_edges(96, 3, 2), same_edges(3, 3, 2)
    ((1, 1), (0, 1), (1, 1))
    """
    missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return missing // 2, missing - missing // 2
