"""How well nets fit the clips that they were trained on, beside how well they judge others."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mixing import SMALL, make_mixtures, mixing_options
from test_experiments import make_corpus, options_for

from auricle.evaluation import evaluate
from auricle.experiments import compare
from auricle.experiments.claims import read_scores
from auricle.experiments.estimate import estimate
from auricle.experiments.mix_training import mix_training
from auricle.experiments.options import Claim
from auricle.experiments.table import LEARNED, fit_in_words
from auricle.experiments.training_size import training_size
from auricle.shards import Pack
from auricle.training.data import choose_clips

HEAD = "mAP on training clips"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_each_run_is_judged_on_the_very_clips_that_it_was_trained_on(corpus: Path, tmp_path: Path) -> None:
    options = options_for(
        corpus,
        tmp_path,
        models=("fully_connected",),
        fractions=(1.0, 0.5),
        seeds=(0, 1),
        judge_training=True,
    )
    rows = compare("training-size", options, quiet=True)
    pack = Pack(corpus)
    for run, row in zip(training_size(options).runs, rows, strict=True):
        trained = choose_clips(pack, run.config)[0]
        assert row["fit"]["figures"]["clips"] == row["fit"]["figures"]["clips_in_training"] == len(trained)
        judged = read_scores(tmp_path / row["fit"]["evaluation"], pack.label_names())
        assert set(judged.ids_N) == set(pack.ids[trained].tolist())
    assert [row["fit"]["figures"]["clips"] for row in rows] == [24, 24, 12, 12]
    results = json.loads((tmp_path / "results.json").read_text())
    for row in results["rows"]:
        each = [run["fit"]["figures"]["map"] for run in rows if run["row"] == row["row"]]
        assert row["figures"]["fit_map"] == pytest.approx(np.mean(each))
        for name in ("table.md", "table.html"):
            text = (tmp_path / name).read_text()
            assert HEAD in text and f"{np.mean(each):.4f}" in text
    again = evaluate(
        tmp_path / "runs/fully_connected-50-seed1/last",
        pack,
        clips=choose_clips(pack, training_size(options).runs[3].config)[0],
        draws=0,
        threads=1,
        quiet=True,
    )
    assert again["map"] == rows[3]["fit"]["figures"]["map"]


def test_labels_that_a_row_learned_are_those_that_its_fit_is_of(corpus: Path, tmp_path: Path) -> None:
    options = options_for(
        corpus,
        tmp_path,
        models=("fully_connected",),
        labels=("4", "2"),
        unlabelled="drop",
        judge_training=True,
    )
    rows = compare("label-set", options, quiet=True)
    fits = {row["columns"]["labels"]: row["fit"]["figures"] for row in rows}
    assert (fits[4]["classes"], fits[4]["clips"]) == (4, 24) and (fits[2]["classes"], fits[2]["clips"]) == (
        2,
        12,
    )
    assert all(row["figures"]["classes"] == 2 for row in rows)


def test_detectors_on_embeddings_are_judged_on_the_clips_that_they_learned_from(
    corpus: Path, tmp_path: Path
) -> None:
    options = options_for(
        corpus, tmp_path, models=(), embedder="alexnet", heads=("single_attention",), judge_training=True
    )
    rows = compare("embeddings", options, quiet=True)
    assert "fit" not in rows[0] and not rows[0]["shown"]
    for row in rows[1:]:
        assert row["fit"]["figures"]["clips"] == row["train_clips"] == 12
        assert row["fit"]["figures"]["classes"] == 2


def test_finished_runs_are_judged_on_their_training_clips_without_training(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = mixing_options(corpus, tmp_path / "out", mixtures=make_mixtures(corpus, tmp_path / "scenes"))
    compare("mix-training", options, quiet=True)
    assert HEAD not in (tmp_path / "out/table.md").read_text()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/runs").glob("*/*/*") if path.is_file()}
    asked = dataclasses.replace(options, judge_training=True)
    compare("mix-training", asked, plan_only=True)
    assert capsys.readouterr().err == "4 finished runs to judge further, without training\n"
    rows = compare("mix-training", asked, quiet=True)
    assert kept == {path: path.stat().st_mtime_ns for path in kept} and len(kept) > 20
    assert all(row["fit"]["figures"]["clips"] == 24 for row in rows)
    assert HEAD in (tmp_path / "out/table.md").read_text()
    fits = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/runs").glob("*/fit/*")}
    assert len(fits) == 12 and compare("mix-training", asked, quiet=True) == rows
    assert compare("mix-training", options, quiet=True) == rows  # what is known stays
    assert fits == {path: path.stat().st_mtime_ns for path in fits}


def test_the_plan_counts_the_training_clips_that_are_judged(corpus: Path, tmp_path: Path) -> None:
    run = mix_training(mixing_options(corpus, tmp_path)).runs[0]
    more = estimate([run], judge_training=True)[0]
    windows = (2 * 16 + 24) * (2 * 16000 // 4096)
    assert more.seconds == pytest.approx(more.step_seconds * (6 + windows / 4 / 2))


def test_the_caption_names_rows_that_have_not_learned_their_own_clips_and_no_others() -> None:
    fits = {"none": LEARNED + 0.01, "mixup": LEARNED - 0.01, "undefined": None}
    rows = [{"row": row, "figures": {"fit_map": fit}} for row, fit in fits.items()]
    assert fit_in_words(rows) == [
        "Far from 1 is the mAP on the training clips of mixup (0.89): it has not overfitted, so what keeps "
        "nets from overfitting cannot show its worth there."
    ]
    assert fit_in_words(rows[:1]) == fit_in_words([{"row": "not judged so", "figures": {}}]) == []
    both = fit_in_words([*rows, {"row": "less", "figures": {"fit_map": 0.5}}])[0]
    assert "of mixup (0.89); less (0.50): these have not" in both


# --- ranges of ratios


def test_further_ranges_are_rows_that_differ_in_the_range_alone(corpus: Path) -> None:
    ranges = ((0.0, 1.0), (0.25, 0.75))
    options = mixing_options(
        corpus, Path("x"), models=("raw_waveform", "resnet50"), fractions=(1.0, 0.5), mix_ranges=ranges
    )
    plan = mix_training(options)
    runs = {run.row: run.config for run in plan.runs}
    assert len(runs) == 2 * 2 * 6 and len({run.name for run in plan.runs}) == 24
    for model in ("raw_waveform", "resnet50"):
        for end in ("", ", 50%"):
            usual = runs[f"{model}, mix-training{end}"]
            for said, ends in (("(0, 1)", ranges[0]), ("(0.25, 0.75)", ranges[1])):
                other = runs[f"{model}, mix-training, a in {said}{end}"]
                assert usual.mix_range == (0.4, 0.6) and other.mix_range == ends
                assert dataclasses.replace(other, mix_range=(0.4, 0.6)) == usual
                assert (other.mixing, other.finetune_mixing) == ("mix_training", "none")
    claim = plan.claims[4]
    assert (
        isinstance(claim, Claim)
        and claim.text == "Ratios a in (0.4, 0.6) are better than those of other ranges."
    )
    assert len(claim.pairs) == 8
    assert ("resnet50, mix-training, 50%", "resnet50, mix-training, a in (0, 1), 50%") in claim.pairs
    names = {run.name for run in plan.runs}
    assert "raw_waveform-mix-training-a-in-0-1-seed0" in names
    without = {run.name for run in mix_training(dataclasses.replace(options, mix_ranges=())).runs}
    assert without < names  # rows that were there keep their folders


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mix_ranges": ((0.4, 0.6),)}, "--mix-ranges 0.4:0.6: name each range once, and not 0.4:0.6"),
        ({"mix_ranges": ((0.0, 1.0), (0.0, 1.0))}, "--mix-ranges 0:1,0:1: name each range once"),
        ({"mix_ranges": ((0.7, 0.2),)}, "expected two numbers from 0 to 1, the smaller first"),
        (
            {"mix_ranges": ((0.0, 1.0),), "settings": {"mix_range": "0.1,0.9", "window": "4096"}},
            "--set mix_range: rows differ in it",
        ),
    ],
)
def test_ranges_that_would_make_rows_alike_are_refused(corpus: Path, change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        mix_training(mixing_options(corpus, Path("x"), **change))


def test_rows_of_further_ranges_are_trained_and_their_claim_is_judged(corpus: Path, tmp_path: Path) -> None:
    options = mixing_options(corpus, tmp_path, mix_ranges=((0.0, 1.0),), steps=2, finetune_steps=1)
    rows = compare("mix-training", options, quiet=True)
    assert [row["row"] for row in rows][-1] == "raw_waveform, mix-training, a in (0, 1)" and len(rows) == 5
    arguments = json.loads((tmp_path / "runs" / rows[4]["name"] / "config.json").read_text())
    assert arguments["mix_range"] == [0.0, 1.0] and rows[4]["paper"] == {} and rows[4]["settings"] == SMALL
    text = (tmp_path / "table.md").read_text()
    assert "mix-training against raw_waveform, mix-training, a in (0, 1): mAP " in text
