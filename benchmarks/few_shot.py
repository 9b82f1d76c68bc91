"""Few examples of new classes: a classifier on a model's embeddings, beside a network from nothing.

Some of ESC-50's classes are held out of pre-training. A model is trained on the others; then, for each fold,
N clips of each held-out class are drawn from the other folds, the classifier is solved on them (its penalty
chosen among them, by folds of recordings), and the held-out classes' clips of the fold are asked. The network
from nothing is the recipe compact-esc50 on the same N clips; `--fine-tune MODEL` is that recipe begun with
that model's weights. Below the table: differences of two rows on the same clips, drawn alike.

    auricle pack ../shared/data/esc50/meta.csv out/esc50
    python benchmarks/few_shot.py --data out/esc50 --list known > known.txt
    auricle labels out/esc50 --keep known.txt --name known
    auricle train --data out/esc50 --out runs/known --recipe compact-esc50 --set label_set=known \
        --set unlabelled=drop
    python benchmarks/few_shot.py --data out/esc50 --out runs/few-shot --model runs/known/last \
        --model yamnet --from-nothing --fine-tune runs/known/last

A model whose labels have a held-out class is refused; of one that was trained elsewhere on classes of other
names (YAMNet), the table says so. Subsets of the clips drawn are kept in the pack. A run that was stopped
goes on.
"""

import argparse
import hashlib
import json
import platform
import time
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import Artifact, load_artifact
from auricle.evaluation import score_clips
from auricle.metrics.bootstrap import bootstrap_intervals, group_weights, moved_interval
from auricle.own_classes.examples import Examples, embed_examples
from auricle.own_classes.judging import clip_means, cross_validate, fit_examples, make_folds
from auricle.runners import load_runner
from auricle.shards import Pack, add_label_view, add_subset

EVERY = 5  # of the classes in their order, the last of these many is held out
FOLDS = 5  # at most, in which the penalty is chosen
VIEW = "few-shot"
DRAWS = 2000  # of recordings, for the interval of a difference


def held_out(pack: Pack) -> list[str]:
    """Classes that no embedder may have learned."""
    return pack.label_names()[EVERY - 1 :: EVERY]


def clips_of(pack: Pack, labels: list[str]) -> Examples:
    """All clips that have one of the labels."""
    names = pack.label_names()
    targets = pack.targets(np.arange(len(pack)), "labels")[:, [names.index(label) for label in labels]] > 0
    clips = np.flatnonzero(targets.any(axis=1))
    return Examples(
        pack=pack,
        clips=clips,
        labels=tuple(labels),
        targets=targets[clips],
        kind="one",
        recordings=pack.recordings[clips].astype(str),
        splits=pack.splits[clips].astype(str),
        label_set="labels",
    )


def draw(examples: Examples, fold: str, count: int, seed: int) -> np.ndarray:
    """Positions of `count` clips of each class outside the fold; fewer are among more, of the same seed."""
    chosen: list[int] = []
    for k, label in enumerate(examples.labels):
        there = np.flatnonzero(examples.targets[:, k] & (examples.splits != fold))
        names = [f"{seed}/{label}/{examples.pack.ids[examples.clips[i]]}" for i in there]
        order = np.argsort([hashlib.blake2b(name.encode(), digest_size=8).hexdigest() for name in names])
        if len(there) < count:
            raise SystemExit(f"{label}: {len(there)} clips outside {fold}, fewer than the {count} asked for")
        chosen += there[order[:count]].tolist()
    return np.array(sorted(chosen))


def check_known(pack: Pack, model: Artifact, examples: Examples) -> str:
    """What is to be said of a model: whether it is known not to have learned the classes or the clips."""
    if both := sorted(set(model.labels) & set(examples.labels)):
        raise SystemExit(f"{model.path}: has learned {both[0]}, which is to be held out")
    if model.training.get("data") != pack.fingerprint:
        return "trained elsewhere"
    names = pack.label_names()
    learned = (
        pack.targets(np.arange(len(pack)), "labels")[:, [names.index(label) for label in model.labels]] > 0
    )
    shared = set(pack.recordings[learned.any(axis=1)].astype(str)) & set(examples.recordings)
    if shared:
        raise SystemExit(
            f"{model.path}: {len(shared)} recordings have clips of its classes and of those held out"
        )
    return f"trained on {len(model.labels)} other classes of the pack"


