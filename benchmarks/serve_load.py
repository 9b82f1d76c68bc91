"""Many clients at once at `auricle serve`: throughput, latency, statuses, memory; beside `auricle tag`.

    python benchmarks/serve_load.py
    python benchmarks/serve_load.py --seconds 5 --clients 8

The service is a process of its own, as it is started by `auricle serve`; all clients are in one other
process, on the same machine. Each client sends a recording as the body of `POST /v1/tag`, waits for the
answer, and sends the next over the same connection. Where it is refused (429) it waits as long as
`Retry-After` says and asks again. The recordings are made here, of tones and noise: 40 of 5 s and 4 of 60 s,
half WAV (44.1 kHz, stereo, 16 bits), half MP3 (128 kbit/s). Every answer is compared with what
`auricle tag --format jsonl` says of that recording, to the byte.

Memory is that of the service and all processes that it started, read twice a second as the kernel's
proportional set size (a page that several share is counted once). `auricle tag` then does the same
recordings, as often as the service did, in one command; what it takes to start is in its time.

Then come more clients than may wait: the same of a service with `--queue 8`. Each 429 must have a
`Retry-After` and say why in one line; a client asks for one recording until it has it, also when the time is
over. Afterwards the service must be idle, have kept nothing of what it refused, and answer at once.

The exit status is 1 where an answer was other than 200 or 429, its numbers were others, a recording was
given up, or the service was not well afterwards.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from serve_process import numbers, served

RATE = 44_100
KINDS = ((40, 5), (4, 60))  # recordings, their seconds
PATIENCE_SECONDS = 120.0  # after the end, for what was asked before
TYPES = {".wav": "audio/wav", ".mp3": "audio/mpeg"}


@dataclass
class Told:
    """What the clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: dict[int, list[float]] = field(default_factory=lambda: {long: [] for _, long in KINDS})
    names: Counter[str] = field(default_factory=Counter)
    tries: list[int] = field(
        default_factory=list
    )  # how often each recording was asked for until it was taken
    waits: list[float] = field(default_factory=list)  # seconds, as Retry-After said
    wrong: int = 0
    broken: int = 0
    unsaid: int = 0  # refusals that do not say why, or until when
    given_up: int = 0


