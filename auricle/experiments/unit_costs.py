"""What one network costs on this machine: examples a second, trained and scored by training's own steps."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from auricle.datasets import Clip
from auricle.engine import pack
from auricle.engine.packing import Range
from auricle.experiments.estimate import measure_step
from auricle.experiments.provenance import device_name
from auricle.models import MODELS, build
from auricle.planning import UnitCost
from auricle.recipes import configure
from auricle.shards import Pack, add_labels
from auricle.shards.writer import Decoded
from auricle.training import TrainConfig
from auricle.training.devices import pick_device, pick_dtype
from auricle.training.outcome import LiveRunner

RATE = 16_000
SECONDS = {"logmel": (0.975, 0.96), "waveform": (10.0, 10.0)}  # an example, and from one to the next
CLIPS, BATCHES = 16, 3


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The unit costs of a network, and what they were measured on: "cpu" or a GPU's name."""

    costs: list[UnitCost]
    device: str


def measure_network(
    folder: Path,
    model: str,
    *,
    labels: int,
    batch: int,
    window: float | None = None,
    hop: float | None = None,
    device: str = "auto",
) -> Measured:
    """Examples a second of a network in training and in scoring, on noise.

    Args:
        folder: to work in.
        model: a name of MODELS that takes log-mel patches or waveforms.
        labels: of its last layer.
        batch: examples of a step.
        window: seconds of an example; as published at first.
        hop: seconds from one to the next.
        device: cpu, cuda, auto.

    Raises:
        ValueError: no such model, or one that takes embeddings, or windows of another shape.
    """
    if model not in MODELS:
        raise ValueError(f"unknown model {model!r}; known: {', '.join(sorted(MODELS))}")
    with torch.device("meta"):
        kind = build(model, num_classes=labels).input_kind
    if kind not in SECONDS:
        raise ValueError(
            f"{model} takes {kind}: networks on {' or '.join(SECONDS)} are measured; write its costs by hand"
        )
    seconds = window or SECONDS[str(kind)][0], hop or window or SECONDS[str(kind)][1]
    samples = tuple(round(one * RATE) for one in seconds)
    where = _noise_pack(folder, labels, samples[0])
    settings = {
        "model": model, "batch": str(batch), "window": str(samples[0]), "hop": str(samples[1]), "steps": "5",
    }  # fmt: skip
    config = configure("hershey", data=where, settings=settings, device=device)
    picked = pick_device(device)
    dtype = pick_dtype(config.precision, picked)
    on_cpu = picked.type == "cpu"
    threads = torch.get_num_threads()
    named = f"machine of {threads} CPU cores" if on_cpu else device_name(device)
    facts: dict[str, float] = {"cores": threads if on_cpu else 0, "batch": batch, "labels": labels}
    facts |= {"window": seconds[0], "hop": seconds[1]}
    how = f"{str(dtype).removeprefix('torch.')}, batches of {batch}, noise"
    step = measure_step(config, folder)
    scored = _score(config, where, model, labels, picked, dtype)
    costs = [
        UnitCost(name=name, value=value, how=f"{how}; {what}", source="measured", device=named, facts=facts)
        for name, value, what in (
            (f"train.{model}", batch / step, "median of 3 steps after 2"),
            (f"score.{model}", scored, f"median of {BATCHES} batches after 1"),
        )
    ]
    return Measured(costs=costs, device="cpu" if on_cpu else named)


def _score(
    config: TrainConfig, where: Path, model: str, labels: int, device: torch.device, dtype: torch.dtype
) -> float:
    net = build(model, num_classes=labels).to(device).eval()
    live = LiveRunner(config, Pack(where), net, device, dtype, batch=config.batch)
    waveforms = np.random.default_rng(0).uniform(-0.5, 0.5, (config.batch, config.window)).astype(np.float32)
    took = []
    for _ in range(1 + BATCHES):
        begin = time.perf_counter()
        live.run(waveforms)  # gives arrays, so what a GPU does has been waited for
        took.append(time.perf_counter() - begin)
    return config.batch / statistics.median(took[1:])


def _noise_pack(folder: Path, labels: int, samples: int) -> Path:
    """A few recordings of four examples each, and as many labels as asked for."""
    out = folder / "noise"
    clips = [Clip(id=str(k), path=str(4 * samples + k)) for k in range(CLIPS)]
    pack(clips, out, rate=RATE, jobs=1, quiet=True, decode=_noise)
    names = [f"label{number:05d}" for number in range(labels)]
    mapping = {clip.id: [names[number % labels]] for number, clip in enumerate(clips)}
    add_labels(out, "labels", mapping, names=names, replace=True)
    return out


def _noise(clip: Range, rate: int) -> Decoded:
    count = int(clip.path)
    pcm = np.random.default_rng(count).integers(-9000, 9000, count).astype(np.int16)
    return Decoded(pcm=pcm, clipped=0, warnings=[])
