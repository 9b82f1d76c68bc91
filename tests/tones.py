"""A tiny corpus of tones, a configuration for it, and nets of every input kind: training within a second."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import soundfile
from torch import Tensor, nn

from auricle.artifact import load_artifact
from auricle.engine import pack
from auricle.features import FeatureConfig
from auricle.training import TrainConfig

RATE = 8000
FREQUENCIES = {"low": 300, "middle": 900, "high": 2500}


def make_corpus(folder: Path, rate: int = RATE) -> Path:
    """A pack of 24 one-second tones in noise, three classes, groups of two."""
    source, out = folder / "tones", folder / "pack"
    source.mkdir()
    random = np.random.default_rng(0)
    rows = ["path,labels,split,group"]
    for number in range(24):
        label = list(FREQUENCIES)[number % 3]
        samples = np.sin(2 * np.pi * FREQUENCIES[label] * np.arange(rate) / rate + random.uniform(0, 6)) * 0.3
        soundfile.write(source / f"{number}.wav", samples + random.normal(0, 0.02, rate), rate)
        rows.append(f"{number}.wav,{label},{'test' if number >= 18 else 'train'},g{number // 2}")
    (source / "manifest.csv").write_text("\n".join(rows) + "\n")
    pack(source / "manifest.csv", out, rate=rate, jobs=1, quiet=True)
    return out


def config_for(data: Path, **changes: object) -> TrainConfig:
    config = TrainConfig(
        data=data,
        steps=30,
        batch=6,
        warmup_steps=5,
        window=4000,
        hop=4000,
        features=FeatureConfig(rate=RATE, window=256, hop=80, fft=256, bands=24, high=3800.0),
        model_arguments={"stem": 8, "widths": [8, 16], "blocks": [1, 1], "dropout": 0.1},
        train_splits=("train",),
        validation_splits=("test",),
        precision="float32",
        average=0.9,
        validate_every=15,
        checkpoint_every=4,
        log_every=5,
        mixing="mixup",
        speed_spread=0.1,
        gain_decibels=3.0,
        mask_frames=4,
        mask_bands=2,
        threads=1,
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def weights_of(run: Path) -> dict[str, np.ndarray]:
    return load_artifact(run / "last").read_weights()


def same_weights(one: Path, two: Path) -> bool:
    first, second = weights_of(one), weights_of(two)
    assert first.keys() == second.keys() and len(first) > 3
    return all(np.array_equal(first[name], second[name]) for name in first)


def log_of(run: Path) -> list[dict]:
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    timings = ("seconds", "waited")
    return [{name: value for name, value in entry.items() if name not in timings} for entry in entries]


class TinyWave(nn.Module):
    """(B, N) waveform -> logits."""

    input_kind, input_shape = "waveform", (4000,)

    def __init__(self, *, num_classes: int):
        super().__init__()
        self.num_classes, self.embedding_size = num_classes, 16
        self.body = nn.Sequential(nn.Conv1d(1, 16, 64, stride=8), nn.BatchNorm1d(16), nn.ReLU())
        self.head = nn.Linear(16, num_classes)

    def embed(self, waveform_BN: Tensor) -> Tensor:
        return self.body(waveform_BN[:, None]).amax(2)

    def forward(self, waveform_BN: Tensor) -> Tensor:
        return self.head(self.embed(waveform_BN))


class TinyPlain(nn.Module):
    """Log-mel -> logits, without batch norm or dropout; `several` predictions."""

    input_kind, input_shape = "logmel", (1, 47, 24)

    def __init__(self, *, num_classes: int, size: int = 16):
        super().__init__()
        self.num_classes, self.embedding_size = num_classes, size
        self.body = nn.Sequential(nn.Linear(24, size), nn.ReLU())
        self.head = nn.Linear(size, num_classes)

    def embed(self, logmel_B1TF: Tensor) -> Tensor:
        return self.body(logmel_B1TF[:, 0].mean(1))

    def forward(self, logmel_B1TF: Tensor) -> Tensor:
        return self.head(self.embed(logmel_B1TF))


class TinySeveral(TinyPlain):
    """The same with two predictions, whose logits differ by 1; forward is the first."""

    def forward_all(self, logmel_B1TF: Tensor) -> list[Tensor]:
        logits = self(logmel_B1TF)
        return [logits, logits + 1]
