"""The service that is attacked, what is asked of it, and what it answered."""

import http.client
import json
import math
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import soundfile
from hostile_media import tone
from serve_process import numbers, served

RATE = 44_100
UPLOAD_GIB = 0.25
SETTINGS = ("--max-upload", str(UPLOAD_GIB), "--grace", "5")


@dataclass
class Group:
    """What a group of requests got."""

    name: str
    statuses: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)  # what must not be
    peak: float = 0.0  # MB of all processes
    died: str = "none"  # decoders, by cause


@dataclass
class Target:
    """The service that is attacked."""

    port: int
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
            status, said = self.ask("POST", "/v1/tag?wait=600&threshold=0&format=jsonl", content, sent)
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

    def by_path(self, path: str) -> tuple[int, bytes]:
        """(status, body) of a recording below the root."""
        asked = json.dumps({"path": path}).encode()
        return self.ask(
            "POST", "/v1/tag?threshold=0&format=jsonl", asked, {"Content-Type": "application/json"}
        )

    def answers(self) -> Counter[str]:
        """How many answers had which status since the start, as /metrics counts them."""
        _, said = self.ask("GET", "/metrics")
        found = re.findall(rb'^auricle_requests_total\{.*status="(\d+)"\} (\S+)', said, re.MULTILINE)
        told: Counter[str] = Counter()
        for status, count in found:
            told[status.decode()] += int(float(count))
        return told

    def deaths(self) -> Counter[str]:
        """How many decoders ended for which cause since the start, as /metrics counts them."""
        _, said = self.ask("GET", "/metrics")
        found = re.findall(rb'^\w*deaths\w*total\{cause="(\w+)"\} (\S+)', said, re.MULTILINE)
        return Counter({cause.decode(): int(float(count)) for cause, count in found})


class Visitor:
    """A browser, of which the service keeps recordings."""

    def __init__(self, at: Target):
        self.address = f"http://127.0.0.1:{at.port}/v1/recordings"
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    def ask(self, method: str, path: str = "", body: bytes | None = None) -> tuple[int, bytes]:
        """(status, body) of a request below the visitor's recordings."""
        asked = urllib.request.Request(self.address + path, body, method=method)
        if body is not None:
            asked.add_header("Content-Type", "application/octet-stream")
        try:
            with self.opener.open(asked, timeout=600) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def wait(self, recording: str) -> str:
        """The state in which a recording ends."""
        while True:
            status, said = self.ask("GET", recording)
            state = json.loads(said)["state"] if status == 200 else f"gone ({status})"
            if state not in ("queued", "running"):
                return str(state)
            time.sleep(0.05)


@contextmanager
def attacked(folder: Path, share: float) -> Iterator[Target]:
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
    command += ["--threshold", "0"]
    expected = numbers(subprocess.run(command, capture_output=True, check=True).stdout)
    options = [*SETTINGS, "--max-hours", str(share), "--root", str(folder / "root")]
    options += ["--data", str(folder / "data")]
    memory = list[tuple[float, float]]()
    with (folder / "log").open("w+") as log:
        with served(options, memory, every=0.1, log=log) as (port, _):
            yield Target(port, folder, good.read_bytes(), expected, memory)
        log.seek(0)
        said = log.read().splitlines()
    print(f"\nlines in the service's log: {len(said)}")
    print("\n".join(said[:20]))


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
