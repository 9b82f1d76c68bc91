"""What the page says in a browser when something is refused or lost: nothing that was said is lost."""

import re
from pathlib import Path
from typing import Any

from browsing import at_a_recording, expect, needs_chromium, ready, row, said, saved, until

pytestmark = needs_chromium

FAILED = "Failed to load resource: (net::|.+ (404|429|503) )"
LINES = "document.querySelectorAll('#alarm p').length"


heard, page = at_a_recording(FAILED)


def lines(page: Any) -> list[str]:
    """The messages that are shown."""
    found: list[str] = page.locator("#alarm p").all_inner_texts()
    return found


# ---- messages -----------------------------------------------------------------------------------------


def test_a_message_stands_until_its_own_cause_is_gone_or_it_is_closed(page: Any) -> None:
    refusal = {"status": 400, "json": {"error": "the clock is wrong"}}
    page.route(
        "**/corrections", lambda r: r.fulfill(**refusal) if r.request.method == "POST" else r.continue_()
    )
    row(page, "siren").get_by_test_id("event-wrong").click()
    expect(page.get_by_test_id("alarm")).to_contain_text("“siren wrong” was not kept: the clock is wrong")
    row(page, "clock_tick").get_by_test_id("event-right").click()
    until(page, f"{LINES} === 2")
    page.route(re.compile("/(peaks|scores)"), lambda route: route.abort())
    page.get_by_test_id("plot").focus()
    for _ in range(6):
        page.keyboard.press("+")
        page.wait_for_timeout(100)
    until(page, f"{LINES} === 3")
    assert "The picture is not whole" in lines(page)[2]
    page.unroute_all()
    until(page, f"{LINES} === 2")  # the picture is whole again: no more than that
    row(page, "clock_tick").get_by_test_id("event-right").click()
    until(page, f"{LINES} === 1")  # what was said now is kept
    assert lines(page) == ["“siren wrong” was not kept: the clock is wrong"]
    page.get_by_role("button", name="Close this message").press("Enter")
    expect(page.get_by_test_id("alarm")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "main"


# ---- what could not be said ---------------------------------------------------------------------------


def test_what_is_said_while_the_service_is_away_is_told_of_and_sent_again_in_its_order(page: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda one: "/corrections" in one.url and asked.append(one.method))
    page.context.set_offline(True)
    row(page, "siren").get_by_test_id("event-wrong").click()
    waits = row(page, "siren").get_by_test_id("event-wrong")
    expect(page.get_by_test_id("alarm")).to_contain_text(
        "Not kept yet (siren wrong): The service does not answer"
    )
    expect(waits).to_have_attribute("aria-busy", "true")
    row(page, "clock_tick").get_by_test_id("event-right").click()
    row(page, "siren").get_by_test_id("event-right").click()  # another mind
    expect(page.get_by_test_id("alarm")).to_contain_text(
        "Not kept yet (siren wrong, clock_tick right, siren right)"
    )
    assert row(page, "siren").get_attribute("data-verdict") == ""
    kept = page.evaluate(
        "() => { const gone = new Event('beforeunload', { cancelable: true }); return !dispatchEvent(gone); }"
    )
    assert kept  # who leaves is asked whether they mean it
    page.evaluate("location.hash = '#'")  # something else of the page may be looked at
    expect(page.get_by_test_id("alarm")).to_contain_text("Not kept yet")
    page.go_back()
    page.context.set_offline(False)
    ready(page)
    expect(page.get_by_test_id("alarm")).to_be_hidden()
    expect(row(page, "siren")).to_have_attribute("data-verdict", "right")
    expect(row(page, "clock_tick")).to_have_attribute("data-verdict", "right")
    assert sorted(said(page)) == [("clock_tick", "right"), ("siren", "right")]


def test_the_last_of_several_minds_is_kept_whatever_was_shown_meanwhile(page: Any) -> None:
    until(page, "document.querySelector('audio').readyState > 0")  # else it is that which fails
    siren = row(page, "siren")
    right, wrong = siren.get_by_test_id("event-right"), siren.get_by_test_id("event-wrong")

    # Nothing is shown yet, and what is being sent is what is wished last; then it is right, to stay so.
    for buttons, waits in (
        ((right, wrong, right), "(siren right)"),
        ((wrong, right), "(siren wrong, siren right)"),
    ):
        page.context.set_offline(True)
        for button in buttons:
            button.click()
        expect(page.get_by_test_id("alarm")).to_contain_text(waits)
        page.context.set_offline(False)
        expect(page.get_by_test_id("alarm")).to_be_hidden()
        until(page, "Object.keys(sessionStorage).every((key) => !/auricle/.test(key))")  # all is sent
        expect(siren).to_have_attribute("data-verdict", "right")
        assert said(page) == [("siren", "right")]


def test_of_what_the_service_took_though_its_answer_was_lost_there_is_one(page: Any) -> None:
    lost: list[Any] = []

    def lose(route: Any) -> None:
        if route.request.method != "POST" or lost:
            return route.continue_()
        lost.append(route.fetch())
        return route.abort()

    page.route("**/corrections", lose)
    row(page, "siren").get_by_test_id("event-wrong").click()
    expect(page.get_by_test_id("alarm")).to_contain_text("Not kept yet (siren wrong)")
    expect(row(page, "siren")).to_have_attribute("data-verdict", "wrong")
    expect(page.get_by_test_id("alarm")).to_be_hidden()
    assert len(lost) == 1 and said(page) == [("siren", "wrong")]
    page.get_by_test_id("undo").click()
    expect(row(page, "siren")).to_have_attribute("data-verdict", "")
    assert said(page) == []


def test_what_two_windows_say_of_one_sound_is_one_correction_and_both_show_what_is_kept(page: Any) -> None:
    other = page.context.new_page()
    other.goto(page.url)
    ready(other)
    row(page, "siren").get_by_test_id("event-right").click()
    expect(row(page, "siren")).to_have_attribute("data-verdict", "right")
    assert row(other, "siren").get_attribute("data-verdict") == ""  # it does not know yet
    row(other, "siren").get_by_test_id("event-wrong").click()
    expect(row(other, "siren")).to_have_attribute("data-verdict", "wrong")
    assert said(page) == [("siren", "wrong")]
    page.get_by_test_id("undo").click()  # of what is not there any more: the other's word stands
    expect(page.get_by_test_id("alarm")).to_contain_text(
        "“siren right” was not undone: it was changed in another window since."
    )
    expect(row(page, "siren")).to_have_attribute("data-verdict", "wrong")
    expect(page.get_by_test_id("undo")).to_be_disabled()
    assert said(page) == [("siren", "wrong")]
    # What both say is said once, and not taken back by the second.
    row(other, "clock_tick").get_by_test_id("event-right").click()
    expect(row(other, "clock_tick")).to_have_attribute("data-verdict", "right")
    row(page, "clock_tick").get_by_test_id("event-right").click()
    expect(row(page, "clock_tick")).to_have_attribute("data-verdict", "right")
    assert said(page) == [("siren", "wrong"), ("clock_tick", "right")]


# ---- exports ------------------------------------------------------------------------------------------


def test_an_export_that_is_refused_is_told_of_and_asked_for_when_the_service_says(
    page: Any, tmp_path: Path
) -> None:
    asked: list[str] = []

    def busy(route: Any) -> None:
        asked.append(route.request.url)
        if len(asked) > 1:
            return route.continue_()
        return route.fulfill(
            status=429, headers={"Retry-After": "2"}, json={"error": "16 are written already"}
        )

    page.route("**/export?**", busy)
    with page.expect_download() as waiting:
        page.get_by_test_id("export").press("Enter")
        page.get_by_test_id("export-csv").press("Enter")
        line = "“CSV, for spreadsheets” was not exported: 16 are written already. It is asked for again"
        expect(page.get_by_test_id("alarm")).to_contain_text(line)
        assert page.evaluate("document.activeElement.id") == "export"
        expect(page.get_by_test_id("export")).to_have_text("Exporting…")
        page.wait_for_timeout(500)
        assert len(asked) == 1
    assert waiting.value.suggested_filename == "scene.csv"
    assert Path(waiting.value.path()).read_text().startswith("path,")
    expect(page.get_by_test_id("alarm")).to_be_hidden()
    expect(page.get_by_test_id("export")).to_have_text("Export")
    assert len(asked) == 2


def test_an_export_from_a_service_that_is_away_is_told_of(page: Any, tmp_path: Path) -> None:
    downloads: list[Any] = []
    page.on("download", lambda one: downloads.append(one))
    row(page, "siren").get_by_test_id("event-right").click()
    expect(page.get_by_test_id("manifests")).to_be_visible()
    page.context.set_offline(True)
    page.get_by_test_id("export").click()
    page.get_by_test_id("export-parquet").click()
    line = "“Parquet, for data frames” was not exported: The service does not answer"
    expect(page.get_by_test_id("alarm")).to_contain_text(line)
    page.get_by_test_id("manifest-audio").click()
    expect(page.get_by_test_id("alarm")).to_contain_text("“Manifest with recordings, .zip” was not exported")
    assert not downloads and ready(page) is None
    page.context.set_offline(False)
    assert saved(page, "parquet", tmp_path).read_bytes().startswith(b"PAR1")
    until(page, f"{LINES} === 1")
    fetched: list[str] = []
    page.on("request", lambda one: one.resource_type == "fetch" and fetched.append(one.url))
    with page.expect_download() as waiting:  # of this nobody knows how large it is: the browser has it
        page.get_by_test_id("manifest-audio").click()
    assert waiting.value.suggested_filename == "manifest.zip" and waiting.value.url.startswith("http")
    assert Path(waiting.value.path()).read_bytes().startswith(b"PK")
    assert not any("audio=true" in url for url in fetched)  # the browser asks for it, and nobody else
    expect(page.get_by_test_id("alarm")).to_be_hidden()
