"""`POST /v1/tag`: a recording in, its tags out, or the address of a job that will have them."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from auricle import formats
from auricle.serve import results
from auricle.serve.decoding import Limits, decode
from auricle.serve.errors import Refused, responses
from auricle.serve.job import Job
from auricle.serve.rooted import open_under
from auricle.serve.spools import Look, Spool
from auricle.serve.state import Ours, Service
from auricle.serve.turns import in_turn, sent
from auricle.serve.uploads import FORMS, receive_upload
from auricle.serve.wishes import FILES, MEDIA_TYPES, Format, Wished, Wishes
from auricle.tagging import Tagger

router = APIRouter(tags=["tagging"])

JSON_BYTES, PATH_BYTES = 1 << 16, 4096  # of a body that names a path, and of that: Linux takes no longer one
SCORE = {"label": "dog", "score": 0.934512}
EXAMPLE: dict[str, Any] = {"path": "dog.wav", "duration": 5.0, "tags": [SCORE]}
BODY = {
    "required": True,
    "content": FORMS
    | {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["path"],
                "additionalProperties": False,
                "properties": {
                    "path": {"type": "string", "description": "Of a recording below the service's root."}
                },
            },
            "example": {"path": "night/one.flac"},
        },
    },
}


class Tag(BaseModel):
    """A label and how sure the model is of it."""

    label: str
    score: float


class Window(BaseModel):
    """What sounds in a stretch of a recording, in seconds."""

    start: float
    end: float
    tags: list[Tag]


class Event(BaseModel):
    """From when to when a sound is heard, in seconds."""

    start: float
    end: float
    label: str
    score: float


class Result(BaseModel):
    """What `auricle tag --format jsonl` says of a recording; the path is the client's name of it."""

    path: str
    duration: float
    tags: list[Tag]
    windows: list[Window] | None = None
    events: list[Event] | None = None
    warnings: list[str] | None = None

    model_config = {"json_schema_extra": {"example": EXAMPLE}}


class Accepted(BaseModel):
    """A job that is not done yet; `status` is its address, seen from the one that was asked."""

    job: str
    status: str

    model_config = {"json_schema_extra": {"example": {"job": "x5Qm", "status": "jobs/x5Qm"}}}


def work(service: Service, job: Job) -> dict[str, Any]:
    """The work of a job of kind "tag".

    Raises:
        AudioError, ValueError: the recording cannot be read.
        Ended: the job is not wanted any more.
    """
    wishes = Wishes.of(job.arguments)
    artifact = service.artifact
    job.arguments["fingerprint"] = artifact.fingerprint
    options = wishes.options(artifact)
    tagger = Tagger(runner=service.scorer.runner())
    place: dict[str, Any] = {"start": wishes.start, "end": wishes.end, "name": job.name, "stop": job.stop}
    with (
        _source(service, job) as source,
        decode(source, artifact.rate, Limits.of(service.settings), **place) as decoded,
    ):

        def hear(seconds: float) -> None:
            job.duration = _heard_of(decoded.duration, wishes)
            job.hear(seconds)

        # Live, events come as they end, not all of them with the whole; their numbers are the same.
        pieces = tagger.follow(job.name, **options, heard=hear, decoded=iter(decoded), live=wishes.events)
        if wishes.windows or wishes.events:
            keep = results.keep if wishes.windows else results.keep_events
            result = keep(pieces, job.folder, service.space.take)
        else:
            *_, result = pieces
        job.check()
        job.warnings = list(decoded.warnings)
    job.heard = job.duration = result["duration"]
    return result | ({"warnings": job.warnings} if job.warnings else {})


def _heard_of(duration: float | None, wishes: Wishes) -> float | None:
    """Seconds that are wanted of a recording."""
    if duration is None:
        return None
    return max(0.0, min(duration, duration if wishes.end is None else wishes.end) - wishes.start)


@contextmanager
def _source(service: Service, job: Job) -> Iterator[Path | int]:
    """What a job reads: an upload's path, or a file below the root, opened."""
    if "path" in job.arguments:
        root = service.settings.root
        if root is None:  # it was taken before a restart
            raise Refused(
                403, "no recording is taken by path here; send the file, or serve with --root FOLDER"
            )
        with open_under(root, job.arguments["path"]) as file:
            yield file.descriptor
        return
    path = service.data / job.files[0]
    if not path.is_file():
        raise Refused(410, f"{job.name}: was lost when the service ended; send it again")
    yield path


