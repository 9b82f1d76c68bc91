"""Audacity label tracks: File > Import > Labels.

Source: the Audacity manual, "Importing and Exporting Labels", standard format: start, tab, end, tab, label,
in seconds, with points, one label a line, without a head or quotes.
"""

from collections.abc import Iterable
from typing import TextIO

from auricle.formats.results import Result, in_a_cell, only_one, table_rows


def write_audacity(results: Iterable[Result], stream: TextIO, *, start: float = 0.0) -> None:
    r"""Write the labels of one recording: start, end (seconds, to the microsecond), label and its score.

    Rows are flushed as they come.

    Args:
        results: of one file.
        stream: text.
        start: seconds at which the recording was begun.

    Raises:
        ValueError: the results are of several files.

    >>> import sys
    >>> result = {"path": "a.wav", "duration": 2.0, "tags": [{"label": "dog", "score": 0.9}]}
    >>> write_audacity([result], sys.stdout)
    0.000000	2.000000	dog 0.90
    """
    for result in only_one(results, "audacity"):
        for _, begin, end, label, score in table_rows(result, start):
            stream.write(f"{begin:.6f}\t{end:.6f}\t{in_a_cell(label)} {score:.2f}\n")
            stream.flush()
