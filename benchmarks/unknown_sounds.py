"""Measures how quiet a model stays on sounds that it does not know, and what the same thresholds keep.

    python examples/make_unknown.py out/unknown-sounds --share 8
    auricle pack out/unknown-sounds/meta.csv out/unknown --rate 32000
    auricle pack ../shared/data/esc50/meta.csv out/esc50
    python benchmarks/unknown_sounds.py --model default --sounds out/unknown --data out/esc50

A false alarm is an event, as `auricle events` finds them, in a sound that has no label: a run of windows that
reach one label's threshold. Beside it stands the share of windows that show any label. --folds FOLDER takes
what benchmarks/esc50_folds.py wrote: the corpus's clips are then scored out of fold; without it, they are
those that the model was not trained on. With --folds and no --model, the five models hear the sounds, too,
and rates are means of theirs.

The first table is at the model's own thresholds (0.5 where it has none, as `auricle events` takes it); the
second at those of --thresholds, each for all labels: false alarms an hour over all kinds, each kind counting
alike, the worst kind, and of the corpus's own clips the recall of `auricle tag` (the clip's score reaches the
threshold of its label), that of events, the share of labels shown that is right, and wrong events an hour.

--card OUT writes the model once more, with the first table, recall and precision in its card.

--most N ends with status 1 where any kind has more than N false alarms an hour at the model's own thresholds.
"""

import argparse
import dataclasses
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import Artifact, load_artifact, save_changed
from auricle.calibration.stages import clip_scores
from auricle.evaluation.lines import Line, hop_samples, score_lines
from auricle.event_settings import EventConfig, events_of, with_onset
from auricle.events import find_events
from auricle.probabilities import calibrated
from auricle.recipes.quiet import corpus_examples
from auricle.runners import load_runner
from auricle.runners.lengths import at_window
from auricle.runners.windows import sigmoid, window_starts
from auricle.shards import Pack

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass
class Count:
    """What was heard of a kind of sound."""

    hours: float = 0.0
    windows: int = 0
    shown: int = 0  # windows with any label
    events: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """False alarms an hour."""
        return self.events.total() / self.hours


def onsets(config: EventConfig, labels: Sequence[str]) -> np.ndarray:
    """(K,) the score from which each label is shown."""
    return np.array([config.of(label).onset for label in labels])


def count(
    lines: Sequence[Line], kinds: Sequence[str], labels: Sequence[str], config: EventConfig
) -> dict[str, Count]:
    """Kind -> what was shown in its sounds, none of which has a label.

    Args:
        lines: of each sound.
        kinds: of each sound.
        labels: the model's.
        config: by which scores become events.
    """
    found: dict[str, Count] = defaultdict(Count)
    least = onsets(config, labels)
    for line, kind in zip(lines, kinds, strict=True):
        mine = found[kind]
        mine.hours += float(line.times[-1, 1] - line.times[0, 0]) / 3600
        mine.windows += len(line.scores)
        mine.shown += int((line.scores >= least).any(axis=1).sum())
        mine.events.update(event["label"] for event in find_events(line.times, line.scores, labels, config))
    return dict(found)


def in_windows(artifact: Artifact, window: float | None, hop: float | None) -> Artifact:
    """The model on windows of another length or hop, both in seconds."""
    changed = at_window(artifact, window)
    return changed if hop is None else dataclasses.replace(changed, hop=round(hop * changed.rate))


def heard(artifact: Artifact, sounds: Pack, clips: np.ndarray, threads: int | None) -> list[Line]:
    """Scores over time of each sound."""
    runner = load_runner(artifact, threads=threads)
    hop = hop_samples(artifact, events_of(artifact))
    return list(score_lines(runner, sounds, clips, range(len(artifact.labels)), hop=hop))


@dataclass(frozen=True)
class Corpus:
    """A corpus's clips, scored by models that were not trained on them."""

    targets: np.ndarray  # (C, K) bool
    scores: np.ndarray  # (C, K) of clips
    lines: list[Line]

    @classmethod
    def of(cls, artifact: Artifact, data: Pack, folds: Path | None, threads: int | None) -> "Corpus":
        """Each clip's scores through the model's own calibration."""
        examples, clips = corpus_examples(artifact, data, folds, threads=threads)
        scores = sigmoid(calibrated(artifact)(np.array(examples.logits)))
        lines = []
        for first, number, clip in zip(examples.starts, examples.counts, clips, strict=True):
            length = max(1, round(data.lengths[clip] * artifact.rate / data.rate))
            begins = window_starts(length, artifact.window, artifact.hop, artifact.tail)[:number]
            mine = scores[first : first + number]
            spans = np.stack([begins, np.minimum(begins + artifact.window, length)], 1)
            lines.append(Line(spans / artifact.rate, mine))
        return cls(examples.targets, clip_scores(examples, artifact.calibration), lines)

    def kept(self, labels: Sequence[str], config: EventConfig) -> dict[str, float]:
        """What thresholds do to the corpus's own clips."""
        shown = self.scores >= onsets(config, labels)
        right, wrong, hours = 0, 0, 0.0
        for line, there in zip(self.lines, self.targets, strict=True):
            names = [event["label"] for event in find_events(line.times, line.scores, labels, config)]
            true = {label for label, is_there in zip(labels, there, strict=True) if is_there}
            right += len(true & set(names))
            wrong += sum(name not in true for name in names)
            hours += float(line.times[-1, 1]) / 3600
        good = int((shown & self.targets).sum())
        return {
            "recall": good / int(self.targets.sum()),
            "recall_events": right / int(self.targets.sum()),
            "precision": good / int(shown.sum()) if shown.any() else float("nan"),
            "wrong_events_an_hour": wrong / hours,
        }


