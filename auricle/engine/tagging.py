"""Tags of many recordings as a job: into one table, or into a folder with a file for each recording.

A part of a table holds results as JSON Lines: the windows of a recording where they were asked for, each as
it was scored, then the recording's own line, or its error. Joined, they are what tagging one recording after
the other would have said.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

from auricle import remote
from auricle.artifact import load_artifact
from auricle.disk import full_disk_told
from auricle.engine.jobs import (
    HEADER,
    Engine,
    Job,
    Task,
    describe_files,
    describe_job,
    open_journal,
    read_entry,
    refuse_other,
    remove_journal,
    remove_leftovers,
    show_job,
    split_by_bytes,
    write_joined,
)
from auricle.engine.journals import held, put_header, result_file, take_entries, take_header
from auricle.formats import packed
from auricle.shards.layout import TEMPORARY, locked, publish
from auricle.tagging import TagOptions, follow_file, load_tagger
from auricle.text import as_utf8

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
    sizes = remote.sizes_of(files)
    with result_file(out) as (target, away):

        def join(parts: Iterator[tuple[Path, dict[str, Any]]], temporary: Path) -> T:
            with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
                result = write((result for part, _ in parts for result in _read_part(part, options)), stream)
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
            header=describe_job(load_artifact(options.model), options, describe_files(files, sizes)),
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
) -> list[Result]:
    """Tag recordings into a folder: of each a file, which appears when that recording is done.

    It is called as the recording, by its path from the folder that all have in common, and `suffix`. What
    failed is named in `failures.csv`.

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
            return _tag_into(place, files, options, explain, write, suffix, engine, quiet, task_bytes)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{out}: is a file; give a folder")
    return _tag_into((folder, ""), files, options, explain, write, suffix, engine, quiet, task_bytes)


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
) -> list[Result]:
    """`tag_to_folder` into a folder, or, through it, to an address."""
    folder, away = place
    names, sizes = result_names(files, suffix), remote.sizes_of(files)
    tasks = [
        Task(
            [files[i] for i in part],
            sum(sizes[i] for i in part),
            tuple(names[i] for i in part),
            f"{JOURNAL}/{number:05d}.json",
            [sizes[i] for i in part],
        )
        for number, part in enumerate(split_by_bytes(sizes, task_bytes))
    ]
    job = Job(
        folder=folder,
        tasks=tasks,
        write=partial(_write_files, options, explain, write),
        probe=partial(_probe, options, explain),
        away=away,
    )
    header = describe_job(load_artifact(options.model), options, describe_files(files, sizes)) | {
        "tasks": len(tasks),
        "suffix": suffix,
    }
    header = json.loads(json.dumps(header))
    journal, journal_away = folder / JOURNAL, remote.join(away, JOURNAL) if away else ""
    with full_disk_told(folder, "make room and give the same command again, which goes on where it was"):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder), held(away) as check:
            take_header(journal, journal_away, HEADER)
            if (
                open_journal(journal, header, partial(refuse_other, journal_away or journal, header))
                and engine.kind == "here"
            ):
                engine = Engine(jobs=1)
            put_header(journal, journal_away, HEADER)
            take_entries(folder, away, tasks)
            remove_leftovers(journal, *{(folder / name).parent for name in names})
            show_job(job, engine, "tagging", "files", quiet, check)
            results = [result for task in tasks for result in _entered(job, task)]
            _write_failures(folder / FAILURES, results, journal / f"failures{TEMPORARY}")
            if away:
                failed, there = folder / FAILURES, remote.join(away, FAILURES)
                remote.put(failed, there) if failed.exists() else remote.remove([there])
                remote.remove_folder(journal_away)
            remove_journal(journal)
    return results


def result_names(files: Sequence[str], suffix: str) -> list[str]:
    """What each recording's file is called, from the folder of results.

    Raises:
        ValueError: two would have one name.

    >>> result_names(["x/a.wav", "x/deep/a.wav"], ".csv")
    ['a.wav.csv', 'deep/a.wav.csv']
    """
    if not files:
        return []
    whole = [os.path.abspath(file) for file in files]  # noqa: PTH100  links stay as they were given
    root = os.path.commonpath([os.path.dirname(path) for path in whole])  # noqa: PTH120
    names = [Path(os.path.relpath(path, root)).as_posix() + suffix for path in whole]
    seen: dict[str, str] = {}
    for file, name in zip(files, names, strict=True):
        if name in seen:
            raise ValueError(f"{seen[name]} and {file} are one recording; name it once")
        seen[name] = file
    return names


def _heard(
    path: str, options: TagOptions, explain: Callable[[Exception], str], killed: str | None = None
) -> Iterator[Result]:
    """What `follow_file` gives; last of all the recording's own line, or its error."""
    warned: list[str] = []
    try:
        if killed is not None:
            raise ValueError(f"{path}: {killed}")
        for piece in follow_file(path, options, warned.append):
            yield piece | {"warnings": warned} if warned and "path" in piece else piece
    except Exception as error:
        yield {"path": path, "error": explain(error)} | ({"warnings": warned} if warned else {})


def _write_part(
    options: TagOptions,
    explain: Callable[[Exception], str],
    paths: Sequence[Path],
    items: Sequence[str],
    given_up: Mapping[int, str],
) -> dict[str, Any]:
    load_tagger(options)  # what is wrong with the model is wrong with no recording
    with paths[0].open("wb") as part:
        for position, item in enumerate(items):
            begin = part.tell()
            for piece in _heard(item, options, explain, given_up.get(position)):
                if "error" in piece:  # its windows until there are dropped, as from a file that failed
                    part.seek(begin)
                    part.truncate()
                part.write(json.dumps(piece, allow_nan=False, default=packed).encode("ascii") + b"\n")
    return {}


def _probe(options: TagOptions, explain: Callable[[Exception], str], item: str) -> None:
    for _ in _heard(item, options, explain):
        pass


def _read_part(part: Path, options: TagOptions) -> Iterator[Result]:
    """The results of a part, one recording after the other."""
    with part.open("rb") as lines:
        windows: list[Result] = []
        for line in lines:
            piece = json.loads(line)
            if "path" not in piece:
                windows.append(piece)
                continue
            yield _whole(piece, windows, options)
            windows = []


def _whole(result: Result, windows: list[Result], options: TagOptions) -> Result:
    """A recording's own line, with its windows where `Tagger.tag` puts them."""
    if not options.windows or "error" in result:
        return result
    warned = {"warnings": result.pop("warnings")} if "warnings" in result else {}
    return result | {"windows": windows} | warned


def _write_files(
    options: TagOptions,
    explain: Callable[[Exception], str],
    write: Callable[[Iterable[Result], TextIO], object],
    paths: Sequence[Path],
    items: Sequence[str],
    given_up: Mapping[int, str],
) -> dict[str, Any]:
    load_tagger(options)
    told = []
    for position, (path, item) in enumerate(zip(paths, items, strict=True)):
        *windows, result = _heard(item, options, explain, given_up.get(position))
        warned = result.pop("warnings", [])
        told.append({"path": item, "warnings": warned})
        if "error" in result:
            told[-1]["error"] = result["error"]
            continue
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            write([_whole(result, windows, options)], stream)
    return {"told": told}


def _entered(job: Job, task: Task) -> list[Result]:
    entry = read_entry(job, task)
    if entry is None:
        raise ValueError(f"{job.folder / task.entry}: lost while tagging; give the same command again")
    return entry["told"]


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
