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
from auricle.shards.reader import read_manifest

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
    positive = [
        sorted(position[label] for label in set(clip) if not isinstance(clip, Mapping) or clip[label] > 0.5)
        for clip in labels
    ]
    hidden = [sorted(position[label] for label in set(clip)) for clip in unknown or [()] * len(ids)]
    lists = pa.list_(pa.int32())
    columns = {
        "id": pa.array(ids, pa.string()),
        "positive": pa.array(positive, lists),
        "unknown": pa.array(hidden, lists),
    }
    indptr, indices = csr(positive)
    index = {"indptr": indptr, "indices": indices}
    index["label_indptr"], index["label_clips"] = transpose(indptr, indices, len(ordered))
    index["unknown_indptr"], index["unknown_indices"] = csr(hidden)
    soft = any(isinstance(clip, Mapping) for clip in labels)
    if soft:
        pairs = [
            sorted((position[label], clip[label] if isinstance(clip, Mapping) else 1.0) for label in clip)
            for clip in labels
        ]
        scored, scores = (
            [[pair[0] for pair in clip] for clip in pairs],
            [[s for _, s in clip] for clip in pairs],
        )
        columns["scored"], columns["scores"] = (
            pa.array(scored, lists),
            pa.array(scores, pa.list_(pa.float32())),
        )
        index["soft_indptr"], index["soft_indices"] = csr(scored)
        index["soft_scores"] = np.array([score for clip in scores for score in clip], dtype=np.float32)
    table = pa.table(columns).replace_schema_metadata({"labels": json.dumps(ordered)})
    write_table(out / label_file(name), table)
    files = [label_file(name)]
    for part, array in index.items():
        files.append(f"index/{name}.{part}.npy")
        write_array(out / files[-1], array)
    entry = {"labels": len(ordered), "soft": soft, "positives": len(indices)}
    return entry | file_facts(out, files)
