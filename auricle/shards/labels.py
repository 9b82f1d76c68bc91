"""Label sets beside the audio: written once from any mapping, read as sparse rows; none needs decoding again."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from auricle.shards.layout import CLIPS, MANIFEST, digest, label_file, write_array, write_json, write_table

# Per clip: the labels it has, or label -> soft score.
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

    >>> indptr, indices = transpose(np.array([0, 1, 1, 3]), np.array([2, 0, 2]), 3)
    >>> indptr.tolist(), indices.tolist()
    ([0, 1, 1, 3], [2, 0, 2])
    """
    row_of = np.repeat(np.arange(len(indptr) - 1, dtype=np.int64), np.diff(indptr))
    order = np.argsort(indices, kind="stable")
    out = np.zeros(num_columns + 1, dtype=np.int64)
    np.cumsum(np.bincount(indices, minlength=num_columns), out=out[1:])
    return out, row_of[order]


def write_labels(
    out: Path,
    name: str,
    ids: Sequence[str],
    labels: Sequence[Labels],
    unknown: Sequence[Iterable[str]] | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write one label set and its index; the entry for the manifest is returned."""
    used = {label for clip in labels for label in clip}
    used |= {label for clip in unknown or () for label in clip}
    if names is None:
        names = sorted(used)
    elif foreign := sorted(used - set(names)):
        raise ValueError(f"label set {name}: not in the given list of labels: {', '.join(foreign[:10])}")
    position = {label: index for index, label in enumerate(names)}
    if len(position) != len(names):
        raise ValueError(f"label set {name}: a label is listed twice")
    soft = any(isinstance(clip, Mapping) for clip in labels)
    # A soft score counts as positive where more than half of it says so.
    positive = [
        sorted(position[label] for label in clip if not isinstance(clip, Mapping) or clip[label] > 0.5)
        for clip in labels
    ]
    unknown_rows = [sorted(position[label] for label in clip) for clip in unknown or [()] * len(ids)]
    lists = pa.list_(pa.int32())
    columns = {
        "id": pa.array(ids, pa.string()),
        "positive": pa.array(positive, lists),
        "unknown": pa.array(unknown_rows, lists),
    }
    index = dict(zip(("indptr", "indices"), csr(positive), strict=True))
    index |= dict(zip(("label_indptr", "label_clips"), transpose(*csr(positive), len(names)), strict=True))
    if soft:
        pairs = [
            sorted((position[label], clip[label] if isinstance(clip, Mapping) else 1.0) for label in clip)
            for clip in labels
        ]
        columns["scored"] = pa.array([[label for label, _ in clip] for clip in pairs], lists)
        columns["scores"] = pa.array([[s for _, s in clip] for clip in pairs], pa.list_(pa.float32()))
        scored = csr([[label for label, _ in clip] for clip in pairs])
        index |= dict(zip(("soft_indptr", "soft_indices"), scored, strict=True))
        index["soft_scores"] = np.array([score for clip in pairs for _, score in clip], dtype=np.float32)
    table = pa.table(columns).replace_schema_metadata({"labels": json.dumps(list(names), ensure_ascii=False)})
    write_table(out / label_file(name), table)
    files = {label_file(name): digest(out / label_file(name))}
    for part, array in index.items():
        file = f"index/{name}.{part}.npy"
        write_array(out / file, array)
        files[file] = digest(out / file)
    return {"labels": len(names), "soft": soft, "positives": int(index["indptr"][-1]), "files": files}


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
            not in it have no labels; ids of clips that failed to decode must be left out.
        unknown: clip id -> labels of which it is not known whether they hold.
        names: the ordered list of labels; by default those that occur, sorted.
        replace: overwrite a set of the same name.

    Raises:
        ValueError: an id that is not in the pack, a set of that name, a label outside `names`.
    """
    import pyarrow.parquet as pq

    from auricle.shards.reader import read_manifest

    out = Path(pack)
    manifest = read_manifest(out)
    label_file(name)
    if name in manifest["label_sets"] and not replace:
        raise ValueError(
            f"{out}: label set {name!r} is there already; choose another name or pass replace=True"
        )
    ids = pq.read_table(out / CLIPS, columns=["id"])["id"].to_pylist()
    given = set(mapping) | set(unknown or {})
    if foreign := sorted(given - set(ids)):
        raise ValueError(f"{out}: {len(foreign)} ids are not in the pack, e.g. {', '.join(foreign[:5])}")
    entry = write_labels(
        out,
        name,
        ids,
        [mapping.get(clip, ()) for clip in ids],
        [unknown.get(clip, ()) for clip in ids] if unknown else None,
        names,
    )
    manifest["label_sets"] = dict(sorted((manifest["label_sets"] | {name: entry}).items()))
    write_json(out / MANIFEST, manifest)
