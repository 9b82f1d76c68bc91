"""Tags of many recordings as a job: into one table, or into a folder with a file for each recording.

A part of a table holds results as JSON Lines: the windows of a recording where they were asked for, each as
it was scored, then the recording's own line, or its error. Joined, they are what tagging one recording after
the other would have said.
"""

import contextlib
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

from auricle import remote
from auricle.artifact import load_artifact
from auricle.engine.done import look_at
from auricle.engine.folders import JOURNAL, Wanted, fill_folder
from auricle.engine.jobs import Engine, describe_files, describe_job
from auricle.engine.joined import write_joined
from auricle.engine.journals import result_file
from auricle.engine.names import result_names
from auricle.engine.spools import Result, read_part, windows_of, write_line
from auricle.engine.underway import listening, note_of, noting
from auricle.formats.results import noticing
from auricle.runners.lengths import at_window
from auricle.shards.layout import publish
from auricle.tagging import TagOptions, follow_file, hop_samples, load_tagger, window_of

__all__ = ["JOURNAL", "result_names", "spool_file", "tag_to_file", "tag_to_folder"]
T = TypeVar("T")


def tag_to_file(
    files: Sequence[str],
    out: str | Path,
    options: TagOptions,
    write: Callable[[Iterator[Result], TextIO], T],
    *,
    engine: Engine | None = None,
    explain: Callable[[Exception], str] = str,
    quiet: bool = False,
    task_bytes: int | None = None,
) -> T:
    """Tag recordings into one file, which appears when it is complete.

    Args:
        files: the recordings.
        out: the file, or its address.
        options: as for `tag_file`.
        write: is given all results in the order of `files`, {"path", "error"} of one that failed, and writes
            them.
        engine: where; by default in processes of this machine.
        explain: what is said of an error; picklable.
        quiet: show no progress.
        task_bytes: as in `split_by_bytes`.

    Returns:
        What `write` returns.

    Raises:
        ValueError: as `write_joined`; no such model.

    >>> from auricle.formats import write_csv
    >>> tag_to_file(["a.wav", "b.mp3"], "tags.csv", TagOptions(), write_csv)  # doctest: +SKIP
    """
    artifact, sizes = load_artifact(options.model), remote.sizes_of(files)
    # What is wrong with these is wrong with no recording.
    hop_samples(options.hop, at_window(artifact, window_of(options)))
    with result_file(out) as (target, away):

        def join(parts: Iterator[tuple[Path, dict[str, Any]]], temporary: Path) -> T:
            with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
                result = write((result for part, _ in parts for result in read_part(part)), stream)
            publish(temporary, target)
            if away:
                remote.put(target, away)
            return result

        return write_joined(
            target,
            files,
            sizes,
            partial(_write_part, options, explain),
            partial(_probe, options, explain),
            join,
            header=describe_job(artifact, options, describe_files(files, sizes)),
            engine=engine or Engine(),
            label="tagging",
            quiet=quiet,
            task_bytes=task_bytes,
            away=away,
        )


def tag_to_folder(
    files: Sequence[str],
    out: str | Path,
    options: TagOptions,
    write: Callable[[Iterable[Result], TextIO], object],
    *,
    suffix: str,
    engine: Engine | None = None,
    explain: Callable[[Exception], str] = str,
    quiet: bool = False,
    task_bytes: int | None = None,
    redo: bool = False,
    given: Sequence[str] = (),
) -> list[Result]:
    """Tag recordings into a folder: of each a file, which appears when that recording is done.

    It is called as the recording, by its path from the folder that all have in common, and `suffix`; see
    `result_names`. What failed is named in `failures.csv`. Recordings that have not changed since they were
    tagged into this folder with the same model, options and version are left out.

    Args:
        files: the recordings.
        out: the folder, or its address; it may hold other files.
        options: as for `tag_file`.
        write: picklable; writes a list of one result.
        suffix: of the files, say ".csv".
        engine: as in `tag_to_file`, and so are explain, quiet and task_bytes.
        explain: see above.
        quiet: see above.
        task_bytes: see above.
        redo: leave nothing out, and replace what is there of other recordings.
        given: the folders and globs that the recordings were found by; see `result_names`.

    Returns:
        In the order of `files`: {"path", "warnings"}, with "silent": true where no label was named, or
        {"path", "error", "warnings"} of what failed.

    Raises:
        ValueError: as `tag_to_file`; two recordings would have one name.

    >>> results = tag_to_folder(["a.wav"], "tags", TagOptions(), write_csv, suffix=".csv")  # doctest: +SKIP
    """
    away = remote.address_of(out)
    if away is None and Path(out).exists() and not Path(out).is_dir():
        raise ValueError(f"{out}: is a file; give a folder")
    names, artifact = result_names(files, suffix, given), load_artifact(options.model)
    # What is wrong with these is wrong with no recording.
    hop_samples(options.hop, at_window(artifact, window_of(options)))
    with contextlib.ExitStack() as stack:
        folder = Path(out)
        if away is not None:
            temporary = tempfile.TemporaryDirectory(prefix="auricle-", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(temporary))
        wanted = Wanted(
            folder=folder,
            away=away or "",
            files=files,
            names=names,
            seen=look_at(files),
            description=describe_job(artifact, options, "") | {"suffix": suffix},
            write=partial(_write_files, options, explain, write),
            probe=partial(_probe, options, explain),
            label="tagging",
            redo=redo,
            quiet=quiet,
            task_bytes=task_bytes,
        )
        return fill_folder(wanted, engine or Engine(), after_a_kill=Engine(jobs=1))


