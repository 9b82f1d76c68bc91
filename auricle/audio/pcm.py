"""Uncompressed samples: conversion to float32 mono, WAV headers, headerless PCM.

WAV is read here and not by a library: converting what NumPy maps is several times as fast as libsndfile's
float reading (benchmarks/decode.py), a header that lies about its length is seen, and pipes need no seek.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from auricle.audio.source import Source
from auricle.audio.types import (
    HIGHEST_RATE,
    LOWEST_RATE,
    PCM_DTYPES,
    Info,
    Notices,
    RawFormat,
    problem,
)

CHUNK_SAMPLES = 1 << 16  # of all channels together: 256 kB as float32, which stays in cache
UNKNOWN_SIZES = (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFFFFE, 0x80000000)  # what writers to pipes put
HEADER_BYTES = 16 << 20  # a data chunk that starts later than this is left to FFmpeg
PCM_TAG, FLOAT_TAG, EXTENSIBLE_TAG = 1, 3, 0xFFFE
LOUD = 100.0  # full scales: 40 dB over, louder than float recordings are let run
ABSURD = 1e10  # full scales: beyond floats on the scale of 32-bit integers, and far from float32's own end
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


@dataclass(frozen=True, kw_only=True)
class PcmLayout:
    """Where the samples of an uncompressed file lie; `size` is what the header says, None if it does not."""

    rate: int
    channels: int
    dtype: str
    offset: int = 0
    size: int | None = None
    container: str = "raw"

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * sample_bytes(self.dtype)


class Pcm:
    """A recording of uncompressed samples: `chunks` gives it as mono float32 at its own rate."""

    def __init__(self, source: Source, layout: PcmLayout, notices: Notices):
        self.rate = layout.rate
        self._source, self._layout, self._notices = source, layout, notices
        size = layout.size
        whole = source.size()
        if whole is not None:
            there = max(0, whole - layout.offset)
            size = there if size is None else min(size, there)
        self.length = None if size is None else size // layout.frame_bytes  # in samples; None for a pipe

    def info(self) -> Info:
        """What the header says; the duration is that of the samples that are there."""
        layout = self._layout
        return Info(
            path=self._source.name,
            container=layout.container,
            codec="pcm_" + layout.dtype,
            rate=layout.rate,
            channels=layout.channels,
            duration=None if self.length is None else self.length / layout.rate,
            has_video=False,
        )

    def chunks(self, first: int) -> Iterator[np.ndarray]:
        """Mono float32 from sample `first` on, in pieces."""
        layout, source, step = self._layout, self._source, self._layout.frame_bytes
        skip = layout.offset + first * step
        if source.seekable():
            source.seek(min(skip, source.size() or 0))
        else:
            source.release()
            while skip and (data := source.read(min(skip, 1 << 20))):
                skip -= len(data)
        position, rest = first, b""
        piece = max(1, CHUNK_SAMPLES // layout.channels)
        while (wanted := piece if self.length is None else min(piece, self.length - position)) > 0:
            # Of a stream that is wanted soon, what is there; the last sample of it may have come in part.
            size = wanted * step - len(rest)
            data = source.read(size) if source.prompt else source.read_all(size)
            ended = not data or (len(data) < size and not source.prompt)
            data = rest + data
            frames = len(data) // step
            rest = data[frames * step :]
            if frames:
                samples = decode_pcm(data[: frames * step], layout.dtype, layout.channels)
                position += frames
                yield to_mono(samples, self._notices)
            if ended:
                break
        self._check_end(position)

    def close(self) -> None:
        """Nothing to close here: the source is closed by who opened it."""

    def _check_end(self, position: int) -> None:
        promised = self._layout.size
        if promised is None or position >= promised // self._layout.frame_bytes:
            return
        seconds = promised / self._layout.frame_bytes / self.rate
        self._notices.add(
            "short",
            f"ends at {position / self.rate:.3f} s though its header says {seconds:.3f} s: "
            "cut off, or the header is wrong; what is there was read",
        )


def raw_layout(raw: RawFormat) -> PcmLayout:
    """The layout of headerless samples."""
    return PcmLayout(rate=raw.rate, channels=raw.channels, dtype=raw.dtype)


def wav_layout(source: Source, notices: Notices) -> PcmLayout | None:
    """Layout of a WAV (RIFF, RF64, BW64) of plain PCM or floats; None for anything else.

    Raises:
        AudioError: the header gives a sample rate that no recording has.
    """
    head = source.peek(12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:12] != b"WAVE":
        return None
    offset, layout, long_size = 12, None, None
    while offset < HEADER_BYTES:
        head = source.peek(offset + 8)
        if len(head) < offset + 8:
            break
        kind, size = head[offset : offset + 4], int.from_bytes(head[offset + 4 : offset + 8], "little")
        if kind == b"data":
            if layout is None:
                return None
            if size == 0xFFFFFFFF and long_size is not None:
                size = long_size
            return _placed(source, layout, offset + 8, size, notices)
        if offset + 8 + size > HEADER_BYTES:
            return None
        body = source.peek(offset + 8 + size)[offset + 8 :]
        if kind == b"ds64" and len(body) >= 16:
            long_size = int.from_bytes(body[8:16], "little")
        elif kind == b"fmt ":
            layout = _format(body, source.name)
            if layout is None:
                return None
        offset += 8 + size + size % 2
    if layout is not None:
        raise problem(
            source.name, "is a WAV without a data chunk: it holds no samples", "record or copy it again"
        )
    return None


def _format(body: bytes, name: str) -> PcmLayout | None:
    """The format chunk; None where it is none of the plain ones."""
    if len(body) < 16:
        return None
    tag, channels = int.from_bytes(body[:2], "little"), int.from_bytes(body[2:4], "little")
    rate, bits = int.from_bytes(body[4:8], "little"), int.from_bytes(body[14:16], "little")
    block_bytes = int.from_bytes(body[12:14], "little")
    if tag == EXTENSIBLE_TAG and len(body) >= 40 and body[26:40] == GUID_TAIL:
        tag = int.from_bytes(body[24:26], "little")
    kinds = {(PCM_TAG, 8): "u8", (PCM_TAG, 16): "s16le", (PCM_TAG, 24): "s24le", (PCM_TAG, 32): "s32le"}
    kinds |= {(PCM_TAG, 64): "s64le", (FLOAT_TAG, 32): "f32le", (FLOAT_TAG, 64): "f64le"}
    dtype = kinds.get((tag, bits))
    check_rate(rate, name)
    if dtype is None or channels == 0 or block_bytes not in (0, channels * sample_bytes(dtype)):
        return None
    return PcmLayout(rate=rate, channels=channels, dtype=dtype, container="wav")


def _placed(source: Source, layout: PcmLayout, offset: int, size: int, notices: Notices) -> PcmLayout:
    """The layout with the place of its samples, where the header's length is believed or not."""
    whole = source.size()
    if size in UNKNOWN_SIZES and (whole is None or offset + size > whole):
        return replace(layout, offset=offset, size=None)
    if size == 0:
        rest = source.peek(offset + (1 << 16))[offset:]
        if len(rest) >= layout.frame_bytes and not _is_chunk(rest):
            notices.add("zero", "its header says it holds no samples, yet they follow: read to the end")
            return replace(layout, offset=offset, size=None)
    return replace(layout, offset=offset, size=size)


