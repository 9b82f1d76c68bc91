"""The mean of several models' weights as one model, which costs no more than each of them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import Artifact, load_artifact, save_artifact
from auricle.artifact.trainings import BEHIND, each_once, heard_before
from auricle.runners import load_runner

ALIKE = ("backend", "architecture", "inputs", "labels", "parents", "window", "hop", "tail", "pooling")
KEPT = ("architecture", "inputs", "labels", "parents", "window", "hop", "tail", "pooling", "embedding_size")


def average_models(
    models: Sequence[str | Path], path: str | Path, *, shares: Sequence[float] | None = None, name: str = ""
) -> Artifact:
    """Save the mean of the weights of models of one kind; the models stay as they are.

    It is worth something where they lie near each other: one began with the other's weights, or all with the
    same. Of models that were each trained from weights at random it is no network that hears anything. What
    batch normalisation counts is averaged as weights are. Calibration, thresholds, events and figures are of
    one model, and not in the new one.

    Args:
        models: two folders or more, as training wrote them.
        path: the new folder.
        shares: how much each one counts, made to sum to 1; None: all alike.
        name: of the new model; "" that of the first.

    Raises:
        ValueError: no such model, one that has no weights of its own, one that is not like the first (the
            message names the field), or shares that do not fit.

    >>> average_models(["runs/a/last", "runs/b/last"], "runs/mean")  # doctest: +SKIP

    Source: Wortsman et al. (2022), "Model soups", and (2022), "Robust fine-tuning of zero-shot models".
    """
    part = _shares(len(models), shares)
    artifacts = [load_artifact(model) for model in models]
    first = artifacts[0]
    for artifact in artifacts:
        _check_alike(first, artifact)
        if artifact.path.resolve() == Path(path).resolve():
            raise ValueError(
                f"{path}: is one of the models itself; name another folder, so that all are there"
            )
    described: dict[str, Any] = {field: getattr(first, field) for field in KEPT}
    described |= {
        "name": name or first.name,
        "licence": "; ".join(dict.fromkeys(artifact.licence for artifact in artifacts if artifact.licence)),
        "training": _training(artifacts, part),
        "weights": mean_weights([artifact.read_weights() for artifact in artifacts], part),
        "embedder": None if first.embedder is None else first.embedder.path,
    }
    waveforms, logits, tolerance = first.read_check()
    tolerance = max(tolerance, *(artifact.tolerance for artifact in artifacts))
    with tempfile.TemporaryDirectory() as folder:  # what it gives is known when it has run
        made = save_artifact(Path(folder) / "model", **described, check=(waveforms, logits))
        logits = load_runner(made, batch=len(waveforms)).run(waveforms)[0]
    return save_artifact(path, **described, check=(waveforms, logits), tolerance=tolerance)


def mean_weights(weights: Sequence[dict[str, np.ndarray]], shares: Sequence[float]) -> dict[str, np.ndarray]:
    """The mean of arrays of one name, in float64, as the type that they have; counts are the first's.

    >>> one, other = ({"w": np.array([w], np.float32), "n": np.array(n)} for w, n in ((0, 3), (1, 5)))
    >>> mean_weights([one, other], [0.25, 0.75])
    {'w': array([0.75], dtype=float32), 'n': array(3)}
    """
    found = dict(weights[0])
    for key, array in weights[0].items():
        if np.issubdtype(array.dtype, np.floating):
            parts = (
                share * other[key].astype(np.float64) for share, other in zip(shares, weights, strict=True)
            )
            found[key] = np.asarray(sum(parts), array.dtype)
    return found


def _shares(count: int, shares: Sequence[float] | None) -> list[float]:
    if count < 2:
        raise ValueError(f"models to average: {count}; give two or more")
    if shares is None:
        return [1 / count] * count
    if len(shares) != count:
        raise ValueError(f"{len(shares)} shares for {count} models; give one for each")
    if not all(np.isfinite(share) and share > 0 for share in shares):
        raise ValueError(f"shares {', '.join(f'{share:g}' for share in shares)}; expected numbers above 0")
    return [share / sum(shares) for share in shares]


def _check_alike(first: Artifact, other: Artifact) -> None:
    """Refuse models whose weights have nothing to do with each other."""
    if other.backend != "torch":
        raise ValueError(
            f"{other.path}: has a graph ({other.backend}) or members, and no weights to average; give the "
            "folder that training wrote, RUN/best or RUN/last"
        )
    for field in ALIKE:
        if getattr(first, field) != getattr(other, field):
            raise ValueError(
                f"{other.path}: differs from {first.path} in {field}; models to average are of one network, "
                "on the same labels and windows"
            )


def _training(artifacts: Sequence[Artifact], shares: Sequence[float]) -> dict[str, Any]:
    """What all of them heard, and which ones they are."""
    first = artifacts[0].training
    own = {name: first[name] for name in (*BEHIND, "audio") if name in first}
    behind = each_once(about for artifact in artifacts for about in heard_before(artifact))
    parts = [
        {"model": artifact.name, "fingerprint": artifact.fingerprint, "share": round(share, 6)}
        for artifact, share in zip(artifacts, shares, strict=True)
    ]
    return own | {"within": behind[1:], "averaged": parts}
