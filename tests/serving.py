"""A service on a free port of this machine, in this process or in one of its own, that ends with its test."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from auricle.serve.server import make_server
from auricle.serve.settings import Settings
from auricle.serve.state import Service, service_of

ROOT = Path(__file__).parents[1]
READY = re.compile(r"auricle serves \S+ at (http://\S+)/ ")


@contextlib.contextmanager
def serving(**settings: Any) -> Iterator[tuple[str, Service]]:
    """(address without its last slash, service) of one in this process; at the end it stops gracefully."""
    ready = threading.Event()
    found: list[str] = []

    def note(address: str) -> None:
        found.append(address.rstrip("/"))
        ready.set()

    server = make_server(Settings(**{"port": 0, "grace_seconds": 5.0} | settings), note)
    thread = threading.Thread(target=server.run, name="uvicorn", daemon=True)
    thread.start()
    try:
        wait_until(lambda: ready.is_set() or not thread.is_alive(), 60)
        assert found, "the service did not start"
        yield found[0], service_of(server.config.app)  # type: ignore[arg-type]
    finally:
        server.handle_exit(signal.SIGTERM, None)
        thread.join(30)
        assert not thread.is_alive(), "the service did not end"


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """(address, process) of `auricle serve --port 0 ARGUMENTS`, killed at the end if it runs still."""
    command = [sys.executable, "-m", "auricle", "serve", "--port", "0", *arguments]
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment, **pipes)
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        match = READY.match(line)
        assert match, line + process.stderr.read()
        yield match[1], process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(true: Callable[[], Any], seconds: float = 20.0) -> None:
    """Until something is true; AssertionError if it does not become so in time."""
    late = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < late, "waited in vain"
        time.sleep(0.01)
