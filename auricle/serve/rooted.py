"""Recordings below a folder, by a path that a stranger gives: opened so that nothing else can be had.

Every component is opened by itself, below the one before it, and never through a link: no way of writing the
path, and no swapping of folders meanwhile, leads out of the root. What was opened is handed on, not its path.
"""

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from auricle.serve.errors import Refused
from auricle.text import for_terminal

SHOWN = 200  # characters of a path in an error
FOLDER = os.O_DIRECTORY | os.O_CLOEXEC
STEP = FOLDER | os.O_NOFOLLOW | getattr(os, "O_PATH", os.O_RDONLY)
LAST = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO would wait
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL}


@dataclass
class Rooted:
    """A file below the root, open for reading; to be closed, or used in a `with`.

    Args:
        descriptor: of the file.
        name: the path as it was asked for.
        size: bytes.
    """

    descriptor: int
    name: str
    size: int

    def __enter__(self) -> "Rooted":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; once is enough."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def open_under(root: Path, relative: str) -> Rooted:
    """A regular file below a folder.

    Args:
        root: the folder.
        relative: the path from there, with "/" between its components.

    Raises:
        Refused: 404 where there is none, 403 where the path is none below the root, leads over a link, or to
            something that is no regular file.
    """
    shown = for_terminal(relative)[:SHOWN]
    if relative.startswith("/") or "\0" in relative or ".." in relative.split("/"):
        text = f"path {shown!r}: leaves the root; give one that goes down from it, without '..'"
        raise Refused(403, text)
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if not parts:
        raise Refused(403, f"path {shown!r}: names no file; give the path of a recording below the root")
    try:
        with contextlib.ExitStack() as stack:
            folder = os.open(root, FOLDER)
            stack.callback(os.close, folder)
            for part in parts[:-1]:
                _refuse_link(part, folder, shown)
                folder = os.open(part, STEP, dir_fd=folder)
                stack.callback(os.close, folder)
            return _last(parts[-1], folder, relative, shown)
    except OSError as error:
        if error.errno in ABSENT:
            raise Refused(404, f"path {shown!r}: there is no such file below the root; check it") from None
        if error.errno == errno.ELOOP:  # it became a link since it was looked at
            raise _link(shown) from None
        cause = error.strerror or str(error)
        raise Refused(403, f"path {shown!r}: may not be read ({cause}); name another") from None
    except ValueError:  # half a pair of surrogates, which no name of a file has
        raise Refused(404, f"path {shown!r}: there is no such file below the root; check it") from None


def _last(part: str, folder: int, relative: str, shown: str) -> Rooted:
    """The file itself; looked at before it is opened, since opening a device may already do something."""
    _refuse_link(part, folder, shown)
    kind = os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode
    if not stat.S_ISREG(kind):
        raise _other(kind, shown)
    file = os.open(part, LAST, dir_fd=folder)
    try:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode):
            raise _other(facts.st_mode, shown)
        return Rooted(file, relative, facts.st_size)
    except BaseException:
        os.close(file)
        raise


def _refuse_link(part: str, folder: int, shown: str) -> None:
    if stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode):
        raise _link(shown)


def _link(shown: str) -> Refused:
    return Refused(403, f"path {shown!r}: leads over a symbolic link; give the path of the file itself")


def _other(kind: int, shown: str) -> Refused:
    what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
    return Refused(403, f"path {shown!r}: is {what}; give the path of a recording")
