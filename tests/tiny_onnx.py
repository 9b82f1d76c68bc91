"""Very small ONNX taggers for tests, in the layouts that published ones have."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

WINDOW, SIZE, CLASSES, RATE = 400, 8, 3, 8000
LABELS = ["dog", "rain", "clock"]


def weights(window: int = WINDOW, size: int = SIZE, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """(window, size) and (size, classes) float32, so that logits lie within some units of 0."""
    rng = np.random.default_rng(5)
    first = rng.standard_normal((window, size)) * (4 / np.sqrt(window))
    return first.astype(np.float32), rng.standard_normal((size, classes)).astype(np.float32)


def content(
    shape: tuple[int | str, ...] = ("batch", "samples"),
    *,
    window: int = WINDOW,
    size: int = SIZE,
    classes: int = CLASSES,
    scores: str = "",
    names: tuple[str, str, str] = ("input", "output", "hidden"),
    more: bool = False,
    embedding_out: bool = False,
    metadata: dict[str, str] | None = None,
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
    loses_batch: bool = False,
) -> bytes:
    """A file: waveform -> relu(x first) -> logits, or scores by the operator named.

    Args:
        shape: of the input.
        window: samples of a window.
        size: of the embedding.
        classes: how many.
        scores: "Sigmoid", "HardSigmoid" or "": logits.
        names: of the input, the output that counts, and the embedding.
        more: has a further output, (batch, 16, 4, size), before the others.
        embedding_out: the embedding is an output.
        metadata: of the file.
        opset: of the operators.
        kind: of the samples.
        loses_batch: adds the first window's answer to all others.
    """
    first, second = weights(window, size, classes)
    taken, answer, hidden = names
    constants = [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")]
    rows = np.array([1, window] if len(shape) == 1 else [-1, window], np.int64)
    constants.append(numpy_helper.from_array(rows, "rows"))
    nodes = [
        helper.make_node("Cast", [taken], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "first"], ["before"]),
        helper.make_node("Relu", ["before"], [hidden]),
        helper.make_node("MatMul", [hidden, "second"], ["odds"]),
    ]
    if loses_batch:
        constants.append(numpy_helper.from_array(np.array([0], np.int64), "zero"))
        nodes += [
            helper.make_node("Gather", ["odds", "zero"], ["top"], axis=0),
            helper.make_node("Add", ["odds", "top"], ["doubled"]),
        ]
    last = "doubled" if loses_batch else "odds"
    nodes.append(helper.make_node(scores or "Identity", [last], [answer]))
    batch = 1 if len(shape) == 1 else shape[0]
    outputs = [_info(answer, (batch, classes))]
    if embedding_out:
        outputs.insert(0, _info(hidden, (batch, size)))
    if more:
        constants.append(numpy_helper.from_array(np.array([-1, 1, 1, size], np.int64), "four"))
        constants.append(numpy_helper.from_array(np.ones((1, 16, 4, 1), np.float32), "ones"))
        nodes += [
            helper.make_node("Reshape", [hidden, "four"], ["in_four"]),
            helper.make_node("Mul", ["in_four", "ones"], ["spatial_embedding"]),
        ]
        outputs.insert(0, _info("spatial_embedding", (batch, 16, 4, size)))
    graph = helper.make_graph(nodes, "tiny", [_info(taken, shape, kind)], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    return bytes(model.SerializeToString())


def by_hand(waveforms: np.ndarray, size: int = SIZE, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Logits and embeddings, in float64."""
    first, second = (array.astype(np.float64) for array in weights(waveforms.shape[1], size, classes))
    hidden = np.maximum(waveforms.astype(np.float64) @ first, 0)
    return hidden @ second, hidden


def _info(name: str, shape: tuple[Any, ...], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def perch(labels: int = 14795) -> bytes:
    """Perch 2's layout: "inputs" (batch, 160000) -> embedding, spatial_embedding, spectrogram, label.

    Each is 8 values of the window by a matrix. Source: the model's page (justinchuby/Perch-onnx, README).
    """
    rng = np.random.default_rng(1)
    shapes = {"embedding": (1536,), "spatial_embedding": (16, 4, 1536), "spectrogram": (500, 128)}
    shapes["label"] = (labels,)
    first = (rng.standard_normal((160000, 8)) * 0.01).astype(np.float32)
    constants = [numpy_helper.from_array(first, "first")]
    nodes = [helper.make_node("MatMul", ["inputs", "first"], ["eight"])]
    for name, shape in shapes.items():
        matrix = rng.standard_normal((8, shape[-1])).astype(np.float32)
        constants.append(numpy_helper.from_array(matrix, f"{name}.matrix"))
        flat = name if len(shape) == 1 else f"{name}.flat"
        nodes.append(helper.make_node("MatMul", ["eight", f"{name}.matrix"], [flat]))
        if len(shape) > 1:
            ones = np.ones((1, *shape[:-1], 1), np.float32)
            wide = np.array([-1, *([1] * (len(shape) - 1)), shape[-1]], np.int64)
            constants.append(numpy_helper.from_array(ones, f"{name}.ones"))
            constants.append(numpy_helper.from_array(wide, f"{name}.wide"))
            nodes.append(helper.make_node("Reshape", [flat, f"{name}.wide"], [f"{name}.axes"]))
            nodes.append(helper.make_node("Mul", [f"{name}.axes", f"{name}.ones"], [name]))
    graph = helper.make_graph(
        nodes,
        "perch",
        [_info("inputs", ("batch", 160000))],
        [_info(name, ("batch", *shape)) for name, shape in shapes.items()],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())
