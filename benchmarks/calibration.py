"""Measures calibration on ESC-50, on clips that neither the model nor the calibration has seen.

    auricle pack ../shared/data/esc50/meta.csv out/esc50
    python benchmarks/esc50_folds.py --data out/esc50 --out runs/folds
    python benchmarks/calibration.py --data out/esc50 --folds runs/folds --out out/calibration

Each clip is scored by the fold model that was not trained on its fold. The calibration is fitted in two ways:

within  to four fifths of the recordings of the same fold, for the last fifth: 6 positives a label;
across  to the other four folds, as their own models scored them out of fold: 32 positives a label. This is
        the calibration that a model trained on all folds can have.

Figures are of all 2000 clips together, with intervals over source recordings. Then thresholds, fitted across:
what they do on the folds that they were not fitted to. --save NEW writes --model once more, with the
calibration of all five folds' scores out of fold; --results FILE puts the figures into that CSV.

Two more questions, each by itself:

    python benchmarks/calibration.py --data out/esc50 --windows
    python benchmarks/calibration.py --memory 800000

--windows calibrates --model with thresholds for a precision of 0.9, on the clips of --data that it was not
trained on, and says what of these clips and of their windows reaches the thresholds, and which share of that
is right. --memory chooses thresholds of 50 labels by so many made windows, and says what memory that takes.
"""

import argparse
import dataclasses
import json
import platform
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from auricle.artifact import load_artifact, save_changed
from auricle.calibration import METHODS, Goal, calibrate, fit_thresholds, gather
from auricle.calibration.stages import FEWEST, Examples, clip_scores, fit_stages, held_out_scores
from auricle.evaluation.choice import clips_heard, match_labels
from auricle.evaluation.heard import what_was_heard
from auricle.evaluation.reliability import reliability_figures
from auricle.experiments.lines import write_lines
from auricle.probabilities import as_function, chosen_thresholds, to_scores
from auricle.report.reliability import draw_reliability
from auricle.report.style import save
from auricle.runners import load_runner
from auricle.runners.windows import logit, sigmoid
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


def threshold_row(folds: dict[str, Examples], names: list[str], goal: Goal, hours: float) -> str:
    """What thresholds do on folds that they were not fitted to: all labels' clips and windows together."""
    right = shown = there = alarms = spent = never = 0
    for fold, examples in folds.items():
        others = together([part for name, part in folds.items() if name != fold])
        calibration, _, _ = fit_stages(others, "affine", FEWEST["affine"])
        lengths = np.full(len(others.starts), hours)
        found = fit_thresholds(others, calibration, goal, lengths, names, draws=0, quiet=True)
        thresholds = np.array([found[name]["threshold"] for name in names])
        never += sum(not found[name].get("reached", True) for name in names)
        passes = clip_scores(examples, calibration) >= thresholds
        right, shown = right + (passes & examples.targets).sum(), shown + passes.sum()
        there += examples.targets.sum()
        windows = to_scores(SimpleNamespace(calibration=calibration))(examples.logits) >= thresholds
        alarms += (windows & ~examples.targets[examples.owners]).sum()
        spent += (~examples.targets).sum() * hours
    return (
        f"| {goal.kind} {goal.value:g} | {right / shown:.3f} | {right / there:.3f} | {alarms / spent:.2f} "
        f"| {never / len(folds):.1f} |"
    )


def save_calibrated(folds: dict[str, Examples], model: str, out: Path) -> None:
    """The model once more, with the calibration of all folds."""
    everything, artifact = together(list(folds.values())), load_artifact(model)
    calibration, _, _ = fit_stages(everything, "affine", FEWEST["affine"])
    print(save_changed(artifact, out, calibration=calibration).path)


def print_windows(model: str, pack: Pack, threads: int | None) -> None:
    """What reaches thresholds that are for the precision of clips, and which share of it is right."""
    plain, everything = load_artifact(model), np.arange(len(pack))
    clips = np.setdiff1d(everything, what_was_heard(plain, pack, everything).clips)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as file:
        goal = Goal(kind="precision", value=0.9)
        made = calibrate(plain.path, pack, Path(folder, "made"), goal=goal, threads=threads)
        assert made.metrics["calibration"]["clips"] == len(clips)
        columns = match_labels(plain, pack, pack.label_names(), "labels")
        if [ours for ours, _ in columns] != list(range(len(plain.labels))):
            raise SystemExit(f"{pack.path}: lacks labels of {model}; expected all")
        examples = gather(load_runner(plain, threads=threads), pack, clips, "labels", columns, file)
        calibration, thresholds = made.calibration, chosen_thresholds(made)
        windows, of_clips = to_scores(made)(examples.logits), clip_scores(examples, calibration)
    mapped = windows
    if "clips" in calibration:  # else every clip is one window
        mapped = sigmoid(as_function(calibration["clips"])(logit(windows)))
    starts, true, each = examples.starts, examples.targets, examples.targets[examples.owners]
    print(f"{platform.processor() or platform.machine()}; {len(clips)} clips that {model} was not trained on")
    print("| what reaches the thresholds | times | right |\n|---|---:|---:|")
    for name, scores, truth in (
        ("the clip's score", of_clips, true),
        ("a window's score, each for itself", windows, each),
        ("the clip's best window's score", np.maximum.reduceat(windows, starts), true),
        ("a window's, put through the map of clips", mapped, each),
        ("the clip's best window's, put through the map of clips", np.maximum.reduceat(mapped, starts), true),
    ):
        passes = scores >= thresholds
        print(f"| {name} | {passes.sum()} | {(passes & truth).sum() / max(1, passes.sum()):.3f} |")


