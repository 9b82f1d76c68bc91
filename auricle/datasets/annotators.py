"""Simulated annotators: what people might have said of scenes of which it is known what sounds in them.

Every annotator has rates of their own, drawn uniformly from stated ranges. Of each sound in a clip they

1. miss it, the likelier the quieter it is: the odds of a miss at the loudest sound of the clip are those of
   the annotator's own rate, and grow by a factor for every 10 dB that a sound lies below the loudest;
2. or take it for another class: a sibling under the same coarse class, or, in a share of these cases (and
   always where there is no sibling), a class under another one;
3. or say only which coarse class it is: X, where that class has one;
4. or name it.

A vote on a coarse class is 1 where any of its fine labels is. Annotator 0, the verified truth, knows every
sound; but a sound that is very far below the loudest gets X, where there is one, since nobody could tell.
Sounds that are not there at all are heard by confusion only. Everything is drawn from the seed and the name
of the split, so that a split does not change with the others.
"""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from auricle.datasets.annotations import VERIFIED, Annotations
from auricle.datasets.taxonomy import Taxonomy, is_unknown

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class AnnotatorRecipe:
    """Who annotates, and how badly; ranges are those from which each annotator's own rate is drawn.

    Args:
        seed: of all that is drawn.
        annotators: how many there are.
        each: how many annotate a clip.
        miss: rate of missing the loudest sound of a clip.
        fade: factor on the odds of a miss for every 10 dB below the loudest.
        confuse: rate of naming another class, of the sounds that are not missed.
        elsewhere: share of these that go to another coarse class.
        unsure: rate of saying X, of the sounds that are not missed.
        unclear_db: the verified truth says X of sounds that lie further below the loudest than this.

    Raises:
        ValueError: a field that makes no sense; it is named.

    >>> AnnotatorRecipe(miss=(0.0, 0.1)).each
    3
    """

    seed: int = 0
    annotators: int = 60
    each: int = 3
    miss: Range = (0.1, 0.5)
    fade: float = 2.5
    confuse: Range = (0.1, 0.3)
    elsewhere: Range = (0.2, 0.5)
    unsure: Range = (0.05, 0.2)
    unclear_db: float = 17.0

    def __post_init__(self) -> None:
        for name in ("miss", "confuse", "elsewhere", "unsure"):
            low, high = getattr(self, name)
            if not 0.0 <= low <= high <= 1.0:
                raise ValueError(
                    f"annotators: {name}: expected a range within 0 to 1, got {low:g} to {high:g}"
                )
        if self.confuse[1] + self.unsure[1] > 1.0:
            raise ValueError("annotators: confuse and unsure: their upper ends must not sum to more than 1")
        if not 1 <= self.each <= self.annotators:
            raise ValueError(
                f"annotators: each: expected 1 to {self.annotators} (all there are), got {self.each}"
            )
        if not 1.0 <= self.fade <= 100.0:
            raise ValueError(f"annotators: fade: expected 1 (level plays no part) to 100, got {self.fade:g}")
        if self.unclear_db < 0:
            raise ValueError(f"annotators: unclear_db: expected 0 or more, got {self.unclear_db:g}")

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON holds them."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }


@dataclass(frozen=True, kw_only=True)
class Sounds:
    """What sounds in N clips.

    Args:
        clip: (S,) int64, which clip; rising.
        label: (S,) int64, which of `taxonomy.labels`: complete fine ones.
        below_db: (S,) float64, how far each lies below the loudest sound of its clip; 0 or more.
    """

    clip: np.ndarray
    label: np.ndarray
    below_db: np.ndarray


