"""A family of models for a hierarchy of labels: one of the coarse classes, and one for each that is several.

Source: Tompkins and Nichols, "DCASE 2019 Challenge Task 5: CNN+VGGish", 2019, section 4.2: a local classifier
per parent node. As published the model of a coarse class is trained on the clips that have this class, and on
nothing else; section 6 proposes to train it on all clips instead, with one label more for those without it
(`other`). The released code puts the model of all labels on top (`top="all"`).
"""

import dataclasses
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auricle import distributed
from auricle.artifact import load_artifact
from auricle.datasets.taxonomy import Taxonomy
from auricle.family import save_family
from auricle.progress import is_silent
from auricle.remote import address_of
from auricle.shards import Pack
from auricle.shards.labels import add_label_view, add_labels
from auricle.shards.subsets import add_subset
from auricle.training.config import TrainConfig
from auricle.training.data import choose_clips
from auricle.training.loop import train
from auricle.training.validation import figure_names

OTHER = "other"
TOPS = ("coarse", "all")


@dataclass(frozen=True, kw_only=True)
class Member:
    """One model of a family.

    Args:
        name: of the model, and of its folder.
        label_set: what it learns.
        subset: of the pack's clips, that it learns from; "" for all.
        gate: the coarse class behind which it stands; "" for the model on top.
    """

    name: str
    label_set: str
    subset: str = ""
    gate: str = ""


def train_family(
    config: TrainConfig,
    out: str | Path,
    *,
    top: str = "coarse",
    other: bool = False,
    resume: bool = False,
    quiet: bool = False,
) -> Path:
    """Train a model for the coarse classes, and one for each of them that has several fine ones.

    Every model is trained by the same configuration but for its labels and clips. The label sets and subsets
    that this takes are added to the pack, named after `config.label_set`.

    Args:
        config: of each; its label set has a taxonomy.
        out: a folder: `members/NAME` is the run of each model, `best` the family.
        top: what the model on top learns: "coarse", or "all" labels, of which it then keeps what nobody else
            was asked for.
        other: train the models of coarse classes on all clips, with a label for those that lack the class.
        resume: go on where it was killed; finished members are left as they are.
        quiet: print nothing.

    Returns:
        The family's folder, OUT/best.

    Raises:
        ValueError: the label set has no taxonomy, no class has several fine labels, no clip to train on has
            one of these classes, or the configuration names a subset of its own; and what `train` refuses.

    >>> train_family(config, "runs/family")  # doctest: +SKIP
    PosixPath('runs/family/best')
    """
    if top not in TOPS:
        raise ValueError(f"top is {top!r}; known: {', '.join(TOPS)}")
    if config.train_subset or config.validation_subset:
        raise ValueError(
            "a family's models are trained on subsets of their own; leave out train_subset and "
            "validation_subset, or name splits"
        )
    if (address := address_of(out)) is not None:
        raise ValueError(
            f"{address}: a family is trained on a disk of this machine; copy it there afterwards"
        )
    run, pack = Path(out), Pack(config.data)
    taxonomy = taxonomy_of(pack, config.label_set)
    clips, _ = choose_clips(pack, config)
    distributed.join(config.device, config.rank_timeout)  # of several processes, one adds to the pack
    members = distributed.first(
        lambda: plan_members(pack, taxonomy, config.label_set, clips, top=top, other=other)
    )
    trained: dict[str, Path] = {}
    for number, member in enumerate(members, 1):
        if not (quiet or is_silent()) and distributed.rank() == 0:
            print(f"model {number} of {len(members)}: {member.name}", file=sys.stderr, flush=True)
        folder = run / "members" / member.name
        trained[member.name] = train(config_of(config, member), folder, resume=resume, quiet=quiet)
    labels = [label for label in taxonomy.labels if label in pack.label_names(config.label_set)]

    def save() -> None:
        top_training = load_artifact(trained[members[0].name]).training
        save_family(
            run / "best",
            members=trained,
            gates={member.gate: member.name for member in members if member.gate},
            labels=labels,
            parents={label: above for label, above in taxonomy.parents.items() if label in labels},
            unasked="zero" if top == "coarse" else "top",
            name=config.name,
            licence=config.licence,
            tolerance=max(load_artifact(path).tolerance for path in trained.values()),
            training=top_training | {"members": len(members), "other": other},
        )

    distributed.first(save)
    return run / "best"


def taxonomy_of(pack: Pack, label_set: str) -> Taxonomy:
    """The taxonomy of a pack's label set.

    Raises:
        ValueError: it has none, or lacks a coarse class.
    """
    found = pack.taxonomy(label_set)
    if found is None:
        having = [name for name in pack.label_sets if pack.taxonomy(name) is not None]
        raise ValueError(
            f"{pack.path}: label set {label_set!r} has no taxonomy, which a family of models follows; sets "
            f"that have one: {', '.join(having) or 'none'} (auricle annotations makes some)"
        )
    taxonomy = Taxonomy.from_dict(found)
    names = pack.label_names(label_set)
    if lacking := [label for label in taxonomy.coarse if label not in names]:
        raise ValueError(
            f"{pack.path}: label set {label_set!r} lacks the coarse class {lacking[0]!r}; name the set that "
            "it is a view of"
        )
    return taxonomy


