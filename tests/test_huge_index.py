"""Seventy million clips, 20 billion patches: numbers of 64 bits, an index that stays on the disk.

Golden values are of the sampler as it was when it computed each batch by itself and counted all patches as
it was made: draws have not changed since, and must not, since trainings go on where they were stopped.
"""

import hashlib
import json
import shutil
import tracemalloc
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
from running import load_script

from auricle.datasets import Clip
from auricle.engine import pack
from auricle.engine.packing import Range
from auricle.grids import BLOCK, block_ends, patch_counts, stored_grids
from auricle.sampling import PatchSampler, hash_uint64, permute
from auricle.shards import Pack
from auricle.shards.labels import transpose
from auricle.shards.layout import write_json
from auricle.shards.writer import Decoded

ROOT = Path(__file__).parents[1]
PATCH, HOP = 15_600, 15_360
VIDEOS, BILLIONS = 70_000_000, 20_090_000_000  # of 276 s each: 287 patches
STEPS = (0, 1, 2, 40, 12_345, 10**12)
GOLDEN = [
    ("clips", 1, 0, 1, 1, "12d611fb7e41f2a6"),
    ("clips", 1, 2, 3, 1, "9affe0d5e805b1ff"),
    ("patches", 1, 0, 1, 62, "8df471278abfea8c"),
    ("patches", 1, 2, 3, 62, "e28c50245d1c7918"),
    ("classes", 1, 0, 1, 1, "12d611fb7e41f2a6"),
    ("classes", 1, 2, 3, 1, "9affe0d5e805b1ff"),
    ("clips", 64, 0, 1, 64, "457e0f56c59b31b0"),
    ("clips", 64, 2, 3, 64, "aa598029dc0863eb"),
    ("patches", 64, 0, 1, 18447, "e7f6ec01efd1eb73"),
    ("patches", 64, 2, 3, 18447, "5f69d2d8cd9ad800"),
    ("classes", 64, 0, 1, 30, "5c64729434f1645d"),
    ("classes", 64, 2, 3, 30, "9ca5f9ab135f36f5"),
    ("clips", 65, 0, 1, 65, "544dd49d5167fa05"),
    ("clips", 65, 2, 3, 65, "30106361b2b63881"),
    ("patches", 65, 0, 1, 18956, "9ffc1d0083c88759"),
    ("patches", 65, 2, 3, 18956, "b76b857d0c8d1ec1"),
    ("classes", 65, 0, 1, 30, "2814c41d46955598"),
    ("classes", 65, 2, 3, 30, "6139d4872747b955"),
    ("clips", 1000, 0, 1, 1000, "b644391f9f64d226"),
    ("clips", 1000, 2, 3, 1000, "3f53f57c09478d54"),
    ("patches", 1000, 0, 1, 280248, "7fab73bc4b8231a9"),
    ("patches", 1000, 2, 3, 280248, "8e2a2098a8202bfe"),
    ("classes", 1000, 0, 1, 37, "fbdd4dc9a70c8ebc"),
    ("classes", 1000, 2, 3, 37, "e995dc04cf427c9a"),
    ("clips", 100003, 0, 1, 100003, "6c533bfa2056e243"),
    ("clips", 100003, 2, 3, 100003, "1eab551b6b567e32"),
    ("patches", 100003, 0, 1, 28099129, "69e52484667f94c0"),
    ("patches", 100003, 2, 3, 28099129, "4549576acc6a4a5e"),
    ("classes", 100003, 0, 1, 37, "d160632f088c0595"),
    ("classes", 100003, 2, 3, 37, "ed32e7a5d143b59c"),
]
GOLDEN_HUGE = {"clips": (VIDEOS, "ba56d28dc961eb89"), "patches": (BILLIONS, "8f6aab3636cc8887")}


def digest(*arrays: np.ndarray) -> str:
    state = hashlib.blake2b(digest_size=8)
    for array in arrays:
        state.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return state.hexdigest()


