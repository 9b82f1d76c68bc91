"""One scene: each of its sounds gets a stretch of its clip, a time and a level; a bed is laid under them."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from auricle.datasets.clips import Clip
from auricle.datasets.scene_recipe import (
    LOOP_FADE,
    NOISE_PEAK,
    NOISES,
    SHORTEST_LOOP,
    SceneRecipe,
    Sources,
    recording_of,
)

FEWEST_FRAMES = 20  # no sound is cut shorter than this to find room
FEWEST_OF_RUN = 3  # a shorter remnant at a cut is left out


class Sound(NamedTuple):
    """A clip, the (R, 2) frames of it that sound, without pauses, and the least power of an active frame."""

    clip: int
    runs: np.ndarray
    threshold: float


def audible(sources: Sources, clip: int, recipe: SceneRecipe) -> Sound | None:
    """What is to be heard of a clip; None where there is nothing."""
    power = sources.power[sources.indptr[clip] : sources.indptr[clip + 1]]
    loudest = float(power.max(initial=0.0))
    threshold = max(loudest * 10 ** (-recipe.active_db / 10), 10 ** (recipe.floor_db / 10))
    runs = active_runs(power, threshold, gap=math.ceil(recipe.gap * sources.rate / sources.hop))
    return Sound(clip, runs, threshold) if len(runs) else None


def active_runs(power: np.ndarray, threshold: float, *, gap: int) -> np.ndarray:
    """(R, 2) first frame and end of each stretch in which a clip is audible; one frame is added at its ends.

    Args:
        power: (F,) mean square of each frame.
        threshold: of an active frame.
        gap: frames of a pause that parts two stretches; 3 at least.

    >>> active_runs(np.array([0, 0, 1, 1, 0, 0, 0, 0, 1.0, 0]), 0.5, gap=3).tolist()
    [[1, 5], [7, 10]]
    """
    active = np.flatnonzero(power >= threshold)
    if not active.size:
        return np.zeros((0, 2), dtype=np.int64)
    # With the frames that are added, the pause left between two stretches is at least one frame.
    parts = np.flatnonzero(np.diff(active) - 1 >= max(gap, 3))
    starts = active[np.concatenate([[0], parts + 1])] - 1
    ends = active[np.concatenate([parts, [len(active) - 1]])] + 2
    return np.stack([np.maximum(starts, 0), np.minimum(ends, len(power))], axis=1)


def plan_scene(
    sources: Sources, sounds: Sequence[Sound], recipe: SceneRecipe, generator: np.random.Generator
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The rows of a scene by onset, and what is to be noted of it."""
    second = sources.rate / sources.hop
    length = math.floor(recipe.seconds * second + 1e-9)
    level = generator.uniform(recipe.quietest, recipe.loudest)
    background = _choose_background(sources, sounds, recipe, generator)
    front = [
        _stretch(sound, recipe, second, generator)
        for index, sound in enumerate(sounds)
        if index != background
    ]
    front.sort(key=lambda sound: -(sound.runs[-1, 1] - sound.runs[0, 0]))  # the longest first finds room
    bound = np.zeros(length)  # on the peak of each frame, whatever the phases
    occupied = np.zeros(length, dtype=np.int64)
    rows: list[dict[str, Any]] = []
    bed, noise = "", 0.0
    if background is not None:
        rows.append(_loop(sources, sounds[background], recipe, level, length, bound, generator))
        bed = str(rows[0]["label"])
    elif generator.random() < recipe.noise_share:
        bed = NOISES[generator.integers(len(NOISES))]
        noise = level - generator.uniform(recipe.snr_low, recipe.snr_high)
        rows.append(_row(0, "noise", None, 0, length, noise, noise, second) | {"noise": bed})
        bound += NOISE_PEAK * 10 ** (noise / 20)
    for sound in front:
        loudness = level + float(np.clip(generator.standard_normal(), -2, 2)) * recipe.spread
        placed = _place(sound, occupied, recipe.polyphony, generator)
        if placed is not None:
            event = 1 + max((row["event"] for row in rows), default=-1)
            rows += _pieces(sources, *placed, event, loudness, bound, second)
    scale = min(0.0, -recipe.headroom - 20 * math.log10(max(bound.max(), 1e-9)))
    for row in rows:
        row["level_db"] += scale
        row["gain_db"] += scale
    rows.sort(key=lambda row: (row["onset"], row["event"]))
    facts = {
        "level_db": f"{level + scale:.2f}",
        "scaled_db": f"{scale:.2f}",
        "polyphony": str(int(occupied.max())),
        "background": bed if bed not in NOISES or background is not None else f"{bed} noise",
    }
    return rows, facts


