"""Compact: a small fully convolutional residual net on log-mel, made for few cores.

Source: our own.  Basic residual blocks as in He et al., "Deep Residual Learning for Image Recognition",
CVPR 2016 (section 3.3), with the pooled projection shortcut of He et al., "Bag of Tricks", CVPR 2019
(figure 2c).  Dense 3x3 convolutions in place of depthwise ones: on CPUs they reach the matrix units' rate,
depthwise ones the memory's.  Channels are few where the map is large: the first stages set the time that a
second of audio takes, the last ones the number of weights.

  - any number of frames and bands: the map is averaged over frequency, then averaged and peaked over time
  - the stem keeps every fourth frame and every second band; each later stage halves both: at 10 ms a frame, a
    step of the last map is 0.32 s
  - batch norm on the input, so that the front end needs no statistics of its own

Shape letters: B clips, C channels, T frames, F mel bands, E embedding, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Compact(nn.Module):
    """Log-mel of any length -> logits, by way of an embedding as wide as the last stage.

    Args:
        num_classes: K, the width of the logits.
        stem: channels after the first convolution.
        widths: channels of each stage.
        blocks: residual blocks in each stage.
        dropout: share of the embedding dropped in training.

    Shapes:
        forward: (B, 1, T, F) log-mel -> (B, K) logits, no sigmoid.
        embed:   (B, 1, T, F) log-mel -> (B, E).

    >>> import torch
    >>> Compact(num_classes=5)(torch.zeros(2, 1, 98, 64)).shape
    torch.Size([2, 5])
    """

    input_kind = "logmel"
    input_shape = (1, 198, 64)  # of 2 s, for counting; any number of frames and bands will do

    def __init__(
        self,
        *,
        num_classes: int,
        stem: int = 16,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks: Sequence[int] = (1, 1, 2, 1),
        dropout: float = 0.0,
    ):
        super().__init__()
        if len(widths) != len(blocks) or not widths:
            raise ValueError(f"expected as many widths as blocks, got {list(widths)} and {list(blocks)}")
        self.num_classes, self.embedding_size = num_classes, widths[-1]
        # Bands of a place of the last map, and half its frames: the stem's and each later stage's strides.
        self.coarse = 2 ** (1 + sum(count > 0 for count in blocks[1:]))
        self.norm = nn.BatchNorm2d(1)
        self.stem = nn.Sequential(
            nn.Conv2d(1, stem, (5, 3), stride=(4, 2), padding=(2, 1), bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
        )
        stages, size_in = [], stem
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                stages.append(Residual(size_in, width, stride=2 if stage and not block else 1))
                size_in = width
        self.body = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.embedding_size, num_classes)
        # Most classes are absent from most patches: start from a sigmoid of about 1 / K.
        nn.init.constant_(self.head.bias, -4.0)

    def _check_size(self, shape: tuple[int, ...]) -> None:
        """Refuse a map of nothing, and in training one whose last has one place: batch norm needs more."""
        if not shape[2] or not shape[3]:
            raise ValueError(f"expected log-mel (B, 1, T, F) of at least one frame and band, got {shape}")
        if self.training and shape[0] == 1 and shape[2] <= 2 * self.coarse and shape[3] <= self.coarse:
            raise ValueError(
                "expected log-mel (B, 1, T, F) of more than one clip in training, or longer ones: batch norm "
                f"cannot train on a last map of 1 x 1, got {shape}"
            )

    def embed(self, logmel_BCTF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, E): mean plus peak over time of the mean over frequency."""
        shape = tuple(logmel_BCTF.shape)
        if len(shape) != 4 or shape[1] != 1:
            raise ValueError(f"expected log-mel (B, 1, T, F), got {shape}")
        if not torch.compiler.is_exporting():
            self._check_size(shape)
        map_BCTF = self.body(self.stem(self.norm(logmel_BCTF)))
        map_BCT = map_BCTF.mean(3)
        return map_BCT.mean(2) + map_BCT.amax(2)

    def forward(self, logmel_BCTF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, K) logits."""
        return self.head(self.dropout(self.embed(logmel_BCTF)))


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, averaged down and projected where the shape changes."""

    def __init__(self, size_in: int, size_out: int, *, stride: int):
        super().__init__()
        self.conv1, self.norm1 = _conv(size_in, size_out, 3, stride=stride), nn.BatchNorm2d(size_out)
        self.conv2, self.norm2 = _conv(size_out, size_out, 3), nn.BatchNorm2d(size_out)
        shortcut: list[nn.Module] = [nn.AvgPool2d(2, ceil_mode=True)] if stride == 2 else []
        if stride == 2 or size_in != size_out:
            shortcut += [_conv(size_in, size_out, 1), nn.BatchNorm2d(size_out)]
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, map_BCTF: Tensor) -> Tensor:
        """(B, C, T, F) -> (B, C', T / stride, F / stride), rounded up."""
        inner = functional.relu(self.norm1(self.conv1(map_BCTF)))
        return functional.relu(self.norm2(self.conv2(inner)) + self.shortcut(map_BCTF))


def _conv(size_in: int, size_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(size_in, size_out, kernel, stride=stride, padding=kernel // 2, bias=False)
