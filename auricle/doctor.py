"""Is this recording like what a model was trained on, and if not, what is wrong and what is to be done?

A recording is read once, in memory that does not grow with its length. What each check looks at, its limit,
and how often it is wrong on real recordings, is in docs/doctor.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from auricle.artifact import Artifact
from auricle.audio import RawFormat, blocks
from auricle.fingerprint import QUANTILES, Sound, decibels, valid

LOW, MIDDLE, HIGH = (QUANTILES.index(share) for share in (0.01, 0.5, 0.99))
MARGIN = 6.0  # dB beyond what 98 of 100 training clips are
QUIET, LOUD = -60.0, 0.0  # dB, of a model that does not say what it was trained on
SILENCE = 0.5  # share; more only where the training had more
FLAT_SHARE, OVER_SHARE = 1e-4, 1e-3  # of samples
FLAT_RUN = 3  # equal samples in a row at the peak, entered and left by a step
OFFSET, QUIET_OFFSET, OFFSET_RATIO = 0.01, 0.001, 0.5  # of full scale; the ratio is to the RMS
DEAD = -40.0  # dB against the loudest channel
CANCELLED = -10.0  # dB of the mix against its channels; unlike ones lose 3
WITHIN = 0.92  # of what the model hears: an edge from here on matters no more
FOLDED, NEAR = 3.0, 1.6  # dB; of what the model hears: from higher rates folds nothing into it


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Args:
        kind: silent, gaps, quiet, loud, clipped, offset, channel, cancelled, rate, upsampled, aliased, bands.
        what: in words, with figures.
        do: what can be done about it.

    >>> Finding(kind="silent", what="nothing is heard", do="record it again").kind
    'silent'
    """

    kind: str
    what: str
    do: str


class Channels:
    """Figures of each channel of a recording, from its samples in any pieces.

    >>> channels = Channels()
    >>> channels.add(np.array([[0.5, 0.0], [-0.5, 0.0]], np.float32))
    >>> channels.count, channels.peak, channels.dead
    (2, 0.5, [2])
    """

    def __init__(self) -> None:
        self.samples = np.zeros(0, np.int64)
        self._sums = np.zeros(0)
        self._squares = np.zeros(0)
        self._peaks = np.zeros(0)
        self._units = np.zeros(0)  # what the samples count in
        self._flat = np.zeros(0, np.int64)
        self._over = np.zeros(0, np.int64)

    def add(self, samples: np.ndarray) -> None:
        """Hear (N, channels) float32; NaN and infinity count as 0."""
        if not np.isfinite(samples).all():
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        for _ in range(len(self.samples), samples.shape[1]):
            for name in ("samples", "_sums", "_squares", "_peaks", "_units", "_flat", "_over"):
                array = getattr(self, name)
                setattr(self, name, np.append(array, np.array(name == "_units", array.dtype)))
        for place, column in enumerate(samples.T):
            self._add(place, np.ascontiguousarray(column))

    def _add(self, place: int, samples: np.ndarray) -> None:
        size = np.abs(samples)
        self.samples[place] += len(samples)
        self._sums[place] += float(samples.sum(dtype=np.float64))
        self._squares[place] += float(np.square(samples, dtype=np.float64).sum())
        peak = float(size.max(initial=0.0))
        if peak > 1:
            self._over[place] += int(np.count_nonzero(size > 1))
        if not peak or peak < 0.98 * self._peaks[place]:
            return
        if peak * 0.98 > self._peaks[place]:
            self._flat[place] = 0  # what was the peak until now lies below it
        self._peaks[place] = max(peak, self._peaks[place])
        self._units[place] = min(self._units[place], unit_of(samples))
        steps = np.abs(np.diff(samples))
        self._flat[place] += flat_tops(size, steps, 0.98 * self._peaks[place], 3 * self._units[place])

    @property
    def count(self) -> int:
        """How many channels there are."""
        return len(self.samples)

    @property
    def peak(self) -> float:
        """The largest size of a sample."""
        return float(self._peaks.max(initial=0.0))

    @property
    def flat(self) -> float:
        """The share of samples in flat tops, of the channel that has most."""
        return float((self._flat / np.maximum(self.samples, 1)).max(initial=0.0))

    @property
    def over(self) -> float:
        """The share of samples beyond full scale, of the channel that has most."""
        return float((self._over / np.maximum(self.samples, 1)).max(initial=0.0))

    @property
    def offset(self) -> float:
        """The mean of the samples of the channel where it is farthest from 0."""
        means = self._sums / np.maximum(self.samples, 1)
        return float(means[np.argmax(np.abs(means))]) if len(means) else 0.0

    @property
    def powers(self) -> np.ndarray:
        """(C,) mean squares, without each channel's mean."""
        counts = np.maximum(self.samples, 1)
        return np.maximum(self._squares / counts - (self._sums / counts) ** 2, 0.0)

    @property
    def dead(self) -> list[int]:
        """Which channels, from 1 on, hold nothing beside what the loudest holds."""
        powers = self.powers
        if len(powers) < 2 or not powers.max() > 0:
            return []
        return [place + 1 for place in np.flatnonzero(decibels(powers / powers.max()) < DEAD).tolist()]


