"""One loop over the runs of an experiment: train, evaluate, tabulate; what is finished is not done again."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

from auricle.experiments.architectures import architectures
from auricle.experiments.embeddings import embeddings
from auricle.experiments.estimate import Estimate, estimate
from auricle.experiments.judging import complete_row, do, finished_row
from auricle.experiments.label_set import label_set
from auricle.experiments.mix_training import mix_training
from auricle.experiments.mixtures import open_mixtures
from auricle.experiments.options import Experiment, Options, Run
from auricle.experiments.raw_waveform import raw_waveform
from auricle.experiments.runs import wanted
from auricle.experiments.table import write_tables
from auricle.experiments.training_size import training_size
from auricle.experiments.urban import urban
from auricle.progress import format_seconds
from auricle.shards import Pack
from auricle.shards.layout import locked, write_json
from auricle.training import TrainConfig

EXPERIMENTS: dict[str, Callable[[Options], Experiment]] = {
    "architectures": architectures,
    "label-set": label_set,
    "training-size": training_size,
    "embeddings": embeddings,
    "mix-training": mix_training,
    "raw-waveform": raw_waveform,
    "urban": urban,
}
# Of one folder; a row made with another value would not compare. Rates may differ from row to row.
COMMON = (
    "train_splits", "validation_splits", "test_splits", "steps", "epochs", "batch", "width", "settings",
    "label_set",
    "unlabelled", "draws", "embedder", "embedder_steps",
    "embedder_labels", "finetune_steps",
)  # fmt: skip


def compare(
    experiment: str,
    options: Options,
    *,
    plan_only: bool = False,
    command: str = "",
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Run an experiment's trainings one after the other, and tabulate them beside the paper's rows.

    Killed at any moment, the same call goes on: finished runs are known by the fingerprint of their
    configuration and data, an unfinished one goes on from its checkpoint.

    Args:
        experiment: a name in EXPERIMENTS.
        options: of all runs; OUT/runs/NAME holds each, OUT/table.md, table.html and results.json the rows.
        plan_only: measure and print how long it would take, and stop.
        command: how to repeat it, for the caption.
        quiet: print nothing.

    Returns:
        The rows, as results.json has them; none with `plan_only`.

    Raises:
        ValueError: no such experiment; or the folder holds rows that the new ones would not compare with (the
            message says which option differs); or a setting is of a model that no row has; or the mixtures
            may not judge (`open_mixtures`); or what training and evaluation refuse.

    >>> from pathlib import Path
    >>> options = Options(
    ...     data=Path("out/esc50"), out=Path("out/t2"), train_splits=("fold1",), test_splits=("fold5",)
    ... )
    >>> compare("architectures", options)  # doctest: +SKIP
    """
    if experiment not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {experiment!r}; known: {', '.join(EXPERIMENTS)}")
    plan = EXPERIMENTS[experiment](options)
    check_models(options, plan.runs)
    mixtures = open_mixtures(options)
    out = options.out
    if not plan_only:
        out.mkdir(parents=True, exist_ok=True)
    check_comparable(experiment, options, plan.runs)
    todo = [run for run in plan.runs if finished_row(run, out) is None]
    judged = [run for run in plan.runs if run not in todo and complete_row(run, options, mixtures) is None]
    if todo and (plan_only or not quiet):
        measured = estimate(todo, out=options.out, mixtures=mixtures, judge_training=options.judge_training)
        show_plan(measured, len(plan.runs) - len(todo))
    if judged and (plan_only or not quiet):
        print(f"{len(judged)} finished runs to judge further, without training", file=sys.stderr)
    if plan_only:
        return []
    with locked(out):
        write_json(out / "experiment.json", described(experiment, options))
        rows: list[dict[str, Any]] = []
        for number, run in enumerate(plan.runs, 1):
            row = complete_row(run, options, mixtures)
            if row is None:
                _say(f"[{number}/{len(plan.runs)}] {run.name}", quiet)
                row = do(run, options, mixtures, quiet=quiet)
            rows.append(row)
            write_tables(
                plan, rows, out, options, mixtures=mixtures, command=command
            )  # after each: a look is possible at any time
    return rows


def check_models(options: Options, runs: Sequence[Run]) -> None:
    """Refuse settings and rates of models that no row has: they would be ignored."""
    there = list(dict.fromkeys(run.config.model for run in runs))
    for option, given in (("--set", options.model_settings), ("--learning-rate", options.learning_rates)):
        if unknown := [model for model in given if model not in there]:
            raise ValueError(
                f"{option} names {unknown[0]!r}, but no row is of that model; there are: {', '.join(there)}"
            )


def described(experiment: str, options: Options) -> dict[str, Any]:
    """What OUT/experiment.json holds: what all rows of the folder have in common."""
    common = {name: getattr(options, name) for name in COMMON}
    pack = Pack(options.data)
    return json.loads(json.dumps({"experiment": experiment, "pack": pack.fingerprint, **common}))


def check_comparable(experiment: str, options: Options, runs: Sequence[Run]) -> None:
    """Refuse, before anything is trained, what would put rows together that do not compare."""
    kept = options.out / "experiment.json"
    if kept.is_file():
        was, now = json.loads(kept.read_text(encoding="utf-8")), described(experiment, options)
        for name in now:
            if was.get(name) != now[name]:
                raise ValueError(
                    f"{options.out}: holds rows with {name} {_shown(was.get(name))}, and {_shown(now[name])} "
                    "is asked for now: they would not compare; use the same, or another --out"
                )
    pack = Pack(options.data)
    for run in runs:
        path = options.out / "runs" / run.name / "config.json"
        if not path.is_file():
            continue
        found, asked = json.loads(path.read_text(encoding="utf-8")), wanted(run, pack)
        # A setting that was not known yet when the run was made was at what is its default now.
        found = json.loads(json.dumps(TrainConfig(data=options.data, steps=1).as_dict())) | found
        for name in asked:
            if found.get(name) != asked[name]:
                raise ValueError(
                    f"{path.parent}: was trained with {name} {_shown(found.get(name))}, and "
                    f"{_shown(asked[name])} is asked for now; use the same, or delete that folder"
                )


def show_plan(estimates: Sequence[Estimate], done: int) -> None:
    """Print what is to come and how long it will take, to standard error."""
    width = max(len(item.name) for item in estimates)
    for item in estimates:
        times = "not known before its embeddings are made"
        if not math.isnan(item.seconds):
            times = f"{item.step_seconds:8.3f} s a step  {format_seconds(item.seconds):>12}"
        print(f"{item.name:<{width}}  {item.steps:>7} steps  {times}", file=sys.stderr)
    total = sum(item.seconds for item in estimates if not math.isnan(item.seconds))
    print(
        f"{len(estimates)} runs to do, {done} done: about {format_seconds(total)} ({total / 3600:.2f} hours)",
        file=sys.stderr,
        flush=True,
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "none"
    return str(value)


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)
