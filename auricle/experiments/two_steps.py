"""Trainings in two steps for the experiments of Chen et al. 2019: N batches, then F at a tenth of the rate.

So that rows compare, every one of them has both steps, whatever it mixes in each.
"""

import dataclasses
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from auricle.experiments.options import Options, base_config
from auricle.experiments.runs import build_without_memory
from auricle.features import FeatureConfig
from auricle.recipes.chen import chen
from auricle.training import TrainConfig

STRATEGIES = {  # row of table 2 -> what is mixed in step one, and in step two
    "none": ("none", "none"),
    "mixup": ("mixup", "mixup"),
    "mix-training without fine-tuning": ("mix_training", "mix_training"),
    "mix-training": ("mix_training", "none"),
}
FINETUNE_SHARE = 1 / 5  # of the steps, where their number is not given
FINETUNE_RATE = 0.1
# Settings that have an option of their own, or that rows differ in: for all of them they would be a lie.
FIXED = (
    "model", "seed", "steps", "epochs", "batch", "finetune_steps", "finetune_epochs", "mixing",
    "finetune_mixing", "finetune_rate", "train_fraction", "validation_fraction",
    "train_splits", "validation_splits", "label_set",
)  # fmt: skip
WINDOW_FIELDS = ("window", "hop")


def finetune_steps(options: Options) -> int:
    """F: as asked for, or a fifth of N.

    >>> from pathlib import Path
    >>> finetune_steps(Options(data=Path("p"), out=Path("o"), train_splits=("a",), test_splits=("b",)))
    200
    """
    return options.finetune_steps or max(1, round(options.steps * FINETUNE_SHARE))


def two_step_config(options: Options, model: str, strategy: str, **changes: Any) -> TrainConfig:
    """One row's training, by the recipe `chen`.

    Networks on raw waveforms see windows of the recipe's length, or of `--set window=SAMPLES`, one beside the
    other; networks on log-mels patches of their own size, unless `--set MODEL:window=SAMPLES` says otherwise.

    Args:
        options: of the comparison.
        model: its name.
        strategy: a name in STRATEGIES.
        changes: fields of the configuration.

    Raises:
        ValueError: a setting is not known, or does not fit.
    """
    mixing, afterwards = STRATEGIES[strategy]
    own = options.model_settings.get(model, {})
    settings = {**options.settings, **own}
    if input_of(model)[0] != "waveform":
        of_all = {key: text for key, text in options.settings.items() if key not in WINDOW_FIELDS}
        settings = {**of_all, **own}
        changes = patch_of(model) | changes
    if "window" in settings and "hop" not in settings:
        # Else sound between windows would not be judged, or some of it twice.
        settings["hop"] = settings["window"]
    if "mix_training" not in (mixing, afterwards):
        settings.pop("mix_range", None)  # of the rows that mix by it
    return base_config(
        dataclasses.replace(options, settings=settings, model_settings={}),
        model,
        chen,
        **{
            "mixing": mixing,
            "finetune_mixing": afterwards,
            "finetune_steps": finetune_steps(options),
            "finetune_rate": FINETUNE_RATE,
            "mix_range": TrainConfig.mix_range,
            **changes,
        },
    )


@lru_cache
def input_of(model: str) -> tuple[str, tuple[int, ...]]:
    """Kind and usual shape of what a network takes.

    Raises:
        ValueError: no network has that name.

    >>> input_of("resnet50")
    ('logmel', (1, 96, 64))
    """
    net = build_without_memory(model, num_classes=1)
    return str(net.input_kind), tuple(int(size) for size in net.input_shape)


def patch_of(model: str) -> dict[str, int]:
    """Window and hop of a log-mel network's own patches, in samples; nothing for another network.

    >>> patch_of("resnet50")
    {'window': 15600, 'hop': 15360}
    """
    kind, shape = input_of(model)
    if kind != "logmel":
        return {}
    features, frames = FeatureConfig(), shape[1]
    return {"window": features.window + (frames - 1) * features.hop, "hop": frames * features.hop}


def refuse_settings(options: Options, models: Sequence[str], fixed: Sequence[str] = FIXED) -> None:
    """Refuse settings that would make rows alike which differ in them, or that no row would use.

    Raises:
        ValueError: names the setting.
    """
    for key in [*options.settings, *(key for own in options.model_settings.values() for key in own)]:
        if key in fixed:
            raise ValueError(
                f"--set {key}: rows differ in it, or it has an option of its own (--help); leave it out"
            )
    if (given := [key for key in WINDOW_FIELDS if key in options.settings]) and not any(
        input_of(model)[0] == "waveform" for model in models
    ):
        raise ValueError(
            f"--set {given[0]} is for networks on raw waveforms, and no row is of one; for another name it: "
            f"--set {models[0]}:{given[0]}=..."
        )
