"""A stand-in for a corpus of urban sounds: scenes of real recordings, a taxonomy, simulated annotators.

A pack of single sounds becomes a pack of ten-second scenes, and beside it everything that such a corpus comes
with: `annotations.csv` in the format of the urban sound tagging challenge, `taxonomy.yaml`, and label sets.
What sounds in a scene is known from `events.parquet`; what people would have said of it is simulated
(`auricle.datasets.annotators`). A scene's group, a pool of recordings, stands for the sensor.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from auricle.datasets.annotations import (
    Annotations,
    ChosenLabels,
    choose_labels,
    read_annotations,
    verified_labels,
    write_annotations,
)
from auricle.datasets.annotators import AnnotatorRecipe, Sounds, annotators_with, setting_names, simulate
from auricle.datasets.scene_recipe import SceneRecipe, SceneSplit, recipe_with
from auricle.datasets.taxonomy import Taxonomy, class_name, read_taxonomy, write_taxonomy
from auricle.engine.scenes import EVENTS, make_scenes
from auricle.shards.annotated import add_chosen_labels
from auricle.shards.reader import Pack

ANNOTATIONS, TAXONOMY = "annotations.csv", "taxonomy.yaml"
ESC50 = {
    "train": ("fold1", "fold2", "fold3"),
    "validate": ("fold4",),
    "test": ("fold5",),
}
AGREEMENTS: dict[str, Any] = {"agreement25": 0.25, "agreement50": 0.5, "agreement75": 0.75, "soft": "soft"}
# Fewer orders between frequent and rare than scenes have otherwise: the rarest is to be judged, too.
SCENES = SceneRecipe(orders=1.5, events=2.5)


def esc50_taxonomy() -> Taxonomy:
    """ESC-50's fifty classes under eight coarse ones, as the package brings them.

    >>> [len(fine) for fine in esc50_taxonomy().fine]
    [8, 10, 1, 5, 11, 12, 8, 1]
    """
    with as_file(files("auricle") / "datasets" / "esc50_two_levels.yaml") as path:
        return read_taxonomy(path)


def recipes_with(settings: Mapping[str, str], seed: int = 0) -> tuple[SceneRecipe, AnnotatorRecipe]:
    """The recipes of scenes and of annotators, with some of their fields replaced, given as text.

    Raises:
        ValueError: no such field, or no such value; `seed`, which both have, among the settings.

    >>> scenes, people = recipes_with({"events": "2", "miss": "0.1-0.2"}, seed=1)
    >>> scenes.events, people.miss, people.seed
    (2.0, (0.1, 0.2), 1)
    """
    if "seed" in settings:
        raise ValueError(
            f"urban scenes: seed is that of scenes and annotators; give it as --seed {settings['seed']}"
        )
    mine = {name: text for name, text in settings.items() if name in setting_names()}
    rest = {name: text for name, text in settings.items() if name not in mine}
    known = [field.name for field in dataclasses.fields(SceneRecipe)] + setting_names()
    known = [name for name in known if name != "seed"]
    if unknown := [name for name in rest if name not in known]:
        raise ValueError(f"urban scenes: no setting {unknown[0]!r}; there are: {', '.join(known)}")
    scenes = recipe_with(SCENES, {"seed": str(seed)} | rest)
    return scenes, annotators_with(AnnotatorRecipe(seed=seed), mine)


def make_urban_scenes(
    source: str | Path,
    out: str | Path,
    splits: Sequence[SceneSplit],
    *,
    taxonomy: Taxonomy | None = None,
    scenes: SceneRecipe = SCENES,
    annotators: AnnotatorRecipe | None = None,
    verified: Sequence[str] = ("validate", "test"),
    label_set: str = "labels",
    jobs: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Mix scenes, have them annotated, choose labels; the same call again gives the same.

    Args:
        source: a pack of single sounds, whose labels are fine classes of the taxonomy.
        out: the new pack's folder.
        splits: which scenes, from which of the source's splits.
        taxonomy: two levels over the source's labels; by default that of ESC-50.
        scenes: how scenes are mixed.
        annotators: who annotates them, and how badly.
        verified: splits whose clips get the verified truth, too.
        label_set: the source's labels to go by.
        jobs: number of processes; by default one for each core.
        quiet: show no progress.

    Returns:
        What `make_scenes` returns, and `label_sets`: name -> what `add_chosen_labels` returned.

    Raises:
        ValueError: as `make_scenes`; a label that the taxonomy has not; a split to verify that is not made.

    >>> make_urban_scenes("out/esc50", "out/urban",
    ...     [SceneSplit(name="train", sources=("fold1",), scenes=600)], verified=())  # doctest: +SKIP
    """
    out = Path(out)
    taxonomy = taxonomy or esc50_taxonomy()
    place = fine_columns(taxonomy, Pack(source).label_names(label_set))
    made = [split.name for split in splits]
    if absent := [name for name in verified if name not in made]:
        raise ValueError(
            f"urban scenes: split {absent[0]!r} is to be verified, but is not made; there are: "
            f"{', '.join(made)}"
        )
    report = make_scenes(source, out, splits, scenes, label_set=label_set, jobs=jobs, quiet=quiet)
    pack = Pack(out)
    clips = pack.ids.tolist()
    sounds = read_sounds(out / EVENTS, clips, place)
    annotations = simulate(
        taxonomy,
        clips,
        pack.splits.tolist(),
        pack.groups.tolist(),
        sounds,
        annotators or AnnotatorRecipe(seed=scenes.seed),
        verified,
    )
    write_taxonomy(taxonomy, out / TAXONOMY)
    write_annotations(annotations, out / ANNOTATIONS)
    return report | {"label_sets": _label_sets(out, taxonomy, sounds, verified)}