def frozen(
    examples: Examples,
    rows: np.ndarray,
    owners: np.ndarray,
    chosen: np.ndarray,
    asked: np.ndarray,
    place: str,
) -> np.ndarray:
    """(len(asked), K) scores of a classifier solved on the chosen clips."""
    mask = np.isin(np.arange(len(examples.clips)), chosen)
    mine = np.searchsorted(chosen, owners[mask[owners]])
    folds_count = min(FOLDS, len(chosen) // len(examples.labels))
    folds = make_folds(examples.recordings[chosen], examples.targets[chosen], folds_count)
    taught = rows[mask[owners]], mine, examples.targets[chosen]
    penalty = cross_validate(*taught, folds, kind="one").penalty
    found = fit_examples(*taught, kind="one", penalty=penalty)
    return clip_means(found, rows, owners, asked)


def train_on(
    examples: Examples, out: Path, settings: dict[str, str], chosen: np.ndarray, asked: np.ndarray, place: str
) -> np.ndarray:
    """(len(asked), K) scores of the recipe compact-esc50, trained on the chosen clips."""
    from auricle.recipes import configure
    from auricle.training import train

    name = f"{VIEW}-{place}"
    add_subset(
        examples.pack.path, name, examples.clips[chosen], {"by": "benchmarks/few_shot.py"}, replace=True
    )
    settings = {"label_set": VIEW, "train_subset": name, "batch": "32", "warmup_steps": "50"} | settings
    config = configure("compact-esc50", data=examples.pack.path, settings=settings)
    model = train(config, out / place, resume=True)
    runner = load_runner(load_artifact(model))
    return score_clips(runner, examples.pack, examples.clips[asked], quiet=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--list", choices=("known", "held-out"), help="print these classes, and stop")
    parser.add_argument("--model", action="append", default=[], help="an embedder; may be given again")
    parser.add_argument("--per-class", default="5,10,20")
    parser.add_argument("--folds", default="", help="only these; all splits of the pack at first")
    parser.add_argument("--draws", type=int, default=3, help="of the clips, in each fold")
    parser.add_argument("--from-nothing", action="store_true", help="train the network, too")
    parser.add_argument("--fine-tune", default="", help="train it from this model's weights, too")
    parser.add_argument(
        "--training-draws", type=int, default=1, help="of the clips, where a network is trained"
    )
    parser.add_argument("--set", action="append", default=["steps=600"], metavar="KEY=VALUE")
    parser.add_argument("--quick", action="store_true", help="one fold, one draw, 5 a class, 10 steps")
    options = parser.parse_args()
    pack = Pack(options.data)
    held = held_out(pack)
    if options.list:
        print(
            "\n".join(
                held if options.list == "held-out" else [n for n in pack.label_names() if n not in held]
            )
        )
        return
    if options.out is None:
        parser.error("--out: where to keep the figures")
    settings = dict(item.split("=", 1) for item in options.set)
    if options.quick:
        options.per_class, options.folds, options.draws = "5", sorted(set(pack.splits))[0], 1
        settings["steps"] = "10"
    examples = clips_of(pack, held)
    folds = options.folds.split(",") if options.folds else sorted(set(examples.splits.tolist()))
    counts = [int(count) for count in options.per_class.split(",")]
    options.out.mkdir(parents=True, exist_ok=True)
    table: list[dict[str, Any]] = []
    for name in options.model:
        model = load_artifact(name)
        known, began = check_known(pack, model, examples), time.perf_counter()
        rows, owners = embed_examples(examples, model)
        embedding = time.perf_counter() - began
        row = f"{model.name}'s embeddings, {known}"
        table += measure(row, examples, folds, counts, options.draws, partial(frozen, examples, rows, owners))
        table[-1]["embedding_seconds"] = embedding
    starts = {"from nothing": ""} if options.from_nothing else {}
    if options.fine_tune:
        check_known(pack, load_artifact(options.fine_tune), examples)
        starts["fine-tuned"] = options.fine_tune
    if starts:
        add_label_view(pack.path, VIEW, held, replace=True)
    for how, start in starts.items():
        mine = settings | ({"init_from": start} if start else {})
        trained = partial(train_on, examples, options.out / how.replace(" ", "-"), mine)
        row = f"{how}: compact-esc50, {settings.get('steps', '?')} steps"
        table += measure(row, examples, folds, counts, options.training_draws, trained)
    machine = f"{platform.processor() or platform.machine()}, Python {platform.python_version()}"
    apart = differences(table, examples)
    about = {
        "held_out": held,
        "folds": folds,
        "clips": len(examples.clips),
        "machine": machine,
        "rows": table,
        "differences": apart,
    }
    (options.out / "results.json").write_text(json.dumps(about, indent=1) + "\n")
    text = "\n".join(in_words(table + apart, counts))
    (options.out / "table.md").write_text(text + "\n")
    print(text)


def measure(
    name: str,
    examples: Examples,
    folds: list[str],
    counts: list[int],
    draws: int,
    score: Callable[[np.ndarray, np.ndarray, str], np.ndarray],
) -> list[dict[str, Any]]:
    """A row for each number of clips a class: accuracy over folds and draws, an interval by recording."""
    found = []
    for count in counts:
        scores, asked_all, right, seconds = [], [], {}, 0.0
        for fold in folds:
            asked = np.flatnonzero(examples.splits == fold)
            for seed in range(draws):
                chosen = draw(examples, fold, count, seed)
                assert not set(examples.recordings[chosen]) & set(examples.recordings[asked])
                began = time.perf_counter()
                given = score(chosen, asked, f"{count}-{fold}-{seed}")
                seconds += time.perf_counter() - began
                scores.append(given)
                asked_all.append(asked)
                right[f"{fold}-{seed}"] = examples.targets[asked, given.argmax(axis=1)].astype(int).tolist()
        asked, given = np.concatenate(asked_all), np.concatenate(scores)
        low, high = bootstrap_intervals(examples.targets[asked], given, examples.recordings[asked])[
            "accuracy"
        ]
        accuracy = float(examples.targets[asked, given.argmax(axis=1)].mean())
        row = {"name": name, "per_class": count, "accuracy": accuracy, "interval": [low, high]}
        row |= {"folds": len(folds), "draws": draws, "seconds": seconds / len(scores), "right": right}
        found.append(row)
        print(f"{name}, {count} a class: {accuracy:.3f} ({low:.3f} to {high:.3f})", flush=True)
    return found


def differences(table: list[dict[str, Any]], examples: Examples) -> list[dict[str, Any]]:
    """Accuracy of one row less another's on the clips and draws that both have, recordings drawn again."""
    found = []
    for one, other in combinations(table, 2):
        if one["per_class"] != other["per_class"]:
            continue
        places = sorted(set(one["right"]) & set(other["right"]))
        clips = [np.flatnonzero(examples.splits == place.rsplit("-", 1)[0]) for place in places]
        gains = np.concatenate([np.subtract(one["right"][place], other["right"][place]) for place in places])
        weights = group_weights(examples.recordings[np.concatenate(clips)], DRAWS, seed=0).astype(np.float64)
        means = weights @ gains / weights.sum(axis=1)
        low, high = moved_interval(means, 0.95, bounded=False)
        row = {"name": f"{one['name']} less {other['name']}", "per_class": one["per_class"]}
        found.append(row | {"accuracy": float(means[0]), "interval": [float(low), float(high)]})
    return found


def in_words(table: list[dict[str, Any]], counts: list[int]) -> list[str]:
    """The rows as Markdown; those of differences have no seconds."""
    lines = [
        f"| | {' | '.join(f'{count} a class' for count in counts)} | seconds |",
        "|---" * (len(counts) + 2) + "|",
    ]
    for name in dict.fromkeys(row["name"] for row in table):
        mine = {row["per_class"]: row for row in table if row["name"] == name}
        cells = []
        for count in counts:
            low, high = mine[count]["interval"]
            cells.append(f"{mine[count]['accuracy']:.1%} ({low:.1%} to {high:.1%})")
        seconds = ", ".join(f"{mine[c]['seconds']:.1f}" for c in counts if "seconds" in mine[c])
        lines.append(f"| {name} | {' | '.join(cells)} | {seconds} |")
    return lines


if __name__ == "__main__":
    main()
