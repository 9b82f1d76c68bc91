"""Changes of sound that a model may meet: level, noise, a room, a microphone, MP3, a narrow band, an excerpt.

Each is a plain function from one sound to another of the same length (but for excerpts), full scale at 1,
with nothing in it but its arguments: what is drawn follows from a seed.

Shape letters: N samples of a sound, M of a room's response.
"""

import io
import math
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import soxr
from scipy.signal import butter, fftconvolve, sosfilt

from auricle.audio import read
from auricle.noise import add_noise, coloured_noise

BIT_RATE = 32_000  # of MP3, bits a second
SOUND = 343.0  # metres a second
LOWEST = 100.0  # Hz: images are pulses of one sign, which would add up to a boom below
PEAKS = 4  # of a microphone's curve
DECAY = 60.0  # dB, of which RT60 is the time
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz: no other has a frame
Response = Callable[..., np.ndarray]  # RT60, Hz, seed=... -> (M,)
Change = Callable[[np.ndarray, int, int], np.ndarray]  # sound (N,), Hz, seed -> (N,) float32


def gained(sound_N: np.ndarray, decibels: float, *, clip: bool = False) -> np.ndarray:
    """(N,) float32: louder or softer; with `clip` what is beyond full scale is cut off there.

    >>> gained(np.array([0.1, -0.5], np.float32), 20.0, clip=True).tolist()
    [1.0, -1.0]
    """
    out_N = np.asarray(sound_N, np.float32) * np.float32(10 ** (decibels / 20))
    return np.clip(out_N, -1, 1) if clip else out_N


def noisy(sound_N: np.ndarray, rate: int, *, snr: float, colour: str, seed: int) -> np.ndarray:
    """(N,) float32: with noise `snr` dB below it; levels are of active frames, as `auricle.noise` has them.

    Args:
        sound_N: full scale at 1.
        rate: Hz.
        snr: dB, positive where the sound is louder.
        colour: "white", "pink" or "brown".
        seed: the same seed gives the same noise, at any ratio.

    Raises:
        ValueError: an unknown colour, or no sample.

    >>> tone = np.sin(np.arange(16000.0)).astype(np.float32)
    >>> rest = noisy(tone, 16000, snr=10.0, colour="white", seed=1) - tone
    >>> round(float(20 * np.log10(tone.std() / rest.std())), 1)
    10.0
    """
    sound_N = np.array(sound_N, np.float32)
    noise_BN = coloured_noise([colour], [seed], len(sound_N), rate=rate)
    wave_BN = noise_BN.new_tensor(sound_N[None])
    return add_noise(wave_BN, noise_BN, [snr], rate=rate)[0].numpy()


def room_response(rt60: float, rate: int, *, seed: int) -> np.ndarray:
    """(M,) float64: a room's response, with energy 1: the direct sound, and as much in a decaying tail.

    The tail is white Gaussian noise under an exponential that falls by 60 dB in `rt60`, at all frequencies
    alike; real rooms have single early reflections and swallow high frequencies first.

    Args:
        rt60: seconds.
        rate: Hz.
        seed: of the noise: another seed, another room.

    Raises:
        ValueError: `rt60` is not positive.

    >>> response = room_response(0.3, 16000, seed=1)
    >>> len(response), [round(float(part), 6) for part in (response[0] ** 2, (response**2).sum())]
    (4801, [0.5, 1.0])

    Source: Polack's model: Jot, Cerveau and Warusfel, AES Convention 103 (1997), section 1.
    """
    if not rt60 > 0:
        raise ValueError(f"rt60 is {rt60}: expected seconds above 0")
    times_M = np.arange(1, round(rt60 * rate) + 1) / rate
    tail_M = np.random.default_rng(seed).standard_normal(len(times_M))
    tail_M *= 10 ** (-DECAY / 20 * times_M / rt60)
    tail_M /= np.sqrt((tail_M**2).sum())
    return np.concatenate([[1.0], tail_M]) / np.sqrt(2)


