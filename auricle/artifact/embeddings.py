"""What decides a model's embeddings: less than what decides its scores.

Labels, calibration, thresholds and event settings change no embedding, and the embeddings of a classifier
that `auricle.heads.save_head` made are its embedder's.
"""

import hashlib
from typing import Any

from auricle.artifact.checksum import graph_digest, identity_bytes

LINEAR = "linear"  # architecture of a classifier that gives its embedder's embeddings as they came
EMBEDDING_IDENTITY = tuple("backend architecture inputs window hop tail embedding_size".split())


def embedding_fingerprint(artifact: Any, hop: int | None = None) -> str:
    """SHA-256 in hexadecimal of all that decides which embeddings a model gives of a recording.

    A calibrated copy of a model has the same; so has a classifier on the model's embeddings. Of a family it
    is that of the member on top.

    Args:
        artifact: the model.
        hop: samples from window to window; None takes the model's.

    >>> import dataclasses
    >>> from auricle.artifact import load_artifact
    >>> model = load_artifact("default")  # doctest: +SKIP
    >>> strict = dataclasses.replace(model, thresholds=[0.9] * model.num_classes)  # doctest: +SKIP
    >>> strict.fingerprint == model.fingerprint  # doctest: +SKIP
    False
    >>> embedding_fingerprint(strict) == embedding_fingerprint(model)  # doctest: +SKIP
    True
    """
    return _fingerprint(artifact, artifact.hop if hop is None else hop, artifact.tail)


def _fingerprint(artifact: Any, hop: int, tail: str) -> str:
    if artifact.members:
        [on_top] = set(artifact.members) - set(artifact.gates.values())
        return _fingerprint(artifact.models[on_top], hop, tail)
    if artifact.architecture.get("name") == LINEAR and artifact.embedder_windows == 1:
        return _fingerprint(artifact.embedder, hop, tail)
    fields = {name: getattr(artifact, name) for name in EMBEDDING_IDENTITY} | {"hop": hop, "tail": tail}
    fields["inputs"] = [
        entry | {"fingerprint": embedding_fingerprint(artifact.embedder)}
        if entry["kind"] == "embedding"
        else entry
        for entry in artifact.inputs
    ]
    digest = hashlib.sha256(identity_bytes(fields, EMBEDDING_IDENTITY))
    with artifact.state_path.open("rb") as stream:
        if artifact.backend == "onnx":  # the metadata of an exported file have its calibration
            digest.update(graph_digest(stream).encode())
        else:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
