"""Settings as text, `--set key=value`: a configuration with some of its fields changed."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import yaml

from auricle.features import FeatureConfig
from auricle.training.config import TrainConfig

MAPPINGS = ("model_arguments", "where", "init_prefix")
LISTS = ("train_splits", "validation_splits", "noise", "noise_splits", "monitors", "teachers")
LENGTHS = {"steps": "epochs", "epochs": "steps"}  # setting one of a pair unsets the other
LENGTHS |= {"finetune_steps": "finetune_epochs", "finetune_epochs": "finetune_steps"}
LENGTHS |= {"validate_every": "validate_epochs"}


def configure(config: TrainConfig, settings: Mapping[str, str]) -> TrainConfig:
    """The same configuration with some settings changed, as `--set` gives them.

    Args:
        config: where to start.
        settings: field -> value as text (YAML; a list of names may be joined by commas). `features.bands` and
            `model_arguments.dropout` reach inside. `steps` replaces `epochs`, and the reverse, and so do
            those of fine-tuning.

    Raises:
        ValueError: an unknown field (the known ones are listed), or a value that does not fit it.

    >>> from pathlib import Path
    >>> start = TrainConfig(data=Path("pack"), steps=9)
    >>> configure(start, {"batch": "32", "train_splits": "a,b"}).train_splits
    ('a', 'b')
    """
    changes: dict[str, Any] = {}
    fields = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
    for key, text in settings.items():
        name, _, inner = key.partition(".")
        if name not in fields or (inner and name not in ("features", *MAPPINGS)):
            raise ValueError(f"unknown setting {key!r}; known: {', '.join(sorted(fields))}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"setting {key!r} does not take {text!r}: not YAML") from error
        if inner:
            outer = changes.get(name, fields[name])
            if dataclasses.is_dataclass(outer):
                outer = dataclasses.asdict(outer)  # type: ignore[arg-type]
            if not isinstance(outer, dict):
                raise ValueError(f"setting {name!r} does not take {outer!r}: expected a mapping")
            value = {**outer, inner: value}
        changes[name] = value
    changes = {name: _fit(name, value) for name, value in changes.items()}  # together: a rate needs its bands
    for name in [name for name in LENGTHS if changes.get(name) is not None]:
        changes.setdefault(LENGTHS[name], None)
    return dataclasses.replace(config, **changes)


def _fit(name: str, value: Any) -> Any:
    """A value as its field wants it; ValueError where it cannot be."""
    kind = get_type_hints(TrainConfig)[name]
    try:
        if value is None and type(None) in get_args(kind):
            return None
        if name == "features":
            return FeatureConfig(**value)
        if name == "where" and not isinstance(value, dict):
            raise ValueError("expected a mapping, say {licence: [CC0, CC-BY]}")
        if name == "init_prefix":
            return {str(key or ""): str(inner or "") for key, inner in dict(value).items()}
        if kind is bool and not isinstance(value, bool):
            raise ValueError("expected true or false")
        if name == "where":
            return {key: _names(names) for key, names in value.items()}
        if name in LISTS:
            return _names(value)
        if name in ("mix_range", "noise_snr"):
            return _two_numbers(value)
        if int in (kind, *get_args(kind)) and int(value) != value:
            raise ValueError("expected a whole number")
        for scalar in (int, float):
            if scalar in (kind, *get_args(kind)):
                return scalar(value)
        if isinstance(value, (list, dict)) != (name == "model_arguments"):
            raise ValueError(f"expected {'a mapping' if name == 'model_arguments' else 'a single value'}")
        return value if name == "model_arguments" else kind(value)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"setting {name!r} does not take {value!r}: {error}") from error


def _two_numbers(value: Any) -> tuple[float, float]:
    try:
        low, high = value.split(",") if isinstance(value, str) else value
        return float(low), float(high)
    except (TypeError, ValueError) as error:
        raise ValueError("expected two numbers, say 0.4,0.6") from error


def _names(value: Any) -> tuple[str, ...]:
    parts = (
        value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    )
    return tuple(str(part).strip() for part in parts if str(part).strip())
