"""Measures ESC-50's five fold models on scenes of several sounds: which are there, and from when to when.

    auricle pack ../shared/data/esc50/meta.csv out/esc50
    python benchmarks/esc50_folds.py --data out/esc50 --out runs/folds
    python benchmarks/esc50_scenes.py --data out/esc50 --folds runs/folds --out out/fold-scenes

The scenes of a fold are mixed from its clips alone, and heard by the model that was trained on the other four
(one that has heard the fold is refused). Figures are of the scenes of all folds together, with 95% intervals
over groups of scenes that share no recording, and the mean of the folds' own. There are two kinds of scenes:

dense      100 a fold, of 10 s, five sounds each in the mean, three at one time at most, over a synthetic
           noise 20 to 30 dB below; all labels equally often. Judged by labels and by events.
mixtures   1000 a fold, of 5 s, two sounds each, as in docs/results.md: those of fold 5 are the very same
           scenes, so that its figures stand beside the other rows there. Judged by labels alone: their
           sounds fill most of the scene.

Labels are judged as `auricle evaluate` does, in the model's own windows first, then in others (`--window`;
mixtures in the first of these), with the mean and the greatest score of a scene's windows side by side.

Events are judged as `auricle evaluate --events` does, in all windows side by side, each by three settings:
those of the model (an onset of 0.5, no smoothing, where it has none of its own), and those that
`auricle events` chooses by segments or by events (half a second of collar), alike for all labels. Nothing is
chosen on the fold that is judged: its settings come from the scenes of the next fold (of fold 5 from those of
fold 1), scored by that fold's model, which has not heard it. That model was trained on clips of the judged
fold; but what is handed over is five numbers, chosen to suit other clips. No choice is made among windows,
poolings or settings: all are printed.

A run that was stopped goes on: scenes, scores and settings are kept in --out. `--quick` is a look.

Shape letters: M scenes, W windows, T segments of a second, K labels of the model.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from esc50_folds import FOLDS, command_line, commit_name, device_name, hours_of, seed_of
from fold_scenes import (
    KINDS,
    WIDE,
    Fold,
    Kind,
    Replay,
    Window,
    gathered,
    hear,
    mixed,
    read_fold,
    settings_of,
    windows_of,
)

from auricle.evaluation.events import RULES, Tolerances, by_clip, count, intervals_of
from auricle.evaluation.lines import Line, score_lines, smoothed_line
from auricle.evaluation.scoring import stream_scores
from auricle.event_settings import EventConfig, events_of
from auricle.events import find_events, stretches
from auricle.experiments.lines import write_lines
from auricle.metrics.bootstrap import bootstrap_intervals, group_weights, moved_interval
from auricle.metrics.events import EventTable, event_table, f1_figures
from auricle.metrics.psds import Psds, PsdsRules
from auricle.metrics.ranking import summarise
from auricle.pooling import pooling_of
from auricle.recipes.robustness import read_models

POOLINGS = ("mean", "max")
LABEL_FIGURES = ("map", "auc", "d_prime")
EVENT_FIGURES = (
    "segments_f1_macro",
    "segments_f1_micro",
    "segments_error_rate",
    "events_f1_macro",
    "events_f1_macro_wide",
    *RULES,
)
ALL, MEAN = "all out of fold", "mean"
WORDS = {ALL: "all scenes", MEAN: "mean of folds"}
KINDS_OF_CHOICE = ("segments", "events")
Row = dict[str, Any]


class Found(NamedTuple):
    """What some settings found in the scenes of a fold, and the scores it was found in."""

    fold: Fold
    table: EventTable
    scores: list[tuple[np.ndarray, np.ndarray]]  # of each scene (W + 1,) bounds and (W, K), smoothed


def find(fold: Fold, lines: Sequence[Line], config: EventConfig) -> Found:
    """The events that some settings find in a fold's scenes."""
    labels = list(fold.artifact.labels)
    rows = [
        (clip, labels.index(event["label"]), event["start"], event["end"])
        for clip, line in enumerate(lines)
        for event in find_events(line.times, line.scores, labels, config)
    ]
    scores = [(stretches(*line.times.T), smoothed_line(line, labels, config)) for line in lines]
    return Found(fold, event_table(rows), scores)