def mean_rates(counts: Sequence[dict[str, Count]]) -> dict[str, float]:
    """Kind -> false alarms an hour, the mean of several models'."""
    return {kind: float(np.mean([each[kind].rate for each in counts])) for kind in counts[0]}


def print_kinds(
    counts: Sequence[dict[str, Count]], lines: Sequence[list[Line]], kinds: Sequence[str]
) -> None:
    """A row for each kind of sound."""
    print(
        "| sound | hours | false alarms/h | windows shown | top score: median | 99% | labels, by the hour |"
    )
    print("|---|---:|---:|---:|---:|---:|---|")
    rates = mean_rates(counts)
    for kind in rates:
        mine = [each[kind] for each in counts]
        labels: Counter[str] = sum((each.events for each in mine), Counter())
        hours = sum(each.hours for each in mine)
        top = np.concatenate(
            [
                line.scores.max(axis=1)
                for of in lines
                for line, its in zip(of, kinds, strict=True)
                if its == kind
            ]
        )
        named = ", ".join(f"{label} {number / hours:.1f}" for label, number in labels.most_common(4))
        share = sum(each.shown for each in mine) / sum(each.windows for each in mine)
        print(
            f"| {kind} | {mine[0].hours:.2f} | {rates[kind]:.1f} | {share:.3f} | {np.median(top):.2f} "
            f"| {np.quantile(top, 0.99):.2f} | {named} |"
        )


def about_kinds(counts: dict[str, Count]) -> dict[str, Any]:
    """What a model's card says of the sounds: of each kind, and the mean of their rates."""
    kinds = {}
    for kind, count in counts.items():
        labels = {label: number / count.hours for label, number in count.events.most_common()}
        kinds[kind] = {"hours": count.hours, "false_alarms": count.rate, "labels": labels}
    return {"kinds": kinds, "false_alarms": float(np.mean([count.rate for count in counts.values()]))}


def print_level(name: str, counts: Sequence[dict[str, Count]], kept: dict[str, float] | None) -> None:
    """A row of the second table."""
    rates = mean_rates(counts)
    worst = max(rates, key=lambda kind: rates[kind])
    row = f"| {name} | {np.mean(list(rates.values())):.1f} | {rates[worst]:.1f} ({worst}) |"
    if kept is not None:
        row += " {recall:.3f} | {recall_events:.3f} | {precision:.3f} | {wrong_events_an_hour:.1f} |".format(
            **kept
        )
    print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="name or path; default: the one that is bundled, or --folds")
    parser.add_argument("--sounds", type=Path, required=True, help="pack of examples/make_unknown.py's table")
    parser.add_argument("--split", default="judge", help="of the sounds; default: judge")
    parser.add_argument("--data", type=Path, help="pack of the corpus, for what thresholds keep of it")
    parser.add_argument("--folds", type=Path, help="what benchmarks/esc50_folds.py wrote: see above")
    parser.add_argument("--thresholds", default=",".join(map(str, LEVELS)), help="of the second table")
    parser.add_argument(
        "--window", type=float, metavar="S", help="in place of the model's own; without --data"
    )
    parser.add_argument("--hop", type=float, metavar="S", help="from window to window; without --data")
    parser.add_argument("--most", type=float, metavar="N", help="false alarms an hour of a kind: see above")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument(
        "--card", type=Path, metavar="OUT", help="write the model here, the figures in its card"
    )
    given = parser.parse_args()
    sounds = Pack(given.sounds)
    clips = sounds.select([given.split])
    kinds = [str(kind) for kind in sounds.attributes("kind")[clips]]
    runs = sorted(given.folds.glob("fold*/run/last")) if given.folds and not given.model else []
    models = [load_artifact(run) for run in runs] or [load_artifact(given.model or "default")]
    if given.window or given.hop:
        if given.data:
            parser.error("--window and --hop are for unknown sounds alone; leave out --data")
        if given.card:
            parser.error("the card tells of the model's own windows; leave out --window and --hop")
        models = [in_windows(model, given.window, given.hop) for model in models]
    if given.card and (len(models) > 1 or given.split != "judge"):
        parser.error("the card tells of one model, on sounds that judge; give --model, leave out --split")
    first = models[0]
    labels, own = first.labels, events_of(first)
    lines = [heard(model, sounds, clips, given.threads) for model in models]
    corpus = Corpus.of(first, Pack(given.data), given.folds, given.threads) if given.data else None

    def counted(config: EventConfig) -> list[dict[str, Count]]:
        return [count(each, kinds, labels, config) for each in lines]

    print(f"{first.name}, {len(clips)} sounds of split {given.split}, {len(models)} models")
    print_kinds(counts := counted(own), lines, kinds)
    print("\n| threshold | false alarms/h | worst kind | recall | of events | precision | wrong events/h |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    print_level("the model's own", counts, corpus and corpus.kept(labels, own))
    figures: dict[str, Any] = {
        "own": {"rates": mean_rates(counts), **(corpus.kept(labels, own) if corpus else {})}
    }
    for text in filter(None, given.thresholds.split(",")):
        config = with_onset(own, float(text))
        print_level(text, at := counted(config), kept := corpus and corpus.kept(labels, config))
        figures[text] = {"rates": mean_rates(at), **(kept or {})}
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))
    if given.card:
        about = {"sounds": len(clips), **about_kinds(counts[0]), **figures["own"]}
        del about["rates"]
        save_changed(first, given.card, metrics={**first.metrics, "unknown_sounds": about})
    rates = figures["own"]["rates"]
    loud = {kind: rate for kind, rate in rates.items() if given.most is not None and rate > given.most}
    if loud:
        sys.exit(f"more than {given.most:g} false alarms an hour: {', '.join(loud)}")


if __name__ == "__main__":
    main()
