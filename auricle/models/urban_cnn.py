"""The network of Tompkins and Nichols for urban sounds: six convolution blocks over ten seconds at once.

Source: Tompkins and Nichols, "DCASE 2019 Challenge Task 5: CNN+VGGish", technical report, 2019, section 4,
table 1. As published: kernels, strides, paddings, the one max pool, dropout of 0.5, and 256 values of a
spectrogram of 128 bands and 862 frames. As in the authors' release (microsoft/dcase-2019): a block is
convolution, with its bias, batch norm, ReLU, max pool, dropout, in this order; the spectrogram lies with
frequency first (the kernel of block 3 is 16 bands by 128 frames; the other way round nothing is left after
it) and holds dB as they are, no normalisation before the first layer.

Ours: the head, one linear layer, since the paper trained this network alone but does not say under what;
`input_shape`, other lengths and bands, whose last map is averaged; `width`; first weights.

Shape letters: B clips, C channels, T frames (862), F mel bands (128), E embedding (256), K classes.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from auricle.models.parts import MapDropout, check_patches, initialise, output_layers, patch_shape, scaled

CLIP = (1, 862, 128)  # C, T, F: 10 s of librosa's defaults at 44.1 kHz
BLOCKS = (  # channels; kernel, stride and padding in bands and frames
    (8, (1, 1), (1, 1), (0, 0)),
    (16, (3, 3), (1, 1), (1, 1)),
    (32, (16, 128), (4, 16), (8, 16)),
    (64, (5, 5), (2, 2), (1, 1)),
    (128, (5, 5), (2, 2), (1, 1)),
    (256, (3, 3), (2, 2), (1, 1)),
)
POOLED = 3  # the block that ends in a max pool
POOL = (4, 4)
# Frames and bands of which something is left at the end, and two places before the last block: of a single
# one there, oneDNN's bfloat16 gradient of its weights is wrong (torch 2.13, on a CPU).
LEAST = (784, 108)
# Channels that block 2 has at least: of 8, oneDNN's bfloat16 makes wrong numbers in block 3 (torch 2.13).
NARROW = 16


class UrbanCNN(nn.Module):
    """Log-mel of ten seconds -> logits, by way of 256 values.

    Args:
        num_classes: K, the width of the logits.
        input_shape: (1, T, F), at least 784 frames and 108 bands.
        dropout: share of a block's values dropped in training.
        width: multiplies the channels, of which block 2 and those after it keep at least 16.

    Shapes:
        forward: (B, 1, T, F) log-mel -> (B, K) logits, no sigmoid.
        embed:   (B, 1, T, F) log-mel -> (B, E).

    Raises:
        ValueError: an argument is none of those above, or log-mel is not (B, *input_shape); in training, one
            clip alone, which batch norm cannot compare.

    >>> import torch
    >>> net = UrbanCNN(num_classes=5)
    >>> net.embed(torch.zeros(2, 1, 862, 128)).shape
    torch.Size([2, 256])
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = CLIP

    def __init__(
        self,
        *,
        num_classes: int,
        input_shape: Sequence[int] = CLIP,
        dropout: float = 0.5,
        width: float = 1.0,
    ):
        super().__init__()
        self.num_classes, self.input_shape = num_classes, patch_shape(input_shape, least=LEAST)
        self.features, size = conv_blocks(dropout=dropout, width=width)
        _, self.head, self.embedding_size = output_layers(size, num_classes, None)
        initialise(self, self.head)

    def embed(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, E)."""
        check_patches(logmel_B1TF, self.input_shape)
        return embed_clips(self.features, logmel_B1TF)

    def forward(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, K) logits."""
        return self.head(self.embed(logmel_B1TF))


def conv_blocks(*, dropout: float, width: float) -> tuple[nn.Sequential, int]:
    """The layers of table 1, and how many channels they end with.

    >>> len(conv_blocks(dropout=0.5, width=1.0)[0])
    25
    """
    check_dropout("dropout", dropout)
    layers: list[nn.Module] = []
    size = 1
    for number, (channels, kernel, stride, padding) in enumerate(BLOCKS, start=1):
        wide = max(scaled(channels, width), min(channels, NARROW))
        layers += [nn.Conv2d(size, wide, kernel, stride, padding), nn.BatchNorm2d(wide)]
        layers.append(nn.ReLU(inplace=True))
        if number == POOLED:
            layers.append(nn.MaxPool2d(POOL))
        layers.append(MapDropout(dropout))
        size = wide
    return nn.Sequential(*layers), size


def embed_clips(features: nn.Sequential, logmel_B1TF: Tensor) -> Tensor:
    """(B, 1, T, F) log-mel -> (B, E): the blocks' last map, of one place where clips are of 10 s, averaged.

    >>> import torch
    >>> embed_clips(conv_blocks(dropout=0.5, width=1.0)[0], torch.zeros(2, 1, 862, 128)).shape
    torch.Size([2, 256])
    """
    if features.training and len(logmel_B1TF) == 1:
        raise ValueError(
            "expected more than one clip in training: batch norm has nothing to compare it with; got "
            f"{tuple(logmel_B1TF.shape)}"
        )
    return features(logmel_B1TF.transpose(2, 3).contiguous()).mean((2, 3))


def check_dropout(name: str, share: float) -> None:
    """Refuse a share that leaves nothing, or is none.

    >>> check_dropout("dropout", 1.0)
    Traceback (most recent call last):
    ValueError: dropout is 1.0; expected a share from 0 to below 1
    """
    if not 0 <= share < 1:
        raise ValueError(f"{name} is {share}; expected a share from 0 to below 1")
