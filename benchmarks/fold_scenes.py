"""What benchmarks/esc50_scenes.py listens to: scenes of a fold, by the model that has not heard the fold.

Scenes, scores and settings are kept in a folder, and taken from there where they are of the same model, clips
and recipe.

Shape letters: M scenes, W windows, K labels of the model.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from esc50_folds import FOLDS

from auricle.artifact import Artifact
from auricle.datasets.scene_recipe import SceneRecipe, SceneSplit
from auricle.engine import make_scenes
from auricle.evaluation.choice import clips_heard
from auricle.evaluation.event_choice import choose_events
from auricle.evaluation.events import Tolerances, shared_truth
from auricle.evaluation.lines import score_lines
from auricle.evaluation.scoring import check_rate
from auricle.event_settings import EventConfig, event_config
from auricle.metrics.events import EventTable
from auricle.recipes.robustness import fits
from auricle.runners import load_runner
from auricle.shards import Pack

WIDE = Tolerances(onset_collar=0.5, offset_collar=0.5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """Scenes of one kind: what results.csv calls them, how they are mixed, how many of each fold."""

    name: str
    data: str
    recipe: SceneRecipe
    orders: float | None
    scenes: int
    few: int  # for a look
    events: bool


KINDS = (
    Kind(
        name="dense",
        data="Dense scenes of 10 s mixed from recordings of ESC-50",
        recipe=SceneRecipe(seed=4, seconds=10.0, events=5.0, most=7, polyphony=3, pools=10, orders=0.0,
                           ambience_share=0.0, noise_share=1.0, snr_low=20.0, snr_high=30.0),
        orders=None,
        scenes=100,
        few=20,
        events=True,
    ),
    Kind(
        name="mixtures",
        data="Scenes of two sounds mixed from recordings of ESC-50",
        recipe=SceneRecipe(seed=3, seconds=5.0, shortest=3.0, longest=5.0, events=2.0, most=2, pools=20),
        orders=0.0,
        scenes=1000,
        few=60,
        events=False,
    ),
)  # fmt: skip


class Window(NamedTuple):
    """How a model hears: seconds of a window, and from one to the next."""

    seconds: float
    hop: float

    def __str__(self) -> str:
        return f"{self.seconds:g} s every {self.hop:g} s"


OTHER_WINDOWS = (Window(5.0, 2.5), Window(2.0, 0.5), Window(1.0, 0.25))


def windows_of(artifact: Artifact, asked: Sequence[str] | None) -> list[Window]:
    """The model's own window first, then the others.

    Raises:
        ValueError: its net takes no such window.
    """
    others = [Window(*map(float, text.split(":"))) for text in asked] if asked else [*OTHER_WINDOWS]
    for window in others:
        if not fits(artifact, window.seconds):
            raise ValueError(f"the net takes no other window than its own: {window}; --window names others")
    return [*dict.fromkeys([Window(artifact.window / artifact.rate, artifact.hop / artifact.rate), *others])]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fold:
    """The scenes of a fold and the model that has not heard it; labels are the model's, K of them."""

    name: str
    artifact: Artifact
    pack: Any
    truth: EventTable
    targets: np.ndarray  # (M, K) bool
    groups: np.ndarray  # (M,)

    @property
    def durations(self) -> np.ndarray:
        """(M,) seconds."""
        return np.asarray(self.pack.lengths[np.arange(len(self.pack))] / self.pack.rate)


class Replay:
    """A runner that says again what a model said of the same windows in the same order, as often as asked.

    Its artifact has another window and hop, and keeps nothing of the training: `check_unheard` has looked.
    """

    def __init__(self, artifact: Artifact, logits_WK: np.ndarray, sums_W: np.ndarray):
        self.artifact, self._logits_WK, self._sums_W, self._at = artifact, logits_WK, sums_W, 0

    def run(self, rows: np.ndarray) -> tuple[np.ndarray, None]:
        """Logits of the next windows; after the last one, of the first again."""
        asked = slice(self._at, self._at + len(rows))
        if not np.array_equal(self._sums_W[asked], sums(rows)):
            raise ValueError("other windows are asked for than those that were heard")
        self._at = asked.stop % len(self._logits_WK)
        return self._logits_WK[asked], None


class Recorder:
    """A runner, and all that it says: logits, and by `sums` of which windows."""

    def __init__(self, runner: Any):
        self.artifact, self._runner = runner.artifact, runner
        self.logits: list[np.ndarray] = []
        self.sums: list[np.ndarray] = []

    def run(self, rows: np.ndarray) -> tuple[np.ndarray, Any]:
        """As the runner."""
        answer = self._runner.run(rows)
        self.logits.append(np.array(answer[0]))
        self.sums.append(sums(rows))
        return answer


def sums(rows: np.ndarray) -> np.ndarray:
    """(W,) a number by which windows are known again."""
    return np.abs(rows).sum(axis=1, dtype=np.float64)


