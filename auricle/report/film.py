"""A time-line as a film: scores drawn over the recording's own picture, or over its spectrogram; sound kept.

Time zero is where `auricle.audio` has it, the first of sound and picture, so that what is drawn is where the
windows are. Every picture keeps its own time stamp: films of a changing rate stay in step.

Source: Hershey et al. (2017), footnote 2: a video with the scores drawn over it.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from auricle.audio import AudioError
from auricle.audio.opening import choose_stream, open_container, picture_streams
from auricle.audio.source import Source
from auricle.audio.types import Notices
from auricle.progress import Progress
from auricle.report.overlay import Panel, Planes, Scores, digits_of
from auricle.report.scroll import HEIGHT, RATE, WIDTH, Scroll
from auricle.report.sound import Sound
from auricle.report.timeline import Timeline, spectrogram

LONGEST = 1920  # pixels of a picture's longer side; larger films are made smaller
FASTEST = 60  # pictures a second; what comes faster is left out
LONGEST_LEAD = 3600.0  # seconds that the picture may begin before the sound, as `auricle.audio` has it
PREROLL = 1.0  # seconds before --start that decoding begins: decoders settle
CODECS = ("libx264", "h264", "mpeg4")  # the first that this build of FFmpeg has
OPTIONS = {"preset": "veryfast", "crf": "21"}


def check_film(path: str | Path) -> None:
    """Whether a film can be made of a recording, before the work.

    Raises:
        AudioError: it cannot be read, or has no sound.

    >>> check_film("no-such-file.mp4")
    Traceback (most recent call last):
    auricle.audio.types.AudioError: no-such-file.mp4: does not exist; check the path
    """
    with _opened(path):
        pass


def write_film(
    path: str | Path,
    timeline: Timeline,
    out: str | Path,
    *,
    whole: bool = True,
    warn: Callable[[str], None] | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Draw scores over a recording, as an MP4.

    The sound is copied untouched where the whole recording is drawn and its sound is AAC in an MP4, MOV or
    Matroska; else it is encoded anew as AAC. The picture is encoded as H.264, at its own size up to 1920
    pixels, upright and with square pixels, at its own time stamps up to 60 a second.

    Args:
        path: the recording.
        timeline: its scores; unless `whole`, what lies outside its windows is left out.
        out: the film; made beside it under another name, and moved there when it is whole.
        whole: the time-line is of the whole recording.
        warn: is told what was wrong with the recording but could be got over.
        quiet: show no progress.

    Returns:
        {"pictures", "width", "height", "sound": "copied" or "encoded", "seconds"}.

    Raises:
        AudioError: the recording cannot be read.
        OSError: the film cannot be written.

    >>> write_film("day-out.mp4", timeline, "tagged.mp4")  # doctest: +SKIP
    """
    out = Path(out)
    start = 0.0 if whole else float(timeline.starts[0])
    end = float("inf") if whole else float(timeline.stops[-1])
    partial = out.with_name(f"{out.name}.{os.getpid()}.partial")
    tell = warn or (lambda text: None)
    seconds = float(timeline.stops[-1]) - start
    quick = quiet or seconds < 20
    try:
        import av

        with (
            _opened(path) as (container, sound, video),
            av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"}) as film,
            Progress(max(1, round(seconds)), "drawing", unit="seconds", quiet=quick) as progress,
        ):
            zero = time_zero(path)
            track = Sound(film, sound, zero=zero, start=start, end=end, whole=whole)
            if video is None:
                told = _draw_scroll(path, timeline, container, sound, film, track, progress)
            else:
                span = (start, end)
                told = _draw_over(timeline, container, video, film, track, progress, zero, span, tell)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return told | {"sound": "copied" if track.copied else "encoded", "seconds": seconds}


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, Any, Any]]:
    """(container, the sound track that is tagged, the picture or None)."""
    source = Source(path)
    try:
        container = open_container(source, Notices(source.name, lambda text: None))
        with contextlib.closing(container):
            sound = choose_stream(container, source.name)
            pictures = [stream for stream in picture_streams(container) if stream.codec_context is not None]
            video = pictures[0] if pictures else None
            if video is not None:
                from av.stream import Discard

                video.discard = Discard.default
                video.thread_type = "AUTO"
            yield container, sound, video
    finally:
        source.close()


