"""Fully connected: N layers of M units with ReLU, the baseline without convolutions.

Source: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017, section
3.3.1, https://arxiv.org/abs/1609.09430. As published: N = 3 layers of M = 1000 units, found best among N in
2..6 and M in 500..4000; 11.2 M weights and as many multiplies with 3,087 labels. No batch norm: the paper
puts it after convolutions.

The same net is the paper's two detectors of section 4.4, by its arguments: on log-mel patches of 20 frames
x 64 bands, input_shape (1, 20, 64), and on embeddings, input_kind "embedding" and input_shape (T, D). The
paper does not say how large those two were.

Shape letters: B clips, C channels (1), T frames or windows, F mel bands, D size of an embedding, E
embedding that this net gives, K classes.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from auricle.models.parts import PATCH, initialise, output_layers, scaled


class FullyConnected(nn.Module):
    """Flattened input -> N hidden layers -> logits.

    Args:
        num_classes: K, the width of the logits.
        layers: N, hidden layers; without one it is logistic regression on the flattened input.
        units: M, units of each.
        input_kind: "logmel" or "embedding".
        input_shape: of one example: (1, T, F) log-mel or (T, D) embeddings.
        bottleneck: units of a linear layer before the output; None for none.
        width: multiplies the units.
        standardised: each value of the input less its mean, by its standard deviation, both followed over
            training (batch norm without weights).

    Shapes:
        forward: (B, *input_shape) -> (B, K) logits, no sigmoid.
        embed:   (B, *input_shape) -> (B, E): the last hidden layer after its ReLU, or the bottleneck; the
                 flattened input where there is neither.

    >>> import torch
    >>> FullyConnected(num_classes=5, units=8)(torch.zeros(2, 1, 96, 64)).shape
    torch.Size([2, 5])
    >>> on_embeddings = FullyConnected(num_classes=5, units=8, input_kind="embedding", input_shape=(1, 128))
    >>> on_embeddings(torch.zeros(2, 1, 128)).shape
    torch.Size([2, 5])
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = PATCH

    def __init__(
        self,
        *,
        num_classes: int,
        layers: int = 3,
        units: int = 1000,
        input_kind: str = "logmel",
        input_shape: Sequence[int] = PATCH,
        bottleneck: int | None = None,
        width: float = 1.0,
        standardised: bool = False,
    ):
        super().__init__()
        axes = {"logmel": 3, "embedding": 2}
        if input_kind not in axes:
            raise ValueError(f"input_kind is {input_kind!r}; known: {', '.join(axes)}")
        self.input_shape = tuple(int(size) for size in input_shape)
        if len(self.input_shape) != axes[input_kind] or min(self.input_shape) < 1:
            wanted = "(1, T, F)" if input_kind == "logmel" else "(T, D)"
            raise ValueError(f"input_shape is {self.input_shape}; expected {wanted} for {input_kind}")
        if layers < 0 or units < 1:
            raise ValueError(f"expected layers from 0 on and at least one unit, got {layers} and {units}")
        self.num_classes, self.input_kind = num_classes, input_kind
        size = math.prod(self.input_shape)
        hidden: list[nn.Module] = [nn.BatchNorm1d(size, affine=False)] * standardised
        for _ in range(layers):
            hidden += [nn.Linear(size, scaled(units, width)), nn.ReLU(inplace=True)]
            size = scaled(units, width)
        self.hidden = nn.Sequential(*hidden)
        self.bottleneck, self.head, self.embedding_size = output_layers(size, num_classes, bottleneck)
        initialise(self, self.head)

    def embed(self, x: Tensor) -> Tensor:
        """(B, *input_shape) -> (B, E)."""
        if tuple(x.shape[1:]) != self.input_shape:
            wanted = ", ".join(str(size) for size in self.input_shape)
            raise ValueError(f"expected {self.input_kind} (B, {wanted}), got {tuple(x.shape)}")
        return self.bottleneck(self.hidden(x.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, *input_shape) -> (B, K) logits."""
        return self.head(self.embed(x))
