"""Files elsewhere: looked up, listed, fetched, put. The only place that imports fsspec.

A file that is put is there whole or not at all: object stores do it so, elsewhere it is renamed. Nothing is
remembered of what was listed: another machine may have written since.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from auricle.remote.addresses import address_of, join, name_of, parent

TEMPORARY = ".partial"
DRIVERS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
DRIVERS |= dict.fromkeys(("az", "abfs", "abfss"), "adlfs")
# Whose own errors say what is wrong there: no credentials, no such bucket, no answer.
THEIRS = ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "adlfs", "azure", "fsspec")
MANY = 3  # files of a folder from which on it is listed rather than asked for each


class Entry(NamedTuple):
    """What is known of a file: bytes, a mark that changes with it, when it was written (or None)."""

    size: int
    mark: str
    written: float | None


def look_up(address: str) -> Entry | None:
    """A file's entry; None where there is none.

    >>> look_up("s3://bucket/a.wav").size  # doctest: +SKIP
    32044
    """
    with _told(address):
        try:
            info = _filesystem(address).info(_inside(address))
        except (FileNotFoundError, NotADirectoryError):
            return None
    return _entry(info) if info["type"] == "file" else None


def is_folder(address: str) -> bool:
    """Whether there is a folder: on an object store, whether anything lies below.

    >>> is_folder("s3://bucket/night")  # doctest: +SKIP
    True
    """
    with _told(address):
        return bool(_filesystem(address).isdir(_inside(address)))


def list_files(folder: str) -> dict[str, Entry]:
    """The files in a folder, to any depth: path from there -> entry, sorted; none where there is none.

    >>> list(list_files("s3://bucket/night"))  # doctest: +SKIP
    ['a.flac', 'deep/b.wav']
    """
    with _told(folder):
        base = _inside(folder).rstrip("/") + "/"
        try:
            found = _filesystem(folder).find(base.rstrip("/"), detail=True)
        except FileNotFoundError:
            return {}
    files = {
        path.removeprefix(base): _entry(info)
        for path, info in found.items()
        if path.startswith(base) and info["type"] == "file" and not path.endswith("/")
    }
    return dict(sorted(files.items()))


def match(pattern: str) -> list[str]:
    """The addresses of the files that a pattern with * or ? stands for, sorted.

    >>> match("s3://bucket/*.wav")  # doctest: +SKIP
    ['s3://bucket/a.wav']
    """
    with _told(pattern):
        found = _filesystem(pattern).glob(_inside(pattern), detail=True)
    scheme = pattern.partition("://")[0]
    files = [path for path, info in found.items() if info["type"] == "file"]
    return sorted(f"{scheme}://{path.lstrip('/') if scheme != 'file' else path}" for path in files)


def entries(addresses: Iterable[str]) -> dict[str, Entry]:
    """What is known of each file that is there; a folder of several is listed once.

    >>> entries(["s3://bucket/a.wav", "s3://bucket/none"]).keys()  # doctest: +SKIP
    dict_keys(['s3://bucket/a.wav'])
    """
    wanted = set(addresses)
    counts: dict[str, int] = {}
    for address in wanted:
        counts[parent(address)] = counts.get(parent(address), 0) + 1
    known: dict[str, Entry] = {}
    for folder, count in counts.items():
        if count >= MANY:
            found = {join(folder, name): entry for name, entry in _children(folder).items()}
            known |= {address: entry for address, entry in found.items() if address in wanted}
    for address in wanted:
        if counts[parent(address)] < MANY and (entry := look_up(address)) is not None:
            known[address] = entry
    return known


def sizes(addresses: Iterable[str]) -> list[int]:
    """Bytes of each file, -1 where there is none; a folder of several is listed once.

    >>> sizes(["s3://bucket/a.wav", "s3://bucket/none"])  # doctest: +SKIP
    [32044, -1]
    """
    wanted = list(addresses)
    known = entries(wanted)
    return [known[address].size if address in known else -1 for address in wanted]


def sizes_of(paths: Iterable[str]) -> list[int]:
    """Bytes of each file, of this machine or elsewhere; -1 where there is none.

    >>> sizes_of(["no-such-file"])
    [-1]
    """
    paths = list(paths)
    elsewhere = {path: address for path in paths if (address := address_of(path)) is not None}
    known = dict(zip(elsewhere, sizes(elsewhere.values()), strict=True))
    for path in paths:
        if path not in known:
            try:
                known[path] = Path(path).stat().st_size
            except (OSError, ValueError):
                known[path] = -1
    return [known[path] for path in paths]


def read(address: str) -> bytes:
    """A small file's bytes.

    Raises:
        FileNotFoundError: there is none.

    >>> read("s3://bucket/a.txt")  # doctest: +SKIP
    b'text'
    """
    with _told(address):
        return bytes(_filesystem(address).cat_file(_inside(address)))


def read_json(address: str) -> Any:
    """A file of JSON; None where there is none in full.

    >>> read_json("s3://bucket/pack/manifest.json")["rate"]  # doctest: +SKIP
    16000
    """
    try:
        return json.loads(read(address))
    except (FileNotFoundError, ValueError):
        return None


def read_many(folder: str, names: Iterable[str]) -> dict[str, bytes]:
    """Small files of one folder, fetched side by side where the store allows it: name -> bytes.

    >>> read_many("s3://bucket/night", ["a.json", "b.json"]).keys()  # doctest: +SKIP
    dict_keys(['a.json', 'b.json'])
    """
    names = list(names)
    if not names:
        return {}
    inside = {_inside(join(folder, name)): name for name in names}
    with _told(folder):
        found = _filesystem(folder).cat(list(inside))
    if isinstance(found, bytes):  # of a single one
        return {names[0]: found}
    return {inside[path]: bytes(content) for path, content in found.items()}


def get(address: str, path: Path) -> None:
    """Fetch a file; it is there in full or not at all.

    Raises:
        FileNotFoundError: there is none.

    >>> get("s3://bucket/a.wav", Path("a.wav"))  # doctest: +SKIP
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{TEMPORARY}")
    try:
        with _told(address):
            _filesystem(address).get_file(_inside(address), str(temporary))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def get_into(address: str, file: Any) -> None:
    """Fetch a file into a temporary one that is open for both; it is then at its beginning.

    >>> get_into("s3://bucket/a.wav", tempfile.NamedTemporaryFile())  # doctest: +SKIP
    """
    if os.name == "posix":
        with _told(address):
            _filesystem(address).get_file(_inside(address), file.name)
    else:  # where what is open has no second writer
        with stream(address, 8 << 20) as source, _told(address):
            shutil.copyfileobj(source, file)
        file.flush()
    file.seek(0)


