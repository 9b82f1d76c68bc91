r"""Thresholds with which a model stays quiet on what it does not know, and still says what it does.

    python examples/make_unknown.py out/unknown-sounds --share 8
    auricle pack out/unknown-sounds/meta.csv out/unknown --rate 32000
    python -m auricle.recipes.quiet --model runs/model --data out/esc50 --folds runs/folds \
        --unknown out/unknown --false-alarms 2 --confusions 5 --least 0.5 --out out/quiet

A label's threshold is the lowest at which no more than so many windows an hour pass: of each kind of unknown
sound by itself, so that much of one kind cannot hide what another does, and of the corpus's clips without the
label, for which --confusions sets another number: something was to be heard there.

Clips of the corpus are scored out of fold, as the model would score new ones: each by the model that was not
trained on its fold. Unknown sounds the model hears itself, of their split "choose" alone: "judge" is for
benchmarks/unknown_sounds.py. A model that was trained on sounds of the same script, by another seed, scores
them lower than strange ones. --allow gives a kind another number: struck wood sounds like a knock, and to
keep all of it out would silence the label. No label gets less than --least, since a label that nothing
unknown sounds like would be shown at any score, nor more than --greatest. Where a part is too short for a
single window an hour, or its loudest windows are alike, none of them may pass, and the threshold is half-way
between the loudest and 1. Without --folds, the clips are those that the model was not trained on.

Shape letters: W windows, C clips, K labels.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import Artifact, load_artifact, save_changed
from auricle.calibration import KEEP, Goal, fit_thresholds
from auricle.calibration.stages import Examples
from auricle.evaluation.choice import match_labels, positives_of
from auricle.evaluation.fitted import KEPT
from auricle.evaluation.heard import what_was_heard
from auricle.evaluation.scoring import open_model, stream_logits
from auricle.pooling import pooling_of
from auricle.shards import Pack

CHOOSE = "choose"  # the split of unknown sounds that thresholds may be chosen on
CORPUS = "the corpus, other labels"
LEAST, GREATEST = "held at the least", "held at the greatest"


def logits_of(model: Any, pack: Pack, clips: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits (W, K) of all windows of some clips, and the first window of each clip (C,).

    Args:
        model: name, path, artifact or runner.
        pack: a pack.
        clips: (C,) positions in it.
        **options: of the runner, as "threads".

    >>> logits_of("default", Pack("out/unknown"), np.arange(2))[1]  # doctest: +SKIP
    array([ 0, 10])
    """
    runner, artifact = open_model(model, pack, **options)
    parts, counts = [np.zeros((0, len(artifact.labels)), np.float32)], np.zeros(len(clips), np.int64)
    for logits_WK, owners in stream_logits(runner, pack, clips):
        parts.append(np.array(logits_WK, np.float32))
        np.add.at(counts, owners, 1)
    return np.concatenate(parts), np.cumsum(counts) - counts


def corpus_examples(
    model: Artifact, data: Pack, folds: Path | None = None, **options: Any
) -> tuple[Examples, np.ndarray]:
    """A corpus's windows by models that were not trained on them, and the clips that these are of (C,).

    Args:
        model: whose labels count, and who is asked where there are no folds.
        data: the corpus.
        folds: what benchmarks/esc50_folds.py wrote.
        **options: of the runner, as "threads".

    Raises:
        ValueError: no clip is left that was not trained on, labels differ, or a fold's model knows its clips.

    >>> corpus_examples(load_artifact("default"), Pack("out/esc50"))[1]  # doctest: +SKIP
    array([   5,   14, ...])
    """
    asked: list[tuple[Any, np.ndarray]] = [(model, np.arange(len(data)))]
    if folds is not None:
        runs = sorted(folds.glob("fold*/run/last"))
        asked = [(load_artifact(run), data.select([run.parts[-3]])) for run in runs]
    parts = []
    for artifact, clips in asked:
        heard = what_was_heard(artifact, data, clips).clips
        if folds is not None and len(heard):
            raise ValueError(
                f"{artifact.path}: was trained on {len(heard)} of the clips that it is asked about"
            )
        if artifact.labels != model.labels:
            raise ValueError(f"{artifact.path}: has other labels than {model.path}")
        clips = np.setdiff1d(clips, heard)
        parts.append((clips, *logits_of(artifact, data, clips, **options)))
    clips = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, np.int64)
    if not len(clips):
        raise ValueError(f"{folds or data.path}: no clip that a model was not trained on")
    firsts = np.cumsum([0, *(len(part[1]) for part in parts)])
    starts = np.concatenate([part[2] + first for part, first in zip(parts, firsts, strict=False)])
    columns = match_labels(model, data, data.label_names("labels"), "labels")
    if len(columns) != len(model.labels):
        raise ValueError(f"{data.path}: lacks labels of {model.path}; expected all")
    bounds, rows = positives_of(data, clips, "labels", [theirs for _, theirs in columns])
    targets = np.zeros((len(clips), len(columns)), bool)
    targets[rows, np.repeat(np.arange(len(columns)), np.diff(bounds))] = True
    groups = np.unique(data.recordings[clips], return_inverse=True)[1]
    logits = np.concatenate([part[1] for part in parts])
    known = np.ones(targets.shape, bool)
    rule = pooling_of(model)
    return Examples(
        logits=logits, starts=starts, targets=targets, known=known, groups=groups, pooling=rule
    ), clips


