"""What a recipe's models make of changed sound: fold models, each asked about the fold it has not heard.

Every change (`auricle.recipes.conditions`) is made to the same clips, and its figures stand beside those of
the clips as they are, with the difference; windows and hops of other lengths likewise. What is most confused
and how far scores are from probabilities is said of the clips as they are.

Intervals are of 1000 draws of source recordings, the same ones for a change and for no change (`paired`).

Shape letters: N samples, M clips, K classes.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import soxr

from auricle.artifact import Artifact, load_artifact
from auricle.evaluation.reliability import reliability_figures
from auricle.evaluation.scoring import check_rate, stream_scores
from auricle.metrics.areas import positives
from auricle.metrics.bootstrap import figure_draws, moved_interval
from auricle.pooling import pooling_of
from auricle.recipes.conditions import Change, changes, loudest
from auricle.runners import load_runner
from auricle.shards import Pack

SECONDS = (0.5, 1.0, 2.0, 3.0, 5.0)  # of a window
HOPS = (2.0, 1.0, 0.5)  # seconds
UNCHANGED, LEVEL, DRAWS, MOST_CONFUSED = "unchanged", 0.95, 1000, 10
FIGURES = ("accuracy", "map")
SAME_SCORES = 1e-3  # within which a fold model's scores are those that were written beside it


@dataclasses.dataclass(frozen=True)
class Condition:
    """How clips are heard: changed, and in which windows.

    Args:
        change: of the sound; None leaves it.
        window: seconds of a window, as long as the hop between two; None takes the model's.
        hop: seconds, with the model's own window; None takes the model's.
        excerpt: only the loudest `window` seconds are heard.
    """

    change: Change | None = None
    window: float | None = None
    hop: float | None = None
    excerpt: bool = False


class Heard:
    """A pack's clips at a model's rate, changed: what `stream_scores` reads in a pack's place.

    >>> Heard(Pack("out/esc50"), 16000, None).samples(0).dtype  # doctest: +SKIP
    dtype('float32')
    """

    def __init__(self, pack: Any, rate: int, change: Callable[[np.ndarray, int, int], np.ndarray] | None):
        self.path, self.rate = pack.path, rate
        self._pack, self._change = pack, change

    def samples(self, clip: int) -> np.ndarray:
        """(N,) float32, full scale at 1; noise and rooms are drawn by the clip's number."""
        sound_N = np.asarray(self._pack.samples(clip), np.float32) / 32768
        if self._pack.rate != self.rate:
            sound_N = soxr.resample(sound_N, self._pack.rate, self.rate, quality="HQ")
        return sound_N if self._change is None else self._change(sound_N, self.rate, clip)


