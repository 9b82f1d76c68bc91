"""Networks of two inputs: embeddings stored with the pack, or made of what is heard."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
import tiny_urban
import torch
from tiny_urban import CLIP, RATE, TREE, TinyBoth
from tones import TinyPlain, same_weights

import auricle.training.beside as beside_module
import auricle.training.loop as loop
from auricle.artifact import load_artifact
from auricle.changes import apply_changes, draw_changes, generator_of_step
from auricle.embedding import embed_pack
from auricle.evaluation.urban import evaluate_urban
from auricle.models import MODELS
from auricle.runners import check, load_runner
from auricle.runners.fusion import embed_resampled
from auricle.shards import Pack
from auricle.tagging import Tagger
from auricle.training import TrainConfig, train
from auricle.training.batches import Batch
from auricle.training.beside import Beside, check_stored, open_beside
from auricle.training.data import choose_clips, make_sampler
from auricle.training.loop import learning_rate, read_ahead
from auricle.training.outcome import LiveRunner, find_embedder
from auricle.training.state import make_state
from auricle.training.step import update
from auricle.training.validation import validate

CPU = torch.device("cpu")
HALF = 2**-10  # of a value, to which float16 rounds


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.25 s at 8 kHz -> 4 values."""
    path = tmp_path_factory.mktemp("embedder") / "model"
    return tiny_model.save(path, hop=tiny_model.WINDOW).path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, embedder: Path) -> Path:
    torch.set_num_threads(1)
    path = tiny_urban.make_corpus(tmp_path_factory.mktemp("urban"))
    embed_pack(path, embedder, name="tiny", threads=1, quiet=True)
    return path


@pytest.fixture(autouse=True)
def _tiny_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_both", TinyBoth)
    monkeypatch.setitem(MODELS, "tiny_plain", TinyPlain)


def config_for(corpus: Path, **changes: Any) -> TrainConfig:
    return tiny_urban.config_for(corpus, **{"model": "tiny_both", "embedding_windows": 3} | changes)


class Made:
    """A run's parts, made as `train` makes them; `inputs` are what the net was given."""

    def __init__(self, config: TrainConfig):
        self.config, self.pack = config, Pack(config.data)
        self.clips, self.held = choose_clips(self.pack, config)
        beside = open_beside(config, self.pack, CPU, find_embedder)
        assert beside is not None
        self.beside: Beside = beside
        check_stored(beside, self.pack, self.clips, config)
        self.state = make_state(config, len(TREE.labels), CPU, None, beside)
        self.live = LiveRunner(config, self.pack, self.state.average, CPU, torch.float32, beside=beside)
        self.sampler = make_sampler(self.pack, self.clips, config)
        self.inputs: list[tuple[torch.Tensor, ...]] = []
        self.state.net.register_forward_pre_hook(lambda _, given: self.inputs.append(given[0]))

    def read(self, step: int) -> Batch:
        batches = read_ahead(self.pack, self.clips, self.sampler, range(1), self.live, self.config)
        return batches.read(step)

    def step(self, step: int = 0) -> tuple[torch.Tensor, ...]:
        self.state.step = step
        update(self.state, self.read(step), 0.01, self.live, self.config)
        return self.inputs[-1]


def test_stored_embeddings_are_those_that_are_made_on_the_fly(corpus: Path, embedder: Path) -> None:
    """The pack is at 16 kHz, the embedder at 8 kHz; sets hold float16."""
    stored = Made(config_for(corpus, embeddings="tiny", embedder=str(embedder)))
    fly = Made(config_for(corpus, embedder=str(embedder)))
    assert stored.read(2).embeddings.shape == (5, 3, 4) and fly.read(2).embeddings.shape == (5, 0, 0)
    one, two = stored.step(2), fly.step(2)
    assert torch.equal(one[0], two[0]) and one[1].shape == two[1].shape == (5, 3, 4)
    torch.testing.assert_close(one[1], two[1], rtol=HALF, atol=1e-6)
    assert one[1].std() > 0.01 and not torch.equal(one[1][0], one[1][1])
    assert stored.state.loss.item() == pytest.approx(fly.state.loss.item(), rel=1e-4)


