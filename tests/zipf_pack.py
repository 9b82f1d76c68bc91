"""A pack of labels alone: many clips and labels by Zipf's law, no sound, written in a moment."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from auricle.shards.labels import write_label_arrays
from auricle.shards.layout import (
    CLIPS,
    FAILURES,
    FORMAT,
    MANIFEST,
    SHARDS,
    file_facts,
    write_array,
    write_json,
    write_table,
)
from auricle.shards.writer import SHARD_SCHEMA


def zipf_rows(num_clips: int, num_labels: int, per_clip: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """CSR (indptr, indices): up to `per_clip` different labels of each clip, label k drawn as 1 / (k + 1).

    The rarest of 30,871 labels is then drawn 30,871 times more seldom than the commonest, and in a sample
    many labels do not occur at all.
    """
    draw = np.random.default_rng(seed)
    shares = np.cumsum(1.0 / np.arange(1, num_labels + 1))
    drawn = np.searchsorted(shares, draw.random((num_clips, per_clip)) * shares[-1]).astype(np.int32)
    drawn.sort(axis=1)
    new = np.ones(drawn.shape, dtype=bool)
    new[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
    indptr = np.zeros(num_clips + 1, dtype=np.int64)
    np.cumsum(new.sum(axis=1), out=indptr[1:])
    return indptr, drawn[new]


def write_zipf_pack(
    out: Path, num_clips: int, num_labels: int, per_clip: int = 5, *, clips_a_group: int = 1, seed: int = 0
) -> Path:
    """A pack whose clips are of splits "train" and "eval" (one group in five) and have Zipf's labels."""
    for folder in ("index", "labels", "shards"):
        (out / folder).mkdir(parents=True)
    numbers = np.arange(num_clips)
    groups = numbers // clips_a_group
    splits = np.where(groups % 5 == 0, "eval", "train")
    ids = pa.array([f"clip{number}" for number in numbers])
    table = {
        "id": ids,
        "path": pa.array([f"{number}.wav" for number in numbers]),
        "group": pa.array([f"recording{group}" for group in groups]),
        "split": pa.array(splits.tolist()),
    }
    write_table(out / CLIPS, pa.table(table))
    write_table(out / FAILURES, pa.table({"id": pa.array([], pa.string())}))
    index = {"shard": np.int32, "offset": np.int64, "samples": np.int64, "audible": np.int64}
    for name, dtype in index.items():
        write_array(out / f"index/{name}.npy", np.full(num_clips, 160_000 * (name != "shard"), dtype=dtype))
    write_table(out / SHARDS, pa.table({name: [] for name in SHARD_SCHEMA.names}, schema=SHARD_SCHEMA))
    write_array(out / "index/shard_bytes.npy", np.zeros(0, dtype=np.int64))
    names = [f"label{number:05d}" for number in range(num_labels)]
    empty = np.zeros(num_clips + 1, dtype=np.int64), np.zeros(0, dtype=np.int32)
    rows = zipf_rows(num_clips, num_labels, per_clip, seed)
    entry = write_label_arrays(out, "labels", ids, names, rows, empty, None)
    files = [CLIPS, FAILURES, SHARDS, *(f"index/{name}.npy" for name in (*index, "shard_bytes"))]
    manifest = {"format": FORMAT, "rate": 16000, "fingerprint": "of nothing", "clips": num_clips}
    manifest |= {"failures": 0, "label_sets": {"labels": entry}}
    write_json(out / MANIFEST, manifest | file_facts(out, files))
    return out
