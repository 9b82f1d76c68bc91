"""Listening: tags soon after the sound, the logits of a file, flat memory, and an end that loses nothing."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import tiny_model
from running import load_script

from auricle.audio import AudioError, AudioWarning, Device, RawFormat, blocks, devices, find_device
from auricle.audio.devices import inputs
from auricle.cli import main
from auricle.cli.live import clock, stopping
from auricle.listening import DECODER
from auricle.tagging import Tagger

RATE, WINDOW = tiny_model.RATE, tiny_model.WINDOW
RAW = RawFormat(rate=RATE)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Tagger:
    return Tagger(tiny_model.save(tmp_path_factory.mktemp("live") / "tiny").path, threads=1, batch=4)


class Playing:
    """PCM that comes at the pace at which it plays: a pipe whose other end sleeps between writes."""

    def __init__(self, samples: np.ndarray, rate: int = RATE, piece: float = 0.05, head: bytes = b""):
        self.out, self._into = os.pipe()
        self.file = os.fdopen(self.out, "rb")
        self.began = 0.0
        arguments = (head, samples.astype("<i2").tobytes(), 2 * rate, piece)
        self._writer = threading.Thread(target=self._write, args=arguments, daemon=True)

    def __enter__(self) -> "Playing":
        self.began = time.monotonic()
        self._writer.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.join(10)
        self.file.close()

    def _write(self, head: bytes, data: bytes, bytes_a_second: int, piece: float) -> None:
        step = 2 * max(1, int(bytes_a_second * piece / 2))
        with contextlib.suppress(BrokenPipeError), open(self._into, "wb", buffering=0) as pipe:  # noqa: PTH123
            pipe.write(head)
            for begin in range(0, len(data), step):
                time.sleep(max(0.0, self.began + (begin + step) / bytes_a_second - time.monotonic()))
                pipe.write(data[begin : begin + step])


def noise(seconds: float, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(0).integers(-9999, 9999, int(seconds * rate))


def test_a_windows_tags_come_well_within_two_seconds_of_its_sound(tagger: Tagger) -> None:
    with Playing(noise(3)) as playing:
        late = [
            time.monotonic() - playing.began - part.stops[-1] / RATE
            for part in tagger.windows(playing.file, raw=RAW, live=True)
        ]
    assert len(late) >= 10, "each window by itself, no batch"
    assert np.median(late) < 0.5 and max(late) < 1.9, late


@pytest.mark.parametrize("kind", ["mp3", "opus"])
def test_a_stream_that_ffmpeg_opens_is_not_late_either(tagger: Tagger, kind: str, tmp_path: Path) -> None:
    """Its bytes at an even pace: what stands between them and the tags gathers nothing."""
    name = tmp_path / f"x.{kind}"
    from media import write_media

    samples = (noise(2.5, 16000) / 32768).astype(np.float32)[:, None]
    rate, codec = {"mp3": (16000, "libmp3lame"), "opus": (48000, "libopus")}[kind]
    write_media(name, np.repeat(samples, rate // 16000, axis=0), rate, codec, bit_rate=128_000)
    data = name.read_bytes()
    heard: list[tuple[float, float]] = []
    with Playing(np.frombuffer(data[: len(data) // 2 * 2], "<i2"), len(data) // 5) as playing:
        for part in tagger.windows(playing.file, live=True):
            heard.append((part.stops[-1] / RATE, time.monotonic() - playing.began))
    ahead = [at - when for at, when in heard if when < 2.2]
    assert len(ahead) >= 2 and np.median(ahead) > -1.5, heard


def test_what_is_heard_live_scores_as_it_does_in_a_file(tagger: Tagger, tmp_path: Path) -> None:
    samples = noise(2.83)
    soundfile.write(tmp_path / "a.wav", samples.astype(np.int16), RATE)
    whole = list(tagger.follow(tmp_path / "a.wav", hop=0.125))
    pieces = list(tagger.follow(io.BytesIO(samples.astype("<i2").tobytes()), hop=0.125, raw=RAW, live=True))
    with Playing(samples, piece=0.033) as playing:  # pieces that end inside a sample of two bytes' own
        played = list(tagger.follow(playing.file, hop=0.125, raw=RAW, live=True))
    for others in (pieces, played):
        assert others[:-1] == whole[:-1] and others[-1]["tags"] == whole[-1]["tags"]


def test_a_pipe_that_writes_odd_bytes_loses_none() -> None:
    samples = noise(1)
    data = samples.astype("<i2").tobytes()
    out, into = os.pipe()

    def write() -> None:
        with open(into, "wb", buffering=0) as pipe:  # noqa: PTH123
            for begin in range(0, len(data), 333):
                pipe.write(data[begin : begin + 333])
                time.sleep(0.0005)

    threading.Thread(target=write, daemon=True).start()
    with os.fdopen(out, "rb") as file:
        got = np.concatenate([b.samples for b in blocks(file, RATE, raw=RAW, block_seconds=0.1)])
    np.testing.assert_array_equal(got, (samples / 32768).astype(np.float32))


def test_asked_to_stop_it_says_what_was_heard_until_then(tagger: Tagger) -> None:
    stop, pieces = threading.Event(), []
    with Playing(noise(2.5)) as playing:
        for piece in tagger.follow(playing.file, raw=RAW, live=True, stop=stop):
            pieces.append(piece)
            if piece.get("end", 0) >= 1:
                stop.set()
        stopped = time.monotonic() - playing.began
        assert stopped < 2.4, "it does not wait for the source's end"
    *windows, result = pieces
    assert 1 <= result["duration"] < 2.4 and windows[-1]["end"] == result["duration"]


def test_asked_to_stop_before_any_sound_it_says_so(tagger: Tagger) -> None:
    out, into = os.pipe()
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with os.fdopen(out, "rb") as file, pytest.raises(AudioError, match="stopped before anything was heard"):
        try:
            list(tagger.follow(file, raw=RAW, live=True, stop=stop))
        finally:
            os.close(into)
            for thread in threading.enumerate():
                if thread.name == DECODER:
                    thread.join(5)


class Endless(io.RawIOBase):
    """Noise without an end; `seconds` counts what was read of it."""

    def __init__(self) -> None:
        self.data, self.seconds = noise(1).astype("<i2").tobytes(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        size = min(len(into), len(self.data))
        into[:size] = self.data[:size]
        self.seconds += 1
        return size


def test_memory_stays_flat_however_long_it_listens(tagger: Tagger) -> None:
    stop, peaks = threading.Event(), []
    pieces = tagger.follow(Endless(), raw=RAW, live=True, stop=stop)
    piece = next(pieces)
    tracemalloc.start()
    for number, piece in enumerate(pieces):  # noqa: B007 - the last is looked at
        if number in (400, 3000):
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.reset_peak()
        if number == 3000:
            stop.set()
    tracemalloc.stop()
    assert piece["duration"] > 700
    assert peaks[1] < peaks[0] + 200_000, peaks


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says how much memory a process holds")
@pytest.mark.parametrize(
    "kind, options",
    [
        ("raw", ["--format", "jsonl"]),
        pytest.param("mp3", ["--events", "--format", "csv"], marks=pytest.mark.slow),
        pytest.param("wav", [], marks=pytest.mark.slow),
    ],
)
def test_the_benchmark_of_hours_sees_the_command_in_flat_memory(
    model: Path, kind: str, options: list[str]
) -> None:
    benchmark = load_script("benchmarks/live.py")
    own = ["--model", str(model), "--threshold", "0.1", "--top", "1"]
    found, lines, _ = benchmark.listen_for(0.2, kind, [*options, *own])
    assert len(found) == 13 and found[-1].hours == pytest.approx(0.2, abs=1 / 360)
    assert lines > (3 if "--events" in options else 2000)
    buffers = 2 if kind == "mp3" else 0.5  # FFmpeg's settle late; of 1 KB kept a window, the others show 0.8
    assert 30 < found[-1].megabytes < found[3].megabytes + buffers, found
    line = [benchmark.Memory(hours, 100 + 0.25 * hours + (50 if hours < 1 else 0)) for hours in range(24)]
    assert benchmark.slope(line) == pytest.approx(0.25)


def test_the_stream_of_the_benchmark_has_no_damaged_packet_where_it_begins_again() -> None:
    begin, again, seconds = load_script("benchmarks/live.py").endless("mp3")
    with av.open(io.BytesIO(begin + 3 * again), format="mp3") as container:
        samples = sum(frame.samples for packet in container.demux(audio=0) for frame in packet.decode())
    assert samples / 44100 == pytest.approx(3 * seconds, abs=0.3)


def test_a_model_that_is_too_slow_is_told_once_and_a_fast_source_is_not(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auricle.scoring.LIVE_AHEAD_SECONDS", 0.5)
    told: list[str] = []
    sizes = []
    with Playing(noise(2)) as playing:
        for part in tagger.windows(playing.file, raw=RAW, live=True, warn=told.append):
            sizes.append(len(part.starts))
            time.sleep(1)
    assert [text for text in told if "scoring takes longer" in text] == told and len(told) == 1
    assert max(sizes) > 1, "then batches fill"
    told.clear()
    monkeypatch.undo()
    source = io.BytesIO(noise(20).astype("<i2").tobytes())
    for _ in tagger.windows(source, raw=RAW, live=True, warn=told.append):
        pass
    assert not told


@pytest.mark.skipif("lavfi" not in inputs(), reason="this FFmpeg was built without lavfi")
def test_an_input_of_ffmpeg_is_heard(tagger: Tagger, capsys: pytest.CaptureFixture[str]) -> None:
    device = find_device("lavfi:sine=frequency=440:duration=3")
    assert device == Device("lavfi", "sine=frequency=440:duration=3")
    *windows, result = tagger.follow(device, live=True)
    assert result["path"] == str(device) and 2.9 < result["duration"] <= 3 and len(windows) >= 11
    with pytest.raises(SystemExit) as ended:
        arguments = ["--model", str(tagger.artifact.path), "--format", "jsonl", "--end", "1", "--top", "1"]
        main(["tag", "--live", "lavfi:sine=frequency=440", *arguments])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert not ended.value.code and [line["end"] for line in lines[:-1]] == [0.25, 0.5, 0.75, 1.0]
    assert lines[-1]["duration"] == 1.0 and len(lines[-1]["tags"]) == 1


@pytest.mark.skipif("alsa" not in inputs(), reason="this FFmpeg was built without ALSA")
def test_a_sound_card_is_opened_or_its_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alsa.conf").write_text("pcm.silent { type null }\n")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "alsa.conf"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)  # it has no clock, so its time stamps have gaps
        heard = blocks(Device("alsa", "silent"), 8000, block_seconds=0.1)
        assert len(next(heard).samples) == 800  # of nothing in particular
        heard.close()  # type: ignore[attr-defined]
    with pytest.raises(AudioError, match=r"alsa:none: cannot be recorded from .*record into a pipe instead"):
        next(blocks(Device("alsa", "none"), 8000, block_seconds=0.1))


def test_inputs_are_told_from_paths_and_missing_ones_named() -> None:
    assert find_device("a.wav") is None and find_device("C:\\sounds\\a.wav") is None
    assert find_device("alsa:") == Device("alsa", "default")
    assert find_device("avfoundation::0") == Device("avfoundation", ":0")
    missing = next(kind for kind in ("dshow", "avfoundation") if kind not in inputs())
    with pytest.raises(
        AudioError, match=f"{missing}:x: this FFmpeg records from .* only; record into a pipe"
    ):
        next(blocks(Device(missing, "x"), 8000))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupt_ends_it_with_what_was_heard_written(model: Path, tmp_path: Path, sent: int) -> None:
    out = tmp_path / "heard.csv"
    command = [sys.executable, "-m", "auricle", "tag", "--live", "-", "--raw", "8000,1,s16le", "--top", "1"]
    command += ["--model", str(model), "--format", "csv", "--out", str(out), "--hop", "0.25"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stderr
        process.stdin.write(noise(5.1).astype("<i2").tobytes())
        process.stdin.flush()
        end = time.monotonic() + 60
        while not out.exists() or len(out.read_text().splitlines()) < 21:  # while the pipe is open
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.02)
        process.send_signal(sent)
        assert process.wait(20) == 0
        err = process.stderr.read().decode()
    rows = [row.split(",") for row in out.read_text().splitlines()[1:]]
    assert [float(row[2]) for row in rows] == [0.25 * n for n in range(1, 21)] + [5.1], "the rest, aligned"
    assert err == "auricle: -: 5.1 s heard\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["a.wav", "b.wav"], "hears one source, and these are 2"),
        (["-", "--jobs", "2"], "hears one source, here, into one file"),
        (["-", "--out", "folder/"], "hears one source, here, into one file"),
        (["-", "--hop", "9"], "hop is 9 s; expected a sample or more, and at most 0.25 s"),
    ],
)
def test_what_live_cannot_do_is_said(
    model: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tag", "--live", *arguments, "--model", str(model)])
    assert ended.value.code in (1, 2) and message in " ".join(capsys.readouterr().err.split())


def test_asking_twice_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt), stopping() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_lines_for_people_have_a_clock() -> None:
    assert [clock(seconds) for seconds in (0, 59.96, 3600, 360_000)] == [
        "0:00:00.0", "0:00:59.9", "1:00:00.0", "100:00:00.0",
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def decoders_are_gone() -> Iterator[None]:
    yield
    end = time.monotonic() + 5
    while [thread for thread in threading.enumerate() if thread.name == DECODER]:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_a_library_of_the_system_prints_is_kept_back_and_silence_is_no_suggestion(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import av.device

    def listed(kind: str) -> list[types.SimpleNamespace]:
        os.write(2, b"ALSA lib conf.c: cannot stat\n")
        return [types.SimpleNamespace(name=name) for name in ("null", "hw:0,0")]

    monkeypatch.setattr(av.device, "enumerate_input_devices", listed, raising=False)
    monkeypatch.delenv("AURICLE_DEBUG", raising=False)
    assert devices._known("alsa") == ": hw:0,0"
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
