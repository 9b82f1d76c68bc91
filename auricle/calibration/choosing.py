"""Thresholds of many labels, one label after the other, in memory for some of them.

The threshold of all labels together is exact, and only the scores near it are held: first the scores of all
labels are counted in narrow bins, then those in the bins where the threshold can be are looked at.

Shape letters: W windows, C clips, S labels that model and pack share, G recordings, N scores, B bins.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auricle.calibration.stages import Examples, clip_scores, taken, with_examples
from auricle.calibration.thresholds import (
    FEWEST,
    SLACK,
    SURE,
    Goal,
    Ranked,
    between,
    choose,
    measured,
    uncertainty,
)
from auricle.probabilities import as_function
from auricle.progress import Progress
from auricle.runners.windows import sigmoid
from auricle.thresholds import NEVER

DRAWS, DRAWN_SCORES = 1000, 2 * 10**9  # of the bootstrap; of draw, clip and label together
SHIFT = (
    14  # bits of a float32 that tell no bins apart: there are 512 bins from 0.5 to 1, 512 from 0.25 on, ...
)
BINS = int(np.float32(1).view(np.uint32) >> SHIFT) + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """Scores of one label that a goal is of: of clips, or for false alarms of windows without the label."""

    scores: np.ndarray  # (N,)
    true: np.ndarray  # (N,) bool
    clips: np.ndarray  # (N,) the clip of each
    hours: np.ndarray  # (G,) of each recording without the label


def fit_thresholds(
    examples: Examples,
    calibration: Mapping[str, Any] | None,
    goal: Goal,
    hours_C: np.ndarray,
    names: Sequence[str],
    *,
    fewest: int = FEWEST,
    draws: int | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Thresholds of calibrated scores for a goal, and what they do.

    Args:
        examples: what they are fitted to.
        calibration: of the examples' labels.
        goal: what they are for.
        hours_C: (C,) length of each clip; for false alarms, how much of a recording its windows stand for.
        names: (S,) the labels.
        fewest: as in `calibrate`.
        draws: as in `calibrate`.
        seed: of the draws.
        quiet: show no progress.

    Returns:
        Label -> "threshold", "positives", "hours_without" the label, "pooled": whether the threshold is that
        of all labels together; else "reached", and what `thresholds.uncertainty` gives. For false alarms also
        "runs": of them an hour, those next to each other in a clip as one. "" -> the threshold of all labels
        together.

    >>> z = np.linspace(-4, 4, 40, dtype=np.float32)[:, None]
    >>> some = Examples(logits=z, starts=np.arange(40), targets=z > 1, known=z < 9, groups=np.arange(40))
    >>> every = Goal(kind="recall", value=1)
    >>> found = fit_thresholds(some, None, every, np.ones(40), ["dog"], draws=0, quiet=True)
    >>> round(found["dog"]["threshold"], 2), found["dog"]["positives"]
    (0.74, 15)
    """
    alarms = goal.kind == "false_alarms"
    scores = None if alarms else clip_scores(examples, calibration)

    def labels() -> Iterator[Scored]:
        if scores is None:
            return of_windows(examples, calibration, hours_C)
        return of_clips(examples, scores, hours_C)

    affordable = DRAWN_SCORES // max(1, len(names) * (len(examples.logits) if alarms else len(hours_C)))
    draws = max(50, min(DRAWS, affordable)) if draws is None else draws
    together, rows = Together(goal), {}
    # False alarms are counted where a label is not. For the others a label takes an example at least: the
    # threshold of other labels' scores says nothing of its own, which are as the network gives them.
    counted = np.full(len(names), True) if alarms else with_examples(examples)
    with Progress(len(names), "thresholds", unit="labels", quiet=quiet) as progress:
        for k, (name, mine) in enumerate(zip(names, labels(), strict=True)):
            known = examples.known[:, k]
            if counted[k]:
                together.count(mine)
            positives = int((examples.targets[:, k] & known).sum())
            row: dict[str, Any] = {"positives": positives, "hours_without": float(mine.hours.sum())}
            lent = not mine.hours.sum() if alarms else min(positives, int(known.sum()) - positives) < fewest
            if not counted[k]:
                row |= {"threshold": NEVER, "pooled": False, "measured": None}
            elif not lent:
                row |= _own(mine, examples.groups, goal, draws, seed)
            rows[name] = row
            progress.advance()
    of_all = together.threshold(mine for k, mine in enumerate(labels()) if counted[k])
    for name, mine in zip(names, labels() if scores is not None else iter(()), strict=False):
        if "threshold" not in rows[name]:
            value = measured(_ranked(mine, examples.groups), goal, of_all)
            rows[name] |= {
                "threshold": of_all,
                "pooled": True,
                "measured": None if np.isnan(value) else value,
            }
    for row in rows.values():
        if "threshold" not in row:  # of false alarms: no sound is without the label
            row |= {"threshold": of_all, "pooled": True, "measured": None}
    return {"": of_all, **rows}


