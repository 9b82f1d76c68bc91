"""A full disk is one line that names the place, whichever library meets it first."""

import tempfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow.parquet as pq
import pytest

from auricle.disk import full_disk_told
from auricle.embedding import embed_files
from auricle.engine import pack
from auricle.evaluation import evaluate
from auricle.shards import Pack, add_embeddings

FULL = "no space is left on its disk"


def no_room(*_: Any, **__: Any) -> NoReturn:
    raise OSError(28, "No space left on device")


@pytest.fixture
def packed(recordings: Path, tmp_path: Path) -> Path:
    (recordings / "meta.csv").write_text("path,labels\na.wav,dog\n")
    pack(recordings / "meta.csv", tmp_path / "pack", rate=8000, jobs=1, quiet=True)
    return tmp_path / "pack"


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(KeyError), full_disk_told("out"):
        raise KeyError("a")
    with pytest.raises(PermissionError), full_disk_told("out"):
        raise PermissionError(13, "Permission denied")


def test_torchs_and_safetensors_words_are_understood() -> None:
    with pytest.raises(ValueError, match=f"^out: {FULL}; make room"), full_disk_told("out"):
        try:
            no_room()
        except OSError:
            raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904 - as torch does
    with pytest.raises(ValueError, match=FULL), full_disk_told("out"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_scores_without_room_name_the_folder_for_temporary_files(
    packed: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "w+b"))  # noqa: PTH123
    with pytest.raises(ValueError, match=f"{tempfile.gettempdir()}: {FULL}; make room, or name another"):
        evaluate(model, packed, draws=0, threads=1, quiet=True)


def test_embeddings_without_room_name_the_folder_and_leave_nothing(
    packed: Path, recordings: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pq.ParquetWriter, "write_batch", no_room)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ValueError, match=f"{out}: {FULL}"):
        embed_files([str(recordings / "a.wav")], model, out / "x.parquet", threads=1, quiet=True)
    assert not list(out.iterdir())
    monkeypatch.setattr("auricle.shards.embeddings.publish", no_room)
    about = {"model": "m", "fingerprint": "f", "rate": 8000, "window": 1, "hop": 1}
    with pytest.raises(ValueError, match=f"{packed}: {FULL}"):
        add_embeddings(packed, "own", [np.zeros((1, 2))], about)
    assert Pack(packed).embedding_sets == []


def test_training_without_room_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from tones import config_for, make_corpus

    from auricle.training import train

    config = config_for(make_corpus(tmp_path), steps=4)
    with monkeypatch.context() as full:
        full.setattr(torch, "save", no_room)
        with pytest.raises(ValueError, match=f"run: {FULL}; make room and go on with --resume"):
            train(config, tmp_path / "run", quiet=True)
    assert (train(config, tmp_path / "run", resume=True, quiet=True) / "model.json").is_file()
