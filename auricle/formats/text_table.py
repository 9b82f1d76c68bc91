"""A table for people: aligned text, times to 0.1 s, scores to two decimals."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

from auricle.formats.jsonl import SPOOL_CHARACTERS
from auricle.formats.results import Result, as_json
from auricle.text import aligned, for_terminal

NO_TAGS = "none reaches its threshold; --threshold 0 shows the highest scores"
TAGS, WINDOWS, EVENTS = ("score>", "label"), ("from>", "to>", "sounds"), ("from>", "to>", "score>", "event")


def write_table(results: Iterable[Result], stream: TextIO) -> None:
    """Write each recording's tags, then its windows or events, where it has some.

    Rows wait in a temporary file until a column's widest is known: what failed leaves nothing.

    Args:
        results: of any number of files.
        stream: text.

    >>> import sys
    >>> tags = [{"label": "dog", "score": 0.9}]
    >>> write_table([{"path": "a.wav", "duration": 2.0, "tags": tags}], sys.stdout)
    a.wav  (2.0 s)
    score  label
     0.90  dog
    """
    written = 0
    for result in results:
        with contextlib.ExitStack() as stack:
            parts = [
                stack.enter_context(_Waiting(columns, map(cells, result[name])))
                for name, columns, cells in _PARTS
                if name in result
            ]
            if "error" in result:
                continue
            if written:
                print(file=stream)
            written += 1
            print(for_terminal(title_of(result)), file=stream)
            stack.enter_context(_Waiting(TAGS, tag_rows(result))).write(stream)
            for part in parts:
                print(file=stream)
                part.write(stream)
        stream.flush()


def title_of(result: Result) -> str:
    """What stands above a recording's tables.

    >>> title_of({"path": "a.wav", "duration": 2.04})
    'a.wav  (2.0 s)'
    """
    return f"{result['path']}  ({result['duration']:.1f} s)"


def tag_rows(result: Result) -> list[list[str]]:
    """The cells of a recording's tags, under `TAGS`.

    >>> tag_rows({"tags": []})
    [['', 'none reaches its threshold; --threshold 0 shows the highest scores']]
    """
    return [[f"{tag['score']:.2f}", tag["label"]] for tag in result["tags"]] or [["", NO_TAGS]]


def window_cells(window: dict[str, Any]) -> list[str]:
    """The cells of a window, under `WINDOWS`.

    >>> window_cells({"start": 0.0, "end": 2.0, "tags": [{"label": "dog", "score": 0.9}]})
    ['0.0', '2.0', 'dog 0.90']
    """
    sounds = ", ".join(f"{tag['label']} {tag['score']:.2f}" for tag in window["tags"])
    return [f"{window['start']:.1f}", f"{window['end']:.1f}", sounds]


def event_cells(event: dict[str, Any]) -> list[str]:
    """The cells of an event, under `EVENTS`.

    >>> event_cells({"start": 0.5, "end": 2.0, "label": "dog", "score": 0.9})
    ['0.5', '2.0', '0.90', 'dog']
    """
    return [f"{event['start']:.1f}", f"{event['end']:.1f}", f"{event['score']:.2f}", event["label"]]


_PARTS: tuple[tuple[str, tuple[str, ...], Callable[[dict[str, Any]], list[str]]], ...] = (
    ("windows", WINDOWS, window_cells),
    ("events", EVENTS, event_cells),
)


class _Waiting:
    """Rows of a table, in memory that does not grow with them."""

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[str]]):
        self.columns = columns
        self._widths = [len(column.removesuffix(">")) for column in columns]
        self._count = 0
        self._spool = tempfile.SpooledTemporaryFile(SPOOL_CHARACTERS, "w+", encoding="ascii")  # noqa: SIM115
        try:
            for row in rows:
                self._add([for_terminal(cell) for cell in row])
            if not self._count and columns is EVENTS:
                self._add(["", "", "", "none"])
        except BaseException:
            self._spool.close()
            raise

    def __enter__(self) -> "_Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def _add(self, cells: list[str]) -> None:
        self._count += 1
        self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, cells, strict=True)]
        self._spool.write(as_json(cells) + "\n")

    def write(self, stream: TextIO) -> None:
        self._spool.seek(0)
        for line in aligned(self.columns, self._rows(), self._widths):
            print(line, file=stream)

    def _rows(self) -> Iterator[list[str]]:
        yield from map(json.loads, self._spool)
