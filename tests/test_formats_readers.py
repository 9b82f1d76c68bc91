"""Every format, read back by the tool that it is for, or by that tool's published reader or grammar."""

import html
import importlib.resources
import io
import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import crowsetta
import duckdb
import numpy as np
import pandas
import pyarrow.parquet
import pytest
import webvtt

from auricle.formats import About, packed, write

LABELS = ("Dog, barking", 'a "clock"', "R&B <live> --> on", "tab\there\nand there", "Vögel 鳥")
CELLS = (*LABELS[:3], "tab\\there\\nand there", LABELS[4])  # where a label may hold neither tab nor line
PATH = "deep/odd, 'name' & ü.wav"
ABOUT = About(model="tiny", fingerprint="f00d", labels=LABELS, rate=44_100)
# At 44.1 kHz: times that no number of milliseconds is, and one beyond four days.
SAMPLES = [(0, 42_336), (42_337, 84_673), (17_992_800_001, 17_992_842_337)]
TIMES = [(round(a / 44_100, 6), round(b / 44_100, 6)) for a, b in SAMPLES]
SCORES = np.array([[0.9, 0.1, 0.2, 0.3, 0.4], [1e-9, 0.25, 0.5, 1, 0], [0.123456, 0, 0, 0, 0.7]], np.float32)


def shortened(score: float) -> float:
    return float(f"{score:.6g}")


WINDOWS = [
    {
        "start": start,
        "end": end,
        "tags": [
            {"label": label, "score": shortened(score)} for label, score in zip(LABELS, row, strict=True)
        ],
    }
    for (start, end), row in zip(TIMES, SCORES, strict=True)
]
RESULT: dict[str, Any] = {
    "path": PATH,
    "duration": TIMES[-1][1],
    "tags": WINDOWS[0]["tags"],
    "windows": WINDOWS,
}
ROWS = [(*time, label, shortened(score)) for time, row in zip(TIMES, SCORES, strict=True)
        for label, score in zip(LABELS, row, strict=True)]  # fmt: skip
FAILED = {"path": "gone.wav", "error": "gone.wav: no such file"}


def file_of(path: Path, format: str, results: list[dict[str, Any]] | None = None) -> Path:
    results = [FAILED, RESULT] if results is None else results
    with path.open("w", encoding="utf-8", newline="") as stream:
        write(format, results, stream, ABOUT)
    return path


def sample(seconds: float) -> int:
    """The sample at which a time is, which must be very near to one."""
    position = seconds * 44_100
    assert abs(position - round(position)) < 0.03
    return round(position)


def test_times_name_samples_exactly() -> None:
    assert [(sample(start), sample(end)) for start, end in TIMES] == SAMPLES


def test_csv_is_read_by_pandas_and_duckdb(tmp_path: Path) -> None:
    path = file_of(tmp_path / "x.csv", "csv")
    table = pandas.read_csv(path)
    assert list(table.columns) == ["path", "start", "end", "label", "score"]
    assert set(table["path"]) == {PATH}
    assert list(table.drop(columns="path").itertuples(index=False, name=None)) == ROWS
    with duckdb.connect() as base:
        found = base.execute('SELECT start, "end", label, score FROM read_csv(?)', [str(path)]).fetchall()
    assert found == ROWS


def test_jsonl_is_read_by_pandas_and_duckdb(tmp_path: Path) -> None:
    path = file_of(tmp_path / "x.jsonl", "jsonl", [RESULT, RESULT | {"path": "b.wav"}, FAILED])
    table = pandas.read_json(path, lines=True, precise_float=True)
    assert list(table["path"]) == [PATH, "b.wav", "gone.wav"]
    assert table["windows"][0] == WINDOWS and table["error"][2] == FAILED["error"]
    query = "SELECT path, w.start, t.label, t.score FROM (SELECT path, unnest(windows) w FROM read_json(?)), "
    with duckdb.connect() as base:
        found = base.execute(query + "LATERAL (SELECT unnest(w.tags) t)", [str(path)]).fetchall()
    expected = [(name, start, label, score) for name in (PATH, "b.wav") for start, _, label, score in ROWS]
    assert sorted(found) == sorted(expected)


