"""Runs a published TFLite graph of one window at a time: several interpreters side by side.

Such a graph is fixed at one window, and more threads in one interpreter help it little; an interpreter a
core helps fully. Embeddings are a tensor within the graph. It is made a further output of the graph in
memory, which costs no time, where `experimental_preserve_all_tensors` keeps every tensor and costs some.
"""

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from auricle.runners.cores import usable_cores
from auricle.runners.side_by_side import share_out
from auricle.runners.windows import check_windows

SILENT = 1e-30  # no peak is smaller
SMALLEST = 1e-6  # scores are kept this far from 0 and 1 before their logit is taken


class TfliteRunner:
    """See `auricle.runners.load_runner`.

    The artifact's `architecture` says what the graph gives: {"name": "tflite", "scores": whether its output
    is scores in [0, 1] or logits, "output": its number among the outputs, "embedding": name of the tensor
    that is the embedding, or "" (then the logits are), "peak": what each window's peak is made, its mean
    taken off, or 0.0: windows are left as they are}. Integer inputs and outputs are scaled as the file
    says. A window's answer depends on nothing but the window.
    """

    def __init__(self, artifact: Any, *, threads: int | None = None, batch: int = 16, device: str = "cpu"):
        if device != "cpu":
            raise ValueError(
                f"device is {device!r}; a TFLite model runs on the CPU here: leave the device out"
            )
        self.artifact = artifact
        self.batch = batch  # of the caller's windows; the graph takes one
        self._said = architecture(artifact)
        content = artifact.state_path.read_bytes()
        try:
            self._graphs = [
                Graph(
                    content,
                    window=artifact.window,
                    embedding=self._said["embedding"],
                    output=self._said["output"],
                    peak=self._said["peak"],
                )
                for _ in range(threads or usable_cores())
            ]
        except ValueError as error:
            raise ValueError(f"{artifact.state_path}: {error}") from error
        self._check_sizes()
        self._pool = ThreadPoolExecutor(len(self._graphs), thread_name_prefix="auricle-tflite")

    def run(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, window) float32 -> logits (B, K) and embeddings (B, E), float32, for any B."""
        check_windows(waveforms_BN, self.artifact.window)
        count = len(waveforms_BN)
        outputs_BK = np.empty((count, self.artifact.num_classes), np.float32)
        embeddings_BE = np.empty((count, self.artifact.embedding_size), np.float32)

        def work(graph: Graph, index: int) -> None:
            outputs_BK[index], embedding = graph.run(waveforms_BN[index])
            if embedding is not None:
                embeddings_BE[index] = embedding

        share_out(count, [partial(work, graph) for graph in self._graphs], self._pool)
        logits_BK = logit(outputs_BK) if self._said["scores"] else outputs_BK
        return logits_BK, embeddings_BE if self._said["embedding"] else logits_BK.copy()

    def _check_sizes(self) -> None:
        graph, artifact = self._graphs[0], self.artifact
        sizes = {
            "window": (graph.window, artifact.window),
            "labels": (graph.size, artifact.num_classes),
            "embedding_size": (
                graph.size if graph.embedding_size is None else graph.embedding_size,
                artifact.embedding_size,
            ),
        }
        for name, (found, said) in sizes.items():
            if found != said:
                raise ValueError(
                    f"{artifact.path}: the graph has {found} values for field {name!r} of model.json, which "
                    f"says {said}: they do not belong together"
                )


class Graph:
    """One interpreter of a TFLite file: a window in, its output and embedding out, as float32.

    Args:
        content: the file.
        window: samples, for a graph that takes any number; None takes what the graph says.
        embedding: name of the tensor that is the embedding, or the end of it after a "/"; "" for none.
        output: number of the output among the graph's.
        peak: as of `peaked`.

    Attributes:
        outputs: name and number of values of each of its outputs.

    Raises:
        ValueError: it is no TFLite file, does not take one window, or has no such output or tensor.
        ModuleNotFoundError: ai-edge-litert is not installed; the message says what to install.
    """

    def __init__(
        self,
        content: bytes,
        *,
        window: int | None = None,
        embedding: str = "",
        output: int = 0,
        peak: float = 0.0,
    ):
        interpreter_class = _interpreter_class()
        tensor, as_given, resized = -1, content, False
        options: dict[str, Any] = {"num_threads": 1}
        if embedding:
            try:
                content, tensor = with_output(content, embedding)
            except ModuleNotFoundError:  # the format's description is not in every release of the library
                options["experimental_preserve_all_tensors"] = True
        try:
            with _quiet():
                self._interpreter = interpreter_class(model_content=content, **options)
                free = _free_axis(self._interpreter)
                if free is not None and window is not None:
                    resized = True
                    _resize(self._interpreter, free, window)
                if free is None or window is not None:
                    self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            if resized:  # what the library says of it is of its own insides
                raise ValueError(
                    f"cannot be run on a window of {window} samples; it takes another"
                ) from error
            first = str(error).strip().partition("\n")[0]
            raise ValueError(f"no TFLite graph that can be run here ({first})") from error
        if free is not None and window is None:
            raise ValueError("takes windows of any length; say which, in samples, with --window")
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shapes = [tuple(int(n) for n in detail["shape"]) for detail in inputs]
        if len(inputs) != 1 or sum(n > 1 for n in shapes[0]) != 1:
            raise ValueError(f"expected one input, one window of samples; the graph takes {shapes}")
        declared = outputs[: len(outputs) - (content is not as_given)]
        self.outputs = [(str(detail["name"]), int(np.prod(detail["shape"]))) for detail in declared]
        if not 0 <= output < len(declared):
            raise ValueError(f"output {output}: the graph has outputs 0 to {len(declared) - 1}")
        self._shape, self._peak = shapes[0], peak
        self.window = max(self._shape)
        self._input, self._output = inputs[0]["index"], outputs[output]["index"]
        self._write = quantiser(inputs[0])
        self._read = dequantiser(outputs[output])
        self.size = int(np.prod(outputs[output]["shape"]))
        self._embedding, self.embedding_size = None, None
        if embedding:
            details = {int(d["index"]): d for d in self._interpreter.get_tensor_details()}
            tensor = find_tensor([d["name"] for d in details.values()], embedding) if tensor < 0 else tensor
            self._embedding = tensor
            self._read_embedding = dequantiser(details[tensor])
            self.embedding_size = int(np.prod(details[tensor]["shape"]))

    def run(self, window_N: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(N,) float32 -> output (K,) and embedding (E,), float32; None where no embedding was named."""
        window = peaked(window_N, self._peak).reshape(self._shape)
        self._interpreter.set_tensor(self._input, self._write(window))
        self._interpreter.invoke()
        output = self._read(self._interpreter.get_tensor(self._output)).reshape(-1)
        if self._embedding is None:
            return output, None
        return output, self._read_embedding(self._interpreter.get_tensor(self._embedding)).reshape(-1)


