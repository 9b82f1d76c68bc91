"""Music for make_unknown.py, composed by rule and played on computed instruments and drums.

A piece follows one of eight styles: a tempo, a metre, a scale, a progression of chords, a bass, an
accompaniment, a melody that walks along the scale and ends its bars on tones of the chord, and drums. Which
instruments play is drawn, too. None of it is anybody's tune.

An instrument is additive: partials at multiples of the note, each with its strength and how fast it dies
away, under an attack and a release, with vibrato and breath where it has them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

BARS_OF_A_ROUND = 4
MAJOR, MINOR, PENTATONIC = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9)
PROGRESSIONS = ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3), (1, 4, 0, 0), (0, 0, 3, 4), (5, 3, 0, 4))  # degrees


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """How a note sounds.

    Args:
        ratios: frequency of each partial, in multiples of the note's.
        strengths: amplitude of each partial.
        decay: seconds in which the lowest partial falls by 60 dB; 0 holds the note. Others fall faster.
        attack: seconds.
        vibrato: share of the frequency.
        breath: of noise, amplitude relative to the note's.
    """

    ratios: tuple[float, ...]
    strengths: tuple[float, ...]
    decay: float = 0.0
    attack: float = 0.01
    vibrato: float = 0.0
    breath: float = 0.0


def _harmonic(strengths: tuple[float, ...], **rest: float) -> Instrument:
    return Instrument(ratios=tuple(range(1, len(strengths) + 1)), strengths=strengths, **rest)


# Those of one half are not heard in the other: thresholds are chosen with the first, judged with the second.
INSTRUMENTS = {
    "choose": {
        "organ": Instrument(ratios=(0.5, 1, 2, 3, 4, 6, 8), strengths=(0.5, 1, 0.8, 0.5, 0.4, 0.2, 0.2)),
        "piano": Instrument(
            ratios=tuple(n * (1 + 4e-4 * n * n) ** 0.5 for n in range(1, 9)),  # stiff strings
            strengths=(1, 0.7, 0.4, 0.3, 0.2, 0.1, 0.07, 0.05),
            decay=4.0,
            attack=0.004,
        ),
        "strings": _harmonic(tuple(1 / n for n in range(1, 13)), attack=0.15, vibrato=0.004),
        "square": _harmonic((1, 0, 1 / 3, 0, 1 / 5, 0, 1 / 7, 0, 1 / 9)),
    },
    "judge": {
        "plucked": _harmonic(tuple(abs(np.sin(n * 0.9)) / n for n in range(1, 13)), decay=1.5, attack=0.002),
        "flute": _harmonic((1, 0.35, 0.12, 0.05), attack=0.06, vibrato=0.006, breath=0.05),
        "brass": _harmonic((0.7, 1, 0.9, 0.7, 0.5, 0.35, 0.2, 0.1), attack=0.05, vibrato=0.002),
        "electric": Instrument(  # an electric piano: tines above the note
            ratios=(1, 2, 3, 7.1), strengths=(1, 0.3, 0.15, 0.12), decay=2.5, attack=0.003
        ),
    },
}

# Each in both: a bar, a string and a tongue of metal. What is struck is what knocks are taken for.
STRUCK = {
    "choose": {
        "marimba": Instrument(ratios=(1, 3.93, 9.4), strengths=(1, 0.35, 0.1), decay=0.6, attack=0.002),
        "harp": _harmonic(tuple(1 / n**1.2 for n in range(1, 11)), decay=3.0, attack=0.002),
        "muted string": _harmonic((1, 0.8, 0.6, 0.5, 0.3, 0.3, 0.2), decay=0.35, attack=0.001, breath=0.1),
        "music box": Instrument(ratios=(1, 6.27, 17.5), strengths=(1, 0.4, 0.1), decay=1.5, attack=0.001),
    },
    "judge": {
        "xylophone": Instrument(ratios=(1, 3, 6.1), strengths=(1, 0.5, 0.2), decay=0.4, attack=0.001),
        "guitar": _harmonic(tuple(abs(np.sin(n * 0.6)) / n for n in range(1, 15)), decay=2.2, attack=0.0015),
        "pizzicato": _harmonic((1, 0.5, 0.4, 0.2, 0.15), decay=0.3, attack=0.003, breath=0.05),
        "vibraphone": Instrument(ratios=(1, 4, 10), strengths=(1, 0.3, 0.1), decay=4.0, attack=0.002),
    },
}


@dataclass(frozen=True, kw_only=True)
class Style:
    """What a piece is like. Drums are steps of a bar, a quarter of a beat each."""

    beats: int = 4
    tempo: tuple[float, float] = (90.0, 120.0)  # beats a minute
    scale: tuple[int, ...] = MAJOR
    accompaniment: str = "chords"  # "chords" held for a bar, "off" on beats but the first, "broken"
    melody: float = 0.7  # share of the eighths on which a note begins; 0 for none
    kick: tuple[int, ...] = ()
    snare: tuple[int, ...] = ()
    hat: tuple[int, ...] = ()


STYLES = {
    "ballad": Style(tempo=(60, 80), accompaniment="broken", melody=0.4),
    "waltz": Style(beats=3, tempo=(130, 170), accompaniment="off", melody=0.5),
    "march": Style(tempo=(100, 120), accompaniment="off", kick=(0, 8), snare=(4, 10, 12, 14)),
    "rock": Style(tempo=(110, 140), scale=MINOR, kick=(0, 6, 8), snare=(4, 12), hat=tuple(range(0, 16, 2))),
    "dance": Style(
        tempo=(120, 135), scale=MINOR, melody=0.5, kick=(0, 4, 8, 12), snare=(4, 12), hat=(2, 6, 10, 14)
    ),
    "folk": Style(tempo=(90, 120), scale=PENTATONIC, accompaniment="broken", melody=0.8),
    "ambient": Style(tempo=(50, 60), melody=0.0),
    "solo": Style(tempo=(70, 130), accompaniment="none", melody=0.8),
}


def note(
    voice: Instrument, frequency: float, seconds: float, rng: np.random.Generator, rate: int
) -> np.ndarray:
    """One note, (samples,), its peak about 1; partials above half the rate are left out."""
    time = np.arange(max(1, round(seconds * rate))) / rate
    wobble = voice.vibrato / (2 * np.pi * 5.5) * np.sin(2 * np.pi * 5.5 * time + rng.uniform(0, 6))
    sound = np.zeros(len(time))
    for ratio, strength in zip(voice.ratios, voice.strengths, strict=True):
        if strength and frequency * ratio < 0.45 * rate:
            partial = strength * np.sin(2 * np.pi * frequency * ratio * (time + wobble) + rng.uniform(0, 6))
            sound += partial * np.exp(-6.9 * time * ratio**0.7 / voice.decay) if voice.decay else partial
    if voice.breath:  # the low more than the high
        sound += voice.breath * lfilter([0.15], [1.0, -0.85], rng.standard_normal(len(time)))
    release = min(0.05, seconds / 2)
    envelope = np.minimum(1, time / voice.attack) * np.clip((seconds - time) / release, 0, 1)
    return sound * envelope / sum(voice.strengths)


def drum(name: str, rng: np.random.Generator, rate: int) -> np.ndarray:
    """A stroke of a drum: a falling sine, noise with a tone, or bright noise."""
    time = np.arange(round(0.25 * rate)) / rate
    if name == "kick":
        return np.sin(2 * np.pi * (50 * time + 3.5 * (1 - np.exp(-30 * time)))) * np.exp(-14 * time)
    noise = rng.standard_normal(len(time))
    if name == "snare":
        return (0.4 * noise + 0.4 * np.sin(2 * np.pi * 190 * time)) * np.exp(-22 * time)
    bright = sosfilt(butter(2, min(6000, 0.4 * rate), "highpass", fs=rate, output="sos"), noise)
    return 0.4 * bright * np.exp(-60 * time)


def _pitch(key: int, scale: tuple[int, ...], degree: int) -> float:
    """Hz of a degree of a scale; from the seventh on in the next octave."""
    octave, step = divmod(degree, len(scale))
    return float(440 * 2 ** ((key + 12 * octave + scale[step] - 69) / 12))


class _Score:
    """Where notes are put together."""

    def __init__(self, seconds: float, rng: np.random.Generator, rate: int):
        self.rng, self.rate = rng, rate
        self.sound = np.zeros(round(seconds * rate))

    def put(self, at: float, piece: np.ndarray, level: float) -> None:
        first = round(at * self.rate)
        room = self.sound[first : first + len(piece)]
        room += level * piece[: len(room)]

    def play(self, voice: Instrument, at: float, frequency: float, seconds: float, level: float) -> None:
        if round(at * self.rate) < len(self.sound):
            self.put(at, note(voice, frequency, seconds, self.rng, self.rate), level)


def make_piece(style: Style, half: str, seconds: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    """A piece, (samples,) float64, of any peak: eight bars or so, of instruments of one half."""
    voices = list(INSTRUMENTS[half].values())
    bass, middle, lead = (voices[k] for k in rng.integers(0, len(voices), 3))
    score = _Score(seconds, rng, rate)
    beat = 60 / rng.uniform(*style.tempo)
    bar = beat * style.beats
    key, chords = int(rng.integers(48, 60)), PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    degree = 7
    for number in range(int(np.ceil(seconds / bar))):
        at, root = number * bar, chords[number % BARS_OF_A_ROUND]
        chord = [_pitch(key, style.scale, root + step) for step in (0, 2, 4)]
        if style.accompaniment != "none":
            score.play(bass, at, chord[0] / 2, bar if style.accompaniment == "chords" else beat, 0.5)
        _accompany(score, style, middle, at, beat, chord)
        for eighth in range(2 * style.beats):
            if rng.random() < style.melody:
                degree = int(np.clip(degree + rng.integers(-2, 3), 4, 14))
                if eighth == 2 * style.beats - 1:
                    degree = root + 7
                length = beat * float(rng.choice([0.5, 0.5, 1.0]))
                score.play(lead, at + eighth * beat / 2, _pitch(key, style.scale, degree), length, 0.6)
        for name in ("kick", "snare", "hat"):
            for step in getattr(style, name):
                score.put(at + step * beat / 4, drum(name, rng, rate), 0.6)
    return score.sound


def _accompany(
    score: _Score, style: Style, voice: Instrument, at: float, beat: float, chord: list[float]
) -> None:
    """A bar of chords under the melody."""
    if style.accompaniment == "chords":
        for frequency in chord:
            score.play(voice, at, frequency, beat * style.beats, 0.3)
    elif style.accompaniment == "off":
        for number in range(1, style.beats):
            for frequency in chord:
                score.play(voice, at + number * beat, frequency, beat * 0.5, 0.3)
    elif style.accompaniment == "broken":
        for number in range(2 * style.beats):
            score.play(voice, at + number * beat / 2, chord[(0, 1, 2, 1)[number % 4]], beat, 0.4)


def make_chords(half: str, seconds: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Chords of three to five tones, one after the other, each held for 2 to 5 s by one instrument."""
    voices = list(INSTRUMENTS[half].values())
    return _held(voices[rng.integers(len(voices))], seconds, rng, rate)