def of_clips(examples: Examples, scores_CS: np.ndarray, hours_C: np.ndarray) -> Iterator[Scored]:
    """What precision and recall are of, label by label."""
    for k in range(scores_CS.shape[1]):
        clips = np.flatnonzero(examples.known[:, k])
        true = examples.targets[clips, k]
        yield Scored(scores=scores_CS[clips, k], true=true, clips=clips, hours=_without(examples, k, hours_C))


def of_windows(
    examples: Examples, calibration: Mapping[str, Any] | None, hours_C: np.ndarray
) -> Iterator[Scored]:
    """What false alarms are of, label by label: windows of the clips that are without it."""
    owners = examples.owners
    for part in examples.blocks():
        block = np.array(examples.logits[:, part])  # they may lie in a file, window by window
        for k in range(part.start, part.stop):
            there = (examples.known[:, k] & ~examples.targets[:, k])[owners]
            place = k - part.start
            mapped = as_function(taken(calibration, slice(k, k + 1)))(block[there, place : place + 1])
            yield Scored(
                scores=sigmoid(mapped)[:, 0],
                true=np.zeros(len(mapped), bool),
                clips=owners[there],
                hours=_without(examples, k, hours_C),
            )


def _without(examples: Examples, k: int, hours_C: np.ndarray) -> np.ndarray:
    known, true = examples.known[:, k], examples.targets[:, k]
    return np.bincount(examples.groups, np.where(known & ~true, hours_C, 0))


def _ranked(mine: Scored, groups_C: np.ndarray) -> Ranked:
    return Ranked.of(mine.scores, mine.true, groups_C[mine.clips], mine.hours)


def _own(mine: Scored, groups_C: np.ndarray, goal: Goal, draws: int, seed: int) -> dict[str, Any]:
    """A label's own threshold, and what it does."""
    ranked = _ranked(mine, groups_C)
    threshold, reached = choose(ranked, goal)
    value = measured(ranked, goal, threshold)
    row: dict[str, Any] = {"threshold": threshold, "pooled": False, "reached": reached}
    row["measured"] = None if np.isnan(value) else value
    if draws:
        row |= uncertainty(ranked, goal, threshold, draws, seed)
    if goal.kind == "false_alarms":
        row["runs"] = count_runs(mine.scores, mine.clips, threshold) / float(mine.hours.sum())
    return row


def count_runs(scores_W: np.ndarray, clips_W: np.ndarray, threshold: float) -> int:
    """How many runs of windows reach a threshold, each within a clip.

    >>> count_runs(np.array([0.9, 0.8, 0.1, 0.7, 0.6]), np.array([0, 0, 0, 0, 1]), 0.5)
    3
    """
    reached = scores_W >= threshold
    goes_on = reached[:-1] & (clips_W[1:] == clips_W[:-1])
    return int(reached.sum() - (reached[1:] & goes_on).sum())


