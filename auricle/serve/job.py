"""One piece of work of the service: its state, its progress, who waits for it, what a restart needs."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

UNFINISHED = ("queued", "running", "interrupted")
STATES = ("queued", "running", "done", "failed", "cancelled", "interrupted")
SAVED = "id kind arguments name files keep known created finished attempts state error status".split()
SAVED += ["result", "warnings", "heard", "duration"]


class Ended(Exception):
    """A job is not wanted any more, or took too long: what works on it stops."""


@dataclass(kw_only=True, eq=False)
class Job:
    """One piece of work.

    Args:
        id: that nobody guesses.
        kind: which of the queue's kinds works on it.
        arguments: what that needs, fit for JSON: a restart hands them out again.
        name: of the recording, for people.
        files: below the folder of data, removed once the job has ended.
        folder: its own, removed once it is forgotten.
        keep: whether it is kept for a while once it has ended.
        known: whether somebody knows its id; if nobody does, a restart forgets it.
        created: Unix time.
    """

    id: str
    kind: str
    arguments: dict[str, Any]
    name: str = ""
    files: tuple[str, ...] = ()
    folder: Path
    keep: bool = True
    known: bool = True
    created: float = field(default_factory=time.time)
    finished: float | None = None
    attempts: int = 0
    state: str = "queued"
    error: str | None = None
    status: int = 200  # that an error is told with
    result: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    heard: float = 0.0  # seconds of sound
    duration: float | None = None  # seconds of sound, where it is known
    stop: threading.Event = field(default_factory=threading.Event)
    ending: str = ""  # why `stop` is set: "cancelled", "interrupted", or an error
    _began: float | None = None
    _waiting: list[Callable[[], object]] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    def hear(self, seconds: float) -> None:
        """Note how much was heard.

        Raises:
            Ended: as `check`.
        """
        self.heard = seconds
        self.check()

    def check(self) -> None:
        """Go on only where it makes sense; to be called now and then.

        Raises:
            Ended: the job was cancelled, took too long, or the service ends.
        """
        if self.stop.is_set():
            raise Ended(self.ending)

    @property
    def unfinished(self) -> bool:
        """Whether its result may still come."""
        return self.state in UNFINISHED

    @property
    def progress(self) -> dict[str, float | None]:
        """Seconds heard, of how many, how many times as fast as the sound lasts, seconds left."""
        elapsed = 0.0 if self._began is None else time.monotonic() - self._began
        speed = self.heard / elapsed if elapsed > 0 and self.heard > 0 else None
        left = None
        if speed and self.duration is not None:
            left = round(max(0.0, self.duration - self.heard) / speed, 1)
        return {
            "heard": round(self.heard, 3),
            "duration": None if self.duration is None else round(self.duration, 3),
            "speed": None if speed is None else round(speed, 1),
            "left": left,
        }

    def about(self) -> dict[str, Any]:
        """What clients are told."""
        return {
            "job": self.id,
            "state": self.state,
            "name": self.name,
            "created": stamp(self.created),
            "finished": None if self.finished is None else stamp(self.finished),
            "progress": self.progress,
            "error": self.error,
            "warnings": list(self.warnings),
        }

    async def wait(self, seconds: float) -> bool:
        """Wait for the job's end, at most so long; whether it has ended."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def tell() -> None:
            loop.call_soon_threadsafe(ended.set)

        with self._lock:
            if self.state not in ("queued", "running"):
                return True
            self._waiting.append(tell)
        try:
            await asyncio.wait_for(ended.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            with self._lock:
                if tell in self._waiting:
                    self._waiting.remove(tell)
        return True

    def end(self, why: str) -> None:
        """Have whatever works on it stop; the first reason counts."""
        with self._lock:
            self.ending = self.ending or why
            self.stop.set()

    def settle(self, state: str) -> None:
        """Note how it ended, and wake who waits for it."""
        with self._lock:
            self.state = state
            self.finished = None if state == "interrupted" else time.time()
            waiting, self._waiting = self._waiting, []
        for tell in waiting:
            try:
                tell()
            except RuntimeError:  # their event loop has ended
                continue

    def save(self) -> None:
        """Write what a restart needs to know; whole or not at all."""
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            new = self.folder / "job.json.new"
            new.write_text(json.dumps({name: getattr(self, name) for name in SAVED}), encoding="ascii")
            new.replace(self.folder / "job.json")


def stamp(seconds: float) -> str:
    """Unix time as ISO 8601.

    >>> stamp(0)
    '1970-01-01T00:00:00Z'
    """
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
