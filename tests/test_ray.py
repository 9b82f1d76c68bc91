"""Jobs on Ray: two nodes on one machine, one of them lost half-way, and the same bytes as without Ray."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from test_engine import clips, content, deadly_decode, decode

from auricle.datasets import Clip
from auricle.engine import Engine, pack
from auricle.engine.embedding import EmbedOptions, embed_many
from auricle.engine.packing import Range
from auricle.engine.tagging import tag_to_file
from auricle.formats import write_jsonl
from auricle.shards.writer import Decoded
from auricle.tagging import TagOptions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="ends Ray's processes by way of /proc"),
]
RECORDINGS = 24
PORTS = ("metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def slow_decode(clip: Range, rate: int) -> Decoded:
    time.sleep(0.02)
    return decode(clip, rate)


def sounds(folder: Path) -> list[str]:
    """Recordings of 50 s, which take a while to tag."""
    folder.mkdir()
    for number in range(RECORDINGS):
        noise = np.random.default_rng(number).integers(-9999, 9999, 400_000).astype(np.int16)
        soundfile.write(folder / f"{number:02d}.wav", noise, 8000)
    return [str(path) for path in sorted(folder.iterdir())]


def tag(files: list[str], out: Path, model: str, engine: Engine) -> None:
    options = TagOptions(model=model, threads=1, windows=True)
    tag_to_file(files, out, options, write_jsonl, engine=engine, quiet=True, task_bytes=1)


def small_node() -> dict[str, Any]:
    """One core, little memory, and ports that are chosen: a slow machine is not waited for to choose them."""
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for free in sockets:
            free.bind(("", 0))
        ports = [free.getsockname()[1] for free in sockets]
    options = dict(zip((*names, "runtime_env_agent_port"), ports, strict=True))
    return {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False} | options


def on_two_nodes(folder: Path, model: str) -> None:
    """What the test below runs in a process of its own, so that all of Ray ends with it."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=small_node())
    try:
        for work, finished in (
            (lambda: pack_on(folder / "pack", cluster.address), folder / "pack" / "journal"),
            (lambda: tag_on(folder, model, cluster.address), folder / "tags.jsonl.parts"),
        ):
            other = cluster.add_node(**small_node())
            cluster.wait_for_nodes()
            lost: list[int] = []

            def lose(other: Any = other, finished: Path = finished, lost: list[int] = lost) -> None:
                end = time.monotonic() + 120
                while len(list(finished.glob("0*.json"))) < 2 and time.monotonic() < end:
                    time.sleep(0.005)
                cluster.remove_node(other, allow_graceful=False)
                lost.append(len(list(finished.glob("0*.json"))))

            thread = threading.Thread(target=lose)
            thread.start()
            work()
            thread.join()
            print("lost a node when tasks were finished:", lost[0], flush=True)
    finally:
        cluster.shutdown()


def pack_on(out: Path, address: str) -> None:
    pack(clips(), out, quiet=True, decode=slow_decode, engine="ray", address=address)


def tag_on(folder: Path, model: str, address: str) -> None:
    files = [str(path) for path in sorted((folder / "sounds").iterdir())]
    tag(files, folder / "tags.jsonl", model, Engine(kind="ray", address=address))


