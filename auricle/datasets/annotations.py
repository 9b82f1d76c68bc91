"""What several people said of the same clips, and what to take for true.

The format is the urban sound tagging challenge's. A row of the CSV is one annotator and one clip:
`audio_filename`, `annotator_id`, where there are `split` and `sensor_id`, and a column `LABEL_presence` for
each label: 1 heard, 0 not heard, -1 (or empty) not asked. Annotator 0 is the truth that was agreed on in the
end. Annotators of negative number are those who verified, each asked of some labels only, over several rows;
all others are the crowd.

Source: Cartwright et al. 2019, "SONYC Urban Sound Tagging"; Tompkins and Nichols 2019, section 3.2.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from auricle.datasets.taxonomy import PRESENCE, Taxonomy, is_unknown
from auricle.tables import read_text_table

VERIFIED = "0"
NO_VOTE = -1
_VOTES = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1, "": -1, "nan": -1}

Voters = Literal["crowd", "all"]


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """Votes on clips, by columns; one row for each pair of clip and annotator.

    Args:
        taxonomy: of the labels.
        clips: names of the N clips, in the order of the file.
        splits: (N) of each clip; "" where the file has none.
        sensors: (N) where each was recorded; "" where the file does not say.
        annotators: names of the annotators.
        clip: (R,) int64, which clip a row is of.
        annotator: (R,) int64, whose it is.
        votes: (R, K) int8: 1 heard, 0 not heard, -1 no vote; columns as `taxonomy.labels`.
        notes: what was found on reading: name -> number of it, 0 left out.
    """

    taxonomy: Taxonomy
    clips: tuple[str, ...]
    splits: tuple[str, ...]
    sensors: tuple[str, ...]
    annotators: tuple[str, ...]
    clip: np.ndarray
    annotator: np.ndarray
    votes: np.ndarray
    notes: dict[str, int] = field(default_factory=dict)

    def rows_of(self, voters: Voters = "crowd") -> np.ndarray:
        """(R,) bool: rows of the crowd, or of all but the verified truth.

        Raises:
            ValueError: `voters` is another word.
        """
        if voters not in ("crowd", "all"):
            raise ValueError(f"voters: expected crowd or all, got {voters!r}")
        counts = [
            name != VERIFIED and (voters == "all" or not _is_negative(name)) for name in self.annotators
        ]
        return np.array(counts, dtype=bool)[self.annotator]

    def verified_rows(self) -> np.ndarray:
        """(R,) bool: rows of annotator 0."""
        return np.array([name == VERIFIED for name in self.annotators], dtype=bool)[self.annotator]


@dataclass(frozen=True, kw_only=True)
class ChosenLabels:
    """What is taken for true of each clip.

    Args:
        taxonomy: of the labels.
        clips: names of the N clips.
        positive: (N, K) bool; columns as `taxonomy.labels`.
        unknown: (N, K) bool: of these it is not known whether they hold; never positive ones.
        share: (N, K) float32, soft targets in [0, 1]: 0 where nobody voted, and the votes' share also where X
            makes a label unknown; None where labels are plain.
        verified: (N,) bool: where the verified truth was taken.
    """

    taxonomy: Taxonomy
    clips: tuple[str, ...]
    positive: np.ndarray
    unknown: np.ndarray
    share: np.ndarray | None
    verified: np.ndarray

    def by_clip(self) -> dict[str, tuple[str, ...]] | dict[str, dict[str, float]]:
        """Clip -> its labels, or label -> share above 0: as label sets are written."""
        names = self.taxonomy.labels
        if self.share is None:
            return dict(zip(self.clips, _named(self.positive, names), strict=True))
        return {
            clip: {names[column]: float(row[column]) for column in np.flatnonzero(row).tolist()}
            for clip, row in zip(self.clips, self.share, strict=True)
        }

    def unknown_by_clip(self) -> dict[str, tuple[str, ...]]:
        """Clip -> labels of which it is not known whether they hold; clips without any left out."""
        rows = _named(self.unknown, self.taxonomy.labels)
        return {clip: row for clip, row in zip(self.clips, rows, strict=True) if row}


def read_annotations(
    path: str | Path, taxonomy: Taxonomy, *, coarse: Literal["given", "fine"] = "given"
) -> Annotations:
    """Read annotations from a CSV in the challenge's format.

    Columns may be named `LABEL_presence` or `LABEL`; `_proximity` columns are not read. Where the file has no
    column for a coarse class, its votes follow from the fine ones. Several rows of one annotator on one clip
    are one vote: what any of them says; a label on which they contradict each other counts as no vote.

    Args:
        path: the CSV.
        taxonomy: whose labels the columns are named after.
        coarse: take the votes on coarse classes as "given", or from the "fine" ones. In the challenge's own
            file of 2019, 2_machinery-impact is 1 wherever 3-1_non-machinery-impact is.

    Raises:
        ValueError: no such file; a column is missing, of another taxonomy or there twice; a vote that is
            none; a clip in two splits or of two sensors. File, row and column are named.

    >>> read_annotations("annotations-dev.csv",
    ...                  read_taxonomy("dcase-ust-taxonomy.yaml")).votes.shape  # doctest: +SKIP
    (10000, 37)
    """
    path = Path(path)
    if coarse not in ("given", "fine"):
        raise ValueError(f"coarse: expected given or fine, got {coarse!r}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected annotations in CSV")
    columns, rows = read_text_table(path)
    sources = _label_columns(path, columns, taxonomy)
    clips: dict[str, tuple[str, str]] = {}
    annotators: dict[str, int] = {}
    keys, votes = [], []
    for line, row in rows:
        place = row.get("split", ""), row.get("sensor_id", "")
        name = row["audio_filename"]
        if not name or not row["annotator_id"]:
            raise ValueError(f"{path}, row {line}: audio_filename and annotator_id must not be empty")
        if clips.setdefault(name, place) != place:
            raise ValueError(
                f"{path}, row {line}: clip {name!r} is in split {place[0]!r} of sensor {place[1]!r} here, "
                f"and in {clips[name][0]!r} of {clips[name][1]!r} before; a clip has one of each"
            )
        keys.append((name, annotators.setdefault(_number(row["annotator_id"]), len(annotators))))
        cast = [_VOTES.get(row[source]) for source in sources.values()]
        if None in cast:  # written otherwise, or no vote at all
            cast = [_vote(path, line, source, row[source]) for source in sources.values()]
        votes.append(cast)
    if not keys:
        raise ValueError(f"{path}: no rows; expected one for each clip and annotator")
    position = {name: index for index, name in enumerate(clips)}
    pairs = np.array([(position[name], who) for name, who in keys], dtype=np.int64)
    table = np.array(votes, dtype=np.int8).reshape(len(keys), len(sources))
    pairs, table, notes = _merged(pairs, table)
    table, more = _completed(table, list(sources), taxonomy, coarse)
    notes = {"rows": len(keys)} | notes | more
    return Annotations(
        taxonomy=taxonomy,
        clips=tuple(clips),
        splits=tuple(split for split, _ in clips.values()),
        sensors=tuple(sensor for _, sensor in clips.values()),
        annotators=tuple(annotators),
        clip=pairs[:, 0],
        annotator=pairs[:, 1],
        votes=table,
        notes={name: number for name, number in notes.items() if number},
    )


def write_annotations(annotations: Annotations, path: str | Path) -> None:
    """Write annotations as the CSV that `read_annotations` reads, one row for each annotator and clip.

    >>> write_annotations(annotations, "annotations.csv")  # doctest: +SKIP
    """
    heads = ["split", "sensor_id", "audio_filename", "annotator_id"]
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads + [label + PRESENCE for label in annotations.taxonomy.labels])
        rows = zip(
            annotations.clip.tolist(), annotations.annotator.tolist(), annotations.votes.tolist(), strict=True
        )
        for clip, who, votes in rows:
            place = annotations.splits[clip], annotations.sensors[clip], annotations.clips[clip]
            writer.writerow([*place, annotations.annotators[who], *votes])


def count_votes(annotations: Annotations, voters: Voters = "crowd") -> tuple[np.ndarray, np.ndarray]:
    """How many voted on each label of each clip, and how many of them heard it.

    Returns:
        votes (N, K) int64; positive (N, K) int64.
    """
    rows = annotations.rows_of(voters)
    clip, votes = annotations.clip[rows], annotations.votes[rows]
    clips = len(annotations.clips)
    return _counted(clip, votes != NO_VOTE, clips), _counted(clip, votes == 1, clips)


def _counted(place: np.ndarray, mask: np.ndarray, places: int) -> np.ndarray:
    """(places, K) int64: how many rows of a (R, K) mask are set at each place."""
    out = np.empty((places, mask.shape[1]), dtype=np.int64)
    for column in range(mask.shape[1]):  # many times as fast as np.add.at on the whole
        out[:, column] = np.bincount(place[mask[:, column]], minlength=places)
    return out


def vote_share(annotations: Annotations, voters: Voters = "crowd") -> np.ndarray:
    """(N, K) float64: which share of those who voted on a label heard it; NaN where nobody voted."""
    cast, heard = count_votes(annotations, voters)
    return np.where(cast > 0, heard / np.maximum(cast, 1), np.nan)


def choose_labels(
    annotations: Annotations,
    agreement: float | Literal["soft"] = 0.5,
    *,
    verified: bool = True,
    voters: Voters = "crowd",
) -> ChosenLabels:
    """Take for true what enough of those who voted heard.

    A label is positive where strictly more than `agreement` of the votes on it say so. Unknown are labels on
    which nobody voted, and, where a clip has the X label of a coarse class, all complete fine labels of that
    class which are not positive.

    Args:
        annotations: as read.
        agreement: a share from 0 to below 1, or "soft": the share of votes itself is the target, and positive
            (X, too) is what has more than half of them.
        verified: take the verified truth instead, where a clip has it.
        voters: the crowd, or "all" but the verified truth.

    Raises:
        ValueError: `agreement` or `voters` is something else.

    >>> choose_labels(annotations, 0.75).positive.shape  # doctest: +SKIP
    (2794, 37)

    Source: Tompkins and Nichols 2019, section 3.2.
    """
    soft = agreement == "soft"
    limit = 0.5 if isinstance(agreement, str) else float(agreement)
    if (isinstance(agreement, str) and not soft) or not 0.0 <= limit < 1.0:
        raise ValueError(f"agreement: expected a share from 0 to below 1, or soft, got {agreement!r}")
    share = vote_share(annotations, voters)
    taken = np.zeros(len(annotations.clips), dtype=bool)
    if verified:
        rows = annotations.verified_rows()
        truth = annotations.votes[rows].astype(np.float64)
        taken[annotations.clip[rows]] = True
        share[annotations.clip[rows]] = np.where(truth == NO_VOTE, np.nan, truth)
    return _chosen(annotations, share, limit, taken, soft=soft)


def verified_labels(annotations: Annotations) -> ChosenLabels:
    """The verified truth of the clips that have it; of the others every label is unknown.

    Raises:
        ValueError: no clip has it.
    """
    rows = annotations.verified_rows()
    if not rows.any():
        raise ValueError(f"annotations: no clip has a verified truth (rows of annotator {VERIFIED})")
    share = np.full((len(annotations.clips), annotations.votes.shape[1]), np.nan)
    truth = annotations.votes[rows].astype(np.float64)
    share[annotations.clip[rows]] = np.where(truth == NO_VOTE, np.nan, truth)
    taken = np.zeros(len(annotations.clips), dtype=bool)
    taken[annotations.clip[rows]] = True
    return _chosen(annotations, share, 0.5, taken, soft=False)


def _chosen(
    annotations: Annotations, share: np.ndarray, limit: float, verified: np.ndarray, *, soft: bool
) -> ChosenLabels:
    missing = np.isnan(share)
    share = np.where(missing, 0.0, share)
    positive = share > limit
    unknown = missing
    start = 0
    for fine in annotations.taxonomy.fine:
        stop = start + len(fine)
        if is_unknown(fine[-1]):
            complete = slice(start, stop - 1)
            unknown[:, complete] |= positive[:, stop - 1 : stop] & ~positive[:, complete]
        start = stop
    return ChosenLabels(
        taxonomy=annotations.taxonomy,
        clips=annotations.clips,
        positive=positive,
        unknown=unknown,
        share=share.astype(np.float32) if soft else None,
        verified=verified,
    )


def _label_columns(path: Path, columns: Sequence[str], taxonomy: Taxonomy) -> dict[str, str]:
    """Label -> the column that holds its votes; labels in the taxonomy's order."""
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ValueError(f"{path}: two columns are named {twice[0]!r}")
    if missing := [name for name in ("audio_filename", "annotator_id") if name not in columns]:
        raise ValueError(
            f"{path}: no column {missing[0]!r}; expected audio_filename, annotator_id and LABEL_presence, "
            f"got {', '.join(columns[:5])}, ..."
        )
    found: dict[str, str] = {}
    for label in taxonomy.labels:
        named = [column for column in (label + PRESENCE, label) if column in columns]
        if len(named) == 2:
            raise ValueError(f"{path}: two columns for {label!r}: {' and '.join(named)}; leave one out")
        found |= dict.fromkeys([label], named[0]) if named else {}
    absent = [label for label in taxonomy.fine_labels if label not in found]
    foreign = [name for name in columns if name.endswith(PRESENCE) and name not in found.values()]
    if absent or foreign:
        parts = [f"no column for {_listed(absent)}"] if absent else []
        parts += [f"columns that the taxonomy does not have: {_listed(foreign)}"] if foreign else []
        raise ValueError(f"{path}: {'; '.join(parts)}. Give the taxonomy that the file was made with")
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _vote(path: Path, line: int, column: str, text: str) -> int:
    vote = _VOTES.get(text.strip().lower())
    if vote is None:
        raise ValueError(
            f"{path}, row {line}, {column}: {text!r} is no vote; expected 1 (heard), 0 (not heard) or "
            "-1 (not asked)"
        )
    return vote


