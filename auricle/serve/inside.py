"""Recordings decoded in this process, behind what decodes them in another."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from auricle.audio import AudioError, Block, blocks, probe


class decode:  # noqa: N801
    """A recording's blocks, see `auricle.serve.decoding.decode`."""

    def __init__(
        self,
        path: Path,
        rate: int,
        limits: Any,
        *,
        start: float = 0.0,
        end: float | None = None,
        name: str = "",
        stop: threading.Event | None = None,
    ):
        self.path, self.rate, self.limits = path, rate, limits
        self.start, self.end, self.name, self.stop = start, end, name or str(path), stop
        self.warnings: list[str] = []
        self.duration: float | None = None

    def __enter__(self) -> Self:
        """Nothing is opened before the first block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        """Nothing is held."""

    def __iter__(self) -> Iterator[Block]:
        """The blocks."""
        try:
            whole = probe(self.path).duration
            self.duration = whole
            for block in blocks(self.path, self.rate, start=self.start, end=self.end, warn=self._warn):
                yield block
                if self.stop is not None and self.stop.is_set():
                    return
        except AudioError as error:
            raise AudioError(self._named(str(error))) from None

    def _warn(self, text: str) -> None:
        self.warnings.append(self._named(text))

    def _named(self, text: str) -> str:
        return text.replace(str(self.path), self.name)


async def receive_upload(request: Any, service: Any) -> Any:
    """An upload as a file; see `auricle.serve.uploads.receive_upload`."""
    import secrets
    from types import SimpleNamespace

    path = service.data / "uploads" / secrets.token_hex(8)
    name = "upload"
    if request.headers.get("content-type", "").startswith("multipart/"):
        async with request.form() as form:
            name, content = form["file"].filename, await form["file"].read()
    else:
        content = await request.body()
    path.write_bytes(content)
    return SimpleNamespace(path=path, name=name, size=len(content), fields={})


def resolve_under(root: Path, relative: str) -> Path:
    """A recording below the root; see `auricle.serve.uploads.resolve_under`."""
    return root / relative
