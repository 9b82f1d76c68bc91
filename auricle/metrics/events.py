"""How good events are: counts of segments, counts of events with collars, and the figures made of them.

`auricle.metrics.psds` has the scores that need no threshold.

Shape letters: M clips, K labels, E events.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

DECIMALS = 6  # times are compared to the microsecond


class EventTable(NamedTuple):
    """Events of some clips, one a row; `event_table` makes it."""

    clip: np.ndarray  # (E,) int64, from 0 on
    label: np.ndarray  # (E,) int64, from 0 on
    start: np.ndarray  # (E,) float64, seconds of the clip
    end: np.ndarray  # (E,) float64, after the start


class Counts(NamedTuple):
    """What was found, what was not, and what was found wrongly, label by label."""

    hits: np.ndarray  # (K,) int64
    false: np.ndarray  # (K,) int64, found, but not there
    missed: np.ndarray  # (K,) int64, there, but not found


def event_table(rows: Iterable[tuple[int, int, float, float]]) -> EventTable:
    """Events from rows (clip, label, start, end).

    Raises:
        ValueError: an event does not end after its start, or a number is not finite or below 0.

    >>> event_table([(0, 2, 0.5, 1.5)]).label
    array([2])
    """
    table = np.array(list(rows), np.float64).reshape(-1, 4)
    if not np.isfinite(table).all() or (table[:, :2] < 0).any() or (table[:, 2] >= table[:, 3]).any():
        raise ValueError("events: expected (clip, label, start, end) with the end after the start")
    clip, label = table[:, :2].astype(np.int64).T
    start, end = np.round(table[:, 2:], DECIMALS).T
    return EventTable(clip, label, start, end)


def segment_counts(
    truth: EventTable, found: EventTable, durations: np.ndarray, num_classes: int, length: float = 1.0
) -> Counts:
    """Counts of segments: a label is in a segment where an event of it overlaps it, however little.

    Segments of `length` seconds follow each other from a clip's beginning; the last may reach beyond its end.

    Args:
        truth: what is there.
        found: what was found.
        durations: (M,) seconds of the clips.
        num_classes: K.
        length: of a segment, in seconds.

    Raises:
        ValueError: the length is not positive, or an event is of no clip or label.

    >>> truth = event_table([(0, 0, 0.5, 2.0)])
    >>> found = event_table([(0, 0, 1.0, 2.5)])
    >>> segment_counts(truth, found, np.array([4.0]), 1)
    Counts(hits=array([1]), false=array([1]), missed=array([1]))

    Source: Mesaros, Heittola and Virtanen, "Metrics for polyphonic sound event detection", Applied Sciences
    2016, section 3.1.
    """
    if not length > 0:
        raise ValueError(f"length of a segment: expected seconds above 0, got {length}")
    durations = np.asarray(durations, np.float64)
    for table in (truth, found):
        check_table(table, len(durations), num_classes)
    segments_M = np.ceil(np.round(durations / length, 9)).astype(np.int64)
    most = int(segments_M.max(initial=1))
    bounds = np.round(np.arange(most + 1) * length, DECIMALS)
    there, said = (_segments(table, segments_M, bounds) for table in (truth, found))
    per_class = len(durations) * most
    hits, false, missed = (
        np.bincount(keys // per_class, minlength=num_classes).astype(np.int64)
        for keys in (
            np.intersect1d(there, said, assume_unique=True),
            np.setdiff1d(said, there, assume_unique=True),
            np.setdiff1d(there, said, assume_unique=True),
        )
    )
    return Counts(hits, false, missed)


def _segments(table: EventTable, segments_M: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """One number for every segment that has a label, sorted: of label, clip and segment."""
    first = np.searchsorted(bounds, table.start, side="right") - 1
    last = np.minimum(np.searchsorted(bounds, table.end), segments_M[table.clip])
    count = np.maximum(last - first, 0)
    owner = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    clip = table.label[owner] * len(segments_M) + table.clip[owner]
    return np.unique(clip * (len(bounds) - 1) + first[owner] + within)


def event_counts(
    truth: EventTable,
    found: EventTable,
    num_classes: int,
    *,
    onset_collar: float = 0.2,
    offset_collar: float = 0.2,
    offset_share: float = 0.2,
) -> Counts:
    """Counts of events: one is found where one of its label begins and ends about when it does.

    An event may begin `onset_collar` seconds early or late, and end `offset_collar` seconds or `offset_share`
    of the true one's length early or late, whichever is more. Each event is paired with one other at most, so
    that there are as many pairs as there can be.

    Args:
        truth: what is there.
        found: what was found.
        num_classes: K.
        onset_collar: seconds.
        offset_collar: seconds; infinity leaves ends out of account.
        offset_share: of a true event's length.

    Raises:
        ValueError: a collar is below 0, or an event is of no label.

    >>> truth = event_table([(0, 0, 1.0, 2.0), (0, 0, 3.0, 4.0)])
    >>> found = event_table([(0, 0, 1.1, 2.2), (0, 0, 3.3, 4.0)])
    >>> event_counts(truth, found, 1)
    Counts(hits=array([1]), false=array([1]), missed=array([1]))

    Source: Mesaros, Heittola and Virtanen (2016), section 3.2, with the best pairing.
    """
    if not (onset_collar >= 0 and offset_collar >= 0 and offset_share >= 0):
        raise ValueError(
            f"expected collars from 0 on, got {onset_collar}, {offset_collar} and a share of {offset_share}"
        )
    for table in (truth, found):
        check_table(table, None, num_classes)
    hits = np.zeros(num_classes, np.int64)
    groups = _by_clip_and_label(found)
    for key, rows in _by_clip_and_label(truth).items():
        if (said := groups.get(key)) is None:
            continue
        start, end = truth.start[rows], truth.end[rows]
        early = np.abs(found.start[said][:, None] - start)
        late = np.abs(found.end[said][:, None] - end)
        collars = np.maximum(offset_collar, offset_share * (end - start))
        fits = (np.round(early - onset_collar, DECIMALS) <= 0) & (np.round(late - collars, DECIMALS) <= 0)
        hits[key[1]] += _pairs(fits)
    there, said_K = (np.bincount(table.label, minlength=num_classes) for table in (truth, found))
    return Counts(hits, said_K - hits, there - hits)


def _by_clip_and_label(table: EventTable) -> dict[tuple[int, int], np.ndarray]:
    order = np.lexsort((table.label, table.clip))
    if not len(order):
        return {}
    clip, label = table.clip[order], table.label[order]
    cuts = np.flatnonzero((np.diff(clip) != 0) | (np.diff(label) != 0)) + 1
    parts = np.split(order, cuts)
    return {(int(table.clip[part[0]]), int(table.label[part[0]])): part for part in parts}


def _pairs(fits: np.ndarray) -> int:
    """The most pairs of a row and a column that fit, none in two pairs (Kuhn's augmenting paths)."""
    partner: dict[int, int] = {}
    if (fits.sum(0) <= 1).all() and (fits.sum(1) <= 1).all():
        return int(fits.sum())

    def pair(row: int, tried: set[int]) -> bool:
        for column in np.flatnonzero(fits[row]).tolist():
            if column in tried:
                continue
            tried.add(column)
            if column not in partner or pair(partner[column], tried):
                partner[column] = row
                return True
        return False

    return sum(pair(row, set()) for row in range(len(fits)))


def f1_figures(counts: Counts) -> dict[str, float]:
    """F1, precision and recall: of all labels' counts together (micro), and means over labels (macro).

    The macro figures are over the labels that are there at all. The precision of a label that was never found
    is 1 in the macro precision, as in sed_scores_eval; its F1 is 0.

    Returns:
        f1_micro, precision_micro, recall_micro, f1_macro, precision_macro, recall_macro, all in [0, 1]; NaN
        where nothing is there.

    >>> figures = f1_figures(Counts(np.array([1, 0]), np.array([1, 0]), np.array([0, 2])))
    >>> figures["f1_micro"], round(figures["f1_macro"], 3)
    (0.4, 0.333)
    """
    per_class = f1_per_class(counts)
    there = counts.hits + counts.missed > 0
    if not there.any():
        return {f"{name}_{mean}": math.nan for mean in ("micro", "macro") for name in per_class}
    all_of = f1_per_class(Counts(*(np.array([count.sum()]) for count in counts)))
    figures = {f"{name}_micro": float(values[0]) for name, values in all_of.items()}
    return figures | {f"{name}_macro": float(values[there].mean()) for name, values in per_class.items()}


def f1_per_class(counts: Counts) -> dict[str, np.ndarray]:
    """(K,) f1, precision and recall; recall and F1 are NaN for a label that is not there.

    >>> f1_per_class(Counts(np.array([1]), np.array([1]), np.array([0])))["precision"].tolist()
    [0.5]
    """
    hits, false, missed = (np.asarray(count, np.float64) for count in counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = hits / (hits + missed)
        f1 = np.where(hits + missed > 0, 2 * hits / (2 * hits + false + missed), math.nan)
    precision = np.where(hits + false > 0, hits / np.maximum(hits + false, 1), 1.0)
    return {"f1": f1, "precision": precision, "recall": recall}


def check_table(table: EventTable, clips: int | None, num_classes: int) -> None:
    """Refuse events of clips or labels that are not there, with a ValueError.

    >>> check_table(event_table([(0, 1, 0.0, 1.0)]), None, 1)
    Traceback (most recent call last):
    ValueError: an event has label 1, but there are 1
    """
    if len(table.label) and table.label.max() >= num_classes:
        raise ValueError(f"an event has label {table.label.max()}, but there are {num_classes}")
    if clips is not None and len(table.clip) and table.clip.max() >= clips:
        raise ValueError(f"an event is of clip {table.clip.max()}, but there are {clips}")
