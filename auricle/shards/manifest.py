"""The manifest of a pack, and whether the files that it lists are all there and as they were."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from auricle import remote
from auricle.shards.embedding_sets import embedding_damage
from auricle.shards.layout import FORMAT, JOURNAL, MANIFEST, REMEDY, SHARDS, digest


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a finished pack.

    Raises:
        ValueError: no pack, an unfinished one, or one of a later format.

    >>> read_manifest(Path("no-such-pack"))
    Traceback (most recent call last):
    ValueError: no-such-pack: no such folder; expected a pack, as `auricle pack` writes it
    """
    file = path / MANIFEST
    if not file.is_file():
        if (address := remote.address_of(path)) is not None:
            raise ValueError(
                f"{address}: lies elsewhere, where this is not possible; copy the pack to a disk"
            )
        if not path.is_dir():
            what = "is a file" if path.exists() else "no such folder"
            raise ValueError(f"{path}: {what}; expected a pack, as `auricle pack` writes it")
        if (path / JOURNAL).is_dir():
            raise ValueError(
                f"{path}: packing was not finished; the same `auricle pack` again goes on where it was"
            )
        raise ValueError(f"{path}: not a pack: {MANIFEST} is missing; `auricle pack SOURCE OUT` makes one")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        found, _ = manifest["format"], [manifest[key] for key in ("rate", "files", "label_sets")]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: damaged ({error}); {REMEDY}") from None
    if found != FORMAT:
        raise ValueError(f"{file}: format {found}, this version of auricle reads {FORMAT}; update auricle")
    return manifest


def find_damage(path: Path, manifest: Mapping[str, Any], *, read: bool, address: str = "") -> list[str]:
    """A line for each file of a pack that is missing or damaged: its name, the cause, what to do.

    Args:
        path: the pack's folder.
        manifest: its manifest.
        read: read everything and compare checksums; otherwise sizes alone are compared.
        address: of a pack elsewhere, whose shards are looked at there; `path` has its tables.
    """
    facts = {file: (size, checksum) for file, size, checksum in _shards(path, manifest)}
    for part in (manifest, *manifest["label_sets"].values(), *manifest.get("subsets", {}).values()):
        sizes = part.get("sizes", {})
        facts |= {name: (sizes.get(name), checksum) for name, checksum in part["files"].items()}
    there = remote.list_files(address) if address else {}
    found = []
    for name, (size, checksum) in facts.items():
        file = path / name
        if address:
            length = there[name].size if name in there else None
        else:
            length = file.stat().st_size if file.is_file() else None
        if length is None:
            found.append(f"{name}: missing; {REMEDY}")
        elif size is not None and length != size:
            found.append(f"{name}: damaged (it has {length} bytes of {size}); {REMEDY}")
        elif read and (remote.digest(remote.join(address, name)) if address else digest(file)) != checksum:
            found.append(f"{name}: damaged (its checksum is not the manifest's); {REMEDY}")
    return found + (list(embedding_damage(path)) if read and not address else [])


def _shards(path: Path, manifest: Mapping[str, Any]) -> Iterable[tuple[str, int, str]]:
    """File, bytes and checksum of each shard; of none where their table cannot be read."""
    import pyarrow.parquet as pq

    if SHARDS not in manifest["files"]:  # packs of before this table
        return [(shard["file"], shard["bytes"], shard["blake2b"]) for shard in manifest.get("shards", [])]
    try:
        table = pq.read_table(path / SHARDS)
    except (FileNotFoundError, ValueError):
        return []  # the table itself is one of the manifest's files: it is named
    return zip(*(table[name].to_pylist() for name in ("file", "bytes", "blake2b")), strict=True)
