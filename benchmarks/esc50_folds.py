"""Measures a recipe by ESC-50's five official folds: train on four, test on the fifth, keep every figure.

    auricle pack ../shared/data/esc50/meta.csv out/esc50
    python benchmarks/esc50_folds.py --data out/esc50 --out runs/folds

Nothing is chosen on the test fold: the length of training is fixed and the last weights count. A run that
was stopped goes on.

With sounds of no class beside the clips, the first of the models that led to the one of the package
(docs/results.md has the others):

    python benchmarks/esc50_with_unknown.py ../shared/data/esc50/meta.csv out/with-unknown \
        --without struck --without drawn
    auricle pack out/with-unknown/meta.csv out/esc50-unknown
    python benchmarks/esc50_folds.py --data out/esc50-unknown --beside made --recipe compact-esc50-long \
        --shipped --jobs 2 --out runs/long

`--taught-by runs/long` has each fold's model of an earlier run, which has not heard that fold either, teach
the new one (given again, they teach in turn); the shipped one is taught by the shipped one. `--begun-by
runs/robust` has the new ones begin with the weights of those. `--average runs/a --average runs/b` trains
nothing: each new model is the mean of those two. `--window 5` judges the same models in windows of 5 s.
"""

import argparse
import json
import platform
import shlex
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import load_artifact
from auricle.averaging import average_models, parts_of_one
from auricle.evaluation import evaluate
from auricle.experiments.lines import write_lines
from auricle.metrics.ranking import bootstrap_intervals
from auricle.recipes import configure
from auricle.recipes.bundled import read_scores
from auricle.training import train

FOLDS = tuple(f"fold{number}" for number in range(1, 6))
METRICS = ("accuracy", "map", "auc", "d_prime")
SHIPPED = "shipped"
MEAN = "mean.json"  # beside a mean of models: how long their trainings took, and from which seeds


@dataclass(frozen=True)
class Job:
    """One training: of all folds but one, or of the model that is shipped."""

    fold: str  # that is tested, or SHIPPED
    recipe: str
    data: Path
    run: Path
    settings: dict[str, str]
    threads: int | None = None
    window: float | None = None  # seconds, at the test; None: the model's own
    average: tuple[Path, ...] = ()  # models whose mean it is, and no training
    shares: tuple[float, ...] | None = None  # of the mean


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """The shipped one first, where it is asked for: most is done with it afterwards."""
    settings = dict(item.split("=", 1) for item in options.set)
    found = []
    for fold in ((SHIPPED,) if options.shipped else ()) + tuple(options.folds.split(",")):
        given = {}
        if fold == SHIPPED:
            recipe, within = f"{options.recipe}-free", Path(SHIPPED)
        else:
            recipe, within = options.recipe, Path(fold, "run")
            rest = [name for name in FOLDS if name != fold]
            given["train_splits"] = ",".join(rest + ([options.beside] if options.beside else []))
        if options.taught_by:
            given["teachers"] = ",".join(str(runs / within / "last") for runs in options.taught_by)
        if options.begun_by:
            given["init_from"] = str(options.begun_by / within / "last")
        threads = 1 if options.jobs > 1 else None
        means = tuple(runs / within / "last" for runs in options.average)
        run, given = options.out / within, given | settings
        found.append(
            Job(fold, recipe, options.data, run, given, threads, options.window, means, options.shares)
        )
    return found


def do(job: Job) -> dict[str, float]:
    """Train, and judge by the fold: figures, scores beside the run."""
    alone = job.threads is None
    config = configure(job.recipe, data=job.data, settings=job.settings, threads=job.threads)
    if job.average:
        model = average(job, config.name)
    else:
        model = train(config, job.run, resume=True, quiet=not alone)
    figures = {"hours": hours_of(job.run)}
    if job.fold != SHIPPED:
        out = job.run.parent if job.window is None else job.run.parent / f"windows-{job.window:g}s"
        given: dict[str, Any] = {"splits": [job.fold], "window": job.window, "out": out, "quiet": not alone}
        found = evaluate(model, job.data, **given)
        figures |= {name: float(found[name]) for name in METRICS}
    said = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
    print(f"{job.fold}: {said}", flush=True)
    return figures


def average(job: Job, name: str) -> Path:
    """The mean of models, made where it is not there yet, and what is known of their trainings beside it."""
    if (job.run / "log.jsonl").exists():
        raise ValueError(f"{job.run}: holds a training; name another folder with --out")
    model, parts = job.run / "last", [load_artifact(path).fingerprint for path in job.average]
    shares = [round(share, 6) for share in parts_of_one(len(parts), job.shares)]
    asked = [*zip(parts, shares, strict=True)]
    there = load_artifact(model).training.get("averaged", ()) if model.is_dir() else ()
    if asked != [(part["fingerprint"], part["share"]) for part in there]:
        average_models(job.average, model, shares=job.shares, name=name)
        runs = [path.parent for path in job.average]
        about = {"hours": sum(map(hours_of, runs)), "seed": ", ".join(map(seed_of, runs))}
        (job.run / MEAN).write_text(json.dumps(about))
    return model


