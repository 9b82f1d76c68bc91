"""The page as files: nothing inline or from elsewhere, all referred to is there, colours can be read."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from running import load_script

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "auricle" / "serve" / "page"
SCRIPTS = sorted(PAGE.glob("*.js"))
INDEX = (PAGE / "index.html").read_text()
# Text: 4.5 to 1; what is seen but not read (edges, lines, cells): 3 to 1. WCAG 2.2, 1.4.3 and 1.4.11.
TEXT = [
    ("ink", "paper"),
    ("ink", "panel"),
    ("ink", "tint"),
    ("soft", "paper"),
    ("soft", "panel"),
    ("soft", "tint"),
    ("accent", "paper"),
    ("accent", "panel"),
    ("accent", "tint"),
    ("on-accent", "accent"),
    ("failure", "paper"),
    ("failure", "panel"),
    ("failure", "failure-panel"),
]
SEEN = [
    ("edge", "paper"),
    ("edge", "panel"),
    ("wave", "paper"),
    ("wave", "panel"),
    ("heat", "row"),
    ("ink", "row"),
    ("cursor", "paper"),
    ("cursor", "row"),
    ("accent", "line"),
]


class Elements(HTMLParser):
    """The elements of index.html: (tag, attributes, text directly inside)."""

    def __init__(self):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(INDEX)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))

    def handle_data(self, data):
        if self.found and data.strip():
            self.found[-1][2].append(data.strip())


ELEMENTS = Elements().found


def vendor():
    return load_script("docs/vendor.py")


def colours(theme):
    """The style sheet's colours of a theme, name -> (R, G, B) of 0 to 1."""
    found = re.findall(
        r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", (PAGE / "style.css").read_text()
    )
    assert len(found) > 12
    return {
        name: tuple(int(both[theme == "dark"][at : at + 2], 16) / 255 for at in (1, 3, 5))
        for name, *both in found
    }


def luminance(colour):
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_black_on_white_is_21_to_1_and_a_known_grey_is_4_and_a_half():
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    assert contrast((0x76 / 255,) * 3, (1, 1, 1)) == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_what_is_drawn_can_be_told_from_what_is_behind_it(theme):
    known = colours(theme)
    low = {
        (front, back): round(ratio, 2)
        for pairs, least in ((TEXT, 4.5), (SEEN, 3.0))
        for front, back in pairs
        if (ratio := contrast(known[front], known[back])) < least
    }
    assert not low


def test_the_vendored_files_are_those_of_their_packages():
    assert vendor().differences() == []


def test_the_height_that_the_security_policy_allows_is_the_one_that_is_drawn():
    height = re.search(r"const HEIGHT = (\d+);", (PAGE / "player.js").read_text())
    assert int(height[1]) == vendor().OVERVIEW_HEIGHT


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    for tag, attributes, text in ELEMENTS:
        assert "style" not in attributes and not [name for name in attributes if name.startswith("on")], tag
        assert tag != "style" and not (tag == "script" and text)
    for path in [PAGE / "index.html", *PAGE.glob("*.css"), *SCRIPTS]:
        addresses = re.findall(r"(?:https?|wss?)://[^\s\"')]*", path.read_text())
        assert not [one for one in addresses if not one.startswith("http://www.w3.org/")], path.name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function", path.read_text()
        )


def test_every_file_that_is_referred_to_is_there():
    names = [a.get(key) for _, a, _ in ELEMENTS for key in ("src", "href") if a.get(key)]
    files = [name for name in names if re.search(r"\.(js|css|svg)$", name)]
    assert len(files) >= 4
    for script in SCRIPTS:
        files += re.findall(r'(?:from|new URL\() ?"\./([^"]+)"', script.read_text())
    assert not [name for name in files if not (PAGE / name).is_file()]


def test_every_id_that_a_script_asks_for_is_in_the_page_once():
    ids = [attributes["id"] for _, attributes, _ in ELEMENTS if "id" in attributes]
    assert len(ids) == len(set(ids))
    asked = {name for script in SCRIPTS for name in re.findall(r'byId\("([^"]+)"\)', script.read_text())}
    assert len(asked) > 50
    assert not asked - set(ids)
    for _, attributes, _ in ELEMENTS:
        for key in ("for", "aria-labelledby", "aria-describedby", "aria-controls", "list"):
            for name in (attributes.get(key) or "").split():
                assert name in ids, (key, name)


def test_test_ids_are_said_once():
    ids = [attributes["data-testid"] for _, attributes, _ in ELEMENTS if "data-testid" in attributes]
    assert len(ids) == len(set(ids))


def test_every_button_and_field_has_a_name():
    labelled = {attributes.get("for") for tag, attributes, _ in ELEMENTS if tag == "label"}
    wrapped = set(re.findall(r'<label class="check"><input[^>]* id="([^"]+)"', INDEX))
    filled_by_scripts = {"play"}
    for tag, attributes, text in ELEMENTS:
        if tag == "button":
            assert attributes.get("type") and (text or attributes.get("aria-label")), attributes
        if tag in ("input", "select", "textarea"):
            named = attributes.get("aria-label") or attributes["id"] in labelled | wrapped
            assert named or attributes["id"] in filled_by_scripts, attributes


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_what_it_is_and_is_no_longer_than_one_reads(path):
    text = path.read_text()
    assert text.startswith("/**")
    assert len(text.splitlines()) <= 400
    assert max(map(len, text.splitlines())) <= 120
