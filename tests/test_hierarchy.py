"""Labels above labels: every ancestor, whatever the way up, and scores that do not contradict each other."""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from auricle.datasets import ontology
from auricle.evaluation.levels import level_figures
from auricle.hierarchy import (
    among,
    ancestors,
    children_of,
    coarse_from_fine,
    complete_labels,
    complete_targets,
    consistent,
    depths,
    in_order,
    levels,
    parents_of,
)
from auricle.metrics.ranking import per_class, summarise

#        sound   thing
#        /   \   /
#   animal   engine      rain
#      |  \   /   |
#     pet  hum   truck
#      |   /
#      dog            (dog is also right below animal)
SMALL = {
    "dog": ["pet", "hum", "animal"],
    "truck": ["engine"],
    "hum": ["animal", "engine"],
    "pet": ["animal"],
    "engine": ["sound", "thing"],
    "animal": ["sound"],
    "rain": [],
}


def slow_ancestors(parents: dict[str, list[str]], name: str) -> set[str]:
    found: set[str] = set()
    for parent in parents.get(name, []):
        found |= {parent} | slow_ancestors(parents, parent)
    return found


def all_ways(parents: dict[str, list[str]], name: str) -> list[int]:
    above = parents.get(name, [])
    return [1 + way for parent in above for way in all_ways(parents, parent)] or [0]


def slow_consistent(
    scores: np.ndarray, labels: list[str], parents: dict[str, list[str]], rule: str
) -> np.ndarray:
    """By pairs of label and ancestor, over and over until nothing changes."""
    out = scores.copy()
    while True:
        before = out.copy()
        for (a, high), (b, low) in itertools.product(enumerate(labels), repeat=2):
            if rule == "raise" and high in slow_ancestors(parents, low):
                out[:, a] = np.maximum(out[:, a], out[:, b])
        if rule == "lower":
            near = {low: slow_nearest(parents, low, set(labels)) for low in labels}
            for b, low in enumerate(labels):
                if near[low]:
                    tops = np.max([out[:, labels.index(high)] for high in near[low]], axis=0)
                    out[:, b] = np.minimum(out[:, b], tops)
        if (out == before).all():
            return out


def slow_nearest(parents: dict[str, list[str]], name: str, kept: set[str]) -> set[str]:
    found: set[str] = set()
    for parent in parents.get(name, []):
        found |= {parent} if parent in kept else slow_nearest(parents, parent, kept)
    return found


def random_hierarchy(seed: int, size: int = 40) -> dict[str, list[str]]:
    """Names in any order, up to three parents each, up to a dozen levels: like AudioSet's, but denser."""
    rng = np.random.default_rng(seed)
    names = [f"n{place}" for place in range(size)]
    found = {
        name: [names[up] for up in sorted(set(rng.integers(max(0, place - 8), place, rng.integers(0, 4))))]
        if place
        else []
        for place, name in enumerate(names)
    }
    return {names[place]: found[names[place]] for place in rng.permutation(size)}


def test_ancestors_by_every_way_up() -> None:
    assert set(ancestors(SMALL)["dog"]) == {"pet", "hum", "animal", "engine", "sound", "thing"}
    assert ancestors(SMALL)["rain"] == ancestors(SMALL)["thing"] == ()
    for seed in range(10):
        parents = random_hierarchy(seed)
        found = ancestors(parents)
        for name in parents:
            assert set(found[name]) == slow_ancestors(parents, name)
            assert len(set(found[name])) == len(found[name])


def test_parents_come_before_children_and_nothing_is_left_out() -> None:
    for parents in (SMALL, *map(random_hierarchy, range(10))):
        order = in_order(parents)
        assert set(order) == set(parents).union(*parents.values()) and len(set(order)) == len(order)
        assert all(order.index(up) < order.index(name) for name, above in parents.items() for up in above)


def test_depth_by_the_shortest_and_the_longest_way() -> None:
    assert depths(SMALL) == {"sound": 0, "thing": 0, "rain": 0} | {"animal": 1, "engine": 1} | {
        "pet": 2,
        "hum": 2,
        "truck": 2,
        "dog": 2,
    }
    assert depths(SMALL, "longest")["dog"] == 3
    for seed in range(5):
        parents = random_hierarchy(seed, 20)
        for name in parents:
            ways = all_ways(parents, name)
            assert (depths(parents)[name], depths(parents, "longest")[name]) == (min(ways), max(ways))
    with pytest.raises(ValueError, match="path is 'mean'; expected one of shortest, longest"):
        depths(SMALL, "mean")


