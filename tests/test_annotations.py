"""Votes of several annotators: read with all their traps, counted, and turned into labels."""

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auricle.datasets.annotations import (
    Annotations,
    choose_labels,
    count_votes,
    read_annotations,
    verified_labels,
    vote_share,
    write_annotations,
)
from auricle.datasets.taxonomy import Taxonomy, read_taxonomy

TREE = Taxonomy(("1_engine", "2_dog"), (("1-1_small", "1-2_large", "1-X_unclear"), ("2-1_bark",)))
HEAD = "split,sensor_id,audio_filename,annotator_id"
FINE = "1-1_small_presence,1-2_large_presence,1-X_unclear_presence,2-1_bark_presence"
COARSE = "1_engine_presence,2_dog_presence"


def table(folder: Path, *rows: str, head: str = f"{HEAD},{FINE},{COARSE}") -> Path:
    path = folder / "annotations.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def read(folder: Path, *rows: str, **options: Any) -> Annotations:
    return read_annotations(table(folder, *rows), TREE, **options)


def test_votes_are_read_however_numbers_are_written(tmp_path: Path) -> None:
    found = read(tmp_path, "train,7,a.wav,12,1,0.0,-1,1.0,1,1", "train,7,a.wav,3.0,-1.0,,NaN, 0 ,-1,0")
    assert found.votes.tolist() == [[1, 0, -1, 1, 1, 1], [-1, -1, -1, 0, -1, 0]]
    assert found.clips == ("a.wav",) and found.splits == ("train",) and found.sensors == ("7",)
    assert found.annotators == ("12", "3")
    assert found.notes == {"rows": 2}


def test_split_and_sensor_may_be_missing_and_columns_named_as_labels(tmp_path: Path) -> None:
    head = "annotator_id,audio_filename,2-1_bark,1-X_unclear,1-2_large,1-1_small,notes"
    path = table(tmp_path, "anna,a.wav,1,0,0,0,nice", "ben,a.wav,0,0,-1,-1,", head=head)
    found = read_annotations(path, TREE)
    assert found.splits == ("",) and found.sensors == ("",)
    assert found.votes[:, :4].tolist() == [[0, 0, 0, 1], [-1, -1, 0, 0]]
    # Coarse votes follow: heard, not heard (all are), not to be said.
    assert found.votes[:, 4:].tolist() == [[0, 1], [-1, 0]]


def test_several_rows_of_one_annotator_are_one_vote(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "v,1,a.wav,-2,1,-1,-1,-1,1,-1",
        "v,1,b.wav,5,0,0,0,0,0,0",
        "v,1,a.wav,-2,1,0,-1,0,1,0",
        "v,1,a.wav,-2.0,0,-1,-1,-1,1,-1",
    )
    assert found.clip.tolist() == [0, 1] and len(found.annotators) == 2
    # 1-1_small: yes, yes and no of the same person is no vote.
    assert found.votes[0].tolist() == [-1, 0, -1, 0, 1, 0]
    assert found.notes["rows merged into another of the same annotator and clip"] == 2
    assert found.notes["votes dropped because rows of one annotator contradict each other"] == 1


