"""`auricle tag` says when to the sample: by the container's clock, in every format, for files and folders."""

import csv
import io
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet
import pytest
from media import write_media
from onnx import TensorProto, helper, numpy_helper
from running import run

from auricle.artifact import save_artifact
from auricle.engine.tagging import result_names
from auricle.formats import SUFFIXES

RATE, WINDOW = 8000, 80  # windows of 10 ms
# A burst that fills one window: heard elsewhere by a single sample, none is filled.
BURST, SECONDS = 0.20, 1.0


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that hears a burst where the quietest sample of its window is loud."""
    arrays = {"axes": np.array([1], np.int64), "loud": np.array([0.4], np.float32)}
    arrays |= {"scale": np.array([200, -200], np.float32)}
    nodes = [
        helper.make_node("Abs", ["waveform"], ["a"]),
        helper.make_node("ReduceMin", ["a", "axes"], ["embedding"], keepdims=1),
        helper.make_node("Sub", ["embedding", "loud"], ["above"]),
        helper.make_node("Mul", ["above", "scale"], ["logits"]),
    ]
    body = helper.make_graph(
        nodes,
        "bursts",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", WINDOW])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 1]),
        ],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    waveform = np.full((1, WINDOW), 0.5, np.float32)
    logits = ((np.abs(waveform).min(1, keepdims=True) - np.float32(0.4)) * arrays["scale"]).astype(np.float32)
    folder = tmp_path_factory.mktemp("bursts") / "bursts"
    save_artifact(
        folder,
        onnx=bytes(model.SerializeToString()),
        check=(waveform, logits),
        inputs=[{"kind": "waveform", "rate": RATE}],
        labels=("burst", "none"),
        window=WINDOW,
        hop=WINDOW,
        tail="align",
        embedding_size=1,
        licence="CC0-1.0",
    )
    return folder


def sound(at: float, rate: int = RATE, seconds: float = SECONDS) -> np.ndarray:
    samples = np.zeros((round(seconds * rate), 1), np.float32)
    samples[round(at * rate) : round((at + WINDOW / RATE) * rate)] = 0.5
    return samples


def heard(capsys: pytest.CaptureFixture[str], model: Path, path: Path) -> list[tuple[float, float]]:
    """When there is a burst, as CSV says it."""
    options = ["--threads", 1, "--windows", "--threshold", 0.5, "--format", "csv"]
    status, out, err = run(capsys, "tag", path, "--model", model, *options)
    assert status == 0, err
    rows = list(csv.DictReader(out.splitlines()))
    return [(float(row["start"]), float(row["end"])) for row in rows if row["label"] == "burst"]


def first_stamps(path: Path) -> dict[str, float]:
    """Seconds of each stream's first packet, as FFmpeg finds them."""
    found: dict[str, float] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.pts is not None and packet.time_base is not None:
                kind = packet.stream.type
                found[kind] = min(found.get(kind, 1e9), float(packet.pts * packet.time_base))
    return found


LOSSLESS = [
    (".mov", "pcm_s16le"),
    (".mkv", "flac"),
    (".mp4", "alac"),
    (".mkv", "pcm_s16le"),
    (".nut", "flac"),
]


@pytest.mark.parametrize("delay", [0.0, 0.75, 12.25])
@pytest.mark.parametrize(("suffix", "codec"), LOSSLESS)
def test_sound_that_starts_late_is_told_by_the_pictures_clock(
    tmp_path: Path, bursts: Path, capsys: pytest.CaptureFixture[str], suffix: str, codec: str, delay: float
) -> None:
    path = tmp_path / f"late{suffix}"
    write_media(path, sound(BURST), RATE, codec, video_seconds=1, audio_delay=delay)
    stamps = first_stamps(path)
    assert stamps["audio"] - stamps["video"] == pytest.approx(delay, abs=0.0011)  # as the container has it
    assert heard(capsys, bursts, path) == [(round(delay + BURST, 6), round(delay + BURST + 0.01, 6))]


