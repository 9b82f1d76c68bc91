"""A plan of scenes mixed from single sounds: which stretch of which clip sounds when, and how loud.

A plan needs no audio, only what was measured of each clip, every 10 ms: `Sources`. It is a table of events,
and mixing does exactly what the table says. All times are multiples of a frame (10 ms), and all random
numbers come from the recipe's seed and the split's name, so that a split does not depend on the others.

- Frequencies follow Zipf's law: the r-th most frequent label is in A / r^s of the scenes, but in no more than
  `highest` of them; s and A are such that the law spans `orders` of magnitude and a scene has `events`
  sounds in the mean. A seeded permutation, one for all splits, says which label is the r-th.
- The recordings of a split are dealt to pools, and a scene draws from one pool only. The pool is its group:
  scenes of two groups share no recording, so a bootstrap over groups is one over recordings.
- Only what is audible of a clip sounds in a scene. Frames within `active_db` of the clip's loudest are
  active; pauses of at least `gap` seconds are cut out, and each part between them is a row of the truth.
"""

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auricle.datasets.clips import Clip, check_leaks
from auricle.datasets.scene_events import Sound, audible, plan_scene
from auricle.datasets.scene_recipe import SceneRecipe, SceneSplit, Sources, recording_of

MOST_POOLS = 20
FULLEST = 0.9  # share of a pool's scenes that one label may be in


@dataclass(frozen=True, kw_only=True)
class ScenePlan:
    """Scenes, and their events in order: each a dict; `report` says of every split what came out."""

    scenes: list[Clip]
    events: list[dict[str, Any]]
    report: dict[str, dict[str, Any]]


def plan_scenes(sources: Sources, splits: Sequence[SceneSplit], recipe: SceneRecipe) -> ScenePlan:
    """Plan the scenes of all splits.

    Args:
        sources: the clips to mix, measured.
        splits: which scenes are wanted.
        recipe: how they are mixed.

    Raises:
        ValueError: clips of several labels; a split that is unknown, used twice, or has nothing audible; a
            recording in two splits.

    >>> plan_scenes(sources, [SceneSplit(name="train", sources=("fold1",), scenes=9)],
    ...             SceneRecipe())  # doctest: +SKIP
    """
    _check(sources.clips, splits)
    labels = sorted({clip.labels[0] for clip in sources.clips if clip.labels})
    frequent = np.random.default_rng([recipe.seed, 0]).permutation(len(labels))
    ranked = [labels[index] for index in frequent]
    scenes: list[Clip] = []
    events: list[dict[str, Any]] = []
    report: dict[str, dict[str, Any]] = {}
    for split in splits:
        generator = np.random.default_rng([recipe.seed, 1, zlib.crc32(split.name.encode())])
        more, rows, report[split.name] = _plan_split(sources, split, recipe, ranked, generator)
        scenes += more
        events += rows
    check_leaks(scenes)
    return ScenePlan(scenes=scenes, events=events, report=report)


def _check(clips: Sequence[Clip], splits: Sequence[SceneSplit]) -> None:
    several = [clip for clip in clips if len(clip.labels) > 1]
    if several:
        raise ValueError(
            f"scenes are mixed from clips of one label; {len(several)} of {len(clips)} clips have more, e.g. "
            f"{several[0].id}: {', '.join(several[0].labels)}. Choose another label set, or leave them out"
        )
    used: dict[str, str] = {}
    known = {clip.split for clip in clips}
    names = [split.name for split in splits]
    if not splits or len(set(names)) != len(names):
        raise ValueError(f"scenes: expected splits of different names, got {names}")
    for split in splits:
        if split.scenes < 1:
            raise ValueError(f"split {split.name!r}: expected 1 scene or more, got {split.scenes}")
        for source in split.sources:
            if source not in known:
                raise ValueError(
                    f"no split {source!r} in the source; there are: {', '.join(map(repr, sorted(known)))}"
                )
            if source in used:
                raise ValueError(
                    f"split {source!r} of the source is wanted for {used[source]!r} and for {split.name!r}: "
                    "a test would hear what was trained on; give it to one of them"
                )
            used[source] = split.name
    check_leaks(
        Clip(id=clip.id, path=clip.path, split=used[clip.split], group=recording_of(clip))
        for clip in clips
        if clip.split in used
    )


