"""Each published network a second time: slow, plain functions from the papers' tables, and frozen weights.

`frozen` fills a network with numbers that depend on nothing but the names and shapes of its parameters:
He-scaled, so that a fault in a layer reaches the logits, from NumPy's legacy stream, which never changes.
An oracle takes such a network's weights one by one, in the order of its table, and computes the logits
without its modules; a fault can be planted in it by name, to see that the comparison would notice.

`python tests/model_oracles.py` writes tests/golden/models.json anew, for when an architecture is meant to
change.
"""

import itertools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mobile_oracles import MOBILE_ORACLES
from panns_oracles import PANNS_ORACLES
from torch import Tensor, nn

from auricle.models import MODELS, build

GOLDEN = Path(__file__).parent / "golden" / "models.json"
SMALL: dict[str, dict[str, object]] = {name: {} if name == "compact" else {"width": 0.25} for name in MODELS}
SMALL["raw_waveform"] |= {"bands": 16, "input_shape": (8000,)}
for panns in PANNS_ORACLES:  # an odd number of frames, so that every average leaves some out
    SMALL[panns] = {"width": 0.125, "input_shape": (1, 133, 64)}
SMALL["wavegram_logmel_cnn14"]["input_shape"] = (21_000,)
SMALL["mn"]["input_shape"] = SMALL["dymn"]["input_shape"] = (1, 205, 128)
# Without it 24 blocks of shortcuts would grow signals until every attention and probability is 0 or 1.
VARIANCE = {"raw_waveform": 1.5, "mn": 1.3, "dymn": 1.1}
# Batch norms add about that: 15 blocks would else make all clips alike, or grow what is left of them.
SHIFT = {"mn": 1.0, "dymn": 1.0, "wavegram_logmel_cnn14": 1.0}
CLASSES = 5
Weights = Iterator[Tensor]


def frozen(name: str, **arguments: object) -> nn.Module:
    """A small network of that name with frozen weights, ready to score."""
    net = build(name, num_classes=CLASSES, **SMALL[name] | arguments).eval()
    filled = {}
    for key, tensor in net.state_dict().items():
        stream = np.random.RandomState(zlib.crc32(key.encode()))
        if key.endswith("num_batches_tracked"):
            values = np.zeros(())
        elif key.endswith("running_var"):
            values = VARIANCE.get(name, 1.0) * stream.uniform(0.5, 1.5, tensor.shape)
        elif tensor.ndim > 1:
            values = stream.standard_normal(tensor.shape) * np.sqrt(2 / tensor[0].numel())
        else:  # biases and means about 0, factors of batch norm about 1
            is_factor = f"{key.removesuffix('.weight')}.running_var" in net.state_dict()
            values = 0.1 * stream.standard_normal(tensor.shape) + (key.endswith(".weight") and is_factor)
            if f"{key.removesuffix('.bias')}.running_var" in net.state_dict():
                values *= SHIFT.get(name, 0.1) / 0.1
        filled[key] = torch.from_numpy(np.asarray(values)).to(tensor.dtype)
    net.load_state_dict(filled)
    return net


def frozen_input(net: nn.Module, batch: int = 2) -> Any:
    """Inputs of that network from the same kind of stream; a tuple for one that takes several."""
    if not isinstance(net.input_kind, str):
        streams = [np.random.RandomState(7 + number) for number in range(len(net.input_kind))]
        values = [
            stream.standard_normal((batch, *shape))
            for stream, shape in zip(streams, net.input_shape, strict=True)
        ]
        return tuple(torch.from_numpy(one.astype(np.float32)) for one in values)
    values = np.random.RandomState(7).standard_normal((batch, *net.input_shape))
    if net.input_shape == (1, 205, 128):  # clips, bands and frames that differ, for means over many of them
        clips = np.linspace(0, 2, batch).reshape(-1, 1, 1, 1)
        bands, frames = np.linspace(0, 1, 128) * clips, np.linspace(0, 1, 205)[:, None]
        values = values * (0.5 + bands) + 1.5 * np.sin(3 * frames + 4 * bands + clips)
    if net.input_kind == "waveform":  # one that changes, so that attention has something to choose
        values *= np.linspace(0, 2, net.input_shape[0])
    return torch.from_numpy(values.astype(np.float32))