def test_levels_list_labels_from_the_top_down() -> None:
    assert levels(SMALL, ["dog", "rain", "truck", "unheard of"]) == [
        ["rain", "unheard of"],
        [],
        ["dog", "truck"],
    ]
    assert levels(SMALL, ["dog"], "longest") == [[], [], [], ["dog"]]
    assert levels({}, []) == []
    assert sorted(itertools.chain(*levels(SMALL))) == sorted(in_order(SMALL))


def test_children_are_parents_the_other_way_round() -> None:
    found = children_of(SMALL)
    assert found["animal"] == ["dog", "hum", "pet"] and found["rain"] == [] and found["thing"] == ["engine"]


def test_a_circle_is_named() -> None:
    with pytest.raises(ValueError, match="label 'a' is its own ancestor: a < b < c < a"):
        in_order({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]})
    with pytest.raises(ValueError, match="label 'a' is its own ancestor: a < a"):
        parents_of(["a"], [["a"]])
    with pytest.raises(ValueError, match="2 labels, but parents of 1"):
        parents_of(["a", "b"], [[]])


def test_a_chain_of_thousands_is_no_deeper_than_the_stack() -> None:
    names = [f"n{place}" for place in range(5000)]
    parents = {low: [high] for low, high in itertools.pairwise(names)}
    assert depths(parents)["n0"] == 4999
    assert len(levels(parents)) == 5000


def test_what_is_no_label_is_stepped_over() -> None:
    assert among(SMALL, ["dog", "sound", "engine"]) == {
        "dog": ["sound", "engine"],
        "sound": [],
        "engine": ["sound"],
    }
    for seed in range(10):
        parents = random_hierarchy(seed)
        kept = sorted(parents)[::3]
        found = among(parents, kept)
        assert {name: set(above) for name, above in found.items()} == {
            name: slow_nearest(parents, name, set(kept)) for name in kept
        }


@pytest.mark.parametrize("rule", ["raise", "lower"])
def test_consistent_scores_equal_a_slow_search(rule: str) -> None:
    for seed in range(6):
        parents = random_hierarchy(seed, 25)
        rng = np.random.default_rng(seed)
        labels = [str(name) for name in rng.permutation(sorted(parents))[: 25 if seed % 2 else 15]]
        scores = rng.uniform(size=(7, len(labels))).astype(np.float32).round(1)  # with ties
        found = consistent(scores, labels, parents, rule)
        np.testing.assert_array_equal(found, slow_consistent(scores, labels, parents, rule))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(consistent(found, labels, parents, rule), found)
        assert ((found >= scores) if rule == "raise" else (found <= scores)).all()
        for b, low in enumerate(labels):
            for high in slow_ancestors(parents, low) & set(labels) if rule == "raise" else ():
                assert (found[:, labels.index(high)] >= found[:, b]).all()


def test_blocks_of_clips_do_not_show() -> None:
    parents = random_hierarchy(1)
    labels = list(parents)
    scores = np.random.default_rng(0).uniform(size=(5000, len(labels)))
    for rule in ("raise", "lower"):
        rows = [consistent(scores[k : k + 1], labels, parents, rule)[0] for k in (0, 2047, 2048, 4999)]
        np.testing.assert_array_equal(consistent(scores, labels, parents, rule)[[0, 2047, 2048, 4999]], rows)
    assert consistent(scores[:0], labels, parents).shape == (0, len(labels))


def test_scores_that_do_not_fit_the_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected an array \(clips, 2 labels\), got \(3, 1\)"):
        consistent(np.zeros((3, 1)), ["a", "b"], {})
    with pytest.raises(ValueError, match="label 'a' stands there twice"):
        consistent(np.zeros((3, 3)), ["b", "a", "a"], {})
    with pytest.raises(ValueError, match="rule is 'mean'; expected one of raise, lower"):
        consistent(np.zeros((3, 1)), ["a"], {}, "mean")


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int8, np.float32])
def test_targets_are_completed_upwards(kind: type) -> None:
    labels = list(SMALL)
    targets = np.eye(len(labels)).astype(kind)
    found = complete_targets(targets, labels, SMALL)
    assert found.dtype == kind
    for row, label in zip(found, labels, strict=True):
        names = {name for name, value in zip(labels, row, strict=True) if value}
        assert names == ({label} | slow_ancestors(SMALL, label)) & set(labels)
        assert complete_labels([label], labels, SMALL) == [name for name in labels if name in names]
    assert complete_targets(np.array([[0.25, 0.0]]), ["pet", "animal"], SMALL).tolist() == [[0.25, 0.25]]


