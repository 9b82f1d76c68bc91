"""What a model's description must be: every message names the field, what came and what was expected."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact.checksum import CHECKSUM
from auricle.events import event_config
from auricle.features import LATER, FeatureConfig
from auricle.gating import plan_gates
from auricle.hierarchy import parents_of
from auricle.pooling import POOLINGS
from auricle.thresholds import is_threshold

FORMAT = 1
STATE_FILES = {"onnx": "model.onnx", "torch": "weights.safetensors", "tflite": "model.tflite"}
OTHER_FILES = ("model.json", "check.safetensors", "README.md")
FAMILY = "family"  # the backend of a model that is several models
BACKENDS = (*STATE_FILES, FAMILY)
EMBEDDER, MEMBERS = "embedder", "members"  # the sub-folders
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
    step = artifact.architecture.get("step", 0)
    if step and not (_is_count(step) and step <= artifact.window):
        raise ValueError(f"field 'architecture.step': expected samples, at most a window, got {step!r}")
    for name in ("calibration", "events"):
        expect(isinstance(getattr(artifact, name), dict | None), name, "an object or null")
    expect(artifact.backend in BACKENDS, "backend", f"one of {', '.join(BACKENDS)}")
    expect(artifact.tail in ("drop", "align"), "tail", '"drop" or "align"')
    expect(artifact.pooling in ("", *POOLINGS), "pooling", f"one of {', '.join(POOLINGS)}, or nothing")
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
        plain and not set(artifact.attachments) & {*OTHER_FILES, *STATE_FILES.values(), EMBEDDER, MEMBERS},
        "attachments",
        "names of further files in the folder",
    )
    validate_calibration(artifact.calibration, len(labels))
    _validate_thresholds(artifact.thresholds)
    try:
        event_config(artifact.events, artifact.labels)
    except ValueError as error:
        raise ValueError(f"field 'events': {error}") from error
    _validate_parents(artifact.labels, artifact.parents)
    _validate_inputs(artifact.inputs)
    _validate_kinds([entry["kind"] for entry in artifact.inputs], artifact.backend)
    _validate_family(artifact)


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
            _validate_embedding(entry, where)
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


def _validate_parents(labels: tuple[str, ...], parents: list[list[str]] | None) -> None:
    for label, above in zip(labels, parents or (), strict=False):
        if not isinstance(above, list) or not all(isinstance(name, str) for name in above):
            raise ValueError(f"field 'parents': {label!r}: expected a list of labels, got {above!r}")
    try:
        parents_of(labels, parents)
    except ValueError as error:
        raise ValueError(f"field 'parents': {error}") from error


def validate_calibration(calibration: Any, num_classes: int, field: str = "calibration") -> None:
    """Refuse a calibration that does not map the logits of so many labels, each rising; None is none.

    >>> validate_calibration({"kind": "affine", "scale": [1.0, 0.0], "offset": [0.0, 0.0]}, 2)
    Traceback (most recent call last):
    ValueError: field 'calibration.scale': expected 2 finite numbers above 0, got [1.0, 0.0]
    """
    if calibration is None:
        return
    if not isinstance(calibration, dict):
        raise ValueError(f"field '{field}': expected an object, got {repr(calibration)[:80]}")
    if field == "calibration" and "clips" in calibration:
        calibration = dict(calibration)
        validate_calibration(calibration.pop("clips") or {}, num_classes, "calibration.clips")
    fields = {"affine": {"kind", "scale", "offset"}, "isotonic": {"kind", "labels"}}
    kind = calibration.get("kind")
    if not isinstance(kind, str) or kind not in fields:
        raise ValueError(f"field '{field}.kind': expected affine or isotonic, got {kind!r}")
    if set(calibration) != fields[kind]:
        wanted = ", ".join(sorted(fields[kind]))
        raise ValueError(f"field '{field}': expected {wanted}, got {', '.join(sorted(calibration))}")
    if kind == "affine":
        for name, above, told in (("scale", 0.0, " above 0"), ("offset", -np.inf, "")):
            values = calibration[name]
            if not _are_numbers(values) or len(values) != num_classes or not all(v > above for v in values):
                raise ValueError(
                    f"field '{field}.{name}': expected {num_classes} finite numbers{told}, "
                    f"got {repr(values)[:80]}"
                )
        return
    labels = calibration["labels"]
    if not isinstance(labels, list) or len(labels) != num_classes:
        raise ValueError(f"field '{field}.labels': expected {num_classes} maps, got {repr(labels)[:80]}")
    for number, knots in enumerate(labels):
        where = f"field '{field}.labels[{number}]'"
        if not isinstance(knots, dict) or set(knots) != {"x", "y"}:
            raise ValueError(f"{where}: expected x and y, got {repr(knots)[:80]}")
        for name in ("x", "y"):
            rising = _are_numbers(knots[name]) and all(np.diff(np.array(knots[name], np.float64)) > 0)
            if not rising or len(knots[name]) < 2 or len(knots[name]) != len(knots["x"]):
                got = repr(knots[name])[:80]
                raise ValueError(
                    f"{where}: expected as many {name} as x, 2 or more, strictly rising, got {got}"
                )


def _validate_thresholds(thresholds: list[float] | None) -> None:
    if thresholds is None:
        return
    for number, value in enumerate(thresholds):
        if not is_threshold(value):
            raise ValueError(
                f"field 'thresholds[{number}]': expected a score from 0 to 1, or 2 for never, "
                f"got {repr(value)[:80]}"
            )


def _are_numbers(values: Any) -> bool:
    """Whether it is a list of finite numbers."""
    return isinstance(values, list) and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))
        for value in values
    )


def _validate_kinds(kinds: list[str], backend: str) -> None:
    """One input; or two, of which the second is an embedding and the first is made from the waveform."""
    if backend == FAMILY and kinds != ["waveform"]:
        raise ValueError(
            f"field 'inputs': a family takes one waveform, which its members see; got {', '.join(kinds)}"
        )
    if len(kinds) == 1:
        return
    if len(kinds) > 2 or kinds[0] == "embedding" or kinds[1] != "embedding":
        raise ValueError(
            "field 'inputs': expected one, or a logmel or waveform and then an embedding; got "
            + ", ".join(kinds)
        )
    if backend != "torch":
        raise ValueError(
            f"field 'backend': {backend!r}, but a net of two inputs ({', '.join(kinds)}) runs on 'torch' only"
        )


def _validate_family(artifact: Any) -> None:
    """Refuse what a family must have and other models must not; its members are looked at later."""
    if artifact.backend != FAMILY:
        for name in ("members", "gates", "unasked"):
            if getattr(artifact, name):
                raise ValueError(f"field {name!r}: is for a family, but the backend is {artifact.backend!r}")
        return
    for name, what in (("members", "a fingerprint"), ("gates", "a member")):
        value = getattr(artifact, name)
        if not isinstance(value, dict) or not value:
            raise ValueError(f"field {name!r}: expected an object, name -> {what}, got {repr(value)[:80]}")
        if wrong := [key for key, text in value.items() if not isinstance(text, str)]:
            raise ValueError(f"field {name!r}: {wrong[0]!r}: expected {what}, got {value[wrong[0]]!r}")
    for name, fingerprint in artifact.members.items():
        if not name or name != Path(name).name or name == "..":
            raise ValueError(f"field 'members': {name!r} cannot be the name of a folder")
        if not re.fullmatch("[0-9a-f]{64}", fingerprint):
            raise ValueError(
                f"field 'members': {name!r}: expected a SHA-256 in hexadecimal, got {fingerprint!r}"
            )
    if artifact.parents is None:
        raise ValueError("field 'parents': a family needs them: its gates stand at labels above others")


def validate_members(artifact: Any, models: Mapping[str, Any]) -> None:
    """Refuse a family whose members cannot give what it says, with a ValueError that names the field."""
    members = {name: model.labels for name, model in models.items()}
    gating = plan_gates(artifact.labels, artifact.parents, members, artifact.gates, artifact.unasked)
    size = models[gating.root].embedding_size
    if artifact.embedding_size != size:
        raise ValueError(
            f"field 'embedding_size': {artifact.embedding_size}, but the embedding of a family is that of "
            f"the member on top, {gating.root!r}: {size}"
        )
    for name, model in models.items():
        for field in ("rate", "window"):
            ours, theirs = getattr(artifact, field), getattr(model, field)
            if ours != theirs:
                unit = "Hz" if field == "rate" else "samples"
                raise ValueError(
                    f"field 'members': {name!r} has a {field} of {theirs} {unit}, the family one of {ours}; "
                    "all members have to hear the same"
                )


def _validate_embedding(entry: dict[str, Any], where: str) -> None:
    for name in ("windows", "size"):
        if not _is_count(entry.get(name)):
            raise ValueError(f"{where}.{name}': expected a positive integer, got {entry.get(name)!r}")
    fingerprint = entry.get("fingerprint")
    if not isinstance(fingerprint, str) or not re.fullmatch("[0-9a-f]{64}", fingerprint):
        raise ValueError(f"{where}.fingerprint': expected a SHA-256 in hexadecimal, got {fingerprint!r}")


def validate_embedder(artifact: Any, embedder: Any) -> None:
    """Refuse a model whose embedder does not give what it takes, with a ValueError that names the field."""
    place = len(artifact.inputs) - 1
    entry = artifact.inputs[place]
    windows, size = entry["windows"], entry["size"]
    if embedder.embedding_size != size:
        raise ValueError(
            f"field 'inputs[{place}].size': {size}, but the embedder gives {embedder.embedding_size} values"
        )
    if embedder.rate != entry["rate"]:
        raise ValueError(
            f"field 'inputs[{place}].rate': {entry['rate']} Hz, but the embedder takes {embedder.rate} Hz"
        )
    needed = embedder.window + (windows - 1) * embedder.hop
    if place == 0:
        if artifact.window != needed:
            raise ValueError(
                f"field 'window': {artifact.window}, but {windows} windows of the embedder cover {needed} "
                "samples"
            )
        return
    if artifact.rate < embedder.rate:
        raise ValueError(
            f"field 'inputs[0].rate': {artifact.rate} Hz, but the embedder needs {embedder.rate} Hz, and "
            "what a lower rate cuts off does not come back"
        )
    heard = artifact.window * embedder.rate // artifact.rate
    begun = 1 + (heard - 1) // embedder.hop
    if windows > begun:
        raise ValueError(
            f"field 'inputs[{place}].windows': {windows}, but only {begun} of the embedder begin within the "
            f"model's window of {artifact.window / artifact.rate:g} s"
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
