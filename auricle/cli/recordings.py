"""Verbs over recordings: tag."""

import os
import sys
from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from auricle import formats
from auricle.cli.options import (
    Address,
    End,
    EngineName,
    EngineOption,
    Raw,
    Start,
    check_address,
    check_excerpt,
    raw_format,
)
from auricle.cli.output import describe, opened, print_error, print_table, print_warning
from auricle.remote import address_of
from auricle.text import for_terminal

if TYPE_CHECKING:
    from auricle.artifact import Artifact
    from auricle.engine import Engine
    from auricle.tagging import TagOptions

STDIN = "-"
# From so many files a core on, more processes pay for their start, which takes as long as 30 clips of 5 s.
MANY_FILES = 32


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


def tag(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Recordings, films, folders, globs, also by address (s3://...); - for a pipe.",
            metavar="PATHS",
        ),
    ],
    model: Annotated[
        str, typer.Option(help="A bundled model's name, an artifact's folder, an .onnx file.")
    ] = "default",
    top: Annotated[int, typer.Option(min=1, metavar="K", help="At most K tags a recording (or window).")] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="X",
            help="Only tags that score X or more; else the model's own thresholds, where it has some.",
        ),
    ] = None,
    format: Annotated[
        TagFormat, typer.Option(help="For people, spreadsheets, programs, audio editors, players.")
    ] = TagFormat.table,
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="Where results go; DIR/: a file for each recording; -: standard output."
        ),
    ] = STDIN,
    windows: Annotated[
        bool, typer.Option("--windows", help="Also say what sounds when, window by window.")
    ] = False,
    consistent: Annotated[
        bool, typer.Option("--consistent", help="A label above others scores at least what they do.")
    ] = False,
    start: Start = 0.0,
    end: End = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes; for many files, as many as cores.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads a process; at first they share the cores.")
    ] = None,
    raw: Raw = None,
    engine: EngineOption = EngineName.local,
    address: Address = None,
) -> None:
    """Say which sounds are in recordings.

    Reads the sound of any audio or video file. A score is between 0 and 1: how sure the model is that the
    sound occurs. A file that cannot be read is named, the others are still tagged, and the exit status is 1.
    Of several recordings, --out is complete or not there; killed, the same command goes on where it was.
    """
    check_excerpt(start, end)
    check_address(engine, address)
    from auricle.artifact import load_artifact
    from auricle.media_files import find_media
    from auricle.tagging import TagOptions

    place: dict[str, Any] = {"start": start, "end": end, "raw": None if raw is None else raw_format(raw)}
    found = find_media(paths)
    loaded = load_artifact(model)  # a wrong model is one error, and comes before --out is touched
    if consistent and loaded.parents is None:
        raise typer.BadParameter(
            f"the labels of {model} are flat, so no score contradicts another", param_hint="--consistent"
        )
    files = [path for path, problem in found if problem is None]
    refuse_overwriting(out, files)
    check_format(format, out, files, given_of(context))
    windows = windows or format.value in formats.TIMED  # these say when
    job = is_job(out, files, engine)
    if engine is EngineName.ray:
        threads = threads or 1
    else:
        jobs, threads = _shared_cores(jobs, threads, files)
    wishes: dict[str, Any] = {"top": top, "threshold": threshold, "windows": windows}
    wishes["consistent"] = consistent
    wishes["scores"] = format is TagFormat.parquet
    about = about_of(loaded, start)
    options = TagOptions(model=model, threads=threads, **wishes, **place)
    if job:
        return _tag_job(found, out, options, format, about, engine_for(engine, address, jobs, len(files)))
    assert jobs is not None
    live = windows and format is not TagFormat.table and jobs == 1
    results = _Told(_results(found, options, jobs, live))
    with opened(out) as stream:
        write_results(results, stream, format, about)
    results.finish()


