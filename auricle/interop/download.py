"""A released file, on disk or by URL, never used before its checksum is the one that was asked for or kept.

A download that was interrupted goes on where it stopped, in this process or a later one. Proxies are those of
the environment (`https_proxy`, `no_proxy`, ...), `AURICLE_OFFLINE=1` asks no server for anything, and copies
are kept in `AURICLE_CACHE` or the user's cache folder.
"""

import contextlib
import hashlib
import http.client
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auricle.interop.given import LOOKED_AT, text_in
from auricle.progress import Progress, say
from auricle.remote.cache import cache_folder

__all__ = ["cache_folder", "fetch", "held", "is_offline", "keep", "pin", "record_of"]

PIECE = 1 << 20  # bytes read at a time
TIMEOUT_SECONDS = 30.0  # without a byte
PATIENCE_SECONDS = 5.0  # without a byte, before it is said what is waited for
TRIALS = 5  # in a row that bring nothing new
PAUSE_SECONDS = 1.0  # before the next trial
FAR = 2.0  # times larger or smaller than expected is another file
IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")  # as PyTorch's hub names files: NAME-FIRSTDIGITS.pth
DIGITS = re.compile(r"[0-9a-f]{8,64}")
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
LOST = (http.client.HTTPException, TimeoutError, ConnectionError)  # of a connection that was there


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
            _check(path, {"sha256": expected}, source)
        return path
    name = Path(urllib.parse.urlsplit(source).path).name
    expected = expected or _in_name(name)
    if not expected or not name:
        raise ValueError(f"{source}: nothing says which file is expected; give its SHA-256")
    path = (cache or cache_folder()) / f"{expected}-{name}"
    try:
        return keep(source, path, sha256=expected, quiet=quiet)
    except Unreachable as error:
        raise ValueError(f"{error}; download it elsewhere and give its path") from error


class Unreachable(ValueError):
    """The file cannot be had now: no server is to be asked, or none answers."""


class Another(ValueError):
    """The file is not the one that was published, or that was used before: damaged, or another one."""


def keep(
    url: str,
    path: Path,
    *,
    sha256: str = "",
    md5: str = "",
    size: int = 0,
    pinned: bool = True,
    quiet: bool = False,
) -> Path:
    """A URL's file at a path: downloaded where it is not there yet, checked each time.

    Without a checksum the first download, or a file that somebody put there, counts as the right one: its
    SHA-256 is kept beside it, in PATH.sha256, and every later one has to have it.

    Args:
        url: http:// or https://.
        path: where it is kept; folders are made.
        sha256: the first digits of its SHA-256, where they are known.
        md5: its MD5, where that is what was published.
        size: about how many bytes it has, where that is known: another file is not downloaded.
        pinned: its SHA-256 is kept now; else `pin` does that, when it is known to be good.
        quiet: show no progress.

    Raises:
        Unreachable: the file is not there, and cannot be had now: no server answers, or it refuses, or gives
            a web page or a file of another size.
        Another: its checksum is not the one that was published or kept.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.pth"
    >>> _ = path.write_bytes(b"weights")
    >>> keep("https://example.org/a.pth", path).name, path.with_name("a.pth.sha256").read_text()[:8]
    ('a.pth', '9a129038')
    """
    expected = {"sha256": sha256.lower()} if sha256 else {"md5": md5.lower()} if md5 else {}
    record = record_of(path)
    kept = record.read_text(encoding="utf-8").split()[:1] if record.is_file() else []
    if not path.is_file():
        if is_offline():
            raise Unreachable(f"{url}: not downloaded yet, and AURICLE_OFFLINE is set")
        path.parent.mkdir(parents=True, exist_ok=True)
        with held(path.with_name(f"{path.name}.lock"), f"the download of {path.name}"):
            if not path.is_file():
                partial = path.with_name(f"{path.name}.partial")
                checked = bool(expected or kept)
                _download(url, partial, path.name, checked=checked, size=size, quiet=quiet)
                try:
                    _refuse_far(url, partial.stat().st_size, size)
                    found = _check(partial, expected, url)
                    _compare(found, kept, url, f"; if another file is published now, remove {record}")
                except ValueError:
                    _forget(partial)
                    raise
                partial.replace(path)
                _forget(partial)
                if pinned and not sha256 and not kept:
                    _write_record(record, found, path.name)
                return path
    remove = f"; remove it, and it is fetched again from {url}"
    if is_offline():
        remove = f"; remove it, and put there what {url} gives (AURICLE_OFFLINE is set)"
    found = _check(path, expected, str(path), remove)
    kept = record.read_text(encoding="utf-8").split()[:1] if record.is_file() else []
    # The file first: without its record, a damaged one would be the right one from then on.
    _compare(found, kept, str(path), f"{remove}; if another file is published now, remove {record} as well")
    if pinned and not sha256 and not kept:
        _write_record(record, found, path.name)
    return path


