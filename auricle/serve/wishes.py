"""What a client wants to know of a recording: the options of `auricle tag`, as a query."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from fastapi import Depends, Query, Request

from auricle import formats
from auricle.artifact import Artifact
from auricle.events import event_config, events_of
from auricle.serve.errors import Refused
from auricle.serve.state import Ours
from auricle.tagging import hop_samples

LEAST_HOP = 0.01  # seconds: finer than that, a day of sound is more than anybody reads
LATEST = 1e6  # seconds


class Format(StrEnum):
    """How a result is written: those of `auricle tag`, and json, which is jsonl for one recording."""

    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    table = "table"
    audacity = "audacity"
    raven = "raven"
    webvtt = "webvtt"
    jams = "jams"
    parquet = "parquet"


MEDIA_TYPES = {
    Format.json: "application/json",
    Format.jsonl: "application/x-ndjson",
    Format.csv: "text/csv; charset=utf-8",
    Format.table: "text/plain; charset=utf-8",
    Format.audacity: "text/plain; charset=utf-8",
    Format.raven: "text/tab-separated-values; charset=utf-8",
    Format.webvtt: "text/vtt; charset=utf-8",
    Format.jams: "application/jams+json",
    Format.parquet: "application/vnd.apache.parquet",
}
SUFFIXES = {Format.json: ".json", Format.table: ".txt"} | {
    Format(name): end for name, end in formats.SUFFIXES.items()
}
# For the description of routes whose result is a file; that of JSON comes from the model.
FILES: dict[str, Any] = {
    kind: {"schema": {"type": "object" if kind.endswith("+json") else "string"}}
    for kind in MEDIA_TYPES.values()
    if kind != "application/json"
}


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What is wanted of a recording, fit for JSON; see `Tagger.tag`.

    >>> Wishes(windows=True).top
    5
    """

    top: int = 5
    threshold: float | None = None
    windows: bool = False
    events: bool = False
    consistent: bool = False
    hop: float | None = None
    start: float = 0.0
    end: float | None = None
    format: str = Format.json.value

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> Self:
        """The wishes that a job was given."""
        return cls(**{name: arguments[name] for name in _NAMES})

    def as_dict(self) -> dict[str, Any]:
        """For a job."""
        return dataclasses.asdict(self)

    def options(self, artifact: Artifact) -> dict[str, Any]:
        """What `Tagger.follow` is given; start and end are for the decoder."""
        names = ("top", "threshold", "windows", "consistent", "hop")
        return {name: getattr(self, name) for name in names} | {
            "events": event_config(events_of(artifact).as_dict(), artifact.labels) if self.events else None,
            "scores": self.format == Format.parquet,
        }

    def checked(self, artifact: Artifact, given: Collection[str] = ()) -> Self:
        """The same, with what follows from the format.

        Args:
            artifact: the model that is asked.
            given: wishes that were said.

        Raises:
            Refused: 400 where they do not go together, or with the model.
        """
        if self.end is not None and self.end <= self.start:
            raise Refused(400, f"end is {self.end:g}; expected more than start, {self.start:g}")
        if self.events and self.windows:
            raise Refused(400, "events are given in place of windows; leave one of them out")
        if self.consistent and artifact.parents is None:
            text = "so no score contradicts another; leave consistent out"
            raise Refused(400, f"the labels of {artifact.name} are flat, {text}")
        if self.hop is not None and self.hop < LEAST_HOP:
            raise Refused(400, f"hop is {self.hop:g} s; expected {LEAST_HOP:g} s or more")
        try:
            hop_samples(self.hop, artifact)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        if self.format == Format.parquet:
            for name in sorted({"events", "top", "threshold"}.intersection(given)):
                text = "parquet has every label's score in every window"
                raise Refused(400, f"{text}; leave {name} out, or take another format")
        timed = self.format in formats.TIMED and not self.events
        return dataclasses.replace(self, windows=self.windows or timed)


_NAMES = tuple(field.name for field in dataclasses.fields(Wishes))


async def read_wishes(
    request: Request,
    service: Ours,
    top: Annotated[int, Query(ge=1, le=1_000_000, description="At most so many tags.")] = 5,
    threshold: Annotated[
        float | None,
        Query(
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="Only tags that score so much or more; else the model's own thresholds.",
        ),
    ] = None,
    windows: Annotated[bool, Query(description="Also say what sounds when, window by window.")] = False,
    events: Annotated[bool, Query(description="Say from when to when each sound is heard.")] = False,
    consistent: Annotated[
        bool, Query(description="A label above others scores at least what they do.")
    ] = False,
    hop: Annotated[
        float | None,
        Query(ge=0, le=LATEST, allow_inf_nan=False, description="Seconds from window to window."),
    ] = None,
    start: Annotated[
        float, Query(ge=0, le=LATEST, allow_inf_nan=False, description="Begin so many seconds in.")
    ] = 0.0,
    end: Annotated[
        float | None,
        Query(ge=0, le=LATEST, allow_inf_nan=False, description="Stop so many seconds in."),
    ] = None,
    format: Annotated[Format, Query(description="How the result is written.")] = Format.json,
) -> Wishes:
    """The wishes of a request.

    Raises:
        Refused: as `Wishes.checked`.
    """
    wishes = Wishes(
        top=top,
        threshold=threshold,
        windows=windows,
        events=events,
        consistent=consistent,
        hop=hop,
        start=start,
        end=end,
        format=format.value,
    )
    return wishes.checked(service.artifact, set(request.query_params))


Wished = Annotated[Wishes, Depends(read_wishes)]