def test_parquet_is_read_by_pandas_and_duckdb_with_every_score(tmp_path: Path) -> None:
    windows = [
        {"start": start, "end": end, "on_grid": number < 2, "scores": row}
        for number, ((start, end), row) in enumerate(zip(TIMES, SCORES, strict=True))
    ]
    through_json = [window | {"scores": packed(window["scores"])} for window in windows]
    results = [FAILED, {"path": PATH, "windows": windows}, {"path": "b.wav", "windows": through_json}]
    path = file_of(tmp_path / "x.parquet", "parquet", results)
    table = pandas.read_parquet(path)
    assert list(table.columns) == ["path", "start", "end", "on_grid", "scores"]
    assert list(table["path"]) == [PATH] * 3 + ["b.wav"] * 3
    assert list(zip(table["start"], table["end"], strict=True)) == TIMES * 2
    assert list(table["on_grid"]) == [True, True, False] * 2
    scores = np.stack(table["scores"].to_numpy())
    assert scores.dtype == np.float32 and np.array_equal(scores, np.concatenate([SCORES, SCORES]))
    metadata = pyarrow.parquet.read_schema(path).metadata
    assert tuple(json.loads(metadata[b"labels"])) == LABELS
    assert (metadata[b"model"], metadata[b"fingerprint"]) == (b"tiny", b"f00d")
    with duckdb.connect() as base:
        query = 'SELECT path, start, "end", scores[1] FROM read_parquet(?) WHERE scores[1] > 0.5'
        found = base.execute(query, [str(path)]).fetchall()
        known = base.execute("SELECT key, value FROM parquet_kv_metadata(?)", [str(path)]).fetchall()
    assert found == [(name, *TIMES[0], SCORES[0, 0]) for name in (PATH, "b.wav")]
    assert json.loads(dict(known)[b"labels"]) == list(LABELS)


def test_audacity_labels_are_read_by_crowsetta(tmp_path: Path) -> None:
    path = file_of(tmp_path / "x.labels.txt", "audacity")
    # As Audacity itself does: two numbers and tabs, and all that is left is the label.
    pattern = re.compile(r"(\d+\.\d{6})\t(\d+\.\d{6})\t([^\t\r\n]+)")
    lines = [
        pattern.fullmatch(line) for line in path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    ]
    expected = [(start, end, label) for start, end in TIMES for label in CELLS]
    scores = [f"{score:.2f}" for _, _, _, score in ROWS]
    assert [(float(line[1]), float(line[2]), line[3]) for line in lines if line] == [
        (start, end, f"{label} {score}") for (start, end, label), score in zip(expected, scores, strict=True)
    ]
    read = crowsetta.formats.seq.AudSeq.from_file(path)
    assert list(zip(read.start_times, read.end_times, strict=True)) == [row[:2] for row in expected]
    assert [label.rpartition(" ")[0] for label in read.labels] == [label for _, _, label in expected]


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of crowsetta
def test_raven_selections_are_read_by_crowsetta(tmp_path: Path) -> None:
    path = file_of(tmp_path / "x.selections.txt", "raven")
    boxes = crowsetta.formats.bbox.Raven.from_file(path, annot_col="Annotation").to_bbox()
    assert [(box.onset, box.offset) for box in boxes] == [row[:2] for row in ROWS]
    assert [box.label for box in boxes] == [label for _ in TIMES for label in CELLS]
    assert {(box.low_freq, box.high_freq) for box in boxes} == {(0, 22_050)}
    table = pandas.read_csv(path, sep="\t", quoting=3)  # as Raven: no quotes
    assert list(table["Selection"]) == list(range(1, 16))
    assert list(table["Score"]) == [row[3] for row in ROWS]
    assert list(table["File Offset (s)"]) == list(table["Begin Time (s)"])
    assert set(table["Begin File"]) == {"odd, 'name' & ü.wav"} and set(table["Begin Path"]) == {PATH}


# W3C, WebVTT, section 4.1: "WebVTT file body", without what is not written here (notes, styles, settings).
TIMESTAMP = r"(?:\d{2,}:)?[0-5]\d:[0-5]\d\.\d{3}"
TEXT = r"(?:[^\n\r<&]|&amp;|&lt;|&gt;)+"
CUE = rf"{TIMESTAMP}[ \t]+-->[ \t]+{TIMESTAMP}\n{TEXT}(?:\n{TEXT})*\n"
WEBVTT = re.compile(rf"WEBVTT\n\n(?:{CUE}(?:\n|\Z))*")


