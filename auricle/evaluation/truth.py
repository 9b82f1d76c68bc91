"""What is truly there, clip by clip, under a two-level taxonomy: from annotations, or from a pack's labels.

The truth is what annotator 0 says, who verified what the others had heard.

Shape letters: N clips, K labels of the taxonomy.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auricle.datasets.annotations import NO_VOTE, VERIFIED, Annotations
from auricle.datasets.taxonomy import Taxonomy
from auricle.evaluation.submission import some
from auricle.metrics.urban import Branch
from auricle.shards import Pack
from auricle.text import counted

LEVELS = ("fine", "coarse")
LABEL_SET = "verified"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is there, clip by clip.

    Args:
        taxonomy: of the labels.
        clips: names of the N clips.
        positive: (N, K) bool; columns as `taxonomy.labels`.
        groups: (N,) of each clip the sensor or recording: what is drawn for intervals.
        source: what to call it in messages.
    """

    taxonomy: Taxonomy
    clips: tuple[str, ...]
    positive: np.ndarray
    groups: np.ndarray
    source: str


def level_labels(taxonomy: Taxonomy, level: str) -> tuple[str, ...]:
    """The labels of a level.

    Raises:
        ValueError: another level.

    >>> level_labels(Taxonomy(("1_dog",), (("1-1_barking",),)), "fine")
    ('1-1_barking',)
    """
    if level not in LEVELS:
        raise ValueError(f"no level {level!r}; there are: {', '.join(LEVELS)}")
    return taxonomy.fine_labels if level == "fine" else taxonomy.coarse


def branches_of(taxonomy: Taxonomy) -> list[Branch]:
    """Of each coarse class the columns of its complete fine labels, and that of its unknown one.

    >>> branches_of(Taxonomy(("1_engine", "2_dog"), (("1-1_small", "1-X_unclear"), ("2-1_barking",))))
    [((0,), 1), ((2,), None)]
    """
    found: list[Branch] = []
    start = 0
    for coarse, fine in zip(taxonomy.coarse, taxonomy.fine, strict=True):
        stop = start + len(fine)
        unknown = None if taxonomy.unknown_of(coarse) is None else stop - 1
        found.append((tuple(range(start, stop - (unknown is not None))), unknown))
        start = stop
    return found


def annotated_truth(annotations: Annotations, splits: Sequence[str] | None, source: str) -> Truth:
    """The rows of annotator 0 in some splits.

    A label that annotator 0 was not asked of counts as not there, and a warning says how many.

    Args:
        annotations: as read.
        splits: names of splits; None takes all.
        source: the file, for messages.

    Raises:
        ValueError: no such split, or no row of annotator 0 in it; the message lists what there is.

    >>> annotated_truth(annotations, ["validate"], "annotations-dev.csv").positive.shape  # doctest: +SKIP
    (443, 37)
    """
    wanted, split_of = names_of(splits), np.array(annotations.splits, dtype=object)
    for name in wanted or ():
        if name not in annotations.splits:
            known = ", ".join(sorted({repr(split) for split in annotations.splits}))
            raise ValueError(f"{source}: no split {name!r}; there are: {known}")
    verified = annotations.verified_rows()
    rows = verified if wanted is None else verified & np.isin(split_of[annotations.clip], wanted)
    if not rows.any():
        having = sorted({str(name) for name in split_of[annotations.clip[verified]]})
        where = f" in split {' or '.join(wanted)}" if wanted else ""
        others = f"; there are some in: {', '.join(having)}" if having else ""
        raise ValueError(f"{source}: no rows of annotator {VERIFIED}, the verified truth,{where}{others}")
    clips, votes = annotations.clip[rows], annotations.votes[rows]
    _warn_of_gaps(votes == NO_VOTE, source)
    sensors = [annotations.sensors[clip] or f"\x1f{annotations.clips[clip]}" for clip in clips]
    return Truth(
        taxonomy=annotations.taxonomy,
        clips=tuple(annotations.clips[clip] for clip in clips),
        positive=votes == 1,
        groups=np.array(sensors),
        source=source,
    )


