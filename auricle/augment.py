"""Changes to a batch on its way to the network: mixing, speed, masking.

Each is a pure function of (batch, targets or nothing, generator): the same generator state gives the
same change, on a CPU and on a GPU each.  Waveforms are (B, N) float32, targets (B, K), log-mels (B, 1, T, F).
"""

import math

import torch
from torch import Generator, Tensor

MIXINGS = ("none", "between_class", "mixup", "mix_training")
SILENT = 1e-3  # RMS, -60 dB of full scale


def uniform(batch: int, low: float, high: float, generator: Generator) -> Tensor:
    """One number a clip, (B, 1), uniform in [low, high).

    >>> uniform(2, 1.0, 1.0, Generator()).tolist()
    [[1.0], [1.0]]
    """
    return torch.rand(batch, 1, generator=generator, device=generator.device) * (high - low) + low


def random_speed(waveform_BN: Tensor, generator: Generator, *, samples: int, spread: float) -> Tensor:
    """Plays each clip faster or slower, pitch and all, by a factor in [1 / (1 + spread), 1 + spread].

    Args:
        waveform_BN: at least `source_samples(samples, spread)` samples a clip.
        generator: where the factors come from; their logarithm is uniform.
        samples: length of the result.
        spread: 0.15 for up to 15% faster.

    Linear interpolation: it dulls the highest frequencies a little, which training does not mind.

    >>> random_speed(torch.arange(6.0)[None], Generator(), samples=4, spread=0.0).tolist()
    [[0.0, 1.0, 2.0, 3.0]]
    """
    if waveform_BN.shape[1] < source_samples(samples, spread):
        raise ValueError(
            f"a speed spread of {spread} needs {source_samples(samples, spread)} samples to give {samples}, "
            f"got {waveform_BN.shape[1]}"
        )
    if spread == 0:
        return waveform_BN[:, :samples]
    factor = torch.exp(uniform(len(waveform_BN), -1.0, 1.0, generator) * math.log1p(spread))
    position = torch.arange(samples, device=waveform_BN.device) * factor
    index = position.long()
    part = position - index
    return waveform_BN.gather(1, index) * (1 - part) + waveform_BN.gather(1, index + 1) * part


def source_samples(samples: int, spread: float) -> int:
    """Samples that `random_speed` reads to give `samples`.

    >>> source_samples(32000, 0.15), source_samples(32000, 0.0)
    (36802, 32000)
    """
    return samples if spread == 0 else math.ceil(samples * (1 + spread)) + 2


def mix(
    waveform_BN: Tensor,
    targets_BK: Tensor,
    generator: Generator,
    *,
    how: str,
    mix_range: tuple[float, float] = (0.4, 0.6),
) -> tuple[Tensor, Tensor]:
    """Mixes each clip with another of its batch: every clip is the partner of one, and none of itself.

    The pairs follow from a random cycle through the batch. (Only where the batch holds a clip twice, as may
    be with few clips of a class, are two places of it the same sound.)

    Args:
        waveform_BN: at least two clips.
        targets_BK: their targets in [0, 1].
        generator: where partners and ratios come from.
        how: "none"; "between_class": at a ratio r of loudness, corrected for the clips' own levels, energy
            kept, targets r and 1 - r (Tokozume, Ushiku and Harada, ICLR 2018, equation 2, with RMS for
            loudness), but added as they are, targets the union, where one is silent, which has no loudness to
            match; "mixup": r and 1 - r for both (Zhang et al., ICLR 2018, alpha 1); "mix_training":
            a and 1 - a with a uniform in `mix_range`, targets the union: the larger of the two, which is
            sign(y_i + y_j) of zeros and ones, and of soft targets the surer one (Chen et al. 2019, section
            3.2, equations 1 and 2).
        mix_range: of "mix_training": (0, 1) is the general form, (0.4, 0.6) was found best (section 4.2).

    Raises:
        ValueError: an unknown `how`, a range that is none, or a single clip, which has no other.

    >>> x, y = mix(torch.eye(2), torch.eye(2), Generator().manual_seed(0), how="mix_training")
    >>> x.shape, y.shape
    (torch.Size([2, 2]), torch.Size([2, 2]))
    """
    if how not in MIXINGS:
        raise ValueError(f"unknown mixing {how!r}; known: {', '.join(MIXINGS)}")
    if how == "none":
        return waveform_BN, targets_BK
    batch = len(waveform_BN)
    if batch < 2:
        raise ValueError(f"mixing {how!r} takes another clip of the batch; expected at least 2, got {batch}")
    cycle = torch.randperm(batch, generator=generator, device=generator.device)
    other = torch.empty_like(cycle).scatter_(0, cycle, cycle.roll(1))
    if how == "mix_training":
        low, high = mix_range
        if not 0 <= low <= high <= 1:
            raise ValueError(f"mix_range is {mix_range}; expected two numbers from 0 to 1, the smaller first")
        ratio = uniform(batch, low, high, generator)
        mixed = ratio * waveform_BN + (1 - ratio) * waveform_BN[other]
        return mixed, torch.maximum(targets_BK, targets_BK[other])
    ratio = uniform(batch, 0.0, 1.0, generator)
    targets = ratio * targets_BK + (1 - ratio) * targets_BK[other]
    if how == "mixup":
        return ratio * waveform_BN + (1 - ratio) * waveform_BN[other], targets
    level = waveform_BN.square().mean(1, keepdim=True).sqrt()
    silent = (level < SILENT) | (level[other] < SILENT)
    level = level + 1e-4
    share = 1 / (1 + level / level[other] * (1 - ratio) / ratio.clamp(min=1e-3))
    mixed = share * waveform_BN + (1 - share) * waveform_BN[other]
    mixed = mixed / torch.sqrt(share**2 + (1 - share) ** 2)
    mixed = torch.where(silent, waveform_BN + waveform_BN[other], mixed)
    return mixed, torch.where(silent, torch.maximum(targets_BK, targets_BK[other]), targets)


def random_masks(
    logmel_B1TF: Tensor, generator: Generator, *, frames: int, bands: int, count: int = 2, fill: float = -2.5
) -> Tensor:
    """Covers `count` stretches of up to `frames` frames, and `count` of up to `bands` bands, with `fill`.

    `fill` is on the scale of the log-mel: -2.5 lies among natural logarithms of magnitudes, and says next to
    the loudest where levels are decibels.

    Source: SpecAugment (Park et al., Interspeech 2019), section 2, without the time warp.

    >>> random_masks(torch.zeros(1, 1, 4, 4), Generator(), frames=0, bands=0).abs().sum().item()
    0.0
    """
    batch, _, num_frames, num_bands = logmel_B1TF.shape
    for size, widest, shape in (
        (num_frames, frames, (batch, 1, -1, 1)),
        (num_bands, bands, (batch, 1, 1, -1)),
    ):
        place = torch.arange(size, device=logmel_B1TF.device)
        for _ in range(count if widest else 0):
            width = uniform(batch, 0.0, widest, generator)
            start = uniform(batch, 0.0, 1.0, generator) * (size - width)
            covered = (place >= start) & (place < start + width)
            logmel_B1TF = logmel_B1TF.masked_fill(covered.view(shape), fill)
    return logmel_B1TF
