"""Who gets an answer: by name, origin, token and cookie; and what answers tell browsers."""

import asyncio
import json
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi import FastAPI, WebSocket
from starlette.datastructures import Headers

from auricle.serve import security
from auricle.serve.cookies import mark_of
from auricle.serve.errors import add_error_handlers
from auricle.serve.login import Attempts
from auricle.serve.security import add_security, cookie_value, router
from auricle.serve.settings import Settings

TOKEN = "0123456789abcdef-token"
KINDS: dict[str, dict[str, Any]] = {
    "loopback": {},
    "token": {"token": TOKEN},
    "named": {"allowed_hosts": ("audio.example.org",)},
    "open": {"host": "0.0.0.0"},
    "v6": {"host": "::1"},
}


def app_of(settings: Settings) -> FastAPI:
    app = FastAPI()
    add_error_handlers(app)
    app.include_router(router)

    @app.api_route("/v1/x", methods=["GET", "POST", "DELETE", "OPTIONS"])
    async def x() -> dict[str, str]:
        return {"x": "y"}

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {}

    @app.websocket("/v1/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_json({"heard": True})
        await socket.close()

    add_security(app, settings)
    return app


class Answer:
    """What an application sent."""

    def __init__(self, messages: list[dict[str, Any]]):
        start = next(message for message in messages if message["type"].endswith("response.start"))
        self.status, self.headers = start["status"], Headers(raw=start["headers"])
        self.text = b"".join(message.get("body", b"") for message in messages).decode()


class Client:
    """Asks an application without a server between."""

    def __init__(self, settings: Settings):
        self.app = app_of(settings)

    def _messages(self, scope: dict[str, Any], path: str, headers: Any, first: dict[str, Any]) -> Any:
        pairs = headers.items() if isinstance(headers, dict) else headers
        if not any(name == "Host" for name, _ in pairs):
            pairs = [("Host", "localhost:8765"), *pairs]
        raw = [(name.lower().encode(), value.encode()) for name, value in pairs]
        scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "headers": raw, "asgi": {}}
        waiting, sent = [first], []

        async def receive() -> Any:
            return waiting.pop() if waiting else {"type": scope["type"] + ".disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        return sent

    def ask(self, method: str, path: str, headers: Any = (), body: bytes = b"") -> Answer:
        """A request and its answer."""
        scope = {"type": "http", "method": method, "scheme": "http", "http_version": "1.1"}
        headers = dict(headers) if isinstance(headers, dict) else list(headers)
        if body and isinstance(headers, dict):
            headers |= {"Content-Length": str(len(body))}
        elif body:
            headers.append(("Content-Length", str(len(body))))
        return Answer(self._messages(scope, path, headers, {"type": "http.request", "body": body}))

    def login(self, token: str, headers: dict[str, str] | None = None) -> Answer:
        """What the page's form sends."""
        return self.ask("POST", "/login", headers or {}, urlencode({"token": token}).encode())

    def websocket(self, headers: Any) -> int:
        """200, or the status that the handshake is answered with."""
        scope = {"type": "websocket", "scheme": "ws", "extensions": {"websocket.http.response": {}}}
        sent = self._messages(scope, "/v1/live", headers, {"type": "websocket.connect"})
        if sent[0]["type"] == "websocket.accept":
            return 200
        assert "error" in json.loads(Answer(sent).text)
        bare = {"type": "websocket", "scheme": "ws"}
        assert self._messages(bare, "/v1/live", headers, {"type": "websocket.connect"})[0]["code"] == 1008
        return int(sent[0]["status"])


@pytest.fixture(scope="module")
def clients() -> dict[str, Client]:
    return {kind: Client(Settings(**settings)) for kind, settings in KINDS.items()}


# service, method, Host, Origin, Sec-Fetch-Site, and the status
BY_NAME = [
    ("loopback", "GET", "localhost:8765", None, None, 200),
    ("loopback", "GET", "LOCALHOST", None, None, 200),
    ("loopback", "GET", "localhost.", None, None, 200),
    ("loopback", "GET", "127.0.0.1:8765", None, None, 200),
    ("loopback", "GET", "127.8.9.1", None, None, 200),
    ("loopback", "GET", "[::1]:8765", None, None, 200),
    ("loopback", "GET", "evil.example", None, None, 421),
    ("loopback", "GET", "evil.example:8765", None, None, 421),
    ("loopback", "GET", "localhost.evil.example", None, None, 421),
    ("loopback", "GET", "127.0.0.1.evil.example", None, None, 421),
    ("loopback", "GET", "192.168.1.5", None, None, 421),
    ("loopback", "GET", "0.0.0.0:8765", None, None, 421),
    ("loopback", "GET", "audio.example.org", None, None, 421),
    ("loopback", "GET", "", None, None, 400),
    ("loopback", "GET", "localhost:8765@evil.example", None, None, 400),
    ("loopback", "GET", "localhost/", None, None, 400),
    ("loopback", "GET", "local host", None, None, 400),
    ("named", "GET", "audio.example.org", None, None, 200),
    ("named", "GET", "AUDIO.example.org:443", None, None, 200),
    ("named", "GET", "x.audio.example.org", None, None, 421),
    ("open", "GET", "192.168.1.5:8765", None, None, 200),
    ("open", "GET", "[fd00::1]", None, None, 200),
    ("open", "GET", "evil.example", None, None, 421),
    ("v6", "GET", "[::1]:8765", None, None, 200),
    # other sites' pages
    ("loopback", "POST", "localhost:8765", None, None, 200),
    ("loopback", "POST", "localhost:8765", "http://localhost:8765", "same-origin", 200),
    ("loopback", "POST", "localhost:8765", "http://localhost:8765", None, 200),
    ("loopback", "POST", "localhost:8765", "http://localhost:3000", None, 403),
    ("loopback", "POST", "localhost:8765", "http://localhost", None, 403),
    ("loopback", "POST", "localhost:8765", "http://127.0.0.1:8765", None, 403),
    ("loopback", "POST", "localhost:8765", "https://evil.example", None, 403),
    ("loopback", "POST", "localhost:8765", "http://localhost:8765.evil.example", None, 403),
    ("loopback", "POST", "localhost:8765", "null", None, 403),
    ("loopback", "POST", "localhost:8765", "null", "same-origin", 200),  # a form, where referrers are hidden
    ("loopback", "POST", "localhost:8765", "null", "cross-site", 403),
    ("loopback", "POST", "localhost:8765", "", None, 403),
    ("loopback", "POST", "localhost:8765", "file://", None, 403),
    ("loopback", "POST", "localhost:8765", "http://[", None, 403),
    ("loopback", "POST", "localhost:8765", None, "cross-site", 403),
    ("loopback", "POST", "localhost:8765", None, "same-site", 403),
    ("loopback", "POST", "localhost:8765", None, "none", 200),
    ("loopback", "DELETE", "localhost:8765", "https://evil.example", None, 403),
    (
        "loopback",
        "GET",
        "localhost:8765",
        "https://evil.example",
        "cross-site",
        200,
    ),  # and no page may read it
    ("named", "POST", "audio.example.org", "https://audio.example.org", "same-origin", 200),
    ("named", "POST", "audio.example.org:8443", "https://audio.example.org:8443", "same-origin", 200),
    ("named", "POST", "localhost:8765", "https://audio.example.org", None, 200),  # behind a proxy
    ("open", "POST", "192.168.1.5:8765", "http://192.168.1.5:8765", "same-origin", 200),
    ("open", "POST", "192.168.1.5:8765", "http://192.168.1.6:8765", None, 403),
]


@pytest.mark.parametrize(("kind", "method", "host", "origin", "site", "status"), BY_NAME)
def test_names_and_origins(
    kind: str,
    method: str,
    host: str,
    origin: str | None,
    site: str | None,
    status: int,
    clients: dict[str, Client],
) -> None:
    headers = {"Host": host}
    headers |= {} if origin is None else {"Origin": origin}
    headers |= {} if site is None else {"Sec-Fetch-Site": site}
    answer = clients[kind].ask(method, "/v1/x", headers)
    assert answer.status == status, answer.text
    if status != 200:
        text = json.loads(answer.text)["error"]
        assert "\n" not in text and "; " in text
    foreign = origin is not None and "evil" in origin  # for a WebSocket also where it is a GET
    if site is None or foreign:
        assert clients[kind].websocket(headers) == (403 if foreign else status)


def test_two_hosts_are_none(clients: dict[str, Client]) -> None:
    hosts = [("Host", "localhost"), ("Host", "evil.example")]
    assert clients["loopback"].ask("GET", "/v1/x", hosts).status == 400


NOW = time.time()
GOOD = cookie_value(TOKEN, NOW)
FORMER = "auricle_token"  # what versions called it that had no mark
COOKIE = f"{FORMER}_{mark_of(Settings())}"
# path, headers, status
BY_TOKEN: list[tuple[str, dict[str, str], int]] = [
    ("/v1/x", {}, 401),
    ("/v1/x", {"Authorization": f"Bearer {TOKEN}"}, 200),
    ("/v1/x", {"Authorization": f"bearer {TOKEN}"}, 200),
    ("/v1/x", {"Authorization": f"Bearer  {TOKEN} "}, 200),
    ("/v1/x", {"Authorization": TOKEN}, 401),
    ("/v1/x", {"Authorization": f"Basic {TOKEN}"}, 401),
    ("/v1/x", {"Authorization": f"Bearer {TOKEN}x"}, 401),
    ("/v1/x", {"Authorization": f"Bearer {TOKEN[:-1]}"}, 401),
    ("/v1/x", {"Authorization": "Bearer "}, 401),
    ("/v1/x", {"Authorization": "Bearer t\u00f6ken"}, 401),
    ("/v1/x", {"Cookie": f"{COOKIE}={GOOD}"}, 200),
    ("/v1/x", {"Cookie": f'a=b; {COOKIE}="{GOOD}"; c=d'}, 200),
    ("/v1/x", {"Cookie": f"{COOKIE}=other; {COOKIE}={GOOD}"}, 200),
    ("/v1/x", {"Cookie": f"{FORMER}={GOOD}"}, 200),
    ("/v1/x", {"Cookie": f"{FORMER}_0a1b2c3d={GOOD}"}, 401),
    ("/v1/x", {"Cookie": f"{COOKIE}={TOKEN}"}, 401),
    ("/v1/x", {"Cookie": f"x{COOKIE}={GOOD}"}, 401),
    ("/v1/x", {"Cookie": f"{COOKIE}={GOOD[:-1]}{'10'[GOOD[-1] == '1']}"}, 401),
    ("/v1/x", {"Cookie": f"{COOKIE}=9{GOOD}"}, 401),
    ("/v1/x", {"Cookie": f"{COOKIE}={cookie_value(TOKEN, NOW - 8 * 24 * 3600)}"}, 401),
    ("/v1/x", {"Cookie": f"{COOKIE}={cookie_value('another token, long', NOW)}"}, 401),
    ("/v1/x", {"Cookie": f"{COOKIE}=\u00b2.x"}, 401),
    ("/v1/nothing", {}, 401),
    ("/docs", {}, 401),
    ("/openapi.json", {}, 401),
    ("//login", {}, 401),
    ("/login/", {}, 401),
    ("/LOGIN", {}, 401),
    ("/healthz", {}, 200),
    ("/login", {}, 200),
    ("/login.css", {}, 200),
    ("/", {"Accept": "text/html,*/*"}, 303),
    ("/v1/recordings/x", {"Accept": "text/html"}, 303),
]


@pytest.mark.parametrize(("path", "headers", "status"), BY_TOKEN)
def test_tokens_and_cookies(
    path: str, headers: dict[str, str], status: int, clients: dict[str, Client]
) -> None:
    answer = clients["token"].ask("GET", path, headers)
    assert answer.status == status, answer.text
    assert TOKEN not in answer.text + str(answer.headers)
    if status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer") and "error" in json.loads(answer.text)
    if status == 303:
        assert answer.headers["Location"] == ("login" if path == "/" else "../../login")
    if path == "/v1/x":
        assert clients["token"].websocket(headers) == status


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "a token is needed; "),
        ({"Authorization": f"Basic {TOKEN}"}, "a token is needed; "),
        ({"Authorization": "Bearer "}, "a token is needed; "),
        ({"Authorization": "Bearer x"}, "the token that came is not this service's; "),
        (
            {"Cookie": f"{COOKIE}={cookie_value('another token, long', NOW)}"},
            "the login is over, or was with",
        ),
        (
            {"Cookie": f"{COOKIE}={cookie_value(TOKEN, NOW - 8 * 24 * 3600)}"},
            "the login is over, or was with",
        ),
        ({"Cookie": "auricle_token_0a1b2c3d=x"}, "a token is needed; "),
    ],
)
def test_no_token_and_a_wrong_one_are_told_apart(
    headers: dict[str, str], said: str, clients: dict[str, Client]
) -> None:
    answer = clients["token"].ask("GET", "/v1/x", headers)
    line = json.loads(answer.text)["error"]
    assert answer.status == 401 and line.startswith(said), line
    assert line.endswith("send the header 'Authorization: Bearer TOKEN', or open /login in a browser")


