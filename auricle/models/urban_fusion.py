"""The network for urban sounds and a pre-trained network's embeddings, fused before the last layers.

Source: Tompkins and Nichols, "DCASE 2019 Challenge Task 5: CNN+VGGish", technical report, 2019, section 4.1,
table 2. As published: the six blocks of `urban_cnn`, whose 256 values meet the 10 x 128 values of VGGish;
layers of 512 and 256 units, each with batch norm, ReLU and dropout of 0.2, and a last one. How the two meet
stands in the report twice, and differently:

- `fusion="bilinear"` is the table's, Bilinear (256, 1280) -> 512, and the authors' release
  (microsoft/dcase-2019): a weight for each pair of values and each unit. With 37 labels 169,517,205 weights:
  for a GPU.
- `fusion="concatenation"` is the text's: 1,536 values in a row. 2,531,477 weights: two cores manage it.

VGGish's values go in as its post-processing gives them, whole numbers 0..255; `quantised` scales them as
other networks of the package do. Ours too: other embeddings (`input_shape`), `width`, first weights.

Shape letters: B clips, T frames (862), F mel bands (128), W windows (10) and D values (128) of the embedding,
E units before the last layer (256), K classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from auricle.models.attention import scaled_embeddings
from auricle.models.parts import initialise, output_layers, patch_shape, scaled
from auricle.models.urban_cnn import CLIP, LEAST, check_dropout, conv_blocks, embed_clips

FUSIONS = ("concatenation", "bilinear")
UNITS = (512, 256)
EMBEDDINGS = (10, 128)


class UrbanFusion(nn.Module):
    """Log-mel of ten seconds, and the embeddings of its windows -> logits.

    Args:
        num_classes: K, the width of the logits.
        fusion: "concatenation" or "bilinear".
        input_shape: ((1, T, F), (W, D)).
        dropout: share of a convolution block's values dropped in training.
        dense_dropout: of those of each layer above.
        quantised: embeddings are VGGish's 0..255 and are taken as (value - 128) / 128; else as they are.
        width: multiplies channels and units.

    Shapes:
        forward: ((B, 1, T, F) log-mel, (B, W, D) embeddings), one tuple -> (B, K) logits, no sigmoid.
        embed:   the same tuple -> (B, E).

    Raises:
        ValueError: an argument is none of those above, or the input is not that pair of that shape; in
            training, one clip alone, which batch norm cannot compare.

    >>> net = UrbanFusion(num_classes=5, input_shape=((1, 862, 128), (10, 1024)))
    >>> net((torch.zeros(2, 1, 862, 128), torch.zeros(2, 10, 1024))).shape
    torch.Size([2, 5])
    """

    input_kind = ("logmel", "embedding")
    input_shape: tuple[tuple[int, ...], ...] = (CLIP, EMBEDDINGS)

    def __init__(
        self,
        *,
        num_classes: int,
        fusion: str = "concatenation",
        input_shape: Sequence[Sequence[int]] = (CLIP, EMBEDDINGS),
        dropout: float = 0.5,
        dense_dropout: float = 0.2,
        quantised: bool = False,
        width: float = 1.0,
    ):
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"fusion is {fusion!r}; known: {', '.join(FUSIONS)}")
        check_dropout("dense_dropout", dense_dropout)
        self.num_classes, self.input_shape = num_classes, _pair_of_shapes(input_shape)
        self.fusion, self.quantised = fusion, quantised
        self.features, size = conv_blocks(dropout=dropout, width=width)
        values = self.input_shape[1][0] * self.input_shape[1][1]
        first, second = (scaled(units, width) for units in UNITS)
        self.joint = Bilinear(size, values, first) if fusion == "bilinear" else _Joined(size + values, first)
        self.layers = nn.Sequential(
            nn.BatchNorm1d(first),
            nn.ReLU(inplace=True),
            nn.Dropout(dense_dropout),
            nn.Linear(first, second),
            nn.BatchNorm1d(second),
            nn.ReLU(inplace=True),
            nn.Dropout(dense_dropout),
        )
        _, self.head, self.embedding_size = output_layers(second, num_classes, None)
        initialise(self, self.head)

    def embed(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """((B, 1, T, F) log-mel, (B, W, D) embeddings) -> (B, E)."""
        logmel_B1TF, embedding_BWD = self._checked(inputs)
        size = self.input_shape[1][1]
        embedding_BWD = scaled_embeddings(embedding_BWD, size, quantised=self.quantised)
        clip_BC = embed_clips(self.features, logmel_B1TF)
        return self.layers(self.joint(clip_BC, embedding_BWD.flatten(1).to(clip_BC.dtype)))

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """((B, 1, T, F) log-mel, (B, W, D) embeddings) -> (B, K) logits."""
        return self.head(self.embed(inputs))

    def _checked(self, inputs: Any) -> tuple[Tensor, Tensor]:
        pair = isinstance(inputs, (tuple, list)) and len(inputs) == 2
        if not pair or not all(isinstance(one, Tensor) for one in inputs):
            got = f"{len(inputs)} of them" if isinstance(inputs, (tuple, list)) else type(inputs).__name__
            raise ValueError(f"expected a pair of tensors, (log-mel, embeddings), got {got}")
        shapes = [tuple(one.shape) for one in inputs]
        fits = all(one[1:] == wanted for one, wanted in zip(shapes, self.input_shape, strict=True))
        if not fits or shapes[0][0] != shapes[1][0]:
            logmel, embedding = (", ".join(str(n) for n in shape) for shape in self.input_shape)
            raise ValueError(
                f"expected log-mel (B, {logmel}) and embeddings (B, {embedding}) of the same B clips, got "
                f"{shapes[0]} and {shapes[1]}"
            )
        return inputs[0], inputs[1]


class Bilinear(nn.Bilinear):
    """The same numbers as torch's, to rounding, as one matrix product, which it does not make of them.

    >>> layer, x, y = Bilinear(3, 4, 2), torch.randn(5, 3), torch.randn(5, 4)
    >>> torch.allclose(layer(x, y), nn.Bilinear.forward(layer, x, y), atol=1e-6)
    True
    """

    def __init__(self, size: int, other: int, units: int):
        super().__init__(size, other, units)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        nn.init.zeros_(self.bias)

    def forward(self, one_BI: Tensor, other_BJ: Tensor) -> Tensor:
        """(B, I), (B, J) -> (B, units)."""
        products_BIJ = one_BI[:, :, None] * other_BJ[:, None, :]
        return functional.linear(products_BIJ.flatten(1), self.weight.flatten(1), self.bias)


class _Joined(nn.Linear):
    """A linear layer on two rows of values as one: (B, I), (B, J) -> (B, units)."""

    def forward(self, one_BI: Tensor, other_BJ: Tensor) -> Tensor:  # type: ignore[override]
        """See the class."""
        return super().forward(torch.cat([one_BI, other_BJ], 1))


def _pair_of_shapes(shapes: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """An `input_shape` argument as tuples, refused where it is not ((1, T, F), (W, D))."""
    try:
        logmel, embedding = (tuple(int(size) for size in shape) for shape in shapes)
    except (TypeError, ValueError) as error:
        raise ValueError(f"input_shape is {shapes!r}; expected ((1, T, F), (W, D))") from error
    if len(embedding) != 2 or min(embedding) < 1:
        raise ValueError(f"input_shape is {shapes!r}; expected ((1, T, F), (W, D)), W and D at least 1")
    return patch_shape(logmel, least=LEAST), embedding