def hours_of(run: Path) -> float:
    """How long a run has trained; of a mean, how long all of its runs have."""
    if (run / MEAN).is_file():
        return float(json.loads((run / MEAN).read_text())["hours"])
    return float(json.loads((run / "log.jsonl").read_text().splitlines()[-1])["seconds"]) / 3600


def seed_of(run: Path) -> str:
    """What a run was trained with; of a mean "3, 4", what its runs were."""
    if (run / MEAN).is_file():
        return str(json.loads((run / MEAN).read_text())["seed"])
    return str(json.loads((run / "config.json").read_text())["seed"])


def device_name() -> str:
    """The processor, its cores counted."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else ():
        if line.startswith("model name"):
            count = len([None for core in Path("/proc/cpuinfo").read_text().split("\n\n") if core.strip()])
            return f"{line.partition(': ')[2]} x{count}"
    return platform.processor() or platform.machine()


def command_line() -> str:
    """How this script was called."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def commit_name() -> str:
    """The commit that is checked out; "" where there is none."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip()


def rows_of(options: argparse.Namespace, figures: dict[str, dict[str, float]]) -> list[list[str]]:
    """Rows for results.csv: each fold, and the mean where all are there."""
    recipe = ", ".join([options.recipe, *options.set])
    if options.taught_by:
        recipe += f", taught by {len(options.taught_by)}"
    if options.begun_by:
        recipe += f", begun by {options.begun_by.name}"
    if options.average:
        recipe += f", mean of {' and '.join(runs.name for runs in options.average)}"
        recipe += f" by {':'.join(f'{share:g}' for share in options.shares)}" if options.shares else ""
    if options.window:
        recipe += f", windows of {options.window:g} s"
    seed = dict(item.split("=", 1) for item in options.set).get("seed", "0")
    if options.average:
        seed = seed_of(options.out / next(iter(figures)) / "run")
    commit, made = commit_name(), [device_name(), seed, command_line()]
    data = f"ESC-50, {options.beside} sounds beside" if options.beside else "ESC-50"
    told = dict(figures)
    if set(figures) == set(FOLDS):
        means = {name: float(np.mean([one[name] for one in figures.values()])) for name in METRICS}
        told["mean"] = means | {"hours": sum(one["hours"] for one in figures.values())}
    return [
        [recipe, data, fold, metric, f"{one[metric]:.4f}", "", commit, f"{one['hours']:.3f}", *made]
        for fold, one in told.items()
        for metric in METRICS
    ]


def shares_of(text: str) -> tuple[float, ...]:
    """As --shares has them."""
    return tuple(float(part) for part in text.split(","))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="compact-esc50")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--beside", metavar="SPLIT", help="trained on by all, beside the folds")
    parser.add_argument("--taught-by", type=Path, action="append", default=[], metavar="RUNS")
    parser.add_argument("--begun-by", type=Path, metavar="RUNS", help="whose weights each begins with")
    parser.add_argument(
        "--average", type=Path, action="append", default=[], metavar="RUNS", help="their mean"
    )
    parser.add_argument("--shares", type=shares_of, metavar="N,N", help="of --average; else all alike")
    parser.add_argument("--shipped", action="store_true", help="also train RECIPE-free on all folds")
    parser.add_argument(
        "--window", type=float, metavar="S", help="test in windows of so long; trains nothing that is there"
    )
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side, a thread each")
    parser.add_argument("--folds", default=",".join(FOLDS), help="only these; the table needs all five")
    parser.add_argument("--results", type=Path, help="put the rows into this CSV")
    options = parser.parse_args()
    if options.average and (options.set or options.taught_by or options.begun_by):
        parser.error("--average trains nothing: leave out --set, --taught-by and --begun-by")
    if len(options.average) == 1 or len(options.shares or options.average) != len(options.average):
        parser.error("--average is given twice or more, and --shares has a number for each")
    jobs = jobs_of(options)
    if options.jobs > 1:
        with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
            done = list(pool.map(do, jobs))
    else:
        done = [do(job) for job in jobs]
    figures = {job.fold: one for job, one in zip(jobs, done, strict=True) if job.fold != SHIPPED}
    rows = rows_of(options, figures)
    for row in rows:
        print(" ".join(row))
    if set(figures) != set(FOLDS):
        return
    which = f"fold*/windows-{options.window:g}s" if options.window else "fold*"
    targets, scores, _, groups = read_scores(options.out, which)
    for metric, (low, high) in bootstrap_intervals(targets, scores, groups).items():
        print(f"out of fold, 95% interval over recordings: {metric} {low:.4f} to {high:.4f}")
    if options.results:
        write_lines(rows, options.results)


if __name__ == "__main__":
    main()
