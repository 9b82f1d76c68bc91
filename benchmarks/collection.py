"""`auricle tag` on collections, from files to results: times real time, beside the bare decoder; peak memory.

An hour of MP3, an hour of FLAC and a thousand clips of five seconds, with the default model, windows and all,
into CSV: the whole command, its start and the loading of the model with it. "bare decoder" is a loop over the
same files in one process that decodes them with PyAV and does nothing else: on one core, nothing that hears
them is faster. Then the peak memory of the command over ten minutes and over 24 hours of MP3, and what a
second run over the clips into the same folder takes, when nothing has changed. The sounds are made here.

    python benchmarks/collection.py [--folder KEPT] [--rounds 3] [--json FILE] [--quick]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from tag_hour import RATE, synthesise

CLIP_SECONDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where the sounds are kept from run to run; else nowhere")
    parser.add_argument("--model", default="default")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest counts")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument(
        "--quick", action="store_true", help="a minute each, 20 clips, and 1 against 10 minutes"
    )
    parser.add_argument("--decode", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.decode:
        print(decode(options.decode))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures = measure(folder, Path(temporary), options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    seconds, clips, short, long = (60, 20, 60, 600) if options.quick else (3600, 1000, 600, 86_400)
    rounds = 1 if options.quick else options.rounds
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, PyAV {av.__version__}"
    figures: dict[str, Any] = {"machine": machine, "model": options.model, "rounds": rounds}
    print(machine)
    print(f"{'':>28}{'auricle tag':>13}{'x real time':>13}{'peak MB':>9}{'bare decoder':>14}{'x':>8}")
    sources = {
        f"{seconds} s of MP3": [made(folder / f"{seconds}s.mp3", seconds)],
        f"{seconds} s of FLAC": [made(folder / f"{seconds}s.flac", seconds)],
        f"{clips} clips of {CLIP_SECONDS} s, FLAC": made_clips(folder / f"clips{clips}", clips),
    }
    for name, files in sources.items():
        length = seconds if len(files) == 1 else len(files) * CLIP_SECONDS
        given = files if len(files) == 1 else [files[0].parent]
        runs = [tag(given, scratch / "out.csv", options.model) for _ in range(rounds)]
        took, peak = min(run[0] for run in runs), max(run[1] for run in runs)
        bare = min(decoding(files) for _ in range(rounds))
        print(f"{name:>28}{took:>11.1f} s{length / took:>13,.0f}{peak:>9.0f}", end="")
        print(f"{bare:>12.1f} s{length / bare:>8,.0f}", flush=True)
        figures[name] = {"seconds": took, "times_real_time": length / took, "peak_mb": peak, "decoder": bare}
    first, _ = tag([folder / f"clips{clips}"], scratch / "tags", options.model, folder=True)
    again, _ = tag([folder / f"clips{clips}"], scratch / "tags", options.model, folder=True)
    print(f"the clips into a folder {first:.1f} s, a second run with nothing changed {again:.1f} s")
    figures["folder"] = {"first": first, "again": again}
    for length in (short, long):
        took, peak = tag([made(folder / f"{length}s.mp3", length)], scratch / "out.csv", options.model)
        print(
            f"{length / 60:,.0f} minutes of MP3: peak {peak:.0f} MB, {length / took:,.0f} x real time",
            flush=True,
        )
        figures[f"memory of {length} s"] = {"peak_mb": peak, "seconds": took}
    return figures


def tag(given: Sequence[Path], out: Path, model: str, folder: bool = False) -> tuple[float, float]:
    """(seconds, peak resident MB of the largest of its processes) of the command."""
    command = [sys.executable, "-m", "auricle", "tag", *map(str, given), "--model", model, "--quiet"]
    command += ["--windows", "--format", "csv", "--out", f"{out}/" if folder else str(out)]
    begin = time.perf_counter()
    # os.wait4 tells the memory of this child and of those that it waited for.
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
    return took, usage.ru_maxrss / 1024


def decoding(files: Sequence[Path]) -> float:
    command = [sys.executable, __file__, "--decode", *map(str, files)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def decode(files: Sequence[str]) -> float:
    begin = time.perf_counter()
    for file in files:
        with av.open(file) as container:
            for _ in container.decode(audio=0):
                pass
    return time.perf_counter() - begin


def made(path: Path, seconds: int) -> Path:
    """A recording of that length: noise and tones that come and go, 44.1 kHz stereo."""
    if path.exists():
        return path
    if path.suffix == ".mp3":
        synthesise(path, seconds)
        return path
    part = path.with_suffix(".part.flac")
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(part, "w", RATE, 2, "PCM_16") as file:
        for _ in range(seconds):
            file.write(second(rng))
    part.rename(path)
    return path


def made_clips(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:04d}.flac" for number in range(count)]
    for number, path in enumerate(files):
        if not path.exists():
            rng = np.random.default_rng(number)
            soundfile.write(path, np.concatenate([second(rng) for _ in range(CLIP_SECONDS)]), RATE)
    return files


def second(rng: np.random.Generator) -> np.ndarray:
    tone = np.sin(2 * np.pi * rng.uniform(100, 8000) * np.arange(RATE) / RATE) * rng.uniform(0, 0.4)
    samples = rng.standard_normal((RATE, 2)) * rng.uniform(0.001, 0.1) + tone[:, None]
    return np.clip(samples, -1, 1).astype(np.float32)


if __name__ == "__main__":
    main()
