"""Whether a graph answers as it should, on sounds that are made up."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

TOLERANCE = 1e-4  # of a logit, against torch with the Fourier front end
# Of the largest value: of logits beyond 10, and of embeddings, which have no scale of their own.
RELATIVE = {"logits": 1e-5, "embedding": 1e-4, "embeddings": 1e-4}


def compare(
    ours: Any,
    theirs: Any,
    where: Path,
    *,
    step: float = 0.0,
    names: Sequence[str] = ("logits", "embedding"),
    whose: str = "torch's",
) -> None:
    """Refuse outputs that differ by more than rounding does, or by `step`, if that is more.

    >>> compare([np.zeros(1)], [np.ones(1)], Path("model"), names=["logits"])
    Traceback (most recent call last):
    ValueError: model: the exported graph's logits differ from torch's by 1 for a batch of 1; ...
    """
    for name, found, expected in zip(names, ours, theirs, strict=True):
        same_shape = found.shape == expected.shape
        difference = float(np.abs(found - expected).max(initial=0)) if same_shape else np.inf
        allowed = max(TOLERANCE, step, RELATIVE[name] * float(np.abs(expected).max(initial=0)))
        if not difference <= allowed:
            raise ValueError(
                f"{where}: the exported graph's {name} differ from {whose} by {difference:.2g} for a batch "
                f"of {len(expected)}; expected at most {allowed:g}; nothing was written"
            )


def open_session(content: bytes, threads: int = 0) -> Any:
    """An onnxruntime session of a graph, on the CPU, that prints errors only.

    >>> open_session(Path("model.onnx").read_bytes()).get_inputs()[0].name  # doctest: +SKIP
    'waveform'
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def noise(batch: int, samples: int) -> np.ndarray:
    """(batch, samples) float32 in [-1, 1], some loud, some hardly there.

    >>> noise(2, 8).shape
    (2, 8)
    """
    rng = np.random.default_rng(samples)
    level = 10.0 ** rng.uniform(-3, 0, (batch, 1))
    return (level * rng.standard_normal((batch, samples))).clip(-1, 1).astype(np.float32)
