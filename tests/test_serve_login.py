"""The page that asks for the token, in a real browser, whose requests are not those of curl."""

import os
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from serving import wait_until
from starlette.responses import HTMLResponse
from test_serve_security import TOKEN, app_of

from auricle.serve.security import http_protocol
from auricle.serve.settings import Settings

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: `apt-get install chromium`")


@pytest.fixture
def address() -> Iterator[str]:
    settings = Settings(token=TOKEN)
    app: FastAPI = app_of(settings)

    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse("<h1>inside</h1><script>document.title = 'ran'</script>")

    options: dict[str, Any] = {"http": http_protocol(settings), "loop": "asyncio", "ws": "none"}
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(20)


def test_a_visitor_gives_the_token_once_and_no_script_of_anybody_runs(address: str) -> None:
    flags = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page()
        page.goto(address)
        assert page.url == address + "login"
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button").click()
        playwright.expect(page.get_by_role("alert")).to_have_text("That is not the token.")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        playwright.expect(page.get_by_role("heading")).to_have_text("inside")
        assert page.url == address and page.title() == ""  # the policy lets no script in a page run
        assert page.evaluate("document.cookie") == ""  # nor read the cookie
        page.goto(address + "v1/x")
        assert '"x":"y"' in page.content()
        browser.close()