def test_each_clip_gets_its_own_embeddings(corpus: Path, embedder: Path) -> None:
    made = Made(config_for(corpus, embeddings="tiny", embedder=str(embedder)))
    drawn, _ = made.sampler.draw(3)
    given = made.step(3)[1]
    for row, clip in enumerate(made.clips[drawn]):
        by_hand = made.pack.embeddings("tiny").clip(int(clip))[:3]
        np.testing.assert_array_equal(given[row].numpy(), np.asarray(by_hand, np.float32))


def test_validation_is_the_same_with_stored_embeddings(
    corpus: Path, embedder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Made(config_for(corpus, embeddings="tiny", embedder=str(embedder)))
    fly = Made(config_for(corpus, embedder=str(embedder)))
    found = validate(fly.live, fly.pack, fly.held, fly.config)
    monkeypatch.setattr(beside_module, "embed_resampled", None)  # it is not needed there
    again = validate(stored.live, stored.pack, stored.held, stored.config)
    assert again == pytest.approx(found, abs=1e-3) and len(again) > 8


CHANGES: dict[str, dict[str, Any]] = {
    "pitch and noise": {"pitch_semitones": 2.0, "gain_decibels": 3.0, "noise": ("pink",), "noise_share": 1.0},
    "gain": {"gain_decibels": 3.0},
    "speed": {"speed_spread": 0.1},
    "mixing": {"mixing": "mix_training"},
}


@pytest.mark.parametrize("kind", CHANGES)
def test_embeddings_are_of_the_sound_as_it_was_changed(
    corpus: Path, embedder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(config_for(corpus, embedder=str(embedder), **CHANGES[kind]))
    heard: list[torch.Tensor] = []
    made.live.frontend.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    given = made.step(4)[1]
    runner = load_runner(load_artifact(embedder), threads=1)
    np.testing.assert_array_equal(given.numpy(), embed_resampled(runner, heard[0].numpy(), RATE, 3))
    drawn, _ = made.sampler.draw(4)
    plain = made.pack.patches(made.clips[drawn], drawn * 0, CLIP).astype(np.float32) / 32768
    unchanged = embed_resampled(runner, plain, RATE, 3)
    assert not np.isclose(given.numpy(), unchanged).all(axis=(1, 2)).any()
    if kind == "pitch and noise":
        ranges = made.config.changes
        assert ranges is not None
        changes = draw_changes(5, generator_of_step(0, 4), ranges, samples=CLIP)
        again = apply_changes(torch.from_numpy(plain), changes, rate=RATE)
        np.testing.assert_array_equal(given.numpy(), embed_resampled(runner, again.numpy(), RATE, 3))


@pytest.mark.parametrize("kind", CHANGES)
def test_with_changes_stored_embeddings_are_refused(corpus: Path, embedder: Path, kind: str) -> None:
    name, value = next((name, value) for name, value in CHANGES[kind].items() if name != "pitch_semitones")
    with pytest.raises(
        ValueError, match=rf"{name} is {value}, which changes waveforms, but stored embeddings"
    ):
        config_for(corpus, embeddings="tiny", **CHANGES[kind])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {},
            r"takes embeddings beside what it hears: set embedder .*, or embeddings to a set of .*are: tiny",
        ),
        ({"pitch_semitones": 1.0}, "set embedder to the model that makes them$"),
        ({"embeddings": "tiny", "window": 15000}, "20 of 20 clips are longer than a window of 15000 samples"),
        (
            {"embeddings": "tiny", "embedding_windows": 5},
            "20 of 20 clips have no 5 embeddings within a window",
        ),
        ({"embeddings": "other"}, "no embedding set 'other'; there are: tiny"),
        (
            {"model": "tiny_plain", "embedder": "yamnet"},
            "embedder is 'yamnet', but model 'tiny_plain' takes no",
        ),
        ({"model": "tiny_plain", "embeddings": "tiny"}, "embeddings is 'tiny', but model 'tiny_plain' takes"),
        ({"embedder": "no-such-model"}, "no model no-such-model"),
    ],
)
def test_embeddings_that_cannot_serve_are_refused_before_a_run_begins(
    corpus: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(config_for(corpus, **changes), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_clips_longer_than_a_window_get_embeddings_of_the_stretch_that_is_heard(
    corpus: Path, embedder: Path
) -> None:
    made = Made(config_for(corpus, embedder=str(embedder), window=14000, hop=14000))
    logmel, given = made.step(1)
    drawn, offsets = made.sampler.draw(1)
    assert len(set(offsets.tolist())) > 2
    heard = made.pack.patches(made.clips[drawn], offsets, 14000).astype(np.float32) / 32768
    runner = load_runner(load_artifact(embedder), threads=1)
    np.testing.assert_array_equal(given.numpy(), embed_resampled(runner, heard, RATE, 3))


@pytest.mark.parametrize("stored", [True, False])
def test_the_trained_model_tags_evaluates_and_checks(
    corpus: Path, embedder: Path, tmp_path: Path, stored: bool
) -> None:
    config = config_for(
        corpus,
        embeddings="tiny" if stored else "",
        embedder=str(embedder),
        monitors=("micro_auprc_fine", "micro_auprc_coarse"),
        steps=16,
    )
    best = train(config, tmp_path / "run", quiet=True)
    artifact = load_artifact(best)
    assert [entry["kind"] for entry in artifact.inputs] == ["logmel", "embedding"]
    assert (best / "embedder" / "model.json").is_file() and artifact.rate == RATE
    assert check(load_runner(artifact, threads=1))["ok"]
    judged = evaluate_urban(best, corpus, splits=["validate"], draws=0, quiet=True, threads=1)
    kept = artifact.metrics["validation"]
    for level in ("fine", "coarse"):
        assert kept[f"micro_auprc_{level}"] == pytest.approx(judged[level]["micro_auprc"], abs=2e-3)
    tags = Tagger(best, threads=1).tag(corpus.parent / "sounds" / "20.wav", top=10)["tags"]
    assert {tag["label"] for tag in tags} == set(TREE.labels)
    assert np.ptp([tag["score"] for tag in tags]) > 0.01


def test_a_run_with_embeddings_that_was_killed_ends_the_same(
    corpus: Path, embedder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, changes in (("fly", CHANGES["pitch and noise"]), ("stored", {"embeddings": "tiny"})):
        config = config_for(corpus, embedder=str(embedder), steps=6, average=0.9, **changes)
        train(config, tmp_path / name, quiet=True)

        def until(config: TrainConfig, step: int, steps: int) -> float:
            if step == 4:
                raise KeyboardInterrupt
            return learning_rate(config, step, steps)

        monkeypatch.setattr(loop, "learning_rate", until)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / f"{name} killed", quiet=True)
        monkeypatch.setattr(loop, "learning_rate", learning_rate)
        train(config, tmp_path / f"{name} killed", resume=True, quiet=True)
        assert same_weights(tmp_path / name, tmp_path / f"{name} killed")
    assert not same_weights(tmp_path / "fly", tmp_path / "stored")


def test_the_same_training_on_a_batch_in_parts(corpus: Path, embedder: Path) -> None:
    """Without batch norm the gradient of parts is that of the whole."""
    whole = Made(config_for(corpus, embeddings="tiny", embedder=str(embedder), batch=6))
    parts = Made(dataclasses.replace(whole.config, accumulate=3))
    whole.step(1)
    parts.step(1)
    assert [len(given[1]) for given in parts.inputs] == [2, 2, 2]
    for one, two in zip(whole.state.net.parameters(), parts.state.net.parameters(), strict=True):
        assert one.grad is not None and two.grad is not None
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-6)
