"""Figures of urban sound tagging: areas under precision and recall, with fine tags that may be unknown.

Tags have two levels. A coarse class has complete fine tags ("siren") and may have one that says "something
of this class, which is not known" (the X column). Such a tag forgives: where the truth is unknown, no fine
tag of the class is wrong, and any of them, or X itself, finds it. X predicted where nothing is there costs
one false alarm, unless all the complete tags raised theirs already.

For one coarse class at one threshold t, with truth Y (of the complete tags) and u (of X), predictions P and
q (score >= t), counted over clips and tags, brackets once a clip:

    TP = sum(Y and P)               + [u and (any P or q) and no (Y and P)]
    FP = sum(not Y and P and not u) + [not u and no Y and q and not all P]
    FN = sum(Y and not P)           + [u and no Y and not (any P or q)]

Every bracket is a difference of counts of clips that reach the threshold: "any P or q" is "the greatest
score does", "all P" is "the least does". So sorting each kind of score once counts all thresholds.

As t falls, TP never falls and FN never rises: recall never falls, and points need no sorting by it. Points
of equal recall stand in order of falling threshold. (The challenge's code leaves their order to an unstable
sort; where scores tie, its own value wanders by up to 1e-4.) The threshold 1 is always there: where no score
reaches it, its point is precision 0 at recall 0, and even a perfect ranking has less than the full area.

Shape letters: N clips, F fine columns, C coarse classes, K complete columns of a class, T thresholds, D
draws, E scores counted.

Source: the metrics of DCASE 2019 challenge, task 5 (urban sound tagging).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from auricle.metrics.areas import validated
from auricle.metrics.bootstrap import group_weights, moved_interval

LOWEST = 0.01  # scores below it are no thresholds
F1_AT = 0.5
BLOCK = 2**18  # draws times scores at a time: they and their counts stay in the cache

# The columns of a coarse class: its complete fine tags, and its unknown one where there is one.
Branch = tuple[Sequence[int], int | None]


class Points(NamedTuple):
    """Counts at rising thresholds."""

    thresholds: np.ndarray  # (T,)
    tp: np.ndarray  # (D, T), as the two below
    fp: np.ndarray
    fn: np.ndarray


def fine_metrics(truth_NF: np.ndarray, scores_NF: np.ndarray, branches: Sequence[Branch]) -> dict[str, Any]:
    """Figures of fine tags, with the challenge's treatment of what is unknown.

    Args:
        truth_NF: (N, F) of 0 and 1, or bool: complete and unknown columns alike.
        scores_NF: (N, F) in [0, 1].
        branches: of each coarse class, the columns of its complete fine tags and that of its unknown one, or
            None where it has none.

    Returns:
        `micro_auprc` (counts summed over coarse classes), `micro_f1` (at 0.5), `macro_auprc` (the mean of the
        classes') and `class_auprc`, (C,). A class that never occurs has an AUPRC of 0, as in the challenge.

    Raises:
        ValueError: shapes differ, there are no clips, a target is neither 0 nor 1, a score is NaN or not in
            [0, 1], or a branch names no column, one that is not there, or one of another branch.

    >>> truth = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0]])  # the second clip: of this class, but not which
    >>> scores = np.array([[0.9, 0.2, 0.0], [0.1, 0.8, 0.3], [0.4, 0.1, 0.0]])
    >>> figures = fine_metrics(truth, scores, [((0, 1), 2)])
    >>> figures["micro_auprc"], figures["micro_f1"]
    (0.75, 1.0)

    Source: DCASE 2019 challenge, task 5, evaluation at the fine level.
    """
    truth, scores = checked(truth_NF, scores_NF)
    check_branches(branches, truth.shape[1])
    return _figures([count(truth, scores, branch) for branch in branches])


def coarse_metrics(truth_NC: np.ndarray, scores_NC: np.ndarray) -> dict[str, Any]:
    """Figures of coarse tags: plain counts, each column a class of its own.

    Args:
        truth_NC: (N, C) of 0 and 1, or bool.
        scores_NC: (N, C) in [0, 1].

    Returns:
        As `fine_metrics`.

    Raises:
        ValueError: shapes differ, there are no clips or classes, a target is neither 0 nor 1, or a score is
            NaN or not in [0, 1].

    >>> figures = coarse_metrics(np.array([[1, 0], [0, 0], [1, 0]]), np.array([[0.9, 0], [0.6, 0], [0.3, 0]]))
    >>> figures["class_auprc"].round(4).tolist(), figures["micro_f1"]
    ([0.5417, 0.0], 0.5)

    Source: DCASE 2019 challenge, task 5, evaluation at the coarse level.
    """
    truth, scores = checked(truth_NC, scores_NC)
    branches = columns_alone(truth.shape[1])
    check_branches(branches, truth.shape[1])
    return _figures([count(truth, scores, branch) for branch in branches])


def columns_alone(columns: int) -> list[Branch]:
    """Branches of the coarse level: every column a class of its own.

    >>> columns_alone(2)
    [((0,), None), ((1,), None)]
    """
    return [((column,), None) for column in range(columns)]


def checked(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Truth as bool and scores as float64; refuses what would give a wrong figure.

    Raises:
        ValueError: as in `fine_metrics`.

    >>> checked(np.array([[1]]), np.array([[1.5]]))
    Traceback (most recent call last):
    ValueError: a score is 1.5: expected numbers from 0 to 1; take the sigmoid of logits first
    """
    truth, scores = validated(truth, scores, ndim=2)
    if not len(truth):
        raise ValueError("there are no clips: expected at least one row of truth and scores")
    scores = scores.astype(np.float64)
    if not (inside := (scores >= 0) & (scores <= 1)).all():
        odd = scores[~inside].flat[0]
        raise ValueError(
            f"a score is {odd:g}: expected numbers from 0 to 1; take the sigmoid of logits first"
        )
    return truth, scores


