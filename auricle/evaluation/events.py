"""A model's events, and what they are worth: figures, label by label, and the events.

Shape letters: M clips evaluated, K classes of the model, S classes that both sides have.
"""

import csv
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from auricle.datasets.label_maps import LabelMap
from auricle.evaluation import provenance
from auricle.evaluation.choice import match_labels, select_clips
from auricle.evaluation.files import Replacing, jsonable, write_figures
from auricle.evaluation.fitted import clips_of_settings
from auricle.evaluation.heard import in_training
from auricle.evaluation.lines import hop_samples, score_lines, smoothed_line
from auricle.evaluation.mapped import MappedArtifact, MappedRunner
from auricle.evaluation.recordings import Recordings, annotated_clips, annotated_truth
from auricle.evaluation.scoring import open_model
from auricle.events import EventConfig, events_of, find_events, stretches
from auricle.formats.reading import Annotated
from auricle.metrics.events import (
    Counts,
    EventTable,
    event_counts,
    event_table,
    f1_figures,
    f1_per_class,
    segment_counts,
)
from auricle.metrics.psds import PSDS1, PSDS2, Psds
from auricle.progress import Progress
from auricle.remote import results_folder
from auricle.shards import Pack

TRUTH = "events.parquet"
UNPACKED = "recordings in no pack are not compared with a model's training"
DRAWS, LEVEL = 1000, 0.95  # of the bootstrap; share of the draws that an interval covers
RULES = {"psds1": PSDS1, "psds2": PSDS2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tolerances:
    """When a found event counts as a true one.

    Args:
        segment: seconds, length of a segment.
        onset_collar: seconds that an event may begin early or late.
        offset_collar: seconds that it may end early or late.
        offset_share: or this share of the true event's length, where that is more.
    """

    segment: float = 1.0
    onset_collar: float = 0.2
    offset_collar: float = 0.2
    offset_share: float = 0.2


def evaluate_events(
    model: Any,
    pack: Any,
    *,
    splits: Sequence[str] | None = None,
    where: Mapping[str, tuple[str, ...]] | None = None,
    subset: str | None = None,
    config: EventConfig | None = None,
    tolerances: Tolerances | None = None,
    out: str | Path | None = None,
    label_set: str = "labels",
    label_map: str | Path | LabelMap | None = None,
    batch: int = 16,
    threads: int | None = None,
    device: str = "cpu",
    draws: int = DRAWS,
    seed: int = 0,
    quiet: bool = False,
    annotations: Annotated | None = None,
) -> dict[str, Any]:
    """Find events in a pack's clips, or in recordings, and compare them with the truth.

    Args:
        model: a model's name or path, an artifact, or a runner.
        pack: a folder that `auricle scenes` made, or a `Pack` of it; with `annotations` any pack, or
            `auricle.evaluation.recordings.Recordings`.
        splits: only clips of these splits; None takes all.
        where: attribute -> values; only clips that have one of them.
        subset: only clips of this subset of the pack.
        config: how scores become events; None takes the model's settings, see `auricle.events.events_of`.
        tolerances: None is `Tolerances()`.
        out: folder, or its address, for `metrics.json`, `per_class.csv` and `events.csv`, if any.
        label_set: the labels of the pack that the model's are matched with, by name.
        label_map: or by this map, see `auricle.evaluation.evaluate`; of each window then the greatest score
            counts, and settings are of the mapped labels.
        batch: windows scored at once.
        threads: of the runner; None takes every core.
        device: of the runner.
        draws: bootstrap draws, of groups of clips, for the intervals of F1; 0 leaves the intervals out.
        seed: of the draws.
        quiet: show no progress.
        annotations: the truth, of the clips that it names; others are left out, and counted. None takes the
            pack's `events.parquet`.

    Returns:
        What `metrics.json` holds: "segments" and "events" with micro and macro F1, precision and recall,
        "psds1" and "psds2", `intervals` of F1 where there are two groups or more, the settings and
        tolerances, what was left out, and where all of it comes from.
        What is not defined is None.

    Raises:
        ValueError: as `auricle.evaluation.evaluate`; the pack has no truth about events.

    >>> figures = evaluate_events("default", "out/scenes", splits=["test"])  # doctest: +SKIP
    """
    pack = opened(pack)
    tolerances = tolerances or Tolerances()
    how: dict[str, Any] = {"batch": batch, "threads": threads, "device": device}
    runner, artifact = open_model(model, pack, None if config is None else config.window, **how)
    if label_map is not None:
        there = pack.label_names(label_set) if annotations is None else annotations.labels
        runner = MappedRunner(runner, label_map, there)
        artifact = MappedArtifact(artifact, label_map, there)
    if config is None:
        config = events_of(artifact)
        if config.window is not None:  # which a model with mapped labels has not
            runner, _ = open_model(runner, pack, config.window, **how)
    step = hop_samples(runner.artifact, config)
    clips = select_clips(pack, splits, where, subset)
    clips, names, columns, truth, left_out = judged_truth(pack, clips, artifact, label_set, annotations)
    judges = {name: Psds(len(names), rules) for name, rules in RULES.items()}
    rows: list[tuple[int, int, float, float]] = []
    scores: list[float] = []
    position = {name: k for k, name in enumerate(names)}
    with results_folder(out, ("metrics.json",)) as folder:
        started = time.perf_counter()
        with Progress(len(clips), "finding events", unit="clips", quiet=quiet) as progress:
            lines = score_lines(runner, pack, clips, columns, hop=step, batch=batch)
            for clip, (line, own) in enumerate(zip(lines, by_clip(truth, len(clips)), strict=True)):
                for event in find_events(line.times, line.scores, names, config):
                    rows.append((clip, position[event["label"]], event["start"], event["end"]))
                    scores.append(event["score"])
                bounds, smooth = stretches(*line.times.T), smoothed_line(line, names, config)
                for judge in judges.values():
                    # Of recordings, the length is known now that they have been heard.
                    judge.add(bounds, smooth, own, float(pack.lengths[clips[clip]] / pack.rate))
                progress.advance()
        seconds = time.perf_counter() - started
        durations = pack.lengths[clips] / pack.rate
        found = event_table(rows)
        counts = count(truth, found, durations, len(names), tolerances)
        figures: dict[str, Any] = {name: f1_figures(each) for name, each in counts.items()}
        figures |= {name: judge.score() for name, judge in judges.items()}
        figures |= intervals_of(
            truth, found, durations, pack.recordings[clips], len(names), tolerances, draws, seed
        )
        figures |= _about(artifact, pack, clips, names, truth, found) | left_out
        figures |= {"settings": config.as_dict(), "tolerances": dataclasses.asdict(tolerances)}
        figures |= {
            "hop_seconds": step / artifact.rate,
            "window_seconds": runner.artifact.window / artifact.rate,
        }
        figures |= {"subset": subset}
        figures |= {"label_map": artifact.judged.about if label_map is not None else None}
        figures |= provenance(artifact, pack, clips, splits, where, label_set, seconds)
        figures = jsonable(figures)
        if folder is not None:
            classes = class_columns(counts, judges, truth, found, len(names))
            _write(folder, figures, names, classes, pack.ids[clips], found, scores)
    return figures


def opened(pack: Any) -> Any:
    """A pack, or recordings, of what may be a pack's path.

    >>> opened("out/scenes")  # doctest: +SKIP
    """
    return pack if hasattr(pack, "label_names") or isinstance(pack, Recordings) else Pack(pack)


def judged_truth(
    pack: Any, clips: np.ndarray, artifact: Any, label_set: str, annotations: Annotated | None
) -> tuple[np.ndarray, list[str], list[int], EventTable, dict[str, Any]]:
    """(clips of which the truth is known, then as `shared_truth`, and figures of what is left out).

    Raises:
        ValueError: as `shared_truth`, `annotated_clips` and `annotated_truth`.

    >>> judged_truth(Pack("out/scenes"), clips, artifact, "labels", None)  # doctest: +SKIP
    """
    if annotations is None:
        names, columns, truth = shared_truth(pack, clips, artifact, label_set)
        there = pack.label_names(label_set)
        missing: dict[str, Any] = {}
    else:
        known, clip_of, unknown = annotated_clips(pack, clips, annotations)
        missing = {"clips_not_annotated": len(clips) - len(known), "annotated_not_there": unknown}
        clips, there = known, annotations.labels
        names, columns, truth = annotated_truth(pack, clips, clip_of, annotations, artifact)
    mine = set(names)
    left = {"labels_not_in_model": [label for label in there if label not in mine]}
    return clips, names, columns, truth, left | missing


def shared_truth(
    pack: Any, clips: np.ndarray, artifact: Any, label_set: str = "labels"
) -> tuple[list[str], list[int], EventTable]:
    """(S labels that both sides have, their columns in the model, the true events of the chosen clips).

    Raises:
        ValueError: the pack has no truth about events, or shares no label with the model.

    >>> names, columns, truth = shared_truth(Pack("out/scenes"), clips, artifact)  # doctest: +SKIP
    """
    labels = pack.label_names(label_set)
    columns = [in_model for in_model, _ in match_labels(artifact, pack, labels, label_set)]
    names = [artifact.labels[k] for k in columns]
    path = Path(pack.path) / TRUTH
    if not path.is_file():
        raise ValueError(
            f"{pack.path}: has no {TRUTH}, so nobody knows when what sounds; packs of auricle scenes "
            "have one, of others --annotations says it"
        )
    table = pq.read_table(path, columns=["id", "label", "onset", "offset"])
    table = table.filter(pc.is_in(table["label"], pa.array(names, pa.string())))
    row_of = {name: row for row, name in enumerate(pack.ids[clips].tolist())}
    position = {name: k for k, name in enumerate(names)}
    events = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    chosen = [(row_of[name], position[label], a, b) for name, label, a, b in events if name in row_of]
    return names, columns, event_table(chosen)


def by_clip(truth: EventTable, clips: int) -> Iterator[EventTable]:
    """The events of each of the clips in turn.

    >>> [len(own.label) for own in by_clip(event_table([(1, 0, 0.0, 1.0)]), 2)]
    [0, 1]
    """
    order = np.argsort(truth.clip, kind="stable")
    cuts = np.searchsorted(truth.clip[order], np.arange(clips + 1))
    for low, high in zip(cuts, cuts[1:], strict=False):
        yield EventTable(*(column[order[low:high]] for column in truth))


def count(
    truth: EventTable, found: EventTable, durations: np.ndarray, num_classes: int, tolerances: Tolerances
) -> dict[str, Counts]:
    """Counts of "segments" and "events".

    >>> truth = event_table([(0, 0, 0.0, 1.0)])
    >>> count(truth, truth, np.array([2.0]), 1, Tolerances())["segments"].hits
    array([1])
    """
    collars = {name: getattr(tolerances, name) for name in ("onset_collar", "offset_collar", "offset_share")}
    return {
        "segments": segment_counts(truth, found, durations, num_classes, tolerances.segment),
        "events": event_counts(truth, found, num_classes, **collars),
    }


def intervals_of(
    truth: EventTable,
    found: EventTable,
    durations: np.ndarray,
    groups: np.ndarray,
    num_classes: int,
    tolerances: Tolerances,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """Intervals of F1: groups of clips are drawn with replacement, as many as there are.

    None where draws all give the same, as of what has not erred: they do not tell how sure that is.

    >>> truth = event_table([(0, 0, 0.0, 1.0)])
    >>> intervals_of(truth, truth, np.array([2.0]), np.array(["a"]), 1, Tolerances(), 10, 0)
    {'groups': 1}
    """
    names, group_of = np.unique(groups, return_inverse=True)
    if not draws or len(names) < 2 or not len(truth.label):
        return {"groups": len(names)}
    # A label of each group for itself, so that one count gives the counts of all groups.
    there, said = (t._replace(label=group_of[t.clip] * num_classes + t.label) for t in (truth, found))
    weights = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), draws)
    intervals = {}
    for kind, counts in count(there, said, durations, len(names) * num_classes, tolerances).items():
        hits, false, missed = (weights @ each.reshape(-1, num_classes) for each in counts)
        wrong, present = false + missed, hits + missed > 0
        f1 = 2 * hits / np.maximum(2 * hits + wrong, 1)
        macro = (f1 * present).sum(1) / np.maximum(present.sum(1), 1)
        micro = 2 * hits.sum(1) / np.maximum((2 * hits + wrong).sum(1), 1)
        for mean, values in (("micro", micro), ("macro", macro)):
            low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
            intervals[f"{kind}_f1_{mean}"] = [None, None] if low == high else [low, high]
    about = {"interval_level": LEVEL, "interval_draws": draws, "seed": seed}
    return {"groups": len(names), "intervals": intervals} | about


