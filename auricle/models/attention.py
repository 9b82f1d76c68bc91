"""Attention over time, the module that single_attention and multi_attention share.

Source: Kong et al., "Audio Set classification with attention model: a probabilistic perspective", ICASSP
2018, https://arxiv.org/abs/1711.00927.

Shape letters: B clips, T windows of a clip, D features of a window, K classes.
"""

import math

from torch import Tensor, nn

SQUASHES = ("sigmoid", "softmax")
SMALLEST = 1e-7  # of an attention weight before it is normalised: no class ignores all of a clip


class AttentionPool(nn.Module):
    """Per class, the mean over time of a classifier's probabilities, weighted by an attention of its own.

    Args:
        size: D.
        num_classes: K.
        squash: what bounds the attention: "sigmoid" each by itself, "softmax" over the classes.

    Shapes:
        forward: (B, T, D) -> (B, K) probabilities, float32 whatever the layers compute in.
        logit:   (B, T, D) -> (B, K) their logits.

    >>> import torch
    >>> AttentionPool(4, 3)(torch.zeros(2, 10, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(self, size: int, num_classes: int, *, squash: str = "sigmoid"):
        super().__init__()
        if squash not in SQUASHES:
            raise ValueError(f"squash is {squash!r}; known: {', '.join(SQUASHES)}")
        self.squash = squash
        self.classify = nn.Linear(size, num_classes)
        self.attend = nn.Linear(size, num_classes)

    def forward(self, features_BTD: Tensor) -> Tensor:
        """See the class."""
        probability_BTK = self.classify(features_BTD).float().sigmoid()
        return (self._log_shares(features_BTD).exp() * probability_BTK).sum(1)

    def logit(self, features_BTD: Tensor) -> Tensor:
        """See the class."""
        return logit_of_mean(self.classify(features_BTD), self._log_shares(features_BTD), 1)

    def _log_shares(self, features_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, K): how much each window counts, as logarithms; over T they sum up to 1."""
        attention_BTK = self.attend(features_BTD).float()
        sigmoid = self.squash == "sigmoid"
        log_weight_BTK = log_sigmoid(attention_BTK) if sigmoid else attention_BTK.log_softmax(2)
        return log_weight_BTK.clamp(math.log(SMALLEST), math.log1p(-SMALLEST)).log_softmax(1)


class WindowLayer(nn.Module):
    """A fully connected layer on each window: linear, batch norm, ReLU, dropout."""

    def __init__(self, size_in: int, units: int, *, dropout: float):
        super().__init__()
        self.linear = nn.Linear(size_in, units, bias=False)
        self.norm = nn.BatchNorm1d(units)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, units)."""
        if self.training and features_BTD.shape[0] * features_BTD.shape[1] == 1:
            raise ValueError(
                "expected more than one window (B, T, D) in training: batch norm cannot train on a single "
                f"one, got {tuple(features_BTD.shape)}"
            )
        flat = self.norm(self.linear(features_BTD.flatten(0, 1)))
        return self.dropout(flat.relu()).unflatten(0, features_BTD.shape[:2])


def scaled_embeddings(embedding_BTD: Tensor, size: int, *, quantised: bool) -> Tensor:
    """Embeddings as the layers take them, refused where they are not (B, T, size).

    Args:
        embedding_BTD: (B, T, D).
        size: the D that is expected.
        quantised: values are VGGish's 0..255 and become (value - 128) / 128.

    >>> import torch
    >>> scaled_embeddings(torch.full((1, 1, 2), 192), 2, quantised=True)
    tensor([[[0.5000, 0.5000]]])
    """
    if embedding_BTD.ndim != 3 or embedding_BTD.shape[2] != size or not embedding_BTD.shape[1]:
        raise ValueError(f"expected embeddings (B, T, {size}), got {tuple(embedding_BTD.shape)}")
    return (embedding_BTD.float() - 128) / 128 if quantised else embedding_BTD


def logit_of_mean(logits: Tensor, log_weights: Tensor | float, dim: int) -> Tensor:
    """The logit of a mean of probabilities, in float32, none further from 0 than 13.8.

    It never leaves logarithms: next to 1 a float32 has steps of 0.01 of a logit of 12.

    Args:
        logits: of the probabilities.
        log_weights: of each; the weights sum up to 1 along `dim`.
        dim: over which the mean is taken.

    >>> import torch
    >>> logit_of_mean(torch.tensor([[2.0, -50.0], [-2.0, -50.0]]), math.log(0.5), 0)
    tensor([  0.0000, -13.8155])
    """
    logits = logits.float()
    present, absent = (
        (log_sigmoid(side) + log_weights).logsumexp(dim).clamp(min=math.log(1e-6))
        for side in (logits, -logits)
    )
    return present - absent


def log_sigmoid(logits: Tensor) -> Tensor:
    """The logarithm of a score, exact for any logit.

    Written out: exported as torch has it, it is the logarithm of ONNX Runtime's sigmoid, of which one part
    in 500 is wrong at -12.

    >>> import torch
    >>> log_sigmoid(torch.tensor([0.0, -100.0]))
    tensor([  -0.6931, -100.0000])
    """
    return logits.clamp(max=0) - (-logits.abs()).exp().log1p()
