"""Mixes a scene from the sounds of make_corpus.py, all computed, and draws it with the truth about it.

python examples/draw_mixed_scene.py docs/img/mixed_scene.png
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow.parquet as pq

matplotlib.use("Agg")
from matplotlib import pyplot

from auricle.datasets.scene_recipe import SceneRecipe, SceneSplit
from auricle.engine import make_scenes, pack
from auricle.features import FeatureConfig, log_mel
from auricle.shards import Pack

HERE = Path(__file__).parent
RECIPE = SceneRecipe(seed=5, events=3.0, orders=0.0, highest=1.0, longest=3.0, shortest=1.0)
SCENES = 40


def main(out: Path) -> None:
    """Write the picture of a scene with a recorded background and the most sounds."""
    with tempfile.TemporaryDirectory() as folder:
        corpus, singles, mixed = (Path(folder) / name for name in ("corpus", "singles", "mixed"))
        subprocess.run([sys.executable, str(HERE / "make_corpus.py"), str(corpus)], check=True)
        pack(corpus / "meta.csv", singles, jobs=1, quiet=True)
        wanted = SceneSplit(name="train", sources=("train",), scenes=SCENES)
        make_scenes(singles, mixed, [wanted], RECIPE, jobs=1, quiet=True)
        scenes = Pack(mixed)
        events = pq.read_table(mixed / "events.parquet").to_pylist()
        of_scene = {name: [row for row in events if row["id"] == name] for name in scenes.ids}
        chosen = max(
            scenes.ids,
            key=lambda name: (
                any(row["kind"] == "background" for row in of_scene[name]),
                len({row["label"] for row in of_scene[name]}),
            ),
        )
        draw(scenes, scenes.ids.tolist().index(chosen), of_scene[chosen], out)


def draw(scenes: Pack, index: int, events: list[dict], out: Path) -> None:
    """The spectrogram above; below, each sound from its onset to its offset."""
    config = FeatureConfig()
    logmel = log_mel(scenes.samples(index).astype(np.float32) / 32768, config)
    seconds = float(scenes.lengths[index] / scenes.rate)
    figure, axes = pyplot.subplots(
        2, 1, figsize=(9, 4.6), sharex=True, height_ratios=(1.4, 1), layout="constrained"
    )
    extent = (0, seconds, 0, config.bands)
    axes[0].imshow(logmel.T, origin="lower", aspect="auto", extent=extent, cmap="magma")
    axes[0].set(ylabel="mel band", title="a scene mixed from sounds that were computed from formulas")
    names = list(dict.fromkeys(row["label"] or f"{row['noise']} noise" for row in events))
    for row in events:
        height = names.index(row["label"] or f"{row['noise']} noise")
        colour = "tab:gray" if row["background"] else "tab:blue"
        axes[1].barh(height, row["offset"] - row["onset"], left=row["onset"], height=0.7, color=colour)
        middle = (row["onset"] + row["offset"]) / 2
        axes[1].text(middle, height, f"{row['level_db']:.0f} dB", ha="center", va="center", color="white")
    axes[1].set_yticks(range(len(names)), names)
    axes[1].invert_yaxis()
    axes[1].set(xlim=(0, seconds), xlabel="seconds", title="events.parquet (grey: background)")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=72)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