def _is_chunk(data: bytes) -> bool:
    known = (
        b"LIST",
        b"id3 ",
        b"ID3 ",
        b"bext",
        b"cue ",
        b"fact",
        b"smpl",
        b"JUNK",
        b"PAD ",
        b"iXML",
        b"_PMX",
        b"PEAK",
    )
    return data[:4] in known


def check_rate(rate: int, name: str) -> None:
    """Refuse a sample rate that only a damaged header gives."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        cause = f"its header says {rate} samples a second, expected {LOWEST_RATE} to {HIGHEST_RATE}"
        raise problem(name, cause, "the header is damaged: convert it again, or read it as raw PCM")


def sample_bytes(dtype: str) -> int:
    """Bytes of one sample of one channel.

    >>> sample_bytes("s24le"), sample_bytes("f64le")
    (3, 8)
    """
    return int(dtype.strip("usflebr")) // 8


def decode_pcm(data: bytes, dtype: str, channels: int) -> np.ndarray:
    """Bytes of interleaved samples as an array (N, channels), in the sample's own type; 24 bits become 32."""
    if dtype == "s24le":
        packed = np.frombuffer(data, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(packed), 4), np.uint8)
        wide[:, 1:] = packed
        return wide.view("<i4").reshape(-1, channels)
    return np.frombuffer(data, PCM_DTYPES[dtype]).reshape(-1, channels)


def to_mono(samples: np.ndarray, notices: Notices) -> np.ndarray:
    """(N, channels) of any sample type -> (N,) float32, the mean of the channels, full scale at 1."""
    kind, channels = samples.dtype.kind, samples.shape[1]
    if kind == "f":
        return mean_of_floats(list(samples.T), notices)
    unit, floats = 2.0 ** (1 - 8 * samples.dtype.itemsize), samples.astype(np.float32)
    if notices.heard is not None:
        notices.heard((floats - np.float32(128 if kind == "u" else 0)) * np.float32(unit))
    mono = _sum(list(floats.T))
    if kind == "u":
        mono = mono - np.float32(128 * channels)  # unsigned 8 bit has its zero at 128
    return mono * np.float32(unit / channels)


def mean_of_floats(channels: list[np.ndarray], notices: Notices) -> np.ndarray:
    """The mean of equally long float arrays, as float32; NaN, infinity and absurd values count as 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        if notices.heard is not None:
            notices.heard(np.stack(channels, axis=1).astype(np.float32))
        mono = _sum(channels)
        if len(channels) > 1:
            mono *= mono.dtype.type(1 / len(channels))
        mono = np.ascontiguousarray(mono, np.float32)
        if not mono.size or (mono.max() <= LOUD and mono.min() >= -LOUD):  # false for NaN, too
            return mono
        values = np.array(channels)
        good = np.abs(values) <= ABSURD
        finite = np.isfinite(values.astype(np.float32))  # doubles beyond float32 become infinite here
    if bad := int(values.size - np.count_nonzero(finite)):
        notices.add("finite", "{sample is|samples are} NaN or infinite; set to 0", bad)
    if absurd := int(np.count_nonzero(finite & ~good)):
        text = f"{{sample is|samples are}} beyond {ABSURD:g} times full scale; set to 0"
        notices.add("absurd", text, absurd)
    mono = np.where(good, values, 0).mean(axis=0, dtype=np.float64).astype(np.float32)
    if loud := int(np.count_nonzero(np.abs(mono) > LOUD)):
        text = f"{{sample is|samples are}} more than {LOUD:g} times full scale, and kept: "
        text += "if its floats are on the scale of integers, divide them by that scale"
        notices.add("loud", text, loud)
    return mono


def _sum(channels: list[np.ndarray]) -> np.ndarray:
    """Channel by channel: ten times as fast as a sum over the short axis."""
    if len(channels) == 1:
        return channels[0]
    total = channels[0] + channels[1]
    for channel in channels[2:]:
        total += channel
    return total
