"""Tables of urban sounds: rows of one training, families, baselines; claims by another figure than mAP."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_model
import tiny_urban
import torch
from tiny_urban import TREE, TinyBoth
from tones import TinyPlain
from typer.testing import CliRunner

from auricle.cli import app
from auricle.datasets.taxonomy import write_taxonomy
from auricle.embedding import embed_pack
from auricle.engine import pack
from auricle.evaluation.urban import evaluate_submission, evaluate_urban
from auricle.experiments import Options, choose_rates, choose_splits, compare
from auricle.experiments.claims import UNTESTED
from auricle.experiments.estimate import estimate
from auricle.experiments.trainings import finished_twin, trainings
from auricle.experiments.urban import ASKED_FOR, ROWS, urban
from auricle.experiments.urban_claims import PAPER, row_names
from auricle.experiments.urban_judging import URBAN_FIGURES
from auricle.models import MODELS
from auricle.shards import Pack, add_labels

NAMES = row_names("CNN+tiny", "tiny")
CLIPS, RATE = 36, tiny_urban.RATE
SPLITS = {"train": 20, "validate": 28, "test": CLIPS}  # split -> the clip after its last
HEARD = {
    f"features.{name}": str(value)
    for name, value in {
        "rate": RATE, "window": 512, "hop": 160, "fft": 512, "bands": tiny_urban.BANDS, "low": 60,
        "high": 7600,
    }.items()
}  # fmt: skip


class TinyFused(TinyBoth):
    """The tiny network of two inputs, with the arguments of `urban_fusion`."""

    def __init__(self, *, num_classes: int, fusion: str = "concatenation", width: float = 1.0, **rest: Any):
        super().__init__(num_classes=num_classes, **rest)


class TinyHearing(TinyPlain):
    """The tiny network on log-mels, with the arguments of `urban_cnn` and `vggish`."""

    def __init__(self, *, num_classes: int, input_shape: Any, width: float = 1.0):
        super().__init__(num_classes=num_classes)
        self.input_shape = tuple(input_shape)


@pytest.fixture(autouse=True, scope="module")
def _tiny_nets() -> Any:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "urban_fusion", TinyFused)
        patch.setitem(MODELS, "urban_cnn", TinyHearing)
        patch.setitem(MODELS, "vggish", TinyHearing)
        yield


def split_of(clip: int) -> str:
    return next(name for name, end in SPLITS.items() if clip < end)


def make_corpus(folder: Path) -> Path:
    """36 clips of a second under `tiny_urban.TREE`, with the label sets of `auricle annotations`."""
    source, out = folder / "sounds", folder / "pack"
    source.mkdir()
    random, time = np.random.default_rng(0), np.arange(RATE) / RATE
    rows, said = ["path,labels,split,group"], {}
    for clip in range(CLIPS):
        fine = sorted({tiny_urban.COMPLETE[clip % 5], tiny_urban.COMPLETE[(clip * clip + clip // 5) % 5]})
        tones = sum(np.sin(2 * np.pi * tiny_urban.HERTZ[one] * time + random.uniform(0, 6)) for one in fine)
        name = f"{clip:02d}.wav"
        soundfile.write(source / name, 0.2 * tones + random.normal(0, 0.02, RATE), RATE)
        rows.append(f"{name},{fine[0]},{split_of(clip)},g{clip // 2}")
        unknown: list[str] = []
        if clip % 4 == 1 and "1-1_small" in fine:
            fine = [one for one in fine if one != "1-1_small"] + ["1-X_unclear"]
            unknown = ["1-1_small", "1-2_large"]
            unknown = [one for one in unknown if one not in fine]
        said[clip] = ([*fine, *{TREE.coarse[int(one[0]) - 1] for one in fine}], unknown)
    (source / "manifest.csv").write_text("\n".join(rows) + "\n")
    pack(source / "manifest.csv", out, rate=RATE, jobs=1, quiet=True)
    ids = [str(name) for name in Pack(out).ids]
    given: dict[str, Any] = {"names": TREE.labels, "taxonomy": TREE.as_dict()}
    hidden = {ids[clip]: unknown for clip, (_, unknown) in said.items() if unknown}
    for name in ("agreement25", "agreement50", "agreement75"):
        add_labels(out, name, {ids[clip]: own for clip, (own, _) in said.items()}, unknown=hidden, **given)
    soft = {ids[clip]: {label: 0.75 for label in own} for clip, (own, _) in said.items()}
    add_labels(out, "soft", soft, unknown=hidden, **given)
    judged = {ids[clip]: own for clip, (own, _) in said.items() if split_of(clip) != "train"}
    nothing = {ids[clip]: TREE.labels for clip in said if split_of(clip) == "train"}
    kept = {name: labels for name, labels in hidden.items() if name in judged}
    add_labels(out, "verified", judged, unknown=nothing | kept, **given)
    return out


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.25 s at 8 kHz -> 4 values."""
    path = tmp_path_factory.mktemp("embedder") / "model"
    return tiny_model.save(path, hop=tiny_model.WINDOW).path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, embedder: Path) -> Path:
    path = make_corpus(tmp_path_factory.mktemp("urban"))
    embed_pack(path, embedder, name="tiny", threads=1, quiet=True)
    return path


