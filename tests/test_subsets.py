"""Subsets of clips: kept, nested by recording, balanced by class, apart from what is trained on."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from running import run
from zipf_pack import write_zipf_pack, zipf_rows

from auricle.datasets import Clip
from auricle.engine import pack
from auricle.engine.packing import Range
from auricle.shards import Pack, add_label_view, add_subset
from auricle.shards.labels import csr
from auricle.shards.subsets import (
    balance,
    balanced_subset,
    choose_clips,
    fraction_of_groups,
    gather,
    without_groups,
)
from auricle.shards.writer import Decoded

NUM_LABELS = 300


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zipf_pack(tmp_path_factory.mktemp("packs") / "pack", 4000, NUM_LABELS, clips_a_group=2)


@pytest.fixture
def zipf(tmp_path: Path) -> Path:
    return write_zipf_pack(tmp_path / "pack", 1000, 60, clips_a_group=2)


def decode(clip: Range, rate: int) -> Decoded:
    return Decoded(pcm=np.ones(100, dtype=np.int16), clipped=0, warnings=[])


# --- kept in the pack


def test_a_subset_is_kept_and_read_back(zipf: Path) -> None:
    assert Pack(zipf).subset_names == []
    add_subset(zipf, "some", np.array([7, 3, 900]), {"why": "by hand"})
    add_subset(zipf, "all", np.arange(1000))
    reader = Pack(zipf)
    assert reader.subset_names == ["all", "some"]
    assert reader.subset("some").tolist() == [3, 7, 900]
    assert reader.subset("some").dtype == np.int64
    assert reader.manifest["subsets"]["some"]["about"] == {"why": "by hand"}
    assert reader.verify() == []
    (zipf / "subsets/some.npy").write_bytes(b"")
    assert [line.split(":")[0] for line in Pack(zipf).verify()] == ["subsets/some.npy"]
    with pytest.raises(ValueError, match=r"subsets/some\.npy: damaged .*; delete the folder and pack again"):
        Pack(zipf).subset("some")


def test_label_sets_and_subsets_do_not_disturb_each_other(zipf: Path) -> None:
    add_subset(zipf, "some", np.arange(9))
    add_label_view(zipf, "few", ["label00000"])
    add_subset(zipf, "more", np.arange(10))
    reader = Pack(zipf)
    assert (reader.subset_names, reader.label_sets) == (["more", "some"], ["few", "labels"])


def test_subsets_that_make_no_sense_are_refused(zipf: Path) -> None:
    add_subset(zipf, "there", np.array([1, 2]))
    before = (zipf / "manifest.json").read_bytes()
    for name, clips, message in (
        ("there", [1], "'there' is there already"),
        ("new", [], "would have no clips"),
        ("new", [1, 2, 1], "1 clip given twice"),
        ("new", [1000], "clips are numbered from 0 to 999, got 1000"),
        ("new", [-1], "clips are numbered from 0"),
        ("a/b", [1], "subset 'a/b': a name of letters"),
    ):
        with pytest.raises(ValueError, match=message):
            add_subset(zipf, name, np.array(clips))
    assert (zipf / "manifest.json").read_bytes() == before
    with pytest.raises(ValueError, match="no subset 'none'; there are: there"):
        Pack(zipf).subset("none")
    add_subset(zipf, "there", np.array([5]), replace=True)
    assert Pack(zipf).subset("there").tolist() == [5]
    with pytest.raises(ValueError, match="no such folder"):
        add_subset(zipf / "no", "new", np.array([5]))


# --- fractions


def test_fractions_are_nested_and_of_whole_recordings() -> None:
    groups = np.array([f"recording{number // 3}" for number in np.random.default_rng(0).permutation(3000)])
    taken = {share: fraction_of_groups(groups, share) for share in (0.001, 0.05, 0.1, 0.2, 0.5, 1.0)}
    for (small, one), (large, other) in itertools.pairwise(taken.items()):
        assert not (one & ~other).any(), f"{small} is not inside {large}"
    for share, mask in taken.items():
        assert len(set(groups[mask])) == round(share * 1000)
        assert not set(groups[mask]) & set(groups[~mask])
    assert taken[1.0].all()
    other = fraction_of_groups(groups, 0.1, seed=1)
    assert other.sum() == taken[0.1].sum() and (other != taken[0.1]).any()


def test_which_recording_is_taken_first_depends_on_its_name_alone() -> None:
    names = np.array([f"r{number}" for number in range(100)])
    first = set(names[fraction_of_groups(names, 0.2)])
    turned = names[::-1]
    assert set(turned[fraction_of_groups(turned, 0.2)]) == first
    fewer = np.array(sorted(first)[:10])
    kept = set(fewer[fraction_of_groups(fewer, 0.5)])
    ranked = [name for share in range(1, 101) for name in names[fraction_of_groups(names, share / 100)]]
    order = sorted(fewer, key=ranked.index)
    assert kept == set(order[:5])
    assert fraction_of_groups(names, 1e-9).sum() == 1


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, float("nan")])
def test_a_fraction_is_more_than_0_and_at_most_1(share: float) -> None:
    with pytest.raises(ValueError, match="expected more than 0 and at most 1"):
        fraction_of_groups(np.array(["a"]), share)


# --- balanced


def by_the_book(rows: list[set[int]], num_labels: int, per_class: int, seed: int) -> list[int]:
    """The documented method once more, row by row on sets; slow."""
    tie = hashes(len(rows), seed)
    having = {label: [row for row, of in enumerate(rows) if label in of] for label in range(num_labels)}
    taken: list[int] = []
    counts = [0] * num_labels

    def take(row: int) -> None:
        taken.append(row)
        for label in rows[row]:
            counts[label] += 1

    for row, of in enumerate(rows):
        if any(len(having[label]) <= per_class for label in of):
            take(row)
    for label in sorted(range(num_labels), key=lambda label: (len(having[label]), label)):
        while counts[label] < per_class and (left := [row for row in having[label] if row not in taken]):

            def price(row: int) -> tuple[int, int, int]:
                full = sum(counts[other] >= per_class for other in rows[row])
                return full, full - len(rows[row]), tie[row]

            take(min(left, key=price))
    spare = sorted(sorted(taken), key=lambda row: -min(counts[label] for label in rows[row]))
    for row in spare:
        if all(counts[label] > per_class for label in rows[row]):
            taken.remove(row)
            for label in rows[row]:
                counts[label] -= 1
    return sorted(taken)


def hashes(count: int, seed: int) -> list[int]:
    """SplitMix64 with the integers of Python, which have no end."""
    found = []
    for number in range(1, count + 1):
        state = (number + seed * 2**32) * 0x9E3779B97F4A7C15 % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        found.append(state ^ (state >> 31))
    return found


def as_sets(indptr: np.ndarray, labels: np.ndarray) -> list[set[int]]:
    return [set(labels[a:b].tolist()) for a, b in itertools.pairwise(indptr.tolist())]


@pytest.mark.parametrize(
    ("num_rows", "num_labels", "per_label", "per_class", "seed"),
    [(400, 40, 4, 5, 0), (400, 40, 4, 5, 1), (600, 25, 2, 33, 0), (300, 60, 7, 1, 3), (200, 5, 3, 50, 0)],
)
def test_the_balanced_rows_are_those_of_the_documented_method(
    num_rows: int, num_labels: int, per_label: int, per_class: int, seed: int
) -> None:
    indptr, labels = zipf_rows(num_rows, num_labels, per_label, seed)
    rows = balance(indptr, labels, num_labels, per_class, seed)
    assert rows.tolist() == by_the_book(as_sets(indptr, labels), num_labels, per_class, seed)


def check_balance(indptr: np.ndarray, labels: np.ndarray, num_labels: int, per_class: int) -> np.ndarray:
    """Every class has what was asked or all there is, and no row could be left out."""
    rows = balance(indptr, labels, num_labels, per_class)
    assert len(set(rows.tolist())) == len(rows) and (np.diff(rows) > 0).all()
    sets = as_sets(indptr, labels)
    counts = np.zeros(num_labels, dtype=int)
    available = np.zeros(num_labels, dtype=int)
    for row, of in enumerate(sets):
        for label in of:
            available[label] += 1
            counts[label] += row in set(rows.tolist())
    assert (counts >= np.minimum(available, per_class)).all()
    for row in rows:
        assert any(counts[label] <= min(per_class, available[label]) for label in sets[row])
    return counts


def test_rare_classes_are_full_and_common_ones_lie_far_below_their_share() -> None:
    indptr, labels = zipf_rows(9000, 120, 3)
    counts = check_balance(indptr, labels, 120, 20)
    available = np.bincount(labels, minlength=120)
    full = available >= 20
    assert full.sum() > 100
    chosen = len(balance(indptr, labels, 120, 20))
    assert (counts[full] <= 40).mean() > 0.85
    assert counts[0] < 0.6 * available[0] * chosen / 9000  # the commonest, as often as chance would bring it


def test_small_cases_are_near_the_fewest_rows_that_there_can_be() -> None:
    draw = np.random.default_rng(5)
    sizes = []
    for _ in range(40):
        sets = [sorted(set(draw.integers(0, 5, 3).tolist())) for _ in range(11)]
        indptr, labels = csr(sets)
        available = np.bincount(labels, minlength=5)
        wanted = np.minimum(available, 2)
        fewest = next(
            size
            for size in range(12)
            for rows in itertools.combinations(range(11), size)
            if (
                np.bincount(gather(indptr, labels, np.array(rows, dtype=int))[0], minlength=5) >= wanted
            ).all()
        )
        check_balance(indptr, labels, 5, 2)
        sizes.append((len(balance(indptr, labels, 5, 2)), fewest))
    assert all(ours <= fewest + 2 for ours, fewest in sizes)
    assert sum(ours for ours, _ in sizes) < 1.25 * sum(fewest for _, fewest in sizes)


@pytest.mark.parametrize(
    ("rows", "num_labels", "per_class", "chosen"),
    [
        ([[], [], []], 2, 3, []),  # no labels at all
        ([[0], [0], [0]], 1, 5, [0, 1, 2]),  # fewer than asked: all
        ([[0, 1], [0, 1], [2], []], 4, 2, [0, 1, 2]),  # exactly as many; a label without rows
        ([[0, 1, 2]] * 4, 3, 4, [0, 1, 2, 3]),  # labels that always come together
        ([[0], [0, 1], [1]], 2, 1, [1]),  # a row that is enough alone
    ],
)
def test_degenerate_cases(rows: list[list[int]], num_labels: int, per_class: int, chosen: list[int]) -> None:
    indptr, labels = csr(rows)
    found = balance(indptr, labels, num_labels, per_class)
    if rows == [[0], [0, 1], [1]]:  # two rows of one label each serve as well
        counts = np.bincount(gather(indptr, labels, found)[0], minlength=2)
        assert (counts == 1).all()
    else:
        assert found.tolist() == chosen


def test_one_label_on_all_rows_is_above_what_was_asked_by_need_alone() -> None:
    rows = [[0, 1 + number % 10] for number in range(200)]
    counts = check_balance(*csr(rows), 11, 5)
    assert counts.tolist() == [50] + [5] * 10


def test_labels_of_single_rows_take_just_as_many() -> None:
    rows = [[number % 7] for number in range(700)]
    assert check_balance(*csr(rows), 7, 33).tolist() == [33] * 7


def test_the_seed_decides_and_the_same_seed_gives_the_same() -> None:
    indptr, labels = zipf_rows(2000, 50, 3)
    first, again, other = (balance(indptr, labels, 50, 10, seed).tolist() for seed in (0, 0, 1))
    assert first == again != other
    with pytest.raises(ValueError, match="per_class: expected 1 or more, got 0"):
        balance(indptr, labels, 50, 0)


def test_a_balanced_subset_names_what_it_could_not_balance(made: Path) -> None:
    reader = Pack(made)
    candidates = reader.select(["eval"])
    clips, report = balanced_subset(reader, 12, clips=candidates)
    assert set(clips) <= set(candidates)
    counts = dict(zip(reader.label_names(), reader.label_counts(clips=clips).tolist(), strict=True))
    available = dict(zip(reader.label_names(), reader.label_counts(clips=candidates).tolist(), strict=True))
    assert report["short"] == {label: count for label, count in counts.items() if count < 12}
    assert all(available[label] == count for label, count in report["short"].items())
    assert report["over"] == {label: count for label, count in counts.items() if count > 24}
    assert (report["candidates"], report["classes"]) == (800, NUM_LABELS)
    assert (report["least"], report["most"]) == (min(counts.values()), max(counts.values()))
    assert report["median"] == np.median(list(counts.values()))
    assert list(report["short"].values()) == sorted(report["short"].values())
    assert list(report["over"].values()) == sorted(report["over"].values(), reverse=True)
    assert report["short"] and report["over"]


def test_nothing_is_drawn_from_the_recordings_that_are_trained_on(made: Path) -> None:
    reader = Pack(made)
    training = np.arange(0, 4000, 40)  # one clip of a group of two
    left = without_groups(reader, np.arange(4000), training)
    assert len(left) == 4000 - 200
    assert not set(reader.groups[left]) & set(reader.groups[training])
    add_subset(made, "training", training, replace=True)
    chosen = choose_clips(Pack(made), apart_from=["training"], balanced=5).clips
    assert len(chosen) and not set(reader.groups[chosen]) & set(reader.groups[training])


def test_clips_without_a_recording_are_each_their_own(tmp_path: Path) -> None:
    clips = [Clip(id=str(number), path=f"{number}.wav", labels=("x",)) for number in range(20)]
    pack(clips, tmp_path / "pack", jobs=1, quiet=True, decode=decode)
    reader = Pack(tmp_path / "pack")
    assert without_groups(reader, np.arange(20), np.array([3])).tolist() == [n for n in range(20) if n != 3]
    assert len(choose_clips(reader, fraction=0.25).clips) == 5


def test_a_choice_is_narrowed_step_by_step(made: Path) -> None:
    reader = Pack(made)
    add_subset(made, "even", np.arange(0, 4000, 2), replace=True)
    reader = Pack(made)
    train = reader.select(["train"])
    assert choose_clips(reader, splits=["train"]).clips.tolist() == train.tolist()
    both = choose_clips(reader, splits=["train"], within="even").clips
    assert both.tolist() == [clip for clip in train if clip % 2 == 0]
    assert not len(np.intersect1d(choose_clips(reader, apart_from=["train"]).clips, train))
    tenth = choose_clips(reader, splits=["train"], fraction=0.1)
    half = choose_clips(reader, splits=["train"], fraction=0.5)
    assert set(tenth.clips) < set(half.clips) and len(tenth.clips) == 320
    assert tenth.about == {"splits": ["train"], "fraction": 0.1, "seed": 0}
    assert half.balance is None
    with pytest.raises(ValueError, match="no split or subset 'x'; there are: eval, train, even"):
        choose_clips(reader, apart_from=["x"])
    with pytest.raises(ValueError, match="no clip is left"):
        choose_clips(reader, splits=["train"], apart_from=["train"])


# --- the verb


def test_the_verb_makes_and_lists_subsets(zipf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "subset", zipf)[1] == f"{zipf}: no subsets; --name makes one\n"
    code, out, err = run(capsys, "subset", zipf, "--name", "tenth", "--split", "train", "--fraction", 0.1)
    assert (code, out, err) == (0, f"{zipf}: subset tenth: 80 of 1,000 clips\n", "")
    code, out, err = run(capsys, "subset", zipf, "--name", "balanced", "--split", "eval", "--balanced", 9)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    counts = Pack(zipf).label_counts(clips=Pack(zipf).subset("balanced"))
    assert lines[1].startswith("positives of 60 classes, 9 asked for: ")
    assert lines[1].endswith("; chosen from 200 clips")
    assert lines[2].startswith(f"fewer than 9 in {np.sum(counts < 9)} classes, all that there are: label000")
    assert lines[3].startswith(
        f"more than 18 in {np.sum(counts > 18)} classes, which come with others: label"
    )
    code, out, _ = run(capsys, "subset", zipf)
    assert [line.split("  ")[0] for line in out.splitlines()] == ["subset", "balanced", "tenth"]
    assert out.splitlines()[2].endswith("80  splits train, fraction 0.1, seed 0")
    found = json.loads(run(capsys, "subset", zipf, "--format", "json")[1])
    assert [entry["name"] for entry in found] == ["balanced", "tenth"]
    rest = ["subset", zipf, "--name", "rest", "--apart-from", "balanced", "--format", "json"]
    described = json.loads(run(capsys, *rest)[1])
    assert described["apart_from"] == ["balanced"]
    assert described["clips"] == len(Pack(zipf).subset("rest"))
    shown = json.loads(run(capsys, *rest[:3], "more", "--balanced", 2, "--format", "json")[1])
    assert set(shown["balance"]) == {
        "per_class",
        "candidates",
        "classes",
        "least",
        "median",
        "most",
        "short",
        "over",
    }


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--fraction", 0.5), 2, "what is chosen needs a name"),
        (("--name", "x", "--fraction", 2), 2, "expected more than 0 and at most 1"),
        (("--name", "x", "--split", "none"), 1, "no split 'none'"),
        (("--name", "x", "--within", "none"), 1, "no subset 'none'"),
        (("--name", "x", "--where", "licence"), 2, "KEY=VALUE"),
        (("--name", "x", "--balanced", 5, "--label-set", "none"), 1, "no label set 'none'"),
    ],
)
def test_the_verb_says_what_is_wrong(
    zipf: Path, options: tuple, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "subset", zipf, *options)
    assert (code, out) == (status, "")
    assert message in err
    assert Pack(zipf).subset_names == []
