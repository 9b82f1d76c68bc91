"""A model as it is judged: by the labels that it has, or by those that a map makes of them.

Shape letters: K labels of the model, S labels that it is judged by.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from auricle.datasets.label_maps import FittedMap, LabelMap, check_targets, fit_map, read_label_map


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What of a model its labels decide.

    Args:
        path: of the model, for messages.
        labels: (S,) names.
        parents: of each, or None.
        thresholds: of each, or None; mapped labels have none.
        metrics: the model's, which say what the thresholds are of.
        about: of the map, for `metrics.json`; None where there is none.
        fitted: the map.
    """

    path: Any
    labels: tuple[str, ...]
    parents: list[list[str]] | None = None
    thresholds: list[float] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] | None = None
    fitted: FittedMap | None = None

    def scores(self, scores_K: np.ndarray) -> np.ndarray:
        """(..., K) scores of the model's labels -> (..., S) of those that it is judged by.

        >>> Judged(path="m", labels=("dog",)).scores(np.array([0.5]))
        array([0.5])
        """
        return scores_K if self.fitted is None else self.fitted.apply(scores_K)


def judged_as(
    artifact: Any, label_map: str | Path | LabelMap | None, there: Sequence[str] | None = None
) -> Judged:
    """A model by its own labels, or by those that a map makes of them.

    Args:
        artifact: the model.
        label_map: a bundled map's name, a file, or a map; None takes the model's labels as they are.
        there: the labels of the corpus; None does not look at them.

    Raises:
        ValueError: no such map; or it names labels that model or corpus have otherwise.

    >>> from types import SimpleNamespace
    >>> model = SimpleNamespace(path="m", labels=("Dog", "Bark"), parents=None, thresholds=None, metrics={})
    >>> judged = judged_as(model, "audioset-esc50")
    >>> judged.labels, judged.scores(np.array([0.25, 0.75]))
    (('dog',), array([0.75]))
    """
    path = getattr(artifact, "path", artifact.name)  # of a net in training there is none
    if label_map is None or not artifact.labels:  # a model that embeds only is refused further on
        return Judged(
            path=path,
            labels=tuple(artifact.labels),
            parents=getattr(artifact, "parents", None),
            thresholds=getattr(artifact, "thresholds", None),
            metrics=getattr(artifact, "metrics", None) or {},
        )
    found = label_map if isinstance(label_map, LabelMap) else read_label_map(label_map)
    fitted = fit_map(found, artifact.labels)
    if there is not None:
        check_targets(found, there)
    about = {
        "name": found.name,
        "sha256": found.sha256,
        "sources": {
            label: [artifact.labels[k] for k in columns]
            for label, columns in zip(fitted.labels, fitted.columns, strict=True)
        },
        "labels_without_source": list(fitted.without),
        "sources_not_in_model": list(fitted.unknown),
    }
    return Judged(path=path, labels=fitted.labels, about=about, fitted=fitted)