def reverberant(
    sound_N: np.ndarray, rate: int, *, rt60: float, seed: int, response: Response = room_response
) -> np.ndarray:
    """(N,) float32: the sound in a room, cut where it ended.

    Args:
        sound_N: full scale at 1.
        rate: Hz.
        rt60: seconds.
        seed: another seed, another room.
        response: `room_response` or `image_response`.

    >>> click = np.zeros(16000, np.float32)
    >>> click[0] = 1.0
    >>> round(float(reverberant(click, 16000, rt60=0.3, seed=1)[0]), 4)
    0.7071
    """
    response_M = response(rt60, rate, seed=seed)
    return fftconvolve(np.asarray(sound_N, np.float64), response_M)[: len(sound_N)].astype(np.float32)


def image_response(rt60: float, rate: int, *, seed: int) -> np.ndarray:
    """(M,) float64: a box-shaped room's response from its mirror images, with energy 1, direct sound first.

    Size, source and microphone follow from the seed: 3 to 8 m by 3 to 6 m by 2.4 to 3.5 m, half a metre and
    more from each wall. Walls reflect all frequencies alike, as much as Sabine's formula has it for `rt60`;
    below 100 Hz nothing is left. Unlike those of `room_response`, early reflections are single ones, and
    rooms differ in how loud the direct sound is.

    Args:
        rt60: seconds.
        rate: Hz.
        seed: another seed, another room.

    Raises:
        ValueError: `rt60` is not positive, or so short that walls would have to swallow more than all.

    >>> response = image_response(0.3, 16000, seed=1)
    >>> bool(response[0] > 0), round(float((response**2).sum()), 6)
    (True, 1.0)

    Source: Allen and Berkley, JASA 65(4), 1979, equations 9 and 10, and the high-pass after them.
    """
    if not rt60 > 0:
        raise ValueError(f"rt60 is {rt60}: expected seconds above 0")
    rng = np.random.default_rng(seed)
    size = rng.uniform((3.0, 3.0, 2.4), (8.0, 6.0, 3.5))
    source, microphone = (rng.uniform(0.5, size - 0.5) for _ in range(2))
    walls = 2 * (size[0] * size[1] + size[1] * size[2] + size[2] * size[0])
    swallowed = 0.161 * size.prod() / (walls * rt60)
    if swallowed >= 1:
        raise ValueError(f"rt60 is {rt60}: a room of {size.prod():.0f} cubic metres cannot be as dry")
    farthest = rt60 * SOUND
    steps, bounces = [], []  # along each axis: squared distances of images, and how often a wall is met
    for length, near, far in zip(size, source, microphone, strict=True):
        count = math.ceil(farthest / (2 * length)) + 1
        number = np.arange(-count, count + 1)
        steps.append(np.concatenate([(2 * number * length + near - far) ** 2,
                                     (2 * number * length - near - far) ** 2]))  # fmt: skip
        bounces.append(np.concatenate([np.abs(2 * number), np.abs(number - 1) + np.abs(number)]))
    flat = np.add.outer(steps[0], steps[1]).ravel(), np.add.outer(bounces[0], bounces[1]).ravel()
    near_by = flat[0] < farthest**2
    distance = np.sqrt(np.add.outer(flat[0][near_by], steps[2]))
    met = np.add.outer(flat[1][near_by], bounces[2])
    direct = np.sqrt(((source - microphone) ** 2).sum())
    place = np.rint((distance - direct) * rate / SOUND).astype(np.int64)
    heard = place < round(rt60 * rate)
    weight = np.sqrt(1 - swallowed) ** met[heard] / distance[heard]
    response_M = sosfilt(
        butter(2, LOWEST, "highpass", fs=rate, output="sos"), np.bincount(place[heard], weight)
    )
    return response_M / np.sqrt((response_M**2).sum())


