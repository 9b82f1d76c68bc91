"""Results on their way through a file: windows by the hundred thousand are never gathered in memory.

JSON Lines: the windows of a recording where they were asked for, each as it was scored, then the recording's
own line, or its error.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from auricle.formats import packed

Result = dict[str, Any]


def write_line(part: BinaryIO, piece: Result) -> None:
    r"""Write a window, or what is said of a recording.

    >>> import io
    >>> write_line(stream := io.BytesIO(), {"path": "a.wav"})
    >>> stream.getvalue()
    b'{"path": "a.wav"}\n'
    """
    part.write(json.dumps(piece, allow_nan=False, default=packed).encode("ascii") + b"\n")


def unspooled(result: Result) -> Result:
    """A result whose windows are read from where `spool_file` put them, as they are asked for.

    >>> unspooled({"path": "a.wav", "duration": 2.0, "tags": []})
    {'path': 'a.wav', 'duration': 2.0, 'tags': []}
    """
    if "spooled" in result:
        result["windows"] = _spooled(Path(result.pop("spooled")), result)
    return result


def _spooled(path: Path, result: Result) -> Iterator[Result]:
    with path.open("rb") as lines:
        yield from windows_of(map(json.loads, lines), result)
    path.unlink()


def read_part(part: Path) -> Iterator[Result]:
    """The results of a part, one recording after the other; their windows are read as they are asked for."""
    with part.open("rb") as lines:
        for line in lines:
            piece = json.loads(line)
            if "begin" not in piece:
                yield piece
                continue
            result: Result = {"path": piece["begin"]}
            windows = windows_of(map(json.loads, lines), result)
            result["windows"] = windows
            yield result
            for _ in windows:  # what nobody asked for
                pass


def windows_of(pieces: Iterator[Result], result: Result) -> Iterator[Result]:
    """The windows of a recording; what is said of it as a whole, which comes last, is put into `result`."""
    for piece in pieces:
        if "path" in piece:
            result.update(piece)
            return
        yield piece