def seconds_of(timestamp: str) -> float:
    hours, minutes, seconds = timestamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def test_webvtt_follows_the_grammar_and_is_read_by_a_library_and_by_ffmpeg(tmp_path: Path) -> None:
    path = file_of(tmp_path / "x.vtt", "webvtt")
    text = path.read_bytes().decode("utf-8")
    assert WEBVTT.fullmatch(text) and "-->" not in re.sub(rf"{TIMESTAMP} --> {TIMESTAMP}", "", text)
    rounded = [(round(start, 3), round(end, 3)) for start, end in TIMES]
    lines = [f"{label} {score:.2f}" for label, (_, _, _, score) in zip(CELLS * 3, ROWS, strict=True)]
    said = ["\n".join(lines[number : number + 5]) for number in (0, 5, 10)]
    cues = webvtt.read(str(path)).captions
    assert [(seconds_of(cue.start), seconds_of(cue.end)) for cue in cues] == rounded
    assert [html.unescape(cue.raw_text) for cue in cues] == said
    with av.open(str(path)) as container:
        (stream,) = container.streams.subtitles
        packets = [packet for packet in container.demux(stream) if packet.size]
        times = [(packet.pts, packet.duration) for packet in packets]
        assert stream.time_base == 1 / 1000 or stream.time_base.denominator == 1000
        assert [html.unescape(bytes(packet).decode()) for packet in packets] == said
    assert times == [(round(a * 1000), round(b * 1000) - round(a * 1000)) for a, b in rounded]


def test_a_cue_never_ends_where_it_begins() -> None:
    window = {"start": 1.0001, "end": 1.0004, "tags": [{"label": "click", "score": 1.0}]}
    stream = io.StringIO()
    write("webvtt", [{"path": "a", "windows": [window, window | {"tags": []}]}], stream)
    assert stream.getvalue() == "WEBVTT\n\n00:00:01.000 --> 00:00:01.001\nclick 1.00\n\n"


OLD_CALL = pytest.mark.filterwarnings("ignore:Passing a schema to Validator:DeprecationWarning")  # of jams


@pytest.fixture
def jams(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The package, which looks for its schema by way of one that setuptools no longer has."""
    stand_in = types.ModuleType("pkg_resources")
    stand_in.resource_filename = (  # type: ignore[attr-defined]
        lambda package, name: str(importlib.resources.files(package) / name)
    )
    monkeypatch.setitem(sys.modules, "pkg_resources", stand_in)
    yield pytest.importorskip("jams")


@OLD_CALL
def test_jams_is_read_and_validated_by_jams(tmp_path: Path, jams: types.ModuleType) -> None:
    path = file_of(tmp_path / "x.jams", "jams")
    read = jams.load(str(path), validate=True, strict=True)
    assert read.file_metadata.duration == RESULT["duration"]
    assert read.file_metadata.identifiers.path == PATH
    (tags,) = read.search(namespace="tag_open")
    assert tags.validate(strict=True)
    annotator = tags.annotation_metadata.annotator
    assert (annotator.model, annotator.fingerprint) == ("tiny", "f00d")
    found = [(each.time, each.duration, each.value, each.confidence) for each in tags.data]
    assert found == [(start, round(end - start, 6), label, score) for start, end, label, score in ROWS]
    empty = jams.load(str(file_of(tmp_path / "y.jams", "jams", [RESULT | {"windows": []}])), strict=True)
    assert len(empty.annotations[0].data) == 0


@OLD_CALL
def test_what_was_heard_from_the_middle_says_so(tmp_path: Path, jams: types.ModuleType) -> None:
    whole = {"path": "a.wav", "duration": 2.0, "tags": [{"label": "dog", "score": 0.5}]}
    path, about = tmp_path / "x.jams", About(start=60.0)
    with path.open("w") as stream:
        write("jams", [whole], stream, about)
    read = jams.load(str(path))
    assert (read.annotations[0].time, read.annotations[0].duration) == (60, 2)
    assert [(each.time, each.duration) for each in read.annotations[0].data] == [(60, 2)]
    assert read.file_metadata.duration == 62
    for format, expected in (("csv", "a.wav,60,62,"), ("audacity", "60.000000\t62.000000\t")):
        stream_ = io.StringIO()
        write(format, [whole], stream_, about)
        assert expected in stream_.getvalue()
