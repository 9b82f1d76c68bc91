"""What the PANNs are made of: the norm of each band, blocks of convolutions, the summary over time.

Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition",
2020, https://arxiv.org/abs/1912.10211, section II and tables I to III; what the paper leaves open as in the
authors' release (audioset_tagging_cnn, pytorch/models.py). The networks stand in files of their own.

What all of them share, as published: absolute decibels of 64 bands (`auricle.presets.panns`), a batch norm
of each band, no biases before batch norms, averages in place of strides, the mean over frequency, then the
peak plus the mean over time, and a linear layer with ReLU whose output is the embedding.

Ours in all of them: `input_shape`, other numbers of bands; `width`; first weights; no SpecAugment within the
network, which training brings along (`--set mask_frames=64 --set mask_bands=8`).

Shape letters: B clips, C channels, T frames, F mel bands (64), E embedding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from auricle.models.parts import MapDropout, conv_norm, scaled

CLIP = (1, 1001, 64)  # C, T, F: 10 s
BLOCK_DROPOUT, SUMMARY_DROPOUT = 0.2, 0.5


class BandNorm(nn.Module):
    """Batch norm of each band, over clips and frames, in place of the corpus's mean and spread.

    >>> BandNorm(64)(torch.zeros(2, 1, 10, 64)).shape
    torch.Size([2, 1, 10, 64])
    """

    def __init__(self, bands: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(bands)

    def forward(self, logmel_BCTF: Tensor) -> Tensor:
        """(B, 1, T, F) -> the same shape."""
        return self.norm(logmel_BCTF.transpose(1, 3)).transpose(1, 3)


def conv_block(size_in: int, size_out: int, *, kernel: int = 3, convolutions: int = 2) -> nn.Sequential:
    """Convolutions that keep the map's size, each with batch norm and ReLU.

    >>> conv_block(1, 8)(torch.zeros(2, 1, 5, 6)).shape
    torch.Size([2, 8, 5, 6])
    """
    layers: list[nn.Module] = []
    for number in range(convolutions):
        size = size_out if number else size_in
        layers += [*conv_norm(size, size_out, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def trunk(
    channels: Sequence[int],
    *,
    width: float,
    kernel: int = 3,
    convolutions: int = 2,
    last_pool: bool = True,
    size_in: int = 1,
) -> nn.Sequential:
    """Blocks of convolutions, each followed by an average of 2 x 2 and dropout.

    Args:
        channels: of each block.
        width: multiplies them.
        kernel: odd size of the convolutions.
        convolutions: of each block.
        last_pool: whether the last block is followed by an average, too.
        size_in: channels that come in.

    >>> trunk((64, 128), width=0.125, last_pool=False)(torch.zeros(2, 1, 5, 6)).shape
    torch.Size([2, 16, 2, 3])
    """
    stages = []
    for number, count in enumerate(channels, start=1):
        size = scaled(count, width)
        pooled = last_pool or number < len(channels)
        stages.append(
            # Flat, so that training with less memory computes all of it twice, up to the average.
            nn.Sequential(
                *conv_block(size_in, size, kernel=kernel, convolutions=convolutions),
                nn.AvgPool2d(2) if pooled else nn.Identity(),
                MapDropout(BLOCK_DROPOUT),
            )
        )
        size_in = size
    return nn.Sequential(*stages)


class Summary(nn.Module):
    """A map as one vector: the mean over frequency, the peak plus the mean over time, a layer with ReLU.

    Args:
        size: C.
        units: E.

    >>> Summary(16, 8)(torch.zeros(2, 16, 31, 2)).shape
    torch.Size([2, 8])
    """

    def __init__(self, size: int, units: int):
        super().__init__()
        self.dropout = nn.Dropout(SUMMARY_DROPOUT)
        self.linear = nn.Linear(size, units)

    def forward(self, map_BCTF: Tensor) -> Tensor:
        """(B, C, T, F) -> (B, E)."""
        map_BCT = map_BCTF.mean(3)
        return self.linear(self.dropout(map_BCT.amax(2) + map_BCT.mean(2))).relu()


def check_logmel(logmel_BCTF: Tensor, *, bands: int, least: int) -> None:
    """Refuse log-mel of another number of bands, or of so few frames that none is left at the end.

    >>> check_logmel(torch.zeros(2, 1, 31, 64), bands=64, least=32)
    Traceback (most recent call last):
    ValueError: expected log-mel (B, 1, T, 64), T at least 32 frames, got (2, 1, 31, 64)
    """
    shape = tuple(logmel_BCTF.shape)
    right = len(shape) == 4 and shape[1] == 1 and shape[3] == bands
    # While a graph is traced for export, lengths are symbols; the graph is compared with torch after.
    if not right or not (torch.compiler.is_exporting() or shape[2] >= least):
        raise ValueError(f"expected log-mel (B, 1, T, {bands}), T at least {least} frames, got {shape}")
