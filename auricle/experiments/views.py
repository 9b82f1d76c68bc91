"""Label views and subsets that an experiment puts over a pack: named by their content, so made only once."""

import hashlib
from collections.abc import Sequence

import numpy as np

from auricle.shards import Pack
from auricle.shards.labels import add_label_view, most_frequent
from auricle.shards.subsets import add_subset

ESC10 = "esc10"  # attribute of ESC-50's clips that belong to ESC-10


def label_view(pack: Pack, prefix: str, labels: Sequence[str], of: str) -> str:
    """The name of a label set with these labels, in this order; put over the pack where it is missing.

    >>> label_view(Pack("out/esc50"), "top", ["rain", "dog"], "labels")  # doctest: +SKIP
    'top2-1f0c6a2b'
    """
    if list(labels) == pack.label_names(of):
        return of
    name = f"{prefix}{len(labels)}-{_digest([of, *labels])}"
    if name not in Pack(pack.path).label_sets:
        add_label_view(pack.path, name, labels, of)
    return name


def labelled_subset(pack: Pack, splits: Sequence[str], label_set: str) -> str:
    """The name of a subset: the clips of some splits that have a label of a set.

    Raises:
        ValueError: there is no such clip.

    >>> labelled_subset(Pack("out/esc50"), ["fold5"], "top2-1f0c6a2b")  # doctest: +SKIP
    'with-label-0c3d8e11'
    """
    opened = Pack(pack.path)
    clips = opened.select(splits)
    indptr, _ = opened.clip_labels(label_set)
    chosen = clips[indptr[clips + 1] > indptr[clips]]
    if not len(chosen):
        raise ValueError(f"{pack.path}: no clip of {', '.join(splits)} has a label of set {label_set!r}")
    name = f"with-label-{_digest([label_set, *splits])}"
    if name not in opened.subset_names:
        add_subset(pack.path, name, chosen, {"splits": list(splits), "with_a_label_of": label_set})
    return name


def choose_labels(pack: Pack, wanted: Sequence[str], splits: Sequence[str], of: str) -> list[list[str]]:
    """Lists of labels, the longest first, each within the one before.

    Args:
        pack: the pack.
        wanted: for each list a number of labels, `esc10` (the labels of the clips whose attribute of that
            name is true), or a label set of the pack.
        splits: whose clips are counted.
        of: the label set that they are chosen from.

    A number takes the next smaller list first, then the most frequent labels besides.

    Raises:
        ValueError: a list that is neither, that has labels which a longer one lacks, or two of one length.

    >>> choose_labels(Pack("out/esc50"), ["25", "esc10"], ["fold1"], "labels")[1][:2]  # doctest: +SKIP
    ['airplane', 'breathing']
    """
    named = [_named_labels(pack, name, of) for name in wanted if not name.isdigit()]
    sizes = sorted({int(name) for name in wanted if name.isdigit()} | {len(labels) for labels in named})
    if len(sizes) != len(wanted):
        raise ValueError(f"expected label sets of different sizes, got {', '.join(wanted)}")
    counts = pack.label_counts(of, pack.select(splits))
    ranked = most_frequent(pack, int(np.count_nonzero(counts)), of, pack.select(splits))
    found: list[list[str]] = []
    smaller: set[str] = set()
    for size in sizes:
        given = next((labels for labels in named if len(labels) == size), None)
        if given is None:
            if size > len(ranked):
                raise ValueError(
                    f"{pack.path}: {len(ranked)} labels of {of!r} occur in {', '.join(splits)}, "
                    f"fewer than the {size} asked for"
                )
            room = size - len(smaller)
            taken = smaller | set([label for label in ranked if label not in smaller][:room])
            given = [label for label in pack.label_names(of) if label in taken]
        if lacking := sorted(smaller - set(given)):
            raise ValueError(f"the set of {size} labels lacks {', '.join(lacking[:5])} of the smaller set")
        smaller = set(given)
        found.append(given)
    return found[::-1]


def _named_labels(pack: Pack, name: str, of: str) -> list[str]:
    names = pack.label_names(of)
    if name in pack.label_sets:
        labels = pack.label_names(name)
    elif name == ESC10 and ESC10 in pack.attribute_names:
        chosen = np.flatnonzero([str(value).lower() == "true" for value in pack.attributes(ESC10)])
        labels = [names[k] for k in np.flatnonzero(pack.label_counts(of, chosen))]
    else:
        raise ValueError(
            f"{pack.path}: expected a number of labels, {ESC10} (where clips have that attribute) or a "
            f"label set ({', '.join(pack.label_sets)}), got {name!r}"
        )
    if foreign := sorted(set(labels) - set(names)):
        raise ValueError(f"{pack.path}: {name!r} has labels that {of!r} has not: {', '.join(foreign[:5])}")
    return [label for label in names if label in set(labels)]


def _digest(parts: Sequence[str]) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=4).hexdigest()