def plan_members(
    pack: Pack, taxonomy: Taxonomy, label_set: str, clips: np.ndarray, *, top: str, other: bool
) -> list[Member]:
    """The models of a family, the one on top first; the labels and clips they need are added to the pack.

    What is there already is written again: the labels that it is of may have been replaced. Where a model
    cannot be made, nothing is written. `clips` are those to train on.
    """
    names = pack.label_names(label_set)
    members = [Member(name="all", label_set=label_set)]
    if top == "coarse":
        members = [Member(name="coarse", label_set=f"{label_set}-coarse")]
    fine_of: dict[str, list[str]] = {}
    clips_of: dict[str, np.ndarray] = {}
    for coarse, below in zip(taxonomy.coarse, taxonomy.fine, strict=True):
        fine = [label for label in below if label in names]
        if len(fine) < 2:
            continue  # a single one inherits
        place = re.sub(r"[^A-Za-z0-9_-]", "-", coarse)
        view = f"{label_set}-{place}"
        fine_of[coarse], clips_of[coarse] = fine, clips_with(pack, coarse, label_set)
        if not other and not np.isin(clips_of[coarse], clips).any():
            raise ValueError(
                f"{pack.path}: no clip to train on has {coarse!r} in label set {label_set!r}, so "
                "nothing tells its fine classes apart; train with --other, or on another label set"
            )
        if other:
            members.append(Member(name=place, label_set=f"{view}-{OTHER}", gate=coarse))
        else:
            members.append(Member(name=place, label_set=view, subset=view, gate=coarse))
    if len(members) == 1:
        raise ValueError(
            f"{pack.path}: no coarse class of label set {label_set!r} has several fine labels; one model does"
        )
    if top == "coarse":
        add_label_view(pack.path, members[0].label_set, taxonomy.coarse, of=label_set, replace=True)
    for member in members[1:]:
        if other:
            add_other(pack, member.label_set, member.gate, fine_of[member.gate], label_set)
            continue
        add_label_view(pack.path, member.label_set, fine_of[member.gate], of=label_set, replace=True)
        about = {"label": member.gate, "label_set": label_set}
        add_subset(pack.path, member.subset, clips_of[member.gate], about, replace=True)
    return members


def clips_with(pack: Pack, label: str, label_set: str) -> np.ndarray:
    """(M,) positions of the clips that have a label; of a soft set, those whose score is above 0.5."""
    indptr, clips = pack.label_clips(label_set)
    place = pack.label_names(label_set).index(label)
    return np.asarray(clips[indptr[place] : indptr[place + 1]], np.int64)


def add_other(pack: Pack, name: str, coarse: str, fine: list[str], label_set: str) -> None:
    """A label set of a class's fine labels and `other`, which the clips without the class have.

    Soft scores are kept; that of `other` is then what is left of the class's.
    """
    names = pack.label_names(label_set)
    clips = np.arange(len(pack))
    soft = bool(pack.manifest["label_sets"][label_set]["soft"])
    rows, columns, values = pack.target_pairs(clips, label_set, soft=True)
    scores: list[dict[str, float]] = [{OTHER: 1.0} for _ in clips]
    for row, column, value in zip(rows.tolist(), columns.tolist(), values.tolist(), strict=True):
        if names[column] == coarse:
            scores[row][OTHER] = 1.0 - value
        elif names[column] in fine:
            scores[row][names[column]] = value
    hidden = pack.unknown(clips, label_set)
    kept = [names.index(label) for label in (*fine, coarse)]
    unknown = {
        str(clip): [OTHER if names[k] == coarse else names[k] for k in kept if hidden[row, k]]
        for row, clip in enumerate(pack.ids)
        if hidden[row, kept].any()
    }
    labels = [found if soft else [label for label, value in found.items() if value] for found in scores]
    add_labels(
        pack.path,
        name,
        dict(zip(map(str, pack.ids), labels, strict=True)),
        unknown=unknown,
        names=[*fine, OTHER],
        taxonomy=pack.taxonomy(label_set),
        replace=True,
    )


def config_of(config: TrainConfig, member: Member) -> TrainConfig:
    """The configuration of one model: its labels, its clips, those of the monitored figures that it has.

    Where none of its clips is for validation, it is validated on all that are.
    """
    pack = Pack(config.data)
    known = figure_names(pack, member.label_set)
    monitors = tuple(name for name in config.monitors if name in known) or ("map",)
    own = dataclasses.replace(
        config,
        name=f"{config.name}, {member.name}",
        label_set=member.label_set,
        train_subset=member.subset,
        monitors=monitors,
    )
    if not member.subset:
        return own
    held = choose_clips(pack, dataclasses.replace(own, train_subset=""))[1]
    if np.isin(held, pack.subset(member.subset)).any() and config.validation_splits:
        own = dataclasses.replace(own, validation_subset=member.subset)
    return own
