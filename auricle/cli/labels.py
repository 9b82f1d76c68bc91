"""Verbs over what a pack holds: its label sets and views of them, and subsets of its clips."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from auricle.cli.corpora import ReportFormat
from auricle.cli.options import Split
from auricle.cli.output import assignments, print_table
from auricle.text import counted

WIDEST = 60  # letters of a name in a table


def labels(
    pack: Annotated[Path, typer.Argument(help="A pack.")],
    most_frequent: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="Make a label set of the K most frequent labels.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Make a label set of these labels, one a line.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the label set made.")] = None,
    parents: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep which labels stand above which: audioset, for its ontology, or JSON or YAML.",
        ),
    ] = None,
    label_set: Annotated[str, typer.Option(metavar="NAME", help="The label set to start from.")] = "labels",
    split: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Count in this split; may be given again.")
    ] = None,
    subset: Annotated[str | None, typer.Option(metavar="NAME", help="Count in this subset of clips.")] = None,
    top: Annotated[int, typer.Option(min=0, metavar="N", help="How many labels to print.")] = 20,
    replace: Annotated[
        bool, typer.Option("--replace", help="In the place of a label set of that name, or of other parents.")
    ] = False,
    format: Annotated[ReportFormat, typer.Option(help="For people, programs.")] = ReportFormat.table,
) -> None:
    """List a pack's label sets; make a smaller one as a view.

    A view is a label set over the same clips: no audio is read or copied. Labels of equal count are taken in
    the order of the set. With --parents, models trained on the set know what its labels stand under, and
    evaluations have figures of each level.
    """
    from auricle.shards import Pack, add_label_view, add_parents
    from auricle.shards import most_frequent as most_frequent_labels

    if most_frequent is not None and keep is not None:
        raise typer.BadParameter("choose one of --most-frequent and --keep", param_hint="--keep")
    if (most_frequent is None and keep is None) != (name is None):
        hint = "--name" if name is None else "--most-frequent or --keep"
        raise typer.BadParameter(
            "a new label set needs --name, and --most-frequent or --keep", param_hint=hint
        )
    above = None
    if parents is not None:
        from auricle.datasets.ontology import read_parents

        above = read_parents(parents)
    reader = Pack(pack)
    clips = None if split is None else reader.select(split)
    if subset is not None:
        import numpy as np

        clips = reader.subset(subset) if clips is None else np.intersect1d(clips, reader.subset(subset))
    if name is not None:
        if keep is not None:
            chosen = _lines(keep)
        else:
            assert most_frequent is not None
            chosen = most_frequent_labels(reader, most_frequent, label_set, clips)
        add_label_view(pack, name, chosen, label_set, replace=replace)
        reader, label_set = Pack(pack), name
    if above is not None:
        kept = add_parents(pack, above, label_set, replace=replace)
        reader = Pack(pack)
        if format is ReportFormat.table:
            print(_levels(kept, reader.label_names(label_set)))
    described = _described(reader, label_set, clips)
    if format is ReportFormat.json:
        print(json.dumps(described, indent=1))
    else:
        _print(described, top, made=name)


def _levels(parents: dict[str, list[str]], labels: list[str]) -> str:
    """How labels lie in a hierarchy.

    >>> _levels({"puppy": ["dog"], "dog": [], "cat": []}, ["puppy", "dog", "rain"])
    '2 of 3 labels in the hierarchy; labels of each level, from the top: 1, 1'
    """
    from auricle.hierarchy import levels

    known = [label for label in labels if label in parents]
    each = ", ".join(str(len(level)) for level in levels(parents, known))
    have = f"{len(known):,} of {counted(len(labels), 'label')} in the hierarchy"
    return f"{have}; labels of each level, from the top: {each}"


def _lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank."""
    from auricle.tables import read_text

    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def _described(reader: Any, label_set: str, clips: Any) -> dict[str, Any]:
    """What there is to say of a pack's labels, as JSON has it."""
    import numpy as np

    counts = reader.label_counts(label_set, clips)
    names = reader.label_names(label_set)
    total = len(reader) if clips is None else len(clips)
    order = np.argsort(-counts, kind="stable").tolist()
    sets = [
        {"name": name, **{key: entry[key] for key in ("labels", "positives", "soft")}}
        | ({"view_of": entry["view_of"]} if "view_of" in entry else {})
        for name, entry in reader.manifest["label_sets"].items()
    ]
    return {
        "label_sets": sets,
        "label_set": label_set,
        "clips": total,
        "labels": [
            {"label": names[i], "clips": int(counts[i]), "prior": int(counts[i]) / total if total else None}
            for i in order
        ],
    }


def _print(described: dict[str, Any], top: int, made: str | None) -> None:
    rows = [
        [
            entry["name"],
            str(entry["labels"]),
            str(entry["positives"]),
            f"view of {entry['view_of']}" if "view_of" in entry else "soft scores" if entry["soft"] else "",
        ]
        for entry in described["label_sets"]
    ]
    print_table(sys.stdout, ["label set", "labels>", "positives>", ""], rows)
    found = [entry for entry in described["labels"] if entry["clips"]]
    verb = "made label set" if made else "label set"
    text = f"{verb} {described['label_set']}: {counted(len(described['labels']), 'label')}"
    if len(found) < len(described["labels"]):
        text += f", {len(described['labels']) - len(found)} of them without a clip"
    if found:
        text += f"; priors {found[-1]['prior']:.3g} to {found[0]['prior']:.3g} in "
        text += counted(described["clips"], "clip")
    print(f"\n{text}")
    if top and described["labels"]:
        shown = described["labels"][:top]
        print_table(
            sys.stdout,
            ["label", "clips>", "prior>"],
            [
                [_shortened(entry["label"]), str(entry["clips"]), f"{entry['prior'] or 0:.3g}"]
                for entry in shown
            ],
        )
        if any(len(entry["label"]) > WIDEST for entry in shown):
            print("names are cut: --format json has them whole")
        if more := len(described["labels"]) - len(shown):
            print(f"and {more} more: --top N prints more, --format json all")


