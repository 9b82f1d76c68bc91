"""The process that forks decoders outlives every message; where it is lost, recordings are decoded anew."""

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from media import tone, write_pcm
from serving import serving, wait_until

from auricle.audio import Block, blocks
from auricle.serve import processes
from auricle.serve.cage import LENGTH, REQUEST_BYTES
from auricle.serve.decoding import Died, close, deaths, decode, make_playable, warm
from auricle.serve.tag import PATH_BYTES


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    warm()
    yield
    close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pcm(tmp_path_factory.mktemp("sound") / "x.wav", tone(16_000, 30.0), 16_000)


def process_of() -> int:
    process = processes._SERVER._process
    assert process is not None and process.poll() is None
    return process.pid


def kill_server() -> None:
    """Kill it, and wait until it is gone: its child goes only then, and might be done before."""
    os.kill(process_of(), signal.SIGKILL)
    process = processes._SERVER._process
    assert process is not None
    process.wait(10)


def same(got: list[Block], expected: list[Block]) -> bool:
    return [block.start for block in got] == [block.start for block in expected] and all(
        np.array_equal(one.samples, other.samples) for one, other in zip(got, expected, strict=True)
    )


def test_a_path_of_64_kb_is_refused_and_ends_nobody(model: Path, sound: Path, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound.read_bytes())
    with serving(model=str(model), threads=1, root=tmp_path) as (address, _):
        before = process_of()
        for path in ("./" * 32_700 + "a.wav", "./" * PATH_BYTES + "a.wav", "\0" * 9_000, "é" * 3_000):
            answer = httpx.post(f"{address}/v1/tag", json={"path": path}, timeout=60)
            assert answer.status_code == 400 and "expected at most 4,096" in answer.json()["error"]
        longest = "./" * ((PATH_BYTES - 5) // 2) + "a.wav"
        assert httpx.post(f"{address}/v1/tag", json={"path": longest}, timeout=60).status_code == 200
        for size, status in ((1_000, 200), (60_000, 400)):
            files = {"file": ("x" * size + ".wav", sound.read_bytes())}
            answer = httpx.post(f"{address}/v1/tag", files=files, timeout=60)
            assert answer.status_code == status, answer.text
            assert status == 200 or "give the file a shorter name" in answer.json()["error"]
        assert process_of() == before


def test_a_long_request_comes_whole(sound: Path) -> None:
    before = process_of()
    options = {"rate": 16_000, "start": 0.0, "end": 1.0, "block_seconds": 10.0, "more": "x" * 300_000}
    with sound.open("rb") as file:
        work = "auricle.serve.cage:decode"
        with processes.Child(work, file.fileno(), "a.wav", options, processes.Limits()) as child:
            assert child.read(1, None) == b"I"
    assert process_of() == before


RIGHT: dict[str, Any] = {"work": "auricle.serve.cage:decode", "options": {}, "limits": {}, "name": "x"}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"\xff", b"[]", b"null", b"[" * 100_000, b'{"work": 5}', b"x" * (2 * REQUEST_BYTES + 7)),
        json.dumps({"work": "os:abort"}).encode(),
        *(json.dumps({name: RIGHT[name] for name in RIGHT if name != left}).encode() for left in RIGHT),
    ],
    ids=lambda content: content[:20].decode("latin-1"),
)
@pytest.mark.parametrize("count", [0, 40])
def test_a_message_that_is_no_request_ends_nobody(content: bytes, count: int, sound: Path) -> None:
    with decode(sound, 16_000, block_seconds=1.0) as decoded:
        others = iter(decoded)
        next(others)
        before, control = process_of(), processes._SERVER._control
        assert control is not None
        with processes._SERVER.lock, socket.socket() as some:
            files = [some.fileno()] * count
            head = LENGTH.pack(len(content))
            if files:
                socket.send_fds(control, [head[:2]], files)
                control.sendall(head[2:] + content)
            else:
                control.sendall(head + content)
            assert control.recv(1) == b"?"
        assert len(list(others)) == 29 and process_of() == before
        opened = Path(f"/proc/{before}/fd")
        assert not opened.is_dir() or len(list(opened.iterdir())) < 30  # nothing that came is kept


