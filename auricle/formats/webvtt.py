"""WebVTT: subtitles that say what sounds, for browsers and players.

Source: W3C, "WebVTT: The Web Video Text Tracks Format", section 4.1, what a file must look like.
"""

import html
from collections.abc import Iterable
from typing import TextIO

from auricle.formats.results import Result, only_one, spans
from auricle.text import for_terminal


def write_webvtt(results: Iterable[Result], stream: TextIO, *, start: float = 0.0) -> None:
    r"""Write the captions of one recording: a cue for each window or event, a line for each tag of it.

    Times are rounded to the millisecond, which is all that the format has. Cues are flushed as they come.

    Args:
        results: of one file.
        stream: text.
        start: seconds at which the recording was begun.

    Raises:
        ValueError: the results are of several files.

    >>> import sys
    >>> result = {"path": "a.wav", "duration": 3602.5, "tags": [{"label": "dog", "score": 0.9}]}
    >>> write_webvtt([result], sys.stdout)
    WEBVTT
    <BLANKLINE>
    00:00:00.000 --> 01:00:02.500
    dog 0.90
    <BLANKLINE>
    """
    stream.write("WEBVTT\n\n")
    stream.flush()
    for result in only_one(results, "webvtt"):
        for span in spans(result, start):
            if lines := [_line(tag["label"], tag["score"]) for tag in span["tags"]]:
                begin = round(span["start"] * 1000)
                end = max(begin + 1, round(span["end"] * 1000))  # a cue may not end where it begins
                text = "\n".join(lines)
                stream.write(f"{timestamp(begin)} --> {timestamp(end)}\n{text}\n\n")
                stream.flush()


def timestamp(milliseconds: int) -> str:
    """A moment, as cues have it: hours have two digits or more.

    >>> timestamp(86_400_001), timestamp(400_000_000)
    ('24:00:00.001', '111:06:40.000')
    """
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"


def _line(label: str, score: float) -> str:
    return f"{html.escape(for_terminal(label), quote=False)} {score:.2f}"
