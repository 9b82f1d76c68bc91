"""Speed against accuracy: every network of the package, times real time on one core and two, in one figure.

    python benchmarks/speed_accuracy.py --json speed.json --figure docs/img/speed-accuracy.png

Accuracy on ESC-50 is what results.csv has; of several trainings of one network the longest counts. These
networks are timed at the width that was trained, and every network of the package once more as published,
of which there is no accuracy here. All but the bundled model and YAMNet's file have weights that nobody
trained, which takes the same time. Windows come from memory, side by side, front end included, through the
package's own runners: onnxruntime where the network can be exported, else torch. Rounds alternate, so that
what else the machine does hits all; the median counts.

`--draw speed.json` makes the figure of an earlier run again; `--quick` takes two networks, for a look.
"""

import argparse
import dataclasses
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullFormatter
from speed_networks import Network, made, published, trained, with_bundled

from auricle.artifact import Artifact
from auricle.report.style import COLOURS, GREY, drawing, save
from auricle.runners import load_runner

ROOT = Path(__file__).parents[1]
YAMNET = ROOT.parent / "shared" / "data" / "yamnet" / "yamnet-int8.tflite"
THREADS, ROUNDS, HEARD, LEAST = (1, 2), 7, 20.0, 0.15  # seconds: of sound at a time, of a round
LINE = {"arrowstyle": "-", "color": GREY, "lw": 0.5, "shrinkB": 3}  # from a name that is moved to its point
ANGLES = (0, 4, 1, 7, 3, 5, 2, 6)  # eighths of a turn: beside a point first
PLACES = [(points, eighth * np.pi / 4) for points in (9, 20, 34, 50, 70, 95, 125) for eighth in ANGLES]


