"""Everything that FFmpeg reads, by way of PyAV: the sound track of a container as one gapless time-line."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np

from auricle.audio.gather import CHUNK_SAMPLES, Gatherer
from auricle.audio.mp3 import sound_length
from auricle.audio.opening import (
    choose_stream,
    ogg_is_cut,
    open_container,
    picture_streams,
    promised_seconds,
)
from auricle.audio.pcm import check_rate
from auricle.audio.source import Source
from auricle.audio.types import Info, Notices, problem

GAP_SECONDS = 0.1  # time stamps of some containers wander by tens of milliseconds; more than this is a gap
DAMAGE_GAP_SECONDS = 0.002  # after a damaged packet; Matroska rounds its time stamps to milliseconds
FILLED = "{gap in its time stamps was|gaps in its time stamps were} filled with silence, the first"
LONGEST_GAP_SECONDS = 3600.0  # a longer jump is taken for broken time stamps
SILENCE_SECONDS = 600.0  # of gaps in all; more is broken time stamps, too, except
SILENCE_RATIO = 10.0  # that each second of sound before allows for this many more
LOST_PACKET_SECONDS = 2.0  # no packet of a codec holds more: what a damaged one in front may stand for
PREROLL_SECONDS = 1.0  # a decoder started in mid-stream (MP3 bit reservoir, Opus, SBR) has settled by then
SEEK_FROM_SECONDS = 10.0  # before this, decoding from the start costs less than it could go wrong
SHORT_SECONDS = 0.05  # ending this much before the header's duration is a truncated file
MOST_PADDING = 4096  # samples that an MP3's header can tell of
PROMPT_CHUNK = 512  # samples that are gathered of a stream that is wanted soon
DEMUX_FAILURES = 64  # in a row, after which the rest is given up


class Media:
    """A recording that PyAV opened: `chunks` gives its sound as mono float32 at its own rate."""

    def __init__(self, source: Source, notices: Notices):
        self._source, self._notices = source, notices
        # FFmpeg cuts what an MP3's encoder put behind the sound, but not from a pipe.
        mp3_end = None if source.seekable() else sound_length(source)
        self._container = open_container(source, notices)
        try:
            self._stream = choose_stream(self._container, source.name)
            self._stream.codec_context.thread_count = 1  # no audio decoder here gains from more
            self._damaged = 0
            self._resync = False  # a packet was lost since the last frame
            self._batches = self._decode()
            self._head: list[Any] = next(self._batches, [])
        except BaseException:
            self._container.close()
            raise
        if not self._head:
            self._container.close()
            codec = self._stream.codec_context.name
            raise problem(
                source.name, f"no sound could be decoded from it ({codec})", "record or copy it again"
            )
        self._first = self._head[0]
        self.rate = int(self._first.sample_rate)
        self.length: int | None = None  # known at the end only
        is_mp3 = self._container.format.name == "mp3" and not source.seekable()
        self._padded_from = mp3_end if is_mp3 else None
        self._fresh = True
        try:
            check_rate(self.rate, source.name)
            self._origin = self._find_origin()
        except BaseException:
            self._container.close()
            raise

    def info(self) -> Info:
        """What the header says."""
        stream, container = self._stream, self._container
        duration = None
        if stream.duration is not None:
            duration = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration = container.duration / 1e6
        return Info(
            path=self._source.name,
            container=container.format.name,
            codec=stream.codec_context.name,
            rate=self.rate,
            channels=self._first.layout.nb_channels,
            duration=duration,
            has_video=bool(picture_streams(container)),
        )

    def chunks(self, first: int) -> Iterator[np.ndarray]:
        """Mono float32 from sample `first` on, in pieces; sample 0 is the container's time zero.

        Called once for each object.
        """
        assert self._fresh, "chunks() may be called once"
        self._fresh = False
        head = self._seek(first)
        timeline = self._timeline(head)
        if self._padded_from is not None:
            timeline = self._without_padding(timeline, self._padded_from)
        for start, samples in timeline:
            if start >= first:
                yield samples
            elif start + len(samples) > first:
                yield samples[first - start :]

    def close(self) -> None:
        """Close the container; a file object that was handed in stays open."""
        self._container.close()

    def _decode(self) -> Iterator[list[Any]]:
        """Frames, by packet, from where the container stands, over damaged packets, to the end."""
        from av.error import EOFError as FFmpegEOF
        from av.error import FFmpegError

        decode = self._stream.codec_context.decode
        failures = 0
        while failures <= DEMUX_FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    try:
                        frames = decode(packet)
                    except FFmpegEOF:
                        continue
                    except (FFmpegError, LookupError, ValueError):
                        self._note_damage()
                        continue
                    if frames:
                        failures = 0
                        yield frames
                return
            except UnicodeError:
                # PyAV decodes names inside a stream as UTF-8 and knows no other way there.
                failures += 1
            except (FFmpegError, LookupError, ValueError):
                # LookupError: damage made a track that PyAV has not listed, and this packet is of it.
                failures += 1
                self._note_damage()
        # The decoder may hold frames that nothing will now push out.
        with contextlib.suppress(FFmpegError, LookupError, ValueError):
            if frames := decode(None):
                yield frames
        self._notices.add("unreadable", "cannot be read to its end; what could be read was read")

    def _note_damage(self) -> None:
        self._damaged += 1
        self._resync = True
        self._notices.add(
            "damaged",
            "{damaged packet was|damaged packets were} skipped; silence stands there where time stamps tell",
        )

    def _position_of(self, frame: Any) -> float | None:
        """Where a frame belongs, in samples from the origin; None where it has no time stamp."""
        if frame.pts is None:
            return None
        return float((frame.pts * frame.time_base - self._origin) * self.rate)

    def _find_origin(self) -> Fraction:
        """Time zero in seconds: the first of the sound and the picture, so that both keep step."""
        frame, stream = self._first, self._stream
        time_base = frame.time_base or stream.time_base
        if frame.pts is None:
            return Fraction(0)
        origin = Fraction(frame.pts) * time_base
        if self._damaged and stream.start_time is not None:
            # The stamp in front may itself be damaged: it is believed as far as the lost packets reach.
            start = stream.start_time * stream.time_base
            if 0 < origin - start <= min(self._damaged * LOST_PACKET_SECONDS, LONGEST_GAP_SECONDS):
                origin = start
        for picture in picture_streams(self._container):
            if picture.start_time is not None and picture.time_base is not None:
                start = picture.start_time * picture.time_base
                if 0 < origin - start <= LONGEST_GAP_SECONDS:
                    origin = start
        return origin

    def _seek(self, first: int) -> list[Any]:
        """Go to shortly before sample `first`; returns the first frames to use."""
        from av.error import FFmpegError

        if first < SEEK_FROM_SECONDS * self.rate or not self._source.seekable() or self._first.pts is None:
            return self._head
        stream = self._stream
        preroll = PREROLL_SECONDS
        while (target := first / self.rate - preroll) > 0:
            offset = int((Fraction(target) + self._origin) / stream.time_base)
            try:
                self._container.seek(offset, stream=stream)
            except FFmpegError:
                break
            batches = self._decode()
            head = next(batches, [])
            # Seeking may land late (indexes are coarse): then go back further.
            at = self._position_of(head[0]) if head else None
            if at is not None and at <= first - 0.5 * PREROLL_SECONDS * self.rate:
                self._batches = batches
                return head
            preroll *= 4
        self._container.seek(stream.start_time or 0, stream=stream)
        self._batches = self._decode()
        return next(self._batches, self._head)

    def _on_grid(self, position: float, samples: int) -> int:
        """The exact position of a frame of `samples`, where time stamps are coarser than samples (Matroska).

        Frames of one size lie on a grid that the first frame fixes; with frames of changing size (Vorbis)
        the position stays as good as the time stamp, 1 ms.
        """
        unit = float((self._first.time_base or self._stream.time_base) * self.rate)
        if unit > 1 and samples > 4 * unit:
            phase = self._first.samples % samples
            nearest = round((position - phase) / samples) * samples + phase
            if abs(nearest - position) <= 1.1 * unit + 1:
                return nearest
        return round(position)

    def _timeline(self, head: list[Any]) -> Iterator[tuple[int, np.ndarray]]:
        """(position, samples) without holes, from the frames `head` on: gaps are silence."""
        scale = float((head[0].time_base or self._stream.time_base) * self.rate)  # time stamps -> samples
        shift = -float(self._origin * self.rate)
        gatherer = Gatherer(self.rate, self._notices, PROMPT_CHUNK if self._source.prompt else CHUNK_SAMPLES)
        start = self._position_of(head[0])
        if head is not self._head and start is not None:
            gatherer.position = self._on_grid(start, head[0].samples)
        elif start is not None and start >= 1:
            yield from gatherer.silence(round(start))
        earliest, latest, add = -GAP_SECONDS * self.rate, max(1.0, scale), gatherer.add
        front = gatherer.position if head is self._head else 0
        invented = 0  # samples of silence
        for frames in chain((head,), self._batches):
            for frame in frames:
                if (pts := frame.pts) is not None:
                    gap = pts * scale + shift - gatherer.position
                    if not earliest <= gap <= latest:
                        sound = gatherer.position - front - invented
                        longest = SILENCE_SECONDS * self.rate + SILENCE_RATIO * sound - invented
                        longest = max(-earliest, min(longest, LONGEST_GAP_SECONDS * self.rate))
                        if not earliest <= gap <= longest:
                            self._note_place("its time stamps jump {time|times}; joined, first", gatherer)
                            shift -= gap
                        elif missing := self._missing(gap, frame.samples, scale):
                            if not self._resync:
                                self._note_place(FILLED, gatherer)
                            invented += missing
                            yield from gatherer.silence(missing)
                    self._resync = False
                if (done := add(frame)) is not None:
                    yield done
        gatherer.drop(self._padding(frame, pts))
        yield from gatherer.finish()
        self.length = gatherer.position
        self._check_end(gatherer.position / self.rate)

    def _padding(self, frame: Any, pts: int | None) -> int:
        """Samples at the end of the last frame that an MP4's encoder filled up.

        Its packet lasts as long as the sound does, or the edit list ends the track within it, to whole
        milliseconds perhaps. FFmpeg cuts neither.
        """
        stream, samples = self._stream, frame.samples
        if not self._container.format.name.startswith("mov") or frame.sample_rate != self.rate:
            return 0
        unit = Fraction(frame.time_base or stream.time_base) * self.rate
        padding = samples - round(frame.duration * unit) if frame.duration else 0
        begin, length = stream.start_time, stream.duration
        if not 0 < padding < samples and None not in (pts, begin, length):
            assert pts is not None and begin is not None and length is not None
            end = Fraction(begin + length) * stream.time_base * self.rate
            padding = samples - round(end - pts * unit)
            if padding <= self.rate // 1000:
                return 0
        return padding if 0 < padding < samples else 0

    def _without_padding(
        self, timeline: Iterator[tuple[int, np.ndarray]], end: int
    ) -> Iterator[tuple[int, np.ndarray]]:
        """What lies before `end`; all, where more than padding follows (files that were joined)."""
        held: list[tuple[int, np.ndarray]] = []
        for start, samples in timeline:
            if start + len(samples) <= end:
                yield start, samples
                continue
            if start < end:
                yield start, samples[: end - start]
                start, samples = end, samples[end - start :]
            held.append((start, samples))
            if start + len(samples) > end + MOST_PADDING:
                yield from held
                held, end = [], 1 << 62
        if held:
            self.length = end

    def _note_place(self, text: str, gatherer: Gatherer) -> None:
        self._notices.add(text[:20], f"{text} at {gatherer.position / self.rate:.3f} s")

    def _missing(self, gap: float, samples: int, unit: float) -> int:
        """How many samples of silence a gap before a frame of `samples` calls for; 0 where it is jitter.

        `unit` is the grain of the time stamps in samples. A gap of whole frames is made exact to the sample.
        """
        frames = round(gap / samples) * samples if samples else 0
        if self._resync and gap > DAMAGE_GAP_SECONDS * self.rate:
            return frames if frames and abs(gap - frames) <= samples / 8 else round(gap)
        if frames and unit <= 1 and abs(gap - frames) <= 2:
            return frames
        return round(gap) if gap > GAP_SECONDS * self.rate else 0

    def _check_end(self, seconds: float) -> None:
        promised = promised_seconds(self._container, self._stream, self._origin)
        if promised is not None and seconds < promised - SHORT_SECONDS:
            self._notices.add(
                "short",
                f"ends at {seconds:.3f} s though its header says {promised:.3f} s: "
                "cut off, or the header is wrong; what is there was read",
            )
        elif promised is None and self._container.format.name == "ogg" and ogg_is_cut(self._source):
            text = f"is cut off at {seconds:.3f} s (its last page is missing); what is there was read"
            self._notices.add("short", text)
