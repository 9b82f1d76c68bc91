"""Is this recording like what a model was trained on, and if not, what is wrong and what is to be done?

A recording is read once, in memory that does not grow with its length. What each check looks at, its limit,
and how often it is wrong on real recordings, is in docs/doctor.md.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from auricle.artifact import Artifact
from auricle.audio import RawFormat, blocks
from auricle.doctor.channels import Channels, flat_tops, unit_of
from auricle.doctor.checks import Finding, Reference, findings
from auricle.fingerprint import Sound, valid

__all__ = ["Channels", "Finding", "Reference", "examine", "findings", "flat_tops", "reference", "unit_of"]


def reference(artifact: Artifact) -> Reference:
    """What recordings are compared with: a small thing that other processes may have.

    >>> from auricle.artifact import load_artifact
    >>> reference(load_artifact("default")).highest  # doctest: +SKIP
    7500.0
    """
    audio = artifact.training.get("audio", {})
    return Reference(rate=artifact.rate, highest=_highest(artifact), audio=audio if valid(audio) else {})


def _highest(artifact: Artifact) -> float:
    """Hz up to which a model hears, itself or by the models that it stands on."""
    below = [_highest(model) for _, model in artifact.within.values()]
    if "logmel" in artifact.input_kinds:
        below.append(artifact.features.high)
    elif "waveform" in artifact.input_kinds and not artifact.members:
        below.append(artifact.rate / 2)
    return float(max(below, default=artifact.rate / 2))


def examine(
    path: str,
    model: Reference,
    *,
    raw: RawFormat | None = None,
    hear: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """What is wrong with one recording.

    Args:
        path: a file, an address, or "-" for standard input.
        model: of `reference`.
        raw: how to read samples without a header.
        hear: is called with the seconds that were heard so far.

    Returns:
        {"path", "duration" in seconds, "rate" in Hz, "channels", "level" in dB, "peak", "offset", "clipped",
        "silence" as shares, "cutoff" in Hz or None, "findings": a list of {"kind", "what", "do", "sure"},
        "warnings" of the reader}.

    Raises:
        AudioError: it cannot be read.

    >>> examine("examples/scene.ogg", reference(load_artifact("default")))["findings"]  # doctest: +SKIP
    []
    """
    warnings: list[str] = []
    channels = Channels()
    sound: Sound | None = None
    rate = 0

    def listen(samples: np.ndarray, own_rate: int) -> None:
        nonlocal rate
        rate = own_rate
        channels.add(samples)

    for block in blocks(path, None, raw=raw, warn=warnings.append, heard=listen):
        if sound is None:
            sound = Sound(rate)
        sound.add(block.samples)
        if hear is not None:
            hear(sound.samples / rate)
    assert sound is not None, "blocks() gives a block or raises"
    sound.finish()
    level = sound.level
    return {
        "path": path,
        "duration": sound.samples / rate,
        "rate": rate,
        "channels": channels.count,
        "level": round(level, 1) if math.isfinite(level) else None,
        "peak": round(channels.peak, 4),
        "offset": round(channels.offset, 5),
        "clipped": round(max(channels.flat, channels.over), 6),
        "silence": round(sound.silence, 4),
        "cutoff": None if sound.cutoff is None else round(sound.cutoff),
        "findings": [vars(finding) for finding in findings(sound, channels, model)],
        "warnings": warnings,
    }
