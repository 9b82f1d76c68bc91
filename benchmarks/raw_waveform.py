"""What the raw-waveform network costs: time and memory of a step, speed of scoring, waiting for data.

    python benchmarks/raw_waveform.py
    python benchmarks/raw_waveform.py --device cuda --batches 32 128 256 --compile
    python benchmarks/raw_waveform.py --quick

The full published network, 10 s at 16 kHz, 128 x 2500 between its two halves, as many classes as the pack has
(527 of noise where none is given), trained as the recipe `chen` does in its step one: clips drawn from the
pack by the loader's thread, mixed in pairs, forward, gradient, Adam, in bfloat16 where the machine is fast at
it. Each row is measured in a process of its own, so that its peak memory is its own: all of the process on a
CPU, with Python and torch (how much that was before the first step stands beside it), and what tensors took
on a GPU.

Each batch is trained as it is, and with blocks computed again instead of kept (`checkpoint_activations`); the
largest one also in 2 and 4 parts (`accumulate`). "x time" and "x memory" are against the same batch as it is.
"G mult/s" counts the multiplies of convolutions and linear layers, three passes a step; what is computed
again is not counted again. "of matrix" is its share of what a product of two square matrices gives in the
same precision, measured in the same run.

Last: the share of its time that `auricle.training.train` itself stood waiting for data, by its own log, and
how many clips a second the loader gives when nothing computes.
"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from stepping import PASSES, Contender, finish, hardware, make_pack, matrix_rate, peak_memory

from auricle.models import build, count_multiplies, count_weights
from auricle.recipes import configure
from auricle.shards import Pack
from auricle.training import TrainConfig, train
from auricle.training.devices import pick_device, pick_dtype, set_up

RATE, CLASSES = 16_000, 527  # of AudioSet
TINY = {"depth_2d": 18, "bands": 16, "width": 0.125}
HEADS = f"{'batch':>6}{'parts':>6}  {'how':12}{'seconds':>9}{'clips/s':>9}{'x time':>8}{'peak MB':>9}"
HEADS += f"{'at first':>9}{'x memory':>9}{'G mult/s':>10}{'of matrix':>10}"


def main() -> None:
    options = arguments()
    if options.one:  # a row, in its own process
        print(json.dumps(measure(json.loads(options.one))))
        return
    device = pick_device(options.device)
    dtype = pick_dtype(options.precision, device)
    threads = "" if device.type == "cuda" else f", {options.threads or torch.get_num_threads()} threads"
    print(f"{hardware(device)}{threads}, torch {torch.__version__}, {str(dtype).removeprefix('torch.')}")
    with tempfile.TemporaryDirectory() as folder:
        data = options.data
        if data is None:
            classes = 10 if options.quick else CLASSES
            clips = max(64, classes, 2 * options.batches[-1])
            data = make_pack(Path(folder), clips=clips, seconds=options.window / RATE, classes=classes)
        labels = len(Pack(data).label_names())
        with torch.device("meta"):
            net = build("raw_waveform", num_classes=labels, **network(options))
            multiplies = count_multiplies(net, (options.window,))
        size = f"{count_weights(net) / 1e6:,.1f} M weights, {multiplies / 1e9:,.2f} G multiplies a clip"
        print(f"{size}, {labels} classes", flush=True)
        common = {
            "data": str(data),
            "labels": labels,
            "folder": folder,
            "device": str(device),
            "precision": options.precision,
            "threads": options.threads,
            "window": options.window,
            "network": network(options),
            "warm": options.warm,
            "steps": options.steps,
        }
        limit = run_one(common | {"what": "matrix", "size": options.matrix})["rate"]
        print(f"product of two matrices of {options.matrix:,}: {limit / 1e9:,.0f} G multiplies/s\n")
        rows = training_rows(common, options, multiplies, limit)
        print()
        rows += scoring_rows(common, options, multiplies, limit)
        print()
        rows.append(waiting_row(common, options))
    if options.json:
        about = {"hardware": hardware(device) + threads, "multiplies": multiplies, "matrix": limit}
        options.json.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a pack at 16 kHz; clips of noise where none is given")
    parser.add_argument("--batches", type=int, nargs="+", metavar="B", help="1 2 4; on a GPU 32 128 256")
    parser.add_argument("--stride", type=int, default=64, help="128: the smaller variant, 128 x 1250")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--precision", default="auto", help="auto, bfloat16 or float32")
    parser.add_argument("--compile", action="store_true", help="each batch by torch.compile too, on a GPU")
    parser.add_argument("--warm", type=int, help="steps before the clock runs; 1 on a CPU, 5 on a GPU")
    parser.add_argument("--steps", type=int, help="of which the median counts; 3 on a CPU, 15 on a GPU")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    parser.add_argument("--quick", action="store_true", help="a tiny network and clips of 2 s")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return options
    on_gpu = pick_device(options.device).type == "cuda"
    if options.compile and not on_gpu:
        parser.error("--compile is for GPUs")
    options.batches = sorted(
        options.batches or ([4] if options.quick else [32, 128, 256] if on_gpu else [1, 2, 4])
    )
    options.warm = options.warm or (5 if on_gpu else 1)
    options.steps = options.steps or (2 if options.quick else 15 if on_gpu else 3)
    options.parts = [2] if options.quick else [2, 4]
    options.window = 2 * RATE if options.quick else 10 * RATE
    options.matrix = 1024 if options.quick else 8192 if on_gpu else 4096
    return options


def network(options: argparse.Namespace) -> dict[str, Any]:
    """The network's arguments, but for the number of classes."""
    return {"stride": options.stride, "input_shape": [options.window]} | (TINY if options.quick else {})


