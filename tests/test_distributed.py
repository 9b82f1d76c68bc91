"""Several processes train as one: the same draws, losses and gradients; they end together, and go on.

The processes are real, started by torchrun on this machine, with gloo; two at most, of one thread each.
"""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_urban
import torch
from ranks import PLAIN, WITHOUT_NORM, buffers, spawn, taken_steps
from tones import config_for, log_of, make_corpus, same_weights, weights_of

from auricle import distributed
from auricle.artifact import load_artifact
from auricle.metrics.blocks import Together, rank_blocks
from auricle.metrics.ranking import positives
from auricle.sampling import share
from auricle.training import train
from auricle.training.checkpoints import check_alike, load_checkpoint
from auricle.training.data import check_shares
from auricle.training.devices import own_gpu
from auricle.training.validation import validate

CLOSE = {"rtol": 1e-5, "atol": 1e-7}  # of float32; on the machines tried there is no difference at all


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_corpus(tmp_path_factory.mktemp("tones"))


def given(*values: Any) -> list[str]:
    return [json.dumps(str(value) if isinstance(value, Path) else value) for value in values]


# --- two processes of batch B, and one that takes two parts of B


@pytest.fixture(scope="module")
def two(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, np.ndarray]]:
    """What each of two processes found in four steps of a batch of 6, of which each has 3."""
    out = tmp_path_factory.mktemp("two")
    done = spawn(2, "steps", *given(corpus, out, {}))
    assert done.returncode == 0, done.stderr
    return [dict(np.load(out / f"rank{rank}.npz")) for rank in range(2)]


@pytest.fixture(scope="module")
def one(corpus: Path) -> Any:
    return taken_steps(config_for(corpus, **PLAIN, accumulate=2), 4)


def test_losses_and_gradients_are_those_of_one_process_with_as_many_parts(two: Any, one: Any) -> None:
    """Each part, and each process, has the statistics of its own clips; changes of volume are by row."""
    setting, steps = one
    for rank in two:
        np.testing.assert_allclose(rank["loss"], [step["loss"] for step in steps], rtol=1e-6)
        np.testing.assert_allclose(rank["norm"], [step["norm"] for step in steps], rtol=1e-5)
        for mine, step in zip(rank["gradient"], steps, strict=True):
            np.testing.assert_allclose(mine, step["gradient"], **CLOSE)
        weights = torch.cat([p.detach().flatten() for p in setting.state.net.parameters()]).numpy()
        np.testing.assert_allclose(rank["weights"], weights, **CLOSE)
    assert np.array_equal(two[0]["weights"], two[1]["weights"]), "the processes have one network"
    assert np.abs(two[0]["gradient"]).max() > 1e-3


def test_the_processes_draw_other_clips_and_together_every_clip_once(two: Any) -> None:
    """Nine batches of 6 are three epochs of 18 clips."""
    both = np.concatenate([rank["drawn"] for rank in two], axis=1)
    assert [part["drawn"].shape for part in two] == [(9, 3), (9, 3)]
    for epoch in both.reshape(3, 18):
        assert sorted(epoch.tolist()) == list(range(18))


def test_running_statistics_are_those_of_the_first_process(two: Any, one: Any) -> None:
    """Its own, of its share, until the network is validated; then everybody's. One process sees all parts."""
    setting, _ = one
    assert not np.allclose(two[0]["own"], two[1]["own"])
    assert np.array_equal(two[0]["shared"], two[0]["own"])
    assert np.array_equal(two[1]["shared"], two[0]["own"])
    assert not np.allclose(buffers(setting.state.average), two[0]["own"])


def test_validation_gives_every_process_the_figures_of_all_clips(two: Any, one: Any) -> None:
    """Those of six clips, three each; and of one clip, which leaves a process without."""
    setting, _ = one
    whole, single = json.loads(str(two[0]["figures"]))
    assert json.loads(str(two[1]["figures"])) == json.loads(str(two[0]["figures"])) or np.isnan(whole["auc"])
    assert (whole["clips"], single["clips"]) == (6, 1)
    state = setting.state.average.state_dict()
    kept = {name: value.clone() for name, value in state.items()}
    names = [name for name, _ in setting.state.average.named_buffers()]
    sizes = [state[name].numel() for name in names]
    for name, part in zip(names, np.split(two[0]["own"], np.cumsum(sizes)[:-1]), strict=True):
        state[name].copy_(torch.from_numpy(part).reshape(state[name].shape))
    clips = setting.task.validation_clips
    config = config_for(setting.pack.path, **PLAIN)
    alone = validate(setting.live, setting.pack, clips, config)
    setting.state.average.load_state_dict(kept)
    assert alone == pytest.approx(whole, rel=1e-6, nan_ok=True)