def active(table: EventTable, clips: int, segments: int, classes: int) -> np.ndarray:
    """(M, T, K) bool: which labels are in each second of each scene, however little of it."""
    there = np.zeros((clips, segments, classes), bool)
    first, last = np.floor(np.round(table.start, 6)), np.ceil(np.round(table.end, 6))
    for clip, label, low, high in zip(table.clip, table.label, first, last, strict=True):
        there[clip, int(low) : int(high), label] = True
    return there


def errors(truth: EventTable, found: EventTable, durations: np.ndarray, classes: int) -> np.ndarray:
    """(M, 2): of each scene the errors in its seconds, and the labels that are truly in them.

    A label that is missed and one that is said in its place, in the same second, are one error. The error
    rate, the sum of the first by that of the second, may be above 1.

    Source: Mesaros, Heittola and Virtanen, "Metrics for polyphonic sound event detection", Applied Sciences
    2016, section 3.1.
    """
    size = len(durations), int(np.ceil(np.round(durations.max(initial=1.0), 6))), classes
    there, said = active(truth, *size), active(found, *size)
    missed, false = (there & ~said).sum(2), (said & ~there).sum(2)
    return np.stack([np.maximum(missed, false).sum(1), there.sum((1, 2))], axis=1)


def joined(tables: Sequence[EventTable], sizes: Sequence[int]) -> EventTable:
    """Events of several folds as those of one, whose scenes follow each other."""
    before = np.cumsum([0, *sizes[:-1]])
    moved = [table._replace(clip=table.clip + offset) for table, offset in zip(tables, before, strict=True)]
    return EventTable(*(np.concatenate(columns) for columns in zip(*moved, strict=True)))


def event_figures(found: Sequence[Found], draws: int) -> tuple[dict[str, float], dict[str, Any]]:
    """(figures, intervals) of the scenes of some folds together; 0 draws give no intervals."""
    folds = [each.fold for each in found]
    sizes, classes = [len(fold.pack) for fold in folds], len(folds[0].artifact.labels)
    truth = joined([fold.truth for fold in folds], sizes)
    table = joined([each.table for each in found], sizes)
    durations, groups = gathered(folds, "durations"), gathered(folds, "groups")
    figures: dict[str, float] = {}
    intervals: dict[str, Any] = {}
    for tolerances, suffix in ((Tolerances(), ""), (WIDE, "_wide")):
        for kind, counts in count(truth, table, durations, classes, tolerances).items():
            figures |= {f"{kind}_{name}{suffix}": value for name, value in f1_figures(counts).items()}
        sure = intervals_of(truth, table, durations, groups, classes, tolerances, draws, 0)
        intervals |= {name + suffix: sides for name, sides in sure.get("intervals", {}).items()}
    drawn = group_weights(groups, draws, 0).astype(np.float64) @ errors(truth, table, durations, classes)
    rates = drawn[:, 0] / np.maximum(drawn[:, 1], 1)
    figures["segments_error_rate"] = float(rates[0])
    intervals["segments_error_rate"] = moved_interval(rates, 0.95, bounded=False)
    return figures | {name: psds_of(found, classes, rules) for name, rules in RULES.items()}, intervals


def psds_of(found: Sequence[Found], classes: int, rules: PsdsRules) -> float:
    """Of the scenes of some folds together."""
    judge = Psds(classes, rules)
    for fold, _, heard in found:
        own = by_clip(fold.truth, len(fold.pack))
        for (bounds, scores), events, seconds in zip(heard, own, fold.durations.tolist(), strict=True):
            judge.add(bounds, scores, events, seconds)
    return judge.score()


