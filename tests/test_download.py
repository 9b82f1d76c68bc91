"""Released files by URL: the right one is kept and used again, any other is refused."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from auricle.interop import download
from auricle.interop.download import cache_folder, fetch

CONTENT = bytes(range(256)) * 9000  # more than one piece
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    requests = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.requests += 1
        if "missing" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: 5000 if "short" in self.path else None])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_download_is_kept_and_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    url = server.url("weights.pth")
    path = fetch(url, sha256=DIGEST, cache=tmp_path, quiet=True)
    assert path.read_bytes() == CONTENT
    assert fetch(url, sha256=DIGEST, cache=tmp_path, quiet=True) == path
    assert server.requests == 1
    assert list(tmp_path.iterdir()) == [path]


def test_digits_in_the_name_of_the_file_are_its_checksum(server: Server, tmp_path: Path) -> None:
    path = fetch(server.url(f"net-{DIGEST[:8]}.pth"), cache=tmp_path, quiet=True)
    assert path.read_bytes() == CONTENT
    with pytest.raises(ValueError, match=f"begins with {DIGEST[:8]}, expected 00000000"):
        fetch(server.url("net-00000000.pth"), cache=tmp_path, quiet=True)


def test_another_file_than_expected_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another or a damaged file, which was not used"):
        fetch(server.url("weights.pth"), sha256="ab" * 32, cache=tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_damaged_in_the_cache_is_refused(server: Server, tmp_path: Path) -> None:
    path = fetch(server.url("weights.pth"), sha256=DIGEST, cache=tmp_path, quiet=True)
    path.write_bytes(b"x" + CONTENT[1:])
    with pytest.raises(ValueError, match="damaged"):
        fetch(server.url("weights.pth"), sha256=DIGEST, cache=tmp_path, quiet=True)


def test_a_download_without_any_checksum_is_refused_before_a_request(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give its SHA-256"):
        fetch(server.url("weights.pth"), cache=tmp_path)
    assert server.requests == 0


@pytest.mark.parametrize(
    ("name", "message"), [("missing.pth", "answers 404"), ("short.pth", "ended after 5000")]
)
def test_what_the_server_does_not_give_is_one_clear_line(
    server: Server, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        fetch(server.url(name), sha256=DIGEST, cache=tmp_path, quiet=True)
    assert "\n" not in str(caught.value)
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".mark"] == (
        [".partial"] if "short" in name else []
    ), "what came stays, so that a later try goes on from there"


def test_no_server_is_one_clear_line(tmp_path: Path) -> None:
    with Server(("127.0.0.1", 0), Handler) as server:
        url = server.url("weights.pth")
    with pytest.raises(ValueError, match="cannot be reached .*; download it elsewhere and give its path"):
        fetch(url, sha256=DIGEST, cache=tmp_path, quiet=True)


def test_a_path_is_checked_where_a_checksum_is_given(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(CONTENT)
    assert fetch(str(path)) == path
    assert fetch(str(path), sha256=DIGEST.upper()) == path
    with pytest.raises(ValueError, match="expected abababab"):
        fetch(str(path), sha256="abababab")
    with pytest.raises(ValueError, match="8 to 64 hexadecimal digits"):
        fetch(str(path), sha256="0xabc")
    named = path.rename(tmp_path / f"weights-{DIGEST[:8]}.pth")
    assert fetch(str(named)) == named
    with pytest.raises(ValueError, match="expected 00000000"):
        fetch(str(named.rename(tmp_path / "weights-00000000.pth")))


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AURICLE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "auricle"
