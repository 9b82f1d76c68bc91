"""What somebody said of moments, as a manifest that `auricle pack` reads; what is to be asked, as a table.

The manifest has columns path, start, end, labels and no: labels that were heard there, and labels that were
asked for and not heard, both separated by `;`. A row without labels is a moment in which nothing that was
asked for is heard.
"""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from auricle.formats.reading import read_answer
from auricle.remote import address_of, look_up
from auricle.shards.layout import publish, temporary_for
from auricle.tables import read_text_table
from auricle.text import as_utf8

COLUMNS = ("path", "start", "end", "labels", "no")
ASKED = ("path", "start", "end", "label", "score", "answer")
NUMBERS = ("start", "end", "score")
TOLERANCE = 1e-3  # seconds within which a moment is the same: text editors and spreadsheets round


class Question(NamedTuple):
    """A moment, and the label that is asked for there."""

    path: str
    start: float
    end: float
    label: str
    score: float  # how sure the head is, 0 to 1; before there is one, a similarity


@dataclass
class Answer:
    """What is known of a moment."""

    path: str
    start: float
    end: float
    yes: set[str] = field(default_factory=set)
    no: set[str] = field(default_factory=set)


class Answers:
    """All that was said, in the order in which moments came up first.

    Args:
        moments: what was said before.
        copies: path of a recording -> all paths of the same sound, such as an index's `copies`: what was and
            is said of one of them is said of each, unless something else was said of it.

    >>> answers = Answers()
    >>> answers.add(Question("a.wav", 0.0, 2.0, "dog", 0.5), "y")
    True
    >>> answers.add(Question("a.wav", 0.0, 2.0, "rain", 0.5), "n")
    True
    >>> answers.moments
    [Answer(path='a.wav', start=0.0, end=2.0, yes={'dog'}, no={'rain'})]
    """

    def __init__(self, moments: Iterable[Answer] = (), copies: Mapping[str, Sequence[str]] | None = None):
        self.moments = list(moments)
        self._copies = copies or {}
        self._by_path: dict[str, list[Answer]] = {}
        self._said: set[tuple[str, float, float, str]] = (
            set()
        )  # what was said of the very recording, of a label
        for moment in self.moments:
            self._by_path.setdefault(moment.path, []).append(moment)
        for said in list(self.moments):
            for path in self._copies.get(said.path, ()):
                other = self._moment(path, said.start, said.end)
                other.yes |= said.yes - other.no
                other.no |= said.no - other.yes
        for moment, other, labels in self._differing():  # nobody would have said so of the one for both
            self._said |= {(a.path, a.start, a.end, label) for a in (moment, other) for label in labels}

    def __len__(self) -> int:
        return len(self.moments)

    @property
    def labels(self) -> list[str]:
        """Labels that were heard anywhere, sorted."""
        return sorted(set().union(*(moment.yes for moment in self.moments)))

    def add(self, question: Question, text: str) -> bool:
        """Take an answer: y, n, or labels that are heard there; a later one counts. False for no answer.

        It is the answer of the recording's copies, too, for labels of which nothing was said of those.

        Raises:
            ValueError: as `read_answer`.
        """
        read = read_answer(text, question.label)
        if read is None:
            return False
        yes, no = read
        for path in self._copies.get(question.path, (question.path,)):
            moment = self._moment(path, question.start, question.end)
            place = moment.path, moment.start, moment.end
            if path == question.path:
                self._said |= {(*place, label) for label in yes | no}
                news = yes | no
            else:
                news = {label for label in yes | no if (*place, label) not in self._said}
            moment.yes = (moment.yes | yes & news) - (no & news)
            moment.no = (moment.no | no & news) - (yes & news)
        return True

    @property
    def contradictions(self) -> list[tuple[Answer, Answer, str]]:
        """Moments of two copies, and a label that was said to be heard in one of them alone."""
        return [(moment, other, label) for moment, other, labels in self._differing() for label in labels]

    def _differing(self) -> Iterator[tuple[Answer, Answer, list[str]]]:
        for moment in self.moments:
            for path in self._copies.get(moment.path, ()):
                if path <= moment.path:  # each two once
                    continue
                for other in self._by_path.get(path, ()):
                    if _same_span(moment, other.start, other.end) and (
                        labels := sorted(moment.yes & other.no | moment.no & other.yes)
                    ):
                        yield moment, other, labels

    def asked(self, path: str, label: str) -> list[tuple[float, float]]:
        """Stretches of a recording of which it is known whether a label is heard there."""
        return [(a.start, a.end) for a in self._by_path.get(path, []) if label in a.yes or label in a.no]

    def _moment(self, path: str, start: float, end: float) -> Answer:
        for moment in self._by_path.get(path, []):
            if _same_span(moment, start, end):
                return moment
        moment = Answer(path, start, end)
        self.moments.append(moment)
        self._by_path.setdefault(path, []).append(moment)
        return moment


def _same_span(moment: Answer, start: float, end: float) -> bool:
    return abs(moment.start - start) < TOLERANCE and abs(moment.end - end) < TOLERANCE


