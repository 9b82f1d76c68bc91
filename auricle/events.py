"""Scores over time -> events: which sound from when to when; the same scores give the same events.

A window's score stands for the moments that lie nearer to its middle than to that of any other window
(`stretches`). Then, for each label by itself: scores are smoothed, a median of the windows about each one;
an event is a run of scores of at least `offset`, of which one is at least `onset`; events of which one begins
`max_gap` or less after the other's end become one; what is then shorter than `min_length` is left out. Scores
may come a few windows at a time: the events are the same.

Shape letters: W windows, K labels.

Source: smoothing by a median and a threshold are the custom of DCASE's challenges since 2017; two thresholds:
Dinkel, Wu and Yu, "Towards duration robust weakly supervised sound event detection", IEEE/ACM TASLP 2021,
section III.D.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from auricle.event_settings import EventConfig, config_with, event_config, events_of, with_onset

# Two times that differ by less are the same: far below a sample, far above what rounding does to hours.
SAME = 1e-6

Event = dict[str, Any]  # {"start", "end" (seconds), "label", "score"}


def stretches(starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """The bounds of the stretches that windows' scores stand for, whether windows overlap or not.

    Window i stands for bounds[i] to bounds[i + 1]: the moments that are nearer to its middle than to that of
    any other; a bound is half way between two middles. The first begins where the first window does, the last
    ends where the last does. So of windows side by side each stands for itself; of windows that overlap, for
    a hop about its middle; and one that was aligned to the end for what is beyond half the way to it.

    Args:
        starts: (W,) of the windows, rising.
        stops: (W,) of the windows.

    Returns:
        (W + 1,), in the unit of the starts; empty where there is no window.

    Raises:
        ValueError: the middles do not rise.

    >>> stretches(np.array([0.0, 2.0, 4.0]), np.array([2.0, 4.0, 6.0])).tolist()
    [0.0, 2.0, 4.0, 6.0]
    >>> stretches(np.array([0.0, 1.0, 1.5]), np.array([2.0, 3.0, 3.5])).tolist()
    [0.0, 1.5, 2.25, 3.5]
    """
    starts, stops = np.asarray(starts, np.float64), np.asarray(stops, np.float64)
    if not len(starts):
        return np.zeros(0)
    middles = (starts + stops) / 2
    if not (np.diff(middles) > 0).all():
        raise ValueError("the middles of the windows have to rise from one window to the next")
    return np.concatenate([starts[:1], (middles[:-1] + middles[1:]) / 2, stops[-1:]])


def smoothed(middles: np.ndarray, scores_WK: np.ndarray, seconds: float) -> np.ndarray:
    """Scores, each the median of those of the windows whose middles are within half of `seconds` of its own.

    Near an end there are fewer; of an even number it is the mean of the two in the middle.

    Args:
        middles: (W,) of the windows, rising, in seconds.
        scores_WK: (W, K).
        seconds: 0 gives the scores as they are.

    Returns:
        (W, K) float64.

    >>> smoothed(np.arange(4.0), np.array([[0.0], [0.0], [1.0], [0.0]]), 2.0).ravel().tolist()
    [0.0, 0.0, 0.0, 0.5]
    """
    scores_WK = np.asarray(scores_WK, np.float64)
    if seconds <= 0:
        return scores_WK
    low = np.searchsorted(middles, middles - seconds / 2 - SAME)
    high = np.searchsorted(middles, middles + seconds / 2 + SAME, side="right")
    rows = [np.median(scores_WK[a:b], axis=0) for a, b in zip(low, high, strict=True)]
    return np.stack(rows) if rows else scores_WK


def find_events(
    times: np.ndarray, scores_WK: np.ndarray, labels: Sequence[str], config: EventConfig | None = None
) -> list[Event]:
    """The events of a recording whose scores are all there; `EventFinder` takes them as they come.

    Args:
        times: (W, 2) start and stop of each window, in seconds, rising.
        scores_WK: (W, K) scores in [0, 1].
        labels: K names.
        config: None is `EventConfig()`.

    Returns:
        {"start", "end" (seconds), "label", "score" (the highest smoothed one)}, by start, then label.

    Raises:
        ValueError: shapes do not fit, or the middles of the windows do not rise.

    >>> times = np.array([[0, 2], [2, 4], [4, 6], [6, 8]])
    >>> scores = np.array([[0.1], [0.9], [0.4], [0.1]])
    >>> find_events(times, scores, ["dog"], EventConfig(onset=0.5, offset=0.3))
    [{'start': 2.0, 'end': 6.0, 'label': 'dog', 'score': 0.9}]
    """
    times = np.asarray(times, np.float64).reshape(-1, 2)
    finder = EventFinder(labels, config)
    found = finder.add(times[:, 0], times[:, 1], scores_WK)
    return sorted([*found, *finder.finish()], key=by_time)


def by_time(event: Mapping[str, Any]) -> tuple[float, str]:
    """What events are sorted by.

    >>> by_time({"start": 1.0, "end": 2.0, "label": "dog", "score": 0.5})
    (1.0, 'dog')
    """
    return event["start"], event["label"]


class EventFinder:
    """`find_events` of scores that come a few windows at a time, in memory that does not grow with them.

    Args:
        labels: K names.
        config: None is `EventConfig()`.
        least: score below which an event is left out in the end.

    >>> finder = EventFinder(["dog"], EventConfig(onset=0.5))
    >>> finder.add(np.array([0.0, 2.0]), np.array([2.0, 4.0]), np.array([[0.9], [0.1]]))
    []
    >>> finder.add(np.array([4.0]), np.array([6.0]), np.array([[0.1]]))
    [{'start': 0.0, 'end': 2.0, 'label': 'dog', 'score': 0.9}]
    >>> finder.finish()
    []
    """

    def __init__(self, labels: Sequence[str], config: EventConfig | None = None, *, least: float = 0.0):
        config = config or EventConfig()
        own = [config.of(label) for label in labels]
        self.labels, self.least = list(labels), least
        self._onset_K, self._offset_K, self._smooth_K = (
            np.array([getattr(each, name) for each in own], np.float64)
            for name in ("onset", "offset", "smooth")
        )
        self._max_gap = [each.max_gap for each in own]
        self._min_length = [each.min_length for each in own]
        self._smooth = max(self._smooth_K, default=0.0)
        self._rows: deque[tuple[float, float, float, np.ndarray]] = deque()  # middle, start, stop, scores
        self._next = 0  # of the rows: the first whose events were not looked for
        self._bound: float | None = None  # where its stretch begins
        self._runs: dict[int, list[float]] = {}  # label -> start and highest score of a run that goes on
        self._events: dict[int, list[float]] = {}  # label -> start, end, score of an event that may grow

    def add(self, starts: np.ndarray, stops: np.ndarray, scores_WK: np.ndarray) -> list[Event]:
        """Some more windows, (W,) seconds and (W, K) scores; the events that are certain by now, as they end.

        Raises:
            ValueError: shapes do not fit, or the middles of the windows do not rise.
        """
        starts, stops = np.asarray(starts, np.float64), np.asarray(stops, np.float64)
        scores_WK = np.asarray(scores_WK, np.float64)
        if not starts.shape == stops.shape == scores_WK.shape[:1] or scores_WK.shape[1:] != (
            len(self.labels),
        ):
            raise ValueError(
                f"expected times (W,) and (W,) and scores (W, {len(self.labels)}), got {starts.shape}, "
                f"{stops.shape} and {scores_WK.shape}"
            )
        found: list[Event] = []
        for start, stop, scores_K in zip(starts.tolist(), stops.tolist(), scores_WK, strict=True):
            middle = (start + stop) / 2
            if self._rows and middle <= self._rows[-1][0]:
                raise ValueError("the middles of the windows have to rise from one window to the next")
            self._bound = start if self._bound is None else self._bound
            self._rows.append((middle, start, stop, scores_K))
            while self._next + 1 < len(self._rows):
                at = self._rows[self._next][0]
                if middle <= at + self._smooth / 2 + SAME:
                    break  # a later window may still count for it
                found += self._advance((at + self._rows[self._next + 1][0]) / 2)
        return found

    def finish(self) -> list[Event]:
        """The events that were not certain before the end; the finder can then take another recording."""
        found: list[Event] = []
        while self._next < len(self._rows):
            last = self._next + 1 == len(self._rows)
            at, _, stop, _ = self._rows[self._next]
            found += self._advance(stop if last else (at + self._rows[self._next + 1][0]) / 2)
        for k in sorted(self._runs):
            assert self._bound is not None
            found += self._end_run(k, self._bound)
        found += [event for k in sorted(self._events) for event in self._tell(k)]
        self._rows.clear()
        self._next, self._bound = 0, None
        return found

    def _advance(self, stop: float) -> list[Event]:
        """Look at the next row, whose stretch ends at `stop`, and let go of those that nobody needs more."""
        start, scores_K = self._bound, self._scores()
        assert start is not None
        found: list[Event] = []
        on_K = scores_K >= self._offset_K
        for k in [k for k in self._runs if not on_K[k]]:
            found += self._end_run(k, start)
        for k in np.flatnonzero(on_K).tolist():
            run = self._runs.setdefault(k, [start, 0.0])
            run[1] = max(run[1], float(scores_K[k]))
        for k in list(self._events):
            following = self._runs[k][0] if k in self._runs else stop
            if following - self._events[k][1] > self._max_gap[k] + SAME:
                found += self._tell(k)
        self._bound = stop
        self._next += 1
        if self._next < len(self._rows):
            oldest = self._rows[self._next][0] - self._smooth / 2 - SAME
            while self._rows[0][0] < oldest and self._next > 0:
                self._rows.popleft()
                self._next -= 1
        return found

    def _scores(self) -> np.ndarray:
        """(K,) smoothed scores of the next row."""
        at, _, _, scores_K = self._rows[self._next]
        if self._smooth <= 0:
            return scores_K
        scores_K = scores_K.copy()
        for seconds in np.unique(self._smooth_K[self._smooth_K > 0]).tolist():
            near = [
                row[3] for row in self._rows if at - seconds / 2 - SAME <= row[0] <= at + seconds / 2 + SAME
            ]
            which = self._smooth_K == seconds
            scores_K[which] = np.median(np.stack(near)[:, which], axis=0)
        return scores_K

    def _end_run(self, k: int, end: float) -> list[Event]:
        start, score = self._runs.pop(k)
        if score < self._onset_K[k]:
            return []
        found: list[Event] = []
        if k in self._events and start - self._events[k][1] > self._max_gap[k] + SAME:
            found = list(self._tell(k))
        if k in self._events:
            event = self._events[k]
            event[1], event[2] = end, max(event[2], score)
        else:
            self._events[k] = [start, end, score]
        return found

    def _tell(self, k: int) -> Iterator[Event]:
        start, end, score = self._events.pop(k)
        if end - start >= self._min_length[k] - SAME and score >= self.least:
            start, end = round(start, 6), round(end, 6)
            yield {"start": start, "end": end, "label": self.labels[k], "score": float(f"{score:.6g}")}


__all__ = [
    "Event",
    "EventConfig",
    "EventFinder",
    "by_time",
    "config_with",
    "event_config",
    "events_of",
    "find_events",
    "smoothed",
    "stretches",
    "with_onset",
]
