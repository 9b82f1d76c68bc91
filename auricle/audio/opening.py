"""Opening a container with PyAV: which stream is read, what its header promises, what is said if it fails."""

from fractions import Fraction
from typing import Any

from auricle.audio.devices import open_device
from auricle.audio.source import Source
from auricle.audio.types import Notices, problem

SAFE_OPTIONS = {
    "protocol_whitelist": "file"
}  # addresses in a playlist stay closed (FFmpeg's default, held here)
PROMPT_OPTIONS = {
    "analyzeduration": "500000"
}  # microseconds of a stream that are looked at before any is heard
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
CONTAINER_STARTS = (
    *(b"caff", b"riff", b"RIFF", b"RF64", b"BW64", b"RIFX", b"FORM", b".snd", b"OggS", b"fLaC", b"MAC "),
    *(b"TTA1", b"TTA2", b"wvpk", b"MPCK", b"MP+", b"FLV", b".RMF", b"DSD ", b"FRM8", b"#!AMR", b"TAK"),
    b"\x1aE\xdf\xa3",  # Matroska
    b"\x30\x26\xb2\x75",  # ASF: wma, wmv
    b"\x06\x0e\x2b\x34",  # MXF
    b"ID3",  # a tag in front of any of these
)


def open_container(source: Source, notices: Notices) -> Any:
    """The container that FFmpeg finds in a source; a pipe that needs seeking is copied to disk first.

    Only a pipe whose first bytes are a known container's is copied: noise would fill the disk for nothing.

    Raises:
        AudioError: FFmpeg finds none.
    """
    import av
    from av.error import FFmpegError

    if source.device is not None:
        return open_device(source.device)
    # Before FFmpeg sees it: by its suffix it would take a text for a subtitle, a picture or a playlist.
    if _looks_like_text(source.peek(4096)):
        raise problem(source.name, "is text, not a recording", "name an audio or video file")
    if not source.seekable() and _needs_seeking(source):
        source.spool(notices, "an MP4 whose index is at its end needs seeking")
    while True:
        try:
            # From a path FFmpeg reads by itself, without Python's lock; errors="replace": names inside a
            # file need not be UTF-8, and are not what is wanted of it.
            file: Any = source
            if source.path is not None and source.path.isprintable() and _is_utf8(source.path):
                file = source.path
            options = SAFE_OPTIONS | (PROMPT_OPTIONS if source.prompt and not source.seekable() else {})
            container = av.open(file, metadata_errors="replace", container_options=options)
            source.release()
            return container
        except FFmpegError as error:
            if not source.seekable() and _is_known_container(source.peek(4096)):
                source.spool(notices, "its container needs seeking")
                continue
            raise _unreadable(source, error) from None
        except (UnicodeError, ValueError) as error:
            raise _unreadable(source, error) from None


def _unreadable(source: Source, error: Exception) -> Exception:
    head = source.peek(4096)
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


def _is_known_container(head: bytes) -> bool:
    """Whether FFmpeg may read it once it can seek; all such containers start with a name of their own."""
    return head.startswith(CONTAINER_STARTS) or head[4:8] in MP4_BOXES


def _needs_seeking(source: Source) -> bool:
    """Whether an MP4 or MOV from a pipe has its samples before its index."""
    offset = 0
    while offset < 1 << 20:
        head = source.peek(offset + 16)[offset:]
        if len(head) < 8:
            return False
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if offset == 0 and kind not in MP4_BOXES:
            return False
        if kind in (b"moov", b"mdat"):
            return kind == b"mdat"
        if size < 8:
            return False
        offset += size
    return True


def picture_streams(container: Any) -> list[Any]:
    """The video streams that are no cover art."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & still]


def choose_stream(container: Any, name: str) -> Any:
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


def promised_seconds(container: Any, stream: Any, origin: Fraction) -> float | None:
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


def ogg_is_cut(source: Source) -> bool:
    """Whether the last page of an Ogg file lacks the flag that ends its stream."""
    size = source.size()
    if size is None:
        return False
    source.seek(max(0, size - (1 << 17)))
    tail = source.read_all(1 << 17)
    last = tail.rfind(b"OggS")
    return last < 0 or len(tail) < last + 6 or not tail[last + 5] & 4