def options_for(corpus: Path, out: Path, **changes: Any) -> Options:
    train, validation, test = choose_splits(Pack(corpus))
    options = Options(
        data=corpus,
        out=out,
        train_splits=train,
        validation_splits=validation,
        test_splits=test,
        rows=(
            "fusion",
            "cnn",
            "baseline-fine",
            "baseline-coarse",
            "coarse",
            "hierarchical",
            "hierarchical-all",
        ),
        epochs=1.0,
        batch=5,
        settings={**HEARD, "window": str(RATE), "hop": str(RATE), "precision": "float32"},
        device="cpu",
        threads=1,
        draws=20,
    )
    return dataclasses.replace(options, **changes)


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared") / "out"
    compare("urban", options_for(corpus, out), command="auricle compare urban ...", quiet=True)
    return out


def results_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


def test_a_split_called_validate_is_for_validation(corpus: Path) -> None:
    assert choose_splits(Pack(corpus)) == (("train",), ("validate",), ("test",))


def test_every_row_has_its_figures_and_the_papers_stand_beside(finished: Path) -> None:
    results = results_of(finished)
    rows = {row["row"]: row for row in results["rows"]}
    asked = ("fusion", "fusion-fine", "cnn", "baseline-fine", "baseline-coarse", "coarse")
    assert list(rows) == [NAMES[row] for row in (*asked[:5], "hierarchical", "hierarchical-all", "coarse")]
    for row, (_, paper) in PAPER.items():
        assert rows[NAMES[row]]["paper"] == paper
    for name, row in rows.items():
        alone = name in (NAMES["coarse"], NAMES["baseline-coarse"])
        for figure in URBAN_FIGURES:
            assert (row["figures"][figure] is None) == (alone and figure.endswith("fine")), (name, figure)
    text = (finished / "table.md").read_text()
    assert "fine micro AUPRC" in text and "mAP" not in text and "| 0.646 |" in text
    for part in (
        "Embeddings, in VGGish's place: 4 x 4",
        "1 epochs of 20 clips",
        "Baselines learn agreement25",
        "judged on test, monitored on validate",
    ):
        assert part in text, part


def test_two_rows_of_one_training_are_judged_by_a_checkpoint_each(finished: Path, corpus: Path) -> None:
    runs = {run["row"]: run for run in results_of(finished)["runs"]}
    first, second = (runs[NAMES[row]] for row in ("fusion", "fusion-fine"))
    assert not (finished / "runs" / second["name"] / "log.jsonl").exists(), "trained once"
    for run, checkpoint in ((first, "best-micro_auprc_coarse"), (second, "best")):
        model = finished / "runs" / first["name"] / checkpoint
        figures = evaluate_urban(model, corpus, splits=("test",), draws=0, quiet=True)
        for level in ("fine", "coarse"):
            assert run["figures"][f"micro_auprc_{level}"] == figures[level]["micro_auprc"]


def test_other_rows_have_each_level_by_the_checkpoint_that_is_best_at_it(
    finished: Path, corpus: Path
) -> None:
    run = next(run for run in results_of(finished)["runs"] if run["row"] == NAMES["cnn"])
    for level, checkpoint in (("fine", "best"), ("coarse", "best-micro_auprc_coarse")):
        model = finished / "runs" / run["name"] / checkpoint
        figures = evaluate_urban(model, corpus, splits=("test",), draws=0, quiet=True)[level]
        assert run["figures"][f"macro_auprc_{level}"] == figures["macro_auprc"]
    kept = json.loads((finished / run["evaluation"] / "metrics.json").read_text())
    assert kept["fine"]["micro_f1"] == run["figures"]["micro_f1_fine"]


