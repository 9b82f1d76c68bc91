"""Tagging an hour of MP3 from the file to its tags: times real time, beside decoding alone, and peak memory.

The file is made here: noise bands and tones that come and go, 44.1 kHz stereo, 128 kbit/s. Each measurement
runs in a process of its own, so that its peak memory is its own. "decoding alone" is a bare PyAV loop over
the same file, which is the limit on one core.

    python benchmarks/tag_hour.py [--model NAME|DIR|FILE.onnx] [--lengths 10min,1h,10h] [--threads 2]
                                  [--quick]
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FRAME = 1152  # samples of an MP3 frame
RATE = 44100
UNITS = {"s": 1, "min": 60, "h": 3600}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="default")
    parser.add_argument("--lengths", default="1h", help="comma-separated, as in 10min,1h,10h")
    parser.add_argument("--threads", type=int, default=None, help="for scoring; all cores by default")
    parser.add_argument(
        "--folder", type=Path, help="where the files are kept from run to run; default: nowhere"
    )
    parser.add_argument("--quick", action="store_true", help="one minute only")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(*options.one, options)
        return

    lengths = ["1min"] if options.quick else options.lengths.split(",")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, PyAV {av.__version__}")
    heads = f"{'length':>8}{'tagging':>10}{'x real time':>13}{'peak MB':>9}"
    print(heads + f"{'decoding alone':>16}{'x real time':>13}{'ratio':>7}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for text in lengths:
            seconds = parse(text)
            path = folder / f"{text}.mp3"
            if not path.exists():
                synthesise(path, seconds)
            tagging, peak = run("tag", path, options)
            decoding, _ = run("decode", path, options)
            print(
                f"{text:>8}{tagging:>9.1f}s{seconds / tagging:>13,.0f}{peak:>9.0f}{decoding:>15.1f}s"
                f"{seconds / decoding:>13,.0f}{decoding / tagging:>7.2f}",
                flush=True,
            )


def parse(text: str) -> int:
    """Seconds of "90s", "10min", "1h"."""
    for unit in ("min", "h", "s"):
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * UNITS[unit])
    raise SystemExit(f"length {text!r}: expected a number and s, min or h, as in 10min")


def run(what: str, path: Path, options: argparse.Namespace) -> tuple[float, float]:
    """(seconds, peak resident MB) of one measurement in its own process."""
    command = [sys.executable, __file__, "--model", options.model, "--one", what, str(path)]
    if options.threads:
        command += ["--threads", str(options.threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, peak = map(float, done.stdout.split()[-2:])
    return seconds, peak


def measure(what: str, path: str, options: argparse.Namespace) -> None:
    if what == "tag":
        from auricle.tagging import Tagger

        tagger = Tagger(options.model, threads=options.threads)  # loading is not counted: it happens once
        begin = time.perf_counter()
        tagger.tag(path)
    else:
        begin = time.perf_counter()
        with av.open(path) as container:
            for _ in container.decode(audio=0):
                pass
    took = time.perf_counter() - begin
    print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def synthesise(path: Path, seconds: int) -> None:
    """Noise under a slow envelope, tones that change every second, in stereo: ten minutes, repeated."""
    rng = np.random.default_rng(0)
    part = path.with_suffix(".part.mp3")
    time_N = np.arange(RATE) / RATE
    noises = [rng.standard_normal((2, RATE)).astype(np.float32) for _ in range(8)]
    with av.open(str(part), "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=RATE, layout="stereo", bit_rate=128_000)
        encoded: list[bytes] = []
        for second in range(min(seconds, 600)):
            tone = np.sin(2 * np.pi * rng.uniform(100, 8000) * time_N) * rng.uniform(0, 0.4)
            samples = (noises[second % 8] * rng.uniform(0.001, 0.1) + tone).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, second * RATE, Fraction(1, RATE)
            encoded += [bytes(packet) for packet in stream.encode(frame)]
        for number in range(seconds * RATE // FRAME):  # encoding ten hours takes too long
            packet = av.Packet(encoded[number % len(encoded)])
            packet.stream, packet.time_base = stream, Fraction(1, RATE)
            packet.pts = packet.dts = number * FRAME
            packet.duration = FRAME
            container.mux(packet)
    part.rename(path)


if __name__ == "__main__":
    main()
