"""A released file, on disk or by URL, never used before its SHA-256 is the one that was asked for."""

import hashlib
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from auricle.progress import Progress

PIECE = 1 << 20  # bytes read at a time
TIMEOUT_SECONDS = 30.0  # without a byte
IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")  # as PyTorch's hub names files: NAME-FIRSTDIGITS.pth
DIGITS = re.compile(r"[0-9a-f]{8,64}")


def fetch(source: str, *, sha256: str = "", cache: Path | None = None, quiet: bool = False) -> Path:
    """The path of a file that is what it should be, downloaded once where the source is a URL.

    Args:
        source: a path, or a URL that begins with http:// or https://.
        sha256: the first 8 to 64 hexadecimal digits of the file's SHA-256. They may stand in the file's name
            instead (vggish-10086976.pth). For a URL one of the two has to be there; a path without either is
            not checked.
        cache: where downloads are kept; None is `auricle` in the user's cache folder.
        quiet: show no progress.

    Returns:
        The path that was given, or that of the downloaded file.

    Raises:
        ValueError: no such file, the checksum differs (what was downloaded is removed), no checksum to go by,
            or the server does not give the file. The message says which.

    >>> fetch("weights.pth")
    Traceback (most recent call last):
    ValueError: weights.pth: no such file
    """
    expected = sha256.lower()
    if expected and not DIGITS.fullmatch(expected):
        raise ValueError(f"SHA-256 is {sha256!r}; expected 8 to 64 hexadecimal digits")
    if urllib.parse.urlsplit(source).scheme not in ("http", "https"):
        path = Path(source)
        if not path.is_file():
            raise ValueError(f"{source}: no such file")
        if expected := expected or _in_name(path.name):
            _check(path, expected, source)
        return path
    name = Path(urllib.parse.urlsplit(source).path).name
    expected = expected or _in_name(name)
    if not expected or not name:
        raise ValueError(f"{source}: nothing says which file is expected; give its SHA-256")
    path = (cache or cache_folder()) / f"{expected}-{name}"
    if path.is_file():
        _check(path, expected, str(path))
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        _download(source, partial, name, quiet=quiet)
        _check(partial, expected, source)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _in_name(name: str) -> str:
    found = IN_NAME.search(name)
    return found[1] if found else ""


def cache_folder() -> Path:
    """Where downloads are kept: `$XDG_CACHE_HOME/auricle`, by default in `~/.cache`.

    >>> cache_folder().name
    'auricle'
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "auricle"


def _check(path: Path, expected: str, source: str) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    if not digest.hexdigest().startswith(expected):
        raise ValueError(
            f"{source}: its SHA-256 begins with {digest.hexdigest()[: len(expected)]}, expected {expected}: "
            "another or a damaged file, which was not used"
        )


def _download(url: str, path: Path, name: str, *, quiet: bool) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "auricle"})  # noqa: S310 - http(s), see above
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer, path.open("wb") as stream:  # noqa: S310
            length = answer.headers.get("Content-Length")
            total = -(-int(length) // PIECE) if length else None
            with Progress(total, f"downloading {name}", "MiB", quiet=quiet) as progress:
                while piece := answer.read(PIECE):
                    stream.write(piece)
                    progress.advance()
        if length and path.stat().st_size != int(length):
            raise ValueError(f"{url}: ended after {path.stat().st_size} of {length} bytes; try again")
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise ValueError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        cause = getattr(error, "reason", error) or error
        raise ValueError(
            f"{url}: cannot be reached ({cause}); download it elsewhere and give its path"
        ) from error
