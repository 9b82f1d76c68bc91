"""Copies of files from elsewhere, kept for the next time: by their checksum, up to so many bytes.

`$AURICLE_CACHE` names the folder (at first `auricle` in the user's cache folder), `$AURICLE_CACHE_GB` how
many gigabytes of shards are kept (50). The longest unused make way; one that is being read stays readable.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from auricle.remote.addresses import join
from auricle.remote.files import TEMPORARY, Entry, get

GIGABYTES = 50.0


def cache_folder() -> Path:
    """Where copies are kept."""
    if named := os.environ.get("AURICLE_CACHE"):
        return Path(named)
    if root := os.environ.get("XDG_CACHE_HOME"):
        return Path(root, "auricle")
    return Path.home() / ".cache" / "auricle"


def cache_bytes() -> int:
    """How many bytes of shards are kept.

    Raises:
        ValueError: `$AURICLE_CACHE_GB` is no number.

    >>> cache_bytes() > 0
    True
    """
    text = os.environ.get("AURICLE_CACHE_GB", "")
    try:
        return int(float(text or GIGABYTES) * 1e9)
    except (ValueError, OverflowError):
        raise ValueError(f"AURICLE_CACHE_GB is {text!r}; expected a number of gigabytes, say 50") from None


def fetch_checked(address: str, path: Path, size: int | None, checksum: str) -> None:
    """Fetch a file whose size and checksum are known.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not as it was written.

    >>> fetch_checked("s3://bucket/a", Path("a"), 5, checksum)  # doctest: +SKIP
    """
    if path.is_file() and size is not None and path.stat().st_size == size:
        return
    unchecked = path.with_name(f"{path.name}.{os.getpid()}.unchecked{TEMPORARY}")
    try:
        get(address, unchecked)
        if size is not None and (found := unchecked.stat().st_size) != size:
            raise ValueError(f"it has {found} bytes of {size}")
        if _digest(unchecked) != checksum:
            raise ValueError("its checksum is not the one it was written with")
        unchecked.replace(path)
    finally:
        unchecked.unlink(missing_ok=True)


def cached_shard(address: str, size: int, checksum: str) -> Path:
    """A shard's copy, fetched if it is not there; others make way for it.

    Raises:
        FileNotFoundError, ValueError: as `fetch_checked`.

    >>> cached_shard("s3://bucket/pack/shards/00000.arrow", 2_000_000, checksum).suffix  # doctest: +SKIP
    '.arrow'
    """
    folder = cache_folder() / "shards"
    path = folder / f"{checksum}.arrow"
    if path.is_file() and path.stat().st_size == size:
        os.utime(path)  # so that it is not the longest unused
        return path
    folder.mkdir(parents=True, exist_ok=True)
    _make_room(folder, cache_bytes() - size)
    fetch_checked(address, path, size, checksum)
    return path


def cached_folder(address: str, kind: str, files: Mapping[str, tuple[int | None, str]], key: bytes) -> Path:
    """Copies of some files of a folder, in a folder of their own for each state (`key`) that it had.

    Args:
        address: of the folder.
        kind: what folders of this kind are called.
        files: name -> (bytes, checksum).
        key: bytes that change with the files.

    Raises:
        FileNotFoundError, ValueError: as `fetch_checked`; the name is in the message.

    >>> cached_folder("s3://bucket/pack", "packs", {"clips.parquet": (310, checksum)}, b"")  # doctest: +SKIP
    PosixPath('.../auricle/packs/cae66941d9efbd404e4d88758ea67670')
    """
    folder = cache_folder() / kind / hashlib.blake2b(key, digest_size=16).hexdigest()
    for name, (size, checksum) in files.items():
        try:
            fetch_checked(join(address, name), folder / name, size, checksum)
        except ValueError as error:
            raise ValueError(f"{join(address, name)}: damaged ({error})") from None
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def copied_folder(address: str, kind: str, files: Mapping[str, Entry]) -> Path:
    """Copies of files that say nothing of their checksums: anew for each state, by size and mark.

    >>> files = list_files("s3://bucket/model")  # doctest: +SKIP
    >>> copied_folder("s3://bucket/model", "models", files).is_dir()  # doctest: +SKIP
    True
    """
    state = json.dumps([address, sorted((name, entry.size, entry.mark) for name, entry in files.items())])
    folder = cache_folder() / kind / hashlib.blake2b(state.encode(), digest_size=16).hexdigest()
    for name, entry in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry.size:
            get(join(address, name), path)
    return folder


def _make_room(folder: Path, most: int) -> None:
    entries = []
    for path in folder.glob("*.arrow"):
        try:
            status = path.stat()
        except FileNotFoundError:  # another process makes room, too
            continue
        entries.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= most:
            return
        path.unlink(missing_ok=True)  # where it is mapped, its bytes stay until that ends
        total -= size


def _digest(path: Path) -> str:
    state = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()
