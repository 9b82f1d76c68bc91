"""What is said where a disk is full: one line that names the folder, whatever library noticed it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REMEDY = "make room and give the same command again"


@contextmanager
def full_disk_told(place: str | Path, remedy: str = REMEDY) -> Iterator[None]:
    """Errors of a full disk become a ValueError that names the place; others pass.

    >>> with full_disk_told("out/run"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    ValueError: out/run: no space is left on its disk; make room and give the same command again
    """
    try:
        yield
    except Exception as error:
        if not _of_full_disk(error):
            raise
        raise ValueError(f"{place}: no space is left on its disk; {remedy}") from None


def _of_full_disk(error: BaseException | None) -> bool:
    """Torch has the system's error only as the context of its own; safetensors says it in words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "(os error 28)" in str(error):
            return True
        error = error.__context__
    return False
