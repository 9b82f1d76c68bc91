"""Recordings of an index that are one sound under several names: somebody who labels is asked about it once.

An index has no samples. The same samples have the same embeddings, to the last bit, in whatever file they are
kept: WAV, FLAC, another name. So copies have as many windows, at the same times, and all of them equal. A
recording of which nothing is known (all its embeddings are zeros) is no copy of another.

Shape letters: W rows, E values of an embedding.
"""

import hashlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from auricle.search.store import VectorIndex

BLOCK = 8192  # rows that are looked at together

Groups = list[list[str]]


def find_copies(index: "VectorIndex") -> dict[str, tuple[str, ...]]:
    """Path of each recording that has copies -> the paths of all that are the same sound, sorted.

    >>> find_copies(VectorIndex("out/index"))  # doctest: +SKIP
    {'/rec/a.wav': ('/rec/a.wav', '/rec/b.flac'), '/rec/b.flac': ('/rec/a.wav', '/rec/b.flac')}
    """
    rows = Counter[str]()
    for piece in index.pieces:
        rows[piece.path] += piece.rows
    lengths = defaultdict[int, list[str]](list)
    for path, count in rows.items():
        if count:
            lengths[count].append(path)
    # Most recordings differ in their first window from all others: the rest is read of few.
    alike = [same for paths in lengths.values() if len(paths) > 1 for same in _by_first(index, paths)]
    found = (sorted(same) for group in alike for same in _by_all(index, group))
    return {path: tuple(same) for same in found for path in same}


def _by_first(index: "VectorIndex", paths: list[str]) -> Groups:
    """Groups of recordings that are equal in their first window."""
    offsets = {segment.number: at for segment, at in zip(index.segments, index.offsets, strict=False)}
    pieces = [next(piece for piece in index.by_path[path] if piece.rows) for path in paths]
    firsts = np.array([offsets[piece.segment] + piece.first for piece in pieces], np.int64)
    groups = defaultdict[bytes, list[str]](list)
    for at in range(0, len(paths), BLOCK):
        values = index.values(firsts[at : at + BLOCK]) + np.float32(0)  # -0 is 0
        for path, row in zip(paths[at : at + BLOCK], values, strict=True):
            groups[hashlib.blake2b(row.tobytes(), digest_size=16).digest()].append(path)
    return [same for same in groups.values() if len(same) > 1]


def _by_all(index: "VectorIndex", paths: list[str]) -> Groups:
    """Groups of recordings that are equal in all windows and their times."""
    groups = defaultdict[bytes, list[str]](list)
    for path in paths:
        positions, state, any_known = index.rows_of(path), hashlib.blake2b(digest_size=16), False
        for at in range(0, len(positions), BLOCK):
            block = positions[at : at + BLOCK]
            values = index.values(block) + np.float32(0)
            any_known = any_known or bool(values.any())
            state.update(index.spans(block).tobytes() + values.tobytes())
        if any_known:
            groups[state.digest()].append(path)
    return [same for same in groups.values() if len(same) > 1]