def test_coarse_columns_that_contradict_their_fine_ones_are_counted(tmp_path: Path) -> None:
    rows = (
        "v,1,a.wav,1,0,0,0,0,1,0",  # an engine, but none of its classes
        "v,1,a.wav,2,0,0,0,1,0,0",  # barking, but no dog
        "v,1,a.wav,3,0,-1,0,0,1,0",  # an engine: the large one was not asked for
    )
    notes = {
        "rows": 3,
        "rows that hear 1_engine but none of its fine classes": 1,
        "rows that hear a fine class of 2_dog but not it": 1,
    }
    found = read(tmp_path, *rows)
    assert found.notes == notes
    assert found.votes[:, 4:].tolist() == [[1, 0], [0, 0], [1, 0]]
    found = read(tmp_path, *rows, coarse="fine")
    assert found.notes == notes
    assert found.votes[:, 4:].tolist() == [[0, 0], [0, 1], [-1, 0]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("v,1,a.wav,1,2,0,0,0,0,0", "row 3, 1-1_small_presence: '2' is no vote"),
        ("v,1,a.wav,1,yes,0,0,0,0,0", "row 3, 1-1_small_presence: 'yes' is no vote"),
        ("v,1,a.wav,,0,0,0,0,0,0", "row 3: audio_filename and annotator_id must not be empty"),
        (
            "v,2,b.wav,1,0,0,0,0,0,0",
            "row 3: clip 'b.wav' is in split 'v' of sensor '2' here, and in 't' of '2'",
        ),
        (
            "t,3,b.wav,1,0,0,0,0,0,0",
            "row 3: clip 'b.wav' is in split 't' of sensor '3' here, and in 't' of '2'",
        ),
        ("t,2,b.wav,1,0,0", "row 3: 6 of 10 fields"),
    ],
)
def test_a_damaged_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ValueError, match="annotations.csv") as raised:
        read(tmp_path, "t,2,b.wav,7,0,0,0,0,0,0", row)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (f"split,sensor_id,audio_filename,{FINE}", "no column 'annotator_id'"),
        (
            f"{HEAD},{FINE.replace('1-2_large', '1-2_big')}",
            "no column for 1-2_large; columns that the taxonomy does",
        ),
        (
            f"{HEAD},{FINE},{COARSE},9-1_bat_presence",
            "columns that the taxonomy does not have: 9-1_bat_presence",
        ),
        (f"{HEAD},{FINE},{COARSE},2_dog_presence", "two columns are named '2_dog_presence'"),
        (f"{HEAD},{FINE},{COARSE},2_dog", "two columns for '2_dog'"),
    ],
)
def test_columns_of_another_taxonomy_are_named(tmp_path: Path, head: str, message: str) -> None:
    path = table(tmp_path, head=head)
    with pytest.raises(ValueError, match="annotations.csv") as raised:
        read_annotations(path, TREE)
    assert message in str(raised.value)


def test_a_file_without_rows_or_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        read_annotations(tmp_path / "none.csv", TREE)
    with pytest.raises(ValueError, match="no rows"):
        read(tmp_path)
    with pytest.raises(ValueError, match="coarse: expected given or fine"):
        read(tmp_path, "t,2,b.wav,7,0,0,0,0,0,0", coarse="both")


def votes(rows: list[tuple[str, str, list[int]]]) -> Annotations:
    """Annotations of rows (clip, annotator, votes)."""
    clips, people = (list(dict.fromkeys(row[index] for row in rows)) for index in (0, 1))
    return Annotations(
        taxonomy=TREE,
        clips=tuple(clips),
        splits=("",) * len(clips),
        sensors=("",) * len(clips),
        annotators=tuple(people),
        clip=np.array([clips.index(row[0]) for row in rows]),
        annotator=np.array([people.index(row[1]) for row in rows]),
        votes=np.array([row[2] for row in rows], dtype=np.int8),
    )


def test_a_label_needs_strictly_more_than_its_share_of_those_who_voted() -> None:
    found = votes(
        [
            ("a", "1", [1, 1, 0, 0, 1, -1]),
            ("a", "2", [1, 0, 0, -1, 1, -1]),
            ("a", "3", [1, 0, 0, -1, 1, -1]),
            ("a", "4", [0, 0, 0, -1, 1, -1]),
        ]
    )
    names = found.taxonomy.labels
    for agreement, labels in (
        (0.0, {"1-1_small", "1-2_large", "1_engine"}),
        (0.25, {"1-1_small", "1_engine"}),
        (0.5, {"1-1_small", "1_engine"}),
        (0.75, {"1_engine"}),
        (0.99, {"1_engine"}),
    ):
        chosen = choose_labels(found, agreement)
        assert set(chosen.by_clip()["a"]) == labels
        assert chosen.share is None
        # Nobody voted on dogs; one person did on barking, and that is enough.
        assert chosen.unknown_by_clip() == {"a": ("2_dog",)}
    assert names.index("2_dog") == 5


def test_an_unknown_class_makes_its_complete_siblings_unknown_but_not_the_positive_ones() -> None:
    found = votes([("a", "1", [1, 0, 1, 0, 1, 0]), ("b", "1", [1, 1, 0, 0, 1, 0])])
    chosen = choose_labels(found)
    assert chosen.by_clip() == {
        "a": ("1-1_small", "1-X_unclear", "1_engine"),
        "b": ("1-1_small", "1-2_large", "1_engine"),
    }
    assert chosen.unknown_by_clip() == {"a": ("1-2_large",)}
    assert not (chosen.positive & chosen.unknown).any()


