"""What is done to each clip on its way to training, drawn as plain numbers: pitch, volume, background.

The numbers are drawn first and applied after. Written down, they make the same sound again, bit for bit on
the same machine, of the clip alone as in its batch; and as they follow from a seed, a step and a row, nothing
needs to be written down to know what was heard at any step of a training.

Source of pitch, volume and background noise for urban sounds: Tompkins and Nichols, DCASE 2019, section 3.1.

Shape letters: B clips, N samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Generator, Tensor

from auricle.noise import COLOURS, Recordings, add_noise, coloured_noise
from auricle.pitch import FARTHEST, pitch_shift
from auricle.sampling import hash_uint64

RECORDING = "recording"
NOISES = (*COLOURS, RECORDING)
NUMBERS = 8  # drawn for each clip, whatever is done to it
DECIMALS = 3  # of what is drawn: what is printed is all there is
STREAM = 12  # parts these draws from the others of a step


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is done to one clip; as it stands here, nothing.

    Args:
        semitones: how far its pitch is moved, up where positive.
        gain: dB, louder where positive.
        noise: "" for none, "white", "pink", "brown", or "recording".
        snr: dB that the noise lies below the clip.
        seed: of a noise with a colour.
        recording: of a recording, which clip of its pack.
        place: of a recording, the first sample.

    >>> Change(semitones=-1.5, noise="pink", snr=20.0, seed=7).gain
    0.0
    """

    semitones: float = 0.0
    gain: float = 0.0
    noise: str = ""
    snr: float = 0.0
    seed: int = 0
    recording: int = 0
    place: int = 0


@dataclass(frozen=True, kw_only=True)
class ChangeRanges:
    """From what changes are drawn, each number uniformly.

    Args:
        semitones: of pitch, up or down; 0 for none.
        gain: dB of volume, up or down; 0 for none.
        noises: what backgrounds there are, each as likely as another.
        noise_share: how many of the clips get one.
        snr: dB, the least and the greatest ratio.

    Raises:
        ValueError: a range that makes no sense; it is named.

    >>> ChangeRanges(semitones=2.0, noise_share=0.0).gain
    4.0
    """

    semitones: float = 3.0
    gain: float = 4.0
    noises: tuple[str, ...] = tuple(COLOURS)
    noise_share: float = 0.5
    snr: tuple[float, float] = (10.0, 30.0)

    def __post_init__(self) -> None:
        expected = {
            "semitones": (0 <= self.semitones <= FARTHEST, f"0 to {FARTHEST:g}"),
            "gain": (0 <= self.gain <= 60, "0 to 60 dB"),
            "noises": (set(self.noises) <= set(NOISES), f"some of {', '.join(NOISES)}"),
            "noise_share": (0 <= self.noise_share <= 1, "0 to 1"),
            "snr": (
                len(self.snr) == 2 and -60 <= self.snr[0] <= self.snr[1] <= 120,
                "two numbers from -60 to 120 dB, the smaller first",
            ),
        }
        for name, (fits, what) in expected.items():
            if not fits:
                raise ValueError(f"{name}: expected {what}, got {getattr(self, name)}")
        if self.noise_share and not self.noises:
            raise ValueError("noises: expected at least one, or a noise_share of 0")


def draw_changes(
    count: int,
    generator: Generator,
    ranges: ChangeRanges | None,
    *,
    samples: int,
    recordings: Recordings | None = None,
) -> list[Change]:
    """Changes for the rows of a batch. Those of a row do not depend on how many rows come after it.

    Args:
        count: B.
        generator: best one on the CPU, where the numbers are wanted; see `generator_of_step`.
        ranges: from what to draw; of a training, `config.changes`, which is None where it changes nothing.
        samples: N, of the clips.
        recordings: the backgrounds, where `ranges.noises` has "recording".

    Raises:
        ValueError: there are no ranges; or recordings are to be drawn, and there are none.

    >>> ranges = ChangeRanges(semitones=3.0, gain=4.0, noises=("pink",), noise_share=1.0)
    >>> draw_changes(1, Generator().manual_seed(0), ranges, samples=44100)
    [Change(semitones=2.82, gain=1.663, noise='pink', snr=28.415, seed=1385178750, recording=0, place=0)]
    """
    if ranges is None:
        raise ValueError(
            "ranges is None: pitch_semitones and gain_decibels are 0 and noise has no kind, so no change is "
            "drawn and clips are heard as they are in the pack; set one of them, or leave out this step"
        )
    if RECORDING in ranges.noises and recordings is None and ranges.noise_share:
        raise ValueError("noises: 'recording' needs recordings to draw from; give them, or leave it out")
    drawn = torch.rand(count, NUMBERS, generator=generator, dtype=torch.float64, device=generator.device)
    shares = drawn.cpu().numpy()
    clips, places = np.zeros(count, np.int64), np.zeros(count, np.int64)
    if recordings is not None:
        clips, places = recordings.draw(shares[:, 5:8], samples)
    changes = []
    for row, clip, place in zip(shares.tolist(), clips.tolist(), places.tolist(), strict=True):
        noise = ""
        if ranges.noise_share and row[2] < ranges.noise_share:
            noise = ranges.noises[int(row[2] / ranges.noise_share * len(ranges.noises))]
        low, high = ranges.snr
        changes.append(
            Change(
                semitones=_rounded((2 * row[0] - 1) * ranges.semitones),
                gain=_rounded((2 * row[1] - 1) * ranges.gain),
                noise=noise,
                snr=_rounded(low + row[3] * (high - low)) if noise else 0.0,
                seed=int(row[4] * 2**31) if noise in COLOURS else 0,
                recording=clip if noise == RECORDING else 0,
                place=place if noise == RECORDING else 0,
            )
        )
    return changes


