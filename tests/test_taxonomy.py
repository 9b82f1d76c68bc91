"""Two-level taxonomies: as YAML, as names of columns, as JSON; and what is wrong with one."""

from pathlib import Path

import pytest

from auricle.datasets.taxonomy import (
    Taxonomy,
    class_name,
    read_taxonomy,
    taxonomy_of,
    taxonomy_of_table,
    write_taxonomy,
)

FARM = Taxonomy(
    ("animals_farm-animals", "2_tools"),
    (
        ("animals-dog_dog", "animals-cow_cow", "animals-X_some-animal"),
        ("2-01_saw", "2-1_saw-too"),
    ),
)


def written(folder: Path, text: str) -> Path:
    path = folder / "taxonomy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_published_taxonomy_has_its_numbers(shared_data: Path) -> None:
    tree = read_taxonomy(shared_data / "sonyc_ust" / "dcase-ust-taxonomy.yaml")
    assert (len(tree.labels), len(tree.fine_labels), len(tree.complete_labels), len(tree.coarse)) == (
        37,
        29,
        23,
        8,
    )
    assert tree.labels[0] == "1-1_small-sounding-engine" and tree.labels[-1] == "8_dog"
    assert tree.unknown_of("1_engine") == "1-X_engine-of-uncertain-size"
    assert tree.unknown_of("3_non-machinery-impact") is None
    assert taxonomy_of_table(shared_data / "sonyc_ust" / "annotations-dev.csv") == tree


def test_the_labels_stand_fine_before_coarse_and_know_their_parents() -> None:
    assert FARM.labels == (*FARM.fine[0], *FARM.fine[1], *FARM.coarse)
    assert FARM.complete_labels == ("animals-dog_dog", "animals-cow_cow", "2-01_saw", "2-1_saw-too")
    assert FARM.parents["animals-X_some-animal"] == ["animals_farm-animals"]
    assert FARM.parents["2_tools"] == []
    assert list(FARM.parents) == list(FARM.labels)
    assert class_name("animals_farm-animals") == "farm-animals"


def test_yaml_json_and_names_of_columns_give_the_same_back(tmp_path: Path) -> None:
    write_taxonomy(FARM, tmp_path / "t.yaml")
    assert read_taxonomy(tmp_path / "t.yaml") == FARM
    assert Taxonomy.from_dict(FARM.as_dict()) == FARM
    mixed = [FARM.labels[index] for index in (6, 2, 0, 5, 3, 1, 4)]
    assert taxonomy_of(mixed).fine[1] == ("animals-dog_dog", "animals-cow_cow", "animals-X_some-animal")


def test_words_that_yaml_takes_for_something_else_stay_as_they_are(tmp_path: Path) -> None:
    path = written(tmp_path, "fine: {1: {X: unclear, 01: no, 1e3: 12:30}}\ncoarse: {1: yes}\n")
    assert read_taxonomy(path).labels == ("1-01_no", "1-1e3_12:30", "1-X_unclear", "1_yes")
    write_taxonomy(read_taxonomy(path), path)
    assert read_taxonomy(path).labels == ("1-01_no", "1-1e3_12:30", "1-X_unclear", "1_yes")


def test_spaces_in_names_are_hyphens(tmp_path: Path) -> None:
    path = written(tmp_path, "fine: {1: {1: small  engine}}\ncoarse: {1: it's an engine}\n")
    assert read_taxonomy(path).labels == ("1-1_small-engine", "1_it's-an-engine")
    write_taxonomy(read_taxonomy(path), path)
    assert read_taxonomy(path).labels == ("1-1_small-engine", "1_it's-an-engine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected `coarse:`"),
        ("fine: {1: {1: a}}", "expected `coarse:`"),
        ("fine: [a]\ncoarse: {1: b}", "expected `coarse:`"),
        ("a: [", "not YAML"),
        ("fine: {1: {1: a}}\ncoarse: {1: b, 2: c}", "coarse class '2_c' has no fine class"),
        (
            "fine: {1: {1: a}, 3: {1: c}}\ncoarse: {1: b}",
            "fine classes of '3', which `coarse:` does not have",
        ),
        ("fine: {1: a}\ncoarse: {1: b}", "the fine classes of '1': expected ID: NAME"),
        ("fine: {1: {}}\ncoarse: {1: b}", "coarse class '1_b' has no fine class"),
        ("fine: {1: {1: }}\ncoarse: {1: b}", "expected the name of a class"),
        ("fine: {1: {1: a, 1: c}}\ncoarse: {1: b}", "the key '1' comes twice"),
        ("fine: {1: {1-2: a}}\ncoarse: {1: b}", "id '1-2': expected letters and digits"),
        ("fine: {1: {a_b: a}}\ncoarse: {1: b}", "id 'a_b': expected letters and digits"),
        ("fine: {1: {X: a}}\ncoarse: {1: b}", "must be the last of several"),
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match="taxonomy.yaml") as raised:
        read_taxonomy(path)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        read_taxonomy(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="is a folder"):
        read_taxonomy(tmp_path)
    (tmp_path / "t.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not YAML"):
        read_taxonomy(tmp_path / "t.yaml")


def test_names_that_spell_no_taxonomy_are_named() -> None:
    for labels, message in (
        (["dog"], "label 'dog' is of no two-level taxonomy"),
        (["1-1_small"], "fine class '1-1_small' has no coarse class"),
        (["1_engine"], "coarse class '1_engine' has no fine class"),
        (["1_engine", "1-1_a", "1-1_b"], "id '1-1' comes twice"),
    ):
        with pytest.raises(ValueError, match=message):
            taxonomy_of(labels)
    with pytest.raises(ValueError, match="no coarse class '9_bat'"):
        FARM.unknown_of("9_bat")
    with pytest.raises(ValueError, match="expected the keys coarse and fine"):
        Taxonomy.from_dict({"coarse": []})
    with pytest.raises(ValueError, match="'2-1_a' of '1_b': expected 1-ID_NAME"):
        Taxonomy(("1_b",), (("2-1_a",),))
    with pytest.raises(ValueError, match="2 coarse and 1 lists"):
        Taxonomy(("1_b", "2_c"), (("1-1_a",),))
