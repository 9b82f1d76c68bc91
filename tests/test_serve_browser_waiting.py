"""The page in a real browser while the service cannot take what is said: it waits, is shown, and is sent."""

import csv
import re
from pathlib import Path
from typing import Any

from browsing import (
    CHROMIUM,
    at_a_recording,
    expect,
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


heard, page = at_a_recording(FAILED)


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
    row(page, "clock_tick").get_by_test_id("event-wrong").click()
    expect(row(page, "clock_tick")).to_have_attribute("data-verdict", "wrong")
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
    expect(undo).to_have_attribute("title", "Undo: clock_tick wrong")
    hurried(page, 5)
    page.unroute_all()
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(alarm).to_be_hidden(timeout=5000)
    assert said(page) == [("clock_tick", "wrong")] and rows(page).count(("siren", "")) == 1
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
    row(page, "clock_tick").get_by_test_id("event-right").click()
    expect(page.get_by_test_id("alarm")).to_contain_text(
        "Not kept yet (siren wrong, clock_tick right): no luck"
    )
    hurried(page, 4)
    expect(page.get_by_test_id("alarm")).to_contain_text("“siren wrong” was not kept: no luck")
    page.unroute_all()
    expect(row(page, "clock_tick")).to_have_attribute("data-verdict", "right")  # it goes on
    assert said(page) == [("clock_tick", "right")] and not page.evaluate(LEAVES)
    page.get_by_role("button", name="Send again").click()
    expect(row(page, "siren")).to_have_attribute("data-verdict", "wrong")
    expect(page.get_by_test_id("alarm")).to_be_hidden()
    fail(page, 500)
    row(page, "siren").get_by_test_id("event-right").click()
    expect(page.get_by_test_id("alarm")).to_contain_text("Not kept yet")
    hurried(page, 4)
    page.get_by_role("button", name="Send again").wait_for()
    page.get_by_role("button", name="Close this message").click()
    assert page.evaluate(LEAVES) and sorted(said(page)) == [("clock_tick", "right"), ("siren", "wrong")]


def test_what_waits_outlives_a_reload(page: Any) -> None:
    fail(page, 503)
    row(page, "siren").get_by_test_id("event-wrong").click()
    row(page, "clock_tick").get_by_test_id("event-right").click()
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


def held(page: Any) -> list[str]:
    """What this tab would send after a reload."""
    script = "JSON.parse(Object.entries(sessionStorage).find(([key]) => /auricle/.test(key))?.[1] ?? '[]')"
    return [one["what"] for one in page.evaluate(script)]


def stuck(page: Any, click: Any) -> None:
    """Say something that the service fails at until it is set aside."""
    click()
    hurried(page, 4)
    page.get_by_role("button", name="Send again").last.wait_for()


def test_what_is_wished_anew_of_a_row_takes_the_place_of_what_is_stuck(page: Any) -> None:
    alarm, again = page.get_by_test_id("alarm"), page.get_by_role("button", name="Send again")
    siren = row(page, "siren")
    fail(page, 500)
    stuck(page, siren.get_by_test_id("event-wrong").click)
    page.unroute_all()
    siren.get_by_test_id("event-right").click()
    expect(siren).to_have_attribute("data-verdict", "right")
    expect(alarm).to_be_hidden()
    assert page.evaluate(LEAVES) and held(page) == []
    page.reload()
    ready(page)
    assert said(page) == [("siren", "right")]
    fail(page, 500)
    stuck(page, siren.get_by_test_id("event-wrong").click)
    stuck(page, siren.get_by_test_id("event-right").click)  # taken back: one message, of what was said last
    expect(alarm).to_have_text(re.compile("^“siren no longer right” was not kept: no luck"))
    assert held(page) == ["siren no longer right"]
    page.unroute_all()
    again.click()
    expect(siren).to_have_attribute("data-verdict", "")
    expect(alarm).to_be_hidden()
    assert said(page) == [] and held(page) == []


def test_two_undos_that_are_stuck_have_each_a_message_and_a_button(page: Any) -> None:
    alarm = page.get_by_test_id("alarm")
    for label in ("siren", "clock_tick"):
        row(page, label).get_by_test_id("event-right").click()
        expect(row(page, label)).to_have_attribute("data-verdict", "right")
    fail(page, 500)
    for label in ("clock_tick", "siren"):
        stuck(page, page.get_by_test_id("undo").click)
        expect(alarm).to_contain_text(f"“{label} right” was not undone: no luck")
    page.unroute_all()
    own = alarm.locator("div").filter(has_text="siren right")
    own.get_by_role("button", name="Send again").click()
    expect(row(page, "siren")).to_have_attribute("data-verdict", "")
    assert said(page) == [("clock_tick", "right")]
    page.get_by_role("button", name="Send again").click()
    expect(row(page, "clock_tick")).to_have_attribute("data-verdict", "")
    expect(alarm).to_be_hidden()
    assert said(page) == [] and held(page) == []


def test_said_undone_and_said_again_is_said(page: Any) -> None:
    alarm, undo = page.get_by_test_id("alarm"), page.get_by_test_id("undo")
    right = row(page, "clock_tick").get_by_test_id("event-right")

    def add() -> None:
        select(page, 2 / 26, 3 / 26)
        page.get_by_test_id("bar-label").fill("my thing")
        page.keyboard.press("Enter")

    for say, what in ((right.click, "clock_tick right"), (add, "my thing added")):
        fail(page, 503)
        say()
        expect(alarm).to_contain_text(f"({what}): no luck")
        undo.click()
        expect(alarm).to_contain_text(f"({what}, undo of {what})")
        expect(right).not_to_have_attribute("aria-busy", "true")
        say()
        expect(alarm).to_contain_text(f"({what}): no luck")
        page.unroute_all()
        page.get_by_role("button", name="Send now").click()
        expect(alarm).to_be_hidden()
    expect(page.locator("tr[data-label='my thing']")).to_have_count(1)
    assert said(page) == [("clock_tick", "right"), ("my thing", "added")]
    # Also while the service is well, and slow.
    page.route("**/corrections**", lambda route: page.wait_for_timeout(300) or route.continue_())
    wrong = row(page, "siren").get_by_test_id("event-wrong")
    wrong.click(no_wait_after=True)
    undo.click(no_wait_after=True)
    wrong.click(no_wait_after=True)
    until(page, "Object.keys(sessionStorage).every((key) => !/auricle/.test(key))")
    assert ("siren", "wrong") in said(page)


def test_an_undo_outlives_a_reload_though_nobody_knew_whether_the_service_had_taken_it(page: Any) -> None:
    page.on("dialog", lambda asked: asked.accept())
    undo = page.get_by_test_id("undo")
    taken: list[Any] = []

    def away(route: Any) -> None:
        if route.request.method == "POST" and not taken:
            taken.append(route.fetch())
        return route.abort() if taken else route.continue_()

    def broken(route: Any) -> None:  # the answer is lost, and what is asked later is refused for a while
        if route.request.method == "GET":
            return route.continue_()
        if route.request.method == "POST" and not taken:
            taken.append(route.fetch())
        return route.abort()

    for trouble in (away, broken):
        taken.clear()
        page.route("**/corrections**", trouble)
        row(page, "clock_tick").get_by_test_id("event-right").click()
        expect(page.get_by_test_id("alarm")).to_contain_text("Not kept yet (clock_tick right)")
        undo.click()
        expect(page.get_by_test_id("alarm")).to_contain_text("undo of clock_tick right")
        page.unroute_all()
        if trouble is broken:
            fail(page, 0)
            page.get_by_role("button", name="Send now").click()
            expect(page.get_by_test_id("alarm")).to_contain_text("Not kept yet (undo of clock_tick right)")
            page.unroute_all()
        page.reload()
        ready(page)
        expect(row(page, "clock_tick")).to_have_attribute("data-verdict", "")
        until(page, "Object.keys(sessionStorage).every((key) => !/auricle/.test(key))")
        assert said(page) == [] and len(taken) == 1
        expect(undo).to_be_disabled()


def test_a_page_that_wakes_from_the_browsers_memory_sends_nothing_twice(
    browser: Any, address: str, heard: dict[str, Any]
) -> None:
    flags = ["--no-sandbox", "--disable-dev-shm-usage"]
    remembers = {"executable_path": CHROMIUM, "args": flags}
    other = browser.browser_type.launch(ignore_default_args=["--disable-back-forward-cache"], **remembers)
    with returning(other, address, heard, allowed=FAILED) as page:
        shown(page, heard)
        page.on("dialog", lambda asked: asked.accept())
        page.evaluate("""() => {
            const real = fetch;
            const fails = (about) => about?.method && sessionStorage.away;
            const away = () => Promise.reject(new TypeError("away"));
            window.fetch = (path, about) => (fails(about) ? away() : real(path, about));
            sessionStorage.away = window.isOld = "yes";
        }""")
        row(page, "siren").get_by_test_id("event-wrong").click()
        expect(page.get_by_test_id("alarm")).to_contain_text("Not kept yet (siren wrong)")
        page.goto(page.url.replace("#", "?later#"))
        expect(row(page, "siren")).to_have_attribute("data-verdict", "wrong")
        page.evaluate("delete sessionStorage.away")
        row(page, "siren").get_by_test_id("event-right").click()
        expect(row(page, "siren")).to_have_attribute("data-verdict", "right")
        page.go_back(wait_until="commit")
        until(page, "window.isOld === 'yes'")  # it is the same page as before
        expect(page.get_by_test_id("alarm")).to_be_hidden()
        page.evaluate("dispatchEvent(new Event('focus'))")
        page.wait_for_timeout(1000)
        assert said(page) == [("siren", "right")]
        expect(row(page, "siren")).to_have_attribute("data-verdict", "right")
    other.close()


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
    page.wait_for_timeout(450)  # the same again sooner is a double click
    page.keyboard.press("Space")  # "Right", reached by the keyboard
    expect(row(page, "siren")).to_have_attribute("data-verdict", "")


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
    page.get_by_test_id("undo").click()
    expect(siren.and_(page.locator("[data-verdict=right]"))).to_have_count(0)
    # One score that the service fails at does not hold back the others.
    first: list[str] = []

    def fails(route: Any) -> None:
        first.append(route.request.url)
        if route.request.url == first[0]:
            return route.fulfill(status=500, json={"error": "no luck"})
        return route.continue_()

    page.route(re.compile("scores.*columns=1&"), fails)
    span(12, 12.6, "siren")
    page.get_by_test_id("bar-deny").click()
    expect(siren.and_(page.locator("[data-verdict=wrong]"))).to_have_count(1)
    missing = "[...document.querySelectorAll('tr[data-label=siren]')].map((row) => row.cells[2].innerText)"
    until(page, f"{missing}.filter((score) => score === '–').length === 1")
    page.unroute_all()
    # An added label that is cut in two goes whole.
    span(16, 20, "kettle")
    page.keyboard.press("Enter")
    kettle = page.locator("tr[data-label=kettle]")
    expect(kettle).to_have_count(1)
    span(17, 18, "kettle")
    page.get_by_test_id("bar-deny").click()
    expect(kettle).to_have_count(3)
    kettle.first.get_by_test_id("event-remove").click()
    expect(kettle.and_(page.locator("[data-verdict=added]"))).to_have_count(0)
    assert ("kettle", "added") not in said(page)
    span(2, 3, "helicopter")
    page.get_by_test_id("bar-deny").click()
    expect(page.get_by_test_id("alarm")).to_contain_text("helicopter is not among the sounds there")
