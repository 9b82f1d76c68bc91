"""Calibrations are the best of their kind, thresholds do what they say, and every verb obeys them."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_model
from running import run
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from auricle.artifact import load_artifact, save_artifact
from auricle.calibration import METHODS, Goal, calibrate, count_runs, fit_thresholds
from auricle.calibration.fitting import fit_affine, fit_isotonic, rising_steps
from auricle.calibration.stages import Examples, clip_scores, figures_of, fit_stages, held_out_scores
from auricle.calibration.thresholds import NEVER, Ranked, choose, measured, uncertainty
from auricle.engine import pack as pack_corpus
from auricle.evaluation import evaluate, score_clips
from auricle.evaluation.reliability import reliability_figures
from auricle.family import save_family
from auricle.probabilities import as_function, chosen_thresholds, pooled, to_scores
from auricle.runners import load_runner
from auricle.runners.windows import PooledScores, logit, sigmoid
from auricle.shards import Pack
from auricle.tagging import Tagger

AFFINE = {"kind": "affine", "scale": [1.0] * 3, "offset": [0.0] * 3}


# --- what a calibration does to logits


def slow_map(z: float, knots: dict[str, list[float]]) -> float:
    """Straight lines from knot to knot, the first and last of them without end."""
    x, y = knots["x"], knots["y"]
    place = next((j for j in range(1, len(x) - 1) if z < x[j]), len(x) - 1)
    share = (z - x[place - 1]) / (x[place] - x[place - 1])
    return y[place - 1] + share * (y[place] - y[place - 1])


def test_rising_maps_are_straight_from_knot_to_knot_and_go_on_beyond() -> None:
    rng = np.random.default_rng(0)
    labels = [
        {name: np.sort(rng.normal(0, 3, count)).tolist() for name in ("x", "y")} for count in (2, 3, 7, 4)
    ]
    logits = rng.normal(0, 6, (50, 4))
    logits[0], logits[1] = [label["x"][-1] for label in labels], [label["x"][1] for label in labels]
    found = as_function({"kind": "isotonic", "labels": labels})(logits)
    expected = [[slow_map(z, knots) for z, knots in zip(row, labels, strict=True)] for row in logits.tolist()]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # As docs/calibration.md says it for graphs that know no search.
    for k, knots in enumerate(labels):
        x, y = np.array(knots["x"]), np.array(knots["y"])
        slopes = np.diff(y) / np.diff(x)
        bends = [
            (s - t) * np.maximum(0, logits[:, k] - at)
            for s, t, at in zip(slopes[1:], slopes, x[1:], strict=False)
        ]
        np.testing.assert_allclose(
            y[0] + slopes[0] * (logits[:, k] - x[0]) + sum(bends), found[:, k], atol=1e-8
        )


def test_without_calibration_scores_are_the_sigmoid_to_the_last_bit() -> None:
    logits = np.random.default_rng(0).normal(0, 9, (7, 3)).astype(np.float32)
    model = SimpleNamespace(calibration=None)
    np.testing.assert_array_equal(to_scores(model)(logits), sigmoid(logits))
    for pooling in ("mean", "max", "attention"):
        expected = PooledScores(3, pooling).add(logits).score()
        np.testing.assert_array_equal(pooled(model, logits, pooling), expected)


def test_a_clip_is_calibrated_after_the_mean_and_other_poolings_are_not() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (5, 2))
    clips = {"kind": "affine", "scale": [2.0, 0.5], "offset": [1.0, -1.0]}
    model = SimpleNamespace(
        calibration={"kind": "affine", "scale": [0.5, 3.0], "offset": [1.0, 2.0], "clips": clips}
    )
    scores = 1 / (1 + np.exp(-(logits * [0.5, 3.0] + [1.0, 2.0])))
    mean = scores.mean(axis=0)
    expected = 1 / (1 + np.exp(-(np.log(mean / (1 - mean)) * [2.0, 0.5] + [1.0, -1.0])))
    np.testing.assert_allclose(pooled(model, logits), expected, atol=1e-12)
    np.testing.assert_allclose(pooled(model, logits, "max"), scores.max(axis=0), atol=1e-12)


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ([], "'calibration': expected an object or null"),
        ({"kind": "beta"}, "'calibration.kind': expected affine or isotonic, got 'beta'"),
        (AFFINE | {"more": 1}, "'calibration': expected kind, offset, scale, got kind, more, offset, scale"),
        (AFFINE | {"scale": [1, 1]}, "'calibration.scale': expected 3 finite numbers above 0, got [1, 1]"),
        (AFFINE | {"scale": [1, 1, 0]}, "'calibration.scale': expected 3 finite numbers above 0"),
        (AFFINE | {"offset": [0, 0, "0"]}, "'calibration.offset': expected 3 finite numbers, got"),
        ({"kind": "isotonic", "labels": [{}]}, "'calibration.labels': expected 3 maps"),
        (
            {"kind": "isotonic", "labels": [{"x": [0, 1], "y": [1, 1]}] * 3},
            "'calibration.labels[0]': expected as many y as x, 2 or more, strictly rising, got [1, 1]",
        ),
        (AFFINE | {"clips": {"kind": "affine"}}, "'calibration.clips': expected kind, offset, scale"),
    ],
)
def test_a_wrong_calibration_is_refused_by_name(tmp_path: Path, calibration: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        tiny_model.save(tmp_path / "m", calibration=calibration)
    assert str(caught.value).startswith(f"field {message}"), str(caught.value)


def test_a_threshold_is_a_score(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"'thresholds\[1\]': expected a score from 0 to 1, or 2 for never, got 1.5"
    ):
        tiny_model.save(tmp_path / "m", thresholds=[0, 1.5, 1])
    with pytest.raises(ValueError, match="threshold is 2"):
        chosen_thresholds(SimpleNamespace(labels=["a"], thresholds=None), 2)


# --- fits


def test_affine_maps_are_the_most_likely_ones() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(-1, 4, (60, 5))
    true = rng.random(z.shape) < sigmoid(np.array([0.3, 1.0, 3.0, 0.5, -0.2]) * z + np.arange(5) - 2)
    weights = rng.integers(0, 3, z.shape) / 2
    for offset, strength in itertools.product((True, False), (1e-3, 8.0)):
        scale, shift = fit_affine(
            z, true, weights, offset=offset, around=(0.7, 0.2 * offset), strength=strength
        )
        for k in range(5):

            def loss(at: np.ndarray, k: int = k, offset: bool = offset, strength: float = strength) -> float:
                mapped = np.exp(at[0]) * z[:, k] + (at[1] if offset else 0.0)
                likely = np.where(true[:, k], -np.logaddexp(0, -mapped), -np.logaddexp(0, mapped))
                away = (at[0] - np.log(0.7)) ** 2 + (at[1] - 0.2 * offset) ** 2
                return float(-(weights[:, k] * likely).sum() + strength / 2 * away)

            best = minimize(loss, [0.0, 0.0], bounds=[(-5, 5), (-50, 50)], tol=1e-12)
            ours = loss(np.array([np.log(scale[k]), shift[k]]))
            assert ours <= best.fun + 1e-6, (k, offset, strength)


def test_examples_that_can_be_told_apart_have_a_finite_map() -> None:
    z = np.array([[-1.0], [-2.0], [1.0], [2.0]])
    scale, shift = fit_affine(z, z > 0, np.ones((4, 1)))
    assert np.isfinite([scale, shift]).all() and scale > 1
    backwards, _ = fit_affine(z, z < 0, np.ones((4, 1)))
    assert 0 < backwards < 0.1  # a map never falls


def test_rising_steps_equal_isotonic_regression_and_its_definition() -> None:
    rng = np.random.default_rng(0)
    for ties in (False, True):
        x = rng.integers(0, 9, 40).astype(float) if ties else rng.normal(0, 1, 40)
        true, weights = rng.random(40) < sigmoid(x), rng.integers(1, 4, 40).astype(float)
        at, value = rising_steps(x, true.astype(float), weights)
        assert (np.diff(at) > 0).all() and (np.diff(value) > 0).all()
        expected = IsotonicRegression().fit(x, true, weights).predict(np.sort(x))
        np.testing.assert_allclose(np.unique(expected.round(9)), value.round(9))
        values = np.unique(x)
        shares = [[weights[x == v] @ true[x == v], weights[x == v].sum()] for v in values]
        hits, sizes = np.array(shares).T
        for j in range(len(values)):  # the largest of the smallest means of the stretches that hold it
            slow = max(
                min(hits[i : k + 1].sum() / sizes[i : k + 1].sum() for k in range(j, len(values)))
                for i in range(j + 1)
            )
            assert abs(slow - value).min() < 1e-12


def test_a_rising_map_of_many_examples_finds_what_was_planted() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(0, 3, 20_000)
    curve = lambda z: sigmoid(np.where(z > 0, 2 * z, 0.3 * z) - 1)  # noqa: E731
    knots = fit_isotonic(z, rng.random(len(z)) < curve(z), np.ones(len(z)))
    at = np.linspace(-5, 3, 60)
    found = sigmoid(as_function({"kind": "isotonic", "labels": [knots]})(at[:, None]))[:, 0]
    assert np.abs(found - curve(at)).max() < 0.06


def planted(clips: int, labels: int, windows: int, seed: int = 0) -> tuple[Examples, np.ndarray]:
    """Clips whose windows' logits are three times too large and moved; and the labels' true logits."""
    rng = np.random.default_rng(seed)
    true_logits = rng.normal(-1.5, 1.5, (clips, labels))
    targets = rng.random((clips, labels)) < sigmoid(true_logits)
    logits = np.repeat(3 * true_logits + 2, windows, axis=0) + rng.normal(0, 0.3, (clips * windows, labels))
    examples = Examples(
        logits=logits.astype(np.float32),
        starts=np.arange(clips) * windows,
        targets=targets,
        known=np.ones(targets.shape, bool),
        groups=np.arange(clips) // 2,
    )
    return examples, true_logits


@pytest.mark.parametrize("method", ["affine", "isotonic"])
@pytest.mark.parametrize("windows", [1, 3])
def test_scores_become_the_probabilities_that_were_planted(method: str, windows: int) -> None:
    examples, true_logits = planted(3000, 4, windows)
    calibration, pooled_one, lent = fit_stages(examples, method, 5)
    assert not lent.any() and ("clips" in calibration) == ("clips" in pooled_one) == (windows > 1)
    scores = clip_scores(examples, calibration)
    assert np.abs(scores - sigmoid(true_logits)).mean() < 0.03
    held_out = figures_of(held_out_scores(examples, method, 5, 0), examples)
    before = figures_of(clip_scores(examples, None), examples)
    assert held_out["ece"] < 0.02 < 0.1 < before["ece"]
    assert held_out["log_loss"] < 0.75 * before["log_loss"]


def apart(clips: int, labels: int, windows: int) -> Examples:
    """Clips whose scores tell the labels apart without a mistake."""
    rng = np.random.default_rng(0)
    targets = rng.random((clips, labels)) < 0.3
    logits = np.where(targets, rng.normal(3, 0.7, targets.shape), rng.normal(-4, 0.7, targets.shape))
    return Examples(
        logits=np.repeat(logits, windows, axis=0).astype(np.float32),
        starts=np.arange(clips) * windows,
        targets=targets,
        known=np.ones(targets.shape, bool),
        groups=np.arange(clips),
    )


@pytest.mark.parametrize("method", ["affine", "temperature", "isotonic"])
@pytest.mark.parametrize("windows", [1, 3])
def test_scores_that_tell_all_apart_are_no_surer_than_their_number_allows(method: str, windows: int) -> None:
    examples = apart(40, 3, windows)
    calibration, one, _ = fit_stages(examples, method, 5)
    scores, true = clip_scores(examples, calibration), examples.targets
    positives = int(true.sum())
    for mean, rarest in (
        (scores[true].mean(), 1 / (positives + 2)),
        (1 - scores[~true].mean(), 1 / (true.size - positives + 2)),
    ):
        assert 0.3 * rarest < 1 - mean < 10 * rarest  # as one more example of each kind would have it
    for threshold, _ in (
        choose(ranked(scores, true, k), Goal(kind="precision", value=0.9)) for k in range(3)
    ):
        assert 0.01 < threshold < 0.99
    if method != "isotonic":
        assert max(calibration["scale"]) < 3 and one["scale"][0] < 3


def ranked(scores: np.ndarray, true: np.ndarray, k: int) -> Ranked:
    return Ranked.of(scores[:, k], true[:, k], np.arange(len(true)), np.ones(len(true)))


@pytest.mark.parametrize("method", ["affine", "temperature"])
def test_the_map_of_all_labels_is_the_most_likely_one_of_platts_targets(method: str) -> None:
    examples, _ = planted(60, 3, 1)
    found = fit_stages(examples, method, 5)[1]
    z, true = np.rint(examples.logits.astype(float) * 64) / 64, examples.targets
    high, low = (true.sum() + 1) / (true.sum() + 2), 1 / ((~true).sum() + 2)

    def loss(at: np.ndarray) -> float:
        mapped = np.exp(at[0]) * z + (at[1] if method == "affine" else 0.0)
        target = np.where(true, high, low)
        likely = -target * np.logaddexp(0, -mapped) - (1 - target) * np.logaddexp(0, mapped)
        return float(5e-4 * (at**2).sum() - likely.sum())

    best = minimize(loss, [0.0, 0.0], tol=1e-12)
    assert found["scale"][0] == pytest.approx(np.exp(best.x[0]), rel=1e-3)
    if method == "affine":
        assert found["offset"][0] == pytest.approx(best.x[1], abs=1e-3)


def test_temperature_alone_moves_no_score_over_a_half() -> None:
    examples, _ = planted(500, 2, 1)
    calibration, _, _ = fit_stages(examples, "temperature", 5)
    assert calibration["offset"] == [0.0, 0.0] and 0.2 < calibration["scale"][0] < 0.8


def test_a_label_of_few_examples_takes_the_map_of_all() -> None:
    examples, _ = planted(400, 3, 2)
    examples.targets[:, 1] = False
    examples.targets[:4, 1] = True
    for method, kept in (("affine", "scale"), ("isotonic", "labels")):
        calibration, one, lent = fit_stages(examples, method, 5)
        assert lent.tolist() == [False, True, False]
        for stage, alone in ((calibration, one), (calibration["clips"], one["clips"])):
            assert stage[kept][1] == alone[kept][0] and stage[kept][0] != alone[kept][0]


@pytest.mark.parametrize("method", METHODS)
def test_a_label_without_examples_keeps_its_scores_and_is_not_shown(method: str) -> None:
    """What fits labels that are in every third clip says nothing of one that was never heard."""
    examples, _ = planted(400, 3, 2)
    examples.targets[:, 1] = False
    calibration, _, lent = fit_stages(examples, method, 5)
    assert not lent.any()
    scores, plain = clip_scores(examples, calibration), clip_scores(examples, None)
    np.testing.assert_allclose(scores[:, 1], plain[:, 1], atol=1e-6)
    assert (np.abs(scores - plain).max(axis=0) > 0.01).tolist() == [True, False, True]
    names = ["a", "b", "c"]
    for kind, value, never in (("precision", 0.5, True), ("recall", 0.9, True), ("false_alarms", 9.0, False)):
        goal = Goal(kind=kind, value=value)
        found = fit_thresholds(examples, calibration, goal, np.ones(400), names, draws=0, quiet=True)
        assert (found["b"]["threshold"] == NEVER, found["b"]["pooled"]) == (never, False)
        if never:  # and it has no part in the threshold of all
            both = Examples(
                logits=examples.logits[:, ::2], starts=examples.starts, targets=examples.targets[:, ::2],
                known=examples.known[:, ::2], groups=examples.groups,
            )  # fmt: skip
            two = fit_stages(both, method, 5)[0]
            of_two = fit_thresholds(both, two, goal, np.ones(400), names[::2], draws=0, quiet=True)
            assert found[""] == pytest.approx(of_two[""], abs=1e-3) and found["a"]["threshold"] < NEVER
    examples.targets[:] = False
    assert (
        fit_thresholds(examples, None, goal, np.ones(400), names, draws=0, quiet=True)["a"]["positives"] == 0
    )
    for kind in ("precision", "recall"):
        goal = Goal(kind=kind, value=0.9)
        found = fit_thresholds(examples, None, goal, np.ones(400), names, draws=0, quiet=True)
        assert {row["threshold"] for name, row in found.items() if name} == {NEVER}


def test_what_is_not_known_is_no_example() -> None:
    examples, _ = planted(400, 2, 2)
    plain = fit_stages(examples, "affine", 5)[0]
    spoilt = Examples(
        logits=np.concatenate([examples.logits, np.full((2, 2), 9, np.float32)]),
        starts=np.append(examples.starts, 800),
        targets=np.concatenate([examples.targets, [[False, False]]]),
        known=np.concatenate([examples.known, [[False, False]]]),
        groups=np.append(examples.groups, 999),
    )
    again = fit_stages(spoilt, "affine", 5)[0]
    np.testing.assert_allclose(again["scale"], plain["scale"], rtol=1e-9)
    np.testing.assert_allclose(again["clips"]["scale"], plain["clips"]["scale"], rtol=1e-9)
    assert figures_of(clip_scores(spoilt, plain), spoilt)["ece"] == pytest.approx(
        figures_of(clip_scores(examples, plain), examples)["ece"], rel=1e-9
    )


def test_a_held_out_clip_has_no_part_in_its_own_score() -> None:
    examples, _ = planted(60, 1, 1)
    scores = held_out_scores(examples, "affine", 2, 0)
    examples.targets[0] ^= True
    assert held_out_scores(examples, "affine", 2, 0)[0] == scores[0]
    assert held_out_scores(examples, "affine", 2, 0)[1] == scores[1]  # of the same recording
    assert (held_out_scores(examples, "affine", 2, 0) != scores).any()


# --- thresholds


def slow_choice(scores: np.ndarray, true: np.ndarray, hours: float, goal: Goal) -> float | None:
    """Every threshold that tells scores apart, counted one by one."""
    levels = np.unique(scores)[::-1]
    ends = [1.0, *levels, 0.0]
    found = None
    for place in range(len(levels) + 1):
        threshold = (ends[place] + ends[place + 1]) / 2
        passes = scores >= threshold
        right, wrong = (passes & true).sum(), (passes & ~true).sum()
        if goal.kind == "recall" and true.sum() and right >= goal.value * true.sum() - 1e-9:
            return threshold
        if goal.kind == "precision" and right and right >= goal.value * (right + wrong) - 1e-9:
            found = threshold
        if goal.kind == "false_alarms" and wrong <= goal.value * hours + 1e-9:
            found = threshold
    return found


GOALS = [("precision", 0.5), ("precision", 0.8), ("precision", 1.0), ("recall", 0.5), ("recall", 1.0),
         ("false_alarms", 0.5), ("false_alarms", 3.0)]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), GOALS)
@pytest.mark.parametrize("ties", [False, True])
def test_thresholds_are_those_of_counting_one_by_one(kind: str, value: float, ties: bool) -> None:
    rng, goal = np.random.default_rng(0), Goal(kind=kind, value=value)
    for _ in range(20):
        true = rng.random(30) < 0.4
        scores = sigmoid(rng.normal(0, 1, 30) + true)
        scores = np.round(scores, 1) if ties else scores
        groups = rng.integers(0, 8, 30)
        hours = np.full(8, 0.5)
        threshold, reached = choose(Ranked.of(scores, true, groups, hours), goal)
        expected = slow_choice(scores, true, hours.sum(), goal)
        assert (threshold if reached else None) == (expected if expected is None else pytest.approx(expected))
        assert reached or threshold == NEVER


def test_intervals_are_those_of_drawing_recordings_again() -> None:
    """Whole recordings repeated in the data, a threshold chosen anew from each draw, counted one by one."""
    rng = np.random.default_rng(1)
    true = rng.random(40) < 0.5
    scores, groups = sigmoid(rng.normal(0, 1, 40) + 2 * true), np.repeat(np.arange(10), 4)
    for goal in (Goal(kind="precision", value=0.8), Goal(kind="false_alarms", value=2.0)):
        ranked = Ranked.of(scores, true, groups, np.full(10, 0.3))
        at, _ = choose(ranked, goal)
        found = uncertainty(ranked, goal, at, draws=40, seed=3)
        drawn = np.random.default_rng(3).multinomial(10, np.full(10, 0.1), size=40)
        chosen, shares, outside = [], [], np.zeros(2)
        for counts in drawn:
            rows = np.concatenate([np.repeat(np.flatnonzero(groups == g), n) for g, n in enumerate(counts)])
            levels = np.unique(scores)  # thresholds stand between all scores, drawn or not
            grid = np.concatenate([[0.0], levels, [1.0]])
            best = None
            for threshold in ((grid[1:] + grid[:-1]) / 2)[::-1]:
                passes = scores[rows] >= threshold
                right, wrong = (passes & true[rows]).sum(), (passes & ~true[rows]).sum()
                if goal.kind == "precision" and right and right >= 0.8 * (right + wrong) - 1e-9:
                    best = threshold
                if goal.kind == "false_alarms" and wrong <= 2.0 * 3.0 + 1e-9:
                    best = threshold
            best = NEVER if best is None else best
            chosen.append(best)
            for selected, threshold, into in (
                (rows, at, shares),
                (np.flatnonzero(counts[groups] == 0), best, None),
            ):
                passes = scores[selected] >= threshold
                right, wrong = (passes & true[selected]).sum(), (passes & ~true[selected]).sum()
                hours = 0.3 * (3.0 / 0.3 if into is not None else (counts == 0).sum())
                parts = (right, right + wrong) if goal.kind == "precision" else (wrong, hours)
                if into is None:
                    outside += parts
                elif parts[1]:
                    into.append(parts[0] / parts[1])
        np.testing.assert_allclose(found["interval"], np.quantile(chosen, [0.025, 0.975]))
        np.testing.assert_allclose(found["measured_interval"], np.quantile(shares, [0.025, 0.975]))
        assert found["left_out"] == pytest.approx(outside[0] / outside[1])
        assert found["measured"] == measured(ranked, goal, at)


def test_a_goal_out_of_range_is_refused() -> None:
    for kind, value in (("precision", 0.0), ("recall", 1.2), ("false_alarms", 0.0), ("f1", 0.5)):
        with pytest.raises(ValueError, match="expected"):
            Goal(kind=kind, value=value)


# --- figures


def slow_error(scores: list[float], true: list[bool], bins: int = 15) -> float:
    held: dict[int, list[tuple[float, bool]]] = {}
    for score, right in zip(scores, true, strict=True):
        held.setdefault(min(int(score * bins), bins - 1), []).append((score, right))
    apart = [abs(sum(s for s, _ in some) - sum(t for _, t in some)) for some in held.values()]
    return sum(apart) / len(scores)


def test_calibration_errors_are_those_of_sorting_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.evaluation.reliability.VALUES", 1)
    monkeypatch.setattr("auricle.evaluation.reliability.FEWEST_ROWS", 3)
    rng = np.random.default_rng(0)
    scores = rng.random((20, 6)).astype(np.float32)
    scores[0, 0], scores[1, 1] = 1.0, 0.0
    columns = [4, 0, 2]
    true, known = rng.random((20, 3)) < 0.4, rng.random((20, 3)) < 0.8
    known[3] = False
    classes, rows = np.nonzero((true | ~known).T)  # what is not known may be called positive
    positives = (np.searchsorted(classes, np.arange(4)), rows)
    groups = rng.integers(0, 5, 20)
    found, intervals, errors = reliability_figures(
        scores, positives, np.nonzero(~known), groups, columns, thresholds=[0.2, 0.5, 0.9], draws=30, seed=0
    )
    mine = scores[:, columns].astype(float)
    pairs = [(n, k) for n in range(20) for k in range(3) if known[n, k]]
    assert found["ece"] == pytest.approx(slow_error([mine[p] for p in pairs], [true[p] for p in pairs]))
    for k in range(3):
        some = [n for n, column in pairs if column == k]
        assert errors[k] == pytest.approx(slow_error([mine[n, k] for n in some], [true[n, k] for n in some]))
    assert found["ece_classwise"] == pytest.approx(errors.mean())
    best = [max((k for k in range(3) if known[n, k]), key=lambda k: mine[n, k], default=0) for n in range(20)]
    there = [n for n in range(20) if (true & known)[n].any()]
    expected = slow_error([mine[n, best[n]] for n in there], [true[n, best[n]] for n in there])
    assert found["ece_top"] == pytest.approx(expected)
    assert found["brier"] == pytest.approx(sum((mine[p] - true[p]) ** 2 for p in pairs) / 20)
    losses = [-np.log(np.clip(mine[p] if true[p] else 1 - mine[p], 1e-7, 1 - 1e-7)) for p in pairs]
    assert found["log_loss"] == pytest.approx(sum(losses) / 20, rel=1e-6)
    assert sum(row["count"] for row in found["reliability"]["all"]) == len(pairs)
    shown = [p for p in pairs if mine[p] >= (0.2, 0.5, 0.9)[p[1]]]
    right, there_are = sum(true[p] for p in shown), sum(true[p] for p in pairs)
    passed = found["at_thresholds"]
    assert passed["shown"] == len(shown) and passed["precision"] == pytest.approx(right / len(shown))
    assert passed["recall"] == pytest.approx(right / there_are)
    assert passed["f1"] == pytest.approx(2 / (1 / passed["precision"] + 1 / passed["recall"]))
    drawn = []
    for counts in np.random.default_rng(0).multinomial(5, np.full(5, 0.2), size=30):
        again = [p for p in pairs for _ in range(counts[groups[p[0]]])]
        drawn.append(slow_error([mine[p] for p in again], [true[p] for p in again]))
    low, middle, high = np.quantile(drawn, [0.025, 0.5, 0.975])
    np.testing.assert_allclose(
        intervals["ece"], np.clip([low - middle + found["ece"], high - middle + found["ece"]], 0, 1)
    )


# --- the verb


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 clips of noise, 0.6 s each: rain is loud; dog is there by chance; clock stands in three."""
    folder = tmp_path_factory.mktemp("corpus")
    rng, rows = np.random.default_rng(0), ["path,labels,group,split"]
    for n in range(48):
        level = rng.uniform(0.05, 0.9)
        soundfile.write(folder / f"{n}.wav", rng.uniform(-level, level, 4800), tiny_model.RATE)
        labels = (
            ["rain"] * bool(rng.random() < level)
            + ["dog"] * bool(rng.random() < 0.4)
            + ["clock"] * (n % 16 == 0)
        )
        rows.append(f"{n}.wav,{';'.join(labels)},group {n // 2},{'mine' if n < 40 else 'other'}")
    (folder / "clips.csv").write_text("\n".join(rows))
    pack_corpus(folder / "clips.csv", folder / "pack", rate=tiny_model.RATE, jobs=1, quiet=True)
    return folder


