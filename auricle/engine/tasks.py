"""One task of a job: its results under temporary names, then their own, then its entry in the journal."""

import itertools
import stat
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from auricle import remote
from auricle.engine.journals import put_results
from auricle.engine.underway import note_of, noting
from auricle.shards.layout import TEMPORARY, digest, publish, write_journal


class Task(NamedTuple):
    """What one worker does in one go."""

    items: Sequence[Any]  # in the order of the source
    size: int  # bytes to be read
    results: tuple[str, ...]  # the files it makes, from the job's folder; some may be left out, see `Write`
    entry: str  # its entry in the journal, from there too
    sizes: Sequence[int] = ()  # bytes of each item's file as the job began, below 0 where that is not known


class Write(Protocol):
    """The work itself, picklable: items -> results, under the names given here.

    `given_up` are items, by position, that killed their workers, and what is to be said of them. What is
    returned, JSON can hold: the journal keeps it; in it `left_out` are the positions of results that are not
    made. An error that is an item's own is a part of that; one that is raised (a full disk, a model that is
    gone) ends the job.
    """

    def __call__(  # noqa: D102
        self, paths: Sequence[Path], items: Sequence[Any], given_up: Mapping[int, str]
    ) -> dict[str, Any]: ...


def do_task(
    folder: str, away: str, write: Write, attempt: tuple[Task, Mapping[int, str]], notes: str = ""
) -> dict[str, Any]:
    """One task, in a worker: results, then their names, then the entry; `notes` as in `noting`."""
    task, given_up = attempt
    with noting(notes, note_of(task.entry)):
        if away:
            return _do_away(away, write, task, given_up)
        return _do_here(folder, write, task, given_up)


def _do_here(folder: str, write: Write, task: Task, given_up: Mapping[int, str]) -> dict[str, Any]:
    results = [Path(folder, name) for name in task.results]
    # Of this attempt alone: a worker that was given up for lost may still be at it, on another machine. Its
    # temporaries may be cleared away before it is done: then it enters nothing, and never removes a result.
    temporaries = [path.with_name(f".{uuid.uuid4().hex[:12]}{TEMPORARY}") for path in results]
    try:
        for parent in {path.parent for path in results}:
            parent.mkdir(parents=True, exist_ok=True)
        entry = _write_unchanged(write, temporaries, task, given_up) | {"files": {}}
        made = [n for n in range(len(results)) if n not in entry.get("left_out", ())]
        for n in made:
            size = temporaries[n].stat().st_size
            entry["files"][task.results[n]] = {"bytes": size, "blake2b": digest(temporaries[n])}
        for n in made:
            publish(temporaries[n], results[n])
        write_journal(Path(folder, task.entry), entry)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
    return entry


def _write_unchanged(
    write: Write, paths: Sequence[Path], task: Task, given_up: Mapping[int, str]
) -> dict[str, Any]:
    """The work itself; again without items whose files have changed since the job began, until none has.

    By their size since then, and by their size and time of change while they are read.
    """
    while True:
        before = [_state_of_item(item) for item in task.items]
        entry = write(paths, task.items, given_up)
        changed = {}
        for position, (item, known) in enumerate(itertools.zip_longest(task.items, task.sizes, fillvalue=-1)):
            now = _state_of_item(item)
            if position in given_up or now is None or (now == before[position] and known in (-1, now[0])):
                continue
            was = known if known >= 0 else (before[position] or now)[0]
            changed[position] = (
                f"changed while the job ran ({was:,} bytes as it began, {now[0]:,} now); it is left out: run "
                "the job anew when it is complete"
            )
        if not changed:
            return entry
        given_up = {**given_up, **changed}


def state_of(path: str) -> tuple[int, int] | None:
    """(bytes, time of change) of a file; None where it is none (a pipe), gone, or elsewhere.

    >>> state_of("no-such-file")
    """
    if remote.address_of(path) is not None:
        return None
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def _state_of_item(item: Any) -> tuple[int, int] | None:
    path = getattr(item, "path", item)
    return state_of(path) if isinstance(path, str) else None


def _do_away(away: str, write: Write, task: Task, given_up: Mapping[int, str]) -> dict[str, Any]:
    """One task whose results lie elsewhere: made here, put there, and then entered there."""
    with tempfile.TemporaryDirectory(prefix="auricle-", ignore_cleanup_errors=True) as folder:
        results = [Path(folder, f"{number:05d}{TEMPORARY}") for number in range(len(task.results))]
        entry = _write_unchanged(write, results, task, given_up) | {"files": {}}
        for n, (name, path) in enumerate(zip(task.results, results, strict=True)):
            if n not in entry.get("left_out", ()):
                entry["files"][name] = {"bytes": path.stat().st_size, "blake2b": digest(path)}
        put_results(away, task.results, results, task.entry, entry)
    return entry
