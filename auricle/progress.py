"""Progress of long work, on standard error: a bar with the time left on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any, Self

LINE_EVERY_SECONDS = 30.0


class Progress:
    """Counts units of work done and says how long the rest will take.

    Args:
        total: number of units in all; None where it is not known.
        label: what is being done, e.g. "packing".
        unit: plural name of what is counted.
        quiet: print nothing.

    >>> with Progress(2, "packing", quiet=True) as progress:
    ...     progress.advance()
    ...     progress.done
    1
    """

    def __init__(self, total: int | None, label: str, unit: str = "files", *, quiet: bool = False):
        self.total, self.label, self.unit, self.quiet = total, label, unit, quiet
        self.done = 0
        self._offset = 0
        self._started = self._last_line = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            count = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(self.unit),
            )
            rest = (TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
            self._bar = Bar(*count, *rest, console=Console(stderr=True))
            self._task = self._bar.add_task(self.label, total=self.total, note="")
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self.quiet:
            self._line()

    def resume_at(self, done: int) -> None:
        """Count `done` units as finished earlier: they do not enter the estimate."""
        self.done = self._offset = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more units as done; `note` (a loss, a rate) stands beside the bar."""
        self.done += count
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=note)
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
        text = f"{self.label}: {self.done}"
        if self.total is not None:
            text += f"/{self.total}"
        text += f" {self.unit}, {format_seconds(elapsed)}"
        finished = self.done - self._offset
        if self.total is not None and finished and self.done < self.total:
            text += f", {format_seconds(elapsed / finished * (self.total - self.done))} left"
        print(text + (f"; {note}" if note else ""), file=sys.stderr, flush=True)


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
