"""ESC-50: 2000 environmental recordings, 50 classes of 40, five official folds.

Source: Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015. The folds keep
the takes of one Freesound recording together, but for four recordings that were cut into clips of two
classes (hen and rooster, clock alarm and clock tick) and stand in two folds as published. Their groups
carry the fold as a suffix, so that the official folds can be used; attribute `freesound_id` has the
plain number for whoever wants to leave these nine clips out.
"""

from pathlib import Path

from auricle.datasets.clips import Clip, check_ids
from auricle.tables import read_text_table

TABLES = ("meta.csv", "meta/esc50.csv")
ACROSS_FOLDS = frozenset({"131943", "134049", "209698", "234879"})  # as published: see the header


def is_esc50(columns: list[str]) -> bool:
    """Whether a CSV header is ESC-50's, in its own release (`esc50.csv`) or with licences (`meta.csv`).

    >>> is_esc50(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
    True
    """
    has_recording = {"freesound_id", "src_file"} & set(columns)
    has_media = {"path", "filename"} & set(columns)
    return bool(has_recording and has_media and {"fold", "category", "esc10"} <= set(columns))


def esc50(path: str | Path) -> list[Clip]:
    """Clips of ESC-50, in the order of its table.

    Splits are "fold1" to "fold5", the group is the Freesound recording, the label the category.

    Args:
        path: `meta.csv` with paths beside it, or `meta/esc50.csv` of the published release, whose recordings
            are in the folder `audio` beside `meta`; or the folder that holds either.

    Raises:
        ValueError: not a table of ESC-50, or a row of it that is damaged.

    >>> len(esc50("esc50/meta.csv"))  # doctest: +SKIP
    2000
    """
    table = find_table(Path(path))
    if not table.is_file():
        raise ValueError(f"{table}: neither a file nor a folder with meta.csv or meta/esc50.csv")
    columns, rows = read_text_table(table)
    if not is_esc50(columns):
        raise ValueError(
            f"{table}: not a table of ESC-50: it has the columns {', '.join(columns)}; "
            "needed are path or filename, fold, category, esc10, and freesound_id or src_file"
        )
    clips = [_clip(row, table) for _, row in rows]
    check_ids(clips)
    return clips


def find_table(path: Path) -> Path:
    """The table of ESC-50 in a folder, if there is one; otherwise the path itself."""
    return next((file for name in TABLES if (file := path / name).is_file()), path)


def _clip(row: dict[str, str], table: Path) -> Clip:
    if "path" in row:
        media = table.parent / row["path"]
    else:
        media = table.parent.parent / "audio" / row["filename"]
    recording = row.get("freesound_id") or row["src_file"]
    split = f"fold{row['fold']}"
    used = {"path", "filename", "fold", "category", "target", "src_file", "freesound_id"}
    attributes = {name: value for name, value in row.items() if name and name not in used}
    return Clip(
        id=media.stem,
        path=str(media),
        labels=(row["category"],),
        split=split,
        group=f"{recording}@{split}" if recording in ACROSS_FOLDS else recording,
        attributes=attributes | {"freesound_id": recording},
    )
