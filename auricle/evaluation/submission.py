"""Predictions as the urban sound tagging challenge takes them: a CSV with a row for each clip.

The first column is `audio_filename`, the others are named as the labels and hold scores between 0 and 1. On
reading, columns may stand in any order; those of a level that is not asked for may be left out, or hold -1
throughout, as the challenge's baseline writes the fine columns of its coarse predictions.
"""

import csv
import math
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auricle.datasets.taxonomy import Taxonomy
from auricle.evaluation.files import Replacing
from auricle.tables import read_text_table
from auricle.text import as_utf8, counted

CLIP = "audio_filename"
NO_SCORE = -1.0  # of a whole column: there are no scores of this label


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Scores of clips.

    Args:
        clips: names of the N clips.
        labels: names of the L columns, in the taxonomy's order.
        scores: (N, L) float64 in [0, 1].
        source: what to call it in messages: the file, or the model.
    """

    clips: tuple[str, ...]
    labels: tuple[str, ...]
    scores: np.ndarray
    source: str


def read_submission(
    path: str | Path, taxonomy: Taxonomy, wanted: Collection[str] | None = None
) -> Submission:
    r"""Read a file of predictions.

    A column that is -1 in every row counts as missing; a warning names it.

    Args:
        path: the CSV.
        taxonomy: whose labels its columns are named as.
        wanted: the labels whose columns are read, whatever the others hold; None reads all.

    Raises:
        ValueError: no such file, no column of clips or none of a label, a column that is no label or comes
            twice, a clip that comes twice, a score that is no number between 0 and 1, no score at all; file,
            row and column are named.

    >>> import tempfile
    >>> dogs = Taxonomy(("1_dog",), (("1-1_barking",),))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "p.csv").write_text("1_dog,audio_filename\n0.5,a.wav\n")
    ...     read_submission(Path(folder, "p.csv"), dogs).labels
    ('1_dog',)
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise ValueError(f"{path}: {what}; expected predictions in CSV, a row for each clip")
    columns, rows = read_text_table(path, taxonomy.labels)
    labels = _label_columns(path, columns, taxonomy)
    if wanted is not None:
        labels = tuple(label for label in labels if label in wanted)
    lines: dict[str, int] = {}
    scores = []
    for line, row in rows:
        clip = row[CLIP].strip()
        if not clip:
            raise ValueError(f"{path}, row {line}: {CLIP} is empty; expected the clip's name")
        if clip in lines:
            raise ValueError(f"{path}, row {line}: clip {clip!r} is in row {lines[clip]} already; leave one")
        lines[clip] = line
        scores.append([_score(path, line, label, row[label]) for label in labels])
    table = np.array(scores, np.float64).reshape(len(lines), len(labels))
    filled = _filled(path, list(lines.values()), labels, table)
    if missing := [label for label, there in zip(labels, filled.tolist(), strict=True) if not there]:
        if wanted is None and len(missing) == len(labels):
            raise ValueError(
                f"{path}: -1 everywhere says that there are no scores; expected some from 0 to 1"
            )
        warnings.warn(
            f"{path}: {counted(len(missing), 'column')} of -1 throughout, taken as missing: {some(missing)}",
            stacklevel=2,
        )
        labels = tuple(label for label in labels if label not in missing)
    return Submission(clips=tuple(lines), labels=labels, scores=table[:, filled], source=str(path))


def write_submission(path: str | Path, submission: Submission) -> None:
    """Write predictions, whole or not at all; read again, every score is the same to the last bit.

    Args:
        path: the CSV; its folder is there.
        submission: what to write; its labels are the columns.

    >>> import tempfile
    >>> made = Submission(clips=("a.wav",), labels=("1_dog",), scores=np.array([[0.1]]), source="")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_submission(Path(folder, "p.csv"), made)
    ...     Path(folder, "p.csv").read_text().splitlines()
    ['audio_filename,1_dog', 'a.wav,0.1']
    """
    with Replacing(Path(path)) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([CLIP, *submission.labels])
        for clip, row in zip(submission.clips, submission.scores.tolist(), strict=True):
            writer.writerow([as_utf8(clip), *row])


def some(names: Sequence[str], most: int = 5) -> str:
    """The first of some names.

    >>> some(["a", "b", "c"], most=2)
    'a, b, ...'
    """
    return ", ".join([*names[:most], *["..."] * (len(names) > most)])


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names one by one, and how many there are beyond `most`.

    >>> listed(["a", "b"]), listed(["a", "b", "c", "d"], most=2)
    ('a, b', 'a, b and 2 more')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _label_columns(path: Path, columns: Sequence[str], taxonomy: Taxonomy) -> tuple[str, ...]:
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ValueError(f"{path}: two columns are named {twice[0]!r}; leave one")
    if CLIP not in columns:
        raise ValueError(f"{path}: no column {CLIP!r}; expected it, and a column for each label")
    known = set(taxonomy.labels)
    if foreign := [name for name in columns if name != CLIP and name not in known]:
        raise ValueError(
            f"{path}: {len(foreign)} of {len(columns)} columns are no labels of the taxonomy: "
            f"{some([repr(name) for name in foreign])}; expected names like {taxonomy.fine_labels[0]!r} and "
            f"{taxonomy.coarse[0]!r}: leave others out, or give the taxonomy that the file was made with"
        )
    labels = tuple(label for label in taxonomy.labels if label in columns)
    if not labels:
        raise ValueError(f"{path}: no column of scores; expected columns like {taxonomy.coarse[0]!r}")
    return labels


def _filled(path: Path, lines: Sequence[int], labels: Sequence[str], scores_NL: np.ndarray) -> np.ndarray:
    """(L,) bool: columns that have scores, where the others are -1 in every row.

    Raises:
        ValueError: a column is -1 in some rows only.
    """
    none = scores_NL == NO_SCORE
    empty = none.all(axis=0) & bool(lines)
    if (odd := none & ~empty).any():
        row, column = np.argwhere(odd)[0].tolist()
        raise ValueError(
            f"{path}, row {lines[row]}, {labels[column]}: -1 is no score; expected a number from 0 to 1, or "
            "-1 in every row of a column without scores"
        )
    return ~empty


def _score(path: Path, line: int, label: str, text: str) -> float:
    try:
        score = math.nan if "_" in text else float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1 and score != NO_SCORE:
        hint = "; take the sigmoid of logits first" if math.isfinite(score) else ""
        raise ValueError(
            f"{path}, row {line}, {label}: {text!r} is no score; expected a number from 0 to 1{hint}"
        )
    return score
