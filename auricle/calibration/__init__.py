"""A model whose scores are probabilities, and which knows from which score on a label is there.

Fitted to clips of a pack that the model was not trained on. Sources: see `fitting`, `stages`, `thresholds`.

Shape letters: W windows, C clips, K labels of the model, S labels that model and pack share.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from auricle.artifact import Artifact, load_artifact, save_changed
from auricle.calibration.choosing import count_runs, fit_thresholds
from auricle.calibration.stages import (
    FEWEST,
    METHODS,
    Examples,
    clip_scores,
    figures_of,
    fit_stages,
    held_out_scores,
    placed,
    with_examples,
)
from auricle.calibration.thresholds import FEWEST as FEWEST_FOR_THRESHOLDS
from auricle.calibration.thresholds import Goal
from auricle.evaluation.choice import match_labels, positives_of, select_clips, unknown_of
from auricle.evaluation.fitted import KEPT, clips_calibrated_with
from auricle.evaluation.heard import what_was_heard
from auricle.evaluation.scoring import open_model, stream_logits
from auricle.pooling import pooling_of
from auricle.progress import Progress
from auricle.shards import Pack
from auricle.thresholds import NEVER

__all__ = ["KEEP", "METHODS", "Goal", "calibrate", "count_runs", "fit_thresholds", "gather"]

KEEP = "keep"  # the calibration that the model has, for thresholds alone


def calibrate(
    model: str | Path,
    data: str | Path | Pack,
    out: str | Path,
    *,
    method: str = "affine",
    goal: Goal | None = None,
    splits: Sequence[str] | None = None,
    where: Mapping[str, tuple[str, ...]] | None = None,
    subset: str | None = None,
    label_set: str = "labels",
    fewest: int | None = None,
    hop: float | None = None,
    draws: int | None = None,
    seed: int = 0,
    batch: int = 16,
    threads: int | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> Artifact:
    """Write a model once more, with a calibration and, for a goal, thresholds; the old one stays as it is.

    Clips that the model was trained on are left out, as far as it says which they are.

    Args:
        model: name or path.
        data: a pack's folder, its address, or a `Pack`.
        out: a new folder.
        method: "affine" (a scale and an offset for each label), "temperature" (a scale), "isotonic" (any
            rising map), or "keep": as the model is, for thresholds alone.
        goal: what thresholds are for; None leaves the new model without.
        splits: only clips of these splits; None takes all.
        where: attribute -> values; only clips that have one of them.
        subset: only clips of this subset of the pack.
        label_set: the labels to compare with.
        fewest: positives, and negatives, that a label must have for a map or a threshold of its own, in place
            of those of all labels together; None takes 5 (30 for isotonic) and 10. A label without any keeps
            the network's scores, and for a precision or a recall its threshold is never reached.
        hop: false alarms an hour are of recordings that are heard with a window every so many seconds; None
            takes the model's hop.
        draws: bootstrap draws of recordings, for the thresholds' uncertainty; None takes what is affordable.
        seed: of the draws and of the parts on which the calibration is judged.
        batch: windows scored at once.
        threads: of the runner; None takes every core.
        device: of the runner.
        quiet: show no progress.

    Returns:
        The new model. Its `metrics["calibration"]` says what was fitted to what, how good scores were
        "before" and are "after" (of clips whose recordings the calibration was not fitted to), and what each
        threshold does.

    Raises:
        ValueError: no such model, pack, split, label set or method; `out` is there already; no clip is left
            that the model was not trained on; no label is shared, or no label has examples enough; a hop
            without false alarms as the goal.

    >>> goal = Goal(kind="precision", value=0.9)
    >>> calibrate("default", "out/mine", "out/calibrated", goal=goal).thresholds[0]  # doctest: +SKIP
    0.41
    """
    _check_wishes(method, goal, hop)
    if Path(out).exists():
        raise ValueError(f"{out}: is there already; a calibrated model is a new one, name a new folder")
    pack = data if isinstance(data, Pack) else Pack(data)
    runner, artifact = open_model(load_artifact(model), pack, batch=batch, threads=threads, device=device)
    clips, heard, untold = _unheard(artifact, pack, select_clips(pack, splits, where, subset))
    columns = match_labels(artifact, pack, pack.label_names(label_set), label_set)
    ours = [column for column, _ in columns]
    about: dict[str, Any] = {
        "method": method,
        "pack": Path(pack.name).name,  # a model that is passed on tells nobody's folders
        "pack_fingerprint": pack.fingerprint,
        "label_set": label_set,
        "splits": None if splits is None else list(splits),
        "where": {name: list(values) for name, values in (where or {}).items()},
        "subset": subset,
        "clips": len(clips),
        "recordings": len(np.unique(pack.recordings[clips])),
        "hours": float(pack.lengths[clips].sum()) / pack.rate / 3600,
        "left_out_as_trained_on": heard,
        "training_not_told": list(untold),
        "labels_not_in_pack": [name for k, name in enumerate(artifact.labels) if k not in set(ours)],
    }
    with tempfile.TemporaryFile() as file:
        examples = gather(runner, pack, clips, label_set, columns, file, quiet=quiet)
        names = [artifact.labels[k] for k in ours]
        about["labels_without_examples"] = [names[k] for k in np.flatnonzero(~with_examples(examples))]
        calibration, whole = _part(artifact.calibration, ours), artifact.calibration
        if method != KEEP:
            least = FEWEST[method] if fewest is None else fewest
            _refuse_too_little(examples, least, label_set)
            old, (calibration, _, lent) = calibration, fit_stages(examples, method, least)
            whole = placed(calibration, ours, len(artifact.labels))
            about |= {
                "fewest": least,
                "labels_pooled": [names[k] for k in np.flatnonzero(lent)],
                "before": figures_of(clip_scores(examples, old), examples),  # as the model was
                "before_fitted_to": len(clips_calibrated_with(artifact, pack, clips, scores=True)),
                "after": figures_of(held_out_scores(examples, method, least, seed), examples),
            }
        elif artifact.calibration is not None:  # whose clips the scores are still fitted to
            told = artifact.metrics.get("calibration", {})
            told = told.get("scores_of", told)
            about["scores_of"] = {name: told[name] for name in KEPT if name in told}
        about["thresholds_left_out"] = goal is None and artifact.thresholds is not None
        thresholds = None
        if goal is not None:
            hours = pack.lengths[clips] / pack.rate / 3600
            if goal.kind == "false_alarms":  # an hour of a recording is as many windows as fit into it
                about["goal_hop"] = artifact.hop / artifact.rate if hop is None else float(hop)
                hours = examples.counts * about["goal_hop"] / 3600
            least = FEWEST_FOR_THRESHOLDS if fewest is None else fewest
            options: dict[str, Any] = {"fewest": least, "draws": draws, "seed": seed, "quiet": quiet}
            found = fit_thresholds(examples, calibration, goal, hours, names, **options)
            about |= {
                "goal": {goal.kind: goal.value},
                "windows_of_a_clip": int(examples.counts.max()),  # of 1, scores are of clips and windows
                "threshold_of_all": found.pop(""),
                "thresholds": found,
            }
            thresholds = [found[name]["threshold"] if name in found else NEVER for name in artifact.labels]
    return save_changed(
        artifact,
        out,
        calibration=whole,
        thresholds=thresholds,
        metrics={**artifact.metrics, "calibration": about},
    )


def _check_wishes(method: str, goal: Goal | None, hop: float | None) -> None:
    if method not in (*METHODS, KEEP):
        raise ValueError(f"method is {method!r}; expected one of {', '.join((*METHODS, KEEP))}")
    if method == KEEP and goal is None:
        raise ValueError("method keep changes no score; ask for thresholds, or choose another method")
    if hop is not None and (goal is None or goal.kind != "false_alarms" or not 0 < hop < np.inf):
        raise ValueError(f"hop is {hop:g}; expected seconds above 0, and false alarms an hour as the goal")


def gather(
    runner: Any,
    pack: Pack,
    clips: np.ndarray,
    label_set: str,
    columns: list[tuple[int, int]],
    file: BinaryIO,
    *,
    quiet: bool = False,
) -> Examples:
    """A model's logits of the windows of clips, in a file, and what is known of the clips.

    Args:
        runner: as `auricle.runners.load_runner` gives it.
        pack: a pack.
        clips: (C,) positions in it.
        label_set: its labels.
        columns: (column in the model, column in the pack) of each shared label.
        file: an open, empty file, to be kept open.
        quiet: show no progress.

    >>> gather(runner, pack, np.arange(10), "labels", [(0, 0)], open("x", "w+b"))  # doctest: +SKIP
    """
    ours, theirs = (list(side) for side in zip(*columns, strict=True))
    starts = np.zeros(len(clips), np.int64)
    windows, seen = 0, -1
    with Progress(len(clips), "scoring", unit="clips", quiet=quiet) as progress:
        for logits, owners in stream_logits(runner, pack, clips):
            if not np.isfinite(logits).all():
                raise ValueError(
                    f"{runner.artifact.path}: gives a score that is no number; see auricle check"
                )
            file.write(np.ascontiguousarray(logits[:, ours], np.float32).tobytes())
            for owner in owners:
                if owner != seen:
                    starts[owner], seen = windows, owner
                    progress.advance()
                windows += 1
    file.flush()
    bounds, rows = positives_of(pack, clips, label_set, theirs)
    targets = np.zeros((len(clips), len(theirs)), bool)
    targets[rows, np.repeat(np.arange(len(theirs)), np.diff(bounds))] = True
    known = np.ones(targets.shape, bool)
    known[unknown_of(pack, clips, label_set, theirs)] = False
    groups = np.unique(pack.recordings[clips], return_inverse=True)[1]
    logits = np.memmap(file, np.float32, "r", shape=(windows, len(ours)))
    rule = pooling_of(runner.artifact)
    return Examples(logits=logits, starts=starts, targets=targets, known=known, groups=groups, pooling=rule)


def _unheard(artifact: Artifact, pack: Pack, clips: np.ndarray) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """The clips that the model was not trained on, at least one; how many it was; why it may not say so."""
    heard = what_was_heard(artifact, pack, clips)
    left = np.setdiff1d(clips, heard.clips)
    if not len(left):
        raise ValueError(
            f"{pack.path}: the model was trained on these clips, or on some of them: what it scores "
            "on them says nothing of others; choose a --split that it was not trained on, or other recordings"
        )
    return left, len(clips) - len(left), heard.untold


def _refuse_too_little(examples: Examples, least: int, label_set: str) -> None:
    positives = int((examples.targets & examples.known).sum())
    negatives = int((~examples.targets & examples.known).sum())
    if min(positives, negatives) < max(least, 1):
        raise ValueError(
            f"label set {label_set!r}: {positives} positives and {negatives} negatives in these clips, of "
            f"all shared labels together; a calibration takes {max(least, 1)} of each at least"
        )


def _part(calibration: Mapping[str, Any] | None, columns: list[int]) -> dict[str, Any] | None:
    """A calibration of some labels alone."""
    if calibration is None:
        return None
    return {
        name: value
        if name == "kind"
        else _part(value, columns)
        if name == "clips"
        else [value[column] for column in columns]
        for name, value in calibration.items()
    }
