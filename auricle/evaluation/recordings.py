"""Recordings that are judged as they lie, without a pack; and which of their events somebody wrote down.

Shape letters: W windows.
"""

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auricle.audio import AudioError, blocks, probe
from auricle.evaluation.choice import match_labels
from auricle.formats.annotated import same_in_words
from auricle.formats.matching import match_recordings
from auricle.formats.reading import Annotated
from auricle.listening import cut
from auricle.media_files import find_media
from auricle.metrics.events import EventTable, event_table

LATE = 1.0  # seconds that a container may say too little


class Recordings:
    """Media files, as far as judging events takes them for a pack: each is a clip and a group of its own.

    Args:
        path: a file, a folder (searched to any depth) or a glob.
        rate: samples a second that the model hears.

    Raises:
        ValueError: no media file is there.

    >>> Recordings("no-such-folder", 16000)
    Traceback (most recent call last):
    ValueError: no-such-folder: no such file or folder
    """

    def __init__(self, path: str | Path, rate: int):
        self.path, self.rate, self.manifest = Path(path), rate, {}  # type: ignore[var-annotated]
        found = find_media([path])
        for name, problem in found:
            if problem is not None:
                raise ValueError(problem if problem.startswith(name) else f"{name}: {problem}")
        self.ids = np.array([name for name, _ in found], object)
        self.recordings, self.splits = self.ids, np.array([""] * len(found))
        self.lengths = np.zeros(len(found), np.int64)  # of each: known once it has been heard
        names = "\n".join(f"{name} {Path(name).stat().st_size}" for name, _ in found if Path(name).is_file())
        self.fingerprint = hashlib.blake2b(
            names.encode("utf-8", "surrogateescape"), digest_size=16
        ).hexdigest()

    def __len__(self) -> int:
        return len(self.ids)

    def select(
        self, splits: Sequence[str] | None = None, where: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """All of them: recordings have neither splits nor attributes."""
        return np.arange(len(self))

    def attributes(self, name: str) -> np.ndarray:
        """None has any."""
        return np.array([None] * len(self))

    def windows(self, clip: int, window: int, hop: int) -> Iterator[tuple[np.ndarray, int, int]]:
        """(samples, first sample, end) of the windows of a recording, as it is read.

        Raises:
            AudioError: it cannot be read.
        """
        stop = 0
        for piece in cut(blocks(str(self.ids[clip]), self.rate), window, hop):
            if piece is not None:
                samples, start, stop, _ = piece
                yield samples, start, stop
        if not stop:
            raise ValueError(f"{self.ids[clip]}: holds no sound")
        self.lengths[clip] = stop


def annotated_clips(
    pack: Any, clips: np.ndarray, annotations: Annotated
) -> tuple[np.ndarray, dict[str, int], list[str]]:
    """Which of the clips somebody has listened to.

    Args:
        pack: or recordings.
        clips: chosen ones.
        annotations: what was heard.

    Returns:
        The clips; name in the annotations -> clip; names that mean none of them.

    Raises:
        ValueError: a name may mean two clips, or none means one.

    >>> from types import SimpleNamespace
    >>> pack = SimpleNamespace(path="rec", ids=np.array(["rec/a.wav", "rec/b.wav"]))
    >>> annotated_clips(pack, np.arange(2), Annotated(recordings={"b.wav": "", "c.wav": ""}))
    (array([1]), {'b.wav': 1}, ['c.wav'])
    """
    ids = [str(name) for name in pack.ids[clips]]
    place = dict(zip(ids, clips.tolist(), strict=True))
    matched = match_recordings(annotations.recordings, ids, [str(pack.path)])
    if not matched:
        first = next(iter(annotations.recordings.items()), ("none", ""))
        raise ValueError(
            f"{pack.path}: none of its recordings is annotated: the annotations name {first[0]!r} "
            f"({first[1]}), here is {ids[0]!r}; a name is a recording's path, or the end of it"
        )
    found = {name: place[recording] for name, recording in matched.items()}
    missing = [name for name in annotations.recordings if name not in found]
    return np.array(sorted(set(found.values())), np.int64), found, missing


def annotated_truth(
    pack: Any, clips: np.ndarray, clip_of: Mapping[str, int], annotations: Annotated, artifact: Any
) -> tuple[list[str], list[int], EventTable]:
    """(S labels that both sides have, their columns in the model, the events of the clips).

    An event may end a little after its clip, and ends with it then.

    Raises:
        ValueError: an event begins after its clip's end (its row is named), or no label is the model's.

    >>> annotated_truth(pack, clips, {"a.wav": 0}, annotations, artifact)  # doctest: +SKIP
    """
    shown = type("Annotations", (), {"path": "the annotations"})  # what a message calls them
    columns = [mine for mine, _ in match_labels(artifact, shown, annotations.labels, "labels")]
    names = [artifact.labels[k] for k in columns]
    position = {name: k for k, name in enumerate(names)}
    row_of = {clip: row for row, clip in enumerate(clips.tolist())}
    ends: dict[int, float] = {}
    rows = []
    events, same = annotations.once(clip_of)
    if same:
        warnings.warn(f"the annotations: {same_in_words(same)}", stacklevel=2)
    for clip, event in events:
        if event.label not in position:
            continue
        if clip not in ends:
            ends[clip] = seconds_of(pack, clip)
        if event.start >= ends[clip]:
            raise ValueError(
                f"{event.where}: begins at {event.start:g} s, and {pack.ids[clip]} ends at {ends[clip]:g} s; "
                "expected seconds from the recording's beginning"
            )
        rows.append((row_of[clip], position[event.label], event.start, min(event.end, ends[clip])))
    return names, columns, event_table(rows)


def seconds_of(pack: Any, clip: int) -> float:
    """How long a clip is at most, in seconds; of a recording that is not decoded yet, by its container."""
    if not isinstance(pack, Recordings):
        return float(pack.lengths[clip] / pack.rate)
    try:
        duration = probe(str(pack.ids[clip])).duration
    except (AudioError, OSError):
        return float("inf")  # decoding says what is wrong
    return float("inf") if duration is None else duration + LATE
