"""Embeddings beside the audio of a pack: written clip by clip, in memory that does not grow.

Shape letters: W windows, D values of an embedding.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from auricle.disk import full_disk_told
from auricle.shards.embedding_sets import FOLDER, embedding_file, set_names
from auricle.shards.layout import (
    TEMPORARY,
    file_facts,
    locked,
    publish,
    sync_folder,
    temporary_for,
    write_array,
    write_json,
)
from auricle.shards.reader import read_manifest

NEEDED = ("model", "fingerprint", "rate", "window", "hop")


def add_embeddings(
    pack: str | Path,
    name: str,
    rows: Iterable[np.ndarray],
    about: Mapping[str, Any],
    *,
    replace: bool = False,
) -> dict[str, Any]:
    """Put a set of embeddings beside a finished pack: whole, or not at all if this is stopped.

    Args:
        pack: the pack's folder.
        name: of the set: letters, digits, - and _.
        rows: for every clip of the pack, in its order, (w, D) embeddings of its windows; w may be 0.
            They are stored as float16.
        about: what made them; at least model, fingerprint, rate (Hz), window and hop (samples).
        replace: overwrite a set of the same name.

    Returns:
        What `embeddings/NAME.json` holds: `about`, and pack (its fingerprint), clips, windows, size (D).

    Raises:
        ValueError: a set of that name, rows that do not fit the pack or each other, or a value that float16
            cannot hold.

    >>> about = {"model": "mine", "fingerprint": "", "rate": 16000, "window": 15600, "hop": 15360}
    >>> rows = (np.zeros((10, 128), np.float32) for clip in range(2000))
    >>> add_embeddings("out/pack", "mine", rows, about)["windows"]  # doctest: +SKIP
    20000
    """
    out = Path(pack)
    manifest = read_manifest(out)
    values_name, indptr_name = embedding_file(name, "values.npy"), embedding_file(name, "indptr.npy")
    if missing := [key for key in NEEDED if key not in about]:
        raise ValueError(f"embedding set {name}: `about` does not say {', '.join(missing)}")
    _refuse_present(out, name, replace)
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    # The pack itself stays free for labels while a model embeds for hours.
    with locked(folder), full_disk_told(out):
        _refuse_present(out, name, replace)
        for leftover in folder.glob(f"*{TEMPORARY}"):  # of a writer that was killed
            leftover.unlink()
        temporary = temporary_for(out / values_name)
        try:
            with temporary.open("wb") as file:
                indptr, size = _write_values(file, rows, name, manifest["clips"])
            # Killed from here on, the pack has no such set rather than half of two.
            (out / embedding_file(name)).unlink(missing_ok=True)
            publish(temporary, out / values_name)
        finally:
            temporary.unlink(missing_ok=True)
        write_array(out / indptr_name, indptr)
        counts = {"clips": len(indptr) - 1, "windows": int(indptr[-1]), "size": size}
        entry = dict(about) | {"pack": manifest["fingerprint"], "dtype": "float16"} | counts
        entry |= file_facts(out, [values_name, indptr_name])
        write_json(out / embedding_file(name), entry)
        sync_folder(folder)
    return entry


def _refuse_present(out: Path, name: str, replace: bool) -> None:
    if name in set_names(out) and not replace:
        raise ValueError(
            f"{out}: embedding set {name!r} is there already: choose another name, or --replace it"
        )


def _write_values(
    file: BinaryIO, rows: Iterable[np.ndarray], name: str, num_clips: int
) -> tuple[np.ndarray, int]:
    """Write the values as one .npy file; returns (indptr, D)."""
    counts: list[int] = []
    size = 0
    header = _write_header(file, 0, 0)
    for array in rows:
        array = np.asarray(array)
        where = f"embedding set {name}, clip {len(counts)}"
        if array.ndim != 2 or not array.shape[1] or (size and array.shape[1] != size):
            raise ValueError(f"{where}: expected (windows, {size or 'values'}), got {array.shape}")
        if len(counts) == num_clips:
            raise ValueError(f"embedding set {name}: more rows than the {num_clips} clips of the pack")
        size = array.shape[1]
        with np.errstate(over="ignore"):  # told below, in words
            stored = np.ascontiguousarray(array, dtype=np.float16)
        if not np.isfinite(stored).all():
            raise ValueError(
                f"{where}: a value is not finite as float16, which ends at 65504; scale the embeddings down"
            )
        file.write(stored.data)
        counts.append(len(stored))
    if len(counts) != num_clips:
        raise ValueError(f"embedding set {name}: rows of {len(counts)} clips; the pack has {num_clips}")
    if not sum(counts):
        raise ValueError(f"embedding set {name}: no clip has an embedding; nothing to store")
    file.seek(0)
    # NumPy leaves room in a header for the number of rows to grow to any number of digits.
    assert _write_header(file, sum(counts), size) == header
    indptr = np.zeros(num_clips + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    return indptr, size


def _write_header(file: BinaryIO, rows: int, size: int) -> int:
    described = {"descr": "<f2", "fortran_order": False, "shape": (rows, size)}
    np.lib.format.write_array_header_1_0(file, described)
    return file.tell()