def _about(
    artifact: Any,
    pack: Any,
    clips: np.ndarray,
    names: Sequence[str],
    truth: EventTable,
    found: EventTable,
) -> dict[str, Any]:
    """What the figures are over, and what was left out."""
    there = np.bincount(truth.label, minlength=len(names)) > 0
    mine = set(names)
    return {
        "clips": len(clips),
        "classes": len(names),
        "true_events": len(truth.label),
        "found_events": len(found.label),
        "classes_without_events": [name for name, is_there in zip(names, there, strict=True) if not is_there],
        "labels_not_in_pack": [label for label in artifact.labels if label not in mine],
        "clips_in_settings": len(clips_of_settings(artifact, pack, clips)),
    } | of_training(getattr(artifact, "own", artifact), pack, clips)  # calibration is of its own labels


def of_training(artifact: Any, pack: Any, clips: np.ndarray) -> dict[str, Any]:
    """As `auricle.evaluation.heard.in_training`, also of recordings, of which nothing can be told.

    >>> of_training(load_artifact("default"), Recordings("street", 16000), np.arange(3))  # doctest: +SKIP
    {'clips_in_training': 0, 'training_not_told': ['recordings in no pack are not ...']}
    """
    if isinstance(pack, Recordings):
        return {"clips_in_training": 0, "training_not_told": [UNPACKED]}
    return in_training(artifact, pack, clips)


