"""What any request meets: options that are none, cookies, addresses below a proxy's prefix, a quiet log."""

import io
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import numpy as np
import pytest
import soundfile
from serving import serving, wait_until
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from auricle.serve.state import Service

TOKEN = "0123456789abcdef0123456789abcdef"
HTTPS = {"X-Forwarded-Proto": "https"}
SOUND = io.BytesIO()
soundfile.write(SOUND, np.random.default_rng(3).uniform(-0.5, 0.5, 16_000), 8_000, format="WAV")
FILES = {"file": ("a.wav", SOUND.getvalue())}


@pytest.fixture(scope="module")
def running(model: Path) -> Iterator[tuple[str, Service]]:
    with serving(model=str(model), threads=1, token=TOKEN, keep_hours=48.0) as found:
        yield found


@pytest.fixture(scope="module")
def client(running: tuple[str, Service]) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=running[0], headers=headers, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def recording(client: httpx.Client) -> str:
    id = client.post("/v1/recordings", files=FILES).json()["id"]
    wait_until(lambda: client.get(f"/v1/recordings/{id}").json()["state"] == "done", 60)
    return f"/v1/recordings/{id}"


def operations(client: httpx.Client) -> Iterator[tuple[str, str, list[str]]]:
    """Method, address and options of all that can be asked below /v1."""
    for path, those in client.get("/openapi.json").json()["paths"].items():
        for method, operation in those.items():
            names = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
            if path.startswith("/v1/"):
                yield method, path, names


def test_an_option_that_is_none_is_refused_everywhere_and_the_known_are_named(client: httpx.Client) -> None:
    asked = 0
    for method, path, names in operations(client):
        place = path.replace("{", "").replace("}", "").replace("/tile", "/0").replace("/level", "/0")
        content = {"content": b"x"} if method in ("post", "patch") else {}
        answer = client.request(method.upper(), place, params={"treshold": "0.5"}, **content)
        line = answer.json()["error"]
        assert answer.status_code == 400 and line.startswith("'treshold' is no option here; "), (path, line)
        assert line.endswith("there are " + (", ".join(sorted(names)) or "none")), (path, line)
        assert ("meant for threshold" in line) == ("threshold" in names)
        asked += 1
    assert asked >= 20


def test_options_are_known_by_the_address_asked(client: httpx.Client, recording: str) -> None:
    assert client.post("/v1/tag?top=1&threshold=0.5&wait=20", files=FILES).status_code == 200
    assert client.get(f"{recording}/peaks?from=0&to=1&columns=4").status_code == 200
    assert client.get(f"{recording}/peaks?from=0&to=1&columns=4&start=0").status_code == 400
    assert client.head(f"{recording}/media").status_code == 200
    assert client.head(f"{recording}/media?x=1").status_code == 400
    twice = client.get(f"{recording}/events?threshold=0.5&threshold=0.6")
    assert twice.status_code == 400 and twice.json()["error"] == "threshold is given 2 times; give it once"
    assert client.get("/v1/models?" + "x" * 5000).json()["error"].count("x") < 70
    assert client.get("/healthz?probe=1").status_code == 200  # of others' making, often


def listen(address: str, **more: Any) -> Any:
    where = address.replace("http", "ws") + "/v1/live" + more.pop("query", "")
    return connect(where, additional_headers={"Authorization": f"Bearer {TOKEN}"} | more.pop("headers", {}))


def test_what_is_not_below_v1_leaves_options_unread(client: httpx.Client) -> None:
    for path in ("/healthz", "/metrics", "/docs", "/openapi.json", "/"):
        assert client.get(f"{path}?x=1&x=2").status_code == 200


