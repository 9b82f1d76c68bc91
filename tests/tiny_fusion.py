"""Very small models of two inputs, and families of them, with weights that nobody trained."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
import torch
from torch import Tensor, nn

from auricle.artifact import Artifact, embedding_input, load_artifact, save_artifact
from auricle.features import FeatureConfig
from auricle.frontend import LogMel
from auricle.models import MODELS
from auricle.runners import load_runner
from auricle.runners.fusion import embed_resampled

RATE, WINDOW = 22050, 22050  # 1 s, which is 8000 samples of the embedder: four of its windows of 0.25 s
T, D = 3, 4  # embeddings that the net takes: the fourth is not heard
CONFIG = FeatureConfig(rate=RATE, window=512, hop=256, fft=512, bands=12, low=80, high=10000)


class TinyFusion(nn.Module):
    """Means of log-mel bands beside embeddings -> 5 values -> logits."""

    input_kind = ("logmel", "embedding")

    def __init__(self, *, num_classes: int, input_shape: Sequence[int] = (T, D), bands: int = 12):
        super().__init__()
        self.num_classes, self.embedding_size = num_classes, 5
        self.input_shape = ((1, 85, bands), tuple(input_shape))
        self.first = nn.Linear(bands + input_shape[0] * input_shape[1], 5)
        self.head = nn.Linear(5, num_classes)

    def embed(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        logmel_B1TF, embedding_BTD = inputs
        return torch.tanh(self.first(torch.cat([logmel_B1TF.mean((1, 2)), embedding_BTD.flatten(1)], 1)))

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        return self.head(self.embed(inputs))


class TinyMel(nn.Module):
    """Means of log-mel bands -> logits."""

    input_kind = "logmel"
    input_shape = (1, 85, 12)

    def __init__(self, *, num_classes: int, bands: int = 12):
        super().__init__()
        self.num_classes, self.embedding_size = num_classes, bands
        self.head = nn.Linear(bands, num_classes)

    def embed(self, logmel_B1TF: Tensor) -> Tensor:
        return logmel_B1TF.mean((1, 2))

    def forward(self, logmel_B1TF: Tensor) -> Tensor:
        return self.head(self.embed(logmel_B1TF))


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_fusion", TinyFusion)
    monkeypatch.setitem(MODELS, "tiny_mel", TinyMel)


def noise(count: int, samples: int = WINDOW, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = 10 ** rng.uniform(-2, -0.5, (count, 1))
    return (level * rng.standard_normal((count, samples))).clip(-1, 1).astype(np.float32)


def net_of(name: str, labels: Sequence[str], seed: int, embedder: Any) -> nn.Module:
    """Weights under which every label is as often likely as not, so that gates open and stay shut."""
    torch.manual_seed(seed)
    net = MODELS[name](num_classes=len(labels)).eval()
    with torch.no_grad():
        logits = net(inputs_of(noise(48, seed=1), embedder))
        scale = 2 / logits.std(0)
        net.head.weight.mul_(scale[:, None])
        net.head.bias.copy_((net.head.bias - logits.median(0).values) * scale)
    return net


def inputs_of(waveforms: np.ndarray, embedder: Any) -> Any:
    """What the net sees of waveforms."""
    logmel = LogMel(CONFIG)(torch.from_numpy(waveforms))
    if embedder is None:
        return logmel
    return logmel, torch.from_numpy(embed_resampled(load_runner(embedder, threads=1), waveforms, RATE, T))


def save(path: Path, labels: Sequence[str], *, embedder: Path | None = None, seed: int = 0, **fields: Any):
    """A fusion with an embedder, or a net on log-mels alone without."""
    name = "tiny_mel" if embedder is None else "tiny_fusion"
    below = None if embedder is None else load_artifact(embedder)
    net = net_of(name, labels, seed, below)
    inputs: list[dict[str, Any]] = [{"kind": "logmel", "rate": RATE, "features": dataclasses.asdict(CONFIG)}]
    waveforms = noise(2, seed=99)
    if below is not None:
        inputs.append(embedding_input(below, T))
    with torch.inference_mode():
        logits = net(inputs_of(waveforms, below)).numpy()
    described: dict[str, Any] = {
        "architecture": {"name": name, "arguments": {"num_classes": len(labels)}},
        "inputs": inputs,
        "labels": tuple(labels),
        "window": WINDOW,
        "hop": WINDOW,
        "embedding_size": net.embedding_size,
    }
    weights = {key: value.numpy() for key, value in net.state_dict().items()}
    return save_artifact(
        path, weights=weights, check=(waveforms, logits), embedder=embedder, **(described | fields)
    )


def save_embedder(path: Path) -> Path:
    """0.25 s at 8 kHz -> 4 values."""
    return tiny_model.save(path, hop=tiny_model.WINDOW).path


__all__ = ["CONFIG", "RATE", "WINDOW", "Artifact", "D", "T", "noise", "register", "save", "save_embedder"]
