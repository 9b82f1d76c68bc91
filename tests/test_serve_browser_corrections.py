"""What a visitor says of sounds, in a browser: said once, taken back, shown as it is exported."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import (
    asked,
    at_a_recording,
    expect,
    needs_chromium,
    ready,
    returning,
    row,
    rows,
    said,
    saved,
    seconds,
    select,
    shown,
    until,
)
from serving import served

from auricle.artifact import load_artifact, save_changed

pytestmark = needs_chromium

# Has a label's row a line under it, at a share of the width? Dark on light.
LINED = """(name, share) => {
    const canvas = document.getElementById("picture"), plot = canvas.getBoundingClientRect();
    const row = [...document.querySelectorAll(".gutter-row")].find((one) => one.textContent === name);
    const bottom = row.getBoundingClientRect().bottom - plot.top - 4;
    const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, share * canvas.width, bottom, 1, 1, 0, 0, 1, 1);
    const pixel = copy.getImageData(0, 0, 1, 1).data;
    return pixel[0] + pixel[1] + pixel[2] < 150;
}"""


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a service whose model has no thresholds: the slider alone says what is shown."""
    loaded, path = load_artifact("default"), tmp_path_factory.mktemp("plain") / "model"
    save_changed(loaded, path, thresholds=None, metrics={})
    given = ("--model", str(path), "--data", str(tmp_path_factory.mktemp("data")), "--threads", "1")
    with served(*given) as (address, _):
        yield address + "/"


heard, page = at_a_recording()


def add_label(page: Any, label: str, start: float, end: float) -> None:
    select(page, start, end)
    page.get_by_test_id("bar-label").fill(label)
    page.keyboard.press("Enter")
    expect(page.locator(f"tr[data-label='{label}'][data-verdict=added]")).to_have_count(1)


def names(page: Any) -> list[str]:
    """The rows of the time-line."""
    return page.locator(".gutter-row").all_inner_texts()


def zoomed(page: Any, start: float, end: float) -> None:
    """Go to these seconds, as a link does."""
    until(page, "location.hash.startsWith('#r=')")
    script = "([from, to]) => { const at = new URLSearchParams(location.hash.slice(1)); at.set('from', from);"
    page.evaluate(script + " at.set('to', to); location.hash = at; }", [start, end])
    expect(page.get_by_test_id("rows-in-view")).to_be_visible()
    until(page, f"location.hash.includes('from={start:.2f}&to={end:.2f}')")  # as the page itself puts it


def test_a_second_verdict_replaces_the_first_and_undo_gives_that_back(page: Any) -> None:
    page.route("**/corrections", lambda route: page.wait_for_timeout(200) or route.continue_())
    row(page, "siren").get_by_test_id("event-right").click(no_wait_after=True)
    row(page, "siren").get_by_test_id("event-wrong").click()  # before the service has answered
    expect(row(page, "siren")).to_have_attribute("data-verdict", "wrong")
    assert said(page) == [("siren", "wrong")]
    page.get_by_test_id("undo").click()
    expect(row(page, "siren")).to_have_attribute("data-verdict", "right")
    assert said(page) == [("siren", "right")]
    page.get_by_test_id("undo").click()
    expect(row(page, "siren")).to_have_attribute("data-verdict", "")
    assert said(page) == []
    expect(page.get_by_test_id("undo")).to_be_disabled()


def test_a_double_click_or_a_key_that_is_held_says_it_once(page: Any) -> None:
    row(page, "siren").get_by_test_id("event-right").dblclick()
    expect(row(page, "siren")).to_have_attribute("data-verdict", "right")
    row(page, "clock_tick").get_by_test_id("event-wrong").focus()
    for _ in range(4):
        page.keyboard.down("Enter")
        page.wait_for_timeout(150)
    page.keyboard.up("Enter")
    page.locator("tr[data-label=dog]").get_by_test_id("event-play").click()
    for _ in range(4):
        page.keyboard.down("r")
        page.wait_for_timeout(150)
    page.keyboard.up("r")
    expect(row(page, "dog")).to_have_attribute("data-verdict", "right")
    assert said(page) == [("siren", "right"), ("clock_tick", "wrong"), ("dog", "right")]
    row(page, "siren").get_by_test_id("event-right").click()  # later, it is a change of mind
    expect(row(page, "siren")).to_have_attribute("data-verdict", "")


