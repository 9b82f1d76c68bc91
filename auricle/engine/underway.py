"""How far work is inside what is not done yet: workers note it, and the process that waits for them shows it.

A recording of a whole day is one file of a job, and one entry of its journal. So that progress moves inside
it, a worker notes about once a second how many bytes and seconds of its task are behind it, in a file of a
temporary folder of the process that waits. On another machine that folder is not there, and nothing is noted.
"""

import contextlib
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from auricle.listening import Heard, part_heard
from auricle.progress import Progress

EVERY_SECONDS = 1.0


class Watch:
    """Shows on a `Progress` what workers note, until each of their tasks is done."""

    def __init__(self, progress: Progress, folder: str):
        self.progress, self.folder = progress, folder
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def finished(self, key: str) -> Iterator[None]:
        """While a task is counted as done, which was under way until now: never as both, never as neither."""
        with self._lock:
            if self.folder:
                Path(self.folder, key).unlink(missing_ok=True)
                self.progress.under_way = _noted(self.folder)
            yield

    def look(self) -> None:
        """Show what is noted now."""
        with self._lock:
            self.progress.under_way = _noted(self.folder)
            self.progress.hear(0.0)


@contextlib.contextmanager
def watched(progress: Progress) -> Iterator[Watch]:
    """A folder for notes, which are shown as they change; `folder` is "" where no progress is shown.

    >>> with watched(Progress(1, "tagging", quiet=True)) as watch:
    ...     watch.folder
    ''
    """
    if progress.quiet:
        yield Watch(progress, "")
        return
    ended = threading.Event()
    with tempfile.TemporaryDirectory(prefix="auricle-", ignore_cleanup_errors=True) as folder:
        watch = Watch(progress, folder)

        def look() -> None:
            while not ended.wait(EVERY_SECONDS):
                watch.look()

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield watch
        finally:
            ended.set()
            thread.join()


_notes: "_Notes | None" = None  # of the task that this process works on


@contextlib.contextmanager
def noting(folder: str, key: str) -> Iterator[None]:
    """While this process works on a task: how far it is is noted under the task's key; in no folder, nothing.

    >>> with noting("", "00000"):
    ...     listening("day.wav")
    {}
    """
    global _notes
    _notes = _Notes(Path(folder, key)) if folder else None
    try:
        yield
    finally:
        _notes = None


def note_of(name: str) -> str:
    """The key of a task that is known by some name: a file's name on any disk.

    >>> len(note_of("/recordings/day.wav"))
    16
    """
    return hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()


def listening(path: str, **excerpt: Any) -> dict[str, Heard]:
    """Begin with the next recording of the task that this process works on.

    Args:
        path: the recording.
        excerpt: as for `part_heard`.

    Returns:
        What `follow_file` is to be given, so that it is noted how far it is; nothing where nobody looks.

    >>> listening("day.wav")
    {}
    """
    return {} if _notes is None else {"heard": _notes.begin(path, part_heard(path, **excerpt))}


class _Notes:
    """What is behind a task: its finished recordings, and the part heard of the one that it is at."""

    def __init__(self, path: Path):
        self.path = path
        self.size, self.seconds = 0, 0.0
        self.now_size, self.now_seconds = 0, 0.0
        self.written = time.monotonic()

    def begin(self, recording: str, part: Callable[[float], float]) -> Heard:
        self.size, self.seconds = self.size + self.now_size, self.seconds + self.now_seconds
        self.now_size, self.now_seconds = _bytes_of(recording), 0.0

        def hear(seconds: float) -> None:
            self.now_seconds = seconds
            if (now := time.monotonic()) - self.written >= EVERY_SECONDS:
                self.written = now
                self.write(self.size + self.now_size * part(seconds), self.seconds + seconds)

        return hear

    def write(self, size: float, seconds: float) -> None:
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):  # no such folder here, or it is gone with who looked at it
            temporary.write_text(f"{size:.0f} {seconds:.3f}", encoding="ascii")
            temporary.replace(self.path)


def _noted(folder: str) -> tuple[float, float]:
    """Bytes and seconds of all tasks under way."""
    size = seconds = 0.0
    for path in Path(folder).iterdir():
        with contextlib.suppress(OSError, ValueError):
            if path.suffix != ".tmp":
                first, second = path.read_text(encoding="ascii").split()
                size, seconds = size + float(first), seconds + float(second)
    return size, seconds


def _bytes_of(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):
        return 0
