"""What a killed run goes on from: one file, replaced whole."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from auricle.shards import Pack
from auricle.shards.layout import LOCK
from auricle.training.config import MACHINE_FIELDS, TrainConfig
from auricle.training.log import BOARD, LOG

CHECKPOINT = "checkpoint.pt"
CONFIG = "config.json"
TEACHERS = "teacher_fingerprints"
BEGUN = {CONFIG, CONFIG + ".tmp", CHECKPOINT + ".tmp", LOG, BOARD, LOCK}  # all that a run has at first


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
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no common class for what a damaged file raises
        raise ValueError(f"{path}: damaged; delete the folder {run} and train again") from error


def open_run(
    run: Path, config: TrainConfig, pack: Pack, teachers: Sequence[Mapping[str, str]] = (), *, resume: bool
) -> None:
    """Describe a new run in its folder, or see that the one to resume is of the same configuration and data.

    A run that left neither a checkpoint nor a model has nothing to lose (its first batch did not fit into
    memory, say): it begins again, of whatever configuration. One that was stopped before its first checkpoint
    was due begins again, too, if it is of the same one.

    Args:
        run: an existing folder.
        config: what is asked for now.
        pack: its content counts, not where it lies.
        teachers: as `Teachers.named` has them: they, too, count and not where they lie.
        resume: go on with the run that is there.

    Raises:
        ValueError: the folder holds a run and `resume` is not asked for; or the run is of another
            configuration, pack or teacher, or its checkpoint is gone; or the folder holds something else.
    """
    kept = run / CONFIG
    wanted = json.loads(json.dumps(config.as_dict())) | what_is_read(config, pack, teachers)
    if not kept.is_file():
        if any(entry.name not in (LOCK, CONFIG + ".tmp") for entry in run.iterdir()):
            raise ValueError(f"{run}: is not empty and holds no run; name another folder")
        return describe(run, wanted)
    left = {entry.name for entry in run.iterdir()}
    try:
        found = json.loads(kept.read_text())
    except ValueError as error:
        raise ValueError(f"{kept}: damaged ({error}); delete the folder and train again") from error
    if left <= BEGUN and isinstance(found, dict) and "pack_fingerprint" in found:
        (run / LOG).unlink(missing_ok=True)
        shutil.rmtree(run / BOARD, ignore_errors=True)
        return describe(run, wanted)
    if not resume:
        raise ValueError(f"{run}: holds a run; --resume goes on with it, or name another folder")
    # A setting that was not known yet when the run began was at what is its default now.
    known = json.loads(json.dumps(TrainConfig(data=config.data, steps=1).as_dict()))
    known |= {name: wanted[name] for name in (TEACHERS,) if name in wanted}  # nor were they always kept
    found = known | found
    names = sorted((set(found) | set(wanted)) - set(MACHINE_FIELDS))
    differing = [name for name in names if found.get(name) != wanted.get(name)]
    if differing:
        changes = "; ".join(f"{name} was {found.get(name)}, is {wanted.get(name)}" for name in differing)
        raise ValueError(f"{run}: the run to resume has another configuration: {changes}")
    models = sorted(path.parent.name for path in run.glob("*/model.json"))
    if models and CHECKPOINT not in left and had_checkpoint(run, found["checkpoint_every"]):
        latest = run / ("last" if "last" in models else models[-1])
        raise ValueError(
            f"{run}: {CHECKPOINT} is gone, and to begin again would overwrite {', '.join(models)}; put it "
            f"back, or name another folder, with --init-from {latest} to begin with what was learned"
        )


def what_counts(
    config: TrainConfig, pack: Pack, teachers: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """All that decides what a run computes, as JSON has it: settings, and what its data and teachers are."""
    settings = json.loads(json.dumps(config.as_dict()))
    settings = {name: value for name, value in settings.items() if name not in MACHINE_FIELDS}
    return settings | what_is_read(config, pack, teachers)


def check_alike(every: list[dict[str, Any]]) -> None:
    """Refuse processes of one training that were started by different commands, or on different packs.

    Args:
        every: `what_counts` of each of them.

    >>> check_alike([{"batch": 4}, {"batch": 4}, {"batch": 6}])
    Traceback (most recent call last):
    ValueError: process 2 was started with batch 6, process 0 with 4; give the same command, and the same
    pack, on every machine
    """
    for number, other in enumerate(every):
        for name in sorted(set(every[0]) | set(other)):
            if other.get(name) != every[0].get(name):
                raise ValueError(
                    f"process {number} was started with {name} {other.get(name)}, process 0 with "
                    f"{every[0].get(name)}; give the same command, and the same pack, on every machine"
                )


def had_checkpoint(run: Path, every: int) -> bool:
    r"""Whether a run got beyond its first checkpoint: by models that are kept after one, else by its log.

    >>> import tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> _ = (run / LOG).write_text('{"step": 4}\n{"step": 8}\n{"st')
    >>> had_checkpoint(run, every=5), had_checkpoint(run, every=10)
    (True, False)
    """
    if (run / "last").is_dir() or (run / "stage1").is_dir() or not (run / LOG).is_file():
        return True
    whole = (run / LOG).read_text(encoding="utf-8").rpartition("\n")[0]  # a kill may cut the last line
    return any(json.loads(line)["step"] > every for line in whole.splitlines())


def describe(run: Path, wanted: dict[str, Any]) -> None:
    """Write down what a run is, whole or not at all.

    >>> import tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> describe(run, {"seed": 0})
    >>> json.loads((run / CONFIG).read_text())
    {'seed': 0}
    """
    temporary = run / (CONFIG + ".tmp")
    temporary.write_text(json.dumps(wanted, indent=2) + "\n")
    temporary.replace(run / CONFIG)


def what_is_read(config: TrainConfig, pack: Pack, teachers: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """What a run reads, wherever it lies: fingerprints of its data and of its teachers."""
    told = [teacher["fingerprint"] for teacher in teachers]
    return content_of(pack, config.label_set) | ({TEACHERS: told} if told else {})


def content_of(pack: Pack, label_set: str) -> dict[str, str]:
    """What a run's data is, wherever it lies: fingerprints of the clips and of their labels."""
    label_files = json.dumps(pack.manifest["label_sets"][label_set]["files"], sort_keys=True)
    return {
        "pack_fingerprint": pack.fingerprint,
        "label_fingerprint": hashlib.blake2b(label_files.encode(), digest_size=16).hexdigest(),
    }
