"""VGG, configuration E: sixteen 3x3 convolutions in five groups and three fully connected layers, on log-mel.

Source: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017, section
3.3.3, https://arxiv.org/abs/1609.09430; layers of Simonyan and Zisserman, "Very Deep Convolutional Networks
for Large-Scale Image Recognition", ICLR 2015, table 1, column E. As published: batch norm after each
convolution, no dropout; five pools leave 3 x 2; 62 M weights and 2.4 G multiplies with 3,087 labels.

The paper also tried, and left, a variant that "reduced the initial strides (as we did with AlexNet)". VGG's
first stride above 1 is its first pool's: `first_pool=(2, 1)` takes AlexNet's 2 x 1 there. The paper does
not say which strides it took.

Shape letters: B clips, C channels (1), T frames (96 of 10 ms), F mel bands (64), E embedding (4096), K
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

GROUPS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)  # channels; a max pool ends each group
UNITS = 4096


class VGG(nn.Module):
    """Log-mel patch of 0.96 s -> logits.

    Args:
        num_classes: K, the width of the logits.
        first_pool: size and stride of the first max pool in frames and bands; (2, 1) for the variant.
        bottleneck: units of a linear layer before the output; None for none.
        width: multiplies channels and units.
        input_shape: (1, T, F) of a patch.

    Shapes:
        forward: (B, 1, 96, 64) log-mel -> (B, K) logits, no sigmoid.
        embed:   (B, 1, 96, 64) log-mel -> (B, E): the second 4096 after its ReLU, or the bottleneck.

    >>> import torch
    >>> VGG(num_classes=5, width=0.1)(torch.zeros(2, 1, 96, 64)).shape
    torch.Size([2, 5])
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = PATCH

    def __init__(
        self,
        *,
        num_classes: int,
        first_pool: Sequence[int] = (2, 2),
        bottleneck: int | None = None,
        width: float = 1.0,
        input_shape: Sequence[int] = PATCH,
    ):
        super().__init__()
        if len(first_pool) != 2 or not set(first_pool) <= {1, 2}:
            raise ValueError(f"first_pool is {tuple(first_pool)}; expected two numbers of 1 or 2")
        frames, bands = (16 * size for size in first_pool)  # that become one step of the last map
        self.num_classes = num_classes
        self.input_shape = patch_shape(input_shape, least=(frames, bands))
        pools = [tuple(first_pool), *[(2, 2)] * 4]
        layers: list[nn.Module] = []
        size = 1
        for group, pool in zip(GROUPS, pools, strict=True):
            for channels in group:
                layers += conv_norm(size, scaled(channels, width), 3, padding=1)
                layers.append(nn.ReLU(inplace=True))
                size = scaled(channels, width)
            layers.append(nn.MaxPool2d(pool))
        self.features = nn.Sequential(*layers)
        units = scaled(UNITS, width)
        self.hidden = nn.Sequential(
            nn.Linear(self.input_shape[1] // frames * (self.input_shape[2] // bands) * size, units),
            nn.ReLU(inplace=True),
            nn.Linear(units, units),
            nn.ReLU(inplace=True),
        )
        self.bottleneck, self.head, self.embedding_size = output_layers(units, num_classes, bottleneck)
        initialise(self, self.head)

    def embed(self, logmel_BCTF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, E)."""
        check_patches(logmel_BCTF, self.input_shape)
        map_BCTF = self.features(logmel_BCTF)
        # Flattened as (T, F, C): no copy where channels are last in memory.
        return self.bottleneck(self.hidden(map_BCTF.permute(0, 2, 3, 1).flatten(1)))

    def forward(self, logmel_BCTF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, K) logits."""
        return self.head(self.embed(logmel_BCTF))
