"""Decoding of strangers' files, each in a process of its own that can harm only itself.

`decode` gives the same blocks as `auricle.audio.blocks`, to the last bit. What the process sends is checked
here as what a stranger sends; a crash, a limit or nonsense is an `AudioError` about that one file.
"""

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from auricle.audio import AudioError, Block, Info
from auricle.serve.cage import FRAME, MP3_RATES
from auricle.serve.processes import Child, Died, Limits, Stopped, close, deaths, spoken, warm
from auricle.text import for_terminal, printable

__all__ = [
    "Decoding",
    "Died",
    "Limits",
    "Stopped",
    "close",
    "deaths",
    "decode",
    "make_playable",
    "playable",
    "warm",
]

BLOCK_SECONDS = 10.0
HIGHEST_RATE = 768_000
TEXT_BYTES = 1 << 16  # of a warning, an error, or the facts from a header
LINE_CHARACTERS = 1_000
# What the library advises who has the file and a command line, and what helps who has sent it.
REMEDIES = {
    "if it is headerless PCM, say its rate, channels and sample type; otherwise convert it first": (
        "convert it to WAV, FLAC or MP3 first"
    ),
    "the header is damaged: convert it again, or read it as raw PCM": "it is damaged: convert it again",
    "name an audio or video file": "send an audio or video file",
    "name a file with sound": "send a file with sound",
    "record or copy it again": "send it again, or record it again",
    "check the disk or pipe": "send it again",
}
WARNINGS = 100  # kept of one file
NAME_CHARACTERS = 400  # of what a file is called in lines about it
ATTEMPTS = 2  # at a file whose process was lost with the fork server


@dataclass
class Decoding:
    """The blocks of one recording, as they come; see `decode`.

    Args:
        info: what the header says; None before the first block.
        warnings: what was wrong with it but could be got over; complete after the last block.
    """

    name: str
    info: Info | None = None
    warnings: list[str] = field(default_factory=list)
    _blocks: Iterator[Block] | None = None

    @property
    def duration(self) -> float | None:
        """Seconds of the whole recording by its header; None where it does not say, or is not known yet."""
        return None if self.info is None else self.info.duration

    def __iter__(self) -> Iterator[Block]:
        """The blocks, once."""
        assert self._blocks is not None
        return self._blocks


@contextlib.contextmanager
def decode(
    source: str | Path | int,
    rate: int | None,
    limits: Limits | None = None,
    *,
    start: float = 0.0,
    end: float | None = None,
    name: str | None = None,
    stop: threading.Event | None = None,
    block_seconds: float = BLOCK_SECONDS,
    work: str = "auricle.serve.cage:decode",
) -> Iterator[Decoding]:
    """A stranger's file as `auricle.audio.blocks` gives it, decoded by a process that is gone afterwards.

    Args:
        source: a path, or a descriptor that is open for reading; it is read from its beginning, by a
            description of its own where the system can open it anew, and stays open.
        rate: Hz of the blocks; None for the recording's own, which `info` tells.
        limits: what it may take.
        start: seconds from its start.
        end: seconds, where to stop.
        name: what errors and warnings call it; by default the path.
        stop: once it is set, from another thread, the process is killed.
        block_seconds: length of a block.
        work: what the process does, for tests.

    Yields:
        A `Decoding`, whose blocks can be gone through once.

    Raises:
        AudioError: the file cannot be read, or (`Died`) its process came to no good end; at the first block
            or later.
        Stopped: `stop` was set.

    >>> import numpy, soundfile, tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".wav") as file:
    ...     soundfile.write(file.name, numpy.zeros(16_000), 16_000)
    ...     with decode(file.name, 8_000) as decoded:
    ...         print([len(block.samples) for block in decoded], decoded.duration)
    [8000] 1.0
    """
    limits = limits or Limits()
    decoded = Decoding(_name(source, name))
    options = {"rate": rate, "start": start, "end": end, "block_seconds": block_seconds}
    with _open(source, decoded.name) as file:
        decoded._blocks = _blocks(work, file, decoded, options, limits, stop)
        with contextlib.closing(decoded._blocks):  # type: ignore[type-var]
            yield decoded


