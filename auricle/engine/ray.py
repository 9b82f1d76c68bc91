"""The workers of a job on Ray: on one machine or on many that share a file system; the only importer of ray.

Ray begins a task again, once, whose worker died or whose node was lost. What it then reports is counted here:
a task whose node was lost again is given out anew, for that says nothing of the task; one that killed its
worker twice is the caller's to look into.
"""

import contextlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from auricle.engine.processes import KILLED, WorkerDied, default_jobs

RETRIES = 1  # of Ray's own
LOSSES = 3  # of its node, of which each is two: then it is the task's own doing after all
TOKEN = Path("~/.ray/auth_token").expanduser()
OBJECT_STORE = 100_000_000  # bytes; results go to files, and only journal entries through Ray


@contextlib.contextmanager
def ray_workers(address: str | None, jobs: int | None = None) -> Iterator[Callable[..., Any]]:
    """Connect to a cluster, or start one on this machine, for as long as this is open.

    Args:
        address: of a cluster, or "auto" for the one that runs on this machine; None starts one.
        jobs: processes of one that is started; by default one for each core.

    Yields:
        A function as `auricle.engine.processes.run_files`: (function, items, jobs) -> (position, result).

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ValueError: there is no cluster at this address.

    >>> with ray_workers(None, 2) as run:  # doctest: +SKIP
    ...     dict(run(len, ["ab", "c"], 2))
    {0: 2, 1: 1}
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves this machine
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # a busy one is slow to start Ray
    if address is not None and TOKEN.is_file():  # `ray start` asks for it then; read as Ray is imported
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    mine = not ray.is_initialized()
    if mine:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if address is None:
            address = "local"
            options |= {"num_cpus": jobs or default_jobs(), "object_store_memory": OBJECT_STORE}
            options["include_dashboard"] = False
        try:
            ray.init(address=address, **options)
        except ConnectionError as error:
            cause = " ".join(str(error).split())
            other = f", or it asks for another token than that of {TOKEN}" if TOKEN.is_file() else ""
            raise ValueError(f"{address}: no Ray cluster answers there{other} ({cause})") from None
        except Exception as error:
            if type(error) is not Exception:
                raise
            raise ValueError(
                f"Ray did not start on this machine: {error}"
            ) from None  # Ray has no class for it
    try:
        yield _run
    finally:
        if mine:
            ray.shutdown()


def _run(function: Callable[[Any], Any], items: Sequence[Any], jobs: int | None) -> Iterator[tuple[int, Any]]:
    import ray

    call, folder = ray.remote(num_cpus=1, max_retries=RETRIES)(_call), str(Path.cwd())
    waiting = deque(range(len(items)))
    running: dict[Any, int] = {}
    lost: Counter[int] = Counter()
    try:
        while waiting or running:
            # Some more than there are cores, so that none waits for this process; nodes come and go.
            most = jobs or 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
            while waiting and len(running) < most:
                index = waiting.popleft()
                running[call.remote(folder, function, items[index])] = index
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                index = running.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.NodeDiedError:
                    lost[index] += 1
                    if lost[index] < LOSSES:
                        waiting.appendleft(index)
                        continue
                    result = WorkerDied(KILLED)
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                    result = WorkerDied(KILLED)
                yield index, result
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _call(folder: str, function: Callable[[Any], Any], item: Any) -> Any:
    """In a worker: an exception is a result like any other, and never Ray's to wrap."""
    try:
        with contextlib.suppress(FileNotFoundError):  # a machine that shares no disk, given addresses
            os.chdir(folder)  # where paths begin that are not absolute
        return function(item)
    except Exception as error:
        return error
