"""Class by class: an evaluation's `per_class.csv`, as arrays and as tables to look at."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from auricle.report.page import page, text
from auricle.tables import header_of, read_text_table

# What begins markup in the middle of a cell; an underscore or ampersand inside a name does not.
MARKUP = re.compile(r"[\\`*<>|\[\]]|&(?=#?\w+;)")
NEEDED = ("label", "positives", "ap", "auc", "d_prime")


@dataclass(frozen=True, kw_only=True, eq=False)
class PerClass:
    """Figures of S classes; NaN where one is not defined.

    `prior` is the share of clips that carry the label, in the clips that `prior_of` names.
    """

    labels: tuple[str, ...]
    positives: np.ndarray  # (S,) int64, in the clips evaluated
    ap: np.ndarray  # (S,) float64
    auc: np.ndarray
    d_prime: np.ndarray  # infinite where the ranking is perfect
    prior: np.ndarray
    prior_of: str = "evaluated"
    clips: int = 0  # evaluated; 0 where not known

    @classmethod
    def of(cls, labels: Sequence[str], *, positives: Any, ap: Any, auc: Any, clips: int) -> Self:
        """From arrays; d' and prior follow.

        >>> PerClass.of(["rain"], positives=[3], ap=[0.5], auc=[0.5], clips=6).prior
        array([0.5])
        """
        from auricle.metrics.ranking import d_prime

        counts = np.asarray(positives, np.int64)
        area = np.asarray(auc, np.float64)
        return cls(
            labels=tuple(labels),
            positives=counts,
            ap=np.asarray(ap, np.float64),
            auc=area,
            d_prime=np.asarray([d_prime(value) for value in area]),
            prior=counts / clips,
            clips=clips,
        )

    def take(self, positions: np.ndarray) -> "PerClass":
        """Only these classes.

        >>> PerClass.of("ab", positives=[3, 4], ap=[1, 1], auc=[1, 1], clips=6).take(np.array([1])).labels
        ('b',)
        """
        arrays = {name: getattr(self, name)[positions] for name in ("positives", *FIGURES, "prior")}
        return replace(self, labels=tuple(self.labels[k] for k in positions), **arrays)


FIGURES = ("ap", "auc", "d_prime")


def read_per_class(path: str | Path, *, prior: str = "") -> PerClass:
    """Read an evaluation's folder, or its `per_class.csv`.

    Args:
        path: the folder that `auricle evaluate --out` wrote, or the table in it.
        prior: column to take the prior from, "prior" (in the clips evaluated) or "training_prior"; by default
            the latter where the table has it, since a balanced evaluation set has lost the priors. Older
            tables have neither: then it is positives over the clips that `metrics.json` counts.

    Raises:
        ValueError: there is no such table, or it lacks a column, or a cell is no number.

    >>> read_per_class("out/eval").labels  # doctest: +SKIP
    """
    table = Path(path) / "per_class.csv" if Path(path).is_dir() else Path(path)
    if not table.is_file():
        raise ValueError(f"{table}: not there; auricle evaluate MODEL PACK --out {table.parent} writes it")
    names, lines = read_text_table(table, [name for name in header_of(table) if name != "label"])
    if missing := [name for name in NEEDED if name not in names]:
        raise ValueError(f"{table}: no column {missing[0]!r}; expected {', '.join(NEEDED)}")
    rows = [row for _, row in lines]
    columns = {name: _numbers(table, rows, name) for name in names if name != "label"}
    if prior and prior not in columns:
        raise ValueError(f"{table}: no column {prior!r}; it has: {', '.join(names)}")
    facts = _facts(table)
    trained = columns.get("training_prior")
    if not prior and trained is not None and (trained > 0).any():
        prior = "training_prior"
    if not prior and "prior" in columns:
        prior = "prior"
    positives = columns["positives"]
    if prior:
        priors = columns[prior]
    else:
        priors = positives / _counted(table, facts)
    clips = _clips(facts)
    if not clips and "prior" in columns and (columns["prior"] > 0).any():
        clips = round(float(np.nanmax(positives / np.where(columns["prior"] > 0, columns["prior"], np.nan))))
    return PerClass(
        labels=tuple(row["label"] for row in rows),
        positives=np.nan_to_num(positives).astype(np.int64),
        **{name: columns[name] for name in FIGURES},
        prior=priors,
        prior_of=_prior_of(facts) if prior == "training_prior" else "evaluated",
        clips=clips,
    )


def classes_html(classes: PerClass, *, title: str = "Class by class") -> str:
    """The table as a page whose columns sort when their heads are pressed.

    >>> few = PerClass.of(["rain", "dog"], positives=[10, 90], ap=[0.4, 0.8], auc=[0.9, 0.95], clips=100)
    >>> classes_html(few).count("<tr>")
    3
    """
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{head}</button></th>' for head in HEADS
    )
    rows = []
    for cells, keys in zip(class_cells(classes), _keys(classes), strict=True):
        inner = "".join(
            f'<td data-key="{text(key)}">{text(cell)}</td>' for key, cell in zip(keys, cells, strict=True)
        )
        rows.append(f"<tr>{inner}</tr>")
    body = f"""<div class="controls"><label for="search">Find a class</label>
