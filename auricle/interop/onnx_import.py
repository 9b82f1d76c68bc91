"""Published ONNX taggers become artifacts like any other.

The graph is kept and put between a few operators of ours, so that the runner finds what it finds in every
ONNX model: waveform (batch, samples) in, logits and embedding out.
"""

import ast
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import version_converter

from auricle.artifact import METADATA_KEY, Artifact, save_artifact
from auricle.interop.given import (
    check_waveforms,
    choose_output,
    labels_for,
    origin,
    refuse_far_hop,
    refuse_missing,
    refuse_other_count,
    refuse_other_outputs,
    refuse_other_rate,
    refuse_text,
    refuse_twice,
)
from auricle.interop.onnx_around import TYPES, Around, Layout, put_around, value_names
from auricle.interop.onnx_compare import open_session
from auricle.interop.onnx_graph import OPSET, refuse_large
from auricle.runners.tflite import find_tensor, logit, peaked
from auricle.runners.windows import sigmoid

# Where files keep these things in their metadata; there is no standard.
RATE_KEYS = ("sample_rate", "sampling_rate", "samplerate")
LOOSE_RATE_KEYS = (*RATE_KEYS, "rate")  # the last may mean another rate, so what is given goes before it
WINDOW_KEYS = ("window", "window_samples", "input_samples", "num_samples")
LABEL_KEYS = ("labels", "class_names", "classes", "names")
LOGIT_TOLERANCE, SCORE_TOLERANCE = 1e-3, 1e-2  # of the check; logits of scores near 0 and 1 move most
AGREE = 1e-3  # relative and absolute: what one window may differ in beside others, and in our graph


def import_onnx(
    file: str | Path,
    out: str | Path,
    *,
    rate: int | None = None,
    labels: str | Path | Sequence[str] | None = None,
    window: int | None = None,
    hop: int | None = None,
    scores: bool = True,
    output: int | str = "",
    embedding: str = "",
    peak: float = 0.0,
    **fields: Any,
) -> Artifact:
    """Make an artifact of an ONNX file that takes windows of a waveform and gives scores or logits.

    It takes (batch, samples), (samples,) or (batch, 1, samples), of a fixed number of windows and samples or
    of any. What was not given is taken from the input's shape and the file's metadata.

    Args:
        file: the .onnx file; weights that lie beside it are taken in.
        out: the new folder.
        rate: samples a second of the waveforms it takes; where the file says it no other is taken.
        labels: the names in the order of the outputs, or a file of them, see `read_labels`.
        window: samples scored at once, where the graph takes any number.
        hop: samples from window to window; None is the window.
        scores: the output is scores in [0, 1], of which the logits are taken; False: it is logits.
        output: which of the outputs, by name or number; empty: the only one with as many values as labels.
        embedding: an output, or a value within the graph, that is the embedding; empty: the model then gives
            its logits as embedding.
        peak: what the peak of each window is made after its mean is taken off, as some graphs expect it; 0.0
            leaves windows as they are.
        **fields: further fields of `Artifact` (name, licence, notes).

    Raises:
        ValueError: the file is no such graph, says too little of itself, the labels are not as many as its
            outputs, or its outputs are not what was declared. One line, which names the file.
        ModuleNotFoundError: onnx is not installed.

    >>> saved = import_onnx("perch_v2.onnx", "perch", rate=32000, labels="labels.csv", scores=False,
    ...                     embedding="embedding", peak=0.25)  # doctest: +SKIP
    >>> saved.window, saved.embedding_size  # doctest: +SKIP
    (160000, 1536)
    """
    path = Path(file)
    model = _load(path)
    said = _metadata(path, model)
    layout = _layout(path, model)
    labels = labels if labels is not None else _labels(said)
    try:
        refuse_other_rate(_number(said, RATE_KEYS), rate)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    rate = rate or _number(said, LOOSE_RATE_KEYS)
    if layout.window and window not in (None, layout.window):
        raise ValueError(
            f"{path}: takes windows of {layout.window} samples, not {window}; leave --window out"
        )
    samples = layout.window or window or _number(said, WINDOW_KEYS)
    refuse_missing(
        path,
        {
            "rate": (bool(rate), "--rate"),
            "list of labels": (labels is not None, "--labels"),
            "length of a window": (bool(samples), "--window"),
        },
    )
    assert rate and samples and labels is not None
    waveforms = check_waveforms(samples, rate)
    given = _Original(path, model, layout, embedding)
    found = given.run(peaked(waveforms, peak))
    sizes = [found[name].shape[1] for name in given.outputs]
    names = labels_for(labels, sizes)
    refuse_twice(names, path)
    try:
        number = choose_output(list(zip(given.outputs, sizes, strict=True)), output, len(names))
        refuse_other_count(sizes[number], len(names))
        refuse_far_hop(hop or 0, samples)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    chosen = given.outputs[number]
    refuse_other_outputs(path, found[chosen], scores)
    expected = logit(found[chosen]) if scores else found[chosen]
    embeddings = found.get(given.embedding, expected)
    around = Around(
        layout=layout,
        window=samples,
        output=chosen,
        embedding=given.embedding,
        scores=scores,
        peak=peak,
        sizes=(len(names), embeddings.shape[1]),
    )
    content, batch, logits = _put_around(path, model, around, waveforms, (expected, embeddings))
    return save_artifact(
        out,
        onnx=content,
        check=(waveforms, logits),
        architecture={"name": "onnx"} | ({"batch": batch} if batch else {}),
        inputs=[{"kind": "waveform", "rate": rate}],
        labels=names,
        window=samples,
        hop=samples if hop is None else hop,
        tail="align",
        embedding_size=embeddings.shape[1],
        training=origin(path),
        **{"tolerance": SCORE_TOLERANCE if scores else LOGIT_TOLERANCE, **fields},
    )


