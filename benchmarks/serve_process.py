"""`auricle serve` as a process of its own, whose memory is watched: for the benchmarks of the service."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

READY = re.compile(r"auricle serves \S+ at http://127\.0\.0\.1:(\d+)/")
MB = 1 << 20


@contextmanager
def served(
    options: Sequence[str],
    memory: list[tuple[float, float]],
    *,
    every: float = 0.5,
    log: IO[str] | None = None,
) -> Iterator[tuple[int, threading.Event]]:
    """(port, what ends the watching) of a service, which is asked to end at the end.

    Args:
        options: of `auricle serve`, beside the port.
        memory: takes (seconds, MB) of the service and all processes below it.
        every: seconds from one look to the next.
        log: takes what it says of its mistakes.
    """
    command = [sys.executable, "-m", "auricle", "serve", "--port", "0", *options]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    over = threading.Event()
    try:
        assert service.stdout is not None
        match = READY.match(service.stdout.readline())
        if match is None:
            raise SystemExit("the service did not start")
        watching = threading.Thread(target=watch, args=(service.pid, memory, over, every), daemon=True)
        watching.start()
        yield int(match[1]), over
    finally:
        over.set()
        below = tree(service.pid)[1:]
        service.terminate()
        status = service.wait(60)
    left = [process for process in below if Path(f"/proc/{process}").exists()]
    if status or left:
        raise SystemExit(f"WRONG: the service ended with status {status}; processes left: {left}")


def watch(process: int, memory: list[tuple[float, float]], over: threading.Event, pause: float) -> None:
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


def numbers(said: bytes) -> bytes:
    """What is said of a recording, but for its name."""
    return said.strip().partition(b'"duration"')[2]
