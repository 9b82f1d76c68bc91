"""Progress of long work, on standard error: a bar with the time left on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any, Self

LINE_EVERY_SECONDS = 30.0
_silent = False


def silence(asked: bool = True) -> None:
    """Show no progress in this process from now on: what --quiet asks for.

    >>> silence()
    >>> with Progress(2, "packing") as progress:
    ...     progress.quiet
    True
    >>> silence(False)
    """
    global _silent
    _silent = asked


def is_silent() -> bool:
    """Whether --quiet was asked for.

    >>> is_silent()
    False
    """
    return _silent


def say(text: str) -> None:
    """Print one line about how work went, where progress is shown.

    >>> say("on standard error")
    """
    if not _silent:
        print(f"auricle: {text}", file=sys.stderr, flush=True)


class Progress:
    """Counts units of work done and says how long the rest will take.

    Args:
        total: number of units in all; None where it is not known.
        label: what is being done, e.g. "packing".
        unit: plural name of what is counted.
        quiet: print nothing.
        size: bytes of all units, where units differ: the time left then goes by bytes.

    `under_way` are the bytes and seconds of sound that are behind units which are not done yet: whoever knows
    them sets them, and the next `advance` or `hear` shows them.

    >>> with Progress(2, "packing", quiet=True) as progress:
    ...     progress.advance()
    ...     progress.done
    1
    """

    def __init__(
        self, total: int | None, label: str, unit: str = "files", *, quiet: bool = False, size: int = 0
    ):
        self.total, self.label, self.unit, self.quiet = total, label, unit, quiet or _silent
        self.done = 0
        self.heard = 0.0  # seconds of sound
        self.under_way = 0.0, 0.0
        self._offset = 0
        self._size, self._size_done, self._size_offset = max(size, 0), 0, 0
        self._started = self._last_line = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            count = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[count]}"),
            )
            rest = (TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
            self._bar = Bar(*count, *rest, console=Console(stderr=True))
            whole = self._size or self.total
            self._task = self._bar.add_task(self.label, total=whole, count=self._count(), note="")
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def end(self) -> None:
        """Show no more from now on; a second time it does nothing."""
        if self._bar is not None:
            self._bar.stop()
        elif not self.quiet:
            self._line()
        self.quiet, self._bar = True, None

    def resume_at(self, done: int, size: int = 0) -> None:
        """Count `done` units, of `size` bytes, as finished earlier: they do not enter the estimate."""
        self.done = self._offset = done
        self._size_done = self._size_offset = size
        if self._bar is not None:
            completed = size if self._size else done
            self._bar.reset(self._task, completed=completed, count=self._count(), note="")

    def advance(self, count: int = 1, note: str = "", *, size: int = 0, seconds: float = 0.0) -> None:
        """Count `count` more units as done, of `size` bytes and `seconds` of sound.

        `note` (a loss, a rate) stands beside the bar.
        """
        self.done += count
        self._size_done += max(size, 0)
        self.hear(seconds, note)

    def hear(self, seconds: float, note: str = "") -> None:
        """Count `seconds` more of sound as heard."""
        self.heard += seconds
        if self.quiet:
            return
        note = "; ".join(filter(None, [self._speed(), note]))
        if self._bar is not None:
            completed = self._size_done + self.under_way[0] if self._size else self.done
            self._bar.update(self._task, completed=completed, count=self._count(), note=note)
        elif time.monotonic() - self._last_line > LINE_EVERY_SECONDS:
            self._line(note)

    def note(self, text: str) -> None:
        """Print one line without disturbing the bar."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _line(self, note: str = "") -> None:
        self._last_line = time.monotonic()
        elapsed = self._last_line - self._started
        text = f"{self.label}: {self._count()}, {format_seconds(elapsed)}"
        done: float = self.done
        whole, before = self.total, self._offset
        if self._size:
            done, whole, before = self._size_done + self.under_way[0], self._size, self._size_offset
        if whole is not None and before < done < whole:
            text += f", {format_seconds(elapsed / (done - before) * (whole - done))} left"
        note = note or self._speed()
        print(text + (f"; {note}" if note else ""), file=sys.stderr, flush=True)

    def _count(self) -> str:
        return f"{self.done}{'' if self.total is None else f'/{self.total}'} {self.unit}"

    def _speed(self) -> str:
        """Sound heard, and how many times as fast as it was played."""
        elapsed, heard = time.monotonic() - self._started, self.heard + self.under_way[1]
        if not heard or not elapsed:
            return ""
        rate = heard / elapsed
        return f"{format_seconds(heard)} of sound, {rate:,.{int(rate < 10)}f} times real time"


def format_seconds(seconds: float) -> str:
    """A duration as people read it.

    >>> format_seconds(3.21), format_seconds(75), format_seconds(7265)
    ('3.2 s', '1 min 15 s', '2 h 01 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
