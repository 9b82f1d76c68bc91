"""Decoding of strangers' files, each in a process of its own that can harm only itself.

`decode` gives the same blocks as `auricle.audio.blocks`, to the last bit. What the process sends is checked
here as what a stranger sends; a crash, a limit or nonsense is an `AudioError` about that one file.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from auricle.audio import AudioError, Block, Info
from auricle.serve.cage import FRAME, MEMORY_STATUS, STATUS
from auricle.text import for_terminal, printable

BLOCK_SECONDS = 10.0
HIGHEST_RATE = 768_000
TEXT_BYTES = 1 << 16  # of a warning, an error, or the facts from a header
LINE_CHARACTERS = 1_000
WARNINGS = 100  # kept of one file
PIPE_BYTES = 1 << 20
LOOK_SECONDS = 0.1  # how often a wait looks whether it should stop
START_SECONDS = 60.0  # that the fork server may take until it is ready, on a machine with much else to do
LAST_WORDS_SECONDS = 5.0  # until the end of a process is told
HEARD_PER_SECOND = 5.0  # seconds of sound that a decoder must give in a second, beyond its first patience
KEPT_OF_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[2]); from auricle.serve.cage import serve; "
BOOT += "serve(int(sys.argv[1]))"
CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP}

deaths: Counter[str] = Counter()  # how many processes ended for which `Died.cause`, since the start


class Died(AudioError):
    """The process that decoded a file did not come to an end of its own.

    Args:
        line: what is told of it.
        cause: "crash", "memory", "time", "length" (more sound than is taken), "garbage" or "start".
    """

    def __init__(self, line: str, cause: str):
        super().__init__(line)
        self.cause = cause


class Stopped(Exception):
    """Decoding was stopped from outside."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one file may take.

    Args:
        memory: bytes that its process may map beyond what every one has.
        wait_seconds: that may be waited for it in all, while it is given; a second more for every
            5 seconds of sound that came.
        audio_seconds: of sound that are taken.
        file_bytes: of a playable copy.

    >>> Limits(audio_seconds=3600).wait_seconds
    60.0
    """

    memory: int = 1 << 30
    wait_seconds: float = 60.0
    audio_seconds: float = 24 * 3600.0
    file_bytes: int = 4 << 30

    @classmethod
    def of(cls, settings: Any) -> "Limits":
        """The limits that the service's settings stand for."""
        return cls(audio_seconds=float(settings.max_audio_seconds))

    @property
    def cpu_seconds(self) -> int:
        """Of processor time: never reached where the clock works."""
        return int(self.wait_seconds + self.audio_seconds / HEARD_PER_SECOND) + 1


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
    decoded = Decoding(
        printable(source) if name is None and not isinstance(source, int) else name or "upload"
    )
    options = {"rate": rate, "start": start, "end": end, "block_seconds": block_seconds}
    with _open(source, decoded.name) as file, _Child(work, file, decoded.name, options, limits) as child:
        decoded._blocks = _received(child, decoded, rate, start, end, block_seconds, limits, stop)
        with contextlib.closing(decoded._blocks):  # type: ignore[type-var]
            yield decoded


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
    decoded = Decoding(
        printable(source) if name is None and not isinstance(source, int) else name or "upload"
    )
    work = "auricle.serve.cage:make_playable"
    try:
        with open(target, "xb+") as copy, _open(source, decoded.name) as file:  # noqa: PTH123
            with _Child(work, file, decoded.name, {}, limits, copy.fileno()) as child:
                for kind, number, content in _frames(child, decoded, limits, stop):
                    if kind != b"P" or content or decoded.info is None:
                        raise child.died("garbage")
                    child.heard = number / _copy_rate(decoded.info.rate)
                    _check_length(child, limits)
                    yield child.heard
    except BaseException:
        target.unlink(missing_ok=True)
        raise


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


