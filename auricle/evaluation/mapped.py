"""A model as it is judged: by the labels that it has, or by those that a map makes of them.

Shape letters: K labels of the model, S labels that it is judged by.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from auricle.datasets.label_maps import FittedMap, LabelMap, check_targets, fit_map, read_label_map
from auricle.probabilities import calibrated


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
    path = getattr(artifact, "path", "")  # a net in training has none
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


class MappedArtifact:
    """A model that says the labels that a map makes of its own; all else is the model's.

    Calibration, thresholds and event settings are of the model's own labels: it has none.

    >>> from types import SimpleNamespace
    >>> model = SimpleNamespace(path="m", labels=("Dog", "Bark"), rate=16000, events={"onset": 0.4})
    >>> mapped = MappedArtifact(model, "audioset-esc50")
    >>> mapped.labels, mapped.rate, mapped.events
    (('dog',), 16000, None)
    """

    calibration = thresholds = parents = events = None

    def __init__(
        self, artifact: Any, label_map: str | Path | LabelMap, there: Sequence[str] | None = None
    ) -> None:
        self.own, self.judged = artifact, judged_as(artifact, label_map, there)
        self.labels = self.judged.labels

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


class MappedRunner:
    """A model's runner whose logits are those of the labels that a map makes of the model's.

    They are calibrated as the model says, then the greatest of each label's sources: window by window, so
    that a label goes on where one source ends and another begins.

    Args:
        runner: as `auricle.runners.load_runner` gives it.
        label_map: a bundled map's name, a file, or a map.
        there: the labels of the corpus, see `judged_as`.

    Raises:
        ValueError: as `judged_as`; the model embeds only.

    >>> from types import SimpleNamespace
    >>> own = SimpleNamespace(path="m", labels=("Dog", "Bark"), calibration=None)
    >>> runner = SimpleNamespace(artifact=own, run=lambda waveforms: (np.array([[1.0, 2.0]]), None))
    >>> MappedRunner(runner, "audioset-esc50").run(np.zeros((1, 16000), np.float32))[0]
    array([[2.]])
    """

    def __init__(
        self, runner: Any, label_map: str | Path | LabelMap, there: Sequence[str] | None = None
    ) -> None:
        self._runner, self._calibrated = runner, calibrated(runner.artifact)
        self.artifact = MappedArtifact(runner.artifact, label_map, there)
        if hasattr(runner, "run_steps"):  # of a net that decides for steps within a window
            self.run_steps = self._run_steps

    def run(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, Any]:
        """(B, window) float32 -> logits (B, S) float64, and the embeddings as they are."""
        logits_BK, embeddings = self._runner.run(waveforms_BN)
        return self.artifact.judged.scores(self._calibrated(logits_BK)), embeddings

    def _run_steps(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, Any]:
        logits, *rest = self._runner.run_steps(waveforms_BN)
        return self.artifact.judged.scores(self._calibrated(logits)), *rest
