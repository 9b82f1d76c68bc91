"""A service on an address, until it is asked to end: what it has is finished first."""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import anyio.to_thread
import uvicorn
from fastapi import FastAPI

from auricle.serve.app import create_app
from auricle.serve.protocol import http_protocol
from auricle.serve.settings import Settings
from auricle.serve.state import service_of
from auricle.serve.websocket import OPTIONS, PatientWebSocket

BACKLOG = 1024  # connections that wait to be taken
LAST_SECONDS = 5.0  # for answers that are on their way once all is done, or the time is up
AT_ONCE_SECONDS = 1.0  # for the same, once it was asked a second time
CUT_SECONDS = 5  # until uvicorn gives up those that were cut off


class Server(uvicorn.Server):
    """Asked to end, it takes nothing new, but answers until what runs and waits is done, or the time is up.

    A large result that is written or sent is waited for, too. Later, who waits for one is told so (503), and
    who still reads one is cut off.

    Args:
        config: of uvicorn, with an app of `create_app`.
        settings: of that app.
        ready: is told the address once the service can be asked.
    """

    def __init__(self, config: uvicorn.Config, settings: Settings, ready: Callable[[str], object]):
        super().__init__(config)
        self.settings, self.ready = settings, ready
        self.asked: float | None = None  # when it was asked to end
        self.last_seconds = LAST_SECONDS
        self._loop: asyncio.AbstractEventLoop | None = None  # once it shuts down

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Asked once, it ends when its work is done; asked again, at once."""
        if self.asked is None:
            self.asked = time.monotonic()
        elif time.monotonic() - self.asked > 0.5 or sig == signal.SIGINT:
            self.last_seconds, self.should_exit = AT_ONCE_SECONDS, True
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._cut)

    def run(self, sockets: Any = None) -> None:
        """Serve until asked to end.

        Raises:
            ValueError: the address is taken, the model is broken, the folder is another service's.
        """
        with bound(self.settings) as listening:
            try:
                super().run([listening])
            except SystemExit:
                failure = getattr(self.app.state, "failure", None)
                if failure is None:
                    raise
                raise failure from None

    @property
    def app(self) -> FastAPI:
        """What is served."""
        assert isinstance(self.config.app, FastAPI)
        return self.config.app

    async def startup(self, sockets: Any = None) -> None:
        """Start, and say where."""
        log = logging.getLogger("uvicorn.error")
        level = log.level
        log.setLevel(logging.CRITICAL)  # what keeps the service from starting is told by `run`, in one line
        try:
            await super().startup(sockets)
        finally:
            log.setLevel(level)
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
            service = service_of(self.app)
            if not service.stopping.is_set():
                service.stopping.set()
                service.jobs.stop_taking()
            if time.monotonic() - self.asked > self.settings.grace_seconds:
                service.writing.ending.set()
                await anyio.to_thread.run_sync(service.jobs.close)  # who waits for a job is told
                self.should_exit = True
            idle = service.jobs.idle and not service.listening and not service.writing.count
            self.should_exit = self.should_exit or idle
        return await super().on_tick(counter)

    async def shutdown(self, sockets: Any = None) -> None:
        """End: who waits for what is written is told, and who still reads is cut off in a moment."""
        service_of(self.app).writing.ending.set()
        self._loop = asyncio.get_running_loop()
        cutting = self._loop.call_later(self.last_seconds, self._cut)
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()


@contextlib.contextmanager
def bound(settings: Settings) -> Iterator[socket.socket]:
    """A socket that listens where the settings say.

    Raises:
        ValueError: that cannot be had.

    >>> with bound(Settings(port=0)) as listening:
    ...     listening.getsockname()[0]
    '127.0.0.1'
    """
    host, port = settings.host, settings.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # Its connections inherit it; asyncio sets it on none whose listener was made so. Without it, a small
        # answer's second packet waits 40 ms for the first to be acknowledged.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        where = f"{host}, port {port}"
        raise ValueError(f"{where}: {error.strerror}; give another --port, or --host") from None
    with listening:
        yield listening


def make_server(settings: Settings, ready: Callable[[str], object]) -> Server:
    """A server that has not started: `.run()` runs it until it is asked to end.

    Args:
        settings: of the service.
        ready: see `Server`.

    >>> make_server(Settings(port=0), print).started
    False
    """
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http=http_protocol(settings),
        loop="asyncio",
        ws=PatientWebSocket,
        lifespan="on",
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(LAST_SECONDS) + CUT_SECONDS,
        **OPTIONS,
    )
    return Server(config, settings, ready)
