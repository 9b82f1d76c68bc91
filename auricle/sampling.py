"""Which patch comes next: a pure function of (seed, step), so that nothing has to be remembered to go on.

Patches are numbered through in one endless stream; a batch is a slice of it, and each rank of a
distributed run takes its own slices.  Orders are shuffled by a keyed permutation of the indices
(a Feistel network) that is computed, not stored: a draw costs the same from 2,000 clips or from 70 million
with their 20 billion patches.
"""

from typing import Any

import numpy as np

BALANCES = ("clips", "patches", "classes")
ROUNDS = 6
BLOCK, MANY = 64, 16384  # clips whose patches are counted as one; such blocks at a time, when all are counted
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: successive multiples are far apart
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def hash_uint64(*values: int | np.ndarray) -> np.ndarray:
    """Mixes integers into 64 well-scrambled bits each; arrays broadcast.

    >>> int(hash_uint64(1, 2)) == int(hash_uint64(1, 2)), int(hash_uint64(1, 2)) == int(hash_uint64(2, 1))
    (True, False)

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, figure 16).
    """
    state: np.ndarray | np.uint64 = np.uint64(0)
    with np.errstate(over="ignore"):
        for value in values:
            state = (state ^ np.asarray(value).astype(np.uint64)) + GOLDEN
            state = (state ^ (state >> np.uint64(30))) * MIX_1
            state = (state ^ (state >> np.uint64(27))) * MIX_2
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state)


def permute(index: np.ndarray, size: int | np.ndarray, key: np.ndarray | int) -> np.ndarray:
    """Where each index lands in a shuffle of range(size), without making the shuffle.

    Args:
        index: (N,) integers in [0, size).
        size: length of the shuffled range; one for all or (N,).
        key: which shuffle; one for all or (N,) of 64-bit integers.

    Returns:
        (N,) int64; over all indices of one size and key, each value of range(size) exactly once.

    >>> sorted(permute(np.arange(10), 10, key=7).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]

    Source: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002 (section 5).
    """
    index, size, key = np.broadcast_arrays(np.asarray(index, np.int64), np.asarray(size, np.int64), key)
    if ((index < 0) | (index >= size)).any():
        raise ValueError("expected every index in [0, size)")
    # The smallest square power of two that holds the range: walking out of it ends after a few steps.
    bits = np.ceil(np.log2(np.maximum(size, 2))).astype(np.uint64)
    half = (bits + np.uint64(1)) // np.uint64(2)
    out = index.astype(np.uint64)
    todo = np.arange(len(index))
    while len(todo):
        out[todo] = _feistel(out[todo], half[todo], key[todo])
        todo = todo[out[todo] >= size[todo].astype(np.uint64)]
    return out.astype(np.int64)


def _feistel(value: np.ndarray, half: np.ndarray, key: np.ndarray) -> np.ndarray:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = value >> half, value & mask
    for turn in range(ROUNDS):
        left, right = right, left ^ (hash_uint64(key, turn, right) & mask)
    return (left << half) | right


