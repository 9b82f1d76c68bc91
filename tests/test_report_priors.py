"""Fig. 1 and the tables by class: what is drawn is what was read; pages need nothing but themselves."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from auricle.report.classes import PerClass, class_cells, classes_html, classes_markdown, read_per_class
from auricle.report.priors import (
    by_decade,
    draw_priors,
    priors_html,
    random_share,
    running,
    trend,
    write_priors,
)

VOID = {"meta", "input", "br", "img", "link", "hr", "source"}


class Page(HTMLParser):
    """Tags balance, attributes are seen, and the text of scripts is kept."""

    def __init__(self, content: str):
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: dict[str, str] = {}
        self.cells: list[str] = []
        self._script = ""
        self.feed(content)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        self._script = dict(attrs).get("id") or "code" if tag == "script" else ""
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data

    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts["data"])
        return found


def self_contained(content: str) -> Page:
    """The page, parsed, after a look for anything that it would fetch."""
    assert not re.search(r"https?:|//[a-z]+\.[a-z]", content)
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import)\s*\(|url\(|@import", content)
    page = Page(content)
    for tag, name, value in page.attributes:
        if name in ("src", "href", "srcset", "action"):
            assert value.startswith("data:"), f"<{tag} {name}={value[:60]}>"
    policy = [value for tag, name, value in page.attributes if (tag, name) == ("meta", "content")]
    assert any(value.startswith("default-src 'none'") for value in policy)
    return page


def many(count: int = 400, seed: int = 0) -> PerClass:
    rng = np.random.default_rng(seed)
    prior = 10.0 ** rng.uniform(-4, -0.5, count)
    d = 2 + rng.normal(0, 1, count) * (0.2 - 0.2 * np.log10(prior))
    d[3], d[5] = math.inf, math.nan
    return PerClass(
        labels=tuple(f"class {k}" for k in range(count)),
        positives=np.arange(count),
        ap=rng.uniform(0, 1, count),
        auc=np.where(np.isinf(d), 1.0, rng.uniform(0.5, 1, count)),
        d_prime=d,
        prior=prior,
    )


def drawn(figure: Any, gid: str) -> list[Any]:
    artists = [*figure.axes[0].collections, *figure.axes[0].lines]
    return [artist for artist in artists if artist.get_gid() == gid]


def test_the_points_drawn_are_the_classes() -> None:
    classes = many()
    figure = draw_priors(classes)
    (points,) = drawn(figure, "classes")
    finite = np.isfinite(classes.d_prime)
    np.testing.assert_array_equal(points.get_offsets()[:, 0], classes.prior[finite])
    np.testing.assert_array_equal(points.get_offsets()[:, 1], classes.d_prime[finite])
    np.testing.assert_array_equal(points.get_array(), classes.ap[finite])
    assert points.get_clim() == (0, 1)
    (edge,) = drawn(figure, "infinite")
    np.testing.assert_array_equal(edge.get_offsets()[:, 0], classes.prior[3:4])
    assert "1 with an infinite d′" in figure.get_supxlabel()
    assert "1 without a d′" in figure.get_supxlabel()


def test_the_line_drawn_is_the_running_mean_and_its_edges_a_deviation_away() -> None:
    classes = many()
    figure = draw_priors(classes)
    line = running(classes.prior, classes.d_prime)
    (mean,) = drawn(figure, "mean")
    np.testing.assert_array_equal(mean.get_ydata(), line["mean"])
    for artist, sign in zip(drawn(figure, "edge"), (-1, 1), strict=True):
        np.testing.assert_array_equal(artist.get_ydata(), line["mean"] + sign * line["deviation"])


def test_the_running_mean_is_the_slow_one() -> None:
    classes = many(60)
    line = running(classes.prior, classes.d_prime)
    usable = [
        (math.log10(p), d) for p, d in zip(classes.prior, classes.d_prime, strict=True) if math.isfinite(d)
    ]
    for n in (30, 60, 90):
        at = math.log10(line["prior"][n])
        weights = [math.exp(-((place - at) ** 2) / (2 * 0.25**2)) for place, _ in usable]
        mean = sum(w * d for w, (_, d) in zip(weights, usable, strict=True)) / sum(weights)
        spread = sum(w * (d - mean) ** 2 for w, (_, d) in zip(weights, usable, strict=True)) / sum(weights)
        assert line["mean"][n] == pytest.approx(mean)
        assert line["deviation"][n] == pytest.approx(math.sqrt(spread))


def test_figures_by_decade_are_those_of_the_classes_in_it() -> None:
    classes = many()
    rows = by_decade(classes.prior, classes.d_prime)
    assert sum(row["classes"] for row in rows) == 398 and sum(row["infinite"] for row in rows) == 1
    for row in rows:
        inside = [
            d
            for p, d in zip(classes.prior, classes.d_prime, strict=True)
            if row["low"] <= p < row["high"] and math.isfinite(d)
        ]
        assert row["classes"] == len(inside)
        assert row["mean"] == pytest.approx(sum(inside) / len(inside))
        mean = row["mean"]
        variance = sum((d - mean) ** 2 for d in inside) / (len(inside) - 1)
        assert row["deviation"] == pytest.approx(math.sqrt(variance))
    # Rare classes were made to scatter more: the claim of the paper can be read off.
    assert rows[0]["deviation"] > 1.5 * rows[-1]["deviation"]
    assert trend(classes.prior, classes.d_prime)["scatter_slope"] < -0.05


@pytest.mark.parametrize("prior, decade", [(1e-3, 1e-3), (0.0009999, 1e-4), (0.1, 0.1), (1.0, 1.0)])
def test_a_power_of_ten_begins_its_decade(prior: float, decade: float) -> None:
    assert by_decade(np.array([prior]), np.array([1.0]))[0]["low"] == pytest.approx(decade)


def test_equal_priors_have_neither_line_nor_trend_and_are_still_drawn() -> None:
    classes = PerClass.of(list("abcdef"), positives=[4] * 6, ap=[0.5] * 6, auc=[0.9] * 6, clips=200)
    assert not len(running(classes.prior, classes.d_prime)["mean"])
    assert trend(classes.prior, classes.d_prime)["slope"] is None
    figure = draw_priors(classes)
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_xlim()
    assert low < 0.02 < high
    self_contained(priors_html(classes))


def test_nothing_under_the_figure_runs_out_of_it() -> None:
    rng = np.random.default_rng(0)
    prior = 10.0 ** rng.uniform(-5, -0.1, 3000)
    classes = replace(
        many(3000), prior=prior, positives=np.maximum(1, prior * 90_000).astype(int), clips=100_000
    )
    classes.d_prime[:40] = math.nan
    classes.d_prime[40:90] = -math.inf
    figure = draw_priors(classes, title="Scenes mixed from a corpus " * 9)
    figure.draw_without_rendering()
    box = figure._supxlabel.get_window_extent()  # type: ignore[attr-defined]
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0
    assert box.y1 < figure.axes[0].xaxis.label.get_window_extent().y0 + 1
    title = figure.axes[0].title if figure.axes[0].get_title() else figure.axes[0]._left_title
    assert title.get_window_extent().x1 <= figure.bbox.x1 and title.get_window_extent().y1 <= figure.bbox.y1
    assert "partly that of few clips" in " ".join(figure.get_supxlabel().split())


def test_what_is_ranked_upside_down_points_down_in_the_picture_and_on_the_page() -> None:
    classes = PerClass.of(list("abc"), positives=[2] * 3, ap=[0.1, 0.5, 1], auc=[0.0, 0.7, 1.0], clips=9)
    assert classes.d_prime[0] == -math.inf
    down, up = sorted(drawn(draw_priors(classes), "infinite"), key=lambda artist: artist.get_offsets()[0, 1])
    assert down.get_paths()[0].vertices[:, 1].argmin() == 0 or down.get_paths()[0].vertices[0, 1] < 0
    assert up.get_paths()[0].vertices[0, 1] > 0
    assert "data.auc[k] > 0.5 ? -1 : 1" in priors_html(classes)


def test_nothing_to_draw_is_an_error() -> None:
    nothing = PerClass.of(["a"], positives=[0], ap=[math.nan], auc=[math.nan], clips=10)
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_priors(nothing)


def test_the_page_holds_the_classes_and_fetches_nothing() -> None:
    classes = many()
    page = self_contained(priors_html(classes))
    data = page.data()
    kept = [k for k in range(400) if k != 5]
    assert data["label"] == [f"class {k}" for k in kept]
    assert data["d"][3] is None and data["auc"][3] == 1  # infinite
    np.testing.assert_allclose(data["prior"], classes.prior[kept], rtol=1e-5)
    np.testing.assert_allclose(data["ap"], classes.ap[kept], rtol=1e-5)
    finite = [value for value in data["d"] if value is not None]
    np.testing.assert_allclose(finite, classes.d_prime[np.isfinite(classes.d_prime)], rtol=1e-5)
    assert data["positives"] == kept
    assert ("canvas", "tabindex", "0") in page.attributes


@pytest.mark.parametrize(
    "label", ["</script><script>alert(1)</script>", '"><img src=x>', "a\u2028b", "$x_{1"]
)
def test_no_label_breaks_out_of_a_page_or_a_figure(label: str, tmp_path: Path) -> None:
    classes = PerClass.of([label, "b"], positives=[1, 2], ap=[0.1, 0.2], auc=[0.6, 0.7], clips=9)
    page = self_contained(priors_html(classes, title=label))
    assert page.data()["label"][0] == label
    assert label in self_contained(classes_html(classes)).cells
    write_priors(classes, tmp_path, title=label)


def test_thirty_thousand_classes_make_a_page_of_less_than_three_megabytes() -> None:
    classes = many(30_871)
    assert len(priors_html(classes).encode()) < 3e6


def test_a_share_of_the_classes_is_random_repeatable_and_of_its_size() -> None:
    kept = random_share(30_871, 0.2)
    assert len(set(kept.tolist())) == 6174 and (np.diff(kept) > 0).all()
    assert (kept == random_share(30_871, 0.2)).all() and (kept != random_share(30_871, 0.2, seed=1)).any()
    assert abs(kept.mean() - 15_435) < 500
    assert len(random_share(3, 0.01)) == 1
    with pytest.raises(ValueError, match="share is 0"):
        random_share(3, 0)


def evaluation(folder: Path, header: str, *rows: str, clips: int | None = 40) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "per_class.csv").write_text("\n".join([header, *rows]) + "\n")
    if clips is not None:
        (folder / "metrics.json").write_text(json.dumps({"clips": clips}))
    return folder


def test_the_prior_of_an_older_table_is_counted(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", "label,positives,ap,auc,d_prime", "a,8,1,1.0,inf", "b,0,,,")
    classes = read_per_class(folder)
    assert classes.prior.tolist() == [0.2, 0] and classes.d_prime[0] == math.inf
    assert math.isnan(classes.ap[1]) and classes.prior_of == "evaluated"
    assert class_cells(classes)[1] == ["b", "0", "0", "–", "–", "–"]
    assert read_per_class(folder / "per_class.csv").labels == ("a", "b")


def test_the_prior_in_training_is_taken_where_it_is_known(tmp_path: Path) -> None:
    header = "label,positives,ap,auc,d_prime,prior,training_prior"
    folder = evaluation(tmp_path / "e", header, "a,8,0.5,0.9,1.8,0.2,0.001", clips=None)
    assert read_per_class(folder).prior.tolist() == [0.001]
    assert read_per_class(folder).prior_of == "trained on"
    (folder / "metrics.json").write_text('{"training_prior_of": "split train"}')
    assert read_per_class(folder).prior_of == "of split train", "the model need not have heard it"
    assert read_per_class(folder, prior="prior").prior.tolist() == [0.2]
    folder = evaluation(tmp_path / "f", header, "a,8,0.5,0.9,1.8,0.2,", clips=None)
    assert read_per_class(folder).prior.tolist() == [0.2]


@pytest.mark.parametrize(
    "header, row, clips, said",
    [
        ("label,positives,ap,auc", "a,8,1,1", 40, "no column 'd_prime'"),
        ("label,positives,ap,auc,d_prime", "a,8,x,1,1", 40, "row 2, ap is 'x'"),
        ("label,positives,ap,auc,d_prime", "a,8,1,1,1", None, "no column 'prior'"),
    ],
)
def test_a_table_that_lacks_something_is_named(
    tmp_path: Path, header: str, row: str, clips: int | None, said: str
) -> None:
    folder = evaluation(tmp_path / "e", header, row, clips=clips)
    with pytest.raises(ValueError, match=said) as raised:
        read_per_class(folder)
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize(
    "label", ["<script>alert(1)</script>", "a|b", "`x`", "[a](b)", "two\nlines", "R&amp;B"]
)
def test_a_label_is_no_markup_in_the_markdown_table(label: str) -> None:
    classes = PerClass.of([label, "b"], positives=[1, 2], ap=[0.1, 0.2], auc=[0.6, 0.7], clips=9)
    lines = classes_markdown(classes).splitlines()
    assert len(lines) == 4
    cell = lines[3].removeprefix("| ").partition(" | 1 |")[0]
    assert not re.search(r"(?<!\\)[<>`|\[\]]|(?<!\\)&(?=#?\w+;)", cell)
    assert re.sub(r"\\(.)", r"\1", cell) == " ".join(label.split())


def test_a_long_name_breaks_within_its_cell() -> None:
    classes = PerClass.of(["x" * 300], positives=[1], ap=[0.1], auc=[0.6], clips=9)
    content = classes_html(classes)
    assert ("table", "class", "numbers sortable names") in Page(content).attributes
    assert re.search(r"\.names td:first-child \{[^}]*overflow-wrap: anywhere", content)


def test_underscores_and_ampersands_of_names_stay_readable() -> None:
    classes = PerClass.of(["R&B_soul"], positives=[1], ap=[0.1], auc=[0.6], clips=9)
    assert "| R&B_soul |" in classes_markdown(classes)


def test_a_missing_table_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="auricle evaluate MODEL PACK --out"):
        read_per_class(tmp_path)


def test_the_table_as_a_page_and_as_markdown_has_the_figures() -> None:
    classes = PerClass.of(["b|c", "a"], positives=[1, 2], ap=[0.25, 0.5], auc=[0.75, 0.5], clips=8)
    page = self_contained(classes_html(classes))
    assert page.cells == [
        "b|c",
        "1",
        "0.125",
        "0.250",
        "0.750",
        "0.95",
        "a",
        "2",
        "0.25",
        "0.500",
        "0.500",
        "0.00",
    ]
    keys = [value for tag, name, value in page.attributes if name == "data-key"]
    assert [float(key) for key in keys[1:6]] == pytest.approx([1, 0.125, 0.25, 0.75, 0.95387], abs=1e-4)
    lines = classes_markdown(classes).splitlines()
    assert lines[2].startswith("| a | 2 | 0.25 |") and lines[3].startswith("| b\\|c |")


def test_drawing_leaves_no_state_behind(tmp_path: Path) -> None:
    import sys

    before = dict(matplotlib.rcParams)
    write_priors(many(50), tmp_path, title="x")
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
    assert {path.name for path in tmp_path.iterdir()} == {"priors.png", "priors.svg", "priors.html"}


def test_the_same_figure_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_priors(many(50), tmp_path / name)
    for name in ("priors.png", "priors.svg", "priors.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_label_in_any_script_is_no_warning(tmp_path: Path) -> None:
    classes = PerClass.of(["犬", "雨"], positives=[1, 2], ap=[0.1, 0.2], auc=[0.6, 0.7], clips=9)
    write_priors(classes, tmp_path, title="犬")