def generator_of_step(seed: int, step: int) -> Generator:
    """What the changes of a training's step are drawn from.

    >>> ranges = ChangeRanges(noise_share=0.0)
    >>> batch = draw_changes(32, generator_of_step(1, 500), ranges, samples=1)
    >>> draw_changes(8, generator_of_step(1, 500), ranges, samples=1)[7] == batch[7]
    True
    """
    return Generator().manual_seed(int(hash_uint64(seed, step, STREAM)) >> 1)


def apply_changes(
    waveform_BN: Tensor, changes: Sequence[Change], *, rate: int, recordings: Recordings | None = None
) -> Tensor:
    """(B, N) float32: each clip changed: its pitch, then its volume, then the background.

    Nothing is clipped: samples above full scale stay.

    Args:
        waveform_BN: full scale at 1.
        changes: one for each clip.
        rate: Hz.
        recordings: those that the changes were drawn with.

    Raises:
        ValueError: too few or too many changes, or one that cannot be applied.

    >>> apply_changes(torch.full((1, 2), 0.5), [Change(gain=20.0)], rate=16000).tolist()
    [[5.0, 5.0]]
    """
    if len(changes) != len(waveform_BN):
        raise ValueError(f"expected a change for each of {len(waveform_BN)} clips, got {len(changes)}")
    if unknown := [change.noise for change in changes if change.noise and change.noise not in NOISES]:
        raise ValueError(f"unknown noise {unknown[0]!r}; known: {', '.join(NOISES)}")
    device = waveform_BN.device
    out_BN = pitch_shift(waveform_BN, [change.semitones for change in changes], rate=rate)
    factors = torch.tensor([10 ** (change.gain / 20) for change in changes], dtype=torch.float32)
    if device.type == "cuda":
        factors = factors.pin_memory()  # or the processor would wait here for all that was sent before
    out_BN *= factors.to(device, non_blocking=True)[:, None]
    samples = out_BN.shape[1]
    of_kind = {
        RECORDING: [row for row, change in enumerate(changes) if change.noise == RECORDING],
        "colour": [row for row, change in enumerate(changes) if change.noise in COLOURS],
    }
    for kind, rows in of_kind.items():
        if not rows:
            continue
        some = [changes[row] for row in rows]
        if kind == RECORDING:
            if recordings is None:
                raise ValueError("a change has a recording for noise; give the recordings it was drawn from")
            clips, places = [change.recording for change in some], [change.place for change in some]
            noise_BN = torch.from_numpy(recordings.stretches(clips, places, samples)).to(device)
        else:
            colours, seeds = [change.noise for change in some], [change.seed for change in some]
            noise_BN = coloured_noise(colours, seeds, samples, rate=rate, device=device)
        there = torch.tensor(rows, device=device)
        out_BN[there] = add_noise(out_BN[there], noise_BN, [change.snr for change in some], rate=rate)
    return out_BN


def change_sound(
    sound: np.ndarray, change: Change, *, rate: int, background: np.ndarray | None = None
) -> np.ndarray:
    """(N,) float32: one sound as `apply_changes` changes it.

    Args:
        sound: (N,) full scale at 1.
        change: what to do.
        rate: Hz.
        background: (N,) in place of a recording from a pack.

    Raises:
        ValueError: as `apply_changes`.

    >>> change_sound(np.full(2, 0.5, np.float32), Change(gain=20.0), rate=16000).tolist()
    [5.0, 5.0]
    """
    waveform = torch.from_numpy(np.asarray(sound, np.float32))[None]
    if background is None:
        return apply_changes(waveform, [change], rate=rate)[0].numpy()
    out = apply_changes(waveform, [replace(change, noise="")], rate=rate)
    noise = torch.from_numpy(np.asarray(background, np.float32))[None]
    return add_noise(out, noise, [change.snr], rate=rate)[0].numpy()


def _rounded(number: float) -> float:
    value = round(number, DECIMALS)
    assert math.isfinite(value)
    return value + 0.0  # no -0.0
