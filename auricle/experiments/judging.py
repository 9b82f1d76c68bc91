"""One run of an experiment: trained, judged, and written down; what of it is there already is kept."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auricle.embedding import embed_pack
from auricle.evaluation import evaluate
from auricle.experiments.mixtures import LABELS
from auricle.experiments.options import Options, Run
from auricle.experiments.provenance import commit, device_name
from auricle.experiments.runs import fingerprint
from auricle.experiments.trainings import folder_of, logged, measured_sizes, train_run
from auricle.experiments.urban_judging import judge_urban
from auricle.shards import Pack
from auricle.shards.layout import write_json
from auricle.training.checkpoints import content_of
from auricle.training.data import choose_clips
from auricle.training.devices import pick_device

SCORED_AT_ONCE = 64  # windows
STEP_ONE = "stage1"  # what the first of two steps leaves, in the run's folder


def do(run: Run, options: Options, mixtures: Pack | None = None, *, quiet: bool = False) -> dict[str, Any]:
    """Train one run, or go on with it, judge it, and write down its row.

    Args:
        run: what to do.
        options: of the comparison.
        mixtures: scenes to judge by, too, as `open_mixtures` gives them.
        quiet: print nothing.

    Returns:
        What row.json holds: `figures` of the trained model; `before`, of what step one of two left;
        `mixtures`, of the trained model on the scenes; `fit`, of the trained model on the clips and labels
        that it learned from; each with its folder (`evaluation`).
    """
    row = finished_row(run, options.out)
    if row is None:
        row = train_and_judge(run, options, quiet=quiet)
    if mixtures is not None and lacks_mixtures(row, run, mixtures):
        row["mixtures"] = {
            "fingerprint": judged_by(run, mixtures),
            **judge_model(run, options, "last", mixtures, {"label_set": LABELS}, "mixtures", quiet=quiet),
        }
    if options.judge_training and lacks_fit(row, run):
        pack = Pack(run.config.data)
        how = {"clips": choose_clips(pack, run.config)[0], "label_set": run.config.label_set, "draws": 0}
        row["fit"] = judge_model(run, options, "last", pack, how, "fit", quiet=quiet)
    write_json(options.out / "runs" / run.name / "row.json", row)
    return row


def train_and_judge(run: Run, options: Options, *, quiet: bool) -> dict[str, Any]:
    """The row of a run, but for what mixtures say of it."""
    folder = folder_of(run, options.out)
    train_run(run, options.out, quiet=quiet)
    pack, model = Pack(run.config.data), folder / "last"  # papers compare after so many steps; none is chosen
    if run.makes_embeddings and run.makes_embeddings not in pack.embedding_sets:
        device = pick_device(options.device).type
        name, threads = run.makes_embeddings, options.threads
        embed_pack(run.config.data, model, name=name, threads=threads, device=device, quiet=quiet)
    row = {
        "name": run.name,
        "row": run.row,
        "shown": run.shown,
        "seed": run.config.seed,
        "fingerprint": fingerprint(run),
        "columns": dict(run.columns),
        "paper": dict(run.paper),
        "model": run.config.model,
        "width": run.config.model_arguments.get("width", 1.0),
        "learning_rate": run.config.learning_rate,
        **logged(run, options.out),
        **({"steps": run.config.steps} if run.config.steps and not run.family else {}),
        "epochs": run.config.epochs,
        "finetune_steps": run.config.finetune_steps,
        "settings": dict(options.model_settings.get(run.config.model, {})),
        "device": device_name(options.device),
        "threads": options.threads,
        "commit": commit(),
        **measured_sizes(run, options.out),
    }
    if run.checkpoints:
        return row | judge_urban(run, options, quiet=quiet)
    row |= judge_model(run, options, "last", pack, run.evaluation, "evaluation", quiet=quiet)
    if run.config.finetune_steps:
        row["before"] = judge_model(run, options, STEP_ONE, pack, run.evaluation, "before", quiet=quiet)
    return row


def judge_model(
    run: Run, options: Options, model: str, pack: Pack, how: Any, name: str, *, quiet: bool
) -> dict[str, Any]:
    """Figures of one of the run's models on a pack, and the folder NAME of the run where they lie."""
    folder = options.out / "runs" / run.name
    figures = evaluate(
        folder / model,
        pack,
        **{"draws": options.draws, **how},
        out=folder / name,
        threads=options.threads,
        device=pick_device(options.device).type,
        batch=SCORED_AT_ONCE,
        quiet=quiet,
    )
    return {"evaluation": str((folder / name).relative_to(options.out)), "figures": figures}


def finished_row(run: Run, out: Path) -> dict[str, Any] | None:
    """The row that a run left when it was finished; None where it has not, or is judged otherwise now."""
    path = out / "runs" / run.name / "row.json"
    if not path.is_file():
        return None
    if run.makes_embeddings and run.makes_embeddings not in Pack(run.config.data).embedding_sets:
        return None
    row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return row if row["fingerprint"] == fingerprint(run) else None


def complete_row(run: Run, options: Options, mixtures: Pack | None = None) -> dict[str, Any] | None:
    """The row of a finished run; None where something that is asked for has not judged it yet."""
    row = finished_row(run, options.out)
    if row is None or (mixtures is not None and lacks_mixtures(row, run, mixtures)):
        return None
    return None if options.judge_training and lacks_fit(row, run) else row


def lacks_mixtures(row: Mapping[str, Any], run: Run, mixtures: Pack) -> bool:
    """Whether these scenes have still to judge a run."""
    return run.shown and row.get("mixtures", {}).get("fingerprint") != judged_by(run, mixtures)


def lacks_fit(row: Mapping[str, Any], run: Run) -> bool:
    """Whether a run has still to be judged on its own training clips."""
    return run.shown and "fit" not in row


def judged_by(run: Run, mixtures: Pack) -> str:
    """Of all that decides a run's figures on the scenes."""
    parts = [fingerprint(run), content_of(mixtures, LABELS)]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()
