"""Background noise at a stated ratio: white, pink and brown, drawn from seeds, and recordings of a pack.

Levels are RMS over active frames: those of 10 ms that lie within 35 dB of their clip's loudest, and above
-60 dB of full scale. (Many clips end in silence; over the whole of them the same ratio would be another one.)
Nothing is clipped or scaled down: a sum above full scale stays so, as after a gain. A clip without an active
frame counts as one at -60 dB, so noise comes to it softly, and never without bound; a background without an
active frame adds nothing.

Shape letters: B clips, N samples, K frames.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

COLOURS = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # amplitude falls with frequency to this power
LOWEST = 20.0  # Hz: flat below, so that the level is not spent on what nobody hears
FRAMES_PER_SECOND = 100
ACTIVE, FLOOR = 10 ** (-35 / 20), 10 ** (-60 / 20)
SHORTEST, LOOP_FADE = 0.5, 0.05  # seconds: of a recording; of it that two repetitions share
TRAINING = frozenset({"", "train", "training"})
HELD_OUT = frozenset({"validation", "validate", "valid", "val", "test", "testing", "evaluation", "eval"})


def coloured_noise(
    colours: Sequence[str],
    seeds: Sequence[int],
    samples: int,
    *,
    rate: int,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Gaussian noise with RMS 1, each clip of its own colour and from its own seed.

    White is flat over frequency; pink falls by 3 dB an octave and brown by 6, above 20 Hz.

    Args:
        colours: B names of colours.
        seeds: B numbers from 0 on; the same number gives the same noise, on one kind of device.
        samples: N, at least 1.
        rate: Hz.
        device: where it is made.

    Returns:
        (B, N) float32. A clip comes out the same alone and in a batch.

    Raises:
        ValueError: an unknown colour, or no sample.

    >>> noise = coloured_noise(["pink", "brown"], [7, 8], 16000, rate=16000)
    >>> [round(level, 5) for level in noise.square().mean(1).sqrt().tolist()]
    [1.0, 1.0]
    """
    if unknown := [colour for colour in colours if colour not in COLOURS]:
        raise ValueError(f"unknown noise {unknown[0]!r}; known: {', '.join(COLOURS)}")
    if samples < 1:
        raise ValueError(f"expected at least one sample of noise, got {samples}")
    device = torch.device(device)
    size = next_fast_len(samples, real=True)
    bins = size // 2 + 1
    frequency = torch.arange(bins, dtype=torch.float32, device=device)
    frequency.clamp_(min=max(1.0, LOWEST * size / rate))
    shapes = {colour: frequency.pow(-COLOURS[colour]) for colour in set(colours)}
    for shape in shapes.values():
        shape[0] = 0.0
    noise_BN = torch.empty(len(colours), samples, device=device)
    generator = torch.Generator(device)
    for row, colour, seed in zip(noise_BN, colours, seeds, strict=True):
        drawn = torch.randn(bins, 2, generator=generator.manual_seed(seed), device=device)
        spectrum = torch.view_as_complex(drawn.mul_(shapes[colour][:, None]))
        row.copy_(torch.fft.irfft(spectrum, n=size)[:samples])
    return noise_BN.div_(_rms(noise_BN).clamp_(min=1e-12)[:, None])


def _rms(waveform_BN: Tensor) -> Tensor:
    """(B,) float32; summed in double, so that it does not depend on how a sum is cut among threads."""
    return waveform_BN.square().mean(1, dtype=torch.float64).sqrt().float()


