"""The verb that reads events of any file, corrected by somebody, and writes them as another: convert."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from auricle.cli.output import opened, print_error, print_warning
from auricle.cli.recordings import is_folder
from auricle.cli.results import STDIN
from auricle.cli.search import shown
from auricle.text import as_utf8, counted, in_quotes

if TYPE_CHECKING:
    from auricle.formats.reading import Annotated as Events
    from auricle.formats.reading import TimedEvent

LATE_SECONDS = 0.1  # after a recording's end; by less, the ends that programs write differ


class EventFormat(StrEnum):
    """What events are written as; see `auricle.formats`. A manifest is for pack and train."""

    csv = "csv"
    jsonl = "jsonl"
    audacity = "audacity"
    raven = "raven"
    webvtt = "webvtt"
    jams = "jams"
    manifest = "manifest"


def convert(
    events: Annotated[
        list[Path],
        typer.Argument(
            help="Files of events, or folders of such files: tables, Audacity's label tracks, Raven's "
            "selection tables, JAMS, JSON Lines.",
            metavar="EVENTS...",
        ),
    ],
    recordings: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="The folder of the recordings, which the files name or are named after."
        ),
    ] = None,
    format: Annotated[EventFormat, typer.Option(help="What is written.")] = EventFormat.csv,
    out: Annotated[
        str,
        typer.Option(metavar="FILE|DIR/", help="A file, or a folder with a file each; -: standard output."),
    ] = STDIN,
    every: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            metavar="S",
            help="manifest: cut recordings into S seconds each, with what is heard there or nothing.",
        ),
    ] = None,
) -> None:
    """Write events that people have reviewed for other programs.

    A column `answer` is obeyed: n leaves a row out, other labels take the place of its own. A manifest has
    the stretches of the events, and in each all that is heard there; `auricle pack` and `auricle train
    --examples` read it. A row that makes no sense and a file that cannot be read are named, the others are
    written, and the exit status is 1.
    """
    from auricle import formats
    from auricle.formats.annotated import same_in_words
    from auricle.formats.reading import read_events

    if every is not None and format is not EventFormat.manifest:
        raise typer.BadParameter("goes with --format manifest; leave it out", param_hint="--every")
    if format is EventFormat.manifest and is_folder(out):
        raise typer.BadParameter("a manifest is one file of all recordings: name a file", param_hint="--out")
    if any(Path(out).resolve() == path.resolve() for path in events):
        raise typer.BadParameter(f"{out} is what is read; name another file", param_hint="--out")
    found = read_events(events, lenient=True, without=out)  # which an earlier run may have put there
    for said in found.left_out:
        print_warning(said)
    of_recording, same = _by_recording(found, _places(found, events, recordings, format))
    if same:
        print_warning(same_in_words(same))
    for problem in found.problems or ():
        print_error(problem)
    if found.problems and not of_recording:
        raise typer.Exit(1)
    _warn_of_late_ends(of_recording)
    if len(of_recording) > 1 and format.value in formats.ONE_RECORDING and not is_folder(out):
        raise typer.BadParameter(
            f"{format.value} holds one recording in a file, and here are {len(of_recording)}; give a folder, "
            "--out DIR/",
            param_hint="--out",
        )
    if format is EventFormat.manifest:
        _write_manifest(of_recording, out, every)
    else:
        _write(of_recording, out, format, recordings, events)
    if out != STDIN:
        count = sum(len(own) for own in of_recording.values())
        print(f"{out}: {counted(count, 'event')} in {counted(len(of_recording), 'recording')}")
    if found.problems:
        raise typer.Exit(1)


def _places(
    found: "Events", events: Sequence[Path], recordings: str | None, format: EventFormat
) -> dict[str, str]:
    """Name of a recording -> its path, or the name itself where nobody needs to know more.

    A recording that is not where it is looked for has none, and is noted with its row.
    """
    from auricle.formats.matching import alike, find_named, match_recordings
    from auricle.media_files import find_media

    if recordings is not None:
        files = []
        for name, problem in find_media([recordings]):
            if problem is not None:
                raise ValueError(problem)
            files.append(name)
        problems: dict[str, str] = {}
        matched = match_recordings(found.recordings, files, [recordings], problems)
        if len(matched) < len(found.recordings):
            called = _by_results(files, recordings)
            matched |= {
                name: called[name] for name in found.recordings if name not in matched and name in called
            }
        for name, where in found.recordings.items():
            if name not in matched:
                expected = "expected its path from there, or the end of it"
                missing = f"{where}: no recording {name!r} in {recordings}; {expected}"
                found.refuse(problems.get(name, missing))
        return matched
    folders = [Path(), *(path if path.is_dir() else path.parent for path in events)]
    places: dict[str, str] = {}
    longest = alike(found)
    for name, where in found.recordings.items():
        tried = ((folder, each) for each in dict.fromkeys((longest[name], name)) for folder in folders)
        there = next((place for folder, each in tried if (place := find_named(each, folder))), None)
        if there is None and format in (
            EventFormat.jsonl,
            EventFormat.raven,
            EventFormat.jams,
            EventFormat.manifest,
        ):
            found.refuse(
                f"{where}: no recording {name!r}, here or in the table's folder, and {format.value} needs "
                "it; say with --recordings where they are"
            )
            continue
        places[name] = str(there or longest[name])
    return places


def _by_results(files: Sequence[str], recordings: str) -> dict[str, str]:
    """What the result of a recording is called, without its suffix -> the recording."""
    from auricle.engine.names import portable
    from auricle.formats import SUFFIXES
    from auricle.formats.reading import ADDED

    called = {}
    for file in files:
        name = _name_in_folder(file, recordings)
        for suffix in SUFFIXES.values():
            called[ADDED.sub("", portable(name + suffix))] = file
    return called


def _by_recording(found: "Events", places: dict[str, str]) -> "tuple[dict[str, list[TimedEvent]], int]":
    """Path of each recording -> its events by time, also of those without; how many were there before."""
    own: dict[str, list[TimedEvent]] = {path: [] for path in places.values()}
    kept, same = found.once(places)
    for path, event in kept:
        own[path].append(event)
    return {path: sorted(events, key=lambda event: event[1:4]) for path, events in own.items()}, same


def _warn_of_late_ends(of_recording: "dict[str, list[TimedEvent]]") -> None:
    """Say which event ends first of those that end after their recording, where recordings are there.

    They stay as they are: the length in a header may be an estimate.
    """
    from auricle.audio import AudioError, probe

    late: list[str] = []
    for path, events in of_recording.items():
        length = None
        if events and Path(path).is_file():
            with contextlib.suppress(AudioError, OSError):  # whoever reads it is told
                length = probe(path).duration
        if length is not None:
            ends = f"s, and its recording at {length:.3f} s by its header"
            late += [f"{e.where}: ends at {e.end:g} {ends}" for e in events if e.end > length + LATE_SECONDS]
    if late:
        more = f" ({counted(len(late), 'such event')} in all)" if len(late) > 1 else ""
        print_warning(f"{late[0]}; written as it is{more}")


def _result(path: str, events: "list[TimedEvent]", format: EventFormat) -> tuple[dict[str, Any], int | None]:
    """What a writer takes, and the recording's rate where it is asked for."""
    from auricle.audio import probe

    rate, duration = None, max((event.end for event in events), default=0.0)
    if format in (EventFormat.jsonl, EventFormat.raven, EventFormat.jams):
        about = probe(path)
        rate, duration = about.rate, duration if about.duration is None else about.duration
    rows = [
        {"start": e.start, "end": e.end, "label": e.label, "score": 1.0 if e.score is None else e.score}
        for e in events
    ]
    return {"path": shown(path), "duration": duration, "tags": [], "events": rows}, rate


