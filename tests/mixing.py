"""A corpus of tones with scenes mixed from its test clips, and a raw-waveform network that trains at once."""

import dataclasses
from pathlib import Path

from test_experiments import options_for

from auricle.datasets.scene_recipe import SceneRecipe, SceneSplit
from auricle.engine import make_scenes
from auricle.experiments import Options

SMALL = {"model_arguments.bands": "8", "model_arguments.depth_2d": "18", "model_arguments.hidden": "8"}


def make_mixtures(
    corpus: Path, out: Path, sources: tuple[str, ...] = ("test",), scenes: int = 12, label_set: str = "labels"
) -> Path:
    """A pack of scenes of 4 s from some splits of a corpus."""
    split = SceneSplit(name="mixed", sources=sources, scenes=scenes)
    recipe = SceneRecipe(seconds=4.0, seed=1)
    make_scenes(corpus, out, [split], recipe, label_set=label_set, jobs=1, quiet=True)
    return out


def mixing_options(corpus: Path, out: Path, **changes: object) -> Options:
    """Options of the experiments with two steps: windows of a quarter of a second."""
    options = options_for(
        corpus,
        out,
        models=(),
        steps=4,
        finetune_steps=2,
        width=0.02,
        settings={"precision": "float32", "window": "4096"},
        model_settings={"raw_waveform": SMALL},
    )
    return dataclasses.replace(options, **changes)  # type: ignore[arg-type]
