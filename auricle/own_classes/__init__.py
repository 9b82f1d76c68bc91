"""Somebody's own classes: from a folder of examples to a model like any other, judged by folds.

A linear classifier on a model's embeddings, which stay as they are: seconds on two cores, without torch where
the model needs none. Or the whole network is trained (`fine_tuning`), where it has weights.
"""

from auricle.own_classes.config import OwnClasses, configure
from auricle.own_classes.frozen import train_own

__all__ = ["OwnClasses", "configure", "train_own"]