def _free_axis(interpreter: Any) -> int | None:
    """Which axis of the input may have any length: of (batch, samples) the last; None where that is fixed."""
    signature = interpreter.get_input_details()[0].get("shape_signature", ())
    if any(length > 1 for length in signature):
        return None  # the window is said, and the batch alone is free
    free = [axis for axis, length in enumerate(signature) if length < 0]
    return free[-1] if free else None


def _resize(interpreter: Any, axis: int, window: int) -> None:
    detail = interpreter.get_input_details()[0]
    shape = [int(length) for length in detail["shape"]]
    shape[axis] = window
    interpreter.resize_tensor_input(detail["index"], shape)


def architecture(artifact: Any) -> dict[str, Any]:
    """What an artifact says its graph gives, looked at; see `TfliteRunner`."""
    said = {"scores": True, "output": 0, "embedding": "", "peak": 0.0} | artifact.architecture
    kinds: dict[str, type] = {"scores": bool, "output": int, "embedding": str, "peak": float}
    for name, kind in kinds.items():
        if type(said[name]) is not kind:
            raise ValueError(
                f"{artifact.path}/model.json: field 'architecture.{name}': expected {kind.__name__}, "
                f"got {said[name]!r}"
            )
    return said


def logit(scores: np.ndarray) -> np.ndarray:
    """Scores in [0, 1] as logits, float32, kept within what a score of 1e-6 from 0 and 1 gives.

    >>> logit(np.array([0.5, 0.0, 1.0], np.float32)).round(2)
    array([  0.  , -13.82,  13.82], dtype=float32)
    """
    clamped = np.clip(scores.astype(np.float64), SMALLEST, 1 - SMALLEST)
    return np.log(clamped / (1 - clamped)).astype(np.float32)


def peaked(waveforms: np.ndarray, peak: float) -> np.ndarray:
    """Waveforms (..., N) whose mean is taken off and whose peak is made `peak`; 0.0 leaves them as they are.

    Silence stays silent.

    >>> peaked(np.array([1.0, 2.0, 3.0], np.float32), 0.25)
    array([-0.25,  0.  ,  0.25], dtype=float32)
    """
    if not peak:
        return waveforms
    centred = waveforms - waveforms.mean(axis=-1, keepdims=True)
    largest = np.abs(centred).max(axis=-1, keepdims=True)
    return centred * (np.float32(peak) / np.maximum(largest, np.float32(SILENT)))


