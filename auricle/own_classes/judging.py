"""Folds by recording, and a classifier judged on what it never heard; its penalty chosen inside the rest.

Shape letters: N clips, K columns of targets, W windows, F folds, P penalties.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from auricle.linear import PENALTIES, Axes, Linear, clip_loss, fit_path, principal_axes

ENOUGH = 1e-5  # of the gradient, where fits are compared; what is saved is solved to the last digits
USUAL = 1e-3  # penalty, where nothing can choose one
PATIENCE = 2  # weaker penalties that are tried after the best


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What cross-validation gives.

    Args:
        scores: (N, K) of each clip, by the classifier that did not hear its fold.
        penalties: (F,) chosen for each fold inside the others.
        penalty: chosen for all clips, by all folds.
        losses: penalty -> mean cross-entropy out of fold; of those that were tried.
    """

    scores: np.ndarray
    penalties: tuple[float, ...]
    penalty: float
    losses: dict[float, float]


def make_folds(recordings: np.ndarray, targets_NK: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """(N,) the fold of each clip: a recording lies in one, and each has about as many clips of every class.

    Recordings go one by one, those of rare classes first, to the fold that has fewest of their class, of
    several such to the smallest; between equals a hash of name and seed decides.

    Args:
        recordings: (N,) names.
        targets_NK: (N, K) bool.
        count: of folds, at least 2.
        seed: of the hash.

    Raises:
        ValueError: fewer than two folds, or fewer recordings than folds.

    >>> make_folds(np.array(["a", "a", "b", "c", "d"]), np.eye(2)[[0, 0, 0, 1, 1]], 2).tolist()
    [0, 0, 1, 1, 0]
    """
    names, members = np.unique(recordings, return_inverse=True)
    if count < 2 or len(names) < count:
        raise ValueError(f"folds is {count}; expected 2 at least, at most the {len(names)} recordings")
    held = np.zeros((len(names), targets_NK.shape[1] + 1))  # clips of each class, and all, of a recording
    np.add.at(held, members, np.hstack([targets_NK, np.ones((len(targets_NK), 1))]))
    totals = np.maximum(held.sum(axis=0), 1)
    rarest = np.array(
        [min([totals[k] for k in np.flatnonzero(row[:-1])], default=totals[-1]) for row in held]
    )
    class_of = np.array(
        [min(np.flatnonzero(row[:-1]), key=lambda k: (totals[k], k), default=-1) for row in held]
    )
    order = sorted(
        range(len(names)), key=lambda r: (rarest[r], class_of[r], -held[r, -1], _hash(str(names[r]), seed))
    )
    fold_of, filled = np.empty(len(names), np.int64), np.zeros((count, held.shape[1]))
    for recording in order:
        column = class_of[recording]  # -1 is the last: all clips
        fold_of[recording] = min(range(count), key=lambda f: (filled[f, column], filled[f, -1], f))
        filled[fold_of[recording]] += held[recording]
    return fold_of[members]


def _hash(name: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).hexdigest()


def cross_validate(
    rows_WD: np.ndarray,
    owners_W: np.ndarray,
    targets_NK: np.ndarray,
    folds_N: np.ndarray,
    *,
    kind: str,
    penalties: Sequence[float] = PENALTIES,
) -> Judged:
    """Scores out of fold; each fold's penalty is chosen on the others, by the cross-entropy of their clips.

    For every two folds a classifier is fitted without both: it says which penalty to take for the one, judged
    on the other, and the reverse. A clip's score is the mean over its windows, as `auricle tag` has it.

    Args:
        rows_WD: embeddings of all windows.
        owners_W: the clip of each, rising.
        targets_NK: as `auricle.linear.fit_linear` takes them.
        folds_N: the fold of each clip, from 0 on.
        kind: "one" or "several".
        penalties: to choose from, strongest first.

    Raises:
        ValueError: a fold would leave nothing to learn from.

    >>> rows = np.array([[0.0], [1.0]] * 6)
    >>> judged = cross_validate(rows, np.arange(12), np.eye(2)[[0, 1] * 6], np.arange(12) // 4, kind="one")
    >>> judged.scores.argmax(1).tolist()
    [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    """
    axes, count = principal_axes(rows_WD), int(folds_N.max()) + 1
    outside = [(fold,) for fold in range(count)]
    left_out = outside if count < 3 else outside + list(combinations(range(count), 2))
    paths = {
        folds: fit_path(
            axes,
            targets_NK[owners_W],
            kind=kind,
            penalties=penalties,
            weights_N=window_weights(owners_W, ~np.isin(folds_N, folds)),
            tolerance=ENOUGH,
        )
        for folds in left_out
    }
    inner_PF: list[np.ndarray] = []  # loss inside the rest, by the fold that is kept out of it
    whole_P: list[float] = []
    scores_PNK: list[np.ndarray] = []
    for _ in penalties:
        inner_F, counts_F = np.zeros(count), np.zeros(count)
        scores_NK = np.empty(targets_NK.shape)
        for folds, path in paths.items():
            found = next(path)
            for fold in folds:
                there = np.flatnonzero(folds_N == fold)
                scores = clip_means(found, rows_WD, owners_W, there)
                if len(folds) == 1:
                    scores_NK[there] = scores
                    continue
                other = folds[0] if fold == folds[1] else folds[1]
                inner_F[other] += clip_loss(scores, targets_NK[there], kind).sum()
                counts_F[other] += len(there)
        losses_N = clip_loss(scores_NK, targets_NK, kind)
        whole_P.append(float(losses_N.mean()))
        scores_PNK.append(scores_NK)
        # With two folds there is no third to choose by: the usual penalty counts for both.
        unusual = abs(len(inner_PF) - int(np.argmin(np.abs(np.log(np.array(penalties) / USUAL)))))
        inner_PF.append(inner_F / counts_F if counts_F.all() else np.full(count, float(unusual)))
        if all(
            len(whole_P) - 1 - int(np.argmin(seen)) >= PATIENCE for seen in (*np.array(inner_PF).T, whole_P)
        ):
            break
    chosen_F = np.argmin(np.array(inner_PF), axis=0)
    scores_NK = np.array(scores_PNK)[chosen_F[folds_N], np.arange(len(folds_N))]
    return Judged(
        scores=scores_NK,
        penalties=tuple(float(penalties[p]) for p in chosen_F),
        penalty=float(penalties[int(np.argmin(whole_P))]),
        losses=dict(zip(map(float, penalties), whole_P, strict=False)),
    )


def fit_examples(
    rows_WD: np.ndarray,
    owners_W: np.ndarray,
    targets_NK: np.ndarray,
    *,
    kind: str,
    penalty: float,
    clips: np.ndarray | None = None,
) -> Linear:
    """The classifier of all clips, or of some (a mask), solved to its minimum; each clip counts the same.

    >>> found = fit_examples(np.array([[0.0], [1.0]]), np.arange(2), np.eye(2), kind="one", penalty=0.1)
    >>> found.weights.shape
    (1, 2)
    """
    used = np.ones(len(targets_NK), bool) if clips is None else clips
    kept = used[owners_W]
    axes: Axes = principal_axes(rows_WD[kept])
    weights = window_weights(owners_W, used)[kept]
    return next(
        fit_path(axes, targets_NK[owners_W[kept]], kind=kind, penalties=(penalty,), weights_N=weights)
    )


def window_weights(owners_W: np.ndarray, used_N: np.ndarray) -> np.ndarray:
    """(W,) one over the number of windows of the clip; 0 for clips that are not used.

    >>> window_weights(np.array([0, 0, 1, 2]), np.array([True, True, False]))
    array([0.5, 0.5, 1. , 0. ])
    """
    return used_N[owners_W] / np.bincount(owners_W)[owners_W]


def clip_means(found: Linear, rows_WD: np.ndarray, owners_W: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """(len(clips), K) scores of some clips: the mean over their windows.

    >>> halves = Linear(np.zeros((1, 1)), np.zeros(1), "several", 1.0, 0.0, 0.0)
    >>> clip_means(halves, np.ones((3, 1)), np.array([0, 0, 1]), np.array([1]))
    array([[0.5]])
    """
    windows = np.flatnonzero(np.isin(owners_W, clips))
    owners = np.searchsorted(clips, owners_W[windows])
    counts = np.bincount(owners, minlength=len(clips))
    sums = np.add.reduceat(found.scores(rows_WD[windows]), np.cumsum(counts) - counts, axis=0)
    return np.asarray(sums / counts[:, None])
