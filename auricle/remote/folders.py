"""A folder elsewhere that is worked on here: what is there is fetched, what has changed is put."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from auricle.remote.addresses import address_of, join
from auricle.remote.files import TEMPORARY, get, list_files, put, remove
from auricle.remote.lease import LOCK, held

HALF_WRITTEN = (TEMPORARY, ".tmp", LOCK)


class WorkingCopy:
    """A folder of this machine, and the address that its files are put to.

    Args:
        folder: on this machine.
        address: of the folder elsewhere; "" puts nothing, for a folder that is one of this machine.
        last: names of files that are put last, in this order: what they say is true by then.
    """

    def __init__(self, folder: Path, address: str, last: Sequence[str] = ()):
        self.folder, self.address, self.last = folder, address, tuple(last)
        self._there: dict[str, tuple[int, int]] = {}  # what is there as it is here: bytes, time of change

    def fetch(self, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Fetch what is there."""
        for name in list_files(self.address) if self.address else ():
            if wanted(name) and not name.endswith(HALF_WRITTEN):
                get(join(self.address, name), self.folder / name)
                self._there[name] = _state(self.folder / name)

    def put(self, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Put what has changed since, and remove there what is here no more."""
        if not self.address:
            return
        here = {
            path.relative_to(self.folder).as_posix(): path
            for path in self.folder.rglob("*")
            if path.is_file()
        }
        here = {name: path for name, path in here.items() if wanted(name) and not name.endswith(HALF_WRITTEN)}
        for name in sorted(here, key=lambda name: (self._place(name), name)):
            if self._there.get(name) != (state := _state(here[name])):
                put(here[name], join(self.address, name))
                self._there[name] = state
        gone = [name for name in self._there if name not in here]
        remove(join(self.address, name) for name in gone)
        for name in gone:
            del self._there[name]

    def _place(self, name: str) -> int:
        return self.last.index(name) if name in self.last else -1

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Errors that name the folder name its address."""
        try:
            yield
        except ValueError as error:
            if not self.address or str(self.folder) not in str(error):
                raise
            raise ValueError(str(error).replace(str(self.folder), self.address)) from None


@contextlib.contextmanager
def results_folder(out: str | Path | None, last: Sequence[str] = ()) -> Iterator[Path | None]:
    """A folder for results, made if it is not there; what is in it is put to `out` at the end.

    Args:
        out: the folder, its address, or None for none.
        last: as for `WorkingCopy`.

    >>> with results_folder(None) as folder:
    ...     folder is None
    True
    """
    if out is None:
        yield None
        return
    with working_copy(out, last) as copy:
        copy.folder.mkdir(parents=True, exist_ok=True)
        with held(copy.address) if copy.address else contextlib.nullcontext():
            yield copy.folder
            copy.put()


@contextlib.contextmanager
def working_copy(out: str | Path, last: Sequence[str] = ()) -> Iterator[WorkingCopy]:
    """Where results of a folder are written: itself, or, for an address, a temporary folder.

    Nothing is put by leaving it: that is for whoever knows that all is well.

    Args:
        out: the folder, or its address.
        last: as for `WorkingCopy`.

    >>> with working_copy("out/run") as copy:
    ...     copy.folder, copy.address
    (PosixPath('out/run'), '')
    """
    address = address_of(out)
    if address is None:
        yield WorkingCopy(Path(out), "")
        return
    with tempfile.TemporaryDirectory(prefix="auricle-", ignore_cleanup_errors=True) as folder:
        yield WorkingCopy(Path(folder), address, last)


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
