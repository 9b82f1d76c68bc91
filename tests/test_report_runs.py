"""Learning curves, what is taken for what, and the verb `report`: what is drawn is what was logged."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_report_priors import self_contained

from auricle.cli import main
from auricle.report.classes import read_per_class
from auricle.report.confusion import confusion, draw_confusion, read_confusion
from auricle.report.curves import Curves, draw_curves, read_log, read_logs
from auricle.report.folders import write_report
from auricle.report.priors import draw_priors
from auricle.report.spread import by_sampling


def run_folder(path: Path, *, validated: bool = True, rate: float = 0.001) -> Path:
    path.mkdir(parents=True)
    lines = [{"step": 0, "seconds": 0.1, "event": "start", "steps": 300}]
    for step in range(10, 310, 10):
        lines.append({"step": step, "seconds": step / 10, "loss": 1 / step, "learning_rate": rate})
        if validated and step % 100 == 0:
            mean = None if step == 100 else 0.1 + step / 1000
            lines.append(
                {"step": step, "seconds": step / 10, "validation_map": mean, "validation_accuracy": 0.5}
            )
    text = "\n".join(json.dumps(entry) for entry in lines)
    (path / "log.jsonl").write_text(text + '\n{"step": 310, "lo')  # cut off by a kill
    return path


def test_the_curves_drawn_are_the_figures_logged(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / "a"), run_folder(tmp_path / "b", validated=False, rate=0.002)]
    figure = draw_curves(read_logs(runs))
    panels = {axes.get_ylabel(): axes for axes in figure.axes}
    assert list(panels) == ["training loss", "validation mAP", "validation accuracy", "learning rate"]
    steps = np.arange(10, 310, 10)
    for axes, expected in (
        (panels["training loss"], 1 / steps),
        (panels["learning rate"], np.full(30, 0.001)),
    ):
        assert [drawn.get_label() for drawn in axes.lines] == ["a", "b"]
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), steps)
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), expected)
    (only,) = panels["validation mAP"].lines
    np.testing.assert_array_equal(only.get_xdata(), [100, 200, 300])
    np.testing.assert_allclose(only.get_ydata(), [np.nan, 0.3, 0.4])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]


def test_runs_of_one_name_are_told_apart_and_many_have_different_lines(tmp_path: Path) -> None:
    runs = read_logs([run_folder(tmp_path / str(n) / "run") for n in range(9)])
    assert len({run.name for run in runs}) == 9
    lines = draw_curves(runs).axes[0].lines
    assert len({(drawn.get_color(), str(drawn.get_linestyle())) for drawn in lines}) == 9


def test_every_point_is_inside_its_panel_and_axes_begin_at_zero() -> None:
    steps = np.arange(100, 900, 100)
    falling = np.linspace(5.12, 4.3, 8)
    falling[3] = np.inf  # a loss that went out of bounds
    run = Curves(name="a", series={"loss": (steps, falling), "learning_rate": (steps, np.full(8, 0.001))})
    loss, rate = draw_curves([run]).axes
    assert loss.get_ylim()[0] == rate.get_ylim()[0] == 0
    assert 5.12 * 1.03 < loss.get_ylim()[1] < 5.12 * 1.3 and 0.00103 < rate.get_ylim()[1] < 0.0013
    nothing = Curves(name="b", series={"loss": (steps, np.zeros(8))})
    assert draw_curves([nothing]).axes[0].get_ylim() == (0, 1)


def test_a_log_without_figures_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="auricle train --out"):
        read_log(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"step": 0, "seconds": 0, "event": "start"}\n')
    with pytest.raises(ValueError, match="no figure in it yet"):
        read_log(tmp_path)


def evaluation(
    folder: Path, truths: list[list[str]], names: list[str], scores: np.ndarray, *, half: bool = False
) -> Path:
    folder.mkdir(exist_ok=True)
    flat = pa.array(scores.astype(np.float16 if half else np.float32).reshape(-1))
    columns = {
        "logits" if half else "scores": pa.FixedSizeListArray.from_arrays(flat, len(names)),
        "labels": pa.array(truths),
    }
    pq.write_table(
        pa.table(columns).replace_schema_metadata({"labels": json.dumps(names)}), folder / "scores.parquet"
    )
    rows = [f"{name},{4 + n},0.5,0.{6 + n},1.{n},0.{n + 1},0.0{n + 1}" for n, name in enumerate(names)]
    header = "label,positives,ap,auc,d_prime,prior,training_prior"
    (folder / "per_class.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.mark.parametrize("half", [False, True])
def test_the_confusion_is_what_scored_highest_by_true_label(half: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ["cat", "dog", "rain"]
    truths = [names[k] for k in rng.integers(0, 3, 50)]
    scores = rng.uniform(size=(50, 3))
    scores = scores.astype(np.float16)
    found = read_confusion(
        evaluation(tmp_path / "e", [[label] for label in truths], names, scores, half=half)
    )
    assert found is not None
    slow = [[0] * 3 for _ in range(3)]
    for truth, row in zip(truths, scores.tolist(), strict=True):
        slow[names.index(truth)][row.index(max(row))] += 1
    assert found[0].tolist() == slow and found[1] == names
    figure = draw_confusion(*found)
    drawn = np.array(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(drawn, np.array(slow) / np.array(slow).sum(axis=1, keepdims=True))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == names
    right = sum(slow[k][k] for k in range(3))
    (title,) = [text for text in figure.texts if text.get_gid() == "title"]
    assert f"{right} of 50" in title.get_text()


REAL = ["Livestock, farm animals, working animals", "Bird vocalization, bird call, bird song"]


@pytest.mark.parametrize(
    "names",
    [
        REAL,
        [*REAL, "x" * 300, *[f"{REAL[0]} {k}" for k in range(5)]],
        [f"a name of some length {k}" for k in range(100)],
        ["a"],
    ],
)
def test_cells_keep_their_size_and_names_their_place_however_long_they_are(names: list[str]) -> None:
    heading = "Scenes mixed from recordings of a corpus with a long name, " * 2
    figure = draw_confusion(np.eye(len(names), dtype=int), names, heading=heading)
    figure.draw_without_rendering()
    dpi = figure.dpi
    matrix = figure.axes[0].get_window_extent()
    assert matrix.width / dpi / len(names) >= 0.16 and matrix.width == pytest.approx(matrix.height)
    assert matrix.width / dpi >= 1.9
    labels = figure.axes[0].get_yticklabels()
    assert all(len(label.get_text()) <= 32 for label in labels)
    boxes = [label.get_window_extent() for label in labels]
    for above, below in zip(boxes, boxes[1:], strict=False):
        assert above.y0 >= below.y1 - 1
    across = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    everything = [*boxes, *across, *(text.get_window_extent() for text in figure.texts)]
    everything += [axis.label.get_window_extent() for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis)]
    everything.append(figure.axes[1].yaxis.label.get_window_extent())
    for box in everything:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    assert max(box.x1 for box in boxes) <= matrix.x0 and figure.axes[
        0
    ].xaxis.label.get_window_extent().y1 < min(box.y0 for box in across)


def test_more_labels_than_can_be_read_have_no_confusion(tmp_path: Path) -> None:
    names = [f"n{k}" for k in range(101)]
    assert read_confusion(evaluation(tmp_path / "e", [["n0"]], names, np.zeros((1, 101)))) is None


@pytest.mark.parametrize("truths", [[["cat", "dog"], ["cat"]], [[], ["cat"]], [["cow"], ["cat"]]])
def test_clips_of_several_labels_have_no_confusion(truths: list[list[str]], tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", truths, ["cat", "dog"], np.zeros((2, 2)))
    assert read_confusion(folder) is None


def test_a_class_without_clips_is_an_empty_row() -> None:
    figure = draw_confusion(confusion(["a"], ["a"], ["a", "b"]), ["a", "b"])
    assert np.array(figure.axes[0].images[0].get_array()).tolist() == [[1, 0], [0, 0]]


def test_the_verb_draws_all_and_prints_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["cat", "dog", "rain"]
    folder = evaluation(tmp_path / "e", [["cat"], ["dog"], ["rain"]], names, np.eye(3))
    run = run_folder(tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        main(["report", str(folder), str(run), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.err) == (0, "")
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {
        *("priors.png", "priors.svg", "priors.html", "classes.html", "classes.md"),
        *("confusion.png", "curves.png"),
    }
    assert all(name in printed.out for name in made)
    # d' 1.0, 1.1, 1.2 at priors 0.01, 0.02, 0.03: one decade.
    decade = next(row for row in printed.out.splitlines() if row.split()[:1] == ["0.01"])
    sampled = by_sampling(1.1, np.array([4, 5, 6]), 40)  # 4 positives at a prior of 0.1 are 40 clips
    assert decade.split() == ["0.01", "0.1", "3", "1.10", "0.10", f"{sampled:.2f}", "5", "0"]
    assert "slope +0.41" in printed.out
    for name in ("priors.html", "classes.html"):
        self_contained((tmp_path / "out" / name).read_text())


def test_letters_that_the_font_lacks_are_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluation(tmp_path / "e", [["\u725b"], ["dog"]], ["\u725b", "dog"], np.eye(2))
    with pytest.raises(SystemExit):
        main(["report", str(folder), "--out", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and "lacks 1 letter (\u725b)" in err


def test_the_printed_table_and_the_picture_carry_the_heading_of_mixed_scenes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluation(tmp_path / "e", [["cat"], ["dog"]], ["cat", "dog"], np.eye(2))
    (folder / "metrics.json").write_text(json.dumps({"mixed_from": "Mixed from real recordings"}))
    with pytest.raises(SystemExit):
        main(["report", str(folder), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out.splitlines()
    at = printed.index("d′ by decade of the label prior")
    assert printed[at - 1] == "Mixed from real recordings"
    svg = (tmp_path / "out" / "priors.svg").read_text()
    assert ">Mixed from real recordings</dc:title>" in svg.replace("\n", "").replace("  ", "")


def test_few_clips_of_rare_labels_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "e"
    folder.mkdir()
    rows = [f"r{k},{4 + k},0.5,0.8,1.2,{(4 + k) / 1500},0.00{k + 1}" for k in range(5)]
    rows += [f"f{k},{300 + k},0.5,0.8,1.{k},{(300 + k) / 1500},0.2{k}" for k in range(5)]
    header = "label,positives,ap,auc,d_prime,prior,training_prior"
    (folder / "per_class.csv").write_text("\n".join([header, *rows]) + "\n")
    with pytest.raises(SystemExit):
        main(["report", str(folder), "--out", str(tmp_path / "out")])
    err = capsys.readouterr().err
    said = (
        "the median of test positives runs from 6 to 302 by decade: the spread of rare labels is then partly "
        "that of few clips; mix a balanced test split"
    )
    assert err == f"auricle: warning: {said}\n"
    assert said in (tmp_path / "out" / "priors.html").read_text()
    classes = read_per_class(folder)
    assert classes.clips == 1500
    assert said in " ".join(draw_priors(classes).get_supxlabel().split())


def test_figures_on_mixed_scenes_say_so(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", [["cat"], ["dog"]], ["cat", "dog"], np.eye(2))
    for heading in (None, "Scenes mixed from recordings of R&B"):
        (folder / "metrics.json").write_text(json.dumps({"mixed_from": heading}))
        write_report([folder], tmp_path / "out")
        written = {name: (tmp_path / "out" / name).read_text() for name in ("priors.html", "classes.html")}
        assert all(
            ("<h1>Scenes mixed from recordings of R&amp;B" in page) == bool(heading)
            for page in written.values()
        )
        table = (tmp_path / "out" / "classes.md").read_text()
        assert table.startswith(f"{heading}\n\n| class" if heading else "| class")


def test_a_share_of_the_classes_is_drawn_and_the_numbers_stay_of_all(tmp_path: Path) -> None:
    names = [f"n{k}" for k in range(9)]
    folder = evaluation(tmp_path / "e", [["n0"]], names, np.zeros((1, 9)))
    report = write_report([folder], tmp_path / "out", share=0.34)
    assert report.priors is not None
    assert sum(row["classes"] for row in report.priors["decades"]) == 9
    page = self_contained((tmp_path / "out" / "priors.html").read_text())
    assert len(page.data()["label"]) == 3


@pytest.mark.parametrize(
    "folders, said",
    [(["nothing"], "holds neither per_class.csv nor log.jsonl"), (["e", "f"], "a second evaluation")],
)
def test_wrong_folders_are_named_in_one_line(
    folders: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("e", "f"):
        evaluation(tmp_path / name, [["a"]], ["a"], np.zeros((1, 1)))
    with pytest.raises(SystemExit) as ended:
        main(["report", *[str(tmp_path / name) for name in folders], "--out", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert ended.value.code == 1 and said in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
