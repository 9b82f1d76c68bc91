"""The parent's side of the processes that decode: their fork server, and one of them with its limits.

What `cage.py` does in the child is asked for here, waited for no longer than is allowed, and its end told.
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
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from auricle.audio import AudioError
from auricle.serve.cage import LENGTH, MEMORY_STATUS, REQUEST_BYTES, STATUS

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
        cause: "crash", "memory", "time", "length" (more sound than is taken), "garbage", "start", or "server"
            (the process that starts the others is gone, and all of them with it: no fault of the recording).
    """

    def __init__(self, line: str, cause: str):
        super().__init__(line)
        self.cause = cause

    @property
    def is_ours(self) -> bool:
        """Whether it is the service's fault, so that the same recording may be read another time."""
        return self.cause in ("start", "server")


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


def warm() -> None:
    """Start the process from which the decoders are forked, so that the first file need not wait for it."""
    with _SERVER.lock:
        _SERVER.ready()


def close() -> None:
    """End that process, and with it every decoder; the next file would start it again."""
    with _SERVER.lock:
        _SERVER.end()


class Child:
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

    def __enter__(self) -> "Child":
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
        if status is None:  # who would tell is gone itself
            return self.died("server")
        if status == -signal.SIGKILL:
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
                f"is longer than the {spoken(limits.audio_seconds)} that are taken here"
                + (f" ({text})" if text else ""),
                "send it in parts",
            ),
            "garbage": ("the process that decoded it gave no sensible answer", "convert it first"),
            "server": ("the service lost the processes that decode, with this recording", "send it again"),
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
        assert len(request) <= REQUEST_BYTES, len(request)
        for attempt in range(2):
            control = self.ready()
            answer = b""
            with contextlib.suppress(OSError):
                socket.send_fds(control, [LENGTH.pack(len(request))], descriptors)
                control.sendall(request)
                answer = control.recv(1)
            if answer == b"+":
                return
            if answer == b"-":
                raise OSError("no process can be forked: there are too many")
            if answer == b"?":
                raise OSError("the process that decodes took the request for none")
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


def spoken(seconds: float) -> str:
    """A length of time.

    >>> spoken(60), spoken(180), spoken(5400), spoken(86400)
    ('60 s', '3 minutes', '1.5 hours', '24 hours')
    """
    if seconds < 120:
        return f"{round(seconds, 1):g} s"
    unit, name = (3600, "hours") if seconds >= 5400 else (60, "minutes")
    return f"{round(seconds / unit, 1):g} {name}"


_SERVER = _Server()
atexit.register(close)
