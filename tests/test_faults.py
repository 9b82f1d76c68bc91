"""What goes wrong around a run: a full disk, a read-only folder, files that change, a second run.

Every verb that writes, as a command of its own: one line that says what it was, no traceback, and the same
command gives what an undisturbed run gives once the cause is gone.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_model

from auricle.engine import Engine, jobs, pack, packing, tasks
from auricle.engine.packing import decode_clip
from auricle.engine.tagging import tag_to_file, tag_to_folder
from auricle.formats import write_jsonl
from auricle.shards import Pack
from auricle.shards.layout import locked
from auricle.tagging import TagOptions

RATE = 8000
VERBS = ("pack", "tag", "tag into a folder", "embed", "train")
OUTPUT = {"tag": "tags.jsonl", "embed": "x.parquet"}


@dataclass(frozen=True)
class Things:
    """What the verbs work on."""

    sounds: Path
    model: Path
    packed: Path


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Things:
    folder = tmp_path_factory.mktemp("things")
    sounds = folder / "sounds"
    for number in range(6):
        (sounds / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, RATE * 2)
        soundfile.write(sounds / "ab"[number % 2] / f"{number}.wav", noise, RATE)
    tiny_model.save(folder / "model")
    pack(sounds, folder / "pack", rate=RATE, jobs=1, quiet=True)
    return Things(sounds, folder / "model", folder / "pack")


def arguments(verb: str, things: Things, out: Path) -> list[str]:
    """The command, with a folder of its own that it writes into."""
    model = ["--model", str(things.model), "--threads", "1", "--jobs", "2"]
    if verb == "pack":
        return ["pack", str(things.sounds), str(out), "--rate", str(RATE), "--jobs", "2"]
    if verb == "tag":
        return [
            "tag",
            str(things.sounds),
            *model,
            "--windows",
            "--format",
            "jsonl",
            "--out",
            f"{out}/tags.jsonl",
        ]
    if verb == "tag into a folder":
        return ["tag", str(things.sounds), *model, "--windows", "--format", "csv", "--out", f"{out}/"]
    if verb == "embed":
        return ["embed", str(things.sounds), *model, "--out", f"{out}/x.parquet"]
    settings = [
        "model=compact", "model_arguments.stem=8", "model_arguments.widths=[8]", "model_arguments.blocks=[1]",
        "features.rate=8000", "features.high=3800",
        "window=4000", "hop=4000", "batch=2", "steps=3", "checkpoint_every=1", "validation_fraction=0",
    ]  # fmt: skip
    sets = [part for setting in settings for part in ("--set", setting)]
    given = [
        "train",
        "--recipe",
        "hershey",
        "--data",
        str(things.packed),
        "--out",
        str(out),
        "--threads",
        "1",
        "--device",
        "cpu",
        *sets,
    ]
    return [*given, "--resume"] if (out / "config.json").exists() else given


def auricle(given: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "auricle", *given],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )


def left(out: Path) -> dict[str, bytes]:
    """What a finished run left, but for times."""
    kept = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.suffix in (".jsonl", ".csv", ".parquet", ".arrow", ".npy", ".safetensors"):
            kept[str(path.relative_to(out))] = path.read_bytes()
    if "log.jsonl" in kept:  # of a training: it tells times
        del kept["log.jsonl"]
    return kept


@pytest.fixture
def disk(small_disk: Path) -> Path:
    """A disk of 256 kB, in memory."""
    remount(small_disk, "size=256k")
    return small_disk


def remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one error of a run that failed."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr and "not expected" not in done.stderr
    found = [line for line in done.stderr.splitlines() if line.startswith("auricle: error")]
    assert len(found) == 1, done.stderr
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk_is_said_and_with_more_room_the_same_command_goes_on(
    verb: str, things: Things, disk: Path, tmp_path: Path
) -> None:
    (disk / "filled").write_bytes(bytes(100_000 if verb == "pack" else 256 * 1024 - 3 * 4096))
    (disk / "out").mkdir()
    error = error_of(auricle(arguments(verb, things, disk / "out")))
    assert "no space is left on its disk" in error and str(disk) in error
    remount(disk, "size=64m")
    done = auricle(arguments(verb, things, disk / "out"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "whole").mkdir()
    auricle(arguments(verb, things, tmp_path / "whole"))
    assert left(disk / "out") == left(tmp_path / "whole") != {}


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_cannot_be_written_is_named(verb: str, things: Things, disk: Path) -> None:
    (disk / "out").mkdir()
    remount(disk, "ro")
    error = error_of(auricle(arguments(verb, things, disk / "out")))
    assert str(disk / "out") in error and "Read-only file system" in error
    remount(disk, "rw")
    assert not any((disk / "out").iterdir())


def grow(path: Path) -> None:
    soundfile.write(path, np.random.default_rng(9).uniform(-0.5, 0.5, RATE * 3), RATE)


def copied(things: Things, tmp_path: Path) -> list[Path]:
    shutil.copytree(things.sounds, tmp_path / "sounds")
    return sorted((tmp_path / "sounds").rglob("*.wav"))


def work_and_grow(path: Path, plain: Any, *given: Any) -> Any:
    """What a function gives; the file grows before it is done."""
    result = plain(*given)
    if path.stat().st_size < 3 * RATE * 2:
        grow(path)
    return result


CHANGED = "changed while the job ran (32,044 bytes as it began, 48,044 now); it is left out: run the job anew"


def test_a_recording_that_changes_while_a_pack_is_made_is_left_out(things: Things, tmp_path: Path) -> None:
    files = copied(things, tmp_path)
    decode = partial(work_and_grow, files[1], decode_clip)
    made = pack(tmp_path / "sounds", tmp_path / "pack", rate=RATE, jobs=1, quiet=True, decode=decode)
    assert made["failures"] == 1
    [failure] = Pack(tmp_path / "pack").failures
    assert CHANGED in failure["error"] and failure["error"].startswith("a/2.wav: ")
    assert len(Pack(tmp_path / "pack")) == 5 and Pack(tmp_path / "pack").verify() == []


@pytest.mark.parametrize("into", ["file", "folder"])
def test_a_recording_that_changes_while_it_is_tagged_is_left_out(
    things: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, into: str
) -> None:
    files, options = copied(things, tmp_path), TagOptions(model=str(things.model), threads=1)
    monkeypatch.setattr(tasks, "_write_unchanged", partial(grow_within, files[1], tasks._write_unchanged))
    names, here = [str(file) for file in files], Engine(kind="here")
    if into == "file":
        tag_to_file(names, tmp_path / "x", options, write_jsonl, engine=here, quiet=True)
        rows = [json.loads(line) for line in (tmp_path / "x").read_text().splitlines()]
    else:
        rows = list(
            tag_to_folder(
                names, tmp_path / "x", options, write_jsonl, suffix=".jsonl", engine=here, quiet=True
            )
        )
        assert CHANGED in (tmp_path / "x" / "failures.csv").read_text()
    told = [row for row in rows if "error" in row]
    assert len(rows) == 6 and len(told) == 1 and CHANGED in told[0]["error"]


def test_a_recording_that_is_replaced_by_one_of_its_size_while_it_is_read_is_left_out(
    things: Things, tmp_path: Path
) -> None:
    """Recorders of a fixed length make such files."""
    files = copied(things, tmp_path)
    decode = partial(work_and_replace, files[1])
    made = pack(tmp_path / "sounds", tmp_path / "pack", rate=RATE, jobs=1, quiet=True, decode=decode)
    [failure] = Pack(tmp_path / "pack").failures
    assert made["failures"] == 1 and "(32,044 bytes as it began, 32,044 now)" in failure["error"]


def work_and_replace(path: Path, clip: Any, rate: int) -> Any:
    decoded = decode_clip(clip, rate)
    if clip.path == str(path) and not path.with_suffix(".done").exists():
        path.with_suffix(".done").touch()
        soundfile.write(path, np.zeros(RATE * 2), RATE)
    return decoded


def grow_within(path: Path, plain: Any, write: Any, *rest: Any) -> Any:
    return plain(partial(work_and_grow, path, write), *rest)


@pytest.mark.parametrize("verb", VERBS)
def test_a_second_run_into_the_same_place_is_refused(
    verb: str, things: Things, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from auricle.cli import main

    held = partial(locked, tmp_path, OUTPUT[verb]) if verb in OUTPUT else partial(locked, tmp_path)
    with held(), pytest.raises(SystemExit) as ended:
        main(arguments(verb, things, tmp_path))
    assert ended.value.code == 1
    assert f"another process (pid {os.getpid()}) is writing" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} <= {".lock", f"{OUTPUT.get(verb)}.lock"} | {
        path.name for path in tmp_path.glob(".*")
    }


def test_a_flipped_bit_of_a_shard_is_found_by_its_checksum(things: Things, tmp_path: Path) -> None:
    shutil.copytree(things.packed, tmp_path / "pack")
    [shard] = (tmp_path / "pack" / "shards").iterdir()
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0b100
    shard.write_bytes(content)
    [found] = Pack(tmp_path / "pack").verify()
    assert f"shards/{shard.name}" in found and "checksum" in found
    error = error_of(auricle([*arguments("pack", things, tmp_path / "pack"), "--verify"]))
    assert f"shards/{shard.name}" in error


def held_up(entered: Path, release: Path, plain: Any, *given: Any) -> Any:
    """What a function gives, but not before somebody says so."""
    result = plain(*given)
    entered.touch()
    while not release.exists():
        time.sleep(0.01)
    return result


@pytest.mark.parametrize("cleared", [True, False], ids=["its temporaries cleared away", "left alone"])
def test_a_worker_that_was_given_up_for_lost_takes_nothing_from_a_finished_pack(
    things: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cleared: bool
) -> None:
    """As after a network between machines was cut: it ends its task long after somebody else has."""
    out, entered, release = tmp_path / "pack", tmp_path / "entered", tmp_path / "release"
    pack(things.sounds, tmp_path / "same", rate=RATE, jobs=1, quiet=True)
    plan = packing._plan(packing._open(things.sounds, None), things.sounds, RATE, "labels", {}, {})
    job = packing._job(plan, out, decode_clip, "")
    out.mkdir()
    packing._prepare(out, plan.header)
    if not cleared:
        monkeypatch.setattr(packing, "remove_leftovers", lambda *folders: None)
    late = threading.Thread(
        target=refused,
        args=(str(out), "", partial(held_up, entered, release, job.write), (job.tasks[0], {})),
    )
    late.start()
    while not entered.exists():
        time.sleep(0.01)
    made = pack(things.sounds, out, rate=RATE, jobs=1, quiet=True)
    release.touch()
    late.join()
    assert made["clips"] == 6 and Pack(out).verify() == []
    assert left(out) == left(tmp_path / "same")


def refused(*given: Any) -> None:
    with pytest.raises(FileNotFoundError):
        tasks.do_task(*given)


def test_an_entry_without_a_result_that_was_not_left_out_counts_for_nothing(tmp_path: Path) -> None:
    task = tasks.Task(["a", "b"], 2, ("a.csv", "b.csv"), "0.json")
    job = jobs.Job(folder=tmp_path, tasks=[task], write=write_first, probe=str)
    entry = tasks.do_task(str(tmp_path), "", write_first, (task, {}))
    assert list(entry["files"]) == ["a.csv"] and jobs.read_entry(job, task) == entry
    (tmp_path / "0.json").write_text(json.dumps({**entry, "left_out": []}))
    assert jobs.read_entry(job, task) is None and jobs.unfinished(job) == [0]


def write_first(paths: Any, items: Any, given_up: Any) -> dict[str, Any]:
    paths[0].write_text(items[0])
    return {"left_out": [1]}
