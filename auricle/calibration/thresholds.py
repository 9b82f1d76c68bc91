"""The score from which a label counts as there: for a stated precision, recall or rate of false alarms.

- precision: the least threshold at which so many of the clips that pass have the label;
- recall: the greatest at which so many of the clips with the label pass;
- false alarms: the least at which so few windows an hour pass in clips without the label.

A threshold stands midway between the last score that passes and the first that does not; where nothing may
pass that float32 cannot tell from 1, it is `NEVER`, which no score reaches. How sure it is, is found by
drawing recordings again with replacement: clips of one recording err together. Draws of what has not erred
never err; where few recordings erred, exact bounds widen the interval. Each draw's threshold is tried on the
recordings that it left out: chosen from about 63% of all, it does worse on new ones than the threshold that
is written will, much worse where examples or errors are few.

Sources: Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapters 13 and 17; of the exact
bounds, `auricle.metrics.bounds`.

Shape letters: N scores of a label, T distinct thresholds, D draws.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from auricle.metrics.bounds import rate_bounds, share_bounds
from auricle.thresholds import NEVER

GOALS = ("precision", "recall", "false_alarms")
LEVEL = 0.95  # share of the draws that an interval covers
FEWEST = 10  # positives of a label, below which it takes the threshold of all labels together
SURE = 1 - 2**-25  # scores from here on count as one: float32, in which graphs give them, takes them for 1
SLACK = 1e-9  # of counts, for rounding
VALUES = 2**22  # of draws and scores, looked at together


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What thresholds are for: "precision" or "recall" with a share, "false_alarms" with a number an hour.

    >>> Goal(kind="precision", value=90)
    Traceback (most recent call last):
    ValueError: precision is 90; expected a share above 0 and up to 1, like 0.9
    """

    kind: str
    value: float

    def __post_init__(self) -> None:
        if self.kind not in GOALS:
            raise ValueError(f"a threshold for {self.kind!r}; expected one of {', '.join(GOALS)}")
        if self.kind == "false_alarms":
            if not 0 < self.value < np.inf:
                raise ValueError(f"false_alarms is {self.value:g}; expected a number an hour above 0")
        elif not 0 < self.value <= 1:
            raise ValueError(f"{self.kind} is {self.value:g}; expected a share above 0 and up to 1, like 0.9")


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranked:
    """Scores of one label, best first: clips, or for false alarms windows without the label."""

    scores: np.ndarray  # (N,) falling
    true: np.ndarray  # (N,) bool
    groups: np.ndarray  # (N,) int
    hours: np.ndarray  # (G,) of each group's sound without the label

    @classmethod
    def of(cls, scores: np.ndarray, true: np.ndarray, groups: np.ndarray, hours: np.ndarray) -> "Ranked":
        """The same in any order."""
        scores = np.minimum(np.asarray(scores, np.float64), SURE)
        order = np.argsort(-scores, kind="stable")
        return cls(scores=scores[order], true=true[order], groups=groups[order], hours=hours)

    @property
    def ends(self) -> np.ndarray:
        """(T,) position of the last of each distinct score."""
        return np.flatnonzero(np.diff(self.scores, append=-1.0))

    @property
    def thresholds(self) -> np.ndarray:
        """(T + 1,) falling: with the first nothing passes, with the last everything."""
        levels = self.scores[self.ends]
        return between(np.concatenate([[1.0], levels]), np.concatenate([levels, [0.0]]))


