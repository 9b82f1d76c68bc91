"""What a killed run goes on from: one file, replaced whole."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from auricle.training.config import MACHINE_FIELDS, TrainConfig

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(run: Path, state: dict[str, Any]) -> None:
    """Write the state so that a kill at any moment leaves the old one or the new one.

    >>> import tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> save_checkpoint(run, {"step": 3})
    >>> load_checkpoint(run)
    {'step': 3}
    """
    temporary = run / (CHECKPOINT + ".tmp")
    with temporary.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(run / CHECKPOINT)


def load_checkpoint(run: Path) -> dict[str, Any] | None:
    """The last state that was written; None where there is none.

    >>> load_checkpoint(Path("no-such-run")) is None
    True
    """
    path = run / CHECKPOINT
    if not path.is_file():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)


def open_run(run: Path, config: TrainConfig, *, resume: bool) -> None:
    """Make the run's folder, or see that the one to resume is of the same configuration.

    Raises:
        ValueError: the folder holds a run and `resume` is not asked for; or the run's configuration
            is another.

    >>> import tempfile
    >>> open_run(Path(tempfile.mkdtemp()) / "run", TrainConfig(data=Path("pack"), steps=1), resume=False)
    """
    kept = run / "config.json"
    wanted = json.loads(json.dumps(config.as_dict()))
    if kept.is_file():
        if not resume:
            raise ValueError(f"{run}: holds a run; --resume goes on with it, or name another folder")
        found = json.loads(kept.read_text())
        names = sorted(set(found) | set(wanted) - set(MACHINE_FIELDS))
        differing = [
            name for name in names if name not in MACHINE_FIELDS and found.get(name) != wanted.get(name)
        ]
        if differing:
            changes = "; ".join(f"{name} was {found.get(name)}, is {wanted.get(name)}" for name in differing)
            raise ValueError(f"{run}: the run to resume has another configuration: {changes}")
        return
    if run.exists() and any(run.iterdir()):
        raise ValueError(f"{run}: is not empty and holds no run; name another folder")
    run.mkdir(parents=True, exist_ok=True)
    temporary = run / "config.json.tmp"
    temporary.write_text(json.dumps(wanted, indent=2) + "\n")
    temporary.replace(kept)
