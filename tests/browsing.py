"""The page in a real browser, as tests use it: see `page` in conftest.py, and what visitors do with it."""

import base64
import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
expect = playwright.expect
expect.set_options(timeout=30_000)  # milliseconds, on a machine with much else to do

SCENE = Path(__file__).parents[1] / "examples" / "scene.ogg"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 30_000
FLAGS = [
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--disable-dev-shm-usage",
]

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: `apt-get install chromium`, or put it on the PATH"
)


@contextlib.contextmanager
def chromium(heard: Path) -> Iterator[Any]:
    """Chromium, whose microphone hears a clock: it is written to this file."""
    scene, rate = soundfile.read(SCENE)
    soundfile.write(heard, np.concatenate([scene[: 2 * rate]] * 4), rate, subtype="PCM_16")
    flags = [*FLAGS, f"--use-file-for-fake-audio-capture={heard}"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@contextlib.contextmanager
def visiting(browser: Any, address: str, allowed: str = "", **options: Any) -> Iterator[Any]:
    """A visitor's page, which must ask nothing of other sites and break no rule of its own.

    What the console may say all the same is that something with status 400 was not loaded, and what `allowed`
    (a regular expression) matches.
    """
    wrong: list[str] = []
    refused = re.compile(r"Failed to load resource: .+ 400 " + (f"|{allowed}" if allowed else ""))
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    noted = lambda said: said.type in ("error", "warning") and not refused.match(said.text)  # noqa: E731
    page.on("console", lambda said: noted(said) and wrong.append(said.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith((address, "blob:")) or wrong.append(asked.url))
    page.goto(address)
    expect(page.get_by_test_id("start")).to_be_visible()
    yield page
    context.close()
    assert not wrong, wrong


def drop(page: Any, name: str, content: bytes) -> None:
    """Drop a file on the page, as a visitor does with the mouse."""
    script = """([name, bytes]) => {
        const dropped = new DataTransfer();
        dropped.items.add(new File([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))], name));
        return dropped;
    }"""
    dropped = page.evaluate_handle(script, [name, base64.b64encode(content).decode()])
    page.dispatch_event("body", "dragenter", {"dataTransfer": dropped})
    page.dispatch_event("body", "drop", {"dataTransfer": dropped})


def add(page: Any, *files: Path) -> None:
    """Choose files, and wait until the (last) one is tagged."""
    page.get_by_test_id("file").set_input_files([str(file) for file in files])
    ready(page)


def ready(page: Any) -> None:
    expect(page.get_by_test_id("event").first).to_be_visible()


def rows(page: Any) -> list[tuple[str, str]]:
    """(label, verdict) of the table of sounds."""
    script = "rows => rows.map(row => [row.dataset.label, row.dataset.verdict])"
    return [tuple(row) for row in page.get_by_test_id("event").evaluate_all(script)]


def until(page: Any, script: str) -> None:
    """Wait for something; not by wait_for_function, which the page's own rules forbid."""
    for _ in range(PATIENCE // 50):
        if page.evaluate(script):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"waited in vain for {script}")


def now(page: Any) -> float:
    return float(page.evaluate("document.querySelector('audio, video').currentTime"))


def saved(page: Any, format: str, folder: Path) -> Path:
    """A download from the menu."""
    with page.expect_download() as waiting:
        page.get_by_test_id("export").click()
        page.get_by_test_id(f"export-{format}").click()
    target = folder / waiting.value.suggested_filename
    waiting.value.save_as(target)
    return target


def seconds(text: str) -> tuple[float, float]:
    """The span that a row tells, say 0:14.0 – 0:21.0."""
    start, end = (60 * int(minutes) + float(rest) for minutes, rest in re.findall(r"(\d+):([\d.]+)", text))
    return start, end


def select(page: Any, start: float, end: float) -> None:
    """Drag over the picture, in shares of its width."""
    page.evaluate("scrollTo(0, 0)")
    box = page.get_by_test_id("plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] * start, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, box["y"] + 40, steps=4)
    page.mouse.up()


def heard_once(browser: Any, address: str) -> dict[str, Any]:
    """A visitor's cookie, and the recording of theirs that is tagged: once, for all tests of a file."""
    with visiting(browser, address) as page:
        add(page, SCENE)
        return {"storage_state": page.context.storage_state(), "recording": recording_of(page)}


def returning(browser: Any, address: str, heard: dict[str, Any], allowed: str = "", **options: Any) -> Any:
    """The visitor comes back."""
    whole = {"viewport": {"width": 1280, "height": 800}, "storage_state": heard["storage_state"]} | options
    return visiting(browser, address, allowed, **whole)


def shown(page: Any, heard: dict[str, Any]) -> None:
    """Open the recording, and forget what was said of it before."""
    start = page.url.split("#")[0]
    corrections = f"{start}v1/recordings/{heard['recording']}/corrections"
    for one in page.request.get(corrections).json()["corrections"]:
        page.request.delete(f"{corrections}/{one['id']}")
    page.goto(f"{start}#r={heard['recording']}")
    ready(page)


def recording_of(page: Any) -> str:
    return str(page.evaluate("new URLSearchParams(location.hash.slice(1)).get('r')"))


def asked(page: Any, part: str) -> dict[str, Any]:
    """What the service says of the recording that is open."""
    where = f"{page.url.split('#')[0]}v1/recordings/{recording_of(page)}/{part}"
    answer: dict[str, Any] = page.request.get(where).json()
    return answer


def said(page: Any) -> list[tuple[str, str]]:
    """(label, verdict) of the corrections that the service keeps."""
    return [(one["label"], one["verdict"]) for one in asked(page, "corrections")["corrections"]]


def row(page: Any, label: str) -> Any:
    return page.locator(f"tr[data-label='{label}']").first


def at_a_recording(allowed: str = "") -> tuple[Any, Any]:
    """Fixtures: `heard`, a file's recording and whose it is, and `page`, where it is open and nothing said.

    Args:
        allowed: what the browser may complain of, see `returning`.
    """

    @pytest.fixture(scope="module")
    def heard(browser: Any, address: str) -> dict[str, Any]:
        return heard_once(browser, address)

    @pytest.fixture
    def page(browser: Any, address: str, heard: dict[str, Any]) -> Iterator[Any]:
        with returning(browser, address, heard, allowed=allowed) as page:
            shown(page, heard)
            yield page

    return heard, page
