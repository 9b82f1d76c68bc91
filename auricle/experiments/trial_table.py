"""The trials of a sweep as a table, and the best of them as a configuration."""

import datetime
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auricle.shards.layout import write_json

ORDER = ("finished", "stopped early", "diverged", "out of memory", "running", "failed")


def write_tables(
    found: Sequence[Any],
    out: Path,
    *,
    over: Sequence[str],
    most: int,
    recipe: str,
    settings: Mapping[str, str],
    data: Path,
    mixed: bool,
    caption: Sequence[str],
) -> dict[str, Any]:
    """Write results.json, table.md and, as soon as a trial is finished, best.json.

    Args:
        found: Optuna's trials.
        out: the sweep's folder.
        over: the settings that vary.
        most: how many trials there are to be.
        recipe: of all trials.
        settings: of all trials.
        data: the pack.
        mixed: whether it was mixed from recordings, which the title then says.
        caption: sentences under the table.

    Returns:
        What results.json holds: `trials`, the best first; `best`, None before one is finished; `asked_for`.
    """
    rows = sorted((row_of(trial) for trial in found), key=_rank)
    best = next((row for row in rows if row["ended"] == "finished"), None)
    places = [", ".join(sorted({row[name] for row in rows if row[name]})) for name in ("device", "commit")]
    results = {
        "title": "Sweep" + (" (mixed from real recordings)" if mixed else ""),
        "asked_for": most,
        "counts": {kind: number for kind in ORDER if (number := sum(_kind(row) == kind for row in rows))},
        "best": best,
        "trials": rows,
        "caption": [
            *caption,
            f"On {places[0] or 'nothing yet'}; commit {places[1] or 'unknown'}.",
            f"Written {datetime.datetime.now(datetime.UTC):%Y-%m-%d}.",
        ],
    }
    write_json(out / "results.json", results)
    if best is not None:
        chosen = {
            "recipe": recipe,
            "settings": {**settings, **best["settings"]},
            "validation_map": best["map"],
            "trial": best["trial"],
            "run": best["run"],
        }
        write_json(out / "best.json", chosen)
    temporary = out / "table.md.partial"
    temporary.write_text(as_markdown(results, over, out, recipe, settings, data), encoding="utf-8")
    temporary.replace(out / "table.md")
    return results


def row_of(trial: Any) -> dict[str, Any]:
    """One of Optuna's trials as a row: also of one that runs, or was killed, what is known of it."""
    facts = trial.user_attrs
    reported = trial.intermediate_values
    best_step = max(reported, key=lambda step: (reported[step], -step), default=None)
    ended = facts.get("ended", "running") if trial.state.is_finished() else "running"
    return {
        "trial": trial.number,
        "ended": ended,
        "map": facts.get("map", reported.get(best_step)),
        "best_step": facts.get("best_step", best_step),
        "steps": facts.get("steps", max(reported, default=0)),
        "hours": facts.get("hours"),
        "settings": facts.get("settings") or {key: str(value) for key, value in trial.params.items()},
        "run": f"trials/{trial.number:04d}",
        "device": facts.get("device", ""),
        "commit": facts.get("commit", ""),
        "worker": facts.get("worker", ""),
        "place": facts.get("place", ""),
    }


def as_markdown(
    results: Mapping[str, Any],
    over: Sequence[str],
    out: Path,
    recipe: str,
    settings: Mapping[str, str],
    data: Path,
) -> str:
    """The table, the best configuration as commands, and what the table is of."""
    counts = ", ".join(f"{number} {kind}" for kind, number in results["counts"].items()) or "none yet"
    lines = [
        f"# {results['title']}: {len(results['trials'])} of {results['asked_for']} trials",
        "",
        f"{counts}.",
        "",
    ]
    heads = ["trial", "validation mAP", *over, "at step", "steps", "hours", ""]
    lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in results["trials"]:
        figure = "" if row["map"] is None else f"{row['map']:.4f}"
        hours = "" if row["hours"] is None else f"{row['hours']:.2g}"
        chosen = [row["settings"].get(key, "") for key in over]
        at = "" if row["best_step"] is None else row["best_step"]
        cells = [row["trial"], figure, *chosen, at, row["steps"], hours, row["ended"]]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    if (best := results["best"]) is not None:
        words = ["auricle", "train", "--data", str(data), "--out", "RUN", "--recipe", recipe]
        for key, value in {**settings, **best["settings"]}.items():
            words += ["--set", f"{key}={value}"]
        short = ["auricle", "train", "--data", str(data), "--out", "RUN", "--config", str(out / "best.json")]
        lines += [
            "",
            f"The best so far is trial {best['trial']}: {out / best['run'] / 'best'}. To train it anew:",
            "",
        ]
        lines += ["```sh", shlex.join(words), shlex.join(short), "```"]
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in results["caption"])]) + "\n"


def _kind(row: Mapping[str, Any]) -> str:
    return row["ended"] if row["ended"] in ORDER else "failed"


def _rank(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Finished trials first, then the others; in each the highest mAP first."""
    return (
        row["ended"] != "finished",
        ORDER.index(_kind(row)) if row["map"] is None else -1,
        -(row["map"] or 0.0),
        row["trial"],
    )
