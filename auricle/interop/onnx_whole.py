"""A whole model as one ONNX graph, waveform -> logits and embedding, whatever it is made of."""

from typing import Any

import numpy as np
import onnx

from auricle.gating import follow_gates, plan_gates
from auricle.interop.onnx_compare import compare, noise, open_session
from auricle.interop.onnx_graph import Assembly, input_shape, refuse_large
from auricle.interop.onnx_joins import cut_windows, gates, resample, stack_windows
from auricle.runners.composed import embed_windows
from auricle.runners.fusion import embed_resampled
from auricle.runners.onnx import fixed_batch

FOREIGN = {
    "tflite": "is a TFLite graph, which auricle does not translate: tag with it as it is, export the graph "
    "itself to a name that ends in .tflite, or make an ONNX file of {path} with tf2onnx",
}
OURS = "those of its parts"
TRIALS = (1, 3, 2)  # batch sizes at which a graph is compared


def whole_graph(artifact: Any, made: dict[str, Any] | None = None) -> Any:
    """A model as a ModelProto of input "waveform" and outputs "logits" and "embedding".

    Every network in it is compared with torch, and every joint with the package's own, on the same inputs.

    Args:
        artifact: as `auricle.artifact.load_artifact` gives it.
        made: fingerprint -> graph of models that were made before: a family's members share embedders.

    Raises:
        ValueError: a part is of a kind that has no graph, torch cannot export it, or it answers differently.

    >>> whole_graph(load_artifact("default")).graph.input[0].name  # doctest: +SKIP
    'waveform'
    """
    made = {} if made is None else made
    if artifact.fingerprint not in made:
        try:
            made[artifact.fingerprint] = _make(artifact, made)
        except ValueError as error:
            if str(artifact.path) in str(error):
                raise
            raise ValueError(f"{artifact.path}: {error}") from error
    return made[artifact.fingerprint]


def _make(artifact: Any, made: dict[str, Any]) -> Any:
    if artifact.members:
        return _family(artifact, made)
    entry = artifact.embedding_entry
    if entry and artifact.embedder.fingerprint != entry["fingerprint"]:
        raise ValueError(f"{artifact.embedder.path}: is not the embedder that the model was trained with")
    if artifact.backend in ("torch", "onnx"):
        refuse_large(artifact.state_path.stat().st_size)  # before anything is built
    if artifact.backend == "torch":
        from auricle.interop.onnx_parts import net_graph

        part = net_graph(artifact)
    elif artifact.backend == "onnx":
        part = onnx.load(str(artifact.state_path))
    else:
        why = FOREIGN[artifact.backend].format(path=artifact.state_path)
        raise ValueError(f"{artifact.path}: cannot be exported to ONNX: it {why}")
    if entry:
        _refuse_fixed(artifact.embedder)
        return _with_embedder(artifact, part, whole_graph(artifact.embedder, made))
    many = fixed_batch(artifact) or "batch"
    shape = input_shape(part, "waveform")
    graph = Assembly({"waveform": (many, *shape[1:])})
    return graph.model(_outputs(artifact, graph.add(part, {"waveform": "waveform"}), many))


def _refuse_fixed(inside: Any) -> None:
    """Refuse a model within another one whose graph does not take as many windows as the whole gives it."""
    if fixed := fixed_batch(inside):
        many = "one window" if fixed == 1 else f"{fixed} windows"
        raise ValueError(
            f"{inside.path}: cannot be part of an exported graph: its published graph takes {many} at once, "
            "and the whole any number; tag with the folder as it is"
        )


def _outputs(
    artifact: Any, values: dict[str, str], many: int | str = "batch"
) -> dict[str, tuple[str, tuple[int | str, ...]]]:
    return {
        "logits": (values["logits"], (many, artifact.num_classes)),
        "embedding": (values["embedding"], (many, artifact.embedding_size)),
    }


