"""Linear classifiers on embeddings: logistic regression with an L2 penalty, solved to its one minimum.

For rows x with weights w that sum to 1, what is minimised is

    sum of w * loss(x W + b, targets) + penalty / 2 * |W|^2 + BIAS_PENALTY / 2 * |b|^2

with x as they are but for one scale: centred, their mean squared length is 1. The loss is the cross-entropy
of a softmax where a row has one label ("one"), and of a sigmoid for each label where it may have several
("several"). Both are convex, and with the penalties strictly: there is one minimum. Newton's method goes
there, each step by conjugate gradients, in the coordinates of the rows' principal axes, in which the Hessian
is nearly diagonal; a rotation changes neither lengths nor the minimum.

Shape letters: N rows, D values of a row, R axes, K labels (columns of targets).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

KINDS = ("one", "several")
BIAS_PENALTY = 1e-6  # a label without a positive has a minimum, too
PENALTIES = tuple(float(f"{10 ** (-step / 2):.2g}") for step in range(2, 11))  # 0.1 to 1e-5, strongest first
EXACT = 1e-9  # largest entry of the gradient at what counts as the minimum
NEWTON_STEPS, INNER_STEPS = 200, 500
NEGLIGIBLE = 1e-12  # share of the largest variance, below which an axis is left out


class Linear(NamedTuple):
    """A solved classifier: `rows @ weights + bias`, the logits of softmax or sigmoids."""

    weights: np.ndarray  # (D, K) float64
    bias: np.ndarray  # (K,) float64
    kind: str
    penalty: float
    objective: float  # what was minimised
    gradient: float  # its largest derivative there, in scaled coordinates

    def logits(self, rows_ND: np.ndarray) -> np.ndarray:
        """(N, K) float64."""
        return np.asarray(rows_ND, np.float64) @ self.weights + self.bias

    def scores(self, rows_ND: np.ndarray) -> np.ndarray:
        """(N, K) probabilities: of a softmax, or of a sigmoid for each label."""
        return probabilities(self.logits(rows_ND), self.kind)


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Rows in the coordinates of their principal axes, scaled to a mean squared length of 1.

    Args:
        rows: (N, R + 1) float64, the last column 1.
        axes: (D, R) float64, a row's centred values -> its coordinates.
        mean: (D,) float64.
    """

    rows: np.ndarray
    axes: np.ndarray
    mean: np.ndarray


def principal_axes(rows_ND: np.ndarray) -> Axes:
    """Rows as the solver wants them: made once for all fits on any of them.

    Raises:
        ValueError: there is no row, or a value is not finite.

    >>> found = principal_axes(np.array([[1.0, 0.0], [3.0, 0.0]]))
    >>> found.axes.shape, bool(np.allclose((found.rows[:, 0] ** 2).mean(), 1))
    ((2, 1), True)
    """
    rows_ND = np.asarray(rows_ND, np.float64)
    if rows_ND.ndim != 2 or not rows_ND.size:
        raise ValueError(f"expected rows (N, D), got {rows_ND.shape}")
    if not np.isfinite(rows_ND).all():
        raise ValueError("an embedding is not finite; auricle check tells whether the model is damaged")
    mean_D = rows_ND.mean(axis=0)
    centred_ND = rows_ND - mean_D
    squared = float((centred_ND**2).sum()) / len(rows_ND)
    scale = np.sqrt(squared) if squared > 0 else 1.0
    if len(rows_ND) >= rows_ND.shape[1]:
        variances, axes_DR = np.linalg.eigh(centred_ND.T @ centred_ND)
    else:
        variances, left_NR = np.linalg.eigh(centred_ND @ centred_ND.T)
        axes_DR = centred_ND.T @ left_NR / np.sqrt(np.maximum(variances, np.finfo(float).tiny))
    kept = variances > NEGLIGIBLE * variances[-1]
    axes_DR = axes_DR[:, kept] / scale
    coordinates = np.hstack([centred_ND @ axes_DR, np.ones((len(rows_ND), 1))])
    return Axes(rows=coordinates, axes=axes_DR, mean=mean_D)


