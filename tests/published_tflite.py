"""TFLite files in the layouts of published taggers, for tests: window -> 8 values -> each of its outputs."""

import io
import zipfile
from collections.abc import Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

HIDDEN = 8


def weights(window: int, sizes: Sequence[int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """(window, HIDDEN), and (HIDDEN, size) for each output, so that all outputs are some units around 0."""
    rng = np.random.default_rng(window)
    first = rng.standard_normal((window, HIDDEN)) * (4 / np.sqrt(window))
    return first.astype(np.float32), [
        rng.standard_normal((HIDDEN, size)).astype(np.float32) for size in sizes
    ]


def by_hand(waveforms: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Each output (B, size), in float64."""
    first, others = weights(waveforms.shape[1], sizes)
    hidden = np.maximum(waveforms.astype(np.float64) @ first.astype(np.float64), 0)
    return [hidden @ other for other in others]


def content(
    window: int,
    tensors: Sequence[tuple[str, int]],
    *,
    outputs: Sequence[int],
    rate: int = 0,
    labels: Sequence[str] = (),
    signature: Sequence[int] = (),
    scores: bool = False,
) -> bytes:
    """A file.

    Args:
        window: samples.
        tensors: name and size of what is computed of a window.
        outputs: which of these are outputs.
        rate: of the metadata; 0: there are none.
        labels: of the last output, in a list behind the graph that the metadata name.
        signature: of the input's shape, with -1 where any length will do; (): there is none.
        scores: the last output is the sigmoid of what is computed.
    """
    first, others = weights(window, [size for _, size in tensors])
    file = schema.ModelT()
    file.version, file.description, file.buffers = 3, "published", [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = "main", [], []
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 1
    file.operatorCodes = [code]

    def buffer(data: bytes) -> int:
        made = schema.BufferT()
        made.data = np.frombuffer(data, np.uint8)
        file.buffers.append(made)
        return len(file.buffers) - 1

    def tensor(name: str, array: np.ndarray | tuple[int, int]) -> int:
        made = schema.TensorT()
        shape = array.shape if isinstance(array, np.ndarray) else array
        made.name, made.shape, made.type = name, np.array(shape, np.int32), schema.TensorType.FLOAT32
        made.buffer = buffer(np.ascontiguousarray(array).tobytes()) if isinstance(array, np.ndarray) else 0
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def connect(taken: int, matrix: np.ndarray, name: str, activation: int) -> int:
        given = tensor(name, (1, matrix.shape[1]))
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = activation
        made = schema.OperatorT()
        bias = tensor(f"{name}/bias", np.zeros(matrix.shape[1], np.float32))
        made.inputs = np.array([taken, tensor(f"{name}/weights", matrix.T), bias], np.int32)
        made.outputs = np.array([given], np.int32)
        made.builtinOptions = options
        made.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        graph.operators.append(made)
        return given

    kinds = schema.ActivationFunctionType
    taken = tensor("waveform", (1, window))
    if signature:
        graph.tensors[taken].shapeSignature = np.array(signature, np.int32)
    hidden = connect(taken, first, "hidden", kinds.RELU)
    made = [
        connect(hidden, matrix, name, kinds.NONE) for (name, _), matrix in zip(tensors, others, strict=True)
    ]
    if scores:
        logistic = schema.OperatorCodeT()
        logistic.builtinCode = logistic.deprecatedBuiltinCode = schema.BuiltinOperator.LOGISTIC
        logistic.version = 1
        file.operatorCodes.append(logistic)
        step = schema.OperatorT()
        step.opcodeIndex, step.inputs = 1, np.array([made[-1]], np.int32)
        made[-1] = tensor("scores", (1, tensors[-1][1]))
        step.outputs = np.array([made[-1]], np.int32)
        graph.operators.append(step)
    graph.inputs = np.array([taken], np.int32)
    graph.outputs = np.array([made[place] for place in outputs], np.int32)
    file.subgraphs = [graph]
    if rate:
        entry = schema.MetadataT()
        entry.name, entry.buffer = "TFLITE_METADATA", buffer(_metadata(rate, len(outputs), bool(labels)))
        file.metadata = [entry]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(file.Pack(builder), file_identifier=b"TFL3")
    packed = io.BytesIO(bytes(builder.Output()))
    if labels:
        packed.seek(0, io.SEEK_END)
        with zipfile.ZipFile(packed, "a") as behind:
            behind.writestr("labels.txt", "\n".join(labels))
    return packed.getvalue()


def _metadata(rate: int, outputs: int, labels: bool) -> bytes:
    """ModelMetadata of the schema M001: rate of the input's sound, and the last output's list of labels."""
    builder = flatbuffers.Builder(1024)

    def table(size: int, fields: dict[int, int], numbers: dict[int, int] | None = None) -> int:
        builder.StartObject(size)
        for place, offset in fields.items():
            builder.PrependUOffsetTRelativeSlot(place, offset, 0)
        for place, number in (numbers or {}).items():
            builder.PrependUint32Slot(place, number, 0)
        return builder.EndObject()

    def vector(offsets: Sequence[int]) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    audio = table(2, {}, {0: rate, 1: 1})
    builder.StartObject(3)
    builder.PrependUOffsetTRelativeSlot(1, audio, 0)
    builder.PrependUint8Slot(0, 4, 0)
    about = builder.EndObject()
    sound = table(7, {0: builder.CreateString("sound"), 3: about})
    lists = vector([table(6, {0: builder.CreateString("labels.txt")})])
    given = []
    for number in range(outputs):
        fields = {0: builder.CreateString(f"said {number}")}
        given.append(table(7, fields | ({6: lists} if labels and number == outputs - 1 else {})))
    graph = table(9, {2: vector([sound]), 3: vector(given)})
    model = table(8, {0: builder.CreateString("published"), 3: vector([graph])})
    builder.Finish(model, file_identifier=b"M001")
    return bytes(builder.Output())
