"""Predictions and models are judged by the challenge's protocol; what is wrong with a file is one line."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from running import run
from urban_oracle import slow_metrics

from auricle.datasets.annotations import choose_labels, read_annotations, verified_labels
from auricle.datasets.taxonomy import Taxonomy, read_taxonomy
from auricle.engine import pack as pack_corpus
from auricle.evaluation.submission import Submission, read_submission, write_submission
from auricle.evaluation.truth import branches_of, packed_truth
from auricle.evaluation.urban import evaluate_submission, evaluate_urban, of_model
from auricle.shards import Pack, add_labels
from auricle.shards.annotated import add_chosen_labels

TAXONOMY = """\
fine:
    1:
        1: small-engine
        2: large-engine
        X: engine-of-uncertain-size
    2:
        1: siren
        2: horn
        X: other-alert
    3:
        1: dog-barking
coarse:
    1: engine
    2: alert-signal
    3: dog
"""
FINE = (
    "1-1_small-engine",
    "1-2_large-engine",
    "1-X_engine-of-uncertain-size",
    "2-1_siren",
    "2-2_horn",
    "2-X_other-alert",
    "3-1_dog-barking",
)
COARSE = ("1_engine", "2_alert-signal", "3_dog")
BRANCHES = [((0, 1), 2), ((3, 4), 5), ((6,), None)]
UNDER = ((0, 1, 2), (3, 4, 5), (6,))
CLIPS = 24
FIGURES = ("micro_auprc", "micro_f1", "macro_auprc")


def truth_of(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    fine = np.random.default_rng(seed).random((CLIPS, len(FINE))) < 0.3
    return fine, np.stack([fine[:, list(under)].any(axis=1) for under in UNDER], axis=1)


def split_of(clip: int) -> str:
    return "train" if clip % 2 else "validate"


def sensor_of(clip: int) -> int:
    """Ten sensors, each in one split."""
    return clip % 10


def scores_of(seed: int = 0) -> np.ndarray:
    return np.round(np.random.default_rng(100 + seed).random((CLIPS, len(FINE) + len(COARSE))), 2)


def write_rows(path: Path, rows: Iterable[Iterable[object]]) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return path


def read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def write_annotations(path: Path) -> Path:
    """Even clips are of split validate, odd ones of train; two of the crowd disagree with annotator 0."""
    fine, coarse = truth_of()
    head = ["split", "sensor_id", "audio_filename", "annotator_id"]
    rows: list[list[object]] = [[*head, *(f"{label}_presence" for label in (*FINE, *COARSE))]]
    for clip in range(CLIPS):
        place = [split_of(clip), sensor_of(clip), f"{clip:02d}.wav"]
        said = np.concatenate([fine[clip], coarse[clip]]).astype(int)
        for annotator in (7, 8, 0) if clip != 4 else (7, 8):  # of clip 4 there is no truth
            rows.append([*place, annotator, *(said if annotator == 0 else 1 - said)])
    return write_rows(path, rows)


VALIDATE = [clip for clip in range(0, CLIPS, 2) if clip != 4]


def prediction_rows(clips: Iterable[int] = VALIDATE) -> list[list[object]]:
    scores = scores_of()
    return [["audio_filename", *FINE, *COARSE], *([f"{clip:02d}.wav", *scores[clip]] for clip in clips)]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "taxonomy.yaml").write_text(TAXONOMY)
    return {
        "predictions": write_rows(tmp_path / "pred.csv", prediction_rows()),
        "annotations": write_annotations(tmp_path / "annotations.csv"),
        "taxonomy": tmp_path / "taxonomy.yaml",
    }


def judge(
    capsys: pytest.CaptureFixture[str], files: dict[str, Path], *more: object, split: str = "validate"
) -> tuple[int, str, str]:
    named = [part for name, path in files.items() for part in (f"--{name}", path)]
    return run(capsys, "evaluate", "--protocol", "urban", *named, "--split", split, "--draws", 0, *more)


def assert_figures(found: dict[str, Any], expected: dict[str, Any], tolerance: float = 1e-12) -> None:
    for name in FIGURES:
        assert found[name] == pytest.approx(expected[name], abs=tolerance), name
    values = list(found["class_auprc"].values())
    assert values == pytest.approx(list(expected["class_auprc"]), abs=tolerance)


def expected_figures(level: str, clips: list[int] = VALIDATE) -> dict[str, Any]:
    fine, coarse = truth_of()
    scores = scores_of()[clips]
    if level == "fine":
        return slow_metrics(fine[clips], scores[:, :7], BRANCHES)
    return slow_metrics(coarse[clips], scores[:, 7:], [((k,), None) for k in range(3)])


# --- a file of predictions ------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["fine", "coarse"])
def test_a_file_of_predictions_is_judged_by_the_rows_of_annotator_0(
    files: dict[str, Path], level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = judge(capsys, files, "--level", level, "--format", "json")
    assert status == 0 and not err
    found = json.loads(out)
    assert_figures(found, expected_figures(level))
    assert (found["protocol"], found["level"], found["clips"], found["groups"]) == ("urban", level, 11, 5)
    assert list(found["class_auprc"]) == list(COARSE)


def test_without_a_level_both_stand_side_by_side(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = judge(capsys, files, "--out", tmp_path / "made" / "here")
    assert status == 0
    kept = json.loads((tmp_path / "made" / "here" / "metrics.json").read_text())
    for level in ("fine", "coarse"):
        assert_figures(kept[level], expected_figures(level))
    fine, coarse = (f"{expected_figures(level)['micro_auprc']:.4f}" for level in ("fine", "coarse"))
    row = next(line for line in out.splitlines() if line.startswith("micro_auprc"))
    assert row.split() == ["micro_auprc", fine, coarse]
    assert "11 clips of 5 sensors" in out


def test_all_splits_count_where_none_is_named(files: dict[str, Path]) -> None:
    clips = [clip for clip in range(CLIPS) if clip != 4]
    write_rows(files["predictions"], prediction_rows(clips))
    found = evaluate_submission(**files, draws=0)
    assert_figures(found["fine"], expected_figures("fine", clips))


def test_neither_the_order_of_rows_nor_of_columns_matters(files: dict[str, Path]) -> None:
    rows = prediction_rows()
    order = np.random.default_rng(3).permutation(len(rows[0]))
    shuffled = [[row[k] for k in order] for row in (rows[0], *rows[:0:-1])]
    write_rows(files["predictions"], shuffled)
    found = evaluate_submission(**files, splits=["validate"], draws=0)
    assert_figures(found["fine"], expected_figures("fine"))
    assert_figures(found["coarse"], expected_figures("coarse"))


def test_intervals_are_drawn_by_sensor_and_hold_the_figure(files: dict[str, Path]) -> None:
    found = evaluate_submission(**files, splits=["validate"], draws=200)["coarse"]
    for name in FIGURES:
        low, high = found["intervals"][name]
        assert low <= found[name] <= high and low < high
    assert list(found["intervals"]["class_auprc"]) == list(COARSE)


def test_one_sensor_has_no_intervals(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_rows(files["annotations"])
    write_rows(files["annotations"], [rows[0], *([row[0], "3", *row[2:]] for row in rows[1:])])
    status, out, _ = judge(capsys, files, "--draws", 50)
    assert status == 0 and "no intervals: they are drawn from sensors, and all clips are of one" in out


@pytest.mark.filterwarnings("default")  # as on the command line
def test_a_missing_column_is_a_warning_and_zeros(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = prediction_rows()
    gone = rows[0].index("2-1_siren")
    write_rows(files["predictions"], [row[:gone] + row[gone + 1 :] for row in rows])
    status, out, err = judge(capsys, files, "--level", "fine", "--format", "json")
    assert status == 0
    assert err.count("\n") == 1 and "warning" in err and "pred.csv: no column for 1 label" in err
    assert "2-1_siren" in err and "zeros" in err
    found = json.loads(out)
    scores = scores_of()[VALIDATE][:, :7]
    scores[:, 3] = 0
    assert_figures(found, slow_metrics(truth_of()[0][VALIDATE], scores, BRANCHES))
    assert found["missing_columns"] == ["2-1_siren"]


@pytest.mark.filterwarnings("default")  # as on the command line
def test_a_file_of_one_level_is_judged_at_that_level(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = prediction_rows()
    write_rows(files["predictions"], [[row[0], *row[8:]] for row in rows])
    status, out, err = judge(capsys, files, "--format", "json")
    found = json.loads(out)
    assert status == 0 and not err and "fine" not in found
    assert_figures(found["coarse"], expected_figures("coarse"))
    status, out, err = judge(capsys, files, "--format", "json", "--level", "fine")
    assert (status, out) == (1, "") and "pred.csv: has no scores of fine labels" in err
    assert len(err.splitlines()) == 1


def fill(rows: list[list[object]], labels: Iterable[str], value: object) -> list[list[object]]:
    places = [rows[0].index(label) for label in labels]
    return [rows[0], *([value if k in places else cell for k, cell in enumerate(row)] for row in rows[1:])]


@pytest.mark.filterwarnings("default")  # as on the command line
@pytest.mark.parametrize("value", [-1, "-1.0"])
def test_coarse_predictions_as_the_challenges_baseline_writes_them_are_judged(
    files: dict[str, Path], value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -1 in all fine columns: not read at the coarse level, told where no level is asked for."""
    write_rows(files["predictions"], fill(prediction_rows(), FINE, value))
    status, out, err = judge(capsys, files, "--level", "coarse", "--format", "json")
    assert status == 0 and not err
    assert_figures(json.loads(out), expected_figures("coarse"))
    status, out, err = judge(capsys, files, "--format", "json")
    found = json.loads(out)
    assert status == 0 and "fine" not in found
    assert_figures(found["coarse"], expected_figures("coarse"))
    assert err.count("\n") == 1 and "pred.csv: 7 columns of -1 throughout, taken as missing: 1-1_small" in err
    status, out, err = judge(capsys, files, "--level", "fine", "--format", "json")
    assert (status, out) == (1, "") and "taken as missing" in err and "has no scores of fine labels" in err


