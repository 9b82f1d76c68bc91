"""Who may ask: names the service goes by, other sites' pages, the token; and what browsers may do.

A browser sends requests for any page that is open in it, also to a service on its own machine. So a request
must come for a name of this service (else a page could have its own name lead here), and one that changes
anything, or opens a WebSocket, must not come from another's page.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import math
import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, FastAPI, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auricle.serve.cookies import mark_of, names_of, set_cookie
from auricle.serve.errors import Refused, refuse, responses
from auricle.serve.login import PAGE, STYLE, Attempts
from auricle.serve.protocol import http_protocol
from auricle.serve.settings import Settings
from auricle.serve.visitors import RENEWED

__all__ = ["add_security", "http_protocol", "router"]

KIND = "token"  # of cookie
COOKIE_SECONDS = 7 * 24 * 3600
OPEN_PATHS = {"/login", "/login.css", "/login.js", "/healthz"}
UPLOAD_PATHS = {"/v1/tag", "/v1/recordings"}  # whose bodies have limits of their own
BODY_BYTES = 1 << 20
BODY_SECONDS = 60.0
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
WRONG_TOKEN_SECONDS = 0.5
LOGINS_AT_ONCE = 16
VENDORED = Path(__file__).parent / "page" / "vendor" / "vendor.json"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with "no-referrer" browsers hide the origin of the login's form, too
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}

router = APIRouter(include_in_schema=False)


def add_security(app: FastAPI, settings: Settings) -> None:
    """Put the guard in front of an app.

    >>> add_security(FastAPI(), Settings())
    """
    app.state.settings = settings
    app.state.mark = mark_of(settings)  # until the service has opened what it keeps
    app.state.logins, app.state.attempts = 0, Attempts()
    app.add_middleware(Guard, settings=settings)


class Guard:
    """The middleware.

    Args:
        app: what is guarded.
        settings: of the service.
    """

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app, self.settings = app, settings
        self._policy = content_policy()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._check(scope, headers)
        if scope["type"] == "websocket":
            if refused is None:
                await self.app(scope, receive, send)
            else:
                await _refuse_websocket(scope, receive, send, refused)
            return
        body = _Body(receive, headers)
        answer = self._answering(scope, send, body)
        if refused is not None and refused.status == 401 and _wants_page(scope, headers):
            where = "../" * (scope["path"].count("/") - 1) + "login"
            await RedirectResponse(where, 303, {"Cache-Control": "no-store"})(scope, body.receive, answer)
        elif refused is not None:
            await refuse(scope, body.receive, answer, refused)
        else:
            await self._pass_on(scope, headers, body, answer)

    async def _pass_on(self, scope: Scope, headers: Headers, body: "_Body", send: Send) -> None:
        json_body = headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
        upload = scope["method"] == "POST" and scope["path"] in UPLOAD_PATHS and not json_body
        if body.is_expected and not upload:
            try:
                await body.read(self.settings.upload_stall_seconds)
            except Refused as refused:
                await refuse(scope, body.receive, send, refused)
                return
            except _ClientLeft:
                return
        await self.app(scope, body.receive, send)

    def _check(self, scope: Scope, headers: Headers) -> Refused | None:
        """Why a request may not be answered."""
        hosts = headers.getlist("host")
        found = HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if found is None:
            return Refused(400, "the request has not one valid Host header; name the service it is for")
        name = found[1].lower().rstrip(".")
        if not self._goes_by(name):
            text = (
                f"the service does not go by the name {name[:100]!r}; open it by its own, or start it with "
            )
            return Refused(421, text + f"--allowed-host {name[:100]}")
        if scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS:
            site, origins = headers.get("sec-fetch-site", "same-origin"), headers.getlist("origin")
            foreign = scope["type"] == "http" and site not in ("same-origin", "none")
            if origins == ["null"] and headers.get("sec-fetch-site") == "same-origin":
                origins = []  # a browser that hides the origin says by this that it is ours
            if foreign or not all(self._is_own(origin, hosts[0]) for origin in origins):
                text = (
                    "the request comes from another site's page; open the service's own page, or ask without "
                )
                return Refused(403, text + "a browser")
        if self.settings.token is None or scope["path"] in OPEN_PATHS:
            return None
        return self._check_token(HTTPConnection(scope))

    def _goes_by(self, name: str) -> bool:
        """Whether a name is the service's: no page can have such a name lead here."""
        known = (
            "localhost",
            self.settings.host.lower(),
            *(host.lower() for host in self.settings.allowed_hosts),
        )
        if name in known or name.strip("[]") in known:
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        # An address is no name that somebody could lead elsewhere.
        return address.is_loopback or not self.settings.is_loopback

    def _is_own(self, origin: str, host: str) -> bool:
        """Whether a page's origin is this service, as the browser sees it."""
        try:
            page, ours = urlsplit(origin), urlsplit("//" + host)
            ports = (
                {page.port} if page.port is not None else {None, {"http": 80, "https": 443}.get(page.scheme)}
            )
            if page.scheme not in ("http", "https") or page.hostname is None:
                return False
            if page.hostname == ours.hostname:
                usual = ours.port is None and page.port in (None, 80, 443)
                return usual or ours.port in ports
            return page.hostname in (allowed.lower() for allowed in self.settings.allowed_hosts)
        except ValueError:
            return False

    def _check_token(self, connection: HTTPConnection) -> Refused | None:
        token = self.settings.token
        assert token is not None
        said = [one.partition(" ") for one in connection.headers.getlist("authorization")]
        bearers = [value.strip() for scheme, _, value in said if scheme.lower() == "bearer"]
        cookies = _cookies(connection)
        if any(_same(value, token) for value in bearers) or any(_is_valid(one, token) for one in cookies):
            return None
        what = "a token is needed"
        if any(bearers):
            what = "the token that came is not this service's"
        elif cookies:
            what = "the login is over, or was with another token"
        text = f"{what}; send the header 'Authorization: Bearer TOKEN', or open /login in a browser"
        return Refused(401, text, {"WWW-Authenticate": 'Bearer realm="auricle"'})

    def _answering(self, scope: Scope, send: Send, body: "_Body") -> Send:
        """`send`, with the headers that every answer has."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", self._policy)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/v1/"):
                    headers.setdefault("Cache-Control", "private, no-store")
                if (cookie := scope.get("state", {}).get(RENEWED)) is not None:
                    headers.append("Set-Cookie", cookie)
                if body.is_unfinished:  # what still comes is not for the next request to trip over
                    headers["Connection"] = "close"
            await send(message)

        return answer


class _ClientLeft(Exception):
    """The client went before its request was whole."""


class _Body:
    """The body of a request, which can be read here and still be received by the app."""

    def __init__(self, receive: Receive, headers: Headers):
        self._receive = receive
        length = headers.get("content-length", "")
        self._length = int(length) if length.isdigit() else 0
        self.is_expected = self._length > 0 or "transfer-encoding" in headers
        self.is_unfinished = self.is_expected
        self._kept: bytes | None = None

    async def receive(self) -> Message:
        """As an app receives it."""
        if self._kept is not None:
            body, self._kept = self._kept, None
            return {"type": "http.request", "body": body, "more_body": False}
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self.is_unfinished = False
        return message

    async def read(self, stall_seconds: float) -> None:
        """Take all of it, where it is no upload.

        Raises:
            Refused: 413 too long, 408 too slow.
        """
        pieces, size = [], 0
        deadline = time.monotonic() + BODY_SECONDS
        while True:
            try:
                async with asyncio.timeout(min(stall_seconds, max(0.0, deadline - time.monotonic()))):
                    too_long = self._length > BODY_BYTES or size > BODY_BYTES
                    if too_long:
                        raise Refused(413, f"the body is longer than {BODY_BYTES:,} bytes; send less")
                    message = await self.receive()
            except TimeoutError:
                raise Refused(408, "the body came too slowly; send the request again") from None
            if message["type"] == "http.disconnect":
                raise _ClientLeft
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if not message.get("more_body", False) and size <= BODY_BYTES:
                self._kept = b"".join(pieces)
                return


def content_policy() -> str:
    """What pages of the service may load: their own files, and nothing inline but one known style."""
    try:
        style = " " + str(json.loads(VENDORED.read_text())["csp_style"])
    except (OSError, ValueError, KeyError):
        style = ""
    return (
        f"default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'{style}; "
        "img-src 'self' data:; media-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    )


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    await receive()  # websocket.connect
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": refused.text[:120]})
        return
    body = json.dumps({"error": refused.text}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))} | refused.headers
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "websocket.http.response.start", "status": refused.status, "headers": raw})
    await send({"type": "websocket.http.response.body", "body": body})


def _wants_page(scope: Scope, headers: Headers) -> bool:
    return scope["method"] in ("GET", "HEAD") and "text/html" in headers.get("accept", "")


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def cookie_value(token: str, now: float) -> str:
    """What proves, for a week, that somebody knew the token; a new token makes it worthless."""
    return _signed(str(int(now) + COOKIE_SECONDS), token)


def _signed(until: str, token: str) -> str:
    key = hashlib.sha256(b"auricle cookie\0" + token.encode()).digest()
    return f"{until}.{hmac.new(key, until.encode(), hashlib.sha256).hexdigest()}"


def _is_valid(value: str, token: str) -> bool:
    until = value.partition(".")[0]
    if not (until.isascii() and until.isdigit() and len(until) < 16):
        return False
    return hmac.compare_digest(_signed(until, token).encode(), value.encode()) and int(until) > time.time()


def _cookies(connection: HTTPConnection) -> list[str]:
    """The values of our cookie; a browser may send others', from other ports of the same machine."""
    found, names = [], names_of(connection, KIND)
    for line in connection.headers.getlist("cookie"):
        for part in line.split(";"):
            name, _, value = part.strip().partition("=")
            if name in names:
                found.append(value.strip('"'))
    return found


