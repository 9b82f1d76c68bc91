"""Results on their way to a client: few are written at a time, and what is large waits in the data folder."""

import asyncio
import io
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from auricle.serve.errors import Refused
from auricle.serve.space import Space

FOLDER = "spools"  # below the data folder; emptied at the start
SPOOL_BYTES = 1 << 20  # of a result in memory; more than that waits on the disk
CHUNK_BYTES = 1 << 16
AT_ONCE = 2  # large results that are written at the same time
UNDER_WAY = 16  # that wait, are written, or are sent


class Spool(io.RawIOBase):
    r"""A file that is in memory while it is small, then in the data folder; gone once it is closed.

    Args:
        space: of the data folder, which counts it; None for the system's temporary folder.

    >>> with Spool() as spool:
    ...     spool.write(b"abc"), spool.seek(0), spool.read()
    (3, 0, b'abc')
    """

    def __init__(self, space: Space | None = None):
        super().__init__()
        self._space = space
        self._file: IO[bytes] = io.BytesIO()
        self._is_on_disk, self._taken = False, 0

    def write(self, data: Any) -> int:
        """Add to it.

        Raises:
            Refused: 507, the data folder has no room for it.
        """
        size = memoryview(data).nbytes
        end = self._file.tell() + size
        if end > SPOOL_BYTES:
            self._take(end)
            self._go_to_disk()
        self._file.write(data)
        return size

    def read(self, size: int = -1) -> bytes:
        """Bytes from where it is."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go somewhere."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where it is."""
        return self._file.tell()

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def flush(self) -> None:
        """Have the disk know what was written."""
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        """Forget it."""
        self._file.close()
        super().close()

    def _take(self, end: int) -> None:
        if self._space is not None and end > self._taken:
            pieces = -(-(end - self._taken) // SPOOL_BYTES)
            self._space.take(pieces * SPOOL_BYTES)
            self._taken += pieces * SPOOL_BYTES

    def _go_to_disk(self) -> None:
        if self._is_on_disk:
            return
        folder = None if self._space is None else self._space.folder / FOLDER
        if folder is not None:
            folder.mkdir(exist_ok=True)
        memory = self._file
        # It has a name, so that the count of what lies in the data folder finds it.
        self._file = tempfile.NamedTemporaryFile(dir=folder)  # noqa: SIM115 - closed in close()
        self._is_on_disk = True
        self._file.write(memory.getvalue())  # type: ignore[attr-defined]


class Turns:
    """Few large results are written at a time; some more may wait for their turn, or be sent.

    Args:
        at_once: that are written at the same time.
        under_way: that are known in all; what comes then is refused.
    """

    def __init__(self, at_once: int = AT_ONCE, under_way: int = UNDER_WAY):
        self.most, self.count = under_way, 0
        self.turn = asyncio.Semaphore(at_once)

    def come(self, always: bool = False) -> None:
        """Get into the line; in the event loop.

        Args:
            always: also where it is full.

        Raises:
            Refused: 429, it is full.
        """
        if self.count >= self.most and not always:
            text = f"{self.most} large results are written or sent already; ask again in a moment"
            raise Refused(429, text, {"Retry-After": "5"})
        self.count += 1

    def leave(self) -> None:
        """All of it was sent, or will not be."""
        self.count -= 1


async def in_turn(
    request: Request, turns: Turns, write: Callable[[], Response], always: bool = False
) -> Response:
    """What `write` gives, in a thread, once it is its turn; that ends when the answer has been sent.

    Args:
        request: that it answers; a client that has gone is not written for.
        turns: of the service.
        write: makes the answer.
        always: as in `Turns.come`.

    Raises:
        Refused: as `Turns.come`, and whatever `write` raises.
    """
    turns.come(always)
    response = None
    try:
        async with turns.turn:
            for _ in range(2):  # the first time it is told that the request has no body
                if await request.is_disconnected():
                    raise Refused(400, "the client went before its answer was written; ask again")
            response = await run_sync(write)
    finally:
        if not isinstance(response, Spooled):
            turns.leave()
    if isinstance(response, Spooled):
        response.leave = turns.leave
    return response


class Spooled(StreamingResponse):
    """Bytes that are sent piece by piece, and then let go of, whatever becomes of the client.

    Args:
        content: the bytes.
        headers: of the answer.
        kind: its type.
        close: lets go of what they are read from.
    """

    def __init__(
        self, content: Iterator[bytes], headers: dict[str, str], kind: str, close: Callable[[], object]
    ):
        super().__init__(content, 200, headers, kind)
        self.close = close
        self.leave: Callable[[], None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.close()
            if self.leave is not None:
                self.leave()


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
