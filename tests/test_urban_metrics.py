"""Urban figures equal a literal reading of the rules, clip by clip and threshold by threshold."""

import numpy as np
import pytest
from urban_oracle import slow_metrics

from auricle.metrics.bootstrap import group_weights, moved_interval
from auricle.metrics.urban import Branch, coarse_metrics, count, fine_metrics, summed, urban_intervals

NAMES = ("micro_auprc", "micro_f1", "macro_auprc")


# --- random cases ---------------------------------------------------------------------------------------


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, list[Branch]]:
    """Truth and scores, sparse or dense, with ties, empty classes, single children and unknown columns."""
    rng = np.random.default_rng(seed)
    branches: list[Branch] = []
    column = 0
    for _ in range(rng.integers(1, 5)):
        complete = tuple(range(column, column + int(rng.integers(1, 5))))
        column += len(complete)
        unknown = column if rng.random() < 0.7 else None
        column += unknown is not None
        branches.append((complete, unknown))
    clips = int(rng.integers(1, 25))
    truth = rng.random((clips, column)) < rng.choice([0.05, 0.3, 0.7])
    for complete, unknown in branches:
        if rng.random() < 0.2:
            truth[:, list(complete)] = False
        if unknown is not None and rng.random() < 0.2:
            truth[:, unknown] = False
    scores = rng.random((clips, column))
    kind = seed % 5
    if kind == 1:
        scores = np.round(scores, 1)  # heavy ties, with 0, 0.5 and 1 among them
    elif kind == 2:
        scores = rng.choice([0.0, 1 / 3, 2 / 3, 1.0], scores.shape)  # as of three annotators
    elif kind == 3:
        scores = np.where(rng.random(scores.shape) < 0.5, scores * 0.02, scores)  # about 0.01, the lowest
    elif kind == 4:
        scores = np.full_like(scores, rng.choice([0.0, 0.01, 0.3, 0.5, 1.0]))
    order = rng.permutation(column)  # columns of a class need not be neighbours
    place = np.argsort(order)
    moved = [
        (tuple(int(place[k]) for k in complete), None if unknown is None else int(place[unknown]))
        for complete, unknown in branches
    ]
    return truth[:, order], scores[:, order], moved


def assert_equal(ours, slow):
    for name in NAMES:
        assert ours[name] == pytest.approx(slow[name], abs=1e-12), name
    assert np.allclose(ours["class_auprc"], slow["class_auprc"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(150))
def test_fine_figures_equal_the_rules_read_clip_by_clip(seed):
    truth, scores, branches = random_case(seed)
    assert_equal(fine_metrics(truth, scores, branches), slow_metrics(truth, scores, branches))


@pytest.mark.parametrize("seed", range(0, 150, 5))
def test_coarse_figures_are_those_of_columns_without_unknowns(seed):
    for kind in range(5):
        truth, scores, _ = random_case(seed + kind)
        alone = [((k,), None) for k in range(truth.shape[1])]
        assert_equal(coarse_metrics(truth, scores), slow_metrics(truth, scores, alone))


def test_random_cases_hold_what_is_hard():
    """Were these gone, the oracle would agree with much that is wrong."""
    seen = {
        "only unknown": 0,
        "unknown and known": 0,
        "X alone": 0,
        "X and all": 0,
        "never there": 0,
        "ties": 0,
    }
    for seed in range(150):
        truth, scores, branches = random_case(seed)
        seen["ties"] += len(np.unique(scores)) < scores.size
        for complete, unknown in branches:
            some = truth[:, complete].any(axis=1)
            seen["never there"] += not some.any()
            if unknown is not None:
                seen["only unknown"] += int((truth[:, unknown] & ~some).sum())
                seen["unknown and known"] += int((truth[:, unknown] & some).sum())
                empty, least = ~truth[:, unknown] & ~some, scores[:, complete].min(axis=1)
                seen["X alone"] += int((empty & (scores[:, unknown] > least)).sum())
                seen["X and all"] += int((empty & (scores[:, unknown] <= least)).sum())
    assert min(seen.values()) > 20, seen


@pytest.mark.parametrize("seed", range(40))
def test_recall_never_falls_as_the_threshold_does(seed):
    """The curve is drawn in order of falling threshold, and not sorted by recall."""
    truth, scores, branches = random_case(seed)
    for points in (many := [count(truth, scores, branch) for branch in branches]) + [summed(many)]:
        recall = points.tp / np.maximum(points.tp + points.fn, 0.5)
        assert (np.diff(recall[0]) <= 0).all()


# --- by hand --------------------------------------------------------------------------------------------


def counts_at(truth, scores, branch, threshold):
    """TP, FP, FN at a threshold that a second clip, without tags or other scores, makes one."""
    truth, scores = np.array([truth, [0] * len(truth)], bool), np.array([scores, [0.0] * len(scores)])
    scores[1, branch[0][0]] = threshold
    points = count(truth, scores, branch)
    at = int(np.searchsorted(points.thresholds, threshold))
    assert points.thresholds[at] == threshold
    return points.tp[0, at], points.fp[0, at] - 1, points.fn[0, at]  # 1: the second clip's own


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.8, 0.7, 0.0], (1, 0, 0)),  # two guesses, one find, nothing wrong
        ([0.0, 0.0, 0.9], (1, 0, 0)),
        ([0.1, 0.2, 0.3], (0, 0, 1)),
    ],
)
def test_an_unknown_tag_is_found_by_any_of_its_class_and_never_wrong(scores, expected):
    assert counts_at([0, 0, 1], scores, ((0, 1), 2), 0.5) == expected