def _label_sets(
    out: Path, taxonomy: Taxonomy, sounds: Sounds, verified: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """All label sets, by the way that real annotations go: from the CSV as it was written."""
    annotations = read_annotations(out / ANNOTATIONS, taxonomy)
    chosen = {name: choose_labels(annotations, share) for name, share in AGREEMENTS.items()}
    if verified:
        chosen["verified"] = verified_labels(annotations)
    chosen["events"] = exact_labels(annotations, sounds)
    return {name: add_chosen_labels(out, name, labels, replace=True) for name, labels in chosen.items()}


def fine_columns(taxonomy: Taxonomy, labels: Sequence[str]) -> dict[str, int]:
    """Where each label of a pack stands in the taxonomy; in names, _ and spaces are as hyphens.

    Raises:
        ValueError: labels that are no fine class, or may be either of two.

    >>> fine_columns(esc50_taxonomy(), ["dog", "sea_waves"])["dog"]
    55
    """
    known: dict[str, list[str]] = {}
    for fine in taxonomy.complete_labels:
        known.setdefault(class_name(fine), []).append(fine)
    names = {label: "-".join(label.replace("_", " ").split()) for label in labels}
    if foreign := [label for label, name in names.items() if name not in known]:
        raise ValueError(
            f"taxonomy: {len(foreign)} of {len(labels)} labels are none of its fine classes: "
            f"{', '.join(foreign[:5])}; give a taxonomy that has them"
        )
    if twice := [label for label, name in names.items() if len(known[name]) > 1]:
        raise ValueError(
            f"taxonomy: label {twice[0]!r} may be either of {' and '.join(known[names[twice[0]]])}; "
            "leave one, or give them names that differ"
        )
    return {label: taxonomy.labels.index(known[name][0]) for label, name in names.items()}


def read_sounds(events: Path, clips: Sequence[str], place: Mapping[str, int]) -> Sounds:
    """What sounds in which clip, and how far below the loudest of the clip, from the plan of scenes."""
    table = pq.read_table(events, columns=["id", "label", "level_db"])
    table = table.filter(table["label"].is_valid())
    number = {clip: index for index, clip in enumerate(clips)}
    kept = [
        (number[clip], place[label], level)
        for clip, label, level in zip(
            *(table[name].to_pylist() for name in ("id", "label", "level_db")), strict=True
        )
        if clip in number  # not a scene that could not be mixed
    ]
    clip = np.array([row[0] for row in kept], dtype=np.int64)
    label = np.array([row[1] for row in kept], dtype=np.int64)
    level = np.array([row[2] for row in kept])
    # A sound of several pieces, or several of one label, are one thing to be heard: as loud as the loudest.
    pairs, inverse = np.unique(np.stack([clip, label], axis=1), axis=0, return_inverse=True)
    highest = np.full(len(pairs), -np.inf)
    np.maximum.at(highest, inverse.reshape(-1), level)
    loudest = np.full(len(clips), -np.inf)
    np.maximum.at(loudest, clip, level)
    return Sounds(clip=pairs[:, 0], label=pairs[:, 1], below_db=loudest[pairs[:, 0]] - highest)


def exact_labels(annotations: Annotations, sounds: Sounds) -> ChosenLabels:
    """What really sounds in each clip, fine and coarse; nothing is unknown."""
    taxonomy = annotations.taxonomy
    names = taxonomy.labels
    above = np.array([names.index(taxonomy.parents[label][0]) for label in taxonomy.fine_labels])
    positive = np.zeros((len(annotations.clips), len(names)), dtype=bool)
    positive[sounds.clip, sounds.label] = True
    positive[sounds.clip, above[sounds.label]] = True
    return ChosenLabels(
        taxonomy=taxonomy,
        clips=annotations.clips,
        positive=positive,
        unknown=np.zeros_like(positive),
        share=None,
        verified=np.ones(len(positive), dtype=bool),
    )
