"""Two-step training: a second stage that fine-tunes what the first leaves, one run, resumable anywhere."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tones import TinyWave, config_for, log_of, make_corpus, same_weights

from auricle.artifact import load_artifact
from auricle.experiments import SweepOptions, sweep
from auricle.models import MODELS
from auricle.runners import check, load_runner
from auricle.shards import Pack
from auricle.training import TrainConfig, configure, train
from auricle.training.checkpoints import load_checkpoint
from auricle.training.data import choose_clips, make_sampler
from auricle.training.loop import learning_rate
from auricle.training.stages import finetuning, plan_stages

FIRST, SECOND = 12, 10  # steps of each stage
ALL = FIRST + SECOND


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(autouse=True)
def _tiny_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_wave", TinyWave)


def two_steps(data: Path, **changes: Any) -> TrainConfig:
    usual = {"steps": FIRST, "finetune_steps": SECOND, "mixing": "mix_training", "validate_every": 5}
    return config_for(data, **(usual | changes))


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert train(two_steps(corpus), run, quiet=True) == run / "best"
    return run


# --- what the stages are


def test_step_two_has_a_tenth_of_the_rate_no_warm_up_and_clips_as_they_are(corpus: Path) -> None:
    config = two_steps(corpus, learning_rate=3e-4, mix_range=(0.0, 1.0), warmup_steps=7)
    first, second = plan_stages(config, epoch_size=18)
    assert first.config is config and (first.first, first.end) == (0, FIRST)
    assert (second.first, second.end, second.steps) == (FIRST, ALL, SECOND)
    changed = {
        item.name
        for item in dataclasses.fields(config)
        if getattr(first.config, item.name) != getattr(second.config, item.name)
    }
    assert changed == {"learning_rate", "mixing", "mix_range", "warmup_steps"}, "all else is as in step one"
    assert second.config.learning_rate == pytest.approx(3e-5) and second.config.mixing == "none"
    assert finetuning(dataclasses.replace(config, finetune_mixing="mix_training")).mix_range == (0.0, 1.0)


def test_lengths_in_epochs_are_of_the_sampler_s(corpus: Path) -> None:
    config = dataclasses.replace(
        two_steps(corpus), steps=None, epochs=4.0, finetune_steps=None, finetune_epochs=2.0
    )
    assert [(s.first, s.end) for s in plan_stages(config, epoch_size=18)] == [(0, 12), (12, 18)]
    assert [(s.first, s.end) for s in plan_stages(config, epoch_size=3)] == [(0, 2), (2, 3)]
    one = dataclasses.replace(config, finetune_epochs=None)
    assert [(s.first, s.end) for s in plan_stages(one, epoch_size=18)] == [(0, 12)]


def test_the_schedule_begins_anew_over_the_steps_of_its_stage(finished: Path) -> None:
    rates = {entry["step"]: entry["learning_rate"] for entry in log_of(finished) if "loss" in entry}
    base = two_steps(Path("x")).learning_rate
    assert rates[FIRST] == pytest.approx(base * (0.5 + 0.5 * math.cos(math.pi * (FIRST - 1) / FIRST)))
    assert rates[15] == pytest.approx(base / 10 * (0.5 + 0.5 * math.cos(math.pi * 2 / SECOND)))
    assert rates[ALL] == pytest.approx(base / 10 * (0.5 + 0.5 * math.cos(math.pi * (SECOND - 1) / SECOND)))


# --- the run


def test_the_log_tells_the_stage_and_how_long_the_loop_waited(finished: Path) -> None:
    log = log_of(finished)
    stages = [entry for entry in log if entry.get("event") == "stage"]
    assert [(e["stage"], e["step"], e["steps"], e["mixing"]) for e in stages] == [
        (1, 0, FIRST, "mix_training"),
        (2, FIRST, SECOND, "none"),
    ]
    assert log[0]["steps"] == ALL
    losses = [(entry["step"], entry["stage"]) for entry in log if "loss" in entry]
    assert losses == [(5, 1), (10, 1), (12, 1), (15, 2), (20, 2), (22, 2)], "and at the end of each stage"
    judged = [(entry["step"], entry["stage"]) for entry in log if "validation_map" in entry]
    assert judged == losses
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    waited = [line["waited"] for line in lines if "loss" in line]
    assert len(waited) == 6 and all(0 <= share <= 1 for share in waited)


def test_the_share_of_waiting_is_of_the_time_since_it_was_last_asked(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that says what it is told: two seconds of waiting in four, then none in one."""
    from types import SimpleNamespace

    import auricle.training.batches as module

    told = iter([0.0, 1.0, 3.0, 4.0, 4.5, 4.5, 5.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(told)))
    config, data = two_steps(corpus), Pack(corpus)
    clips, _ = choose_clips(data, config)
    sampler = make_sampler(data, clips, config)
    batches = module.Batches(data, clips, sampler, samples=4402, label_set="labels", steps=range(2))
    for expected in (0.5, 0.0):
        batches._ready.put(batches.read(0))
        batches.next()
        assert batches.waited() == expected


