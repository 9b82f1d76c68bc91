"""The PANNs a second time, from the tables of Kong et al. 2020: plain functions, see model_oracles.py."""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Iterator[Tensor]


def normed(x: Tensor, w: Weights, axis: int = 1) -> Tensor:
    """Batch norm along one axis from its four vectors."""
    factor, bias, mean, variance = (next(w) for _ in range(4))
    shape = [1] * x.ndim
    shape[axis] = -1
    y = (x - mean.view(shape)) / torch.sqrt(variance.view(shape) + 1e-5)
    return y * factor.view(shape) + bias.view(shape)


def convolved(x: Tensor, w: Weights, *, groups: int = 1) -> Tensor:
    """A convolution of odd size that keeps the map's."""
    kernel = next(w)
    return F.conv2d(x, kernel, padding=kernel.shape[2] // 2, groups=groups)


def averaged(x: Tensor, fault: str = "", size: tuple[int, int] = (2, 2)) -> Tensor:
    """The mean, or by a fault the maximum, of neighbours; a rest that fills none is left out."""
    rows, columns = x.shape[2] // size[0], x.shape[3] // size[1]
    cut = x[:, :, : rows * size[0], : columns * size[1]]
    parts = [cut[:, :, i :: size[0], j :: size[1]] for i in range(size[0]) for j in range(size[1])]
    stacked = torch.stack(parts)
    return stacked.amax(0) if fault == "maxima in place of averages" else stacked.mean(0)


def block(x: Tensor, w: Weights, convolutions: int = 2) -> Tensor:
    """Convolution, batch norm, ReLU, so many times."""
    for _ in range(convolutions):
        x = normed(convolved(x, w), w).clamp(min=0)
    return x


def affine(x: Tensor, w: Weights) -> Tensor:
    matrix, bias = next(w), next(w)
    return torch.einsum("...i,oi->...o", x, matrix) + bias


def summary(x: Tensor, w: Weights, fault: str) -> Tensor:
    """Mean over bands, peak plus mean over frames, a layer with ReLU, the output."""
    if fault == "peak over bands":
        x = x.amax(3)
    else:
        x = x.sum(3) / x.shape[3]
    peak, mean = x.amax(2), x.sum(2) / x.shape[2]
    x = {"no peak": mean, "no mean": peak}.get(fault, peak + mean)
    x = affine(x, w)
    return affine(x if fault == "missing ReLU" else x.clamp(min=0), w)


def band_norm(x: Tensor, w: Weights, fault: str) -> Tensor:
    y = normed(x, w, axis=3)
    return x if fault == "no norm of bands" else y


def cnn14(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Table I, right: six blocks, five averages."""
    x = band_norm(x, w, fault)
    for number in range(6):
        x = block(x, w)
        if number < 5 or fault == "six averages":
            x = averaged(x, fault)
    assert fault or x.shape[3] == 2
    return summary(x, w, fault)


def cnn10(x: Tensor, w: Weights, fault: str = "", convolutions: int = 2) -> Tensor:
    """Table I, middle: four blocks, four averages."""
    x = band_norm(x, w, fault)
    for number in range(4):
        x = block(x, w, convolutions)
        if number < 3 or fault != "three averages":
            x = averaged(x, fault)
    assert fault or x.shape[3] == 4
    return summary(x, w, fault)


def cnn6(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Table I, left: one 5 x 5 convolution a block."""
    return cnn10(x, w, fault, convolutions=1)


def cnn14_decision(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """The greatest of what each step says of itself and its two neighbours."""
    x = band_norm(x, w, fault)
    for number in range(6):
        x = block(x, w)
        if number < 5:
            x = averaged(x)
    steps = x.mean(3).transpose(1, 2)  # (B, S, C)
    said = []
    for at in range(steps.shape[1]):
        near = steps[:, max(0, at - 1) : at + 2]
        count = near.shape[1] if fault == "neighbours that are there" else 3
        around = near.amax(1) + near.sum(1) / count
        said.append(steps[:, at] if fault == "no neighbours" else around)
    features = affine(torch.stack(said, 1), w)
    logits = affine(features.clamp(min=0), w)
    return logits.mean(1) if fault == "the mean of steps" else logits.amax(1)


def resnet38(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Table II: a block, 3, 4, 6 and 3 residual blocks, a wide block."""
    x = averaged(block(band_norm(x, w, fault), w))
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for number in range(blocks):
            halve = stage > 0 and number == 0
            small = x[:, :, ::2, ::2] if fault == "strides in place of averages" else averaged(x)
            small = small[:, :, : x.shape[2] // 2, : x.shape[3] // 2] if halve else x
            y = normed(convolved(small, w), w).clamp(min=0)
            y = normed(convolved(y, w), w)
            if fault == "ReLU before the sum":
                y = y.clamp(min=0)
            x = (y + (normed(convolved(small, w), w) if halve else x)).clamp(min=0)
    if fault != "no average at the end":
        x = averaged(x)
    return summary(block(x, w), w, fault)


def mobilenet_v1(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Table III: a convolution and thirteen depthwise blocks; averages before batch norms."""
    x = band_norm(x, w, fault)
    x = normed(averaged(convolved(x, w), fault), w).clamp(min=0)
    for halve in (0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0):
        x = convolved(x, w, groups=x.shape[1])
        x = averaged(x, fault) if halve and fault != "average after ReLU" else x
        x = normed(x, w).clamp(min=0)
        x = averaged(x) if halve and fault == "average after ReLU" else x
        x = normed(convolved(x, w), w).clamp(min=0)
    return summary(x, w, fault)


def decibels(waveform: np.ndarray) -> np.ndarray:
    """The log-mel at 32 kHz, frame by frame, from its definition."""
    turned = np.pad(waveform.astype(np.float64), 512, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)

    def hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * math.log(14) / math.log(6.4)
    edges = [hertz(0.75 + (top - 0.75) * i / 65) for i in range(66)]
    at = np.arange(513) * 31.25
    bands = [
        np.interp(at, [lower, peak, upper], [0, 1, 0], left=0, right=0) * 2 / (upper - lower)
        for lower, peak, upper in zip(edges, edges[1:], edges[2:], strict=False)
    ]
    rows = []
    for start in range(0, len(waveform) + 1, 320):
        power = np.abs(np.fft.rfft(turned[start : start + 1024] * window)) ** 2
        rows.append(10 * np.log10(np.maximum(np.array(bands) @ power, 1e-10)))
    return np.array(rows)


def wave_conv(x: Tensor, w: Weights, *, stride: int = 1, dilation: int = 1) -> Tensor:
    kernel = next(w)
    pad = dilation * (kernel.shape[2] // 2)
    return normed(F.conv1d(x, kernel, stride=stride, dilation=dilation, padding=pad), w).clamp(min=0)


def wavegram_logmel_cnn14(x: Tensor, w: Weights, fault: str = "") -> Tensor:
    """Figures 2 and 3: the wavegram beside the log-mel as channels of CNN14 from its second block on."""
    mel = torch.from_numpy(np.stack([decibels(one.numpy()) for one in x])).float()[:, None]
    mel = band_norm(mel, w, fault)
    wave = wave_conv(x[:, None], w, stride=5)
    for _ in range(3):
        wave = wave_conv(wave, w)
        wave = wave_conv(wave, w, dilation=2)
        length = wave.shape[2] // 4 * 4
        wave = torch.stack([wave[:, :, i:length:4] for i in range(4)]).amax(0)
    groups = wave.shape[1] // 32
    if fault == "channels laid out the other way":
        picture = wave.reshape(len(x), 32, groups, -1).permute(0, 2, 3, 1)
    else:
        picture = wave.reshape(len(x), groups, 32, -1).permute(0, 1, 3, 2)
    picture = averaged(block(picture, w), size=(2, 1))
    mel = averaged(block(mel, w))[:, :, : picture.shape[2]]
    parts = [picture, mel] if fault == "swapped parts" else [mel, picture]
    if fault == "no wavegram":
        parts[1] = torch.zeros_like(picture)
    y = torch.cat(parts, 1)
    for number in range(5):
        y = block(y, w)
        if number < 4:
            y = averaged(y, fault)
    return summary(y, w, fault)


SHARED = ["no norm of bands", "maxima in place of averages", "no peak", "no mean", "missing ReLU"]
PANNS_ORACLES = {
    "cnn14": (cnn14, [*SHARED, "six averages"]),
    "cnn14_decision": (
        cnn14_decision,
        ["no neighbours", "neighbours that are there", "the mean of steps"],
    ),
    "cnn10": (cnn10, [*SHARED, "three averages", "peak over bands"]),
    "cnn6": (cnn6, [*SHARED, "three averages", "peak over bands"]),
    "resnet38": (
        resnet38,
        ["no norm of bands", "strides in place of averages", "ReLU before the sum", "no average at the end"],
    ),
    "mobilenet_v1": (mobilenet_v1, [*SHARED, "average after ReLU"]),
    "wavegram_logmel_cnn14": (
        wavegram_logmel_cnn14,
        ["no norm of bands", "channels laid out the other way", "swapped parts", "no wavegram"],
    ),
}
