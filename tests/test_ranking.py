"""Ranking metrics equal scikit-learn and slow, obvious second implementations, ties and all."""

import math
import warnings

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from auricle.metrics.ranking import (
    METRICS,
    average_precision,
    bootstrap_intervals,
    d_prime,
    one_best_accuracy,
    per_class,
    roc_auc,
    summarise,
)


def slow_average_precision(targets: np.ndarray, scores: np.ndarray) -> float:
    """Mean over positives of the share of positives among all that score at least as high."""
    precisions = []
    for score in scores[targets == 1]:
        at_least = scores >= score
        precisions.append((targets[at_least] == 1).sum() / at_least.sum())
    return float(np.mean(precisions)) if precisions else math.nan


def slow_auc(targets: np.ndarray, scores: np.ndarray) -> float:
    """Every positive against every negative: 1 for a win, one half for a tie."""
    wins = [
        1.0 if positive > negative else 0.5 if positive == negative else 0.0
        for positive in scores[targets == 1]
        for negative in scores[targets == 0]
    ]
    return float(np.mean(wins)) if wins else math.nan


def random_case(seed: int, clips: int = 60, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Random targets, and scores of which many tie (from 2 distinct values to nearly none)."""
    rng = np.random.default_rng(seed)
    targets = rng.random((clips, classes)) < 0.3
    targets[0], targets[1] = True, False  # every class has a positive and a negative
    levels = [2, 3, 5, 10, 1000][seed % 5]
    return targets, np.round(rng.random((clips, classes)) * levels) / levels


def macro(values: list[float]) -> float:
    return float(np.mean([value for value in values if not math.isnan(value)]))


@pytest.mark.parametrize("seed", range(20))
def test_equals_scikit_learn_and_the_slow_oracle_with_heavy_ties(seed: int) -> None:
    targets, scores = random_case(seed)
    for k in range(targets.shape[1]):
        column, score = targets[:, k].astype(int), scores[:, k]
        ap, auc = average_precision(column, score), roc_auc(column, score)
        assert ap == pytest.approx(average_precision_score(column, score), abs=1e-12)
        assert auc == pytest.approx(roc_auc_score(column, score), abs=1e-12)
        assert ap == pytest.approx(slow_average_precision(column, score), abs=1e-12)
        assert auc == pytest.approx(slow_auc(column, score), abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_summary_equals_scikit_learn(seed: int) -> None:
    targets, scores = random_case(seed)
    figures = summarise(targets, scores)
    assert figures["map"] == pytest.approx(
        average_precision_score(targets, scores, average="macro"), abs=1e-12
    )
    assert figures["auc"] == pytest.approx(roc_auc_score(targets, scores, average="macro"), abs=1e-12)
    assert figures["micro_ap"] == pytest.approx(
        average_precision_score(targets, scores, average="micro"), abs=1e-12
    )
    assert figures["micro_auc"] == pytest.approx(roc_auc_score(targets, scores, average="micro"), abs=1e-12)
    aucs = roc_auc_score(targets, scores, average=None)
    assert figures["d_prime"] == pytest.approx(math.sqrt(2) * norm.ppf(aucs.mean()), abs=1e-9)
    assert figures["d_prime_mean"] == pytest.approx((math.sqrt(2) * norm.ppf(aucs)).mean(), abs=1e-9)


def test_a_case_computed_by_hand() -> None:
    # Ranking: + (0.9) | + - (0.5, tied) | - (0.4) | + (0.1).
    # AP: precision 1/1 at the first, 2/3 at the tie, 3/5 at the last positive: (1 + 2/3 + 3/5) / 3 = 34/45.
    # AUC: six pairs. 0.9 beats both; 0.5 ties with one and beats one; 0.1 beats none: 3.5 / 6.
    targets, scores = np.array([1, 1, 0, 0, 1]), np.array([0.9, 0.5, 0.5, 0.4, 0.1])
    assert average_precision(targets, scores) == pytest.approx(34 / 45, abs=1e-15)
    assert roc_auc(targets, scores) == pytest.approx(3.5 / 6, abs=1e-15)


def test_a_perfect_ranking_is_one_and_the_reverse_is_zero() -> None:
    targets = np.array([1, 1, 0, 0, 0])
    scores = np.array([5.0, np.inf, 3.0, -np.inf, 1.0])
    assert average_precision(targets, scores) == 1.0
    assert roc_auc(targets, scores) == 1.0
    assert roc_auc(targets, -scores) == 0.0


def test_equal_scores_are_chance_whatever_the_order_of_the_clips() -> None:
    targets = np.array([1, 0, 0, 1, 0, 0, 0, 0])
    for turned in (targets, targets[::-1]):
        assert roc_auc(turned, np.zeros(8)) == 0.5
        assert average_precision(turned, np.zeros(8)) == 0.25  # the share of positives


def test_the_order_of_the_clips_does_not_matter() -> None:
    targets, scores = random_case(1)
    shuffled = np.random.default_rng(0).permutation(len(targets))
    before, after = summarise(targets, scores), summarise(targets[shuffled], scores[shuffled])
    assert before == pytest.approx(after, abs=1e-12)


def test_a_class_without_positives_or_negatives_is_excluded_and_counted_not_zero() -> None:
    targets, scores = random_case(4)
    whole = summarise(targets, scores)
    none, every = np.zeros((len(targets), 1), bool), np.ones((len(targets), 1), bool)
    extra = np.random.default_rng(0).random((len(targets), 2))
    figures = summarise(np.hstack([targets, none, every]), np.hstack([scores, extra]))
    assert (figures["excluded_ap"], figures["excluded_auc"], figures["classes"]) == (1, 2, 9)
    assert figures["auc"] == pytest.approx(whole["auc"], abs=1e-12)
    assert figures["map"] == pytest.approx((whole["map"] * 7 + 1.0) / 8, abs=1e-12)  # all positive: AP is 1
    classes = per_class(np.hstack([targets, none, every]), np.hstack([scores, extra]))
    assert np.isnan(classes["ap"][7]) and np.isnan(classes["auc"][7]) and np.isnan(classes["d_prime"][7])
    assert classes["ap"][8] == 1.0 and np.isnan(classes["auc"][8])
    assert classes["positives"].tolist() == [*targets.sum(axis=0), 0, len(targets)]


def test_nothing_to_average_is_nan_without_a_warning() -> None:
    assert math.isnan(average_precision(np.zeros(3), np.ones(3)))
    assert math.isnan(roc_auc(np.zeros(3), np.ones(3)))
    assert math.isnan(roc_auc(np.ones(3), np.ones(3)))
    assert math.isnan(average_precision(np.zeros(0), np.zeros(0)))
    for shape in ((0, 3), (3, 0), (0, 0), (4, 2)):
        figures = summarise(np.zeros(shape, bool), np.zeros(shape))
        assert all(math.isnan(figures[name]) for name in METRICS), shape
        assert figures["excluded_ap"] == figures["classes"] == shape[1]
        intervals = bootstrap_intervals(np.zeros(shape, bool), np.zeros(shape), np.arange(shape[0]), draws=3)
        assert np.isnan(list(intervals.values())).all()


def test_d_prime_is_the_inverse_normal_of_the_area() -> None:
    areas = [1e-12, 0.01, 0.3, 0.5, 0.77, 0.926, 0.999, 1 - 1e-12]
    assert [d_prime(area) for area in areas] == pytest.approx(
        [math.sqrt(2) * norm.ppf(area) for area in areas], abs=1e-9
    )
    assert d_prime(0.5) == 0.0
    assert (d_prime(1.0), d_prime(0.0)) == (math.inf, -math.inf)
    assert math.isnan(d_prime(math.nan))
    with pytest.raises(ValueError, match="AUC is 1.1"):
        d_prime(1.1)


def test_d_prime_agrees_with_the_table_of_hershey() -> None:
    # Hershey et al. (2017), table 2: AUC and d' of the five systems, both rounded there.
    for auc, published in ((0.851, 1.471), (0.894, 1.764), (0.911, 1.911), (0.918, 1.969), (0.926, 2.041)):
        assert d_prime(auc) == pytest.approx(published, abs=0.008)


def test_one_perfect_class_makes_the_mean_d_prime_infinite_and_is_counted() -> None:
    targets, scores = random_case(4)
    figures = summarise(np.hstack([targets, targets[:, :1]]), np.hstack([scores, targets[:, :1] * 1.0]))
    assert figures["d_prime_mean"] == math.inf
    assert figures["infinite_d_prime"] == 1
    assert math.isfinite(figures["d_prime"])


def test_one_best_accuracy_counts_any_true_label_and_leaves_out_clips_without_one() -> None:
    targets = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]])
    scores = np.array([[0.1, 0.9, 0.2], [0.9, 0.1, 0.1], [0.5, 0.1, 0.1], [0.1, 0.1, 0.3]])
    assert one_best_accuracy(targets, scores) == 2 / 3
    figures = summarise(targets, scores)
    assert figures["accuracy"] == 2 / 3
    assert figures["excluded_accuracy"] == 1


def test_a_tie_at_the_top_goes_to_the_lowest_index() -> None:
    assert one_best_accuracy(np.array([[0, 1, 0]]), np.array([[0.1, 0.4, 0.4]])) == 1.0
    assert one_best_accuracy(np.array([[0, 0, 1]]), np.array([[0.1, 0.4, 0.4]])) == 0.0


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32])
def test_scores_of_any_number_type_rank_the_same(dtype: type) -> None:
    targets, scores = random_case(2)
    levels = (scores * 5).astype(dtype)
    assert summarise(targets, levels) == summarise(targets, levels.astype(np.float64))


def test_bootstrap_equals_drawing_the_clips_for_real() -> None:
    targets, scores = random_case(3, clips=40, classes=4)
    targets[:, 3] = False
    targets[:3, 3] = True  # rare: some draws have no positive of it
    groups = np.array([f"recording {n}" for n in np.random.default_rng(5).integers(12, size=40)])
    names = np.unique(groups)
    generator, naive = np.random.default_rng(7), []
    for _ in range(60):
        drawn = names[generator.integers(len(names), size=len(names))]
        clips = np.concatenate([np.flatnonzero(groups == name) for name in drawn])
        t, s = targets[clips].astype(int), scores[clips]
        labelled = t.any(axis=1)
        naive.append(
            {
                "map": macro([slow_average_precision(t[:, k], s[:, k]) for k in range(4)]),
                "auc": macro([slow_auc(t[:, k], s[:, k]) for k in range(4)]),
                "micro_ap": slow_average_precision(t.ravel(), s.ravel()),
                "micro_auc": slow_auc(t.ravel(), s.ravel()),
                "accuracy": t[np.arange(len(t)), s.argmax(axis=1)][labelled].mean(),
            }
        )
    intervals = bootstrap_intervals(targets, scores, groups, draws=60, seed=7, level=0.8)
    for name in naive[0]:
        values = sorted(row[name] for row in naive)
        assert intervals[name] == pytest.approx((values[6], values[-7]), abs=1e-12), name


def test_bootstrap_in_blocks_equals_bootstrap_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, scores = random_case(4)
    groups = np.arange(len(targets)) // 2
    whole = bootstrap_intervals(targets, scores, groups, draws=50)
    monkeypatch.setattr("auricle.metrics.ranking.BLOCK", 130)
    assert bootstrap_intervals(targets, scores, groups, draws=50) == whole


def test_intervals_are_wider_when_clips_of_a_group_err_together() -> None:
    targets, scores = random_case(4, clips=30)
    targets, scores = np.repeat(targets, 8, axis=0), np.repeat(scores, 8, axis=0)
    grouped = bootstrap_intervals(targets, scores, np.arange(240) // 8, draws=200)
    single = bootstrap_intervals(targets, scores, np.arange(240), draws=200)
    width = {
        name: (np.diff(grouped[name]) / np.diff(single[name])).item() for name in ("map", "auc", "accuracy")
    }
    assert min(width.values()) > 1.5, width


def test_intervals_repeat_with_the_seed_contain_the_figure_and_report_progress() -> None:
    targets, scores = random_case(4)
    groups, steps = np.arange(len(targets)), []
    first = bootstrap_intervals(targets, scores, groups, draws=200, progress=steps.append)
    assert first == bootstrap_intervals(targets, scores, groups, draws=200)
    assert first != bootstrap_intervals(targets, scores, groups, draws=200, seed=1)
    assert sum(steps) == targets.shape[1] + 1
    figures = summarise(targets, scores)
    for name, (low, high) in first.items():
        assert low < figures[name] < high, name


def test_what_cannot_be_ranked_is_refused() -> None:
    good = np.array([[1, 0], [0, 1]]), np.array([[0.1, 0.2], [0.3, 0.4]])
    with pytest.raises(ValueError, match=r"\(2,\) and scores \(3,\)"):
        average_precision(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"expected \(N, K\)"):
        summarise(np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match="1 scores are NaN"):
        roc_auc(np.array([0, 1]), np.array([0.3, np.nan]))
    with pytest.raises(ValueError, match="a target is 0.4"):
        roc_auc(np.array([0, 0.4]), np.array([0.3, 0.1]))
    with pytest.raises(ValueError, match="a target is nan"):
        roc_auc(np.array([0, np.nan]), np.array([0.3, 0.1]))
    with pytest.raises(ValueError, match="expected real numbers"):
        roc_auc(np.array([0, 1]), np.array(["0.3", "0.1"]))
    with pytest.raises(ValueError, match=r"expected \(2,\), one for each clip"):
        bootstrap_intervals(*good, np.arange(3))
    with pytest.raises(ValueError, match="draws is 0"):
        bootstrap_intervals(*good, np.arange(2), draws=0)
    with pytest.raises(ValueError, match="level is 95"):
        bootstrap_intervals(*good, np.arange(2), level=95)


def test_no_figure_depends_on_silenced_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summarise(*random_case(0))
