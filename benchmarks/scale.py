"""What packing and tagging an hour of audio costs, against cores and against the size of the corpus.

    python benchmarks/scale.py [--cores 1,2] [--sizes 1,10,100] [--rounds N] [--json FILE] [--quick]

The corpus is two dozen recordings of a minute (Ogg Vorbis, stereo, 44.1 kHz), 1, 10 and 100 times: links to
the same files, each packed and tagged anew. Packing is to 16 kHz; tagging is by the bundled model, with the
windows of each recording, into one file of JSON Lines. Both are done as `auricle pack` and `auricle tag` do
them with `--jobs N`, a thread each; worker processes are started and the journal is written within the time
that is taken. One process decodes and scores in two threads; `taskset -c 0 python benchmarks/scale.py
--cores 1` gives it one core. Configurations are run in turns, and the median of the rounds is given:

- times real: hours of audio in an hour
- core s / h: seconds of all cores for an hour of audio; flat, where nothing is waited for or grows with the
  corpus
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from auricle.datasets import Clip
from auricle.engine import Engine, default_jobs, pack
from auricle.engine.tagging import tag_to_file
from auricle.formats import write_jsonl
from auricle.tagging import TagOptions

RATE = 44_100


def make_sounds(folder: Path, files: int, seconds: float) -> list[Path]:
    """Recordings of shaped noise, so that a codec has something to do."""
    folder.mkdir()
    paths = []
    for number in range(files):
        draw = np.random.default_rng(number)
        samples = np.cumsum(draw.standard_normal((int(seconds * RATE), 2), dtype=np.float32), axis=0)
        samples -= np.linspace(0, 1, len(samples), dtype=np.float32)[:, None] * samples[-1]
        samples *= np.float32(0.3) / np.abs(samples).max()
        paths.append(folder / f"{number:02d}.ogg")
        with soundfile.SoundFile(paths[-1], "w", RATE, 2, "VORBIS") as file:
            for start in range(0, len(samples), RATE):  # its Vorbis encoder fails on long blocks
                file.write(samples[start : start + RATE])
    return paths


def make_corpus(folder: Path, sounds: list[Path], times: int) -> list[str]:
    """The recordings so many times over, as links: new names for the same bytes."""
    folder.mkdir()
    paths = []
    for copy in range(times):
        for sound in sounds:
            paths.append(str(folder / f"{copy:03d}-{sound.name}"))
            os.link(sound, paths[-1])
    return paths


def packed(paths: list[str], out: Path, jobs: int) -> None:
    clips = [Clip(id=Path(path).name, path=path, labels=("noise",)) for path in paths]
    report = pack(clips, out, jobs=jobs, quiet=True)
    if report["failures"]:
        raise SystemExit(f"{report['failures']} recordings could not be packed")
    shutil.rmtree(out)


def tagged(paths: list[str], out: Path, jobs: int) -> None:
    options = TagOptions(threads=1, windows=True)
    tag_to_file(paths, out, options, write_jsonl, engine=Engine(jobs=jobs), quiet=True)
    out.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", default="1,2", help="numbers of processes, with commas between")
    parser.add_argument("--sizes", default="1,10,100", help="times the corpus, with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write every time that was taken to this file")
    parser.add_argument("--quick", action="store_true", help="small files, one round: does it run?")
    arguments = parser.parse_args()
    cores, sizes = ([int(part) for part in text.split(",")] for text in (arguments.cores, arguments.sizes))
    files, seconds, rounds = (3, 3.0, 1) if arguments.quick else (24, 60.0, arguments.rounds)
    if arguments.quick:
        sizes = [1, 4]
    print(
        f"{default_jobs()} cores, Python {sys.version.split()[0]}, {files} recordings of {seconds:g} s, "
        f"{rounds} rounds"
    )
    taken: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        sounds = make_sounds(folder / "sounds", files, seconds)
        corpora = {times: make_corpus(folder / str(times), sounds, times) for times in sizes}
        for work in (packed, tagged):  # the files are in the system's cache, the libraries too
            work(corpora[sizes[0]], folder / "out", cores[-1])
        for round_ in range(rounds):
            for work in (packed, tagged):
                for paths in corpora.values():
                    for jobs in cores:
                        began = time.perf_counter()
                        work(paths, folder / "out", jobs)
                        took = time.perf_counter() - began
                        hours = len(paths) * seconds / 3600
                        row = {"work": work.__name__, "hours": hours, "jobs": jobs, "round": round_}
                        taken.append(row | {"seconds": took})
                        print(f"{work.__name__} {hours:.1f} h, {jobs} at once: {took:.1f} s", file=sys.stderr)
    report(taken)
    if arguments.json:
        arguments.json.write_text(json.dumps(taken, indent=1) + "\n", encoding="utf-8")


def report(taken: list[dict[str, Any]]) -> None:
    print(f"\n{'':>8} {'hours':>8} {'cores':>6} {'seconds':>9} {'times real':>11} {'core s / h':>11}")
    for work, hours, jobs in dict.fromkeys((row["work"], row["hours"], row["jobs"]) for row in taken):
        seconds = statistics.median(
            row["seconds"] for row in taken if (row["work"], row["hours"], row["jobs"]) == (work, hours, jobs)
        )
        print(
            f"{work:>8} {hours:8.3f} {jobs:6} {seconds:9.2f} {3600 * hours / seconds:11.0f} "
            f"{jobs * seconds / hours:11.2f}"
        )


if __name__ == "__main__":
    main()
