"""`/v1/recordings/ID/export` and `/v1/export/manifest`: what was found and corrected, for other programs."""

import contextlib
import io
import re
import time
import zipfile
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from auricle import formats
from auricle.events import Event
from auricle.serve import results
from auricle.serve.correcting import (
    Row,
    corrected,
    corrected_windows,
    manifest_rows,
    more_labels,
    write_manifest,
)
from auricle.serve.errors import Refused, responses
from auricle.serve.hearing import UPLOAD
from auricle.serve.library import Recording
from auricle.serve.ranges import disposition
from auricle.serve.recordings import Hop, Theirs, Threshold, config_of, hop_of
from auricle.serve.spools import Look, Spool
from auricle.serve.state import Ours, Service
from auricle.serve.turns import Spooled, in_turn, sent
from auricle.serve.uploads import BINARY
from auricle.serve.visitors import Visitor
from auricle.serve.wishes import FILES, MEDIA_TYPES, SUFFIXES, Format

router = APIRouter(tags=["export"])

FORMATS = Literal[
    "json", "jsonl", "csv", "table", "audacity", "raven", "webvtt", "jams", "parquet", "manifest"
]
CSV = "text/csv; charset=utf-8"
CHUNK_BYTES = 1 << 18
NOT_IN_NAMES = re.compile(r'[<>:"|?*\\/;]')  # of files, on some system or other
UNJUDGED = (
    "nothing is judged yet; say of a sound that it is right or wrong, add one, or ask with judged=false"
)
FOLDER = "recordings"  # in an archive
TEXT = {"schema": {"type": "string"}}
FILE = {
    "description": "The file.",
    "content": FILES | {"application/json": {"schema": {"type": "object"}}, CSV: TEXT},
}


@router.get(
    "/v1/recordings/{id}/export",
    summary="The sounds of a recording, corrected, as a file",
    response_class=Response,
    responses={200: FILE, **responses(400, 404, 409, 429, 500, 503, 507)},
)
async def export(
    request: Request,
    service: Ours,
    visitor: Visitor,
    recording: Theirs,
    format: Annotated[FORMATS, Query(description="Of the file.")] = "csv",
    threshold: Threshold = None,
    hop: Hop = None,
    corrections: Annotated[bool, Query(description="Apply what was said.")] = True,
    judged: Annotated[bool, Query(description="manifest: only what was judged.")] = True,
) -> Response:
    """Without corrections, what `auricle tag --events --hop HOP --format FORMAT` writes, to the last digit.

    parquet has the scores of every label in every window, so `threshold` has no part in it.
    """
    write = partial(_exported, service, recording, format, threshold, hop, corrections, judged)
    return await in_turn(request, service.writing, visitor, write)


def _exported(
    service: Service,
    recording: Recording,
    format: str,
    threshold: float | None,
    hop: float | None,
    with_corrections: bool,
    judged: bool,
    look: Look,
) -> Response:
    stem = Path(recording.name).stem or "recording"
    if format == "manifest":
        rows = _rows(recording, threshold, judged, look)
        table = _table([(recording.name, rows)] if rows else [], Spool(service.space, look))
        return sent(table, _attached(f"{stem}.manifest.csv"), CSV)
    result, about = _result(recording, format, threshold, hop, with_corrections, look)
    file = results.rendered(result, format, about, Spool(service.space, look))
    return sent(file, _attached(stem + SUFFIXES[Format(format)]), MEDIA_TYPES[Format(format)])


def _result(
    recording: Recording,
    format: str,
    threshold: float | None,
    hop: float | None,
    with_corrections: bool,
    look: Look,
) -> tuple[dict[str, Any], formats.About]:
    """What a writer of a format takes."""
    kept, said = recording.scores(), recording.corrections() if with_corrections else []
    samples, labels = hop_of(kept, hop), kept.artifact.labels
    about = formats.About.of(kept.artifact)
    wanted: dict[str, Any] = {"hop": samples / kept.artifact.rate, "heard": lambda _: look()}
    tagger = kept.tagger()
    if format == "parquet":
        pieces = tagger.follow(recording.name, **wanted, scores=True)
        windows: Iterator[dict[str, Any]] = (piece for piece in pieces if "scores" in piece)
        if said:
            more = (*labels, *more_labels(labels, said))
            about = formats.About(**vars(about) | {"labels": more})
            windows = corrected_windows(windows, labels, said)
        return {"path": recording.name, "windows": windows}, about
    config = config_of(kept, threshold)
    (whole,) = tagger.follow(recording.name, **wanted, windows=False, events=config)
    if said:
        whole["events"] = corrected(whole["events"], said, look, kept.peaks(config, samples))
    if warnings := recording.heard()["warnings"]:
        whole["warnings"] = warnings
    return whole, about


def _rows(recording: Recording, threshold: float | None, judged: bool, look: Look) -> Iterator[Row] | None:
    """A recording's part of a manifest, made as it is written; None if that is nothing."""
    look()
    said, found = recording.corrections(), list[Event]()
    if not judged:
        kept = recording.scores()
        found = corrected(kept.events(config_of(kept, threshold), kept.hop)[0], said, look)
    return manifest_rows(said, found, look) if said or found else None