def check_branches(branches: Sequence[Branch], columns: int) -> None:
    """Refuse branches that do not name columns of their own.

    Raises:
        ValueError: as in `fine_metrics`.

    >>> check_branches([((0, 1), None), ((1,), None)], 2)
    Traceback (most recent call last):
    ValueError: column 1 is in two branches: expected each in one
    """
    if not len(branches):
        raise ValueError("there are no coarse classes: expected at least one")
    seen: set[int] = set()
    for number, (complete, unknown) in enumerate(branches):
        if not len(complete):
            raise ValueError(f"branch {number} has no complete fine tag: expected at least one")
        for column in [*complete, *([] if unknown is None else [unknown])]:
            if not 0 <= column < columns:
                raise ValueError(f"branch {number} names column {column}: there are {columns}, from 0 on")
            if column in seen:
                raise ValueError(f"column {column} is in two branches: expected each in one")
            seen.add(int(column))


def count(
    truth_NF: np.ndarray, scores_NF: np.ndarray, branch: Branch, weights_DN: np.ndarray | None = None
) -> Points:
    """Counts of one coarse class at all its thresholds: the distinct scores from 0.01 up, and 1.

    Args:
        truth_NF: (N, F) bool.
        scores_NF: (N, F) float64 in [0, 1].
        branch: the class's columns.
        weights_DN: (D, N) whole numbers: how often each clip counts, in each of D draws; None counts each
            once, in one draw.

    >>> count(np.array([[True], [False]]), np.array([[0.9], [0.3]]), ((0,), None)).fp
    array([[1, 0, 0]])
    """
    complete, unknown = list(branch[0]), branch[1]
    truth_NK, scores_NK = truth_NF[:, complete], scores_NF[:, complete]
    thresholds = np.unique(scores_NK[scores_NK >= LOWEST])
    if not len(thresholds) or thresholds[-1] != 1:
        thresholds = np.append(thresholds, 1.0)
    of_pair = np.broadcast_to(np.arange(len(truth_NK))[:, None], truth_NK.shape)

    def at_least(values: np.ndarray, chosen: np.ndarray, clips: np.ndarray) -> np.ndarray:
        """(D, T): how many of the chosen scores reach each threshold."""
        return _at_least(values[chosen], clips[chosen], thresholds, weights_DN)

    hits = at_least(scores_NK, truth_NK, of_pair)
    found, wrong = hits, at_least(scores_NK, ~truth_NK, of_pair)
    missable = truth_NK.sum(axis=1)
    if unknown is not None:
        clips = np.arange(len(truth_NK))
        u_N, some_N, q_N = truth_NF[:, unknown], truth_NK.any(axis=1), scores_NF[:, unknown]
        any_N = np.maximum(scores_NK.max(axis=1), q_N)
        best_true_N = np.where(truth_NK, scores_NK, -1.0).max(axis=1)
        vague = at_least(any_N, u_N & ~some_N, clips)
        named = at_least(any_N, u_N & some_N, clips) - at_least(best_true_N, u_N & some_N, clips)
        hits = hits + vague
        found = hits + named
        wrong = at_least(scores_NK, ~truth_NK & ~u_N[:, None], of_pair)
        lone = ~u_N & ~some_N & (q_N > scores_NK.min(axis=1))
        wrong = wrong + at_least(q_N, lone, clips) - at_least(scores_NK.min(axis=1), lone, clips)
        missable = missable + (u_N & ~some_N)
    total = missable.sum() if weights_DN is None else weights_DN @ missable
    points = Points(thresholds, found, wrong, np.reshape(total, (-1, 1)) - hits)
    if weights_DN is None or unknown is None:
        return points
    everywhere = np.ones(truth_NK.shape, bool)
    return _at_drawn(points, at_least(scores_NK, everywhere, of_pair))