def test_models_that_rows_share_are_trained_once(finished: Path, corpus: Path) -> None:
    plan = urban(options_for(corpus, finished))
    runs = {run.row: run for run in plan.runs}
    shared = trainings(runs[NAMES["hierarchical-all"]])
    assert list(shared) == ["members/all", "members/1_engine", "members/2_alert"]

    def weights(folder: str) -> bytes:
        return (finished / "runs" / folder / "best" / "weights.safetensors").read_bytes()

    family, single = (runs[NAMES[row]].name for row in ("hierarchical-all", "fusion"))
    assert weights(f"{family}/members/all") == weights(single)
    coarse, hierarchical = (runs[NAMES[row]].name for row in ("coarse", "hierarchical"))
    assert weights(coarse) == weights(f"{hierarchical}/members/coarse")
    for run in (family, coarse):
        log = finished / "runs" / run / ("members/all" if run == family else "") / "log.jsonl"
        assert log.read_text().count('"start"') == 1
    assert finished_twin(shared["members/all"], finished) is not None


def test_claims_are_judged_by_the_figure_of_their_level(finished: Path) -> None:
    verdicts = {verdict["claim"]: verdict for verdict in results_of(finished)["verdicts"]}
    beaten = verdicts["It beats both baselines (coarse level)"]
    assert len(beaten["details"]) == 2 and all("coarse micro AUPRC" in one for one in beaten["details"])
    rows = {row["row"]: row["figures"] for row in results_of(finished)["rows"]}
    fine = verdicts["The baseline is not beaten (fine level)"]["details"][0]
    ahead = rows[NAMES["baseline-fine"]]["micro_auprc_fine"] - rows[NAMES["fusion-fine"]]["micro_auprc_fine"]
    assert f"fine micro AUPRC {ahead:+.4f}" in fine
    roots = verdicts["The tenth root of class weights beats none and full ones (fine level)"]
    assert roots["verdict"] == UNTESTED


