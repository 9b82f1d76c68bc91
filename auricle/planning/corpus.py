"""The numbers of a pack that is there: hours, clips, labels and windows, counted and not assumed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auricle.planning.costs import UnitCost
from auricle.planning.sums import HOP, WINDOW, Question
from auricle.shards import Pack


def question_of(
    path: Path, label_set: str, costs: Mapping[str, UnitCost], given: Mapping[str, Any]
) -> Question:
    """A question about a pack: what is given, and the rest counted.

    Windows are as long as an example of the model's unit cost, and lie up to the last sound of each clip.

    Args:
        path: of the pack.
        label_set: whose labels are counted.
        costs: of which the model's says how long an example is.
        given: fields of `Question`; they count more.

    Raises:
        ValueError: no pack, or no such label set; a rate that is not the pack's.
    """
    pack = Pack(path)
    if given.get("rate", pack.rate) != pack.rate:
        raise ValueError(f"{path}: its rate is {pack.rate} Hz, not {given['rate']}")
    measured = costs.get(f"train.{given.get('model')}") or costs.get(f"score.{given.get('model')}")
    facts = measured.facts if measured else {}
    window = given.get("window", facts.get("window", WINDOW))
    hop = given.get("hop", facts.get("hop", HOP))
    ends = pack.patch_ends(max(1, round(window * pack.rate)), max(1, round(hop * pack.rate)))
    names, (_, positives) = pack.label_names(label_set), pack.clip_labels(label_set)
    counted: dict[str, Any] = {
        "hours": int(pack.lengths.sum()) / pack.rate / 3600,
        "clips": len(pack),
        "labels": max(1, len(names)),
        "labels_per_clip": len(positives) / max(1, len(pack)),
        "rate": pack.rate,
        "examples": int(ends[-1]) if len(ends) else 0,
        "counted": f"counted in {path}",
    }
    return Question(**(counted | dict(given)))
