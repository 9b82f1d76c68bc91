"""axe-core's rules over all that the service shows: light and dark, desktop and phone, dialogs and menus."""

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from browsing import add, drop, expect, needs_chromium, visiting
from serving import serving

pytestmark = needs_chromium

SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
OPTIONS = {"resultTypes": ["violations"]}  # of all rules: WCAG 2 A and AA, and best practices
TOKEN = "a-token-of-more-than-32-characters"


@pytest.fixture(scope="module")
def axe() -> str:
    package = pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install auricle[dev]")
    return (resources.files(package) / "axe.min.js").read_text()


def violations(page: Any, axe: str) -> list[str]:
    """What breaks a rule of axe-core's, and where."""
    page.evaluate(axe)
    found = page.evaluate("(options) => axe.run(document, options)", OPTIONS)
    assert not found.get("error")
    return [
        f"{one['id']} ({one['help']}): {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


def choose(page: Any) -> None:
    page.get_by_test_id("event-play").first.click()
    expect(page.get_by_test_id("bar")).to_be_visible()


def listen(page: Any) -> None:
    page.goto(page.url.partition("#")[0] + "#microphone")
    expect(page.get_by_test_id("live-row").first).to_be_visible()


STATES: list[tuple[str, Callable[[Any], Any]]] = [  # one after the other
    ("a recording", lambda page: None),
    ("a sound that is chosen", choose),
    ("the menu", lambda page: page.get_by_test_id("export").click()),
    ("the dialog", lambda page: (page.keyboard.press("Escape"), page.get_by_test_id("help-open").click())),
]


def test_a_broken_rule_is_found(page: Any, axe: str) -> None:
    page.evaluate("document.getElementById('choose').textContent = ''")
    found = violations(page, axe)
    assert len(found) == 1 and found[0].startswith("button-name")


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        ("phone", "dark"),
        pytest.param("desktop", "light", marks=pytest.mark.slow),
        pytest.param("desktop", "dark", marks=pytest.mark.slow),
        pytest.param("phone", "light", marks=pytest.mark.slow),
    ],
)
def test_the_page_breaks_no_rule(
    browser: Any, address: str, axe: str, size: str, scheme: str, short: Path
) -> None:
    found = {}
    with visiting(browser, address, **SIZES[size], color_scheme=scheme) as page:
        found["start"] = violations(page, axe)
        add(page, short)
        for name, enter in STATES:
            enter(page)
            found[name] = violations(page, axe)
        page.get_by_test_id("help-close").click()
        if size == "phone":
            page.get_by_test_id("toggle-library").click()
            found["the list"] = violations(page, axe)
        drop(page, "broken.wav", b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(500))
        expect(page.get_by_test_id("failure")).to_be_visible()
        found["what could not be tagged"] = violations(page, axe)
        listen(page)
        found["the microphone"] = violations(page, axe)
        page.get_by_test_id("home").click()
        found["the microphone elsewhere"] = violations(page, axe)
    assert not {name: broken for name, broken in found.items() if broken}


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_the_login_breaks_no_rule(browser: Any, axe: str, model: Path, tmp_path: Path, scheme: str) -> None:
    with serving(model=str(model), data=tmp_path, token=TOKEN) as (address, _):
        page = browser.new_page(color_scheme=scheme)
        page.goto(address)
        assert not violations(page, axe)
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button").click()
        expect(page.get_by_role("alert")).to_be_visible()
        assert not violations(page, axe)
        page.close()


@pytest.mark.slow
def test_the_description_breaks_no_rule(browser: Any, axe: str, address: str) -> None:
    with visiting(browser, address) as page:
        page.goto(address + "docs")
        expect(page.locator(".opblock").first).to_be_visible()
        assert not violations(page, axe)
        page.locator(".opblock-summary-control").first.click()
        page.get_by_role("button", name="Try it out").click()
        assert not violations(page, axe)