def print_memory(windows: int, labels: int = 50, of_clip: int = 5) -> None:
    """What choosing thresholds for false alarms takes, of logits that lie in a file."""
    rng, clips, parts = np.random.default_rng(0), windows // of_clip, 10_000
    with tempfile.TemporaryFile() as file:
        for first in range(0, clips * of_clip, parts):
            rows = min(parts, clips * of_clip - first)
            file.write(rng.normal(-3, 2, (rows, labels)).astype(np.float32).tobytes())
        file.flush()
        examples = Examples(
            logits=np.memmap(file, np.float32, "r", shape=(clips * of_clip, labels)),
            starts=np.arange(clips) * of_clip,
            targets=rng.integers(0, 50, (clips, labels), np.uint8) == 0,
            known=np.ones((clips, labels), bool),
            groups=np.arange(clips),
        )
        names, goal = [f"label {k}" for k in range(labels)], Goal(kind="false_alarms", value=2.0)
        before, most, done = held(), np.zeros(2), threading.Event()

        def watch() -> None:
            while not done.wait(0.02):
                most[:] = np.maximum(most, held())

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            fit_thresholds(examples, None, goal, np.full(clips, 10 / 3600), names, draws=0, quiet=True)
        finally:
            done.set()
            watching.join()
    print(f"{platform.processor() or platform.machine()}; {clips * of_clip:,} windows of {labels} labels")
    print(f"logits in a file {examples.logits.nbytes / 1e9:.2f} GB")
    for name, at_first, at_most in zip(("of its own", "pages of files"), before, most, strict=True):
        print(f"memory, {name}: {at_first / 1e9:.2f} GB before, {at_most / 1e9:.2f} GB at most")


def held() -> np.ndarray:
    """Bytes in memory now (Linux): of this process alone, and of files that are mapped."""
    status = Path("/proc/self/status").read_text()
    return np.array(
        [int(status.partition(f"{name}:")[2].split()[0]) * 1024 for name in ("RssAnon", "RssFile")]
    )


def append(results: Path, figures: dict[str, dict[str, Any]], folds: Path) -> None:
    """A row for each calibration and figure."""
    from esc50_folds import command_line, commit_name, device_name, seed_of  # needs torch

    logs = [(folds / fold / "run" / "log.jsonl").read_text().splitlines() for fold in FOLDS]
    hours = sum(json.loads(lines[-1])["seconds"] for lines in logs) / 3600
    seed = seed_of(folds / FOLDS[0] / "run")
    made = [commit_name(), f"{hours:.3f}", device_name(), seed, command_line()]
    name_of = json.loads((folds / FOLDS[0] / "run" / "config.json").read_text())["name"]
    rows = []
    for name, mine in figures.items():
        where = name.replace("within", "within the fold").replace("across", "across folds")
        recipe = name_of + (f", calibrated ({where})" if not name.startswith("none") else "")
        for metric in FIGURES:
            row = [recipe, "ESC-50", "all out of fold", metric, f"{mine[metric]:.4f}", ""]
            rows.append([*row, *made])
    write_lines(rows, results)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a pack of ESC-50")
    parser.add_argument("--folds", type=Path, help="what benchmarks/esc50_folds.py wrote")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--model", default="default", help="of the same labels, trained on clips of all folds"
    )
    parser.add_argument("--save", type=Path, help="a new folder")
    parser.add_argument("--results", type=Path, help="put the rows into this CSV")
    parser.add_argument("--windows", action="store_true", help="what thresholds for clips do to windows")
    parser.add_argument("--memory", type=int, help="windows: what memory thresholds by them take")
    arguments = parser.parse_args()
    if arguments.memory:
        return print_memory(arguments.memory)
    if arguments.windows and arguments.data:
        return print_windows(arguments.model, Pack(arguments.data), arguments.threads)
    if not (arguments.data and arguments.folds and arguments.out):
        parser.error("expected --data, --folds and --out; --data and --windows; or --memory")
    print_folds(arguments)


def print_folds(arguments: argparse.Namespace) -> None:
    """Calibrations and thresholds, judged out of fold."""
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
        how = "before calibration" if method == "none" else f"calibrated ({method}, {way})"
        picture = draw_reliability(figures, title=f"ESC-50 out of fold, {how}")
        save(picture, arguments.out / f"{method}-{way}.png")
    pack = Pack(arguments.data)
    hours = float(pack.lengths.mean()) / pack.rate / 3600
    names = list(load_artifact(arguments.folds / FOLDS[0] / "run" / "last").labels)
    print("| thresholds for | precision | recall | false alarms/h | labels never shown |")
    print("|---|---:|---:|---:|---:|")
    for kind, value in (("precision", 0.9), ("recall", 0.8), ("false_alarms", 2.0)):
        print(threshold_row(folds, names, Goal(kind=kind, value=value), hours), flush=True)
    if arguments.results:
        append(arguments.results, found, arguments.folds)
    if arguments.save:
        save_calibrated(folds, arguments.model, arguments.save)
    (arguments.out / "figures.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
