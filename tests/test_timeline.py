"""A recording's tags over time: times and scores are the windows' own, in pictures, pages and films."""

import base64
import io
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from films import (
    RATE,
    beep_of,
    film,
    flash_of,
    pictures,
    sound_of,
    streams_of,
    turned,
)
from running import run
from test_report_priors import Page, self_contained
from tiny_model import LABELS, save, save_file

from auricle.report.film import upright, write_film
from auricle.report.overlay import Panel, Scores, text_mask, to_yuv
from auricle.report.scroll import CURSOR, LEFT, ROWS_TOP, WIDE, WIDTH, Scroll
from auricle.report.timeline import (
    CONFIG,
    Spectrogram,
    Timeline,
    clock,
    draw_timeline,
    gather,
    score_cells,
    spectrogram,
)
from auricle.report.timeline_page import timeline_html
from auricle.tagging import Tagger


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_file(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "a.wav"
    soundfile.write(path, np.random.default_rng(1).uniform(-0.5, 0.5, 16000 * 3), 16000)
    return path


def line(
    count: int = 12, width: float = 0.5, *, start: float = 0.0, event: tuple[float, float] = (2.0, 2.5)
) -> Timeline:
    """Windows side by side; the first class sounds in those that begin within the event."""
    starts = start + np.arange(count) * width
    scores = np.full((count, 3), 0.0625, np.float32)
    scores[(starts >= event[0] - 1e-9) & (starts < event[1] - 1e-9), 0] = 0.9
    labels = ("beep", "dog", "rain")
    return Timeline(
        path="a.mp4", model="m", labels=labels, starts=starts, stops=starts + width, scores=scores
    )


# --- what is gathered


def test_the_greatest_peaks_are_shown_first_with_the_windows_own_scores_and_times(
    model: Path, recording: Path
) -> None:
    tagger = Tagger(model, threads=1)
    found = gather(tagger.windows(recording, hop=700), LABELS, 8000, path="a.wav", top=2)
    parts = list(tagger.windows(recording, hop=700))
    logits = np.concatenate([part.logits for part in parts]).astype(np.float64)
    scores = 1 / (1 + np.exp(-logits))
    peaks = [max(float(score[k]) for score in scores) for k in range(3)]
    order = sorted(range(3), key=lambda k: -peaks[k])[:2]
    assert found.labels == tuple(LABELS[k] for k in order)
    np.testing.assert_allclose(found.scores, scores[:, order], rtol=1e-6)
    assert found.starts.tolist() == [start / 8000 for part in parts for start in part.starts]
    assert found.stops.tolist() == [stop / 8000 for part in parts for stop in part.stops]
    assert (np.diff(found.peaks) <= 0).all()


def test_equal_peaks_keep_the_order_of_the_labels() -> None:
    part = SimpleNamespace(starts=np.array([0]), stops=np.array([1]), logits=np.zeros((1, 20)))
    labels = [f"{k:02d}" for k in range(20)]
    assert gather([part], labels, 1, path="").labels == tuple(labels[:16])
    with pytest.raises(ValueError, match="top is 0"):
        gather([part], labels, 1, path="", top=0)
    with pytest.raises(ValueError, match="no window"):
        gather([], labels, 1, path="a.wav")


@pytest.mark.parametrize(
    "starts, stops, left, right",
    [
        ([0, 2, 4], [2, 4, 6], [0, 2, 4], [2, 4, 6]),  # side by side: the windows themselves
        ([0, 1, 2], [2, 3, 4], [0, 1.5, 2.5], [1.5, 2.5, 4]),  # overlapping: midway between centres
        ([0, 2, 3], [2, 4, 5], [0, 2, 3.5], [2, 3.5, 5]),  # the last aligned to the end
        ([0, 5], [2, 7], [0, 5], [2, 7]),  # gaps belong to none
        ([3], [4], [3], [4]),
    ],
)
def test_each_moment_belongs_to_the_window_whose_centre_is_nearest(
    starts: list[float], stops: list[float], left: list[float], right: list[float]
) -> None:
    scores = np.arange(1.0, len(starts) + 1, dtype=np.float32)[:, None] / 10
    timeline = Timeline(
        path="",
        model="",
        labels=("a",),
        starts=np.array(starts, float),
        stops=np.array(stops, float),
        scores=scores,
    )
    assert timeline.cells[0].tolist() == left and timeline.cells[1].tolist() == right
    read = Scores(timeline)
    moments = np.arange(starts[0] - 1, stops[-1] + 1, 0.01) + 0.003
    slow = []
    for moment in moments:
        inside = [k for k in range(len(starts)) if starts[k] <= moment < stops[k]]
        best = min(inside, key=lambda k: abs((starts[k] + stops[k]) / 2 - moment), default=None)
        slow.append(0.0 if best is None else scores[best, 0])
    np.testing.assert_allclose([read.at(moment)[0] for moment in moments], slow, atol=1e-6)
    np.testing.assert_allclose(read.over(moments)[0], slow, atol=1e-6)


def test_long_time_lines_are_pooled_by_maximum_and_keep_their_ends() -> None:
    timeline = line(5000, 0.5, event=(1234.5, 1235.0))
    edges, scores = score_cells(timeline, 100)
    assert len(scores) == 100 and (edges[0], edges[-1]) == (0, 2500)
    lit = np.flatnonzero(scores[:, 0] > 0.5)
    assert len(lit) == 1 and edges[lit[0]] <= 1234.5 < edges[lit[0] + 1]


# --- the spectrogram


def test_the_spectrogram_puts_a_click_where_it_is(tmp_path: Path) -> None:
    samples = np.zeros(16000 * 4)
    samples[16000 * 5 // 2] = 1.0
    soundfile.write(tmp_path / "click.wav", samples, 16000)
    picture = spectrogram(tmp_path / "click.wav", 0, 4, columns=400)
    assert picture.values.shape == (64, 400) and np.isfinite(picture.values).all()
    loud = np.flatnonzero(picture.values.sum(axis=0) > picture.values.sum(axis=0).min() + 1)
    # A frame is 25 ms: it hears the click while its centre is within 12.5 ms.
    assert loud.min() >= 248 and loud.max() <= 251
    part = spectrogram(tmp_path / "click.wav", 2, 3, columns=100)
    assert abs(int(part.values.sum(axis=0).argmax()) - 50) <= 1


def test_the_spectrogram_does_not_depend_on_how_the_recording_is_cut(tmp_path: Path) -> None:
    from auricle.audio import read
    from auricle.features import log_mel

    path = tmp_path / "long.wav"  # longer than the blocks it is read in
    soundfile.write(path, np.random.default_rng(1).uniform(-0.5, 0.5, 16000 * 23), 16000)
    picture = spectrogram(path, 0, 23, columns=2300)
    frames = log_mel(read(path, 16000), CONFIG)
    centres = (np.arange(len(frames)) * 160 + 200) / 16000
    for column in (1, 7, 999, 1000, 1001, 1999, 2000, 2001, 2295):  # the first frame's centre is in column 1
        inside = (centres >= column / 100) & (centres < (column + 1) / 100)
        np.testing.assert_allclose(picture.values[:, column], frames[inside].mean(axis=0), rtol=1e-5)


# --- the picture


def blank(start: float = 0.0, end: float = 6.0) -> Spectrogram:
    return Spectrogram(values=np.zeros((64, 60), np.float32), start=start, end=end, loudest=1.0)


def test_the_rows_drawn_are_the_scores_on_the_time_axis_of_the_spectrogram() -> None:
    timeline = line(start=3.0, event=(5.0, 6.0))
    above, below, *_ = draw_timeline(timeline, blank(3.0, 9.0)).axes
    mesh = below.collections[0]
    np.testing.assert_array_equal(np.ma.getdata(mesh.get_array()).reshape(3, 12), timeline.scores.T)
    coordinates = mesh.get_coordinates()
    np.testing.assert_allclose(coordinates[0, :, 0], np.append(timeline.starts, 9.0))
    assert [tick.get_text() for tick in below.get_yticklabels()] == ["beep", "dog", "rain"]
    assert below.yaxis_inverted() and mesh.get_clim() == (0, 1)
    assert above.get_xlim() == below.get_xlim() == (3.0, 9.0)
    assert above.images[0].get_extent() == [3.0, 9.0, 0, 64]
    np.testing.assert_array_equal(above.images[0].get_array(), blank().values)
    peaks = [text.get_text() for text in below.texts]
    assert peaks == ["0.90", "0.062", "0.062"]


def test_frequencies_stand_where_their_bands_are(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(32000) / 16000)
    soundfile.write(tmp_path / "tone.wav", tone * 0.5, 16000)
    picture = spectrogram(tmp_path / "tone.wav", 0, 2)
    above = draw_timeline(line(4), picture).axes[0]
    place = dict(zip([tick.get_text() for tick in above.get_yticklabels()], above.get_yticks(), strict=True))
    loudest = int(picture.values.mean(axis=1).argmax())
    assert abs(place["1"] - (loudest + 0.5)) <= 0.6


def test_small_scores_are_drawn_on_a_scale_of_their_own() -> None:
    timeline = line()
    timeline.scores[:] = timeline.scores / 10
    assert timeline.scale == pytest.approx(0.09)
    below = draw_timeline(timeline, blank()).axes[1]
    assert below.collections[0].get_clim() == (0, pytest.approx(0.09))


def test_moments_are_written_as_people_read_them() -> None:
    assert [clock(value) for value in (0, 59.9, 60, 3599, 3600, 86400)] == [
        "0:00", "0:59", "1:00", "59:59", "1:00:00", "24:00:00",
    ]  # fmt: skip


# --- thresholds


def with_thresholds(*thresholds: float) -> Timeline:
    """Of beep, dog and rain; beep reaches any from 2 to 2.5 s, the others score a sixteenth all the time."""
    return replace(line(), thresholds=np.array(thresholds))


def test_classes_that_reach_their_threshold_are_shown_before_others() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, (30, 9))
    thresholds = rng.uniform(0.96, 1, 9)
    part = SimpleNamespace(starts=np.arange(30), stops=np.arange(30) + 1, logits=logits)
    labels = [f"class {k}" for k in range(9)]
    scores = 1 / (1 + np.exp(-logits))
    reaches = {name: any(scores[:, k] >= thresholds[k]) for k, name in enumerate(labels)}
    assert 2 < sum(reaches.values()) < 9
    by_peak = sorted(labels, key=lambda name: -scores[:, labels.index(name)].max())
    for top in (2, 5, 9):
        found = gather([part], labels, 1, path="", top=top, thresholds=thresholds)
        wanted = [name for name in by_peak if reaches[name]] + [name for name in by_peak if not reaches[name]]
        assert found.labels == tuple(name for name in by_peak if name in wanted[:top])
        assert found.thresholds is not None
        for k, name in enumerate(found.labels):
            column = labels.index(name)
            assert found.thresholds[k] == thresholds[column]
            assert (found.above(found.scores)[:, k] == (scores[:, column] >= thresholds[column])).all()
    assert not found.above(found.scores).all() and gather([part], labels, 1, path="").thresholds is None


def test_what_reaches_its_threshold_is_underlined_in_the_picture() -> None:
    below = draw_timeline(with_thresholds(0.5, 0.0625, 0.07), blank()).axes[1]
    beep, dog, rain = [lines.get_segments() for lines in below.collections[-3:]]
    np.testing.assert_allclose(beep, [[[2.0, 0.87], [2.5, 0.87]]])
    np.testing.assert_allclose(dog, [[[0.0, 1.87], [6.0, 1.87]]])  # as much as the threshold is enough
    assert rain == []
    said = [text.get_text() for text in below.texts]
    assert said == ["0.90", "0.062", "0.062", "\u2265 0.50", "\u2265 0.062", "\u2265 0.07"]
    assert "underlined" in below.get_xlabel()
    assert "underlined" not in draw_timeline(line(), blank()).axes[1].get_xlabel()


def test_what_reaches_its_threshold_is_underlined_on_the_page() -> None:
    page = timeline_html(with_thresholds(0.5, 0.07, 0.0625), blank(), None, Path("x.html"))
    data = self_contained(page).data()
    assert data["thresholds"] == ["0.50", "0.07", "0.062"] and "is underlined" in page
    assert data["above"] == [[0, 2] if 2.0 <= edge < 2.5 else [2] for edge in data["edges"][:-1]]
    assert "<td>0.90</td><td>0.50</td>" in page
    page = timeline_html(line(), blank(), None, Path("x.html"))
    assert self_contained(page).data()["thresholds"] == [] and "underlined" not in page


def test_bars_that_do_not_reach_their_threshold_are_grey_and_each_has_a_mark() -> None:
    panel = Panel(["beep", "dog"], 640, 360, thresholds=np.array([0.25, 1.0]))
    planes = planes_of(640, 360)
    panel.draw(planes, np.array([0.5, 0.5]))
    lit = panel.lit(planes[0])
    assert lit[0] == pytest.approx(0.5 - 2 / panel.bar, abs=1.01 / panel.bar) and lit[1] == 0
    for k, share in enumerate((0.25, 1.0)):
        thick, begin = panel._bars[k]
        row = planes[0][panel.y + (thick.start + thick.stop) // 2, panel.x + begin :][: panel.bar]
        assert np.flatnonzero(row == 235)[0] == pytest.approx(share * panel.bar, abs=2.01)


def test_a_class_that_is_never_shown_is_marked_nowhere() -> None:
    """Not with a score of 1 either: 2 is a threshold that no score reaches."""
    never = replace(with_thresholds(0.5, 2.0, 0.07), scores=np.ones_like(line().scores))
    below = draw_timeline(never, blank()).axes[1]
    assert below.collections[-2].get_segments() == []
    assert [text.get_text() for text in below.texts][-3:] == ["\u2265 0.50", "never", "\u2265 0.07"]
    page = timeline_html(never, blank(), None, Path("x.html"))
    data = self_contained(page).data()
    assert data["thresholds"] == ["0.50", "never", "0.07"] and data["above"] == [[0, 2]] * len(data["above"])
    assert "<td>1.00</td><td>never</td>" in page
    panel, planes = Panel(["beep", "dog"], 640, 360, thresholds=np.array([1.0, 2.0])), planes_of(640, 360)
    panel.draw(planes, np.ones(2))
    rows = [
        planes[0][panel.y + (thick.start + thick.stop) // 2, panel.x + begin :][: panel.bar]
        for thick, begin in panel._bars
    ]
    assert [bool((row == 235).any()) for row in rows] == [True, False] and panel.lit(planes[0])[1] == 0


def test_what_reaches_its_threshold_is_underlined_in_the_moving_rows(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16000 * 6), 16000)
    scroll = Scroll(
        tmp_path / "a.wav", with_thresholds(0.5, 0.07, 0.0625), spectrogram(tmp_path / "a.wav", 0, 6)
    )
    planes = next(iter(scroll.pictures()))
    amber = int(to_yuv(np.array((255, 196, 61)))[0])
    lines = [
        np.flatnonzero(planes[0][ROWS_TOP + (k + 1) * 20 - 3, LEFT + 4 :] == amber) + 4 for k in range(3)
    ]
    second = WIDE / 6
    assert (lines[0].min(), lines[0].max()) == pytest.approx((2 * second, 2.5 * second), abs=2)
    assert len(lines[1]) == 0 and len(lines[2]) > WIDE - 10


def test_the_verb_marks_what_tag_names(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = save(tmp_path / "model", thresholds=[0.56, 0.32, 0.99], hop=700)
    assert run(capsys, "timeline", recording, "--out", tmp_path / "x.html", "--model", made.path)[0] == 0
    data = Page((tmp_path / "x.html").read_text(encoding="utf-8")).data()
    arguments = ["--windows", "--format", "jsonl", "--model", made.path]
    windows = json.loads(run(capsys, "tag", recording, *arguments)[1])["windows"]
    named = [sorted(data["labels"].index(tag["label"]) for tag in window["tags"]) for window in windows]
    assert named == data["above"] and {len(row) for row in named} == {0, 1, 2}


# --- the page


def test_the_page_holds_scores_and_times_and_fetches_nothing(tmp_path: Path, recording: Path) -> None:
    timeline = line(start=3.0, event=(5.0, 6.0))
    page = self_contained(timeline_html(timeline, blank(3.0, 9.0), recording, tmp_path / "x.html"))
    data = page.data()
    assert data["labels"] == ["beep", "dog", "rain"]
    assert data["edges"] == np.append(timeline.starts, 9.0).tolist()
    np.testing.assert_allclose(data["scores"], timeline.scores, atol=5e-6)
    content = base64.b64decode(data["picture"].partition(",")[2])
    with av.open(io.BytesIO(content), format="png_pipe") as container:
        picture = next(container.decode(video=0))
    assert (picture.width, picture.height) == (60, 64)
    (source,) = [value for tag, name, value in page.attributes if (tag, name) == ("audio", "src")]
    assert base64.b64decode(source.partition(",")[2]) == recording.read_bytes()


def test_the_page_shows_low_bands_below(tmp_path: Path) -> None:
    picture = blank()
    picture.values[0] = 1.0  # the lowest band is loud
    data = Page(timeline_html(line(), picture, None, tmp_path / "x.html")).data()
    with av.open(
        io.BytesIO(base64.b64decode(data["picture"].partition(",")[2])), format="png_pipe"
    ) as container:
        grey = next(container.decode(video=0)).to_ndarray(format="gray")
    assert grey[-1].mean() > grey[0].mean() + 20
    low, high = data["ticks"][0], data["ticks"][-1]
    assert low[0] == "0.25 kHz" and 0 < low[1] < 0.1 and 0.9 < high[1] < 1


@pytest.mark.parametrize(
    "name, tag", [("big day #1?.wav", "audio"), ("film.mkv", "audio"), ("film.mp4", "video")]
)
def test_a_large_or_unknown_recording_is_referred_to_by_its_relative_path(
    name: str, tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from urllib.parse import unquote

    monkeypatch.setattr("auricle.report.timeline_page.EMBEDDED_BYTES", 10)
    (tmp_path / "in").mkdir()
    (tmp_path / "pages").mkdir()
    recording = tmp_path / "in" / name
    recording.write_bytes(bytes(20))
    page = Page(timeline_html(line(), blank(), recording, tmp_path / "pages" / "x.html"))
    (source,) = [value for there, attribute, value in page.attributes if (there, attribute) == (tag, "src")]
    assert "#" not in source and "?" not in source
    assert unquote(source) == f"./../in/{name}"


@pytest.mark.parametrize("label", ["</script><script>alert(1)</script>", "<b>", "犬\u2028"])
def test_no_label_breaks_out_of_the_page(label: str, tmp_path: Path) -> None:
    timeline = line()
    named = Timeline(**{**vars(timeline), "labels": (label, "b", "c"), "path": f"{label}.wav"})
    page = self_contained(timeline_html(named, blank(), None, tmp_path / "x.html"))
    assert page.data()["labels"][0] == label
    draw_timeline(named, blank())


def test_peaks_are_written_alike_in_the_picture_and_on_the_page(tmp_path: Path) -> None:
    timeline = line()
    timeline.scores[4, :] = (0.83504, 0.1249996, 0.00123456)
    page = Page(timeline_html(timeline, blank(), None, tmp_path / "x.html"))
    figure = draw_timeline(timeline, blank())
    assert page.data()["peaks"] == [text.get_text() for text in figure.axes[1].texts]
    assert page.data()["peaks"][0] == "0.84" and page.cells[1] == "0.84"


# --- films: the parts


def test_colours_of_television_are_those_of_the_standard() -> None:
    primaries = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0], [255, 255, 255]])
    expected = [[63, 102, 240], [173, 42, 26], [32, 240, 118], [16, 128, 128], [235, 128, 128]]
    assert np.abs(to_yuv(primaries).astype(int) - expected).max() <= 1


def planes_of(width: int, height: int, grey: int = 100) -> Any:
    small = (height // 2, width // 2)
    return (
        np.full((height, width), grey, np.uint8),
        np.full(small, 128, np.uint8),
        np.full(small, 128, np.uint8),
    )


@pytest.mark.parametrize("size", [(320, 240), (1920, 1080), (176, 144), (90, 160), (64, 36), (640, 64)])
def test_the_bars_are_as_long_as_the_scores_at_every_size(size: tuple[int, int]) -> None:
    panel = Panel([f"class number {k}" for k in range(16)], *size)
    shares = np.linspace(1, 0, 16)
    planes = planes_of(*size)
    panel.draw(planes, shares)
    lit = panel.lit(planes[0])
    np.testing.assert_allclose(lit, shares[: len(lit)], atol=1.01 / panel.bar)
    assert 1 <= len(lit) == panel.rows
    tall, wide = panel.shape
    untouched = np.ones(planes[0].shape, bool)
    untouched[panel.y : panel.y + tall, panel.x : panel.x + wide] = False
    assert (planes[0][untouched] == 100).all()


def test_the_panel_lets_the_film_through_and_its_letters_are_white() -> None:
    panel = Panel(["WWWW"], 640, 360)
    dark, light = planes_of(640, 360, 30), planes_of(640, 360, 200)
    panel.draw(dark, np.zeros(1))
    panel.draw(light, np.zeros(1))
    inside = np.s_[panel.y : panel.y + panel.shape[0], panel.x : panel.x + panel.shape[1]]
    assert dark[0][inside].max() > 200 and light[0][inside].max() > 200
    assert light[0][panel.y, panel.x] > dark[0][panel.y, panel.x] + 50


def test_long_labels_are_cut_and_odd_ones_do_no_harm() -> None:
    assert text_mask("a very long label " * 9, 20, most=100).shape == (20, 100) or (
        text_mask("a very long label " * 9, 20, most=100).shape[1] <= 100
    )
    for label in ("", " ", "$x_{$", "犬"):
        assert text_mask(label, 14).shape[0] == 14


def click_at_two_seconds(path: Path, seconds: int) -> Path:
    samples = np.zeros(16000 * seconds)
    samples[16000 * 2] = 1.0
    soundfile.write(path, samples, 16000)
    return path


def test_the_moving_spectrogram_has_each_moment_under_the_cursor(tmp_path: Path) -> None:
    path = click_at_two_seconds(tmp_path / "click.wav", 14)
    scroll = Scroll(path, line(28), spectrogram(path, 0, 14))
    wanted, lit, row = (10, 40, 49, 51, 60, 90), [], ROWS_TOP + 4
    for number, planes in enumerate(scroll.pictures()):
        if number in wanted:
            loud = np.flatnonzero(planes[0][100] > 60)
            loud = loud[loud >= LEFT] - LEFT
            loud = loud[np.abs(loud - CURSOR + 0.5) > 1]  # the cursor itself is white
            # 100 pixels a second; a frame of 25 ms hears the click while its centre is within 12.5 ms of it.
            assert len(loud) and np.abs(loud + 0.5 - (CURSOR + 200 - 4 * number)).max() <= 2
        if planes[0][row, LEFT + CURSOR + 1] > 100:
            lit.append(number / 25)
        if number == 0:
            # Elsewhere in the picture too: the event begins where its column stands.
            columns = np.flatnonzero(planes[0][row, LEFT : LEFT + WIDE] > 100)
            columns = columns[columns > CURSOR + 1]
            assert (columns.min(), columns.max()) == (CURSOR + 200, CURSOR + 249)
    assert number == 14 * 25 - 1 and (min(lit), max(lit)) == (2.0, 2.48)


@pytest.mark.parametrize("seconds", [3, 6, 12])
def test_a_short_recording_fills_the_width_and_the_cursor_moves(seconds: int, tmp_path: Path) -> None:
    path = click_at_two_seconds(tmp_path / "click.wav", seconds)
    scroll = Scroll(path, line(2 * seconds), spectrogram(path, 0, seconds))
    speed, row = WIDE / seconds, ROWS_TOP + 4
    for number, planes in enumerate(scroll.pictures()):
        cursor = int(number / 25 * speed + 1e-6)
        # The whole event and the click stand where they are all the time, the cursor where the sound is.
        columns = np.flatnonzero(planes[0][row, LEFT:] > 100)
        event = [place for place in columns if abs(place - cursor) > 1]
        assert abs(min(event) - 2 * speed) <= 4 and abs(max(event) + 1 - 2.5 * speed) <= 4
        assert {cursor - 1, cursor} & set(columns.tolist())
        loud = np.flatnonzero(planes[0][100, LEFT:] > 60)
        loud = loud[np.abs(loud - cursor + 0.5) > 1.5]
        if abs(cursor - 2 * speed) > 10:
            assert len(loud) and np.abs(loud + 0.5 - 2 * speed).max() <= 0.015 * speed + 2
    assert number == seconds * 25 - 1 and cursor > WIDE - speed / 20


def weak(factor: float = 0.04 / 0.9) -> Timeline:
    timeline = line()
    timeline.scores[:] = timeline.scores * factor
    return timeline


def test_a_weak_models_bars_stay_short_in_a_film(tmp_path: Path) -> None:
    source, out = film(tmp_path / "a.mp4", size=(640, 360)), tmp_path / "out.mp4"
    write_film(source, timeline := weak(), out, quiet=True)
    panel = Panel(timeline.labels, 640, 360)
    greatest = max(panel.lit(grey.astype(float) / 255 * 219 + 16)[0] for _, grey in pictures(out))
    assert greatest <= 0.04 + 3 / panel.bar


def test_a_page_says_what_full_colour_is_where_it_is_less_than_one(tmp_path: Path) -> None:
    said = "Full colour is a score of"
    assert f"{said} 0.04." in timeline_html(weak(), blank(), None, tmp_path / "x.html")
    assert said not in timeline_html(line(), blank(), None, tmp_path / "x.html")


def test_the_score_stands_beside_its_bar_and_beside_its_moving_row(tmp_path: Path) -> None:
    panel = Panel(["dog"], 640, 360, digits=3)
    drawn = []
    for score in (0.041, 0.042, 0.041):
        planes = planes_of(640, 360)
        panel.draw(planes, np.array([score]))
        drawn.append(planes[0])
    np.testing.assert_array_equal(drawn[0], drawn[2])
    changed = np.flatnonzero((drawn[0] != drawn[1]).any(axis=0))
    bar = panel._bars[0][1] + panel.x
    assert len(changed) and changed.min() > bar + panel.bar  # another digit; the bar is as long
    path = click_at_two_seconds(tmp_path / "click.wav", 3)
    strong, faint = (
        next(Scroll(path, timeline, spectrogram(path, 0, 3)).pictures())[0] for timeline in (line(6), weak())
    )
    beside = np.s_[ROWS_TOP : ROWS_TOP + 20, LEFT - 60 : LEFT - 4]
    assert (strong[beside] > 150).any() and (strong[beside] != faint[beside]).any()
    # Where full colour is less than 1, the picture says so.
    corner = np.s_[10:36, WIDTH - 200 :]
    assert (faint[corner] > 100).any() and not (strong[corner] > 100).any()


def test_pixels_are_squared_and_turned_and_large_pictures_made_smaller() -> None:
    frame = av.VideoFrame(3840, 2160, "yuv420p")
    assert upright(frame)[0].shape == (1080, 1920)
    assert upright(av.VideoFrame(101, 51, "rgb24"))[0].shape == (50, 100)
    turned_frame = SimpleNamespace(
        width=4, height=2, format=SimpleNamespace(name="yuv420p"), rotation=-90, sample_aspect_ratio=None,
        planes=[_plane([[1, 2, 3, 4], [5, 6, 7, 8]]), _plane([[1, 2]]), _plane([[1, 2]])],
    )  # fmt: skip
    # -90 is a quarter turn clockwise: what was on the left comes to the top.
    assert upright(turned_frame)[0].tolist() == [[5, 1], [6, 2], [7, 3], [8, 4]]
    wide = SimpleNamespace(width=4, height=2, sample_aspect_ratio=2)
    wide.format = SimpleNamespace(name="yuv420p")
    wide.reformat = lambda width, height, format: av.VideoFrame(width, height, format)
    assert upright(wide)[0].shape == (2, 8)


class _plane(bytearray):
    def __new__(cls, rows: list[list[int]]) -> "_plane":
        return super().__new__(cls)

    def __init__(self, rows: list[list[int]]):
        super().__init__(np.array(rows, np.uint8).tobytes())
        self.line_size = len(rows[0])


# --- films: in step


def lit_moments(path: Path, timeline: Timeline) -> list[float]:
    size = streams_of(path)["size"]
    panel = Panel(timeline.labels, *size)
    found = []
    for moment, grey in pictures(path):
        television = grey.astype(float) / 255 * 219 + 16
        if panel.lit(television)[0] > 0.5:
            found.append(moment)
    return found


CHANGING = (np.cumsum(np.tile([0.02, 0.05, 0.11], 34)) - 0.02).tolist()


@pytest.mark.parametrize(
    "name, options, sound",
    [
        ("a.mp4", {}, "copied"),
        ("b.mkv", {}, "copied"),
        ("changing.mp4", {"moments": CHANGING}, "copied"),
        ("late-sound.mp4", {"sound_from": 0.7}, "copied"),
        ("late-picture.mkv", {"picture_from": 0.5}, "copied"),
        ("mono.mkv", {"sound": "flac", "channels": 1}, "encoded"),
        ("pcm.mov", {"sound": "pcm_s16le"}, "encoded"),
        ("c.ts", {}, "encoded"),
        ("mp3.mp4", {"sound": "libmp3lame"}, "encoded"),
    ],
)
def test_flash_beep_and_bar_are_where_they_were(
    name: str, options: dict[str, Any], sound: str, tmp_path: Path
) -> None:
    source, out = film(tmp_path / name, **options), tmp_path / "out.mp4"
    done = write_film(source, timeline := line(), out, quiet=True)
    assert done["sound"] == sound and streams_of(out)["sound"] == "aac"
    assert streams_of(out)["channels"] == streams_of(source)["channels"]
    before, after = [moment for moment, _ in pictures(source)], [moment for moment, _ in pictures(out)]
    np.testing.assert_allclose(after, before, atol=0.0006)  # Matroska counts in milliseconds
    assert flash_of(out) == pytest.approx(flash_of(source), abs=0.0006)
    assert abs(beep_of(out) - beep_of(source)) <= 8 / RATE
    lit = lit_moments(out, timeline)
    expected = [moment for moment in after if 2.0 - 1e-3 <= moment < 2.5 - 1e-3]
    assert lit == expected


def test_a_film_whose_clock_does_not_begin_at_zero_is_drawn_from_its_first_moment(tmp_path: Path) -> None:
    source, out = film(tmp_path / "a.mkv", sound_from=3.0, picture_from=3.0), tmp_path / "out.mp4"
    assert flash_of(source) == pytest.approx(5.0, abs=1e-3)
    write_film(source, timeline := line(), out, quiet=True)
    # `auricle.audio` counts from the first of sound and picture, and so do the windows.
    assert flash_of(out) == pytest.approx(2.0, abs=2e-3)
    assert beep_of(out) == pytest.approx(2.0, abs=1 / 47)  # an AAC frame: Matroska keeps no more of it
    lit = lit_moments(out, timeline)
    assert (min(lit), max(lit)) == (pytest.approx(2.0, abs=2e-3), pytest.approx(2.48, abs=2e-3))
    assert beep_of(out) - flash_of(out) == pytest.approx(beep_of(source) - flash_of(source), abs=2e-3)


def test_copied_sound_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4")
    write_film(source, line(), tmp_path / "out.mp4", quiet=True)
    before, after = sound_of(source)[0], sound_of(tmp_path / "out.mp4")[0]
    np.testing.assert_array_equal(after, before)


def test_the_channels_of_encoded_sound_are_kept_apart(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", sound="pcm_s16le")
    write_film(source, line(), tmp_path / "out.mp4", quiet=True)
    samples, rate = sound_of(tmp_path / "out.mp4")
    beep = slice(round(2.05 * rate), round(2.2 * rate))
    assert np.abs(samples[0, beep]).max() > 0.5 and np.abs(samples[1, beep]).max() < 0.05
    assert abs(samples.shape[1] / rate - 6.0) < 0.03


def test_part_of_a_film_begins_at_zero_and_stays_in_step(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", seconds=14, flash=11.0, beep=11.0)
    timeline = line(8, start=9.0, event=(11.0, 11.5))
    done = write_film(source, timeline, tmp_path / "out.mp4", whole=False, quiet=True)
    assert done["pictures"] == 4 * 25 and done["sound"] == "encoded"
    assert flash_of(tmp_path / "out.mp4") == pytest.approx(2.0, abs=1e-3)
    assert beep_of(tmp_path / "out.mp4") == pytest.approx(2.0, abs=8 / RATE)
    lit = lit_moments(tmp_path / "out.mp4", timeline)
    assert (min(lit), max(lit)) == (pytest.approx(2.0, abs=1e-3), pytest.approx(2.48, abs=1e-3))
    samples, rate = sound_of(tmp_path / "out.mp4")
    assert abs(samples.shape[1] / rate - 4.0) < 0.025


@pytest.mark.parametrize("degrees, size", [(90, (180, 320)), (180, (320, 180)), (270, (180, 320))])
def test_a_telephones_film_is_turned_upright(degrees: int, size: tuple[int, int], tmp_path: Path) -> None:
    source = turned(film(tmp_path / "a.mp4", size=(320, 180), seconds=3), degrees)
    done = write_film(source, line(6), tmp_path / "out.mp4", quiet=True)
    assert (done["width"], done["height"]) == size
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_the_film_keeps_what_is_not_under_the_panel(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4")
    write_film(source, line(), tmp_path / "out.mp4", quiet=True)
    corner = np.s_[:100, -100:]
    for (_, before), (_, after) in zip(pictures(source), pictures(tmp_path / "out.mp4"), strict=True):
        assert np.abs(before[corner].astype(int) - after[corner]).mean() < 3


def test_a_recording_without_a_picture_gets_its_spectrogram_and_keeps_its_sound(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 0.001, 6 * 44100)
    samples[2 * 44100 : 2 * 44100 + 11025] += 0.6 * np.sin(np.arange(11025) * 0.2)
    soundfile.write(tmp_path / "a.flac", samples, 44100)
    done = write_film(tmp_path / "a.flac", line(), tmp_path / "out.mp4", quiet=True)
    assert done["pictures"] == 150 and (done["width"], done["height"]) == (1280, 720)
    assert abs(beep_of(tmp_path / "out.mp4") - 2.0) <= 8 / 44100
    facts = streams_of(tmp_path / "out.mp4")
    assert (facts["picture"], facts["rate"], facts["channels"], facts["fps"]) == ("h264", 44100, 1, 25)
    moments = [moment for moment, _ in pictures(tmp_path / "out.mp4")]
    np.testing.assert_allclose(moments, np.arange(150) / 25, atol=1e-4)


def test_an_unusual_rate_is_converted_and_stays_in_step(tmp_path: Path) -> None:
    samples = np.zeros(6 * 10_000)
    samples[20_000:22_000] = 0.6 * np.sin(np.arange(2000) * 0.5)
    soundfile.write(tmp_path / "a.wav", samples, 10_000)
    write_film(tmp_path / "a.wav", line(), tmp_path / "out.mp4", quiet=True)
    assert streams_of(tmp_path / "out.mp4")["rate"] == 48_000
    assert beep_of(tmp_path / "out.mp4") == pytest.approx(2.0, abs=0.001)


def test_a_small_film_shows_the_classes_that_have_room_and_says_so(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", size=(96, 64), seconds=2)
    timeline = line(4)
    many = Timeline(
        **{
            **vars(timeline),
            "labels": tuple(map(str, range(16))),
            "scores": np.tile(timeline.scores[:, :1], 16),
        }
    )
    said: list[str] = []
    write_film(source, many, tmp_path / "out.mp4", quiet=True, warn=said.append)
    assert said == ["at 96 x 64 there is room for 4 of 16 classes"]


def test_a_film_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = film(tmp_path / "a.mp4", seconds=1)
    (tmp_path / "out.mp4").write_bytes(b"an earlier film")
    monkeypatch.setattr(Panel, "draw", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_film(source, line(2), tmp_path / "out.mp4", quiet=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"an earlier film"


# --- the verb


@pytest.mark.parametrize("name", ["x.png", "x.svg", "x.html", "x.mp4"])
def test_the_verb_writes_what_the_suffix_says_and_nothing_to_standard_output(
    name: str, tmp_path: Path, model: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    arguments = ["--model", model, "--threads", 1, "--top", 2, "--hop", 0.1]
    assert run(capsys, "timeline", recording, "--out", out, *arguments) == (0, "", "")
    head = out.read_bytes()[:64]
    expected = {"x.png": b"\x89PNG", "x.svg": b"<?xml", "x.html": b"<!doctype html>", "x.mp4": b"ftyp"}[name]
    assert expected in head
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_range_of_the_recording_keeps_its_own_times(
    tmp_path: Path, model: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.html"
    span = ["--start", 1, "--end", 2.5]
    assert run(capsys, "timeline", recording, "--out", out, "--model", model, *span)[0] == 0
    edges = Page(out.read_text()).data()["edges"]
    assert edges == np.arange(1, 2.51, 0.25).tolist()


@pytest.mark.parametrize(
    "source, out, said",
    [
        ("nothing.wav", "x.png", "nothing.wav: does not exist"),
        ("a.wav", "x.gif", "x.gif: ends in '.gif'; expected one of .png"),
        ("a.wav", "x", "x: has no suffix"),
        ("a.wav", "no/x.png", "the folder no does not exist"),
        ("a.wav", "folder.png", "folder.png: is a folder"),
        ("a.mp4", "a.mp4", "a.mp4: is the recording itself"),
        ("a.mp4", "link.mp4", "link.mp4: is the recording itself"),
        ("silent.mp4", "x.mp4", "silent.mp4: has no audio stream"),
        ("silent.mp4", "x.png", "silent.mp4: has no audio stream"),
        ("-", "x.png", "standard input: a pipe cannot be read twice"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    source: str,
    out: str,
    said: str,
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", np.zeros(8000), 8000)
    Path("folder.png").mkdir()
    if "mp4" in source:
        film(Path("a.mp4"), seconds=1)
        Path("link.mp4").symlink_to("a.mp4")
        with av.open("silent.mp4", "w") as container:
            video = container.add_stream("mpeg4", rate=25)
            video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
            container.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
            container.mux(video.encode(None))
    before = sorted((path, path.stat().st_size) for path in Path().iterdir())
    status, printed, err = run(capsys, "timeline", source, "--out", out, "--model", model)
    assert (status, printed) == (2 if out in ("x.gif", "x") else 1, "")
    lines = [line for line in err.splitlines() if line.startswith(("auricle: error: ", "Error: "))]
    assert len(lines) == 1 and said in lines[0]
    assert status == 2 or len(err.splitlines()) == 1
    assert sorted((path, path.stat().st_size) for path in Path().iterdir()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no such folder there")
def test_a_folder_that_takes_no_file_is_named(
    tmp_path: Path, model: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(capsys, "timeline", recording, "--out", "/proc/x.png", "--model", model)
    assert status == 1 and err.startswith("auricle: error: /proc/x.png: ") and len(err.splitlines()) == 1


@pytest.mark.parametrize("name", ["x.png", "x.html", "x.mp4"])
def test_a_model_that_embeds_only_is_refused_in_one_line(
    name: str,
    tmp_path: Path,
    model: Path,
    recording: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Tagger.__init__

    def without_labels(self: Tagger, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        object.__setattr__(self, "artifact", replace(self.artifact, labels=()))

    monkeypatch.setattr(Tagger, "__init__", without_labels)
    status, printed, err = run(capsys, "timeline", recording, "--out", tmp_path / name, "--model", model)
    assert (status, printed) == (1, "") and len(err.splitlines()) == 1
    assert "has no labels, it embeds only: use `auricle embed`" in err
    assert not list(tmp_path.iterdir())


def test_letters_that_the_font_lacks_are_named_once_and_not_for_a_page(
    tmp_path: Path, model: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = tmp_path / "\u96e8\u725b.wav"
    strange.write_bytes(recording.read_bytes())
    _, _, err = run(capsys, "timeline", strange, "--out", tmp_path / "x.png", "--model", model)
    assert len(err.splitlines()) == 1 and "lacks 2 letters (\u725b\u96e8)" in err
    assert run(capsys, "timeline", strange, "--out", tmp_path / "x.html", "--model", model) == (0, "", "")


@pytest.mark.parametrize(
    "options", [["--start", 2, "--end", 1], ["--hop", 0], ["--hop", "nan"], ["--top", 0]]
)
def test_wrong_options_are_wrong_usage(
    options: list[object], recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(capsys, "timeline", recording, "--out", tmp_path / "x.png", *options)
    assert status == 2 and str(options[-2]) in err


def test_real_recordings_are_drawn(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "esc50" / "audio" / "1-100032-A-0.ogg"
    tagger = Tagger(threads=1)
    timeline = gather(tagger.windows(path), tagger.artifact.labels, tagger.artifact.rate, path=str(path))
    assert timeline.labels[0] == "dog" and len(timeline.labels) == 16
    assert math.isclose(timeline.starts[0], 0)
    draw_timeline(timeline, spectrogram(path, 0, float(timeline.stops[-1])))
