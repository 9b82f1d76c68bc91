"""Uploads, straight to the disk: a form with one file, or a body that is the file.

Nothing is gathered in memory beyond a megabyte. Whatever is wrong with an upload is said as soon as it is
known, and its file is gone again.
"""

import asyncio
import contextlib
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from auricle.serve.errors import Refused
from auricle.serve.settings import Settings
from auricle.serve.space import Space, full
from auricle.serve.state import Service

WRITE_BYTES = 1 << 20  # that are gathered before they are written
AT_ONCE = 64  # uploads under way
FIELD_BYTES = 1 << 16  # of all parts of a form that are no file
PARTS = 32
NAME_CHARACTERS = 200
SLOW_AFTER_SECONDS, LEAST_BYTES_PER_SECOND = 60.0, 1_000  # slower ones only keep a place from others
HOW = "send a form whose part `file` is the recording, or the recording itself as the body"
BINARY = {"type": "string", "format": "binary"}  # in OpenAPI; and what may be sent
FORMS: dict[str, Any] = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {"file": BINARY | {"description": "The recording, as a file."}},
        }
    },
    "application/octet-stream": {"schema": BINARY},
    "audio/*": {"schema": BINARY},
    "video/*": {"schema": BINARY},
}
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")

received: Counter[str] = Counter()  # "uploads" and their "bytes", also of those that failed


@dataclass
class Upload:
    """A file that came.

    Args:
        path: where it lies, under a name of the service's.
        name: what the client calls it: one line, without folders.
        size: bytes.
        fields: the other parts of the form.
    """

    path: Path
    name: str = "upload"
    size: int = 0
    fields: dict[str, str] = field(default_factory=dict)

    def remove(self) -> None:
        """Delete the file, where it is still there."""
        self.path.unlink(missing_ok=True)


async def receive_upload(request: Request, service: Service) -> Upload:
    """The recording in the body of a request, as a file in the service's `data/uploads`.

    Args:
        request: whose body nobody has read.
        service: that it comes to.

    Raises:
        Refused: 400 broken, none or two; 408 too slow; 413 too large; 415 of another type; 429 too many at
            once; 507 no room.
    """
    settings: Settings = service.settings
    form = _checked(request, settings)
    if service.uploading >= AT_ONCE:
        text = f"{AT_ONCE} uploads are under way, which is the most; try again in a moment"
        raise Refused(429, text, {"Retry-After": "2"})
    service.uploading += 1
    upload = Upload(service.data / "uploads" / secrets.token_hex(16))
    try:
        with _Writer(upload, service.space) as writer:
            if form is None:
                upload.name = clean_name(_name_of(request))
                await _take_body(_body(request, settings), writer)
            else:
                await _take_form(_body(request, settings), form, writer)
            await writer.flush()
        return upload
    except ClientDisconnect:
        upload.remove()
        raise Refused(400, "the client went before its upload was complete; send it again") from None
    except BaseException:
        upload.remove()
        raise
    finally:
        service.uploading -= 1
        received.update({"uploads": 1, "bytes": upload.size})


def _checked(request: Request, settings: Settings) -> bytes | None:
    """The boundary of a form; None for a body that is the file.

    Raises:
        Refused: from the headers it is known that the upload cannot be taken.
    """
    said = request.headers.get("content-length")
    if said is not None and said.isdigit() and int(said) > settings.max_upload_bytes + FIELD_BYTES:
        raise too_large(settings)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused(415, "the body is compressed (Content-Encoding); send the file as it is")
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary", b"")
        if not 0 < len(boundary) <= 70:  # RFC 2046
            raise Refused(400, f"the form has no boundary of 1 to 70 characters in its Content-Type; {HOW}")
        return boundary
    main = kind.partition(b"/")[0]
    if main in (b"multipart", b"text", b"message") or kind in (
        b"application/x-www-form-urlencoded",
        b"application/json",
    ):
        came = kind.decode("latin-1")[:100]
        raise Refused(415, f"the body is of type {came!r}; {HOW} (Content-Type: application/octet-stream)")
    return None


def too_large(settings: Settings) -> Refused:
    """What is said of an upload that is larger than is taken."""
    most = settings.max_upload_bytes
    size = f"{most / 1e9:.3g} GB" if most >= 1e8 else f"{most:,} bytes"
    return Refused(413, f"the upload is larger than {size}; send it in parts, or compress it")


async def _body(request: Request, settings: Settings) -> AsyncIterator[bytes]:
    """The body as it comes, if it comes fast enough."""
    stream = request.stream()
    began, came = time.monotonic(), 0
    while True:
        left = settings.upload_seconds - (time.monotonic() - began)
        stall = settings.upload_stall_seconds
        try:
            async with asyncio.timeout(min(stall, max(0.0, left))):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            if left < stall:
                text = f"the upload took longer than {settings.upload_seconds:g} s; send a smaller file"
            else:
                text = f"nothing came for {stall:g} s; send the upload again"
            raise Refused(408, text) from None
        came += len(piece)
        elapsed = time.monotonic() - began
        if elapsed > SLOW_AFTER_SECONDS and came < elapsed * LEAST_BYTES_PER_SECOND:
            text = f"the upload comes slower than {LEAST_BYTES_PER_SECOND:,} bytes a second; try again"
            raise Refused(408, text)
        if came > settings.max_upload_bytes + FIELD_BYTES:
            raise too_large(settings)
        yield piece


