"""Take the pictures of the page in docs/img: wide and narrow, light and dark, with the example scene.

    python docs/screenshots.py

Needs Chromium, and playwright and pillow (the extra `dev` has both). A service is started, and asked in a
browser as a visitor would.
"""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "img"
SCENE = ROOT / "examples" / "scene.ogg"
READY = re.compile(r"auricle serves \S+ at (http://\S+)")
SHAPES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}
MOST_BYTES = 250_000  # of a picture


def main() -> None:
    """Take them all."""
    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    service = subprocess.Popen(
        [sys.executable, "-m", "auricle", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert service.stdout is not None
        address = READY.match(service.stdout.readline())[1]  # type: ignore[index]
        with sync_playwright() as playwright:
            flags = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=browser_path, args=flags)
            for shape, options in SHAPES.items():
                for scheme in ("light", "dark"):
                    context = browser.new_context(**options, color_scheme=scheme)
                    page = context.new_page()
                    keep(take(page, address), IMAGES / f"page-{shape}-{scheme}.png")
                    if shape == "phone" and scheme == "light":
                        keep(take_menu(page), IMAGES / "page-phone-export.png")
                    context.close()
            browser.close()
    finally:
        service.terminate()
        service.wait()


def take(page: Any, address: str) -> bytes:
    """A picture of the page with the example, of which some things were said."""
    page.set_default_timeout(60_000)
    page.goto(address)
    page.get_by_test_id("file").set_input_files(str(SCENE))
    page.get_by_test_id("event").first.wait_for()
    for label, verdict in (("clock_tick", "right"), ("dog", "right")):
        page.locator(f"[data-label={label}]").first.get_by_test_id(f"event-{verdict}").click()
        page.locator(f"[data-label={label}][data-verdict={verdict}]").first.wait_for()
    page.locator("[data-label=siren]").first.get_by_test_id("event-play").click()
    page.wait_for_timeout(500)
    while not page.evaluate("document.querySelector('audio').paused"):  # until the sound is over
        page.wait_for_timeout(100)
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(0, 0)  # the pointer points at nothing
    page.wait_for_timeout(1500)
    return bytes(page.screenshot())


def take_menu(page: Any) -> bytes:
    """A picture of the same page with its menu open."""
    page.get_by_test_id("export").tap()
    page.wait_for_timeout(500)
    return bytes(page.screenshot())


def keep(picture: bytes, path: Path) -> None:
    """Write a picture with 256 colours, which is all that it has, but for the edges of letters."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image = image.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=4, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path.relative_to(ROOT)}: {image.width} x {image.height}, {size / 1000:.0f} kB")
    if size > MOST_BYTES:
        raise SystemExit(f"{path}: {size:,} bytes; expected {MOST_BYTES:,} at most")


if __name__ == "__main__":
    main()
