"""Results of tagging as files: CSV, JSON Lines, Parquet, Audacity, Raven, WebVTT, JAMS; text.

`results.py` says what a result is. A file of Audacity, Raven, WebVTT or JAMS holds one recording; the others
hold any number. Every writer takes windows that are still being scored, and gathers none. `reading.py` reads
events back, and `matching.py` says of which recordings they are.
"""

from collections.abc import Iterable
from typing import TextIO

from auricle.formats.audacity import write_audacity
from auricle.formats.jams import write_jams
from auricle.formats.jsonl import write_jsonl
from auricle.formats.parquet import write_parquet
from auricle.formats.raven import write_raven
from auricle.formats.results import About, Result, packed, spans, table_rows
from auricle.formats.tables import CSV_COLUMNS, write_csv
from auricle.formats.text_table import write_table
from auricle.formats.webvtt import write_webvtt

SUFFIXES = {
    "csv": ".csv",
    "jsonl": ".jsonl",
    "parquet": ".parquet",
    "audacity": ".labels.txt",
    "raven": ".selections.txt",
    "webvtt": ".vtt",
    "jams": ".jams",
}
ONE_RECORDING = frozenset({"audacity", "raven", "webvtt", "jams"})  # a file of these is about one recording
TIMED = frozenset({"audacity", "raven", "webvtt", "parquet"})  # these say when: of a whole they say nothing

__all__ = [
    "CSV_COLUMNS",
    "ONE_RECORDING",
    "SUFFIXES",
    "TIMED",
    "About",
    "Result",
    "packed",
    "spans",
    "table_rows",
    "write",
    "write_audacity",
    "write_csv",
    "write_jams",
    "write_jsonl",
    "write_parquet",
    "write_raven",
    "write_table",
    "write_webvtt",
]


def write(format: str, results: Iterable[Result], stream: TextIO, about: About | None = None) -> None:
    """Write results in a format, by its name.

    Args:
        format: a key of `SUFFIXES`, or "table".
        results: of any number of files; of one, for the formats of `ONE_RECORDING`.
        stream: text in UTF-8, with newline=""; for Parquet, over a file of bytes.
        about: the model; Parquet needs its labels, Raven its rate.

    Raises:
        ValueError: the format is unknown, or its writer refuses the results.

    >>> import sys
    >>> write("jsonl", [{"path": "a.wav", "duration": 2.0, "tags": []}], sys.stdout)
    {"path": "a.wav", "duration": 2.0, "tags": []}
    """
    about = about or About()
    if format == "csv":
        write_csv(results, stream, start=about.start)
    elif format == "jsonl":
        write_jsonl(results, stream)
    elif format == "parquet":
        write_parquet(results, stream, about=about)
    elif format == "audacity":
        write_audacity(results, stream, start=about.start)
    elif format == "raven":
        write_raven(results, stream, rate=about.rate, start=about.start)
    elif format == "webvtt":
        write_webvtt(results, stream, start=about.start)
    elif format == "jams":
        write_jams(results, stream, about=about)
    elif format == "table":
        write_table(results, stream)
    else:
        raise ValueError(f"format is {format!r}; expected one of {', '.join(SUFFIXES)}")
