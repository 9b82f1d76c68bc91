"""The journal of a job whose results lie elsewhere: taken up at the beginning, entered task by task.

Workers put results there themselves, and a task's entry after them. Here there is a copy of the journal, in a
temporary folder: what the job is finished from. So a killed run is gone on with from any machine.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from auricle import remote
from auricle.shards.layout import write_journal

Tasks = Sequence[Any]  # of `auricle.engine.jobs.Task`, which imports this


@contextlib.contextmanager
def result_file(out: str | Path) -> Iterator[tuple[Path, str]]:
    """Where an output of one file is written on this machine, and its address; "" for one that stays here.

    >>> with result_file("tags.csv") as (path, away):
    ...     path.name, away
    ('tags.csv', '')
    """
    away = remote.address_of(out)
    if away is None:
        yield Path(out).resolve(), ""  # a link stays one: what it leads to is replaced
        return
    with tempfile.TemporaryDirectory(prefix="auricle-", ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve() / remote.name_of(away), away


@contextlib.contextmanager
def held(away: str, *, file: bool = False) -> Iterator[Callable[[], None]]:
    """`auricle.remote.held` of an address; nothing for "".

    >>> with held("") as check:
    ...     check()
    """
    if not away:
        yield lambda: None
        return
    with remote.held(away, file=file) as check:
        yield check


def take_header(journal: Path, away: str, header: str) -> None:
    """Bring the header of a journal elsewhere, if there is one.

    >>> take_header(Path("journal"), "", "header.json")
    """
    with contextlib.suppress(FileNotFoundError):
        if away:
            remote.get(remote.join(away, header), journal / header)


def put_header(journal: Path, away: str, header: str) -> None:
    """Put the header of a journal that was opened here.

    >>> put_header(Path("journal"), "", "header.json")
    """
    if away:
        remote.put(journal / header, remote.join(away, header))


def take_entries(folder: Path, away: str, tasks: Tasks) -> None:
    """Bring the entries of tasks whose results are all elsewhere as they were entered.

    What a killed worker had half written there is removed.

    >>> take_entries(Path("out"), "", [])
    """
    if not away:
        return
    there = remote.list_files(away)
    remote.remove(remote.join(away, name) for name in there if name.endswith(remote.TEMPORARY))
    contents = remote.read_many(away, [task.entry for task in tasks if task.entry in there])
    for name, content in contents.items():
        try:
            entry = json.loads(content)
            whole = all(
                name in there and there[name].size == facts["bytes"] for name, facts in entry["files"].items()
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if whole:
            enter(folder / name, entry)


def enter(path: Path, entry: Mapping[str, Any]) -> None:
    """Keep an entry in this machine's copy of a journal.

    >>> enter(Path("out/journal/00000.json"), {"files": {}})  # doctest: +SKIP
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_journal(path, entry)


def put_results(
    away: str, names: Sequence[str], results: Sequence[Path], entry_name: str, entry: Mapping[str, Any]
) -> None:
    """Put what a task made, and then its entry.

    >>> put_results("s3://bucket/out", ["a.csv"], [Path("a.csv")], "0.json", {"files": {}})  # doctest: +SKIP
    """
    for name, path in zip(names, results, strict=True):
        if name in entry["files"]:
            remote.put(path, remote.join(away, name))
    remote.put_bytes(json.dumps(entry).encode("ascii"), remote.join(away, entry_name))


def forget_entry(folder: Path, away: str, name: str) -> None:
    """So that a later run makes it again.

    >>> forget_entry(Path("out"), "", "00000.json")
    """
    (folder / name).unlink(missing_ok=True)
    if away:
        remote.remove([remote.join(away, name)])
