"""What reading from the pack costs a training step: the same steps fed by the loader and fed from memory.

python benchmarks/loader.py --data out/esc50

Both run the bundled recipe's own step (speed, mixing, front end, masks, network, optimizer), in turn, in
one process.  The goal is a difference under 5% of a step.  It also prints how fast the loader is when
nothing computes beside it.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from stepping import make_pack

from auricle.recipes import configure
from auricle.shards import Pack
from auricle.training.batches import Batch
from auricle.training.data import choose_clips, make_sampler
from auricle.training.devices import pick_dtype
from auricle.training.loop import learning_rate, read_ahead
from auricle.training.outcome import LiveRunner
from auricle.training.state import make_state
from auricle.training.step import update


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a pack at 16 kHz; noise where none is given")
    parser.add_argument("--steps", type=int, default=20, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps, arguments.rounds = 3, 2
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments.data or make_pack(Path(folder)), arguments.steps, arguments.rounds)


def measure(data: Path, steps: int, rounds: int) -> None:
    """Print milliseconds a step both ways, and the loader alone."""
    config, packed = configure("compact-esc50", data=data), Pack(data)
    cpu = torch.device("cpu")
    clips, _ = choose_clips(packed, config)
    sampler = make_sampler(packed, clips, config)
    state = make_state(config, len(packed.label_names()), cpu)
    live = LiveRunner(config, packed, state.average, cpu, pick_dtype("auto", cpu))

    def reading(first: int, count: int):
        return read_ahead(packed, clips, sampler, range(first, first + count), live, config)

    def step(batch: Batch) -> None:
        update(state, batch, learning_rate(config, state.step, 10_000), live, config)

    stored = [reading(0, 1).read(number) for number in range(steps)]
    for batch in stored[:3]:
        step(batch)
    loaded, from_memory = [], []
    for turn in range(rounds):
        with reading(turn * steps, steps) as batches:
            started = time.perf_counter()
            for _ in range(steps):
                step(batches.next())
            loaded.append((time.perf_counter() - started) / steps)
        started = time.perf_counter()
        for batch in stored:
            step(batch)
        from_memory.append((time.perf_counter() - started) / steps)
    with reading(0, 10 * steps) as batches:
        started = time.perf_counter()
        for _ in range(10 * steps):
            batches.next()
        alone = (time.perf_counter() - started) / (10 * steps)
    ours, reference = statistics.median(loaded), statistics.median(from_memory)
    ratios = [a / b - 1 for a, b in zip(loaded, from_memory, strict=True)]
    seconds = config.window / config.features.rate
    print(f"{torch.get_num_threads()} threads, {live.dtype}, {config.batch} clips of {seconds:g} s")
    print(f"step fed by the loader {ours * 1e3:.1f} ms, from memory {reference * 1e3:.1f} ms")
    print(
        f"loader costs {statistics.median(ratios):+.1%} of a step (median of {rounds} pairs); goal under 5%"
    )
    print(f"loader alone {alone * 1e3:.2f} ms a batch, {config.batch / alone:,.0f} patches a second")


if __name__ == "__main__":
    main()