def lengths_of(count: int) -> np.ndarray:
    """From one sample to nine minutes."""
    return (hash_uint64(99, np.arange(count)) % np.uint64(16_000 * 540)).astype(np.int64) + 1


def clips_of_classes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """37 classes with clips and three without."""
    of_clip = (hash_uint64(5, np.arange(count)) % np.uint64(37)).astype(np.int64)
    ends = np.cumsum(np.bincount(of_clip, minlength=40))
    return np.concatenate([[0], ends]), np.argsort(of_clip, kind="stable")


def equal_videos() -> np.ndarray:
    """The lengths of 70 million, kept once."""
    return np.broadcast_to(np.int64(16_000 * 276), VIDEOS)


@pytest.mark.parametrize(("balance", "count", "rank", "world", "size", "expected"), GOLDEN)
@pytest.mark.parametrize("stored", [False, True], ids=["counted", "stored"])
def test_draws_are_what_they_always_were(
    balance: str, count: int, rank: int, world: int, size: int, expected: str, stored: bool
) -> None:
    lengths = lengths_of(count)
    sampler = PatchSampler(
        lengths,
        patch=PATCH,
        hop=HOP,
        batch=50 * world,
        seed=7,
        balance=balance,
        label_clips=clips_of_classes(count),
        rank=rank,
        world=world,
        ends=block_ends(lengths, PATCH, HOP) if stored else None,
    )
    assert sampler.epoch_size == size
    assert digest(*(part for step in STEPS for part in sampler.draw(step))) == expected


@pytest.mark.parametrize("balance", ["clips", "patches"])
def test_draws_of_seventy_million_are_what_they_always_were(balance: str) -> None:
    sampler = PatchSampler(equal_videos(), patch=PATCH, hop=HOP, batch=64, seed=3, balance=balance)
    size, expected = GOLDEN_HUGE[balance]
    assert sampler.epoch_size == size
    drawn = [part for step in (0, 1, 10**6, 10**9, 10**15) for part in sampler.draw(step)]
    assert digest(*drawn) == expected
    assert all(part.dtype == np.int64 for part in drawn)


def test_permutations_are_what_they_always_were() -> None:
    sizes = (1, 2, 3, 200, 4096, 4097, 20 * 10**9, 2**62)
    scalars = [permute(np.arange(200) % size, size, key) for size in sizes for key in (0, 1, 2**64 - 1)]
    assert digest(*scalars) == "cf2c0905f964dbbb"
    arrays = permute(np.arange(300) % 7, np.arange(300) + 7, hash_uint64(3, np.arange(300)))
    assert digest(arrays) == "af4b09fb9e75648b"


@pytest.mark.parametrize("power", [31, 32, 34, 48, 49, 52, 60])
def test_a_shuffle_of_just_more_than_a_power_of_two_is_one_to_one(power: int) -> None:
    """Beyond 2^48 a logarithm in floating point takes 2^k + 1 for 2^k: two numbers then share a place."""
    size = 2**power + 1
    ends = np.concatenate([np.arange(1000), size - 1 - np.arange(1000)])
    out = permute(ends, size, key=11)
    assert len(set(out.tolist())) == 2000 and 0 <= out.min() and 2**power // 2 < out.max() < size