class PatchSampler:
    """Draws (clip, offset) pairs for training.

    Args:
        lengths: (N,) samples in each clip; only its first `lengths[i]` samples are drawn from.
        patch: samples in a patch.
        hop: samples from one patch of the grid to the next, for "patches"; None lays patch beside patch.
        batch: patches a draw, on each rank.
        seed: which of the endless streams.
        balance: "clips": every clip once an epoch, at a random offset. "patches": every patch of the
            grid once an epoch, so a long clip counts by its length (Hershey et al. 2017, section 3.1).
            "classes": every class equally often, exactly over an epoch of K draws; within a class every clip
            equally often; a clip with several labels is drawn under each of them.
        label_clips: (indptr (K+1,), indices) of the clips of each class, for "classes"; a class without clips
            is passed over.
        rank, world: this process's number and how many there are.

    A clip shorter than the patch is drawn at offset 0; who reads it pads with zeros.

    >>> sampler = PatchSampler(np.array([100, 200, 50]), patch=80, batch=3, seed=0)
    >>> clips, offsets = sampler.draw(step=0)
    >>> sorted(clips.tolist()), bool((offsets <= 120).all())
    ([0, 1, 2], True)
    """

    def __init__(
        self,
        lengths: np.ndarray,
        *,
        patch: int,
        batch: int,
        seed: int,
        hop: int | None = None,
        balance: str = "clips",
        label_clips: tuple[np.ndarray, np.ndarray] | None = None,
        rank: int = 0,
        world: int = 1,
    ):
        self.lengths = np.asarray(lengths, np.int64)
        if not len(self.lengths):
            raise ValueError("expected at least one clip to draw from, got none")
        hop = patch if hop is None else hop
        if min(patch, batch, hop) < 1 or not 0 <= rank < world:
            raise ValueError(
                "expected patch and batch >= 1, hop >= 1 and 0 <= rank < world, "
                f"got {patch}, {batch}, {hop}, {rank}, {world}"
            )
        if balance not in BALANCES:
            raise ValueError(f"unknown balance {balance!r}; known: {', '.join(BALANCES)}")
        self.patch, self.hop, self.batch, self.seed, self.balance = patch, hop, batch, seed, balance
        self.rank, self.world = rank, world
        self.step = 0
        if balance == "patches":
            self._ends = self._block_ends()
        if balance == "classes":
            if label_clips is None:
                raise ValueError("balance 'classes' needs label_clips, the clips of each class")
            indptr, self._class_clips = (np.asarray(part) for part in label_clips)
            filled = np.flatnonzero(np.diff(indptr))
            if not len(filled):
                raise ValueError("balance 'classes' needs at least one class with a clip, got none")
            self._class_starts, self._class_sizes = indptr[filled], np.diff(indptr)[filled]

    @property
    def epoch_size(self) -> int:
        """Draws an epoch, over all ranks: clips, patches, or classes."""
        if self.balance == "clips":
            return len(self.lengths)
        return int(self._ends[-1]) if self.balance == "patches" else len(self._class_sizes)

    def draw(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch of a step: clip indices (B,) and offsets in samples (B,), both int64."""
        first = (step * self.world + self.rank) * self.batch
        stream = np.arange(first, first + self.batch)
        epoch, position = np.divmod(stream, self.epoch_size)
        order = permute(position, self.epoch_size, hash_uint64(self.seed, epoch, 0))
        if self.balance == "patches":
            clips, number = self._patch_of(order)
            return clips, number * self.hop
        if self.balance == "classes":
            # The n-th draw of a class takes its n-th clip of an endless run of shuffles of its clips.
            turn, place = np.divmod(epoch, self._class_sizes[order])
            within = permute(place, self._class_sizes[order], hash_uint64(self.seed, order, turn, 1))
            clips = self._class_clips[self._class_starts[order] + within].astype(np.int64)
        else:
            clips = order
        room = np.maximum(self.lengths[clips] - self.patch, 0) + 1
        return clips, (hash_uint64(self.seed, stream, 2) % room.astype(np.uint64)).astype(np.int64)

    def _counts(self, lengths: np.ndarray) -> np.ndarray:
        """Patches of the grid in clips of these lengths, at least one."""
        return np.maximum(lengths - self.patch, 0) // self.hop + 1

    def _block_ends(self) -> np.ndarray:
        """Patches in all blocks of clips up to each: 64-bit, and nothing that is as long as the corpus."""
        ends, last = [], 0
        for start in range(0, len(self.lengths), BLOCK * MANY):
            counts = self._counts(self.lengths[start : start + BLOCK * MANY])
            ends.append(last + np.cumsum(np.add.reduceat(counts, np.arange(0, len(counts), BLOCK))))
            last = ends[-1][-1]
        return np.concatenate(ends)

    def _patch_of(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Clip (B,) and number within it (B,) of patches that are numbered through all clips."""
        block = np.searchsorted(self._ends, order, side="right")
        rest = order - np.where(block, self._ends[block - 1], 0)
        clips = block[:, None] * BLOCK + np.arange(BLOCK)
        counts = self._counts(self.lengths[np.minimum(clips, len(self.lengths) - 1)])
        ends = np.cumsum(counts, axis=1)
        within = (ends <= rest[:, None]).sum(1)
        row = np.arange(len(order))
        return block * BLOCK + within, rest - (ends[row, within] - counts[row, within])

    def __iter__(self) -> "PatchSampler":
        return self

    def __next__(self) -> tuple[np.ndarray, np.ndarray]:
        """The batch at the sampler's own position, which then moves on by one."""
        self.step += 1
        return self.draw(self.step - 1)

    def state_dict(self) -> dict[str, Any]:
        """The position, and what it is a position of."""
        return {"step": self.step, "seed": self.seed, "balance": self.balance, "epoch_size": self.epoch_size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ValueError: the state is of another stream (seed, balance or corpus).
        """
        mine = {**self.state_dict(), "step": state["step"]}
        if mine != state:
            raise ValueError(f"the state is of another stream: {state}, this sampler is {mine}")
        self.step = state["step"]
