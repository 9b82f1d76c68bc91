"""What somebody heard when: events, what recordings were listened to, and what could not be understood."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, TypeVar

from auricle.text import counted

SAME_SECONDS = 2.1e-6  # times are written to the microsecond, some as a start and a length
CELL_SECONDS = 1e-5
NAMED_AFTER = ""  # the source of a recording's name that is that of the file of its events
R = TypeVar("R", bound=Hashable)


class TimedEvent(NamedTuple):
    """What is heard, from when to when, and in which line of which file that is said."""

    recording: str  # as it is written there
    start: float  # seconds
    end: float
    label: str
    score: float | None
    where: str  # "truth.csv, row 5"


@dataclass
class Annotated:
    """Events, and the recordings that were listened to: also those in which nothing is heard."""

    events: list[TimedEvent] = field(default_factory=list)
    recordings: dict[str, str] = field(default_factory=dict)  # name -> where it is named first
    answered: bool = False  # there is a column `answer`: somebody looked at the rows
    unanswered: int = 0  # rows of a table with a column `answer` that have no answer
    points: int = 0  # labels that end where they start, which are no events
    nameless: list[str] = field(default_factory=list)  # where stretches stand that nobody put a label to
    bare: list[str] = field(default_factory=list)  # files that name neither an event nor a recording
    scores: list[str] = field(default_factory=list)  # files whose rows are scores of windows, it seems
    sources: dict[str, set[str]] = field(default_factory=dict)  # name -> the files it is in, or NAMED_AFTER
    problems: list[str] | None = None  # what makes no sense and was left out; None: it is an error

    @property
    def labels(self) -> list[str]:
        """All that are heard anywhere, sorted."""
        return sorted({event.label for event in self.events})

    @property
    def left_out(self) -> list[str]:
        """What was read and is no event, or hardly one: a line for each kind."""
        said = []
        if self.unanswered:
            said.append(f"{counted(self.unanswered, 'row')} without an answer, left out")
        if self.points:
            one = "1 label that lasts no time (a point)"
            many = f"{self.points:,} labels that last no time (points)"
            said.append(f"{one if self.points == 1 else many}, left out")
        if self.nameless:
            more = f" ({counted(len(self.nameless), 'such row')} in all)" if len(self.nameless) > 1 else ""
            said.append(f"{self.nameless[0]}: says from when to when and not what, left out{more}")
        if self.scores:
            more = f" ({counted(len(self.scores), 'such file')} in all)" if len(self.scores) > 1 else ""
            said.append(
                f"{self.scores[0]}: its rows look like scores of whole recordings or of windows, and are "
                f"taken for events as they stand; auricle tag --events writes events{more}"
            )
        return said + [f"{file}: holds no event and names no recording" for file in self.bare]

    def refuse(self, problem: str) -> None:
        """Note what makes no sense, or stop with it.

        Raises:
            ValueError: problems are errors.
        """
        if self.problems is None:
            raise ValueError(problem)
        self.problems.append(problem)

    def take(self, other: "Annotated") -> None:
        """Also all of another."""
        self.events += other.events
        self.recordings |= other.recordings | self.recordings  # the first place that names one counts
        for name, files in other.sources.items():
            self.sources.setdefault(name, set()).update(files)
        self.answered = self.answered or other.answered
        self.unanswered += other.unanswered
        self.points += other.points
        self.nameless += other.nameless
        self.bare += other.bare
        self.scores += other.scores
        if self.problems is not None:
            self.problems += other.problems or []

    def once(self, meant: Mapping[str, R]) -> tuple[list[tuple[R, TimedEvent]], int]:
        """The events of some recordings, each once; how many were the same as one before.

        The same are events of one recording, label and times, to the microsecond that formats round to: of
        several files, say, that the same events were written to. The one with the longest score is kept.

        Args:
            meant: name -> the recording that it means; of other names nothing is taken.

        >>> rows = [TimedEvent("a.wav", 1.0, end, "dog", None, "") for end in (2.0, 2.000001, 2.1)]
        >>> kept, same = Annotated(events=rows).once({"a.wav": 7})
        >>> [(recording, event.end) for recording, event in kept], same
        ([(7, 2.0), (7, 2.1)], 1)
        """
        kept: list[tuple[R, TimedEvent]] = []
        places: dict[tuple[R, str, int, int], list[int]] = {}
        same = 0
        for event in self.events:
            if event.recording not in meant:
                continue
            recording = meant[event.recording]
            near = [(recording, event.label, *cell) for cell in _cells(event)]
            before = (at for key in near for at in places.get(key, ()) if _at_once(kept[at][1], event))
            if (at := next(before, None)) is None:
                places.setdefault((recording, event.label, *_cell(event.start, event.end)), []).append(
                    len(kept)
                )
                kept.append((recording, event))
                continue
            same += 1
            if len(str(event.score or "")) > len(str(kept[at][1].score or "")):
                kept[at] = recording, kept[at][1]._replace(score=event.score)
        return kept, same


def _cell(start: float, end: float) -> tuple[int, int]:
    return int(start / CELL_SECONDS), int(end / CELL_SECONDS)


def _cells(event: TimedEvent) -> set[tuple[int, int]]:
    """Where an event may lie that is at the same time: next to a border of cells, beyond it too."""
    off = (-SAME_SECONDS, SAME_SECONDS)
    return {_cell(event.start + a, event.end + b) for a in off for b in off}


def _at_once(one: TimedEvent, other: TimedEvent) -> bool:
    return abs(one.start - other.start) < SAME_SECONDS and abs(one.end - other.end) < SAME_SECONDS


def are_scores(events: Sequence[TimedEvent]) -> bool:
    """Whether the rows of a file look like what a model gave to whole recordings or windows, not like events.

    Tags of one stretch come by their scores, events that begin together by their labels. Windows follow each
    other with the same label, where events would be one.

    >>> scored = {"rain": 0.9, "dog": 0.1}
    >>> tags = [TimedEvent("a.wav", 0.0, 9.0, label, score, "") for label, score in scored.items()]
    >>> are_scores(tags), are_scores(tags[::-1])
    (True, False)
    """
    if all(event.score in (None, 1.0) for event in events) or any(event.score is None for event in events):
        return False
    stretches: dict[tuple[str, float, float], list[TimedEvent]] = {}
    heard: dict[tuple[str, str], list[TimedEvent]] = {}
    for event in events:
        stretches.setdefault(event[:3], []).append(event)
        heard.setdefault((event.recording, event.label), []).append(event)
    several = [rows for rows in stretches.values() if len(rows) > 1]
    by_score = all((a.score or 0) >= (b.score or 0) for rows in several for a, b in pairwise(rows))
    by_label = all(a.label < b.label for rows in several for a, b in pairwise(rows))
    if by_score and not by_label and 2 * len(several) > len(stretches):
        return True
    return any(
        0 < b.start - a.start <= a.end - a.start + SAME_SECONDS
        and abs((b.end - b.start) - (a.end - a.start)) < SAME_SECONDS
        for rows in heard.values()
        for a, b in pairwise(sorted(rows, key=lambda event: event.start))
    )


def same_in_words(same: int) -> str:
    """What is said of events that were the same as others.

    >>> same_in_words(1)
    '1 event is written down more than once (same recording, label and times), counted once'
    """
    said = f"{counted(same, 'event')} {'is' if same == 1 else 'are'} written down more than once"
    return f"{said} (same recording, label and times), counted once"
