"""By which settings scores become events: a model's own, and those that somebody typed instead.

What each setting does stands in `events.py`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from auricle.thresholds import is_threshold, own_thresholds

PER_LABEL = ("smooth", "onset", "offset", "min_length", "max_gap")
OF_ALL = ("hop", "window")

Typed = dict[str, Any]  # some settings by their names


@dataclass(frozen=True, kw_only=True)
class EventConfig:
    """How scores over time become events; the settings that an artifact's `events` holds.

    Args:
        smooth: seconds; a score becomes the median of the scores of the windows whose middles are within half
            of this of its own. 0 leaves scores as they are.
        onset: score that an event reaches at least once; 2 where there are to be none.
        offset: score that it never falls below; None is `onset`.
        min_length: seconds; shorter events are left out.
        max_gap: seconds; events that are no further apart become one.
        hop: seconds from window to window, when events are looked for; None is the model's own.
        window: seconds of a window, when events are looked for; None is the model's own.
        labels: label -> settings that differ for it, by their names above; `hop` and `window` cannot.

    Raises:
        ValueError: a setting is not what it can be.

    >>> config = EventConfig(onset=0.6, offset=0.3, labels={"dog": {"onset": 0.8}})
    >>> config.of("dog").onset, config.of("rain").onset
    (0.8, 0.6)
    """

    smooth: float = 0.0
    onset: float = 0.5
    offset: float | None = None
    min_length: float = 0.0
    max_gap: float = 0.0
    hop: float | None = None
    window: float | None = None
    labels: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._validate()
        if not isinstance(self.labels, Mapping):
            raise ValueError(f"labels: expected label -> settings, got {self.labels!r}")
        for label, own in self.labels.items():
            if not isinstance(own, Mapping) or not set(own) <= set(PER_LABEL):
                got = sorted(own) if isinstance(own, Mapping) else own
                raise ValueError(f"labels: {label!r}: expected some of {', '.join(PER_LABEL)}; got {got}")
            try:
                self._with(own)
            except ValueError as error:
                raise ValueError(f"labels: {label!r}: {error}") from error

    def _validate(self) -> None:
        for name in ("smooth", "min_length", "max_gap"):
            if not _is_number(getattr(self, name)) or getattr(self, name) < 0:
                raise ValueError(f"{name}: expected seconds from 0 on, got {getattr(self, name)!r}")
        for name in OF_ALL:
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0):
                raise ValueError(f"{name}: expected seconds above 0, got {value!r}")
        for name in ("onset", "offset"):
            value = getattr(self, name)
            if (value is not None or name == "onset") and not is_threshold(value):
                raise ValueError(f"{name}: expected a score from 0 to 1, or 2 for never, got {value!r}")
        if self.offset is not None and self.offset > self.onset:
            raise ValueError(f"offset: expected no more than onset ({self.onset:g}), got {self.offset:g}")

    def of(self, label: str) -> "EventConfig":
        """The settings of one label; its `labels` are empty, its `offset` is a number."""
        own = self.labels.get(label)
        return self._told(own) if own else self._common

    @cached_property
    def _common(self) -> "EventConfig":
        return self._told({})

    def _told(self, own: Mapping[str, Any]) -> "EventConfig":
        told = self._with(own)
        return told if told.offset is not None else dataclasses.replace(told, offset=told.onset)

    def _with(self, own: Mapping[str, Any]) -> "EventConfig":
        return dataclasses.replace(self, labels={}, **own)

    def as_dict(self) -> dict[str, Any]:
        """What an artifact stores; `window` only where there is one, which older versions do not know.

        >>> EventConfig(onset=0.25).as_dict()["onset"]
        0.25
        """
        stored = dataclasses.asdict(self) | {"labels": {name: dict(own) for name, own in self.labels.items()}}
        if self.window is None:
            del stored["window"]
        return stored


def event_config(stored: Mapping[str, Any] | None, labels: Sequence[str] | None = None) -> EventConfig:
    """Settings from what an artifact stores; what is not said stays as it is by default.

    Args:
        stored: an artifact's `events`; None is all by default.
        labels: the model's; None does not look whether it has the labels that have settings of their own.

    Raises:
        ValueError: a setting is unknown or not what it can be, or the model has no such label.

    >>> event_config({"onset": 0.4, "max_gap": 1.0}).max_gap
    1.0
    """
    names = [f.name for f in dataclasses.fields(EventConfig)]
    if unknown := sorted(set(stored or {}) - set(names)):
        raise ValueError(f"{unknown[0]}: no setting of events; there are {', '.join(names)}")
    config = EventConfig(**(stored or {}))
    if labels is not None and (strange := [label for label in config.labels if label not in labels]):
        raise ValueError(f"labels: {strange[0]!r}: the model has no such label")
    return config


def events_of(artifact: Any) -> EventConfig:
    """The settings by which a model's scores become events: its own, or those by default.

    A model without settings of its own but with thresholds gets them as the `onset` of its labels.

    >>> from types import SimpleNamespace
    >>> events_of(SimpleNamespace(events=None, thresholds=[0.3], labels=("dog",))).of("dog").onset
    0.3
    """
    thresholds = own_thresholds(artifact)
    if artifact.events is not None or thresholds is None:
        return event_config(artifact.events, artifact.labels)
    chosen = zip(artifact.labels, thresholds, strict=True)
    return EventConfig(labels={label: {"onset": float(least)} for label, least in chosen})


def with_onset(config: EventConfig, onset: float) -> EventConfig:
    """Settings by which a sound begins at one score, whatever its label; an offset above it comes down to it.

    >>> with_onset(EventConfig(offset=0.4, labels={"dog": {"onset": 0.9}}), 0.3).of("dog").offset
    0.3
    """
    return config_with(config, {"onset": repr(float(onset))})


def config_with(config: EventConfig, settings: Mapping[str, str], labels: Sequence[str] = ()) -> EventConfig:
    """Settings with some changed by what was typed: KEY=VALUE for all labels, or LABEL.KEY=VALUE for one.

    What is typed for all takes the place of what labels had of their own, as the thresholds of a model; what
    is typed for one label goes before that. Below an onset that is typed, an offset that is not comes down.

    Args:
        config: what is changed.
        settings: as typed.
        labels: the model's; where each has an onset of its own, an offset for all is given to each.

    Raises:
        ValueError: no such setting, or a value it cannot have.

    >>> config_with(EventConfig(), {"onset": "0.4", "dog.onset": "0.8"}).of("dog").onset
    0.8
    >>> config_with(EventConfig(labels={"dog": {"onset": 0.8}}), {"onset": "0.4"}).of("dog").onset
    0.4
    """
    changed, typed = _read_typed(settings)
    common: Typed = {name: getattr(config, name) for name in (*PER_LABEL, *OF_ALL)} | changed
    own = {
        label: {name: value for name, value in mine.items() if name not in changed}
        for label, mine in config.labels.items()
    }
    if "onset" in changed and "offset" not in changed:
        for each in (common, *own.values()):
            _lower(each, changed["onset"])
    for label, mine in typed.items():
        own[label] = own.get(label, {}) | mine
        if "onset" in mine and not {"offset"} & (mine.keys() | changed.keys()):
            if common["offset"] is not None:
                own[label].setdefault("offset", common["offset"])
            _lower(own[label], mine["onset"])
    own = {label: mine for label, mine in own.items() if mine}
    if changed.get("offset") is not None and labels and all("onset" in own.get(each, {}) for each in labels):
        common["offset"] = None  # no label has the onset that it would have to be below
        own = {label: {"offset": changed["offset"]} | mine for label, mine in own.items()}
    return EventConfig(**common, labels=own)


def _lower(settings: Typed, onset: float) -> None:
    """An offset above an onset comes down to it."""
    if settings.get("offset") is not None:
        settings["offset"] = min(onset, settings["offset"])


def _read_typed(settings: Mapping[str, str]) -> tuple[Typed, dict[str, Typed]]:
    """What was typed for all labels, and for one: label -> its settings."""
    of_all: Typed = {}
    of_one: dict[str, Typed] = {}
    for key, text in settings.items():
        label, _, name = key.rpartition(".")
        known = PER_LABEL if label else (*PER_LABEL, *OF_ALL)
        if name not in known:
            raise ValueError(f"{key}: no setting of events; there are {', '.join(known)}")
        if text.lower() == "none" and name in ("offset", *OF_ALL):
            value = None
        else:
            try:
                value = float(text)
            except ValueError:
                raise ValueError(f"{key}: expected a number, got {text!r}") from None
        (of_one.setdefault(label, {}) if label else of_all)[name] = value
    return of_all, of_one


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