def quantiser(detail: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """What turns float32 into what a tensor holds, by its own scale and zero point.

    >>> write = quantiser({"name": "x", "dtype": np.int8, "quantization": (0.5, 3)})
    >>> write(np.array([0.0, 1.0, -1.25, 1000.0], np.float32))
    array([  3,   5,   1, 127], dtype=int8)
    """
    dtype, (scale, zero) = np.dtype(detail["dtype"]), detail["quantization"]
    if dtype.kind == "f":
        return lambda x: np.ascontiguousarray(x, dtype=dtype)
    _check_scale(detail, scale)
    limits = np.iinfo(dtype)

    def write(x: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(x / np.float32(scale)) + zero, limits.min, limits.max).astype(dtype)

    return write


def dequantiser(detail: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """What turns the values of a tensor into float32, by its own scale and zero point.

    >>> read = dequantiser({"name": "x", "dtype": np.int8, "quantization": (0.5, 3)})
    >>> read(np.array([3, 5, -128], np.int8))
    array([  0. ,   1. , -65.5], dtype=float32)
    """
    dtype, (scale, zero) = np.dtype(detail["dtype"]), detail["quantization"]
    if dtype.kind == "f":
        return lambda values: values.astype(np.float32)
    _check_scale(detail, scale)
    return lambda values: (values.astype(np.float32) - np.float32(zero)) * np.float32(scale)


def _check_scale(detail: dict[str, Any], scale: float) -> None:
    scales = detail.get("quantization_parameters", {}).get("scales", [scale])
    if np.dtype(detail["dtype"]).kind not in "iu" or not scale or len(scales) > 1:
        raise ValueError(
            f"tensor {detail['name']}: expected floats, or integers with one scale; it holds "
            f"{np.dtype(detail['dtype'])} with {len(scales) if scale else 'no'} scales"
        )


def with_output(content: bytes, name: str) -> tuple[bytes, int]:
    """A TFLite file with one of its tensors as a further, last output; and that tensor's number.

    Raises:
        ValueError: it is no TFLite file, or has no such tensor, or several.
        ModuleNotFoundError: the format's description or flatbuffers is not there.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        raise ValueError("no TFLite file: it does not begin like one")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        graph = model.subgraphs[0]
        names = [tensor.name.decode("utf-8", "replace") for tensor in graph.tensors]
    except Exception as error:  # a damaged file leads its reader anywhere
        raise ValueError(f"damaged: its tensors cannot be read ({type(error).__name__}: {error})") from error
    tensor = find_tensor(names, name)
    graph.outputs = np.array([*graph.outputs, tensor], np.int32)
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output()), tensor


def find_tensor(names: list[str], wanted: str) -> int:
    """Where a tensor stands in a list of names, by its whole name or the end of it after a "/".

    Raises:
        ValueError: none has that name (those like it are listed), or several have.

    >>> find_tensor(["tower/layer1/mean", "tower/layer2/mean"], "layer2/mean")
    1
    """
    found = [k for k, name in enumerate(names) if name == wanted]
    found = found or [k for k, name in enumerate(names) if name.endswith("/" + wanted)]
    if len(found) == 1:
        return found[0]
    part = wanted.rpartition("/")[2].lower()
    like = [names[k] for k in found] or [name for name in names if part in name.lower()] or names[-5:]
    raise ValueError(
        f"{'several tensors are' if found else 'no tensor is'} called {wanted!r}; there are, among others, "
        f"{', '.join(like[-10:])}"
    )


def _interpreter_class() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ai_edge_litert":
            raise
        raise ModuleNotFoundError(
            "a TFLite model needs ai-edge-litert, which is missing: pip install 'auricle[tflite]'",
            name="ai_edge_litert",
        ) from error
    return Interpreter


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the library tells developers: its lines on standard error that begin with INFO.

    Whatever else is written there meanwhile, also by others, comes a moment later.
    """
    with warnings.catch_warnings(), tempfile.TemporaryFile() as kept:
        warnings.simplefilter("ignore")
        try:
            sys.stderr.flush()
            before = os.dup(2)
        except (OSError, AttributeError, ValueError):  # there is no standard error
            yield
            return
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            for line in kept:
                if not line.startswith((b"INFO:", b"W0000", b"I0000")):
                    os.write(2, line)