def test_what_could_not_be_undone_can_be_undone_later(page: Any) -> None:
    row(page, "siren").get_by_test_id("event-wrong").click()
    expect(row(page, "siren")).to_have_attribute("data-verdict", "wrong")
    refusal = {"status": 400, "json": {"error": "the disk is full"}}
    page.route("**/corrections/*", lambda route: route.fulfill(**refusal))
    page.get_by_test_id("undo").click()
    expect(page.get_by_test_id("alarm")).to_contain_text("“siren wrong” was not undone: the disk is full")
    expect(page.get_by_test_id("undo")).to_be_enabled()
    page.unroute("**/corrections/*")
    page.get_by_test_id("undo").click()
    expect(row(page, "siren")).to_have_attribute("data-verdict", "")
    expect(page.get_by_test_id("alarm")).to_be_hidden()
    assert said(page) == []


def test_what_another_window_says_is_shown_and_what_it_took_back_is_not_undone_for_ever(
    browser: Any, address: str, heard: dict[str, Any]
) -> None:
    with returning(browser, address, heard, allowed="Failed to load resource: .+ 404 ") as page:
        shown(page, heard)
        row(page, "siren").get_by_test_id("event-right").click()
        expect(row(page, "siren")).to_have_attribute("data-verdict", "right")
        row(page, "siren").get_by_test_id("event-wrong").click()
        expect(row(page, "siren")).to_have_attribute("data-verdict", "wrong")
        other = page.context.new_page()
        other.goto(page.url)
        row(other, "siren").get_by_test_id("event-wrong").click()
        expect(row(other, "siren")).to_have_attribute("data-verdict", "")
        row(other, "clock_tick").get_by_test_id("event-wrong").click()
        expect(row(other, "clock_tick")).to_have_attribute("data-verdict", "wrong")
        other.close()
        page.get_by_test_id("undo").click()
        expect(page.get_by_test_id("alarm")).to_contain_text("“siren wrong” was not undone")
        expect(row(page, "clock_tick")).to_have_attribute("data-verdict", "wrong")
        expect(row(page, "siren")).to_have_attribute("data-verdict", "")
        page.get_by_test_id("undo").click()  # the step before it: taken back is taken back
        expect(page.get_by_test_id("undo")).to_be_disabled()
        expect(page.get_by_test_id("alarm")).to_be_hidden()


def test_at_every_threshold_the_table_is_what_is_exported(page: Any, tmp_path: Path) -> None:
    page.get_by_test_id("threshold").fill("0.70")
    with page.expect_response("**/events?*threshold=0.70"):
        pass
    row(page, "dog").get_by_test_id("event-wrong").click()
    row(page, "siren").get_by_test_id("event-right").click()
    add_label(page, "door_wood_creaks", 0.46, 0.6)
    for threshold in ("0.05", "0.20", "0.50", "0.95"):
        page.get_by_test_id("threshold").fill(threshold)
        with page.expect_response(f"**/events?*threshold={threshold}"):
            pass
        page.wait_for_timeout(100)
        script = (
            """rows => rows.map(row => [row.dataset.label, row.dataset.verdict, row.cells[0].innerText])"""
        )
        shown = page.get_by_test_id("event").evaluate_all(script)
        table = sorted((label, *seconds(span)) for label, verdict, span in shown if verdict != "wrong")
        with saved(page, "csv", tmp_path).open(newline="") as file:
            exported = sorted((e["label"], float(e["start"]), float(e["end"])) for e in csv.DictReader(file))
        assert [one[0] for one in table] == [one[0] for one in exported], threshold
        assert [one[1:] for one in table] == [pytest.approx(one[1:], abs=0.051) for one in exported], (
            threshold
        )
    # The barks are longer at the lowest threshold: what was not said to be wrong is listed beside it.
    page.get_by_test_id("threshold").fill("0.05")
    expect(page.locator("tr[data-label=dog]")).to_have_count(2)
    page.locator("tr[data-label=dog][data-verdict=wrong]").get_by_test_id("event-wrong").click()
    expect(page.locator("tr[data-label=dog]")).to_have_count(1)


