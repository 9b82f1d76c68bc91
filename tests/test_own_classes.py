"""Somebody's own classes: a folder of examples becomes a model like any other, judged by folds."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
from test_base_install import without_torch
from tiny_model import RATE, WINDOW
from tiny_model import save as save_tiny

from auricle.artifact import load_artifact, save_changed
from auricle.artifact.linear_graph import linear_graph
from auricle.calibration.stages import Examples as Scored
from auricle.calibration.stages import clip_scores, figures_of, fit_stages
from auricle.cli import main
from auricle.embedding import embed_pack
from auricle.evaluation import evaluate
from auricle.evaluation.heard import what_was_heard
from auricle.heads import embedder_of, save_head, shown_logits
from auricle.linear import Linear, fit_linear
from auricle.own_classes import OwnClasses, configure, train_own
from auricle.own_classes.calibrating import calibrate_own, in_words
from auricle.own_classes.examples import Examples, by_folder, embed_examples, open_examples
from auricle.own_classes.frozen import choose_folds
from auricle.own_classes.judging import clip_means, cross_validate, fit_examples, make_folds
from auricle.own_classes.report import NO_INTERVAL
from auricle.report.folders import write_report
from auricle.runners import check, load_runner
from auricle.runners.windows import sigmoid
from auricle.shards import Pack
from auricle.tagging import Tagger

FREQUENCIES = {"low": 210, "middle": 930, "high": 2610}  # no multiples of 500: the net has a stride of 16


def write_tone(path: Path, frequency: float, seed: int, seconds: float = 0.6) -> None:
    random = np.random.default_rng(seed)
    time = np.arange(int(RATE * seconds)) / RATE
    samples = 0.4 * np.sin(2 * np.pi * frequency * time + random.uniform(0, 6))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples + random.normal(0, 0.05, len(samples)), RATE)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("embedder") / "tiny").path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of ten tones each, two of each parts of one recording."""
    root = tmp_path_factory.mktemp("own") / "sounds"
    for number, (label, frequency) in enumerate(FREQUENCIES.items()):
        for clip in range(8):
            write_tone(root / label / f"{clip}.wav", frequency, 100 * number + clip)
        for part in range(2):
            write_tone(root / label / "tape" / f"{part}.wav", frequency, 100 * number + 50 + part)
    return root


@pytest.fixture(scope="module")
def run(folder: Path, embedder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "mine"
    assert train_own(folder, out, OwnClasses(init_from=str(embedder)), threads=1, quiet=True) == out / "last"
    return out


def test_a_folder_becomes_a_model_like_any_other(run: Path, folder: Path) -> None:
    artifact = load_artifact(run / "last")
    assert artifact.labels == ("high", "low", "middle")
    assert (artifact.backend, artifact.embedder_windows, artifact.window) == ("onnx", 1, WINDOW)
    assert check(load_runner(artifact, threads=1))["ok"]
    for label in FREQUENCIES:
        tags = Tagger(run / "last", threads=1).tag(folder / label / "0.wav", top=None)["tags"]
        assert tags[0]["label"] == label
        assert sum(tag["score"] for tag in tags) == pytest.approx(1, abs=1e-4)  # of a softmax


def test_its_embeddings_are_the_embedders(run: Path, embedder: Path) -> None:
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (3, WINDOW)).astype(np.float32)
    ours = load_runner(load_artifact(run / "last"), threads=1).run(waveform)[1]
    assert np.array_equal(ours, load_runner(load_artifact(embedder), threads=1).run(waveform)[1])


