"""The rows of an experiment beside the paper's: results.json, table.md, table.html, lines of results.csv."""

import csv
import datetime
import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auricle.experiments.claims import judge_all
from auricle.experiments.options import Experiment, Options
from auricle.experiments.page import PAGE
from auricle.shards import Pack
from auricle.shards.layout import write_json

FIGURES = {"auc": "AUC", "d_prime": "d'", "map": "mAP", "accuracy": "1-best accuracy"}
PAPER_FIGURES = ("auc", "d_prime", "map")
VARIED = ("fraction", "labels", "bottleneck")
HEADS = {"train_clips": "clips", "learning_rate": "rate"}
RESULTS = ("recipe", "data", "fold", "metric", "ours", "paper", "commit", "hours", "device")


def write_tables(
    plan: Experiment, runs: Sequence[Mapping[str, Any]], out: Path, options: Options, *, command: str = ""
) -> dict[str, Any]:
    """Write results.json, table.md and table.html of the runs that are finished.

    Returns:
        What results.json holds: `rows` of the table, `runs` (one for each seed), `verdicts` on the paper's
        claims, `paper_only` and `caption`.
    """
    pack = Pack(options.data)
    rows = gather(runs)
    labels = judged_labels(plan, pack)
    evaluations = {row["row"]: [out / path for path in row["evaluations"]] for row in rows}
    verdicts = judge_all(plan.claims, evaluations, labels)
    unfinished = len({run.name for run in plan.runs} - {run["name"] for run in runs})
    results = {
        "title": plan.title,
        "source": plan.source,
        "judged_on": list(options.test_splits),
        "mixed": (pack.manifest.get("mixed_from") or {}).get("heading", ""),
        "columns": list(plan.columns),
        "caption": caption(plan, rows, pack, options, command, unfinished),
        "rows": rows,
        "paper_only": [{"row": name, "paper": dict(paper)} for name, paper in plan.paper_only],
        "verdicts": [
            {"claim": verdict.text, "verdict": verdict.verdict, "details": list(verdict.details)}
            for verdict in verdicts
        ],
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


def gather(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row from the runs of each row name: figures averaged over seeds, with interval or range.

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
        figures, ranges = {}, {}
        for figure in FIGURES:
            values = [run["figures"].get(figure) for run in same]
            defined = [value for value in values if value is not None]
            complete = len(defined) == len(values)
            figures[figure] = sum(defined) / len(defined) if complete else None
            if len(same) > 1:
                ranges[figure] = [min(defined), max(defined)] if complete else None
            else:
                ranges[figure] = first["figures"].get("intervals", {}).get(figure)
        rows.append(
            {
                "row": name,
                "seeds": [run["seed"] for run in same],
                "figures": figures,
                "ranges": ranges,
                "range_is": "lowest and highest seed" if len(same) > 1 else "95% interval over recordings",
                "hours": sum(run["hours"] for run in same) / len(same),
                "paper": first["paper"],
                "evaluations": [run["evaluation"] for run in same],
                "commits": sorted({run["commit"] for run in same}),
                **first["columns"],
                **{
                    key: first.get(key)
                    for key in (
                        "model",
                        "width",
                        "learning_rate",
                        "steps",
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


def caption(
    plan: Experiment,
    rows: Sequence[Mapping[str, Any]],
    pack: Pack,
    options: Options,
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
        f"{parts['device']}, {parts['dtype']}, {same_width}, batches of {options.batch}, "
        f"seed {', '.join(str(seed) for seed in options.seeds)}; commit {commits}.",
        *plan.notes,
    ]
    if rows:
        sentences.append(f"Behind a figure: {rows[0]['range_is']}.")
    if options.settings:
        sentences.append(
            "Set: " + ", ".join(f"{key}={value}" for key, value in options.settings.items()) + "."
        )
    if unfinished:
        sentences.append(f"Not finished: {unfinished} of {len(plan.runs)} runs are still to come.")
    sentences.append(f"Written {datetime.datetime.now(datetime.UTC):%Y-%m-%d}.")
    return sentences + ([f"Command: {command}"] if command else [])


def cells(results: Mapping[str, Any]) -> tuple[list[str], list[list[tuple[str, str]]]]:
    """Heads and rows of the table; a cell is its text and a smaller one behind it."""
    widths = len({row["width"] for row in results["rows"]}) > 1
    own = [*results["columns"], *(["width"] if widths else []), "learning_rate"]
    published = [row["paper"] for row in [*results["rows"], *results["paper_only"]]]
    theirs = [key for key in ("labels", "steps", "hours") if any(key in paper for paper in published)]
    theirs += [key for key in (*PAPER_FIGURES, "accuracy") if any(key in paper for paper in published)]
    heads = ["", *(HEADS.get(name, name) for name in own), *FIGURES.values()]
    heads += [f"paper: {FIGURES.get(name, name)}" for name in theirs]
    table = []
    for row in results["rows"]:
        line = [(row["row"], "")] + [(_number(name, row.get(name)), "") for name in own]
        line += [(_number(name, row["figures"][name]), _range(row["ranges"].get(name))) for name in FIGURES]
        table.append(line + [(_published(name, row["paper"].get(name)), "") for name in theirs])
    for row in results["paper_only"]:
        line = [(f"{row['row']} (paper only)", "")]
        line += [
            (_number(name, row["paper"].get(name)) if name in VARIED else "", "")  # what the row is of
            for name in own
        ]
        line += [("", "")] * len(FIGURES)
        table.append(line + [(_published(name, row["paper"].get(name)), "") for name in theirs])
    return heads, table


def as_markdown(results: Mapping[str, Any]) -> str:
    """The table with its caption and, at its foot, what it says of the paper's claims."""
    heads, table = cells(results)
    lines = [f"# {_title(results)}", "", f"After {results['source']}.", ""]
    lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in table:
        texts = [text + (f" ({small})" if small else "") for text, small in row]
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |")
    lines.append("")
    lines += [f"- {sentence}" for sentence in results["caption"]]
    lines += ["", "What the paper says, and what these rows say:", ""]
    for verdict in results["verdicts"]:
        lines.append(f"- {verdict['claim']} **{verdict['verdict']}**")
        lines += [f"  - {detail}" for detail in verdict["details"]]
    return "\n".join(lines) + "\n"


def as_html(results: Mapping[str, Any]) -> str:
    """The same as a page that needs nothing but itself."""
    escape = html.escape
    heads, table = cells(results)
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = []
    for number, row in enumerate(table):
        kind = "" if number < len(results["rows"]) else ' class="p"'  # of the paper only
        inner = "".join(
            f"<t{'h' if not column else 'd'}>{escape(text)}"
            + (f"<small>{escape(small)}</small>" if small else "")
            + f"</t{'h' if not column else 'd'}>"
            for column, (text, small) in enumerate(row)
        )
        body.append(f"<tr{kind}>{inner}</tr>")
    verdicts = []
    for verdict in results["verdicts"]:
        details = "".join(f"<li>{escape(detail)}</li>" for detail in verdict["details"])
        kind = verdict["verdict"].replace(" ", "-")
        verdicts.append(
            f'<details><summary>{escape(verdict["claim"])} <b class="{kind}">{escape(verdict["verdict"])}</b>'
            f"</summary><ul>{details}</ul></details>"
        )
    return PAGE.format(
        title=escape(_title(results)),
        source=escape(results["source"]),
        head=head,
        body="\n".join(body),
        caption="\n".join(f"<li>{escape(sentence)}</li>" for sentence in results["caption"]),
        verdicts="\n".join(verdicts),
    )


def append_results(results: Mapping[str, Any], experiment: str, path: Path) -> int:
    """Append the finished runs to a table like the project's results.csv; how many lines were new.

    A line that is there already is not written again.

    Args:
        results: as results.json holds them.
        experiment: goes before the row's name in the column `recipe`.
        path: a CSV file with the columns recipe, data, fold, metric, ours, paper, commit, hours, device; made
            where there is none.

    Raises:
        ValueError: the file has other columns.
    """
    there: list[list[str]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as stream:
            there = list(csv.reader(stream))
        if there and tuple(there[0]) != RESULTS:
            raise ValueError(f"{path}: has the columns {', '.join(there[0])}; expected {', '.join(RESULTS)}")
    new = []
    for run in results["runs"]:
        if not run["shown"]:
            continue
        for metric in FIGURES:
            value, paper = run["figures"].get(metric), run["paper"].get(metric)
            trained = f"width {run['width']:g}, {run['steps']} steps, seed {run['seed']}"
            line = [
                f"{experiment}: {run['row']}, {trained}",
                results["mixed"] or str(run["figures"].get("pack", "")).rpartition("/")[2],
                "+".join(results["judged_on"]),
                metric,
                "" if value is None else f"{value:.4f}",
                "" if paper is None else f"{paper:g}",
                run["commit"],
                f"{run['hours']:.3f}",
                run["device"],
            ]
            if line not in there:
                new.append(line)
    with path.open("a", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([list(RESULTS)] * (not there) + new)
    return len(new)


def _title(results: Mapping[str, Any]) -> str:
    return results["title"] + (" (mixed from real recordings)" if results["mixed"] else "")


def _range(bounds: Sequence[float | None] | None) -> str:
    if not bounds or None in bounds:
        return ""
    return " to ".join(f"{bound:.3f}" for bound in bounds)


def _number(name: str, value: Any) -> str:
    """A cell's text: the digits that a figure of this name deserves.

    >>> _number("map", 0.18149), _number("weights", 11230000), _number("fraction", 0.05)
    ('0.1815', '11.23 M', '5%')
    >>> _number("hours", 0.00314), _number("hours", 2.0), _number("hours", 119)
    ('0.0031', '2', '119')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if name in FIGURES:
        return f"{value:.4f}"
    if name == "fraction":
        return f"{100 * value:g}%"
    if name == "hours":
        return f"{value:.2g}" if value < 10 else f"{value:.0f}"
    if name in ("weights", "multiplies", "steps") and value >= 1e6:
        return f"{value / 1e6:.4g} M" if value < 1e9 else f"{value / 1e9:.3g} G"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _published(name: str, value: Any) -> str:
    """A figure with the digits that the paper gives."""
    return f"{value:.3f}" if name in FIGURES and value is not None else _number(name, value)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def load(out: Path) -> dict[str, Any]:
    """What results.json of a comparison holds."""
    return json.loads((out / "results.json").read_text(encoding="utf-8"))
