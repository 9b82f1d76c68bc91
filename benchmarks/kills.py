"""Kill pack, tag, embed and train at random moments, go on each time, and compare with an undisturbed run.

    python benchmarks/kills.py
    python benchmarks/kills.py --verbs pack,train --kills 5

A run is the real command in a process of its own, killed (SIGKILL) at a moment drawn from the time that it
takes undisturbed, then given again, until it finishes; runs follow each other until there were as many kills
as asked for. Two kills of three wait with that until the journal, or the log of a training, is there: what
Python imports is not what is to be tried. The table counts the kills that found entries of finished tasks.
Every second kill takes the workers with it, the others leave them to notice by themselves. What a finished
run leaves is then compared file by file and byte for byte with what an undisturbed one left, but for times;
of a training, the weights of every model that it keeps, and the figures of its log. Recordings are of noise
and tones, made anew.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
TIMES = ("seconds", "elapsed", "waited", "hours")  # of JSON: what is never the same twice


@dataclass(frozen=True, kw_only=True)
class Verb:
    """What is killed.

    Args:
        first: arguments of `auricle`, given the folder that is written.
        again: those after a kill.
        left: what a finished run left: name -> bytes.
    """

    first: Callable[[Path], list[str]]
    again: Callable[[Path], list[str]]
    left: Callable[[Path], dict[str, bytes]]


def make_sounds(folder: Path, count: int) -> Path:
    """Recordings of 1 to 4 s in two classes, and a table of them."""
    folder.mkdir(parents=True)
    drawn = np.random.default_rng(5)
    rows = ["path,labels,split"]
    for number in range(count):
        samples = int(drawn.uniform(1, 4) * RATE)
        hertz = 300 if number % 2 else 2000
        sound = 0.2 * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE) + drawn.normal(0, 0.05, samples)
        soundfile.write(folder / f"{number:03d}.wav", sound, RATE)
        rows.append(
            f"{number:03d}.wav,{'low' if number % 2 else 'high'},{'train' if number % 5 else 'validation'}"
        )
    (folder / "sounds.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "sounds.csv"


def without_times(value: object) -> object:
    """JSON without what tells the time."""
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in TIMES}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def files(folder: Path) -> dict[str, bytes]:
    """All files of a folder, JSON without times; of a single file, that."""
    if folder.is_file():
        return {"": folder.read_bytes()}
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".json":
                content = json.dumps(without_times(json.loads(content))).encode()
            found[str(path.relative_to(folder))] = content
    return found


def trained(run: Path) -> dict[str, bytes]:
    """The weights of all models of a run, and the figures of its log, the last of each step."""
    found = {
        str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("weights.safetensors"))
    }
    figures: dict[tuple[int, tuple[str, ...]], dict[str, float]] = {}
    for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "event" not in entry:
            kept = {name: value for name, value in entry.items() if name not in TIMES}
            figures[entry["step"], tuple(sorted(kept))] = kept
    return found | {"log": json.dumps([figures[key] for key in sorted(figures)]).encode()}


def make_verbs(work: Path, recordings: int) -> dict[str, Verb]:
    """The four commands, on recordings made here."""
    table = make_sounds(work / "sounds", recordings)
    sounds = str(table.parent)

    def packing(out: Path) -> list[str]:
        return ["pack", str(table), str(out), "--jobs", "2"]

    def tagging(out: Path) -> list[str]:
        given = ["tag", sounds, "--threshold", "0", "--jobs", "2"]
        return [*given, "--format", "jsonl", "--out", str(out / "tags.jsonl")]

    def into_folder(out: Path) -> list[str]:
        given = ["tag", sounds, "--threshold", "0", "--jobs", "2"]
        return [*given, "--format", "csv", "--windows", "--out", f"{out}/tags/"]

    def embedding(out: Path) -> list[str]:
        return ["embed", sounds, "--out", str(out / "embeddings.parquet"), "--jobs", "2"]

    packed = work / "pack"
    auricle(packing(packed))
    settings = [
        "model=compact", "model_arguments.stem=8", "model_arguments.widths=[16, 32]",
        "model_arguments.blocks=[1, 1]", "steps=60", "batch=16", "checkpoint_every=7", "log_every=5",
        "validate_every=20", "validation_splits=validation", "train_splits=train",
    ]  # fmt: skip
    sets = [part for setting in settings for part in ("--set", setting)]

    def training(out: Path) -> list[str]:
        return [
            "train", "--recipe", "hershey", "--data", str(packed), "--out", str(out),
            "--threads", "1", "--device", "cpu", *sets,
        ]  # fmt: skip

    return {
        "pack": Verb(first=packing, again=packing, left=files),
        "tag": Verb(first=tagging, again=tagging, left=files),
        "tag into a folder": Verb(first=into_folder, again=into_folder, left=files),
        "embed": Verb(first=embedding, again=embedding, left=files),
        "train": Verb(first=training, again=lambda out: [*training(out), "--resume"], left=trained),
    }


def command(arguments: list[str]) -> list[str]:
    """The command line of `auricle`."""
    return [sys.executable, "-m", "auricle", *arguments]


def auricle(arguments: list[str]) -> float:
    """Run to the end; how many seconds it took."""
    before = time.monotonic()
    done = subprocess.run(command(arguments), capture_output=True, text=True, env=environment())
    if done.returncode:
        raise SystemExit(f"auricle {' '.join(arguments)}: exit {done.returncode}\n{done.stderr}")
    return time.monotonic() - before


def environment() -> dict[str, str]:
    """One thread each, or runs on few cores are of waiting."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def entries(out: Path) -> int:
    """How many finished tasks, or steps of a training, are entered; -1 where nothing has begun."""
    journals = [path for path in out.rglob("*") if path.name in ("header.json", "log.jsonl")]
    if not journals:
        return -1
    log = out / "log.jsonl"
    if log.exists():
        return log.read_bytes().count(b"\n")
    return len(list(journals[0].parent.glob("[0-9]*.json")))