class Together:
    """The threshold of all labels together: `count` each label, then see them once more.

    >>> some = [Scored(scores=np.array([score]), true=np.array([score > 0.4]), clips=np.zeros(1, int),
    ...         hours=np.ones(1)) for score in (0.75, 0.25, 0.5)]
    >>> every = Together(Goal(kind="recall", value=1))
    >>> for label in some:
    ...     every.count(label)
    >>> every.threshold(some)
    0.375
    """

    def __init__(self, goal: Goal) -> None:
        self._goal, self._hours = goal, 0.0
        self._wrong_B, self._right_B = np.zeros((2, BINS), np.int64)  # best first

    def count(self, label: Scored) -> None:
        """Count a label's scores."""
        places = _places(label.scores)
        self._wrong_B += np.bincount(places[~label.true], minlength=BINS)
        self._right_B += np.bincount(places[label.true], minlength=BINS)
        self._hours += float(label.hours.sum())

    def threshold(self, labels: Iterator[Scored] | Sequence[Scored]) -> float:
        """What `choose` would give, of the same labels once more."""
        looked_B = self._candidates()
        scores, right = [np.zeros(0)], [np.zeros(0, bool)]
        for label in labels if looked_B.any() else ():
            held = looked_B[_places(label.scores)]
            scores.append(np.minimum(label.scores[held].astype(np.float64), SURE))
            right.append(label.true[held])
        levels, which = np.unique(-np.concatenate(scores), return_inverse=True)
        levels = -levels  # falling
        true = np.concatenate(right)
        right_T = np.cumsum(np.bincount(which[true], minlength=len(levels)))
        wrong_T = np.cumsum(np.bincount(which[~true], minlength=len(levels)))
        bins_T = _places(levels)
        # Of what is not held, all that is in better bins passes, too.
        for sums_T, counts_B in ((right_T, self._right_B), (wrong_T, self._wrong_B)):
            sums_T += np.cumsum(np.where(looked_B, 0, counts_B))[bins_T]
        good_T = self._does(right_T, wrong_T)
        if not good_T.any():
            if self._goal.kind != "false_alarms":
                return NEVER
            return float(between(np.ones(1), np.append(levels, 0.0)[:1])[0])
        first = self._goal.kind == "recall"
        place = int(good_T.argmax()) if first else len(good_T) - 1 - int(good_T[::-1].argmax())
        return float(between(levels[place : place + 1], np.append(levels, 0.0)[place + 1 : place + 2])[0])

    def _does(self, right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
        """Whether the goal is met where so many pass."""
        if self._goal.kind == "false_alarms":
            return wrong <= self._goal.value * self._hours + SLACK
        if self._goal.kind == "recall":
            total = int(self._right_B.sum())
            return (right >= self._goal.value * total - SLACK) & (total > 0)
        return (right > 0) & (right >= self._goal.value * (right + wrong) - SLACK)

    def _candidates(self) -> np.ndarray:
        """(B,) the bins in which the threshold can be, with the filled ones next to them."""
        right, wrong = np.cumsum(self._right_B), np.cumsum(self._wrong_B)
        filled = np.flatnonzero(self._right_B + self._wrong_B)
        good = self._does(right, wrong)[filled]  # where a whole bin passes
        if self._goal.kind == "precision":  # at best, what is right in a bin comes first
            at_best = self._does(right, wrong - self._wrong_B)[filled]
            last = len(good) - 1 - int(good[::-1].argmax()) if good.any() else 0
            chosen = at_best & (np.arange(len(filled)) >= last)
        else:  # the first bin that is too much, or that is enough
            chosen = np.zeros(len(filled), bool)
            turn = ~good if self._goal.kind == "false_alarms" else good
            chosen[int(turn.argmax()) if turn.any() else len(filled) - 1 :][:1] = True
        chosen = chosen | np.append(chosen[1:], False) | np.append(False, chosen[:-1])[: len(chosen)]
        looked_B = np.zeros(BINS, bool)
        looked_B[filled[chosen]] = True
        return looked_B


def _places(scores: np.ndarray) -> np.ndarray:
    """The bin of each score, the best first; equal scores share one, and a better score is in no later bin.

    >>> (_places(np.array([1.0, 0.5, 0.0])) / 512).tolist()
    [0.0, 1.0, 127.0]
    """
    near = np.minimum(scores, SURE).astype(np.float32)
    return BINS - 1 - (near.view(np.uint32) >> SHIFT).astype(np.int64)
