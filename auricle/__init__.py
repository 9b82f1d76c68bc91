"""Turns recordings into tags."""

import os

__version__ = "0.1.0"

# ONNX Runtime 1.31 notes in ~/.cache/Microsoft which models are run, and sends that away; here nothing is sent.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