def _with_embedder(artifact: Any, head: Any, below: Any) -> Any:
    """A network on embeddings, alone or beside a waveform, with the model that makes them."""
    embedder, windows = artifact.embedder, artifact.embedder_windows
    fusion = len(artifact.inputs) > 1
    free = not fusion and isinstance(input_shape(head, "embeddings")[1], str)
    graph = Assembly({"waveform": ("batch", "samples" if free else artifact.window)})
    heard = "waveform"
    if fusion:
        needed = embedder.window + (windows - 1) * embedder.hop
        heard = resample(graph, heard, artifact.window, (artifact.rate, embedder.rate), needed)
    cut, both = cut_windows(graph, heard, embedder.window, embedder.hop)
    rows = graph.add(below, {"waveform": cut}, "embedder/")["embedding"]
    stacked = stack_windows(graph, rows, both, embedder.embedding_size)
    inputs = {"waveform": "waveform", "embeddings": stacked} if fusion else {"embeddings": stacked}
    outputs = _outputs(artifact, graph.add(head, inputs, "head/"))
    made = graph.model(outputs)
    inside = ("batch", "windows", embedder.embedding_size)
    watched = graph.model(outputs | {"embeddings": (stacked, inside)})
    _compare_embedded(artifact, watched, head, below, free=free)
    return made


def _compare_embedded(artifact: Any, watched: Any, head: Any, below: Any, *, free: bool) -> None:
    """Look at the embeddings in the middle, then at what the head makes of these.

    So no step of quantised embeddings, which rounding may take, hides another difference.
    """
    embedder = artifact.embedder
    session, head_session, below_session = (
        open_session(model.SerializeToString()) for model in (watched, head, below)
    )
    runner = _Runner(embedder, below_session)
    lengths = [artifact.window, artifact.window + 2 * embedder.hop if free else artifact.window]
    for batch, length in zip(TRIALS, lengths + lengths[:1], strict=True):
        waveforms = noise(batch, length)
        logits, embedding, inside = session.run(
            ["logits", "embedding", "embeddings"], {"waveform": waveforms}
        )
        given = {"embeddings": inside}
        if len(artifact.inputs) > 1:
            expected = embed_resampled(runner, waveforms, artifact.rate, artifact.embedder_windows)
            given["waveform"] = waveforms
        else:
            expected = embed_windows(runner, waveforms)
        step = 0.0 if embedder.labels else embedder.tolerance
        compare([inside], [expected], artifact.path, step=step, names=["embeddings"], whose=OURS)
        answers = head_session.run(["logits", "embedding"], given)
        compare([logits, embedding], answers, artifact.path, whose=OURS)


def _family(artifact: Any, made: dict[str, Any]) -> Any:
    """All members on all windows; which of their answers count is the gates' to say."""
    parts = {}
    for name, member in artifact.models.items():
        if member.fingerprint != artifact.members[name]:
            raise ValueError(
                f"{member.path}: is not the member that the family was saved with; copy it again"
            )
        _refuse_fixed(member)
        parts[name] = whole_graph(member, made)
    labels = {name: member.labels for name, member in artifact.models.items()}
    gating = plan_gates(artifact.labels, artifact.parents, labels, artifact.gates, artifact.unasked)
    free = all(isinstance(input_shape(part, "waveform")[1], str) for part in parts.values())
    graph = Assembly({"waveform": ("batch", "samples" if free else artifact.window)})
    answers = {name: graph.add(part, {"waveform": "waveform"}, f"{name}/") for name, part in parts.items()}
    said = {name: values["logits"] for name, values in answers.items()}
    outputs = _outputs(
        artifact,
        {"logits": gates(graph, gating, said), "embedding": answers[gating.root]["embedding"]},
    )
    model = graph.model(outputs)
    watched = graph.model(
        {"logits": outputs["logits"]}
        | {f"of {name}": (value, ("batch", len(labels[name]))) for name, value in said.items()}
    )
    session = open_session(watched.SerializeToString())
    for batch in TRIALS:
        names = [f"of {name}" for name in parts]
        logits, *rest = session.run(["logits", *names], {"waveform": noise(8 * batch, artifact.window)})
        told = dict(zip(parts, rest, strict=True))
        expected = follow_gates(gating, len(logits), lambda name, rows: told[name][rows])  # noqa: B023
        compare([logits], [expected], artifact.path, names=["logits"], whose=OURS)
    return model


class _Runner:
    """A session as `auricle.runners` has runners, in batches of any size."""

    def __init__(self, artifact: Any, session: Any):
        self.artifact, self._session = artifact, session

    def run(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `auricle.runners.load_runner`."""
        logits, embedding = self._session.run(["logits", "embedding"], {"waveform": waveforms_BN})
        return logits, embedding
