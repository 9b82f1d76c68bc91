"""Jobs: killed at every step, repeated, worked on in any order, and always the same bytes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from running import run

from auricle.datasets import Clip
from auricle.embedding import embed_files, embed_pack
from auricle.engine import Engine, WorkerDied, jobs, pack, tagging
from auricle.engine.embedding import EmbedOptions, embed_clips, embed_many
from auricle.engine.jobs import Job, read_entry, run_job, split_by_bytes, unfinished
from auricle.engine.joined import write_joined
from auricle.engine.processes import KILLED
from auricle.engine.ray import ray_workers
from auricle.engine.tasks import Task
from auricle.shards.layout import locked, publish
from auricle.tagging import TagOptions

HERE = Engine(kind="here")


def errors(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("auricle: error: ")]


# --- how work is cut


def test_work_is_cut_by_bytes_and_not_by_the_number_of_files() -> None:
    sizes = [90_000_000] + [10_000] * 9_000
    tasks = split_by_bytes(sizes)
    assert [position for task in tasks for position in task] == list(range(len(sizes)))
    weights = [sum(sizes[i] for i in task) for task in tasks]
    assert tasks[0] == range(0, 1), "a large file is work enough"
    assert len(tasks) <= 257 and max(weights[1:]) <= 1_010_000
    assert split_by_bytes([-1] * 40) == [range(0, 32), range(32, 40)], "files that are not there"
    assert split_by_bytes([]) == []
    huge = split_by_bytes([30_000_000] * 100_000)
    assert {len(task) for task in huge} == {3, 1}, "a task of a huge job is 64 MB and no more"


def test_tasks_do_not_depend_on_who_works() -> None:
    sizes = np.random.default_rng(3).integers(0, 9_000_000, 500).tolist()
    for first in range(1, 4):
        assert split_by_bytes(sizes) == split_by_bytes(list(sizes)), first
    assert split_by_bytes(sizes, task_bytes=1) == [range(i, j) for i, j in _runs(sizes)]


def _runs(sizes: list[int]) -> Iterator[tuple[int, int]]:
    """Zeros go with the next that is not: slowly, by hand."""
    begin = 0
    for position, size in enumerate(sizes):
        if size or position + 1 - begin == 32:
            yield begin, position + 1
            begin = position + 1
    if begin < len(sizes):
        yield begin, len(sizes)


# --- the journal


def letters(
    log: Path, paths: Sequence[Path], items: Sequence[str], given_up: Mapping[int, str]
) -> dict[str, Any]:
    """Writes its items, and counts itself."""
    with log.open("a") as file:
        file.write("".join(items) + "\n")
    kept = [item if position not in given_up else "-" for position, item in enumerate(items)]
    paths[0].write_text("".join(kept))
    return {"given_up": list(given_up.values())}


def nothing(item: str) -> None:
    pass


def joined(out: Path, parts: Iterator[tuple[Path, dict[str, Any]]], temporary: Path) -> int:
    texts = [part.read_text() for part, _ in parts]
    temporary.write_text("".join(texts))
    publish(temporary, out)
    return len(texts)


def write_letters(out: Path, *, text: str = "abcdefghij", engine: Engine = HERE, **options: Any) -> int:
    return write_joined(
        out,
        list(text),
        [options.pop("size", 1)] * len(text),
        options.pop("write", partial(letters, out.parent / "log")),
        options.pop("probe", nothing),
        partial(joined, out),
        header=options.pop("header", {"options": 1}),
        engine=engine,
        label="writing",
        quiet=True,
        task_bytes=3,
        **options,
    )


def tasks_of(log: Path) -> list[str]:
    return log.read_text().split()


def test_every_task_is_done_once_and_nothing_is_left_beside(tmp_path: Path) -> None:
    assert write_letters(tmp_path / "out") == 4
    assert (tmp_path / "out").read_text() == "abcdefghij"
    assert tasks_of(tmp_path / "log") == ["abc", "def", "ghi", "j"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "out"]


def test_a_result_has_its_name_and_is_on_the_disk_before_it_is_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that says more than there is would lose a task for good."""
    order: list[tuple[str, bool]] = []
    synced_files: list[Path] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        synced_files.append(Path(f"/proc/self/fd/{descriptor}").resolve())
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        order.append((target.name, path.resolve() in synced_files))
        return replace(path, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to see what is synced")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    job = Job(
        folder=tmp_path,
        tasks=[Task(["a"], 1, ("result",), "entry")],
        write=partial(letters, tmp_path / "log"),
        probe=nothing,
    )
    assert [number for number, _ in run_job(job, unfinished(job), HERE)] == [0]
    assert order == [("result", True), ("entry", False)]
    assert unfinished(job) == []


