"""Strategies of mixing compared fairly, on clips and on scenes that no training heard, and what they gain."""

import csv
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from mixing import SMALL, make_mixtures, mixing_options
from test_experiments import make_corpus

from auricle.evaluation import evaluate
from auricle.experiments import compare
from auricle.experiments.claims import FAILS, HOLDS, OPEN, UNTESTED, Scored, draw_figures, judge, read_scores
from auricle.experiments.estimate import estimate
from auricle.experiments.lines import append_results
from auricle.experiments.mix_training import mix_training
from auricle.experiments.mixtures import open_mixtures, shared_labels
from auricle.experiments.options import Claim, GainClaim
from auricle.experiments.two_steps import STRATEGIES
from auricle.metrics.ranking import average_precision
from auricle.shards import Pack
from auricle.shards.labels import add_label_view

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
    for run in runs:
        alike = {"mixing": "none", "finetune_mixing": "none", "train_fraction": 1.0}
        assert dataclasses.replace(run.config, **alike) == first
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
        each = [
            draw_figures(read_scores(finished / run["mixtures"]["evaluation"], labels))["map"] for run in runs
        ]
        drawn[row] = np.mean(each, axis=0)
    expected = judge(Claim(text="Mixup helps.", pairs=((FOUR[1], FOUR[0]),)), drawn)
    found = results["verdicts_on_mixtures"][0]
    assert (found["claim"], found["verdict"]) == (expected.text, expected.verdict)
    assert found["details"] == list(expected.details) != results["verdicts"][0]["details"]


def test_both_evaluations_go_into_results_csv(finished: Path, tmp_path: Path) -> None:
    results, path = json.loads((finished / "results.json").read_text()), tmp_path / "results.csv"
    assert append_results(results, "mix-training", path) == 8 * (4 + 3)
    assert append_results(results, "mix-training", path) == 0
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


# --- mixtures that may not judge


def change_events(scenes: Path, change: Callable[[dict[str, list]], None]) -> None:
    table = pq.read_table(scenes / "events.parquet")
    rows = table.to_pydict()
    change(rows)
    pq.write_table(pa.Table.from_pydict(rows, schema=table.schema), scenes / "events.parquet")


def foreign_fingerprint(scenes: Path) -> None:
    manifest = json.loads((scenes / "manifest.json").read_text())
    manifest["mixed_from"]["fingerprint"] = "0" * 32
    (scenes / "manifest.json").write_text(json.dumps(manifest))


def a_training_clip(scenes: Path) -> None:
    change_events(scenes, lambda rows: rows["source"].__setitem__(0, "0.wav"))


def a_validation_clip(scenes: Path) -> None:
    change_events(scenes, lambda rows: rows["source"].__setitem__(0, "16.wav"))


def a_recording_of_training(scenes: Path) -> None:
    change_events(scenes, lambda rows: rows["source_group"].__setitem__(0, "g0"))


def no_clip_of_the_pack(scenes: Path) -> None:
    change_events(scenes, lambda rows: rows["source"].__setitem__(0, "elsewhere.wav"))


def nothing_of_one_scene(scenes: Path) -> None:
    first = Pack(scenes).ids[0]
    change_events(
        scenes, lambda rows: rows.update(id=["other" if name == first else name for name in rows["id"]])
    )


