"""The rows of an experiment beside the paper's: results.json, table.md, table.html."""

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from auricle.experiments.cells import FIGURES, as_html, as_markdown
from auricle.experiments.claims import draw_rows, interval, judge
from auricle.experiments.mixtures import in_words, shared_labels
from auricle.experiments.options import RANKING, Experiment, Options
from auricle.experiments.urban_judging import urban_reader
from auricle.shards import Pack
from auricle.shards.layout import write_json

Drawn = Mapping[str, Mapping[int, Mapping[str, np.ndarray]]]  # row -> seed -> figure -> (1 + draws,)
OVER_RECORDINGS = "95% interval over recordings"
OVER_SEEDS = "lowest and highest seed"
RATE_CHANGES = ("cuts", "restarts")  # of a schedule that follows validation; means over seeds
LEARNED = 0.9  # mAP on the training clips; a net that is far below it has not learned them by heart


def write_tables(
    plan: Experiment,
    runs: Sequence[Mapping[str, Any]],
    out: Path,
    options: Options,
    *,
    mixtures: Pack | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Write results.json, table.md and table.html of the runs that are finished.

    Returns:
        What results.json holds: `rows` of the table, `runs` (one for each seed), `verdicts` on the paper's
        claims (and, with mixtures, `verdicts_on_mixtures`), `paper_only` and `caption`.
    """
    pack = Pack(options.data)
    labels = {"": judged_labels(plan, pack)}
    labels["before"] = labels[""]
    if mixtures is not None:
        labels["mixtures"] = shared_labels(labels[""], mixtures)
    claimed = {row for claim in plan.claims for row in claim.rows}
    read = urban_reader(plan, pack)
    drawn = {
        entry: draw_rows(evaluations(runs, entry, out, () if entry == "before" else claimed), names, read)
        for entry, names in labels.items()
    }
    rows = gather(runs, {entry: drawn[entry] if options.draws else {} for entry in drawn}, plan.figures)
    unfinished = len({run.name for run in plan.runs} - {run["name"] for run in runs})
    results = {
        "title": plan.title,
        "source": plan.source,
        "judged_on": list(options.test_splits),
        "mixed": (pack.manifest.get("mixed_from") or {}).get("heading", ""),
        "mixtures": "" if mixtures is None else mixtures.manifest["mixed_from"]["heading"],
        "columns": list(plan.columns),
        "figures": list(plan.figures),
        "paper_digits": dict(plan.paper_digits),
        "caption": caption(plan, rows, pack, options, mixtures, command, unfinished),
        "rows": rows,
        "paper_only": [{"row": name, "paper": dict(paper)} for name, paper in plan.paper_only],
        "groups": {entry: groups_of(runs, entry) for entry in labels},
        "verdicts": verdicts(plan, drawn[""]),
        "verdicts_on_mixtures": verdicts(plan, drawn["mixtures"]) if mixtures is not None else [],
        "runs": list(runs),
    }
    write_json(out / "results.json", results)
    for name, text in (("table.md", as_markdown(results)), ("table.html", as_html(results))):
        temporary = out / f"{name}.partial"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(out / name)
    return results


def judged_labels(plan: Experiment, pack: Pack) -> list[str]:
    """The labels that every row of an experiment is judged on."""
    sets = {str(run.evaluation.get("label_set", "labels")) for run in plan.runs if run.shown}
    assert len(sets) == 1, f"an experiment judges all of its rows on one label set, not on {sorted(sets)}"
    return pack.label_names(sets.pop())


def evaluations(
    runs: Sequence[Mapping[str, Any]], entry: str, out: Path, claimed: set[str] | tuple[()]
) -> dict[str, dict[int, Path]]:
    """Row -> seed -> folder of its evaluation of one kind: rows claimed or of several seeds."""
    found: dict[str, dict[int, Path]] = {}
    for run in runs:
        if run["shown"] and (judged := entry_of(run, entry)):
            found.setdefault(run["row"], {})[run["seed"]] = out / judged["evaluation"]
    return {row: folders for row, folders in found.items() if row in claimed or len(folders) > 1}


def entry_of(run: Mapping[str, Any], entry: str) -> Mapping[str, Any] | None:
    """One of a run's evaluations: "" is that on the test clips; None where it has no such one."""
    return run.get(entry) if entry else run


def groups_of(runs: Sequence[Mapping[str, Any]], entry: str) -> int:
    """How many groups of clips that share a recording one kind of evaluation has; 0 where there is none."""
    judged = [each["figures"] for run in runs if run["shown"] and (each := entry_of(run, entry))]
    return max((figures.get("groups", 0) for figures in judged), default=0)


def verdicts(plan: Experiment, drawn: Drawn) -> list[dict[str, Any]]:
    """What the rows say of each claim, as results.json has it."""

    def of(figure: str) -> dict[str, dict[int, np.ndarray]]:
        return {row: {seed: each[figure] for seed, each in seeds.items()} for row, seeds in drawn.items()}

    found = []
    for claim in plan.claims:
        verdict = judge(claim, of(claim.figure))
        further = [judge(replace(claim, figure=figure), of(figure)) for figure in claim.beside]
        details = [detail for each in (verdict, *further) for detail in each.details]
        found.append({"claim": verdict.text, "verdict": verdict.verdict, "details": details})
    return found


def gather(
    runs: Sequence[Mapping[str, Any]],
    drawn: Mapping[str, Drawn] | None = None,
    shown: Sequence[str] = RANKING,
) -> list[dict[str, Any]]:
    """One row from the runs of each row name: figures averaged over seeds, with intervals and ranges.

    Args:
        runs: as row.json holds them.
        drawn: kind of evaluation -> what `draw_rows` gives; for the intervals of rows with several seeds.
        shown: the figures on the test clips.

    >>> run = {"row": "a", "shown": True, "seed": 0, "columns": {}, "paper": {}, "evaluation": "e"}
    >>> run |= {"commit": "c", "hours": 1.0, "figures": {"map": 0.25}}
    >>> other = {**run, "seed": 1, "figures": {"map": 0.75}}
    >>> row = gather([run, other])[0]
    >>> row["figures"]["map"], row["ranges"]["map"]
    (0.5, [0.25, 0.75])
    """
    rows = []
    for name in dict.fromkeys(run["row"] for run in runs if run["shown"]):
        same = [run for run in runs if run["row"] == name]
        first = same[0]
        figures, ranges, intervals = {}, {}, {}
        for key, (entry, figure, _) in FIGURES.items():
            judged = [each["figures"] for run in same if (each := entry_of(run, entry))]
            if len(judged) < len(same) or (not entry and key not in shown):
                continue
            values = [each.get(figure) for each in judged]
            defined = [value for value in values if value is not None]
            complete = len(defined) == len(values)
            figures[key] = sum(defined) / len(defined) if complete else None
            if len(same) > 1:
                ranges[key] = [min(defined), max(defined)] if complete else None
                intervals[key] = _interval((drawn or {}).get(entry, {}).get(name, {}), figure)
            else:
                ranges[key] = intervals[key] = judged[0].get("intervals", {}).get(figure)
        rows.append(
            {
                "row": name,
                "seeds": [run["seed"] for run in same],
                "figures": figures,
                "ranges": ranges,
                "range_is": OVER_SEEDS if len(same) > 1 else OVER_RECORDINGS,
                "intervals": intervals,
                "hours": sum(run["hours"] for run in same) / len(same),
                "paper": first["paper"],
                "evaluations": [run["evaluation"] for run in same],
                "commits": sorted({run["commit"] for run in same}),
                **{key: sum(run[key] for run in same) / len(same) for key in RATE_CHANGES if key in first},
                **first["columns"],
                **{
                    key: first.get(key)
                    for key in (
                        "model",
                        "width",
                        "learning_rate",
                        "steps",
                        "finetune_steps",
                        "weights",
                        "multiplies",
                        "train_clips",
                        "device",
                        "dtype",
                    )
                },  # fmt: skip
            }
        )
    return rows


def _interval(drawn: Mapping[int, Mapping[str, np.ndarray]], figure: str) -> list[float] | None:
    """Over recordings, of the mean over seeds, cut where the figure cannot be; None: draws do not tell."""
    bounds = (math.nan, math.nan)
    if drawn:
        with np.errstate(invalid="ignore"):  # d' of one seed is infinite, of another the other way
            bounds = interval(np.mean([figures[figure] for figures in drawn.values()], axis=0))
    if not np.isfinite(bounds).all() or bounds[0] == bounds[1]:
        return None
    return list(bounds) if figure == "d_prime" else [max(bounds[0], 0.0), min(bounds[1], 1.0)]


def caption(
    plan: Experiment,
    rows: Sequence[Mapping[str, Any]],
    pack: Pack,
    options: Options,
    mixtures: Pack | None,
    command: str,
    unfinished: int,
) -> list[str]:
    """Sentences that say what the table is of."""
    manifest = pack.manifest
    widths = {row["width"] for row in rows}
    same_width = f"width {widths.pop():g} of every network" if len(widths) == 1 else "widths as in the rows"
    parts = {key: ", ".join(sorted({str(row[key]) for row in rows})) for key in ("device", "dtype")}
    commits = ", ".join(sorted({commit or "unknown" for row in rows for commit in row["commits"]}))
    sentences = []
    if heading := (manifest.get("mixed_from") or {}).get("heading"):
        sentences.append(f"Mixed from real recordings: {heading}.")
    source = manifest.get("source", "")
    sentences += [
        f"Data: {source}: {len(pack)} clips, {pack.rate} Hz, pack {pack.fingerprint[:12]}.",
        f"Trained on {_listed(options.train_splits)}, judged on {_listed(options.test_splits)}"
        + (f", monitored on {_listed(options.validation_splits)}." if options.validation_splits else "."),
        *([in_words(mixtures)] if mixtures is not None else []),
        f"{parts['device']}, {parts['dtype']}, {same_width}, batches of {options.batch}, "
        f"seed {', '.join(str(seed) for seed in options.seeds)}; commit {commits}.",
        *plan.notes,
    ]
    if any(len(row["seeds"]) > 1 for row in rows):
        sentences += [
            f"A figure is the mean over the seeds; behind it: {OVER_SEEDS}, and the {OVER_RECORDINGS} of "
            "that mean.",
            "A difference is of the seeds that its rows have in common; its interval is over recordings and "
            "these seeds.",
        ]
        if len({tuple(row["seeds"]) for row in rows}) > 1:
            sentences.append("Where that is one seed, what another one's training could change is not in it.")
    elif rows:
        sentences.append(
            f"Behind a figure: {OVER_RECORDINGS}; what another seed's training could change is not in it, "
            "nor in the intervals of differences."
        )
    sentences += fit_in_words(rows)
    if settings := settings_in_words(options):
        sentences.append(f"Set: {settings}.")
    if unfinished:
        sentences.append(f"Not finished: {unfinished} of {len(plan.runs)} runs are still to come.")
    sentences.append(f"Written {datetime.datetime.now(datetime.UTC):%Y-%m-%d}.")
    return sentences + ([f"Command: {command}"] if command else [])


def fit_in_words(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the caption says of rows whose nets have not even learned their own training clips.

    >>> rows = [{"row": name, "figures": {"fit_map": fit}} for name, fit in (("a", 0.744), ("b", 1.0))]
    >>> fit_in_words(rows)[0]
    'Far from 1 is the mAP on the training clips of a (0.74): it has not overfitted, ...
    """
    fits = [(row["row"], row["figures"].get("fit_map")) for row in rows]
    far = [f"{row} ({figure:.2f})" for row, figure in fits if figure is not None and figure < LEARNED]
    if not far:
        return []
    whose = "it has" if len(far) == 1 else "these have"
    return [
        f"Far from 1 is the mAP on the training clips of {'; '.join(far)}: {whose} not overfitted, so what "
        "keeps nets from overfitting cannot show its worth there."
    ]


def settings_in_words(options: Options) -> str:
    """What --set was given: for all rows, then for those of one model."""
    of_all = [f"{key}={value}" for key, value in options.settings.items()]
    of_one = [
        f"{model}:{key}={value}"
        for model, own in options.model_settings.items()
        for key, value in own.items()
    ]
    return _listed(of_all + of_one)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def load(out: Path) -> dict[str, Any]:
    """What results.json of a comparison holds."""
    return json.loads((out / "results.json").read_text(encoding="utf-8"))
