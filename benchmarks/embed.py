"""Embedding: YAMNet's int8 file by our runner, beside its interpreter called in a loop.

All get the same waveforms from memory, a window every 0.975 s, its own length. The rounds alternate, so that
what else the machine does hits all; the median round counts. Then, where they are there, a pack is embedded
into Parquet, and recordings are, decoder and files included.

    python benchmarks/embed.py [--yamnet FILE.tflite] [--threads 2] [--pack PACK] [--media FOLDER] [--quick]
"""

import argparse
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from auricle.artifact import Artifact
from auricle.embedding import embed_files, embed_pack
from auricle.interop.tflite import import_tflite
from auricle.media_files import find_media
from auricle.runners import load_runner

DATA = Path(__file__).parents[2] / "shared" / "data"
EMBEDDING = "layer28/reduce_mean"
RATE, WINDOW = 16000, 15600


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--yamnet", type=Path, default=DATA / "yamnet" / "yamnet-int8.tflite")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pack", type=Path)
    parser.add_argument("--media", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    options = parser.parse_args()
    if not options.yamnet.is_file():
        raise SystemExit(f"no YAMNet here: {options.yamnet}; give --yamnet FILE.tflite")

    with tempfile.TemporaryDirectory() as folder:
        model = import_tflite(options.yamnet, Path(folder) / "yamnet", rate=RATE, embedding=EMBEDDING)
        count = 60 if options.quick else 600
        windows = np.random.default_rng(0).uniform(-0.5, 0.5, (count, WINDOW)).astype(np.float32)
        contenders = {
            f"interpreter, {options.threads} threads, scores": loop(model, windows, options.threads),
            "interpreter, 1 thread, scores": loop(model, windows, 1),
            "interpreter, 1 thread, all tensors kept, embeddings": loop(model, windows, 1, keep=True),
            "auricle, 1 thread, scores and embeddings": ours(model, windows, 1),
            f"auricle, {options.threads} threads, scores and embeddings": ours(
                model, windows, options.threads
            ),
        }
        print(
            f"{platform.processor() or platform.machine()}, ai-edge-litert {version('ai-edge-litert')}; "
            f"{count} windows of {WINDOW / RATE:g} s a round"
        )
        compare(contenders, count * WINDOW / RATE, rounds=3 if options.quick else 9)
        whole(model, options.pack, options.media, options.threads, Path(folder), quick=options.quick)


def compare(contenders: dict[str, Callable[[], None]], seconds: float, *, rounds: int) -> None:
    for embed in contenders.values():
        embed()  # warm
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, embed in contenders.items():
            begin = time.perf_counter()
            embed()
            times[name].append(time.perf_counter() - begin)
    print(f"{'':56}{'x real time':>12}{'best round':>12}")
    for name, took in times.items():
        rates = [f"{seconds / value:,.0f}" for value in (statistics.median(took), min(took))]
        print(f"{name:56}{rates[0]:>12}{rates[1]:>12}")


def whole(
    model: Artifact, pack: Path | None, media: Path | None, threads: int, folder: Path, *, quick: bool
) -> None:
    """Embed a pack and a folder of recordings, to Parquet."""
    if pack is not None:
        begin = time.perf_counter()
        result = embed_pack(pack, model.path, out=folder / "x.parquet", threads=threads, quiet=True)
        took = time.perf_counter() - begin
        name = f"a pack, {result['clips']} clips"
        print(f"{name:56}{result['windows'] * WINDOW / RATE / took:>12,.0f}")
    if media is not None:
        files = [path for path, problem in find_media([media]) if problem is None]
        files = files[:100] if quick else files
        begin = time.perf_counter()
        result = embed_files(files, model.path, folder / "y.parquet", threads=threads, quiet=True)
        took = time.perf_counter() - begin
        name = f"recordings, {len(files)} files"
        print(f"{name:56}{result['windows'] * WINDOW / RATE / took:>12,.0f}")


def ours(model: Artifact, windows: np.ndarray, threads: int) -> Callable[[], None]:
    runner = load_runner(model, threads=threads)
    return lambda: runner.run(windows) and None


def loop(model: Artifact, windows: np.ndarray, threads: int, *, keep: bool = False) -> Callable[[], None]:
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's, on keeping all tensors
        interpreter = Interpreter(
            str(model.state_path), num_threads=threads, experimental_preserve_all_tensors=keep
        )
        interpreter.allocate_tensors()
    (given,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
    (inner,) = [d["index"] for d in interpreter.get_tensor_details() if d["name"].endswith(EMBEDDING)]

    def run() -> None:
        for window in windows:
            interpreter.set_tensor(given["index"], window)
            interpreter.invoke()
            interpreter.get_tensor(scores["index"])
            if keep:
                interpreter.get_tensor(inner)

    return run


if __name__ == "__main__":
    main()
