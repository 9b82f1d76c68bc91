"""The networks for urban sounds: sizes as the report's tables give them, maps, pairs of inputs, refusals."""

import json

import model_oracles as oracles
import pytest
import torch
from torch import nn

from auricle.models import build, describe_models, logits_and_embedding
from auricle.models.size import count_multiplies, count_weights, shape_in_words, zeros
from auricle.models.urban_cnn import LEAST
from auricle.models.urban_fusion import Bilinear, UrbanFusion

SHAPES = ((1, 862, 128), (10, 128))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def on_meta(name: str, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return build(name, **arguments)


def pair(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(batch, *shape, generator=generator) for shape in SHAPES)  # type: ignore[return-value]


def table_1(bands: int = 1) -> int:
    """Weights of the six blocks, by hand: kernels, biases, two of batch norm a channel."""
    rows = [(1, 8, 1), (8, 16, 9), (16, 32, 16 * 128), (32, 64, 25), (64, 128, 25), (128, 256, 9)]
    return sum(size_in * size_out * area + 3 * size_out for size_in, size_out, area in rows)


@pytest.mark.parametrize(
    ("fusion", "joint", "published"),
    [
        ("bilinear", 256 * 1280 * 512 + 512, 169_517_205),
        ("concatenation", 1536 * 512 + 512, 2_531_477),
    ],
)
def test_the_weights_of_table_2_are_the_published_ones(fusion: str, joint: int, published: int) -> None:
    layers = joint + 2 * 512 + 512 * 256 + 256 + 2 * 256 + 256 * 37 + 37
    net = on_meta("urban_fusion", num_classes=37, fusion=fusion)
    assert count_weights(net) == table_1() + layers == published
    assert net.embedding_size == 256 and count_weights(on_meta("urban_cnn", num_classes=37)) == (
        table_1() + 256 * 37 + 37
    )


def test_the_table_of_models_has_both_ways_to_fuse_and_what_they_take() -> None:
    rows = {
        json.dumps([row["name"], row["arguments"]]): row
        for row in describe_models(num_classes=37, variants=True)
    }
    bilinear = rows[json.dumps(["urban_fusion", {"fusion": "bilinear"}])]
    plain = rows[json.dumps(["urban_fusion", {}])]
    assert (bilinear["weights"], plain["weights"]) == (169_517_205, 2_531_477)
    assert plain["input"] == "logmel 1 x 862 x 128 + embedding 10 x 128"
    assert bilinear["multiplies"] - plain["multiplies"] == 512 * (256 * 1280 - 1536)
    assert "Tompkins and Nichols" in plain["source"]
    vggish = rows[json.dumps(["vggish", {"input_shape": (1, 862, 128)}])]
    assert vggish["weights"] == 911_006_757


def test_multiplies_of_a_pair_agree_with_a_count_by_hand() -> None:
    maps = [(128, 862), (128, 862), (33, 48), (3, 5), (1, 2), (1, 1)]
    rows = [(1, 8, 1), (8, 16, 9), (16, 32, 16 * 128), (32, 64, 25), (64, 128, 25), (128, 256, 9)]
    blocks = sum(h * w * a * b * area for (h, w), (a, b, area) in zip(maps, rows, strict=True))
    above = 1536 * 512 + 512 * 256 + 256 * 37
    assert count_multiplies(on_meta("urban_fusion", num_classes=37), SHAPES) == blocks + above
    assert (
        count_multiplies(on_meta("urban_fusion", num_classes=37), json.loads(json.dumps(SHAPES)))
        == blocks + above
    )
    assert count_multiplies(nn.Linear(3, 2), (3,)) == 6
    assert shape_in_words("waveform", (160_000,)) == "waveform 160000"
    assert zeros((3,), 2).shape == (2, 3)


def test_blocks_stand_in_the_order_of_the_release() -> None:
    kinds = [type(layer).__name__ for layer in on_meta("urban_cnn", num_classes=3).features]
    block = ["Conv2d", "BatchNorm2d", "ReLU", "MapDropout"]
    pooled = ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "MapDropout"]
    assert kinds == block * 2 + pooled + block * 3
    net = build("urban_fusion", num_classes=3)
    assert {layer.p for layer in net.features if isinstance(layer, nn.Dropout)} == {0.5}
    assert {layer.p for layer in net.layers if isinstance(layer, nn.Dropout)} == {0.2}
    net = build("urban_fusion", num_classes=3, dropout=0.1, dense_dropout=0.0)
    assert {layer.p for layer in net.features if isinstance(layer, nn.Dropout)} == {0.1}
    assert {layer.p for layer in net.layers if isinstance(layer, nn.Dropout)} == {0.0}