def warm() -> None:
    """Start the process from which the decoders are forked, so that the first file need not wait for it."""
    with _SERVER.lock:
        _SERVER.ready()


def close() -> None:
    """End that process, and with it every decoder; the next file would start it again."""
    with _SERVER.lock:
        _SERVER.end()


def _received(
    child: "_Child",
    decoded: Decoding,
    rate: int | None,
    start: float,
    end: float | None,
    block_seconds: float,
    limits: Limits,
    stop: threading.Event | None,
) -> Iterator[Block]:
    """The blocks that a process sends, each at its place."""
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


def _check_promise(
    child: "_Child", decoded: Decoding, start: float, end: float | None, limits: Limits
) -> None:
    """Refuse at once what its header says is too long."""
    if decoded.duration is None:
        return
    seconds = min(decoded.duration, decoded.duration if end is None else end) - start
    if seconds > limits.audio_seconds * 1.001 + 1:
        raise child.died("length", f"its header says {_hours(seconds)} of sound")


def _check_length(child: "_Child", limits: Limits) -> None:
    if child.heard > limits.audio_seconds * 1.001 + 1:
        raise child.died("length", "it goes on")


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds:.0f} s"


def _copy_rate(rate: int) -> int:
    from auricle.serve.cage import MP3_RATES

    return rate if rate in MP3_RATES else 48_000


def _frames(
    child: "_Child", decoded: Decoding, limits: Limits, stop: threading.Event | None
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
            raise AudioError(_line(content))
        if kind == b"W":
            if len(decoded.warnings) < WARNINGS:
                decoded.warnings.append(_line(content))
        elif kind == b"I":
            decoded.info = _info(child, content, decoded.name)
        else:
            yield kind, number, content


def _line(content: bytes | bytearray) -> str:
    return for_terminal(content.decode("utf-8", "replace"))[:LINE_CHARACTERS]


def _info(child: "_Child", content: bytearray, name: str) -> Info:
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


class _Child:
    """A process that works on one file, and the reading end of its pipe; killed when this is left."""

    def __init__(
        self, work: str, file: int, name: str, options: Mapping[str, Any], limits: Limits, *more: int
    ):
        self.name, self.heard = name, 0.0
        self._limits, self._waited, self._told = limits, 0.0, False
        confine = {"memory": limits.memory, "cpu_seconds": limits.cpu_seconds}
        confine["file_bytes"] = limits.file_bytes if more else 0
        request = {"work": work, "options": options, "limits": confine, "name": name}
        self._life, far = socket.socketpair()
        self._pipe, writing = os.pipe()
        try:
            _widen(writing)
            os.set_blocking(self._pipe, False)
            with _SERVER.lock:
                _SERVER.fork(json.dumps(request).encode(), [far.fileno(), file, writing, *more])
        except BaseException as error:
            self.__exit__(None, None, None)
            if isinstance(error, OSError):
                raise self.died("start") from None
            raise
        finally:
            far.close()
            os.close(writing)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)

    def __enter__(self) -> "_Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._life.close()  # by which the fork server kills it, where it still runs
        os.close(self._pipe)

    def read(self, size: int, stop: threading.Event | None) -> bytearray:
        """Exactly so many bytes."""
        content = bytearray(size)
        left = memoryview(content)
        while len(left):
            try:
                got = os.readv(self._pipe, [left])
            except BlockingIOError:
                self._wait(stop)
                continue
            if not got:
                raise self._ended()
            left = left[got:]
        return content

    def check(self, stop: threading.Event | None) -> None:
        """Raise `Stopped` once that is asked for."""
        if stop is not None and stop.is_set():
            raise Stopped(f"{self.name}: decoding was stopped")

    def _wait(self, stop: threading.Event | None) -> None:
        began = time.monotonic()
        while True:
            self.check(stop)
            ready = self._poll.poll(LOOK_SECONDS * 1000)
            waited = self._waited + time.monotonic() - began
            if ready:
                self._waited = waited
                return
            if waited > self._limits.wait_seconds + self.heard / HEARD_PER_SECOND:
                raise self.died("time")

    def _ended(self) -> Died:
        """What to say of a process that is gone before it was done."""
        status = None
        self._life.settimeout(LAST_WORDS_SECONDS)
        with contextlib.suppress(OSError):
            told = self._life.recv(STATUS.size)
            status = STATUS.unpack(told)[0] if len(told) == STATUS.size else None
        if status is None or status == -signal.SIGKILL:
            return self.died(
                "memory", "the process that decoded it was killed: the machine is short of memory"
            )
        if status == MEMORY_STATUS:
            return self.died("memory")
        if status == -signal.SIGXCPU:
            return self.died("time")
        if status < 0 and -status in CRASHES:
            return self.died("crash", f"it made the decoder crash ({signal.Signals(-status).name})")
        return self.died("garbage")

    def died(self, cause: str, text: str = "") -> Died:
        """The error to raise, counted."""
        limits = self._limits
        text, remedy = {
            "crash": (text, "it is damaged, or made to do that; convert it first, or record it again"),
            "memory": (
                text or f"decoding it took more than {limits.memory >> 20} MB of memory",
                "it is damaged, or made to do that; convert it first",
            ),
            "time": (
                f"decoding it took too long ({self.heard:.0f} s of sound came in more than "
                f"{limits.wait_seconds + self.heard / HEARD_PER_SECOND:.3g} s)",
                "it is damaged, or made to do that; convert it first",
            ),
            "length": (
                f"is longer than the {_hours(limits.audio_seconds)} that are taken here"
                + (f" ({text})" if text else ""),
                "send it in parts, or tag it with the command line",
            ),
            "garbage": ("the process that decoded it gave no sensible answer", "convert it first"),
            "start": ("no process could be started to decode it", "try again later"),
        }[cause]
        deaths[cause] += 1
        return Died(f"{self.name}: {text}; {remedy}", cause)


