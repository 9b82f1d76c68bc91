"""Files of published models are fetched once, whatever happens on the way, and any other file is refused."""

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from loopback import Server, names, serving

from auricle.interop import download
from auricle.interop.download import Unreachable, keep

CONTENT = np.random.default_rng(3).bytes(3 << 20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(CONTENT) as server:
        yield server


def test_what_was_cut_off_goes_on_from_there(server: Server, tmp_path: Path) -> None:
    server.cut = [1000, 500_000]
    assert keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["", "bytes=1000-", "bytes=501000-"]
    assert names(tmp_path) == ["a.pth", "a.pth.sha256"]
    assert (tmp_path / "a.pth.sha256").read_text() == f"{SHA256}  a.pth\n"


def test_a_download_that_ended_with_its_process_goes_on_in_the_next(server: Server, tmp_path: Path) -> None:
    server.cut = [2000] + [0] * download.TRIALS
    with pytest.raises(
        Unreachable, match="ended after 2000 of 3145728 bytes; the next try goes on from there"
    ):
        keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True)
    assert (tmp_path / "a.pth.partial").stat().st_size == 2000
    server.cut, before = [], len(server.asked)
    assert keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked[before:]] == ["bytes=2000-"]


def test_a_file_that_changed_meanwhile_is_begun_again_and_never_mixed(server: Server, tmp_path: Path) -> None:
    server.cut = [2000] + [0] * download.TRIALS
    with pytest.raises(Unreachable):
        keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True)
    server.cut, server.tag, server.content = [], '"second"', CONTENT[::-1]
    assert keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True).read_bytes() == CONTENT[::-1]


def test_without_a_mark_or_a_checksum_nothing_is_continued(server: Server, tmp_path: Path) -> None:
    server.tag, server.cut = "", [2000]
    assert keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["", ""]
    server.cut = [2000]
    assert keep(server.url("b.pth"), tmp_path / "b.pth", md5=MD5, quiet=True).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked[2:]] == ["", "bytes=2000-"], "a checksum would find it out"


def test_a_server_without_ranges_gives_all_of_it_again(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cut = False, [2000]
    assert keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True).read_bytes() == CONTENT


@pytest.mark.parametrize("there", [len(CONTENT), len(CONTENT) + 7])
def test_what_is_whole_or_too_long_already_ends_well(server: Server, tmp_path: Path, there: int) -> None:
    (tmp_path / "a.pth.partial").write_bytes((CONTENT + b"further")[:there])
    (tmp_path / "a.pth.partial.mark").write_text(server.tag)
    assert keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True).read_bytes() == CONTENT


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    assert keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True).read_bytes() == CONTENT
    server.statuses = [302] * 20
    with pytest.raises(ValueError, match="the server answers 302 .*loop") as caught:
        keep(server.url("b.pth"), tmp_path / "b.pth", quiet=True)
    assert "\n" not in str(caught.value)
    server.statuses = [404]
    with pytest.raises(ValueError, match="the server answers 404 Not Found"):
        keep(server.url("b.pth"), tmp_path / "b.pth", quiet=True)


def test_a_server_that_falls_silent_is_not_waited_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(download, "TRIALS", 1)
    server.stalls = 0.5
    with pytest.raises(Unreachable, match=r"the connection was lost \(timed out\)"):
        keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True)
    server.stalls = 0.01
    assert keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True).read_bytes() == CONTENT


def test_a_server_that_never_answers_is_told_while_it_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("auricle.progress._silent", False)
    for name, value in {"TIMEOUT_SECONDS": 0.3, "PATIENCE_SECONDS": 0.05, "TRIALS": 1}.items():
        monkeypatch.setattr(download, name, value)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        host = f"127.0.0.1:{mute.getsockname()[1]}"
        for quiet in (True, False):
            with pytest.raises(Unreachable, match=r"a\.pth: the server sends nothing \(timed out\)$"):
                keep(f"http://{host}/a.pth", tmp_path / "a.pth", quiet=quiet)
            told = capsys.readouterr().err
            assert not told if quiet else told.startswith(f"auricle: waiting for {host}, which sends nothing")


