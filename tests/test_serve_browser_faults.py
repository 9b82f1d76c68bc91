"""The page in a real browser while things fail: a request, the service, the microphone, another tab."""

import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile
from browsing import SCENE, add, expect, needs_chromium, ready, rows, until, visiting
from proxying import proxied
from serving import served, serving

pytestmark = needs_chromium

FAILED = (
    "Failed to load resource: (net::|.+ (401|404|503) )|Canvas2D: "  # what Chromium notes of what a test does
)
SIZE = {"width": 1280, "height": 800}
ROUTED = re.compile(r"/v1/recordings/[^/]+/(peaks|scores|spectrogram)")
TRACKS = """
    window.tracks = [];
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
        if (window.late) await new Promise((allow) => { window.allow = allow; });
        const stream = await ask(wanted);
        window.tracks.push(...stream.getTracks());
        return stream;
    };
"""
ALL_ENDED = "tracks.length > 0 && tracks.every((track) => track.readyState === 'ended')"


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page whose requests may fail."""
    with visiting(browser, address, allowed=FAILED, viewport=SIZE) as page:
        yield page


def fail_once(page: Any) -> Counter[str]:
    """Let the first request for each part of the picture fail; how often each was asked for."""
    asked: Counter[str] = Counter()

    def answer(route: Any) -> None:
        asked[route.request.url] += 1
        route.abort() if asked[route.request.url] == 1 else route.continue_()

    page.route(ROUTED, answer)
    return asked


def shades(page: Any, top: int, height: int) -> int:
    """How many colours a band of the picture has."""
    script = """([top, height]) => {
        const picture = document.getElementById("picture");
        const ratio = window.devicePixelRatio;
        const band = picture.getContext("2d").getImageData(0, top * ratio, picture.width, height * ratio);
        return new Set(new Uint32Array(band.data.buffer)).size;
    }"""
    return page.evaluate(script, [top, height])


def soon(page: Any, true: Callable[[], bool]) -> None:
    for _ in range(300):
        if true():
            return
        page.wait_for_timeout(50)
    raise AssertionError("waited in vain")


# ---- the microphone -----------------------------------------------------------------------------------


def test_stop_while_the_visitor_is_asked_leaves_no_microphone_on(page: Any) -> None:
    sockets: list[Any] = []
    page.on("websocket", lambda opened: sockets.append(opened))
    page.add_init_script("window.late = true;" + TRACKS)
    page.reload()
    page.get_by_test_id("listen").click()
    until(page, "!!window.allow")
    page.get_by_test_id("live-stop").click()
    expect(page.get_by_test_id("live-again")).to_be_visible()
    page.evaluate("allow()")
    until(page, ALL_ENDED)
    page.wait_for_timeout(200)
    expect(page.get_by_test_id("live-again")).to_be_visible()
    expect(page.get_by_test_id("alarm")).to_be_hidden()
    assert not sockets


@pytest.mark.parametrize(
    "fault", ["worklet", *(pytest.param(one, marks=pytest.mark.slow) for one in ("socket", "context"))]
)
def test_what_fails_after_the_microphone_was_allowed_turns_it_off(page: Any, fault: str) -> None:
    faults = {
        "worklet": "AudioWorklet.prototype.addModule = () => Promise.reject(new Error('no worklets here'));",
        "socket": "window.WebSocket = class { constructor() { throw new Error('no sockets here'); } };",
        "context": "window.AudioContext = class { constructor() { throw new Error('no sound here'); } };",
    }
    page.add_init_script(TRACKS + faults[fault])
    page.reload()
    page.get_by_test_id("listen").click()
    expect(page.get_by_test_id("alarm")).to_contain_text("The microphone could not be opened")
    until(page, ALL_ENDED)
    expect(page.get_by_test_id("listen")).to_have_text("Microphone")
    expect(page.get_by_test_id("live-again")).to_be_visible()


def test_where_the_browser_gives_no_sound_it_is_told(page: Any) -> None:
    page.add_init_script("AudioNode.prototype.connect = () => {};")  # as where its audio does not run
    page.clock.install()
    page.reload()
    page.get_by_test_id("listen").click()
    expect(page.locator("#live-note")).to_contain_text("Listening")
    page.clock.fast_forward(5000)
    expect(page.locator("#live-note")).to_contain_text("The browser gives no sound")
    page.get_by_test_id("live-stop").click()
    expect(page.get_by_test_id("live-again")).to_be_visible()


def test_the_microphone_is_never_on_without_being_shown(browser: Any, address: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with visiting(browser, address, **phone) as page:
        bar = page.get_by_test_id("listening")
        expect(bar).to_be_hidden()
        page.get_by_test_id("start-listen").tap()
        until(page, "/[1-9]/.test(document.getElementById('live-time').textContent.split(' ')[0])")
        expect(bar).to_be_hidden()  # the view itself shows it
        page.get_by_test_id("home").tap()
        expect(page.get_by_test_id("start")).to_be_visible()
        expect(bar).to_contain_text("The microphone is on")
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        page.get_by_test_id("listening-stop").tap()
        expect(bar).to_contain_text("not kept yet")
        expect(page.get_by_test_id("listening-stop")).to_be_hidden()
        page.get_by_test_id("listening-show").tap()
        expect(page.get_by_test_id("live-keep")).to_be_visible()
        expect(bar).to_be_hidden()
        page.get_by_test_id("live-discard").tap()
        expect(page.get_by_test_id("start")).to_be_visible()
        expect(bar).to_be_hidden()


# ---- requests that fail -------------------------------------------------------------------------------


def test_what_failed_once_is_asked_for_once_more_and_drawn(page: Any, short: Path) -> None:
    asked = fail_once(page)
    add(page, short)
    for top, height in ((22, 48), (82, 100), (196, 40)):  # waveform, spectrogram, rows of labels
        soon(page, lambda top=top, height=height: shades(page, top, height) > 2)
    picture = lambda: {url: times for url, times in asked.items() if "columns=1600" not in url}  # noqa: E731
    soon(page, lambda: set(picture().values()) == {2})
    assert {"peaks", "scores", "spectrogram"} == {ROUTED.search(url)[1] for url in picture()}
    expect(page.get_by_test_id("alarm")).to_be_hidden()


def test_while_all_fails_little_is_asked_and_the_message_goes_when_it_works(page: Any, short: Path) -> None:
    add(page, short)
    asked: list[str] = []
    page.route(ROUTED, lambda route: asked.append(route.request.url) or route.abort())
    page.get_by_test_id("plot").focus()
    for key in "+-+-+++-++":
        page.keyboard.press(key)
        page.wait_for_timeout(120)
    expect(page.get_by_test_id("alarm")).to_contain_text("The picture is not whole")
    ranges = [url for url in asked if "spectrogram" not in url]
    assert 2 <= len(ranges) <= 8 and max(Counter(asked).values()) <= 3
    page.unroute_all()
    expect(page.get_by_test_id("alarm")).to_be_hidden()


def test_a_recording_that_could_not_be_opened_is_kept_in_the_address_and_tried_again(
    page: Any, short: Path
) -> None:
    add(page, short)
    page.get_by_test_id("threshold").fill("0.20")
    until(page, "location.hash.includes('threshold=0.20')")
    where = page.url
    page.route("**/labels", lambda route: route.fulfill(status=400, json={"error": "not these labels"}))
    page.reload()
    expect(page.get_by_test_id("failure")).to_have_text("not these labels")
    expect(page.get_by_test_id("cancel")).to_be_hidden()
    expect(page.get_by_test_id("start")).to_be_hidden()
    assert page.url == where
    page.unroute_all()
    page.get_by_test_id("again").click()
    ready(page)
    expect(page.get_by_test_id("threshold-value")).to_have_text("0.20")
    page.route("**/labels", lambda route: route.abort())
    page.reload()
    expect(page.get_by_test_id("failure")).to_contain_text("does not answer")
    page.unroute_all()
    ready(page)  # by itself
    assert page.url == where


def test_an_upload_that_broke_off_is_not_spoken_of_any_more_once_it_is_there(page: Any, short: Path) -> None:
    page.route("**/v1/recordings", lambda r: r.abort() if r.request.method == "POST" else r.continue_())
    page.get_by_test_id("file").set_input_files(str(short))
    expect(page.get_by_test_id("alarm")).to_contain_text("short.wav: The upload broke off")
    page.unroute_all()
    page.get_by_test_id("upload-again").click()
    ready(page)
    expect(page.get_by_test_id("alarm")).to_be_hidden()


def test_the_list_is_asked_for_again_after_a_failure(page: Any, short: Path) -> None:
    page.route("**/v1/recordings", lambda r: r.abort() if r.request.method == "GET" else r.continue_())
    page.get_by_test_id("file").set_input_files(str(short))
    expect(page.get_by_test_id("alarm")).to_contain_text("The list of recordings")
    expect(page.get_by_test_id("recording-link")).to_have_count(0)
    page.unroute_all()
    expect(page.get_by_test_id("recording-link")).to_have_count(1)
    expect(page.get_by_test_id("alarm")).to_be_hidden()


# ---- the service ends and comes back ------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_after_a_restart_of_the_service_the_page_goes_on_by_itself(browser: Any, tmp_path: Path) -> None:
    long = tmp_path / "long.wav"
    scene, rate = soundfile.read(SCENE)
    soundfile.write(long, np.tile(scene, 6), rate, subtype="PCM_16")
    options = ["--data", str(tmp_path / "data"), "--threads", "1", "--port", str(free_port())]
    with ExitStack() as stack:
        with served(*options) as (address, process):
            page = stack.enter_context(
                visiting(browser, address + "/", allowed=FAILED + "|WebSocket", viewport=SIZE)
            )
            page.get_by_test_id("file").set_input_files(str(long))
            expect(page.get_by_test_id("waiting")).to_be_visible()
            process.kill()
            process.wait()
        expect(page.get_by_test_id("failure")).to_contain_text("does not answer")
        with served(*options):
            ready(page)
            expect(page.get_by_test_id("name")).to_have_text("long.wav")
            expect(page.get_by_test_id("alarm")).to_be_hidden()
            expect(page.get_by_test_id("recording-link")).not_to_contain_text("does not answer")
            stack.close()


def test_a_job_that_the_service_left_undone_is_waited_for(page: Any, short: Path) -> None:
    add(page, short)
    one = re.compile(r"/v1/recordings/[^/]+$")
    page.route(one, lambda r: r.fulfill(json=r.fetch().json() | {"state": "interrupted", "progress": None}))
    page.reload()
    expect(page.get_by_test_id("waiting")).to_contain_text("it goes on when the service does")
    page.unroute(one)
    ready(page)


# ---- other tabs, the token, a proxy -------------------------------------------------------------------


def test_what_another_tab_did_is_seen_when_this_one_is_looked_at(page: Any, short: Path) -> None:
    add(page, short)
    other = page.context.new_page()
    other.goto(page.url)
    ready(other)
    other.evaluate("document.querySelector('[data-testid=recording-link]').id = 'same'")
    with other.expect_response(re.compile("/v1/recordings$")):
        other.evaluate("dispatchEvent(new Event('focus'))")
    other.wait_for_timeout(100)
    expect(other.locator("#same")).to_have_count(
        1
    )  # a click that gives the focus still finds what it began on
    label = rows(page)[0][0]
    page.locator(f"[data-label='{label}']").first.get_by_test_id("event-wrong").click()
    expect(page.locator("[data-verdict=wrong]")).to_have_count(1)
    assert (label, "wrong") not in rows(other)
    other.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(other.locator("[data-verdict=wrong]")).to_have_count(1)
    expect(other.get_by_test_id("recording-link")).to_contain_text("1 corrected")

    page.on("dialog", lambda asked: asked.accept())
    page.get_by_test_id("delete").click()
    expect(page.get_by_test_id("start")).to_be_visible()
    expect(other.get_by_test_id("recording-link")).to_have_count(1)
    other.evaluate("dispatchEvent(new Event('focus'))")
    expect(other.get_by_test_id("alarm")).to_contain_text("short.wav is gone")
    expect(other.get_by_test_id("start")).to_be_visible()
    expect(other.get_by_test_id("recording-link")).to_have_count(0)
    assert "r=" not in other.url


def test_what_is_deleted_elsewhere_is_told_of_as_soon_as_something_is_not_there(
    page: Any, short: Path
) -> None:
    add(page, short)
    path = f"v1/recordings/{page.url.partition('#r=')[2].partition('&')[0]}"
    assert (
        page.evaluate("(path) => fetch(path, { method: 'DELETE' }).then(({ status }) => status)", path) == 204
    )
    page.get_by_test_id("event-wrong").first.click()
    expect(page.get_by_test_id("alarm")).to_contain_text("short.wav is gone")
    expect(page.get_by_test_id("start")).to_be_visible()


def test_the_login_leads_back_to_the_recording(
    browser: Any, model: Path, tmp_path: Path, short: Path
) -> None:
    token = "a-token-of-more-than-32-characters"
    with serving(model=str(model), data=tmp_path, token=token) as (address, _), ExitStack() as stack:
        context = browser.new_context()
        stack.callback(context.close)
        page = context.new_page()

        def log_in() -> None:
            page.get_by_label("Token").fill("wrong")
            page.get_by_role("button").click()
            expect(page.get_by_role("alert")).to_be_visible()
            page.get_by_label("Token").fill(token)
            page.keyboard.press("Enter")

        page.goto(address + "/#anything")
        log_in()
        expect(page.get_by_test_id("start")).to_be_visible()
        page.get_by_test_id("file").set_input_files(str(short))
        expect(page.get_by_test_id("name")).to_have_text("short.wav")
        where = page.url
        context.clear_cookies(name=re.compile("auricle_token"))
        page.evaluate("dispatchEvent(new Event('focus'))")  # the page finds that it may not ask any more
        expect(page.get_by_label("Token")).to_be_visible()
        log_in()
        expect(page.get_by_test_id("name")).to_have_text("short.wav")
        assert urlsplit(page.url).fragment == urlsplit(where).fragment
        # Who is at work is not led away, and what was said is kept once the token is there again.
        with page.expect_response(re.compile("threshold=0.01")):
            page.get_by_test_id("threshold").fill("0.01")
        ready(page)
        page.wait_for_timeout(500)  # nothing else is asked for
        context.clear_cookies(name=re.compile("auricle_token"))
        page.get_by_test_id("event-wrong").first.click()
        expect(page.get_by_test_id("alarm")).to_contain_text(re.compile(r"Not kept yet .+ not logged in"))
        page.get_by_role("button", name="Log in").click()
        log_in()
        expect(page.locator("[data-verdict=wrong]")).to_have_count(1)
        expect(page.get_by_test_id("alarm")).to_be_hidden()


@pytest.mark.slow
def test_behind_a_proxy_with_a_prefix_all_is_there(browser: Any, address: str, short: Path) -> None:
    with proxied(address, "/sounds/") as outside, visiting(browser, outside, viewport=SIZE) as page:
        parts: list[Any] = []
        page.on("response", lambda answer: "/media" in answer.url and parts.append(answer))
        add(page, short)
        page.get_by_test_id("plot").focus()
        page.keyboard.press("End")
        page.keyboard.press("PageUp")
        page.get_by_test_id("play").click()
        until(
            page,
            "document.querySelector('audio').currentTime > 2",
        )
        assert {answer.status for answer in parts} == {206}
        page.locator("[data-label=clock_tick]").first.get_by_test_id("event-right").click()
        expect(page.locator("[data-verdict=right]")).to_have_count(1)
        page.get_by_test_id("export").click()
        with page.expect_download() as saved:
            page.get_by_test_id("export-csv").click()
        assert "clock_tick" in Path(saved.value.path()).read_text()
        with page.expect_websocket() as waited:
            page.keyboard.press("m")
        assert waited.value.url.startswith(outside.replace("http:", "ws:") + "v1/live")
        expect(page.get_by_test_id("live-row").first).to_contain_text("clock_tick")
        page.get_by_test_id("live-stop").click()
        expect(page.get_by_test_id("live-keep")).to_be_visible()
        page.get_by_test_id("live-discard").click()
        page.goto(outside + "docs")
        expect(page.get_by_role("heading", name="auricle")).to_be_visible()