def _widen(pipe: int) -> None:
    """A pipe that holds more needs fewer turns between the two processes."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


class _Server:
    """The fork server of `cage.py`, started when it is needed, and again when it is gone."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # held by who calls any of what follows
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def ready(self) -> socket.socket:
        """The socket for requests.

        Raises:
            OSError: it cannot be started.
        """
        if self._process is not None and self._process.poll() is not None:
            self.end()
        if self._control is not None:
            return self._control
        if not hasattr(os, "fork"):
            raise OSError("this system cannot fork; the service runs on Linux and macOS")
        near, far = socket.socketpair()
        kept = {key: os.environ[key] for key in KEPT_OF_ENVIRONMENT if key in os.environ}
        command = [sys.executable, "-I", "-W", "ignore", "-c", BOOT, str(far.fileno()), json.dumps(sys.path)]
        near.settimeout(START_SECONDS)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=kept | ONE_THREAD,
                pass_fds=[far.fileno()],
                start_new_session=True,  # Ctrl-C on a terminal is the service's to answer
            )
            far.close()
            self._control = near
            if near.recv(1) != b"!":
                raise OSError("the process that decodes does not start")
        except OSError:
            near.close()
            far.close()
            self.end()
            raise
        return near

    def fork(self, request: bytes, descriptors: list[int]) -> None:
        """Have a child forked for a request.

        Raises:
            OSError: that failed, also with a new server.
        """
        for attempt in range(2):
            control = self.ready()
            answer = b""
            with contextlib.suppress(OSError):
                socket.send_fds(control, [request], descriptors)
                answer = control.recv(1)
            if answer == b"+":
                return
            if answer == b"-":
                raise OSError("no process can be forked: there are too many")
            if not attempt:
                self.end()
        raise OSError("the process that decodes is gone")

    def end(self) -> None:
        """End it, where it runs."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(LAST_WORDS_SECONDS)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
        self._process = self._control = None


_SERVER = _Server()
atexit.register(close)
