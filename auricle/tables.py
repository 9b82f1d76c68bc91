r"""Text tables of any spreadsheet, row by row; whatever is wrong with one is told with the file and the line.

Fields are separated by commas, semicolons (as Excel writes where the decimal mark is a comma) or tabs, which
the first line says; the text is UTF-8, or UTF-16 or UTF-32 with the mark in front that Excel sets.
"""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator
from pathlib import Path

SEPARATORS = (",", ";", "\t")
DEFAULTS = {".tsv": "\t", ".txt": "\t"}  # by suffix, where the first line does not say
NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
MARKS = (  # longer ones first: that of UTF-32 begins as that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
HEAD_BYTES = 1 << 20  # a header is not longer
DECIMAL = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # or a decimal comma: only other separators tell


def read_text_table(
    path: Path, numbers: Collection[str] = ()
) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    r"""Columns of a table, and its rows: the line each begins at, and column -> text.

    Blank lines, rows of empty fields only and empty columns at the end, as spreadsheets leave them, mean
    nothing. A first line `sep=;`, as Excel takes it, is obeyed.

    Args:
        path: the table.
        numbers: columns that hold numbers (several separated by `;` where they are parallel to labels): a
            decimal comma is made a point in them.

    Raises:
        ValueError: neither UTF-8 nor marked as UTF-16, or (while rows are read) a row that has not as many
            fields as there are columns, a quotation mark that is not closed, a field beyond all measure.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "t.csv").write_text("path;start;labels\na.wav;1,5;dog\n", encoding="utf-16")
    ...     columns, rows = read_text_table(Path(folder, "t.csv"), numbers=["start"])
    ...     columns, list(rows)
    (['path', 'start', 'labels'], [(2, {'path': 'a.wav', 'start': '1.5', 'labels': 'dog'})])
    """
    text = read_text(path)
    separator, begun = _separator(text, path)
    fields = _fields(path, text, separator, begun)
    columns = [name.strip() for name in next(fields, (1, []))[1]]
    while columns and not columns[-1]:
        columns.pop()
    return columns, _rows(path, columns, fields, separator, numbers)


def read_text(path: Path) -> str:
    r"""The text of a file in UTF-8, or in what the mark at its beginning says; without that mark.

    Raises:
        ValueError: it is none of these; the line is named.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "t.csv").write_bytes("caf\xe9".encode("utf-16"))
    ...     read_text(Path(folder, "t.csv")) == "caf\xe9"
    True
    """
    data = Path(path).read_bytes()
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8":
            row = data.count(b"\n", 0, error.start) + 1
            raise ValueError(
                f"{path}, row {row}: not UTF-8 text (byte {error.start}); save the table as UTF-8 "
                '(in Excel: "CSV UTF-8")'
            ) from None
        raise ValueError(f"{path}: begins as text in {encoding.upper()}, and is not; save it again") from None
    if "\0" in text:
        row = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"{path}, row {row}: not text, or UTF-16 without the mark in front; save the table as UTF-8"
        )
    return text


def header_of(path: Path) -> list[str]:
    """The columns that a table begins with, whatever else is wrong with it; only its beginning is read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "t.csv").write_text("path;labels")
    ...     header_of(Path(folder, "t.csv"))
    ['path', 'labels']
    """
    with Path(path).open("rb") as file:
        data = file.read(HEAD_BYTES)
    text = data.decode(_encoding(data), errors="replace").replace("\0", "")
    separator, begun = _separator(text, Path(path))
    try:
        return [name.strip() for name in next(_fields(Path(path), text, separator, begun), (1, []))[1]]
    except ValueError:  # whoever reads the rows is told
        return []


def separator_of(line: str, otherwise: str = ",") -> str:
    r"""What separates the fields of a line, a comma, a semicolon or a tab: what makes most fields of it.

    Args:
        line: the header, say; what stands in quotation marks does not count.
        otherwise: the answer where none does, or two as many.

    >>> separator_of("path;labels"), separator_of('"a;b",c'), separator_of("Begin Time (s)\tEnd Time (s)")
    (';', ',', '\t')
    """

    def count(mark: str) -> int:
        try:
            return len(next(csv.reader([line], delimiter=mark), []))
        except csv.Error:
            return 0

    best = max((otherwise, *SEPARATORS), key=count)  # the first of several
    return best if count(best) > 1 else otherwise


def decimal_point(text: str, separator: str = ";") -> str:
    """A number's text with a point where it has a decimal comma; any other text as it is.

    Args:
        text: of a field.
        separator: of the table's fields; where that is a comma, "1,234" may be a thousand, and stays.

    >>> decimal_point("-1,25"), decimal_point("1,234"), decimal_point("1,234", ","), decimal_point("0.5")
    ('-1.25', '1.234', '1,234', '0.5')
    """
    number = text.strip()
    if not DECIMAL.fullmatch(number) or (separator == "," and THOUSANDS.fullmatch(number)):
        return text
    return number.replace(",", ".")


def _encoding(data: bytes) -> str:
    return next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")


def _separator(text: str, path: Path) -> tuple[str, int]:
    """What separates the fields, and how many lines of the text are above the header for that."""
    first = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    if said := re.match(r"sep=([,;\t])[\s,;]*$", first):
        return said[1], 1
    return separator_of(first, DEFAULTS.get(path.suffix.lower(), ",")), 0


def _fields(path: Path, text: str, separator: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    # Strict: otherwise a quotation mark that is not closed takes in the rows that follow, without a word.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cause = (
                f"a field of more than {csv.field_size_limit():,} characters"
                if "field limit" in str(error)
                else f"a quotation mark that is not closed, or stands inside a quoted field ({error})"
            )
            raise ValueError(
                f"{path}, row {line}: {cause}; close every quotation mark, and write one that is part of "
                "the text twice"
            ) from None
        if any(field.strip() for field in fields):  # blank lines mean nothing
            if skipped:
                skipped -= 1
                continue
            yield line, fields


def _rows(
    path: Path,
    columns: list[str],
    fields: Iterator[tuple[int, list[str]]],
    separator: str,
    numbers: Collection[str],
) -> Iterator[tuple[int, dict[str, str]]]:
    wanted = [name for name in columns if name in set(numbers)]
    for line, row in fields:
        while len(row) > len(columns) and not row[-1].strip():
            row.pop()
        if len(row) > len(columns):
            raise ValueError(
                f"{path}, row {line}: more fields than the {len(columns)} columns; "
                f"put a field that contains {NAMES[separator]} into quotes"
            )
        if len(row) < len(columns):
            raise ValueError(
                f"{path}, row {line}: {len(row)} of {len(columns)} fields ({columns[len(row)]} is missing); "
                f"an empty field needs its separator, {NAMES[separator]}, too"
            )
        found = dict(zip(columns, row, strict=True))
        for name in wanted:
            if "," in found[name]:
                found[name] = ";".join(decimal_point(part, separator) for part in found[name].split(";"))
        yield line, found
