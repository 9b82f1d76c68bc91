"""Whether a calibration of own classes, fitted out of fold, holds on clips that nothing was drawn from.

    auricle pack ../shared/data/esc50/meta.csv out/esc50
    auricle embed out/esc50 --model yamnet
    python benchmarks/own_calibration.py --data out/esc50 --embeddings yamnet

A draw takes six classes and a fold of ESC-50, and some clips of each class from the other four folds. Of
these a classifier is made as `auricle train --examples --calibrate` makes it, and asked about the clips of
the six classes in the fold. Printed are means over draws: accuracy, calibration error (ECE) and log loss
there, before and after; what the run's own report says after; and in how many draws it is lower. Every
other window counts.

`--project 24` embeds less: random projections on 24 values. `--quick` takes two draws of five clips.
"""

import argparse

import numpy as np

from auricle.calibration.stages import Examples as Scored
from auricle.calibration.stages import clip_scores, figures_of
from auricle.heads import shown_logits
from auricle.own_classes.calibrating import calibrate_own
from auricle.own_classes.examples import Examples
from auricle.own_classes.judging import cross_validate, fit_examples, make_folds
from auricle.shards import Pack

CLASSES, FOLDS, COUNTS = 6, 5, (5, 10, 20)


def examples_of(pack: Pack, clips: np.ndarray, classes: np.ndarray) -> Examples:
    """Clips of a pack as examples of some of its classes."""
    names = pack.label_names()
    return Examples(
        pack=pack,
        clips=clips,
        labels=tuple(names[label] for label in classes),
        targets=pack.targets(clips).astype(bool)[:, classes],
        kind="one",
        recordings=pack.recordings[clips].astype(str),
        splits=pack.splits[clips].astype(str),
        label_set="labels",
    )


def draw(
    pack: Pack, embeddings: str, count: int, seed: int, onto: np.ndarray | None
) -> dict[str, list[float]]:
    """Figure -> [before, after, what the run's own report says after], of one draw."""
    found = pack.embeddings(embeddings)

    def rows_of(clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = [np.asarray(found.clip(int(clip)), np.float32)[::2] for clip in clips]
        owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        values = np.concatenate(rows)
        return (values if onto is None else (values @ onto).astype(np.float32)), owners

    rng, splits = np.random.default_rng(seed * 100 + count), pack.splits.astype(str)
    targets = pack.targets(np.arange(len(pack))).astype(bool)
    folds = sorted(set(splits))
    classes = np.sort(rng.choice(targets.shape[1], min(CLASSES, targets.shape[1]), replace=False))
    there = splits == folds[seed % len(folds)]
    mine = [rng.choice(np.flatnonzero(targets[:, k] & ~there), count, replace=False) for k in classes]
    learned = examples_of(pack, np.sort(np.concatenate(mine)), classes)
    asked = examples_of(pack, np.flatnonzero(targets[:, classes].any(axis=1) & there), classes)
    rows, owners = rows_of(learned.clips)
    columns = learned.softmax_targets
    kept = make_folds(learned.recordings, columns, min(FOLDS, count))
    judged = cross_validate(rows, owners, columns, kept, kind="one")
    calibration, told = calibrate_own(learned, rows, owners, kept, judged)
    final = fit_examples(rows, owners, columns, kind="one", penalty=judged.penalty)
    rows, owners = rows_of(asked.clips)
    scored = Scored(
        logits=shown_logits(final, rows, len(classes)).astype(np.float32),
        starts=np.searchsorted(owners, np.arange(len(asked.clips))),
        targets=asked.targets,
        known=np.ones(asked.targets.shape, bool),
        groups=np.arange(len(asked.clips)),
    )
    scores = [clip_scores(scored, one) for one in (None, calibration)]
    before, after = (figures_of(one, scored) for one in scores)
    own, truth = told.get("after", {}), asked.targets.argmax(axis=1)
    right = [float((one.argmax(axis=1) == truth).mean()) for one in scores]
    shown = {name: [before[name], after[name], own.get(name, np.nan)] for name in ("ece", "log_loss")}
    return {"accuracy": [*right, np.nan], **shown}


def main() -> None:
    """Draw, and print a row for each number of clips."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="a pack of ESC-50")
    parser.add_argument("--embeddings", default="yamnet", help="an embedding set of it")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--project", type=int, help="random projections on so many values")
    parser.add_argument("--quick", action="store_true", help="two draws of five clips")
    given = parser.parse_args()
    pack, onto = Pack(given.data), None
    if given.project:
        size = pack.embeddings(given.embeddings).values.shape[1]
        onto = np.random.default_rng(0).standard_normal((size, given.project)) / np.sqrt(size)
    print("clips  figure    before  after   report  lower in")
    for count in COUNTS[:1] if given.quick else COUNTS:
        seeds = range(2 if given.quick else given.draws)
        drawn = [draw(pack, given.embeddings, count, seed, onto) for seed in seeds]
        for name in drawn[0]:
            each = np.array([one[name] for one in drawn])
            lower = f"{int((each[:, 1] < each[:, 0]).sum())} of {len(each)}"
            before, after, own = each.mean(axis=0)
            print(f"{count:5d}  {name:8s}  {before:.3f}   {after:.3f}   {own:.3f}   {lower}", flush=True)


if __name__ == "__main__":
    main()
