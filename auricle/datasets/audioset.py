"""AudioSet: lists of ten-second segments of videos, a folder of media named by video id, and the ontology.

Source: Gemmeke et al., "Audio Set: An ontology and human-labeled dataset for audio events", ICASSP 2017. The
lists hold no sound; whoever fetched it has files under one of several names (`parse_name` has them), cut out
or whole, and never all of them: videos vanish. What is missing is counted.
"""

import csv
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from auricle.datasets.audioset_labels import audioset_parents, audioset_sounds, ids, labels
from auricle.datasets.clips import Clip, check_ids
from auricle.datasets.ontology import (
    CLASSES,
    ONTOLOGY,
    parents,
    read_classes,
    read_names,
    read_ontology,
    restricted,
)

__all__ = [
    "Found",
    "audioset",
    "audioset_parents",
    "audioset_sounds",
    "find_lists",
    "find_segments",
    "ids",
    "is_audioset",
    "labels",
    "parents",
    "parse_name",
    "read_classes",
    "read_ontology",
    "read_segments",
    "restricted",
    "scan_media",
]

COLUMNS = "# YTID, start_seconds, end_seconds, positive_labels"  # the third line of every list
# A video id has 11 characters. Some downloaders write "Y" before it, since ids may begin with "-"; those that
# cut the segment out write its start, or start and end, after it: in seconds or milliseconds.
NAME = re.compile(r"Y?([\w-]{11})(?:_(\d+(?:\.\d+)?)(?:_(\d+(?:\.\d+)?))?)?", re.ASCII)
CUT_TOLERANCE = 1.0  # seconds that a cut-out may be longer than its segment: cut at a key frame, padded
LOOK_AT_ONCE = 8  # files whose length is looked up at a time


class Segment(NamedTuple):
    """A row of a list: a stretch of a video in seconds, and its labels as the list has them, `mid,mid`."""

    video: str
    start: float
    end: float
    mids: str


