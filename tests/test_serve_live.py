"""`WS /v1/live`: the rows of `auricle tag --live`, for clients of every kind."""

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving import ROOT, serving, wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from auricle.audio import RawFormat
from auricle.cli import main
from auricle.events import events_of
from auricle.serve import live, websocket
from auricle.serve.pipe import WAITING_BYTES, Pipe
from auricle.serve.state import Service
from auricle.tagging import Tagger

Running = tuple[str, Service]
END = json.dumps({"end": True})
HANDSHAKE = (
    b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture(scope="module")
def running(model: Path) -> Iterator[Running]:
    with serving(model=str(model), threads=1, live_sessions=8) as found:
        yield found
        wait_until(lambda: found[1].listening == 0)


def noise(seconds: float, rate: int, channels: int = 1, format: str = "s16le", seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    count = round(seconds * rate)
    values = rng.uniform(-1, 1, (count, channels)) * np.linspace(0.05, 0.9, count)[:, None]
    return values.astype("<f4").tobytes() if format == "f32le" else (values * 32767).astype("<i2").tobytes()


def opened(address: str, **options: Any) -> ClientConnection:
    return connect(address.replace("http", "ws", 1) + "/v1/live", ping_interval=None, **options)


def heard(
    address: str, pcm: bytes, piece: int = 3201, **hello: Any
) -> tuple[list[dict[str, Any]], int | None]:
    """(what came back, close code) of sound sent in pieces of so many bytes, and its end."""
    came: list[dict[str, Any]] = []
    with opened(address) as socket:
        listener = threading.Thread(target=lambda: came.extend(map(json.loads, _rest(socket))))
        listener.start()
        socket.send(json.dumps(hello))
        for start in range(0, len(pcm), piece):
            socket.send(pcm[start : start + piece])
        socket.send(END)
        listener.join(60)
        assert not listener.is_alive()
        return came, socket.close_code


def refused(socket: ClientConnection) -> tuple[str, int | None]:
    """The line of a refusal, and the close code."""
    said = json.loads(socket.recv(timeout=20))
    with pytest.raises(ConnectionClosed):
        socket.recv(timeout=20)
    return said["error"], socket.close_code


def followed(model: Path, pcm: bytes, hello: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    """What the tagger says of the same bytes read from a pipe."""
    raw = RawFormat(rate=hello["rate"], channels=hello.get("channels", 1), dtype=hello.get("format", "s16le"))
    tagger = Tagger(model, threads=1)
    hop = hello.get("hop", min(tagger.artifact.hop / tagger.artifact.rate, 1.0))
    options |= {key: hello[key] for key in ("top", "threshold") if key in hello}
    if hello.get("events"):
        options |= {"windows": False, "events": events_of(tagger.artifact)}
    name = hello.get("name", "live")
    pieces = tagger.follow(io.BytesIO(pcm), raw=raw, hop=hop, live=True, warn=lambda text: None, **options)
    return [{**{"path": name}, **piece, "path": name} for piece in pieces]


def test_rows_and_the_whole_are_what_the_command_line_says_to_the_last_byte(
    running: Running, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pcm = noise(2.7, 44100, 2)
    (tmp_path / "sound.pcm").write_bytes(pcm)
    monkeypatch.chdir(tmp_path)
    lines: dict[str, list[str]] = {}
    for mode in ("--live", "--quiet"):
        words = f"tag sound.pcm --model {model} --raw 44100,2,s16le --format jsonl --out {mode}.jsonl {mode}"
        with pytest.raises(SystemExit) as ended:
            main([*words.split(), *"--hop 0.1 --top 3 --quiet --threads 1".split()])
        assert not ended.value.code
        lines[mode] = (tmp_path / f"{mode}.jsonl").read_text().splitlines()
    came, code = heard(running[0], pcm, rate=44100, channels=2, hop=0.1, top=3, name="sound.pcm")
    assert code == 1000
    assert [json.dumps(row) for row in came] == lines["--live"]
    assert json.dumps(came[-1]) == lines["--quiet"][-1]
    assert len(came) == 27


CASES: list[dict[str, Any]] = [
    {"rate": 4000},
    {"rate": 8000, "format": "f32le", "top": 1},
    {"rate": 11025, "channels": 3, "threshold": 0.4},
    {"rate": 48000, "channels": 8, "format": "f32le", "hop": 0.05},
    {"rate": 96000, "events": True, "hop": 0.05},
    {"rate": 384000, "channels": 2},
]


@pytest.mark.parametrize("hello", CASES, ids=lambda hello: f"{hello['rate']}x{hello.get('channels', 1)}")
def test_rates_channels_and_formats(running: Running, model: Path, hello: dict[str, Any]) -> None:
    pcm = noise(1.23, hello["rate"], hello.get("channels", 1), hello.get("format", "s16le"))
    came, code = heard(running[0], pcm, piece=10007, **hello)
    assert code == 1000
    assert came == followed(model, pcm, hello)


def test_many_at_once_get_their_own_numbers(running: Running, model: Path) -> None:
    pcms = [noise(2.0, 16000, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda pcm: heard(running[0], pcm, rate=16000, hop=0.05), pcms))
    for pcm, (came, code) in zip(pcms, answers, strict=True):
        assert code == 1000
        assert came == followed(model, pcm, {"rate": 16000, "hop": 0.05})


def test_a_row_comes_while_the_sound_goes_on(running: Running) -> None:
    with opened(running[0]) as socket:
        socket.send(json.dumps({"rate": 8000, "hop": 0.25}))
        socket.send(noise(0.3, 8000))
        row = json.loads(socket.recv(timeout=20))
        assert (row["start"], row["end"]) == (0.0, 0.25)
        socket.send(noise(0.3, 8000))
        assert json.loads(socket.recv(timeout=20))["start"] == 0.25
    wait_until(lambda: running[1].listening == 0)


def test_bytes_that_are_no_whole_sample_are_kept_for_the_next_message(running: Running, model: Path) -> None:
    pcm = noise(0.5, 8000, 2)
    for piece in (1, 3, 777):
        came, code = heard(running[0], pcm[:4001], piece=piece, rate=8000, channels=2)
        assert code == 1000
        assert came == followed(model, pcm[:4000], {"rate": 8000, "channels": 2})


@pytest.mark.parametrize(
    "first, line",
    [
        ("{", "no JSON object"),
        ("[1]", "no JSON object"),
        (b"\0\0", "is binary"),
        ("{}", "rate is missing"),
        ('{"rate": 3999}', "rate is '3999'; input should be greater than or equal to 4000"),
        ('{"rate": 384001}', "rate is '384001'"),
        ('{"rate": "48000"}', "rate is '48000'; input should be a valid integer"),
        ('{"rate": 48000, "channels": 9}', "channels is '9'"),
        ('{"rate": 48000, "format": "mp3"}', "format is 'mp3'; input should be 's16le' or 'f32le'"),
        ('{"rate": 48000, "hop": 0.001}', "hop is 0.001 s; expected 0.01 s or more"),
        ('{"rate": 48000, "hop": 99}', "hop is 99 s"),
        ('{"rate": 48000, "consistent": true}', "flat"),
        ('{"rate": 48000, "tpo": 1}', "'tpo' is no key here; it may be meant for top: there are channels, "),
        ('{"rate": 48000, "xyz": 1}', "'xyz' is no key here; leave it out: there are channels, "),
        ('{"rate": 48000, "threshold": NaN}', "threshold"),
        ("[" * 10000, "no JSON object"),
        ('{"rate": 48000, "top": 3, "rate": 8000}', "'rate' is given 2 times; give it once"),
    ],
)
def test_a_wrong_first_message_is_told_in_one_line(running: Running, first: Any, line: str) -> None:
    with opened(running[0]) as socket:
        socket.send(first)
        error, code = refused(socket)
    assert line in error and "\n" not in error
    assert code == 1008


def test_text_in_the_midst_of_sound_and_no_sound_at_all(running: Running) -> None:
    with opened(running[0]) as socket:
        socket.send('{"rate": 8000}')
        socket.send(noise(0.1, 8000))
        socket.send("hello")
        assert json.loads(socket.recv(timeout=20))["path"] == "live"  # what was heard is said
        assert json.loads(socket.recv(timeout=20))["duration"] == 0.1
        error, code = refused(socket)
        assert error.startswith("'hello' came as text") and code == 1008
    came, code = heard(running[0], b"", rate=8000)
    assert code == 1008 and "live: " in came[0]["error"]


def test_a_client_that_says_nothing_or_falls_silent_is_sent_away(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FIRST_SECONDS", 0.2)
    monkeypatch.setattr(live, "IDLE_SECONDS", 0.2)
    with opened(running[0]) as socket:
        error, code = refused(socket)
        assert "nothing was said within 0.2 s" in error and code == 1008
    with opened(running[0]) as socket:
        socket.send('{"rate": 8000}')
        socket.send(noise(0.5, 8000))
        rows = [json.loads(socket.recv(timeout=20)) for _ in range(3)]
        assert rows[-1]["duration"] == 0.5
        error, code = refused(socket)
        assert "no sound came for 0.2 s" in error and code == 1008


def test_more_than_may_listen_are_told_to_come_later(model: Path) -> None:
    with serving(model=str(model), threads=1, live_sessions=1) as (address, service):
        with opened(address) as first:
            first.send('{"rate": 8000}')
            wait_until(lambda: service.listening == 1)
            with opened(address) as second:
                error, code = refused(second)
            assert error == "1 listens already, which is as many as may; try again later" and code == 1013
        wait_until(lambda: service.listening == 0)
        came, code = heard(address, noise(0.5, 8000), rate=8000)
        assert code == 1000


def test_a_recording_that_never_ends_is_ended(model: Path) -> None:
    with serving(model=str(model), threads=1, max_audio_seconds=1.0) as (address, _):
        came, code = heard(address, noise(1.5, 8000), rate=8000, hop=0.25)
    assert code == 1008
    assert came[-2]["duration"] >= 1.0 and came[-1]["error"].endswith(
        "than 1 s were heard; connect again to go on"
    )


def test_the_end_of_the_service_gives_what_was_heard_and_says_1012(model: Path) -> None:
    with serving(model=str(model), threads=1) as (address, service):
        with opened(address) as socket:
            socket.send('{"rate": 8000, "hop": 0.25}')
            pcm = noise(1.1, 8000)
            socket.send(pcm)
            rows = [json.loads(socket.recv(timeout=20)) for _ in range(4)]
            ending = threading.Thread(target=service.stopping.set)
            ending.start()
            rows += [json.loads(message) for message in _rest(socket)]
            assert socket.close_code == 1012 and socket.close_reason == "the service is ending"
        with opened(address) as socket:
            error, code = refused(socket)
            assert "ending" in error and code == 1012
    assert rows == followed(model, pcm, {"rate": 8000, "hop": 0.25})


def _rest(socket: ClientConnection) -> Iterator[str | bytes]:
    while True:
        try:
            yield socket.recv(timeout=20)
        except ConnectionClosed:
            return


def test_a_service_that_is_asked_to_end_waits_for_the_last_rows(model: Path) -> None:
    found: list[Any] = []
    with contextlib.ExitStack() as stack:
        with serving(model=str(model), threads=1) as (address, _):
            socket = stack.enter_context(opened(address))
            socket.send('{"rate": 8000, "hop": 0.25}')
            socket.send(noise(1.1, 8000))
            json.loads(socket.recv(timeout=20))
            reading = threading.Thread(target=lambda: found.extend(map(json.loads, _rest(socket))))
            reading.start()
        reading.join(20)
        assert found[-1]["duration"] == 1.1 and socket.close_code == 1012


def test_a_client_that_sends_faster_than_it_is_scored_waits(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, go = running[1].scorer, threading.Event()
    inner = scorer._runner

    class Held:
        def run(self, waveforms: np.ndarray) -> Any:
            assert go.wait(60)
            return inner.run(waveforms)

    monkeypatch.setattr(scorer, "_runner", Held())
    held: list[int] = []
    write = Pipe.write

    async def noted(self: Pipe, data: bytes) -> None:
        held.append(self._held)
        await write(self, data)

    monkeypatch.setattr(Pipe, "write", noted)
    piece, sent = noise(1.0, 8000), 0
    with opened(running[0]) as socket:
        socket.socket.settimeout(None)
        socket.send('{"rate": 8000, "hop": 0.25}')

        def send() -> None:
            nonlocal sent
            for _ in range(1500):
                socket.send(piece)
                sent += 1

        sender = threading.Thread(target=send)
        sender.start()
        wait_until(lambda: _steady(lambda: sent) and sent > 60, 30)
        assert sender.is_alive() and sent < 1500  # of 24 MB, what the kernel's buffers hold and a little more
        assert len(held) * len(piece) < 3 * WAITING_BYTES
        go.set()
        threading.Thread(target=lambda: list(_rest(socket)), daemon=True).start()
        sender.join(60)
        assert sent == 1500
    assert max(held) < WAITING_BYTES + len(piece)
    wait_until(lambda: running[1].listening == 0)


def _steady(value: Any) -> bool:
    before = value()
    time.sleep(0.5)
    return bool(value() == before)


def test_a_client_that_does_not_read_is_cut(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "UNREAD_SECONDS", 0.5)
    service = running[1]
    stopped = threading.Event()
    with opened(running[0], max_queue=1) as socket:
        socket.send(json.dumps({"rate": 8000, "hop": 0.01, "name": "\N{BIRD}" * 200}))

        def send() -> None:
            piece = noise(10.0, 8000)
            with contextlib.suppress(ConnectionClosed, OSError):
                while not stopped.is_set():
                    socket.send(piece)

        sender = threading.Thread(target=send)
        sender.start()
        wait_until(lambda: service.listening == 1)
        wait_until(lambda: service.listening == 0, 60)
        stopped.set()
        sender.join(20)


def test_a_client_that_goes_leaves_nothing_behind(running: Running) -> None:
    for how in ("close", "abort"):
        with opened(running[0]) as socket:
            socket.send('{"rate": 8000, "hop": 0.25}')
            socket.send(noise(1.0, 8000))
            json.loads(socket.recv(timeout=20))
            if how == "abort":
                socket.socket.shutdown(2)
    wait_until(lambda: running[1].listening == 0)
    wait_until(lambda: not [t for t in threading.enumerate() if t.name in ("auricle-live", "auricle-decode")])


def test_a_message_that_is_too_long_is_1009(running: Running) -> None:
    with opened(running[0]) as socket:
        socket.send('{"rate": 8000}')
        head = b"\x82\xff" + (websocket.MESSAGE_BYTES + 1).to_bytes(8, "big") + bytes(4)
        socket.socket.sendall(head)  # what follows need not come
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=20)
        assert socket.close_code == 1009
    wait_until(lambda: running[1].listening == 0)


@pytest.mark.parametrize("size", [websocket.MESSAGE_BYTES + 1, 4 * websocket.MESSAGE_BYTES])
def test_who_reads_only_once_all_is_sent_hears_that_a_message_is_too_long(
    running: Running, size: int
) -> None:
    host, port = running[0].removeprefix("http://").split(":")
    with contextlib.closing(socket.create_connection((host, int(port)), 20)) as line:
        line.sendall(HANDSHAKE)
        line.recv(1 << 16)
        line.sendall(b"\x82\xff" + size.to_bytes(8, "big") + bytes(4))
        for _ in range(0, size, 1 << 16):
            line.sendall(bytes(1 << 16))
        came = b"".join(iter(lambda: line.recv(1 << 16), b""))
    assert came[0] == 0x88 and int.from_bytes(came[2:4], "big") == 1009, came
    wait_until(lambda: running[1].listening == 0)


def test_who_sends_without_end_is_left_for_all_that(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "LINGER_BYTES", 1 << 20)
    with opened(running[0]) as socket:
        head = b"\x82\xff" + (websocket.MESSAGE_BYTES + 1).to_bytes(8, "big") + bytes(4)
        began = time.monotonic()
        with pytest.raises(OSError):
            socket.socket.sendall(head)
            while True:
                socket.socket.sendall(bytes(1 << 16))
        assert time.monotonic() - began < websocket.LINGER_SECONDS
    wait_until(lambda: running[1].listening == 0)


def test_other_sites_and_clients_without_the_token_are_refused(model: Path) -> None:
    token = "0123456789abcdef"
    with serving(model=str(model), threads=1, token=token) as (address, service):
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": f"Bearer {token}", "Origin": "https://example.org"}, 403),
        ):
            with pytest.raises(InvalidStatus) as caught:
                opened(address, additional_headers=headers)
            assert caught.value.response.status_code == status
            assert "error" in json.loads(caught.value.response.body)
        with opened(
            address, additional_headers={"Authorization": f"Bearer {token}", "Origin": address}
        ) as socket:
            socket.send('{"rate": 8000}')
            socket.send(END)
            assert "error" in json.loads(socket.recv(timeout=20))


def test_another_address_takes_no_websocket_and_this_one_needs_it(running: Running) -> None:
    with pytest.raises(InvalidStatus) as caught:
        connect(running[0].replace("http", "ws", 1) + "/nowhere")
    assert caught.value.response.status_code in (403, 404)
    answer = httpx.get(running[0] + "/v1/live")
    assert answer.status_code == 426 and answer.headers["upgrade"] == "websocket"
    assert "ws://" in answer.json()["error"]


@pytest.mark.parametrize("language", ["python", "js"])
def test_the_clients_of_the_documentation_print_rows_and_the_whole(
    running: Running, tmp_path: Path, language: str
) -> None:
    text = (ROOT / "docs" / "serve.md").read_text()
    (code,) = re.findall(rf"```{language}\n(.*?/v1/live.*?)```", text, re.DOTALL)
    script = tmp_path / f"client.{language}"
    script.write_text(code.replace("ws://127.0.0.1:8765", running[0].replace("http", "ws", 1)))
    command = [sys.executable] if language == "python" else node()
    if not command:
        pytest.skip("no Node that has WebSockets")
    sound = noise(0.9, 48000)
    environment = os.environ | {"NODE_NO_WARNINGS": "1"}
    done = subprocess.run([*command, script], input=sound, capture_output=True, timeout=60, env=environment)
    lines = done.stdout.decode().splitlines()
    assert done.stderr == b"" and done.returncode == 0
    assert [float(line.split()[0]) for line in lines[:-1]] == [0.0, 0.25, 0.5, 0.65]
    assert lines[-1].startswith("whole ") and lines[-1].count(",") == 2


def node() -> list[str]:
    """The command of a Node that has WebSockets."""
    program = shutil.which("node")
    if program is None:
        return []
    version = int(subprocess.check_output([program, "--version"]).decode().lstrip("v").split(".")[0])
    return [] if version < 20 else [program] if version >= 22 else [program, "--experimental-websocket"]


def test_a_pipe_gives_what_came_in_pieces_of_any_size_and_waits_when_it_is_full() -> None:
    async def run() -> bytes:
        pipe = Pipe(asyncio.get_running_loop(), "x", 10)
        data = bytes(range(256)) * (WAITING_BYTES // 100)
        read: list[bytes] = []

        def reading() -> None:
            time.sleep(0.05)
            while piece := pipe.read(1000):
                read.append(piece)

        thread = threading.Thread(target=reading)
        thread.start()
        for start in range(0, len(data), 4097):
            await pipe.write(data[start : start + 4097])
            assert pipe._held < WAITING_BYTES + 8194
        pipe.end()
        await asyncio.to_thread(thread.join)
        assert max(map(len, read)) <= 1000
        assert b"".join(read) == data
        assert pipe.age(pipe.came / 10) is not None
        assert pipe.age(pipe.came) is None
        return data

    assert asyncio.run(run())
