"""Draws are fair, exact over an epoch, and a pure function of seed and step."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest

from auricle.sampling import BALANCES, PatchSampler, hash_uint64, permute

LENGTHS = np.array([100, 1000, 50, 430, 80, 2000, 999])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 4097])
def test_permute_hits_every_index_once(size: int) -> None:
    for key in range(5):
        assert sorted(permute(np.arange(size), size, key)) == list(range(size))


def test_permutations_of_different_keys_are_uncorrelated() -> None:
    first = permute(np.arange(5000), 5000, 1).astype(float)
    for other in (np.arange(5000), permute(np.arange(5000), 5000, 2)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.05


def test_permute_of_small_ranges_reaches_every_order() -> None:
    seen = {tuple(permute(np.arange(4), 4, int(key))) for key in hash_uint64(3, np.arange(2000))}
    assert len(seen) == 24


def test_permute_takes_huge_ranges_without_memory() -> None:
    out = permute(np.arange(100), 20_000_000_000, 5)
    assert len(set(out.tolist())) == 100 and out.max() > 1_000_000_000


def test_permute_refuses_an_index_outside() -> None:
    with pytest.raises(ValueError, match="in \\[0, size\\)"):
        permute(np.array([5]), 5, 0)


def test_every_clip_once_an_epoch_over_ranks() -> None:
    ranks = [PatchSampler(LENGTHS, patch=80, batch=14, seed=3, rank=rank, world=2) for rank in range(2)]
    for step in range(4):
        clips = np.concatenate([sampler.draw(step)[0] for sampler in ranks])
        assert np.bincount(clips).tolist() == [2] * 7


def test_offsets_stay_inside_and_cover_the_clip() -> None:
    sampler = PatchSampler(LENGTHS, patch=80, batch=70, seed=0)
    clips, offsets = (
        np.concatenate(part) for part in zip(*[sampler.draw(step) for step in range(400)], strict=True)
    )
    assert (offsets >= 0).all() and (offsets <= np.maximum(LENGTHS[clips] - 80, 0)).all()
    of_longest = offsets[clips == 5]
    assert of_longest.min() < 20 and of_longest.max() > 1900
    assert np.histogram(of_longest, bins=4, range=(0, 1921))[0] == pytest.approx(len(of_longest) / 4, rel=0.1)
    assert set(offsets[clips == 4]) == {0}, "a clip as long as the patch has one place"


def test_patches_count_by_length_on_the_grid() -> None:
    sampler = PatchSampler(LENGTHS, patch=100, batch=1, seed=1, balance="patches")
    assert sampler.epoch_size == 1 + 10 + 1 + 4 + 1 + 20 + 9
    drawn = [sampler.draw(step) for step in range(sampler.epoch_size)]
    pairs = {(int(clip[0]), int(offset[0])) for clip, offset in drawn}
    assert pairs == {(i, k * 100) for i, n in enumerate(LENGTHS) for k in range(max(n // 100, 1))}


@pytest.mark.parametrize("hop", [1, 3, 70, 100, 130])
@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_every_patch_of_a_grid_of_any_hop_comes_exactly_once_an_epoch(hop: int, count: int) -> None:
    """Against the grid written out; counts around the blocks of clips, clips shorter than a patch."""
    lengths = np.random.default_rng(count).integers(0, 150 if hop < 10 else 1000, count)
    expected = {(i, start) for i, n in enumerate(lengths) for start in range(0, max(n - 100, 0) + 1, hop)}
    sampler = PatchSampler(lengths, patch=100, hop=hop, batch=64, seed=5, balance="patches")
    assert sampler.epoch_size == len(expected)
    pairs = [
        (int(clip), int(offset))
        for step in range(-(-2 * len(expected) // 64))
        for clip, offset in zip(*sampler.draw(step), strict=True)
    ]
    size = len(expected)
    assert set(pairs[:size]) == expected and set(pairs[size : 2 * size]) == expected
    assert size < 20 or pairs[:size] != pairs[size : 2 * size], "every epoch has its own order"


def test_ten_seconds_are_ten_vggish_patches() -> None:
    sampler = PatchSampler(np.array([160_000]), patch=15_600, hop=15_360, batch=10, seed=0, balance="patches")
    clips, offsets = sampler.draw(0)
    assert sampler.epoch_size == 10 and sorted(offsets.tolist()) == [15_360 * k for k in range(10)]


def test_patches_of_seventy_million_recordings_cost_little() -> None:
    """20 billion patches: numbers beyond 32 bits, and neither memory nor time that follows them."""
    lengths = np.broadcast_to(np.int64(16_000 * 276), 70_000_000)  # minutes of each, kept once
    tracemalloc.start()
    try:
        sampler = PatchSampler(lengths, patch=15_600, hop=15_360, batch=128, seed=1, balance="patches")
        drawn = [sampler.draw(step) for step in (0, 17_000_000)]
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sampler.epoch_size == 70_000_000 * 287 > 2**34
    assert held < 100e6, "less than two bytes a recording"
    for clips, offsets in drawn:
        assert clips.min() >= 0 and clips.max() < 70_000_000 and len(set(clips.tolist())) > 120
        assert clips.max() > 60_000_000 and (offsets % 15_360 == 0).all()
        assert offsets.max() <= 16_000 * 276 - 15_600
    last = sampler._patch_of(np.array([0, 286, 287, sampler.epoch_size - 1]))
    assert [part.tolist() for part in last] == [[0, 0, 1, 69_999_999], [0, 286, 0, 286]]


def test_classes_are_drawn_equally_often_and_their_clips_too() -> None:
    indptr, indices = np.array([0, 4, 4, 5, 7]), np.array([0, 1, 2, 3, 4, 5, 6])  # 4, 0, 1 and 2 clips
    sampler = PatchSampler(
        LENGTHS, patch=10, batch=3, seed=1, balance="classes", label_clips=(indptr, indices)
    )
    assert sampler.epoch_size == 3
    clips = np.concatenate([sampler.draw(step)[0] for step in range(40)])
    counts = np.bincount(clips, minlength=7)
    assert counts[:4].tolist() == [10] * 4 and counts[4] == 40 and counts[5:].tolist() == [20, 20]
    for step in range(40):
        assert sum(clip < 4 for clip in sampler.draw(step)[0]) == 1, (
            "each epoch of K draws has each class once"
        )


def many_labels(seed: int) -> tuple[tuple[np.ndarray, np.ndarray], list[set[int]]]:
    """Clips of each of 5 classes, one without clips and one as rare as can be, several classes a clip."""
    random = np.random.default_rng(seed)
    classes = [set(np.flatnonzero(random.random(7) < share).tolist()) for share in (0.9, 0.5, 0.4)]
    classes = [chosen or {3} for chosen in classes] + [set(), {6}]
    indices = [clip for chosen in classes for clip in sorted(chosen)]
    indptr = np.cumsum([0] + [len(chosen) for chosen in classes])
    return (indptr, np.array(indices)), [chosen for chosen in classes if chosen]


@pytest.mark.parametrize("batch", [1, 3, 4, 6])
@pytest.mark.parametrize("seed", range(4))
def test_a_clip_of_several_classes_is_drawn_under_each_of_them(seed: int, batch: int) -> None:
    """Exactly: over whole turns of all its classes, once for each turn of each."""
    label_clips, classes = many_labels(seed)
    sampler = PatchSampler(
        LENGTHS, patch=10, batch=batch, seed=seed, balance="classes", label_clips=label_clips
    )
    assert sampler.epoch_size == len(classes), "a class without clips is passed over"
    epochs = math.lcm(*(len(chosen) for chosen in classes))
    draws = epochs * len(classes)
    clips = np.concatenate([sampler.draw(step)[0] for step in range(-(-draws // batch))])[:draws]
    expected = [sum(epochs // len(chosen) for chosen in classes if clip in chosen) for clip in range(7)]
    assert np.bincount(clips, minlength=7).tolist() == expected
    for epoch in clips.reshape(epochs, len(classes)):
        assert any(
            all(clip in chosen for clip, chosen in zip(epoch, order, strict=True))
            for order in itertools.permutations(classes)
        ), "every epoch has one draw of each class"


def test_class_balanced_draws_of_any_step_need_no_step_before_it() -> None:
    """What a resumed run relies on; and ranks share the stream out."""
    label_clips, _ = many_labels(1)
    options = {"patch": 10, "seed": 3, "balance": "classes", "label_clips": label_clips}
    whole = PatchSampler(LENGTHS, batch=6, **options)
    expected = [next(whole) for _ in range(9)]
    for step in (8, 0, 5):
        again = PatchSampler(LENGTHS, batch=6, **options).draw(step)
        assert np.array_equal(np.stack(again), np.stack(expected[step]))
    halves = [PatchSampler(LENGTHS, batch=6, rank=rank, world=2, **options) for rank in range(2)]
    for step in range(9):
        parts = [np.stack(half.draw(step)) for half in halves]
        assert np.array_equal(np.concatenate(parts, axis=1), np.stack(expected[step]))


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize("world", [1, 2, 3, 5, 10])
def test_all_ranks_together_draw_what_one_process_draws(balance: str, world: int) -> None:
    """Also where they cannot share a batch equally: of 10, three have 3, 3 and 4."""
    label_clips, _ = many_labels(1)
    options = {"patch": 100, "seed": 3, "batch": 10, "balance": balance, "label_clips": label_clips}
    whole = PatchSampler(LENGTHS, **options)
    ranks = [PatchSampler(LENGTHS, rank=rank, world=world, **options) for rank in range(world)]
    for step in (0, 1, 2, 1000):
        parts = [np.stack(rank.draw(step)) for rank in ranks]
        sizes = [part.shape[1] for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert np.array_equal(np.concatenate(parts, axis=1), np.stack(whole.draw(step)))


def test_rare_classes_come_as_often_as_common_ones() -> None:
    """999 clips of one class and one of the other."""
    lengths = np.full(1000, 100)
    label_clips = (np.array([0, 999, 1000]), np.arange(1000))
    sampler = PatchSampler(lengths, patch=10, batch=8, seed=0, balance="classes", label_clips=label_clips)
    clips = np.stack([sampler.draw(step)[0] for step in range(999)])
    assert ((clips == 999).sum(1) == 4).all(), "half of every batch"
    assert np.bincount(clips[clips < 999]).tolist() == [4] * 999, "and all of the others equally often"


def test_same_seed_same_stream_and_another_seed_another() -> None:
    one, same, other = (PatchSampler(LENGTHS, patch=80, batch=5, seed=seed) for seed in (4, 4, 5))
    for step in (0, 17, 3):
        assert np.array_equal(np.stack(one.draw(step)), np.stack(same.draw(step)))
    assert any(not np.array_equal(one.draw(step)[0], other.draw(step)[0]) for step in range(4))


def test_state_goes_on_where_it_was_taken() -> None:
    whole = PatchSampler(LENGTHS, patch=80, batch=5, seed=4)
    expected = [next(whole) for _ in range(9)]
    first = PatchSampler(LENGTHS, patch=80, batch=5, seed=4)
    for _ in range(4):
        next(first)
    second = PatchSampler(LENGTHS, patch=80, batch=5, seed=4)
    second.load_state_dict(first.state_dict())
    for clips, offsets in expected[4:]:
        got = next(second)
        assert np.array_equal(got[0], clips) and np.array_equal(got[1], offsets)


def test_a_state_of_another_stream_is_refused() -> None:
    state = PatchSampler(LENGTHS, patch=80, batch=5, seed=4).state_dict()
    with pytest.raises(ValueError, match="another stream"):
        PatchSampler(LENGTHS, patch=80, batch=5, seed=5).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balance": "sometimes"}, "unknown balance 'sometimes'"),
        ({"balance": "classes"}, "needs label_clips"),
        ({"patch": 0}, "patch and batch >= 1"),
        ({"hop": 0}, "hop >= 1"),
        ({"rank": 2, "world": 2}, "0 <= rank < world"),
        ({"rank": 0, "world": 6}, "world <= batch, got 80, 5, 80, 0, 6"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PatchSampler(LENGTHS, **{"patch": 80, "batch": 5, "seed": 4, **options})


def test_no_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="got none"):
        PatchSampler(np.array([]), patch=1, batch=1, seed=0)
