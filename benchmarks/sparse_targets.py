"""What 30,871 labels cost a training step: targets as pairs up to the device, beside tables of zeros.

    python benchmarks/sparse_targets.py [--quick] [--labels N] [--device cuda]

Both ways give the device the same (batch, labels) table of float32, batch after batch, in one run: made dense
by the loader and sent, or sent as pairs and filled there. It prints the time of a batch in the loader thread
and from there to the table, and the memory of what waits in the loader's queue; and the same for the table of
all clips that class-balanced drawing once needed.
"""

import argparse
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from auricle.engine import pack
from auricle.shards import Pack, add_labels
from auricle.training.batches import AHEAD, Batch
from auricle.training.data import chosen_label_clips

BATCH = 128
CLIPS = 2000


def make_pack(folder: Path, num_labels: int) -> Pack:
    """A pack of short clips, two to eight labels each, by Zipf's law."""
    import soundfile

    random = np.random.default_rng(0)
    sounds = folder / "sounds" / "noise"
    sounds.mkdir(parents=True)
    soundfile.write(sounds / "first.wav", random.normal(0, 0.1, 800), 16_000)
    for number in range(1, CLIPS):
        (sounds / f"{number}.wav").hardlink_to(sounds / "first.wav")
    pack(sounds.parent, folder / "pack", quiet=True)
    names = [f"label {number:05d}" for number in range(num_labels)]
    share = 1 / np.arange(1, num_labels + 1)
    share /= share.sum()
    mapping = {
        id: [names[k] for k in random.choice(num_labels, random.integers(2, 9), replace=False, p=share)]
        for id in Pack(folder / "pack").ids
    }
    add_labels(folder / "pack", "many", mapping, names=names)
    return Pack(folder / "pack")


def median_ms(work: Callable[[int], object], rounds: int, wait: Callable[[], object]) -> float:
    times = []
    for number in range(rounds):
        started = time.perf_counter()
        work(number)
        wait()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def peak_megabytes(work: Callable[[], object]) -> float:
    tracemalloc.start()
    kept = work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del kept
    return peak / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=int, default=30_871)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(
            make_pack(Path(folder), arguments.labels),
            arguments.labels,
            torch.device(arguments.device),
            rounds=20 if arguments.quick else 200,
        )


def measure(packed: Pack, num_labels: int, device: torch.device, *, rounds: int) -> None:
    """Print both ways side by side."""
    gpu = device.type == "cuda"
    wait = torch.cuda.synchronize if gpu else (lambda: None)
    draws = np.random.default_rng(1).integers(0, len(packed), (rounds, BATCH))

    def dense(number: int) -> torch.Tensor:
        table = torch.from_numpy(packed.targets(draws[number], "many"))
        return table.pin_memory() if gpu else table

    def pairs(number: int) -> Batch:
        found = packed.target_pairs(draws[number], "many")
        parts = [torch.empty(BATCH, 0), *(torch.from_numpy(part) for part in found)]
        return Batch(*(part.pin_memory() if gpu else part for part in parts))

    tables, sparse = [dense(n) for n in range(4)], [pairs(n) for n in range(4)]
    assert torch.equal(tables[0].to(device), sparse[0].to(device).targets(num_labels))
    rows = {
        "loader thread, ms a batch": (median_ms(dense, rounds, wait), median_ms(pairs, rounds, wait)),
        "to the table on the device, ms": (
            median_ms(lambda n: tables[n % 4].to(device, non_blocking=True), rounds, wait),
            median_ms(lambda n: sparse[n % 4].to(device).targets(num_labels), rounds, wait),
        ),
        f"queue of {AHEAD} batches, MB": (
            peak_megabytes(lambda: [packed.targets(draws[n], "many") for n in range(AHEAD)]),
            peak_megabytes(lambda: [packed.target_pairs(draws[n], "many") for n in range(AHEAD)]),
        ),
        f"clips of each class of {len(packed)} clips, MB": (
            peak_megabytes(lambda: np.nonzero((packed.targets(np.arange(len(packed)), "many") > 0).T)),
            peak_megabytes(lambda: chosen_label_clips(packed, np.arange(len(packed)), "many")),
        ),
    }
    where = torch.cuda.get_device_name(device) if gpu else f"{torch.get_num_threads()} threads"
    print(f"{num_labels:,} labels, batch {BATCH}, {where}, torch {torch.__version__}")
    print(f"{'':42}{'dense':>10}{'pairs':>10}")
    for name, (before, after) in rows.items():
        print(f"{name:42}{before:10.3f}{after:10.3f}")


if __name__ == "__main__":
    main()
