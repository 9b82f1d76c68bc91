"""Large results: few are written at a time, they lie in the data folder, and nothing stays of them."""

import contextlib
import io
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import soundfile
from serving import serving, wait_until

from auricle import formats
from auricle.events import events_of
from auricle.serve import exports, results, spools, turns
from auricle.serve.correcting import Row
from auricle.serve.errors import Refused
from auricle.serve.space import Space, bytes_in
from auricle.serve.spools import FOLDER, SPOOL_BYTES, Spool
from auricle.serve.state import Service
from auricle.serve.turns import Turns
from auricle.tagging import Tagger

LARGE = 30 << 20  # more than sockets hold


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "a.wav"
    level = np.abs(np.sin(np.arange(8_000 * 12) / 3_000))
    soundfile.write(path, level * np.random.default_rng(2).uniform(-1, 1, len(level)), 8_000)
    return path


@pytest.fixture(scope="module")
def running(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Service]]:
    data = tmp_path_factory.mktemp("data")
    (data / FOLDER).mkdir()
    (data / FOLDER / "of-one-that-was-killed").write_bytes(bytes(1000))
    with serving(model=str(model), threads=1, data=data, max_data_bytes=100 << 20) as found:
        yield found


@pytest.fixture(scope="module")
def client(running: tuple[str, Service]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running[0], timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def export(client: httpx.Client, sound: Path) -> str:
    id = client.post("/v1/recordings", files={"file": ("a.wav", sound.read_bytes())}).json()["id"]
    wait_until(lambda: client.get(f"/v1/recordings/{id}").json()["state"] == "done", 60)
    return f"/v1/recordings/{id}/export"


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written is large."""

    def rendered(result: Any, format: str, about: Any, file: Spool) -> Spool:
        with contextlib.ExitStack() as stack:
            stack.callback(file.close)
            for _ in range(LARGE >> 18):
                file.write(bytes(1 << 18))
            stack.pop_all()
        return file

    monkeypatch.setattr(results, "rendered", rendered)


def spooled(service: Service) -> list[Path]:
    folder = service.data / FOLDER
    return list(folder.iterdir()) if folder.is_dir() else []


def test_a_spool_is_in_memory_until_it_is_large_and_gone_when_it_is_closed(tmp_path: Path) -> None:
    content = os.urandom(SPOOL_BYTES)
    with Spool(Space(tmp_path, 1 << 30)) as spool:
        spool.write(content[:-1])
        assert not list(tmp_path.iterdir())
        spool.write(memoryview(content[-1:] + b"more"))
        spool.flush()
        assert bytes_in(tmp_path) == SPOOL_BYTES + 4 == spool.tell()
        assert spool.seek(SPOOL_BYTES) and spool.read() == b"more"
        assert spool.seek(0) == 0 and spool.read(SPOOL_BYTES) == content
    assert bytes_in(tmp_path) == 0
    left = Spool(Space(tmp_path, 1 << 30))
    left.write(bytes(2 * SPOOL_BYTES))
    del left  # as it goes where nobody was there to take it
    assert bytes_in(tmp_path) == 0


def test_a_spool_takes_no_room_that_is_not_there(tmp_path: Path) -> None:
    with Spool(Space(tmp_path, 4 * SPOOL_BYTES)) as spool:
        with pytest.raises(Refused) as refused:
            for _ in range(100):
                spool.write(bytes(100_000))
        assert refused.value.status == 507 and 3 * SPOOL_BYTES < spool.tell() <= 4 * SPOOL_BYTES


def test_what_a_killed_service_was_sending_is_gone(running: tuple[str, Service]) -> None:
    assert not spooled(running[1])


def test_few_exports_are_written_at_once_some_wait_and_the_rest_come_again(
    running: tuple[str, Service], client: httpx.Client, export: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, go, lock = running[1], threading.Event(), threading.Lock()
    working = most = 0
    inner = exports._exported

    def slow(*arguments: Any) -> Any:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        try:
            assert go.wait(30)
            return inner(*arguments)
        finally:
            with lock:
                working -= 1

    monkeypatch.setattr(exports, "_exported", slow)
    monkeypatch.setattr(service, "writing", Turns(at_once=2, under_way=5, each=5))
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(client.get, export) for _ in range(12)]
        wait_until(lambda: sum(one.done() for one in asked) == 7)
        began = time.monotonic()
        assert client.get("/healthz").status_code == 200 and time.monotonic() - began < 1
        go.set()
        answers = [one.result() for one in asked]
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 7
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1 and "ask again" in answer.json()["error"]
    assert most == 2 and service.writing.count == 0


def test_a_large_result_lies_in_the_data_folder_and_goes_with_its_client(
    running: tuple[str, Service], client: httpx.Client, export: str, large: None
) -> None:
    address, service = running
    cookie = visitor(client)
    place = urlsplit(address)
    for whole in (False, True):
        with socket.create_connection((place.hostname, place.port)) as connection:
            connection.sendall(
                f"GET {export} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode()
            )
            assert connection.recv(12) == b"HTTP/1.1 200"
            wait_until(lambda: len(spooled(service)) == 1 == service.writing.count)
            assert bytes_in(service.data / FOLDER) == LARGE
            came = 12
            while whole and came < LARGE:
                came += len(connection.recv(1 << 20))
        wait_until(lambda: not spooled(service) and service.writing.count == 0)


def test_a_client_that_went_while_it_waited_is_not_written_for(
    running: tuple[str, Service], client: httpx.Client, export: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, service = running
    go, written = threading.Event(), []
    inner = exports._exported
    monkeypatch.setattr(
        exports, "_exported", lambda *arguments: (go.wait(30), written.append(1), inner(*arguments))[2]
    )
    monkeypatch.setattr(service, "writing", Turns(at_once=1, under_way=5))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.get, export)
        wait_until(lambda: service.writing.count == 1)
        with httpx.Client(base_url=address, cookies=client.cookies, timeout=0.5) as gone:
            with pytest.raises(httpx.ReadTimeout):
                gone.get(export)
        assert service.writing.count == 2
        go.set()
        assert first.result().status_code == 200
    wait_until(lambda: service.writing.count == 0)
    assert len(written) == 1


def test_what_a_client_waited_for_is_written_no_further_once_it_has_gone(
    running: tuple[str, Service], client: httpx.Client, export: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, service = running
    said = {"label": "dog", "start": 1.0, "end": 2.0, "verdict": "right"}
    id = client.post(export.replace("export", "corrections"), json=said).json()["id"]
    monkeypatch.setattr(exports, "manifest_rows", endless)
    with httpx.Client(base_url=address, cookies=client.cookies, timeout=0.5) as gone:
        with pytest.raises(httpx.ReadTimeout):
            gone.get(export + "?format=manifest")
    wait_until(lambda: service.writing.count == 0, 5)
    assert client.delete(export.replace("export", f"corrections/{id}")).status_code == 204


def endless(said: Any, found: Any, look: Any) -> Iterator[Row]:
    """Rows without an end."""
    while True:
        look()
        time.sleep(0.01)
        yield Row(0.0, 1.0, ("dog",), ())


def visitor(client: httpx.Client) -> str:
    """Its cookie, as a header has it; the name has the service's mark."""
    ((name, value),) = client.cookies.items()
    return f"{name}={value}"


@contextlib.contextmanager
def unread(address: str, client: httpx.Client, export: str) -> Iterator[socket.socket]:
    """A connection whose client does not read the rest of a large answer."""
    place = urlsplit(address)
    cookie = visitor(client)
    with socket.create_connection((place.hostname, place.port), 20) as connection:
        connection.sendall(f"GET {export} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 200"
        yield connection


def test_who_is_sent_large_results_already_gets_small_ones_and_others_get_large_ones(
    running: tuple[str, Service],
    client: httpx.Client,
    export: str,
    sound: Path,
    large: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, service = running
    monkeypatch.setattr(service, "writing", Turns(under_way=3, each=2))
    monkeypatch.setattr(service.space, "most", 1 << 30)
    with unread(address, client, export), unread(address, client, export):
        answer = client.get(export)
        assert answer.status_code == 429 and "being sent for you" in answer.json()["error"]
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get(export + "?format=manifest&judged=false&threshold=0").status_code == 200
        with httpx.Client(base_url=address, timeout=60) as other:
            id = other.post("/v1/recordings", files={"file": ("b.wav", sound.read_bytes())}).json()["id"]
            wait_until(lambda: other.get(f"/v1/recordings/{id}").json()["state"] == "done", 60)
            theirs = f"/v1/recordings/{id}/export"
            with unread(address, other, theirs):
                answer = other.get(theirs)
                assert answer.status_code == 429 and "3 results are being sent" in answer.json()["error"]
            assert other.delete(f"/v1/recordings/{id}").status_code == 204
    wait_until(lambda: not spooled(service) and service.writing.count == 0)


def test_who_reads_a_large_result_too_slowly_is_cut_off(
    running: tuple[str, Service],
    client: httpx.Client,
    export: str,
    large: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(turns, "SLOW_AFTER_SECONDS", 0.3)
    monkeypatch.setattr(turns, "LEAST_BYTES_PER_SECOND", 1 << 30)
    with unread(running[0], client, export) as connection:
        wait_until(lambda: not spooled(running[1]) and running[1].writing.count == 0, 5)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1 << 20):
                continue
    assert capfd.readouterr().err == ""


def test_a_large_result_without_room_is_507_and_leaves_nothing(
    running: tuple[str, Service],
    client: httpx.Client,
    export: str,
    large: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = running[1]
    monkeypatch.setattr(service.space, "most", bytes_in(service.data) + LARGE // 2)
    answer = client.get(export)
    assert answer.status_code == 507 and "keeps no more than" in answer.json()["error"]
    assert not spooled(service) and service.writing.count == 0


@pytest.mark.parametrize("format", sorted(set(formats.SUFFIXES) - {"parquet"}))
def test_events_of_a_job_are_on_the_disk_and_written_as_ever(
    format: str, running: tuple[str, Service], client: httpx.Client, model: Path, sound: Path
) -> None:
    tagger = Tagger(model, threads=1)
    expected = tagger.tag(sound, events=events_of(tagger.artifact), hop=0.05) | {"path": "a.wav"}
    assert len(expected["events"]) > 5
    text = io.StringIO(newline="")
    formats.write(format, [expected], text, formats.About.of(tagger.artifact))
    query = {"events": True, "hop": 0.05, "wait": 0, "format": format}
    job = client.post("/v1/tag", params=query, files={"file": ("a.wav", sound.read_bytes())}).json()["job"]
    wait_until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "done")
    answer = client.get(f"/v1/jobs/{job}/result")
    assert answer.status_code == 200 and answer.text == text.getvalue()
    known = running[1].jobs.get(job)
    assert set(known.result or {}) == {"path", "duration", "tags"}
    assert "events" not in json.loads((known.folder / "job.json").read_text())["result"]
    assert client.delete(f"/v1/jobs/{job}").status_code == 204


def test_a_large_result_of_a_job_waits_its_turn(
    running: tuple[str, Service], client: httpx.Client, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = running[1]
    files = {"file": ("a.wav", sound.read_bytes())}
    job = client.post("/v1/tag?windows=true&wait=0", files=files).json()["job"]
    wait_until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "done")
    whole = client.get(f"/v1/jobs/{job}/result").content
    for module in (spools, results, turns):
        monkeypatch.setattr(module, "SPOOL_BYTES", 500)
    monkeypatch.setattr(service, "writing", Turns(under_way=0))
    assert client.get(f"/v1/jobs/{job}/result").status_code == 429
    direct = client.post("/v1/tag?windows=true", files=files)  # who waits for it gets it
    assert direct.content == whole and direct.headers["content-length"] == str(len(whole))
    wait_until(lambda: not spooled(service) and service.writing.count == 0)
    client.delete(f"/v1/jobs/{job}")