@router.get("/login")
async def login_page() -> HTMLResponse:
    """The page that asks for the token."""
    return HTMLResponse(PAGE.replace("{said}", ""), headers={"Cache-Control": "no-store"})


@router.get("/login.css")
async def login_style() -> Response:
    """How it looks."""
    return Response(STYLE, media_type="text/css")


@router.post("/login", responses=responses(401, 429))
async def login(request: Request) -> Response:
    """Take the token, and give a cookie that stands for it."""
    state = request.app.state
    token: str | None = state.settings.token
    try:
        said = parse_qs((await request.body()).decode(), max_num_fields=10).get("token", [""])[0].strip()
    except ValueError:
        said = ""
    answer = RedirectResponse("./", 303, {"Cache-Control": "no-store"})
    if token is None:
        return answer
    attempts: Attempts = state.attempts
    address = request.client.host if request.client else ""
    if wait := math.ceil(attempts.wait(address, time.monotonic())):
        return _asked_again(f"Too many wrong tokens came from here. Try again in {wait} s.", 429, wait)
    if not _same(said.encode("utf-8", "replace").decode(), token):
        attempts.wrong(address, time.monotonic())
        if state.logins >= LOGINS_AT_ONCE:
            raise Refused(429, "too many try tokens; wait a moment", {"Retry-After": "5"})
        state.logins += 1
        try:
            await asyncio.sleep(WRONG_TOKEN_SECONDS)
        finally:
            state.logins -= 1
        return _asked_again("That is not the token.", 401)
    attempts.right(address)
    set_cookie(request, answer, names_of(request, KIND)[0], cookie_value(token, time.time()), COOKIE_SECONDS)
    return answer


def _asked_again(text: str, status: int, wait: int = 0) -> HTMLResponse:
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": str(wait)} if wait else {})
    return HTMLResponse(PAGE.replace("{said}", f'<p role="alert" id="said">{text}</p>'), status, headers)


@router.post("/logout")
async def logout(request: Request) -> Response:
    """Forget the cookie."""
    answer = RedirectResponse("login", 303, {"Cache-Control": "no-store"})
    own, former = names_of(request, KIND)
    token, said = request.app.state.settings.token, request.cookies.get(former, "")
    for name in (own, former) if token and _is_valid(said, token) else (own,):  # else it is another service's
        answer.delete_cookie(name, path="/", httponly=True, samesite="strict")
    return answer