def annotators_with(recipe: AnnotatorRecipe, settings: dict[str, str]) -> AnnotatorRecipe:
    """A recipe with some fields replaced, given as text; a range is LOW-HIGH, or one number for both.

    Raises:
        ValueError: no such field, or no such value; the field is named.

    >>> annotators_with(AnnotatorRecipe(), {"miss": "0.1-0.2", "each": "5"}).miss
    (0.1, 0.2)
    """
    values = asdict(recipe)
    for name, text in settings.items():
        if name not in values:
            raise ValueError(f"annotators: no setting {name!r}; there are: {', '.join(values)}")
        ranged = isinstance(values[name], tuple)
        try:
            if ranged:
                low, dash, high = text.partition("-")
                values[name] = (float(low), float(high if dash else low))
            else:
                values[name] = type(values[name])(text)
        except ValueError:
            what = "a range, say 0.1-0.3" if ranged else "a number"
            raise ValueError(f"annotators: {name}: expected {what}, got {text!r}") from None
    return AnnotatorRecipe(**values)


def setting_names() -> list[str]:
    """Names of the recipe's fields.

    >>> "miss" in setting_names()
    True
    """
    return [field.name for field in fields(AnnotatorRecipe)]


def simulate(
    taxonomy: Taxonomy,
    clips: Sequence[str],
    splits: Sequence[str],
    sensors: Sequence[str],
    sounds: Sounds,
    recipe: AnnotatorRecipe,
    verified: Sequence[str] = (),
) -> Annotations:
    """Annotate clips of which it is known what sounds in them.

    Args:
        taxonomy: of the labels.
        clips: names of the N clips.
        splits: (N) of each clip.
        sensors: (N) of each clip.
        sounds: what there is to hear.
        recipe: who annotates, and how badly.
        verified: splits whose clips also get rows of annotator 0, the verified truth.

    Raises:
        ValueError: a split of `verified` has no clips.

    >>> one = Taxonomy(("1_engine", "2_dog"), (("1-1_car", "1-X_unclear"), ("2-1_bark",)))
    >>> bark = Sounds(clip=np.array([0]), label=np.array([2]), below_db=np.zeros(1))
    >>> sure = AnnotatorRecipe(miss=(0, 0), confuse=(0, 0), unsure=(0, 0))
    >>> simulate(one, ["a"], ["test"], ["s"], bark, sure, ["test"]).votes.tolist()
    [[0, 0, 1, 0, 1], [0, 0, 1, 0, 1], [0, 0, 1, 0, 1], [0, 0, 1, 0, 1]]
    """
    if absent := [name for name in verified if name not in splits]:
        raise ValueError(f"annotators: split {absent[0]!r} is to be verified, but has no clips")
    tables = _Tables.of(taxonomy)
    rates = _rates(recipe)
    split_of = np.array(splits, dtype=object)
    who = np.zeros((len(clips), recipe.each), dtype=np.int64)
    said = np.zeros((len(clips), recipe.each, len(taxonomy.labels)), dtype=np.int8)
    for split in dict.fromkeys(splits):
        generator = np.random.default_rng([recipe.seed, 2, zlib.crc32(split.encode())])
        here = np.flatnonzero(split_of == split)
        keys = generator.random((len(here), recipe.annotators), dtype=np.float32)
        who[here] = np.argsort(keys, axis=1)[:, : recipe.each]
        of_split = split_of[sounds.clip] == split
        clip, label = sounds.clip[of_split], sounds.label[of_split]
        named = _named(label, sounds.below_db[of_split], who[clip], rates, tables, recipe.fade, generator)
        sound, slot = np.nonzero(named >= 0)
        said[clip[sound], slot, named[sound, slot]] = 1
    truth = np.zeros((len(clips), len(taxonomy.labels)), dtype=np.int8)
    unclear = (sounds.below_db > recipe.unclear_db) & (tables.unknown[sounds.label] >= 0)
    truth[sounds.clip, np.where(unclear, tables.unknown[sounds.label], sounds.label)] = 1
    return _annotations(taxonomy, clips, splits, sensors, who, said, truth, verified, recipe.annotators)


