"""Many clients at once at `auricle serve`: throughput, latency, statuses, memory; beside `auricle tag`.

    python benchmarks/serve_load.py
    python benchmarks/serve_load.py --seconds 5 --clients 8

The service is a process of its own, as it is started by `auricle serve`; all clients are in one other
process, on the same machine. Each client sends a recording as the body of `POST /v1/tag`, waits for the
answer, and sends the next over the same connection. Where it is refused (429) it waits a moment and asks
again. The recordings are made here, of tones and noise: 40 of 5 s and 4 of 60 s, half WAV (44.1 kHz, stereo,
16 bits), half MP3 (128 kbit/s). Every answer is compared with what `auricle tag --format jsonl` says of that
recording, to the byte.

Memory is that of the service and all processes that it started, read twice a second as the kernel's
proportional set size (a page that several share is counted once). `auricle tag` then does the same
recordings, as often as the service did, in one command; what it takes to start is in its time.

The exit status is 1 where an answer was other than 200 or 429, or its numbers were others.
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
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

RATE = 44_100
KINDS = ((40, 5), (4, 60))  # recordings, their seconds
TRY_AGAIN_SECONDS = 0.5
READY = re.compile(r"auricle serves \S+ at http://127\.0\.0\.1:(\d+)/")
TYPES = {".wav": "audio/wav", ".mp3": "audio/mpeg"}
MB = 1 << 20


@dataclass
class Told:
    """What the clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: dict[int, list[float]] = field(default_factory=lambda: {long: [] for _, long in KINDS})
    names: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    broken: int = 0


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
        clients, memory, took = serve_and_ask(folder, said, Path(temporary, "data"), options)
        told = json.loads(clients)
        report(told, memory, took, options)
        beside(told, folder, Path(temporary), options)
    bad = {status: count for status, count in told["statuses"].items() if status not in ("200", "429")}
    return int(bool(bad or told["wrong"] or told["broken"] or not told["statuses"].get("200")))


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
    begun = time.perf_counter()
    done = subprocess.run([*command, "--model", options.model], capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    said.write_bytes(done.stdout)
    return time.perf_counter() - begun


def serve_and_ask(
    folder: Path, said: Path, data: Path, options: argparse.Namespace
) -> tuple[bytes, list[tuple[float, float]], dict[str, float]]:
    """(what the clients told, memory over time in MB, seconds of processor time by who took them)."""
    command = [sys.executable, "-m", "auricle", "serve", "--port", "0", "--model", options.model]
    command += ["--data", str(data), *options.serve.split()]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    memory: list[tuple[float, float]] = []
    over = threading.Event()
    try:
        assert service.stdout is not None
        match = READY.match(service.stdout.readline())
        if match is None:
            raise SystemExit("the service did not start")
        watching = threading.Thread(target=watch, args=(service.pid, memory, over))
        watching.start()
        asking = [sys.executable, __file__, "--as-clients", match[1], str(folder), str(said)]
        asking += ["--clients", str(options.clients), "--seconds", str(options.seconds)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        clients = subprocess.run(asking, stdout=subprocess.PIPE, check=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        of_clients = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        over.set()
        watching.join()
    finally:
        over.set()
        service.terminate()
        if service.wait(60) != 0:
            raise SystemExit(f"the service ended with status {service.returncode}")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    of_service = ended.ru_utime + ended.ru_stime - after.ru_utime - after.ru_stime
    return clients, memory, {"clients": of_clients, "service": of_service}


def watch(process: int, memory: list[tuple[float, float]], over: threading.Event, pause: float = 0.5) -> None:
    """Note the memory of a process and of all below it, every so many seconds."""
    begun = time.perf_counter()
    while not over.wait(pause):
        memory.append((time.perf_counter() - begun, sum(map(resident, tree(process))) / MB))


def tree(process: int) -> list[int]:
    """A process and all below it."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            below.setdefault(parent, []).append(int(entry.name))
    found = [process]
    for one in found:
        found += below.get(one, [])
    return found


def resident(process: int) -> int:
    """Bytes of memory, shared pages in parts."""
    folder = Path(f"/proc/{process}")
    try:
        match = re.search(r"^Pss:\s+(\d+)", (folder / "smaps_rollup").read_text(), re.MULTILINE)
        return int(match[1]) * 1024 if match else 0
    except PermissionError:  # one that decodes lets nobody but root look: at most what is its own
        pages = (folder / "statm").read_text().split()
        return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # it has ended
        return 0


async def ask_all(port: int, folder: Path, said: Path, options: argparse.Namespace) -> None:
    """Every client, until the time is over; writes what they saw as JSON."""
    expected = {}
    for line in said.read_bytes().splitlines():
        name = Path(json.loads(line)["path"]).name
        expected[name] = line.split(b'"duration"', 1)[1]
    bodies = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    told = Told()
    begun = time.perf_counter()
    until = begun + options.seconds
    async with asyncio.TaskGroup() as group:
        for number in range(options.clients):
            group.create_task(client(number, port, bodies, expected, until, told))
    answer = {**vars(told), "seconds": time.perf_counter() - begun}
    json.dump(answer, sys.stdout)


async def client(
    number: int, port: int, bodies: dict[str, bytes], expected: dict[str, bytes], until: float, told: Told
) -> None:
    """One client: recording after recording over one connection."""
    drawn = np.random.default_rng(number)
    names = [str(name) for name in drawn.permutation(list(bodies))]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    turn = 0
    while time.perf_counter() < until:
        name = names[turn % len(names)]
        head = f"POST /v1/tag?wait=600&format=jsonl HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        head += f"Content-Type: {TYPES[Path(name).suffix]}\r\nContent-Length: {len(bodies[name])}\r\n\r\n"
        begun = time.perf_counter()
        try:
            writer.write(head.encode() + bodies[name])
            status, keeps, body = await answered(reader)
        except (OSError, asyncio.IncompleteReadError):
            told.broken += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        told.statuses[status] += 1
        if status == 200:
            turn += 1
            told.names[name] += 1
            told.latencies[int(name.partition("s")[0])].append(time.perf_counter() - begun)
            told.wrong += body.strip().split(b'"duration"', 1)[-1] != expected[name]
        else:
            await asyncio.sleep(TRY_AGAIN_SECONDS)
        if not keeps:
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def answered(reader: asyncio.StreamReader) -> tuple[int, bool, bytes]:
    """(status, whether the connection stays, body) of an answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    return int(head.split()[1]), b"connection: close" not in head, await reader.readexactly(length)


def report(
    told: dict[str, object],
    memory: list[tuple[float, float]],
    took: dict[str, float],
    options: argparse.Namespace,
) -> None:
    """What the clients saw, and what it took."""
    statuses, latencies = dict(told["statuses"]), dict(told["latencies"])  # type: ignore[call-overload]
    seconds, audio = float(told["seconds"]), audio_seconds(told)  # type: ignore[arg-type]
    print(f"{options.clients} clients for {options.seconds:g} s")
    print(
        "statuses        " + ", ".join(f"{count:,} of {status}" for status, count in sorted(statuses.items()))
    )
    print(f"wrong numbers   {told['wrong']}; broken connections {told['broken']}")
    rate = statuses.get("200", 0) / seconds
    print(f"throughput      {rate:.1f} recordings/s, {audio / seconds:.0f} x real time")
    for long, taken in latencies.items():
        if taken:
            half, most, nearly = np.percentile(taken, (50, 95, 99))
            print(
                f"latency, {long:>2} s   50 %: {half:.2f} s, 95 %: {most:.2f} s, 99 %: {nearly:.2f} s, "
                f"longest {max(taken):.2f} s ({len(taken):,} answers)"
            )
    print(f"processor time  {took['service']:.1f} s of the service, {took['clients']:.1f} s of the clients")
    used = np.array(memory)
    parts = ", ".join(f"{part[:, 1].mean():.0f}" for part in np.array_split(used, 6) if len(part))
    print(f"memory          {parts} MB (means of sixths of the time), at most {used[:, 1].max():.0f} MB")


def audio_seconds(told: dict[str, object]) -> float:
    names = dict(told["names"])  # type: ignore[call-overload]
    return float(sum(int(name.partition("s")[0]) * count for name, count in names.items()))


def beside(told: dict[str, object], folder: Path, temporary: Path, options: argparse.Namespace) -> None:
    """`auricle tag` over the same recordings, as often, in one command."""
    many = temporary / "many"
    many.mkdir()
    names = dict(told["names"])  # type: ignore[call-overload]
    for name, count in names.items():
        for number in range(count):
            (many / f"{number}-{name}").hardlink_to(folder / name)
    seconds = tag(many, temporary / "many.jsonl", options)
    asked, audio = float(told["seconds"]), audio_seconds(told)  # type: ignore[arg-type]
    print(
        f"auricle tag     {sum(names.values()):,} recordings in {seconds:.1f} s: "
        f"{sum(names.values()) / seconds:.1f} recordings/s, {audio / seconds:.0f} x real time"
    )
    print(f"service : tag   {seconds / asked:.2f}")


if __name__ == "__main__":
    main()
