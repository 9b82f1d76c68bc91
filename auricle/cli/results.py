"""Results of tag: what formats there are, who is told of failures, and the table for people."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

import typer

from auricle import formats
from auricle.cli.output import describe, print_error, print_table, print_warning
from auricle.formats.text_table import EVENTS, TAGS, WINDOWS, event_cells, tag_rows, title_of, window_cells
from auricle.progress import say
from auricle.text import as_utf8, for_terminal

STDIN = "-"


class TagFormat(StrEnum):
    """How tags are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"
    audacity = "audacity"
    raven = "raven"
    webvtt = "webvtt"
    jams = "jams"


SUFFIXES = {TagFormat.table: ".txt", **{TagFormat(name): suffix for name, suffix in formats.SUFFIXES.items()}}


def write_results(
    results: Iterable[dict[str, Any]],
    stream: TextIO,
    format: TagFormat,
    about: formats.About | None = None,
) -> None:
    """Write results as one of the formats.

    >>> import sys
    >>> write_results([{"path": "a.wav", "duration": 2.0, "tags": []}], sys.stdout, TagFormat.jsonl)
    {"path": "a.wav", "duration": 2.0, "tags": []}
    """
    if format is TagFormat.table:
        _write_table(results, stream)
    else:
        formats.write(format.value, results, stream, about)


class Told:
    """Results as they pass: failures and warnings are told on standard error, and counted.

    `remark` says what there is to be said of a recording's length; the first time, it is told. `unnamed` is
    said at the end where recordings have no row: one line, however many they are.
    """

    def __init__(
        self,
        results: Iterable[dict[str, Any]],
        failures: Path | None = None,
        remark: Callable[[float], str] | None = None,
        unnamed: str = "",
    ):
        self.results, self.count, self.failures = results, 0, 0
        self.remark, self.unnamed = remark, unnamed
        self._without_a_row, self._last = 0, ""  # how many recordings, and the last of them
        self.listed = failures
        if failures is not None:  # of an earlier run; and one that cannot be written is said at once
            failures.write_text("")
            failures.unlink()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for result in self.results:
            self.count += 1
            self._warn(result)
            if "error" in result:
                self._fail(result["path"], result["error"])
            elif not isinstance(result.get("windows", []), list):
                result["windows"] = self._scored(result, result["windows"])
            else:
                self._note(result, names_something(result))
                self._remark(result)
            yield result

    def finish(self) -> None:
        """Leave with exit status 1 where something failed."""
        if self.unnamed and self._without_a_row and self.count == 1:
            say(for_terminal(naming(self._last, self.unnamed)))
        elif self.unnamed and self._without_a_row:
            say(f"in {self._without_a_row} of {self.count} recordings {self.unnamed}")
        if self.failures and self.count > 1:
            print_error(f"{self.failures} of {self.count} inputs could not be tagged: they are named above")
        if self.failures:
            raise typer.Exit(1)

    def _remark(self, result: dict[str, Any]) -> None:
        if self.remark is not None and (said := self.remark(result.get("duration", 0.0))):
            self.remark = None
            say(for_terminal(naming(result["path"], said)))

    def _note(self, result: dict[str, Any], named: bool) -> None:
        if not named:
            self._without_a_row, self._last = self._without_a_row + 1, result["path"]

    def _fail(self, path: str, text: str) -> None:
        self.failures += 1
        print_error(naming(path, text))
        if self.listed is not None:
            with self.listed.open("a", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerows([["path", "error"]] if self.failures == 1 else [])
                writer.writerow([as_utf8(path), as_utf8(text)])

    def _warn(self, result: dict[str, Any]) -> None:
        for warning in result.pop("warnings", []):
            print_warning(naming(result["path"], warning))

    def _scored(self, result: dict[str, Any], pieces: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Windows that are being scored while they are written: what goes wrong, goes wrong here."""
        named = False
        try:
            for piece in pieces:
                named = named or names_something(piece)
                if "path" in piece:  # the last, of the whole
                    result.update(piece)
                else:
                    yield piece
            self._warn(result)
            self._note(result, named or bool(result.get("tags")))
        except Exception as error:
            result["error"] = describe(error)
            self._fail(result["path"], result["error"])


def names_something(result: Mapping[str, Any]) -> bool:
    """Whether a result, or a piece of one, has a label to show; one that is written already says so itself.

    >>> [names_something({"tags": tags}) for tags in ([], [{"label": "dog", "score": 0.9}])]
    [False, True]
    >>> names_something({"path": "a.wav", "silent": True}), names_something({"path": "a.wav"})
    (False, True)
    """
    if result.get("silent"):
        return False
    parts = [result[name] for name in ("tags", "events", "windows") if name in result]
    if not parts:
        return True
    windows = any(window.get("tags", True) for window in result.get("windows", []))
    return bool(result.get("tags") or result.get("events") or windows)


def naming(path: str, text: str) -> str:
    """A message that says which input it is of."""
    return text if path == STDIN or for_terminal(text).startswith(for_terminal(path)) else f"{path}: {text}"


def _write_table(results: Iterable[dict[str, Any]], stream: TextIO) -> None:
    if not stream.isatty():
        formats.write_table(results, stream)
        return
    written = 0
    for result in results:
        spans = [
            window_cells(window) for window in result.get("windows", [])
        ]  # of which the whole is known then
        if "error" in result:
            continue
        if written:
            print(file=stream)
        written += 1
        print_table(stream, TAGS, tag_rows(result), title_of(result))
        if "windows" in result:
            print(file=stream)
            print_table(stream, WINDOWS, spans)
        if "events" in result:
            print(file=stream)
            rows = [event_cells(event) for event in result["events"]]
            print_table(stream, EVENTS, rows or [["", "", "", "none"]])
        stream.flush()
