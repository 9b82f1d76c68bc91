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

import dataclasses
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from auricle.thresholds import is_threshold, own_thresholds

# Two times that differ by less are the same: far below a sample, far above what rounding does to hours.
SAME = 1e-6
PER_LABEL = ("smooth", "onset", "offset", "min_length", "max_gap")

Event = dict[str, Any]  # {"start", "end" (seconds), "label", "score"}


@dataclass(frozen=True, kw_only=True)
class EventConfig:
    """How scores over time become events; the settings that an artifact's `events` holds.

    Args:
        smooth: seconds; a score becomes the median of the scores of the windows whose middles are within half
            of this of its own. 0 leaves scores as they are.
        onset: score that an event reaches at least once; 2 where there are to be none.
        offset: score that it never falls below; None is `onset`.
        min_length: seconds; shorter events are left out.
        max_gap: seconds; events that are no further apart become one.
        hop: seconds from window to window, when events are looked for; None is the model's own.
        labels: label -> settings that differ for it, by their names above; `hop` cannot.

    Raises:
        ValueError: a setting is not what it can be.

    >>> config = EventConfig(onset=0.6, offset=0.3, labels={"dog": {"onset": 0.8}})
    >>> config.of("dog").onset, config.of("rain").onset
    (0.8, 0.6)
    """

    smooth: float = 0.0
    onset: float = 0.5
    offset: float | None = None
    min_length: float = 0.0
    max_gap: float = 0.0
    hop: float | None = None
    labels: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._validate()
        if not isinstance(self.labels, Mapping):
            raise ValueError(f"labels: expected label -> settings, got {self.labels!r}")
        for label, own in self.labels.items():
            if not isinstance(own, Mapping) or not set(own) <= set(PER_LABEL):
                got = sorted(own) if isinstance(own, Mapping) else own
                raise ValueError(f"labels: {label!r}: expected some of {', '.join(PER_LABEL)}; got {got}")
            try:
                self._with(own)
            except ValueError as error:
                raise ValueError(f"labels: {label!r}: {error}") from error

    def _validate(self) -> None:
        for name in ("smooth", "min_length", "max_gap"):
            if not _is_number(getattr(self, name)) or getattr(self, name) < 0:
                raise ValueError(f"{name}: expected seconds from 0 on, got {getattr(self, name)!r}")
        if self.hop is not None and not (_is_number(self.hop) and self.hop > 0):
            raise ValueError(f"hop: expected seconds above 0, got {self.hop!r}")
        for name in ("onset", "offset"):
            value = getattr(self, name)
            if (value is not None or name == "onset") and not is_threshold(value):
                raise ValueError(f"{name}: expected a score from 0 to 1, or 2 for never, got {value!r}")
        if self.offset is not None and self.offset > self.onset:
            raise ValueError(f"offset: expected no more than onset ({self.onset:g}), got {self.offset:g}")

    def of(self, label: str) -> "EventConfig":
        """The settings of one label; its `labels` are empty, its `offset` is a number."""
        own = self._with(self.labels.get(label, {}))
        return own if own.offset is not None else dataclasses.replace(own, offset=own.onset)

    def _with(self, own: Mapping[str, Any]) -> "EventConfig":
        return dataclasses.replace(self, labels={}, **own)

    def as_dict(self) -> dict[str, Any]:
        """What an artifact stores.

        >>> EventConfig(onset=0.25).as_dict()["onset"]
        0.25
        """
        return dataclasses.asdict(self) | {"labels": {name: dict(own) for name, own in self.labels.items()}}


def event_config(stored: Mapping[str, Any] | None, labels: Sequence[str] | None = None) -> EventConfig:
    """Settings from what an artifact stores; what is not said stays as it is by default.

    Args:
        stored: an artifact's `events`; None is all by default.
        labels: the model's; None does not look whether it has the labels that have settings of their own.

    Raises:
        ValueError: a setting is unknown or not what it can be, or the model has no such label.

    >>> event_config({"onset": 0.4, "max_gap": 1.0}).max_gap
    1.0
    """
    names = [f.name for f in dataclasses.fields(EventConfig)]
    if unknown := sorted(set(stored or {}) - set(names)):
        raise ValueError(f"{unknown[0]}: no setting of events; there are {', '.join(names)}")
    config = EventConfig(**(stored or {}))
    if labels is not None and (strange := [label for label in config.labels if label not in labels]):
        raise ValueError(f"labels: {strange[0]!r}: the model has no such label")
    return config


def events_of(artifact: Any) -> EventConfig:
    """The settings by which a model's scores become events: its own, or those by default.

    A model without settings of its own but with thresholds gets them as the `onset` of its labels.

    >>> from types import SimpleNamespace
    >>> events_of(SimpleNamespace(events=None, thresholds=[0.3], labels=("dog",))).of("dog").onset
    0.3
    """
    thresholds = own_thresholds(artifact)
    if artifact.events is not None or thresholds is None:
        return event_config(artifact.events, artifact.labels)
    chosen = zip(artifact.labels, thresholds, strict=True)
    return EventConfig(labels={label: {"onset": float(least)} for label, least in chosen})


def config_with(config: EventConfig, settings: Mapping[str, str]) -> EventConfig:
    """Settings with some changed by what was typed: KEY=VALUE, or LABEL.KEY=VALUE for one label.

    Raises:
        ValueError: no such setting, or a value it cannot have.

    >>> config_with(EventConfig(), {"onset": "0.4", "dog.onset": "0.8"}).of("dog").onset
    0.8
    """
    changed: dict[str, Any] = {}
    labels = {label: dict(own) for label, own in config.labels.items()}
    for key, text in settings.items():
        label, _, name = key.rpartition(".")
        known = PER_LABEL if label else (*PER_LABEL, "hop")
        if name not in known:
            raise ValueError(f"{key}: no setting of events; there are {', '.join(known)}")
        if text.lower() == "none" and name in ("offset", "hop"):
            value = None
        else:
            try:
                value = float(text)
            except ValueError:
                raise ValueError(f"{key}: expected a number, got {text!r}") from None
        (labels.setdefault(label, {}) if label else changed)[name] = value
    return dataclasses.replace(config, labels=labels, **changed)


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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


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
]