<input id="search" type="search" autocomplete="off" spellcheck="false">
<span id="found" role="status"></span></div>
<p class="note">Prior: share of the clips {text(classes.prior_of)} with the label. A dash: not defined.</p>
<div class="scroll"><table class="numbers sortable names" id="table"><thead><tr>{heads}</tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody></table></div>"""
    return page(title, body, script="table.js")


HEADS = ("class", "positives", "prior", "AP", "AUC", "d′")


def class_cells(classes: PerClass) -> list[list[str]]:
    """The table as text, in the order of HEADS.

    >>> class_cells(PerClass.of(["rain"], positives=[3], ap=[0.5], auc=[1.0], clips=6))
    [['rain', '3', '0.5', '0.500', '1.000', '∞']]
    """
    return [
        [label, str(count), f"{prior:.3g}", _figure(ap, 3), _figure(auc, 3), _figure(d, 2)]
        for label, count, prior, ap, auc, d in zip(
            classes.labels,
            classes.positives.tolist(),
            classes.prior.tolist(),
            classes.ap.tolist(),
            classes.auc.tolist(),
            classes.d_prime.tolist(),
            strict=True,
        )
    ]


def classes_markdown(classes: PerClass) -> str:
    r"""The table in Markdown, the best class first.

    >>> few = PerClass.of(["a|b", "dog"], positives=[1, 3], ap=[0.4, 0.8], auc=[0.9, 0.9], clips=4)
    >>> print(classes_markdown(few).splitlines()[-1])
    | a\|b | 1 | 0.25 | 0.400 | 0.900 | 1.81 |
    """
    order = np.argsort(-np.nan_to_num(classes.ap, nan=-1.0), kind="stable")
    cells = class_cells(classes.take(order))
    lines = ["| " + " | ".join(HEADS) + " |", "|---|" + "---:|" * (len(HEADS) - 1)]
    lines += ["| " + " | ".join([markdown_text(row[0]), *row[1:]]) + " |" for row in cells]
    return "\n".join(lines) + "\n"


def markdown_text(label: str) -> str:
    r"""A label in a table of Markdown: nothing in it is markup, and it stays on its line.

    >>> print(markdown_text("<b>|R&B|"))
    \<b\>\|R&B\|
    """
    return MARKUP.sub(r"\\\g<0>", " ".join(label.split()))


def _keys(classes: PerClass) -> list[list[object]]:
    columns = (classes.positives, classes.prior, classes.ap, classes.auc, classes.d_prime)
    return [
        [label, *("" if math.isnan(value) else "1e999" if math.isinf(value) else value for value in values)]
        for label, *values in zip(classes.labels, *(column.tolist() for column in columns), strict=True)
    ]


def _figure(value: float, digits: int) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.{digits}f}" if math.isfinite(value) else "∞" if value > 0 else "−∞"


def _numbers(table: Path, rows: list[dict[str, str]], name: str) -> np.ndarray:
    values = np.full(len(rows), np.nan)
    for n, row in enumerate(rows):
        cell = row[name]
        if cell:
            try:
                values[n] = float(cell)
            except ValueError:
                raise ValueError(f"{table}: row {n + 2}, {name} is {cell!r}; expected a number") from None
    return values


def _facts(table: Path) -> dict[str, Any]:
    """What metrics.json beside the table says; nothing where it is missing or damaged."""
    try:
        facts = json.loads(table.with_name("metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _prior_of(facts: dict[str, Any]) -> str:
    """Whose clips `training_prior` is of."""
    source = facts.get("training_prior_of") or ""
    return f"of {source}" if source.startswith("split ") else "trained on"


def _clips(facts: dict[str, Any]) -> int:
    try:
        return int(facts["clips"])
    except (ValueError, KeyError, TypeError):
        return 0


def _counted(table: Path, facts: dict[str, Any]) -> int:
    if clips := _clips(facts):
        return clips
    raise ValueError(
        f"{table}: it has no column 'prior', and no metrics.json beside it counts the clips; "
        "evaluate again with --out"
    )
