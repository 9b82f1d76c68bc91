"""Speech for make_unknown.py: by espeak-ng where it is installed, and a computed twin that needs nothing.

espeak-ng (https://github.com/espeak-ng/espeak-ng) says sentences that were written for this, in several
voices and at several speeds. The twin says nothing: syllables of a buzz or of noise, through resonances where
vowels have theirs (Peterson and Barney, "Control methods used in a study of the vowels", JASA 1952), at the
pace, with the pitch and the pauses of speech.
"""

import io
import shutil
import subprocess
from math import gcd

import numpy as np
import soundfile
from scipy.signal import butter, fftconvolve, lfilter, resample_poly, sosfilt

# Of one half, neither a voice nor a sentence is heard in the other.
VOICES = {
    "choose": ("en-us+m1", "en-us+f1", "en-gb+m3", "en-gb+f2", "en-us+m7", "en-gb-x-rp+f4"),
    "judge": (
        "en-gb-scotland+m2",
        "en-029+f3",
        "en-gb-x-gbclan+m4",
        "en-gb-x-gbcwmd+f5",
        "en-us+m5",
        "en-gb+m8",
    ),
}
SPEEDS = (120, 145, 170, 200, 230)  # words a minute
SENTENCES = {
    "choose": (
        "The train to the coast leaves at a quarter past nine, from platform four.",
        "I have read your letter twice, and I still don't know what to answer.",
        "Could you hand me the other spoon, please? This one is too small.",
        "Most of the houses on this street were built before the war.",
        "She said that she would call when the meeting was over.",
        "Forty-seven, forty-eight, forty-nine, fifty.",
        "If the weather holds, we can walk around the lake on Sunday.",
        "What a beautiful piece of work that is!",
        "The second chapter explains how the measurements were made.",
        "My brother never learned to swim, although we grew up by the sea.",
        "Turn left at the bakery, then go straight on until you see the church.",
        "No, I don't think so. Let us ask somebody who knows.",
        "Nobody had told him that the office would be closed.",
        "A good sentence has a beginning, and knows where it ends.",
        "They grew tomatoes, beans and a few rows of potatoes.",
        "Prices rose by three percent in the first half of the year.",
        "It was so cold in the kitchen that we wore our coats.",
        "Thank you for waiting. How may I help you today?",
        "The old map shows a bridge where there is none.",
        "Why does the colour of the sky change in the evening?",
        "He wrote the numbers down on the back of an envelope.",
        "Please sign here, here, and once more on the last page.",
    ),
    "judge": (
        "Yesterday's minutes were sent to everyone on the list.",
        "Do you remember the name of that small village in the hills?",
        "Put the flour into a bowl, and add the butter a little at a time.",
        "The museum is open from ten until six, except on Mondays.",
        "I would rather stay at home and finish this book.",
        "Whoever borrowed the ladder should bring it back by Friday.",
        "Eleven, nine, seven, five, three, one.",
        "Her answer was short, polite, and of no use at all.",
        "We were the first to arrive and the last to leave.",
        "The committee will discuss both proposals in the autumn.",
        "Is this seat taken? No, please sit down.",
        "There is a simple reason why the experiment failed.",
        "His grandfather repaired clocks and played chess by mail.",
        "A path leads from the farm to the edge of the forest.",
        "You should have seen their faces when the lights came on!",
        "The instructions are printed on the inside of the lid.",
        "In those days a journey to the capital took four days.",
        "Wait a moment. I have to find my glasses first.",
        "All the windows on the north side need new paint.",
        "How many of these questions can you answer without help?",
        "The bread was still warm when she cut it.",
        "Our next guest has written a history of maps.",
    ),
}
FORMANTS = (  # Hz of the first three resonances: the vowels of heed, hid, head, had, hod, hawed, hood, who'd
    (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410),
    (730, 1090, 2440), (570, 840, 2410), (440, 1020, 2240), (300, 870, 2240),
)  # fmt: skip
WIDTHS = (60.0, 90.0, 150.0)  # Hz of the resonances


def has_espeak() -> bool:
    """Whether the program espeak-ng is there."""
    return shutil.which("espeak-ng") is not None


