"""`/v1/recordings/ID/corrections`: what a visitor says of the sounds of a recording."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from fastapi import Path as InPath
from pydantic import BaseModel, Field

from auricle.serve.correcting import Correction
from auricle.serve.errors import Refused, responses
from auricle.serve.library import said_of
from auricle.serve.recordings import Theirs
from auricle.serve.state import Ours
from auricle.text import UNPRINTABLE

router = APIRouter(tags=["corrections"])

LABEL_CHARACTERS = 100
SLACK_SECONDS = 1.0  # that a player may think a recording longer than it is
LATEST = 1e7
EXAMPLE: dict[str, Any] = {"label": "dog", "start": 2.0, "end": 4.0, "verdict": "wrong"}

Verdict = Literal["right", "wrong", "added"]
LabelText = Annotated[str, Field(min_length=1, max_length=LABEL_CHARACTERS, description="Any, without `;`.")]
Seconds = Annotated[float, Field(ge=0, le=LATEST, allow_inf_nan=False, strict=True)]
End = Annotated[
    Seconds,
    Field(
        description=f"Above `start`. Up to {SLACK_SECONDS:g} s beyond the recording's end stands for that "
        "end, as players round; more is refused."
    ),
]
Own = Annotated[str, InPath(description="Of the correction.", max_length=64)]


class Said(BaseModel):
    """What somebody says: the sound is right, it is wrong, or it is added."""

    label: LabelText
    start: Seconds
    end: End
    verdict: Verdict

    model_config = {"extra": "forbid", "json_schema_extra": {"example": EXAMPLE}}


class Change(BaseModel):
    """What is to be changed."""

    label: LabelText | None = None
    start: Seconds | None = None
    end: End | None = None
    verdict: Verdict | None = None

    model_config = {"extra": "forbid", "json_schema_extra": {"example": {"verdict": "right"}}}


class Kept(BaseModel):
    """What was said."""

    id: str
    label: str
    start: float
    end: float
    verdict: Verdict
    created: str

    model_config = {
        "json_schema_extra": {"example": {"id": "b7Qd", "created": "2026-01-31T22:15:00Z"} | EXAMPLE}
    }


class Corrections(BaseModel):
    """All that was said of a recording, in the order in which it was said or changed."""

    corrections: list[Kept]


@router.get(
    "/v1/recordings/{id}/corrections",
    summary="What was said of a recording",
    responses=responses(400, 404, 500),
)
def corrections(recording: Theirs, service: Ours, response: Response) -> Corrections:
    """In the order in which it was said or changed."""
    response.headers["cache-control"] = "no-store"
    return Corrections(
        corrections=[Kept(**one) for one in said_of(service.library.corrections(recording.id))]
    )


@router.post(
    "/v1/recordings/{id}/corrections",
    status_code=201,
    summary="Say something of a recording",
    responses=responses(400, 404, 409, 500, 507),
)
def correct(recording: Theirs, service: Ours, said: Said) -> Kept:
    """A sound is right, or wrong, or added, from `start` to `end` (seconds)."""
    return Kept(**service.library.correct(recording.id, _checked(said.model_dump(), recording)))


@router.patch(
    "/v1/recordings/{id}/corrections/{correction}",
    summary="Say something else",
    responses=responses(400, 404, 409, 500, 507),
)
def change(recording: Theirs, service: Ours, correction: Own, said: Change) -> Kept:
    """Change any part of what was said; it counts as said last."""
    given = {name: value for name, value in said.model_dump().items() if value is not None}
    if not given:
        raise Refused(400, "nothing is to be changed; give label, start, end or verdict")
    known = service.library.correction(recording.id, correction)
    whole = {name: known[name] for name in Correction._fields} | given
    return Kept(**service.library.change_correction(recording.id, correction, _checked(whole, recording)))


@router.delete(
    "/v1/recordings/{id}/corrections/{correction}",
    status_code=204,
    summary="Take back what was said",
    responses=responses(400, 404, 500),
)
def take_back(recording: Theirs, service: Ours, correction: Own) -> None:
    """Forget one correction."""
    service.library.remove_correction(recording.id, correction)


def _checked(said: dict[str, Any], recording: Theirs) -> Correction:
    """What was said, if it can be meant.

    Raises:
        Refused: 400, or 409 where the recording was not heard.
    """
    found = recording.found or recording.heard()
    label = said["label"].strip()
    if not label or ";" in label or UNPRINTABLE.search(label):
        text = "expected one line of text without `;`, which separates labels in a manifest"
        raise Refused(400, f"label is {said['label']!r}; {text}")
    duration = float(found["duration"])
    start, end = round(said["start"], 6), round(min(said["end"], duration), 6)
    if said["end"] > duration + SLACK_SECONDS:
        raise Refused(400, f"end is {said['end']:g}; expected up to {duration:g} s, where the recording ends")
    if end <= start:
        raise Refused(400, f"end is {said['end']:g}; expected more than start, {said['start']:g}")
    return Correction(label, start, end, said["verdict"])
