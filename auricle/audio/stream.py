"""The public reading of recordings: blocks at a stated rate, whole arrays, facts from the header."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from auricle.audio.devices import Device
from auricle.audio.media import Media
from auricle.audio.pcm import Pcm, raw_layout, wav_layout
from auricle.audio.source import Source
from auricle.audio.types import (
    HIGHEST_RATE,
    LOWEST_RATE,
    AudioError,
    Block,
    Info,
    Notices,
    RawFormat,
    problem,
)

# Samples of the lower rate that the resampler is given on each side of what is wanted of it. Its HQ filter
# is about 100 such samples long on each side; beyond them nothing changes.
LEAD_SAMPLES = 512
PROMPT_SECONDS = 1.0  # blocks shorter than this are wanted soon: nothing is gathered on the way to them
FURTHEST_SECONDS = 1e9  # 30 years: no recording goes on for longer, and every index fits into 64 bits


def blocks(
    source: str | Path | BinaryIO | Device,
    rate: int | None,
    *,
    start: float = 0.0,
    end: float | None = None,
    block_seconds: float = 10.0,
    raw: RawFormat | None = None,
    warn: Callable[[str], None] | None = None,
    heard: Callable[[np.ndarray, int], None] | None = None,
    opened: Callable[[Info], None] | None = None,
) -> Iterator[Block]:
    """A recording as consecutive blocks of mono samples, in memory that does not grow with its length.

    Args:
        source: a path, "-" for standard input, a binary file object (read from its first byte), or an input
            to record from.
        rate: Hz of what is returned; None for the recording's own, which `probe` tells.
        start: seconds from the start of the recording, 0 or more.
        end: seconds, where to stop; None, infinity or more than there is for the end of the recording.
        block_seconds: length of a block; the last is as long as what is left. Below 1, a block of a pipe or
            a microphone comes as soon as its sound is there.
        raw: how to read a source without a header.
        warn: is called with each warning, one line a cause, once the reading ends; without it they are
            Python warnings of class AudioWarning.
        heard: is called with all channels as they are decoded and before they are mixed: (N, channels)
            float32, and the recording's own rate in Hz. The first call has no sample yet; silence that
            stands for gaps is left out; floats come as they are, NaN and infinity, too.
        opened: is called before the first block, with what `probe` gives.

    Returns:
        An iterator of blocks: `start` is the index of the block's first sample at `rate`, counted from the
        start of the recording, and `samples` is (N,) float32, the mean of the channels, full scale at 1.
        A recording of n samples gives ceil(n * rate / its own rate) in all.

    Raises:
        AudioError: the recording cannot be read, or the range holds nothing; raised at the first block.
        ValueError: `rate` or `block_seconds` is no usable number.

    >>> import io, numpy
    >>> pcm = io.BytesIO(numpy.zeros(20_000, "<i2").tobytes())
    >>> [(b.start, len(b.samples)) for b in blocks(pcm, 16_000, block_seconds=1, raw=RawFormat(rate=8_000))]
    [(0, 16000), (16000, 16000), (32000, 8000)]
    """
    if rate is not None and not (LOWEST_RATE <= rate <= HIGHEST_RATE and rate == int(rate)):
        raise ValueError(f"rate is {rate}, expected a whole number from {LOWEST_RATE} to {HIGHEST_RATE} Hz")
    if not 0 < block_seconds < math.inf:
        raise ValueError(f"block_seconds is {block_seconds}, expected more than 0")
    return _blocks(source, rate, start, end, block_seconds, raw, warn, heard, opened)


def read(
    source: str | Path | BinaryIO,
    rate: int | None,
    *,
    start: float = 0.0,
    end: float | None = None,
    raw: RawFormat | None = None,
    warn: Callable[[str], None] | None = None,
) -> np.ndarray:
    """A recording, or the part of it from `start` to `end` seconds, as (N,) float32 mono at `rate` Hz.

    Arguments and errors are those of `blocks`.

    >>> import io, numpy
    >>> pcm = io.BytesIO(numpy.full(8_000, 16_384, "<i2").tobytes())
    >>> read(pcm, None, start=0.5, raw=RawFormat(rate=8_000))
    array([0.5, 0.5, 0.5, ..., 0.5, 0.5, 0.5], shape=(4000,), dtype=float32)
    """
    pieces = blocks(source, rate, start=start, end=end, raw=raw, warn=warn)
    return np.concatenate([block.samples for block in pieces])


def probe(source: str | Path | BinaryIO, *, raw: RawFormat | None = None) -> Info:
    """What the header of a recording says, without decoding more than its first moment.

    Raises:
        AudioError: the recording cannot be read.

    >>> import io
    >>> probe(io.BytesIO(bytes(32_000)), raw=RawFormat(rate=16_000)).duration
    1.0
    """
    opened = Source(source)
    try:
        recording = _recording(opened, raw, Notices(opened.name, lambda message: None))
        try:
            return recording.info()
        finally:
            recording.close()
    finally:
        opened.close()


def _recording(source: Source, raw: RawFormat | None, notices: Notices) -> Pcm | Media:
    """The reader for a source, chosen by what its first bytes are, not by its name."""
    if source.device is not None:
        return Media(source, notices)
    layout = raw_layout(raw) if raw is not None else wav_layout(source, notices)
    return Media(source, notices) if layout is None else Pcm(source, layout, notices)


def _blocks(
    source: str | Path | BinaryIO | Device,
    rate: int | None,
    start: float,
    end: float | None,
    block_seconds: float,
    raw: RawFormat | None,
    warn: Callable[[str], None] | None,
    heard: Callable[[np.ndarray, int], None] | None,
    told: Callable[[Info], None] | None,
) -> Iterator[Block]:
    opened = Source(source, prompt=block_seconds < PROMPT_SECONDS)
    notices = Notices(opened.name, warn)
    recording = None
    try:
        _check_range(start, end, opened.name)
        recording = _recording(opened, raw, notices)
        if told is not None:
            told(recording.info())
        if heard is not None:
            heard(np.empty((0, recording.info().channels), np.float32), recording.rate)
            notices.heard = partial(_with_rate, heard, recording.rate)
        out_rate = recording.rate if rate is None else int(rate)
        first = round(start * out_rate)
        stop = None if end is None or end > FURTHEST_SECONDS else max(first + 1, round(end * out_rate))
        size = max(1, round(block_seconds * out_rate))
        position = first
        for samples in _regrouped(_resampled(recording, out_rate, first, stop), size):
            yield Block(position, samples)
            position += len(samples)
        if position == first:
            raise _nothing_there(recording, start, opened.name)
    except AudioError:
        notices.tell()
        raise
    finally:
        if recording is not None:
            recording.close()
        opened.close()
    notices.tell()


def _with_rate(heard: Callable[[np.ndarray, int], None], rate: int, samples: np.ndarray) -> None:
    heard(samples, rate)


def _check_range(start: float, end: float | None, name: str) -> None:
    if not start >= 0:
        raise problem(name, f"the range starts at {start} s", "start at 0 or later")
    if start > FURTHEST_SECONDS:
        cause = f"the range starts at {start:g} s, past the end of any recording"
        raise problem(name, cause, "give an earlier start")
    if end is not None and not end > start:
        raise problem(
            name, f"the range ends at {end} s, not after its start at {start} s", "give a later end"
        )


def _nothing_there(recording: Pcm | Media, start: float, name: str) -> AudioError:
    if start == 0:
        return problem(name, "holds no samples", "record or copy it again")
    ends = "" if recording.length is None else f" of a recording of {recording.length / recording.rate:.3f} s"
    return problem(name, f"the range starts at {start} s, past the end{ends}", "give an earlier start")


def _resampled(recording: Pcm | Media, rate: int, first: int, stop: int | None) -> Iterator[np.ndarray]:
    """Samples `first` to `stop` of the recording at `rate`, the same whatever `first` is.

    The resampler is started where both rates have a sample at the same instant, and early enough for its
    filter to have settled, so that a range is a slice of the whole.
    """
    if rate == recording.rate:
        yield from _trimmed(recording.chunks(first), first, first, stop)
        return
    import soxr

    common = math.gcd(rate, recording.rate)
    down, up = recording.rate // common, rate // common
    lead = LEAD_SAMPLES * max(1, -(-recording.rate // rate))
    periods = max(0, first * down // up - lead) // down
    resampler = soxr.ResampleStream(recording.rate, rate, 1, quality="HQ")
    fed = periods * down

    def resample() -> Iterator[np.ndarray]:
        nonlocal fed
        made = periods * up
        for samples in recording.chunks(periods * down):
            fed += len(samples)
            result = resampler.resample_chunk(samples)
            made += len(result)
            yield result
        if fed > periods * down:
            total = -(-fed * up // down)
            result = resampler.resample_chunk(np.zeros(lead, np.float32), last=True)
            yield result[: total - made]

    yield from _trimmed(resample(), periods * up, first, stop)


def _trimmed(
    pieces: Iterator[np.ndarray], position: int, first: int, stop: int | None
) -> Iterator[np.ndarray]:
    """What of consecutive pieces, the first of which starts at `position`, lies in [first, stop)."""
    for samples in pieces:
        low, high = first - position, len(samples) if stop is None else stop - position
        position += len(samples)
        if low > 0 or high < len(samples):
            samples = samples[max(0, low) : max(0, high)]
        if len(samples):
            yield samples
        if stop is not None and position >= stop:
            return


def _regrouped(pieces: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples in new arrays of `size`, the last as long as what is left."""
    block, filled = np.empty(size, np.float32), 0
    for samples in pieces:
        while len(samples):
            cut = samples[: size - filled]
            block[filled : filled + len(cut)] = cut
            filled += len(cut)
            samples = samples[len(cut) :]
            if filled == size:
                yield block
                block, filled = np.empty(size, np.float32), 0
    if filled:
        yield block[:filled].copy()