def measure(
    data: Path,
    folds: Path,
    *,
    most: int | None = None,
    only: Sequence[str] | None = None,
    windows: bool = True,
    threads: int | None = None,
    draws: int = DRAWS,
    say: Callable[[str], object] = lambda text: None,
) -> dict[str, Any]:
    """Ask the models of `benchmarks/esc50_folds.py` about changed clips of their folds.

    Args:
        data: the pack.
        folds: what the benchmark wrote: models in NAME/run/last, each tested on the split NAME.
        most: clips of each fold, spread over it; None takes all.
        only: names of changes (`auricle.recipes.conditions.changes`); None takes all.
        windows: also other windows and hops.
        threads: of the runners; None takes every core.
        draws: of the intervals.
        say: is told of each fold and condition that is done.

    Returns:
        What a model card holds under the metric "robustness", for JSON: "clips", "recordings", "window" and
        "hop" (seconds), "pooling", "rate" (Hz), "models" (fold -> fingerprint), "changes" and "windows"
        (rows as `paired` gives them), "confused" (rows of `most_confused`), "calibration".

    Raises:
        ValueError: there is no model, models differ in labels or window, no such change, or a model's scores
            are not those that its fold's evaluation wrote.

    >>> found = measure(Path("out/esc50"), Path("runs/folds"), only=["gain -20 dB"])  # doctest: +SKIP
    >>> found["changes"][0]["accuracy_difference"]  # doctest: +SKIP
    -0.0125
    """
    pack, models = Pack(data), read_models(folds)
    some = next(iter(models.values()))
    check_rate(some, pack)
    wanted = conditions(some, only, windows)
    foreign = {seconds for seconds in SECONDS if windows and not fits(some, seconds)}
    wanted = {name: one for name, one in wanted.items() if one.excerpt or one.window not in foreign}
    clips = {fold: _spread(pack.select([fold]), most) for fold in models}
    scores: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
    for fold, artifact in models.items():
        for name, condition in wanted.items():
            scores[name].append(score(artifact, pack, clips[fold], condition, threads=threads))
            if name == UNCHANGED:
                check_scores(folds / fold, pack, clips[fold], scores[name][-1])
            say(f"{fold}: {name}")
    everything = np.concatenate(list(clips.values()))
    targets = pack.targets(everything)[:, [pack.label_names().index(label) for label in some.labels]] > 0
    joined = {name: np.concatenate(parts) for name, parts in scores.items()}
    groups = pack.recordings[everything].astype(str)
    rows = paired(targets, joined, groups, draws=draws)
    for row in rows:
        if wanted[row["name"]].window in foreign:
            row["padded"] = True  # heard in the model's own windows
    in_windows = [row for row in rows if wanted[row["name"]].window or wanted[row["name"]].hop]
    return {
        "clips": len(everything),
        "recordings": len(np.unique(groups)),
        "window": some.window / some.rate,
        "hop": some.hop / some.rate,
        "pooling": pooling_of(some),
        "rate": some.rate,
        "models": {fold: artifact.fingerprint for fold, artifact in models.items()},
        "changes": [row for row in rows if row not in in_windows],
        "windows": in_windows,
        "confused": most_confused(targets, joined[UNCHANGED], some.labels),
        "calibration": calibration(targets, joined[UNCHANGED], groups, draws=draws),
    }


def read_models(folds: Path) -> dict[str, Artifact]:
    """Fold -> its model, alike in labels, window and hop.

    Raises:
        ValueError: there is none, or they differ.

    >>> read_models(Path("runs/nothing"))
    Traceback (most recent call last):
    ValueError: runs/nothing: no model in fold*/run/last; train them with benchmarks/esc50_folds.py
    """
    found = {path.parts[-3]: load_artifact(path) for path in sorted(folds.glob("fold*/run/last"))}
    if not found:
        raise ValueError(f"{folds}: no model in fold*/run/last; train them with benchmarks/esc50_folds.py")
    if len({(one.labels, one.window, one.hop, one.rate) for one in found.values()}) > 1:
        raise ValueError(f"{folds}: the models differ in labels, window, hop or rate; train them alike")
    return found


def conditions(
    artifact: Artifact, only: Sequence[str] | None = None, windows: bool = True
) -> dict[str, Condition]:
    """Name -> condition, the unchanged one first.

    Raises:
        ValueError: no change has a name in `only`.

    >>> from types import SimpleNamespace
    >>> model = SimpleNamespace(rate=16000, window=32000, hop=32000)
    >>> list(conditions(model, ["MP3 at 32 kbit/s"]))[:4]
    ['unchanged', 'MP3 at 32 kbit/s', 'windows of 0.5 s', 'loudest 0.5 s alone']
    """
    known = changes(artifact.rate)
    if missing := [name for name in only or () if name not in known]:
        raise ValueError(f"no change is called {missing[0]!r}; known: {', '.join(known)}")
    found = {UNCHANGED: Condition()}
    found |= {name: Condition(change) for name, change in known.items() if only is None or name in only}
    if not windows:
        return found
    for seconds in SECONDS:
        found[f"windows of {seconds:g} s"] = Condition(window=seconds)
        found[f"loudest {seconds:g} s alone"] = Condition(window=seconds, excerpt=True)
    own = artifact.hop / artifact.rate
    return found | {f"hop of {hop:g} s": Condition(hop=hop) for hop in HOPS if hop != own}


