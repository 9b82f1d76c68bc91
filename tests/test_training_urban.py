"""Training for labels of two levels: models kept by several figures, weights, masks, and what is judged."""

import dataclasses
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_urban
import torch
from tiny_urban import TREE
from tones import TinyPlain, log_of, same_weights
from torch.nn import functional
from urban_oracle import slow_metrics

import auricle.training.loop as loop
from auricle.artifact import load_artifact
from auricle.evaluation.urban import evaluate_urban
from auricle.models import MODELS
from auricle.shards import Pack, add_labels
from auricle.shards.labels import add_label_view
from auricle.training import train
from auricle.training.batches import Batch
from auricle.training.checkpoints import load_checkpoint, save_checkpoint
from auricle.training.data import choose_clips, make_sampler
from auricle.training.loop import learning_rate, read_ahead
from auricle.training.objective import class_weights, cross_entropy
from auricle.training.outcome import LiveRunner
from auricle.training.state import make_state
from auricle.training.step import update
from auricle.training.task import Task, make_task
from auricle.training.validation import figure_names, urban_figures, validate

CPU = torch.device("cpu")
URBAN = ("micro_auprc_fine", "micro_auprc_coarse")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    path = tiny_urban.make_corpus(tmp_path_factory.mktemp("urban"))
    add_label_view(path, "fine", TREE.fine_labels, of="agreement50")
    add_label_view(path, "coarse", TREE.coarse, of="agreement50")
    add_label_view(path, "complete", TREE.complete_labels, of="agreement50")
    add_label_view(path, "engines", TREE.fine[0], of="fine")
    return path


