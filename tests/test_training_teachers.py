"""Teachers: what they say is what a student learns, whichever of them is asked, and all of it is told."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tones import TinyPlain, TinyWave, config_for, make_corpus, same_weights

from auricle.artifact import load_artifact
from auricle.evaluation import evaluate
from auricle.evaluation.heard import what_was_heard
from auricle.models import MODELS
from auricle.runners import load_runner
from auricle.shards import Pack
from auricle.training import TrainConfig, configure, train
from auricle.training.loop import prepare, read_ahead
from auricle.training.step import prepare as prepare_batch
from auricle.training.step import seed_step
from auricle.training.teachers import Teachers, open_teachers

PLAIN: dict[str, Any] = {"mixing": "none", "speed_spread": 0.0, "gain_decibels": 0.0}
PLAIN |= {"mask_frames": 0, "mask_bands": 0}
WAVE: dict[str, Any] = {"model": "tiny_wave", "model_arguments": {}, "mask_frames": 0, "mask_bands": 0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def teachers(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two nets on log-mel, of other features each, and one on waveforms."""
    folder = tmp_path_factory.mktemp("teachers")
    configs = [config_for(corpus), config_for(corpus, seed=1), config_for(corpus, steps=8, **WAVE)]
    configs[1] = configure(configs[1], {"features.bands": "20"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny_wave", TinyWave)
        for number, config in enumerate(configs):
            train(config, folder / str(number), quiet=True)
    return [str(folder / str(number) / "last") for number in range(3)]


@pytest.fixture(autouse=True)
def _tiny_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_plain", TinyPlain)
    monkeypatch.setitem(MODELS, "tiny_wave", TinyWave)


def opened(config: TrainConfig) -> Teachers:
    found = prepare(config, resume=False).task.teachers
    assert found is not None
    return found


def targets_of(config: TrainConfig, step: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """What the student is to learn at a step, and the labels of the same patches, mixed alike."""
    (_, targets), (_, labels) = prepared(config, step)
    return targets, labels


def prepared(config: TrainConfig, step: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What the student hears and is to learn at a step, with its teachers and without."""
    setting = prepare(config, resume=False)
    live, task = setting.live, setting.task
    batch = read_ahead(setting.pack, task.train_clips, setting.sampler, range(1), live, config).read(step)
    labels, nothing = batch.targets(3), torch.zeros(len(batch.inputs), 0)
    found = []
    for of in (task, SimpleNamespace(teachers=None, recordings=None)):
        generator = seed_step(config.seed, step, live.device)
        heard, targets, _ = prepare_batch(batch, labels, nothing, generator, step, live, config, of)  # type: ignore[arg-type]
        found.append((heard[0], targets))
    return found


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("student", [{}, WAVE], ids=["logmel", "waveform"])
def test_a_teacher_says_what_its_runner_says(
    corpus: Path, teachers: list[str], number: int, student: dict[str, Any]
) -> None:
    """Whether it shares the student's front end or has one of its own."""
    config = config_for(corpus, teachers=(teachers[number],), **student)
    setting = prepare(config, resume=False)
    found = setting.task.teachers
    assert found is not None and (found.frontends[0] is None) == (number == 0 and not student)
    waveforms = np.random.default_rng(0).normal(0, 0.1, (5, 4000)).astype(np.float32)
    heard = torch.from_numpy(waveforms)
    told = found.listen(heard, setting.live.frontend(heard), 0, 0)
    logits, _ = load_runner(load_artifact(teachers[number]), threads=1).run(waveforms)
    np.testing.assert_allclose(told.numpy(), 1 / (1 + np.exp(-logits)), atol=1e-5)
    assert told.std() > 1e-3 and not told.requires_grad


def test_each_teacher_is_asked_equally_often(corpus: Path, teachers: list[str]) -> None:
    found = opened(config_for(corpus, teachers=tuple(teachers)))
    heard = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (1, 4000)).astype(np.float32))
    features = prepare(config_for(corpus), resume=False).live.frontend(heard)
    said = [tuple(found.listen(heard, features, 0, step)[0].tolist()) for step in range(150)]
    assert sorted(map(said.count, set(said)), reverse=True)[-1] > 35 and len(set(said)) == 3
    assert said == [tuple(found.listen(heard, features, 0, step)[0].tolist()) for step in range(150)]
    assert said != [tuple(found.listen(heard, features, 1, step)[0].tolist()) for step in range(150)]


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_target_is_the_labels_and_the_teachers_word_by_share(
    corpus: Path, teachers: list[str], share: float
) -> None:
    """Both of the mixed patch, before any of it is masked."""
    config = config_for(corpus, teachers=(teachers[0],), teacher_share=share)
    targets, labels = targets_of(config, step=3)
    told, _ = targets_of(config_for(corpus, teachers=(teachers[0],), teacher_share=1.0), step=3)
    unmasked, _ = targets_of(
        config_for(corpus, teachers=(teachers[0],), teacher_share=1.0, mask_frames=0, mask_bands=0), step=3
    )
    torch.testing.assert_close(targets, (1 - share) * labels + share * told)
    assert torch.equal(told, unmasked) and not torch.allclose(told, labels, atol=0.05)
    assert ((labels > 0.05) & (labels < 0.95)).any()  # mixed


@pytest.mark.parametrize("how", [{"degrade": 0.9}, {"equalize_decibels": 12.0}])
def test_a_teacher_hears_clean_what_its_student_hears_changed(
    corpus: Path, teachers: list[str], how: dict[str, float]
) -> None:
    config = config_for(corpus, teachers=(teachers[0],), teacher_share=1.0, mask_frames=0, mask_bands=0)
    (clean, told), _ = prepared(config, step=3)
    (heard, told_of_it), (alone, _) = prepared(dataclasses.replace(config, **how), step=3)
    assert torch.equal(told, told_of_it) and torch.equal(heard, alone)
    assert ((heard - clean).abs().amax((1, 2, 3)) > 0.1).float().mean() > 0.5


def test_a_student_of_wrong_labels_learns_from_its_teachers(
    corpus: Path, teachers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The labels of every clip are another class's; the teachers know better."""
    rolled = Pack.target_pairs

    def wrong(self: Pack, *given: Any, **how: Any) -> Any:
        rows, columns, values = rolled(self, *given, **how)
        return rows, (columns + 1) % 3, values

    good = config_for(corpus, steps=120, **PLAIN)
    teacher = str(train(good, tmp_path / "teacher", quiet=True).parent / "last")
    figures = {}
    for name, more in {"alone": {}, "taught": {"teachers": (teacher,), "teacher_share": 1.0}}.items():
        with monkeypatch.context() as patch:
            patch.setattr(Pack, "target_pairs", wrong)
            config = config_for(
                corpus, steps=120, validation_splits=(), validation_fraction=0.0, **PLAIN, **more
            )
            model = train(config, tmp_path / name, quiet=True)
        figures[name] = evaluate(model, corpus, splits=["test"], out=tmp_path / f"{name}-judged")["accuracy"]
    assert figures["alone"] < 0.4 and figures["taught"] > 0.8


def test_a_killed_and_resumed_student_ends_with_the_same_weights(
    corpus: Path, teachers: list[str], tmp_path: Path
) -> None:
    config = config_for(
        corpus, teachers=tuple(teachers), steps=12, validate_every=6, degrade=0.5, equalize_decibels=6.0
    )
    train(config, tmp_path / "whole", quiet=True)

    def stop(step: int, *_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "parts", quiet=True, on_validation=stop)
    train(config, tmp_path / "parts", quiet=True, resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_a_run_goes_on_with_its_own_teacher_only(corpus: Path, teachers: list[str], tmp_path: Path) -> None:
    """Another model in the teacher's place: neither a stopped run goes on with it nor a whole one passes."""
    teacher = tmp_path / "teacher"
    shutil.copytree(teachers[0], teacher)
    config = config_for(corpus, teachers=(str(teacher),), steps=4, validate_every=2, checkpoint_every=2)

    def stop(step: int, *_: Any) -> None:
        raise KeyboardInterrupt

    train(config, tmp_path / "whole", quiet=True)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "parts", quiet=True, on_validation=stop)
    made = load_artifact(tmp_path / "whole" / "last").training["teachers"]
    own = load_artifact(teacher)
    assert made == [{"model": own.name, "fingerprint": own.fingerprint}]
    shutil.rmtree(teacher)
    shutil.copytree(teachers[1], teacher)
    for run in ("whole", "parts"):
        with pytest.raises(
            ValueError, match=f"another configuration: teacher_fingerprints was .'{own.fingerprint}"
        ):
            train(config, tmp_path / run, quiet=True, resume=True)
    shutil.rmtree(teacher)
    shutil.copytree(teachers[0], teacher)
    kept = tmp_path / "parts" / "config.json"
    known = json.loads(kept.read_text())
    del known["teacher_fingerprints"]  # a run of before they were kept goes on, too
    kept.write_text(json.dumps(known))
    train(config, tmp_path / "parts", quiet=True, resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_what_the_teachers_heard_the_student_has_heard(
    corpus: Path, teachers: list[str], tmp_path: Path
) -> None:
    """A student of clips that are not judged, whose teacher knows those that are."""
    config = config_for(
        corpus, steps=2, train_splits=("test",), validation_splits=(), validation_fraction=0.0
    )
    pack = Pack(corpus)
    judged = pack.select(["train"])
    for name, more, expected in (
        ("alone", {}, 0),
        ("taught", {"teachers": (teachers[0],)}, len(judged)),
    ):
        model = load_artifact(train(configure_with(config, more), tmp_path / name, quiet=True))
        assert len(what_was_heard(model, pack, judged).clips) == expected
        assert "teachers" not in model.training["config"]  # a path says where it ran
    assert model.training["config"]["teacher_share"] == 0.5


def configure_with(config: TrainConfig, more: dict[str, Any]) -> TrainConfig:
    return configure(config, {name: ",".join(value) for name, value in more.items()})


def test_a_model_that_cannot_teach_is_refused(corpus: Path, teachers: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has a graph \(onnx\); expected the folder that training wrote"):
        prepare(config_for(corpus, teachers=("default",)), resume=False)
    with pytest.raises(ValueError, match="no model nobody"):
        prepare(config_for(corpus, teachers=("nobody",)), resume=False)
    student = SimpleNamespace(rate=8000, window=4000, labels=["low", "high"])
    live = SimpleNamespace(artifact=student, net=None, device=torch.device("cpu"))
    with pytest.raises(ValueError, match="has 3 labels, the student 2; expected the same ones in the same"):
        open_teachers(config_for(corpus, teachers=(teachers[0],)), live, torch.float32)
    student.rate, student.labels = 16000, ["low", "middle", "high"]
    with pytest.raises(ValueError, match="its rate is 8000 Hz; expected 16000 Hz, the student's"):
        open_teachers(config_for(corpus, teachers=(teachers[0],)), live, torch.float32)


def test_a_teacher_hears_the_student_s_windows_where_its_net_can(
    corpus: Path, teachers: list[str], tmp_path: Path
) -> None:
    found = opened(config_for(corpus, teachers=(teachers[1],), window=6000, hop=6000))
    waveforms = np.random.default_rng(0).normal(0, 0.1, (3, 6000)).astype(np.float32)
    heard = found.listen(torch.from_numpy(waveforms), torch.zeros(0), seed=0, step=0)
    whole = dataclasses.replace(load_artifact(teachers[1]), window=6000, hop=6000)
    logits = torch.from_numpy(load_runner(whole, threads=1).run(waveforms)[0])
    torch.testing.assert_close(heard, torch.sigmoid(logits), atol=1e-5, rtol=0)
    fixed = {"model": "fully_connected", "model_arguments": {"layers": 1, "units": 4}, "steps": 2}
    one_length = train(config_for(corpus, **fixed, **PLAIN), tmp_path / "fixed", quiet=True)
    with pytest.raises(
        ValueError, match="the student's window is 0.75 s; model takes windows of 0.5 s alone"
    ):
        prepare(config_for(corpus, teachers=(str(one_length),), window=6000, hop=6000), resume=False)


def test_settings_that_do_not_fit_are_refused(corpus: Path) -> None:
    for words, changes in (
        ("teacher_share is 0; expected above 0, at most 1", {"teacher_share": 0}),
        ("teacher_share is 1.5; expected above 0", {"teachers": ("a",), "teacher_share": 1.5}),
        ("teacher_share is 0.7, but there is no teacher", {"teacher_share": 0.7}),
        ("stored embeddings", {"teachers": ("a",), "embeddings": "set", **PLAIN}),
    ):
        with pytest.raises(ValueError, match=words):
            config_for(corpus, **changes)
    assert configure(config_for(corpus), {"teachers": "a,b"}).teachers == ("a", "b")
