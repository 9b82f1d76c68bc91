"""What a folder of results holds already: of each recording, and with which model and options.

The record lies in the folder as `.auricle-done.jsonl`, one array a line, sorted by the name of the result. By
it a later run leaves out what has not changed: the same path, size, time of change, model, options and
version, and a result that is there as it was written.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from auricle import remote
from auricle.engine.jobs import HEADER
from auricle.engine.tasks import state_of
from auricle.shards.layout import TEMPORARY, publish, read_journal

DONE = ".auricle-done.jsonl"
SEEN = "seen.jsonl"  # in a journal: what the recordings were like as the run began


class Seen(NamedTuple):
    """A recording as it was when a run looked at it."""

    path: str  # in full
    size: int  # bytes; below 0 where there is none
    changed: str  # nanoseconds since 1970, or what an object store marks a version with


class Made(NamedTuple):
    """A result."""

    of: Seen
    job: str  # model, options and version as one mark
    size: int  # bytes


class Before(NamedTuple):
    """What earlier runs left in a folder."""

    made: dict[str, Made]  # by the name of the result
    warnings: dict[str, list[str]]  # of what a run made that did not come to its end
    killed: bool  # whether there was such a run
    there: Mapping[str, int] | None  # bytes of each file, where the folder lies elsewhere


def look_at(files: Iterable[str]) -> list[Seen]:
    """What recordings are like now.

    >>> look_at(["no-such-file"])[0].size
    -1
    """
    files = list(files)
    elsewhere = {file: address for file in files if (address := remote.address_of(file)) is not None}
    entries = remote.entries(elsewhere.values())
    return [
        _look_at(file) if file not in elsewhere else _look_away(elsewhere[file], entries) for file in files
    ]


def mark_of(description: Mapping[str, Any]) -> str:
    """A description of model and options as one short text.

    >>> mark_of({"model": "a"}) == mark_of({"model": "b"})
    False
    """
    return hashlib.blake2b(json.dumps(description, sort_keys=True).encode(), digest_size=16).hexdigest()


def take_up(folder: Path, away: str, journal: str) -> Before:
    """The record of a folder, with what a run that was killed had entered in its journal since.

    Args:
        folder: held against other runs.
        away: its address, where it lies elsewhere.
        journal: name of the journal's folder in it.
    """
    if away:
        there = {name: entry.size for name, entry in remote.list_files(away).items()}
        remote.remove(remote.join(away, name) for name in there if name.endswith(remote.TEMPORARY))
        names = [name for name in there if name == DONE or name.startswith(journal + "/")]
        contents = remote.read_many(away, names)
        header = _json(contents.get(f"{journal}/{HEADER}", b""))
        entries = [_json(contents[name]) for name in sorted(names) if Path(name).stem.isdecimal()]
        done, seen = contents.get(DONE, b""), contents.get(f"{journal}/{SEEN}", b"")
    else:
        there, header = None, read_journal(folder / journal / HEADER)
        entries = [read_journal(path) for path in sorted((folder / journal).glob("[0-9]*.json"))]
        done, seen = _bytes(folder / DONE), _bytes(folder / journal / SEEN)
    made = {name: Made(Seen(*of), *rest) for name, of, *rest in _lines(done, 4)}
    warnings: dict[str, list[str]] = {}
    if isinstance(header, dict) and "mark" in header:
        known = {name: Seen(*of) for name, of in _lines(seen, 2)}
        for entry in filter(None, entries):
            for name, size, told in finished(entry):
                if name in known:
                    made[name], warnings[name] = Made(known[name], header["mark"], size), told
    return Before(made, warnings, header is not None, there)


def finished(entry: Mapping[str, Any]) -> Iterable[tuple[str, int, list[str]]]:
    """(name, bytes, warnings) of the results of a task, from its entry in the journal.

    >>> told = [{"path": "a.wav", "warnings": []}, {"path": "b.wav", "warnings": [], "error": "is empty"}]
    >>> list(finished({"files": {"a.wav.csv": {"bytes": 9}}, "told": told}))
    [('a.wav.csv', 9, [])]
    """
    whole = [told["warnings"] for told in entry["told"] if "error" not in told]
    for (name, facts), warned in zip(entry["files"].items(), whole, strict=True):
        yield name, facts["bytes"], warned


def is_unchanged(folder: Path, before: Before, name: str, seen: Seen, mark: str) -> bool:
    """Whether a result is there, and is what this run would make of the recording."""
    made = before.made.get(name)
    if made is None or made.of != seen or made.job != mark or seen.size < 0:
        return False
    if before.there is not None:
        return before.there.get(name) == made.size
    try:
        return (folder / name).stat().st_size == made.size
    except OSError:
        return False


def write_record(folder: Path, away: str, made: Mapping[str, Made]) -> None:
    """Put the record in its folder, whole or not at all."""
    rows = [[name, [*made[name].of], made[name].job, made[name].size] for name in sorted(made)]
    _write_lines(folder / DONE, rows)
    if away:
        remote.put(folder / DONE, remote.join(away, DONE))


def write_seen(journal: Path, away: str, seen: Mapping[str, Seen]) -> None:
    """Put in a journal what recordings are like, by the names of their results."""
    _write_lines(journal / SEEN, [[name, [*of]] for name, of in seen.items()])
    if away:
        remote.put(journal / SEEN, remote.join(away, SEEN))


def _look_at(file: str) -> Seen:
    state = state_of(file)
    return Seen(file, -1, "") if state is None else Seen(str(Path(file).absolute()), state[0], str(state[1]))


def _look_away(address: str, entries: Mapping[str, remote.Entry]) -> Seen:
    entry = entries.get(address)
    return Seen(address, -1, "") if entry is None else Seen(address, entry.size, entry.mark)


def _write_lines(path: Path, rows: Iterable[Any]) -> None:
    temporary = path.with_name(path.name + TEMPORARY)
    with temporary.open("w", encoding="ascii", newline="\n") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    publish(temporary, path)


def _lines(content: bytes, columns: int) -> Iterable[Any]:
    """Rows, as far as they can be read: a record that was damaged costs time and nothing else."""
    for line in content.splitlines():
        row = _json(line)
        if isinstance(row, list) and len(row) == columns and isinstance(row[1], list) and len(row[1]) == 3:
            yield row


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
