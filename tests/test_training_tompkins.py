"""The recipe for urban sounds: its published numbers, and every command from annotations to figures."""

import json
from pathlib import Path

import pytest
import tiny_model
import torch
from test_scenes import corpus, make_pack
from test_urban_scenes import TREE

from auricle.artifact import load_artifact
from auricle.changes import ChangeRanges
from auricle.cli import main
from auricle.datasets.taxonomy import write_taxonomy
from auricle.features import num_frames
from auricle.recipes import configure
from auricle.runners import check, load_runner

# Ten seconds at 8 kHz, and the narrowest net, in place of 44.1 kHz and the whole one.
SMALL = {
    "features.rate": 8000,
    "features.high": 4000,
    "features.hop": 100,
    "window": 80000,
    "hop": 80000,
    "model_arguments.width": 0.05,
    "embedding_windows": 10,
    "steps": 2,
    "batch": 4,
    "validate_every": 1,
    "log_every": 1,
}
WITHOUT_CHANGES = {"pitch_semitones": "0", "gain_decibels": "0", "noise": "[]"}


def test_the_recipe_has_the_published_numbers() -> None:
    """Section 5 and the authors' release; features as librosa makes them by default."""
    config = configure("tompkins", data=Path("pack"))
    assert (config.optimizer, config.learning_rate, config.batch, config.weight_decay) == (
        "adam",
        0.01,
        32,
        0,
    )
    assert (config.schedule, config.patience, config.cut, config.lowest_rate) == ("stagnation", 10, 0.1, 1e-6)
    assert (config.gentler, config.class_weights, config.label_set) == (0.1, 0.1, "agreement50")
    assert (config.pitch_semitones, config.gain_decibels) == (3.0, 4.0)
    assert config.noise == ("white", "pink", "brown")
    assert config.monitors == ("micro_auprc_fine", "micro_auprc_coarse")
    assert (config.unknown, config.warmup_steps, config.clip_norm, config.average) == ("negative", 0, None, 0)
    assert (config.features.rate, config.features.bands, config.window) == (44100, 128, 441000)
    assert num_frames(config.window, config.features) == 862
    bare = configure("tompkins", data=Path("pack"), settings={"noise": "[]", "pitch_semitones": "0"})
    assert bare.changes == ChangeRanges(semitones=0.0, gain=4.0, noises=(), noise_share=0.0)
    assert configure("tompkins", data=Path("pack"), settings=WITHOUT_CHANGES).changes is None


def test_rate_and_bands_of_the_features_are_set_together_in_any_order() -> None:
    """Each alone would be of no sound at all: bands up to 22,050 Hz at 16 kHz."""
    for order in (("rate", "high"), ("high", "rate")):
        values = {"rate": "16000", "high": "8000"}
        given = {f"features.{name}": values[name] for name in order}
        found = configure("tompkins", data=Path("pack"), settings=given).features
        assert (found.rate, found.high, found.mel) == (16000, 8000, "slaney")
    with pytest.raises(ValueError, match="setting 'features' does not take .* high <= 8000, half the rate"):
        configure("tompkins", data=Path("pack"), settings={"features.rate": "16000"})
    with pytest.raises(ValueError, match="setting 'where' does not take 'x': expected a mapping"):
        configure("tompkins", data=Path("pack"), settings={"where": "x", "where.licence": "CC0"})


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert not ended.value.code, printed.err
    return printed.out


def settings(**changes: object) -> list[str]:
    return [part for key, value in (SMALL | changes).items() for part in ("--set", f"{key}={value}")]


def test_from_sounds_to_figures_by_the_commands_of_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    make_pack(tmp_path / "singles", corpus())
    write_taxonomy(TREE, Path("tree.yaml"))
    embedder = tiny_model.save(tmp_path / "tiny", hop=tiny_model.WINDOW).path
    splits = [f"--split={name}=fold{k}" for k, name in enumerate(("train", "validate", "test"), 1)]
    scenes = ["--scenes=train=16", "--scenes=validate=6", "--scenes=test=6", "--jobs=1", "--seed=6"]
    run(capsys, "urban-scenes", "singles", "urban", *scenes, *splits, "--taxonomy", "tree.yaml")
    run(capsys, "annotations", "urban/annotations.csv", "--pack", "urban", "--agreement", "0.4")
    run(capsys, "embed", "urban", "--model", embedder, "--name", "tiny", "--threads", "1")
    train = ["train", "--data", "urban", "--recipe", "tompkins", "--device", "cpu", "--threads", "1"]

    stored = settings(**WITHOUT_CHANGES, embeddings="tiny")
    out = run(capsys, *train, "--out", "fusion", *stored)
    assert out.strip() == "fusion/best"
    for model in ("fusion/best", "fusion/best-micro_auprc_coarse"):
        found = load_artifact(model)
        assert found.labels == TREE.labels and found.architecture["name"] == "urban_fusion"
        assert check(load_runner(found, threads=1))["ok"]
    run(capsys, *train, "--out", "fly", *settings(embedder=embedder, label_set="agreement40"))
    run(capsys, *train, "--out", "cnn", *settings(model="urban_cnn", unknown="mask"))
    run(capsys, *train, "--out", "family", "--family", "coarse", *settings(model="urban_cnn"))

    for model in ("fusion/best", "fly/best-micro_auprc_coarse", "cnn/best", "family/best"):
        command = ["evaluate", model, "urban", "--protocol", "urban", "--split", "test", "--out", "eval"]
        printed = run(capsys, *command, "--threads", "1", "--draws", "0")
        assert "micro_auprc" in printed
        judged = json.loads(Path("eval/metrics.json").read_text())
        assert judged["clips"] == 6 and judged["clips_in_training"] == 0
        assert 0 <= judged["fine"]["micro_auprc"] <= 1 and 0 < judged["coarse"]["micro_auprc"] <= 1
