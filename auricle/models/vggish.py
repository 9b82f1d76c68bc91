"""VGGish: VGG configuration A, cut to four groups, with a 128-wide embedding.

Source: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017,
https://arxiv.org/abs/1609.09430; layers as in Google's release (tensorflow/models,
research/audioset/vggish). As released: no batch norm; 72,141,184 weights; the embedding is taken before its
ReLU (torchvggish takes it after); maps are flattened in the order time, frequency, channel. Differs from
the release: PCA and quantisation are not part of the network; `head` is ours.

Shape letters: B clips, C channels (1), T frames (96 of 10 ms), F mel bands (64), E embedding (128), K
classes.
"""

from torch import Tensor, nn

from auricle.models.parts import PATCH, check_patches, initialise, output_layers, scaled

GROUPS = ((64,), (128,), (256, 256), (512, 512))  # channels; a 2x2 max pool ends each group
UNITS = 4096
EMBEDDING = 128


class VGGish(nn.Module):
    """Log-mel patch of 0.96 s -> logits, by way of a 128-wide embedding.

    Args:
        num_classes: K, the width of the logits.
        bottleneck: width of the embedding, which is this net's bottleneck; None for the released 128.
        width: multiplies channels and units, but not the embedding.

    Shapes:
        forward: (B, 1, 96, 64) log-mel -> (B, K) logits, no sigmoid.
        embed:   (B, 1, 96, 64) log-mel -> (B, 128), before the ReLU.

    >>> import torch
    >>> VGGish(num_classes=5, width=0.1).embed(torch.zeros(2, 1, 96, 64)).shape
    torch.Size([2, 128])
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = PATCH

    def __init__(self, *, num_classes: int, bottleneck: int | None = None, width: float = 1.0):
        super().__init__()
        self.num_classes = num_classes
        layers: list[nn.Module] = []
        size = 1
        for group in GROUPS:
            for channels in group:
                layers += [nn.Conv2d(size, scaled(channels, width), 3, padding=1), nn.ReLU(inplace=True)]
                size = scaled(channels, width)
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        units = scaled(UNITS, width)
        narrow, output, self.embedding_size = output_layers(
            units, num_classes, EMBEDDING if bottleneck is None else bottleneck
        )
        self.embedding = nn.Sequential(
            nn.Linear(6 * 4 * size, units),
            nn.ReLU(inplace=True),
            nn.Linear(units, units),
            nn.ReLU(inplace=True),
            narrow,
        )
        # Not in place: the embedding is read after the head as well.
        self.head = nn.Sequential(nn.ReLU(), output)
        initialise(self, output)

    def embed(self, logmel_BCTF: Tensor) -> Tensor:
        """(B, 1, 96, 64) log-mel -> (B, 128), before the ReLU."""
        check_patches(logmel_BCTF, self.input_shape)
        map_BCTF = self.features(logmel_BCTF)
        # The released weights were trained with channels last: flatten as (T, F, C).
        return self.embedding(map_BCTF.permute(0, 2, 3, 1).flatten(1))

    def forward(self, logmel_BCTF: Tensor) -> Tensor:
        """(B, 1, 96, 64) log-mel -> (B, K) logits."""
        return self.head(self.embed(logmel_BCTF))
