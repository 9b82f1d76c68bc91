"""Reading from pipes, devices, standard input and file objects gives what the file gives."""

import errno
import io
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from media import (
    RATE,
    Pipe,
    error_line,
    heard,
    tone,
    write_media,
    write_pcm,
)

from auricle.audio import RawFormat, probe, read

# --- pipes


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "mkv", "webm", "m4a", "mp4", "aiff", "opus"])
@pytest.mark.parametrize("piece", [1_000_000, 999])
def test_a_pipe_gives_what_the_file_gives(long_files, kind, piece):
    got, told = heard(Pipe(long_files[kind].read_bytes(), piece), 16_000)
    expected = read(long_files[kind], 16_000)
    np.testing.assert_array_equal(got, expected)
    assert [line.split(": ")[1] for line in told] == (
        ["an MP4 whose index is at its end needs seeking"] if kind in ("m4a", "mp4") else []
    )


def test_a_container_that_cannot_do_without_seeking_is_copied_to_disk_first(tmp_path):
    path = write_pcm(tmp_path / "a.caf", tone(RATE, 2.0), RATE)
    got, told = heard(Pipe(path.read_bytes()))
    assert told == ["<Pipe>: its container needs seeking: 0.2 MB were copied to a temporary file first"]
    np.testing.assert_array_equal(got, read(path, None))


def test_an_mp4_with_its_index_in_front_streams(tmp_path):
    path = write_media(
        tmp_path / "a.mp4", tone(RATE, 2.0), RATE, video_seconds=2, options={"movflags": "faststart"}
    )
    got, told = heard(Pipe(path.read_bytes()))
    assert told == []
    np.testing.assert_array_equal(got, read(path, None))


def test_a_range_of_a_pipe(long_files):
    for kind in ("wav", "mp3", "mkv"):
        got, _ = heard(Pipe(long_files[kind].read_bytes()), 16_000, start=3.5, end=4.0)
        np.testing.assert_allclose(got, read(long_files[kind], 16_000, start=3.5, end=4.0), atol=1e-4)


def test_standard_input(long_files):
    code = "from auricle.audio import read, RawFormat; import sys; "
    whole = code + "print(len(read('-', 16000)))"
    data = long_files["mp3"].read_bytes()
    done = subprocess.run([sys.executable, "-c", whole], input=data, capture_output=True, check=True)
    assert abs(int(done.stdout) - 96_000) < 500 and done.stderr == b""
    raw = code + "print(len(read('-', 16000, raw=RawFormat(rate=8000, channels=2))))"
    done = subprocess.run([sys.executable, "-c", raw], input=bytes(32_000), capture_output=True, check=True)
    assert int(done.stdout) == 16_000
    done = subprocess.run([sys.executable, "-c", whole], input=b"", capture_output=True)
    assert b"standard input: is empty" in done.stderr


def test_a_terminal_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    assert error_line("-") == "standard input: is a terminal; pipe a recording into the command"


def test_a_named_pipe(tmp_path, long_files):
    fifo = tmp_path / "fifo.mp3"
    os.mkfifo(fifo)
    thread = threading.Thread(target=lambda: fifo.write_bytes(long_files["flac"].read_bytes()))
    thread.start()
    got = read(fifo, None)
    thread.join()
    np.testing.assert_array_equal(got, read(long_files["flac"], None))


def test_a_file_object_is_left_open_and_read_from_its_start(long_files):
    with long_files["flac"].open("rb") as file:
        file.seek(1000)
        got = read(file, None)
        assert not file.closed
        np.testing.assert_array_equal(read(file, None), got)
        assert probe(file).codec == "flac"
    np.testing.assert_array_equal(got, read(long_files["flac"], None))


@pytest.mark.parametrize(
    ("rate", "channels"), [(44_100, 2), (44_100, 1), (16_000, 2), (16_000, 1), (8_000, 1)]
)
@pytest.mark.parametrize("seconds", [0.05, 1.0, 2.345])
def test_an_mp3_from_a_pipe_loses_its_closing_padding_as_the_file_does(tmp_path, rate, channels, seconds):
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(rate, seconds, channels=channels), rate)
    data = path.read_bytes()
    tag = b"ID3\x04\0\0" + bytes((0, 0, 39, 8)) + bytes(39 * 128 + 8)
    behind = b"TAG" + bytes(125) if seconds >= 1 else b""  # on a shorter file FFmpeg distrusts the header
    for content in (data, tag + data, data[: len(data) * 2 // 3], data + behind):
        path.write_bytes(content)
        expected, _ = heard(path)
        assert len(expected) == round(rate * seconds) or len(content) < len(data)
        np.testing.assert_array_equal(heard(Pipe(content))[0], expected)
    if seconds > 1:
        np.testing.assert_array_equal(
            read(Pipe(data), None, start=1.3), read(io.BytesIO(data), None, start=1.3)
        )


def test_joined_mp3s_from_a_pipe_are_read_to_the_last(tmp_path):
    first = write_media(tmp_path / "a.mp3", tone(RATE, 1.0), RATE).read_bytes()
    both = first + write_media(tmp_path / "b.mp3", tone(RATE, 1.5), RATE).read_bytes()
    np.testing.assert_array_equal(heard(Pipe(both))[0], heard(io.BytesIO(both))[0])


class Counted(Pipe):
    """A pipe that knows how much was taken of it."""

    @property
    def taken(self) -> int:
        return self._position


@pytest.mark.parametrize("start", [b"", b"\x7fELF", b"%PDF-1.7\n%\xe2\xe3"])
def test_a_pipe_of_nothing_known_is_refused_before_it_fills_a_disk(start, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: pytest.fail("was copied"))
    pipe = Counted(start + np.random.default_rng(8).bytes(20_000_000))
    assert "is no audio or video that FFmpeg reads" in error_line(pipe)
    assert pipe.taken < 8_000_000


def test_a_pipe_of_zero_bytes_is_said_to_be_one():
    assert "holds nothing but zero bytes" in error_line(Pipe(bytes(10_000)))


def test_a_full_disk_while_a_pipe_is_copied_is_one_line_that_names_the_folder(long_files, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    line = error_line(Pipe(long_files["mp4"].read_bytes()))
    assert line == (
        "<Pipe>: an MP4 whose index is at its end needs seeking, and copying it to "
        f"{tempfile.gettempdir()} failed (No space left on device); "
        "name a folder with more room in TMPDIR, or save it as a file first"
    )


@pytest.mark.skipif(not Path("/dev/zero").is_char_device(), reason="the system has no /dev/zero")
def test_a_character_device_is_a_pipe():
    raw = RawFormat(rate=8_000)
    assert len(read("/dev/zero", None, end=5, raw=raw)) == 40_000
    with Path("/dev/zero").open("rb") as file:
        assert len(read(file, 16_000, start=1, end=2, raw=raw)) == 16_000
    assert probe("/dev/zero", raw=raw).duration is None
    assert "holds nothing but zero bytes" in error_line("/dev/zero")