def stream(address: str, block: int) -> BinaryIO:
    """A file to be read from any place, `block` bytes at a time as they are needed.

    >>> stream("s3://bucket/a.wav", 8 << 20).read(4)  # doctest: +SKIP
    b'RIFF'
    """
    with _told(address):
        return _filesystem(address).open(_inside(address), "rb", block_size=block)


def put(path: Path, address: str) -> None:
    """Put a file of this machine; it is there in full or not at all.

    >>> put(Path("a.wav"), "s3://bucket/a.wav")  # doctest: +SKIP
    """
    with _told(address):
        files = _filesystem(address)
        if _is_store(address):
            files.put_file(str(path), _inside(address))
            return
        # Short: a name may be as long as a name can be.
        temporary = f"{files._parent(_inside(address))}/.{uuid.uuid4().hex[:12]}{TEMPORARY}"
        files.makedirs(files._parent(temporary), exist_ok=True)
        try:
            files.put_file(str(path), temporary)
            os.replace(temporary, _inside(address))  # noqa: PTH105 - fsspec's own move copies over what is there
        finally:
            with contextlib.suppress(FileNotFoundError):
                files.rm_file(temporary)


def put_new(content: bytes, address: str) -> bool:
    """Write a small file if there is none; whether it was written.

    Of two that do this at once, one does where the store has conditional writes; elsewhere both may.

    >>> put_new(b"mine", "s3://bucket/lock")  # doctest: +SKIP
    True
    """
    with _told(address):
        files = _filesystem(address)
        if not _is_store(address):
            files.makedirs(files._parent(_inside(address)), exist_ok=True)
            try:
                with open(_inside(address), "xb") as file:  # noqa: PTH123
                    file.write(content)
            except FileExistsError:
                return False
            return True
        try:
            if files.exists(_inside(address)):  # also for stores that ignore the condition
                return False
            files.pipe_file(_inside(address), content, mode="create")
        except FileExistsError:
            return False
        except Exception as error:
            if not _was_refused(error):
                raise
            return False
    return True