def active_level(waveform_BN: Tensor, *, rate: int) -> Tensor:
    """(B,) RMS over the active frames of each clip; 0 where there is none.

    Args:
        waveform_BN: full scale at 1. Samples after the last full frame of 10 ms are left out.
        rate: Hz.

    >>> half_silent = torch.cat([torch.full((1, 8000), 0.5), torch.zeros(1, 8000)], dim=1)
    >>> active_level(half_silent, rate=16000)
    tensor([0.5000])
    """
    hop = max(1, min(rate // FRAMES_PER_SECOND, waveform_BN.shape[1]))
    frames = waveform_BN.shape[1] // hop
    power_BK = waveform_BN[:, : frames * hop].float().reshape(len(waveform_BN), frames, hop).square()
    power_BK = power_BK.mean(2, dtype=torch.float64)
    active_BK = (power_BK >= power_BK.amax(1, keepdim=True) * ACTIVE**2) & (power_BK >= FLOOR**2)
    total_B = (power_BK * active_BK).sum(1)
    return (total_B / active_BK.sum(1).clamp(min=1)).sqrt().float()


def add_noise(waveform_BN: Tensor, noise_BN: Tensor, snr: Sequence[float] | Tensor, *, rate: int) -> Tensor:
    """Each clip with a background, `snr` dB below it; of what levels are taken stands in the module's head.

    Args:
        waveform_BN: full scale at 1.
        noise_BN: the backgrounds, of any level.
        snr: (B,) dB, positive where the clip is louder; infinity leaves a clip as it is.
        rate: Hz.

    Raises:
        ValueError: shapes that differ, or a ratio that is none.

    >>> tone = torch.sin(torch.arange(16000.0))[None]
    >>> noisy = add_noise(tone, coloured_noise(["white"], [1], 16000, rate=16000), [20.0], rate=16000)
    >>> round(float(20 * torch.log10(tone.std() / (noisy - tone).std())), 1)
    20.0
    """
    ratio_B = torch.as_tensor(snr, dtype=torch.float64).cpu()
    if waveform_BN.shape != noise_BN.shape or ratio_B.shape != waveform_BN.shape[:1]:
        raise ValueError(
            "expected clips and noise (B, N) and ratios (B,), got "
            f"{tuple(waveform_BN.shape)}, {tuple(noise_BN.shape)} and {tuple(ratio_B.shape)}"
        )
    if bool((ratio_B.isnan() | (ratio_B == -torch.inf)).any()):
        raise ValueError(f"expected ratios in dB, got {ratio_B.tolist()}")
    below_B = (10 ** (-ratio_B / 20)).float().to(waveform_BN.device)
    level_B = active_level(noise_BN, rate=rate)
    gain_B = active_level(waveform_BN, rate=rate).clamp(min=FLOOR) * below_B / level_B.clamp(min=FLOOR)
    return waveform_BN + torch.where(level_B > 0, gain_B, 0.0)[:, None] * noise_BN


def noise_clips(
    pack: Any, splits: Iterable[str] | None = None, *, apart_from: Iterable[str] = ()
) -> np.ndarray:
    """(M,) positions of a pack's clips that may be heard as background in training.

    Args:
        pack: a `Pack` of recordings.
        splits: those to take; by default those without a name or named "train".
        apart_from: names of recordings (`Pack.recordings`) that a model is judged by: their clips are left
            out, in whatever pack they are.

    Raises:
        ValueError: a split for validation or test is asked for; splits must be named, or there is none of
            that name; no clip is left.

    >>> noise_clips(Pack("out/street"), ["fold1", "fold2"])  # doctest: +SKIP
    array([0, 1, 2, ...])
    """
    known = sorted(set(pack.splits.tolist()))
    if splits is None:
        unclear = [name for name in known if name.lower() not in TRAINING | HELD_OUT]
        if unclear:
            raise ValueError(
                f"{pack.path}: name the splits that noise may come from, none of them for validation or "
                f"test; there are: {', '.join(map(repr, known))}"
            )
        splits = [name for name in known if name.lower() in TRAINING]
    wanted = list(splits)
    if held := [name for name in wanted if name.lower() in HELD_OUT]:
        raise ValueError(f"{pack.path}: noise may not come from split {held[0]!r}: models are judged by it")
    chosen = pack.select(wanted) if wanted else np.array([], dtype=np.int64)
    judged = set(apart_from)
    if judged:
        names = pack.recordings[chosen].tolist()
        chosen = chosen[np.fromiter((name not in judged for name in names), bool, len(names))]
    if not len(chosen):
        raise ValueError(
            f"{pack.path}: no clip is left for noise; there are splits {', '.join(map(repr, known))}"
        )
    return chosen


class Recordings:
    """Recordings of a pack as backgrounds: drawn recording by recording, repeated where they are too short.

    Silence at a clip's end is left out, and clips that are audible for less than half a second are.

    Args:
        pack: a `Pack`.
        clips: positions of the clips to draw from, as `noise_clips` gives them.
        rate: Hz of what the noise is added to.

    Raises:
        ValueError: the pack has another rate, or no clip is long enough.

    >>> street = Recordings(pack, noise_clips(pack), rate=44100)  # doctest: +SKIP
    """

    def __init__(self, pack: Any, clips: np.ndarray, *, rate: int):
        if pack.rate != rate:
            raise ValueError(
                f"{pack.path}: its rate is {pack.rate} Hz, and noise is wanted at {rate} Hz; pack it again "
                f"with --rate {rate}"
            )
        clips = np.asarray(clips, np.int64)
        self._pack, self._rate = pack, rate
        self._clips = clips[pack.audible[clips] >= SHORTEST * rate]
        if not len(self._clips):
            raise ValueError(f"{pack.path}: none of {len(clips)} clips is audible for {SHORTEST} s")
        _, number = np.unique(pack.recordings[self._clips].astype(str), return_inverse=True)
        self._clips = self._clips[np.argsort(number, kind="stable")]
        self._bounds = np.concatenate([[0], np.cumsum(np.bincount(number))])

    def __len__(self) -> int:
        """How many clips there are to draw from."""
        return len(self._clips)

    def draw(self, shares: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Clips of the pack (B,) and first samples (B,), by numbers in [0, 1).

        Every recording is as likely as another, however many clips were cut from it; so is every clip of a
        recording, and every place at which `samples` fit, or at which its repetition can begin.

        Args:
            shares: (B, 3) which recording, which of its clips, which place.
            samples: N, of the clip that the noise is for.
        """
        group = (shares[:, 0] * (len(self._bounds) - 1)).astype(np.int64)
        first, size = self._bounds[group], np.diff(self._bounds)[group]
        clips = self._clips[first + (shares[:, 1] * size).astype(np.int64)]
        length = self._pack.audible[clips]
        room = np.where(length >= samples, length - samples + 1, length - self._fade(length))
        return clips, (shares[:, 2] * room).astype(np.int64)

    def stretches(self, clips: Sequence[int], places: Sequence[int], samples: int) -> np.ndarray:
        """(B, N) float32: `samples` of each clip from its place on, full scale at 1."""
        out = np.empty((len(clips), samples), np.float32)
        for row, clip, place in zip(out, clips, places, strict=True):
            whole = self._pack.patch(clip, 0, int(self._pack.audible[clip]))
            row[:] = stretch(whole, place, samples, fade=int(self._fade(len(whole))))
        out /= 32768
        return out

    def _fade(self, length: Any) -> Any:
        return np.minimum(round(LOOP_FADE * self._rate), length // 2)


def stretch(sound: np.ndarray, place: int, samples: int, *, fade: int) -> np.ndarray:
    """(samples,) of a sound from a place on; where it is shorter, it is repeated without an end.

    Args:
        sound: (n,) one sample at least.
        place: first sample, from 0 on.
        samples: how many.
        fade: samples that two repetitions share, n / 2 at most: a quarter of a sine each, so that their
            power sums to one.

    Raises:
        ValueError: a place that is not in the sound.

    >>> stretch(np.arange(4.0), 1, 3, fade=0).tolist(), stretch(np.arange(4.0), 2, 5, fade=0).tolist()
    ([1.0, 2.0, 3.0], [2.0, 3.0, 0.0, 1.0, 2.0])
    """
    if not 0 <= place < len(sound):
        raise ValueError(f"a place from 0 to {len(sound) - 1} was expected, got {place}")
    if place + samples <= len(sound):
        return sound[place : place + samples]
    period = sound[: len(sound) - fade].astype(np.float32)
    ramp = np.sin((np.arange(fade) + 0.5) * (np.pi / 2 / max(fade, 1))).astype(np.float32)
    period[:fade] = period[:fade] * ramp + sound[len(sound) - fade :] * ramp[::-1]
    return period.take(np.arange(place, place + samples), mode="wrap")
