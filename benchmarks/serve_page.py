"""How smooth the page of `auricle serve` is with a recording of three hours, beside one of a minute.

    python benchmarks/serve_page.py
    python benchmarks/serve_page.py --hours 0.2 --profile

Needs Playwright and Chromium. The service is a process of its own; a headless Chromium opens its page, adds
a recording as a visitor does (examples/scene.ogg again and again, each time at another level, with noise;
made here from a seed) and waits for its tags. Then it opens the recording anew, and real events of mouse,
wheel and keyboard do what a visitor does. The page notes the time from frame to frame (requestAnimationFrame)
and its long tasks (PerformanceObserver: above 50 ms). The same is done with a recording of one minute, so
that the ratio says what length costs.

A line for each action: frames, the time from one to the next that 50, 95 and 99 of 100 kept and the longest;
processor time of the page's main thread for each frame, which other work on the machine does not change; long
tasks; how long after the last event the last answer came that the picture waits for; requests and what
they brought. `--profile` says which functions took the time. `--slower 4` makes the page's processor four
times as slow, as a phone's. Memory is that of the service with all its processes, and the page's JavaScript.

The exit status is 1 where an action of the long recording had 5 of 100 frames above 50 ms, or where the
page complained.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from page_visit import ACTIONS, Visit, heard
from playwright.sync_api import sync_playwright
from serve_process import served

SCENE = Path(__file__).parents[1] / "examples" / "scene.ogg"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RATE = 16_000
SMOOTH = 50.0  # milliseconds from frame to frame that 95 of 100 must keep
KB = 1024
WATCH = """() => {
    window.frames_ = []; window.long_ = [];
    let last = performance.now();
    const note = (now) => { frames_.push(now - last); last = now; requestAnimationFrame(note); };
    requestAnimationFrame(note);
    new PerformanceObserver((seen) => long_.push(...seen.getEntries().map((task) => task.duration)))
        .observe({ entryTypes: ["longtask"] });
}"""
TAKE = "() => [frames_.splice(0), long_.splice(0)]"


@dataclass
class Seen:
    """What an action gave."""

    frames: np.ndarray  # milliseconds
    long: list[float]
    work: float  # milliseconds of processor time for a frame
    late: float  # seconds from the last event to the last answer
    asked: int
    fetched: float
    hot: list[str]

    @property
    def most(self) -> np.ndarray:
        """Milliseconds from frame to frame: 50, 95, 99 and 100 of 100 keep them."""
        return np.percentile(self.frames, (50, 95, 99, 100)) if len(self.frames) else np.full(4, np.nan)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=3.0, help="of the long recording")
    parser.add_argument("--minutes", type=float, default=1.0, help="of the short one")
    parser.add_argument("--slower", type=float, default=1.0, help="so many times, the page's processor")
    parser.add_argument("--profile", action="store_true", help="say which functions took the time")
    options = parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit("there is no Chromium: apt-get install chromium")
    print(f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores", flush=True)
    memory: list[tuple[float, float]] = []
    with (
        tempfile.TemporaryDirectory() as temporary,
        served(["--data", f"{temporary}/data"], memory) as (port, _),
    ):
        address = f"http://127.0.0.1:{port}/"
        told = {
            name: visit(address, make(Path(temporary, f"{name}.flac"), seconds), memory, options)
            for name, seconds in {"short": options.minutes * 60, "long": options.hours * 3600}.items()
        }
    compare(told["short"][0], told["long"][0])
    wrong = [line for _, lines in told.values() for line in lines]
    slow = [name for name, seen in told["long"][0].items() if not seen.most[1] <= SMOOTH]
    for line in wrong:
        print("WRONG", line)
    if slow:
        print(f"NOT SMOOTH: 5 of 100 frames above {SMOOTH:g} ms with {', '.join(slow)}")
    sys.exit(bool(wrong or slow))


def make(path: Path, seconds: float) -> Path:
    """A recording: the scene, over and over, at other levels, with noise between."""
    scene, rate = soundfile.read(SCENE, dtype="float32")
    places = np.arange(0, len(scene), rate / RATE)
    scene = np.interp(places, np.arange(len(scene)), scene).astype(np.float32)
    drawn, left = np.random.default_rng(8), round(seconds * RATE)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as out:
        while left > 0:
            sound = np.roll(scene, int(drawn.integers(len(scene)))) * drawn.uniform(0.2, 1.0)
            sound += drawn.normal(0, drawn.uniform(0.0005, 0.01), len(sound)).astype(np.float32)
            out.write(sound[:left].clip(-1, 1))
            left -= len(sound)
    return path


def visit(
    address: str, recording: Path, memory: list[tuple[float, float]], options: argparse.Namespace
) -> tuple[dict[str, Seen], list[str]]:
    """Add a recording, open it anew, use it; gives (what each action gave, what was wrong)."""
    flags = ["--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    long = soundfile.info(recording).duration
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        one = Visit(page, page.context.new_cdp_session(page), options.profile)
        one.follow(address)
        print(f"\na recording of {clock(long)}, {recording.stat().st_size / KB**2:.0f} MB")
        memory.clear()
        page.goto(address)
        begun = time.perf_counter()
        page.get_by_test_id("file").set_input_files(recording)
        page.get_by_test_id("event").first.wait_for(timeout=max(120_000.0, long * 500))
        print(f"tags are shown after {time.perf_counter() - begun:.1f} s; service {peak(memory)}")
        memory.clear()
        if options.slower != 1:
            one.tools.send("Emulation.setCPUThrottlingRate", {"rate": options.slower})
        opened(one)
        page.evaluate(WATCH)
        print(f"{'':<14}frames   50 %   95 %   99 %    max   work ms  long tasks  picture  requests")
        seen = {name: measure(one, name, act) for name, act in ACTIONS.items()}
        print(f"sound after a click {heard(one):.2f} s; service {peak(memory)}; {used(one)}")
        browser.close()
    return seen, one.wrong


def opened(one: Visit) -> None:
    """Open the recording anew, as from its address."""
    one.settle()
    one.asked, one.fetched, begun = 0, 0.0, time.perf_counter()
    one.page.reload()
    one.page.get_by_test_id("event").first.wait_for()
    took = time.perf_counter() - begun
    one.settle()
    count = one.page.get_by_test_id("sounds-count").inner_text()
    print(
        f"opened in {took:.2f} s, picture whole after {one.answered - begun:.2f} s; "
        f"{one.asked} requests, {one.fetched / KB:,.0f} kB; {count} sounds; {used(one)}"
    )


def measure(one: Visit, name: str, act: Callable[[Visit], None]) -> Seen:
    """Do something, and say how the page bore it."""
    one.settle()
    one.asked, one.fetched, one.answered = 0, 0.0, 0.0
    if one.profiles:
        one.tools.send("Profiler.enable")
        one.tools.send("Profiler.start")
    one.page.evaluate("scrollTo(0, 0)")  # where there is nothing left to zoom, the wheel scrolls
    one.page.evaluate(TAKE)
    before = one.work()
    act(one)
    done = time.perf_counter()
    one.page.wait_for_timeout(600)  # answers that come late are drawn, too
    frames, long = one.page.evaluate(TAKE)
    work = one.work() - before
    hot = hottest(one.tools.send("Profiler.stop")["profile"]) if one.profiles else []
    late = max(0.0, one.answered - done) if one.answered else 0.0
    seen = Seen(
        np.array(frames[1:]), long, 1000 * work / max(1, len(frames)), late, one.asked, one.fetched, hot
    )
    half, most, nearly, longest = seen.most
    tasks = f"{len(long)} to {max(long):.0f} ms" if long else "none"
    print(
        f"{name:<14}{len(seen.frames):>6}{half:>7.1f}{most:>7.1f}{nearly:>7.1f}{longest:>7.0f}"
        f"{seen.work:>7.1f}    {tasks:<12}{late:>6.2f} s{one.asked:>5}, {one.fetched / KB:,.0f} kB",
        flush=True,
    )
    for line in hot:
        print("    " + line)
    return seen


def hottest(profile: dict[str, Any]) -> list[str]:
    """The functions that took the most time themselves."""
    functions = {node["id"]: node["callFrame"] for node in profile["nodes"]}
    spent: Counter[str] = Counter()
    for node, took in zip(profile.get("samples", []), profile.get("timeDeltas", []), strict=True):
        at = functions[node]
        spent[f"{at['functionName']} {at['url'].rpartition('/')[2]}:{at['lineNumber'] + 1}"] += took
    rest = ("(idle)", "(program)", "(root)")
    top = [(name, took) for name, took in spent.most_common(12) if not name.startswith(rest)]
    return [f"{took / 1000:6.0f} ms {name}" for name, took in top[:6]]


def used(one: Visit) -> str:
    """The page's memory, without what is no longer needed."""
    one.tools.send("HeapProfiler.enable")
    one.tools.send("HeapProfiler.collectGarbage")
    heap = one.tools.send("Runtime.getHeapUsage")["usedSize"]
    nodes = one.tools.send("Memory.getDOMCounters")["nodes"]
    return f"page {heap / KB**2:.1f} MB of JavaScript, {nodes:,} nodes"


def peak(memory: list[tuple[float, float]]) -> str:
    return f"at most {max((used for _, used in memory), default=float('nan')):.0f} MB"


def clock(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def compare(short: dict[str, Seen], long: dict[str, Seen]) -> None:
    """What length costs."""
    print("\nlong : short         95 %   99 %    max   work")
    for name, seen in long.items():
        ratios = [*(seen.most[1:] / short[name].most[1:]), seen.work / max(short[name].work, 1e-3)]
        print(f"{name:<18}" + "".join(f"{ratio:>7.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
