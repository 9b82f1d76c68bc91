"""What a run may be told: which clips, how targets come, and what a step does with a batch."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tones import TinyPlain, TinySeveral, config_for, log_of, make_corpus, same_weights, weights_of
from torch.nn import functional

from auricle.artifact import load_artifact
from auricle.augment import random_masks
from auricle.datasets import Clip
from auricle.engine import pack
from auricle.engine.packing import Decoded, Range
from auricle.models import MODELS
from auricle.runners import check, load_runner
from auricle.shards import Pack, add_labels, reader, subsets
from auricle.shards.subsets import add_subset
from auricle.training import TrainConfig, configure, train
from auricle.training.batches import Batch, Batches
from auricle.training.checkpoints import load_checkpoint
from auricle.training.data import choose_clips, chosen_label_clips, make_sampler
from auricle.training.loop import learning_rate
from auricle.training.outcome import LiveRunner
from auricle.training.state import State, make_state
from auricle.training.step import augment, seed_step, update
from auricle.training.task import NO_TASK

CPU = torch.device("cpu")
PLAIN = {"mixing": "none", "speed_spread": 0.0, "gain_decibels": 0.0, "mask_frames": 0, "mask_bands": 0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones, with a subset, a view of two labels, and a soft label set."""
    torch.set_num_threads(1)
    path = make_corpus(tmp_path_factory.mktemp("tones"))
    ids = Pack(path).ids
    add_subset(path, "few", np.array([0, 1, 2, 6, 20]))
    add_subset(path, "judged", np.array([3, 20, 21]))
    labels = ["low", "middle", "high"]
    add_labels(
        path, "view", {id: [label] for id, label in zip(ids, labels * 8, strict=True) if label != "low"}
    )
    add_labels(
        path, "votes", {id: {labels[k % 3]: 0.75, labels[(k + 1) % 3]: 0.25} for k, id in enumerate(ids)}
    )
    return path


@pytest.fixture(autouse=True)
def _tiny_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_plain", TinyPlain)
    monkeypatch.setitem(MODELS, "tiny_several", TinySeveral)


def chosen(corpus: Path, **changes: Any) -> tuple[list[int], list[int]]:
    train_clips, validation = choose_clips(Pack(corpus), config_for(corpus, **changes))
    return train_clips.tolist(), validation.tolist()


# --- which clips


def test_a_smaller_share_of_the_recordings_lies_within_a_larger_one(corpus: Path) -> None:
    """By the rank of a hash of the group's name, written out here a second time; the same for every seed."""
    groups = Pack(corpus).groups
    names = sorted(
        set(groups[:18]),
        key=lambda name: int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"),
    )
    for share, count in ((0.05, 1), (0.2, 2), (0.5, 4), (0.8, 7), (1.0, 9)):
        kept = chosen(corpus, train_fraction=share)[0]
        assert {groups[clip] for clip in kept} == set(names[:count]) and len(kept) == 2 * count
        assert kept == chosen(corpus, train_fraction=share, seed=5)[0]
    assert chosen(corpus, train_fraction=0.2)[1] == list(range(18, 24)), "validation stays whole"


def hum(clip: Range, rate: int) -> Decoded:
    return Decoded(pcm=np.ones(rate, np.int16), clipped=0, warnings=[])


def test_clips_without_a_group_are_each_a_recording_of_their_own(tmp_path: Path) -> None:
    """They would else be one recording: a fifth of it is all of it, and none of it can be held out."""
    clips = [Clip(id=f"{k}", path=f"{k}.wav", labels=("hum",)) for k in range(20)]
    pack(clips, tmp_path / "pack", rate=8000, jobs=1, quiet=True, decode=hum)
    everything = {"train_splits": None, "validation_splits": ()}
    kept, judged = chosen(tmp_path / "pack", **everything, validation_fraction=0.2)
    assert (len(kept), len(judged)) == (16, 4)
    kept, _ = chosen(tmp_path / "pack", **everything, validation_fraction=0.0, train_fraction=0.2)
    assert len(kept) == 4
    assert Pack(tmp_path / "pack").groups.tolist() == [""] * 20


