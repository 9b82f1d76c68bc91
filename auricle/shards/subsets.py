"""Subsets of a pack's clips under a name, and how they are chosen: by fraction, or balanced by class."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from auricle.shards.labels import transpose
from auricle.shards.layout import (
    MANIFEST,
    file_facts,
    locked,
    subset_file,
    sync_folder,
    write_array,
    write_json,
)
from auricle.shards.reader import Pack, read_manifest
from auricle.text import counted


def add_subset(
    pack: str | Path,
    name: str,
    clips: np.ndarray,
    about: Mapping[str, Any] | None = None,
    *,
    replace: bool = False,
) -> None:
    """Keep positions of clips in a pack under a name; `Pack.subset` gives them back.

    Args:
        pack: the pack's folder.
        name: letters, digits, - and _.
        clips: positions of clips in the pack, each once, in any order.
        about: how they were chosen, as JSON holds it; it is kept in the manifest.
        replace: overwrite a subset of the same name.

    Raises:
        ValueError: no clips, one that is not in the pack or is given twice, a subset of that name.

    >>> add_subset("out/pack", "first", np.arange(100))  # doctest: +SKIP
    """
    out = Path(pack)
    file = subset_file(name)
    read_manifest(out)  # before a lock file is left in a folder that is no pack
    with locked(out):
        reader = Pack(out)
        given = np.asarray(clips, dtype=np.int64)
        kept = reader.checked_clips(given)
        if not len(kept):
            raise ValueError(f"{out}: subset {name!r} would have no clips")
        if len(kept) != len(given):
            raise ValueError(f"{out}: subset {name!r}: {counted(len(given) - len(kept), 'clip')} given twice")
        subsets = dict(reader.manifest.get("subsets", {}))
        if name in subsets and not replace:
            raise ValueError(f"{out}: subset {name!r} is there already: choose another name, or --replace it")
        if subsets.pop(name, None) is not None:  # killed from here on, the pack has no such subset
            write_json(out / MANIFEST, reader.manifest | {"subsets": subsets})
        (out / file).parent.mkdir(exist_ok=True)
        write_array(out / file, kept)
        sync_folder((out / file).parent)
        subsets[name] = {"clips": len(kept), "about": dict(about or {})} | file_facts(out, [file])
        write_json(out / MANIFEST, reader.manifest | {"subsets": dict(sorted(subsets.items()))})


def fraction_of_groups(groups: np.ndarray, fraction: float, seed: int = 0) -> np.ndarray:
    """(N,) bool: the clips of a fraction of all recordings; a smaller fraction's lie within a larger one's.

    Recordings are ranked by a hash of their name and the seed, and the first are taken: which of two is
    before the other does not depend on what else there is.

    Args:
        groups: (N,) source recording of each clip, N > 0.
        fraction: of the recordings, in (0, 1]; one at least is taken.
        seed: another seed, another ranking.

    Raises:
        ValueError: the fraction is not in (0, 1].

    >>> groups = np.array(["a", "a", "b", "c", "d"])
    >>> fraction_of_groups(groups, 0.25).tolist(), fraction_of_groups(groups, 0.5).tolist()
    ([False, False, False, True, False], [True, True, False, True, False])

    Source: Hershey et al. 2017, section 4.3: training sets of 70M to 23K videos.
    """
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"fraction: expected more than 0 and at most 1 of the recordings, got {fraction}")
    encoded = pa.array(groups.tolist(), pa.string()).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    hashes = np.fromiter((_hash(name, seed) for name in names), np.uint64, len(names))
    return lowest(hashes, fraction, least=1)[encoded.indices.to_numpy()]


def recording_hashes(pack: Pack, seed: str = "") -> np.ndarray:
    """(N,) uint64: a hash of the name of what each clip was cut from, and the seed.

    Names are read some thousand at a time: a pack may have more than fit into memory.

    >>> recording_hashes(Pack("out/pack"))  # doctest: +SKIP
    array([ 3521784602146214053, 12157663958171452433], dtype=uint64)
    """
    found = [np.zeros(0, np.uint64)]
    for names in pack.recordings_in_parts():
        found.append(np.fromiter((_hash(name, seed) for name in names), np.uint64, len(names)))
    return np.concatenate(found)


def lowest(hashes: np.ndarray, fraction: float, least: int = 0) -> np.ndarray:
    """(N,) bool: which are among the lowest of the values that there are.

    >>> lowest(np.array([7, 2, 2, 5]), 0.6).tolist()
    [False, True, True, True]
    """
    distinct = np.unique(hashes)
    count = max(least, round(fraction * len(distinct)))
    return hashes <= distinct[count - 1] if count and len(distinct) else np.zeros(len(hashes), bool)


def _hash(name: str, seed: int | str) -> int:
    salt = hashlib.blake2b(str(seed).encode(), digest_size=16).digest() if seed else b""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, salt=salt).digest(), "little")


def without_groups(pack: Pack, clips: np.ndarray, apart_from: np.ndarray) -> np.ndarray:
    """The clips of which no recording has a clip among `apart_from`.

    >>> without_groups(pack, pack.select(["test"]), pack.subset("training"))  # doctest: +SKIP
    """
    clips = np.asarray(clips, dtype=np.int64)
    theirs = set(pack.recordings[apart_from].tolist())
    other = (recording not in theirs for recording in pack.recordings[clips].tolist())
    return clips[np.fromiter(other, bool, len(clips))]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Clips that were chosen.

    Args:
        clips: (M,) int64 positions in the pack, ascending.
        about: what was asked for, as JSON holds it.
        balance: of a balanced set, `per_class` and `candidates`, the number of `classes`, the `least`,
            `median` and `most` positives of a class; `short`: label -> positives where they are fewer than
            asked, the fewest first; `over`: where they are more than twice as many, the most first. None
            otherwise.
    """

    clips: np.ndarray
    about: dict[str, Any]
    balance: dict[str, Any] | None = None


