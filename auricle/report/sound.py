"""The sound of a film: copied packet by packet, or decoded, put on the film's clock and encoded as AAC."""

from fractions import Fraction
from typing import Any

import numpy as np

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
LAYOUTS = ("mono", "stereo", "5.1", "7.1")  # what players of AAC know; others are mixed to stereo
FRAME = 1024  # samples of an AAC frame
BITS = 96_000  # a second, for each of up to two channels
GAP_SECONDS = 0.1  # as `auricle.audio` has it: more than this is a gap, less is jitter of time stamps


class Sound:
    """A film's sound track, fed with the packets of a recording's.

    Args:
        film: container that is written.
        source: the recording's sound track.
        zero: seconds of its clock that are time zero.
        start: seconds after which the film begins.
        end: seconds at which it ends.
        whole: the film is of the whole recording: its packets may be copied.
    """

    def __init__(self, film: Any, source: Any, *, zero: Fraction, start: float, end: float, whole: bool):
        self.source, self._film, self._zero = source, film, zero
        self._start, self._end = start, end
        kind = source.container.format.name
        # Others mark what a decoder is to leave out in ways that are lost on the way into an MP4.
        self.copied = (
            whole
            and source.codec_context.name == "aac"
            and bool(source.codec_context.extradata)
            and ("mp4" in kind or "matroska" in kind)
        )
        self._rate = int(source.codec_context.sample_rate or 48_000)
        self._held: list[np.ndarray] = []
        self._length = 0  # samples held
        self._written = 0  # samples encoded
        self._waiting: list[Any] | None = []  # packets that came before the first picture
        self._stream: Any = None
        self.seconds = 0.0  # how far the sound has come

    def open(self) -> None:
        """Add the track to the film, whose picture has been added, and pass on what came before that."""
        if self.copied:
            self._stream = self._film.add_stream_from_template(self.source)
        else:
            self._add_encoder()
        waiting, self._waiting = self._waiting or [], None
        for packet in waiting:
            self.feed(packet)

    def _add_encoder(self) -> None:
        from av import AudioResampler

        context = self.source.codec_context
        self._out_rate = self._rate if self._rate in AAC_RATES else 48_000
        layout = context.layout.name if context.layout is not None else "stereo"
        layout = layout if layout in LAYOUTS else "mono" if context.layout.nb_channels == 1 else "stereo"
        self._layout = layout
        self._stream = self._film.add_stream("aac", rate=self._out_rate, layout=layout)
        self._channels = self._stream.codec_context.layout.nb_channels
        self._stream.bit_rate = BITS * min(2, self._channels)
        self._same_rate = AudioResampler(format="fltp", layout=layout, rate=self._rate)
        self._convert = None
        if self._out_rate != self._rate:
            self._convert = AudioResampler(format="fltp", layout=layout, rate=self._out_rate)
        self._position = 0  # samples at the recording's rate, put on the film's clock so far

    def feed(self, packet: Any) -> bool:
        """Take a packet; False when all that the film needs has been heard."""
        if self._waiting is not None:
            self._waiting.append(packet)
            return True
        if self.copied:
            return self._copy(packet)
        from av.error import FFmpegError

        try:
            frames = packet.decode()
        except (FFmpegError, LookupError, ValueError):
            return True  # damaged: the gap is filled by the next
        return all([self._place(frame) for frame in frames])

    def _copy(self, packet: Any) -> bool:
        if packet.dts is None:
            return True
        shift = round(self._zero / packet.time_base)
        packet.pts = (packet.dts if packet.pts is None else packet.pts) - shift
        packet.dts -= shift
        self.seconds = float(packet.pts * packet.time_base)
        packet.stream = self._stream
        self._film.mux(packet)
        return True

    def _place(self, frame: Any) -> bool:
        """Put a frame where its time stamp says; gaps are silence, what lies outside is cut off."""
        position = self._position
        if frame.pts is not None:
            moment = float(frame.pts * frame.time_base - self._zero) - self._start
            wanted = round(moment * self._rate)
            if position == 0 or abs(wanted - position) > GAP_SECONDS * self._rate:
                # Before the film's beginning it is cut; a jump back is joined, as `auricle.audio` does.
                position = wanted if position == 0 else max(position, wanted)
        frame.pts = None
        for flat in self._same_rate.resample(frame):
            samples = flat.to_ndarray()
            first = max(0, self._position - position)
            if first < samples.shape[1]:
                if (silence := position + first - self._position) > 0:
                    self._add(np.zeros((samples.shape[0], silence), np.float32))
                left = self._left()
                self._add(samples[:, first:][:, :left] if left is not None else samples[:, first:])
            position += samples.shape[1]
        left = self._left()
        return left is None or left > 0

    def _left(self) -> int | None:
        if self._end == float("inf"):
            return None
        return max(0, round((self._end - self._start) * self._rate) - self._position)

    def _add(self, samples: np.ndarray) -> None:
        self._position += samples.shape[1]
        self.seconds = self._position / self._rate
        if self._convert is not None:
            frame = self._frame(samples, self._rate)
            pieces = [piece.to_ndarray() for piece in self._convert.resample(frame)]
        else:
            pieces = [samples]
        self._encode(pieces)

    def _encode(self, pieces: list[np.ndarray], *, last: bool = False) -> None:
        self._held += pieces
        self._length += sum(piece.shape[1] for piece in pieces)
        if self._length < FRAME and not last:
            return
        samples = np.concatenate(self._held, axis=1) if self._held else np.zeros((self._channels, 0))
        whole = len(samples[0]) if last else len(samples[0]) // FRAME * FRAME
        for begin in range(0, whole, FRAME):
            frame = self._frame(samples[:, begin : min(begin + FRAME, whole)], self._out_rate)
            frame.pts, frame.time_base = self._written, Fraction(1, self._out_rate)
            self._written += frame.samples
            self._film.mux(self._stream.encode(frame))
        self._held = [samples[:, whole:]]
        self._length = self._held[0].shape[1]

    def _frame(self, samples: np.ndarray, rate: int) -> Any:
        from av import AudioFrame

        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, np.float32), format="fltp", layout=self._layout
        )
        frame.sample_rate = rate
        return frame

    def finish(self) -> None:
        """Write what is held."""
        if self.copied:
            return
        if self._convert is not None:
            self._encode([piece.to_ndarray() for piece in self._convert.resample(None)])
        self._encode([], last=True)
        self._film.mux(self._stream.encode(None))
