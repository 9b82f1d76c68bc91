"""HTTP as uvicorn speaks it, for clients that are slow, endless or gone.

uvicorn waits for ever for the head of a request, takes one of any length, and waits for ever for a client
that does not read. Here a connection that does so is closed; and one that is closed while its client still
sends is read on for a moment, so that the client gets to see the answer.
"""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from auricle.serve.settings import Settings

HEAD_SECONDS = 20.0  # from the first byte of a request, or from connecting, to the end of its head
HEAD_BYTES = 1 << 16  # of a head; of what comes beside a body (lengths of chunks, trailers) in one go
UNREAD_SECONDS = 120.0  # that a client may leave an answer unread; a browser that pauses asks again
LINGER_SECONDS, LINGER_BYTES = 3.0, 64 << 20  # of what still comes after the answer
CONNECTIONS = 1000
CUT = "auricle.cut"  # an extension in a request's scope: ends the connection at once
PHRASES = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}
PHRASES |= {503: b"Service Unavailable"}


def http_protocol(settings: Settings) -> type[HttpToolsProtocol]:
    """The class for uvicorn's `http`.

    >>> http_protocol(Settings()).__name__
    'PatientProtocol'
    """
    return PatientProtocol


class _Closing:
    """A transport whose `close` lets the client finish, where it still sends."""

    def __init__(self, transport: asyncio.Transport, protocol: "PatientProtocol"):
        self._transport, self._protocol = transport, protocol
        self.lingers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.lingers or self._transport.is_closing()

    def close(self) -> None:
        if self._transport.is_closing() or self.lingers:
            return
        if not self._protocol.expects_more or not self._transport.can_write_eof():
            self._transport.close()
            return
        self.lingers = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._protocol.loop.call_later(LINGER_SECONDS, self._transport.close)

    def end(self) -> None:
        """Close now."""
        self._transport.close()


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with limits to its patience."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        self._closing = _Closing(transport, self)
        self._timer: asyncio.TimerHandle | None = None  # until the head is there
        self._unread: asyncio.TimerHandle | None = None  # until the client reads on
        self._quiet = 0  # bytes since anything was made of them
        self._lingered = 0
        self._upgraded = self._refused = False
        self.expects_more = False  # whether a request's body is not yet whole
        super().connection_made(self._closing)  # type: ignore[arg-type]
        if len(self.connections) > CONNECTIONS:
            self._answer(503, "too many connections are open; try again in a moment")
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or was left."""
        for timer in (self._timer, self._unread):
            if timer is not None:
                timer.cancel()
        self.expects_more = False
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something came."""
        if self._closing.lingers or self._refused:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self._closing.end()
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._timer is None and not self.expects_more:
            self._await_head()
        self._quiet += len(data)
        super().data_received(data)
        if self._quiet > HEAD_BYTES and not self._closing.is_closing() and not self._upgraded:
            self._answer(431, f"the headers are longer than {HEAD_BYTES:,} bytes; send fewer")

    def eof_received(self) -> None:
        """The client sends no more."""
        if self._closing.lingers:
            self._closing.end()

    def on_headers_complete(self) -> None:
        """The head of a request is whole."""
        self._heard()
        self._quiet = 0
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEAD_BYTES:
            self._answer(431, f"the headers are longer than {HEAD_BYTES:,} bytes; send fewer")
            return
        self.expects_more = not (self.parser.should_upgrade() and self._should_upgrade())
        self.scope["extensions"] = {CUT: self.transport.abort}  # type: ignore[dict-item]
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of a body came."""
        self._quiet = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._quiet = 0
        self.expects_more = False
        if not self._refused:
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """The connection goes on as a WebSocket."""
        self._upgraded, self.expects_more = True, False
        self._heard()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is sent to."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read on."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._answer(400, "the request is no valid HTTP; check the client or what stands between")

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _heard(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if not self._closing.is_closing():
            self._answer(408, f"no whole request came within {HEAD_SECONDS:g} s; send it faster")

    def _answer(self, status: int, text: str) -> None:
        """Refuse, without asking the application, and close."""
        self._refused = True
        self._heard()
        cycle = self.cycle
        waits = cycle is not None and not cycle.response_complete
        if not waits or not cycle.response_started:
            body = json.dumps({"error": text}).encode()
            head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            head += b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
            self.transport.write(head % (status, PHRASES[status], len(body)) + body)
        if waits:  # the application hears that its client is gone
            cycle.disconnected = True
            cycle.message_event.set()
        self.expects_more = True  # what follows is not listened to, but let come
        self.transport.close()
