"""What decides how scenes are mixed, and what has to be known of the clips they are mixed from."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from auricle.datasets.clips import Clip

FADE = 0.01  # seconds, at both ends of a sound
LOOP_FADE = 0.05  # seconds that two repetitions of a background share
NOISES = ("white", "pink", "brown")
NOISE_PEAK = 4.0  # a noise is cut there, in multiples of its RMS
AMBIENCE = ("rain", "wind", "sea_waves", "crickets", "crackling_fire")
SHORTEST_LOOP = 1.0  # seconds
MOST_POOLS = 20


@dataclass(frozen=True, kw_only=True)
class SceneRecipe:
    """How scenes are mixed; levels are RMS in dB of full scale, of active frames.

    Args:
        seed: of all that is drawn.
        seconds: length of a scene.
        events: sounds of a scene in the mean; their labels differ.
        most: sounds of a scene at most.
        polyphony: sounds at one time at most; backgrounds are not counted.
        orders: orders of magnitude between the most and the least frequent label.
        highest: share of the scenes that a label may be in.
        least: scenes that each label is in at least, where its recordings allow it.
        pools: into which each split's recordings are dealt; 0: as many as the median label has recordings,
            at most 20.
        shortest: of a sound that is longer, this to `longest` seconds are taken, uniformly.
        longest: seconds of a sound at most; a scene's where that is shorter.
        quietest: a scene's level is drawn uniformly from here
        loudest: to here.
        spread: standard deviation of a sound's level about the scene's, dB; never more than two of them.
        ambience: labels that can be backgrounds.
        ambience_share: how often a sound with such a label is the background, where there is none yet.
        noise_share: of the scenes without a background, how many get a synthetic noise as one.
        snr_low: a background lies this far below the scene's level at least, dB,
        snr_high: and this far at most; uniformly.
        headroom: dB that no scene's samples come closer to full scale; louder scenes are scaled down.
        active_db: frames are active within this of their clip's loudest frame.
        floor_db: and above this.
        gap: seconds of a pause that is cut out.

    Raises:
        ValueError: a field that makes no sense; it is named.

    >>> SceneRecipe(seconds=4.0, polyphony=2).seconds
    4.0
    """

    seed: int = 0
    seconds: float = 10.0
    events: float = 2.0
    most: int = 6
    polyphony: int = 3
    orders: float = 2.5
    highest: float = 0.5
    least: int = 5
    pools: int = 0
    shortest: float = 1.5
    longest: float = 5.0
    quietest: float = -36.0
    loudest: float = -22.0
    spread: float = 5.0
    ambience: tuple[str, ...] = AMBIENCE
    ambience_share: float = 0.5
    noise_share: float = 0.8
    snr_low: float = 10.0
    snr_high: float = 25.0
    headroom: float = 1.0
    active_db: float = 35.0
    floor_db: float = -60.0
    gap: float = 0.5

    def __post_init__(self) -> None:
        expected = {
            "seconds": (0.5 <= self.seconds <= 3600, "0.5 to 3600"),
            "events": (0 < self.events <= self.most, "above 0, and `most` at most"),
            "most": (self.most >= 1, "1 or more"),
            "polyphony": (self.polyphony >= 1, "1 or more"),
            "orders": (0 <= self.orders <= 8, "0 (balanced) to 8"),
            "highest": (0 < self.highest <= 1, "above 0, to 1"),
            "least": (self.least >= 0, "0 or more"),
            "pools": (self.pools >= 0, "0 or more"),
            "shortest": (0.1 <= self.shortest <= self.longest, "0.1 to `longest`"),
            "quietest": (-90 <= self.quietest <= self.loudest <= 0, "-90 to 0, `loudest` at most"),
            "spread": (0 <= self.spread <= 30, "0 to 30"),
            "ambience_share": (0 <= self.ambience_share <= 1, "0 to 1"),
            "noise_share": (0 <= self.noise_share <= 1, "0 to 1"),
            "snr_low": (-20 <= self.snr_low <= self.snr_high <= 80, "-20 to 80, `snr_high` at most"),
            "headroom": (0 <= self.headroom <= 40, "0 to 40"),
            "active_db": (1 <= self.active_db <= 120, "1 to 120"),
            "floor_db": (-120 <= self.floor_db < 0, "-120 to below 0"),
            "gap": (self.gap >= 0, "0 or more"),
        }
        for name, (fits, what) in expected.items():
            if not fits:
                raise ValueError(f"scenes: {name}: expected {what}, got {getattr(self, name)}")

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON holds them."""
        return asdict(self) | {"ambience": list(self.ambience)}


@dataclass(frozen=True, kw_only=True)
class SceneSplit:
    """One split of the scenes: its name, the source's splits it draws from, how many scenes.

    `orders` replaces the recipe's for this split; 0 makes every label equally frequent.

    >>> SceneSplit(name="test", sources=("fold5",), scenes=1500, orders=0.0).name
    'test'
    """

    name: str
    sources: tuple[str, ...]
    scenes: int
    orders: float | None = None


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What is known of the clips to mix, every `hop` samples.

    Args:
        clips: one for each; `labels` are one or none.
        rate: Hz.
        hop: samples of a frame.
        power: (frames,) mean square of each clip's frames, one after the other; full scale is 1.
        peak: (frames,) largest absolute sample.
        indptr: (clips + 1,) where each clip's frames begin.
    """

    clips: Sequence[Clip]
    rate: int
    hop: int
    power: np.ndarray
    peak: np.ndarray
    indptr: np.ndarray


def recording_of(clip: Clip) -> str:
    """The source recording of a clip; without a group a clip is a recording of its own."""
    return clip.group or clip.id


def recipe_with(recipe: SceneRecipe, settings: dict[str, str]) -> SceneRecipe:
    """A recipe with some fields replaced, given as text.

    Raises:
        ValueError: no such field, or no such value; the field is named.

    >>> recipe_with(SceneRecipe(), {"polyphony": "2", "ambience": "rain,wind"}).ambience
    ('rain', 'wind')
    """
    known = {field.name: field.type for field in fields(recipe)}
    values: dict[str, Any] = asdict(recipe)
    for name, text in settings.items():
        if name not in known:
            raise ValueError(f"scenes: no setting {name!r}; there are: {', '.join(known)}")
        if name == "ambience":
            values[name] = tuple(part.strip() for part in text.split(",") if part.strip())
            continue
        try:
            values[name] = type(values[name])(text)
        except ValueError:
            kind = "a whole number" if isinstance(values[name], int) else "a number"
            raise ValueError(f"scenes: {name}: expected {kind}, got {text!r}") from None
        if not math.isfinite(values[name]):
            raise ValueError(f"scenes: {name}: expected a finite number, got {text!r}")
    return SceneRecipe(**values)
