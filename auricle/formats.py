"""Tables of scores -> text: what `auricle tag` prints for programs.

A result is what `Tagger.tag` gives, {"path", "duration", "tags": [{"label", "score"}, ...]}, with "windows"
where they were asked for, or {"path", "error"} for a file that failed.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

CSV_COLUMNS = ("path", "start", "end", "label", "score")


def table_rows(result: dict[str, Any]) -> Iterator[tuple[str, float, float, str, float]]:
    """(path, start, end, label, score) of every tag: of the windows where there are some, else of the whole.

    Args:
        result: of one file; one that failed has no rows.

    Yields:
        start and end in seconds; tags without windows span what was heard, from 0.

    >>> list(table_rows({"path": "a.wav", "duration": 2.0, "tags": [{"label": "dog", "score": 0.9}]}))
    [('a.wav', 0.0, 2.0, 'dog', 0.9)]
    """
    if "error" in result:
        return
    whole = {"start": 0.0, "end": result["duration"], "tags": result["tags"]}
    for window in result.get("windows", [whole]):
        for tag in window["tags"]:
            yield result["path"], window["start"], window["end"], tag["label"], tag["score"]


def write_csv(results: Iterable[dict[str, Any]], stream: TextIO) -> None:
    r"""Write one row a tag: path, start, end (seconds), label, score (six significant digits).

    Each file's rows are flushed at once. A file that failed has no row: it is named on standard error.

    >>> import sys
    >>> result = {"path": "a, b.wav", "duration": 2.0, "tags": [{"label": "dog", "score": 0.9}]}
    >>> write_csv([result], sys.stdout)
    path,start,end,label,score
    "a, b.wav",0,2,dog,0.9
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    stream.flush()
    for result in results:
        for path, start, end, label, score in table_rows(result):
            writer.writerow([_printable(path), f"{start:.10g}", f"{end:.10g}", label, f"{score:.6g}"])
        stream.flush()


def write_jsonl(results: Iterable[dict[str, Any]], stream: TextIO) -> None:
    r"""Write JSON Lines: one object a file, one file a line; of a file that failed, {"path", "error"}.

    It is plain ASCII, other characters escaped: right under any locale, and for names that are not UTF-8.

    >>> import sys
    >>> write_jsonl([{"path": "Vögel.wav", "duration": 2.0, "tags": []}], sys.stdout)
    {"path": "V\u00f6gel.wav", "duration": 2.0, "tags": []}
    """
    for result in results:
        stream.write(json.dumps(result, ensure_ascii=True, allow_nan=False) + "\n")
        stream.flush()


FORMATS = {"csv": write_csv, "jsonl": write_jsonl}


def _printable(path: str) -> str:
    """A name that is not UTF-8 comes as lone surrogates, which no stream takes: show their bytes instead."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")
