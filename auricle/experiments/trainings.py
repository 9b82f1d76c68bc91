"""The trainings that a run consists of: one, or those of a family's models; none is done twice.

Runs may share a training: the model of all labels is the top of one kind of family, that of the coarse labels
the top of another, and two kinds of family have the models of the coarse classes in common. What one of them
has finished the others take over.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auricle.artifact import load_artifact
from auricle.experiments.options import Run
from auricle.experiments.runs import from_log, rate_changes, sizes, without_machine
from auricle.shards import Pack
from auricle.shards.layout import LOCK
from auricle.training import TrainConfig, train, train_family
from auricle.training.checkpoints import CONFIG, content_of
from auricle.training.data import choose_clips
from auricle.training.family import config_of, plan_members, taxonomy_of

MEMBERS = "members"
OF_ROWS = ("row.json", "evaluation", "before", "fit", "mixtures", LOCK)  # what a row has of its own


def folder_of(run: Run, out: Path) -> Path:
    """Where a run's training lies.

    >>> folder_of(Run(name="b", row="b", config=None, evaluation={}, of="a"), Path("out")).name
    'a'
    """
    return out / "runs" / (run.of or run.name)


def trainings(run: Run) -> dict[str, TrainConfig]:
    """Folder within the run's -> configuration of each model that is trained there; "" is the run itself.

    The label sets and subsets of a family's models are added to the pack.
    """
    if run.of:
        return {}
    if run.family is None:
        return {"": run.config}
    pack, label_set = Pack(run.config.data), run.config.label_set
    clips, _ = choose_clips(pack, run.config)
    members = plan_members(pack, taxonomy_of(pack, label_set), label_set, clips, **run.family)
    return {f"{MEMBERS}/{member.name}": config_of(run.config, member) for member in members}


def train_run(run: Run, out: Path, *, quiet: bool = False) -> None:
    """Train a run's models, or go on with them; what another run of the folder has trained is copied.

    Raises:
        ValueError: what `train` and `train_family` refuse.
    """
    folder = folder_of(run, out)
    for name, config in trainings(run).items():
        take_over(config, folder / name, out)
    if run.of:
        return
    if run.family is None:
        train(run.config, folder, resume=True, quiet=quiet)
    else:
        train_family(run.config, folder, **run.family, resume=True, quiet=quiet)


def take_over(config: TrainConfig, folder: Path, out: Path) -> None:
    """Copy a finished training of the same configuration to where nothing has begun yet."""
    if folder.exists():
        return
    twin = finished_twin(config, out)
    if twin is not None:
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(twin, partial, ignore=shutil.ignore_patterns(*OF_ROWS))
        partial.rename(folder)


def finished_twin(config: TrainConfig, out: Path) -> Path | None:
    """A finished training of the same configuration, data and other models in another run of the folder."""
    asked = identity(config)
    for pattern in ("runs/*/", f"runs/*/{MEMBERS}/*/"):
        for path in sorted(out.glob(pattern + CONFIG)):
            last = path.parent / "last"
            if not last.is_dir() or path.parent.name.endswith(".partial"):
                continue
            alike = without_machine(json.loads(path.read_text(encoding="utf-8"))) == asked
            if alike and by_the_same_models(config, last):
                return path.parent
    return None


def by_the_same_models(config: TrainConfig, trained: Path) -> bool:
    """Whether those that a model began with and learned from are still what lies where they are named."""
    names = (*config.teachers, *((config.init_from,) if config.init_from else ()))
    training = load_artifact(trained).training
    then = [*training.get("teachers", ()), *((training["init_from"],) if "init_from" in training else ())]
    try:
        now = [load_artifact(name).fingerprint for name in names]
    except ValueError:  # one has gone, and the training that is asked for will say so
        return False
    return now == [model["fingerprint"] for model in then]


def identity(config: TrainConfig) -> dict[str, Any]:
    """What a training's config.json holds, without what depends on the machine."""
    return without_machine(config.as_dict() | content_of(Pack(config.data), config.label_set))


def logged(run: Run, out: Path) -> dict[str, Any]:
    """What the logs of a run's trainings say, as `from_log` gives it: hours and steps summed over models.

    With a schedule that follows figures also how often the rate was cut and began again, summed as well.
    """
    folder = folder_of(run, out)
    found: list[dict[str, Any]] = []
    for name in trainings(dataclasses.replace(run, of="")):
        found.append(from_log(folder / name))
        if run.config.schedule == "stagnation":
            found[-1] |= rate_changes(folder / name)
    if run.family is None:
        return found[0]
    counted = [key for key in ("hours", "steps", "cuts", "restarts") if key in found[0]]
    summed: dict[str, Any] = {key: sum(each[key] for each in found) for key in counted}
    return {**found[0], "loss": None, **summed}


def measured_sizes(run: Run, out: Path) -> Mapping[str, int]:
    """Weights and multiplies of a run's model; of a family summed, as if all of its models were asked."""
    folder = folder_of(run, out)
    if run.family is None:
        return sizes(folder / "last")
    found = [sizes(folder / name / "last") for name in trainings(run)]
    return {key: sum(each[key] for each in found) for key in found[0]}
