"""Make sounds that a tagger should stay quiet on: `python examples/make_unknown.py FOLDER`.

Silence, noise, hum, tones, sweeps, chords, music, a murmur like speech, and speech where espeak-ng is
installed. All are computed from seeds, none is a recording. They come in two halves, the splits "choose" and
"judge": what is set with the first is tried on the second, which has other seeds, instruments, voices,
sentences and mains. FOLDER/meta.csv lists them, each without a label, for `auricle pack`:

    python examples/make_unknown.py out/unknown-sounds
    auricle pack out/unknown-sounds/meta.csv out/unknown --rate 32000

Whether a hiss is rain is for people to say; here it never is. Sounds that a label of ESC-50 plainly means are
not made: sweeps do not go to and fro as sirens do, no tone beeps like an alarm, no piece has bells.

Levels are RMS in dB of full scale (0 dB: a square wave between -1 and 1), of the whole recording.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import butter, sosfilt
from unknown_music import STYLES, make_chords, make_drawn, make_piece, make_struck
from unknown_speech import has_espeak, in_a_room, murmur, say

RATE, SECONDS, SEED = 32000, 20.0, 2026
HALVES = ("choose", "judge")
COLOURS = {"white": 0.0, "pink": -0.5, "brown": -1.0, "blue": 0.5, "violet": 1.0}  # amplitude by frequency
NOISE_LEVELS = (-60, -45, -35, -25, -15)
MAINS = {"choose": 50.0, "judge": 60.0}  # Hz

Made = tuple[np.ndarray, str]  # (samples,) and in words what it is


def at_level(sound: np.ndarray, level: float) -> np.ndarray:
    """The same at an RMS of so many dB; softer where a peak would be beyond full scale.

    >>> round(float(np.sqrt((at_level(np.array([1.0, -2.0, 1.0]), -20.0) ** 2).mean())), 6)
    0.1
    """
    sound = sound * (10 ** (level / 20) / np.sqrt((sound**2).mean() + 1e-20))
    return sound / max(1.0, float(np.abs(sound).max()) / 0.999)


def coloured(colour: str, samples: int, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Noise, (samples,): white; falling by 3 dB an octave (pink), 6 (brown), rising (blue, violet)."""
    frequency = np.maximum(np.fft.rfftfreq(samples, 1 / rate), 20.0)
    spectrum = np.fft.rfft(rng.standard_normal(samples)) * frequency ** COLOURS[colour]
    spectrum[0] = 0
    return np.fft.irfft(spectrum, samples)


def silence(half: str, number: int, rng: np.random.Generator, rate: int, samples: int) -> Made:
    """Zeros; dither of one step of 16 bits; the hiss of a recorder at -80 and -70 dB."""
    kind = ("zeros", "dither", "hiss at -80 dB", "hiss at -70 dB")[number % 4]
    if kind == "zeros":
        return np.zeros(samples), kind
    if kind == "dither":  # triangular: the sum of two uniform draws
        return rng.uniform(-0.5, 0.5, (2, samples)).sum(axis=0) / 32768, kind
    return at_level(rng.standard_normal(samples), -80 if "80" in kind else -70), kind