def test_the_verified_truth_comes_before_votes_and_is_no_vote_itself() -> None:
    found = votes(
        [
            ("a", "1", [1, 0, 0, 0, 1, 0]),
            ("a", "0", [0, 1, 0, -1, 1, 0]),
            ("b", "1", [1, -1, 0, 0, 1, 0]),
            ("b", "-1", [-1, 1, -1, -1, 1, -1]),
        ]
    )
    chosen = choose_labels(found)
    assert chosen.by_clip() == {"a": ("1-2_large", "1_engine"), "b": ("1-1_small", "1_engine")}
    assert chosen.unknown_by_clip() == {"a": ("2-1_bark",), "b": ("1-2_large",)}
    assert chosen.verified.tolist() == [True, False]
    chosen = choose_labels(found, verified=False, voters="all")
    assert chosen.by_clip() == {"a": ("1-1_small", "1_engine"), "b": ("1-1_small", "1-2_large", "1_engine")}
    truth = verified_labels(found)
    assert truth.by_clip() == {"a": ("1-2_large", "1_engine"), "b": ()}
    assert truth.unknown_by_clip() == {"a": ("2-1_bark",), "b": TREE.labels}
    with pytest.raises(ValueError, match="no clip has a verified truth"):
        verified_labels(votes([("a", "1", [0, 0, 0, 0, 0, 0])]))


def test_soft_targets_are_shares_and_the_truth_where_there_is_one() -> None:
    found = votes(
        [
            ("a", "1", [1, 0, 0, 0, 1, -1]),
            ("a", "2", [0, 0, 0, 1, 1, -1]),
            ("a", "3", [0, 0, 0, -1, 1, -1]),
            ("b", "1", [1, 0, 0, 0, 1, 0]),
            ("b", "0", [0, 0, 0, 1, 0, 1]),
        ]
    )
    chosen = choose_labels(found, "soft")
    assert chosen.share is not None and chosen.share.dtype == np.float32
    assert chosen.by_clip()["a"] == pytest.approx({"1-1_small": 1 / 3, "2-1_bark": 0.5, "1_engine": 1.0})
    assert chosen.by_clip()["b"] == {"2-1_bark": 1.0, "2_dog": 1.0}
    assert chosen.unknown_by_clip() == {"a": ("2_dog",)}


def test_what_x_makes_unknown_keeps_its_share_of_votes() -> None:
    """So it is a target of that share unless what is unknown is masked."""
    found = votes(
        [
            ("a", "1", [1, 0, 1, 0, 1, 0]),
            ("a", "2", [0, 0, 1, 0, 1, 0]),
            ("a", "3", [0, 0, 0, 0, 1, 0]),
            ("b", "1", [1, 0, 1, 0, 1, 0]),
            ("b", "2", [0, 0, 0, 0, 1, 0]),
        ]
    )
    chosen = choose_labels(found, "soft")
    shares = {"1-1_small": 1 / 3, "1-X_unclear": 2 / 3, "1_engine": 1.0}
    assert chosen.by_clip()["a"] == pytest.approx(shares)
    assert chosen.unknown_by_clip() == {"a": ("1-1_small", "1-2_large")}, "of b, half of them said X"


def test_other_words_and_shares_are_refused() -> None:
    found = votes([("a", "1", [0, 0, 0, 0, 0, 0])])
    for agreement in (1.0, -0.1, float("nan"), "hard"):
        with pytest.raises(ValueError, match="agreement: expected a share from 0 to below 1, or soft"):
            choose_labels(found, agreement)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="voters: expected crowd or all"):
        choose_labels(found, voters="some")  # type: ignore[arg-type]


def slow_share(found: Annotations, voters: str) -> np.ndarray:
    """The share of votes, clip by clip and label by label."""
    given = defaultdict(list)
    for clip, who, row in zip(found.clip, found.annotator, found.votes, strict=True):
        name = found.annotators[who]
        if name == "0" or (voters == "crowd" and name.startswith("-")):
            continue
        for label, vote in enumerate(row):
            if vote != -1:
                given[clip, label].append(vote)
    out = np.full((len(found.clips), found.votes.shape[1]), np.nan)
    for place, cast in given.items():
        out[place] = sum(cast) / len(cast)
    return out


