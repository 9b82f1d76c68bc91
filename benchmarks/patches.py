"""Random patches from a pack, a second of one process, beside the same slices of one memory-mapped file.

    python benchmarks/patches.py PACK [--quick]

The goal is 50,000 patches of 6,000 samples a second. Without a pack, a synthetic one is made.
"""

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from auricle.datasets import Clip
from auricle.engine import pack
from auricle.engine.packing import Range
from auricle.shards import Pack
from auricle.shards.writer import Decoded

GOAL = 50_000
BATCH = 256


def noise(clip: Range, rate: int) -> Decoded:
    """A clip of 5 s that no file holds."""
    draw = np.random.default_rng(int(clip.path))
    return Decoded(pcm=draw.integers(-30000, 30000, 5 * rate).astype(np.int16), clipped=0, warnings=[])


def patches_per_second(fetch: Callable[[int], None], seconds: float, rounds: int) -> float:
    """The median over some rounds: the machine may have other work."""
    rates = []
    for step in range(rounds):
        end, begin, count = time.perf_counter() + seconds, time.perf_counter(), 0
        while time.perf_counter() < end:
            fetch(step * 100_000 + count)
            count += 1
        rates.append(count * BATCH / (time.perf_counter() - begin))
    return float(np.median(rates))


def measure(folder: Path, length: int, seconds: float, rounds: int) -> tuple[float, float, float]:
    """Patches a second: the pack into a given array, the pack, and a plain np.memmap of the same samples."""
    reader = Pack(folder)
    starts = np.concatenate([[0], np.cumsum(reader.lengths)])
    with tempfile.NamedTemporaryFile() as file:
        for clip in range(len(reader)):
            file.write(reader.samples(clip).tobytes())
        file.flush()
        plain = np.memmap(file.name, dtype=np.int16, mode="r")
        plain.sum(dtype=np.int64)  # both are measured from the page cache
        draw = np.random.default_rng(0)
        longest = np.maximum(reader.lengths - length, 0)
        drawn = []
        for _ in range(64):
            clips = draw.integers(0, len(reader), BATCH)
            drawn.append((clips, (draw.random(BATCH) * (longest[clips] + 1)).astype(np.int64)))
        out = np.empty((BATCH, length), dtype=np.int16)

        def from_pack_into(step: int) -> None:
            reader.patches(*drawn[step % 64], length, out)

        def from_pack(step: int) -> None:
            reader.patches(*drawn[step % 64], length)

        def from_memmap(step: int) -> None:
            clips, offsets = drawn[step % 64]
            for row, start in enumerate((starts[clips] + offsets).tolist()):
                piece = plain[start : start + length]
                out[row, : len(piece)] = piece

        return (
            patches_per_second(from_pack_into, seconds, rounds),
            patches_per_second(from_pack, seconds, rounds),
            patches_per_second(from_memmap, seconds, rounds),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pack", nargs="?", type=Path)
    parser.add_argument("--length", type=int, default=6000, help="samples in a patch")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    seconds, rounds = (0.2, 3) if arguments.quick else (1.0, 7)
    with tempfile.TemporaryDirectory() as folder:
        where = arguments.pack
        if where is None:
            where = Path(folder) / "pack"
            clips = [
                Clip(id=str(number), path=str(number)) for number in range(200 if arguments.quick else 2000)
            ]
            pack(clips, where, decode=noise, quiet=True)
        into, fresh, plain = measure(where, arguments.length, seconds, rounds)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {sys.version.split()[0]}, NumPy {np.__version__}")
    print(f"random patches of {arguments.length} samples, batches of {BATCH}, one process, warm cache:")
    print(f"  Pack.patches(out=...)   {into:10,.0f} a second   {into / GOAL:5.1f} x the goal of {GOAL:,}")
    print(f"  Pack.patches            {fresh:10,.0f} a second   {fresh / GOAL:5.1f} x")
    print(f"  plain np.memmap, a loop {plain:10,.0f} a second   ours with out= is {into / plain:.2f} x this")


if __name__ == "__main__":
    main()