def unknown_examples(model: Any, sounds: Pack, split: str, **options: Any) -> dict[str, Examples]:
    """Kind of unknown sound -> its windows; no label holds.

    >>> list(unknown_examples("default", Pack("out/unknown"), "choose"))  # doctest: +SKIP
    ['chords', 'hum', ...]
    """
    found, kinds = {}, sounds.attributes("kind")
    for kind in sorted(set(kinds[sounds.select([split])])):
        clips = sounds.select([split], {"kind": (kind,)})
        logits, starts = logits_of(model, sounds, clips, **options)
        none = np.zeros((len(clips), logits.shape[1]), bool)
        found[kind] = Examples(
            logits=logits, starts=starts, targets=none, known=~none, groups=np.arange(len(clips))
        )
    return found


def quiet_thresholds(
    parts: Mapping[str, Examples],
    calibration: Mapping[str, Any] | None,
    names: tuple[str, ...],
    *,
    false_alarms: float,
    confusions: float | None = None,
    allow: Mapping[str, float] | None = None,
    least: float = 0.0,
    greatest: float = 2.0,
    hop: float,
) -> dict[str, dict[str, Any]]:
    """Label -> its row, as `fit_thresholds` gives it, of the part that asks for the highest threshold ("of").

    Args:
        parts: by name, of what a label may be shown wrongly.
        calibration: the model's.
        names: (K,) the labels.
        false_alarms: windows an hour that may pass, of each label in each part.
        confusions: the same of the part `CORPUS`, where that is another number.
        allow: the same of other parts.
        least: no threshold is below this one.
        greatest: and none above this one; 2 is the threshold of a label that is never shown.
        hop: seconds from window to window.

    >>> none = np.zeros((4, 1), bool)
    >>> loud, soft = (Examples(logits=np.full((4, 1), z, np.float32), starts=np.arange(4), targets=none,
    ...               known=~none, groups=np.arange(4)) for z in (0, -2))
    >>> row = quiet_thresholds({"hum": loud, "tone": soft}, None, ("dog",), false_alarms=1, hop=2)["dog"]
    >>> row["of"], row["threshold"]
    ('hum', 0.75)
    """
    rows: dict[str, dict[str, Any]] = {}
    for part, examples in parts.items():
        most = confusions if part == CORPUS and confusions is not None else false_alarms
        most = (allow or {}).get(part, most)
        goal = Goal(kind="false_alarms", value=most)
        hours = examples.counts * hop / 3600
        found = fit_thresholds(examples, calibration, goal, hours, names, draws=0, quiet=True)
        for name in names:
            row = found[name] | {"of": part}
            if name not in rows or row["threshold"] > rows[name]["threshold"]:
                rows[name] = row
    for name, row in rows.items():
        held = min(max(row["threshold"], least), greatest)
        if held != row["threshold"]:
            of = LEAST if held > row["threshold"] else GREATEST
            rows[name] = {"threshold": held, "measured": None, "of": of}
    return rows


