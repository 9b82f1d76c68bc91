"""What is wrong with a recording, by its figures: each check, its limit, and what is to be done."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from auricle.doctor.channels import Channels
from auricle.fingerprint import QUANTILES, Sound, decibels

LOW, MIDDLE, HIGH = (QUANTILES.index(share) for share in (0.01, 0.5, 0.99))
MARGIN = 6.0  # dB beyond what 98 of 100 training clips are
QUIET, LOUD = -60.0, 0.0  # dB, of a model that does not say what it was trained on
SILENCE = 0.5  # share; more only where the training had more
FLAT_SHARE, OVER_SHARE = 1e-4, 1e-3  # of samples
OFFSET, QUIET_OFFSET, OFFSET_RATIO = 0.01, 0.001, 0.5  # of full scale; the ratio is to the RMS
CANCELLED = -10.0  # dB of the mix against its channels; unlike ones lose 3
WITHIN = 0.92  # of what the model hears: an edge from here on matters no more
FOLDED, NEAR = 3.5, 1.6  # dB; of what the model hears: from higher rates folds nothing into it


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Args:
        kind: silent, gaps, quiet, loud, clipped, offset, channel, cancelled, rate, upsampled, aliased, bands.
        what: in words, with figures.
        do: what can be done about it.
        sure: whether it is a fault, or may be one.

    >>> Finding(kind="silent", what="nothing is heard", do="record it again").kind
    'silent'
    """

    kind: str
    what: str
    do: str
    sure: bool = True


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a model was trained on, and hears.

    Args:
        rate: Hz of its waveforms.
        highest: Hz up to which it hears.
        audio: the fingerprint of its training; empty where it has none.
    """

    rate: int
    highest: float
    audio: dict[str, Any]

    @property
    def bandwidth(self) -> float:
        """Hz up to which the model hears and half of its training clips held something."""
        return min(self.highest, self.audio["bandwidth"][MIDDLE]) if self.audio else self.highest


def findings(sound: Sound, channels: Channels, model: Reference) -> list[Finding]:
    """What is wrong with a recording, by its figures; the worst first.

    >>> findings(Sound(16000), Channels(), Reference(rate=16000, highest=7500.0, audio={}))[0].kind
    'silent'
    """
    found = [*_channels(channels, sound), *_offset(channels)]
    if not math.isfinite(sound.level):
        what = "nothing is heard: no moment is above -70 dB"
        do = "check the microphone, its cable and gain, and which channel was recorded"
        return [Finding(kind="silent", what=what, do=do), *found]
    ends = _ends(sound, model)
    return [
        *_loudness(sound, model),
        *_clipped(channels),
        *found,
        *ends,
        *_folded(sound, model),
        *_bands(sound, model, bool(ends)),
    ]


def _loudness(sound: Sound, model: Reference) -> list[Finding]:
    found, level, silence = [], sound.level, sound.silence
    low, high, most = QUIET, LOUD, SILENCE
    usual = ""
    if model.audio:
        low, high = model.audio["level"][LOW] - MARGIN, model.audio["level"][HIGH] + MARGIN
        most = max(SILENCE, model.audio["silence"][HIGH])
        usual = ", the training's clips have {:.0f} to {:z.0f} dB".format(
            model.audio["level"][LOW], model.audio["level"][HIGH]
        )
    target = model.audio["level"][MIDDLE] if model.audio else -20.0
    if level < low:
        what = f"too quiet: {level:z.0f} dB{usual}"
        do = f"record with more gain, or amplify it by about {target - level:z.0f} dB"
        found.append(Finding(kind="quiet", what=what, do=do))
    elif level > high:
        what = f"too loud: {level:z.0f} dB{usual}"
        do = f"turn it down by about {level - target:z.0f} dB; floats should lie between -1 and 1"
        found.append(Finding(kind="loud", what=what, do=do))
    if silence > most:
        what = f"{silence:.0%} of it is digital silence"
        if model.audio:
            what += f", in 99 of 100 training clips at most {model.audio['silence'][HIGH]:.0%}"
        do = "cut it away, or look for what switched the sound off"
        found.append(Finding(kind="gaps", what=what, do=do))
    return found


def _clipped(channels: Channels) -> list[Finding]:
    if channels.flat < FLAT_SHARE and channels.over < OVER_SHARE:
        return []
    if channels.flat >= FLAT_SHARE:
        what = f"clipped: {channels.flat:.2%} of its samples are in flat tops, at {channels.peak:.2f}"
    else:
        what = f"clipped: {channels.over:.2%} of its samples are beyond full scale"
    return [
        Finding(kind="clipped", what=what, do="record with less gain: what was cut off does not come back")
    ]


def _offset(channels: Channels) -> list[Finding]:
    offset = channels.offset
    powers = channels.powers
    rms = math.sqrt(powers.max()) if len(powers) else 0.0
    if abs(offset) < OFFSET and (abs(offset) < QUIET_OFFSET or abs(offset) < OFFSET_RATIO * rms):
        return []
    what = f"DC: its samples have a mean of {offset:.3f} of full scale"
    do = "take out what is below 20 Hz (ffmpeg -af highpass=f=20), and look at the recorder"
    return [Finding(kind="offset", what=what, do=do)]


def _channels(channels: Channels, sound: Sound) -> list[Finding]:
    if dead := channels.dead:
        named = ("channel " if len(dead) == 1 else "channels ") + ", ".join(map(str, dead))
        what = f"{named} of {channels.count} dead: the mix is {_lost(channels, dead):z.0f} dB quieter for it"
        do = "check the cable, and keep only the channels that have sound"
        return [Finding(kind="channel", what=what, do=do)]
    if channels.count < 2 or not channels.powers.max() > 0:
        return []
    # Energies, not powers: the mix also has the silence that stands for gaps.
    lost = float(decibels(sound.power * sound.samples / (channels.powers * channels.samples).mean()))
    if lost >= CANCELLED:
        return []
    what = f"its channels cancel each other: mixed they are {min(-lost, 99):z.0f} dB quieter"
    do = "turn the polarity of one, or keep one channel only"
    return [Finding(kind="cancelled", what=what, do=do)]


def _lost(channels: Channels, dead: list[int]) -> float:
    return 20 * math.log10(channels.count / (channels.count - len(dead)))


def _ends(sound: Sound, model: Reference) -> list[Finding]:
    """Where the spectrum ends below what the model hears."""
    heard = f"the model hears up to {model.bandwidth:.0f} Hz"
    needed = WITHIN * model.bandwidth
    cutoff = sound.cutoff
    if cutoff is not None and cutoff < min(needed, 0.46 * sound.rate):
        what = f"up-sampled or filtered: nothing above {_hertz(cutoff)} Hz, {heard}"
        do = f"take it from before it was at about {_hertz(2 * cutoff)} Hz, or record at {model.rate} Hz"
        return [Finding(kind="upsampled", what=what, do=do)]
    if sound.rate / 2 < needed:
        what = f"its rate is {sound.rate} Hz, so nothing is above {sound.rate / 2:.0f} Hz; {heard}"
        do = f"record at {model.rate} Hz or more"
        return [Finding(kind="rate", what=what, do=do)]
    return []


def _hertz(value: float) -> str:
    return f"{round(value, -2):.0f}"


def _folded(sound: Sound, model: Reference) -> list[Finding]:
    fold = sound.fold
    if fold is None or fold >= FOLDED or sound.rate / 2 > NEAR * model.highest:
        return []
    top = f"{sound.rate / 2:.0f} Hz"
    what = f"may be aliased: its spectrum does not fall off towards {top}, as where samples were left out"
    do = (
        "bring it down anew from the original (ffmpeg -ar, sox) if that was done without a filter; "
        "of scipy.signal.resample it means nothing"
    )
    return [Finding(kind="aliased", what=what, do=do, sure=False)]


def _bands(sound: Sound, model: Reference, ends: bool) -> list[Finding]:
    """Bands that are far from the training's; the farthest is told."""
    if not model.audio:
        return []
    edges = np.array(model.audio["edges"], float)
    limits = np.array(model.audio["bands"], float)
    top = sound.rate / 2 if sound.cutoff is None else sound.cutoff
    there = (
        edges[1:] <= 0.92 * top if ends or sound.rate < model.audio["rate"] else np.ones(len(limits), bool)
    )
    if there.sum() < 2:
        return []
    kept = np.flatnonzero(there)
    bands = sound.bands(edges[: kept[-1] + 2])
    limits = limits[kept]
    beyond = np.maximum(bands - limits[:, HIGH], limits[:, LOW] - bands)
    worst = int(np.argmax(beyond))
    if beyond[worst] <= MARGIN:
        return []
    more = bands[worst] > limits[worst, HIGH]
    what = (
        f"{edges[worst]:.0f} to {edges[worst + 1]:.0f} Hz: {bands[worst]:z.0f} dB of the whole, "
        f"in 98 of 100 training clips {limits[worst, LOW]:z.0f} to {limits[worst, HIGH]:z.0f} dB"
    )
    do = _advice(edges[worst], bool(more))
    return [Finding(kind="bands", what=what, do=do)]


def _advice(hertz: float, more: bool) -> str:
    if more and hertz < 250:
        return "hum or wind? filter it out, shield the microphone; else train on recordings like this"
    if more:
        return "a whistle or hiss of the recorder? else train on recordings like this"
    return "a filter or a noise gate at work? else train on recordings like this"
