"""Runs judged by the protocol of urban sound tagging, each level by the checkpoint that is for it.

Source: the metrics of DCASE 2019 challenge, task 5; see `auricle.evaluation.urban`.

Shape letters: N clips, L labels of a level, D draws.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from auricle.evaluation.choice import select_clips
from auricle.evaluation.submission import Submission, read_submission, write_submission
from auricle.evaluation.truth import LEVELS, branches_of, level_labels, packed_taxonomy, packed_truth
from auricle.evaluation.urban import evaluate_urban, in_order, write_figures
from auricle.experiments.options import Experiment, Options, Run
from auricle.experiments.trainings import folder_of
from auricle.metrics.urban import urban_draws
from auricle.shards import Pack
from auricle.training.devices import pick_device

NAMES = ("micro_auprc", "micro_f1", "macro_auprc")
URBAN_FIGURES = tuple(f"{name}_{level}" for level in LEVELS for name in NAMES)
SCORED_AT_ONCE = 16  # windows of ten seconds
DRAWS = 200  # of a difference
Read = Callable[[Path], tuple[np.ndarray, dict[str, np.ndarray]]]


def judge_urban(run: Run, options: Options, *, quiet: bool = False) -> dict[str, Any]:
    """Figures of a run, and the folder of its evaluation.

    Where levels are judged by two checkpoints, each has a folder there, and `submission.csv` has the columns
    of either level from its own.
    """
    pack, out = Pack(run.config.data), options.out / "runs" / run.name / "evaluation"
    found: dict[str, Any] = {}
    flat: dict[str, Any] = {"intervals": {}}
    columns: dict[str, np.ndarray] = {}
    taxonomy = packed_taxonomy(pack, run.evaluation["label_set"])
    clips: tuple[str, ...] = ()
    for checkpoint in dict.fromkeys(run.checkpoints.values()):
        levels = [level for level, name in run.checkpoints.items() if name == checkpoint]
        with warnings.catch_warnings():
            # The organisers' baseline has no outputs for what is unknown; the table says so.
            warnings.filterwarnings("ignore", message=".*no column for")
            figures = evaluate_urban(
                folder_of(run, options.out) / checkpoint,
                pack,
                splits=run.evaluation["splits"],
                label_set=run.evaluation["label_set"],
                levels=levels,
                out=out / checkpoint,
                draws=options.draws,
                threads=options.threads,
                device=pick_device(options.device).type,
                batch=SCORED_AT_ONCE,
                quiet=quiet,
            )
        said = read_submission(out / checkpoint / "submission.csv", taxonomy)
        clips = said.clips
        flat |= {key: figures[key] for key in ("clips", "groups", "pack")}
        for level in levels:
            found[level] = figures[level]
            flat |= {f"{name}_{level}": figures[level][name] for name in NAMES}
            bounds = figures[level].get("intervals", {})
            flat["intervals"] |= {f"{name}_{level}": bounds[name] for name in NAMES if name in bounds}
            own = set(level_labels(taxonomy, level))
            columns |= {label: said.scores[:, k] for k, label in enumerate(said.labels) if label in own}
    labels = tuple(label for label in taxonomy.labels if label in columns)
    scores = np.stack([columns[label] for label in labels], axis=1)
    merged = Submission(clips=clips, labels=labels, scores=scores, source=run.row)
    write_submission(out / "submission.csv", merged)
    about = {key: value for key, value in figures.items() if key not in LEVELS}
    write_figures(out, {**about, "checkpoints": dict(run.checkpoints), **found})
    return {"evaluation": str(out.relative_to(options.out)), "figures": flat}


def urban_reader(plan: Experiment, pack: Pack) -> Read | None:
    """What draws figures of the evaluations of an experiment; None where it is judged by ranking."""
    run = next((run for run in plan.runs if run.checkpoints), None)
    if run is None:
        return None
    splits, label_set = tuple(run.evaluation["splits"]), str(run.evaluation["label_set"])

    def read(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        written = (folder / "submission.csv").stat().st_mtime_ns
        return _drawn(folder, pack.path, splits, label_set, written)

    return read


@lru_cache(maxsize=4096)  # a table is written after each run, from the same evaluations and one more
def _drawn(
    folder: Path, pack_path: Path, splits: tuple[str, ...], label_set: str, written: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    pack = Pack(pack_path)
    truth, _ = packed_truth(pack, select_clips(pack, splits, None, None), label_set)
    said = in_order(read_submission(folder / "submission.csv", truth.taxonomy), truth)
    place = {label: column for column, label in enumerate(truth.taxonomy.labels)}
    score_of = {label: said.scores[:, column] for column, label in enumerate(said.labels)}
    figures: dict[str, np.ndarray] = {}
    for level in LEVELS:
        labels = level_labels(truth.taxonomy, level)
        if not any(label in score_of for label in labels):
            figures |= {f"{name}_{level}": np.full(1 + DRAWS, np.nan) for name in NAMES}
            continue
        nothing = np.zeros(len(truth.clips))
        scores_NL = np.stack([score_of.get(label, nothing) for label in labels], axis=1)
        positive_NL = truth.positive[:, [place[label] for label in labels]]
        branches = branches_of(truth.taxonomy) if level == "fine" else None
        # The same draws whatever was scored.
        drawn = urban_draws(positive_NL, scores_NL, branches, truth.groups, draws=DRAWS, seed=0)
        figures |= {f"{name}_{level}": drawn[name] for name in NAMES}
    return np.array(truth.clips), figures