@pytest.mark.parametrize("digest", [{"sha256": "0" * 64}, {"md5": "0" * 32}])
def test_a_published_checksum_counts_from_the_first(
    server: Server, tmp_path: Path, digest: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="another or a damaged file, which was not used"):
        keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True, **digest)
    assert names(tmp_path) == []
    right = {"sha256": SHA256} if "sha256" in digest else {"md5": MD5}
    assert keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True, **right).is_file()
    (tmp_path / "a.pth").write_bytes(CONTENT + b"x")
    with pytest.raises(ValueError, match="not used; remove it, and it is fetched again from http.*a.pth$"):
        keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True, **right)


def test_the_first_file_is_the_one_that_counts_later(server: Server, tmp_path: Path) -> None:
    path = keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True)
    path.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(ValueError, match=r"when it was first used: .* remove .*a\.pth\.sha256") as caught:
        keep(server.url("a.pth"), path, quiet=True)
    assert "\n" not in str(caught.value) and names(tmp_path) == ["a.pth.sha256"]
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(ValueError, match=r"when it was first used: .*; remove it, and it is fetched again"):
        keep(server.url("a.pth"), path, quiet=True)
    server.content = CONTENT
    path.unlink()  # as was said: what was damaged here does not become the right one
    assert keep(server.url("a.pth"), path, quiet=True).read_bytes() == CONTENT
    path.write_bytes(CONTENT[::-1])
    (tmp_path / "a.pth.sha256").unlink()
    assert keep(server.url("a.pth"), path, quiet=True) == path, "it was said to be the right one"


def test_the_proxy_of_the_environment_is_asked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url(""))
    keep("http://weights.invalid/a.pth", tmp_path / "a.pth", quiet=True)
    assert server.asked == [("http://weights.invalid/a.pth", "")]
    with serving(b"") as gone:
        address = gone.url("b.pth")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(Unreachable, match="cannot be reached"):
        keep(address, tmp_path / "b.pth", quiet=True)
    assert len(server.asked) == 1


def test_offline_no_server_is_asked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURICLE_OFFLINE", "1")
    with pytest.raises(Unreachable, match="not downloaded yet, and AURICLE_OFFLINE is set"):
        keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True)
    assert server.asked == []
    (tmp_path / "a.pth").write_bytes(CONTENT)
    assert keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True).is_file(), "by hand is well, too"
    (tmp_path / "a.pth").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"remove it, and put there what http.*a\.pth gives"):
        keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True)
    (tmp_path / "a.pth").write_bytes(CONTENT)
    monkeypatch.setenv("AURICLE_OFFLINE", "0")
    assert not download.is_offline()


def test_processes_that_want_the_same_file_fetch_it_once(server: Server, own_cache: Path) -> None:
    server.stalls = 0.3
    script = (
        "import sys; from pathlib import Path; from auricle.interop.download import keep;"
        "print(len(keep(sys.argv[1], Path(sys.argv[2]), quiet=True).read_bytes()))"
    )
    command = [sys.executable, "-c", script, server.url("a.pth"), str(own_cache / "a.pth")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in running] == [f"{len(CONTENT)}\n"] * 3
    assert len(server.asked) == 1
    assert names(own_cache) == ["a.pth", "a.pth.sha256"]


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", ""])
def test_a_page_in_place_of_the_file_is_not_kept(server: Server, tmp_path: Path, kind: str) -> None:
    """What a network answers that asks for a login first, also where a part of the file was here before."""
    server.cut = [2000] + [0] * download.TRIALS
    with pytest.raises(Unreachable):
        keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True)
    right, server.cut, server.kind, server.ranges = server.content, [], kind, False
    server.content = b"<html>log in, please</html>" if not kind else bytes(100)
    message = "does not give the file, but a web page.*a network that asks for a login"
    with pytest.raises(Unreachable, match=message) as caught:
        keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["a.pth.partial", "a.pth.partial.mark"]
    server.content, server.kind, server.ranges = right, "", True
    assert keep(server.url("a.pth"), tmp_path / "a.pth", quiet=True).read_bytes() == CONTENT
    assert server.asked[-1][1] == "bytes=2000-"


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("expected", [len(CONTENT) // 3, len(CONTENT) * 3])
def test_a_file_of_another_size_is_not_kept(
    server: Server, tmp_path: Path, told: bool, expected: int
) -> None:
    server.length_told = told
    with pytest.raises(Unreachable, match=rf"gives {len(CONTENT)} bytes, expected about {expected}"):
        keep(server.url("a.pth"), tmp_path / "a.pth", size=expected, quiet=True)
    assert names(tmp_path) == []
    assert keep(server.url("a.pth"), tmp_path / "a.pth", size=len(CONTENT) - 99, quiet=True).is_file()
