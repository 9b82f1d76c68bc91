"""Wavegram-Logmel-CNN: CNN14 on a learned picture of the waveform beside the log-mel.

Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition",
2020, https://arxiv.org/abs/1912.10211, section III and figures 2 and 3. As published: a convolution of 11
samples every 5; three blocks of two 1D convolutions, the second dilated by 2, each followed by a maximum over
4; their channels laid out as groups of 32 that stand for frequencies; a block of CNN14, averaged over 2
frames; beside it the first block of CNN14 on the log-mel, and both as channels of CNN14's other blocks.
The log-mel is computed within the network, from the same waveform at 32 kHz. Ours: where the log-mel is a
frame longer than the wavegram (the authors' release cannot take such lengths) its last frame is left out;
the rest see `auricle.models.panns`.

Shape letters: B clips, N samples, C channels, L steps in time, T frames, F mel bands (64) and half of them in
a wavegram, E embedding (2048), K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from auricle.frontend import LogMel
from auricle.models.cnn14 import CHANNELS
from auricle.models.panns import BLOCK_DROPOUT, BandNorm, Summary, conv_block, trunk
from auricle.models.parts import MapDropout, initialise, output_layers, scaled
from auricle.models.residual import signal_conv_norm
from auricle.presets import panns

CLIP = (320_000,)  # 10 s at 32 kHz
STEM, STEM_KERNEL, STEM_STRIDE = 64, 11, 5
SIGNAL_CHANNELS = (64, 128, 128)
POOL = 4
SHORTEST = 10_240  # samples of which a step is left: 16 frames of the wavegram, 640 samples each


class WavegramLogmelCnn14(nn.Module):
    """Waveform at 32 kHz -> logits, by way of 2,048 values.

    Args:
        num_classes: K, the width of the logits.
        input_shape: (N,) of an example; any N from `shortest` on will do.
        width: multiplies the channels.

    Shapes:
        forward: (B, N) float32 at 32 kHz, N at least `shortest` -> (B, K) logits, no sigmoid.
        embed:   (B, N) -> (B, E), after the ReLU.

    Raises:
        ValueError: an argument is none of those above, or waveforms are not (B, N), or too short.

    >>> net = WavegramLogmelCnn14(num_classes=5, width=0.125)
    >>> net(torch.zeros(2, 32_000)).shape, net.shortest
    (torch.Size([2, 5]), 10240)
    """

    input_kind = "waveform"
    input_shape: tuple[int, ...] = CLIP

    def __init__(self, *, num_classes: int, input_shape: Sequence[int] = CLIP, width: float = 1.0):
        super().__init__()
        self.num_classes, self.shortest = num_classes, SHORTEST
        self.input_shape = tuple(int(size) for size in input_shape)
        if len(self.input_shape) != 1 or self.input_shape[0] < SHORTEST:
            raise ValueError(f"input_shape is {self.input_shape}; expected (N,), N at least {SHORTEST}")
        config = panns()
        # By convolutions, so that the network can be exported as it is.
        self.logmel = LogMel(config, method="convolution")
        self.norm = BandNorm(config.bands)
        first, size = scaled(CHANNELS[0], width), scaled(CHANNELS[-1], width)
        self.rows = config.bands // 2  # of a wavegram: as many as the log-mel has after its first block
        self.wave, channels = _wave_blocks(width, self.rows)
        self.wave_block = nn.Sequential(conv_block(channels // self.rows, first), nn.AvgPool2d((2, 1)))
        self.mel_block = nn.Sequential(conv_block(1, first), nn.AvgPool2d(2))
        self.dropout = MapDropout(BLOCK_DROPOUT)
        self.blocks = trunk(CHANNELS[1:], width=width, last_pool=False, size_in=2 * first)
        self.summary = Summary(size, size)
        _, self.head, self.embedding_size = output_layers(size, num_classes, None)
        initialise(self, self.head)

    def wavegram(self, waveform_BN: Tensor) -> Tensor:
        """(B, N) -> (B, C, T, F / 2), a frame each 640 samples."""
        wave_BCL = self.wave(waveform_BN[:, None])
        map_BCFL = wave_BCL.unflatten(1, (-1, self.rows))
        return self.wave_block(map_BCFL.transpose(2, 3))

    def embed(self, waveform_BN: Tensor) -> Tensor:
        """(B, N) at 32 kHz -> (B, E)."""
        shape = tuple(waveform_BN.shape)
        long_enough = torch.compiler.is_exporting() or len(shape) != 2 or shape[1] >= SHORTEST
        if len(shape) != 2 or not long_enough or not waveform_BN.is_floating_point():
            raise ValueError(
                f"expected waveforms (B, N) float32, mono, N at least {SHORTEST} samples, got {shape} "
                f"{str(waveform_BN.dtype).removeprefix('torch.')}"
            )
        wave_BCTF = self.wavegram(waveform_BN.to(self.head.weight.dtype))
        mel_BCTF = self.mel_block(self.norm(self.logmel(waveform_BN).to(self.head.weight.dtype)))
        both_BCTF = torch.cat([mel_BCTF[:, :, : wave_BCTF.shape[2]], wave_BCTF], 1)
        return self.summary(self.blocks(self.dropout(both_BCTF)))

    def forward(self, waveform_BN: Tensor) -> Tensor:
        """(B, N) at 32 kHz -> (B, K) logits."""
        return self.head(self.embed(waveform_BN))


class WaveBlock(nn.Module):
    """Two 1D convolutions of 3, the second over every other sample, then the maximum of each four.

    >>> WaveBlock(8, 16)(torch.zeros(2, 8, 41)).shape
    torch.Size([2, 16, 10])
    """

    def __init__(self, size_in: int, size_out: int):
        super().__init__()
        self.layers = nn.Sequential(
            *signal_conv_norm(size_in, size_out, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv1d(size_out, size_out, 3, dilation=2, padding=2, bias=False),
            nn.BatchNorm1d(size_out),
            nn.ReLU(inplace=True),
        )

    def forward(self, wave_BCL: Tensor) -> Tensor:
        """(B, C, L) -> (B, C', L / 4)."""
        # Over (C, L) as over a map: torch cannot export its 1D pool for more than one length.
        return functional.max_pool2d(self.layers(wave_BCL), (1, POOL))


def _wave_blocks(width: float, rows: int) -> tuple[nn.Sequential, int]:
    """The first convolution and the blocks after it; how many channels come out, two `rows` or more."""
    size = scaled(STEM, width)
    layers: list[nn.Module] = [
        *signal_conv_norm(1, size, STEM_KERNEL, stride=STEM_STRIDE, padding=STEM_KERNEL // 2),
        nn.ReLU(inplace=True),
    ]
    for number, count in enumerate(SIGNAL_CHANNELS, start=1):
        wide = scaled(count, width)
        if number == len(SIGNAL_CHANNELS):
            wide = max(2 * rows, wide // rows * rows)
        layers.append(WaveBlock(size, wide))
        size = wide
    return nn.Sequential(*layers), size
