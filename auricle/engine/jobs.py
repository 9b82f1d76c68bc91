"""A job: tasks that workers take one after the other, and a journal by which a killed run goes on.

The one description that packing, tagging and embedding share, whether processes of this machine work on it
or Ray's. A worker writes a task's results under temporary names, gives them their own once they are on the
disk, and enters them in the journal last: entries are all that a later run goes by. A result is a function of
its task alone. So it changes no byte who does a task, in which order tasks end, and how often one is begun.
"""

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from auricle import __version__
from auricle.engine.journals import enter
from auricle.engine.processes import WorkerDied, default_jobs, run_files
from auricle.engine.tasks import Task, Write, do_task
from auricle.engine.underway import note_of, watched
from auricle.progress import Progress
from auricle.shards.layout import TEMPORARY, read_journal, write_json
from auricle.shards.source import cut

HEADER = "header.json"
KINDS = ("here", "local", "ray")
# How files are cut into tasks. A task is what a killed run does again, and what is entered in the journal.
MOST_TASKS = 256
LEAST_BYTES, MOST_BYTES = 1_000_000, 64_000_000
MOST_ITEMS = 1024


@dataclass(frozen=True, kw_only=True)
class Job:
    """Tasks, and the function that does one.

    Args:
        folder: what the names in tasks begin in.
        tasks: in the order of the source.
        write: see `Write`.
        probe: picklable; one item's work, of which nothing is kept: it shows whether that kills a worker.
        away: address of the folder that the names begin in where results lie elsewhere; `folder` then has a
            copy of the journal, see `auricle.engine.journals`.
    """

    folder: Path
    tasks: Sequence[Task]
    write: Write
    probe: Callable[[Any], object]
    away: str = ""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where tasks are worked on.

    Args:
        kind: "local", processes of this machine; "ray"; or "here", this process, where nothing guards
            against an item that kills it.
        jobs: how many tasks at a time; by default one for each core.
        address: of a Ray cluster; by default one is started on this machine, for this job alone.

    >>> Engine(kind="cloud")
    Traceback (most recent call last):
    ValueError: engine is 'cloud'; expected here, local or ray
    """

    kind: str = "local"
    jobs: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"engine is {self.kind!r}; expected {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"jobs: expected 1 or more, got {self.jobs}")
        if self.address is not None and self.kind != "ray":
            raise ValueError(f"an address is for the engine ray; this one is {self.kind}")


def split_by_bytes(sizes: Sequence[int], task_bytes: int | None = None) -> list[range]:
    """Which items go into which task: by what there is to read, not by their number.

    A task is closed at 1 MB; later in a job that would have more than 256 tasks, but never later than at 64
    MB or 1,024 items. It depends on the items alone: a run of other workers goes on with the same tasks.

    Args:
        sizes: bytes of each item; below 0 where it is not known.
        task_bytes: close a task at so many bytes instead.

    >>> split_by_bytes([400_000, 700_000, 3_000_000, 1_000])
    [range(0, 2), range(2, 3), range(3, 4)]
    """
    weights = [max(size, 0) for size in sizes]
    enough = task_bytes or min(max(LEAST_BYTES, sum(weights) / MOST_TASKS), MOST_BYTES)
    return cut(weights, min(max(32, -(-len(weights) // MOST_TASKS)), MOST_ITEMS), enough)


def read_entry(job: Job, task: Task) -> dict[str, Any] | None:
    """A task's entry in the journal; None if it has none, or a result of it is not there as it was entered.

    `files` of an entry says of each result its `bytes` and `blake2b`; the rest is what `write` returned.
    """
    entry = read_journal(job.folder / task.entry)
    if not isinstance(entry, dict) or not isinstance(entry.get("files"), dict):
        return None
    left_out = set(entry.get("left_out", ()))
    if [name for n, name in enumerate(task.results) if n not in left_out] != list(entry["files"]):
        return None
    for name, facts in () if job.away else entry["files"].items():  # looked at when it was brought here
        try:
            if (job.folder / name).stat().st_size != facts["bytes"]:
                return None
        except FileNotFoundError:
            return None
    return entry


def unfinished(job: Job) -> list[int]:
    """Positions of the tasks that are still to be done."""
    return [number for number, task in enumerate(job.tasks) if read_entry(job, task) is None]


def open_journal(folder: Path, header: Mapping[str, Any], refuse: Callable[[dict[str, Any]], object]) -> bool:
    """Begin a journal, or take up the one that is there.

    Args:
        folder: of the journal; it may be missing.
        header: what must be the same for a run to go on.
        refuse: is given the header of the journal that is there, and raises where it is of something else.

    Returns:
        Whether one was there.
    """
    found = read_journal(folder / HEADER)
    if found is not None:
        refuse(found)
        return True
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / HEADER, header)
    return False


def run_job(
    job: Job,
    todo: Sequence[int],
    engine: Engine,
    note: Callable[[str], object] = print,
    notes: str = "",
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Do some of a job's tasks; what is entered in the journal stays done if this ends at any moment.

    A task that kills its worker is begun again, by itself; if it does so again, each of its items is tried
    alone: those that kill a worker are given up, and the task is done without them.

    Args:
        job: whose folder is held against other runs.
        todo: positions of the tasks, as `unfinished` gives them.
        engine: where.
        note: is told in a line what is out of the ordinary.
        notes: folder of a `Watch`, where workers note how far they are.

    Yields:
        (position of the task, its entry), as tasks end.

    Raises:
        Exception: what `write` raised. Tasks that are not entered are to be done by another run.
    """
    if not todo:
        return
    work = partial(do_task, str(job.folder), job.away, job.write, notes=notes)
    with _workers(engine) as run:
        tasks: list[tuple[Task, Mapping[int, str]]] = [(job.tasks[number], {}) for number in todo]
        with contextlib.closing(run(work, tasks, engine.jobs)) as results:
            for index, result in results:
                if isinstance(result, WorkerDied):
                    task = job.tasks[todo[index]]
                    note(f"{task.entry}: its worker was killed; looking for what did it")
                    result = _without_the_deadly(job, task, work, run)
                if isinstance(result, BaseException):
                    raise result
                if job.away:
                    enter(job.folder / job.tasks[todo[index]].entry, result)
                yield todo[index], result


