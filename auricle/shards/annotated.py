"""Label sets of a pack from what annotators said of its clips."""

from pathlib import Path, PurePath
from typing import Any

from auricle.datasets.annotations import ChosenLabels
from auricle.shards.labels import add_labels
from auricle.shards.reader import Pack


def add_chosen_labels(
    pack: str | Path, name: str, chosen: ChosenLabels, *, replace: bool = False
) -> dict[str, Any]:
    """Put chosen labels over a pack as a label set that keeps their taxonomy.

    Clips are found by their id; where no id fits, by the name of the file, with and then without its suffix.
    Of clips that the annotations do not have, every label is unknown.

    Args:
        pack: the pack's folder.
        name: of the new set: letters, digits, - and _.
        chosen: labels of clips.
        replace: overwrite a set of the same name.

    Returns:
        `clips` found, `missing` from the annotations, `unused` annotated clips that the pack has not,
        `verified`, and `positives`.

    Raises:
        ValueError: no clip is found, two clips of the pack fit one name, a set of that name.

    >>> add_chosen_labels("out/pack", "agreement50", choose_labels(annotations))["clips"]  # doctest: +SKIP
    2794
    """
    reader = Pack(pack)
    place = {clip: row for row, clip in enumerate(chosen.clips)}
    rows = _rows(reader, place)
    labels, unknown = chosen.by_clip(), chosen.unknown_by_clip()
    ids = reader.ids.tolist()
    nothing = chosen.taxonomy.labels
    names = [None if row is None else chosen.clips[row] for row in rows]
    add_labels(
        pack,
        name,
        {clip: labels[own] for clip, own in zip(ids, names, strict=True) if own is not None},
        unknown={
            clip: nothing if own is None else unknown.get(own, ())
            for clip, own in zip(ids, names, strict=True)
        },
        names=chosen.taxonomy.labels,
        taxonomy=chosen.taxonomy.as_dict(),
        replace=replace,
    )
    found = [row for row in rows if row is not None]
    return {
        "clips": len(found),
        "missing": len(rows) - len(found),
        "unused": len(chosen.clips) - len(found),
        "verified": int(chosen.verified[found].sum()),
        "positives": int(chosen.positive[found].sum()),
    }


def _rows(reader: Pack, place: dict[str, int]) -> list[int | None]:
    """For each clip of a pack its row among the annotated clips."""
    ids = reader.ids.tolist()
    paths = [PurePath(path) for path in reader.places()[0].tolist()]
    stems = {PurePath(clip).stem: row for clip, row in place.items()}
    for names, known, what in (
        (ids, place, "ids"),
        ([path.name for path in paths], place, "names of files"),
        ([path.stem for path in paths], stems if len(stems) == len(place) else {}, "names of files"),
    ):
        rows = [known.get(name) for name in names]
        found = [row for row in rows if row is not None]
        if found and len(set(found)) < len(found):
            twice = next(name for at, name in enumerate(names) if name in known and name in names[:at])
            raise ValueError(
                f"{reader.path}: several clips are named {twice!r} ({what}); annotations need one"
            )
        if found:
            return rows
    raise ValueError(
        f"{reader.path}: none of its {len(ids)} clips is annotated: its ids are like {ids[0]!r}, and the "
        f"annotations' like {next(iter(place), '')!r}"
    )
