"""Label sets beside the audio: written from any mapping, read as sparse rows, without decoding again."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from auricle.shards.layout import (
    CLIPS,
    MANIFEST,
    file_facts,
    label_file,
    locked,
    write_array,
    write_json,
    write_table,
)
from auricle.shards.reader import Pack, read_manifest

# What a clip has: labels, or label -> soft score.
Labels = Iterable[str] | Mapping[str, float]


def csr(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Lists of integers as two arrays: row i is `indices[indptr[i]:indptr[i + 1]]`.

    >>> indptr, indices = csr([[2], [], [0, 1]])
    >>> indptr.tolist(), indices.tolist()
    ([0, 1, 1, 3], [2, 0, 1])
    """
    indptr = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=indptr[1:])
    indices = np.fromiter((value for row in rows for value in row), dtype=np.int32, count=indptr[-1])
    return indptr, indices


def transpose(indptr: np.ndarray, indices: np.ndarray, num_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn clip -> labels into label -> clips, clips in ascending order.

    >>> indptr, clips = transpose(np.array([0, 1, 1, 3]), np.array([2, 0, 2]), 3)
    >>> indptr.tolist(), clips.tolist()
    ([0, 1, 1, 3], [2, 0, 2])
    """
    row_of = np.repeat(np.arange(len(indptr) - 1, dtype=np.int64), np.diff(indptr))
    order = np.argsort(indices, kind="stable")
    out = np.zeros(num_columns + 1, dtype=np.int64)
    np.cumsum(np.bincount(indices, minlength=num_columns), out=out[1:])
    return out, row_of[order]


def add_labels(
    pack: str | Path,
    name: str,
    mapping: Mapping[str, Labels],
    *,
    unknown: Mapping[str, Iterable[str]] | None = None,
    names: Sequence[str] | None = None,
    taxonomy: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> None:
    """Put another label set over a finished pack, without decoding anything.

    Args:
        pack: the pack's folder.
        name: of the new set: letters, digits, - and _.
        mapping: clip id -> its labels, or label -> soft score in [0, 1] (positive above 0.5). Clips that are
            not in it have no labels; ids of clips that could not be read are to be left out.
        unknown: clip id -> labels of which it is not known whether they hold.
        names: the ordered list of labels; by default those that occur, sorted.
        taxonomy: of these labels, as `Taxonomy.as_dict` gives it; it is kept with the set.
        replace: overwrite a set of the same name.

    Raises:
        ValueError: an id that is not in the pack, a set of that name, a label outside `names`.

    >>> add_labels("out/pack", "animals", {"1-100032-A-0": ["animal"]})  # doctest: +SKIP
    """
    import pyarrow.parquet as pq

    out = Path(pack)
    read_manifest(out)  # before a lock file is left in a folder that is no pack
    with locked(out):
        manifest = read_manifest(out)
        sets = dict(manifest["label_sets"])
        if name in sets and not replace:
            raise ValueError(
                f"{out}: label set {name!r} is there already: choose another name, or replace=True"
            )
        ids = pq.read_table(out / CLIPS, columns=["id"])["id"].to_pylist()
        if foreign := sorted((set(mapping) | set(unknown or {})) - set(ids)):
            raise ValueError(f"{out}: {len(foreign)} ids are not in the pack, e.g. {', '.join(foreign[:5])}")
        check_labels(name, mapping.values(), (unknown or {}).values(), names)
        if name in sets:  # killed from here on, the pack has no such set rather than half of two
            del sets[name]
            write_json(out / MANIFEST, manifest | {"label_sets": sets})
        rows = [mapping.get(clip, ()) for clip in ids]
        hidden = [tuple((unknown or {}).get(clip, ())) for clip in ids]
        sets[name] = write_labels(out, name, ids, rows, hidden, names)
        if taxonomy is not None:
            sets[name]["taxonomy"] = dict(taxonomy)
        write_json(out / MANIFEST, manifest | {"label_sets": dict(sorted(sets.items()))})


def check_labels(
    name: str,
    labels: Iterable[Labels],
    unknown: Iterable[Iterable[str]] = (),
    names: Sequence[str] | None = None,
) -> list[str]:
    """The ordered labels of a set; the given list, or all that occur, sorted.

    Raises:
        ValueError: a bad name of the set, a label outside `names` or listed twice, a score outside [0, 1].
    """
    label_file(name)
    used: set[str] = set()
    for clip in labels:
        if isinstance(clip, str):
            raise ValueError(
                f"label set {name}: expected a list of labels for each clip, got the text {clip!r}"
            )
        used.update(clip)
        if isinstance(clip, Mapping) and not all(0.0 <= score <= 1.0 for score in clip.values()):
            raise ValueError(f"label set {name}: scores must lie between 0 and 1, got {dict(clip)}")
    for hidden in unknown:
        used.update(hidden)
    if names is None:
        return sorted(used)
    if foreign := sorted(used - set(names)):
        raise ValueError(f"label set {name}: not in the given list of labels: {', '.join(foreign[:10])}")
    if len(set(names)) != len(names):
        raise ValueError(f"label set {name}: a label is listed twice in the given list")
    return list(names)


def write_labels(
    out: Path,
    name: str,
    ids: Sequence[str],
    labels: Sequence[Labels],
    unknown: Sequence[Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write one label set and its index; its entry for the manifest is returned."""
    ordered = check_labels(name, labels, unknown or (), names)
    position = {label: index for index, label in enumerate(ordered)}
    # A soft score counts as positive where it says "more likely than not".
    positive = csr(
        [
            sorted(
                position[label] for label in set(clip) if not isinstance(clip, Mapping) or clip[label] > 0.5
            )
            for clip in labels
        ]
    )
    hidden = csr([sorted(position[label] for label in set(clip)) for clip in unknown or [()] * len(ids)])
    soft = None
    if any(isinstance(clip, Mapping) for clip in labels):
        pairs = [
            sorted((position[label], clip[label] if isinstance(clip, Mapping) else 1.0) for label in clip)
            for clip in labels
        ]
        scores = np.array([score for clip in pairs for _, score in clip], dtype=np.float32)
        soft = (*csr([[label for label, _ in clip] for clip in pairs]), scores)
    return write_label_arrays(out, name, pa.array(ids, pa.string()), ordered, positive, hidden, soft)


Csr = tuple[np.ndarray, np.ndarray]


def write_label_arrays(
    out: Path,
    name: str,
    ids: pa.Array,
    ordered: Sequence[str],
    positive: Csr,
    hidden: Csr,
    soft: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
) -> dict[str, Any]:
    """Write a label set that is there as sparse rows: positive, unknown, and scored with its scores."""
    indptr, indices = positive
    index = {"indptr": indptr, "indices": indices}
    index["label_indptr"], index["label_clips"] = transpose(indptr, indices, len(ordered))
    index["unknown_indptr"], index["unknown_indices"] = hidden
    columns = {"id": ids, "positive": _lists(*positive), "unknown": _lists(*hidden)}
    if soft is not None:
        index["soft_indptr"], index["soft_indices"], index["soft_scores"] = soft
        columns["scored"], columns["scores"] = _lists(soft[0], soft[1]), _lists(soft[0], soft[2])
    table = pa.table(columns).replace_schema_metadata({"labels": json.dumps(list(ordered))})
    write_table(out / label_file(name), table)
    files = [label_file(name)]
    for part, array in index.items():
        files.append(f"index/{name}.{part}.npy")
        write_array(out / files[-1], array)
    entry = {"labels": len(ordered), "soft": soft is not None, "positives": len(indices)}
    return entry | file_facts(out, files)


def _lists(indptr: np.ndarray, values: np.ndarray) -> pa.Array:
    # Lists that Parquet readers everywhere know have 32-bit offsets: parts of a column where that is too few.
    most = np.iinfo(np.int32).max
    parts: list[pa.Array] = []
    start = 0
    while start < len(indptr) - 1 or not parts:
        end = int(np.searchsorted(indptr, indptr[start] + most, side="right")) - 1
        offsets = pa.array((indptr[start : end + 1] - indptr[start]).astype(np.int32))
        parts.append(pa.ListArray.from_arrays(offsets, pa.array(values[indptr[start] : indptr[end]])))
        start = end
    return parts[0] if len(parts) == 1 else pa.chunked_array(parts)


def most_frequent(
    pack: Pack | str | Path, k: int, label_set: str = "labels", clips: np.ndarray | None = None
) -> list[str]:
    """The k labels that most clips have, the most frequent first.

    Labels of equal count stand in the order of the label set (alphabetical, unless its list was given in
    another): so the first 400 of 3,000 are the 400 of the same clips.

    Args:
        pack: the pack, or its folder.
        k: how many labels.
        label_set: of which set.
        clips: positions of the clips that are counted, say those of training; None counts all.

    Raises:
        ValueError: fewer than k labels occur in these clips.

    >>> most_frequent("out/pack", 400)[:2]  # doctest: +SKIP
    ['Music', 'Speech']

    Source: Hershey et al. 2017, sections 3.2 and 4.2: the 400 and the 3,087 most frequent of 30K labels.
    """
    pack = pack if isinstance(pack, Pack) else Pack(pack)
    counts = pack.label_counts(label_set, clips)
    occurring = int(np.count_nonzero(counts))
    if not 1 <= k <= occurring:
        raise ValueError(
            f"{pack.path}: {occurring} labels of set {label_set!r} occur in these clips; expected a number "
            f"from 1 to {occurring} of the most frequent, got {k}"
        )
    names = pack.label_names(label_set)
    return [names[label] for label in np.argsort(-counts, kind="stable")[:k]]


def add_label_view(
    pack: str | Path, name: str, labels: Sequence[str], of: str = "labels", *, replace: bool = False
) -> dict[str, Any]:
    """Put some labels of a set, in a given order, over the same clips as a set of its own.

    No audio is read or copied: the new set is a few arrays beside the old. What is unknown, and soft scores,
    are kept. Clips that have none of these labels stay, without labels.

    Args:
        pack: the pack's folder.
        name: of the new set: letters, digits, - and _.
        labels: which labels, in the order that the columns of its targets are to have.
        of: the set that they are of.
        replace: overwrite a set of the same name.

    Returns:
        The set's entry in the manifest: `labels`, `positives`, `view_of` and more.

    Raises:
        ValueError: a label that the set does not have or that is given twice, no labels, a set of that name.

    >>> add_label_view("out/pack", "top400", most_frequent("out/pack", 400))["labels"]  # doctest: +SKIP
    400
    """
    import pyarrow.parquet as pq

    out = Path(pack)
    label_file(name)
    read_manifest(out)  # before a lock file is left in a folder that is no pack
    with locked(out):
        reader = Pack(out)
        sets = dict(reader.manifest["label_sets"])
        keep = _positions(reader, labels, of)
        if name == of:
            raise ValueError(f"{out}: a view of label set {of!r} needs another name than {of!r}")
        if name in sets and not replace:
            raise ValueError(
                f"{out}: label set {name!r} is there already: choose another name, or --replace it"
            )
        if sets.pop(name, None) is not None:  # killed from here on, the pack has no such set
            write_json(out / MANIFEST, reader.manifest | {"label_sets": sets})
        index = {part: reader.label_index(of, part) for part in PARTS}
        positive, hidden, scored = (
            _kept(index[f"{kind}indptr"], index[f"{kind}indices"], keep) for kind in ("", "unknown_", "soft_")
        )
        soft = None
        if (scores := index["soft_scores"]) is not None and scored is not None:
            soft = (scored[0], scored[1], scores[scored[2]])
        empty = np.zeros(len(reader) + 1, dtype=np.int64), np.zeros(0, dtype=np.int32)
        assert positive is not None, "every label set has an index"
        ids = pq.read_table(out / CLIPS, columns=["id"])["id"].combine_chunks()
        entry = write_label_arrays(
            out, name, ids, labels, positive[:2], hidden[:2] if hidden else empty, soft
        )
        sets[name] = entry | {"view_of": of}
        hierarchy = {key: sets[of][key] for key in ("taxonomy", "parents") if key in sets[of]}
        sets[name] |= hierarchy
        write_json(out / MANIFEST, reader.manifest | {"label_sets": dict(sorted(sets.items()))})
    return sets[name]


PARTS = (
    "indptr",
    "indices",
    "unknown_indptr",
    "unknown_indices",
    "soft_indptr",
    "soft_indices",
    "soft_scores",
)


def _positions(reader: Pack, labels: Sequence[str], of: str) -> np.ndarray:
    """(K,) int32: where each label of a set stands in the list of those that are kept; -1 where nowhere."""
    names = reader.label_names(of)
    position = {label: index for index, label in enumerate(names)}
    if not labels:
        raise ValueError(f"{reader.path}: a view of label set {of!r} needs at least one label")
    if foreign := [label for label in labels if label not in position]:
        raise ValueError(
            f"{reader.path}: {len(foreign)} of {len(labels)} labels are not in label set {of!r}: "
            f"{', '.join(map(repr, foreign[:5]))}{', ...' if len(foreign) > 5 else ''}"
        )
    if len(set(labels)) != len(labels):
        twice = next(label for index, label in enumerate(labels) if label in labels[:index])
        raise ValueError(f"{reader.path}: the label {twice!r} is given twice")
    keep = np.full(len(names), -1, dtype=np.int32)
    keep[[position[label] for label in labels]] = np.arange(len(labels), dtype=np.int32)
    return keep


def _kept(
    indptr: np.ndarray | None, indices: np.ndarray | None, keep: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Rows with the labels that are kept, by their new numbers, ascending; and where each stood before."""
    if indptr is None or indices is None:
        return None
    new = keep[indices]
    where = np.flatnonzero(new >= 0)
    row_of = np.repeat(np.arange(len(indptr) - 1, dtype=np.int64), np.diff(indptr))[where]
    order = np.argsort(row_of * len(keep) + new[where], kind="stable")
    bounds = np.zeros(len(indptr), dtype=np.int64)
    np.cumsum(np.bincount(row_of, minlength=len(indptr) - 1), out=bounds[1:])
    return bounds, new[where][order], where[order]