def unit_of(samples: np.ndarray) -> float:
    """What samples count in: the step of integers of 8, 16 or 24 bits, whatever they are stored in.

    >>> unit_of(np.array([0.5, -0.25], np.float32)), 1 / unit_of(np.array([0.5, 3 / 32768], np.float32))
    (0.0078125, 32768.0)
    """
    for bits in (7, 15):
        scaled = samples * np.float32(2.0**bits)
        if (scaled == np.rint(scaled)).all():
            return float(2.0**-bits)
    return float(2.0**-23)


def flat_tops(sizes: np.ndarray, steps: np.ndarray, lowest: float, least: float) -> int:
    """How many samples lie in runs of equal ones at the peak that are entered and left by a real step.

    A slow wave, too, stands still at its top for some samples, as integers; but by single steps.

    Args:
        sizes: (N,) of the samples, without sign.
        steps: (N - 1,) from each sample to the next, without sign.
        lowest: size from which on a sample counts as at the peak.
        least: a step must be more than this.

    >>> samples = np.array([0.0, 0.5, 0.9, 0.9, 0.9, 0.9, 0.4], np.float32)
    >>> flat_tops(samples, np.abs(np.diff(samples)), 0.88, 0.001)
    4
    """
    still = np.concatenate([[False], (steps == 0) & (sizes[1:] >= lowest), [False]])
    edges = np.diff(still.astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    inside = (starts > 0) & (ends < len(steps)) & (ends - starts + 1 >= FLAT_RUN)
    starts, ends = starts[inside], ends[inside]
    stepped = (steps[starts - 1] > least) & (steps[ends] > least) if len(starts) else np.zeros(0, bool)
    return int((ends - starts + 1)[stepped].sum())


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
        "silence" as shares, "cutoff" in Hz or None, "findings": a list of {"kind", "what", "do"}, "warnings"
        of the reader}.

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
        usual = ", the training's clips have {:.0f} to {:.0f} dB".format(
            model.audio["level"][LOW], model.audio["level"][HIGH]
        )
    target = model.audio["level"][MIDDLE] if model.audio else -20.0
    if level < low:
        what = f"too quiet: {level:.0f} dB{usual}"
        do = f"record with more gain, or amplify it by about {target - level:.0f} dB"
        found.append(Finding(kind="quiet", what=what, do=do))
    elif level > high:
        what = f"too loud: {level:.0f} dB{usual}"
        do = f"turn it down by about {level - target:.0f} dB; floats should lie between -1 and 1"
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
        what = f"{named} of {channels.count} dead: the mix is {_lost(channels, dead):.0f} dB quieter for it"
        do = "check the cable, and keep only the channels that have sound"
        return [Finding(kind="channel", what=what, do=do)]
    if channels.count < 2 or not channels.powers.max() > 0:
        return []
    # Energies, not powers: the mix also has the silence that stands for gaps.
    lost = float(decibels(sound.power * sound.samples / (channels.powers * channels.samples).mean()))
    if lost >= CANCELLED:
        return []
    what = f"its channels cancel each other: mixed they are {min(-lost, 99):.0f} dB quieter"
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
    what = f"aliased: its spectrum does not fall off towards {top}, as where samples were left out"
    do = "bring it down anew from the original, with a resampler that filters (ffmpeg -ar, sox)"
    return [Finding(kind="aliased", what=what, do=do)]


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
        f"{edges[worst]:.0f} to {edges[worst + 1]:.0f} Hz: {bands[worst]:.0f} dB of the whole, "
        f"in 98 of 100 training clips {limits[worst, LOW]:.0f} to {limits[worst, HIGH]:.0f} dB"
    )
    do = _advice(edges[worst], bool(more))
    return [Finding(kind="bands", what=what, do=do)]


def _advice(hertz: float, more: bool) -> str:
    if more and hertz < 250:
        return "hum or wind? filter it out, shield the microphone; else train on recordings like this"
    if more:
        return "a whistle or hiss of the recorder? else train on recordings like this"
    return "a filter or a noise gate at work? else train on recordings like this"
