"""What a source is, before anything is decoded: its fingerprints, and how it is cut into shards."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auricle.datasets import Clip
from auricle.remote import sizes_of
from auricle.text import as_utf8

# Up to 82 GB of sound, a pack has at most 2 x 256 shards and one, which a reader can keep mapped all at once.
# From there on their number grows and not their size: a shard is what a killed run has to do again, and what
# is copied, checked or lost as one.
MOST_SHARDS = 256
MOST_CLIPS = 4096
MOST_BYTES = 320_000_000  # three hours at 16 kHz
FEWEST_CLIPS = 32
FEWEST_BYTES = 2_000_000  # a minute or two of sound, so that a few files are work for several processes


def file_sizes(clips: Sequence[Clip]) -> list[int]:
    """Bytes of each clip's file; -1 where there is none."""
    paths = list(dict.fromkeys(clip.path for clip in clips))
    sizes = dict(zip(paths, sizes_of(paths), strict=True))
    return [sizes[clip.path] for clip in clips]


def cut_into_shards(clips: Sequence[Clip], sizes: Sequence[int], rate: int) -> list[range]:
    """Which clips go into which shard: a function of the source alone, whoever works first.

    A shard is closed at 32 clips or 2 MB of files (of PCM, where a clip's length is known), later in a corpus
    that would otherwise have more than 512 shards, but never later than at 4,096 clips or 320 MB: a million
    clips of ten seconds are a thousand shards, 70 million 70 thousand.

    >>> clips = [Clip(id=str(i), path=f"{i}.ogg") for i in range(80)]
    >>> cut_into_shards(clips, [50_000] * 80, rate=16000)
    [range(0, 32), range(32, 64), range(64, 80)]
    """
    weights = [
        2 * rate * (clip.end - (clip.start or 0.0)) if clip.end is not None else max(size, 0)
        for clip, size in zip(clips, sizes, strict=True)
    ]
    most_clips = min(max(FEWEST_CLIPS, -(-len(clips) // MOST_SHARDS)), MOST_CLIPS)
    return cut(weights, most_clips, min(max(FEWEST_BYTES, sum(weights) / MOST_SHARDS), MOST_BYTES))


def cut(weights: Sequence[float], most: int, enough: float) -> list[range]:
    """Positions in parts of neighbours: a part is closed at `most` positions, or once it weighs `enough`.

    >>> cut([1, 1, 5, 1, 1, 1], most=3, enough=4)
    [range(0, 3), range(3, 6)]
    """
    parts, first, weight = [], 0, 0.0
    for position, more in enumerate(weights):
        weight += more
        if position + 1 - first >= most or weight >= enough:
            parts.append(range(first, position + 1))
            first, weight = position + 1, 0.0
    if first < len(weights):
        parts.append(range(first, len(weights)))
    return parts


def audio_fingerprint(
    clips: Sequence[Clip], sizes: Sequence[int], root: Path, rate: int, about: Mapping[str, Any] | None = None
) -> str:
    """What identifies a pack: rate, id, file, size, range, split, group, attributes of each clip; `about`."""
    return _fingerprint(
        rate,
        (
            (clip.id, relative(clip.path, root), size, clip.start, clip.end, clip.split, clip.group)
            + tuple(sorted(clip.attributes.items()))
            for clip, size in zip(clips, sizes, strict=True)
        ),
        sorted((about or {}).items()),
    )


def label_fingerprint(clips: Sequence[Clip]) -> str:
    """What identifies the labels that a source brings.

    >>> one, two = (label_fingerprint([Clip(id="a", path="a.wav", labels=(label,))]) for label in ("x", "y"))
    >>> one == two
    False
    """
    return _fingerprint(((clip.id, clip.labels, clip.scores)) for clip in clips)


def _fingerprint(*parts: Any) -> str:
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        for row in [part] if isinstance(part, int) else part:
            state.update(json.dumps(row).encode() + b"\n")
    return state.hexdigest()


def relative(path: str, root: Path) -> str:
    """A path as a pack keeps it: from the source's folder, so that a pack does not depend on where that is.

    >>> relative("data/a/b.wav", Path("data"))
    'a/b.wav'
    """
    return as_utf8(Path(os.path.relpath(path, root)).as_posix())
