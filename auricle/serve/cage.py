"""The processes that decode: a fork server, and its children, one for each file, which can do nothing else.

The server is started with no more of the environment than it needs, loads and tries out every decoder, and
waits. For a file it forks: the child keeps the file, a pipe to answer by, and nothing else (`confine`), and
decodes. So a child costs milliseconds, what a file does to it ends with it, and it holds nobody's secrets.

A request is its length (uint32), with the descriptors, and so many bytes of JSON. The server answers each by
one byte: + (a child works on it), - (none could be forked), ? (it is no request).

A child answers by frames: one byte for the kind, a number (int64), a length (uint32), and so many bytes:
I (JSON: facts from the header), B (a block: its first sample, float32), P (samples done), W (a warning),
E (an error), D (all was done: samples in all). What reads them trusts none of it, see `decoding.py`.
"""

import contextlib
import gc
import importlib
import io
import json
import os
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from auricle.serve.confine import address_space, confine, die_with_parent

FRAME = struct.Struct("<cqI")
STATUS = struct.Struct("<i")
LENGTH = struct.Struct("<I")
REQUEST_BYTES = 1 << 20  # of one request
REQUEST_SECONDS = 10.0  # that it may take once it has begun
REQUEST_PARTS = {"work": str, "options": dict, "limits": dict, "name": str}
LEAST_DESCRIPTORS = 3  # life line, file, pipe
MEMORY_STATUS, BROKEN_STATUS = 70, 71  # exit statuses of a child
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MP3_BITS = 128_000


class NamedFile(io.BufferedReader):
    """An open descriptor that goes by the name its owner gave the file."""

    name = ""


