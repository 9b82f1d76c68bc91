"""ESC-50 by a small network that an ensemble of its like has taught; each fold out of all that judges it.

1. Ten teachers, one for each three of the five folds, trained on the clips of these that are CC0 or CC-BY.
2. Five students, one for each fold that is tested: trained on the other four, taught by the four teachers
   that have not heard the tested fold either.
3. With --shipped the model that comes with the package: on the free clips of all folds, by all ten teachers.

Nothing is chosen on a tested fold: lengths are fixed and the last weights count. What the teachers score on
the two folds that each has not heard is told, too: by these figures settings may be chosen for any student
but those that are then tested on them.

    auricle pack ../shared/data/esc50/meta.csv out/esc50
    python benchmarks/esc50_taught.py --data out/esc50 --out runs/taught --results results.csv --shipped

Trainings run side by side, a thread each; what was stopped goes on. After `--until MINUTES` none is begun.
"""

import argparse
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from esc50_folds import FOLDS, METRICS, device_name, finish, hours_of

from auricle.evaluation import evaluate
from auricle.metrics.ranking import bootstrap_intervals, summarise
from auricle.recipes import configure
from auricle.recipes.bundled import read_scores
from auricle.training import train

TEACHER, STUDENT, SHIPPED = "compact-esc50-free", "taught-esc50", "taught-esc50-free"
AT_USE = {"window_at_use": "80000", "hop": "40000"}  # of teachers, as of students


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training, and the folds that it is judged by, each in a folder of its own."""

    recipe: str
    run: Path
    settings: dict[str, str]
    judged: dict[str, Path] = field(default_factory=dict)


class Ended(Exception):
    """The time is over."""


def teacher_jobs(out: Path, settings: dict[str, str], beside: str) -> list[Job]:
    """One for each three folds, and what all are trained on beside."""
    jobs = []
    for chosen in combinations(FOLDS, 3):
        folder = out / "teachers" / "".join(fold[-1] for fold in chosen)
        judged = {fold: folder / fold for fold in FOLDS if fold not in chosen}
        given = AT_USE | {"train_splits": ",".join(filter(None, (*chosen, beside)))} | settings
        jobs.append(Job(recipe=TEACHER, run=folder / "run", settings=given, judged=judged))
    return jobs


def student_jobs(
    out: Path, teachers: list[Job], settings: dict[str, str], beside: str, *, shipped: bool
) -> list[Job]:
    """One for each fold, by the teachers that have not heard it; and the one that is shipped."""
    jobs = []
    for fold in FOLDS:
        rest = ",".join(filter(None, (*(other for other in FOLDS if other != fold), beside)))
        by = ",".join(str(job.run / "last") for job in teachers if fold in job.judged)
        given = {"train_splits": rest, "teachers": by} | settings
        jobs.append(Job(recipe=STUDENT, run=out / fold / "run", settings=given, judged={fold: out / fold}))
    if shipped:
        given = {"teachers": ",".join(str(job.run / "last") for job in teachers)} | settings
        jobs.append(Job(recipe=SHIPPED, run=out / "shipped", settings=given))
    return jobs


def do(job: Job, data: Path, ends: float) -> dict[str, dict[str, float]]:
    """Train, and judge by each fold that is for it; fold -> figures."""
    config = configure(job.recipe, data=data, settings=job.settings, threads=1)
    if time.time() > ends:
        raise Ended
    model = train(config, job.run, resume=True, quiet=True)
    figures = {}
    for fold, folder in job.judged.items():
        found = evaluate(model, data, splits=[fold], out=folder, quiet=True)
        figures[fold] = {name: float(found[name]) for name in METRICS} | {"hours": hours_of(job.run)}
    print(f"{job.run}: " + ", ".join(f"{k} {v['accuracy']:.4f}" for k, v in figures.items()), flush=True)
    return figures


def do_all(jobs: list[Job], data: Path, workers: int, ends: float) -> list[dict[str, dict[str, float]]]:
    """Side by side, in order."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(do, jobs, [data] * len(jobs), [ends] * len(jobs)))


def ensembles(out: Path, teachers: list[Job]) -> dict[str, float]:
    """Figures of all clips, each scored by the mean of the four teachers that have not heard its fold."""
    rows = []
    for fold in FOLDS:
        folders = [job.judged[fold] for job in teachers if fold in job.judged]
        found = [read_scores(folder.parent, folder.name) for folder in folders]
        rows.append((found[0][0], np.mean([scores for _, scores, *_ in found], axis=0), found[0][3]))
    targets, scores, groups = (np.concatenate(part) for part in zip(*rows, strict=True))
    for metric, (low, high) in bootstrap_intervals(targets, scores, groups).items():
        print(f"four teachers together, 95% over recordings: {metric} {low:.4f} to {high:.4f}")
    return {name: float(value) for name, value in summarise(targets, scores).items() if name in METRICS}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the students")
    parser.add_argument("--teacher-set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--beside", default="", metavar="SPLIT", help="trained on by all, beside the folds")
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side")
    parser.add_argument(
        "--until", type=float, default=float("inf"), metavar="MINUTES", help="begin none later"
    )
    parser.add_argument("--shipped", action="store_true", help="train the model of the package, too")
    parser.add_argument("--results", type=Path, help="append the rows to this CSV")
    arguments = parser.parse_args()
    settings, of_teachers = (
        dict(item.split("=", 1) for item in given) for given in (arguments.set, arguments.teacher_set)
    )
    ends = time.time() + 60 * arguments.until
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    rows = []

    def keep(recipe: str, what: str, figures: dict[str, float], hours: float) -> None:
        for metric in METRICS:
            value = f"{figures[metric]:.4f}"
            rows.append([recipe, "ESC-50", what, metric, value, "", commit, f"{hours:.3f}", device_name()])
            print(" ".join(rows[-1]), flush=True)

    teachers = teacher_jobs(arguments.out, of_teachers, arguments.beside)
    try:
        judged = do_all(teachers, arguments.data, arguments.jobs, ends)
        each = [figures for found in judged for figures in found.values()]
        hours = sum(next(iter(found.values()))["hours"] for found in judged)
        means = {name: float(np.mean([figures[name] for figures in each])) for name in METRICS}
        keep(f"{TEACHER}, three folds", "mean of ten teachers", means, hours)
        keep(f"{TEACHER}, three folds", "four teachers together", ensembles(arguments.out, teachers), hours)
        students = student_jobs(
            arguments.out, teachers, settings, arguments.beside, shipped=arguments.shipped
        )
        judged = do_all(students, arguments.data, arguments.jobs, ends)[: len(FOLDS)]
    except Ended:
        sys.exit(f"{arguments.until:g} minutes are over; the same command goes on")
    figures = {fold: found[fold] for fold, found in zip(FOLDS, judged, strict=True)}
    for fold in FOLDS:
        keep(STUDENT, fold, figures[fold], figures[fold]["hours"])
    means = {name: float(np.mean([entry[name] for entry in figures.values()])) for name in METRICS}
    keep(STUDENT, "mean", means, sum(entry["hours"] for entry in figures.values()))
    finish(arguments.out, rows, arguments.results)


if __name__ == "__main__":
    main()
