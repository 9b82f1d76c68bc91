"""A linear classifier on embeddings as an ONNX graph, written without the onnx package.

Input "embeddings" (batch, T, D), outputs "logits" (batch, K) and "embedding" (batch, T * D), the input as it
came. Logits are such that their sigmoid is the score: of a softmax, log(p / (1 - p)) of its probabilities,
which count as 1e-6 at least and 1 - 1e-6 at most.

An ONNX file is a protobuf message; the numbers of fields are those of onnx.proto3 (ONNX 1.13, IR version 8).
"""

import struct
from collections.abc import Sequence

import numpy as np

OPSET, IR_VERSION = 18, 8
FLOAT, INT64 = 1, 7  # TensorProto.DataType
INT_ATTRIBUTE = 2  # AttributeProto.AttributeType
MOST = 13.81551  # logit of 1 - 1e-6, beyond which no logit of a softmax goes
TINY = 1e-30


def linear_graph(
    weights_DK: np.ndarray, bias_K: np.ndarray, *, softmax: bool, windows: int = 1, hidden: int = 0
) -> bytes:
    """The graph of `embeddings @ weights + bias`, as the bytes of an ONNX file.

    Args:
        weights_DK: (T * D, K + hidden).
        bias_K: (K + hidden,).
        softmax: the columns share one softmax; otherwise each has a sigmoid of its own.
        windows: T, embeddings of an example, which stand one after the other in a row.
        hidden: how many of the last columns take part in the softmax and are no label.

    Raises:
        ValueError: the shapes do not fit each other.

    >>> content = linear_graph(np.zeros((4, 2)), np.zeros(2), softmax=False)
    >>> b"embeddings" in content and b"Gemm" in content and b"Softmax" not in content
    True
    """
    size, columns = np.shape(weights_DK) if np.ndim(weights_DK) == 2 else (0, 0)
    labels = columns - hidden
    if np.shape(bias_K) != (columns,) or labels < 1 or hidden < 0 or not size or size % windows:
        raise ValueError(
            f"expected weights (windows * D, labels + hidden) and as many biases, got {np.shape(weights_DK)} "
            f"and {np.shape(bias_K)} with {windows} windows and {hidden} hidden"
        )
    weights, bias = (np.ascontiguousarray(array, np.float32) for array in (weights_DK, bias_K))
    tensors: dict[str, np.ndarray] = {"row": np.array([-1, size], np.int64), "weights": weights, "bias": bias}
    nodes = [_node("Reshape", ["embeddings", "row"], ["embedding"])]
    if not softmax:
        if hidden:
            raise ValueError("hidden columns are of a softmax; of sigmoids leave them out")
        nodes.append(_node("Gemm", ["embedding", "weights", "bias"], ["logits"]))
    else:
        # The sum of the others' shares: 1 - share would lose all digits where a share is near 1.
        tensors |= {"others": (1 - np.eye(columns, labels)).astype(np.float32)}
        tensors |= {"tiny": np.array(TINY, np.float32), "most": np.array(MOST, np.float32)}
        tensors |= {"least": np.array(-MOST, np.float32), "first": np.array([0], np.int64)}
        tensors |= {"last": np.array([labels], np.int64), "axis": np.array([1], np.int64)}
        nodes += [
            _node("Gemm", ["embedding", "weights", "bias"], ["powers"]),
            _node("Softmax", ["powers"], ["shares"], axis=1),
            _node("Slice", ["shares", "first", "last", "axis"], ["share"]),
            _node("MatMul", ["shares", "others"], ["rest"]),
            _node("Max", ["share", "tiny"], ["share_above"]),
            _node("Max", ["rest", "tiny"], ["rest_above"]),
            _node("Log", ["share_above"], ["log_share"]),
            _node("Log", ["rest_above"], ["log_rest"]),
            _node("Sub", ["log_share", "log_rest"], ["odds"]),
            _node("Clip", ["odds", "least", "most"], ["logits"]),
        ]
    graph = b"".join(_field(1, node) for node in nodes) + _text(2, "linear")
    graph += b"".join(_field(5, _tensor(name, array)) for name, array in tensors.items())
    graph += _field(11, _value("embeddings", ["batch", windows, size // windows]))
    graph += _field(12, _value("logits", ["batch", labels]))
    graph += _field(12, _value("embedding", ["batch", size]))
    return _number(1, IR_VERSION) + _text(2, "auricle") + _field(7, graph) + _field(8, _number(2, OPSET))


def _node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **numbers: int) -> bytes:
    node = b"".join(_text(1, name) for name in inputs) + b"".join(_text(2, name) for name in outputs)
    node += _text(3, f"make {outputs[0]}") + _text(4, kind)
    for name, number in numbers.items():
        node += _field(5, _text(1, name) + _number(3, number) + _number(20, INT_ATTRIBUTE))
    return node


def _tensor(name: str, array: np.ndarray) -> bytes:
    kind = INT64 if array.dtype == np.int64 else FLOAT
    raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return (
        b"".join(_number(1, size) for size in array.shape)
        + _number(2, kind)
        + _text(8, name)
        + _field(9, raw)
    )


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    dims = [_text(2, size) if isinstance(size, str) else _number(1, size) for size in shape]
    described = _number(1, FLOAT) + _field(2, b"".join(_field(1, dim) for dim in dims))
    return _text(1, name) + _field(2, _field(1, described))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return struct.pack(f"{len(parts) + 1}B", *parts, value)
