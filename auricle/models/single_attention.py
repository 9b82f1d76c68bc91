"""Single-level attention on embeddings: three fully connected layers, then attention over time.

Source: Kong et al., "Audio Set classification with attention model: a probabilistic perspective", ICASSP
2018, https://arxiv.org/abs/1711.00927. As published: 10 embeddings of 128 a clip, three fully connected
layers, and for each class a classifier's mean over time weighted by an attention of its own. The attention
is squashed, clamped and normalised over time; which squashing, how many units and how much dropout differ
between this line's papers and releases, so they are arguments; 600 units and 0.4 are those of Yu et al.
2018, so that the two systems compare.

The output is a mean of probabilities: `forward` gives its logit. There is no head on one embedding: `embed`
is the mean over time of the last layer.

Shape letters: B clips, T windows (10), D size of an embedding (128), E units (600), K classes.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from auricle.models.attention import AttentionPool, WindowLayer, scaled_embeddings
from auricle.models.parts import initialise, scaled


class SingleAttention(nn.Module):
    """Embeddings of a clip's windows -> logits.

    Args:
        num_classes: K, the width of the logits.
        input_shape: (T, D); any other number of windows will do too.
        layers: fully connected layers before the attention.
        units: of each.
        squash: of the attention: "sigmoid", or "softmax" over the classes.
        dropout: share of the units dropped in training.
        quantised: inputs are VGGish's 0..255, taken as (value - 128) / 128.
        width: multiplies the units.

    Shapes:
        forward: (B, T, D) embeddings -> (B, K) logits, no sigmoid.
        embed:   (B, T, D) embeddings -> (B, E).

    >>> import torch
    >>> SingleAttention(num_classes=5)(torch.zeros(2, 10, 128)).shape
    torch.Size([2, 5])
    """

    input_kind = "embedding"
    input_shape: tuple[int, ...] = (10, 128)

    def __init__(
        self,
        *,
        num_classes: int,
        input_shape: Sequence[int] = (10, 128),
        layers: int = 3,
        units: int = 600,
        squash: str = "sigmoid",
        dropout: float = 0.4,
        quantised: bool = False,
        width: float = 1.0,
    ):
        super().__init__()
        windows, size = (int(number) for number in input_shape)
        self.num_classes, self.input_shape, self.quantised = num_classes, (windows, size), quantised
        self.embedding_size = scaled(units, width)
        sizes = [size] + layers * [self.embedding_size]
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.layers = nn.Sequential(*(WindowLayer(a, b, dropout=dropout) for a, b in pairs))
        self.pool = AttentionPool(sizes[-1], num_classes, squash=squash)
        initialise(self, self.pool.classify)

    def _features(self, embedding_BTD: Tensor) -> Tensor:
        size = self.input_shape[1]
        return self.layers(scaled_embeddings(embedding_BTD, size, quantised=self.quantised))

    def embed(self, embedding_BTD: Tensor) -> Tensor:
        """(B, T, D) embeddings -> (B, E): the mean over time of the last layer."""
        return self._features(embedding_BTD).mean(1)

    def forward(self, embedding_BTD: Tensor) -> Tensor:
        """(B, T, D) embeddings -> (B, K) logits."""
        return self.pool.logit(self._features(embedding_BTD))
