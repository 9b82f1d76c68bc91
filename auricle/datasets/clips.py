"""The row every corpus is turned into, and the checks that hold for all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One labelled stretch of one media file.

    Args:
        id: unique in its corpus and the same on every machine.
        path: the media file; absolute or relative to the working directory, ready to be opened.
        start: seconds into the file; None is its beginning.
        end: seconds into the file; None is its end.
        labels: what is heard; may be empty.
        split: "train", "test", "fold1", ...; "" where the corpus has none.
        group: the source recording: clips of one group belong in one split.
        scores: soft scores in [0, 1], parallel to `labels`; None where labels are plain.
        attributes: every other column of the corpus, as text.

    >>> Clip(id="a", path="a.wav", labels=("dog",)).split
    ''
    """

    id: str
    path: str
    start: float | None = None
    end: float | None = None
    labels: tuple[str, ...] = ()
    split: str = ""
    group: str = ""
    scores: tuple[float, ...] | None = None
    attributes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if self.start is not None and self.start < 0:
            raise ValueError(f"clip {self.id}: start {self.start} s is negative")
        if self.end is not None and self.end <= (self.start or 0.0):
            raise ValueError(f"clip {self.id}: end {self.end} s is not after start {self.start or 0.0} s")
        if self.scores is not None and len(self.scores) != len(self.labels):
            raise ValueError(f"clip {self.id}: {len(self.labels)} labels but {len(self.scores)} scores")
        if self.scores is not None and not all(0.0 <= score <= 1.0 for score in self.scores):
            raise ValueError(f"clip {self.id}: scores must lie between 0 and 1, got {self.scores}")


def check_ids(clips: Sequence[Clip]) -> None:
    """Refuse two clips of one id.

    Raises:
        ValueError: names the id and the positions.

    >>> check_ids([Clip(id="a", path="a.wav"), Clip(id="b", path="b.wav")])
    """
    seen: dict[str, int] = {}
    for position, clip in enumerate(clips):
        if clip.id in seen:
            raise ValueError(
                f"clips {seen[clip.id] + 1} and {position + 1} have the same id {clip.id!r}: give each its "
                "own (a column `id`), or put their labels in one row, separated by `;`"
            )
        seen[clip.id] = position


def check_leaks(clips: Iterable[Clip]) -> None:
    """Refuse a source recording whose clips are in two splits: a test would then hear what was trained on.

    Clips without a split count as a split of their own.

    Raises:
        ValueError: names the groups and their splits.

    >>> check_leaks([Clip(id="a", path="a.wav", group="r1", split="train"),
    ...              Clip(id="b", path="b.wav", group="r1", split="test")])
    Traceback (most recent call last):
    ...
    ValueError: a group may be in one split only: group 'r1' is in 'test' and 'train' (clips b, a)...
    """
    first: dict[str, dict[str, str]] = {}
    for clip in clips:
        if clip.group:
            first.setdefault(clip.group, {}).setdefault(clip.split, clip.id)
    leaks = {group: splits for group, splits in first.items() if len(splits) > 1}
    if leaks:
        named = [
            f"group {group!r} is in {' and '.join(repr(split) for split in sorted(splits))}"
            f" (clips {', '.join(splits[split] for split in sorted(splits))})"
            for group, splits in list(leaks.items())[:5]
        ]
        more = f"; and {len(leaks) - 5} more groups" if len(leaks) > 5 else ""
        raise ValueError(
            f"a group may be in one split only: {'; '.join(named)}{more}. "
            "Put all clips of a recording into one split, or correct the column `group`"
        )