class _Writer:
    """Writes an upload in large pieces, in threads, as long as there is room."""

    def __init__(self, upload: Upload, space: Space):
        self.upload, self.space = upload, space
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, piece: bytes) -> None:
        """Note what came; `flush` writes it."""
        self._pieces.append(piece)
        self._gathered += len(piece)
        self.upload.size += len(piece)

    @property
    def is_full(self) -> bool:
        """Whether it is time to write."""
        return self._gathered >= WRITE_BYTES

    async def flush(self) -> None:
        """Write what was gathered.

        Raises:
            Refused: 507, it has no room.
        """
        pieces, size = self._pieces, self._gathered
        self._pieces, self._gathered = [], 0
        writing = asyncio.ensure_future(asyncio.to_thread(self._write, pieces, size))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:  # a file must not be closed under a thread that writes
            with contextlib.suppress(Exception):
                await writing
            raise

    def _write(self, pieces: list[bytes], size: int) -> None:
        self.space.take(size)
        try:
            if self._file is None:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
                self._file = os.fdopen(os.open(self.upload.path, flags, 0o600), "wb", buffering=0)
            for piece in pieces:
                left = memoryview(piece)
                while len(left):
                    left = left[self._file.write(left) :]
        except OSError:
            raise full() from None


async def _take_body(pieces: AsyncIterator[bytes], writer: _Writer) -> None:
    async for piece in pieces:
        writer.add(piece)
        if writer.is_full:
            await writer.flush()
    if not writer.upload.size:
        raise Refused(400, f"no recording came: the body is empty; {HOW}")


async def _take_form(pieces: AsyncIterator[bytes], boundary: bytes, writer: _Writer) -> None:
    form = _Form(writer)
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async for piece in pieces:
            parser.write(piece)
            if writer.is_full:
                await writer.flush()
        parser.finalize()
    except FormParserError as error:
        if "header size" in str(error).lower():
            text = (
                f"the form is broken: the head of a part is too long; give the file a shorter name, or {HOW}"
            )
            raise Refused(400, text) from None
        raise Refused(400, f"the form is broken ({error}); {HOW}") from None
    if not form.is_complete:
        raise Refused(400, f"the form ends before its last boundary; {HOW}")
    if not form.files:
        raise Refused(400, f"the form has no part `file`; {HOW}")


class _Form:
    """What the parser finds: one part that is a file, and fields."""

    def __init__(self, writer: _Writer):
        self.writer, self.files, self.is_complete = writer, 0, False
        self._parts = self._field_bytes = 0
        self._header, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._field: str | None = None  # the name of the part that is read, where it is no file
        self._content = bytearray()

    def callbacks(self) -> dict[str, Any]:
        """For the parser."""
        names = "part_begin part_data part_end header_field header_value header_end headers_finished end"
        return {f"on_{name}": getattr(self, f"_{name}") for name in names.split()}

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > PARTS:
            raise Refused(400, f"the form has more than {PARTS} parts; {HOW}")
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        value = self._headers.get(b"content-disposition", b"").decode("latin-1")
        kind, options = parse_options_header(value)
        if kind != b"form-data" or b"name" not in options:
            raise Refused(400, f"a part of the form has no name; {HOW}")
        name = options[b"name"].decode("utf-8", "replace")
        filename = options.get(b"filename")
        if name != "file" and filename is None:
            self._field, self._content = name, bytearray()
            return
        self._field = None
        if name != "file":
            raise Refused(400, f"the form's file is its part {clean_name(name)!r}; {HOW}")
        self.files += 1
        if self.files > 1:
            raise Refused(400, "the form has two files; expected one: send each by itself")
        told = (filename or b"").decode("utf-8", "replace")
        self.writer.upload.name = clean_name(told.replace("%22", '"'))  # which browsers put for a quote

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self.writer.add(data[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > FIELD_BYTES:
            raise Refused(413, f"the form's other parts are longer than {FIELD_BYTES:,} bytes; {HOW}")
        self._content += data[start:end]

    def _part_end(self) -> None:
        if self._field is not None:
            self.writer.upload.fields[self._field] = self._content.decode("utf-8", "replace")

    def _end(self) -> None:
        self.is_complete = True


def _name_of(request: Request) -> str:
    """What a request whose body is a file calls it: the file name of its Content-Disposition."""
    value = request.headers.get("content-disposition", "")
    if (
        found := re.search(r"filename\*\s*=\s*(?:utf-8|iso-8859-1)'[^']*'([^;\s]+)", value, re.I)
    ) is not None:
        return unquote(found[1], errors="replace")
    _, options = parse_options_header(value)
    return options.get(b"filename", b"").decode("utf-8", "replace")


def clean_name(name: str) -> str:
    r"""A client's name of a file as one that can be shown: one line, no folders, not too long.

    >>> clean_name("C:\\music\\rain.wav"), clean_name("../../etc/passwd"), clean_name("..")
    ('rain.wav', 'passwd', 'upload')
    """
    name = UNSAFE.sub("", name.replace("\\", "/").rsplit("/", 1)[-1]).strip()
    if len(name) > NAME_CHARACTERS:
        stem, dot, suffix = name.rpartition(".")
        keep = dot + suffix if stem and len(suffix) <= 10 else ""
        name = name[: NAME_CHARACTERS - len(keep)] + keep
    return name if name.strip(".") else "upload"