def _at_drawn(points: Points, reached_DT: np.ndarray) -> Points:
    """Counts of draws, moved up from thresholds that are scores only of clips that were not drawn.

    Without unknown tags they are the same there: nothing that was drawn lies between.
    """
    drawn = np.diff(reached_DT, axis=1, append=0) != 0
    drawn[:, -1] = True  # the threshold 1 is always there
    numbers = np.where(drawn, np.arange(drawn.shape[1]), drawn.shape[1])
    nearest = np.minimum.accumulate(numbers[:, ::-1], axis=1)[:, ::-1]
    tp, fp, fn = (np.take_along_axis(part, nearest, axis=1) for part in points[1:])
    return Points(points.thresholds, tp, fp, fn)


def _at_least(
    values_E: np.ndarray, clips_E: np.ndarray, thresholds_T: np.ndarray, weights_DN: np.ndarray | None
) -> np.ndarray:
    """(D, T) int64: how many values reach each threshold, each counting as often as its clip does."""
    if weights_DN is None:
        return (len(values_E) - np.searchsorted(np.sort(values_E), thresholds_T))[None]
    order = np.argsort(-values_E)
    above = np.zeros((len(weights_DN), len(order) + 1), np.int64)
    np.cumsum(np.take(weights_DN, clips_E[order], axis=1), axis=1, out=above[:, 1:])
    reach = len(order) - np.searchsorted(values_E[order[::-1]], thresholds_T)
    return np.take(above, reach, axis=1)


def summed(points: Sequence[Points]) -> Points:
    """Counts over classes, at all their thresholds: each class at its own smallest that is not below.

    >>> some = [Points(np.array([t, 1.0]), *[np.array([[1, 0]])] * 3) for t in (0.2, 0.5)]
    >>> summed(some).thresholds, summed(some).tp
    (array([0.2, 0.5, 1. ]), array([[2, 1, 0]]))
    """
    thresholds = np.concatenate([each.thresholds for each in points])
    order = np.argsort(-thresholds)
    falling = thresholds[order]
    last = np.flatnonzero(np.diff(falling, append=-1.0))  # of each threshold's classes

    def total(name: str) -> np.ndarray:
        """Sums over classes of what they stand at: as t falls, each changes at its own thresholds only."""
        steps = [np.diff(getattr(each, name), axis=1, append=0) for each in points]
        running = np.cumsum(np.take(-np.hstack(steps), order, axis=1), axis=1)
        return np.take(running, last[::-1], axis=1)

    return Points(falling[last[::-1]], total("tp"), total("fp"), total("fn"))


def auprc(points: Points) -> np.ndarray:
    """(D,) areas under precision over recall: trapezoids from (0, 1) through falling thresholds to (1, 0).

    >>> auprc(Points(np.array([0.5, 1.0]), np.array([[1, 0]]), np.array([[1, 0]]), np.array([[0, 1]])))
    array([0.25])
    """
    precision, recall = (np.flip(part, axis=1) for part in _precision_recall(points))
    draws = len(precision)
    precision = np.hstack([np.ones((draws, 1)), precision, np.zeros((draws, 1))])
    recall = np.hstack([np.zeros((draws, 1)), recall, np.ones((draws, 1))])
    return (np.diff(recall, axis=1) * (precision[:, 1:] + precision[:, :-1])).sum(axis=1) / 2


def f1(points: Points, at: float = F1_AT) -> np.ndarray:
    """(D,) harmonic means of precision and recall at the first threshold from `at` up; 0 if either is 0.

    >>> f1(Points(np.array([0.3, 0.7, 1]), *(np.array([row]) for row in ([2, 1, 0], [1, 0, 0], [0, 1, 2]))))
    array([0.66666667])
    """
    place = np.searchsorted(points.thresholds, at)
    precision, recall = (part[:, place] for part in _precision_recall(points))
    sums = precision + recall
    product = 2 * precision * recall
    return np.divide(product, sums, out=np.zeros_like(product), where=product > 0)


