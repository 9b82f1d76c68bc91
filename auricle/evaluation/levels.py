"""Figures of each level of labels that stand above each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auricle.hierarchy import levels, parents_of
from auricle.metrics.areas import d_prime, mean_defined
from auricle.shards.parents import label_parents


def hierarchy_of(artifact: Any, pack: Any, label_set: str) -> dict[str, list[str]]:
    """The parents of labels that a label set came with, or else the model; empty where labels are flat.

    >>> hierarchy_of(load_artifact("default"), Pack("out/pack"), "labels")  # doctest: +SKIP
    {}
    """
    if found := label_parents(pack, label_set):
        return found
    above = getattr(artifact, "parents", None)
    return {} if above is None else parents_of(artifact.labels, above)


def level_figures(
    names: Sequence[str], classes: Mapping[str, np.ndarray], parents: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """{"levels": a list, from the top down}, or nothing where labels are flat.

    Args:
        names: the S labels ranked.
        classes: their figures, as `auricle.metrics.ranking.per_class` gives them.
        parents: the hierarchy; a label stands as deep as its shortest way to the top is long.

    Returns:
        Of each level that has labels: `level` (0 is the top), `classes`, and means over the classes that have
        them, as of all labels: `map`, `auc`, `d_prime`.

    >>> classes = {"ap": np.array([0.5, 1.0, np.nan]), "auc": np.array([0.5, 0.75, 0.25])}
    >>> found = level_figures(["dog", "animal", "cat"], classes, {"dog": ["animal"], "cat": ["animal"]})
    >>> [(level["level"], level["classes"], level["map"], level["auc"]) for level in found["levels"]]
    [(0, 1, 1.0, 0.75), (1, 2, 0.5, 0.375)]
    """
    place = {name: column for column, name in enumerate(names)}
    found = []
    sorted_names = levels(parents, names)
    if len(sorted_names) < 2:
        return {}
    for depth, labels in enumerate(sorted_names):
        if not labels:
            continue
        columns = [place[label] for label in labels]
        auc = mean_defined(classes["auc"][columns])
        means = {"map": mean_defined(classes["ap"][columns]), "auc": auc, "d_prime": d_prime(auc)}
        found.append({"level": depth, "classes": len(labels)} | means)
    return {"levels": found}
