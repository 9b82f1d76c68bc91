"""`/v1/recordings/ID/media`, and its pictures: waveform, spectrogram, scores."""

import re
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from starlette.responses import Response

from auricle.serve import pictures
from auricle.serve.errors import Refused, responses
from auricle.serve.ranges import file_response
from auricle.serve.recordings import Theirs
from auricle.serve.uploads import BINARY

router = APIRouter(tags=["recordings"])

MOST_COLUMNS, MOST_LABELS = 4096, 64
LATEST = 1e7  # seconds
PLACES = re.compile(r"[0-9]+(,[0-9]+)*")
KEPT_SECONDS = 3600  # that a browser keeps what never changes
FOREVER = {"Cache-Control": f"private, max-age={KEPT_SECONDS}, immutable"}
BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The numbers.", "content": {"application/octet-stream": {"schema": BINARY}}}
}
PNG: dict[int | str, dict[str, Any]] = {
    200: {"description": "The tile.", "content": {"image/png": {"schema": BINARY}}}
}
From = Annotated[float, Query(alias="from", ge=0, le=LATEST, allow_inf_nan=False, description="Seconds.")]
To = Annotated[
    float, Query(alias="to", gt=0, le=LATEST, allow_inf_nan=False, description="Seconds, above `from`.")
]
Columns = Annotated[int, Query(ge=1, le=MOST_COLUMNS, description="How many, of equal width.")]
MEDIA = {
    "description": "What a browser plays.",
    "content": {kind: {"schema": BINARY} for kind in ("audio/*", "video/*")},
}


@router.head("/v1/recordings/{id}/media", include_in_schema=False)
@router.get(
    "/v1/recordings/{id}/media",
    summary="The sound of a recording",
    response_class=Response,
    responses={
        200: MEDIA,
        206: MEDIA | {"description": "The part that the header Range asks for."},
        304: {"description": "It is the one of the header If-None-Match."},
        **responses(400, 404, 409, 416, 500),
    },
)
def media(request: Request, recording: Theirs) -> Response:
    """The upload, or a copy as MP3 where browsers do not play it. Parts of it by Range."""
    path, kind = recording.media()
    name = recording.name if path.name == "upload" else f"{recording.name}.mp3"
    tag = f"{recording.id[:16]}-{path.name[0]}"
    return file_response(request, path, kind, name, tag, seconds=KEPT_SECONDS)


@router.get(
    "/v1/recordings/{id}/peaks",
    summary="The waveform of a recording",
    response_class=Response,
    responses=BYTES | responses(400, 404, 409, 500),
)
def peaks(recording: Theirs, start: From, end: To, columns: Columns) -> Response:
    """Smallest and largest sample of each column, int8 each, of 127; 0 beyond the end."""
    found = recording.heard()
    _check(start, end)
    values = pictures.peaks(recording.folder, found["peaks"], found["rate"], start, end, columns)
    return _bytes(values)


@router.get(
    "/v1/recordings/{id}/scores",
    summary="Scores of a recording over time",
    response_class=Response,
    responses=BYTES | responses(400, 404, 409, 500),
)
def scores(
    recording: Theirs,
    start: From,
    end: To,
    columns: Columns,
    labels: Annotated[
        str,
        Query(
            max_length=1000,
            description="Places in the model's list: 3,17,20.",
            json_schema_extra={"pattern": f"^{PLACES.pattern}$"},  # told, and checked below, in words
        ),
    ],
    smooth: Annotated[bool, Query(description="The scores that sounds are found in.")] = False,
) -> Response:
    """The best score of each label in each column: float32, little-endian, label by label."""
    kept = recording.scores()
    _check(start, end)
    if not PLACES.fullmatch(labels):
        raise Refused(400, f"labels is {labels[:100]!r}; expected places in the model's list, say 3,17,20")
    wanted = [int(place) for place in labels.split(",")]
    count = kept.artifact.num_classes
    if len(wanted) > MOST_LABELS or max(wanted) >= count:
        raise Refused(400, f"labels are {labels[:100]!r}; expected up to {MOST_LABELS}, each below {count}")
    return _bytes(kept.columns(start, end, columns, wanted, smooth).astype("<f4"))


@router.get(
    "/v1/recordings/{id}/spectrogram/{level}/{tile}.png",
    summary="A tile of the spectrogram of a recording",
    response_class=Response,
    responses=PNG | responses(400, 404, 409, 500),
)
def spectrogram(
    recording: Theirs,
    level: Annotated[int, InPath(ge=0, le=64, description="Each is half as fine as the one before.")],
    tile: Annotated[int, InPath(ge=0, le=1 << 40, description="Which of the level, from 0.")],
) -> Response:
    """256 columns of 96 mel bands, the highest first, 8 bits of grey; the last tile is narrower."""
    picture = pictures.tile(recording.folder, recording.spectrum(), level, tile)
    if picture is None:
        raise Refused(404, f"there is no tile {tile} of level {level}; the recording says what there is")
    return Response(picture, 200, FOREVER, "image/png")


def _check(start: float, end: float) -> None:
    if end <= start:
        raise Refused(400, f"to is {end:g}; expected more than from, {start:g}")


def _bytes(values: np.ndarray) -> Response:
    return Response(values.tobytes(), 200, FOREVER, "application/octet-stream")