def pin(path: Path) -> None:
    """From now on a file has to be the one that is there, see `keep`; one that is pinned stays so.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.pth"
    >>> _ = path.write_bytes(b"weights")
    >>> pin(path)
    >>> record_of(path).read_text()[:8]
    '9a129038'
    """
    record = record_of(path)
    if not record.is_file():
        _write_record(record, _check(path, {}, str(path)), path.name)


def record_of(path: Path) -> Path:
    """Where a file's SHA-256 is kept.

    >>> record_of(Path("a.pth")).name
    'a.pth.sha256'
    """
    return path.with_name(f"{path.name}.sha256")


def is_offline() -> bool:
    """Whether `AURICLE_OFFLINE` says that no server is to be asked.

    >>> is_offline()
    False
    """
    return os.environ.get("AURICLE_OFFLINE", "").lower() not in ("", "0", "no", "false")


@contextlib.contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold a file against other processes, after those that hold it; a lock goes with its process.

    Args:
        path: of the lock, a file that goes when nobody holds it any more.
        what: what is waited for, for a line where that takes time.

    >>> import tempfile
    >>> with held(Path(tempfile.mkdtemp()) / "a.lock", "nothing"):
    ...     pass
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: one process at a time there
        yield
        return
    while True:
        with path.open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for {what} by another process")
                fcntl.flock(stream, fcntl.LOCK_EX)
            if not path.exists() or path.stat().st_ino != os.fstat(stream.fileno()).st_ino:
                continue  # who held it before removed it
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _in_name(name: str) -> str:
    found = IN_NAME.search(name)
    return found[1] if found else ""


def _check(path: Path, expected: dict[str, str], source: str, advice: str = "") -> str:
    """The file's SHA-256; `Another` where a digest does not begin as expected."""
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in ("sha256", *expected)}
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            for digest in digests.values():
                digest.update(piece)
    for name, digits in expected.items():
        found = digests[name].hexdigest()[: len(digits)]
        if found != digits:
            called = {"sha256": "SHA-256", "md5": "MD5"}[name]
            raise Another(
                f"{source}: its {called} begins with {found[:64]}, expected {digits}: "
                f"another or a damaged file, which was not used{advice}"
            )
    return digests["sha256"].hexdigest()


def _compare(found: str, kept: list[str], source: str, advice: str) -> None:
    if kept and kept[0] != found:
        raise Another(
            f"{source}: its SHA-256 is {found[:16]}..., but it was {kept[0][:16]}... when it was first used: "
            f"another or a damaged file, which was not used{advice}"
        )


def _write_record(record: Path, digest: str, name: str) -> None:
    fresh = record.with_name(f"{record.name}.{os.getpid()}.tmp")
    fresh.write_text(f"{digest}  {name}\n", encoding="utf-8")  # as sha256sum -c takes it
    fresh.replace(record)


