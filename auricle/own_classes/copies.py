"""Examples that are the same sound under several names: they share a fold, so that no twin judges another.

Shape letters: N clips.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from auricle.text import counted

NO_COPIES = {"copies": 0, "copies_of_other_labels": 0, "copies_apart": 0}


def join_copies(recordings: np.ndarray, sounds: np.ndarray) -> np.ndarray:
    """(N,) names of recordings, of which those that share a sound have one name: that of the first.

    Args:
        recordings: (N,) names.
        sounds: (N,) equal where clips are the same sound.

    >>> join_copies(np.array(["a", "a", "b", "c"]), np.array([1, 2, 2, 3])).tolist()
    ['a', 'a', 'a', 'c']
    """
    names, members = np.unique(recordings, return_inverse=True)
    first = np.full(len(names), len(recordings))
    np.minimum.at(first, members, np.arange(len(recordings)))
    above = np.arange(len(names))

    def top(recording: int) -> int:
        while above[recording] != recording:
            above[recording] = recording = above[above[recording]]
        return recording

    seen: dict[int, int] = {}
    for sound, member in zip(sounds.tolist(), members.tolist(), strict=True):
        one, other = sorted((top(seen.setdefault(sound, member)), top(member)), key=lambda r: first[r])
        above[other] = one
    return names[[top(member) for member in members.tolist()]]


def count_copies(examples: Any, folds_N: np.ndarray | None = None) -> dict[str, int]:
    """How many clips are a sound that a clip before is, too; how many of these have other labels, or folds.

    >>> from types import SimpleNamespace
    >>> twins = SimpleNamespace(sounds=np.array([5, 7, 5, 5]), targets=np.eye(2, dtype=bool)[[0, 1, 0, 1]])
    >>> count_copies(twins, np.array([0, 1, 0, 0]))
    {'copies': 2, 'copies_of_other_labels': 1, 'copies_apart': 0}
    """
    if not len(examples.sounds):
        return dict(NO_COPIES)
    _, firsts, members = np.unique(examples.sounds, return_index=True, return_inverse=True)
    original = firsts[members]
    relabelled = (examples.targets[original] != examples.targets).any(axis=1)
    return {
        "copies": int((original != np.arange(len(original))).sum()),
        "copies_of_other_labels": int(relabelled.sum()),
        "copies_apart": 0 if folds_N is None else int((folds_N[original] != folds_N).sum()),
    }


def copies_in_words(counts: Mapping[str, int]) -> str:
    """One line of what was found, "" where there is nothing.

    >>> copies_in_words(NO_COPIES | {"copies": 2, "copies_of_other_labels": 1})
    '2 clips have the same sound as others: copies share a fold; 1 of them has other labels, listen to it'
    """
    if not (copies := counts["copies"]):
        return ""
    kept = "copies share a fold"
    if apart := counts["copies_apart"]:
        kept = f"{apart} lie in another split, where one judges the other; leave out folds=splits"
    said = f"{counted(copies, 'clip')} {'have' if copies > 1 else 'has'} the same sound as others: {kept}"
    if wrong := counts["copies_of_other_labels"]:
        which = f"{wrong} of them {'has' if wrong == 1 else 'have'}" if copies > 1 else "it has"
        said += f"; {which} other labels, listen to {'it' if wrong == 1 else 'them'}"
    return said
