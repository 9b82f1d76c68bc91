"""What an exported file says of itself to those who use it without auricle, and how it is written."""

import contextlib
import json
from pathlib import Path
from typing import Any

from auricle.artifact import Artifact
from auricle.pooling import pooling_of
from auricle.runners.onnx import fixed_batch
from auricle.thresholds import own_thresholds, thresholds_of


def about(artifact: Artifact) -> dict[str, Any]:
    """What is needed beside a graph, by the names that stand in docs/export.md.

    >>> about(load_artifact("default"))["sample_rate"]  # doctest: +SKIP
    32000
    """
    return {
        "labels": artifact.labels,
        "sample_rate": artifact.rate,
        "window_samples": artifact.window,
        "hop_samples": artifact.hop,
        "batch_size": fixed_batch(artifact) or "",
        "tail": artifact.tail,
        "pooling": pooling_of(artifact),
        "thresholds": own_thresholds(artifact),
        "thresholds_of": thresholds_of(artifact),
        "thresholds_hop_samples": _thresholds_hop(artifact),
        "clip_calibration": (artifact.calibration or {}).get("clips"),
        "calibrated": "yes" if artifact.calibration else "no",
        "model_license": artifact.licence,  # what the ONNX specification calls it
    }


def as_json(value: Any) -> str:
    """Any value of a description as JSON in one line.

    >>> as_json(("Mäh", 1))
    '["Mäh", 1]'
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write_whole(out: Path, content: bytes) -> None:
    """The whole file or none.

    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp()) / "new" / "a.onnx"
    >>> write_whole(out, b"graph")
    >>> [path.name for path in out.parent.iterdir()]
    ['a.onnx']
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.tmp")
    try:
        part.write_bytes(content)
        part.replace(out)
    except OSError as error:  # which names the part, of which nobody knows
        raise type(error)(error.errno, error.strerror, str(out)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _thresholds_hop(artifact: Artifact) -> int | str:
    """Samples from window to window that thresholds for false alarms an hour hold for; "" of others."""
    if thresholds_of(artifact) != "windows":
        return ""
    seconds = artifact.metrics["calibration"].get("goal_hop", artifact.hop / artifact.rate)
    return max(1, round(seconds * artifact.rate))
