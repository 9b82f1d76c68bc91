"""Make scene.ogg and scene.csv: half a minute of sounds, every one of them computed, none recorded.

The labels are names of ESC-50 classes. Run it from anywhere: `python examples/make_scene.py [FOLDER]`.
How each sound is made stands with its function; all random numbers come from one seed.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

RATE = 44100
SEED = 20
SHEET = (  # start and end in seconds, label, level (largest sample)
    (0.0, 4.6, "clock_tick", 0.30),
    (4.5, 9.6, "church_bells", 0.55),
    (9.5, 14.5, "siren", 0.50),
    (14.3, 21.0, "rain", 0.24),
    (17.2, 19.2, "dog", 0.60),
    (20.8, 26.0, "engine", 0.55),
)
DURATION = 26.0


def clock_tick(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """A mantel clock: two ticks and tocks a second, clicks of the escapement in a small wooden case."""
    modes = (
        (900, 0.3, 0.006),
        (1800, 0.4, 0.005),
        (2650, 0.3, 0.003),
        (4300, 0.5, 0.003),
        (6900, 0.4, 0.002),
    )
    out = np.zeros(_samples(seconds))
    time = np.arange(_samples(0.06)) / RATE
    for beat, start in enumerate(np.arange(0.12, seconds - 0.1, 0.25)):
        brightness = 1.0 if beat % 2 == 0 else 0.84  # tick, tock
        for offset, level in ((0.0, 0.35), (0.011, 1.0), (0.019, 0.4)):  # the tooth drops, locks, rebounds
            click = 0.6 * _band(generator.standard_normal(len(time)), 1500, 9000) * np.exp(-time / 0.002)
            for pitch, strength, decay in modes:
                click += strength * np.exp(-time / decay) * np.sin(2 * np.pi * pitch * brightness * time)
            _add(out, level * click, start + offset)
    out = _room(out, 0.2, 0.1, generator)
    hiss = _band(generator.standard_normal(len(out)), 60, 4000)
    return out / np.max(np.abs(out)) + 0.04 * hiss


def church_bells(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """Three bells in turn, far off: hum, prime, third, fifth, nominal and above, each a pair that beats."""
    partials = (  # of the strike note; level; decay in seconds (to 1/e)
        (0.5, 0.50, 3.5), (1.0, 0.70, 2.0), (1.19, 0.95, 1.6), (1.5, 0.35, 1.0), (2.0, 1.00, 1.1),
        (2.51, 0.45, 0.6), (2.67, 0.35, 0.6), (3.01, 0.55, 0.5), (4.16, 0.40, 0.40), (5.43, 0.35, 0.30),
        (6.80, 0.30, 0.25), (8.21, 0.25, 0.20), (9.70, 0.20, 0.15), (11.3, 0.15, 0.12),
    )  # fmt: skip
    out = np.zeros(_samples(seconds))
    for strike, start in enumerate(np.arange(0.05, seconds - 0.5, 0.8)):
        note = (440.0, 415.3, 370.0)[strike % 3]
        time = np.arange(_samples(min(4.0, seconds - start))) / RATE
        bell = np.zeros(len(time))
        for ratio, level, decay in partials:
            for detune in (-1.0, 1.0):  # a cast bell is never quite round: each mode is two
                phase = generator.uniform(0, 2 * np.pi)
                bell += (
                    0.5
                    * level
                    * np.exp(-time / decay)
                    * np.sin(2 * np.pi * (note * ratio + detune) * time + phase)
                )
        clapper = _band(generator.standard_normal(len(time)), 1500, 8000) * np.exp(-time / 0.02)
        _add(out, bell + 0.5 * clapper, start)
    return _fade(_room(out, 2.5, 2.0, generator), 0.02, 0.4)


def siren(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """A police siren's wail, 650 to 1500 Hz, by a horn in a street that answers."""
    time = np.arange(_samples(seconds)) / RATE
    sweep = 0.5 - 0.5 * np.cos(2 * np.pi * np.minimum((time % 2.4) / 2.4, 1.0))
    pitch = 650 * (1500 / 650) ** sweep
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    source = sum(np.sin(k * phase) / k**0.8 * (k * pitch < 9000) for k in range(1, 12))
    horn = _resonances(source, [(1100, 500), (2400, 700), (3600, 900)]) + 0.3 * source
    loudness = 0.75 + 0.25 * np.sin(2 * np.pi * 0.11 * time)
    street = _room(horn * loudness, 0.9, 0.35, generator)
    return _fade(street, 0.25, 0.5)