def _blocks(
    work: str,
    file: int,
    decoded: Decoding,
    options: dict[str, Any],
    limits: Limits,
    stop: threading.Event | None,
) -> Iterator[Block]:
    """The blocks; where the fork server is lost on the way, the rest of them by way of a new one."""
    given = -1  # samples up to here
    for attempt in range(ATTEMPTS):
        decoded.warnings.clear()
        try:
            with Child(work, file, decoded.name, options, limits) as child:
                for block in _received(child, decoded, options, limits, stop):
                    if block.start >= given:
                        given = block.start + len(block.samples)
                        yield block
            return
        except Died as died:
            if died.cause != "server" or attempt == ATTEMPTS - 1 or (stop is not None and stop.is_set()):
                raise


def make_playable(
    source: str | Path | int,
    target: Path,
    limits: Limits | None = None,
    *,
    name: str | None = None,
    stop: threading.Event | None = None,
) -> Iterator[float]:
    """Write a copy that every browser plays, an MP3 with the channels mixed, by a process as `decode`'s.

    Its times are those of the scores: gaps in the recording are silence in it.

    Args:
        source: as in `decode`.
        target: the new file; it is removed again where that fails.
        limits: as in `decode`.
        name: as in `decode`.
        stop: as in `decode`.

    Yields:
        Seconds of sound written so far.

    Raises:
        AudioError, Stopped: as `decode`.

    >>> for seconds in make_playable("old.wma", Path("new.mp3")):  # doctest: +SKIP
    ...     print(f"{seconds:.0f} s")
    """
    limits = limits or Limits()
    decoded = Decoding(_name(source, name))
    work = "auricle.serve.cage:make_playable"
    try:
        with open(target, "xb+") as copy, _open(source, decoded.name) as file:  # noqa: PTH123
            for attempt in range(ATTEMPTS):
                os.ftruncate(copy.fileno(), 0)
                os.lseek(copy.fileno(), 0, os.SEEK_SET)
                try:
                    with Child(work, file, decoded.name, {}, limits, copy.fileno()) as child:
                        yield from _written(child, decoded, limits, stop)
                    return
                except Died as died:
                    if died.cause != "server" or attempt == ATTEMPTS - 1 or (stop and stop.is_set()):
                        raise
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _written(
    child: Child, decoded: Decoding, limits: Limits, stop: threading.Event | None
) -> Iterator[float]:
    """Seconds that a process says it has written of a copy."""
    for kind, number, content in _frames(child, decoded, limits, stop):
        if kind != b"P" or content or decoded.info is None:
            raise child.died("garbage")
        child.heard = number / _copy_rate(decoded.info.rate)
        _check_length(child, limits)
        yield child.heard


def playable(info: Info) -> bool:
    """Whether today's browsers play such a file: container and codec of the sound, without its picture.

    >>> facts = {"path": "a", "rate": 8_000, "channels": 1, "duration": 1.0, "has_video": False}
    >>> playable(Info(container="wav", codec="pcm_s16le", **facts))
    True
    """
    container, codec = info.container, info.codec
    if container == "wav":
        return codec in ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le") and info.channels <= 2
    if "mp4" in container:
        return codec in ("aac", "mp3", "flac", "opus")
    if "webm" in container:
        return codec in ("opus", "vorbis")
    return (container, codec) in {
        ("mp3", "mp3"),
        ("mp3", "mp3float"),
        ("flac", "flac"),
        ("ogg", "vorbis"),
        ("ogg", "opus"),
        ("ogg", "flac"),
        ("aac", "aac"),
    }


def _name(source: str | Path | int, name: str | None) -> str:
    """What a file is called."""
    if name is None and not isinstance(source, int):
        name = printable(source)
    return (name or "upload")[:NAME_CHARACTERS]