def score(
    artifact: Artifact, pack: Any, clips: np.ndarray, condition: Condition, *, threads: int | None = None
) -> np.ndarray:
    """(M, K) float32 scores of clips under a condition.

    A model whose net takes no other window than its own hears an excerpt padded with zeros to it, or in
    several, and whole clips as ever: `fits` tells.

    >>> score(artifact, Pack("out/esc50"), np.arange(10), Condition(window=1.0)).shape  # doctest: +SKIP
    (10, 50)
    """
    rate, change = artifact.rate, condition.change
    if condition.excerpt:
        samples = round((condition.window or 0.0) * rate)
        change = lambda sound_N, rate, seed: loudest(sound_N, samples)  # noqa: E731
    if condition.window and fits(artifact, condition.window):
        length = round(condition.window * rate)
        artifact = dataclasses.replace(artifact, window=length, hop=length)
    elif condition.hop:
        artifact = dataclasses.replace(artifact, hop=round(condition.hop * rate))
    runner = load_runner(artifact, threads=threads)
    scored = stream_scores(runner, Heard(pack, rate, change), clips)
    return np.array([*scored], np.float32).reshape(len(clips), artifact.num_classes)


def fits(artifact: Artifact, seconds: float) -> bool:
    """Whether the net takes windows of another length: a fully convolutional one does.

    >>> fits(load_artifact("runs/folds/fold1/run/last"), 0.5)  # doctest: +SKIP
    True
    """
    length = round(seconds * artifact.rate)
    if length == artifact.window:
        return True
    try:
        changed = dataclasses.replace(artifact, window=length, hop=length)
        load_runner(changed, batch=1).run(np.zeros((1, length), np.float32))
    except ValueError:  # a net of one length says so
        return False
    return True


def check_scores(fold: Path, pack: Any, clips: np.ndarray, scores_MK: np.ndarray) -> None:
    """Refuse scores that are not those that `evaluate` wrote to the fold's folder, where it did.

    Raises:
        ValueError: they differ by more than rounding.

    >>> check_scores(Path("runs/nothing"), None, np.arange(3), np.zeros((3, 2)))
    """
    if not (fold / "scores.parquet").is_file():
        return
    table = pq.read_table(fold / "scores.parquet")
    place = {clip: row for row, clip in enumerate(table["id"].to_pylist())}
    kept = np.stack(table["scores"].to_numpy())[[place[clip] for clip in pack.ids[clips].tolist()]]
    if (apart := float(np.abs(kept - scores_MK).max(initial=0.0))) > SAME_SCORES:
        raise ValueError(
            f"{fold}: the model's scores are up to {apart:.3g} from those in scores.parquet: it is of "
            "another model or pack; evaluate the fold again"
        )


