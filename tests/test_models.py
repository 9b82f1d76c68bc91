"""One contract over all models: stated sizes, head on embedding, no leak between clips, gradients."""

import copy

import pytest
import torch
from torch import nn

from auricle.models import MODELS, build, describe_models
from auricle.models.size import count_multiplies, count_weights

# name -> (all trainable weights, kernels and matrices only, multiplies), with 50 labels
SIZES = {"compact": (1_529_988, 1_526_512, 126_488_064)}
NAMES = sorted(MODELS)


def example(name: str, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, *MODELS[name].input_shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_model_has_a_row_of_sizes() -> None:
    assert set(SIZES) == set(MODELS) and MODELS


def test_sizes_are_as_stated(name: str) -> None:
    net = build(name, num_classes=50)
    counted = (
        count_weights(net),
        count_weights(net, kernels_only=True),
        count_multiplies(net, MODELS[name].input_shape),
    )
    assert counted == SIZES[name]


def test_compact_keeps_its_promise_of_two_million_weights() -> None:
    assert count_weights(build("compact", num_classes=527)) < 2_000_000


def test_multiplies_agree_with_a_count_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, groups=1), nn.Flatten(), nn.Linear(4 * 3 * 3, 5))
    assert count_multiplies(net, (1, 7, 7)) == 4 * 3 * 3 * 9 + 36 * 5


def test_forward_is_head_of_embed(name: str) -> None:
    net = build(name, num_classes=7).eval()
    logits, embedding = net(example(name)), net.embed(example(name))
    assert logits.shape == (2, 7) and embedding.shape == (2, net.embedding_size)
    assert torch.equal(logits, net.head(embedding))
    assert (logits < 0).any() or (logits > 1).any(), "logits, not probabilities"


def test_a_clip_scores_the_same_alone_and_in_a_batch(name: str) -> None:
    net = build(name, num_classes=7).eval()
    batch = example(name, 3)
    assert torch.allclose(net(batch)[1:2], net(batch[1:2]), atol=1e-5)


def test_every_parameter_gets_a_gradient(name: str) -> None:
    net = build(name, num_classes=7)
    net(example(name)).square().sum().backward()
    silent = [key for key, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent


def test_weights_loaded_give_equal_logits(name: str) -> None:
    net = build(name, num_classes=7).eval()
    other = build(name, num_classes=7).eval()
    assert not torch.equal(net(example(name)), other(example(name)))
    other.load_state_dict(copy.deepcopy(net.state_dict()))
    assert torch.equal(net(example(name)), other(example(name)))


def test_all_inputs_matter(name: str) -> None:
    """A change anywhere in the patch changes the logits: no frame or band is cut off."""
    net = build(name, num_classes=7).eval()
    base = example(name, 1)
    for place in ((0, 0), (-1, -1), (0, -1), (-1, 0)):
        changed = base.clone()
        changed[0, 0][place] += 20
        assert not torch.equal(net(base), net(changed)), place


@pytest.mark.parametrize(("frames", "bands"), [(16, 64), (98, 64), (97, 63), (500, 128), (1, 1)])
def test_compact_takes_any_size(frames: int, bands: int) -> None:
    assert build("compact", num_classes=3).eval()(torch.zeros(1, 1, frames, bands)).isfinite().all()


def test_a_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"expected log-mel \(B, 1, T, F\), got \(2, 98, 64\)"):
        build("compact", num_classes=3)(torch.zeros(2, 98, 64))


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match="unknown model 'resnet9000'; known: .*compact"):
        build("resnet9000", num_classes=3)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="does not take these arguments"):
        build("compact", num_classes=3, depth=50)
    with pytest.raises(ValueError, match="as many widths as blocks"):
        build("compact", num_classes=3, widths=(8, 8))


def test_descriptions_are_counted() -> None:
    row = next(row for row in describe_models(num_classes=50) if row["name"] == "compact")
    assert (row["weights"], row["kernel_weights"], row["multiplies"]) == SIZES["compact"]
    assert row["input"] == "logmel 1 x 198 x 64" and row["source"] == "our own"