def put_bytes(content: bytes, address: str) -> None:
    """Write a small file, over one that is there.

    >>> put_bytes(b"text", "s3://bucket/a.txt")  # doctest: +SKIP
    """
    with _told(address):
        files = _filesystem(address)
        if not _is_store(address):
            files.makedirs(files._parent(_inside(address)), exist_ok=True)
        files.pipe_file(_inside(address), content)


def remove(addresses: Iterable[str]) -> None:
    """Remove files, as far as they are there.

    >>> remove(["s3://bucket/a.wav"])  # doctest: +SKIP
    """
    for address in addresses:
        with _told(address), contextlib.suppress(FileNotFoundError):
            _filesystem(address).rm_file(_inside(address))


def remove_folder(folder: str) -> None:
    """Remove a folder and all that is in it, if it is there.

    >>> remove_folder("s3://bucket/night")  # doctest: +SKIP
    """
    with _told(folder), contextlib.suppress(FileNotFoundError):
        _filesystem(folder).rm(_inside(folder), recursive=True)


def digest(address: str) -> str:
    """BLAKE2b-256 of a file elsewhere, which is read through and not kept.

    >>> digest("s3://bucket/a.wav")[:6]  # doctest: +SKIP
    '5e1b07'
    """
    state = hashlib.blake2b(digest_size=32)
    with stream(address, 8 << 20) as file, _told(address):
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def _children(folder: str) -> Mapping[str, Entry]:
    with _told(folder):
        try:
            found = _filesystem(folder).ls(_inside(folder), detail=True)
        except FileNotFoundError:
            return {}
    return {name_of(info["name"]): _entry(info) for info in found if info["type"] == "file"}


def _entry(info: Mapping[str, Any]) -> Entry:
    written = next(
        (info[key] for key in ("LastModified", "mtime", "created", "updated") if info.get(key)), None
    )
    mark = info.get("ETag") or info.get("etag") or info.get("md5Hash") or written
    seconds = written.timestamp() if isinstance(written, datetime) else written
    return Entry(int(info["size"] or 0), str(mark), seconds if isinstance(seconds, int | float) else None)


def _filesystem(address: str) -> Any:
    """Fsspec keeps one for each thread and process; nothing that was listed is remembered."""
    scheme = address.partition(":")[0]
    try:
        import fsspec
    except ModuleNotFoundError:
        raise ModuleNotFoundError("fsspec is not installed", name="fsspec") from None
    try:
        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError:
        driver = DRIVERS.get(scheme, scheme)
        raise ModuleNotFoundError(f"{driver} is not installed", name=driver) from None


def _inside(address: str) -> str:
    """An address as its own file system has it: a path of this machine for file://."""
    scheme, _, rest = address.partition("://")
    return f"/{rest}" if scheme == "memory" else rest


def _is_store(address: str) -> bool:
    return not address.startswith("file:")


def _was_refused(error: BaseException | None) -> bool:
    """Whether a conditional write was refused because there is something already."""
    while error is not None:
        if any(word in str(error) for word in ("PreconditionFailed", "ConditionalRequestConflict", "412")):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def _told(address: str) -> Iterator[None]:
    """Errors name the address, whichever library they come from."""
    try:
        yield
    except ModuleNotFoundError:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", address) from None
    except OSError as error:
        if error.errno == errno.ENOSPC or (error.filename is not None and error.filename == address):
            raise
        cause = error.strerror or " ".join(str(error).split()) or type(error).__name__
        raise OSError(error.errno or errno.EIO, cause, address) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in THEIRS:
            raise
        raise OSError(errno.EIO, " ".join(str(error).split()) or type(error).__name__, address) from error
