"""Packing and file-by-file work that is killed, crashes, is repeated, or runs twice at once."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from auricle.datasets import Clip
from auricle.engine import WorkerDied, jobs, pack, packing, run_files, tasks
from auricle.engine.packing import Range
from auricle.shards import Pack, read_manifest
from auricle.shards.layout import locked
from auricle.shards.writer import Decoded

NUM_CLIPS = 300  # ten shards


def clips(num_clips: int = NUM_CLIPS) -> list[Clip]:
    return [
        Clip(
            id=f"clip{number}",
            path=f"{number}.wav",
            labels=("even", "odd")[number % 2 :][:1],
            group=str(number),
        )
        for number in range(num_clips)
    ]


def decode(clip: Range, rate: int) -> Decoded:
    number = int(Path(clip.path).stem)
    if number % 70 == 69:
        raise RuntimeError("made to fail")
    pcm = np.random.default_rng(number).integers(-30000, 30000, 100 + number).astype(np.int16)
    return Decoded(pcm=pcm, clipped=0, warnings=[])


def slow_decode(clip: Range, rate: int) -> Decoded:
    time.sleep(0.01)
    return decode(clip, rate)


def deadly_decode(clip: Range, rate: int) -> Decoded:
    if int(Path(clip.path).stem) in (70, 75, 200):
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(clip, rate)


def full_disk(*arguments: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def decode_until_the_disk_is_full(clip: Range, rate: int) -> Decoded:
    if int(Path(clip.path).stem) == 100:
        tasks.publish = full_disk  # in the worker, which ends with this run
    return decode(clip, rate)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a pack, but for the one that says when it was made."""
    found = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert found.pop("run.json")
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packs") / "undisturbed"
    report = pack(clips(), out, jobs=1, quiet=True, decode=decode)
    assert (report["clips"], report["failures"], report["finished_before"]) == (296, 4, False)
    return out


def start(out: Path, decode: str = "slow_decode") -> subprocess.Popen:
    code = f"import test_engine as t; t.pack(t.clips(), {str(out)!r}, jobs=2, decode=t.{decode})"
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    # Not a pipe: what a killed run leaves behind would hold it open, and reading it would never end.
    with errors_of(out).open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stderr=errors, start_new_session=True
        )


def errors_of(out: Path) -> Path:
    return out.with_suffix(".errors")