def test_what_processes_tell_each_other(two: Any) -> None:
    first, second = (json.loads(str(rank["together"])) for rank in two)
    for found in (first, second):
        assert found["gather"] == [{"rank": 0}, {"rank": 1}] and found["broadcast"] == "of 0"
        assert found["mean"] == 0.5 and found["add"] == [2, 1] and found["first"] == "made by 0"
    assert second["agreed"] == "OSError: no such disk"
    assert first["agreed"] == "EndedElsewhere: process 1 could not go on: no such disk"


# --- whole runs


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nothing stopped, with everything random that there is."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    done = spawn(2, "train", *given(corpus, run, {}, {}))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(run / "best")] * 2
    return run


def test_a_run_of_two_leaves_what_a_run_of_one_leaves(corpus: Path, whole: Path, tmp_path: Path) -> None:
    train(config_for(corpus), tmp_path / "alone", quiet=True)
    names = {path.name for path in whole.iterdir()}
    assert names == {path.name for path in (tmp_path / "alone").iterdir()}
    log = log_of(whole)
    assert log[0]["processes"] == 2 and "processes" not in log_of(tmp_path / "alone")[0]
    assert [entry["step"] for entry in log if "loss" in entry] == [5, 10, 15, 20, 25, 30]
    assert [entry["step"] for entry in log if "validation_map" in entry] == [15, 30]
    assert load_artifact(whole / "best").training["config"]["batch"] == 6


def test_a_killed_process_ends_all_and_torchrun_goes_on_by_itself(
    corpus: Path, whole: Path, tmp_path: Path
) -> None:
    """SIGKILL of one of two between checkpoints; the restart resumes, to the same weights bit for bit."""
    dying = {"rank": 1, "step": 14, "how": "kill"}
    done = spawn(2, "train", *given(corpus, tmp_path / "run", {}, dying), options=("--max-restarts", "1"))
    assert done.returncode == 0, done.stderr
    assert same_weights(whole, tmp_path / "run")
    starts = [entry["step"] for entry in log_of(tmp_path / "run") if entry.get("event") == "start"]
    assert starts == [0, 12]
    assert [entry for entry in log_of(tmp_path / "run") if "event" not in entry] == [
        entry for entry in log_of(whole) if "event" not in entry
    ]


