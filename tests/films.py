"""Small films with a flash and a beep at known moments, and what is found in a film."""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE = 48_000
FLASH_SECONDS, BEEP_SECONDS = 0.2, 0.25


def film(
    path: Path,
    *,
    moments: Sequence[float] | None = None,
    seconds: float = 6.0,
    flash: float = 2.0,
    beep: float = 2.0,
    size: tuple[int, int] = (320, 240),
    sound: str = "aac",
    channels: int = 2,
    sound_from: float = 0.0,
    picture_from: float = 0.0,
    fps: int = 25,
) -> Path:
    """A dark film that flashes white, with noise that beeps; `moments` are the pictures' time stamps."""
    moments = list(np.arange(0, seconds, 1 / fps)) if moments is None else list(moments)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=fps)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.bit_rate = 400_000
        base = Fraction(1, 12_800)
        video.codec_context.time_base = base
        layout = {1: "mono", 2: "stereo"}[channels]
        audio = container.add_stream(sound, rate=RATE, layout=layout)
        samples = (
            np.random.default_rng(4).normal(0, 0.001, (channels, round(seconds * RATE))).astype(np.float32)
        )
        first = round(beep * RATE)
        tone = np.sin(2 * np.pi * 1000 * np.arange(round(BEEP_SECONDS * RATE)) / RATE) * 0.6
        tone = tone[: max(0, samples.shape[1] - first)]
        samples[0, first : first + len(tone)] += tone  # the first channel only
        for moment in moments:
            lit = flash <= moment + 1e-9 < flash + FLASH_SECONDS
            picture = np.full((*size[::-1], 3), 235 if lit else 40, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(Fraction(moment + picture_from) / base), base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        step = audio.codec_context.frame_size or 1024
        for begin in range(0, samples.shape[1], step):
            piece = np.ascontiguousarray(samples[:, begin : begin + step])
            kind = audio.codec_context.format.name
            if kind.startswith("s16"):
                piece = (piece * 32767).astype(np.int16)
            elif kind.startswith("s32"):
                piece = (piece * 2147483000.0).astype(np.int32)
            if not kind.endswith("p"):
                piece = np.ascontiguousarray(piece.T.reshape(1, -1))
            sounding = av.AudioFrame.from_ndarray(piece, format=kind, layout=layout)
            sounding.sample_rate = RATE
            sounding.pts = begin + round(sound_from * RATE)
            sounding.time_base = Fraction(1, RATE)
            container.mux(audio.encode(sounding))
        container.mux(audio.encode(None))
    return path


def turned(path: Path, degrees: int) -> Path:
    """Write a rotation into the header of an MP4's picture, as a telephone does."""
    content = bytearray(path.read_bytes())
    at = content.find(b"tkhd") + 4 + 40  # the matrix of a version 0 header
    one = 1 << 16
    cosine, sine = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    struct.pack_into(">9i", content, at, cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def pictures(path: Path) -> Iterable[tuple[float, np.ndarray]]:
    """(seconds, brightness (H, W)) of each picture."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield float(frame.pts * frame.time_base), frame.to_ndarray(format="gray")


def flash_of(path: Path, corner: tuple[slice, slice] = (slice(0, 20), slice(-20, None))) -> float:
    """The moment of the first bright picture, looked at where no panel is."""
    for seconds, grey in pictures(path):
        if grey[corner].mean() > 160:
            return seconds
    raise AssertionError("no flash")


def sound_of(path: Path) -> tuple[np.ndarray, int]:
    """Samples (channels, N) from time zero on, by the time stamps of the frames, and the rate."""
    parts: list[np.ndarray] = []
    length = 0
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate
        resampler = av.AudioResampler(format="fltp")
        for frame in container.decode(stream):
            start = round(float(frame.pts * frame.time_base) * rate)
            piece = np.concatenate([flat.to_ndarray() for flat in resampler.resample(frame)], axis=1)
            if start > length:
                parts.append(np.zeros((piece.shape[0], start - length), np.float32))
                length = start
            piece = piece[:, max(0, length - start) :]
            parts.append(piece)
            length += piece.shape[1]
    return np.concatenate(parts, axis=1), rate


def beep_of(path: Path) -> float:
    """The moment at which the beep begins, to a sample or two: where its level passes half."""
    samples, rate = sound_of(path)
    loud = np.abs(samples[0]) > 0.15
    assert loud.any(), "no beep"
    return float(np.argmax(loud)) / rate


def streams_of(path: Path) -> dict[str, Any]:
    """What the header says."""
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        return {
            "picture": video.codec_context.name,
            "sound": audio.codec_context.name,
            "size": (video.codec_context.width, video.codec_context.height),
            "channels": audio.codec_context.layout.nb_channels,
            "rate": audio.codec_context.sample_rate,
            "fps": float(video.average_rate),
        }
