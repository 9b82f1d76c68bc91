"""Results as text: what is written can be read back."""

import csv
import io
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from auricle.formats import (
    ONE_RECORDING,
    SUFFIXES,
    About,
    table_rows,
    write,
    write_csv,
    write_jsonl,
)

TAGS = [{"label": "Dog, barking", "score": 0.123456}, {"label": 'a "clock"', "score": 1e-9}]
WHOLE = {"path": "b, é.wav", "duration": 36000.5, "tags": TAGS}
TIMED = WHOLE | {
    "windows": [
        {"start": 0.0, "end": 0.96, "tags": TAGS[:1]},
        {"start": 35999.54, "end": 36000.5, "tags": TAGS},
    ]
}
FAILED = {"path": "x.wav", "error": "x.wav: no audio stream; give a recording"}
ABOUT = About(model="tiny", fingerprint="f00d", labels=("dog", "rain"), rate=16_000)


class Window(dict[str, Any]):
    """A window that can be seen to go."""


def written(name: str, results: list[dict], about: About = ABOUT) -> str:
    stream = io.StringIO()
    write(name, results, stream, about)
    return stream.getvalue()


def test_csv_can_be_read_back() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv", [WHOLE, FAILED, TIMED]))))
    assert list(rows[0]) == ["path", "start", "end", "label", "score"]
    assert [row["label"] for row in rows] == [
        "Dog, barking",
        'a "clock"',
        "Dog, barking",
        "Dog, barking",
        'a "clock"',
    ]
    assert {row["path"] for row in rows} == {"b, é.wav"}
    assert [(row["start"], row["end"]) for row in rows[1:4]] == [
        ("0", "36000.5"),
        ("0", "0.96"),
        ("35999.54", "36000.5"),
    ]
    assert [row["score"] for row in rows[:2]] == ["0.123456", "1e-09"]


def test_jsonl_is_one_object_a_file_in_plain_ascii() -> None:
    text = written("jsonl", [WHOLE, FAILED, TIMED])
    assert text.isascii()
    assert [json.loads(line) for line in text.splitlines()] == [WHOLE, FAILED, TIMED]


def test_a_name_that_is_not_utf8_is_written() -> None:
    path = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    result = WHOLE | {"path": path}
    assert json.loads(written("jsonl", [result]))["path"] == path
    assert "caf\\xe9.wav" in written("csv", [result]).encode("utf-8").decode()


def test_nothing_found_still_gives_the_header() -> None:
    assert written("csv", []) == "path,start,end,label,score\n"
    assert written("jsonl", []) == ""


def test_each_file_is_written_before_the_next_is_tagged() -> None:
    for writer in (write_csv, write_jsonl):
        flushed: list[int] = []

        class Stream(io.StringIO):
            def flush(self, flushed: list[int] = flushed) -> None:
                flushed.append(self.tell())

        stream = Stream()

        def results(stream: Stream = stream, flushed: list[int] = flushed):  # noqa: ANN202
            yield WHOLE
            assert flushed[-1] == stream.tell() > len("path,start,end,label,score\n")
            yield WHOLE

        writer(results(), stream)


def test_a_windows_rows_are_written_before_the_next_is_scored() -> None:
    flushed: list[str] = []

    class Stream(io.StringIO):
        def flush(self) -> None:
            flushed.append(self.getvalue())

    def windows() -> Iterator[dict]:
        for second in range(3):
            assert flushed[-1].count("\n") == 1 + second
            yield {"start": second, "end": second + 1, "tags": TAGS[:1]}

    write_csv([{"path": "-", "windows": windows()}], Stream())
    assert flushed[-1].splitlines()[3] == '-,2,3,"Dog, barking",0.123456'


def test_a_number_that_json_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        written("jsonl", [WHOLE | {"duration": float("nan")}])


def test_windows_replace_the_whole_in_rows() -> None:
    assert len(list(table_rows(WHOLE))) == 2
    assert [row[1] for row in table_rows(TIMED)] == [0.0, 35999.54, 35999.54]
    assert list(table_rows(FAILED)) == []


ALL = sorted(SUFFIXES)


@pytest.mark.parametrize("format", ALL)
def test_no_format_gathers_windows(format: str, tmp_path: Path) -> None:
    """Windows that were written are gone before more are scored, but for what a row group copies."""
    given: list[weakref.ref[Window]] = []
    result: dict[str, Any] = {"path": "day.flac"}

    def windows() -> Iterator[Window]:
        for second in range(50):
            window = Window(
                start=float(second), end=second + 1.0, tags=TAGS, on_grid=True, scores=[0.5, 0.25]
            )
            given.append(weakref.ref(window))
            assert sum(each() is not None for each in given) < 4
            yield window
            del window
        result.update(duration=50.0, tags=TAGS)

    result["windows"] = windows()
    with (tmp_path / "out").open("w", newline="") as stream:
        write(format, [result], stream, ABOUT)
    assert (tmp_path / "out").stat().st_size > 1000


