"""Unit costs: what one hour of packing, one example of training take on a machine; files of them."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FORMAT = 1
SHIPPED = {"two-cores": "two_cores.yaml", "hershey-2017": "hershey_2017.yaml"}
DEFAULT = "two-cores"
UNITS = {  # the first part of a cost's name -> its unit
    "pack": "s of audio / core s",
    "tag": "s of audio / core s",
    "train": "examples / s",
    "score": "examples / s",
    "scaling": "share",
}
OF_A_MODEL = ("tag", "train", "score")
NUMBERS = (
    "cores",
    "together",
    "batch",
    "labels",
    "window",
    "hop",
)  # that a cost may state of its measurement


@dataclass(frozen=True, kw_only=True)
class UnitCost:
    """What one unit of work takes.

    Args:
        name: "pack", "scaling", or "train.MODEL", "score.MODEL", "tag.MODEL".
        value: in the unit of its kind, see UNITS; of training and scoring on one device.
        how: it was measured, or where it is published.
        source: machine, date and file, for a line of a plan.
        device: what one device is, say "2 CPU cores"; of training and scoring.
        facts: numbers about the measurement: cores of the device (0 for a GPU), devices that were measured
            together, batch, labels, window and hop in seconds.
    """

    name: str
    value: float
    how: str
    source: str
    device: str = ""
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """Of the value."""
        return UNITS[self.name.partition(".")[0]]


def read_costs(given: str | Path) -> dict[str, UnitCost]:
    """The unit costs of a file, YAML or JSON, or those that come with the package under a name.

    Args:
        given: a name of SHIPPED, or a file, as `auricle plan --measure` writes it.

    Raises:
        ValueError: no such file, or something in it is not as expected; the field is named.

    >>> round(read_costs("hershey-2017")["train.resnet50"].value * 20 / 128)
    11
    """
    shipped = SHIPPED.get(str(given))
    path = Path(__file__).parent / shipped if shipped else Path(given)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{given}: no such file; expected one that auricle plan --measure wrote, or one of: "
            f"{', '.join(SHIPPED)}"
        ) from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{given}: expected YAML or JSON ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else content
        raise ValueError(f"{given}: format: expected {FORMAT}, got {str(found)[:40]!r}")
    for name in ("machine", "date"):
        if not content.get(name):
            raise ValueError(f"{given}: {name}: is missing; say where and when the costs were measured")
    if not isinstance(content.get("costs"), dict) or not content["costs"]:
        raise ValueError(f"{given}: costs: expected at least one, by name")
    source = f"{given}: {content['machine']}, {content['date']}"
    return {
        str(name): _cost(f"{given}: costs: {name}", str(name), about, source)
        for name, about in content["costs"].items()
    }


def _cost(where: str, name: str, about: Any, source: str) -> UnitCost:
    kind, _, model = name.partition(".")
    if kind not in UNITS or bool(model) != (kind in OF_A_MODEL):
        known = [f"{known}.MODEL" if known in OF_A_MODEL else known for known in UNITS]
        raise ValueError(f"{where}: unknown; expected {', '.join(known)}")
    known_fields = {"value", "unit", "how", "device", *NUMBERS}
    if not isinstance(about, dict) or not {"value", "unit"} <= set(about):
        raise ValueError(f"{where}: expected value, unit and how")
    if foreign := sorted(set(map(str, about)) - known_fields):
        raise ValueError(f"{where}: unknown field {foreign[0]!r}; known: {', '.join(sorted(known_fields))}")
    if about["unit"] != UNITS[kind]:
        raise ValueError(f"{where}: unit: expected {UNITS[kind]!r}, got {about['unit']!r}")
    for field_name in ("value", *NUMBERS):
        if field_name in about and not _is_number(about[field_name]):
            raise ValueError(f"{where}: {field_name}: expected a number, got {about[field_name]!r}")
    value = float(about["value"])
    if not 0 < value < math.inf or (kind == "scaling" and value > 1):
        most = " and at most 1" if kind == "scaling" else ""
        raise ValueError(f"{where}: value: expected a number above 0{most}, got {about['value']!r}")
    facts = {fact: float(about[fact]) for fact in NUMBERS if fact in about}
    if kind in ("train", "score"):
        if missing := [fact for fact in ("window", "hop") if not facts.get(fact, 0) > 0]:
            raise ValueError(f"{where}: {missing[0]}: expected seconds above 0 of an example")
        if not about.get("device"):
            raise ValueError(f"{where}: device: is missing; say what one device is")
    return UnitCost(
        name=name,
        value=value,
        how=str(about.get("how", "")),
        source=source,
        device=str(about.get("device", "")),
        facts=facts,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def merge_costs(given: Iterable[str | Path]) -> dict[str, UnitCost]:
    """The unit costs of several files; of two of one name the later counts.

    >>> sorted(merge_costs(["two-cores", "hershey-2017"]))[:2]
    ['pack', 'score.auricle-esc50']
    """
    found: dict[str, UnitCost] = {}
    for one in given:
        found |= read_costs(one)
    return found


def write_costs(path: Path, machine: str, date: str, costs: Iterable[UnitCost], **about: Any) -> None:
    """Write unit costs as YAML, as `read_costs` reads them; whole or not at all.

    Args:
        path: the file.
        machine: processor, cores, memory, GPU.
        date: of the measurement.
        costs: what was measured.
        about: what else is to be kept: software, command.

    >>> write_costs(Path("costs.yaml"), "a machine", "2026-11-21", [])  # doctest: +SKIP
    """
    rows = {
        cost.name: {"value": float(f"{cost.value:.4g}"), "unit": cost.unit}
        | ({"device": cost.device} if cost.device else {})
        | {name: int(value) if value == int(value) else value for name, value in cost.facts.items()}
        | {"how": cost.how}
        for cost in costs
    }
    content = {"format": FORMAT, "machine": machine, "date": date, **about, "costs": rows}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    temporary.write_text(yaml.safe_dump(content, sort_keys=False, width=100), encoding="utf-8")
    temporary.replace(path)