def make_quiet(
    model: str | Path,
    data: Path,
    unknown: Path,
    out: Path,
    *,
    false_alarms: float,
    confusions: float | None = None,
    allow: Mapping[str, float] | None = None,
    least: float = 0.0,
    greatest: float = 2.0,
    folds: Path | None = None,
    without: Sequence[str] = (),
    **options: Any,
) -> Artifact:
    """Write a model once more, with such thresholds.

    Args:
        model: name or path.
        data: the pack of its corpus.
        unknown: a pack with a split "choose" and the attribute kind, as of examples/make_unknown.py.
        out: the new folder.
        false_alarms: windows an hour that may pass, of each label in each kind of sound.
        confusions: the same of the corpus's clips; None is as many.
        allow: the same of some kinds of sound.
        least: no threshold is below this one.
        greatest: and none above this one.
        folds: what benchmarks/esc50_folds.py wrote; None asks the model itself about clips new to it.
        without: kinds of unknown sound that have no say.
        **options: of the runner, as "threads".

    Raises:
        ValueError: as `corpus_examples`, there is no such split or kind, or numbers make no sense.

    >>> paths = [Path("out") / name for name in ("esc50", "unknown", "quiet")]
    >>> make_quiet("default", *paths, false_alarms=2).thresholds[0]  # doctest: +SKIP
    0.41
    """
    allow = dict(allow or {})
    if not all(rate > 0 for rate in (false_alarms, confusions or false_alarms, *allow.values())):
        raise ValueError(f"false alarms are {false_alarms}, {confusions}, {allow}; expected more than 0 each")
    if least > greatest:
        raise ValueError(
            f"least is {least:g} and greatest {greatest:g}; expected the greatest above the least"
        )
    if both := sorted(set(allow) & set(without)):
        raise ValueError(f"{both[0]!r} is to have a number and no say; leave out one of the two")
    artifact, corpus, sounds = load_artifact(model), Pack(data), Pack(unknown)
    known, clips = corpus_examples(artifact, corpus, folds, **options)
    kinds = unknown_examples(artifact, sounds, CHOOSE, **options)
    if not kinds or (strange := sorted({*without, *allow} - set(kinds))):
        there = f"no kind {strange[0]!r}; there are: {', '.join(kinds)}" if kinds else f"no split {CHOOSE!r}"
        raise ValueError(f"{unknown}: {there}")
    parts = {CORPUS: known, **{kind: kinds[kind] for kind in kinds if kind not in without}}
    hop = artifact.hop / artifact.rate
    asked: dict[str, Any] = {
        "false_alarms": false_alarms,
        "confusions": confusions,
        "allow": allow,
        "least": least,
        "greatest": greatest,
        "hop": hop,
    }
    rows = quiet_thresholds(parts, artifact.calibration, artifact.labels, **asked)
    heard = sum(len(part.starts) for part in kinds.values())
    about = {
        "by": "`python -m auricle.recipes.quiet`",
        "method": KEEP,
        "pack": f"{corpus.path.name}, and on its own scores of {heard} unknown sounds",
        "clips": len(known.starts),
        "recordings": len(np.unique(known.groups)),
        "hours": len(known.logits) * hop / 3600,
        "out_of_fold": 0 if folds is None else len(list(folds.glob("fold*/run/last"))),
        "goal": {"false_alarms": max(false_alarms, confusions or 0)},  # of all sounds but `of_kinds`
        "of_unknown": false_alarms,
        "of_corpus": false_alarms if confusions is None else confusions,
        "of_kinds": allow,
        "least": least,
        "greatest": greatest,
        "goal_hop": hop,
        "windows_of_a_clip": int(max(part.counts.max() for part in parts.values())),
        "thresholds": rows,
    }
    if folds is None:  # so that `evaluate` knows what thresholds were fitted to
        about |= {"pack_fingerprint": corpus.fingerprint, "splits": None, "where": {}, "subset": None}
        del about["out_of_fold"]
    if artifact.calibration is not None:  # its scores are fitted to what they were fitted to
        told = artifact.metrics.get("calibration", {})
        told = told.get("scores_of", told)
        about["scores_of"] = {name: told[name] for name in KEPT if name in told}
    thresholds = [rows[name]["threshold"] for name in artifact.labels]
    return save_changed(
        artifact, out, thresholds=thresholds, metrics={**artifact.metrics, "calibration": about}
    )


def _kind_and_rate(text: str) -> tuple[str, float]:
    kind, _, rate = text.partition("=")
    return kind, float(rate)


def main() -> None:
    """Command line of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="default", help="name or path; default: the one that is bundled")
    for name, what in (
        ("data", "pack of the corpus"),
        ("unknown", "pack of unknown sounds"),
        ("out", "the new folder"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=what)
    parser.add_argument("--folds", type=Path, help="what benchmarks/esc50_folds.py wrote")
    parser.add_argument("--false-alarms", type=float, required=True, help="windows an hour, label and kind")
    parser.add_argument("--confusions", type=float, help="the same in the corpus's clips, at first as many")
    parser.add_argument("--allow", type=_kind_and_rate, action="append", default=[], metavar="KIND=N",
                        help="the same in this kind of sound")  # fmt: skip
    parser.add_argument("--least", type=float, default=0.0, help="no threshold is below this one")
    parser.add_argument("--greatest", type=float, default=2.0, help="no threshold is above this one")
    parser.add_argument("--without", action="append", default=[], metavar="KIND", help="that has no say")
    parser.add_argument("--threads", type=int)
    given = vars(parser.parse_args())
    made = make_quiet(**given | {"allow": dict(given["allow"])})
    for name, row in made.metrics["calibration"]["thresholds"].items():
        print(f"{row['threshold']:6.3f}  {name}  (of {row['of']})")
    print(made.path)


if __name__ == "__main__":
    main()