def packed_taxonomy(pack: Pack, label_set: str = LABEL_SET) -> Taxonomy:
    """The taxonomy of a pack's label set.

    Raises:
        ValueError: no such label set, it has no taxonomy, or lacks some of its labels.

    >>> packed_taxonomy(Pack("out/pack")).coarse[0]  # doctest: +SKIP
    '1_engine'
    """
    make = f"`auricle annotations CSV --taxonomy YAML --pack {pack.path}` makes some"
    if label_set not in pack.label_sets:
        having = ", ".join(pack.label_sets)
        raise ValueError(f"{pack.path}: no label set {label_set!r}; there are: {having}; {make}")
    found = pack.taxonomy(label_set)
    if found is None:
        able = [name for name in pack.label_sets if pack.taxonomy(name) is not None]
        others = f"those that have one: {', '.join(able)}" if able else f"none has one; {make}"
        raise ValueError(f"{pack.path}: label set {label_set!r} has no taxonomy; {others}")
    taxonomy = Taxonomy.from_dict(found)
    names = pack.label_names(label_set)
    if lacking := [label for label in taxonomy.labels if label not in names]:
        raise ValueError(
            f"{pack.path}: label set {label_set!r} lacks {len(lacking)} of the {len(taxonomy.labels)} labels "
            f"of its taxonomy ({some(lacking)}); the protocol needs all: name the set that it is a view of"
        )
    return taxonomy


def packed_truth(pack: Pack, clips: np.ndarray, label_set: str = LABEL_SET) -> tuple[Truth, np.ndarray]:
    """The truth of those of some clips of a pack that have one; and which these are.

    A clip all of whose labels are unknown has none.

    Raises:
        ValueError: as in `packed_taxonomy`, or no clip has a truth.

    >>> truth, clips = packed_truth(Pack("out/pack"), np.arange(10))  # doctest: +SKIP
    """
    taxonomy = packed_taxonomy(pack, label_set)
    names = pack.label_names(label_set)
    columns = [names.index(label) for label in taxonomy.labels]
    unknown = pack.unknown(clips, label_set)[:, columns]
    having = ~unknown.all(axis=1)
    if not having.any():
        raise ValueError(
            f"{pack.path}: none of the {counted(len(clips), 'clip')} has a truth in label set {label_set!r}; "
            "choose another split"
        )
    clips = clips[having]
    positive = pack.targets(clips, label_set)[:, columns] > 0
    _warn_of_gaps(unknown[having] & ~_under_unknown(taxonomy, positive), f"{pack.path}: {label_set}")
    ids = tuple(str(name) for name in pack.ids[clips])
    source = f"{pack.path}: label set {label_set!r}"
    groups = np.asarray(pack.recordings[clips])
    return Truth(taxonomy=taxonomy, clips=ids, positive=positive, groups=groups, source=source), clips


def _under_unknown(taxonomy: Taxonomy, positive_NK: np.ndarray) -> np.ndarray:
    """(N, K) bool: complete fine labels of which nothing is known because X says so."""
    out = np.zeros_like(positive_NK)
    for complete, unknown in branches_of(taxonomy):
        if unknown is not None:
            out[:, list(complete)] = positive_NK[:, [unknown]]
    return out


def _warn_of_gaps(gaps_NK: np.ndarray, source: str) -> None:
    if gaps := int(gaps_NK.sum()):
        clips = counted(int(gaps_NK.any(axis=1).sum()), "clip")
        what = counted(gaps, "label")
        warnings.warn(
            f"{source}: the truth does not say whether {what} of {clips} hold: they count as not there",
            stacklevel=3,
        )


def names_of(splits: Sequence[str] | None) -> list[str] | None:
    """Names of splits as a list, also of one alone.

    >>> names_of("validate"), names_of(None)
    (['validate'], None)
    """
    return None if splits is None else [splits] if isinstance(splits, str) else list(splits)
