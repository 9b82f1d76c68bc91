"""What is taken for what: a picture for evaluations in which each clip has one label."""

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from auricle.report.style import drawing, shortened
from auricle.text import counted

MOST_CLASSES = 100  # more rows cannot be read
LEAST_CELL = 0.165  # inches
LEAST_SIDE = 2.4  # inches of the matrix


def confusion(truth: Sequence[str], best: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Counts: row the true label, column the one that scored highest.

    >>> confusion(["a", "a", "b"], ["a", "b", "b"], ["a", "b"])
    array([[1, 1],
           [0, 1]])
    """
    place = {label: k for k, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), np.int64)
    for true, given in zip(truth, best, strict=True):
        counts[place[true], place[given]] += 1
    return counts


def read_confusion(folder: str | Path) -> tuple[np.ndarray, list[str]] | None:
    """The counts of an evaluation's `scores.parquet`, and the labels; None where it is not single-label.

    None also where there is no table, clips have a label that the model lacks, or there are more than 100
    labels. Where labels came by a map, clips of a label that nothing is mapped to are left out.

    >>> read_confusion("no-such-folder")
    """
    path = Path(folder) / "scores.parquet"
    if not path.is_file():
        return None
    # The scores of 100,000 clips and 3,000 labels are not read to find out that they cannot be drawn.
    schema = pq.read_schema(path)
    names = json.loads((schema.metadata or {}).get(b"labels", b"[]"))
    if not 0 < len(names) <= MOST_CLASSES:
        return None
    truths = pq.read_table(path, columns=["labels"])["labels"].to_pylist()
    if not truths or any(len(labels) != 1 for labels in truths):
        return None
    lacking = np.array([labels[0] not in names for labels in truths])
    if lacking.all() or (lacking.any() and b"label_map" not in (schema.metadata or {})):
        return None
    column = "scores" if "scores" in schema.names else "logits"  # of `evaluate --half`; the order is the same
    stored = pq.read_table(path, columns=[column])[column].combine_chunks()
    flat = stored.flatten().to_numpy(zero_copy_only=False)
    best = flat.reshape(len(truths), len(names)).argmax(axis=1)
    left = np.flatnonzero(~lacking)
    return confusion([truths[row][0] for row in left], [names[best[row]] for row in left], names), names


def draw_confusion(counts: np.ndarray, labels: Sequence[str], *, heading: str = "") -> Figure:
    """Share of each true label's clips by what scored highest; the diagonal is what was right.

    Cells are of a size that is read, whatever the names: the figure grows with both; long names are cut.

    >>> draw_confusion(np.array([[3, 1], [0, 4]]), ["rain", "dog"]).axes[0].get_ylabel()
    'true label'
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    count = len(labels)
    size = 8 if count <= 60 else 6
    names = [shortened(" ".join(label.split())) for label in labels]
    right, total = int(np.trace(counts)), int(counts.sum())
    title = f"{right:,} of {counted(total, 'clip')} right ({right / max(1, total):.1%})"
    lines = [*textwrap.wrap(heading, 48), title]
    with drawing():
        # Inches, measured first: a layout that fits names into a given figure shrinks the cells instead.
        figure = Figure()
        widths = _widths(figure, names, size)
        square = max(LEAST_CELL, min(2.0, LEAST_SIDE / max(1, count))) * count
        left, below, above = 0.45 + widths, 0.45 + widths, 0.25 + 0.2 * len(lines)
        wide = max(left + square + 1.1, 0.3 + _widths(figure, lines, 11))
        tall = below + square + above
        figure.set_size_inches(wide, tall)
        axes = figure.add_axes((left / wide, below / tall, square / wide, square / tall))
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        places = np.arange(count)
        axes.set_yticks(places, names, fontsize=size)
        axes.set_xticks(places, names, fontsize=size, rotation=90)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_ylabel("true label")
        axes.set_xlabel("label that scores highest")
        axes.yaxis.set_label_coords(0.22 / wide, (below + square / 2) / tall, transform=figure.transFigure)
        axes.xaxis.set_label_coords((left + square / 2) / wide, 0.3 / tall, transform=figure.transFigure)
        figure.text(0.15 / wide, 1 - 0.1 / tall, "\n".join(lines), fontsize=11, va="top", gid="title")
        height = min(square, 3.5)
        place = ((left + square + 0.2) / wide, (below + square - height) / tall, 0.15 / wide, height / tall)
        bar = figure.colorbar(image, cax=figure.add_axes(place))
        bar.set_label("share of the true label's clips", fontsize=9)
        bar.outline.set_visible(False)
    return figure


def _widths(figure: Figure, texts: Sequence[str], size: float) -> float:
    """Inches that the longest of some lines takes."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    widest = 0.0
    for text in texts:
        drawn = figure.text(0, 0, text, fontsize=size)
        widest = max(widest, float(drawn.get_window_extent(renderer).width) / figure.dpi)
        drawn.remove()
    return widest
