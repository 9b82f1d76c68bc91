"""What does not fit: batches into memory, parts into batch norm, one clip into mixing, clips into windows."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tones import TinyPlain, config_for, log_of, make_corpus, same_weights
from torch import nn

import auricle.training.loop as loop
import auricle.training.step as steps
from auricle.models import MODELS
from auricle.shards import Pack
from auricle.training import OutOfMemoryError, TrainConfig, configure, train
from auricle.training.batches import Batches
from auricle.training.data import choose_clips, make_sampler, padding_in_words
from auricle.training.outcome import LiveRunner
from auricle.training.state import State, make_state
from auricle.training.step import parts_of, update

CPU = torch.device("cpu")
PLAIN = {"speed_spread": 0.0, "gain_decibels": 0.0, "mask_frames": 0, "mask_bands": 0}
RAW: dict[str, Any] = {
    "model": "raw_waveform",
    "model_arguments": {"depth_2d": 18, "bands": 16, "hidden": 16, "width": 0.05},
    "window": 4096,
    "hop": 4096,
    "clip_norm": None,
    "average": 0.0,
    **PLAIN,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_corpus(tmp_path_factory.mktemp("tones"))


# --- a batch that does not fit into memory

CUDA = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 9.54 GiB. GPU 0 has a total capacity of ..."
)
WITHOUT_A_CLASS = [
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried ...",
    "[enforce fail at alloc_cpu.cpp:72] data. DefaultCPUAllocator: not enough memory: you tried ...",
    "CUDA error: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
]
TOLD = (
    r"^out of memory on cpu with batch=6, accumulate=1, checkpoint_activations=false; set "
    r"checkpoint_activations=true \(the same result, slower\), a larger accumulate \(more parts\) or "
    r"a smaller batch$"
)


def failing(error: BaseException, at: int = 0) -> Callable[..., Any]:
    plain = loop.update

    def update_or_fail(state: State, *rest: Any) -> Any:
        if state.step == at:
            raise error
        return plain(state, *rest)

    return update_or_fail


@pytest.mark.parametrize("error", [CUDA, MemoryError(), *map(RuntimeError, WITHOUT_A_CLASS)])
def test_full_memory_is_one_line_that_names_what_needs_less(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(loop, "update", failing(error))
    with pytest.raises(OutOfMemoryError, match=TOLD) as told:
        train(config_for(corpus), tmp_path / "run", quiet=True)
    assert isinstance(told.value, ValueError) and isinstance(told.value, torch.OutOfMemoryError)


def test_what_torch_s_allocator_really_says_is_understood(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "update", lambda *_: torch.empty(1 << 50))
    with pytest.raises(OutOfMemoryError, match=TOLD):
        train(config_for(corpus), tmp_path / "torch", quiet=True)
    monkeypatch.setattr(Batches, "read", lambda *_: np.empty(1 << 50))  # in the thread that reads
    with pytest.raises(OutOfMemoryError, match=TOLD):
        train(config_for(corpus), tmp_path / "numpy", quiet=True)


def test_only_what_can_be_set_is_proposed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "update", failing(CUDA))
    most: dict[str, Any] = {"accumulate": 6, "checkpoint_activations": True}
    with pytest.raises(ValueError, match="accumulate=6, checkpoint_activations=true; set a smaller batch$"):
        train(config_for(corpus, **most), tmp_path / "run", quiet=True)


def test_other_errors_of_torch_stay_what_they_are(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "update", failing(RuntimeError("CUDA error: device-side assert triggered")))
    with pytest.raises(RuntimeError, match="^CUDA error: device-side assert triggered$") as told:
        train(config_for(corpus), tmp_path / "run", quiet=True)
    assert not isinstance(told.value, ValueError)


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("changes", [{"accumulate": 3}, {"batch": 5}, {"checkpoint_activations": True}])
def test_a_run_without_a_checkpoint_begins_again_with_other_settings(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], resume: bool
) -> None:
    """Stopped in the third step, before the first checkpoint; what it logged is gone."""
    whole: dict[str, Any] = {"steps": 6, "log_every": 1}
    with monkeypatch.context() as patched:
        patched.setattr(loop, "update", failing(CUDA, at=2))
        with pytest.raises(OutOfMemoryError):
            train(config_for(corpus, **whole), tmp_path / "run", quiet=True)
    assert len(log_of(tmp_path / "run")) == 3
    config = config_for(corpus, **whole | changes)
    train(config, tmp_path / "run", resume=resume, quiet=True)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["batch"] == config.batch
    train(config, tmp_path / "fresh", quiet=True)
    assert same_weights(tmp_path / "run", tmp_path / "fresh")
    assert log_of(tmp_path / "run") == log_of(tmp_path / "fresh")
    boards = [len(list((tmp_path / name / "tensorboard").iterdir())) for name in ("run", "fresh")]
    assert boards == [1, 1]


def test_a_run_with_a_checkpoint_or_a_model_is_kept(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "update", failing(CUDA, at=5))
    late = {"validate_every": 100, "checkpoint_every": 4}, {"validate_every": 3, "checkpoint_every": 100}
    for name, changes in zip(("checkpoint.pt", "best"), late, strict=True):
        run = tmp_path / name
        with pytest.raises(OutOfMemoryError):
            train(config_for(corpus, **changes), run, quiet=True)
        assert (run / name).exists()
        with pytest.raises(ValueError, match="another configuration: accumulate was 1, is 2"):
            train(config_for(corpus, accumulate=2, **changes), run, resume=True, quiet=True)
        with pytest.raises(ValueError, match="holds a run; --resume goes on with it"):
            train(config_for(corpus, **changes), run, quiet=True)


@pytest.mark.parametrize("content", ['{"architectures": ["Other"]}', "[1, 2]", "3"])
def test_a_config_json_of_something_else_is_never_overwritten(
    corpus: Path, tmp_path: Path, content: str
) -> None:
    kept = tmp_path / "config.json"
    kept.write_text(content)
    with pytest.raises(ValueError, match="holds a run; --resume goes on with it, or name another folder"):
        train(config_for(corpus), tmp_path, quiet=True)
    assert kept.read_text() == content


# --- a batch in parts


def frozen_norms(net: nn.Module) -> None:
    """Batch norm as in use, by statistics that are there, also while the net trains."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign, misc]


