"""A folder of recordings in folders named by class: CLASS/recording.wav, or SPLIT/CLASS/recording.wav."""

from collections.abc import Callable, Sequence
from pathlib import Path

from auricle.datasets.clips import Clip
from auricle.media_files import walk_media
from auricle.text import counted

SPLITS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation"}
SPLITS |= {"val": "validation", "dev": "validation", "test": "test", "testing": "test", "eval": "test"}


def folders(path: str | Path) -> list[Clip]:
    """Clips of a folder whose sub-folders are named by class, ordered by path.

    Where every top-level folder with recordings is named train, validation or test, these are the splits and
    the classes are one level below; otherwise the split is "". Folders below the class do not matter. Each
    file is a group of its own: recordings cut into several files need a manifest with a column `group`.
    Hidden files and folders are left out, links to folders are followed. A folder that cannot be read is an
    error: a corpus that lacks a part of itself without a word would be worse.

    Args:
        path: the folder.

    Raises:
        ValueError: no folder, no media files, files that lie outside any class folder, or a folder that
            cannot be read.

    >>> folders("no-such-folder")
    Traceback (most recent call last):
    ValueError: no-such-folder: not a folder
    """
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"{root}: not a folder")
    files, unreadable = walk_media(root)
    if unreadable:
        folder, cause = unreadable[0]
        more = f" and {len(unreadable) - 1} more folders" if len(unreadable) > 1 else ""
        raise ValueError(
            f"{folder}: {cause}{more}; a pack would lack what is in there: make it readable, or move it away"
        )
    found = [file.relative_to(root).parts for file in files]
    return clips_of(root, found, lambda parts: str(root.joinpath(*parts)))


def clips_of(
    root: str | Path, found: Sequence[tuple[str, ...]], place: Callable[[tuple[str, ...]], str]
) -> list[Clip]:
    """Clips of recordings, by the names of the folders that they lie in: as `folders`.

    Args:
        root: what messages name.
        found: parts of each recording's path, from the root.
        place: parts -> the path that opens it.

    >>> clips_of("birds", [("owl", "a.wav")], lambda parts: "/".join(("birds", *parts)))[0].labels
    ('owl',)
    """
    found = sorted(found)
    if not found:
        raise ValueError(f"{root}: no media files in this folder or below it")
    tops = {parts[0] for parts in found if len(parts) > 1}
    by_split = bool(tops) and all(top.lower() in SPLITS for top in tops)
    depth = 2 if by_split else 1
    stray = [parts for parts in found if len(parts) <= depth]
    if stray:
        shape = "SPLIT/CLASS/FILE" if by_split else "CLASS/FILE"
        raise ValueError(
            f"{root}: {counted(len(stray), 'file')} in no class folder, e.g. {'/'.join(stray[0])}; "
            f"expected {shape}: move them, or describe the recordings in a CSV manifest"
        )
    return [
        Clip(
            id="/".join(parts),
            path=place(parts),
            labels=(parts[depth - 1],),
            split=SPLITS[parts[0].lower()] if by_split else "",
            group="/".join(parts),
        )
        for parts in found
    ]
