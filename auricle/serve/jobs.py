"""Work that waits its turn: a bounded queue, worked off in threads, that a restart does not forget."""

import json
import logging
import secrets
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auricle.audio import AudioError
from auricle.serve.errors import FULL, NO_ROOM, Refused
from auricle.serve.job import STATES, Job
from auricle.serve.processes import Died, spoken
from auricle.serve.settings import Settings
from auricle.text import counted

logger = logging.getLogger("auricle.serve")

MOST_KEPT = 10_000  # finished jobs; older ones are forgotten first
MOST_ATTEMPTS = 3  # what takes the service down with it is not tried for ever
TICK_SECONDS = 0.5
EXPIRY_SECONDS = 30.0
STOPPING = "the service is ending and takes nothing new; ask again once it is back"


class JobQueue:
    """Jobs that wait, run and have ended.

    Args:
        settings: how many may wait and run, and for how long they are kept.
        data: the folder in which they are written down, below "jobs".

    >>> queue = JobQueue(Settings(), Path("data"))  # doctest: +SKIP
    >>> queue.kinds["tag"] = lambda job: {"tags": []}  # doctest: +SKIP
    >>> queue.start()  # doctest: +SKIP
    >>> queue.submit("tag", {"top": 5}).state  # doctest: +SKIP
    'queued'
    """

    def __init__(self, settings: Settings, data: Path):
        self.kinds: dict[str, Callable[[Job], dict[str, Any]]] = {}
        self.settings, self.data = settings, data
        self.ended: Counter[str] = Counter()  # jobs since the start, by state
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._running: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._stopping = self._closed = False
        self._typical = 1.0  # seconds that a job takes
        self._heard = 0.0  # seconds of sound, of jobs that have ended
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def folder(self) -> Path:
        """Where jobs are written down."""
        return self.data / "jobs"

    def start(self) -> None:
        """Take up what an earlier service left, and begin."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in sorted(self.folder.iterdir()):
            self._take_up(folder)
        self._waiting = deque(sorted(self._waiting, key=lambda job: job.created))
        self._remove_orphans()
        for number in range(self.settings.jobs_at_once):
            self._threads.append(
                threading.Thread(target=self._work, name=f"auricle-job-{number}", daemon=True)
            )
        self._threads.append(threading.Thread(target=self._look_after, name="auricle-jobs", daemon=True))
        for thread in self._threads:
            thread.start()

    def check_room(self) -> None:
        """Refuse early what `submit` would refuse.

        Raises:
            Refused: 429 where the queue is full, 503 where the service ends.
        """
        with self._changed:
            self._check_room()

    def submit(
        self,
        kind: str,
        arguments: dict[str, Any],
        *,
        name: str = "",
        files: tuple[str, ...] = (),
        keep: bool = True,
        known: bool = True,
    ) -> Job:
        """Put a job into the queue; the arguments are those of `Job`.

        Raises:
            Refused: as `check_room`; the files are then the caller's.
        """
        assert kind in self.kinds, kind
        id = secrets.token_urlsafe(16)
        about: dict[str, Any] = {"name": name, "files": files, "keep": keep, "known": known}
        job = Job(id=id, kind=kind, arguments=arguments, folder=self.folder / id, **about)
        self.check_room()
        try:
            job.save()
            with self._changed:
                self._check_room()
                self._jobs[id] = job
                self._waiting.append(job)
                self._changed.notify()
        except BaseException:
            shutil.rmtree(job.folder, ignore_errors=True)
            raise
        return job

    def make_known(self, job: Job) -> None:
        """Somebody is told the job's id: from now on a restart does not forget it."""
        job.known = True
        with self._changed:
            there = job.id in self._jobs
        if there:
            job.save()

    def get(self, id: str) -> Job:
        """A job by its id.

        Raises:
            Refused: 404 where there is none.
        """
        job = self._jobs.get(id)
        if job is None:
            kept = spoken(self.settings.keep_hours * 3600)
            raise Refused(
                404, f"no job {id[:64]!r}; a finished one is kept for {kept}: send the recording again"
            )
        return job

    def cancel(self, id: str) -> Job:
        """End a job, whether it waits or runs; one that has ended stays as it is.

        Raises:
            Refused: 404 where there is none.
        """
        job = self.get(id)
        job.end("cancelled")
        with self._changed:
            waits = job in self._waiting
            if waits:
                self._waiting.remove(job)
        if waits:
            self._settle(job, "cancelled")
            if not job.keep:
                self._remove(job)
        return job

    def forget(self, id: str) -> None:
        """Drop a job, its result and its files; one that runs is cancelled first, and goes when it ends."""
        job = self._jobs.get(id)
        if job is None:
            return
        job.keep = False
        self.cancel(id)
        with self._changed:
            self._jobs.pop(id, None)
            runs = id in self._running
        if not runs:
            self._remove(job)

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state.

        >>> JobQueue(Settings(), Path("data")).counts()["queued"]
        0
        """
        with self._changed:
            found = Counter(job.state for job in self._jobs.values())
        return {state: found[state] for state in STATES}

    @property
    def heard(self) -> float:
        """Seconds of sound that were heard since the start."""
        with self._changed:
            return self._heard + sum(job.heard for job in self._running.values())

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        with self._changed:
            return not self._waiting and not self._running

    def stop_taking(self) -> None:
        """Take nothing new: `submit` gives 503."""
        with self._changed:
            self._stopping = True

    def close(self) -> None:
        """End: what waits and runs is interrupted, to be taken up at the next start."""
        self.stop_taking()
        with self._changed:
            if self._closed:
                return
            self._closed = True
            waiting, self._waiting = list(self._waiting), deque()
            running = list(self._running.values())
            self._changed.notify_all()
        self._over.set()
        for job in waiting:
            job.settle("interrupted")
        for job in running:
            job.end("interrupted")
        for thread in self._threads:
            thread.join(10.0)

    def _check_room(self) -> None:
        if self._stopping:
            raise Refused(503, STOPPING, {"Retry-After": "30"})
        if len(self._waiting) >= self.settings.queue:
            seconds = self._typical * len(self._waiting) / self.settings.jobs_at_once / 4
            count = len(self._waiting)
            wait = f"{counted(count, 'recording')} {'waits' if count == 1 else 'wait'}"
            text = f"{wait} already, which is as many as may; ask again later"
            raise Refused(429, text, {"Retry-After": str(max(1, min(60, round(seconds))))})

    def _take_up(self, folder: Path) -> None:
        """Read a job that an earlier service wrote down."""
        try:
            known = json.loads((folder / "job.json").read_text(encoding="ascii"))
            job = Job(**known | {"files": tuple(known["files"]), "folder": folder})
        except (OSError, ValueError, TypeError, KeyError):
            shutil.rmtree(folder, ignore_errors=True)  # it was never told to anybody
            return
        if not job.known:
            self._remove(job)
            return
        if not job.unfinished:
            self._jobs[job.id] = job
            return
        if job.kind not in self.kinds or job.attempts >= MOST_ATTEMPTS:
            job.error, job.status = f"was begun {job.attempts} times, and each time the service ended", 500
            self._jobs[job.id] = job
            self._settle(job, "failed")
            return
        job.state, job.heard = "queued", 0.0
        self._jobs[job.id] = job
        self._waiting.append(job)

    def _remove_orphans(self) -> None:
        """Uploads that were on their way when an earlier service ended."""
        needed = {file for job in self._waiting for file in job.files}
        for path in (self.data / "uploads").glob("*"):
            if f"uploads/{path.name}" not in needed and path.is_file():
                path.unlink(missing_ok=True)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._waiting.popleft()
                self._running[job.id] = job
            try:
                self._run(job)
            except Exception:  # a disk that is full, say; the thread is needed for the next job
                logger.exception("job %s", job.id)
            finally:
                with self._changed:
                    self._running.pop(job.id, None)
                    self._heard += job.heard
                    forgotten = job.id not in self._jobs
                if forgotten:
                    self._remove(job)

    def _run(self, job: Job) -> None:
        job.state, job._began = "running", time.monotonic()
        job.attempts += 1
        try:
            job.save()
            job.check()
            job.result = self.kinds[job.kind](job)
            state = "cancelled" if job.ending == "cancelled" else "done"
        except Exception as error:
            state = self._failed(job, error)
        self._typical += 0.1 * (time.monotonic() - job._began - self._typical)
        if state == "interrupted":
            job.attempts -= 1  # it was not the job's fault
            job.state = state
            job.save()
            job.settle(state)
        else:
            self._settle(job, state)

    def _failed(self, job: Job, error: Exception) -> str:
        """How a job ended in which something was raised."""
        if job.stop.is_set() and job.ending in ("cancelled", "interrupted"):
            return job.ending
        if job.stop.is_set():
            job.error, job.status = job.ending, 422
        else:
            job.error, job.status = told(error)
            if job.status == 500:
                logger.error("job %s (%s)", job.id, job.kind, exc_info=error)
        return "failed"

    def _settle(self, job: Job, state: str) -> None:
        """A job has ended: its files go, and who waits is told."""
        self.ended[state] += 1
        for file in job.files:
            (self.data / file).unlink(missing_ok=True)
        job.state, job.finished = state, time.time()
        try:
            if job.keep:
                job.save()
        finally:
            job.settle(state)
            if not job.keep:
                with self._changed:
                    self._jobs.pop(job.id, None)

    def _remove(self, job: Job) -> None:
        for file in job.files:
            (self.data / file).unlink(missing_ok=True)
        shutil.rmtree(job.folder, ignore_errors=True)

    def _look_after(self) -> None:
        expired = 0.0
        while not self._over.wait(TICK_SECONDS):
            limit = self.settings.job_seconds
            with self._changed:
                running = list(self._running.values())
            for job in running:
                if job._began is not None and time.monotonic() - job._began > limit:
                    job.end(
                        f"{job.name or 'the recording'}: took longer than {limit:g} s; send a shorter part"
                    )
            if time.monotonic() - expired > EXPIRY_SECONDS:
                expired = time.monotonic()
                self.expire(time.time())

    def expire(self, now: float) -> None:
        """Forget what ended long ago, and the oldest of what is too many."""
        with self._changed:
            ended = [job for job in self._jobs.values() if not job.unfinished]
        ended.sort(key=lambda job: job.finished or job.created)
        last = now - self.settings.keep_hours * 3600
        for number, job in enumerate(ended):
            if (job.finished or job.created) < last or len(ended) - number > MOST_KEPT:
                self.forget(job.id)


def told(error: Exception) -> tuple[str, int]:
    """What a client is told of what was raised, and with which status.

    >>> told(ValueError("hop is 9 s; expected 2 s or less"))
    ('hop is 9 s; expected 2 s or less', 422)
    """
    if isinstance(error, Refused):
        return error.text, error.status
    if isinstance(error, Died) and error.is_ours:
        return str(error), 503
    if isinstance(error, AudioError | ValueError):
        return str(error), 422
    if isinstance(error, OSError) and error.errno in FULL:
        return NO_ROOM, 507
    return "the service made a mistake, which stands in its log; send the recording again", 500
