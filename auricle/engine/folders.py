"""A folder with a result for each recording: what has not changed is left as it is, what failed is listed.

While a run is at it there is a journal in the folder, by which a killed run goes on; afterwards a record of
what each result is of, see `auricle.engine.done`.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auricle import remote
from auricle.disk import full_disk_told
from auricle.engine.done import (
    Before,
    Made,
    Seen,
    finished,
    is_unchanged,
    mark_of,
    take_up,
    write_record,
    write_seen,
)
from auricle.engine.jobs import (
    HEADER,
    Engine,
    Job,
    open_journal,
    read_entry,
    remove_journal,
    remove_leftovers,
    show_job,
    split_by_bytes,
)
from auricle.engine.journals import held, put_header
from auricle.engine.tasks import Task, Write
from auricle.progress import say
from auricle.shards.layout import TEMPORARY, locked, publish
from auricle.text import as_utf8, counted

JOURNAL = ".auricle-journal"  # in a folder of results, until it is complete
FAILURES = "failures.csv"
Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Results that are wanted in a folder.

    Args:
        folder: where they go.
        away: address of the folder, where it lies elsewhere; `folder` is then a temporary one.
        files: the recordings.
        names: of their results, from the folder.
        seen: what the recordings are like.
        description: of model and options; what is there of another one is made anew.
        write: does a task; its entry has `told`, of each {"path", "warnings", "duration"}, perhaps "error".
        probe: see `Job`.
        label: of the progress.
        redo: leave nothing as it is, and replace what is there of other recordings.
        quiet: show no progress.
        task_bytes: see `split_by_bytes`.
    """

    folder: Path
    away: str
    files: Sequence[str]
    names: Sequence[str]
    seen: Sequence[Seen]
    description: Mapping[str, Any]
    write: Write
    probe: Callable[[Any], object]
    label: str
    redo: bool = False
    quiet: bool = False
    task_bytes: int | None = None

    @property
    def mark(self) -> str:
        """Model and options as one short text."""
        return mark_of(self.description)

    @property
    def journal(self) -> Path:
        """The folder of the journal."""
        return self.folder / JOURNAL

    @property
    def journal_away(self) -> str:
        """Its address, where results lie elsewhere."""
        return remote.join(self.away, JOURNAL) if self.away else ""


def fill_folder(wanted: Wanted, engine: Engine, after_a_kill: Engine) -> list[Result]:
    """Make what is wanted and not there.

    Args:
        wanted: the results.
        engine: where they are made.
        after_a_kill: where instead, if that is "here" and an earlier run was killed: it may happen again.

    Returns:
        In the order of the files: {"path", "warnings"}, or {"path", "error", "warnings"} of what failed.

    Raises:
        ValueError: what is there is of other recordings; another process writes there; a full disk.
    """
    folder = wanted.folder
    with full_disk_told(folder, "make room and give the same command again, which goes on where it was"):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder), held(wanted.away) as check:
            before = take_up(folder, wanted.away, JOURNAL)
            if not wanted.redo:
                _refuse_others(wanted, before)
            if before.killed:  # what it had done stays done, whatever this run is asked for
                write_record(folder, wanted.away, before.made)
                _drop_journal(wanted)
                engine = after_a_kill if engine.kind == "here" else engine
            remove_leftovers(folder, *{(folder / name).parent for name in wanted.names})
            todo = _changed(wanted, before)
            job = _opened(wanted, todo)
            skipped = len(wanted.files) - len(todo)
            show_job(job, engine, wanted.label, "files", wanted.quiet, check, skipped)
            results, made = _gathered(wanted, before, job, todo)
            _write_failures(folder / FAILURES, results, wanted.journal / f"failures{TEMPORARY}")
            write_record(folder, wanted.away, made)
            if wanted.away:
                failed, there = folder / FAILURES, remote.join(wanted.away, FAILURES)
                remote.put(failed, there) if failed.exists() else remote.remove([there])
            _drop_journal(wanted)
    return results


def _changed(wanted: Wanted, before: Before) -> list[int]:
    """Positions of the files whose results are to be made; it is said how many are not."""
    todo = [
        number
        for number, (name, seen) in enumerate(zip(wanted.names, wanted.seen, strict=True))
        if wanted.redo or not is_unchanged(wanted.folder, before, name, seen, wanted.mark)
    ]
    skipped = len(wanted.files) - len(todo)
    if skipped and not wanted.quiet:
        whole = counted(len(wanted.files), "recording")
        if todo:
            have = "has" if skipped == 1 else "have"
            say(f"{skipped:,} of {whole} {have} not changed since an earlier run: skipped")
        else:
            say(f"{whole} unchanged since an earlier run: nothing to do")
    return todo


