"""What a training step on a CPU costs with memory kept between steps, and with cheaper dropout of large maps.

    python benchmarks/memory_kept.py
    python benchmarks/memory_kept.py --models resnet50 --quick

Steps of forward, loss and gradient in bfloat16, each way in a process of its own, since what the C library is
told holds for a process: as it comes, with `keep_memory` (`auricle.training.devices`), and, for a network
with dropout of maps, with torch's own dropout in the place of `MapDropout`. Ways take turns; the figure is
that of the median step of the best round.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import torch
from stepping import hardware
from torch import nn
from torch.nn import functional

from auricle.models import build
from auricle.models.parts import MapDropout
from auricle.training.devices import keep_memory

CLIPS = {"urban_cnn": 32}  # in a step; of other networks patches
PATCHES = 64
WAYS = {  # name -> memory kept, torch's dropout
    "as it comes": (False, True),
    "cheaper dropout": (False, False),
    "memory kept": (True, True),
    "both": (True, False),
}


def steps(name: str, way: str, count: int, batch: int) -> dict[str, float]:
    """Median seconds of a step, and the largest memory, of one way; to be called in a process of its own."""
    kept, plain = WAYS[way]
    torch.set_num_threads(1)
    if kept and not keep_memory():
        raise SystemExit("this C library cannot be told to keep memory")
    torch.manual_seed(0)
    net = build(name, num_classes=50).to(memory_format=torch.channels_last).train()
    for module in list(net.modules()):
        for place, child in list(module.named_children()):
            if plain and isinstance(child, MapDropout):
                setattr(module, place, nn.Dropout(child.p))
    inputs, targets = torch.randn(batch, *net.input_shape), torch.zeros(batch, 50)
    times = []
    for _ in range(1 + count):
        before = time.perf_counter()
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(inputs)
        functional.binary_cross_entropy_with_logits(logits.float(), targets).backward()
        times.append(time.perf_counter() - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"seconds": statistics.median(times[1:]), "gigabytes": peak}


def measure(name: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Way -> seconds and memory of the best round, each round in a fresh process."""
    batch = options.batch or CLIPS.get(name, PATCHES)
    best: dict[str, dict[str, float]] = {}
    for _ in range(options.rounds):
        for way in ways_of(name):
            asked = json.dumps([name, way, options.steps, batch])
            done = subprocess.run(
                [sys.executable, __file__, "--one", asked],
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            found = json.loads(done.stdout)
            if way not in best or found["seconds"] < best[way]["seconds"]:
                best[way] = found
    return best


def ways_of(name: str) -> list[str]:
    """Those that differ for this network."""
    with torch.device("meta"):
        dropout = any(isinstance(module, MapDropout) for module in build(name, num_classes=2).modules())
    return list(WAYS) if dropout else ["as it comes", "memory kept"]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", default="urban_cnn,resnet50,vgg", help="names, with commas between")
    parser.add_argument("--batch", type=int, help="examples of a step")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="2 steps, 1 round")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(steps(*json.loads(options.one))))
        return
    if options.quick:
        options.steps, options.rounds = 2, 1
    print(hardware(torch.device("cpu")) + ", of which one is used")
    print("| network | way | s a step | GB | faster |\n|---|---|---|---|---|")
    for name in options.models.split(","):
        found = measure(name, options)
        for way, row in found.items():
            times = found["as it comes"]["seconds"] / row["seconds"]
            print(f"| {name} | {way} | {row['seconds']:.2f} | {row['gigabytes']:.2f} | {times:.2f} x |")


if __name__ == "__main__":
    main()
