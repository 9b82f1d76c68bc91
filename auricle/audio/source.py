"""Where the bytes come from: a path, standard input, or any binary file object, seekable or not."""

import contextlib
import errno
import io
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

from auricle.audio.devices import Device
from auricle.audio.types import Notices, problem
from auricle.remote import address_of
from auricle.text import printable

READ_BYTES = 1 << 20
FETCHED_BYTES = 256_000_000  # a recording elsewhere of up to so many is fetched first
STREAM_BLOCK = 8 << 20  # of a larger one, so many are read ahead at a time


class Source:
    """Bytes of one recording, read from the start, with the name that messages use.

    It is handed to PyAV as a file object where there is no path: a pipe has no seek, and what was read of it
    is kept until `release`, so that a second look at the head, or a spool to disk, loses nothing.
    """

    def __init__(self, source: str | Path | BinaryIO | Device, *, prompt: bool = False):
        self.path: str | None = None
        self.device: Device | None = None
        self.prompt = prompt  # hand on at once what there is, in pieces however small
        self._owned = False
        self._kept = bytearray()
        self._position = 0
        self._keeping = True
        self._file: BinaryIO
        if isinstance(source, Device):  # FFmpeg reads it by itself
            self.name, self.device, self._file, self._seekable = str(source), source, io.BytesIO(), False
            return
        elsewhere = address_of(source) if isinstance(source, str | os.PathLike) else None
        if elsewhere is not None:
            self.name, self._owned = printable(elsewhere), True
            self._file = _fetched(elsewhere, self.name)
            if os.name == "posix" and isinstance(path := getattr(self._file, "name", None), str):
                self.path = path if Path(path).is_file() else None
        elif isinstance(source, str | os.PathLike) and os.fspath(source) != "-":
            self.name = printable(source)
            self._file = _open(os.fspath(source), self.name)
            self._owned = True
            if self._file.seekable() and not _is_device(self._file):
                self.path = str(Path(source).absolute())
        elif isinstance(source, str | os.PathLike):
            self.name = "standard input"
            if sys.stdin is None or sys.stdin.isatty():
                raise problem(self.name, "is a terminal", "pipe a recording into the command")
            # Past the buffer, whose lock a thread that waits for a silent pipe would hold when Python ends.
            self._file = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
        else:
            name = getattr(source, "name", None)
            self.name = printable(name) if isinstance(name, str) else f"<{type(source).__name__}>"
            self._file = source
        try:
            self._seekable = hasattr(self._file, "seekable") and bool(self._file.seekable())
            self._seekable = self._seekable and not _is_device(self._file)
        except (OSError, ValueError) as error:
            raise problem(self.name, f"cannot be read ({error})", "open it again for reading") from None
        try:
            if not self.peek(1):
                raise problem(self.name, "is empty (0 bytes)", "record or copy it again")
        except BaseException:
            self.close()
            raise

    def peek(self, size: int) -> bytes:
        """The first `size` bytes, fewer where there are not so many; reading starts anew at the first."""
        if self._seekable:
            self.seek(0)
            head = self._pull(size)
            self.seek(0)
            return head
        assert self._keeping, "a pipe's head is gone once it was released"
        while len(self._kept) < size and (more := self._pull_once(size - len(self._kept))):
            self._kept += more
        self._position = 0
        return bytes(self._kept[:size])

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; empty only at the end."""
        if self._seekable or self._position >= len(self._kept):
            data = self._pull_once(size)
            if not self._seekable and self._keeping:
                self._kept += data
                self._position += len(data)
            return data
        end = len(self._kept) if size < 0 else self._position + size
        data = bytes(self._kept[self._position : end])
        self._position += len(data)
        if not self._keeping and self._position >= len(self._kept):
            self._kept, self._position = bytearray(), 0
        return data

    def read_all(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        data = self.read(size)
        if len(data) == size or not data:
            return data
        parts, missing = [data], size - len(data)
        while missing and (data := self.read(missing)):
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def seekable(self) -> bool:
        """Whether the bytes can be read again."""
        return self._seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As in io.IOBase; of a place that is not there (damaged files lead to such), what FFmpeg expects."""
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return -errno.EINVAL
            raise

    def tell(self) -> int:
        """As in io.IOBase."""
        return self._file.tell()

    def size(self) -> int | None:
        """Bytes in all; None for a pipe."""
        if not self._seekable:
            return None
        here = self.tell()
        size = self.seek(0, os.SEEK_END)
        self.seek(here)
        return size

    def release(self) -> None:
        """Stop keeping what is read of a pipe."""
        self._keeping = False

    def spool(self, notices: Notices, why: str) -> None:
        """Copy a pipe to a temporary file, so that it can be read in any order.

        Raises:
            AudioError: it does not fit there.
        """
        assert not self._seekable and self._keeping
        self._position = 0
        self.release()
        spooled = None
        try:
            spooled = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
            while data := self.read(READ_BYTES):
                spooled.write(data)
            spooled.seek(0, os.SEEK_END)
            size = spooled.tell()
            spooled.seek(0)
        except OSError as error:
            if spooled is not None:
                with contextlib.suppress(OSError):  # closing writes what is left, which fails again
                    spooled.close()
            cause = f"{why}, and copying it to {_temporary_folder()} failed ({error.strerror or error})"
            remedy = "name a folder with more room in TMPDIR, or save it as a file first"
            raise problem(self.name, cause, remedy) from None
        if self._owned:
            self._file.close()
        notices.add("spool", f"{why}: {size / 1e6:.1f} MB were copied to a temporary file first")
        self._file, self._seekable, self._owned = spooled, True, True

    def close(self) -> None:
        """Close what this object opened; a caller's file object stays open."""
        if self._owned:
            self._file.close()

    def _pull(self, size: int) -> bytes:
        parts, missing = [], size
        while missing and (data := self._pull_once(missing)):
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def _pull_once(self, size: int) -> bytes:
        try:
            # read() of a buffered pipe waits for all that it was asked for.
            once = None if self._seekable or size < 0 else getattr(self._file, "read1", None)
            data = self._file.read(size) if once is None else once(size)
        except OSError as error:
            raise problem(
                self.name, f"cannot be read ({error.strerror or error})", "check the disk or pipe"
            ) from None
        if isinstance(data, str):
            raise problem(self.name, "was opened as text", 'open it in binary mode, "rb"')
        return data or b""


