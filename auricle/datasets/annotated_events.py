"""Events that somebody wrote down as a manifest: stretches of recordings and all that is heard in each.

A table of events has a row for each, and a model has to be told what else is heard at the time: rain under
the siren is in the siren's row, too.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TextIO

from auricle.formats.reading import TimedEvent

SHARE = 0.5  # of the shorter of a stretch and an event that they have in common at least
COLUMNS = ("path", "start", "end", "labels")
SAME = 1e-9


class Stretch(NamedTuple):
    """A part of a recording, and what is heard there."""

    start: float  # seconds
    end: float
    labels: tuple[str, ...]  # sorted


def stretches_of(
    events: Sequence[TimedEvent], every: float | None = None, duration: float | None = None
) -> Iterator[Stretch]:
    """The stretches of one recording: those of its events, or side by side from its beginning.

    A label is heard in a stretch that has half of the event in it, or half of which the event fills. Of
    stretches side by side, the last is left out where it would not be half as long as the others.

    Args:
        events: of the recording.
        every: seconds, the length of stretches side by side; None takes those of the events, once each.
        duration: of the recording in seconds; needed with `every`.

    Raises:
        ValueError: `every` is given, and no duration.

    >>> rain = TimedEvent("a.wav", 0.0, 9.0, "rain", None, "")
    >>> dog = TimedEvent("a.wav", 4.5, 5.0, "dog", None, "")
    >>> list(stretches_of([rain, dog]))[1]
    Stretch(start=4.5, end=5.0, labels=('dog', 'rain'))
    >>> [(cut.start, cut.labels) for cut in stretches_of([dog], every=4.0, duration=9.0)]
    [(0.0, ()), (4.0, ('dog',))]
    """
    if every is None:
        spans = sorted({(event.start, event.end) for event in events})
    elif duration is None:
        raise ValueError("stretches side by side need to know how long the recording is")
    else:
        count = int(duration / every + 0.5 + SAME)
        spans = [(n * every, min((n + 1) * every, duration)) for n in range(count)]
    for start, end in spans:
        labels = {event.label for event in events if _heard(event, start, end)}
        yield Stretch(round(start, 6), round(end, 6), tuple(sorted(labels)))


def _heard(event: TimedEvent, start: float, end: float) -> bool:
    common = min(event.end, end) - max(event.start, start)
    return common > 0 and common >= SHARE * min(event.end - event.start, end - start) - SAME


def write_manifest(rows: Iterable[tuple[str, Stretch]], stream: TextIO) -> None:
    """Write (path, stretch) rows as a table for `auricle pack` and `auricle train --examples`.

    Raises:
        ValueError: a label has the semicolon that separates labels.

    >>> import sys
    >>> write_manifest([("a.wav", Stretch(0.0, 2.5, ("dog", "rain")))], sys.stdout)
    path,start,end,labels
    a.wav,0,2.5,dog;rain
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for path, (start, end, labels) in rows:
        for label in labels:
            if ";" in label:
                raise ValueError(
                    f"label {label!r} has a semicolon, which separates labels; write another name"
                )
        writer.writerow([path, f"{start:.15g}", f"{end:.15g}", ";".join(labels)])
