"""The network on raw waveforms: sizes by a second count, levels, lengths, first weights, refusals."""

import math
from pathlib import Path

import model_oracles as oracles
import numpy as np
import pytest
import torch
from torch import nn

from auricle.models import build, logits_and_embedding
from auricle.models.attention import logit_of_mean
from auricle.models.raw_waveform import RawWaveform
from auricle.models.size import count_multiplies, count_weights

TINY = {"num_classes": 3, "depth_2d": 18, "bands": 16, "width": 0.125}
# The full network with 527 labels on 10 s: weights and multiplies of each part.
PARTS = {
    "front": (701_024, 2_529_280_000),
    "body": (23_501_760, 25_669_935_104),
    "heads.0": (2_398_541, 576_240_082),
    "heads.1": (3_245_389, 422_272_530),
    "heads.2": (4_939_085, 346_559_026),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny() -> RawWaveform:
    torch.manual_seed(0)
    return RawWaveform(**TINY).eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def by_hand(
    *,
    depth_1d: int = 18,
    depth_2d: int = 50,
    stride: int = 64,
    bands: int = 128,
    hidden: int = 600,
    width: float = 1.0,
    labels: int = 527,
    samples: int = 160_000,
) -> dict[str, tuple[int, int]]:
    """Weights and multiplies of each part, from the tables of the papers and nothing else."""
    units = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
    half = lambda size: -(-size // 2)  # noqa: E731
    found: dict[str, tuple[int, int]] = {}
    total = [0, 0]

    def convolution(size_in: int, size_out: int, taps: int, places: int) -> None:
        total[0] += size_in * size_out * taps + 2 * size_out
        total[1] += size_in * size_out * taps * places

    channels, length = bands // 8, -(-samples // (stride // 16))
    convolution(1, channels, 80, length)
    length = half(length)
    for stage, count in enumerate(units[depth_1d]):
        out = bands // 8 << stage
        for unit in range(count):
            first = stage > 0 and unit == 0
            length = half(length) if first else length
            convolution(channels, out, 9, length)
            convolution(out, out, 9, length)
            if first:
                convolution(channels, out, 1, length)
            channels = out
    found["front"] = (total[0], total[1])

    total[:] = [0, 0]
    rows, columns = half(bands), half(length)
    channels = int(64 * width)
    convolution(1, channels, 49, rows * columns)
    rows, columns = half(rows), half(columns)
    ends = []
    for stage, count in enumerate(units[depth_2d]):
        inner = int(64 * width) << stage
        out = 4 * inner if depth_2d == 50 else inner
        for unit in range(count):
            before = rows * columns
            if stage > 0 and unit == 0:
                rows, columns = half(rows), half(columns)
            if depth_2d == 50:
                convolution(channels, inner, 1, before)
                convolution(inner, inner, 9, rows * columns)
                convolution(inner, out, 1, rows * columns)
            else:
                convolution(channels, out, 9, rows * columns)
                convolution(out, out, 9, rows * columns)
            if unit == 0 and (stage > 0 or channels != out):
                convolution(channels, out, 1, rows * columns)
            channels = out
        ends.append((channels, columns))
    found["body"] = (total[0], total[1])

    hidden = int(hidden * width)
    for level, (size, frames) in enumerate(ends[1:]):
        matrices = 2 * size * labels + size * hidden + hidden * hidden + 2 * hidden * labels
        biases = 4 * labels + 2 * hidden + labels
        found[f"heads.{level}"] = (
            matrices + 2 * labels * labels + biases,
            matrices * frames + 2 * labels * labels,
        )
    return found


def count_parts(net: RawWaveform) -> dict[str, tuple[int, int]]:
    samples = torch.zeros(1, *net.input_shape, device="meta")
    features = net.front(samples)
    maps = net.body(features[:, None])
    counted = {
        "front": (count_weights(net.front), count_multiplies(net.front, net.input_shape)),
        "body": (count_weights(net.body), count_multiplies(net.body, (1, *features.shape[1:]))),
    }
    for level, (head, part) in enumerate(zip(net.heads, maps[1:], strict=True)):
        counted[f"heads.{level}"] = (count_weights(head), count_multiplies(head, tuple(part.shape[1:])))
    return counted


def on_meta(**arguments: object) -> RawWaveform:
    with torch.device("meta"):
        return RawWaveform(**{"num_classes": 527} | arguments).eval()


def test_the_full_network_has_the_weights_and_multiplies_of_a_count_by_hand() -> None:
    net = on_meta()
    assert count_parts(net) == by_hand() == PARTS
    whole = (count_weights(net), count_multiplies(net, net.input_shape))
    assert whole == tuple(sum(part) for part in zip(*PARTS.values(), strict=True))
    assert round(PARTS["body"][1] / 1e9, 1) == 25.7


@pytest.mark.parametrize(
    "arguments",
    [
        {"stride": 128},
        {"depth_1d": 34},
        {"depth_2d": 18},
        {"depth_1d": 34, "depth_2d": 34, "bands": 64, "hidden": 800},
        {"depth_2d": 18, "bands": 64, "width": 0.5, "hidden": 608},
    ],
)
def test_siblings_are_counted_alike(arguments: dict[str, object]) -> None:
    assert count_parts(on_meta(**arguments)) == by_hand(**arguments)
    odd = on_meta(**arguments, input_shape=(80_001,))
    assert count_parts(odd) == by_hand(**arguments, samples=80_001)


def test_ten_seconds_are_128_features_of_2500_frames_and_1250_in_the_variant() -> None:
    with torch.inference_mode():
        assert RawWaveform(num_classes=1, width=0.125).front(noise(1, 160_000)).shape == (1, 128, 2500)
    assert on_meta(stride=128).front(torch.zeros(1, 160_000, device="meta")).shape == (1, 128, 1250)
    maps = on_meta().body(torch.zeros(1, 1, 128, 2500, device="meta"))
    ends = [(256, 32, 625), (512, 16, 313), (1024, 8, 157), (2048, 4, 79)]
    assert [tuple(one.shape[1:]) for one in maps] == ends


@pytest.mark.parametrize("stride", [64, 128])
def test_frames_are_samples_over_the_stride_rounded_up(stride: int) -> None:
    front = on_meta(stride=stride).front
    for samples in (1, stride - 1, stride, stride + 1, 2048, 8191, 160_001, 160_063):
        frames = front(torch.zeros(1, samples, device="meta")).shape[2]
        assert frames == math.ceil(samples / stride), samples


@pytest.mark.parametrize(
    "depths",
    [
        {"depth_1d": 34, "depth_2d": 18},
        {"depth_1d": 18, "depth_2d": 34, "stride": 128},
        {"depth_1d": 18, "depth_2d": 50},
    ],
)
def test_all_levels_in_order_and_their_mean_agree_with_a_second_implementation(
    depths: dict[str, int],
) -> None:
    net = oracles.frozen("raw_waveform", input_shape=(8191,), **depths)
    x = oracles.frozen_input(net)
    with torch.inference_mode():
        levels, mean = net.forward_all(x), net(x)
    expected = oracles.raw_levels(x, oracles.weights_of(net), **depths)
    assert len(levels) == len(expected) == 3
    for ours, theirs in zip(levels, expected, strict=True):  # 34 layers of shortcuts grow what float32 rounds
        torch.testing.assert_close(ours, torch.from_numpy(theirs).float(), rtol=0, atol=2e-3)
    assert min((levels[i] - levels[j]).abs().max() for i, j in ((0, 1), (1, 2), (0, 2))) > 0.1
    other = oracles.raw_waveform(x, oracles.weights_of(net), **depths)
    torch.testing.assert_close(mean, other, rtol=0, atol=2e-3)


def test_the_front_agrees_with_convolutions_written_frame_by_frame() -> None:
    net = oracles.frozen("raw_waveform")
    x = oracles.frozen_input(net)
    with torch.inference_mode():
        features = net.front(x).double().numpy()

    def error(fault: str) -> float:
        theirs = oracles.raw_front(x.double().numpy(), oracles.weights_of(net), fault, depth=18, stride=64)
        return float(np.abs(theirs - features).max() / np.abs(features).max())

    assert error("") < 1e-5
    assert error("stem not centred") > 0.05


def test_the_output_is_the_mean_of_three_probabilities_as_a_logit(tiny: RawWaveform) -> None:
    x = noise(4, 8000)
    levels = tiny.forward_all(x)
    mean = sum(logits.sigmoid() for logits in levels) / 3
    torch.testing.assert_close(tiny(x), torch.log(mean / (1 - mean)))
    logits, embedding = logits_and_embedding(tiny, x)
    assert torch.equal(logits, tiny(x)) and torch.equal(embedding, tiny.embed(x))
    assert embedding.shape == (4, tiny.embedding_size) == (4, 64)
    assert (tiny.embed(x) >= 0).all(), "a mean of what a ReLU left"
    assert logits.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert tiny(x).dtype == torch.float32
    assert logit_of_mean(torch.full((1, 1), torch.inf), 0.0, 0).isfinite().all()


def test_both_outputs_cost_one_pass(tiny: RawWaveform, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    forward = type(tiny.front).forward

    def counted(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        passes.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(type(tiny.front), "forward", counted)
    logits_and_embedding(tiny, noise(2, 8000))
    assert passes == [2]


@pytest.mark.parametrize("samples", [2048, 2049, 4095, 8191, 24_001])
def test_clips_of_any_length_score_the_same_alone_and_in_a_batch(tiny: RawWaveform, samples: int) -> None:
    batch = noise(3, samples)
    logits = tiny(batch)
    assert logits.shape == (3, 3) and logits.isfinite().all()
    for number in range(3):
        alone = tiny(batch[number : number + 1])  # by other kernels than a batch, on some processors
        torch.testing.assert_close(logits[number : number + 1], alone, rtol=1e-4, atol=1e-4)


def test_the_first_and_the_last_sample_are_heard() -> None:
    net = oracles.frozen("raw_waveform")
    for samples in (8000, 8001, 8063):
        base = noise(1, samples)
        for place in (0, -1):
            changed = base.clone()
            changed[0, place] += 20
            assert not torch.equal(net(base), net(changed)), (samples, place)


def test_silence_and_loud_noise_give_finite_logits_in_training_and_after() -> None:
    torch.manual_seed(0)
    net = RawWaveform(**TINY)
    for training in (True, False):
        net.train(training)
        for level in (0.0, 1e-4, 1.0, 100.0):
            assert net(level * noise(2, 8000)).isfinite().all()


@pytest.mark.parametrize(
    ("shape", "dtype", "said"),
    [
        ((2, 2047), torch.float32, r"\(2, 2047\) float32"),
        ((2, 0), torch.float32, r"\(2, 0\) float32"),
        ((2, 2, 16_000), torch.float32, r"\(2, 2, 16000\) float32"),
        ((16_000,), torch.float32, r"\(16000,\) float32"),
        ((), torch.float32, r"\(\) float32"),
        ((2, 16_000), torch.int16, r"\(2, 16000\) int16"),
    ],
)
def test_wrong_input_is_refused_with_what_came_and_what_was_expected(
    tiny: RawWaveform, shape: tuple[int, ...], dtype: torch.dtype, said: str
) -> None:
    x = torch.zeros(shape, dtype=dtype)
    for call in (tiny, tiny.embed, tiny.forward_all, tiny.forward_both):
        with pytest.raises(
            ValueError,
            match=rf"^expected waveforms \(B, N\) float32, mono, N at least 2048 samples, got {said}$",
        ):
            call(x)


@pytest.mark.parametrize("training", [True, False])
def test_an_empty_batch_is_refused(training: bool) -> None:
    net = RawWaveform(**TINY).train(training)
    with pytest.raises(ValueError, match=r"^expected at least one waveform \(B, N\), got \(0, 8000\)$"):
        net(torch.zeros(0, 8000))


def test_in_training_the_shortest_waveform_alone_is_too_little_for_batch_norm() -> None:
    """One place of the last map; two waveforms, a longer one, more bands, or use after training will do."""
    net = RawWaveform(**TINY)
    said = r"^expected more than one waveform \(B, N\) in training, or longer ones: batch norm cannot train "
    with pytest.raises(ValueError, match=said + r"on a last map of 1 x 1, got \(1, 2048\)$"):
        net(noise(1, 2048))
    for batch, samples in ((2, 2048), (1, 2049)):
        assert net(noise(batch, samples)).isfinite().all()
    assert RawWaveform(**TINY | {"bands": 40})(noise(1, 2048)).isfinite().all()
    assert net.eval()(noise(1, 2048)).isfinite().all()


def test_the_variant_needs_twice_as_many_samples() -> None:
    net = RawWaveform(**TINY | {"stride": 128}).eval()
    assert net.shortest == 4096 and net(noise(1, 4096)).isfinite().all()
    with pytest.raises(ValueError, match="N at least 4096 samples, got "):
        net(noise(1, 4095))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth_1d": 50}, "depth_1d is 50; expected one of 18, 34"),
        ({"depth_2d": 101}, "depth_2d is 101; expected one of 18, 34, 50"),
        ({"stride": 32}, "stride is 32; expected one of 64, 128"),
        ({"bands": 60}, "bands is 60; expected a multiple of 8"),
        ({"bands": 0}, "bands is 0; expected a multiple of 8"),
        ({"hidden": 0}, "at least one class and one unit, got 3 and 0"),
        ({"num_classes": 0}, "at least one class and one unit, got 0 and 600"),
        ({"squash": "tanh"}, "squash is 'tanh'; known: sigmoid, softmax"),
        ({"width": 0}, "width is 0; expected a number above 0"),
        ({"input_shape": (2047,)}, r"input_shape is \(2047,\); expected \(N,\), N at least 2048"),
        ({"input_shape": (1, 16_000)}, r"input_shape is \(1, 16000\); expected \(N,\)"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("raw_waveform", **TINY | arguments)


@pytest.mark.parametrize("labels", [1, 3, 50])
def test_every_level_begins_near_absent_with_modules_that_decide(labels: int) -> None:
    torch.manual_seed(0)
    net = RawWaveform(**TINY | {"num_classes": labels})
    for logits in net.forward_all(noise(8, 16_000)):
        assert (logits + 4).abs().max() < 1
    for head in net.heads:
        certain = torch.eye(labels).repeat(1, 2)  # both modules sure of one class, and of no other
        present = head.last(certain + 0.5 * (1 - torch.eye(labels)).repeat(1, 2)).diagonal()
        absent = head.last(0.5 * (1 - torch.eye(labels)).repeat(1, 2)).diagonal()
        assert present.min() > -2 and absent.max() < -6 and (present - absent > 8).all()


def test_the_loss_of_a_toy_problem_falls_at_every_level() -> None:
    """Two tones; the mean of the three losses, as in training."""
    torch.manual_seed(0)
    net = RawWaveform(**TINY | {"num_classes": 2})
    time = torch.arange(4096) / 16_000
    labels = torch.tensor([0, 1] * 4)
    tones = torch.sin(2 * torch.pi * torch.tensor([400.0, 3000.0])[labels][:, None] * time)
    x = 0.3 * tones + 0.05 * noise(8, 4096)
    targets = nn.functional.one_hot(labels).float()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    cost = nn.functional.binary_cross_entropy_with_logits
    history = []
    for _ in range(40):
        losses = torch.stack([cost(logits, targets) for logits in net.forward_all(x)])
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        history.append(losses.detach())
    assert (history[-1] < 0.3 * history[0]).all()
    assert ((net(x) > 0) == targets.bool()).all()


def test_a_weight_of_the_stem_lies_where_it_is_looked_for() -> None:
    net = on_meta(bands=64)
    assert net.state_dict()["front.stem.0.weight"].shape == (8, 1, 80)
    assert isinstance(net.front.stem[0], nn.Conv1d)


def test_the_tables_in_the_documentation_are_what_is_counted() -> None:
    text = (Path(__file__).parents[1] / "docs" / "models.md").read_text()
    for name, arguments in (("raw_waveform", {}), ("raw_waveform, `stride=128`", {"stride": 128})):
        net = on_meta(**arguments)
        kernels, multiplies = count_weights(net, kernels_only=True), count_multiplies(net, net.input_shape)
        assert f"| {name} | {count_weights(net):,} | {kernels:,} | {multiplies:,} |" in text
    heads = [sum(PARTS[f"heads.{level}"][i] for level in range(3)) for i in (0, 1)]
    for part, counts in (("1D ResNet", PARTS["front"]), ("2D ResNet", PARTS["body"]), ("three heads", heads)):
        assert f"| {part} | {counts[0]:,} | {counts[1]:,} |" in text
