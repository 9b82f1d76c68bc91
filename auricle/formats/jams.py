"""JAMS: annotations of one recording as JSON, for research tools.

Source: Humphrey et al. (2014), and the schema that the package jams has: namespace "tag_open", an
observation for each tag.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable
from typing import Any, TextIO

from auricle.formats.jsonl import SPOOL_CHARACTERS
from auricle.formats.results import About, Result, as_json, only_one, table_rows
from auricle.text import as_utf8

JAMS_VERSION = "0.3.5"  # of the schema


def write_jams(results: Iterable[Result], stream: TextIO, *, about: About | None = None) -> None:
    r"""Write one recording's tags as observations: time and duration in seconds, value, confidence.

    Observations wait in a temporary file until the recording's end: what failed leaves nothing.

    Args:
        results: of one file.
        stream: text.
        about: the model, which is named as the annotator.

    Raises:
        ValueError: the results are of several files.

    >>> import io, json
    >>> text, tags = io.StringIO(), [{"label": "dog", "score": 0.9}]
    >>> write_jams([{"path": "a.wav", "duration": 2.0, "tags": tags}], text)
    >>> json.loads(text.getvalue())["annotations"][0]["data"]
    [{'time': 0.0, 'duration': 2.0, 'value': 'dog', 'confidence': 0.9}]
    """
    about = about or About()
    for result in only_one(results, "jams"):
        with tempfile.SpooledTemporaryFile(SPOOL_CHARACTERS, "w+", encoding="ascii") as spool:
            for number, (_, begin, end, label, score) in enumerate(table_rows(result, about.start)):
                span = {"time": begin, "duration": round(end - begin, 6)}
                spool.write(", " * bool(number) + as_json(span | {"value": label, "confidence": score}))
            if "error" in result:
                continue
            spool.seek(0)
            _write_whole(result, about, spool, stream)
        stream.flush()


def _write_whole(result: Result, about: About, observations: Any, stream: TextIO) -> None:
    tools = {"annotation_tools": "auricle", "data_source": "program", "version": about.model}
    annotator = {"model": about.model, "fingerprint": about.fingerprint}
    rest = {
        "namespace": "tag_open",
        "annotation_metadata": tools | {"annotator": annotator},
        "sandbox": {},
        "time": about.start,
        "duration": round(result["duration"], 6),
    }
    path = as_utf8(result["path"])
    file = {
        "title": os.path.basename(path),  # noqa: PTH119  of an address, too
        "duration": round(about.start + result["duration"], 6),  # as far as it was heard
        "identifiers": {"path": path},
        "jams_version": JAMS_VERSION,
    }
    stream.write('{"annotations": [{"data": [')
    shutil.copyfileobj(observations, stream)
    stream.write("], " + as_json(rest)[1:] + '], "file_metadata": ')
    stream.write(as_json(file) + ', "sandbox": {}}\n')
