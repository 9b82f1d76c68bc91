"""What `auricle check` looks at first: whether a model's parts are the ones that were saved.

A checksum is three SHA-256 in hexadecimal, a space between: of the fields that decide what the model answers,
of the weights or graph, of the check vector. Of a single .onnx file the graph is all but its metadata, which
hold the two other parts, and this checksum.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from auricle.artifact.onnx_file import METADATA_PROPS, top_level_fields

# What the answer to a waveform depends on, beside the weights themselves.
IDENTITY = tuple("backend architecture inputs labels window hop tail embedding_size".split()) + tuple(
    "parents calibration thresholds events".split()
)
FAMILY_IDENTITY = ("members", "gates", "unasked")  # of a family; other models do not have these
CHECKSUM = re.compile("[0-9a-f]{64}( [0-9a-f]{64}){2}|")
NO_STATE = hashlib.sha256(b"").hexdigest()  # of a family: its members' fingerprints are in its description


def identity_names(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of a description that decide what the model answers.

    >>> identity_names({"backend": "family"})[-3:]
    ('members', 'gates', 'unasked')
    """
    return (*IDENTITY, *FAMILY_IDENTITY) if fields["backend"] == "family" else IDENTITY


def identity_bytes(fields: Mapping[str, Any], names: tuple[str, ...]) -> bytes:
    """These fields as bytes that are equal where the fields are.

    >>> identity_bytes({"hop": 8, "labels": ("dog",), "name": "x"}, ("labels", "hop"))
    b'{"hop":8,"labels":["dog"]}'
    """
    identity = {name: fields[name] for name in names}
    return json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def checksum(fields: Mapping[str, Any], state_digest: str, check: bytes) -> str:
    """The checksum of a model's description, its state's digest and its encoded check.

    The tolerance counts with the identity: a larger one would let another model pass.

    >>> import io
    >>> fields = dict.fromkeys([*IDENTITY, "tolerance"])
    >>> len(checksum(fields, file_digest(io.BytesIO(b"weights")), b"check").split())
    3
    """
    described = identity_bytes(fields, (*identity_names(fields), "tolerance"))
    return f"{hashlib.sha256(described).hexdigest()} {state_digest} {hashlib.sha256(check).hexdigest()}"


def file_digest(stream: Any) -> str:
    """SHA-256 in hexadecimal of the rest of a file.

    >>> import io
    >>> file_digest(io.BytesIO(b""))[:8]
    'e3b0c442'
    """
    return hashlib.file_digest(stream, "sha256").hexdigest()


def graph_digest(stream: BinaryIO) -> str:
    """SHA-256 in hexadecimal of an ONNX file without its metadata; ValueError where it is none.

    >>> import io
    >>> graph_digest(io.BytesIO(bytes([8, 10, 0x72, 1, 65]))) == graph_digest(io.BytesIO(bytes([8, 10])))
    True
    """
    digest = hashlib.sha256()
    for number, content in top_level_fields(stream):
        if number != METADATA_PROPS:
            digest.update(f"{number} {len(content)} ".encode())
            digest.update(content)
    return digest.hexdigest()


def changed_parts(artifact: Any, check: bytes) -> list[str]:
    """The parts of a model that are not the ones that were saved; empty where it carries no checksum.

    Args:
        artifact: an `Artifact` that has been loaded.
        check: its encoded check.

    Returns:
        Names of files in the folder; of a single .onnx file, "description", "graph", "check".
    """
    if not artifact.checksum:
        return []
    single = artifact.path.suffix == ".onnx"
    if artifact.backend == "family":
        state, names = NO_STATE, ["model.json", "members", "check.safetensors"]
    else:
        with Path(artifact.state_path).open("rb") as stream:
            state = graph_digest(stream) if single else file_digest(stream)
        names = ["model.json", artifact.state_path.name, "check.safetensors"]
    found = checksum(artifact.description(), state, check)
    pairs = zip(["description", "graph", "check"] if single else names, found.split(), strict=True)
    saved = artifact.checksum.split()
    return [name for (name, now), then in zip(pairs, saved, strict=True) if now != then]
