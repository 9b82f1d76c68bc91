"""Verbs that make models of published weights: import tflite, onnx, panns, efficientat, yamnet, vggish."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from auricle.artifact import Artifact

Out = Annotated[Path, typer.Option(metavar="DIR", help="The model's new folder.")]
AudiosetLabels = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="Its labels in order, CSV or lines; at first AudioSet's."),
]
Seconds = Annotated[
    float,
    typer.Option("--window", min=0.1, metavar="SECONDS", help="Scored at once; trained on 10, any will do."),
]
HopSeconds = Annotated[
    float | None,
    typer.Option("--hop", min=0.01, metavar="SECONDS", help="From window to window; at first a window."),
]
Replace = Annotated[bool, typer.Option("--replace", help="Overwrite the model that DIR holds.")]


class Outputs(StrEnum):
    """What a graph gives."""

    scores = "scores"
    logits = "logits"


GraphRate = Annotated[
    int | None,
    typer.Option("--rate", min=1, metavar="HZ", help="Samples a second it takes; at first as its file says."),
]
GraphLabels = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="In order, CSV or lines; at first those in the file."),
]
GraphWindow = Annotated[
    int | None,
    typer.Option("--window", min=1, metavar="N", help="Samples a window, where the file does not say."),
]
GraphHop = Annotated[
    int | None,
    typer.Option("--hop", min=1, metavar="N", help="Samples from window to window; at first a window."),
]
GraphEmbedding = Annotated[
    str, typer.Option("--embedding", metavar="TENSOR", help="The tensor in the graph that is the embedding.")
]
GraphOutputs = Annotated[Outputs, typer.Option("--outputs", help="What the graph gives.")]
GraphOutput = Annotated[
    str,
    typer.Option(
        "--output",
        metavar="NAME",
        help="Of several the one that counts; at first the one of the labels' size.",
    ),
]
Peak = Annotated[
    float,
    typer.Option("--peak", min=0.0, metavar="LEVEL", help="Bring each window, centred, to this peak first."),
]
Licence = Annotated[str, typer.Option("--licence", help="Of the weights, for the model card.")]
ReleaseLicence = Annotated[
    str,
    typer.Option(
        "--licence", help="Of the weights, for the model card; at first the release's, of its own labels."
    ),
]


def tflite(
    file: Annotated[Path, typer.Argument(help="The published file.")],
    out: Out,
    rate: GraphRate = None,
    labels: GraphLabels = None,
    window: GraphWindow = None,
    hop: GraphHop = None,
    embedding: GraphEmbedding = "",
    outputs: GraphOutputs = Outputs.scores,
    output: GraphOutput = "",
    peak: Peak = 0.0,
    licence: Licence = "",
    replace: Replace = False,
) -> None:
    """Make a model of a TFLite graph; prints its folder.

    Of one that takes a window of a waveform to a score a label.
    """
    given: dict[str, Any] = {"rate": rate, "labels": labels, "window": window, "hop": hop}
    given |= {"output": output, "embedding": embedding, "peak": peak, "licence": licence}
    _keep_model(out, replace)
    from auricle.interop.tflite import import_tflite

    _import_graph(import_tflite, file, out, outputs, given)
    _tell_of_description(file, {name for name, value in given.items() if value})


def onnx(
    file: Annotated[Path, typer.Argument(help="The published file.")],
    out: Out,
    rate: GraphRate = None,
    labels: GraphLabels = None,
    window: GraphWindow = None,
    hop: GraphHop = None,
    embedding: GraphEmbedding = "",
    outputs: GraphOutputs = Outputs.scores,
    output: GraphOutput = "",
    peak: Peak = 0.0,
    licence: Licence = "",
    replace: Replace = False,
) -> None:
    """Make a model of an ONNX graph; prints its folder.

    Of one that takes waveforms, (batch, samples), (samples) or (batch, 1, samples), to a score a label. What
    is not given is taken from the file, and asked for in one line where that does not say it.
    """
    given: dict[str, Any] = {"rate": rate, "labels": labels, "window": window, "hop": hop}
    given |= {"output": output, "embedding": embedding, "peak": peak, "licence": licence}
    _keep_model(out, replace)
    from auricle.interop.onnx_import import import_onnx

    _import_graph(import_onnx, file, out, outputs, given)


def vggish(
    weights: Annotated[str, typer.Option(metavar="FILE|URL", help="The released state dict.")],
    out: Out,
    pca: Annotated[
        str | None,
        typer.Option(metavar="FILE|URL", help="The released PCA: embeddings are then whitened, 0..255."),
    ] = None,
    sha256: Annotated[
        str,
        typer.Option(metavar="HEX", help="Of the weights: 8 to 64 digits; a URL may have them in its name."),
    ] = "",
    pca_sha256: Annotated[str, typer.Option(metavar="HEX", help="Of the PCA's file.")] = "",
    replace: Replace = False,
) -> None:
    """Make a model of the released VGGish, which embeds sounds.

    It gives 128 values each 0.96 s. Prints its folder.
    A URL is downloaded once, and not used unless its SHA-256 is the expected one.
    """
    _keep_model(out, replace)
    from auricle.interop.vggish import import_vggish

    print(import_vggish(weights, out, pca=pca, sha256=sha256, pca_sha256=pca_sha256).path)


def panns(
    file: Annotated[Path, typer.Argument(help="The released checkpoint.")],
    out: Out,
    labels: AudiosetLabels = None,
    architecture: Annotated[
        str, typer.Option(metavar="NAME", help="Of the network; at first found out from the file.")
    ] = "",
    window: Seconds = 10.0,
    hop: HopSeconds = None,
    licence: ReleaseLicence = "",
    replace: Replace = False,
) -> None:
    """Make a model of released PANNs weights.

    CNN14 at 32, 16 and 8 kHz, its decisions a third of a second, CNN10, CNN6, ResNet38, MobileNetV1,
    Wavegram-Logmel-CNN. Prints its folder. Code in the file is never run, and a file whose front end is
    another one is refused.
    """
    _keep_model(out, replace)
    from auricle.interop.panns import import_panns

    given: dict[str, Any] = {"architecture": architecture, "window": window, "hop": hop}
    given |= _licence(licence)
    print(import_panns(file, out, labels=labels, **given).path)


def efficientat(
    file: Annotated[Path, typer.Argument(help="The released weights, mn or dymn.")],
    out: Out,
    labels: AudiosetLabels = None,
    frame_hop: Annotated[
        float | None,
        typer.Option(min=1, max=25, metavar="MS", help="Of the log-mel; at first the name's, else 10."),
    ] = None,
    bands: Annotated[
        int | None,
        typer.Option(min=8, max=512, metavar="N", help="Of the log-mel; at first the name's, else 128."),
    ] = None,
    strides: Annotated[
        str, typer.Option(metavar="DIGITS", help="Of four blocks, as 2221; at first the name's, else 2222.")
    ] = "",
    window: Seconds = 10.0,
    hop: HopSeconds = None,
    licence: ReleaseLicence = "",
    replace: Replace = False,
) -> None:
    """Make a model of released EfficientAT weights.

    Networks mn04 to mn40 and dymn04 to dymn20; which one is found out from the file. Three settings of the
    variants are not in it: they are taken from its name, as released, or from the options. Prints its folder.
    """
    if not all(digit in "12" for digit in strides) or len(strides) not in (0, 4):
        raise typer.BadParameter(
            f"{strides!r}: expected four digits, each 1 or 2, as 2221", param_hint="--strides"
        )
    _keep_model(out, replace)
    from auricle.interop.efficientat import import_efficientat

    artifact = import_efficientat(
        file,
        out,
        labels=labels,
        frame_hop=frame_hop,
        bands=bands,
        strides=[int(digit) for digit in strides] or None,
        window=window,
        hop=hop,
        **_licence(licence),
    )
    print(artifact.path)


def yamnet(
    file: Annotated[Path, typer.Argument(help="yamnet.h5, or its arrays as .npz or .safetensors.")],
    out: Out,
    labels: AudiosetLabels = None,
    hop: Annotated[
        float, typer.Option(min=0.01, metavar="SECONDS", help="From window to window of 0.975 s.")
    ] = 0.48,
    licence: ReleaseLicence = "",
    replace: Replace = False,
) -> None:
    """Make a model of YAMNet's released float weights.

    It gives 521 scores and 1,024 values each 0.48 s. Prints its folder. Needs the extra hdf5 for a file of
    Keras.
    """
    _keep_model(out, replace)
    from auricle.interop.yamnet import import_yamnet

    print(import_yamnet(file, out, labels=labels, hop=hop, **_licence(licence)).path)


def _import_graph(
    importer: "Callable[..., Artifact]", file: Path, out: Path, outputs: Outputs, given: dict[str, Any]
) -> None:
    """Make a model of a graph; print its folder, and beside it what was taken and from where."""
    artifact = importer(file, out, scores=outputs is Outputs.scores, **given)
    from auricle.progress import say

    sources = ["its metadata" if given[name] is None else "given" for name in ("rate", "labels")]
    say(
        f"{file.name}: {artifact.rate} Hz ({sources[0]}), windows of {artifact.window} samples each "
        f"{artifact.hop}, {len(artifact.labels)} labels ({sources[1]}), {outputs.value}, embeddings of "
        f"{artifact.embedding_size} values"
    )
    print(artifact.path)


def _tell_of_description(file: Path, given: set[str]) -> None:
    """One line where `auricle export` wrote a description beside a graph, of what in it the model has not."""
    import json

    from auricle.progress import say

    beside = file.with_name(f"{file.name}.json")
    try:
        said = json.loads(beside.read_text(encoding="utf-8"))
        options = {"embedding": said["embedding"], "hop": said["hop_samples"], "peak": said["peak"]}
        at_first = {"embedding": "", "hop": said["window_samples"], "peak": 0.0}
        lost = [name for name in ("calibration", "thresholds") if said[name] is not None]
    except (OSError, ValueError, KeyError, TypeError):  # none is there, or another's
        return
    missing = [
        f"--{name} {value}"
        for name, value in options.items()
        if value != at_first[name] and name not in given
    ]
    told = [f"import it with {' '.join(missing)} --replace to have what it says"] * bool(missing)
    told += [f"its {' and '.join(lost)} are only in the folder that it was exported from"] * bool(lost)
    if told:
        say(f"{beside.name} beside the graph is not read: {'; '.join(told)}")


def _licence(given: str) -> dict[str, str]:
    """A field of the model where it was given; else the importer knows the release's."""
    return {"licence": given} if given else {}


def _keep_model(out: Path, replace: bool) -> None:
    """Refuse to write over a model, unless that is asked for."""
    if not replace and (out / "model.json").is_file():
        raise ValueError(f"{out}: holds a model; --replace overwrites it, or name another folder")
