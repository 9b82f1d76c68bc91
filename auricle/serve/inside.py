"""Uploads, until they come by a way of their own."""

from pathlib import Path
from typing import Any


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