def given_of(context: typer.Context) -> set[str]:
    """The parameters of a verb that its command line has.

    >>> given_of(typer.Context(typer.main.get_command(typer.Typer(callback=print))))
    set()
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def check_format(format: TagFormat, out: str, files: list[str], given: Collection[str] = ()) -> None:
    """Refuse what a format cannot hold, before anything is heard.

    Args:
        format: of the results.
        out: where they go.
        files: the recordings.
        given: parameters that were asked for.

    Raises:
        typer.BadParameter: several recordings in a file that holds one; bytes on a terminal; fewer scores
            than there are in a format that has them all.

    >>> check_format(TagFormat.webvtt, "subtitles/", ["a.mp4", "b.mp4"])
    """
    if format.value in formats.ONE_RECORDING and len(files) > 1 and not is_folder(out):
        raise typer.BadParameter(
            f"{format.value} holds one recording in a file, and these are {len(files)}: give a folder, "
            "--out FOLDER/, for a file each; or take csv, jsonl or parquet",
            param_hint="--format",
        )
    if format is not TagFormat.parquet:
        return
    if out == STDIN and sys.stdout is not None and sys.stdout.isatty():
        raise typer.BadParameter("parquet is no text: name a file with --out", param_hint="--format")
    for name in sorted({"top", "threshold"}.intersection(given)):
        raise typer.BadParameter(
            "parquet has every label's score in every window; leave this out", param_hint=f"--{name}"
        )


def about_of(artifact: "Artifact", start: float = 0.0) -> formats.About:
    """What a format may say of a model.

    >>> about_of(load_artifact("default")).rate  # doctest: +SKIP
    16000
    """
    return formats.About(
        model=artifact.name,
        fingerprint=artifact.fingerprint,
        labels=artifact.labels,
        rate=artifact.rate,
        start=start,
    )


def is_job(out: str, files: list[str], engine: EngineName) -> bool:
    """Whether results go where a killed run can find them again: a folder, or a file of several recordings.

    Raises:
        typer.BadParameter: Ray is asked for, and they do not.

    >>> is_job("tags.csv", ["a.wav", "b.wav"], EngineName.local), is_job("-", ["a.wav"], EngineName.local)
    (True, False)
    """
    if address_of(out) is not None:
        if STDIN in files:
            raise typer.BadParameter("what comes from a pipe is written to a disk", param_hint="--out")
        return True
    target = Path(out)
    regular = out != STDIN and (
        is_folder(out) or target.is_file() or not target.exists()
    )  # no pipe, no device
    if engine is EngineName.ray:
        if not regular:
            raise typer.BadParameter("name a file or a folder: --engine ray needs one", param_hint="--out")
        if STDIN in files:
            raise typer.BadParameter("standard input is read here, not on Ray", param_hint="--engine")
        return True
    if is_folder(out):
        if STDIN in files:
            raise typer.BadParameter("what comes from a pipe has no name; name a file", param_hint="--out")
        return True
    return regular and len(files) > 1 and STDIN not in files


def is_folder(out: str) -> bool:
    """Whether an output is a folder: it is there, or its name ends like one's.

    >>> is_folder("tags/"), is_folder("tags.csv")
    (True, False)
    """
    return out.endswith(("/", os.sep)) or (address_of(out) is None and Path(out).is_dir())


def engine_for(engine: EngineName, address: str | None, jobs: int | None, files: int) -> "Engine":
    """Where a job over so many files runs; for a few, another process is not worth its start.

    >>> engine_for(EngineName.local, None, 1, 3).kind, engine_for(EngineName.local, None, 1, 100).kind
    ('here', 'local')
    """
    from auricle.engine import Engine

    if engine is EngineName.ray:
        return Engine(kind="ray", jobs=jobs, address=address)
    return Engine(kind="here" if jobs == 1 and files < MANY_FILES else "local", jobs=jobs)


def _tag_job(
    found: list[tuple[str, str | None]],
    out: str,
    options: "TagOptions",
    format: TagFormat,
    about: formats.About,
    engine: "Engine",
) -> None:
    from auricle.engine.tagging import tag_to_file, tag_to_folder

    files = [path for path, problem in found if problem is None]
    chosen: dict[str, Any] = {"engine": engine, "explain": describe, "quiet": len(files) < 2}
    told: list[_Told] = []

    def all_of(results: Iterator[dict[str, Any]]) -> _Told:
        told.append(_Told(_merged(found, results)))
        return told[0]

    if is_folder(out):
        write = partial(write_results, format=format, about=about)
        for _ in all_of(iter(tag_to_folder(files, out, options, write, suffix=SUFFIXES[format], **chosen))):
            pass
    else:
        tag_to_file(
            files,
            out,
            options,
            lambda results, stream: write_results(all_of(results), stream, format, about),
            **chosen,
        )
    told[0].finish()


def _merged(
    found: list[tuple[str, str | None]], results: Iterator[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Results in the order of the inputs, with what could not be looked for among them."""
    for path, problem in found:
        yield {"path": path, "error": problem} if problem is not None else next(results)


