"""What was found in a recording: on the disk while it is found, in any format when it is asked for."""

import io
import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from auricle import formats
from auricle.formats.results import as_json
from auricle.serve.spools import SPOOL_BYTES, Spool

MOST_BYTES = 1 << 30  # of one result
WINDOWS, EVENTS = "windows.jsonl", "events.jsonl"  # in the folder of a job
FIRST = ("path", "duration", "tags")  # of a result; windows or events come after them

Take = Callable[[int], object]


class _Lines:
    """A file of JSON, line by line, that does not become larger than anybody reads."""

    def __init__(self, path: Path, take: Take | None):
        self.size, self._take, self._taken = 0, take, 0
        self._file = path.open("wb")

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, piece: dict[str, Any]) -> None:
        line = json.dumps(piece, default=formats.packed).encode("ascii") + b"\n"
        self.size += len(line)
        if self.size > MOST_BYTES:
            raise ValueError(
                "the result is larger than 1 GiB; ask for a larger hop, fewer tags, or a part of the "
                "recording"
            )
        if self._take is not None and self.size > self._taken:
            self._take(SPOOL_BYTES)
            self._taken += SPOOL_BYTES
        self._file.write(line)


def keep(pieces: Iterable[dict[str, Any]], folder: Path, take: Take | None = None) -> dict[str, Any]:
    """Write what `Tagger.follow` gives, a line for each window, and give its last piece, of the whole.

    Args:
        pieces: with windows, or neither windows nor events.
        folder: of a job.
        take: is told of bytes before they are written.

    Raises:
        ValueError: it is more than anybody reads.
        AudioError, ValueError: as `Tagger.follow`.
        Refused: as `take`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keep([{"path": "a.wav", "duration": 1.0, "tags": []}], Path(folder))
    {'path': 'a.wav', 'duration': 1.0, 'tags': []}
    """
    last = dict[str, Any]()
    with _Lines(folder / WINDOWS, take) as lines:
        for piece in pieces:
            if "path" in piece:
                last = piece
            else:
                lines.add(piece)
    return last


def keep_events(pieces: Iterable[dict[str, Any]], folder: Path, take: Take | None = None) -> dict[str, Any]:
    """The same of events, which `Tagger.follow` gives `live`, as they end: kept by start, then label.

    >>> import tempfile
    >>> said = [{"start": 2.0, "end": 3.0, "tags": [{"label": one, "score": 0.5}]} for one in ("dog", "cat")]
    >>> with tempfile.TemporaryDirectory() as name:
    ...     whole = keep_events([*said, {"path": "a.wav", "duration": 4.0, "tags": []}], Path(name))
    ...     [event["label"] for event in kept(whole, Path(name))["events"]]
    ['cat', 'dog']
    """
    last, unsorted = dict[str, Any](), folder / (EVENTS + ".new")
    starts, places, which = array("d"), array("q"), array("q")
    labels: dict[str, int] = {}
    with _Lines(unsorted, take) as lines:
        for piece in pieces:
            if "path" in piece:
                last = piece
                continue
            (tag,) = piece["tags"]
            starts.append(piece["start"])
            places.append(lines.size)
            which.append(labels.setdefault(tag["label"], len(labels)))
            lines.add({"start": piece["start"], "end": piece["end"], **tag})
    rank = np.argsort(np.argsort(np.array(list(labels), object)))
    order = np.lexsort((rank[np.frombuffer(which, np.int64)] if which else [], np.frombuffer(starts)))
    if take is not None:
        take(lines.size)
    with unsorted.open("rb") as source, (folder / EVENTS).open("wb") as target:
        for number in order.tolist():
            source.seek(places[number])
            target.write(source.readline())
    unsorted.unlink()
    return last


def kept(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A result, with its windows or events read from where they were kept, as they are asked for."""
    for name, file in (("windows", WINDOWS), ("events", EVENTS)):
        if (folder / file).is_file():
            first = {key: result[key] for key in FIRST if key in result}
            rest = {key: value for key, value in result.items() if key not in first}
            return first | {name: _read(folder / file)} | rest
    return dict(result)


def is_large(folder: Path) -> bool:
    """Whether what was kept of a job is more than is written in passing."""
    return any(path.stat().st_size > SPOOL_BYTES for path in folder.glob("*.jsonl"))


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="ascii") as stream:
        yield from map(json.loads, stream)


def rendered(result: dict[str, Any], format: str, about: formats.About, file: Spool | None = None) -> Spool:
    r"""A result in a format, as a file that is read from its beginning.

    Args:
        result: as `kept` gives it.
        format: of `auricle.formats`, or "json".
        about: the model.
        file: to be written, empty; it is closed where that fails.

    Raises:
        ValueError: the format cannot have such a result.
        Refused: there is no room for it.

    >>> with rendered({"path": "a.wav", "duration": 2.0, "tags": []}, "json", formats.About()) as file:
    ...     file.read()
    b'{"path": "a.wav", "duration": 2.0, "tags": []}\n'
    """
    if format != "json":  # JSON tells what was wrong with the recording; the others are as those of a file
        result = {name: value for name, value in result.items() if name != "warnings"}
    file = Spool() if file is None else file
    try:
        text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")  # type: ignore[type-var]
        if format in ("json", "jsonl"):
            _write_json(result, text)
        else:
            formats.write(format, [result], text, about)
        text.flush()
        text.detach()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _write_json(result: dict[str, Any], text: IO[str]) -> None:
    """The line that `auricle tag --format jsonl` writes, in memory that does not grow with the recording."""
    text.write("{")
    for number, (name, value) in enumerate(result.items()):
        text.write(", " * bool(number) + as_json(name) + ": ")
        if name in ("windows", "events"):
            text.write("[")
            for place, one in enumerate(value):
                text.write(", " * bool(place) + as_json(one))
            text.write("]")
        else:
            text.write(as_json(value))
    text.write("}\n")
