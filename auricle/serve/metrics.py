"""`GET /metrics`: what the service does, counted for Prometheus."""

import shutil
import time
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auricle import __version__
from auricle.serve.processes import deaths
from auricle.serve.space import bytes_in
from auricle.serve.state import Ours, Service
from auricle.serve.uploads import received
from auricle.tagging import BATCH

router = APIRouter(tags=["service"])

REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
DELAY_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
GONE = "499"  # the client went before its answer
LOOK_SECONDS = 30.0  # how old the count of bytes in the data folder may be
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What is counted of one service, in a registry of its own.

    Args:
        service: that is looked at whenever somebody asks.
    """

    def __init__(self, service: Service):
        self.registry = CollectorRegistry()
        where: dict[str, Any] = {"registry": self.registry}
        kinds = ["method", "route", "status"]
        self.requests = Counter("auricle_requests", "Requests, by what they asked and got.", kinds, **where)
        self.seconds = Histogram(
            "auricle_request_seconds", "From request to answer.", ["route"], buckets=REQUEST_BUCKETS, **where
        )
        self.under_way = Gauge("auricle_requests_in_progress", "Requests that are not answered yet.", **where)
        self.live_audio = Counter("auricle_live_audio_seconds", "Sound that was tagged live.", **where)
        self.live_ended = Counter(
            "auricle_live_ended", "Live sessions that ended, by their close code.", ["code"], **where
        )
        self.live_delay = Histogram(
            "auricle_live_delay_seconds",
            "From the arrival of a window's last sound to its row.",
            buckets=DELAY_BUCKETS,
            **where,
        )
        self.registry.register(_Present(service))
        ProcessCollector(registry=self.registry)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """All of it, but when each counter was begun, which is when the service was."""
        for metric in self.registry.collect():
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
            yield metric


class _Present(Collector):
    """What is not counted but looked at."""

    def __init__(self, service: Service):
        self.service = service
        self._bytes, self._at = 0, float("-inf")

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        yield from self._of_model()
        yield from self._of_jobs()
        yield from self._of_clients()
        yield from self._of_disk()

    def describe(self) -> list[Metric]:
        """Nothing: what is looked at is known when it is."""
        return []

    def _of_model(self) -> Iterator[Metric]:
        scorer, artifact = self.service.scorer, self.service.artifact
        about = GaugeMetricFamily("auricle_info", "What runs.", labels=["version", "model", "fingerprint"])
        about.add_metric([__version__, artifact.name, artifact.fingerprint], 1)
        yield about
        windows, batches = scorer.fill
        yield CounterMetricFamily("auricle_windows", "Windows that were scored.", windows)
        yield CounterMetricFamily("auricle_batches", "Batches that they came in.", batches)
        yield GaugeMetricFamily("auricle_batch_size", "Windows that a batch can hold.", BATCH)
        yield GaugeMetricFamily("auricle_scorer_alive", "1: the model works.", int(scorer.alive))
        yield GaugeMetricFamily(
            "auricle_scorer_busy_seconds", "How long the present batch has taken.", scorer.busy_seconds
        )
        yield GaugeMetricFamily(
            "auricle_stopping", "1: nothing new is taken.", int(self.service.stopping.is_set())
        )

    def _of_jobs(self) -> Iterator[Metric]:
        queue = self.service.jobs
        counts = queue.counts()
        yield CounterMetricFamily(
            "auricle_audio_seconds", "Sound of recordings that was tagged.", queue.heard
        )
        yield GaugeMetricFamily("auricle_queue_length", "Recordings that wait.", counts["queued"])
        yield GaugeMetricFamily(
            "auricle_queue_limit", "Recordings that may wait.", self.service.settings.queue
        )
        states = GaugeMetricFamily("auricle_jobs", "Jobs that are known, by state.", labels=["state"])
        ended = CounterMetricFamily("auricle_jobs_ended", "Jobs that ended, by state.", labels=["state"])
        for state, count in counts.items():
            states.add_metric([state], count)
            if state not in ("queued", "running", "interrupted"):
                ended.add_metric([state], queue.ended[state])
        yield states
        yield ended

    def _of_clients(self) -> Iterator[Metric]:
        service = self.service
        yield GaugeMetricFamily("auricle_live_sessions", "Clients that are listened to.", service.listening)
        yield GaugeMetricFamily(
            "auricle_live_limit", "Clients that may be listened to.", service.settings.live_sessions
        )
        yield GaugeMetricFamily("auricle_uploads_in_progress", "Uploads on their way.", service.uploading)
        yield GaugeMetricFamily(
            "auricle_exports_in_progress",
            "Large results that wait, are written or sent.",
            service.writing.count,
        )
        yield CounterMetricFamily("auricle_uploads", "Uploads, also those that failed.", received["uploads"])
        yield CounterMetricFamily("auricle_upload_bytes", "Bytes that came in uploads.", received["bytes"])
        died = CounterMetricFamily(
            "auricle_decoder_deaths", "Processes that a recording ended, by cause.", labels=["cause"]
        )
        for cause, count in sorted(deaths.items()):
            died.add_metric([cause], count)
        yield died

    def _of_disk(self) -> Iterator[Metric]:
        data = self.service.data
        if time.monotonic() - self._at > LOOK_SECONDS:
            self._bytes, self._at = bytes_in(data), time.monotonic()
        yield GaugeMetricFamily("auricle_data_bytes", "Bytes of uploads and results on disk.", self._bytes)
        yield GaugeMetricFamily(
            "auricle_data_limit_bytes", "Bytes that they may have.", self.service.settings.max_data_bytes
        )
        yield GaugeMetricFamily(
            "auricle_disk_free_bytes", "Bytes that the disk has left.", shutil.disk_usage(data).free
        )


def add_metrics(app: FastAPI) -> None:
    """Count all requests of an app, whatever becomes of them.

    >>> add_metrics(FastAPI())
    """
    app.add_middleware(Counting)


class Counting:
    """The middleware."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note what became of it."""
        service = getattr(scope["app"].state, "service", None) if scope["type"] == "http" else None
        if service is None:
            await self.app(scope, receive, send)
            return
        metrics: Metrics = service.metrics
        status, began = GONE, time.monotonic()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        metrics.under_way.inc()
        try:
            await self.app(scope, receive, noted)
        except Exception:
            status = "500" if status == GONE else status
            raise
        finally:
            metrics.under_way.dec()
            method = scope["method"] if scope["method"] in METHODS else "other"
            route = template_of(scope)
            metrics.requests.labels(method, route, status).inc()
            metrics.seconds.labels(route).observe(time.monotonic() - began)


def template_of(scope: Scope) -> str:
    """The route's address as it was declared, so that there are as many as there are routes.

    >>> template_of({"type": "http"})
    'none'
    """
    route: BaseRoute | None = scope.get("route")
    if route is not None and hasattr(route, "path") and not isinstance(route, Mount):
        return str(route.path)
    return "page" if "endpoint" in scope else "none"


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(service: Ours) -> Response:
    """What the service does and has done, in Prometheus' text format."""
    return Response(service.metrics.text(), headers={"Content-Type": TYPE})
