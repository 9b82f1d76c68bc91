"""Events that somebody wrote down, read from the formats of editors, of corpora and of this package.

- tables (CSV, TSV, TXT), a row an event: columns by their usual names, such as those of DCASE's tasks
  (filename, onset, offset, event_label), of AudioSet's strong labels (segment_id, start_time_seconds,
  end_time_seconds, label), of `auricle tag`, `review` and `evaluate`, and of Raven's selection tables
- Audacity's label tracks, JAMS, JSON Lines of `auricle tag --events`, `events.parquet` of `auricle scenes`

A table without a column of recordings, and a label track, are of the recording that they are named after.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from auricle.formats.annotated import NAMED_AFTER, Annotated, TimedEvent, are_scores
from auricle.tables import decimal_point, header_of, read_text, read_text_table, separator_of

NAMES: dict[str, tuple[str, ...]] = {  # in lower case; of several, the first that is there counts
    "recording": ("path", "filename", "file", "file_name", "audio_filename", "recording", "segment_id")
    + ("begin path", "begin file", "id"),
    "start": ("start", "onset", "start_time_seconds", "start_time", "begin time (s)", "start (s)"),
    "end": ("end", "offset", "end_time_seconds", "end_time", "end time (s)", "end (s)"),
    "label": ("label", "event_label", "labels", "event", "class", "annotation", "species", "common name"),
    "score": ("score", "confidence"),
}
NEEDED = ("start", "end", "label")
TABLES, JSON_LINES, JAMS = (".csv", ".tsv", ".txt"), (".jsonl", ".ndjson"), (".jams", ".json")
SUFFIXES = (*TABLES, *JSON_LINES, *JAMS, ".parquet")
# What the files of one recording add to its name: ours, Raven's own, a label track's.
ADDED = re.compile(r"(\.Table\.\d+)?(\.selections)?(\.labels)?\.(txt|csv|tsv|jams|json)$", re.IGNORECASE)
SHOWN_SCORE = re.compile(r"(.*\S) ([01]\.\d\d)$", re.DOTALL)  # as our label tracks show it
YES, NO, NOTHING = ("y", "yes"), ("n", "no"), ("", "?", "s", "skip")
OPEN_NAMESPACES = ("tag_", "segment_", "scaper", "sound_event")  # of JAMS: what says what is heard when


def read_answer(text: str, label: str) -> tuple[set[str], set[str]] | None:
    """What is heard and what is not, by an answer to whether `label` is; None where there is no answer.

    Raises:
        ValueError: a yes and a no at once.

    >>> read_answer("y", "dog"), read_answer("NO", "dog"), read_answer("?", "dog")
    (({'dog'}, set()), (set(), {'dog'}), None)
    >>> read_answer("rain", "dog"), read_answer("y; rain", "dog") == ({"dog", "rain"}, set())
    (({'rain'}, {'dog'}), True)
    """
    parts = [part.strip() for part in text.split(";") if part.strip()]
    if not parts or (len(parts) == 1 and parts[0].lower() in NOTHING):
        return None
    saying_no = [part for part in parts if part.lower() in NO]
    yes = {label if part.lower() in YES else part for part in parts if part not in saying_no}
    if saying_no and label in yes:
        raise ValueError(f"{text!r} says yes and no to {label!r}; expected y, n, or labels separated by ;")
    return yes, set() if label in yes else {label}


def read_events(
    paths: Iterable[str | Path], *, lenient: bool = False, without: str | Path | None = None
) -> Annotated:
    r"""The events of files, and of all such files in folders, to any depth.

    A stretch without a label is left out, and `left_out` tells of it: it says nothing about what is heard.

    Args:
        paths: files of the kinds above, or folders; a hidden file and `failures.csv` are left out.
        lenient: leave out a row that makes no sense, and a file that cannot be read, and note it in
            `problems`.
        without: a file, or a folder, that is left out of a folder: such as the one that is written.

    Raises:
        ValueError: no such file, or a folder without any; if not `lenient` also a file of another kind, or a
            row that makes no sense: its line is named, and what was expected.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "t.tsv").write_text("filename\tonset\toffset\tevent_label\na.wav\t0.5\t2\tdog\n")
    ...     _ = Path(folder, "b.wav.labels.txt").write_text("1.0\t2.0\train 0.90\n")
    ...     found = read_events([folder])
    >>> [event[:5] for event in found.events]
    [('b.wav', 1.0, 2.0, 'rain', 0.9), ('a.wav', 0.5, 2.0, 'dog', None)]
    """
    found = Annotated(problems=[] if lenient else None)
    for path in map(Path, paths):
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if _may_hold_events(file.relative_to(path), file))
            if without is not None and path.resolve() in (written := Path(without).resolve()).parents:
                files = [file for file in files if written not in (file.resolve(), *file.resolve().parents)]
            if not files:
                raise ValueError(f"{path}: no file of events in this folder ({', '.join(SUFFIXES)})")
            for file in files:
                _read_whole(file, file.relative_to(path).as_posix(), found)
        elif path.is_file():
            _read_whole(path, path.name, found)
        else:
            raise ValueError(f"{path}: no such file or folder")
    return found


def _may_hold_events(name: Path, file: Path) -> bool:
    hidden = any(part.startswith(".") for part in name.parts)
    return not hidden and name.suffix.lower() in SUFFIXES and name.name != "failures.csv" and file.is_file()


def _read_whole(file: Path, name: str, found: Annotated) -> None:
    """Read one file, or nothing of it."""
    own = Annotated(problems=None if found.problems is None else [])
    try:
        _read_file(file, name, own)
    except ValueError as error:
        found.refuse(str(error))
        return
    if not (own.events or own.recordings or own.problems or own.nameless):
        own.bare.append(str(file))
    if not own.answered and are_scores(own.events):
        own.scores.append(str(file))
    named = ADDED.sub("", name)
    own.sources = {called: {NAMED_AFTER if called == named else str(file)} for called in own.recordings}
    found.take(own)


def _read_file(file: Path, name: str, found: Annotated) -> None:
    """Read one file; `name` is what its recording is named after, where nothing in it names that."""
    suffix = file.suffix.lower()
    named = ADDED.sub("", name)
    if suffix == ".parquet":
        rows = _parquet_rows(file, found)
    elif suffix in JSON_LINES:
        rows = _json_lines(file, found)
    elif suffix in JAMS:
        rows = _jams(file, named, found)
    elif suffix in TABLES:
        text = read_text(file)
        first = next((line for line in text.splitlines() if line.strip()), "")
        if not first:
            if suffix == ".txt":  # a label track from which all was deleted
                found.recordings.setdefault(named, str(file))
            return
        fields = first.split("\t" if "\t" in first else separator_of(first, "\t"))
        if len(fields) in (2, 3) and _is_number(fields[0]) and _is_number(fields[1]):
            rows = _label_track(file, text, named, found)
        else:
            rows = _table_rows(file, header_of(file), named, found)
    else:
        raise ValueError(f"{file}: is no file of events that can be read: expected {', '.join(SUFFIXES)}")
    for event in rows:
        found.recordings.setdefault(event.recording, event.where)
        if event.start == event.end:
            found.points += 1
        elif not event.label:
            found.nameless.append(event.where)
        else:
            found.events.append(event)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(decimal_point(text, "\t")))
    except ValueError:
        return False


def _span(start: Any, end: Any, where: str, found: Annotated) -> tuple[float, float] | None:
    """The two as numbers; None where they make no sense, which is then noted.

    Raises:
        ValueError: that is an error.
    """
    try:
        begin, stop = float(start), float(end)
    except (TypeError, ValueError):
        begin, stop = 0.0, -1.0
    if 0 <= begin <= stop < math.inf:
        return begin, stop
    expected = "expected start and end in seconds, the end after the start"
    found.refuse(f"{where}: {expected}, got {start!r} and {end!r}")
    return None


def _label_track(file: Path, text: str, named: str, found: Annotated) -> Iterator[TimedEvent]:
    """Audacity: start, end, label, with tabs between; a line of a backslash has the bounds of a frequency."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("\\"):
            continue
        where, fields = f"{file}, row {number}", line.split("\t", 2)
        if len(fields) < 2:
            found.refuse(f"{where}: expected start, end and a label, with tabs between, got {line!r}")
            continue
        begin, stop = (decimal_point(text, "\t") for text in fields[:2])
        label = fields[2].strip() if len(fields) == 3 else ""
        shown = SHOWN_SCORE.match(label)
        what, score = (shown[1], float(shown[2])) if shown and float(shown[2]) <= 1 else (label, None)
        if (span := _span(begin, stop, where, found)) is not None:
            yield TimedEvent(named, *span, what, score, where)