def choose_clips(
    pack: Pack,
    *,
    splits: Sequence[str] | None = None,
    where: Mapping[str, tuple[str, ...]] | None = None,
    within: str | None = None,
    apart_from: Sequence[str] | None = None,
    fraction: float | None = None,
    balanced: int | None = None,
    label_set: str = "labels",
    seed: int = 0,
) -> Choice:
    """Clips by all that is asked, narrowed in the order of the arguments.

    Args:
        pack: the pack.
        splits: only clips of these splits.
        where: attribute -> the values that are let through.
        within: only clips of this subset.
        apart_from: splits and subsets of whose recordings none is taken.
        fraction: of the recordings that are left, as `fraction_of_groups` takes them.
        balanced: positives wanted of each class, as `balanced_subset` takes them.
        label_set: whose labels are balanced.
        seed: of the fraction and the balance.

    Raises:
        ValueError: there is no such split, subset, attribute or label set; nothing is left.

    >>> choose_clips(Pack("out/pack"), splits=["train"], fraction=0.1).clips  # doctest: +SKIP
    array([   3,   17,  ...])
    """
    clips = pack.select(splits, where)
    if within is not None:
        clips = np.intersect1d(clips, pack.subset(within), assume_unique=True)
    if apart_from:
        clips = without_groups(pack, clips, _named(pack, apart_from))
    if not len(clips):
        raise ValueError(f"{pack.path}: no clip is left of what was asked for")
    if fraction is not None:
        clips = clips[fraction_of_groups(pack.recordings[clips], fraction, seed)]
    about: dict[str, Any] = {"splits": splits, "where": where, "within": within, "apart_from": apart_from}
    about |= {"fraction": fraction, "balanced": balanced}
    about = {key: value for key, value in about.items() if value is not None}
    if balanced is not None:
        about["label_set"] = label_set
    if fraction is not None or balanced is not None:
        about["seed"] = seed
    if balanced is None:
        return Choice(clips=clips, about=about)
    clips, report = balanced_subset(pack, balanced, clips=clips, label_set=label_set, seed=seed)
    return Choice(clips=clips, about=about, balance=report)