@dataclass
class Run:
    """What a service and its clients did."""

    told: dict[str, Any]  # `Told`, as JSON
    memory: list[tuple[float, float]]  # seconds, MB
    took: dict[str, float]  # seconds of processor time
    answered_in: float  # seconds, of a recording when the clients had gone
    wrong: list[str]  # what was not well then


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--model", default="default")
    parser.add_argument(
        "--serve", default="", metavar="OPTIONS", help="more for auricle serve, say '--jobs 4'"
    )
    parser.add_argument("--overload", type=float, default=30.0, help="seconds with too many; 0: without")
    parser.add_argument("--queue", type=int, default=8, help="how many may wait then")
    parser.add_argument("--as-clients", nargs=3, metavar=("PORT", "FOLDER", "SAID"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_clients:
        port, folder, said = options.as_clients
        asyncio.run(ask_all(int(port), Path(folder), Path(said), options))
        return
    sys.exit(measure(options))


def measure(options: argparse.Namespace) -> int:
    """The whole benchmark; gives the exit status."""
    print(f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "sounds")
        make_sounds(folder)
        said = Path(temporary, "said.jsonl")
        tag(folder, said, options)
        run = serve_and_ask(folder, said, Path(temporary, "data"), options, options.seconds)
        report(run, options)
        beside(run.told, folder, Path(temporary), options)
        wrong = faults(run)
        if options.overload:
            few = ("--queue", str(options.queue))
            run = serve_and_ask(folder, said, Path(temporary, "few"), options, options.overload, few)
            report_overload(run, options)
            wrong += faults(run)
    for line in wrong:
        print("WRONG", line)
    return int(bool(wrong))


def faults(run: Run) -> list[str]:
    """What must not be."""
    told = run.told
    statuses: dict[str, int] = told["statuses"]
    bad = {status: count for status, count in statuses.items() if status not in ("200", "429")}
    counts = {name: told[name] for name in ("wrong", "broken", "unsaid", "given_up") if told[name]}
    said = [f"{name}: {count}" for name, count in (bad | counts).items()] + run.wrong
    return said if statuses.get("200") else [*said, "nothing was answered"]


def make_sounds(folder: Path) -> None:
    """The recordings, each of its own seed."""
    folder.mkdir()
    for count, seconds in KINDS:
        for number in range(count):
            drawn = np.random.default_rng((seconds, number))
            clock = np.arange(seconds * RATE) / RATE
            sound = drawn.normal(0, drawn.uniform(0.001, 0.1), (len(clock), 2))
            for _ in range(seconds // 5 * 3):
                from_, long = drawn.uniform(0, seconds), drawn.uniform(0.2, 2)
                heard = (clock >= from_) & (clock < from_ + long)
                tone = np.sin(2 * np.pi * drawn.uniform(100, 6000) * clock[heard])
                sound[heard] += drawn.uniform(0.02, 0.2) * tone[:, None]
            suffix = ".wav" if number % 2 else ".mp3"
            soundfile.write(folder / f"{seconds}s-{number}{suffix}", sound.clip(-1, 1), RATE)


def tag(folder: Path, said: Path, options: argparse.Namespace) -> float:
    """Write what `auricle tag` says of every recording; gives the seconds it took."""
    command = [sys.executable, "-m", "auricle", "tag", str(folder), "--quiet", "--format", "jsonl"]
    command += ["--threshold", "0"]  # else there would be nothing to compare: few sounds here are the model's
    begun = time.perf_counter()
    done = subprocess.run([*command, "--model", options.model], capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    said.write_bytes(done.stdout)
    return time.perf_counter() - begun


def serve_and_ask(
    folder: Path,
    said: Path,
    data: Path,
    options: argparse.Namespace,
    seconds: float,
    more: tuple[str, ...] = (),
) -> Run:
    """Start a service, let the clients ask, see how it is afterwards, end it."""
    command = ["--model", options.model, "--data", str(data), *options.serve.split(), *more]
    memory: list[tuple[float, float]] = []
    with served(command, memory) as (port, over):
        asking = [sys.executable, __file__, "--as-clients", str(port), str(folder), str(said)]
        asking += ["--clients", str(options.clients), "--seconds", str(seconds)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        clients = subprocess.run(asking, stdout=subprocess.PIPE, check=True).stdout
        between = resource.getrusage(resource.RUSAGE_CHILDREN)
        over.set()  # of memory: what comes now is not what was asked
        answered_in, wrong = afterwards(port, folder, said, data)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = {"clients": processor_time(before, between), "service": processor_time(between, ended)}
    return Run(json.loads(clients), memory, spent, answered_in, wrong)


def processor_time(before: resource.struct_rusage, after: resource.struct_rusage) -> float:
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def afterwards(port: int, folder: Path, said: Path, data: Path) -> tuple[float, list[str]]:
    """(seconds of an answer, what is not as it should be) when the clients have gone."""
    address, wrong = f"http://127.0.0.1:{port}", []
    with urllib.request.urlopen(f"{address}/metrics", timeout=60) as answer:
        metrics = answer.read().decode()
    for name in ("auricle_queue_length", "auricle_uploads_in_progress"):
        found = re.search(rf"^{name} (\S+)$", metrics, re.MULTILINE)
        if not found or float(found[1]):
            wrong.append(f"afterwards {name} is {found and found[1]}")
    left = list((data / "uploads").iterdir())
    if left:
        wrong.append(f"afterwards {len(left)} uploads lie on the disk")
    name, line = next(iter(expectations(said).items()))
    begun = time.perf_counter()
    asked = urllib.request.Request(f"{address}/v1/tag?threshold=0&format=jsonl", (folder / name).read_bytes())
    asked.add_header("Content-Type", TYPES[Path(name).suffix])
    with urllib.request.urlopen(asked, timeout=60) as answer:
        if numbers(answer.read()) != line:
            wrong.append("afterwards the numbers are others")
    return time.perf_counter() - begun, wrong


async def ask_all(port: int, folder: Path, said: Path, options: argparse.Namespace) -> None:
    """Every client, until the time is over; writes what they saw as JSON."""
    expected = expectations(said)
    bodies = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    told = Told()
    begun = time.perf_counter()
    until = begun + options.seconds
    async with asyncio.TaskGroup() as group:
        for number in range(options.clients):
            group.create_task(client(number, port, bodies, expected, until, told))
    answer = {**vars(told), "seconds": time.perf_counter() - begun}
    json.dump(answer, sys.stdout)


def expectations(said: Path) -> dict[str, bytes]:
    """What `auricle tag` said of each recording, by its name."""
    lines = said.read_bytes().splitlines()
    return {Path(json.loads(line)["path"]).name: numbers(line) for line in lines}


async def client(
    number: int, port: int, bodies: dict[str, bytes], expected: dict[str, bytes], until: float, told: Told
) -> None:
    """One client: recording after recording over one connection."""
    drawn = np.random.default_rng(number)
    names = [str(name) for name in drawn.permutation(list(bodies))]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    turn = tries = 0
    while tries or time.perf_counter() < until:
        if time.perf_counter() > until + PATIENCE_SECONDS:
            told.given_up += 1
            break
        name = names[turn % len(names)]
        head = f"POST /v1/tag?wait=600&threshold=0&format=jsonl HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        head += f"Content-Type: {TYPES[Path(name).suffix]}\r\nContent-Length: {len(bodies[name])}\r\n\r\n"
        begun = time.perf_counter()
        try:
            writer.write(head.encode() + bodies[name])
            status, said, body = await answered(reader)
        except (OSError, asyncio.IncompleteReadError):
            told.broken += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        told.statuses[status] += 1
        tries += 1
        if status == 200:
            told.names[name] += 1
            told.latencies[int(name.partition("s")[0])].append(time.perf_counter() - begun)
            told.wrong += numbers(body) != expected[name]
            told.tries.append(tries)
            turn, tries = turn + 1, 0
        else:
            wait = said.get("retry-after", "")
            told.unsaid += not wait.isdigit() or not one_line(body)
            told.waits.append(float(wait) if wait.isdigit() else 1.0)
            await asyncio.sleep(told.waits[-1])
        if said.get("connection") == "close":
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def answered(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of an answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    said = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), said, await reader.readexactly(int(said["content-length"]))


def one_line(body: bytes) -> bool:
    """Whether an error is told as it should be."""
    try:
        line = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(line, str) and bool(line) and "\n" not in line


def report(run: Run, options: argparse.Namespace) -> None:
    """What the clients saw, and what it took."""
    told, took = run.told, run.took
    statuses, seconds, audio = told["statuses"], told["seconds"], audio_seconds(told)
    print(f"{options.clients} clients for {options.seconds:g} s")
    print("statuses        " + counted(statuses))
    print(f"wrong numbers   {told['wrong']}; broken connections {told['broken']}")
    rate = statuses.get("200", 0) / seconds
    print(f"throughput      {rate:.1f} recordings/s, {audio / seconds:.0f} x real time")
    for long, taken in told["latencies"].items():
        if taken:
            half, most, nearly = np.percentile(taken, (50, 95, 99))
            print(
                f"latency, {long:>2} s   50 %: {half:.2f} s, 95 %: {most:.2f} s, 99 %: {nearly:.2f} s, "
                f"longest {max(taken):.2f} s ({len(taken):,} answers)"
            )
    print(f"processor time  {took['service']:.1f} s of the service, {took['clients']:.1f} s of the clients")
    print("memory          " + over_time(run.memory))


def report_overload(run: Run, options: argparse.Namespace) -> None:
    """The same of a service that more clients ask than may wait."""
    told, statuses = run.told, run.told["statuses"]
    print(f"\n{options.clients} clients for {options.overload:g} s, of whom {options.queue} may wait")
    print("statuses        " + counted(statuses))
    print(f"wrong numbers   {told['wrong']}; broken connections {told['broken']}")
    print(f"refusals        {told['unsaid']} without Retry-After or a line that says why")
    if told["waits"]:
        print("Retry-After     " + quantiles(told["waits"], "{:.0f} s"))
    print("asked until had " + quantiles(told["tries"], "{:.0f} times") + f"; given up {told['given_up']}")
    print(f"throughput      {statuses.get('200', 0) / told['seconds']:.1f} recordings/s")
    print("memory          " + over_time(run.memory))
    print(f"afterwards      idle, nothing kept, a recording is answered in {run.answered_in:.2f} s")


def counted(statuses: dict[str, int]) -> str:
    return ", ".join(f"{count:,} of {status}" for status, count in sorted(statuses.items()))


def quantiles(values: list[float], form: str) -> str:
    named = zip(("50 %", "95 %", "99 %", "most"), np.percentile(values, (50, 95, 99, 100)), strict=True)
    return ", ".join(f"{name}: {form.format(value)}" for name, value in named)


def over_time(memory: list[tuple[float, float]]) -> str:
    """Memory in sixths of the time."""
    used = np.array(memory)
    parts = ", ".join(f"{part[:, 1].mean():.0f}" for part in np.array_split(used, 6) if len(part))
    return f"{parts} MB (means of sixths of the time), at most {used[:, 1].max():.0f} MB"


def audio_seconds(told: dict[str, Any]) -> float:
    return float(sum(int(name.partition("s")[0]) * count for name, count in told["names"].items()))


def beside(told: dict[str, Any], folder: Path, temporary: Path, options: argparse.Namespace) -> None:
    """`auricle tag` over the same recordings, as often, in one command."""
    many, names = temporary / "many", told["names"]
    many.mkdir()
    for name, count in names.items():
        for number in range(count):
            (many / f"{number}-{name}").hardlink_to(folder / name)
    seconds = tag(many, temporary / "many.jsonl", options)
    asked, audio = told["seconds"], audio_seconds(told)
    print(
        f"auricle tag     {sum(names.values()):,} recordings in {seconds:.1f} s: "
        f"{sum(names.values()) / seconds:.1f} recordings/s, {audio / seconds:.0f} x real time"
    )
    print(f"service : tag   {seconds / asked:.2f}")


if __name__ == "__main__":
    main()
