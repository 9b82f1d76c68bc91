"""The page in a real browser while the service cannot take something now: it waits, is shown, and is sent."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import (
    expect,
    heard_once,
    needs_chromium,
    ready,
    returning,
    row,
    rows,
    said,
    saved,
    select,
    shown,
    until,
)

pytestmark = needs_chromium

FAILED = "Failed to load resource: (net::|.+ (404|429|500|503) )"
LEAVES = "() => dispatchEvent(new Event('beforeunload', { cancelable: true }))"  # without being asked


@pytest.fixture(scope="module")
def heard(browser: Any, address: str) -> dict[str, Any]:
    return heard_once(browser, address)


@pytest.fixture
def page(browser: Any, address: str, heard: dict[str, Any]) -> Iterator[Any]:
    """The recording, of which nothing was said yet."""
    with returning(browser, address, heard, allowed=FAILED) as page:
        shown(page, heard)
        yield page


def fail(page: Any, status: int) -> None:
    """Have the service not take what is said; 0: not answer."""

    def answer(route: Any) -> None:
        if route.request.method == "GET":
            return route.continue_()
        return route.fulfill(status=status, json={"error": "no luck"}) if status else route.abort()

    page.route("**/corrections**", answer)


def hurried(page: Any, times: int) -> None:
    """Have the next try by itself be half a minute away."""
    for _ in range(times):
        with page.expect_event("requestfinished", lambda one: "/corrections" in one.url):
            page.get_by_role("button", name="Send now").click()
        page.wait_for_timeout(100)


def test_while_it_waits_one_may_change_ones_mind_and_any_good_answer_sends_it(
    page: Any, tmp_path: Path
) -> None:
    row(page, "rain").get_by_test_id("event-wrong").click()
    expect(row(page, "rain")).to_have_attribute("data-verdict", "wrong")
    alarm, undo = page.get_by_test_id("alarm"), page.get_by_test_id("undo")
    wrong = row(page, "siren").get_by_test_id("event-wrong")
    fail(page, 503)
    page.evaluate("scrollTo(0, 1e6)")
    wrong.click()
    expect(alarm).to_contain_text("Not kept yet (siren wrong): no luck")
    assert page.evaluate("scrollY") > 100 and alarm.bounding_box()["y"] == 0  # in sight
    expect(undo).to_have_attribute("title", "Undo: siren wrong")
    page.wait_for_timeout(500)
    wrong.click()
    expect(alarm).to_contain_text("(siren wrong, siren no longer wrong)")
    expect(wrong).not_to_have_attribute("aria-busy", "true")
    undo.click()
    expect(alarm).to_contain_text("(siren wrong)")
    expect(wrong).to_have_attribute("aria-busy", "true")
    undo.click()  # the service may have it: so it is taken back there
    expect(alarm).to_contain_text("(siren wrong, undo of siren wrong)")
    expect(undo).to_have_attribute("title", "Undo: rain wrong")
    hurried(page, 5)
    page.unroute_all()
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(alarm).to_be_hidden(timeout=5000)
    assert said(page) == [("rain", "wrong")] and rows(page).count(("siren", "")) == 1
    # An export sends what waits, and says what it lacks even so.
    fail(page, 503)
    row(page, "siren").get_by_test_id("event-wrong").click()
    expect(alarm).to_contain_text("Not kept yet (siren wrong)")
    hurried(page, 5)
    assert "siren" in saved(page, "csv", tmp_path).read_text()
    expect(alarm).to_contain_text("was exported without what is not kept yet: siren wrong")
    page.unroute_all()
    assert "siren" not in saved(page, "csv", tmp_path).read_text()
    expect(alarm).to_be_hidden()


def test_what_the_service_fails_at_is_set_aside_until_it_is_sent_again_or_dropped(page: Any) -> None:
    fail(page, 500)
    row(page, "siren").get_by_test_id("event-wrong").click()
    row(page, "rain").get_by_test_id("event-right").click()
    expect(page.get_by_test_id("alarm")).to_contain_text("Not kept yet (siren wrong, rain right): no luck")
    hurried(page, 4)
    expect(page.get_by_test_id("alarm")).to_contain_text("“siren wrong” was not kept: no luck")
    page.unroute_all()
    expect(row(page, "rain")).to_have_attribute("data-verdict", "right")  # it goes on
    assert said(page) == [("rain", "right")] and not page.evaluate(LEAVES)
    page.get_by_role("button", name="Send again").click()
    expect(row(page, "siren")).to_have_attribute("data-verdict", "wrong")
    expect(page.get_by_test_id("alarm")).to_be_hidden()
    fail(page, 500)
    row(page, "siren").get_by_test_id("event-right").click()
    expect(page.get_by_test_id("alarm")).to_contain_text("Not kept yet")
    hurried(page, 4)
    page.get_by_role("button", name="Send again").wait_for()
    page.get_by_role("button", name="Close this message").click()
    assert page.evaluate(LEAVES) and sorted(said(page)) == [("rain", "right"), ("siren", "wrong")]


def test_what_waits_outlives_a_reload(page: Any) -> None:
    fail(page, 503)
    row(page, "siren").get_by_test_id("event-wrong").click()
    row(page, "rain").get_by_test_id("event-right").click()
    page.get_by_test_id("undo").click()  # it was not sent yet: it never is
    expect(page.get_by_test_id("alarm")).to_contain_text("Not kept yet (siren wrong): no luck")
    page.unroute_all()
    page.on("dialog", lambda asked: asked.accept())
    page.reload()
    ready(page)
    expect(row(page, "siren")).to_have_attribute("data-verdict", "wrong")
    assert said(page) == [("siren", "wrong")]
    page.get_by_test_id("undo").click()
    expect(row(page, "siren")).to_have_attribute("data-verdict", "")


def test_after_a_click_space_plays_and_presses_only_what_the_keyboard_reached(page: Any) -> None:
    playing = "!document.querySelector('audio').paused"
    row(page, "siren").get_by_test_id("event-right").click()
    expect(row(page, "siren")).to_have_attribute("data-verdict", "right")
    page.keyboard.press("Space")
    until(page, playing)
    page.keyboard.press("Space")
    until(page, f"!({playing})")
    page.get_by_test_id("zoom-in").click()
    where = page.get_by_test_id("zoom-fit").evaluate("() => location.hash")
    page.keyboard.press("Space")
    until(page, playing)
    row(page, "siren").get_by_test_id("event-play").click()
    until(page, playing)
    page.keyboard.press("Space")
    until(page, f"!({playing})")
    assert said(page) == [("siren", "right")] and "from=" not in where
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # "Right", reached by the keyboard
    expect(row(page, "siren")).to_have_attribute("data-verdict", "")


def test_uploads_wait_for_a_busy_service_and_folders_give_their_files(
    page: Any, short: Path, tmp_path: Path
) -> None:
    before = page.get_by_test_id("recording-link").count()
    asked: list[str] = []

    def busy(route: Any) -> None:
        if route.request.method != "POST":
            return route.continue_()
        asked.append(route.request.url)
        if len(asked) > 1:
            return route.continue_()
        answer = {"error": "72 recordings wait already"}
        return route.fulfill(status=429, headers={"Retry-After": "1"}, json=answer)

    page.route("**/v1/recordings", busy)
    folder = tmp_path / "night"
    (folder / "deeper").mkdir(parents=True)
    (folder / "a.wav").write_bytes(short.read_bytes())
    (folder / "deeper" / "b.wav").write_text("no sound at all\n" * 50)
    (folder / "notes.txt").write_text("what was heard")
    drag = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        drag.send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 400, "data": data})
    line = "a.wav and 1 more: 72 recordings wait already. It is tried again by itself."
    expect(page.get_by_test_id("alarm")).to_have_text(re.compile(f"^{re.escape(line)}"))
    expect(page.get_by_test_id("recording-link")).to_have_count(before + 2)
    expect(page.get_by_test_id("alarm")).to_be_hidden()
    assert len(asked) == 3
    # Of what cannot be tagged the list says why.
    reason = page.get_by_test_id("recording-link").filter(has_text="b.wav")
    expect(reason).to_contain_text("Could not be tagged: is text, not a recording")
    for name in ("a.wav", "b.wav"):
        page.get_by_test_id("recording-link").filter(has_text=name).click()
        expect(page.get_by_test_id("recording-link").filter(has_text=name)).to_have_attribute(
            "aria-current", "page"
        )


def test_a_part_of_a_sound_can_be_called_wrong_and_its_rests_have_their_own_scores(
    page: Any, tmp_path: Path
) -> None:
    siren = page.locator("tr[data-label=siren]")

    def span(start: float, end: float, label: str) -> None:
        select(page, start / 26, end / 26)
        page.get_by_test_id("bar-label").fill(label)

    page.get_by_test_id("threshold").fill("0.05")
    expect(page.get_by_test_id("event")).not_to_have_count(3)
    span(11, 12, "SIREN")  # the model's own spelling is taken
    page.get_by_test_id("bar-deny").click()
    expect(siren.and_(page.locator("[data-verdict=wrong]"))).to_have_count(1)
    expect(siren.nth(0).locator("td").nth(2)).not_to_have_text("–")
    with saved(page, "csv", tmp_path).open(newline="") as file:
        exported = [one for one in csv.DictReader(file) if one["label"] == "siren"]
    unjudged = siren.and_(page.locator("[data-verdict='']"))
    expect(unjudged).to_have_count(len(exported))
    cells = unjudged.evaluate_all("rows => rows.map((row) => row.cells[2].innerText)")
    assert cells == [f"{float(one['score']):.2f}" for one in exported]
    assert len({one["score"] for one in exported}) == len(exported) >= 2
    page.get_by_test_id("undo").click()
    expect(siren.and_(page.locator("[data-verdict=wrong]"))).to_have_count(0)
    span(11, 12, "Siren")
    page.keyboard.press("Enter")  # where it is heard already, that is right
    expect(siren.and_(page.locator("[data-verdict=right]"))).to_have_count(1)
    assert said(page) == [("siren", "right")]
    span(2, 3, "helicopter")
    page.get_by_test_id("bar-deny").click()
    expect(page.get_by_test_id("alarm")).to_contain_text("helicopter is not among the sounds there")