def _named(pack: Pack, names: Sequence[str]) -> np.ndarray:
    """The clips of splits and subsets."""
    found = []
    for name in names:
        if name in pack.subset_names:
            found.append(pack.subset(name))
        elif name in (known := set(pack.splits)):
            found.append(pack.select([name]))
        else:
            raise ValueError(
                f"{pack.path}: no split or subset {name!r}; there are: "
                f"{', '.join([*sorted(known), *pack.subset_names])}"
            )
    return np.unique(np.concatenate(found))


def balanced_subset(
    pack: Pack,
    per_class: int = 33,
    *,
    clips: np.ndarray | None = None,
    label_set: str = "labels",
    seed: int = 0,
) -> tuple[np.ndarray, dict[str, Any]]:
    """A small set of clips in which each class has about `per_class` positives; `balance` says how.

    Args:
        pack: the pack.
        per_class: positives wanted of each class.
        clips: positions of the candidates (see `without_groups`); None takes all clips.
        label_set: whose labels are classes.
        seed: decides between clips that serve equally well.

    Returns:
        positions in the pack, ascending, and the report that `Choice` describes.

    Raises:
        ValueError: `per_class` is less than 1, or no candidate has a label.

    >>> clips, report = balanced_subset(Pack("out/pack"), 33, clips=test)  # doctest: +SKIP

    Source: Hershey et al. 2017, section 3.2: roughly 33 examples a class in 1M videos for 30K labels, in
    100K for 3,087, in 12K for 400; how they were chosen is not said.
    """
    clips = np.arange(len(pack)) if clips is None else pack.checked_clips(clips)
    labels, indptr = gather(*pack.clip_labels(label_set), clips)
    if not labels.size:
        raise ValueError(f"{pack.path}: none of the {len(clips)} clips has a label of set {label_set!r}")
    names = pack.label_names(label_set)
    rows = balance(indptr, labels, len(names), per_class, seed)
    counts = np.bincount(gather(indptr, labels, rows)[0], minlength=len(names))
    order = np.argsort(counts, kind="stable").tolist()
    report: dict[str, Any] = {"per_class": per_class, "candidates": len(clips), "classes": len(names)}
    report |= {"least": int(counts.min()), "median": float(np.median(counts)), "most": int(counts.max())}
    report["short"] = {names[i]: int(counts[i]) for i in order if counts[i] < per_class}
    report["over"] = {names[i]: int(counts[i]) for i in reversed(order) if counts[i] > 2 * per_class}
    return clips[rows], report


def balance(
    indptr: np.ndarray, labels: np.ndarray, num_labels: int, per_class: int, seed: int = 0
) -> np.ndarray:
    """Rows of a CSR matrix in which each label has about `per_class` positives, chosen greedily.

    1. Of a label that has `per_class` positives or fewer, all are taken.
    2. The others are gone through from the rarest to the commonest: the rare have the least choice, and what
       is taken for them brings common labels along. For a label that still lacks some, those of its rows come
       first that have the fewest labels that are full already, then those with the most that are not; equal
       ones by a hash of row and seed. Whenever a label becomes full, this order is made anew.
    3. At the end, rows without which each of their labels would still have `per_class` are taken out again,
       first those whose labels are the fullest.

    No label then has fewer than `per_class` unless there are not more; how far common labels lie above it
    depends on how often they come with others. Time is O(nnz L R): nnz pairs, L labels a row, and R the times
    that the order of one label is made, at most `per_class` and mostly 1 or 2. Memory is O(nnz).

    Args:
        indptr: (N + 1,) where each row begins in `labels`.
        labels: the labels of each row, each once.
        num_labels: how many labels there are.
        per_class: positives wanted of each.
        seed: decides between rows that serve equally well.

    Returns:
        (M,) int64 rows, ascending.

    Raises:
        ValueError: `per_class` is less than 1.

    >>> balance(np.array([0, 2, 3, 4, 5]), np.array([0, 1, 0, 1, 1]), 2, 1).tolist()
    [0]
    """
    if per_class < 1:
        raise ValueError(f"per_class: expected 1 or more, got {per_class}")
    starts, rows_of = transpose(indptr, labels, num_labels)
    available = np.diff(starts)
    chosen = np.zeros(len(indptr) - 1, dtype=bool)
    row_of_pair = np.repeat(np.arange(len(chosen)), np.diff(indptr))
    chosen[row_of_pair[available[labels] <= per_class]] = True
    drawn, _ = gather(indptr, labels, np.flatnonzero(chosen))
    counts = np.bincount(drawn, minlength=num_labels)
    full = counts >= per_class
    tie = _hashed(len(chosen), seed)
    for label in np.argsort(available, kind="stable").tolist():
        while (lacking := per_class - int(counts[label])) > 0 and available[label] > per_class:
            rows = rows_of[starts[label] : starts[label + 1]]
            rows = _best(rows[~chosen[rows]], indptr, labels, full, tie)[:lacking]
            drawn, bounds = gather(indptr, labels, rows)
            taken = _until_one_is_full(drawn, bounds, counts, per_class)
            chosen[rows[:taken]] = True
            drawn = drawn[: bounds[taken]]
            np.add.at(counts, drawn, 1)
            full[drawn] = counts[drawn] >= per_class
    return _without_spare(np.flatnonzero(chosen), indptr, labels, counts, per_class)


