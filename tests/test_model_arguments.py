"""What a network is built with and what it is given: another kind, nothing, too little; in clear words."""

from pathlib import Path
from typing import Any

import pytest
import torch

from auricle.models import build
from auricle.training import TrainConfig, configure
from auricle.training.state import make_state


@pytest.mark.parametrize(
    ("name", "argument", "said"),
    [
        ("raw_waveform", {"bands": 8.0}, "bands is 8.0; expected a whole number"),
        ("raw_waveform", {"bands": "64"}, "bands is '64'; expected a whole number"),
        ("raw_waveform", {"bands": True}, "bands is True; expected a whole number"),
        ("raw_waveform", {"bands": None}, "bands is None; expected a whole number"),
        ("raw_waveform", {"width": "0.5"}, "width is '0.5'; expected a number"),
        ("raw_waveform", {"squash": 3}, "squash is 3; expected a word"),
        ("raw_waveform", {"input_shape": 8000}, "input_shape is 8000; expected a list, each a whole number"),
        ("raw_waveform", {"input_shape": "80"}, "input_shape is '80'; expected a list, each a whole number"),
        ("compact", {"widths": [8, 16.5]}, r"widths is \[8, 16.5\]; expected a list, each a whole number"),
        ("resnet50", {"bottleneck": "8"}, r"bottleneck is '8'; expected a whole number or nothing \(null\)"),
        ("inception_v3", {"full_stem": "yes"}, "full_stem is 'yes'; expected true or false"),
    ],
)
def test_an_argument_of_another_kind_is_named(name: str, argument: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^model '{name}': {said}$"):
        build(name, num_classes=3, **argument)


def test_the_same_of_settings() -> None:
    start = TrainConfig(data=Path("x"), steps=1, model="raw_waveform")
    config = configure(start, {"model_arguments.bands": "8.0"})
    with pytest.raises(ValueError, match="^model 'raw_waveform': bands is 8.0; expected a whole number$"):
        make_state(config, 3, torch.device("cpu"))


def test_what_is_of_its_kind_is_taken() -> None:
    assert build("compact", num_classes=3, widths=(8, 16), blocks=[1, 1], dropout=0).num_classes == 3
    assert build("vgg", num_classes=3, width=0.1, bottleneck=None).num_classes == 3


@pytest.mark.parametrize("shape", [(1, 1, 0, 64), (2, 1, 98, 0)])
@pytest.mark.parametrize("training", [True, False])
def test_a_log_mel_of_nothing_is_refused(training: bool, shape: tuple[int, ...]) -> None:
    net = build("compact", num_classes=3).train(training)
    with pytest.raises(ValueError, match="^expected log-mel .* of at least one frame and band, got "):
        net(torch.zeros(shape))


def test_one_place_alone_is_too_little_to_train_on() -> None:
    net = build("compact", num_classes=3)
    said = (
        "of more than one clip in training, or longer ones: batch norm cannot train on a last map of 1 x 1, "
    )
    for frames, bands in ((1, 1), (4, 4), (32, 16)):
        with pytest.raises(ValueError, match=said + rf"got \(1, 1, {frames}, {bands}\)$"):
            net(torch.randn(1, 1, frames, bands))
    for shape in ((2, 1, 1, 1), (1, 1, 33, 16), (1, 1, 32, 17), (1, 1, 1, 64)):
        assert net(torch.randn(shape)).isfinite().all(), "what is not refused, is trained on"
    assert net.eval()(torch.randn(1, 1, 1, 1)).isfinite().all()


@pytest.mark.parametrize("name", ["single_attention", "multi_attention"])
def test_one_window_alone_is_too_little_to_train_on(name: str) -> None:
    net = build(name, num_classes=3, width=0.1)
    with pytest.raises(ValueError, match=r"batch norm cannot train on a single one, got \(1, 1, 128\)$"):
        net(torch.randn(1, 1, 128))
    assert net(torch.randn(2, 1, 128)).isfinite().all() and net(torch.randn(1, 2, 128)).isfinite().all()
    assert net.eval()(torch.randn(1, 1, 128)).isfinite().all()
