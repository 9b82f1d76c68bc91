"""Tags of many recordings as a job: into one table, or into a folder with a file for each recording.

A part of a table holds results as JSON Lines: the windows of a recording where they were asked for, each as
it was scored, then the recording's own line, or its error. Joined, they are what tagging one recording after
the other would have said.
"""

import json
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeVar

from auricle import remote
from auricle.artifact import load_artifact
from auricle.disk import full_disk_told
from auricle.engine.done import (
    Before,
    Made,
    Seen,
    finished,
    is_unchanged,
    look_at,
    mark_of,
    take_up,
    write_record,
    write_seen,
)
from auricle.engine.jobs import (
    HEADER,
    Engine,
    Job,
    Task,
    describe_files,
    describe_job,
    open_journal,
    read_entry,
    remove_journal,
    remove_leftovers,
    show_job,
    split_by_bytes,
)
from auricle.engine.joined import write_joined
from auricle.engine.journals import held, put_header, result_file
from auricle.engine.names import result_names
from auricle.formats import packed
from auricle.progress import say
from auricle.shards.layout import TEMPORARY, locked, publish
from auricle.tagging import TagOptions, follow_file, hop_samples, load_tagger, tag_file
from auricle.text import as_utf8, counted

JOURNAL = ".auricle-journal"  # in a folder of results, until it is complete
FAILURES = "failures.csv"
Result = dict[str, Any]
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
    hop_samples(options.hop, artifact)  # what is wrong with it is wrong with no recording
    with result_file(out) as (target, away):

        def join(parts: Iterator[tuple[Path, dict[str, Any]]], temporary: Path) -> T:
            with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
                result = write((result for part, _ in parts for result in _read_part(part)), stream)
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
        In the order of `files`: {"path", "warnings"}, or {"path", "error", "warnings"} of what failed.

    Raises:
        ValueError: as `tag_to_file`; two recordings would have one name.

    >>> results = tag_to_folder(["a.wav"], "tags", TagOptions(), write_csv, suffix=".csv")  # doctest: +SKIP
    """
    engine, away = engine or Engine(), remote.address_of(out)
    if away is not None:
        with tempfile.TemporaryDirectory(prefix="auricle-", ignore_cleanup_errors=True) as temporary:
            place = Path(temporary), away
            return _tag_into(
                place, files, options, explain, write, suffix, engine, quiet, task_bytes, redo, given
            )
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{out}: is a file; give a folder")
    return _tag_into(
        (folder, ""), files, options, explain, write, suffix, engine, quiet, task_bytes, redo, given
    )


def _tag_into(
    place: tuple[Path, str],
    files: Sequence[str],
    options: TagOptions,
    explain: Callable[[Exception], str],
    write: Callable[[Iterable[Result], TextIO], object],
    suffix: str,
    engine: Engine,
    quiet: bool,
    task_bytes: int | None,
    redo: bool,
    given: Sequence[str],
) -> list[Result]:
    """`tag_to_folder` into a folder, or, through it, to an address."""
    folder, away = place
    names, seen = result_names(files, suffix, given), look_at(files)
    artifact = load_artifact(options.model)
    hop_samples(options.hop, artifact)  # what is wrong with it is wrong with no recording
    description = describe_job(artifact, options, "") | {"suffix": suffix}
    mark = mark_of(description)
    journal, journal_away = folder / JOURNAL, remote.join(away, JOURNAL) if away else ""
    with full_disk_told(folder, "make room and give the same command again, which goes on where it was"):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder), held(away) as check:
            before = take_up(folder, away, JOURNAL)
            made = dict(before.made)
            if not redo:
                _refuse_others(folder, before, names, seen)
            if before.killed:  # what it had done stays done, whatever this run is asked for
                write_record(folder, away, made)
                _drop_journal(journal, journal_away)
                engine = Engine(jobs=1) if engine.kind == "here" else engine
            remove_leftovers(folder, *{(folder / name).parent for name in names})
            todo = [
                number
                for number, name in enumerate(names)
                if redo or not is_unchanged(folder, before, name, seen[number], mark)
            ]
            job = Job(
                folder=folder,
                tasks=_tasks_of(files, names, seen, todo, task_bytes),
                write=partial(_write_files, options, explain, write),
                probe=partial(_probe, options, explain),
                away=away,
            )
            skipped = len(files) - len(todo)
            if skipped and not quiet:
                whole = counted(len(files), "recording")
                say(f"{skipped:,} of {whole} have not changed since an earlier run: skipped")
            journal.mkdir(parents=True, exist_ok=True)
            write_seen(journal, journal_away, {names[number]: seen[number] for number in todo})
            open_journal(journal, description | {"mark": mark, "tasks": len(job.tasks)}, lambda found: None)
            put_header(journal, journal_away, HEADER)
            show_job(job, engine, "tagging", "files", quiet, check, skipped)
            results: list[Result] = [
                {"path": file, "warnings": before.warnings.get(name, [])}
                for file, name in zip(files, names, strict=True)
            ]
            told: list[Result] = []
            by_name = {names[number]: seen[number] for number in todo}
            for task in job.tasks:
                entry = _entered(job, task)
                told += entry["told"]
                made |= {name: Made(by_name[name], mark, size) for name, size, _ in finished(entry)}
            for number, result in zip(todo, told, strict=True):
                results[number] = result
                if "error" in result:
                    name = names[number]
                    earlier = before.made.get(name)
                    if earlier is not None and earlier.of == seen[number]:  # with other options, say
                        made[name] = earlier
                    else:
                        made.pop(name, None)
                        _forget_result(folder, away, name)
            _write_failures(folder / FAILURES, results, journal / f"failures{TEMPORARY}")
            write_record(folder, away, made)
            if away:
                failed, there = folder / FAILURES, remote.join(away, FAILURES)
                remote.put(failed, there) if failed.exists() else remote.remove([there])
            _drop_journal(journal, journal_away)
    return results


def _tasks_of(
    files: Sequence[str],
    names: Sequence[str],
    seen: Sequence[Seen],
    todo: Sequence[int],
    task_bytes: int | None,
) -> list[Task]:
    """What is to be done, cut into tasks."""
    parts = split_by_bytes([seen[number].size for number in todo], task_bytes)
    tasks = []
    for position, part in enumerate(parts):
        numbers = [todo[index] for index in part]
        sizes = [seen[number].size for number in numbers]
        results = tuple(names[number] for number in numbers)
        entry = f"{JOURNAL}/{position:05d}.json"
        tasks.append(Task([files[number] for number in numbers], sum(sizes), results, entry, sizes))
    return tasks


def _refuse_others(folder: Path, before: Before, names: Sequence[str], seen: Sequence[Seen]) -> None:
    """Refuse to replace results of other recordings, which had the same name in another folder."""
    for name, now in zip(names, seen, strict=True):
        earlier = before.made.get(name)
        if earlier is not None and earlier.of.path != now.path:
            raise ValueError(
                f"{folder / name} holds what was heard in {earlier.of.path}, and {now.path} would replace "
                "it; tag these into another folder, or give --redo where they are the same, moved"
            )


def _forget_result(folder: Path, away: str, name: str) -> None:
    """Of a recording that has failed now: an earlier run may have tagged it."""
    (folder / name).unlink(missing_ok=True)
    if away:
        remote.remove([remote.join(away, name)])


def _drop_journal(journal: Path, away: str) -> None:
    if away:
        remote.remove_folder(away)
    if journal.exists():
        remove_journal(journal)


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
        for piece in follow_file(path, options, kept.append):
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
                _write_line(part, {"begin": item})
            for piece in _heard(item, options, explain, given_up.get(position)):
                if "error" in piece:  # its windows until there are dropped, as from a file that failed
                    part.seek(begin)
                    part.truncate()
                seconds += piece.get("duration", 0.0)
                _write_line(part, piece)
    return {"seconds": seconds}


def _write_line(part: BinaryIO, piece: Result) -> None:
    part.write(json.dumps(piece, allow_nan=False, default=packed).encode("ascii") + b"\n")


def _probe(options: TagOptions, explain: Callable[[Exception], str], item: str) -> None:
    for _ in _heard(item, options, explain):
        pass


def spool_file(path: str, options: TagOptions, folder: str) -> Result:
    """`tag_file`, for another process: windows wait in a file of `folder`, see `unspooled`.

    Raises:
        AudioError, ValueError: as `Tagger`.

    >>> spool_file("day.flac", TagOptions(windows=True), "spools")  # doctest: +SKIP
    """
    if not options.windows:
        return tag_file(path, options)
    warned: list[str] = []
    spool = Path(folder, uuid.uuid4().hex)
    with spool.open("wb") as stream:
        for piece in follow_file(path, options, warned.append):
            _write_line(stream, piece)
    return piece | {"spooled": str(spool)} | _warnings(warned, None)


def unspooled(result: Result) -> Result:
    """A result whose windows are read from where `spool_file` put them, as they are asked for.

    >>> unspooled({"path": "a.wav", "duration": 2.0, "tags": []})
    {'path': 'a.wav', 'duration': 2.0, 'tags': []}
    """
    if "spooled" in result:
        result["windows"] = _spooled(Path(result.pop("spooled")), result)
    return result


def _spooled(path: Path, result: Result) -> Iterator[Result]:
    with path.open("rb") as lines:
        yield from _windows_of(map(json.loads, lines), result)
    path.unlink()


def _read_part(part: Path) -> Iterator[Result]:
    """The results of a part, one recording after the other; their windows are read as they are asked for."""
    with part.open("rb") as lines:
        for line in lines:
            piece = json.loads(line)
            if "begin" not in piece:
                yield piece
                continue
            result: Result = {"path": piece["begin"]}
            windows = _windows_of(map(json.loads, lines), result)
            result["windows"] = windows
            yield result
            for _ in windows:  # what nobody asked for
                pass


def _windows_of(pieces: Iterator[Result], result: Result) -> Iterator[Result]:
    """The windows of a recording; what is said of it as a whole, which comes last, is put into `result`."""
    for piece in pieces:
        if "path" in piece:
            result.update(piece)
            return
        yield piece


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
        pieces = _heard(item, options, explain, given_up.get(position), warned)
        result: Result = {"path": item}
        if options.windows:
            result["windows"] = _windows_of(pieces, result)
        else:
            result.update(next(pieces))
        if "error" not in result:
            with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
                write([result], stream)
        told.append({"path": item, "warnings": warned})
        seconds += result.get("duration", 0.0)
        if "error" in result:  # also where that was met after the first windows
            path.unlink(missing_ok=True)
            told[-1]["error"] = result["error"]
    left_out = [position for position, one in enumerate(told) if "error" in one]
    return {"told": told, "seconds": seconds, "left_out": left_out}


def _entered(job: Job, task: Task) -> dict[str, Any]:
    entry = read_entry(job, task)
    if entry is None:
        raise ValueError(f"{job.folder / task.entry}: lost while tagging; give the same command again")
    return entry


def _write_failures(path: Path, results: Sequence[Result], temporary: Path) -> None:
    """The list of what failed; none is left of an earlier run where nothing did."""
    import csv

    failed = [result for result in results if "error" in result]
    if not failed:
        path.unlink(missing_ok=True)
        return
    with temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", "error"])
        writer.writerows([as_utf8(result["path"]), as_utf8(result["error"])] for result in failed)
    publish(temporary, path)