@router.post(
    "/v1/tag",
    summary="Say which sounds are in a recording",
    response_model=Result,
    response_class=Response,
    responses={
        200: {
            "model": Result,
            "description": "The tags, in the format that was asked for.",
            "content": FILES,
        },
        202: {"model": Accepted, "description": "They take longer than `wait`: a job has them."},
        **responses(400, 403, 404, 408, 413, 415, 422, 429, 500, 503, 507),
    },
    openapi_extra={"requestBody": BODY},
)
async def tag(
    request: Request,
    service: Ours,
    wishes: Wished,
    wait: Annotated[
        float,
        Query(ge=0, le=3600, allow_inf_nan=False, description="Seconds to wait for the result."),
    ] = 30.0,
) -> Response:
    """Tags of a recording: an upload (a form's part `file`, or the body itself), or a path below the root."""
    service.jobs.check_room()
    arguments, name, files = await _received(request, service)
    try:
        arguments |= wishes.as_dict()
        submit = partial(service.jobs.submit, "tag", arguments, name=name, files=files, known=False)
        job = await run_sync(submit)
    except BaseException:
        for file in files:
            (service.data / file).unlink(missing_ok=True)
        raise
    if await _waited(request, job, wait) and job.state != "interrupted":
        try:
            return await result_response(request, service, job, Format(wishes.format), always=True)
        finally:
            await run_sync(service.jobs.forget, job.id)
    if await request.is_disconnected():
        await run_sync(service.jobs.forget, job.id)  # nobody knows its id
    else:
        await run_sync(service.jobs.make_known, job)
    if job.state == "interrupted":
        return await result_response(request, service, job, Format(wishes.format))
    accepted = {"job": job.id, "status": f"jobs/{job.id}"}  # as a proxy's prefix is not known here
    return JSONResponse(accepted, 202, {"Location": accepted["status"], "Retry-After": "1"})


async def _waited(request: Request, job: Job, seconds: float) -> bool:
    """Whether the job ended within the time; a client that goes away is not waited for."""
    ended = asyncio.ensure_future(job.wait(seconds))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((ended, gone), return_when=asyncio.FIRST_COMPLETED)
        return ended.done() and ended.result()
    finally:
        for task in (ended, gone):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _gone(request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(0.25)


async def _received(request: Request, service: Service) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """(arguments, name, files) of a job, from the body of a request."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return await _named(request, service)
    upload = await receive_upload(request, service)
    return {}, upload.name, (upload.path.relative_to(service.data).as_posix(),)


async def _named(request: Request, service: Service) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > JSON_BYTES:
            raise Refused(413, f"the JSON is longer than {JSON_BYTES:,} bytes; expected a path")
    try:
        asked = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise Refused(400, 'the body is no JSON; expected {"path": "below/the/root.wav"}') from None
    if not isinstance(asked, dict) or set(asked) != {"path"} or not isinstance(asked["path"], str):
        raise Refused(400, 'the body is other JSON; expected {"path": "below/the/root.wav"}')
    size = len(asked["path"].encode("utf-8", "surrogatepass"))
    if size > PATH_BYTES:
        raise Refused(400, f"the path has {size:,} bytes; expected at most {PATH_BYTES:,}: say it shorter")
    if service.settings.root is None:
        raise Refused(403, "no recording is taken by path here; send the file, or serve with --root FOLDER")
    (await run_sync(open_under, service.settings.root, asked["path"])).close()  # what is wrong is said now
    return {"path": asked["path"]}, asked["path"], ()


async def result_response(
    request: Request, service: Service, job: Job, format: Format, *, always: bool = False
) -> Response:
    """The result of a job that has ended.

    Args:
        request: that it answers.
        service: that has it.
        job: whose it is.
        format: how it is written.
        always: also where as many large ones are written as may.

    Raises:
        Refused: it has none; the status says why.
    """
    if job.state == "cancelled":
        raise Refused(410, f"the job was cancelled; send {job.name or 'the recording'} again")
    if job.state == "interrupted":
        again = f"/v1/jobs/{job.id} has it when the service is back"
        if service.settings.data is None:
            again = f"send {job.name or 'the recording'} again"
        raise Refused(503, f"the service ended before the job; {again}", {"Retry-After": "30"})
    if job.state == "failed":
        raise Refused(job.status, job.error or "failed", {"Retry-After": "5"} if job.status == 503 else None)
    if job.state != "done" or job.result is None:
        raise Refused(
            409, f"the job is {job.state}; ask /v1/jobs/{job.id} how far it is", {"Retry-After": "1"}
        )
    if job.arguments.get("fingerprint") != service.artifact.fingerprint:
        raise Refused(410, f"another model found it; send {job.name or 'the recording'} again")
    write = partial(_written, service, job, format)
    if results.is_large(job.folder):
        return await in_turn(request, service.writing, job.id, write, always)
    return await run_sync(write)


def _written(service: Service, job: Job, format: Format, look: Look = bool) -> Response:
    assert job.result is not None
    about = formats.About.of(service.artifact, float(job.arguments.get("start", 0.0)))
    kept = results.kept(job.result, job.folder)
    try:
        file = results.rendered(kept, format.value, about, Spool(service.space, look))
    except ValueError as error:
        raise Refused(400, str(error)) from error
    return sent(file, {}, MEDIA_TYPES[format])