def test_coarse_is_the_maximum_of_all_below() -> None:
    fine, coarse = ["truck", "pet", "dog", "rain"], ["sound", "thing", "animal", "rain"]
    scores = np.random.default_rng(2).normal(size=(50, 4))
    found = coarse_from_fine(scores, fine, coarse, SMALL)
    for column, label in enumerate(coarse):
        below = [k for k, name in enumerate(fine) if label == name or label in slow_ancestors(SMALL, name)]
        np.testing.assert_array_equal(found[:, column], scores[:, below].max(axis=1))
    with pytest.raises(ValueError, match="label 'thing': none of the 2 labels to infer it from is below it"):
        coarse_from_fine(scores[:, :2], ["pet", "rain"], coarse, SMALL)


def test_a_hundred_thousand_clips_of_632_labels_are_quick() -> None:
    parents = {f"n{k}": sorted({f"n{k // 4}", f"n{k // 9}"}) if k else [] for k in range(632)}
    scores = np.random.default_rng(0).random((20_000, 632), np.float32)
    best = min(_seconds(scores, list(parents), parents) for _ in range(3))
    assert best < 5, f"{best:.1f} s for a fifth of them"


def _seconds(scores: np.ndarray, labels: list[str], parents: dict[str, list[str]]) -> float:
    began = time.perf_counter()
    consistent(scores, labels, parents)
    return time.perf_counter() - began


def test_figures_of_each_level_are_means_over_its_classes() -> None:
    rng = np.random.default_rng(0)
    targets = rng.uniform(size=(60, 7)) < 0.3
    targets[:, 2] = False
    scores = rng.uniform(size=(60, 7)) + 0.3 * targets
    labels = ["dog", "truck", "hum", "pet", "engine", "animal", "rain"]
    figures = level_figures(labels, per_class(targets, scores), SMALL)["levels"]
    assert [(row["level"], row["classes"]) for row in figures] == [(0, 1), (1, 2), (2, 4)]
    for row, columns in zip(figures, ([6], [4, 5], [0, 1, 2, 3]), strict=True):
        expected = summarise(targets[:, columns], scores[:, columns])
        for name in ("map", "auc", "d_prime"):
            np.testing.assert_allclose(row[name], expected[name], rtol=1e-12)
    assert level_figures(labels, per_class(targets, scores), {}) == {}


def test_the_example_of_the_page_runs_and_gives_what_it_says() -> None:
    page = (Path(__file__).parents[1] / "docs" / "urban.md").read_text()
    (block,) = (part for part in page.split("```python")[1:] if "from auricle.hierarchy" in part)
    names: dict[str, object] = {}
    checked = 0
    for line in block.split("```")[0].splitlines():
        code, _, said = line.partition("  # ")
        if said.startswith(("(", "[")) and "(" in code and "=" not in code.split("(")[0]:
            value = eval(code, names)
            value = value.tolist() if isinstance(value, np.ndarray) else value
            assert value == eval(said), line
            checked += 1
        else:
            exec(code, names)
    assert checked == 3
    raised, lowered = (
        consistent(names["scores"], names["labels"], names["parents"], rule)  # type: ignore[arg-type]
        for rule in ("raise", "lower")
    )
    assert raised.tolist() == [[0.7, 0.2, 0.1, 0.7, 0.3]] and lowered.tolist() == [[0.4, 0.2, 0.1, 0.4, 0.3]]


def test_audiosets_own_ontology(shared_data: Path) -> None:
    folder = shared_data / "audioset"
    parents = ontology.parents(folder / "ontology.json")
    labels = list(ontology.read_classes(folder / "class_labels_indices.csv").values())
    assert len(parents) == 632 and sum(len(above) > 1 for above in parents.values()) == 38
    top = levels(parents)
    assert len(top[0]) == 7 and sum(map(len, top)) == 632
    assert set(ancestors(parents)["Bark"]) >= {"Dog", "Domestic animals, pets", "Animal"}
    for name in parents:
        assert set(ancestors(parents)[name]) == slow_ancestors(parents, name)
    scores = np.random.default_rng(0).random((50, len(labels)), np.float32)
    raised = consistent(scores, labels, parents)
    for b, low in enumerate(labels):
        for high in slow_ancestors(parents, low) & set(labels):
            assert (raised[:, labels.index(high)] >= raised[:, b]).all(), (high, low)
    np.testing.assert_array_equal(
        raised,
        np.stack(
            [
                scores[
                    :, [k for k, low in enumerate(labels) if high in {low, *slow_ancestors(parents, low)}]
                ].max(1)
                for high in labels
            ],
            axis=1,
        ),
    )
