"""A folder of recordings in folders named by class: CLASS/recording.wav, or SPLIT/CLASS/recording.wav."""

import os
from pathlib import Path

from auricle.datasets.clips import Clip

SPLITS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation"}
SPLITS |= {"val": "validation", "dev": "validation", "test": "test", "testing": "test", "eval": "test"}


def folders(path: str | Path) -> list[Clip]:
    """Clips of a folder whose sub-folders are named by class, ordered by path.

    Where every top-level folder with recordings is named train, validation or test, these are the splits and
    the classes are one level below; otherwise the split is "". Folders below the class do not matter. Each
    file is a group of its own: recordings cut into several files need a manifest with a column `group`.
    Hidden files and folders are left out.

    Args:
        path: the folder.

    Raises:
        ValueError: no folder, no media files, or files that lie outside any class folder.

    >>> folders("no-such-folder")
    Traceback (most recent call last):
    ValueError: no-such-folder: not a folder
    """
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"{root}: not a folder")
    found = _media_files(root)
    if not found:
        raise ValueError(f"{root}: no media files in this folder or below it")
    tops = {parts[0] for parts in found if len(parts) > 1}
    by_split = bool(tops) and all(top.lower() in SPLITS for top in tops)
    depth = 2 if by_split else 1
    stray = [parts for parts in found if len(parts) <= depth]
    if stray:
        shape = "SPLIT/CLASS/FILE" if by_split else "CLASS/FILE"
        raise ValueError(
            f"{root}: {len(stray)} files are in no class folder, e.g. {'/'.join(stray[0])}; "
            f"expected {shape}: move them, or describe the recordings in a CSV manifest"
        )
    return [
        Clip(
            id="/".join(parts),
            path=str(root.joinpath(*parts)),
            labels=(parts[depth - 1],),
            split=SPLITS[parts[0].lower()] if by_split else "",
            group="/".join(parts),
        )
        for parts in found
    ]


def _media_files(root: Path) -> list[tuple[str, ...]]:
    from auricle.audio import MEDIA_SUFFIXES  # brings the decoders: only when a folder is walked

    found = []
    seen: set[str] = set()
    for folder, names, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:  # a link back up, or to a folder that was walked
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if not name.startswith("."))
        inside = Path(folder).relative_to(root).parts
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in MEDIA_SUFFIXES:
                found.append((*inside, name))
    return sorted(found)
