"""Which patch comes next: a pure function of (seed, step), so that nothing has to be remembered to go on.

Patches are numbered through in one endless stream; a batch is a slice of it, and each rank of a
distributed run takes its share of that slice, so that all ranks together draw what one process would.
Orders are shuffled by a keyed permutation of the indices (a Feistel network) that is computed, not stored: a
draw costs the same from 2,000 clips or from 70 million with their 20 billion patches.  Some thousand draws
are computed at a time, since most of the time of a few would be Python's.
"""

from typing import Any

import numpy as np

from auricle.grids import BLOCK, block_ends, patch_counts

BALANCES = ("clips", "patches", "classes")
ROUNDS = 6
AT_ONCE = 4096  # draws that are computed together
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: successive multiples are far apart
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
POWERS = np.int64(1) << np.arange(63)


def hash_uint64(*values: int | np.ndarray) -> np.ndarray:
    """Mixes integers into 64 well-scrambled bits each; arrays broadcast.

    >>> int(hash_uint64(1, 2)) == int(hash_uint64(1, 2)), int(hash_uint64(1, 2)) == int(hash_uint64(2, 1))
    (True, False)

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, figure 16).
    """
    state: np.ndarray | np.uint64 = np.uint64(0)
    for value in values:
        state = _mix(state, np.asarray(value).astype(np.uint64))
    return np.asarray(state)


def _mix(state: Any, value: np.ndarray) -> Any:
    with np.errstate(over="ignore"):
        state = (state ^ value) + GOLDEN
        state = (state ^ (state >> np.uint64(30))) * MIX_1
        state = (state ^ (state >> np.uint64(27))) * MIX_2
    return state ^ (state >> np.uint64(31))


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
    key = np.asarray(key)
    index, size = np.broadcast_arrays(np.asarray(index, np.int64), np.asarray(size, np.int64))
    if ((index < 0) | (index >= size)).any():
        raise ValueError("expected every index in [0, size)")
    # The smallest square power of two that holds the range: walking out of it ends after a few steps.
    half = (np.searchsorted(POWERS, np.maximum(size, 2)).astype(np.uint64) + np.uint64(1)) // np.uint64(2)
    # What a key does in each round is the same at every step of a walk: (rounds, N), or (rounds, 1) of one.
    rounds = hash_uint64(key.reshape(1, -1), np.arange(ROUNDS)[:, None])
    out = index.astype(np.uint64)
    todo = np.arange(len(index))
    while len(todo):
        chosen = rounds if rounds.shape[1] == 1 else rounds[:, todo]
        out[todo] = walked = _feistel(out[todo], half[todo], chosen)
        todo = todo[walked >= size[todo].astype(np.uint64)]
    return out.astype(np.int64)


def _feistel(value: np.ndarray, half: np.ndarray, rounds: np.ndarray) -> np.ndarray:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = value >> half, value & mask
    for turn in rounds:
        left, right = right, left ^ (_mix(turn, right) & mask)
    return (left << half) | right


def share(total: int, rank: int, world: int) -> slice:
    """Which of `total` things, in a row, are a rank's: as many for each as can be, none twice, none left out.

    >>> [share(8, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
    """
    return slice(total * rank // world, total * (rank + 1) // world)


class PatchSampler:
    """Draws (clip, offset) pairs for training.

    Args:
        lengths: (N,) samples in each clip; only its first `lengths[i]` samples are drawn from.
        patch: samples in a patch.
        hop: samples from one patch of the grid to the next, for "patches"; None lays patch beside patch.
        batch: patches a draw, of all ranks together; each takes its `share`.
        seed: which of the endless streams.
        balance: "clips": every clip once an epoch, at a random offset. "patches": every patch of the
            grid once an epoch, so a long clip counts by its length (Hershey et al. 2017, section 3.1).
            "classes": every class equally often, exactly over an epoch of K draws; within a class every clip
            equally often; a clip with several labels is drawn under each of them.
        label_clips: (indptr (K+1,), indices) of the clips of each class, for "classes"; a class without clips
            is passed over.
        rank, world: this process's number and how many there are; no more than patches in a batch.
        ends: `block_ends(lengths, patch, hop)` for "patches", where they are stored: `Pack.patch_ends`. Then
            no more than the lengths of clips that are drawn is ever read.

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
        ends: np.ndarray | None = None,
    ):
        self.lengths = np.asarray(lengths, np.int64)
        if not len(self.lengths):
            raise ValueError("expected at least one clip to draw from, got none")
        hop = patch if hop is None else hop
        if min(patch, batch, hop) < 1 or not 0 <= rank < world <= max(batch, 1):
            raise ValueError(
                "expected patch and batch >= 1, hop >= 1 and 0 <= rank < world <= batch, "
                f"got {patch}, {batch}, {hop}, {rank}, {world}"
            )
        if balance not in BALANCES:
            raise ValueError(f"unknown balance {balance!r}; known: {', '.join(BALANCES)}")
        self.patch, self.hop, self.batch, self.seed, self.balance = patch, hop, batch, seed, balance
        self.rank, self.world = rank, world
        self.step = 0
        self._mine = share(batch, rank, world)
        self._count = self._mine.stop - self._mine.start
        self._steps_at_once = max(1, AT_ONCE // self._count)
        self._drawn: tuple[int, np.ndarray, np.ndarray] | None = None
        if balance == "patches":
            self._ends = block_ends(self.lengths, patch, hop) if ends is None else ends
            if len(self._ends) != -(-len(self.lengths) // BLOCK):
                raise ValueError(
                    f"ends: expected one for each {BLOCK} of {len(self.lengths)} clips, got {len(self._ends)}"
                )
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
        """This rank's share of a step's batch: clip indices (B,) and offsets in samples (B,), both int64."""
        number, row = divmod(step, self._steps_at_once)
        drawn = self._drawn
        if drawn is None or drawn[0] != number:
            # One assignment of a whole, so that threads may share a sampler.
            self._drawn = drawn = (number, *self._draw(number * self._steps_at_once, self._steps_at_once))
        part = slice(row * self._count, (row + 1) * self._count)
        return drawn[1][part].copy(), drawn[2][part].copy()

    def _draw(self, step: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """This rank's share of the batches of some steps from one on, one after the other."""
        first = np.arange(step, step + steps) * self.batch
        stream = (first[:, None] + np.arange(self._mine.start, self._mine.stop)).reshape(-1)
        epoch, position = np.divmod(stream, self.epoch_size)
        same = epoch[0] == epoch[-1]
        order = permute(position, self.epoch_size, hash_uint64(self.seed, epoch[:1] if same else epoch, 0))
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

    def _patch_of(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Clip (B,) and number within it (B,) of patches that are numbered through all clips."""
        block = np.searchsorted(self._ends, order, side="right")
        rest = order - np.where(block, self._ends[block - 1], 0)
        clips = block[:, None] * BLOCK + np.arange(BLOCK)
        counts = patch_counts(self.lengths[np.minimum(clips, len(self.lengths) - 1)], self.patch, self.hop)
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
