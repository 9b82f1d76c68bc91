"""Recordings, packs and results elsewhere: the same bytes as on a disk, killed or not.

Each test runs on a folder by file://, and on an S3-compatible server of moto's on the loopback where moto and
s3fs are installed.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from running import run

from auricle import remote
from auricle.datasets import open_corpus
from auricle.engine import Engine, jobs, pack
from auricle.engine.embedding import EmbedOptions, embed_clips, embed_many
from auricle.engine.tagging import tag_to_file, tag_to_folder
from auricle.evaluation import evaluate
from auricle.formats import write_jsonl
from auricle.media_files import find_media
from auricle.remote import files as remote_files
from auricle.remote import lease
from auricle.shards import Pack
from auricle.tagging import TagOptions

HERE = Engine(kind="here")
ROOT = Path(__file__).parents[1]
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3-compatible server of our own; its address."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'auricle[ray]'")
    pytest.importorskip("moto.server", reason="moto's server is not installed: pip install 'moto[server]'")
    command = [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["file", "s3"])
def away(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty folder elsewhere."""
    pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'auricle[ray]'")
    monkeypatch.setenv("AURICLE_CACHE", str(tmp_path / "cache"))
    if request.param == "file":
        (tmp_path / "elsewhere").mkdir()
        return f"file://{tmp_path / 'elsewhere'}"
    for name, value in (KEYS | {"AWS_ENDPOINT_URL": request.getfixturevalue("server")}).items():
        monkeypatch.setenv(name, value)
    import fsspec

    fsspec.filesystem("s3").clear_instance_cache()
    bucket = f"bucket-{time.monotonic_ns()}"
    fsspec.filesystem("s3", use_listings_cache=False).mkdir(bucket)
    return f"s3://{bucket}/some/where"


def make_corpus(folder: Path, count: int = 6) -> Path:
    """A manifest of short recordings, and a file that is no recording."""
    (folder / "sound").mkdir(parents=True)
    rows = ["path,labels,split"]
    for number in range(count):
        noise = np.random.default_rng(number).integers(-9999, 9999, 8000).astype(np.int16)
        soundfile.write(folder / f"sound/{number}.wav", noise, 8000)
        rows.append(f"sound/{number}.wav,{('dog', 'rain')[number % 2]},{('train', 'test')[number > 3]}")
    (folder / "sound/broken.wav").write_bytes(b"\0\1\2 no recording")
    rows.append("sound/broken.wav,dog,train")
    (folder / "meta.csv").write_text("\n".join(rows) + "\n")
    return folder / "meta.csv"


def put_folder(folder: Path, address: str) -> str:
    for path in folder.rglob("*"):
        if path.is_file():
            remote.put(path, remote.join(address, path.relative_to(folder).as_posix()))
    return address


def content(folder: Path | str) -> dict[str, bytes]:
    """All files but those that differ from run to run."""
    if isinstance(folder, Path):
        found = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
    else:
        found = {name: remote.read(remote.join(folder, name)) for name in remote.list_files(folder)}
    return {name: data for name, data in found.items() if name != "run.json"}


def pack_here(source: Any, out: Any, **options: Any) -> dict[str, Any]:
    return pack(source, out, rate=8000, engine="here", quiet=True, **options)


# --- files


