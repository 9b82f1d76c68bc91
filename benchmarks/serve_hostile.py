"""What `auricle serve` gives to those who mean it harm, and whether it stays up: damage, bombs, floods.

    python benchmarks/serve_hostile.py
    python benchmarks/serve_hostile.py --quick

The service is a process of its own (--max-upload 0.25 GiB, --max-hours 1, --root). Groups follow each other:

- damaged: a thousand mutations of two dozen containers and codecs (`hostile_media.py`), eight at a time
- bombs: small files that are hours or gigabytes when they are decoded, or say that they are
- endless: an upload of 10 GB of zeros, by length, in chunks, and in a form
- slow: clients that send heads and bodies byte by byte or stop half-way, that never read, that only connect
- elsewhere: paths out of the root, through links, in addresses; playlists that lead to files and addresses

After each, the service must be healthy and tag a good recording with the numbers of `auricle tag`, to the
byte; while the slow ones hang on, too. The table says what each group got: statuses, how decoders died, the
most memory of all processes of the service. The exit status is 1 where something came that must not.
"""

import argparse
import http.client
import json
import math
import os
import platform
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import soundfile
from hostile_media import bombs, leading_elsewhere, mutated, originals, tone
from hostile_wire import Wire, slow_clients
from serve_load import READY, tree, watch

RATE = 44_100
UPLOAD_GIB = 0.25
SETTINGS = ("--max-upload", str(UPLOAD_GIB), "--grace", "5")
FULL, QUICK = (1000, 10 << 30, 1.0), (40, 1 << 30, 0.04)  # mutations, bytes of the upload, share of the rest


