"""Simulated annotators keep their stated rates; the stand-in corpus goes the same way as real annotations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from test_scenes import corpus, make_pack

from auricle.datasets.annotations import choose_labels, read_annotations
from auricle.datasets.annotators import AnnotatorRecipe, Sounds, annotators_with, simulate
from auricle.datasets.scene_recipe import SceneRecipe, SceneSplit
from auricle.datasets.taxonomy import Taxonomy, read_taxonomy
from auricle.engine.urban_scenes import esc50_taxonomy, fine_columns, make_urban_scenes, recipes_with
from auricle.shards import Pack

TREE = Taxonomy(
    ("1_machine", "2_weather", "3_dog", "4_bird"),
    (
        ("1-1_bell", "1-2_car", "1-X_some-machine"),
        ("2-1_rain", "2-2_wind", "2-X_some-weather"),
        ("3-1_dog",),
        ("4-1_bird",),
    ),
)
NAMES = list(TREE.labels)
SURE = AnnotatorRecipe(miss=(0, 0), confuse=(0, 0), unsure=(0, 0), fade=1.0)
MANY = 20_000


def alone(label: str, below_db: float = 0.0, clips: int = MANY) -> Sounds:
    """One sound in each clip."""
    return Sounds(
        clip=np.arange(clips),
        label=np.full(clips, NAMES.index(label)),
        below_db=np.full(clips, below_db),
    )


def heard(recipe: AnnotatorRecipe, label: str, below_db: float = 0.0) -> dict[str, float]:
    """How often each fine label is named where one sound is, a share of all votes on its clips."""
    clips = [f"c{index}" for index in range(MANY)]
    found = simulate(TREE, clips, ["train"] * MANY, ["s"] * MANY, alone(label, below_db), recipe)
    assert len(found.votes) == MANY * recipe.each
    fine = len(TREE.fine_labels)
    for row, coarse in enumerate(TREE.coarse):
        inside = [NAMES.index(name) for name in TREE.fine[row]]
        np.testing.assert_array_equal(
            found.votes[:, fine + row], found.votes[:, inside].max(axis=1), err_msg=coarse
        )
    return dict(zip(TREE.fine_labels, found.votes[:, :fine].mean(axis=0).tolist(), strict=True))


def test_without_errors_everyone_says_what_is_there() -> None:
    assert heard(SURE, "1-2_car") == {name: float(name == "1-2_car") for name in TREE.fine_labels}


def test_sounds_are_missed_at_the_stated_rate_and_quiet_ones_more_often() -> None:
    recipe = replace(SURE, miss=(0.2, 0.2), fade=3.0)
    for below, odds in ((0.0, 0.25), (10.0, 0.75), (20.0, 2.25)):
        share = heard(recipe, "3-1_dog", below)["3-1_dog"]
        assert share == pytest.approx(1 - odds / (1 + odds), abs=0.01)


def test_a_sound_is_taken_for_a_sibling_or_for_another_coarse_class_at_the_stated_rates() -> None:
    shares = heard(replace(SURE, confuse=(0.3, 0.3), elsewhere=(0.4, 0.4)), "1-1_bell")
    assert shares["1-1_bell"] == pytest.approx(0.7, abs=0.01)
    assert shares["1-2_car"] == pytest.approx(0.3 * 0.6, abs=0.01)
    others = ("2-1_rain", "2-2_wind", "3-1_dog", "4-1_bird")
    for name in others:
        assert shares[name] == pytest.approx(0.3 * 0.4 / len(others), abs=0.01)
    assert shares["1-X_some-machine"] == shares["2-X_some-weather"] == 0.0


def test_a_class_without_siblings_is_always_taken_for_another_coarse_one() -> None:
    shares = heard(replace(SURE, confuse=(0.3, 0.3), elsewhere=(0.0, 0.0)), "3-1_dog")
    assert shares["3-1_dog"] == pytest.approx(0.7, abs=0.01)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_unknown_is_said_at_the_stated_rate_where_the_class_has_it() -> None:
    recipe = replace(SURE, unsure=(0.2, 0.2))
    assert heard(recipe, "2-1_rain")["2-X_some-weather"] == pytest.approx(0.2, abs=0.01)
    assert heard(recipe, "3-1_dog")["3-1_dog"] == 1.0


def test_annotators_differ_within_the_stated_range() -> None:
    clips = [f"c{index}" for index in range(MANY)]
    recipe = replace(SURE, miss=(0.1, 0.5), annotators=20)
    found = simulate(TREE, clips, ["train"] * MANY, ["s"] * MANY, alone("3-1_dog"), recipe)
    missed = [1 - found.votes[found.annotator == who, NAMES.index("3-1_dog")].mean() for who in range(1, 21)]
    assert 0.08 < min(missed) < 0.2 and 0.4 < max(missed) < 0.52
    counts = np.bincount(found.annotator, minlength=21)
    assert counts[0] == 0 and counts[1:].min() > 0.9 * MANY * 3 / 20
    pairs = np.stack([found.clip, found.annotator], axis=1)
    assert len(np.unique(pairs, axis=0)) == len(pairs)  # nobody annotates a clip twice


def test_the_verified_truth_knows_all_but_what_nobody_could_tell() -> None:
    sounds = Sounds(
        clip=np.array([0, 0, 0, 1]),
        label=np.array([NAMES.index(name) for name in ("1-2_car", "2-1_rain", "3-1_dog", "4-1_bird")]),
        below_db=np.array([0.0, 17.5, 40.0, 0.0]),
    )
    found = simulate(TREE, ["a", "b"], ["test", "train"], ["s", "t"], sounds, AnnotatorRecipe(), ["test"])
    truth = found.votes[found.verified_rows()]
    assert found.clip[found.verified_rows()].tolist() == [0]
    assert {NAMES[column] for column in np.flatnonzero(truth[0])} == {
        *("1-2_car", "2-X_some-weather", "3-1_dog", "1_machine", "2_weather", "3_dog")
    }
    with pytest.raises(ValueError, match="split 'dev' is to be verified, but has no clips"):
        simulate(TREE, ["a", "b"], ["test", "train"], ["s", "t"], sounds, SURE, ["dev"])


def test_a_split_does_not_change_with_the_others() -> None:
    both = simulate(
        TREE, ["a", "b"], ["x", "y"], ["", ""],
        Sounds(clip=np.array([0, 1]), label=np.array([0, 0]), below_db=np.zeros(2)), AnnotatorRecipe(seed=3),
    )  # fmt: skip
    one = simulate(
        TREE, ["b"], ["y"], [""],
        Sounds(clip=np.array([0]), label=np.array([0]), below_db=np.zeros(1)), AnnotatorRecipe(seed=3),
    )  # fmt: skip
    np.testing.assert_array_equal(both.votes[3:], one.votes)
    np.testing.assert_array_equal(both.annotator[3:], one.annotator)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"miss": "0.5-0.1"}, "miss: expected a range within 0 to 1, got 0.5 to 0.1"),
        ({"miss": "few"}, "miss: expected a range, say 0.1-0.3, got 'few'"),
        ({"confuse": "0.7", "unsure": "0.4"}, "must not sum to more than 1"),
        ({"each": "61"}, "each: expected 1 to 60"),
        ({"each": "2.5"}, "each: expected a number, got '2.5'"),
        ({"fade": "0.5"}, "fade: expected 1"),
        ({"unclear_db": "-1"}, "unclear_db: expected 0 or more"),
        ({"loudness": "3"}, "no setting 'loudness'"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match="annotators: ") as raised:
        annotators_with(AnnotatorRecipe(), settings)
    assert message in str(raised.value)


def test_one_seed_draws_all_so_it_is_no_setting() -> None:
    scenes, people = recipes_with({"events": "2"}, seed=4)
    assert (scenes.seed, people.seed) == (4, 4)
    with pytest.raises(ValueError, match="seed is that of scenes and annotators; give it as --seed 3"):
        recipes_with({"seed": "3"}, 4)
    with pytest.raises(ValueError, match="no setting 'seeds'") as said:
        recipes_with({"seeds": "3"})
    assert " seed" not in str(said.value)


def test_two_fine_classes_of_one_name_are_named_not_merged() -> None:
    tree = Taxonomy(("1_pet", "2_wild"), (("1-1_dog", "1-2_cat"), ("2-1_dog", "2-2_wolf")))
    with pytest.raises(ValueError, match="label 'dog' may be either of 1-1_dog and 2-1_dog"):
        fine_columns(tree, ["cat", "dog"])
    assert fine_columns(tree, ["cat", "wolf"]) == {"cat": 1, "wolf": 3}


def test_esc50s_taxonomy_has_eight_coarse_classes_two_with_a_single_child() -> None:
    tree = esc50_taxonomy()
    assert len(tree.coarse) == 8 and len(tree.complete_labels) == 50
    single = [coarse for coarse, fine in zip(tree.coarse, tree.fine, strict=True) if len(fine) == 1]
    assert single == ["3_thunder", "8_dog"]
    assert [tree.unknown_of(coarse) is None for coarse in tree.coarse] == [
        coarse in single for coarse in tree.coarse
    ]


def test_esc50s_taxonomy_has_the_classes_of_esc50(shared_data: Path) -> None:
    from auricle.datasets import esc50

    labels = sorted({clip.labels[0] for clip in esc50(shared_data / "esc50" / "meta.csv")})
    columns = fine_columns(esc50_taxonomy(), labels)
    assert len(set(columns.values())) == len(labels) == 50


SPLITS = [
    SceneSplit(name="train", sources=("fold1", "fold2"), scenes=40),
    SceneSplit(name="test", sources=("fold3",), scenes=20),
]
SCENES = SceneRecipe(seed=3, seconds=3.0, longest=1.5, shortest=0.5, least=2, orders=1.0, events=2.0)


@pytest.fixture(scope="module")
def singles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("singles") / "pack", corpus())


@pytest.fixture(scope="module")
def made(singles: Path) -> Path:
    out = singles.parent / "urban"
    report = make_urban_scenes(
        singles, out, SPLITS, taxonomy=TREE, scenes=SCENES, verified=("test",), jobs=1, quiet=True
    )
    assert report["clips"] == 60
    return out


def test_the_corpus_has_what_annotated_corpora_have(made: Path) -> None:
    pack = Pack(made)
    assert pack.verify() == []
    assert pack.label_sets == [
        *("agreement25", "agreement50", "agreement75", "events", "labels", "soft", "verified")
    ]
    tree = read_taxonomy(made / "taxonomy.yaml")
    assert tree == TREE
    for name in pack.label_sets:
        assert pack.taxonomy(name) == (None if name == "labels" else TREE.as_dict())
    annotations = read_annotations(made / "annotations.csv", tree)
    assert list(annotations.clips) == pack.ids.tolist()
    assert list(annotations.splits) == pack.splits.tolist()
    assert list(annotations.sensors) == pack.groups.tolist()
    assert annotations.notes == {"rows": 60 * 3 + 20}  # and no coarse vote against its fine ones


def test_exact_labels_are_what_the_plan_of_the_scenes_says(made: Path) -> None:
    pack = Pack(made)
    rows = pq.read_table(made / "events.parquet").to_pylist()
    names = pack.label_names("events")
    exact = pack.targets(np.arange(len(pack)), "events")
    for index, clip in enumerate(pack.ids.tolist()):
        sounding = {row["label"] for row in rows if row["id"] == clip and row["label"]}
        expected = {name for name in names[:8] if name.partition("_")[2] in sounding}
        expected |= {TREE.parents[name][0] for name in expected}
        assert {names[column] for column in np.flatnonzero(exact[index])} == expected


def test_label_sets_are_those_chosen_from_the_file(made: Path) -> None:
    pack = Pack(made)
    annotations = read_annotations(made / "annotations.csv", TREE)
    everything = np.arange(len(pack))
    for name, share in (("agreement25", 0.25), ("agreement75", 0.75)):
        chosen = choose_labels(annotations, share)
        np.testing.assert_array_equal(pack.targets(everything, name) == 1, chosen.positive)
        np.testing.assert_array_equal(pack.unknown(everything, name), chosen.unknown)
    soft = choose_labels(annotations, "soft")
    assert soft.share is not None
    np.testing.assert_array_equal(pack.targets(everything, "soft", soft=True), soft.share)
    train, test = pack.select(["train"]), pack.select(["test"])
    assert pack.unknown(train, "verified").all() and not pack.targets(train, "verified").any()
    np.testing.assert_array_equal(pack.targets(test, "verified"), pack.targets(test, "agreement50"))


def test_louder_sounds_are_heard_by_more(made: Path) -> None:
    from auricle.engine.urban_scenes import read_sounds

    pack = Pack(made)
    place = fine_columns(TREE, ["bell", "bird", "car", "dog", "rain", "wind"])
    sounds = read_sounds(made / "events.parquet", pack.ids.tolist(), place)
    assert (sounds.below_db >= 0).all() and (np.bincount(sounds.clip[sounds.below_db == 0]) <= 1).all()
    found = simulate(
        TREE, pack.ids.tolist(), pack.splits.tolist(), pack.groups.tolist(), sounds,
        replace(SURE, miss=(0.3, 0.3), fade=20.0),
    )  # fmt: skip
    counts = np.zeros((len(pack), len(NAMES)))
    np.add.at(counts, found.clip, found.votes)
    shares = counts[sounds.clip, sounds.label] / 3
    loud = sounds.below_db < 3
    assert shares[loud].mean() > shares[~loud].mean() + 0.2


def test_the_same_call_gives_the_same_files(singles: Path, made: Path) -> None:
    before = {path.name: path.read_bytes() for path in made.glob("*.[cy][sa][vm]*")}
    assert set(before) == {"annotations.csv", "taxonomy.yaml"}
    make_urban_scenes(
        singles, made, SPLITS, taxonomy=TREE, scenes=SCENES, verified=("test",), jobs=1, quiet=True
    )
    assert {path.name: path.read_bytes() for path in made.glob("*.[cy][sa][vm]*")} == before
    assert Pack(made).verify() == []


def test_a_taxonomy_of_other_labels_and_a_split_that_is_not_made_are_named(
    singles: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="3 of 6 labels are none of its fine classes: bell, bird, car"):
        make_urban_scenes(singles, tmp_path / "out", SPLITS, scenes=SCENES, jobs=1, quiet=True)
    with pytest.raises(ValueError, match="split 'validate' is to be verified, but is not made"):
        make_urban_scenes(singles, tmp_path / "out", SPLITS, taxonomy=TREE, jobs=1, quiet=True)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="urban scenes: no setting 'misses'"):
        recipes_with({"misses": "1"})
