"""Everything that FFmpeg reads, by way of PyAV: the sound track of a container as one gapless time-line."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from auricle.audio.pcm import check_rate, finite, to_mono
from auricle.audio.source import Source
from auricle.audio.types import Info, Notices, problem

CHUNK_SAMPLES = 1 << 16
GAP_SECONDS = 0.1  # time stamps of some containers wander by tens of milliseconds; more than this is a gap
DAMAGE_GAP_SECONDS = 0.002  # after a damaged packet; Matroska rounds its time stamps to milliseconds
LONGEST_GAP_SECONDS = 3600.0  # a longer jump is taken for broken time stamps
PREROLL_SECONDS = 1.0  # a decoder started in mid-stream (MP3 bit reservoir, Opus, SBR) has settled by then
SEEK_FROM_SECONDS = 10.0  # before this, decoding from the start costs less than it could go wrong
SHORT_SECONDS = 0.05  # ending this much before the header's duration is a truncated file
DEMUX_FAILURES = 64  # in a row, after which the rest is given up
FRAME_DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
SAFE_OPTIONS = {"protocol_whitelist": "file"}  # a playlist that names addresses must not open them


class Media:
    """A recording that PyAV opened: `chunks` gives its sound as mono float32 at its own rate."""

    def __init__(self, source: Source, notices: Notices):
        self._source, self._notices = source, notices
        self._container = _open(source, notices)
        try:
            self._stream = _choose_stream(self._container, source.name)
            self._stream.codec_context.thread_count = 1  # no audio decoder here gains from more
            self._damaged = 0
            self._frames = self._decode()
            self._first: Any = next(self._frames, None)
        except BaseException:
            self._container.close()
            raise
        if self._first is None:
            self._container.close()
            codec = self._stream.codec_context.name
            raise problem(
                source.name, f"no sound could be decoded from it ({codec})", "record or copy it again"
            )
        self.rate = int(self._first.sample_rate)
        self.length: int | None = None  # known at the end only
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
            channels=len(self._first.layout.channels),
            duration=duration,
            has_video=bool(_pictures(container)),
        )

    def chunks(self, first: int) -> Iterator[np.ndarray]:
        """Mono float32 from sample `first` on, in pieces; sample 0 is the container's time zero.

        Called once for each object.
        """
        assert self._fresh, "chunks() may be called once"
        self._fresh = False
        head = self._seek(first)
        for start, samples in self._timeline(head):
            if start >= first:
                yield samples
            elif start + len(samples) > first:
                yield samples[first - start :]

    def close(self) -> None:
        """Close the container; a file object that was handed in stays open."""
        self._container.close()

    def _decode(self) -> Iterator[Any]:
        """Frames from where the container stands, over damaged packets, to the end."""
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
                    except FFmpegError:
                        self._note_damage()
                        continue
                    if frames:
                        failures = 0
                        yield from frames
                return
            except FFmpegError:
                failures += 1
                self._note_damage()
            except UnicodeError:
                # PyAV decodes names inside a stream as UTF-8 and knows no other way there.
                failures += 1
        self._notices.add("unreadable", "cannot be read to its end; what could be read was read")

    def _note_damage(self) -> None:
        self._damaged += 1
        self._resync = True
        self._notices.add("damaged", "{count} damaged packets were skipped, with silence in their place")

    _resync = False

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
            origin = min(origin, stream.start_time * stream.time_base)
        for picture in _pictures(self._container):
            if picture.start_time is not None and picture.time_base is not None:
                start = picture.start_time * picture.time_base
                if 0 < origin - start <= LONGEST_GAP_SECONDS:
                    origin = start
        return origin

    def _seek(self, first: int) -> Any:
        """Go to shortly before sample `first`; returns the first frame to use."""
        from av.error import FFmpegError

        if first < SEEK_FROM_SECONDS * self.rate or not self._source.seekable() or self._first.pts is None:
            return self._first
        stream = self._stream
        preroll = PREROLL_SECONDS
        while (target := first / self.rate - preroll) > 0:
            offset = int((Fraction(target) + self._origin) / stream.time_base)
            try:
                self._container.seek(offset, stream=stream)
            except FFmpegError:
                break
            frames = self._decode()
            frame = next(frames, None)
            # Seeking may land late (indexes are coarse): then go back further.
            if frame is not None and frame.pts is not None:
                at = self._position_of(frame)
                if at is not None and at <= first - 0.5 * PREROLL_SECONDS * self.rate:
                    self._frames = frames
                    return frame
            preroll *= 4
        self._container.seek(stream.start_time or 0, stream=stream)
        self._frames = self._decode()
        return next(self._frames, self._first)

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

    def _timeline(self, head: Any) -> Iterator[tuple[int, np.ndarray]]:
        """(position, samples) without holes, from frame `head` on: gaps are silence."""
        rate, tolerance = self.rate, GAP_SECONDS * self.rate
        scale = (
            float(self._stream.time_base * rate) if head.time_base is None else float(head.time_base * rate)
        )
        zero = float(self._origin * rate)
        writer = _Writer(rate, self._notices)
        start = self._position_of(head)
        if head is not self._first and start is not None:
            writer.position = self._on_grid(start, head.samples)
        elif start is not None and start >= 1:
            yield from writer.silence(round(start))
        shift = 0.0
        for frame in _chained(head, self._frames):
            pts = frame.pts
            if pts is not None:
                gap = pts * scale - zero + shift - writer.position
                if self._resync:
                    self._resync = False
                    filled = DAMAGE_GAP_SECONDS * rate < gap <= LONGEST_GAP_SECONDS * rate
                    if filled:
                        yield from writer.silence(round(gap))
                        gap = 0.0
                if gap > tolerance or gap < -tolerance:
                    if gap > 0 and gap <= LONGEST_GAP_SECONDS * rate:
                        text = "{count} gaps in its time stamps were filled with silence"
                        self._notices.add("gap", text + f", the first at {writer.position / rate:.3f} s")
                        yield from writer.silence(round(gap))
                    else:
                        text = "its time stamps jump {count} times; the sound was joined there"
                        self._notices.add("jump", text + f", first at {writer.position / rate:.3f} s")
                        shift -= gap
            if (done := writer.add(frame)) is not None:
                yield done
        yield from writer.finish()
        self.length = writer.position
        self._check_end(writer.position / rate)

    def _check_end(self, seconds: float) -> None:
        promised = _promised_seconds(self._container, self._stream, self._origin)
        if promised is not None and seconds < promised - SHORT_SECONDS:
            self._notices.add(
                "short",
                f"ends at {seconds:.3f} s though its header says {promised:.3f} s: "
                "cut off, or the header is wrong; what is there was read",
            )
        elif promised is None and self._container.format.name == "ogg" and _ogg_is_cut(self._source):
            text = f"is cut off at {seconds:.3f} s (its last page is missing); what is there was read"
            self._notices.add("short", text)


class _Writer:
    """Gathers frames into large mono chunks: the work done once a frame is what compressed files cost."""

    def __init__(self, rate: int, notices: Notices):
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
        samples, planes, done = frame.samples, frame.planes, None
        count = len(planes)
        # Planar float is what the lossy decoders give; a decoder keeps its format, so a look at the number
        # of planes is enough for it.
        if count != self._summed:
            name, channels = frame.format.name, len(frame.layout.channels)
            if name != "fltp":
                return self._add_other(frame, (name, channels))
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

    def _add_other(self, frame: Any, layout: tuple[str, int]) -> tuple[int, np.ndarray] | None:
        """Append a frame of any sample format, as it is: it is converted when the chunk is full."""
        samples, done = frame.samples, None
        name, channels = layout
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


def _open(source: Source, notices: Notices) -> Any:
    import av
    from av.error import FFmpegError

    if not source.seekable() and _needs_seeking(source):
        source.spool(notices, "an MP4 whose index is at its end needs seeking")
    while True:
        try:
            # From a path FFmpeg reads by itself, without Python's lock; errors="replace": names inside a
            # file need not be UTF-8, and are not what is wanted of it.
            file: Any = source
            if source.path is not None and source.path.isprintable() and _is_utf8(source.path):
                file = source.path
            container = av.open(file, metadata_errors="replace", container_options=dict(SAFE_OPTIONS))
            source.release()
            return container
        except FFmpegError as error:
            if not source.seekable():
                source.spool(notices, "its container needs seeking")
                continue
            raise _unreadable(source, error) from None
        except (UnicodeError, ValueError) as error:
            raise _unreadable(source, error) from None


def _unreadable(source: Source, error: Exception) -> Exception:
    head = source.peek(4096) if source.seekable() else b""
    if head and _looks_like_text(head):
        return problem(source.name, "is text, not a recording", "name an audio or video file")
    if not any(head):
        return problem(source.name, "holds nothing but zero bytes", "record or copy it again")
    cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if "moov" in cause or head[4:8] in (b"ftyp", b"mdat"):
        return problem(
            source.name, "is an MP4 or MOV that was cut off before its index", "record or copy it again"
        )
    remedy = "if it is headerless PCM, say its rate, channels and sample type; otherwise convert it first"
    return problem(source.name, f"is no audio or video that FFmpeg reads ({cause})", remedy)


def _looks_like_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    printable = sum(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in head)
    if printable < len(head):
        return False
    try:
        head[: -3 if len(head) > 3 else None].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 8
    return True


def _is_utf8(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _needs_seeking(source: Source) -> bool:
    """Whether an MP4 or MOV from a pipe has its samples before its index."""
    offset = 0
    while offset < 1 << 20:
        head = source.peek(offset + 16)[offset:]
        if len(head) < 8:
            return False
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if offset == 0 and kind not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return False
        if kind in (b"moov", b"mdat"):
            return kind == b"mdat"
        if size < 8:
            return False
        offset += size
    return True


def _pictures(container: Any) -> list[Any]:
    """The video streams that are no cover art."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & still]