def test_validation_by_fraction_reads_names_a_few_at_a_time(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same clips, however many names are read at once; all of them are never in memory."""
    config = config_for(corpus, train_splits=None, validation_splits=(), validation_fraction=0.25)
    whole = choose_clips(Pack(corpus), config)
    names = Pack(corpus).recordings.tolist()
    monkeypatch.setattr(reader, "AT_A_TIME", 5)
    monkeypatch.setattr(Pack, "recordings", property(lambda _: pytest.fail("all names at once")))
    pack = Pack(corpus)
    parts = list(pack.recordings_in_parts())
    assert [len(part) for part in parts] == [5, 5, 5, 5, 4] and sum(parts, []) == names
    for one, other in zip(whole, choose_clips(pack, config), strict=True):
        assert np.array_equal(one, other)
    held = {names[clip] for clip in whole[1]}
    ranked = sorted(set(names), key=lambda name: subsets._hash(name, "validation 0"))
    assert held == set(ranked[: round(len(ranked) / 4)])


def test_a_subset_narrows_what_is_trained_on(corpus: Path) -> None:
    assert chosen(corpus, train_subset="few")[0] == [0, 1, 2, 6]
    with pytest.raises(ValueError, match="no subset 'many'"):
        chosen(corpus, train_subset="many")


def test_no_recording_of_the_validation_subset_is_trained_on(corpus: Path) -> None:
    """Clip 3 is of the group of clip 2."""
    kept, judged = chosen(corpus, train_splits=None, validation_splits=(), validation_subset="judged")
    assert judged == [3, 20, 21] and kept == [clip for clip in range(24) if clip not in (2, 3, 20, 21)]
    assert chosen(corpus, validation_subset="judged")[1] == [20, 21], "with splits: of these"


def test_validation_clips_beyond_the_number_are_drawn_by_the_seed(corpus: Path) -> None:
    draws = [tuple(chosen(corpus, validation_clips=3, seed=seed)[1]) for seed in range(8)]
    assert len(set(draws)) > 3 and all(len(set(draw)) == 3 and list(draw) == sorted(draw) for draw in draws)
    assert draws[0] == tuple(chosen(corpus, validation_clips=3)[1])
    kept, judged = chosen(corpus, validation_clips=3, train_splits=None)
    assert len(judged) == 3 and kept == list(range(18)), "the others are not trained on either"
    assert len(chosen(corpus, validation_clips=0)[1]) == 6 == len(chosen(corpus, validation_clips=6)[1])


def test_clips_without_a_label_of_the_view_are_kept_or_dropped(corpus: Path) -> None:
    assert chosen(corpus, label_set="view")[0] == list(range(18))
    assert chosen(corpus, label_set="view", unlabelled="drop") == (
        [clip for clip in range(18) if clip % 3],
        list(range(18, 24)),
    )


def test_an_unlabelled_clip_is_an_example_of_nothing(corpus: Path) -> None:
    batch = read(corpus, label_set="view", batch=18)  # every training clip once
    assert sorted(batch.targets(2).sum(1).tolist()) == [0] * 6 + [1] * 12 and len(batch.rows) == 12


# --- targets


def read(corpus: Path, **changes: Any) -> Batch:
    config, data = config_for(corpus, **changes), Pack(corpus)
    clips, _ = choose_clips(data, config)
    sampler = make_sampler(data, clips, config)
    return Batches(data, clips, sampler, samples=4402, label_set=config.label_set, steps=range(1)).read(0)


@pytest.mark.parametrize("label_set", ["labels", "view", "votes"])
@pytest.mark.parametrize("soft", [False, True])
def test_sparse_targets_are_the_dense_ones(corpus: Path, label_set: str, soft: bool) -> None:
    data, clips = Pack(corpus), np.array([5, 0, 0, 23, 9])
    rows, columns, values = data.target_pairs(clips, label_set, soft)
    dense = np.zeros((5, len(data.label_names(label_set))), np.float32)
    for row, column, value in zip(rows, columns, values, strict=True):
        assert dense[row, column] == 0 and value != 0
        dense[row, column] = value
    assert np.array_equal(dense, data.targets(clips, label_set, soft))
    for row, clip in enumerate(clips):
        asked = data.targets(np.array([clip]), label_set, soft)
        assert np.array_equal(dense[row], asked[0])
    assert (rows.dtype, columns.dtype, values.dtype) == (np.int64, np.int64, np.float32)
    assert dense.max() == (0.75 if label_set == "votes" and soft else 1)


def test_a_batch_carries_what_is_there_and_no_zeros(corpus: Path) -> None:
    batch = read(corpus, label_set="votes")
    assert len(batch.rows) == 12 and sorted(set(batch.values.tolist())) == [0.25, 0.75]
    assert batch.targets(3).sum(1).tolist() == [1.0] * 6


def test_the_clips_of_each_class_are_found_without_a_dense_table(corpus: Path) -> None:
    data, clips = Pack(corpus), np.array([1, 4, 5, 9, 22])
    indptr, numbers = chosen_label_clips(data, clips, "labels")
    dense = data.targets(clips, "labels") > 0
    for label in range(3):
        assert numbers[indptr[label] : indptr[label + 1]].tolist() == np.flatnonzero(dense[:, label]).tolist()


# --- the step


def one_step(corpus: Path, **changes: Any) -> tuple[State, dict[str, Any], Batch]:
    config = config_for(corpus, **({"model": "tiny_plain", "model_arguments": {}} | PLAIN | changes))
    data = Pack(corpus)
    state = make_state(config, 3, CPU)
    live = LiveRunner(config, data, state.average, CPU, torch.float32)
    clips, _ = choose_clips(data, config)
    batch = Batches(
        data, clips, make_sampler(data, clips, config), samples=4000, label_set="labels", steps=range(1)
    ).read(0)
    return state, update(state, batch, 0.01, live, config), batch


@pytest.mark.parametrize("parts", [2, 3, 4, 6])
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(corpus: Path, parts: int) -> None:
    """Also where the parts are not of one size: 6 in 4 parts are 2, 2 and 2. What is mixed is the whole."""
    for changes in ({}, {"mixing": "mixup"}, {"mixing": "mix_training"}, {"batch": 7}):
        whole, figures, _ = one_step(corpus, **changes)
        split, figures_split, _ = one_step(corpus, accumulate=parts, **changes)
        assert whole.loss.item() == pytest.approx(split.loss.item(), rel=1e-6)
        assert float(figures["gradient_norm"]) == pytest.approx(
            float(figures_split["gradient_norm"]), rel=1e-5
        )
        for one, other in zip(whole.net.parameters(), split.net.parameters(), strict=True):
            assert one.grad is not None and other.grad is not None
            assert torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-7) and one.grad.abs().max() > 0


def test_of_several_predictions_the_mean_of_the_losses_is_minimised(corpus: Path) -> None:
    state, _, batch = one_step(corpus, model="tiny_several")
    fresh = make_state(config_for(corpus, model="tiny_several", model_arguments={}, **PLAIN), 3, CPU)
    live = LiveRunner(config_for(corpus), Pack(corpus), fresh.net, CPU, torch.float32)
    logits = fresh.net(live.frontend(batch.inputs.float() / 32768))
    losses = [
        functional.binary_cross_entropy_with_logits(part, batch.targets(3), reduction="sum").item() / 6
        for part in (logits, logits + 1)
    ]
    assert state.loss.item() == pytest.approx(np.mean(losses), rel=1e-5) and losses[0] != losses[1]


def test_a_gradient_that_is_not_clipped_keeps_its_length(corpus: Path) -> None:
    def length(state: State) -> float:
        return math.sqrt(
            sum(float(p.grad.square().sum()) for p in state.net.parameters() if p.grad is not None)
        )

    free, figures, _ = one_step(corpus, clip_norm=None)
    held, _, _ = one_step(corpus, clip_norm=0.01)
    assert length(held) == pytest.approx(0.01, rel=1e-3) and length(free) > 0.02
    assert float(figures["gradient_norm"]) == pytest.approx(length(free), rel=1e-5)


def test_without_an_average_the_net_itself_is_kept(corpus: Path, tmp_path: Path) -> None:
    """Weights and running statistics of batch norm are those of the last step."""
    train(config_for(corpus, average=0.0, checkpoint_every=30), tmp_path / "run", quiet=True)
    saved = load_checkpoint(tmp_path / "run")
    assert saved is not None and saved["average"] is None and saved["step"] == 30
    kept = weights_of(tmp_path / "run")
    assert kept.keys() == saved["net"].keys()
    for name, tensor in saved["net"].items():
        assert np.array_equal(np.atleast_1d(tensor.numpy()), kept[name]), name
    assert kept["norm.num_batches_tracked"].item() == 30
    assert abs(kept["norm.running_mean"]).min() > 0.1, "statistics were gathered"


def test_a_run_without_average_resumes_to_the_same_weights(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import auricle.training.loop as loop

    config = config_for(corpus, average=0.0, accumulate=2, steps=12, validate_every=3)
    train(config, tmp_path / "whole", quiet=True)

    def until_step_six(config: TrainConfig, step: int, steps: int) -> float:
        if step == 6:
            raise InterruptedError
        return learning_rate(config, step, steps)

    monkeypatch.setattr(loop, "learning_rate", until_step_six)
    with pytest.raises(InterruptedError):
        train(config, tmp_path / "run", quiet=True)
    monkeypatch.undo()
    train(config, tmp_path / "run", resume=True, quiet=True)
    assert same_weights(tmp_path / "whole", tmp_path / "run")


def test_compiling_is_for_gpus(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="compile=true is for GPUs, but the device is cpu"):
        train(config_for(corpus, compile=True, device="cpu"), tmp_path / "run", quiet=True)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "changes", [{}, {"compile": True}, {"checkpoint_activations": True}, {"mixing": "mix_training"}]
)
def test_a_gpu_is_waited_for_only_when_a_figure_is_due(corpus: Path, changes: dict[str, Any]) -> None:
    config = config_for(corpus, device="cuda", **changes)
    data, cuda = Pack(corpus), torch.device("cuda")
    state = make_state(config, 3, cuda)
    live = LiveRunner(config, data, state.average, cuda, torch.bfloat16)
    clips, _ = choose_clips(data, config)
    reading = Batches(
        data,
        clips,
        make_sampler(data, clips, config),
        samples=4402,
        label_set="labels",
        steps=range(6),
        pin=True,
    )
    with reading as batches:
        for step in range(6):
            batch = batches.next()
            torch.cuda.set_sync_debug_mode("error" if step > 2 else "default")
            try:
                update(state, batch, 0.01, live, config)
            finally:
                torch.cuda.set_sync_debug_mode("default")
    assert math.isfinite(state.loss.item())


# --- losses of before


def test_losses_are_those_of_the_first_version_to_the_last_bit(corpus: Path, tmp_path: Path) -> None:
    """In its arithmetic: a running mean in double precision, the plain order of operations."""
    config = config_for(corpus, steps=10, log_every=1, validation_splits=(), validation_fraction=0.0)
    train(config, tmp_path / "run", quiet=True)
    data = Pack(corpus)
    state = make_state(config, 3, CPU)
    live = LiveRunner(config, data, state.average, CPU, torch.float32)
    clips, _ = choose_clips(data, config)
    sampler = make_sampler(data, clips, config)
    mean, expected = 0.0, []
    for step in range(10):
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(config, step, 10)
        generator = seed_step(config.seed, step, CPU)
        drawn, offsets = sampler.draw(step)
        waveform = torch.from_numpy(data.patches(clips[drawn], offsets, 4402))
        dense = torch.from_numpy(data.targets(clips[drawn], "labels", soft=True))
        heard, targets = augment(waveform.float() / 32768, dense, generator, step, config, NO_TASK)
        logmel = random_masks(
            live.frontend(heard), generator, frames=config.mask_frames, bands=config.mask_bands
        )
        state.net.train()
        loss = functional.binary_cross_entropy_with_logits(state.net(logmel), targets, reduction="sum") / len(
            targets
        )
        state.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.net.parameters(), 5.0)
        state.optimizer.step()
        mean += (loss.item() - mean) / (step + 1)
        expected.append(mean)
    assert [entry["loss"] for entry in log_of(tmp_path / "run") if "loss" in entry] == expected


# --- runs and settings


def test_a_run_that_began_before_a_setting_existed_can_be_resumed(corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config_for(corpus, steps=4), run, quiet=True)
    kept = json.loads((run / "config.json").read_text())
    for name in ("init_prefix", "accumulate", "unlabelled", "train_fraction"):
        del kept[name]
    (run / "config.json").write_text(json.dumps(kept))
    assert train(config_for(corpus, steps=4), run, resume=True, quiet=True) == run / "best"
    with pytest.raises(ValueError, match="accumulate was 1, is 2"):
        train(config_for(corpus, steps=4, accumulate=2), run, resume=True, quiet=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_fraction": "0"}, "train_fraction is 0.0; expected above 0, at most 1"),
        ({"train_fraction": "1.5"}, "train_fraction is 1.5"),
        ({"unlabelled": "perhaps"}, "unlabelled is 'perhaps'; known: keep, drop"),
        ({"accumulate": "0"}, "accumulate is 0; expected at least 1"),
        ({"accumulate": "65"}, "more parts than the 64 of a batch"),
        ({"embedding_windows": "0"}, "embedding_windows is 0"),
        ({"validation_clips": "-1"}, "validation_clips is -1"),
        ({"compile": "maybe"}, "setting 'compile' does not take 'maybe': expected true or false"),
        ({"init_prefix": "vggish"}, "setting 'init_prefix' does not take 'vggish'"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configure(TrainConfig(data=Path("x"), epochs=3), settings)


def test_settings_of_every_kind_are_taken() -> None:
    config = configure(
        TrainConfig(data=Path("x"), epochs=3),
        {"compile": "true", "clip_norm": "null", "init_prefix": "{'': base.}", "train_fraction": "0.05"},
    )
    assert (config.compile, config.clip_norm, config.train_fraction) == (True, None, 0.05)
    assert config.init_prefix == {"": "base."}


def test_a_net_of_any_length_may_score_longer_stretches_than_it_learns_from(
    corpus: Path, tmp_path: Path
) -> None:
    config = config_for(corpus, steps=4, window_at_use=7000, hop=500)
    model = load_artifact(train(config, tmp_path / "run", quiet=True))
    assert (model.window, model.hop) == (7000, 500)
    assert check(load_runner(model))["ok"]
    short = load_artifact(train(config_for(corpus, steps=4), tmp_path / "short", quiet=True))
    assert short.window == 4000 and all(
        np.array_equal(one, short.read_weights()[name]) for name, one in model.read_weights().items()
    )
    with pytest.raises(ValueError, match="model 'fully_connected' is built for the window that it"):
        train(
            config_for(corpus, steps=4, window_at_use=7000, model="fully_connected", model_arguments={}),
            tmp_path / "fixed",
            quiet=True,
        )