def in_a_process_that_ends_at(step: int, work: Callable[[], object], patch: pytest.MonkeyPatch) -> int:
    """Do it in a process that dies, without a word, before the n-th of its changes to the disk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads, which the child leaves
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count = 0

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            if count == step:
                os._exit(9)
            count += 1
            return change(*arguments, **options)

        return changed

    patch.setattr(os, "fsync", lambda descriptor: None)  # nothing takes the power away here, and it is slow
    try:
        for where, name in (
            (Path, "replace"), (Path, "unlink"), (Path, "mkdir"), (Path, "write_text"), (os, "unlink"),
            (os, "rmdir"), (os, "fsync"),
        ):  # fmt: skip
            patch.setattr(where, name, counted(getattr(where, name)))
        work()
        os._exit(0)
    except BaseException:
        os._exit(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_before_any_of_its_changes_to_the_disk_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_workers", lambda engine: contextlib.nullcontext(jobs._here))
    for step in range(500):
        folder = tmp_path / str(step)
        folder.mkdir()
        out = folder / "out"
        status = in_a_process_that_ends_at(step, lambda out=out: write_letters(out), monkeypatch)
        if status == 0:
            break
        assert status == 9
        assert not out.exists() or out.read_text() == "abcdefghij", "an output is whole or not there"
        entered = [json.loads(path.read_text()) for path in sorted((folder / "out.parts").glob("0*.json"))]
        before = tasks_of(folder / "log") if (folder / "log").exists() else []
        status = in_a_process_that_ends_at(10_000, lambda out=out: write_letters(out), monkeypatch)
        assert status == 0
        assert out.read_text() == "abcdefghij"
        again = tasks_of(folder / "log")[len(before) :]
        assert len(again) + len(entered) in (4, 8), (step, "what was entered is not done again")
        assert sorted(path.name for path in folder.iterdir()) == ["log", "out"]
    assert step > 40, "it was killed at every step"


@pytest.mark.parametrize("order", [reversed, lambda todo: sorted(todo, key=lambda n: (n % 2, -n))])
def test_parts_are_joined_in_the_order_of_the_source_however_tasks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Callable[..., Any]
) -> None:
    def here(function: Any, items: Sequence[Any], jobs: int | None = None) -> Iterator[tuple[int, Any]]:
        for index in order(list(range(len(items)))):
            yield index, function(items[index])

    monkeypatch.setattr(jobs, "_here", here)
    write_letters(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "abcdefghij"
    assert tasks_of(tmp_path / "log") != ["abc", "def", "ghi", "j"]


def failing(
    log: Path, bad: str, paths: Sequence[Path], items: Sequence[str], given_up: Mapping[int, str]
) -> dict[str, Any]:
    if bad in items:
        raise OSError("the disk went away")
    return letters(log, paths, items, given_up)


def test_an_error_that_is_no_items_own_ends_the_job_and_keeps_what_is_done(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the disk went away"):
        write_letters(tmp_path / "out", write=partial(failing, tmp_path / "log", "h"))
    assert not (tmp_path / "out").exists()
    write_letters(tmp_path / "out", engine=Engine(jobs=1))
    assert (tmp_path / "out").read_text() == "abcdefghij"
    assert tasks_of(tmp_path / "log") == ["abc", "def", "ghi", "j"]


def begun(tmp_path: Path) -> Path:
    with pytest.raises(OSError, match="went away"):
        write_letters(tmp_path / "out", write=partial(failing, tmp_path / "log", "h"))
    return tmp_path / "out"


def test_what_was_begun_as_something_else_is_not_gone_on_with(tmp_path: Path) -> None:
    out = begun(tmp_path)
    message = "out.parts: a run was begun there and not finished, and its options are others; give the"
    with pytest.raises(ValueError, match=message):
        write_letters(out, header={"options": 2})
    with pytest.raises(ValueError, match="it was cut into other tasks"):
        write_letters(out, text="abcdefghijklm")


def test_a_second_run_into_one_file_is_refused(tmp_path: Path) -> None:
    with (
        locked(tmp_path, "out"),
        pytest.raises(
            ValueError, match=rf"out: another process \(pid {os.getpid()}\) is writing this file; wait"
        ),
    ):
        write_letters(tmp_path / "out")
    write_letters(tmp_path / "out")


def test_a_part_that_was_cut_is_made_again_and_one_that_was_changed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = begun(tmp_path)
    parts = tmp_path / "out.parts"
    (parts / "00000.part").write_text("ab")
    (parts / "00001.part").write_text("deX")
    (parts / "00002.json").write_text('{"half')
    monkeypatch.setattr(jobs, "_workers", lambda engine: contextlib.nullcontext(jobs._here))
    with pytest.raises(ValueError, match=r"00001\.part: lost or damaged since it was written"):
        write_letters(out)
    write_letters(out)
    assert out.read_text() == "abcdefghij"
    assert tasks_of(tmp_path / "log") == ["abc", "def", "abc", "ghi", "j", "def"]


def deadly(
    log: Path, paths: Sequence[Path], items: Sequence[str], given_up: Mapping[int, str]
) -> dict[str, Any]:
    for position, item in enumerate(items):
        if position not in given_up:
            die_of(item)
    return letters(log, paths, items, given_up)


def die_of(item: str) -> None:
    if item in "eh":
        os.kill(os.getpid(), signal.SIGKILL)


def test_items_that_kill_their_worker_are_given_up_and_cost_no_other(tmp_path: Path) -> None:
    folder = tmp_path
    write = partial(deadly, folder / "log")
    write_letters(folder / "out", write=write, probe=die_of, engine=Engine(jobs=2))
    assert (folder / "out").read_text() == "abcd-fg-ij"
    assert sorted(tasks_of(folder / "log")) == ["abc", "def", "ghi", "j"]


def test_an_engine_says_what_it_does_not_know() -> None:
    for wrong, message in (
        ({"kind": "cloud"}, "engine is 'cloud'; expected here, local or ray"),
        ({"jobs": 0}, "jobs: expected 1 or more, got 0"),
        ({"address": "auto"}, "an address is for the engine ray; this one is local"),
    ):
        with pytest.raises(ValueError, match=message):
            Engine(**wrong)  # type: ignore[arg-type]


# --- Ray, in place of which stands a cluster that loses what it is told to; tests/test_ray.py has a real one


class Reference(types.SimpleNamespace):
    """What Ray gives for a task."""

    __hash__ = object.__hash__


class FakeRay(types.ModuleType):
    """As much of Ray as is used; `plan` says of each item how its tries end, the last of them for good."""

    def __init__(self, plan: Mapping[str, list[str]]):
        super().__init__("ray")
        names = ("NodeDiedError", "WorkerCrashedError", "OutOfMemoryError")
        self.exceptions = types.SimpleNamespace(**{name: type(name, (Exception,), {}) for name in names})
        self.plan = {item: list(ends) for item, ends in plan.items()}
        self.given, self.cancelled, self.started = [], [], []

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        self.started.append(options)

    def shutdown(self) -> None:
        self.started.append("shut down")

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 1.0}

    def remote(self, **options: Any) -> Callable[..., Any]:
        assert options == {"num_cpus": 1, "max_retries": 1}
        return lambda call: types.SimpleNamespace(remote=partial(self._give, call))

    def _give(self, call: Callable[..., Any], folder: str, function: Any, item: Any) -> Any:
        self.given.append(item)
        return Reference(call=partial(call, folder, function, item), item=item)

    def wait(self, references: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return references[-1:], references[:-1]  # the last first

    def get(self, reference: Any) -> Any:
        if ends := self.plan.get(str(reference.item), []):
            raise getattr(self.exceptions, ends.pop(0) if len(ends) > 1 else ends[0])
        return reference.call()

    def cancel(self, reference: Any, force: bool) -> None:
        self.cancelled.append(reference.item)


def of_letter(item: str) -> str:
    if item == "x":
        raise ValueError("no x")
    return item.upper()


def test_what_ray_loses_is_given_out_again_and_what_kills_its_worker_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    lost, killed = ["NodeDiedError"], ["WorkerCrashedError"]
    fake = FakeRay({"c": killed, "d": ["OutOfMemoryError"], "e": lost})
    passing = iter(["NodeDiedError", "NodeDiedError"])
    get = fake.get

    def lose_twice(reference: Any) -> Any:
        if reference.item == "b" and (name := next(passing, None)):
            raise getattr(fake.exceptions, name)
        return get(reference)

    fake.get = lose_twice  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "ray", fake)
    with ray_workers("head:6379") as run_items:
        results = dict(run_items(of_letter, list("abcdex"), 2))
    assert (results[0], results[1]) == ("A", "B"), "a lost machine says nothing of the task"
    assert fake.given.count("b") == 3 and fake.given.count("e") == 3 and fake.given.count("c") == 1
    for position in (2, 3, 4):
        assert isinstance(results[position], WorkerDied) and str(results[position]) == KILLED
    assert isinstance(results[5], ValueError) and str(results[5]) == "no x"
    assert fake.started[0]["address"] == "head:6379" and "num_cpus" not in fake.started[0]
    assert fake.started[1:] == ["shut down"] and not fake.cancelled


def test_a_job_on_ray_gives_the_bytes_of_a_local_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay({})
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.chdir(tmp_path)
    write_letters(tmp_path / "out", engine=Engine(kind="ray", jobs=3))
    assert (tmp_path / "out").read_text() == "abcdefghij"
    assert tasks_of(tmp_path / "log") != ["abc", "def", "ghi", "j"], "they ended in another order"
    assert fake.started[0]["num_cpus"] == 3 and fake.started[0]["address"] == "local"


def test_leaving_a_job_takes_back_what_ray_has_in_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeRay({})
    monkeypatch.setitem(sys.modules, "ray", fake)
    with ray_workers("auto") as run_items:
        results = run_items(of_letter, list("abc"), 3)
        assert next(results) == (2, "C")
        results.close()
    assert sorted(fake.cancelled) == ["a", "b"]


# --- tagging


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Nine recordings in two folders, one of them broken."""
    folder = tmp_path / "sounds"
    (folder / "deep").mkdir(parents=True)
    for number in range(8):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, 3000 + 1700 * number)
        soundfile.write(folder / ("deep" if number % 2 else ".") / f"{number}.wav", noise, 8000)
    (folder / "bad.wav").write_text("this is no sound")
    return folder