def test_bilinear_is_the_sum_over_pairs_of_values() -> None:
    net = oracles.frozen("urban_fusion", fusion="bilinear", width=0.05, input_shape=((1, 862, 128), (2, 8)))
    x = oracles.frozen_input(net)
    with torch.inference_mode():
        other = oracles.urban_fusion(x, oracles.weights_of(net))
        torch.testing.assert_close(net(x), other, rtol=1e-4, atol=1e-4)
    layer, one, two = Bilinear(5, 7, 3), torch.randn(4, 5), torch.randn(4, 7)
    by_hand = torch.einsum("bi,kij,bj->bk", one, layer.weight, two) + layer.bias
    torch.testing.assert_close(layer(one, two), by_hand)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (layer(one, two) - by_hand).norm() < 0.05 * by_hand.norm()


def test_a_trained_cnn_fits_into_the_fusion_by_the_names_of_its_weights() -> None:
    cnn, fusion = (on_meta(name, num_classes=3).state_dict() for name in ("urban_cnn", "urban_fusion"))
    shared = [name for name in cnn if name in fusion and cnn[name].shape == fusion[name].shape]
    assert [name for name in cnn if name not in shared] == []
    assert len([name for name in shared if name.startswith("features.")]) == 6 * 7


def test_other_embeddings_are_an_argument_and_vggishs_are_scaled_where_asked() -> None:
    net = build("urban_fusion", num_classes=3, width=0.25, input_shape=[[1, 862, 128], [10, 1024]]).eval()
    assert net.input_shape == ((1, 862, 128), (10, 1024))
    assert net((torch.zeros(1, 1, 862, 128), torch.zeros(1, 10, 1024))).shape == (1, 3)
    torch.manual_seed(0)
    raw = build("urban_fusion", num_classes=3, width=0.25).eval()
    scaled = build("urban_fusion", num_classes=3, width=0.25, quantised=True).eval()
    scaled.load_state_dict(raw.state_dict())
    logmel, embedding = pair(1)
    whole = (embedding * 30 + 128).clamp(0, 255).round()
    assert torch.equal(scaled((logmel, whole.to(torch.uint8))), raw((logmel, (whole - 128) / 128)))
    assert torch.equal(raw((logmel, whole.to(torch.uint8))), raw((logmel, whole)))


def test_longer_clips_are_averaged_and_short_ones_refused() -> None:
    net = build("urban_cnn", num_classes=3, width=0.25, input_shape=(1, 1800, 128)).eval()
    assert net.features(torch.zeros(1, 1, 128, 1800)).shape[2:] == (1, 3)
    assert net.embed(torch.zeros(1, 1, 1800, 128)).shape == (1, net.embedding_size)
    frames, bands = LEAST
    small = build("urban_cnn", num_classes=3, width=0.25, input_shape=(1, frames, bands)).eval()
    assert small(torch.zeros(1, 1, frames, bands)).shape == (1, 3)
    for shape in ((1, frames - 1, bands), (1, frames, bands - 1)):
        with pytest.raises(ValueError, match=f"at least {frames} frames and {bands} bands"):
            build("urban_cnn", num_classes=3, input_shape=shape)


def test_frequency_lies_first() -> None:
    """A kernel of block 3 spans 16 bands and 128 frames."""
    net = build("urban_cnn", num_classes=3)
    assert net.features[8].kernel_size == (16, 128) and net.features[8].stride == (4, 16)
    seen: list[tuple[int, ...]] = []
    net.features[8].register_forward_hook(lambda _, x, y: seen.append((*x[0].shape[2:], *y.shape[2:])))
    net.eval()(torch.zeros(1, 1, 862, 128))
    assert seen == [(128, 862, 33, 48)]


@pytest.mark.parametrize("width", [0.05, 0.25, 0.5, 1.0])
def test_bfloat16_makes_the_same_numbers_at_any_width(width: float) -> None:
    """oneDNN's bfloat16 convolution of block 3 does not for 8 channels, so no width leaves so few."""
    net = oracles.frozen("urban_cnn", width=width)
    x = oracles.frozen_input(net)
    with torch.inference_mode():
        plain = net(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert (net(x) - plain).norm() < 0.1 * plain.norm()


@pytest.mark.parametrize("shape", [(1, 862, 128), (1, *LEAST)])
def test_gradients_in_bfloat16_are_those_of_float32(shape: tuple[int, ...]) -> None:
    net = oracles.frozen("urban_cnn", width=0.25, dropout=0.0, input_shape=shape)
    x = oracles.frozen_input(net, batch=3)
    gradients = []
    for enabled in (False, True):
        net.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            logits = net(x)
        logits.float().square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None})
    for name, plain in gradients[0].items():
        assert (gradients[1][name] - plain).norm() < 0.25 * plain.norm(), name


