"""A path that a stranger gives leads to recordings below the root, and nowhere else."""

import gc
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from auricle.serve.errors import Refused
from auricle.serve.rooted import open_under


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a recording, and a secret beside it, to which much leads."""
    folder = tmp_path / "root"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "rain.wav").write_bytes(b"rain")
    (folder / "näß, 日本.wav").write_bytes(b"unicode")
    (folder / "%2e%2e").mkdir()
    (folder / "%2e%2e" / "x.wav").write_bytes(b"no dots")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "secret.wav").write_bytes(b"secret")
    (folder / "link.wav").symlink_to(secret / "secret.wav")
    (folder / "inner.wav").symlink_to(folder / "a" / "b" / "rain.wav")
    (folder / "folder").symlink_to(secret)
    (folder / "up").symlink_to("..")
    (folder / "a" / "loop").symlink_to("loop")
    os.mkfifo(folder / "fifo.wav")
    with socket.socket(socket.AF_UNIX) as file:
        file.bind(str(folder / "socket.wav"))
    return folder


def content(root: Path, relative: str) -> bytes:
    with open_under(root, relative) as file:
        assert file.name == relative
        data = os.read(file.descriptor, 100)
        assert len(data) == file.size
        return data


@pytest.mark.parametrize(
    ("relative", "expected"),
    [
        ("a/b/rain.wav", b"rain"),
        ("./a//b/./rain.wav", b"rain"),
        ("näß, 日本.wav", b"unicode"),
        ("%2e%2e/x.wav", b"no dots"),
    ],
)
def test_a_recording_below_the_root_is_opened(relative: str, expected: bytes, root: Path) -> None:
    assert content(root, relative) == expected


@pytest.mark.parametrize(
    ("relative", "status", "says"),
    [
        ("../secret/secret.wav", 403, "leaves the root"),
        ("a/../../secret/secret.wav", 403, "leaves the root"),
        ("a/b/../b/rain.wav", 403, "leaves the root"),
        ("a/..", 403, "leaves the root"),
        ("/etc/passwd", 403, "leaves the root"),
        ("//etc/passwd", 403, "leaves the root"),
        ("a/b/rain.wav\0.mp3", 403, "leaves the root"),
        ("", 403, "names no file"),
        ("./.", 403, "names no file"),
        ("link.wav", 403, "symbolic link"),
        ("inner.wav", 403, "symbolic link"),
        ("folder/secret.wav", 403, "symbolic link"),
        ("up/secret/secret.wav", 403, "symbolic link"),
        ("a/loop/x.wav", 403, "symbolic link"),
        ("a/loop", 403, "symbolic link"),
        ("fifo.wav", 403, "no regular file"),
        ("socket.wav", 403, "no regular file"),
        ("a/b", 403, "is a folder"),
        ("a/b/", 403, "is a folder"),
        ("%2e%2e/secret/secret.wav", 404, "no such file"),
        ("..%2fsecret%2fsecret.wav", 404, "no such file"),
        ("..\\secret\\secret.wav", 404, "no such file"),
        ("file:///etc/passwd", 404, "no such file"),
        ("http://127.0.0.1/x.wav", 404, "no such file"),
        ("s3://bucket/x.wav", 404, "no such file"),
        ("-", 404, "no such file"),
        ("a/b/rain.wav/x", 404, "no such file"),
        ("a/b/none.wav", 404, "no such file"),
        ("x" * 300, 404, "no such file"),
        ("x/" * 5000, 404, "no such file"),
        ("half a pair \ud83d", 404, "no such file"),
        ("not utf-8 \udce9.wav", 404, "no such file"),
    ],
)
def test_every_way_out_is_refused_in_one_line(relative: str, status: int, says: str, root: Path) -> None:
    before = open_files()
    with pytest.raises(Refused) as caught:
        open_under(root, relative)
    text = caught.value.text
    assert caught.value.status == status and says in text and "; " in text, text
    assert "\n" not in text and len(text) < 400 and text.isprintable() and str(root) not in text
    assert open_files() == before


def open_files() -> int:
    gc.collect()  # what tests before left open is closed now, and not between two counts
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def test_a_device_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "null.wav", 0o600 | 0o020000, os.makedev(1, 3))
    except (OSError, AttributeError):
        pytest.skip("no device can be made here")
    with pytest.raises(Refused, match="no regular file"):
        open_under(tmp_path, "null.wav")


def test_a_file_that_may_not_be_read_is_403(root: Path) -> None:
    path = root / "a" / "closed.wav"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.geteuid() == 0:
        pytest.skip("everything may be read by this user")
    with pytest.raises(Refused, match="may not be read"):
        open_under(root, "a/closed.wav")


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert content(tmp_path / "alias", "a/b/rain.wav") == b"rain"


@pytest.mark.parametrize("swapped", ["a", "b", "rain.wav"])
def test_what_becomes_a_link_at_the_last_moment_is_not_followed(
    swapped: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret" / "b").mkdir()
    for place in ("b/rain.wav", "rain.wav"):
        (tmp_path / "secret" / place).write_bytes(b"secret")
    targets = {"a": "secret", "b": "secret/b", "rain.wav": "secret/rain.wav"}
    target = next(root.rglob(swapped))
    real_open = os.open

    def swap_and_open(path: str, *options: int, **more: int) -> int:
        if path == swapped:  # looked at already, and opened now
            target.rename(tmp_path / "before")
            target.symlink_to(tmp_path / targets[swapped])
        return real_open(path, *options, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", swap_and_open)
        with pytest.raises(Refused) as caught:
            open_under(root, "a/b/rain.wav")
    assert caught.value.status in (403, 404) and target.is_symlink()


def test_folders_and_files_that_are_swapped_meanwhile_lead_nowhere_else(root: Path, tmp_path: Path) -> None:
    """Both a folder on the way and the file at the end become links and files in turn, as fast as can be."""
    for name in ("real", "secret"):
        (tmp_path / "other" / name).mkdir(parents=True)
        (tmp_path / "other" / name / "x.wav").write_bytes(b"fine" if name == "real" else b"secret")
    swapping = threading.Event()
    way, file = root / "way", root / "file.wav"

    def swap() -> None:
        while not swapping.is_set():
            for target in (way, file):
                spare = target.with_name("spare")
                spare.symlink_to(tmp_path / "other" / "secret" / ("" if target is way else "x.wav"))
                _replace(spare, target)
            (root / "spare").mkdir()
            (root / "spare" / "x.wav").write_bytes(b"fine")
            _replace(root / "spare", way)
            (root / "spare").write_bytes(b"fine")
            _replace(root / "spare", file)

    def _replace(spare: Path, target: Path) -> None:
        if target.is_dir() and not target.is_symlink():
            target.rename(tmp_path / f"old{time.monotonic_ns()}")
        elif target.is_symlink() and spare.is_dir():
            target.unlink()
        spare.rename(target)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        seen = set()
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            for relative in ("way/x.wav", "file.wav"):
                try:
                    seen.add(content(root, relative))
                except Refused as refused:
                    seen.add(refused.status)
    finally:
        swapping.set()
        thread.join()
    assert b"secret" not in seen and {b"fine", 403} <= seen
