"""From a pack to a trained model."""

from auricle.training.config import TrainConfig
from auricle.training.devices import OutOfMemoryError
from auricle.training.family import train_family
from auricle.training.loop import Diverged, train
from auricle.training.settings import configure

__all__ = ["Diverged", "OutOfMemoryError", "TrainConfig", "configure", "train", "train_family"]