def _received(
    child: Child, decoded: Decoding, options: dict[str, Any], limits: Limits, stop: threading.Event | None
) -> Iterator[Block]:
    """The blocks that a process sends, each at its place."""
    rate, start, end, block_seconds = (options[name] for name in ("rate", "start", "end", "block_seconds"))
    position = -1
    for kind, number, content in _frames(child, decoded, limits, stop):
        if kind != b"B" or decoded.info is None or not content or len(content) % 4:
            raise child.died("garbage")
        out_rate = decoded.info.rate if rate is None else rate
        if position < 0:
            position = round(start * out_rate)
            _check_promise(child, decoded, start, end, limits)
        samples = np.frombuffer(content, np.float32)
        if number != position or len(samples) > max(1, round(block_seconds * out_rate)):
            raise child.died("garbage")
        if not np.isfinite(samples).all():
            raise child.died("garbage")
        position += len(samples)
        child.heard += len(samples) / out_rate
        _check_length(child, limits)
        yield Block(number, samples)
    if position < 0:
        raise child.died("garbage")


def _check_promise(child: Child, decoded: Decoding, start: float, end: float | None, limits: Limits) -> None:
    """Refuse at once what its header says is too long."""
    if decoded.duration is None:
        return
    seconds = min(decoded.duration, decoded.duration if end is None else end) - start
    if seconds > limits.audio_seconds * 1.001 + 1:
        raise child.died("length", f"its header says {spoken(seconds)} of sound")


def _check_length(child: Child, limits: Limits) -> None:
    if child.heard > limits.audio_seconds * 1.001 + 1:
        raise child.died("length", "it goes on")


def _copy_rate(rate: int) -> int:
    return rate if rate in MP3_RATES else 48_000


def _frames(
    child: Child, decoded: Decoding, limits: Limits, stop: threading.Event | None
) -> Iterator[tuple[bytes, int, bytearray]]:
    """What a process sends beside facts and warnings, which are noted, until it says that it is done."""
    while True:
        child.check(stop)
        kind, number, size = FRAME.unpack(child.read(FRAME.size, stop))
        most = TEXT_BYTES if kind in b"IWE" else int(HIGHEST_RATE * BLOCK_SECONDS * 4)
        if kind not in b"IBPWED" or size > most:
            raise child.died("garbage")
        content = child.read(size, stop)
        if kind == b"D":
            return
        if kind == b"E":
            raise AudioError(for_senders(_line(content)))
        if kind == b"W":
            if len(decoded.warnings) < WARNINGS:
                decoded.warnings.append(_line(content))
        elif kind == b"I":
            decoded.info = _info(child, content, decoded.name)
        else:
            yield kind, number, content


def for_senders(line: str) -> str:
    """A line about a recording, with what can be done by who sent it.

    >>> for_senders("a.wav: is empty (0 bytes); record or copy it again")
    'a.wav: is empty (0 bytes); send it again, or record it again'
    """
    for theirs, ours in REMEDIES.items():
        if line.endswith("; " + theirs):
            return line.removesuffix(theirs) + ours
    return line


def _line(content: bytes | bytearray) -> str:
    return for_terminal(content.decode("utf-8", "replace"))[:LINE_CHARACTERS]


def _info(child: Child, content: bytearray, name: str) -> Info:
    """The facts, as far as they can be facts."""
    try:
        facts = json.loads(content)
        texts = {key: for_terminal(str(facts[key]))[:100] for key in ("container", "codec")}
        duration = None if facts["duration"] is None else float(facts["duration"])
        if duration is not None and not 0 <= duration < 1e12:
            duration = None
        rate, channels = int(facts["rate"]), int(facts["channels"])
        if not (0 < rate <= HIGHEST_RATE and 0 < channels < 1 << 16):
            raise ValueError(rate)
        return Info(
            path=name,
            rate=rate,
            channels=channels,
            duration=duration,
            has_video=bool(facts["has_video"]),
            **texts,
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise child.died("garbage") from None


@contextlib.contextmanager
def _open(source: str | Path | int, name: str) -> Iterator[int]:
    """A descriptor of its own, at the beginning of the file."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO would wait for its writer
    try:
        if isinstance(source, int):
            anew = Path(f"/proc/self/fd/{source}")
            file = os.open(anew, flags) if anew.exists() else os.dup(source)
        else:
            file = os.open(source, flags)
    except OSError as error:
        cause = error.strerror or str(error)
        raise AudioError(f"{name}: cannot be opened ({cause}); send it again, or check the path") from None
    try:
        yield file
    finally:
        os.close(file)
