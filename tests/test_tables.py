"""Text tables as spreadsheets of all countries write them."""

import csv
import io
import itertools
import random
from pathlib import Path

import pytest

from auricle.datasets import open_corpus
from auricle.datasets.annotations import read_annotations
from auricle.datasets.taxonomy import Taxonomy
from auricle.evaluation.submission import read_submission
from auricle.search.answers import read_labels, read_questions
from auricle.tables import decimal_point, header_of, read_text, read_text_table, separator_of

HEADER = ["path", "start", "labels", "note, free; text"]
ROWS = [
    ["a.wav", "0.5", "dog;cat", 'says "woof", twice'],
    ["b ö.wav", "", "", "two\nlines"],
    ["c.wav", "12.125", "Male speech, man speaking", "tab\there"],
]
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be-marked", "utf-32")
NUMBERS = ("start",)


def write(
    path: Path, rows: list[list[str]], separator: str, encoding: str, end: str, first: str = ""
) -> Path:
    stream = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if end == "\r" else csv.QUOTE_MINIMAL  # else \n stands unquoted
    csv.writer(stream, delimiter=separator, lineterminator=end, quoting=quoting).writerows(rows)
    text = first + stream.getvalue()
    data = ("\ufeff" + text).encode("utf-16-be") if "marked" in encoding else text.encode(encoding)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_is_the_same_however_it_is_saved(
    tmp_path: Path, separator: str, encoding: str, end: str
) -> None:
    written = [HEADER, *ROWS]
    if separator != ",":  # and so has decimal commas
        written = [HEADER, *([row[0], row[1].replace(".", ","), *row[2:]] for row in ROWS)]
    path = write(tmp_path / "t.csv", written, separator, encoding, end)
    columns, rows = read_text_table(path, NUMBERS)
    assert columns == header_of(path) == HEADER
    found = list(rows)
    assert [list(row.values()) for _, row in found] == ROWS
    assert [line for line, _ in found] == [2, 3, 5]  # a field of the second row has two lines


def test_the_separator_is_that_of_the_header_whatever_the_rows_hold() -> None:
    names = ["path", "labels", "start (s)", 'with "marks"', "a, b", "c; d", "e\tf"]
    rng = random.Random(0)
    for mark, count in itertools.product(",;\t", (3, 4, 5)):
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
            stream = io.StringIO()
            csv.writer(stream, delimiter=mark, quoting=quoting).writerow(rng.sample(names, count))
            assert separator_of(stream.getvalue().strip("\r\n")) == mark
    assert separator_of("path", "\t") == "\t" and separator_of("") == ","


def test_what_spreadsheets_leave_behind_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfsep=;\r\n\r\npath;labels;;\r\na.wav;dog;;\r\n;;;\r\nb.wav;;;\r\n\r\n")
    columns, rows = read_text_table(path)
    assert columns == ["path", "labels"]
    assert list(rows) == [(4, {"path": "a.wav", "labels": "dog"}), (6, {"path": "b.wav", "labels": ""})]
    path.write_text("sep=;\npath,odd;labels\na,1;dog\n")
    assert list(read_text_table(path)[1]) == [(3, {"path,odd": "a,1", "labels": "dog"})]


@pytest.mark.parametrize(
    ("text", "separator", "number"),
    [
        ("1,5", ";", "1.5"),
        ("1,5", ",", "1.5"),
        ("1,234", ";", "1.234"),
        ("1,234", ",", "1,234"),  # a thousand, or not
        ("0,234", ",", "0.234"),
        ("1234,567", ",", "1234.567"),
        ("-,5e-3", "\t", "-.5e-3"),
        (" 2,5 ", ";", "2.5"),
        ("1,234,567", ";", "1,234,567"),
        ("1.234,5", ";", "1.234,5"),
        ("soon, or not", ";", "soon, or not"),
        ("", ";", ""),
    ],
)
def test_a_decimal_comma_is_a_point_where_it_can_be_nothing_else(
    text: str, separator: str, number: str
) -> None:
    assert decimal_point(text, separator) == number


def test_columns_that_hold_no_numbers_keep_their_commas(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("path;labels;scores\n1,5;2,5;0,25;0,5\n".replace("0,25;0,5", '"0,25;0,5"'))
    assert list(read_text_table(path, ["scores"])[1]) == [
        (2, {"path": "1,5", "labels": "2,5", "scores": "0.25;0.5"})
    ]


def test_text_that_cannot_be_read_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("path;labels\na.wav;dog\nb.wav;chien dû\n".encode("cp1252"))
    with pytest.raises(ValueError, match=r't\.csv, row 3: not UTF-8 text \(byte 35\); .* "CSV UTF-8"'):
        read_text_table(path)
    path.write_bytes("path;labels\n".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"row 1: not text, or UTF-16 without the mark"):
        read_text(path)
    path.write_bytes(b"\xff\xfepath;labels")
    with pytest.raises(ValueError, match="begins as text in UTF-16, and is not"):
        read_text(path)
    assert isinstance(header_of(path), list)  # who only looks is not stopped


def as_excel(path: Path, text: str) -> Path:
    """As Excel of a country with decimal commas saves "CSV UTF-8"."""
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    return path


def test_every_reader_takes_what_a_spreadsheet_saves(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    plain, excel = tmp_path / "plain.csv", tmp_path / "excel.csv"

    plain.write_text("path,start,end,labels,scores,no\na.wav,0.5,1.25,dog;cat,0.5;1,rain\n")
    as_excel(excel, 'path;start;end;labels;scores;no\na.wav;0,5;1,25;"dog;cat";"0,5;1";rain\n')
    name, clips = open_corpus(excel)
    assert name == "manifest" and clips == open_corpus(plain)[1]
    assert clips[0].scores == (0.5, 1.0) and clips[0].end == 1.25
    assert read_labels(excel).moments == read_labels(plain).moments
    unicode_text = tmp_path / "table.txt"  # Excel's "Unicode Text"
    unicode_text.write_bytes(excel.read_text("utf-8-sig").encode("utf-16"))
    assert open_corpus(unicode_text)[1] == clips

    plain.write_text("path,start,end,label,score,answer\na.wav,0.5,1.25,dog,0.75,y\n")
    as_excel(excel, "path;start;end;label;score;answer\na.wav;0,5;1,25;dog;0,75;y\n")
    assert read_questions(excel) == read_questions(plain)

    taxonomy = Taxonomy(("1_dog",), (("1-1_bark",),))
    plain.write_text("audio_filename,1_dog,1-1_bark\na.wav,0.5,0.25\n")
    as_excel(excel, "audio_filename;1_dog;1-1_bark\na.wav;0,5;0,25\n")
    assert (read_submission(excel, taxonomy).scores == read_submission(plain, taxonomy).scores).all()

    head = "split,sensor_id,audio_filename,annotator_id,1_dog_presence,1-1_bark_presence\n"
    plain.write_text(head + "train,1,a.wav,7,1,0\n")
    as_excel(excel, head.replace(",", ";") + "train;1;a.wav;7;1;0\n")
    assert (read_annotations(excel, taxonomy).votes == read_annotations(plain, taxonomy).votes).all()


def test_a_semicolon_among_labels_needs_quotes_where_it_separates_fields(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("path;labels\na.wav;dog;cat\n")
    with pytest.raises(ValueError, match=r"row 2: more fields .* put a field that contains a semicolon into"):
        open_corpus(path)
