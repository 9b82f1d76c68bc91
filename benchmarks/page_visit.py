"""What a visitor of the page does, by real events of mouse, wheel and keyboard; what the page asks for."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from playwright.sync_api import CDPSession, ConsoleMessage, FloatRect, Page

STEPS, PAUSE = 40, 30  # events of an action, milliseconds from one to the next


@dataclass
class Visit:
    """A page, and what it has asked for."""

    page: Page
    tools: CDPSession
    profiles: bool
    asked: int = 0
    under_way: set[str] = field(default_factory=set)
    fetched: float = 0.0  # bytes
    answered: float = 0.0  # when the last answer was there
    wrong: list[str] = field(default_factory=list)

    def follow(self, address: str) -> None:
        """Count requests and bytes, and note what should not be."""

        def asked(event: dict[str, Any]) -> None:
            self.asked += 1
            self.under_way.add(event["requestId"])
            if not event["request"]["url"].startswith((address, "blob:", "data:")):
                self.wrong.append(f"asked {event['request']['url']}")

        def ended(event: dict[str, Any]) -> None:
            self.under_way.discard(event["requestId"])
            self.answered = time.perf_counter()

        def came(event: dict[str, Any]) -> None:
            self.fetched += event["encodedDataLength"]

        def said(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.wrong.append(message.text)

        self.tools.send("Network.enable")
        self.tools.send("Performance.enable", {"timeDomain": "threadTicks"})
        for name, hook in {
            "Network.requestWillBeSent": asked,
            "Network.dataReceived": came,
            "Network.loadingFinished": ended,
            "Network.loadingFailed": ended,
        }.items():
            self.tools.on(name, hook)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", said)

    def work(self) -> float:
        """Seconds of processor time that the page's main thread has taken."""
        told = self.tools.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in told if one["name"] == "TaskDuration"))

    def settle(self, milliseconds: float = 400.0) -> None:
        """Wait until nothing was asked for a moment; media is fetched as long as it likes."""
        quiet = 0.0
        for _ in range(200):
            before = self.asked
            self.page.wait_for_timeout(100)
            quiet = quiet + 100 if self.asked == before and not self.under_way else 0.0
            if quiet >= milliseconds:
                return

    def box(self, name: str) -> FloatRect:
        """Where something of the page is."""
        box = self.page.get_by_test_id(name).bounding_box()
        assert box is not None, f"{name} is not seen"
        return box

    def point(self, name: str, across: float, down: float = 0.5) -> None:
        """Move the mouse to a part of something, in shares of its size."""
        box = self.box(name)
        self.page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)


def zoom_in(one: Visit) -> None:
    one.point("plot", 0.4, 0.2)
    wheel(one, 0, -100)


def zoom_out(one: Visit) -> None:
    one.point("plot", 0.4, 0.2)
    wheel(one, 0, 100)


def pan(one: Visit) -> None:
    one.point("plot", 0.4, 0.2)
    wheel(one, 60, 0)


