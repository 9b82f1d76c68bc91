"""A tiny corpus of tones with two levels of labels, and a network of two inputs for it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from auricle.datasets.annotations import Annotations, choose_labels
from auricle.datasets.taxonomy import Taxonomy
from auricle.engine import pack
from auricle.features import FeatureConfig
from auricle.shards import Pack, add_labels
from auricle.shards.annotated import add_chosen_labels
from auricle.training import TrainConfig

RATE, CLIP = 16000, 16000  # Hz, and samples of a clip
TREE = Taxonomy(
    ("1_engine", "2_alert", "3_dog"),
    (("1-1_small", "1-2_large", "1-X_unclear"), ("2-1_siren", "2-2_horn", "2-X_other"), ("3-1_barking",)),
)
HERTZ = {"1-1_small": 400, "1-2_large": 150, "2-1_siren": 1800, "2-2_horn": 700, "3-1_barking": 3000}
COMPLETE = tuple(HERTZ)
BANDS = 24
FEATURES = FeatureConfig(rate=RATE, window=512, hop=160, fft=512, bands=BANDS, low=60, high=7600)
FRAMES = 97
CLIPS, TRAIN = 30, 20
Positives = dict[str, list[str]]


def truth() -> list[list[str]]:
    """What sounds in each clip: one or two complete fine labels, in turn."""
    return [sorted({COMPLETE[k % 5], COMPLETE[(k * k + k // 5) % 5]}) for k in range(CLIPS)]


def heard(clip: int) -> tuple[list[str], list[str]]:
    """What is taken for true of a clip: labels, and labels that are not known, where its class alone is.

    Of every fourth clip with an engine only X is said. Truth of a class without any fine label known is kept.
    """
    labels, unknown = list(truth()[clip]), []
    for coarse, fine in zip(TREE.coarse, TREE.fine, strict=True):
        if not set(fine) & set(labels):
            continue
        if coarse == "1_engine" and clip % 4 == 1:
            labels = [label for label in labels if label not in fine] + [fine[-1]]
            unknown = list(fine[:-1])
        labels.append(coarse)
    return labels, unknown


def make_corpus(folder: Path, rate: int = RATE) -> Path:
    """A pack of 30 clips of a second: label sets agreement50, soft, and verified of those to validate."""
    source, out = folder / "sounds", folder / "pack"
    source.mkdir()
    random = np.random.default_rng(0)
    rows = ["path,labels,split,group"]
    for number, labels in enumerate(truth()):
        time = np.arange(rate) / rate
        tones = sum(np.sin(2 * np.pi * HERTZ[label] * time + random.uniform(0, 6)) for label in labels)
        soundfile.write(source / f"{number:02d}.wav", 0.2 * tones + random.normal(0, 0.02, rate), rate)
        split = "train" if number < TRAIN else "validate"
        rows.append(f"{number:02d}.wav,{labels[0]},{split},g{number // 2}")
    (source / "manifest.csv").write_text("\n".join(rows) + "\n")
    pack(source / "manifest.csv", out, rate=rate, jobs=1, quiet=True)
    write_label_sets(out)
    return out


def write_label_sets(path: Path) -> None:
    ids = [str(name) for name in Pack(path).ids]
    said = [heard(clip) for clip in range(CLIPS)]
    unknown = {name: hidden for name, (_, hidden) in zip(ids, said, strict=True) if hidden}
    given: dict[str, Any] = {"names": TREE.labels, "taxonomy": TREE.as_dict()}
    add_labels(
        path, "agreement50", dict(zip(ids, (own for own, _ in said), strict=True)), unknown=unknown, **given
    )
    shares = {
        name: {label: 1.0 if k >= TRAIN else 0.75 - 0.25 * (k % 3 == 0) for label in own}
        for k, (name, (own, _)) in enumerate(zip(ids, said, strict=True))
    }
    add_labels(path, "soft", shares, unknown=unknown, **given)
    judged = {name: said[k][0] for k, name in enumerate(ids) if k >= TRAIN}
    hidden = {name: TREE.labels if k < TRAIN else said[k][1] for k, name in enumerate(ids)}
    add_labels(path, "verified", judged, unknown=hidden, **given)


def add_votes(path: Path, name: str) -> np.ndarray:
    """A soft label set of three annotators, of nobody who verified; (CLIPS, K) how many heard each label."""
    cast = (np.random.default_rng(2).random((CLIPS, 3, len(TREE.labels))) < 0.4).astype(np.int8)
    clips = tuple(str(clip) for clip in Pack(path).ids)
    votes = Annotations(
        taxonomy=TREE,
        clips=clips,
        splits=("",) * CLIPS,
        sensors=("",) * CLIPS,
        annotators=("1", "2", "3"),
        clip=np.repeat(np.arange(CLIPS), 3),
        annotator=np.tile(np.arange(3), CLIPS),
        votes=cast.reshape(-1, len(TREE.labels)),
    )
    add_chosen_labels(path, name, choose_labels(votes, "soft"))
    return cast.sum(axis=1)


def config_for(data: Path, **changes: Any) -> TrainConfig:
    """A plain training of `TinyPlain` on whole clips, without changes of sound."""
    config = TrainConfig(
        data=data,
        steps=8,
        batch=5,
        model="tiny_plain",
        features=FEATURES,
        window=CLIP,
        hop=CLIP,
        tail="drop",
        label_set="agreement50",
        train_splits=("train",),
        validation_splits=("validate",),
        warmup_steps=0,
        learning_rate=0.02,
        weight_decay=0.0,
        precision="float32",
        average=0.0,
        validate_every=4,
        checkpoint_every=3,
        log_every=1,
        threads=1,
    )
    return dataclasses.replace(config, **changes)


class TinyBoth(nn.Module):
    """Means of log-mel bands beside embeddings -> 6 values -> logits."""

    input_kind = ("logmel", "embedding")
    input_shape: tuple[tuple[int, ...], ...] = ((1, FRAMES, BANDS), (3, 4))

    def __init__(self, *, num_classes: int, input_shape: Sequence[Sequence[int]] = input_shape):
        super().__init__()
        self.num_classes, self.embedding_size = num_classes, 6
        self.input_shape = tuple(tuple(shape) for shape in input_shape)
        windows, size = self.input_shape[1]
        self.first = nn.Linear(self.input_shape[0][2] + windows * size, 6)
        self.head = nn.Linear(6, num_classes)

    def embed(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        logmel_B1TF, embedding_BTD = inputs
        return torch.tanh(self.first(torch.cat([logmel_B1TF.mean((1, 2)), embedding_BTD.flatten(1)], 1)))

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        return self.head(self.embed(inputs))
