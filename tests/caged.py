"""What a hostile file might make a decoder do, as work for a caged process."""

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time

import av
import numpy as np

from auricle.serve.cage import FRAME

FILTERED = sys.platform == "linux" and os.uname().machine in ("x86_64", "aarch64")
INFO = json.dumps(
    {
        **{"container": "wav", "codec": "pcm_s16le", "rate": 16000, "channels": 1},
        **{"duration": None, "has_video": False},
    }
)


def allocate(answer, file, options, extra):
    kept = []
    for _ in range(8 * 16):
        kept.append(bytearray(64 << 20))
        kept[-1][::4096] = bytes(len(kept[-1][::4096]))
    return len(kept)


def allocate_in_c(answer, file, options, extra):
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = (ctypes.c_size_t,)
    address = libc.malloc(8 << 30)
    ctypes.memset(address, 1, 8 << 30)  # of a null pointer, where it was refused
    return 0


def spin(answer, file, options, extra):
    while True:
        pass


def sleep(answer, file, options, extra):
    while True:
        time.sleep(60)


def trickle(answer, file, options, extra):
    """A block, and then nothing."""
    answer.text(b"I", INFO)
    answer.send(b"B", 0, np.zeros(160, np.float32).tobytes())
    while True:
        time.sleep(60)


def crash(answer, file, options, extra):
    ctypes.string_at(0)


def abort(answer, file, options, extra):
    ctypes.CDLL(None).abort()


def leave(answer, file, options, extra):
    os._exit(0)


def garbage(answer, file, options, extra):
    os.write(1, np.random.default_rng(1).bytes(1 << 16))
    return 0


def endless_frame(answer, file, options, extra):
    os.write(1, FRAME.pack(b"B", 0, 0xFFFFFFFF))
    return 0


def bad_facts(answer, file, options, extra):
    answer.text(b"I", '{"rate": [' + "[" * 30_000)
    return 0


def nothing(answer, file, options, extra):
    return 0


def not_finite(answer, file, options, extra):
    answer.text(b"I", INFO)
    answer.send(b"B", 0, np.full(160, np.nan, np.float32).tobytes())
    return 160


def elsewhere(answer, file, options, extra):
    answer.text(b"I", INFO)
    answer.send(b"B", 77, np.zeros(160, np.float32).tobytes())
    return 160


def many_lines(answer, file, options, extra):
    for number in range(10_000):
        answer.text(b"W", f"warning {number}\x1b[2J\n" + "x" * 10_000)
    answer.text(b"E", "a\nb\x1b[31m" + "y" * 60_000)
    return 0


def endless_sound(answer, file, options, extra):
    answer.text(b"I", INFO)
    silence, place = np.zeros(160_000, np.float32).tobytes(), 0
    while True:
        answer.send(b"B", place, silence)
        place += 160_000


def open_things(answer, file, options, extra):
    """Everything that must fail; the error tells what did not."""
    secret, port, parent = options["start"], options["end"], os.getppid()
    tries = {
        "file": lambda: os.open(secret, os.O_RDONLY),
        "listing": lambda: os.scandir("/"),
        "null": lambda: os.open("/dev/null", os.O_RDONLY),
        "new file": lambda: os.open("/tmp/auricle-was-here", os.O_CREAT | os.O_RDWR, 0o600),
        "socket": lambda: socket.create_connection(("127.0.0.1", int(port)), 1),
        "unix socket": lambda: socket.socket(socket.AF_UNIX),
        "pipe": os.pipe,
        "duplicate": lambda: os.dup(0),
        "fork": os.fork,
        "program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        "thread": lambda: threading.Thread(target=int).start(),
        "signal": lambda: os.kill(parent, 0),
        "limits": lambda: __import__("resource").setrlimit(7, (100, 100)),
    }
    if FILTERED:
        # Also with a free place for a descriptor, which a decoder that was taken over could make.
        tries |= {f"{name} with a place": tries[name] for name in ("file", "socket", "duplicate")}
    done = []
    for name, attempt in tries.items():
        try:
            if name.endswith("a place"):
                os.close(2)
            attempt()
            done.append(name)
        except (OSError, RuntimeError, ValueError):
            pass
    answer.text(b"E", f"possible: {done}; tried {len(tries)}")
    return 0


def trusting(answer, file, options, extra):
    """FFmpeg with every protocol that it knows, as a mistake in its own checks would leave it."""
    allowed = {"protocol_whitelist": "file,http,tcp,crypto", "allowed_extensions": "ALL"}
    try:
        with av.open(file, format="hls", container_options=allowed) as container:
            for _ in container.decode(audio=0):
                pass
    except (av.error.FFmpegError, OSError, IndexError) as error:
        if answer is None:
            raise
        answer.text(b"E", f"FFmpeg says {error}")
    return 0
