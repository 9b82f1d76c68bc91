"""Training on a GPU: mixing there, on the whole batch; parts and blocks computed twice as on a CPU."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tones import config_for, log_of, make_corpus
from torch import Tensor

import auricle.training.loop as loop
import auricle.training.step as steps
from auricle.shards import Pack
from auricle.training import train
from auricle.training.batches import Batches
from auricle.training.data import choose_clips, make_sampler
from auricle.training.outcome import LiveRunner
from auricle.training.state import State, make_state

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]
DEVICE = "cuda"
PLAIN = {"speed_spread": 0.0, "gain_decibels": 0.0, "mask_frames": 0, "mask_bands": 0}
RAW: dict[str, Any] = {
    "model": "raw_waveform",
    "model_arguments": {"depth_2d": 18, "bands": 16, "hidden": 16, "width": 0.05},
    "window": 4096,
    "hop": 4096,
    "mixing": "mix_training",
    "average": 0.0,
    "clip_norm": None,
    "device": DEVICE,
    **PLAIN,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(autouse=True)
def _exact_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in whole float32, by algorithms that always add in one order."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def after_a_step(corpus: Path, **changes: Any) -> State:
    config = config_for(corpus, **RAW | changes)
    data, device = Pack(corpus), torch.device(config.device)
    state = make_state(config, 3, device)
    live = LiveRunner(config, data, state.average, device, torch.float32)
    clips, _ = choose_clips(data, config)
    sampler = make_sampler(data, clips, config)
    batch = Batches(data, clips, sampler, samples=4096, label_set="labels", steps=range(1)).read(0)
    loop.update(state, batch, 0.01, live, config)
    return state


def gradient(state: State) -> Tensor:
    return torch.cat([p.grad.flatten() for p in state.net.parameters() if p.grad is not None]).cpu()


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2}, {"checkpoint_activations": True}])
def test_two_steps_of_a_small_network_with_mixing_then_fine_tuning(
    corpus: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    lengths = {"steps": 2, "finetune_steps": 1, "log_every": 1}
    train(config_for(corpus, **RAW | lengths | changes), tmp_path / "run", quiet=True)
    log = log_of(tmp_path / "run")
    assert log[0]["device"].startswith(DEVICE)
    assert [entry["step"] for entry in log if "loss" in entry] == [1, 2, 3]
    assert all(0 < entry["loss"] < 10 for entry in log if "loss" in entry)


def test_blocks_computed_twice_give_the_same_gradient_and_statistics(corpus: Path) -> None:
    """To a ten-thousandth of its length."""
    plain, twice = after_a_step(corpus), after_a_step(corpus, checkpoint_activations=True)
    one, other = gradient(plain), gradient(twice)
    assert one.norm() > 0 and (one - other).norm() < 1e-4 * one.norm()
    statistics = zip(plain.net.named_buffers(), twice.net.named_buffers(), strict=True)
    for (name, mine), (_, theirs) in statistics:
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6, msg=name)


def test_mixing_is_on_the_device_and_of_the_whole_batch(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str, str, int]] = []
    plain = steps.mix

    def watched(x: Tensor, y: Tensor, generator: torch.Generator, **options: Any) -> tuple[Tensor, Tensor]:
        seen.append((x.device.type, y.device.type, generator.device.type, len(x)))
        return plain(x, y, generator, **options)

    monkeypatch.setattr(steps, "mix", watched)
    after_a_step(corpus, accumulate=3)
    assert seen == [(DEVICE, DEVICE, DEVICE, 6)]


def test_full_memory_is_told(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "update", lambda *_: torch.empty(1 << 50, device=DEVICE))
    with pytest.raises(ValueError, match=f"^out of memory on {DEVICE} with batch=6, accumulate=1"):
        train(config_for(corpus, **RAW), tmp_path / "run", quiet=True)
