"""`/v1/jobs`: how far a job is, its result, its end."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from pydantic import BaseModel
from starlette.responses import Response

from auricle import formats
from auricle.serve.errors import Refused, responses
from auricle.serve.state import Ours
from auricle.serve.tag import Result, result_response
from auricle.serve.wishes import FILES, Format

router = APIRouter(tags=["jobs"])

Id = Annotated[str, InPath(description="What /v1/tag called the job.", max_length=64)]


class Progress(BaseModel):
    """How far a job is."""

    heard: float
    duration: float | None
    speed: float | None
    left: float | None


class JobState(BaseModel):
    """A job. Its state is queued, running, done, failed, cancelled or interrupted (by the service's end)."""

    job: str
    state: str
    name: str
    created: str
    finished: str | None
    progress: Progress
    error: str | None
    warnings: list[str]

    model_config = {
        "json_schema_extra": {
            "example": {
                "job": "x5Qm",
                "state": "running",
                "name": "night.flac",
                "created": "2026-01-31T22:15:00Z",
                "finished": None,
                "progress": {"heard": 3600.0, "duration": 28800.0, "speed": 450.0, "left": 56.0},
                "error": None,
                "warnings": [],
            }
        }
    }


@router.get("/v1/jobs/{id}", summary="How far a job is", responses=responses(400, 404))
async def job(id: Id, service: Ours) -> JobState:
    """Progress: seconds heard, of how many, times as fast as the sound lasts, seconds left."""
    return JobState(**service.jobs.get(id).about())


@router.get(
    "/v1/jobs/{id}/result",
    summary="The result of a job",
    response_model=Result,
    response_class=Response,
    responses={
        200: {"model": Result, "content": FILES},
        **responses(400, 404, 409, 410, 422, 429, 500, 503, 507),
    },
)
async def result(
    id: Id,
    request: Request,
    service: Ours,
    format: Annotated[
        Format | None, Query(description="How it is written; as the job was asked for, if not said.")
    ] = None,
) -> Response:
    """What `POST /v1/tag` would have given."""
    found = service.jobs.get(id)
    if found.kind != "tag":
        raise Refused(404, "the job has no result of its own; /v1/recordings has what it found")
    asked = Format(found.arguments["format"])
    format = format or asked
    if (format is Format.parquet) != (asked is Format.parquet):
        raise Refused(400, f"the job was asked for {asked}; send the recording again with format={format}")
    windows = found.arguments["windows"] or found.arguments["events"]
    if format in formats.TIMED and not windows:
        raise Refused(
            400,
            f"{format} says when, and the job was asked for the whole; send the recording again with "
            "windows=true or events=true",
        )
    return await result_response(request, service, found, format)


@router.delete("/v1/jobs/{id}", status_code=204, summary="End a job", responses=responses(400, 404))
async def end(id: Id, service: Ours) -> None:
    """End a job that waits or runs, and forget it, its result and its upload."""
    service.jobs.get(id)
    await run_sync(service.jobs.forget, id)
