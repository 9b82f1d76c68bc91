"""ResNet-50: sixteen bottleneck blocks of 1x1, 3x3 and 1x1 convolutions beside shortcuts, on log-mel patches.

Source: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017, section
3.3.5, https://arxiv.org/abs/1609.09430; blocks of He et al., "Deep Residual Learning for Image
Recognition", CVPR 2016, table 1. As published: the first 7x7 convolution has stride 1, the last map is 6 x
4; 30 M weights and 1.9 G multiplies with 3,087 labels. Open there: a stage's stride is in its first 3x3
convolution here, as most later releases have it (1.97 G multiplies); in the 1x1 convolution before, as in
He et al., it would be 1.86 G.

The paper's bottleneck of 128 before the output (section 4.2) is an option. It was made for 30,871 labels,
which bring the weights "from 30M to 80M" there, and to 87 M by counting.

Shape letters: B clips, C channels (1), T frames (96 of 10 ms), F mel bands (64), E embedding (2048), K
classes.
"""

from collections.abc import Sequence

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
from auricle.models.residual import Block

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # channels inside a block, blocks, first stride


class ResNet50(nn.Module):
    """Log-mel patch of 0.96 s -> logits.

    Args:
        num_classes: K, the width of the logits.
        bottleneck: units of a linear layer before the output; None for none.
        width: multiplies the channels.
        input_shape: (1, T, F) of a patch; the last map is averaged whatever its size.

    Shapes:
        forward: (B, 1, 96, 64) log-mel -> (B, K) logits, no sigmoid.
        embed:   (B, 1, 96, 64) log-mel -> (B, E): the mean of the last map, or the bottleneck.

    >>> import torch
    >>> ResNet50(num_classes=5, width=0.1)(torch.zeros(2, 1, 96, 64)).shape
    torch.Size([2, 5])
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = PATCH

    def __init__(
        self,
        *,
        num_classes: int,
        bottleneck: int | None = None,
        width: float = 1.0,
        input_shape: Sequence[int] = PATCH,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.input_shape = patch_shape(input_shape, least=(1, 1))
        size = scaled(64, width)
        self.stem = nn.Sequential(
            *conv_norm(1, size, 7, padding=3),  # stride 1, not 2
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        )
        blocks: list[nn.Module] = []
        for inner, count, stride in STAGES:
            for number in range(count):
                inside = scaled(inner, width)
                blocks.append(Block(size, inside, stride=1 if number else stride))
                size = Block.expansion * inside
        self.body = nn.Sequential(*blocks)
        self.bottleneck, self.head, self.embedding_size = output_layers(size, num_classes, bottleneck)
        initialise(self, self.head)

    def embed(self, logmel_BCTF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, E)."""
        check_patches(logmel_BCTF, self.input_shape)
        return self.bottleneck(self.body(self.stem(logmel_BCTF)).mean((2, 3)))

    def forward(self, logmel_BCTF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, K) logits."""
        return self.head(self.embed(logmel_BCTF))