class Answer:
    """The child's end of the pipe."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def send(self, kind: bytes, number: int = 0, content: bytes | memoryview = b"") -> None:
        """Write a frame; waits while the reader has enough."""
        self._write(FRAME.pack(kind, number, len(content)))
        self._write(content)

    def text(self, kind: bytes, text: str) -> None:
        """A warning, an error, or JSON."""
        self.send(kind, 0, text.encode("utf-8", "backslashreplace"))

    def _write(self, content: bytes | memoryview) -> None:
        left = memoryview(content)
        while len(left):
            left = left[os.write(self._descriptor, left) :]


def decode(answer: Answer, file: Any, options: dict[str, Any], extra: list[Any]) -> int:
    """Answer with the blocks of a recording; gives how many samples they had."""
    from auricle.audio import Info, blocks

    def opened(info: Info) -> None:
        answer.text(b"I", json.dumps(asdict(info)))

    total = 0
    place = {name: options[name] for name in ("start", "end", "block_seconds")}
    warn = lambda line: answer.text(b"W", line)  # noqa: E731
    for block in blocks(file, options["rate"], **place, warn=warn, opened=opened):
        answer.send(b"B", block.start, block.samples.data.cast("B"))
        total += len(block.samples)
    return total


def make_playable(answer: Answer, file: Any, options: dict[str, Any], extra: list[Any]) -> int:
    """Write a recording as MP3 into a file that is open; its times are those of `decode`."""
    import av

    from auricle.audio import blocks, probe

    info = probe(file)
    answer.text(b"I", json.dumps(asdict(info)))
    rate = info.rate if info.rate in MP3_RATES else 48_000
    total = 0
    with av.open(extra[0], "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.bit_rate = MP3_BITS if rate >= 32_000 else MP3_BITS // 2
        queue = av.AudioFifo()
        size = stream.codec_context.frame_size or 1152

        def write(last: bool) -> None:
            while (frame := queue.read(size, partial=last)) is not None:
                container.mux(stream.encode(frame))

        for block in blocks(file, rate, block_seconds=1.0, warn=lambda line: answer.text(b"W", line)):
            samples = block.samples.clip(-1, 1)
            frame = av.AudioFrame.from_ndarray(samples[None], "fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, total
            queue.write(frame)
            total += len(samples)
            write(last=False)
            answer.send(b"P", total, b"")
        write(last=True)
        container.mux(stream.encode(None))
    return total


def child(request: dict[str, Any], descriptors: list[int]) -> None:
    """Become the process that does one request, and end; never returns.

    Args:
        request: "work" ("module:function"), "options", "limits" (of `confine`), "name" of the file.
        descriptors: the file, the pipe to answer by, and any that the work writes.
    """
    status = BROKEN_STATUS
    try:
        die_with_parent()
        null = os.open(os.devnull, os.O_RDWR)
        _rearrange([*descriptors[:2], null, *descriptors[2:]])
        answer = Answer(1)
        module, _, name = request["work"].partition(":")
        work: Callable[..., int] = getattr(importlib.import_module(module), name)
        file = NamedFile(io.FileIO(0, closefd=False), 1 << 16)
        file.name = request["name"]
        count = len(descriptors) + 1
        extra = [io.BufferedRandom(io.FileIO(n, "r+", closefd=False), 1 << 20) for n in range(3, count)]
        confine(open_files=count, **request["limits"])
        status = _answer(work, answer, file, request["options"], extra)
    except MemoryError:
        status = MEMORY_STATUS
    except BrokenPipeError:
        status = 0  # nobody wants to know any more
    finally:
        os._exit(status)


def _answer(
    work: Callable[..., int], answer: Answer, file: Any, options: dict[str, Any], extra: list[Any]
) -> int:
    from auricle.audio import AudioError

    try:
        total = work(answer, file, options, extra)
        for written in extra:
            written.flush()
    except AudioError as error:
        answer.text(b"E", str(error))
    except OSError as error:  # of writing: a full disk, or a file that grew too long
        if isinstance(error, BrokenPipeError):
            raise
        answer.text(
            b"E", f"{file.name}: cannot be written ({error.strerror or error}); make room on the disk"
        )
    else:
        answer.send(b"D", total)
    return 0


def _rearrange(descriptors: list[int]) -> None:
    """Make them 0, 1, 2 and so on."""
    high = [_moved_up(number) for number in descriptors]
    for place, number in enumerate(high):
        os.dup2(number, place, inheritable=False)


def _moved_up(number: int) -> int:
    import fcntl

    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 64)


def serve(descriptor: int) -> None:
    """Fork a child for every request that comes over a socket, and tell how it ended, until the socket ends.

    With each request come descriptors: the child's life line first, by which its end is told, and at whose
    closing it is killed; then those of `child`.
    """
    control = socket.socket(fileno=descriptor)
    _prepare()
    waking, woken = os.pipe()
    for end in (waking, woken):
        os.set_blocking(end, False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the end of the service is the end of the socket
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    gc.freeze()
    lives: dict[int, socket.socket] = {}  # by process
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(waking, selectors.EVENT_READ)
        control.sendall(b"!")
        while True:
            for key, _ in selector.select():
                if key.fileobj is control:
                    if not _fork(control, lives, selector):
                        _end_all(lives)
                        return
                elif key.fileobj == waking:
                    with contextlib.suppress(BlockingIOError):
                        while os.read(waking, 4096):
                            pass
                elif key.data in lives:  # the other end was closed
                    os.kill(key.data, signal.SIGKILL)
                    selector.unregister(key.fileobj)
            _reap(lives, selector)


def _fork(control: socket.socket, lives: dict[int, socket.socket], selector: Any) -> bool:
    """Do what a message asks for, and answer it; False once nobody asks any more.

    A message that is none harms nobody: children at work are others' recordings.
    """
    try:
        request, descriptors = _received(control)
    except OSError:  # it ended, in the middle of a message, maybe
        return False
    if request is None:
        _close(descriptors)
        return _answered(control, b"?")
    try:
        life = socket.socket(fileno=descriptors[0])
    except OSError:
        _close(descriptors)
        return _answered(control, b"?")
    try:
        process = os.fork()
    except OSError:
        life.close()
        _close(descriptors[1:])
        return _answered(control, b"-")
    if process == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        child(request, descriptors[1:])
    _close(descriptors[1:])
    lives[process] = life
    selector.register(life, selectors.EVENT_READ, process)
    return _answered(control, b"+")


def _received(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """A request, or None for a message that is none, and the descriptors that came with it.

    Raises:
        OSError: the socket ended.
    """
    head, descriptors, flags, _ = socket.recv_fds(control, LENGTH.size, 16)
    control.settimeout(REQUEST_SECONDS)
    try:
        head += _exactly(control, LENGTH.size - len(head)) if head else b""
        if not head:
            raise ConnectionResetError("nobody asks any more")
        (size,) = LENGTH.unpack(head)
        content = bytearray()
        for start in range(0, size, REQUEST_BYTES):
            part = _exactly(control, min(REQUEST_BYTES, size - start))
            if size <= REQUEST_BYTES:
                content += part
    except OSError:
        _close(descriptors)
        raise
    finally:
        control.settimeout(None)
    cut = flags & socket.MSG_CTRUNC or len(descriptors) < LEAST_DESCRIPTORS
    return None if cut else _request_of(content), descriptors


def _exactly(control: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = control.recv(size - len(content))
        if not part:
            raise ConnectionResetError("it ended in the middle of a request")
        content += part
    return content


def _request_of(content: bytes | bytearray) -> dict[str, Any] | None:
    """What JSON asks for; None where that is nothing."""
    try:
        request = json.loads(content)
    except (ValueError, RecursionError):
        return None
    right = isinstance(request, dict) and all(
        isinstance(request.get(part), kind) for part, kind in REQUEST_PARTS.items()
    )
    return request if right else None


def _answered(control: socket.socket, answer: bytes) -> bool:
    """Answer a message: the next comes only now, two would run into one. False where nobody listens."""
    try:
        control.sendall(answer)
    except OSError:
        return False
    return True


def _close(descriptors: list[int]) -> None:
    for number in descriptors:
        os.close(number)


def _reap(lives: dict[int, socket.socket], selector: Any) -> None:
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            process, status = found
            life = lives.pop(process)
            with contextlib.suppress(KeyError):
                selector.unregister(life)
            with contextlib.suppress(OSError):
                life.send(STATUS.pack(os.waitstatus_to_exitcode(status)))
            life.close()


def _end_all(lives: dict[int, socket.socket]) -> None:
    for process in lives:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _prepare() -> None:
    """Import all that decoding may need and let it do its first work, which children then find done."""
    modules = ("encodings.idna", "encodings.latin_1", "encodings.utf_16", "fcntl", "resource")
    subtitles = ("av.subtitles.codeccontext", "av.subtitles.stream")  # which PyAV loads once a film has some
    for module in (*modules, *subtitles):
        importlib.import_module(module)
    address_space()
    die_with_parent(0)  # this process was started by a thread that ends long before the service
    for _, file in _samples():
        answer = Answer(os.open(os.devnull, os.O_WRONLY))
        decode(answer, file, {"rate": 16_000, "start": 0.0, "end": None, "block_seconds": 10.0}, [])
        os.close(answer._descriptor)
    out, null = io.BytesIO(), os.open(os.devnull, os.O_WRONLY)
    make_playable(Answer(null), next(_samples())[1], {}, [out])
    os.close(null)


def _samples() -> Iterator[tuple[str, io.BytesIO]]:
    """A moment of noise in the containers and codecs that are met most."""
    import av
    import numpy as np

    noise = np.random.default_rng(0).normal(0, 0.1, (2, 8_192)).astype(np.float32)
    kinds = (
        *(("wav", "pcm_s16le", 44_100), ("mp3", "libmp3lame", 44_100), ("flac", "flac", 44_100)),
        *(("ogg", "libvorbis", 44_100), ("ogg", "libopus", 48_000), ("mp4", "aac", 44_100)),
        *(("matroska", "aac", 44_100), ("aiff", "pcm_s24be", 48_000)),
    )
    for container, codec, rate in kinds:
        file = io.BytesIO()
        with contextlib.suppress(Exception):  # an FFmpeg without that encoder
            with av.open(file, "w", format=container) as out:
                stream: Any = out.add_stream(codec, rate=rate, layout="stereo")
                frame = av.AudioFrame.from_ndarray(noise, "fltp", layout="stereo")
                frame.sample_rate, frame.pts = rate, 0
                size = stream.codec_context.frame_size
                for piece in av.AudioResampler(stream.codec_context.format, "stereo", rate, size).resample(
                    frame
                ):
                    out.mux(stream.encode(piece))
                out.mux(stream.encode(None))
            file.seek(0)
            yield container, file


if __name__ == "__main__":
    serve(int(sys.argv[1]))