def class_columns(
    counts: Mapping[str, Counts],
    judges: Mapping[str, Psds],
    truth: EventTable,
    found: EventTable,
    num_classes: int,
) -> dict[str, np.ndarray]:
    """Label by label: true and found events, F1, precision and recall, and PSDS.

    >>> truth = event_table([(0, 0, 0.0, 1.0)])
    >>> counts = count(truth, truth, np.array([2.0]), 1, Tolerances())
    >>> class_columns(counts, {}, truth, truth, 1)["events_f1"]
    array([1.])
    """
    columns = {
        f"{what}_events": np.bincount(table.label, minlength=num_classes)
        for what, table in (("true", truth), ("found", found))
    }
    for kind, each in counts.items():
        columns |= {f"{kind}_{name}": values for name, values in f1_per_class(each).items()}
    return columns | {name: judge.per_class() for name, judge in judges.items()}


def _write(
    folder: Path,
    figures: Mapping[str, Any],
    names: Sequence[str],
    classes: Mapping[str, np.ndarray],
    ids: np.ndarray,
    found: EventTable,
    scores: Sequence[float],
) -> None:
    with Replacing(folder / "events.csv") as path, path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["id", "start", "end", "label", "score"])
        for clip, label, start, end, score in zip(*found, scores, strict=True):
            writer.writerow([ids[clip], f"{start:.15g}", f"{end:.15g}", names[label], f"{score:.6g}"])
    write_figures(folder, figures, names, classes)
