"""Large results take turns: few are written at a time, some are sent, and one visitor has not all of them."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from auricle.serve.errors import Refused
from auricle.serve.protocol import CUT
from auricle.serve.spools import SPOOL_BYTES, Look, Spool

CHUNK_BYTES = 1 << 16
AT_ONCE = 2  # results that are written at the same time
UNDER_WAY = 16  # that wait or are written, and as many large ones that are sent
EACH = 4  # of these, for one visitor
LOOK_SECONDS = 0.2  # how often it is looked whether a result is still wanted
SLOW_AFTER_SECONDS, LEAST_BYTES_PER_SECOND = 60.0, 20_000  # of who is sent a large result
AGAIN = {"Retry-After": "5"}


class Turns:
    """Few results are written at a time, some more wait for that; of those that are large, some are sent.

    Args:
        at_once: that are written at the same time.
        under_way: that wait or are written; and large ones that are sent. What comes then is refused.
        each: of these, for one visitor.
    """

    def __init__(self, at_once: int = AT_ONCE, under_way: int = UNDER_WAY, each: int = EACH):
        self.most, self.each = under_way, each
        self.turn = asyncio.Semaphore(at_once)
        self.ending = threading.Event()  # the service ends now: what is not written yet will not be
        self._written: Counter[str] = Counter()  # by visitor
        self._sent: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many wait, are written or are sent."""
        return self._written.total() + self._sent.total()

    def come(self, who: str, always: bool = False) -> None:
        """Get into the line; in the event loop, as all of these.

        Args:
            who: asks.
            always: also where it is full.

        Raises:
            Refused: 429, it is full.
        """
        self._check(self._written, who, "written", always)
        self._written[who] += 1

    def leave(self, who: str) -> None:
        """It is written, or will not be."""
        self._written[who] -= 1
        self._written += Counter()  # whose count is 0 is forgotten

    def send(self, who: str, always: bool = False) -> None:
        """A large one is sent from now on.

        Raises:
            Refused: 429, as many are as may.
        """
        self._check(self._sent, who, "sent", always)
        self._sent[who] += 1

    def sent(self, who: str) -> None:
        """It was sent, or will not be."""
        self._sent[who] -= 1
        self._sent += Counter()

    def _check(self, counts: "Counter[str]", who: str, what: str, always: bool) -> None:
        if always:
            return
        if counts.total() >= self.most:
            raise Refused(429, f"{self.most} results are being {what} already; ask again in a moment", AGAIN)
        if counts[who] >= self.each:
            text = f"{self.each} results are being {what} for you already; ask again once one has come"
            raise Refused(429, text, AGAIN)


class _Wish:
    """Whether a result is still wanted: asked from its thread, noted by the event loop."""

    def __init__(self, request: Request, turns: Turns):
        self._request, self._ending, self._gone = request, turns.ending, False

    def look(self) -> None:
        if self._gone:
            raise Refused(400, "the client went before its answer was written; ask again")
        if self._ending.is_set():
            text = "the service ended before the answer was written; ask again once it is back"
            raise Refused(503, text, {"Retry-After": "30"})

    async def note(self) -> None:
        self._gone = self._gone or await self._request.is_disconnected()

    async def watch(self) -> None:
        while not self._gone and not self._ending.is_set():
            await asyncio.sleep(LOOK_SECONDS)
            await self.note()


async def in_turn(
    request: Request, turns: Turns, who: str, write: Callable[[Look], Response], always: bool = False
) -> Response:
    """What `write` gives, in a thread, once it is its turn. A large answer is then sent, as few are.

    Args:
        request: that it answers; a client that has gone is not written for.
        turns: of the service.
        who: asks; "" for somebody who is not known.
        write: makes the answer; it asks what it is given, now and then, and passes on what that raises.
        always: as in `Turns.come`.

    Raises:
        Refused: as `Turns.come`, and whatever `write` raises; 503 where the service ends first.
    """
    turns.come(who, always)
    wish = _Wish(request, turns)
    watching = asyncio.ensure_future(wish.watch())
    waiting = asyncio.ensure_future(turns.turn.acquire())
    try:
        await asyncio.wait((watching, waiting), return_when=asyncio.FIRST_COMPLETED)
        for _ in range(2):  # the first time it is told that the request has no body
            await wish.note()
        wish.look()
        response = await run_sync(write, wish.look)
    finally:
        watching.cancel()
        if not waiting.cancel():
            turns.turn.release()
        turns.leave(who)
    if isinstance(response, Spooled):
        try:
            turns.send(who, always)
        except Refused:
            response.close()
            raise
        response.leave = lambda: turns.sent(who)
    return response


class Spooled(StreamingResponse):
    """Bytes that are sent piece by piece, and then let go of, whatever becomes of the client.

    One that reads more slowly than a large answer can wait for is cut off.

    Args:
        content: the bytes.
        headers: of the answer.
        kind: its media type.
        close: lets go of them.
    """

    def __init__(
        self, content: Iterator[bytes], headers: dict[str, str], kind: str, close: Callable[[], object]
    ):
        super().__init__(content, 200, headers, kind)
        self.close = close
        self.leave: Callable[[], None] | None = None
        self._cut: Callable[[], object] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        self._cut = scope.get("extensions", {}).get(CUT)
        try:
            await super().__call__(scope, receive, send)
        finally:
            try:
                self.close()
            finally:
                if self.leave is not None:
                    self.leave()

    async def stream_response(self, send: Send) -> None:
        """Send it, as long as the client reads."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        began, sent = asyncio.get_running_loop().time(), 0
        async for chunk in self.body_iterator:
            sent += len(chunk)
            latest = began + max(SLOW_AFTER_SECONDS, sent / LEAST_BYTES_PER_SECOND)
            try:
                async with asyncio.timeout_at(latest):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except TimeoutError:
                if self._cut is not None:
                    self._cut()
                    await asyncio.Event().wait()  # until the connection is known to be gone
                raise
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def sent(file: Spool, headers: dict[str, str], kind: str) -> Response:
    """The answer that is a file: at once where it is small, else piece by piece."""
    size = file.seek(0, 2)
    file.seek(0)
    if size > SPOOL_BYTES:
        return Spooled(_chunks(file), headers | {"Content-Length": str(size)}, kind, file.close)
    with file:
        return Response(file.read(), 200, headers, kind)


def _chunks(file: Spool) -> Iterator[bytes]:
    while data := file.read(CHUNK_BYTES):
        yield data