@pytest.fixture(autouse=True)
def _tiny_net(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_plain", TinyPlain)


# --- models kept by figures


def figures_in_turn(monkeypatch: pytest.MonkeyPatch, *values: tuple[float, float]) -> None:
    """The validations of a run, one after the other, give these fine and coarse figures."""
    waiting = iter(values)

    def scripted(*_: object) -> dict[str, float]:
        return {"map": 0.5, "accuracy": 0.5, **dict(zip(URBAN, next(waiting), strict=True))}

    monkeypatch.setattr(loop, "validate", scripted)


def step_of(model: Path) -> int:
    return int(load_artifact(model).training["step"])


def test_each_monitored_figure_has_the_model_that_was_best_at_it(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal is not better, and no number is not better than a number."""
    figures_in_turn(monkeypatch, (0.2, 0.5), (0.4, 0.3), (0.4, 0.9), (float("nan"), 0.9))
    best = train(
        tiny_urban.config_for(corpus, validate_every=2, monitors=URBAN), tmp_path / "run", quiet=True
    )
    assert best == tmp_path / "run" / "best"
    assert step_of(best) == 4 and step_of(tmp_path / "run" / "best-micro_auprc_coarse") == 6
    assert step_of(tmp_path / "run" / "last") == 8
    kept = load_artifact(tmp_path / "run" / "best-micro_auprc_coarse").metrics["validation"]
    assert kept["micro_auprc_coarse"] == 0.9
    found = load_checkpoint(tmp_path / "run")
    assert found is not None and found["best"] == {"micro_auprc_fine": 0.4, "micro_auprc_coarse": 0.9}


def test_a_figure_that_validation_does_not_give_is_refused_before_anything_is_written(
    corpus: Path, tmp_path: Path
) -> None:
    config = tiny_urban.config_for(corpus, monitors=("map", "micro_auprc"))
    with pytest.raises(ValueError, match=r"monitors has 'micro_auprc'; figures .*: map, .*micro_auprc_fine"):
        train(config, tmp_path / "run", quiet=True)
    with pytest.raises(ValueError, match="monitors has 'micro_auprc_fine'; figures of validation: map"):
        train(tiny_urban.config_for(corpus, monitors=URBAN, label_set="labels"), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
    for monitors, got in (((), "empty"), (("map", "map"), "map, map")):
        with pytest.raises(ValueError, match=f"monitors is {got}; expected figures of validation, each once"):
            tiny_urban.config_for(corpus, monitors=monitors)


def test_a_checkpoint_that_holds_one_figure_is_gone_on_with(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As checkpoints were written before there was more than one monitor."""
    config, run = tiny_urban.config_for(corpus), tmp_path / "run"
    train(config, tmp_path / "whole", quiet=True)

    def until(config: Any, step: int, steps: int) -> float:
        if step == 7:
            raise KeyboardInterrupt
        return learning_rate(config, step, steps)

    monkeypatch.setattr(loop, "learning_rate", until)
    with pytest.raises(KeyboardInterrupt):
        train(config, run, quiet=True)
    monkeypatch.setattr(loop, "learning_rate", learning_rate)
    saved = load_checkpoint(run)
    assert saved is not None and saved["step"] == 6
    older = {name: value for name, value in saved.items() if name != "stagnation"}
    save_checkpoint(run, older | {"best": saved["best"]["map"]})
    train(config, run, resume=True, quiet=True)
    assert same_weights(tmp_path / "whole", run)
    assert step_of(run / "best") == step_of(tmp_path / "whole" / "best")


# --- weights of classes


def counted_by_hand(
    pack: Pack, clips: np.ndarray, label_set: str, exponent: float, masked: bool = False
) -> list[float]:
    """Clip by clip and label by label."""
    weights = []
    for column in range(len(pack.label_names(label_set))):
        positive = negative = 0.0
        for clip in clips:
            one = np.array([clip])
            if masked and pack.unknown(one, label_set)[0, column]:
                continue
            target = float(pack.targets(one, label_set, soft=True)[0, column])
            positive, negative = positive + target, negative + 1 - target
        weights.append((negative / positive) ** exponent if positive and negative else 1.0)
    return weights


@pytest.mark.parametrize("label_set", ["agreement50", "soft", "coarse", "labels"])
@pytest.mark.parametrize("exponent", [0.1, 1.0])
@pytest.mark.parametrize("masked", [False, True])
def test_weights_are_negatives_to_positives_to_a_power(
    corpus: Path, label_set: str, exponent: float, masked: bool
) -> None:
    pack, clips = Pack(corpus), np.arange(3, 17)
    found = class_weights(pack, clips, label_set, exponent, masked=masked)
    assert found is not None and found.dtype == np.float32
    np.testing.assert_allclose(found, counted_by_hand(pack, clips, label_set, exponent, masked), rtol=1e-6)
    assert len(set(found.round(4).tolist())) > 1


def test_classes_without_positives_or_without_negatives_weigh_one_and_what_is_masked_is_not_counted(
    tmp_path: Path, corpus: Path
) -> None:
    pack = Pack(corpus)
    ids = [str(name) for name in pack.ids]
    labels = {name: ["always"] + ["rare"] * (k == 0) + ["half"] * (k < 4) for k, name in enumerate(ids)}
    names = ["always", "half", "never", "rare"]
    hidden = {ids[0]: ["half"], ids[5]: ["rare", "never"]}  # of clip 0 "half" is both: not known counts
    add_labels(corpus, "odd", labels, names=names, unknown=hidden, replace=True)
    clips = np.arange(8)
    assert class_weights(Pack(corpus), clips, "odd", 0.0) is None
    for masked, wanted in ((True, [1.0, 4 / 3, 1.0, 6.0]), (False, [1.0, 1.0, 1.0, 7.0])):
        found = class_weights(Pack(corpus), clips, "odd", 1.0, masked=masked)
        assert found is not None
        np.testing.assert_allclose(found, wanted)
        halved = class_weights(Pack(corpus), clips, "odd", 0.5, masked=masked)
        assert halved is not None
        np.testing.assert_allclose(halved, np.sqrt(wanted), rtol=1e-6)


def test_the_loss_of_a_step_is_torchs_with_pos_weight(corpus: Path) -> None:
    config = tiny_urban.config_for(corpus, class_weights=1.0)
    pack = Pack(corpus)
    clips, held = choose_clips(pack, config)
    state = make_state(config, len(TREE.labels), CPU)
    live = LiveRunner(config, pack, state.average, CPU, torch.float32)
    task = make_task(config, pack, (clips, held), len(clips), CPU)
    masking = make_task(dataclasses.replace(config, unknown="mask"), pack, (clips, held), len(clips), CPU)
    assert task.weights_K is not None and masking.weights_K is not None
    batch = batch_of(pack, clips, config, live)
    with torch.no_grad():
        logits = state.net(live.frontend(batch.inputs.float() / 32768))
    by_torch = functional.binary_cross_entropy_with_logits(
        logits, batch.targets(len(TREE.labels)), pos_weight=task.weights_K, reduction="sum"
    )
    update(state, batch, 0.01, live, config, task)
    assert state.loss.item() == pytest.approx(by_torch.item() / config.batch, rel=1e-5)
    for found, masked in ((task, False), (masking, True)):
        by_hand = counted_by_hand(pack, clips, "agreement50", 1.0, masked)
        assert found.weights_K.tolist() == pytest.approx(by_hand, rel=1e-5)


def batch_of(pack: Pack, clips: np.ndarray, config: Any, live: LiveRunner, step: int = 0) -> Batch:
    sampler = make_sampler(pack, clips, config)
    return read_ahead(pack, clips, sampler, range(1), live, config).read(step)


# --- what is unknown


def gradient_of_logits(corpus: Path, **changes: Any) -> tuple[torch.Tensor, Batch]:
    """Of one step the gradient of the loss by each logit, and the batch as read."""
    config = tiny_urban.config_for(corpus, batch=20, **changes)
    pack = Pack(corpus)
    clips, _ = choose_clips(pack, config)
    state = make_state(config, len(TREE.labels), CPU)
    live = LiveRunner(config, pack, state.average, CPU, torch.float32)
    batch = batch_of(pack, clips, config, live)
    seen: list[torch.Tensor] = []

    def watched(x: torch.Tensor) -> torch.Tensor:
        logits = state.net(x)
        logits.retain_grad()
        seen.append(logits)
        return logits

    state.predict = watched
    update(state, batch, 0.01, live, config, Task())
    gradient = seen[0].grad
    assert gradient is not None and len(seen) == 1
    return gradient, batch


def test_what_is_masked_has_no_gradient_and_all_else_the_same(corpus: Path) -> None:
    masked, batch = gradient_of_logits(corpus, unknown="mask")
    plain, again = gradient_of_logits(corpus, unknown="negative")
    assert torch.equal(batch.inputs, again.inputs)
    hidden = batch.unknown(len(TREE.labels))
    assert 0 < hidden.sum() < hidden.numel()
    assert (masked[hidden] == 0).all() and (plain[hidden] > 0).all(), "as negatives they push down"
    assert torch.equal(masked[~hidden], plain[~hidden]) and (plain != 0).all()


def partners(corpus: Path, how: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Tensor, ...]:
    """A step's gradient, what was unknown and certain of each clip, and whom it was mixed with."""
    import auricle.training.step as steps

    others: list[torch.Tensor] = []

    def watched(wave: torch.Tensor, targets: torch.Tensor, generator: Any, **options: Any) -> Any:
        before = generator.get_state()
        row = torch.eye(len(targets))
        _, mixed_rows = mix(wave, row, generator, **options)
        generator.set_state(before)
        others.append((mixed_rows - mixed_rows * row).argmax(1))
        return mix(wave, targets, generator, **options)

    mix = steps.mix
    monkeypatch.setattr(steps, "mix", watched)
    gradient, batch = gradient_of_logits(corpus, unknown="mask", mixing=how, seed=seed)
    monkeypatch.setattr(steps, "mix", mix)
    return gradient, batch.unknown(10), batch.targets(10) == 1, others[0]


@pytest.mark.parametrize("how", ["mixup", "between_class", "mix_training"])
def test_of_mixed_clips_what_is_unknown_of_either_is_masked(
    corpus: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the other has the label for certain and the union is the target."""
    cases = 0
    for seed in range(4):
        gradient, unknown, certain, other = partners(corpus, how, seed, monkeypatch)
        either = unknown | unknown[other]
        if how == "mix_training":
            either &= ~(certain | certain[other])
        assert (gradient[either] == 0).all() and (gradient[~either] != 0).all()
        cases += int((unknown & certain[other]).sum())
    assert cases


def test_a_label_that_is_both_positive_and_unknown_is_unknown(corpus: Path) -> None:
    pack = Pack(corpus)
    every = {str(name): TREE.labels for name in pack.ids}
    given: dict[str, Any] = {"names": TREE.labels, "taxonomy": TREE.as_dict(), "replace": True}
    add_labels(corpus, "both", every, unknown={name: TREE.labels[:4] for name in every}, **given)
    gradient, _ = gradient_of_logits(corpus, unknown="mask", label_set="both")
    assert (gradient[:, :4] == 0).all() and (gradient[:, 4:] < 0).all()


def test_the_loss_of_several_predictions_is_masked_in_each() -> None:
    logits = torch.tensor([[2.0, -1.0]], requires_grad=True)
    hidden = torch.tensor([[True, False]])
    cross_entropy([logits, logits + 1], torch.ones(1, 2), unknown_BK=hidden).backward()
    assert logits.grad is not None and logits.grad[0, 0] == 0 and logits.grad[0, 1] < 0


# --- figures of validation


@pytest.mark.parametrize("label_set", ["agreement50", "soft", "fine", "coarse", "complete"])
def test_figures_of_validation_are_those_of_the_evaluation_of_the_kept_model(
    corpus: Path, tmp_path: Path, label_set: str
) -> None:
    """All labels; the fine ones, coarse inferred; coarse alone; fine ones without X, which the truth has."""
    levels = ("coarse",) if label_set == "coarse" else ("fine", "coarse")
    monitors = tuple(f"micro_auprc_{level}" for level in levels)
    config = tiny_urban.config_for(corpus, label_set=label_set, monitors=monitors)
    best = train(config, tmp_path / "run", quiet=True)
    kept = load_artifact(best).metrics["validation"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*count as zeros")
        judged = evaluate_urban(best, corpus, splits=["validate"], draws=0, quiet=True, threads=1)
    assert judged["clips"] == 10
    for level in levels:
        for name in ("micro_auprc", "micro_f1", "macro_auprc"):
            assert kept[f"{name}_{level}"] == pytest.approx(judged[level][name], abs=1e-6), (level, name)
    assert 0.05 < kept[monitors[0]] < 1
    assert sum(name.startswith("micro_auprc") for name in kept) == len(levels)
    assert figure_names(Pack(corpus), label_set) == list(kept)


def test_of_one_branch_the_figures_are_of_this_branch(corpus: Path) -> None:
    """As if the taxonomy had nothing else; there is no coarse figure, and X is as the challenge has it."""
    names = figure_names(Pack(corpus), "engines")
    assert "micro_auprc_fine" in names and "micro_auprc_coarse" not in names
    config = tiny_urban.config_for(corpus, label_set="engines")
    pack = Pack(corpus)
    held = choose_clips(pack, config)[1]
    state = make_state(config, 3, CPU)
    live = LiveRunner(config, pack, state.average, CPU, torch.float32)
    figures = validate(live, pack, held, config)
    scores = 1 / (
        1 + np.exp(-live.run(pack.patches(held, np.zeros(10, np.int64), tiny_urban.CLIP) / 32768)[0])
    )
    by_hand = slow_metrics(pack.targets(held, "engines") > 0, scores, [((0, 1), 2)])
    assert figures["micro_auprc_fine"] == pytest.approx(by_hand["micro_auprc"], abs=1e-6)


def test_of_votes_alone_true_is_what_more_than_half_of_them_heard(corpus: Path, tmp_path: Path) -> None:
    """One vote of three is a target of a third, and no truth to validate by; also of a view."""
    path = Path(shutil.copytree(corpus, tmp_path / "pack"))
    heard = tiny_urban.add_votes(path, "votes")
    add_label_view(path, "votes-fine", TREE.fine_labels, of="votes")
    pack, config = Pack(path), tiny_urban.config_for(path, label_set="votes")
    held = choose_clips(pack, config)[1]
    scores = np.random.default_rng(6).random((len(held), len(TREE.labels)))
    found = urban_figures(scores, pack, held, "votes")
    for level, columns, branches in (
        ("fine", slice(0, 7), [((0, 1), 2), ((3, 4), 5), ((6,), None)]),
        ("coarse", slice(7, 10), [((k,), None) for k in range(3)]),
    ):
        said, cast = scores[:, columns], heard[held][:, columns]
        by_hand = slow_metrics(cast >= 2, said, branches)["micro_auprc"]
        assert found[f"micro_auprc_{level}"] == pytest.approx(by_hand, abs=1e-6)
        assert abs(slow_metrics(cast > 0, said, branches)["micro_auprc"] - by_hand) > 0.05
    of_view = urban_figures(scores[:, :7], pack, held, "votes-fine")
    assert of_view["micro_auprc_fine"] == found["micro_auprc_fine"]


def test_clips_without_a_truth_are_left_out_of_the_challenges_figures(corpus: Path) -> None:
    pack = Pack(corpus)
    config = tiny_urban.config_for(corpus, label_set="verified")
    state = make_state(config, len(TREE.labels), CPU)
    live = LiveRunner(config, pack, state.average, CPU, torch.float32)
    verified = np.arange(tiny_urban.TRAIN, tiny_urban.CLIPS)
    every = validate(live, pack, np.arange(tiny_urban.CLIPS), config)
    assert every[URBAN[0]] == validate(live, pack, verified, config)[URBAN[0]]


# --- and all of it in one run


def test_weights_masks_and_monitors_survive_a_kill(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_urban.config_for(
        corpus, class_weights=0.1, unknown="mask", monitors=URBAN, average=0.9, mixing="mix_training"
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(config, whole, quiet=True)

    def until(config: Any, step: int, steps: int) -> float:
        if step == 5:
            raise KeyboardInterrupt
        return learning_rate(config, step, steps)

    monkeypatch.setattr(loop, "learning_rate", until)
    with pytest.raises(KeyboardInterrupt):
        train(config, killed, quiet=True)
    monkeypatch.setattr(loop, "learning_rate", learning_rate)
    train(config, killed, resume=True, quiet=True)
    assert same_weights(whole, killed)
    for name in ("best", "best-micro_auprc_coarse"):
        assert load_artifact(whole / name).metrics == load_artifact(killed / name).metrics
    plain = dataclasses.replace(config, class_weights=0.0)
    train(plain, tmp_path / "plain", quiet=True)
    assert not same_weights(whole, tmp_path / "plain")
    assert "validation_micro_auprc_fine" in [key for entry in log_of(whole) for key in entry]