def test_the_report_says_how_good_it_is(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    assert report["accuracy"] > 0.9 and report["clips"] == 30 and report["recordings"] == 27
    low, high = report["intervals"]["accuracy"]
    assert low <= report["accuracy"] <= high and low < 0.92  # of 27 recordings, whatever erred
    for name, shown in (("map", "mAP"), ("auc", "AUC")):
        if report[name] == 1:  # nothing erred: draws do not tell how sure that is
            assert report["intervals"][name] == [None, None]
            assert f"| {shown} | 1.000 | {NO_INTERVAL} |" in (run / "report.md").read_text()
    assert np.array(report["confusion"]).sum(axis=1).tolist() == [10, 10, 10]
    of_tape = {row["fold"] for row in report["folds"] if "/tape/" in row["clip"] and "low/" in row["clip"]}
    assert len(of_tape) == 1  # parts of one recording lie in one fold
    assert "| accuracy |" in (run / "report.md").read_text() and (run / "confusion.png").is_file()
    assert load_artifact(run / "last").metrics["accuracy, out of fold"] == report["accuracy"]


def test_evaluate_judges_it_on_its_pack(run: Path) -> None:
    figures = evaluate(run / "last", run / "pack", draws=0, quiet=True)
    assert figures["accuracy"] > 0.9 and figures["clips_in_training"] == 30


def test_an_embedder_that_was_trained_on_the_clips_is_told(torch_model: Path, tmp_path: Path) -> None:
    told: list[str] = []
    config = OwnClasses(init_from=str(torch_model), folds="0")
    train_own(torch_model.parents[1] / "pack", tmp_path / "run", config, quiet=True, tell=told.append)
    assert any("was trained on 18 clips of these: the report will be too good" in line for line in told)


def test_more_examples_go_into_a_run_that_is_there(folder: Path, embedder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "sounds")
    config = OwnClasses(init_from=str(embedder), folds="0")
    train_own(tmp_path / "sounds", tmp_path / "run", config, quiet=True)
    write_tone(tmp_path / "sounds" / "low" / "more.wav", FREQUENCIES["low"], 99)
    model = train_own(tmp_path / "sounds", tmp_path / "run", config, quiet=True)
    training = load_artifact(model).training
    assert training["clips"] == training["audio"]["clips"] == 31  # the second is what they sound like


def test_a_report_of_an_earlier_run_does_not_stay_beside_another_model(
    run: Path, folder: Path, embedder: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("somebody's own")
    config = OwnClasses(init_from=str(embedder), folds="0")
    told: list[str] = []
    train_own(folder, tmp_path / "run", config, quiet=True, tell=told.append)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["last", "notes.txt", "pack"]
    assert told[-1] == "no folds, no report: that of the earlier run is removed"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "report.md").write_text("of no run")
    train_own(run / "pack", tmp_path / "other", config, quiet=True)
    assert (tmp_path / "other" / "report.md").read_text() == "of no run"


def test_scores_out_of_fold_are_of_models_that_did_not_hear_the_fold(
    folder: Path, embedder: Path, run: Path
) -> None:
    """An oracle that does each fold by itself, from the audio on: fit on the others, tag the rest."""
    report = json.loads((run / "report.json").read_text())
    examples = open_examples(run / "pack", run, rate=RATE)
    rows, owners = embed_examples(examples, load_artifact(embedder), quiet=True)
    folds = np.array([row["fold"] for row in report["folds"]])
    import pyarrow.parquet as pq

    kept = np.stack(pq.read_table(run / "out-of-fold" / "scores.parquet")["scores"].to_numpy())
    for fold, penalty in zip(range(1, 6), report["penalties"]["by_fold"], strict=True):
        mask = folds != fold
        found = fit_examples(rows, owners, examples.targets, kind="one", penalty=penalty, clips=mask)
        ours = clip_means(found, rows, owners, np.flatnonzero(~mask))
        assert np.allclose(ours, kept[~mask], atol=2e-3)  # other axes, and folds are solved to 1e-5


def test_a_clip_that_is_heard_does_not_score_out_of_fold_as_if_it_were_not() -> None:
    """Labels that are noise cannot be learned: folds say so, and a judgement on what was heard would not."""
    random = np.random.default_rng(0)
    rows, targets = random.standard_normal((60, 40)), np.eye(2)[random.integers(0, 2, 60)]
    folds = make_folds(np.arange(60).astype(str), targets.astype(bool), 5)
    judged = cross_validate(rows, np.arange(60), targets, folds, kind="one")
    right = (judged.scores.argmax(1) == targets.argmax(1)).mean()
    assert 0.3 < right < 0.7
    heard = fit_linear(rows, targets, kind="one", penalty=1e-4).scores(rows)
    assert (heard.argmax(1) == targets.argmax(1)).mean() == 1


def test_a_folds_penalty_does_not_depend_on_its_own_labels() -> None:
    """Other labels of one fold: its own choice stays, to the last bit, that of the others may not."""
    random = np.random.default_rng(1)
    targets = np.eye(3)[np.arange(45) % 3]
    rows = targets @ random.standard_normal((3, 12)) + 1.5 * random.standard_normal((45, 12))
    folds = np.arange(45) // 9
    first = cross_validate(rows, np.arange(45), targets, folds, kind="one")
    changed = targets.copy()
    changed[folds == 2] = np.roll(targets[folds == 2], 1, axis=1)
    second = cross_validate(rows, np.arange(45), changed, folds, kind="one")
    assert first.penalties[2] == second.penalties[2]
    assert np.array_equal(first.scores[folds == 2], second.scores[folds == 2])
    assert not np.array_equal(first.scores[folds == 1], second.scores[folds == 1])


def test_folds_keep_recordings_together_and_classes_apart_evenly() -> None:
    recordings = np.array([f"r{clip // 2}" for clip in range(60)])
    targets = np.eye(3, dtype=bool)[np.repeat([0, 1, 2], [10, 20, 30])]
    folds = make_folds(recordings, targets, 5)
    for name in np.unique(recordings):
        assert len(set(folds[recordings == name])) == 1
    counts = np.array([targets[folds == fold].sum(0) for fold in range(5)])
    assert counts.tolist() == [[2, 4, 6]] * 5
    order = np.random.default_rng(0).permutation(60)
    assert np.array_equal(make_folds(recordings[order], targets[order], 5), folds[order])
    with pytest.raises(ValueError, match="at most the 30 recordings"):
        make_folds(recordings, targets, 31)


def test_several_labels_a_clip_are_scored_each_on_its_own(tmp_path: Path, embedder: Path) -> None:
    rows = ["path,labels,group"]
    for clip in range(24):
        labels = [label for place, label in enumerate(FREQUENCIES) if clip >> place & 1]
        time = np.arange(int(RATE * 0.6)) / RATE
        mixed = np.random.default_rng(clip).normal(0, 0.03, len(time))
        mixed += sum(0.3 * np.sin(2 * np.pi * FREQUENCIES[label] * time + clip) for label in labels)
        soundfile.write(tmp_path / f"{clip}.wav", mixed, RATE)
        rows.append(f"{clip}.wav,{';'.join(labels)},g{clip}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    config = OwnClasses(init_from=str(embedder), folds="4")
    model = train_own(tmp_path / "table.csv", tmp_path / "run", config, threads=1, quiet=True)
    artifact = load_artifact(model)
    assert artifact.training["kind"] == "several" and "confusion" not in artifact.metrics
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["map"] > 0.8 and "confusion" not in report
    tags = Tagger(model, threads=1).tag(tmp_path / "7.wav", top=None)["tags"]  # has all three
    assert sum(tag["score"] for tag in tags) > 1.5
    with pytest.raises(ValueError, match="has 2; set kind=several|has 3; set kind=several"):
        open_examples(tmp_path / "run" / "pack", tmp_path, rate=RATE, kind="one")


def test_a_background_is_no_label_and_takes_its_share(folder: Path, embedder: Path, tmp_path: Path) -> None:
    config = OwnClasses(
        init_from=str(embedder), background="middle", folds="3", name="two", licence="CC0-1.0"
    )
    model = train_own(folder, tmp_path / "run", config, threads=1, quiet=True)
    artifact = load_artifact(model)
    assert artifact.labels == ("high", "low")
    assert (artifact.name, artifact.licence) == ("two", "CC0-1.0")
    assert check(load_runner(artifact, threads=1))["ok"]
    scores = {tag["label"]: tag["score"] for tag in Tagger(model).tag(folder / "middle" / "0.wav")["tags"]}
    assert max(scores.values()) < 0.4
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["labels"] == ["high", "low", "(none of them)"] and report["accuracy"] > 0.9
    with pytest.raises(ValueError, match="'nonesuch', which is no label"):
        open_examples(folder, tmp_path / "other", rate=RATE, background="nonesuch", quiet=True)


def test_a_packs_own_embeddings_are_used_and_those_of_others_are_not(
    run: Path, embedder: Path, tmp_path: Path
) -> None:
    import shutil

    pack = tmp_path / "pack"
    shutil.copytree(run / "pack", pack)
    embed_pack(pack, embedder, name="ours", quiet=True)
    embed_pack(pack, embedder, name="means", clips=True, quiet=True)
    examples = open_examples(pack, tmp_path, rate=RATE)
    artifact = load_artifact(embedder)
    stored, owners = embed_examples(examples, artifact, stored="ours", quiet=True)
    assert np.array_equal(stored, np.concatenate([Pack(pack).embeddings("ours").clip(i) for i in range(30)]))
    found, again = embed_examples(examples, artifact, quiet=True)
    assert np.array_equal(found, stored) and np.array_equal(again, owners)
    some = dataclasses.replace(examples, clips=examples.clips[1::3])  # scattered
    few, of = embed_examples(some, artifact, quiet=True)
    whole = np.concatenate([found[owners == clip] for clip in range(1, 30, 3)])
    assert np.allclose(few, whole, atol=1e-3) and of.max() == 9  # the set is float16
    with pytest.raises(ValueError, match="'means' was made by tiny"):
        embed_examples(examples, artifact, stored="means", quiet=True)
    copy = save_changed(artifact, tmp_path / "copy", thresholds=[0.5] * 3)  # other scores alone
    assert np.array_equal(embed_examples(examples, copy, stored="ours", quiet=True)[0], stored)
    other = dataclasses.replace(artifact, hop=artifact.hop // 2)
    with pytest.raises(ValueError, match="'ours' was made by tiny"):
        embed_examples(examples, other, stored="ours", quiet=True)


def test_only_clips_of_some_splits_and_the_packs_splits_as_folds(embedder: Path, tmp_path: Path) -> None:
    rows = ["path,labels,split"]
    for clip in range(18):
        label = list(FREQUENCIES)[clip % 3]
        write_tone(tmp_path / f"{clip}.wav", FREQUENCIES[label], clip)
        rows.append(f"{clip}.wav,{label},{'abc'[clip // 6]}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    config = OwnClasses(init_from=str(embedder), folds="splits", splits=("a", "b"))
    train_own(tmp_path / "table.csv", tmp_path / "run", config, threads=1, quiet=True)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [row["fold"] for row in report["folds"]] == [1] * 6 + [2] * 6
    one = OwnClasses(init_from=str(embedder), folds="splits", splits=("a",))
    with pytest.raises(ValueError, match="all clips are of one split, 'a'"):
        train_own(tmp_path / "run" / "pack", tmp_path / "other", one, quiet=True)


# --- calibration


@pytest.fixture(scope="module")
def noisy() -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """60 clips of two windows, each with values that tell three classes apart not too well; five folds."""
    rng = np.random.default_rng(5)
    targets = np.eye(3, dtype=bool)[np.arange(60) % 3]
    rows = np.repeat(targets @ rng.normal(0, 1.2, (3, 12)), 2, axis=0) + rng.normal(0, 1.5, (120, 12))
    pack = SimpleNamespace(name="sounds/pack", fingerprint="0" * 32)
    examples = Examples(
        pack=cast(Any, pack), clips=np.arange(60), labels=("a", "b", "c"), targets=targets, kind="one",
        recordings=np.array([f"{n // 2}" for n in range(60)]), splits=np.full(60, "x"), label_set="labels",
    )  # fmt: skip
    return examples, rows, np.repeat(np.arange(60), 2), np.arange(60) // 2 % 5


def test_a_calibration_is_fitted_to_scores_of_clips_that_were_not_heard(noisy: Any) -> None:
    examples, rows, owners, folds = noisy
    judged = cross_validate(rows, owners, examples.targets, folds, kind="one")
    calibration, about = calibrate_own(examples, rows, owners, folds, judged)
    assert calibration is not None and about["stored"] and about["out_of_fold"] == 5
    assert in_words(about).startswith("calibrated, each fold by what had not met it: ECE 0.")

    def told(left_out: list[int], penalty: float) -> np.ndarray:
        taught = ~np.isin(folds, left_out)[owners]
        found = fit_linear(
            rows[taught], examples.targets[owners[taught]].astype(float), kind="one", penalty=penalty
        )
        return shown_logits(found, rows, 3)

    def scored(logits: np.ndarray) -> Scored:
        return Scored(
            logits=logits.astype(np.float32), starts=np.arange(0, 120, 2), targets=examples.targets,
            known=np.ones((60, 3), bool), groups=np.arange(60) // 2,
        )  # fmt: skip

    window_fold = folds[owners]
    whole = np.zeros((120, 3))
    for fold in range(5):
        whole[window_fold == fold] = told([fold], judged.penalty)[window_fold == fold]
    expected = fit_stages(scored(whole), "affine", 5)[0]
    np.testing.assert_allclose(calibration["scale"], expected["scale"], rtol=1e-3)
    np.testing.assert_allclose(calibration["clips"]["offset"], expected["clips"]["offset"], atol=2e-3)

    # What is said of it is of folds that neither a classifier nor its calibration had met.
    after = np.zeros((60, 3))
    for fold in range(5):
        inner = np.zeros((120, 3))
        for other in range(5):
            there = window_fold == other
            inner[there] = told([fold, other], judged.penalties[fold])[there]
        fitted = fit_stages(scored(inner), "affine", 5, folds != fold)[0]
        after[folds == fold] = clip_scores(scored(inner), fitted)[folds == fold]
    assert about["after"] == pytest.approx(figures_of(after.astype(np.float32), scored(whole)), rel=1e-3)
    assert about["before"] == pytest.approx(
        figures_of(judged.scores.astype(np.float32), scored(whole)), rel=1e-3
    )


def test_a_calibration_that_helps_nobody_is_left_out(noisy: Any) -> None:
    examples, rows, owners, folds = noisy
    shuffled = np.random.default_rng(0).permutation(rows)  # nothing can be told apart
    judged = cross_validate(shuffled, owners, examples.targets, folds, kind="one")
    scores = judged.scores
    calibration, about = calibrate_own(examples, shuffled, owners, folds, judged)
    worse = any(about["after"][name] > about["before"][name] for name in ("ece", "log_loss"))
    assert (calibration is None) == worse == (not about["stored"]) and scores.shape == (60, 3)
    assert ("makes scores worse" in in_words(about)) == worse
    two = calibrate_own(examples, rows, owners, folds % 2, judged)
    assert two[0] is None and in_words(two[1]) == "no calibration: three folds are needed, there are two"


def test_the_verb_calibrates_own_classes(
    folder: Path, run: Path, embedder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run / "pack", tmp_path / "pack")
    verb = ["train", "--examples", str(tmp_path / "pack"), "--init-from", str(embedder), "--threads", "1"]
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        main([*verb, "--calibrate", "--out", str(out), "--set", "penalty=0.1"])  # so strong that none is sure
    said = capsys.readouterr().err
    assert not ended.value.code and "each fold by what had not met it: ECE" in said
    made, plain = load_artifact(out / "last"), load_artifact(run / "last")
    assert made.calibration is not None and plain.calibration is None and check(load_runner(made))["ok"]
    about = made.metrics["calibration"]
    assert about["out_of_fold"] == 5 and about["after"]["log_loss"] <= about["before"]["log_loss"]
    assert "By `auricle train --calibrate`, method affine, on scores out of 5 folds of 30" in (
        made.path / "README.md"
    ).read_text(encoding="utf-8")
    assert "## Calibration" in (out / "report.md").read_text(encoding="utf-8")
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["calibration"]["after"] == about["after"]
    clip = Tagger(made.path, threads=1).tag(folder / "low" / "0.wav", top=3)["tags"]
    other = Tagger(plain.path, threads=1).tag(folder / "low" / "0.wav", top=3)["tags"]
    assert clip[0]["label"] == other[0]["label"] == "low" and clip[0]["score"] != other[0]["score"]
    with pytest.raises(SystemExit):  # the tones are told apart so well that nothing is to be gained
        main([*verb, "--calibrate", "--out", str(tmp_path / "sure")])
    assert "no calibration, it makes scores worse: ECE 0.0" in capsys.readouterr().err
    sure = load_artifact(tmp_path / "sure" / "last")
    assert sure.calibration is None and "calibration" not in sure.metrics
    for wrong in (["--fine-tune"], ["--set", "folds=0"]):
        with pytest.raises(SystemExit) as ended:
            main([*verb, "--calibrate", "--out", str(tmp_path / "x"), *wrong])
        assert ended.value.code and "calibrate" in capsys.readouterr().err


def test_what_is_wrong_with_examples_is_said(embedder: Path, tmp_path: Path) -> None:
    write_tone(tmp_path / "alone" / "owl" / "1.wav", 300, 0)
    with pytest.raises(ValueError, match="owl, and nothing to tell it from"):
        open_examples(tmp_path / "alone", tmp_path / "a", rate=RATE, quiet=True)
    (tmp_path / "alone" / "wren").mkdir()
    (tmp_path / "alone" / "wren" / "1.wav").write_bytes(b"not a sound")
    with pytest.raises(ValueError, match="no recording of wren could be read"):
        open_examples(tmp_path / "alone", tmp_path / "b", rate=RATE, quiet=True)
    for settings in ({"folds": "1"}, {"kind": "both"}, {"penalty": "-1"}, {"penalty": "much"}, {"seed": "x"}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            configure(OwnClasses(), settings)
    assert configure(OwnClasses(), {"penalty": "null", "splits": "a, b", "seed": "3"})[0] == OwnClasses(
        splits=("a", "b"), seed=3
    )


def test_few_recordings_of_a_class_make_fewer_folds_and_are_told(
    folder: Path, embedder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "sounds"
    for label, count in (("low", 3), ("high", 9)):
        for clip in range(count):
            write_tone(root / label / f"{clip}.wav", FREQUENCIES[label], clip)
    told: list[str] = []
    train_own(root, tmp_path / "mine", OwnClasses(init_from=str(embedder)), quiet=True, tell=told.append)
    assert told[0].startswith("fewer than 10 clips of high, low")
    assert "3 folds, not 5: only 3 recordings of low" in told
    assert told[-1].startswith("out of 3 folds, 12 clips: accuracy")
    with pytest.raises(
        ValueError, match=r"mine: holds neither .*; name .*mine.out-of-fold, which auricle tr"
    ):
        write_report([tmp_path / "mine"], tmp_path / "figures")
    write_report([tmp_path / "mine" / "out-of-fold"], tmp_path / "figures")


def test_one_recording_makes_no_folds_and_that_is_told_before_any_work(
    folder: Path, embedder: Path, tmp_path: Path
) -> None:
    tape = folder / "low" / "0.wav"
    rows = [f"{tape},{begin},{begin + 0.2},{label}" for begin, label in ((0, "a"), (0.2, "b"), (0.4, "a"))]
    (tmp_path / "one.csv").write_text("\n".join(["path,start,end,labels", *rows]))
    config = OwnClasses(init_from=str(embedder))
    with pytest.raises(ValueError, match="^all clips are of one recording, so no fold .* --set folds=0"):
        train_own(tmp_path / "one.csv", tmp_path / "m", config, quiet=True)
    assert not (tmp_path / "m").exists()
    config = OwnClasses(init_from=str(embedder), folds="0")
    assert (train_own(tmp_path / "one.csv", tmp_path / "m", config, quiet=True) / "model.json").exists()
    with pytest.raises(ValueError, match="^all clips are of one recording"):  # of a pack, too
        train_own(tmp_path / "m" / "pack", tmp_path / "n", OwnClasses(init_from=str(embedder)), quiet=True)
    assert not (tmp_path / "n").exists()


def test_a_class_of_one_recording_is_named() -> None:
    """Two clips of the first class are of one recording, the second has one; then the background."""
    targets = np.eye(3, dtype=bool)[[0, 0, 1, 2, 2, 2]]
    recordings = np.array(["tape", "tape", "b", "c", "d", "e"])
    examples = SimpleNamespace(labels=("low", "high"), softmax_targets=targets, recordings=recordings)
    told: list[str] = []
    choose_folds(examples, OwnClasses(folds="4"), told.append)
    assert told == [
        "2 folds, not 4: only 1 recording of low, high",
        "a class of one recording is unknown to the model that does not hear it: low, high",
    ]
    targets[:, 2], targets[:, 1] = targets[:, 1].copy(), targets[:, 2].copy()
    for background, named in (("", "low, clips without a label"), ("hum", "low, hum")):
        told = []
        choose_folds(examples, OwnClasses(background=background, folds="2"), told.append)
        assert told == [f"a class of one recording is unknown to the model that does not hear it: {named}"]
    many = SimpleNamespace(
        labels=tuple("abcdefg"), softmax_targets=np.eye(7, dtype=bool), recordings=np.array(list("abcdefg"))
    )
    choose_folds(many, OwnClasses(), told.append)
    assert told[-2] == "2 folds, not 5: only 1 recording of each class"
    assert told[-1].endswith("does not hear it: a, b, c, d, e, ...")


def test_a_folder_below_the_class_is_a_recording() -> None:
    from auricle.datasets import Clip

    def group(name: str, label: str) -> str:
        return by_folder(Clip(id=name, path=name, labels=(label,), group=name)).group

    assert group("owl/1.wav", "owl") == "owl/1.wav"
    assert group("owl/a/b/1.wav", "owl") == "owl/a/b"
    assert group("train/owl/1.wav", "owl") == "train/owl/1.wav"
    assert group("train/owl/a/1.wav", "owl") == "train/owl/a"


def test_a_model_of_own_classes_can_be_the_start_of_another(
    run: Path, folder: Path, embedder: Path, tmp_path: Path
) -> None:
    assert embedder_of(str(run / "last")).fingerprint == load_artifact(embedder).fingerprint
    config = OwnClasses(init_from=str(run / "last"), folds="0")
    model = load_artifact(train_own(run / "pack", tmp_path / "next", config, quiet=True))
    assert model.embedder is not None and model.embedder.embedder is None
    assert not (tmp_path / "next" / "report.json").exists()


@pytest.mark.parametrize("kind, hidden", [("one", 0), ("one", 1), ("several", 0)])
def test_the_graph_is_onnx_and_gives_what_the_formula_says(kind: str, hidden: int) -> None:
    random = np.random.default_rng(5)
    weights, bias = random.standard_normal((6, 3 + hidden)) * 4, random.standard_normal(3 + hidden)
    content = linear_graph(weights, bias, softmax=kind == "one", hidden=hidden)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    rows = random.standard_normal((7, 1, 6)).astype(np.float32)
    logits, embedding = session.run(["logits", "embedding"], {"embeddings": rows})
    assert np.array_equal(embedding, rows[:, 0])
    scores = []
    for row in rows[:, 0].astype(float):  # slowly, and by another formula
        powers = [np.exp(sum(row[d] * weights[d, k] for d in range(6)) + bias[k]) for k in range(3 + hidden)]
        scores.append([p / sum(powers) if kind == "one" else p / (1 + p) for p in powers[:3]])
    assert np.allclose(
        sigmoid(logits), np.clip(scores, 1e-6, 1 - 1e-6) if kind == "one" else scores, atol=1e-6
    )
    linear = Linear(weights.astype(np.float32), bias.astype(np.float32), kind, 1.0, 0.0, 0.0)
    assert np.allclose(logits, shown_logits(linear, rows[:, 0], 3), atol=1e-4)


def test_a_graph_of_other_shapes_is_refused(embedder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="as many biases"):
        linear_graph(np.zeros((4, 3)), np.zeros(2), softmax=False)
    with pytest.raises(ValueError, match="hidden columns are of a softmax"):
        linear_graph(np.zeros((4, 3)), np.zeros(3), softmax=False, hidden=1)
    wrong = Linear(np.zeros((5, 2)), np.zeros(2), "one", 1.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="embeddings of 4 values"):
        save_head(tmp_path / "x", embedder, wrong, ["a", "b"])


def test_the_verb_needs_no_torch(folder: Path, embedder: Path, tmp_path: Path) -> None:
    arguments = [
        "train",
        "--examples",
        str(folder),
        "--init-from",
        str(embedder),
        "--out",
        str(tmp_path / "run"),
    ]
    arguments += ["--set", "folds=2", "--threads", "1"]
    done = without_torch("from auricle.cli import main\nmain(sys.argv[1:])", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "run" / "last")
    assert "out of 2 folds, 30 clips: accuracy" in done.stderr
    again = without_torch(
        "from auricle.cli import main\nmain(sys.argv[1:])",
        *["tag", str(folder / "low" / "0.wav"), "--model", done.stdout.strip(), "--format", "jsonl"],
    )
    assert json.loads(again.stdout)["tags"][0]["label"] == "low"


@pytest.fixture(scope="module")
def torch_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained for a moment on other tones."""
    from tones import config_for, make_corpus

    from auricle.training import train

    folder = tmp_path_factory.mktemp("torch")
    config = config_for(make_corpus(folder), steps=20, window=WINDOW, hop=WINDOW, average=0.0)
    train(config, folder / "run", quiet=True)
    return folder / "run" / "last"


def test_fine_tuning_begins_where_the_classifier_ends(
    folder: Path, torch_model: Path, tmp_path: Path
) -> None:
    """With a rate that moves nothing, the network answers as the frozen classifier does."""
    from auricle.own_classes.fine_tuning import fine_tune_own

    config = OwnClasses(init_from=str(torch_model), folds="0", kind="several", penalty=0.001)
    frozen = train_own(folder, tmp_path / "frozen", config, threads=1, quiet=True)
    settings = {"steps": "1", "learning_rate": "1e-12", "average": "0", "gain_decibels": "0"}
    options = {"device": "cpu", "threads": 1, "quiet": True}
    tuned = fine_tune_own(tmp_path / "frozen" / "pack", tmp_path / "tuned", config, settings, **options)
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (3, WINDOW)).astype(np.float32)
    ours, theirs = (load_runner(load_artifact(path), threads=1).run(waveform)[0] for path in (tuned, frozen))
    # Statistics of batch norm move a little in one step.
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.95
    assert load_artifact(tuned).labels == ("high", "low", "middle")
    assert not (tmp_path / "tuned" / "starts").exists()


def test_fine_tuning_is_judged_by_folds_and_goes_on_where_it_was(
    folder: Path, torch_model: Path, tmp_path: Path
) -> None:
    from auricle.own_classes.fine_tuning import fine_tune_own

    config = OwnClasses(init_from=str(torch_model), folds="2")
    settings = {"steps": "8", "checkpoint_every": "4"}
    options = {"device": "cpu", "threads": 1, "quiet": True}
    told: list[str] = []
    model = fine_tune_own(folder, tmp_path / "run", config, settings, tell=told.append, **options)
    artifact = load_artifact(model)
    assert artifact.backend == "torch" and check(load_runner(artifact, threads=1))["ok"]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["accuracy"] > 0.6 and artifact.metrics["accuracy, out of fold"] == report["accuracy"]
    assert told[-1].startswith("out of 2 folds, 30 clips: accuracy")
    # It knows its own clips, and those of the model that it started from.
    others = Pack(torch_model.parents[1] / "pack")
    assert what_was_heard(artifact, Pack(tmp_path / "run" / "pack"), np.arange(30)).untold == ()
    heard = what_was_heard(load_artifact(torch_model), others, np.arange(len(others))).clips
    assert (
        len(heard)
        and what_was_heard(artifact, others, np.arange(len(others))).clips.tolist() == heard.tolist()
    )
    with pytest.raises(ValueError, match="--resume goes on with it"):
        fine_tune_own(folder, tmp_path / "run", config, settings, **options)
    before = artifact.fingerprint
    fine_tune_own(folder, tmp_path / "run", config, settings, resume=True, **options)
    assert load_artifact(model).fingerprint == before


def test_a_graph_is_not_fine_tuned(folder: Path, embedder: Path, run: Path, tmp_path: Path) -> None:
    from auricle.own_classes.fine_tuning import fine_tune_own

    with pytest.raises(ValueError, match=r"is a graph \(onnx\), so there are no weights"):
        fine_tune_own(folder, tmp_path / "a", OwnClasses(init_from=str(embedder)), quiet=True)
    with pytest.raises(ValueError, match="leave out --fine-tune"):
        fine_tune_own(folder, tmp_path / "b", OwnClasses(init_from=str(run / "last")), quiet=True)


def test_it_is_exported_as_one_file_and_embeds_like_its_embedder(
    run: Path, folder: Path, embedder: Path, tmp_path: Path
) -> None:
    from auricle.embedding import embed_files
    from auricle.interop.onnx import export_onnx

    file = export_onnx(run / "last", tmp_path / "own.onnx")
    waveform = np.random.default_rng(2).uniform(-0.5, 0.5, (5, WINDOW)).astype(np.float32)
    ours, theirs = (
        load_runner(load_artifact(path), threads=1).run(waveform)[0] for path in (run / "last", file)
    )
    assert np.allclose(ours, theirs, atol=1e-4) and load_artifact(file).labels == ("high", "low", "middle")
    tables = []
    for number, model in enumerate((run / "last", embedder)):
        out = tmp_path / f"{number}.parquet"
        embed_files([str(folder / "low" / "0.wav")], model, out, threads=1, quiet=True)
        import pyarrow.parquet as pq

        tables.append(pq.read_table(out)["embedding"].to_pylist())
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        ("--out x", 2, "give one of --data and --examples"),
        ("--out x --data p --examples s", 2, "give one of --data and --examples"),
        ("--out x --data p --recipe r --fine-tune", 2, "goes with --examples"),
        ("--out x --examples s --recipe r", 2, "does not go with --examples"),
        ("--out x --examples s --resume", 2, "takes seconds"),
        ("--out x --examples s --device cuda", 2, "a classifier is solved on the CPU"),
        ("--out x --examples s --set epochs=3", 1, "unknown setting 'epochs' of a classifier"),
        ("--out x --examples nonesuch", 1, "nonesuch: no such file or folder"),
        ("--out file:///x --examples s", 2, "is written to a disk"),
        ("--out x --examples s --init-from nonesuch", 1, "no model nonesuch"),
    ],
)
def test_what_the_verb_refuses(
    arguments: str,
    status: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from auricle.cli import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments.split()])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (status, "")
    assert message in " ".join(printed.err.replace("│", " ").split())
