"""Where results of recordings go, and in how many processes they are made; what is refused before that."""

import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from auricle import formats
from auricle.cli.options import EngineName
from auricle.cli.results import STDIN, TagFormat
from auricle.remote import address_of

if TYPE_CHECKING:
    from auricle.engine import Engine

# From so many files a core on, more processes pay for their start, which takes as long as 30 clips of 5 s.
MANY_FILES = 32


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
    for name in sorted({"events", "top", "threshold"}.intersection(given)):
        raise typer.BadParameter(
            "parquet has every label's score in every window; leave this out", param_hint=f"--{name}"
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


def refuse_overwriting(out: str, files: list[str]) -> None:
    """Results must not take the place of a recording."""
    target, address = Path(out), address_of(out)
    if address is not None and address in files:
        raise typer.BadParameter(f"{out} is one of the recordings; name another file", param_hint="--out")
    for file in files if out != STDIN and target.is_file() else ():
        if file == STDIN or address_of(file) is not None or not Path(file).exists():
            continue  # a link to nowhere is told when it is read
        if target.samefile(file):
            raise typer.BadParameter(f"{out} is one of the recordings; name another file", param_hint="--out")


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
