"""A model in onnxruntime, float32 and int8, beside torch in bfloat16 and float32, on the same threads.

All get waveforms from memory and give logits, front end included. The rounds of the contenders alternate, so
that what else the machine does hits all; the median round counts. A model of --architecture has weights that
nobody trained, which takes the same time; --model takes a trained one's, torch's or a graph's (torch then has
nothing to run).

    python benchmarks/export_speed.py [--architecture NAME ...] [--model DIR] [--threads 2] [--quick]
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
from auricle.interop.onnx import export_onnx
from auricle.models import build
from auricle.runners import load_runner
from auricle.runners.torch import TorchRunner

ARCHITECTURES = ("compact", "vggish", "resnet50")
RATE, COMPACT_WINDOW, PATCH = 16000, 32000, 15600


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--architecture", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--model", type=Path, help="a trained torch model's folder in place of these")
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
    print(f"{'':14}{'contender':18}{'x real time':>12}{'against torch bf16':>20}")
    with tempfile.TemporaryDirectory(prefix="auricle-export-") as folder:
        if options.model:
            measure(options.model, Path(folder), options)
            return
        for name in options.architecture:
            measure(untrained(Path(folder), name), Path(folder), options)


def untrained(folder: Path, name: str) -> Path:
    """A model of 527 labels with its first weights."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"num_classes": 527}
    net = build(name, **arguments).eval()
    if net.input_kind == "waveform":
        window, entry = int(net.input_shape[0]), {"kind": "waveform", "rate": RATE}
    elif net.input_kind == "logmel" and net.input_shape in ((1, 96, 64), (1, 198, 64)):
        window = COMPACT_WINDOW if name == "compact" else PATCH
        entry = {"kind": "logmel", "rate": RATE, "features": dataclasses.asdict(FeatureConfig())}
    else:
        raise SystemExit(f"{name}: of --architecture take one that hears patches or waveforms of {RATE} Hz")
    described: dict[str, Any] = {
        "weights": {key: tensor.numpy() for key, tensor in net.state_dict().items()},
        "architecture": {"name": name, "arguments": arguments},
        "inputs": [entry],
        "labels": tuple(f"label {k}" for k in range(527)),
        "window": window,
        "hop": window,
        "embedding_size": net.embedding_size,
    }
    heard = np.random.default_rng(0).uniform(-0.5, 0.5, (1, window)).astype(np.float32)
    artifact = save_artifact(folder / name, **described, check=(heard, np.zeros((1, 527), np.float32)))
    logits = load_runner(artifact, batch=1).run(heard)[0]
    save_artifact(folder / name, **described, check=(heard, logits))
    return folder / name


def measure(model: Path, folder: Path, options: argparse.Namespace) -> None:
    """Print a row for each contender."""
    artifact = load_artifact(str(model))
    files = {"float32": folder / "float32.onnx", "int8": folder / "int8.onnx"}
    losses: list[str] = []
    export_onnx(model, files["float32"])
    export_onnx(model, files["int8"], quantize="int8", say=losses.append)
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
        print(f"{artifact.name:14}{name:18}{seconds / took:>12,.0f}{ratio:>20}")
    print(f"{'':14}{losses[0]}")


if __name__ == "__main__":
    main()
