"""Logits -> scores: what a model's calibration and thresholds say, for whoever shows scores.

A calibration maps each label's logits to better ones; the sigmoid of these are the scores. It rises for every
label, so it never changes which of two windows scores more for a label. Two kinds:

    {"kind": "affine", "scale": [K], "offset": [K]}                   scale * logit + offset
    {"kind": "isotonic", "labels": [{"x": [J], "y": [J]}, ... K]}      straight lines from knot to knot

Beyond its first and last knot, the first and last line go on. Under "clips" there may be a second such map,
of the mean of a recording's windows' scores. docs/calibration.md has the whole form.

Shape letters: W windows, K classes of the model, J knots of a label.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from auricle.pooling import pooling_of
from auricle.runners.windows import PooledScores, logit, sigmoid
from auricle.thresholds import own_thresholds, thresholds_of

Mapped = Callable[[np.ndarray], np.ndarray]


def calibrated(artifact: Any) -> Mapped:
    """A function from logits (..., K) to calibrated logits (..., K), float64; the same without calibration.

    >>> from types import SimpleNamespace
    >>> model = SimpleNamespace(calibration={"kind": "affine", "scale": [0.5, 1.0], "offset": [0.0, -1.0]})
    >>> calibrated(model)(np.array([[4.0, 4.0]]))
    array([[2., 3.]])
    """
    return as_function(getattr(artifact, "calibration", None))  # a net in training is no artifact yet


def to_scores(artifact: Any) -> Mapped:
    """A function from logits (..., K) to scores (..., K), float64 in [0, 1].

    >>> from types import SimpleNamespace
    >>> to_scores(SimpleNamespace(calibration=None))(np.zeros((1, 3)))
    array([[0.5, 0.5, 0.5]])
    """
    mapped = calibrated(artifact)
    return lambda logits: sigmoid(mapped(logits))


def clip_scores(artifact: Any) -> Mapped:
    """A function from pooled scores of windows (..., K) to scores of the recording (..., K), float64.

    >>> from types import SimpleNamespace
    >>> clips = {"kind": "affine", "scale": [1.0], "offset": [2.0]}
    >>> model = SimpleNamespace(calibration=clips | {"clips": clips})
    >>> clip_scores(model)(np.array([0.0, 0.5, 1.0])[:, None]).ravel().round(2)
    array([0.  , 0.88, 1.  ])
    """
    calibration = getattr(artifact, "calibration", None)
    if calibration is None or "clips" not in calibration:
        return lambda scores: np.asarray(scores, np.float64)
    mapped = as_function(calibration["clips"])
    return lambda scores: sigmoid(mapped(logit(np.asarray(scores, np.float64))))


def pooled(artifact: Any, logits_WK: np.ndarray, pooling: str | None = None) -> np.ndarray:
    """Scores of a clip (K,), float64, from its windows: see `auricle.runners.windows.PooledScores`.

    None is the model's own way, which is the one that a calibration of clips, where there is one, is of.

    Raises:
        ValueError: there is no window, or the pooling is unknown.

    >>> from types import SimpleNamespace
    >>> pooled(SimpleNamespace(calibration=None), np.array([[0.0, 100.0], [0.0, -100.0]]))
    array([0.5, 0.5])
    """
    mapped_WK = calibrated(artifact)(logits_WK)
    own = pooling_of(artifact)
    score_K = PooledScores(mapped_WK.shape[1], pooling or own).add(mapped_WK).score()
    return clip_scores(artifact)(score_K) if pooling in (None, own) else score_K


def chosen_thresholds(artifact: Any, threshold: float | None = None) -> np.ndarray:
    """(K,) float64, the least score with which each label is shown; 2 where it never is.

    Args:
        artifact: with `labels` and `thresholds`.
        threshold: of every label; None takes the model's own, where it has some, else 0.

    Raises:
        ValueError: the threshold is no score.

    >>> from types import SimpleNamespace
    >>> model = SimpleNamespace(labels=("dog", "rain"), thresholds=[0.25, 0.5])
    >>> chosen_thresholds(model), chosen_thresholds(model, 0.1)
    (array([0.25, 0.5 ]), array([0.1, 0.1]))
    """
    if threshold is not None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; expected a score from 0 to 1")
        return np.full(len(artifact.labels), float(threshold))
    own = own_thresholds(artifact)
    return np.zeros(len(artifact.labels)) if own is None else np.array(own, np.float64)


def alarms_at(artifact: Any, hop: float | None = None) -> str:
    """What is to be said where thresholds for false alarms an hour are used with another hop; else "".

    Args:
        artifact: the model.
        hop: seconds from window to window; None takes the model's.

    >>> from types import SimpleNamespace
    >>> found = {"goal": {"false_alarms": 2.0}, "goal_hop": 2.0}
    >>> model = SimpleNamespace(thresholds=[0.5], hop=16000, rate=8000, metrics={"calibration": found})
    >>> alarms_at(model), alarms_at(model, 0.5)[:80]
    ('', "the model's thresholds are for 2 false alarms an hour and label with a window ev")
    """
    about = artifact.metrics.get("calibration") or {}
    alarms = about.get("goal", {}).get("false_alarms") if artifact.thresholds is not None else None
    own = artifact.hop / artifact.rate
    given, fitted = own if hop is None else hop, about.get("goal_hop", own)
    if alarms is None or abs(given - fitted) <= 1 / artifact.rate:
        return ""
    return (
        f"the model's thresholds are for {alarms:g} false alarms an hour and label with a window every "
        f"{fitted:.3g} s; with one every {given:.3g} s there are about {fitted / given:.2g} times as many "
        f"(auricle calibrate --hop {given:.3g} finds others)"
    )


def of_windows(artifact: Any, hop: float | None = None) -> str:
    """What is to be said where a model's thresholds are put to windows, or to events made of them; else "".

    Args:
        artifact: the model.
        hop: as in `alarms_at`.

    >>> from types import SimpleNamespace
    >>> found = {"goal": {"precision": 0.9}}
    >>> model = SimpleNamespace(thresholds=[0.5], hop=16000, rate=8000, metrics={"calibration": found})
    >>> of_windows(model)[:77]
    "the model's thresholds are for precision 0.9 of whole clips, by their scores;"
    """
    if thresholds_of(artifact) != "clips":
        return alarms_at(artifact, hop)
    kind, value = next(iter(artifact.metrics["calibration"]["goal"].items()))
    return (
        f"the model's thresholds are for {kind} {value:g} of whole clips, by their scores; of windows or "
        "events more or fewer may be right (auricle calibrate --false-alarms finds thresholds of windows, "
        "--threshold sets one)"
    )


def of_window(
    artifact: Any, seconds: float | None, *, threshold: float | None = None, config: Any = None
) -> str:
    """What is to be said where a model hears windows of another length than what was fitted to it; else "".

    Args:
        artifact: the model as it is, with its own window.
        seconds: of a window; None takes its own.
        threshold: one that was given in place of the model's.
        config: settings of events, where these are looked for, see `auricle.events.EventConfig`.

    >>> from types import SimpleNamespace
    >>> model = SimpleNamespace(window=80000, rate=16000, thresholds=[0.5], calibration=None, events=None)
    >>> of_window(model, 1.0)[:69]
    "the model's thresholds are for windows of 5 s; those of 1 s score oth"
    >>> of_window(model, 5.0), of_window(model, 1.0, threshold=0.5)
    ('', '')
    """
    own = artifact.window / artifact.rate
    heard = own if seconds is None else seconds
    fitted = [("calibration", own)] if artifact.calibration is not None else []
    if config is None:
        fitted += [("thresholds", own)] if artifact.thresholds is not None and threshold is None else []
    elif artifact.events is not None:
        fitted.append(("settings of events", artifact.events.get("window") or own))
    elif _begin_at_thresholds(artifact, config):
        fitted.append(("thresholds", own))
    parts = [(name, window) for name, window in fitted if abs(window - heard) > 1 / artifact.rate]
    if not parts:
        return ""
    told = []
    for window in dict.fromkeys(window for _, window in parts):
        names = [name for name, each in parts if each == window]
        verb = "is" if names == ["calibration"] else "are"
        told.append(f"{' and '.join(names)} {verb} for windows of {window:.3g} s")
    return (
        f"the model's {'; '.join(told)}; those of {heard:.3g} s score otherwise, and how well these fit was "
        "not measured"
    )


def _begin_at_thresholds(artifact: Any, config: Any) -> bool:
    """Whether events of a label begin at its threshold, as it came."""
    own = zip(artifact.labels, own_thresholds(artifact) or (), strict=False)
    return any(config.of(label).onset == least <= 1 for label, least in own)


def of_events(artifact: Any, config: Any, hop: float | None = None) -> str:
    """What is to be said where events begin at the model's thresholds, as they came; else "".

    Settings that are stored in the model may have such onsets, too: those of `auricle events` without a truth
    to choose on, and of labels that it had no event of. Whoever stored them was told that thresholds of clips
    are none of events; with another hop, their false alarms are others.

    Args:
        artifact: the model.
        config: the settings, see `auricle.events.EventConfig`.
        hop: seconds from window to window; None takes that of the settings, else the model's.

    >>> from types import SimpleNamespace
    >>> from auricle.events import EventConfig
    >>> found = {"calibration": {"goal": {"false_alarms": 2.0}, "goal_hop": 2.0}}
    >>> model = SimpleNamespace(thresholds=[0.3], labels=("dog",), hop=16000, rate=8000, metrics=found)
    >>> model.events = {"hop": 0.5, "labels": {"dog": {"onset": 0.3}}}
    >>> of_events(model, EventConfig(**model.events))[69:144]
    'a window every 2 s; with one every 0.5 s there are about 4 times as many (a'
    >>> of_events(model, EventConfig(onset=0.5, hop=0.5))
    ''
    """
    if not _begin_at_thresholds(artifact, config):
        return ""
    hop = config.hop if hop is None else hop
    return of_windows(artifact, hop) if artifact.events is None else alarms_at(artifact, hop)


def unnamed(artifact: Any, config: Any = None, threshold: float | None = None) -> str:
    """What is to be said of recordings in which no label reaches the model's own threshold for it; else "".

    Args:
        artifact: the model.
        config: the settings where events are looked for, see `auricle.events.EventConfig`.
        threshold: one that was given in place of the model's.

    >>> from types import SimpleNamespace
    >>> unnamed(SimpleNamespace(labels=("dog",), thresholds=[0.5], metrics={}))
    "no label reaches the model's threshold for it; --threshold 0 shows the highest scores"
    >>> unnamed(SimpleNamespace(labels=("dog",), thresholds=None, metrics={}))
    ''
    """
    thresholds = own_thresholds(artifact)
    if threshold is not None or not thresholds:
        return ""
    if config is None:
        return "no label reaches the model's threshold for it; --threshold 0 shows the highest scores"
    pairs = zip(artifact.labels, thresholds, strict=True)
    if not any(config.of(label).onset == least for label, least in pairs):
        return ""
    return "no label reaches the model's threshold for it; --set onset=0.2 finds weaker events"


def as_function(calibration: Mapping[str, Any] | None) -> Mapped:
    """What `calibrated` gives, of a calibration as model.json holds it.

    Raises:
        ValueError: its kind is unknown.

    >>> as_function({"kind": "isotonic", "labels": [{"x": [0.0, 2.0, 3.0], "y": [0.0, 1.0, 3.0]}]})(
    ...     np.array([[-1.0], [1.0], [2.0], [5.0]])).ravel()
    array([-0.5,  0.5,  1. ,  7. ])
    """
    if calibration is None:
        return lambda logits: np.asarray(logits, np.float64)
    if calibration["kind"] == "affine":
        scale_K, offset_K = (np.array(calibration[name], np.float64) for name in ("scale", "offset"))
        return lambda logits: np.asarray(logits, np.float64) * scale_K + offset_K
    if calibration["kind"] == "isotonic":
        lines = _lines(calibration["labels"])
        return lambda logits: _along(lines, np.asarray(logits, np.float64))
    raise ValueError(f"calibration is of the kind {calibration['kind']!r}; expected affine or isotonic")


def _lines(labels: list[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each label's lines: where each but the first begins (inf: there is none), a point, the slope."""
    most = max((len(label["x"]) for label in labels), default=2) - 1
    begins = np.full((len(labels), most - 1), np.inf)
    points = np.zeros((len(labels), most, 2))
    slopes = np.zeros((len(labels), most))
    for k, label in enumerate(labels):
        x, y = np.array(label["x"], np.float64), np.array(label["y"], np.float64)
        lines = len(x) - 1
        begins[k, : lines - 1] = x[1:-1]
        points[k, :lines] = np.stack([x[:-1], y[:-1]], axis=1)
        slopes[k, :lines] = np.diff(y) / np.diff(x)
    return begins, points, slopes


def _along(lines: tuple[np.ndarray, np.ndarray, np.ndarray], logits: np.ndarray) -> np.ndarray:
    begins_KJ, points_KJ2, slopes_KJ = lines
    which = np.zeros(logits.shape, np.int64)
    for begin_K in begins_KJ.T:  # one knot of all labels at a time: no table of windows, labels and knots
        which += logits >= begin_K
    labels = np.arange(logits.shape[-1])
    x, y = np.moveaxis(points_KJ2[labels, which], -1, 0)
    return y + slopes_KJ[labels, which] * (logits - x)
