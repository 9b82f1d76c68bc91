"""Embedding sets of a pack: what was written is read, whole or not at all."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auricle.datasets import Clip
from auricle.engine import pack
from auricle.engine.packing import Range
from auricle.shards import Pack, add_embeddings, add_labels
from auricle.shards.writer import Decoded

ABOUT: dict[str, Any] = {"model": "m", "fingerprint": "f", "rate": 8000, "window": 2000, "hop": 1000}
CLIPS, SIZE = 40, 5


def decode(clip: Range, rate: int) -> Decoded:
    return Decoded(pcm=np.ones(100, np.int16), clipped=0, warnings=[])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    clips = [Clip(id=f"c{i}", path=f"{i}.wav", labels=("a",), split="s", group=str(i)) for i in range(CLIPS)]
    pack(clips, tmp_path / "pack", jobs=1, quiet=True, decode=decode)
    return tmp_path / "pack"


def rows(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, CLIPS)
    return [rng.standard_normal((count, SIZE)).astype(np.float32) for count in counts]


def test_what_was_written_is_read_clip_by_clip(made: Path) -> None:
    written = rows()
    entry = add_embeddings(made, "mine", iter(written), ABOUT)
    opened = Pack(made)
    assert opened.embedding_sets == ["mine"]
    found = opened.embeddings("mine")
    assert found.about == entry and entry["model"] == "m" and entry["clips"] == len(found) == CLIPS
    assert (entry["windows"], entry["size"]) == found.values.shape == (sum(map(len, written)), SIZE)
    assert found.values.dtype == np.float16 and not found.values.flags.writeable
    for clip, expected in enumerate(written):
        np.testing.assert_array_equal(found.clip(clip), expected.astype(np.float16))
    raw = np.load(made / "embeddings" / "mine.values.npy")
    np.testing.assert_array_equal(raw, np.concatenate(written).astype(np.float16))
    indptr = np.load(made / "embeddings" / "mine.indptr.npy")
    np.testing.assert_array_equal(indptr, [0, *np.cumsum([len(array) for array in written])])
    assert opened.verify() == []


def test_values_are_a_view_of_the_file_and_go_to_another_process(made: Path) -> None:
    add_embeddings(made, "mine", rows(), ABOUT)
    found = Pack(made).embeddings("mine")
    assert found.values.base is not None
    sent = pickle.dumps(found)
    assert len(sent) < 500
    np.testing.assert_array_equal(pickle.loads(sent).values, found.values)


def test_several_sets_stand_side_by_side_and_labels_may_come_later(made: Path) -> None:
    add_embeddings(made, "first", rows(1), ABOUT)
    add_embeddings(made, "second", rows(2), ABOUT)
    add_labels(made, "more", {"c1": ["x"]})
    opened = Pack(made)
    assert opened.embedding_sets == ["first", "second"]
    for name, seed in (("first", 1), ("second", 2)):
        np.testing.assert_array_equal(
            opened.embeddings(name).values, np.concatenate(rows(seed)).astype(np.float16)
        )


def test_a_set_is_replaced_only_when_asked(made: Path) -> None:
    add_embeddings(made, "mine", rows(1), ABOUT)
    with pytest.raises(ValueError, match="'mine' is there already: choose another name, or --replace"):
        add_embeddings(made, "mine", rows(2), ABOUT)
    add_embeddings(made, "mine", rows(2), ABOUT, replace=True)
    assert Pack(made).embeddings("mine").values[0, 0] == np.concatenate(rows(2)).astype(np.float16)[0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[:-1], f"rows of {CLIPS - 1} clips; the pack has {CLIPS}"),
        (lambda r: [*r, r[0]], f"more rows than the {CLIPS} clips"),
        (lambda r: [r[0], np.zeros((1, 6)), *r[2:]], r"clip 1: expected \(windows, 5\), got \(1, 6\)"),
        (lambda r: [np.zeros(5), *r[1:]], r"clip 0: expected \(windows, values\), got \(5,\)"),
        (lambda r: [np.full((1, 5), 70000.0), *r[1:]], "clip 0: a value is not finite as float16"),
        (lambda r: [np.full((1, 5), np.nan), *r[1:]], "clip 0: a value is not finite as float16"),
        (lambda r: [array[:0] for array in r], "no clip has an embedding"),
    ],
)
def test_rows_that_do_not_fit_leave_nothing(made: Path, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        add_embeddings(made, "mine", change(rows()), ABOUT)
    assert Pack(made).embedding_sets == []
    assert list((made / "embeddings").iterdir()) == []


def test_wrong_names_and_a_set_without_an_origin_are_refused(made: Path) -> None:
    with pytest.raises(ValueError, match="a name of letters, digits, - and _ is expected"):
        add_embeddings(made, "../x", rows(), ABOUT)
    with pytest.raises(ValueError, match="`about` does not say fingerprint, hop"):
        add_embeddings(made, "x", rows(), {"model": "m", "rate": 1, "window": 1})
    with pytest.raises(ValueError, match="no embedding set 'x'; there are: none"):
        Pack(made).embeddings("x")
    with pytest.raises(ValueError, match="no such folder"):
        add_embeddings(made / "nowhere", "x", rows(), ABOUT)


@pytest.mark.parametrize("part", ["values.npy", "indptr.npy", "json"])
def test_damage_is_found_and_named(made: Path, part: str) -> None:
    add_embeddings(made, "mine", rows(), ABOUT)
    file = made / "embeddings" / f"mine.{part}"
    content = file.read_bytes()
    file.write_bytes(content[:-20] + bytes(byte ^ 1 for byte in content[-20:]))
    (line,) = Pack(made).verify()
    assert line.startswith(f"embeddings/mine.{part}: damaged (")
    assert line.endswith("write the set again with replace")
    file.write_bytes(content[:-7])
    (line,) = Pack(made).verify()
    assert line.startswith(f"embeddings/mine.{part}: damaged (")
    with pytest.raises(ValueError, match=rf"mine\.{part}: damaged|the file beside it holds"):
        Pack(made).embeddings("mine")
    if part != "json":
        file.unlink()
        assert Pack(made).verify() == [f"embeddings/mine.{part}: missing; write the set again with replace"]
        with pytest.raises(ValueError, match=rf"mine\.{part}: missing"):
            Pack(made).embeddings("mine")


def test_a_set_of_another_pack_is_refused(made: Path) -> None:
    add_embeddings(made, "mine", rows(), ABOUT)
    file = made / "embeddings" / "mine.json"
    file.write_text(file.read_text().replace(Pack(made).fingerprint, "0" * 64))
    with pytest.raises(ValueError, match="'mine' was made on another pack"):
        Pack(made).embeddings("mine")


def test_a_half_written_set_is_not_seen_and_goes_with_the_next(made: Path) -> None:
    def interrupted() -> Iterator[np.ndarray]:
        yield from rows()[:10]
        assert Pack(made).embedding_sets == []
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_embeddings(made, "mine", interrupted(), ABOUT)
    assert list((made / "embeddings").iterdir()) == []
    code = (
        "import sys, os, signal, numpy as np; from auricle.shards import add_embeddings\n"
        "def rows():\n"
        "    yield np.ones((2, 5)); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"add_embeddings(sys.argv[1], 'mine', rows(), {ABOUT!r})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(made)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL
    assert len(list((made / "embeddings").iterdir())) == 2, "half a file and a lock"
    assert Pack(made).embedding_sets == [] and Pack(made).verify() == []
    add_embeddings(made, "mine", rows(), ABOUT)
    assert sorted(file.name for file in (made / "embeddings").iterdir()) == [
        "mine.indptr.npy",
        "mine.json",
        "mine.values.npy",
    ]


def test_a_set_that_is_half_replaced_is_not_there(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from auricle.shards import embeddings

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    add_embeddings(made, "mine", rows(1), ABOUT)
    monkeypatch.setattr(embeddings, "write_array", full_disk)
    with pytest.raises(ValueError, match="no space is left on its disk; make room"):
        add_embeddings(made, "mine", rows(2), ABOUT, replace=True)
    assert Pack(made).embedding_sets == [] and Pack(made).verify() == []
