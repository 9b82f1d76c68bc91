"""From a pack to a trained model."""

from auricle.training.config import TrainConfig, configure
from auricle.training.loop import train

__all__ = ["TrainConfig", "configure", "train"]
