"""Verbs over recordings: tag."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle import formats
from auricle.cli.options import (
    Address,
    End,
    EngineName,
    EngineOption,
    Quiet,
    Raw,
    Start,
    check_address,
    check_excerpt,
    raw_format,
)
from auricle.cli.output import describe, opened, print_warning
from auricle.cli.results import STDIN, SUFFIXES, TagFormat, Told, naming, write_results
from auricle.remote import address_of

if TYPE_CHECKING:
    from auricle.artifact import Artifact
    from auricle.engine import Engine
    from auricle.events import EventConfig
    from auricle.progress import Progress
    from auricle.tagging import TagOptions

# From so many files a core on, more processes pay for their start, which takes as long as 30 clips of 5 s.
MANY_FILES = 32
LONG_SECONDS = 600.0  # a single recording of so much shows how far it is


def tag(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Recordings, films, folders, globs, also by address (s3://...); - for a pipe; for --live "
            "microphone, or KIND:NAME, say alsa:hw:1,0.",
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
    events: Annotated[
        bool,
        typer.Option("--events", help="Say from when to when each sound is heard, by the model's settings."),
    ] = False,
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="events: a setting, say onset=0.4; may be given again."),
    ] = None,
    consistent: Annotated[
        bool, typer.Option("--consistent", help="A label above others scores at least what they do.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Listen, and say what sounds at once, until Ctrl-C.")
    ] = False,
    hop: Annotated[
        float | None,
        typer.Option(metavar="S", help="Seconds from window to window; at first the model's own, live 1."),
    ] = None,
    start: Start = 0.0,
    end: End = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes; for many files, as many as cores.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads a process; at first they share the cores.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where a torch model scores: cpu, cuda.")] = "cpu",
    raw: Raw = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="Into a folder: tag also what has not changed since.")
    ] = False,
    failures: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also list in this CSV what failed, and why.")
    ] = None,
    engine: EngineOption = EngineName.local,
    address: Address = None,
    quiet: Quiet = False,
) -> None:
    """Say which sounds are in recordings.

    Reads the sound of any audio or video file. A score is between 0 and 1: how sure the model is that the
    sound occurs. A file that cannot be read is named, the others are still tagged, and the exit status is 1.
    Of several recordings, --out is complete or not there; killed, the same command goes on where it was.
    Into a folder, what has not changed since an earlier run is skipped.
    """
    check_excerpt(start, end)
    check_address(engine, address)
    if live and (engine is EngineName.ray or jobs is not None or is_folder(out) or address_of(out)):
        raise typer.BadParameter("hears one source, here, into one file", param_hint="--live")
    from auricle.artifact import load_artifact
    from auricle.media_files import find_media
    from auricle.tagging import BATCH_ON_GPU, TagOptions, hop_samples

    place: dict[str, Any] = {"start": start, "end": end, "raw": None if raw is None else raw_format(raw)}
    found: list[tuple[str, str | None]] = [(path, None) for path in paths] if live else find_media(paths)
    loaded = load_artifact(model)  # a wrong model is one error, and comes before --out is touched
    hop_samples(hop, loaded)
    if consistent and loaded.parents is None:
        raise typer.BadParameter(
            f"the labels of {model} are flat, so no score contradicts another", param_hint="--consistent"
        )
    files = [path for path, problem in found if problem is None]
    refuse_overwriting(out, files)
    check_format(format, out, files, given_of(context))
    config = _event_config(events, set, windows, loaded)
    if config is not None:
        hop = config.hop if hop is None else hop
    else:
        windows = windows or live or format.value in formats.TIMED  # these say when
    if live and failures is not None:
        raise typer.BadParameter(
            "is for recordings that are there; leave out --live", param_hint="--failures"
        )
    if redo and not is_folder(out):
        raise typer.BadParameter("is for results in a folder: --out DIR/", param_hint="--redo")
    job = not live and is_job(out, files, engine)
    if engine is EngineName.ray:
        threads = threads or 1
    else:
        jobs, threads = _shared_cores(jobs, threads, files)
    wishes: dict[str, Any] = {"top": top, "threshold": threshold, "windows": windows}
    wishes |= {"consistent": consistent, "events": config}
    wishes["scores"] = format is TagFormat.parquet
    about = about_of(loaded, start)
    if device != "cpu":
        wishes |= {"device": device, "batch": BATCH_ON_GPU}
    options = TagOptions(model=model, threads=threads, hop=hop, **wishes, **place)
    if live:
        from auricle.cli.live import listen

        return listen(paths, options, loaded, format, out, quiet)
    if job:
        chosen = engine_for(engine, address, jobs, len(files))
        return _tag_job(found, paths, out, options, format, about, chosen, redo, failures)
    assert jobs is not None
    results = Told(_results(found, options, jobs), failures)
    nowhere = out != STDIN and not files  # what is there stays where nothing was found
    with opened(os.devnull if nowhere else out) as stream:
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
    for name in sorted({"events", "top", "threshold"}.intersection(given)):
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


def _event_config(
    events: bool, settings: list[str] | None, windows: bool, loaded: "Artifact"
) -> "EventConfig | None":
    """How scores become events, where these are wanted."""
    if not events:
        if settings:
            raise typer.BadParameter("goes with --events", param_hint="--set")
        return None
    if windows:
        raise typer.BadParameter("are given in place of windows; leave out --windows", param_hint="--events")
    from auricle.cli.events import chosen_config

    return chosen_config(loaded, settings)


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
    given: list[str],
    out: str,
    options: "TagOptions",
    format: TagFormat,
    about: formats.About,
    engine: "Engine",
    redo: bool,
    failures: Path | None,
) -> None:
    from auricle.engine.tagging import tag_to_file, tag_to_folder

    files = [path for path, problem in found if problem is None]
    chosen: dict[str, Any] = {"engine": engine, "explain": describe, "quiet": len(files) < 2}
    told: list[Told] = []

    def all_of(results: Iterator[dict[str, Any]]) -> Told:
        told.append(Told(_merged(found, results), failures))
        return told[0]

    if is_folder(out):
        write = partial(write_results, format=format, about=about)
        chosen |= {"suffix": SUFFIXES[format], "redo": redo, "given": given}
        for _ in all_of(iter(tag_to_folder(files, out, options, write, **chosen))):
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


def _results(
    found: list[tuple[str, str | None]], options: "TagOptions", jobs: int
) -> Iterator[dict[str, Any]]:
    """What is said of each input, in the order of the inputs: tags, or {"path", "error"}.

    The windows of a file are an iterator, to be used up before the next file.
    """
    from auricle.engine import run_files
    from auricle.engine.tagging import spool_file, unspooled
    from auricle.remote import sizes_of

    files = [path for path, problem in found if problem is None]
    sizes = dict(zip(files, sizes_of(path for path in files), strict=True)) if len(files) > 1 else {}
    with (
        tempfile.TemporaryDirectory(prefix="auricle-", ignore_cleanup_errors=True) as folder,
        _shown(files, sizes) as progress,
    ):
        if jobs > 1:
            spool = partial(spool_file, options=options, folder=folder)
            outcomes = (result for _, result in run_files(spool, files, jobs=jobs, ordered=True))
        else:
            outcomes = (_attempt(path, options, progress) for path in files)
        for path, problem in found:
            outcome = problem if problem is not None else next(outcomes)
            if isinstance(outcome, Exception):
                outcome = describe(outcome)
            if isinstance(outcome, str):
                yield {"path": path, "error": outcome}
            else:
                heard = outcome.get("duration", 0.0) if jobs > 1 else 0.0
                yield unspooled(outcome)
                progress.hear(heard)
            if problem is None:
                progress.advance(size=sizes.get(path, 0))


def _shown(files: list[str], sizes: dict[str, int]) -> "Progress":
    """Progress by bytes; of a single recording by what was heard of it, where it is long."""
    from auricle.progress import Progress

    quiet = sys.stdout is not None and sys.stdout.isatty()  # results are progress enough
    if len(files) != 1:
        size = sum(max(size, 0) for size in sizes.values())
        return Progress(len(files), "tagging", quiet=quiet or not files, size=size)
    seconds = 0.0
    if files != [STDIN] and address_of(files[0]) is None and not quiet:
        from auricle.audio import probe

        with contextlib.suppress(Exception):  # what is wrong with it is said when it is tagged
            seconds = probe(files[0]).duration or 0.0
    return Progress(1, "tagging", quiet=seconds < LONG_SECONDS, size=int(seconds))


def _attempt(path: str, options: "TagOptions", progress: "Progress") -> dict[str, Any] | Exception:
    from auricle.tagging import follow_file

    before = 0.0

    def hear(seconds: float) -> None:
        nonlocal before
        progress.hear(seconds - before, of_size=True)
        before = seconds

    def warn(text: str) -> None:
        print_warning(naming(path, text))

    pieces = follow_file(path, options, warn, heard=hear)
    if options.windows:
        return {"path": path, "windows": pieces}
    try:
        *_, result = pieces
    except Exception as error:
        return error
    return result
