"""A model's description, and where its parts are: what `auricle.artifact` reads and writes."""

import base64
import binascii
import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from auricle.artifact.checksum import FAMILY_IDENTITY, changed_parts, identity_bytes, identity_names
from auricle.artifact.onnx_file import onnx_metadata
from auricle.artifact.validation import (
    EMBEDDER,
    FAMILY,
    FORMAT,
    MEMBERS,
    STATE_FILES,
    validate,
    validate_check,
    validate_embedder,
    validate_members,
)
from auricle.features import FeatureConfig

METADATA_KEY = "auricle"  # in an ONNX file's metadata_props: model.json
CHECK_KEY = "auricle.check"  # and check.safetensors, base64


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A model on disk, its description validated; weights are read when a runner asks for them.

    Args:
        path: the folder, or the .onnx file.
        name: what people call it.
        backend: "onnx", "torch" or "tflite"; or "family", of several models.
        architecture: {"name": key of MODELS, "arguments": keyword arguments}, and of a net that decides for
            steps within a window "step", the samples of one; empty for a foreign graph.
        inputs: what the network sees: [{"kind": "logmel", "rate": Hz, "features": FeatureConfig's fields}],
            [{"kind": "waveform", "rate": Hz}] or [`embedding_input(...)`]; of a fusion one of the first two
            and then an embedding; of a family a waveform.
        labels: K names, in the order of the logits; none for a model that embeds only.
        window: samples that are scored at once.
        hop: samples from one window to the next.
        tail: "drop" an incomplete last window, or "align" one more to the end (for clip scores).
        pooling: how the scores of a recording's windows become the recording's: "mean", "max" or "attention";
            "" is the mean, and of a net that decides for steps within a window the greatest.
        embedding_size: E.
        parents: for each label, the list of labels above it; None where labels are flat.
        calibration: what turns logits into probabilities; None is the plain sigmoid.
        thresholds: for each label, the score from which it counts as present; None where nobody chose them.
        events: settings that turn scores over time into events.
        members: of a family, name -> fingerprint of the model in the sub-folder `members/NAME`.
        gates: of a family, label -> the member that is asked for what is below it, see `auricle.gating`.
        unasked: of a family, what a label scores that nobody is asked for: "zero" or "top".
        training: what the weights were made from (data fingerprint, configuration, statistics of the audio).
        licence: of the weights.
        notes: what people should know before they use it, as Markdown; stands in the model card.
        metrics: how good it was, and on what.
        tolerance: largest absolute difference of a logit that the check allows.
        attachments: names of further files in the folder (an attribution list).
        checksum: of the parts as they were saved, see `auricle.artifact.checksum`; empty in old models.
        format: version of this description.
    """

    path: Path
    name: str
    backend: str
    architecture: dict[str, Any] = field(default_factory=dict)
    inputs: list[dict[str, Any]]
    labels: tuple[str, ...]
    window: int
    hop: int
    tail: str = "drop"
    pooling: str = ""
    embedding_size: int
    parents: list[list[str]] | None = None
    calibration: dict[str, Any] | None = None
    thresholds: list[float] | None = None
    events: dict[str, Any] | None = None
    members: dict[str, str] = field(default_factory=dict)
    gates: dict[str, str] = field(default_factory=dict)
    unasked: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    notes: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-4
    attachments: tuple[str, ...] = ()
    checksum: str = ""
    format: int = FORMAT

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        for name in ("labels", "attachments"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        validate(self)

    @property
    def rate(self) -> int:
        """Samples a second of the waveforms the model takes."""
        return int(self.inputs[0]["rate"])

    @property
    def step(self) -> int:
        """Samples of each step within a window that the net decides for; 0 of a net that does not."""
        return int(self.architecture.get("step", 0))

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.labels)

    @property
    def features(self) -> FeatureConfig:
        """The front end's settings; ValueError where the network has no log-mel input."""
        for entry in self.inputs:
            if entry["kind"] == "logmel":
                return FeatureConfig(**entry["features"])
        raise ValueError(f"{self.path}: the model has no log-mel input")

    @property
    def input_kinds(self) -> tuple[str, ...]:
        """What the net takes, ("logmel",) or, of a fusion, ("logmel", "embedding")."""
        return tuple(str(entry["kind"]) for entry in self.inputs)

    @property
    def embedding_entry(self) -> dict[str, Any]:
        """The entry of `inputs` that is an embedding; empty for models that take none."""
        return next((entry for entry in self.inputs if entry["kind"] == "embedding"), {})

    @cached_property
    def embedder(self) -> "Artifact | None":
        """The model whose embeddings this one takes, in the sub-folder `embedder`; None for other models."""
        return read_model(self.path / EMBEDDER) if self.embedding_entry else None

    @property
    def embedder_windows(self) -> int:
        """T, how many windows of the embedder lie in one of this model's; 0 where there is no embedder."""
        return int(self.embedding_entry.get("windows", 0))

    @cached_property
    def models(self) -> "dict[str, Artifact]":
        """Of a family, name -> member; empty for other models."""
        return {name: read_model(self.path / MEMBERS / name) for name in self.members}

    @property
    def within(self) -> "dict[str, tuple[str, Artifact]]":
        """Sub-folder -> the fingerprint this model was saved with, and the model that is there."""
        found = {f"{MEMBERS}/{name}": (self.members[name], model) for name, model in self.models.items()}
        if self.embedder is not None:
            found[EMBEDDER] = (self.embedding_entry["fingerprint"], self.embedder)
        return found

    @property
    def state_path(self) -> Path:
        """The file that holds the weights or the graph; ValueError of a family, whose members have them."""
        if self.backend == FAMILY:
            raise ValueError(f"{self.path}: is a family, whose weights are its members', in {MEMBERS}/")
        return self.path if self.path.suffix == ".onnx" else self.path / STATE_FILES[self.backend]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal of all that decides what the model answers, so not of name or metrics."""
        digest = hashlib.sha256(identity_bytes(vars(self), identity_names(vars(self))))
        if self.backend != FAMILY:  # the identity of a family has its members' fingerprints
            with self.state_path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def description(self) -> dict[str, Any]:
        """What model.json holds."""
        left_out = {"path", *(FAMILY_IDENTITY if self.backend != FAMILY else ())}
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in left_out}
        return {"format": fields.pop("format")} | fields

    def read_check(self) -> tuple[np.ndarray, np.ndarray, float]:
        """The model's own check: (waveforms (B, window) float32, logits (B, K) float32, tolerance).

        Without labels, embeddings (B, E) stand in the place of logits.
        """
        data, where = self._read_check_bytes()
        try:
            arrays = safetensors.numpy.load(data)
            waveforms, logits = arrays["waveform"], arrays["logits"]
        except (safetensors.SafetensorError, KeyError) as error:
            raise ValueError(
                f"{where}: not a waveform and its logits ({error}); export the model again"
            ) from error
        validate_check(self, waveforms, logits, where)
        return waveforms, logits, self.tolerance

    def changed_parts(self) -> list[str]:
        """Names of the parts that are not the ones that were saved; empty too where `checksum` is.

        ValueError where a part cannot be read at all.
        """
        changed = changed_parts(self, self._read_check_bytes()[0])
        for folder, (fingerprint, model) in self.within.items():
            parts = model.changed_parts()
            if not parts and model.fingerprint != fingerprint:
                parts = ["model.json"]
            changed += [f"{folder}/{name}" for name in parts]
        return changed

    def damage(self) -> str:
        """What is to be said of parts that are not as they were saved; "" where all are.

        >>> from auricle.artifact import load_artifact
        >>> load_artifact("default").damage()
        ''
        """
        changed = ", ".join(self.changed_parts())
        return changed and f"{changed}: not as saved, so damaged or edited; copy the model again"

    def _read_check_bytes(self) -> tuple[bytes, str]:
        """check.safetensors (empty where it is missing), and where it was looked for."""
        if self.path.suffix == ".onnx":
            try:
                data = base64.b64decode(onnx_metadata(self.path).get(CHECK_KEY, ""))
            except binascii.Error:
                data = b""
            return data, f"{self.path}: metadata {CHECK_KEY!r}"
        path = self.path / "check.safetensors"
        return (path.read_bytes() if path.is_file() else b""), str(path)

    def read_weights(self) -> dict[str, np.ndarray]:
        """Name -> array, of a torch model."""
        if self.backend != "torch":
            raise ValueError(
                f"{self.path}: backend {self.backend!r} has no weights of its own beside the graph"
            )
        try:
            return safetensors.numpy.load_file(self.state_path)
        except safetensors.SafetensorError as error:
            raise ValueError(
                f"{self.state_path}: damaged ({error}); copy or train the model again"
            ) from error


def read_model(path: Path) -> Artifact:
    """The model in a folder or an .onnx file; ValueError where it is none, or a part of it is missing.

    >>> read_model(Path("no-such-model"))
    Traceback (most recent call last):
    ValueError: no-such-model/model.json: missing; expected a model's folder
    """
    if path.is_file() and path.suffix == ".onnx":
        text = onnx_metadata(path).get(METADATA_KEY)
        if text is None:
            raise ValueError(
                f"{path}: its metadata has no {METADATA_KEY!r} entry, so labels and rate are unknown; "
                "auricle export writes one"
            )
        artifact = _parse(text, path, f"{path}: metadata {METADATA_KEY!r}")
    else:
        file = path / "model.json"
        if not file.is_file():
            raise ValueError(f"{file}: missing; expected a model's folder")
        artifact = _parse(file.read_text(encoding="utf-8"), path, str(file))
    if artifact.backend == FAMILY:
        return _with_members(artifact)
    if not artifact.state_path.is_file():
        raise ValueError(f"{artifact.state_path}: missing; backend {artifact.backend!r} needs it")
    if artifact.embedder_windows:
        if path.is_file():
            raise ValueError(f"{path}: takes embeddings, and a single file has no embedder; use its folder")
        try:
            validate_embedder(artifact, artifact.embedder)
        except ValueError as error:
            raise ValueError(f"{path / 'model.json'}: {error}") from error
    return artifact


def _with_members(artifact: Artifact) -> Artifact:
    """A family, when its members have been looked at."""
    if artifact.path.is_file():
        raise ValueError(f"{artifact.path}: is a family, and a single file has no members; use its folder")
    where = artifact.path / "model.json"
    for name in artifact.members:
        if not (artifact.path / MEMBERS / name / "model.json").is_file():
            raise ValueError(
                f"{where}: field 'members': {name!r} is missing: there is no model in "
                f"{artifact.path / MEMBERS / name}"
            )
    try:
        validate_members(artifact, artifact.models)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return artifact


def _parse(text: str, path: Path, where: str) -> Artifact:
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error})") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{where}: expected an object, got {type(raw).__name__}")
    version = raw.get("format")
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"{where}: field 'format': expected a version number, got {version!r}")
    if version > FORMAT:
        raise ValueError(
            f"{where}: field 'format': version {version}, newer than the {FORMAT} known here; update auricle"
        )
    names = {f.name for f in dataclasses.fields(Artifact)} - {"path"}
    if unknown := sorted(set(raw) - names):
        raise ValueError(f"{where}: field {unknown[0]!r}: unknown; known are {', '.join(sorted(names))}")
    required = {f.name for f in dataclasses.fields(Artifact) if _is_required(f)} - {"path"}
    if missing := sorted(required - set(raw)):
        raise ValueError(f"{where}: field {missing[0]!r}: missing")
    try:
        return Artifact(path=path, **raw)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _is_required(entry: dataclasses.Field[Any]) -> bool:
    return entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