def kill(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


def wait_for(condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def finished_shards(out: Path) -> int:
    return len(list((out / "journal").glob("0*.json")))


def session_members(session: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            yield int(stat.parent.name)


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="needs /proc to see what a killed run leaves behind"
)
def test_a_pack_killed_again_and_again_ends_byte_for_byte_equal(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    for shards in (1, 3, 6):
        process = start(out)
        wait_for(lambda n=shards: finished_shards(out) >= n)
        kill(process)
        assert not (out / "manifest.json").exists()
        with pytest.raises(ValueError, match="packing was not finished"):
            Pack(out)
        wait_for(lambda session=process.pid: not list(session_members(session)))  # no orphans
    done_before = finished_shards(out)
    assert 6 <= done_before <= 10
    (out / "shards" / "00004.arrow.1.partial").write_bytes(b"half a shard")
    pack(clips(), out, jobs=2, quiet=True, decode=decode)
    assert content(out) == content(undisturbed)


def test_what_is_finished_is_not_decoded_again(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack"
    process = start(out)
    wait_for(lambda: finished_shards(out) >= 2)
    kill(process)
    times = {file: file.stat().st_mtime_ns for file in (out / "shards").glob("*.arrow")}
    times = {file: when for file, when in times.items() if (out / "journal" / f"{file.stem}.json").exists()}
    assert len(times) >= 2
    pack(clips(), out, jobs=1, quiet=True, decode=decode)
    assert times == {file: file.stat().st_mtime_ns for file in times}
    assert content(out) == content(undisturbed)


def test_the_number_of_jobs_does_not_change_a_byte(undisturbed: Path, tmp_path: Path) -> None:
    pack(clips(), tmp_path / "two", jobs=2, quiet=True, decode=decode)
    assert content(tmp_path / "two") == content(undisturbed)


def test_an_interrupt_ends_at_once_and_can_be_resumed(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack"
    process = start(out)
    wait_for(lambda: finished_shards(out) >= 1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to the workers too
    assert process.wait(timeout=60) != 0
    errors = errors_of(out).read_text()
    assert errors.count("Traceback") == 1, errors  # the caller's own, none of a worker
    assert not (out / ".lock").exists()
    pack(clips(), out, jobs=1, quiet=True, decode=decode)
    assert content(out) == content(undisturbed)


def test_clips_that_kill_their_worker_are_failures_and_cost_no_other(tmp_path: Path) -> None:
    out = tmp_path / "pack"
    report = pack(clips(), out, jobs=2, quiet=True, decode=deadly_decode)
    assert (report["clips"], report["failures"]) == (293, 7)
    reader = Pack(out)
    killed = {
        failure["id"]: failure["error"] for failure in reader.failures if "was killed" in failure["error"]
    }
    assert list(killed) == ["clip70", "clip75", "clip200"]
    assert killed["clip70"].startswith("70.wav: the process that worked on it was killed")
    for clip, name in enumerate(reader.ids):
        np.testing.assert_array_equal(
            reader.samples(clip), decode(Range(f"{name[4:]}.wav", None, None), 1).pcm
        )


def test_a_second_run_into_one_folder_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "pack"
    process = start(out)
    wait_for(lambda: finished_shards(out) >= 1)
    with pytest.raises(ValueError, match=rf"another process \(pid {process.pid}\) is writing this folder"):
        pack(clips(), out, jobs=1, quiet=True, decode=decode)
    kill(process)
    assert (out / ".lock").exists()  # left by the killed run, and no hindrance
    pack(clips(), out, jobs=1, quiet=True, decode=decode)
    assert not (out / ".lock").exists()


def test_a_lock_excludes_another_holder_and_goes_with_it(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ValueError, match="another process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_the_same_source_again_does_nothing(undisturbed: Path) -> None:
    before = content(undisturbed)
    report = pack(clips(), undisturbed, quiet=True, decode=deadly_decode, verify=True)
    assert report["finished_before"] and report["problems"] == []
    assert content(undisturbed) == before


def test_verify_names_what_is_damaged(tmp_path: Path) -> None:
    pack(clips(70), tmp_path / "pack", jobs=1, quiet=True, decode=decode)
    shard = tmp_path / "pack" / "shards" / "00001.arrow"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    [problem] = pack(clips(70), tmp_path / "pack", quiet=True, verify=True)["problems"]
    assert problem.startswith("shards/00001.arrow: damaged")
    assert problem.endswith("; delete the folder and pack again")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    pack(clips(70), tmp_path / "pack", jobs=1, quiet=True, decode=decode)
    return tmp_path / "pack"


NAMES = (
    "clips.parquet",
    "failures.parquet",
    "shards/00001.arrow",
    "index/offset.npy",
    "labels/labels.parquet",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", [Path.unlink, lambda file: os.truncate(file, 100)], ids=["gone", "cut"])
def test_a_finished_pack_is_not_trusted_blindly(
    small: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(small / name)
    for label_set in ("labels", "coarse"):  # neither called finished, nor built upon
        with pytest.raises(
            ValueError,
            match=rf"pack: was packed before, but {name}: (missing|damaged \(it has 100 bytes of \d+\)); "
            "delete the folder and pack again$",
        ):
            pack(clips(70), small, quiet=True, decode=deadly_decode, label_set=label_set)
    report = pack(clips(70), small, quiet=True, decode=deadly_decode, verify=True)
    assert [problem.partition(":")[0] for problem in report["problems"]] == [name]


def test_of_much_damage_the_first_file_is_named_and_the_others_counted(small: Path) -> None:
    shutil.rmtree(small / "shards")
    with pytest.raises(ValueError, match=r"00000\.arrow: missing \(and 2 more files; --verify names them\);"):
        pack(clips(70), small, quiet=True)
    shutil.rmtree(small)  # as the message says
    assert pack(clips(70), small, jobs=1, quiet=True, decode=decode, verify=True)["problems"] == []


def test_a_manifest_that_is_cut_off_says_what_to_do(small: Path) -> None:
    os.truncate(small / "manifest.json", 100)
    with pytest.raises(ValueError, match=r"manifest\.json: damaged .*; delete the folder and pack again"):
        pack(clips(70), small, quiet=True)


def test_a_pack_of_an_earlier_version_without_sizes_is_read_and_checked(small: Path) -> None:
    manifest = read_manifest(small)
    for part in (manifest, *manifest["label_sets"].values()):
        del part["sizes"]
    (small / "manifest.json").write_text(json.dumps(manifest))
    assert pack(clips(70), small, quiet=True, verify=True)["problems"] == []
    (small / "clips.parquet").unlink()
    with pytest.raises(ValueError, match=r"clips\.parquet: missing"):
        pack(clips(70), small, quiet=True)


FULL = "no space is left on its disk; make room and give the same command again, which goes on where it was"


def test_a_full_disk_is_one_line_and_the_run_goes_on_after_it(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "pack"
    with monkeypatch.context() as patch, pytest.raises(ValueError, match=f"{out}: {FULL}"):
        patch.setattr(jobs, "write_json", full_disk)  # full from the start
        pack(clips(), out, jobs=1, quiet=True, decode=decode)
    with pytest.raises(ValueError, match=f"{out}: {FULL}"):
        pack(clips(), out, jobs=1, quiet=True, decode=decode_until_the_disk_is_full)
    assert finished_shards(out) == 3
    with monkeypatch.context() as patch, pytest.raises(ValueError, match=f"{out}: {FULL}"):
        patch.setattr(packing, "finish_pack", full_disk)  # the shards are all there, the tables are not
        pack(clips(), out, jobs=1, quiet=True, decode=decode)
    pack(clips(), out, jobs=1, quiet=True, decode=deadly_decode)
    assert content(out) == content(undisturbed)


def test_other_errors_of_the_system_are_not_called_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "shards")

    monkeypatch.setattr(packing, "finish_pack", refuse)
    with pytest.raises(PermissionError):
        pack(clips(3), tmp_path / "pack", jobs=1, quiet=True, decode=decode)


def test_a_disk_that_really_is_full_says_so_and_what_is_done_is_gone_on_with(
    undisturbed: Path, tmp_path: Path, small_disk: Path
) -> None:
    with pytest.raises(ValueError, match=FULL):
        pack(clips(), small_disk / "pack", jobs=2, quiet=True, decode=decode)
    assert 1 <= finished_shards(small_disk / "pack") < 10
    out = tmp_path / "pack"
    shutil.copytree(small_disk / "pack", out)  # to where there is room
    pack(clips(), out, jobs=2, quiet=True, decode=decode)
    assert content(out) == content(undisturbed)


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "killed"])
def test_another_source_is_refused(tmp_path: Path, finished: bool) -> None:
    out = tmp_path / "pack"
    if finished:
        pack(clips(70), out, jobs=1, quiet=True, decode=decode)
    else:
        process = start(out)
        wait_for(lambda: finished_shards(out) >= 1)
        kill(process)
    same = clips(70) if finished else clips()
    other = [*same[:-1], Clip(id="other", path="1.wav", labels=("even",), group="other")]
    with pytest.raises(
        ValueError, match="its clips, splits, attributes or files are not those of the source"
    ):
        pack(other, out, quiet=True, decode=decode)
    with pytest.raises(ValueError, match="rate is 16000 there and 8000 here"):
        pack(same, out, rate=8000, quiet=True, decode=decode)
    relabelled = [
        *same[:-1],
        Clip(id=same[-1].id, path=same[-1].path, group=same[-1].group, labels=("none",)),
    ]
    with pytest.raises(ValueError, match="label"):
        pack(relabelled, out, quiet=True, decode=decode)


def test_a_file_that_changed_is_another_source(tmp_path: Path) -> None:
    (tmp_path / "c" / "dog").mkdir(parents=True)
    soundfile.write(tmp_path / "c" / "dog" / "a.wav", np.full(800, 0.5), 8000)
    pack(tmp_path / "c", tmp_path / "pack", rate=8000, jobs=1, quiet=True)
    soundfile.write(tmp_path / "c" / "dog" / "a.wav", np.full(900, 0.5), 8000)
    with pytest.raises(ValueError, match="files are not those of the source"):
        pack(tmp_path / "c", tmp_path / "pack", rate=8000, jobs=1, quiet=True)


def test_new_labels_of_packed_recordings_are_added_without_decoding(tmp_path: Path) -> None:
    out = tmp_path / "pack"
    pack(clips(80), out, jobs=1, quiet=True, decode=decode)
    audio = {name: data for name, data in content(out).items() if name.startswith(("shards", "index/s"))}
    relabelled = [Clip(id=c.id, path=c.path, group=c.group, labels=("all",)) for c in clips(80)]
    report = pack(relabelled, out, jobs=1, quiet=True, decode=deadly_decode, label_set="coarse")
    assert report["finished_before"]
    reader = Pack(out)
    assert reader.label_sets == ["coarse", "labels"]
    assert reader.targets(np.arange(len(reader)), "coarse").tolist() == [[1]] * 79
    assert audio == {
        name: data for name, data in content(out).items() if name.startswith(("shards", "index/s"))
    }
    assert reader.verify() == []
    assert pack(relabelled, out, quiet=True, label_set="coarse")["finished_before"]


def test_leaks_and_bad_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    leaking = [Clip(id=split, path="1.wav", group="r", split=split) for split in ("train", "test")]
    with pytest.raises(ValueError, match="group 'r' is in 'test' and 'train'"):
        pack(leaking, tmp_path / "pack", decode=deadly_decode)
    with pytest.raises(ValueError, match="rate: expected 1000"):
        pack(clips(1), tmp_path / "pack", rate=16)
    with pytest.raises(ValueError, match="label set '../x'"):
        pack(clips(1), tmp_path / "pack", label_set="../x")
    with pytest.raises(ValueError, match="no clips to pack"):
        pack([], tmp_path / "pack")
    with pytest.raises(ValueError, match="same id 'clip0'"):
        pack(clips(1) * 2, tmp_path / "pack")
    assert not (tmp_path / "pack").exists()
    with pytest.raises(ValueError, match="jobs: expected 1 or more"):
        pack(clips(1), tmp_path / "other", jobs=-1, quiet=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        pack(clips(1), tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match=r"holds something else \(thesis.tex\)"):
        pack(clips(1), tmp_path / "full")
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_real_files_are_packed_with_their_ranges_failures_and_names(tmp_path: Path) -> None:
    seconds = np.arange(3 * 8000) / 8000
    soundfile.write(tmp_path / "long.wav", 0.5 * np.sin(2 * np.pi * 440 * seconds), 8000)
    soundfile.write(tmp_path / "wide.flac", np.full((4410, 2), 0.25), 44100)
    (tmp_path / "text.wav").write_text("this is no sound")
    (tmp_path / "clips.csv").write_text(
        "path,labels,start,end\nlong.wav,a,0,1\nlong.wav,b,1.5,2.25\nlong.wav,b,9,\n"
        "wide.flac,c,,\ntext.wav,d,,\ngone.wav,d,,\n"
    )
    report = pack(tmp_path / "clips.csv", tmp_path / "pack", rate=8000, jobs=1, quiet=True)
    assert (report["clips"], report["failures"]) == (3, 3)
    reader = Pack(tmp_path / "pack")
    assert reader.ids.tolist() == ["long.wav[0.0-1.0]", "long.wav[1.5-2.25]", "wide.flac"]
    assert reader.lengths.tolist() == [8000, 6000, 800]
    whole = np.rint(0.5 * np.sin(2 * np.pi * 440 * seconds) * 32768)
    assert np.abs(reader.samples(1) - whole[12000:18000]).max() <= 1
    assert abs(int(reader.samples(2)[400]) - 8192) <= 1
    errors = {failure["path"]: failure["error"] for failure in reader.failures}
    assert list(errors) == ["long.wav", "text.wav", "gone.wav"]
    assert all(error.startswith(f"{path}: ") for path, error in errors.items()), errors


def test_a_file_name_that_is_not_utf8_is_spelled_out(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    soundfile.write(tmp_path / "x.wav", np.full(80, 0.1), 8000)
    try:
        (tmp_path / "x.wav").rename(tmp_path / "class" / os.fsdecode(b"caf\xe9.wav"))
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    (tmp_path / "class" / os.fsdecode(b"not\xe9.wav")).write_text("no sound")
    pack(tmp_path, tmp_path / "pack", rate=8000, jobs=1, quiet=True)
    reader = Pack(tmp_path / "pack")
    assert reader.ids.tolist() == ["class/caf\\xe9.wav"]
    assert reader.failures[0]["error"].startswith("class/not\\xe9.wav: ")


def test_a_line_end_in_a_name_stays_inside_one_line_that_names_no_place(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    soundfile.write(tmp_path / "class" / "a.wav", np.full(80, 0.1), 8000)
    try:
        (tmp_path / "class" / "two\nlines.wav").write_text("no sound")
    except OSError:
        pytest.skip("this file system takes no line ends in names")
    pack(tmp_path, tmp_path / "pack", rate=8000, jobs=1, quiet=True)
    [failure] = Pack(tmp_path / "pack").failures
    assert failure["error"].startswith("class/two\\nlines.wav: ")
    assert failure["path"] == "class/two\nlines.wav"


def test_the_pack_does_not_depend_on_where_its_source_lies(tmp_path: Path) -> None:
    for place in ("here", "there/deep"):
        (tmp_path / place / "dog").mkdir(parents=True)
        soundfile.write(tmp_path / place / "dog" / "a.wav", np.full(800, 0.5), 8000)
        (tmp_path / place / "dog" / "b.wav").write_text("no sound")
        pack(tmp_path / place, tmp_path / f"pack of {place[:4]}", jobs=1, quiet=True)
    assert content(tmp_path / "pack of here") == content(tmp_path / "pack of ther")


def test_real_recordings_pack(shared_data: Path, tmp_path: Path) -> None:
    lines = (shared_data / "esc50" / "meta.csv").read_text().splitlines()
    (tmp_path / "audio").symlink_to(shared_data / "esc50" / "audio")
    (tmp_path / "meta.csv").write_text("\n".join(lines[:1] + lines[1:2000:200]) + "\n")
    report = pack(tmp_path / "meta.csv", tmp_path / "pack", jobs=2, verify=True, quiet=True)
    assert (report["clips"], report["failures"], report["problems"]) == (10, 0, [])
    reader = Pack(tmp_path / "pack")
    assert 3.5 * 16000 < reader.lengths.min() and reader.lengths.max() < 7.5 * 16000
    assert all(np.abs(reader.samples(clip)).max() > 500 for clip in range(10))
    assert read_manifest(tmp_path / "pack")["source"] == "esc50"
    assert pq.read_table(tmp_path / "pack" / "clips.parquet")["path"][0].as_py().startswith("audio/")


def work(item: int) -> int:
    if item == 3:
        raise ValueError(f"no {item}")
    if item == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def test_results_errors_and_deaths_of_every_item_come_once() -> None:
    results = list(run_files(work, range(12), jobs=2, ordered=True))
    assert [index for index, _ in results] == list(range(12))
    for index, result in results:
        if index == 3:
            assert isinstance(result, ValueError) and str(result) == "no 3"
        elif index == 5:
            assert isinstance(result, WorkerDied)
        else:
            assert result == index * index
    assert sorted(index for index, _ in run_files(work, range(12), jobs=2)) == list(range(12))
    assert list(run_files(work, [], jobs=2)) == []


def test_a_folder_for_temporary_files_with_a_long_name_is_no_hindrance(tmp_path: Path) -> None:
    """Sockets have names of some hundred bytes at most, and a fork server has one there."""
    long = tmp_path / ("n" * 60) / ("n" * 60)
    long.mkdir(parents=True)
    code = "from auricle.engine import run_files\nprint(dict(run_files(len, ['ab', 'c'], jobs=2)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"TMPDIR": str(long)}
    )
    assert done.stdout in ("{0: 2, 1: 1}\n", "{1: 1, 0: 2}\n"), done.stderr
    assert not list(long.iterdir())


def test_an_initializer_that_fails_is_every_items_result() -> None:
    [(_, first), (_, second)] = run_files(work, [1, 2], jobs=1, initializer=work, initargs=(3,), ordered=True)
    assert isinstance(first, ValueError) and isinstance(second, ValueError)


def test_closing_the_results_ends_the_workers() -> None:
    results = run_files(time.sleep, [0, 60, 60], jobs=2)
    assert next(results) == (0, None)
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("given", ["file", "standard input"])
def test_a_script_without_a_guard_is_not_run_again_by_workers(tmp_path: Path, given: str) -> None:
    """As multiprocessing would: pack() at the top of a script, or typed into python."""
    (tmp_path / "c" / "dog").mkdir(parents=True)
    for number in range(3):
        soundfile.write(tmp_path / "c" / "dog" / f"{number}.wav", np.full(800, 0.5), 8000)
    call = (
        f"pack({str(tmp_path / 'c')!r}, {str(tmp_path / 'pack')!r}, rate=8000, jobs=2, quiet=True)['clips']"
    )
    text = f"from auricle.engine import pack\nprint({call})\n"
    (tmp_path / "script.py").write_text(text)
    arguments = [str(tmp_path / "script.py")] if given == "file" else ["-"]
    done = subprocess.run(
        [sys.executable, *arguments], input=text, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")


def test_a_function_of_the_script_itself_is_found_by_workers(tmp_path: Path) -> None:
    text = (
        "from auricle.engine import run_files\ndef twice(n):\n    return 2 * n\n"
        "if __name__ == '__main__':\n    print(dict(run_files(twice, [1, 2], jobs=1)))\n"
    )
    (tmp_path / "script.py").write_text(text)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{0: 2, 1: 4}\n", "")
