"""What the reading of audio hands out: blocks, facts about a file, one-line errors and warnings."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from auricle.text import one_line

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz; a header outside them is damaged, not unusual

PCM_DTYPES = {  # FFmpeg's names -> NumPy's; 24-bit samples have no NumPy type and are widened on the way
    "u8": "u1",
    "s8": "i1",
    "s16le": "<i2",
    "s16be": ">i2",
    "s24le": None,
    "s32le": "<i4",
    "s32be": ">i4",
    "s64le": "<i8",
    "f32le": "<f4",
    "f32be": ">f4",
    "f64le": "<f8",
    "f64be": ">f8",
}


class AudioError(Exception):
    """A recording cannot be read. Its text is one line: "NAME: cause; what to do".

    >>> str(AudioError("a.wav: is empty (0 bytes); record or copy it again"))
    'a.wav: is empty (0 bytes); record or copy it again'
    """


class AudioWarning(UserWarning):
    """A recording was read, but not as its header says: the text names the file and what was done."""


@dataclass(frozen=True, kw_only=True)
class RawFormat:
    """How to read samples that have no header.

    Args:
        rate: samples a second of one channel, 1,000 to 768,000.
        channels: interleaved channels, 1 or more.
        dtype: FFmpeg's name of the sample type: u8, s8, s16le, s16be, s24le, s32le, s32be, s64le, f32le,
            f32be, f64le or f64be.

    Raises:
        ValueError: a value outside these.

    >>> RawFormat(rate=8000, channels=2).dtype
    's16le'
    """

    rate: int
    channels: int = 1
    dtype: str = "s16le"

    def __post_init__(self) -> None:
        if not LOWEST_RATE <= self.rate <= HIGHEST_RATE:
            raise ValueError(f"raw rate is {self.rate}, expected {LOWEST_RATE} to {HIGHEST_RATE} Hz")
        if self.channels < 1:
            raise ValueError(f"raw channels is {self.channels}, expected 1 or more")
        if self.dtype not in PCM_DTYPES:
            raise ValueError(f"raw dtype is {self.dtype!r}, expected one of {', '.join(PCM_DTYPES)}")


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a file's header says of its sound track; `duration` in seconds, None where it does not say."""

    path: str
    container: str
    codec: str
    rate: int
    channels: int
    duration: float | None
    has_video: bool


class Block(NamedTuple):
    """A run of samples; `start` is the index of its first sample at the output rate (time = start / rate)."""

    start: int
    samples: np.ndarray


def problem(name: str, cause: str, remedy: str) -> AudioError:
    """The one-line error about `name`."""
    return AudioError(f"{name}: {one_line(cause)}; {remedy}")


class Notices:
    """Collects warnings about one file, so that a cause is told once, with its count, not once a packet."""

    def __init__(self, name: str, warn: Callable[[str], None] | None):
        self.name = name
        self.heard: Callable[[np.ndarray], None] | None = None  # takes all channels before they are mixed
        self._warn = warn
        self._texts: dict[str, str] = {}
        self._counts: dict[str, float] = {}

    def add(self, cause: str, text: str, count: float = 1) -> None:
        """Note `cause`; the first `text` is kept, where {ONE|MANY} stands for the sum of the counts of it."""
        self._texts.setdefault(cause, text)
        self._counts[cause] = self._counts.get(cause, 0) + count

    def tell(self) -> None:
        """Hand out what was collected, one message a cause, and forget it."""
        texts, counts = self._texts, self._counts
        self._texts, self._counts = {}, {}
        for cause, text in texts.items():
            message = f"{self.name}: {one_line(_with_count(text, counts[cause]))}"
            if self._warn is not None:
                self._warn(message)
            else:
                warnings.warn(message, AudioWarning, stacklevel=3)


def _with_count(text: str, count: float) -> str:
    """A text with how many, and one or several of what.

    >>> _with_count("{gap was|gaps were} filled", 1), _with_count("{gap was|gaps were} filled", 2)
    ('1 gap was filled', '2 gaps were filled')
    """
    return re.sub(
        r"\{([^|{}]*)\|([^|{}]*)\}", lambda forms: f"{count:,.0f} {forms[1 if count == 1 else 2]}", text
    )
