"""ESC-50: 2000 environmental recordings, 50 classes of 40, five official folds.

Source: Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015. The folds keep
the takes of one Freesound recording together, but for four recordings that were cut into clips of two
classes (hen and rooster, clock alarm and clock tick) and stand in two folds as published. Their groups
carry the fold as a suffix, so that the official folds can be used; attribute `freesound_id` has the
plain number for whoever wants to leave these ten clips out.
"""

import csv
from pathlib import Path

from auricle.datasets.clips import Clip, check_ids

NEEDED = ("fold", "category")
ACROSS_FOLDS = frozenset({"131943", "134049", "209698", "234879"})  # as published: see the header


def is_esc50(columns: list[str]) -> bool:
    """Whether a CSV header is ESC-50's, in its own release (`esc50.csv`) or with licences (`meta.csv`).

    >>> is_esc50(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
    True
    """
    recording = {"freesound_id", "src_file"} & set(columns)
    media = {"path", "filename"} & set(columns)
    return bool(recording and media and {"fold", "category", "esc10"} <= set(columns))


def esc50(path: str | Path) -> list[Clip]:
    """Clips of ESC-50, in the order of its table.

    Splits are "fold1" to "fold5", the group is the Freesound recording, the label the category.

    Args:
        path: `meta.csv` with paths beside it, or `meta/esc50.csv` of the published release, whose recordings
            are in the folder `audio` beside `meta`; or the folder that holds either.

    Raises:
        ValueError: not a table of ESC-50.
    """
    table = _table(Path(path))
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        if not is_esc50(columns):
            raise ValueError(
                f"{table}: not a table of ESC-50: it has the columns {', '.join(columns)}; "
                "needed are path or filename, fold, category, esc10, and freesound_id or src_file"
            )
        clips = [_clip(row, table) for row in reader]
    check_ids(clips)
    return clips


def _table(path: Path) -> Path:
    if not path.is_dir():
        return path
    for candidate in (path / "meta.csv", path / "meta" / "esc50.csv", path / "esc50.csv"):
        if candidate.is_file():
            return candidate
    raise ValueError(f"{path}: neither meta.csv nor meta/esc50.csv is in this folder")


def _clip(row: dict[str, str], table: Path) -> Clip:
    if "path" in row:
        media = table.parent / row["path"]
    else:
        media = table.parent.parent / "audio" / row["filename"]
    recording = row.get("freesound_id") or row["src_file"]
    split = f"fold{row['fold']}"
    used = {"path", "filename", "fold", "category", "target", "src_file", "freesound_id"}
    attributes = {name: value or "" for name, value in row.items() if name and name not in used}
    return Clip(
        id=media.stem,
        path=str(media),
        labels=(row["category"],),
        split=split,
        group=f"{recording}@{split}" if recording in ACROSS_FOLDS else recording,
        attributes=attributes | {"freesound_id": recording},
    )
