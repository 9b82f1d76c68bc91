"""The run's log: one JSON object a line, and the same figures for TensorBoard where it is installed."""

import json
import math
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LOG, BOARD = "log.jsonl", "tensorboard"  # in the run's folder


class RunLog:
    """Appends to RUN/log.jsonl; a resumed run first drops what was logged after its checkpoint.

    Of several processes one writes; the others are `quiet`.

    >>> import tempfile
    >>> with RunLog(Path(tempfile.mkdtemp()), step=0) as log:
    ...     log.write(step=1, loss=0.5)
    """

    def __init__(self, run: Path, step: int, *, quiet: bool = False):
        self._run, self._step, self._quiet = run, step, quiet
        self._stream: Any = None
        self._board: Any = None
        self._started = time.monotonic()
        self._before = 0.0  # seconds that the run had taken when it was stopped

    def __enter__(self) -> Self:
        if self._quiet:
            return self
        path = self._run / LOG
        kept = []
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:  # cut off by a kill
                    continue
                if entry["step"] <= self._step:
                    kept.append(line + "\n")
                    self._before = entry["seconds"]
        path.write_text("".join(kept), encoding="utf-8")
        self._stream = path.open("a", encoding="utf-8")
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._run / BOARD), purge_step=self._step or None)
        except ImportError:
            self._board = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._board is not None:
            self._board.close()

    def write(self, *, step: int, **figures: Any) -> None:
        """One line; a figure that is not a number is null."""
        if self._quiet:
            return
        seconds = round(self._before + time.monotonic() - self._started, 3)
        entry: dict[str, Any] = {"step": step, "seconds": seconds}
        for name, value in figures.items():
            undefined = isinstance(value, float) and not math.isfinite(value)
            entry[name] = None if undefined else value
            if self._board is not None and isinstance(value, (int, float)) and not undefined:
                self._board.add_scalar(name, value, step)
        self._stream.write(json.dumps(entry) + "\n")
        self._stream.flush()
