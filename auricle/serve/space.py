"""How much a service keeps on its disk, and when that is enough."""

import os
import shutil
import threading
import time
from pathlib import Path

from auricle.serve.errors import Refused

LOOK_SECONDS = 20.0  # how old a count of all files may be
MARGIN_BYTES = 64 << 20  # of the disk that are left to others


class Space:
    """The bytes in a folder, counted now and then, and what was written since.

    Args:
        folder: with all that is below it.
        most: bytes that it may hold.
    """

    def __init__(self, folder: Path, most: int):
        self.folder, self.most = folder, most
        self._lock = threading.Lock()
        self._counted, self._written, self._at = 0, 0, float("-inf")

    def take(self, size: int) -> None:
        """Say that so many bytes will be written now; does not last long, but belongs in a thread.

        Raises:
            Refused: 507, they have no room.
        """
        with self._lock:
            if time.monotonic() - self._at > LOOK_SECONDS:
                self._count()
            if self._counted + self._written + size > self.most:
                self._count()  # something may have gone
            if self._counted + self._written + size > self.most:
                text = f"the service keeps no more than {self.most / 1e9:.3g} GB, and has that; "
                raise Refused(507, text + "try again later, or delete recordings", {"Retry-After": "60"})
            if shutil.disk_usage(self.folder).free < size + MARGIN_BYTES:
                raise full()
            self._written += size

    def _count(self) -> None:
        self._counted, self._written, self._at = bytes_in(self.folder), 0, time.monotonic()


def full() -> Refused:
    """What is said where the disk takes no more."""
    return Refused(507, "the disk of the service is full; try again later", {"Retry-After": "60"})


def bytes_in(folder: Path) -> int:
    """The sizes of all files in a folder and below, some of which may go meanwhile."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(f"{path}/{name}").st_size
            except OSError:
                continue
    return total
