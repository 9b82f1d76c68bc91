"""A model in onnxruntime, float32 and int8, beside torch in bfloat16 and float32, on the same threads.

All get waveforms from memory and give logits, front end included. The rounds of the contenders alternate, so
that what else the machine does hits all; the median round counts. A model of --architecture has weights that
nobody trained, which takes the same time: any that hears sound by itself. --model takes a trained one, with
its embedder and members where it has some, or a graph (torch then has nothing to run).

With --data PACK: how far scores are from float32's on up to 128 of its clips, in 8 bits with ranges chosen by
as many others, and by the model's own check alone. This says something of trained weights only.

    python benchmarks/export_speed.py [--architecture NAME ...] [--threads 2] [--quick]
    python benchmarks/export_speed.py --model default --data out/esc50
"""

import argparse
import dataclasses
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from auricle.artifact import load_artifact, save_artifact
from auricle.features import FeatureConfig
from auricle.frontend import LogMel
from auricle.interop.onnx import export_onnx
from auricle.models import build
from auricle.presets import librosa_defaults
from auricle.probabilities import to_scores
from auricle.runners import load_runner
from auricle.runners.torch import TorchRunner
from auricle.shards import Pack

ARCHITECTURES = ("compact", "vggish", "resnet50")
LABELS = 527
FRONT_END = 15600, FeatureConfig()  # a window's samples, and the log-mel of it
OTHERS = {"compact": (32000, FeatureConfig()), "urban_cnn": (441_000, librosa_defaults())}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--architecture", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--model", help="a trained model in place of these")
    parser.add_argument("--data", type=Path, help="a pack, at the model's rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="compact alone, few rounds: does it run?")
    options = parser.parse_args()
    if options.quick:
        options.architecture, options.rounds = ["compact"], 3
    torch.set_num_threads(options.threads)
    machine = platform.processor() or platform.machine()
    print(
        f"{machine}, {options.threads} threads, batches of {options.batch}, onnxruntime "
        f"{onnxruntime.__version__}, torch {torch.__version__}"
    )
    print(f"{'':16}{'contender':18}{'x real time':>12}{'against torch bf16':>20}{'MB':>8}")
    with tempfile.TemporaryDirectory(prefix="auricle-export-") as folder:
        if options.model:
            measure(options.model, Path(folder), options)
            return
        for name in options.architecture:
            measure(untrained(Path(folder), name), Path(folder), options)


def untrained(folder: Path, name: str) -> Path:
    """A model of 527 labels with its first weights, and norms that know the size of what they see."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"num_classes": LABELS}
    net = build(name, **arguments).eval()
    if net.input_kind == "waveform":
        window, entry = int(net.input_shape[0]), {"kind": "waveform", "rate": FRONT_END[1].rate}
    elif net.input_kind == "logmel":
        window, features = OTHERS.get(name, FRONT_END)
        entry = {"kind": "logmel", "rate": features.rate, "features": dataclasses.asdict(features)}
    else:
        raise SystemExit(f"{name}: hears embeddings; train one and give it as --model, with its embedder")
    sounds = torch.from_numpy(np.random.default_rng(1).uniform(-0.5, 0.5, (2, window)).astype(np.float32))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():  # else a deep net's values grow to 10,000, and logits with them
        net.train()(sounds if net.input_kind == "waveform" else LogMel(features)(sounds))
    net.eval()
    described: dict[str, Any] = {
        "weights": {key: tensor.numpy() for key, tensor in net.state_dict().items()},
        "architecture": {"name": name, "arguments": arguments},
        "inputs": [entry],
        "labels": tuple(f"label {k}" for k in range(LABELS)),
        "window": window,
        "hop": window,
        "embedding_size": net.embedding_size,
    }
    heard = np.random.default_rng(0).uniform(-0.5, 0.5, (1, window)).astype(np.float32)
    artifact = save_artifact(folder / name, **described, check=(heard, np.zeros((1, LABELS), np.float32)))
    logits = load_runner(artifact, batch=1).run(heard)[0]
    save_artifact(folder / name, **described, check=(heard, logits))
    return folder / name


def clips_of(artifact: Any, data: Path) -> np.ndarray:
    """(C, window) the first window of up to 128 clips, none of them among those that choose the ranges."""
    pack = Pack(data)
    if pack.rate != artifact.rate:
        raise SystemExit(f"{data}: at {pack.rate} Hz; the model hears {artifact.rate} Hz")
    clips = np.unique(np.linspace(0, len(pack) - 1, min(len(pack), 256)).astype(int))[1::2]
    windows = np.zeros((len(clips), artifact.window), np.float32)
    for row, clip in zip(windows, clips, strict=True):
        samples = pack.samples(int(clip))[: artifact.window]
        row[: len(samples)] = np.asarray(samples, np.float32) / 32768
    return windows


def print_loss(artifact: Any, files: dict[str, Path], windows: np.ndarray) -> None:
    """How far scores of the graphs in 8 bits are from those of the one in float32."""
    scores = {}
    for name, file in files.items():
        scores[name] = to_scores(artifact)(load_runner(load_artifact(file), batch=4).run(windows)[0])
    exact = scores.pop("float32")
    for name, rounded in scores.items():
        apart, same = np.abs(rounded - exact), (rounded.argmax(1) == exact.argmax(1)).mean()
        print(
            f"{'':16}{name} against float32 on {len(windows)} windows: scores differ by {apart.max():.4f} "
            f"at most, {apart.mean():.5f} on average; the first label is the same in {same:.1%}"
        )


def measure(model: str | Path, folder: Path, options: argparse.Namespace) -> None:
    """Print a row for each contender."""
    artifact = load_artifact(model)
    files = {"float32": folder / "float32.onnx", "int8": folder / "int8.onnx"}
    export_onnx(model, files["float32"])
    export_onnx(model, files["int8"], quantize="int8", data=options.data)
    waveforms = np.random.default_rng(0).uniform(-0.5, 0.5, (options.batch, artifact.window))
    waveforms = waveforms.astype(np.float32)

    def contender(runner: Any) -> Callable[[], Any]:
        return lambda: runner.run(waveforms)

    sizes = {"threads": options.threads, "batch": options.batch}
    contenders = {
        f"onnx {name}": contender(load_runner(load_artifact(file), **sizes)) for name, file in files.items()
    }
    if artifact.backend == "torch":
        for precision in ("bfloat16", "float32"):
            contenders[f"torch {precision}"] = contender(TorchRunner(artifact, precision=precision, **sizes))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for score in contenders.values():
        score()  # warm
    for _ in range(options.rounds):
        for name, score in contenders.items():
            begin = time.perf_counter()
            score()
            times[name].append(time.perf_counter() - begin)
    seconds = options.batch * artifact.window / artifact.rate
    medians = {name: statistics.median(rounds) for name, rounds in times.items()}
    reference = medians.get("torch bfloat16")
    for name, took in medians.items():
        ratio = f"{reference / took:.2f}" if reference else "-"
        file = files.get(name.removeprefix("onnx "))
        size = f"{file.stat().st_size / 1e6:.1f}" if file else ""
        print(f"{artifact.name:16}{name:18}{seconds / took:>12,.0f}{ratio:>20}{size:>8}", flush=True)
    if options.data:
        alone = folder / "alone.onnx"
        export_onnx(model, alone, quantize="int8")
        windows = clips_of(artifact, options.data)
        print_loss(artifact, files | {"int8, ranges of its check,": alone}, windows)


if __name__ == "__main__":
    main()
