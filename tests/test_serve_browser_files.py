"""Files and folders in a real browser: dropped, refused, and waiting for a service that is away or busy."""

import re
from pathlib import Path
from typing import Any

from browsing import at_a_recording, expect, needs_chromium, returning

pytestmark = needs_chromium

FAILED = "Failed to load resource: (net::|.+ (401|429) )"


heard, page = at_a_recording(FAILED)


def dragged(page: Any, *paths: Path) -> None:
    """Drag files and folders over the page, and drop them."""
    drag = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        drag.send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 400, "data": data})


def test_of_one_drop_all_that_is_refused_is_told(page: Any, tmp_path: Path) -> None:
    (tmp_path / "single.wav").touch()
    for name in ("one", "two", "none", "nothing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ("notes.txt" if name[0] == "n" else f"{name}.wav")).touch()
    dragged(page, *(tmp_path / name for name in ("single.wav", "one", "two", "none", "nothing")))
    expect(page.locator("#alarm p")).to_have_count(4)
    lines = "\n".join(page.locator("#alarm p").all_inner_texts())
    assert all(f"{name}.wav is empty." in lines for name in ("single", "one", "two"))
    assert all(f"{name} is a folder without a recording (1 file)." in lines for name in ("none", "nothing"))


def test_files_wait_for_a_service_that_is_away_and_for_the_token(
    browser: Any, address: str, heard: dict[str, Any], short: Path
) -> None:
    with returning(browser, address, heard, allowed=FAILED) as page:
        page.on("dialog", lambda asked: asked.accept())
        links, alarm = page.get_by_test_id("recording-link"), page.get_by_test_id("alarm")
        expect(links.first).to_be_visible()
        before = links.count()
        page.route("**/v1/models", lambda route: route.abort())
        page.reload()
        expect(alarm).to_contain_text("The service does not answer")
        page.get_by_test_id("file").set_input_files(str(short))
        expect(page.get_by_test_id("status")).to_have_text("1 file will be uploaded when the service answers")
        page.unroute_all()
        expect(links).to_have_count(before + 1)
        refusal = {"status": 401, "json": {"error": "a token is needed; send the header 'Authorization'"}}
        page.route("**/v1/recordings", lambda route: route.fulfill(**refusal))
        page.get_by_test_id("file").set_input_files(str(short))
        expect(alarm).to_contain_text("short.wav: You are not logged in any more. It is sent once you are.")
        page.evaluate("dispatchEvent(new Event('focus'))")
        page.wait_for_timeout(500)
        expect(page.locator("#alarm p")).to_have_count(1)
        with page.context.expect_page() as opened:
            page.get_by_role("button", name="Log in").click()
        assert opened.value.url in ("about:blank", address + "login", address)
        opened.value.close()
        page.unroute_all()
        expect(links).to_have_count(before + 2)
        expect(alarm).to_be_hidden()


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
    dragged(page, folder)
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
