"""A linear classifier on a model's embeddings, which stay as they are, from examples to a saved model.

Shape letters: N clips.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import Artifact
from auricle.evaluation.heard import KEYS, training_keys, untold_in_words, what_was_heard
from auricle.fingerprint import chosen, fingerprint
from auricle.heads import embedder_of, save_head
from auricle.linear import Linear
from auricle.own_classes.calibrating import calibrate_own, in_words
from auricle.own_classes.config import BY_SPLIT, OwnClasses
from auricle.own_classes.copies import copies_in_words, count_copies
from auricle.own_classes.examples import Examples, embed_examples, open_examples
from auricle.own_classes.judging import USUAL, Judged, cross_validate, fit_examples, make_folds
from auricle.own_classes.report import DROPPED, drop_report, judge, write_report
from auricle.text import counted

SOME = 10  # clips of a class, below which one is warned
SHOWN = 5  # classes that a warning names


def train_own(
    source: str | Path,
    out: str | Path,
    config: OwnClasses | None = None,
    *,
    threads: int | None = None,
    quiet: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """From examples to a model in seconds: a linear classifier on a model's embeddings, solved exactly.

    Args:
        source: a folder of folders named by class, a manifest, or a pack.
        out: the run's folder: last/ (the model), report.md, report.json, out-of-fold/, confusion.png, and
            pack/ where the source is none.
        config: what is computed.
        threads: of the model that embeds.
        quiet: show no progress.
        tell: is told a line at a time what was found.

    Returns:
        The folder of the model.

    Raises:
        ValueError: as `open_examples`; no such model; folds that cannot be.

    >>> train_own("my sounds", "runs/mine")  # doctest: +SKIP
    PosixPath('runs/mine/last')
    """
    config, tell, began = config or OwnClasses(), tell or (lambda line: None), time.monotonic()
    run, embedder = Path(out), embedder_of(config.init_from)
    examples = prepare(source, run, embedder, config, tell, quiet)
    rows, owners = embed_examples(examples, embedder, stored=config.embeddings, threads=threads, quiet=quiet)
    embedded = time.monotonic()
    targets, folds = examples.softmax_targets, choose_folds(examples, config, tell)
    figures: dict[str, Any] = {}
    calibration, penalty = None, config.penalty or USUAL
    if folds is not None:
        judged = judge_frozen(rows, owners, targets, folds, examples.kind, config.penalty)
        penalty = judged.penalty
        figures = judge(examples, judged.scores, folds)
        figures["penalties"] = {
            "by_fold": list(judged.penalties),
            "kept": penalty,
            "losses": _named(judged.losses),
        }
        if config.calibrate:
            calibration, told = calibrate_own(examples, rows, owners, folds, judged)
            figures["calibration"] = told
    found = fit_examples(rows, owners, targets, kind=examples.kind, penalty=penalty)
    dropped = drop_report(run)
    path = save_own(run / "last", embedder, found, examples, config, figures, calibration)
    if folds is not None:
        title = f"{config.name or run.name}: {embedder.name}'s embeddings, a linear classifier"
        seconds = {"embedding": embedded - began, "classifier": time.monotonic() - embedded}
        write_report(run, examples, judged.scores, folds, figures | {"seconds": seconds}, title)
        tell(said(figures))
        if "calibration" in figures:
            tell(in_words(figures["calibration"]))
    elif dropped:
        tell(DROPPED)
    return path


def _lost_in_words(failures: Sequence[Mapping[str, str]]) -> str:
    """What is said of recordings that a pack could not read.

    >>> _lost_in_words([{"error": "a.wav: is empty"}] * 7)
    '7 recordings could not be read and are left out, e.g. a.wav: is empty'
    """
    left = "is left out" if len(failures) == 1 else "are left out"
    return f"{counted(len(failures), 'recording')} could not be read and {left}, e.g. {failures[0]['error']}"


def prepare(
    source: str | Path,
    run: Path,
    model: Artifact,
    config: OwnClasses,
    tell: Callable[[str], None],
    quiet: bool,
) -> Examples:
    """The examples, looked at, and what is to be said of them."""
    examples = open_examples(
        source,
        run / "pack",
        rate=model.rate,
        kind=config.kind,
        background=config.background,
        label_set=config.label_set,
        splits=config.splits,
        in_folds=config.folds not in ("0", BY_SPLIT),
        quiet=quiet,
    )
    if examples.pack.path == run / "pack" and examples.pack.failures:
        tell(_lost_in_words(examples.pack.failures))
    counts = examples.targets.sum(axis=0)
    few = [label for label, count in zip(examples.labels, counts, strict=True) if count < SOME]
    if few:
        named = f"{', '.join(few[:SHOWN])}{' ...' * (len(few) > SHOWN)}"
        tell(f"fewer than {SOME} clips of {named}: figures will be rough")
    folds = examples.splits if config.folds == BY_SPLIT else None
    if copies := copies_in_words(count_copies(examples, folds)):
        tell(copies)
    heard = what_was_heard(model, examples.pack, examples.clips)
    if known := len(heard.clips):
        tell(f"{model.name} was trained on {counted(known, 'clip')} of these: the report will be too good")
    if untold := untold_in_words(heard.untold):
        tell(untold)
    return examples


def choose_folds(examples: Examples, config: OwnClasses, tell: Callable[[str], None]) -> np.ndarray | None:
    """(N,) the fold of each clip; None where none are wanted.

    Raises:
        ValueError: the pack has fewer than two splits, or there are fewer recordings than folds.
    """
    if config.folds == "0":
        return None
    if config.folds == BY_SPLIT:
        names, folds = np.unique(examples.splits, return_inverse=True)
        if len(names) < 2:
            raise ValueError(f"folds=splits, but all clips are of one split, {str(names[0])!r}; set folds=5")
        return np.asarray(folds)
    recordings = [len(set(examples.recordings[has])) for has in examples.softmax_targets.T]
    count = min(int(config.folds), max(2, min(recordings)))
    classes = [*examples.labels, config.background or "clips without a label"]
    rarest = [name for name, many in zip(classes, recordings, strict=False) if many == min(recordings)]
    named = ", ".join([*rarest[:SHOWN], *["..."] * (len(rarest) > SHOWN)])
    if count < int(config.folds):
        of = named if len(rarest) < len(recordings) else "each class"
        tell(f"{count} folds, not {config.folds}: only {counted(min(recordings), 'recording')} of {of}")
    if min(recordings) < 2:
        tell(f"a class of one recording is unknown to the model that does not hear it: {named}")
    return make_folds(examples.recordings, examples.softmax_targets, count, config.seed)


def judge_frozen(
    rows: np.ndarray,
    owners: np.ndarray,
    targets: np.ndarray,
    folds: np.ndarray,
    kind: str,
    penalty: float | None,
) -> Judged:
    """`cross_validate`, with one penalty where it is given."""
    choice = {} if penalty is None else {"penalties": (penalty,)}
    return cross_validate(rows, owners, targets, folds, kind=kind, **choice)


def save_own(
    path: Path,
    embedder: Artifact,
    found: Linear,
    examples: Examples,
    config: OwnClasses,
    figures: Mapping[str, Any],
    calibration: Mapping[str, Any] | None = None,
) -> Path:
    """Write the model of a run."""
    save_head(
        path,
        embedder,
        found,
        examples.labels,
        name=config.name or path.parent.name,
        licence=config.licence or embedder.licence,
        training=described(examples, config, embedder)
        | {"penalty": found.penalty, "largest_derivative": found.gradient},
        calibration=calibration,
        metrics=flat(figures) | ({} if calibration is None else {"calibration": figures["calibration"]}),
        notes=f"A linear classifier on the embeddings of {embedder.name}, which were not trained on.",
    )
    return path


def described(examples: Examples, config: OwnClasses, model: Artifact) -> dict[str, Any]:
    """What the artifact says of how it was made."""
    settings = dataclasses.asdict(config)
    counts = examples.targets.sum(axis=0).tolist()
    return {
        "clips": len(examples.clips),
        "source_recordings": len(np.unique(examples.recordings)),
        "data": examples.pack.fingerprint,
        "audio": fingerprint(
            (examples.pack.samples(int(clip)) for clip in examples.clips[chosen(len(examples.clips))]),
            examples.pack.rate,
        ),
        KEYS: training_keys(examples.pack, examples.clips),
        "kind": examples.kind,
        "init_from": {"model": model.name, "fingerprint": model.fingerprint},
        "clips_by_class": dict(zip(examples.labels, counts, strict=True)),
        "config": {name: value for name, value in settings.items() if name not in ("init_from", "embeddings")}
        | {"train_splits": config.splits or None},  # by which `evaluate` knows the clips again
    }


def flat(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as a model's description has them.

    >>> flat({"accuracy": 0.5, "kind": "one", "intervals": {"accuracy": [0.4, 0.6]}, "by_class": {}})
    {'accuracy, out of fold': 0.5, 'accuracy, 95% interval': '0.400 to 0.600', 'per_class': {}}
    """
    kept: dict[str, Any] = {}
    for name in ("accuracy", "map", "auc"):
        if figures.get(name) is None or (name == "accuracy" and figures["kind"] != "one"):
            continue
        kept[f"{name}, out of fold"] = figures[name]
        low, high = figures.get("intervals", {}).get(name, (None, None))
        if low is not None and high is not None:
            kept[f"{name}, 95% interval"] = f"{low:.3f} to {high:.3f}"
    return kept | ({"per_class": figures["by_class"]} if "by_class" in figures else {})


def said(figures: Mapping[str, Any]) -> str:
    """One line of a judgement.

    >>> said({"accuracy": 0.5, "map": 0.6, "kind": "one", "clips": 9, "by_fold": [{}] * 3})
    'out of 3 folds, 9 clips: accuracy 0.500, mAP 0.600'
    """
    shown = []
    for name, text in {"accuracy": "accuracy", "map": "mAP"}.items():
        if figures.get(name) is None or (name == "accuracy" and figures["kind"] != "one"):
            continue
        low, high = figures.get("intervals", {}).get(name, (None, None))
        interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
        shown.append(f"{text} {figures[name]:.3f}{interval}")
    return f"out of {len(figures['by_fold'])} folds, {counted(figures['clips'], 'clip')}: {', '.join(shown)}"


def _named(losses: Mapping[float, float]) -> dict[str, float]:
    return {f"{penalty:g}": loss for penalty, loss in losses.items()}