def test_both_outputs_of_a_pair_come_in_one_pass() -> None:
    net = build("urban_fusion", num_classes=3, width=0.25).eval()
    logits, embedding = logits_and_embedding(net, pair())
    assert torch.equal(logits, net(pair())) and torch.equal(embedding, net.embed(pair()))
    assert logits.shape == (2, 3) and (embedding >= 0).all()
    assert torch.equal(net(list(pair())), logits)


def test_vggish_stands_over_a_whole_clip_too() -> None:
    net = build("vggish", num_classes=3, width=0.05, input_shape=(1, 862, 128)).eval()
    assert net.features(torch.zeros(1, 1, 862, 128)).shape[2:] == (53, 8)
    assert net(torch.zeros(1, 1, 862, 128)).shape == (1, 3)
    with pytest.raises(
        ValueError, match=r"expected log-mel patches \(B, 1, 862, 128\), got \(1, 1, 96, 64\)"
    ):
        net(torch.zeros(1, 1, 96, 64))
    with pytest.raises(ValueError, match="at least 16 frames and 16 bands"):
        build("vggish", num_classes=3, input_shape=(1, 15, 64))
    quarter = on_meta("vggish", num_classes=37, width=0.25, input_shape=(1, 862, 128))
    assert (
        count_weights(quarter) == 57_042_789 and count_weights(quarter.embedding[0]) == 54_272 * 1024 + 1024
    )
    assert count_weights(on_meta("vggish", num_classes=0)) == 72_141_184


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(2, 1, 862, 128), "expected a pair of tensors, (log-mel, embeddings), got Tensor"),
        ((torch.zeros(2, 1, 862, 128),), "(log-mel, embeddings), got 1 of them"),
        ((torch.zeros(2, 1, 862, 128), None), "expected a pair of tensors"),
        (
            (torch.zeros(2, 10, 128), torch.zeros(2, 1, 862, 128)),
            "expected log-mel (B, 1, 862, 128) and embeddings (B, 10, 128) of the same B clips, "
            "got (2, 10, 128) and (2, 1, 862, 128)",
        ),
        ((torch.zeros(2, 1, 862, 128), torch.zeros(2, 10, 127)), "got (2, 1, 862, 128) and (2, 10, 127)"),
        ((torch.zeros(2, 1, 128, 862), torch.zeros(2, 10, 128)), "got (2, 1, 128, 862) and (2, 10, 128)"),
        ((torch.zeros(2, 1, 862, 128), torch.zeros(3, 10, 128)), "got (2, 1, 862, 128) and (3, 10, 128)"),
        ((torch.zeros(()), torch.zeros(())), "got () and ()"),
    ],
)
def test_what_is_no_pair_of_the_right_shapes_is_named(inputs: object, message: str) -> None:
    net = build("urban_fusion", num_classes=3, width=0.25)
    with pytest.raises(ValueError) as refused:
        net(inputs)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("urban_fusion", {"fusion": "sum"}, "fusion is 'sum'; known: concatenation, bilinear"),
        ("urban_fusion", {"input_shape": (1, 862, 128)}, "input_shape is (1, 862, 128); expected a list"),
        ("urban_fusion", {"input_shape": ((1, 862, 128), (10,))}, "expected ((1, T, F), (W, D))"),
        ("urban_fusion", {"input_shape": ((1, 862, 128), (0, 128))}, "W and D at least 1"),
        ("urban_fusion", {"input_shape": ((1, 96, 64), (10, 128))}, "at least 784 frames and 108 bands"),
        ("urban_fusion", {"dense_dropout": 1.0}, "dense_dropout is 1.0; expected a share from 0 to below 1"),
        ("urban_cnn", {"dropout": -0.1}, "dropout is -0.1; expected a share from 0 to below 1"),
        ("urban_cnn", {"input_shape": (128, 862)}, "input_shape is (128, 862); expected (1, T, F)"),
        ("urban_cnn", {"num_classes": 0}, "num_classes is 0; expected at least 1"),
    ],
)
def test_arguments_that_cannot_work_are_refused(name: str, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        build(name, **{"num_classes": 3} | arguments)
    assert message in str(refused.value)


def test_one_clip_alone_is_not_trained_on() -> None:
    fusion, cnn = (build(name, num_classes=3, width=0.25) for name in ("urban_fusion", "urban_cnn"))
    for run in (lambda: fusion(pair(1)), lambda: cnn(pair(1)[0])):
        with pytest.raises(
            ValueError, match=r"expected more than one clip in training.*got \(1, 1, 862, 128\)"
        ):
            run()
    assert isinstance(fusion, UrbanFusion) and fusion.eval()(pair(1)).shape == (1, 3)
