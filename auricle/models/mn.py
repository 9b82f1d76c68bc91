"""EfficientAT's mn: MobileNetV3-Large on ten seconds of log-mel, by its width from mn04 to mn40.

Source: Schmid et al., "Efficient Large-Scale Audio Tagging via Transformer-to-CNN Knowledge Distillation",
ICASSP 2023, https://arxiv.org/abs/2211.04772, section 2. The blocks are those of Howard et al. (2019); as in
the authors' release (fschmid56/EfficientAT): squeeze-and-excitation over channels with a plain sigmoid, six
times the last block's channels before the mean, a hidden layer of 1280 units, both times the width.

What the release names mn04, mn05, mn10, mn20, mn30 and mn40 is `width` 0.4, 0.5, 1, 2, 3 and 4.

Ours: log-mel comes as (T, F) and is turned, since the released kernels lie with frequency first; first
weights; a "linear" head, as which a released fully convolutional one is imported.

Shape letters: B clips, C channels, T frames (1000), F mel bands (128), E embedding (960), K classes.
"""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from auricle.models.mobile import (
    EXPANDED_LAST,
    STRIDES,
    TEN_SECONDS,
    Inverted,
    conv_norm,
    frequency_first,
    make_head,
    shapes,
)
from auricle.models.parts import initialise, patch_shape


class MN(nn.Module):
    """Log-mel of any length -> logits, by way of the mean of the last map.

    Args:
        num_classes: K, the width of the logits.
        input_shape: (1, T, F) of an example, for counting: any numbers of frames and bands will do.
        width: multiplies all channels and the head's units; 0.4 to 4 are released.
        strides: of the four blocks that halve the map, 1 or 2 each.
        head: "mlp", or "linear" for one linear layer on the embedding.
        dropout: share of the head's units dropped in training.

    Shapes:
        forward: (B, 1, T, F) log-mel -> (B, K) logits, no sigmoid.
        embed:   (B, 1, T, F) log-mel -> (B, E).

    Raises:
        ValueError: an argument is none of those above, or log-mel is not (B, 1, T, F).

    >>> import torch
    >>> MN(num_classes=5, width=0.4).embed(torch.zeros(2, 1, 100, 128)).shape
    torch.Size([2, 384])
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = TEN_SECONDS

    def __init__(
        self,
        *,
        num_classes: int,
        input_shape: Sequence[int] = TEN_SECONDS,
        width: float = 1.0,
        strides: Sequence[int] = STRIDES,
        head: str = "mlp",
        dropout: float = 0.2,
    ):
        super().__init__()
        rows = shapes(width, strides)
        self.num_classes, self.input_shape = num_classes, patch_shape(input_shape, least=(1, 1))
        self.embedding_size = EXPANDED_LAST * rows[-1].size_out
        self.least = 2 * prod(strides)
        self.stem = nn.Sequential(*conv_norm(1, rows[0].size_in, 3, stride=2), nn.Hardswish())
        self.blocks = nn.Sequential(*[Inverted(row, squeeze=row.squeeze) for row in rows])
        self.last = nn.Sequential(*conv_norm(rows[-1].size_out, self.embedding_size, 1), nn.Hardswish())
        self.head, last = make_head(head, self.embedding_size, num_classes, width=width, dropout=dropout)
        initialise(self, last)

    def embed(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, E)."""
        map_BCFT = frequency_first(logmel_B1TF, training=self.training, least=self.least)
        return self.last(self.blocks(self.stem(map_BCFT))).mean((2, 3))

    def forward(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, K) logits."""
        return self.head(self.embed(logmel_B1TF))
