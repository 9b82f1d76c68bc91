"""A verb that says what a corpus will take: plan."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.corpora import ReportFormat
from auricle.cli.output import print_table, print_warning

if TYPE_CHECKING:
    from auricle.planning import Plan


def plan(
    hours: Annotated[
        float | None, typer.Option(min=0.0, metavar="H", help="Hours of sound; needed without --data.")
    ] = None,
    clips: Annotated[
        float | None, typer.Option(min=1.0, metavar="N", help="Recordings; else from --clip-seconds.")
    ] = None,
    clip_seconds: Annotated[
        float | None, typer.Option(min=0.0, metavar="S", help="Mean length of a recording; else 4.6 minutes.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="PACK", help="Count hours, recordings, labels and windows of this pack."),
    ] = None,
    label_set: Annotated[str, typer.Option("--label-set", metavar="NAME", help="Of the pack.")] = "labels",
    labels: Annotated[int | None, typer.Option(min=1, metavar="K", help="Labels; 527 at first.")] = None,
    labels_per_clip: Annotated[
        float | None, typer.Option(min=0.0, metavar="X", help="Labels of a recording; 5 at first.")
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Whose training, scoring and tagging to plan.")
    ] = "",
    rate: Annotated[int | None, typer.Option(min=1000, metavar="HZ", help="Of the pack; 16000.")] = None,
    window: Annotated[
        float | None, typer.Option(min=0.0, metavar="S", help="Seconds of an example; as measured at first.")
    ] = None,
    hop: Annotated[
        float | None, typer.Option(min=0.0, metavar="S", help="From one to the next; as measured at first.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, metavar="B", help="Examples of a training step.")] = 128,
    epochs: Annotated[
        float | None, typer.Option(min=0.0, metavar="E", help="Of training; one at first.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Mini-batches of training, instead of epochs.")
    ] = None,
    cores: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="That pack and tag; as measured at first.")
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="GPUs, or whatever --costs calls a device, that train and score."
        ),
    ] = None,
    days: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="D", help="Say how many cores and devices do each part in D days."),
    ] = None,
    scaling: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, metavar="X", help="Share of its speed each of many devices keeps; 1."),
    ] = None,
    source_kbps: Annotated[
        float | None, typer.Option(min=0.0, metavar="X", help="kbit/s of the recordings; 128 at first.")
    ] = None,
    embedding_size: Annotated[
        int | None, typer.Option(min=0, metavar="D", help="Values of an embedding; 128 at first, 0 for none.")
    ] = None,
    costs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Unit costs: a file of --measure, two-cores, hershey-2017; again for more, the last counts.",
        ),
    ] = None,
    measure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Measure unit costs here first, some minutes, and write them."),
    ] = None,
    media: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Recordings like yours to measure packing on; again for more."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="That --measure trains and scores on: cpu, cuda, cuda:1, or auto.")
    ] = "auto",
    format: Annotated[ReportFormat, typer.Option(help="For people, programs.")] = ReportFormat.table,
) -> None:
    """Say what a corpus will take: disk, cores, devices, days.

    Each figure comes with its formula.
    Nothing of the corpus need be there. Figures rest on unit costs: --measure takes them on this machine, and
    --costs reads them from files. Those that come with the package are two: two-cores, a machine without GPU,
    and hershey-2017, the published rate of 20 GPUs of 2016. docs/scaling.md has more.
    """
    from auricle.planning import DEFAULT, Question, make_plan, merge_costs

    if (hours is None) == (data is None):
        raise typer.BadParameter("give hours of sound, or a pack with --data", param_hint="--hours")
    if data is not None and (clips is not None or clip_seconds is not None):
        raise typer.BadParameter("are counted in the pack; leave them out", param_hint="--clips")
    if media and measure is None:
        raise typer.BadParameter("is for --measure FILE", param_hint="--media")
    given: dict[str, Any] = {
        "clips": clips, "clip_seconds": clip_seconds, "labels": labels, "labels_per_clip": labels_per_clip,
        "window": window, "hop": hop, "rate": rate, "model": model, "batch": batch, "epochs": epochs,
        "steps": steps, "cores": cores, "devices": devices, "days": days, "scaling": scaling,
        "source_kbps": source_kbps, "embedding_size": embedding_size,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    names: list[str | Path] = list(costs or [DEFAULT])
    merge_costs(names)  # before anything is measured
    if measure is not None:
        from auricle.measuring import measure_costs
        from auricle.progress import say

        measure_costs(
            measure, model=model, labels=labels or 527, batch=batch, window=window, hop=hop,
            media=media or (), device=device, say=say,
        )  # fmt: skip
        names.append(measure)
    chosen = merge_costs(names)
    if data is not None:
        from auricle.planning.corpus import question_of

        question = question_of(data, label_set, chosen, given)
    else:
        assert hours is not None
        question = Question(hours=hours, **given)
    answer = make_plan(question, chosen)
    if format is ReportFormat.json:
        print(json.dumps(answer.as_dict(), indent=2))
        return
    _print(answer)


def _print(answer: "Plan") -> None:
    from auricle.planning import rows

    for number, (part, lines) in enumerate(rows(answer)):
        print(("\n" if number else "") + part)
        print_table(sys.stdout, ("name", "number", "what", "from"), lines)
    for note in answer.notes:
        print_warning(note)
