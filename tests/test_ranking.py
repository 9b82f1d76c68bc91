"""Ranking metrics equal scikit-learn and slow, obvious second implementations, ties and all."""

import math
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from sklearn.metrics import average_precision_score, roc_auc_score

from auricle.metrics.areas import positives
from auricle.metrics.blocks import ordered_keys, rank_blocks
from auricle.metrics.bootstrap import bootstrap_blocks, group_weights, moved_interval
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
    figures = summarise(targets, scores)
    for name in naive[0]:
        values = sorted(row[name] for row in naive)
        moved = figures[name] - values[29]  # the median of the draws falls on the figure
        low, high = max(0.0, values[6] + moved), min(1.0, values[-7] + moved)
        assert intervals[name] == pytest.approx((low, high), abs=1e-12), name


def test_an_interval_holds_its_figure_also_where_classes_have_few_positives() -> None:
    # Drawn clips stand beside their own copies, so plain percentiles of average precision lie too high.
    generator = np.random.default_rng(0)
    targets = generator.random((100, 40)) < 0.02
    scores = generator.standard_normal((100, 40)) + targets
    intervals = bootstrap_intervals(targets, scores, np.arange(100), draws=200)
    figures = summarise(targets, scores)
    for name, (low, high) in intervals.items():
        assert low <= figures[name] <= high, name
    low, high = intervals["map"]
    assert 0.2 < (figures["map"] - low) / (high - low) < 0.8


def test_intervals_cover_what_other_recordings_give() -> None:
    # Of 120 test sets with nine positives a class: how many 90% intervals hold the mean of the figures.
    generator = np.random.default_rng(1)
    figures, bounds = [], []
    for _ in range(120):
        targets = generator.random((60, 6)) < 0.15
        scores = generator.standard_normal(targets.shape) + 1.5 * targets
        figures.append(summarise(targets, scores)["map"])
        bounds.append(bootstrap_intervals(targets, scores, np.arange(60), draws=100, level=0.9)["map"])
    low, high = np.array(bounds).T
    assert 0.82 <= ((low <= np.mean(figures)) & (np.mean(figures) <= high)).mean() <= 0.95


def test_bootstrap_in_blocks_equals_bootstrap_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, scores = random_case(4)
    groups = np.arange(len(targets)) // 2
    whole = bootstrap_intervals(targets, scores, groups, draws=50)
    monkeypatch.setattr("auricle.metrics.bootstrap.BLOCK", 130)
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


@pytest.mark.parametrize("wrong", [0, 1, 3, 50])
def test_accuracy_of_which_few_recordings_err_has_the_bounds_of_a_binomial(wrong: int) -> None:
    truth = np.arange(51) % 3
    best = np.where(np.arange(51) < wrong, (truth + 1) % 3, truth)
    targets, scores = np.eye(3, dtype=bool)[truth].repeat(2, axis=0), np.eye(3)[best].repeat(2, axis=0)
    groups = np.arange(51).repeat(2)  # two clips each, which err together
    low, high = bootstrap_intervals(targets, scores, groups, draws=100)["accuracy"]
    expected = binomtest(51 - wrong, 51).proportion_ci(0.95, "exact")
    assert low <= expected.low + 1e-9 and high >= expected.high - 1e-9
    assert low > expected.low - 0.02 and high < expected.high + 0.02


def test_many_errors_leave_accuracy_to_the_draws() -> None:
    truth, correct = np.zeros(40, int), np.arange(40) >= 4
    scores = np.stack([correct, ~correct], axis=1).astype(float)
    found = bootstrap_intervals(np.eye(2, dtype=bool)[truth], scores, np.arange(40), draws=200)["accuracy"]
    weights = group_weights(np.arange(40), 200, 0)
    assert found == moved_interval(weights @ correct / 40, 0.95, bounded=True)


