"""Maps between vocabularies: which labels of a model say that a corpus's label is there.

A map is a table with the columns `from` (a label of the model) and `to` (one of the corpus), a row for each
pair; further columns are for people. Of several sources of one label the greatest score counts. A row with an
empty `from` says that nothing corresponds to the label.
"""

import difflib
import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from auricle.datasets.audioset_labels import FOLDER, audioset_sounds
from auricle.tables import read_text_table

BUNDLED_MAPS = {"audioset-esc50": FOLDER / "audioset-esc50.csv"}


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """A map between vocabularies.

    Args:
        name: a bundled map's, or the file's.
        sources: label of the corpus -> labels of the model, in the order of the rows; none where the map says
            that nothing corresponds.
        sha256: of the file.
    """

    name: str
    sources: dict[str, tuple[str, ...]]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class FittedMap:
    """A map, fitted to the outputs of one model.

    Args:
        labels: (S,) those that have a source among the outputs.
        columns: (S,) for each the columns of its sources.
        without: labels of the map that have none.
        unknown: sources that the model lacks, though they are AudioSet's.
    """

    labels: tuple[str, ...]
    columns: tuple[np.ndarray, ...]
    without: tuple[str, ...]
    unknown: tuple[str, ...]

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """(..., K) scores or logits of the model's labels -> (..., S): the greatest of each one's sources.

        >>> fitted = fit_map(LabelMap(name="m", sources={"pet": ("dog", "cat")}, sha256=""), ["cat", "dog"])
        >>> fitted.apply(np.array([[0.25, 0.5], [0.75, 0.5]]))
        array([[0.5 ],
               [0.75]])
        """
        flat, starts = self._flat
        return np.maximum.reduceat(scores[..., flat], starts, axis=-1)

    @cached_property
    def _flat(self) -> tuple[np.ndarray, np.ndarray]:
        """All columns after one another, and where each label's begin: none is without one."""
        counts = [len(columns) for columns in self.columns]
        return np.concatenate(self.columns), np.cumsum([0, *counts[:-1]])