def _is_device(file: BinaryIO) -> bool:
    """Whether it is a character device (/dev/zero), which seeks without moving and whose end is at 0."""
    try:
        return stat.S_ISCHR(os.fstat(file.fileno()).st_mode)
    except (AttributeError, OSError, ValueError, TypeError):  # a file object that is no file
        return False


def _temporary_folder() -> str:
    try:
        return printable(tempfile.gettempdir())
    except OSError:
        return "a temporary folder"


def _open(path: str, name: str) -> BinaryIO:
    try:
        if Path(path).is_dir():
            raise problem(name, "is a folder", "name a file in it")
        return open(path, "rb")  # noqa: PTH123 - the path may be a str of any bytes
    except FileNotFoundError:
        raise problem(name, "does not exist", "check the path") from None
    except PermissionError:
        raise problem(name, "may not be read (permission denied)", "change its permissions") from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise problem(name, f"cannot be opened ({cause})", "check the path") from None


def _fetched(address: str, name: str) -> BinaryIO:
    """A recording elsewhere as a temporary file, which goes when it is closed; a large one as a stream."""
    from auricle.remote import get_into, is_folder, look_up, stream

    try:
        if (entry := look_up(address)) is None:
            folder = is_folder(address)
            cause = "is a folder" if folder else "does not exist"
            raise problem(name, cause, "name a file in it" if folder else "check the address")
        if entry.size > FETCHED_BYTES:
            return stream(address, STREAM_BLOCK)
        file = tempfile.NamedTemporaryFile(prefix="auricle-")  # noqa: SIM115 - closed in close()
        try:
            get_into(address, file)
        except BaseException:
            file.close()
            raise
        return file  # type: ignore[return-value]
    except OSError as error:
        raise problem(
            name, f"cannot be fetched ({error.strerror or error})", "check address and access"
        ) from None