class Media(NamedTuple):
    """A file of the media folder: its path, and the range in its name, where it has one."""

    path: str
    start: str
    end: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a folder of media has of some lists.

    Args:
        clips: a clip for each segment of which there is a file, in the order of the lists.
        missing: ids of the segments of which there is none.
        other_range: how many of these have a file that was cut out elsewhere.
        ambiguous: how many of the found have several files; a cut-out is taken before a file without a range
            in its name, then the first path.
    """

    clips: list[Clip]
    missing: list[str]
    other_range: int
    ambiguous: int


def audioset(path: str | Path, media: str | Path | None = None) -> list[Clip]:
    """Clips of AudioSet's lists, as far as there are media; what is missing is told in a warning.

    The id of a clip is the video's with the start in milliseconds (`b0RFKhbpFJA_30000`, as in AudioSet's
    strong labels), the group the video, the split "train" or "eval", after the name of the list. Labels are
    display names; attributes are `list` ("balanced_train") and `mids`, the labels as AudioSet numbers them,
    separated by `;`.

    Args:
        path: a list (`balanced_train_segments.csv`), or a folder of lists, read in the order of their names.
            `class_labels_indices.csv` or `ontology.json` lies beside it.
        media: a folder of recordings or videos, to any depth, named as `parse_name` says; None for the folder
            of the lists.

    Raises:
        ValueError: not a list of AudioSet, a damaged row, a label without a name, a video in two lists of
            different splits, or no file at all.

    >>> clips = audioset("lists/balanced_train_segments.csv", "media")  # doctest: +SKIP
    >>> clips[0].labels  # doctest: +SKIP
    ('Speech', 'Inside, small room')
    """
    table = Path(path)
    folder = table if table.is_dir() else table.parent
    hint = "; say with --media where the media are" if media is None else ""
    media = folder if media is None else Path(media)
    found = find_segments(find_lists(table), media, read_names(folder))
    total = len(found.clips) + len(found.missing)
    if not found.clips:
        raise ValueError(
            f"{media}: has none of the {total} segments of {table}; files are found by the video's id, as "
            "ID, ID_START or ID_START_END with any suffix of media, each also with Y before it"
            f"{hint}"
        )
    if found.missing:
        other = f" ({found.other_range} have a file of another range)" if found.other_range else ""
        warnings.warn(
            f"{table}: {len(found.missing)} of {total} segments have no file in {media}{other} and are left "
            f"out: {', '.join(found.missing[:3])}{', ...' if len(found.missing) > 3 else ''}",
            stacklevel=2,
        )
    if found.ambiguous:
        warnings.warn(
            f"{media}: {found.ambiguous} segments have several files; cut-outs are taken first, then by name",
            stacklevel=2,
        )
    return found.clips


def is_audioset(path: Path) -> bool:
    """Whether a file is one of AudioSet's lists: known by its third line.

    >>> is_audioset(Path("no-such-file"))
    False
    """
    try:
        with path.open("rb") as file:
            head = [file.readline(1000) for _ in range(3)]
    except OSError:
        return False
    return head[2].decode(errors="replace").split() == COLUMNS.split()


def find_lists(path: Path) -> list[Path]:
    """A list, or the lists in a folder by name; empty where there are none.

    >>> find_lists(Path("no-such-folder"))
    []
    """
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    return [file for file in files if is_audioset(file)]


def read_segments(path: Path) -> Iterator[Segment]:
    """The rows of a list, one after the other.

    Raises:
        ValueError: not a list of AudioSet, or a row that makes no sense (its line is named).

    >>> next(read_segments(Path("eval_segments.csv")))  # doctest: +SKIP
    Segment(video='--4gqARaEJE', start=0.0, end=10.0, mids='/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk')
    """
    if not is_audioset(path):
        raise ValueError(f"{path}: not a list of AudioSet; its third line should be {COLUMNS!r}")
    with path.open(encoding="utf-8", newline="") as file:
        head = [file.readline() for _ in range(3)]
        rows = 0
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        try:
            for row in reader:
                if row:
                    rows += 1
                    yield _segment(row)
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}, row {reader.line_num + 3}: {error}") from None
    said = re.search(r"num_segs=(\d+)", head[1])
    if said and int(said[1]) != rows:
        warnings.warn(f"{path}: its second line says {said[1]} segments, and it has {rows}", stacklevel=2)


def _segment(row: list[str]) -> Segment:
    if len(row) != 4:
        raise ValueError(f"expected video, start, end and labels in quotation marks, got {len(row)} fields")
    video, start, end, mids = row
    if not NAME.fullmatch(video) or len(video) != 11:
        raise ValueError(f"{video!r} is no id of a video: 11 letters, digits, - and _ are expected")
    times = float(start), float(end)
    if not 0 <= times[0] < times[1] < float("inf"):
        raise ValueError(f"a segment from {start} to {end} s makes no sense")
    return Segment(video, *times, mids)


def parse_name(stem: str) -> tuple[str, str, str] | None:
    """Video id, start and end, as text, of a file's name without its suffix; None where it has no such name.

    `ID`, `ID_START` and `ID_START_END` are known, each also with `Y` before it; the times are in seconds or
    milliseconds.

    >>> parse_name("Y--PJHxphWEs_30.000_40.000"), parse_name("--PJHxphWEs"), parse_name("notes")
    (('--PJHxphWEs', '30.000', '40.000'), ('--PJHxphWEs', '', ''), None)
    """
    # Y and 11 more characters cannot be read as an id of 11 and a range, which begins with "_", nor the
    # other way round: the 12th character decides.
    found = NAME.fullmatch(stem)
    return (found[1], found[2] or "", found[3] or "") if found else None


def scan_media(folder: Path) -> dict[str, list[Media]]:
    """Video id -> its files, ordered by path; the folder is gone through once, to any depth.

    Raises:
        ValueError: no such folder, or one below it that cannot be read.

    >>> scan_media(Path("no-such-folder"))
    Traceback (most recent call last):
    ValueError: no-such-folder: not a folder; expected media named by video id
    """
    from auricle.audio import MEDIA_SUFFIXES  # brings the decoders: only when a folder is walked

    if not folder.is_dir():
        raise ValueError(f"{folder}: not a folder; expected media named by video id")
    failed: list[OSError] = []
    seen: set[str] = set()
    found: dict[str, list[Media]] = {}
    for here, folders, files in os.walk(folder, followlinks=True, onerror=failed.append):
        if (real := os.path.realpath(here)) in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        for file in files:
            stem, dot, suffix = file.rpartition(".")
            if f".{suffix.lower()}" in MEDIA_SUFFIXES and (parsed := parse_name(stem)):
                found.setdefault(parsed[0], []).append(Media(f"{here}{os.sep}{file}", *parsed[1:]))
    if failed:
        raise ValueError(f"{failed[0].filename}: {failed[0].strerror}; make it readable, or move it away")
    for of_video in found.values():
        of_video.sort()
    return found


def find_segments(lists: Sequence[Path], media: Path, names: dict[str, str]) -> Found:
    """What a folder of media has of the segments of some lists.

    Args:
        lists: AudioSet's lists.
        media: the folder.
        names: mid -> display name.

    Raises:
        ValueError: as `audioset` says.

    >>> find_segments([Path("eval_segments.csv")], Path("media"), names).missing  # doctest: +SKIP
    ['--U7joUcTCo_0']
    """
    files = scan_media(media)
    known: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {}  # one for all clips of the same labels
    clips: list[Clip] = []
    missing: list[str] = []
    to_measure: list[int] = []
    other_range = ambiguous = 0
    for table in lists:
        kind = table.stem.removesuffix("_segments")
        split = "train" if "train" in kind else "eval" if "eval" in kind else kind
        known.clear()
        for segment in read_segments(table):
            key = f"{segment.video}_{round(1000 * segment.start)}"
            there = files.get(segment.video, ())
            fitting = [file for file in there if not file.start or _same_range(file, segment)]
            if not fitting:
                missing.append(key)
                other_range += bool(there)
                continue
            ambiguous += len(fitting) > 1
            file = next((file for file in fitting if file.start), fitting[0])
            if segment.mids not in known:
                known[segment.mids] = _labels(segment.mids, names, kind, table)
            labels, attributes = known[segment.mids]
            if not file.start and segment.start > 0:
                to_measure.append(len(clips))
            start, end = (None, None) if file.start else (segment.start, segment.end)
            clips.append(
                Clip(
                    id=key,
                    path=file.path,
                    start=start,
                    end=end,
                    labels=labels,
                    split=split,
                    group=segment.video,
                    attributes=attributes,
                )
            )
    try:
        check_ids(clips)
    except ValueError as error:
        listed = ", ".join(str(table) for table in lists)
        raise ValueError(f"a segment is twice in {listed}: {error}") from None
    _take_cut_outs_whole(clips, to_measure)
    return Found(clips=clips, missing=missing, other_range=other_range, ambiguous=ambiguous)


def _labels(
    mids: str, names: dict[str, str], kind: str, table: Path
) -> tuple[tuple[str, ...], dict[str, str]]:
    numbers = [mid.strip() for mid in mids.split(",") if mid.strip()]
    if nameless := [mid for mid in numbers if mid not in names]:
        raise ValueError(f"{table}: no name for the label {nameless[0]} in {CLASSES} or {ONTOLOGY} beside it")
    labels = tuple(dict.fromkeys(names[mid] for mid in numbers))
    return labels, {"list": kind, "mids": ";".join(numbers)}


def _same_range(file: Media, segment: Segment) -> bool:
    """Whether the range in a file's name is the segment's, in seconds (also without fraction) or in ms."""

    def same(text: str, seconds: float, unit: float, slack: float) -> bool:
        return abs(float(text) - unit * seconds) <= (0.002 if "." in text else slack)

    return any(
        same(file.start, segment.start, unit, slack)
        and (not file.end or same(file.end, segment.end, unit, slack))
        for unit, slack in ((1.0, 0.999), (1000.0, 1.0))
    )


def _take_cut_outs_whole(clips: list[Clip], which: Iterable[int]) -> None:
    """Of files without a range in their name, find those that hold the segment alone, by their length."""
    which = list(which)
    with ThreadPoolExecutor(LOOK_AT_ONCE) as pool:
        for index, seconds in zip(which, pool.map(_seconds, (clips[i].path for i in which)), strict=True):
            clip = clips[index]
            assert clip.start is not None and clip.end is not None
            longest = min(clip.end - clip.start + CUT_TOLERANCE, clip.end - 0.05)
            if seconds is not None and seconds <= longest:
                clips[index] = Clip(
                    id=clip.id,
                    path=clip.path,
                    labels=clip.labels,
                    split=clip.split,
                    group=clip.group,
                    attributes=clip.attributes,
                )


def _seconds(path: str) -> float | None:
    from auricle.audio import AudioError, probe

    try:
        return probe(path).duration
    except AudioError:  # whoever decodes it says so
        return None
