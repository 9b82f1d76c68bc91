"""Embedding sets of a pack, as they lie on the disk and are read: memory-mapped, clip by clip.

- `embeddings/NAME.values.npy`: (W, D) float16, the windows of all clips, clip after clip
- `embeddings/NAME.indptr.npy`: (clips + 1,) int64; clip i has rows indptr[i] to indptr[i + 1]
- `embeddings/NAME.json`: what made them, and sizes and checksums of both; written last

Shape letters: W windows, D values of an embedding.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auricle.shards.layout import digest

FOLDER = "embeddings"
REMEDY = "write the set again with replace"


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """An embedding set, opened; cheap to send to another process, which opens it again.

    Args:
        values: (W, D) float16, memory-mapped, read-only.
        indptr: (clips + 1,) int64; rows `values[indptr[i]:indptr[i + 1]]` are clip i's windows, in order.
        about: what made them: model, fingerprint, rate, window, hop (samples), size (D), clips, windows.
        path: the pack's folder.
        name: of the set.
    """

    values: np.ndarray
    indptr: np.ndarray
    about: dict[str, Any]
    path: Path
    name: str

    def __reduce__(self) -> tuple[Any, ...]:
        return open_embeddings, (self.path, self.name)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def size(self) -> int:
        """D."""
        return int(self.values.shape[1])

    def clip(self, clip: int) -> np.ndarray:
        """(w, D) float16: the windows of one clip, as a view; w may be 0."""
        return self.values[self.indptr[clip] : self.indptr[clip + 1]]


def embedding_file(name: str, part: str = "json") -> str:
    """Where a part of an embedding set lies in its pack.

    >>> embedding_file("yamnet", "values.npy")
    'embeddings/yamnet.values.npy'
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError(f"embedding set {name!r}: a name of letters, digits, - and _ is expected")
    return f"{FOLDER}/{name}.{part}"


def set_names(path: Path) -> list[str]:
    """Names of the finished embedding sets of a pack, sorted.

    >>> set_names(Path("no-such-pack"))
    []
    """
    return sorted(file.stem for file in (path / FOLDER).glob("*.json"))


def open_embeddings(path: Path, name: str) -> Embeddings:
    """Map an embedding set of a pack.

    Raises:
        ValueError: no such set (the message lists those there are), or a file of it is missing or damaged.

    >>> open_embeddings(Path("no-such-pack"), "yamnet")
    Traceback (most recent call last):
    ValueError: no-such-pack: no embedding set 'yamnet'; there are: none. `auricle embed PACK` makes one
    """
    if name not in set_names(path):
        known = ", ".join(set_names(path)) or "none"
        raise ValueError(
            f"{path}: no embedding set {name!r}; there are: {known}. `auricle embed PACK` makes one"
        )
    about = _read_about(path, name)
    arrays = [_mapped(path / embedding_file(name, part)) for part in ("values.npy", "indptr.npy")]
    shapes = (about["windows"], about["size"]), (about["clips"] + 1,)
    for array, shape, dtype in zip(arrays, shapes, (np.float16, np.int64), strict=True):
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(
                f"{path / embedding_file(name)}: says {shape} {np.dtype(dtype)}, but the file beside it "
                f"holds {array.shape} {array.dtype}; {REMEDY}"
            )
    return Embeddings(values=arrays[0], indptr=arrays[1], about=about, path=path, name=name)


def embedding_damage(path: Path) -> Iterator[str]:
    """A line for each file of a pack's embedding sets that is missing or damaged, by its checksum."""
    for name in set_names(path):
        try:
            about = _read_about(path, name)
        except ValueError as error:
            yield str(error).removeprefix(f"{path}/")
            continue
        for file, size in about["sizes"].items():
            here = path / file
            if not here.is_file():
                yield f"{file}: missing; {REMEDY}"
            elif here.stat().st_size != size:
                yield f"{file}: damaged (it has {here.stat().st_size} bytes of {size}); {REMEDY}"
            elif digest(here) != about["files"][file]:
                yield f"{file}: damaged (its checksum is not the one in {name}.json); {REMEDY}"


def _read_about(path: Path, name: str) -> dict[str, Any]:
    file = path / embedding_file(name)
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        _ = [about[key] for key in ("windows", "size", "clips", "sizes", "files")]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: damaged ({error}); {REMEDY}") from None
    return about


def _mapped(file: Path) -> np.ndarray:
    try:
        # A plain array over the mapping: slices of np.memmap cost three times as much.
        return np.asarray(np.load(file, mmap_mode="r")).view(np.ndarray)
    except FileNotFoundError:
        raise ValueError(f"{file}: missing; {REMEDY}") from None
    except (EOFError, ValueError) as error:
        raise ValueError(f"{file}: damaged ({error}); {REMEDY}") from None
