"""Corpora and label formats, each turned into the same rows: `Clip`."""

from collections.abc import Callable
from pathlib import Path

from auricle.datasets.audioset import audioset, find_lists
from auricle.datasets.clips import Clip, check_ids, check_leaks
from auricle.datasets.elsewhere import TABLES, corpus_root, open_elsewhere
from auricle.datasets.esc50 import esc50, find_table, is_esc50
from auricle.datasets.folders import folders
from auricle.datasets.manifest import manifest
from auricle.datasets.sonyc_ust import find_annotations, sonyc_ust
from auricle.remote import address_of
from auricle.tables import header_of

__all__ = [
    "DATASETS",
    "Clip",
    "audioset",
    "check_ids",
    "check_leaks",
    "corpus_root",
    "esc50",
    "folders",
    "manifest",
    "open_corpus",
    "sonyc_ust",
]

DATASETS: dict[str, Callable[[str | Path], list[Clip]]] = {
    "audioset": audioset,
    "esc50": esc50,
    "folders": folders,
    "manifest": manifest,
    "sonyc_ust": sonyc_ust,
}


def open_corpus(source: str | Path, media: str | Path | None = None) -> tuple[str, list[Clip]]:
    """The clips of a source, whatever it is.

    A folder is read as folders named by class, a CSV, TSV or Parquet file as a manifest; ESC-50's table,
    AudioSet's lists and annotations like SONYC-UST's, or a folder that has one, are known by their columns.
    `NAME:PATH` says which reader of `DATASETS` to take.

    Args:
        source: a folder or a file, or the address of one; there, no lists and annotations.
        media: where the recordings are, for AudioSet's lists and annotations; others say it themselves.

    Returns:
        The reader's name and its clips, in the source's order.

    Raises:
        ValueError: nothing is there, it is of no known kind, or `media` is given for another source.

    >>> open_corpus("no-such-folder")
    Traceback (most recent call last):
    ValueError: no-such-folder: no such file or folder
    """
    text = str(source)
    name, _, rest = text.partition(":")
    address = address_of(rest if name in DATASETS else text)
    if address is not None:
        if media is not None:
            raise ValueError(
                f"{address}: a folder of media is for lists and annotations of this machine's disk"
            )
        return open_elsewhere(address, name if name in DATASETS else None)
    if name in DATASETS and rest and not Path(text).exists():
        return name, _read(name, rest, media)
    path = Path(source)
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    name = _kind(path)
    return name, _read(name, path, media)


def _read(name: str, path: str | Path, media: str | Path | None) -> list[Clip]:
    if name == "audioset":
        return audioset(path, media)
    if name == "sonyc_ust":
        return sonyc_ust(path, media)
    if media is not None:
        raise ValueError(
            f"{path}: was taken for {name}, and a folder of media is for AudioSet's lists and annotations; "
            "leave it out"
        )
    return DATASETS[name](path)


def _kind(path: Path) -> str:
    if find_lists(path):
        return "audioset"
    if find_annotations(path) is not None:
        return "sonyc_ust"
    table = find_table(path) if path.is_dir() else path
    suffix = table.suffix.lower()
    if table.is_file() and suffix == ".csv":
        if is_esc50(header_of(table)):
            return "esc50"
    if path.is_dir():
        return "folders"
    if suffix not in TABLES:
        raise ValueError(
            f"{path}: unknown kind of source, suffix {suffix!r}; expected folders named by class, or "
            f"a table: {', '.join(TABLES)}"
        )
    return "manifest"