@pytest.mark.parametrize("method", ["affine", "isotonic"])
def test_every_verb_obeys_the_calibration(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    old = tiny_model.save(tmp_path / "old")
    before = {path.name: path.read_bytes() for path in old.path.iterdir()}
    goal = Goal(kind="recall", value=0.8)
    made = calibrate(
        old.path, corpus / "pack", tmp_path / "new", method=method, goal=goal, fewest=5, draws=20, threads=1,
        quiet=True,
    )  # fmt: skip
    assert {path.name: path.read_bytes() for path in old.path.iterdir()} == before
    new = load_artifact(tmp_path / "new")
    assert new == made and new.calibration is not None and new.fingerprint != old.fingerprint
    assert run(capsys, "check", tmp_path / "new")[0] == 0
    np.testing.assert_array_equal(new.read_check()[1], old.read_check()[1])  # uncalibrated, both

    tagger = Tagger(new.path, threads=1, batch=2)
    path = corpus / "3.wav"
    logits = np.concatenate([part.logits[part.on_grid] for part in tagger.windows(path)])
    plain = np.concatenate(
        [part.logits[part.on_grid] for part in Tagger(old.path, threads=1, batch=2).windows(path)]
    )
    np.testing.assert_array_equal(logits, plain)
    expected = {label: score for label, score in zip(new.labels, pooled(new, logits).tolist(), strict=True)}
    found = tagger.tag(path, top=None, threshold=0.0, windows=True)
    assert {tag["label"]: tag["score"] for tag in found["tags"]} == pytest.approx(expected, rel=1e-5)
    first = {tag["label"]: tag["score"] for tag in found["windows"][0]["tags"]}
    assert [first[label] for label in new.labels] == pytest.approx(
        to_scores(new)(logits)[0].tolist(), rel=1e-5
    )

    thresholds = dict(zip(new.labels, new.thresholds or [], strict=True))
    for clip in range(0, 48, 5):
        every = tagger.tag(corpus / f"{clip}.wav", top=None, threshold=0.0)["tags"]
        shown = [tag for tag in every if tag["score"] >= thresholds[tag["label"]]]
        assert tagger.tag(corpus / f"{clip}.wav", top=None)["tags"] == shown
        assert tagger.tag(corpus / f"{clip}.wav", top=1)["tags"] == shown[:1]

    pack = Pack(corpus / "pack")
    runner = load_runner(new, threads=1, batch=2)
    scores = score_clips(runner, pack, np.arange(48), batch=2, quiet=True)
    np.testing.assert_allclose(scores[3], pooled(new, logits), atol=1e-6)
    highest = score_clips(runner, pack, np.arange(48), batch=2, pooling="max", quiet=True)
    np.testing.assert_allclose(highest[3], to_scores(new)(logits).max(axis=0), atol=1e-6)
    rain = [label == "rain" for label in new.labels].index(True)
    has = np.isin(
        np.arange(48),
        pack.label_clips()[1][slice(*pack.label_clips()[0][pack.label_names().index("rain") :][:2])],
    )
    assert (scores[has, rain] >= thresholds["rain"]).mean() >= 0.8


def test_a_time_line_draws_calibrated_scores(corpus: Path, tmp_path: Path) -> None:
    from auricle.cli.timeline import _scored

    calibration = {"kind": "affine", "scale": [0.1, 0.1, 2.0], "offset": [4.0, -4.0, 0.0]}
    tiny_model.save(tmp_path / "m", calibration=calibration)
    tagger = Tagger(tmp_path / "m", threads=1)
    line = _scored(tagger, str(corpus / "3.wav"), top=3, start=0.0, end=None, hop=None)
    logits = np.concatenate([part.logits for part in tagger.windows(corpus / "3.wav")])
    scores = dict(zip(tiny_model.LABELS, to_scores(tagger.artifact)(logits).T, strict=True))
    for label, row in zip(line.labels, line.scores.T, strict=True):
        np.testing.assert_allclose(row, scores[label], atol=1e-6)
    assert list(line.peaks) == sorted(line.peaks, reverse=True)


def test_what_is_said_of_the_clips_is_what_evaluate_says(corpus: Path, tmp_path: Path) -> None:
    old = tiny_model.save(tmp_path / "old")
    made = calibrate(old.path, corpus / "pack", tmp_path / "new", threads=1, quiet=True)
    about = made.metrics["calibration"]
    plain = evaluate(old.path, corpus / "pack", draws=0, threads=1, quiet=True)
    assert {name: plain[name] for name in about["before"]} == pytest.approx(about["before"], rel=1e-5)
    fitted = evaluate(made.path, corpus / "pack", draws=0, threads=1, quiet=True)
    assert fitted["log_loss"] < plain["log_loss"] and about["after"]["log_loss"] < about["before"]["log_loss"]
    assert about["pack"] == "pack" and "at_thresholds" not in fitted
    assert about["labels_pooled"] == ["clock"] and about["recordings"] == 24
    again = calibrate(made.path, corpus / "pack", tmp_path / "again", threads=1, quiet=True)
    assert again.calibration == made.calibration  # from the logits, not from what was calibrated before


def test_a_single_onnx_file_is_calibrated_into_a_folder(corpus: Path, tmp_path: Path) -> None:
    file = tiny_model.save_file(tmp_path / "m.onnx")
    made = calibrate(file, corpus / "pack", tmp_path / "new", threads=1, quiet=True)
    assert (made.path / "model.onnx").is_file() and made.changed_parts() == []


def test_clips_of_the_training_are_left_out(corpus: Path, tmp_path: Path) -> None:
    pack = Pack(corpus / "pack")
    training = {"data": pack.fingerprint, "config": {"train_splits": ["mine"]}}
    old = tiny_model.save(tmp_path / "old", training=training)
    made = calibrate(old.path, pack, tmp_path / "new", fewest=1, threads=1, quiet=True)
    about = made.metrics["calibration"]
    assert (about["clips"], about["left_out_as_trained_on"]) == (8, 40)
    with pytest.raises(ValueError, match=r"the model was trained on these clips"):
        calibrate(old.path, pack, tmp_path / "none", splits=["mine"], threads=1, quiet=True)
    assert not (tmp_path / "none").exists()


def test_the_verb_says_what_was_done_and_what_was_not(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model.save(tmp_path / "old", labels=["dog", "rain", "lion"], events={"onset": 0.4})
    verb = ("calibrate", tmp_path / "old", corpus / "pack", "--quiet", "--threads", 1, "--draws", 20)
    status, out, err = run(capsys, *verb, "--precision", 0.95, "--out", tmp_path / "new")
    assert status == 0 and out.splitlines()[-1] == str(tmp_path / "new")
    assert "48 clips of 24 recordings" in out and "ECE of the best label" in out
    assert "thresholds for precision 0.95" in out
    assert "event settings are for its scores as they were" in err
    assert "lion: no example in the pack; the network's own scores stay, uncalibrated" in err
    assert "lion: no example in the pack, so no threshold; they will not be shown" in err
    assert "2 labels (dog, rain): no threshold is as precise as that; they will not be shown" in err
    made = load_artifact(tmp_path / "new")
    assert made.thresholds is not None and made.thresholds[0] == NEVER
    assert made.thresholds[2] == NEVER and made.calibration is not None
    assert (made.calibration["scale"][2], made.calibration["offset"][2]) == (1.0, 0.0)
    card = (made.path / "README.md").read_text()
    assert "48 clips of 24 recordings of the pack pack." in card and "| dog | never |" in card
    status, out, _ = run(
        capsys, "evaluate", made.path, corpus / "pack", "--threads", 1, "--draws", 0, "--quiet"
    )
    assert status == 0 and "at the model's thresholds: 0 labels shown, precision not defined" in out

    status, _, err = run(capsys, *verb, "--out", tmp_path / "new")
    assert status == 1 and "is there already; a calibrated model is a new one" in err
    kept = ("--method", "keep", "--false-alarms", 60, "--format", "json", "--out", tmp_path / "kept")
    status, out, err = run(capsys, *verb, *kept)
    about = json.loads(out)
    assert status == 0 and about["goal"] == {"false_alarms": 60.0} and "before" not in about
    assert load_artifact(tmp_path / "kept").calibration is None
    assert "cannot tell 60 false alarms an hour from none" in err  # 29 seconds are no hour
    for wrong, hint in (
        (("--precision", 0.9, "--recall", 0.9), "only one of these"),
        (("--method", "platt"), "expected one of affine"),
        (("--method", "keep"), "changes no score"),
        (("--precision", 90), "expected a share"),
        (("--precision", 0.9, "--hop", 1), "goes with --false-alarms"),
        (("--false-alarms", 2, "--hop", 0), "expected seconds above 0"),
    ):
        status, _, err = run(capsys, *verb, *wrong, "--out", tmp_path / "x")
        assert status == 2 and hint in err, err


def test_a_calibration_that_makes_scores_worse_says_so(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fitted to 40 clips, then to 8 others: what it was before is what it was as a model."""
    old = tiny_model.save(tmp_path / "old")
    verb = ("calibrate", corpus / "pack", "--quiet", "--threads", 1, "--out")
    status, _, err = run(capsys, *verb[:1], old.path, *verb[1:], tmp_path / "good", "--split", "mine")
    assert status == 0 and "worse than before" not in err
    more = {
        "affine": "or --method temperature,",
        "temperature": "or keep",
        "isotonic": "or --method affine or",
    }
    for method, said in more.items():
        few = (tmp_path / method, "--split", "other", "--min-positives", 1, "--method", method)
        status, _, err = run(capsys, *verb[:1], tmp_path / "good", *verb[1:], *few)
        about = load_artifact(tmp_path / method).metrics["calibration"]
        plain = evaluate(tmp_path / "good", corpus / "pack", splits=["other"], draws=0, threads=1, quiet=True)
        assert about["before"] == pytest.approx({name: plain[name] for name in about["before"]}, rel=1e-5)
        line = next(line for line in err.splitlines() if "worse than before" in line)
        assert f"log loss {about['after']['log_loss']:.4f}, before {plain['log_loss']:.4f}" in line
        assert "take more recordings" in line and said in line and "--method keep" in line


def test_what_a_calibration_was_fitted_to_is_told_where_it_is_judged_or_made_anew(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model.save(tmp_path / "old")
    verb = ("calibrate", corpus / "pack", "--quiet", "--threads", 1, "--draws", 0, "--out")
    some = ("--split", "mine", "--recall", 0.8)
    status, out, err = run(capsys, verb[0], tmp_path / "old", *verb[1:], tmp_path / "new", *some)
    assert status == 0 and "too good to be compared" not in out and "the model's thresholds" not in err

    rest = (corpus / "pack", "--threads", 1, "--draws", 0, "--quiet")
    for model, asked, said in (
        ("old", (), None),
        ("new", (), "was calibrated with 40 of these 48 clips, or some of them: the figures are better"),
        ("new", ("--split", "mine"), "was calibrated with these 40 clips"),
        ("new", ("--split", "other"), None),
    ):
        status, _, err = run(capsys, "evaluate", tmp_path / model, *rest, *asked)
        assert status == 0 and (said in err if said else "was calibrated with" not in err), err

    few = ("--split", "other", "--min-positives", 1)
    status, out, err = run(capsys, verb[0], tmp_path / "new", *verb[1:], tmp_path / "few", *few)
    assert status == 0 and "worse than before" in err and "too good to be compared" not in out
    assert (
        err.count("the model's thresholds were for its scores as they were, and the new model has none") == 1
    )
    status, out, err = run(capsys, verb[0], tmp_path / "few", *verb[1:], tmp_path / "third", *few)
    assert status == 0 and "worse than before" not in err and "the model's thresholds" not in err
    assert "before: by the calibration that the model had, which was fitted to these 8 clips" in out
    assert "before, fitted to some of these clips" in (tmp_path / "third" / "README.md").read_text()

    kept = ("--method", "keep", "--split", "mine", "--recall", 0.8)
    status, _, _ = run(capsys, verb[0], tmp_path / "few", *verb[1:], tmp_path / "kept", *kept)
    figures = evaluate(tmp_path / "kept", corpus / "pack", draws=0, threads=1, quiet=True)
    assert status == 0 and figures["clips_in_calibration"] == 48  # scores by other, thresholds by mine


def test_a_label_that_misses_the_goal_with_the_threshold_of_all_is_told(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tiny_model.save(tmp_path / "old")
    verb = ("calibrate", old.path, corpus / "pack", "--quiet", "--threads", 1, "--draws", 0, "--out")
    status, _, err = run(capsys, *verb, tmp_path / "new", "--recall", 0.9)
    made = load_artifact(tmp_path / "new")
    pack, clock = Pack(corpus / "pack"), made.labels.index("clock")
    scores = score_clips(load_runner(made, threads=1), pack, np.arange(48), quiet=True)[:, clock]
    has = pack.targets(np.arange(48))[:, pack.label_names().index("clock")].astype(bool)
    reached = (scores[has] >= made.thresholds[clock]).mean()  # type: ignore[index]
    assert has.sum() == 3 and reached < 0.9
    said = f"clock {reached:.2f}: with that threshold recall is less than 0.9, on these clips"
    assert status == 0 and err.count("is less than") == 1 and said in err
    for name, goal in (
        ("own", ("--recall", 0.9, "--min-positives", 1)),
        ("alarms", ("--false-alarms", 4000)),
    ):
        status, _, err = run(capsys, *verb, tmp_path / name, *goal)
        assert status == 0 and "is less than" not in err


@pytest.fixture(scope="module")
def without_dog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of noise that swells, no dog in it, packed as clips of 1.5 windows; and two dogs."""
    folder = tmp_path_factory.mktemp("alarms")
    rng, rows = np.random.default_rng(3), ["path,start,end,labels"]
    swell = np.interp(np.arange(480000) / 8000, np.arange(61), rng.uniform(0.02, 0.9, 61))
    soundfile.write(folder / "long.wav", swell * rng.uniform(-1, 1, 480000), tiny_model.RATE)
    soundfile.write(folder / "dogs.wav", rng.uniform(-0.5, 0.5, 6000), tiny_model.RATE)
    rows += [f"long.wav,{n * 0.375},{(n + 1) * 0.375},rain" for n in range(160)]
    rows += [f"dogs.wav,{n * 0.375},{(n + 1) * 0.375},dog" for n in range(2)]
    (folder / "clips.csv").write_text("\n".join(rows))
    pack_corpus(folder / "clips.csv", folder / "pack", rate=tiny_model.RATE, jobs=1, quiet=True)
    return folder


@pytest.mark.parametrize("hop", [None, 0.125])
def test_false_alarms_an_hour_are_those_that_tag_shows_with_that_hop(
    without_dog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], hop: float | None
) -> None:
    old = tiny_model.save(tmp_path / "old")  # its window and its hop are 0.25 s
    step = hop or 0.25
    allowed = 0.2 * 3600 / step  # a window in five
    verb = ["calibrate", old.path, without_dog / "pack", "--method", "keep", "--draws", 0, "--quiet"]
    verb += ["--false-alarms", allowed, *([] if hop is None else ["--hop", hop]), "--out", tmp_path / "new"]
    status, out, _ = run(capsys, *verb)
    assert status == 0 and f"a window every {step:g} s" in out
    made = load_artifact(tmp_path / "new")
    assert made.metrics["calibration"]["goal_hop"] == step
    found = made.metrics["calibration"]["thresholds"]["dog"]

    # Of the clips: a window each, every one of which stands for `step` seconds.
    pack, runner = Pack(without_dog / "pack"), load_runner(old, threads=1)
    windows = np.stack([pack.samples(n)[:2000].astype(np.float32) / 32768 for n in range(160)])
    scores = sigmoid(runner.run(windows)[0][:, 0].astype(np.float64))
    wrong = int((scores >= found["threshold"]).sum())
    assert wrong == 32 and found["hours_without"] == pytest.approx(160 * step / 3600)
    assert (
        found["measured"] == pytest.approx(wrong / (160 * step / 3600))
        and found["measured"] <= allowed + 1e-6
    )
    assert found["runs"] == found["measured"]  # of a window a clip, each is a run

    # Of the whole minute, as somebody would tag it.
    tag = ["tag", without_dog / "long.wav", "--windows", "--format", "jsonl", "--model", made.path]

    def named(*options: object) -> tuple[int, str]:
        status, out, err = run(capsys, *tag, *options)
        assert status == 0
        return sum(any(t["label"] == "dog" for t in w["tags"]) for w in json.loads(out)["windows"]), err

    count, err = named("--hop", step)
    assert count / (60 / 3600) == pytest.approx(allowed, rel=0.15) and err == ""
    other, err = named("--hop", step / 2)
    assert other / count == pytest.approx(2, rel=0.15)
    assert "false alarms an hour" in err and "about 2 times as many" in err and len(err.splitlines()) == 1
    assert named("--hop", step / 2, "--threshold", 0.5)[1] == ""  # nobody asks the model's thresholds
    assert (named()[1] == "") == (hop is None)


def test_runs_of_false_alarms_are_counted_once_within_a_clip() -> None:
    rng = np.random.default_rng(8)
    clips = np.sort(rng.integers(0, 12, 80))
    scores = rng.random(80)
    for threshold in (0.0, 0.3, 0.7, 2.0):
        expected = 0
        for clip in range(12):
            mine = "".join("x" if score >= threshold else "." for score in scores[clips == clip])
            expected += len([run for run in mine.split(".") if run])
        assert count_runs(scores, clips, threshold) == expected


def test_evaluate_and_report_draw_reliability(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model.save(tmp_path / "m")
    status, out, _ = run(
        capsys, "evaluate", tmp_path / "m", corpus / "pack", "--out", tmp_path / "eval", "--threads", 1,
        "--draws", 20,
    )  # fmt: skip
    assert status == 0 and "\nece " in out and "\nece_top " in out
    figures = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert sum(row["count"] for row in figures["reliability"]["all"]) == 48 * 3
    assert figures["intervals"]["ece"][0] <= figures["ece"] <= figures["intervals"]["ece"][1]
    assert (tmp_path / "eval" / "reliability.png").stat().st_size > 5000
    status, out, _ = run(capsys, "report", tmp_path / "eval", "--out", tmp_path / "figures")
    assert status == 0 and str(tmp_path / "figures" / "reliability.png") in out


def test_an_embedding_is_as_the_network_gives_it(corpus: Path, tmp_path: Path) -> None:
    content = tiny_model.graph()
    described = tiny_model.description()
    calibration = {"kind": "affine", "scale": [2.0] * 3, "offset": [1.0] * 3}
    for name, fields in (("plain", {}), ("new", {"calibration": calibration})):
        save_artifact(
            tmp_path / name, onnx=content, check=tiny_model.check_vector(content), **described, **fields
        )
    parts = [next(Tagger(tmp_path / name, threads=1).windows(corpus / "3.wav")) for name in ("plain", "new")]
    np.testing.assert_array_equal(parts[0].embeddings, parts[1].embeddings)
    assert logit(sigmoid(1.0)) == pytest.approx(1.0)


def test_a_family_is_calibrated_as_a_whole_and_its_members_are_not(corpus: Path, tmp_path: Path) -> None:
    own = AFFINE | {"offset": [9.0] * 3}
    tiny_model.save(tmp_path / "top", calibration=own)
    tiny_model.save(tmp_path / "dogs", labels=["bark", "howl", "growl"], calibration=own)
    labels = [*tiny_model.LABELS, "bark", "howl", "growl"]
    family = save_family(
        tmp_path / "family",
        members={name: tmp_path / name for name in ("top", "dogs")},
        labels=labels,
        parents={label: ["dog"] for label in labels[3:]},
        gates={"dog": "dogs"},
    )
    made = calibrate(family.path, corpus / "pack", tmp_path / "new", threads=1, quiet=True)
    assert made.changed_parts() == [] and len(made.calibration["scale"]) == 6  # type: ignore[index]
    waveforms, expected, _ = made.read_check()
    logits = load_runner(made, threads=1, batch=2).run(waveforms)[0]
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert np.abs(logits).max() < 20  # not moved by the members' own
    found = Tagger(made.path, threads=1).tag(corpus / "3.wav", top=None, threshold=0.0)
    assert len(found["tags"]) == 6 and made.metrics["calibration"]["labels_not_in_pack"] == labels[3:]
