"""What somebody said of the sounds of a recording: applied to what the model heard, and as a manifest.

The rules, by label and in the order in which things were said or changed:

- "wrong" takes its stretch out of the label's sounds: one that it covers goes, a longer one keeps its rest;
- "right" and "added" put their stretch in, with score 1; sounds of the label that touch it are joined to it.
"""

import csv
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TextIO

import numpy as np

from auricle.events import Event, by_time
from auricle.search.answers import COLUMNS
from auricle.text import as_utf8

SAME = 1e-6  # seconds
SHARE = 0.5  # of the shorter of two stretches, which they have in common where one is heard in the other
CERTAIN = 1.0  # the score of what somebody said

Peak = Callable[[str, float, float], float]


class Correction(NamedTuple):
    """What somebody said of a stretch."""

    label: str
    start: float  # seconds
    end: float
    verdict: str  # "right", "wrong" or "added"


class Row(NamedTuple):
    """A row of a manifest."""

    start: float
    end: float
    labels: tuple[str, ...]  # that are heard there
    no: tuple[str, ...]  # that were looked for and are not


def corrected(
    events: Iterable[Event],
    corrections: Sequence[Correction],
    look: Callable[[], object] = bool,
    peak: Peak | None = None,
) -> list[Event]:
    """Events after what was said of them, by start, then label.

    Args:
        events: those of one label begin and end in the same order, as the model's do.
        corrections: in the order in which they were said.
        look: is called now and then; what it raises ends the work.
        peak: the model's best score of a label from start to end (seconds), for what is left of an event;
            None leaves it the score of the whole, which may have been that of the part that is gone.

    >>> heard = [{"start": 0.0, "end": 4.0, "label": "dog", "score": 0.6}]
    >>> corrected(heard, [Correction("dog", 1.0, 2.0, "wrong"), Correction("cat", 3.0, 5.0, "added")])
    ... # doctest: +NORMALIZE_WHITESPACE
    [{'start': 0.0, 'end': 1.0, 'label': 'dog', 'score': 0.6},
     {'start': 2.0, 'end': 4.0, 'label': 'dog', 'score': 0.6},
     {'start': 3.0, 'end': 5.0, 'label': 'cat', 'score': 1.0}]
    """
    judged: dict[str, list[Correction]] = {}
    for correction in corrections:
        judged.setdefault(correction.label, []).append(correction)
    out: list[Event] = []
    own: dict[str, list[Event]] = {label: [] for label in judged}
    for event in events:
        (own[event["label"]] if event["label"] in judged else out).append(event)
    for label, said in judged.items():
        track = _Track(own[label])
        for correction in said:
            look()
            (track.without if correction.verdict == "wrong" else track.joined)(correction)
        out += track.events(peak)
    return sorted(out, key=by_time)


class _Track:
    """The events of one label, which begin and end in the same order: what a stretch touches is a slice."""

    def __init__(self, events: list[Event]):
        # Which came first, and the event that it is, or is a part of.
        self._from = sorted(enumerate(events), key=lambda one: one[1]["start"])
        self._heard = self._count = len(events)
        self._starts = [event["start"] for _, event in self._from]
        self._ends = [event["end"] for _, event in self._from]
        assert all(one <= next for one, next in pairwise(self._ends)), "an event lies in another"

    def events(self, peak: Peak | None) -> list[Event]:
        spans = sorted(zip(self._from, self._starts, self._ends, strict=True), key=lambda one: one[0][0])
        out = [event | {"start": start, "end": end} for (_, event), start, end in spans]
        if peak is not None:
            for new, ((number, event), start, end) in zip(out, spans, strict=True):
                if number < self._heard and (start, end) != (event["start"], event["end"]):
                    new["score"] = peak(event["label"], start, end)
        return out

    def without(self, said: Correction) -> None:
        first, last = bisect_right(self._ends, said.start), bisect_left(self._starts, said.end)
        places = range(first, last)
        before = [k for k in places if said.start - self._starts[k] > SAME]
        after = [k for k in places if self._ends[k] - said.end > SAME]
        starts = [self._starts[k] for k in before] + [said.end] * len(after)
        ends = [said.start] * len(before) + [self._ends[k] for k in after]
        self._put(slice(first, last), starts, ends, [self._from[k] for k in (*before, *after)])

    def joined(self, said: Correction) -> None:
        first = bisect_left(self._ends, said.start - SAME)
        last = bisect_right(self._starts, said.end + SAME)
        start = min(said.start, *self._starts[first : first + 1]) if first < last else said.start
        end = max(said.end, *self._ends[last - 1 : last]) if first < last else said.end
        event: Event = {"start": start, "end": end, "label": said.label, "score": CERTAIN}
        self._put(slice(first, last), [start], [end], [(self._count, event)])
        self._count += 1

    def _put(
        self, place: slice, starts: list[float], ends: list[float], events: list[tuple[int, Event]]
    ) -> None:
        self._starts[place], self._ends[place], self._from[place] = starts, ends, events


