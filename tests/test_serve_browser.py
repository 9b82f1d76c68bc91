"""The page in a real browser, with a real service: what a visitor does, and what is there after a reload."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from browsing import (
    SCENE,
    add,
    drop,
    expect,
    needs_chromium,
    now,
    ready,
    rows,
    saved,
    seconds,
    select,
    until,
    visiting,
)
from serving import served

from auricle.artifact import load_artifact, save_changed

pytestmark = needs_chromium


def test_a_dropped_recording_shows_the_sounds_of_the_command_line(page: Any, keen: Path) -> None:
    drop(page, "scene.ogg", SCENE.read_bytes())
    ready(page)
    expect(page.get_by_test_id("name")).to_have_text("scene.ogg")
    expect(page.get_by_test_id("facts")).to_contain_text("0:26")
    assert "auricle-esc50" in page.get_by_test_id("facts").inner_text()
    command = [sys.executable, "-m", "auricle", "tag", str(SCENE), "--events", "--format", "jsonl", "--quiet"]
    told = subprocess.run(
        [*command, "--model", str(keen), "--hop", "1"], capture_output=True, check=True
    ).stdout
    events = sorted((event["start"], event["label"]) for event in json.loads(told)["events"])
    assert sorted(label for label, _ in rows(page)) == sorted(label for _, label in events)
    assert {"clock_tick", "siren", "dog"} <= {label for label, _ in rows(page)}


def test_it_plays_and_a_click_on_a_sound_plays_that_sound(page: Any) -> None:
    add(page, SCENE)
    page.get_by_test_id("play").click()
    until(page, "document.querySelector('audio').currentTime > 0.3")
    expect(page.get_by_test_id("play")).to_have_attribute("aria-label", "Pause")
    page.get_by_test_id("play").click()
    expect(page.get_by_test_id("play")).to_have_attribute("aria-label", "Play")
    assert page.locator("#now").inner_text() != "0:00.0"
    spans = [seconds(text) for text in page.get_by_test_id("event-play").all_inner_texts()]
    start, end = min(spans, key=lambda span: span[1] - span[0])
    page.get_by_test_id("event-play").nth(spans.index((start, end))).click()
    expect(page.get_by_test_id("bar")).to_be_visible()
    until(page, f"document.querySelector('audio').currentTime > {start + 0.2}")
    until(page, "document.querySelector('audio').paused")
    assert abs(now(page) - end) < 1  # it stops where the sound does
    page.get_by_test_id("plot").focus()
    page.keyboard.press("Home")
    assert now(page) == 0
    page.keyboard.press("ArrowRight")
    assert now(page) > 0


def test_the_threshold_and_the_labels_chosen_are_kept_over_a_reload(page: Any) -> None:
    add(page, SCENE)
    before = len(rows(page))
    page.get_by_test_id("threshold").fill("0.05")
    expect(page.get_by_test_id("event")).not_to_have_count(before)
    expect(page.get_by_test_id("threshold-value")).to_have_text("0.05")
    many = len(rows(page))
    assert many > before
    page.get_by_test_id("filter").fill("clock_tick")
    page.get_by_test_id("label-tick").first.check()
    until(page, "location.hash.includes('labels=') && location.hash.includes('threshold=0.05')")
    assert {label for label, _ in rows(page)} == {"clock_tick"}
    page.reload()
    ready(page)
    expect(page.get_by_test_id("threshold-value")).to_have_text("0.05")
    assert {label for label, _ in rows(page)} == {"clock_tick"}
    page.get_by_test_id("labels-clear").click()
    expect(page.get_by_test_id("event")).to_have_count(many)
    page.get_by_test_id("threshold-own").click()
    expect(page.get_by_test_id("event")).to_have_count(before)


def test_corrections_are_exported_and_kept_over_a_reload(page: Any, tmp_path: Path) -> None:
    add(page, SCENE)
    page.locator("[data-label=siren]").first.get_by_test_id("event-wrong").click()
    page.locator("[data-label=clock_tick]").first.get_by_test_id("event-right").click()
    expect(page.locator("[data-verdict=wrong]")).to_have_count(1)
    expect(page.locator("[data-verdict=right]")).to_have_count(1)
    select(page, 0.70, 0.72)
    page.get_by_test_id("bar-label").fill("Kettle; drum")
    page.get_by_test_id("bar-add").click()
    expect(page.get_by_test_id("alarm")).to_contain_text(";")
    page.get_by_test_id("bar-label").fill("Kettle drum")
    page.get_by_test_id("bar-add").click()
    expect(page.locator("[data-label='Kettle drum']")).to_have_count(1)
    expect(page.get_by_test_id("alarm")).to_be_hidden()
    said = {("siren", "wrong"), ("clock_tick", "right"), ("Kettle drum", "added")}
    assert said <= set(rows(page))
    page.reload()
    ready(page)
    expect(page.locator("[data-label='Kettle drum']")).to_have_count(1)
    assert said <= set(rows(page))
    expect(page.get_by_test_id("recording-link")).to_contain_text("3 corrected")

    with saved(page, "csv", tmp_path).open(newline="") as file:
        labels = {row["label"] for row in csv.DictReader(file)}
    assert "Kettle drum" in labels and "clock_tick" in labels and "siren" not in labels
    with saved(page, "manifest", tmp_path).open(newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["labels"] for row in table if row["labels"]} == {"Kettle drum", "clock_tick"}
    assert [row["no"] for row in table if row["no"]] == ["siren"]

    page.locator("[data-label='Kettle drum']").get_by_test_id("event-remove").click()
    expect(page.locator("[data-label='Kettle drum']")).to_have_count(0)
    page.get_by_test_id("undo").click()
    expect(page.locator("[data-label='Kettle drum']")).to_have_count(1)


def test_a_late_answer_does_not_scroll_the_page_back(page: Any) -> None:
    add(page, SCENE)
    page.route("**/corrections", lambda route: page.wait_for_timeout(300) or route.continue_())
    page.get_by_test_id("event").last.get_by_test_id("event-wrong").click()
    assert page.evaluate("scrollY") > 0
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator("[data-verdict=wrong]")).to_have_count(1)
    assert page.evaluate("scrollY") == 0


def test_every_format_can_be_exported(page: Any, tmp_path: Path) -> None:
    add(page, SCENE)
    page.get_by_test_id("export").click()
    links = page.get_by_test_id("export-list").locator("a")
    formats = [
        name.removeprefix("export-") for name in links.evaluate_all("all => all.map(a => a.dataset.testid)")
    ]
    page.keyboard.press("Escape")
    assert {"csv", "jsonl", "parquet", "audacity", "raven", "webvtt", "jams"} <= set(formats)
    for name in formats:
        if name != "manifest":  # there is none while nothing was judged
            assert saved(page, name, tmp_path).stat().st_size > 50, name


def test_it_works_by_keyboard(page: Any) -> None:
    add(page, SCENE)
    page.get_by_test_id("plot").focus()
    page.keyboard.press("n")
    first = page.get_by_test_id("bar-name").inner_text()
    page.keyboard.press("w")
    expect(page.locator(f"[data-label='{first}'][data-verdict=wrong]")).to_have_count(1)
    page.keyboard.press("z")
    expect(page.locator("[data-verdict=wrong]")).to_have_count(0)
    page.keyboard.press("Escape")
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("a")
    page.keyboard.type("dog")
    page.keyboard.press("Enter")
    expect(page.locator("[data-label=dog][data-verdict=added]")).to_have_count(1)
    page.get_by_test_id("plot").focus()
    page.keyboard.press("?")
    expect(page.get_by_test_id("help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("help")).to_be_hidden()
    assert re.search(r"\d", page.get_by_test_id("plot").get_attribute("aria-valuetext"))


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("broken.wav", b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(500), r"broken\.wav: .+; .+"),
        ("notes.mp3", b"no sound at all\n" * 50, r"notes\.mp3: is text, not a recording.+"),
    ],
)
def test_of_a_broken_file_it_is_said_what_is_wrong(page: Any, name: str, content: bytes, line: str) -> None:
    drop(page, name, content)
    expect(page.get_by_test_id("failure")).to_have_text(re.compile(line))
    page.get_by_test_id("cancel").click()
    expect(page.get_by_test_id("start")).to_be_visible()
    expect(page.get_by_test_id("recording-link")).to_have_count(0)


def test_an_empty_file_is_refused_with_a_line(page: Any) -> None:
    drop(page, "empty.wav", b"")
    expect(page.get_by_test_id("alarm")).to_contain_text("empty.wav")


def test_the_microphone_is_heard_and_can_be_kept(page: Any) -> None:
    page.get_by_test_id("listen").click()
    expect(page.get_by_test_id("live-row").first).to_contain_text("clock_tick")
    until(page, "document.querySelectorAll('[data-testid=live-row]').length > 1")
    page.get_by_test_id("live-stop").click()
    page.get_by_test_id("live-keep").click()
    ready(page)
    expect(page.get_by_test_id("name")).to_have_text(re.compile(r"Microphone .+\.wav"))
    assert "clock_tick" in {label for label, _ in rows(page)}
    expect(page.get_by_test_id("alarm")).to_be_hidden()


def test_the_microphone_takes_each_labels_own_threshold(browser: Any, tmp_path: Path) -> None:
    loaded = load_artifact("default")
    save_changed(loaded, tmp_path / "model", thresholds=[0.02] * loaded.num_classes, metrics={})
    with served("--model", str(tmp_path / "model"), "--threads", "1") as (address, _):
        with visiting(browser, address + "/") as page:
            page.get_by_test_id("listen").click()
            expect(page.get_by_test_id("live-row").first).to_contain_text(", ")  # and what else it could be
            page.get_by_test_id("live-stop").click()
            page.get_by_test_id("live-discard").click()


def test_a_film_is_shown_and_played(page: Any, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    scene, rate = soundfile.read(SCENE, frames=8 * 44100, dtype="float32")
    with av.open(str(film), "w") as out:
        picture, sound = out.add_stream("libx264", rate=5), out.add_stream("aac", rate=rate, layout="mono")
        picture.width, picture.height, picture.pix_fmt = 320, 180, "yuv420p"
        for number in range(40):
            grey = np.full((180, 320, 3), number * 5, np.uint8)
            out.mux(picture.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        out.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(scene[None], "fltp", "mono")
        frame.sample_rate, frame.pts = rate, 0
        fitting = av.AudioResampler("fltp", "mono", rate, sound.codec_context.frame_size)
        for piece in [*fitting.resample(frame), *fitting.resample(None)]:
            out.mux(sound.encode(piece))
        out.mux(sound.encode(None))
    add(page, film)
    expect(page.get_by_test_id("media").locator("video")).to_be_visible()
    page.keyboard.press("k")
    until(page, "document.querySelector('video').currentTime > 0.3")


def test_a_deleted_recording_is_gone_and_others_recordings_are_not_seen(
    page: Any, browser: Any, address: str
) -> None:
    add(page, SCENE)
    where = page.url
    other = browser.new_context()
    stranger = other.new_page()
    stranger.goto(where)
    expect(stranger.get_by_test_id("alarm")).to_be_visible()
    expect(stranger.get_by_test_id("recording-link")).to_have_count(0)
    other.close()
    page.on("dialog", lambda asked: asked.accept())
    page.get_by_test_id("delete").click()
    expect(page.get_by_test_id("start")).to_be_visible()
    expect(page.get_by_test_id("recording-link")).to_have_count(0)


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Any, address: str) -> None:
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with visiting(browser, address, **options, color_scheme="dark") as page:
        wide = "document.documentElement.scrollWidth > innerWidth"
        assert not page.evaluate(wide)
        add(page, SCENE)
        assert not page.evaluate(wide)
        page.get_by_test_id("toggle-library").click()
        expect(page.get_by_test_id("recording-link")).to_be_visible()
        page.get_by_test_id("recording-link").click()
        page.locator("[data-label=clock_tick]").first.get_by_test_id("event-right").tap()
        expect(page.locator("[data-label=clock_tick][data-verdict=right]")).to_have_count(1)
        assert not page.evaluate(wide)