@pytest.mark.parametrize(
    ("scores", "wrong"),
    [([0.9, 0.1, 0.8], 2), ([0.9, 0.9, 0.8], 2), ([0.1, 0.1, 0.8], 1), ([0.0, 0.0, 0.0], 0)],
)
def test_a_predicted_unknown_tag_is_one_false_alarm_unless_all_others_raised_theirs(scores, wrong):
    assert counts_at([0, 0, 0], scores, ((0, 1), 2), 0.5) == (0, wrong, 0)


def test_scores_below_a_hundredth_are_no_thresholds():
    points = count(np.array([[True], [True]]), np.array([[0.0099], [0.01]]), ((0,), None))
    assert points.thresholds.tolist() == [0.01, 1.0]


def test_perfect_scores_of_one_fill_the_whole_area():
    truth = np.eye(4)[:, :3]
    assert coarse_metrics(truth, truth)["micro_auprc"] == 1.0
    assert coarse_metrics(truth, truth * 0.9)["micro_auprc"] < 1.0  # the threshold 1 has precision 0


def test_a_class_that_never_occurs_counts_zero():
    figures = coarse_metrics(np.array([[1, 0], [1, 0]]), np.array([[1.0, 0.7], [1.0, 0.0]]))
    assert figures["class_auprc"].tolist() == [1.0, 0.0] and figures["macro_auprc"] == 0.5


def test_the_order_of_clips_does_not_matter():
    truth, scores, branches = random_case(11)
    order = np.random.default_rng(0).permutation(len(truth))
    assert_equal(fine_metrics(truth[order], scores[order], branches), fine_metrics(truth, scores, branches))


@pytest.mark.parametrize(
    ("truth", "scores", "branches", "message"),
    [
        ([[1, 0]], [[0.5, np.nan]], [((0, 1), None)], "1 scores are NaN"),
        ([[1, 0]], [[0.5, 1.2]], [((0, 1), None)], "a score is 1.2: expected numbers from 0 to 1"),
        ([[1, 0]], [[0.5, -0.1]], [((0, 1), None)], "a score is -0.1"),
        ([[1, -1]], [[0.5, 0.5]], [((0, 1), None)], "a target is -1"),
        ([[1, 0]], [[0.5]], [((0, 1), None)], "shape"),
        (np.zeros((0, 2)), np.zeros((0, 2)), [((0, 1), None)], "no clips"),
        ([[1, 0]], [[0.5, 0.5]], [], "no coarse classes"),
        ([[1, 0]], [[0.5, 0.5]], [((), 0)], "branch 0 has no complete fine tag"),
        ([[1, 0]], [[0.5, 0.5]], [((0,), 2)], "names column 2: there are 2"),
        ([[1, 0]], [[0.5, 0.5]], [((0,), 0)], "column 0 is in two branches"),
    ],
)
def test_what_would_give_a_wrong_figure_is_refused(truth, scores, branches, message):
    with pytest.raises(ValueError, match=message):
        fine_metrics(np.array(truth), np.array(scores), branches)


# --- intervals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_intervals_are_those_of_clips_repeated_as_drawn(seed, monkeypatch):
    truth, scores, branches = random_case(seed)
    groups = np.random.default_rng(seed).integers(0, 4, len(truth))
    weights = group_weights(groups, 9, seed)
    drawn = []
    for row in weights:
        clips = np.repeat(np.arange(len(truth)), row)
        drawn.append(slow_metrics(truth[clips], scores[clips], branches))
    monkeypatch.setattr("auricle.metrics.urban.BLOCK", 3 * truth.size)  # several blocks of draws
    found = urban_intervals(truth, scores, branches, groups, draws=9, seed=seed, level=0.7)
    for name in NAMES:
        expected = moved_interval(np.array([each[name] for each in drawn]), 0.7, bounded=True)
        assert found[name] == pytest.approx(expected, abs=1e-12, nan_ok=True), name
    for number, interval in enumerate(found["class_auprc"]):
        values = np.array([each["class_auprc"][number] for each in drawn])
        assert interval == pytest.approx(moved_interval(values, 0.7, bounded=True), abs=1e-12, nan_ok=True)


def test_groups_that_do_not_match_the_clips_are_refused():
    with pytest.raises(ValueError, match="groups have shape"):
        urban_intervals(np.eye(2), np.eye(2), None, np.zeros(3))
    with pytest.raises(ValueError, match="draws is 0"):
        urban_intervals(np.eye(2), np.eye(2), None, np.zeros(2), draws=0)
