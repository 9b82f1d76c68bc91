"""`/v1/recordings`: a visitor's recordings, how far each is, and what was found in it."""

import math
from collections.abc import Iterator
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel
from starlette.responses import JSONResponse

from auricle.events import EventConfig, events_of, with_onset
from auricle.serve.errors import Refused, responses
from auricle.serve.job_routes import Progress
from auricle.serve.keptscores import KeptScores
from auricle.serve.library import Recording
from auricle.serve.state import Ours
from auricle.serve.tag import Event, Tag
from auricle.serve.uploads import FORMS, receive_upload
from auricle.serve.visitors import Visitor, renew, welcome
from auricle.tagging import hop_samples

router = APIRouter(tags=["recordings"])

LATEST = 1e7  # seconds
BODY = {"required": True, "content": FORMS}
ABOUT: dict[str, Any] = {
    "id": "Zk3v",
    "name": "night.flac",
    "bytes": 41_203_112,
    "created": "2026-01-31T22:15:00Z",
    "expires": "2026-02-01T22:15:00Z",
    "kind": "audio",
    "model": "auricle-esc50",
    "duration": 3600.0,
    "state": "done",
    "job": None,
    "progress": None,
    "error": None,
    "warnings": [],
    "tags": [{"label": "rain", "score": 0.934512}],
    "corrections": 3,
    "hop": 1.0,
    "window": 2.0,
    "playable": True,
    "spectrogram": {"column": 0.02, "levels": 11, "low": 40.0, "high": 8000.0, "tile": 256, "bands": 96},
}


class Spectrogram(BaseModel):
    """What tiles there are: `levels`, each half as fine, of 256 columns of `column` seconds at level 0."""

    column: float
    levels: int
    low: float
    high: float
    tile: int
    bands: int


class About(BaseModel):
    """A recording. Its state is that of its job, and "failed" where another model heard it."""

    id: str
    name: str
    bytes: int
    created: str
    expires: str
    kind: str
    model: str
    duration: float | None
    state: str
    job: str | None
    progress: Progress | None
    error: str | None
    warnings: list[str]
    tags: list[Tag]
    corrections: int
    hop: float | None
    window: float | None
    playable: bool
    spectrogram: Spectrogram | None

    model_config = {"json_schema_extra": {"example": ABOUT}}


class Recordings(BaseModel):
    """A visitor's recordings, the newest first."""

    recordings: list[About]


class Kept(BaseModel):
    """A recording that is kept, and the job that hears it."""

    id: str
    job: str

    model_config = {"json_schema_extra": {"example": {"id": "Zk3v", "job": "x5Qm"}}}


class Label(BaseModel):
    """A label, its place in the model's list, its best score, and when the window that has it begins."""

    index: int
    label: str
    score: float
    time: float


class Labels(BaseModel):
    """All labels by falling best score."""

    labels: list[Label]


class Events(BaseModel):
    """Events by start, then label: the first of the stretch that is asked for, and how many it has."""

    events: list[Event]
    total: int
    truncated: bool


def recording_of(
    request: Request,
    service: Ours,
    visitor: Visitor,
    id: Annotated[str, InPath(description="Of the recording.", max_length=64)],
) -> Iterator[Recording]:
    """The recording that an address names.

    Raises:
        Refused: 404, the visitor has none of that name, or it is removed meanwhile.
    """
    found = service.library.get(visitor, id)
    assert isinstance(found, Recording)
    if found.renewed:
        renew(request, service.settings.keep_hours * 3600)
    try:
        yield found
    except FileNotFoundError:
        raise Refused(404, f"{found.name}: is not there any more; upload it again") from None


Theirs = Annotated[Recording, Depends(recording_of)]
Threshold = Annotated[
    float | None,
    Query(
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Score that a sound reaches, whatever its label; the model's own settings, if not said.",
    ),
]
Hop = Annotated[
    float | None,
    Query(
        gt=0,
        le=1e6,
        allow_inf_nan=False,
        description="Seconds from window to window: the recording's `hop`, or a multiple of it.",
    ),
]


