"""Multi-level attention on embeddings: attention over time after several layers, joined by one last layer.

Source: Yu et al., "Multi-level Attention Model for Weakly Supervised Audio Classification", DCASE Workshop
2018, https://arxiv.org/abs/1803.02353. As published: fully connected layers of 600 units with batch norm
and dropout on 10 embeddings of 128 a clip; an attention module after several of them; their predictions are
concatenated and a last layer maps them to the classes. Modules after the second and the third layer are
what its authors found best; `levels` takes others.

Shape letters: B clips, T windows (10), D size of an embedding (128), E predictions of all modules, K
classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from auricle.models.attention import AttentionPool, WindowLayer, scaled_embeddings
from auricle.models.parts import initialise, scaled


class MultiAttention(nn.Module):
    """Embeddings of a clip's windows -> logits.

    Args:
        num_classes: K, the width of the logits.
        input_shape: (T, D); any other number of windows will do too.
        levels: the layers, counted from 1 and rising, that an attention module follows; there are as many
            layers as the last of them says.
        units: of each layer.
        squash: of the attention: "sigmoid", or "softmax" over the classes.
        dropout: share of the units dropped in training.
        quantised: inputs are VGGish's 0..255, taken as (value - 128) / 128.
        width: multiplies the units.

    Shapes:
        forward: (B, T, D) embeddings -> (B, K) logits, no sigmoid.
        embed:   (B, T, D) embeddings -> (B, E): what the modules predict, E = len(levels) K.

    >>> import torch
    >>> MultiAttention(num_classes=5)(torch.zeros(2, 10, 128)).shape
    torch.Size([2, 5])
    """

    input_kind = "embedding"
    input_shape: tuple[int, ...] = (10, 128)

    def __init__(
        self,
        *,
        num_classes: int,
        input_shape: Sequence[int] = (10, 128),
        levels: Sequence[int] = (2, 3),
        units: int = 600,
        squash: str = "sigmoid",
        dropout: float = 0.4,
        quantised: bool = False,
        width: float = 1.0,
    ):
        super().__init__()
        self.levels = tuple(int(level) for level in levels)
        if not self.levels or self.levels[0] < 1 or list(self.levels) != sorted(set(self.levels)):
            raise ValueError(f"levels is {self.levels}; expected layers counted from 1, rising, say (2, 3)")
        windows, size = (int(number) for number in input_shape)
        self.num_classes, self.input_shape, self.quantised = num_classes, (windows, size), quantised
        sizes = [size] + self.levels[-1] * [scaled(units, width)]
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.layers = nn.ModuleList(WindowLayer(a, b, dropout=dropout) for a, b in pairs)
        self.pools = nn.ModuleList(AttentionPool(sizes[-1], num_classes, squash=squash) for _ in self.levels)
        self.embedding_size = len(self.levels) * num_classes
        self.head = nn.Linear(self.embedding_size, num_classes)
        initialise(self, self.head)
        # Its inputs are probabilities: with the small weights of other heads they would hardly be heard.
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="relu")

    def embed(self, embedding_BTD: Tensor) -> Tensor:
        """(B, T, D) embeddings -> (B, E) probabilities of all modules."""
        features_BTD = scaled_embeddings(embedding_BTD, self.input_shape[1], quantised=self.quantised)
        pools = dict(zip(self.levels, self.pools, strict=True))
        predictions = []
        for level, layer in enumerate(self.layers, start=1):
            features_BTD = layer(features_BTD)
            if level in pools:
                predictions.append(pools[level](features_BTD))
        return torch.cat(predictions, 1)

    def forward(self, embedding_BTD: Tensor) -> Tensor:
        """(B, T, D) embeddings -> (B, K) logits."""
        return self.head(self.embed(embedding_BTD))