def _load(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    refuse_text(path)
    try:
        model = onnx.load(str(path))
    except Exception as error:  # of protobuf, of files beside it that are not there, of the reader
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path}: not an ONNX model that can be read ({reason})") from error
    if not model.graph.node:
        raise ValueError(f"{path}: not an ONNX model: it has no graph")
    refuse_large(model.ByteSize())
    return model


def _metadata(path: Path, model: Any) -> dict[str, str]:
    """What the file says of itself, keys in one form."""
    found = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY in found:
        raise ValueError(f"{path}: auricle exported it, so it is a model as it is: use it by --model {path}")
    return {key.lower().replace("-", "_").replace(" ", "_"): value for key, value in found.items()}


def _number(said: dict[str, str], keys: Sequence[str]) -> int:
    """A positive whole number under one of some keys; 0 where there is none."""
    for key in keys:
        try:
            value = float(said.get(key, ""))
        except ValueError:
            continue
        if value >= 1 and value.is_integer():
            return int(value)
    return 0


def _labels(said: dict[str, str]) -> list[str] | None:
    """Labels of the metadata: a list, or number -> name, as JSON or as Python prints it; or lines."""
    for key in LABEL_KEYS:
        text = said.get(key, "").strip()
        if not text:
            continue
        value: Any = None
        for read in (json.loads, ast.literal_eval):
            try:
                value = read(text)
                break
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
        if isinstance(value, dict):
            try:
                numbered = {int(number): str(name).strip() for number, name in value.items()}
            except ValueError:
                continue
            if sorted(numbered) == list(range(len(value))):
                return [numbered[number] for number in range(len(value))]
        elif isinstance(value, list | tuple):
            return [str(name).strip() for name in value]
        elif "\n" in text:
            return [line.strip() for line in text.splitlines() if line.strip()]
    return None


