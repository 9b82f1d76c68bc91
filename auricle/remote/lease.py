"""Two runs into one place elsewhere: the second is refused, where it can be seen.

A disk's lock goes with the process that holds it; a store has none. In its place a small file says who is at
work, and when it was last renewed. It is written on the condition that there is none; of a run that was
killed it stays, and is taken over: at once where that process was of this machine, else after five minutes.
"""

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from auricle.remote.addresses import join, name_of, parent
from auricle.remote.files import look_up, put_bytes, put_new, read_json, remove

LOCK = ".lock"
RENEW = 60.0  # seconds
STALE = 300.0  # so much silence, and a run is taken for dead; clocks may differ by minutes


@contextlib.contextmanager
def held(address: str, *, file: bool = False) -> Iterator[Callable[[], None]]:
    """Hold a folder, or a file, against other runs.

    Args:
        address: of the folder or the file.
        file: it is a file; others beside it stay free.

    Yields:
        A function that raises ValueError where the place was taken over by another run in the meantime (this
        one was silent for too long).

    Raises:
        ValueError: another run is at work there.

    >>> with held("s3://bucket/pack") as check:  # doctest: +SKIP
    ...     check()
    """
    lock = join(parent(address), f".{name_of(address)}{LOCK}") if file else join(address, LOCK)
    token = uuid.uuid4().hex
    content = json.dumps({"host": platform.node(), "pid": os.getpid(), "token": token}).encode()
    _take(lock, content, address, "file" if file else "folder")
    ended, lost = threading.Event(), threading.Event()

    def renew() -> None:
        while not ended.wait(RENEW):
            with contextlib.suppress(OSError):  # the next time, perhaps
                if (read_json(lock) or {}).get("token") != token:
                    return lost.set()
                put_bytes(content, lock)

    def check() -> None:
        if lost.is_set():
            raise ValueError(f"{address}: another run has taken this over; what is finished there is kept")

    thread = threading.Thread(target=renew, daemon=True, name="auricle-lease")
    thread.start()
    try:
        yield check
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            if not lost.is_set() and (read_json(lock) or {}).get("token") == token:
                remove([lock])


def _take(lock: str, content: bytes, address: str, what: str) -> None:
    try:
        if put_new(content, lock):
            return
    except FileNotFoundError:
        raise ValueError(
            f"{address}: there is no such bucket, or it may not be written to; make it, or name another"
        ) from None
    entry, holder = look_up(lock), read_json(lock) or {}
    silent = time.time() - entry.written if entry is not None and entry.written is not None else 0.0
    if entry is not None and silent < STALE and not _is_dead(holder):
        who = f"pid {holder.get('pid', 'unknown')} on {holder.get('host', 'unknown')}"
        raise ValueError(
            f"{address}: another process ({who}, last heard of {max(silent, 0):.0f} s ago) is writing this "
            f"{what}; wait, or give another {what}; a run that was killed is forgotten after {STALE:.0f} s"
        )
    remove([lock])
    if not put_new(content, lock):
        raise ValueError(
            f"{address}: another process has just begun to write this {what}; wait, or give another"
        )


def _is_dead(holder: dict[str, object]) -> bool:
    """Whether it was a process of this machine that is there no more."""
    if holder.get("host") != platform.node() or not isinstance(pid := holder.get("pid"), int):
        return False
    if os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
