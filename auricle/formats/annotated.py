"""What somebody heard when: events, what recordings were listened to, and what could not be understood."""

from dataclasses import dataclass, field
from typing import NamedTuple

from auricle.text import counted


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
    unanswered: int = 0  # rows of a table with a column `answer` that have no answer
    points: int = 0  # labels that end where they start, which are no events
    nameless: list[str] = field(default_factory=list)  # where stretches stand that nobody put a label to
    bare: list[str] = field(default_factory=list)  # files that name neither an event nor a recording
    problems: list[str] | None = None  # what makes no sense and was left out; None: it is an error

    @property
    def labels(self) -> list[str]:
        """All that are heard anywhere, sorted."""
        return sorted({event.label for event in self.events})

    @property
    def left_out(self) -> list[str]:
        """What was read and is no event: a line for each kind."""
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
        self.unanswered += other.unanswered
        self.points += other.points
        self.nameless += other.nameless
        self.bare += other.bare
        if self.problems is not None:
            self.problems += other.problems or []