def _plan_split(
    sources: Sources,
    split: SceneSplit,
    recipe: SceneRecipe,
    ranked: Sequence[str],
    generator: np.random.Generator,
) -> tuple[list[Clip], list[dict[str, Any]], dict[str, Any]]:
    """Scenes, events and a report of one split.

    Args:
        sources: the clips to mix.
        split: which scenes are wanted.
        recipe: how they are mixed.
        ranked: labels, the most frequent first.
        generator: draws everything.

    Raises:
        ValueError: nothing is audible in the source's splits.
    """
    labelled = [
        position for position, clip in enumerate(sources.clips) if clip.split in split.sources and clip.labels
    ]
    sounds = [sound for clip in labelled if (sound := audible(sources, clip, recipe)) is not None]
    if not sounds:
        raise ValueError(
            f"split {split.name!r}: no clip of {', '.join(split.sources)} has a label and is audible"
        )
    labels_of = [sources.clips[sound.clip].labels[0] for sound in sounds]
    ranked = [label for label in ranked if label in set(labels_of)]
    recordings = {(labels_of[i], recording_of(sources.clips[s.clip])) for i, s in enumerate(sounds)}
    counts = Counter(label for label, _ in recordings)
    pools = recipe.pools or min(int(np.median(list(counts.values()))), MOST_POOLS)
    pools = max(min(pools, split.scenes, len({recording for _, recording in recordings})), 1)
    pool_of_sound = deal_to_pools([sources.clips[sound.clip] for sound in sounds], pools, generator)
    by_pool: dict[tuple[int, str], list[Sound]] = {}
    for sound, pool, label in zip(sounds, pool_of_sound, labels_of, strict=True):
        by_pool.setdefault((pool, label), []).append(sound)
    orders = recipe.orders if split.orders is None else split.orders
    wanted, exponent = zipf_counts(len(ranked), split.scenes, recipe, orders)
    pool_of_scene = np.arange(split.scenes) % pools
    dealt = _deal_labels(wanted, ranked, pool_of_scene, by_pool, recipe, generator)
    chosen = _deal_clips(dealt, pool_of_scene, by_pool, generator)
    scenes, events, dropped = [], [], 0
    for number, parts in enumerate(chosen):
        name, group = f"{split.name}-{number:06d}", f"{split.name}-pool{pool_of_scene[number]:02d}"
        rows, facts = plan_scene(sources, parts, recipe, generator)
        dropped += len(parts) - len({row["event"] for row in rows if row["kind"] != "noise"})
        labels = sorted({row["label"] for row in rows if row["label"] is not None})
        scenes.append(
            Clip(
                id=name,
                path=name,
                end=recipe.seconds,
                labels=tuple(labels),
                split=split.name,
                group=group,
                attributes=facts,
            )
        )
        events += [{"id": name} | row for row in rows]
    positives = Counter(label for scene in scenes for label in scene.labels)
    return (
        scenes,
        events,
        {
            "from": list(split.sources),
            "scenes": split.scenes,
            "orders": orders,
            "exponent": exponent,
            "pools": pools,
            "clips": len(sounds),
            "silent_clips": len(labelled) - len(sounds),
            "recordings": len({recording for _, recording in recordings}),
            "events_dropped": dropped,
            "wanted": dict(zip(ranked, wanted.tolist(), strict=True)),
            "positives": {label: positives[label] for label in ranked},
        },
    )


def _deal_labels(
    wanted: np.ndarray,
    ranked: Sequence[str],
    pool_of_scene: np.ndarray,
    by_pool: dict[tuple[int, str], list[Sound]],
    recipe: SceneRecipe,
    generator: np.random.Generator,
) -> list[list[str]]:
    """The labels of each scene: each label in as many scenes as wanted, where its pools allow it.

    A scene gets room for some labels first (1 + a binomial number); scenes are then drawn for each label, the
    most frequent first, by the room that is left in them.
    """
    scenes = len(pool_of_scene)
    eligible = [np.isin(pool_of_scene, [pool for pool, of in by_pool if of == label]) for label in ranked]
    counts = np.minimum(wanted, [math.ceil(FULLEST * mask.sum()) for mask in eligible])
    mean = counts.sum() / scenes
    room = np.ones(scenes, dtype=np.float64)
    if recipe.most > 1:
        share = min(max((mean - 1) / (recipe.most - 1), 0.0), 1.0)
        room += generator.binomial(recipe.most - 1, share, scenes)
    dealt: list[list[str]] = [[] for _ in range(scenes)]
    number = np.zeros(scenes, dtype=np.int64)
    for label, count, mask in zip(ranked, counts.tolist(), eligible, strict=True):
        free = np.flatnonzero(mask & (number < recipe.most))
        # Drawing without replacement by weights: the largest of log(u) / weight (Efraimidis, Spirakis 2006).
        weights = np.maximum(room[free] - number[free], 1e-9)
        keys = np.log(generator.uniform(1e-12, 1.0, len(free))) / weights
        drawn = free[np.argsort(-keys, kind="stable")[:count]]
        number[drawn] += 1
        for scene in drawn.tolist():
            dealt[scene].append(label)
    return dealt