def training_rows(
    common: dict[str, Any], options: argparse.Namespace, multiplies: int, limit: float
) -> list[dict[str, Any]]:
    """A training step of each batch in each way."""
    print(f"training\n{HEADS}")
    rows = []
    for batch in options.batches:
        ways = [(1, "as it is"), (1, "recompute")]
        if options.compile:
            ways.append((1, "compiled"))
        if batch == options.batches[-1]:
            both = ways[:1] if options.quick else ways[:2]
            ways += [(parts, how) for parts in options.parts if parts <= batch for _, how in both]
        plain: dict[str, Any] = {}
        for parts, how in ways:
            row = {"what": "train", "batch": batch, "parts": parts, "how": how}
            row |= run_one(common | row)
            plain = plain or row
            rows.append(row)
            print(in_a_line(row, plain, PASSES * multiplies, limit), flush=True)
    return rows


def scoring_rows(
    common: dict[str, Any], options: argparse.Namespace, multiplies: int, limit: float
) -> list[dict[str, Any]]:
    """One forward pass of each batch, without gradients."""
    print(f"scoring\n{HEADS}{'x real time':>13}")
    rows = []
    for batch in options.batches:
        row = {"what": "score", "batch": batch, "parts": 1, "how": "forward"}
        row |= run_one(common | row)
        rows.append(row)
        line = in_a_line(row, row, multiplies, limit)
        if "seconds" in row:
            line += f"{batch * options.window / RATE / row['seconds']:13,.1f}"
        print(line, flush=True)
    return rows


