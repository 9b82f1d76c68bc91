"""Raven selection tables: File > Open Selection Table.

Source: the Raven Pro user's manual, "Selection tables": text with tabs, a head, and for every selection its
view, channel, begin and end time in seconds, lowest and highest frequency in Hz; further columns are kept.
"""

import os
from collections.abc import Iterable
from typing import TextIO

from auricle.formats.results import Result, in_a_cell, only_one, table_rows

COLUMNS = (
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
    "Begin File",
    "Begin Path",
    "File Offset (s)",
    "Annotation",
    "Score",
)
VIEW = "Spectrogram 1"  # the one that Raven opens a recording with


def write_raven(results: Iterable[Result], stream: TextIO, *, rate: int | None, start: float = 0.0) -> None:
    r"""Write a selection for each tag of one recording: the whole band that the model heard.

    Rows are flushed as they come.

    Args:
        results: of one file.
        stream: text.
        rate: samples a second that the model hears; half of it is the highest frequency.
        start: seconds at which the recording was begun.

    Raises:
        ValueError: the results are of several files, or the rate is not known.

    >>> import io
    >>> text, tags = io.StringIO(), [{"label": "dog", "score": 0.9}]
    >>> write_raven([{"path": "x/a.wav", "duration": 2.0, "tags": tags}], text, rate=16_000)
    >>> text.getvalue().splitlines()[1].split("\t")[3:]
    ['0.000000', '2.000000', '0.0', '8000.0', 'a.wav', 'x/a.wav', '0.000000', 'dog', '0.9']
    """
    if rate is None:
        raise ValueError("a selection has a highest frequency: raven needs the rate that the model hears")
    stream.write("\t".join(COLUMNS) + "\n")
    stream.flush()
    number = 0
    for result in only_one(results, "raven"):
        path = _in_quotes(result["path"])
        file = _in_quotes(os.path.basename(result["path"]))  # noqa: PTH119  of an address, too
        for _, begin, end, label, score in table_rows(result, start):
            number += 1
            times = f"{begin:.6f}\t{end:.6f}\t0.0\t{rate / 2:.1f}"
            what = f"{_in_quotes(label)}\t{score:.6g}"
            stream.write(f"{number}\t{VIEW}\t1\t{times}\t{file}\t{path}\t{begin:.6f}\t{what}\n")
            stream.flush()


def _in_quotes(text: str) -> str:
    """Text of a cell; what begins with a quotation mark is quoted, for it would be taken for that."""
    cell = in_a_cell(text)
    return '"' + cell.replace('"', '""') + '"' if cell.startswith('"') else cell
