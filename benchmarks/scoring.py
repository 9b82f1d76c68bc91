"""Scoring alone: our model by onnxruntime beside YAMNet's int8 file by LiteRT, on the same threads.

Both get waveforms from memory and give scores, front end included. The rounds of the two alternate, so that
what else the machine does hits both; the median round counts. YAMNet hears a window every 0.975 s, its own
length; ours one every hop.

    python benchmarks/scoring.py [--model NAME|DIR|FILE.onnx] [--yamnet FILE.tflite] [--threads 2] [--quick]
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from auricle.artifact import Artifact, load_artifact
from auricle.features import num_frames
from auricle.runners import load_runner
from auricle.tagging import BATCH

YAMNET = Path(__file__).parents[2] / "shared" / "data" / "yamnet" / "yamnet-int8.tflite"
YAMNET_MULTIPLIES = 69.2e6  # a window, as its README says, without the front end
YAMNET_RATE, YAMNET_WINDOW = 16000, 15600


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="default")
    parser.add_argument("--yamnet", type=Path, default=YAMNET)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    options = parser.parse_args()

    artifact = load_artifact(options.model)
    seconds = 60 if options.quick else 600
    contenders = {f"auricle {artifact.name}": ours(artifact, options.threads, options.batch, seconds)}
    if options.yamnet.is_file():
        contenders["YAMNet int8"] = yamnet(options.yamnet, options.threads, seconds)
    else:
        print(f"no YAMNet here ({options.yamnet}): ours alone")
    for score in contenders.values():
        score()  # warm
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(3 if options.quick else 9):
        for name, score in contenders.items():
            begin = time.perf_counter()
            score()
            times[name].append(time.perf_counter() - begin)

    machine = platform.processor() or platform.machine()
    print(f"{machine}, {options.threads} threads, onnxruntime {onnxruntime.__version__}")
    print(f"{'':32}{'x real time':>12}{'best round':>12}   multiplies a second of audio")
    costs = (multiplies(artifact), YAMNET_MULTIPLIES * YAMNET_RATE / YAMNET_WINDOW)
    for (name, rounds), cost in zip(times.items(), costs, strict=False):
        rates = [f"{seconds / took:,.0f}" for took in (statistics.median(rounds), min(rounds))]
        print(f"{name:32}{rates[0]:>12}{rates[1]:>12}   {'?' if cost is None else f'{cost / 1e6:.1f} M'}")
    if len(times) == 2:
        first, second = (statistics.median(rounds) for rounds in times.values())
        print(f"ratio to YAMNet: {second / first:.2f} (1 or more is the goal)")


def ours(artifact: Artifact, threads: int, batch: int, seconds: float) -> Callable[[], None]:
    runner = load_runner(artifact, threads=threads, batch=batch)
    windows = max(1, round(seconds * artifact.rate / artifact.hop))
    waveforms = np.random.default_rng(0).uniform(-0.5, 0.5, (batch, artifact.window)).astype(np.float32)

    def score() -> None:
        for start in range(0, windows, batch):
            runner.run(waveforms[: windows - start])

    return score


def yamnet(path: Path, threads: int, seconds: float) -> Callable[[], None]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (given,), outputs = interpreter.get_input_details(), interpreter.get_output_details()
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, given["shape"])
    if np.issubdtype(given["dtype"], np.integer):
        scale, zero = given["quantization"]
        limits = np.iinfo(given["dtype"])
        waveform = np.clip(np.round(waveform / scale) + zero, limits.min, limits.max)
    waveform = waveform.astype(given["dtype"])

    def score() -> None:
        for _ in range(round(seconds * YAMNET_RATE / YAMNET_WINDOW)):
            interpreter.set_tensor(given["index"], waveform)
            interpreter.invoke()
            interpreter.get_tensor(outputs[0]["index"])

    return score


def multiplies(artifact: Artifact) -> float | None:
    """Of the net without the front end, a second of audio; None where torch is missing to count them."""
    try:
        from auricle.models import MODELS, count_multiplies
    except ModuleNotFoundError:
        return None
    if artifact.architecture.get("name") not in MODELS:
        return None
    net = MODELS[artifact.architecture["name"]](**artifact.architecture["arguments"])
    shape = (1, num_frames(artifact.window, artifact.features), artifact.features.bands)
    return count_multiplies(net, shape) * artifact.rate / artifact.hop


if __name__ == "__main__":
    main()
