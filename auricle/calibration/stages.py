"""A calibration fitted to a model's windows and its clips, and how good its scores are then.

Two maps, one after the other. That of windows is fitted to each window with its clip's labels, the windows of
a clip together counting as one: of the windows that score 0.8, eight in ten are in clips with the label. That
of clips is fitted to what the model's `pooling` makes of a clip's windows' scores, at first their mean: a
sound may fill one window of many, and means of probabilities are too cautious (Ranjan and Gneiting,
"Combining probability forecasts", 2010).

Shape letters: W windows, C clips, K labels of the model, S labels that model and data share.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from auricle.calibration.fitting import fit_affine, fit_isotonic, smoothed
from auricle.evaluation.reliability import reliability_figures
from auricle.probabilities import as_function
from auricle.runners.windows import logit, sigmoid

METHODS = ("affine", "temperature", "isotonic")
# Below so many positives a label's own map is worse than that of all labels together.
FEWEST = {"affine": 5, "temperature": 5, "isotonic": 30}
STRENGTH = 8.0  # with which labels are drawn towards the pooled fit, see `fit_affine`
VALUES = 2**24  # logits looked at together
GRID, FAR = 64, 60.0  # pooled logits are rounded to 1/64, and cut at 60 either way
PARTS = 5  # of the recordings, for figures of clips that the calibration was not fitted to
SAME = {"x": [-1.0, 1.0], "y": [-1.0, 1.0]}  # a rising map that changes nothing
FURTHEST = 30.0  # logit of a clip's pooled score, either way: it may be 0 or 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """What a calibration is fitted to: a model's logits of the windows of clips, and the clips' labels."""

    logits: np.ndarray  # (W, S) float32, clip after clip
    starts: np.ndarray  # (C,) each clip's first window
    targets: np.ndarray  # (C, S) bool
    known: np.ndarray  # (C, S) bool, False where nobody knows whether the label holds
    groups: np.ndarray  # (C,) int, the recording that each clip is of
    pooling: str = "mean"  # how windows' scores become a clip's

    @property
    def counts(self) -> np.ndarray:
        """(C,) how many windows each clip has."""
        return np.diff(np.append(self.starts, len(self.logits)))

    @property
    def owners(self) -> np.ndarray:
        """(W,) the clip of each window."""
        return np.repeat(np.arange(len(self.starts)), self.counts)

    def blocks(self) -> Iterator[slice]:
        """Labels that are looked at together."""
        step = max(1, VALUES // max(1, len(self.logits)))
        for first in range(0, self.logits.shape[1], step):
            yield slice(first, min(first + step, self.logits.shape[1]))


def fit_stages(
    examples: Examples, method: str, least: int, chosen_C: np.ndarray | None = None
) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    """A calibration of the shared labels, the pooled one of a single label, and which labels took that one.

    A label without any example in all clips keeps its scores: what fits the others says nothing of it.

    Args:
        examples: what to fit.
        method: one of `METHODS`.
        least: positives and negatives that a label must have for a map of its own.
        chosen_C: (C,) bool, the clips to fit to; None takes all.

    Returns:
        (calibration of S labels, calibration of one label, (S,) bool).

    >>> z = np.linspace(-4, 4, 40, dtype=np.float32)[:, None]
    >>> some = Examples(logits=z, starts=np.arange(40), targets=z > 1, known=z < 9, groups=np.arange(40))
    >>> calibration, pooled, lent = fit_stages(some, "affine", 5)
    >>> calibration["kind"], "clips" in calibration, lent
    ('affine', False, array([False]))
    """
    chosen = np.ones(len(examples.starts), bool) if chosen_C is None else chosen_C
    known = examples.known & chosen[:, None]
    positives = (examples.targets & known).sum(axis=0)
    negatives = (~examples.targets & known).sum(axis=0)
    heard = with_examples(examples)
    lent = (np.minimum(positives, negatives) < least) & heard
    weights_C, owners = 1 / examples.counts, examples.owners

    def windows(part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        weights = known[:, part] * weights_C[:, None]
        logits = np.asarray(examples.logits[:, part], np.float64)
        return logits, examples.targets[:, part][owners], weights[owners]

    calibration, pooled = _fit(windows, examples, method, lent, heard)
    if examples.counts.max() == 1:
        return calibration, pooled, lent
    scored = pooled_scores(examples, calibration)

    def clips(part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return as_logits(scored[:, part]), examples.targets[:, part], known[:, part].astype(np.float64)

    calibration["clips"], pooled["clips"] = _fit(clips, examples, method, lent, heard)
    return calibration, pooled, lent


def with_examples(examples: Examples) -> np.ndarray:
    """(S,) bool, labels that a clip has for sure.

    >>> z, no = np.zeros((2, 2), np.float32), np.zeros((2, 2), bool)
    >>> some = Examples(logits=z, starts=np.arange(2), targets=~no, known=no | [True, False], groups=z[:, 0])
    >>> with_examples(some).tolist()
    [True, False]
    """
    return (examples.targets & examples.known).any(axis=0)


def _fit(stage: Any, examples: Examples, method: str, lent: np.ndarray, heard: np.ndarray) -> tuple[Any, Any]:
    """One map: that of the labels, and that of all labels together."""
    bins = 2 * round(FAR * GRID) + 1
    sums = np.zeros((2, bins))  # weights of what is not so, and what is
    for part in examples.blocks():
        logits, targets, weights = stage(part)
        weights = weights * heard[part]
        places = np.rint(np.clip(logits, -FAR, FAR) * GRID).astype(np.int64) + bins // 2
        for row, there in enumerate((~targets, targets)):
            sums[row] += np.bincount(places.ravel(), (weights * there).ravel(), bins)
    rows, filled = np.nonzero(sums)
    z, true, weight = (filled - bins // 2) / GRID, rows == 1, sums[rows, filled]
    sloped, shifted = method != "isotonic", method != "temperature"
    # Scores that tell all examples apart would have no end of a scale; smoothed targets end it, and labels
    # are drawn towards this map. Their own targets stay: of 6 positives, Platt's are seven parts in eight.
    targets = smoothed(true[:, None], weight[:, None])
    pair = fit_affine(z[:, None], targets, weight[:, None], offset=shifted)
    scale, offset = (value.item() for value in pair)
    if sloped:
        scales, offsets = np.where(heard, scale, 1.0), np.where(heard, offset, 0.0)
        for part in examples.blocks():
            own = np.flatnonzero((heard & ~lent)[part])
            logits, targets, weights = (array[:, own] for array in stage(part))
            scales[part][own], offsets[part][own] = fit_affine(
                logits, targets, weights, offset=shifted, around=(scale, offset), strength=STRENGTH
            )
        fitted = {"kind": "affine", "scale": scales.tolist(), "offset": offsets.tolist()}
        return fitted, {"kind": "affine", "scale": [scale], "offset": [offset]}
    everything = fit_isotonic(z, true, weight, scale)  # its ends go on as the affine map does
    labels = [everything if there else dict(SAME) for there in heard.tolist()]
    for part in examples.blocks():
        logits, targets, weights = stage(part)
        for place in np.flatnonzero((heard & ~lent)[part]).tolist():
            one = (logits[:, place], targets[:, place], weights[:, place])
            labels[part.start + place] = fit_isotonic(*one, scale)
    return {"kind": "isotonic", "labels": labels}, {"kind": "isotonic", "labels": [everything]}


def pooled_scores(examples: Examples, calibration: Mapping[str, Any] | None) -> np.ndarray:
    """(C, S) float32, what the model's pooling makes of the calibrated scores of each clip's windows.

    >>> z, no = np.zeros((3, 1), np.float32), np.zeros((2, 1), bool)
    >>> two = Examples(logits=z, starts=np.array([0, 1]), targets=no, known=~no, groups=np.arange(2))
    >>> pooled_scores(two, None).ravel().tolist()
    [0.5, 0.5]
    """
    found = np.empty(examples.targets.shape, np.float32)
    for part in examples.blocks():
        scores = sigmoid(as_function(taken(calibration, part))(examples.logits[:, part]))
        if examples.pooling == "max":
            found[:, part] = np.maximum.reduceat(scores, examples.starts)
            continue
        weights = np.exp(scores) if examples.pooling == "attention" else np.ones_like(scores)
        sums = np.add.reduceat(scores * weights, examples.starts)
        found[:, part] = sums / np.add.reduceat(weights, examples.starts)
    return found


def clip_scores(examples: Examples, calibration: Mapping[str, Any] | None) -> np.ndarray:
    """(C, S) float32, scores of the clips, as `tag` and `evaluate` give them."""
    found = pooled_scores(examples, calibration)
    if calibration is not None and "clips" in calibration:
        for part in examples.blocks():
            mapped = as_function(taken(calibration["clips"], part))
            found[:, part] = sigmoid(mapped(logit(found[:, part].astype(np.float64))))
    return found


def as_logits(scores: np.ndarray) -> np.ndarray:
    """Logits, none of them infinite."""
    return np.clip(logit(scores.astype(np.float64)), -FURTHEST, FURTHEST)


def taken(calibration: Mapping[str, Any] | None, part: slice) -> dict[str, Any] | None:
    """The map of some labels alone, without that of clips."""
    if calibration is None:
        return None
    return {
        name: value if name == "kind" else value[part]
        for name, value in calibration.items()
        if name != "clips"
    }


def placed(calibration: Mapping[str, Any], columns: list[int], num_classes: int) -> dict[str, Any]:
    """A calibration of all K labels: the shared ones' own, and for the others one that changes nothing.

    >>> placed({"kind": "affine", "scale": [2.0], "offset": [1.0]}, [1], 2)
    {'kind': 'affine', 'scale': [1.0, 2.0], 'offset': [0.0, 1.0]}
    """
    same = {"scale": 1.0, "offset": 0.0, "labels": SAME}
    found: dict[str, Any] = {}
    for name, value in calibration.items():
        if name == "kind":
            found[name] = value
        elif name == "clips":
            found[name] = placed(value, columns, num_classes)
        else:
            every = [same[name]] * num_classes
            for column, own in zip(columns, value, strict=True):
                every[column] = own
            found[name] = every
    return found


def held_out_scores(examples: Examples, method: str, least: int, seed: int) -> np.ndarray:
    """(C, S) scores of the clips, each by a calibration fitted to other recordings.

    The recordings fall into five parts by chance; each part's clips are scored by what the four others gave.
    """
    recordings, which = np.unique(examples.groups, return_inverse=True)
    part_of = np.random.default_rng(seed).permutation(len(recordings)) % PARTS
    scores = np.empty(examples.targets.shape, np.float32)
    for part in range(PARTS):
        outside = part_of[which] == part
        if outside.any():
            fitted, _, _ = fit_stages(examples, method, least, ~outside)
            scores[outside] = clip_scores(examples, fitted)[outside]
    return scores


def figures_of(scores_CS: np.ndarray, examples: Examples) -> dict[str, float]:
    """How far clips' scores are from probabilities, see `auricle.evaluation.reliability`."""
    classes, rows = np.nonzero((examples.targets & examples.known).T)
    bounds = np.searchsorted(classes, np.arange(scores_CS.shape[1] + 1))
    row, hidden = np.nonzero(~examples.known)
    figures, _, _ = reliability_figures(
        scores_CS, (bounds, rows), (row, hidden), examples.groups, range(scores_CS.shape[1])
    )
    return {name: figures[name] for name in ("ece", "ece_classwise", "ece_top", "brier", "log_loss")}
