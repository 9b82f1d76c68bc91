"""The queue of jobs: bounded, cancelled, limited in time, kept for a while, and taken up after a restart."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import wait_until

from auricle.audio import AudioError
from auricle.serve import jobs as module
from auricle.serve.errors import Refused
from auricle.serve.job import Job
from auricle.serve.jobs import JobQueue
from auricle.serve.processes import Died
from auricle.serve.settings import Settings

Queues = Callable[..., JobQueue]


class Gate:
    """Work that waits until it is let go, and looks now and then whether it should go on."""

    def __init__(self) -> None:
        self.open, self.began = threading.Event(), list[str]()

    def __call__(self, job: Job) -> dict[str, Any]:
        self.began.append(job.name)
        while not self.open.wait(0.01):
            job.hear(job.heard + 1)
        return {"said": job.arguments["word"]}


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def queues(tmp_path: Path, gate: Gate) -> Iterator[Queues]:
    """Makes queues on the same folder, one after the other; all are closed at the end."""
    made = []

    def make(work: Any = gate, **settings: Any) -> JobQueue:
        queue = JobQueue(Settings(**settings), tmp_path)
        queue.kinds["say"] = work
        queue.start()
        made.append(queue)
        return queue

    yield make
    gate.open.set()
    for queue in made:
        queue.close()
    assert not any(thread.name.startswith("auricle-job") for thread in threading.enumerate())


def ended(job: Job) -> bool:
    return asyncio.run(job.wait(20))


def test_a_job_runs_and_its_result_is_kept(queues: Queues, gate: Gate) -> None:
    queue = queues()
    job = queue.submit("say", {"word": "dog"}, name="a.wav")
    assert len(job.id) >= 20 and queue.get(job.id) is job
    gate.open.set()
    assert ended(job) and job.state == "done" and job.result == {"said": "dog"}
    assert job.about()["state"] == "done" and job.about()["finished"].endswith("Z")
    assert queue.counts()["done"] == 1 and queue.ended["done"] == 1
    wait_until(lambda: queue.idle)  # its thread comes back a moment later


def test_jobs_run_in_their_order_so_many_at_once(queues: Queues, gate: Gate) -> None:
    queue = queues(jobs_at_once=2)
    all_jobs = [queue.submit("say", {"word": ""}, name=str(number)) for number in range(5)]
    wait_until(lambda: len(gate.began) == 2)
    time.sleep(0.05)
    assert sorted(gate.began) == ["0", "1"] and queue.counts() | {"running": 2, "queued": 3} == queue.counts()
    gate.open.set()
    assert all(map(ended, all_jobs)) and sorted(gate.began) == list("01234")


@pytest.mark.parametrize(
    ("size", "said"), [(1, "1 recording waits already"), (2, "2 recordings wait already")]
)
def test_a_full_queue_refuses_and_says_when_to_come_back(
    size: int, said: str, queues: Queues, gate: Gate, tmp_path: Path
) -> None:
    queue = queues(queue=size, jobs_at_once=1)
    queue.submit("say", {"word": ""})
    wait_until(lambda: gate.began)
    for _ in range(size):
        queue.submit("say", {"word": ""})
    for ask in (queue.check_room, lambda: queue.submit("say", {"word": ""})):
        with pytest.raises(Refused, match=said) as refused:
            ask()
        assert refused.value.status == 429 and int(refused.value.headers["Retry-After"]) >= 1
    assert len(list((tmp_path / "jobs").iterdir())) == size + 1


def test_a_job_that_waits_or_runs_can_be_cancelled_and_its_upload_goes(
    queues: Queues, gate: Gate, tmp_path: Path
) -> None:
    queue = queues(jobs_at_once=1)
    (tmp_path / "uploads").mkdir()
    jobs = []
    for name in ("a", "b"):
        (tmp_path / "uploads" / name).write_text("x")
        jobs.append(queue.submit("say", {"word": ""}, name=name, files=(f"uploads/{name}",)))
    wait_until(lambda: gate.began == ["a"])
    for job in reversed(jobs):
        queue.cancel(job.id)
        assert ended(job) and job.state == "cancelled" and job.result is None
    assert gate.began == ["a"] and not list((tmp_path / "uploads").iterdir())
    assert queue.counts()["cancelled"] == 2


def test_a_forgotten_job_leaves_nothing(queues: Queues, gate: Gate, tmp_path: Path) -> None:
    queue = queues(jobs_at_once=1)
    running, waiting = (queue.submit("say", {"word": ""}, name=name) for name in "ab")
    wait_until(lambda: gate.began == ["a"])
    for job in (waiting, running):
        queue.forget(job.id)
        with pytest.raises(Refused, match="no job .* is kept for 24 hours: send"):
            queue.get(job.id)
    wait_until(lambda: not list((tmp_path / "jobs").iterdir()))
    gate.open.set()
    done = queue.submit("say", {"word": ""}, keep=False)
    assert ended(done)
    wait_until(lambda: not list((tmp_path / "jobs").iterdir()))
    queue.forget("nonesuch")


@pytest.mark.parametrize(
    "error, status, text",
    [
        (AudioError("a.wav: is empty"), 422, "a.wav: is empty"),
        (ValueError("hop is 9 s"), 422, "hop is 9 s"),
        (Refused(410, "gone"), 410, "gone"),
        (Died("a.wav: it made the decoder crash", "crash"), 422, "a.wav: it made"),
        (Died("a.wav: no process could be started", "start"), 503, "a.wav: no process"),
        (Died("a.wav: the service lost the processes", "server"), 503, "a.wav: the service lost"),
        (OSError(28, "No space left on device", "/secret/place"), 507, "the disk of the service is full"),
        (KeyError("secret"), 500, "the service made a mistake"),
    ],
)
def test_what_goes_wrong_is_told_and_the_next_job_runs(
    queues: Queues, error: Exception, status: int, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    def work(job: Job) -> dict[str, Any]:
        if job.name == "bad":
            raise error
        return {}

    queue = queues(work, jobs_at_once=1)
    bad, good = (queue.submit("say", {}, name=name) for name in ("bad", "good"))
    assert ended(good) and good.state == "done"
    assert bad.state == "failed" and bad.status == status
    assert bad.error is not None and bad.error.startswith(text) and "secret" not in bad.error
    assert (status == 500) == bool(caplog.records)


def test_a_job_that_takes_too_long_is_ended(
    queues: Queues, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.05)
    job = queues(job_seconds=1).submit("say", {"word": ""}, name="a.wav")
    assert ended(job) and job.state == "failed"
    assert (job.error, job.status) == ("a.wav: took longer than 1 s; send a shorter part", 422)


def test_progress_says_how_fast_and_how_long(queues: Queues, gate: Gate) -> None:
    job = queues().submit("say", {"word": ""})
    wait_until(lambda: job.heard > 10)
    job.duration = 1e6
    progress = job.progress
    heard, speed, left = (progress[name] for name in ("heard", "speed", "left"))
    assert heard and speed and left
    assert left == pytest.approx((1e6 - heard) / speed, rel=0.2)


def test_what_runs_and_waits_is_interrupted_by_the_end_and_done_after_a_restart(
    queues: Queues, gate: Gate, tmp_path: Path
) -> None:
    queue = queues(jobs_at_once=1)
    (tmp_path / "uploads").mkdir()
    for name in ("needed", "orphan"):
        (tmp_path / "uploads" / name).write_text("x")
    first = queue.submit("say", {"word": "one"}, name="a", files=("uploads/needed",))
    second = queue.submit("say", {"word": "two"}, name="b")
    wait_until(lambda: gate.began == ["a"])
    queue.stop_taking()
    with pytest.raises(Refused, match="takes nothing new") as refused:
        queue.submit("say", {"word": ""})
    assert refused.value.status == 503 and not queue.idle
    queue.close()
    assert first.state == second.state == "interrupted" and (tmp_path / "uploads" / "needed").is_file()
    gate.open.set()
    again = queues(jobs_at_once=1)
    for old in (first, second):
        job = again.get(old.id)
        assert job is not old and ended(job) and job.result == {"said": old.arguments["word"]}
        assert job.attempts == 1 and job.created == old.created
    assert gate.began == ["a", "a", "b"] and not list((tmp_path / "uploads").iterdir())
    again.close()
    kept = queues().get(second.id)
    assert kept.state == "done" and kept.result == {"said": "two"} and kept.name == "b"


def test_a_job_that_takes_the_service_down_with_it_is_not_tried_for_ever(
    queues: Queues, gate: Gate, tmp_path: Path
) -> None:
    queue = queues()
    job = queue.submit("say", {"word": ""})
    wait_until(lambda: gate.began)
    file = tmp_path / "jobs" / job.id / "job.json"
    killed = json.loads(file.read_text())
    assert killed["state"] == "running" and killed["attempts"] == 1
    queue.close()
    file.write_text(json.dumps(killed | {"attempts": 3}))
    again = queues().get(job.id)
    assert again.state == "failed" and again.error == "was begun 3 times, and each time the service ended"
    assert len(gate.began) == 1


def test_a_job_that_nobody_knows_of_is_not_taken_up(queues: Queues, gate: Gate, tmp_path: Path) -> None:
    queue = queues(jobs_at_once=1)
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "a").write_text("x")
    unknown = queue.submit("say", {"word": ""}, known=False, files=("uploads/a",))
    told = queue.submit("say", {"word": ""}, known=False)
    queue.make_known(told)
    queue.close()
    again = queues()
    assert again.get(told.id).known and not list((tmp_path / "uploads").iterdir())
    with pytest.raises(Refused, match="no job"):
        again.get(unknown.id)


def test_what_is_no_job_on_the_disk_is_removed(queues: Queues, tmp_path: Path) -> None:
    (tmp_path / "jobs" / "half").mkdir(parents=True)
    (tmp_path / "jobs" / "half" / "job.json").write_text('{"id": ')
    queues()
    assert not list((tmp_path / "jobs").iterdir())


def test_finished_jobs_expire_and_are_not_too_many(
    queues: Queues, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.open.set()
    queue = queues(keep_hours=1.0)
    jobs = [queue.submit("say", {"word": ""}) for _ in range(4)]
    assert all(map(ended, jobs))
    queue.expire(time.time() + 3000)
    assert queue.counts()["done"] == 4
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    queue.expire(time.time())
    assert queue.counts()["done"] == 3
    queue.expire(time.time() + 3700)
    assert queue.counts()["done"] == 0


def test_many_waiters_are_woken_and_a_wait_ends_in_time(queues: Queues, gate: Gate) -> None:
    job = queues().submit("say", {"word": ""})

    async def wait() -> list[bool]:
        assert not await job.wait(0) and not await job.wait(0.01)
        waiting = [asyncio.create_task(job.wait(20)) for _ in range(10)]
        await asyncio.sleep(0)
        gate.open.set()
        return await asyncio.gather(*waiting)

    assert all(asyncio.run(wait())) and not job._waiting
