"""Export to ONNX: one graph waveform -> logits and embedding, front end inside.

The graph is compared with torch before it is kept.
"""

import base64
import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import CHECK_KEY, METADATA_KEY, Artifact, encode_check, load_artifact, save_artifact
from auricle.artifact.checksum import checksum, graph_digest

OPSET = 18  # read by onnxruntime 1.14 and later
TOLERANCE = 1e-4  # of a logit, against torch with the Fourier front end


def export_onnx(model: str | Path, out: str | Path) -> Path:
    """Write a model as one .onnx file that `auricle tag --model FILE.onnx` and any ONNX runtime can run.

    Input "waveform" (batch, samples) float32 at the model's rate; outputs "logits" (batch, K), before the
    sigmoid, and "embedding" (batch, E). Batch size is free, and so is length where the net takes any. The
    file's metadata holds model.json under "auricle" and the self-check under "auricle.check".

    Args:
        model: name, folder or file, see `load_artifact`.
        out: the file; its folder is made.

    Raises:
        ValueError: the graph's logits differ from torch's by more than 1e-4 (nothing is written then), or the
            model cannot be exported.
        ModuleNotFoundError: torch, onnx or onnxscript is not installed.

    >>> export_onnx("runs/urban/best", "urban.onnx")  # doctest: +SKIP
    PosixPath('urban.onnx')
    """
    artifact, out = load_artifact(model), Path(out)
    if out.suffix != ".onnx":
        raise ValueError(f"{out}: expected a name that ends in .onnx")
    if out.is_dir():
        raise ValueError(f"{out}: is a folder; name a file")
    if artifact.backend == "onnx":  # it is a graph already, metadata included
        content = artifact.state_path.read_bytes()
    elif artifact.backend == "torch":
        content = _export(artifact)
    else:
        raise ValueError(f"{artifact.path}: backend {artifact.backend!r} cannot be exported to ONNX")
    _write(out, content)
    return out


def export_artifact(model: str | Path, out: str | Path, **fields: Any) -> Artifact:
    """Make a model's folder with backend "onnx" from one with backend "torch": it then runs without torch.

    Args:
        model: name or folder of a torch model.
        out: the new folder.
        **fields: fields of `Artifact` to change (name, licence, metrics), and `attachments`, name -> content.

    Raises:
        ValueError, ModuleNotFoundError: as `export_onnx`.

    >>> export_artifact("runs/urban/best", "models/urban").backend  # doctest: +SKIP
    'onnx'
    """
    artifact = load_artifact(model)
    if artifact.backend != "torch":
        raise ValueError(
            f"{artifact.path}: backend is {artifact.backend!r}; expected a torch model to export"
        )
    attachments = fields.pop("attachments", None)
    if attachments is None:
        attachments = {name: (artifact.path / name).read_bytes() for name in artifact.attachments}
    described = replace(artifact, **fields).description() | {"backend": "onnx"}
    del described["attachments"]
    waveforms, logits, _ = artifact.read_check()
    content = _export(replace(artifact, **fields))
    return save_artifact(out, onnx=content, check=(waveforms, logits), attachments=attachments, **described)


