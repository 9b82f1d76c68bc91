"""Makes the model that comes with the package: a run as an ONNX folder with figures, card and attributions.

    python benchmarks/esc50_folds.py --data out/esc50-drawn --beside made \
        --recipe compact-esc50-equalized --average runs/fourth --average runs/fifth --shipped --out runs/mean
    python benchmarks/robustness.py --data out/esc50-drawn --folds runs/mean --json robustness.json
    python -m auricle.recipes.bundled --run runs/mean/shipped/last --data out/esc50-drawn \
        --folds runs/mean --robustness robustness.json --out out/auricle-esc50
    python examples/make_unknown.py out/unknown-sounds --share 8
    auricle pack out/unknown-sounds/meta.csv out/unknown --rate 32000
    python -m auricle.recipes.quiet --model out/auricle-esc50 --data out/esc50-drawn --folds runs/mean \
        --unknown out/unknown --false-alarms 2 --allow struck=20 --confusions 5 --least 0.5 --greatest 0.9 \
        --out out/quiet
    python benchmarks/unknown_sounds.py --model out/quiet --sounds out/unknown --data out/esc50-drawn \
        --folds runs/mean --card auricle/bundled/auricle-esc50

Where out/esc50-drawn, runs/fourth and runs/fifth come from is in docs/results.md.

Every figure is out of fold: of five models by the same recipe, each asked about clips of recordings that it
never saw. The model itself has heard the clips that it may, so nothing can be said of it on them.
"""

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from auricle.artifact import Artifact, load_artifact
from auricle.artifact.trainings import each_once, heard_before
from auricle.evaluation.heard import KEYS, training_keys
from auricle.interop.onnx import export_artifact
from auricle.metrics.ranking import bootstrap_intervals, per_class, summarise
from auricle.recipes.compact_esc50 import FREE_LICENCES, compact_esc50_equalized_free
from auricle.recipes.robustness import read_measured
from auricle.shards import Pack

COLUMNS = ("licence", "author", "title", "url")
MADE = "made"  # the split of sounds of no class
NOTES = """\
Says which of 50 environmental sounds are in a recording: the classes of ESC-50 (Piczak, ACM Multimedia 2015).

- Trained on {clips} of its 2000 clips: those whose own licence is CC0 or CC-BY, so that the weights may be
  licensed freely. ATTRIBUTION.csv names each one's author, title, address and licence. Beside them it heard
  {made} computed sounds of no class (noise, hum, tones, music, struck notes, speech by a synthesiser), so
  that it learns when to say nothing. Each patch was heard by another microphone (octaves raised and lowered),
  a fifth in computed rooms, as many in noise, as many over narrow channels. Models of generations before,
  trained on the same clips, taught it beside the labels; it began with the weights of the last of them. It
  is the mean of the weights of two such trainings, the second begun with the weights of the first, which
  heard fewer of the computed sounds.
- It hears up to 8 kHz: a recording that has nothing above loses nothing.
- Figures are out of fold: five models by the same recipe, each trained on four of ESC-50's folds (clips of
  every licence, its teachers too) and the same computed sounds, and asked about the fifth, which no run
  looked at. (Settings were tried on folds 4, 1, 3 and 5, and the mean was taken when all five had been
  judged: docs/results.md.) No source recording is on both sides, but for four (nine clips) that ESC-50's own
  folds share. The model in this folder was trained on clips of all folds and cannot be judged on them.
- A score is not a probability: scores are the network's own. Sounds outside the 50 classes get scores too,
  mostly low ones. Training clips are 5 s long and hold one sound each, or two mixed.
"""


