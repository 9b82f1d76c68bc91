"""The mean of several models' weights as one model, which costs no more than each of them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import Artifact, load_artifact, save_artifact
from auricle.artifact.trainings import BEHIND, each_once, heard_before
from auricle.runners import load_runner

ALIKE = ("architecture", "inputs", "labels", "parents", "window", "hop", "tail", "pooling", "embedding_size")
OF_PARTS = ("step", "teachers", "init_from", "averaged")  # what is kept of each part's own training


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
        path: the new folder; a model that is there is replaced.
        shares: how much each one counts, made to sum to 1; None: all alike.
        name: of the new model; "" that of the first.

    Raises:
        ValueError: no such model, one that is damaged or has no weights of its own, one that is not like the
            first (the message names the field), shares that do not fit, or a path in one of the models.

    >>> average_models(["runs/a/last", "runs/b/last"], "runs/mean")  # doctest: +SKIP

    Source: Wortsman et al. (2022), "Model soups", and (2022), "Robust fine-tuning of zero-shot models".
    """
    part = parts_of_one(len(models), shares)
    artifacts = [load_artifact(model) for model in models]
    first = artifacts[0]
    for artifact in artifacts:
        _check_alike(first, artifact)
        if Path(path).resolve().is_relative_to(artifact.path.resolve()):
            raise ValueError(
                f"{path}: is, or is in, one of the models; name another folder, so that all stay"
            )
    described: dict[str, Any] = {field: getattr(first, field) for field in ALIKE}
    described |= {
        "name": name or first.name,
        "licence": "; ".join(dict.fromkeys(artifact.licence for artifact in artifacts if artifact.licence)),
        "training": _training(artifacts, part),
        "weights": mean_weights([_sound_weights(artifact) for artifact in artifacts], part),
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


def parts_of_one(count: int, shares: Sequence[float] | None) -> list[float]:
    """How much each of so many models counts, which sums to 1; ValueError where that cannot be.

    >>> parts_of_one(2, None), parts_of_one(2, [1, 3])
    ([0.5, 0.5], [0.25, 0.75])
    """
    if count < 2:
        raise ValueError(f"models to average: {count}; give two or more")
    if shares is None:
        return [1 / count] * count
    if len(shares) != count:
        raise ValueError(f"{len(shares)} shares for {count} models; give one for each")
    if not all(np.isfinite(share) and share > 1e-6 * max(shares) for share in shares):
        said = ", ".join(f"{share:g}" for share in shares)
        raise ValueError(f"shares {said}; expected numbers above 0, none a millionth of another")
    parts = [share / max(shares) for share in shares]  # whose sum is finite, too
    return [each / sum(parts) for each in parts]


def unrelated(models: Sequence[str | Path]) -> list[str]:
    """Those of which nothing tells that they lie near the first: by what each began with, or is a mean of.

    >>> unrelated(["runs/a/last", "runs/begun-with-a/last", "runs/at-random/last"])  # doctest: +SKIP
    ['runs/at-random/last']
    """
    kin = [{artifact.fingerprint, *_near(artifact.training)} for artifact in map(load_artifact, models)]
    known, far = kin[0], dict(enumerate(kin[1:], start=1))
    while found := [number for number, near in far.items() if near & known]:
        for number in found:
            known |= far.pop(number)
    return [str(models[number]) for number in far]


def _near(about: dict[str, Any]) -> set[str]:
    """Fingerprints of what a training, or the parts of a mean, began with, and of these parts."""
    begun = {about["init_from"]["fingerprint"]} if "init_from" in about else set()
    parts = about.get("averaged", ())
    return begun | {part["fingerprint"] for part in parts}.union(*map(_near, parts))


def _sound_weights(artifact: Artifact) -> dict[str, np.ndarray]:
    """A model's weights, as they were saved; ValueError where they are not, or are no numbers."""
    if damage := artifact.damage():
        raise ValueError(f"{artifact.path}: {damage}")
    weights = artifact.read_weights()
    for key, array in weights.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{artifact.path}: weight {key} is not finite: its training diverged")
    return weights


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
        | {name: artifact.training[name] for name in OF_PARTS if name in artifact.training}
        for artifact, share in zip(artifacts, shares, strict=True)
    ]
    return own | {"within": behind[1:], "averaged": parts}
