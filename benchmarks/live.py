"""How long after its last sound a window's tags are written, while a pipe plays in real time.

    python benchmarks/live.py
    python benchmarks/live.py --quick
    python benchmarks/live.py --hours 24

Noise is encoded, and its bytes are fed to `auricle tag --live - --format csv` at the pace at which they would
be recorded. A line's delay is the time at which it is read, less the time at which its window's last sample
was fed. Printed are the median and the longest delay of each kind of stream, without the first seconds, in
which FFmpeg looks at a container.

With --hours, what it keeps in memory: the example's scene is fed again and again, so many hours of it, as
fast as the command takes it, and the resident memory of the command and of its children is read after every
minute of sound. Printed is what it was at some marks, and the slope from the first hour on, for each form of
output. Linux alone, whose /proc says it.
"""

import argparse
import io
import os
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from auricle.audio import read as read_sound

PIECE_SECONDS = 0.05
SETTLED_SECONDS = 4.0
CODECS = {  # kind -> container, codec, Hz, sample format
    "mp3": ("mp3", "libmp3lame", 44100, "fltp"),
    "ogg": ("ogg", "libopus", 48000, "flt"),
    "mpegts": ("mpegts", "aac", 44100, "fltp"),
    "flac": ("flac", "flac", 44100, "s16"),
}
PCM = {"raw": 16000, "wav": 44100}
RAW = ["--raw", "16000,1,s16le"]
Chunks = list[tuple[float, bytes]]  # seconds of sound that are over when these bytes are there
COMMAND = [sys.executable, "-m", "auricle", "tag", "--live", "-", "--quiet"]
SCENE = Path(__file__).parents[1] / "examples" / "scene.ogg"
# What is written -> the stream that is heard, and the options.
FORMS = {
    "jsonl": ("raw", ["--threshold", "0", "--format", "jsonl"]),
    "events": ("mp3", ["--events", "--set", "onset=0.3", "--format", "csv"]),
    "table": ("wav", ["--threshold", "0.3"]),
}
MARKS = (1 / 6, 1.0, 6.0, 24.0)  # hours of sound
SETTLED_HOURS = 1.0  # of sound, from which on a slope is told


class Memory(NamedTuple):
    """What a process and its children held when so much sound had been fed."""

    hours: float
    megabytes: float


