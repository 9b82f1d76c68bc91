"""How many patches clips have, counted by blocks of clips: what finds one of billions without a list of them.

The patches of a grid are numbered through all clips: 0 is the first of clip 0. The clip of a number is found
among the ends of blocks of 64 clips, of which 70 million recordings have 1.1 million, and then within one
block. All numbers are 64-bit.
"""

import numpy as np

BLOCK = 64  # clips whose patches are counted as one
MANY = 16384  # such blocks at a time, when all are counted
STORED_SECONDS = ((0.975, 0.96),)  # grids that a pack keeps: 96 frames (Hershey et al. 2017, section 3.1)


def patch_counts(lengths: np.ndarray, patch: int, hop: int) -> np.ndarray:
    """Patches of the grid in clips of some lengths, at least one: a short clip is padded.

    Args:
        lengths: samples of each clip, of any shape.
        patch: samples of a patch.
        hop: samples from one to the next.

    >>> patch_counts(np.array([160_000, 15_599, 30_960]), 15_600, 15_360).tolist()
    [10, 1, 2]
    """
    return np.maximum(np.asarray(lengths, np.int64) - patch, 0) // hop + 1


def block_ends(lengths: np.ndarray, patch: int, hop: int) -> np.ndarray:
    """Patches in all blocks of clips up to each: (ceil(N / 64),) int64, the last of them all there are.

    Memory is that of the result and of a million clips, whatever the number of clips.

    Args:
        lengths: (N,) samples of each clip.
        patch: samples of a patch.
        hop: samples from one to the next.

    >>> block_ends(np.full(130, 160_000), 15_600, 15_360).tolist()
    [640, 1280, 1300]
    """
    ends, last = [np.zeros(0, np.int64)], 0
    for start in range(0, len(lengths), BLOCK * MANY):
        counts = patch_counts(lengths[start : start + BLOCK * MANY], patch, hop)
        ends.append(last + np.cumsum(np.add.reduceat(counts, np.arange(0, len(counts), BLOCK))))
        last = int(ends[-1][-1])
    return np.concatenate(ends)


def stored_grids(rate: int) -> list[tuple[int, int]]:
    """The grids (patch, hop), in samples, that a pack of a rate is stored with.

    >>> stored_grids(16_000)
    [(15600, 15360)]
    """
    return [(round(rate * patch), round(rate * hop)) for patch, hop in STORED_SECONDS]
