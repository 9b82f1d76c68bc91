"""A corpus elsewhere: its table is fetched, or its folder listed; clips name their recordings by address."""

import dataclasses
import os
import tempfile
from pathlib import Path, PurePosixPath

from auricle import remote
from auricle.datasets.clips import Clip
from auricle.datasets.esc50 import TABLES as ESC50_TABLES
from auricle.datasets.esc50 import esc50, is_esc50
from auricle.datasets.folders import clips_of
from auricle.datasets.manifest import manifest
from auricle.media_files import media_below
from auricle.tables import header_of

TABLES = (".csv", ".tsv", ".txt", ".parquet")
READERS = ("esc50", "folders", "manifest")


def open_elsewhere(address: str, kind: str | None = None) -> tuple[str, list[Clip]]:
    """The clips of a folder named by class, of a manifest or of ESC-50's table, by address.

    Args:
        address: of a folder or a table.
        kind: the reader; None finds out which.

    Returns:
        The reader's name and its clips, in the source's order.

    Raises:
        ValueError: nothing is there, or it is for a reader that looks for recordings itself.

    >>> open_elsewhere("s3://bucket/lists", "audioset")
    Traceback (most recent call last):
    ValueError: s3://bucket/lists: audioset reads from a disk of this machine only; elsewhere there may be ...
    """
    if kind is not None and kind not in READERS:
        raise ValueError(
            f"{address}: {kind} reads from a disk of this machine only; elsewhere there may be folders "
            "named by class, a manifest whose paths are addresses or relative to it, or ESC-50"
        )
    suffix = PurePosixPath(remote.name_of(address)).suffix.lower()
    if remote.look_up(address) is None:
        if not remote.is_folder(address):
            raise ValueError(f"{address}: no such file or folder")
        inside = _has_esc50(address) if kind in (None, "esc50") else None
        if inside is not None and (kind == "esc50" or open_elsewhere(inside)[0] == "esc50"):
            return "esc50", _esc50(inside)
        if kind not in (None, "folders"):
            raise ValueError(f"{address}: is a folder; {kind} reads a table: name it")
        found = [tuple(name.split("/")) for name in media_below(address)]
        return "folders", clips_of(address, found, lambda parts: remote.join(address, *parts))
    if suffix not in TABLES:
        raise ValueError(
            f"{address}: unknown kind of source, suffix {suffix!r}; expected {', '.join(TABLES)}"
        )
    with tempfile.TemporaryDirectory(prefix="auricle-") as folder:
        table = Path(folder, remote.name_of(address))
        remote.get(address, table)
        if kind == "esc50" or (kind is None and _is_esc50(table)):
            return "esc50", _esc50(address)
        return "manifest", _with_address(table, address)


def corpus_root(name: str, address: str) -> str:
    """What the paths of a pack's clips begin in: the corpus's folder, or that of its table.

    >>> corpus_root("manifest", "s3://bucket/birds/meta.csv")
    's3://bucket/birds'
    """
    is_table = PurePosixPath(remote.name_of(address)).suffix.lower() in TABLES
    return remote.parent(address) if is_table else address


def _with_address(table: Path, address: str) -> list[Clip]:
    try:
        return manifest(table, root=remote.parent(address))
    except ValueError as error:
        raise ValueError(str(error).replace(str(table), address)) from None


def _is_esc50(table: Path) -> bool:
    return table.suffix.lower() == ".csv" and is_esc50(header_of(table))


def _esc50(address: str) -> list[Clip]:
    """By its table, which may look for recordings beside its own folder."""
    with tempfile.TemporaryDirectory(prefix="auricle-") as folder:
        table = Path(folder).resolve() / "meta" / remote.name_of(address)
        remote.get(address, table)
        try:
            clips = esc50(table)
        except ValueError as error:
            raise ValueError(str(error).replace(str(table), address)) from None
    here = remote.parent(address)
    return [
        dataclasses.replace(
            clip, path=remote.join(here, Path(os.path.relpath(clip.path, table.parent)).as_posix())
        )
        for clip in clips
    ]


def _has_esc50(address: str) -> str | None:
    """The address of ESC-50's table in a folder, if it is there."""
    for name in ESC50_TABLES:
        table = remote.join(address, name)
        if remote.look_up(table) is not None:
            return table
    return None
