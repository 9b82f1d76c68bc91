"""The page in a browser of many shapes: nothing lies off a phone, names are whole, rows can be touched."""

from typing import Any

from browsing import at_a_recording, expect, needs_chromium, ready, returning, row, shown, until

pytestmark = needs_chromium

LONG = "a_sound_of_my_own_with_a_name_that_goes_on_and_on_and_on"
PHONE = {"has_touch": True, "is_mobile": True}
WIDER = "document.documentElement.scrollWidth > innerWidth"
# Which words are broken: a letter of them lies lower than the one before, though no line may end there.
BROKEN = r"""rows => rows.flatMap((row) => {
    const text = document.createTreeWalker(row.querySelector(".label"), NodeFilter.SHOW_TEXT);
    const range = document.createRange(), broken = [];
    for (let node = text.nextNode(); node; node = text.nextNode()) {
        const tops = [...node.data.trimEnd()].map((_, at) => {
            range.setStart(node, at);
            range.setEnd(node, at + 1);
            return range.getBoundingClientRect().top;
        });
        if (tops.some((top) => Math.abs(top - tops[0]) > 3)) broken.push(node.data);
    }
    return broken;
})"""


heard, page = at_a_recording()


def say(page: Any, heard: dict[str, Any], label: str, start: float, end: float) -> None:
    """Add a label, as a program does."""
    address = f"{page.url.split('#')[0]}v1/recordings/{heard['recording']}/corrections"
    said = {"label": label, "start": start, "end": end, "verdict": "added"}
    assert page.request.post(address, data=said).status == 201


def test_on_phones_nothing_lies_off_the_screen(browser: Any, address: str, heard: dict[str, Any]) -> None:
    options = PHONE | {"viewport": {"width": 390, "height": 740}}
    with returning(browser, address, heard, **options) as page:
        shown(page, heard)
        say(page, heard, LONG, 3, 4)
        say(page, heard, "door_wood_creaks", 18, 19)
        say(page, heard, "thunderstorm", 20, 21)  # the longest name without a place to break at
        page.reload()
        ready(page)
        for width in (390, 360, 320):
            page.set_viewport_size({"width": width, "height": 740})
            page.get_by_test_id("threshold").fill("0.30")  # its value is a number, or the words for none
            for _ in range(2):
                page.wait_for_timeout(100)
                assert not page.evaluate(WIDER), width
                scroller = "document.querySelector('.sounds .scroller')"
                assert page.evaluate(f"{scroller}.scrollWidth <= {scroller}.clientWidth"), width
                page.get_by_test_id("threshold-own").tap()
            broken = ["thunderstorm"] if width == 320 else []  # there it has no room in one line
            assert page.locator("#events tr").evaluate_all(BROKEN) == broken, width
            page.get_by_test_id("export").tap()
            within(page, "#export-list", width)
            assert not page.evaluate(WIDER), width
            page.keyboard.press("Escape")
            page.get_by_test_id("help-open").tap()
            within(page, "#help", width)
            page.get_by_test_id("help-close").tap()
            page.get_by_test_id("event-play").first.tap()
            within(page, "#bar", width)
            page.get_by_test_id("bar-close").tap()


def within(page: Any, what: str, width: int) -> None:
    box = page.locator(what).bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width, (what, width, box)


def test_a_very_long_label_is_cut_and_its_tip_is_whole(page: Any, heard: dict[str, Any]) -> None:
    page.set_viewport_size({"width": 390, "height": 740})
    own = "A" * 55 + " " + "b" * 40
    say(page, heard, own, 3, 4)
    page.reload()
    ready(page)
    assert row(page, own).bounding_box()["height"] < 90
    assert row(page, own).locator(".label span").get_attribute("title") == own
    assert not page.evaluate(WIDER)


def test_a_click_on_a_row_is_a_click_on_its_time_and_one_on_its_buttons_is_not(page: Any) -> None:
    row(page, "siren").locator(".label").click()
    expect(page.get_by_test_id("bar-name")).to_have_text("siren")
    expect(row(page, "siren")).to_have_attribute("aria-current", "true")
    until(page, "!document.querySelector('audio').paused")
    row(page, "clock_tick").get_by_test_id("event-wrong").click()
    expect(row(page, "clock_tick")).to_have_attribute("data-verdict", "wrong")
    expect(page.get_by_test_id("bar-name")).to_have_text("siren")
    row(page, "clock_tick").locator("td").nth(2).click()
    expect(page.get_by_test_id("bar-name")).to_have_text("clock_tick")
    assert page.locator("#events tr").first.locator("button").count() == 3  # by keyboard as before
    assert page.locator("#events tr").first.get_attribute("tabindex") is None


def test_fine_pieces_of_the_picture_are_asked_for_once_the_view_rests(page: Any) -> None:
    page.get_by_test_id("plot").focus()
    for _ in range(5):
        page.keyboard.press("+")
    page.wait_for_timeout(600)
    pieces: list[str] = []
    page.on("request", lambda asked: "/spectrogram/" in asked.url and pieces.append(asked.url))
    # All of the way in small steps, as a hand drags the frame.
    script = """async () => {
        const frame = document.getElementById("window"), box = frame.parentElement.getBoundingClientRect();
        const tell = (name, x) =>
            frame.dispatchEvent(new PointerEvent(name, { pointerId: 1, clientX: x, clientY: box.top + 9 }));
        frame.setPointerCapture = () => {};
        const first = frame.getBoundingClientRect().left + 2;
        tell("pointerdown", first);
        for (let x = first; x < box.right; x += 24) {
            tell("pointermove", x);
            await new Promise((resolve) => setTimeout(resolve, 5));
        }
        tell("pointerup", box.right);
    }"""
    page.evaluate(script)
    page.wait_for_timeout(400)
    assert 1 <= len(pieces) <= 4, len(pieces)


def test_of_very_many_labels_the_first_are_listed_and_the_others_are_counted(page: Any) -> None:
    more = [{"index": None, "label": f"label {n}", "score": 0.0, "time": 0.0} for n in range(1200)]
    page.route("**/labels", lambda r: r.fulfill(json={"labels": r.fetch().json()["labels"] + more}))
    page.reload()
    ready(page)
    expect(page.get_by_test_id("labels-list")).to_contain_text("1,190 more: type to find them")
