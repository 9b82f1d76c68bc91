"""Microphones and other inputs that FFmpeg records from, by way of PyAV: recordings without an end."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auricle.audio.types import problem

MICROPHONE = "microphone"  # the machine's own first input
# FFmpeg's names of inputs, and what each calls the first one; dshow has no such name, the device is named.
FIRST = {
    "alsa": "default",
    "pulse": "default",
    "avfoundation": ":default",
    "dshow": "",
    "oss": "/dev/dsp",
    "sndio": "default",
    "jack": "auricle",
    "lavfi": "sine",
}
BY_SYSTEM = {"darwin": ("avfoundation",), "win32": ("dshow",)}
ALSA_SETTINGS = Path("/usr/share/alsa/alsa.conf")
NO_INPUTS = ("null",)  # ALSA lists what gives silence, too
PIPE = "record into a pipe instead, say arecord -f S16_LE -r 16000 -t wav | auricle tag --live -"


@dataclass(frozen=True)
class Device:
    """An input that can be recorded from.

    Args:
        format: FFmpeg's name of the kind: alsa, pulse, avfoundation, dshow and others.
        name: what that kind calls it, say "hw:1,0", ":0" or "audio=Microphone (USB)".

    >>> str(Device("alsa", "hw:1,0"))
    'alsa:hw:1,0'
    """

    format: str
    name: str

    def __str__(self) -> str:
        return f"{self.format}:{self.name}"


def find_device(text: str) -> Device | None:
    """The input that KIND:NAME or "microphone" stands for; None for anything else, a path say.

    Raises:
        AudioError: "microphone", where this machine's kind of input has no first one, or FFmpeg none of it.

    >>> find_device("alsa:hw:1,0")
    Device(format='alsa', name='hw:1,0')
    >>> find_device("recording.wav") is None
    True
    """
    kind, colon, name = text.partition(":")
    if colon and kind in FIRST:
        return Device(kind, name or FIRST[kind])
    if text != MICROPHONE:
        return None
    there = inputs()
    for kind in BY_SYSTEM.get(sys.platform, ("pulse", "alsa", "sndio", "oss")):
        if kind in there and FIRST[kind]:
            return Device(kind, FIRST[kind])
        if kind in there:
            raise problem(text, f"{kind} has no first input", f"name it{_known(kind)}; or {PIPE}")
    raise problem(text, "this FFmpeg records from no microphone of this system", PIPE)


def inputs() -> list[str]:
    """The kinds of input that PyAV's FFmpeg was built with.

    >>> set(inputs()) <= set(FIRST)
    True
    """
    from av.format import formats_available

    return sorted(kind for kind in FIRST if kind in formats_available)


def open_device(device: Device) -> Any:
    """The container that PyAV makes of an input.

    Raises:
        AudioError: there is none of that name, or it may not be used.
    """
    import av
    from av.error import FFmpegError

    if device.format not in (there := inputs()):
        has = (
            f"this FFmpeg records from {', '.join(there)} only" if there else "this FFmpeg records from none"
        )
        raise problem(str(device), has, PIPE)
    if device.format == "alsa" and "ALSA_CONFIG_PATH" not in os.environ and ALSA_SETTINGS.exists():
        # PyAV's wheels look for ALSA's settings where they were built, and find no device without them.
        os.environ["ALSA_CONFIG_PATH"] = str(ALSA_SETTINGS)
    try:
        with _quietly():
            return av.open(device.name, format=device.format)
    except (FFmpegError, OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise problem(
            str(device),
            f"cannot be recorded from ({cause})",
            f"name another{_known(device.format)}; or {PIPE}",
        ) from None


def _known(kind: str) -> str:
    """The inputs that FFmpeg lists, as far as PyAV and the kind can tell."""
    import av.device

    lister = getattr(av.device, "enumerate_input_devices", None)
    try:
        with _quietly():
            names = [str(found.name) for found in lister(kind)] if lister is not None else []
    except Exception:  # a list is a help, no more
        names = []
    names = [name for name in names if name not in NO_INPUTS]
    return f": {', '.join(names)}" if names else ""


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep back what a library of the system writes to standard error itself, as ALSA does of each failure.

    AURICLE_DEBUG=1 shows it.
    """
    if os.environ.get("AURICLE_DEBUG") == "1":
        yield
        return
    try:
        kept = os.dup(2)
    except OSError:  # it is closed: nothing is shown anyway
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