def through_mp3(sound_N: np.ndarray, rate: int, *, bit_rate: int = BIT_RATE) -> np.ndarray:
    """(N,) float32: written as MP3 (LAME, mono) and read back, in memory, in step with the original.

    Args:
        sound_N: full scale at 1; beyond it the encoder clips.
        rate: Hz, one that MP3 has.
        bit_rate: bits a second.

    Raises:
        ValueError: MP3 has no such rate.

    >>> tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32)
    >>> back = through_mp3(tone, 16000)
    >>> back.shape, bool(np.corrcoef(tone, back)[0, 1] > 0.99)
    ((16000,), True)
    """
    if rate not in MP3_RATES:
        raise ValueError(f"rate is {rate}: MP3 has {', '.join(map(str, MP3_RATES))} Hz; resample first")
    sound_N = np.asarray(sound_N, np.float32)
    if not len(sound_N):
        return sound_N
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="mono", bit_rate=bit_rate)
        frame = av.AudioFrame.from_ndarray(sound_N[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for given in (frame, None):
            container.mux(stream.encode(given))
    file.seek(0)
    back_N = read(file, rate)
    # Where the last frame has little room left, its padding is not taken off: up to a frame more comes back.
    assert 0 <= len(back_N) - len(sound_N) < 1152, (len(back_N), len(sound_N))
    return back_N[: len(sound_N)]


def band_limited(sound_N: np.ndarray, rate: int, *, limit: float) -> np.ndarray:
    """(N,) float32: nothing above `limit` Hz: sampled at twice that, as it would arrive, and back (soxr, HQ).

    Raises:
        ValueError: there is nothing above the limit at this rate.

    >>> low, high = (np.sin(2 * np.pi * hertz * np.arange(16000) / 16000) for hertz in (1000, 6000))
    >>> kept = band_limited(low + high, 16000, limit=4000)
    >>> bool(np.abs(kept - low)[1000:-1000].max() < 0.01)
    True
    """
    if not 0 < 2 * limit < rate:
        raise ValueError(f"limit is {limit:g} Hz: expected more than 0 and less than {rate / 2:g}")
    there = soxr.resample(np.asarray(sound_N, np.float32), rate, 2 * limit, quality="HQ")
    back_N = soxr.resample(there, 2 * limit, rate, quality="HQ")[: len(sound_N)]
    return np.pad(back_N, (0, len(sound_N) - len(back_N)))


def tilted(sound_N: np.ndarray, rate: int, *, decibels: float) -> np.ndarray:
    """(N,) float32: `decibels` more for each octave up, at the RMS that it had; level below 50 Hz.

    The sound goes round: what a curve rings beyond one end comes in at the other.

    >>> low, high = (np.sin(2 * np.pi * hertz * np.arange(16000) / 16000) for hertz in (500, 2000))
    >>> spectrum = np.abs(np.fft.rfft(tilted(low + high, 16000, decibels=3.0)))
    >>> round(float(20 * np.log10(spectrum[2000] / spectrum[500])), 2)
    6.0
    """
    frequency_F = np.fft.rfftfreq(len(sound_N), 1 / rate)
    gain_F = 10 ** (decibels / 20 * np.log2(np.maximum(frequency_F, 50.0) / 1000))
    return _levelled(np.fft.irfft(np.fft.rfft(sound_N) * gain_F, len(sound_N)), sound_N)


def through_microphone(sound_N: np.ndarray, rate: int, *, decibels: float, seed: int) -> np.ndarray:
    """(N,) float32: four peaks or dips of up to so many dB, at the RMS that it had.

    They lie anywhere between 80 Hz and 0.45 times the rate, evenly in the logarithm, with a Q from 0.5 to 3.

    Source: the peaking filter of Bristow-Johnson, "Cookbook formulae for audio EQ biquad filter
    coefficients".

    >>> through_microphone(np.ones(8, np.float32), 16000, decibels=0.0, seed=1).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    rng = np.random.default_rng(seed)
    centres = np.exp(rng.uniform(math.log(80), math.log(0.45 * rate), PEAKS))
    peaks = rng.uniform(-decibels, decibels, PEAKS)
    sharpness = np.exp(rng.uniform(math.log(0.5), math.log(3), PEAKS))
    sections = [peaking(*one, rate) for one in zip(centres, peaks, sharpness, strict=True)]
    return _levelled(sosfilt(np.array(sections), np.asarray(sound_N, np.float64)), sound_N)


def peaking(centre: float, decibels: float, sharpness: float, rate: int) -> list[float]:
    """A filter that raises what is near `centre` Hz by so many dB: b0, b1, b2, 1, a1, a2; `sharpness` is Q.

    >>> peaking(1000.0, 0.0, 1.0, 16000)[:3] == peaking(1000.0, 0.0, 1.0, 16000)[3:]
    True
    """
    angle, root = 2 * math.pi * centre / rate, 10 ** (decibels / 40)
    width, turn = math.sin(angle) / (2 * sharpness), -2 * math.cos(angle)
    wide, narrow = width * root, width / root
    return [one / (1 + narrow) for one in (1 + wide, turn, 1 - wide, 1 + narrow, turn, 1 - narrow)]


def _levelled(changed_N: np.ndarray, sound_N: np.ndarray) -> np.ndarray:
    """The same at the RMS of another."""
    there, wanted = (
        math.sqrt(float(np.mean(np.square(one, dtype=np.float64)))) for one in (changed_N, sound_N)
    )
    return (changed_N * (wanted / max(there, 1e-12))).astype(np.float32)


def loudest(sound_N: np.ndarray, samples: int) -> np.ndarray:
    """(samples,) or, of a shorter sound, all of it: the stretch with the most energy, the first of several.

    >>> loudest(np.array([0.0, 0.1, 0.9, 0.2, 0.0]), 2).tolist()
    [0.9, 0.2]
    """
    if len(sound_N) <= samples:
        return sound_N
    sums = np.concatenate([[0.0], np.cumsum(np.square(sound_N, dtype=np.float64))])
    start = int((sums[samples:] - sums[:-samples]).argmax())
    return sound_N[start : start + samples]


def changes(rate: int) -> dict[str, Change]:
    """Name -> change, all that mean something at this rate: a band above it cannot be cut off.

    >>> list(changes(16000))[:4]
    ['gain -20 dB', 'gain -10 dB', 'gain +10 dB', 'gain +10 dB, clipped at full scale']
    >>> set(changes(32000)) - set(changes(16000))
    {'nothing above 8 kHz'}
    """
    found: dict[str, Change] = {f"gain {decibels:+d} dB": _gain(decibels) for decibels in (-20, -10, 10)}
    found["gain +10 dB, clipped at full scale"] = _gain(10, clip=True)
    for colour in ("white", "pink"):
        found |= {f"{colour} noise, SNR {snr} dB": _noise(colour, snr) for snr in (20, 10, 0)}
    found |= {f"room, RT60 {rt60} s": _room(rt60) for rt60 in (0.3, 0.8, 1.5)}
    found |= {f"box-shaped room, RT60 {rt60} s": _room(rt60, image_response) for rt60 in (0.3, 0.6)}
    found |= {f"tilted {decibels:+d} dB an octave": _tilt(decibels) for decibels in (-3, 3)}
    found["microphone, peaks and dips of up to 12 dB"] = _microphone(12)
    found["MP3 at 32 kbit/s"] = lambda sound_N, rate, seed: through_mp3(sound_N, rate)
    found |= {f"nothing above {k} kHz": _band(1000 * k) for k in (8, 4) if 2000 * k < rate}
    return found


def _gain(decibels: float, clip: bool = False) -> Change:
    return lambda sound_N, rate, seed: gained(sound_N, decibels, clip=clip)


def _noise(colour: str, snr: float) -> Change:
    return lambda sound_N, rate, seed: noisy(sound_N, rate, snr=snr, colour=colour, seed=seed)


def _room(rt60: float, response: Response = room_response) -> Change:
    return lambda sound_N, rate, seed: reverberant(sound_N, rate, rt60=rt60, seed=seed, response=response)


def _tilt(decibels: float) -> Change:
    return lambda sound_N, rate, seed: tilted(sound_N, rate, decibels=decibels)


def _microphone(decibels: float) -> Change:
    return lambda sound_N, rate, seed: through_microphone(sound_N, rate, decibels=decibels, seed=seed)


def _band(limit: float) -> Change:
    return lambda sound_N, rate, seed: band_limited(sound_N, rate, limit=limit)
