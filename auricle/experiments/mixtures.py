"""A second evaluation, on scenes mixed from the test clips: several sounds at once, the truth known.

A model that was trained on what is heard in a scene would be judged by what it knows: a pack of scenes is
taken only where each of its sounds comes from a test clip, and from no recording that trains or validates.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from auricle.experiments.options import Options
from auricle.shards import Pack

LABELS = "labels"  # the label set of scenes
EVENTS = "events.parquet"


def open_mixtures(options: Options) -> Pack | None:
    """The pack of `options.mixtures`, if it may judge; None where none is asked for.

    Raises:
        ValueError: it is not mixed from the pack of `options.data`, or of other clips than those of the test
            splits, or a recording in it is also trained or validated on, or no label is in both.

    >>> from pathlib import Path
    >>> options = Options(data=Path("out/esc50"), out=Path("out/m"), train_splits=("fold1",), test_splits=())
    >>> open_mixtures(options) is None
    True
    """
    if options.mixtures is None:
        return None
    pack, mixtures = Pack(options.data), Pack(options.mixtures)
    check_source(pack, mixtures)
    check_sounds(pack, mixtures, options)
    if not shared_labels(pack.label_names(options.label_set), mixtures):
        raise ValueError(
            f"{mixtures.path}: shares no label with set {options.label_set!r} of {pack.path}: names must be "
            "equal, letter by letter"
        )
    return mixtures


def check_source(pack: Pack, mixtures: Pack) -> None:
    """Refuse a pack that is no mixture, or one of another pack's clips."""
    made = mixtures.manifest.get("mixed_from")
    if not made:
        raise ValueError(
            f"{mixtures.path}: is not a pack of mixed scenes, so what was mixed into it is not known; "
            "`auricle scenes` makes one from the test splits"
        )
    if made["fingerprint"] != pack.fingerprint:
        raise ValueError(
            f"{mixtures.path}: was mixed from another pack ({made['source']}, fingerprint "
            f"{made['fingerprint'][:12]}) than {pack.path} ({pack.fingerprint[:12]}), so whether training "
            f"hears its sounds cannot be told; mix scenes from {pack.path}"
        )


def check_sounds(pack: Pack, mixtures: Pack, options: Options) -> None:
    """Refuse sounds of clips, or recordings, that are not for tests alone."""
    scenes, sources, groups = read_sounds(mixtures)
    audible = set(mixtures.ids[mixtures.audible > 0].tolist())  # a scene may be nothing but silence
    if unknown := sorted(audible - set(scenes)):
        raise ValueError(
            f"{mixtures.path}: {EVENTS} does not say what is in {_some(unknown)}; mix the scenes again"
        )
    place = {clip: index for index, clip in enumerate(pack.ids.tolist())}
    if foreign := sorted(set(sources) - place.keys()):
        raise ValueError(f"{mixtures.path}: {_some(foreign)} was mixed in, and is no clip of {pack.path}")
    clips = np.array([place[clip] for clip in sources], np.int64)
    splits = pack.splits[clips]
    outside = ~np.isin(splits.astype(str), options.test_splits)
    again = f"mix scenes of {', '.join(options.test_splits)} alone: auricle scenes --split NAME=SPLITS"
    if outside.any():
        found = sorted({str(name) for name in splits[outside]})
        raise ValueError(
            f"{mixtures.path}: {outside.sum()} of its {len(clips)} source clips are of {', '.join(found)}, "
            f"not of the test splits ({pack.ids[clips[outside][0]]}, say); {again}"
        )
    # By the pack's own groups, and by those that the scenes name: a leak on either side counts.
    learned = set(pack.recordings[pack.select(options.train_splits + options.validation_splits)].tolist())
    heard = set(pack.recordings[clips].tolist()) | set(groups)
    if leaks := sorted(learned & heard):
        raise ValueError(
            f"{mixtures.path}: recording {_some(leaks)} is also in the splits to train or validate on; no "
            "recording may be on both sides: pack the corpus again with split by group"
        )


def read_sounds(mixtures: Pack) -> tuple[list[str], list[str], list[str]]:
    """Scenes that have a sound, and the source clips and recordings of all sounds, each once.

    Raises:
        ValueError: the pack has no table of them.
    """
    import pyarrow.parquet as pq

    path = mixtures.path / EVENTS
    if not path.is_file():
        raise ValueError(f"{path}: is missing, and says what was mixed; mix the scenes again")
    table = pq.read_table(path, columns=["id", "source", "source_group"])

    def once(name: str) -> list[str]:
        return [str(value) for value in table[name].unique().to_pylist() if value]  # a noise has none

    return once("id"), once("source"), once("source_group")


def shared_labels(labels: Iterable[str], mixtures: Pack) -> list[str]:
    """Those of some labels that the scenes have too, in their order."""
    there = set(mixtures.label_names(LABELS))
    return [label for label in labels if label in there]


def in_words(mixtures: Pack) -> str:
    """What the caption says of the scenes."""
    made: dict[str, Any] = mixtures.manifest["mixed_from"]
    pools = len(np.unique(mixtures.recordings))
    origin = sorted({name for split in made["splits"].values() for name in split["from"]})
    return (
        f"Mixtures: {len(mixtures)} scenes mixed from clips of {', '.join(origin)}, {pools} groups of them "
        f"that share no recording, pack {mixtures.fingerprint[:12]}."
    )


def _some(names: list[str]) -> str:
    return names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