def measure(
    networks: Sequence[Network],
    folder: Path,
    yamnet: Path = YAMNET,
    threads: Iterable[int] = THREADS,
    rounds: int = ROUNDS,
    least: float = LEAST,
) -> None:
    """Note how many times real time each network is."""
    models = []
    for network in networks:
        began = time.monotonic()
        models.append(made(network, folder, yamnet))
        print(f"{network.name}: made in {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    for count in threads:
        works = {one.name: _work(model, count, least) for one, model in zip(networks, models, strict=True)}
        took: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(rounds):
            for name, (work, _) in works.items():
                begin = time.perf_counter()
                work()
                took[name].append(time.perf_counter() - begin)
        for network in networks:
            heard = works[network.name][1]
            network.speed[str(count)] = heard / statistics.median(took[network.name])
        print(f"{count} threads: done", file=sys.stderr, flush=True)


def _work(artifact: Artifact, threads: int, least: float) -> tuple[Callable[[], None], float]:
    """What a round does, and how many seconds of sound that is."""
    seconds = artifact.window / artifact.rate
    batch = max(1, round(HEARD / seconds))
    windows = np.random.default_rng(0).uniform(-0.5, 0.5, (batch, artifact.window)).astype(np.float32)
    runner = load_runner(artifact, threads=threads, batch=min(batch, 16))
    runner.run(windows)  # warm
    begin = time.perf_counter()
    runner.run(windows)
    times = max(1, min(50, round(least / (time.perf_counter() - begin))))

    def work() -> None:
        if artifact.backend == "torch":
            torch.set_num_threads(threads)  # of the whole process: another runner may have set it
        for _ in range(times):
            runner.run(windows)

    return work, times * batch * seconds


def table(networks: Sequence[Network]) -> list[str]:
    """Lines of Markdown, the fastest on the most cores first, those with an accuracy before the others."""
    counts = sorted(networks[0].speed, key=int)
    heads = [f"x real time, {count} thread{'s' * (count != '1')}" for count in counts]
    lines = [f"| network | own weights | by | {' | '.join(heads)} | accuracy | of |"]
    lines.append("|---|--:|---|" + "--:|" * len(counts) + "---|---|")
    for one in sorted(networks, key=lambda one: (one.accuracy is None, -one.speed[counts[-1]])):
        cells = [one.name, f"{one.weights / 1e6:.2f} M" if one.weights else "", one.backend]
        cells += [f"{one.speed[count]:,.0f}" if one.speed[count] >= 10 else f"{one.speed[count]:.1f}"
                  for count in counts]  # fmt: skip
        sure = f" ({one.low:.3f} to {one.high:.3f})" if one.low is not None else ""
        cells += ["" if one.accuracy is None else f"{one.accuracy:.3f}{sure}", one.of]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def draw(networks: Sequence[Network], path: Path, threads: int = 2, device: str = "") -> list[Any]:
    """The figure: accuracy against speed above, networks of which there is speed alone below.

    Returns:
        Boxes of the labels above, in pixels, for whoever asks whether they overlap.
    """
    known = [one for one in networks if one.accuracy is not None]
    others = sorted(
        (one for one in networks if one.accuracy is None), key=lambda one: one.speed[str(threads)]
    )
    with drawing():
        height = 4.6 + 0.19 * len(others) + (0.5 if others else 0)
        figure = Figure(figsize=(9.2, height), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        ratios = [4.6, 0.19 * len(others) + 0.3] if others else [1]
        axes = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)[:, 0]
        top, speeds = axes[0], [one.speed[str(threads)] for one in networks]
        top.set_xscale("log")
        top.set_xlim(min(speeds) / 1.6, max(speeds) * 2.2)
        for one in known:
            ours = one.name.startswith("bundled")
            colour = COLOURS[1] if ours else COLOURS[2] if "YAMNet" in one.name else COLOURS[0]
            x = one.speed[str(threads)]
            if one.low is not None:
                top.plot([x, x], [one.low, one.high], color=colour, lw=1.2, alpha=0.6)
            top.plot(x, one.accuracy, "o", color=colour, ms=7 if ours else 5)
        lowest = min((one.low or one.accuracy or 0) for one in known) if known else 0
        top.set_ylim(max(0.0, lowest - 0.06), 1.0)
        top.set_ylabel("accuracy on ESC-50")
        top.set_title("Speed against accuracy, by width where it is not the published one")
        top.grid(True, which="major", color="#e5e5e5", lw=0.6)
        if others:
            rows = axes[1]
            rows.plot([one.speed[str(threads)] for one in others], range(len(others)), "o", color=GREY, ms=4)
            rows.set_yticks(range(len(others)), [one.name for one in others], fontsize=8.5)
            rows.set_ylim(-0.7, len(others) - 0.3)
            rows.grid(True, axis="both", which="major", color="#e5e5e5", lw=0.6)
            rows.set_title("As published, 527 classes: speed alone", fontsize=10)
        cores = f"{threads} thread{'s' * (threads != 1)}"
        axes[-1].set_xlabel(f"times real time, {cores}{', ' + device if device else ''}")
        axes[-1].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes[-1].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
        axes[-1].xaxis.set_minor_formatter(NullFormatter())
        note = "line: lowest to highest of folds or seeds; green: heard AudioSet"
        top.annotate(
            note, (1, 0), xycoords="axes fraction", ha="right", va="bottom", fontsize=8.5, color=GREY
        )
        canvas.draw()
        boxes = _label(top, known, str(threads), canvas)
    save(figure, path, dpi=130)
    return boxes


def _label(axes: Any, networks: Sequence[Network], threads: str, canvas: Any) -> list[Any]:
    """Names near their points, each at the nearest place where it covers no point and no other name.

    Raises:
        ValueError: a name finds no place.
    """
    points = axes.transData.transform([(one.speed[threads], one.accuracy) for one in networks])
    taken: list[Any] = []
    inside = axes.get_window_extent()
    for place in np.argsort(-points[:, 1], kind="stable").tolist():
        one, text = networks[place], None
        for distance, angle in PLACES:
            right, up = distance * np.cos(angle), distance * np.sin(angle)
            text = axes.annotate(
                one.name, (one.speed[threads], one.accuracy), xytext=(right, up), textcoords="offset points",
                ha="left" if right > 1e-6 else "right", va="center", fontsize=8.5,
                arrowprops=LINE if distance > 10 else None,
            )  # fmt: skip
            text.update_positions(canvas.get_renderer())
            box = Text.get_window_extent(text, canvas.get_renderer()).padded(
                2
            )  # without the line to its point
            fits = inside.x0 < box.x0 and box.x1 < inside.x1 and inside.y0 < box.y0 and box.y1 < inside.y1
            covered = box.padded(5).count_contains(np.delete(points, place, axis=0))
            if fits and not covered and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()
        else:
            raise ValueError(f"no room for the name of {one.name}: make the figure larger")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=ROOT / "results.csv")
    parser.add_argument("--yamnet", type=Path, default=YAMNET, help="its TFLite file")
    parser.add_argument(
        "--models", type=Path, help="keep the models here: making them takes most of the time"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--figure", type=Path, help="draw them here: .png, .svg or .pdf")
    parser.add_argument("--draw", type=Path, metavar="JSON", help="measure nothing, take these figures")
    parser.add_argument("--only", action="append", metavar="NAME", help="networks whose name has this")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, nargs="+", default=list(THREADS))
    parser.add_argument("--quick", action="store_true", help="compact and alexnet, two rounds")
    options = parser.parse_args()
    if options.quick:
        options.only, options.rounds = ["compact", "alexnet"], 2
    if options.draw:
        earlier = json.loads(options.draw.read_text())
        networks, device = [Network(**one) for one in earlier["networks"]], earlier["device"]
    else:
        device = f"{processor()}, {os.cpu_count()} cores"
        networks = with_bundled(trained(options.results)) + published()
        if not options.yamnet.is_file():
            networks = [one for one in networks if "YAMNet" not in one.name]
        if options.only:
            networks = [one for one in networks if any(part in one.name for part in options.only)]
        with tempfile.TemporaryDirectory(prefix="auricle-speed-") as folder:
            kept = options.models or Path(folder)
            measure(networks, kept, options.yamnet, options.threads, options.rounds)
    print(f"{device}\n")
    print("\n".join(table(networks)))
    if options.json:
        rows = [dataclasses.asdict(dataclasses.replace(one, settings=None)) for one in networks]
        options.json.write_text(json.dumps({"device": device, "networks": rows}, indent=1) + "\n")
    if options.figure:
        most = max(int(count) for count in networks[0].speed)
        draw(networks, options.figure, most, device)


def processor() -> str:
    """What the processor is called."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