def label_figures(folds: Sequence[Fold], scores: Sequence[np.ndarray], draws: int) -> Row:
    """Fold, `ALL` and `MEAN` -> figures; "intervals" -> the same names, without the mean -> theirs."""
    parts = {fold.name: (fold.targets, own, fold.groups) for fold, own in zip(folds, scores, strict=True)} | {
        ALL: (gathered(folds, "targets"), np.concatenate(list(scores)), gathered(folds, "groups"))
    }
    row: Row = {MEAN: {}, "intervals": {}}
    for over, (targets, scores_MK, groups) in parts.items():
        found, sure = (
            summarise(targets, scores_MK),
            bootstrap_intervals(targets, scores_MK, groups, draws=draws),
        )
        row[over] = {name: float(found[name]) for name in LABEL_FIGURES}
        row["intervals"][over] = {name: sure[name] for name in LABEL_FIGURES}
    return row | {MEAN: means({fold.name: row[fold.name] for fold in folds})}


def means(by_fold: dict[str, dict[str, float]]) -> dict[str, float]:
    """Over the folds, of each figure."""
    rows = list(by_fold.values())
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def measure_labels(folds: Sequence[Fold], window: Window, replays: list[Replay], draws: int) -> list[Row]:
    """A row for each pooling, the model's own first; where a scene is one window they are the same: one."""
    longer = any(fold.durations.max() > window.seconds for fold in folds)
    rows = []
    own_first = dict.fromkeys((pooling_of(replays[0].artifact), *POOLINGS))
    for pooling in own_first if longer else POOLINGS[:1]:
        scores = [
            np.array([*stream_scores(replay, fold.pack, np.arange(len(fold.pack)), pooling=pooling)])
            for fold, replay in zip(folds, replays, strict=True)
        ]
        rows.append({"window": str(window), "pooling": pooling} | label_figures(folds, scores, draws))
    return rows


def measure_events(
    folds: Sequence[Fold], window: Window, replays: list[Replay], draws: int, keep: Path
) -> list[Row]:
    """A row for each settings; those of a fold come from the next one and its model."""
    every = range(len(folds[0].artifact.labels))
    lines = [
        [*score_lines(replay, fold.pack, np.arange(len(fold.pack)), every, hop=replay.artifact.hop)]
        for fold, replay in zip(folds, replays, strict=True)
    ]
    chosen = {"at first": [events_of(replay.artifact) for replay in replays]}
    for by in KINDS_OF_CHOICE if len(folds) > 1 else ():
        own = [settings_of(*each, window, by, keep) for each in zip(folds, replays, strict=True)]
        chosen[f"chosen by {by}"] = own[1:] + own[:1]
    rows = []
    for words, configs in chosen.items():
        found = [find(*each) for each in zip(folds, lines, configs, strict=True)]
        figures, intervals = event_figures(found, draws)
        by_fold = {each.fold.name: event_figures([each], 0)[0] for each in found}
        used = {each.fold.name: config.as_dict() for each, config in zip(found, configs, strict=True)}
        about: Row = {"window": str(window), "settings": words, "used": used, "intervals": {ALL: intervals}}
        rows.append(about | by_fold | {ALL: figures, MEAN: means(by_fold)})
    return rows


def shown(row: Row, over: str, names: Sequence[str]) -> str:
    """Cells of a table: figures, and behind those that have one their intervals."""
    cells = []
    for name in names:
        digits, sure = 2 if name == "d_prime" else 3, row["intervals"].get(over, {}).get(name, [None])
        cells.append(f"{row[over][name]:.{digits}f}")
        if None not in sure and np.isfinite(sure).all():
            cells[-1] += f" ({sure[0]:.{digits}f} to {sure[1]:.{digits}f})"
    return " | ".join(cells)


def print_tables(labels: dict[str, list[Row]], events: Sequence[Row]) -> None:
    """Two tables in Markdown; that of labels has fold 5 of the mixtures alone, too."""
    print("| scenes | windows | of a scene's windows | of | mAP | AUC | d' |\n" + "|---" * 7 + "|")
    for kind, rows in labels.items():
        for row in rows:
            for over in (ALL, MEAN, *(["fold5"] if kind == "mixtures" and "fold5" in row else [])):
                what = f"{row['window']} | {row['pooling']} | {WORDS.get(over, over)}"
                print(f"| {kind} | {what} | {shown(row, over, LABEL_FIGURES)} |")
    heads = "segments, F1 macro | micro | error rate | events, F1 macro | with 0.5 s | PSDS 1 | PSDS 2"
    print(f"\n| windows | settings | of | {heads} |\n" + "|---" * 10 + "|")
    for row in events:
        for over in (ALL, MEAN):
            what = f"{row['window']} | {row['settings']} | {WORDS[over]}"
            print(f"| {what} | {shown(row, over, EVENT_FIGURES)} |")