def _choose_stream(container: Any, name: str) -> Any:
    """The sound track flagged as default, else the first that can be decoded; the others are not read."""
    from av.stream import Discard, Disposition

    audio = list(container.streams.audio)
    if not audio:
        kinds = sorted({stream.type for stream in container.streams})
        raise problem(
            name, f"has no audio stream ({', '.join(kinds) or 'no streams'})", "name a file with sound"
        )
    known = [stream for stream in audio if stream.codec_context is not None]
    if not known:
        raise problem(name, "its audio codec is not known to FFmpeg", "convert it to WAV or FLAC first")
    defaults = [stream for stream in known if stream.disposition & Disposition.default]
    chosen = (defaults or known)[0]
    for stream in container.streams:
        if stream.index != chosen.index:
            stream.discard = Discard.all
    return chosen


def _promised_seconds(container: Any, stream: Any, origin: Fraction) -> float | None:
    """Where the sound ends by the header, for containers whose header is more than an estimate."""
    kind = container.format.name
    start = Fraction(0)
    if stream.start_time is not None and stream.time_base is not None:
        start = stream.start_time * stream.time_base
    if kind.startswith("matroska"):
        if (text := stream.metadata.get("DURATION")) is not None:
            return _clock_seconds(text)
        if not container.streams.video and container.duration is not None:
            return container.duration / 1e6
        return None
    exact = kind in ("flac", "aiff", "caf", "wv", "tta", "ape", "au") or kind.startswith("mov")
    # An MP3's duration is exact only where a Xing or Info frame gives it, and with it the encoder's delay.
    exact = exact or (kind == "mp3" and bool(stream.start_time))
    if exact and stream.duration is not None:
        return float(start + stream.duration * stream.time_base - max(origin, start - 1))
    return None


def _clock_seconds(text: str) -> float | None:
    """Seconds of Matroska's "00:01:02.500000000"."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _ogg_is_cut(source: Source) -> bool:
    """Whether the last page of an Ogg file lacks the flag that ends its stream."""
    size = source.size()
    if size is None:
        return False
    source.seek(max(0, size - (1 << 17)))
    tail = source.read_all(1 << 17)
    last = tail.rfind(b"OggS")
    return last < 0 or len(tail) < last + 6 or not tail[last + 5] & 4


def _frame_to_mono(frame: Any, notices: Notices) -> np.ndarray:
    """Any frame as mono float32."""
    array = frame.to_ndarray()
    channels = len(frame.layout.channels)
    samples = array.reshape(-1, channels) if array.shape[0] != channels or channels == 1 else array.T
    return to_mono(samples, notices)


def _chained(head: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield head
    yield from rest
