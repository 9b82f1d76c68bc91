"""Work for several that do the same, each one thing at a time: interpreters and sessions side by side."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait


def share_out(count: int, workers: Sequence[Callable[[int], None]], pool: ThreadPoolExecutor | None) -> None:
    """Have workers do 0, 1, ... count - 1: each number once, by whoever is free; returns when all are done.

    Args:
        count: how many there are.
        workers: each is called with one number at a time, the first of them in the caller's thread.
        pool: threads for the others; None where there is one worker.

    >>> done = []
    >>> share_out(3, [done.append], None)
    >>> done
    [0, 1, 2]
    """
    taken, lock = iter(range(count)), threading.Lock()

    def work(worker: Callable[[int], None]) -> None:
        while True:
            with lock:
                number = next(taken, None)
            if number is None:
                return
            worker(number)

    used = workers[:count]
    others = [pool.submit(work, worker) for worker in used[1:]] if pool is not None else []
    try:
        for worker in used[:1]:  # the caller's thread would only wait: it works too
            work(worker)
    finally:
        wait(others)  # none may still write to what the caller has
    for other in others:
        other.result()
