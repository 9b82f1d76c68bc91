"""Draws the example scene for the README: its spectrogram, what sounds when, and what the bundled model says.

python examples/draw_scene.py docs/img/scene.png
"""

import csv
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

from auricle.audio import read
from auricle.features import FeatureConfig, log_mel
from auricle.tagging import Tagger

HERE = Path(__file__).parent
OTHERS = 5  # labels that do not sound, shown where the model scores them highest


def main(out: Path) -> None:
    """Write the picture."""
    scene = HERE / "scene.ogg"
    config = FeatureConfig()
    logmel = log_mel(read(scene, config.rate), config)
    result = Tagger().tag(scene, top=None, threshold=0.0, windows=True)
    seconds = result["duration"]
    figure, axes = pyplot.subplots(
        3, 1, figsize=(9, 6.4), sharex=True, height_ratios=(1.2, 1, 1.5), layout="constrained"
    )

    axes[0].imshow(
        logmel.T, origin="lower", aspect="auto", extent=(0, seconds, 0, config.bands), cmap="magma"
    )
    axes[0].set(ylabel="mel band", title="examples/scene.ogg, computed from formulas")

    with (HERE / "scene.csv").open(newline="") as stream:
        truth = list(csv.DictReader(stream))
    names = list(dict.fromkeys(row["label"] for row in truth))
    for row in truth:
        start, end = float(row["start"]), float(row["end"])
        axes[1].barh(names.index(row["label"]), end - start, left=start, height=0.6, color="tab:blue")
    axes[1].set_yticks(range(len(names)), names)
    axes[1].invert_yaxis()
    axes[1].set_title("what sounds")

    best: dict[str, float] = {}
    for window in result["windows"]:
        for tag in window["tags"]:
            best[tag["label"]] = max(best.get(tag["label"], 0.0), tag["score"])
    wrong = sorted((label for label in best if label not in names), key=lambda label: -best[label])
    shown = [*names, *wrong[:OTHERS]]
    for window in result["windows"]:
        scores = {tag["label"]: tag["score"] for tag in window["tags"]}
        column = np.array([[scores[label]] for label in shown])
        extent = (window["start"], window["end"], len(shown) - 0.5, -0.5)
        image = axes[2].imshow(column, aspect="auto", extent=extent, cmap="Blues", vmin=0, vmax=1)
    axes[2].set(
        xlim=(0, seconds),
        ylim=(len(shown) - 0.5, -0.5),
        xlabel="seconds",
        title="what the bundled model says (red: not there)",
    )
    axes[2].set_yticks(range(len(shown)), shown)
    for label in axes[2].get_yticklabels():
        label.set_color("black" if label.get_text() in names else "tab:red")
    figure.colorbar(image, ax=axes[2], label="score", pad=0.01)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
