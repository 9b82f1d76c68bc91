"""AlexNet: five convolutions and three fully connected layers, on log-mel patches.

Source: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017, section
3.3.2, https://arxiv.org/abs/1609.09430; layers of Krizhevsky et al., "ImageNet Classification with Deep
Convolutional Neural Networks", NIPS 2012. As published: first stride 2 x 1, batch norm after each
convolution in place of local response normalisation, filters not split over devices, no dropout.

Open in the paper, and read so that both its figures hold (37.3 M weights, 767 M multiplies with 3,087
labels): no padding of the first convolution and of the 3/2 pools (96 x 64 -> 43 x 54 -> 21 x 26 -> 10 x
12), and a last map that is pooled to 2 x 2. So the last frame and the last band of a patch reach no unit.

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

CHANNELS = (96, 256, 384, 384, 256)
UNITS = 4096
LEAST = (49, 30)  # frames and bands that leave a last map of 4 x 4


class AlexNet(nn.Module):
    """Log-mel patch of 0.96 s -> logits.

    Args:
        num_classes: K, the width of the logits.
        bottleneck: units of a linear layer before the output; None for none.
        width: multiplies channels and units.
        input_shape: (1, T, F) of a patch.

    Shapes:
        forward: (B, 1, 96, 64) log-mel -> (B, K) logits, no sigmoid.
        embed:   (B, 1, 96, 64) log-mel -> (B, E): the second 4096 after its ReLU, or the bottleneck.

    >>> import torch
    >>> AlexNet(num_classes=5, width=0.1)(torch.zeros(2, 1, 96, 64)).shape
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
        self.input_shape = patch_shape(input_shape, least=LEAST)
        a, b, c, d, e = (scaled(channels, width) for channels in CHANNELS)
        units = scaled(UNITS, width)
        self.features = nn.Sequential(
            *_conv(1, a, 11, stride=(2, 1), padding=0),
            nn.MaxPool2d(3, 2),
            *_conv(a, b, 5),
            nn.MaxPool2d(3, 2),
            *_conv(b, c, 3),
            *_conv(c, d, 3),
            *_conv(d, e, 3),
            _pool_to_two(
                _after_pools((self.input_shape[1] - 11) // 2 + 1), _after_pools(self.input_shape[2] - 10)
            ),
        )
        self.hidden = nn.Sequential(
            nn.Linear(2 * 2 * e, units), nn.ReLU(inplace=True), nn.Linear(units, units), nn.ReLU(inplace=True)
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


def _conv(
    size_in: int, size_out: int, kernel: int, *, stride: int | tuple[int, int] = 1, padding: int | None = None
) -> list[nn.Module]:
    padding = kernel // 2 if padding is None else padding
    return [*conv_norm(size_in, size_out, kernel, stride=stride, padding=padding), nn.ReLU(inplace=True)]


def _after_pools(size: int) -> int:
    """Along one axis, what the two 3/2 pools leave."""
    for _ in range(2):
        size = (size - 3) // 2 + 1
    return size


def _pool_to_two(frames: int, bands: int) -> nn.MaxPool2d:
    """A max pool that covers a map and leaves 2 x 2."""
    return nn.MaxPool2d((frames - frames // 2, bands - bands // 2), stride=(frames // 2, bands // 2))