def waiting_row(common: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """A real training: its share of waiting, and the loader alone."""
    row: dict[str, Any] = {"what": "wait", "batch": options.batches[-1], "parts": 1, "how": "as it is"}
    row |= run_one(common | row)
    if "failed" in row and row["batch"] > 1:  # too large for this machine
        row["how"] = "recompute"
        row.pop("failed")
        row |= run_one(common | row)
    if "failed" in row:
        print(f"a training with batches of {row['batch']}: {row['failed']}")
        return row
    print(
        f"a training of {row['timed']} steps with batches of {row['batch']}: "
        f"{row['waited']:.2%} of the time waiting for data; {row['seconds']:.3f} s a step\n"
        f"loader alone: {row['loader']:,.0f} clips/s"
    )
    return row


def in_a_line(row: dict[str, Any], plain: dict[str, Any], multiplies: int, limit: float) -> str:
    start = f"{row['batch']:6}{row['parts']:6}  {row['how']:12}"
    if "failed" in row:
        return f"{start}{row['failed']}"
    used = multiplies * row["batch"] / row["seconds"]
    times, memory = (
        f"{row[name] / plain[name]:.2f}" if name in plain else "-" for name in ("seconds", "memory")
    )
    return (
        f"{start}{row['seconds']:9.3f}{row['batch'] / row['seconds']:9.2f}{times:>8}"
        f"{row['memory'] / 1e6:9,.0f}{row['before'] / 1e6:9,.0f}{memory:>9}"
        f"{used / 1e9:10,.0f}{used / limit:10.1%}"
    )


def run_one(row: dict[str, Any]) -> dict[str, Any]:
    """A row's figures from a fresh process; "failed" says why there are none."""
    command = [sys.executable, __file__, "--one", json.dumps(row)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if "OutOfMemoryError" in done.stderr or done.returncode in (-9, 137):
        return {"failed": "out of memory"}
    raise SystemExit(f"{row}: status {done.returncode}\n{done.stderr}")


# --- what a row's own process does


def measure(row: dict[str, Any]) -> dict[str, Any]:
    device = pick_device(row["device"])
    if row["threads"]:
        torch.set_num_threads(row["threads"])
    set_up(device)
    if row["what"] == "matrix":
        rounds = 100 if device.type == "cuda" else 8
        return {"rate": matrix_rate(device, pick_dtype(row["precision"], device), row["size"], rounds)}
    return {"train": train_steps, "score": score, "wait": wait}[row["what"]](row, device)


def settings(row: dict[str, Any], **changes: Any) -> TrainConfig:
    """The recipe's step one with the row's batch, way and network."""
    return dataclasses.replace(
        configure("chen", data=Path(row["data"]), device=row["device"], threads=row["threads"]),
        model_arguments={name: value for name, value in row["network"].items() if name != "input_shape"},
        window=row["window"],
        hop=row["window"],
        batch=row["batch"],
        mixing="mix_training" if row["batch"] > 1 else "none",  # one clip has no other to be mixed with
        accumulate=row["parts"],
        checkpoint_activations=row["how"] == "recompute",
        compile=row["how"] == "compiled",
        precision=row["precision"],
        finetune_steps=None,
        validation_fraction=0.0,
        **changes,
    )


def train_steps(row: dict[str, Any], device: torch.device) -> dict[str, Any]:
    contender = Contender(settings(row), Pack(row["data"]))
    before = peak_memory(device)
    contender.steps(row["warm"])
    seconds = statistics.median(contender.steps(row["steps"]))
    return {"seconds": seconds, "memory": peak_memory(device), "before": before}


@torch.inference_mode()
def score(row: dict[str, Any], device: torch.device) -> dict[str, Any]:
    net = build("raw_waveform", num_classes=row["labels"], **row["network"]).eval()
    net = net.to(device, memory_format=torch.channels_last)
    dtype = pick_dtype(row["precision"], device)
    before = peak_memory(device)
    waveforms_BN = torch.randn(row["batch"], row["window"], device=device) * 0.1
    seconds = []
    for _ in range(row["warm"] + row["steps"]):
        started = time.perf_counter()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            net(waveforms_BN)
        finish(device)
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds[row["warm"] :])
    return {"seconds": median, "memory": peak_memory(device), "before": before}


def wait(row: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The share of its time that a training waits for data, and the loader alone."""
    # A line of the log a step: for it the loss is awaited, so a GPU cannot lag behind the loop, which would
    # then stand waiting for data while the GPU still has work.
    steps = row["warm"] + 3 * row["steps"]
    config = settings(row, steps=steps, log_every=1, validate_every=10**9, checkpoint_every=10**9)
    run = Path(row["folder"]) / f"run {row['how']}"
    train(config, run, quiet=True)
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    entries = [entry for entry in entries if "waited" in entry][row["warm"] - 1 :]
    total = entries[-1]["seconds"] - entries[0]["seconds"]
    waited = sum(
        after["waited"] * (after["seconds"] - before["seconds"])
        for before, after in zip(entries, entries[1:], strict=False)
    )
    return {
        "waited": waited / total,
        "seconds": total / (len(entries) - 1),
        "timed": len(entries) - 1,
        "loader": Contender(config, Pack(row["data"])).patches_from_loader(20),
    }


if __name__ == "__main__":
    main()