def time_zero(path: str | Path) -> Fraction:
    """Seconds of a container's clock at which `auricle.audio` begins to count.

    >>> time_zero("film.mp4")  # doctest: +SKIP
    Fraction(0, 1)
    """
    with _opened(path) as (container, sound, video):
        zero = Fraction(0)
        for frame in _decoded(container, sound):
            if frame.pts is None:
                return zero
            zero = Fraction(frame.pts) * (frame.time_base or sound.time_base)
            break
        for picture in picture_streams(container) if video is not None else ():
            if picture.start_time is not None and picture.time_base is not None:
                begins = picture.start_time * picture.time_base
                if 0 < zero - begins <= LONGEST_LEAD:
                    zero = begins
        return zero


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    from av.error import FFmpegError

    for packet in container.demux(stream):
        with contextlib.suppress(FFmpegError, LookupError, ValueError):
            yield from packet.decode()


def _picture_stream(film: Any, width: int, height: int, rate: Any, time_base: Fraction) -> Any:
    import av

    for name in CODECS:
        with contextlib.suppress(av.codec.codec.UnknownCodecError):
            stream = film.add_stream(name, rate=rate)
            break
    else:
        raise ValueError(f"this build of PyAV has no encoder for films; expected one of {', '.join(CODECS)}")
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = time_base
    stream.time_base = time_base
    if name != "mpeg4":
        stream.options = dict(OPTIONS)
    else:
        stream.bit_rate = max(1_000_000, width * height * 4)
    return stream


def _draw_scroll(
    path: str | Path,
    timeline: Timeline,
    container: Any,
    sound: Any,
    film: Any,
    track: Sound,
    progress: Progress,
) -> dict[str, Any]:
    """The moving spectrogram, at a steady rate; sound is passed on as the pictures reach it."""
    picture = spectrogram(path, float(timeline.starts[0]), float(timeline.stops[-1]), warn=lambda text: None)
    scroll = Scroll(path, timeline, picture)
    stream = _picture_stream(film, WIDTH, HEIGHT, RATE, Fraction(1, RATE))
    _name_colours(stream)
    track.open()
    packets = container.demux(sound)
    heard = True
    for number, planes in enumerate(scroll.pictures()):
        while heard and track.seconds <= number / RATE:
            packet = next(packets, None)
            heard = packet is not None and track.feed(packet)
        frame = _frame(planes)
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        film.mux(stream.encode(frame))
        progress.advance(max(0, int(number / RATE) - progress.done))
    for packet in packets:
        if not heard or not track.feed(packet):
            break
    track.finish()
    film.mux(stream.encode(None))
    return {"pictures": scroll.count, "width": WIDTH, "height": HEIGHT}