def _write(
    of_recording: "dict[str, list[TimedEvent]]",
    out: str,
    format: EventFormat,
    recordings: str | None,
    read: Sequence[Path],
) -> None:
    from auricle import formats

    if not is_folder(out):
        results = [_result(path, events, format) for path, events in of_recording.items()]
        with opened(out) as stream:
            # Without a recording there is nothing that a rate would count for.
            _write_results([result for result, _ in results], stream, format, results[0][1] if results else 1)
        return
    suffix = formats.SUFFIXES[format.value]
    targets = {path: Path(out) / as_utf8(_name_in_folder(path, recordings) + suffix) for path in of_recording}
    _keep_what_is_read(targets.values(), read, Path(out).resolve())
    for path, events in of_recording.items():
        result, rate = _result(path, events, format)
        target = targets[path]
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened(str(target)) as stream:
            _write_results([result], stream, format, rate)


def _keep_what_is_read(targets: Iterable[Path], read: Sequence[Path], out: Path) -> None:
    """Refuse to write over what is read; a folder in such a folder is not: an earlier run wrote it."""
    sources = [path.resolve() for path in read]
    for target in filter(Path.exists, targets):
        whole = target.resolve()
        for source in sources:
            if whole == source or (source in whole.parents and source not in out.parents):
                raise typer.BadParameter(
                    f"{target} would be written over what is read; name another folder", param_hint="--out"
                )


def _write_results(
    results: list[dict[str, Any]], stream: TextIO, format: EventFormat, rate: int | None
) -> None:
    from auricle import formats

    if format is EventFormat.csv:
        formats.write_csv(results, stream, silent=True)  # a truth has its recordings without an event, too
    else:
        formats.write(format.value, results, stream, formats.About(rate=rate))


def _name_in_folder(path: str, recordings: str | None) -> str:
    """A recording's path below the folder of recordings, or as it is where that stays in a folder.

    >>> _name_in_folder("rec/monday/a.wav", "rec"), _name_in_folder("../a.wav", None)
    ('monday/a.wav', 'a.wav')
    """
    base = "." if recordings is None or Path(recordings).is_file() else recordings
    name = os.path.relpath(path, base)
    return os.path.basename(path) if name.startswith("..") else Path(name).as_posix()  # noqa: PTH119


def _write_manifest(of_recording: "dict[str, list[TimedEvent]]", out: str, every: float | None) -> None:
    from auricle.audio import probe
    from auricle.datasets.annotated_events import Stretch, stretches_of, write_manifest

    folder = os.path.abspath("." if out == STDIN else Path(out).parent)  # noqa: PTH100  links stay

    def rows() -> Iterator[tuple[str, Stretch]]:
        for path, events in of_recording.items():
            whole = os.path.abspath(path)  # noqa: PTH100
            below = whole.startswith(os.path.join(folder, ""))  # noqa: PTH118
            name = Path(whole).relative_to(folder).as_posix() if below else whole
            duration = probe(path).duration if every is not None else None
            for stretch in stretches_of(events, every, duration):
                yield in_quotes(name), stretch

    with opened(out) as stream:
        write_manifest(rows(), stream)
