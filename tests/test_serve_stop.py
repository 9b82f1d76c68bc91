"""A service that is asked to end finishes what it has; one that is killed takes it up when it is back."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from serving import ROOT, served, serving, wait_until

from auricle.serve import exports
from auricle.serve.correcting import Row
from auricle.serve.server import Server, make_server
from auricle.serve.settings import Settings
from auricle.serve.state import Service
from auricle.tagging import Tagger

SLOW = 0.01  # seconds: a hop at which some sound takes the tiny model long enough to be killed at it


class Held:
    """A runner that waits until it is let go."""

    def __init__(self, service: Service):
        self.inner, self.go = service.scorer._runner, threading.Event()
        service.scorer._runner = self

    def run(self, waveforms: np.ndarray) -> Any:
        self.go.wait(30)
        return self.inner.run(waveforms)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise(tmp_path_factory.mktemp("sound") / "a.wav", 2.0)


def noise(path: Path, seconds: float) -> Path:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, int(seconds * 8000))
    soundfile.write(path, samples * np.linspace(0.1, 1, len(samples)), 8000)
    return path


def send(address: str, path: Path, **query: Any) -> httpx.Response:
    files = {"file": (path.name, path.read_bytes())}
    return httpx.post(f"{address}/v1/tag", params=query, files=files, timeout=60)


@contextlib.contextmanager
def stoppable(**settings: Any) -> Iterator[tuple[str, Server, Service, threading.Thread]]:
    """A service in this process whose end the test asks for."""
    addresses: list[str] = []
    server = make_server(Settings(**{"port": 0} | settings), addresses.append)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: addresses, 60)
        yield addresses[0].rstrip("/"), server, server.app.state.service, thread
    finally:
        server.asked, server.should_exit = 0.0, True
        thread.join(30)
        assert not thread.is_alive()


def test_asked_to_end_it_finishes_what_runs_and_waits_and_takes_nothing_new(model: Path, sound: Path) -> None:
    with (
        stoppable(model=str(model), jobs_at_once=1) as (address, server, service, thread),
        ThreadPoolExecutor(4) as pool,
    ):
        held = Held(service)
        waiting = [pool.submit(send, address, sound, wait=60) for _ in range(3)]
        wait_until(lambda: service.jobs.counts() | {"running": 1, "queued": 2} == service.jobs.counts())
        server.handle_exit(signal.SIGTERM, None)
        wait_until(service.stopping.is_set)
        refused = send(address, sound)
        assert refused.status_code == 503 and "takes nothing new" in refused.json()["error"]
        assert refused.headers["retry-after"] == "30"
        assert all(not future.done() for future in waiting)
        held.go.set()
        wanted = Tagger(model, threads=1).tag(sound)["tags"]
        for future in waiting:
            assert future.result().status_code == 200 and future.result().json()["tags"] == wanted
        thread.join(20)
        assert not thread.is_alive() and not service.scorer.alive
        with pytest.raises(httpx.ConnectError):
            send(address, sound)
    assert not service.data.exists()  # it was a temporary folder


def test_what_is_not_done_in_time_is_told_so_and_taken_up_at_the_next_start(
    model: Path, sound: Path, tmp_path: Path
) -> None:
    settings = {"model": str(model), "jobs_at_once": 1, "data": tmp_path / "data", "grace_seconds": 0.3}
    with (
        stoppable(**settings) as (address, server, service, thread),
        ThreadPoolExecutor(2) as pool,
    ):
        held = Held(service)
        where = "/v1/" + send(address, sound, wait=0).json()["status"]
        waiting = pool.submit(send, address, sound, wait=60)
        wait_until(lambda: service.jobs.counts()["queued"] == 1)
        server.handle_exit(signal.SIGTERM, None)
        answer = waiting.result()
        said = re.search(r"before the job; (/v1/jobs/\S+) has it when the service", answer.json()["error"])
        assert answer.status_code == 503 and said
        held.go.set()
        thread.join(20)
    assert len(list((tmp_path / "data" / "uploads").iterdir())) == 2
    with serving(**settings) as (address, service):
        wait_until(lambda: httpx.get(address + where).json()["state"] == "done")
        wait_until(lambda: httpx.get(address + said[1]).json()["state"] == "done")
        for status in (where, said[1]):
            result = httpx.get(f"{address}{status}/result").json()
            assert result == Tagger(model, threads=1).tag(sound) | {"path": "a.wav"}
        wait_until(lambda: not list((tmp_path / "data" / "uploads").iterdir()))


def test_asked_twice_it_ends_at_once(model: Path, sound: Path) -> None:
    with (
        stoppable(model=str(model), grace_seconds=600) as (address, server, service, thread),
        ThreadPoolExecutor(2) as pool,
    ):
        held = Held(service)
        pool.submit(send, address, sound, wait=0).result()
        server.handle_exit(signal.SIGINT, None)
        wait_until(service.stopping.is_set)
        assert thread.is_alive()
        server.handle_exit(signal.SIGINT, None)
        held.go.set()
        thread.join(20)
        assert not thread.is_alive()


def exported(address: str, sound: Path) -> tuple[httpx.Client, str]:
    """A visitor, and where their recording's manifest is."""
    client = httpx.Client(base_url=address, timeout=60)
    id = client.post("/v1/recordings", files={"file": ("a.wav", sound.read_bytes())}).json()["id"]
    wait_until(lambda: client.get(f"/v1/recordings/{id}").json()["state"] == "done", 60)
    said = {"label": "dog", "start": 0.0, "end": 1.0, "verdict": "right"}
    assert client.post(f"/v1/recordings/{id}/corrections", json=said).status_code == 201
    return client, f"/v1/recordings/{id}/export?format=manifest"