def test_a_visitor_logs_in_and_out(clients: dict[str, Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "WRONG_TOKEN_SECONDS", 0.01)
    client = clients["token"]
    page = client.ask("GET", "/login")
    assert '<label for="token">' in page.text and "style=" not in page.text
    assert page.text.replace('<script src="login.js" defer></script>', "").count("script") == 0  # none inline
    wrong = client.login("wrong")
    assert wrong.status == 401 and 'role="alert"' in wrong.text and "set-cookie" not in wrong.headers
    for body in (b"\xff\xfe", b"token=%ff", b"&" * 1000, b"token=" + b"x" * 10_000):
        assert client.ask("POST", "/login", {}, body).status == 401
    assert client.login(TOKEN, {"Origin": "http://evil"}).status == 403
    right = client.login(f" {TOKEN}\n")
    assert (right.status, right.headers["location"]) == (303, "./")
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/;" in cookie
    assert "Secure" not in cookie and TOKEN not in cookie
    assert client.ask("GET", "/v1/x", {"Cookie": cookie.partition(";")[0]}).status == 200
    out = client.ask("POST", "/logout", {"Cookie": cookie.partition(";")[0]})
    assert out.status == 303 and out.headers.getlist("set-cookie")[0].startswith(f'{COOKIE}="";')
    for value, forgotten in ((GOOD, [COOKIE, FORMER]), ("another's", [COOKIE])):
        out = client.ask("POST", "/logout", {"Cookie": f"{COOKIE}={GOOD}; {FORMER}={value}"})
        assert [one.partition("=")[0] for one in out.headers.getlist("set-cookie")] == forgotten
    assert "Secure" in client.login(TOKEN, {"X-Forwarded-Proto": "https"}).headers["set-cookie"]


def test_too_many_wrong_tokens_at_once_are_429(
    clients: dict[str, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "LOGINS_AT_ONCE", 0)
    answer = clients["token"].login("wrong")
    assert answer.status == 429 and answer.headers["Retry-After"] == "5"


def test_who_tries_one_token_after_another_has_to_wait_and_others_have_not(
    clients: dict[str, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "WRONG_TOKEN_SECONDS", 0.0)
    client = clients["token"]
    assert client.login(TOKEN).status == 303
    assert [client.login("wrong").status for _ in range(8)] == [401] * 6 + [429] * 2
    answer = client.login(TOKEN)  # else it would be as good as tried
    assert answer.status == 429 and answer.headers["Retry-After"] == "1" and "Try again in 1 s" in answer.text
    assert client.ask("GET", "/v1/x", {"Authorization": f"Bearer {TOKEN}"}).status == 200
    time.sleep(1.01)
    assert client.login(TOKEN).status == 303 and client.login("wrong").status == 401  # all is forgotten
    assert client.login(TOKEN).status == 303


def test_waiting_doubles_up_to_a_minute_and_is_forgotten_after_a_while() -> None:
    attempts, now, waits = Attempts(), 0.0, []
    for _ in range(14):
        attempts.wrong("2001:db8::1", now)
        waits.append(attempts.wait("2001:db8::2", now))  # of the same network
        now += waits[-1]
    assert waits == [0] * 5 + [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert attempts.wait("2001:db8:0:1::1", now) == attempts.wait("192.0.2.1", now) == 0
    attempts.wrong("2001:db8::1", now + 901)
    assert attempts.wait("2001:db8::1", now + 901) == 0
    for number in range(10_001):
        attempts.wrong(f"10.0.{number >> 8}.{number & 255}", now)
    assert len(attempts._wrong) == 10_000


def test_without_a_token_the_login_leads_to_the_page(clients: dict[str, Client]) -> None:
    answer = clients["loopback"].login("x")
    assert (answer.status, answer.headers["Location"]) == (303, "./")


@pytest.mark.parametrize("path", ["/v1/x", "/v1/nothing", "/login", "/healthz"])
def test_every_answer_tells_browsers_what_they_may_do(path: str, clients: dict[str, Client]) -> None:
    for headers in ({}, {"Host": "evil.example"}):
        answer = clients["loopback"].ask("GET", path, headers)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy and "http" not in policy and "*" not in policy
        assert "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy and "'sha256-" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers
        if path.startswith("/v1/"):
            assert answer.headers["Cache-Control"] == "private, no-store"


def test_an_answer_to_a_body_that_was_not_read_closes_the_connection(clients: dict[str, Client]) -> None:
    client, allowed = clients["token"], {"Authorization": f"Bearer {TOKEN}"}
    assert client.ask("POST", "/v1/x", {}, b"x").headers["connection"] == "close"  # 401 before it was read
    assert "connection" not in client.ask("POST", "/v1/x", allowed, b"x").headers
    assert "connection" not in client.ask("GET", "/v1/x", allowed).headers
