"""What a clip sounds like in 32 bytes, so that it is known again in another pack.

Two clips are one where their samples are equal, up to digital silence at the end: the same files packed
again, a part of them, copies under other names, lossless formats. What was coded or resampled has other
samples: there name and length, the range within the file, and the course of its energies have to agree: 64
signs of how differences of neighbouring bands change from part to part, which steady noise of the same level
does not share (after Haitsma and Kalker, "A highly robust audio fingerprinting system", ISMIR 2002).

Shape letters: M clips, S segments of a clip.
"""

import base64
import hashlib
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import numpy as np

SEGMENTS = 8  # of equal length, of which the levels are kept
PARTS = 17  # of equal length, of which energies in bands are compared
EDGES = np.geomspace(300, 1900, 6)  # Hz of the bands: what coders and low rates leave as it was
LOWEST = -70  # dB of full scale: what is below counts as that
FEWEST = 8  # signs set in one of two clips; fewer tell too little, of a short sound in silence
DIFFERENT = 0.45  # share of the signs set in either that may differ; other clips' differ by half and more
APART = 3  # dB that two levels may differ once the whole is as loud
LOUDER = 6  # dB that the whole may differ
UNEVEN = 12  # dB between the highest and the lowest level, without which levels tell nothing
LONGER = 0.1  # seconds that lengths may differ, by what coders add
KEY = np.dtype(
    [("sound", "<u8"), ("name", "<u4"), ("seconds", "<f4"), ("levels", "i1", (SEGMENTS,)), ("course", "<u8")]
)
MOST = 100_000  # clips whose keys a model keeps: 4.3 MB of text


def clip_keys(pack: Any, clips: np.ndarray) -> np.ndarray:
    """(M,) of `KEY`: hashes of samples and of name and range, length, levels, course. Reads every sample.

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
        key["seconds"], key["levels"], key["course"] = (
            len(pcm) / pack.rate,
            levels(pcm),
            course(pcm, pack.rate),
        )
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


def course(pcm: np.ndarray, rate: int) -> int:
    """64 signs: whether the difference of two neighbouring bands grows from one part of a clip to the next.

    >>> course(np.zeros(16000, np.int16), 16000)
    0
    """
    energies = np.zeros((PARTS, len(EDGES) - 1))
    bounds = np.arange(PARTS + 1) * len(pcm) // PARTS
    for energy, start, end in zip(energies, bounds, bounds[1:], strict=False):
        part = pcm[start:end].astype(np.float32) / 32768
        if len(part) > 1:
            power = np.abs(np.fft.rfft(part)) ** 2 * (2 / len(part) ** 2)
            places = np.searchsorted(np.fft.rfftfreq(len(part), 1 / rate), EDGES)
            energy[:] = np.diff(np.concatenate([[0.0], np.cumsum(power)])[places])
    decibels = 10 * np.log10(np.maximum(energies, 10 ** (LOWEST / 10)))
    signs = np.diff(np.diff(decibels, axis=1), axis=0) > 0
    return int.from_bytes(np.packbits(signs).tobytes(), "little")


def known_again(keys: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(M,) bool: which clips are among others, by their keys.

    >>> one, two = np.zeros(1, KEY), np.zeros(1, KEY)
    >>> one["sound"], one["name"], two["name"] = 1, 7, 7  # other samples, but the same name
    >>> one["course"], two["course"] = 0b1111_0000_1111, 0b1111_0001_1110
    >>> known_again(one, two).tolist()
    [True]
    >>> two["course"] = 0b1111_1111_0000
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
        found[clip] = bool(alike(keys[clip], there).any())
    return found


def alike(key: np.ndarray, others_N: np.ndarray) -> np.ndarray:
    """(N,) bool: whose energies run as these do, or, of a short sound in silence, whose levels.

    >>> one, two = np.zeros((), KEY), np.zeros(2, KEY)  # too little sound for a course
    >>> one["levels"], two["levels"] = [-20, -40] * 4, [[-22, -42] * 4, [-20, -30] * 4]
    >>> alike(one, two).tolist()
    [True, False]
    """
    either = np.bitwise_count(others_N["course"] | key["course"])
    other = np.bitwise_count(others_N["course"] ^ key["course"])
    apart = others_N["levels"].astype(np.int64) - key["levels"]
    whole = np.median(apart, axis=1)
    level = (np.abs(apart - whole[:, None]).max(axis=1) <= APART) & (np.abs(whole) <= LOUDER)
    level &= int(key["levels"].max()) - int(key["levels"].min()) >= UNEVEN
    return np.where(either >= FEWEST, other <= DIFFERENT * either, level)


def as_text(keys: np.ndarray) -> str:
    """Keys as a model's description holds them: each once, in base64.

    >>> as_text(np.zeros(2, KEY))
    'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='
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
