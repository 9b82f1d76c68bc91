"""Recordings made for tests: any rate, channel count, codec and container, with or without a picture."""

import struct
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from av.stream import Disposition

from auricle.audio import AudioError, read

RATE = 44_100
# file suffix -> (codec, or None for soundfile's own, bit rate)
COMPRESSED = {
    ".mp3": ("libmp3lame", 128_000),
    ".m4a": ("aac", 128_000),
    ".aac": ("aac", 128_000),
    ".opus": ("libopus", 96_000),
    ".webm": ("libopus", 96_000),
    ".mka": ("flac", 0),
    ".mkv": ("aac", 128_000),
    ".mov": ("aac", 128_000),
    ".mp4": ("aac", 128_000),
}
WAV_SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")


def tone(
    rate: int, seconds: float, *, channels: int = 1, hertz: float = 440.0, level: float = 0.5
) -> np.ndarray:
    """(N, channels) float32 sine, the same in every channel, with a little noise that marks the places."""
    count = round(rate * seconds)
    noise = np.random.default_rng(0).standard_normal(count) * 0.01
    samples = level * np.sin(2 * np.pi * hertz * np.arange(count) / rate) + noise
    return np.repeat(samples.astype(np.float32)[:, None], channels, axis=1)


def write_pcm(path: Path, samples: np.ndarray, rate: int, subtype: str = "PCM_16", **options: str) -> Path:
    """Uncompressed or FLAC or Vorbis, by soundfile; the format is that of the suffix."""
    soundfile.write(path, samples, rate, subtype=subtype, **options)
    return path


def write_media(
    path: Path,
    samples: np.ndarray,
    rate: int,
    codec: str | None = None,
    *,
    bit_rate: int | None = None,
    video_seconds: float = 0.0,
    audio_delay: float = 0.0,
    gap: tuple[float, float] | None = None,
    container_format: str | None = None,
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    tracks: int = 1,
    loud_track: int = 0,
    default_track: int | None = None,
) -> Path:
    """Anything PyAV writes.

    Args:
        samples: (N, channels) float32.
        codec, bit_rate: by default those of the suffix.
        video_seconds: length of a grey picture track; 0 for none.
        audio_delay: seconds between the picture's start and the sound's.
        gap: (at, length) in seconds: the time stamps jump by `length` at `at`.
        tracks, loud_track: sound tracks; each but the loud one is silence.
        default_track: the track that is flagged as the one to play.
    """
    known, known_rate = COMPRESSED.get(path.suffix, ("pcm_s16le", 0))
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[samples.shape[1]]
    with av.open(str(path), "w", format=container_format, options=options or {}) as out:
        out.metadata.update(metadata or {})
        picture = None
        if video_seconds:
            picture = out.add_stream("mpeg4", rate=10)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
        streams = [out.add_stream(codec or known, rate=rate, layout=layout) for _ in range(tracks)]
        for stream in streams:
            if stream.name == "aac":
                stream.options = {"aac_pns": "0"}  # else the decoder invents noise, another after each seek
            if bit_rate or known_rate:
                stream.bit_rate = bit_rate or known_rate
        if default_track is not None:
            for number, stream in enumerate(streams):
                stream.disposition = Disposition.default if number == default_track else Disposition(0)
        for index in range(round(video_seconds * 10)):
            image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), index % 255, np.uint8), "rgb24")
            image.pts = index
            out.mux(picture.encode(image))
        if picture is not None:
            out.mux(picture.encode(None))
        for number, stream in enumerate(streams):
            content = samples if number == loud_track else np.zeros_like(samples)
            for frame in _frames(content, rate, layout, stream, audio_delay, gap):
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path


def _frames(samples, rate, layout, stream, audio_delay, gap):
    """Encoder frames with their time stamps."""
    wanted = stream.codec_context.format
    size = stream.codec_context.frame_size or 1024
    converter = av.AudioResampler(wanted, layout, rate, frame_size=size)
    whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), "flt", layout=layout)
    whole.sample_rate, whole.pts = rate, 0
    position = 0
    for frame in [*converter.resample(whole), *converter.resample(None)]:
        frame.pts = position + round(audio_delay * rate)
        if gap is not None and position >= gap[0] * rate:
            frame.pts += round(gap[1] * rate)
        position += frame.samples
        yield frame


@lru_cache(maxsize=1)
def long_media(folder: Path) -> dict[str, Path]:
    """Six seconds of stereo in every kind, written once for all test files."""
    folder.mkdir()
    stereo = tone(RATE, 6.0, channels=2)
    files = {"wav": write_pcm(folder / "long.wav", stereo, RATE)}
    files["ogg"] = write_pcm(folder / "long.ogg", stereo, RATE, "VORBIS")
    files["flac"] = write_pcm(folder / "long.flac", stereo, RATE)
    files["aiff"] = write_pcm(folder / "long.aiff", stereo, RATE)
    files["ts"] = write_media(folder / "long.ts", stereo, RATE, "aac")
    for suffix in COMPRESSED:
        rate = 48_000 if COMPRESSED[suffix][0] == "libopus" else RATE
        video = 6.0 if suffix in (".mkv", ".mov", ".mp4") else 0.0
        content = stereo if rate == RATE else tone(rate, 6.0, channels=2)
        files[suffix[1:]] = write_media(folder / f"long{suffix}", content, rate, video_seconds=video)
    return files


def wav_bytes(
    samples: np.ndarray,
    *,
    rate: int = 16_000,
    size: int | None = None,
    after: bytes = b"",
    riff: bytes = b"RIFF",
) -> bytes:
    """A 16-bit mono WAV whose data chunk claims `size` bytes."""
    body = samples.astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2 % 2**32, 2, 16)
    chunk = b"data" + struct.pack("<I", len(body) if size is None else size) + body
    rest = b"WAVEfmt " + struct.pack("<I", 16) + form + chunk + after
    return riff + struct.pack("<I", min(len(rest), 0xFFFFFFFF)) + rest


def error_line(source: object, **options: object) -> str:
    """The text of the AudioError that reading gives: one line, naming the file, saying what to do."""
    with pytest.raises(AudioError) as caught:
        read(source, None, warn=lambda line: None, **options)
    line = str(caught.value)
    assert "\n" not in line and ": " in line and "; " in line, line
    return line


def heard(source: object, rate: int | None = None, **options: object) -> tuple[np.ndarray, list[str]]:
    """Samples and warnings."""
    told: list[str] = []
    samples = read(source, rate, warn=told.append, **options)
    assert samples.dtype == np.float32 and samples.ndim == 1 and np.isfinite(samples).all()
    assert all("\n" not in line for line in told)
    return samples, told


def hertz_of(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 19))
    return float(np.argmax(spectrum)) * rate / (1 << 19)


def read_through_soundfile(path: Path) -> np.ndarray:
    """(N, channels) float64, an independent reading of what soundfile knows."""
    return soundfile.read(path, always_2d=True)[0]


class Pipe:
    """Bytes that can be read once, in pieces as small as a slow pipe gives them."""

    def __init__(self, data: bytes, piece: int = 65_536):
        self._data, self._position, self._piece = data, 0, piece

    def read(self, size: int = -1) -> bytes:
        size = self._piece if size < 0 else min(size, self._piece)
        data = self._data[self._position : self._position + size]
        self._position += len(data)
        return data