@dataclass
class Group:
    """What a group of requests got."""

    name: str
    statuses: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)  # what must not be


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="some of each")
    parser.add_argument("--only", default="", help="of the groups, say damaged,bombs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="what was said to each of the few")
    options = parser.parse_args()
    mutations, endless, share = QUICK if options.quick else FULL
    groups = {
        "damaged": lambda at: damaged(at, mutations, options.seed),
        "bombs": lambda at: bombed(at, share),
        "endless": lambda at: flooded(at, endless),
        "slow": lambda at: slowed(at, share),
        "elsewhere": lambda at: led_elsewhere(at),
    }
    wanted = [name for name in options.only.split(",") if name] or list(groups)
    print(f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    failed = []
    with tempfile.TemporaryDirectory() as temporary, served(Path(temporary), share) as at:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # of this process, not of the service
        at.check()
        for name in wanted:
            failed += measure(name, groups[name], at, options.verbose)
    for line in failed:
        print("WRONG", line)
    sys.exit(bool(failed))


def measure(name: str, run, at: "Target", verbose: bool) -> list[str]:  # type: ignore[no-untyped-def]
    """Let a group happen, print what it got; gives what must not have been."""
    group, before, begun = Group(name), at.deaths(), time.perf_counter()
    at.memory.clear()
    for one in run(at):
        group.statuses += one.statuses
        group.notes += one.notes
        group.bad += one.bad
    took = time.perf_counter() - begun
    try:
        at.check()
        after = "healthy, the right numbers"
    except (OSError, ValueError, http.client.HTTPException) as error:
        after = f"NOT well: {error}"
        group.bad.append(f"{name}: afterwards {error}")
    died = at.deaths() - before
    peak = max((used for _, used in at.memory), default=0)
    print(f"\n{name} ({took:.0f} s)")
    print("  got     " + ", ".join(f"{count:,} x {what}" for what, count in group.statuses.most_common()))
    print("  died    " + (", ".join(f"{count} of {cause}" for cause, count in died.items()) or "none"))
    print(f"  memory  at most {peak:.0f} MB")
    for note in group.notes if verbose else [note for note in group.notes if not note.startswith("- ")]:
        print("  " + note)
    print("  after   " + after, flush=True)
    return group.bad


@dataclass
class Target:
    """The service that is attacked."""

    port: int
    process: int
    folder: Path
    good: bytes
    expected: bytes
    memory: list[tuple[float, float]]

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """(status, body) of a request of its own connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def tag(self, content: bytes, **headers: str) -> tuple[int, bytes]:
        """(status, body) of a recording; asked again while the service has too much to do."""
        sent = {"Content-Type": "application/octet-stream"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        while True:
            status, said = self.ask("POST", "/v1/tag?wait=600&format=jsonl", content, sent)
            if status != 429:
                return status, said
            time.sleep(0.5)

    def check(self) -> float:
        """Raise ValueError unless it is healthy and right; gives the seconds that a tagging took."""
        status, said = self.ask("GET", "/healthz")
        if status != 200:
            raise ValueError(f"/healthz answers {status} {said[:200]!r}")
        begun = time.perf_counter()
        status, said = self.tag(self.good)
        if status != 200 or numbers(said) != self.expected:
            raise ValueError(f"a good recording gets {status} {said[:200]!r}")
        return time.perf_counter() - begun

    def deaths(self) -> Counter[str]:
        """How many decoders ended for which cause since the start, as /metrics counts them."""
        _, said = self.ask("GET", "/metrics")
        found = re.findall(rb'^\w*deaths\w*total\{cause="(\w+)"\} (\S+)', said, re.MULTILINE)
        return Counter({cause.decode(): int(float(count)) for cause, count in found})


def numbers(said: bytes) -> bytes:
    """What is said of a recording, but for its name."""
    return said.strip().partition(b'"duration"')[2]


@contextmanager
def served(folder: Path, share: float) -> Iterator[Target]:
    """A service, with a root of one recording and links out of it."""
    good = folder / "good.wav"
    soundfile.write(good, tone(3.0, RATE), RATE)
    (folder / "root" / "below").mkdir(parents=True)
    (folder / "root" / "below" / "good.wav").write_bytes(good.read_bytes())
    (folder / "root" / "link.wav").symlink_to(good)
    (folder / "root" / "folder").symlink_to(folder)
    (folder / "root" / "device.wav").symlink_to("/dev/zero")
    os.mkfifo(folder / "root" / "pipe.wav")
    command = [sys.executable, "-m", "auricle", "tag", str(good), "--format", "jsonl", "--quiet"]
    expected = numbers(subprocess.run(command, capture_output=True, check=True).stdout)
    command = [sys.executable, "-m", "auricle", "serve", "--port", "0", *SETTINGS, "--max-hours", str(share)]
    command += ["--root", str(folder / "root"), "--data", str(folder / "data")]
    with (folder / "log").open("w+") as log:
        service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        over, memory = threading.Event(), list[tuple[float, float]]()
        watching = threading.Thread(target=watch, args=(service.pid, memory, over, 0.1))
        try:
            assert service.stdout is not None
            match = READY.match(service.stdout.readline())
            if match is None:
                raise SystemExit("the service did not start")
            watching.start()
            content = good.read_bytes()
            yield Target(int(match[1]), service.pid, folder, content, expected, memory)
        finally:
            over.set()
            below = tree(service.pid)[1:]
            service.terminate()
            status = service.wait(60)
            log.seek(0)
            said = log.read().splitlines()
        print(f"\nthe service ended with status {status}; lines in its log: {len(said)}")
        print("\n".join(said[:20]))
        left = [process for process in below if Path(f"/proc/{process}").exists()]
        if status or left:
            raise SystemExit(f"WRONG: status {status}, processes left: {left}")


def damaged(at: Target, count: int, seed: int) -> Iterator[Group]:
    """Mutated files: either they can be read all the same, or the service says that they cannot."""
    with ThreadPoolExecutor(8) as clients:
        sent = [
            (what, clients.submit(at.tag, content)) for what, content in mutated(originals(), count, seed)
        ]
        for what, future in sent:
            status, said = future.result()
            yield seen("damaged", what, status, said, {200, 422})


def bombed(at: Target, share: float) -> Iterator[Group]:
    """Bombs, one after the other, so that each one's memory is its own."""
    for name, content in bombs(share).items():
        before, begun = len(at.memory), time.perf_counter()
        headers = {"Content_Encoding": "gzip"} if "gzip'ed" in name else {}
        status, said = at.tag(content, **headers)
        group = seen("bombs", name, status, said, {422, 415} if "wav" not in name else {200, 415, 422})
        peak = max((used for _, used in at.memory[before:]), default=math.nan)
        took = time.perf_counter() - begun
        group.notes = [f"{name}: {len(content) / 1e6:.1f} MB; {took:.1f} s, {mb(peak)}; {told(status, said)}"]
        yield group


def flooded(at: Target, size: int) -> Iterator[Group]:
    """An upload that does not end, in three ways; none may be taken much further than is allowed."""
    for way in ("length", "chunks", "form"):
        before, begun = len(at.memory), time.perf_counter()
        with Wire(at.port) as wire:
            sent = wire.upload(way, size)
            status, said = wire.answer()
        group = seen("endless", way, status, said, {413})
        peak = max((used for _, used in at.memory[before:]), default=math.nan)
        stored = sum(path.stat().st_size for path in (at.folder / "data" / "uploads").iterdir())
        group.notes = [
            f"{size / 1e9:.1f} GB by {way}: ended after {sent / 1e6:.0f} MB and "
            f"{time.perf_counter() - begun:.1f} s, {mb(peak)}, {stored} bytes left on the disk"
        ]
        if stored or sent > 2 * UPLOAD_GIB * (1 << 30):
            group.bad.append(group.notes[0])
        yield group


def slowed(at: Target, share: float) -> Iterator[Group]:
    """Slow clients of all kinds at once; meanwhile others are served."""
    group, waited, full = Group("slow"), [], 0
    for finished, statuses in slow_clients(at.port, share):
        if finished:
            group.statuses, group.notes = statuses
            break
        try:
            waited.append(at.check())
        except (OSError, ValueError, http.client.HTTPException) as error:
            if "answers 503" in str(error) and "too many connections" in str(error):
                full += 1
            else:
                group.bad.append(f"slow: meanwhile {error}")
    if waited:
        group.notes.append(
            f"meanwhile a good recording was tagged {len(waited)} times, in {max(waited):.2f} s at most; "
            f"{full} times 503 while there were 1,000 connections"
        )
    yield group


def led_elsewhere(at: Target) -> Iterator[Group]:
    """Paths and playlists that lead out; the one path that does not is taken."""
    yield seen("elsewhere", "the right path", *by_path(at, "below/good.wav"), {200})
    outside = str(at.folder / "good.wav")
    paths = [
        *(
            "../good.wav",
            "below/../../good.wav",
            "./../good.wav",
            "link.wav",
            "folder/good.wav",
            "folder/log",
        ),
        *(
            outside,
            "/" + outside,
            "//etc/passwd",
            "/proc/self/environ",
            "/dev/zero",
            "device.wav",
            "pipe.wav",
        ),
        *(
            "below",
            "",
            ".",
            "..",
            "below/good.wav\0.wav",
            "\0",
            "..\\good.wav",
            "%2e%2e/good.wav",
            "~/.profile",
        ),
        *("file://" + outside, "concat:" + outside, "subfile:" + outside, "data:audio/wav;base64,UklGRg=="),
        *(f"http://127.0.0.1:{at.port}/healthz", "tcp://127.0.0.1:1", "s3://bucket/key", "pipe:0", "-", "*"),
        *(
            "below/good.wav/",
            "below/good.wav/..",
            "below/./good.wav/../../../good.wav",
            "x" * 5000,
            "x/" * 2000,
        ),
        *("..\u2215good.wav", "\ud800.wav", "$(id)", "below/*.wav", "log"),
    ]
    for path in paths:
        allowed = {200} if path == "below/good.wav/" else {400, 403, 404}
        yield seen("elsewhere", f"path {path[:60]!r}", *by_path(at, path), allowed)
    for address in (
        *(
            "/../../../etc/passwd",
            "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
            "//etc/passwd",
            "/..%2f..%2fetc/passwd",
        ),
        *("/vendor/../../settings.py", "/vendor/..%2f..%2fsettings.py", "/vendor/..%5c..%5csettings.py"),
        *("/v1/jobs/..%2f..%2flock", "/v1/jobs/%2e%2e", "/v1/recordings/..%2f..%2flibrary.db/media", "/\0"),
        *("/v1/jobs/" + "a" * 5000, "/index.html%00.js", "/style.css/../../app.py", "http://127.0.0.1:1/x"),
    ):
        with Wire(at.port) as wire:
            wire.send(f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1:{at.port}\r\n\r\n".encode("latin-1"))
            yield seen("elsewhere", f"GET {address[:60]}", *wire.answer(), {400, 404})
    yield from upload_names(at)
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        address = f"http://127.0.0.1:{canary.getsockname()[1]}"
        for name, content in leading_elsewhere(outside, address).items():
            yield seen("elsewhere", name, *at.tag(content), {422})
        try:
            canary.accept()
            yield Group("elsewhere", bad=["elsewhere: a playlist made the service ask another address"])
        except BlockingIOError:
            pass


def by_path(at: Target, path: str) -> tuple[int, bytes]:
    return at.ask(
        "POST", "/v1/tag", json.dumps({"path": path}).encode(), {"Content-Type": "application/json"}
    )


def upload_names(at: Target) -> Iterator[Group]:
    """Names of uploads that are paths: the file is tagged, its name is a name, nothing lies anywhere else."""
    before = {path for path in at.folder.rglob("*") if "data" not in path.parts}
    for name in ("../../evil.wav", "/etc/evil.wav", "..\\..\\evil.wav", "evil.wav\0.txt", "a\nb.wav", ".."):
        form = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        form += at.good + b"\r\n--x--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        status, said = at.ask("POST", "/v1/tag", form, kind)
        group = seen("elsewhere", f"upload named {name!r}", status, said, {200, 400})
        if status == 200 and re.search(r"[/\\\0\n]", json.loads(said)["path"]):
            group.bad.append(f"elsewhere: the upload {name!r} goes by {said[:100]!r}")
        yield group
    if before != {path for path in at.folder.rglob("*") if "data" not in path.parts}:
        yield Group("elsewhere", bad=["elsewhere: an upload lies outside of the service's folder"])


def seen(name: str, what: str, status: int, said: bytes, allowed: set[int]) -> Group:
    """One answer, and whether it may be."""
    group = Group(name, Counter([str(status)]), [f"- {what}: {told(status, said)}"])
    right = status in allowed
    if status >= 400:
        try:
            line = json.loads(said)["error"]
            right = right and isinstance(line, str) and "\n" not in line and 0 < len(line) < 20_000
        except (ValueError, KeyError, TypeError):
            right = False
    if not right:
        group.bad.append(f"{name}: {what}: {status} {said[:300]!r}")
    return group


def mb(peak: float) -> str:
    """A peak of memory; over too soon, it was not seen."""
    return "too short to see its memory" if math.isnan(peak) else f"{peak:.0f} MB of memory"


def told(status: int, said: bytes) -> str:
    """An answer in short."""
    try:
        content = json.loads(said)
        return f"{status} {content.get('error', 'tagged')}"[:220]
    except (ValueError, AttributeError):
        return f"{status} {said[:100]!r}"


if __name__ == "__main__":
    main()
