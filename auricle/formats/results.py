"""What a result is, and its stretches: what every format writes.

A result is what `Tagger.tag` gives, {"path", "duration", "tags": [{"label", "score"}, ...]}, with "windows"
or "events" where they were asked for, or {"path", "error"} for a file that failed. The windows may be an
iterator that is still being scored: then "duration" and "tags", or "error", are there once it is used up.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from auricle.text import for_terminal

if TYPE_CHECKING:
    import numpy as np

Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class About:
    """Whose results they are, for formats that say it.

    Args:
        model: its name.
        fingerprint: of the model.
        labels: in the order of its scores.
        rate: samples a second that the model hears.
        start: seconds at which every recording was begun.

    >>> About(model="auricle-esc50", rate=16_000).start
    0.0
    """

    model: str = ""
    fingerprint: str = ""
    labels: tuple[str, ...] = ()
    rate: int | None = None
    start: float = 0.0

    @classmethod
    def of(cls, artifact: Any, start: float = 0.0) -> Self:
        """What formats may say of a model.

        >>> About.of(load_artifact("default")).rate  # doctest: +SKIP
        16000
        """
        return cls(
            model=artifact.name,
            fingerprint=artifact.fingerprint,
            labels=artifact.labels,
            rate=artifact.rate,
            start=start,
        )


def spans(result: Result, start: float = 0.0) -> Iterable[dict[str, Any]]:
    """The stretches whose tags make rows: events where there are some, else windows, else the whole.

    Args:
        result: of one file; one that failed has none.
        start: seconds at which the whole began.

    >>> list(spans({"path": "a.wav", "duration": 2.0, "tags": [{"label": "dog", "score": 0.9}]}))
    [{'start': 0.0, 'end': 2.0, 'tags': [{'label': 'dog', 'score': 0.9}]}]
    >>> list(spans({"path": "a.wav", "events": [{"start": 0.5, "end": 1.5, "label": "dog", "score": 0.9}]}))
    [{'start': 0.5, 'end': 1.5, 'tags': [{'label': 'dog', 'score': 0.9}]}]
    """
    if "error" in result:
        return []
    if "events" in result:
        return (_span_of(event) for event in result["events"])
    if "windows" in result:
        return result["windows"]
    return [{"start": start, "end": round(start + result["duration"], 6), "tags": result["tags"]}]


def _span_of(event: dict[str, Any]) -> dict[str, Any]:
    tag = {"label": event["label"], "score": event["score"]}
    return {"start": event["start"], "end": event["end"], "tags": [tag]}


def table_rows(result: Result, start: float = 0.0) -> Iterator[tuple[str, float, float, str, float]]:
    """(path, start, end, label, score) of every tag of `spans`, start and end in seconds.

    >>> list(table_rows({"path": "a.wav", "duration": 2.0, "tags": [{"label": "dog", "score": 0.9}]}))
    [('a.wav', 0.0, 2.0, 'dog', 0.9)]
    """
    for span in spans(result, start):
        for tag in span["tags"]:
            yield result["path"], span["start"], span["end"], tag["label"], tag["score"]


def only_one(results: Iterable[Result], format: str) -> Iterator[Result]:
    """The results of a file that can hold one recording: that of it, if it did not fail.

    Raises:
        ValueError: there is a second one.

    >>> list(only_one([{"path": "a.wav", "error": "is empty"}], "webvtt"))
    []
    """
    first = None
    for result in results:
        if "error" in result:
            continue
        if first is not None:
            raise ValueError(
                f"{format} holds one recording in a file, and here are {for_terminal(first)} and "
                f"{for_terminal(result['path'])}; write a file for each (auricle tag: --out FOLDER/), or "
                "take csv, jsonl or parquet"
            )
        first = result["path"]
        yield result


def noticing(pieces: Iterable[Result], named: list[bool]) -> Iterator[Result]:
    """The same results, or pieces of one; `named` gets an entry where a label is there to show.

    >>> named = []
    >>> list(noticing([{"tags": []}, {"tags": [{"label": "dog", "score": 0.9}]}], named))[0], named
    ({'tags': []}, [True])
    """
    for piece in pieces:
        if not named and (piece.get("tags") or piece.get("events")):
            named.append(True)
        yield piece


def in_a_cell(text: str) -> str:
    r"""Text that ends neither a cell nor a line, in formats that know no quotes.

    >>> in_a_cell("dog\tbarking\n")
    'dog\\tbarking\\n'
    """
    return for_terminal(text)


def packed(values: Any) -> str:
    """Scores as text for JSON, which `unpacked` takes: for `json.dumps(..., default=packed)`.

    >>> import numpy as np
    >>> unpacked(packed(np.array([0.25, 0.5], np.float32)))
    array([0.25, 0.5 ], dtype=float32)
    """
    import numpy as np

    if not isinstance(values, np.ndarray):
        raise TypeError(f"{type(values).__name__} is nothing that JSON has")
    return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")


def unpacked(scores: Any) -> "np.ndarray":
    """(K,) float32 scores of a window, as they are or as text.

    >>> unpacked([1.0])
    array([1.], dtype=float32)
    """
    import numpy as np

    if isinstance(scores, str):
        return np.frombuffer(base64.b64decode(scores), "<f4")
    return np.asarray(scores, np.float32)


def as_json(value: Any) -> str:
    r"""JSON in plain ASCII, on one line.

    Raises:
        ValueError: a number that JSON has not.

    >>> as_json("Vögel")
    '"V\\u00f6gel"'
    """
    return json.dumps(value, ensure_ascii=True, allow_nan=False)
