"""Polyphonic sound detection scores (PSDS): how good events are over all thresholds at once.

Shape letters: M clips, K labels, E events, W windows, R runs of windows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from auricle.metrics.events import DECIMALS, EventTable, check_table

HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class PsdsRules:
    """What a polyphonic sound detection score asks for.

    Args:
        dtc: share of a found event that has to lie in true events of its label, or it is a false one.
        gtc: share of a true event that has to be covered by found ones that are not false.
        cttc: share of a false one in true events of another label, a cross trigger; None: nobody asks.
        alpha_ct: weight of cross triggers beside other false ones.
        alpha_st: weight of the spread over labels.
        most: false ones an hour up to which the curve is judged.

    Raises:
        ValueError: a share is not in (0, 1], a weight is below 0, or cross triggers have a share but no
            weight or the other way round.

    >>> PSDS1.dtc, PSDS2.cttc
    (0.7, 0.3)
    """

    dtc: float
    gtc: float
    cttc: float | None = None
    alpha_ct: float = 0.0
    alpha_st: float = 0.0
    most: float = 100.0

    def __post_init__(self) -> None:
        shares = [self.dtc, self.gtc, *([] if self.cttc is None else [self.cttc])]
        if not all(0 < share <= 1 for share in shares):
            raise ValueError(f"expected shares above 0 and at most 1, got {shares}")
        if self.alpha_ct < 0 or self.alpha_st < 0 or not self.most > 0:
            raise ValueError(f"expected weights from 0 on and a rate above 0, got {self}")
        if (self.cttc is None) != (self.alpha_ct == 0):
            raise ValueError("cross triggers: give both cttc and alpha_ct, or neither")


# DCASE task 4, 2021 to 2023: 1 asks for exact times, 2 for the right label.
PSDS1 = PsdsRules(dtc=0.7, gtc=0.7, alpha_st=1.0)
PSDS2 = PsdsRules(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5, alpha_st=1.0)


class Psds:
    """A polyphonic sound detection score, over all thresholds at once, exactly; clips are added one by one.

    Of each clip, scores are all that is kept: those at which a count changes when the threshold falls below
    them. No threshold is left out, so that there is no grid to choose and no interpolation.

    Args:
        num_classes: K.
        rules: what is asked for.

    >>> from auricle.metrics.events import event_table
    >>> found = Psds(1, PSDS1)
    >>> truth = event_table([(0, 0, 1.0, 2.0)])
    >>> _ = found.add(np.arange(4.0), np.array([[0.1], [0.8], [0.3]]), truth)
    >>> found.score()
    1.0

    Source: Bilen et al., "A framework for the robust evaluation of sound event detection", ICASSP 2020; over
    all thresholds: Ebbers, Serizel and Haeb-Umbach, "Threshold independent evaluation of sound event
    detection scores", ICASSP 2022.
    """

    def __init__(self, num_classes: int, rules: PsdsRules):
        self.num_classes, self.rules = num_classes, rules
        self.seconds = 0.0
        self._there_K = np.zeros(num_classes, np.int64)
        self._seconds_K = np.zeros(num_classes)
        # (label, score, change, other label): of false ones, of hits, of cross triggers
        self._changes: dict[str, list[np.ndarray]] = {"false": [], "hits": [], "cross": []}

    def add(
        self, bounds: np.ndarray, scores_WK: np.ndarray, truth: EventTable, seconds: float | None = None
    ) -> Self:
        """Count a clip in.

        Args:
            bounds: (W + 1,) seconds; the scores of window i are of bounds[i] to bounds[i + 1].
            scores_WK: (W, K), no NaN.
            truth: the events of this clip; their `clip` is not looked at.
            seconds: how long it is; None is up to the last bound from 0 on.

        Raises:
            ValueError: shapes do not fit, bounds do not rise, or an event is of no label.
        """
        bounds, scores_WK = np.asarray(bounds, np.float64), np.asarray(scores_WK, np.float64)
        if scores_WK.shape != (len(bounds) - 1, self.num_classes) or not (np.diff(bounds) > 0).all():
            raise ValueError(
                f"expected bounds (W + 1,) that rise and scores (W, {self.num_classes}), got {bounds.shape} "
                f"and {scores_WK.shape}"
            )
        if np.isnan(scores_WK).any():
            raise ValueError("a score is NaN")
        check_table(truth, None, self.num_classes)
        self.seconds += float(bounds[-1]) if seconds is None else seconds
        lengths = truth.end - truth.start
        self._there_K += np.bincount(truth.label, minlength=self.num_classes)
        self._seconds_K += np.bincount(truth.label, lengths, minlength=self.num_classes)
        self._judge(bounds, _runs(scores_WK), truth)
        return self

    def _judge(self, bounds: np.ndarray, runs: "Runs", truth: EventTable) -> None:
        rules = self.rules
        start, end = bounds[runs.first], bounds[runs.stop]
        length = end - start
        common_RE = np.minimum(end[:, None], truth.end) - np.maximum(start[:, None], truth.start)
        common_RE = np.maximum(common_RE, 0.0)
        own_RE = common_RE * (runs.label[:, None] == truth.label)
        right_R = np.round(own_RE.sum(1), DECIMALS) >= np.round(rules.dtc * length, DECIMALS)
        self._note("false", runs.label, runs.high, runs.low, ~right_R)
        for event in range(len(truth.label)):
            own = np.flatnonzero(right_R & (own_RE[:, event] > 0))
            needed = rules.gtc * (truth.end[event] - truth.start[event])
            self._note_hits(int(truth.label[event]), runs, own, own_RE[own, event], needed)
        if rules.cttc is None:
            return
        for other in np.unique(truth.label).tolist():
            common_R = np.round(common_RE[:, truth.label == other].sum(1), DECIMALS)
            crosses_R = common_R >= np.round(rules.cttc * length, DECIMALS)
            crosses_R &= ~right_R & (runs.label != other)
            self._note("cross", runs.label, runs.high, runs.low, crosses_R, other)

    def _note(
        self,
        what: str,
        label: np.ndarray,
        high: np.ndarray,
        low: np.ndarray,
        which: np.ndarray,
        other: int = -1,
    ) -> None:
        """Runs that count from a threshold of `high` down to `low`, where they go into longer ones."""
        label = np.tile(label[which], 2)
        score = np.concatenate([high[which], low[which]])
        change = np.repeat([1.0, -1.0], len(label) // 2)
        finite = np.isfinite(score)  # what goes on below all scores never ends
        self._keep(what, label[finite], score[finite], change[finite], other)

    def _note_hits(
        self, label: int, runs: "Runs", own: np.ndarray, common: np.ndarray, needed: float
    ) -> None:
        """The thresholds at which a true event becomes covered, or is covered no more."""
        score = np.concatenate([runs.high[own], runs.low[own]])
        scores, place = np.unique(-score, return_inverse=True)  # from the highest threshold on
        covered = np.cumsum(np.bincount(place, np.concatenate([common, -common]), minlength=len(scores)))
        hit = (np.round(covered, DECIMALS) >= np.round(needed, DECIMALS)).astype(np.float64)
        hit[np.isinf(scores)] = hit[-2:-1] if len(hit) > 1 else 0.0
        change = np.diff(hit, prepend=0.0)
        self._keep("hits", np.full(len(scores), label), -scores, change, -1)

    def _keep(self, what: str, label: np.ndarray, score: np.ndarray, change: np.ndarray, other: int) -> None:
        if not len(label):
            return
        order = np.lexsort((score, label))
        label, score, change = label[order], score[order], change[order]
        new = np.flatnonzero((np.diff(label, prepend=-1) != 0) | (np.diff(score, prepend=math.inf) != 0))
        change = np.add.reduceat(change, new)
        rows = np.stack([label[new], score[new], change, np.full(len(new), other)], axis=1)
        self._changes[what].append(rows[change != 0])

    def curves(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each label (false ones an hour, rising; the most hits as a share), with cross triggers.

        A label that is not there has two empty arrays.
        """
        rows = {
            what: np.concatenate(parts) if parts else np.zeros((0, 4))
            for what, parts in self._changes.items()
        }
        return [self._curve(k, rows) for k in range(self.num_classes)]

    def _curve(self, k: int, rows: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        if not self._there_K[k]:
            return np.zeros(0), np.zeros(0)
        own = {what: part[part[:, 0] == k] for what, part in rows.items()}
        if len(own["cross"]):
            others = self._there_K > 0
            others[k] = False
            weight_K = self.rules.alpha_ct / (np.where(others, self._seconds_K, 1.0) * max(others.sum(), 1))
            own["cross"] = own["cross"].copy()
            own["cross"][:, 2] *= weight_K[own["cross"][:, 3].astype(np.int64)]
        score = np.concatenate([part[:, 1] for part in own.values()])
        scores, place = np.unique(-score, return_inverse=True)
        bounds = np.cumsum([0, *(len(part) for part in own.values())])
        false, hits, cross = (
            np.cumsum(np.bincount(place[low:high], part[:, 2], minlength=len(scores)))
            for part, low, high in zip(own.values(), bounds, bounds[1:], strict=False)
        )
        rate = np.concatenate([[0.0], HOUR * (false / self.seconds + cross)])
        share = np.concatenate([[0.0], hits / self._there_K[k]])
        order = np.lexsort((share, rate))
        rate, share = rate[order], np.maximum.accumulate(share[order])
        last = np.append(np.diff(rate) > 0, True)  # of equal rates, the most hits
        return rate[last], share[last]

    def score(self) -> float:
        """The area under the mean curve less `alpha_st` of its spread, from 0 to 1.

        Labels that are not there count nowhere; NaN where none is.
        """
        curves = [curve for curve in self.curves() if len(curve[0])]
        if not curves:
            return math.nan
        rates = np.unique(np.concatenate([rate for rate, _ in curves]))
        rates = rates[rates < self.rules.most]
        hits = np.stack([share[np.searchsorted(rate, rates, side="right") - 1] for rate, share in curves])
        height = np.maximum(hits.mean(0) - self.rules.alpha_st * hits.std(0), 0.0)
        return float((height * np.diff(rates, append=self.rules.most)).sum() / self.rules.most)

    def per_class(self) -> np.ndarray:
        """(K,) the area under each label's own curve; NaN for a label that is not there."""
        areas = np.full(self.num_classes, math.nan)
        for k, (rate, share) in enumerate(self.curves()):
            if len(rate):
                inside = rate < self.rules.most
                widths = np.diff(rate[inside], append=self.rules.most)
                areas[k] = (share[inside] * widths).sum() / self.rules.most
        return areas


class Runs(NamedTuple):
    """All stretches that are one event at some threshold."""

    label: np.ndarray  # (R,) int64
    first: np.ndarray  # (R,) int64, window
    stop: np.ndarray  # (R,) int64, window after the last
    high: np.ndarray  # (R,) float64, lowest score in it: the highest threshold of which it is an event
    low: np.ndarray  # (R,) float64, highest score beside it: from there on down it is part of a longer one


def _runs(scores_WK: np.ndarray) -> Runs:
    """At most one run a window and label: they lie within each other like the branches of a tree."""
    rows: list[tuple[int, int, int, float, float]] = []
    for k, column in enumerate(scores_WK.T.tolist()):
        open_runs: list[tuple[int, float]] = []  # first window and lowest score, rising
        for window, score in enumerate([*column, -math.inf]):
            first = window
            while open_runs and open_runs[-1][1] > score:
                first, high = open_runs.pop()
                low = max(score, open_runs[-1][1]) if open_runs else score
                rows.append((k, first, window, high, low))
            if not open_runs or open_runs[-1][1] < score:
                open_runs.append((first, score))
    table = np.array(rows, np.float64).reshape(-1, 5)
    label, first_R, stop_R = table[:, :3].astype(np.int64).T
    return Runs(label, first_R, stop_R, table[:, 3], table[:, 4])


def psds(
    clips: Sequence[tuple[np.ndarray, np.ndarray]],
    truth: EventTable,
    durations: np.ndarray,
    rules: PsdsRules = PSDS1,
) -> Psds:
    """`Psds` of clips that are all there.

    Args:
        clips: for each of M clips (bounds (W + 1,), scores (W, K)).
        truth: what is there.
        durations: (M,) seconds.
        rules: what is asked for.

    Raises:
        ValueError: as `Psds.add`; there is no clip, or not a duration for each.

    >>> from auricle.metrics.events import event_table
    >>> scores = np.array([[0.9], [0.2]])
    >>> psds([(np.array([0.0, 1.0, 2.0]), scores)], event_table([(0, 0, 1.0, 2.0)]), [2.0]).score()
    0.0
    """
    if not len(clips) or len(clips) != len(durations):
        raise ValueError(f"expected clips and their durations, got {len(clips)} and {len(durations)}")
    found = Psds(clips[0][1].shape[1], rules)
    check_table(truth, len(clips), found.num_classes)
    order = np.argsort(truth.clip, kind="stable")
    cuts = np.searchsorted(truth.clip[order], np.arange(len(clips) + 1))
    for number, (bounds, scores_WK) in enumerate(clips):
        rows = order[cuts[number] : cuts[number + 1]]
        own = EventTable(*(column[rows] for column in truth))
        found.add(bounds, scores_WK, own, float(durations[number]))
    return found