def between(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Thresholds that let through one score and not the next; `NEVER` where that is above `SURE`.

    >>> between(np.array([1.0, 0.75, 1.0]), np.array([0.75, 0.25, SURE]))
    array([0.875, 0.5  , 2.   ])
    """
    middle = (above + below) / 2
    middle = np.where(middle > below, middle, above)  # nothing may lie between two numbers
    return np.where(middle > SURE, NEVER, middle)


def choose(ranked: Ranked, goal: Goal) -> tuple[float, bool]:
    """The threshold, and whether what is measured with it is what is asked.

    `NEVER` where no threshold is precise enough, or where scores of 1 alone are too many false alarms.

    >>> clips = Ranked.of(np.array([0.9, 0.8, 0.5, 0.25]), np.arange(4) % 2 == 0, np.arange(4), np.ones(4))
    >>> [choose(clips, Goal(kind=kind, value=0.6)) for kind in ("precision", "recall")]
    [(0.375, True), (0.375, True)]
    """
    all_once = np.ones((1, len(ranked.hours)))
    place = _places(ranked, goal, all_once)[0]
    threshold = NEVER if place < 0 else float(ranked.thresholds[place])
    (above,), (below,) = _parts(ranked, goal, np.array([threshold]), all_once)
    if goal.kind == "false_alarms":
        return threshold, bool(below > 0 and above <= goal.value * below + SLACK)
    return threshold, bool(below > 0 and above >= goal.value * below - SLACK)


def _places(ranked: Ranked, goal: Goal, draws_DG: np.ndarray) -> np.ndarray:
    """(D,) which of the thresholds each draw takes; -1 where none does what is asked."""
    passed, wrong = _counts(ranked, draws_DG)
    if goal.kind == "false_alarms":
        allowed = goal.value * (draws_DG @ ranked.hours)
        return (wrong <= allowed[:, None] + SLACK).sum(axis=1) - 1  # `wrong` never falls
    right = passed - wrong
    if goal.kind == "recall":
        needed = goal.value * right[:, -1]
        place = (right < needed[:, None] - SLACK).sum(axis=1)
        return np.where(right[:, -1] > 0, place, -1)
    enough = (right > 0) & (right >= goal.value * passed - SLACK)
    last = enough.shape[1] - 1 - enough[:, ::-1].argmax(axis=1)
    return np.where(enough.any(axis=1), last, -1)


def _counts(ranked: Ranked, draws_DG: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(D, T + 1) how many pass each threshold, and how many of these without the label."""
    weights = draws_DG[:, ranked.groups]
    ends = ranked.ends
    passed = np.cumsum(weights, axis=1)[:, ends]
    wrong = np.cumsum(np.where(ranked.true, 0, weights), axis=1)[:, ends]
    nothing = np.zeros((len(draws_DG), 1))
    return np.hstack([nothing, passed]), np.hstack([nothing, wrong])


def measured(ranked: Ranked, goal: Goal, threshold: float) -> float:
    """What is asked for, at a threshold; NaN where it is not defined.

    >>> clips = Ranked.of(np.array([0.9, 0.8, 0.5, 0.25]), np.arange(4) % 2 == 0, np.arange(4), np.ones(4))
    >>> measured(clips, Goal(kind="precision", value=0.9), 0.7)
    0.5
    """
    above, below = _parts(ranked, goal, np.array([threshold]), np.ones((1, len(ranked.hours))))
    return float(above[0] / below[0]) if below[0] else float("nan")


def _parts(
    ranked: Ranked, goal: Goal, thresholds_D: np.ndarray, draws_DG: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(D,) numerator and denominator of what is asked for, each draw at a threshold of its own."""
    passed, wrong = _counts(ranked, draws_DG)
    # The greatest of our thresholds that lets through what this one does.
    place = (ranked.scores[ranked.ends][None] >= thresholds_D[:, None]).sum(axis=1)
    rows = np.arange(len(thresholds_D))
    here, bad = passed[rows, place], wrong[rows, place]
    if goal.kind == "false_alarms":
        return bad, draws_DG @ ranked.hours
    return here - bad, here if goal.kind == "precision" else passed[:, -1] - wrong[:, -1]


def exact_bounds(ranked: Ranked, goal: Goal, threshold: float) -> list[float] | None:
    """Bounds of what is asked for that hold however few the errors: those of `auricle.metrics.bounds`.

    Clips, or false alarms, of one recording count as one.

    Returns:
        [low, high] that hold `LEVEL` of the time; None where enough recordings err that draws of them tell,
        or where what is asked for is not defined.

    >>> clips = Ranked.of(np.ones(24), np.ones(24, bool), np.arange(24), np.ones(24))
    >>> [round(bound, 3) for bound in exact_bounds(clips, Goal(kind="precision", value=0.9), 0.5)]
    [0.858, 1.0]
    >>> quiet = Ranked.of(np.zeros(5), np.zeros(5, bool), np.arange(5), np.full(5, 0.02))
    >>> [round(bound, 1) for bound in exact_bounds(quiet, Goal(kind="false_alarms", value=1), 0.5)]
    [0.0, 36.9]
    """
    groups = len(ranked.hours)
    passes = ranked.scores >= threshold
    if goal.kind == "false_alarms":
        alarms = np.bincount(ranked.groups[passes & ~ranked.true], minlength=groups)
        bounds = rate_bounds(alarms, float(ranked.hours.sum()), LEVEL)
    else:
        asked = passes if goal.kind == "precision" else ranked.true
        sizes = np.bincount(ranked.groups[asked], minlength=groups)
        right = np.bincount(ranked.groups[passes & ranked.true], minlength=groups)
        bounds = share_bounds(right, sizes, LEVEL)
    return None if bounds is None else list(bounds)


def uncertainty(ranked: Ranked, goal: Goal, threshold: float, draws: int, seed: int) -> dict[str, Any]:
    """How sure a threshold is, and what it does.

    Returns:
        "interval": (low, high) of the draws' thresholds, `NEVER` among them; "measured": what is asked for at
        `threshold`, and its "measured_interval" over the draws, made wide enough for `exact_bounds`;
        "left_out": the same at the draws' thresholds, on the recordings that each left out, all draws
        together. None where it is not defined.

    >>> clips = Ranked.of(np.linspace(0, 1, 100), np.arange(100) >= 50, np.arange(100), np.ones(100))
    >>> found = uncertainty(clips, Goal(kind="recall", value=0.9), 0.55, draws=50, seed=0)
    >>> round(found["measured"], 2), found["interval"][0] < 0.55 < found["interval"][1]
    (0.9, True)
    """
    groups = len(ranked.hours)
    rng = np.random.default_rng(seed)
    chosen: list[np.ndarray] = []
    shares: list[np.ndarray] = []
    outside = np.zeros(2)
    step = max(1, VALUES // max(1, len(ranked.scores), groups))
    for first in range(0, draws, step):
        count = min(step, draws - first)
        drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=count).astype(np.float64)
        places = _places(ranked, goal, drawn)
        thresholds = np.where(places < 0, NEVER, ranked.thresholds[places])
        chosen.append(thresholds)
        above, below = _parts(ranked, goal, np.full(count, threshold), drawn)
        shares.append(above[below > 0] / below[below > 0])
        outside += [part.sum() for part in _parts(ranked, goal, thresholds, (drawn == 0).astype(np.float64))]
    spread, exact = _interval(np.concatenate(shares)), exact_bounds(ranked, goal, threshold)
    if spread and exact:
        spread = [min(spread[0], exact[0]), max(spread[1], exact[1])]
    return {
        "interval": _of_thresholds(np.concatenate(chosen)),
        "measured": _plain(measured(ranked, goal, threshold)),
        "measured_interval": spread or exact,
        "left_out": _plain(outside[0] / outside[1]) if outside[1] else None,
    }


def _interval(values: np.ndarray) -> list[float] | None:
    if not len(values):
        return None
    return [float(value) for value in np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]


def _of_thresholds(values: np.ndarray) -> list[float] | None:
    """The same of thresholds: between a score and `NEVER` there is nothing."""
    if NEVER not in values:
        return _interval(values)
    low = np.quantile(values, (1 - LEVEL) / 2, method="lower")
    return [float(low), float(np.quantile(values, (1 + LEVEL) / 2, method="higher"))]


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