@dataclass(frozen=True)
class _Tables:
    """For each label: its X (-1: none), and the labels it may be taken for, padded, with their numbers."""

    unknown: np.ndarray
    siblings: np.ndarray
    sibling_counts: np.ndarray
    others: np.ndarray
    other_counts: np.ndarray

    @staticmethod
    def of(taxonomy: Taxonomy) -> "_Tables":
        place = {label: column for column, label in enumerate(taxonomy.labels)}
        complete = [[place[name] for name in fine if not is_unknown(name)] for fine in taxonomy.fine]
        unknown = np.full(len(place), -1, dtype=np.int64)
        near: list[list[int]] = [[] for _ in place]
        far: list[list[int]] = [[] for _ in place]
        for coarse, inside in zip(taxonomy.coarse, complete, strict=True):
            last = taxonomy.unknown_of(coarse)
            for label in inside:
                unknown[label] = -1 if last is None else place[last]
                near[label] = [other for other in inside if other != label]
                far[label] = [other for group in complete if group is not inside for other in group]
        return _Tables(unknown, *_padded(near), *_padded(far))


def _padded(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    table = np.zeros((len(rows), max(1, int(counts.max()))), dtype=np.int64)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return table, counts


def _rates(recipe: AnnotatorRecipe) -> dict[str, np.ndarray]:
    """(annotators,) of each rate."""
    generator = np.random.default_rng([recipe.seed, 3])
    ranges = {name: getattr(recipe, name) for name in ("miss", "confuse", "elsewhere", "unsure")}
    return {name: generator.uniform(low, high, recipe.annotators) for name, (low, high) in ranges.items()}


def _named(
    label: np.ndarray,
    below_db: np.ndarray,
    who: np.ndarray,
    rates: dict[str, np.ndarray],
    tables: _Tables,
    fade: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """(S, each) int64: the label that each annotator of a sound's clip gives it; -1 where it is missed."""
    chance = generator.random((4, *who.shape))
    factor = fade ** (below_db / 10.0)
    odds = rates["miss"][who] * factor[:, None]
    missed = chance[0] * (odds + 1 - rates["miss"][who]) < odds
    confused = chance[1] < rates["confuse"][who]
    unsure = ~confused & (chance[1] < (rates["confuse"] + rates["unsure"])[who])
    own = np.broadcast_to(label[:, None], who.shape)
    near, far = tables.sibling_counts[own], tables.other_counts[own]
    away = confused & (far > 0) & ((chance[2] < rates["elsewhere"][who]) | (near == 0))
    beside = confused & ~away & (near > 0)
    named = own.copy()
    named = np.where(away, tables.others[own, (chance[3] * far).astype(np.int64)], named)
    named = np.where(beside, tables.siblings[own, (chance[3] * near).astype(np.int64)], named)
    named = np.where(unsure & (tables.unknown[own] >= 0), tables.unknown[own], named)
    return np.where(missed, -1, named)


def _annotations(
    taxonomy: Taxonomy,
    clips: Sequence[str],
    splits: Sequence[str],
    sensors: Sequence[str],
    who: np.ndarray,
    said: np.ndarray,
    truth: np.ndarray,
    verified: Sequence[str],
    annotators: int,
) -> Annotations:
    """Rows in the order of the clips, the verified truth last of each."""
    checked = np.isin(np.array(splits, dtype=object), list(verified))
    each = who.shape[1]
    clip = np.concatenate([np.repeat(np.arange(len(clips)), each), np.flatnonzero(checked)])
    annotator = np.concatenate([who.reshape(-1) + 1, np.zeros(int(checked.sum()), dtype=np.int64)])
    votes = np.concatenate([said.reshape(len(clips) * each, -1), truth[checked]])
    start = 0
    for column, fine in enumerate(taxonomy.fine, start=len(taxonomy.fine_labels)):
        votes[:, column] = votes[:, start : start + len(fine)].any(axis=1)
        start += len(fine)
    order = np.argsort(clip, kind="stable")
    return Annotations(
        taxonomy=taxonomy,
        clips=tuple(clips),
        splits=tuple(splits),
        sensors=tuple(sensors),
        annotators=(VERIFIED, *(str(number) for number in range(1, annotators + 1))),
        clip=clip[order],
        annotator=annotator[order],
        votes=votes[order],
    )