def test_a_finished_table_is_not_made_again_and_more_rows_may_come(corpus: Path, finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/row.json")}
    rows = compare("urban", options_for(corpus, finished, rows=("fusion", "soft", "masked")), quiet=True)
    assert [row["row"] for row in rows] == [NAMES[row] for row in ("fusion", "fusion-fine", "soft", "masked")]
    after = {path: path.stat().st_mtime_ns for path in before}
    assert after == before


def test_every_row_can_be_planned_and_those_asked_for_only_when_they_are(
    corpus: Path, tmp_path: Path
) -> None:
    usual = urban(options_for(corpus, tmp_path, rows=()))
    assert {run.row for run in usual.runs} == {NAMES[row] for row in {*ROWS, "fusion-fine"} - {"agreement50"}}
    every = urban(options_for(corpus, tmp_path, rows=(*ASKED_FOR, "augmented", "weights-none")))
    configs = {run.row: run.config for run in every.runs}
    plain = configs[NAMES["weights-none"]]
    assert (plain.class_weights, plain.embeddings, plain.noise) == (0.0, "tiny", ())
    loud = configs[NAMES["volume"]]
    assert (loud.gain_decibels, loud.pitch_semitones, loud.embeddings) == (4.0, 0.0, "")
    assert Path(loud.embedder).is_dir()
    assert configs[NAMES["augmented"]].noise == configs[NAMES["noise"]].noise != ()
    assert configs[NAMES["pitch"]].pitch_semitones == 3.0
    assert configs[NAMES["bilinear"]].model_arguments["fusion"] == "bilinear"


def test_a_plan_counts_what_rows_share_once(corpus: Path, tmp_path: Path) -> None:
    plan = urban(options_for(corpus, tmp_path, rows=("fusion", "hierarchical", "hierarchical-all", "coarse")))
    steps = {item.name.rpartition("-seed")[0]: item.steps for item in estimate(plan.runs, tmp_path)}
    assert steps["cnn+tiny-best-coarse-checkpoint"] == 4 and steps["cnn+tiny-best-fine-checkpoint"] == 0
    assert steps["cnn+tiny-hierarchical-all-labels-on-top"] == steps["cnn+tiny-coarse-outputs-alone"] == 0
    assert steps["cnn+tiny-hierarchical"] > 4


def test_without_embeddings_rows_are_of_the_cnn_alone(corpus: Path, tmp_path: Path) -> None:
    bare = make_corpus(tmp_path)
    plan = urban(options_for(bare, tmp_path / "out", rows=()))
    assert {run.config.model for run in plan.runs} == {"urban_cnn", "vggish"}
    with pytest.raises(ValueError, match="--rows fusion: needs embeddings of the pack"):
        urban(options_for(bare, tmp_path / "out", rows=("fusion",)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": ("fuse",)}, "--rows fuse: not known; there are: fusion"),
        ({"validation_splits": ()}, "name one with --validation-splits"),
        ({"models": ("urban_cnn",)}, "choose them with --rows"),
        ({"judge_training": True}, "--judge-training is by mAP"),
        ({"settings": {"class_weights": "1"}}, "--set class_weights: rows differ in it"),
        ({"embeddings": ("other",)}, "other"),
        ({"label_set": "labels2"}, "no label set 'labels2'"),
        ({"rows": ("agreement50",)}, "is what all rows learn"),
    ],
)
def test_what_rows_would_ignore_is_refused(
    corpus: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        urban(options_for(corpus, tmp_path, **changes))


def test_rates_are_not_chosen_by_map(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name rates with --learning-rate"):
        choose_rates("urban", options_for(corpus, tmp_path), [0.1], steps=2)


def test_the_command_has_epochs_of_its_own(corpus: Path, tmp_path: Path) -> None:
    run = CliRunner()
    given = ["compare", "urban", "--data", str(corpus), "--out", str(tmp_path / "out")]
    both = run.invoke(app, [*given, "--steps", "3", "--epochs", "2"])
    assert both.exit_code != 0 and "give one of --epochs and --steps" in both.output
    other = run.invoke(app, ["compare", "architectures", *given[2:], "--rows", "fusion"])
    assert other.exit_code != 0 and "urban" in other.output


def test_a_submission_of_a_row_gives_the_same_figures(finished: Path, corpus: Path, tmp_path: Path) -> None:
    """Of the CSV that each row leaves, by the protocol on files."""
    run = json.loads((finished / "runs" / "cnn-alone-seed0" / "row.json").read_text())
    names = [str(name) for name in Pack(corpus).ids]
    clips = Pack(corpus).select(["test"])
    truth = Pack(corpus).targets(clips, "verified") > 0
    columns = ",".join(f"{label}_presence" for label in TREE.labels)
    lines = [f"split,sensor_id,audio_filename,annotator_id,{columns}"]
    for row, clip in zip(truth.astype(int), clips, strict=True):
        lines.append(f"test,{clip // 2},{names[clip]},0,{','.join(map(str, row))}")
    (tmp_path / "annotations.csv").write_text("\n".join(lines) + "\n")
    write_taxonomy(TREE, tmp_path / "taxonomy.yaml")
    figures = evaluate_submission(
        finished / run["evaluation"] / "submission.csv",
        tmp_path / "annotations.csv",
        tmp_path / "taxonomy.yaml",
        draws=0,
    )
    for level in ("fine", "coarse"):
        assert figures[level]["micro_auprc"] == pytest.approx(
            run["figures"][f"micro_auprc_{level}"], abs=1e-12
        )


def test_all_rows_have_as_many_mini_batches_and_validations(corpus: Path, tmp_path: Path) -> None:
    plan = urban(options_for(corpus, tmp_path, rows=(), epochs=3.0))
    lengths = {
        (config.steps, config.validate_every, config.epochs, config.validate_epochs, config.patience)
        for run in plan.runs
        for config in trainings(run).values()
        if config.model != "fully_connected"
    }
    assert lengths == {(12, 4, None, None, 2)}  # 20 clips in batches of 5
    learned = {run.config.label_set for run in plan.runs if run.config.model == "fully_connected"}
    assert learned == {"agreement25-complete", "agreement25-coarse"}
    own = urban(
        options_for(corpus, tmp_path, rows=("cnn",), settings={**HEARD, "window": str(RATE), "patience": "7"})
    )
    assert own.runs[0].config.patience == 7


def test_rows_tell_how_often_the_rate_was_cut_and_began_again(corpus: Path, tmp_path: Path) -> None:
    settings = {
        **options_for(corpus, tmp_path).settings,
        "patience": "1",
        "lowest_rate": "1e-3",
        "log_every": "1",
    }
    options = options_for(corpus, tmp_path, rows=("cnn",), epochs=12.0, settings=settings)
    options = dataclasses.replace(options, learning_rates={"urban_cnn": 2e-3})
    row = compare("urban", options, quiet=True)[0]
    entries = map(json.loads, (tmp_path / "runs" / "cnn-alone-seed0" / "log.jsonl").read_text().splitlines())
    rates = [entry["learning_rate"] for entry in entries if "learning_rate" in entry]
    cuts = sum(after < before for before, after in itertools.pairwise(rates))
    restarts = sum(after > before for before, after in itertools.pairwise(rates))
    assert (row["cuts"], row["restarts"]) == (cuts, restarts) and min(cuts, restarts) > 0
    shown = results_of(tmp_path)["rows"][0]
    assert (shown["cuts"], shown["restarts"]) == (cuts, restarts)
    heads, _, line = (tmp_path / "table.md").read_text().partition("| cuts | restarts |")
    place = heads.rpartition("\n")[2].count("|") + 1
    cells = next(one for one in line.splitlines() if one.startswith("| CNN alone")).split("|")
    assert [cell.strip() for cell in cells[place : place + 2]] == [str(cuts), str(restarts)]