def say(half: str, number: int, seconds: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Sentences one after the other by one of the half's voices, (samples,) float64; cut where time is up.

    Raises:
        RuntimeError: espeak-ng failed.
    """
    voice = VOICES[half][number % len(VOICES[half])]
    speed = int(rng.choice(SPEEDS))
    chosen = rng.permutation(len(SENTENCES[half]))[: 3 + round(seconds / 2)]
    text = " ".join(SENTENCES[half][k] for k in chosen)
    options = ["-v", voice, "-s", str(speed), "-p", str(int(rng.integers(35, 66)))]
    done = subprocess.run(["espeak-ng", *options, "--stdout"], input=text.encode(), capture_output=True)
    if done.returncode or not done.stdout:
        raise RuntimeError(f"espeak-ng -v {voice}: {done.stderr.decode(errors='replace').strip()}")
    # On a pipe it cannot know the length that the header should hold: the samples are what follows it.
    given = int.from_bytes(done.stdout[24:28], "little")
    sound, _ = soundfile.read(
        io.BytesIO(done.stdout[44:]), samplerate=given, channels=1, format="RAW", subtype="PCM_16"
    )
    shared = gcd(rate, given)
    return _fit(resample_poly(sound, rate // shared, given // shared), seconds, rate)


def murmur(seconds: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    """The twin of speech, (samples,) float64: three to six syllables a second, and pauses of breath."""
    out, at = np.zeros(round(seconds * rate)), 0.0
    voice, pace, size = rng.uniform(90, 230), rng.uniform(3.0, 6.0), rng.uniform(0.95, 1.2)
    while at < seconds:
        syllables = int(rng.integers(4, 14))
        for number in range(syllables):
            length = rng.uniform(0.7, 1.3) / pace
            # The pitch of a phrase falls.
            pitch = voice * (1.15 - 0.3 * number / syllables) * rng.uniform(0.95, 1.05)
            piece = _syllable(length, pitch, size, rng, rate)
            room = out[round(at * rate) :][: len(piece)]
            room += piece[: len(room)]
            at += length
        at += rng.uniform(0.2, 0.9)
    return out


def _syllable(length: float, pitch: float, size: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    """A consonant, mostly, and a vowel."""
    samples = round(length * rate)
    time = np.arange(samples) / rate
    phase = np.cumsum(pitch * (1 + 0.02 * np.sin(2 * np.pi * 4 * time))) / rate
    pulses = (np.diff(np.floor(phase), prepend=0) > 0).astype(float)
    sound = lfilter([1.0], [1.0, -1.8, 0.81], pulses)  # of the glottis: 12 dB an octave down
    for centre, width in zip(FORMANTS[rng.integers(len(FORMANTS))], WIDTHS, strict=True):
        radius = np.exp(-np.pi * width / rate)
        angle = 2 * np.pi * min(centre * size, 0.45 * rate) / rate
        sound = lfilter([1 - radius], [1.0, -2 * radius * np.cos(angle), radius**2], sound)
    sound = np.diff(sound, prepend=0.0)  # of the lips: 6 dB an octave up
    sound *= np.sin(np.pi * (np.arange(samples) + 0.5) / samples) ** 0.6 / (np.abs(sound).max() + 1e-12)
    if rng.random() < 0.7:
        hiss = round(min(0.09, length / 3) * rate)
        filtered = sosfilt(
            butter(2, min(rng.uniform(1500, 4500), 0.4 * rate), "highpass", fs=rate, output="sos"),
            rng.standard_normal(hiss),
        )
        sound[:hiss] *= np.linspace(0, 1, hiss)
        sound[:hiss] += 0.05 * filtered * np.hanning(hiss)
    return sound


def in_a_room(sound: np.ndarray, rng: np.random.Generator, rate: int) -> np.ndarray:
    """The same at some distance: a tail of noise after it dies away by 60 dB in 0.3 to 0.9 s."""
    decay = rng.uniform(0.3, 0.9)
    time = np.arange(round(decay * rate)) / rate
    tail = rng.standard_normal(len(time)) * np.exp(-6.9 * time / decay)
    tail *= rng.uniform(0.5, 1.5) / np.sqrt(
        (tail**2).sum()
    )  # power of the reflections beside that of the direct sound
    tail[0] = 1.0
    return fftconvolve(sound, tail)[: len(sound)]


def _fit(sound: np.ndarray, seconds: float, rate: int) -> np.ndarray:
    """Cut, or followed by silence."""
    out = np.zeros(round(seconds * rate))
    out[: len(sound)] = sound[: len(out)]
    return out
