"""A comparison trains, judges and tabulates; killed, it goes on; what would not compare is refused."""

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from running import run

from auricle.engine import pack
from auricle.experiments import Options, choose_rates, choose_splits, compare
from auricle.experiments.architectures import LONGER, MODELS, architectures
from auricle.experiments.cells import as_html
from auricle.experiments.claims import FAILS, HOLDS, OPEN, UNTESTED, Scored, draw_figures, judge
from auricle.experiments.lines import write_results
from auricle.experiments.options import LEARNING_RATES, Claim
from auricle.experiments.runs import fingerprint
from auricle.experiments.training_size import training_size
from auricle.metrics.ranking import average_precision
from auricle.shards import Pack
from auricle.training import TrainConfig
from auricle.training.data import choose_clips

RATE = 16000
SECONDS = 2


def make_corpus(folder: Path, clips: int = 48, classes: int = 4) -> Path:
    """A pack of two-second tones in noise at 16 kHz: groups of two, a third of them for tests."""
    source, out = folder / "source", folder / "pack"
    source.mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = ["path,labels,split,group,esc10"]
    time = np.arange(SECONDS * RATE) / RATE
    for number in range(clips):
        label = number % classes
        samples = 0.3 * np.sin(2 * np.pi * 400 * 2**label * time + random.uniform(0, 6))
        soundfile.write(source / f"{number}.wav", samples + random.normal(0, 0.05, len(time)), RATE)
        split = ("train", "train", "validation", "test", "train", "test")[number * 6 // clips]
        rows.append(f"{number}.wav,class{label},{split},g{number // 2},{label < 2}")
    (source / "manifest.csv").write_text("\n".join(rows) + "\n")
    pack(source / "manifest.csv", out, rate=RATE, jobs=1, quiet=True)
    return out


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def options_for(corpus: Path, out: Path, **changes: object) -> Options:
    options = Options(
        data=corpus,
        out=out,
        train_splits=("train",),
        validation_splits=(),
        test_splits=("test",),
        models=("fully_connected", "alexnet"),
        steps=6,
        batch=4,
        width=0.02,
        settings={"precision": "float32"},
        device="cpu",
        threads=1,
        draws=20,
    )
    return dataclasses.replace(options, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared") / "out"
    compare("architectures", options_for(corpus, out), command="auricle compare ...", quiet=True)
    return out


def figures_of(out: Path) -> dict[str, dict]:
    """Row -> figures and verdicts, without what depends on the hour or the machine's speed."""
    results = json.loads((out / "results.json").read_text())
    rows = {row["row"]: (row["figures"], row["ranges"], row["steps"]) for row in results["rows"]}
    return {"rows": rows, "verdicts": results["verdicts"]}


# --- the table


def test_figures_in_the_table_are_those_of_the_evaluations(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    lines = (finished / "table.md").read_text().splitlines()
    assert [row["row"] for row in results["rows"]] == ["fully_connected", "alexnet"]
    for row in results["rows"]:
        metrics = json.loads(
            (finished / "runs" / f"{row['row']}-seed0" / "evaluation/metrics.json").read_text()
        )
        cells = next(line for line in lines if line.startswith(f"| {row['row']} |")).split(" | ")
        for figure in ("auc", "d_prime", "map", "accuracy"):
            assert row["figures"][figure] == metrics[figure]
            low, high = metrics["intervals"][figure]
            assert row["ranges"][figure] == [low, high]
            written = [float(cell.split()[0]) for cell in cells if "to" in cell]
            assert any(abs(number - metrics[figure]) <= 5.1e-5 for number in written), figure


def test_the_papers_rows_stand_beside_ours_and_alone_where_nothing_was_run(finished: Path) -> None:
    text = (finished / "table.md").read_text()
    ours = next(line for line in text.splitlines() if line.startswith("| alexnet |"))
    assert "| 0.894 | 1.764 | 0.115 |" in ours and "5 M" in ours
    alone = next(line for line in text.splitlines() if line.startswith("| resnet50 (paper only) |"))
    assert "| 0.916 | 1.952 | 0.182 |" in alone and alone.count(" |  |") >= 4


def test_the_caption_says_what_the_table_is_of(finished: Path) -> None:
    text = (finished / "table.md").read_text()
    parts = ["48 clips, 16000 Hz", "Trained on train, judged on test", "width 0.02", "batches of 4", "seed 0"]
    parts += ["float32", "commit", "auricle compare ...", "precision=float32", "6 mini-batches"]
    for part in parts:
        assert part in text, part
    assert re.search(r"Written \d{4}-\d\d-\d\d", text)
    assert "mixed" not in text.lower()


def test_a_corpus_of_scenes_is_called_mixed_in_title_and_caption(corpus: Path, tmp_path: Path) -> None:
    data = make_corpus(tmp_path / "scenes", clips=12)
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["mixed_from"] = {"heading": "Scenes mixed from recordings of x", "fingerprint": "of x"}
    (data / "manifest.json").write_text(json.dumps(manifest))
    compare("architectures", options_for(data, tmp_path / "out", models=("fully_connected",)), quiet=True)
    for name in ("table.md", "table.html"):
        text = (tmp_path / "out" / name).read_text()
        assert text.count("mixed from real recordings") >= 1 and "Mixed from real recordings: Scenes" in text


def test_the_page_needs_nothing_but_itself_and_holds_the_same_rows(finished: Path) -> None:
    page = (finished / "table.html").read_text()
    assert not re.search(r"https?://|<script|<link|src=", page)
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page

    cells: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            cells.append(data)

    Reader().feed(page)
    results = json.loads((finished / "results.json").read_text())
    for row in results["rows"]:
        assert row["row"] in cells and f"{row['figures']['map']:.4f}" in " ".join(cells)
    for verdict in results["verdicts"]:
        assert any(verdict["claim"] in cell for cell in cells) and verdict["verdict"] in cells


def test_names_cannot_break_the_page(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    results["rows"][0]["row"] = "<b>&"
    assert "&lt;b&gt;&amp;" in as_html(results)


def test_rows_of_the_paper_alone_are_told_from_ours_on_the_page(finished: Path) -> None:
    rows = re.findall(r"<tr( class=\"p\")?><th>(.*?)</th>", (finished / "table.html").read_text())[1:]
    assert rows[:2] == [("", "fully_connected"), ("", "alexnet")]
    assert len(rows) > 2 and all(kind and "(paper only)" in name for kind, name in rows[2:])


def test_seeds_are_averaged_with_their_range(corpus: Path, tmp_path: Path) -> None:
    compare(
        "architectures", options_for(corpus, tmp_path, models=("fully_connected",), seeds=(0, 1)), quiet=True
    )
    results = json.loads((tmp_path / "results.json").read_text())
    maps = [run["figures"]["map"] for run in results["runs"]]
    assert len(maps) == 2 and maps[0] != maps[1]
    row = results["rows"][0]
    assert row["figures"]["map"] == pytest.approx(sum(maps) / 2)
    assert row["ranges"]["map"] == [min(maps), max(maps)]


# --- going on


def test_a_finished_comparison_does_nothing_again(corpus: Path, finished: Path) -> None:
    kept = {path: path.stat().st_mtime_ns for path in (finished / "runs").rglob("*") if path.is_file()}
    before = figures_of(finished)
    compare("architectures", options_for(corpus, finished), quiet=True)
    assert kept == {
        path: path.stat().st_mtime_ns for path in (finished / "runs").rglob("*") if path.is_file()
    }
    assert figures_of(finished) == before


def test_more_models_are_added_to_the_rows_that_are_there(
    corpus: Path, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    compare("architectures", options_for(corpus, out, models=("fully_connected",)), quiet=True)
    first = (out / "runs/fully_connected-seed0/row.json").read_text()
    compare("architectures", options_for(corpus, out), quiet=True)
    assert (out / "runs/fully_connected-seed0/row.json").read_text() == first
    assert figures_of(out) == figures_of(finished)


def test_killed_at_any_moment_it_goes_on_to_the_same_table(corpus: Path, tmp_path: Path) -> None:
    changes = {"steps": 40, "models": ("fully_connected", "alexnet")}
    whole, broken = (options_for(corpus, tmp_path / name, **changes) for name in ("whole", "broken"))
    compare("architectures", whole, quiet=True)
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from pathlib import Path\n"
        "from test_experiments import options_for, compare\n"
        f"options = options_for(Path({str(corpus)!r}), Path({str(broken.out)!r}), **{changes!r})\n"
        "compare('architectures', options, quiet=True)\n"
    )
    root = Path(__file__).parents[1]
    killed = 0
    for wanted in ("runs/fully_connected-seed0/checkpoint.pt", "runs/alexnet-seed0/checkpoint.pt"):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=root, env=dict(os.environ))
        limit = time.monotonic() + 120
        while process.poll() is None and not (broken.out / wanted).is_file():
            assert time.monotonic() < limit
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed and not (broken.out / "runs/alexnet-seed0/row.json").is_file()
    compare("architectures", broken, quiet=True)
    assert figures_of(broken.out) == figures_of(whole.out)
    logs = [path.read_text() for path in broken.out.glob("runs/*/log.jsonl")]
    starts = [json.loads(line) for log in logs for line in log.splitlines() if '"event": "start"' in line]
    assert max(entry["step"] for entry in starts) > 0  # from the checkpoint, not from the beginning


# --- refusals


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 7}, "holds rows with steps 6, and 7 is asked for now: they would not compare"),
        ({"batch": 5}, "holds rows with batch 4, and 5 is asked for"),
        ({"width": 0.03}, "holds rows with width 0.02, and 0.03 is asked for"),
        ({"test_splits": ("validation",)}, "holds rows with test_splits test, and validation is asked for"),
        ({"settings": {}}, "holds rows with settings precision=float32, and none is asked for"),
        (
            {"learning_rates": {"alexnet": 0.5}},
            "alexnet-seed0: was trained with learning_rate 0.0003, and 0.5",
        ),
    ],
)
def test_what_would_not_compare_is_refused(corpus: Path, finished: Path, change: dict, said: str) -> None:
    before = sorted(path.name for path in finished.rglob("*"))
    with pytest.raises(ValueError, match=re.escape(said)):
        compare("architectures", options_for(corpus, finished, **change), quiet=True)
    assert before == sorted(path.name for path in finished.rglob("*"))