def remove_journal(folder: Path) -> None:
    """Remove a job's folder, entries before the parts that they stand for: killed between, none is missed."""
    for entry in sorted(folder.glob("[0-9]*.json")):
        entry.unlink()
    shutil.rmtree(folder)


def describe_job(model: Any, options: Any, files: str) -> dict[str, Any]:
    """What a journal of tagging or embedding is of: the model, the options that change results, the files.

    Args:
        model: the artifact.
        options: a dataclass; its `model` and `threads` are left out.
        files: as `describe_files` gives them, or a pack's fingerprint.

    >>> describe_job(load_artifact("default"), TagOptions(), "4f2c")["files"]  # doctest: +SKIP
    '4f2c'
    """
    wishes = {
        name: value for name, value in dataclasses.asdict(options).items() if name not in ("model", "threads")
    }
    return {"auricle": __version__, "model": model.fingerprint, "options": wishes, "files": files}


def describe_files(files: Sequence[str], sizes: Sequence[int]) -> str:
    """What identifies files: their names, in order, and their sizes.

    >>> describe_files(["a.wav"], [10]) == describe_files(["a.wav"], [11])
    False
    """
    state = hashlib.blake2b(digest_size=16)
    for file, size in zip(files, sizes, strict=True):
        state.update(json.dumps([file, size]).encode() + b"\n")
    return state.hexdigest()


DIFFERS = {
    "model": "the model is another",
    "files": "its files are others, or some of them have changed",
    "options": "its options are others",
    "auricle": "it was another version of auricle",
    "tasks": "it was cut into other tasks",
}


def refuse_other(journal: Path | str, header: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse to go on with what was begun as something else.

    >>> refuse_other(Path("x.csv.parts"), {"model": "a"}, {"model": "b"})
    Traceback (most recent call last):
    ValueError: x.csv.parts: a run was begun there and not finished, and the model is another; give the ...
    """
    reasons = [DIFFERS.get(key, key) for key in header if header[key] != found.get(key)]
    if reasons:
        raise ValueError(
            f"{journal}: a run was begun there and not finished, and {'; '.join(reasons)}; give the command "
            "of that run, which goes on where it was, or delete the folder to begin anew"
        )


def remove_leftovers(*folders: Path) -> None:
    """Remove what workers that were killed had under way, from folders that this process holds."""
    for folder in folders:
        for leftover in folder.glob(f"*{TEMPORARY}"):
            leftover.unlink(missing_ok=True)


def show_job(
    job: Job,
    engine: Engine,
    label: str,
    unit: str,
    quiet: bool,
    check: Callable[[], None] = lambda: None,
    before: int = 0,
) -> None:
    """Do what is left of a job, and show how far it is; `check` raises where it is no longer this run's.

    `before` items were done by an earlier job. An entry's `seconds`, of sound, are shown.
    """
    todo = unfinished(job)
    rest = [job.tasks[number] for number in todo]
    total, size = before, 0
    for task in job.tasks:
        total, size = total + len(task.items), size + max(task.size, 0)
    quiet = quiet or not rest  # of nothing there is no progress
    with Progress(total, label, unit, quiet=quiet, size=size) as progress, watched(progress) as watch:
        progress.resume_at(
            total - sum(len(task.items) for task in rest), size - sum(max(task.size, 0) for task in rest)
        )
        for number, entry in run_job(job, todo, engine, progress.note, watch.folder):
            check()
            task = job.tasks[number]
            with watch.finished(note_of(task.entry)):
                progress.advance(len(task.items), size=task.size, seconds=entry.get("seconds", 0.0))


def _without_the_deadly(job: Job, task: Task, work: Callable[[Any], Any], run: Any) -> Any:
    """Find the items that kill their worker, then do the task without them."""
    results = run(job.probe, task.items, 1)
    given_up = {position: str(result) for position, result in results if isinstance(result, WorkerDied)}
    [(_, result)] = run(work, [(task, given_up)], 1)
    if isinstance(result, WorkerDied):
        return ValueError(
            f"{job.folder / task.entry}: the workers of this task were killed again and again, and by no one "
            "of its items alone: too little memory? The other tasks are kept; give the same command again"
        )
    return result


def _here(
    function: Callable[[Any], Any], items: Iterable[Any], jobs: int | None = None
) -> Iterator[tuple[int, Any]]:
    for index, item in enumerate(items):
        try:
            yield index, function(item)
        except Exception as error:
            yield index, error


@contextlib.contextmanager
def _workers(engine: Engine) -> Iterator[Any]:
    """A function as `run_files`: function, items, jobs -> (position, result) as they come."""
    if engine.kind == "ray":
        from auricle.engine.ray import ray_workers

        with ray_workers(engine.address, engine.jobs) as run:
            yield run
    elif engine.kind == "here":
        yield _here
    else:
        yield lambda function, items, jobs: run_files(function, items, jobs=jobs or default_jobs())