def fit_linear(
    rows_ND: np.ndarray,
    targets_NK: np.ndarray,
    *,
    kind: str,
    penalty: float,
    weights_N: np.ndarray | None = None,
) -> Linear:
    """The one minimum of a penalised logistic regression.

    Args:
        rows_ND: (N, D) embeddings.
        targets_NK: (N, K) of 0 and 1; of kind "one" each row sums to 1.
        kind: "one" label a row (softmax), or "several" (sigmoids).
        penalty: of the weights, above 0; see the head of this file for its unit.
        weights_N: how much each row counts; None: all the same.

    Raises:
        ValueError: shapes, kind, penalty or targets that cannot be; a value that is not finite.

    >>> rows = np.array([[-1.0], [-0.5], [0.5], [1.0]])
    >>> found = fit_linear(rows, np.array([[0], [0], [1], [1]]), kind="several", penalty=0.01)
    >>> found.scores(rows)[:, 0].round(2), found.gradient < 1e-9
    (array([0.01, 0.09, 0.91, 0.99]), True)

    Source: Bishop (2006), sections 4.3.3 and 4.3.4; Nocedal and Wright (2006), section 7.1.
    """
    return next(
        fit_path(principal_axes(rows_ND), targets_NK, kind=kind, penalties=(penalty,), weights_N=weights_N)
    )


def fit_path(
    axes: Axes,
    targets_NK: np.ndarray,
    *,
    kind: str,
    penalties: Sequence[float] = PENALTIES,
    weights_N: np.ndarray | None = None,
    tolerance: float = EXACT,
) -> Iterator[Linear]:
    """`fit_linear` for several penalties, each from where the one before ended; strongest first is fastest.

    Args:
        axes: all rows; those of weight 0 are not learned from.
        targets_NK: as in `fit_linear`, and so are kind and weights_N.
        kind: see above.
        penalties: in the order of the answers.
        weights_N: see above.
        tolerance: largest derivative at the end of each.

    >>> axes = principal_axes(np.array([[-1.0], [1.0]]))
    >>> path = fit_path(axes, np.eye(2), kind="one", penalties=(1.0, 0.01))
    >>> [found.scores(np.array([[1.0]]))[0, 1].round(2).item() for found in path]
    [0.66, 0.98]
    """
    targets_NK = np.asarray(targets_NK, np.float64)
    _check(axes, targets_NK, kind, penalties)
    shares_N = np.ones(len(targets_NK)) if weights_N is None else np.asarray(weights_N, np.float64)
    if shares_N.shape != (len(targets_NK),) or not (shares_N >= 0).all() or not shares_N.sum() > 0:
        raise ValueError("weights: expected one for each row, none negative, not all 0")
    used = shares_N > 0
    problem = _Problem(axes.rows[used], targets_NK[used], shares_N[used] / shares_N.sum(), kind)
    solution = np.zeros((axes.rows.shape[1], targets_NK.shape[1]))
    for penalty in penalties:
        solution, objective, gradient = problem.solve(penalty, solution, tolerance)
        weights_DK = axes.axes @ solution[:-1]
        bias_K = solution[-1] - axes.mean @ weights_DK
        yield Linear(weights_DK, bias_K, kind, float(penalty), objective, gradient)


