"""What a sweep varies: settings with their ranges or lists, and presets of published sweeps."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WHOLE = re.compile(r"[+-]?\d+$")


@dataclass(frozen=True, kw_only=True)
class Range:
    """All numbers from low to high, both included.

    Args:
        low: the smallest.
        high: the largest.
        log: drawn evenly by their logarithm.
        whole: whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False


Space = Mapping[
    str, Range | tuple[str, ...]
]  # setting -> what it may be; listed values as `--set` takes them


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published sweep.

    Args:
        recipe: where each training starts.
        settings: what all trainings have in common.
        over: what varies, as `--over` takes it.
        sampler: how points are chosen.
        source: where it stands.
    """

    recipe: str
    settings: Mapping[str, str]
    over: Mapping[str, str]
    sampler: str
    source: str


PRESETS = {
    "hershey-fully-connected": Preset(
        recipe="hershey",
        settings={"model": "fully_connected"},
        over={"model_arguments.layers": "2,3,4,5,6", "model_arguments.units": "500,1000,2000,3000,4000"},
        sampler="grid",
        source="Hershey et al. 2017, section 3.3.1: N layers of M units; N = 3, M = 1000 was found best",
    ),
}


def parse_space(over: Mapping[str, str]) -> dict[str, Range | tuple[str, ...]]:
    """What each setting may be, from text.

    Args:
        over: setting -> `1e-5:1e-2`, `log:1e-5:1e-2` (whole numbers where both ends are written so), or
            values separated by commas.

    Raises:
        ValueError: a text is neither, or has one value only.

    >>> parse_space({"batch": "64,128", "learning_rate": "log:1e-5:1e-2"})["batch"]
    ('64', '128')
    """
    return {key: _parse(key, text.strip()) for key, text in over.items()}


def _parse(key: str, text: str) -> Range | tuple[str, ...]:
    log = text.startswith("log:")
    parts = text.removeprefix("log:").split(":")
    if len(parts) == 2 or log:
        try:
            low, high = (float(part) for part in parts)
        except ValueError:
            low = high = math.nan
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"over {key}={text}: expected LOW:HIGH or log:LOW:HIGH with LOW below HIGH")
        if log and low <= 0:
            raise ValueError(f"over {key}={text}: a range by logarithm begins above 0")
        return Range(low=low, high=high, log=log, whole=all(WHOLE.match(part.strip()) for part in parts))
    values = tuple(part.strip() for part in text.split(",") if part.strip())
    if len(set(values)) != len(values) or len(values) < 2:
        raise ValueError(
            f"over {key}={text}: expected a range LOW:HIGH or log:LOW:HIGH, or at least two different "
            "values separated by commas"
        )
    return values


def as_setting(value: Any) -> str:
    """A drawn value as `--set` takes it: numbers with four digits, in a form that YAML reads as a number.

    >>> as_setting("64"), as_setting(7), as_setting(0.00001234567), as_setting(0.25)
    ('64', '7', '1.235e-05', '0.25')
    >>> as_setting(0.00001)
    '1.0e-05'
    """
    if isinstance(value, (str, int)):
        return str(value)
    text = f"{value:.4g}"
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def examples(space: Space) -> list[dict[str, str]]:
    """Settings to try before anything is trained: every listed value and both ends of every range, once.

    >>> examples({"batch": ("64", "128"), "steps": Range(low=1, high=9, whole=True)})[-1]
    {'batch': '64', 'steps': '9'}
    """
    values = {key: _ends(item) for key, item in space.items()}
    first = {key: some[0] for key, some in values.items()}
    return [first] + [{**first, key: value} for key, some in values.items() for value in some[1:]]


def _ends(item: Range | tuple[str, ...]) -> Sequence[str]:
    if isinstance(item, tuple):
        return item
    return [as_setting(int(end) if item.whole else end) for end in (item.low, item.high)]


def grid(space: Space, seed: int) -> list[dict[str, str]]:
    """Every combination once, in an order that the seed decides: a part of it is spread over the whole.

    Raises:
        ValueError: a setting has a range, which has no end of values.

    >>> len(grid({"batch": ("64", "128"), "model_arguments.layers": ("2", "3", "4")}, seed=0))
    6
    """
    values: list[tuple[str, ...]] = []
    for key, item in space.items():
        if isinstance(item, Range):
            raise ValueError(f"over {key}: a grid needs values separated by commas, not a range")
        values.append(item)
    points = [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]
    return [points[number] for number in np.random.default_rng(seed).permutation(len(points))]


def distribution(item: Range | tuple[str, ...]) -> Any:
    """The same as Optuna has it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(item, tuple):
        return CategoricalDistribution(item)
    if item.whole:
        return IntDistribution(int(item.low), int(item.high), log=item.log)
    return FloatDistribution(item.low, item.high, log=item.log)
