"""Calibrations fitted to scores and what was true: rising maps under which scores are probabilities.

Labels of few examples lend from the others. Of an affine map, scale and offset are drawn towards those of all
labels together. The targets of that one and of rising maps are a little less than 1 and more than 0, as after
one more example of each kind. Without that the map of examples that can be told apart would have no end.

Sources: Platt, "Probabilistic outputs for support vector machines", 1999 (affine; the targets); Guo et al.,
"On calibration of modern neural networks", ICML 2017 (temperature); Zadrozny and Elkan, "Transforming
classifier scores into accurate multiclass probability estimates", KDD 2002 (isotonic).

Shape letters: N examples, K labels, P the two parameters, J knots.
"""

from typing import Any

import numpy as np

from auricle.runners.windows import logit, sigmoid

STEPS, HALVINGS = 100, 30  # of a fit, at most; ten steps are usual
PRECISION = 1e-7  # of log scale and offset, at which a fit ends
LONGEST = 2.0  # step of a parameter
MANY = 4096  # examples, beyond which a rising map takes logits by 64ths
LEAST = 1e-6  # between two knots
MOST = np.array([[5.0], [50.0]])  # log scale and offset, either way


def smoothed(targets_NK: np.ndarray, weights_NK: np.ndarray) -> np.ndarray:
    """(N, K) targets after Platt: (N+ + 1) / (N+ + 2) of a positive, 1 / (N- + 2) of a negative.

    >>> smoothed(np.array([[True], [False], [False]]), np.ones((3, 1))).ravel().round(3).tolist()
    [0.667, 0.25, 0.25]
    """
    positives_K = np.where(targets_NK, weights_NK, 0).sum(axis=0)
    negatives_K = np.where(targets_NK, 0, weights_NK).sum(axis=0)
    return np.where(targets_NK, (positives_K + 1) / (positives_K + 2), 1 / (negatives_K + 2))