def _table_rows(file: Path, header: list[str], named: str, found: Annotated) -> Iterator[TimedEvent]:
    numbers = [name for name in header if name.lower() in (*NAMES["start"], *NAMES["end"], *NAMES["score"])]
    columns, lines = read_text_table(file, numbers)
    rows: Iterator[tuple[int, Mapping[str, str]]] = iter(lines)
    of_raven = "View" in columns and "Selection" in columns
    if of_raven or ".selections." in file.name:
        if (first := next(rows, None)) is None:  # nothing was selected in the recording
            found.recordings.setdefault(named, str(file))
            return
        rows = chain([first], rows)
    by_role = _roles(columns, str(file))
    found.answered = "answer" in columns
    track = str(file) if "recording" not in by_role else ""
    if track:
        found.recordings.setdefault(named, track)
    if "Begin File" in columns and "File Offset (s)" in columns:
        kept = list(rows)
        several = len({row["Begin File"] for _, row in kept}) > 1
        rows = iter(_of_their_files(file, kept, found) if several else kept)
    seen: set[tuple[str, ...]] = set()
    for line, row in rows:
        where = f"{file}, row {line}"
        name, start, end, label = (
            row[by_role[role]].strip() if role in by_role else named
            for role in ("recording", "start", "end", "label")
        )
        if not name:
            found.refuse(f"{where}: {by_role['recording']} is empty; expected the name of a recording")
            continue
        if of_raven:  # the same selection once a view
            if (same := (row["Selection"], name, start, end, label)) in seen:
                continue
            seen.add(same)
        if not label and ("no" in columns or not (start or end)):  # listened to, and nothing heard
            found.recordings.setdefault(name, where)
            continue
        if (span := _span(start, end, where, found)) is None:
            continue
        score = row[by_role["score"]].strip() if "score" in by_role else ""
        given = float(score) if _is_number(score) else None
        for heard in _heard(by_role["label"], label, row.get("answer"), where, found):
            # The score is of the row's own label: the model gave none to a label that somebody answered.
            own = row.get("answer") is None or heard == label
            yield TimedEvent(name, *span, heard, given if own else None, where)
        found.recordings.setdefault(name, where)