def _export(artifact: Artifact) -> bytes:
    """The graph as bytes, compared with torch."""
    torch, onnx, torch_runner = _libraries()
    frontend, net = torch_runner.build(artifact)
    convolution, _ = torch_runner.build(artifact, method="convolution")
    graph = torch_runner.WaveformModel(convolution, net).eval()
    original = torch_runner.WaveformModel(frontend, net).eval()

    def reference(waveforms: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [output.numpy() for output in original(torch.from_numpy(waveforms))]

    lengths = [artifact.window]
    longer = artifact.window * 3 // 2 + 123
    with contextlib.suppress(ValueError, RuntimeError):  # some nets take one length only
        reference(np.zeros((1, longer), np.float32))
        lengths += [longer, artifact.window * 2]
    axes = {0: torch.export.Dim("batch")}
    if len(lengths) > 1:
        # The exporter wants to know that there is at least one frame.
        shortest = artifact.features.window if net.input_kind == "logmel" else artifact.window
        axes[1] = torch.export.Dim("samples", min=shortest)
    try:
        with _quiet():
            program = torch.onnx.export(
                graph,
                # Not of the shortest length there is: a map of one column would be traced as always one.
                (torch.zeros(2, max(lengths)),),
                dynamo=True,  # folds batch norms into the convolutions before them
                opset_version=OPSET,
                input_names=["waveform"],
                output_names=["logits", "embedding"],
                dynamic_shapes={"waveform": axes},
                verbose=False,
            )
    except Exception as error:  # torch's exporter has no common class for what it raises
        cause = str(error.__cause__ or error).strip().split("\n")[0]
        raise ValueError(f"{artifact.path}: torch cannot export this net to ONNX: {cause}") from error
    proto = program.model_proto
    _describe(onnx, proto, artifact)
    content: bytes = proto.SerializeToString()
    # Without labels the artifact's own tolerance may be a step of quantised embeddings.
    _compare(content, reference, lengths, artifact.path, step=0.0 if artifact.labels else artifact.tolerance)
    return content


def _describe(onnx: Any, proto: Any, artifact: Artifact) -> None:
    """Put model.json and the check in; take stack traces with the names of local files out."""
    graph = proto.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (graph, *graph.node, *values):
        del part.metadata_props[:]
    waveforms, logits, _ = artifact.read_check()
    check = encode_check(waveforms, logits)
    described = artifact.description() | {"backend": "onnx", "attachments": []}
    described["checksum"] = checksum(described, graph_digest(io.BytesIO(proto.SerializeToString())), check)
    properties = {
        METADATA_KEY: json.dumps(described, ensure_ascii=False, allow_nan=False),
        CHECK_KEY: base64.b64encode(check).decode(),
    }
    onnx.helper.set_model_props(proto, properties)


def _compare(content: bytes, reference: Any, lengths: list[int], where: Path, *, step: float) -> None:
    """Refuse a graph whose outputs are not torch's, at several batch sizes and lengths."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for batch, length in zip((1, 3, 2), (lengths * 3)[:3], strict=True):
        level = 10.0 ** rng.uniform(-3, 0, (batch, 1))
        waveforms = (level * rng.standard_normal((batch, length))).clip(-1, 1).astype(np.float32)
        for name, ours, torchs in zip(
            ("logits", "embedding"),
            session.run(["logits", "embedding"], {"waveform": waveforms}),
            reference(waveforms),
            strict=True,
        ):
            # Embeddings have no scale of their own: theirs is what they are compared by.
            scale = 1.0 if name == "logits" else max(1.0, float(np.abs(torchs).max()))
            same_shape = ours.shape == torchs.shape
            difference = float(np.abs(ours - torchs).max(initial=0)) / scale if same_shape else np.inf
            if not difference <= max(TOLERANCE, step / scale):
                raise ValueError(
                    f"{where}: the exported graph's {name} differ from torch's by {difference:.2g} for "
                    f"{batch} x {length} samples; expected at most {TOLERANCE:g}; nothing was written"
                )


def _libraries() -> tuple[Any, Any, Any]:
    """torch, onnx and the torch runner, or one line that says how to get them."""
    try:
        import onnx
        import onnxscript  # noqa: F401  torch.onnx needs it
        import torch

        from auricle.runners import torch as torch_runner
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("torch", "onnx", "onnxscript"):
            raise
        raise ModuleNotFoundError(
            f"export needs {error.name}, which is not installed: pip install auricle[train,export]",
            name=error.name,
        ) from error
    return torch, onnx, torch_runner


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what torch's exporter prints: the result is compared, and a failure becomes one line."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _write(out: Path, content: bytes) -> None:
    """The whole file or none."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.tmp")
    try:
        part.write_bytes(content)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
