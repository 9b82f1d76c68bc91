"""MobileNetV1 on log-mels: depthwise and 1 x 1 convolutions, the fastest of the large PANNs.

Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition",
2020, https://arxiv.org/abs/1912.10211, section II-C and table III, after Howard et al., "MobileNets", 2017,
https://arxiv.org/abs/1704.04861, table 1. As published: a map is halved by an average of 2 x 2 between a
convolution of stride 1 and its batch norm. Ours: see `auricle.models.panns`.

Shape letters: B clips, C channels, T frames, F mel bands (64), E embedding (1024), K classes.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from auricle.models.panns import CLIP, BandNorm, Summary, check_logmel
from auricle.models.parts import initialise, output_layers, patch_shape, scaled

STEM = 32
# Channels of each depthwise block, and whether it halves the map.
BLOCKS = (
    (64, False),
    (128, True),
    (128, False),
    (256, True),
    (256, False),
    (512, True),
    *((512, False),) * 5,
    (1024, True),
    (1024, False),
)
LEAST = 32  # frames, and bands, of which something is left after five averages


class MobileNetV1(nn.Module):
    """Log-mel of any length -> logits, by way of 1,024 values.

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
    >>> MobileNetV1(num_classes=5, width=0.25)(torch.zeros(2, 1, 101, 64)).shape
    torch.Size([2, 5])
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = CLIP
    least_frames = LEAST

    def __init__(self, *, num_classes: int, input_shape: Sequence[int] = CLIP, width: float = 1.0):
        super().__init__()
        self.num_classes, self.input_shape = num_classes, patch_shape(input_shape, least=(LEAST, LEAST))
        self.norm = BandNorm(self.input_shape[2])
        size = scaled(STEM, width)
        blocks = [nn.Sequential(*_averaged(nn.Conv2d(1, size, 3, padding=1, bias=False), size, halve=True))]
        for channels, halve in BLOCKS:
            wide = scaled(channels, width)
            depthwise = nn.Conv2d(size, size, 3, padding=1, groups=size, bias=False)
            pointwise = nn.Conv2d(size, wide, 1, bias=False)
            blocks.append(
                nn.Sequential(
                    *_averaged(depthwise, size, halve=halve),
                    pointwise,
                    nn.BatchNorm2d(wide),
                    nn.ReLU(inplace=True),
                )
            )
            size = wide
        self.blocks = nn.Sequential(*blocks)
        self.summary = Summary(size, size)
        _, self.head, self.embedding_size = output_layers(size, num_classes, None)
        initialise(self, self.head)

    def embed(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, E)."""
        check_logmel(logmel_B1TF, bands=self.input_shape[2], least=LEAST)
        return self.summary(self.blocks(self.norm(logmel_B1TF)))

    def forward(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, K) logits."""
        return self.head(self.embed(logmel_B1TF))


def _averaged(convolution: nn.Conv2d, size: int, *, halve: bool) -> list[nn.Module]:
    """A convolution of stride 1, the average that halves its map, batch norm, ReLU."""
    pool = nn.AvgPool2d(2) if halve else nn.Identity()
    return [convolution, pool, nn.BatchNorm2d(size), nn.ReLU(inplace=True)]
