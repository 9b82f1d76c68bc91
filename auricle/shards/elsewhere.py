"""A pack elsewhere: copies of its tables and index, by which it is opened like one on this machine's disk.

Each state of a pack (a label set more, say) has a folder of its own in the cache. Shards are not among them:
they are copied when they are first read, see `auricle.remote.cached_shard`.
"""

import json
from pathlib import Path
from typing import Any

from auricle import remote
from auricle.shards.embedding_sets import FOLDER, embedding_file
from auricle.shards.layout import JOURNAL, MANIFEST, REMEDY


def copy_of_pack(address: str) -> Path:
    """The folder that a pack's manifest, tables, index and labels are in, as they are elsewhere now.

    Raises:
        ValueError: no pack, an unfinished one, or one with a damaged file.

    >>> copy_of_pack("s3://bucket/pack").is_dir()  # doctest: +SKIP
    True
    """
    try:
        content = remote.read(remote.join(address, MANIFEST))
    except FileNotFoundError:
        raise ValueError(_what_is_wrong(address)) from None
    try:
        files = index_files(json.loads(content))
        folder = remote.cached_folder(address, "packs", files, content)
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename}: missing; {REMEDY}") from None
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{remote.join(address, MANIFEST)}: damaged ({error}); {REMEDY}") from None
    _copy_descriptions(address, folder)
    _write_whole(folder / MANIFEST, content)
    return folder


def index_files(manifest: dict[str, Any]) -> dict[str, tuple[int | None, str]]:
    """The files that a manifest lists, without shards: name -> (bytes, checksum).

    >>> index_files({"files": {"clips.parquet": "ab"}, "sizes": {"clips.parquet": 3}, "label_sets": {}})
    {'clips.parquet': (3, 'ab')}
    """
    found: dict[str, tuple[int | None, str]] = {}
    for part in (manifest, *manifest["label_sets"].values(), *manifest.get("subsets", {}).values()):
        sizes = part.get("sizes", {})
        found |= {name: (sizes.get(name), checksum) for name, checksum in part["files"].items()}
    return found


def copy_embeddings(address: str, folder: Path, name: str) -> None:
    """Bring the values of an embedding set beside its description; where there is no such set, nothing.

    >>> copy_embeddings("s3://bucket/pack", Path("copy"), "yamnet")  # doctest: +SKIP
    """
    described = folder / embedding_file(name)
    if not described.is_file():
        return
    about = json.loads(described.read_text(encoding="utf-8"))
    for file, checksum in about["files"].items():
        try:
            remote.fetch_checked(
                remote.join(address, file),
                _of_checksum(folder, file, checksum),
                about["sizes"][file],
                checksum,
            )
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(
                f"{remote.join(address, file)}: damaged ({error}); write the set again"
            ) from None


def _of_checksum(folder: Path, file: str, checksum: str) -> Path:
    """Where a part of a set is copied to; one of another checksum, of a set that was replaced, goes first."""
    mark = folder / f"{file}.blake2b"
    if not mark.is_file() or mark.read_text() != checksum:
        (folder / file).unlink(missing_ok=True)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(checksum)
    return folder / file


def _copy_descriptions(address: str, folder: Path) -> None:
    """What embedding sets there are can change without the manifest."""
    listed = remote.list_files(remote.join(address, FOLDER))
    names = [name for name in listed if name.endswith(".json") and "/" not in name]
    contents = remote.read_many(remote.join(address, FOLDER), names)
    for file in (folder / FOLDER).glob("*.json"):
        if file.name not in contents:
            file.unlink(missing_ok=True)
    for name, content in contents.items():
        _write_whole(folder / FOLDER / name, content)


def _write_whole(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    from auricle.shards.layout import temporary_for

    temporary = temporary_for(path)
    temporary.write_bytes(content)
    temporary.replace(path)


def _what_is_wrong(address: str) -> str:
    files = remote.list_files(address)
    if not files:
        return f"{address}: no such folder; expected a pack, as `auricle pack` writes it"
    if any(name.startswith(f"{JOURNAL}/") for name in files):
        return f"{address}: packing was not finished; the same `auricle pack` again goes on where it was"
    return f"{address}: not a pack: {MANIFEST} is missing; `auricle pack SOURCE OUT` makes one"