def endless(said: Any, found: Any, look: Callable[[], object]) -> Iterator[Row]:
    """Rows without an end."""
    while True:
        look()
        time.sleep(0.01)
        yield Row(0.0, 1.0, ("dog",), ())


@pytest.mark.parametrize("grace, asked", [(0.5, 1), (600, 2)])
def test_an_export_that_is_not_written_in_time_is_told_so_and_nothing_waits_for_it(
    grace: float,
    asked: int,
    model: Path,
    sound: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(exports, "manifest_rows", endless)
    with (
        stoppable(model=str(model), grace_seconds=grace) as (address, server, service, thread),
        ThreadPoolExecutor(4) as pool,
    ):
        client, manifest = exported(address, sound)
        answers = [pool.submit(client.get, manifest) for _ in range(3)]  # two are written, one waits
        wait_until(lambda: service.writing.count == 3)
        for _ in range(asked):
            server.handle_exit(signal.SIGINT, None)
            wait_until(service.stopping.is_set)
        began = time.monotonic()
        for answer in answers:
            assert answer.result().status_code == 503 and answer.result().headers["retry-after"] == "30"
            assert "before the answer was written" in answer.result().json()["error"]
        thread.join(20)
        assert not thread.is_alive() and time.monotonic() - began < 5
        client.close()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("grace", [60, 0.5])
def test_a_download_is_finished_in_the_time_there_is_and_cut_cleanly_after_it(
    grace: float,
    model: Path,
    sound: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("auricle.serve.server.LAST_SECONDS", 0.3)
    size = 24 << 20

    def large(said: Any, found: Any, look: Any) -> Iterator[Row]:
        for _ in range(size >> 16):
            yield Row(0.0, 1.0, ("x" * (1 << 16),), ())

    monkeypatch.setattr(exports, "manifest_rows", large)
    with stoppable(model=str(model), grace_seconds=grace) as (address, server, service, thread):
        client, manifest = exported(address, sound)
        came = 0
        with contextlib.ExitStack() as stack:
            answer = stack.enter_context(client.stream("GET", manifest))
            pieces = answer.iter_raw(1 << 20)
            came += len(next(pieces))
            server.handle_exit(signal.SIGTERM, None)
            wait_until(service.stopping.is_set)
            if grace < 1:
                thread.join(10)
                assert not thread.is_alive()
                stack.enter_context(pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)))
            else:
                time.sleep(0.6)  # longer than what is done has for its answers
                assert thread.is_alive()
            came += sum(map(len, pieces))
        assert (came > size) == (grace > 1)
        client.close()
        thread.join(10)
        assert not thread.is_alive()
    assert capfd.readouterr().err == ""


def test_a_process_that_is_killed_takes_its_jobs_up_again_and_one_that_is_terminated_ends_well(
    model: Path, tmp_path: Path
) -> None:
    long, data = noise(tmp_path / "long.wav", 15.0), str(tmp_path / "data")
    arguments = ["--model", str(model), "--data", data, "--threads", "1", "--jobs", "1"]
    with served(*arguments) as (address, process):
        jobs = [send(address, long, wait=0, hop=SLOW, windows=True).json() for _ in range(2)]
        process.kill()
        process.wait(10)
    left = [json.loads(file.read_text())["state"] for file in Path(data, "jobs").glob("*/job.json")]
    assert len(left) == 2 and left != ["done", "done"]
    with served(*arguments) as (address, process):
        for job in jobs:
            wait_until(
                lambda job=job: httpx.get(f"{address}/v1/{job['status']}").json()["state"] == "done", 60
            )
        answers = [httpx.get(f"{address}/v1/{job['status']}/result", timeout=60) for job in jobs]
        assert answers[0].json() == answers[1].json() and len(answers[0].json()["windows"]) > 1400
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None and process.stderr.read() == ""


def test_one_folder_is_one_services(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = Settings(model=str(model), data=tmp_path / "data", port=0)
    with (
        serving(model=str(model), data=tmp_path / "data"),
        pytest.raises(ValueError, match="another service keeps its things here"),
    ):
        make_server(settings, print).run()
    assert capfd.readouterr() == ("", "")


def test_an_address_that_is_taken_is_one_clear_line(model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "auricle", "serve", "--port", str(port), "--model", str(model)]
        environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert line.startswith(f"auricle: error: 127.0.0.1, port {port}: Address already in use")
