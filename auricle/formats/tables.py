"""CSV, for spreadsheets: one row a tag."""

import csv
from collections.abc import Iterable
from typing import TextIO

from auricle.formats.results import Result, spans
from auricle.text import in_quotes

CSV_COLUMNS = ("path", "start", "end", "label", "score")


def write_csv(results: Iterable[Result], stream: TextIO, *, start: float = 0.0, silent: bool = False) -> None:
    r"""Write one row a tag: path, start, end (seconds), label, score (six significant digits).

    A window's rows are flushed as soon as it was scored. A file that failed has no row, or none from where it
    failed: it is named on standard error.

    Args:
        results: of any number of files.
        stream: text, with newline="".
        start: seconds at which every recording was begun.
        silent: a recording without a tag has a row with its path alone, so that who reads it knows of it.

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
        path, told = in_quotes(result["path"]), False
        for span in spans(result, start):
            begin, end = f"{span['start']:.15g}", f"{span['end']:.15g}"
            writer.writerows(
                [path, begin, end, in_quotes(tag["label"]), f"{tag['score']:.6g}"] for tag in span["tags"]
            )
            told = told or bool(span["tags"])
            stream.flush()
        if silent and not told:
            writer.writerow([path, *[""] * (len(CSV_COLUMNS) - 1)])
            stream.flush()