def _deal_clips(
    dealt: Sequence[Sequence[str]],
    pool_of_scene: np.ndarray,
    by_pool: dict[tuple[int, str], list[Sound]],
    generator: np.random.Generator,
) -> list[list[Sound]]:
    """A clip for each label of each scene: all clips of a pool and label equally often, in a drawn order."""
    waiting: dict[tuple[int, str], list[Sound]] = {}
    chosen: list[list[Sound]] = []
    for pool, labels in zip(pool_of_scene.tolist(), dealt, strict=True):
        parts = []
        for label in labels:
            queue = waiting.setdefault((pool, label), [])
            if not queue:
                clips = by_pool[pool, label]
                queue += [clips[index] for index in generator.permutation(len(clips)).tolist()]
            parts.append(queue.pop())
        chosen.append(parts)
    return chosen


def zipf_counts(num_labels: int, scenes: int, recipe: SceneRecipe, orders: float) -> tuple[np.ndarray, float]:
    """(K,) in how many scenes each label is, the most frequent first; and the exponent of the law.

    >>> zipf_counts(4, 1000, SceneRecipe(events=1.0, least=0), orders=1.0)[0].tolist()
    [500, 339, 111, 50]
    >>> zipf_counts(4, 1000, SceneRecipe(), orders=0.0)[0].tolist()
    [500, 500, 500, 500]

    Source: Zipf (1949); for the use of priors over orders of magnitude: Hershey et al., "CNN architectures
    for large-scale audio classification", ICASSP 2017, figure 1.
    """
    ranks = np.arange(1, num_labels + 1, dtype=np.float64)
    wanted = min(recipe.events, recipe.highest * num_labels)

    def shares(exponent: float) -> np.ndarray:
        tail = recipe.highest / 10**orders  # of the least frequent label, where the first is at `highest`
        return np.minimum(recipe.highest, tail * (num_labels / ranks) ** exponent)

    low = orders / math.log10(num_labels) if num_labels > 1 else 0.0
    if shares(low).sum() >= wanted or orders == 0:  # no label has to be held at `highest`
        exponent, law = low, ranks**-low
        law *= wanted / law.sum()
    else:
        high = 100.0
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if shares(middle).sum() < wanted else (low, middle)
        exponent, law = low, shares(low)
    counts = np.rint(law * scenes).astype(np.int64)
    return np.clip(counts, min(recipe.least, scenes), scenes), float(exponent)


def deal_to_pools(clips: Sequence[Clip], pools: int, generator: np.random.Generator) -> list[int]:
    """The pool of each clip: recordings of a label are dealt in turn; a recording is in one pool only.

    Args:
        clips: with a label each.
        pools: how many.
        generator: draws the order of labels and recordings.

    >>> clips = [Clip(id=str(i), path="", labels=("dog",), group=str(i // 2)) for i in range(6)]
    >>> sorted(deal_to_pools(clips, 3, np.random.default_rng(0)))
    [0, 0, 1, 1, 2, 2]
    """
    by_label: dict[str, dict[str, None]] = {}
    for clip in clips:
        by_label.setdefault(clip.labels[0], {})[recording_of(clip)] = None
    pool_of: dict[str, int] = {}
    for label in generator.permutation(sorted(by_label)).tolist():
        recordings = sorted(by_label[label])
        held = [pool_of[recording] for recording in recordings if recording in pool_of]  # by another label
        new = [recording for recording in recordings if recording not in pool_of]
        order = generator.permutation(pools).tolist()
        order = [pool for pool in order if pool not in held] + [pool for pool in order if pool in held]
        for position, index in enumerate(generator.permutation(len(new)).tolist()):
            pool_of[new[index]] = order[position % pools]
    return [pool_of[recording_of(clip)] for clip in clips]