def read_label_map(source: str | Path) -> LabelMap:
    r"""A bundled map by its name, or one from a CSV file.

    Raises:
        ValueError: neither; or the table lacks a column, has no row, a row without `to`, a pair twice, or
            sources for a label that another row says has none.

    >>> read_label_map("audioset-esc50").sources["cow"]
    ('Cattle, bovinae', 'Moo')
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "mine.csv")
    ...     _ = file.write_text("from,to\nDog,pet\nCat,pet\n,unicorn\n")
    ...     read_label_map(file).sources
    {'pet': ('Dog', 'Cat'), 'unicorn': ()}
    """
    path = BUNDLED_MAPS.get(str(source), Path(source))
    if not path.is_file():
        raise ValueError(
            f"{source}: no such map of labels; bundled are: {', '.join(BUNDLED_MAPS)}; or name a CSV file "
            "with the columns from,to"
        )
    columns, rows = read_text_table(path)
    if missing := [name for name in ("from", "to") if name not in columns]:
        raise ValueError(
            f"{path}: a map of labels has the columns from and to; {missing[0]} is missing from "
            f"{', '.join(columns) or 'an empty table'}"
        )
    found: dict[str, list[str]] = {}
    for line, row in rows:
        mine, theirs = row["from"].strip(), row["to"].strip()
        if not theirs:
            raise ValueError(f"{path}, row {line}: {mine!r} goes nowhere; leave the row out, or say to what")
        listed = found.setdefault(theirs, [])
        if mine in listed:
            raise ValueError(f"{path}, row {line}: {mine!r} to {theirs!r} stands there twice")
        listed.append(mine)
    for theirs, listed in found.items():
        if "" in listed and len(listed) > 1:
            raise ValueError(
                f"{path}: one row says that nothing corresponds to {theirs!r}, another that "
                f"{next(filter(None, listed))!r} does"
            )
    if not any(any(listed) for listed in found.values()):
        raise ValueError(f"{path}: holds no pair of labels")
    return LabelMap(
        name=str(source) if str(source) in BUNDLED_MAPS else path.name,
        sources={theirs: tuple(filter(None, listed)) for theirs, listed in found.items()},
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def fit_map(label_map: LabelMap, outputs: Sequence[str]) -> FittedMap:
    """A map, for a model with these outputs.

    A source that the model lacks is an error, with the names nearest to it; but where the model is a tagger
    of AudioSet, and the source another of AudioSet's sounds, it is passed over: so one map is right for the
    list of 527 and for that of 521.

    Raises:
        ValueError: a source that the model lacks, or it has none of them.

    >>> fitted = fit_map(read_label_map("audioset-esc50"), ["Dog", "Bark", "Engine"])
    >>> fitted.labels, [columns.tolist() for columns in fitted.columns]
    (('dog', 'engine'), [[0, 1], [2]])
    """
    place = {label: column for column, label in enumerate(outputs)}
    wanted = dict.fromkeys(source for sources in label_map.sources.values() for source in sources)
    lacking = [source for source in wanted if source not in place]
    known = {sound.name for sound in audioset_sounds().values()}
    if wrong := lacking if not known.issuperset(outputs) else [name for name in lacking if name not in known]:
        raise ValueError(f"{label_map.name}: maps from labels that the model lacks: {_named(wrong, outputs)}")
    if len(lacking) == len(wanted):
        raise ValueError(f"{label_map.name}: maps from none of the model's labels, as {outputs[0]!r}")
    columns = {
        label: np.array([place[source] for source in sources if source in place], np.int64)
        for label, sources in label_map.sources.items()
    }
    with_source = [label for label, found in columns.items() if len(found)]
    return FittedMap(
        labels=tuple(with_source),
        columns=tuple(columns[label] for label in with_source),
        without=tuple(label for label, found in columns.items() if not len(found)),
        unknown=tuple(lacking),
    )


def check_targets(label_map: LabelMap, there: Collection[str]) -> None:
    """Refuse a map to labels that a corpus has under almost the same names.

    A label that the corpus lacks is no mistake by itself: it may be a part of a larger one.

    Raises:
        ValueError: a name is not there, and one like it is, to which the map has nothing.

    >>> check_targets(LabelMap(name="m", sources={"Dog": ("Bark",)}, sha256=""), ["dog", "cat"])
    Traceback (most recent call last):
    ValueError: m: maps to labels that are not there: 'Dog' (dog?)
    """
    free = [label for label in there if label not in label_map.sources]
    lacking = [label for label in label_map.sources if label not in there]
    if wrong := [label for label in lacking if near_names(label, free, cutoff=0.8)]:
        raise ValueError(f"{label_map.name}: maps to labels that are not there: {_named(wrong, free)}")


def near_names(name: str, names: Iterable[str], *, most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Those of some names that are written like another, the nearest first, whatever the case.

    >>> near_names("bird", ["Bird", "Bird vocalization, bird call, bird song", "Dog"])
    ['Bird', 'Bird vocalization, bird call, bird song']
    """

    def plain(text: str) -> str:
        return " ".join(text.lower().replace("_", " ").replace("-", " ").split())

    by_plain: dict[str, list[str]] = {}
    for one in names:
        by_plain.setdefault(plain(one), []).append(one)
    found = difflib.get_close_matches(plain(name), by_plain, n=most, cutoff=cutoff)
    if cutoff <= 0.6:  # to be chosen from by a person
        found += [one for one in by_plain if f" {plain(name)}" in f" {one}" and one not in found]
    return [one for key in found for one in by_plain[key]][:most]


def _named(wrong: Sequence[str], names: Iterable[str], most: int = 5) -> str:
    """Wrong names, each with those like it."""
    names = list(names)
    told = []
    for name in wrong[:most]:
        near = near_names(name, names)
        told.append(f"{name!r} ({' or '.join(near)}?)" if near else repr(name))
    return ", ".join(told) + (f" and {len(wrong) - most} more" if len(wrong) > most else "")