def test_a_file_elsewhere_is_put_listed_read_and_removed(away: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello")
    for name in ("a.wav", "deep/b.wav", "deep/c.txt"):
        remote.put(tmp_path / "a", remote.join(away, name))
    assert list(remote.list_files(away)) == ["a.wav", "deep/b.wav", "deep/c.txt"]
    assert remote.list_files(away)["a.wav"].size == 5 and remote.list_files(away + "/nothing") == {}
    assert remote.read(remote.join(away, "a.wav")) == b"hello"
    assert remote.read_many(away, ["a.wav"]) == {"a.wav": b"hello"}
    assert remote.read_many(away, ["a.wav", "deep/b.wav"]) == {"a.wav": b"hello", "deep/b.wav": b"hello"}
    assert remote.sizes([remote.join(away, name) for name in ("a.wav", "x")]) == [5, -1]
    several = [remote.join(away, "deep", name) for name in ("b.wav", "c.txt", "d", "e")]
    assert remote.sizes(several) == [5, 5, -1, -1]
    assert remote.look_up(remote.join(away, "a.wav")) and remote.look_up(remote.join(away, "deep")) is None
    assert remote.is_folder(remote.join(away, "deep")) and not remote.is_folder(remote.join(away, "none"))
    assert remote.match(remote.join(away, "*.wav")) == [remote.join(away, "a.wav")]
    remote.get(remote.join(away, "deep/b.wav"), tmp_path / "got" / "b")
    assert (tmp_path / "got" / "b").read_bytes() == b"hello"
    with remote.stream(remote.join(away, "a.wav"), 2) as file:
        assert file.seek(3) == 3 and file.read() == b"lo"
    remote.remove([remote.join(away, "a.wav"), remote.join(away, "a.wav")])
    remote.remove_folder(remote.join(away, "deep"))
    remote.remove_folder(remote.join(away, "deep"))
    assert remote.list_files(away) == {}
    with pytest.raises(FileNotFoundError) as error:
        remote.get(remote.join(away, "a.wav"), tmp_path / "none")
    assert error.value.filename == remote.join(away, "a.wav") and not (tmp_path / "none").exists()


def test_of_two_that_write_a_new_file_one_does(away: str) -> None:
    assert remote_files.put_new(b"1", remote.join(away, "new"))
    assert not remote_files.put_new(b"2", remote.join(away, "new"))
    assert remote.read(remote.join(away, "new")) == b"1"
    remote.put_bytes(b"3", remote.join(away, "new"))
    assert remote.read(remote.join(away, "new")) == b"3"


def test_the_condition_itself_is_refused_by_the_server(away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if away.startswith("file:"):
        pytest.skip("a disk has exclusive creation")
    files = type(remote_files._filesystem(away))
    remote.put_bytes(b"1", remote.join(away, "new"))
    monkeypatch.setattr(files, "exists", lambda *a, **k: False)  # as it is between two that look at once
    assert not remote_files.put_new(b"2", remote.join(away, "new"))
    assert remote.read(remote.join(away, "new")) == b"1"


def test_memory_of_fsspec_is_a_place_like_others(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    (tmp_path / "a").write_bytes(b"12")
    remote.put(tmp_path / "a", "memory://x/a.wav")
    assert list(remote.list_files("memory://x")) == ["a.wav"] and remote.read("memory://x/a.wav") == b"12"
    assert remote.match("memory://x/*.wav") == ["memory://x/a.wav"]
    assert remote_files.put_new(b"1", "memory://x/n") and not remote_files.put_new(b"1", "memory://x/n")
    remote.remove_folder("memory://x")
    assert remote.list_files("memory://x") == {}


# --- locks


def test_a_bucket_that_is_not_there_is_named(away: str) -> None:
    if not away.startswith("s3:"):
        pytest.skip("a folder is made")
    with pytest.raises(ValueError, match="s3://no-such-bucket/out: there is no such bucket"):
        with remote.held("s3://no-such-bucket/out"):
            pass


def test_a_second_run_is_refused_and_a_dead_one_taken_over(
    away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with remote.held(away):
        with pytest.raises(ValueError, match=rf"{away}: another process \(pid {os.getpid()} on "):
            with remote.held(away):
                pass
    assert remote.list_files(away) == {}
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock = remote.join(away, ".lock")
    remote.put_bytes(
        json.dumps({"host": lease.platform.node(), "pid": dead.pid, "token": "x"}).encode(), lock
    )
    with remote.held(away) as check:
        check()
    elsewhere = json.dumps({"host": "another", "pid": 1, "token": "x"}).encode()
    remote.put_bytes(elsewhere, lock)
    with pytest.raises(ValueError, match="pid 1 on another"), remote.held(away):
        pass
    monkeypatch.setattr(lease, "STALE", -10.0)
    with remote.held(away, file=False):
        pass
    assert remote.list_files(away) == {}


def test_a_run_that_was_taken_over_notices(away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW", 0.05)
    with remote.held(away, file=True) as check:
        [lock] = remote.list_files(remote.parent(away))
        remote.put_bytes(b'{"token": "of another"}', remote.join(remote.parent(away), lock))
        for _ in range(200):
            time.sleep(0.05)
            with contextlib.suppress(ValueError):
                check()
                continue
            break
        with pytest.raises(ValueError, match="taken this over"):
            check()
    assert list(remote.list_files(remote.parent(away))) == [lock], "the other's stays"


# --- packs


@pytest.fixture
def local(tmp_path: Path) -> Path:
    make_corpus(tmp_path / "corpus")
    pack_here(tmp_path / "corpus/meta.csv", tmp_path / "pack")
    return tmp_path / "pack"


def test_a_pack_made_elsewhere_of_recordings_elsewhere_has_the_bytes_of_a_local_one(
    away: str, tmp_path: Path, local: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = put_folder(tmp_path / "corpus", f"{away}/corpus"), f"{away}/packs/one"
    report = pack_here(f"{source}/meta.csv", out)
    assert (report["clips"], report["failures"], report["finished_before"]) == (6, 1, False)
    assert content(out) == content(local) and "run.json" in remote.list_files(out)
    again = pack_here(f"{source}/meta.csv", out, verify=True)
    assert again["finished_before"] and again["problems"] == []
    shard = next(name for name in remote.list_files(out) if name.endswith(".arrow"))
    remote.put_bytes(b"\1" + remote.read(f"{out}/{shard}")[1:], f"{out}/{shard}")
    [problem] = pack_here(f"{source}/meta.csv", out, verify=True)["problems"]
    assert problem.startswith(f"{shard}: damaged (its checksum")
    with pytest.raises(ValueError, match=f"{out}: a pack of something else"):
        pack(f"{source}/meta.csv", out, rate=16000, engine="here", quiet=True)


def test_a_manifest_here_may_name_recordings_elsewhere(away: str, tmp_path: Path, local: Path) -> None:
    put_folder(tmp_path / "corpus", away)
    rows = (tmp_path / "corpus/meta.csv").read_text().replace("sound/", f"{away}/sound/")
    (tmp_path / "far.csv").write_text(rows)
    assert pack_here(tmp_path / "far.csv", tmp_path / "far")["clips"] == 6
    one, two = Pack(local), Pack(tmp_path / "far")
    assert all(np.array_equal(one.samples(clip), two.samples(clip)) for clip in range(6))


def test_a_folder_elsewhere_is_a_corpus_as_one_here(away: str, tmp_path: Path) -> None:
    for label in ("dog", "rain"):
        make_corpus(tmp_path / "x" / label, 2)
    put_folder(tmp_path / "x", away)
    (kind, here), (kind_away, there) = open_corpus(tmp_path / "x"), open_corpus(away)
    assert kind == kind_away == "folders" and len(here) == 6
    assert [(clip.id, clip.labels, clip.group) for clip in here] == [
        (clip.id, clip.labels, clip.group) for clip in there
    ]
    assert there[0].path.startswith(away)
    with pytest.raises(ValueError, match="audioset reads from a disk of this machine only"):
        open_corpus(f"audioset:{away}")
    with pytest.raises(ValueError, match="no such file or folder"):
        open_corpus(f"{away}/nothing")


def test_esc50_elsewhere_finds_its_recordings(away: str, tmp_path: Path) -> None:
    (tmp_path / "esc/meta").mkdir(parents=True)
    table = "filename,fold,target,category,esc10,src_file,take\n1-2-A-0.wav,1,0,dog,True,2,A\n"
    (tmp_path / "esc/meta/esc50.csv").write_text(table)
    put_folder(tmp_path / "esc", away)
    for source in (away, f"{away}/meta/esc50.csv", f"esc50:{away}"):
        name, [clip] = open_corpus(source)
        assert (name, clip.path) == ("esc50", f"{away}/audio/1-2-A-0.wav")


@pytest.mark.parametrize("calls", [2, 4, 9])
def test_packing_killed_at_any_put_goes_on_and_ends_with_the_same_bytes(
    away: str, tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    source, out = f"{tmp_path}/corpus/meta.csv", f"{away}/pack"
    monkeypatch.setattr("auricle.shards.source.FEWEST_CLIPS", 2)
    pack_here(source, tmp_path / "cut")
    real, left = remote_files.put, [calls]

    def put(path: Path, address: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(path, address)

    for module in ("auricle.remote", "auricle.remote.folders"):
        monkeypatch.setattr(f"{module}.put", put)
    with pytest.raises(KeyboardInterrupt):
        pack_here(source, out)
    entries = [name for name in remote.list_files(out) if name.startswith("journal/0")]
    left[0] = 1000
    made: list[int] = []
    write = partial(_counting, made)
    monkeypatch.setattr("auricle.engine.packing.write_shard", write)
    pack_here(source, out)
    assert content(out) == content(tmp_path / "cut")
    assert len(made) == 4 - len(entries), "what was finished is not done again"


def _counting(made: list[int], path: Path, decoded: Any) -> Any:
    from auricle.shards.writer import write_shard

    made.append(1)
    return write_shard(path, decoded)


def test_a_second_packing_into_one_address_is_refused(away: str, tmp_path: Path, local: Path) -> None:
    out = f"{away}/pack"
    with remote.held(out), pytest.raises(ValueError, match="is writing this folder"):
        pack_here(tmp_path / "corpus/meta.csv", out)
    remote.put_bytes(b"x", f"{out}/other.txt")
    with pytest.raises(ValueError, match=r"pack: the folder holds something else \(other.txt\)"):
        pack_here(tmp_path / "corpus/meta.csv", out)


def test_a_pack_elsewhere_is_read_by_copies_and_shards_when_they_are_needed(
    away: str, tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = put_folder(local, f"{away}/pack")
    one, two = Pack(local), Pack(out)
    assert two.ids.tolist() == one.ids.tolist() and two.label_names() == one.label_names()
    assert not list((tmp_path / "cache/shards").glob("*"))
    assert np.array_equal(one.samples(3), two.samples(3))
    assert len(list((tmp_path / "cache/shards").glob("*.arrow"))) == 1
    assert two.verify() == []
    fetched: list[str] = []
    monkeypatch.setattr("auricle.remote.cache.get", lambda address, path: fetched.append(address))
    assert np.array_equal(Pack(out).samples(2), one.samples(2)), "from the cache"
    assert fetched == [] and repr(two).startswith(f"Pack('{out}'")


def test_a_damaged_shard_elsewhere_is_named_when_it_is_fetched(
    away: str, tmp_path: Path, local: Path
) -> None:
    out = put_folder(local, f"{away}/pack")
    name = next(name for name in remote.list_files(out) if name.endswith(".arrow"))
    whole = remote.read(f"{out}/{name}")
    remote.put_bytes(whole[:-1] + bytes([whole[-1] ^ 1]), f"{out}/{name}")
    with pytest.raises(ValueError, match=rf"{out}/{name}: damaged \(its checksum"):
        Pack(out).samples(0)
    shutil.rmtree(tmp_path / "cache")
    remote.remove([f"{out}/index/offset.npy"])
    with pytest.raises(ValueError, match=f"{out}/index/offset.npy: missing"):
        Pack(out)
    with pytest.raises(ValueError, match=f"{away}/none: no such folder"):
        Pack(f"{away}/none")


def test_the_cache_keeps_to_its_size(
    away: str, tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auricle.shards.source.FEWEST_CLIPS", 2)
    pack_here(tmp_path / "corpus/meta.csv", f"{away}/pack")
    monkeypatch.setenv("AURICLE_CACHE_GB", "0.00005")  # 50 kB: one shard of two clips
    reader, here = Pack(f"{away}/pack"), Pack(local)
    for clip in range(6):
        assert np.array_equal(reader.samples(clip), here.samples(clip)), (
            "also what was given up is still mapped"
        )
        assert sum(path.stat().st_size for path in (tmp_path / "cache/shards").iterdir()) < 50_000
    monkeypatch.setenv("AURICLE_CACHE_GB", "much")
    with pytest.raises(ValueError, match="AURICLE_CACHE_GB is 'much'"):
        Pack(f"{away}/pack").samples(0)


# --- tags and embeddings


def test_tags_of_recordings_elsewhere_put_elsewhere_are_those_of_local_ones(
    away: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus(tmp_path / "corpus")
    source = put_folder(tmp_path / "corpus/sound", f"{away}/sound")
    here = [path for path, _ in find_media([tmp_path / "corpus/sound"])]
    there = [path for path, _ in find_media([source])]
    assert [Path(path).name for path in there] == [Path(path).name for path in here] and len(there) == 7
    assert find_media([f"{source}/*.wav"]) == [(path, None) for path in there]
    assert find_media([there[0]]) == [(there[0], None)]
    assert find_media([f"{source}/none"])[0][1] == f"{source}/none: no such file or folder"
    options: dict[str, Any] = {"engine": HERE, "quiet": True, "task_bytes": 1}
    tag = partial(
        tag_to_file,
        options=TagOptions(model=str(model), threads=1, windows=True),
        write=write_jsonl,
        **options,
    )
    tag(here, tmp_path / "here.jsonl")
    tag(there, f"{away}/out/there.jsonl")
    local = (tmp_path / "here.jsonl").read_text()
    assert remote.read(f"{away}/out/there.jsonl").decode() == local.replace(
        str(tmp_path / "corpus/sound"), source
    )
    assert list(remote.list_files(f"{away}/out")) == ["there.jsonl"]
    monkeypatch.setattr("auricle.audio.source.FETCHED_BYTES", 100)
    tag(there, f"{away}/out/there.jsonl")
    assert remote.read(f"{away}/out/there.jsonl").decode() == local.replace(
        str(tmp_path / "corpus/sound"), source
    )


def test_tagging_elsewhere_that_was_killed_goes_on(
    away: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus(tmp_path / "corpus")
    files = [path for path, _ in find_media([tmp_path / "corpus/sound"])]
    options: dict[str, Any] = {"engine": HERE, "quiet": True, "task_bytes": 1}
    tag = partial(tag_to_file, options=TagOptions(model=str(model), threads=1), write=write_jsonl, **options)
    tag(files, tmp_path / "here.jsonl")
    real, seen = remote.put_bytes, []

    def enter(data: bytes, address: str) -> None:
        real(data, address)
        seen.append(address)
        if len(seen) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("auricle.remote.put_bytes", enter)
    with pytest.raises(KeyboardInterrupt):
        tag(files, f"{away}/t.jsonl")
    assert f"{away}/t.jsonl" not in remote.list_files(away) and len(seen) == 3
    with pytest.raises(ValueError, match=f"{away}/t.jsonl.parts: a run was begun there and not finished"):
        tag(files[:-1], f"{away}/t.jsonl")
    monkeypatch.setattr(jobs, "_workers", lambda engine: contextlib.nullcontext(jobs._here))  # to be counted
    tag(files, f"{away}/t.jsonl")
    assert len(seen) == len(set(seen)) == len(files), "each once"
    assert remote.read(f"{away}/t.jsonl") == (tmp_path / "here.jsonl").read_bytes()
    assert list(remote.list_files(away)) == ["t.jsonl"]


def test_a_folder_of_tags_elsewhere_is_that_of_a_disk(away: str, tmp_path: Path, model: Path) -> None:
    make_corpus(tmp_path / "corpus")
    files = [path for path, _ in find_media([tmp_path / "corpus/sound"])]
    tag = partial(tag_to_folder, options=TagOptions(model=str(model), threads=1), write=write_jsonl)
    options: dict[str, Any] = {"suffix": ".jsonl", "engine": HERE, "quiet": True}
    told = tag(files, tmp_path / "tags", **options)
    assert tag(files, f"{away}/tags", **options) == told
    assert content(f"{away}/tags") == content(tmp_path / "tags") and len(content(f"{away}/tags")) == 8


def test_embeddings_elsewhere_are_those_of_a_disk(
    away: str, tmp_path: Path, model: Path, local: Path
) -> None:
    files = [path for path, _ in find_media([tmp_path / "corpus/sound"])]
    options = EmbedOptions(model=str(model), threads=1)
    embed_many(files, tmp_path / "x.parquet", options, engine=HERE, quiet=True)
    embed_many(files, f"{away}/x.parquet", options, engine=HERE, quiet=True)
    assert remote.read(f"{away}/x.parquet") == (tmp_path / "x.parquet").read_bytes()
    out = put_folder(local, f"{away}/pack")
    embed = partial(embed_clips, options=options, name="tiny", engine=HERE, quiet=True)
    assert embed(local) == embed(out)
    assert content(out) == content(local)
    one, two = Pack(local).embeddings("tiny"), Pack(out).embeddings("tiny")
    assert np.array_equal(one.values, two.values) and Pack(out).embedding_sets == ["tiny"]
    with pytest.raises(ValueError, match="is there already"):
        embed(out)
    assert embed(out, replace=True)["clips"] == 6 and content(out) == content(local)


# --- evaluation and training


def test_an_evaluation_elsewhere_is_that_of_a_disk(
    away: str, tmp_path: Path, model: Path, local: Path
) -> None:
    out = put_folder(local, f"{away}/pack")
    judge = partial(evaluate, draws=0, threads=1, quiet=True)
    remote.put(model, f"{away}/tiny.onnx")
    judge(str(model), local, out=tmp_path / "eval")
    figures = judge(f"{away}/tiny.onnx", out, out=f"{away}/eval")
    assert figures["pack"] == out
    here, there = content(tmp_path / "eval"), content(f"{away}/eval")
    assert here.keys() == there.keys() and here["per_class.csv"] == there["per_class.csv"]
    assert json.loads(there["metrics.json"])["map"] == json.loads(here["metrics.json"])["map"]


def test_a_training_elsewhere_that_was_killed_ends_with_the_same_weights(away: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tones import config_for, log_of, same_weights
    from tones import make_corpus as make_tones

    from auricle.training import train

    (tmp_path / "made").mkdir()
    corpus = make_tones(tmp_path / "made")
    here = train(
        config_for(corpus, steps=12, checkpoint_every=4, validate_every=5), tmp_path / "run", quiet=True
    )
    config, out = config_for(corpus, steps=12, checkpoint_every=4, validate_every=5), f"{away}/run"
    config = dataclasses.replace(config, data=Path(put_folder(config.data, f"{away}/tones")))

    def end(step: int, steps: int, figures: Any) -> None:
        if step >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, out, quiet=True, on_validation=end)
    assert "checkpoint.pt" in remote.list_files(out) and "last/model.json" not in remote.list_files(out)
    with pytest.raises(ValueError, match=f"{out}: holds a run; --resume"):
        train(config, out, quiet=True)
    trained = train(config, out, quiet=True, resume=True)
    assert remote.address_of(trained) == f"{out}/{here.name}"
    copy = tmp_path / "copy"
    for name in remote.list_files(out):
        remote.get(remote.join(out, name), copy / name)
    assert same_weights(copy, tmp_path / "run") and log_of(copy)[-1]["step"] == 12


# --- the command


def test_the_command_takes_addresses(
    away: str, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_corpus(tmp_path / "corpus", 2)
    source = put_folder(tmp_path / "corpus", f"{away}/corpus")
    status, out, err = run(
        capsys, "tag", f"{source}/sound", "--model", model, "--out", f"{away}/t/", "--jobs", 1
    )
    assert status == 1 and f"{source}/sound/broken.wav: " in err and out == ""
    assert list(remote.list_files(f"{away}/t")) == [
        ".auricle-done.jsonl",
        "0.wav.txt",
        "1.wav.txt",
        "failures.csv",
    ]
    status, out, err = run(
        capsys, "tag", f"{source}/sound/0.wav", "--model", model, "--out", f"{away}/one.txt"
    )
    assert (status, err) == (0, "") and b"0.wav" in remote.read(f"{away}/one.txt")
    status, out, _ = run(capsys, "tag", f"{source}/sound/0.wav", "--model", model)
    assert (status, out) == (0, remote.read(f"{away}/one.txt").decode())
    embed = ("embed", f"{source}/sound/0.wav", "--model", model, "--out", f"{away}/x.parquet")
    status, out, err = run(capsys, *embed)
    assert status == 0 and out.startswith(f"{away}/x.parquet: 4 windows of 1 recording"), err
    status, _, err = run(capsys, "tag", f"{away}/none.wav", "--model", model)
    assert status == 1 and f"{away}/none.wav: no such file or folder" in err
    status, _, err = run(capsys, "labels", f"{away}/corpus")
    assert status == 1 and len(err.splitlines()) == 1


@pytest.mark.slow
def test_packing_by_several_processes_killed_half_way_ends_with_the_same_bytes(
    away: str, tmp_path: Path
) -> None:
    make_corpus(tmp_path / "corpus", 130)
    source, out = put_folder(tmp_path / "corpus", f"{away}/corpus"), f"{away}/pack"
    pack_here(tmp_path / "corpus/meta.csv", tmp_path / "pack")
    command = [
        sys.executable,
        "-m",
        "auricle",
        "pack",
        f"{source}/meta.csv",
        out,
        "--rate",
        "8000",
        "--jobs",
        "2",
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and "journal/00000.json" not in remote.list_files(out):
            time.sleep(0.05)
        process.kill()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "1 clip could not be read" in done.stderr, done.stderr
    assert content(out) == content(tmp_path / "pack")


# --- without fsspec

BLOCK = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from auricle.cli import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize(
    "arguments",
    ["tag s3://b/a.wav", "embed s3://b/a --out x.parquet", "pack s3://b/m.csv out", "pack {corpus} s3://b/p",
     "evaluate default s3://b/p"],
)  # fmt: skip
@pytest.mark.parametrize("blocked", ["fsspec", "s3fs"])
def test_without_its_libraries_an_address_is_refused_in_a_line(
    tmp_path: Path, arguments: str, blocked: str
) -> None:
    if blocked == "s3fs":
        pytest.importorskip("fsspec")
    corpus = make_corpus(tmp_path / "corpus", 2)
    words = [word.format(corpus=corpus) for word in arguments.split()]
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", BLOCK, blocked, *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    said = f"auricle: error: this needs {blocked}, which is not installed: pip install 'auricle[ray]'"
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (1, "", [said])
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("s3:")]


def test_paths_of_this_machine_do_without_fsspec(tmp_path: Path, local: Path, model: Path) -> None:
    code = BLOCK.replace("main(sys.argv[2:])", "") + (
        "from auricle.shards import Pack\nfrom auricle.tagging import Tagger\n"
        "assert len(Pack(sys.argv[2])) == 6\nTagger(sys.argv[3]).tag(sys.argv[4])\n"
        "assert not {'fsspec', 's3fs', 'botocore'} & set(sys.modules)\n"
    )
    arguments = [str(local), str(model), str(tmp_path / "corpus/sound/0.wav")]
    command = [sys.executable, "-W", "error", "-c", code, "nothing", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