def table_rows(
    recipe: str, labels: dict[str, list[Row]], events: Sequence[Row], hours: dict[str, float], seed: str
) -> list[list[str]]:
    """Rows of results.csv; of other windows than the models' own, and of events, without single folds."""
    commit, device, rows = commit_name(), device_name(), list[list[str]]()
    spent = hours | {MEAN: sum(hours.values()), ALL: sum(hours.values())}

    def keep(what: str, kind: Kind, row: Row, over: str, names: Sequence[str]) -> None:
        for name in names:
            rows.append(
                [recipe + what, kind.data, over, name, f"{row[over][name]:.4f}", "", commit]
                + [f"{spent[over]:.3f}", device, seed, command_line()]
            )

    for kind in KINDS:
        for place, row in enumerate(labels[kind.name]):
            what = f", windows of {row['window']}, {row['pooling']} of them" if place else ""
            also = ["fold5"] if kind.name == "mixtures" and "fold5" in row else []  # those of mix-training
            few = [MEAN, ALL, *also]
            for over in few if place else spent:
                keep(what, kind, row, over, LABEL_FIGURES)
    for row in events:
        for over in (MEAN, ALL):
            keep(
                f", windows of {row['window']}, settings {row['settings']}",
                KINDS[0],
                row,
                over,
                EVENT_FIGURES,
            )
    return rows


def main() -> None:
    """Command line of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="ESC-50 as a pack")
    parser.add_argument("--folds", type=Path, required=True, help="what benchmarks/esc50_folds.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="for scenes, scores, settings, figures.json")
    parser.add_argument("--recipe", default="compact-esc50", help="of the models, for the table's rows")
    parser.add_argument("--window", action="append", metavar="S:HOP",
                        help="beside the models' own; default: 5:2.5, 2:0.5 and 1:0.25")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="few scenes and draws")
    parser.add_argument("--threads", type=int, help="for scoring; default: all cores")
    parser.add_argument("--results", type=Path, help="put the rows into this CSV")
    given = parser.parse_args()
    began, draws, keep = time.monotonic(), 100 if given.quick else 1000, given.out / "heard"

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    models = read_models(given.folds)
    if given.results and set(models) != set(FOLDS):
        sys.exit(f"--results needs all five folds, and there are {', '.join(models)}")
    windows = windows_of(next(iter(models.values())), given.window)
    labels: dict[str, list[Row]] = {kind.name: [] for kind in KINDS}
    events: list[Row] = []
    for kind in KINDS:
        scenes = kind.few if given.quick else kind.scenes
        folds = [
            read_fold(name, artifact, mixed(given.data, given.out, name, kind, scenes))
            for name, artifact in models.items()
        ]
        groups = len(np.unique(gathered(folds, "groups")))
        tell(f"{kind.name}: {scenes} scenes of each of {', '.join(models)}, {groups} groups")
        for window in windows if kind.events else windows[:2]:
            replays = [hear(fold, window, keep, given.threads) for fold in folds]
            tell(f"heard, {window}")
            labels[kind.name] += measure_labels(folds, window, replays, draws)
            if kind.events:
                events += measure_events(folds, window, replays, draws, keep)
                tell(f"events, {window}")
    print_tables(labels, events)
    (given.out / "figures.json").write_text(json.dumps({"labels": labels, "events": events}, indent=1) + "\n")
    if given.results:
        hours = {name: hours_of(given.folds / name / "run") for name in models}
        seed = seed_of(given.folds / FOLDS[0] / "run")
        write_lines(table_rows(given.recipe, labels, events, hours, seed), given.results)


if __name__ == "__main__":
    main()