FORMATS = [["--format", "jsonl", "--windows"], ["--format", "csv"], ["--format", "csv", "--start", "0.1"], []]


@pytest.mark.parametrize("options", FORMATS, ids=" ".join)
def test_tags_in_a_file_are_those_on_standard_output(
    model: Path, many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    arguments = ["tag", many, tmp_path / "gone.wav", "--model", model, "--threads", 1, *options]
    status, printed, err = run(capsys, *arguments)
    assert status == 1 and "2 of 10 inputs" in err
    out = tmp_path / "tags"
    status, said, told = run(capsys, *arguments, "--out", out)
    assert (status, said, errors(told)) == (1, "", errors(err))
    assert out.read_bytes() == printed.encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sounds", "tags"]


def test_tags_go_into_a_folder_with_a_file_for_each_recording(
    model: Path, many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", model, "--threads", 1, "--format", "csv", "--windows"]
    status, said, told = run(capsys, "tag", many, *options, "--out", f"{tmp_path}/tags/")
    assert (status, said) == (1, "") and "bad.wav" in errors(told)[0] and "1 of 9" in errors(told)[1]
    found = {str(path.relative_to(tmp_path / "tags")) for path in (tmp_path / "tags").rglob("*.*")}
    names = {f"deep/{n}.wav.csv" if n % 2 else f"{n}.wav.csv" for n in range(8)}
    assert found == names | {"failures.csv", ".auricle-done.jsonl"}
    assert (tmp_path / "tags" / "failures.csv").read_text().splitlines()[1].startswith(f"{many}/bad.wav,")
    _, alone, _ = run(capsys, "tag", many / "deep" / "3.wav", *options)
    assert (tmp_path / "tags" / "deep" / "3.wav.csv").read_text() == alone
    (many / "bad.wav").unlink()
    status, _, told = run(capsys, "tag", many, *options, "--out", tmp_path / "tags")
    assert (status, errors(told)) == (0, []) and not (tmp_path / "tags" / "failures.csv").exists()
    with pytest.raises(ValueError, match="are one recording; name it once"):
        tagging.result_names(["a.wav", "./a.wav"], ".csv")


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "auricle", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.002)


@pytest.mark.parametrize("place", ["tags.jsonl", "tags/"])
def test_tagging_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    for number in range(6):
        noise = np.random.default_rng(number).integers(-9999, 9999, 600_000).astype(np.int16)
        soundfile.write(folder / f"{number}.wav", noise, 8000)
    options = ["tag", folder, "--model", model, "--format", "jsonl", "--windows", "--threads", 1]
    for where in ("killed", "whole"):
        (tmp_path / where).mkdir()
    run(capsys, *options, "--out", f"{tmp_path}/whole/{place}")
    process = start([*map(str, options), "--jobs", "1", "--out", f"{tmp_path}/killed/{place}"])
    wait_for(lambda: list((tmp_path / "killed").rglob("0*.json")), process)
    process.kill()
    process.wait()
    done = len(list((tmp_path / "killed").rglob("0*.json")))
    assert 1 <= done <= 6
    status, _, _ = run(capsys, *options, "--jobs", "2", "--out", f"{tmp_path}/killed/{place}")
    assert status == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_recording_that_changed_is_not_gone_on_with(model: Path, many: Path, tmp_path: Path) -> None:
    files = [str(path) for path in sorted(many.rglob("*.wav"))]
    options = TagOptions(model=str(model), threads=1)

    def interrupted(results: Any, stream: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tagging.tag_to_file(files, tmp_path / "x", options, interrupted, engine=HERE, quiet=True)
    soundfile.write(many / "0.wav", np.zeros(10), 8000)
    with pytest.raises(ValueError, match="its files are others, or some of them have changed"):
        tagging.tag_to_file(files, tmp_path / "x", options, interrupted, engine=HERE, quiet=True)
    with pytest.raises(ValueError, match="its options are others; its files are others"):
        tagging.tag_to_file(
            files, tmp_path / "x", TagOptions(model=str(model), top=1), interrupted, engine=HERE, quiet=True
        )


# --- embedding


def test_embeddings_of_a_job_are_those_of_one_go(
    model: Path, many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(path) for path in sorted(many.rglob("*.wav"))]
    failed: list[str] = []
    one = embed_files(
        files, model, tmp_path / "one", precision="float16", threads=1, quiet=True,
        fail=lambda path, error: failed.append(str(error)),
    )  # fmt: skip
    options = EmbedOptions(model=str(model), precision="float16", threads=1)
    job = embed_many(files, tmp_path / "job", options, engine=HERE, quiet=True, task_bytes=20_000)
    assert (tmp_path / "job").read_bytes() == (tmp_path / "one").read_bytes()
    assert (job["windows"], job["seconds"]) == (one["windows"], one["seconds"])
    assert [told["error"] for told in job["told"] if told["error"]] == failed and len(failed) == 1
    out = tmp_path / "verb.parquet"
    arguments = ["embed", many, "--model", model, "--threads", 1, "--precision", "float16", "--out", out]
    status, said, told = run(capsys, *arguments)
    assert status == 1 and said.endswith("windows of 8 recordings\n") and "bad.wav" in errors(told)[0]
    assert out.read_bytes() == (tmp_path / "one").read_bytes()


def test_embeddings_of_a_pack_are_those_of_one_go(model: Path, many: Path, tmp_path: Path) -> None:
    files = [path for path in sorted(many.rglob("*.wav")) if path.stem != "bad"]
    clips = [Clip(id=path.stem, path=str(path), labels=("a",), group=path.stem) for path in files]
    pack(clips, tmp_path / "pack", rate=8000, jobs=1, quiet=True)
    options = EmbedOptions(model=str(model), threads=1)
    embed_pack(tmp_path / "pack", model, name="one", threads=1, quiet=True)
    embed_clips(tmp_path / "pack", options, name="job", engine=HERE, quiet=True, task_bytes=30_000)
    sets = tmp_path / "pack" / "embeddings"
    for part in ("values.npy", "indptr.npy"):
        assert (sets / f"job.{part}").read_bytes() == (sets / f"one.{part}").read_bytes()
    assert sorted(path.name for path in sets.iterdir()) == sorted(
        f"{name}.{part}" for name in ("one", "job") for part in ("json", "values.npy", "indptr.npy")
    )
    embed_pack(tmp_path / "pack", model, out=tmp_path / "one.parquet", threads=1, quiet=True)
    embed_clips(tmp_path / "pack", options, out=tmp_path / "job.parquet", engine=HERE, quiet=True)
    assert (tmp_path / "job.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    assert pq.read_metadata(tmp_path / "job.parquet").num_rows > 8
    with pytest.raises(ValueError, match="embedding set 'job' is there already"):
        embed_clips(tmp_path / "pack", options, name="job", engine=HERE, quiet=True)


# --- the verbs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tag", "SOUNDS", "--address", "auto", "--out", "x"], "is for --engine ray"),
        (["tag", "SOUNDS", "--engine", "ray"], "--engine ray needs one"),
        (["tag", "-", "--engine", "ray", "--out", "x"], "standard input is read here"),
        (["tag", "-", "--out", "x/"], "what comes from a pipe has no name"),
        (["embed", "-", "--engine", "ray", "--out", "x.parquet"], "standard input is read here"),
        (["embed", "SOUNDS", "--device", "cuda", "--jobs", "2", "--out", "x.parquet"], "used by one process"),
        (["pack", "SOUNDS", "x", "--address", "auto"], "is for --engine ray"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_wrong_usage(
    model: Path, many: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(many)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    status, _, err = run(capsys, *(str(many) if word == "SOUNDS" else word for word in arguments))
    assert status == 2 and message in " ".join(err.split())


@pytest.mark.parametrize("verb", ["tag SOUNDS --out x", "pack SOUNDS x", "embed SOUNDS --out x.parquet"])
def test_without_ray_a_line_says_what_to_install(many: Path, verb: str) -> None:
    from test_base_install import without_torch

    words = verb.replace("SOUNDS", str(many)).split()
    done = without_torch("from auricle.cli import main\nmain(sys.argv[1:])", *words, "--engine", "ray")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "auricle: error: this needs ray, which is not installed: pip install 'auricle[ray]'"
    ]


def test_an_entry_whose_result_is_gone_is_none(tmp_path: Path) -> None:
    task = Task(["a"], 1, ("result",), "entry")
    job = Job(folder=tmp_path, tasks=[task], write=partial(letters, tmp_path / "log"), probe=nothing)
    assert read_entry(job, task) is None
    assert list(run_job(job, [0], HERE))[0][1]["files"]["result"]["bytes"] == 1
    assert read_entry(job, task) is not None
    (tmp_path / "result").unlink()
    assert read_entry(job, task) is None and unfinished(job) == [0]
