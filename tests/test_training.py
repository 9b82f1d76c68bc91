"""Training learns, repeats itself, and goes on after a kill as if nothing had been."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tones import RATE, config_for, log_of, make_corpus, same_weights

from auricle.artifact import load_artifact
from auricle.augment import mix
from auricle.engine import pack
from auricle.features import FeatureConfig
from auricle.runners import check, load_runner
from auricle.shards import Pack, add_labels
from auricle.shards.layout import locked
from auricle.training import TrainConfig, configure, train
from auricle.training.batches import Batches
from auricle.training.checkpoints import load_checkpoint
from auricle.training.data import choose_clips, make_sampler, partners_in_words
from auricle.training.devices import pick_device, pick_dtype, set_up
from auricle.training.loop import learning_rate


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert train(config_for(corpus), run, quiet=True) == run / "best"
    return run


def test_it_learns_tones(corpus: Path, tmp_path: Path) -> None:
    train(config_for(corpus, steps=150, learning_rate=0.01), tmp_path / "run", quiet=True)
    last = [entry for entry in log_of(tmp_path / "run") if "validation_map" in entry][-1]
    assert last["validation_accuracy"] == 1.0 and last["validation_map"] == 1.0


def test_it_can_learn_eight_clips_by_heart(corpus: Path, tmp_path: Path) -> None:
    plain = {"mixing": "none", "speed_spread": 0.0, "gain_decibels": 0.0, "mask_frames": 0, "mask_bands": 0}
    config = config_for(
        corpus, steps=200, learning_rate=0.01, validation_splits=(), validation_fraction=0.0, **plain
    )
    train(config, tmp_path / "run", quiet=True)
    assert log_of(tmp_path / "run")[-1]["loss"] < 0.1


def test_the_run_leaves_models_that_pass_their_own_check(finished: Path) -> None:
    for name in ("best", "last"):
        artifact = load_artifact(finished / name)
        assert artifact.labels == ("high", "low", "middle")
        assert (artifact.window, artifact.hop, artifact.tail, artifact.rate) == (4000, 4000, "align", RATE)
        assert artifact.features == config_for(Path("x")).features
        assert artifact.training["data"] and artifact.training["config"]["batch"] == 6
        assert check(load_runner(artifact, threads=1))["ok"]


def test_the_log_has_loss_rate_and_validation(finished: Path) -> None:
    log = log_of(finished)
    assert log[0]["train_clips"] == 18 and log[0]["validation_clips"] == 6
    assert [entry["step"] for entry in log if "loss" in entry] == [5, 10, 15, 20, 25, 30]
    assert [entry["step"] for entry in log if "validation_map" in entry] == [15, 30]
    assert list((finished / "tensorboard").iterdir())


def test_same_seed_same_weights_other_seed_others(corpus: Path, finished: Path, tmp_path: Path) -> None:
    train(config_for(corpus), tmp_path / "again", quiet=True)
    assert same_weights(finished, tmp_path / "again")
    train(config_for(corpus, seed=1), tmp_path / "other", quiet=True)
    assert not same_weights(finished, tmp_path / "other")


class Killed(Exception):
    pass


def test_a_stopped_run_resumes_to_the_same_weights(
    corpus: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped twice between checkpoints, so that steps are done again."""
    import auricle.training.loop as loop

    for stop in (10, 23):

        def rate_until(config: TrainConfig, step: int, steps: int, stop: int = stop) -> float:
            if step == stop:
                raise Killed
            return learning_rate(config, step, steps)

        monkeypatch.setattr(loop, "learning_rate", rate_until)
        with pytest.raises(Killed):
            train(config_for(corpus), tmp_path / "run", resume=True, quiet=True)
    monkeypatch.setattr(loop, "learning_rate", learning_rate)
    train(config_for(corpus), tmp_path / "run", resume=True, quiet=True)
    assert same_weights(finished, tmp_path / "run")
    starts = [entry for entry in log_of(tmp_path / "run") if entry.get("event") == "start"]
    assert [entry["step"] for entry in starts] == [0, 8, 20]
    assert [entry for entry in log_of(tmp_path / "run") if "event" not in entry] == [
        entry for entry in log_of(finished) if "event" not in entry
    ]


