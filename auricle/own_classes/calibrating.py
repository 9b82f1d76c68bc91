"""A calibration of own classes, fitted to scores out of fold: no clip is scored by what has learned from it.

It is judged by folds within folds. For each fold, classifiers that heard neither it nor one of the others
score that other one; a calibration is fitted to these scores, and maps those of the fold, by the classifier
that heard all the others. So neither the classifier nor its calibration has met the clips of a figure.

Shape letters: N clips, W windows, D values of an embedding, K labels, F folds.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from auricle.calibration.stages import FEWEST, clip_scores, figures_of, fit_stages
from auricle.calibration.stages import Examples as Scored
from auricle.heads import shown_logits
from auricle.linear import fit_path, principal_axes
from auricle.own_classes.examples import Examples
from auricle.own_classes.judging import ENOUGH, Judged, window_weights

METHOD = "affine"
DECIDING = ("ece", "log_loss")  # neither may be worse


def calibrate_own(
    examples: Examples, rows_WD: np.ndarray, owners_W: np.ndarray, folds_N: np.ndarray, judged: Judged
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """A calibration of a classifier of all clips, and what is known of it; None where it would not be better.

    Args:
        examples: N clips.
        rows_WD: embeddings of all windows.
        owners_W: the clip of each, rising.
        folds_N: the fold of each clip, from 0 on.
        judged: by these folds.

    Returns:
        (what `calibration` in model.json holds, or None, and `metrics["calibration"]`). The second says in
        "stored" whether there is one, and in "too_few" why none was fitted: a fold, or what is left without
        it, has too few examples. One is kept where neither ECE nor log loss is worse with it.

    >>> calibrate_own(examples, rows, owners, folds, judged)[1]["after"]["ece"]  # doctest: +SKIP
    0.012
    """
    least, count = FEWEST[METHOD], int(folds_N.max()) + 1
    if count < 3:
        return None, {"stored": False, "too_few": "three folds are needed, there are two"}
    for fold in range(count):
        left = examples.targets[folds_N != fold]
        if min(left.sum(), (~left).sum()) < least:
            return None, {
                "stored": False,
                "too_few": f"{left.sum()} of {left.size} labels hold outside a fold",
            }
    teach = _Folds(examples, rows_WD, owners_W, folds_N)
    whole = teach.scored(np.stack([teach.logits((fold,), judged.penalty) for fold in range(count)]))
    calibration, _, lent = fit_stages(whole, METHOD, least)
    before = np.empty(examples.targets.shape, np.float32)
    after = np.empty_like(before)
    for fold, penalty in enumerate(judged.penalties):
        # Windows of the fold by all others; those of another fold by what heard neither.
        inner = teach.scored(
            np.stack([teach.logits(tuple({fold, other}), penalty) for other in range(count)])
        )
        there = folds_N == fold
        fitted, _, _ = fit_stages(inner, METHOD, least, ~there)
        before[there] = clip_scores(inner, None)[there]
        after[there] = clip_scores(inner, fitted)[there]
    figures = {"before": figures_of(before, whole), "after": figures_of(after, whole)}
    stored = all(figures["after"][name] <= figures["before"][name] for name in DECIDING)
    about = {
        "stored": stored,
        "method": METHOD,
        "pack": examples.pack.name.rpartition("/")[2],
        "pack_fingerprint": examples.pack.fingerprint,
        "label_set": examples.label_set,
        "clips": len(examples.clips),
        "recordings": len(np.unique(examples.recordings)),
        "out_of_fold": count,
        "fewest": least,
        "labels_pooled": [examples.labels[k] for k in np.flatnonzero(lent)],
        **figures,
    }
    return calibration if stored else None, about


def in_words(about: Mapping[str, Any]) -> str:
    """What became of a calibration, in a line.

    >>> in_words({"stored": False, "too_few": "three folds are needed, there are two"})
    'no calibration: three folds are needed, there are two'
    """
    if "too_few" in about:
        return f"no calibration: {about['too_few']}"
    before, after = about["before"], about["after"]
    rises = f"ECE {before['ece']:.4f} before, {after['ece']:.4f} after"
    rises += f"; log loss {before['log_loss']:.4f} before, {after['log_loss']:.4f} after"
    if about["stored"]:
        return f"calibrated, each fold by what had not met it: {rises}"
    return f"no calibration, it makes scores worse: {rises}"


class _Folds:
    """Classifiers without some folds, and what they say of these; each is solved once."""

    def __init__(
        self, examples: Examples, rows_WD: np.ndarray, owners_W: np.ndarray, folds_N: np.ndarray
    ) -> None:
        self._examples, self._rows, self._owners, self._folds = examples, rows_WD, owners_W, folds_N
        self._axes = principal_axes(rows_WD)
        self._targets = examples.softmax_targets[owners_W]
        self._known: dict[tuple[tuple[int, ...], float], np.ndarray] = {}

    def logits(self, folds: tuple[int, ...], penalty: float) -> np.ndarray:
        """(W, K) logits as the saved model gives them, by a classifier that heard none of some folds."""
        key = (tuple(sorted(folds)), penalty)
        if key not in self._known:
            found = next(
                fit_path(
                    self._axes,
                    self._targets,
                    kind=self._examples.kind,
                    penalties=(penalty,),
                    weights_N=window_weights(self._owners, ~np.isin(self._folds, folds)),
                    tolerance=ENOUGH,
                )
            )
            self._known[key] = shown_logits(found, self._rows, len(self._examples.labels)).astype(np.float32)
        return self._known[key]

    def scored(self, logits_FWK: np.ndarray) -> Scored:
        """What a calibration is fitted to: the windows of each fold by that fold's own classifier."""
        count = len(self._examples.clips)
        logits = logits_FWK[self._folds[self._owners], np.arange(len(self._owners))]
        return Scored(
            logits=logits,
            starts=np.searchsorted(self._owners, np.arange(count)),
            targets=self._examples.targets,
            known=np.ones((count, len(self._examples.labels)), bool),
            groups=np.unique(self._examples.recordings, return_inverse=True)[1],
        )
