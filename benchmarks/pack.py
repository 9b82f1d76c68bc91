"""Packing, beside the least work that there is to do and beside the loop that people write.

    python benchmarks/pack.py [FILE OR CORPUS ...] [--jobs N] [--limit N] [--quick]

The same files are read in six ways, in turns:

- count: PyAV decodes, nothing is done with the frames; in as many processes as jobs, as the next three
- arrays: PyAV decodes, every frame becomes an array
- soundfile: `soundfile.read`, for the formats that it knows
- floor: arrays, their mean over the channels, soxr HQ to 16 kHz: the work that packing cannot do without
- pack: `auricle pack` with that many jobs: the floor, and 16-bit samples, checksums, fsync, tables
- librosa: `librosa.load(path, sr=16000)` and `np.save`, file after file in one process that is warm

Files are written for the purpose: twelve dozen of 60 s stereo at 44.1 kHz of each kind, twelve of them
different, the others copies: enough work that starting the processes of `auricle pack`, about 0.2 s, is not
what is measured. Those that are named, or the clips of corpora (`--limit` of each), are read too.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from auricle.audio import MEDIA_SUFFIXES
from auricle.datasets import Clip, open_corpus
from auricle.engine import default_jobs, pack

RATE, SOURCE_RATE = 16000, 44100
# Kind of file -> FFmpeg's encoder; "": libsndfile writes it.
CODECS = {"mp3": "libmp3lame", "m4a": "aac", "ogg": "", "opus": "libopus", "flac": "", "wav": ""}
WAYS = ("count", "arrays", "soundfile", "floor", "pack", "librosa")
GOAL_OF_DECODING, GOAL_OF_LIBROSA = 0.75, 3.0
DIFFERENT = 12  # files of a kind; writing them takes longer than packing them
BUDGET = 420.0  # seconds for all rounds of all kinds together


def count(path: str) -> float:
    with av.open(path) as container:
        for _ in container.decode(audio=0):
            pass
    return 0.0


def arrays(path: str) -> float:
    with av.open(path) as container:
        for frame in container.decode(audio=0):
            frame.to_ndarray()
    return 0.0


def read_soundfile(path: str) -> float:
    soundfile.read(path, dtype="float32")
    return 0.0


def floor(path: str) -> float:
    """Decode, downmix and resample; the seconds that resampling alone took."""
    with av.open(path) as container:
        frames = [mono(frame) for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    samples = np.concatenate(frames)
    begin = time.perf_counter()
    soxr.resample(samples, rate, RATE, quality="HQ")
    return time.perf_counter() - begin


def mono(frame: av.AudioFrame) -> np.ndarray:
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    scale = 1.0 if samples.dtype.kind == "f" else 1.0 / -float(np.iinfo(samples.dtype).min)
    return samples.mean(axis=0, dtype=np.float32) * np.float32(scale)


def librosa_loop(paths: list[str], folder: str) -> bool:
    """The loop that people write; whether it could read all of them."""
    import librosa

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, path in enumerate(paths):
            try:
                samples, _ = librosa.load(path, sr=RATE)
            except Exception as error:  # without an ffmpeg command it has no reader for some kinds
                print(f"librosa: {path}: {type(error).__name__}", file=sys.stderr)
                return False
            np.save(f"{folder}/{number}.npy", samples)
    return True


def write_sound(target: tuple[str, int, float]) -> bool:
    """Write shaped noise, so that a codec has something to do; whether this codec is there."""
    path, seed, seconds = target
    draw = np.random.default_rng(seed)
    samples = np.cumsum(draw.standard_normal((int(seconds * SOURCE_RATE), 2), dtype=np.float32), axis=0)
    samples -= np.linspace(0, 1, len(samples), dtype=np.float32)[:, None] * samples[-1]
    samples *= np.float32(0.3) / np.abs(samples).max()
    samples += 0.01 * draw.standard_normal(samples.shape, dtype=np.float32)
    codec = CODECS[Path(path).suffix[1:]]
    if not codec:
        subtype = "VORBIS" if path.endswith("ogg") else "PCM_16"
        with soundfile.SoundFile(path, "w", SOURCE_RATE, 2, subtype) as file:
            for start in range(0, len(samples), SOURCE_RATE):  # its Vorbis encoder fails on long blocks
                file.write(samples[start : start + SOURCE_RATE])
        return True
    try:
        av.Codec(codec, "w")
    except ValueError:
        return False
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=48000 if codec == "libopus" else SOURCE_RATE)
        stream.codec_context.layout = "stereo"
        stream.codec_context.bit_rate = 160_000
        for start in range(0, len(samples), SOURCE_RATE):
            block = np.ascontiguousarray(samples[start : start + SOURCE_RATE].T)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = SOURCE_RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return True


def write_kind(folder: Path, kind: str, files: int, seconds: float, pool: ProcessPoolExecutor) -> list[str]:
    folder.mkdir()
    different = [str(folder / f"{number}.{kind}") for number in range(min(DIFFERENT, files))]
    if not all(pool.map(write_sound, [(path, seed, seconds) for seed, path in enumerate(different)])):
        return []
    paths = [str(folder / f"{number}.{kind}") for number in range(files)]
    for number, path in enumerate(paths[len(different) :]):
        shutil.copyfile(different[number % len(different)], path)
    return paths


def given_files(sources: list[str], limit: int) -> dict[str, list[str]]:
    """The files that were named, by their kind, and those of corpora, evenly spread over each."""
    found: dict[str, list[str]] = {}
    for source in sources:
        path = Path(source)
        if path.is_file() and path.suffix.lower() in MEDIA_SUFFIXES:
            found.setdefault(f"given {path.suffix[1:].lower()}", []).append(source)
            continue
        name, clips = open_corpus(source)
        paths = list(dict.fromkeys(clip.path for clip in clips))
        found[name] = paths[:: -(-len(paths) // limit)]
    return found


def timed(work: Callable[[], object]) -> tuple[float, object]:
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


class Bench:
    """The processes, started and warm before any clock runs, and a folder for what is written."""

    def __init__(self, jobs: int, folder: Path):
        self.jobs, self.folder = jobs, folder
        small = folder / "small.wav"
        soundfile.write(small, np.zeros((SOURCE_RATE, 2)), SOURCE_RATE)
        # Packing comes first: it starts the fork server from which all worker processes come.
        self.pack([str(small)] * 2)
        self.pool = ProcessPoolExecutor(jobs, mp_context=get_context("forkserver"))
        for way in (count, arrays, read_soundfile, floor):
            list(self.pool.map(way, [str(small)] * jobs * 4))
        self.single = ProcessPoolExecutor(1, mp_context=get_context("forkserver"))
        self.librosa([str(small)])

    def pack(self, paths: list[str]) -> float:
        """Seconds of `auricle pack`, without those of removing what it wrote."""
        out = self.folder / "pack"
        clips = [Clip(id=str(number), path=path) for number, path in enumerate(paths)]
        took, report = timed(partial(pack, clips, out, rate=RATE, jobs=self.jobs, quiet=True))
        if report["failures"]:  # type: ignore[index]
            raise SystemExit(f"{paths[0]} and others: {report['failures']} failures")  # type: ignore[index]
        shutil.rmtree(out)
        return took

    def librosa(self, paths: list[str]) -> float:
        """Seconds of the loop in one process; NaN where it cannot read these files."""
        out = self.folder / "librosa"
        out.mkdir()
        took, read = timed(lambda: self.single.submit(librosa_loop, paths, str(out)).result())
        shutil.rmtree(out)
        return took if read else float("nan")

    def in_pool(self, way: Callable[[str], float], paths: list[str]) -> tuple[float, float]:
        """Seconds of one way in all processes, file by file, and the sum of what it returns."""
        return timed(lambda: sum(self.pool.map(way, paths)))  # type: ignore[return-value]

    def measure(self, paths: list[str], rounds: int, budget: float) -> tuple[dict[str, float], float, int]:
        """Median seconds of each way; what resampling alone took of all processes; the rounds."""
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        resampling = []
        known = soundfile_reads(paths)
        begin = time.perf_counter()
        while len(times["pack"]) < rounds:
            for way, function in (("count", count), ("arrays", arrays)):
                times[way].append(self.in_pool(function, paths)[0])
            times["soundfile"].append(self.in_pool(read_soundfile, paths)[0] if known else float("nan"))
            took, alone = self.in_pool(floor, paths)
            times["floor"].append(took)
            resampling.append(alone)
            times["pack"].append(self.pack(paths))
            times["librosa"].append(self.librosa(paths))
            done = len(times["pack"])
            if (time.perf_counter() - begin) * (done + 1) / done > budget:
                break
        middle = {way: statistics.median(values) for way, values in times.items()}
        return middle, statistics.median(resampling), len(times["pack"])


def soundfile_reads(paths: list[str]) -> bool:
    try:
        return all(soundfile.info(path).frames for path in paths)
    except (soundfile.LibsndfileError, RuntimeError):
        return False


def seconds_of_sound(paths: list[str]) -> float:
    total = 0.0
    for path in paths:
        with av.open(path) as container:
            total += float(container.duration or 0) / av.time_base
    return total


def report(kinds: dict[str, list[str]], bench: Bench, rounds: int) -> None:
    print("\nseconds (median of the rounds); below, the speed of pack as a multiple of each way's speed")
    print(f"{'files':>12} {'sound':>8} " + " ".join(f"{way:>9}" for way in WAYS) + "  resampling  rounds")
    compressed = []
    for kind, paths in kinds.items():
        took, resampling, done = bench.measure(paths, rounds, BUDGET / len(kinds))
        share = resampling / (took["pack"] * bench.jobs)
        seconds = " ".join(f"{took[way]:9.3f}" if took[way] == took[way] else f"{'-':>9}" for way in WAYS)
        print(f"{kind:>12} {seconds_of_sound(paths):6.0f} s {seconds}  {share:10.0%}  {done:6}")
        print(f"{len(paths):>6} files {'':>8} {multiples([took])}", flush=True)
        if kind != "wav":
            compressed.append(took)
    print(f"{'compressed':>12} {'together':>8} {multiples(compressed)}")
    print(
        "\nresampling: what soxr alone took of the processor time of pack (for WAV there is little else)\n"
        "together: all kinds but WAV, each way over the kinds that it reads\n"
        f"goals: {GOAL_OF_DECODING} x bare decoding, {GOAL_OF_LIBROSA} x librosa with two jobs"
    )


def multiples(measured: list[dict[str, float]]) -> str:
    """Speed of pack as a multiple of each way's, over the kinds that this way reads."""
    shown = []
    for way in WAYS:
        read = [took for took in measured if took[way] == took[way]]
        ratio = sum(took[way] for took in read) / sum(took["pack"] for took in read) if read else 0.0
        shown.append(f"{ratio:8.2f}x" if read and way != "pack" else f"{'':>9}")
    return " ".join(shown)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="*", help="media files or corpora that are read besides")
    parser.add_argument("--jobs", type=int, default=default_jobs())
    parser.add_argument("--limit", type=int, default=2000, help="only so many files of each corpus")
    parser.add_argument("--quick", action="store_true", help="small files, one round: does it run?")
    arguments = parser.parse_args()
    files, seconds, rounds = (4, 5.0, 1) if arguments.quick else (144, 60.0, 5)
    print(
        f"{os.cpu_count()} cores, {arguments.jobs} jobs, Python {sys.version.split()[0]}, "
        f"PyAV {av.__version__}, soundfile {soundfile.__version__}, soxr {soxr.__version__}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(arguments.jobs, folder)
        kinds = given_files(arguments.sources, arguments.limit // (10 if arguments.quick else 1))
        for kind in CODECS:
            if paths := write_kind(folder / kind, kind, files, seconds, bench.pool):
                kinds[kind] = paths
            else:
                print(f"{kind}: this build of FFmpeg cannot write it", file=sys.stderr)
        report(kinds, bench, rounds)
        bench.pool.shutdown()
        bench.single.shutdown()


if __name__ == "__main__":
    main()
