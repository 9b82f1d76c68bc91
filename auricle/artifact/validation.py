"""What a model's description must be: every message names the field, what came and what was expected."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact.checksum import CHECKSUM
from auricle.features import LATER, FeatureConfig

FORMAT = 1
STATE_FILES = {"onnx": "model.onnx", "torch": "weights.safetensors", "tflite": "model.tflite"}
OTHER_FILES = ("model.json", "check.safetensors", "README.md")
EMBEDDER = "embedder"  # the sub-folder
INPUT_KINDS = ("logmel", "waveform", "embedding")


def validate(artifact: Any) -> None:
    """Refuse a field that is wrong, with a ValueError that names it."""

    def expect(ok: bool, name: str, expected: str) -> None:
        if not ok:
            got = repr(getattr(artifact, name))
            raise ValueError(f"field {name!r}: expected {expected}, got {got[:80]}")

    labels = artifact.labels
    for name in ("window", "hop", "embedding_size"):
        expect(_is_count(getattr(artifact, name)), name, "a positive integer")
    for name in ("name", "licence", "notes"):
        expect(isinstance(getattr(artifact, name), str), name, "text")
    for name in ("architecture", "training", "metrics"):
        expect(isinstance(getattr(artifact, name), dict), name, "an object")
    for name in ("calibration", "events"):
        expect(isinstance(getattr(artifact, name), dict | None), name, "an object or null")
    expect(artifact.backend in STATE_FILES, "backend", f"one of {', '.join(STATE_FILES)}")
    expect(artifact.tail in ("drop", "align"), "tail", '"drop" or "align"')
    expect(artifact.format == FORMAT, "format", str(FORMAT))
    texts = isinstance(labels, tuple) and all(isinstance(label, str) for label in labels)
    expect(texts, "labels", "a list of names, empty for a model that embeds only")
    twice = (
        sorted({label for label in labels if labels.count(label) > 1})
        if len(set(labels)) < len(labels)
        else []
    )
    if twice:
        raise ValueError(
            f"field 'labels': {twice[0]!r} stands there twice; every output needs a name of its own"
        )
    whole = isinstance(artifact.checksum, str) and CHECKSUM.fullmatch(artifact.checksum)
    expect(bool(whole), "checksum", "three SHA-256 in hexadecimal, or nothing")
    tolerance = artifact.tolerance
    expect(isinstance(tolerance, (int, float)) and 0 < tolerance <= 1, "tolerance", "a number in (0, 1]")
    for name in ("parents", "thresholds"):
        value = getattr(artifact, name)
        expect(
            value is None or (isinstance(value, list) and len(value) == len(labels)),
            name,
            "one entry a label",
        )
    plain = all(isinstance(name, str) and name == Path(name).name for name in artifact.attachments)
    expect(
        plain and not set(artifact.attachments) & {*OTHER_FILES, *STATE_FILES.values(), EMBEDDER},
        "attachments",
        "names of further files in the folder",
    )
    _validate_inputs(artifact.inputs)


def _validate_inputs(inputs: Any) -> None:
    if not isinstance(inputs, list) or not inputs or not all(isinstance(entry, dict) for entry in inputs):
        raise ValueError(f"field 'inputs': expected a list of objects, got {repr(inputs)[:80]}")
    for number, entry in enumerate(inputs):
        where = f"field 'inputs[{number}]"
        if entry.get("kind") not in INPUT_KINDS:
            raise ValueError(
                f"{where}.kind': expected one of {', '.join(INPUT_KINDS)}, got {entry.get('kind')!r}"
            )
        if not _is_count(entry.get("rate")):
            raise ValueError(f"{where}.rate': expected samples a second, got {entry.get('rate')!r}")
        if entry["kind"] == "embedding":
            _validate_embedding(entry, where, alone=len(inputs) == 1)
        if entry["kind"] != "logmel":
            continue
        features = entry.get("features")
        names = {f.name for f in dataclasses.fields(FeatureConfig)}
        needed = names - set(LATER)
        # Every other setting has to be there: a default that changed later would change the model.
        if not isinstance(features, dict) or not needed <= set(features) <= names:
            got = sorted(features) if isinstance(features, dict) else features
            raise ValueError(f"{where}.features': expected {', '.join(sorted(needed))}, got {got}")
        try:
            config = FeatureConfig(**features)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}.features': {error}") from error
        if config.rate != entry["rate"]:
            raise ValueError(f"{where}.rate': {entry['rate']} Hz, but its features are for {config.rate} Hz")


def _validate_embedding(entry: dict[str, Any], where: str, *, alone: bool) -> None:
    for name in ("windows", "size"):
        if not _is_count(entry.get(name)):
            raise ValueError(f"{where}.{name}': expected a positive integer, got {entry.get(name)!r}")
    fingerprint = entry.get("fingerprint")
    if not isinstance(fingerprint, str) or not re.fullmatch("[0-9a-f]{64}", fingerprint):
        raise ValueError(f"{where}.fingerprint': expected a SHA-256 in hexadecimal, got {fingerprint!r}")
    if not alone:
        raise ValueError(f"{where}.kind': an embedding can only be the one input of a model so far")


def validate_embedder(artifact: Any, embedder: Any) -> None:
    """Refuse a model whose embedder does not give what it takes, with a ValueError that names the field."""
    entry = artifact.inputs[0]
    windows, size = entry["windows"], entry["size"]
    if embedder.embedding_size != size:
        raise ValueError(
            f"field 'inputs[0].size': {size}, but the embedder gives {embedder.embedding_size} values"
        )
    if embedder.rate != entry["rate"]:
        raise ValueError(
            f"field 'inputs[0].rate': {entry['rate']} Hz, but the embedder takes {embedder.rate} Hz"
        )
    needed = embedder.window + (windows - 1) * embedder.hop
    if artifact.window != needed:
        raise ValueError(
            f"field 'window': {artifact.window}, but {windows} windows of the embedder cover {needed} samples"
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def validate_check(artifact: Any, waveforms: np.ndarray, logits: np.ndarray, where: str) -> None:
    """Refuse a check vector that does not fit the model; without labels it is embeddings that are checked."""
    expected = (len(waveforms), artifact.num_classes or artifact.embedding_size)
    if waveforms.ndim != 2 or waveforms.shape[1] != artifact.window or not len(waveforms):
        raise ValueError(f"{where}: expected waveforms (B, {artifact.window}), got {waveforms.shape}")
    if logits.shape != expected:
        what = "logits" if artifact.labels else "embeddings"
        raise ValueError(f"{where}: expected {what} {expected}, got {logits.shape}")
    if not (np.isfinite(waveforms).all() and np.isfinite(logits).all()):
        raise ValueError(f"{where}: a value is not finite; the model diverged or its input was broken")