def test_a_process_with_an_error_ends_all_with_that_error_and_one_process_goes_on(
    corpus: Path, tmp_path: Path
) -> None:
    """Without batch norm, and with nothing that is drawn by process, the result is that of one throughout."""
    dying = {"rank": 1, "step": 14, "how": "error"}
    done = spawn(2, "train", *given(corpus, tmp_path / "run", WITHOUT_NORM, dying))
    assert done.returncode == 1
    assert done.stderr.count("process 1: the disk of this machine has gone") == 1
    config = config_for(corpus, **WITHOUT_NORM)
    train(config, tmp_path / "run", resume=True, quiet=True)
    train(config, tmp_path / "alone", quiet=True)
    alone, resumed = weights_of(tmp_path / "alone"), weights_of(tmp_path / "run")
    for name, value in alone.items():
        np.testing.assert_allclose(resumed[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_the_command_says_once_what_is_wrong(corpus: Path, whole: Path) -> None:
    """By `python -m auricle` itself, on a folder that holds a run."""
    arguments = ["train", "--data", str(corpus), "--out", str(whole), "--recipe", "compact-esc50"]
    settings = ["features.rate=8000", "features.high=3800", "window=4000", "hop=4000", "threads=1", "batch=4"]
    done = spawn(
        2, *arguments, *(part for text in settings for part in ("--set", text)), script=("-m", "auricle")
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("process 0: ") == 1
    assert f"process 0: {whole}: holds a run; --resume goes on with it" in done.stderr
    assert load_checkpoint(whole) is not None


@pytest.mark.slow
def test_three_processes_killed_and_resumed_end_as_three_that_were_not(corpus: Path, tmp_path: Path) -> None:
    """Three are added up in an order that must not depend on when the run began; two have only one order."""
    dying = {"rank": 2, "step": 14, "how": "kill"}
    for name, how, status in (("whole", {}, 0), ("run", dying, 1), ("run", {"resume": True}, 0)):
        done = spawn(3, "train", *given(corpus, tmp_path / name, {}, how), timeout=600)
        assert done.returncode == status, done.stderr
    assert same_weights(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
def test_a_silent_process_is_waited_for_no_longer_than_was_said(corpus: Path, tmp_path: Path) -> None:
    """SIGSTOP: it neither ends nor answers."""
    dying = {"rank": 1, "step": 14, "how": "stop"}
    arguments = given(corpus, tmp_path / "run", {"rank_timeout": 20.0}, dying)
    done = spawn(2, "train", *arguments, timeout=600)
    assert done.returncode == 1
    assert "process 0: another process of this training has ended or no longer answers" in done.stderr
    assert "the same command with --resume goes on from the last checkpoint" in done.stderr


@pytest.mark.slow
def test_a_family_is_trained_by_two(tmp_path: Path) -> None:
    """The first adds label sets to the pack; rates that follow the figures of a taxonomy move alike."""
    changes = {"steps": 4, "validate_every": 1, "schedule": "stagnation", "patience": 1}
    done = spawn(
        2, "family", *given(tiny_urban.make_corpus(tmp_path), tmp_path / "run", changes), timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert load_artifact(tmp_path / "run" / "best").labels
    for log in (log_of(member) for member in (tmp_path / "run" / "members").iterdir()):
        assert [entry["step"] for entry in log if "validation_map" in entry] == [1, 2, 3, 4]


# --- alone, and in the environment of others


def test_a_world_of_one_is_nothing() -> None:
    assert (distributed.rank(), distributed.world(), distributed.local_rank()) == (0, 1, 0)
    net = torch.nn.Linear(2, 1)
    assert distributed.wrap(net, net) is net
    value, counts = torch.ones(2), np.ones(2, np.int64)
    assert distributed.mean(value) is value and distributed.add(counts) is counts


def test_other_processes_that_cannot_be_met_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match="WORLD_SIZE is 4, but LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not"):
        distributed.join()


def test_a_restart_resumes(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one process, too: that is all torchrun says."""
    config = config_for(corpus, steps=2)
    train(config, tmp_path / "run", quiet=True)
    with pytest.raises(ValueError, match="holds a run"):
        train(config, tmp_path / "run", quiet=True)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert train(config, tmp_path / "run", quiet=True) == tmp_path / "run" / "best"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch": 3, "mixing": "none"}, "batch is 3, fewer than the 4 processes that share it out"),
        (
            {"batch": 7},
            "some of 4 processes have a single clip, and mixing is 'mixup', .* at least 8, or mix",
        ),
        ({"batch": 7, "mixing": "none", "finetune_steps": 1, "finetune_mixing": "mixup"}, "or finetune_mix"),
        ({"batch": 9, "sync_batch_norm": True}, "4 processes cannot share equally; expected a multiple of 4"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(
    changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(Path("pack"), **changes)
    check_shares(config)
    monkeypatch.setattr(distributed, "world", lambda: 4)
    with pytest.raises(ValueError, match=said):
        check_shares(config)


def test_every_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(distributed, "world", lambda: 4)
    monkeypatch.setattr(distributed, "local_rank", lambda: 1)
    assert own_gpu(torch.device("cuda")) == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="^device is 'cuda:1', but there are 4 processes, .* --device cuda$"):
        own_gpu(torch.device("cuda:1"))
    monkeypatch.setattr(distributed, "local_rank", lambda: 2)
    with pytest.raises(
        ValueError, match="^process 2 of this machine has no GPU: torch sees 2; start as many"
    ):
        own_gpu(torch.device("cuda"))


def test_synchronised_batch_norm_is_for_gpus(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="^sync_batch_norm=true is for GPUs, but the device is cpu; leave it"
    ):
        train(config_for(corpus, sync_batch_norm=True, device="cpu"), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_processes_that_were_started_differently_are_refused() -> None:
    with pytest.raises(
        ValueError, match="process 1 was started with seed 3, process 0 with 0; give the same"
    ):
        check_alike([{"seed": 0}, {"seed": 3}])


def test_other_verbs_do_not_run_several_times(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from auricle.cli import main

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(SystemExit):
        main(["models"])
    assert "torchrun has started 2 processes, each of which would do all of `auricle models`" in (
        capsys.readouterr().err
    )


# --- figures of clips that several processes have


@pytest.mark.parametrize("world", [1, 2, 3, 9])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_ranking_figures_of_shares_are_those_of_all(world: int, dtype: type) -> None:
    """Threads in place of processes; many ties, a class without positives, shares without clips."""
    random = np.random.default_rng(world)
    scores = (random.integers(0, 6, (7, 5)) / 5).astype(dtype)
    targets = random.random((7, 5)) < 0.4
    targets[:, 3] = False
    expected = rank_blocks(scores, *positives(targets), threads=1)
    barrier, table = threading.Barrier(world), [None] * world
    found: list[Any] = [None] * world

    def one_share(rank: int) -> None:
        def gather(value: Any) -> list[Any]:
            barrier.wait()
            table[rank] = value
            barrier.wait()
            return list(table)

        mine = share(7, rank, world)
        together = Together(gather, lambda counts: np.sum(gather(counts), axis=0))
        found[rank] = rank_blocks(scores[mine], *positives(targets[mine]), threads=1, together=together)

    threads = [threading.Thread(target=one_share, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for rank, ranking in enumerate(found):
        assert str(ranking.figures) == str(expected.figures)
        assert all(
            np.array_equal(ranking.classes[name], expected.classes[name], equal_nan=True)
            for name in ranking.classes
        )
        assert np.array_equal(ranking.best_N, expected.best_N[share(7, rank, world)])