def test_an_added_label_that_the_model_does_not_have_has_a_row(page: Any) -> None:
    page.set_viewport_size({"width": 1280, "height": 740})
    add_label(page, "Kettle drum", 0.7, 0.8)
    focused = "document.activeElement.closest('tr')?.dataset.label"
    until(page, f"{focused} === 'Kettle drum'")  # where one goes on from
    assert page.evaluate("scrollY") < 100  # not far from where one is at work
    assert names(page)[-1] == "Kettle drum"
    bar, own = page.get_by_test_id("bar").bounding_box(), page.locator(".gutter-row").last.bounding_box()
    assert own["y"] + own["height"] <= bar["y"]  # not behind it
    listed = page.get_by_test_id("label").filter(has_text="Kettle drum")
    hear = listed.get_by_test_id("label-hear")
    expect(hear).to_have_attribute("aria-label", "Hear Kettle drum, which was added")
    page.get_by_test_id("bar-close").click()
    box = page.get_by_test_id("plot").bounding_box()
    bottom = page.locator(".gutter-row").last.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, bottom["y"] + 8)
    expect(page.get_by_test_id("bar-name")).to_have_text("Kettle drum")
    until(page, "document.querySelector('audio').currentTime > 18.3")
    assert "Kettle drum" in page.get_by_test_id("plot").get_attribute("aria-valuetext")

    page.get_by_test_id("filter").fill("KETTLE")
    expect(page.locator(".gutter-row")).to_have_count(1)
    listed.get_by_test_id("label-tick").check()
    page.get_by_test_id("filter").fill("")
    expect(page.locator(".gutter-row")).to_have_count(1)
    assert rows(page) == [("Kettle drum", "added")]
    until(page, "location.hash.includes('own=Kettle%20drum')")
    page.reload()
    ready(page)
    expect(page.locator(".gutter-row")).to_have_text(["Kettle drum"])
    expect(page.get_by_test_id("alarm")).to_be_hidden()
    row(page, "Kettle drum").get_by_test_id("event-remove").click()
    expect(page.locator(".gutter-row").filter(has_text="Kettle drum")).to_have_count(0)
    expect(page.get_by_test_id("event")).not_to_have_count(0)  # nothing is ticked any more


def test_rows_can_follow_what_is_in_view_but_not_under_the_pointer(page: Any) -> None:
    expect(page.get_by_test_id("rows-in-view")).to_be_hidden()
    whole = names(page)
    zoomed(page, 21.5, 24.5)
    assert names(page) == whole
    page.get_by_test_id("rows-in-view").click()
    expect(page.locator(".gutter-row").first).not_to_have_text(whole[0])
    [first, *_] = names(page)
    assert len(names(page)) == len(whole)
    box = page.get_by_test_id("plot").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 250)
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")
    page.wait_for_timeout(1500)
    assert names(page)[0] == first
    page.mouse.move(box["x"] + 300, box["y"] + 50)
    expect(page.locator(".gutter-row").first).not_to_have_text(first)
    page.get_by_test_id("zoom-fit").click()
    expect(page.locator(".gutter-row")).to_have_text(whole)