@pytest.mark.parametrize("name", ["jsonl", "jams"])
@pytest.mark.parametrize("characters", [10, 1 << 20])
def test_streamed_windows_give_the_bytes_of_gathered_ones(
    name: str, characters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"auricle.formats.{name}.SPOOL_CHARACTERS", characters)
    late: dict[str, Any] = {"path": TIMED["path"]}

    def windows() -> Iterator[dict[str, Any]]:
        yield from TIMED["windows"]
        late.update({key: TIMED[key] for key in ("duration", "tags")}, more=1)

    late["windows"] = windows()
    assert written(name, [late]) == written(name, [TIMED | {"more": 1}])


def broken() -> dict[str, Any]:
    """A recording that breaks off after its first window."""
    result: dict[str, Any] = {"path": "x.wav"}

    def windows() -> Iterator[dict[str, Any]]:
        yield {"start": 0.0, "end": 1.0, "tags": TAGS, "on_grid": True, "scores": [0.5, 0.25]}
        result["error"] = "x.wav: damaged"

    result["windows"] = windows()
    return result


def test_a_recording_that_breaks_off_leaves_whole_lines_or_nothing() -> None:
    assert json.loads(written("jsonl", [broken()])) == {"path": "x.wav", "error": "x.wav: damaged"}
    assert written("jams", [broken()]) == ""
    assert len(written("csv", [broken()]).splitlines()) == 3
    assert len(written("audacity", [broken()]).splitlines()) == 2


@pytest.mark.parametrize("format", sorted(ONE_RECORDING))
def test_a_file_of_one_recording_refuses_a_second_and_says_what_to_do(format: str) -> None:
    assert written(format, [FAILED, WHOLE, FAILED])
    with pytest.raises(ValueError, match=f"{format} holds one .* b, é.wav and c.wav; .* --out FOLDER/"):
        written(format, [WHOLE, WHOLE | {"path": "c.wav"}])


@pytest.mark.parametrize("format", [format for format in ALL if format != "parquet"])
def test_events_are_written_in_place_of_windows(format: str) -> None:
    events = [{"start": 0.25, "end": 1.5, "label": "dog", "score": 0.9}]
    text = written(format, [TIMED | {"events": events}])
    assert "dog" in text and (format == "jsonl" or "35999" not in text)
    assert list(table_rows(TIMED | {"events": events})) == [("b, é.wav", 0.25, 1.5, "dog", 0.9)]


def test_parquet_says_what_it_needs(tmp_path: Path) -> None:
    window = {"start": 0.0, "end": 1.0, "on_grid": True, "scores": [0.5]}
    with pytest.raises(ValueError, match="bytes, not text"):
        written("parquet", [])
    with (tmp_path / "x").open("w") as stream:
        with pytest.raises(ValueError, match="no labels"):
            write("parquet", [], stream)
        with pytest.raises(ValueError, match="a.wav: a window has 1 scores, expected 2"):
            write("parquet", [{"path": "a.wav", "windows": [window]}], stream, ABOUT)
    with pytest.raises(ValueError, match="rate that the model hears"):
        written("raven", [], About())
    with pytest.raises(ValueError, match="format is 'xml'; expected one of"):
        written("xml", [])


def test_parquet_writes_a_row_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.formats.parquet.GROUP_BYTES", 40)  # five rows of two scores
    window = {"start": 0.0, "end": 1.0, "on_grid": True, "scores": [0.5, 0.25]}
    with (tmp_path / "x").open("w") as stream:
        write("parquet", ({"path": str(n), "windows": [window] * 3} for n in range(4)), stream, ABOUT)
    file = pyarrow.parquet.ParquetFile(tmp_path / "x")
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [5, 5, 2]
    assert file.read()["path"].to_pylist() == [str(n) for n in range(4) for _ in range(3)]


def test_a_table_of_nothing_is_a_table(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as stream:
        write("parquet", [FAILED], stream, ABOUT)
    assert pyarrow.parquet.read_table(tmp_path / "x").num_rows == 0
    assert written("webvtt", [FAILED]) == "WEBVTT\n\n"
    assert written("raven", [FAILED]).startswith("Selection\tView\t")


def test_names_of_any_bytes_stay_on_their_line(tmp_path: Path) -> None:
    path = b"caf\xe9\t\n.wav".decode("utf-8", "surrogateescape")
    result = WHOLE | {"path": path}
    for format in ("audacity", "raven", "webvtt", "jams", "csv", "jsonl"):
        written(format, [result]).encode("utf-8")
    assert written("raven", [result]).splitlines()[1].split("\t")[7] == "caf\\xe9\\t\\n.wav"
    with (tmp_path / "x").open("w") as stream:
        window = {"start": 0.0, "end": 1.0, "on_grid": True, "scores": [0.5, 0.25]}
        write("parquet", [{"path": path, "windows": [window]}], stream, ABOUT)
    assert pyarrow.parquet.read_table(tmp_path / "x")["path"].to_pylist() == ["caf\\xe9\t\n.wav"]


def test_durations_in_jams_are_rounded_alike() -> None:
    whole = json.loads(written("jams", [WHOLE | {"duration": 5.0009977324263035}]))
    (annotation,) = whole["annotations"]
    lengths = [annotation["duration"], annotation["data"][0]["duration"], whole["file_metadata"]["duration"]]
    assert lengths == [5.000998] * 3