def test_descriptors_that_are_none_of_a_request_end_nobody(sound: Path) -> None:
    before, control = process_of(), processes._SERVER._control
    assert control is not None
    content = json.dumps(RIGHT).encode()
    with processes._SERVER.lock, sound.open("rb") as file:
        for count in (1, 3):  # no socket is among them
            socket.send_fds(control, [LENGTH.pack(len(content))], [file.fileno()] * count)
            control.sendall(content)
            assert control.recv(1) == b"?"
    with decode(sound, 16_000, end=1.0) as decoded:
        assert len(list(decoded)) == 1
    assert process_of() == before


def test_a_recording_whose_fork_server_is_killed_is_decoded_all_the_same(sound: Path) -> None:
    expected = list(blocks(sound, 48_000, start=0.5, block_seconds=1.0))  # more than the pipe holds
    before = deaths["server"]
    with decode(sound, 48_000, start=0.5, block_seconds=1.0) as decoded:
        coming = iter(decoded)
        got = [next(coming) for _ in range(8)]
        kill_server()
        got += coming
    assert same(got, expected) and decoded.warnings == []
    assert deaths["server"] - before == 1


def test_what_is_lost_twice_says_what_happened(tmp_path: Path) -> None:
    path = write_pcm(tmp_path / "long.wav", tone(8_000, 400.0), 8_000)
    before = {cause: deaths[cause] for cause in ("memory", "server")}
    with pytest.raises(Died, match=r"^mine\.wav: the service lost the processes that decode") as died:
        with decode(path, 96_000, block_seconds=1.0, name="mine.wav") as decoded:
            for number, _ in enumerate(decoded):
                if number in (0, 20):
                    kill_server()
    assert died.value.cause == "server" and str(died.value).endswith("; send it again")
    assert deaths["memory"] == before["memory"] and deaths["server"] == before["server"] + 2


def test_where_no_decoder_can_be_started_a_recording_may_come_again(
    model: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork(self: Any, request: bytes, descriptors: list[int]) -> None:
        raise OSError("no process can be forked: there are too many")

    with serving(model=str(model), threads=1) as (address, _):
        monkeypatch.setattr(processes._Server, "fork", fork)
        answer = httpx.post(f"{address}/v1/tag", files={"file": ("a.wav", sound.read_bytes())}, timeout=60)
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"] == "a.wav: no process could be started to decode it; try again later"


def test_a_copy_whose_fork_server_is_killed_is_made_all_the_same(tmp_path: Path) -> None:
    path = write_pcm(tmp_path / "long.aiff", tone(16_000, 12.0), 16_000)
    list(make_playable(path, tmp_path / "whole.mp3"))
    copying = make_playable(path, tmp_path / "copy.mp3")
    next(copying)
    kill_server()
    assert list(copying)[-1] == pytest.approx(12.0, abs=0.1)
    assert (tmp_path / "copy.mp3").read_bytes() == (tmp_path / "whole.mp3").read_bytes()


def test_many_recordings_outlive_their_fork_server(sound: Path) -> None:
    expected = list(blocks(sound, 16_000, block_seconds=1.0))
    begun, right = threading.Barrier(5), []

    def hear() -> None:
        with decode(sound, 16_000, block_seconds=1.0) as decoded:
            coming = iter(decoded)
            first = next(coming)
            begun.wait(20)
            right.append(same([first, *coming], expected))

    threads = [threading.Thread(target=hear) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait(20)
    kill_server()
    for thread in threads:
        thread.join(30)
    wait_until(lambda: len(right) == 4)
    assert right == [True] * 4
