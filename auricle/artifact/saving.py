"""Writing a model's folder: whole or not at all."""

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from auricle.artifact.card import model_card
from auricle.artifact.checksum import NO_STATE, checksum, file_digest
from auricle.artifact.model import Artifact, read_model
from auricle.artifact.validation import (
    EMBEDDER,
    FAMILY,
    MEMBERS,
    OTHER_FILES,
    STATE_FILES,
    validate_check,
    validate_embedder,
    validate_members,
)

ALARMS = {"thresholds", "calibration", "events", "hop", "window", "pooling"}  # that decide false alarms


def save_artifact(
    path: str | Path,
    *,
    weights: Mapping[str, np.ndarray] | None = None,
    onnx: bytes | Path | None = None,
    tflite: bytes | Path | None = None,
    members: Mapping[str, str | Path] | None = None,
    check: tuple[np.ndarray, np.ndarray],
    embedder: str | Path | None = None,
    attachments: Mapping[str, bytes] | None = None,
    **fields: Any,
) -> Artifact:
    """Write a model's folder, whole or not at all, over a model that is there.

    Args:
        path: the folder.
        weights: name -> array, for backend "torch".
        onnx: the graph or its file, for backend "onnx".
        tflite: the same for backend "tflite".
        members: name -> folder or .onnx file of each model of a family, see `auricle.family.save_family`; all
            of it goes into the sub-folder `members/NAME`, weights by a hard link. One of the four.
        check: (waveforms (B, window), logits (B, K)) float32, as the saved model gives them; without labels
            its embeddings (B, E) in place of logits.
        embedder: folder or .onnx file of the model whose embeddings this one takes, see `embedding_input`;
            all of it goes into the sub-folder `embedder`, its weights by a hard link where that can be.
        attachments: further files, name -> content (an attribution list).
        **fields: the other fields of `Artifact`; `name` is the folder's unless given, `backend` follows
            from which of weights, onnx, tflite and members is there.

    Raises:
        ValueError: a field is wrong, or the folder holds something that is not a model's.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "tiny"
    >>> saved = save_artifact(
    ...     folder, weights={"w": np.zeros(1, np.float32)}, check=(np.zeros((1, 8)), np.zeros((1, 1))),
    ...     inputs=[{"kind": "waveform", "rate": 16000}], labels=("dog",), window=8, hop=8, embedding_size=2)
    >>> read_model(folder) == saved
    True
    """
    path = Path(path)
    states = {"torch": weights, "onnx": onnx, "tflite": tflite, FAMILY: members}
    given = [name for name, state in states.items() if state is not None]
    if len(given) != 1:
        raise ValueError("save_artifact: give one of weights, onnx, tflite and members")
    backend = given[0]
    sources = {name: read_model(Path(member)) for name, member in (members or {}).items()}
    if sources:
        fields = fields | {"members": {name: model.fingerprint for name, model in sources.items()}}
    attached = dict(attachments or {})
    defaults: dict[str, Any] = {"name": path.name, "backend": backend, "attachments": tuple(attached)}
    artifact = Artifact(path=path, **{key: _plain(value) for key, value in (defaults | fields).items()})
    if artifact.backend != backend:
        raise ValueError(f"save_artifact: backend {artifact.backend!r} does not go with what is to be saved")
    waveforms, logits = (np.ascontiguousarray(array, dtype=np.float32) for array in check)
    validate_check(artifact, waveforms, logits, "save_artifact: check")
    if backend == FAMILY:
        validate_members(artifact, sources)
    source = _embedder(artifact, embedder)
    _refuse_foreign(path)

    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(folder, ignore_errors=True)  # of a writer that was killed
    folder.mkdir()
    try:
        state = None if backend == FAMILY else folder / STATE_FILES[backend]
        if state is not None:
            _write_state(state, states[backend])
        if source is not None:
            _copy(source, folder / EMBEDDER)
        for name, member in sources.items():
            _copy(member, folder / MEMBERS / name)
        for name, content in attached.items():
            (folder / name).write_bytes(content)
        artifact = _write_description(folder, artifact, state, encode_check(waveforms, logits))
        _put_in_place(folder, path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return artifact


def save_changed(source: Artifact, path: str | Path, **changes: Any) -> Artifact:
    """Write a model once more with some fields changed, whole or not at all; the old one stays as it is.

    Args:
        source: the model.
        path: the new folder, another one than the source's.
        **changes: fields of `Artifact`, say `events`; the weights, the check and all else are the source's.

    Raises:
        ValueError: as `save_artifact`, or the folder is the source's own.

    >>> from auricle.artifact import load_artifact
    >>> save_changed(load_artifact("default"), "out/mine", events={"onset": 0.4})  # doctest: +SKIP
    """
    path = Path(path)
    if path.exists() and path.resolve() == source.path.resolve():
        raise ValueError(f"{path}: is the model itself; name another folder, so that both are there")
    written = ("format", "checksum", "backend", "attachments", "members")  # by `save_artifact`
    fields = {name: value for name, value in source.description().items() if name not in written}
    if ALARMS & set(changes):  # what was measured of unknown sounds no longer holds
        metrics = changes.get("metrics", fields["metrics"])
        changes["metrics"] = {name: value for name, value in metrics.items() if name != "unknown_sounds"}
    state: dict[str, Any] = {"onnx": source.state_path} if source.backend == "onnx" else {}
    if source.backend == "torch":
        state = {"weights": source.read_weights()}
    elif source.backend == "tflite":
        state = {"tflite": source.state_path}
    elif source.backend == FAMILY:
        state = {"members": {name: source.path / MEMBERS / name for name in source.members}}
    waveforms, logits, _ = source.read_check()
    return save_artifact(
        path,
        **state,
        check=(waveforms, logits),
        embedder=source.path / EMBEDDER if source.embedder_windows else None,
        attachments={name: (source.path / name).read_bytes() for name in source.attachments},
        **(fields | changes),
    )


def embedding_input(embedder: Artifact, windows: int = 1) -> dict[str, Any]:
    """The entry of `inputs` of a model that takes the embeddings of `windows` windows of another one.

    Such a model takes waveforms of `embedder.window + (windows - 1) * embedder.hop` samples, in which the
    embedder's windows stand `embedder.hop` apart; its net takes their embeddings, (B, windows, size).

    >>> from auricle.artifact import load_artifact
    >>> entry = embedding_input(load_artifact("default"), 10)  # doctest: +SKIP
    """
    shape = {"windows": windows, "size": embedder.embedding_size}
    return {"kind": "embedding", "fingerprint": embedder.fingerprint, **shape, "rate": embedder.rate}


def _embedder(artifact: Artifact, embedder: str | Path | None) -> Artifact | None:
    """The embedder to be saved with a model, looked at; None for a model that takes none."""
    expected = artifact.embedding_entry.get("fingerprint")
    if embedder is None:
        if artifact.embedder_windows:
            raise ValueError("save_artifact: the model takes embeddings; give the `embedder` that makes them")
        return None
    if not artifact.embedder_windows:
        raise ValueError("save_artifact: an embedder is given, but `inputs` has no entry of kind 'embedding'")
    source = read_model(Path(embedder))
    validate_embedder(artifact, source)
    if source.fingerprint != expected:
        raise ValueError(
            f"save_artifact: {source.path} is not the embedder whose fingerprint `inputs` has; "
            "see embedding_input"
        )
    return source


def _copy(source: Artifact, folder: Path) -> None:
    """All of a model into a new folder; the large part of it takes no space where a link can be made."""
    folder.mkdir(parents=True)
    state = None if source.backend == FAMILY else folder / STATE_FILES[source.backend]
    if state is not None:
        try:
            os.link(source.state_path.resolve(), state)
        except OSError:  # on another disk, or links are not to be had
            shutil.copyfile(source.state_path, state)
    for name in source.attachments:
        shutil.copyfile(source.path / name, folder / name)
    for place, (_, model) in source.within.items():
        _copy(model, folder / place)
    waveforms, logits, _ = source.read_check()
    _write_description(folder, source, state, encode_check(waveforms, logits))


def _write_state(file: Path, state: Any) -> None:
    if isinstance(state, Mapping):
        arrays = {name: np.ascontiguousarray(array) for name, array in sorted(state.items())}
        safetensors.numpy.save_file(arrays, file)
        file.chmod(file.parent.stat().st_mode & 0o666)  # as the umask has it: safetensors lets only us read
    elif isinstance(state, Path):
        shutil.copyfile(state, file)
    else:
        file.write_bytes(state)


def _write_description(folder: Path, artifact: Artifact, state: Path | None, check: bytes) -> Artifact:
    """Write all but the state; returns the artifact with the checksum of what was written."""
    digest = NO_STATE
    if state is not None:
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


def previous(path: Path) -> Path:
    """Where the old model stands aside while a new one takes its place.

    >>> previous(Path("runs/best")).name
    '.best.previous'
    """
    return path.with_name(f".{path.name}.previous")


def _put_in_place(folder: Path, path: Path) -> None:
    """Rename `folder` to `path`; an old model there stands aside until the new one is in."""
    aside = previous(path)
    if path.exists():
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    folder.rename(path)
    shutil.rmtree(aside, ignore_errors=True)


def _refuse_foreign(path: Path) -> None:
    """Never delete what is not ours."""
    if path.is_file():
        raise ValueError(f"{path}: a file is in the way; a model is a folder")
    if not path.exists():
        return
    ours = {*OTHER_FILES, *STATE_FILES.values()}
    if (path / "model.json").is_file():
        present = read_model(path)
        ours |= {*present.attachments, *(place.partition("/")[0] for place in present.within)}
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in ours)
    if foreign:
        raise ValueError(
            f"{path}: holds {', '.join(foreign[:3])}, no part of a model; give an empty or a new folder"
        )
