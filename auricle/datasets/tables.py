"""Text tables row by row; whatever is wrong with one is said in a line that names the file and the row."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

DELIMITERS = {".csv": ",", ".tsv": "\t"}
NAMES = {",": "','", ";": "';'", "\t": "tabs"}


def read_text_table(table: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    r"""Columns of a CSV or TSV table, and its rows: the line each begins at, and column -> text.

    Raises:
        ValueError: not UTF-8, another separator, or (while rows are read) a row that has not as many fields
            as there are columns, a quotation mark that is not closed, a field beyond all measure.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "t.csv").write_text("path,labels\na.wav,dog\n")
    ...     columns, rows = read_text_table(Path(folder, "t.csv"))
    ...     columns, list(rows)
    (['path', 'labels'], [(2, {'path': 'a.wav', 'labels': 'dog'})])
    """
    delimiter = DELIMITERS.get(table.suffix.lower(), ",")
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{table}: not UTF-8 text (byte {error.start}); save the table as UTF-8") from None
    header = text.partition("\n")[0]
    others = [mark for mark in NAMES if mark != delimiter and mark in header]
    if others and delimiter not in header:
        raise ValueError(
            f"{table}: looks separated by {NAMES[others[0]]}, expected {NAMES[delimiter]}; "
            f"save it again with {'tabs' if delimiter == chr(9) else 'commas'} between the fields"
        )
    fields = _fields(table, text, delimiter)
    columns = [name.strip() for name in next(fields, (1, []))[1]]
    return columns, _rows(table, columns, fields)


def _fields(table: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    # Strict: otherwise a quotation mark that is not closed takes in the rows that follow, without a word.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
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
                f"{table}, row {line}: {cause}; close every quotation mark, and write one that is part of "
                "the text twice"
            ) from None
        if fields:  # blank lines mean nothing
            yield line, fields


def _rows(
    table: Path, columns: list[str], fields: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, dict[str, str]]]:
    for line, row in fields:
        if len(row) > len(columns):
            raise ValueError(
                f"{table}, row {line}: more fields than the {len(columns)} columns; "
                "put a field that contains the separator into quotes"
            )
        if len(row) < len(columns):
            raise ValueError(
                f"{table}, row {line}: {len(row)} of {len(columns)} fields ({columns[len(row)]} is missing); "
                "an empty field needs its separator too"
            )
        yield line, dict(zip(columns, row, strict=True))
