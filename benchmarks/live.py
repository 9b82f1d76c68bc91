"""How long after its last sound a window's tags are written, while a pipe plays in real time.

    python benchmarks/live.py
    python benchmarks/live.py --quick

Noise is encoded, and its bytes are fed to `auricle tag --live - --format csv` at the pace at which they would
be recorded. A line's delay is the time at which it is read, less the time at which its window's last sample
was fed. Printed are the median and the longest delay of each kind of stream, without the first seconds, in
which FFmpeg looks at a container.
"""

import argparse
import io
import statistics
import struct
import subprocess
import sys
import threading
import time
from fractions import Fraction

import av
import numpy as np

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


def pcm(rate: int, seconds: float, header: bool) -> Chunks:
    """Noise as PCM of 16 bits, perhaps as a WAV without an end."""
    noise = (np.random.default_rng(0).standard_normal(round(rate * seconds)) * 3000).astype("<i2").tobytes()
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
    head = b"RIFF\xff\xff\xff\xffWAVEfmt " + form + b"data\xff\xff\xff\xff" if header else b""
    step = 2 * round(rate * PIECE_SECONDS)
    pieces = [((at + step) / 2 / rate, noise[at : at + step]) for at in range(0, len(noise), step)]
    return [(pieces[0][0], head + pieces[0][1]), *pieces[1:]]


def encoded(kind: str, seconds: float) -> Chunks:
    """Noise as a muxer hands it out while it is recorded."""
    container_format, codec, rate, form = CODECS[kind]
    noise = (np.random.default_rng(0).standard_normal(round(rate * seconds)) * 0.1).astype(np.float32)
    out, chunks, step = Bytes(), [], round(rate * PIECE_SECONDS)
    options = {"page_duration": "100000"} if kind == "ogg" else {}
    with av.open(out, "w", format=container_format, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
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
    return chunks


def delays(chunks: Chunks, options: list[str]) -> list[float]:
    """Seconds from the end of each window to its line."""
    command = [
        sys.executable,
        "-m",
        "auricle",
        "tag",
        "--live",
        "-",
        "--format",
        "csv",
        "--top",
        "1",
        "--quiet",
    ]
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


def main() -> None:
    """Print a line for each kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of each kind, in real time")
    parser.add_argument("--quick", action="store_true", help="PCM and FLAC, eight seconds of each")
    given = parser.parse_args()
    kinds = ["raw", "flac"] if given.quick else [*PCM, *CODECS]
    seconds = 8.0 if given.quick else given.seconds
    for kind in kinds:
        chunks = pcm(PCM[kind], seconds, kind == "wav") if kind in PCM else encoded(kind, seconds)
        late = delays(chunks, RAW if kind == "raw" else [])
        print(f"{kind:7s} median {statistics.median(late):.2f} s, longest {max(late):.2f} s", flush=True)


if __name__ == "__main__":
    main()
