"""What somebody said of the sounds of a recording: applied to what the model heard, and as a manifest.

The rules, by label and in the order in which things were said or changed:

- "wrong" takes its stretch out of the label's sounds: one that it covers goes, a longer one keeps its rest;
- "right" and "added" put their stretch in, with score 1; sounds of the label that touch it are joined to it.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TextIO

import numpy as np

from auricle.events import Event, by_time
from auricle.search.answers import COLUMNS
from auricle.text import as_utf8

SAME = 1e-6  # seconds
SHARE = 0.5  # of the shorter of two stretches, which they have in common where one is heard in the other
CERTAIN = 1.0  # the score of what somebody said


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


def corrected(events: Iterable[Event], corrections: Sequence[Correction]) -> list[Event]:
    """Events after what was said of them, by start, then label.

    >>> heard = [{"start": 0.0, "end": 4.0, "label": "dog", "score": 0.6}]
    >>> corrected(heard, [Correction("dog", 1.0, 2.0, "wrong"), Correction("cat", 3.0, 5.0, "added")])
    ... # doctest: +NORMALIZE_WHITESPACE
    [{'start': 0.0, 'end': 1.0, 'label': 'dog', 'score': 0.6},
     {'start': 2.0, 'end': 4.0, 'label': 'dog', 'score': 0.6},
     {'start': 3.0, 'end': 5.0, 'label': 'cat', 'score': 1.0}]
    """
    judged = {correction.label for correction in corrections}
    out: list[Event] = []
    own: dict[str, list[Event]] = {label: [] for label in judged}
    for event in events:
        (own[event["label"]] if event["label"] in judged else out).append(event)
    for correction in corrections:
        change = _without if correction.verdict == "wrong" else _with
        own[correction.label] = change(own[correction.label], correction)
    return sorted([*out, *(event for label in own.values() for event in label)], key=by_time)


def _without(events: list[Event], correction: Correction) -> list[Event]:
    left = []
    for event in events:
        before, after = (event["start"], correction.start), (correction.end, event["end"])
        if event["end"] <= correction.start or event["start"] >= correction.end:
            left.append(event)
            continue
        left += [event | {"start": start, "end": end} for start, end in (before, after) if end - start > SAME]
    return left


def _with(events: list[Event], correction: Correction) -> list[Event]:
    start, end = correction.start, correction.end
    apart = []
    for event in events:
        if event["end"] < correction.start - SAME or event["start"] > correction.end + SAME:
            apart.append(event)
        else:
            start, end = min(start, event["start"]), max(end, event["end"])
    return [*apart, {"start": start, "end": end, "label": correction.label, "score": CERTAIN}]


def corrected_windows(
    windows: Iterable[dict[str, Any]], labels: Sequence[str], corrections: Sequence[Correction]
) -> Iterator[dict[str, Any]]:
    """Windows with "scores" after what was said: 0 of what is wrong, 1 of what is right or added.

    It counts for a window that has half of the stretch in it, or half of which the stretch fills. Labels that
    the model does not have follow its own, see `more_labels`; they score 0 elsewhere.
    """
    places = {label: k for k, label in enumerate([*labels, *more_labels(labels, corrections)])}
    for window in windows:
        scores = np.zeros(len(places), np.float32)
        scores[: len(labels)] = window["scores"]
        for correction in corrections:
            if _share(correction, window["start"], window["end"]):
                scores[places[correction.label]] = 0.0 if correction.verdict == "wrong" else CERTAIN
        yield window | {"scores": scores}


def more_labels(labels: Sequence[str], corrections: Sequence[Correction]) -> list[str]:
    """Labels that were said and that the model does not have, sorted."""
    return sorted({correction.label for correction in corrections} - set(labels))


def manifest_rows(corrections: Sequence[Correction], events: Sequence[Event] = ()) -> list[Row]:
    """The stretches that somebody judged, each with all that was judged there; those of events with them.

    A label counts for a stretch that has half of its own in it, or half of which it fills; of two verdicts
    on one label, the later.

    Args:
        corrections: in the order in which they were said.
        events: that are believed without being judged, as `corrected` gives them.

    >>> manifest_rows([Correction("dog", 0.0, 2.0, "right"), Correction("cat", 0.0, 2.0, "wrong")])
    [Row(start=0.0, end=2.0, labels=('dog',), no=('cat',))]
    """
    believed = [Correction(event["label"], event["start"], event["end"], "right") for event in events]
    rows = []
    for start, end in sorted({(c.start, c.end) for c in (*believed, *corrections)}):
        heard = {c.label: c.verdict != "wrong" for c in (*believed, *corrections) if _share(c, start, end)}
        labels, no = (
            tuple(sorted(label for label, yes in heard.items() if yes is wanted)) for wanted in (True, False)
        )
        rows.append(Row(round(start, 6), round(end, 6), labels, no))
    return rows


def _share(correction: Correction, start: float, end: float) -> bool:
    common = min(correction.end, end) - max(correction.start, start)
    return common > 0 and common >= SHARE * min(correction.end - correction.start, end - start) - SAME


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
