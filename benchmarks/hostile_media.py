"""Files that somebody might send to do harm: damaged ones, bombs, and those that lead elsewhere.

All are made here, from seeds. `serve_hostile.py` sends them.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import soundfile

RATE = 44_100
# name -> (container, codec, rate); what this FFmpeg cannot write is left out.
KINDS = {
    "wav": ("wav", "pcm_s16le", RATE),
    "wav-adpcm": ("wav", "adpcm_ms", RATE),
    "rf64": ("wav", "pcm_f32le", RATE),
    "w64": ("w64", "pcm_s24le", RATE),
    "aiff": ("aiff", "pcm_s16be", RATE),
    "au": ("au", "pcm_s16be", RATE),
    "caf": ("caf", "pcm_s16be", RATE),
    "flac": ("flac", "flac", RATE),
    "ogg-opus": ("ogg", "libopus", 48_000),
    "ogg-flac": ("ogg", "flac", RATE),
    "mp3": ("mp3", "libmp3lame", RATE),
    "aac": ("adts", "aac", RATE),
    "m4a": ("ipod", "aac", RATE),
    "m4a-alac": ("ipod", "alac", RATE),
    "mp4": ("mp4", "aac", RATE),
    "mp4-fragments": ("mp4", "aac", RATE),
    "mov": ("mov", "pcm_s16le", RATE),
    "mka": ("matroska", "flac", RATE),
    "mkv": ("matroska", "aac", RATE),
    "webm": ("webm", "libopus", 48_000),
    "avi": ("avi", "libmp3lame", RATE),
    "mpegts": ("mpegts", "mp2", RATE),
    "wma": ("asf", "wmav2", RATE),
    "flv": ("flv", "libmp3lame", RATE),
    "ac3": ("ac3", "ac3", 48_000),
}
FILMS = {"mp4", "mkv", "avi", "mov"}  # with a picture beside the sound
MUXING = {"rf64": {"rf64": "always"}, "mp4-fragments": {"movflags": "frag_keyframe+empty_moov"}}
LENGTHS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def originals(seconds: float = 2.0) -> dict[str, bytes]:
    """A file of each container and codec, of a tone in noise."""
    vorbis = io.BytesIO()  # which not every FFmpeg writes
    soundfile.write(vorbis, tone(seconds, RATE), RATE, format="OGG", subtype="VORBIS")
    made = {"ogg-vorbis": vorbis.getvalue()}
    for name, (container, codec, rate) in KINDS.items():
        try:
            made[name] = encode(name, container, codec, rate, seconds)
        except (av.FFmpegError, ValueError) as error:
            print(f"{name}: is left out, this FFmpeg does not write it ({error})")
    return made


def tone(seconds: float, rate: int) -> np.ndarray:
    """A tone in noise."""
    clock = np.arange(round(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * 440 * clock) + np.random.default_rng(1).normal(0, 0.05, len(clock))


def encode(name: str, container: str, codec: str, rate: int, seconds: float) -> bytes:
    """One file, by FFmpeg."""
    sound, file = tone(seconds, rate), io.BytesIO()
    with av.open(file, "w", format=container, options=MUXING.get(name, {})) as out:
        stream: Any = out.add_stream(codec, rate=rate, layout="stereo", bit_rate=128_000)
        picture: Any = out.add_stream("mpeg4", rate=5) if name in FILMS else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
            for number in range(int(seconds * 5)):
                grey = np.full((48, 64, 3), number * 20 % 256, np.uint8)
                out.mux(picture.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
            out.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(np.stack([sound, sound]).astype(np.float32), "fltp", "stereo")
        frame.sample_rate, frame.pts = rate, 0
        size = stream.codec_context.frame_size
        fitting = av.AudioResampler(stream.codec_context.format, "stereo", rate, size)
        for piece in [*fitting.resample(frame), *fitting.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return file.getvalue()


def mutated(files: dict[str, bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(what was done to which file, content), each container and each kind of damage in turn."""
    names = list(files)
    for number in range(count):
        drawn = np.random.default_rng((seed, number))
        name = names[number % len(names)]
        damage = DAMAGES[number // len(names) % len(DAMAGES)]
        content = bytearray(files[name])
        for _ in range(int(drawn.integers(1, 4))):
            content = damage(content, drawn, files)
        yield f"{damage.__name__} {name}", bytes(content)


def flip_bits(content: bytearray, drawn: np.random.Generator, _: Any) -> bytearray:
    """Bits anywhere."""
    for place in drawn.integers(0, len(content), int(drawn.integers(1, 200))):
        content[place] ^= 1 << int(drawn.integers(8))
    return content


def flip_head(content: bytearray, drawn: np.random.Generator, _: Any) -> bytearray:
    """Bits where the container says what is in it."""
    for place in drawn.integers(0, min(len(content), 400), int(drawn.integers(1, 12))):
        content[place] ^= 1 << int(drawn.integers(8))
    return content


def cut(content: bytearray, drawn: np.random.Generator, _: Any) -> bytearray:
    """The end, the beginning or a piece between is missing."""
    first, last = sorted(int(place) for place in drawn.integers(0, len(content), 2))
    return [content[:last], content[first:], content[:first] + content[last:]][
        int(drawn.integers(3))
    ] or content


def swap(content: bytearray, drawn: np.random.Generator, _: Any) -> bytearray:
    """Two blocks change places, or one is there twice."""
    size = int(drawn.choice([4, 64, 512, 4096]))
    one, other = (int(place) for place in drawn.integers(0, max(1, len(content) - size), 2))
    first, second = content[one : one + size], content[other : other + size]
    content[one : one + size] = second
    if drawn.integers(2):
        content[other : other + size] = first
    return content


def change_lengths(content: bytearray, drawn: np.random.Generator, _: Any) -> bytearray:
    """Numbers of two, four or eight bytes become 0, or as large as they can be."""
    for _ in range(int(drawn.integers(1, 6))):
        reach = len(content) if drawn.integers(3) == 0 else min(len(content), 300)
        size, order = int(drawn.choice([2, 4, 8])), str(drawn.choice(["little", "big"]))
        place = int(drawn.integers(0, max(1, reach - size)))
        value = int(drawn.choice(LENGTHS)) % (1 << 8 * size)
        content[place : place + size] = value.to_bytes(size, order)  # type: ignore[arg-type]
    return content


def fill(content: bytearray, drawn: np.random.Generator, _: Any) -> bytearray:
    """A run of zeros, ones, or noise."""
    size = int(min(len(content), drawn.integers(1, 8192)))
    place = int(drawn.integers(0, len(content) - size + 1))
    content[place : place + size] = [bytes(size), b"\xff" * size, drawn.bytes(size)][int(drawn.integers(3))]
    return content


def replace(content: bytearray, drawn: np.random.Generator, _: Any) -> bytearray:
    """The head stays, all behind it is noise."""
    keep = int(drawn.integers(4, min(len(content), 2000)))
    return content[:keep] + drawn.bytes(len(content) - keep)


def splice(content: bytearray, drawn: np.random.Generator, files: dict[str, bytes]) -> bytearray:
    """Goes on as another container."""
    other = files[str(drawn.choice(list(files)))]
    place = int(drawn.integers(1, min(len(content), len(other))))
    return content[:place] + other[place:]


DAMAGES: tuple[Callable[[bytearray, np.random.Generator, Any], bytearray], ...] = (
    *(flip_bits, flip_head, cut, swap, change_lengths, fill, replace, splice),
)


def bombs(share: float = 1.0) -> dict[str, bytes]:
    """Small files that are much when they are decoded, or say that they are.

    Args:
        share: of how much it is: 1 for days and gigabytes.
    """
    lies = {
        "wav of 65,535 channels": wav(65_535, 44_100),
        "wav of 4 GHz": wav(1, 0xFFFFFFFF),
        "wav of 1 Hz": wav(1, 1),
        "wav of 0 Hz": wav(1, 0),
    }
    return lies | {
        f"flac, {48 * share:g} h of silence": flac(48 * 3600 * share, 8_000, 1),
        f"flac, {5 * share:g} h of 8 channels": flac(5 * 3600 * share, 96_000, 8),
        f"flac, {48 * share:g} h, says no length": flac(48 * 3600 * share, 8_000, 1, told=False),
        f"flac, {5 * share:g} h of 8 channels, says no length": flac(5 * 3600 * share, 96_000, 8, told=False),
        f"flac, {2 * share:g} h at 655 kHz, 8 channels": flac(2 * 3600 * share, 655_350, 8),
        f"mkv, {9 * share:g} GB by zlib": matroska(int(1_000 * share)),
        "wav of zeros, gzip'ed": gzipped(wav(1, 44_100) + bytes(int((200 << 20) * share))),
    }


def wav(channels: int, rate: int) -> bytes:
    """A WAV file whose header says that 4 GB follow; 64 kB do."""
    width = min(channels * 2, 0xFFFF)
    what = struct.pack("<HHIIHH", 1, channels, rate, min(rate * width, 0xFFFFFFFF), width, 16)
    head = b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVEfmt " + struct.pack("<I", 16) + what
    return head + b"data" + struct.pack("<I", 0xFFFFFFFF) + bytes(1 << 16)


def gzipped(content: bytes) -> bytes:
    """As a body of Content-Encoding: gzip."""
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(content) + packer.flush()


def flac(seconds: float, rate: int, channels: int, *, told: bool = True) -> bytes:
    """Silence as FLAC frames of constants: each of 65,535 samples in some 20 bytes."""
    block, bits = 65_535, 16
    count = int(seconds * rate) // block
    total = count * block if told else 0
    facts = struct.pack(">HH", block, block) + bytes(6)
    facts += (rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | total & 0xFFFFFFFFF).to_bytes(8, "big")
    out = bytearray(b"fLaC" + b"\x80\x00\x00\x22" + facts + bytes(16))
    for number in range(count):
        frame = b"\xff\xf8\x70" + bytes([(channels - 1) << 4]) + coded(number) + struct.pack(">H", block - 1)
        frame += bytes([checksum(frame, 8, 0x07)]) + bytes(3) * channels
        out += frame + checksum(frame, 16, 0x8005).to_bytes(2, "big")
    return bytes(out)


def coded(number: int) -> bytes:
    """A number as FLAC writes it: as UTF-8 would."""
    if number < 0x80:
        return bytes([number])
    rest = []
    first = 0x3F
    while number > first:
        rest.append(0x80 | number & 0x3F)
        number >>= 6
        first >>= 1
    return bytes([~(first << 1 | 1) & 0xFF | number, *reversed(rest)])


def checksum(content: bytes, bits: int, polynomial: int) -> int:
    """CRC, high bit first, from 0."""
    value, top, mask = 0, 1 << (bits - 1), (1 << bits) - 1
    for byte in content:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
    return value


def matroska(blocks: int) -> bytes:
    """PCM of 8 channels in Matroska, each block 9 MB of zeros, which zlib makes 9 kB."""
    packed = zlib.compress(bytes(9_000_000), 9)
    number = lambda value: value.to_bytes(4, "big")  # noqa: E731
    compression = element("5034", element("4254", number(0)))
    encoding = (
        element("5031", number(0)) + element("5032", number(1)) + element("5033", number(0)) + compression
    )
    sound = element("B5", struct.pack(">f", 48_000)) + element("9F", number(8)) + element("6264", number(16))
    entry = element("D7", number(1)) + element("73C5", number(1)) + element("83", number(2))
    entry += element("86", b"A_PCM/INT/LIT") + element("E1", sound)
    entry += element("6D80", element("6240", encoding))
    kind = element("4282", b"matroska") + element("4287", number(4)) + element("4285", number(2))
    about = element("2AD7B1", number(1_000_000)) + element("4D80", b"-") + element("5741", b"-")
    body = element("1549A966", about) + element("1654AE6B", element("AE", entry))
    long = 9_000_000 * 1000 // (48_000 * 16)  # milliseconds of a block
    clusters = [
        element("1F43B675", element("E7", number(turn * long)) + element("A3", b"\x81\x00\x00\x80" + packed))
        for turn in range(blocks)
    ]
    return element("1A45DFA3", kind) + element("18538067", body + b"".join(clusters))


def element(name: str, content: bytes) -> bytes:
    """An element of EBML."""
    return bytes.fromhex(name) + (1 << 56 | len(content)).to_bytes(8, "big") + content


def leading_elsewhere(file: str, address: str) -> dict[str, bytes]:
    """Playlists and manifests that ask whoever opens them to open something else.

    Args:
        file: a path on the service's machine.
        address: http://... of somebody who notes who asks.
    """
    made = {}
    for what, target in (("file", f"file://{file}"), ("path", file), ("http", address + "/x.wav")):
        made |= {
            f"m3u8 to {what}": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{target}\n#EXT-X-ENDLIST\n",
            f"m3u8 with a key at {what}": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n'
            f"#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{target}\n#EXT-X-ENDLIST\n",
            f"concat to {what}": f"ffconcat version 1.0\nfile '{target}'\n",
            f"dash to {what}": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
            'type="static" mediaPresentationDuration="PT3S"><Period><AdaptationSet mimeType="audio/mp4">'
            f'<Representation id="1" bandwidth="1"><BaseURL>{target}</BaseURL></Representation>'
            "</AdaptationSet></Period></MPD>",
            f"pls to {what}": f"[playlist]\nFile1={target}\nNumberOfEntries=1\n",
            f"asx to {what}": f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
            f"smil to {what}": f'<smil><body><audio src="{target}"/></body></smil>',
            f"sdp to {what}": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns={target}\nc=IN IP4 127.0.0.1\nt=0 0\n"
            f"m=audio {address.rpartition(':')[2]} RTP/AVP 0\n",
        }
    return {name: text.encode() for name, text in made.items()} | {"mov to path": referring(file)}


def referring(file: str) -> bytes:
    """A QuickTime file whose sound is, so it says, in another one (a data reference that is an alias)."""
    content = bytearray(encode("mov", "mov", "pcm_s16le", RATE, 1.0))
    alias = (
        b"\0\0\0\0" + bytes(150) + struct.pack(">hH", 2, len(file)) + file.encode()[:400] + b"\xff\xff\0\0"
    )
    place = content.find(b"url \0\0\0\1")
    if place > 0:
        entry = struct.pack(">I", len(alias) + 8) + b"alis" + alias
        content[place - 4 : place + 8] = entry
    return bytes(content)
