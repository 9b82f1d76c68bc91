"""What a model's thresholds are: of which scores, for which goal, and the one that no score reaches.

`auricle calibrate` chooses them and keeps the goal in the model's metrics; see docs/calibration.md.
"""

import math
from typing import Any

MANY_CLIPS = 4  # a recording as long as so many clips is another thing than they are
NEVER = 2.0  # the threshold of a label that is not to be shown: no score is above 1


def is_threshold(value: Any) -> bool:
    """Whether it is a score from 0 to 1, or `NEVER`.

    >>> [is_threshold(value) for value in (0, 1.0, NEVER, 1.5, float("nan"), "0.5", True)]
    [True, True, True, False, False, False, False]
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return number and (0 <= value <= 1 or value == NEVER)


def own_thresholds(artifact: Any) -> list[float] | None:
    """A model's thresholds, one a label; None where it has none.

    `auricle calibrate` once wrote 1 for a label that is never to be shown, and so it is read.

    >>> from types import SimpleNamespace
    >>> own_thresholds(SimpleNamespace(thresholds=[0.5, 1.0], metrics={}))
    [0.5, 1.0]
    >>> found = {"calibration": {"goal": {"precision": 0.9}}}
    >>> own_thresholds(SimpleNamespace(thresholds=[0.5, 1.0], metrics=found))
    [0.5, 2.0]
    """
    found = getattr(artifact, "thresholds", None)
    if found is None or not _goal(artifact):
        return found
    return [NEVER if value == 1 else float(value) for value in found]


def thresholds_of(artifact: Any) -> str:
    """Of which scores the thresholds are: "windows", "clips", "both" where each clip was one window.

    Returns:
        "" where there are none, or where nobody said.

    >>> from types import SimpleNamespace
    >>> about = {"goal": {"precision": 0.9}, "windows_of_a_clip": 3}
    >>> thresholds_of(SimpleNamespace(thresholds=[0.5], metrics={"calibration": about}))
    'clips'
    """
    goal = _goal(artifact)
    if getattr(artifact, "thresholds", None) is None or not goal:
        return ""
    if "false_alarms" in goal:
        return "windows"
    return "both" if artifact.metrics["calibration"].get("windows_of_a_clip") == 1 else "clips"


def of_short_clips(artifact: Any, seconds: float, threshold: float | None = None) -> str:
    """What is to be said where a recording is far longer than the clips that thresholds are of; else "".

    Args:
        artifact: the model.
        seconds: that the recording lasts.
        threshold: one that was given in place of the model's.

    >>> from types import SimpleNamespace
    >>> about = {"goal": {"precision": 0.9}, "clips": 50, "hours": 0.05}
    >>> model = SimpleNamespace(thresholds=[0.5], calibration=None, metrics={"calibration": about})
    >>> of_short_clips(model, 36.0)[:62], of_short_clips(model, 5.0)
    ('lasts 36.0 s, and thresholds of this model are of clips of abo', '')
    """
    about = getattr(artifact, "metrics", {}).get("calibration") or {}
    if not about.get("clips") or not about.get("hours"):
        return ""
    length = about["hours"] * 3600 / about["clips"]
    maps = ["calibration"] if "clips" in (artifact.calibration or {}) else []
    chosen = ["thresholds"] if threshold is None and thresholds_of(artifact) in ("clips", "both") else []
    if seconds <= MANY_CLIPS * length or not maps + chosen:
        return ""
    return (
        f"lasts {seconds:.1f} s, and {' and '.join(chosen + maps)} of this model are of clips of about "
        f"{length:.3g} s: what fills little of a long recording has a low score of the whole; --windows or "
        "--events say what sounds when"
    )


def threshold_text(value: float, digits: int = 3) -> str:
    """A threshold for people.

    >>> threshold_text(0.25), threshold_text(NEVER)
    ('0.250', 'never')
    """
    return "never" if value > 1 else f"{value:.{digits}f}"


def _goal(artifact: Any) -> dict[str, float]:
    about = getattr(artifact, "metrics", {}).get("calibration") or {}
    return dict(about.get("goal") or {})
