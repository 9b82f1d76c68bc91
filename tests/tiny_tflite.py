"""A very small TFLite file for tests: window -> relu(first x) is the embedding -> scores; floats or int8."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

WINDOW, SIZE, CLASSES, RATE = 400, 8, 3, 8000
EMBEDDING = "tower/layer1/mean"
LABELS = ["dog", "rain", "clock"]
# Scale and zero point of what the integer graph takes and gives.
INPUT, HIDDEN, LOGITS, SCORES = (1 / 127, -1), (0.05, -128), (0.1, 5), (1 / 256, -128)


def weights() -> tuple[np.ndarray, np.ndarray]:
    """(SIZE, WINDOW) and (CLASSES, SIZE) int8; real values are a hundredth."""
    rng = np.random.default_rng(11)
    return (
        rng.integers(-100, 101, (SIZE, WINDOW)).astype(np.int8),
        rng.integers(-100, 101, (CLASSES, SIZE)).astype(np.int8),
    )


def content(*, integer: bool = False, logits: bool = False, free_length: bool = False) -> bytes:
    """The file: its input and outputs int8 where `integer`; gives logits in place of scores where asked."""
    first, second = weights()
    file = schema.ModelT()
    file.version, file.description = 3, "tiny"
    file.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.name, graph.tensors = "main", []

    def tensor(name: str, shape: list[int], scale: tuple[float, int] | None, data: np.ndarray | None) -> int:
        t = schema.TensorT()
        t.name, t.shape, t.buffer = name, np.array(shape, np.int32), 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            file.buffers.append(buffer)
            t.buffer = len(file.buffers) - 1
        t.type = schema.TensorType.FLOAT32
        if integer and scale is not None:
            t.type = schema.TensorType.INT32 if name.endswith("bias") else schema.TensorType.INT8
            t.quantization = schema.QuantizationParametersT()
            t.quantization.scale = np.array([scale[0]], np.float32)
            t.quantization.zeroPoint = np.array([scale[1]], np.int64)
        graph.tensors.append(t)
        return len(graph.tensors) - 1

    def constant(name: str, array: np.ndarray) -> int:
        data = array if integer else array.astype(np.float32) / 100
        return tensor(name, list(array.shape), (0.01, 0), data)

    def bias(name: str, size: int, scale: float) -> int:
        return tensor(name, [size], (scale * 0.01, 0), np.zeros(size, np.int32 if integer else np.float32))

    x = tensor("waveform", [1, WINDOW], INPUT, None)
    if free_length:
        graph.tensors[x].shapeSignature = np.array([1, -1], np.int32)
        graph.tensors[x].shape = np.array([1, 1], np.int32)
    a, a_bias = constant("first", first), bias("first_bias", SIZE, INPUT[0])
    y = tensor(EMBEDDING, [1, SIZE], HIDDEN, None)
    b, b_bias = constant("second", second), bias("second_bias", CLASSES, HIDDEN[0])
    z = tensor("logits", [1, CLASSES], LOGITS, None)
    s = tensor("scores", [1, CLASSES], SCORES, None)
    file.operatorCodes, graph.operators = [], []

    def operator(
        kind: int, inputs: list[int], output: int, options: object | None, options_type: int
    ) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 4 if integer and options else 1
        file.operatorCodes.append(code)
        op = schema.OperatorT()
        op.opcodeIndex = len(file.operatorCodes) - 1
        op.inputs, op.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        op.builtinOptions, op.builtinOptionsType = options, options_type
        graph.operators.append(op)

    def fully_connected(inputs: list[int], output: int, activation: int) -> None:
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = activation
        kind = schema.BuiltinOperator.FULLY_CONNECTED
        operator(kind, inputs, output, options, schema.BuiltinOptions.FullyConnectedOptions)

    fully_connected([x, a, a_bias], y, schema.ActivationFunctionType.RELU)
    fully_connected([y, b, b_bias], z, schema.ActivationFunctionType.NONE)
    if not logits:
        operator(schema.BuiltinOperator.LOGISTIC, [z], s, None, 0)
    graph.inputs, graph.outputs = np.array([x], np.int32), np.array([z if logits else s], np.int32)
    file.subgraphs = [graph]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(file.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def by_hand(waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits and embeddings of the float graph, in float64."""
    first, second = (array.astype(np.float64) / 100 for array in weights())
    hidden = np.maximum(waveforms.astype(np.float64) @ first.T, 0)
    return hidden @ second.T, hidden