def _number(text: str) -> str:
    """An annotator's name; a number that was written as 12.0 is 12."""
    text = text.strip()
    whole = text.removesuffix(".0")
    return whole if whole.lstrip("-").isdecimal() else text


def _is_negative(name: str) -> bool:
    return name.startswith("-") and name[1:].isdecimal()


def _merged(pairs: np.ndarray, votes: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """One row for each pair of clip and annotator, in order of first appearance."""
    _, first, inverse = np.unique(
        pairs[:, 0] * (pairs[:, 1].max() + 1) + pairs[:, 1], return_index=True, return_inverse=True
    )
    place = np.argsort(np.argsort(first))[inverse]
    yes = _counted(place, votes == 1, len(first)) > 0
    no = _counted(place, votes == 0, len(first)) > 0
    merged = np.where(yes & ~no, 1, np.where(no & ~yes, 0, NO_VOTE)).astype(np.int8)
    notes = {
        "rows merged into another of the same annotator and clip": len(pairs) - len(first),
        "votes dropped because rows of one annotator contradict each other": int((yes & no).sum()),
    }
    return pairs[np.sort(first)], merged, notes


def _completed(
    votes: np.ndarray, labels: Sequence[str], taxonomy: Taxonomy, coarse_from: str
) -> tuple[np.ndarray, dict[str, int]]:
    """Votes on all labels, coarse ones from the fine where need be; and how often the two contradict."""
    out = np.full((len(votes), len(taxonomy.labels)), NO_VOTE, dtype=np.int8)
    place = {label: column for column, label in enumerate(taxonomy.labels)}
    out[:, [place[label] for label in labels]] = votes
    notes: dict[str, int] = {}
    for coarse, fine in zip(taxonomy.coarse, taxonomy.fine, strict=True):
        below = out[:, [place[label] for label in fine]]
        heard, silent = (below == 1).any(axis=1), (below == 0).all(axis=1)
        said = out[:, place[coarse]].copy()
        if coarse_from == "fine" or coarse not in labels:
            out[:, place[coarse]] = np.where(heard, 1, np.where(silent, 0, NO_VOTE))
        notes[f"rows that hear {coarse} but none of its fine classes"] = int(((said == 1) & silent).sum())
        notes[f"rows that hear a fine class of {coarse} but not it"] = int(((said == 0) & heard).sum())
    return out, notes


def _named(mask: np.ndarray, names: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(names[column] for column in np.flatnonzero(row).tolist()) for row in mask]
