"""Packing compressed files, beside bare decoding of the same files and beside the loop that people write.

    python benchmarks/pack.py [SOURCE] [--jobs N] [--quick]

Three things are measured on the same files, in turns:

- `auricle pack`: decode, downmix, resample to 16 kHz, write, fsync, checksum
- bare decoding, with as many processes: PyAV's and soundfile's, the faster of the two for each kind of file
- `librosa.load(path, sr=16000)` in one process, into a list

Without a source, noise is written as FLAC, Ogg Vorbis, MP3 and WAV at 44.1 kHz. WAV has no decoding to speak
of: its row says how much of the packing is resampling.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import soundfile

from auricle.datasets import Clip, open_corpus
from auricle.engine import default_jobs, pack

RATE = 16000
SOURCE_RATE = 44100
GOAL_OF_DECODING, GOAL_OF_LIBROSA = 0.75, 3.0


def bare_soundfile(paths: list[str]) -> None:
    for path in paths:
        soundfile.read(path, dtype="float32")


def bare_pyav(paths: list[str]) -> None:
    for path in paths:
        with av.open(path) as container:
            for _ in container.decode(audio=0):
                pass


def only_resample(paths: list[str]) -> None:
    import soxr

    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        begin = time.perf_counter()
        soxr.resample(samples.mean(axis=1), rate, RATE, quality="HQ")
        only_resample.seconds += time.perf_counter() - begin  # type: ignore[attr-defined]


def librosa_loop(paths: list[str]) -> list[np.ndarray]:
    import librosa

    return [librosa.load(path, sr=RATE)[0] for path in paths]


def seconds_of(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def noise_files(folder: Path, kind: str, count: int, seconds: float) -> list[Clip]:
    """Shaped noise, so that a codec has something to do, in files of one kind."""
    folder.mkdir(parents=True)
    clips = []
    for number in range(count):
        draw = np.random.default_rng(number)
        samples = np.cumsum(draw.standard_normal((int(seconds * SOURCE_RATE), 2)), axis=0)
        samples -= np.linspace(0, 1, len(samples))[:, None] * samples[-1]
        path = folder / f"{number}.{kind}"
        soundfile.write(path, 0.3 * samples / np.abs(samples).max(), SOURCE_RATE)
        clips.append(Clip(id=str(number), path=str(path)))
    return clips


def measure(clips: list[Clip], jobs: int, rounds: int, folder: Path) -> dict[str, float]:
    """Seconds that each way takes: the median of some rounds, the ways in turns."""
    paths = [clip.path for clip in clips]
    parts = [paths[start : start + 16] for start in range(0, len(paths), 16)]
    times: dict[str, list[float]] = {name: [] for name in ("pack", "soundfile", "pyav", "librosa")}
    librosa_loop(paths[:1])
    with ProcessPoolExecutor(jobs, mp_context=get_context("forkserver")) as pool:
        list(pool.map(bare_pyav, [paths[:1]] * jobs * 2))
        list(pool.map(bare_soundfile, [paths[:1]] * jobs * 2))
        for number in range(rounds):
            out = folder / f"pack{number}"
            times["pack"].append(
                seconds_of(lambda out=out: pack(clips, out, rate=RATE, jobs=jobs, quiet=True))
            )
            shutil.rmtree(out)
            times["soundfile"].append(seconds_of(lambda: list(pool.map(bare_soundfile, parts))))
            times["pyav"].append(seconds_of(lambda: list(pool.map(bare_pyav, parts))))
            times["librosa"].append(seconds_of(lambda: librosa_loop(paths)))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", help="a corpus; by default synthetic files")
    parser.add_argument("--jobs", type=int, default=default_jobs())
    parser.add_argument("--limit", type=int, help="only so many clips of the source, evenly spread")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else 5
    count, seconds = (256, 5.0) if arguments.quick else (1024, 10.0)
    python = sys.version.split()[0]
    print(f"{os.cpu_count()} cores, {arguments.jobs} jobs, Python {python}, PyAV {av.__version__}")
    print("hours of audio in an hour (the median of the rounds):")
    print(
        f"{'files':>14} {'pack':>8} {'soundfile':>10} {'PyAV':>8} {'librosa':>8}  pack/decoder  pack/librosa"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpora: list[tuple[str, list[Clip]]] = []
        if arguments.source:
            kind, clips = open_corpus(arguments.source)
            step = max(1, len(clips) // (arguments.limit or len(clips)))
            corpora.append((kind, clips[::step]))
        for kind in () if arguments.source else ("flac", "ogg", "mp3", "wav"):
            corpora.append((kind, noise_files(folder / kind, kind, count, seconds)))
        for kind, clips in corpora:
            audio = sum(soundfile.info(clip.path).duration for clip in clips)
            took = measure(clips, arguments.jobs, rounds, folder)
            speed = {way: audio / value for way, value in took.items()}
            bare = max(speed["soundfile"], speed["pyav"])
            ratios = (speed["pack"] / bare, speed["pack"] / speed["librosa"])
            row = "".join(
                f"{speed[way]:{width},.0f} " for way, width in zip(took, (8, 10, 8, 8), strict=True)
            )
            print(f"{kind:>14} {row} {ratios[0]:12.2f} {ratios[1]:13.1f}")
            if kind == "wav":
                only_resample.seconds = 0.0  # type: ignore[attr-defined]
                only_resample([clip.path for clip in clips])
                share = only_resample.seconds / (took["pack"] * arguments.jobs)  # type: ignore[attr-defined]
                print(f"{'':>14} resampling alone is {share:.0%} of what packing WAV takes")
    print(
        f"goals: {GOAL_OF_DECODING} of bare decoding (not for WAV), {GOAL_OF_LIBROSA} x librosa with two jobs"
    )


if __name__ == "__main__":
    main()