def gathered(folds: Sequence[Fold], name: str) -> np.ndarray:
    """What each fold has of its scenes, one fold after the other."""
    return np.concatenate([getattr(fold, name) for fold in folds])


def at_window(artifact: Artifact, window: Window) -> Artifact:
    """A model that hears in other windows, the last aligned to the end, as events are looked for."""
    length, hop = (round(seconds * artifact.rate) for seconds in window)
    stored = artifact.events
    events = stored and {name: value for name, value in stored.items() if name not in ("hop", "window")}
    return dataclasses.replace(artifact, window=length, hop=hop, tail="align", events=events, training={})


def mixed(data: Path, out: Path, fold: str, kind: Kind, scenes: int) -> Any:
    """The scenes of a fold: those that are there, where they are of this source and recipe, or new ones.

    Fold 5 has the kind's seed; each other fold one of its own.
    """
    recipe = dataclasses.replace(kind.recipe, seed=kind.recipe.seed + len(FOLDS) - 1 - FOLDS.index(fold))
    folder = out / f"{kind.name}-{scenes}" / fold
    if (folder / "manifest.json").is_file():
        kept = Pack(folder)
        made, source = kept.manifest["mixed_from"], Pack(data).fingerprint
        wanted = json.loads(json.dumps(recipe.as_dict()))
        if (made["recipe"], made["fingerprint"], made["splits"]["test"]["from"]) == (wanted, source, [fold]):
            return kept
    split = SceneSplit(name="test", sources=(fold,), scenes=scenes, orders=kind.orders)
    report = make_scenes(data, folder, [split], recipe, quiet=True)
    if report["failures"] or report["problems"]:
        raise ValueError(f"{folder}: {report['problems'] or 'not every scene could be mixed'}")
    return Pack(folder)


def check_unheard(name: str, artifact: Artifact, pack: Any) -> None:
    """Refuse a model that was trained on the fold, or on clips that are in these scenes.

    Raises:
        ValueError: it was.
    """
    learned = artifact.training.get("config", {}).get("train_splits") or ()
    if name in learned or len(clips_heard(artifact, pack)):
        raise ValueError(
            f"{name}: its model was trained on it ({', '.join(learned)}); scenes of it tell nothing"
        )


def read_fold(name: str, artifact: Artifact, pack: Any) -> Fold:
    """What is true of a fold's scenes, by the model's labels."""
    check_rate(artifact, pack)
    check_unheard(name, artifact, pack)
    clips, labels = np.arange(len(pack)), list(artifact.labels)
    names, _, truth = shared_truth(pack, clips, artifact)
    columns = np.array([labels.index(label) for label in names], np.int64)
    targets = np.zeros((len(clips), len(labels)), bool)
    there = pack.label_names()
    targets[:, columns] = pack.targets(clips)[:, [there.index(label) for label in names]] > 0
    groups = np.array([f"{name} {group}" for group in pack.recordings[clips].tolist()])
    truth = truth._replace(label=columns[truth.label])
    return Fold(name=name, artifact=artifact, pack=pack, truth=truth, targets=targets, groups=groups)


def kept_path(keep: Path, fold: Fold, window: Window) -> Path:
    """Where a model's scores are kept, by model, scenes and window."""
    model, pack = fold.artifact.fingerprint[:12], fold.pack.fingerprint[:12]
    return keep / f"{fold.name}-{model}-{pack}-{window.seconds:g}-{window.hop:g}.npz"


def hear(fold: Fold, window: Window, keep: Path, threads: int | None) -> Replay:
    """What the fold's model says of its scenes; from --out where it was asked before."""
    path, artifact = kept_path(keep, fold, window), at_window(fold.artifact, window)
    if not path.is_file():
        recorder = Recorder(load_runner(artifact, threads=threads))
        for _ in score_lines(recorder, fold.pack, np.arange(len(fold.pack)), [0], hop=artifact.hop):
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".part").open("wb") as stream:
            np.savez(stream, logits=np.concatenate(recorder.logits), sums=np.concatenate(recorder.sums))
        path.with_suffix(".part").replace(path)
    with np.load(path) as kept:
        return Replay(artifact, kept["logits"], kept["sums"])


def settings_of(fold: Fold, replay: Replay, window: Window, by: str, keep: Path) -> EventConfig:
    """What `auricle events` chooses on the scenes of a fold, alike for all labels; kept beside the scores."""
    path = kept_path(keep, fold, window).with_suffix(f".{by}.json")
    if not path.is_file():
        within = WIDE if by == "events" else None
        how: dict[str, Any] = {"per_label": None, "clips": None, "quiet": True}
        config, _ = choose_events(replay, fold.pack, by=by, tolerances=within, **how)
        path.write_text(json.dumps(config.as_dict()) + "\n")
    return event_config(json.loads(path.read_text()))