def test_draws_that_all_give_the_same_make_no_interval() -> None:
    targets = np.eye(3, dtype=bool)[np.arange(60) % 3]
    perfect = bootstrap_intervals(targets, targets.astype(float), np.arange(60), draws=100)
    for name in set(METRICS) - {"accuracy"}:
        assert np.isnan(perfect[name]).all(), name
    low, high = perfect["accuracy"]
    assert (low, high) == (pytest.approx(0.025 ** (1 / 60)), 1.0)
    of_one = bootstrap_intervals(*random_case(5), np.zeros(len(random_case(5)[0])), draws=20)
    assert np.isnan(of_one["map"]).all() and np.diff(of_one["accuracy"]) > 0.9


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


def stored(seed: int, dtype: type, clips: int = 90, classes: int = 13) -> tuple[np.ndarray, np.ndarray]:
    """Logits as they might lie on disk: ties, both zeros, both infinities, an empty and a full class."""
    rng = np.random.default_rng(seed)
    targets = rng.random((clips, classes)) < 0.2
    targets[:, 1], targets[:, 2] = False, True
    scores = (rng.standard_normal((clips, classes)) * 3 - 4).round(seed % 3).astype(dtype)
    scores[rng.random(scores.shape) < 0.05] = 0.0
    scores[rng.random(scores.shape) < 0.05] = -0.0
    scores[rng.random(scores.shape) < 0.02] = np.inf
    scores[rng.random(scores.shape) < 0.02] = -np.inf
    return targets, scores


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_blocks_equal_the_slow_oracle_and_scikit_learn(seed: int, dtype: type) -> None:
    targets, scores = stored(seed, dtype)
    ranking = rank_blocks(scores, *positives(targets), threads=1)
    wide = np.clip(scores.astype(np.float64), -1e9, 1e9)  # scikit-learn takes no infinity
    for k in range(targets.shape[1]):
        column, ap, auc = targets[:, k], ranking.classes["ap"][k], ranking.classes["auc"][k]
        assert ap == pytest.approx(slow_average_precision(column, wide[:, k]), abs=1e-12, nan_ok=True)
        assert auc == pytest.approx(slow_auc(column, wide[:, k]), abs=1e-12, nan_ok=True)
        if k not in (1, 2):
            assert ap == pytest.approx(average_precision_score(column, wide[:, k]), abs=1e-12)
            assert auc == pytest.approx(roc_auc_score(column, wide[:, k]), abs=1e-12)
    assert ranking.figures["micro_ap"] == pytest.approx(
        slow_average_precision(targets.ravel(), wide.ravel()), abs=1e-12
    )
    assert ranking.figures["micro_auc"] == pytest.approx(slow_auc(targets.ravel(), wide.ravel()), abs=1e-12)
    assert (ranking.figures["excluded_ap"], ranking.figures["excluded_auc"]) == (1, 2)
    right = [targets[n, scores[n].tolist().index(max(scores[n].tolist()))] for n in range(len(scores))]
    assert ranking.figures["accuracy"] == np.mean(right)  # every clip has the label of the full class


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("memory", "threads"), [(1, 1), (1, 3), (400, 2), (3000, 1), (2**29, 2)])
def test_blocks_of_any_size_on_any_threads_equal_the_whole_to_the_last_bit(
    dtype: type, memory: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets, scores = stored(1, dtype)
    whole = per_class(targets, scores), summarise(targets, scores)
    for rows, tile in ((1024, 64), (7, 3)):
        monkeypatch.setattr("auricle.metrics.blocks.ROWS", rows)
        monkeypatch.setattr("auricle.metrics.blocks.TILE", tile)
        ranking = rank_blocks(scores, *positives(targets), memory=memory, threads=threads)
        assert str(ranking.figures) == str(whole[1])
        for name, values in whole[0].items():
            np.testing.assert_array_equal(ranking.classes[name], values)


def test_scores_on_disk_rank_as_in_memory_whatever_their_byte_order(tmp_path: Path) -> None:
    targets, scores = stored(0, np.float16)
    whole = str(summarise(targets, scores))
    for dtype in ("<f2", ">f2", "<f4", ">f4"):
        np.save(tmp_path / "scores.npy", scores.astype(dtype))
        mapped = np.load(tmp_path / "scores.npy", mmap_mode="r")
        assert str(rank_blocks(mapped, *positives(targets), memory=500, threads=2).figures) == whole
        np.testing.assert_array_equal(mapped, scores)  # read only, and left as it was


def test_blocks_of_some_columns_in_any_order_are_those_of_the_columns_alone() -> None:
    targets, scores = stored(2, np.float16)
    for columns in ([5, 0, 7, 8, 9], [4], [6, 7, 8], []):
        some = rank_blocks(scores, *positives(targets[:, columns]), columns=columns, memory=900, threads=2)
        alone = rank_blocks(scores[:, columns], *positives(targets[:, columns]), threads=1)
        assert str(some.figures) == str(alone.figures)
        np.testing.assert_array_equal(some.best_N, alone.best_N)


def test_keys_of_float16_are_in_the_order_of_the_numbers() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    every = every[~np.isnan(every)]
    keys = ordered_keys(every.copy())
    wide, order = every.astype(np.float64), np.argsort(every.astype(np.float64), kind="stable")
    np.testing.assert_array_equal(np.diff(keys[order].astype(int)) > 0, np.diff(wide[order]) > 0)
    assert (np.diff(keys[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_nan_is_refused_in_blocks_too(dtype: type, sign: int) -> None:
    targets, scores = stored(0, dtype)
    scores[3, 4] = np.copysign(dtype(np.nan), dtype(sign))
    with pytest.raises(ValueError, match="NaN"):
        rank_blocks(scores, *positives(targets), threads=1)


def test_blocks_report_every_score_twice_and_refuse_what_does_not_match() -> None:
    targets, scores = stored(0, np.float32)
    steps: list[int] = []
    rank_blocks(scores, *positives(targets), memory=2000, threads=2, progress=steps.append)
    assert sum(steps) == 2 * scores.size and len(steps) > 4
    indptr, clips = positives(targets)
    with pytest.raises(ValueError, match=r"indptr has shape \(14,\): expected \(3,\)"):
        rank_blocks(scores, indptr, clips, columns=[0, 1])
    with pytest.raises(ValueError, match="clips go from 0 to 900: expected 0 to 89"):
        rank_blocks(scores, indptr, np.append(clips[:-1], 900))
    with pytest.raises(ValueError, match="columns go from -1 to 3"):
        rank_blocks(scores, np.zeros(3, int), np.zeros(0, int), columns=[-1, 3])
    with pytest.raises(ValueError, match="expected real numbers"):
        rank_blocks(targets, indptr, clips)


def test_ranking_holds_blocks_not_all_scores(tmp_path: Path) -> None:
    clips, classes = 20_000, 400
    rng, path = np.random.default_rng(0), tmp_path / "scores.npy"
    np.save(path, rng.standard_normal((clips, classes)).astype(np.float16))  # 16 MB
    indptr = np.arange(classes + 1) * 50
    rows = rng.integers(clips, size=classes * 50)
    mapped = np.load(path, mmap_mode="r")
    tracemalloc.start()
    try:
        whole = rank_blocks(mapped, indptr, rows, threads=1).figures
        all_at_once = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert rank_blocks(mapped, indptr, rows, memory=2**20, threads=2).figures == whole
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert all_at_once > 16e6 and peak < 4e6, (all_at_once, peak)


def test_bootstrap_of_blocks_equals_that_of_the_whole() -> None:
    targets, scores = stored(1, np.float32)
    groups = np.arange(len(scores)) // 3
    whole = bootstrap_intervals(targets, scores, groups, draws=30, seed=2)
    best = scores.argmax(axis=1)
    options = {"draws": 30, "seed": 2, "memory": 3000}
    again = bootstrap_blocks(scores, *positives(targets), groups, best, **options)
    assert str(again) == str(whole)
    macro = bootstrap_blocks(scores, *positives(targets), groups, best, micro=False, **options)
    assert str(macro) == str({name: whole[name] for name in METRICS if "micro" not in name})
    halves = scores.astype(np.float16)
    narrow = bootstrap_blocks(halves, *positives(targets), groups, best, **options)
    as_wide = bootstrap_intervals(targets, halves.astype(np.float32), groups, draws=30, seed=2)
    for name in ("map", "auc", "micro_ap", "micro_auc"):
        assert narrow[name] == pytest.approx(as_wide[name], abs=1e-12)