@pytest.mark.filterwarnings("default")  # as on the command line
def test_a_column_of_minus_one_throughout_counts_as_missing(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(files["predictions"], fill(prediction_rows(), ["2-1_siren"], -1))
    status, out, err = judge(capsys, files, "--level", "fine", "--format", "json")
    assert status == 0 and "1 column of -1 throughout, taken as missing: 2-1_siren" in err
    scores = scores_of()[VALIDATE][:, :7]
    scores[:, 3] = 0
    assert_figures(json.loads(out), slow_metrics(truth_of()[0][VALIDATE], scores, BRANCHES))
    assert json.loads(out)["missing_columns"] == ["2-1_siren"]


def test_columns_of_a_level_that_is_not_asked_for_are_not_read(files: dict[str, Path]) -> None:
    write_rows(files["predictions"], fill(prediction_rows(), COARSE, "loud"))
    found = evaluate_submission(**files, splits=["validate"], levels=["fine"], draws=0)
    assert_figures(found["fine"], expected_figures("fine"))
    with pytest.raises(ValueError, match="row 2, 1_engine: 'loud' is no score"):
        evaluate_submission(**files, splits=["validate"], draws=0)
    with pytest.raises(ValueError, match="no level 'middle'; there are: fine, coarse"):
        evaluate_submission(**files, splits=["validate"], levels=["middle"], draws=0)


def test_a_class_that_no_clip_has_is_told(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_rows(files["annotations"])
    for row in rows[1:]:
        row[4 + 6] = row[4 + 9] = "0"
    write_rows(files["annotations"], rows)
    status, out, _ = judge(capsys, files)
    assert status == 0
    assert "fine and coarse: in no clip, so their AUPRC is 0 by the protocol: 3_dog" in out


def test_labels_that_annotator_0_was_not_asked_of_are_counted_and_told(files: dict[str, Path]) -> None:
    rows = read_rows(files["annotations"])
    row = next(row for row in rows if row[2] == "06.wav" and row[3] == "0")
    row[4 + 9] = "-1"
    write_rows(files["annotations"], rows)
    with pytest.warns(UserWarning, match=r"does not say whether 1 label of 1 clip hold.*not there"):
        found = evaluate_submission(**files, splits=["validate"], draws=0)["coarse"]
    _, coarse = truth_of()
    coarse[6, 2] = False
    expected = slow_metrics(coarse[VALIDATE], scores_of()[VALIDATE, 7:], [((k,), None) for k in range(3)])
    assert_figures(found, expected)


# --- what is wrong with a file --------------------------------------------------------------------------


def change(rows: list[list[object]], row: int, column: int, value: object) -> list[list[object]]:
    rows[row][column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (change(prediction_rows(), 2, 3, "loud"), "row 3, 1-X_engine-of-uncertain-size: 'loud' is no score"),
        (change(prediction_rows(), 2, 3, "nan"), "row 3, 1-X_engine-of-uncertain-size: 'nan' is no score"),
        (change(prediction_rows(), 2, 3, ""), "'' is no score; expected a number from 0 to 1"),
        (change(prediction_rows(), 2, 3, 1.5), "'1.5' is no score; expected a number from 0 to 1; take the"),
        (change(prediction_rows(), 2, 3, -0.1), "'-0.1' is no score"),
        (change(prediction_rows(), 2, 3, "inf"), "'inf' is no score"),
        (
            change(prediction_rows(), 2, 3, -1),
            "row 3, 1-X_engine-of-uncertain-size: -1 is no score; expected a number from 0 to 1, or",
        ),
        (fill(prediction_rows(), FINE, -2), "row 2, 1-1_small-engine: '-2' is no score"),
        (fill(prediction_rows(), (*FINE, *COARSE), -1), "-1 everywhere says that there are no scores"),
        (change(prediction_rows(), 3, 0, "00.wav"), "row 4: clip '00.wav' is in row 2 already"),
        (change(prediction_rows(), 3, 0, ""), "row 4: audio_filename is empty"),
        (change(prediction_rows(), 0, 0, "file"), "no column 'audio_filename'"),
        (change(prediction_rows(), 0, 2, "1-1_small-engine"), "two columns are named '1-1_small-engine'"),
        (
            change(prediction_rows(), 0, 2, "9-9_owl"),
            "1 of 11 columns are no labels of the taxonomy: '9-9_owl'",
        ),
        ([["audio_filename"], ["00.wav"]], "no column of scores; expected columns like '1_engine'"),
        ([*prediction_rows(), ["02.wav"]], "row 13: 1 of 11 fields"),
        ([], "no column 'audio_filename'"),
        (
            prediction_rows([0, 2, 8]),
            "8 clips without a prediction: 06.wav, 10.wav, 12.wav, 14.wav, 16.wav, 18.wav, 20.wav, 22.wav",
        ),
        (prediction_rows([*VALIDATE, 1]), "1 clip without a truth: 01.wav"),
        (prediction_rows([*VALIDATE, 4]), "1 clip without a truth: 04.wav"),
    ],
)
def test_bad_predictions_are_one_line_that_says_where(
    files: dict[str, Path],
    rows: list[list[object]],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_rows(files["predictions"], rows)
    status, out, err = judge(capsys, files)
    assert status == 1 and not out
    assert err.count("\n") == 1 and "pred.csv" in err and expected in err


def test_other_wrong_files_are_one_line_too(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def error(split: str = "validate", **other: Path) -> str:
        status, out, err = judge(capsys, files | other, split=split)
        assert status == 1 and not out and err.count("\n") == 1
        return err

    assert "no split 'tset'; there are: 'train', 'validate'" in error("tset")
    assert "nowhere.csv: no such file" in error(predictions=Path("nowhere.csv"))
    assert "is a folder" in error(predictions=files["predictions"].parent)
    assert "nowhere.csv: no such file" in error(annotations=Path("nowhere.csv"))
    assert "nowhere.yaml: no such file" in error(taxonomy=Path("nowhere.yaml"))
    another = files["taxonomy"].with_name("another.yaml")
    another.write_text(TAXONOMY.replace("siren", "alarm"))
    assert "'2-1_siren'" in error(taxonomy=another)
    rows = read_rows(files["annotations"])
    unverified = [row for row in rows if row[0] != "validate" or row[3] != "0"]
    write_rows(files["annotations"], unverified)
    expected = "no rows of annotator 0, the verified truth, in split validate; there are some in: train"
    assert expected in error()


def test_up_to_twenty_other_clips_are_named_and_the_rest_counted(files: dict[str, Path]) -> None:
    rows = [["audio_filename", *COARSE], *([f"x{clip:02d}.wav", 0, 0, 0] for clip in range(25))]
    write_rows(files["predictions"], rows)
    with pytest.raises(ValueError) as said:
        evaluate_submission(**files, splits=["validate"])
    extra, _, missing = str(said.value).partition(": its clips are not those")[2].partition("; ")
    assert all(f"x{clip:02d}.wav" in extra for clip in range(20)) and extra.endswith("x19.wav and 5 more")
    assert all(f"{clip:02d}.wav" in missing for clip in VALIDATE) and "more" not in missing


def test_a_level_without_a_single_column_of_scores_is_refused_as_it_is_of_a_model(
    files: dict[str, Path],
) -> None:
    rows = prediction_rows()
    write_rows(files["predictions"], [[row[0], *row[1 + len(FINE) :]] for row in rows])
    with pytest.raises(
        ValueError, match=r"pred\.csv: has no scores of fine labels; expected columns like '1-1_small-engine'"
    ):
        evaluate_submission(**files, levels=["fine"])
    write_rows(files["predictions"], fill(rows, FINE, -1))
    with (
        pytest.warns(UserWarning, match="7 columns of -1 throughout"),
        pytest.raises(ValueError, match="has no scores of fine labels"),
    ):
        evaluate_submission(**files, levels=["fine"])


def test_a_folder_that_cannot_be_made_is_told_before_the_work(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("auricle.evaluation.urban.level_figures", lambda *_, **__: pytest.fail("drew"))
    options = [part for name, file in files.items() for part in (f"--{name}", file)]
    out = files["taxonomy"] / "x"
    code, _, err = run(
        capsys, "evaluate", "--protocol", "urban", *options, "--split", "validate", "--out", out
    )
    assert code == 1 and str(out) in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--level", "fine"], "goes with --protocol urban"),
        (["--taxonomy", "t.yaml"], "--taxonomy: goes with --protocol urban"),
        ([], "MODEL: missing; give MODEL and PACK"),
        (["default"], "PACK: missing"),
        (["--protocol", "urban"], "MODEL: missing; give MODEL and PACK, or --predictions"),
        (["--protocol", "urban", "--predictions", "p.csv"], "--annotations and --taxonomy: missing"),
        (["--protocol", "urban", "default", "pack", "--predictions", "p.csv"], "MODEL: 'default'"),
        (["--protocol", "urban", "default", "pack", "--half"], "--half: has no effect with --protocol urban"),
        (["--protocol", "suburban"], "suburban"),
        (["--protocol", "urban", "--level", "middle"], "middle"),
        (
            "--protocol urban --predictions p --annotations a --taxonomy t --pooling max".split(),
            "--pooling: has no effect with --predictions",
        ),
    ],
)
def test_options_that_would_have_no_effect_are_refused(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, "evaluate", *arguments)
    assert status == 2 and not out and expected in err


def test_what_is_written_is_read_again_to_the_last_bit(tmp_path: Path) -> None:
    (tmp_path / "taxonomy.yaml").write_text(TAXONOMY)
    taxonomy = read_taxonomy(tmp_path / "taxonomy.yaml")
    scores = np.random.default_rng(5).random((3, 10))
    scores[0, :3] = 0, 1, 1e-300
    made = Submission(
        clips=("a, b.wav", 'c"d.wav', "é.wav"), labels=taxonomy.labels, scores=scores, source=""
    )
    write_submission(tmp_path / "made.csv", made)
    again = read_submission(tmp_path / "made.csv", taxonomy)
    assert (again.clips, again.labels) == (made.clips, made.labels)
    assert np.array_equal(again.scores, scores)


# --- a model on a pack ----------------------------------------------------------------------------------


class Fixed:
    """A placeholder model: a clip's loudest sample says which row of a table are its logits."""

    def __init__(self, labels: tuple[str, ...], scores: np.ndarray):
        self.artifact = SimpleNamespace(
            name="fixed", labels=labels, window=50, hop=50, tail="drop", rate=1000, fingerprint="f00d"
        )
        self.artifact.path, self.artifact.training = "fixed", {}
        with np.errstate(divide="ignore"):
            self.logits = np.log(scores / (1 - scores))

    def run(self, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        clip = np.round(waveforms.max(axis=1) * 100).astype(int) - 1
        return self.logits[clip], np.zeros((len(waveforms), 1), np.float32)


@pytest.fixture
def pack(files: dict[str, Path], tmp_path: Path) -> Pack:
    taxonomy = read_taxonomy(files["taxonomy"])
    rows = ["path,id,labels,split,group"]
    for clip in range(CLIPS):
        samples = np.full(50, (clip + 1) / 100)
        soundfile.write(tmp_path / f"{clip:02d}.wav", samples, 1000, subtype="FLOAT")
        name = f"{clip:02d}.wav"
        rows.append(f"{name},{name},,{split_of(clip)},sensor {sensor_of(clip)}")
    (tmp_path / "clips.csv").write_text("\n".join(rows))
    pack_corpus(tmp_path / "clips.csv", tmp_path / "pack", rate=1000, jobs=1, quiet=True)
    chosen = verified_labels(read_annotations(files["annotations"], taxonomy))
    add_labels(
        tmp_path / "pack",
        "verified",
        chosen.by_clip(),
        unknown=chosen.unknown_by_clip(),
        names=taxonomy.labels,
        taxonomy=taxonomy.as_dict(),
    )
    return Pack(tmp_path / "pack")


def test_a_model_is_judged_on_the_clips_that_have_a_truth(pack: Pack, tmp_path: Path) -> None:
    runner = Fixed((*FINE, *COARSE), scores_of())
    out = tmp_path / "results"
    found = evaluate_urban(runner, pack, splits=["validate"], out=out, draws=20, quiet=True)
    assert json.loads((out / "metrics.json").read_text()) == found
    assert (found["clips"], found["groups"], found["coarse_inferred"]) == (11, 5, [])
    for level in ("fine", "coarse"):
        assert_figures(found[level], expected_figures(level), 1e-6)  # logits and back
    assert found["label_set"] == "verified" and found["model_fingerprint"] == "f00d"


def test_the_submission_that_is_written_has_the_same_figures(
    pack: Pack, files: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "results"
    found = evaluate_urban(
        Fixed((*FINE, *COARSE), scores_of(2)), pack, splits=["validate"], out=out, draws=0, quiet=True
    )
    head, first, *_ = (out / "submission.csv").read_text().splitlines()
    assert head == ",".join(["audio_filename", *FINE, *COARSE]) and first.startswith("00.wav,")
    again = evaluate_submission(
        **files | {"predictions": out / "submission.csv"}, splits=["validate"], draws=0
    )
    for level in ("fine", "coarse"):
        assert found[level] == again[level]


def test_a_model_of_fine_labels_has_its_coarse_ones_inferred_unknown_ones_among_them(pack: Pack) -> None:
    order = [6, 2, 0, 5, 4, 3, 1]  # a model's own order
    scores = scores_of()[:, :7]
    runner = Fixed(("an owl", *(FINE[k] for k in order)), np.hstack([scores[:, :1], scores[:, order]]))
    found = evaluate_urban(runner, pack, splits=["validate"], draws=0, quiet=True)
    assert found["coarse_inferred"] == list(COARSE)
    assert_figures(found["fine"], expected_figures("fine"), 1e-6)
    inferred = np.stack([scores[:, list(under)].max(axis=1) for under in UNDER], axis=1)
    expected = slow_metrics(truth_of()[1][VALIDATE], inferred[VALIDATE], [((k,), None) for k in range(3)])
    assert_figures(found["coarse"], expected, 1e-6)


def test_a_mean_of_scores_that_rounding_takes_beyond_1_is_1(pack: Pack) -> None:
    truth, clips = packed_truth(pack, np.arange(CLIPS), "verified")
    scores = np.full((len(clips), 3), np.nextafter(1, 2))
    made, _ = of_model(Fixed(COARSE, scores_of()[:, 7:]).artifact, scores, truth)
    assert made.scores.max() == 1.0


def test_a_model_of_coarse_labels_is_judged_at_that_level_alone(pack: Pack) -> None:
    runner = Fixed(COARSE, scores_of()[:, 7:])
    found = evaluate_urban(runner, pack, splits=["validate"], draws=0, quiet=True)
    assert "fine" not in found
    assert_figures(found["coarse"], expected_figures("coarse"), 1e-6)
    with pytest.raises(ValueError, match="fixed: has no fine labels; it can be judged at: coarse"):
        evaluate_urban(runner, pack, levels=["fine"], quiet=True)


@pytest.mark.parametrize("agreement", ["soft", 0.5])
def test_of_votes_alone_true_is_what_more_than_half_of_them_heard(
    pack: Pack, files: dict[str, Path], agreement: Any
) -> None:
    """One vote of three makes no truth of a soft label set."""
    heard = np.random.default_rng(4).random((CLIPS, 3, 10)) < 0.4
    rows = [
        ["train", sensor_of(clip), f"{clip:02d}.wav", who, *votes.astype(int)]
        for clip, cast in enumerate(heard)
        for who, votes in enumerate(cast, 1)
    ]
    head = ["split", "sensor_id", "audio_filename", "annotator_id", *FINE, *COARSE]
    votes = read_annotations(
        write_rows(files["annotations"], [head, *rows]), read_taxonomy(files["taxonomy"])
    )
    add_chosen_labels(pack.path, "votes", choose_labels(votes, agreement))
    runner = Fixed((*FINE, *COARSE), scores_of())
    found = evaluate_urban(runner, Pack(pack.path), label_set="votes", draws=0, quiet=True)
    for level, columns, branches in (
        ("fine", slice(0, 7), BRANCHES),
        ("coarse", slice(7, 10), [((k,), None) for k in range(3)]),
    ):
        scores, cast = scores_of()[:, columns], heard[:, :, columns].sum(axis=1)
        assert_figures(found[level], slow_metrics(cast >= 2, scores, branches), 1e-6)
        assert (
            abs(found[level]["micro_auprc"] - slow_metrics(cast > 0, scores, branches)["micro_auprc"]) > 0.05
        )


def test_what_a_pack_or_model_lacks_is_named(pack: Pack) -> None:
    runner = Fixed(("owl",), scores_of()[:, :1])
    with pytest.raises(ValueError, match=r"none of its labels \(owl\) is one of the taxonomy's"):
        evaluate_urban(runner, pack, quiet=True)
    with pytest.raises(ValueError, match=r"no label set 'truth'; there are: labels, verified; .*annotations"):
        evaluate_urban(runner, pack, label_set="truth", quiet=True)
    with pytest.raises(ValueError, match=r"'labels' has no taxonomy; those that have one: verified"):
        evaluate_urban(runner, pack, label_set="labels", quiet=True)
    add_labels(pack.path, "some", {}, names=FINE[:2], taxonomy=pack.taxonomy("verified"))
    with pytest.raises(ValueError, match=r"'some' lacks 8 of the 10 labels of its taxonomy"):
        evaluate_urban(runner, Pack(pack.path), label_set="some", quiet=True)
    everything = {str(clip): (*FINE, *COARSE) for clip in pack.ids}
    names, taxonomy = (*FINE, *COARSE), pack.taxonomy("verified")
    add_labels(pack.path, "none", {}, unknown=everything, names=names, taxonomy=taxonomy)
    with pytest.raises(ValueError, match="none of the 12 clips has a truth in label set 'none'"):
        evaluate_urban(
            Fixed(COARSE, scores_of()[:, 7:]),
            Pack(pack.path),
            label_set="none",
            splits=["validate"],
            quiet=True,
        )


def test_the_command_line_judges_a_model(
    pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Fixed((*FINE, *COARSE), scores_of())
    monkeypatch.setattr(
        "auricle.evaluation.urban.open_model", lambda model, pack, **options: (runner, runner.artifact)
    )
    arguments = ["evaluate", "a-model", pack.path, "--protocol", "urban", "--split", "validate", "--draws", 0]
    status, out, err = run(capsys, *arguments, "--out", tmp_path / "out", "--format", "json")
    assert status == 0
    assert json.loads(out) == json.loads((tmp_path / "out" / "metrics.json").read_text())
    status, out, _ = run(capsys, *arguments, "--level", "coarse")
    assert status == 0 and "11 clips of 5 groups" in out
    assert f"{expected_figures('coarse')['micro_auprc']:.4f}" in out and "fine" not in out
    runner = Fixed(FINE, scores_of()[:, :7])
    status, out, _ = run(capsys, *arguments)
    assert status == 0 and "coarse scores inferred as the highest of the fine ones: every class" in out


# --- the challenge's own data ---------------------------------------------------------------------------

CASES = [
    ("crowd_vote", "crowd_vote_pred.csv", "fine"),
    ("crowd_vote", "crowd_vote_pred.csv", "coarse"),
    ("prmbiy", "prmbiy_coarse_pred_validation.csv", "coarse"),
]


@pytest.mark.parametrize(("name", "file", "level"), CASES)
def test_the_challenges_own_values_come_from_the_command_line(
    shared_data: Path, name: str, file: str, level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "sonyc_ust"
    expected = json.loads((folder / "expected_metrics.json").read_text())["results"][f"{name}/{level}"]
    files = {
        "predictions": folder / file,
        "annotations": folder / "annotations-dev.csv",
        "taxonomy": folder / "dcase-ust-taxonomy.yaml",
    }
    status, out, err = judge(capsys, files, "--level", level, "--format", "json")
    assert status == 0 and not err
    found, ours = json.loads(out), expected["falling_threshold"]
    assert found["clips"] == 443
    assert found["micro_auprc"] == pytest.approx(ours["micro_auprc"], abs=1e-9)
    assert found["macro_auprc"] == pytest.approx(ours["macro_auprc"], abs=1e-9)
    assert found["micro_f1"] == pytest.approx(expected["organisers"]["micro_f1_at_0p5"], abs=1e-9)
    by_number = {label.partition("_")[0]: value for label, value in found["class_auprc"].items()}
    assert by_number == pytest.approx(ours["class_auprc"], abs=1e-9)
    status, out, _ = judge(capsys, files, "--level", level)
    assert f"{ours['micro_auprc']:.4f}" in out and "443 clips of 8 sensors" in out


@pytest.mark.filterwarnings("default")  # as on the command line
def test_the_challenges_coarse_predictions_may_have_fine_columns_of_minus_one(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "sonyc_ust"
    results = json.loads((folder / "expected_metrics.json").read_text())["results"]
    fine = read_taxonomy(folder / "dcase-ust-taxonomy.yaml").fine_labels
    head, *rows = read_rows(folder / "prmbiy_coarse_pred_validation.csv")
    padded = [[*head, *fine], *([*row, *["-1"] * len(fine)] for row in rows)]
    files = {
        "predictions": write_rows(tmp_path / "pred.csv", padded),
        "annotations": folder / "annotations-dev.csv",
        "taxonomy": folder / "dcase-ust-taxonomy.yaml",
    }
    status, out, err = judge(capsys, files, "--level", "coarse", "--format", "json")
    assert status == 0 and not err
    expected = results["prmbiy/coarse"]["falling_threshold"]["micro_auprc"]
    assert json.loads(out)["micro_auprc"] == pytest.approx(expected, abs=1e-9)
    status, out, err = judge(capsys, files)
    assert status == 0 and "29 columns of -1 throughout, taken as missing" in err
    assert f"{expected:.4f}" in out and "fine" not in out


def test_branches_are_the_taxonomys() -> None:
    taxonomy = Taxonomy(COARSE, tuple(tuple(FINE[k] for k in under) for under in UNDER))
    assert branches_of(taxonomy) == BRANCHES
