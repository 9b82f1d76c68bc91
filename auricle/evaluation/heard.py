"""Whether a model was trained on clips: seen, not seen, or it cannot be told.

A model says which pack it was trained on, and which of its clips; and it keeps a key of each of them, by
which they are known again in any other pack, see `auricle.shards.contents`.

Shape letters: M clips asked about.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from auricle.evaluation.choice import clips_heard
from auricle.evaluation.fitted import clips_calibrated_with
from auricle.shards.contents import MOST, as_text, clip_keys, from_text, known_again

KEYS = "heard"  # of a model's `training`: {"clips": how many, "keys": of each, see `auricle.shards.contents`}


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What is known of some clips.

    Args:
        clips: positions, ascending, of those that the model, or one within it, was trained on.
        untold: why it cannot be told of the others whether it was, a reason for each model that does not say;
            where there is none, it was not.
    """

    clips: np.ndarray
    untold: tuple[str, ...]


def what_was_heard(artifact: Any, pack: Any, clips: np.ndarray) -> Heard:
    """Which of these clips a model was trained on, as they are or in scenes.

    Where the model, or one within it, keeps keys of its clips, every sample of the pack's clips is read.

    Args:
        artifact: a model.
        pack: a pack, whether of the model's training or any other.
        clips: (M,) positions in it.

    >>> what_was_heard(load_artifact("default"), Pack("out/pack"), np.arange(100)).untold  # doctest: +SKIP
    ()
    """
    clips = np.unique(np.asarray(clips, np.int64))
    found = np.isin(clips, clips_heard(artifact, pack))
    untold: list[str] = []
    keys: np.ndarray | None = None
    for name, training in _trainings(artifact):
        kept = (training.get(KEYS) or {}).get("keys")
        if kept:
            keys = clip_keys(pack, clips) if keys is None else keys
            theirs = from_text(kept)
            if _of_the_same(training, pack):  # it is known which clip is which: what is left are copies
                found |= np.isin(keys["sound"], theirs["sound"])
            else:
                found |= known_again(keys, theirs)
        if (reason := _untold(name, training, pack, bool(kept))) and reason not in untold:
            untold.append(reason)
    return Heard(clips=clips[found], untold=tuple(untold))


def _trainings(artifact: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, training) of a model and of those within it; not of a frame that learned nothing itself."""
    inside = [model for _, model in getattr(artifact, "within", {}).values()]
    # Of an exported graph, whose parts are no models of their own any more.
    name, about = getattr(artifact, "name", "the model"), artifact.training
    inside += [SimpleNamespace(name=name, training=part) for part in about.get("within", ())]
    if about.get("data") or not inside:
        yield name, about
    for model in inside:
        yield from _trainings(model)


def _untold(name: str, training: dict[str, Any], pack: Any, kept: bool) -> str:
    """Why a model does not say whether it was trained on clips of a pack; "" where it does."""
    if _of_the_same(training, pack):
        return ""
    mixed, sources = pack.manifest.get("mixed_from"), training.get("mixed_from")
    if mixed or sources:
        whose = "these clips are" if mixed else f"{name} was trained on"
        return f"{whose} scenes, mixed from clips of another pack"
    if kept:
        return ""
    if (count := (training.get(KEYS) or {}).get("clips", 0)) > MOST:
        return f"{name} was trained on {count:,} clips, more than the {MOST:,} that are kept"
    return f"{name} does not keep which clips it was trained on"


def in_training(artifact: Any, pack: Any, clips: np.ndarray) -> dict[str, Any]:
    """What the figures of an evaluation say of it: `clips_in_training`, and `training_not_told`, the reasons.

    And `clips_in_calibration`: how many of the others a calibration, or thresholds, were fitted to.

    >>> in_training(load_artifact("default"), Pack("out/pack"), np.arange(100))  # doctest: +SKIP
    {'clips_in_training': 0, 'training_not_told': [], 'clips_in_calibration': 0}
    """
    heard = what_was_heard(artifact, pack, clips)
    fitted = np.setdiff1d(clips_calibrated_with(artifact, pack, clips), heard.clips)
    return {
        "clips_in_training": len(heard.clips),
        "training_not_told": list(heard.untold),
        "clips_in_calibration": len(fitted),
    }


def _of_the_same(training: dict[str, Any], pack: Any) -> bool:
    """Whether it was trained on this very pack, or on what its scenes were mixed from, or on such scenes."""
    mixed, sources = pack.manifest.get("mixed_from") or {}, training.get("mixed_from") or {}
    ours, theirs = {pack.fingerprint, mixed.get("fingerprint")}, {training.get("data"), sources.get("data")}
    return bool((ours & theirs) - {None})


def untold_in_words(untold: tuple[str, ...] | list[str]) -> str:
    """One short line of what cannot be told, why it matters and what to do; "" where all is told.

    >>> untold_in_words(["these clips are scenes"])
    'these clips are scenes: figures are too good where it heard these; take new ones'
    """
    return f"{'; '.join(untold)}: figures are too good where it heard these; take new ones" if untold else ""


def training_keys(pack: Any, clips: np.ndarray) -> dict[str, Any]:
    """What a model's `training` keeps under `KEYS` of the clips that it is trained on; reads every sample.

    Of more than 100,000 clips only how many there are: a model is no catalogue.

    >>> training_keys(Pack("out/pack"), np.arange(100))["clips"]  # doctest: +SKIP
    100
    """
    if len(clips) > MOST:
        return {"clips": len(clips)}
    return {"clips": len(clips), "keys": as_text(clip_keys(pack, clips))}