def fit_affine(
    logits_NK: np.ndarray,
    targets_NK: np.ndarray,
    weights_NK: np.ndarray,
    *,
    offset: bool = True,
    around: tuple[float, float] = (1.0, 0.0),
    strength: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray]:
    """The most likely scale and offset of each label: those of a logistic regression, the scale above 0.

    Args:
        logits_NK: (N, K).
        targets_NK: (N, K) bool, or `smoothed`.
        weights_NK: (N, K), how much each counts; 0 where it is not known.
        offset: False keeps it at 0: the scale is one over a temperature.
        around: scale and offset towards which labels of few examples are drawn.
        strength: how strongly: log scale and offset are taken to be drawn from a normal distribution around
            these, of this precision (1 over its variance), above 0.

    Returns:
        ((K,), (K,)) float64.

    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(0, 4, (9000, 1))
    >>> scale, shift = fit_affine(z, rng.random((9000, 1)) < sigmoid(0.5 * z - 1), np.ones((9000, 1)))
    >>> round(scale.item(), 1), round(shift.item(), 1)
    (0.5, -1.1)
    """
    logits, weights = np.asarray(logits_NK, np.float64), np.asarray(weights_NK, np.float64)
    targets = np.asarray(targets_NK, np.float64)
    centre_P1 = np.array([[np.log(around[0])], [around[1]]])

    def loss_of(at_PK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(K,) what is to be least, and (N, K) the mapped logits."""
        mapped = np.exp(at_PK[0]) * logits + at_PK[1]
        loss = (weights * (np.logaddexp(0, mapped) - targets * mapped)).sum(axis=0)
        return loss + strength / 2 * ((at_PK - centre_P1) ** 2).sum(axis=0), mapped

    at = np.repeat(centre_P1, logits.shape[1], axis=1)
    loss, mapped = loss_of(at)
    for _ in range(STEPS):
        scores, along = sigmoid(mapped), np.exp(at[0]) * logits  # of the mapped logit by the log scale
        pull, bend = weights * (scores - targets), weights * scores * (1 - scores)
        slopes_of_scale = (pull * along).sum(axis=0)
        slopes = np.stack([slopes_of_scale, pull.sum(axis=0)]) + strength * (at - centre_P1)
        cross = (bend * along).sum(axis=0)
        bends = np.array([[(bend * along**2).sum(axis=0), cross], [cross, bend.sum(axis=0)]])
        bends[0, 0] += np.maximum(slopes_of_scale, 0)  # its own bend; where it is negative, steps stay short
        bends[[0, 1], [0, 1]] += strength
        if not offset:
            slopes[1], bends[0, 1], bends[1, 0] = 0, 0, 0
        step = -np.linalg.solve(bends.transpose(2, 0, 1), slopes.T[..., None])[..., 0].T
        step = np.clip(step, -LONGEST, LONGEST)
        for _ in range(HALVINGS):  # of the labels that a step makes worse
            new = np.clip(at + step, -MOST, MOST)
            new_loss, new_mapped = loss_of(new)
            worse = new_loss > loss + 1e-12 * np.abs(loss)
            if not worse.any():
                break
            step[:, worse] /= 2
        at, loss, mapped, moved = new, new_loss, new_mapped, np.abs(new - at).max(initial=0.0)
        if moved <= PRECISION:
            break
    return np.exp(at[0]), at[1]


def fit_isotonic(
    logits_N: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray, slope: float = 1.0
) -> dict[str, list[float]]:
    """The rising map of one label, as its entry in a calibration: x and y, both strictly rising.

    The knots stand at the steps of the best rising function of the logits, each at its step's mean logit;
    straight lines join them as logits. One more at either end, a logit away, says how the map goes on: with
    `slope`.

    >>> found = fit_isotonic(np.array([1.0, 2, 3, 4]), np.array([0, 1, 0, 1]) > 0, np.ones(4))
    >>> found["x"], np.round(sigmoid(found["y"]), 2).tolist()
    ([0.0, 1.0, 2.5, 4.0, 5.0], [0.11, 0.25, 0.5, 0.75, 0.89])
    """
    weights = np.asarray(weights_N, np.float64)
    known = weights > 0
    if len(weights) > MANY:
        logits_N = np.rint(np.asarray(logits_N, np.float64) * 64) / 64
    targets = smoothed(np.asarray(targets_N)[known, None], weights[known, None])[:, 0]
    x, share = rising_steps(np.asarray(logits_N, np.float64)[known], targets, weights[known])
    y = logit(share)
    apart = np.append(True, np.minimum(np.diff(x), np.diff(y)) > LEAST)  # else a line rises by rounding alone
    x, y = x[apart], y[apart]
    return {
        "x": [float(x[0] - 1), *x.tolist(), float(x[-1] + 1)],
        "y": [float(y[0] - slope), *y.tolist(), float(y[-1] + slope)],
    }


def rising_steps(x_N: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray) -> tuple[Any, Any]:
    """The rising function nearest to the targets, by pooling adjacent violators.

    Returns:
        ((J,) mean x, (J,) value) of its steps; both strictly rising.

    >>> [part.tolist() for part in rising_steps(np.array([1.0, 0, 2]), np.array([0.0, 1, 1]), np.ones(3))]
    [[0.5, 2.0], [0.5, 1.0]]

    Source: Ayer et al., "An empirical distribution function for sampling with incomplete information", 1955.
    """
    values, which = np.unique(x_N, return_inverse=True)
    weight = np.bincount(which, weights_N)
    total = np.bincount(which, weights_N * targets_N)
    steps: list[tuple[float, float, float]] = []  # weight, sum of targets, sum of x
    for w, t, m in zip(weight.tolist(), total.tolist(), (weight * values).tolist(), strict=True):
        while steps and steps[-1][1] / steps[-1][0] >= t / w:
            w, t, m = w + steps[-1][0], t + steps[-1][1], m + steps[-1][2]
            steps.pop()
        steps.append((w, t, m))
    of_steps = np.array(steps)
    return of_steps[:, 2] / of_steps[:, 0], of_steps[:, 1] / of_steps[:, 0]