def _layout(path: Path, model: Any) -> Layout:
    """How the graph takes windows."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {given.name: given for given in graph.input if given.name not in constants}
    if len(inputs) != 1:
        raise ValueError(
            f"{path}: takes {', '.join(inputs) or 'nothing'}; expected one input, a waveform: what others "
            "need is not known here"
        )
    (name,) = inputs
    tensor = inputs[name].type.tensor_type
    shape = [axis.dim_value if axis.HasField("dim_value") else 0 for axis in tensor.shape.dim]
    if tensor.elem_type not in TYPES:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise ValueError(f"{path}: input {name!r} is of {kind}; expected floats")
    middle = len(shape) != 3 or shape[1] in (0, 1)
    if len(shape) not in (1, 2, 3) or not middle or shape[-1] == 1:
        seen = ", ".join(str(length or "?") for length in shape)
        raise ValueError(
            f"{path}: input {name!r} has the shape ({seen}); expected a waveform: (samples), "
            "(batch, samples) or (batch, 1, samples)"
        )
    batch = 1 if len(shape) == 1 else shape[0]
    return Layout(input=name, rank=len(shape), batch=batch, window=shape[-1], dtype=TYPES[tensor.elem_type])


class _Original:
    """The graph as it came, one window after the other.

    `outputs` are the names of its outputs, `embedding` that of the value that was asked for.
    """

    def __init__(self, path: Path, model: Any, layout: Layout, embedding: str):
        self._path, self._layout = path, layout
        self.outputs = [output.name for output in model.graph.output]
        opened = onnx.ModelProto()
        opened.CopyFrom(model)
        self.embedding = ""
        if embedding:
            names = list(dict.fromkeys([*self.outputs, *value_names(model.graph)]))
            try:
                self.embedding = names[find_tensor(names, embedding)]
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
            if self.embedding not in self.outputs:
                opened.graph.output.append(onnx.ValueInfoProto(name=self.embedding))
        try:
            self._session = open_session(opened.SerializeToString())
        except Exception as error:  # onnxruntime has no common class for what it raises
            raise ValueError(f"{path}: onnxruntime cannot load it: {_first_line(error)}") from error

    def run(self, waveforms_BN: np.ndarray) -> dict[str, np.ndarray]:
        """Name of an output -> (B, size) float32."""
        names = list(dict.fromkeys([*self.outputs, *filter(None, [self.embedding])]))
        count = max(self._layout.batch, 1)
        rows: list[list[np.ndarray]] = []
        for waveform in waveforms_BN:
            batch = np.zeros((count, len(waveform)), np.float32)
            batch[0] = waveform
            try:
                found = self._session.run(names, {self._layout.input: self._layout.shaped(batch)})
            except Exception as error:
                samples = len(waveform)
                raise ValueError(
                    f"{self._path}: cannot be run on a window of {samples} samples: {_first_line(error)}"
                ) from error
            rows.append([np.asarray(array, np.float32).reshape(count, -1)[0] for array in found])
        return {name: np.stack(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def _put_around(
    path: Path, model: Any, around: Around, waveforms: np.ndarray, expected: tuple[np.ndarray, np.ndarray]
) -> tuple[bytes, int, np.ndarray]:
    """The graph with ours around it, how many windows it takes at once (0: any number), and its logits.

    A graph whose batch is free by name only, and which does not give each window its own answer, is fixed at
    one window.
    """
    batch = around.layout.batch
    reason = ""
    sources = [source for source in (_translated(model), model) if source is not None]
    for size, source in itertools.product([batch] if batch else [0, 1], sources):
        try:
            content = put_around(source, around, size).SerializeToString()
            session = open_session(content)
            count = size or len(waveforms)
            found: list[list[np.ndarray]] = []
            for start in range(0, len(waveforms), count):
                part = np.zeros((count, waveforms.shape[1]), np.float32)
                part[: len(waveforms) - start] = waveforms[start : start + count]
                found.append(session.run(["logits", "embedding"], {"waveform": part}))
        except Exception as error:  # of onnxruntime, which has no common class for it
            reason = _first_line(error)
            continue
        logits, embeddings = (np.concatenate(rows)[: len(waveforms)] for rows in zip(*found, strict=True))
        if _same(logits, expected[0], around.scores) and (
            not around.embedding or _same(embeddings, expected[1], False)
        ):
            return content, size, logits
        reason = "it answers differently within ours"
    raise ValueError(f"{path}: cannot be used: {reason}")


def _translated(model: Any) -> Any | None:
    """The graph in the operators that auricle exports, so that it can be part of a larger one; else None."""
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if set(opsets) - {"", "ai.onnx"} or opsets.get("", OPSET) == OPSET or len(model.functions):
        return None
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception:  # of a translator that does not know every operator; the graph is then used as it is
        return None


def _same(found: np.ndarray, expected: np.ndarray, scores: bool) -> bool:
    if scores:
        return bool(np.allclose(sigmoid(found), sigmoid(expected), atol=AGREE))
    largest = max(1.0, float(np.abs(expected).max(initial=0)))
    return bool(np.allclose(found, expected, rtol=AGREE, atol=AGREE * largest))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