def _of_their_files(
    file: Path, rows: Iterable[tuple[int, Mapping[str, str]]], found: Annotated
) -> Iterator[tuple[int, dict[str, str]]]:
    """Raven opens several files as one long sound: times of each from its own beginning."""
    for line, row in rows:
        where = f"{file}, row {line}"
        own, span = row["File Offset (s)"], _span(row["Begin Time (s)"], row["End Time (s)"], where, found)
        if span is None:
            continue
        if not _is_number(own):
            found.refuse(f"{where}: expected File Offset (s) in seconds, got {own!r}")
            continue
        start, end = span
        times = {"Begin Time (s)": own, "End Time (s)": f"{float(own) + end - start:.9g}"}
        yield line, {**row, **times}


def _roles(columns: Sequence[str], file: str) -> dict[str, str]:
    """What each column is, by its name."""
    by_name = {column.lower(): column for column in reversed(columns)}
    found = {}
    for role, names in NAMES.items():
        known = [by_name[name] for name in names if name in by_name]
        if known:
            found[role] = known[0]
    if missing := [role for role in NEEDED if role not in found]:
        if any(map(_is_number, columns)):
            raise ValueError(
                f"{file}: begins with an event, not with the names of its columns; put a first line in "
                "front, such as filename, onset, offset, event_label, with the same separator"
            )
        expected = "; ".join(f"{role}: {', '.join(NAMES[role])}" for role in missing)
        raise ValueError(
            f"{file}: no column for {' and '.join(missing)}: it has {', '.join(columns) or 'none'}; expected "
            f"a first line with names, one of each of these ({expected})"
        )
    return found


