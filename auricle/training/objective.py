"""What training minimises: sigmoid cross-entropy, weighted by class, without what nobody knows.

Shape letters: B patches, K classes.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from auricle.shards import Pack


def class_weights(
    pack: Pack, clips: np.ndarray, label_set: str, exponent: float, *, masked: bool = False
) -> np.ndarray | None:
    """(K,) float32: how much more a positive counts than a negative, (negatives / positives) ** exponent.

    Counted over the clips that are trained on, as they are trained on: what is unknown of a clip is neither
    where it is masked, else a negative. A soft target counts as the share of a positive that it is. A class
    without positives, or without negatives, has weight 1.

    Args:
        pack: whose labels.
        clips: positions of the training clips.
        label_set: of the pack.
        exponent: 1 offsets the imbalance whole, 0.1 takes the tenth root of that; 0 weighs nothing.
        masked: nothing is learned from what is unknown.

    Returns:
        None where nothing is weighed.

    Source: Tompkins and Nichols, "DCASE 2019 Challenge Task 5: CNN+VGGish", 2019, section 5.

    >>> class_weights(Pack("out/pack"), np.arange(10), "labels", 0.1)  # doctest: +SKIP
    array([1.2457309, 1.       ], dtype=float32)
    """
    if not exponent:
        return None
    positives_K = positive_counts(pack, clips, label_set, masked=masked)
    negatives_K = len(clips) - positives_K
    if masked:
        negatives_K -= unknown_counts(pack, clips, label_set)
    weights_K = np.ones(len(positives_K), np.float32)
    both = (positives_K > 0) & (negatives_K > 0)
    weights_K[both] = (negatives_K[both] / positives_K[both]) ** exponent
    return weights_K


def positive_counts(pack: Pack, clips: np.ndarray, label_set: str, *, masked: bool = False) -> np.ndarray:
    """(K,) float64: how many of some clips have each label; of soft targets, their sum.

    With `masked`, without what is unknown of a clip, whatever share of the votes it has.

    >>> positive_counts(Pack("out/pack"), np.arange(10), "labels")  # doctest: +SKIP
    array([4., 1.])
    """
    unknown_rows, unknown_columns = pack.unknown_pairs(clips if masked else clips[:0], label_set)
    if not len(unknown_rows) and not pack.manifest["label_sets"][label_set]["soft"]:
        return pack.label_counts(label_set, clips).astype(np.float64)  # sparing of memory
    num_classes = len(pack.label_names(label_set))
    rows, columns, values = pack.target_pairs(clips, label_set, soft=True)
    known = ~np.isin(rows * num_classes + columns, unknown_rows * num_classes + unknown_columns)
    return np.bincount(columns[known], values[known], minlength=num_classes)


def unknown_counts(pack: Pack, clips: np.ndarray, label_set: str) -> np.ndarray:
    """(K,): of how many of some clips each label is unknown.

    >>> unknown_counts(Pack("out/pack"), np.arange(10), "labels")  # doctest: +SKIP
    array([0, 3])
    """
    _, columns = pack.unknown_pairs(clips, label_set)
    return np.bincount(columns, minlength=len(pack.label_names(label_set)))


def cross_entropy(
    predicted: Tensor | list[Tensor] | tuple[Tensor, ...],
    targets_BK: Tensor,
    weights_K: Tensor | None = None,
    unknown_BK: Tensor | None = None,
) -> Tensor:
    """Sigmoid cross-entropy summed over classes and patches; of several predictions, the mean of theirs.

    Args:
        predicted: (B, K) logits, or several of these.
        targets_BK: 0 to 1.
        weights_K: of positives, as `class_weights` gives them.
        unknown_BK: True where a target is not known: nothing is to be learned from it.

    >>> cross_entropy(torch.zeros(1, 2), torch.ones(1, 2), unknown_BK=torch.tensor([[False, True]])).item()
    0.6931471824645996
    """
    several = predicted if isinstance(predicted, (list, tuple)) else [predicted]
    known_BK = None if unknown_BK is None else (~unknown_BK).float()
    losses = [
        functional.binary_cross_entropy_with_logits(
            logits.float(), targets_BK, weight=known_BK, pos_weight=weights_K, reduction="sum"
        )
        for logits in several
    ]
    return losses[0] if len(losses) == 1 else torch.stack(losses).mean()
