"""Verbs over recordings: tag."""

import functools
import glob
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.output import describe, opened, print_error, print_table, show_warning

if TYPE_CHECKING:
    from auricle.audio import RawFormat
    from auricle.tagging import Tagger

STDIN = "-"


class TagFormat(StrEnum):
    """How tags are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"


def tag(
    paths: Annotated[
        list[str],
        typer.Argument(help="Recordings, films, folders of them, globs; - for a pipe.", metavar="PATHS"),
    ],
    model: Annotated[
        str, typer.Option(help="A bundled model's name, an artifact's folder, an .onnx file.")
    ] = "default",
    top: Annotated[int, typer.Option(min=1, metavar="K", help="At most K tags a recording (or window).")] = 5,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="X", help="Only tags that score X or more.")
    ] = 0.0,
    format: Annotated[TagFormat, typer.Option(help="For people, spreadsheets, programs.")] = TagFormat.table,
    out: Annotated[str, typer.Option(metavar="FILE", help="Where results go; - is standard output.")] = STDIN,
    windows: Annotated[
        bool, typer.Option("--windows", help="Also say what sounds when, window by window.")
    ] = False,
    start: Annotated[
        float, typer.Option(min=0.0, metavar="S", help="Begin S seconds into each recording.")
    ] = 0.0,
    end: Annotated[
        float | None, typer.Option(min=0.0, metavar="S", help="Stop S seconds into each recording.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Processes, each with its own model.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads a process; all cores at first.")
    ] = None,
    raw: Annotated[
        str | None,
        typer.Option(metavar="RATE,CHANNELS,DTYPE", help="Input is PCM without a header, say 16000,1,s16le."),
    ] = None,
) -> None:
    """Say which sounds are in recordings.

    Reads the sound of any audio or video file. A score is between 0 and 1: how sure the model is that the
    sound occurs. A file that cannot be read is named, the others are still tagged, and the exit status is 1.
    """
    if end is not None and end <= start:
        raise typer.BadParameter(f"{end:g} is not after --start {start:g}", param_hint="--end")
    tag_one = functools.partial(
        _tag_one,
        model=model,
        threads=threads,
        options={"top": top, "threshold": threshold, "windows": windows, "start": start, "end": end},
        raw=None if raw is None else _raw_format(raw),
    )
    _tagger(model, threads)  # a wrong model is one error, not one for each file
    files, failures = _find(paths)
    for failure in failures:
        print_error(failure)
    with opened(out) as stream:
        write = _WRITERS[format](stream, windows)
        for path, result in zip(files, _results(tag_one, files, jobs, quiet=len(files) < 2), strict=True):
            if isinstance(result, BaseException):
                failures.append(path)
                print_error(_named(path, result))
            else:
                write(result)
                stream.flush()
    if failures:
        if len(files) + len(failures) > 2:
            print_error(f"{len(failures)} of the inputs could not be tagged: they are named above")
        raise typer.Exit(1)


def _named(path: str, error: BaseException) -> str:
    text = describe(error) if isinstance(error, Exception) else type(error).__name__
    return text if Path(path).name in text or path == STDIN else f"{path}: {text}"


def _raw_format(text: str) -> "RawFormat":
    from auricle.audio import RawFormat

    try:
        rate, channels, dtype = text.split(",")
        return RawFormat(rate=int(rate), channels=int(channels), dtype=dtype.strip())
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r}: {error}; expected RATE,CHANNELS,DTYPE", param_hint="--raw"
        ) from None


def _find(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """The files behind paths, folders and globs, in order and each once; and what was found wanting."""
    from auricle.audio import MEDIA_SUFFIXES

    files: list[str] = []
    failures: list[str] = []
    for text in paths:
        path = Path(text)
        if (
            text == STDIN or path.is_file() or (path.exists() and not path.is_dir())
        ):  # a named pipe exists, too
            found = [text]
        elif path.is_dir():
            found = sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in MEDIA_SUFFIXES)
            if not found:
                failures.append(
                    f"{text}: no recording in this folder (known by suffix: .wav, .mp3, .mp4 and so on)"
                )
        elif glob.has_magic(text):
            matches = glob.glob(text, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
            found = sorted(file for file in matches if Path(file).is_file())
            if not found:
                failures.append(f"{text}: nothing matches")
        else:
            found = []
            failures.append(f"{text}: no such file or folder")
        files += found
    return list(dict.fromkeys(files)), failures


@functools.cache
def _tagger(model: str, threads: int | None) -> "Tagger":
    from auricle.tagging import Tagger

    return Tagger(model, threads=threads)


def _tag_one(
    path: str, *, model: str, threads: int | None, options: dict[str, Any], raw: "RawFormat | None"
) -> dict[str, Any]:
    result = _tagger(model, threads).tag(path, raw=raw, warn=functools.partial(_warn, path), **options)
    return {**result, "path": path}


def _warn(path: str, text: str) -> None:
    show_warning(text if Path(path).name in text else f"{path}: {text}", UserWarning)


def _results(
    tag_one: Callable[[str], dict[str, Any]], files: Sequence[str], jobs: int, quiet: bool
) -> Iterator[dict[str, Any] | BaseException]:
    """What `tag_one` gives or raises for each file, in the order of the files."""
    from auricle.progress import Progress

    with Progress(len(files), "tagging", quiet=quiet or sys.stdout.isatty()) as progress:
        if jobs == 1 or len(files) == 1 or STDIN in files:  # another process has no standard input
            for path in files:
                try:
                    result: dict[str, Any] | BaseException = tag_one(path)
                except Exception as error:
                    if os.environ.get("AURICLE_DEBUG") == "1":
                        raise
                    result = error
                progress.advance()
                yield result
            return
        from auricle.engine import run_files

        waiting: dict[int, dict[str, Any] | BaseException] = {}
        following = 0
        for index, result in run_files(tag_one, files, jobs=jobs):
            waiting[index] = result
            progress.advance()
            while following in waiting:
                yield waiting.pop(following)
                following += 1


def _write_jsonl(stream: IO[str], windows: bool) -> Callable[[dict[str, Any]], None]:
    return lambda result: print(json.dumps(result, ensure_ascii=False), file=stream)


def _write_csv(stream: IO[str], windows: bool) -> Callable[[dict[str, Any]], None]:
    import csv

    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["path", "start", "end", "label", "score"])

    def write(result: dict[str, Any]) -> None:
        whole = {"start": 0.0, "end": result["duration"], "tags": result["tags"]}
        for window in result["windows"] if windows else [whole]:
            for found in window["tags"]:
                row = [result["path"], window["start"], window["end"], found["label"], found["score"]]
                table.writerow(row)

    return write


def _write_table(stream: IO[str], windows: bool) -> Callable[[dict[str, Any]], None]:
    first = True

    def write(result: dict[str, Any]) -> None:
        nonlocal first
        if not first:
            print(file=stream)
        first = False
        title = f"{result['path']}  ({result['duration']:.1f} s)"
        rows = [[f"{found['score']:.2f}", found["label"]] for found in result["tags"]]
        print_table(stream, ["score>", "label"], rows, title)
        if windows:
            print(file=stream)
            rows = [
                [
                    f"{window['start']:.1f}",
                    f"{window['end']:.1f}",
                    ", ".join(f"{found['label']} {found['score']:.2f}" for found in window["tags"]),
                ]
                for window in result["windows"]
            ]
            print_table(stream, ["from>", "to>", "sounds"], rows)

    return write


_WRITERS = {TagFormat.table: _write_table, TagFormat.csv: _write_csv, TagFormat.jsonl: _write_jsonl}