def conv(x: Tensor, weights: Weights, *, stride: object = 1, pad: object = 0, relu: bool = True) -> Tensor:
    """Convolution, batch norm from its four vectors, ReLU."""
    kernel, factor, bias, mean, variance = (next(weights) for _ in range(5))
    y = F.conv2d(x, kernel, stride=stride, padding=pad)
    column = (1, -1, 1, 1)
    y = (y - mean.view(column)) / torch.sqrt(variance.view(column) + 1e-5)
    y = y * factor.view(column) + bias.view(column)
    return y.clamp(min=0) if relu else y


def linear(x: Tensor, weights: Weights, *, relu: bool = True) -> Tensor:
    """x W' + b, ReLU."""
    matrix, bias = next(weights), next(weights)
    y = torch.einsum("bi,oi->bo", x, matrix) + bias
    return y.clamp(min=0) if relu else y


def flat(x: Tensor, fault: str) -> Tensor:
    """Flatten by time, frequency, channel."""
    order = "bctf->bctf" if fault == "flatten order" else "bctf->btfc"
    return torch.einsum(order, x).reshape(len(x), -1)


def max_pool(x: Tensor, size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """By comparing shifted maps."""
    rows, columns = ((n - k) // s + 1 for n, k, s in zip(x.shape[2:], size, stride, strict=True))
    shifted = [
        x[:, :, i : i + rows * stride[0] : stride[0], j : j + columns * stride[1] : stride[1]][
            :, :, :rows, :columns
        ]
        for i in range(size[0])
        for j in range(size[1])
    ]
    return torch.stack(shifted).amax(0)


def average_pool(x: Tensor) -> Tensor:
    """The mean of the neighbours that are there, 3x3."""
    total = torch.zeros_like(x)
    count = torch.zeros_like(x)
    padded, ones = F.pad(x, (1, 1, 1, 1)), F.pad(torch.ones_like(x), (1, 1, 1, 1))
    for i in range(3):
        for j in range(3):
            total += padded[:, :, i : i + x.shape[2], j : j + x.shape[3]]
            count += ones[:, :, i : i + x.shape[2], j : j + x.shape[3]]
    return total / count


def fully_connected(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Section 3.3.1: three hidden layers."""
    x = x.reshape(len(x), -1)
    for number in range(3):
        x = linear(x, w, relu=not (fault == "missing ReLU" and number == 2))
    return linear(x, w, relu=False)


def alexnet(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Section 3.3.2 and Krizhevsky et al."""
    x = conv(x, w, stride=(2, 1))
    assert x.shape[2:] == (43, 54)
    x = conv(max_pool(x, (3, 3), (2, 2)), w, pad=2)
    assert x.shape[2:] == (21, 26)
    x = max_pool(x, (3, 3), (2, 2))
    assert x.shape[2:] == (10, 12)
    for _ in range(3):
        x = conv(x, w, pad=1)
    x = flat(max_pool(x, (5, 6), (5, 6)), fault)
    x = linear(linear(x, w), w, relu=fault != "missing ReLU")
    return linear(x, w, relu=False)


def vgg(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Column E of the table: 2, 2, 4, 4 and 4 convolutions."""
    for group in (2, 2, 4, 4, 4):
        for _ in range(group):
            x = conv(x, w, pad=1)
        x = max_pool(x, (2, 2), (2, 2))
    assert x.shape[2:] == (3, 2)
    x = linear(linear(flat(x, fault), w), w, relu=fault != "missing ReLU")
    return linear(x, w, relu=False)


def vggish(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Column A without its last group; plain convolutions with bias."""
    for group in (1, 1, 2, 2):
        for _ in range(group):
            kernel, bias = next(w), next(w)
            x = (F.conv2d(x, kernel, padding=1) + bias.view(1, -1, 1, 1)).clamp(min=0)
        x = max_pool(x, (2, 2), (2, 2))
    x = linear(linear(flat(x, fault), w), w, relu=fault != "missing ReLU")
    x = linear(x, w, relu=False)  # the embedding
    if fault != "no ReLU before the head":
        x = x.clamp(min=0)
    return linear(x, w, relu=False)


def resnet50(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """He et al., table 1: 3, 4, 6 and 3 blocks; strides in the 3x3."""
    x = conv(x, w, pad=3)
    x = max_pool(F.pad(x, (1, 1, 1, 1), value=-torch.inf), (3, 3), (2, 2))
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            strides = (stride, 1) if fault == "stride in the 1x1" else (1, stride)
            y = conv(x, w, stride=strides[0])
            y = conv(y, w, stride=strides[1], pad=1)
            y = conv(y, w, relu=fault == "ReLU before the sum")
            short = x if block else conv(x, w, stride=stride, relu=False)
            x = y + short
            if fault != "missing ReLU":
                x = x.clamp(min=0)
    assert x.shape[2:] == (6, 4)
    return linear(x.mean((2, 3)), w, relu=False)


def inception_v3(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Szegedy et al., figures 5 to 7 and table 1, from the 1x1 convolution to 80 on."""
    x = conv(conv(x, w), w)
    x = max_pool(x, (3, 3), (2, 2))
    assert x.shape[2:] == (46, 30)
    for _ in range(3):  # figure 5
        a = conv(x, w)
        b = conv(conv(x, w), w, pad=2)
        c = conv(conv(conv(x, w), w, pad=1), w, pad=1)
        d = conv(average_pool(x), w)
        x = torch.cat([b, a, c, d] if fault == "swapped towers" else [a, b, c, d], 1)
    a = conv(x, w, stride=2)
    b = conv(conv(conv(x, w), w, pad=1), w, stride=2)
    x = torch.cat([a, b, max_pool(x, (3, 3), (2, 2))], 1)
    assert x.shape[2:] == (22, 14)
    for _ in range(4):  # figure 6
        a = conv(x, w)
        b = conv(conv(conv(x, w), w, pad=(0, 3)), w, pad=(3, 0))
        c = conv(conv(conv(conv(conv(x, w), w, pad=(3, 0)), w, pad=(0, 3)), w, pad=(3, 0)), w, pad=(0, 3))
        d = conv(x if fault == "no average" else average_pool(x), w)
        x = torch.cat([a, b, c, d], 1)
    a = conv(conv(x, w), w, stride=2)
    b = conv(conv(conv(conv(x, w), w, pad=(0, 3)), w, pad=(3, 0)), w, stride=2)
    x = torch.cat([a, b, max_pool(x, (3, 3), (2, 2))], 1)
    assert x.shape[2:] == (10, 6)
    for _ in range(2):  # figure 7
        a = conv(x, w)
        b = conv(x, w)
        b = torch.cat([conv(b, w, pad=(0, 1)), conv(b, w, pad=(1, 0))], 1)
        c = conv(conv(x, w), w, pad=1)
        c = torch.cat([conv(c, w, pad=(0, 1)), conv(c, w, pad=(1, 0))], 1)
        x = torch.cat([a, b, c, conv(average_pool(x), w)], 1)
    return linear(x.mean((2, 3)), w, relu=False)


def attend(x: np.ndarray, w: Weights) -> np.ndarray:
    """Kong et al.: per clip and class, a weighted mean over time; loops."""
    classify, bias, attention, attention_bias = (next(w).double().numpy() for _ in range(4))
    result = np.zeros((len(x), len(bias)))
    for clip, windows in enumerate(x):
        for k in range(len(bias)):
            p = [1 / (1 + np.exp(-(row @ classify[k] + bias[k]))) for row in windows]
            v = [1 / (1 + np.exp(-(row @ attention[k] + attention_bias[k]))) for row in windows]
            result[clip, k] = sum(a * b for a, b in zip(p, v, strict=True)) / sum(v)
    return result


def window_layer(x: np.ndarray, w: Weights) -> np.ndarray:
    """Linear without bias, batch norm, ReLU on every window."""
    matrix, factor, bias, mean, variance = (next(w).double().numpy() for _ in range(5))
    return np.maximum((x @ matrix.T - mean) / np.sqrt(variance + 1e-5) * factor + bias, 0)


def single_attention(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Three layers, attention, logit."""
    y = x.double().numpy()
    for _ in range(3):
        y = window_layer(y, w)
    p = attend(y, w) if fault != "plain mean" else attend(y.mean(1, keepdims=True), w)
    return torch.from_numpy(np.log(p / (1 - p))).float()


def multi_attention(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Attention after the second and third layer, one last layer."""
    y = x.double().numpy()
    all_weights = list(w)  # three layers of 5 tensors, two modules of 4, the last layer
    layers, modules = iter(all_weights[:15]), iter(all_weights[15:23])
    y = window_layer(window_layer(y, layers), layers)
    deeper = window_layer(y, layers)
    predictions = [attend(y, modules), attend(deeper, modules)]
    if fault == "swapped levels":
        predictions.reverse()
    return linear(
        torch.from_numpy(np.concatenate(predictions, 1)).float(), iter(all_weights[23:]), relu=False
    )


def signal(
    x: np.ndarray, w: Weights, *, stride: int = 1, pad: tuple[int, int] = (0, 0), relu: bool = True
) -> np.ndarray:
    """1D convolution frame by frame, batch norm, ReLU: (B, C, L) -> (B, C', L')."""
    kernel, factor, bias, mean, variance = (next(w).double().numpy() for _ in range(5))
    x = np.pad(x, ((0, 0), (0, 0), pad))
    starts = range(0, x.shape[2] - kernel.shape[2] + 1, stride)
    frames = [np.tensordot(x[:, :, i : i + kernel.shape[2]], kernel, ((1, 2), (1, 2))) for i in starts]
    y = (np.stack(frames, 2) - mean[:, None]) / np.sqrt(variance[:, None] + 1e-5)
    y = y * factor[:, None] + bias[:, None]
    return np.maximum(y, 0) if relu else y


def raw_front(x: np.ndarray, w: Weights, fault: str, *, depth: int, stride: int) -> np.ndarray:
    """Chen et al., the top stage: 80 samples every 4, a pool, stages of kernel 9: (B, N) -> (B, C, T)."""
    pad = (0, 79) if fault == "stem not centred" else (39, 40)
    y = signal(x[:, None], w, stride=stride // 16, pad=pad)
    y = np.pad(y, ((0, 0), (0, 0), (1, 1)), constant_values=-np.inf)
    length = (y.shape[2] - 3) // 2 + 1
    y = np.stack([y[:, :, 2 * i : 2 * i + 3].max(2) for i in range(length)], 2)
    for stage, blocks in enumerate((2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3)):
        for block in range(blocks):
            step = 2 if stage and not block else 1
            inner = signal(signal(y, w, stride=step, pad=(4, 4)), w, pad=(4, 4), relu=False)
            changes = y.shape[1] != inner.shape[1] or step > 1
            y = np.maximum(inner + (signal(y, w, stride=step, relu=False) if changes else y), 0)
    return y


def raw_body(x: Tensor, w: Weights, fault: str, *, depth: int) -> list[Tensor]:
    """Chen et al., the bottom stage, He et al., table 1, with its first stride: maps of all blocks."""
    x = conv(x, w, stride=2, pad=3)
    x = max_pool(F.pad(x, (1, 1, 1, 1), value=-torch.inf), (3, 3), (2, 2))
    maps = []
    for stage, blocks in enumerate((2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3)):
        for block in range(blocks):
            step = 2 if stage and not block else 1
            if depth == 50:
                y = conv(conv(x, w), w, stride=step, pad=1)
                y = conv(y, w, relu=False)
            else:
                y = conv(conv(x, w, stride=step, pad=1), w, pad=1, relu=False)
            changes = y.shape[1] != x.shape[1] or step > 1
            x = y + (conv(x, w, stride=step, relu=False) if changes else x)
            if fault != "missing ReLU in 2D" or block:
                x = x.clamp(min=0)
        maps.append(x)
    return maps


def raw_levels(
    x: Tensor, w: Weights, fault: str = "", *, depth_1d: int = 18, depth_2d: int = 50, stride: int = 64
) -> list[np.ndarray]:
    """The three logits of Chen et al., section 3.1."""
    rows = raw_front(x.double().numpy(), w, fault, depth=depth_1d, stride=stride)
    picture = torch.from_numpy(rows).float()[:, None]
    if fault == "transposed":
        picture = picture.transpose(2, 3)
    maps = raw_body(picture, w, fault, depth=depth_2d)
    levels = []
    for level in maps[1:]:
        over = 3 if fault == "mean over time" else 2
        early = level.double().numpy().mean(over).transpose(0, 2, 1)
        first, *late = (list(itertools.islice(w, count)) for count in (4, 2, 2, 4, 2))
        y = early
        for number, (matrix, bias) in enumerate(late[:2]):
            y = y @ matrix.double().numpy().T + bias.double().numpy()
            if fault != f"no ReLU after layer {number + 1}":
                y = np.maximum(y, 0)
        predictions = [attend(early, iter(first)), attend(y, iter(late[2]))]
        if fault == "swapped modules":
            predictions.reverse()
        if fault == "both modules on the block":
            predictions[1] = predictions[0]
        matrix, bias = (one.double().numpy() for one in late[3])
        levels.append(np.concatenate(predictions, 1) @ matrix.T + bias)
    return levels


def raw_waveform(x: Tensor, w: Weights, fault: str = "", **depths: int) -> Tensor:
    """The mean of the three probabilities, as a logit."""
    levels = raw_levels(x, w, fault, **depths)
    if fault == "mean of logits":
        return torch.from_numpy(sum(levels) / 3).float()
    if fault == "last level only":
        levels = levels[2:]
    if fault == "blocks 3 and 4 only":
        levels = levels[1:]
    p = sum(1 / (1 + np.exp(-logits)) for logits in levels) / len(levels)
    return torch.from_numpy(np.log(p / (1 - p))).float()


RAW_FAULTS = [
    "transposed",
    "missing ReLU in 2D",
    "mean over time",
    "no ReLU after layer 1",
    "no ReLU after layer 2",
    "swapped modules",
    "both modules on the block",
    "mean of logits",
    "last level only",
    "blocks 3 and 4 only",
]


def urban_blocks(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Table 1 of Tompkins and Nichols: (B, 1, T, F) -> (B, 256)."""
    x = x.transpose(2, 3)  # frequency first
    strides = [1, 1, (4, 16), 2, 2, 2]
    pads = [0, 1, (8, 16), 1, 1, 1]
    for number, (stride, pad) in enumerate(zip(strides, pads, strict=True), start=1):
        kernel, bias, factor, shift, mean, variance = (next(w) for _ in range(6))
        y = F.conv2d(x, kernel, stride=stride, padding=pad) + bias.view(1, -1, 1, 1)
        if fault == "ReLU before batch norm":
            y = y.clamp(min=0)
        column = (1, -1, 1, 1)
        y = (y - mean.view(column)) / torch.sqrt(variance.view(column) + 1e-5)
        y = y * factor.view(column) + shift.view(column)
        x = y if fault == "ReLU before batch norm" else y.clamp(min=0)
        if number == 3:
            assert x.shape[2:] == (33, 48)
            x = x[:, :, :32:4, ::4] if fault == "no maximum" else max_pool(x, (4, 4), (4, 4))
    assert x.shape[2:] == (1, 1)
    return x.flatten(1)


def urban_cnn(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Table 1, and a linear layer."""
    return linear(urban_blocks(x, w, fault), w, relu=False)


def urban_fusion(inputs: tuple[Tensor, Tensor], w: Weights, fault: str = "") -> Tensor:
    """Table 2, by the text where the first layer is a matrix and by the table where it is a cube."""
    clip = urban_blocks(inputs[0], w, fault)
    order = "bwd->bdw" if fault == "flatten order" else "bwd->bwd"
    other = torch.einsum(order, inputs[1]).flatten(1)
    weight, bias = next(w), next(w)
    if weight.ndim == 3:
        x = torch.stack([torch.einsum("bi,ij,bj->b", clip, one, other) for one in weight], 1) + bias
    else:
        parts = [other, clip] if fault == "swapped parts" else [clip, other]
        x = torch.cat(parts, 1) @ weight.T + bias
    for number in range(2):
        factor, shift, mean, variance = (next(w) for _ in range(4))
        x = (x - mean) / torch.sqrt(variance + 1e-5) * factor + shift
        if fault != "missing ReLU":
            x = x.clamp(min=0)
        if not number:
            x = linear(x, w, relu=False)
    return linear(x, w, relu=False)


ORACLES = {
    "fully_connected": (fully_connected, ["missing ReLU"]),
    "alexnet": (alexnet, ["flatten order", "missing ReLU"]),
    "vgg": (vgg, ["flatten order", "missing ReLU"]),
    "vggish": (vggish, ["flatten order", "missing ReLU", "no ReLU before the head"]),
    "resnet50": (resnet50, ["stride in the 1x1", "ReLU before the sum", "missing ReLU"]),
    "inception_v3": (inception_v3, ["swapped towers", "no average"]),
    "raw_waveform": (raw_waveform, RAW_FAULTS),
    "urban_cnn": (urban_cnn, ["ReLU before batch norm", "no maximum"]),
    "urban_fusion": (urban_fusion, ["flatten order", "swapped parts", "missing ReLU"]),
    "single_attention": (single_attention, ["plain mean"]),
    "multi_attention": (multi_attention, ["swapped levels"]),
    **PANNS_ORACLES,
    **MOBILE_ORACLES,
}


def weights_of(net: nn.Module) -> Weights:
    """The network's tensors in the order of its layers, without the counters of batch norm."""
    return iter([value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")])


def golden_logits(name: str) -> list[list[float]]:
    """What the frozen network says of the frozen input."""
    net = frozen(name)
    with torch.inference_mode():
        return [[round(value, 6) for value in row] for row in net(frozen_input(net)).tolist()]


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps({name: golden_logits(name) for name in MODELS}, indent=1) + "\n")
