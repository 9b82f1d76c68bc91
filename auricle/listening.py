"""A recording as it is read: decoded ahead in a thread, and cut into windows."""

import contextlib
import functools
import queue
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from auricle.audio import AudioError, AudioWarning, Block, Device, RawFormat, blocks, probe
from auricle.remote import address_of

BLOCKS_AHEAD = 3  # decoded blocks that may wait: enough to hide a slow read, a few MB at most
# Of a source that plays while it is heard: short blocks, of which so many seconds may wait to be scored.
LIVE_BLOCK_SECONDS, LIVE_AHEAD_SECONDS = 0.1, 10.0
LIVE_HOP_SECONDS = 1.0  # at most, so that every moment ends a window within a second
# A decoder that waits for a silent pipe cannot be interrupted: it is a daemon and dies with the process, and
# nobody waits long for it.
JOIN_SECONDS, JOIN_STDIN_SECONDS = 5.0, 0.2
HEAD_START_SECONDS = 3.0  # of sound that a pipe may hold when listening begins
DECODER = "auricle-decode"  # its thread's name
STOP_SECONDS = 0.1  # how often a wait for sound looks whether it should go on
Heard = Callable[[float], object]  # is told how many seconds of a recording were heard until now
LATE = "scoring takes longer than the sound lasts, so tags come late; a larger --hop or a faster model helps"


def source_name(source: str | Path | BinaryIO | Device) -> str:
    """What to call a source.

    >>> source_name("a.wav"), source_name("-"), source_name(Device("alsa", "default"))
    ('a.wav', '-', 'alsa:default')
    """
    return str(source) if isinstance(source, str | Path | Device) else str(getattr(source, "name", "stream"))


def part_heard(
    path: str, *, start: float = 0.0, end: float | None = None, raw: Any = None
) -> Callable[[float], float]:
    """Seconds heard of a recording -> the part that this is of what is to be heard; 0 where nobody knows.

    Its header is read as the first part is asked for.

    Args:
        path: the recording.
        start: where hearing begins, in seconds.
        end: where it ends.
        raw: as for `auricle.audio.probe`.

    >>> part_heard("no-such-file")(1.0)
    0.0
    """

    @functools.cache
    def whole() -> float:
        if path == "-" or address_of(path) is not None:
            return 0.0
        try:
            ends = [value for value in (probe(path, raw=raw).duration, end) if value is not None]
        except Exception:  # what is wrong with it is said by whoever listens to it
            return 0.0
        return min(ends) - start if ends else 0.0

    return lambda seconds: min(seconds / whole(), 1.0) if whole() > 0 else 0.0


def seconds_of(value: float) -> float:
    """Seconds to the microsecond, however far into a recording: a sample is 62 of them, or fewer.

    >>> seconds_of(16001 / 16000)
    1.000063
    """
    return round(float(value), 6)


def cut(
    decoded: Iterator[Block], window: int, hop: int
) -> Iterator[tuple[np.ndarray, int, int, bool] | None]:
    """Blocks -> windows (samples, start, stop, on the grid?), as `window_starts` with tail "align".

    None stands after those of a block.

    >>> blocks = iter([Block(0, np.zeros(5, np.float32))])
    >>> [None if piece is None else piece[1:] for piece in cut(blocks, 2, 2)]
    [(0, 2, True), (2, 4, True), None, (3, 5, False)]
    """
    kept = np.empty(0, np.float32)  # what a later window may still need, up to sample `heard`
    first = heard = following = -1
    for block in decoded:
        if first < 0:
            first = heard = following = block.start
        kept = np.concatenate([kept, block.samples])
        heard += len(block.samples)
        base = heard - len(kept)
        while following + window <= heard:
            yield kept[following - base : following - base + window], following, following + window, True
            following += hop
        kept = kept[-window:]  # a later window may begin in it, or the last be aligned to the end
        yield None
    if heard == first:
        return
    if heard - first < window:
        yield kept, first, heard, True
    elif (heard - window - first) % hop:
        yield kept[-window:], heard - window, heard, False


def never_empty(decoded: Iterator[Block], name: str) -> Generator[Block, None, None]:
    """The same blocks; AudioError where they end and none had a sample.

    >>> list(never_empty(iter([]), "a.wav"))
    Traceback (most recent call last):
    auricle.audio.types.AudioError: a.wav: no sound was heard; nothing to tag
    """
    empty = True
    for block in decoded:
        empty = empty and not len(block.samples)
        yield block
    if empty:
        raise AudioError(f"{name}: no sound was heard; nothing to tag")


def decoded_ahead(
    ready: "queue.Queue[Block | BaseException | None]",
    source: str | Path | BinaryIO | Device,
    rate: int,
    *,
    start: float,
    end: float | None,
    raw: RawFormat | None,
    warn: Callable[[str], None] | None,
    live: bool,
    stop: threading.Event | None,
) -> Generator[Block, None, None]:
    """`blocks`, decoded ahead in a thread that ends with this generator, and never without a sample.

    >>> waiting = queue.Queue(BLOCKS_AHEAD)
    >>> how = {"start": 0.0, "end": None, "raw": None, "warn": None, "live": False, "stop": None}
    >>> for block in decoded_ahead(waiting, "dog.wav", 16000, **how):  # doctest: +SKIP
    ...     print(block.start)
    """
    warned: queue.SimpleQueue[str] = queue.SimpleQueue()
    stopped, told_late, began = threading.Event(), list[bool](), time.monotonic()
    place: dict[str, Any] = {"start": start, "end": end, "raw": raw}
    if live:
        place["block_seconds"] = LIVE_BLOCK_SECONDS

    def late(item: object) -> bool:
        """Whether it is the sound that is waited for, and not its source that is faster than sound."""
        elapsed = time.monotonic() - began
        return isinstance(item, Block) and item.start / rate - start < elapsed + HEAD_START_SECONDS

    def put(item: Block | BaseException | None) -> None:
        if live and ready.full() and not told_late and late(item):
            told_late.append(True)
            warned.put(f"{source_name(source)}: {LATE}")
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def decode() -> None:
        last: BaseException | None = None
        try:
            for block in blocks(source, rate, **place, warn=warned.put):
                put(block)
                if stopped.is_set():
                    break
        except BaseException as error:  # whatever it is, the caller's thread is the one to hear of it
            last = error
        put(last)

    def following() -> Block | BaseException | None:
        if stop is None:
            return ready.get()
        while True:
            with contextlib.suppress(queue.Empty):
                if not stop.is_set():
                    return ready.get(timeout=STOP_SECONDS)
                stopped.set()  # what waits is still scored, and no more comes
                return ready.get_nowait()
            if stopped.is_set():
                return None

    def tell() -> None:
        while not warned.empty():
            message = warned.get()
            warnings.warn(message, AudioWarning, stacklevel=4) if warn is None else warn(message)

    thread = threading.Thread(target=decode, name=DECODER, daemon=True)
    thread.start()
    empty, patience = True, JOIN_STDIN_SECONDS if live or source == "-" else JOIN_SECONDS
    try:
        while (item := following()) is not None:
            tell()
            if isinstance(item, BaseException):
                raise item
            empty = empty and not len(item.samples)
            yield item
        tell()
    except KeyboardInterrupt:
        patience = min(patience, 0.5)
        raise
    finally:
        stopped.set()
        thread.join(patience)
    if empty and stop is not None and stop.is_set():
        raise AudioError(f"{source_name(source)}: was stopped before anything was heard")
    if empty:
        upto = "its end" if end is None else f"{end:g} s"
        raise AudioError(f"{source_name(source)}: no sound between {start:g} s and {upto}; nothing to tag")
