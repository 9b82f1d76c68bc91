"""A result on its way to a client: in memory while it is small, else in the data folder."""

import io
import tempfile
from collections.abc import Callable
from typing import IO, Any

from auricle.serve.space import Space

FOLDER = "spools"  # below the data folder; emptied at the start
SPOOL_BYTES = 1 << 20  # of a result in memory; more than that waits on the disk

Look = Callable[[], object]  # asked now and then by what takes long; raises where nobody wants that any more


class Spool(io.RawIOBase):
    r"""A file that is in memory while it is small, then in the data folder; gone once it is closed.

    Args:
        space: of the data folder, which counts it; None for the system's temporary folder.
        look: is called before anything is written; what it raises is raised.

    >>> with Spool() as spool:
    ...     spool.write(b"abc"), spool.seek(0), spool.read()
    (3, 0, b'abc')
    """

    def __init__(self, space: Space | None = None, look: Look = bool):
        super().__init__()
        self._space, self._look = space, look
        self._file: IO[bytes] = io.BytesIO()
        self._is_on_disk, self._taken = False, 0

    def write(self, data: Any) -> int:
        """Add to it.

        Raises:
            Refused: 507, the data folder has no room for it; whatever `look` raises.
        """
        self._look()
        size = memoryview(data).nbytes
        end = self._file.tell() + size
        if end > SPOOL_BYTES:
            self._take(end)
            self._go_to_disk()
        self._file.write(data)
        return size

    def read(self, size: int = -1) -> bytes:
        """Bytes from where it is."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go somewhere."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where it is."""
        return self._file.tell()

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def flush(self) -> None:
        """Have the disk know what was written."""
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        """Forget it."""
        self._file.close()
        super().close()

    def _take(self, end: int) -> None:
        if self._space is not None and end > self._taken:
            pieces = -(-(end - self._taken) // SPOOL_BYTES)
            self._space.take(pieces * SPOOL_BYTES)
            self._taken += pieces * SPOOL_BYTES

    def _go_to_disk(self) -> None:
        if self._is_on_disk:
            return
        folder = None if self._space is None else self._space.folder / FOLDER
        if folder is not None:
            folder.mkdir(exist_ok=True)
        memory = self._file
        # It has a name, so that the count of what lies in the data folder finds it.
        self._file = tempfile.NamedTemporaryFile(dir=folder)  # noqa: SIM115 - closed in close()
        self._is_on_disk = True
        self._file.write(memory.getvalue())  # type: ignore[attr-defined]
