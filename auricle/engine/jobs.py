"""A job: tasks that workers take one after the other, and a journal by which a killed run goes on.

The one description that packing, tagging and embedding share, whether processes of this machine work on it
or Ray's. A worker writes a task's results under temporary names, gives them their own once they are on the
disk, and enters them in the journal last: entries are all that a later run goes by. A result is a function of
its task alone. So it changes no byte who does a task, in which order tasks end, and how often one is begun.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from auricle import __version__, remote
from auricle.disk import full_disk_told
from auricle.engine.journals import (
    enter,
    forget_entry,
    held,
    put_header,
    put_results,
    take_entries,
    take_header,
)
from auricle.engine.processes import WorkerDied, default_jobs, run_files
from auricle.progress import Progress
from auricle.shards.layout import (
    TEMPORARY,
    digest,
    locked,
    publish,
    read_journal,
    sync_folder,
    write_journal,
    write_json,
)
from auricle.shards.source import cut

HEADER = "header.json"
PARTS = ".parts"  # suffix of the folder beside a file that is joined from parts
KINDS = ("here", "local", "ray")
# How files are cut into tasks. A task is what a killed run does again, and what is entered in the journal.
MOST_TASKS = 256
LEAST_BYTES, MOST_BYTES = 1_000_000, 64_000_000
MOST_ITEMS = 1024
T = TypeVar("T")


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
    made. An error that is an item's own is a part of that; one that
    is raised (a full disk, a model that is gone) ends the job.
    """

    def __call__(  # noqa: D102
        self, paths: Sequence[Path], items: Sequence[Any], given_up: Mapping[int, str]
    ) -> dict[str, Any]: ...


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
    job: Job, todo: Sequence[int], engine: Engine, note: Callable[[str], object] = print
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Do some of a job's tasks; what is entered in the journal stays done if this ends at any moment.

    A task that kills its worker is begun again, by itself; if it does so again, each of its items is tried
    alone: those that kill a worker are given up, and the task is done without them.

    Args:
        job: whose folder is held against other runs.
        todo: positions of the tasks, as `unfinished` gives them.
        engine: where.
        note: is told in a line what is out of the ordinary.

    Yields:
        (position of the task, its entry), as tasks end.

    Raises:
        Exception: what `write` raised. Tasks that are not entered are to be done by another run.
    """
    if not todo:
        return
    work = partial(_do, str(job.folder), job.away, job.write)
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


def write_joined(
    out: Path,
    items: Sequence[Any],
    sizes: Sequence[int],
    write: Write,
    probe: Callable[[Any], object],
    join: Callable[[Iterator[tuple[Path, dict[str, Any]]], Path], T],
    *,
    header: Mapping[str, Any],
    engine: Engine,
    label: str,
    unit: str = "files",
    quiet: bool = False,
    task_bytes: int | None = None,
    away: str = "",
) -> T:
    """One output, joined from the parts that tasks write: in the order of the items, once all are there.

    The parts lie beside it, in a folder of its name and `.parts`, which is removed at the end. Killed at any
    moment, the same call goes on with the parts that are finished.

    Args:
        out: the output; until it is complete, it stays as an earlier run left it.
        items: what it is made of.
        sizes: bytes of each, see `split_by_bytes`.
        write: makes one part.
        probe: see `Job`.
        join: is given (part, its entry) one after the other, and a name on the disk of `out` for what it
            writes until that is complete; it puts `out` there, whole or not at all.
        header: what must be the same for a run to go on: name of a reason -> value, see `DIFFERS`.
        engine: where parts are made. "here" becomes "local" in a run that goes on with a killed one: what
            killed it may do so again.
        label: of the progress.
        unit: of the progress.
        quiet: show no progress.
        task_bytes: see `split_by_bytes`.
        away: address of the output where it lies elsewhere: the parts lie beside that. `out` is then in a
            temporary folder, and `join` puts it where it belongs.

    Raises:
        ValueError: the parts that are there are of another job; another process writes them; a full disk.
    """
    if not out.parent.is_dir():
        raise ValueError(f"{out}: the folder {out.parent} does not exist; create it or write elsewhere")
    parts = split_by_bytes(sizes, task_bytes)
    tasks = [
        Task(
            [items[i] for i in part],
            sum(sizes[i] for i in part),
            (f"{n:05d}.part",),
            f"{n:05d}.json",
            [sizes[i] for i in part],
        )
        for n, part in enumerate(parts)
    ]
    parts_away = away + PARTS if away else ""
    job = Job(folder=out.with_name(out.name + PARTS), tasks=tasks, write=write, probe=probe, away=parts_away)
    header = json.loads(json.dumps({**header, "tasks": len(tasks)}))
    with (
        full_disk_told(out.parent, "make room and give the same command again, which goes on where it was"),
        locked(out.parent, out.name),
        held(away, file=True) as check,
    ):
        take_header(job.folder, job.away, HEADER)
        refuse = partial(refuse_other, job.away or job.folder, header)
        if open_journal(job.folder, header, refuse) and engine.kind == "here":
            engine = dataclasses.replace(engine, kind="local", jobs=1)
        put_header(job.folder, job.away, HEADER)
        take_entries(job.folder, job.away, job.tasks)
        remove_leftovers(job.folder)
        show_job(job, engine, label, unit, quiet, check)
        result = join(_finished_parts(job), job.folder / f"joined{TEMPORARY}")
        sync_folder(out.parent)
        if job.away:
            remote.remove_folder(job.away)
        remove_journal(job.folder)
    return result


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


def size_of(path: str) -> int:
    """Bytes of a file; -1 where there is none.

    >>> size_of("no-such-file")
    -1
    """
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):
        return -1


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
    with Progress(total, label, unit, quiet=quiet, size=size) as progress:
        progress.resume_at(
            total - sum(len(task.items) for task in rest), size - sum(max(task.size, 0) for task in rest)
        )
        for number, entry in run_job(job, todo, engine, progress.note):
            check()
            task = job.tasks[number]
            progress.advance(len(task.items), size=task.size, seconds=entry.get("seconds", 0.0))


def _finished_parts(job: Job) -> Iterator[tuple[Path, dict[str, Any]]]:
    for task in job.tasks:
        [name] = task.results
        entry, path = read_entry(job, task), job.folder / name
        if job.away and entry is not None:
            remote.get(remote.join(job.away, name), path)
        if entry is None or digest(path) != entry["files"][name]["blake2b"]:
            forget_entry(job.folder, job.away, task.entry)  # so that the next run makes it again
            where = remote.join(job.away, name) if job.away else path
            raise ValueError(f"{where}: lost or damaged since it was written; give the same command again")
        yield path, entry
        if job.away:
            path.unlink(missing_ok=True)


def _do(folder: str, away: str, write: Write, attempt: tuple[Task, Mapping[int, str]]) -> dict[str, Any]:
    """One task, in a worker: results, then their names, then the entry."""
    task, given_up = attempt
    if away:
        return _do_away(away, write, task, given_up)
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
        before = [_state(item) for item in task.items]
        entry = write(paths, task.items, given_up)
        changed = {}
        for position, (item, known) in enumerate(itertools.zip_longest(task.items, task.sizes, fillvalue=-1)):
            now = _state(item)
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


def _state(item: Any) -> tuple[int, int] | None:
    """(bytes, time of change) of an item's file; None where it is none (a pipe), gone, or elsewhere."""
    path = getattr(item, "path", item)
    if not isinstance(path, str) or remote.address_of(path) is not None:
        return None
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


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
