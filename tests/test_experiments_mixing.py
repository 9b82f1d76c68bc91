"""Strategies of mixing compared fairly, on clips and on scenes that no training heard, and what they gain."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mixing import SMALL, make_mixtures, mixing_options
from running import run
from test_experiments import make_corpus

from auricle.evaluation import evaluate
from auricle.experiments import choose_rates, compare
from auricle.experiments.claims import draw_figures, judge, read_scores
from auricle.experiments.estimate import estimate
from auricle.experiments.lines import write_results
from auricle.experiments.mix_training import mix_training
from auricle.experiments.mixtures import shared_labels
from auricle.experiments.options import Claim
from auricle.experiments.two_steps import STRATEGIES
from auricle.metrics.ranking import average_precision
from auricle.shards import Pack

FOUR = tuple(f"raw_waveform, {strategy}" for strategy in STRATEGIES)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def scenes(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mixtures(corpus, tmp_path_factory.mktemp("mixed") / "scenes")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def finished(corpus: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared") / "out"
    compare("mix-training", mixing_options(corpus, out, mixtures=scenes, seeds=(0, 1)), quiet=True)
    return out


# --- what is run


def test_the_four_strategies_have_the_same_steps_rates_and_clips(corpus: Path) -> None:
    options = mixing_options(corpus, Path("x"), steps=100, finetune_steps=None, fractions=(1.0, 0.5))
    runs = mix_training(options).runs
    assert [run.row for run in runs] == [*FOUR, *(f"{row}, 50%" for row in FOUR)]
    mixed = [(run.config.mixing, run.config.finetune_mixing) for run in runs]
    assert mixed[:4] == mixed[4:] == [
        ("none", "none"), ("mixup", "mixup"), ("mix_training", "mix_training"), ("mix_training", "none")
    ]  # fmt: skip
    first = runs[0].config
    assert (first.steps, first.finetune_steps, first.learning_rate, first.finetune_rate) == (
        100,
        20,
        3e-4,
        0.1,
    )
    assert (first.optimizer, first.schedule, first.balance) == ("adam", "constant", "classes")
    assert (first.window, first.hop) == (4096, 4096)  # windows one beside the other, of clips and of scenes
    for one in runs:
        alike = {"mixing": "none", "finetune_mixing": "none", "train_fraction": 1.0}
        assert dataclasses.replace(one.config, **alike) == first
    assert {run.config.train_fraction for run in runs[4:]} == {0.5}


def test_networks_on_log_mels_keep_their_patches_and_only_mixed_rows_have_a_range_of_ratios(
    corpus: Path,
) -> None:
    settings = {"window": "4096", "mix_range": "0,1"}
    options = mixing_options(corpus, Path("x"), models=("raw_waveform", "resnet50"), settings=settings)
    runs = {run.row: run.config for run in mix_training(options).runs}
    assert {runs[row].window for row in FOUR} == {4096}
    logmel = [config for row, config in runs.items() if row.startswith("resnet50")]
    assert len(logmel) == 4 and {(config.window, config.hop) for config in logmel} == {(15600, 15360)}
    assert runs[FOUR[0]].mix_range == (0.4, 0.6) and runs[FOUR[3]].mix_range == (0.0, 1.0)
    own = dataclasses.replace(options, model_settings={"resnet50": {"window": "31200"}})
    config = next(run.config for run in mix_training(own).runs if run.config.model == "resnet50")
    assert (config.window, config.hop) == (31200, 31200)


def test_settings_of_one_model_reach_its_rows_alone(corpus: Path) -> None:
    own = {"raw_waveform": {"model_arguments.depth_2d": "34"}, "resnet50": {"model_arguments.width": "0.1"}}
    options = mixing_options(
        corpus, Path("x"), models=("raw_waveform", "resnet50"), model_settings=own, width=0.02
    )
    arguments = {run.config.model: run.config.model_arguments for run in mix_training(options).runs}
    assert arguments == {"raw_waveform": {"width": 0.02, "depth_2d": 34}, "resnet50": {"width": 0.1}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": {"mixing": "none"}}, "--set mixing: rows differ in it"),
        ({"model_settings": {"raw_waveform": {"steps": "9"}}}, "--set steps: rows differ in it"),
        ({"models": ("multi_attention",)}, "multi_attention takes stored embeddings, which cannot be mixed"),
        ({"models": ("resnet50",)}, "--set window is for networks on raw waveforms, and no row is of one"),
        ({"model_settings": {"resnet50": SMALL}}, "--set names 'resnet50', but no row is of that model"),
        ({"learning_rates": {"raw": 0.1}}, "--learning-rate names 'raw', but no row is of that model"),
        (
            {"model_settings": {"raw_waveform": {"model_arguments.depth": "9"}}},
            "does not take these arguments",
        ),
    ],
)
def test_settings_that_would_be_ignored_or_make_rows_alike_are_refused(
    corpus: Path, tmp_path: Path, change: dict, said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        compare("mix-training", mixing_options(corpus, tmp_path / "out", **change), quiet=True)


def test_the_plan_counts_both_steps_and_all_evaluations(corpus: Path, scenes: Path, tmp_path: Path) -> None:
    run = mix_training(mixing_options(corpus, tmp_path)).runs[3]
    alone, more = estimate([run])[0], estimate([run], mixtures=Pack(scenes))[0]
    assert alone.steps == more.steps == 6
    clips, window = 16, 4096  # of 2 s, scored before and after fine-tuning; scenes of 4 s once
    windows = [2 * clips * (2 * 16000 // window), 12 * (4 * 16000 // window)]
    judged = [windows[0], sum(windows)]
    for item, count in zip((alone, more), judged, strict=True):
        assert item.seconds == pytest.approx(item.step_seconds * (6 + count / 4 / 2))


def test_rates_are_tried_without_fine_tuning(corpus: Path, tmp_path: Path) -> None:
    options = mixing_options(corpus, tmp_path, validation_splits=("validation",))
    chosen = choose_rates("mix-training", options, [1e-4, 1e-2], steps=2)
    assert list(chosen.learning_rates) == ["raw_waveform"]
    tried = json.loads((tmp_path / "rates/raw_waveform-0.01/config.json").read_text())
    assert (tried["steps"], tried["finetune_steps"], tried["mixing"]) == (2, None, "none")
    rate = chosen.learning_rates["raw_waveform"]
    assert {run.config.learning_rate for run in mix_training(chosen).runs} == {rate}


# --- the table


def test_every_figure_is_that_of_an_evaluation_averaged_over_seeds(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert [row["row"] for row in results["rows"]] == list(FOUR)
    keys = {"": ("evaluation", "map"), "before_": ("before", "map"), "mixtures_": ("mixtures", "d_prime")}
    for row in results["rows"]:
        runs = [run for run in results["runs"] if run["row"] == row["row"]]
        assert [run["seed"] for run in runs] == [0, 1]
        for prefix, (folder, figure) in keys.items():
            each = [
                json.loads((finished / "runs" / run["name"] / folder / "metrics.json").read_text())[figure]
                for run in runs
            ]
            assert row["figures"][prefix + figure] == pytest.approx(np.mean(each))
            assert row["ranges"][prefix + figure] == [min(each), max(each)]


def test_the_interval_of_a_mean_over_seeds_is_that_of_its_draws(finished: Path) -> None:
    """Oracle: each draw's clips picked by hand, each class's average precision alone, seeds averaged."""
    results = json.loads((finished / "results.json").read_text())
    row = results["rows"][1]
    labels = ["class0", "class1", "class2", "class3"]
    each = [read_scores(finished / path, labels) for path in row["evaluations"]]
    names, random = sorted(set(each[0].groups_N)), np.random.default_rng(0)
    means = []
    for _ in range(200):
        chosen = [names[number] for number in random.integers(len(names), size=len(names))]
        clips = [clip for name in chosen for clip in np.flatnonzero(each[0].groups_N == name)]
        maps = []
        for scored in each:
            targets, scores = scored.targets_NK[clips], scored.scores_NK[clips]
            aps = [average_precision(targets[:, k], scores[:, k]) for k in range(4) if targets[:, k].any()]
            maps.append(np.mean(aps))
        means.append(np.mean(maps))
    shift = row["figures"]["map"] - np.median(means)
    low, high = np.quantile(means, [0.025, 0.975]) + shift
    assert row["intervals"]["map"] == pytest.approx([max(low, 0), min(high, 1)])
    assert low < row["figures"]["map"] < high
    low, high = row["intervals"]["map"]
    line = next(text for text in (finished / "table.md").read_text().splitlines() if FOUR[1] in text)
    seeds = " to ".join(f"{bound:.3f}" for bound in row["ranges"]["map"])
    assert f"{row['figures']['map']:.4f} (seeds {seeds}; recordings {low:.3f} to {high:.3f})" in line


def test_before_fine_tuning_is_what_step_one_leaves(corpus: Path, finished: Path) -> None:
    run = finished / "runs/raw_waveform-mix-training-seed0"
    again = evaluate(run / "stage1", corpus, splits=["test"], draws=0, threads=1, quiet=True)
    row = json.loads((run / "row.json").read_text())
    assert row["before"]["figures"]["map"] == again["map"]
    same_start = json.loads(
        (finished / "runs/raw_waveform-mix-training-without-fine-tuning-seed0/row.json").read_text()
    )
    assert same_start["before"]["figures"]["map"] == again["map"]  # the two differ in step two alone
    assert "mAP before fine-tuning" in (finished / "table.md").read_text()


def test_the_papers_rows_and_both_evaluations_stand_in_the_table(finished: Path) -> None:
    text, page = (finished / "table.md").read_text(), (finished / "table.html").read_text()
    ours = next(line for line in text.splitlines() if line.startswith(f"| {FOUR[3]} |"))
    assert "| 0.95 | 2.38 | 0.296 |" in ours and "| 24 | 4 + 2 |" in ours
    assert "paper only" not in text
    for part in (
        "mixtures AUC",
        "mixtures d'",
        "mixtures mAP",
        "12 scenes mixed from clips of test, 4 groups",
    ):
        assert part in text and (part in page or part.replace("'", "&#x27;") in page)
    assert "raw_waveform:model_arguments.bands=8" in text and "4 mini-batches at the rate and 2 at" in text
    claimed = re.findall(r"^- (.*?) \*\*", text, re.MULTILINE)
    assert len(claimed) == 8 and claimed[:4] == claimed[4:]
    assert page.count("<small>seeds ") == page.count("<small>recordings ") == 4 * 8


def test_claims_are_judged_on_the_mixtures_by_the_labels_of_both(
    corpus: Path, scenes: Path, finished: Path
) -> None:
    labels = shared_labels(Pack(corpus).label_names(), Pack(scenes))
    assert labels == ["class0", "class1", "class2", "class3"]
    results = json.loads((finished / "results.json").read_text())
    drawn = {}
    for row in FOUR[:2]:
        runs = [run for run in results["runs"] if run["row"] == row]
        drawn[row] = {
            run["seed"]: draw_figures(read_scores(finished / run["mixtures"]["evaluation"], labels))["map"]
            for run in runs
        }
    expected = judge(Claim(text="Mixup helps.", pairs=((FOUR[1], FOUR[0]),)), drawn)
    found = results["verdicts_on_mixtures"][0]
    assert (found["claim"], found["verdict"]) == (expected.text, expected.verdict)
    assert found["details"][:1] == list(expected.details) != results["verdicts"][0]["details"][:1]
    assert [detail.split(": ")[1][:3] for detail in found["details"]] == ["mAP", "d' ", "AUC"]


def test_both_evaluations_go_into_results_csv(finished: Path, tmp_path: Path) -> None:
    results, path = json.loads((finished / "results.json").read_text()), tmp_path / "results.csv"
    assert write_results(results, "mix-training", path) == 8 * (4 + 3)
    assert write_results(results, "mix-training", path) == 0
    with path.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] == "map"]
    recipe = "mix-training: raw_waveform, mix-training, width 0.02, 4 + 2 steps, "
    recipe += "".join(f"{key}={value}, " for key, value in SMALL.items()) + "seed 1"
    mine = [row for row in rows if row["recipe"] == recipe]
    assert [(row["data"][:12], row["paper"]) for row in mine] == [("pack", "0.296"), ("Scenes mixed", "")]
    run = next(run for run in results["runs"] if run["name"] == "raw_waveform-mix-training-seed1")
    assert float(mine[1]["ours"]) == pytest.approx(run["mixtures"]["figures"]["map"], abs=5.1e-5)


# --- going on


def test_mixtures_that_are_given_later_judge_without_training_again(
    corpus: Path, scenes: Path, tmp_path: Path
) -> None:
    options = mixing_options(
        corpus, tmp_path / "out", models=("resnet50",), settings={"precision": "float32"}
    )
    options = dataclasses.replace(options, model_settings={}, steps=2, finetune_steps=1)
    compare("mix-training", options, quiet=True)
    assert "mixtures mAP" not in (tmp_path / "out/table.md").read_text()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/runs").glob("*/*/*") if path.is_file()}
    rows = compare("mix-training", dataclasses.replace(options, mixtures=scenes), quiet=True)
    assert kept == {path: path.stat().st_mtime_ns for path in kept} and len(kept) > 20
    assert all(row["mixtures"]["figures"]["clips"] == 12 for row in rows)
    assert "mixtures mAP" in (tmp_path / "out/table.md").read_text()
    other = make_mixtures(corpus, tmp_path / "other", scenes=8)
    rows = compare("mix-training", dataclasses.replace(options, mixtures=other), quiet=True)
    assert all(row["mixtures"]["figures"]["clips"] == 8 for row in rows)
    assert kept == {path: path.stat().st_mtime_ns for path in kept if "mixtures" not in path.parts}


def test_stopped_between_training_and_judging_it_goes_on_with_what_was_trained(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = mixing_options(corpus, tmp_path, steps=2, finetune_steps=1)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("auricle.experiments.judging.evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        compare("mix-training", options, quiet=True)
    monkeypatch.undo()
    run = tmp_path / "runs/raw_waveform-none-seed0"
    made = (run / "last/weights.safetensors").stat().st_mtime_ns
    assert not (run / "row.json").exists()
    rows = compare("mix-training", options, quiet=True)
    assert (run / "last/weights.safetensors").stat().st_mtime_ns == made and len(rows) == 4


def test_another_length_of_fine_tuning_does_not_compare(corpus: Path, finished: Path) -> None:
    options = mixing_options(corpus, finished, seeds=(0, 1), finetune_steps=3)
    with pytest.raises(ValueError, match="holds rows with finetune_steps 2, and 3 is asked for now"):
        compare("mix-training", options, quiet=True)


# --- the command


def test_the_verb_takes_settings_of_one_model_and_scenes(
    corpus: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["compare", "mix-training", "--data", corpus, "--out", tmp_path / "out", "--mixtures", scenes]
    given += "--device cpu --threads 1 --steps 5 --batch 4 --width 0.02 --draws 0 --set window=4096".split()
    given += [part for key, text in SMALL.items() for part in ("--set", f"raw_waveform:{key}={text}")]

    def said(*more: object) -> tuple[int, str]:
        status, _, error = run(capsys, *given, *more)
        return status, " ".join(error.split())

    status, error = said("--plan")
    assert status == 0 and "4 runs to do, 0 done: about" in error and "6 steps" in error, error
    assert not (tmp_path / "out").exists()
    status, error = said("--plan", "--mix-ranges", "0:1,.2:.8", "--judge-training")
    assert status == 0 and "6 runs to do, 0 done: about" in error, error
    assert "raw_waveform-mix-training-a-in-0.2-0.8-seed0" in error
    status, error = said("--mix-ranges", "0-1")
    assert status == 2 and "'0-1': expected ranges LOW:HIGH separated by commas" in error
    status, error = said("--set", ":window=3")
    assert status == 2 and "expected KEY or MODEL:KEY" in error
    status, error = said("--embedder", "vgg")
    assert status == 2 and "is for embeddings, not for mix-training" in error
    status, error = said("--mixtures", corpus)
    assert status == 1 and "is not a pack of mixed scenes" in error
