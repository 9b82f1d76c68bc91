"""Which labels of a pack stand above which: the hierarchy that a label set keeps beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from auricle.datasets.taxonomy import Taxonomy
from auricle.hierarchy import ancestors
from auricle.shards.layout import MANIFEST, locked, write_json
from auricle.shards.reader import Pack, read_manifest


def label_parents(pack: Pack, label_set: str = "labels") -> dict[str, list[str]]:
    """The labels right above each label of a set, by its taxonomy or `add_parents`; empty where it is flat.

    A view has the hierarchy of the set it is of, with labels that it lacks.

    >>> label_parents(Pack("out/audioset"))["Speech"]  # doctest: +SKIP
    ['Human voice']
    """
    if (taxonomy := pack.taxonomy(label_set)) is not None:
        return Taxonomy.from_dict(taxonomy).parents
    found = pack.manifest["label_sets"][label_set].get("parents", {})
    return {label: list(above) for label, above in found.items()}


def add_parents(
    pack: str | Path,
    parents: Mapping[str, Sequence[str]],
    label_set: str = "labels",
    *,
    replace: bool = False,
) -> dict[str, list[str]]:
    """Keep with a label set which labels stand above its labels, at any depth, several of one label allowed.

    What has none of the set's labels below it is left out. Which clips have which labels stays as it is.

    Args:
        pack: the pack's folder.
        parents: label -> the labels right above it; one that is not there stands at the top.
        label_set: whose labels.
        replace: in the place of the hierarchy that the set has.

    Returns:
        What is kept: the set's labels that the hierarchy knows, and all above them.

    Raises:
        ValueError: no such set, it has a hierarchy, the hierarchy knows none of its labels, or has a circle.

    >>> add_parents("out/audioset", ontology.parents("ontology.json"))["Speech"]  # doctest: +SKIP
    ['Human voice']
    """
    out = Path(pack)
    above = ancestors(parents)
    read_manifest(out)  # before a lock file is left in a folder that is no pack
    with locked(out):
        reader = Pack(out)
        labels = [label for label in reader.label_names(label_set) if label in above]
        if not any(above[label] for label in labels):
            raise ValueError(
                f"{out}: no label of set {label_set!r} stands below another in this hierarchy: names must be "
                f"equal, letter by letter; labels are like {reader.label_names(label_set)[0]!r}, the "
                f"hierarchy's like {next(iter(parents), '')!r}"
            )
        entry = dict(reader.manifest["label_sets"][label_set])
        if "taxonomy" in entry:
            raise ValueError(
                f"{out}: label set {label_set!r} has a taxonomy, which says what its labels are under"
            )
        if "parents" in entry and not replace:
            raise ValueError(
                f"{out}: label set {label_set!r} has parents already; replace them with --replace"
            )
        needed = dict.fromkeys(name for label in labels for name in (*above[label], label))
        entry["parents"] = {name: list(parents.get(name, ())) for name in needed}
        sets = reader.manifest["label_sets"] | {label_set: entry}
        write_json(out / MANIFEST, reader.manifest | {"label_sets": sets})
    return entry["parents"]
