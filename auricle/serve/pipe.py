"""Bytes from the event loop to a thread that reads them as a file: at most so many wait."""

import asyncio
import contextlib
import threading
import time
from collections import deque

WAITING_BYTES = 1 << 20
PIECE_BYTES = 64  # that a piece weighs beside its own bytes, so that many tiny ones are not free
MOMENT_SECONDS = 0.02  # arrivals are noted no finer than that
ARRIVALS = 5_000  # that are remembered: those of 100 s


class Pipe:
    """What a WebSocket hears, for `auricle.audio.blocks`: `read` waits for what comes, like that of a pipe.

    Args:
        loop: that `write` is called in.
        name: of the recording, in results and errors.
        rate: bytes of a second of sound.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, rate: int):
        self.name, self.rate = name, rate
        self.came = 0  # bytes so far
        self._loop = loop
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._changed = threading.Condition()
        self._room = asyncio.Event()
        self._arrivals: deque[tuple[float, float]] = deque(maxlen=ARRIVALS)  # (seconds of sound, when)

    async def write(self, data: bytes) -> None:
        """Hand on what came; waits until there is room for more."""
        with self._changed:
            self._pieces.append(data)
            self._held += len(data) + PIECE_BYTES
            self.came += len(data)
            self._note_arrival(time.monotonic())
            self._changed.notify()
        while self._held >= WAITING_BYTES and not self._ended:
            self._room.clear()
            if self._held >= WAITING_BYTES:  # else it was read meanwhile
                await self._room.wait()

    def end(self, *, drop: bool = False) -> None:
        """No more comes; with `drop`, what waits is not wanted either."""
        with self._changed:
            self._ended = True
            if drop:
                self._pieces.clear()
            self._changed.notify()
        self._room.set()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, of what is there, in another thread; none at the end."""
        with self._changed:
            while not self._pieces and not self._ended:
                self._changed.wait()
            if not self._pieces:
                return b""
            data = self._pieces.popleft()
            self._held -= len(data) + PIECE_BYTES
            if len(data) > size:
                self._pieces.appendleft(data[size:])
                self._held += len(data) - size + PIECE_BYTES
                data = data[:size]
        if self._held < WAITING_BYTES:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._room.set)
        return data

    def age(self, seconds: float) -> float | None:
        """How long ago the sound up to `seconds` was there; asked for later and later ones."""
        with self._changed:
            while self._arrivals and self._arrivals[0][0] < seconds:
                self._arrivals.popleft()
            return time.monotonic() - self._arrivals[0][1] if self._arrivals else None

    def _note_arrival(self, now: float) -> None:
        if self._arrivals and now - self._arrivals[-1][1] < MOMENT_SECONDS:
            now = self._arrivals.pop()[1]
        self._arrivals.append((self.came / self.rate, now))