def paired(
    targets_MK: np.ndarray,
    scores: Mapping[str, np.ndarray],
    groups: np.ndarray,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Accuracy and mAP of each condition, and how far they are from "unchanged".

    Args:
        targets_MK: (M, K) bool.
        scores: condition -> (M, K), "unchanged" among them.
        groups: (M,) the recording of each clip.
        draws: of recordings, the same ones for all conditions.
        seed: of the draws.

    Returns:
        A row for each condition: "name", "accuracy", "map"; of all but "unchanged" also
        "accuracy_difference", "map_difference" and, "accuracy_interval" and "map_interval", what 95% of the
        draws of the differences cover, moved so that their median is the difference; None where they are
        all the same.

    >>> targets, same = np.eye(2, dtype=bool), np.array([[0.9, 0.1], [0.1, 0.9]])
    >>> rows = paired(targets, {"unchanged": same, "worse": same[:, ::-1]}, np.array(["a", "b"]), draws=20)
    >>> rows[1]["accuracy_difference"], rows[1]["accuracy_interval"]
    (-1.0, None)
    """
    base = figure_draws(targets_MK, scores[UNCHANGED], groups, draws=draws, seed=seed)
    rows = []
    for name, scores_MK in scores.items():
        drawn = figure_draws(targets_MK, scores_MK, groups, draws=draws, seed=seed)
        row: dict[str, Any] = {"name": name, **{figure: float(drawn[figure][0]) for figure in FIGURES}}
        for figure in FIGURES if name != UNCHANGED else ():
            apart = drawn[figure] - base[figure]
            interval = moved_interval(apart, LEVEL, bounded=False)
            row[f"{figure}_difference"] = float(apart[0])
            row[f"{figure}_interval"] = None if math.isnan(interval[0]) else list(interval)
        rows.append(row)
    return rows


def most_confused(
    targets_MK: np.ndarray, scores_MK: np.ndarray, labels: Sequence[str], most: int = MOST_CONFUSED
) -> list[dict[str, Any]]:
    """The pairs of labels that are most often taken for each other, one way: the most first, then by label.

    Args:
        targets_MK: (M, K) bool, one label a clip; clips of none are left out, of several the first counts.
        scores_MK: (M, K).
        labels: K names.
        most: rows at most.

    Returns:
        Rows: "is" and "taken_for" (labels), "clips" (how many), "of" (clips of the label).

    >>> most_confused(np.eye(2, dtype=bool), np.array([[0.1, 0.2], [0.1, 0.2]]), ["dog", "rain"])
    [{'is': 'dog', 'taken_for': 'rain', 'clips': 1, 'of': 1}]
    """
    labelled = targets_MK.any(axis=1)
    true, best = targets_MK[labelled].argmax(axis=1), scores_MK[labelled].argmax(axis=1)
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, (true, best), 1)
    of = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(labels)) for place in order if counts.flat[place]]
    return [
        {"is": labels[i], "taken_for": labels[j], "clips": int(counts[i, j]), "of": int(of[i])}
        for i, j in pairs
    ]


def calibration(
    targets_MK: np.ndarray, scores_MK: np.ndarray, groups: np.ndarray, *, draws: int = DRAWS
) -> dict[str, Any]:
    """How far clips' scores are from probabilities: `auricle.evaluation.reliability` of all classes.

    Returns:
        "ece" of all pairs of clip and class, "ece_top" of each clip's best class, "intervals" of the two,
        "ece_classwise", "brier", "log_loss", and "top", the bins of the best class.

    >>> found = calibration(np.eye(2, dtype=bool), np.array([[0.8, 0.1], [0.1, 0.8]]), np.arange(2), draws=0)
    >>> round(found["ece_top"], 3), round(found["ece"], 3)
    (0.2, 0.15)
    """
    nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    known: Any = positives(targets_MK)
    columns = range(targets_MK.shape[1])
    figures, intervals, _ = reliability_figures(scores_MK, known, nothing, groups, columns, draws=draws)
    sure = {name: [None if math.isnan(end) else end for end in ends] for name, ends in intervals.items()}
    return {
        **{name: figures[name] for name in ("ece", "ece_classwise", "ece_top", "brier", "log_loss")},
        "intervals": sure,
        "top": figures["reliability"]["top"],
    }


def read_measured(file: Path, folds: Path) -> dict[str, Any]:
    """What `benchmarks/robustness.py --json` wrote, of the models that the folds' reports are of.

    Raises:
        ValueError: it is of other models.

    >>> read_measured(Path("robustness.json"), Path("runs/folds"))["clips"]  # doctest: +SKIP
    2000
    """
    found = json.loads(file.read_text(encoding="utf-8"))
    reports = {path.parent.name: json.loads(path.read_text()) for path in folds.glob("fold*/metrics.json")}
    expected = {fold: report["model_fingerprint"] for fold, report in reports.items()}
    if found["models"] != expected:
        raise ValueError(f"{file}: is of other models than {folds}; run benchmarks/robustness.py again")
    return found


def _spread(clips: np.ndarray, most: int | None) -> np.ndarray:
    if most is None or most >= len(clips):
        return clips
    return clips[np.linspace(0, len(clips) - 1, most).astype(int)]
