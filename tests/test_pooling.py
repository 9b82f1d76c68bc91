"""A model says how its windows' scores become a recording's; all that makes scores of recordings obeys."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import tiny_model

from auricle.artifact import Artifact, load_artifact
from auricle.calibration import calibrate
from auricle.calibration.stages import Examples, pooled_scores
from auricle.cli import main
from auricle.engine import pack as pack_corpus
from auricle.evaluation import evaluate, score_clips
from auricle.interop.onnx import export_artifact, export_onnx
from auricle.probabilities import as_function, to_scores
from auricle.runners import load_runner
from auricle.runners.windows import PooledScores, logit, sigmoid
from auricle.shards import Pack
from auricle.tagging import Tagger

AFFINE = {"kind": "affine", "scale": [1.5, 0.8, 2.0], "offset": [0.5, -0.3, 1.0]}
CLIPS = AFFINE | {"clips": {"kind": "affine", "scale": [2.0, 3.0, 1.0], "offset": [1.0, 0.0, -1.0]}}


@pytest.fixture
def corpus(tmp_path: Path) -> Pack:
    """Sixteen sounds of one to four windows, whose loudness changes."""
    rng, rows = np.random.default_rng(0), ["path,labels"]
    for number in range(16):
        sound = rng.uniform(-1, 1, tiny_model.WINDOW * (1 + number % 4)) * (number + 1) / 16
        sound[: tiny_model.WINDOW] *= 0.1
        soundfile.write(tmp_path / f"{number}.wav", sound, tiny_model.RATE, subtype="PCM_16")
        rows.append(f"{number}.wav,{tiny_model.LABELS[number % 3]}")
    (tmp_path / "clips.csv").write_text("\n".join(rows))
    pack_corpus(tmp_path / "clips.csv", tmp_path / "pack", rate=tiny_model.RATE, jobs=1, quiet=True)
    return Pack(tmp_path / "pack")


def by_hand(scores_WK: np.ndarray, pooling: str) -> np.ndarray:
    weights = np.exp(scores_WK) / np.exp(scores_WK).sum(axis=0)
    kinds: dict[str, Any] = {"max": scores_WK.max(axis=0), "attention": (scores_WK * weights).sum(axis=0)}
    return np.asarray(kinds.get(pooling, scores_WK.mean(axis=0)))


def logits_of(model: Artifact, corpus: Pack, clip: int) -> np.ndarray:
    sound = corpus.samples(clip).astype(np.float32) / 32768
    return load_runner(model, threads=1).run(sound.reshape(-1, tiny_model.WINDOW))[0]


@pytest.mark.parametrize("pooling", ["", "mean", "max", "attention"])
@pytest.mark.parametrize("calibration", [None, AFFINE, CLIPS])
def test_tag_and_evaluate_pool_as_the_model_says(
    tmp_path: Path, corpus: Pack, pooling: str, calibration: dict[str, Any] | None
) -> None:
    model = tiny_model.save(tmp_path / "m", pooling=pooling, calibration=calibration)
    evaluated = score_clips(load_runner(model, threads=1), corpus, np.arange(16), quiet=True)
    for clip in (0, 3, 7):
        expected = by_hand(to_scores(model)(logits_of(model, corpus, clip)), pooling)
        if calibration is CLIPS:
            expected = sigmoid(as_function(CLIPS["clips"])(logit(expected)))
        tags = Tagger(model.path, threads=1).tag(tmp_path / f"{clip}.wav", top=None)["tags"]
        found = [{tag["label"]: tag["score"] for tag in tags}[label] for label in model.labels]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(evaluated[clip], expected, atol=1e-6)
    figures = evaluate(model, corpus, draws=0, quiet=True)
    assert figures["pooling"] == (pooling or "mean")


def test_evaluate_hears_windows_of_another_length(tmp_path: Path, corpus: Pack) -> None:
    """As a model whose own windows have that length, and twice as many of half the length."""
    model = tiny_model.save(tmp_path / "m", pooling="max")
    half = tiny_model.WINDOW // 2
    figures = evaluate(
        model.path, corpus, window=half / tiny_model.RATE, out=tmp_path / "half", draws=0, quiet=True
    )
    shorter = load_runner(dataclasses.replace(model, window=half, hop=half), threads=1)
    expected = score_clips(shorter, corpus, np.arange(16), quiet=True)
    found = np.stack(pq.read_table(tmp_path / "half" / "scores.parquet")["scores"].to_numpy())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    own = score_clips(load_runner(model, threads=1), corpus, np.arange(16), quiet=True)
    assert figures["window_seconds"] == half / tiny_model.RATE and np.abs(found - own).max() > 1e-3
    command = ["evaluate", str(model.path), str(corpus.path), "--window", "0.125", "--format", "json"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--draws", "0", "--quiet"])
    assert not ended.value.code


def test_another_pooling_that_is_asked_for_has_no_calibration_of_clips(tmp_path: Path, corpus: Pack) -> None:
    model = tiny_model.save(tmp_path / "m", pooling="max", calibration=CLIPS)
    runner = load_runner(model, threads=1)
    asked = score_clips(runner, corpus, np.arange(16), pooling="mean", quiet=True)
    expected = by_hand(to_scores(model)(logits_of(model, corpus, 3)), "mean")
    np.testing.assert_allclose(asked[3], expected, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_a_calibration_is_fitted_to_what_tag_shows(tmp_path: Path, corpus: Pack, pooling: str) -> None:
    rng = np.random.default_rng(1)
    counts = np.array([1, 3, 2, 4])
    starts = np.cumsum(counts) - counts
    logits = rng.normal(0, 2, (int(counts.sum()), 3)).astype(np.float32)
    no = np.zeros((4, 3), bool)
    examples = Examples(
        logits=logits, starts=starts, targets=no, known=~no, groups=np.arange(4), pooling=pooling
    )
    for clip, (first, count) in enumerate(zip(starts, counts, strict=True)):
        expected = PooledScores(3, pooling).add(logits[first : first + count]).score()
        np.testing.assert_allclose(pooled_scores(examples, None)[clip], expected, rtol=1e-6)

    model = tiny_model.save(tmp_path / "m", pooling=pooling)
    made = calibrate(model.path, corpus, tmp_path / "calibrated", quiet=True)
    assert made.pooling == pooling and made.calibration is not None and "clips" in made.calibration
    other = calibrate(
        tiny_model.save(tmp_path / "other", pooling="mean").path, corpus, tmp_path / "by-mean", quiet=True
    )
    assert (made.calibration["clips"] == other.calibration["clips"]) == (pooling == "mean")


def test_exports_keep_it_and_the_card_says_it(tmp_path: Path) -> None:
    model = tiny_model.save(tmp_path / "m", pooling="max")
    assert (
        "| a recording's score | the greatest of its windows' scores |"
        in (model.path / "README.md").read_text()
    )
    assert export_artifact(model.path, tmp_path / "again").pooling == "max"
    assert load_artifact(export_onnx(model.path, tmp_path / "m.onnx")).pooling == "max"


def test_a_pooling_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'pooling': expected one of mean, max, attention, or nothing"):
        tiny_model.save(tmp_path / "m", pooling="median")
