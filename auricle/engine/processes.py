"""A function over many items in worker processes, in which nothing that goes wrong stops the rest.

A worker that dies (a decoder that crashes, a system short of memory) costs the item it died on and no other:
what was under way is done again alone, and an item that kills its worker again is reported as that.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import connection
from pathlib import Path
from typing import Any

KILLED = "the process that worked on it was killed: a crash in a decoder, or too little memory"
SOCKET_NAME = 103  # bytes: Linux takes 107, macOS 103
_start_error: Exception | None = None  # in a worker: why its initializer failed


class WorkerDied(Exception):
    """The process that worked on an item was killed, also when nothing else was under way."""


def default_jobs() -> int:
    """The number of processor cores that this process may use.

    >>> default_jobs() >= 1
    True
    """
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

    An exception is a result like any other, so that one bad file does not stop the rest. Closing the
    iterator, or an interrupt, ends the workers at once; if this process is killed, they end by themselves.

    Args:
        function: picklable, with one argument.
        items: picklable, e.g. paths.
        jobs: number of processes; by default one for each core.
        initializer: called once in every worker, e.g. to load a model. If it raises, that is the result of
            every item.
        initargs: its arguments.
        ordered: give results in the order of the items.

    Yields:
        (position of the item, the result or the exception); `WorkerDied` where the item kills its worker.

    Raises:
        ValueError: `jobs` is below 1.

    >>> dict(run_files(len, ["ab", "c", 3], jobs=1))
    {0: 2, 1: 1, 2: TypeError("object of type 'int' has no len()")}
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs: expected 1 or more, got {jobs}")
    start = partial(_start_worker, initializer, initargs)
    return _run(partial(_work, function), items, jobs or default_jobs(), start, ordered)


def _run(
    work: Callable[[Any], Any], items: Sequence[Any], jobs: int, start: Callable[[], None], ordered: bool
) -> Iterator[tuple[int, Any]]:
    with contextlib.closing(_as_completed(work, items, jobs, start)) as results:
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


def _as_completed(
    work: Callable[[Any], Any], items: Sequence[Any], jobs: int, start: Callable[[], None]
) -> Generator[tuple[int, Any], None, None]:
    if not items:
        return
    jobs = min(jobs, len(items))
    waiting = deque(range(len(items)))
    running: dict[Future[Any], int] = {}
    pool = _new_pool(jobs, start)
    submit = partial(_submit, of_main=b"__main__" in pickle.dumps((work, start)))
    try:
        while waiting or running:
            # One more than the workers have in hand, so that none waits for this process.
            with contextlib.suppress(BrokenProcessPool):  # then the futures under way say so too
                while waiting and len(running) <= jobs:
                    running[submit(pool, work, items[waiting[0]])] = waiting[0]
                    waiting.popleft()
            done = set(wait(running, return_when=FIRST_COMPLETED).done)
            outcomes = [(running.pop(future), _outcome(future)) for future in done]
            broken = any(isinstance(outcome, BrokenProcessPool) for _, outcome in outcomes)
            if broken or not done:  # nothing could be submitted and nothing is under way: the pool is gone
                outcomes += [(index, _outcome(future)) for future, index in running.items()]
                running.clear()
                _stop(pool)
                pool = _new_pool(jobs, start)
            for index, outcome in sorted(outcomes, key=lambda pair: pair[0]):
                if isinstance(outcome, BrokenProcessPool):
                    outcome = _alone(submit, work, items[index], start)
                yield index, outcome
    finally:
        _stop(pool)


def _submit(pool: ProcessPoolExecutor, work: Callable[[Any], Any], item: Any, of_main: bool) -> Future[Any]:
    """Give work out; where it needs nothing of the caller's script, workers do not run that script again.

    They would by default: a script that does its work at import would begin it anew in each of them, and one
    that was read from standard input could not be found.
    """
    script = vars(sys.modules["__main__"])
    names: tuple[str, ...] = ("__file__", "__spec__")
    kept = {name: script[name] for name in names if name in script}
    if not of_main:
        script.pop("__file__", None)
        script["__spec__"] = None
    try:
        return pool.submit(work, item)  # which starts a worker where there are too few
    finally:
        script.update(kept)


def _alone(submit: Callable[..., Future[Any]], work: Any, item: Any, start: Callable[[], None]) -> Any:
    pool = _new_pool(1, start)
    try:
        outcome = _outcome(submit(pool, work, item))
    finally:
        _stop(pool)
    if isinstance(outcome, BrokenProcessPool):
        return WorkerDied(KILLED)
    return outcome


def _outcome(future: Future[Any]) -> Any:
    try:
        return future.result()
    except Exception as error:
        return error


def _new_pool(jobs: int, start: Callable[[], None]) -> ProcessPoolExecutor:
    # Never a plain fork: this process may have threads that hold locks (torch, a progress bar).
    if "forkserver" in multiprocessing.get_all_start_methods() and _room_for_a_socket():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["auricle.engine"])  # imported once, not by every worker
        return ProcessPoolExecutor(jobs, mp_context=context, initializer=start)
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=start)


def _room_for_a_socket() -> bool:
    """Whether a socket in the folder for temporary files, as a fork server has one, can have a name."""
    return len(os.fsencode(Path(tempfile.gettempdir(), "pymp-12345678", "listener-12345678"))) <= SOCKET_NAME


def _stop(pool: ProcessPoolExecutor) -> None:
    # shutdown() alone waits for what is under way; there is no public way to end it in Python 3.11.
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _start_worker(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    global _start_error
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone answers an interrupt
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()
    try:
        if initializer is not None:
            initializer(*initargs)
    except Exception as error:  # raised here it would break the pool, and look like a crash
        _start_error = error


def _die_with(sentinel: int) -> None:
    connection.wait([sentinel])  # a parent that was killed cannot tell its workers
    os._exit(1)


def _work(function: Callable[[Any], Any], item: Any) -> Any:
    if _start_error is not None:
        raise _start_error
    return function(item)
