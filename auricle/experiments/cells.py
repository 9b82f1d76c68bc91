"""What results.json holds as a table for people: Markdown and a page."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from auricle.experiments.options import RANKING
from auricle.experiments.page import PAGE

# Key -> which of a run's evaluations ("" is that on the test clips), which of its figures, column's head.
FIGURES = {
    "auc": ("", "auc", "AUC"),
    "d_prime": ("", "d_prime", "d'"),
    "map": ("", "map", "mAP"),
    "accuracy": ("", "accuracy", "1-best accuracy"),
    "micro_auprc_fine": ("", "micro_auprc_fine", "fine micro AUPRC"),
    "micro_f1_fine": ("", "micro_f1_fine", "fine micro F1"),
    "macro_auprc_fine": ("", "macro_auprc_fine", "fine macro AUPRC"),
    "micro_auprc_coarse": ("", "micro_auprc_coarse", "coarse micro AUPRC"),
    "micro_f1_coarse": ("", "micro_f1_coarse", "coarse micro F1"),
    "macro_auprc_coarse": ("", "macro_auprc_coarse", "coarse macro AUPRC"),
    "fit_map": ("fit", "map", "mAP on training clips"),
    "before_map": ("before", "map", "mAP before fine-tuning"),
    "mixtures_auc": ("mixtures", "auc", "mixtures AUC"),
    "mixtures_d_prime": ("mixtures", "d_prime", "mixtures d'"),
    "mixtures_map": ("mixtures", "map", "mixtures mAP"),
}
PAPER_DETAILS = ("labels", "steps", "hours", "batch", "pre-trained")
VARIED = ("fraction", "labels", "bottleneck", "input", "output")  # what a row is of, the paper's like ours
NAMING = (*VARIED, "batch", "pre-trained")  # these stand beside a row's name, before the figures
FEW_GROUPS = 20  # below it an interval over recordings is rough, and rather too narrow
HEADS = {"train_clips": "clips", "learning_rate": "rate"}
Cell = tuple[str, tuple[str, ...]]  # a text, and smaller ones behind it


def cells(results: Mapping[str, Any]) -> tuple[list[str], list[list[Cell]]]:
    """Heads and rows of the table: what a row is, its figures, the paper's, others, how it came about."""
    rows = results["rows"]
    own = [
        *results["columns"],
        *(["width"] if len({row["width"] for row in rows}) > 1 else []),
        "learning_rate",
    ]
    naming = [name for name in own if name in NAMING]
    details = [name for name in own if name not in NAMING]
    published = [row["paper"] for row in [*rows, *results["paper_only"]]]
    figures = list(results.get("figures", RANKING))
    theirs, more = (
        [key for key in keys if any(key in paper for paper in published)] for keys in (figures, PAPER_DETAILS)
    )
    further = [key for key in FIGURES if FIGURES[key][0] and any(key in row["figures"] for row in rows)]
    digits = results.get("paper_digits", {})
    heads = ["", *(HEADS.get(name, name) for name in naming), *(FIGURES[key][2] for key in figures)]
    heads += [f"paper: {FIGURES[name][2]}" for name in theirs] + [FIGURES[key][2] for key in further]
    heads += [HEADS.get(name, name) for name in details] + [f"paper: {name}" for name in more]

    def line(name: str, row: Mapping[str, Any], paper: Mapping[str, Any], ours: bool) -> list[Cell]:
        made: list[Cell] = [(name, ())]
        made += [(_number(key, row.get(key)) if ours or key in VARIED else "", ()) for key in naming]
        made += [_figure(row, key) if ours else ("", ()) for key in figures]
        made += [(_published(key, paper.get(key), digits.get(key, 3)), ()) for key in theirs]
        made += [_figure(row, key) if ours else ("", ()) for key in further]
        made += [
            ((_steps(row) if key == "steps" else _number(key, row.get(key))) if ours else "", ())
            for key in details
        ]
        return made + [(_number(key, paper.get(key)), ()) for key in more]

    table = [line(row["row"], row, row["paper"], True) for row in rows]
    for row in results["paper_only"]:
        table.append(line(f"{row['row']} (paper only)", row["paper"], row["paper"], False))
    return heads, table


