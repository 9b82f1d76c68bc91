"""How far clips' scores are from probabilities: bins of scores, the error over them, and its interval.

Pairs of clip and label of which nobody knows whether the label holds are left out.

Shape letters: M clips evaluated, K classes of the model, S that model and pack share, B bins, G groups.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from auricle.metrics.reliability import BINS, bin_rows, calibration_error, losses
from auricle.runners.windows import sigmoid

VALUES, FEWEST_ROWS = 2**16, 16  # scores, and clips at least, looked at together
DRAWN = 2**22  # of draw and group together


def reliability_figures(
    scores_MK: np.ndarray,
    positives: tuple[np.ndarray, np.ndarray],
    unknown: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
    columns: Sequence[int],
    *,
    thresholds: Sequence[float] | None = None,
    draws: int = 0,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[dict[str, Any], dict[str, tuple[float, float]], np.ndarray]:
    """Figures of calibration, the intervals of two of them, and each class's error.

    Args:
        scores_MK: (M, K) scores, or float16 logits.
        positives: (indptr (S + 1), rows) of the shared classes, as `positives_of` gives them.
        unknown: (rows (P,), class (P,) in [0, S)) of pairs that are left out.
        groups: (M,) the recording of each clip.
        columns: (S,) which of the K are the shared classes.
        thresholds: (S,) of the shared classes; None where the model has none.
        draws: bootstrap draws of groups; 0 leaves intervals out.
        seed: of the draws.
        level: share of the draws that an interval covers.

    Returns:
        (figures, metric -> (low, high), (S,) errors of the classes). Figures: "ece" of all pairs together,
        "ece_classwise" the mean of the classes', "ece_top" of each clip's best class, over clips that have a
        class; "brier" and "log_loss", sums over classes and means over clips; "reliability", the bins of the
        first and the third; with thresholds, "at_thresholds" says how many pairs pass theirs, and the
        precision, recall and F1 of that, all classes together. Intervals are moved so that the draws' median
        is the figure, as elsewhere.

    >>> scores, all_known = np.array([[0.9], [0.2]]), (np.zeros(0, int), np.zeros(0, int))
    >>> found = reliability_figures(scores, (np.array([0, 1]), np.array([0])), all_known, np.arange(2), [0])
    >>> round(found[0]["ece"], 3), found[0]["reliability"]["top"][0]["score"]
    (0.15, 0.9)
    """
    count, classes = len(scores_MK), len(columns)
    bounds, rows = positives
    row_of, class_of = _by_row(rows, np.repeat(np.arange(classes), np.diff(bounds)))
    hidden_row, hidden_class = _by_row(*unknown)
    names, which = np.unique(groups, return_inverse=True)
    many = len(names) if draws else 0  # what is drawn is kept by group
    of_classes = np.zeros((classes, 3, BINS))
    top = np.zeros((3, BINS))
    apart = np.zeros((2, many, BINS))  # sums of score less truth: all pairs, best classes
    sizes = np.zeros((2, many))
    squares = logs = 0.0
    passed = np.zeros(3)  # pairs that pass their thresholds, that also hold, that hold
    step = max(FEWEST_ROWS, VALUES // max(1, scores_MK.shape[1]))
    for first in range(0, count, step):
        some = slice(first, min(first + step, count))
        scores = np.asarray(scores_MK[some])[:, columns]
        scores = sigmoid(scores) if scores.dtype == np.float16 else scores.astype(np.float64)
        true, known = np.zeros(scores.shape, bool), np.ones(scores.shape, bool)
        for flags, (row, column), value in (
            (true, (row_of, class_of), True), (known, (hidden_row, hidden_class), False),
        ):  # fmt: skip
            here = slice(*np.searchsorted(row, [some.start, some.stop]))
            flags[row[here] - first, column[here]] = value
        true &= known
        bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        places = (np.arange(classes) * BINS + bins).ravel()
        for part, values in enumerate((known, scores * known, true)):
            of_classes[:, part] += np.bincount(places, values.ravel(), classes * BINS).reshape(classes, BINS)
        best = np.where(known, scores, -1).argmax(axis=1)
        there = np.flatnonzero(true.any(axis=1))
        score, right, bin_ = (array[there, best[there]] for array in (scores, true, bins))
        for part, values in enumerate((np.ones(len(there)), score, right)):
            top[part] += np.bincount(bin_, values, BINS)
        if many:
            mine = which[some]
            _add(apart[0], mine[:, None] * BINS + bins, (scores - true) * known)
            sizes[0] += np.bincount(mine, known.sum(axis=1), many)
            _add(apart[1], mine[there] * BINS + bin_, score - right)
            sizes[1] += np.bincount(mine[there], minlength=many)
        if thresholds is not None:
            shown = (scores >= np.asarray(thresholds)) & known
            passed += shown.sum(), (shown & true).sum(), true.sum()
        square, log = losses(scores, true)
        squares, logs = squares + square[known].sum(), logs + log[known].sum()
    whole, errors = of_classes.sum(axis=0), calibration_error(of_classes)
    figures: dict[str, Any] = {
        "ece": float(calibration_error(whole)),
        "ece_classwise": float(np.nanmean(errors)) if np.isfinite(errors).any() else float("nan"),
        "ece_top": float(calibration_error(top)),
        "brier": float(squares / count),
        "log_loss": float(logs / count),
        "reliability": {"all": bin_rows(whole), "top": bin_rows(top)},
    }
    if thresholds is not None:
        figures["at_thresholds"] = _at_thresholds(*passed.tolist())
    intervals = {
        name: _interval(apart[n], sizes[n], figures[name], draws, seed, level)
        for n, name in enumerate(("ece", "ece_top"))
        if draws
    }
    return figures, intervals, errors


def _at_thresholds(shown: float, right: float, there: float) -> dict[str, float]:
    nan = float("nan")
    return {
        "shown": shown,
        "precision": right / shown if shown else nan,
        "recall": right / there if there else nan,
        "f1": 2 * right / (shown + there) if shown + there else nan,
    }


def _by_row(rows: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(rows, kind="stable")
    return rows[order], classes[order]


def _add(sums_GB: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
    sums_GB += np.bincount(places.ravel(), values.ravel(), sums_GB.size).reshape(sums_GB.shape)


def _interval(
    apart_GB: np.ndarray, sizes_G: np.ndarray, figure: float, draws: int, seed: int, level: float
) -> tuple[float, float]:
    """Percentiles of the error over draws of groups, moved so that their median is the figure; or NaN."""
    groups = len(sizes_G)
    rng = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    step = max(1, DRAWN // groups)
    for first in range(0, draws, step):
        size = min(step, draws - first)
        drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=size).astype(np.float64)
        counts = drawn @ sizes_G
        found.append(np.abs(drawn @ apart_GB).sum(axis=1)[counts > 0] / counts[counts > 0])
    errors = np.concatenate(found)
    if not len(errors) or not np.isfinite(figure):
        return (float("nan"), float("nan"))
    low, middle, high = np.quantile(errors, [(1 - level) / 2, 0.5, (1 + level) / 2])
    if low == high:  # the draws do not tell how sure it is
        return (float("nan"), float("nan"))
    return (float(np.clip(low - middle + figure, 0, 1)), float(np.clip(high - middle + figure, 0, 1)))
