"""Results as text: what is written can be read back."""

import csv
import io
import json
from collections.abc import Iterator

import pytest

from auricle.formats import table_rows, write, write_csv, write_jsonl

TAGS = [{"label": "Dog, barking", "score": 0.123456}, {"label": 'a "clock"', "score": 1e-9}]
WHOLE = {"path": "b, é.wav", "duration": 36000.5, "tags": TAGS}
TIMED = WHOLE | {
    "windows": [
        {"start": 0.0, "end": 0.96, "tags": TAGS[:1]},
        {"start": 35999.54, "end": 36000.5, "tags": TAGS},
    ]
}
FAILED = {"path": "x.wav", "error": "x.wav: no audio stream; give a recording"}


def written(name: str, results: list[dict]) -> str:
    stream = io.StringIO()
    write(name, results, stream)
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