def noise(half: str, number: int, rng: np.random.Generator, rate: int, samples: int) -> Made:
    """Five colours and bands of two octaves, at five levels."""
    level = NOISE_LEVELS[number // 6 % 5]
    if number % 6 < 5:
        colour = list(COLOURS)[number % 6]
        return at_level(coloured(colour, samples, rng, rate), level), f"{colour} at {level} dB"
    low = float(np.exp(rng.uniform(np.log(100), np.log(min(3000, rate / 10)))))
    band = butter(4, (low, 4 * low), "bandpass", fs=rate, output="sos")
    words = f"{low:.0f} to {4 * low:.0f} Hz at {level} dB"
    return at_level(sosfilt(band, rng.standard_normal(samples)), level), words


def hum(half: str, number: int, rng: np.random.Generator, rate: int, samples: int) -> Made:
    """Mains: 50 Hz or 60 Hz with harmonics, soft or buzzing, above a hiss."""
    time, level = np.arange(samples) / rate, float(rng.uniform(-50, -20))
    steep = rng.uniform(0.5, 2.0)  # how fast harmonics fall
    step = 2 if number % 3 == 2 else 1  # rectified: the even ones
    sound = sum(
        step * k**-steep * np.sin(2 * np.pi * MAINS[half] * step * k * time + rng.uniform(0, 6))
        for k in range(1, 21)
    )
    sound = at_level(np.asarray(sound), level) + at_level(rng.standard_normal(samples), level - 30)
    return sound, f"{MAINS[half]:.0f} Hz, harmonics by k^-{steep:.1f}, at {level:.0f} dB"


def tone(half: str, number: int, rng: np.random.Generator, rate: int, samples: int) -> Made:
    """A sine; two that beat; one whose amplitude swings; slow steps of sines."""
    time, level = np.arange(samples) / rate, float(rng.uniform(-40, -10))
    first = float(np.exp(rng.uniform(np.log(80), np.log(min(7000, 0.4 * rate)))))
    kind = ("sine", "beating", "tremolo", "steps")[number % 4]
    sound = np.sin(2 * np.pi * first * time)
    if kind == "beating":
        sound = sound + np.sin(2 * np.pi * (first + rng.uniform(0.5, 8)) * time)
    elif kind == "tremolo":
        sound = sound * (1 + 0.6 * np.sin(2 * np.pi * rng.uniform(0.3, 6) * time))
    elif kind == "steps":
        place = (time / 2.5).astype(int)
        steps = np.exp(rng.uniform(np.log(120), np.log(4000), place[-1] + 1))
        sound = np.sin(2 * np.pi * np.cumsum(steps[place]) / rate)
    return at_level(sound, level), f"{kind}, {first:.0f} Hz, at {level:.0f} dB"


def sweep(half: str, number: int, rng: np.random.Generator, rate: int, samples: int) -> Made:
    """From one end to the other, once: up or down, by octaves or by hertz."""
    share, level = np.arange(samples) / samples, float(rng.uniform(-35, -12))
    low, high = rng.uniform(40, 300), rng.uniform(2000, 0.4 * rate)
    frequency = low * (high / low) ** share if number % 2 else low + (high - low) * share
    if number % 4 > 1:
        frequency = frequency[::-1]
    words = f"{frequency[0]:.0f} to {frequency[-1]:.0f} Hz, {'log' if number % 2 else 'linear'}"
    return at_level(np.sin(2 * np.pi * np.cumsum(frequency) / rate), level), f"{words}, at {level:.0f} dB"


def chords(half: str, number: int, rng: np.random.Generator, rate: int, samples: int) -> Made:
    """Held chords, see `unknown_music`."""
    level = float(rng.uniform(-35, -14))
    return at_level(make_chords(half, samples / rate, rng, rate), level), f"held chords at {level:.0f} dB"


def music(half: str, number: int, rng: np.random.Generator, rate: int, samples: int) -> Made:
    """Pieces of eight styles, see `unknown_music`."""
    level, name = float(rng.uniform(-35, -14)), list(STYLES)[number % len(STYLES)]
    sound = make_piece(STYLES[name], half, samples / rate, rng, rate)
    return at_level(sound, level), f"{name} at {level:.0f} dB"


def struck(half: str, number: int, rng: np.random.Generator, rate: int, samples: int) -> Made:
    """Notes and chords of bars, plucked strings and metal tongues."""
    level = float(rng.uniform(-35, -14))
    return at_level(make_struck(half, samples / rate, rng, rate), level), f"struck notes at {level:.0f} dB"


def drawn(half: str, number: int, rng: np.random.Generator, rate: int, samples: int) -> Made:
    """Struck and held notes of an instrument that is drawn anew for each."""
    level = float(rng.uniform(-35, -14))
    return at_level(make_drawn(samples / rate, rng, rate), level), f"a drawn instrument at {level:.0f} dB"


def murmurs(half: str, number: int, rng: np.random.Generator, rate: int, samples: int) -> Made:
    """Like speech, see `unknown_speech`; every second one in a room."""
    level, sound = float(rng.uniform(-38, -18)), murmur(samples / rate, rng, rate)
    if number % 2:
        sound = in_a_room(sound, rng, rate)
    return at_level(sound, level), f"murmur {'in a room ' if number % 2 else ''}at {level:.0f} dB"


def speech(half: str, number: int, rng: np.random.Generator, rate: int, samples: int) -> Made:
    """Sentences by espeak-ng, see `unknown_speech`, above a hiss at -75 dB."""
    level, sound = float(rng.uniform(-38, -18)), say(half, number, samples / rate, rng, rate)
    return at_level(sound, level) + at_level(rng.standard_normal(samples), -75), f"speech at {level:.0f} dB"


def speech_in_a_room(half: str, number: int, rng: np.random.Generator, rate: int, samples: int) -> Made:
    """The same with reverberation, above pink noise 20 to 40 dB lower."""
    level, below = float(rng.uniform(-38, -18)), float(rng.uniform(20, 40))
    sound = in_a_room(say(half, number, samples / rate, rng, rate), rng, rate)
    sound = at_level(sound, level) + at_level(coloured("pink", samples, rng, rate), level - below)
    return sound, f"speech in a room at {level:.0f} dB"


# Kind -> who makes it, and how many recordings a half has of it.
KINDS: dict[str, tuple[Callable[..., Made], int]] = {
    "silence": (silence, 12),
    "noise": (noise, 30),
    "hum": (hum, 15),
    "tone": (tone, 16),
    "sweep": (sweep, 12),
    "chords": (chords, 20),
    "music": (music, 48),
    "murmur": (murmurs, 30),
    "speech": (speech, 60),
    "speech in a room": (speech_in_a_room, 60),
    "struck": (struck, 24),  # last: a sound's seed has its kind's place in it
}
# To learn from alone, not made unless asked for: of what may be any instrument none is left to judge by.
TAUGHT: dict[str, tuple[Callable[..., Made], int]] = {"drawn": (drawn, 120)}
ALL = KINDS | TAUGHT
NEED_ESPEAK = ("speech", "speech in a room")


def make_sound(
    kind: str, half: str, number: int, *, seed: int = SEED, rate: int = RATE, seconds: float = SECONDS
) -> Made:
    """A recording, (samples,) float32, and in words what it is; the same arguments give the same.

    >>> sound, words = make_sound("silence", "choose", 0)
    >>> len(sound), float(abs(sound).max()), words
    (640000, 0.0, 'zeros')
    """
    seeds = (seed, HALVES.index(half), list(ALL).index(kind), number)
    made, words = ALL[kind][0](half, number, np.random.default_rng(seeds), rate, round(seconds * rate))
    return np.clip(made, -1, 1).astype(np.float32), words


def write(
    folder: Path,
    *,
    seed: int = SEED,
    rate: int = RATE,
    seconds: float = SECONDS,
    share: float = 1.0,
    kinds: Sequence[str] = tuple(KINDS),
    halves: Sequence[str] = HALVES,
) -> int:
    """Write halves of some kinds, and their table; how many recordings there are."""
    rows = []
    for half in halves:
        for kind in kinds:
            count = ALL[kind][1]
            if kind in NEED_ESPEAK and not has_espeak():
                continue
            place = folder / half / kind.replace(" ", "-")
            place.mkdir(parents=True, exist_ok=True)
            for number in range(max(1, round(share * count))):
                sound, words = make_sound(kind, half, number, seed=seed, rate=rate, seconds=seconds)
                path = place / f"{number:03d}.flac"
                soundfile.write(path, sound, rate, subtype="PCM_16")
                rows.append([path.relative_to(folder).as_posix(), "", half, kind, words])
    with (folder / "meta.csv").open("w", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["path", "labels", "split", "kind", "what"])
        table.writerows(rows)
    return len(rows)


def main() -> None:
    """Write them into the folder named on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--rate", type=int, default=RATE, help="Hz")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each recording")
    parser.add_argument("--share", type=float, default=1.0, help="of the recordings that there are of a kind")
    given = parser.parse_args()
    count = write(given.folder, seed=given.seed, rate=given.rate, seconds=given.seconds, share=given.share)
    hours = count * given.seconds / 3600
    print(f"{count} recordings, {hours:.2f} hours: {given.folder / 'meta.csv'}")
    if not has_espeak():
        print("no speech: espeak-ng is not installed")


if __name__ == "__main__":
    main()
