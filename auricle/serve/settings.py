"""What a service is allowed and asked to do: its address, its folders, its limits."""

import ipaddress
import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path

GIB = 1 << 30
# Smallest and largest value of each number; what lies outside is a slip of the hand.
RANGES: dict[str, tuple[float, float]] = {
    "port": (0, 65535),
    "max_upload_bytes": (1, 1 << 50),
    "upload_seconds": (1, 30 * 24 * 3600),
    "upload_stall_seconds": (0.1, 3600),
    "max_audio_seconds": (1, 366 * 24 * 3600),
    "job_seconds": (1, 30 * 24 * 3600),
    "queue": (1, 1_000_000),
    "jobs_at_once": (1, 1024),
    "live_sessions": (0, 10_000),
    "keep_hours": (0.001, 24 * 366),
    "max_data_bytes": (1, 1 << 60),
    "grace_seconds": (0, 24 * 3600),
    "threads": (1, 4096),
}
# Of `auricle serve`, where that has another name and unit.
OPTIONS: dict[str, tuple[str, int]] = {
    "max_upload_bytes": ("--max-upload", GIB),
    "max_audio_seconds": ("--max-hours", 3600),
    "max_data_bytes": ("--max-data", GIB),
}
WHOLE = {"port", "max_upload_bytes", "queue", "jobs_at_once", "live_sessions", "max_data_bytes", "threads"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `auricle serve` is told.

    Args:
        model: name, folder or .onnx file.
        host: address to listen on.
        port: 0 takes one that is free.
        root: recordings below this folder may be tagged by path; None: no path is taken.
        data: uploads, jobs and corrections; None: a folder that is gone when the service ends.
        token: what clients must show; None: nothing.
        allowed_hosts: names beside loopback's that a request may come for.
        max_upload_bytes: of one upload.
        upload_seconds: an upload may take in all.
        upload_stall_seconds: an upload may pause.
        max_audio_seconds: of one recording.
        job_seconds: one job may take.
        queue: jobs that may wait.
        jobs_at_once: jobs that are worked on at the same time.
        live_sessions: that may be open at the same time; 0: none.
        keep_hours: finished jobs and recordings are kept so long.
        max_data_bytes: of all that lies in `data`.
        grace_seconds: for what runs and waits once the service is asked to end.
        threads: processor threads for scoring; None: all cores.

    Raises:
        ValueError: a value is not what it can be.

    >>> Settings(port=0).jobs_at_once
    4
    >>> Settings(queue=0)
    Traceback (most recent call last):
    ValueError: queue is 0; expected 1 to 1000000
    """

    model: str = "default"
    host: str = "127.0.0.1"
    port: int = 8765
    root: Path | None = None
    data: Path | None = None
    token: str | None = field(default=None, repr=False)  # never in a log
    allowed_hosts: tuple[str, ...] = ()
    max_upload_bytes: int = 2 * GIB
    upload_seconds: float = 3600.0
    upload_stall_seconds: float = 20.0
    max_audio_seconds: float = 24 * 3600.0
    job_seconds: float = 3600.0
    queue: int = 64
    jobs_at_once: int = 4
    live_sessions: int = 8
    keep_hours: float = 24.0
    max_data_bytes: int = 20 * GIB
    grace_seconds: float = 30.0
    threads: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "allowed_hosts", tuple(self.allowed_hosts))
        for entry in fields(self):
            if entry.name in RANGES:
                _check_number(entry.name, getattr(self, entry.name))
        if not self.host:
            raise ValueError("host is empty; expected an address, say 127.0.0.1")
        if self.token is not None:
            _check_token(self.token)
        for name in self.allowed_hosts:
            if not name or any(letter in name for letter in " /:@?#") or not name.isascii():
                raise ValueError(
                    f"allowed host {name!r}; expected a name without scheme and port, say audio.example.org"
                )
        for name in ("root", "data"):
            folder = getattr(self, name)
            if folder is not None:
                object.__setattr__(self, name, Path(folder))
        if self.root is not None and not self.root.is_dir():
            raise ValueError(f"root {self.root}: is no folder; name one that holds recordings")
        if self.data is not None and self.data.exists() and not self.data.is_dir():
            raise ValueError(f"data {self.data}: is no folder; name one, or one that can be made")
        if self.root is not None and self.data is not None and _inside(self.data, self.root):
            raise ValueError(
                f"data {self.data}: lies in the root {self.root}, so uploads could be asked for by path; "
                "name a folder elsewhere"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service.

        >>> Settings().is_loopback, Settings(host="0.0.0.0").is_loopback
        (True, False)
        """
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


def _check_number(name: str, value: float | None) -> None:
    low, high = RANGES[name]
    if value is None and name == "threads":
        return
    right = isinstance(value, int if name in WHOLE else int | float) and not isinstance(value, bool)
    if not right or not math.isfinite(value or 0) or not low <= (value or 0) <= high:
        whole = "a whole number, " if name in WHOLE and not right else ""
        text = f"{name} is {value!r}; expected {whole}{low:.15g} to {high:.15g}"
        if name in OPTIONS:
            option, unit = OPTIONS[name]
            text += f" ({option} takes {high / unit:.15g} at most)"
        raise ValueError(text)


def _check_token(token: str) -> None:
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            "the token is too short or holds blanks; expected 16 or more printable ASCII characters, say of "
            "`openssl rand -hex 32`"
        )


def _inside(path: Path, folder: Path) -> bool:
    inner, outer = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([inner, outer]) == outer