def _shortened(label: str) -> str:
    """A name of at most 60 letters: one long name would push every row's figures out of the window.

    >>> len(_shortened("x" * 300))
    60
    """
    return label if len(label) <= WIDEST else label[: WIDEST - 1] + "…"


def subset(
    pack: Annotated[Path, typer.Argument(help="A pack.")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Keep the chosen clips under this name.")
    ] = None,
    split: Split = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B", help="Only clips whose KEY is A or B; may be given again."),
    ] = None,
    within: Annotated[str | None, typer.Option(metavar="NAME", help="Only clips of this subset.")] = None,
    apart_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="No clip of a recording that is in this split or subset; may be given again.",
        ),
    ] = None,
    fraction: Annotated[
        float | None, typer.Option(metavar="X", help="This part of the recordings, 0 to 1; nested.")
    ] = None,
    balanced: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="About N positives of each class, few clips.")
    ] = None,
    label_set: Annotated[str, typer.Option(metavar="NAME", help="Whose labels are balanced.")] = "labels",
    seed: Annotated[int, typer.Option(metavar="S", help="Of --fraction and --balanced.")] = 0,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of a subset of that name.")
    ] = False,
    format: Annotated[ReportFormat, typer.Option(help="For people, programs.")] = ReportFormat.table,
) -> None:
    """Choose clips of a pack and keep them under a name.

    Without --name, list what there is.
    The options narrow the choice in this order: split, where, within, apart-from, fraction, balanced. Of the
    same seed, a smaller fraction lies within a larger one. A balanced set is chosen greedily from the rarest
    class to the commonest; what could not be balanced is counted and named.
    """
    from auricle.shards import Pack
    from auricle.shards.subsets import add_subset, choose_clips

    if fraction is not None and not 0 < fraction <= 1:
        raise typer.BadParameter(f"{fraction:g}; expected more than 0 and at most 1", param_hint="--fraction")
    reader = Pack(pack)
    wishes: dict[str, Any] = {
        "splits": split,
        "where": {k: tuple(v.split(",")) for k, v in assignments(where or [], "--where").items()} or None,
        "within": within,
        "apart_from": apart_from,
        "fraction": fraction,
        "balanced": balanced,
    }
    if name is None:
        if any(wish is not None for wish in wishes.values()):
            raise typer.BadParameter("what is chosen needs a name", param_hint="--name")
        _print_subsets(reader, format)
        return
    chosen = choose_clips(reader, **wishes, label_set=label_set, seed=seed)
    add_subset(pack, name, chosen.clips, chosen.about, replace=replace)
    if format is ReportFormat.json:
        described = {"name": name, "clips": len(chosen.clips), **chosen.about}
        print(json.dumps(described | ({"balance": chosen.balance} if balanced else {}), indent=1))
        return
    print(f"{pack}: subset {name}: {len(chosen.clips):,} of {counted(len(reader), 'clip')}")
    if chosen.balance is not None:
        _print_balance(chosen.balance)


def _print_subsets(reader: Any, format: ReportFormat) -> None:
    found = [
        {"name": name, "clips": entry["clips"], **entry["about"]}
        for name, entry in reader.manifest.get("subsets", {}).items()
    ]
    if format is ReportFormat.json:
        print(json.dumps(found, indent=1))
    elif not found:
        print(f"{reader.path}: no subsets; --name makes one")
    else:
        rows = [[entry["name"], str(entry["clips"]), _chosen_by(entry)] for entry in found]
        print_table(sys.stdout, ["subset", "clips>", "chosen by"], rows)


def _chosen_by(about: dict[str, Any]) -> str:
    shown = {key: value for key, value in about.items() if key not in ("name", "clips", "positives")}
    return ", ".join(f"{key} {_plain(value)}" for key, value in shown.items())


def _plain(value: Any) -> str:
    """A wish as a word or two.

    >>> _plain(["train", "test"]), _plain({"licence": ["CC0"]}), _plain(0.5)
    ('train+test', 'licence=CC0', '0.5')
    """
    if isinstance(value, dict):
        return " ".join(f"{key}={','.join(values)}" for key, values in value.items())
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _print_balance(balance: dict[str, Any]) -> None:
    """How balanced the set is: in how many classes as asked, and which are far from it."""
    wanted, classes = balance["per_class"], balance["classes"]
    print(
        f"positives of {counted(classes, 'class')}, {wanted} asked for: "
        f"{balance['least']} to {balance['most']}, median {balance['median']:g}; "
        f"chosen from {counted(balance['candidates'], 'clip')}"
    )
    if short := balance["short"]:
        print(f"fewer than {wanted} in {counted(len(short), 'class')}, all that there are: {_some(short)}")
    if over := balance["over"]:
        print(
            f"more than {2 * wanted} in {counted(len(over), 'class')}, which come with others: {_some(over)}"
        )


def _some(counts: dict[str, int], most: int = 5) -> str:
    """The first labels with their counts.

    >>> _some({"dog": 3, "cat": 2}, most=1)
    'dog 3, ...'
    """
    shown = [f"{label} {count}" for label, count in list(counts.items())[:most]]
    return ", ".join([*shown, *["..."] * (len(counts) > most)])