@pytest.mark.parametrize("body", ["{", "[" * 100_000, '{"label": "dog",}', "", "\xff"])
def test_a_body_that_is_no_json_says_what_was_expected(
    body: str, client: httpx.Client, recording: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post(f"{recording}/corrections", content=body.encode("latin-1"), headers=headers)
    line = answer.json()["error"]
    assert answer.status_code == 400 and ("expected one object" in line or "is missing; give it" in line)
    assert (not body) == ("missing" in line)


def test_a_websocket_takes_its_options_in_its_first_message(running: tuple[str, Service]) -> None:
    with listen(running[0], query="?rate=8000") as connection:
        assert "takes no options" in json.loads(connection.recv())["error"]
    for key in ("rate", "channels", "threshold", "hop"):
        with listen(running[0]) as connection:
            connection.send(json.dumps({"rate": 8000} | {key: True}))
            assert f"{key} is 'True'; input should be a valid" in json.loads(connection.recv())["error"]


def test_strangers_write_no_errors_into_the_log(
    running: tuple[str, Service], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        listen(running[0], headers={"Origin": "https://evil.example"})
    assert refused.value.response.status_code == 403
    assert "another site's page" in json.loads(refused.value.response.body or b"")["error"]
    with pytest.raises(InvalidStatus) as refused:
        listen(running[0], headers={"Authorization": "Bearer no"})
    assert refused.value.response.status_code == 401
    with listen(running[0]) as connection:
        connection.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosedError) as closed:
            connection.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1007
    with pytest.raises(InvalidStatus):
        connect(running[0].replace("http", "ws") + "/nowhere", additional_headers={"Origin": "null"})
    wait_until(lambda: not running[1].listening)
    time.sleep(0.1)
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []


def test_cookies_are_secure_where_the_browser_asks_by_https(
    running: tuple[str, Service], client: httpx.Client
) -> None:
    right = dict(client.headers)
    for headers, secure in ((HTTPS, True), ({"X-Forwarded-Proto": "HTTPS, http"}, True), ({}, False)):
        login = httpx.post(f"{running[0]}/login", data={"token": TOKEN}, headers=headers)
        visit = httpx.get(f"{running[0]}/v1/recordings", headers=right | headers)
        sent = httpx.post(f"{running[0]}/v1/recordings", headers=right | headers, files=FILES)
        for answer in (login, visit, sent):
            cookie = answer.headers["set-cookie"]
            assert ("; Secure" in cookie) == secure, cookie
            for rule in ("HttpOnly", "SameSite=strict", "Path=/"):
                assert rule in cookie


def test_a_visitors_cookie_lasts_longer_than_what_it_leads_to(
    running: tuple[str, Service], client: httpx.Client, recording: str
) -> None:
    database, id = running[1].library.database, recording.rsplit("/", 1)[1]
    parts = ["", "/labels", "/media", "/peaks?from=0&to=1&columns=4", "/export", "/corrections"]
    for part in parts:
        assert "set-cookie" not in client.get(recording + part).headers  # it was looked at a moment ago
        database.change("UPDATE recordings SET touched = ? WHERE id = ?", time.time() - 3600, id)
        cookie = client.get(recording + part).headers["set-cookie"]
        kept = database.rows("SELECT touched FROM recordings WHERE id = ?", id)[0][0] + 48 * 3600
        seconds = int(cookie.split("Max-Age=")[1].split(";")[0])
        assert time.time() + seconds > kept + 3600 and ";".join(client.cookies.values()) in cookie
    database.change("UPDATE recordings SET touched = ? WHERE id = ?", time.time() - 3600, id)
    other = httpx.get(running[0] + recording, headers=client.headers)
    assert other.status_code == 404 and "set-cookie" not in other.headers


def test_services_of_one_host_leave_each_others_cookies_alone(model: Path, tmp_path: Path) -> None:
    other = TOKEN[::-1]

    def service(name: str, token: str, hours: float) -> Any:
        return serving(
            model=str(model), threads=1, data=tmp_path / name, token=token, keep_hours=hours, port=0
        )

    with httpx.Client(timeout=60) as browser:  # which keeps cookies by host, whatever the port
        with service("a", TOKEN, 720.0) as (first, _), service("b", other, 1.0) as (second, _):
            for address, token in ((first, TOKEN), (second, other)):
                browser.post(f"{address}/login", data={"token": token})
            id = browser.post(f"{first}/v1/recordings", files=FILES).json()["id"]
            lives = {cookie.name: cookie.expires for cookie in browser.cookies.jar}
            assert browser.get(f"{second}/v1/recordings").json() == {"recordings": []}
            again = {cookie.name: cookie.expires for cookie in browser.cookies.jar}
            assert len(lives) == 3 and len(again) == 4 and again | lives == again
            browser.post(f"{second}/logout")
            assert browser.get(f"{first}/v1/recordings/{id}").status_code == 200
        with service("a", TOKEN, 720.0) as (anew, _):  # at another port
            assert anew != first and browser.get(f"{anew}/v1/recordings/{id}").status_code == 200


@pytest.mark.parametrize("prefix", ["", "/sounds", "/a/b"])
def test_addresses_in_answers_are_right_below_a_proxys_prefix(
    prefix: str, running: tuple[str, Service], client: httpx.Client
) -> None:
    public = "https://audio.example.org" + prefix
    answer = client.post("/v1/tag?wait=0", files=FILES)
    job = f"{public}/v1/jobs/{answer.json()['job']}"
    assert urljoin(f"{public}/v1/tag?wait=0", answer.headers["location"]) == job
    assert urljoin(f"{public}/v1/tag?wait=0", answer.json()["status"]) == job
    made = client.post("/v1/recordings", files=FILES)
    where = urljoin(f"{public}/v1/recordings", made.headers["location"])
    assert where == f"{public}/v1/recordings/{made.json()['id']}"
    said = client.get("/openapi.json").json()
    assert urljoin(f"{public}/openapi.json", said["servers"][0]["url"]) == public + "/"
