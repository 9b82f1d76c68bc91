"""A trained model as a folder, or as one .onnx file: the only place where its state lives.

    model.json           what it is: backend, architecture, inputs, labels, window, ... (`Artifact`'s fields)
    weights.safetensors  weights of a torch model (never a pickle)
    model.onnx           or its graph, waveform -> logits and embedding, front end inside
    check.safetensors    a short waveform and the logits it must give: `auricle check` runs it again
    README.md            a model card, made from model.json

Reading one imports neither torch nor onnxruntime: that is for the runners.
"""

import base64
import binascii
import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from auricle.artifact.card import model_card
from auricle.artifact.checksum import changed_parts, checksum, file_digest, identity_bytes
from auricle.artifact.onnx_file import onnx_metadata
from auricle.artifact.validation import FORMAT, OTHER_FILES, STATE_FILES, validate, validate_check
from auricle.features import FeatureConfig

BUNDLED = Path(__file__).parents[1] / "bundled"
DEFAULT_MODEL = "auricle-esc50"
METADATA_KEY = "auricle"  # in an ONNX file's metadata_props: model.json
CHECK_KEY = "auricle.check"  # and check.safetensors, base64


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A model on disk, its description validated; weights are read when a runner asks for them.

    Args:
        path: the folder, or the .onnx file.
        name: what people call it.
        backend: "onnx", "torch" or "tflite".
        architecture: {"name": key of MODELS, "arguments": keyword arguments}; empty for a foreign graph.
        inputs: what the network sees, [{"kind": "logmel", "rate": Hz, "features": FeatureConfig's fields}].
        labels: K names, in the order of the logits.
        window: samples that are scored at once.
        hop: samples from one window to the next.
        tail: "drop" an incomplete last window, or "align" one more to the end (for clip scores).
        embedding_size: E.
        parents: for each label, the list of labels above it; None where labels are flat.
        calibration: what turns logits into probabilities; None is the plain sigmoid.
        thresholds: for each label, the score from which it counts as present; None where nobody chose them.
        events: settings that turn scores over time into events.
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
    embedding_size: int
    parents: list[list[str]] | None = None
    calibration: dict[str, Any] | None = None
    thresholds: list[float] | None = None
    events: dict[str, Any] | None = None
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
    def state_path(self) -> Path:
        """The file that holds the weights or the graph."""
        return self.path if self.path.suffix == ".onnx" else self.path / STATE_FILES[self.backend]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal of all that decides what the model answers, so not of name or metrics."""
        digest = hashlib.sha256(identity_bytes(vars(self)))
        with self.state_path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def description(self) -> dict[str, Any]:
        """What model.json holds."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "path"}
        return {"format": fields.pop("format")} | fields

    def read_check(self) -> tuple[np.ndarray, np.ndarray, float]:
        """The model's own check: (waveforms (B, window) float32, logits (B, K) float32, tolerance)."""
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
        return changed_parts(self, self._read_check_bytes()[0])

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


def load_artifact(name_or_path: str | Path) -> Artifact:
    """Find and validate a model.

    Args:
        name_or_path: "default", the name of a model that comes with the package, a folder, or an .onnx file
            that auricle exported. A bundled name wins over a folder called the same: write ./NAME for that.

    Raises:
        ValueError: there is no such model (the message lists the bundled ones), or its description is wrong
            (the message names the file and the field).

    >>> load_artifact("nonesuch")
    Traceback (most recent call last):
    ValueError: no model nonesuch: neither a folder with a model.json nor an .onnx file nor one of ...
    """
    path = Path(name_or_path)
    if isinstance(name_or_path, str):
        bundled = DEFAULT_MODEL if name_or_path == "default" else name_or_path
        if bundled in bundled_models():
            path = BUNDLED / bundled
    if not path.exists() and _previous(path).is_dir():
        path = _previous(path)  # a writer was killed between its two renames
    if path.is_file() and path.suffix == ".onnx":
        text = onnx_metadata(path).get(METADATA_KEY)
        if text is None:
            raise ValueError(
                f"{path}: its metadata has no {METADATA_KEY!r} entry, so labels and rate are unknown; "
                "auricle export writes one"
            )
        return _parse(text, path, f"{path}: metadata {METADATA_KEY!r}")
    if not (path / "model.json").is_file():
        known = ", ".join(["default", *bundled_models()])
        reason = f"neither a folder with a model.json nor an .onnx file nor one of {known}"
        raise ValueError(f"no model {name_or_path}: {reason}")
    artifact = _parse((path / "model.json").read_text(encoding="utf-8"), path, str(path / "model.json"))
    if not artifact.state_path.is_file():
        raise ValueError(f"{artifact.state_path}: missing; backend {artifact.backend!r} needs it")
    return artifact


def bundled_models() -> list[str]:
    """Names of the models that come with the package.

    >>> isinstance(bundled_models(), list)
    True
    """
    return sorted(path.parent.name for path in BUNDLED.glob("*/model.json"))


def read_check(artifact: Artifact) -> tuple[np.ndarray, np.ndarray, float]:
    """(waveforms (B, window) float32, logits (B, K) float32, tolerance) that an artifact carries.

    >>> waveforms, logits, tolerance = read_check(load_artifact("default"))  # doctest: +SKIP
    """
    return artifact.read_check()


def save_artifact(
    path: str | Path,
    *,
    weights: Mapping[str, np.ndarray] | None = None,
    onnx: bytes | Path | None = None,
    check: tuple[np.ndarray, np.ndarray],
    attachments: Mapping[str, bytes] | None = None,
    **fields: Any,
) -> Artifact:
    """Write a model's folder, whole or not at all, over a model that is there.

    Args:
        path: the folder.
        weights: name -> array, for backend "torch".
        onnx: the graph or its file, for backend "onnx". One of the two.
        check: (waveforms (B, window), logits (B, K)) float32, as the saved model gives them.
        attachments: further files, name -> content (an attribution list).
        **fields: the other fields of `Artifact`; `name` is the folder's unless given, `backend` follows
            from which of weights and onnx is there.

    Raises:
        ValueError: a field is wrong, or the folder holds something that is not a model's.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "tiny"
    >>> saved = save_artifact(
    ...     folder, weights={"w": np.zeros(1, np.float32)}, check=(np.zeros((1, 8)), np.zeros((1, 1))),
    ...     inputs=[{"kind": "waveform", "rate": 16000}], labels=("dog",), window=8, hop=8, embedding_size=2)
    >>> load_artifact(folder) == saved
    True
    """
    path = Path(path)
    if (weights is None) == (onnx is None):
        raise ValueError("save_artifact: give one of weights and onnx")
    backend = "torch" if weights is not None else "onnx"
    attached = dict(attachments or {})
    defaults: dict[str, Any] = {"name": path.name, "backend": backend, "attachments": tuple(attached)}
    artifact = Artifact(path=path, **{key: _plain(value) for key, value in (defaults | fields).items()})
    if artifact.backend != backend:
        raise ValueError(f"save_artifact: backend {artifact.backend!r} does not go with what is to be saved")
    waveforms, logits = (np.ascontiguousarray(array, dtype=np.float32) for array in check)
    validate_check(artifact, waveforms, logits, "save_artifact: check")
    _refuse_foreign(path)

    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(folder, ignore_errors=True)  # of a writer that was killed
    folder.mkdir()
    try:
        state = folder / STATE_FILES[backend]
        _write_state(state, weights, onnx)
        for name, content in attached.items():
            (folder / name).write_bytes(content)
        artifact = _write_description(folder, artifact, state, encode_check(waveforms, logits))
        _put_in_place(folder, path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return artifact


def _write_state(state: Path, weights: Mapping[str, np.ndarray] | None, onnx: bytes | Path | None) -> None:
    if weights is not None:
        arrays = {name: np.ascontiguousarray(array) for name, array in sorted(weights.items())}
        safetensors.numpy.save_file(arrays, state)
    elif isinstance(onnx, Path):
        shutil.copyfile(onnx, state)
    else:
        state.write_bytes(onnx or b"")


def _write_description(folder: Path, artifact: Artifact, state: Path, check: bytes) -> Artifact:
    """Write all but the state; returns the artifact with the checksum of what was written."""
    with state.open("rb") as stream:
        digest = file_digest(stream)
    artifact = dataclasses.replace(artifact, checksum=checksum(artifact.description(), digest, check))
    (folder / "check.safetensors").write_bytes(check)
    text = json.dumps(artifact.description(), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "model.json").write_text(text + "\n", encoding="utf-8")
    (folder / "README.md").write_text(model_card(artifact), encoding="utf-8")
    return artifact


def encode_check(waveforms: np.ndarray, logits: np.ndarray) -> bytes:
    """check.safetensors as bytes.

    >>> safetensors.numpy.load(encode_check(np.zeros((1, 8)), np.ones((1, 2))))["logits"]
    array([[1., 1.]], dtype=float32)
    """
    arrays = {"waveform": waveforms, "logits": logits}
    return safetensors.numpy.save(
        {name: np.ascontiguousarray(a, dtype=np.float32) for name, a in arrays.items()}
    )


def _plain(value: Any) -> Any:
    """The same value as JSON can hold it: NumPy's numbers as Python's, NaN and infinity as null."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _previous(path: Path) -> Path:
    return path.with_name(f".{path.name}.previous")


def _put_in_place(folder: Path, path: Path) -> None:
    """Rename `folder` to `path`; an old model there stands aside until the new one is in."""
    previous = _previous(path)
    if path.exists():
        shutil.rmtree(previous, ignore_errors=True)
        path.rename(previous)
    folder.rename(path)
    shutil.rmtree(previous, ignore_errors=True)


def _refuse_foreign(path: Path) -> None:
    """Never delete what is not ours."""
    if path.is_file():
        raise ValueError(f"{path}: a file is in the way; a model is a folder")
    if not path.exists():
        return
    ours = {*OTHER_FILES, *STATE_FILES.values()}
    if (path / "model.json").is_file():
        ours |= set(load_artifact(path.absolute()).attachments)
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in ours)
    if foreign:
        raise ValueError(
            f"{path}: holds {', '.join(foreign[:3])}, no part of a model; give an empty or a new folder"
        )


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