def _choose_background(
    sources: Sources, sounds: Sequence[Sound], recipe: SceneRecipe, generator: np.random.Generator
) -> int | None:
    """Which of the sounds, if any, becomes the background."""
    needed = max(SHORTEST_LOOP, 4 * LOOP_FADE) * sources.rate / sources.hop
    for index, sound in enumerate(sounds):
        if (
            sources.clips[sound.clip].labels[0] in recipe.ambience
            and np.diff(sound.runs).max() >= needed
            and generator.random() < recipe.ambience_share
        ):
            return index
    return None


def _stretch(sound: Sound, recipe: SceneRecipe, second: float, generator: np.random.Generator) -> Sound:
    """A sound, cut to the length that is drawn for it where it is longer."""
    drawn = generator.uniform(recipe.shortest, recipe.longest)
    wanted = math.floor(min(drawn, recipe.seconds) * second)
    first, end = int(sound.runs[0, 0]), int(sound.runs[-1, 1])
    if end - first <= wanted:
        return sound
    starts = np.concatenate([np.arange(*run) for run in sound.runs])
    starts = starts[starts <= end - wanted]
    return _cut(sound, int(generator.choice(starts)), wanted)


def _cut(sound: Sound, first: int, frames: int) -> Sound:
    runs = np.clip(sound.runs, first, first + frames)
    lengths = runs[:, 1] - runs[:, 0]
    return sound._replace(runs=runs[lengths >= min(FEWEST_OF_RUN, lengths.max())])


def _place(
    sound: Sound, occupied: np.ndarray, polyphony: int, generator: np.random.Generator
) -> tuple[Sound, int] | None:
    """A sound, cut if need be, and its first frame: uniformly among all places that keep the polyphony."""
    full = np.concatenate([[0], np.cumsum(occupied >= polyphony)])
    while True:
        first = int(sound.runs[0, 0])
        frames = int(sound.runs[-1, 1]) - first
        places = np.flatnonzero(full[frames:] == full[: max(len(full) - frames, 0)])
        if len(places):
            start = int(generator.choice(places))
            occupied[start : start + frames] += 1
            return sound, start
        if frames <= FEWEST_FRAMES:
            return None
        sound = _cut(sound, first, max(frames * 3 // 4, FEWEST_FRAMES))


def _pieces(
    sources: Sources, sound: Sound, start: int, event: int, level: float, bound: np.ndarray, second: float
) -> Iterator[dict[str, Any]]:
    """A row for each audible stretch of a sound, all with the gain that brings the whole to its level."""
    at = sources.indptr[sound.clip] + sound.runs
    gain = level - _loudness(sources, at, sound.threshold)
    origin = int(sound.runs[0, 0])
    for (first, end), (low, high) in zip(sound.runs.tolist(), at.tolist(), strict=True):
        onset = start + first - origin
        bound[onset : onset + end - first] += sources.peak[low:high] * 10 ** (gain / 20)
        row = _row(event, "foreground", sources.clips[sound.clip], onset, end - first, level, gain, second)
        yield row | {"source_onset": first / second, "source_seconds": (end - first) / second}


def _loudness(sources: Sources, at: np.ndarray, threshold: float) -> float:
    """RMS of the active frames among some, dB of full scale."""
    power = np.concatenate([sources.power[first:end] for first, end in at]).astype(np.float64)
    active = power[power >= threshold]  # none is, where a cut fell into a short pause
    return 10 * math.log10(max(float((active if active.size else power).mean()), 1e-12))


def _loop(
    sources: Sources,
    sound: Sound,
    recipe: SceneRecipe,
    level: float,
    length: int,
    bound: np.ndarray,
    generator: np.random.Generator,
) -> dict[str, Any]:
    """The row of a background: the longest stretch of a clip, repeated over the whole scene."""
    second = sources.rate / sources.hop
    first, end = sound.runs[int(np.argmax(np.diff(sound.runs)[:, 0]))].tolist()
    frames, fade = min(end - first, length), round(LOOP_FADE * second)
    first += int(generator.integers(end - first - frames + 1))
    at = int(sources.indptr[sound.clip]) + first
    level -= generator.uniform(recipe.snr_low, recipe.snr_high)
    gain = level - _loudness(sources, np.array([[at, at + frames]]), sound.threshold)
    for start in range(0, length, frames - fade):
        stop = min(start + frames, length)
        bound[start:stop] += sources.peak[at : at + stop - start] * 10 ** (gain / 20)
    row = _row(0, "background", sources.clips[sound.clip], 0, length, level, gain, second)
    return row | {"source_onset": first / second, "source_seconds": frames / second}


def _row(
    event: int,
    kind: str,
    clip: Clip | None,
    onset: int,
    frames: int,
    level: float,
    gain: float,
    second: float,
) -> dict[str, Any]:
    return {
        "event": event,
        "kind": kind,
        "label": clip.labels[0] if clip else None,
        "onset": onset / second,
        "offset": (onset + frames) / second,
        "source": clip.id if clip else None,
        "source_group": recording_of(clip) if clip else None,
        "source_onset": 0.0,
        "source_seconds": frames / second,
        "level_db": level,
        "gain_db": gain,
        "noise": None,
    }
