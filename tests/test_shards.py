"""Packs as they are read: samples, patches, labels, selection, damage."""

import itertools
import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auricle.datasets import Clip
from auricle.engine import pack
from auricle.engine.packing import Range
from auricle.shards import Pack, add_labels, maps, source
from auricle.shards import reader as reader_module
from auricle.shards.labels import csr, transpose
from auricle.shards.source import cut_into_shards
from auricle.shards.writer import Decoded, to_int16

NUM_CLIPS = 150
LABELS = ("bell", "cat", "dog", "rain")


def signal(number: int) -> np.ndarray:
    """What clip `number` sounds like: its own length, its own samples, none of them zero."""
    values = np.random.default_rng(number).integers(1, 30000, 40 + number % 17)
    return values.astype(np.int16)


def decode(clip: Range, rate: int) -> Decoded:
    number = int(Path(clip.path).stem)
    pcm = signal(number)
    if number % 10 == 0:
        pcm[-5:] = 0
    if number % 50 == 49:
        raise RuntimeError("made to fail")
    return Decoded(pcm=pcm, clipped=number % 2, warnings=["odd"] if number % 3 == 0 else [])


def corpus(num_clips: int = NUM_CLIPS) -> list[Clip]:
    return [
        Clip(
            id=f"clip{number}",
            path=f"{number}.wav",
            labels=tuple(label for bit, label in enumerate(LABELS) if number >> bit & 1),
            split=("train", "test")[number % 3 == 0],
            group=f"group{number}",
            attributes={"licence": ("CC0", "CC-BY", "CC-BY-NC")[number % 3], "number": str(number)},
        )
        for number in range(num_clips)
    ]


GOOD = [number for number in range(NUM_CLIPS) if number % 50 != 49]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packs") / "pack"
    report = pack(corpus(), out, jobs=1, quiet=True, decode=decode)
    assert (report["clips"], report["failures"]) == (147, 3)
    return out


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    for file in made.rglob("*"):
        if file.is_file():
            target = tmp_path / "pack" / file.relative_to(made)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    return tmp_path / "pack"


def expected(number: int) -> np.ndarray:
    return decode(Range(f"{number}.wav", None, None), 16000).pcm


def test_what_was_written_is_read(made: Path) -> None:
    reader = Pack(made)
    assert len(reader) == len(GOOD)
    assert reader.ids.tolist() == [f"clip{number}" for number in GOOD]
    assert reader.groups.tolist() == [f"group{number}" for number in GOOD]
    assert reader.attributes("number").tolist() == [str(number) for number in GOOD]
    for clip, number in enumerate(GOOD):
        samples = reader.samples(clip)
        assert samples.dtype == np.int16
        np.testing.assert_array_equal(samples, expected(number))
        assert reader.lengths[clip] == len(samples)
        assert reader.audible[clip] == len(samples) - 5 * (number % 10 == 0)


def test_samples_are_views_of_the_mapped_file(made: Path) -> None:
    reader = Pack(made)
    first, second = reader.samples(3), reader.patch(3, 2, 4)
    assert not first.flags.owndata and not first.flags.writeable
    assert np.shares_memory(first, second)


