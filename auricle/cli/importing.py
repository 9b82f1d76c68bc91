"""Verbs that make models of published weights: import."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Source(StrEnum):
    """What can be imported."""

    tflite = "tflite"


class Outputs(StrEnum):
    """What a graph gives."""

    scores = "scores"
    logits = "logits"


def import_(
    source: Annotated[Source, typer.Argument(help="What kind of file it is.", metavar="KIND")],
    file: Annotated[Path, typer.Argument(help="The published file.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The model's new folder.")],
    rate: Annotated[int, typer.Option(min=1, metavar="HZ", help="Samples a second that it takes.")],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its labels in order, CSV or lines; at first those it carries."),
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Samples a window, where the file does not say.")
    ] = None,
    hop: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Samples from window to window; at first a window.")
    ] = None,
    embedding: Annotated[
        str, typer.Option(metavar="TENSOR", help="The tensor in the graph that is the embedding.")
    ] = "",
    outputs: Annotated[Outputs, typer.Option(help="What the graph gives.")] = Outputs.scores,
    licence: Annotated[str, typer.Option(help="Of the weights, for the model card.")] = "",
) -> None:
    """Make a model of a published file, to be used like any other; prints its folder.

    KIND tflite: a TFLite graph that takes one window of a waveform and gives a score a label.
    """
    assert source is Source.tflite
    from auricle.interop.tflite import import_tflite

    artifact = import_tflite(
        file,
        out,
        rate=rate,
        labels=labels,
        window=window,
        hop=hop,
        embedding=embedding,
        scores=outputs is Outputs.scores,
        licence=licence,
    )
    print(artifact.path)
