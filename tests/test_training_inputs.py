"""Training on log-mel patches, waveforms and stored embeddings; each resumed bit for bit."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tones import RATE, TinyWave, config_for, log_of, make_corpus, same_weights

from auricle.artifact import load_artifact, save_changed
from auricle.embedding import embed_pack
from auricle.evaluation import score_clips
from auricle.frontend import LogMel
from auricle.models import MODELS
from auricle.runners import check, load_runner
from auricle.runners.composed import embed_windows
from auricle.shards import Pack, add_embeddings
from auricle.training import TrainConfig, configure, train
from auricle.training.batches import Batches, embedding_windows
from auricle.training.data import choose_clips, make_sampler
from auricle.training.devices import pick_dtype
from auricle.training.loop import learning_rate
from auricle.training.outcome import LiveRunner, find_embedder
from auricle.training.state import make_state
from auricle.training.step import augment, seed_step
from auricle.training.task import NO_TASK
from auricle.training.validation import stream, validate

CPU = torch.device("cpu")
PLAIN = {"mixing": "none", "speed_spread": 0.0, "gain_decibels": 0.0, "mask_frames": 0, "mask_bands": 0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones, with an embedding set that a model trained on them made: 7 windows of 2000 samples, hop 1000."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tones")
    path = make_corpus(folder)
    config = config_for(path, steps=80, learning_rate=0.01, window=2000, hop=1000)
    embedder = train(config, folder / "embedder", quiet=True)
    artifact = load_artifact(embedder)
    runner = load_runner(artifact, threads=1)
    rows = [
        embed_windows(runner, Pack(path).samples(clip)[None].astype(np.float32) / 32768)[0]
        for clip in range(24)
    ]
    about = {"model": str(embedder), "fingerprint": artifact.fingerprint}
    about |= {"rate": RATE, "window": artifact.window, "hop": artifact.hop}
    add_embeddings(path, "own", rows, about)
    return path


@pytest.fixture(autouse=True)
def _wave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_wave", TinyWave)


def config_of(kind: str, data: Path, **changes: Any) -> TrainConfig:
    masks = {"mask_frames": 0, "mask_bands": 0}
    kinds: dict[str, dict[str, Any]] = {
        "logmel": {},
        "waveform": {"model": "tiny_wave", "model_arguments": {}, **masks},
        "embedding": {
            "model": "fully_connected",
            "model_arguments": {"layers": 1, "units": 16},
            "embeddings": "own",
            "embedding_windows": 3,
            **PLAIN,
        },
    }
    return config_for(data, **(kinds[kind] | changes))


KINDS = ["logmel", "waveform", "embedding"]


class Killed(Exception):
    pass


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_ends_with_the_same_weights(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    import auricle.training.loop as loop

    config = config_of(kind, corpus, steps=12, validate_every=6)
    train(config, tmp_path / "whole", quiet=True)

    def until_step_six(config: TrainConfig, step: int, steps: int) -> float:
        if step == 6:
            raise Killed
        return learning_rate(config, step, steps)

    monkeypatch.setattr(loop, "learning_rate", until_step_six)
    with pytest.raises(Killed):
        train(config, tmp_path / "run", quiet=True)
    monkeypatch.setattr(loop, "learning_rate", learning_rate)
    train(config, tmp_path / "run", resume=True, quiet=True)
    assert same_weights(tmp_path / "whole", tmp_path / "run")
    kept = [[e for e in log_of(tmp_path / name) if "event" not in e] for name in ("whole", "run")]
    assert kept[0] == kept[1] and len(kept[0]) > 3
    train(dataclasses.replace(config, seed=1), tmp_path / "other", quiet=True)
    assert not same_weights(tmp_path / "whole", tmp_path / "other")


@pytest.mark.parametrize("kind", KINDS)
def test_eight_clips_are_learned_by_heart(corpus: Path, tmp_path: Path, kind: str) -> None:
    held = {"validation_splits": (), "validation_fraction": 0.0, "train_fraction": 4 / 9}
    config = config_of(kind, corpus, steps=250, learning_rate=0.02, average=0.0, **PLAIN, **held)
    train(config, tmp_path / "run", quiet=True)
    assert log_of(tmp_path / "run")[0]["train_clips"] == 8
    assert log_of(tmp_path / "run")[-1]["loss"] < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_the_artifact_takes_waveforms_and_passes_its_check(corpus: Path, tmp_path: Path, kind: str) -> None:
    found = load_artifact(train(config_of(kind, corpus, steps=5), tmp_path / "run", quiet=True))
    assert found.inputs[0]["kind"] == kind and found.rate == RATE
    runner = load_runner(found, threads=1)
    assert check(runner)["ok"]
    # Three embeddings of 2000 samples, 1000 apart, and the next three from sample 3000 on.
    expected = (4000, 3000) if kind == "embedding" else (4000, 4000)
    assert (found.window, found.hop) == expected
    scores = score_clips(runner, Pack(corpus), np.arange(4), quiet=True)
    assert scores.shape == (4, 3) and (scores > 0).all() and (scores < 1).all()


def test_validation_on_embeddings_is_what_the_artifact_gives_on_waveforms(
    corpus: Path, tmp_path: Path
) -> None:
    config = config_of("embedding", corpus, steps=60, learning_rate=0.02, tail="drop")
    found = load_artifact(train(config, tmp_path / "run", quiet=True))
    data, embeddings = Pack(corpus), Pack(corpus).embeddings("own")
    state = make_state(config, 3, CPU, embeddings)
    weights = {name: torch.from_numpy(array) for name, array in found.read_weights().items()}
    state.average.load_state_dict(weights)
    live = LiveRunner(config, data, state.average, CPU, torch.float32, embeddings=embeddings)
    stored = np.stack(list(stream(live, data, np.arange(24))))
    live.batch = 2  # fewer than a clip has
    assert np.allclose(np.stack(list(stream(live, data, np.arange(24)))), stored, atol=1e-5)
    composed = score_clips(load_runner(found, threads=1), data, np.arange(24), quiet=True)
    assert stored == pytest.approx(composed, abs=2e-3), "float16 is all that lies between"
    assert np.ptp(stored, axis=0).min() > 0.05, "and the clips differ by more"


def test_examples_of_embeddings_are_windows_in_a_row(corpus: Path) -> None:
    data = Pack(corpus)
    own = data.embeddings("own")
    config = config_of("embedding", corpus, balance="patches")
    clips, _ = choose_clips(data, config)
    sampler = make_sampler(data, clips, config, own)
    assert sampler.epoch_size == 18 * 2, "7 windows hold two examples of 3"
    reading = Batches(data, clips, sampler, samples=3, label_set="labels", steps=range(1), embeddings=own)
    batch = reading.read(0)
    drawn, offsets = sampler.draw(0)
    for row, (clip, offset) in enumerate(zip(clips[drawn], offsets, strict=True)):
        assert offset in (0, 3)
        assert np.array_equal(batch.inputs[row].numpy(), own.clip(clip)[offset : offset + 3])
    assert batch.inputs.dtype == torch.float16


def test_a_clip_with_too_few_windows_is_filled_with_zeros(corpus: Path) -> None:
    own = Pack(corpus).embeddings("own")
    read = embedding_windows(own, np.array([0, 23]), np.array([5, 0]), 4)
    assert np.array_equal(read[0, :2], own.clip(0)[5:]) and not read[0, 2:].any()
    assert np.array_equal(read[1], own.clip(23)[:4]), "the last clip of the set"
    assert not embedding_windows(own, np.array([23]), np.array([6]), 2)[0, 1].any()


def test_clips_without_embeddings_are_not_trained_on(corpus: Path) -> None:
    data, path = Pack(corpus), corpus
    about = {
        name: data.embeddings("own").about[name] for name in ("model", "fingerprint", "rate", "window", "hop")
    }
    rows = (data.embeddings("own").clip(clip)[: 7 * (clip % 2)] for clip in range(24))
    add_embeddings(path, "half", rows, about)
    clips, _ = choose_clips(Pack(path), config_of("embedding", path, embeddings="half"))
    assert clips.tolist() == list(range(1, 18, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixing": "mixup"}, "mixing is mixup, which changes waveforms, but stored embeddings"),
        ({"gain_decibels": 3.0}, "gain_decibels is 3.0, which changes waveforms"),
        ({"speed_spread": 0.1}, "speed_spread is 0.1, which changes waveforms"),
        ({"degrade": 0.3}, "degrade is 0.3, which changes waveforms"),
        ({"equalize_decibels": 6.0}, "equalize_decibels is 6.0, which changes waveforms"),
        ({"mask_bands": 2}, "mask_bands is 2, which changes waveforms"),
        ({"embeddings": "none"}, "no embedding set 'none'"),
        ({"embeddings": ""}, "takes embeddings: set embeddings to a set of .*; there are: .*own"),
        (
            {"model": "tiny_wave", "model_arguments": {}},
            "embeddings is 'own', but model 'tiny_wave' takes wave",
        ),
        (
            {"model": "resnet50", "model_arguments": {"width": 0.05}},
            "embeddings is 'own', but model 'resnet50' takes logmel input",
        ),
        (
            {"model_arguments": {"input_shape": [2, 9]}},
            r"is for embeddings \(2, 9\), those of set 'own' come as",
        ),
        ({"embedder": "no/such"}, "made by no/such, which the trained model needs .*--set embedder=MODEL"),
        ({"embedder": "default"}, "is not the model that made the embedding set 'own'"),
    ],
)
def test_what_does_not_go_with_embeddings_is_refused(
    corpus: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    if changes.get("embeddings") == "":
        changes = changes | {
            "model_arguments": {"input_kind": "embedding", "input_shape": [1, 16], "units": 4}
        }
    with pytest.raises(ValueError, match=message):
        train(config_of("embedding", corpus, **changes), tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"clips": True}, "one embedding a clip, the mean of its windows'.*without --clips"),
        ({"hop": 0.0625}, "windows 500 samples apart, and its model .* 1000 apart.*without --hop"),
    ],
)
def test_embeddings_that_no_model_makes_of_a_waveform_are_refused_at_once(
    corpus: Path, tmp_path: Path, made: dict[str, Any], message: str
) -> None:
    embedder = Pack(corpus).embeddings("own").about["model"]
    embed_pack(corpus, embedder, name="other", replace=True, threads=1, quiet=True, **made)
    config = config_of("embedding", corpus, embeddings="other", embedder=embedder)
    with pytest.raises(ValueError, match=message):
        train(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_the_model_that_made_embeddings_is_found_again_where_it_lay(corpus: Path, tmp_path: Path) -> None:
    embedder = Path(Pack(corpus).embeddings("own").about["model"])
    about = embed_pack(corpus, embedder, name="found", threads=1, quiet=True)
    assert about["path"] == str(embedder) and about["model"] != about["path"]  # a name says not where
    assert train(config_of("embedding", corpus, embeddings="found", steps=2), tmp_path / "run", quiet=True)
    model = load_artifact(embedder)
    copy = save_changed(model, tmp_path / "copy", thresholds=[0.5] * model.num_classes)  # the same embeddings
    config = config_of("embedding", corpus, embeddings="found", embedder=str(copy.path), steps=2)
    assert find_embedder(config, Pack(corpus).embeddings("found")).fingerprint == copy.fingerprint


def test_masks_are_refused_where_there_is_no_log_mel(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mask_frames and mask_bands cover log-mels"):
        train(config_of("waveform", corpus, mask_bands=2), tmp_path / "run", quiet=True)


def test_the_net_sees_the_frames_of_one_patch_exactly() -> None:
    """15,600 samples are 96 frames; not 97, though the next patch begins 15,360 samples later."""
    config = TrainConfig(data=Path("x"), steps=1, window=15_600, hop=15_360, tail="drop", mask_frames=0)
    waveform = torch.randint(-1000, 1000, (2, 15_600), dtype=torch.int16)
    heard, _ = augment(waveform.float() / 32768, torch.zeros(2, 3), seed_step(0, 0, CPU), 0, config, NO_TASK)
    seen = LogMel(config.features)(heard)
    assert seen.shape == (2, 1, 96, 64)
    assert torch.equal(seen, LogMel(config.features)(waveform.float() / 32768))


def test_the_patch_grid_of_training_is_that_of_evaluation(corpus: Path) -> None:
    config = config_for(corpus, window=2000, hop=1500, balance="patches", batch=5, speed_spread=0.0)
    data = Pack(corpus)
    clips, _ = choose_clips(data, config)
    sampler = make_sampler(data, clips, config)
    assert sampler.epoch_size == 18 * 5
    offsets = np.concatenate([sampler.draw(step)[1] for step in range(18)])
    assert np.unique(offsets, return_counts=True)[1].tolist() == [18] * 5 and offsets.max() == 6000


def test_a_net_built_for_a_shape_is_told_that_of_the_windows(corpus: Path, tmp_path: Path) -> None:
    small = {"layers": 1, "units": 8}
    config = config_for(corpus, model="fully_connected", model_arguments=small, steps=2)
    arguments = load_artifact(train(config, tmp_path / "run", quiet=True)).architecture["arguments"]
    assert arguments == {"num_classes": 3, **small, "input_shape": [1, 47, 24]}


def test_many_labels_are_validated_as_float16_logits(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import auricle.training.validation as validation

    data, config = Pack(corpus), config_for(corpus)
    state = make_state(config, 3, CPU)
    live = LiveRunner(config, data, state.average, CPU, pick_dtype("float32", CPU))
    _, clips = choose_clips(data, config)
    whole = validate(live, data, clips, config)
    monkeypatch.setattr(validation, "MANY_PAIRS", 17)
    blocks = validate(live, data, clips, config)
    for name in ("map", "auc", "accuracy", "clips", "excluded_ap"):
        assert blocks[name] == pytest.approx(whole[name], abs=1e-9), name


def test_sure_scores_of_many_labels_do_not_tie(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import auricle.training.validation as validation

    data, config = Pack(corpus), config_for(corpus)
    live = LiveRunner(config, data, make_state(config, 3, CPU).average, CPU, torch.float32)
    _, clips = choose_clips(data, config)
    # All beyond 0.9998, where float16 has nothing but 1: a clip's own label 1 - 1e-6, the others 1 - 1e-4.
    scores = 1 - np.where(data.targets(clips, "labels") > 0, 1e-6, 1e-4)
    monkeypatch.setattr(validation, "stream", lambda *_: iter(scores))
    monkeypatch.setattr(validation, "MANY_PAIRS", 17)
    assert validate(live, data, clips, config)["map"] == 1.0


def test_settings_of_embeddings_are_taken_from_text() -> None:
    config = configure(
        TrainConfig(data=Path("x"), steps=1), {"embeddings": "yamnet", "embedding_windows": "10"}
    )
    assert (config.embeddings, config.embedding_windows) == ("yamnet", 10)