def no_events(scenes: Path) -> None:
    (scenes / "events.parquet").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (foreign_fingerprint, "was mixed from another pack (manifest, fingerprint 000000000000)"),
        (a_training_clip, "source clips are of train, not of the test splits"),
        (a_validation_clip, "source clips are of validation, not of the test splits"),
        (a_recording_of_training, "recording g0 is also in the splits to train or validate on"),
        (no_clip_of_the_pack, "elsewhere.wav was mixed in, and is no clip of"),
        (nothing_of_one_scene, "events.parquet does not say what is in mixed-0"),
        (no_events, "events.parquet: is missing, and says what was mixed"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_scenes_of_sounds_that_are_not_for_tests_alone_are_refused(
    corpus: Path, scenes: Path, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    copy = tmp_path / "scenes"
    shutil.copytree(scenes, copy)
    options = mixing_options(corpus, tmp_path / "out", mixtures=copy, validation_splits=("validation",))
    assert open_mixtures(options) is not None
    change(copy)
    with pytest.raises(ValueError, match=re.escape(said)):
        compare("mix-training", options, quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_scene_of_nothing_but_silence_needs_no_event(corpus: Path, scenes: Path, tmp_path: Path) -> None:
    copy = tmp_path / "scenes"
    shutil.copytree(scenes, copy)
    nothing_of_one_scene(copy)
    options = mixing_options(corpus, tmp_path / "out", mixtures=copy)
    with pytest.raises(ValueError, match="does not say what is in mixed-0"):
        open_mixtures(options)
    audible = np.load(copy / "index/audible.npy")
    audible[0] = 0
    np.save(copy / "index/audible.npy", audible)
    assert open_mixtures(options) is not None


def test_scenes_mixed_from_training_too_and_packs_that_are_no_scenes_are_refused(
    corpus: Path, tmp_path: Path
) -> None:
    both = make_mixtures(corpus, tmp_path / "both", ("train", "test"))
    options = mixing_options(corpus, tmp_path / "out", mixtures=both)
    with pytest.raises(ValueError, match=r"source clips are of train, not of the test .* of test alone"):
        compare("mix-training", options, quiet=True)
    with pytest.raises(ValueError, match=r"is not a pack of mixed scenes.*auricle scenes"):
        compare("mix-training", dataclasses.replace(options, mixtures=corpus), quiet=True)


def test_a_recording_that_the_pack_itself_has_on_both_sides_is_found(
    corpus: Path, scenes: Path, tmp_path: Path
) -> None:
    """A corpus whose splits share a recording: its scenes say so by their source clips alone."""
    leaky = tmp_path / "pack"
    shutil.copytree(corpus, leaky)
    table = pq.read_table(leaky / "clips.parquet")
    sources = set(pq.read_table(scenes / "events.parquet")["source"].to_pylist())
    used = Pack(corpus).groups[np.isin(Pack(corpus).ids, list(sources - {None}))][0]
    groups = [used if row["id"] == "0.wav" else row["group"] for row in table.to_pylist()]
    place = table.column_names.index("group")
    pq.write_table(table.set_column(place, "group", pa.array(groups)), leaky / "clips.parquet")
    with pytest.raises(ValueError, match=f"recording {used} is also in the splits to train"):
        open_mixtures(mixing_options(leaky, tmp_path / "out", mixtures=scenes))


def test_scenes_without_a_common_label_are_refused(corpus: Path, tmp_path: Path) -> None:
    copy = tmp_path / "pack"
    shutil.copytree(corpus, copy)
    add_label_view(copy, "even", ["class0", "class2"], "labels")
    add_label_view(copy, "odd", ["class1", "class3"], "labels")
    odd = make_mixtures(copy, tmp_path / "odd", label_set="odd")
    with pytest.raises(ValueError, match="shares no label with set 'even'"):
        open_mixtures(mixing_options(copy, tmp_path / "out", mixtures=odd, label_set="even"))
    assert open_mixtures(mixing_options(copy, tmp_path / "out", mixtures=odd)) is not None


# --- gains


def test_verdicts_on_gains_follow_from_differences_of_differences() -> None:
    spread = np.concatenate([[0.0], np.linspace(-0.01, 0.01, 200)])
    rows = {"plain": 0.5 + spread, "mixed": 0.52 + spread, "plain, 20%": np.full(201, 0.3)}
    rows |= {"mixed, 20%": 0.4 + spread, "noisy, 20%": 0.32 + 5 * spread}

    def verdict(*gains: tuple[tuple[str, str], tuple[str, str]]) -> str:
        return judge(GainClaim(text="x", gains=gains), rows).verdict

    few, many = ("mixed, 20%", "plain, 20%"), ("mixed", "plain")
    assert verdict((few, many)) == HOLDS and verdict((many, few)) == FAILS
    assert verdict((("noisy, 20%", "plain, 20%"), many)) == OPEN
    assert verdict((("mixed, 5%", "plain, 20%"), many)) == UNTESTED == verdict()
    assert verdict((few, many), (many, few)) == FAILS
    # Gains that share a row: (mixed, 20% - plain) - (mixed - plain) = mixed, 20% - mixed.
    shared = judge(GainClaim(text="x", gains=((("mixed, 20%", "plain"), many),)), rows)
    alone = judge(Claim(text="x", pairs=(("mixed, 20%", "mixed"),)), rows)
    assert shared.details[0].partition(": ")[2] == alone.details[0].partition(": ")[2]


def test_a_difference_of_differences_is_drawn_over_the_same_recordings_for_all_four_rows() -> None:
    """Oracle: per draw, the four mAPs of the drawn clips by hand, then their double difference."""
    random = np.random.default_rng(5)
    targets = np.eye(3, dtype=bool)[random.integers(0, 3, 60)]
    groups = np.repeat([f"g{number}" for number in range(20)], 3)
    names = ("few mixed", "few plain", "many mixed", "many plain")
    skill = dict(zip(names, (0.5, 0.1, 0.7, 0.6), strict=True))
    rows = {
        name: Scored(
            targets, random.random((60, 3)) + skill[name] * targets, groups, np.arange(60).astype(str)
        )
        for name in names
    }
    claim = GainClaim(text="x", gains=((("few mixed", "few plain"), ("many mixed", "many plain")),))
    drawn = {name: draw_figures(scored, draws=40, seed=7)["map"] for name, scored in rows.items()}
    said = judge(claim, drawn).details[0]
    found = [float(number) for number in re.findall(r"[+-]\d\.\d{4}", said)]

    order, generator, gains = sorted(set(groups)), np.random.default_rng(7), []
    picks = [list(range(60))]
    for _ in range(40):
        chosen = generator.integers(20, size=20)
        picks.append([clip for g in chosen for clip in range(60) if groups[clip] == order[g]])
    for clips in picks:
        maps = {
            name: np.mean(
                [average_precision(targets[clips, k], scored.scores_NK[clips, k]) for k in range(3)]
            )
            for name, scored in rows.items()
        }
        gains.append((maps["few mixed"] - maps["few plain"]) - (maps["many mixed"] - maps["many plain"]))
    low, median, high = np.quantile(gains[1:], [0.025, 0.5, 0.975])
    assert abs(gains[0] - median) > 0.001  # copies in a draw raise the four figures, not all alike
    assert found == pytest.approx([gains[0], low + gains[0] - median, high + gains[0] - median], abs=5.1e-5)


def test_fractions_add_the_claim_that_mixing_gains_more_with_less(corpus: Path) -> None:
    options = mixing_options(corpus, Path("x"), fractions=(0.2, 1.0, 0.5))
    ends, each = mix_training(options).claims[4:]
    assert isinstance(ends, GainClaim) and isinstance(each, GainClaim)

    def gain(end: str) -> tuple[str, str]:
        return FOUR[3] + end, FOUR[0] + end

    assert ends.gains == ((gain(", 20%"), gain("")),)
    assert each.gains == tuple((gain(less), gain(more)) for more, less in pairwise(("", ", 50%", ", 20%")))
    assert len(mix_training(mixing_options(corpus, Path("x"))).claims) == 4


def test_clips_without_a_recording_of_their_own_are_drawn_one_by_one(tmp_path: Path) -> None:
    """Drawn as one recording they would give the same figures in every draw, and intervals of nothing."""
    rows = 6
    table = pa.table(
        {
            "id": [str(number) for number in range(rows)],
            "group": ["", "", "", "", "g", "g"],
            "scores": pa.FixedSizeListArray.from_arrays(pa.array(np.linspace(0, 1, rows * 2)), 2),
            "labels": [["a"], ["b"]] * 3,
        }
    ).replace_schema_metadata({"labels": '["a", "b"]'})
    pq.write_table(table, tmp_path / "scores.parquet")
    assert len(set(read_scores(tmp_path, ["a", "b"]).groups_N)) == 5


# --- the command


def test_the_verb_takes_settings_of_one_model_and_scenes(corpus: Path, scenes: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "auricle",
        "compare",
        "mix-training",
        "--data",
        str(corpus),
    ]
    command += [
        "--out",
        str(tmp_path / "out"),
        "--mixtures",
        str(scenes),
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    command += "--steps 5 --batch 4 --width 0.02 --draws 0 --set window=4096".split()
    command += [part for key, text in SMALL.items() for part in ("--set", f"raw_waveform:{key}={text}")]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], capture_output=True, text=True, cwd=root)

    planned = run("--plan")
    assert planned.returncode == 0, planned.stderr
    assert "4 runs to do, 0 done: about" in planned.stderr and "6 steps" in planned.stderr
    assert not (tmp_path / "out").exists()
    refused = run("--set", ":window=3")
    assert refused.returncode == 2 and "expected KEY or MODEL:KEY" in refused.stderr
    refused = run("--embedder", "vgg")
    assert refused.returncode == 2 and "is for embeddings, not for mix-training" in " ".join(
        refused.stderr.split()
    )
    refused = run("--mixtures", str(corpus))
    assert refused.returncode == 1 and "is not a pack of mixed scenes" in refused.stderr