def test_kill_9_and_resume_end_with_the_same_weights(corpus: Path, finished: Path, tmp_path: Path) -> None:
    """The real thing: a process of its own, SIGKILL in mid-epoch, then resumed."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from test_training import config_for; from auricle.training import train\n"
        "train(config_for(Path(sys.argv[2])), sys.argv[3], resume=True, quiet=True)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(corpus), str(tmp_path / "run")]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        saved = tmp_path / "run" / "checkpoint.pt"
        if saved.is_file():
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    process.wait(timeout=60)
    saved_state = load_checkpoint(tmp_path / "run")
    assert saved_state is not None and saved_state["step"] < 30, "it was killed before its end"
    train(config_for(corpus), tmp_path / "run", resume=True, quiet=True)
    assert same_weights(finished, tmp_path / "run")


def test_a_finished_run_resumed_stays_as_it_is(corpus: Path, finished: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        files = [path for path in finished.rglob("*") if path.name != ".lock"]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files if path.is_file()}

    before = state()
    assert train(config_for(corpus), finished, resume=True, quiet=True) == finished / "best"
    assert state() == before and len(before) > 8


def test_a_pack_of_other_content_is_not_resumed_on(corpus: Path, finished: Path, tmp_path: Path) -> None:
    """Where the pack lies does not matter; what is in it does."""
    moved = tmp_path / "moved"
    shutil.copytree(corpus, moved)
    train(config_for(moved), finished, resume=True, quiet=True)
    samples = {id: label for id, label in zip(Pack(moved).ids, ["low", "high"] * 12, strict=True)}
    add_labels(moved, "labels", {id: [label] for id, label in samples.items()}, replace=True)
    with pytest.raises(ValueError, match="another configuration: label_fingerprint was"):
        train(config_for(moved), finished, resume=True, quiet=True)


def test_two_runs_in_one_folder_are_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"), pytest.raises(ValueError, match="another process"):
        train(config_for(corpus), tmp_path / "run", quiet=True)


@pytest.mark.parametrize("name", ["checkpoint.pt", "config.json"])
def test_a_damaged_run_is_named(corpus: Path, finished: Path, tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / name).write_bytes((run / name).read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{name}: damaged"):
        train(config_for(corpus), run, resume=True, quiet=True)


@pytest.mark.parametrize("left", [("best", "last"), ("best",), ("best", "log.jsonl"), ("last", "log.jsonl")])
def test_models_whose_checkpoint_is_gone_are_not_overwritten(
    corpus: Path, finished: Path, tmp_path: Path, left: tuple[str, ...]
) -> None:
    """Whatever else is gone: a run that left these had a checkpoint."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    for name in {"best", "last", "log.jsonl", "checkpoint.pt"} - set(left):
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    files = [path for path in run.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files if path.name != ".lock"}
    with pytest.raises(ValueError, match="put it back, or name another folder, with --init-from") as told:
        train(config_for(corpus), run, resume=True, quiet=True)
    models = ", ".join(name for name in ("best", "last") if name in left)
    assert f"checkpoint.pt is gone, and to begin again would overwrite {models}; " in str(told.value)
    assert str(run / ("last" if "last" in left else "best")) in str(told.value)
    assert "\n" not in str(told.value) and {path: path.read_bytes() for path in before} == before


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again_with_its_model_of_then(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import auricle.training.loop as loop

    config = config_for(corpus, steps=8, validate_every=2, checkpoint_every=6, log_every=1)

    def until_five(config: TrainConfig, step: int, *rest: Any) -> float:
        if step == 5:
            raise Killed
        return learning_rate(config, step, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "learning_rate", until_five)
        with pytest.raises(Killed):
            train(config, tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "best").is_dir() and not (tmp_path / "run" / "checkpoint.pt").exists()
    train(config, tmp_path / "run", resume=True, quiet=True)
    train(config, tmp_path / "whole", quiet=True)
    assert same_weights(tmp_path / "run", tmp_path / "whole")


def test_a_second_run_in_the_folder_is_refused(corpus: Path, finished: Path) -> None:
    with pytest.raises(ValueError, match="holds a run; --resume goes on with it"):
        train(config_for(corpus), finished, quiet=True)


def test_resuming_with_another_configuration_is_refused(corpus: Path, finished: Path) -> None:
    with pytest.raises(ValueError, match="another configuration: batch was 6, is 7"):
        train(config_for(corpus, batch=7), finished, resume=True, quiet=True)


def test_a_folder_of_something_else_is_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        train(config_for(corpus), tmp_path, quiet=True)


def test_a_pack_of_another_rate_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="packed at 8000 Hz, features.rate is 16000 Hz"):
        train(config_for(corpus, features=FeatureConfig()), tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"model": "raw_waveform", "window": 1000},
            r"window is 1000 samples, 0.125 s, and model 'raw_waveform' does not take what that "
            r"gives: input_shape is \(1000,\); expected \(N,\), N at least 2048; set a longer window, and "
            "hop with it",
        ),
        (
            {"model": "vgg", "window": 1000},
            r"window is 1000 samples, 0.125 s, and .* \(1, 10, 24\); expected .* at least 32 frames and 32 "
            "bands; set a longer window, and hop with it, or more features.bands",
        ),
        (
            {"model": "raw_waveform", "window": 4000, "model_arguments": {"input_shape": [1000]}},
            r"^input_shape is \(1000,\); expected \(N,\), N at least 2048",  # as it was given
        ),
    ],
)
def test_a_window_that_is_too_short_for_the_model_is_named(
    corpus: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    usual: dict[str, Any] = {"model_arguments": {}, "mask_frames": 0, "mask_bands": 0}
    with pytest.raises(ValueError, match=f"{said}$"):
        train(config_for(corpus, **usual | changes), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_the_run(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lower learning_rate"):
        train(config_for(corpus, learning_rate=1e30, warmup_steps=0), tmp_path / "run", quiet=True)


def test_validation_by_fraction_is_disjoint_by_group(corpus: Path) -> None:
    data = Pack(corpus)
    config = config_for(corpus, train_splits=None, validation_splits=(), validation_fraction=0.25)
    train_clips, validation = choose_clips(data, config)
    assert len(validation) == 6 and len(train_clips) == 18
    assert not set(data.groups[train_clips]) & set(data.groups[validation])


def test_where_chooses_and_says_when_nothing_is_left(corpus: Path) -> None:
    with pytest.raises(ValueError, match="no attribute 'licence'"):
        choose_clips(Pack(corpus), config_for(corpus, where={"licence": ("CC0",)}))
    with pytest.raises(ValueError, match="no clip left to train on"):
        choose_clips(Pack(corpus), config_for(corpus, train_splits=("test",)))


@pytest.mark.parametrize("balance", ["clips", "patches", "classes"])
@pytest.mark.parametrize("speed_spread", [0.0, 0.1])
def test_digital_silence_at_the_end_is_not_drawn_from(
    tmp_path: Path, balance: str, speed_spread: float
) -> None:
    """Clips that are silent from the middle on, from the first sample on, and not at all."""
    rows, sounds = ["path,labels"], np.random.default_rng(0).uniform(0.1, 0.5, (6, RATE))
    for number, heard in enumerate((4000, 4000, 4000, 500, 0, RATE)):
        sounds[number, heard:] = 0
        soundfile.write(tmp_path / f"{number}.wav", sounds[number], RATE)
        rows.append(f"{number}.wav,{'odd' if number % 2 else 'even'}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    pack(tmp_path / "manifest.csv", tmp_path / "pack", rate=RATE, jobs=1, quiet=True)
    data = Pack(tmp_path / "pack")
    config = config_for(data.path, window=1000, hop=500, balance=balance, speed_spread=speed_spread)
    clips = np.arange(1, 6)
    sampler = make_sampler(data, clips, config)
    assert sampler.patch == (1000 if speed_spread == 0 else 1102)
    drawn = [sampler.draw(step) for step in range(100)]
    chosen, offsets = (np.concatenate(part) for part in zip(*drawn, strict=True))
    ends = np.maximum(data.audible[clips], sampler.patch)[chosen]
    assert (offsets + sampler.patch <= ends).all()
    assert offsets[chosen == 4].max() > 6000, "what is heard to the end is drawn to the end"
    assert offsets[chosen < 2].max() > (1500 if balance == "patches" else 2500)


def notes_of(config: TrainConfig, run: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    train(config, run)
    return [line for line in capsys.readouterr().err.splitlines() if "mixed with itself" in line]


def test_that_clips_are_mixed_with_themselves_is_said_where_they_are_fewer_than_a_batch(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six clips for a batch of twelve, each twice in it: of the 11 other places 1 is the clip itself."""
    few = config_for(corpus, steps=2, train_fraction=1 / 3, batch=12)
    (said,) = notes_of(few, tmp_path / "few", capsys)
    assert said == (
        "there are fewer clips to train on (6) than in a batch (12): about 9% of the time a clip is mixed "
        "with itself; train on more, or set batch=6 or mixing=none"
    )
    for name, changes in {"as many": {"batch": 6}, "unmixed": {"mixing": "none"}}.items():
        assert not notes_of(dataclasses.replace(few, **changes), tmp_path / name, capsys), name  # type: ignore[arg-type]
    later: dict[str, Any] = {"mixing": "none", "finetune_mixing": "mixup", "finetune_steps": 1}
    assert len(notes_of(dataclasses.replace(few, **later), tmp_path / "later", capsys)) == 1


@pytest.mark.parametrize("balance", ["clips", "patches", "classes"])
def test_how_often_a_clip_is_mixed_with_itself_is_as_counted_over_pairs(corpus: Path, balance: str) -> None:
    """By the partners that mixing draws, of a recording that is left alone and of more."""
    data = Pack(corpus)
    for clips in ([0, 1], [0, 1, 2, 3, 4]):
        config = config_for(corpus, balance=balance, batch=16)
        sampler = make_sampler(data, np.array(clips), config)
        drawn = torch.from_numpy(sampler.draw(0)[0])
        generator, itself = torch.Generator().manual_seed(0), 0
        for _ in range(300):
            _, both = mix(torch.zeros(16, 1), torch.eye(16), generator, how="mix_training")
            partner = (both - torch.eye(16)).argmax(1)
            itself += int((drawn == drawn[partner]).sum())
        found = re.search(r"about (\d+)%", partners_in_words(sampler, config))
        assert found is not None and float(found[1]) == pytest.approx(itself / 48, abs=2.5)


def test_the_loader_thread_gives_what_reading_gives(corpus: Path) -> None:
    data = Pack(corpus)
    config = config_for(corpus, balance="classes")
    clips, _ = choose_clips(data, config)
    with Batches(
        data, clips, make_sampler(data, clips, config), samples=4402, label_set="labels", steps=range(2, 5)
    ) as batches:
        for step in range(2, 5):
            batch, again = batches.next(), batches.read(step)
            assert all(torch.equal(one, other) for one, other in zip(batch, again, strict=True))
            assert batch.inputs.shape == (6, 4402) and batch.inputs.dtype == torch.int16
            drawn = clips[make_sampler(data, clips, config).draw(step)[0]]
            assert np.array_equal(batch.targets(3).numpy(), data.targets(drawn))
            assert batch.targets(3).sum(0).tolist() == [2, 2, 2], "every class equally often"


def test_an_error_in_the_loader_thread_reaches_the_loop(corpus: Path) -> None:
    data = Pack(corpus)
    clips, _ = choose_clips(data, config_for(corpus))
    sampler = make_sampler(data, clips, config_for(corpus))
    with (
        Batches(data, clips, sampler, samples=4402, label_set="no such", steps=range(2)) as batches,
        pytest.raises(ValueError, match="no label set 'no such'"),
    ):
        batches.next()


def test_schedules_are_as_published() -> None:
    config = TrainConfig(data=Path("x"), steps=17, warmup_steps=0, learning_rate=3e-5, schedule="step")
    rates = [learning_rate(config, step, 17) for step in range(17)]
    assert rates[:13] == [3e-5] * 13 and rates[13:] == [pytest.approx(3e-6)] * 4
    cosine = dataclasses.replace(config, schedule="cosine", learning_rate=1.0, warmup_steps=2)
    assert [learning_rate(cosine, step, 100) for step in (0, 50, 99)] == pytest.approx(
        [0.5, 0.5, 0.0], abs=1e-3
    )


def test_settings_change_fields_of_every_kind() -> None:
    config = configure(
        TrainConfig(data=Path("x"), epochs=3),
        {
            "steps": "10",
            "train_splits": "fold1,fold2",
            "where": "{licence: [CC0, CC-BY]}",
            "features.bands": "80",
            "model_arguments.dropout": "0.5",
            "learning_rate": "1e-3",
            "threads": "2",
            "name": "7",
        },
    )
    assert (config.steps, config.epochs, config.train_splits) == (10, None, ("fold1", "fold2"))
    assert config.where == {"licence": ("CC0", "CC-BY")} and config.features.bands == 80
    assert config.model_arguments == {"dropout": 0.5} and config.learning_rate == 1e-3
    assert config.threads == 2 and config.name == "7"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rat": "1"}, "unknown setting 'learning_rat'; known: .*learning_rate"),
        ({"batch": "many"}, "setting 'batch' does not take 'many'"),
        ({"batch": "2.5"}, "setting 'batch' does not take 2.5"),
        ({"batch": "0"}, "batch is 0; expected at least 1"),
        ({"mixing": "blend"}, "mixing is 'blend'; known: none"),
        ({"window": "100"}, "fewer than a frame's 400"),
        ({"features.bands": "-1"}, "bands"),
        ({"average": "1.5"}, "average is 1.5; expected at least 0, below 1"),
        ({"steps": "0"}, "steps is 0; expected at least 1"),
        ({"steps": "-1"}, "steps is -1"),
        ({"epochs": "0"}, "epochs is 0.0; expected a number above 0"),
        ({"epochs": ".nan"}, "epochs is nan"),
        ({"clip_norm": "0"}, "clip_norm is 0.0"),
        ({"mask_frames": "-5"}, "mask_frames is -5"),
        ({"steps": "[1"}, "not YAML"),
        ({"where": "foo"}, "expected a mapping, say"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configure(TrainConfig(data=Path("x"), epochs=3), settings)


def test_devices_and_precision_are_picked_by_what_is_there() -> None:
    assert pick_device("cpu").type == "cpu" and pick_device("auto").type in ("cpu", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch sees no CUDA device here"):
            pick_device("cuda")
    with pytest.raises(ValueError, match="device is 'banana'; expected cpu"):
        pick_device("banana")
    assert pick_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16


def test_cudnn_looks_for_its_fastest_on_a_gpu_only(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import auricle.training.loop as loop

    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    set_up(torch.device("cpu"))
    assert not torch.backends.cudnn.benchmark
    set_up(torch.device("cuda"))
    assert torch.backends.cudnn.benchmark
    devices: list[torch.device] = []
    monkeypatch.setattr(loop, "set_up", devices.append)
    train(config_for(corpus, steps=1), tmp_path / "run", quiet=True)
    assert devices == [torch.device("cpu")]
