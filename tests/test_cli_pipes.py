"""`auricle tag` between pipes: open ones, closed ones, full ones, and Ctrl-C while it waits."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile


def one_line_error(err: str) -> str:
    [line] = err.splitlines()
    assert line.startswith("auricle: error: ")
    return line


def test_a_reader_that_stops_early_is_no_error(model: Path, recordings: Path) -> None:
    """Also where more recordings are waiting and a decoder is at work."""
    for number in range(6):
        shutil.copyfile(recordings / "a.wav", recordings / f"more{number}.wav")
    tag = f"{sys.executable} -m auricle tag '{recordings}' --windows --format csv --model '{model}' --jobs 1"
    for reader in ("true", "head -2", "head -5"):
        command = f"{tag} | {reader}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        errors = [line for line in done.stderr.splitlines() if not line.startswith("tagging: ")]
        assert done.returncode in (0, 1) and not errors, (reader, done)


@pytest.mark.parametrize(
    ("several", "options", "reader"),
    [
        (False, "--format csv --jobs 1", "head -1"),
        (False, "--format jsonl --jobs 1", "true"),
        (True, "--format table --jobs 2", "true"),
    ],
)
def test_a_closed_pipe_ends_a_long_run_at_once_and_without_a_word(
    model: Path, tmp_path: Path, several: bool, options: str, reader: str
) -> None:
    """A decoder that is at work as Python ends would have libraries complain, abort, or be waited for."""
    (tmp_path / "long").mkdir()
    (tmp_path / "temporary").mkdir()
    noise = np.random.default_rng(3).uniform(-0.5, 0.5, 22050 * 240)
    for name in ("a.flac", "b.flac")[: 1 + several]:
        soundfile.write(tmp_path / "long" / name, noise, 22050)
    command = f"{sys.executable} -m auricle tag '{tmp_path / 'long'}' --model '{model}' --threads 1 --windows"
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", f"{command} --quiet {options} | {reader} > /dev/null; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, timeout=60, env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "") and time.monotonic() - began < 40
    assert not list((tmp_path / "temporary").glob("auricle-*"))


def test_a_closed_pipe_is_no_matter_where_little_is_said() -> None:
    """What waits in the buffer until Python ends: it would say 120 and print an ignored exception."""
    command = f"{sys.executable} -m auricle --version | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_results_never_take_the_place_of_a_recording(model: Path, recordings: Path) -> None:
    before = (recordings / "a.wav").read_bytes()
    command = [sys.executable, "-m", "auricle", "tag", str(recordings), "--model", str(model)]
    done = subprocess.run([*command, "--out", str(recordings / "a.wav")], capture_output=True, text=True)
    assert done.returncode == 2 and "is one of the recordings" in done.stderr
    assert (recordings / "a.wav").read_bytes() == before


def test_a_wrong_model_leaves_older_results_alone(recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("older")
    command = [sys.executable, "-m", "auricle", "tag", str(recordings), "--model", "nonesuch"]
    done = subprocess.run([*command, "--out", str(tmp_path / "tags.csv")], capture_output=True, text=True)
    assert done.returncode == 1 and "no model nonesuch" in one_line_error(done.stderr)
    assert (tmp_path / "tags.csv").read_text() == "older"


def test_a_pipe_is_tagged(model: Path, recordings: Path) -> None:
    command = [sys.executable, "-m", "auricle", "tag", "-", "--model", str(model), "--format", "jsonl"]
    piped = subprocess.run(
        command, input=(recordings / "a.wav").read_bytes(), capture_output=True, check=True
    )
    assert json.loads(piped.stdout)["path"] == "-"
    whole = subprocess.run(
        [*command[:4], str(recordings / "a.wav"), *command[5:]], capture_output=True, check=True
    )
    assert json.loads(piped.stdout)["tags"] == json.loads(whole.stdout)["tags"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line_that_names_the_file(model: Path, recordings: Path) -> None:
    tag = f"{sys.executable} -m auricle tag '{recordings}' --model '{model}' --threads 1"
    for command, name in ((f"{tag} --out /dev/full", "/dev/full"), (f"{tag} > /dev/full", "standard output")):
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        errors = [line for line in done.stderr.splitlines() if not line.startswith("tagging: ")]
        assert (done.returncode, errors) == (1, [f"auricle: error: {name}: No space left on device"])


def test_closed_output_is_one_line(model: Path, recordings: Path, tmp_path: Path) -> None:
    tag = f"{sys.executable} -m auricle tag '{recordings / 'a.wav'}' --model '{model}' --threads 1"
    done = subprocess.run(["bash", "-c", f"{tag} >&-"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "standard output is closed" in one_line_error(done.stderr)
    done = subprocess.run(["bash", "-c", f"{tag} --out '{tmp_path}/tags' >&- 2>&-"])
    assert done.returncode == 0 and "(2.0 s)" in (tmp_path / "tags").read_text()
    command = f"{tag} '{tmp_path}/gone.wav' --format csv 2>&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1 and "error" not in done.stdout, "errors went among the results"


@contextlib.contextmanager
def in_background(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "auricle", "tag", "-", "--threads", "1", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        watch = threading.Timer(60, process.kill)  # a test that waits for ever fails instead
        watch.start()
        try:
            yield process
        finally:
            watch.cancel()
            process.kill()


def test_windows_of_a_pipe_are_written_while_it_is_open_and_an_interrupt_ends_it(model: Path) -> None:
    options = ["--model", str(model), "--raw", "8000,1,s16le", "--windows", "--format", "csv", "--top", "1"]
    with in_background(*options) as process:
        assert process.stdin and process.stdout and process.stderr
        noise = np.random.default_rng(1).integers(-9999, 9999, 8000 * 25)
        process.stdin.write(noise.astype("<i2").tobytes())
        process.stdin.flush()
        lines = [process.stdout.readline() for _ in range(1 + 40)]  # while the pipe is open
        assert lines[0] == b"path,start,end,label,score\n" and lines[40].startswith(b"-,9.75,10,")
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = process.stdout.read(), process.stderr.read()
        assert process.wait(10) == 130 and time.monotonic() - began < 3
        assert b"Fatal" not in err and b"Traceback" not in err


def running(group: int) -> list[str]:
    """Processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            found += [stat.parent.name] * (int(fields[2]) == group and fields[0] != "Z")
    return found


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGTERM")
def test_a_terminated_run_leaves_no_worker_and_no_temporary_file(model: Path, tmp_path: Path) -> None:
    """As service managers, containers and queues of jobs end what takes too long."""
    (tmp_path / "many").mkdir()
    (tmp_path / "temporary").mkdir()
    for number in range(300):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, 80_000)
        soundfile.write(tmp_path / "many" / f"{number}.wav", noise, 8000)
    options = ["--windows", "--hop", "0.001", "--jobs", "2", "--threads", "1", "--format", "csv"]
    process = subprocess.Popen(
        [sys.executable, "-m", "auricle", "tag", str(tmp_path / "many"), "--model", str(model), *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
    )  # fmt: skip
    end = time.monotonic() + 60
    while not list((tmp_path / "temporary").glob("auricle-*/*")) and time.monotonic() < end:
        time.sleep(0.05)
    process.terminate()
    _, error = process.communicate(timeout=30)
    assert process.returncode == 143 and b"Traceback" not in error
    assert not list((tmp_path / "temporary").glob("auricle-*"))
    end = time.monotonic() + 20
    while running(process.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert not running(process.pid)


@pytest.mark.parametrize("head", [b"", b"RIFF"], ids=["nothing", "a beginning"])
def test_an_interrupt_ends_the_wait_for_a_silent_pipe(model: Path, head: bytes) -> None:
    with in_background("--model", str(model), "--format", "csv") as process:
        assert process.stdin and process.stdout and process.stderr
        assert process.stdout.readline()  # the heads are written before the first recording is read
        process.stdin.write(head)
        process.stdin.flush()
        time.sleep(1.5)  # the model is loaded and the decoder waits
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.wait(10) == 130 and time.monotonic() - began < 3
        err = process.stderr.read()
        assert b"Fatal" not in err and b"Traceback" not in err