def probabilities(logits_NK: np.ndarray, kind: str) -> np.ndarray:
    """Logits as probabilities: rows that sum to 1 of kind "one", each on its own of kind "several".

    >>> probabilities(np.zeros((1, 2)), "one"), probabilities(np.zeros((1, 2)), "several")
    (array([[0.5, 0.5]]), array([[0.5, 0.5]]))
    """
    if kind == "one":
        powers = np.exp(logits_NK - logits_NK.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
    small = np.exp(-np.abs(logits_NK))
    return np.asarray(np.where(logits_NK >= 0, 1.0, small) / (1.0 + small))


def clip_loss(scores_NK: np.ndarray, targets_NK: np.ndarray, kind: str) -> np.ndarray:
    """(N,) cross-entropy of each clip's scores, clamped to [1e-6, 1 - 1e-6]: of "several" the labels' mean.

    >>> clip_loss(np.array([[0.5, 0.5]]), np.array([[1, 0]]), "one").round(3)
    array([0.693])
    """
    clamped = np.clip(scores_NK, 1e-6, 1 - 1e-6)
    if kind == "one":
        return -np.asarray((targets_NK * np.log(clamped)).sum(axis=1))
    return -np.asarray((targets_NK * np.log(clamped) + (1 - targets_NK) * np.log1p(-clamped)).mean(axis=1))


def _check(axes: Axes, targets_NK: np.ndarray, kind: str, penalties: Sequence[float]) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    if not penalties or not all(0 < penalty < np.inf for penalty in penalties):
        raise ValueError(
            f"penalty is {', '.join(map(str, penalties)) or 'missing'}; expected a number above 0"
        )
    if targets_NK.ndim != 2 or len(targets_NK) != len(axes.rows) or not targets_NK.shape[1]:
        raise ValueError(f"targets: expected ({len(axes.rows)}, labels), got {targets_NK.shape}")
    if not ((targets_NK == 0) | (targets_NK == 1)).all():
        raise ValueError("targets: expected 0 and 1")
    if kind == "one" and not (targets_NK.sum(axis=1) == 1).all():
        raise ValueError(
            "targets: expected one label for each row; of kind several there may be more, or none"
        )


class _Problem:
    """What is minimised, over (R + 1, K) coordinates of the weights, the bias last."""

    def __init__(self, rows_NR: np.ndarray, targets_NK: np.ndarray, shares_N: np.ndarray, kind: str):
        self.rows, self.targets, self.kind = rows_NR, targets_NK, kind
        self.shares = shares_N[:, None]
        self.moments = shares_N @ rows_NR**2  # (R + 1,)

    def solve(
        self, penalty: float, solution: np.ndarray, tolerance: float
    ) -> tuple[np.ndarray, float, float]:
        """(R + 1, K), the objective and its largest derivative there."""
        ridge = np.full((self.rows.shape[1], 1), penalty)
        ridge[-1] = BIAS_PENALTY
        value, scores = self._value(solution, ridge)
        for _ in range(NEWTON_STEPS):
            slope = self.rows.T @ (self.shares * (scores - self.targets)) + ridge * solution
            largest = float(np.abs(slope).max())
            if largest <= tolerance:
                break
            step = self._newton_step(slope, scores, ridge)
            falling, length = float((slope * step).sum()), 1.0
            while True:
                new_value, new_scores = self._value(solution + length * step, ridge)
                # Near the minimum the objective tells steps apart no longer: there a whole one is safe.
                if new_value <= value + 1e-4 * length * falling or -falling < 1e-13 * max(1.0, value):
                    break
                length /= 2
            solution, value, scores = solution + length * step, new_value, new_scores
        assert largest <= max(tolerance, 1e-6), f"no minimum after {NEWTON_STEPS} steps: {largest}"
        return solution, value, largest

    def _value(self, solution: np.ndarray, ridge: np.ndarray) -> tuple[float, np.ndarray]:
        logits = self.rows @ solution
        if self.kind == "one":
            highest = logits.max(axis=1, keepdims=True)
            powers = np.exp(logits - highest)
            sums = powers.sum(axis=1, keepdims=True)
            losses, scores = (
                np.log(sums) + highest - (self.targets * logits).sum(1, keepdims=True),
                powers / sums,
            )
        else:
            losses = np.logaddexp(0, logits) - self.targets * logits
            scores = probabilities(logits, "several")
        return float((self.shares * losses).sum() + 0.5 * (ridge * solution**2).sum()), scores

    def _newton_step(self, slope: np.ndarray, scores: np.ndarray, ridge: np.ndarray) -> np.ndarray:
        """Conjugate gradients on the Hessian, as far as a step of Newton's method pays."""
        curvature = scores * (1 - scores)
        diagonal = np.outer(self.moments, (self.shares * curvature).sum(axis=0)) + ridge
        enough = min(0.1, float(np.sqrt(np.linalg.norm(slope)))) * np.linalg.norm(slope)
        step, rest = np.zeros_like(slope), -slope
        scaled = rest / diagonal
        direction, product = scaled, float((rest * scaled).sum())
        for _ in range(INNER_STEPS):
            moved = self.rows @ direction
            if self.kind == "one":
                turned = scores * moved
                turned -= scores * turned.sum(axis=1, keepdims=True)
            else:
                turned = curvature * moved
            curved = self.rows.T @ (self.shares * turned) + ridge * direction
            length = product / float((direction * curved).sum())
            step = step + length * direction
            rest = rest - length * curved
            if np.linalg.norm(rest) <= enough:
                break
            scaled = rest / diagonal
            before, product = product, float((rest * scaled).sum())
            direction = scaled + product / before * direction
        return step
