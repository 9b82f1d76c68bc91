"""What is taken for what: a picture for evaluations in which each clip has one label."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from auricle.report.style import drawing

MOST_CLASSES = 100  # more rows cannot be read


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

    Only labels that both model and clips have are looked at; None also where there is no table, or there are
    more than 100 labels.

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
    occurring = {labels[0] for labels in truths}
    if not occurring <= set(names):
        return None
    column = "scores" if "scores" in schema.names else "logits"  # of `evaluate --half`; the order is the same
    stored = pq.read_table(path, columns=[column])[column].combine_chunks()
    flat = stored.flatten().to_numpy(zero_copy_only=False)
    best = flat.reshape(len(truths), len(names)).argmax(axis=1)
    return confusion([labels[0] for labels in truths], [names[k] for k in best], names), names


def draw_confusion(counts: np.ndarray, labels: Sequence[str]) -> Figure:
    """Share of each true label's clips by what scored highest; the diagonal is what was right.

    >>> draw_confusion(np.array([[3, 1], [0, 4]]), ["rain", "dog"]).axes[0].get_ylabel()
    'true label'
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side = 2.2 + 0.165 * len(labels)
    with drawing():
        figure = Figure(figsize=(side + 0.8, side), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        places = np.arange(len(labels))
        size = 8 if len(labels) <= 60 else 6
        axes.set_yticks(places, labels, fontsize=size)
        axes.set_xticks(places, labels, fontsize=size, rotation=90)
        axes.tick_params(length=0)
        axes.set_ylabel("true label")
        axes.set_xlabel("label that scores highest")
        right, total = int(np.trace(counts)), int(counts.sum())
        axes.set_title(f"{right} of {total} clips right ({right / max(1, total):.1%})")
        bar = figure.colorbar(image, ax=axes, shrink=0.6, label="share of the true label's clips")
        bar.outline.set_visible(False)
    return figure