@router.get(
    "/v1/export/manifest",
    summary="A training manifest of all recordings",
    response_class=Response,
    responses={
        200: {"description": "The manifest.", "content": {CSV: TEXT, "application/zip": {"schema": BINARY}}},
        **responses(400, 404, 409, 429, 500, 503, 507),
    },
)
async def export_all(
    request: Request,
    service: Ours,
    visitor: Visitor,
    audio: Annotated[bool, Query(description="With the recordings, as a zip archive.")] = False,
    judged: Annotated[bool, Query(description="Only what was judged.")] = True,
    threshold: Threshold = None,
) -> Response:
    """All that was said of the visitor's recordings, as a table that `auricle pack` reads.

    Paths are the names of the files as they were sent: put the table beside them. Of several of one name, the
    later ones have a number in it. With `audio`, the archive has the recordings and their table, both with
    names that every system takes.
    """
    write = partial(_exported_all, service, visitor, audio, judged, threshold)
    return await in_turn(request, service.writing, visitor, write)


def _exported_all(
    service: Service, visitor: str, audio: bool, judged: bool, threshold: float | None, look: Look
) -> Response:
    all_of = [one for one in reversed(service.library.all_of(visitor)) if one.found is not None]
    wanted = [one for one in all_of if one.is_of_this_model or judged]
    found = [(one, rows) for one in wanted if (rows := _rows(one, threshold, judged, look)) is not None]
    names = _distinct([one.name for one, _ in found], portable=audio)
    paths = [f"{FOLDER}/{name}" for name in names] if audio else names
    parts = [(path, own) for path, (_, own) in zip(paths, found, strict=True)]
    table = _table(parts, Spool(service.space, look))
    if not audio:
        return sent(table, _attached("manifest.csv"), CSV)
    files = [
        (path, one.folder / UPLOAD, one.row["created"]) for path, (one, _) in zip(paths, found, strict=True)
    ]
    archive = _archive(table, files)

    def close() -> None:
        archive.close()
        table.close()

    return Spooled(archive, _attached("manifest.zip"), "application/zip", close)


def _distinct(names: list[str], portable: bool) -> list[str]:
    """Names of recordings, each once, with a number where one comes again.

    Args:
        names: as they came.
        portable: have every system take them, in one folder; else they are those of the files that were sent.

    >>> _distinct(["a.wav", "A.wav", "b?.wav", "a.wav"], portable=True)
    ['a.wav', 'A (2).wav', 'b_.wav', 'a (3).wav']
    >>> _distinct(["a.wav", "A.wav", "b?.wav", "a.wav"], portable=False)
    ['a.wav', 'A.wav', 'b?.wav', 'a (2).wav']
    >>> _distinct(["a.wav", "a.wav", "a (2).wav"], portable=False)
    ['a.wav', 'a (3).wav', 'a (2).wav']
    """
    if portable:
        names = [NOT_IN_NAMES.sub("_", name).strip(". ") or "recording" for name in names]
    fold = str.casefold if portable else str
    theirs, taken = {fold(name) for name in names}, set[str]()
    out = []
    for name in names:
        number, new = 1, name
        # A number makes no name that another file has.
        while (key := fold(new)) in taken or (number > 1 and key in theirs):
            number += 1
            new = f"{Path(name).stem} ({number}){Path(name).suffix}"
        taken.add(key)
        out.append(new)
    return out


def _table(rows: list[tuple[str, Iterator[Row]]], file: Spool) -> Spool:
    """The table of a manifest, to be read from its beginning.

    Raises:
        Refused: 409, nothing is in it; as `file`.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(file.close)
        if not rows:
            raise Refused(409, UNJUDGED)
        text = io.TextIOWrapper(file, "utf-8", newline="")  # type: ignore[type-var]
        write_manifest(rows, text)
        text.flush()
        text.detach()
        file.seek(0)
        stack.pop_all()
    return file


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": disposition("attachment", name)}


class _ZipPieces(io.RawIOBase):
    """The archive as it is written, to be taken and sent on piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.content += data
        return len(data)

    def taken(self) -> bytes:
        content, self.content = bytes(self.content), bytearray()
        return content


def _archive(table: Spool, files: list[tuple[str, Path, float]]) -> Generator[bytes, None, None]:
    """A zip archive as it is written; what is sound hardly gets smaller, so nothing is compressed."""
    pieces = _ZipPieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as archive:
        opened: list[tuple[str, float, Callable[[], Any]]] = [("manifest.csv", time.time(), lambda: table)]
        opened += [(name, created, partial(path.open, "rb")) for name, path, created in files]
        for name, created, open_it in opened:
            entry = zipfile.ZipInfo(name, time.gmtime(created)[:6])
            with open_it() as file, archive.open(entry, "w", force_zip64=True) as into:
                while content := file.read(CHUNK_BYTES):
                    into.write(content)
                    yield pieces.taken()
    yield pieces.taken()
