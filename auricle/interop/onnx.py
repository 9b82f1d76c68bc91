"""Export to ONNX: one graph waveform -> logits, scores and embedding, all of a model inside.

The graph is compared with torch before it is kept.
"""

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from auricle import __version__
from auricle.artifact import CHECK_KEY, METADATA_KEY, Artifact, encode_check, load_artifact, save_artifact
from auricle.artifact.checksum import checksum, graph_digest
from auricle.artifact.trainings import each_once, heard_before
from auricle.interop.exported import about, as_json, write_whole
from auricle.pooling import POOLINGS, pooling_of
from auricle.thresholds import thresholds_of

QUANTISATIONS = ("", "int8")
NOT_OF_A_GRAPH = ("attachments", "members", "gates", "unasked")


def export_onnx(
    model: str | Path,
    out: str | Path,
    *,
    quantize: str = "",
    data: str | Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write a model as one .onnx file that `auricle tag --model FILE.onnx` and any ONNX runtime can run.

    Input "waveform" (batch, samples) float32 at the model's rate; outputs "logits" (batch, K), before the
    sigmoid and as the network gives them, "scores" (batch, K) in [0, 1], calibrated where the model is, and
    "embedding" (batch, E). Batch size is free, and so is length where the net takes any; of an imported graph
    that takes a fixed number of windows it is fixed, too, which the file says. A model on another
    one's embeddings has that one inside, and a family its members. The file's metadata says what an ONNX
    user needs (see docs/export.md), and holds model.json under "auricle" and the check under "auricle.check".

    Args:
        model: name, folder or file, see `load_artifact`.
        out: the file; its folder is made.
        quantize: "int8" makes layers compute in 8 bits, see `auricle.interop.onnx_int8`; "" is float32.
        data: a pack whose sounds say which numbers the layers meet, and on which the loss is measured; None
            takes the model's own check.
        say: is told what 8 bits cost.

    Raises:
        ValueError: the graph's logits differ from torch's by more than 1e-4 (nothing is written then), or the
            model cannot be exported.
        ModuleNotFoundError: torch, onnx or onnxscript is not installed.

    >>> export_onnx("runs/urban/best", "urban.onnx")  # doctest: +SKIP
    PosixPath('urban.onnx')
    """
    out = Path(out)
    if out.suffix != ".onnx":
        raise ValueError(f"{out}: expected a name that ends in .onnx")
    if out.is_dir():
        raise ValueError(f"{out}: is a folder; name a file")
    content, _, _ = _export(load_artifact(model), quantize=quantize, data=data, say=say)
    write_whole(out, content)
    return out


def export_artifact(
    model: str | Path,
    out: str | Path,
    *,
    quantize: str = "",
    data: str | Path | None = None,
    say: Callable[[str], None] = lambda text: None,
    **fields: Any,
) -> Artifact:
    """Make a model's folder with backend "onnx": it then runs without torch.

    Args:
        model: name or folder of a model.
        out: the new folder.
        quantize: as in `export_onnx`, and so `data` and `say`.
        data: see there.
        say: see there.
        **fields: fields of `Artifact` to change (name, licence, metrics), and `attachments`, name -> content.

    Raises:
        ValueError, ModuleNotFoundError: as `export_onnx`.

    >>> export_artifact("runs/urban/best", "models/urban").backend  # doctest: +SKIP
    'onnx'
    """
    artifact = load_artifact(model)
    attachments = fields.pop("attachments", None)
    if attachments is None:
        attachments = {name: (artifact.path / name).read_bytes() for name in artifact.attachments}
    content, described, check = _export(replace(artifact, **fields), quantize=quantize, data=data, say=say)
    kept = {name: value for name, value in described.items() if name not in ("attachments", "checksum")}
    return save_artifact(out, onnx=content, check=check, attachments=attachments, **kept)


def _export(
    artifact: Artifact, *, quantize: str, data: str | Path | None, say: Callable[[str], None]
) -> tuple[bytes, dict[str, Any], tuple[np.ndarray, np.ndarray]]:
    """The file's content, the description and the check in it."""
    if quantize not in QUANTISATIONS:
        raise ValueError(f"quantize is {quantize!r}; expected int8, or nothing for float32")
    if data is not None and not quantize:
        raise ValueError("data is for quantize int8: float32 needs none")
    if quantize and "int8" in artifact.metrics:
        raise ValueError(f"{artifact.path}: is in 8 bits already; quantize the model that it was made of")
    _refuse_missing(artifact)
    from auricle.interop.onnx_whole import whole_graph

    graph = _with_scores(artifact, whole_graph(artifact))
    described = _described(artifact)
    waveforms, logits, _ = artifact.read_check()
    if quantize:
        from auricle.interop.onnx_int8 import quantized

        graph, loss, logits = quantized(artifact, graph, data)
        said = {name: value for name, value in loss.items() if not isinstance(value, str)}
        described["metrics"] = artifact.metrics | {"int8": loss}
        described["tolerance"] = min(1.0, max(artifact.tolerance, said["logit_difference"]))
        say(_in_words(loss))
    _describe(graph, artifact, described, (waveforms, logits), quantize or "float32")
    return graph.SerializeToString(), described, (waveforms, logits)


def _with_scores(artifact: Artifact, model: Any) -> Any:
    """The same graph with a third output, where there are labels."""
    from auricle.interop.onnx_graph import Assembly, input_shape
    from auricle.interop.onnx_joins import scores

    graph = Assembly({"waveform": input_shape(model, "waveform")})
    values = graph.add(model, {"waveform": "waveform"})
    many = input_shape(model, "waveform")[0]
    widths = {"logits": artifact.num_classes, "embedding": artifact.embedding_size}
    outputs: dict[str, Any] = {name: (values[name], (many, width)) for name, width in widths.items()}
    if artifact.labels:
        said = scores(graph, values["logits"], artifact.calibration)
        outputs["scores"] = (said, (many, artifact.num_classes))
    return graph.model(outputs, artifact.name)


def _described(artifact: Artifact) -> dict[str, Any]:
    """model.json of the graph: what is inside it is no part of its own any more."""
    described = artifact.description() | {"backend": "onnx", "attachments": []}
    for name in NOT_OF_A_GRAPH[1:]:
        described.pop(name, None)
    if artifact.within:
        described["inputs"] = [{"kind": "waveform", "rate": artifact.rate}]
        # What they heard in training, the whole has heard: `auricle evaluate` warns of it.
        _, *within = each_once(heard_before(artifact))  # the first is its own
        described["training"] = artifact.training | {"within": within}
    return described


def _describe(
    proto: Any,
    artifact: Artifact,
    described: dict[str, Any],
    check: tuple[np.ndarray, np.ndarray],
    precision: str,
) -> None:
    """Put model.json, the check and what others look for in."""
    import onnx

    from auricle.interop.onnx_graph import IR_VERSION

    many, length = proto.graph.input[0].type.tensor_type.shape.dim
    at_once = f" It takes {many.dim_value} at once, no more and no fewer." if many.dim_value else ""
    rate, window, hop = artifact.rate, artifact.window, artifact.hop
    samples = f"of {window} samples" if length.dim_value else f"made for {window} samples, others will do"
    proto.ir_version = IR_VERSION  # which quantisation raises
    proto.producer_name, proto.producer_version = "auricle", __version__
    proto.doc_string = (
        f"{artifact.name}: {artifact.num_classes} labels, in metadata 'labels'. Cut a recording into windows "
        f"of {window} samples ({window / rate:g} s at {rate} Hz), each {hop} after the one before.{at_once}"
    )
    texts = {
        "waveform": f"({many.dim_value or 'batch'}, samples) float32, mono, {rate} Hz, -1 to 1, {samples}",
        "logits": "as the network gives them: before calibration and sigmoid",
        "scores": _of_scores(artifact),
        "embedding": "what the last layer sees",
    }
    for value in (*proto.graph.input, *proto.graph.output):
        value.doc_string = texts[value.name]
    encoded = encode_check(*check)
    del proto.metadata_props[:]
    described["checksum"] = checksum(described, graph_digest(io.BytesIO(proto.SerializeToString())), encoded)
    properties = {
        METADATA_KEY: as_json(described),
        CHECK_KEY: base64.b64encode(encoded).decode(),
        "precision": precision,
    }
    for name, value in about(artifact).items():
        properties[name] = value if isinstance(value, str) else as_json(value)
    onnx.helper.set_model_props(proto, properties)


def _of_scores(artifact: Artifact) -> str:
    """What the scores are, and what they may be compared with."""
    said = f"0 to 1, of each window{', calibrated' if artifact.calibration else ''}"
    if artifact.thresholds is None:
        return said
    if thresholds_of(artifact) != "clips":
        return f"{said}; a label is heard from its score in metadata 'thresholds' on"
    pooled = POOLINGS[pooling_of(artifact)]
    mapped = ", through metadata 'clip_calibration'" if "clips" in (artifact.calibration or {}) else ""
    return f"{said}; metadata 'thresholds' are of clips: of the {pooled} over a clip's windows{mapped}"


def _in_words(loss: dict[str, Any]) -> str:
    return (
        f"int8 against float32 on {loss['windows']} windows of {loss['on']}: scores differ by "
        f"{loss['score_difference']:.3g} at most, {loss['mean_score_difference']:.2g} on average; the first "
        f"label is the same in {loss['same_first_label']:.1%}"
    )


def _refuse_missing(artifact: Artifact) -> None:
    """One line that says how to get what this needs, where it is missing."""
    needed = ["onnx"]
    if _has_torch(artifact):
        needed += ["torch", "onnxscript"]  # which torch.onnx needs
    try:
        for name in needed:
            __import__(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in needed:
            raise
        raise ModuleNotFoundError(
            f"export needs {error.name}, which is not installed: pip install auricle[train,export]",
            name=error.name,
        ) from error


def _has_torch(artifact: Artifact) -> bool:
    return artifact.backend == "torch" or any(_has_torch(model) for _, model in artifact.within.values())
