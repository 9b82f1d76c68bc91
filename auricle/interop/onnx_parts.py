"""A torch network with its own front end as an ONNX graph, compared with torch before it is used."""

import contextlib
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from auricle.frontend import LogMel
from auricle.interop.hushed import hushed
from auricle.interop.onnx_compare import compare, noise, open_session
from auricle.interop.onnx_graph import OPSET
from auricle.models import logits_and_embedding
from auricle.runners import torch as torch_runner


class Part(nn.Module):
    """A net on what a graph is given: a waveform, embeddings, or both, in this order."""

    def __init__(self, frontend: nn.Module | None, net: nn.Module):
        super().__init__()
        self.frontend, self.net = frontend, net

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """-> (B, K) logits and (B, E) embedding."""
        seen = inputs if self.frontend is None else (self.frontend(inputs[0]), *inputs[1:])
        return logits_and_embedding(self.net, seen if len(seen) > 1 else seen[0])


def net_graph(artifact: Any) -> Any:
    """The network of a torch model as a ModelProto, without its embedder.

    Inputs "waveform" (batch, samples) where it hears one, "embeddings" (batch, windows, D) where it takes
    any; outputs "logits" and "embedding". Batch size is free, and so is length where the net takes any.

    Raises:
        ValueError: torch cannot export the net, or the graph does not answer as torch does.

    >>> [output.name for output in net_graph(load_artifact("runs/urban/best")).graph.output]  # doctest: +SKIP
    ['logits', 'embedding']
    """
    part, original = _parts(artifact)
    shapes = _shapes(artifact)

    def reference(*inputs: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [output.numpy() for output in original(*map(torch.from_numpy, inputs))]

    longer = [_longer(artifact, shapes)]
    with contextlib.suppress(ValueError, RuntimeError):  # some nets take one length only
        reference(*(np.zeros((1, *shape), np.float32) for shape in longer[0].values()))
        longer.append({name: (2 * shape[0], *shape[1:]) for name, shape in shapes.items()})
    free = len(longer) > 1
    lengths = [shapes, *(longer if free else [])]
    proto = _exported(artifact, part, lengths, free=free)
    # Without labels the artifact's own tolerance may be a step of quantised embeddings.
    step = 0.0 if artifact.labels else artifact.tolerance
    session = open_session(proto.SerializeToString())
    quantised = bool(artifact.architecture.get("arguments", {}).get("quantised"))
    rng = np.random.default_rng(0)
    for batch, sizes in zip((1, 3, 2), (lengths * 3)[:3], strict=True):
        inputs = {name: _made_up(name, (batch, *size), rng, quantised) for name, size in sizes.items()}
        expected = reference(*inputs.values())
        compare(session.run(["logits", "embedding"], inputs), expected, artifact.path, step=step)
    return proto


def _parts(artifact: Any) -> tuple[nn.Module, nn.Module]:
    """What is exported, and what it has to equal: of the same net, but for how the front end computes."""
    if not artifact.embedding_entry:
        made, net = torch_runner.build(artifact, method="convolution")
        plain, net = torch_runner.build(artifact)
        return Part(made, net).eval(), Part(plain, net).eval()
    net = torch_runner.build_net(artifact)
    if artifact.input_kinds[0] != "logmel":
        same = Part(None, net).eval()
        return same, same
    both = [LogMel(artifact.features, method=method).eval() for method in ("convolution", "fft")]
    return Part(both[0], net).eval(), Part(both[1], net).eval()


def _shapes(artifact: Any) -> dict[str, tuple[int, ...]]:
    """Of each input, without the batch."""
    shapes: dict[str, tuple[int, ...]] = {}
    if artifact.input_kinds[0] != "embedding":
        shapes["waveform"] = (artifact.window,)
    if artifact.embedding_entry:
        shapes["embeddings"] = (artifact.embedder_windows, artifact.embedding_entry["size"])
    return shapes


def _longer(artifact: Any, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    longer = dict(shapes)
    if "waveform" in shapes:
        longer["waveform"] = (artifact.window * 3 // 2 + 123,)
    if "embeddings" in shapes:
        longer["embeddings"] = (shapes["embeddings"][0] + 2, *shapes["embeddings"][1:])
    return longer


def _made_up(name: str, shape: tuple[int, ...], rng: np.random.Generator, quantised: bool) -> np.ndarray:
    """Something that the net may be given."""
    if name == "embeddings":
        values = rng.integers(0, 256, shape) if quantised else rng.standard_normal(shape)
        return values.astype(np.float32)
    return noise(shape[0], shape[1])


def _exported(
    artifact: Any, part: nn.Module, lengths: list[dict[str, tuple[int, ...]]], *, free: bool
) -> Any:
    batch = torch.export.Dim("batch")
    axes: dict[str, dict[int, Any]] = {name: {0: batch} for name in lengths[0]}
    if free and "waveform" in axes:
        # The exporter wants to know that there is at least one frame, or as many as the net asks for.
        shortest = artifact.window
        if artifact.input_kinds[0] == "logmel":
            more = getattr(part.net, "least_frames", 1) - 1
            shortest = artifact.features.window + more * artifact.features.hop
        axes["waveform"][1] = torch.export.Dim("samples", min=shortest)
    if free and "embeddings" in axes:
        axes["embeddings"][1] = torch.export.Dim("windows")
    # Not of the shortest length there is: a map of one column would be traced as always one.
    example = tuple(torch.zeros(2, *max(sizes[name] for sizes in lengths)) for name in axes)
    try:
        with hushed("torch.onnx"):
            program = torch.onnx.export(
                part,
                example,
                dynamo=True,  # folds batch norms into the convolutions before them
                opset_version=OPSET,
                input_names=list(axes),
                output_names=["logits", "embedding"],
                dynamic_shapes={"inputs": tuple(axes.values())},
                verbose=False,
            )
    except Exception as error:  # torch's exporter has no common class for what it raises
        cause = str(error.__cause__ or error).strip().split("\n")[0]
        raise ValueError(f"{artifact.path}: torch cannot export this net to ONNX: {cause}") from error
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    return proto
