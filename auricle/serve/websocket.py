"""WebSockets as uvicorn speaks them, for clients that do not read."""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

UNREAD_SECONDS = 30.0  # that a client may leave what it is sent unread
LINGER_SECONDS, LINGER_BYTES = 3.0, 64 << 20  # of what still comes after the connection was ended
MESSAGE_BYTES = 4 << 20  # of one message: 20 s of CD sound; a longer one is answered by 1009
# A pong may stand behind a megabyte of sound that waits for its turn, so that its lack is no sign of
# anything: who is gone is known by the sound that does not come. Pings keep proxies from closing the line.
OPTIONS: dict[str, Any] = {
    "ws_max_size": MESSAGE_BYTES,
    "ws_per_message_deflate": False,  # sound gains nothing by it, and bombs are made of it
    "ws_ping_interval": 20.0,
    "ws_ping_timeout": None,
}


class PatientWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol; a connection whose client does not read for long is cut.

    One that is ended while its client still sends is read on for a moment: else the system would tell the
    client of a broken line in place of the code.
    """

    _unread: asyncio.TimerHandle | None = None
    _lingered: int | None = None  # bytes that came after the end

    async def send(self, message: Any) -> None:
        """What the app says."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            # A refusal in HTTP is an answer; uvicorn would log that there was none, for anybody who asks.
            self.handshake_complete = True

    def send_receive_event_to_app(self) -> None:
        """Pass a message on; text that is none ends the connection, without a word in the log."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def data_received(self, data: bytes) -> None:
        """Something came."""
        if self._lingered is None:
            super().data_received(data)
            return
        self._lingered += len(data)
        if self._lingered > LINGER_BYTES:
            self.transport.close()

    def handle_parser_exception(self) -> None:
        """End the connection for what came, by its code."""
        ended = self.conn.close_sent
        assert ended is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": ended.code, "reason": ended.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent, self._lingered = True, 0
        self.stop_keepalive()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        # While it is set, uvicorn leaves the connection open once the app has returned.
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def pause_writing(self) -> None:
        """The client reads more slowly than it is sent to."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read on."""
        self._calm()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or was left."""
        self._calm()
        super().connection_lost(exc)

    def _calm(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
