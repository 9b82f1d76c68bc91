"""A service on an address, until it is asked to end: what it has is finished first."""

import logging
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from auricle.serve.app import create_app
from auricle.serve.settings import Settings
from auricle.serve.state import service_of

LAST_SECONDS = 5  # for answers that are on their way once all jobs have ended


class Server(uvicorn.Server):
    """Asked to end, it takes nothing new, but answers until what runs and waits is done, or the time is up.

    Args:
        config: of uvicorn, with an app of `create_app`.
        settings: of that app.
        ready: is told the address once the service can be asked.
    """

    def __init__(self, config: uvicorn.Config, settings: Settings, ready: Callable[[str], object]):
        super().__init__(config)
        self.settings, self.ready = settings, ready
        self.asked: float | None = None  # when it was asked to end

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Asked once, it ends when its work is done; asked again, at once."""
        if self.asked is None:
            self.asked = time.monotonic()
        elif time.monotonic() - self.asked > 0.5 or sig == signal.SIGINT:
            self.should_exit = True

    async def startup(self, sockets: Any = None) -> None:
        """Start, and say where."""
        await super().startup(sockets)
        if self.started:
            self.ready(self.address)

    @property
    def address(self) -> str:
        """Where the service listens."""
        port = self.servers[0].sockets[0].getsockname()[1]
        host = self.settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    async def on_tick(self, counter: int) -> bool:
        """See whether it should end."""
        if self.asked is not None and not self.should_exit:
            service = service_of(self.config.app)  # type: ignore[arg-type]
            if not service.stopping.is_set():
                service.stopping.set()
                service.jobs.stop_taking()
            late = time.monotonic() - self.asked > self.settings.grace_seconds
            self.should_exit = service.jobs.idle or late
        return await super().on_tick(counter)


def make_server(settings: Settings, ready: Callable[[str], object]) -> Server:
    """A server that has not started: `.run()` runs it until it is asked to end.

    Args:
        settings: of the service.
        ready: see `Server`.

    >>> make_server(Settings(port=0), print).started
    False
    """
    options: dict[str, Any] = {}
    try:
        from auricle.serve.security import http_protocol

        options["http"] = http_protocol(settings)
    except ImportError:
        pass
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="asyncio",
        ws="websockets-sansio",
        lifespan="on",
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=LAST_SECONDS,
        **options,
    )
    return Server(config, settings, ready)
