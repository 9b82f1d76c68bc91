"""What is compared with what: which clips, which labels, and what the model may have seen of them.

Shape letters: M clips evaluated, K classes of the model, S classes that model and pack share.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from auricle.shards.subsets import fraction_of_groups


def select_clips(
    pack: Any,
    splits: Sequence[str] | None = None,
    where: Mapping[str, tuple[str, ...]] | None = None,
    subset: str | None = None,
    clips: np.ndarray | None = None,
) -> np.ndarray:
    """Positions of the chosen clips of a pack, at least one; with `clips`, of these alone.

    Raises:
        ValueError: no such split, attribute, value or subset; the message lists what there is.

    >>> class OneSplit:
    ...     path, splits = "pack", np.array(["test"])
    >>> select_clips(OneSplit(), ["tset"])
    Traceback (most recent call last):
    ValueError: pack: no split 'tset'; there are: test
    """
    if isinstance(splits, str):
        splits = [splits]
    _require_known(pack, "split", splits or (), pack.splits)
    for name, values in (where or {}).items():
        values = (values,) if isinstance(values, str) else tuple(values)
        _require_known(pack, f"{name} equal to", values, pack.attributes(name))
    chosen = pack.select(splits, where)
    if subset is not None:
        chosen = np.intersect1d(chosen, pack.subset(subset), assume_unique=True)
    if clips is not None:
        chosen = np.intersect1d(chosen, pack.checked_clips(clips), assume_unique=True)
    if not len(chosen):
        asked = {"split": splits or (), "subset": (subset,) if subset else ()} | dict(where or {})
        given = " and ".join(f"{name} {' or '.join(values)}" for name, values in asked.items() if values)
        raise ValueError(f"{pack.path}: no clips{f' with {given}' if given else ''}; choose others")
    return chosen


def _require_known(pack: Any, what: str, wanted: Sequence[str], there: np.ndarray) -> None:
    known = sorted({str(value) for value in there if value is not None})
    for value in wanted:
        if value not in known:
            listed = ", ".join(known[:50]) + (f", ... ({len(known)} in all)" if len(known) > 50 else "")
            raise ValueError(f"{pack.path}: no {what} {value!r}; there are: {listed or 'none'}")


def match_labels(artifact: Any, pack: Any, labels: list[str], label_set: str) -> list[tuple[int, int]]:
    """(column in the model, column in the pack) of each shared label, in the model's order."""
    if not labels:
        raise ValueError(f"{pack.path}: label set {label_set!r} holds no label to compare scores with")
    if not artifact.labels:
        raise ValueError(f"{artifact.path}: has no labels, it embeds only: use `auricle embed`")
    position = {label: column for column, label in enumerate(labels)}
    columns = [(k, position[label]) for k, label in enumerate(artifact.labels) if label in position]
    if not columns:
        raise ValueError(
            f"{pack.path}: label set {label_set!r} ({_some(labels)}) shares no label with "
            f"the model ({_some(artifact.labels)}): names must be equal, letter by letter"
        )
    return columns


def _some(labels: Sequence[str]) -> str:
    return ", ".join([*labels[:5], *["..."] * (len(labels) > 5)])


def share_of_classes(classes: int, share: float, seed: int) -> np.ndarray:
    """Positions of a random share of the classes, rising; at least one.

    Raises:
        ValueError: the share is not in (0, 1].

    >>> share_of_classes(10, 0.2, seed=0).tolist()
    [4, 6]

    Source: Hershey et al. (2017), figure 1: a random 20% of the classes.
    """
    if not 0 < share <= 1:
        raise ValueError(f"class_share is {share}: expected more than 0 and at most 1, like 0.2")
    count = max(1, round(share * classes))
    return np.sort(np.random.default_rng(seed).permutation(classes)[:count])


