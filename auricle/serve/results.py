"""What was found in a recording: on the disk while it is found, in any format when it is asked for."""

import io
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from auricle import formats

SPOOL_BYTES = 1 << 20  # of a result that is being written; more than that waits on the disk
CHUNK_BYTES = 1 << 16
MOST_BYTES = 1 << 30  # of one result


def keep(pieces: Iterable[dict[str, Any]], path: Path) -> dict[str, Any]:
    """Write what `Tagger.follow` gives, a line for each window, and give its last piece, of the whole.

    Raises:
        ValueError: it is more than anybody reads.
        AudioError, ValueError: as `Tagger.follow`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keep([{"path": "a.wav", "duration": 1.0, "tags": []}], Path(folder, "windows"))
    {'path': 'a.wav', 'duration': 1.0, 'tags': []}
    """
    written, last = 0, dict[str, Any]()
    with path.open("w", encoding="ascii") as stream:
        for piece in pieces:
            if "path" in piece:
                last = piece
                continue
            written += stream.write(json.dumps(piece, default=formats.packed) + "\n")
            if written > MOST_BYTES:
                raise ValueError(
                    "the result is larger than 1 GiB; ask for a larger hop, fewer tags, or a part of the "
                    "recording"
                )
    return last


def kept(result: dict[str, Any], path: Path) -> dict[str, Any]:
    """A result, with its windows read from where `keep` wrote them, as they are asked for."""
    if not path.is_file():
        return dict(result)
    place = ("path", "duration", "tags")
    first = {name: result[name] for name in place if name in result}
    rest = {name: value for name, value in result.items() if name not in first}
    return first | {"windows": _windows(path)} | rest


def _windows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="ascii") as stream:
        yield from map(json.loads, stream)


def rendered(result: dict[str, Any], format: str, about: formats.About) -> IO[bytes]:
    r"""A result in a format, as a temporary file that is read from its beginning.

    Args:
        result: as `kept` gives it.
        format: of `auricle.formats`, or "json".
        about: the model.

    >>> with rendered({"path": "a.wav", "duration": 2.0, "tags": []}, "json", formats.About()) as file:
    ...     file.read()
    b'{"path": "a.wav", "duration": 2.0, "tags": []}\n'
    """
    if format != "json":  # JSON tells what was wrong with the recording; the others are as those of a file
        result = {name: value for name, value in result.items() if name != "warnings"}
    file = tempfile.SpooledTemporaryFile(SPOOL_BYTES)
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
    formats.write("jsonl" if format == "json" else format, [result], text, about)
    text.flush()
    text.detach()
    file.seek(0)
    return file


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """A file's bytes, which is then closed.

    >>> list(chunks(io.BytesIO(b"abc")))
    [b'abc']
    """
    with file:
        while data := file.read(CHUNK_BYTES):
            yield data