def test_a_click_on_the_open_recording_changes_nothing(page: Any) -> None:
    row(page, "siren").get_by_test_id("event-wrong").click()
    page.get_by_test_id("threshold").fill("0.30")
    page.get_by_test_id("zoom-in").click()
    until(page, "location.hash.includes('threshold=0.30') && location.hash.includes('to=')")
    before = page.url
    page.get_by_test_id("recording-link").click()
    page.wait_for_timeout(300)
    assert page.url == before
    expect(page.get_by_test_id("undo")).to_be_enabled()
    page.reload()  # of a page that is loading, too, the place is kept
    ready(page)
    assert page.url == before


def test_of_very_many_sounds_those_in_view_are_asked_for(page: Any) -> None:
    page.route("**/events?*", lambda route: route.continue_(url=route.request.url.replace("=5000", "=6")))
    page.get_by_test_id("threshold").fill("0.05")
    whole = asked(page, "events?threshold=0.05")["events"]
    expect(page.get_by_test_id("sounds-count")).to_have_text(f"6 of {len(whole)}")
    expect(page.locator("#events-none")).to_contain_text("Zoom in")
    until(page, f"({LINED})('engine', 24 / 26) && !({LINED})('engine', 10 / 26)")  # also what is not listed
    zoomed(page, 14, 26)
    page.get_by_test_id("in-view").check()
    there = asked(page, "events?threshold=0.05&from=14&to=26")["total"]
    expect(page.get_by_test_id("sounds-count")).to_have_text(f"6 of {there}")
    zoomed(page, 21.6, 22.1)
    page.get_by_test_id("in-view").check()
    expect(page.get_by_test_id("sounds-count")).to_have_text(re.compile("^[2-5]$"))
    assert {"engine", "washing_machine"} <= {label for label, _ in rows(page)}
    page.get_by_test_id("in-view").uncheck()
    page.get_by_test_id("plot").focus()
    page.keyboard.press("Home")
    for sound in [one for one in whole if one["start"] > 0][:12]:  # far beyond the first six
        page.keyboard.press("n")
        expect(page.get_by_test_id("bar-name")).to_have_text(sound["label"])
    page.keyboard.press("Escape")
    page.keyboard.press("End")
    for sound in whole[:-4:-1]:
        page.keyboard.press("p")
        expect(page.get_by_test_id("bar-name")).to_have_text(sound["label"])


def test_on_a_phone_undo_can_be_seen_before_there_is_anything_to_undo(
    browser: Any, address: str, heard: dict[str, Any]
) -> None:
    options = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    with returning(browser, address, heard, **options) as page:
        shown(page, heard)
        undo, play = page.get_by_test_id("undo"), page.get_by_test_id("play")
        expect(undo).to_be_disabled()
        expect(undo).to_be_visible()
        page.get_by_test_id("select-mode").tap()
        for width in (320, 360):
            page.set_viewport_size({"width": width, "height": 740})
            assert undo.bounding_box()["y"] == play.bounding_box()["y"]  # in one line with the others
        page.get_by_test_id("toggle-library").tap()
        page.get_by_test_id("recording-link").tap()  # the open one: it is shown again
        expect(page.get_by_test_id("library")).to_be_hidden()


def test_what_fails_for_a_while_is_tried_again_and_the_sound_is_not_called_unplayable(
    browser: Any, address: str, heard: dict[str, Any]
) -> None:
    with returning(browser, address, heard, allowed="Failed to load resource: .+ 503 ") as page:
        failures = iter([{"status": 503, "json": {"error": "too much to do"}}])
        fail = lambda route: route.fulfill(**one) if (one := next(failures, None)) else route.continue_()  # noqa: E731
        page.route("**/events?*", fail)
        page.route(
            "**/media", lambda route: route.fulfill(status=503, json={"error": "no room to convert it"})
        )
        shown(page, heard)
        expect(page.get_by_test_id("alarm")).to_contain_text("It cannot be played now: no room to convert it")
        page.unroute("**/media")
        page.get_by_test_id("play").click()
        until(page, "document.querySelector('audio').currentTime > 0.1")
        expect(page.get_by_test_id("alarm")).to_be_hidden()
