"""What `auricle serve` gives to those who mean it harm, and whether it stays up: damage, bombs, floods.

    python benchmarks/serve_hostile.py
    python benchmarks/serve_hostile.py --quick
    python benchmarks/serve_hostile.py --only described --described 500

The service is a process of its own (--max-upload 0.25 GiB, --max-hours 1, --root). Groups follow each other:

- damaged: a thousand mutations of two dozen containers and codecs (`hostile_media.py`), eight at a time
- kept: a tenth as many as recordings of the page, of which pictures, sound and exports are asked afterwards
- bombs: small files that are hours or gigabytes when they are decoded, or say that they are
- endless: an upload of 10 GB of zeros, by length, in chunks, and in a form
- slow: clients that send heads and bodies byte by byte or stop half-way, that never read, that only connect
- elsewhere: paths out of the root, through links, in addresses; playlists that lead to files and addresses
- long paths: paths of 65 kB below the root that go nowhere, while others' recordings are decoded
- described: requests that schemathesis makes from /openapi.json, right ones and wrong ones, alone and in
  chains; each must get an answer that the description promises (`--described N` of them for each address)

After each, the service must be healthy and tag a good recording with the numbers of `auricle tag`, to the
byte; while the slow ones hang on, too. A table says what each group got: statuses, how decoders died, the
most memory of all processes of the service. The exit status is 1 where something came that must not.
"""

import argparse
import http.client
import json
import math
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hostile_media import bombs, mutated, originals
from hostile_paths import led_elsewhere, long_paths
from hostile_target import UPLOAD_GIB, Group, Target, Visitor, attacked, mb, seen, told
from hostile_wire import Wire, slow_clients

FULL, QUICK = (1000, 10 << 30, 1.0, 50), (40, 1 << 30, 0.04, 2)
# mutations, bytes of the upload, share of the rest, requests to each address
LOOKS = (
    *("/labels", "/events", "/events?threshold=0.01", "/scores?from=0&to=3&columns=100&labels=0,1"),
    *("/peaks?from=0&to=3&columns=100", "/spectrogram/0/0.png", "/media", "/export?format=csv"),
    *("/export?format=parquet", "/export?format=jams", "/corrections"),
)
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="some of each")
    parser.add_argument("--only", default="", help="of the groups, say damaged,bombs")
    parser.add_argument("--described", type=int, metavar="N", help="requests to each address")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="what was said to each of the few")
    options = parser.parse_args()
    mutations, endless, share, each = QUICK if options.quick else FULL
    groups: dict[str, Callable[[Target], Iterator[Group]]] = {
        "damaged": lambda at: damaged(at, mutations, options.seed),
        "kept": lambda at: kept(at, max(8, mutations // 10), options.seed + 1),
        "bombs": lambda at: bombed(at, share),
        "endless": lambda at: flooded(at, endless),
        "slow": lambda at: slowed(at, share),
        "elsewhere": led_elsewhere,
        "long paths": lambda at: long_paths(at, share),
        "described": lambda at: described(at, options.described or each, options.seed),
    }
    wanted = [name for name in options.only.split(",") if name] or list(groups)
    print(f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with tempfile.TemporaryDirectory() as temporary, attacked(Path(temporary), share) as at:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # of this process, not of the service
        at.check()
        got = [measure(name, groups[name], at, options.verbose) for name in wanted]
    table(got)
    failed = [line for group in got for line in group.bad]
    for line in failed:
        print("WRONG", line)
    sys.exit(bool(failed))


def measure(name: str, run: Callable[[Target], Iterator[Group]], at: Target, verbose: bool) -> Group:
    """Let a group happen, print what it got."""
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
    group.died = ", ".join(f"{count} of {cause}" for cause, count in died.items()) or "none"
    group.peak = max((used for _, used in at.memory), default=0.0)
    print(f"\n{name} ({took:.0f} s)")
    for note in group.notes if verbose else [note for note in group.notes if not note.startswith("- ")]:
        print("  " + note)
    print("  after   " + after, flush=True)
    return group


def table(got: list[Group]) -> None:
    """What each group got."""
    print(f"\n{'group':<12}{'memory':>8}  {'decoders died':<24}got")
    for group in got:
        counts = ", ".join(f"{count:,} x {what}" for what, count in group.statuses.most_common())
        print(f"{group.name:<12}{group.peak:>5.0f} MB  {group.died:<24}{counts}")
        for line in group.bad[:3]:
            print(f"{'':<12}WRONG {line[:300]}")


def damaged(at: Target, count: int, seed: int) -> Iterator[Group]:
    """Mutated files: either they can be read all the same, or the service says that they cannot."""
    with ThreadPoolExecutor(8) as clients:
        sent = [
            (what, clients.submit(at.tag, content)) for what, content in mutated(originals(), count, seed)
        ]
        for what, future in sent:
            status, said = future.result()
            yield seen("damaged", what, status, said, {200, 422})


def kept(at: Target, count: int, seed: int) -> Iterator[Group]:
    """Mutated files as recordings: they are tagged and can be looked at, or a line says why not."""
    visitor = Visitor(at)
    visitor.ask("GET")  # gives the cookie
    for what, content in mutated(originals(), count, seed):
        status, said = visitor.ask("POST", "", content)
        yield seen("kept", what, status, said, {201})
        if status != 201:
            continue
        recording = "/" + json.loads(said)["id"]
        state = visitor.wait(recording)
        group = Group("kept", Counter([state]))
        line = json.loads(visitor.ask("GET", recording)[1]).get("error")
        if state not in ("done", "failed") or (state == "failed") != bool(line):
            group.bad.append(f"kept: {what}: {state}, {line!r}")
        yield group
        for part in LOOKS:
            status, said = visitor.ask("GET", recording + part)
            if status < 400:
                yield Group("kept", Counter([str(status)]))
            else:
                yield seen("kept", f"{what}{part}", status, said, {404, 409})
        yield seen("kept", f"{what}: removed", *visitor.ask("DELETE", recording), {204})


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


def described(at: Target, each: int, seed: int) -> Iterator[Group]:
    """What schemathesis makes of the description, and whether the answers are as described."""
    beside = Path(sys.executable).with_name("schemathesis")
    found = str(beside) if beside.exists() else shutil.which("schemathesis")
    if found is None:
        yield Group("described", notes=["is left out: there is no schemathesis (pip install schemathesis)"])
        return
    before = at.answers()
    command = [found, "run", f"http://127.0.0.1:{at.port}/openapi.json", "--checks", CHECKS, "--no-color"]
    command += ["--max-examples", str(each), "--seed", str(seed), "--suppress-health-check", "all"]
    command += ["--request-timeout", "120", "--continue-on-failure", "--warnings", "off"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=at.folder)
    group = Group("described", at.answers() - before)
    said = done.stdout.splitlines()
    group.notes = [f"schemathesis: {line.strip()}" for line in said if " generated, " in line]
    if done.returncode:
        group.bad.append("described: " + "\n".join(said[-200:]) + done.stderr[-2000:])
    yield group


if __name__ == "__main__":
    main()
