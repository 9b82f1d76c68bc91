"""What a training on somebody's own classes computes."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from auricle.linear import KINDS

BY_SPLIT = "splits"  # of `folds`: those of the pack


@dataclass(frozen=True, kw_only=True)
class OwnClasses:
    """What a training on somebody's own examples computes.

    >>> OwnClasses(folds="splits").kind
    'auto'
    """

    init_from: str = "default"  # the model whose embeddings, or weights, are taken
    name: str = ""  # of the new model; "" is the run's folder
    licence: str = ""  # of its weights; "" is the embedder's
    kind: str = "auto"  # "one" label a clip, "several"; auto: several where a clip has more than one
    background: str = ""  # a class that is no label: its clips have none of the others
    label_set: str = "labels"  # of a pack
    splits: tuple[str, ...] = ()  # of a pack: only clips of these
    embeddings: str = ""  # of a pack: an embedding set that the model made; "" finds it, or asks the model
    folds: str = "5"  # how many; 0 for no report; "splits": the pack's own
    penalty: float | None = None  # of the classifier's weights; None: chosen inside the folds
    seed: int = 0
    calibrate: bool = False  # on scores out of fold, where these become better by it

    def __post_init__(self) -> None:
        if self.kind not in ("auto", *KINDS):
            raise ValueError(f"kind is {self.kind!r}; expected auto, {', '.join(KINDS)}")
        if self.folds != BY_SPLIT and not (self.folds.isdigit() and int(self.folds) != 1):
            raise ValueError(f"folds is {self.folds!r}; expected a number of 2 or more, 0, or {BY_SPLIT}")
        if self.penalty is not None and not self.penalty > 0:
            raise ValueError(f"penalty is {self.penalty}; expected a number above 0")
        if self.calibrate and self.folds == "0":
            raise ValueError("calibrate takes scores out of fold; leave out folds=0")


def configure(config: OwnClasses, settings: Mapping[str, str]) -> tuple[OwnClasses, dict[str, str]]:
    """The same with some settings changed, as `--set` gives them; and those that it does not know.

    >>> configure(OwnClasses(), {"folds": "3", "epochs": "5"})[1]
    {'epochs': '5'}
    """
    known = {item.name for item in dataclasses.fields(OwnClasses)} - {"init_from", "calibrate"}
    changes: dict[str, Any] = {}
    for name in known & set(settings):
        text = settings[name]
        if name == "splits":
            changes[name] = tuple(part.strip() for part in text.split(",") if part.strip())
        elif name in ("penalty", "seed"):
            try:
                value = yaml.safe_load(text)
                changes[name] = None if value is None and name == "penalty" else float(value)
            except (TypeError, ValueError, yaml.YAMLError):
                raise ValueError(f"setting {name!r} does not take {text!r}: expected a number") from None
        else:
            changes[name] = text
    if "seed" in changes:
        changes["seed"] = int(changes["seed"])
    rest = {name: text for name, text in settings.items() if name not in known}
    return dataclasses.replace(config, **changes), rest