def test_patches_beyond_the_32nd_bit_are_told_apart() -> None:
    """Numbers that are equal modulo 2^32 are patches of different recordings."""
    sampler = PatchSampler(equal_videos(), patch=PATCH, hop=HOP, batch=1, seed=0, balance="patches")
    assert sampler.epoch_size == BILLIONS > 4 * 2**32
    numbers = np.array([5 + turn * 2**32 for turn in range(5)] + [2**31 - 1, 2**31, BILLIONS - 1])
    clips, within = sampler._patch_of(numbers)
    assert clips.tolist() == [number // 287 for number in numbers.tolist()]
    assert within.tolist() == [number % 287 for number in numbers.tolist()]


def test_two_batches_of_twenty_billion_meet_by_chance_only() -> None:
    """32-bit numbers would repeat: of 200,000 draws none comes twice, and every part of the range is met."""
    sampler = PatchSampler(equal_videos(), patch=PATCH, hop=HOP, batch=4096, seed=1, balance="patches")
    drawn = [sampler.draw(step) for step in range(49)]
    clips = np.concatenate([clip for clip, _ in drawn])
    numbers = clips * 287 + np.concatenate([offset for _, offset in drawn]) // HOP
    assert len(np.unique(numbers)) == len(numbers)
    shares = np.histogram(numbers, bins=20, range=(0, BILLIONS))[0] / len(numbers)
    assert shares == pytest.approx(np.full(20, 1 / 20), rel=0.06)


def test_an_epoch_of_twenty_billion_begins_anew_where_it_should() -> None:
    """The last draw of an epoch and the first of the next are of different shuffles, 157 million steps on."""
    sampler = PatchSampler(equal_videos(), patch=PATCH, hop=HOP, batch=128, seed=1, balance="patches")
    steps = -(-BILLIONS // 128)
    last = np.concatenate([sampler.draw(step)[0] for step in (steps - 1, steps)])
    assert steps == 156_953_125 and len(set(last.tolist())) > 250
    again = PatchSampler(equal_videos(), patch=PATCH, hop=HOP, batch=128, seed=1, balance="patches")
    assert np.array_equal(np.concatenate([again.draw(step)[0] for step in (steps - 1, steps)]), last)
    assert not np.array_equal(again.draw(0)[0], again.draw(steps)[0])


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_blocks_end_where_their_clips_patches_do(count: int) -> None:
    lengths = lengths_of(count)
    ends = block_ends(lengths, PATCH, HOP)
    slow = [
        sum(max(int(n) - PATCH, 0) // HOP + 1 for n in lengths[: k + BLOCK]) for k in range(0, count, BLOCK)
    ]
    assert ends.dtype == np.int64 and ends.tolist() == slow


def test_counts_are_64_bit_whatever_comes() -> None:
    lengths = np.full(3 * BLOCK, 2**31 - 1, np.int32)
    assert patch_counts(lengths, 1, 1).dtype == np.int64
    assert block_ends(lengths, 1, 1).tolist() == [turn * BLOCK * (2**31 - 1) for turn in (1, 2, 3)]


def test_ends_of_another_corpus_are_refused() -> None:
    with pytest.raises(ValueError, match="ends: expected one for each 64 of 1000 clips, got 3"):
        PatchSampler(lengths_of(1000), patch=10, batch=1, seed=0, balance="patches", ends=np.array([1, 2, 3]))


def test_who_changes_a_drawn_batch_does_not_change_the_next() -> None:
    sampler = PatchSampler(lengths_of(100), patch=PATCH, batch=8, seed=0)
    clips, offsets = sampler.draw(3)
    kept = clips.copy(), offsets.copy()
    clips[:], offsets[:] = -1, -1
    assert np.array_equal(np.stack(sampler.draw(3)), np.stack(kept))


def noise(clip: Range, rate: int) -> Decoded:
    """A clip that no file holds, as many seconds long as its name says, half a second of it silent."""
    count = int(float(clip.path) * rate)
    pcm = np.random.default_rng(count).integers(1, 3000, count).astype(np.int16)
    pcm[count - rate // 2 :] = 0
    return Decoded(pcm=pcm, clipped=0, warnings=[])


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("grid") / "pack"
    clips = [Clip(id=str(k), path=str(1 + k % 7), labels=("a", "b")[k % 2 :]) for k in range(150)]
    pack(clips, out, rate=4000, jobs=1, quiet=True, decode=noise)
    return out


def test_a_pack_keeps_the_counts_of_published_patches(packed: Path) -> None:
    (grid,) = stored_grids(4000)
    assert grid == (3900, 3840)
    file = packed / "index/patches.3900.3840.npy"
    reader = Pack(packed)
    assert np.array_equal(np.load(file), block_ends(reader.audible, *grid))
    assert np.array_equal(reader.patch_ends(*grid), np.load(file))
    assert np.array_equal(reader.patch_ends(100, 50), block_ends(reader.audible, 100, 50)), (
        "others are counted"
    )


def test_stored_counts_are_read_and_not_made_again(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("counted again")

    monkeypatch.setattr("auricle.shards.reader.block_ends", never)
    assert Pack(packed).patch_ends(3900, 3840)[-1] == Pack(packed).patch_ends(3900, 3840).max()
    with pytest.raises(AssertionError, match="counted again"):
        Pack(packed).patch_ends(3900, 3841)


def test_a_pack_of_before_the_counts_draws_the_same(packed: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(packed, old)
    (old / "index/patches.3900.3840.npy").unlink()
    manifest = Pack(packed).manifest
    for part in ("files", "sizes"):
        manifest[part] = {name: fact for name, fact in manifest[part].items() if "patches" not in name}
    write_json(old / "manifest.json", manifest)
    assert Pack(old).verify() == []
    draws = []
    for folder in (packed, old):
        reader = Pack(folder)
        ends = reader.patch_ends(3900, 3840)
        sampler = PatchSampler(
            reader.audible, patch=3900, hop=3840, batch=9, seed=2, balance="patches", ends=ends
        )
        draws.append(np.stack([np.stack(sampler.draw(step)) for step in range(70)]))
    assert np.array_equal(*draws)


def test_damaged_counts_are_found_and_named(packed: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(packed, copied)
    file = copied / "index/patches.3900.3840.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert [line.partition(":")[0] for line in Pack(copied).verify()] == ["index/patches.3900.3840.npy"]
    file.write_bytes(content[:100])
    with pytest.raises(ValueError, match=r"patches\.3900\.3840\.npy: damaged .*pack again$"):
        Pack(copied).patch_ends(3900, 3840)


# What stands in for 70 million clips: the benchmark's pack, 100,000 of them, written in four pieces


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load_script("benchmarks/huge_index.py")


MANY, LABELS = 100_000, 3000


@pytest.fixture(scope="module")
def small_twin(benchmark: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("twin") / "pack"
    benchmark.write_pack(out, MANY, LABELS, piece=1 << 15)
    return out


def test_the_benchmarks_pack_is_laid_out_as_a_real_one(small_twin: Path, packed: Path) -> None:
    """The same files with the same types, columns and checksums; only the sound is not there."""
    twin, real = Pack(small_twin), Pack(packed)
    names = set(real.manifest["files"]) - {grid_name(real)}
    assert set(twin.manifest["files"]) - {grid_name(twin)} == names
    assert {line.partition("/")[0] for line in twin.verify()} == {"shards"}, "no other file is amiss"
    label_files = real.manifest["label_sets"]["labels"]["files"]
    assert set(twin.manifest["label_sets"]["labels"]["files"]) == set(label_files)
    for name in (*names, *label_files, None):
        one, other = (folder / (name or grid_name(Pack(folder))) for folder in (small_twin, packed))
        if one.suffix == ".npy":
            assert np.load(one, mmap_mode="r").dtype == np.load(other, mmap_mode="r").dtype, name
        elif one.name != "failures.parquet":
            assert pq.read_schema(one).types == pq.read_schema(other).types, name
            assert pq.read_schema(one).names == pq.read_schema(other).names, name


def grid_name(reader: Pack) -> str:
    ((patch, hop),) = stored_grids(reader.rate)
    return f"index/patches.{patch}.{hop}.npy"


def test_the_benchmarks_index_is_right(small_twin: Path) -> None:
    """Written in pieces, it is what the functions of a real pack make of it as a whole."""
    reader = Pack(small_twin)
    assert len(reader) == MANY and len(reader.label_names()) == LABELS
    assert np.array_equal(np.load(small_twin / grid_name(reader)), block_ends(reader.audible, PATCH, HOP))
    indptr, indices = reader.clip_labels()
    for ours, whole in zip(reader.label_clips(), transpose(indptr, indices, LABELS), strict=True):
        assert np.array_equal(ours, whole)
    rows = pq.read_table(small_twin / "labels/labels.parquet", columns=["positive"])["positive"].to_pylist()
    for clip in (0, 1, 32_767, 32_768, MANY - 1):
        assert rows[clip] == indices[indptr[clip] : indptr[clip + 1]].tolist()
    assert (np.diff(indptr) >= 1).all() and 4.5 < len(indices) / MANY <= 5
    ends = reader._offsets + reader.lengths
    inside = np.flatnonzero(np.diff(reader._shards) == 0)
    assert (ends[inside] == reader._offsets[inside + 1]).all(), "sounds lie one behind the other in a shard"


@pytest.mark.parametrize("balance", ["clips", "patches", "classes"])
def test_opening_and_drawing_read_no_more_than_what_is_drawn(
    small_twin: Path, balance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No table is read, and memory is that of some thousand draws: at 70 million clips the same."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a table was read")

    monkeypatch.setattr(pq, "read_table", never)
    monkeypatch.setattr("auricle.shards.reader.block_ends", never)
    monkeypatch.setattr("auricle.sampling.block_ends", never)
    json.dumps(Pack(small_twin).manifest)  # what is imported on the way is there
    tracemalloc.start()
    try:
        reader = Pack(small_twin)
        sampler = PatchSampler(
            reader.audible,
            patch=PATCH,
            hop=HOP,
            batch=8,
            seed=1,
            balance=balance,
            label_clips=reader.label_clips() if balance == "classes" else None,
            ends=reader.patch_ends(PATCH, HOP) if balance == "patches" else None,
        )
        sampler._steps_at_once = 16  # 128 draws: what they take is small beside 800 kB of lengths
        opened = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        for step in range(0, 2000, 40):
            clips, _ = sampler.draw(step)
            reader.target_pairs(clips)
        drawing = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert opened < 250e3 and drawing < 600e3, (opened, drawing)


def test_the_whole_of_a_pack_is_sampled_where_it_lies(small_twin: Path) -> None:
    """Training on all clips keeps the index on the disk; on a choice of them it takes what it chose."""
    pytest.importorskip("torch")
    from auricle.recipes import configure
    from auricle.training.data import make_sampler

    reader = Pack(small_twin)
    for balance in ("patches", "classes"):
        config = configure("hershey", data=small_twin, settings={"balance": balance})
        whole = make_sampler(reader, np.arange(MANY), config)
        assert np.shares_memory(whole.lengths, reader.audible)
        if balance == "patches":
            assert len(whole._ends) == -(-MANY // BLOCK) and not whole._ends.flags.writeable, "mapped"
        else:
            assert np.shares_memory(whole._class_clips, reader.label_clips()[1])
        chosen = make_sampler(reader, np.arange(1, MANY), config)
        assert len(chosen.lengths) == MANY - 1 and chosen.lengths[0] == reader.audible[1]


def test_the_benchmark_measures_every_balance(small_twin: Path, benchmark: ModuleType) -> None:
    for balance in benchmark.CASES:
        row = benchmark.run(small_twin, balance, 10)
        assert row["open_busy_seconds"] < 2 and row["open_bytes"] < 1e9
        assert row["open_own_bytes"] < 20e6 and row["draw_busy_seconds"] < 1e-3
    assert row["epoch"] == np.count_nonzero(np.diff(Pack(small_twin).label_clips()[0]))
