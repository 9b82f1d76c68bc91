"""Whether a model's calibration, or its settings for events, were fitted to clips that it is asked about.

Only in the very pack that they were fitted to: of others it is not looked at.

Shape letters: M clips asked about.
"""

from typing import Any

import numpy as np

from auricle.evaluation.choice import select_clips

KEPT = ("pack_fingerprint", "splits", "where", "subset")  # of a calibration, which clips it was fitted to


def clips_calibrated_with(artifact: Any, pack: Any, clips: np.ndarray, *, scores: bool = False) -> np.ndarray:
    """Those of some clips that a model's calibration, or its thresholds, were fitted to; ascending.

    Clips of its training may be among them, though they were left out of the fit.

    Args:
        artifact: a model.
        pack: a pack.
        clips: (M,) positions in it.
        scores: only what changes scores, so not thresholds.

    >>> clips_calibrated_with(model, Pack("out/mine"), np.arange(5))  # doctest: +SKIP
    array([0, 1, 2, 3, 4])
    """
    about = getattr(artifact, "metrics", {}).get("calibration")
    found = np.zeros(0, np.int64)
    if not isinstance(about, dict) or "out_of_fold" in about:  # of its training's clips, which is told anyway
        return found
    fits = []
    if artifact.calibration is not None:
        fits.append(about.get("scores_of", {}) if about.get("method") == "keep" else about)
    if artifact.thresholds is not None and not scores:
        fits.append(about)
    for fit in fits:
        chosen = _chosen(pack, fit.get("pack_fingerprint"), fit)
        found = np.union1d(found, np.intersect1d(chosen, clips))
    return found


def clips_of_settings(artifact: Any, pack: Any, clips: np.ndarray) -> np.ndarray:
    """Those of some clips that a model's settings for events may have been chosen on; ascending.

    Where a part of them was drawn for the choice, all that it was drawn from.

    >>> clips_of_settings(load_artifact("out/mine"), Pack("out/scenes"), np.arange(9))  # doctest: +SKIP
    array([0, 1, 2])
    """
    about = getattr(artifact, "metrics", {}).get("events")
    made = about.get("chosen_on") if isinstance(about, dict) else None
    if artifact.events is None or not isinstance(made, dict):
        return np.zeros(0, np.int64)
    return np.intersect1d(_chosen(pack, made.get("pack"), {"splits": made.get("splits")}), clips)


def _chosen(pack: Any, fingerprint: str | None, about: dict[str, Any]) -> np.ndarray:
    """The clips of a pack that a choice took; none of another pack."""
    if fingerprint is None or fingerprint != pack.fingerprint:
        return np.zeros(0, np.int64)
    try:
        chosen = select_clips(pack, about.get("splits") or None, about.get("where") or None)
        subset = about.get("subset")
        if subset is not None and subset in pack.subset_names:  # a copy of the pack may lack it
            chosen = np.intersect1d(chosen, pack.subset(subset))
    except ValueError:
        return np.zeros(0, np.int64)
    return np.asarray(chosen, np.int64)
