"""Settings of events, chosen on a validation split: a small grid, label by label where there is enough.

Shape letters: M clips, S classes that model and pack share.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auricle.evaluation.choice import select_clips
from auricle.evaluation.events import Tolerances, count, judged_truth, of_training, opened
from auricle.evaluation.lines import Line, hop_samples, score_lines, smoothed_line
from auricle.evaluation.recordings import annotated_clips
from auricle.evaluation.scoring import open_model
from auricle.events import EventConfig, events_of, find_events
from auricle.formats.reading import Annotated
from auricle.metrics.events import Counts, EventTable, event_table, f1_figures, f1_per_class
from auricle.progress import Progress

# What is tried; seconds as multiples of the hop, so that each makes a difference.
ONSETS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
OFFSET_SHARES = (1.0, 0.6, 0.3)  # of the onset
SMOOTH_HOPS = (0, 2, 4)  # the median of 1, 3 and 5 windows
GAP_HOPS = (0, 1, 2, 4)
LENGTH_HOPS = (0, 2, 3, 5)
KINDS = ("segments", "events")


def choose_events(
    model: Any,
    pack: Any,
    *,
    splits: Sequence[str] | None = None,
    hop: float | None = None,
    window: float | None = None,
    by: str = "segments",
    tolerances: Tolerances | None = None,
    per_label: int | None = 20,
    clips: int | None = 500,
    seed: int = 0,
    label_set: str = "labels",
    batch: int = 16,
    threads: int | None = None,
    device: str = "cpu",
    quiet: bool = False,
    annotations: Annotated | None = None,
) -> tuple[EventConfig, dict[str, Any]]:
    """The settings with the best macro F1 on some clips whose events are known.

    First smoothing, `onset` and `offset` together, then `max_gap` and `min_length` together, then the onset
    of each label that has enough true events, its offset in proportion. Of equal F1, the earlier in the grid
    wins, which does less to the scores. Labels that no true event is of keep the thresholds they had: nobody
    knows better ones. What is chosen on a split says nothing about that split any more:
    judge it on another one.

    Args:
        model: a model's name or path, an artifact, or a runner.
        pack: a folder that `auricle scenes` made, or a `Pack` of it.
        splits: of which clips are taken, and no test split among them; None takes all.
        hop: seconds from window to window; None takes that of the model's settings, or its own.
        window: seconds of a window, likewise.
        by: "segments" or "events", whose F1 is to be best.
        tolerances: None is `Tolerances()`.
        per_label: true events that a label needs for an onset of its own; None: no label gets one.
        clips: at most so many, drawn from the seed where there are more; None takes all.
        seed: of that.
        label_set: as in `evaluate_events`, and so are batch, threads, device and quiet.
        batch: see above.
        threads: see above.
        device: see above.
        quiet: see above.
        annotations: the truth, in place of the pack's own.

    Returns:
        The settings, and what `metrics` can hold of the choice: what was tried, F1 with the model's settings
        before and with the chosen ones.

    Raises:
        ValueError: as `evaluate_events`; `by` is unknown, or no event of a shared label is in the clips.

    >>> config, about = choose_events("default", "out/scenes", splits=["validation"])  # doctest: +SKIP
    """
    if by not in KINDS:
        raise ValueError(f"by is {by!r}; expected one of {', '.join(KINDS)}")
    pack = opened(pack)
    how: dict[str, Any] = {"batch": batch, "threads": threads, "device": device}
    runner, artifact = open_model(model, pack, window, **how)
    before = events_of(artifact)
    if hop is not None:
        before = dataclasses.replace(before, hop=hop)
    if window is not None:
        before = dataclasses.replace(before, window=window)
    elif before.window is not None:
        runner, _ = open_model(runner, pack, before.window, **how)
    chosen = select_clips(pack, splits)
    if annotations is not None:
        chosen = annotated_clips(pack, chosen, annotations)[0]
    chosen = _drawn(chosen, clips, seed)
    chosen, names, columns, truth, _ = judged_truth(pack, chosen, artifact, label_set, annotations)
    if not len(truth.label):
        raise ValueError(f"{pack.path}: no event of a label that the model has is in these clips")
    step = hop_samples(runner.artifact, before)
    lines: list[Line] = []
    with Progress(len(chosen), "scoring", unit="clips", quiet=quiet) as progress:
        for line in score_lines(runner, pack, chosen, columns, hop=step, batch=batch):
            lines.append(line)
            progress.advance()
    trial = _Trial(lines, names, truth, pack.lengths[chosen] / pack.rate, by, tolerances or Tolerances())
    found = _search(trial, EventConfig(hop=before.hop, window=before.window), step / artifact.rate, quiet)
    if per_label is not None:
        found = _onsets_of_labels(trial, found, per_label)
    found = _unjudged_as_before(found, before, artifact.labels, names, truth)
    about = {
        "chosen_on": {"pack": pack.fingerprint, "splits": list(splits or []), "clips": len(chosen)},
        "by": by,
        "seed": seed,
        "tried": trial.tried,
        "f1_macro_before": trial.macro(before),
        "f1_macro": trial.macro(found),
        "labels_judged": len(np.unique(truth.label)),
    } | of_training(artifact, pack, chosen)
    return found, about


def _drawn(clips: np.ndarray, most: int | None, seed: int) -> np.ndarray:
    if most is None or len(clips) <= most:
        return clips
    return np.sort(np.random.default_rng(seed).choice(clips, most, replace=False))


class _Trial:
    """Clips whose scores are there, to try settings on; smoothed scores stay for the next trial."""

    def __init__(
        self,
        lines: Sequence[Line],
        names: list[str],
        truth: EventTable,
        durations: np.ndarray,
        by: str,
        tolerances: Tolerances,
    ):
        self.lines, self.names, self.truth, self.durations = lines, names, truth, durations
        self.by, self.tolerances, self.tried = by, tolerances, 0
        self._smooth: tuple[float, Sequence[Line]] = (0.0, lines)

    def counts(self, config: EventConfig) -> Counts:
        """Counts with some settings."""
        self.tried += 1
        lines, position = self.lines, {name: k for k, name in enumerate(self.names)}
        if not config.labels:  # one smoothing for all labels: done once, and not again for each setting
            if self._smooth[0] != config.smooth:
                smooth = [Line(line.times, smoothed_line(line, self.names, config)) for line in self.lines]
                self._smooth = config.smooth, smooth
            lines, config = self._smooth[1], dataclasses.replace(config, smooth=0.0)
        rows = [
            (clip, position[event["label"]], event["start"], event["end"])
            for clip, line in enumerate(lines)
            for event in find_events(line.times, line.scores, self.names, config)
        ]
        found = event_table(rows)
        return count(self.truth, found, self.durations, len(self.names), self.tolerances)[self.by]

    def macro(self, config: EventConfig) -> float:
        """Macro F1 with some settings."""
        return f1_figures(self.counts(config))["f1_macro"]


def _search(trial: _Trial, config: EventConfig, hop: float, quiet: bool) -> EventConfig:
    stages: list[list[dict[str, Any]]] = [
        [
            {"smooth": hops * hop, "onset": onset, "offset": round(share * onset, 6) if share < 1 else None}
            for hops, share, onset in itertools.product(SMOOTH_HOPS, OFFSET_SHARES, ONSETS)
        ],
        [
            {"max_gap": gap * hop, "min_length": length * hop}
            for gap, length in itertools.product(GAP_HOPS, LENGTH_HOPS)
        ],
    ]
    with Progress(sum(map(len, stages)), "choosing", unit="settings", quiet=quiet) as progress:
        for stage in stages:
            best, best_f1 = config, -1.0
            for settings in stage:
                tried = dataclasses.replace(config, **settings)
                f1 = trial.macro(tried)
                if f1 > best_f1 + 1e-12:
                    best, best_f1 = tried, f1
                progress.advance()
            config = best
    return config


def _onsets_of_labels(trial: _Trial, config: EventConfig, least: int) -> EventConfig:
    """The same with an onset of its own for each label that has events enough, where that is better."""
    there = np.bincount(trial.truth.label, minlength=len(trial.names))
    share = 1.0 if config.offset is None else config.offset / config.onset
    best_S = f1_per_class(trial.counts(config))["f1"]
    own: dict[str, Mapping[str, float | None]] = {}
    for onset in ONSETS:
        settings: dict[str, Any] = {
            "onset": onset,
            "offset": None if share == 1.0 else round(share * onset, 6),
        }
        f1_S = f1_per_class(trial.counts(dataclasses.replace(config, **settings)))["f1"]
        for k in np.flatnonzero((there >= least) & (f1_S > best_S + 1e-12)).tolist():
            own[trial.names[k]] = settings
            best_S[k] = f1_S[k]
    return dataclasses.replace(config, labels=own)


def _unjudged_as_before(
    config: EventConfig, before: EventConfig, labels: Sequence[str], names: Sequence[str], truth: EventTable
) -> EventConfig:
    judged = {names[k] for k in np.unique(truth.label).tolist()}
    kept = {label: before.of(label) for label in labels if label not in judged}
    own = {label: {"onset": old.onset, "offset": old.offset} for label, old in kept.items()}
    return dataclasses.replace(config, labels={**config.labels, **own})