def make_struck(half: str, seconds: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Notes and chords struck again and again, 1 to 6 a second, in groups with rests between them."""
    voices = list(STRUCK[half].values())
    return _struck(voices[rng.integers(len(voices))], seconds, rng, rate)


def make_drawn(seconds: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    """The same by an instrument that is drawn, too; in two of three struck, else held."""
    struck = rng.random() < 2 / 3
    return (_struck if struck else _held)(draw_instrument(rng), seconds, rng, rate)


def draw_instrument(rng: np.random.Generator) -> Instrument:
    """Any string, bar or pipe: what a tagger learns from many of them holds for one that is none of them."""
    count, slope, turn = int(rng.integers(2, 15)), rng.uniform(0.5, 1.6), rng.uniform(0.3, 3.0)
    harmonics = np.arange(1, count + 1, dtype=float)
    strengths = np.abs(np.sin(harmonics * turn)) / harmonics**slope + 0.02 / harmonics
    kind = ("harmonic", "stiff", "bar")[rng.integers(3)]
    ratios = harmonics
    if kind == "stiff":
        ratios = harmonics * np.sqrt(1 + np.exp(rng.uniform(np.log(1e-5), np.log(2e-3))) * harmonics**2)
    elif kind == "bar":
        ratios = np.concatenate([[1.0], np.sort(rng.uniform(1.5, 18.0, min(count, 5) - 1))])
        strengths = np.concatenate([[1.0], rng.uniform(0.05, 0.6, len(ratios) - 1)])
    return Instrument(
        ratios=tuple(map(float, ratios)),
        strengths=tuple(map(float, strengths / strengths.max())),
        decay=float(np.exp(rng.uniform(np.log(0.15), np.log(5.0)))),
        attack=float(np.exp(rng.uniform(np.log(5e-4), np.log(0.02)))),
        vibrato=float(rng.uniform(0, 0.006) * (rng.random() < 0.3)),
        breath=float(rng.uniform(0, 0.15) * (rng.random() < 0.5)),
    )


def _held(voice: Instrument, seconds: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    score, at = _Score(seconds, rng, rate), 0.0
    while at < seconds:
        length, root = rng.uniform(2.0, 5.0), int(rng.integers(45, 65))
        steps = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 3, 7, 10, 14), (0, 5, 7), (0, 3, 6))
        for step in steps[rng.integers(len(steps))]:
            score.play(voice, at, 440 * 2 ** ((root + step - 69) / 12), length, 0.3)
        at += length
    return score.sound


def _struck(voice: Instrument, seconds: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    score, at = _Score(seconds, rng, rate), 0.0
    while at < seconds:
        apart, root = 1 / rng.uniform(1.0, 6.0), int(rng.integers(40, 80))
        steps = ((0,), (0,), (0, 7), (0, 4, 7), (0, 3, 7))[rng.integers(5)]
        walks = bool(rng.integers(2))  # or strikes the same again
        for _ in range(int(rng.integers(2, 9))):
            for step in steps:
                frequency = 440 * 2 ** ((root + step - 69) / 12)
                score.play(voice, at, frequency, min(2.0, 4 * apart), 0.4 * rng.uniform(0.6, 1.0))
            at += apart * rng.uniform(0.95, 1.05)
            root += int(rng.integers(-4, 5)) * walks
        at += rng.uniform(0.3, 2.0)
    return score.sound
