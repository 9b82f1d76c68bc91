"""Decoded frames of any sample format gathered into large chunks of float32 mono."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from auricle.audio.pcm import finite, to_mono
from auricle.audio.types import Notices

CHUNK_SAMPLES = 1 << 16
SAFE_PLANES = 8  # PyAV looks for a null pointer behind the planes: from 8 on there is none, and it runs on
FRAME_DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}


class Gatherer:
    """Gathers frames into large mono chunks: the work done once a frame is what compressed files cost."""

    def __init__(self, rate: int, channels: int, notices: Notices):
        self._many_planes = channels >= SAFE_PLANES
        self.position = 0  # of the next sample
        self._rate, self._notices = rate, notices
        self._buffer, self._filled = np.empty(CHUNK_SAMPLES, np.float32), 0
        self._summed = 0  # planes of float that are summed as they come; 0: the buffer is in `_layout`
        self._layout: tuple[str, int] = ("", 0)  # sample format, channels
        self._converter: Any = None
        self._converter_rate = rate

    def add(self, frame: Any) -> tuple[int, np.ndarray] | None:
        """Append one frame; returns a full chunk when there is one."""
        if frame.sample_rate != self._rate or self._converter is not None:
            return self._add_converted(frame)
        if self._many_planes:
            return self._add_other(frame)
        samples, planes, done = frame.samples, frame.planes, None
        count = len(planes)
        # Planar float is what the lossy decoders give; a decoder keeps its format, so a look at the number
        # of planes is enough for it.
        if count != self._summed:
            if frame.format.name != "fltp" or count >= SAFE_PLANES:
                return self._add_other(frame)
            done = self.flush()
            self._summed = count
        elif self._filled + samples > len(self._buffer):
            done = self.flush()
        if samples > len(self._buffer) - self._filled or self._buffer.ndim > 1:
            self._buffer = np.empty(max(samples, CHUNK_SAMPLES), np.float32)
        end = self._filled + samples
        target = self._buffer[self._filled : end]
        if count == 2:
            left, right = planes
            left, right = np.frombuffer(left, np.float32, samples), np.frombuffer(right, np.float32, samples)
            np.add(left, right, out=target)
        else:
            target[:] = np.frombuffer(planes[0], np.float32, samples)
            for plane in planes[1:]:
                target += np.frombuffer(plane, np.float32, samples)
        self._filled = end
        self.position += samples
        return done

    def _add_other(self, frame: Any) -> tuple[int, np.ndarray] | None:
        """Append a frame of any sample format, as it is: it is converted when the chunk is full."""
        name, channels = frame.format.name, frame.layout.nb_channels
        if name.endswith("p") and channels >= SAFE_PLANES:
            self._many_planes = True
            frame = packed(frame)
            name = frame.format.name
        samples, done, layout = frame.samples, None, (name, channels)
        if self._summed or layout != self._layout or self._filled + samples > len(self._buffer):
            done = self.flush()
            self._summed, self._layout = 0, layout
            shape = (max(samples, CHUNK_SAMPLES // channels), channels)
            dtype = FRAME_DTYPES[name.removesuffix("p")]
            # Planar samples are kept as planes, so that the columns of the chunk are contiguous.
            self._buffer = np.empty(shape[::-1], dtype).T if name.endswith("p") else np.empty(shape, dtype)
        end = self._filled + samples
        target = self._buffer[self._filled : end]
        if name.endswith("p"):
            for channel, plane in enumerate(frame.planes):
                target[:, channel] = np.frombuffer(plane, target.dtype, samples)
        else:
            data = np.frombuffer(frame.planes[0], target.dtype, samples * channels)
            target[:] = data.reshape(samples, channels)
        self._filled = end
        self.position += samples
        return done

    def silence(self, samples: int) -> Iterator[tuple[int, np.ndarray]]:
        """`samples` zeros, in chunks."""
        if (done := self.flush()) is not None:
            yield done
        while samples > 0:
            piece = np.zeros(min(samples, CHUNK_SAMPLES), np.float32)
            yield self.position, piece
            self.position += len(piece)
            samples -= len(piece)

    def flush(self) -> tuple[int, np.ndarray] | None:
        """What was gathered and not yet handed out."""
        if not self._filled:
            return None
        chunk, start = self._buffer[: self._filled], self.position - self._filled
        self._filled = 0
        if not self._summed:
            return start, to_mono(chunk, self._notices)
        self._buffer = np.empty(CHUNK_SAMPLES, np.float32)
        if self._summed > 1:
            chunk *= np.float32(1 / self._summed)
        return start, finite(chunk, self._notices)

    def finish(self) -> Iterator[tuple[int, np.ndarray]]:
        """The rest, at the end of the recording."""
        if self._converter is not None:
            self._append(self._converter.resample_chunk(np.empty(0, np.float32), last=True))
        if (done := self.flush()) is not None:
            yield done

    def _append(self, mono: np.ndarray) -> tuple[int, np.ndarray] | None:
        done = self.flush()
        self._buffer, self._filled, self._summed = mono, len(mono), 1
        self.position += len(mono)
        return done

    def _add_converted(self, frame: Any) -> tuple[int, np.ndarray] | None:
        """A frame whose rate is not the first one's, or that follows one: brought to the first rate."""
        import soxr

        mono = _frame_to_mono(frame, self._notices)
        parts = []
        if self._converter is not None and frame.sample_rate != self._converter_rate:
            parts.append(self._converter.resample_chunk(np.empty(0, np.float32), last=True))
            self._converter = None
        if frame.sample_rate == self._rate:
            parts.append(mono)
        else:
            if self._converter is None:
                text = f"its sample rate changes from {self._rate} to {frame.sample_rate} Hz at "
                text += f"{self.position / self._rate:.3f} s; the sound was brought to the first rate"
                self._notices.add("rate", text)
                self._converter_rate = frame.sample_rate
                self._converter = soxr.ResampleStream(frame.sample_rate, self._rate, 1)
            parts.append(self._converter.resample_chunk(mono))
        return self._append(np.concatenate(parts))


def packed(frame: Any) -> Any:
    """The same frame with its channels interleaved, in one plane."""
    import av

    name = frame.format.name.removesuffix("p")
    (result,) = av.AudioResampler(name, frame.layout, frame.sample_rate).resample(frame)
    return result


def _frame_to_mono(frame: Any, notices: Notices) -> np.ndarray:
    """Any frame as mono float32."""
    gatherer = Gatherer(frame.sample_rate, frame.layout.nb_channels, notices)
    done = gatherer.add(frame) or gatherer.flush()
    assert done is not None, "a decoded frame has samples"
    return done[1]