def _best(
    rows: np.ndarray, indptr: np.ndarray, labels: np.ndarray, full: np.ndarray, tie: np.ndarray
) -> np.ndarray:
    """Rows in the order in which they are to be taken; each has a label at least."""
    drawn, bounds = gather(indptr, labels, rows)
    filled = np.add.reduceat(full[drawn].astype(np.int64), bounds[:-1])
    return rows[np.lexsort((tie[rows], filled - np.diff(bounds), filled))]


def _until_one_is_full(drawn: np.ndarray, bounds: np.ndarray, counts: np.ndarray, per_class: int) -> int:
    """How many rows may be taken until a label has become full, that row included."""
    more: dict[int, int] = {}
    lacking = (per_class - counts[drawn]).tolist()
    row = 0
    for position, (label, lacks) in enumerate(zip(drawn.tolist(), lacking, strict=True)):
        while position >= bounds[row + 1]:
            row += 1
        more[label] = more.get(label, 0) + 1
        if more[label] == lacks:
            return row + 1
    return len(bounds) - 1


def _without_spare(
    rows: np.ndarray, indptr: np.ndarray, labels: np.ndarray, counts: np.ndarray, per_class: int
) -> np.ndarray:
    """Rows without those that no label needs; looked at in the order of how full their labels are."""
    drawn, bounds = gather(indptr, labels, rows)
    least = np.minimum.reduceat(counts[drawn], bounds[:-1]) if len(rows) else np.zeros(0, np.int64)
    left, keep = counts.tolist(), np.ones(len(rows), dtype=bool)
    for row in np.argsort(-least, kind="stable")[: np.count_nonzero(least > per_class)].tolist():
        of_row = drawn[bounds[row] : bounds[row + 1]].tolist()
        if all(left[label] > per_class for label in of_row):
            keep[row] = False
            for label in of_row:
                left[label] -= 1
    return rows[keep]


def gather(indptr: np.ndarray, values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some rows of a CSR matrix, one after the other: their values, and where each row begins in them.

    >>> values, bounds = gather(np.array([0, 2, 2, 3]), np.array([7, 8, 9]), np.array([2, 1, 0]))
    >>> values.tolist(), bounds.tolist()
    ([9, 7, 8], [0, 1, 1, 3])
    """
    sizes = indptr[rows + 1] - indptr[rows]
    bounds = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum(sizes, out=bounds[1:])
    where = np.arange(bounds[-1]) + np.repeat(indptr[rows] - bounds[:-1], sizes)
    return values[where], bounds


def _hashed(count: int, seed: int) -> np.ndarray:
    """(count,) a random order that does not depend on the version of NumPy: SplitMix64 of number and seed."""
    state = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed % (1 << 32)) * np.uint64(1 << 32)
    with np.errstate(over="ignore"):
        state *= np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