def _precision_recall(points: Points) -> tuple[np.ndarray, np.ndarray]:
    predicted, there = points.tp + points.fp, points.tp + points.fn
    return points.tp / np.maximum(predicted, 0.5), points.tp / np.maximum(there, 0.5)


def _figures(points: Sequence[Points]) -> dict[str, Any]:
    micro = summed(points)
    classes = np.array([auprc(each)[0] for each in points])
    return {
        "micro_auprc": float(auprc(micro)[0]),
        "micro_f1": float(f1(micro)[0]),
        "macro_auprc": float(classes.mean()),
        "class_auprc": classes,
    }


def urban_intervals(
    truth_NF: np.ndarray,
    scores_NF: np.ndarray,
    branches: Sequence[Branch] | None,
    groups: np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Intervals of the figures, by drawing whole groups of clips (sensors, say) again with replacement.

    Args:
        truth_NF: (N, F) of 0 and 1, or bool.
        scores_NF: (N, F) in [0, 1].
        branches: as `fine_metrics` takes them; None counts plainly, as `coarse_metrics`.
        groups: (N,) the group of each clip, of any type that sorts.
        draws: how often to draw.
        seed: of the draws; the same seed gives the same intervals.
        level: share of the draws that an interval covers.

    Returns:
        The names of `fine_metrics` -> (low, high), moved so that the median of the draws is the figure
        itself, (NaN, NaN) where draws all give the same; `class_auprc` has a list of them. A class that does
        not occur in a draw counts 0 there.

    Raises:
        ValueError: as in `fine_metrics`, the groups do not match the clips, or an option is out of range.

    >>> truth, scores = np.array([[1], [0], [1]]), np.array([[0.9], [0.6], [0.3]])
    >>> urban_intervals(truth, scores, None, np.array([0, 1, 2]), draws=50)["micro_f1"]
    (0.0, 1.0)

    Source: Efron and Tibshirani (1993), chapter 13; moved as `auricle.metrics.bootstrap` says.
    """
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"draws is {draws} and level {level}: expected 1 or more, and a share like 0.95")
    values = urban_draws(truth_NF, scores_NF, branches, groups, draws=draws, seed=seed)
    class_CD = values.pop("class_auprc")
    found: dict[str, Any] = {name: moved_interval(row, level, bounded=True) for name, row in values.items()}
    return found | {"class_auprc": [moved_interval(row, level, bounded=True) for row in class_CD]}


def urban_draws(
    truth_NF: np.ndarray,
    scores_NF: np.ndarray,
    branches: Sequence[Branch] | None,
    groups: np.ndarray,
    *,
    draws: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """The figures as they are, and then of each draw of groups: what `urban_intervals` is taken from.

    Args:
        truth_NF: (N, F) of 0 and 1, or bool.
        scores_NF: (N, F) in [0, 1].
        branches: as `fine_metrics` takes them; None counts plainly, as `coarse_metrics`.
        groups: (N,) the group of each clip, of any type that sorts.
        draws: how often to draw.
        seed: of the draws.

    Returns:
        The names of `fine_metrics` -> (1 + draws,); `class_auprc` is (C, 1 + draws).

    Raises:
        ValueError: as in `fine_metrics`, or the groups do not match the clips.

    >>> truth, scores = np.array([[1], [0], [1]]), np.array([[0.9], [0.6], [0.3]])
    >>> urban_draws(truth, scores, None, np.array([0, 0, 0]), draws=1, seed=0)["micro_f1"].tolist()
    [0.5, 0.5]
    """
    truth, scores = checked(truth_NF, scores_NF)
    branches = columns_alone(truth.shape[1]) if branches is None else branches
    check_branches(branches, truth.shape[1])
    groups = np.asarray(groups)
    if groups.shape != (len(scores),):
        raise ValueError(f"groups have shape {groups.shape}: expected ({len(scores)},), one for each clip")
    weights_DN = group_weights(groups, draws, seed)
    rows = max(1, BLOCK // truth.size)
    parts = []
    for start in range(0, len(weights_DN), rows):
        drawn = [count(truth, scores, branch, weights_DN[start : start + rows]) for branch in branches]
        micro = summed(drawn)
        parts.append((auprc(micro), f1(micro), np.stack([auprc(each) for each in drawn])))
    areas_D, f1_D, class_CD = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    macro_D = class_CD.mean(axis=0)
    return {"micro_auprc": areas_D, "micro_f1": f1_D, "macro_auprc": macro_D, "class_auprc": class_CD}
