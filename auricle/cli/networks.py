"""Verbs over models: train, check, export, models, filters."""

import dataclasses
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from auricle.cli.corpora import ReportFormat
from auricle.cli.options import Quiet, Threads
from auricle.cli.output import assignments, print_error, print_table, print_warning
from auricle.remote import address_of

MODEL_HELP = "A bundled or published model's name, an artifact's folder, an .onnx file."


def train(
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run's folder.")],
    data: Annotated[
        Path | None, typer.Option(metavar="PACK", help="The pack to train on, by a recipe.")
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            metavar="SOURCE",
            help="Your own classes: a folder of folders named by class, a manifest or a pack; no recipe.",
        ),
    ] = None,
    fine_tune: Annotated[
        bool,
        typer.Option("--fine-tune", help="With --examples: train the whole network, not only a classifier."),
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="With --examples: make scores probabilities, by clips that were not learned from.",
        ),
    ] = False,
    recipe: Annotated[
        str, typer.Option(metavar="NAME", help="A whole configuration by name; needed without --config.")
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Recipe and settings from best.json of auricle sweep; --set counts more."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change one setting of the recipe; may be given again."
        ),
    ] = None,
    init_from: Annotated[
        str, typer.Option(metavar="MODEL", help="Start from this model's weights, as far as they fit.")
    ] = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out where it was killed.")
    ] = False,
    family: Annotated[
        str,
        typer.Option(
            metavar="coarse|all",
            help="Train a model of the coarse classes, or of all labels, and one for each class of several.",
        ),
    ] = "",
    other: Annotated[
        bool,
        typer.Option("--other", help="A family's models learn from all clips, with a label for the others."),
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto.")] = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Train a model on a pack by a recipe; prints its folder.

    With --init-from, weights whose name and shape the new net has too are taken from a trained model; what
    was taken and what was not is printed. Resumed after a kill, a run on a CPU ends with the same weights,
    bit for bit, as one never stopped. With --examples, a classifier of your own classes is solved on the
    embeddings of --init-from (at first the bundled model) in seconds, and judged by folds of recordings;
    docs/own-classes.md has more. With --family, the models of a hierarchy of labels are trained, and
    saved as one; docs/urban.md has more. Several processes, on a GPU or core each, train one model together:
    torchrun --standalone --nproc-per-node 2 -m auricle train ...; docs/scaling.md has more.
    """
    if family not in ("", "coarse", "all"):
        raise typer.BadParameter(f"{family!r}; expected coarse or all", param_hint="--family")
    if other and not family:
        raise typer.BadParameter("is of a family; add --family coarse", param_hint="--other")
    if family and init_from:
        raise typer.BadParameter("a family's models have labels of their own", param_hint="--init-from")
    settings = assignments(set_ or [], "--set")
    if (data is None) == (examples is None):
        raise typer.BadParameter("give one of --data and --examples", param_hint="--data")
    if fine_tune and examples is None:
        raise typer.BadParameter("goes with --examples", param_hint="--fine-tune")
    if calibrate and examples is None:
        raise typer.BadParameter("goes with --examples; else see auricle calibrate", param_hint="--calibrate")
    if examples is not None:
        for name, given in {"--recipe": recipe, "--config": config, "--family": family}.items():
            if given:
                raise typer.BadParameter("does not go with --examples", param_hint=name)
        from auricle.cli.own import train_examples

        made = train_examples(
            examples,
            out,
            init_from or "default",
            settings,
            fine_tune=fine_tune,
            calibrate=calibrate,
            resume=resume,
            device=device,
            threads=threads,
        )
        return print(made)
    assert data is not None
    if not recipe and config is None:
        raise typer.BadParameter("name a recipe, or a file with --config", param_hint="--recipe")
    from auricle import distributed
    from auricle.recipes import GOES_ON, configure, read_settings
    from auricle.training import train as train_model
    from auricle.training import train_family

    if config is not None:
        named, kept = read_settings(config)
        recipe, settings = recipe or named, kept | settings
    chosen = configure(recipe, data=data, settings=settings, device=device, threads=threads)
    if init_from:
        chosen = dataclasses.replace(chosen, init_from=init_from)
    if recipe in GOES_ON and not chosen.init_from and distributed.rank() == 0:
        print_warning(
            f"{recipe} is made for weights that are trained already, and begins at random; "
            "--init-from RUN/last names some"
        )
    if family:
        trained = train_family(chosen, out, top=family, other=other, resume=resume)
    else:
        trained = train_model(chosen, out, resume=resume)
    if distributed.rank() == 0:
        print(address_of(trained) or trained)
    distributed.leave()


def average(
    model: Annotated[
        list[str],
        typer.Argument(help="Folders of models that training wrote, two or more of one network."),
    ],
    out: Annotated[
        Path, typer.Option(metavar="NEW", help="Folder of the new model; one that is there is replaced.")
    ],
    shares: Annotated[
        str, typer.Option(metavar="N,N", help="How much each one counts, say 1,3; else all alike.")
    ] = "",
    name: Annotated[str, typer.Option(metavar="NAME", help="Of the new model; else that of the first.")] = "",
) -> None:
    """Make one model whose weights are the mean of several's.

    It costs no more than one of them. Where one began with another's weights, or all with the same, it is
    often better than each; of models that began at random it is nothing. Thresholds, calibration and figures
    are not taken over; docs/training.md has more.
    """
    from auricle.averaging import average_models, unrelated

    try:
        parts = [float(part) for part in shares.split(",")] if shares else None
    except ValueError:
        raise typer.BadParameter(f"{shares!r}; expected numbers, say 1,3", param_hint="--shares") from None
    made = average_models(model, out, shares=parts, name=name)
    if far := unrelated(model):
        print_warning(
            f"{', '.join(far)}: nothing tells that it began with the weights of {model[0]}, or both with the "
            "same; of others the mean hears nothing: judge it before you use it"
        )
    print(made.path)


def check(model: Annotated[str, typer.Argument(help=MODEL_HELP)]) -> None:
    """Say whether a model is as it was saved, and does as it did.

    By its checksum; and by the logits of a waveform that are stored with it.
    Exit status 1 where a part is not the one that was saved, or where logits differ by more than the stated
    tolerance: then the runtime or the machine does not do what it did when the model was made.
    """
    from auricle.artifact import load_artifact
    from auricle.runners import check as check_runner
    from auricle.runners import load_runner

    artifact = load_artifact(model)
    # Before the model is loaded: what was damaged may not load, and not say why.
    if damage := artifact.damage():
        print_error(f"{model}: {damage}")
        raise typer.Exit(1)
    # A check is a window or two, and every batch is filled up to its size: of all members, too.
    result = check_runner(load_runner(artifact, batch=4))
    figures = f"largest difference {result['max_difference']:.2g}, tolerance {result['tolerance']:.2g}"
    if not result["ok"]:
        named = "".join(f"; member {name} does not give its own" for name in result.get("failed", ()))
        print_error(f"{model} does not give the logits stored with it: {figures}{named}")
        raise typer.Exit(1)
    print(f"{model}: ok, {figures}, {'checksum as saved' if artifact.checksum else 'no checksum'}")


def export(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    out: Annotated[Path, typer.Argument(help="The file to write: .onnx, or .tflite of a TFLite model.")],
    quantize: Annotated[
        str, typer.Option(metavar="int8", help="Layers in 8 bits: faster, for a loss that is told.")
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(metavar="PACK", help="With --quantize: sounds to choose ranges and measure the loss."),
    ] = None,
) -> None:
    """Write a model as one ONNX file: waveform in, scores out.

    It gives logits and an embedding, too.
    Front end, calibration, the embedder of a model that stands on one, the members of a family: one graph,
    compared with torch before it is kept. Labels, rate, thresholds and licence are in its metadata. With
    --quantize int8, what the 8 bits cost goes to standard error and into the file; docs/export.md has more.
    A model that is a TFLite graph is written as that graph, labels and what else is known of it beside it.
    """
    if out.suffix not in (".onnx", ".tflite"):
        raise typer.BadParameter(
            f"{out}: the name must end in .onnx, or in .tflite of a TFLite model", param_hint="OUT"
        )
    if quantize not in ("", "int8"):
        raise typer.BadParameter(f"{quantize!r}; expected int8", param_hint="--quantize")
    if data is not None and not quantize:
        raise typer.BadParameter("is for --quantize int8", param_hint="--data")
    from auricle.progress import say

    if out.suffix == ".tflite":
        if quantize:
            raise typer.BadParameter("is for .onnx: a TFLite graph stays as it is", param_hint="--quantize")
        from auricle.interop.tflite_export import export_tflite

        graph, *beside = export_tflite(model, out)
        say(f"beside it: {', '.join(path.name for path in beside)}")
        print(graph)
        return
    from auricle.interop.onnx import export_onnx

    print(export_onnx(model, out, quantize=quantize, data=data, say=say))


def models(
    classes: Annotated[int, typer.Option(min=1, metavar="N", help="Width of the last layer.")] = 527,
    format: Annotated[ReportFormat, typer.Option(help="For people, programs.")] = ReportFormat.table,
    variants: Annotated[
        bool, typer.Option("--variants", help="Also what the papers tried beside: other strides, stems.")
    ] = False,
    published: Annotated[
        bool,
        typer.Option(
            "--published", help="Instead, what others trained and published: --model takes its name."
        ),
    ] = False,
) -> None:
    """List the models that can be trained, with their sizes.

    They come with weights, multiplies, input and source.
    Counted on the nets themselves, with a last layer as wide as --classes. Multiplies are those
    of convolutions and linear layers, for one input. With --published, taggers that others trained: their
    licence, address, size, and mean average precision on AudioSet; docs/published.md has more.
    """
    if published:
        return _print_published(format)
    from auricle.models import describe_models

    rows = describe_models(num_classes=classes, variants=variants)
    if format is ReportFormat.json:
        print(json.dumps(rows, indent=2))
        return
    columns = ("name", "weights", "multiplies", "input", "source")
    heads = [f"{name}>" if name in ("weights", "multiplies") else name for name in columns]
    cells = [
        [
            " ".join([row["name"], *(f"{key}={_value(value)}" for key, value in row["arguments"].items())]),
            f"{row['weights']:,}",
            f"{row['multiplies']:,}",
            row["input"],
            _citation(row["source"]),
        ]
        for row in rows
    ]
    print_table(sys.stdout, heads, cells)


def _print_published(format: ReportFormat) -> None:
    from auricle.interop.published import describe_published

    rows = describe_published()
    if format is ReportFormat.json:
        return print(json.dumps(rows, indent=2))
    heads = ["name", "system", "weights>", "Hz>", "window>", "mAP>", "MB>", "licence", "here", "address"]
    cells = [
        [
            row["name"],
            row["system"],
            f"{row['weights']:,}",
            str(row["rate"]),
            f"{row['window']:g} s",
            "-" if row["mean_ap"] is None else f"{row['mean_ap']:.3f}",
            f"{row['megabytes']:.0f}",
            row["licence"],
            row["here"] or "-",
            row["address"].partition("?")[0],
        ]
        for row in rows
    ]
    print_table(sys.stdout, heads, cells)


def filters(
    model: Annotated[str, typer.Argument(help="Folder of a trained raw-waveform network.")],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="x.png (or .svg, .pdf) or x.html: what is drawn.")
    ],
) -> None:
    """Draw what filters a network on raw waveforms has learned.

    They stand by their centre frequencies.
    Each filter's response, its centre frequency beside the mel, Bark, ERB and linear scales, its bandwidth,
    and some as waveforms. Prints how far the filters are from each scale, in ranks, beside what banks of
    untrained random filters give, and beside this network's own before training, where its seed tells them
    (and the extra train is installed). The page has a table of the filters too.
    """
    from auricle.cli.timeline import PAGES, PICTURES

    if out.suffix.lower() not in (*PICTURES, *PAGES):
        known = ", ".join((*PICTURES, *PAGES))
        raise typer.BadParameter(f"{out}: expected a name that ends in one of {known}", param_hint="--out")
    if not out.parent.is_dir():
        raise ValueError(f"{out}: the folder {out.parent} does not exist; create it or write elsewhere")
    from auricle.artifact import load_artifact
    from auricle.report import filters as bank
    from auricle.report.filters_page import draw_filters, filters_html
    from auricle.report.style import save

    artifact = load_artifact(model)
    measured = bank.measure_filters(bank.first_layer(artifact), artifact.rate)
    first = None
    if find_spec("torch") is not None:
        from auricle.training.first_weights import first_weights

        if (weights := first_weights(artifact.architecture, artifact.training)) is not None:
            first = bank.measure_filters(bank.first_layer(artifact, weights), artifact.rate)
    count, taps = measured.taps.shape
    title = f"{artifact.name}: {count} filters of {taps} taps at {artifact.rate:,} Hz"
    if out.suffix.lower() in PAGES:
        out.write_text(filters_html(measured, title=title, first=first), encoding="utf-8")
    else:
        save(draw_filters(measured, title=title, first=first), out)
    summary = bank.summarise(measured, first=first)
    heads = [bank.SCALE_HEADS[0], *(f"{head}>" for head in bank.SCALE_HEADS[1:])]
    print_table(sys.stdout, heads, bank.scale_cells(summary))
    print(f"\n{bank.in_words(summary)}")


def _value(value: object) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)


def _citation(source: str) -> str:
    """A source without its title, its address and what follows them: authors, venue, section."""
    words = re.sub(r' "[^"]*",?', "", source.partition(";")[0])
    return ", ".join(part for part in words.split(", ") if not part.startswith("http"))
