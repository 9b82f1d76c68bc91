"""`WS /v1/live`: sound in as it is heard, rows of tags out, as `auricle tag --live` does with a pipe.

The sound takes the way of the command line's: `Tagger.follow` reads it from something like a file, resamples
it and cuts it, in threads of the session's own. Whoever does not keep up is waited for: the model for the
client, and the client for the model, with some seconds of sound between them at most.
"""

import asyncio
import concurrent.futures
import contextlib
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from auricle.artifact import Artifact
from auricle.audio import AudioError, RawFormat
from auricle.formats.results import as_json
from auricle.listening import LIVE_HOP_SECONDS
from auricle.serve.errors import Refused, responses, said
from auricle.serve.jobs import STOPPING
from auricle.serve.options import unknown
from auricle.serve.pipe import Pipe
from auricle.serve.processes import spoken
from auricle.serve.scoring import ScorerClosed
from auricle.serve.state import Ours, Service
from auricle.serve.wishes import Wishes
from auricle.tagging import Tagger

logger = logging.getLogger("auricle.serve")
router = APIRouter(tags=["live"])

FIRST_SECONDS = 10.0  # that a client may take to say what it sends
IDLE_SECONDS = 60.0  # without sound
LOOK_SECONDS = 0.1
ANSWER_SECONDS = 60.0  # that a row may take to be sent; the connection is cut before
REASON_BYTES = 123  # of a close frame
DONE, WRONG, FAILED, ENDING, FULL = 1000, 1008, 1011, 1012, 1013
GONE = 1006  # the client went; never sent
SAMPLE_BYTES = {"s16le": 2, "f32le": 4}
HOW = 'expected JSON such as {"rate": 48000, "channels": 1, "format": "s16le"} as text'


