"""The application: a service, its routes, and the page, for any ASGI server."""

import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio.to_thread
from fastapi import Depends, FastAPI
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from auricle import __version__
from auricle.artifact import Artifact, load_artifact
from auricle.events import events_of
from auricle.runners.lengths import at_window
from auricle.serve import (
    corrections,
    docs,
    exports,
    job_routes,
    live,
    media_routes,
    metrics,
    models,
    recordings,
    security,
    spools,
    tag,
)
from auricle.serve.decoding import warm
from auricle.serve.errors import add_error_handlers
from auricle.serve.jobs import JobQueue
from auricle.serve.library import Library
from auricle.serve.options import check_options
from auricle.serve.scoring import Scorer
from auricle.serve.settings import Settings
from auricle.serve.state import Service

PAGE = Path(__file__).parent / "page"
ROUTERS = (
    tag, job_routes, live, models, recordings, media_routes, corrections, exports, security, metrics, docs
)  # fmt: skip
DESCRIPTION = 'Which sounds are in a recording, and when. Every error is `{"error": "one line"}`.'


def create_app(settings: Settings) -> FastAPI:
    """The application. Its model is loaded when it starts, not before.

    Args:
        settings: what it is allowed and asked to do.

    >>> create_app(Settings()).title
    'auricle'
    """
    app = FastAPI(
        title="auricle",
        version=__version__,
        description=DESCRIPTION,
        lifespan=functools.partial(_lifespan, settings),
        docs_url=None,
        redoc_url=None,
    )
    add_error_handlers(app)
    for module in ROUTERS:
        app.include_router(module.router, dependencies=[Depends(check_options)])
    security.add_security(app, settings)
    metrics.add_metrics(app)  # last, so that it also counts what is refused
    app.router.routes.append(_Page(app))
    plain, app.openapi = app.openapi, lambda: docs.completed(plain())  # type: ignore[method-assign]
    return app


class _Page(Mount):
    """The page, at every address that no route has with another method."""

    def __init__(self, app: FastAPI):
        super().__init__("/", StaticFiles(directory=PAGE, html=True), name="page")
        self._others = list(app.router.routes)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or any(route.matches(scope)[0] is Match.PARTIAL for route in self._others):
            return Match.NONE, {}
        return super().matches(scope)


@contextlib.asynccontextmanager
async def _lifespan(settings: Settings, app: FastAPI) -> AsyncIterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            service = await anyio.to_thread.run_sync(_opened, settings, stack)
        except Exception as error:
            app.state.failure = error
            raise
        if settings.data is not None:
            app.state.mark = service.library.mark
        app.state.service = service
        try:
            yield
        finally:
            service.stopping.set()
            await anyio.to_thread.run_sync(stack.close)


def _opened(settings: Settings, stack: contextlib.ExitStack) -> Service:
    """A service that works; whatever it holds is given back by `stack`."""
    data = stack.enter_context(_folder(settings.data))
    for name in ("uploads", "jobs"):
        (data / name).mkdir(exist_ok=True)
    shutil.rmtree(data / spools.FOLDER, ignore_errors=True)  # which an earlier service was sending
    artifact = load_artifact(settings.model)
    if not artifact.labels:
        raise ValueError(f"{artifact.path}: has no labels, it embeds only; serve a model that tags")
    _refuse_other_windows(artifact)
    scorer = Scorer(artifact, threads=settings.threads)
    stack.callback(scorer.close)
    jobs = JobQueue(settings, data)
    service = Service(settings=settings, data=data, artifact=artifact, scorer=scorer, jobs=jobs)
    jobs.kinds["tag"] = functools.partial(tag.work, service)
    service.metrics = metrics.Metrics(service)
    service.library = Library(service)
    stack.callback(service.library.close)
    stack.callback(jobs.close)
    jobs.start()
    warm()
    return service


def _refuse_other_windows(artifact: Artifact) -> None:
    """All clients' windows are scored in one queue of batches, of one length: the model's own."""
    window = events_of(artifact).window
    if at_window(artifact, window) is not artifact:
        own = artifact.window / artifact.rate
        raise ValueError(
            f"{artifact.path}: its events are of windows of {window:g} s, and a service hears in the model's "
            f"own, {own:g} s; choose with these: auricle events {artifact.path} --set window=none --out NEW"
        )


@contextlib.contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    """The folder that a service keeps its things in, which no other service has."""
    if data is None:
        folder = Path(tempfile.mkdtemp(prefix="auricle-serve-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    with (data / "lock").open("a") as lock:
        _lock(lock.fileno(), data)
        yield data


def _lock(descriptor: int, data: Path) -> None:
    if os.name != "posix":
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ValueError(f"{data}: another service keeps its things here; name another folder") from None