def in_a_session(code: str, *arguments: object) -> str:
    """Run code in a session of its own; nothing of that session is left running."""
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "300"}
    command = [sys.executable, "-c", f"import sys, test_ray as t\n{code}", *map(str, arguments)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    assert process.stdout is not None
    try:
        printed = process.communicate(timeout=900)[0].decode()
    finally:
        for member in members(process.pid):
            os.kill(member, signal.SIGKILL)
        process.wait()
    assert process.returncode == 0, printed
    return printed


def members(session: int) -> list[int]:
    """Processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def test_a_node_lost_half_way_changes_no_byte_of_a_pack_or_of_tags(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    files = sounds(tmp_path / "sounds")
    pack(clips(), tmp_path / "local", jobs=1, quiet=True, decode=decode)
    tag(files, tmp_path / "local.jsonl", str(model), Engine(kind="here"))
    printed = in_a_session(
        "from pathlib import Path\nt.on_two_nodes(Path(sys.argv[1]), sys.argv[2])", tmp_path, model
    )
    lost = [int(line.rpartition(" ")[2]) for line in printed.splitlines() if line.startswith("lost a node")]
    assert len(lost) == 2 and lost[0] < 10 and lost[1] < RECORDINGS, "a node was lost half-way"
    assert content(tmp_path / "pack") == content(tmp_path / "local")
    assert (tmp_path / "tags.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()


def few() -> list[Clip]:
    return clips(80)


def test_clips_that_kill_their_worker_are_failures_on_ray_as_they_are_here(tmp_path: Path) -> None:
    """And Ray is started, and ended, by the job itself."""
    pytest.importorskip("ray", reason="ray is not installed")
    pack(few(), tmp_path / "local", jobs=1, quiet=True, decode=deadly_decode)
    in_a_session(
        "t.pack(t.few(), sys.argv[1], engine='ray', jobs=2, quiet=True, decode=t.deadly_decode)",
        tmp_path / "ray",
    )
    assert content(tmp_path / "ray") == content(tmp_path / "local")


def commands_on_a_cluster(folder: Path, model: str) -> None:
    """What the test below runs in a process of its own: `ray start`, then the command line against it."""
    (folder / "home" / ".ray").mkdir(parents=True)
    (folder / "home" / ".ray" / "auth_token").write_text(
        "0123456789abcdef" * 4
    )  # as an earlier run leaves it
    os.environ["HOME"] = str(folder / "home")
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    ports = [f"--{name.replace('_', '-')}={value}" for name, value in small_node().items() if name in PORTS]
    head = ["start", "--head", "--port", str(port), "--num-cpus", "2", "--object-store-memory", "80000000"]
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        *head,
        "--include-dashboard=false",
        "--block",
        *ports,
    ]
    with (folder / "head.log").open("w") as log:
        cluster = subprocess.Popen(command, stdout=log, stderr=log)
    end = time.monotonic() + 300
    while "Ray runtime started" not in (folder / "head.log").read_text():
        assert cluster.poll() is None and time.monotonic() < end, (folder / "head.log").read_text()
        time.sleep(0.5)
    for verb, *rest in (
        ("pack", f"{folder}/corpus", f"{folder}/ray-pack", "--rate", "8000"),
        ("tag", f"{folder}/corpus", "--model", model, "--format", "jsonl", "--out", f"{folder}/ray.jsonl"),
        ("embed", f"{folder}/corpus", "--model", model, "--out", f"{folder}/ray.parquet"),
    ):
        given = [verb, *rest, "--engine", "ray", "--address", f"127.0.0.1:{port}"]
        done = subprocess.run([sys.executable, "-m", "auricle", *given], capture_output=True, text=True)
        print(verb, done.returncode, done.stderr, flush=True)
    cluster.terminate()
    cluster.wait(60)


def test_the_documented_commands_on_a_cluster_give_the_bytes_of_local_ones(
    model: Path, tmp_path: Path
) -> None:
    """`ray start` asks for a token where an earlier run has left one; the command line must send it."""
    pytest.importorskip("ray", reason="ray is not installed")
    for number in range(4):
        (tmp_path / "corpus" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(-9999, 9999, 8000).astype(np.int16)
        soundfile.write(tmp_path / "corpus" / "ab"[number % 2] / f"{number}.wav", noise, 8000)
    code = "from pathlib import Path\nt.commands_on_a_cluster(Path(sys.argv[1]), sys.argv[2])"
    printed = in_a_session(code, tmp_path, model)
    assert all(f"{verb} 0" in printed for verb in ("pack", "tag", "embed")), printed
    options = TagOptions(model=str(model), threads=1)
    files = [str(path) for path in sorted((tmp_path / "corpus").rglob("*.wav"))]
    tag_to_file(files, tmp_path / "local.jsonl", options, write_jsonl, engine=Engine(kind="here"), quiet=True)
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()
    embedding = EmbedOptions(model=str(model), threads=1)
    embed_many(files, tmp_path / "local.parquet", embedding, engine=Engine(kind="here"), quiet=True)
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()
    pack(tmp_path / "corpus", tmp_path / "local-pack", rate=8000, jobs=1, quiet=True)
    assert content(tmp_path / "ray-pack") == content(tmp_path / "local-pack")
