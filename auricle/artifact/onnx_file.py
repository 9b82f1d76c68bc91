"""What an ONNX file says of itself, read without its graph and without the onnx package."""

import io
import os
from pathlib import Path
from typing import Any


def onnx_metadata(path: Path) -> dict[str, str]:
    """metadata_props of an ONNX file, without reading its graph and without the onnx package.

    Raises:
        ValueError: the file is not an ONNX model.
    """
    found = {}
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            while stream.tell() < size:
                tag = _varint(stream)
                if tag & 7 == 0:
                    _varint(stream)
                    continue
                if tag & 7 != 2:
                    raise ValueError(f"unexpected wire type {tag & 7}")
                length = _varint(stream)
                if length > size - stream.tell():
                    raise ValueError("it ends early")
                if (
                    tag >> 3 == 14
                ):  # ModelProto.metadata_props, each a StringStringEntryProto of key = 1, value = 2
                    key, value = _string_entry(stream.read(length))
                    found[key] = value
                else:
                    stream.seek(length, os.SEEK_CUR)
    except ValueError as error:
        raise ValueError(
            f"{path}: not an ONNX model ({error}); expected a file that auricle exported"
        ) from error
    return found


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