def read_labels(file: Path, copies: Mapping[str, Sequence[str]] | None = None) -> Answers:
    """The manifest that `write_labels` wrote; empty where there is none.

    Args:
        file: the table.
        copies: as in `Answers`.

    Raises:
        ValueError: it is no such table.

    >>> len(read_labels(Path("no-such-file.csv")))
    0
    """
    if not file.is_file():
        return Answers(copies=copies)
    columns, rows = read_text_table(file, NUMBERS)
    if missing := [name for name in COLUMNS if name not in columns]:
        raise ValueError(
            f"{file}: column {' and '.join(missing)} missing; expected what `auricle review` wrote before: "
            f"{', '.join(COLUMNS)}"
        )
    moments = (
        Answer(
            _placed(file.parent, row["path"]), *_span(file, line, row), _set(row["labels"]), _set(row["no"])
        )
        for line, row in rows
    )
    return Answers(moments, copies)


def write_labels(file: Path, answers: Answers) -> None:
    """Write the manifest, whole or not at all.

    >>> write_labels(Path("out/labels.csv"), Answers())  # doctest: +SKIP
    """
    rows = [
        [
            _named(file, a.path),
            _number(a.start),
            _number(a.end),
            ";".join(sorted(a.yes)),
            ";".join(sorted(a.no)),
        ]
        for a in answers.moments
    ]
    _write(file, COLUMNS, rows)


def write_questions(
    file: Path, questions: Iterable[Question], sounds: Mapping[Question, str] | None = None
) -> None:
    """Write moments to be asked about: the column `answer` is empty, to be filled in.

    >>> write_questions(Path("out/todo.csv"), [])  # doctest: +SKIP
    """
    more = () if sounds is None else ("sound",)
    rows = [
        [_named(file, q.path), _number(q.start), _number(q.end), q.label, f"{q.score:.4f}", ""]
        + ([] if sounds is None else [sounds.get(q, "")])
        for q in questions
    ]
    _write(file, (*ASKED, *more), rows)


def read_questions(file: Path, indexed: Iterable[str] = ()) -> list[tuple[Question, str]]:
    """Moments and what was answered, of a table that `write_questions` wrote and somebody filled in.

    Rows of one's own may stand in it; `score` may be left out. A name without a root may count from the
    table's folder or, as `auricle tag` writes it, from the working folder: that counts which is in the index,
    then that which is a file, of both the table's.

    Args:
        file: the table.
        indexed: full paths of the index's recordings, which may be gone since.

    Raises:
        ValueError: no such file, a column is missing, or a row makes no sense or is of a recording that was
            answered and is nowhere (its line is named).

    >>> read_questions(Path("no-such-file.csv"))
    Traceback (most recent call last):
    ValueError: no-such-file.csv: no such file
    """
    if not file.is_file():
        raise ValueError(f"{file}: no such file")
    columns, rows = read_text_table(file, NUMBERS)
    if missing := [name for name in ASKED if name not in columns and name != "score"]:
        raise ValueError(f"{file}: column {' and '.join(missing)} missing; expected {', '.join(ASKED)}")
    found, names = [], {as_utf8(path): path for path in indexed}
    there = cache(_is_file)
    for line, row in rows:
        label = row["label"].strip()
        try:
            read_answer(row["answer"], label)
        except ValueError as error:
            raise ValueError(f"{file}, row {line}: {error}") from None
        if not label:
            raise ValueError(f"{file}, row {line}: label is empty")
        span = _span(file, line, row)
        places = [_placed(file.parent, row["path"]), _placed(Path(), row["path"])]
        known = [names[place] for place in places if place in names]
        path = next(chain(known, filter(there, places)), None)
        if path is None and read_answer(row["answer"], label) is not None:
            raise ValueError(
                f"{file}, row {line}: {row['path']!r} is neither in the index nor a file; paths count from "
                f"the table's folder, {file.parent}, or from the working folder"
            )
        question = Question(path or places[0], *span, label, 0.0)
        found.append((question, row["answer"]))
    return found


def _span(file: Path, line: int, row: Mapping[str, str]) -> tuple[float, float]:
    try:
        start, end = float(row["start"]), float(row["end"])
    except ValueError:
        start, end = 0.0, -1.0
    if not 0 <= start < end < float("inf"):
        raise ValueError(
            f"{file}, row {line}: expected start and end in seconds, got {row['start']!r} and {row['end']!r}"
        )
    return start, end


def _set(text: str) -> set[str]:
    return {part.strip() for part in text.split(";") if part.strip()}


def _number(seconds: float) -> str:
    return f"{seconds:.15g}"


def _named(file: Path, path: str) -> str:
    """A recording's path for a table: from the table's folder where it lies below that."""
    folder = os.path.abspath(file.parent)  # noqa: PTH100  links stay
    if address_of(path) is None and path.startswith(folder + os.sep):
        path = Path(path).relative_to(folder).as_posix()
    return as_utf8(path)


def _placed(folder: Path, name: str) -> str:
    return name if address_of(name) is not None else os.path.abspath(folder / name)  # noqa: PTH100


def _is_file(path: str) -> bool:
    return look_up(path) is not None if address_of(path) is not None else os.path.isfile(path)  # noqa: PTH113


def _write(file: Path, columns: tuple[str, ...], rows: Iterable[Iterable[str]]) -> None:
    if not file.parent.is_dir():
        raise ValueError(f"{file}: the folder {file.parent} does not exist; create it or write elsewhere")
    temporary = temporary_for(file)
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
        publish(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
