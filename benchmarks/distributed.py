"""How much faster two processes train than one, a thread each, and what adding up gradients costs.

    python benchmarks/distributed.py --data out/esc50
    python benchmarks/distributed.py --quick

Each process has the same share of a batch, so two learn from twice as many patches a step. First one process
alone takes training's own steps (loader, front end, network, gradient, Adam); then as many processes as asked
for take them together, by turns with and without adding up gradients. What is lost without is lost to each
other on the machine (memory, caches, clocks) and in waiting for the slowest, since losses are still added up;
the rest is what adding up gradients takes. Figures are of median steps of the best round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import torch
from stepping import Contender, hardware, make_pack

from auricle import distributed
from auricle.recipes import configure
from auricle.shards import Pack


def work(options: argparse.Namespace) -> None:
    """One of the processes, or the one alone; rank 0 prints what it measured."""
    torch.set_num_threads(options.threads)
    distributed.join("cpu")
    settings = {"model": options.model, "batch": str(options.batch * distributed.world())}
    settings |= {"precision": options.precision, "threads": str(options.threads)}
    if options.width != 1:
        settings["model_arguments.width"] = str(options.width)
    config = configure("hershey", data=options.data, settings=settings, device="cpu")
    contender = Contender(config, Pack(options.data))
    state = contender.state
    state.predict = distributed.wrap(state.net, state.predict)
    contender.steps(options.warm)
    rounds: dict[str, list[float]] = {"summed": [], "unsummed": []}
    for _ in range(options.rounds):
        for kind, seconds in rounds.items():
            distributed.gather(None)  # together
            with distributed.unsummed(state.predict) if kind == "unsummed" else nullcontext():
                seconds.append(statistics.median(contender.steps(options.steps)))
    weights = sum(p.numel() for p in state.net.parameters())
    best = {kind: max(distributed.gather(min(seconds))) for kind, seconds in rounds.items()}
    if distributed.rank() == 0:
        print(json.dumps(best | {"batch": config.batch, "weights": weights}))
    distributed.leave()


def measure(options: argparse.Namespace, data: Path, count: int) -> dict[str, float]:
    """What so many processes measured."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    names = ("model", "width", "batch", "precision", "threads", "warm", "steps", "rounds")
    given = [part for name in names for part in (f"--{name}", str(getattr(options, name)))]
    done = subprocess.run(
        [sys.executable, *(launch if count > 1 else []), __file__, "--work", "--data", str(data), *given],
        env=os.environ | {"OMP_NUM_THREADS": str(options.threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a pack at 16 kHz; noise where none is given")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--width", type=float, default=0.25, help="of the network; 1 is the published size")
    parser.add_argument("--batch", type=int, default=32, help="patches of each process")
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--warm", type=int, default=3, help="steps before the clock runs")
    parser.add_argument("--steps", type=int, default=10, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--quick", action="store_true", help="batches of 4, two rounds of two steps")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return work(options)
    if options.quick:
        options.batch, options.warm, options.steps, options.rounds = 4, 1, 2, 2
    print(
        f"{hardware(torch.device('cpu'))}, torch {torch.__version__}, "
        f"{options.model} of width {options.width:g}"
    )
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or make_pack(Path(folder))
        alone, several = measure(options, data, 1), measure(options, data, options.processes)
    rates = {1: alone["batch"] / alone["summed"], options.processes: several["batch"] / several["summed"]}
    ratio = rates[options.processes] / rates[1]
    adding = several["summed"] - several["unsummed"]
    sharing = several["unsummed"] - alone["summed"]
    print(
        f"{alone['weights'] / 1e6:.1f} M weights; of each process {options.batch} patches a step and "
        f"{options.threads} threads"
    )
    for count, rate in rates.items():
        step = (alone if count == 1 else several)["summed"]
        print(f"{count} processes: {rate:8.1f} patches/s, {step * 1e3:.0f} ms a step")
    print(f"ratio {ratio:.2f}; 1.8 was the goal")
    print(f"lost in all-reduce: {adding * 1e3:.1f} ms a step, {adding / several['summed']:.1%}")
    print(f"lost to each other: {sharing * 1e3:.1f} ms a step, {sharing / several['summed']:.1%}")
    if options.json:
        figures = {"alone": alone, "several": several, "ratio": ratio, "all_reduce_seconds": adding}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
