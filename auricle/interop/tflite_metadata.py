"""What a TFLite file says of itself: rate of its sound, names of its outputs, lists of their labels.

Source: the TFLite metadata schema (tflite-support, metadata_schema.fbs, identifier M001), of which these few
fields are read straight from the bytes: FlatBuffers' tables, whose fields are found by their number.
"""

import io
import struct
import zipfile
from dataclasses import dataclass
from typing import Self

NAME = "TFLITE_METADATA"
IDENTIFIER = b"M001"
# Numbers of fields, by table.
MODEL_BUFFERS, MODEL_METADATA = 4, 6
ENTRY_NAME, ENTRY_BUFFER = 0, 1
BUFFER_DATA = 0
SUBGRAPHS = 3  # of ModelMetadata
INPUTS, OUTPUTS = 2, 3  # of SubGraphMetadata
TENSOR_NAME, TENSOR_CONTENT, TENSOR_FILES = 0, 3, 6
CONTENT_KIND, CONTENT = 0, 1
AUDIO, AUDIO_RATE = 4, 0  # the kind of content that AudioProperties are, and their first field
FILE_NAME = 0


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a file says of itself.

    Args:
        rate: samples a second of its sound; 0 where it does not say.
        outputs: names of its outputs, in their order; empty where it does not say.
        labels: for each output the labels that it carries, or an empty list.
    """

    rate: int = 0
    outputs: tuple[str, ...] = ()
    labels: tuple[tuple[str, ...], ...] = ()


def read_metadata(content: bytes) -> Said:
    """What a TFLite file says of itself; nothing where it has no metadata, or damaged ones.

    >>> read_metadata(b"")
    Said(rate=0, outputs=(), labels=())
    """
    try:
        return _read(content)
    except (struct.error, IndexError, UnicodeDecodeError, ValueError):
        return Said()


def carried_files(content: bytes) -> dict[str, str]:
    """Name -> text of the text files that stand behind the graph, as a ZIP file; empty where there are none.

    >>> carried_files(b"TFL3")
    {}
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as carried:
            names = [name for name in carried.namelist() if name.endswith(".txt")]
            return {name: carried.read(name).decode("utf-8") for name in names}
    except (zipfile.BadZipFile, UnicodeDecodeError):
        return {}


def listed(text: str) -> list[str]:
    r"""Lines of a list of labels, without blanks around them.

    >>> listed("dog\nrain \n")
    ['dog', 'rain']
    """
    return [line.strip() for line in text.splitlines()]


def _read(content: bytes) -> Said:
    model = _Table.root(content)
    buffers = model.tables(MODEL_BUFFERS)
    for entry in model.tables(MODEL_METADATA):
        if entry.text(ENTRY_NAME) == NAME:
            data = buffers[entry.number(ENTRY_BUFFER)].bytes(BUFFER_DATA)
            break
    else:
        return Said()
    if data[4:8] != IDENTIFIER:
        return Said()
    graph = _Table.root(data).tables(SUBGRAPHS)[0]
    rate = 0
    for tensor in graph.tables(INPUTS):
        about = tensor.table(TENSOR_CONTENT)
        if about is not None and about.byte(CONTENT_KIND) == AUDIO:
            audio = about.table(CONTENT)
            rate = 0 if audio is None else audio.number(AUDIO_RATE)
    files = carried_files(content)
    labels = []
    for tensor in graph.tables(OUTPUTS):
        lists = [file.text(FILE_NAME) for file in tensor.tables(TENSOR_FILES)]
        text = next((files[name] for name in lists if name in files), "")
        labels.append(tuple(listed(text)))
    names = tuple(tensor.text(TENSOR_NAME) for tensor in graph.tables(OUTPUTS))
    return Said(rate=rate, outputs=names, labels=tuple(labels))


class _Table:
    """A table of FlatBuffers: where it begins, and where its fields are."""

    def __init__(self, data: bytes, at: int):
        self.data, self.at = data, at
        self._fields = at - _get("<i", data, at)
        self._size = _get("<H", data, self._fields)

    @classmethod
    def root(cls, data: bytes) -> Self:
        return cls(data, _get("<I", data, 0))

    def place(self, field: int) -> int:
        """Where a field is; 0 where the table has none."""
        slot = 4 + 2 * field
        offset = _get("<H", self.data, self._fields + slot) if slot < self._size else 0
        return self.at + offset if offset else 0

    def number(self, field: int) -> int:
        place = self.place(field)
        return _get("<I", self.data, place) if place else 0

    def byte(self, field: int) -> int:
        place = self.place(field)
        return self.data[place] if place else 0

    def table(self, field: int) -> "_Table | None":
        place = self.place(field)
        return _Table(self.data, place + _get("<I", self.data, place)) if place else None

    def bytes(self, field: int) -> bytes:
        place = self.place(field)
        if not place:
            return b""
        start = place + _get("<I", self.data, place)
        return self.data[start + 4 : start + 4 + _get("<I", self.data, start)]

    def text(self, field: int) -> str:
        return self.bytes(field).decode("utf-8")

    def tables(self, field: int) -> "list[_Table]":
        place = self.place(field)
        if not place:
            return []
        start = place + _get("<I", self.data, place)
        places = range(start + 4, start + 4 + 4 * _get("<I", self.data, start), 4)
        if len(places) * 4 > len(self.data):
            raise ValueError("a list longer than the file")
        return [_Table(self.data, at + _get("<I", self.data, at)) for at in places]


def _get(form: str, data: bytes, at: int) -> int:
    if at < 0:
        raise ValueError("before the file's beginning")
    return int(struct.unpack_from(form, data, at)[0])
