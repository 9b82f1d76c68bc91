"""Verbs over recordings: tag."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle import formats
from auricle.cli.destinations import (
    check_format,
    engine_for,
    given_of,
    is_folder,
    is_job,
    refuse_overwriting,
    shared_cores,
)
from auricle.cli.options import (
    Address,
    End,
    EngineName,
    EngineOption,
    Quiet,
    Raw,
    Start,
    Window,
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

LONG_SECONDS = 600.0  # a single recording of so much shows how far it is
LARGE_BYTES = 8_000_000  # and of several, one of so much
Outcomes = Generator[dict[str, Any] | Exception, None, None]  # what is said of each recording, or its error


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
    window: Window = None,
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
    _refuse_together(live, out, engine, jobs, redo, failures)
    from auricle.artifact import load_artifact
    from auricle.media_files import find_media
    from auricle.pooling import pooling_of
    from auricle.probabilities import alarms_at, of_events, of_window, of_windows, unnamed
    from auricle.runners.lengths import with_window
    from auricle.tagging import BATCH_ON_GPU, TagOptions, hop_samples
    from auricle.thresholds import of_short_clips

    place: dict[str, Any] = {"start": start, "end": end, "raw": None if raw is None else raw_format(raw)}
    found: list[tuple[str, str | None]] = [(path, None) for path in paths] if live else find_media(paths)
    loaded = load_artifact(model)  # a wrong model is one error, and comes before --out is touched
    if device != "cpu" and loaded.backend == "onnx":  # once, and not of each recording
        raise typer.BadParameter(
            f"{device!r}; an ONNX model runs on the CPU here: leave --device out", param_hint="--device"
        )
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
        window = config.window if window is None else window
    else:
        windows = windows or live or format.value in formats.TIMED  # these say when
    hop_samples(hop, with_window(loaded, window, device=device))
    job = not live and is_job(out, files, engine)
    if engine is EngineName.ray:
        threads = threads or 1
    else:
        jobs, threads = _shared_cores(jobs, threads, files)
    wishes: dict[str, Any] = {"top": top, "threshold": threshold, "windows": windows}
    wishes |= {"consistent": consistent, "events": config}
    wishes["scores"] = format is TagFormat.parquet
    about = formats.About.of(loaded, start)
    if device != "cpu":
        wishes |= {"device": device, "batch": BATCH_ON_GPU}
    options = TagOptions(model=model, threads=threads, hop=hop, window=window, **wishes, **place)
    if live:
        from auricle.cli.live import listen

        return listen(paths, options, loaded, format, out, quiet)
    said = of_events(loaded, config, hop) if config is not None else ""
    if windows and format is not TagFormat.parquet:
        said = of_windows(loaded, hop)
    elif config is None and pooling_of(loaded) == "max":  # of which one window is enough
        said = alarms_at(loaded, hop)
    shown = 0.0 if format is TagFormat.parquet else threshold  # which has all scores
    foreign = of_window(loaded, window, threshold=shown, config=config)
    if said := foreign or (said if threshold is None else ""):
        print_warning(said)
    remark = None if windows or config else partial(of_short_clips, loaded, threshold=threshold)
    told = format is TagFormat.table and config is None  # by the table itself
    nothing = "" if told or format is TagFormat.parquet else unnamed(loaded, config, threshold)
    if job:
        chosen = engine_for(engine, address, jobs, len(files))
        return _tag_job(found, paths, out, options, format, about, chosen, redo, failures, remark, nothing)
    assert jobs is not None
    results = Told(_results(found, options, jobs), failures, remark, nothing)
    nowhere = out != STDIN and not files  # what is there stays where nothing was found
    with opened(os.devnull if nowhere else out) as stream:
        write_results(results, stream, format, about)
    results.finish()


def _refuse_together(
    live: bool, out: str, engine: EngineName, jobs: int | None, redo: bool, failures: Path | None
) -> None:
    """Refuse options that do not go together."""
    if live and (engine is EngineName.ray or jobs is not None or is_folder(out) or address_of(out)):
        raise typer.BadParameter("hears one source, here, into one file", param_hint="--live")
    if live and failures is not None:
        raise typer.BadParameter(
            "is for recordings that are there; leave out --live", param_hint="--failures"
        )
    if failures is not None and (failures.is_dir() or not failures.parent.is_dir()):
        wrong = (
            "is a folder; name a file"
            if failures.is_dir()
            else f"the folder {failures.parent} does not exist; create it"
        )
        raise typer.BadParameter(f"{failures}: {wrong}", param_hint="--failures")
    if redo and not is_folder(out):
        raise typer.BadParameter("is for results in a folder: --out DIR/", param_hint="--redo")


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
    remark: Callable[[float], str] | None,
    nothing: str,
) -> None:
    from auricle.engine.tagging import tag_to_file, tag_to_folder

    files = [path for path, problem in found if problem is None]
    chosen: dict[str, Any] = {"engine": engine, "explain": describe}
    chosen["quiet"] = not files or (len(files) == 1 and not _is_long(files[0], options.raw))
    told: list[Told] = []

    def all_of(results: Iterator[dict[str, Any]]) -> Told:
        told.append(Told(_merged(found, results), failures, remark, nothing))
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


def _shared_cores(jobs: int | None, threads: int | None, files: list[str]) -> tuple[int, int | None]:
    return shared_cores(1 if STDIN in files else jobs, threads, len(files))  # no other process has it


def _results(
    found: list[tuple[str, str | None]], options: "TagOptions", jobs: int
) -> Iterator[dict[str, Any]]:
    """What is said of each input, in the order of the inputs: tags, or {"path", "error"}.

    The windows of a file are an iterator, to be used up before the next file.
    """
    files = [path for path, problem in found if problem is None]
    listen = _here if jobs == 1 else partial(_in_processes, jobs=jobs)
    outcomes = listen(files, options, _sizes_of(files))
    with contextlib.closing(outcomes):
        for path, problem in found:
            outcome = problem if problem is not None else next(outcomes)
            if isinstance(outcome, Exception):
                outcome = describe(outcome)
            yield {"path": path, "error": outcome} if isinstance(outcome, str) else outcome
        next(outcomes, None)  # the last is counted, too


def _sizes_of(files: list[str]) -> dict[str, int]:
    """Bytes of each; of one recording elsewhere nobody asks."""
    from auricle.remote import sizes_of

    if len(files) == 1 and address_of(files[0]) is not None:
        return {}
    return dict(zip(files, sizes_of(files), strict=True))


def _here(files: list[str], options: "TagOptions", sizes: dict[str, int]) -> Outcomes:
    """One recording after the other, in this process."""
    with _shown(files, options, sizes) as progress:
        for path in files:
            heard = _hearing(path, options, progress, sizes)
            pieces = _follow(path, options, heard)
            outcome: Any = {"path": path, "windows": pieces}
            if not options.windows:
                try:
                    *_, outcome = pieces
                except Exception as error:
                    outcome = error
                if len(files) == 1:  # a bar must not stand on a terminal beside what is printed now
                    _count(progress, sizes.get(path, 0))
                    progress.end()
                    yield outcome
                    return
            yield outcome
            _count(progress, sizes.get(path, 0))


def _count(progress: "Progress", size: int) -> None:
    """Count a recording as done that was under way."""
    seconds = progress.under_way[1]
    progress.under_way = 0.0, 0.0
    progress.advance(size=size, seconds=seconds)


def _hearing(
    path: str, options: "TagOptions", progress: "Progress", sizes: dict[str, int]
) -> Callable[[float], None]:
    """Shows how much of a recording was heard; how far that is, only of a large one, whose header is read."""
    from auricle.listening import part_heard

    size = max(sizes.get(path, 0), 0)
    large = len(sizes) == 1 or size >= LARGE_BYTES
    part = part_heard(path, start=options.start, end=options.end, raw=options.raw)

    def hear(seconds: float) -> None:
        progress.under_way = size * part(seconds) if large else 0.0, seconds
        progress.hear(0.0)

    return hear


def _in_processes(files: list[str], options: "TagOptions", sizes: dict[str, int], *, jobs: int) -> Outcomes:
    """Several recordings at a time, each in a process; results in their order."""
    from auricle.engine import run_files
    from auricle.engine.spools import unspooled
    from auricle.engine.tagging import spool_file
    from auricle.engine.underway import note_of, watched

    with (
        tempfile.TemporaryDirectory(prefix="auricle-", ignore_cleanup_errors=True) as folder,
        _shown(files, options, sizes) as progress,
        watched(progress) as watch,
    ):
        spool = partial(spool_file, options=options, folder=folder, notes=watch.folder)
        results = run_files(spool, files, jobs=jobs, ordered=True)
        for path, (_, outcome) in zip(files, results, strict=True):
            seconds = 0.0 if isinstance(outcome, Exception) else outcome["duration"]
            yield outcome if isinstance(outcome, Exception) else unspooled(outcome)
            with watch.finished(note_of(path)):
                progress.advance(size=sizes.get(path, 0), seconds=seconds)


def _shown(files: list[str], options: "TagOptions", sizes: dict[str, int]) -> "Progress":
    """Progress by bytes; of a single recording where it is long, else it is done before one could look."""
    from auricle.progress import Progress

    size = sum(max(size, 0) for size in sizes.values())
    if len(files) == 1 and not options.windows:  # all that is said of it comes at its end
        return Progress(1, "tagging", quiet=not _is_long(files[0], options.raw), size=size)
    quiet = sys.stdout is not None and sys.stdout.isatty()  # results are progress enough
    quiet = quiet or not files or (len(files) == 1 and not _is_long(files[0], options.raw))
    return Progress(len(files), "tagging", quiet=quiet, size=size)


def _is_long(path: str, raw: Any = None) -> bool:
    """Whether a recording is so long that it is worth while to show how far it is."""
    if path == STDIN or address_of(path) is not None:
        return False
    from auricle.audio import probe

    with contextlib.suppress(Exception):  # what is wrong with it is said when it is tagged
        return (probe(path, raw=raw).duration or 0.0) >= LONG_SECONDS
    return False


def _follow(path: str, options: "TagOptions", heard: Callable[[float], object]) -> Iterator[dict[str, Any]]:
    from auricle.tagging import follow_file

    return follow_file(path, options, lambda text: print_warning(naming(path, text)), heard=heard)
