"""Names and small file operations that the writer and the reader of a pack share.

manifest.json        written last: a pack without it is not finished
clips.parquet        one row a clip: id, path, start, end, group, split, shard, row, samples, clipped, ...
labels/NAME.parquet  one row a clip; the ordered label list is in the schema's metadata
shards/NNNNN.arrow   Arrow IPC, uncompressed, one record batch of one row a clip: large_list<int16>
index/*.npy          int64 positions and label tables in CSR form, memory-mapped by the reader
failures.parquet     id, path, error of every clip that could not be read
journal/             only while packing: one JSON file for every finished shard
run.json             when and how fast it was packed, and from where: the only file that differs between runs
"""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
MANIFEST = "manifest.json"
CLIPS = "clips.parquet"
FAILURES = "failures.parquet"
RUN = "run.json"
JOURNAL = "journal"
TEMPORARY = ".partial"  # suffix of a file that is being written


def shard_file(shard: int) -> str:
    """Where a shard lies in its pack.

    >>> shard_file(3)
    'shards/00003.arrow'
    """
    return f"shards/{shard:05d}.arrow"


def label_file(label_set: str) -> str:
    """Where a label set lies in its pack.

    >>> label_file("labels")
    'labels/labels.parquet'
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", label_set):
        raise ValueError(f"label set {label_set!r}: a name of letters, digits, - and _ is expected")
    return f"labels/{label_set}.parquet"


def digest(path: Path) -> str:
    """BLAKE2b-256 of a file, in hexadecimal digits."""
    state = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def publish(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its name, after its bytes have reached the disk."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is either there in full or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    publish(temporary, path)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file so that it is either there in full or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    with temporary.open("wb") as file:
        np.save(file, array)
    publish(temporary, path)


def write_table(path: Path, table: Any) -> None:
    """Write an Arrow table as Parquet so that the file is either there in full or not at all."""
    import pyarrow.parquet as pq

    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    pq.write_table(table, temporary, compression="zstd")
    publish(temporary, path)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