@pytest.mark.parametrize(("suffix", "codec"), LOSSLESS[1:])  # MOV's PCM is written without the gap
def test_what_comes_after_a_gap_is_told_by_the_clock(
    tmp_path: Path, bursts: Path, capsys: pytest.CaptureFixture[str], suffix: str, codec: str
) -> None:
    """The time stamps jump by 1.5 s at the first frame after 0.512 s."""
    path = tmp_path / f"gap{suffix}"
    samples = sound(BURST, seconds=2.0) + sound(1.3, seconds=2.0)
    write_media(path, samples, RATE, codec, gap=(0.512, 1.5))
    assert heard(capsys, bursts, path) == [(0.2, 0.21), (2.8, 2.81)]


def test_sound_of_another_rate_is_on_time_too(
    tmp_path: Path, bursts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A resampler rounds a burst's edges: it fills the window where it lasts three of them."""
    samples = sound(BURST, 48_000)
    samples[round(0.19 * 48_000) : round(0.22 * 48_000)] = 0.5
    path = tmp_path / "late.mov"
    write_media(path, samples, 48_000, "pcm_s16le", video_seconds=1, audio_delay=0.75)
    assert (0.95, 0.96) in heard(capsys, bursts, path)
    assert {start for start, _ in heard(capsys, bursts, path)} <= {0.94, 0.95, 0.96}


@pytest.mark.parametrize("format", sorted(SUFFIXES))
def test_every_format_says_the_same_moment(
    tmp_path: Path, bursts: Path, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    write_media(tmp_path / "late.mov", sound(BURST), RATE, "pcm_s16le", video_seconds=1, audio_delay=0.75)
    options = ["--model", bursts, "--threads", 1, "--format", format]
    options += [] if format == "parquet" else ["--threshold", 0.5, "--top", 1, "--windows"]
    status, out, err = run(capsys, "tag", tmp_path / "late.mov", *options, "--out", tmp_path / "x")
    assert (status, out) == (0, ""), err
    assert moment(tmp_path / "x", format) == (0.95, 0.96)


def moment(path: Path, format: str) -> tuple[float, float]:
    """Start and end of the burst."""
    if format == "parquet":
        table = pyarrow.parquet.read_table(path).to_pylist()
        (row,) = [row for row in table if row["scores"][0] > 0.5]
        assert len(table) == 175 and all(row["on_grid"] for row in table)
        return row["start"], row["end"]
    text = path.read_text()
    if format == "jsonl":
        (line,) = text.splitlines()
        (window,) = [w for w in json.loads(line)["windows"] if any(t["label"] == "burst" for t in w["tags"])]
        return window["start"], window["end"]
    if format == "jams":
        data = json.loads(text)["annotations"][0]["data"]
        (found,) = [each for each in data if each["value"] == "burst"]
        return found["time"], round(found["time"] + found["duration"], 6)
    if format == "webvtt":
        assert "00:00:00.950 --> 00:00:00.960\nburst 1.00\n" in text
        return 0.95, 0.96
    (line,) = [line for line in text.splitlines() if "burst" in line]
    cells = line.split("," if format == "csv" else "\t")
    first = {"csv": 1, "audacity": 0, "raven": 3}[format]
    return float(cells[first]), float(cells[first + 1])


def wav(path: Path, samples: np.ndarray) -> Path:
    body = (samples * 32767).astype("<i2").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(body), b"WAVE", b"fmt ", 16, 1, 1, RATE,
                       2 * RATE, 2, 16, b"data", len(body))  # fmt: skip
    path.write_bytes(head + body)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Names that programs stumble over, one of them not UTF-8, and a file that is no recording."""
    names = ["a b, c.wav", "-dash.wav", "quote\"s & 'q'.wav", "é鳥.wav", "deep/a b, c.wav", "deep/tab\t.wav"]
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for number, name in enumerate([*names, b"caf\xe9.wav".decode("utf-8", "surrogateescape")]):
        try:
            wav(tmp_path / "in" / name, sound(0.1 * (1 + number))[:, 0])
        except OSError:  # a file system that takes no such name
            continue
    (tmp_path / "in" / "bad.wav").write_text("this is no sound")
    return tmp_path / "in"


@pytest.mark.parametrize("format", sorted(SUFFIXES))
def test_a_folder_of_odd_names_gives_a_file_each(
    tmp_path: Path, bursts: Path, folder: Path, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    options = ["--model", bursts, "--threads", 1, "--jobs", 1, "--format", format]
    status, out, err = run(capsys, "tag", folder, *options, "--out", f"{tmp_path}/out/")
    assert (status, out) == (1, "") and "bad.wav" in err
    recordings = sorted(str(path) for path in folder.rglob("*.wav") if path.name != "bad.wav")
    names = dict(zip(recordings, result_names(recordings, SUFFIXES[format]), strict=True))
    assert len(names) >= 6 and "a b, c.wav" + SUFFIXES[format] in names.values()
    made = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("[!.]*.*")}
    assert made - {"failures.csv"} == set(names.values())
    # Each is what its recording alone gives.
    for path in (f"{folder}/a b, c.wav", f"{folder}/deep/tab\t.wav"):
        run(capsys, "tag", path, *options, "--out", tmp_path / "alone")
        assert (tmp_path / "alone").read_bytes() == (tmp_path / "out" / names[path]).read_bytes()


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_several_recordings_go_into_one_file(
    tmp_path: Path, bursts: Path, folder: Path, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    options = ["--model", bursts, "--threads", 1, "--jobs", 1, "--format", format]
    options += [] if format == "parquet" else ["--windows", "--threshold", 0.5, "--top", 1]
    status, _, _ = run(capsys, "tag", folder, *options, "--out", tmp_path / "x")
    assert status == 1
    found: dict[str, list[float]] = {}
    for path, start in bursts_of(tmp_path / "x", format):
        found.setdefault(path, []).append(start)
    assert len(found) >= 6 and all(len(starts) == 1 for starts in found.values())
    assert found[f"{folder}/a b, c.wav"] == [0.1] and found[f"{folder}/deep/tab\t.wav"] == [0.6]


def bursts_of(path: Path, format: str) -> list[tuple[str, float]]:
    if format == "parquet":
        rows = pyarrow.parquet.read_table(path).to_pylist()
        return [(row["path"], row["start"]) for row in rows if row["scores"][0] > 0.5]
    text = path.read_text()
    if format == "csv":
        rows = list(csv.DictReader(text.splitlines(keepends=True)))
        return [(row["path"], float(row["start"])) for row in rows if row["label"] == "burst"]
    results: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    return [
        (result["path"], window["start"])
        for result in results
        if "windows" in result
        for window in result["windows"]
        if any(tag["label"] == "burst" for tag in window["tags"])
    ]


def test_what_a_format_cannot_hold_is_refused_before_anything_is_heard(
    tmp_path: Path, bursts: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.vtt"
    for format in ("audacity", "raven", "webvtt", "jams"):
        status, _, err = run(capsys, "tag", folder, "--model", bursts, "--format", format, "--out", out)
        said = " ".join(err.replace("│", " ").split())
        assert status == 2 and f"{format} holds one recording in a file, and these are" in said
        assert "--out FOLDER/" in said and not out.exists()
    for option in (["--top", 3], ["--threshold", 0.5]):
        arguments = ["tag", folder, "--model", bursts, "--format", "parquet", "--out", out, *option]
        status, _, err = run(capsys, *arguments)
        assert status == 2 and "every label's score" in err and not out.exists()


@pytest.mark.parametrize("format", ["parquet", "webvtt"])
def test_from_a_pipe_into_a_pipe(tmp_path: Path, bursts: Path, format: str) -> None:
    recording = wav(tmp_path / "a.wav", sound(0.3)[:, 0]).read_bytes()
    command = [sys.executable, "-m", "auricle", "tag", "-", "--model", str(bursts), "--format", format]
    command += [] if format == "parquet" else ["--threshold", "0.5", "--top", "1"]
    done = subprocess.run(command, input=recording, capture_output=True, check=True)
    assert done.stderr == b""
    if format == "parquet":
        table = pyarrow.parquet.read_table(io.BytesIO(done.stdout)).to_pylist()
        assert [(row["path"], row["start"]) for row in table if row["scores"][0] > 0.5] == [("-", 0.3)]
    else:
        assert "00:00:00.300 --> 00:00:00.310\nburst 1.00\n" in done.stdout.decode()
