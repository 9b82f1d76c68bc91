"""A family of models as one artifact: a model on top, and behind the labels it gives, models that say more.

How such a family answers is in `auricle.gating`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from auricle.artifact import Artifact, load_artifact, save_artifact
from auricle.artifact.validation import validate_members
from auricle.gating import plan_gates
from auricle.runners import load_runner
from auricle.runners.family import FamilyRunner


def save_family(
    path: str | Path,
    *,
    members: Mapping[str, str | Path],
    gates: Mapping[str, str],
    labels: Sequence[str],
    parents: Mapping[str, Sequence[str]],
    unasked: str = "zero",
    waveforms: np.ndarray | None = None,
    **fields: Any,
) -> Artifact:
    """Write a family's folder, its members inside, with a check of the whole.

    Window, hop, tail and rate are those of the member on top, and so is the embedding.

    Args:
        path: the folder.
        members: name -> name or folder of a model; the one that no gate names is on top.
        gates: label -> the member that is asked for the labels below it.
        labels: K names, in the order of the family's logits. Other labels of members are not used.
        parents: label -> the labels right above it; one that is not there stands at the top.
        unasked: what a label scores that nobody was asked for: "zero" a probability of 1e-6, "top" what the
            member on top says of it.
        waveforms: (B, window) of the check; None takes that of the member on top.
        **fields: other fields of `Artifact`: name, licence, notes, training, metrics, tolerance, attachments.

    Raises:
        ValueError: no such model, members that do not fit each other, or labels that nobody gives: the
            message names the field.

    >>> save_family(  # doctest: +SKIP
    ...     "models/urban", members={"coarse": "runs/coarse/best", "engine": "runs/engine/best"},
    ...     gates={"1_engine": "engine"}, labels=taxonomy.labels, parents=taxonomy.parents)

    Source: Tompkins and Nichols (2019), section 4.2.
    """
    artifacts = {name: load_artifact(member) for name, member in members.items()}
    above = [list(parents.get(label, ())) for label in labels]
    own = {name: artifact.labels for name, artifact in artifacts.items()}
    root = artifacts[plan_gates(labels, above, own, gates, unasked).root]
    described: dict[str, Any] = {
        "labels": tuple(labels),
        "parents": above,
        "gates": dict(gates),
        "unasked": unasked,
        "window": root.window,
        "hop": root.hop,
        "tail": root.tail,
        "pooling": root.pooling,
        "embedding_size": root.embedding_size,
    }
    family = SimpleNamespace(rate=root.rate, **described)
    validate_members(family, artifacts)
    if waveforms is None:
        waveforms = root.read_check()[0]
    few = len(waveforms)  # every batch is filled up to its size
    runner = FamilyRunner(family, {name: load_runner(each, batch=few) for name, each in artifacts.items()})
    return save_artifact(
        path,
        members={name: artifact.path for name, artifact in artifacts.items()},
        inputs=[{"kind": "waveform", "rate": root.rate}],
        check=(waveforms, runner.run(waveforms)[0]),
        **(described | fields),
    )
