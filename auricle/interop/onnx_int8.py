"""Layers in 8 bits: a graph computed faster on most processors, for a loss that is measured.

Weights are rounded to 8 bits for each output channel, what goes between layers to 8 bits for each layer, in
the range it was seen to have. The front end, the gates and the scores stay float32.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import soxr

from auricle.evaluation.scoring import check_rate
from auricle.interop.hushed import hushed
from auricle.interop.onnx_compare import open_session
from auricle.interop.onnx_graph import above, input_shape
from auricle.interop.onnx_joins import RESAMPLER
from auricle.probabilities import to_scores
from auricle.shards import Pack

LAYERS = ("Conv", "Gemm", "MatMul")
BETWEEN = ("Add", "AveragePool", "Concat", "MaxPool", "Relu")  # cheap in 8 bits where their layers are
SEEN = 128  # windows of a pack that say which numbers the layers meet; and as many others that say the loss
BATCH = 4
LEVELS = (1.0, 0.3, 0.1)  # at which the check's waveforms are heard where there is no pack


def quantized(artifact: Any, model: Any, data: str | Path | None) -> tuple[Any, dict[str, Any], np.ndarray]:
    """A graph in 8 bits, what that costs, and the logits that it gives of the model's check.

    Args:
        artifact: whose graph it is.
        model: ModelProto, waveform -> logits, scores, embedding.
        data: a pack; None takes the waveforms of the check, to see and to measure.

    Returns:
        ModelProto; {"on", "windows", "score_difference" and "logit_difference" (largest),
        "mean_score_difference", "same_first_label" (share of windows)}; (B, K) logits.

    Raises:
        ValueError: the pack's rate is below the model's, or there is nothing in it.

    >>> quantized(artifact, model, "out/pack")[1]["same_first_label"]  # doctest: +SKIP
    0.992
    """
    check = artifact.read_check()[0]
    if data is None:
        on, heard = "its check, whose sound was also used to choose the ranges", check
        seen = np.concatenate([level * part for level in LEVELS for part in (check, check[:, ::-1])])
    else:
        pack = Pack(data)
        check_rate(artifact, pack)
        windows = _windows(artifact, pack)
        on, seen, heard = str(Path(data).name), windows[::2], windows[1::2]
    small = _rounded(model, seen)
    before, after = (_answers(each, heard) for each in (model, small))
    loss = _difference(artifact, before, after) | {"on": on, "windows": len(heard)}
    return small, loss, _answers(small, check)


def _windows(artifact: Any, pack: Pack) -> np.ndarray:
    """The first window of clips all over the pack, (C, window) float32."""
    if len(pack) < 2:
        raise ValueError(f"{pack.path}: {len(pack)} clips; expected some hundreds, at least two")
    clips = np.unique(np.linspace(0, len(pack) - 1, min(len(pack), 2 * SEEN)).astype(np.int64))
    windows = np.zeros((len(clips), artifact.window), np.float32)
    for row, clip in zip(windows, clips, strict=True):
        samples = np.asarray(pack.samples(int(clip)), np.float32) / 32768
        if pack.rate != artifact.rate:
            samples = soxr.resample(samples, pack.rate, artifact.rate, quality="HQ")
        row[: len(samples)] = samples[: artifact.window]
    return windows


def _rounded(model: Any, seen: np.ndarray) -> Any:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(prefix="auricle-int8-") as folder, hushed():
        path = Path(folder) / "model.onnx"
        quantize_static(
            _with_plain_pools(model),  # a copy: what it is given, it empties
            str(path),
            _Reader(seen, _batch_of(model)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*LAYERS, *BETWEEN],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_left_alone(model),
        )
        return onnx.load(str(path))


def _with_plain_pools(model: Any) -> Any:
    """A copy whose average pools without padding do not say that padding counts.

    It means nothing for them, but in 8 bits onnxruntime (1.31) then divides by four also where a pool that
    rounds sizes up has two values or one: on the bundled model that was three quarters of the loss.
    """
    copy = onnx.load_from_string(model.SerializeToString())
    for node in copy.graph.node:
        settings = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        if node.op_type == "AveragePool" and not any(settings.get("pads", ())):
            kept = [entry for entry in node.attribute if entry.name != "count_include_pad"]
            del node.attribute[:]
            node.attribute.extend(kept)
    return copy


class _Reader:
    """Batches of windows, as onnxruntime's calibration asks for them."""

    def __init__(self, windows: np.ndarray, size: int):
        self._batches = iter([{"waveform": part} for part, _ in _batches(windows, size)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """See onnxruntime.quantization.CalibrationDataReader."""
        return next(self._batches, None)


def _left_alone(model: Any) -> list[str]:
    """Names of the nodes that stay float32: front ends, resamplers, last layers and what follows these.

    A front end is what is above a logarithm that has layers below it; a last layer has no other below it.
    """
    nodes = list(model.graph.node)
    layers = [node for node in nodes if node.op_type in LAYERS]
    before_layers = above(model, {name for node in layers for name in node.input})
    front = above(
        model, {name for node in nodes if node.op_type == "Log" for name in node.output} & before_layers
    )
    front |= {name for node in nodes if RESAMPLER in node.name for name in node.output}
    own = [node for node in layers if not front & set(node.output)]
    inner = [node for node in own if before_layers & set(node.output)] or own
    inside = above(model, {name for node in inner for name in node.output})
    return sorted(node.name for node in nodes if front & set(node.output) or not inside & set(node.output))


def _answers(model: Any, waveforms: np.ndarray) -> np.ndarray:
    session = open_session(model.SerializeToString())
    parts = [
        session.run(["logits"], {"waveform": part})[0][:count]
        for part, count in _batches(waveforms, _batch_of(model))
    ]
    return np.concatenate(parts)


def _batch_of(model: Any) -> int:
    """How many windows a graph is given at once: as many as it takes; 0 where it takes any number."""
    many = input_shape(model, "waveform")[0]
    return many if isinstance(many, int) else 0


def _batches(windows: np.ndarray, fixed: int) -> Iterator[tuple[np.ndarray, int]]:
    """Windows by the batch, and how many are in it: of a graph of a fixed batch silence fills the last."""
    size = fixed or BATCH
    for start in range(0, len(windows), size):
        part = windows[start : start + size]
        count = len(part)
        if fixed > count:
            part = np.concatenate([part, np.zeros((fixed - count, *part.shape[1:]), np.float32)])
        yield part, count


def _difference(artifact: Any, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    scores = [to_scores(artifact)(logits) for logits in (before, after)]
    apart = np.abs(scores[0] - scores[1])
    first = [each.argmax(1) for each in scores]
    return {
        "score_difference": float(apart.max()),
        "mean_score_difference": float(apart.mean()),
        "logit_difference": float(np.abs(before - after).max()),
        "same_first_label": float((first[0] == first[1]).mean()),
    }
