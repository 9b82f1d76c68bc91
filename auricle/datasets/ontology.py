"""AudioSet's ontology and label table: names, parents (a sound may have several), restrictions."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auricle.datasets.audioset_labels import audioset_parents
from auricle.tables import read_text_table

CLASSES = "class_labels_indices.csv"
ONTOLOGY = "ontology.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sound:
    """An entry of the ontology.

    Args:
        mid: AudioSet's number of it, `/m/09x0r`.
        name: its display name.
        parents: mids of the entries that list it as a child; a top entry has none, 38 have several.
        children: mids.
        restrictions: "abstract" (a heading, never a label) or "blacklist" (hard to label: of these 67, the
            lists have 12 nevertheless); mostly none.
    """

    mid: str
    name: str
    parents: tuple[str, ...]
    children: tuple[str, ...]
    restrictions: tuple[str, ...]


def read_ontology(path: str | Path) -> dict[str, Sound]:
    """Mid -> entry of `ontology.json`, in its order.

    Raises:
        ValueError: not an ontology, a child that is not in it, or an entry that is its own ancestor.

    >>> read_ontology("ontology.json")["/m/09x0r"].parents  # doctest: +SKIP
    ('/m/09l8g',)
    """
    path = Path(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        children = {entry["id"]: tuple(entry["child_ids"]) for entry in entries}
        rest = {entry["id"]: (entry["name"], tuple(entry["restrictions"])) for entry in entries}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not an ontology of AudioSet ({type(error).__name__}: {error}); expected a list of "
            "entries with id, name, child_ids and restrictions"
        ) from None
    parents: dict[str, list[str]] = {mid: [] for mid in children}
    for mid, below in children.items():
        for child in below:
            if child not in parents:
                raise ValueError(f"{path}: {mid} has a child {child}, which is not in the ontology")
            parents[child].append(mid)
    _check_no_circle(path, parents)
    return {
        mid: Sound(
            mid=mid,
            name=rest[mid][0],
            parents=tuple(parents[mid]),
            children=below,
            restrictions=rest[mid][1],
        )
        for mid, below in children.items()
    }


def _check_no_circle(path: Path, parents: dict[str, list[str]]) -> None:
    left = {mid: set(above) for mid, above in parents.items()}
    while free := [mid for mid, above in left.items() if not above]:
        for mid in free:
            del left[mid]
        for above in left.values():
            above.difference_update(free)
    if left:
        raise ValueError(f"{path}: {next(iter(left))} is its own ancestor, or below one that is")


def restricted(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Name of each restricted sound -> its restrictions.

    >>> restricted("ontology.json")["Human sounds"]  # doctest: +SKIP
    ('abstract',)
    """
    sounds = read_ontology(path).values()
    return {sound.name: sound.restrictions for sound in sounds if sound.restrictions}


def parents(path: str | Path) -> dict[str, list[str]]:
    """Name of each sound -> names of its parents, none for a top one.

    >>> parents("ontology.json")["Speech"]  # doctest: +SKIP
    ['Human voice']
    """
    sounds = read_ontology(path)
    return {sound.name: [sounds[mid].name for mid in sound.parents] for sound in sounds.values()}


def read_parents(path: str | Path) -> dict[str, list[str]]:
    r"""Label -> labels right above it, of AudioSet's `ontology.json`, or of JSON or YAML that says this.

    Raises:
        ValueError: no such file, or neither; the file is named.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "animals.yaml")
    ...     _ = file.write_text("puppy: dog\ndog: [animal, pet]\n")
    ...     read_parents(file)
    {'puppy': ['dog'], 'dog': ['animal', 'pet']}
    """
    if str(path) == "audioset":
        return audioset_parents()
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected which labels stand above which, in JSON or YAML")
    try:
        found = _read_mapping(path)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: neither JSON nor YAML ({' '.join(str(error).split()):.150})") from None
    if isinstance(found, list):
        return parents(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected LABEL: [labels right above it], or AudioSet's ontology.json")
    above = {label: [names] if isinstance(names, str) else names for label, names in found.items()}
    for label, names in above.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in (label, *names)):
            raise ValueError(
                f"{path}: {label!r}: expected the list of labels right above it, got {names!r:.80}"
            )
    return above


def _read_mapping(path: Path) -> Any:
    """JSON, or by the file's name YAML, whose keys and values stay as they are written."""
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() not in (".yaml", ".yml"):
        return json.loads(text)
    import yaml

    try:
        return yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def read_classes(path: str | Path) -> dict[str, str]:
    """Mid -> display name of `class_labels_indices.csv`, in the order of its indices.

    Raises:
        ValueError: not such a table, or a name that two mids have.

    >>> list(read_classes("class_labels_indices.csv").items())[1]  # doctest: +SKIP
    ('/m/05zppz', 'Male speech, man speaking')
    """
    path = Path(path)
    columns, rows = read_text_table(path)
    if missing := [name for name in ("index", "mid", "display_name") if name not in columns]:
        raise ValueError(f"{path}: expected the columns index, mid, display_name; {missing[0]} is missing")
    found = []
    for line, row in rows:
        if not row["index"].strip().isdecimal():
            raise ValueError(f"{path}, row {line}: index is not a number: {row['index']!r}")
        found.append((int(row["index"]), row["mid"], row["display_name"]))
    return _unique({mid: name for _, mid, name in sorted(found)}, path)


def read_names(folder: Path) -> dict[str, str]:
    """Mid -> display name, from the table of classes in a folder or, without it, from the ontology there.

    Raises:
        ValueError: neither is there.

    >>> read_names(Path("no-such-folder"))
    Traceback (most recent call last):
    ValueError: no-such-folder: class_labels_indices.csv or ontology.json is missing; one belongs beside
    AudioSet's lists, for the names of the labels
    """
    if (classes := folder / CLASSES).is_file():
        return read_classes(classes)
    if (file := folder / ONTOLOGY).is_file():
        return _unique({mid: sound.name for mid, sound in read_ontology(file).items()}, file)
    raise ValueError(
        f"{folder}: {CLASSES} or {ONTOLOGY} is missing; one belongs beside AudioSet's lists, for the names "
        "of the labels"
    )


def _unique(names: dict[str, str], path: Path) -> dict[str, str]:
    mids: dict[str, str] = {}
    for mid, name in names.items():
        if not name or mids.setdefault(name, mid) != mid:
            raise ValueError(
                f"{path}: {mid} has no name of its own: {name!r} is that of {mids.get(name, '')}"
            )
    return names
