"""Verbs over recordings: tag."""

import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from auricle.cli.output import describe, opened, print_error, print_table, print_warning

if TYPE_CHECKING:
    from auricle.audio import RawFormat
    from auricle.tagging import TagOptions

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
    from auricle.formats import write_csv, write_jsonl
    from auricle.tagging import TagOptions, find_media

    options = TagOptions(
        model=model,
        threads=threads,
        top=top,
        threshold=threshold,
        windows=windows,
        start=start,
        end=end,
        raw=None if raw is None else _raw_format(raw),
    )
    results = _Told(_results(find_media(paths), options, jobs))
    with opened(out) as stream:
        if format is TagFormat.csv:
            write_csv((_placed(result, start) for result in results), stream)
        elif format is TagFormat.jsonl:
            write_jsonl(results, stream)
        else:
            _write_table(results, stream)
    if results.failures:
        if results.count > 1:
            print_error(
                f"{results.failures} of {results.count} inputs could not be tagged: they are named above"
            )
        raise typer.Exit(1)


def _raw_format(text: str) -> "RawFormat":
    from auricle.audio import RawFormat

    try:
        rate, channels, dtype = text.split(",")
        return RawFormat(rate=int(rate), channels=int(channels), dtype=dtype.strip())
    except ValueError as error:
        problem = f"{text!r}: {error}; expected RATE,CHANNELS,DTYPE, say 16000,1,s16le"
        raise typer.BadParameter(problem, param_hint="--raw") from None


class _Told:
    """Results as they pass: failures and warnings are told on standard error, and counted."""

    def __init__(self, results: Iterable[dict[str, Any]]):
        self.results, self.count, self.failures = results, 0, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for result in self.results:
            self.count += 1
            for warning in result.pop("warnings", []):
                print_warning(_naming(result["path"], warning))
            if "error" in result:
                self.failures += 1
                print_error(_naming(result["path"], result["error"]))
            yield result


def _naming(path: str, text: str) -> str:
    return text if text.startswith(path) or path == STDIN else f"{path}: {text}"


def _results(
    found: list[tuple[str, str | None]], options: "TagOptions", jobs: int
) -> Iterator[dict[str, Any]]:
    """What is said of each input, in the order of the inputs: tags, or {"path", "error"}."""
    from auricle.artifact import load_artifact
    from auricle.engine import run_files
    from auricle.progress import Progress
    from auricle.tagging import tag_file

    files = [path for path, problem in found if problem is None]
    tag_one = partial(tag_file, options=options)
    load_artifact(options.model)  # a wrong model is one error, not one for each file
    if jobs > 1 and len(files) > 1 and STDIN not in files:  # another process has no standard input
        outcomes = (result for _, result in run_files(tag_one, files, jobs=jobs, ordered=True))
    else:
        outcomes = (_attempt(tag_one, path) for path in files)
    quiet = len(files) < 2 or sys.stdout.isatty()  # results that scroll by are progress enough
    with Progress(len(files), "tagging", quiet=quiet) as progress:
        for path, problem in found:
            outcome = problem if problem is not None else next(outcomes)
            if problem is None:
                progress.advance()
            if isinstance(outcome, Exception):
                outcome = describe(outcome)
            yield {"path": path, "error": outcome} if isinstance(outcome, str) else outcome


def _attempt(tag_one: partial[dict[str, Any]], path: str) -> dict[str, Any] | Exception:
    try:
        return tag_one(path)
    except Exception as error:
        return error


def _placed(result: dict[str, Any], start: float) -> dict[str, Any]:
    """A result whose tags of the whole say where the whole began."""
    if not start or "error" in result or "windows" in result:
        return result
    whole = {"start": start, "end": start + result["duration"], "tags": result["tags"]}
    return {**result, "windows": [whole]}


def _write_table(results: Iterable[dict[str, Any]], stream: TextIO) -> None:
    for number, result in enumerate(result for result in results if "error" not in result):
        if number:
            print(file=stream)
        title = f"{result['path']}  ({result['duration']:.1f} s)"
        rows = [[f"{tag['score']:.2f}", tag["label"]] for tag in result["tags"]]
        print_table(stream, ["score>", "label"], rows, title)
        if "windows" in result:
            print(file=stream)
            rows = [
                [
                    f"{window['start']:.1f}",
                    f"{window['end']:.1f}",
                    ", ".join(f"{tag['label']} {tag['score']:.2f}" for tag in window["tags"]),
                ]
                for window in result["windows"]
            ]
            print_table(stream, ["from>", "to>", "sounds"], rows)
        stream.flush()
