"""Turns recordings into tags."""

import os

__version__ = "0.1.0"

# ONNX Runtime notes which models are run, in ~/.cache/Microsoft, and can send that away. Not from here.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