def rain(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """Rain: a wash of far drops, and near ones that each ring for a few thousandths of a second."""
    count = _samples(seconds)
    wash = _band(generator.standard_normal(count), 900, 12000)
    wash += 0.6 * _band(generator.standard_normal(count), 200, 2500)
    out = 0.6 * wash / np.std(wash)
    for start in generator.uniform(0, seconds - 0.05, int(seconds * 350)):
        pitch = generator.uniform(1200, 9000)
        level = 0.8 * generator.pareto(2.5)
        time = np.arange(_samples(generator.uniform(0.004, 0.02))) / RATE
        noise = generator.standard_normal(len(time))
        drop = (np.sin(2 * np.pi * pitch * time) + 0.7 * noise) * np.exp(
            -time / generator.uniform(0.001, 0.004)
        )
        _add(out, min(level, 6.0) * drop, start)
    return _fade(np.tanh(out / 6), 0.8, 0.8)


def dog(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """A small dog's barks: a hoarse voice that leaps up and falls, driven hard, through three formants."""
    out = np.zeros(_samples(seconds))
    for start in (0.1, 0.48, 1.15, 1.5):
        length = 0.16 * generator.uniform(0.9, 1.1)
        time = np.arange(_samples(length)) / RATE
        position = time / length
        pitch = (605 + 520 * np.sin(np.pi * position**0.65)) * generator.uniform(0.95, 1.05)
        pitch = pitch * (1 + 0.25 * _band(generator.standard_normal(len(time)), 20, 200))  # a hoarse throat
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        source = sum(np.sin(k * phase + generator.uniform(0, 6)) / k**0.78 for k in range(1, 24))
        source = source + 1.8 * generator.standard_normal(len(time)) * np.exp(-position)
        bark = _resonances(source, [(936, 312), (1800, 420), (3240, 720)]) + 0.3 * source
        shape = np.minimum(position / 0.19, 1) * np.maximum(1 - position, 0) ** 1.1
        _add(out, np.tanh(4 * bark / np.max(np.abs(bark))) * shape, start)
    return _room(out, 0.35, 0.45, generator)


def engine(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """A four-cylinder engine that idles, is revved once and idles again: uneven pulses through a pipe."""
    count = _samples(seconds)
    time = np.arange(count) / RATE
    middle, wide = 0.55 * seconds, 0.19 * seconds
    revs = 12.1 + 18.7 * np.exp(-(((time - middle) / wide) ** 2))  # turns of the crank a second
    firing = np.cumsum(2 * revs) / RATE  # two cylinders fire in each turn
    starts = np.searchsorted(firing, np.arange(1, int(firing[-1])))
    strengths = (1.0, 0.77, 0.92, 0.7)
    length = _samples(0.028)
    pulses = np.zeros(count)
    for number, start in enumerate(starts):
        at = start + int(generator.normal(0, 4.5))
        burst = np.exp(-np.arange(length) / (0.0055 * RATE)) * (1 + generator.standard_normal(length))
        stop = min(at + length, count)
        pulses[at:stop] += strengths[number % 4] * generator.uniform(0.85, 1.15) * burst[: stop - at]
    body = _resonances(pulses, [(81, 41), (170, 65), (340, 130), (810, 325), (1620, 730), (3240, 1220)])
    rattle = _band(generator.standard_normal(count), 800, 6000) * (0.3 + np.abs(_band(pulses, 10, 120)) * 4)
    hum = _band(generator.standard_normal(count), 60, 600)
    mixed = body / np.std(body) + 0.66 * rattle / np.std(rattle) + 0.2 * hum / np.std(hum)
    return _fade(_room(np.tanh(0.56 * mixed), 0.2, 0.2, generator), 0.3, 0.3)


def make_scene() -> np.ndarray:
    """The scene: (26 s of samples,) float32 at 44.1 kHz."""
    scene = np.zeros(_samples(DURATION))
    for number, (start, end, label, level) in enumerate(SHEET):
        sound = MAKERS[label](end - start, np.random.default_rng((SEED, number)))
        _add(scene, level * sound / np.max(np.abs(sound)), start)
    scene += 0.0008 * _band(
        np.random.default_rng((SEED, 99)).standard_normal(len(scene)), 50, 8000
    )  # a quiet place
    return scene.astype(np.float32)


def write_sheet(path: Path) -> None:
    """Write what sounds when: start, end (seconds), label."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["start", "end", "label"])
        table.writerows([start, end, label] for start, end, label, _ in SHEET)


def main() -> None:
    """Write both files into the folder named on the command line, or beside this script."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    write_sheet(folder / "scene.csv")
    with soundfile.SoundFile(
        folder / "scene.ogg", "w", RATE, 1, format="OGG", subtype="VORBIS", compression_level=0.4
    ) as file:
        scene = make_scene()
        for start in range(0, len(scene), RATE):  # libsndfile overflows its stack on one long Vorbis write
            file.write(scene[start : start + RATE])
    print(folder / "scene.ogg", folder / "scene.csv")


def _samples(seconds: float) -> int:
    return round(seconds * RATE)


def _add(out: np.ndarray, sound: np.ndarray, start_seconds: float) -> None:
    start = _samples(start_seconds)
    stop = min(start + len(sound), len(out))
    out[start:stop] += sound[: stop - start]


def _fade(sound: np.ndarray, rise: float, fall: float) -> np.ndarray:
    time = np.arange(len(sound)) / RATE
    return sound * np.minimum(1, time / rise) * np.minimum(1, (len(sound) / RATE - time) / fall)


def _band(noise: np.ndarray, low: float, high: float) -> np.ndarray:
    return sosfilt(butter(2, (low, high), "bandpass", fs=RATE, output="sos"), noise)


def _resonances(source: np.ndarray, peaks: list[tuple[float, float]]) -> np.ndarray:
    """The sum of resonators, each (centre, width) in Hz."""
    out = np.zeros(len(source))
    for centre, width in peaks:
        radius = np.exp(-np.pi * width / RATE)
        angle = 2 * np.pi * centre / RATE
        out += lfilter([1 - radius, 0, radius - 1], [1, -2 * radius * np.cos(angle), radius**2], source)
    return out


def _room(sound: np.ndarray, decay: float, wet: float, generator: np.random.Generator) -> np.ndarray:
    """The sound and its echo: noise, darker than the sound, that falls to -60 dB in `decay` seconds."""
    time = np.arange(_samples(decay)) / RATE
    answer = _band(generator.standard_normal(len(time)), 150, 5000) * 10 ** (-3 * time / decay)
    echo = fftconvolve(sound, answer)[: len(sound)]
    return sound + wet * echo * np.std(sound) / np.std(echo)


MAKERS = {
    "clock_tick": clock_tick,
    "church_bells": church_bells,
    "siren": siren,
    "rain": rain,
    "dog": dog,
    "engine": engine,
}

if __name__ == "__main__":
    main()
