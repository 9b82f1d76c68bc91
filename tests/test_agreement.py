"""Agreement of annotators: against examples worked by hand, and against slow and obvious counting."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auricle.datasets.agreement import HEADS, agreement, class_rows, krippendorff_alpha, summary
from auricle.datasets.annotations import Annotations, read_annotations
from auricle.datasets.taxonomy import Taxonomy, read_taxonomy

TREE = Taxonomy(("1_engine", "2_dog"), (("1-1_small", "1-X_unclear"), ("2-1_bark",)))


def slow_alpha(units: list[list[int]]) -> float:
    """Krippendorff's alpha from all pairs of votes: observed over expected disagreement."""
    paired = [unit for unit in units if len(unit) > 1]
    votes = [vote for unit in paired for vote in unit]
    n = len(votes)
    observed = sum(
        sum(a != b for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in paired
    )
    expected = sum(a != b for a, b in itertools.permutations(votes, 2))
    return 1 - (observed / n) / (expected / (n * (n - 1))) if expected else math.nan


def alpha_of(units: list[list[int]]) -> float:
    cast = np.array([[len(unit)] for unit in units])
    heard = np.array([[sum(unit)] for unit in units])
    return float(krippendorff_alpha(cast, heard)[0])


def test_alpha_of_an_example_worked_by_hand() -> None:
    # Seven votes can be paired: four yes, three no. Only the first unit disagrees: its yes-no pairs, 2 x 1,
    # over 3 - 1 votes, are 1. Alpha = 1 - (7 - 1) x 1 / (4 x 3) = 0.5. The lone vote is left out.
    units = [[1, 1, 0], [0, 0], [1], [1, 1], []]
    assert alpha_of(units) == pytest.approx(0.5, abs=1e-15)
    assert slow_alpha(units) == pytest.approx(0.5, abs=1e-15)


def test_alpha_of_the_published_example_of_two_observers() -> None:
    # Krippendorff 2011, section A: 0.095.
    a, b = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert round(alpha_of([list(pair) for pair in zip(a, b, strict=True)]), 3) == 0.095


def test_alpha_is_one_where_all_agree_and_not_defined_where_all_say_the_same() -> None:
    assert alpha_of([[1, 1], [0, 0, 0]]) == 1.0
    assert math.isnan(alpha_of([[0, 0], [0, 0, 0], [1]]))
    assert math.isnan(alpha_of([[1], [0]]))


def test_alpha_is_that_of_all_pairs() -> None:
    generator = np.random.default_rng(2)
    for _ in range(50):
        units = [
            generator.integers(0, 2, generator.integers(0, 6)).tolist()
            for _ in range(generator.integers(1, 30))
        ]
        assert alpha_of(units) == pytest.approx(slow_alpha(units), abs=1e-12, nan_ok=True)


def votes(rows: list[tuple[int, str, list[int]]]) -> Annotations:
    people = list(dict.fromkeys(row[1] for row in rows))
    count = 1 + max(row[0] for row in rows)
    return Annotations(
        taxonomy=TREE,
        clips=tuple(f"clip{index}" for index in range(count)),
        splits=("",) * count,
        sensors=("",) * count,
        annotators=tuple(people),
        clip=np.array([row[0] for row in rows]),
        annotator=np.array([people.index(row[1]) for row in rows]),
        votes=np.array([row[2] for row in rows], dtype=np.int8),
    )


def by_label(found: dict[str, Any]) -> dict[str, Any]:
    return {row["label"]: row for row in found["classes"]}


def test_statistics_of_a_small_table_are_those_counted_by_hand() -> None:
    found = agreement(
        votes(
            [
                (0, "7", [1, 0, 0, 1, 0]),
                (0, "8", [1, 0, -1, 1, -1]),
                (0, "0", [1, 0, 1, 1, 1]),
                (1, "7", [1, 0, 1, 1, 1]),
                (1, "8", [0, 1, 1, 1, 1]),
                (1, "9", [0, 0, -1, 0, -1]),
                (1, "-1", [1, 1, 1, 1, 1]),
                (2, "8", [0, 0, 0, 0, 0]),
            ]
        )
    )
    assert (found["clips"], found["annotators"], found["verified"]) == (3, 3, 1)
    assert found["votes"] == {"1": 1, "2": 1, "3": 1}
    small = by_label(found)["1-1_small"]
    assert small["votes"] == 6 and small["heard"] == 3 and small["verified"] == 1
    # Clips 0 and 1 have several votes; all agree on the first, and both were heard by someone.
    assert small["full_agreement"] == small["full_agreement_heard"] == 0.5
    assert (small["positive_25"], small["positive_50"], small["positive_75"]) == (2, 1, 1)
    assert small["alpha"] == pytest.approx(slow_alpha([[1, 1], [1, 0, 0], [0]]))
    bark = by_label(found)["2-1_bark"]
    assert bark["votes"] == 4 and bark["full_agreement"] == 1.0
    unclear = by_label(found)["1-X_unclear"]
    assert (unclear["positive_25"], unclear["positive_50"]) == (1, 0)
    # Against the truth of clip 0: person 7 heard small, which is right, and missed the bark.
    seven = next(row for row in found["annotator"] if row["clips"] == 1 and row["fine"]["recall"] == 0.5)
    assert seven["fine"] == {"precision": 1.0, "recall": 0.5}
    assert seven["coarse"] == {"precision": 1.0, "recall": 0.5}
    # At any share: small and engine are chosen and right. Nobody chose the bark or the dog.
    for row in found["thresholds"]:
        assert row["fine"] == {"precision": 1.0, "recall": 0.5}
    assert json.loads(json.dumps(found)) == found


def test_labels_that_are_not_known_are_counted_by_class() -> None:
    found = agreement(
        votes([(0, "7", [0, 1, 0, 1, 0]), (0, "8", [0, 1, -1, 1, -1]), (1, "7", [1, 1, -1, 1, -1])])
    )
    # X makes what is not chosen beside it unknown, in clip 0; of clip 1 nobody was asked about dogs.
    counts = {name: row["unknown"] for name, row in by_label(found).items()}
    assert counts == {"1-1_small": 1, "1-X_unclear": 0, "2-1_bark": 1, "1_engine": 0, "2_dog": 1}
    place = HEADS.index("unknown")
    assert [row[place] for row in class_rows(found)] == ["1", "0", "1", "0", "1"]
    assert all(len(row) == len(HEADS) for row in class_rows(found))


def test_one_sentence_says_how_many_annotated_a_clip() -> None:
    said = {"clips": 2, "annotators": 3, "verified": 1, "alpha": {"fine": None, "coarse": None}}
    for votes_, words in (
        ({"3": 2}, "3"),
        ({"1": 1, "2": 1}, "1 or 2"),
        ({"1": 1, "2": 1, "4": 1}, "1, 2 or 4"),
    ):
        assert f"annotators, {words} a clip; " in summary(said | {"votes": votes_})


def test_names_of_annotators_are_not_told_and_those_of_most_clips_stand_first() -> None:
    found = agreement(
        votes(
            [
                (0, "secret", [0, 0, 0, 0, 0]),
                (0, "anna", [1, 0, 0, 1, 0]),
                (1, "anna", [1, 0, 0, 1, 0]),
                (0, "0", [1, 0, 0, 1, 0]),
                (1, "0", [1, 0, 0, 1, 0]),
            ]
        )
    )
    assert [(row["annotator"], row["clips"]) for row in found["annotator"]] == [("A1", 2), ("A2", 1)]
    assert found["annotator"][1]["fine"] == {"precision": None, "recall": 0.0}
    assert "anna" not in json.dumps(found) and "secret" not in json.dumps(found)


def test_without_votes_there_is_nothing_to_say() -> None:
    only_truth = votes([(0, "0", [0, 0, 0, 0, 0])])
    with pytest.raises(ValueError, match="no votes of the crowd"):
        agreement(only_truth)
    with pytest.raises(ValueError, match="no votes of anyone"):
        agreement(only_truth, "all")


def test_the_published_annotations_agree_as_far_as_was_counted(shared_data: Path) -> None:
    folder = shared_data / "sonyc_ust"
    tree = read_taxonomy(folder / "dcase-ust-taxonomy.yaml")
    annotations = read_annotations(folder / "annotations-dev.csv", tree)
    found = agreement(annotations)
    assert (found["clips"], found["annotators"], found["verified"]) == (2794, 549, 443)
    assert found["votes"] == {"3": 2794}
    column = tree.labels.index("5-3_siren")
    crowd = annotations.rows_of("crowd")
    units: list[list[int]] = [[] for _ in annotations.clips]
    for clip, vote in zip(annotations.clip[crowd], annotations.votes[crowd, column], strict=True):
        units[clip].append(int(vote))
    siren = by_label(found)["5-3_siren"]
    agreeing = sum(len(set(unit)) == 1 for unit in units)
    assert siren["full_agreement"] == pytest.approx(agreeing / 2794)
    assert siren["alpha"] == pytest.approx(0.628, abs=1e-3)
    half = found["thresholds"][1]
    assert half["fine"]["precision"] == pytest.approx(0.863, abs=1e-3)
    assert half["fine"]["recall"] == pytest.approx(0.354, abs=1e-3)


def test_the_picture_and_the_page_say_what_was_counted(tmp_path: Path) -> None:
    from auricle.report.agreement import write_agreement

    found = agreement(
        votes([(0, "1", [1, 0, 0, 1, 0]), (0, "2", [0, 0, 0, 0, 0]), (0, "0", [1, 0, 0, 1, 0])])
    )
    write_agreement(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    write_agreement(found, tmp_path / "a.html", "Dogs & engines")
    text = (tmp_path / "a.html").read_text()
    assert "Dogs &amp; engines" in text and "1-1_small" in text and "data:image/png" in text
    assert "http" not in text.replace("http-equiv", "")
    with pytest.raises(ValueError, match=r"expected a name that ends in \.html"):
        write_agreement(found, tmp_path / "a.txt")
