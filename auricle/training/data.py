"""Which clips are learned from, which are held out, and in which order patches of them come."""

from typing import Any

import numpy as np

from auricle import distributed
from auricle.augment import source_samples
from auricle.sampling import PatchSampler, hash_uint64
from auricle.shards import Pack
from auricle.shards.subsets import fraction_of_groups, lowest, recording_hashes, without_groups
from auricle.training.beside import takes_both
from auricle.training.config import TrainConfig


def choose_clips(pack: Pack, config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """The pack's clips to train on and to validate on, in the pack's order; no group is in both.

    Raises:
        ValueError: no such split, attribute, subset or label set, or no clip is left to train on.

    >>> train_clips, validation_clips = choose_clips(Pack("out/pack"), config)  # doctest: +SKIP
    """
    allowed = pack.select(None, config.where)
    held = held_out(pack, config)
    validation = allowed[held[allowed]]
    candidates = common(len(pack), allowed, pack.select(config.train_splits))
    train_clips = candidates[~held[candidates]]
    if config.train_subset:
        train_clips = common(len(pack), train_clips, pack.subset(config.train_subset))
    if config.validation_subset:  # a subset need not follow the groups
        train_clips = without_groups(pack, train_clips, np.flatnonzero(held))
    if config.unlabelled == "drop":
        train_clips = train_clips[labelled(pack, train_clips, config.label_set)]
    if config.embeddings and not takes_both(config):
        train_clips = train_clips[np.diff(pack.embeddings(config.embeddings).indptr)[train_clips] > 0]
    if config.train_fraction < 1 and len(train_clips):
        train_clips = train_clips[fraction_of_groups(pack.recordings[train_clips], config.train_fraction)]
    if not len(train_clips):
        named = ("train_splits", "train_subset", "validation_splits", "validation_subset", "where")
        given = {name: value for name in named if (value := getattr(config, name))}
        if config.unlabelled == "drop":
            given["unlabelled"] = "drop"
        chosen = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise ValueError(f"{config.data}: no clip left to train on with {chosen or 'these settings'}")
    if config.validation_clips and len(validation) > config.validation_clips:
        order = np.argsort(hash_uint64(config.seed, validation, 6), kind="stable")
        validation = np.sort(validation[order[: config.validation_clips]])
    return train_clips, validation


def held_out(pack: Pack, config: TrainConfig) -> np.ndarray:
    """(N,) bool: the clips that are for validation, or would be if `validation_clips` let them."""
    held = np.zeros(len(pack), bool)
    if config.validation_splits or config.validation_subset:
        chosen = pack.select(config.validation_splits or None)
        if config.validation_subset:
            chosen = common(len(pack), chosen, pack.subset(config.validation_subset))
        held[chosen] = True
    elif config.validation_fraction:
        chosen = pack.select(config.train_splits)
        hashes = recording_hashes(pack, f"validation {config.seed}")[chosen]
        held[chosen[lowest(hashes, config.validation_fraction)]] = True
    return held


def common(size: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Positions below `size` that are in both, ascending; without sorting, for packs of millions of clips.

    >>> common(9, np.array([1, 3, 5]), np.array([3, 4, 5])).tolist()
    [3, 5]
    """
    masks = np.zeros((2, size), bool)
    masks[0, one] = masks[1, other] = True
    return np.flatnonzero(masks[0] & masks[1])


def padding_in_words(pack: Pack, clips: np.ndarray, config: TrainConfig) -> str:
    """What to say where most of what is trained on is padding; "" where clips fill their windows.

    By the pack's count of samples (of windows of embeddings): that is in its index, no audio is read.

    >>> padding_in_words(Pack("out/pack"), np.arange(100), config)  # doctest: +SKIP
    'padding is 80% of ...: half of the clips are no longer than 2 s, and the window is 10 s; ...'
    """
    if config.embeddings:
        lengths, patch = np.diff(pack.embeddings(config.embeddings).indptr)[clips], config.embedding_windows
    else:
        lengths, patch = pack.lengths[clips], config.window
    half = int(np.median(lengths))
    if 2 * half >= patch:
        return ""
    share = 1 - np.minimum(lengths, patch).mean() / patch
    if config.embeddings:
        long, short = (f"{count} windows" for count in (patch, half))
        settings = f"--set embedding_windows={half}"
    else:
        long, short = (f"{count / pack.rate:.3g} s" for count in (patch, half))
        least = max(half, config.features.window)
        settings = f"--set window={least} --set hop={least}"
    return (
        f"padding is {share:.0%} of what is trained on: half of the clips are no longer than {short}, and an "
        f"example is {long}; a shorter one wastes less, say {settings}"
    )


def partners_in_words(sampler: PatchSampler, config: TrainConfig) -> str:
    """What to say where clips are mixed that are fewer than a batch; "" elsewhere.

    By the sampler's first batch: how many of its pairs are a clip and the same clip.

    >>> from pathlib import Path
    >>> config = TrainConfig(data=Path("pack"), steps=1, batch=8, mixing="mixup")
    >>> partners_in_words(PatchSampler(np.array([50, 60]), patch=50, batch=8, seed=0), config)
    'there are fewer clips to train on (2) than in a batch (8): about 43% of the time ...'
    """
    clips = len(sampler.lengths)
    if config.mixing == config.finetune_mixing == "none" or clips >= config.batch:
        return ""
    drawn = sampler.draw(0)[0]  # of this process, within which clips are mixed
    times = np.bincount(drawn)
    same = (times * (times - 1)).sum() / (len(drawn) * (len(drawn) - 1))
    smaller = f"batch={clips} or " if clips > 1 else ""
    return (
        f"there are fewer clips to train on ({clips}) than in a batch ({config.batch}): about {same:.0%} of "
        f"the time a clip is mixed with itself; train on more, or set {smaller}mixing=none"
    )


def check_shares(config: TrainConfig) -> None:
    """Refuse a batch that the processes of this training cannot share out.

    >>> from pathlib import Path
    >>> check_shares(TrainConfig(data=Path("pack"), steps=1, batch=1))
    """
    world = distributed.world()
    if config.batch < world:
        raise ValueError(f"batch is {config.batch}, fewer than the {world} processes that share it out")
    mixes = (name for name in ("mixing", "finetune_mixing") if getattr(config, name) != "none")
    if world > 1 and config.batch < 2 * world and (name := next(mixes, "")):
        raise ValueError(
            f"batch is {config.batch}, so some of {world} processes have a single clip, and {name} is "
            f"{getattr(config, name)!r}, which mixes each clip with another of its process's; expected a "
            f"batch of at least {2 * world}, or {name}=none"
        )
    if config.sync_batch_norm and config.batch % world:
        raise ValueError(
            f"sync_batch_norm is true and batch is {config.batch}, which {world} processes cannot share "
            f"equally; expected a multiple of {world}"
        )


def labelled(pack: Pack, clips: np.ndarray, label_set: str) -> np.ndarray:
    """(M,) bool: the clips that have a label of the set."""
    indptr, _ = pack.clip_labels(label_set)
    return indptr[clips + 1] > indptr[clips]


def make_sampler(pack: Pack, clips: np.ndarray, config: TrainConfig, embeddings: Any = None) -> PatchSampler:
    """Over the chosen clips, numbered from 0; trailing digital silence is not drawn from.

    With embeddings, places and lengths are in windows, and the grid lays example beside example. Where all
    clips are chosen, the pack's index stays where it is, on the disk.
    """
    every = len(clips) == len(pack)
    ends = None
    if embeddings is None:
        lengths, patch = pack.audible, source_samples(config.window, config.speed_spread)
        hop = config.hop
        if every and config.balance == "patches":
            ends = pack.patch_ends(patch, hop)
    else:
        lengths, patch = np.diff(embeddings.indptr), config.embedding_windows
        hop = patch
    return PatchSampler(
        lengths if every else lengths[clips],
        patch=patch,
        hop=hop,
        batch=config.batch,
        seed=config.seed,
        balance=config.balance,
        rank=distributed.rank(),
        world=distributed.world(),
        label_clips=chosen_label_clips(pack, clips, config.label_set)
        if config.balance == "classes"
        else None,
        ends=ends,
    )


def chosen_label_clips(pack: Pack, clips: np.ndarray, label_set: str) -> tuple[np.ndarray, np.ndarray]:
    """CSR (indptr, clips): the chosen clips of each label, as numbers within the choice.

    >>> chosen_label_clips(Pack("out/pack"), np.array([7, 9]), "labels")  # doctest: +SKIP
    (array([0, 1, 2]), array([0, 1]))
    """
    indptr, of_label = pack.label_clips(label_set)
    if len(clips) == len(pack):
        return indptr, of_label
    number = np.full(len(pack), -1, np.int64)
    number[clips] = np.arange(len(clips))
    chosen = number[of_label]
    kept_before = np.concatenate([[0], np.cumsum(chosen >= 0)])
    return kept_before[indptr], chosen[chosen >= 0]
