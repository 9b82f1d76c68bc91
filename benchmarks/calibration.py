"""Measures calibration on ESC-50, on clips that neither the model nor the calibration has seen.

    auricle pack ../shared/data/esc50/meta.csv out/esc50
    python benchmarks/esc50_folds.py --data out/esc50 --out runs/folds
    python benchmarks/calibration.py --data out/esc50 --folds runs/folds --out out/calibration

Each clip is scored by the fold model that was not trained on its fold. The calibration is fitted in two ways:

within  to four fifths of the recordings of the same fold, for the last fifth: 6 positives a label;
across  to the other four folds, as their own models scored them out of fold: 32 positives a label. This is
        the calibration that a model trained on all folds can have.

Figures are of all 2000 clips together, with intervals over source recordings.
"""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import load_artifact
from auricle.calibration import METHODS, gather
from auricle.calibration.stages import FEWEST, Examples, clip_scores, fit_stages, held_out_scores
from auricle.evaluation.choice import clips_heard, match_labels
from auricle.evaluation.reliability import reliability_figures
from auricle.report.reliability import draw_reliability
from auricle.report.style import save
from auricle.runners import load_runner
from auricle.shards import Pack

FIGURES = ("ece", "ece_classwise", "ece_top", "brier", "log_loss")
FOLDS = tuple(f"fold{number}" for number in range(1, 6))


def scored(folds: Path, pack: Pack, threads: int | None) -> dict[str, Examples]:
    """Each fold's windows, as its own model scores them, which was not trained on it."""
    found = {}
    for fold in FOLDS:
        artifact = load_artifact(folds / fold / "run" / "last")
        clips = pack.select([fold])
        assert not len(np.intersect1d(clips, clips_heard(artifact, pack))), f"{fold}: the model knows it"
        columns = match_labels(artifact, pack, pack.label_names(), "labels")
        with tempfile.TemporaryFile() as file:
            examples = gather(load_runner(artifact, threads=threads), pack, clips, "labels", columns, file)
            groups = pack.recordings[clips]
            found[fold] = dataclasses.replace(examples, logits=np.array(examples.logits), groups=groups)
    return found


def together(parts: list[Examples]) -> Examples:
    """Several folds' examples as one; groups are numbered anew."""
    firsts = np.cumsum([0, *(len(part.logits) for part in parts)])
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("logits", "targets", "known", "groups")
    }
    columns["groups"] = np.unique(columns["groups"], return_inverse=True)[1]
    starts = [part.starts + first for part, first in zip(parts, firsts, strict=False)]
    return Examples(starts=np.concatenate(starts), **columns)


def scores_of(folds: dict[str, Examples], method: str, way: str) -> np.ndarray:
    """Scores of all clips, fold after fold."""
    rows = []
    for fold, examples in folds.items():
        if method == "none":
            rows.append(clip_scores(examples, None))
        elif way == "within":
            rows.append(held_out_scores(examples, method, FEWEST[method], 0))
        else:
            others = together([part for name, part in folds.items() if name != fold])
            rows.append(clip_scores(examples, fit_stages(others, method, FEWEST[method])[0]))
    return np.concatenate(rows)


def figures_of(scores: np.ndarray, examples: Examples, draws: int) -> dict[str, Any]:
    """Figures with intervals, and the accuracy of the best label."""
    classes, rows = np.nonzero(examples.targets.T)
    bounds = np.searchsorted(classes, np.arange(scores.shape[1] + 1))
    unknown = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    groups, columns = examples.groups, range(scores.shape[1])
    figures, intervals, _ = reliability_figures(scores, (bounds, rows), unknown, groups, columns, draws=draws)
    right = examples.targets[np.arange(len(scores)), scores.argmax(axis=1)]
    return figures | {"intervals": intervals, "accuracy": float(right.mean())}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", type=Path, required=True, help="what benchmarks/esc50_folds.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    folds = scored(arguments.folds, Pack(arguments.data), arguments.threads)
    examples = together(list(folds.values()))
    found = {}
    print("| calibration | fitted | " + " | ".join(FIGURES) + " | accuracy |")
    print("|---|---|" + "---:|" * (len(FIGURES) + 1))
    for method, way in [("none", "-"), *((m, way) for way in ("within", "across") for m in METHODS)]:
        figures = figures_of(scores_of(folds, method, way), examples, arguments.draws)
        cells = [f"{figures[name]:.4f}" for name in (*FIGURES, "accuracy")]
        print(f"| {method} | {way} | " + " | ".join(cells) + " |", flush=True)
        for name, (low, high) in figures["intervals"].items():
            print(f"    {name}: {low:.4f} to {high:.4f}")
        found[f"{method}, {way}"] = figures
        save(draw_reliability(figures, title=f"{method}, {way}"), arguments.out / f"{method}-{way}.png")
    (arguments.out / "figures.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
