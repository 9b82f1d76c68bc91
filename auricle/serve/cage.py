"""The processes that decode: a fork server, and its children, one for each file, which can do nothing else.

The server is started with no more of the environment than it needs, loads and tries out every decoder, and
waits. For a file it forks: the child keeps the file, a pipe to answer by, and nothing else (`confine`), and
decodes. So a child costs milliseconds, what a file does to it ends with it, and it holds nobody's secrets.

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
REQUEST_BYTES = 1 << 16
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
    _load()
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
    try:
        content, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES, 8)
    except OSError:
        return False
    if not content:
        return False
    try:
        process = os.fork()
    except OSError:
        for number in descriptors:
            os.close(number)
        control.sendall(b"-")
        return True
    if process == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        child(json.loads(content), descriptors[1:])
    life = socket.socket(fileno=descriptors[0])
    for number in descriptors[1:]:
        os.close(number)
    lives[process] = life
    selector.register(life, selectors.EVENT_READ, process)
    control.sendall(b"+")  # the next request comes only now: two would run into one
    return True


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


def _load() -> None:
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
