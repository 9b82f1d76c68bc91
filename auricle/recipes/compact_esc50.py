"""The package's own recipe: the compact net on ESC-50, 5-second clips of 50 environmental sounds.

Measured by the five official folds (benchmarks/esc50_folds.py): see results.csv and docs/results.md.
No run looks at its test fold: the length of training is fixed, and the weights kept are the running
average at its end. About 8 minutes a fold on two cores with bfloat16 matrix units; twice as many epochs and a
teacher take half an hour of one core.
"""

import dataclasses
from pathlib import Path

from auricle.training import TrainConfig

FREE_LICENCES = ("CC0", "CC-BY")


def compact_esc50(data: Path) -> TrainConfig:
    """All clips of the pack; name the folds with `--set train_splits=fold1,fold2,fold3,fold4`."""
    return TrainConfig(
        data=data,
        name="compact-esc50",
        epochs=100,
        learning_rate=4e-3,
        weight_decay=0.02,
        mixing="between_class",
        gain_decibels=8.0,
        speed_spread=0.2,
        mask_frames=24,
        mask_bands=10,
        validation_fraction=0.0,
        checkpoint_every=250,
    )


def compact_esc50_free(data: Path) -> TrainConfig:
    """The same on the clips under CC0 or CC-BY only."""
    return _freed(compact_esc50(data))


def compact_esc50_long(data: Path) -> TrainConfig:
    """Twice as long; a recording scores what its best window does: a sound need not fill it to be there.

    Models of the same kind may teach it: name them with `--set teachers=RUN/last,...`.
    """
    return dataclasses.replace(compact_esc50(data), name="compact-esc50-long", epochs=200, pooling="max")


def compact_esc50_long_free(data: Path) -> TrainConfig:
    """The same on the clips under CC0 or CC-BY only, as its teachers have to be."""
    return _freed(compact_esc50_long(data))


def compact_esc50_robust(data: Path) -> TrainConfig:
    """As long, and a fifth of the patches in a room, as many in noise, as many over a narrow channel."""
    return dataclasses.replace(compact_esc50_long(data), name="compact-esc50-robust", degrade=0.2)


def compact_esc50_robust_free(data: Path) -> TrainConfig:
    """The same on the clips under CC0 or CC-BY only, as its teachers have to be."""
    return _freed(compact_esc50_robust(data))


def compact_esc50_equalized(data: Path) -> TrainConfig:
    """Half as long, begun with a trained network's weights: every patch by another microphone.

    Name whose weights with `--init-from`.
    """
    return dataclasses.replace(
        compact_esc50_robust(data),
        name="compact-esc50-equalized",
        epochs=100,
        learning_rate=3e-3,
        equalize_decibels=8.0,
    )


def compact_esc50_equalized_free(data: Path) -> TrainConfig:
    """The same on the clips under CC0 or CC-BY only, as what it begins with and its teachers have to be."""
    return _freed(compact_esc50_equalized(data))


def _freed(config: TrainConfig) -> TrainConfig:
    """The bundled model's name and licence, and the clips that may have a part in it."""
    where: dict[str, tuple[str, ...]] = {"licence": FREE_LICENCES}
    return dataclasses.replace(config, name="auricle-esc50", licence="Apache-2.0", where=where)
