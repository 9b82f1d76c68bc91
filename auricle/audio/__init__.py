"""Any audio or video file, or a stream, as blocks of float32 mono at a stated rate, with exact times.

WAV and headerless PCM are read here (`pcm.py`), all else by FFmpeg through PyAV (`media.py`), from a path, a
pipe or a file object (`source.py`); `stream.py` resamples (soxr, HQ) and cuts blocks and ranges.
"""

from auricle.audio.devices import Device, find_device
from auricle.audio.stream import blocks, probe, read
from auricle.audio.types import AudioError, AudioWarning, Block, Info, RawFormat

# What is taken for a recording when a folder is walked; a file that is named is tried whatever its suffix.
MEDIA_SUFFIXES = frozenset(
    """
    .3gp .aac .ac3 .aif .aifc .aiff .amr .ape .au .avi .caf .dts .eac3 .f4v .flac .flv .m2ts .m4a .m4b .m4v
    .mka .mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .mts .oga .ogg .ogv .opus .ra .rf64 .snd .spx .ts .tta .vob .w64
    .wav .weba .webm .wma .wmv .wv
    """.split()
)

__all__ = [
    "MEDIA_SUFFIXES",
    "AudioError",
    "AudioWarning",
    "Block",
    "Device",
    "Info",
    "RawFormat",
    "blocks",
    "find_device",
    "probe",
    "read",
]