def test_a_sweep_over_two_steps_sees_all_of_them(corpus: Path, tmp_path: Path) -> None:
    settings = {
        "model": "compact",
        "model_arguments": "{stem: 8, widths: [8], blocks: [1]}",
        "window": "4000",
    }
    settings |= {"features.high": "3800", "features.rate": "8000", "features.window": "256"}
    settings |= {"features.hop": "80", "features.fft": "256", "features.bands": "24", "batch": "6"}
    settings |= {"steps": "4", "finetune_steps": "3", "validate_every": "2", "precision": "float32"}
    settings |= {"train_splits": "train", "validation_splits": "test"}
    over = {"mixing": "mix_training,mixup", "finetune_rate": "log:0.01:0.5"}
    options = SweepOptions(
        data=corpus, out=tmp_path / "out", recipe="chen", over=over, settings=settings, trials=2, threads=1
    )
    sweep(dataclasses.replace(options, device="cpu"), quiet=True)
    trials = json.loads((tmp_path / "out" / "results.json").read_text())["trials"]
    assert [(trial["ended"], trial["steps"]) for trial in trials] == [("finished", 7)] * 2
    assert all(trial["best_step"] in (2, 4, 6, 7) for trial in trials)
    assert all((tmp_path / "out" / "trials" / f"{number:04d}" / "stage1").is_dir() for number in range(2))


