"""Names and small file operations that the writer and the reader of a pack share.

- `manifest.json`: written last; a folder without it is no finished pack
- `clips.parquet`: a row for each clip: id, path, start, end, group, split, shard, row, samples, clipped,
  warnings, attributes
- `shards.parquet`: a row for each shard: file, clips, bytes, blake2b
- `labels/NAME.parquet`: a row for each clip; the ordered label list is in the schema's metadata
- `shards/NNNNN.arrow`: Arrow IPC, uncompressed, batches of one row, which is one clip: large_list<int16>
- `subsets/NAME.npy`: positions of the clips of a subset, ascending
- `index/*.npy`: where each clip is, patches in all clips up to each 64th, and label tables in CSR form;
  memory-mapped by the reader
- `failures.parquet`: id, path and error of each clip that could not be read
- `journal/`: only while packing: a JSON file for each finished shard
- `run.json`: from where, when and how fast: the only file that differs from run to run
"""

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
MANIFEST = "manifest.json"
CLIPS = "clips.parquet"
FAILURES = "failures.parquet"
SHARDS = "shards.parquet"
RUN = "run.json"
JOURNAL = "journal"
LOCK = ".lock"
TEMPORARY = ".partial"  # suffix of a file that is being written
REMEDY = "delete the folder and pack again"  # of a pack that is damaged


def shard_file(shard: int) -> str:
    """Where a shard lies in its pack.

    >>> shard_file(3)
    'shards/00003.arrow'
    """
    return f"shards/{shard:05d}.arrow"


def journal_file(shard: int) -> str:
    """Where a shard's journal entry lies: the shard is finished if this is there.

    >>> journal_file(3)
    'journal/00003.json'
    """
    return f"{JOURNAL}/{shard:05d}.json"


def label_file(label_set: str) -> str:
    """Where a label set lies in its pack.

    >>> label_file("labels")
    'labels/labels.parquet'
    """
    return f"labels/{_checked(label_set, 'label set')}.parquet"


def subset_file(subset: str) -> str:
    """Where a subset of clips lies in its pack.

    >>> subset_file("balanced")
    'subsets/balanced.npy'
    """
    return f"subsets/{_checked(subset, 'subset')}.npy"


def grid_file(patch: int, hop: int) -> str:
    """Where the patches of a grid, in samples, are counted by blocks of clips.

    >>> grid_file(15_600, 15_360)
    'index/patches.15600.15360.npy'
    """
    return f"index/patches.{patch}.{hop}.npy"


def _checked(name: str, what: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError(f"{what} {name!r}: a name of letters, digits, - and _ is expected")
    return name


def file_facts(out: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What a manifest says of files: `files`, name -> checksum, and `sizes`, name -> bytes."""
    names = list(names)
    return {
        "files": {name: digest(out / name) for name in names},
        "sizes": {name: (out / name).stat().st_size for name in names},
    }


def digest(path: Path) -> str:
    """BLAKE2b-256 of a file, in hexadecimal digits."""
    state = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def temporary_for(path: Path) -> Path:
    """Where a file is written until it is complete; another process takes another name."""
    return path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")


def publish(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its name, after its bytes have reached the disk."""
    descriptor = os.open(temporary, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder have reached the disk."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is either there in full or not at all."""
    temporary = temporary_for(path)
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="ascii")
    publish(temporary, path)


def write_journal(path: Path, value: Any) -> None:
    """Write a journal entry; one that a power failure cut short is read as none, so nothing is waited for."""
    temporary = temporary_for(path)
    temporary.write_text(json.dumps(value), encoding="ascii")
    temporary.replace(path)


def read_journal(path: Path) -> Any:
    """A journal entry, or None where there is none in full."""
    try:
        return json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file so that it is either there in full or not at all."""
    content = io.BytesIO()  # to a file itself NumPy writes by its own means, and hides why it could not
    np.save(content, array)
    temporary = temporary_for(path)
    temporary.write_bytes(content.getbuffer())
    publish(temporary, path)


def write_table(path: Path, table: Any) -> None:
    """Write an Arrow table as Parquet so that the file is either there in full or not at all."""
    import pyarrow.parquet as pq

    temporary = temporary_for(path)
    pq.write_table(table, temporary, compression="zstd")
    publish(temporary, path)


@contextlib.contextmanager
def locked(out: Path, file: str | None = None) -> Iterator[None]:
    """Hold a folder against other writers; the lock goes with the process, also if it is killed.

    Args:
        out: the folder.
        file: hold this file of it alone.

    Raises:
        ValueError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: two runs into one folder are then not noticed
        yield
        return
    path = out / (LOCK if file is None else f".{file}{LOCK}")
    held, what = (out, "folder") if file is None else (out / file, "file")
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise ValueError(
                f"{held}: another process (pid {holder}) is writing this {what}; wait, or give another {what}"
            ) from None
        if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
            break
        os.close(descriptor)  # its holder finished, and removed it, between our two steps
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
