"""Logistic regression on embeddings: the one minimum, by independent oracles."""

import numpy as np
import pytest
from scipy.optimize import minimize

from auricle.linear import (
    BIAS_PENALTY,
    PENALTIES,
    Linear,
    clip_loss,
    fit_linear,
    fit_path,
    principal_axes,
)


def some_rows(kind: str, rows: int = 40, size: int = 5, labels: int = 3) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(3)
    features = random.standard_normal((rows, size)) * [1, 5, 0.1, 2, 1] + 7
    truth = features @ random.standard_normal((size, labels)) + random.standard_normal((rows, labels))
    if kind == "one":
        targets = np.eye(labels)[truth.argmax(1)]
    else:
        targets = (truth > np.median(truth, axis=0)).astype(float)
    return features, targets, random.uniform(0.5, 2, rows)


def plain_objective(
    solution: np.ndarray,
    rows: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    kind: str,
    penalty: float,
) -> float:
    """The formula at the head of the module, row by row; rows are centred and scaled by hand."""
    mean = rows.sum(0) / len(rows)
    scale = np.sqrt(sum(((row - mean) ** 2).sum() for row in rows) / len(rows))
    matrix, bias = solution[:-1], solution[-1]
    total = 0.0
    for row, target, weight in zip(rows, targets, weights / weights.sum(), strict=True):
        logits = (row - mean) / scale @ matrix + bias
        if kind == "one":
            total -= weight * (logits[target.argmax()] - np.log(np.exp(logits).sum()))
        else:
            for logit, there in zip(logits, target, strict=True):
                total -= weight * np.log(1 / (1 + np.exp(-logit if there else logit)))
    return float(total + penalty / 2 * (matrix**2).sum() + BIAS_PENALTY / 2 * (bias**2).sum())


@pytest.mark.parametrize("kind", ["one", "several"])
@pytest.mark.parametrize("penalty", [0.1, 1e-3])
def test_the_minimum_is_that_of_the_plain_formula(kind: str, penalty: float) -> None:
    rows, targets, weights = some_rows(kind)
    found = fit_linear(rows, targets, kind=kind, penalty=penalty, weights_N=weights)
    assert found.gradient <= 1e-9

    def flat(vector: np.ndarray) -> float:
        return plain_objective(vector.reshape(6, 3), rows, targets, weights, kind, penalty)

    slow = minimize(flat, np.zeros(18), method="BFGS", options={"gtol": 1e-7, "maxiter": 2000})
    assert found.objective == pytest.approx(slow.fun, abs=1e-7)
    assert found.objective <= slow.fun + 1e-12  # nothing lies below the minimum
    mean = rows.mean(0)
    scale = np.sqrt(((rows - mean) ** 2).sum() / len(rows))
    theirs = (rows - mean) / scale @ slow.x.reshape(6, 3)[:-1] + slow.x.reshape(6, 3)[-1]
    assert np.allclose(found.logits(rows) - found.logits(rows).mean(1, keepdims=True) * (kind == "one"),
                       theirs - theirs.mean(1, keepdims=True) * (kind == "one"), atol=2e-3)  # fmt: skip


@pytest.mark.parametrize("kind", ["one", "several"])
def test_it_agrees_with_scikit_learn(kind: str) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rows, targets, weights = some_rows(kind)
    mean = rows.mean(0)
    scaled = (rows - mean) / np.sqrt(((rows - mean) ** 2).sum() / len(rows))
    found = fit_linear(rows, targets, kind=kind, penalty=0.01, weights_N=weights)
    options = {"C": 1 / (0.01 * weights.sum()), "tol": 1e-10, "max_iter": 10000}
    if kind == "one":
        theirs = linear_model.LogisticRegression(**options).fit(scaled, targets.argmax(1), weights)
        assert np.allclose(found.scores(rows), theirs.predict_proba(scaled), atol=1e-4)
        return
    for k in range(3):
        theirs = linear_model.LogisticRegression(**options).fit(scaled, targets[:, k], weights)
        assert np.allclose(found.scores(rows)[:, k], theirs.predict_proba(scaled)[:, 1], atol=1e-4)


