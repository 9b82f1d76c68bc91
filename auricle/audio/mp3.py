"""What an MP3 says of its own length: the Xing or Info frame that LAME and FFmpeg write in front."""

from auricle.audio.source import Source

TAG_BYTES = 16 << 20  # an ID3 tag (with its pictures) that is longer is not looked behind
SEARCH_BYTES = 8192  # the info frame is the first one; FFmpeg, too, passes over a little that is none


def sound_length(source: Source) -> int | None:
    """Samples of an MP3 without its encoder's padding; None where it does not say.

    FFmpeg cuts the padding in front from any source, the one behind not from a pipe.
    """
    start = 0
    while (head := source.peek(start + 10)[start:])[:3] == b"ID3" and len(head) == 10:
        size = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        start += size + (10 if head[5] & 16 else 0)
        if start > TAG_BYTES:
            return None
    data = source.peek(start + SEARCH_BYTES)[start:]
    place = data.find(b"\xff")
    while 0 <= place < len(data) - 4:
        if (found := _frame(data[place:])) is not None:
            tag_at, samples = found
            return _length(data[place + tag_at :], samples)
        place = data.find(b"\xff", place + 1)
    return None


def _frame(data: bytes) -> tuple[int, int] | None:
    """Where the info frame's tag would be, and the samples of a frame; None where no layer III frame is."""
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3
    if data[1] & 0xE0 != 0xE0 or version == 1 or layer != 1:
        return None
    if data[2] >> 4 in (0, 15) or data[2] >> 2 & 3 == 3:
        return None
    first, mono = version == 3, data[3] >> 6 == 3
    return 4 + ((17 if mono else 32) if first else (9 if mono else 17)), 1152 if first else 576


def _length(tag: bytes, samples: int) -> int | None:
    """The samples of the sound, from the tag: frames, less what the encoder says that it put around them."""
    flags = int.from_bytes(tag[4:8], "big")
    if tag[:4] not in (b"Xing", b"Info") or not flags & 1:
        return None
    frames = int.from_bytes(tag[8:12], "big")
    place = 12 + (4 if flags & 2 else 0) + (100 if flags & 4 else 0) + (4 if flags & 8 else 0)
    if tag[place : place + 4] not in (b"LAME", b"Lavf", b"Lavc") or len(tag) < place + 24:
        return None
    both = int.from_bytes(tag[place + 21 : place + 24], "big")  # 12 bits in front, 12 behind
    length = frames * samples - (both >> 12) - (both & 0xFFF)
    return length if frames and length > 0 else None