def corrected_windows(
    windows: Iterable[dict[str, Any]], labels: Sequence[str], corrections: Sequence[Correction]
) -> Iterator[dict[str, Any]]:
    """Windows with "scores" after what was said: 0 of what is wrong, 1 of what is right or added.

    It counts for a window that has half of the stretch in it, or half of which the stretch fills. Labels that
    the model does not have follow its own, see `more_labels`; they score 0 elsewhere.
    """
    places = {label: k for k, label in enumerate([*labels, *more_labels(labels, corrections)])}
    stretches = _Stretches(corrections)
    which = np.array([places[correction.label] for correction in corrections], np.int64)
    what = np.array([0.0 if one.verdict == "wrong" else CERTAIN for one in corrections], np.float32)
    for window in windows:
        scores = np.zeros(len(places), np.float32)
        scores[: len(labels)] = window["scores"]
        said = stretches.sharing(window["start"], window["end"])
        scores[which[said]] = what[said]  # of several on one label, the last
        yield window | {"scores": scores}


def more_labels(labels: Sequence[str], corrections: Sequence[Correction]) -> list[str]:
    """Labels that were said and that the model does not have, sorted."""
    return sorted({correction.label for correction in corrections} - set(labels))


def manifest_rows(
    corrections: Sequence[Correction],
    events: Sequence[Event] = (),
    look: Callable[[], object] = bool,
) -> Iterator[Row]:
    """The stretches that somebody judged, each with all that was judged there; those of events with them.

    A label counts for a stretch that has half of its own in it, or half of which it fills; of two verdicts
    on one label, the later.

    Args:
        corrections: in the order in which they were said.
        events: that are believed without being judged, as `corrected` gives them.
        look: is called for each row; what it raises ends the work.

    >>> list(manifest_rows([Correction("dog", 0.0, 2.0, "right"), Correction("cat", 0.0, 2.0, "wrong")]))
    [Row(start=0.0, end=2.0, labels=('dog',), no=('cat',))]
    """
    believed = (Correction(event["label"], event["start"], event["end"], "right") for event in events)
    said = (*believed, *corrections)
    stretches, names = _Stretches(said), sorted({one.label for one in said})
    places = {label: k for k, label in enumerate(names)}
    which = np.array([places[one.label] for one in said], np.int64)
    right = np.array([one.verdict != "wrong" for one in said], bool)
    latest = np.empty(len(names), np.int64)  # what was said last of each label
    for start, end in sorted({(one.start, one.end) for one in said}):
        look()
        latest.fill(-1)
        shared = stretches.sharing(start, end)
        latest[which[shared]] = shared
        judged = np.flatnonzero(latest >= 0)
        heard = right[latest[judged]]
        labels, no = (tuple(names[k] for k in judged[wanted].tolist()) for wanted in (heard, ~heard))
        yield Row(round(start, 6), round(end, 6), labels, no)


class _Stretches:
    """Stretches in the order of their starts, so that only those are compared which may meet."""

    def __init__(self, said: Sequence[Correction]):
        starts = np.array([one.start for one in said], float)
        self._order = np.argsort(starts, kind="stable")
        self._starts = starts[self._order]
        self._ends = np.array([one.end for one in said], float)[self._order]
        self._latest = np.maximum.accumulate(self._ends)  # end of all up to here

    def sharing(self, start: float, end: float) -> np.ndarray:
        """(M,) which of them share half of the shorter with a stretch, rising."""
        place = slice(np.searchsorted(self._latest, start, "right"), np.searchsorted(self._starts, end))
        starts, ends = self._starts[place], self._ends[place]
        common = np.minimum(ends, end) - np.maximum(starts, start)
        least = SHARE * np.minimum(ends - starts, end - start) - SAME
        found: np.ndarray = np.sort(self._order[place][(common > 0) & (common >= least)])
        return found


def write_manifest(recordings: Iterable[tuple[str, Iterable[Row]]], stream: TextIO) -> None:
    r"""Write (path, rows) of recordings as the table that `auricle review` writes and `auricle pack` reads.

    >>> import sys
    >>> write_manifest([("a.wav", [Row(0.0, 2.5, ("dog",), ("cat", "hen"))])], sys.stdout)
    path,start,end,labels,no
    a.wav,0,2.5,dog,cat;hen
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for path, rows in recordings:
        for start, end, labels, no in rows:
            spelled = (";".join(map(as_utf8, names)) for names in (labels, no))
            writer.writerow([as_utf8(path), f"{start:.15g}", f"{end:.15g}", *spelled])