def test_another_experiment_or_another_pack_in_the_folder_is_refused(
    corpus: Path, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="holds rows with experiment architectures, and training-size"):
        compare("training-size", options_for(corpus, finished), quiet=True)
    other = make_corpus(tmp_path, clips=12)
    with pytest.raises(ValueError, match="holds rows with pack"):
        compare("architectures", options_for(other, finished), quiet=True)
    with pytest.raises(ValueError, match="unknown experiment 'table2'; known: architectures"):
        compare("table2", options_for(corpus, tmp_path / "x"), quiet=True)


def test_another_machine_may_go_on(corpus: Path, finished: Path) -> None:
    compare("architectures", options_for(corpus, finished, threads=2), quiet=True)


# --- what is run


def test_every_network_sees_the_same_mini_batches_and_the_last_17_fifths_of_them(corpus: Path) -> None:
    options = options_for(corpus, Path("x"), models=(), steps=1000)
    runs = {run.row: run.config for run in architectures(options).runs}
    assert tuple(runs) == (*MODELS, LONGER)
    for name in MODELS:
        assert (runs[name].steps, runs[name].batch, runs[name].schedule) == (1000, 4, "constant")
        assert runs[name].learning_rate == LEARNING_RATES[name]
        assert (runs[name].weight_decay, runs[name].mixing, runs[name].balance) == (0.0, "none", "patches")
    longer = runs[LONGER]
    assert (longer.steps, longer.schedule, longer.drop_at) == (3400, "step", 13 / 17)
    assert longer.model == "resnet50" and longer.learning_rate == runs["resnet50"].learning_rate


