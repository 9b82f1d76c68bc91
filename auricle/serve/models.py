"""`GET /v1/models`, `GET /healthz`: what the service can tell, and whether it can."""

from fastapi import APIRouter
from pydantic import BaseModel

from auricle.artifact import Artifact
from auricle.events import events_of
from auricle.serve.errors import Refused, responses
from auricle.serve.jobs import STOPPING
from auricle.serve.state import Ours
from auricle.serve.wishes import Format

router = APIRouter(tags=["service"])

STUCK_SECONDS = 60.0  # a batch takes a fraction of a second
STUCK = "the model does not answer; start the service again"


class Model(BaseModel):
    """A model. Times are in seconds; `threshold` is what a label counts as present from that has no own."""

    name: str
    labels: list[str]
    rate: int
    window: float
    hop: float
    licence: str
    thresholds: dict[str, float] | None
    threshold: float
    fingerprint: str


class Limits(BaseModel):
    """What the service takes."""

    max_upload_bytes: int
    max_audio_seconds: float
    keep_hours: float
    live: bool


class Models(BaseModel):
    """What the service can tell."""

    models: list[Model]
    formats: list[str]
    limits: Limits

    model_config = {
        "json_schema_extra": {
            "example": {
                "models": [
                    {
                        "name": "auricle-esc50",
                        "labels": ["airplane", "breathing", "..."],
                        "rate": 16000,
                        "window": 2.0,
                        "hop": 2.0,
                        "licence": "Apache-2.0",
                        "thresholds": {"airplane": 0.61, "breathing": 0.55},
                        "threshold": 0.5,
                        "fingerprint": "3f5b...",
                    }
                ],
                "formats": [format.value for format in Format],
                "limits": {
                    "max_upload_bytes": 2147483648,
                    "max_audio_seconds": 86400.0,
                    "keep_hours": 24.0,
                    "live": True,
                },
            }
        }
    }


class Health(BaseModel):
    """The service works."""

    status: str

    model_config = {"json_schema_extra": {"example": {"status": "ok"}}}


@router.get("/v1/models", summary="What the service can tell")
def models(service: Ours) -> Models:
    """The model with its labels, the formats of results, and what the service takes."""
    settings = service.settings
    return Models(
        models=[about(artifact) for artifact in service.models.values()],
        formats=[format.value for format in Format],
        limits=Limits(
            max_upload_bytes=settings.max_upload_bytes,
            max_audio_seconds=settings.max_audio_seconds,
            keep_hours=settings.keep_hours,
            live=settings.live_sessions > 0,
        ),
    )


def about(artifact: Artifact) -> Model:
    """What clients are told of a model."""
    thresholds = None
    if artifact.thresholds is not None:
        thresholds = dict(zip(artifact.labels, map(float, artifact.thresholds), strict=True))
    return Model(
        name=artifact.name,
        labels=list(artifact.labels),
        rate=artifact.rate,
        window=artifact.window / artifact.rate,
        hop=artifact.hop / artifact.rate,
        licence=artifact.licence,
        thresholds=thresholds,
        threshold=events_of(artifact).onset,
        fingerprint=artifact.fingerprint,
    )


@router.get("/healthz", summary="Whether the service works", responses=responses(503))
async def health(service: Ours) -> Health:
    """200 where it takes recordings and its model answers, else 503. It needs no token."""
    if service.stopping.is_set():
        raise Refused(503, STOPPING, {"Retry-After": "30"})
    if not service.scorer.alive or service.scorer.busy_seconds > STUCK_SECONDS:
        raise Refused(503, STUCK)
    return Health(status="ok")