def half_way(one: Visit) -> None:
    one.point("plot", 0.6, 0.2)
    for _ in range(STEPS // 2):
        one.page.mouse.wheel(0, -100)
        one.page.wait_for_timeout(PAUSE)


def wheel(one: Visit, across: float, along: float) -> None:
    for _ in range(STEPS):
        one.page.mouse.wheel(across, along)
        one.page.wait_for_timeout(PAUSE)


def move_window(one: Visit) -> None:
    """Drag the frame on the picture of the whole from where it is to the other end."""
    frame = one.page.locator("#window").bounding_box()
    assert frame is not None, "the frame is not seen"
    whole, y = one.box("overview"), frame["y"] + frame["height"] / 2
    x = frame["x"] + frame["width"] / 2
    goal = whole["x"] + whole["width"] * (0.05 if x > whole["x"] + whole["width"] / 2 else 0.95)
    one.page.mouse.move(x, y)
    one.page.mouse.down()
    for step in range(1, STEPS + 1):
        one.page.mouse.move(x + (goal - x) * step / STEPS, y)
        one.page.wait_for_timeout(PAUSE)
    one.page.mouse.up()


def point_at(one: Visit) -> None:
    """Go over the picture with the mouse: the tip tells what is there."""
    for step in range(STEPS):
        one.point("plot", 0.02 + 0.96 * step / STEPS, 0.1 + 0.8 * step / STEPS)
        one.page.wait_for_timeout(PAUSE)


def select(one: Visit) -> None:
    """Drag over a span."""
    one.point("plot", 0.3, 0.1)
    one.page.mouse.down()
    for step in range(STEPS):
        one.point("plot", 0.3 + 0.4 * step / STEPS, 0.1)
        one.page.wait_for_timeout(PAUSE)
    one.page.mouse.up()
    one.page.keyboard.press("Escape")


def play(one: Visit) -> None:
    one.page.get_by_test_id("play").click()
    one.page.wait_for_timeout(4_000)
    one.page.get_by_test_id("play").click()


def move_threshold(one: Visit) -> None:
    """Drag the slider from one end to the other and back, with rests in which the table follows."""
    slider = one.box("threshold")
    y, share = slider["y"] + slider["height"] / 2, np.linspace(0.5, 0.02, STEPS)
    one.page.mouse.move(slider["x"] + slider["width"] * 0.5, y)
    one.page.mouse.down()
    for turn in (share, share[::-1]):
        for across in turn:
            one.page.mouse.move(slider["x"] + slider["width"] * across, y)
            one.page.wait_for_timeout(PAUSE)
        one.page.wait_for_timeout(800)
    one.page.mouse.up()


def next_sounds(one: Visit) -> None:
    """Go from sound to sound by the keyboard."""
    one.page.get_by_test_id("plot").focus()
    for _ in range(STEPS // 2):
        one.page.keyboard.press("n")
        one.page.wait_for_timeout(2 * PAUSE)


def find_label(one: Visit) -> None:
    """Type a part of a label's name, tick what is found, and take it back."""
    one.page.get_by_test_id("filter").click()
    one.page.keyboard.type("rain", delay=60)
    one.page.get_by_test_id("label-tick").first.check()
    one.page.wait_for_timeout(400)
    one.page.get_by_test_id("labels-clear").click()
    one.page.get_by_test_id("filter").fill("")


def judge(one: Visit) -> None:
    """Say of two sounds that they are right, and take it back."""
    for _ in range(2):
        one.page.get_by_test_id("event-right").nth(1).click()
        one.page.wait_for_timeout(300)


def scroll(one: Visit) -> None:
    """Scroll through the table."""
    one.point("sounds", 0.5, 0.01)
    for way in (1, -1):
        for _ in range(STEPS // 2):
            one.page.mouse.wheel(0, 150 * way)
            one.page.wait_for_timeout(PAUSE)


ACTIONS: dict[str, Callable[[Visit], None]] = {
    "at rest": lambda one: one.page.wait_for_timeout(1_500),
    "zoom in": zoom_in,
    "pan": pan,
    "play": play,
    "zoom out": zoom_out,
    "some way in": half_way,
    "move window": move_window,
    "point": point_at,
    "select": select,
    "threshold": move_threshold,
    "next sounds": next_sounds,
    "find a label": find_label,
    "judge": judge,
    "scroll": scroll,
}


def heard(one: Visit) -> float:
    """Seconds from a click on the last row of the table to its sound."""
    where = "document.querySelector('audio').currentTime"
    begun = time.perf_counter()
    one.page.get_by_test_id("event-play").last.click()
    goal = one.page.evaluate(where)  # it seeks at once
    while one.page.evaluate(where) <= goal and time.perf_counter() < begun + 60:
        one.page.wait_for_timeout(5)
    return time.perf_counter() - begun