class Hello(BaseModel):
    """What a client says first: what it will send, and what it wants to know of it."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    rate: int = Field(ge=4_000, le=384_000)
    channels: int = Field(1, ge=1, le=8)
    format: Literal["s16le", "f32le"] = "s16le"
    top: int = Field(5, ge=1, le=1_000_000)
    threshold: float | None = Field(None, ge=0, le=1)
    hop: float | None = Field(None, ge=0, le=1_000_000)
    events: bool = False
    consistent: bool = False
    name: str = Field("live", min_length=1, max_length=200)

    def options(self, artifact: Artifact) -> dict[str, Any]:
        """What `Tagger.follow` is given.

        Raises:
            Refused: the wishes do not go together, or with the model.
        """
        wishes = Wishes(
            top=self.top,
            threshold=self.threshold,
            hop=self.hop,
            windows=not self.events,
            events=self.events,
            consistent=self.consistent,
        )
        options = wishes.checked(artifact).options(artifact)
        if options["hop"] is None and (options["events"] is None or options["events"].hop is None):
            options["hop"] = min(artifact.hop / artifact.rate, LIVE_HOP_SECONDS)
        return options


class End(NamedTuple):
    """How a session ends: a code of RFC 6455, and the line that the client is told, if it is a refusal."""

    code: int
    error: str = ""
    reason: str = ""


class Ended(Exception):
    """The session is over before it began."""

    def __init__(self, end: End):
        super().__init__(end.error)
        self.end = end


@router.get(
    "/v1/live",
    status_code=426,
    summary="Sound in, rows of tags out, over a WebSocket",
    responses={101: {"description": "The connection goes on as a WebSocket."}, **responses(426)},
)
async def upgrade() -> None:
    """Open a WebSocket here, and say first, as text, what you will send.

    `{"rate": 48000, "channels": 1, "format": "s16le"}`, and if you like `top`, `threshold`, `hop`, `events`,
    `consistent` and `name`. Then send the sound as binary messages of any length, and read rows
    `{"path", "start", "end", "tags"}` as they come. `{"end": true}` asks for the object of the whole.
    docs/serve.md has it all, with clients of a few lines.
    """
    text = "this address is a WebSocket's; open it with ws:// (or wss://), see docs/serve.md"
    raise Refused(426, text, {"Upgrade": "websocket"})


@router.websocket("/v1/live")
async def live(websocket: WebSocket, service: Ours) -> None:
    """See `upgrade`."""
    await websocket.accept()
    service.listening += 1
    end = End(FAILED)
    try:
        end = await _served(websocket, service)
        await _close(websocket, end)
    finally:
        service.listening -= 1
        service.metrics.live_ended.labels(str(end.code)).inc()


async def _served(websocket: WebSocket, service: Service) -> End:
    most = service.settings.live_sessions
    if service.stopping.is_set():
        return End(ENDING, STOPPING)
    if service.listening > most:
        listen = "listens" if most == 1 else "listen"
        return End(FULL, f"{most:,} {listen} already, which is as many as may; try again later")
    if websocket.query_params:
        return End(WRONG, f"the address takes no options; say in the first message what you want: {HOW}")
    try:
        hello = await _first(websocket)
        options = hello.options(service.artifact)
    except Refused as refused:
        return End(WRONG, refused.text)
    except Ended as ended:
        return ended.end
    return await Session(websocket, service, hello, options).run()


async def _close(websocket: WebSocket, end: End) -> None:
    if end.code == GONE:
        return
    reason = (end.reason or end.error).encode("ascii", "replace")[:REASON_BYTES].decode()
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it has gone meanwhile
        if end.error:
            await websocket.send_text(json.dumps({"error": end.error}))
        await websocket.close(end.code, reason)


async def _first(websocket: WebSocket) -> Hello:
    """What the client says first.

    Raises:
        Ended: it says nothing, or something else.
    """
    try:
        async with asyncio.timeout(FIRST_SECONDS):
            message = await websocket.receive()
    except TimeoutError:
        raise Ended(End(WRONG, f"nothing was said within {FIRST_SECONDS:g} s; {HOW}")) from None
    if message["type"] == "websocket.disconnect":
        raise Ended(End(GONE))
    if message.get("text") is None:
        raise Ended(End(WRONG, f"the first message is binary; {HOW}"))
    with contextlib.suppress(ValueError, RecursionError):  # of which more is said below
        json.loads(message["text"], object_pairs_hook=_each_once)
    try:
        return Hello.model_validate_json(message["text"])
    except ValidationError as error:
        problems = error.errors(include_url=False)
        if problems[0]["type"] in ("json_invalid", "model_type", "model_attributes_type"):
            raise Ended(End(WRONG, f"the first message is no JSON object; {HOW}")) from None
        raise Ended(End(WRONG, "; ".join(map(_said, problems[:5])))) from None


def _said(problem: Mapping[str, Any]) -> str:
    """What is wrong with the first message."""
    if problem["type"] == "extra_forbidden":
        return unknown(str(problem["loc"][0]), Hello.model_fields, "key").text
    return said({**problem, "loc": ("message", *problem["loc"])})


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    """See that no key of a JSON object comes twice: of two wishes, which was meant?"""
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise Ended(End(WRONG, f"{name[:60]!r} is given {count} times; give it once"))


class Session:
    """One client that is listened to.

    Args:
        websocket: accepted.
        service: that it came to.
        hello: what it said first.
        options: of `Tagger.follow`.
    """

    def __init__(self, websocket: WebSocket, service: Service, hello: Hello, options: dict[str, Any]):
        self.websocket, self.service, self.hello, self.options = websocket, service, hello, options
        self.loop = asyncio.get_running_loop()
        bytes_per_second = hello.rate * hello.channels * SAMPLE_BYTES[hello.format]
        self.pipe = Pipe(self.loop, hello.name, bytes_per_second)
        self.gone = False
        self._heard = 0.0  # seconds, of which the metrics know

    async def run(self) -> End:
        """Listen until the client has said all, goes, or the service ends; how it ended."""
        tagging = in_thread(self._tag)
        hearing = asyncio.create_task(self._hear())
        stopping = asyncio.create_task(self._stopped())
        watching = None
        try:
            await asyncio.wait({tagging, hearing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            over = [task.result() for task in (hearing, stopping) if task.done()]
            why = over[0] if over else End(DONE)
            await _cancelled(hearing, stopping)
            self._end(gone=why.code == GONE)
            watching = asyncio.create_task(self._watch())
            found = await tagging
        finally:
            self._end(gone=True)
            await _cancelled(hearing, stopping, watching)
        if self.gone and found.code == GONE:
            return found
        return why if why.code != DONE and found.code in (DONE, WRONG) else found

    def _end(self, *, gone: bool) -> None:
        self.gone = self.gone or gone
        self.pipe.end(drop=self.gone)

    async def _stopped(self) -> End:
        while not self.service.stopping.is_set():
            await asyncio.sleep(LOOK_SECONDS)
        return End(ENDING, reason="the service is ending")

    async def _hear(self) -> End:
        """Pass on what comes, until no more does; why."""
        most = self.service.settings.max_audio_seconds
        came = self.loop.time()
        while True:
            try:
                async with asyncio.timeout_at(came + IDLE_SECONDS):
                    message = await self.websocket.receive()
            except TimeoutError:
                return End(WRONG, f"no sound came for {IDLE_SECONDS:g} s; connect again when there is some")
            if message["type"] == "websocket.disconnect":
                return End(GONE)
            data, text = message.get("bytes"), message.get("text")
            if text is not None:
                return End(DONE) if _is_end(text) else End(WRONG, _not_end(text))
            if not data:
                continue
            await self.pipe.write(data)
            came = self.loop.time()
            if self.pipe.came / self.pipe.rate > most:
                return End(WRONG, f"more than {spoken(most)} were heard; connect again to go on")

    async def _watch(self) -> None:
        """What a client still sends is not heard; that it goes, is."""
        while (await self.websocket.receive())["type"] != "websocket.disconnect":
            continue
        self._end(gone=True)

    def _tag(self) -> End:
        """In a thread: tag what comes and tell the client; how it ended."""
        try:
            for piece in self._pieces():
                self._tell(piece)
        except AudioError as error:  # nothing was heard
            return End(WRONG, str(error))
        except ScorerClosed:
            return End(ENDING, STOPPING)
        except _NobodyHears:
            return End(GONE)
        except ValueError as error:  # the model's scores are no numbers
            return End(FAILED, str(error))
        except Exception:
            logger.exception("live")
            return End(FAILED, "the service made a mistake, which stands in its log; connect again")
        return End(DONE)

    def _pieces(self) -> Iterator[dict[str, Any]]:
        """What is said, in the order in which it is found."""
        hello = self.hello
        warned: list[str] = []
        tagger = Tagger(runner=self.service.scorer.runner())
        raw = RawFormat(rate=hello.rate, channels=hello.channels, dtype=hello.format)
        how: dict[str, Any] = {"raw": raw, "warn": warned.append, "heard": self._note, "live": True}
        for piece in tagger.follow(self.pipe, **self.options, **how):  # type: ignore[arg-type]
            yield from ({"warning": text} for text in warned)
            warned.clear()
            if "path" in piece:
                yield piece
                continue
            yield {"path": hello.name} | piece
            if not hello.events:  # an event comes when it is certain, which is later than it is heard
                self._note_delay(piece["end"])

    def _note(self, seconds: float) -> None:
        self.service.metrics.live_audio.inc(max(0.0, seconds - self._heard))
        self._heard = seconds

    def _note_delay(self, seconds: float) -> None:
        if (age := self.pipe.age(seconds)) is not None:
            self.service.metrics.live_delay.observe(age)

    def _tell(self, piece: dict[str, Any]) -> None:
        """Send it, from a thread, and wait until that is done.

        Raises:
            _NobodyHears: nobody hears it.
        """
        if self.gone:
            raise _NobodyHears
        sending = self.websocket.send_text(as_json(piece))
        try:
            sent = asyncio.run_coroutine_threadsafe(sending, self.loop)
        except RuntimeError:  # the loop has ended
            sending.close()
            raise _NobodyHears from None
        try:
            sent.result(ANSWER_SECONDS)
        except (WebSocketDisconnect, RuntimeError, TimeoutError, concurrent.futures.CancelledError):
            raise _NobodyHears from None


class _NobodyHears(Exception):
    """The client has gone."""


def _is_end(text: str) -> bool:
    try:
        return bool(json.loads(text) == {"end": True})
    except (ValueError, RecursionError):
        return False


def _not_end(text: str) -> str:
    return f'{text[:60]!r} came as text; expected sound as binary messages, or {{"end": true}} at its end'


async def _cancelled(*tasks: "asyncio.Task[Any] | None") -> None:
    begun = [task for task in tasks if task is not None]
    for task in begun:
        task.cancel()
    await asyncio.gather(*begun, return_exceptions=True)


def in_thread(work: Callable[[], End]) -> "asyncio.Future[End]":
    """What `work` gives, in a thread of its own that nobody else waits for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[End] = loop.create_future()

    def settle(end: End) -> None:
        if not future.done():
            future.set_result(end)

    def run() -> None:
        end = work()
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, end)

    threading.Thread(target=run, name="auricle-live", daemon=True).start()
    return future
