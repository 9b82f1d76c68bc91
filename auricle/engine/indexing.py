"""An index of embeddings as a job: only what is new or has changed is heard, and a killed run loses nothing.

Recordings are embedded into parts, as `auricle.engine.embedding` does. When all are done, the parts go into
segments of the index, and the contents that name them are replaced. What a killed run had finished is taken
up by the next, whatever recordings that is given: a part says of which recordings it is, and what they were
like.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from auricle import remote
from auricle.artifact import Artifact, bundled_models, is_published, load_artifact
from auricle.disk import full_disk_told
from auricle.embedding import describe_model, gives
from auricle.engine.done import Seen, look_at
from auricle.engine.embedding import EmbedOptions, read_rows, try_embedding, write_rows
from auricle.engine.jobs import (
    Engine,
    Job,
    Task,
    read_entry,
    remove_journal,
    remove_leftovers,
    show_job,
    split_by_bytes,
)
from auricle.progress import Progress
from auricle.search.layout import (
    ABOUT,
    CONTENTS,
    JOURNAL,
    SEGMENTS,
    Piece,
    begin,
    read_about,
    read_contents,
    refuse_other_model,
)
from auricle.search.writing import (
    GRAPH_ROWS,
    SEGMENT_ROWS,
    Heard,
    add_graph,
    commit,
    missing_graphs,
    remove_unnamed,
)
from auricle.shards.layout import digest, locked, write_json


class _Part(NamedTuple):
    """A finished part of the journal."""

    path: Path
    items: list[Seen]
    told: list[dict[str, Any]]


def index_files(
    files: Sequence[str],
    out: str | Path,
    options: EmbedOptions,
    *,
    gone: Callable[[str], bool] = lambda path: False,
    engine: Engine | None = None,
    explain: Callable[[Exception], str] = str,
    quiet: bool = False,
    task_bytes: int | None = None,
    segment_rows: int = SEGMENT_ROWS,
    graph_rows: int = GRAPH_ROWS,
) -> dict[str, Any]:
    """Put the embeddings of recordings into an index; what has not changed since an earlier run stays.

    Recordings are known by their absolute paths. One that has the size and the time of change that it had
    stays as it is; one that could not be read, or broke off, is tried again. An index that would be new and
    hold nothing is not made.

    Args:
        files: the recordings.
        out: the folder, on a disk of this machine; made if it is missing.
        options: what embeds. An index takes embeddings of one model and hop only; of a model that stands on
            that one's embeddings, its embedder is taken.
        gone: whether a recording that the index holds, by its absolute path, is to be dropped.
        engine: where; by default in processes of this machine.
        explain: what is said of an error; picklable.
        quiet: show no progress.
        task_bytes: as in `auricle.engine.jobs.split_by_bytes`.
        segment_rows: as in `auricle.search.writing.commit`.
        graph_rows: segments with fewer rows have no graph.

    Returns:
        {"recordings", "windows": in the index now, "heard", "unchanged", "removed": recordings, "told":
        {file: {"error": text or None, "warnings"}} of those that were heard}.

    Raises:
        ValueError: no such model, an index of another model or hop, a folder with something else in it,
            another process that writes it, a full disk.

    >>> index_files(["a.wav", "b.mp3"], "out/index", EmbedOptions())["windows"]  # doctest: +SKIP
    14
    """
    path, engine = Path(out), engine or Engine()
    if remote.address_of(out) is not None:
        raise ValueError(f"{out}: an index lies on a disk of this machine; name a folder there")
    artifact = load_artifact(options.model)
    if (path / ABOUT).is_file():
        fitting = fitting_model(path, read_about(path), artifact, options.hop)
        if fitting is not artifact:
            artifact, options = fitting, replace(options, model=str(fitting.path))
    about = describe_model(artifact, hop=options.hop) | {"given": _lasting(options.model)}
    _refuse_foreign(path)
    new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    with (
        full_disk_told(path, "make room and give the same command again, which goes on where it was"),
        locked(path),
    ):
        if (path / ABOUT).is_file():
            _keep_about(path, artifact, options.hop)
        else:
            begin(path, about)
        first = not (path / CONTENTS).is_file()
        remove_unnamed(path)
        held = _recordings(read_contents(path))
        seen = dict(zip(files, look_at(files), strict=True))
        by_path = {one.path: file for file, one in seen.items()}
        unchanged = {one for one, file in by_path.items() if held.get(one) == _mark(seen[file])}
        parts = _take_up(path)
        finished = {
            one.path for part in parts for one in part.items if one == seen.get(by_path.get(one.path, ""))
        }
        wanted = [seen[file] for one, file in by_path.items() if one not in finished | unchanged]
        parts += _embed(
            path, wanted, parts, options, artifact.embedding_size, engine, explain, quiet, task_bytes
        )
        latest = _latest(parts, held, gone)
        removed = {one for one in held if gone(one) and one not in by_path and one not in latest}
        pieces = commit(
            path,
            lambda piece: piece.path not in removed and piece.path not in latest,
            _heard(parts, latest),
            artifact.embedding_size,
            segment_rows=segment_rows,
        )
        if (path / JOURNAL).is_dir():
            remove_journal(path / JOURNAL)
        _link(path, graph_rows, options.threads, quiet)
        if first and not any(piece.rows for piece in pieces):
            _take_back(path)
    if new and not any(path.iterdir()):
        path.rmdir()
    told = {
        by_path.get(one, one): {"error": entry["error"], "warnings": entry["warnings"]}
        for one, (number, position) in latest.items()
        for entry in [parts[number].told[position]]
    }
    return {
        "recordings": len({piece.path for piece in pieces if piece.rows}),
        "windows": sum(piece.rows for piece in pieces),
        "heard": len(latest),
        "unchanged": len(unchanged),
        "removed": len(removed),
        "told": told,
    }


def fitting_model(path: Path, about: Mapping[str, Any], artifact: Artifact, hop: float | None) -> Artifact:
    """A model that gives the embeddings that an index holds: the given one, or the embedder it stands on.

    Args:
        path: of the index.
        about: its description.
        artifact: the model that is given.
        hop: seconds from window to window; None takes the model's.

    Raises:
        ValueError: it is neither.

    >>> fitting_model(index.path, index.about, load_artifact("runs/mine/last"), None).name  # doctest: +SKIP
    'auricle-esc50'
    """
    found: Artifact | None = artifact
    while found is not None:
        if gives(found, about, hop=hop):
            return found
        found = found.embedder
    refuse_other_model(path, about, describe_model(artifact, hop=hop))
    raise AssertionError("not reached")


def _keep_about(path: Path, artifact: Artifact, hop: float | None) -> None:
    """See once more, now that nobody else writes, that an index fits; an old one learns what its are."""
    about = read_about(path)
    fitting_model(path, about, artifact, hop)
    if "embedding_fingerprint" not in about:
        made = describe_model(artifact, hop=hop)
        write_json(path / ABOUT, about | {"embedding_fingerprint": made["embedding_fingerprint"]})


def _refuse_foreign(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path}: is a file; give a folder")
    if (
        path.is_dir()
        and not (path / ABOUT).is_file()
        and any(not file.name.startswith(".") for file in path.iterdir())
    ):
        raise ValueError(f"{path}: holds something that is no index; give an empty or a new folder")


def _take_back(path: Path) -> None:
    """Leave a folder as it was before an index was begun there."""
    (path / CONTENTS).unlink()
    shutil.rmtree(path / SEGMENTS, ignore_errors=True)
    (path / ABOUT).unlink()  # last: killed before, it is an index that was begun


def _lasting(model: str) -> str:
    """How a model is named so that it is found from any folder."""
    named = model in ("default", *bundled_models()) or (not Path(model).exists() and is_published(model))
    if named or remote.address_of(model) is not None:
        return model
    return os.path.abspath(model)  # noqa: PTH100  links stay


def _mark(one: Seen) -> tuple[int, str]:
    return one.size, one.changed


def _recordings(pieces: Sequence[Piece]) -> dict[str, tuple[int, str] | None]:
    """Path -> what the recording was like; None where it could not be read to its end."""
    return {piece.path: None if piece.error else (piece.size, piece.mark) for piece in pieces}


def _take_up(path: Path) -> list[_Part]:
    """Parts that a killed run has finished; what is left of others is removed."""
    journal, parts = path / JOURNAL, []
    if not journal.is_dir():
        return []
    remove_leftovers(journal)
    for entry_file in sorted(journal.glob("[0-9]*.json")):
        part, entry = _read_part(journal, entry_file.stem)
        if entry is None:
            entry_file.unlink()
        else:
            parts.append(part)
    return parts


def _read_part(journal: Path, number: str) -> tuple[_Part, dict[str, Any] | None]:
    """A part of the journal; None for its entry where it is not as it was entered."""
    name = f"{number}.part"
    job = Job(folder=journal, tasks=[], write=partial(_write, EmbedOptions(), 0, str), probe=str)
    entry = read_entry(job, Task([], 0, (name,), f"{number}.json"))
    if entry is None or digest(journal / name) != entry["files"][name]["blake2b"]:
        return _Part(journal / name, [], []), None
    return _Part(journal / name, [Seen(*item) for item in entry["items"]], entry["told"]), entry


def _embed(
    path: Path,
    wanted: list[Seen],
    before: list[_Part],
    options: EmbedOptions,
    size: int,
    engine: Engine,
    explain: Callable[[Exception], str],
    quiet: bool,
    task_bytes: int | None,
) -> list[_Part]:
    """Embed recordings, into parts beside those that are there."""
    journal = path / JOURNAL
    if not wanted:
        return []
    if journal.is_dir() and engine.kind == "here":  # what killed the run before may do so again
        engine = Engine(jobs=1)
    journal.mkdir(exist_ok=True)
    first = max((int(part.path.stem) for part in before), default=-1) + 1
    tasks = [
        Task(
            [wanted[i] for i in part],
            sum(max(wanted[i].size, 0) for i in part),
            (f"{n:05d}.part",),
            f"{n:05d}.json",
        )
        for n, part in enumerate(split_by_bytes([one.size for one in wanted], task_bytes), first)
    ]
    job = Job(
        folder=journal,
        tasks=tasks,
        write=partial(_write, options, size, explain),
        probe=partial(_probe, options, explain),
    )
    show_job(job, engine, "indexing", "files", quiet)
    parts = []
    for task in tasks:
        part, entry = _read_part(journal, task.entry.partition(".")[0])
        if entry is None:
            (journal / task.entry).unlink(missing_ok=True)
            raise ValueError(
                f"{part.path}: lost or damaged since it was written; give the same command again"
            )
        parts.append(part)
    return parts


def _write(
    options: EmbedOptions,
    size: int,
    explain: Callable[[Exception], str],
    paths: Sequence[Path],
    items: Sequence[Seen],
    given_up: Mapping[int, str],
) -> dict[str, Any]:
    entry = write_rows(options, size, explain, paths, [item.path for item in items], given_up)
    return entry | {"items": [list(item) for item in items]}


def _probe(options: EmbedOptions, explain: Callable[[Exception], str], item: Seen) -> None:
    try_embedding(options, explain, item.path)


def _latest(
    parts: list[_Part], held: Mapping[str, tuple[int, str] | None], gone: Callable[[str], bool]
) -> dict[str, tuple[int, int]]:
    """Path -> (part, position in it) of what goes into the index: of each recording what was heard last.

    What a killed run left of recordings that this one was not given counts, too.
    """
    latest = {one.path: (n, at) for n, part in enumerate(parts) for at, one in enumerate(part.items)}
    # Where a run was killed just after it had put its parts into the index, they are there.
    return {
        path: (n, at)
        for path, (n, at) in latest.items()
        if held.get(path, ()) != _mark(parts[n].items[at]) and not gone(path)
    }


def _heard(parts: list[_Part], latest: Mapping[str, tuple[int, int]]) -> Iterator[Heard]:
    """What goes into the index, in the order of the parts, each read once from its beginning to its end."""
    for number, part in enumerate(parts):
        rows = _Ahead(read_rows(part.path))
        for at, one in enumerate(part.items):
            mine = rows.of(at)
            if latest.get(one.path) == (number, at):
                yield Heard(one.path, one.size, one.changed, part.told[at]["error"] or "", mine)
            for _ in mine:  # what nobody took
                pass


class _Ahead:
    """The rows of a part, recording by recording."""

    def __init__(self, rows: Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]):
        self._rows = rows
        self._upcoming = next(rows, None)

    def of(self, position: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        while self._upcoming is not None and self._upcoming[0] == position:
            _, starts, ends, values = self._upcoming
            yield starts, ends, values
            self._upcoming = next(self._rows, None)


def _link(path: Path, graph_rows: int, threads: int | None, quiet: bool) -> None:
    """Build the graphs that are missing; killed here, the next run does."""
    todo = missing_graphs(path, graph_rows)
    if not todo:
        return
    with Progress(sum(rows for _, rows in todo), "linking", "windows", quiet=quiet) as progress:
        for segment, rows in todo:
            add_graph(path, segment, threads=threads or 0)
            progress.advance(rows)
