"""Pitch shift by a phase vocoder: each clip of a batch by its own number of semitones, its length kept.

A clip is first resampled by 2 ^ (s / 12), which moves its pitch and its length; then a phase vocoder gives it
its length back. In this order all clips of a batch have the same frames to synthesise, whatever their ratios.
Each frame is cut from the resampled clip where it belongs, and turned in phase so that it goes on from the
frame before. All bins about a peak of the spectrum are turned with the peak, which keeps transients short and
noise at its level. (With every bin on its own, noise loses 3 dB and a click spreads over 9 ms.)

A peak takes its turn from the peak which held its bin in the frame before, so the peaks are a forest with a
tree for each peak of the first frame. Turns are added up along its branches by pointer jumping: for K frames
in log2(K) rounds, not in K.

Sources: Flanagan and Golden, "Phase Vocoder", Bell System Technical Journal 45, 1966; Laroche and Dolson,
"Improved phase vocoder time-scale modification of audio", IEEE Transactions on Speech and Audio Processing 7,
1999 (identity phase locking, section III). Pointer jumping: Wyllie, "The Complexity of Parallel
Computations", Cornell 1979.

Shape letters: B clips, N samples, K frames, L samples of a frame, F bins, P peaks of all frames and clips.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

FARTHEST = 12.0  # semitones: beyond, the frames would need more than the padding holds
FRAME_SECONDS = 0.046  # 2048 samples at 44.1 kHz: tells tones 65 Hz apart
OVERLAP = 4  # frames that cover a sample
WINDOWS = 1.5  # what the squares of `OVERLAP` shifted Hann windows sum to, everywhere
MOST_MAKEUP = 2.0  # of level
TAPS, PHASES, KAISER = 32, 4096, 7.0  # of the windowed sinc
FIXED = 32  # bits behind the point of places between samples
PIECE = 1 << 14  # samples resampled at a time on a CPU, so that it stays in cache
SAMPLES_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 24}  # of all clips together; about 110 bytes each


def pitch_shift(waveform_BN: Tensor, semitones: Sequence[float] | Tensor, *, rate: int) -> Tensor:
    """Moves the pitch of each clip, not its length.

    A tone of f Hz comes out at f * 2 ^ (s / 12), within a twentieth of a cent. What comes to lie above half
    the rate is lost; moved down, nothing is left at the top. Before the first sample and after the last the
    clip is taken to go on mirrored.

    Args:
        waveform_BN: at least one sample a clip.
        semitones: (B,) s from -12 to 12, up where positive; 0 leaves a clip as it is, bit for bit.
        rate: Hz; frames are of 46 ms, to the next power of two.

    Returns:
        (B, N) float32 on the same device. A clip comes out the same alone and in a batch. No gradient.

    Raises:
        ValueError: another shape, or a number of semitones that is none.

    >>> tone = torch.sin(torch.arange(16000) * (2 * math.pi * 1000 / 16000))
    >>> up = pitch_shift(tone[None], [12.0], rate=16000)
    >>> int(torch.fft.rfft(up[0]).abs().argmax())  # a bin is 1 Hz
    2000
    """
    shifts = torch.as_tensor(semitones, dtype=torch.float64).cpu()
    if waveform_BN.ndim != 2 or not waveform_BN.shape[1] or shifts.shape != waveform_BN.shape[:1]:
        raise ValueError(
            "expected clips (B, N) of at least one sample and semitones (B,), "
            f"got {tuple(waveform_BN.shape)} and {tuple(shifts.shape)}"
        )
    if not bool((shifts.abs() <= FARTHEST).all()):
        raise ValueError(f"expected from {-FARTHEST:g} to {FARTHEST:g} semitones, got {shifts.tolist()}")
    device = waveform_BN.device
    out_BN = waveform_BN.detach().float().clone()
    moved = torch.nonzero(shifts)[:, 0]
    at_once = max(1, SAMPLES_AT_ONCE.get(device.type, 1 << 24) // out_BN.shape[1])
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        for some in moved.split(at_once) if len(moved) else ():
            there = some.to(device)
            out_BN[there] = _shifted(out_BN[there], torch.exp2(shifts[some] / 12), _frame_samples(rate))
    return out_BN


def _frame_samples(rate: int) -> int:
    """L: the power of two nearest to 46 ms.

    >>> [_frame_samples(rate) for rate in (8000, 16000, 22050, 32000, 44100, 48000)]
    [512, 1024, 1024, 2048, 2048, 2048]
    """
    return max(64, 2 ** round(math.log2(rate * FRAME_SECONDS)))


def _shifted(waveform_BN: Tensor, ratio_B: Tensor, size: int) -> Tensor:
    """The vocoder, for any ratios; `ratio_B` is float64 on the CPU."""
    batch, samples = waveform_BN.shape
    hop = size // OVERLAP
    frames = -(-samples // hop) + OVERLAP + 1
    # Frame k is centred at sample (k - OVERLAP / 2) * hop of the clip. In the resampled clip, whose first
    # sample is the first of frame 0, that is the nearest sample to k * hop / ratio + size / 2.
    start_BK = (torch.arange(frames) * hop / ratio_B[:, None]).round().long()
    begin_B = -hop * OVERLAP // 2 - size // 2 * ratio_B
    resampled = _resampled(waveform_BN, ratio_B, begin_B, int(start_BK.max()) + size)
    start_BK = start_BK.to(waveform_BN.device)
    window = torch.hann_window(size, device=waveform_BN.device)
    place = start_BK + torch.arange(batch, device=start_BK.device)[:, None] * resampled.shape[1]
    rows = resampled.view(-1).unfold(0, size, 1).index_select(0, place.view(-1))
    spectrum_BKF = torch.fft.rfft(rows.mul_(window)).view(batch, frames, size // 2 + 1)
    spectrum_BKF.mul_(_rotation(spectrum_BKF, start_BK, hop))
    rows = torch.fft.irfft(spectrum_BKF, n=size).mul_(window / WINDOWS)
    parts = rows.view(batch, frames, OVERLAP, hop)
    out = parts.new_zeros(batch, frames + OVERLAP - 1, hop)
    for part in range(OVERLAP):
        out[:, part : part + frames] += parts[:, :, part]
    first = hop * OVERLAP // 2 + size // 2
    out_BN = out.view(batch, -1)[:, first : first + samples]
    return out_BN * _makeup(resampled, -begin_B / ratio_B, samples / ratio_B, out_BN)[:, None]


def _makeup(resampled: Tensor, first_B: Tensor, count_B: Tensor, out_BN: Tensor) -> Tensor:
    """(B,) the factor that gives each clip the level that it had: what frames lose where they disagree.

    It is 0.3 to 0.8 dB of noise, and 3 dB of a single click.
    """
    first_B1, count_B1 = (part.to(out_BN.device)[:, None] for part in (first_B, count_B))
    number = torch.arange(resampled.shape[1], device=out_BN.device)
    inside = (number >= first_B1) & (number < first_B1 + count_B1)
    before_B = (resampled.square() * inside).sum(1, dtype=torch.float64) / inside.sum(1).clamp(min=1)
    after_B = out_BN.square().mean(1, dtype=torch.float64)
    factor_B = (before_B / after_B.clamp(min=1e-20)).sqrt()
    return torch.where(after_B > 1e-20, factor_B.clamp(max=MOST_MAKEUP), 1.0).float()


def _resampled(waveform_BN: Tensor, ratio_B: Tensor, begin_B: Tensor, count: int) -> Tensor:
    """(B, count): each clip at begin + n * ratio, mirrored at its ends, by a windowed sinc.

    Where the pitch goes up, the sinc is that of the lower half-rate. Places are integers with 32 bits behind
    the point: exact, and the same on every device.
    """
    batch, samples = waveform_BN.shape
    device = waveform_BN.device
    left = TAPS - int(begin_B.min())
    right = max(0, math.ceil(float((begin_B + count * ratio_B).max())) + TAPS - samples)
    place = (torch.arange(-left, samples + right, device=device)).remainder(max(2 * (samples - 1), 1))
    padded = waveform_BN.index_select(1, torch.minimum(place, 2 * (samples - 1) - place).clamp_(min=0))
    rows = padded.view(-1).unfold(0, TAPS, 1)
    weights = _sinc_table(ratio_B.to(device, torch.float32)).view(-1, TAPS)

    clip_B1 = torch.arange(batch, device=device)[:, None]
    step_B1 = (ratio_B * 2**FIXED).round().long().to(device)[:, None]
    first_B1 = ((begin_B + left - (TAPS // 2 - 1)) * 2**FIXED).round().long().to(device)[:, None]
    shift = FIXED - int(math.log2(PHASES))
    first_B1 += 1 << (shift - 1)  # to the nearest phase
    out = padded.new_empty(batch, count)
    piece = PIECE if device.type == "cpu" else count
    for start in range(0, count, piece):
        number = torch.arange(start, min(start + piece, count), device=device)
        phase = (first_B1 + number * step_B1) >> shift
        row = ((phase >> (FIXED - shift)) + clip_B1 * padded.shape[1]).view(-1)
        phase = ((phase & (PHASES - 1)) + clip_B1 * PHASES).view(-1)
        # A product and a sum, not a matrix product: those may run in fewer bits on a GPU.
        some = weights.index_select(0, phase).mul_(rows.index_select(0, row)).sum(-1)
        out[:, start : start + len(number)] = some.view(batch, -1)
    return out


def _sinc_table(ratio_B: Tensor) -> Tensor:
    """(B, PHASES, TAPS): weights of the samples about a place, for each fraction of a sample."""
    distance, window = _sinc_window(ratio_B.device)
    cutoff = 1 / ratio_B.clamp(min=1.0)[:, None, None]
    weights = torch.sinc(cutoff * distance).mul_(window)
    return weights.div_(weights.sum(-1, keepdim=True))


@lru_cache(maxsize=4)
def _sinc_window(device: torch.device) -> tuple[Tensor, Tensor]:
    """(PHASES, TAPS): how far each tap is from the place, and a Kaiser window over that."""
    fraction = torch.arange(PHASES, dtype=torch.float64)[:, None] / PHASES
    distance = fraction - torch.arange(1 - TAPS // 2, TAPS // 2 + 1)
    inside = (1 - (distance / (TAPS / 2)) ** 2).clamp(min=0)
    window = torch.special.i0(KAISER * inside.sqrt())
    return distance.float().to(device), window.float().to(device)


def _rotation(spectrum_BKF: Tensor, start_BK: Tensor, hop: int) -> Tensor:
    """(B, K, F): what each bin is multiplied by, of length 1."""
    batch, frames, bins = spectrum_BKF.shape
    size = 2 * (bins - 1)
    flat = spectrum_BKF.view(-1)
    peak_P, owner = _peaks(spectrum_BKF)
    row_P = torch.div(peak_P, bins, rounding_mode="floor")
    bin_P = peak_P - row_P * bins
    before_P = (peak_P - bins).clamp_(min=0)
    first_P = row_P % frames == 0
    # How far the phase went between two frames, in turns, is known up to whole ones: the peak's bin says
    # how many. It should go as far as in `hop` samples.
    step_P = functional.pad(start_BK.diff(dim=1), (1, 0), value=hop).view(-1).index_select(0, row_P)
    turn_P = torch.angle(flat.index_select(0, peak_P) * flat.index_select(0, before_P).conj()) / (2 * math.pi)
    turn_P -= ((bin_P * step_P) & (size - 1)) / size
    turn_P -= turn_P.round()
    turn_P = turn_P * (hop / step_P - 1) + ((bin_P * (hop - step_P)) & (size - 1)) / size
    turn_P.masked_fill_(first_P, 0.0)
    parent_P = torch.where(
        first_P, torch.arange(len(peak_P), device=peak_P.device), owner.index_select(0, before_P)
    )
    for _ in range(math.ceil(math.log2(frames))):
        turn_P = turn_P + turn_P.index_select(0, parent_P)
        turn_P -= turn_P.round()  # whole turns change nothing, and would cost digits
        parent_P = parent_P.index_select(0, parent_P)
    turn_P *= 2 * math.pi
    return torch.polar(torch.ones_like(turn_P), turn_P).index_select(0, owner).view(batch, frames, bins)


def _peaks(spectrum_BKF: Tensor) -> tuple[Tensor, Tensor]:
    """Flat places (P,) of the bins that none of two neighbours on each side is above, and whose each bin is.

    The second is (B * K * F,): the number of the nearest peak in the same frame.
    """
    bins = spectrum_BKF.shape[-1]
    power = spectrum_BKF.real.square().add_(spectrum_BKF.imag.square()).view(-1, 1, bins)
    peak_P = (power == functional.max_pool1d(power, 5, 1, 2)).view(-1).nonzero()[:, 0]
    # Where the bins of a peak end: half way to the next one, or with the frame.
    next_P = torch.cat([peak_P[1:], peak_P.new_full((1,), spectrum_BKF.numel())])
    frame_P = (torch.div(peak_P, bins, rounding_mode="floor") + 1).mul_(bins)
    end_P = torch.where(next_P < frame_P, ((peak_P + next_P) >> 1) + 1, frame_P)
    size_P = torch.diff(end_P, prepend=end_P.new_zeros(1))
    return peak_P, torch.repeat_interleave(size_P, output_size=spectrum_BKF.numel())
