"""Measures a recipe by ESC-50's five official folds: train on four, test on the fifth, keep every figure.

    auricle pack ../shared/data/esc50/meta.csv out/esc50
    python benchmarks/esc50_folds.py --data out/esc50 --out runs/folds

Nothing is chosen on the test fold: the length of training is fixed and the last weights count.  A run that
was stopped goes on.
"""

import argparse
import csv
import json
import platform
import subprocess
from pathlib import Path

import numpy as np

from auricle.evaluation import evaluate
from auricle.metrics.ranking import bootstrap_intervals
from auricle.recipes import configure
from auricle.recipes.bundled import read_scores
from auricle.training import train

FOLDS = tuple(f"fold{number}" for number in range(1, 6))
METRICS = ("accuracy", "map", "auc", "d_prime")


def run_fold(data: Path, out: Path, recipe: str, fold: str, settings: dict[str, str]) -> dict[str, float]:
    """Train without the fold, score it, and keep figures and scores under out/fold."""
    rest = ",".join(name for name in FOLDS if name != fold)
    config = configure(recipe, data=data, settings={"train_splits": rest, **settings})
    model = train(config, out / fold / "run", resume=True)
    figures = evaluate(model, data, splits=[fold], out=out / fold)
    return {**figures, "hours": hours_of(out / fold / "run")}


def hours_of(run: Path) -> float:
    """How long a run has trained."""
    return float(json.loads((run / "log.jsonl").read_text().splitlines()[-1])["seconds"]) / 3600


def device_name() -> str:
    """The processor, its cores counted."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else ():
        if line.startswith("model name"):
            count = len([None for core in Path("/proc/cpuinfo").read_text().split("\n\n") if core.strip()])
            return f"{line.partition(': ')[2]} x{count}"
    return platform.processor() or platform.machine()


def finish(out: Path, rows: list[list[str]], results: Path | None) -> None:
    """Print the intervals of all folds' scores; append the rows to a CSV."""
    targets, scores, _, groups = read_scores(out)
    for metric, (low, high) in bootstrap_intervals(targets, scores, groups).items():
        print(f"out of fold, 95% interval over recordings: {metric} {low:.4f} to {high:.4f}")
    if results:
        with results.open("a", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="compact-esc50")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--folds", default=",".join(FOLDS), help="only these; the table needs all five")
    parser.add_argument("--results", type=Path, help="append the rows to this CSV")
    arguments = parser.parse_args()
    settings = dict(item.split("=", 1) for item in arguments.set)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    rows, figures = [], {}
    for fold in arguments.folds.split(","):
        figures[fold] = run_fold(arguments.data, arguments.out, arguments.recipe, fold, settings)
        for metric in METRICS:
            rows.append([arguments.recipe, "ESC-50", fold, metric, f"{figures[fold][metric]:.4f}", "", commit,
                         f"{figures[fold]['hours']:.3f}", device_name()])  # fmt: skip
            print(" ".join(rows[-1]), flush=True)
    if set(figures) != set(FOLDS):
        return
    hours = sum(entry["hours"] for entry in figures.values())
    for metric in METRICS:
        mean = np.mean([entry[metric] for entry in figures.values()])
        rows.append(
            [
                arguments.recipe,
                "ESC-50",
                "mean",
                metric,
                f"{mean:.4f}",
                "",
                commit,
                f"{hours:.3f}",
                device_name(),
            ]
        )
        print(" ".join(rows[-1]), flush=True)
    finish(arguments.out, rows, arguments.results)


if __name__ == "__main__":
    main()