def _heard(column: str, label: str, answer: str | None, where: str, found: Annotated) -> list[str]:
    """The labels of a row: one, several separated by ; in a column `labels`, or those of its answer."""
    if answer is not None:
        try:
            read = read_answer(answer, label)
        except ValueError as error:
            found.refuse(f"{where}: {error}")
            return []
        found.unanswered += read is None
        return sorted(read[0]) if read is not None else []
    return [part.strip() for part in label.split(";")] if column.lower() == "labels" else [label]


def _parquet_rows(file: Path, found: Annotated) -> Iterator[TimedEvent]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file}: not a Parquet file ({error})") from None
    if "scores" in table.column_names:
        raise ValueError(
            f"{file}: holds the scores of windows, not events; write events with auricle tag --events "
            "--format csv"
        )
    by_role = _roles(table.column_names, str(file))
    if "recording" not in by_role:
        raise ValueError(f"{file}: no column for recordings; expected one of {', '.join(NAMES['recording'])}")
    columns = [table[by_role[role]].to_pylist() for role in ("recording", "start", "end", "label")]
    for number, (name, start, end, label) in enumerate(zip(*columns, strict=True), 1):
        where = f"{file}, row {number}"
        if (span := _span(start, end, where, found)) is not None:
            yield TimedEvent(str(name), *span, _label(label), None, where)


def _json_lines(file: Path, found: Annotated) -> Iterator[TimedEvent]:
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file}, row {number}"
        try:
            result = json.loads(line)
            if "error" in result:
                continue
            name, events = result["path"], result["events"]
            rows = [(e["start"], e["end"], _label(e["label"]), e.get("score")) for e in events]
        except (ValueError, KeyError, TypeError, AttributeError):
            found.refuse(
                f'{where}: expected an object with "path" and "events", each with start, end and label, as '
                "auricle tag --events --format jsonl writes them"
            )
            continue
        found.recordings.setdefault(str(name), where)
        for start, end, label, score in rows:
            if (span := _span(start, end, where, found)) is not None:
                known = score if isinstance(score, int | float) and not isinstance(score, bool) else None
                yield TimedEvent(str(name), *span, label, known, where)


def _jams(file: Path, named: str, found: Annotated) -> Iterator[TimedEvent]:
    if not (text := read_text(file)).strip():
        return
    try:
        whole = json.loads(text)
        about = whole["file_metadata"]
        name = str(about.get("identifiers", {}).get("path") or named)
        parts = [part for part in whole["annotations"] if part["namespace"].startswith(OPEN_NAMESPACES)]
        data = [
            (part.get("namespace"), number, row) for part in parts for number, row in _rows_of(part["data"])
        ]
        rows = [
            (number, row["time"], row["duration"], row["value"], row["confidence"]) for _, number, row in data
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: not JAMS ({type(error).__name__}: {error})") from None
    if not parts:
        raise ValueError(
            f"{file}: no annotation says what is heard: expected a namespace such as tag_open, segment_open "
            "or scaper"
        )
    found.recordings.setdefault(name, str(file))
    for number, time, duration, value, score in rows:
        where = f"{file}, observation {number}"
        label = _label(value["label"] if isinstance(value, dict) and "label" in value else value)
        if not _is_number(str(time)) or not _is_number(str(duration)):
            found.refuse(f"{where}: expected time and duration in seconds, got {time!r} and {duration!r}")
            continue
        known = float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None
        end = round(float(time) + float(duration), 6)
        if (span := _span(time, end, where, found)) is not None:
            yield TimedEvent(name, *span, label, known, where)


def _label(value: Any) -> str:
    """A label of a format that also has nothing."""
    return "" if value is None else str(value).strip()


def _rows_of(data: Any) -> Iterator[tuple[int, Any]]:
    """Observations, a list of objects; some writers have an object of lists."""
    if isinstance(data, dict):
        names = ("time", "duration", "value", "confidence")
        data = [dict(zip(names, row, strict=True)) for row in zip(*(data[n] for n in names), strict=True)]
    yield from enumerate(data, 1)