def _draw_over(
    timeline: Timeline,
    container: Any,
    video: Any,
    film: Any,
    track: Sound,
    progress: Progress,
    zero: Fraction,
    span: tuple[float, float],
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """The recording's own pictures with the panel over each."""
    base = video.time_base
    base = base if base is not None and base.denominator <= 1_000_000 else Fraction(1, 90_000)
    scores = Scores(timeline)
    stream = panel = None
    last, count = -1, 0
    for moment, frame in _pictures(container, video, track, zero, span, warn):
        stamp = round(Fraction(moment - span[0]) / base)
        if last >= 0 and (stamp - last) * base < Fraction(9, 10) / FASTEST:
            continue
        planes = upright(frame)
        tall, wide = planes[0].shape
        if stream is None or panel is None:
            rate = min(Fraction(video.average_rate or RATE), Fraction(FASTEST)).limit_denominator(60_000)
            stream = _picture_stream(film, wide, tall, rate, base)
            _name_colours(stream, frame)
            panel = Panel(timeline.labels, wide, tall, digits_of(timeline), timeline.thresholds)
            if panel.rows < len(timeline.labels):
                warn(f"at {wide} x {tall} there is room for {panel.rows} of {len(timeline.labels)} classes")
            track.open()
        elif (wide, tall) != (stream.width, stream.height):
            continue  # a film that changes its size: rare, and an MP4 cannot
        panel.draw(planes, scores.at(moment))
        drawn = _frame(planes)
        drawn.pts, drawn.time_base = stamp, base
        film.mux(stream.encode(drawn))
        last, count = stamp, count + 1
        progress.advance(max(0, int(moment - span[0]) - progress.done))
    if stream is None:
        raise AudioError(f"{timeline.path}: no picture could be decoded from it; write .png or .html instead")
    track.finish()
    film.mux(stream.encode(None))
    return {"pictures": count, "width": stream.width, "height": stream.height}


def _pictures(
    container: Any,
    video: Any,
    track: Sound,
    zero: Fraction,
    span: tuple[float, float],
    warn: Callable[[str], None],
) -> Iterator[tuple[float, Any]]:
    """(seconds of the recording, picture) of those within the span; sound is passed on as it comes."""
    from av.error import FFmpegError

    start, end = span
    damaged, heard, seen = 0, False, False
    if start > PREROLL:
        container.seek(int((start - PREROLL + float(zero)) * 1e6))
    for packet in container.demux(video, track.source):
        if packet.stream.index != video.index:
            heard = not track.feed(packet) or heard
        elif not seen:
            try:
                frames = packet.decode()
            except (FFmpegError, LookupError, ValueError):
                damaged += 1
                continue
            for frame in frames:
                if frame.pts is None:
                    continue
                moment = float(frame.pts * frame.time_base - zero)
                seen = seen or moment >= end
                if start <= moment < end:
                    yield moment, frame
        if heard and seen:
            break
    if damaged:
        warn(f"{damaged} damaged packets of its picture were skipped")


def upright(frame: Any) -> Planes:
    """Planes of a picture as it is to be seen: turned, square pixels, even sides, new arrays.

    >>> from av import VideoFrame
    >>> [plane.shape for plane in upright(VideoFrame(321, 200, "rgb24"))]
    [(200, 320), (100, 160), (100, 160)]
    """
    aspect = getattr(frame, "sample_aspect_ratio", None)
    wide = float(frame.width) * (float(aspect) if aspect and 0.1 < float(aspect) < 10 else 1.0)
    scale = min(1.0, LONGEST / max(wide, frame.height))
    width, height = max(2, round(wide * scale)), max(2, round(frame.height * scale))
    width, height = width // 2 * 2 or 2, height // 2 * 2 or 2
    if (frame.width, frame.height, frame.format.name) != (width, height, "yuv420p"):
        frame = frame.reformat(width=width, height=height, format="yuv420p")
    turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
    planes = []
    for n, plane in enumerate(frame.planes):
        half = 2 if n else 1
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        # Copied: the decoder still needs its picture for the next.
        planes.append(np.rot90(rows[: height // half, : width // half], turns).copy())
    return planes[0], planes[1], planes[2]


def _frame(planes: Planes) -> Any:
    from av import VideoFrame

    frame = VideoFrame(planes[0].shape[1], planes[0].shape[0], "yuv420p")
    for plane, values in zip(frame.planes, planes, strict=True):
        there = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        there[: values.shape[0], : values.shape[1]] = values
    return frame


def _name_colours(stream: Any, frame: Any = None) -> None:
    """Say how the numbers mean colours: as the film's own pictures do, or BT.709 for ours."""
    context = stream.codec_context
    if frame is None:
        context.color_range, context.colorspace = 1, 1
        context.color_primaries = context.color_trc = 1
        return
    with contextlib.suppress(AttributeError, ValueError, TypeError):
        # Pictures of another format were converted to the range of television.
        context.color_range = 1 if frame.format.name != "yuv420p" else int(frame.color_range)
        context.colorspace = int(frame.colorspace)
