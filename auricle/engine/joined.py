"""A job whose parts are joined into one file at its end: tags, embeddings."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from auricle import remote
from auricle.disk import full_disk_told
from auricle.engine.jobs import (
    HEADER,
    Engine,
    Job,
    open_journal,
    read_entry,
    refuse_other,
    remove_journal,
    remove_leftovers,
    show_job,
    split_by_bytes,
)
from auricle.engine.journals import (
    forget_entry,
    held,
    put_header,
    take_entries,
    take_header,
)
from auricle.engine.tasks import Task, Write
from auricle.shards.layout import (
    TEMPORARY,
    digest,
    locked,
    sync_folder,
)

T = TypeVar("T")
PARTS = ".parts"  # suffix of the folder beside a file that is joined from parts


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
