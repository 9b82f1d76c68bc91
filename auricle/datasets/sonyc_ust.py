"""SONYC-UST and corpora of its form: annotations of several people in a CSV, a folder of recordings.

Source: Cartwright et al. 2019, "SONYC Urban Sound Tagging (SONYC-UST): a multilabel dataset from an urban
acoustic sensor network". The format of the CSV is described in `auricle.datasets.annotations`. The split is
the file's, the group of a clip its sensor: in the published file, each of the 43 is in one split only.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from auricle.datasets.clips import Clip, check_ids
from auricle.datasets.taxonomy import PRESENCE, taxonomy_of_table
from auricle.media_files import walk_media
from auricle.tables import header_of

if TYPE_CHECKING:
    from auricle.datasets.annotations import Annotations

TABLES = ("annotations-dev.csv", "annotations.csv")


def is_annotations(columns: list[str]) -> bool:
    """Whether a CSV header is that of annotations.

    >>> is_annotations(["audio_filename", "annotator_id", "8_dog_presence"])
    True
    """
    return {"audio_filename", "annotator_id"} <= set(columns) and any(
        name.endswith(PRESENCE) for name in columns
    )


def find_annotations(path: Path) -> Path | None:
    """The CSV of annotations that a path is, or that lies in it under a usual name; or None."""
    tables = [path / name for name in TABLES] if path.is_dir() else [path]
    for table in tables:
        if table.is_file() and table.suffix.lower() == ".csv":
            if is_annotations(header_of(table)):
                return table
    return None


def sonyc_ust(path: str | Path, media: str | Path | None = None) -> list[Clip]:
    """Clips of an annotated corpus, as far as there are recordings; what is missing is told in a warning.

    A clip's labels are those that more than half of the crowd's votes name, or the verified truth where there
    is one; `auricle annotations` puts others over the pack, with what is unknown. Recordings are found by
    name, to any depth, with any suffix of media. A sensor in two splits is told, and is a group in each.

    Args:
        path: the CSV, or the folder that holds `annotations-dev.csv` or `annotations.csv`.
        media: the folder of recordings; None for that of the CSV.

    Raises:
        ValueError: no such CSV, a damaged one, or none of its recordings is there.

    >>> sonyc_ust("sonyc/annotations-dev.csv", "sonyc/audio-dev")[0].group  # doctest: +SKIP
    '0'
    """
    from auricle.datasets.annotations import read_annotations  # NumPy, only where it is used

    table = find_annotations(Path(path))
    if table is None:
        raise ValueError(
            f"{path}: not annotations: expected a CSV with columns audio_filename, annotator_id and "
            f"LABEL{PRESENCE}, or a folder with {' or '.join(TABLES)}"
        )
    annotations = read_annotations(table, taxonomy_of_table(table))
    folder = table.parent if media is None else Path(media)
    files = _find(annotations, folder)
    missing = [clip for clip in annotations.clips if clip not in files]
    if not files:
        hint = "; say with --media where the recordings are" if media is None else ""
        raise ValueError(
            f"{folder}: has none of the {len(missing)} recordings of {table}, like {missing[0]}{hint}"
        )
    if missing:
        warnings.warn(
            f"{folder}: {len(missing)} of {len(annotations.clips)} recordings are not there and are left "
            f"out, e.g. {missing[0]}",
            stacklevel=2,
        )
    clips = _clips(annotations, files)
    check_ids(clips)
    return clips


def _clips(annotations: "Annotations", files: dict[str, str]) -> list[Clip]:
    from auricle.datasets.annotations import choose_labels

    labels = choose_labels(annotations).by_clip()
    verified = {annotations.clips[index] for index in annotations.clip[annotations.verified_rows()]}
    places: dict[str, set[str]] = {}
    for sensor, split in zip(annotations.sensors, annotations.splits, strict=True):
        places.setdefault(sensor, set()).add(split)
    several = sorted(sensor for sensor, splits in places.items() if sensor and len(splits) > 1)
    if several:
        warnings.warn(
            f"{len(several)} sensors are in several splits, e.g. {several[0]!r} in "
            f"{' and '.join(sorted(map(repr, places[several[0]])))}: a model is tested on places where it "
            "was trained, too",
            stacklevel=3,
        )
    rows = zip(annotations.clips, annotations.splits, annotations.sensors, strict=True)
    return [
        Clip(
            id=clip,
            path=files[clip],
            labels=tuple(labels[clip]),
            split=split,
            group=f"{sensor}@{split}" if sensor in several else sensor,
            attributes={"sensor_id": sensor, "verified": "yes" if clip in verified else "no"},
        )
        for clip, split, sensor in rows
        if clip in files
    ]


def _find(annotations: "Annotations", folder: Path) -> dict[str, str]:
    """Clip -> its file: of its very name, or of another suffix; of several, the one in its split's folder."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: not a folder; expected the recordings that the annotations name")
    files, unreadable = walk_media(folder)
    if unreadable:
        raise ValueError(f"{unreadable[0][0]}: {unreadable[0][1]}; make it readable, or move it away")
    found: dict[str, list[Path]] = {}
    for path in files:
        found.setdefault(path.stem, []).append(path)
    out = {}
    for clip, split in zip(annotations.clips, annotations.splits, strict=True):
        name = Path(clip)
        paths = found.get(name.stem, []) or found.get(name.name, [])
        if paths:
            best = min(paths, key=lambda path: (path.name != name.name, path.parent.name != split, path))
            out[clip] = str(best)
    return out