def as_markdown(results: Mapping[str, Any]) -> str:
    """The table with its caption and, at its foot, what it says of the paper's claims."""
    heads, table = cells(results)
    lines = [f"# {_title(results)}", "", f"After {results['source']}.", ""]
    lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in table:
        texts = [text + (f" ({'; '.join(small)})" if small else "") for text, small in row]
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |")
    lines.append("")
    lines += [f"- {sentence}" for sentence in results["caption"]]
    for heading, verdicts in _verdicts(results):
        lines += ["", f"{heading}:", ""]
        for verdict in verdicts:
            lines.append(f"- {verdict['claim']} **{verdict['verdict']}**")
            lines += [f"  - {detail}" for detail in verdict["details"]]
    return "\n".join(lines) + "\n"


def as_html(results: Mapping[str, Any]) -> str:
    """The same as a page that needs nothing but itself."""
    escape = html.escape
    heads, table = cells(results)
    body = []
    for number, row in enumerate(table):
        kind = "" if number < len(results["rows"]) else ' class="p"'  # of the paper only
        inner = "".join(
            f"<t{'h' if not column else 'd'}>{escape(text)}"
            + "".join(f"<small>{escape(each)}</small>" for each in small)
            + f"</t{'h' if not column else 'd'}>"
            for column, (text, small) in enumerate(row)
        )
        body.append(f"<tr{kind}>{inner}</tr>")
    verdicts = []
    for heading, judged in _verdicts(results):
        verdicts.append(f"<h2>{escape(heading)}</h2>")
        for verdict in judged:
            details = "".join(f"<li>{escape(detail)}</li>" for detail in verdict["details"])
            kind = verdict["verdict"].replace(" ", "-")
            verdicts.append(
                f'<details><summary>{escape(verdict["claim"])} <b class="{kind}">'
                f"{escape(verdict['verdict'])}</b></summary><ul>{details}</ul></details>"
            )
    return PAGE.format(
        title=escape(_title(results)),
        source=escape(results["source"]),
        head="".join(f"<th>{escape(name)}</th>" for name in heads),
        body="\n".join(body),
        caption="\n".join(f"<li>{escape(sentence)}</li>" for sentence in results["caption"]),
        verdicts="\n".join(verdicts),
    )


def _verdicts(results: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Headings and verdicts: on the test clips, then on mixtures where there are some."""
    found = [("What the paper says, and what these rows say" + _rough(results, ""), results["verdicts"])]
    if on_mixtures := results.get("verdicts_on_mixtures"):
        found.append(("The same, judged on mixtures" + _rough(results, "mixtures"), on_mixtures))
    return found


def _rough(results: Mapping[str, Any], entry: str) -> str:
    """What a heading adds where intervals are drawn from few groups of clips."""
    groups = results.get("groups", {}).get(entry, 0)
    if not 0 < groups < FEW_GROUPS:
        return ""
    return f" (drawn from {groups} groups that share no recording: rough intervals)"


def _title(results: Mapping[str, Any]) -> str:
    return results["title"] + (" (mixed from real recordings)" if results["mixed"] else "")


def _steps(row: Mapping[str, Any]) -> str:
    """Steps of a training, and of its fine-tuning where it has one."""
    more = row.get("finetune_steps")
    return _number("steps", row.get("steps")) + (f" + {_number('steps', more)}" if more else "")


def _figure(row: Mapping[str, Any], key: str) -> Cell:
    """A figure, and behind it its interval; of several seeds, their range and the mean's interval."""
    text, interval = _number(key, row["figures"].get(key)), _range(row["intervals"].get(key))
    if len(row["seeds"]) == 1:
        return text, (interval,) if interval else ()
    ranges = {"seeds": _range(row["ranges"].get(key)), "recordings": interval}
    return text, tuple(f"{name} {bounds}" for name, bounds in ranges.items() if bounds)


def _range(bounds: Sequence[float | None] | None) -> str:
    if not bounds or None in bounds:
        return ""
    return " to ".join(f"{bound:.3f}" for bound in bounds)


def _number(name: str, value: Any) -> str:
    """A cell's text: the digits that a figure of this name deserves.

    >>> _number("map", 0.18149), _number("weights", 11230000), _number("fraction", 0.05)
    ('0.1815', '11.23 M', '5%')
    >>> [_number("hours", value) for value in (6e-5, 0.00314, 2.0, 119)]
    ['<0.001', '0.0031', '2', '119']
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
        return "<0.001" if 0 < value < 1e-3 else f"{value:.2g}" if value < 10 else f"{value:.0f}"
    if name in ("weights", "multiplies", "steps") and value >= 1e6:
        return f"{value / 1e6:.4g} M" if value < 1e9 else f"{value / 1e9:.3g} G"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _published(name: str, value: Any, digits: int) -> str:
    """A figure with the digits that the paper gives."""
    return f"{value:.{digits}f}" if name in FIGURES and value is not None else _number(name, value)