def make_bundled(run: Path, data: Path, folds: Path, out: Path, robustness: Path | None = None) -> Artifact:
    """Export a trained run, with its figures and the list of whose sounds it learned from.

    Args:
        run: the trained torch model.
        data: the pack that it was trained on, with the attributes licence, author, title and url.
        folds: what benchmarks/esc50_folds.py wrote.
        out: the folder to write.
        robustness: what `benchmarks/robustness.py --json` wrote of the same folds, for the card.

    Raises:
        ValueError: folds are missing, or the robustness is of other models than theirs.

    >>> folders = [Path(name) for name in ("runs/bundled/last", "out/esc50", "runs/folds", "out/model")]
    >>> make_bundled(*folders).labels[:2]  # doctest: +SKIP
    ('airplane', 'breathing')
    """
    pack, trained = Pack(data), load_artifact(run)
    measured = {} if robustness is None else {"robustness": read_measured(robustness, folds)}
    heard = pack.select(None, {"licence": FREE_LICENCES})
    beside = pack.splits[heard] == MADE
    clips = heard[~beside]
    licence = compact_esc50_equalized_free(data).licence
    behind = each_once(heard_before(trained))  # of a mean more than one may be its own
    own = next((about for about in behind if about.get("data") == pack.fingerprint), behind[0])
    return export_artifact(
        run,
        out,
        name="auricle-esc50",
        licence=licence,
        notes=NOTES.format(clips=len(clips), made=int(beside.sum())),
        metrics=out_of_fold(folds) | measured,
        training={
            "corpus": "ESC-50, clips under CC0 or CC-BY, and computed sounds of no class",
            "clips": len(clips),
            "source_recordings": len(np.unique(pack.groups[clips])),
            **trained.training,
            "within": [about for about in behind if about is not own],
            "data": pack.fingerprint,  # as today's decoder packs it, so that `evaluate` knows the clips again
            KEYS: training_keys(pack, heard),
            "config": {**own["config"], "licence": licence},
        },
        attachments={"ATTRIBUTION.csv": attribution(pack, clips)},
    )


def attribution(pack: Pack, clips: np.ndarray) -> bytes:
    """A CSV row for each clip: id, licence, author, title, url."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["clip", *COLUMNS])
    writer.writerows(zip(pack.ids[clips], *(pack.attributes(name)[clips] for name in COLUMNS), strict=True))
    return stream.getvalue().encode()


def out_of_fold(folds: Path) -> dict[str, Any]:
    """Means over the folds, figures of all clips pooled, and per class, from the folds' scores."""
    reports = [json.loads(path.read_text()) for path in sorted(folds.glob("fold*/metrics.json"))]
    if len(reports) != 5:
        raise ValueError(
            f"{folds}: expected the reports of five folds, got {len(reports)}; finish them first"
        )
    targets, scores, labels, groups = read_scores(folds)
    classes = per_class(targets, scores)
    right = targets[np.arange(len(scores)), scores.argmax(1)]
    by_class = {
        label: {"accuracy": float(right[targets[:, k]].mean()), "ap": float(classes["ap"][k])}
        for k, label in enumerate(labels)
    }
    means = {
        name: float(np.mean([report[name] for report in reports]))
        for name in ("accuracy", "map", "auc", "d_prime")
    }
    pooled = summarise(targets, scores)
    draws = bootstrap_intervals(targets, scores, groups)
    return {
        **{f"{name}, mean of five folds": value for name, value in means.items()},
        "accuracy, lowest and highest fold": " to ".join(
            f"{f([r['accuracy'] for r in reports]):.4f}" for f in (min, max)
        ),
        "map, all clips pooled out of fold": float(pooled["map"]),
        **{
            f"{name}, all clips pooled, 95% of draws of recordings": f"{low:.3f} to {high:.3f}"
            for name, (low, high) in draws.items()
            if name in means
        },
        "per_class": by_class,
    }


def read_scores(folds: Path, which: str = "fold*") -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    """Targets (N, K) bool, scores (N, K), the K labels and the groups (N,): all clips, scored out of fold."""
    tables = [pq.read_table(path) for path in sorted(folds.glob(f"{which}/scores.parquet"))]
    labels: list[str] = json.loads(tables[0].schema.metadata[b"labels"])
    scores = np.concatenate([np.stack(table["scores"].to_numpy()) for table in tables])
    truth = [set(row) for table in tables for row in table["labels"].to_pylist()]
    groups = np.concatenate([table["group"].to_numpy(zero_copy_only=False) for table in tables])
    return np.array([[label in row for label in labels] for row in truth]), scores, labels, groups


def main() -> None:
    """Command line of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("run", "data", "folds", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--robustness", type=Path, help="what benchmarks/robustness.py wrote")
    made = make_bundled(**vars(parser.parse_args()))
    figures = {name: value for name, value in made.metrics.items() if not isinstance(value, dict)}
    print(f"{made.path}: {made.state_path.stat().st_size / 1e6:.1f} MB; {json.dumps(figures)}")


if __name__ == "__main__":
    main()
