"""What a model's thresholds are: of which scores, for which goal, and the one that no score reaches.

`auricle calibrate` chooses them and keeps the goal in the model's metrics; see docs/calibration.md.
"""

import math
from typing import Any

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


def threshold_text(value: float, digits: int = 3) -> str:
    """A threshold for people.

    >>> threshold_text(0.25), threshold_text(NEVER)
    ('0.250', 'never')
    """
    return "never" if value > 1 else f"{value:.{digits}f}"


def _goal(artifact: Any) -> dict[str, float]:
    about = getattr(artifact, "metrics", {}).get("calibration") or {}
    return dict(about.get("goal") or {})
