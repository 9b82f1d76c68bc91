"""Parts of files over HTTP (RFC 9110, sections 13 and 14), as players ask for them."""

import re
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from auricle.serve.errors import Refused

CHUNK_BYTES = 1 << 18
ONE = re.compile(r"bytes\s*=\s*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))\s*", re.I)
UNPLAIN = re.compile(r"[^A-Za-z0-9 ._()+-]")


class Part(NamedTuple):
    """Bytes of a file: from the first, up to the one after the last."""

    start: int
    stop: int


def part_of(header: str | None, size: int) -> Part | None:
    """The part that a Range header asks for; None for the whole.

    What is of another unit, broken, or several parts is answered by the whole, as it may be.

    Raises:
        Refused: 416, it begins beyond the end.
    """
    match = ONE.fullmatch(header.strip()) if header else None
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        start, stop = max(0, size - int(suffix)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        text = f"the range begins beyond the end: the file has {size:,} bytes"
        raise Refused(416, text, {"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"})
    return Part(start, stop)


def file_response(request: Request, path: Path, kind: str, name: str, tag: str, *, seconds: int) -> Response:
    """A file, or the part of it that is asked for.

    Args:
        request: GET or HEAD, with Range, If-Range, If-None-Match.
        path: the file, whose content never changes.
        kind: its type.
        name: what it is called where it is saved.
        tag: what tells it from all others.
        seconds: how long a browser may keep it.

    Raises:
        Refused: 404 where it is gone; as `part_of`.
    """
    try:
        facts = path.stat()
    except OSError:
        raise Refused(404, f"{name}: is not there any more; upload it again") from None
    mark, changed = f'"{tag}-{facts.st_size:x}"', formatdate(facts.st_mtime, usegmt=True)
    headers = {
        "ETag": mark,
        "Last-Modified": changed,
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={seconds}",
        "Content-Disposition": disposition("inline", name),
    }
    if _matches(request.headers.get("if-none-match"), mark):
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range") if request.method == "GET" else None
    condition = request.headers.get("if-range")
    if condition is not None and condition.strip() not in (mark, changed):
        asked = None
    part = part_of(asked, facts.st_size)
    start, stop = part or Part(0, facts.st_size)
    headers["Content-Length"] = str(stop - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{facts.st_size}"
    if request.method == "HEAD":
        return Response(None, 200, headers, kind)
    status = 200 if part is None else 206
    return StreamingResponse(_bytes(path, start, stop), status, headers, kind)


def disposition(how: str, name: str) -> str:
    r"""A Content-Disposition that no name breaks out of (RFC 6266).

    >>> disposition("attachment", 'rü"\r\n.wav')
    'attachment; filename="r____.wav"; filename*=UTF-8\'\'r%C3%BC%22%0D%0A.wav'
    """
    plain = UNPLAIN.sub("_", name)
    spelled = quote(name, safe="", errors="replace")
    return f'{how}; filename="{plain}"' + ("" if plain == name else f"; filename*=UTF-8''{spelled}")


def _matches(header: str | None, mark: str) -> bool:
    if header is None:
        return False
    given = [one.strip().removeprefix("W/") for one in header.split(",")]
    return mark in given or given == ["*"]


def _bytes(path: Path, start: int, stop: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while start < stop and (content := file.read(min(CHUNK_BYTES, stop - start))):
            start += len(content)
            yield content