@pytest.mark.parametrize("kind", ["one", "several"])
def test_more_values_than_rows_is_no_trouble(kind: str) -> None:
    rows, targets, _ = some_rows(kind)
    wide = np.hstack([rows, np.random.default_rng(0).standard_normal((40, 300))])
    found = fit_linear(wide, targets, kind=kind, penalty=1e-4)
    assert found.gradient <= 1e-9 and found.weights.shape == (305, 3)
    assert np.allclose(
        found.scores(wide), targets, atol=0.1
    )  # in so many dimensions anything can be told apart


def test_turned_rows_have_the_same_answer() -> None:
    rows, targets, weights = some_rows("one")
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))
    one, two = (
        fit_linear(each, targets, kind="one", penalty=0.01, weights_N=weights)
        for each in (rows, rows @ turn + 3)
    )
    assert np.allclose(one.scores(rows), two.scores(rows @ turn + 3), atol=1e-7)


def test_a_row_that_counts_twice_is_two_rows_and_one_that_counts_nothing_is_none() -> None:
    rows, targets, _ = some_rows("one")
    axes = principal_axes(rows)
    weights = np.ones(40)
    weights[:5], weights[5:9] = 2, 0
    order = [*range(5), *range(5), *range(9, 40)]
    # The same axes and scale: what is compared is the weights alone.
    twice = type(axes)(rows=axes.rows[order], axes=axes.axes, mean=axes.mean)
    one = next(fit_path(axes, targets, kind="one", penalties=(0.01,), weights_N=weights))
    two = next(fit_path(twice, targets[order], kind="one", penalties=(0.01,)))
    assert np.allclose(one.weights, two.weights, atol=1e-6)


def test_a_label_without_a_positive_has_a_minimum_and_scores_low() -> None:
    rows, targets, _ = some_rows("several")
    targets[:, 1] = 0
    found = fit_linear(rows, targets, kind="several", penalty=0.01)
    assert found.scores(rows)[:, 1].max() < 1e-3 and found.gradient <= 1e-9


def test_a_path_gives_what_each_fit_alone_gives() -> None:
    rows, targets, _ = some_rows("one")
    path = list(fit_path(principal_axes(rows), targets, kind="one"))
    assert [found.penalty for found in path] == list(PENALTIES)
    for found in path[::3]:
        alone = fit_linear(rows, targets, kind="one", penalty=found.penalty)
        assert np.allclose(found.scores(rows), alone.scores(rows), atol=1e-6)
    lengths = [np.linalg.norm(found.weights) for found in path]
    assert lengths == sorted(lengths)  # the weaker the penalty, the larger the weights


def test_equal_rows_and_constant_values_are_no_trouble() -> None:
    found = fit_linear(np.ones((4, 3)), np.array([[1], [1], [1], [0]]), kind="several", penalty=0.01)
    assert np.allclose(found.scores(np.ones((1, 3))), 0.75, atol=1e-4)


def test_the_loss_of_a_clip() -> None:
    scores, targets = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]]), np.array([[1, 0, 0], [1, 0, 0]])
    assert clip_loss(scores, targets, "one").tolist() == pytest.approx([-np.log(0.7), -np.log(1e-6)])
    several = -(np.log(0.7) + np.log(0.8) + np.log(0.9)) / 3
    assert clip_loss(scores, targets, "several")[0] == pytest.approx(several)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kind": "both"}, "expected one of one, several"),
        ({"penalty": 0}, "expected a number above 0"),
        ({"targets": np.full((40, 3), 0.5)}, "expected 0 and 1"),
        ({"targets": np.ones((40, 3))}, "one label for each row"),
        ({"targets": np.ones((3, 3))}, r"expected \(40, labels\)"),
        ({"rows": np.full((40, 5), np.nan)}, "not finite"),
        ({"weights_N": -np.ones(40)}, "none negative"),
    ],
)
def test_what_cannot_be_solved_is_refused(changes: dict, message: str) -> None:
    rows, targets, _ = some_rows("one")
    given = {"rows": rows, "targets": targets, "kind": "one", "penalty": 0.1} | changes
    with pytest.raises(ValueError, match=message):
        fit_linear(given.pop("rows"), given.pop("targets"), **given)


def test_probabilities_far_out_do_not_overflow() -> None:
    far = Linear(np.array([[1000.0, -1000.0]]), np.zeros(2), "one", 1.0, 0.0, 0.0)
    assert far.scores(np.array([[1.0]])).tolist() == [[1, 0]]
    assert far._replace(kind="several").scores(np.array([[1.0]])).tolist() == [[1, 0]]
