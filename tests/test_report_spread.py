"""How far d' scatters by chance: the formula against simulated test splits."""

import math

import numpy as np
import pytest

from auricle.metrics.ranking import d_prime
from auricle.report.priors import by_decade
from auricle.report.spread import auc_deviation, by_sampling, d_prime_deviation


def simulated_auc(rng: np.random.Generator, d: float, positives: int, negatives: int) -> float:
    below = np.sort(rng.normal(0, 1, negatives))
    return float(np.searchsorted(below, rng.normal(d, 1, positives)).mean()) / negatives


@pytest.mark.parametrize("d", [-0.5, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("positives, negatives", [(5, 300), (40, 300), (60, 20)])
def test_the_deviation_of_an_auc_is_that_of_simulated_splits(
    d: float, positives: int, negatives: int
) -> None:
    rng = np.random.default_rng(7)
    areas = [simulated_auc(rng, d, positives, negatives) for _ in range(1500)]
    # The standard error of a deviation of 1,500 is 2%, more where the areas are skewed.
    assert auc_deviation(d, positives, negatives) == pytest.approx(np.std(areas), rel=0.07)


@pytest.mark.parametrize(
    "d, positives, tolerance", [(0.5, 20, 0.07), (1.5, 20, 0.1), (2.5, 60, 0.1), (1.0, 5, 0.15)]
)
def test_the_deviation_of_d_prime_is_that_of_simulated_splits(
    d: float, positives: int, tolerance: float
) -> None:
    rng = np.random.default_rng(8)
    found = [d_prime(simulated_auc(rng, d, positives, 1000)) for _ in range(1000)]
    finite = [value for value in found if math.isfinite(value)]
    assert len(finite) > 990
    assert d_prime_deviation(d, positives, 1000) == pytest.approx(np.std(finite), rel=tolerance)


def test_the_integral_is_the_slow_one() -> None:
    # P(two positives beat one negative), by a fine sum over where the negative lies.
    for d in (-1.0, 0.0, 1.3, 3.0):
        both = 0.0
        for n in range(-8000, 8001):
            x = n / 1000
            both += (
                math.exp(-x * x / 2)
                / math.sqrt(2 * math.pi)
                / 1000
                * (0.5 * math.erfc((x - d) / 2**0.5)) ** 2
            )
        auc = 0.5 * math.erfc(-d / 2)
        slow = math.sqrt((auc * (1 - auc) + (7 + 90 - 2) * (both - auc**2)) / (7 * 90))
        assert auc_deviation(d, 7, 90) == pytest.approx(slow, rel=1e-3)


def test_classes_of_one_true_d_prime_scatter_as_by_sampling_and_others_more() -> None:
    rng = np.random.default_rng(9)
    clips, count = 1500, 600
    positives = rng.integers(8, 60, count)
    prior = positives / clips
    alike = np.array([d_prime(simulated_auc(rng, 1.2, k, clips - k)) for k in positives])
    different = np.array([d_prime(simulated_auc(rng, rng.normal(1.2, 0.8), k, clips - k)) for k in positives])
    for values, apart in ((alike, 0.0), (different, 0.8)):
        for row in by_decade(prior, values, positives, clips):
            assert row["positives"] == np.median(positives[(prior >= row["low"]) & (prior < row["high"])])
            expected = math.hypot(row["by_sampling"], apart)
            assert row["deviation"] == pytest.approx(expected, rel=0.15)


def test_what_is_not_known_is_none() -> None:
    assert by_sampling(1.0, np.array([3, 4]), 0) is None
    assert by_sampling(1.0, np.array([], int), 100) is None
    assert by_sampling(1.0, np.array([0, 4]), 100) is None
    (row,) = by_decade(np.array([0.02, 0.03]), np.array([1.0, 2.0]))
    assert row["by_sampling"] is None and row["positives"] is None


def test_few_clips_and_infinite_classes_leave_the_number_out() -> None:
    assert by_sampling(2.0, np.array([4, 4, 9]), 1000) is None
    assert by_sampling(2.0, np.array([5, 5, 9]), 1000) is not None
    prior, positives = np.full(3, 0.02), np.full(3, 9)
    assert by_decade(prior, np.array([1.0, 2.0, 3.0]), positives, 1000)[0]["by_sampling"] is not None
    row = by_decade(prior, np.array([1.0, 2.0, np.inf]), positives, 1000)[0]
    assert row["by_sampling"] is None and row["infinite"] == 1
