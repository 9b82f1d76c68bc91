"""How far annotators agree, drawn: `auricle.datasets.agreement.agreement` as a picture or a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from auricle.datasets.agreement import (
    AGAINST,
    HEADS,
    annotator_rows,
    class_rows,
    summary,
    threshold_rows,
)
from auricle.report.page import data_uri, page, text
from auricle.report.style import COLOURS, GREY, SUFFIXES, drawing, save, shortened


def draw_agreement(found: Mapping[str, Any]) -> Figure:
    """Two panels, a row for each class: clips positive above each share of votes; Krippendorff's alpha.

    Args:
        found: what `agreement` returned.

    >>> draw_agreement(agreement(annotations))  # doctest: +SKIP
    """
    classes = found["classes"]
    rows = np.arange(len(classes))
    with drawing():
        figure = Figure(figsize=(10.0, 1.4 + 0.21 * len(classes)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
        for at, colour in zip((25, 50, 75), (COLOURS[5], COLOURS[0], "#000000"), strict=True):
            left.barh(
                rows, [row[f"positive_{at}"] for row in classes], height=0.8, color=colour, label=f"> {at}%"
            )
        left.set_yticks(rows, [shortened(row["label"], 40) for row in classes])
        left.set_ylim(len(classes) - 0.4, -0.6)
        left.set_xlabel("clips")
        left.set_title("Positive where more than this share of votes say so")
        left.legend(title="share of votes", loc="best")
        for row, entry in zip(rows, classes, strict=True):
            if entry["alpha"] is not None:
                right.plot([0, entry["alpha"]], [row, row], color=GREY, linewidth=1.0)
                right.plot(entry["alpha"], row, "o", color=COLOURS[1], markersize=4)
        right.axvline(0.0, color=GREY, linewidth=0.8)
        right.set_xlim(min(-0.1, *(entry["alpha"] or 0.0 for entry in classes)), 1.0)
        right.set_xlabel("Krippendorff's alpha")
        right.set_title("0: chance, 1: all agree")
        return figure


def check_place(path: Path) -> None:
    """Say before the work that a picture or page cannot be written there.

    Raises:
        ValueError: another suffix than a picture's or page's, or no such folder.

    >>> check_place(Path("agreement.svg"))
    """
    if path.suffix.lower() not in (".html", *SUFFIXES):
        raise ValueError(f"{path}: expected a name that ends in .html, {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: the folder {path.parent} does not exist; create it or write elsewhere")


def write_agreement(found: Mapping[str, Any], path: str | Path, title: str = "Agreement") -> None:
    """Write the picture (.png, .svg, .pdf), or a page with it and every figure (.html).

    Raises:
        ValueError: another suffix, or no such folder.

    >>> write_agreement(agreement(annotations), "agreement.html")  # doctest: +SKIP
    """
    path = Path(path)
    check_place(path)
    if path.suffix.lower() == ".html":
        path.write_text(agreement_page(found, title), encoding="utf-8")
        return
    save(draw_agreement(found), path, title=title)


def agreement_page(found: Mapping[str, Any], title: str = "Agreement") -> str:
    """One HTML page: what was voted, the picture, and the tables.

    >>> "<table" in agreement_page(agreement(annotations))  # doctest: +SKIP
    True
    """
    import io

    content = io.BytesIO()
    with drawing():
        draw_agreement(found).savefig(content, format="png", dpi=110)
    parts = [f"<p>{text(summary(found))}</p>"]
    parts += [f"<p>{text(f'{name}: {number:,}')}</p>" for name, number in found["notes"].items()]
    picture = data_uri(content.getvalue(), "image/png")
    parts.append(f'<p><img alt="Agreement by class" style="max-width: 100%" src="{picture}"></p>')
    parts += ["<h2>By class</h2>", _table(HEADS, class_rows(found))]
    if found["verified"]:
        parts += ["<h2>What is chosen, against the verified truth</h2>"]
        parts += [_table(("more than", *AGAINST), threshold_rows(found))]
        parts += ["<h2>Annotators against the verified truth</h2>"]
        parts += [_table(("annotator", "clips", *AGAINST), annotator_rows(found))]
    return page(title, "\n".join(parts))


def _table(heads: tuple[str, ...], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{text(head)}</th>" for head in heads)
    lines = ["<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return (
        f'<div class="scroll"><table class="numbers names"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