def _heard(
    path: str,
    options: TagOptions,
    explain: Callable[[Exception], str],
    killed: str | None = None,
    warned: list[str] | None = None,
) -> Iterator[Result]:
    """What `follow_file` gives; last of all the recording's own line, or its error.

    Warnings are put into `warned`, or, where there is none, into that line.
    """
    kept: list[str] = [] if warned is None else warned
    try:
        if killed is not None:
            raise ValueError(f"{path}: {killed}")
        noted = listening(path, start=options.start, end=options.end, raw=options.raw)
        for piece in follow_file(path, options, kept.append, **noted):
            yield piece | _warnings(kept, warned) if "path" in piece else piece
    except Exception as error:
        yield {"path": path, "error": explain(error)} | _warnings(kept, warned)


def _warnings(kept: list[str], warned: list[str] | None) -> dict[str, list[str]]:
    return {"warnings": kept} if kept and warned is None else {}


def _write_part(
    options: TagOptions,
    explain: Callable[[Exception], str],
    paths: Sequence[Path],
    items: Sequence[str],
    given_up: Mapping[int, str],
) -> dict[str, Any]:
    load_tagger(options)  # what is wrong with the model is wrong with no recording
    seconds = 0.0
    with paths[0].open("wb") as part:
        for position, item in enumerate(items):
            begin = part.tell()
            if options.windows:
                write_line(part, {"begin": item})
            for piece in _heard(item, options, explain, given_up.get(position)):
                if "error" in piece:  # its windows until there are dropped, as from a file that failed
                    part.seek(begin)
                    part.truncate()
                seconds += piece.get("duration", 0.0)
                write_line(part, piece)
    return {"seconds": seconds}


def _probe(options: TagOptions, explain: Callable[[Exception], str], item: str) -> None:
    for _ in _heard(item, options, explain):
        pass


def spool_file(path: str, options: TagOptions, folder: str, notes: str = "") -> Result:
    """`tag_file`, for another process: windows wait in a file of `folder`, see `unspooled`.

    `notes` as in `noting`, under the key `note_of(path)`.

    Raises:
        AudioError, ValueError: as `Tagger`.

    >>> spool_file("day.flac", TagOptions(windows=True), "spools")  # doctest: +SKIP
    """
    warned: list[str] = []
    with noting(notes, note_of(path)):
        noted = listening(path, start=options.start, end=options.end, raw=options.raw)
        pieces = follow_file(path, options, warned.append, **noted)
        if not options.windows:
            *_, piece = pieces
            return piece | _warnings(warned, None)
        spool = Path(folder, uuid.uuid4().hex)
        with spool.open("wb") as stream:
            for piece in pieces:
                write_line(stream, piece)
    return piece | {"spooled": str(spool)} | _warnings(warned, None)


def _write_files(
    options: TagOptions,
    explain: Callable[[Exception], str],
    write: Callable[[Iterable[Result], TextIO], object],
    paths: Sequence[Path],
    items: Sequence[str],
    given_up: Mapping[int, str],
) -> dict[str, Any]:
    load_tagger(options)
    told, seconds = [], 0.0
    for position, (path, item) in enumerate(zip(paths, items, strict=True)):
        warned: list[str] = []
        named: list[bool] = []
        pieces = noticing(_heard(item, options, explain, given_up.get(position), warned), named)
        result: Result = {"path": item}
        if options.windows:
            result["windows"] = windows_of(pieces, result)
        else:
            result.update(next(pieces))
        if "error" not in result:
            with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
                write([result], stream)
        told.append({"path": item, "warnings": warned, "duration": result.get("duration", 0.0)})
        if not named:
            told[-1]["silent"] = True
        seconds += told[-1]["duration"]
        if "error" in result:  # also where that was met after the first windows
            path.unlink(missing_ok=True)
            told[-1]["error"] = result["error"]
    left_out = [position for position, one in enumerate(told) if "error" in one]
    return {"told": told, "seconds": seconds, "left_out": left_out}