def gradients(corpus: Path, *, frozen: bool, **changes: Any) -> tuple[list[torch.Tensor], nn.Module]:
    """Of one step on mixed clips, and the net after it."""
    config = config_for(corpus, **RAW | {"mixing": "mix_training"} | changes)
    data = Pack(corpus)
    state = make_state(config, 3, CPU)
    if frozen:
        frozen_norms(state.net)
    live = LiveRunner(config, data, state.average, CPU, torch.float32)
    clips, _ = choose_clips(data, config)
    sampler = make_sampler(data, clips, config)
    batch = Batches(data, clips, sampler, samples=4096, label_set="labels", steps=range(1)).read(0)
    update(state, batch, 0.01, live, config)
    return [p.grad for p in state.net.parameters() if p.grad is not None], state.net


def distance(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    """Of a whole gradient from another, by the length of that one."""
    assert len(one) == len(other) > 20
    flat = [torch.cat([part.flatten() for part in parts]) for parts in (one, other)]
    return float((flat[0] - flat[1]).norm() / flat[1].norm())


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_parts_give_a_residual_net_the_gradient_of_the_whole_where_its_norms_are_fixed(
    corpus: Path, parts: int
) -> None:
    """To a hundred-thousandth of its length; where they are not, batch norm sees the parts: far from it."""
    whole, _ = gradients(corpus, frozen=True)
    split, _ = gradients(corpus, frozen=True, accumulate=parts)
    assert distance(split, whole) < 1e-5
    whole, net = gradients(corpus, frozen=False)
    split, net_split = gradients(corpus, frozen=False, accumulate=parts)
    assert distance(split, whole) > 0.5
    norms = [dict(one.named_buffers())["front.stem.1.running_var"] for one in (net, net_split)]
    assert not torch.allclose(*norms, rtol=1e-3)


def test_computing_blocks_twice_is_equal_with_batch_norm_too(corpus: Path) -> None:
    whole, net = gradients(corpus, frozen=False)
    twice, net_twice = gradients(corpus, frozen=False, checkpoint_activations=True)
    assert distance(twice, whole) == 0
    for one, other in zip(net.state_dict().values(), net_twice.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("batch", "accumulate", "sizes"),
    [(7, 3, [3, 2, 2]), (6, 4, [2, 2, 2]), (6, 6, [1] * 6), (9, 2, [5, 4]), (256, 4, [64] * 4), (5, 1, [5])],
)
def test_parts_are_as_equal_and_as_few_as_can_be(batch: int, accumulate: int, sizes: list[int]) -> None:
    parts = torch.arange(batch).tensor_split(parts_of(batch, accumulate))
    assert [len(part) for part in parts] == sizes


def test_no_part_is_larger_than_asked_for_and_none_a_single_clip_where_that_may_be() -> None:
    for batch in range(1, 70):
        for accumulate in range(1, batch + 1):
            sizes = [len(part) for part in torch.arange(batch).tensor_split(parts_of(batch, accumulate))]
            most = -(-batch // accumulate)
            assert max(sizes) <= most and sum(sizes) == batch and len(sizes) <= accumulate
            assert min(sizes) > 1 or most == 1 or (most == 2 and batch % 2)


def test_the_network_sees_those_parts_of_a_batch_that_was_mixed_whole(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, mixed = [], []
    plain_mix, plain_loss = steps.mix, steps.summed_loss
    monkeypatch.setattr(
        steps, "mix", lambda x, *rest, **how: (mixed.append(len(x)), plain_mix(x, *rest, **how))[1]
    )
    monkeypatch.setattr(
        steps, "summed_loss", lambda state, x, *rest: (seen.append(len(x)), plain_loss(state, x, *rest))[1]
    )
    gradients(corpus, frozen=False, batch=7, accumulate=3)
    assert (mixed, seen) == ([7], [3, 2, 2])


# --- one clip alone


@pytest.mark.parametrize(
    "changes", [{"mixing": "mix_training"}, {"mixing": "mixup"}, {"mixing": "between_class"}]
)
def test_one_clip_cannot_be_mixed(changes: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError,
        match=f"^batch is 1 and mixing is '{changes['mixing']}', which mixes each clip "
        "with another of its batch; expected a batch of at least 2, or mixing=none$",
    ):
        TrainConfig(data=Path("x"), steps=1, batch=1, **changes)


def test_one_clip_cannot_be_mixed_in_step_two_either_and_may_be_trained_on_as_it_is() -> None:
    start = TrainConfig(data=Path("x"), steps=1, finetune_steps=1)
    with pytest.raises(
        ValueError, match="batch is 1 and finetune_mixing is 'mixup', .* or finetune_mixing=none"
    ):
        configure(start, {"batch": "1", "finetune_mixing": "mixup"})
    assert configure(start, {"batch": "1"}).batch == 1


@pytest.mark.parametrize(
    ("changes", "came"),
    [
        ({"batch": 2, "accumulate": 2, **RAW, "window": 2048}, r"\(1, 2048\)"),
        ({"batch": 1, "window": 256, "hop": 256, **PLAIN}, r"\(1, 1, 1, 24\)"),
    ],
)
def test_too_little_for_batch_norm_is_said_of_what_came_in(
    corpus: Path, tmp_path: Path, changes: dict[str, Any], came: str
) -> None:
    """A residual net on its shortest waveform alone; the compact one on one frame, which leaves one place."""
    model = (
        {} if "model" in changes else {"model_arguments": {"stem": 8, "widths": [8] * 6, "blocks": [1] * 6}}
    )
    config = config_for(corpus, **{"mixing": "none"} | model | changes)
    with pytest.raises(
        ValueError,
        match=f"^{came} at a time leaves batch norm a single value to train on; expected "
        "more examples, or longer ones: set a larger batch, a smaller accumulate, or a larger window$",
    ):
        train(config, tmp_path / "run", quiet=True)


def test_a_part_of_one_clip_trains_a_net_without_batch_norm(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "tiny_plain", TinyPlain)
    config = config_for(corpus, model="tiny_plain", model_arguments={}, steps=3, accumulate=6)
    assert train(config, tmp_path / "run", quiet=True).is_dir()


# --- windows longer than the clips


def test_a_window_that_is_mostly_padding_is_said_once(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips of 1 s at 8 kHz; not again where the run goes on."""
    said = (
        "padding is 60% of what is trained on: half of the clips are no longer than 1 s, and an example is "
        "2.5 s; a shorter one wastes less, say --set window=8000 --set hop=8000"
    )
    config = config_for(corpus, window=20_000, hop=20_000, steps=6)
    with monkeypatch.context() as patched:
        patched.setattr(loop, "update", failing(CUDA, at=5))
        with pytest.raises(OutOfMemoryError):
            train(config, tmp_path / "run")
    assert capsys.readouterr().err.splitlines().count(said) == 1
    train(config, tmp_path / "run", resume=True)
    assert "padding" not in capsys.readouterr().err


@pytest.mark.parametrize("window", [4000, 8000, 16_000])
def test_nothing_is_said_where_clips_fill_half_of_a_window(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], window: int
) -> None:
    train(config_for(corpus, window=window, hop=window, steps=1), tmp_path / "run")
    assert "padding" not in capsys.readouterr().err


def test_the_share_is_of_the_clips_that_are_trained_on_and_a_few_short_ones_do_not_count() -> None:
    pack: Any = SimpleNamespace(rate=16_000, lengths=np.array([160_000] * 6 + [16_000] * 5))
    config = TrainConfig(data=Path("x"), steps=1, window=160_000)
    assert padding_in_words(pack, np.arange(11), config) == ""
    assert padding_in_words(pack, np.arange(1, 11), config) == "", "half of them do"
    words = padding_in_words(pack, np.arange(2, 11), config)
    assert words.startswith("padding is 50% of what is trained on: half of the clips are no longer than 1 s")
    assert words.endswith("say --set window=16000 --set hop=16000")


def test_of_embeddings_it_is_windows_that_are_counted() -> None:
    indptr = np.cumsum([0, 2, 2, 2, 10])
    pack: Any = SimpleNamespace(embeddings=lambda name: SimpleNamespace(indptr=indptr))
    config = TrainConfig(data=Path("x"), steps=1, embeddings="yamnet", embedding_windows=10)
    words = padding_in_words(pack, np.arange(4), config)
    assert "padding is 60%" in words and "2 windows, and an example is 10 windows" in words
    assert words.endswith("say --set embedding_windows=2")