def _forget(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _mark_of(partial).unlink(missing_ok=True)


def _mark_of(partial: Path) -> Path:
    """Where the mark is kept by which the server tells one state of the file from another."""
    return partial.with_name(f"{partial.name}.mark")


def _refuse_far(url: str, found: int, expected: int) -> None:
    if expected and not expected / FAR <= found <= expected * FAR:
        raise Unreachable(f"{url}: the server gives {found} bytes, expected about {expected}: not that file")


def _download(url: str, partial: Path, name: str, *, checked: bool, size: int, quiet: bool) -> None:
    """All of a URL's file in `partial`, from where a download before it stopped.

    Args:
        url: of the file.
        partial: what is there of it, or nothing.
        name: of the file, for progress.
        checked: there is a checksum by which a file of two states would be found out.
        size: about how many bytes it has; 0: not known.
        quiet: show no progress.
    """
    fruitless, reason = 0, ""
    while fruitless < TRIALS:
        before = partial.stat().st_size if partial.is_file() else 0
        if fruitless:
            time.sleep(PAUSE_SECONDS)
        try:
            total = _continue(url, partial, name, checked=checked, size=size, quiet=quiet)
            there = partial.stat().st_size if partial.is_file() else 0
            if total is None or there == total:
                return
            reason = f"ended after {there} of {total} bytes"
            if there > total:
                _forget(partial)
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            if error.code < 500 and error.code not in (408, 429):
                raise Unreachable(f"{url}: {_answered(error)}") from error
            reason = _answered(error)
        except urllib.error.URLError as error:
            if not before:
                raise Unreachable(f"{url}: cannot be reached ({error.reason})") from error
            reason = f"cannot be reached ({error.reason})"
        except LOST as error:
            there = partial.stat().st_size if partial.is_file() else 0
            what = "the connection was lost" if there else "the server sends nothing"
            reason = f"{what} ({error or type(error).__name__})"
        after = partial.stat().st_size if partial.is_file() else 0
        fruitless = 0 if after > before else fruitless + 1
    raise Unreachable(f"{url}: {reason}{'; the next try goes on from there' if after else ''}")


@contextlib.contextmanager
def _waited_for(url: str, quiet: bool) -> Iterator[None]:
    """Say what is waited for where that takes some seconds."""
    host = urllib.parse.urlsplit(url).netloc
    told = f"waiting for {host}, which sends nothing yet; it is given up after {TIMEOUT_SECONDS:g} s a trial"
    timer = threading.Timer(PATIENCE_SECONDS, say, [told])
    timer.daemon = True
    if not quiet:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _answered(error: urllib.error.HTTPError) -> str:
    """What a server said, in one line: of redirects without end it is three."""
    return f"the server answers {error.code} {' '.join(str(error.reason).split())}"


def _continue(url: str, partial: Path, name: str, *, checked: bool, size: int, quiet: bool) -> int | None:
    """Fetch what is missing in one request; returns the size of the whole file, None where it is not told."""
    mark = _mark_of(partial)
    there = partial.stat().st_size if partial.is_file() else 0
    known = mark.read_text(encoding="utf-8").strip() if mark.is_file() else ""
    headers = {"User-Agent": "auricle", "Accept-Encoding": "identity"}
    if there and (known or checked):  # else two states of the file could be mixed, and nobody would know
        headers |= {"Range": f"bytes={there}-"} | ({"If-Range": known} if known else {})
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http(s), see above
    try:
        opener = urllib.request.build_opener()  # urlopen keeps the proxies of its first call
        with _waited_for(url, quiet):
            answer = opener.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        whole = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        error.close()
        if whole is not None and int(whole[1]) == there:  # killed before it got its name
            return there
        _forget(partial)
        raise http.client.HTTPException("it has another file than the one begun") from error
    with answer:
        start, total = _place(answer)
        if start not in (0, there):
            _forget(partial)
            raise http.client.HTTPException("it gives another part than the one asked for")
        _refuse_far(url, size if total is None else total, size)
        with _waited_for(url, quiet):
            piece = answer.read(PIECE)
        if not start:
            _refuse_page(url, piece, answer.headers.get_content_type())
        tag = answer.headers.get("ETag", "")
        fresh = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")
        if not start:
            mark.write_text(fresh, encoding="utf-8")
        pieces = -(-(total - start) // PIECE) if total is not None else None
        with (
            partial.open("ab" if start else "wb") as stream,
            Progress(pieces, f"downloading {name}", "MiB", quiet=quiet) as progress,
        ):
            while piece:
                stream.write(piece)
                progress.advance()
                piece = answer.read(PIECE)
    return total


def _refuse_page(url: str, piece: bytes, kind: str) -> None:
    """Refuse what begins like this, or calls itself a web page, before it takes the place of anything."""
    what = text_in(piece[:LOOKED_AT]) if piece else ""
    if what or kind == "text/html":
        raise Unreachable(
            f"{url}: the server does not give the file, but {what or 'a web page'} (a network that asks "
            "for a login first does so)"
        )


def _place(answer: Any) -> tuple[int, int | None]:
    """Where in the file an answer begins, and how long the file is."""
    length = answer.headers.get("Content-Length")
    size = int(length) if length and length.isdigit() else None
    if answer.status != 206:
        return 0, size
    found = RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if found is None:
        return -1, None
    start = int(found[1])
    return start, int(found[2]) if found[2] != "*" else None if size is None else start + size