def refuse_overwriting(out: str, files: list[str]) -> None:
    """Results must not take the place of a recording."""
    target, address = Path(out), address_of(out)
    if address is not None and address in files:
        raise typer.BadParameter(f"{out} is one of the recordings; name another file", param_hint="--out")
    for file in files if out != STDIN and target.is_file() else ():
        if file != STDIN and address_of(file) is None and target.samefile(file):
            raise typer.BadParameter(f"{out} is one of the recordings; name another file", param_hint="--out")


def _shared_cores(jobs: int | None, threads: int | None, files: list[str]) -> tuple[int, int | None]:
    return shared_cores(1 if STDIN in files else jobs, threads, len(files))  # no other process has it


def shared_cores(jobs: int | None, threads: int | None, files: int) -> tuple[int, int | None]:
    """How many processes, and threads in each; scores do not depend on either.

    >>> shared_cores(2, 3, 8)
    (2, 3)
    """
    from auricle.engine import default_jobs

    cores = default_jobs()
    if jobs is None:
        jobs = cores if threads is None and files >= MANY_FILES * cores else 1
    jobs = max(1, min(jobs, files))
    return jobs, max(1, cores // jobs) if threads is None and jobs > 1 else threads


def write_results(
    results: Iterable[dict[str, Any]],
    stream: TextIO,
    format: TagFormat,
    about: formats.About | None = None,
) -> None:
    """Write results as one of the formats.

    >>> write_results([{"path": "a.wav", "duration": 2.0, "tags": []}], sys.stdout, TagFormat.jsonl)
    {"path": "a.wav", "duration": 2.0, "tags": []}
    """
    if format is TagFormat.table:
        _write_table(results, stream)
    else:
        formats.write(format.value, results, stream, about)


class _Told:
    """Results as they pass: failures and warnings are told on standard error, and counted."""

    def __init__(self, results: Iterable[dict[str, Any]]):
        self.results, self.count, self.failures = results, 0, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for result in self.results:
            self.count += 1
            for warning in result.pop("warnings", []):
                print_warning(naming(result["path"], warning))
            if "error" in result:
                self._fail(result["path"], result["error"])
            elif not isinstance(result.get("windows", []), list):
                result["windows"] = self._scored(result, result["windows"])
            yield result

    def finish(self) -> None:
        """Leave with exit status 1 where something failed."""
        if self.failures and self.count > 1:
            print_error(f"{self.failures} of {self.count} inputs could not be tagged: they are named above")
        if self.failures:
            raise typer.Exit(1)

    def _fail(self, path: str, text: str) -> None:
        self.failures += 1
        print_error(naming(path, text))

    def _scored(self, result: dict[str, Any], pieces: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Windows that are being scored while they are written: what goes wrong, goes wrong here."""
        try:
            for piece in pieces:
                if "path" in piece:  # the last, of the whole
                    result.update(piece)
                else:
                    yield piece
        except Exception as error:
            result["error"] = describe(error)
            self._fail(result["path"], result["error"])


def naming(path: str, text: str) -> str:
    """A message that says which input it is of."""
    return text if path == STDIN or for_terminal(text).startswith(for_terminal(path)) else f"{path}: {text}"


def _results(
    found: list[tuple[str, str | None]], options: "TagOptions", jobs: int, live: bool
) -> Iterator[dict[str, Any]]:
    """What is said of each input, in the order of the inputs: tags, or {"path", "error"}.

    Where `live`, the windows of a file are an iterator, to be used up before the next file.
    """
    from auricle.engine import run_files
    from auricle.progress import Progress
    from auricle.tagging import tag_file

    files = [path for path, problem in found if problem is None]
    tag_one = partial(tag_file, options=options)
    if jobs > 1:
        outcomes = (result for _, result in run_files(tag_one, files, jobs=jobs, ordered=True))
    else:
        outcomes = (_live(path, options) if live else _attempt(tag_one, path) for path in files)
    quiet = len(files) < 2 or (sys.stdout is not None and sys.stdout.isatty())  # results are progress enough
    with Progress(len(files), "tagging", quiet=quiet) as progress:
        for path, problem in found:
            outcome = problem if problem is not None else next(outcomes)
            if isinstance(outcome, Exception):
                outcome = describe(outcome)
            yield {"path": path, "error": outcome} if isinstance(outcome, str) else outcome
            if problem is None:
                progress.advance()


def _live(path: str, options: "TagOptions") -> dict[str, Any]:
    from auricle.tagging import follow_file

    return {
        "path": path,
        "windows": follow_file(path, options, lambda warning: print_warning(naming(path, warning))),
    }


def _attempt(tag_one: partial[dict[str, Any]], path: str) -> dict[str, Any] | Exception:
    try:
        return tag_one(path)
    except Exception as error:
        return error


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