def hop_of(kept: KeptScores, seconds: float | None) -> int:
    """Samples from window to window.

    Raises:
        Refused: 400, the recording was not scored so.
    """
    if seconds is None:
        return kept.hop
    try:
        hop = hop_samples(seconds, kept.artifact)
        assert hop is not None
        kept.rows(hop)
    except ValueError as error:
        raise Refused(400, str(error)) from None
    return hop


def config_of(kept: KeptScores, threshold: float | None) -> EventConfig:
    """The settings by which scores become events."""
    config = events_of(kept.artifact)
    return config if threshold is None else with_onset(config, threshold)


@router.post(
    "/v1/recordings",
    status_code=201,
    summary="Keep a recording, and tag it",
    response_model=Kept,
    responses=responses(400, 408, 413, 415, 429, 500, 503, 507),
    openapi_extra={"requestBody": BODY},
)
async def add(request: Request, service: Ours) -> Response:
    """Upload a recording for the page: a form's part `file`, or the body itself. Its job tags it."""
    service.jobs.check_room()
    upload = await receive_upload(request, service)
    answer = JSONResponse({}, 201)
    visitor = welcome(request, answer, service.settings.keep_hours * 3600)
    kept = await run_sync(service.library.add, visitor, upload)
    answer.body = answer.render(kept)
    answer.headers["content-length"] = str(len(answer.body))
    answer.headers["location"] = f"recordings/{kept['id']}"  # from the address asked: below a proxy's prefix
    return answer


@router.get("/v1/recordings", summary="The recordings of this visitor", responses=responses(400, 500))
def listed(request: Request, response: Response, service: Ours) -> Recordings:
    """Newest first. Who asks without a cookie gets one, and has no recordings yet."""
    visitor = welcome(request, response, service.settings.keep_hours * 3600)
    response.headers["cache-control"] = "no-store"
    return Recordings(recordings=[About(**one.about()) for one in service.library.all_of(visitor)])


@router.get("/v1/recordings/{id}", summary="A recording", responses=responses(400, 404, 500))
def about(recording: Theirs, response: Response) -> About:
    """What is known of a recording, and how far its job is."""
    response.headers["cache-control"] = "no-store"
    return About(**recording.about())


@router.delete(
    "/v1/recordings/{id}", status_code=204, summary="Remove a recording", responses=responses(400, 404, 500)
)
def remove(recording: Theirs, service: Ours, visitor: Visitor) -> None:
    """Remove a recording, all that was found and said, and end its job."""
    service.library.delete(visitor, recording.id)


@router.get(
    "/v1/recordings/{id}/labels", summary="The labels of a recording", responses=responses(400, 404, 409, 500)
)
def labels(recording: Theirs) -> Labels:
    """Every label by its best score in any window."""
    kept = recording.scores()
    scores, times = kept.best()
    return Labels(
        labels=[
            Label(
                index=k,
                label=kept.artifact.labels[k],
                score=float(f"{scores[k]:.6g}"),
                time=round(times[k], 6),
            )
            for k in (-scores).argsort(kind="stable").tolist()
        ]
    )


@router.get(
    "/v1/recordings/{id}/events", summary="The sounds of a recording", responses=responses(400, 404, 409, 500)
)
def events(
    recording: Theirs,
    threshold: Threshold = None,
    hop: Hop = None,
    limit: Annotated[int, Query(ge=1, le=100_000, description="At most so many.")] = 5000,
    start: Annotated[
        float,
        Query(alias="from", ge=0, le=LATEST, allow_inf_nan=False, description="Only what ends after that."),
    ] = 0.0,
    end: Annotated[
        float | None,
        Query(alias="to", gt=0, le=LATEST, allow_inf_nan=False, description="Only what begins before that."),
    ] = None,
) -> Events:
    """Which sound is heard from when to when, without corrections: as `auricle tag --events --hop HOP`.

    With `from` and `to` (seconds, either may be left out) the sounds of which something lies between them,
    each whole; `total` is then how many these are, and `limit` how many of them are given.
    """
    kept, latest = recording.scores(), math.inf if end is None else end
    if latest <= start:
        raise Refused(400, f"to is {end:g}; expected more than from, {start:g}")
    found, total = kept.events(config_of(kept, threshold), hop_of(kept, hop), limit, start, latest)
    return Events(events=[Event(**event) for event in found], total=total, truncated=total > len(found))
