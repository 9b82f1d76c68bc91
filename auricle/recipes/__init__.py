"""Whole configurations, by name: one file per published result."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from auricle.recipes.chen import chen
from auricle.recipes.compact_esc50 import (
    compact_esc50,
    compact_esc50_equalized,
    compact_esc50_equalized_free,
    compact_esc50_free,
    compact_esc50_long,
    compact_esc50_long_free,
    compact_esc50_robust,
    compact_esc50_robust_free,
)
from auricle.recipes.hershey import hershey
from auricle.recipes.tompkins import tompkins
from auricle.training import TrainConfig
from auricle.training import configure as change

RECIPES: dict[str, Callable[[Path], TrainConfig]] = {
    "compact-esc50": compact_esc50,
    "compact-esc50-equalized": compact_esc50_equalized,
    "compact-esc50-equalized-free": compact_esc50_equalized_free,
    "compact-esc50-free": compact_esc50_free,
    "compact-esc50-long": compact_esc50_long,
    "compact-esc50-long-free": compact_esc50_long_free,
    "compact-esc50-robust": compact_esc50_robust,
    "compact-esc50-robust-free": compact_esc50_robust_free,
    "hershey": hershey,
    "chen": chen,
    "tompkins": tompkins,
}
GOES_ON = ("compact-esc50-equalized", "compact-esc50-equalized-free")  # made for weights that are trained


def configure(
    name: str,
    *,
    data: Path,
    settings: Mapping[str, str] | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> TrainConfig:
    """A recipe's configuration, with settings changed as `--set` gives them.

    Raises:
        ValueError: no recipe has that name (the known ones are listed), or a setting does not fit.

    >>> configure("compact-esc50", data=Path("pack"), settings={"epochs": "10"}).epochs
    10.0
    """
    import dataclasses

    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; known: {', '.join(sorted(RECIPES))}")
    config = dataclasses.replace(RECIPES[name](Path(data)), device=device, threads=threads)
    return change(config, settings or {})


def read_settings(path: str | Path) -> tuple[str, dict[str, str]]:
    """The recipe and the settings that a file like best.json of `auricle sweep` holds.

    Args:
        path: a JSON file {"recipe": NAME, "settings": {KEY: VALUE, ...}}; without a recipe its name is "".

    Raises:
        ValueError: the file holds something else.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "best.json"
    >>> _ = path.write_text('{"recipe": "hershey", "settings": {"batch": "64"}}')
    >>> read_settings(path)
    ('hershey', {'batch': '64'})
    """
    path = Path(path)
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        settings = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in held["settings"].items()
        }
        return str(held.get("recipe") or ""), settings
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{path}: expected {{"recipe": NAME, "settings": {{KEY: VALUE}}}}, as auricle sweep writes it'
        ) from error
