"""Uploads from clients of every kind, over real connections: good, slow, lying, broken, too large, gone."""

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from serving import wait_until

from auricle.serve import uploads
from auricle.serve.errors import Refused, add_error_handlers
from auricle.serve.protocol import PatientProtocol
from auricle.serve.security import add_security, http_protocol
from auricle.serve.settings import Settings
from auricle.serve.space import Space
from auricle.serve.uploads import clean_name, receive_upload

MOST = 300_000
CONTENT = os.urandom(200_000)


class Receiver:
    """A service that only takes uploads, and says what it got."""

    def __init__(self, data: Path, **limits: Any):
        limits = {"max_upload_bytes": MOST, "upload_stall_seconds": 0.5, "upload_seconds": 3.0} | limits
        self.settings = Settings(**limits)
        self.folder = data / "uploads"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.service = SimpleNamespace(
            settings=self.settings,
            data=data,
            uploading=0,
            space=Space(data, self.settings.max_data_bytes),
        )
        self.app = FastAPI()
        add_error_handlers(self.app)
        self.app.add_api_route("/v1/tag", self.take, methods=["POST"])
        self.app.add_api_route("/v1/other", self.other, methods=["POST", "GET"])
        add_security(self.app, self.settings)
        options: dict[str, Any] = {"http": http_protocol(self.settings), "loop": "asyncio", "ws": "none"}
        config = uvicorn.Config(self.app, port=0, log_level="critical", server_header=False, **options)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    async def take(self, request: Request) -> dict[str, Any]:
        upload = await receive_upload(request, self.service)  # type: ignore[arg-type]
        digest = hashlib.sha256(upload.path.read_bytes()).hexdigest() if upload.size else ""
        upload.remove()
        return {"name": upload.name, "size": upload.size, "digest": digest, "fields": upload.fields}

    async def other(self, request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    @property
    def port(self) -> int:
        return int(self.server.servers[0].sockets[0].getsockname()[1])

    def left(self) -> list[Path]:
        return list(self.folder.iterdir())


@contextlib.contextmanager
def receiving(data: Path, **limits: Any) -> Iterator[Receiver]:
    receiver = Receiver(data, **limits)
    receiver.thread.start()
    wait_until(lambda: receiver.server.started)
    try:
        yield receiver
    finally:
        receiver.server.should_exit = True
        receiver.thread.join(20)
        assert not receiver.thread.is_alive()


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with receiving(tmp_path_factory.mktemp("data")) as found:
        yield found


def form(*parts: tuple[str, str | None, bytes], boundary: str = "XyZ") -> tuple[bytes, bytes]:
    """(headers, body) of a form; of a part its name, file name and content."""
    body = b""
    for name, filename, content in parts:
        told = "" if filename is None else f'; filename="{filename}"'
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n'.encode()
        body += content + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return f"Content-Type: multipart/form-data; boundary={boundary}\r\n".encode(), body


def head(
    headers: bytes = b"", length: int | None = None, path: str = "/v1/tag", method: str = "POST"
) -> bytes:
    said = b"" if length is None else b"Content-Length: %d\r\n" % length
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n".encode() + headers + said + b"\r\n"


def connect(receiver: Receiver) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", receiver.port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def answered(connection: socket.socket) -> tuple[int, dict[str, Any], dict[str, str]]:
    """(status, JSON, headers) of the next answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        assert more, f"closed after {data!r}"
        data += more
    first, *lines = data.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = data.partition(b"\r\n\r\n")[2]
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    found = json.loads(body)
    if "error" in found:
        assert "\n" not in found["error"] and "; " in found["error"], found
    return int(first.split()[1]), found, headers


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def ask(receiver: Receiver, *pieces: bytes, pause: float = 0.0) -> tuple[int, dict[str, Any]]:
    """The answer to what is sent piece by piece; nothing stays on the disk, and the next one is served."""
    with connect(receiver) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except ConnectionError:
                break  # answered already
            time.sleep(pause)
        status, found, _ = answered(connection)
    wait_until(lambda: not receiver.left() and receiver.service.uploading == 0)
    return status, found


def test_forms_and_bodies_come_whole_at_any_cut(receiver: Receiver) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    headers, body = form(("note", None, b"hello"), ("file", "rain.wav", CONTENT))
    expected = {"name": "rain.wav", "size": len(CONTENT), "digest": digest, "fields": {"note": "hello"}}
    for size in (len(body), 7_919, 1_000):
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        assert ask(receiver, head(headers, len(body)), *pieces) == (200, expected)
    almost = b"\r\n--Xy\r\n--Xy- \r\n-\r\n--"
    small, tricky = form(("file", "a.wav", almost))
    for size in (1, 2, 3):
        pieces = [tricky[at : at + size] for at in range(0, len(tricky), size)]
        status, found = ask(receiver, head(small, len(tricky)), *pieces)
        assert (status, found["digest"]) == (200, hashlib.sha256(almost).hexdigest())
    wav = b"Content-Type: audio/wav\r\n"
    for named in (b'Content-Disposition: attachment; filename="rain.wav"\r\n', b""):
        status, found = ask(receiver, head(wav + named, len(CONTENT)), CONTENT)
        assert (status, found["digest"], found["name"]) == (200, digest, "rain.wav" if named else "upload")


def test_chunked_bodies_come_whole(receiver: Receiver) -> None:
    chunks = [b"%x\r\n" % 1000 + CONTENT[at : at + 1000] + b"\r\n" for at in range(0, 20_000, 1000)]
    start = head(b"Transfer-Encoding: chunked\r\nContent-Type: audio/wav\r\n")
    status, found = ask(receiver, start, *chunks, b"0\r\n\r\n")
    assert (status, found["digest"]) == (200, hashlib.sha256(CONTENT[:20_000]).hexdigest())
    chunk = b"%x\r\n" % 50_000 + CONTENT[:50_000] + b"\r\n"
    status, found = ask(receiver, start, *[chunk] * 10)
    assert status == 413 and "larger than 300,000 bytes" in found["error"]
    assert ask(receiver, start, b"zzz\r\n")[0] == 400


def test_curl_is_understood(receiver: Receiver, tmp_path: Path) -> None:
    file = tmp_path / "r\u00e4in, 1.wav"
    file.write_bytes(CONTENT)
    url = f"http://localhost:{receiver.port}/v1/tag"
    for arguments, name in (
        (["-F", f'file=@"{file}"'], "r\u00e4in, 1.wav"),
        (["--data-binary", f"@{file}", "-H", "Content-Type: audio/wav"], "upload"),
        (["-T", str(file), "-X", "POST", "-H", "Expect: 100-continue"], "upload"),
    ):
        done = subprocess.run(["curl", "-sS", *arguments, url], capture_output=True, text=True, timeout=30)
        assert (json.loads(done.stdout)["name"], json.loads(done.stdout)["size"]) == (name, len(CONTENT))
    done = subprocess.run(
        ["curl", "-sS", "-d", "@-", url], input="x", capture_output=True, text=True, timeout=30
    )
    assert "application/x-www-form-urlencoded" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize("way", ["announced", "expecting", "sent", "form"])
def test_what_is_too_large_is_refused_as_soon_as_that_is_known(way: str, receiver: Receiver) -> None:
    piece = bytes(100_000)
    began = time.monotonic()
    if way == "announced":
        with connect(receiver) as connection:
            connection.sendall(head(length=10 << 30))
            for _ in range(20):  # who sends on is not cut off before he has read the answer
                connection.sendall(piece)
                time.sleep(0.01)
            status, found, headers = answered(connection)
            assert headers["connection"] == "close" and is_closed(connection)
    elif way == "expecting":
        status, found = ask(receiver, head(b"Expect: 100-continue\r\n", length=10 << 30))
    elif way == "sent":
        chunk = b"%x\r\n" % len(piece) + piece + b"\r\n"
        status, found = ask(receiver, head(b"Transfer-Encoding: chunked\r\n"), *[chunk] * 20)
    else:
        headers, body = form(("file", "a.wav", bytes(MOST + 70_000)))
        status, found = ask(receiver, head(headers, len(body)), body)
    assert status == 413 and "larger than 300,000 bytes" in found["error"]
    assert time.monotonic() - began < 5


TYPE = b"Content-Type: multipart/form-data"
BROKEN = {
    "no file": (*form(("note", None, b"hello")), "no part `file`"),
    "two files": (*form(("file", "a.wav", b"a"), ("file", "b.wav", b"b")), "two files"),
    "another part": (*form(("audio", "a.wav", b"a")), "is its part 'audio'"),
    "no parts": (form()[0], b"--XyZ--\r\n", "no part `file`"),
    "many parts": (*form(*[("x", None, b"")] * 40), "more than 32 parts"),
    "cut": (form()[0], form(("file", "a.wav", b"abc"))[1][:-10], "before its last boundary"),
    "no boundary": (b"Content-Type: multipart/form-data\r\n", b"x", "no boundary"),
    "long boundary": (
        b"Content-Type: multipart/form-data; boundary=" + b"x" * 90 + b"\r\n",
        b"x",
        "no boundary",
    ),
    "another boundary": (form()[0], form(("file", "a", b"x"), boundary="Other")[1], "form"),
    "garbage": (form()[0], bytes(range(256)) * 4, "broken"),
    "no name": (form()[0], b"--XyZ\r\nContent-Disposition: form-data\r\n\r\nx\r\n--XyZ--\r\n", "no name"),
    "no headers": (form()[0], b"--XyZ\r\n\r\nx\r\n--XyZ--\r\n", "no name"),
    "a long header": (form()[0], b"--XyZ\r\nX: " + b"x" * 60_000 + b"\r\n\r\nx\r\n--XyZ--\r\n", "broken"),
    "empty": (b"Content-Type: audio/wav\r\n", b"", "the body is empty"),
}


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_broken_form_is_refused_with_what_is_wrong_and_how_it_is_done(
    kind: str, receiver: Receiver
) -> None:
    headers, body, says = BROKEN[kind]
    status, found = ask(receiver, head(headers, len(body)), body)
    assert status == 400 and says in found["error"], found
    if kind != "two files":
        assert "send a form whose part `file` is the recording" in found["error"]


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Type: application/x-www-form-urlencoded\r\n",
        b"Content-Type: text/plain\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n",
        b"Content-Encoding: gzip\r\n",
    ],
)
def test_other_types_of_content_are_refused(headers: bytes, receiver: Receiver) -> None:
    assert ask(receiver, head(headers, 3), b"abc")[0] == 415


def test_long_fields_are_refused(receiver: Receiver) -> None:
    headers, body = form(("x", None, bytes(70_000)), ("file", "a.wav", b"x"))
    status, found = ask(receiver, head(headers, len(body)), body)
    assert status == 413 and "other parts are longer" in found["error"]


def test_a_client_that_stalls_is_told_so_and_left(receiver: Receiver) -> None:
    with connect(receiver) as connection:
        connection.sendall(head(length=1000) + b"abc")
        began = time.monotonic()
        status, found, headers = answered(connection)
        assert (status, headers["connection"]) == (408, "close")
        assert "nothing came for 0.5 s" in found["error"] and time.monotonic() - began < 3
        assert is_closed(connection)
    assert not receiver.left()


def test_a_client_that_takes_its_time_is_told_so(receiver: Receiver) -> None:
    with connect(receiver) as connection:
        connection.sendall(head(length=1000))
        connection.settimeout(0.05)
        began, status = time.monotonic(), 0
        while not status and time.monotonic() - began < 10:
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"x")
            try:
                status, found, _ = answered(connection)
            except TimeoutError:
                continue
        assert status == 408 and "longer than 3 s" in found["error"]
    wait_until(lambda: not receiver.left())


def test_a_trickle_is_no_upload(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "SLOW_AFTER_SECONDS", 0.3)
    with connect(receiver) as connection:
        connection.sendall(head(length=1000))
        for _ in range(20):
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"x")
            time.sleep(0.05)
        status, found, _ = answered(connection)
    assert status == 408 and "slower than" in found["error"]


@pytest.mark.parametrize("length", [1000, 150_000])
def test_a_client_that_goes_leaves_no_file(
    length: int, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "WRITE_BYTES", 100)
    with connect(receiver) as connection:
        connection.sendall(head(length=length) + bytes(length // 2))
        wait_until(receiver.left)
    wait_until(lambda: receiver.service.uploading == 0 and not receiver.left())


def test_bytes_beyond_the_announced_length_are_no_part_of_the_upload(receiver: Receiver) -> None:
    with connect(receiver) as connection:
        connection.sendall(head(length=3) + b"abc")
        assert answered(connection)[1]["size"] == 3
        connection.sendall(b"def garbage\r\n\r\n")
        status, _, headers = answered(connection)
        assert (status, headers["connection"]) == (400, "close")


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 99999999999999999999999999\r\n",
        b"Transfer-Encoding: gzip, chunked, chunked\r\n",
    ],
)
def test_lies_about_the_length_are_no_http(headers: bytes, receiver: Receiver) -> None:
    with connect(receiver) as connection:
        connection.sendall(head(headers) + b"5\r\nhello\r\n0\r\n\r\n")
        connection.settimeout(5)
        assert answered(connection)[0] in (400, 408, 413, 415)


def test_a_full_disk_and_a_full_store_are_507(tmp_path: Path, small_disk: Path) -> None:
    with receiving(tmp_path / "data", max_data_bytes=150_000) as receiver:
        status, found = ask(receiver, head(length=len(CONTENT)), CONTENT)
        assert status == 507 and "keeps no more than" in found["error"]
        assert ask(receiver, head(length=1000), bytes(1000))[0] == 200
    with receiving(small_disk / "data") as receiver:
        for margin, length in ((64 << 20, 10), (-(1 << 30), len(CONTENT))):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("auricle.serve.space.MARGIN_BYTES", margin)
                status, found = ask(receiver, head(length=length), CONTENT[:length])
            assert status == 507 and "disk of the service is full" in found["error"]


def test_no_more_uploads_than_there_are_places(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "AT_ONCE", 1)
    with connect(receiver) as first:
        first.sendall(head(length=10) + b"12345")
        wait_until(lambda: receiver.service.uploading == 1)
        with connect(receiver) as second:
            second.sendall(head(length=10) + b"0123456789")
            status, _, headers = answered(second)
            assert (status, headers["retry-after"]) == (429, "2")
        first.sendall(b"67890")
        assert answered(first)[0] == 200


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("rain.wav", "rain.wav"),
        ("../../etc/passwd", "passwd"),
        ("C:\\music\\rain.wav", "rain.wav"),
        ("/", "upload"),
        ("..", "upload"),
        ("", "upload"),
        ("  ", "upload"),
        ("r\u00e4in \u65e5\u672c.wav", "r\u00e4in \u65e5\u672c.wav"),
        ("a\r\nSet-Cookie: x\x00\x1b[2J.wav", "aSet-Cookie: x[2J.wav"),
        ("evil\u202egpj.wav", "evilgpj.wav"),
        ("half \ud83d.wav", "half .wav"),
        ("<script>alert(1)</script>.wav", "script>.wav"),
        ("x" * 300 + ".flac", "x" * 195 + ".flac"),
        ("x" * 300, "x" * 200),
        ("-rf", "-rf"),
    ],
)
def test_names_are_made_fit_to_be_shown(given: str, expected: str) -> None:
    assert clean_name(given) == expected


def test_names_in_forms_are_utf_8_and_lead_nowhere(receiver: Receiver) -> None:
    for given, expected in (("../../r\u00e4in.wav", "r\u00e4in.wav"), ("say %22hi%22.wav", 'say "hi".wav')):
        headers, body = form(("file", given, b"x"))
        assert ask(receiver, head(headers, len(body)), body)[1]["name"] == expected
    named = b"Content-Disposition: attachment; filename*=UTF-8''r%C3%A4in%2F..%2Fx.wav\r\n"
    assert ask(receiver, head(named, 1), b"x")[1]["name"] == "x.wav"


def test_other_bodies_are_short_and_quick(receiver: Receiver) -> None:
    to = {"path": "/v1/other"}
    chunk = b"%x\r\n" % 300_000 + bytes(300_000) + b"\r\n"
    assert ask(receiver, head(length=1 << 20, **to), bytes(1 << 20)) == (200, {"size": 1 << 20})
    for pieces in (
        (head(length=(1 << 20) + 1, **to),),
        (head(b"Content-Type: application/json\r\n", length=10 << 20), bytes(1000)),
        (head(b"Transfer-Encoding: chunked\r\n", **to), *[chunk] * 4),
    ):
        status, found = ask(receiver, *pieces)
        assert status == 413 and "longer than 1,048,576 bytes" in found["error"]
    status, found = ask(receiver, head(length=100, **to), b"x")
    assert status == 408 and "too slowly" in found["error"]


def test_heads_that_are_slow_or_endless_are_cut_off(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auricle.serve.protocol.HEAD_SECONDS", 0.4)
    for start in (b"", b"POST /v1/t", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "):
        with connect(receiver) as connection:
            connection.sendall(start)
            began = time.monotonic()
            while time.monotonic() - began < 1:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b"x" if start else b"")
                time.sleep(0.1)
            assert answered(connection)[0] == 408
            assert is_closed(connection)
    with connect(receiver) as connection:  # the second request of a connection
        connection.sendall(head(path="/v1/other", method="GET"))
        assert answered(connection)[0] == 200
        connection.sendall(b"\r\n")
        assert answered(connection)[0] == 408
    monkeypatch.setattr("auricle.serve.protocol.HEAD_SECONDS", 30.0)
    lines = b"X: " + b"x" * 400_000, b"X: y\r\n" * 30_000, b"X" * 400_000
    for many in [*lines, *[line + b"\r\n\r\n" for line in lines], b"X: y\r\n" * 12_000 + b"\r\n"]:
        with connect(receiver) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + many)
            assert answered(connection)[0] in (400, 431)
            assert is_closed(connection)


def test_trailers_and_chunks_of_nothing_are_cut_off(tmp_path: Path) -> None:
    start = head(b"Transfer-Encoding: chunked\r\n") + b"1\r\nx\r\n"
    with receiving(tmp_path, upload_stall_seconds=30, upload_seconds=30) as receiver:
        for many in (b"0\r\nX: " + b"x" * 1_000_000, b"1;" + b"x" * 1_000_000):
            with connect(receiver) as connection:
                connection.sendall(start)
                connection.sendall(many)
                assert answered(connection)[0] in (400, 431)
                assert is_closed(connection)
        wait_until(lambda: receiver.service.uploading == 0 and not receiver.left())


def test_a_client_that_does_not_read_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.responses import StreamingResponse

    monkeypatch.setattr("auricle.serve.protocol.UNREAD_SECONDS", 0.5)
    ended = threading.Event()

    async def endless() -> StreamingResponse:
        async def pieces() -> Any:
            try:
                while True:
                    yield bytes(100_000)
                    await asyncio.sleep(0)
            finally:
                ended.set()

        return StreamingResponse(pieces())

    receiver = Receiver(tmp_path)
    receiver.app.add_api_route("/v1/endless", endless)
    receiver.thread.start()
    wait_until(lambda: receiver.server.started)
    with connect(receiver) as connection:
        connection.sendall(head(path="/v1/endless", method="GET"))
        assert ended.wait(10)
    receiver.server.should_exit = True
    receiver.thread.join(20)


def test_more_connections_than_there_are_places_are_told_so(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auricle.serve.protocol.CONNECTIONS", 3)
    wait_until(lambda: not receiver.server.server_state.connections)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(receiver))
        last = stack.enter_context(connect(receiver))
        assert answered(last)[0] == 503
    assert issubclass(http_protocol(receiver.settings), PatientProtocol)
    wait_until(lambda: not receiver.server.server_state.connections)
    assert ask(receiver, head(length=3), b"abc")[0] == 200


def test_space_counts_what_was_written_since_it_looked(tmp_path: Path) -> None:
    space = Space(tmp_path, 1000)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(bytes(500))
    space.take(400)
    (tmp_path / "y").write_bytes(bytes(400))
    with pytest.raises(Refused, match="keeps no more than"):
        space.take(200)
    (tmp_path / "y").unlink()
    space.take(200)  # it looks again before it refuses
