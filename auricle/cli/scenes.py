"""Verb scenes: a pack of single sounds -> a pack of scenes mixed from them."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.options import LabelsOf, MixingJobs, NewPack, Quiet, Scenes, Seed
from auricle.cli.output import assignments, print_error, print_table
from auricle.text import counted

if TYPE_CHECKING:
    from auricle.datasets.scene_recipe import SceneSplit


def scenes(
    pack: Annotated[Path, typer.Argument(help="A pack whose clips have one label each.")],
    out: NewPack,
    scenes: Scenes,
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=A,B",
            help="Mix split NAME from the pack's splits A and B; may be given again.",
        ),
    ] = None,
    balanced: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="All labels equally often in this split; may be given again."),
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="Length of a scene.")] = 10.0,
    seed: Seed = 0,
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A setting of the recipe, say orders=3; may be given again."),
    ] = None,
    label_set: LabelsOf = "labels",
    jobs: MixingJobs = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read everything back and compare checksums.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Mix scenes of several sounds, with the truth about them.

    The sounds are those of a pack of single ones.
    OUT is a pack like any other; events.parquet in it says which sound is heard when. Label frequencies
    follow Zipf's law. docs/scenes.md has the recipe and its settings. Killed at any moment, the same command
    goes on where it was.
    """
    from auricle.datasets.scene_recipe import SceneRecipe, recipe_with
    from auricle.engine import make_scenes
    from auricle.progress import format_seconds

    settings = assignments(set or [], "--set")
    if own := [name for name in ("seed", "seconds") if name in settings]:
        raise typer.BadParameter(f"give it as --{own[0]}", param_hint="--set")
    recipe = recipe_with(SceneRecipe(), settings | {"seed": str(seed), "seconds": str(seconds)})
    wanted = _wanted(pack, scenes, split or [], balanced or [])
    report = make_scenes(pack, out, wanted, recipe, label_set=label_set, jobs=jobs, verify=verify)
    done = (
        "was mixed before" if report["finished_before"] else f"mixed in {format_seconds(report['elapsed'])}"
    )
    print(f"{out}: {counted(report['clips'], 'scene')}, {format_seconds(report['seconds'])} of sound, {done}")
    _print_splits(report["mixed_from"]["splits"])
    fail_of_mixing(out, report)
    if verify:
        print(f"{out}: every checksum is as written")


def _wanted(pack: Path, scenes: list[str], split: list[str], balanced: list[str]) -> "list[SceneSplit]":
    """The splits that are asked for, and what each is mixed from."""
    from auricle.datasets.scene_recipe import SceneSplit
    from auricle.shards import Pack

    mapped = {name: tuple(text.split(",")) for name, text in assignments(split, "--split").items()}
    if not mapped:
        mapped = {name: (name,) for name in sorted(dict.fromkeys(Pack(pack).splits.tolist()))}
    counts = split_counts(scenes, list(mapped))
    if left := [name for name in mapped if split and name not in counts]:
        raise typer.BadParameter(
            f"split {left[0]!r} is asked for, but --scenes does not say how many; add --scenes {left[0]}=N",
            param_hint="--split",
        )
    if unknown := [name for name in balanced if name not in mapped]:
        raise typer.BadParameter(
            f"no split {unknown[0]!r}; there are: {', '.join(mapped)}", param_hint="--balanced"
        )
    return [
        SceneSplit(
            name=name,
            sources=mapped[name],
            scenes=count,
            orders=0.0 if name in balanced else None,
        )
        for name, count in counts.items()
    ]


def fail_of_mixing(out: Path, report: dict[str, Any]) -> None:
    """Name what went wrong while scenes were mixed, if anything did, and end with status 1."""
    for problem in report["problems"]:
        print_error(f"{out}: {problem}")
    if report["failures"]:
        failed = counted(report["failures"], "scene")
        print_error(f"{failed} could not be mixed: {out / 'failures.parquet'} has the names")
    if report["failures"] or report["problems"]:
        raise typer.Exit(1)


def split_counts(texts: list[str], splits: list[str]) -> dict[str, int]:
    """Scenes of each split: `N` is for all, `NAME=N` for one; splits without a number are left out.

    >>> split_counts(["9", "test=5"], ["train", "test"])
    {'train': 9, 'test': 5}
    """
    plain = [text for text in texts if "=" not in text]
    if len(plain) > 1:
        raise typer.BadParameter(
            f"one number for all splits, got {' and '.join(plain)}", param_hint="--scenes"
        )
    named = assignments([text for text in texts if "=" in text], "--scenes")
    if unknown := [name for name in named if name not in splits]:
        raise typer.BadParameter(
            f"no split {unknown[0]!r}; there are: {', '.join(splits)}", param_hint="--scenes"
        )
    found = {name: text for name in splits if (text := named.get(name, plain[0] if plain else None))}
    try:
        return {name: int(text) for name, text in found.items()}
    except ValueError:
        raise typer.BadParameter(
            f"expected whole numbers, got {', '.join(found.values())}", param_hint="--scenes"
        ) from None


def _print_splits(splits: dict[str, dict[str, Any]]) -> None:
    rows = []
    for name, facts in splits.items():
        counts = sorted(facts["positives"].values())
        orders = math.log10(counts[-1] / counts[0]) if counts[0] else math.inf
        columns = [facts["scenes"], sum(counts), len(counts), counts[-1], counts[0]]
        rows.append(
            [
                name,
                *map(str, columns),
                "" if math.isinf(orders) else f"{orders:.1f}",
                str(facts["recordings"]),
                str(facts["pools"]),
            ]
        )
    headings = [
        "split",
        "scenes>",
        "sounds>",
        "labels>",
        "most>",
        "least>",
        "orders>",
        "recordings>",
        "groups>",
    ]
    print_table(sys.stdout, headings, rows)
    for name, facts in splits.items():
        short = [
            f"{label} ({facts['positives'][label]} of {wanted})"
            for label, wanted in facts["wanted"].items()
            if facts["positives"][label] < wanted
        ]
        if short:
            more = ", ..." if len(short) > 5 else ""
            print(
                f"{name}: too few recordings, or too little room in scenes, for: {', '.join(short[:5])}{more}"
            )
        if facts["silent_clips"]:
            print(f"{name}: clips without anything audible, left out: {facts['silent_clips']}")