def _opened(wanted: Wanted, todo: Sequence[int]) -> Job:
    """The job over some of the files, whose journal is there now."""
    job = Job(
        folder=wanted.folder,
        tasks=_tasks_of(wanted, todo),
        write=wanted.write,
        probe=wanted.probe,
        away=wanted.away,
    )
    journal, away = wanted.journal, wanted.journal_away
    journal.mkdir(parents=True, exist_ok=True)
    write_seen(journal, away, {wanted.names[number]: wanted.seen[number] for number in todo})
    header = {**wanted.description, "mark": wanted.mark, "tasks": len(job.tasks)}
    open_journal(journal, header, lambda found: None)
    put_header(journal, away, HEADER)
    return job


def _tasks_of(wanted: Wanted, todo: Sequence[int]) -> list[Task]:
    """What is to be done, cut into tasks."""
    parts = split_by_bytes([wanted.seen[number].size for number in todo], wanted.task_bytes)
    tasks = []
    for position, part in enumerate(parts):
        numbers = [todo[index] for index in part]
        sizes = [wanted.seen[number].size for number in numbers]
        results = tuple(wanted.names[number] for number in numbers)
        entry = f"{JOURNAL}/{position:05d}.json"
        tasks.append(Task([wanted.files[number] for number in numbers], sum(sizes), results, entry, sizes))
    return tasks


def _gathered(
    wanted: Wanted, before: Before, job: Job, todo: Sequence[int]
) -> tuple[list[Result], dict[str, Made]]:
    """What there is to say of each file, and the record; results of what has failed now are removed."""
    results: list[Result] = [
        {"path": file, "warnings": before.warnings.get(name, [])}
        for file, name in zip(wanted.files, wanted.names, strict=True)
    ]
    made, told = dict(before.made), []
    seen = {wanted.names[number]: wanted.seen[number] for number in todo}
    for task in job.tasks:
        entry = _entered(job, task)
        told += entry["told"]
        made |= {name: Made(seen[name], wanted.mark, size) for name, size, _ in finished(entry)}
    for number, result in zip(todo, told, strict=True):
        results[number] = result
        if "error" in result:
            name = wanted.names[number]
            earlier = before.made.get(name)
            if earlier is not None and earlier.of == seen[name]:  # with other options, say
                made[name] = earlier
            else:
                made.pop(name, None)
                _forget_result(wanted, name)
    return results, made


def _refuse_others(wanted: Wanted, before: Before) -> None:
    """Refuse to replace results of other recordings, which had the same name in another folder."""
    for name, now in zip(wanted.names, wanted.seen, strict=True):
        earlier = before.made.get(name)
        if earlier is not None and earlier.of.path != now.path:
            raise ValueError(
                f"{wanted.folder / name} holds what was heard in {earlier.of.path}, and {now.path} would "
                "replace it; tag these into another folder, or give --redo where they are the same, moved"
            )


def _forget_result(wanted: Wanted, name: str) -> None:
    """Of a recording that has failed now: an earlier run may have tagged it."""
    (wanted.folder / name).unlink(missing_ok=True)
    if wanted.away:
        remote.remove([remote.join(wanted.away, name)])


def _drop_journal(wanted: Wanted) -> None:
    if wanted.away:
        remote.remove_folder(wanted.journal_away)
    if wanted.journal.exists():
        remove_journal(wanted.journal)


def _entered(job: Job, task: Task) -> dict[str, Any]:
    entry = read_entry(job, task)
    if entry is None:
        raise ValueError(f"{job.folder / task.entry}: lost while tagging; give the same command again")
    return entry


def _write_failures(path: Path, results: Sequence[Result], temporary: Path) -> None:
    """The list of what failed; none is left of an earlier run where nothing did."""
    failed = [result for result in results if "error" in result]
    if not failed:
        path.unlink(missing_ok=True)
        return
    with temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", "error"])
        writer.writerows([as_utf8(result["path"]), as_utf8(result["error"])] for result in failed)
    publish(temporary, path)
