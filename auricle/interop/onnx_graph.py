"""ONNX graphs as values: pieces are put together, what nobody needs and what is there twice goes.

An `Assembly` is a graph being made; a value in it is known by its name, a string.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18  # read by onnxruntime 1.14 and later
IR_VERSION = 8  # of the file's form: that of this opset, so that the same runtimes read it
LARGEST = 2**31 - 2**20  # bytes: a protobuf message has fewer than 2^31, and the graph itself needs some
RESERVED = ("waveform", "embeddings", "logits", "embedding", "scores")  # names of inputs and outputs

Shape = Sequence[int | str]


class Assembly:
    """A graph being made.

    Args:
        inputs: name -> shape of each float32 input; a string is a length that is free.

    >>> half = Assembly({"waveform": ("batch", 8)})
    >>> model = half.model({"logits": (half.node("Mul", "waveform", np.float32(0.5)), ("batch", 8))})
    >>> [node.op_type for node in model.graph.node]
    ['Mul', 'Identity']
    """

    def __init__(self, inputs: Mapping[str, Shape]):
        self._inputs = dict(inputs)
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._names: set[str] = set(inputs)
        self._node_names: set[str] = set()

    def constant(self, values: Any) -> str:
        """The name of an array in the graph."""
        name = self._new("constant")
        self._initializers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, operator: str, *inputs: Any, named: str = "", **attributes: Any) -> str:
        """The name of an operator's one output; inputs are names, or arrays that become constants."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        output = self._new(named or operator)
        self._nodes.append(helper.make_node(operator, names, [output], name=output, **attributes))
        return output

    def add(self, model: Any, inputs: Mapping[str, str], prefix: str = "") -> dict[str, str]:
        """Put a whole model in.

        Args:
            model: a ModelProto without functions of its own, of the opset above.
            inputs: name of each of the model's inputs -> a value here.
            prefix: of the names of what is put in.

        Returns:
            Name of each of its outputs -> the value here.

        Raises:
            ValueError: another opset, or operators of another domain.
        """
        opsets = {entry.domain: entry.version for entry in model.opset_import}
        if opsets.get("") != OPSET or set(opsets) - {"", "ai.onnx"} or len(model.functions):
            raise ValueError(
                f"a graph of opset {opsets}; expected {OPSET} and no other operators: export the model again"
            )
        names = {"": "", **inputs}

        def inner(name: str) -> str:
            if name not in names:
                names[name] = self._new(prefix + name + (".inner" if name in RESERVED else ""), number=False)
            return names[name]

        for tensor in model.graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = inner(tensor.name)
            del copy.metadata_props[:]
            self._initializers.append(copy)
        for node in model.graph.node:
            if node.op_type == "Identity":  # how outputs get their names; `model` makes new ones
                names[node.output[0]] = inner(node.input[0])
                continue
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            del copy.input[:], copy.output[:], copy.metadata_props[:]  # these hold names of local files
            copy.input.extend(inner(name) for name in node.input)
            copy.output.extend(inner(name) for name in node.output)
            # onnxruntime refuses two nodes of one name; a node's first output has one that is there once.
            free = node.name and prefix + node.name not in self._node_names and node.name not in RESERVED
            copy.name, copy.doc_string = prefix + node.name if free else copy.output[0], ""
            self._node_names.add(copy.name)
            self._nodes.append(copy)
        return {output.name: names[output.name] for output in model.graph.output}

    def model(self, outputs: Mapping[str, tuple[str, Shape]], name: str = "auricle") -> Any:
        """The graph as a ModelProto: what the outputs need, and everything in it once.

        Args:
            outputs: name -> the value, and its shape.
            name: of the graph.

        Raises:
            ValueError: the weights are too large for one file.
        """
        nodes, initializers, found = _each_once(self._nodes, self._initializers)
        wanted = {output: found.get(value, value) for output, (value, _) in outputs.items()}
        nodes, initializers = _needed(nodes, initializers, set(wanted.values()))
        refuse_large(sum(_size(tensor) for tensor in initializers))
        nodes += [
            helper.make_node("Identity", [value], [output], name=output) for output, value in wanted.items()
        ]
        graph = helper.make_graph(
            nodes,
            name,
            [_value_info(given, shape) for given, shape in self._inputs.items()],
            [_value_info(output, shape) for output, (_, shape) in outputs.items()],
            initializers,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="auricle")

    def _new(self, name: str, *, number: bool = True) -> str:
        """A name that is not there yet."""
        found, count = name, 1
        while found in self._names or (number and count == 1):
            found, count = f"{name}_{count}", count + 1
        self._names.add(found)
        return found


def refuse_large(size: int) -> None:
    """Refuse weights of so many bytes where one ONNX file cannot hold them.

    >>> refuse_large(3 * 10**9)
    Traceback (most recent call last):
    ValueError: the weights are 3.0 GB, and one ONNX file holds less than 2.1 GB: ...
    """
    if size > LARGEST:
        raise ValueError(
            f"the weights are {size / 1e9:.1f} GB, and one ONNX file holds less than 2.1 GB: export a "
            "narrower network (its argument width), or run this one with torch"
        )


def input_shape(model: Any, name: str) -> tuple[int | str, ...]:
    """The shape of an input; a string is a length that is free.

    >>> input_shape(Assembly({"x": ("batch", 8)}).model({}), "x")
    ('batch', 8)
    """
    (found,) = [given for given in model.graph.input if given.name == name]
    return tuple(axis.dim_param or axis.dim_value for axis in found.type.tensor_type.shape.dim)


def above(model: Any, names: set[str]) -> set[str]:
    """Names of the values that some values are computed from, these among them.

    >>> assembly = Assembly({"x": (1,)})
    >>> sorted(above(assembly.model({"y": (assembly.node("Neg", "x"), (1,))}), {"y"}))
    ['Neg_1', 'x', 'y']
    """
    found = set(names)
    for node in reversed(model.graph.node):  # a graph's nodes stand in an order in which they can be computed
        if found & set(node.output):
            found.update(name for name in node.input if name)
    return found


def _needed(
    nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], values: set[str]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """What some values are computed from, in the same order."""
    needed, kept = set(values), []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1], [tensor for tensor in initializers if tensor.name in needed]


def _each_once(
    nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], dict[str, str]]:
    """Without values that others equal by how they are made, and the names of those instead.

    Members of a family that see the same features, or stand on the same embedder, so share them.
    """
    instead: dict[str, str] = {}
    first: dict[Any, Sequence[str]] = {}
    tensors = []
    for tensor in initializers:
        content = hashlib.sha256(numpy_helper.to_array(tensor).tobytes()).digest()
        same = first.setdefault((tensor.data_type, tuple(tensor.dims), content), [tensor.name])
        if same[0] == tensor.name:
            tensors.append(tensor)
        else:
            instead[tensor.name] = same[0]
    kept = []
    for node in nodes:
        inputs = [instead.get(name, name) for name in node.input]
        attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        key = (node.op_type, node.domain, tuple(inputs), tuple(attributes), len(node.output))
        same = first.setdefault(key, list(node.output))
        if list(same) == list(node.output):
            del node.input[:]
            node.input.extend(inputs)
            kept.append(node)
        else:
            instead.update(zip(node.output, same, strict=True))
    return kept, tensors, instead


def _size(tensor: Any) -> int:
    return (
        int(np.prod(tensor.dims, dtype=np.int64)) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    )


def _value_info(name: str, shape: Shape) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
