"""What is known of one run: its fingerprint before, its hours and sizes after."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from auricle.artifact import load_artifact
from auricle.experiments.options import Run
from auricle.models import build
from auricle.models.size import count_multiplies, count_weights
from auricle.shards import Pack
from auricle.training import TrainConfig
from auricle.training.checkpoints import TEACHERS, content_of
from auricle.training.config import MACHINE_FIELDS


def fingerprint(run: Run) -> str:
    """Of all that decides a run's figures: its configuration, its evaluation, the content of the pack.

    Settings at their defaults do not count: those that come with a later version leave it as it is.
    """
    pack = Pack(run.config.data)
    evaluated = content_of(pack, run.evaluation.get("label_set", "labels"))
    usual = json.loads(json.dumps(TrainConfig(data=run.config.data, steps=1).as_dict()))
    own = {name: value for name, value in wanted(run, pack).items() if value != usual.get(name, ...)}
    parts: list[Any] = [own, run.evaluation, evaluated]
    more = {"family": run.family, "of": run.of, "checkpoints": dict(run.checkpoints)}
    if any(more.values()):
        parts.append(more)
    return hashlib.blake2b(
        json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=16
    ).hexdigest()


def wanted(run: Run, pack: Pack) -> dict[str, Any]:
    """What RUN/config.json of a run must hold, without what depends on the machine."""
    return without_machine(run.config.as_dict() | content_of(pack, run.config.label_set))


def without_machine(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as JSON has it, without what depends on the machine.

    >>> without_machine({"seed": 0, "data": "packs/here", "mix_range": (0, 1)})
    {'seed': 0, 'mix_range': [0, 1]}
    """
    left_out = (*MACHINE_FIELDS, TEACHERS)  # a teacher is named by its path
    return json.loads(json.dumps({key: value for key, value in config.items() if key not in left_out}))


def from_log(folder: Path) -> dict[str, Any]:
    """Hours and steps of training and the number of clips, from the run's log."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    start = next(entry for entry in entries if entry.get("event") == "start")
    last = next((entry for entry in reversed(entries) if "loss" in entry), start)
    return {
        "steps": start["steps"],
        "hours": entries[-1]["seconds"] / 3600,
        "train_clips": start["train_clips"],
        "dtype": start["dtype"],
        "loss": last.get("loss"),
    }


def rate_changes(folder: Path) -> dict[str, int]:
    """How often a schedule that follows figures cut the rate, and began again; of what was trained at."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = next(entry["steps"] for entry in entries if entry.get("event") == "start")
    changes = [entry for entry in entries if entry.get("event") == "rate" and entry["step"] < steps]
    restarts = changes[-1]["restarts"] if changes else 0
    return {"cuts": len(changes) - restarts, "restarts": restarts}


def sizes(model: Path) -> dict[str, int]:
    """Weights and multiplies of one window, counted on the network of an artifact."""
    architecture = load_artifact(model).architecture
    net = build_without_memory(architecture["name"], **architecture["arguments"])
    return {"weights": count_weights(net), "multiplies": count_multiplies(net, net.input_shape)}


def build_without_memory(name: str, **arguments: Any) -> Any:
    """A network that has shapes but no weights, whatever its size.

    >>> build_without_memory("resnet50", num_classes=50).embedding_size
    2048
    """
    with torch.device("meta"):
        return build(name, **arguments)
