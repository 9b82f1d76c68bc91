"""What an ONNX file says of itself, read without its graph and without the onnx package."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

METADATA_PROPS = 14  # number of ModelProto's field: StringStringEntryProto of key = 1, value = 2


def onnx_metadata(path: Path) -> dict[str, str]:
    """metadata_props of an ONNX file, without reading its graph and without the onnx package.

    Raises:
        ValueError: the file is not an ONNX model.

    >>> onnx_metadata(Path("model.onnx"))["auricle"]  # doctest: +SKIP
    '{"format": 1, ...'
    """
    found = {}
    try:
        with path.open("rb") as stream:
            for _, content in top_level_fields(stream, only=METADATA_PROPS):
                key, value = _string_entry(content)
                found[key] = value
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path}: not an ONNX model ({error}); expected a file that auricle exported"
        ) from error
    return found


def top_level_fields(stream: BinaryIO, only: int | None = None) -> Iterator[tuple[int, bytes]]:
    """(number, content) of each field of a protobuf message, a number's content as decimal text.

    Args:
        stream: the message and nothing else; seekable.
        only: the one number wanted; the others are skipped without being read.

    Raises:
        ValueError: it is not such a message.

    >>> list(top_level_fields(io.BytesIO(bytes([8, 10, 0x72, 1, 65]))))
    [(1, b'10'), (14, b'A')]
    """
    start = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(start)
    while stream.tell() < size:
        tag = _varint(stream)
        number, wire = tag >> 3, tag & 7
        if wire not in (0, 2):
            raise ValueError(f"unexpected wire type {wire}")
        value = _varint(stream)
        if wire == 2 and value > size - stream.tell():
            raise ValueError("it ends early")
        if only in (None, number):
            yield number, stream.read(value) if wire == 2 else str(value).encode()
        elif wire == 2:
            stream.seek(value, os.SEEK_CUR)


def _varint(stream: Any) -> int:
    value = shift = 0
    while True:
        byte = stream.read(1)
        if not byte or shift > 63:
            raise ValueError("it ends early" if not byte else "not protobuf")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7


def _string_entry(data: bytes) -> tuple[str, str]:
    stream, parts = io.BytesIO(data), {1: "", 2: ""}
    while stream.tell() < len(data):
        number = _varint(stream) >> 3
        parts[number] = stream.read(_varint(stream)).decode("utf-8")
    return parts[1], parts[2]