class Bytes(io.RawIOBase):
    """Takes what a muxer writes, until it is fetched."""

    def __init__(self) -> None:
        self.held = b""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Keep it."""
        self.held += bytes(data)
        return len(data)


def noise_of(rate: int, seconds: float) -> np.ndarray:
    """As it is fed where delays are measured."""
    return (np.random.default_rng(0).standard_normal(round(rate * seconds)) * 0.1).astype(np.float32)


def pcm(rate: int, heard: np.ndarray, header: bool) -> Chunks:
    """Sound as PCM of 16 bits, perhaps as a WAV without an end."""
    noise = (heard * 32767).astype("<i2").tobytes()
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
    head = b"RIFF\xff\xff\xff\xffWAVEfmt " + form + b"data\xff\xff\xff\xff" if header else b""
    step = 2 * round(rate * PIECE_SECONDS)
    pieces = [((at + step) / 2 / rate, noise[at : at + step]) for at in range(0, len(noise), step)]
    return [(pieces[0][0], head + pieces[0][1]), *pieces[1:]]


def encoded(kind: str, noise: np.ndarray) -> Chunks:
    """Sound as a muxer hands it out while it is recorded."""
    container_format, codec, rate, form = CODECS[kind]
    out, chunks, step = Bytes(), [], round(rate * PIECE_SECONDS)
    options = {"ogg": {"page_duration": "100000"}, "mp3": {"write_xing": "0", "id3v2_version": "0"}}.get(
        kind, {}
    )
    with av.open(out, "w", format=container_format, options=options) as container:
        # Each frame by itself, so that the stream may begin again with its first.
        alone = {"reservoir": "0"} if kind == "mp3" else {}
        stream = container.add_stream(codec, rate=rate, layout="mono", options=alone)
        for at in range(0, len(noise), step):
            samples = noise[None, at : at + step]
            samples = (samples * 32767).astype(np.int16) if form == "s16" else samples
            frame = av.AudioFrame.from_ndarray(samples, format=form, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            for packet in stream.encode(frame):
                container.mux(packet)
            if out.held:
                chunks.append(((at + step) / rate, out.held))
                out.held = b""
        if kind == "mp3":  # whole frames up to the last, so that nothing is damaged where it begins again
            for packet in stream.encode(None):
                container.mux(packet)
    if kind == "mp3":
        chunks.append((len(noise) / rate, out.held))
    return chunks


def delays(chunks: Chunks, options: list[str]) -> list[float]:
    """Seconds from the end of each window to its line."""
    command = [*COMMAND, "--format", "csv", "--top", "1", "--threshold", "0"]  # a line a window
    pipe, found, began = subprocess.PIPE, [], 0.0
    with subprocess.Popen([*command, *options], stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()  # the heads: the model is loaded
        began = time.monotonic()

        def read() -> None:
            for line in process.stdout or ():
                end = float(line.decode().split(",")[2])
                found.append((end, time.monotonic() - began - end))

        thread = threading.Thread(target=read)
        thread.start()
        for due, data in chunks:
            time.sleep(max(0.0, began + due - time.monotonic()))
            process.stdin.write(data)
            process.stdin.flush()
        last = chunks[-1][0]
        process.stdin.close()
        thread.join()
    return [late for end, late in found if SETTLED_SECONDS < end < last - 0.1]


def memory_of(process: int) -> float:
    """Resident MB of a process and of all below it."""
    folder = Path(f"/proc/{process}")
    try:
        pages = int((folder / "statm").read_text().split()[1])
        below = [child for file in folder.glob("task/*/children") for child in file.read_text().split()]
    except OSError:  # it has ended
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6 + sum(memory_of(int(child)) for child in below)


def endless(kind: str) -> tuple[bytes, bytes, float]:
    """The scene as a stream: what comes first, what comes again and again, and its seconds."""
    rate = PCM.get(kind) or CODECS[kind][2]
    heard = read_sound(SCENE, rate)
    chunks = pcm(rate, heard, False) if kind in PCM else encoded(kind, heard)
    begin = pcm(rate, heard[:rate], True)[0][1] if kind == "wav" else b""
    return begin, b"".join(data for _, data in chunks), len(heard) / rate


def listen_for(hours: float, kind: str, options: Sequence[str]) -> tuple[list[Memory], int, float]:
    """What it held after each minute of sound, how many lines it wrote, and in how many seconds."""
    begin, again, seconds = endless(kind)
    raw = RAW if kind == "raw" else []
    lines, found, began = 0, [], time.monotonic()
    step = max(1, round(len(again) / seconds))  # about a second
    with subprocess.Popen(
        [*COMMAND, *options, *raw], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def count() -> None:
            nonlocal lines
            for _ in process.stdout or ():
                lines += 1

        thread = threading.Thread(target=count)
        thread.start()
        process.stdin.write(begin)
        fed, minute = 0.0, 0
        while fed < hours * 3600:
            for at in range(0, len(again), step):
                process.stdin.write(again[at : at + step])
                fed += seconds * len(again[at : at + step]) / len(again)
                if fed >= 60 * minute:
                    found.append(Memory(fed / 3600, memory_of(process.pid)))
                    minute += 1
                if fed >= hours * 3600:
                    break
        process.stdin.close()
        thread.join()
    if process.returncode:
        raise SystemExit(f"auricle tag --live ended with status {process.returncode}")
    return found, lines, time.monotonic() - began


def slope(found: Sequence[Memory], since: float = SETTLED_HOURS) -> float:
    """MB an hour of sound, by least squares."""
    hours, megabytes = np.array([each for each in found if each.hours >= since]).T
    return float(np.polyfit(hours, megabytes, 1)[0])


def print_memory(name: str, hours: float) -> None:
    """A line for a form of output."""
    kind, options = FORMS[name]
    found, lines, took = listen_for(hours, kind, options)
    marks = [*(mark for mark in MARKS if mark < hours), hours]
    held = [next(m.megabytes for m in found[::-1] if m.hours <= mark + 1e-3) for mark in marks]
    told = ", ".join(
        f"{mark:g} h {megabytes:.1f}" if mark >= 1 else f"{mark * 60:.0f} min {megabytes:.1f}"
        for mark, megabytes in zip(marks, held, strict=True)
    )
    most = max(each.megabytes for each in found)
    grows = f", {slope(found):+.3f} MB/h from {SETTLED_HOURS:g} h on" if hours > 2 * SETTLED_HOURS else ""
    times = f"{lines:,} lines, {hours * 3600 / took:.0f} times real time"
    print(f"{name:7s} MB: {told}; at most {most:.1f}{grows}; {kind}, {times}", flush=True)


def main() -> None:
    """Print a line for each kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of each kind, in real time")
    parser.add_argument("--quick", action="store_true", help="PCM and FLAC, eight seconds of each")
    parser.add_argument(
        "--hours", type=float, help="of sound, as fast as it is taken: what it keeps in memory"
    )
    parser.add_argument(
        "--forms", nargs="+", choices=FORMS, default=list(FORMS), help="of output, with --hours"
    )
    given = parser.parse_args()
    if given.hours is not None:
        for name in given.forms:
            print_memory(name, given.hours)
        return
    kinds = ["raw", "flac"] if given.quick else [*PCM, *CODECS]
    seconds = 8.0 if given.quick else given.seconds
    for kind in kinds:
        rate = PCM.get(kind) or CODECS[kind][2]
        noise = noise_of(rate, seconds)
        chunks = pcm(rate, noise, kind == "wav") if kind in PCM else encoded(kind, noise)
        late = delays(chunks, RAW if kind == "raw" else [])
        print(f"{kind:7s} median {statistics.median(late):.2f} s, longest {max(late):.2f} s", flush=True)


if __name__ == "__main__":
    main()