@pytest.mark.parametrize("voters", ["crowd", "all"])
def test_shares_are_those_counted_one_by_one(voters: Any) -> None:
    generator = np.random.default_rng(4)
    people = ["0", "1", "2", "3", "-1", "-2"]
    rows = [
        (f"clip{clip}", name, generator.integers(-1, 2, 6).tolist())
        for clip in range(40)
        for name in people
        if generator.random() < 0.6
    ]
    found = votes(rows)
    np.testing.assert_array_equal(vote_share(found, voters), slow_share(found, voters))
    cast, heard = count_votes(found, voters)
    assert (heard <= cast).all() and cast.max() > 2
    for limit in (0.25, 0.5, 0.75):
        with np.errstate(invalid="ignore"):
            expected = slow_share(found, voters) > limit
        np.testing.assert_array_equal(
            choose_labels(found, limit, verified=False, voters=voters).positive, expected
        )


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    found = votes([("a, b.wav", "1", [1, 0, -1, 0, 1, -1]), ("c.wav", "0", [0, 0, 0, 1, 0, 1])])
    write_annotations(found, tmp_path / "out.csv")
    again = read_annotations(tmp_path / "out.csv", TREE)
    assert again.clips == found.clips and again.annotators == found.annotators
    np.testing.assert_array_equal(again.votes, found.votes)


def test_the_published_annotations_have_their_numbers(shared_data: Path) -> None:
    folder = shared_data / "sonyc_ust"
    tree = read_taxonomy(folder / "dcase-ust-taxonomy.yaml")
    found = read_annotations(folder / "annotations-dev.csv", tree)
    assert found.notes == {
        "rows": 10349,
        "rows merged into another of the same annotator and clip": 282,
        "rows that hear 2_machinery-impact but none of its fine classes": 482,
    }
    splits = np.array(found.splits)
    assert [(splits == name).sum() for name in ("train", "validate")] == [2351, 443]
    # No sensor is in two splits.
    assert len(set(zip(found.sensors, found.splits, strict=True))) == len(set(found.sensors)) == 43
    assert choose_labels(found).verified.sum() == 443
    # The published prediction is the crowd's share of votes: verifiers and verified truth are left out.
    place = {clip: row for row, clip in enumerate(found.clips)}
    share = vote_share(found)
    with (folder / "crowd_vote_pred.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 443
    for row in rows:
        published = [float(row[label]) for label in tree.labels]
        np.testing.assert_allclose(share[place[row["audio_filename"]]], published, rtol=0, atol=1e-12)


def test_in_the_published_annotations_one_coarse_column_holds_another(shared_data: Path) -> None:
    # The file says 2_machinery-impact wherever it says 3-1_non-machinery-impact: "given" keeps it, as the
    # challenge's own figures do; "fine" puts it right.
    folder = shared_data / "sonyc_ust"
    tree = read_taxonomy(folder / "dcase-ust-taxonomy.yaml")
    given, fine = (
        read_annotations(folder / "annotations-dev.csv", tree, coarse=coarse) for coarse in ("given", "fine")
    )
    machine, other = tree.labels.index("2_machinery-impact"), tree.labels.index("3-1_non-machinery-impact")
    wrong = (given.votes == 1)[:, machine] & (fine.votes == 0)[:, machine]
    assert wrong.sum() == 482 and (given.votes[wrong, other] == 1).all()
    same = [column for column in range(37) if column != machine]
    np.testing.assert_array_equal(given.votes[:, same] == 1, fine.votes[:, same] == 1)


def test_above_half_of_the_votes_are_the_positives_that_the_release_weighs(shared_data: Path) -> None:
    # microsoft/dcase-2019, load_dataset.py: 37 published weights, (2351 - positives) / positives.
    weights = [
        3.290146, 6.733553, 46.979592, 20.768519, 6.633117, 51.244444, 3.817623, 21.179245,
        122.736842, 20.568807, 11.988950, 155.733333,
        234.1, 35.734375, 179.846154, 390.833333, 101.217391,
        46.979592,
        96.958333, 260.222222, 292.875, 782.666667,
        17.511811, 586.75, 28.759494, 28.024691, 260.222222,
        137.294118, 0, 0, 292.875,
        4.665060, 137.294118, 1174.5, 0, 586.75,
        21.179245,
    ]  # fmt: skip
    folder = shared_data / "sonyc_ust"
    tree = read_taxonomy(folder / "dcase-ust-taxonomy.yaml")
    found = read_annotations(folder / "annotations-dev.csv", tree)
    train = np.array(found.splits) == "train"
    positives = choose_labels(found, 0.5).positive[train].sum(0)
    by_name = dict(zip(tree.labels, positives.tolist(), strict=True))
    order = [*tree.coarse, *(label for below in tree.fine for label in below)]
    ours = [(train.sum() - by_name[one]) / by_name[one] if by_name[one] else 0 for one in order]
    np.testing.assert_allclose(ours, weights, rtol=1e-6)
