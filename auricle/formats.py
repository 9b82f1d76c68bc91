"""Tables of scores -> text: what `auricle tag` prints for programs.

A result is what `Tagger.tag` gives, {"path", "duration", "tags": [{"label", "score"}, ...]}, with "windows"
where they were asked for, or {"path", "error"} for a file that failed. For CSV the windows may be an iterator
that is still being scored; then "duration" and "tags" may be left out.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from auricle.text import as_utf8

CSV_COLUMNS = ("path", "start", "end", "label", "score")


def spans(result: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """The stretches whose tags make rows: the windows where there are some, else the whole, from 0.

    Args:
        result: of one file; one that failed has none.

    >>> list(spans({"path": "a.wav", "duration": 2.0, "tags": [{"label": "dog", "score": 0.9}]}))
    [{'start': 0.0, 'end': 2.0, 'tags': [{'label': 'dog', 'score': 0.9}]}]
    """
    if "error" in result:
        return []
    if "windows" in result:
        return result["windows"]
    return [{"start": 0.0, "end": result["duration"], "tags": result["tags"]}]


def table_rows(result: dict[str, Any]) -> Iterator[tuple[str, float, float, str, float]]:
    """(path, start, end, label, score) of every tag of `spans`, start and end in seconds.

    >>> list(table_rows({"path": "a.wav", "duration": 2.0, "tags": [{"label": "dog", "score": 0.9}]}))
    [('a.wav', 0.0, 2.0, 'dog', 0.9)]
    """
    for span in spans(result):
        for tag in span["tags"]:
            yield result["path"], span["start"], span["end"], tag["label"], tag["score"]


def write_csv(results: Iterable[dict[str, Any]], stream: TextIO) -> None:
    r"""Write one row a tag: path, start, end (seconds), label, score (six significant digits).

    A window's rows are flushed as soon as it was scored. A file that failed has no row, or none from where it
    failed: it is named on standard error.

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
        for span in spans(result):
            for path, start, end, label, score in table_rows(result | {"windows": [span]}):
                writer.writerow([as_utf8(path), f"{start:.15g}", f"{end:.15g}", label, f"{score:.6g}"])
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
