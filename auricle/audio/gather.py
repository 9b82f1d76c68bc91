"""Decoded frames of any sample format gathered into large chunks of float32 mono."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from auricle.audio.pcm import mean_of_floats, to_mono
from auricle.audio.types import Notices

CHUNK_SAMPLES = 1 << 14
SAFE_PLANES = 8  # PyAV looks for a null pointer behind the planes: from 8 on there is none, and it runs on
FRAME_DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}


class Gatherer:
    """Gathers frames into large mono chunks: the work done once a frame is what compressed files cost.

    FFmpeg's own queue takes the frames, in their format; NumPy sees a chunk of many at once.
    """

    def __init__(self, rate: int, notices: Notices, chunk: int = CHUNK_SAMPLES):
        self.position = 0  # of the next sample
        self._chunk = chunk  # samples; of less than a frame, each is handed out when the next has come
        self._rate, self._notices = rate, notices
        self._channels = self._filled = 0
        self._converter: Any = None
        self._converter_rate = rate

    def add(self, frame: Any) -> tuple[int, np.ndarray] | None:
        """Append one frame, which loses its time stamp; returns a full chunk when there is one."""
        if frame.sample_rate != self._rate or self._converter is not None:
            return self._add_converted(frame)
        done, samples = None, frame.samples
        # The queue itself does not see a change of channels, and would read planes that are not there.
        if frame.layout.nb_channels != self._channels or self._filled + samples > self._chunk:
            done = self.flush()
            if frame.layout.nb_channels != self._channels:
                self._new_queue(frame)
        frame.pts = None  # the queue holds time stamps against its own count
        try:
            self._write(frame)
        except ValueError:  # another sample format
            done = done or self.flush()
            self._new_queue(frame)
            self._write(frame)
        self._filled += samples
        self.position += samples
        return done

    def _new_queue(self, frame: Any) -> None:
        import av

        self._queue = av.AudioFifo()
        self._write = self._queue.write
        self._channels = frame.layout.nb_channels

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
        start, self._filled = self.position - self._filled, 0
        samples = frame_to_mono(self._queue.read(), self._notices)
        return start, samples[: self.position - start]

    def drop(self, samples: int) -> None:
        """Leave out the last samples of the last frame: fewer than it has."""
        if samples and self._converter is None:
            self._filled -= samples
            self.position -= samples

    def finish(self) -> Iterator[tuple[int, np.ndarray]]:
        """The rest, at the end of the recording."""
        if (done := self.flush()) is not None:
            yield done
        if self._converter is not None:
            yield self._passed(self._converter.resample_chunk(np.empty(0, np.float32), last=True))

    def _add_converted(self, frame: Any) -> tuple[int, np.ndarray] | None:
        """A frame whose rate is not the first one's, or that follows one: brought to the first rate."""
        import soxr

        if (done := self.flush()) is not None:
            # Rare: what was gathered comes first, and this frame with it.
            parts, start = [done[1]], done[0]
        else:
            parts, start = [], self.position
        if self._converter is not None and frame.sample_rate != self._converter_rate:
            parts.append(self._converter.resample_chunk(np.empty(0, np.float32), last=True))
            self._converter = None
        mono = frame_to_mono(frame, self._notices)
        if frame.sample_rate != self._rate:
            if self._converter is None:
                text = f"its sample rate changes from {self._rate} to {frame.sample_rate} Hz at "
                text += f"{self.position / self._rate:.3f} s; the sound was brought to the first rate"
                self._notices.add("rate", text)
                self._converter_rate = frame.sample_rate
                self._converter = soxr.ResampleStream(frame.sample_rate, self._rate, 1)
            mono = self._converter.resample_chunk(mono)
        result = np.concatenate([*parts, mono])
        self.position = start + len(result)
        return start, result

    def _passed(self, samples: np.ndarray) -> tuple[int, np.ndarray]:
        self.position += len(samples)
        return self.position - len(samples), samples


def frame_to_mono(frame: Any, notices: Notices) -> np.ndarray:
    """Any frame as mono float32."""
    name, channels = frame.format.name, frame.layout.nb_channels
    dtype = np.dtype(FRAME_DTYPES[name.removesuffix("p")])
    if name.endswith("p") and channels >= SAFE_PLANES:
        frame, name = packed(frame), name.removesuffix("p")
    if not name.endswith("p"):
        data = np.frombuffer(frame.planes[0], dtype, frame.samples * channels)
        return to_mono(data.reshape(-1, channels), notices)
    planes = [np.frombuffer(plane, dtype, frame.samples) for plane in frame.planes]
    if dtype.kind == "f":
        return mean_of_floats(planes, notices)
    return to_mono(np.array(planes).T, notices)


def packed(frame: Any) -> Any:
    """The same frame with its channels interleaved, in one plane."""
    import av

    name = frame.format.name.removesuffix("p")
    (result,) = av.AudioResampler(name, frame.layout, frame.sample_rate).resample(frame)
    return result
