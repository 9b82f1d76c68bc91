"""JSON Lines, for programs: one object a file."""

import shutil
import tempfile
from collections.abc import Iterable
from typing import TextIO

from auricle.formats.results import Result, as_json

SPOOL_CHARACTERS = 1 << 20  # of windows that are still being scored; more than that waits on the disk
FIRST = ("path", "duration", "tags")  # of an object; windows come after them


def write_jsonl(results: Iterable[Result], stream: TextIO) -> None:
    r"""Write JSON Lines: one object a file, one file a line; of a file that failed, {"path", "error"}.

    It is plain ASCII, other characters escaped: right under any locale, and for names that are not UTF-8.
    Windows that are still being scored wait in a temporary file: a line is written whole or not at all.

    >>> import sys
    >>> write_jsonl([{"path": "Vögel.wav", "duration": 2.0, "tags": []}], sys.stdout)
    {"path": "V\u00f6gel.wav", "duration": 2.0, "tags": []}
    """
    for result in results:
        if isinstance(result.get("windows", []), list):
            stream.write(as_json(result) + "\n")
        else:
            _write_streamed(result, stream)
        stream.flush()


def _write_streamed(result: Result, stream: TextIO) -> None:
    """The same line, in memory that does not grow with the recording."""
    with tempfile.SpooledTemporaryFile(SPOOL_CHARACTERS, "w+", encoding="ascii") as spool:
        for number, window in enumerate(result["windows"]):
            spool.write(", " * bool(number) + as_json(window))
        if "error" in result:
            stream.write(as_json({"path": result["path"], "error": result["error"]}) + "\n")
            return
        first = as_json({name: result[name] for name in FIRST})
        rest = as_json({name: value for name, value in result.items() if name not in (*FIRST, "windows")})
        stream.write(first[:-1] + ', "windows": [')
        spool.seek(0)
        shutil.copyfileobj(spool, stream)
        stream.write("]" + (", " + rest[1:] if rest != "{}" else "}") + "\n")