def positives_of(
    pack: Any, clips: np.ndarray, label_set: str, columns: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """(indptr, rows): which of the chosen clips have each of some labels, never as a table of all pairs.

    >>> positives_of(Pack("out/pack"), np.array([7, 9]), "labels", [0, 3])  # doctest: +SKIP
    (array([0, 1, 2]), array([0, 1]))
    """
    indptr, of_label = pack.label_clips(label_set)
    row_of = np.full(len(pack), -1, np.int64)
    row_of[clips] = np.arange(len(clips))
    rows = [row_of[of_label[indptr[k] : indptr[k + 1]]] for k in columns]
    rows = [row[row >= 0] for row in rows]
    bounds = np.cumsum([0, *(len(row) for row in rows)])
    return bounds, np.concatenate([np.zeros(0, np.int64), *rows])


def unknown_of(
    pack: Any, clips: np.ndarray, label_set: str, columns: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """(row, place in `columns`) of the pairs of which nobody knows whether the label holds.

    >>> unknown_of(Pack("out/pack"), np.array([7, 9]), "labels", [0, 3])  # doctest: +SKIP
    (array([0]), array([1]))
    """
    rows, found = pack.unknown_pairs(clips, label_set)
    place = np.full(len(pack.label_names(label_set)), -1, np.int64)
    place[columns] = np.arange(len(columns))
    kept = place[found] >= 0
    return rows[kept], place[found[kept]]


def clips_trained_on(artifact: Any, pack: Any) -> np.ndarray:
    """The clips that the model may have been trained on, by what it says; none of another pack.

    Which clips training held back by chance (validation_fraction) it does not say: these are among them.

    >>> clips_trained_on(load_artifact("default"), Pack("out/pack"))  # doctest: +SKIP
    """
    if artifact.training.get("data") != pack.fingerprint:
        return np.zeros(0, np.int64)
    config = artifact.training.get("config") or {}
    allowed = pack.select(None, config.get("where"))
    trained = np.intersect1d(pack.select(config.get("train_splits")), allowed)
    splits, subset = config.get("validation_splits"), config.get("validation_subset")
    if splits or subset:
        held = pack.select(splits or None)
        trained = np.setdiff1d(trained, np.intersect1d(held, pack.subset(subset)) if subset else held)
    if config.get("train_subset"):
        trained = np.intersect1d(trained, pack.subset(config["train_subset"]))
    share = config.get("train_fraction") or 1.0
    known = not config.get("validation_fraction") and config.get("unlabelled") != "drop"
    if share < 1 and known and len(trained):  # else the share is of other clips than these
        trained = trained[fraction_of_groups(pack.recordings[trained], share)]
    return trained


def scenes_trained_on(artifact: Any, pack: Any) -> np.ndarray:
    """The scenes mixed from splits that the model was trained on, of the pack that it was trained on.

    It may have heard the sounds in them one by one; which of a split's it heard is not looked at.

    >>> scenes_trained_on(load_artifact("default"), Pack("out/scenes"))  # doctest: +SKIP
    """
    mixed, data = pack.manifest.get("mixed_from"), artifact.training.get("data")
    if not mixed or not data or data != mixed["fingerprint"]:
        return np.zeros(0, np.int64)
    heard = [split for split, made in mixed["splits"].items() if splits_trained_on(artifact, made["from"])]
    return pack.select(heard) if heard else np.zeros(0, np.int64)


def splits_trained_on(artifact: Any, splits: Iterable[str]) -> list[str]:
    """Those of some splits of its data that the model was trained on, whole or in part.

    >>> splits_trained_on(load_artifact("default"), ["fold1", "fold2"])  # doctest: +SKIP
    ['fold1', 'fold2']
    """
    config = artifact.training.get("config") or {}
    trained, held = config.get("train_splits"), config.get("validation_splits") or ()
    if config.get("validation_subset"):
        held = ()  # a part of these splits only
    return [name for name in splits if (trained is None or name in trained) and name not in held]


def sources_trained_on(artifact: Any, pack: Any) -> np.ndarray:
    """The clips that scenes were mixed from on which the model was trained, and other scenes of such clips.

    >>> sources_trained_on(load_artifact("default"), Pack("out/pack"))  # doctest: +SKIP
    """
    about = artifact.training.get("mixed_from")
    if not about:
        return np.zeros(0, np.int64)
    trained = splits_trained_on(artifact, about["splits"])
    sources = {source for name in trained for source in about["splits"][name]}
    mixed = pack.manifest.get("mixed_from")
    if pack.fingerprint == about["data"]:
        return pack.select(sorted(sources)) if sources else np.zeros(0, np.int64)
    if not mixed or mixed["fingerprint"] != about["data"] or pack.fingerprint == artifact.training["data"]:
        return np.zeros(0, np.int64)  # scenes that it was trained on are `clips_trained_on`
    heard = [split for split, made in mixed["splits"].items() if sources & set(made["from"])]
    return pack.select(heard) if heard else np.zeros(0, np.int64)


def clips_heard(artifact: Any, pack: Any) -> np.ndarray:
    """The clips that the model, or one within it, may have been trained on, as they are or in other scenes.

    >>> clips_heard(load_artifact("default"), Pack("out/pack"))  # doctest: +SKIP
    """
    heard = [trained(artifact, pack) for trained in (clips_trained_on, scenes_trained_on, sources_trained_on)]
    heard += [clips_heard(model, pack) for _, model in getattr(artifact, "within", {}).values()]
    # Of an exported graph, whose parts are no models of their own any more.
    inside = [SimpleNamespace(training=about) for about in artifact.training.get("within", ())]
    heard += [clips_heard(model, pack) for model in inside]
    return np.unique(np.concatenate(heard))


def training_prior(
    artifact: Any, pack: Any, label_set: str, columns: Sequence[int]
) -> tuple[np.ndarray, str | None]:
    """(S,) share of the training clips that have each label, and which clips these are.

    They are those that the model was trained on, if on this pack; else the split "train", where there is one;
    else there are none, and the shares are NaN.

    >>> prior, source = training_prior(artifact, Pack("out/pack"), "labels", [0, 3])  # doctest: +SKIP
    """
    trained, source = clips_trained_on(artifact, pack), "the model's training"
    if not len(trained) and "train" in pack.splits:
        trained, source = pack.select(["train"]), "split train"
    if not len(trained):
        return np.full(len(columns), np.nan), None
    bounds, _ = positives_of(pack, trained, label_set, columns)
    return np.diff(bounds) / len(trained), source


def left_out(
    model_labels: Sequence[str],
    pack_labels: Sequence[str],
    names: Sequence[str],
    classes: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Labels that only one side has, and of the shared ones those without a figure.

    >>> left_out(["a"], ["a", "b"], ["a"], {"ap": np.ones(1), "auc": np.ones(1)})["labels_not_in_model"]
    ['b']
    """
    in_model, in_pack = set(model_labels), set(pack_labels)
    without = {
        f"classes_without_{figure}": [
            name for name, value in zip(names, classes[figure], strict=True) if math.isnan(value)
        ]
        for figure in ("ap", "auc")
    }
    return {
        "labels_not_in_model": [label for label in pack_labels if label not in in_model],
        "labels_not_in_pack": [label for label in model_labels if label not in in_pack],
        **without,
    }
