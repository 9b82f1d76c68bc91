"""Verbs over annotations: what several people said of the same clips; and a stand-in for such a corpus."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from auricle.cli.corpora import ReportFormat
from auricle.cli.options import LabelsOf, MixingJobs, NewPack, Quiet, Scenes, Seed
from auricle.cli.output import assignments, print_table, print_warning
from auricle.cli.scenes import fail_of_mixing, split_counts
from auricle.text import counted


class Voters(StrEnum):
    """Whose votes count."""

    crowd = "crowd"
    all = "all"


class CoarseFrom(StrEnum):
    """Where votes on coarse classes come from."""

    given = "given"
    fine = "fine"


def annotations(
    table: Annotated[Path, typer.Argument(help="Annotations: a CSV in the urban sound tagging format.")],
    taxonomy: Annotated[
        Path | None,
        typer.Option(metavar="YAML", help="The taxonomy; without it the names of the columns spell it out."),
    ] = None,
    pack: Annotated[Path | None, typer.Option(metavar="DIR", help="Write label sets over this pack.")] = None,
    agreement: Annotated[
        str, typer.Option(metavar="X|soft", help="Positive: more than this share of votes; or soft targets.")
    ] = "0.5",
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the label set, say agreement50.")
    ] = None,
    verified: Annotated[
        bool,
        typer.Option("--verified/--votes-only", help="Where annotator 0 has said what is true, take that."),
    ] = True,
    voters: Annotated[
        Voters, typer.Option(help="All others, or those of negative number, too.")
    ] = Voters.crowd,
    coarse: Annotated[
        CoarseFrom, typer.Option(help="Coarse votes as the file has them, or from the fine ones.")
    ] = CoarseFrom.given,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of label sets of that name.")
    ] = False,
    top: Annotated[int, typer.Option(min=0, metavar="N", help="How many annotators to print.")] = 10,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw it: .html, .png, .svg or .pdf.")
    ] = None,
    format: Annotated[ReportFormat, typer.Option(help="For people, programs.")] = ReportFormat.table,
) -> None:
    """Say how far annotators agree; choose labels by votes.

    A row of the CSV is one annotator and one clip; 1 is heard, 0 not heard, -1 not asked. With --pack, the
    chosen labels become a label set, and annotator 0's truth another, "verified". Clips that are not
    annotated have only unknown labels there.
    """
    from auricle.datasets.agreement import agreement as measure
    from auricle.datasets.annotations import choose_labels, read_annotations
    from auricle.datasets.taxonomy import read_taxonomy, taxonomy_of_table

    share = _share(agreement)
    if name is not None and pack is None:
        raise typer.BadParameter("a label set is written over a pack; add --pack DIR", param_hint="--name")
    if out is not None:
        from auricle.report.agreement import check_place, write_agreement

        check_place(out)
    tree = read_taxonomy(taxonomy) if taxonomy is not None else taxonomy_of_table(table)
    found = read_annotations(table, tree, coarse=coarse.value)
    described = measure(found, voters.value)
    if out is not None:
        write_agreement(described, out, f"Agreement: {table.name}")
    if pack is not None:
        chosen = choose_labels(found, share, verified=verified, voters=voters.value)
        named = name or ("soft" if share == "soft" else f"agreement{100 * float(share):g}".replace(".", "-"))
        described["label_sets"] = _write(pack, named, found, chosen, replace=replace)
    if format is ReportFormat.json:
        print(json.dumps(described, indent=1))
    else:
        _print(described, top, pack)


def _share(text: str) -> Any:
    """The value of --agreement.

    >>> _share("0.75"), _share("soft")
    (0.75, 'soft')
    """
    if text == "soft":
        return text
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share < 1.0:
        raise typer.BadParameter(
            f"{text!r}; expected a share from 0 to below 1, or soft", param_hint="--agreement"
        )
    return share


def _write(pack: Path, name: str, found: Any, chosen: Any, *, replace: bool) -> dict[str, Any]:
    """The chosen set, and the verified one where there is a truth and the pack has none yet."""
    from auricle.datasets.annotations import verified_labels
    from auricle.shards import Pack
    from auricle.shards.annotated import add_chosen_labels

    written = {name: add_chosen_labels(pack, name, chosen, replace=replace)}
    if name != "verified" and found.verified_rows().any():
        if "verified" in Pack(pack).label_sets and not replace:
            print_warning(f"{pack}: label set 'verified' is there already and was kept; --replace renews it")
        else:
            written["verified"] = add_chosen_labels(pack, "verified", verified_labels(found), replace=replace)
    return written


def _print(described: dict[str, Any], top: int, pack: Path | None) -> None:
    from auricle.datasets.agreement import AGAINST, HEADS, annotator_rows, class_rows, summary, threshold_rows

    print(summary(described))
    for note, number in described["notes"].items():
        print(f"{note}: {number}")
    print()
    print_table(sys.stdout, [HEADS[0], *(f"{head}>" for head in HEADS[1:])], class_rows(described))
    if described["verified"]:
        heads = [f"{head}>" for head in AGAINST]
        print()
        print_table(
            sys.stdout,
            ["chosen by votes, more than", *heads],
            threshold_rows(described),
            "Against the verified truth",
        )
        if top:
            print()
            print_table(sys.stdout, ["annotator", "clips>", *heads], annotator_rows(described, top))
            if more := len(described["annotator"]) - top:
                if more > 0:
                    print(f"and {more} more: --top N prints more, --format json all")
    for name, entry in described.get("label_sets", {}).items():
        text = f"{pack}: label set {name}: {counted(entry['clips'], 'clip')}, {entry['positives']} positives"
        if entry["verified"]:
            text += f", {counted(entry['verified'], 'clip')} by the verified truth"
        if entry["missing"]:
            text += f"; {counted(entry['missing'], 'clip')} of the pack not annotated, every label unknown"
        if entry["unused"]:
            text += f"; {counted(entry['unused'], 'clip')} annotated but not in the pack"
        print(text)


def urban_scenes(
    pack: Annotated[Path, typer.Argument(help="A pack whose clips have one label each, say of ESC-50.")],
    out: NewPack,
    scenes: Scenes,
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=A,B",
            help="Mix split NAME from the pack's splits A and B; may be given again. At first: train from "
            "folds 1 to 3, validate from fold 4, test from fold 5.",
        ),
    ] = None,
    verified: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Split with a verified truth; may be given again. Not train, at first."
        ),
    ] = None,
    taxonomy: Annotated[
        Path | None,
        typer.Option(metavar="YAML", help="Two levels over the pack's labels; at first ESC-50's."),
    ] = None,
    seed: Seed = 0,
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A setting of scenes or annotators; may be given again."),
    ] = None,
    label_set: LabelsOf = "labels",
    jobs: MixingJobs = None,
    quiet: Quiet = False,
) -> None:
    """Make a stand-in for an annotated urban corpus.

    Scenes, a taxonomy, simulated annotators.
    OUT is a pack with annotations.csv and taxonomy.yaml beside the sound, and label sets by agreement.
    docs/urban.md has the recipe and its settings. The same command gives the same corpus.
    """
    from auricle.datasets.scene_recipe import SceneSplit
    from auricle.datasets.taxonomy import read_taxonomy
    from auricle.engine.urban_scenes import ESC50, make_urban_scenes, recipes_with
    from auricle.progress import format_seconds

    recipe, people = recipes_with(assignments(set or [], "--set"), seed)
    mapped = {name: tuple(text.split(",")) for name, text in assignments(split or [], "--split").items()}
    counts = split_counts(scenes, list(mapped or ESC50))
    wanted = [
        SceneSplit(name=name, sources=(mapped or ESC50)[name], scenes=count) for name, count in counts.items()
    ]
    report = make_urban_scenes(
        pack,
        out,
        wanted,
        taxonomy=None if taxonomy is None else read_taxonomy(taxonomy),
        scenes=recipe,
        annotators=people,
        verified=verified if verified is not None else [name for name in counts if name != "train"],
        label_set=label_set,
        jobs=jobs,
    )
    print(f"{out}: {counted(report['clips'], 'scene')}, {format_seconds(report['seconds'])} of sound")
    rows = [
        [name, str(entry["positives"]), str(entry["verified"])]
        for name, entry in report["label_sets"].items()
    ]
    print_table(sys.stdout, ["label set", "positives>", "clips verified>"], rows)
    fail_of_mixing(out, report)
    print(f"{out / 'annotations.csv'}: `auricle annotations` says how far the annotators agree")
