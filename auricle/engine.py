"""One job over many files, in local processes: packing, and whatever else goes file by file.

A worker that dies (a decoder that crashes, the system short of memory) costs the file it died on and nothing
else: the work that was under way is done again alone, and what kills its worker twice is reported.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import connection
from pathlib import Path
from typing import Any

import numpy as np

from auricle.datasets import Clip, check_ids, check_leaks, open_corpus
from auricle.progress import Progress
from auricle.shards.layout import FAILURES, JOURNAL, MANIFEST, RUN, TEMPORARY, shard_file, write_json
from auricle.shards.reader import Pack
from auricle.shards.writer import clips_per_shard, fingerprint, finish_pack, manifest_header, write_shard

LOCK = ".lock"
HEADER = "header.json"


class WorkerDied(Exception):
    """The process that worked on an item was killed, also when it worked on nothing else."""


def default_jobs() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_files(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    jobs: int | None = None,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
    ordered: bool = False,
) -> Iterator[tuple[int, Any]]:
    """Call a function on every item in worker processes; results come as they are done.

    An exception is a result like any other, so that one bad file does not stop the rest. Closing the iterator,
    or an interrupt, ends the workers at once.

    Args:
        function: picklable, with one argument.
        items: picklable, e.g. paths.
        jobs: number of processes; by default one for each core.
        initializer: called once in every worker, e.g. to load a model.
        initargs: its arguments.
        ordered: give results in the order of the items.

    Yields:
        (position of the item, the result or the exception); `WorkerDied` where the item kills its worker.

    >>> dict(run_files(len, ["ab", "c"], jobs=1))
    {0: 2, 1: 1}
    """
    results = _unordered(
        function, items, jobs or default_jobs(), partial(_start_worker, initializer, initargs)
    )
    with contextlib.closing(results):
        if not ordered:
            yield from results
            return
        early: dict[int, Any] = {}
        due = 0
        for index, result in results:
            early[index] = result
            while due in early:
                yield due, early.pop(due)
                due += 1


def _unordered(
    function: Callable[[Any], Any], items: Sequence[Any], jobs: int, start: Callable[[], None]
) -> Iterator[tuple[int, Any]]:
    jobs = max(1, min(jobs, len(items)))
    waiting = deque(range(len(items)))
    running: dict[Future[Any], int] = {}
    pool = _new_pool(jobs, start)
    try:
        while waiting or running:
            suspects = []
            try:
                while waiting and len(running) < 2 * jobs:
                    running[pool.submit(function, items[waiting[0]])] = waiting[0]
                    waiting.popleft()
            except BrokenProcessPool:
                pass  # the futures that are running say the same
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                index = running.pop(future)
                outcome = _outcome(future)
                if isinstance(outcome, BrokenProcessPool):
                    suspects.append(index)
                else:
                    yield index, outcome
            if suspects:
                for future, index in running.items():
                    outcome = _outcome(future)
                    if isinstance(outcome, BrokenProcessPool):
                        suspects.append(index)
                    else:
                        yield index, outcome
                running.clear()
                _stop(pool)
                for index in sorted(suspects):
                    yield index, _alone(function, items[index], start)
                pool = _new_pool(jobs, start)
    finally:
        _stop(pool)


def _alone(function: Callable[[Any], Any], item: Any, start: Callable[[], None]) -> Any:
    pool = _new_pool(1, start)
    try:
        outcome = _outcome(pool.submit(function, item))
    finally:
        _stop(pool)
    if isinstance(outcome, BrokenProcessPool):
        return WorkerDied("the process that read it was killed (a crash in a decoder, or too little memory)")
    return outcome


def _outcome(future: Future[Any]) -> Any:
    try:
        return future.result()
    except Exception as error:
        return error


def _new_pool(jobs: int, start: Callable[[], None]) -> ProcessPoolExecutor:
    # Never a plain fork: the parent may hold threads and locks (torch, a progress bar).
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["auricle.engine"])
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=start)


def _stop(pool: ProcessPoolExecutor) -> None:
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _start_worker(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone answers an interrupt
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()
    if initializer is not None:
        initializer(*initargs)


def _die_with(sentinel: int) -> None:
    connection.wait([sentinel])  # a parent killed with SIGKILL cannot tell its workers
    os._exit(1)


def pack(
    source: str | Path | Sequence[Clip],
    out: str | Path,
    *,
    rate: int = 16000,
    jobs: int | None = None,
    verify: bool = False,
    label_set: str = "labels",
    quiet: bool = False,
) -> dict[str, Any]:
    """Decode a corpus once into a pack; killed at any moment, the same call goes on where it was.

    Args:
        source: a folder, a table (see `open_corpus`), or clips.
        out: the pack's folder; new, or one that an earlier call with the same arguments left.
        rate: Hz, of all clips.
        jobs: number of processes; by default one for each core. The bytes written do not depend on it.
        verify: read everything again and compare checksums.
        label_set: what the source's labels are called.
        quiet: show no progress.

    Returns:
        `clips`, `failures`, `seconds` of audio, `elapsed` seconds, `finished_before` (nothing was left to do),
        `problems` (what `verify` found).

    Raises:
        ValueError: a source that cannot be read or leaks between splits; a folder that holds something else, or
            is being written by another process.
    """
    started = time.monotonic()
    out = Path(out)
    name, clips, root = _open(source)
    check_leaks(clips)
    per_shard = clips_per_shard(len(clips))
    header = manifest_header(
        rate=rate,
        source=name,
        source_print=fingerprint(clips, root, rate, labels=False),
        label_print=fingerprint(clips, root, rate, labels=True),
        per_shard=per_shard,
    )
    num_shards = -(-len(clips) // per_shard)
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out):
        finished_before = (out / MANIFEST).is_file()
        if finished_before:
            _check_same(header, Pack(out).manifest, out)
        else:
            _prepare(out, header)
            _write_shards(clips, out, rate, per_shard, jobs or default_jobs(), quiet)
            finish_pack(
                out,
                clips,
                partial(_read_entry, out),
                root=root,
                num_shards=num_shards,
                label_set=label_set,
                header=header,
            )
        _remove_journal(out)
        reader = Pack(out)
        report = {key: reader.manifest[key] for key in ("clips", "failures", "seconds")}
        report |= {"elapsed": time.monotonic() - started, "finished_before": finished_before}
        if not finished_before:
            write_json(
                out / RUN, report | {"source": str(source) if isinstance(source, str | Path) else name}
            )
        report["problems"] = reader.verify() if verify else []
    return report


def _open(source: str | Path | Sequence[Clip]) -> tuple[str, list[Clip], Path]:
    if isinstance(source, str | Path):
        name, clips = open_corpus(source)
        path = Path(str(source).removeprefix(f"{name}:") if not Path(source).exists() else source)
        return name, clips, path if path.is_dir() else path.parent
    clips = list(source)
    if not clips:
        raise ValueError("no clips to pack")
    check_ids(clips)
    return "clips", clips, Path(os.path.commonpath([Path(clip.path).absolute().parent for clip in clips]))


def _prepare(out: Path, header: dict[str, Any]) -> None:
    journal = out / JOURNAL
    if (journal / HEADER).is_file():
        _check_same(header, json.loads((journal / HEADER).read_text(encoding="utf-8")), out)
    elif foreign := sorted(path.name for path in out.iterdir() if path.name not in (LOCK, JOURNAL)):
        raise ValueError(f"{out}: the folder holds something else ({foreign[0]}); give a new or empty folder")
    for folder in (journal, out / "shards", out / "labels", out / "index"):
        folder.mkdir(exist_ok=True)
    for leftover in out.rglob(f"*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)
    write_json(journal / HEADER, header)


def _check_same(header: dict[str, Any], found: dict[str, Any], out: Path) -> None:
    different = [key for key, value in header.items() if found.get(key) != value and key not in ("auricle",)]
    if different:
        what = {
            "fingerprint": "its clips, splits or files are not those of the source",
            "label_fingerprint": "its labels are not those of the source",
        }
        reasons = [
            what.get(key, f"{key} is {found.get(key)!r} there, {header[key]!r} asked for")
            for key in different
        ]
        raise ValueError(f"{out}: a pack of something else is there: {'; '.join(reasons)}. Give a new folder")


def _read_entry(out: Path, shard: int) -> dict[str, Any]:
    return json.loads((out / JOURNAL / f"{shard:05d}.json").read_text(encoding="utf-8"))


def _remove_journal(out: Path) -> None:
    journal = out / JOURNAL
    if journal.is_dir():
        for file in journal.iterdir():
            file.unlink()
        journal.rmdir()


def _write_shards(clips: list[Clip], out: Path, rate: int, per_shard: int, jobs: int, quiet: bool) -> None:
    num_shards = -(-len(clips) // per_shard)
    parts = {shard: clips[shard * per_shard : (shard + 1) * per_shard] for shard in range(num_shards)}
    todo = [shard for shard in parts if not (out / JOURNAL / f"{shard:05d}.json").is_file()]
    with Progress(len(clips), "packing", "clips", quiet=quiet) as progress:
        progress.resume_at(
            sum(len(parts[shard]) for shard in parts) - sum(len(parts[shard]) for shard in todo)
        )
        if not todo:
            return
        tasks = [(str(out), shard, rate, _ranges(parts[shard]), {}) for shard in todo]
        for index, result in run_files(_pack_shard, tasks, jobs=jobs):
            shard = todo[index]
            if isinstance(result, WorkerDied):
                progress.note(f"a worker died on shard {shard}: reading its clips one by one")
                result = _pack_carefully(tasks[index])
            if isinstance(result, BaseException):
                raise result
            for error in result:
                progress.note(f"failed: {error}")
            progress.advance(len(parts[shard]))


Range = tuple[str, float | None, float | None]


def _ranges(clips: Sequence[Clip]) -> list[Range]:
    return [(clip.path, clip.start, clip.end) for clip in clips]


def _pack_shard(task: tuple[str, int, int, list[Range], dict[int, str]]) -> list[str]:
    out, shard, rate, ranges, known_failures = task
    decoded = (
        known_failures[position] if position in known_failures else _decode(rate, clip)
        for position, clip in enumerate(ranges)
    )
    entry = write_shard(Path(out), shard, decoded)
    return [row["error"] for row in entry["clips"] if "error" in row]


def _pack_carefully(task: tuple[str, int, int, list[Range], dict[int, str]]) -> Any:
    """Find the clips that kill their worker, then write the shard without them."""
    out, shard, rate, ranges, _ = task
    failures = {}
    for position, result in run_files(partial(_try_decode, rate), ranges, jobs=1):
        if isinstance(result, WorkerDied):
            failures[position] = f"{Path(ranges[position][0]).name}: {result}"
    [(_, result)] = run_files(_pack_shard, [(out, shard, rate, ranges, failures)], jobs=1)
    return result


def _try_decode(rate: int, clip: Range) -> None:
    _decode(rate, clip)


def _decode(rate: int, clip: Range) -> tuple[np.ndarray, list[str]] | str:
    import soundfile
    import soxr

    path, start, end = clip
    warnings: list[str] = []
    try:
        samples, own = soundfile.read(path, dtype="float32", always_2d=True)
        samples = soxr.resample(samples.mean(axis=1), own, rate)
    except Exception as error:
        return str(error)
    if not len(samples):
        return f"{Path(path).name}: no samples in this range"
    return samples, warnings


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the folder: the lock goes with the process, so that a killed run leaves none behind."""
    import fcntl

    path = out / LOCK
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise ValueError(
                f"{out}: another process (pid {holder}) is packing into this folder; wait for it, or give another"
            ) from None
        if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
            break
        os.close(descriptor)  # the holder finished and removed it between our two steps
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
