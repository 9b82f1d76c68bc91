"""A very small ONNX model for tests: its window is 0.25 s at 8 kHz, its answers depend on every sample."""

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from auricle.artifact import Artifact, encode_check, save_artifact
from auricle.features import FeatureConfig

LABELS = ("dog", "rain", "clock")
RATE, WINDOW = 8000, 2000
CONFIG = FeatureConfig(rate=RATE, window=200, hop=80, fft=256, bands=16, low=60, high=3800)


def graph(*, not_a_number: bool = False, classes: int = len(LABELS)) -> bytes:
    """Waveform -> convolution, relu, mean -> embedding (4) -> linear -> logits."""
    rng = np.random.default_rng(7)
    arrays = {
        "axis1": np.array([1], np.int64),
        "axis2": np.array([2], np.int64),
        "kernel": rng.standard_normal((4, 1, 64)).astype(np.float32),
        "matrix": rng.standard_normal((4, classes)).astype(np.float32) * (np.nan if not_a_number else 1),
        "bias": np.linspace(-1, 0, classes).astype(np.float32),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["waveform", "axis1"], ["x"]),
        helper.make_node("Conv", ["x", "kernel"], ["y"], strides=[16], kernel_shape=[64]),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("ReduceMean", ["z", "axis2"], ["embedding"], keepdims=0),
        helper.make_node("Gemm", ["embedding", "matrix", "bias"], ["logits"]),
    ]
    inputs = [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"])]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes]),
        helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 4]),
    ]
    weights = [numpy_helper.from_array(array.astype(array.dtype), name) for name, array in arrays.items()]
    body = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def check_vector(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    waveform = np.random.default_rng(3).uniform(-0.5, 0.5, (1, WINDOW)).astype(np.float32)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return waveform, session.run(["logits"], {"waveform": waveform})[0]


def save(path: Path, **fields: Any) -> Artifact:
    """The model's folder; `fields` change its description."""
    content = fields.pop("content", None) or graph()
    return save_artifact(
        path,
        onnx=content,
        check=fields.pop("check", None) or check_vector(content),
        **(description() | fields),
    )


def save_file(path: Path) -> Path:
    """The model as one .onnx file with its description inside."""
    content = graph()
    model = onnx.load_from_string(content)
    described = description() | {"format": 1, "name": "tiny", "backend": "onnx"}
    check = base64.b64encode(encode_check(*check_vector(content))).decode()
    helper.set_model_props(model, {"auricle": json.dumps(described), "auricle.check": check})
    onnx.save(model, path)
    return path


def description() -> dict[str, Any]:
    return {
        "inputs": [{"kind": "logmel", "rate": RATE, "features": dataclasses.asdict(CONFIG)}],
        "labels": list(LABELS),
        "window": WINDOW,
        "hop": WINDOW,
        "tail": "drop",
        "embedding_size": 4,
        "licence": "CC0-1.0",
    }
