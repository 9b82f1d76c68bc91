"""ResNet38: sixteen residual blocks between a block of CNN14 and a wide one.

Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition",
2020, https://arxiv.org/abs/1912.10211, section II-B and table II. As published: 3, 4, 6 and 3 basic blocks;
where a map is halved, an average of 2 x 2 comes before the first convolution, and before the 1 x 1
convolution of the shortcut; dropout of 0.1 between a block's convolutions (as in the authors' release); an
average after the last. Ours: residual branches do not begin at zero; the rest see `auricle.models.panns`.

Shape letters: B clips, C channels, T frames, F mel bands (64), E embedding (2048), K classes.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from auricle.models.panns import BLOCK_DROPOUT, CLIP, BandNorm, Summary, check_logmel, conv_block
from auricle.models.parts import MapDropout, conv_norm, initialise, output_layers, patch_shape, scaled

STEM = 64
CHANNELS, COUNTS = (64, 128, 256, 512), (3, 4, 6, 3)
WIDE = 2048
INNER_DROPOUT = 0.1
LEAST = 32  # frames, and bands, of which something is left after five averages


class ResNet38(nn.Module):
    """Log-mel of any length -> logits, by way of 2,048 values.

    Args:
        num_classes: K, the width of the logits.
        input_shape: (1, T, F) of an example; any number of frames from 32 on will do, of bands only F.
        width: multiplies the channels.

    Shapes:
        forward: (B, 1, T, F) log-mel -> (B, K) logits, no sigmoid.
        embed:   (B, 1, T, F) log-mel -> (B, E), after the ReLU.

    Raises:
        ValueError: an argument is none of those above, or log-mel is not (B, 1, T, F).

    >>> import torch
    >>> ResNet38(num_classes=5, width=0.125)(torch.zeros(2, 1, 101, 64)).shape
    torch.Size([2, 5])
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = CLIP
    least_frames = LEAST

    def __init__(self, *, num_classes: int, input_shape: Sequence[int] = CLIP, width: float = 1.0):
        super().__init__()
        self.num_classes, self.input_shape = num_classes, patch_shape(input_shape, least=(LEAST, LEAST))
        self.norm = BandNorm(self.input_shape[2])
        size, wide = scaled(STEM, width), scaled(WIDE, width)
        self.stem = nn.Sequential(conv_block(1, size), nn.AvgPool2d(2), MapDropout(BLOCK_DROPOUT))
        stages = []
        for number, (channels, count) in enumerate(zip(CHANNELS, COUNTS, strict=True)):
            blocks = []
            for block in range(count):
                blocks.append(AveragedBlock(size, scaled(channels, width), halve=number > 0 and block == 0))
                size = scaled(channels, width)
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.last = nn.Sequential(
            nn.AvgPool2d(2), MapDropout(BLOCK_DROPOUT), conv_block(size, wide), MapDropout(BLOCK_DROPOUT)
        )
        self.summary = Summary(wide, wide)
        _, self.head, self.embedding_size = output_layers(wide, num_classes, None)
        initialise(self, self.head)

    def embed(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, E)."""
        check_logmel(logmel_B1TF, bands=self.input_shape[2], least=LEAST)
        return self.summary(self.last(self.stages(self.stem(self.norm(logmel_B1TF)))))

    def forward(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, K) logits."""
        return self.head(self.embed(logmel_B1TF))


class AveragedBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, both after an average where the map is halved.

    Args:
        size_in: channels that come in.
        size_out: channels of both convolutions.
        halve: whether an average of 2 x 2 stands first, and a 1 x 1 convolution in the shortcut.

    >>> import torch
    >>> AveragedBlock(8, 16, halve=True)(torch.zeros(2, 8, 5, 6)).shape
    torch.Size([2, 16, 2, 3])
    """

    def __init__(self, size_in: int, size_out: int, *, halve: bool):
        super().__init__()
        self.pool = nn.AvgPool2d(2) if halve else nn.Identity()
        self.inner = nn.Sequential(
            *conv_norm(size_in, size_out, 3, padding=1),
            nn.ReLU(inplace=True),
            MapDropout(INNER_DROPOUT),
            *conv_norm(size_out, size_out, 3, padding=1),
        )
        changes = halve or size_in != size_out
        self.shortcut = nn.Sequential(*conv_norm(size_in, size_out, 1)) if changes else nn.Identity()

    def forward(self, map_BCTF: Tensor) -> Tensor:
        """(B, C, T, F) -> (B, C', T, F), or half the frames and bands."""
        pooled_BCTF = self.pool(map_BCTF)
        return functional.relu(self.inner(pooled_BCTF) + self.shortcut(pooled_BCTF), inplace=True)
