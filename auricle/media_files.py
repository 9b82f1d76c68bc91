"""Paths, folders to any depth and globs -> media files, and what of them could not be read."""

import glob
import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from auricle import remote

GONE = (FileNotFoundError, NotADirectoryError)


def find_media(paths: Iterable[str | Path]) -> list[tuple[str, str | None]]:
    """The files that paths stand for.

    Args:
        paths: files, folders (searched as `walk_media` does), globs that no shell has expanded, "-" for
            standard input; and addresses of files, folders and globs elsewhere.

    Returns:
        (file, None) for every file, once, and (path, what is wrong) for what stands for none and for every
        folder that cannot be read; in the order of `paths`, a folder's files sorted.

    >>> find_media(["-", "no-such-folder/"])
    [('-', None), ('no-such-folder/', 'no-such-folder/: no such file or folder')]
    """
    found: dict[str, str | None] = {}
    for text in map(str, paths):
        files, problems = _expanded(text)
        for file in files:
            found.setdefault(file, None)
        for path, problem in problems:
            found.setdefault(path, f"{path}: {problem}" if path else problem)
    return list(found.items())


def walk_media(folder: str | Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """The media files in a folder, to any depth.

    Files are known by suffix. Hidden files and folders are left out, and so are pipes and sockets. Links to
    folders are followed; a folder that is reached twice is read once.

    Returns:
        (files, sorted), and (folder, what is wrong) for every folder that cannot be read.

    >>> walk_media("no-such-folder")
    ([], [('no-such-folder', 'No such file or directory')])
    """
    from auricle.audio import MEDIA_SUFFIXES  # brings the decoders: only when a folder is walked

    found: list[Path] = []
    failed: list[OSError] = []
    seen: set[str] = set()
    for here, names, files in os.walk(str(folder), followlinks=True, onerror=failed.append):
        if (real := os.path.realpath(here)) in seen:  # a link back up, or to a folder that was walked
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if not name.startswith("."))
        # Hidden: macOS leaves "._take.wav" beside "take.wav" on foreign disks; it is no recording.
        paths = (Path(here, name) for name in files if not name.startswith("."))
        found += (path for path in paths if path.suffix.lower() in MEDIA_SUFFIXES and _may_be_read(path))
    return sorted(found), sorted((str(error.filename), error.strerror or str(error)) for error in failed)


def media_below(address: str) -> list[str]:
    """The media files in a folder elsewhere, by their path from there, to any depth, sorted; none hidden.

    >>> media_below("s3://bucket/night")  # doctest: +SKIP
    ['a.flac', 'deep/b.wav']
    """
    from auricle.audio import MEDIA_SUFFIXES

    return [
        name
        for name in remote.list_files(address)
        if PurePosixPath(name).suffix.lower() in MEDIA_SUFFIXES
        and not any(part.startswith(".") for part in name.split("/"))
    ]


def _expanded_elsewhere(address: str) -> tuple[list[str], list[tuple[str, str]]]:
    try:
        if remote.look_up(address) is not None:
            return [address], []
        if glob.has_magic(address):
            files = remote.match(address)
            return files, [] if files else [(address, "no file matches")]
        files = [remote.join(address, name) for name in media_below(address)]
        if files:
            return files, []
        empty = "no media files in this folder (known by suffix: .wav, .mp3, .mp4 ...)"
        return [], [(address, empty if remote.is_folder(address) else "no such file or folder")]
    except OSError as error:
        return [], [(address, error.strerror or str(error))]


def _expanded(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    if text == "-":
        return [text], []
    if not text:  # Path("") would be the current folder
        return [], [("", "a path is empty; name a file or a folder, say . for this one")]
    if (address := remote.address_of(text)) is not None:
        return _expanded_elsewhere(address)
    try:
        mode = Path(text).stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a null byte
        if glob.has_magic(text):
            matches = glob.glob(text, recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
            files = sorted(match for match in matches if _may_be_read(Path(match)))
            return files, [] if files else [(text, "no file matches")]
        cause = getattr(error, "strerror", None) or str(error)
        return [], [(text, "no such file or folder" if isinstance(error, GONE) else cause)]
    if not stat.S_ISDIR(mode):
        return [text], []
    walked, problems = walk_media(text)
    if not walked and not problems:
        problems = [(text, "no media files in this folder (known by suffix: .wav, .mp3, .mp4 ...)")]
    return [str(path) for path in walked], problems


def _may_be_read(path: Path) -> bool:
    """Not a folder, a pipe or a socket; what cannot be looked at is tried and named when it is opened."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True
