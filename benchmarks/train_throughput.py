"""How many patches a second each network learns from: bfloat16 against float32, and compiled on a GPU.

    python benchmarks/train_throughput.py --data out/esc50
    python benchmarks/train_throughput.py --models resnet50 --width 0.25 --quick

Runs the recipe `hershey`'s own step: patches of 0.96 s drawn from all of the pack by the loader's thread, the
front end, the network, sigmoid cross-entropy, the gradient, Adam. Networks and precisions take turns; the
figure is of the median step of the best round. Beside it: how many patches a second the loader gives when
nothing computes, and the rate of ResNet-50 in Hershey et al. 2017, section 4.3, 11 batches of 128 a second on
20 GPUs of 2016.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from stepping import PASSES, Contender, hardware, make_pack

from auricle.models import count_multiplies
from auricle.recipes import configure
from auricle.shards import Pack
from auricle.training.devices import pick_device

NETWORKS = ("fully_connected", "alexnet", "vgg", "inception_v3", "resnet50")
PUBLISHED = 11 * 128  # patches a second, ResNet-50 on 20 GPUs


def setups(device: torch.device) -> dict[str, dict[str, str]]:
    """What a network is trained in: name -> settings."""
    kinds = {"float32": {"precision": "float32"}, "bfloat16": {"precision": "bfloat16"}}
    if device.type == "cuda":
        kinds["bfloat16 compiled"] = {"precision": "bfloat16", "compile": "true"}
    return kinds


def measure(data: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """A row for each network and precision."""
    device = pick_device(options.device)
    packed = Pack(data)
    rows: list[dict[str, object]] = []
    for name in options.models:
        for kind, settings in setups(device).items():
            settings = settings | {"model": name, "batch": str(options.batch)}
            if options.width != 1:
                settings["model_arguments.width"] = str(options.width)
            config = configure("hershey", data=data, settings=settings, device=str(device))
            contender = Contender(config, packed)
            if not rows:
                alone = contender.patches_from_loader(20 if options.quick else 200)
                print(f"loader alone: {alone:,.0f} patches/s\n")
                heads = ("patches/s", "ms a step", "GFLOP/s", "steps")
                print(f"{'network':18}{'precision':20}" + "".join(f"{head:>11}" for head in heads))
            contender.steps(options.warm)
            rounds = []
            began = time.perf_counter()
            while len(rounds) < options.rounds and (
                not rounds or time.perf_counter() - began < options.seconds
            ):
                rounds.append(statistics.median(contender.steps(options.steps)))
            step = min(rounds)
            net = contender.state.net
            work = 2 * PASSES * count_multiplies(net, tuple(net.input_shape)) * config.batch / step
            row = {
                "network": name,
                "precision": kind,
                "patches_per_second": config.batch / step,
                "milliseconds": step * 1e3,
                "gflops": work / 1e9,
                "steps": len(rounds) * options.steps,
            }
            rows.append(row)
            print(
                f"{name:18}{kind:20}{config.batch / step:11,.1f}{step * 1e3:11,.0f}{work / 1e9:11,.0f}"
                f"{row['steps']:11}",
                flush=True,
            )
            del contender, net
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a pack at 16 kHz; noise where none is given")
    parser.add_argument("--models", nargs="+", default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--width", type=float, default=1.0, help="of the networks; 1 is the published size")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--warm", type=int, help="steps before the clock runs; 2 on a CPU, 10 on a GPU")
    parser.add_argument("--steps", type=int, help="a round; 3 on a CPU, 50 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60, help="no new round after these, for a network")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    parser.add_argument("--quick", action="store_true", help="batches of 16, one short round")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    on_gpu = device.type == "cuda"
    options.warm = options.warm or (10 if on_gpu else 1 if options.quick else 2)
    options.steps = options.steps or (50 if on_gpu else 2 if options.quick else 3)
    if options.quick:
        options.rounds = 1
        options.batch = options.batch if on_gpu else min(options.batch, 16)
    threads = "" if on_gpu else f", {torch.get_num_threads()} threads"
    settings = f"batch {options.batch}, width {options.width:g}"
    print(f"{hardware(device)}{threads}, torch {torch.__version__}, {settings}")
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options.data or make_pack(Path(folder)), options)
    print(f"\npublished, ResNet-50 on 20 GPUs of 2016: {PUBLISHED:,} patches/s")
    best = max((row["patches_per_second"] for row in rows if row["network"] == "resnet50"), default=None)
    if best is not None and options.width == 1:
        print(f"ResNet-50 here: {best / PUBLISHED:.3g} times that")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