def test_progress_tells_the_stage(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(two_steps(corpus, steps=2, finetune_steps=1), tmp_path / "run")
    told = capsys.readouterr().err
    assert "step one: training for 2 steps at a rate of 0.002, mixing mix_training" in told
    assert "step two: fine-tuning for 1 steps at a rate of 0.0002, mixing none" in told
    assert "3/3 steps" in told, "counted over both"


def test_step_one_is_the_training_without_step_two(corpus: Path, finished: Path, tmp_path: Path) -> None:
    train(two_steps(corpus, finetune_steps=None), tmp_path / "one", quiet=True)
    alone, first = (
        load_artifact(path).read_weights() for path in (tmp_path / "one/last", finished / "stage1")
    )
    assert alone.keys() == first.keys() and all(np.array_equal(alone[name], first[name]) for name in alone)
    assert not same_weights(tmp_path / "one", finished)
    assert not (tmp_path / "one" / "stage1").exists()


def test_stage1_is_a_model_that_says_what_it_is(finished: Path) -> None:
    for name, step, stage in (("stage1", FIRST, 1), ("last", ALL, 2)):
        artifact = load_artifact(finished / name)
        assert (artifact.training["step"], artifact.training["stage"]) == (step, stage)
        assert set(artifact.metrics["validation"]) >= {"map", "auc", "accuracy"}
        assert check(load_runner(artifact, threads=1))["ok"]


def test_best_is_by_validation_over_both_steps(finished: Path) -> None:
    judged = {e["step"]: e["validation_map"] for e in log_of(finished) if "validation_map" in e}
    best = load_artifact(finished / "best")
    assert best.metrics["validation"]["map"] == max(judged.values())
    assert best.training["step"] == min(step for step, map in judged.items() if map == max(judged.values()))


@pytest.mark.parametrize("average", [0.9, 0.0])
def test_step_two_begins_from_what_step_one_leaves(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: float
) -> None:
    """The net takes the average's weights and statistics; the optimizer has seen nothing."""
    import auricle.training.loop as loop

    seen: dict[str, Any] = {}
    plain = loop.update

    def watched(state: Any, batch: Any, rate: float, live: Any, config: TrainConfig, *rest: Any) -> Any:
        if state.step == FIRST:
            seen["net"] = {name: value.clone() for name, value in state.net.state_dict().items()}
            seen["optimizer"] = len(state.optimizer.state)
            seen["loss"], seen["began"], seen["mixing"] = state.loss.item(), state.began, config.mixing
        return plain(state, batch, rate, live, config, *rest)

    monkeypatch.setattr(loop, "update", watched)
    train(two_steps(corpus, average=average), tmp_path / "run", quiet=True)
    left = load_artifact(tmp_path / "run" / "stage1").read_weights()
    assert seen["net"].keys() == left.keys()
    for name, value in seen["net"].items():
        assert np.array_equal(np.atleast_1d(value.numpy()), left[name]), name
    assert (seen["optimizer"], seen["loss"], seen["began"], seen["mixing"]) == (0, 0.0, FIRST, "none")


def test_the_average_of_step_two_follows_as_from_the_start(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: what step one leaves, then each net with a weight of 9 in 10 + steps of step two."""
    import auricle.training.loop as loop

    nets: list[dict[str, np.ndarray]] = []
    plain = loop.update

    def watched(state: Any, *rest: Any) -> Any:
        figures = plain(state, *rest)
        nets.append({name: value.double().numpy().copy() for name, value in state.net.state_dict().items()})
        return figures

    monkeypatch.setattr(loop, "update", watched)
    train(two_steps(corpus, average=0.999), tmp_path / "run", quiet=True)
    start, last = (load_artifact(tmp_path / "run" / name).read_weights() for name in ("stage1", "last"))
    for name, left in start.items():
        if nets[0][name].ndim == 0:  # batches counted, not averaged
            continue
        average = left.astype(np.float64)
        for taken, net in enumerate(nets[FIRST:]):
            average += (net[name] - average) * 9 / (10 + taken)
        np.testing.assert_allclose(last[name], average, rtol=1e-5, atol=1e-7, err_msg=name)
    assert len(nets) == ALL


def test_validation_is_reported_over_the_steps_of_both(corpus: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    train(
        two_steps(corpus),
        tmp_path / "run",
        quiet=True,
        on_validation=lambda step, steps, figures: told.append((step, steps)),
    )
    assert told == [(step, ALL) for step in (5, 10, 12, 15, 20, 22)]


# --- stopping and going on


class Killed(Exception):
    pass


@pytest.mark.parametrize("average", [0.9, 0.0])
@pytest.mark.parametrize("stops", [(FIRST - 1,), (FIRST,), (FIRST + 1,), (3, FIRST - 1, FIRST, ALL - 1)])
def test_a_run_stopped_on_either_side_of_the_boundary_resumes_to_the_same_weights(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: tuple[int, ...], average: float
) -> None:
    """Bit for bit, with checkpoints that lie elsewhere than the stops."""
    import auricle.training.loop as loop

    plain, config = loop.update, two_steps(corpus, average=average, checkpoint_every=5)
    train(config, tmp_path / "whole", quiet=True)
    for stop in stops:

        def until(state: Any, *rest: Any, stop: int = stop) -> Any:
            if state.step == stop:
                raise Killed
            return plain(state, *rest)

        monkeypatch.setattr(loop, "update", until)
        with pytest.raises(Killed):
            train(config, tmp_path / "run", resume=True, quiet=True)
        if stop >= FIRST:
            kept = load_checkpoint(tmp_path / "run")
            assert kept is not None and kept["step"] >= FIRST, "step one is never done again"
    monkeypatch.setattr(loop, "update", plain)
    train(config, tmp_path / "run", resume=True, quiet=True)
    assert same_weights(tmp_path / "whole", tmp_path / "run")
    for name in ("stage1", "last", "best"):
        one, other = (load_artifact(tmp_path / run / name) for run in ("whole", "run"))
        assert one.fingerprint == other.fingerprint and one.metrics == other.metrics, name
    assert [e for e in log_of(tmp_path / "whole") if "event" not in e] == [
        e for e in log_of(tmp_path / "run") if "event" not in e
    ]


def test_a_run_killed_while_it_writes_what_step_one_leaves_goes_on(
    corpus: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import auricle.training.loop as loop

    plain = loop.save_model

    def killed(path: Path, *rest: Any) -> None:
        if path.name == "stage1":
            raise Killed
        plain(path, *rest)

    monkeypatch.setattr(loop, "save_model", killed)
    with pytest.raises(Killed):
        train(two_steps(corpus), tmp_path / "run", quiet=True)
    monkeypatch.setattr(loop, "save_model", plain)
    train(two_steps(corpus), tmp_path / "run", resume=True, quiet=True)
    assert same_weights(finished, tmp_path / "run")
    one, other = (load_artifact(run / "stage1") for run in (finished, tmp_path / "run"))
    assert (one.fingerprint, one.metrics) == (other.fingerprint, other.metrics)


def test_kill_9_once_step_one_is_left_and_resume(corpus: Path, finished: Path, tmp_path: Path) -> None:
    """The real thing: a process of its own, SIGKILL as soon as what step one leaves is there."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from test_training_stages import two_steps; from auricle.training import train\n"
        "train(two_steps(Path(sys.argv[2])), sys.argv[3], resume=True, quiet=True)"
    )
    run = tmp_path / "run"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(corpus), str(run)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if (run / "stage1").is_dir():
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait(timeout=60)
    saved = load_checkpoint(run)
    assert saved is not None and FIRST <= saved["step"] < ALL, "it was killed in step two"
    train(two_steps(corpus), run, resume=True, quiet=True)
    assert same_weights(finished, run)


def test_a_finished_two_step_run_is_left_as_it_is(corpus: Path, finished: Path) -> None:
    files = [path for path in finished.rglob("*") if path.is_file() and path.name != ".lock"]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert train(two_steps(corpus), finished, resume=True, quiet=True) == finished / "best"
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_a_run_from_before_there_were_stages_resumes(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its configuration nor its checkpoint knows of them."""
    config = config_for(corpus, steps=10)
    train(config, tmp_path / "whole", quiet=True)

    def until_six(config: TrainConfig, step: int, steps: int) -> float:
        if step == 6:
            raise Killed
        return learning_rate(config, step, steps)

    import auricle.training.loop as loop

    run = tmp_path / "run"
    monkeypatch.setattr(loop, "learning_rate", until_six)
    with pytest.raises(Killed):
        train(config, run, quiet=True)
    monkeypatch.undo()
    kept = json.loads((run / "config.json").read_text())
    for name in (
        "mix_range",
        "finetune_steps",
        "finetune_epochs",
        "finetune_rate",
        "finetune_mixing",
        "checkpoint_activations",
    ):
        del kept[name]
    (run / "config.json").write_text(json.dumps(kept))
    saved = load_checkpoint(run)
    assert saved is not None and saved.pop("began") == 0
    del saved["metrics"]
    torch.save(saved, run / "checkpoint.pt")
    train(config, run, resume=True, quiet=True)
    assert same_weights(tmp_path / "whole", run)
    with pytest.raises(ValueError, match="finetune_steps was None, is 4"):
        train(config_for(corpus, steps=10, finetune_steps=4), run, resume=True, quiet=True)


# --- settings


def test_settings_of_two_steps_are_taken() -> None:
    start = TrainConfig(data=Path("x"), epochs=3, mixing="mix_training", finetune_epochs=2)
    config = configure(start, {"mix_range": "0.4,0.6", "finetune_steps": "70", "finetune_rate": "0.3"})
    assert (config.mix_range, config.finetune_steps, config.finetune_epochs) == ((0.4, 0.6), 70, None)
    assert config.finetune_rate == 0.3 and configure(config, {"finetune_epochs": "5"}).finetune_steps is None
    assert configure(start, {"mix_range": "[0, 1]"}).mix_range == (0.0, 1.0)
    assert configure(start, {"mix_range": "0,1"}).mix_range == (0.0, 1.0)
    assert not configure(start, {"finetune_epochs": "null"}).two_steps


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"mix_range": "0.6,0.4"},
            r"mix_range is \(0.6, 0.4\); expected two numbers from 0 to 1, the smaller",
        ),
        ({"mix_range": "-0.1,0.4"}, "expected two numbers from 0 to 1"),
        ({"mix_range": "0.4,1.1"}, "expected two numbers from 0 to 1"),
        ({"mix_range": "[.nan, 1]"}, "expected two numbers from 0 to 1"),
        ({"mix_range": "0.5"}, "setting 'mix_range' does not take 0.5: expected two numbers, say 0.4,0.6"),
        ({"mix_range": "0.1,0.2,0.3"}, "does not take '0.1,0.2,0.3': expected two numbers"),
        ({"mix_range": "some"}, "does not take 'some': expected two numbers"),
        ({"mix_range": "0,1", "mixing": "mixup"}, "it is of mixing=mix_training and mixing is 'mixup'"),
        ({"finetune_steps": "0"}, "finetune_steps is 0; expected at least 1"),
        ({"finetune_epochs": "0"}, "finetune_epochs is 0.0; expected a number above 0"),
        (
            {"finetune_steps": "3", "finetune_epochs": "3"},
            "at most one of finetune_epochs and finetune_steps",
        ),
        ({"finetune_steps": "3", "finetune_rate": "0"}, "finetune_rate is 0.0; expected a number above 0"),
        ({"finetune_rate": "0.2"}, "finetune_rate is 0.2, but there is no step two; set finetune_steps"),
        ({"finetune_mixing": "mixup"}, "finetune_mixing is 'mixup', but there is no step two"),
        ({"finetune_mixing": "blend"}, "finetune_mixing is 'blend'; known: none"),
        ({"checkpoint_activations": "1"}, "expected true or false"),
        ({"checkpoint_activations": "true", "compile": "true"}, "are both true, .*leave one out"),
        (
            {"embeddings": "yamnet", "mixing": "none", "finetune_mixing": "mixup", "finetune_steps": "5"},
            "finetune_mixing is mixup, which changes waveforms, .* set finetune_mixing to none",
        ),
        ({"embeddings": "yamnet"}, "mixing is mix_training, which changes waveforms"),
    ],
)
def test_wrong_settings_of_two_steps_are_named(settings: dict[str, str], message: str) -> None:
    start = TrainConfig(data=Path("x"), epochs=3, mixing="mix_training")
    with pytest.raises(ValueError, match=message):
        configure(start, settings)