def test_the_shards_are_plain_arrow_files(made: Path) -> None:
    rows = []
    for file in sorted((made / "shards").iterdir()):
        with pa.memory_map(str(file)) as mapped:
            shard = pa.ipc.open_file(mapped).read_all()
        assert shard.schema.field("samples").type.value_type == pa.int16()
        assert pa.types.is_large_list(shard.schema.field("samples").type)
        rows += shard["samples"].to_pylist()
    assert rows == [expected(number).tolist() for number in GOOD]
    table = pq.read_table(made / "clips.parquet")
    assert table["shard"].to_pylist() == [number // 32 for number in GOOD]
    assert table["row"].to_pylist() == [sum(n // 32 == m // 32 and n < m for n in GOOD) for m in GOOD]


def test_what_failed_and_what_was_odd_is_named(made: Path) -> None:
    reader = Pack(made)
    assert [failure["id"] for failure in reader.failures] == ["clip49", "clip99", "clip149"]
    assert reader.failures[0]["error"] == "49.wav: RuntimeError: made to fail"
    table = pq.read_table(made / "clips.parquet")
    assert table["warnings"].to_pylist() == [["odd"] if number % 3 == 0 else [] for number in GOOD]
    assert table["clipped"].to_pylist() == [number % 2 for number in GOOD]
    assert reader.manifest["clipped_samples"] == sum(number % 2 for number in GOOD)


def test_patches_equal_slices_padded_with_zeros(made: Path) -> None:
    reader = Pack(made)
    draw = np.random.default_rng(0)
    clips, offsets = draw.integers(0, len(reader), 500), draw.integers(0, 70, 500)
    for length in (1, 7, 64):
        patches = reader.patches(clips, offsets, length)
        assert patches.shape == (500, length)
        for row, clip, offset in zip(patches, clips, offsets, strict=True):
            piece = expected(GOOD[clip])[offset : offset + length]
            np.testing.assert_array_equal(row[: len(piece)], piece)
            assert not row[len(piece) :].any()
            np.testing.assert_array_equal(reader.patch(clip, offset, length), piece)


def test_patches_write_where_they_are_told(made: Path) -> None:
    reader = Pack(made)
    clips, offsets = np.arange(4), np.zeros(4, dtype=np.int64)
    out = np.full((4, 90), 7, dtype=np.int16)
    assert reader.patches(clips, offsets, 90, out) is out
    np.testing.assert_array_equal(out, reader.patches(clips, offsets, 90))
    assert reader.patches(clips[:0], offsets[:0], 90).shape == (0, 90)
    with pytest.raises(ValueError, match=r"out: expected \(4, 91\) int16"):
        reader.patches(clips, offsets, 91, out)
    with pytest.raises(ValueError, match="none negative"):
        reader.patches(clips, offsets - 1, 90)
    with pytest.raises(IndexError):
        reader.patches(clips + len(reader), offsets, 90)


def test_targets_are_the_labels(made: Path) -> None:
    reader = Pack(made)
    assert reader.label_names() == list(LABELS)
    clips = np.array([5, 0, 15, 5])
    wanted = [[GOOD[clip] >> bit & 1 for bit in range(4)] for clip in clips]
    targets = reader.targets(clips)
    assert targets.dtype == np.float32
    assert targets.tolist() == wanted
    assert reader.targets(clips, soft=True).tolist() == wanted
    indptr, indices = reader.clip_labels()
    assert indices[indptr[15] : indptr[16]].tolist() == [0, 1, 2, 3]
    indptr, members = reader.label_clips()
    for label in range(4):
        assert members[indptr[label] : indptr[label + 1]].tolist() == [
            clip for clip, number in enumerate(GOOD) if number >> label & 1
        ]


def test_selection_is_by_split_and_attribute(made: Path) -> None:
    reader = Pack(made)
    assert reader.select().tolist() == list(range(len(GOOD)))
    test = [clip for clip, number in enumerate(GOOD) if number % 3 == 0]
    assert reader.select(["test"]).tolist() == test == reader.select("test").tolist()
    free = reader.select(["train"], {"licence": ("CC-BY", "CC0")})
    assert free.tolist() == [clip for clip, number in enumerate(GOOD) if number % 3 == 1]
    with pytest.raises(ValueError, match="no split 'fold1'; there are: test, train"):
        reader.select(["fold1"])
    with pytest.raises(ValueError, match="no attribute 'author'; there are: licence, number"):
        reader.select(where={"author": ("x",)})


def test_a_pack_goes_to_another_process(made: Path) -> None:
    reader = Pack(made)
    reader.samples(0)
    assert len(pickle.dumps(reader)) < 1000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).samples(9), reader.samples(9))


def test_label_sets_are_added_without_touching_the_audio(copied: Path) -> None:
    before = {file: file.read_bytes() for file in (copied / "shards").iterdir()}
    votes = {"clip3": {"loud": 0.75, "near": 0.5}, "clip1": {"near": 0.51}, "clip0": ()}
    add_labels(copied, "votes", votes, unknown={"clip2": ("loud",)}, names=["near", "loud"])
    reader = Pack(copied)
    assert reader.label_sets == ["labels", "votes"]
    assert reader.label_names("votes") == ["near", "loud"]
    assert reader.targets(np.arange(4), "votes").tolist() == [[0, 0], [1, 0], [0, 0], [0, 1]]
    np.testing.assert_allclose(
        reader.targets(np.arange(4), "votes", soft=True), [[0, 0], [0.51, 0], [0, 0], [0.5, 0.75]], rtol=1e-6
    )
    assert pq.read_table(copied / "labels/votes.parquet")["unknown"].to_pylist()[:4] == [[], [], [1], []]
    assert reader.unknown(np.arange(4), "votes").tolist() == [[0, 0], [0, 0], [0, 1], [0, 0]]
    assert not reader.unknown(np.arange(4)).any()
    assert reader.verify() == []
    assert before == {file: file.read_bytes() for file in (copied / "shards").iterdir()}
    with pytest.raises(ValueError, match="'votes' is there already"):
        add_labels(copied, "votes", {})
    add_labels(copied, "votes", {"clip1": ["far"]}, replace=True)
    assert Pack(copied).label_names("votes") == ["far"]
    assert Pack(copied).verify() == []


@pytest.mark.parametrize(
    ("mapping", "options", "message"),
    [
        ({"clip49": ["a"], "clip1": ["a"]}, {}, "1 ids are not in the pack, e.g. clip49"),
        ({"clip1": ["a"]}, {"names": ["b"]}, "not in the given list of labels: a"),
        ({"clip1": ["b"]}, {"names": ["b", "b"]}, "listed twice"),
        ({"clip1": "dog"}, {}, "expected a list of labels for each clip, got the text 'dog'"),
        ({"clip1": {"a": 2.0}}, {}, "scores must lie between 0 and 1"),
    ],
)
def test_label_sets_that_make_no_sense_leave_the_pack_alone(
    copied: Path, mapping: dict, options: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        add_labels(copied, "more", mapping, **options)
    assert Pack(copied).label_sets == ["labels"]
    with pytest.raises(ValueError, match="a name of letters"):
        add_labels(copied, "../x", {})


def test_an_unknown_label_set_lists_the_known(made: Path) -> None:
    for ask in (Pack(made).label_names, Pack(made).clip_labels, lambda name: Pack(made).targets([0], name)):
        with pytest.raises(ValueError, match="no label set 'votes'; there are: labels"):
            ask("votes")


@pytest.mark.parametrize(
    "file",
    [
        "shards/00001.arrow",
        "clips.parquet",
        "shards.parquet",
        "index/offset.npy",
        "index/shard_bytes.npy",
        "labels/labels.parquet",
    ],
)
def test_damage_is_found_and_named(copied: Path, file: str) -> None:
    assert Pack(copied).verify() == []
    content = bytearray((copied / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / file).write_bytes(content)
    assert Pack(copied).verify() == [
        f"{file}: damaged (its checksum is not the manifest's); delete the folder and pack again"
    ]
    reader = Pack(copied)
    (copied / file).unlink()
    assert reader.verify() == [f"{file}: missing; delete the folder and pack again"]


def test_a_shard_that_was_cut_off_is_not_read(copied: Path) -> None:
    file = copied / "shards/00001.arrow"
    whole = file.read_bytes()
    for other in (whole[:-100], whole + bytes(100)):
        file.write_bytes(other)
        reader = Pack(copied)
        reader.samples(0)
        message = rf"00001\.arrow: damaged \(it has {len(other)} bytes of {len(whole)}\); delete the folder"
        with pytest.raises(ValueError, match=message):
            reader.samples(40)


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_reading_names_the_file_that_is_missing_or_damaged_and_what_to_do(copied: Path, how: str) -> None:
    tries = {
        "clips.parquet": lambda: Pack(copied).ids,
        "failures.parquet": lambda: Pack(copied).failures,
        "index/offset.npy": lambda: Pack(copied),
        "index/shard_bytes.npy": lambda: Pack(copied).samples(0),
        "labels/labels.parquet": lambda: Pack(copied).label_names(),
        "index/labels.indptr.npy": lambda: Pack(copied).clip_labels(),
        "shards/00000.arrow": lambda: Pack(copied).samples(0),
    }
    for name, attempt in tries.items():
        file = copied / name
        content = file.read_bytes()
        file.unlink()
        if how == "damaged":
            file.write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=rf"{name}: {how}.*; delete the folder and pack again$"):
            attempt()
        file.write_bytes(content)
    Pack(copied).samples(0)


def test_what_is_no_finished_pack_is_refused(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        Pack(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="not a pack: manifest.json is missing"):
        Pack(tmp_path / "empty")
    (tmp_path / "empty" / "journal").mkdir()
    with pytest.raises(ValueError, match="packing was not finished"):
        Pack(tmp_path / "empty")
    manifest = json.loads((copied / "manifest.json").read_text())
    for text, message in (
        (json.dumps(manifest | {"format": 99}), "format 99, this version of auricle reads 1"),
        (json.dumps({key: manifest[key] for key in ("format", "rate")}), "damaged"),
        ("{", "damaged"),
    ):
        (copied / "manifest.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            Pack(copied)


def test_a_pack_may_hold_no_labels_and_no_clips(tmp_path: Path) -> None:
    bare = [Clip(id="a", path="1.wav"), Clip(id="b", path="2.wav")]
    pack(bare, tmp_path / "bare", jobs=1, quiet=True, decode=decode)
    reader = Pack(tmp_path / "bare")
    assert reader.targets(np.arange(2)).shape == (2, 0)
    assert reader.attribute_names == []
    pack([Clip(id="a", path="49.wav", labels=("x",))], tmp_path / "none", jobs=1, quiet=True, decode=decode)
    reader = Pack(tmp_path / "none")
    assert (len(reader), len(reader.failures), reader.verify()) == (0, 1, [])
    assert reader.select().tolist() == []
    assert reader.targets(np.arange(0)).shape[0] == 0


def test_pcm_is_rounded_to_the_nearest_and_clipped() -> None:
    values = np.array(
        [0.0, 1 / 32768, 1.4 / 32768, 1.6 / 32768, -1.0, 1.0, -1.001, 32767 / 32768], np.float32
    )
    pcm, clipped = to_int16(values)
    assert pcm.tolist() == [0, 1, 1, 2, -32768, 32767, -32768, 32767]
    assert clipped == 2
    everything = np.arange(-32768, 32768, dtype=np.int16)
    again, clipped = to_int16(everything.astype(np.float32) / 32768)
    assert clipped == 0 and np.array_equal(again, everything)


def cut(weights: Sequence[int]) -> list[range]:
    return cut_into_shards([Clip(id=str(i), path="x") for i in range(len(weights))], weights, 16000)


def test_shards_are_cut_by_the_source_alone() -> None:
    assert [len(part) for part in cut([1000] * 66)] == [32, 32, 2]
    assert [len(part) for part in cut([10**9] * 3)] == [1, 1, 1]
    assert [len(part) for part in cut([1_200_000] * 12)] == [2] * 6  # minutes of MP3: work for several
    assert [len(part) for part in cut([-1] * 33)] == [32, 1]
    many = cut([10**6] * 40_000)
    assert len(many) <= 513
    assert [clip for part in many for clip in part] == list(range(40_000))
    long = [Clip(id=str(i), path="x", start=60.0 * i, end=60.0 * i + 3600) for i in range(4)]
    assert len(cut_into_shards(long, [5, 5, 5, 5], 16000)) == 4


def test_shards_of_a_large_corpus_grow_in_number_and_not_in_size() -> None:
    clip = Clip(id="a", path="x", start=30.0, end=40.0)
    for num_clips, most in ((200_000, 513), (1_000_000, 1100), (3_000_000, 3300)):
        parts = cut_into_shards([clip] * num_clips, [0] * num_clips, 16000)
        sizes = {len(part) for part in parts[:-1]}
        assert 0.9 * num_clips * 320_000 / 320e6 < len(parts) <= most
        assert max(sizes) * 320_000 <= 320_320_000
        assert parts[0].start == 0 and parts[-1].stop == num_clips
        assert all(one.stop == two.start for one, two in itertools.pairwise(parts))
    short = cut_into_shards([clip] * 3_000_000, [0] * 3_000_000, 1)
    assert {len(part) for part in short[:-1]} == {4096}


def test_more_shards_than_may_be_open_are_read_and_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MOST_CLIPS", 2)
    monkeypatch.setattr(maps, "MOST_MAPS", 5)
    monkeypatch.setattr(reader_module, "AT_A_TIME_MAPPED", 16)
    pack(corpus(), tmp_path / "pack", jobs=1, quiet=True, decode=decode)
    reader = Pack(tmp_path / "pack")
    assert len(list((tmp_path / "pack" / "shards").iterdir())) == NUM_CLIPS // 2
    draw = np.random.default_rng(0)
    clips, offsets = draw.integers(0, len(reader), 200), draw.integers(0, 30, 200)
    most_open = []
    real = np.memmap
    monkeypatch.setattr(
        np, "memmap", lambda *a, **k: most_open.append(open_shards(tmp_path)) or real(*a, **k)
    )
    patches = reader.patches(clips, offsets, 40)
    assert 5 < max(most_open) <= 5 + 16
    for row, clip, offset in zip(patches, clips, offsets, strict=True):
        piece = expected(GOOD[clip])[offset : offset + 40]
        np.testing.assert_array_equal(row[: len(piece)], piece)
        np.testing.assert_array_equal(reader.samples(clip), expected(GOOD[clip]))
        if Path("/proc/self/fd").is_dir():
            assert open_shards(tmp_path) <= 5
    assert open_shards(tmp_path) == 5
    held = [reader.samples(clip) for clip in range(20)]  # who holds samples, holds their shard
    np.testing.assert_array_equal(held[0], expected(GOOD[0]))


def open_shards(folder: Path) -> int:
    mapped = Path("/proc/self/maps").read_text().splitlines()
    return len({line.split()[-1] for line in mapped if str(folder) in line and line.endswith(".arrow")})


def test_many_shards_are_the_same_bytes_whoever_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MOST_CLIPS", 1)
    clips = corpus(600)
    for jobs in (1, 3):
        pack(clips, tmp_path / str(jobs), jobs=jobs, quiet=True, decode=decode)
    one, other = (
        {file.relative_to(tmp_path / jobs): file.read_bytes() for file in (tmp_path / jobs).rglob("*.*")}
        for jobs in ("1", "3")
    )
    assert one.pop(Path("run.json")) and other.pop(Path("run.json"))
    assert len(one) > 600 and one == other
    table = pq.read_table(tmp_path / "1" / "shards.parquet")
    assert table["file"].to_pylist()[599] == "shards/00599.arrow"
    assert table["clips"].to_pylist()[48:51] == [1, 0, 1]
    assert Pack(tmp_path / "1").verify() == []


def test_a_pack_of_before_the_table_of_shards_is_read_and_checked(copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["shards"] = pq.read_table(copied / "shards.parquet").to_pylist()
    for file in ("shards.parquet", "index/shard_bytes.npy"):
        (copied / file).unlink()
        del manifest["files"][file], manifest["sizes"][file]
    (copied / "manifest.json").write_text(json.dumps(manifest))
    reader = Pack(copied)
    np.testing.assert_array_equal(reader.samples(40), expected(GOOD[40]))
    assert reader.verify() == []
    (copied / "shards/00001.arrow").write_bytes(b"")
    with pytest.raises(ValueError, match=r"00001\.arrow: damaged"):
        Pack(copied).samples(40)
    assert [line.split(":")[0] for line in reader.verify()] == ["shards/00001.arrow"]


def test_csr_and_its_transpose_hold_the_same_pairs() -> None:
    draw = np.random.default_rng(1)
    rows = [sorted(set(draw.integers(0, 9, draw.integers(0, 5)).tolist())) for _ in range(40)]
    indptr, indices = csr(rows)
    assert indptr.dtype == np.int64
    back, clips = transpose(indptr, indices, 9)
    pairs = {(row, int(value)) for row in range(40) for value in indices[indptr[row] : indptr[row + 1]]}
    assert pairs == {(int(row), value) for value in range(9) for row in clips[back[value] : back[value + 1]]}
    assert len(pairs) == sum(map(len, rows))