def test_settings_of_one_network_come_after_those_of_all(corpus: Path) -> None:
    own = {"alexnet": {"model_arguments.width": "0.5", "precision": "bfloat16"}}
    runs = architectures(options_for(corpus, Path("x"), model_settings=own)).runs
    kept = {run.row: (run.config.model_arguments["width"], run.config.precision) for run in runs}
    assert kept == {"fully_connected": (0.02, "float32"), "alexnet": (0.5, "bfloat16")}


def test_a_setting_of_a_later_version_leaves_fingerprints_as_they_are(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = architectures(options_for(corpus, Path("x"))).runs[0]
    before, as_dict = fingerprint(run), TrainConfig.as_dict
    monkeypatch.setattr(TrainConfig, "as_dict", lambda config: as_dict(config) | {"later": "usual"})
    assert fingerprint(run) == before
    longer = dataclasses.replace(run, config=dataclasses.replace(run.config, steps=7))
    assert fingerprint(longer) != before


def test_rows_that_differ_in_anything_have_fingerprints_of_their_own(corpus: Path) -> None:
    options = options_for(corpus, Path("x"), models=(), fractions=(0.5, 0.2))
    plan = [*architectures(options).runs, *training_size(options).runs]
    plan += architectures(dataclasses.replace(options, test_splits=("validation",))).runs
    assert len({fingerprint(run) for run in plan}) == len(plan) > 10


def test_training_sizes_are_nested_by_recording(corpus: Path) -> None:
    options = options_for(corpus, Path("x"), models=("resnet50",), fractions=(1.0, 0.5, 0.2, 0.1, 0.05))
    opened = Pack(corpus)
    sets = [set(choose_clips(opened, run.config)[0].tolist()) for run in training_size(options).runs]
    assert len(sets) == 5 and len(sets[0]) == len(opened.select(["train"]))
    for larger, smaller in zip(sets, sets[1:], strict=False):
        assert smaller <= larger and smaller
    assert len(sets[0]) > len(sets[1]) > len(sets[2])
    for clips in sets:  # a recording is in whole, or not at all
        groups = {opened.groups[clip] for clip in clips}
        assert clips == {clip for clip in sets[0] if opened.groups[clip] in groups}


def test_training_sizes_are_tabulated_with_their_numbers_of_clips(corpus: Path, tmp_path: Path) -> None:
    options = options_for(corpus, tmp_path, models=("fully_connected",), fractions=(0.5, 1.0))
    rows = compare("training-size", options, quiet=True)
    assert [row["columns"]["fraction"] for row in rows] == [1.0, 0.5]
    assert rows[0]["train_clips"] == 24 and rows[1]["train_clips"] == 12
    text = (tmp_path / "table.md").read_text()
    half = next(line for line in text.splitlines() if line.startswith("| fully_connected, 50% | 50% |"))
    assert "|  |  |  | 12 | 6 |" in half and "| 70K (paper only) | 0.1% |" in text


def test_splits_are_found_by_name_or_named_once(corpus: Path) -> None:
    opened = Pack(corpus)
    assert choose_splits(opened) == (("train",), ("validation",), ("test",))
    assert choose_splits(opened, test=("validation",)) == (("test", "train"), (), ("validation",))
    with pytest.raises(ValueError, match="no split 'tset'; there are: test, train, validation"):
        choose_splits(opened, test=("tset",))
    with pytest.raises(ValueError, match="'test' is named for two purposes"):
        choose_splits(opened, train=("test", "train"))


def test_rates_are_chosen_by_validation_and_used(corpus: Path, tmp_path: Path) -> None:
    options = options_for(corpus, tmp_path, models=("fully_connected",), validation_splits=("validation",))
    with pytest.raises(ValueError, match="--validation-splits"):
        choose_rates("architectures", dataclasses.replace(options, validation_splits=()), [0.1], steps=3)
    chosen = choose_rates("architectures", options, [1e-9, 1e-3], steps=30)
    tried = json.loads((tmp_path / "rates.json").read_text())
    maps = tried["map"]["fully_connected"]
    assert set(maps) == {"1e-09", "0.001"}
    best = float(max(maps, key=maps.get))
    assert tried["chosen"] == chosen.learning_rates == {"fully_connected": best}
    run = architectures(chosen).runs[0]
    assert run.config.learning_rate == best
    again = choose_rates("architectures", options, [1e-9, 1e-3], steps=30)
    assert again == chosen
    wild = dataclasses.replace(
        options, out=tmp_path / "wild", settings={**options.settings, "log_every": "1"}
    )
    assert choose_rates("architectures", wild, [1e30, 1e-3], steps=30).learning_rates == {
        "fully_connected": 1e-3
    }
    named = dataclasses.replace(options, learning_rates={"fully_connected": 0.25}, out=tmp_path / "named")
    assert choose_rates("architectures", named, [1e-9], steps=3).learning_rates == {"fully_connected": 0.25}


def test_rates_of_nets_on_embeddings_that_are_made_later_must_be_given(tmp_path: Path) -> None:
    options = options_for(make_corpus(tmp_path), tmp_path / "out", validation_splits=("validation",))
    options = dataclasses.replace(options, embedder="fully_connected", models=())
    with pytest.raises(ValueError, match="--rates cannot try multi_attention, single_attention: "):
        choose_rates("embeddings", options, [1e-3], steps=3)
    assert not (tmp_path / "out").exists()


# --- claims


def test_a_claim_of_which_a_row_is_missing_is_not_said_to_hold(corpus: Path, tmp_path: Path) -> None:
    plan = architectures(options_for(corpus, tmp_path / "out", models=("fully_connected", "alexnet")))
    better = {"fully_connected": {0: np.full(9, 0.2)}, "alexnet": {0: np.full(9, 0.8)}}
    assert [judge(claim, better).verdict for claim in plan.claims] == [UNTESTED] * 3
    whole = {name: {0: np.full(9, 0.1 * place)} for place, name in enumerate((*MODELS, LONGER))}
    assert [judge(claim, whole).verdict for claim in plan.claims] == [HOLDS] * 3


def test_verdicts_follow_from_the_intervals_of_differences() -> None:
    spread = np.concatenate([[0.0], np.linspace(-0.1, 0.1, 200)])
    rows = {"base": np.full(201, 0.5), "more": 0.8 + spread, "less": 0.2 + spread, "same": 0.51 + spread}

    def verdict(*pairs: tuple[str, str]) -> str:
        return judge(Claim(text="x", pairs=pairs), {row: {0: drawn} for row, drawn in rows.items()}).verdict

    assert verdict(("more", "base")) == HOLDS and verdict(("less", "base")) == FAILS
    rows["undefined"] = np.full(201, np.nan)
    assert verdict(("undefined", "base")) == UNTESTED
    assert verdict(("same", "base")) == OPEN and verdict(("base", "gone")) == UNTESTED == verdict()
    assert verdict(("more", "base"), ("same", "base")) == OPEN
    assert verdict(("more", "base"), ("less", "base"), ("same", "base")) == FAILS


def test_differences_are_drawn_over_recordings_alike_for_both_rows() -> None:
    random = np.random.default_rng(3)
    targets = np.eye(3, dtype=bool)[random.integers(0, 3, 60)]
    groups = np.repeat([f"g{number}" for number in range(20)], 3)
    ids = np.arange(60).astype(str)
    scores = random.random((60, 3)) + 0.4 * targets
    one = Scored(targets, scores, groups, ids)
    drawn = draw_figures(one, draws=25, seed=1)["map"]
    assert np.array_equal(drawn, draw_figures(one, draws=25, seed=1)["map"]) and len(drawn) == 26
    slow = np.mean([average_precision(targets[:, k], scores[:, k]) for k in range(3)])
    assert drawn[0] == pytest.approx(slow)
    # By hand: the first draw's recordings, whole, each as often as it was drawn.
    names = sorted(set(groups))
    chosen = np.random.default_rng(1).integers(20, size=20)
    clips = [clip for g in chosen for clip in range(60) if groups[clip] == names[g]]
    slow = np.mean([average_precision(targets[clips, k], scores[clips, k]) for k in range(3)])
    assert drawn[1] == pytest.approx(slow)


# --- results.csv


def test_rows_for_results_csv_are_written_once_and_only_when_asked(finished: Path, tmp_path: Path) -> None:
    assert not list(finished.rglob("*.csv")) or not (finished / "results.csv").exists()
    results, path = json.loads((finished / "results.json").read_text()), tmp_path / "results.csv"
    header = (Path(__file__).parents[1] / "results.csv").read_text().splitlines()[0]
    path.write_text(header + "\n")
    assert write_results(results, "architectures", path) == 8
    assert write_results(results, "architectures", path) == 0
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    row = next(row for row in rows if row["metric"] == "map" and "alexnet" in row["recipe"])
    assert (row["data"], row["fold"], row["paper"]) == ("pack", "test", "0.115")
    assert row["recipe"].endswith(f"width {results['rows'][1]['width']:g}, 6 steps, seed 0")
    assert float(row["ours"]) == pytest.approx(results["rows"][1]["figures"]["map"], abs=5.1e-5)
    path.write_text("a,b\n")
    with pytest.raises(ValueError, match="has the columns a, b; expected recipe, data"):
        write_results(results, "architectures", path)


# --- the command


def test_the_verb_plans_runs_and_names_its_table(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["compare", "architectures", "--data", str(corpus), "--out", str(tmp_path / "out")]
    given += (
        "--device cpu --threads 1 --models fully_connected --steps 4 --batch 4 --width 0.02 --draws 0".split()
    )
    status, _, error = run(capsys, *given, "--plan")
    assert status == 0 and "1 runs to do, 0 done: about" in error and not (tmp_path / "out").exists(), error
    command = [sys.executable, "-W", "error", "-m", "auricle", *given, "--results", str(tmp_path / "r.csv")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out/table.md\n"), done.stderr
    assert "auricle compare architectures --data" in (tmp_path / "out/table.md").read_text()
    assert (tmp_path / "r.csv").read_text().startswith("recipe,data,fold,metric")
    status, _, error = run(capsys, *given, "--steps", "5")
    assert status == 1 and len(error.splitlines()) == 1
    assert "holds rows with steps 4, and 5 is asked for now" in error