def killed(arguments: list[str], after: float, whole: bool, out: Path, wait: bool) -> bool:
    """Run, and kill after some seconds (of work, where that is waited for); False where it had finished."""
    process = subprocess.Popen(
        command(arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
    )
    while wait and process.poll() is None and entries(out) < 0:
        time.sleep(0.005)
    try:
        _, error = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        if whole:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()
        return True
    if process.returncode:
        raise SystemExit(f"auricle {' '.join(arguments)}: exit {process.returncode}\n{error.decode()}")
    return False


def kill_and_compare(name: str, verb: Verb, work: Path, kills: int, draw: random.Random) -> dict[str, int]:
    """Runs with kills until there were enough of them; each finished run held against the undisturbed one."""
    whole = work / f"{name.replace(' ', '-')}-undisturbed"
    whole.mkdir()
    seconds = auricle(verb.first(whole))
    expected = verb.left(whole)
    count = {"runs": 0, "kills": 0, "amid": 0, "files": len(expected), "differences": 0}
    while count["kills"] < kills:
        out = work / f"{name.replace(' ', '-')}-{count['runs']}"
        out.mkdir()
        arguments, longest = verb.first(out), seconds
        while killed(
            arguments, draw.uniform(0, longest), count["kills"] % 2 == 1, out, wait=count["kills"] % 3 > 0
        ):
            count["kills"] += 1
            count["amid"] += entries(out) > 0
            arguments = verb.again(out)
            longest *= 1.1  # or a machine that has become slower would never let it finish
        found = verb.left(out)
        different = sorted(
            key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)
        )
        for key in different:
            print(f"{name}, run {count['runs']}: {key} differs", file=sys.stderr)
        count["differences"] += len(different)
        count["runs"] += 1
        if not different:
            shutil.rmtree(out)
    return count


def main() -> None:
    """Kill, compare, print a table; exit 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--verbs", default="pack,tag,tag into a folder,embed,train", help="with commas between"
    )
    parser.add_argument("--kills", type=int, default=100, help="at least, of each verb")
    parser.add_argument("--recordings", type=int, default=200)
    parser.add_argument("--folder", help="where to work; in memory (/dev/shm) no time goes into fsync")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="kills-", dir=options.folder) as folder:
        verbs = make_verbs(Path(folder), options.recordings)
        print("| verb | runs | kills | with tasks done | files compared | differences |\n" + "|---" * 6 + "|")
        differences = 0
        for name in options.verbs.split(","):
            count = kill_and_compare(name, verbs[name], Path(folder), options.kills, draw)
            differences += count["differences"]
            compared = count["files"] * count["runs"]
            print(
                f"| {name} | {count['runs']} | {count['kills']} | {count['amid']} | {compared} "
                f"| {count['differences']} |",
                flush=True,
            )
    sys.exit(differences > 0)


if __name__ == "__main__":
    main()
