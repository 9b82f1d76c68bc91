"""What a clip sounds like in 24 bytes, so that it is known again in another pack.

Two clips are one where their samples are equal, up to digital silence at the end: the same files packed
again, a part of them, copies under other names, lossless formats. What was coded or resampled has other
samples: there name and length, the range within the file, and the course of the level have to agree. Of 40
clips of ESC-50 as MP3, as Vorbis, and at 44.1 kHz all were known again, at 8 kHz 37; of pairs of other clips
that had the same name, one in 130 would be taken for one.

Shape letters: M clips, S segments of a clip.
"""

import base64
import hashlib
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import numpy as np

SEGMENTS = 8  # of equal length, of which the levels are kept
LOWEST = -70  # dB of full scale: what is below counts as that
APART = 3  # dB that two levels may differ once the whole is as loud
LOUDER = 6  # dB that the whole may differ
LONGER = 0.1  # seconds that lengths may differ, by what coders add
KEY = np.dtype([("sound", "<u8"), ("name", "<u4"), ("seconds", "<f4"), ("levels", "i1", (SEGMENTS,))])
MOST = 100_000  # clips whose keys a model keeps: 3.2 MB of text


def clip_keys(pack: Any, clips: np.ndarray) -> np.ndarray:
    """(M,) of `KEY`: hashes of samples, and of name and range; length and levels in dB. Reads every sample.

    >>> clip_keys(Pack("out/pack"), np.array([7, 9]))["levels"].shape  # doctest: +SKIP
    (2, 8)
    """
    paths, starts, ends = pack.places()
    names = [PurePosixPath(path) for path in paths]
    files = Counter(name.stem for name in set(names))
    keys = np.zeros(len(clips), KEY)
    keys["sound"] = sound_hashes(pack, clips)
    for key, clip in zip(keys, np.asarray(clips).tolist(), strict=True):
        # owl/1.wav and wren/1.wav: where several files have one name, the folder's goes before it.
        name = names[clip].stem if files[names[clip].stem] == 1 else str(names[clip].with_suffix(""))
        key["name"] = _hash(f"{name} {starts[clip]:.3f} {ends[clip]:.3f}".encode(), 4)
        pcm = pack.samples(clip)
        key["seconds"], key["levels"] = len(pcm) / pack.rate, levels(pcm)
    return keys


def sound_hashes(pack: Any, clips: np.ndarray) -> np.ndarray:
    """(M,) uint64: equal where clips have the same samples, up to digital silence at the end.

    >>> sound_hashes(Pack("out/pack"), np.array([7, 9]))  # doctest: +SKIP
    array([ 3521784602146214053, 12157663958171452433], dtype=uint64)
    """
    # Formats and cuts differ in the silence at the end.
    every = (pack.samples(clip)[: int(pack.audible[clip])] for clip in np.asarray(clips).tolist())
    return np.fromiter((_hash(heard.tobytes(), 8) for heard in every), np.uint64, len(clips))


def _hash(content: bytes, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=size).digest(), "little")


def levels(pcm: np.ndarray) -> np.ndarray:
    """(S,) int8: dB of full scale of equal parts of a clip.

    >>> levels(np.repeat(np.array([0, 16384], np.int16), 40)).tolist()
    [-70, -70, -70, -70, -6, -6, -6, -6]
    """
    found = np.full(SEGMENTS, LOWEST, np.int8)
    bounds = np.arange(SEGMENTS + 1) * len(pcm) // SEGMENTS
    for segment, (start, end) in enumerate(zip(bounds, bounds[1:], strict=False)):
        part = pcm[start:end].astype(np.float32) / 32768
        if len(part) and (power := float(np.dot(part, part)) / len(part)):
            found[segment] = max(LOWEST, round(10 * np.log10(power)))
    return found


def known_again(keys: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(M,) bool: which clips are among others, by their keys.

    >>> one, two = np.zeros(1, KEY), np.zeros(1, KEY)
    >>> one["sound"], one["name"], two["name"] = 1, 7, 7  # other samples, but the same name and levels
    >>> known_again(one, two).tolist()
    [True]
    >>> two["levels"] = [-30, 0, 0, 0, 0, 0, 0, 0]
    >>> known_again(one, two).tolist()
    [False]
    """
    found = np.isin(keys["sound"], others["sound"])
    order = np.argsort(others["name"], kind="stable")
    names = others["name"][order]
    first, last = (np.searchsorted(names, keys["name"], side) for side in ("left", "right"))
    for clip in np.flatnonzero(~found & (last > first)).tolist():
        there = others[order[first[clip] : last[clip]]]
        there = there[np.abs(there["seconds"] - keys["seconds"][clip]) <= LONGER]
        found[clip] = bool(alike(keys["levels"][clip], there["levels"]).any())
    return found


def alike(levels_S: np.ndarray, others_NS: np.ndarray) -> np.ndarray:
    """(N,) bool: whose levels run as these do, a little louder or softer as a whole.

    >>> alike(np.array([-20, -30]), np.array([[-22, -32], [-20, -40]])).tolist()
    [True, False]
    """
    apart = others_NS.astype(np.int64) - levels_S
    whole = np.median(apart, axis=1)
    return (np.abs(apart - whole[:, None]).max(axis=1) <= APART) & (np.abs(whole) <= LOUDER)


def as_text(keys: np.ndarray) -> str:
    """Keys as a model's description holds them: each once, in base64.

    >>> as_text(np.zeros(2, KEY))
    'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
    """
    return base64.b64encode(b"".join(sorted({key.tobytes() for key in keys}))).decode("ascii")


def from_text(text: str) -> np.ndarray:
    """The same as an array.

    Raises:
        ValueError: it is none.

    >>> len(from_text(as_text(np.zeros(2, KEY))))
    1
    """
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), KEY)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"no keys of clips, but {repr(text)[:40]} ({error}); save the model again"
        ) from error
