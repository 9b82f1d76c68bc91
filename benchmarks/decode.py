"""Speed of `auricle.audio.blocks` beside bare decoding of the same files by PyAV and by soundfile.

"bare" counts the samples of the frames that PyAV decodes, "arrays" makes each frame a NumPy array,
soundfile reads blocks of float32; none of them downmixes or resamples.  Ours hands out mono float32 at the
file's own rate and at 16 kHz.  One thread each, best of several runs, taken in turn, in processor time: other
work on the machine hardly enters.
"""

import argparse
import cProfile
import platform
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from auricle.audio import blocks

RATE, OUT_RATE = 44_100, 16_000
KINDS = {  # suffix -> PyAV's encoder, or soundfile's subtype
    ".wav": "PCM_16",
    ".flac": "PCM_16",
    ".ogg": "VORBIS",
    ".mp3": "libmp3lame",
    ".m4a": "aac",
    ".opus": "libopus",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short files, two runs")
    parser.add_argument("--seconds", type=float, default=120.0, help="length of each file")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--profile", help="a suffix (.mp3): print where the time of that kind goes")
    arguments = parser.parse_args()
    seconds, runs = (20.0, 2) if arguments.quick else (arguments.seconds, arguments.runs)
    print(f"{platform.processor() or platform.machine()}, PyAV {av.__version__}, NumPy {np.__version__}")
    print(
        f"stereo, {seconds:.0f} s; processor milliseconds, best of {runs}; ratio 1: as fast as the reference"
    )
    columns = (
        "bare",
        "arrays",
        "soundfile",
        "own rate",
        "16 kHz",
        "resampler",
        "own/bare",
        "16k/bare",
        "16k/arrays",
    )
    print(f"{'kind':6}" + "".join(f"{name:>11}" for name in columns) + f"{'x real time':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for suffix in [arguments.profile] if arguments.profile else KINDS:
            path = make(Path(folder) / f"sound{suffix}", KINDS[suffix], seconds)
            row(path, seconds, runs)
            if arguments.profile:
                profile(path)


def row(path: Path, seconds: float, runs: int) -> None:
    """Print the figures of one file."""
    rate = soundfile.info(path).samplerate if path.suffix != ".m4a" else RATE
    samples = np.random.default_rng(0).standard_normal(round(rate * seconds)).astype(np.float32)
    times = fastest(
        {
            "bare": lambda: bare_pyav(path),
            "arrays": lambda: pyav_arrays(path),
            "soundfile": lambda: bare_soundfile(path),
            "own": lambda: ours(path, None),
            "out": lambda: ours(path, OUT_RATE),
            "resampler": lambda: resample(samples, rate),
        },
        runs,
    )
    arrays = min(time for name in ("arrays", "soundfile") if (time := times[name]) is not None)
    bare, own, out = times["bare"], times["own"], times["out"]
    assert bare and own and out
    figures = "".join(f"{'-' if time is None else f'{time * 1e3:.1f}':>11}" for time in times.values())
    ratios = "".join(f"{ratio:11.2f}" for ratio in (bare / own, bare / out, arrays / out))
    print(f"{path.suffix:6}{figures}{ratios}{seconds / out:12.0f}")


def fastest(calls: dict[str, Callable[[], object]], runs: int) -> dict[str, float | None]:
    """The shortest time of each call; None for one that cannot read the file."""
    best: dict[str, float | None] = {}
    for _ in range(runs):
        for name, call in calls.items():
            started = time.process_time()
            try:
                call()
            except soundfile.LibsndfileError:
                best[name] = None
                continue
            spent = time.process_time() - started
            known = best.get(name)
            best[name] = spent if known is None else min(known, spent)
    return best


def bare_pyav(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(container.streams.audio[0]))


def pyav_arrays(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(frame.to_ndarray().size for frame in container.decode(container.streams.audio[0]))


def bare_soundfile(path: Path) -> int:
    with soundfile.SoundFile(path) as file:
        return sum(len(block) for block in file.blocks(blocksize=65_536, dtype="float32"))


def ours(path: Path, rate: int | None) -> int:
    return sum(len(block.samples) for block in blocks(path, rate))


def resample(samples: np.ndarray, rate: int) -> int:
    stream = soxr.ResampleStream(rate, OUT_RATE, 1, quality="HQ")
    pieces = range(0, len(samples), 65_536)
    return sum(len(stream.resample_chunk(samples[start : start + 65_536])) for start in pieces)


def make(path: Path, codec: str, seconds: float) -> Path:
    """A stereo file of a tone in noise, which codecs cannot take lightly."""
    generator = np.random.default_rng(0)
    rate = 48_000 if codec == "libopus" else RATE
    count = round(rate * seconds)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(count) / rate)
    samples = (tone[:, None] + 0.1 * generator.standard_normal((count, 2))).astype(np.float32)
    if codec.isupper():
        with soundfile.SoundFile(path, "w", rate, 2, subtype=codec) as file:
            for start in range(0, count, 1 << 16):  # libsndfile's Vorbis encoder fails on longer pieces
                file.write(samples[start : start + (1 << 16)])
        return path
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout="stereo")
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "flt", layout="stereo")
        frame.sample_rate, frame.pts = rate, 0
        size = stream.codec_context.frame_size or 1_024
        converter = av.AudioResampler(stream.codec_context.format, "stereo", rate, frame_size=size)
        for piece in [*converter.resample(frame), *converter.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return path


def profile(path: Path) -> None:
    """Print the calls that take the time."""
    profiler = cProfile.Profile()
    profiler.runcall(ours, path, OUT_RATE)
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(14)


if __name__ == "__main__":
    main()
