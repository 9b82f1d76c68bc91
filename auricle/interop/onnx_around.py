"""A published ONNX graph put between operators of ours: waveform in, logits and embedding out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auricle.runners.tflite import SILENT, SMALLEST

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ModuleNotFoundError as error:
    if error.name != "onnx":
        raise
    raise ModuleNotFoundError(
        "importing an ONNX file needs onnx, which is not installed: pip install 'auricle[export]'",
        name="onnx",
    ) from error

OURS = ("waveform", "logits", "embedding")
OLDEST = 8  # opset: operators of ours are the same from here on
TYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.DOUBLE: "float64",
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a graph takes windows.

    Args:
        input: name of its input.
        rank: 1 for (samples,), 2 for (batch, samples), 3 for (batch, 1, samples).
        batch: how many windows at once, 0 for any number.
        window: samples; 0 for any number.
        dtype: of the samples, "float32", "float16" or "float64".
    """

    input: str
    rank: int
    batch: int
    window: int
    dtype: str

    def shaped(self, waveforms_BN: np.ndarray) -> np.ndarray:
        """(B, N) as the graph takes it.

        >>> Layout(input="x", rank=3, batch=0, window=8, dtype="float32").shaped(np.zeros((2, 8))).shape
        (2, 1, 8)
        """
        count, samples = waveforms_BN.shape
        shape = {1: (samples,), 2: (count, samples), 3: (count, 1, samples)}[self.rank]
        return waveforms_BN.reshape(shape).astype(self.dtype)


@dataclass(frozen=True, kw_only=True)
class Around:
    """What is put around a graph.

    Args:
        layout: how it takes windows.
        window: samples of a window.
        output: name of the output that the labels are of.
        embedding: name of the value that is the embedding; empty: the logits are.
        scores: the output is scores, of which logits are made.
        peak: as of `auricle.runners.tflite.peaked`.
        sizes: how many values logits and embedding have.
    """

    layout: Layout
    window: int
    output: str
    embedding: str
    scores: bool
    peak: float
    sizes: tuple[int, int]


def put_around(model: Any, around: Around, batch: int) -> Any:
    """The graph between operators of ours, as a ModelProto of input "waveform".

    Args:
        model: a ModelProto, which stays as it is.
        around: what is put around it.
        batch: how many windows it takes at once; 0 for any number.

    Raises:
        ValueError: its operators are too old for ours.

    >>> put_around(onnx.load("perch_v2.onnx"), around, 0).graph.input[0].name  # doctest: +SKIP
    'waveform'
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    opset = next((entry.version for entry in made.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST:
        raise ValueError(f"its operators are of opset {opset}; expected {OLDEST} or a newer one")
    graph = made.graph
    names = set(value_names(graph))
    renamed = {name: _fresh(f"{name}.inner", names) for name in OURS if name in names}
    _rename(graph, renamed)
    parts = _Parts(names | set(renamed.values()))
    inner = {name: renamed.get(name, name) for name in (around.layout.input, around.output, around.embedding)}
    producers = {output: node for node in graph.node for output in node.output}
    before = _before(parts, around, batch, inner[around.layout.input])
    parts.nodes = []
    logits = _as_logits(parts, around, inner[around.output], producers)
    embedding = (
        parts.node("Cast", inner[around.embedding], to=TensorProto.FLOAT) if around.embedding else logits
    )
    for name, value, size in zip(OURS[1:], (logits, embedding), around.sizes, strict=True):
        flat = [batch or (1 if around.layout.rank == 1 else -1), size]
        parts.node("Reshape", value, np.array(flat, np.int64), named=name)
    nodes = [*before, *graph.node, *parts.nodes]
    inputs = [given for given in graph.input if given.name != inner[around.layout.input]]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(parts.constants)
    many: int | str = batch or "batch"
    graph.input.extend([_info("waveform", (many, around.window)), *inputs])
    graph.output.extend(_info(name, (many, n)) for name, n in zip(OURS[1:], around.sizes, strict=True))
    return made


def value_names(graph: Any) -> Iterator[str]:
    """Names of all values in a graph and in the graphs within its operators.

    >>> node = helper.make_node("Neg", ["x"], ["y"])
    >>> sorted(set(value_names(helper.make_graph([node], "g", [], []))))
    ['x', 'y']
    """
    for entry in (*graph.input, *graph.output, *graph.initializer):
        yield entry.name
    for entry in graph.sparse_initializer:
        yield entry.values.name
    for node in graph.node:
        yield from (name for name in (*node.input, *node.output) if name)
        for inside in _inside(node):
            yield from value_names(inside)


def _inside(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _rename(graph: Any, names: dict[str, str]) -> None:
    if not names:
        return
    for entry in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        entry.name = names.get(entry.name, entry.name)
    for entry in graph.sparse_initializer:
        entry.values.name = names.get(entry.values.name, entry.values.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
        for inside in _inside(node):
            _rename(inside, names)


def _fresh(name: str, names: set[str]) -> str:
    while name in names:
        name += "_"
    return name


class _Parts:
    """Operators of ours, and constants, under names that the graph does not have."""

    def __init__(self, names: set[str]):
        self._names = names
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, operator: str, *inputs: Any, named: str = "", **attributes: Any) -> str:
        values = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        output = named or self._name(operator)
        self.nodes.append(
            helper.make_node(operator, values, [output], name=f"auricle/{output}", **attributes)
        )
        return output

    def _constant(self, array: np.ndarray) -> str:
        name = self._name("constant")
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def _name(self, kind: str) -> str:
        found = _fresh(f"auricle/{kind}", self._names)
        self._names.add(found)
        return found


def _before(parts: _Parts, around: Around, batch: int, input: str) -> Sequence[Any]:
    """Operators from our waveform (B, N) to the graph's own input."""
    value, samples = "waveform", around.window
    if around.peak:
        value = parts.node("Reshape", value, np.array([0, 1, samples], np.int64))
        value = parts.node("Sub", value, parts.node("GlobalAveragePool", value))
        largest = parts.node("GlobalMaxPool", parts.node("Abs", value))
        largest = parts.node("Max", largest, np.array(SILENT, np.float32))
        value = parts.node("Mul", value, parts.node("Div", np.array(around.peak, np.float32), largest))
    shape = {1: [samples], 2: [batch or -1, samples], 3: [batch or -1, 1, samples]}[around.layout.rank]
    value = parts.node("Reshape", value, np.array(shape, np.int64))
    kind = next(number for number, name in TYPES.items() if name == around.layout.dtype)
    parts.node("Cast", value, named=input, to=kind)
    return parts.nodes


def _as_logits(parts: _Parts, around: Around, output: str, producers: dict[str, Any]) -> str:
    """The output as float32 logits: of scores what their sigmoid was taken of, or the logarithm of odds."""
    if not around.scores:
        return parts.node("Cast", output, to=TensorProto.FLOAT)
    last = producers.get(output)
    if last is not None and last.op_type == "Sigmoid" and last.domain in ("", "ai.onnx"):
        return parts.node("Cast", last.input[0], to=TensorProto.FLOAT)
    value = parts.node("Cast", output, to=TensorProto.DOUBLE)
    value = parts.node("Max", value, np.array(SMALLEST))
    value = parts.node("Min", value, np.array(1 - SMALLEST))
    value = parts.node("Log", parts.node("Div", value, parts.node("Sub", np.array(1.0), value)))
    return parts.node("Cast", value, to=TensorProto.FLOAT)


def _info(name: str, shape: Sequence[int | str]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
