"""Pitch shift and noise, batched on the device, beside a loop over librosa's pitch_shift.

    python benchmarks/augment.py
    python benchmarks/augment.py --clips 32 --seconds 10 --rate 44100 --device cuda
    python benchmarks/augment.py --quick

Half of the clips are noise, half tones in noise; noise has the most peaks, and is the slowest to shift.
Rounds alternate, so that what else the machine does hits all; the best round of each counts. On a CPU, times
are those of the processor, not of the clock, so a busy machine hardly makes them longer. "memory" is the most
that the process took while all clips were shifted in one call, over what it had before (a GPU: of tensors).

"of a step" is the share of the time that urban_cnn takes for forward and backward of as many clips of 10 s.
"""

import argparse
import platform
import resource
import time
from collections.abc import Callable

import torch

from auricle.changes import ChangeRanges, apply_changes, draw_changes, generator_of_step
from auricle.noise import add_noise, coloured_noise
from auricle.pitch import pitch_shift


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=44100)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="4 clips, two rounds")
    options = parser.parse_args()
    if options.quick:
        options.clips, options.rounds = 4, 2
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    clips = make_clips(options.clips, round(options.seconds * options.rate), options.rate).to(device)
    semitones = torch.linspace(-3, 3, options.clips).add(0.01).clamp(max=3).tolist()
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU"
    print(
        f"{name}, {options.threads} threads, torch {torch.__version__}: {options.clips} clips of "
        f"{options.seconds:g} s at {options.rate} Hz"
    )
    memory = taken(device, lambda: pitch_shift(clips, semitones, rate=options.rate))
    contenders = make_contenders(clips, semitones, options.rate)
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(options.rounds):
        for what, run in contenders.items():
            best[what] = min(best[what], timed(run, device) / options.clips)
    step = best["urban_cnn, a training step"]
    reference = best["librosa pitch_shift"]
    print(f"{'':32}{'ms a clip':>10}{'x real time':>13}{'/ librosa':>11}{'of a step':>11}")
    for what, seconds in best.items():
        speed = options.seconds / seconds
        ratio, share = reference / seconds, seconds / step
        print(f"{what:32}{seconds * 1e3:10.1f}{speed:13.0f}{ratio:11.2f}{share:11.0%}")
    print(f"memory of a pitch shift of all clips in one call: {memory / 1e6:,.0f} MB")


def make_clips(count: int, samples: int, rate: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    time_N = torch.arange(samples) / rate
    clips = 0.1 * torch.randn(count, samples, generator=generator)
    for number in range(0, count, 2):
        for partial in range(1, 9):
            clips[number] += 0.1 * torch.sin(6.2831853 * (70 + 11 * number) * partial * time_N)
    return clips


def make_contenders(
    clips: torch.Tensor, semitones: list[float], rate: int
) -> dict[str, Callable[[], object]]:
    """Each does the whole batch."""
    import librosa

    samples = clips.shape[1]
    ranges = ChangeRanges(noise_share=1.0)
    changes = draw_changes(len(clips), generator_of_step(0, 0), ranges, samples=samples)
    colours = [change.noise for change in changes]
    seeds = [change.seed for change in changes]

    def noise() -> torch.Tensor:
        made = coloured_noise(colours, seeds, samples, rate=rate, device=clips.device)
        return add_noise(clips, made, [20.0] * len(clips), rate=rate)

    def by_librosa() -> None:
        for clip, steps in zip(arrays, semitones, strict=True):
            librosa.effects.pitch_shift(clip, sr=rate, n_steps=steps)

    arrays = list(clips.cpu().numpy())
    by_librosa()
    return {
        "pitch_shift": lambda: pitch_shift(clips, semitones, rate=rate),
        "coloured_noise, add_noise": noise,
        "apply_changes: all of it": lambda: apply_changes(clips, changes, rate=rate),
        "librosa pitch_shift": by_librosa,
        "urban_cnn, a training step": urban_step(len(clips), clips.device),
    }


def urban_step(batch: int, device: torch.device) -> Callable[[], None]:
    """Forward and backward of the CNN on log-mels of 10 s, whatever the clips' length."""
    from auricle.models import build

    net = build("urban_cnn", num_classes=37).to(device).train()
    logmel = torch.randn(batch, 1, *net.input_shape[-2:], device=device)

    def run() -> None:
        net(logmel).square().mean().backward()

    return run


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds: of the processor on a CPU, of the clock on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        begin = time.perf_counter()
        run()
        torch.cuda.synchronize()
        return time.perf_counter() - begin
    begin = time.process_time()
    run()
    return time.process_time() - begin


def taken(device: torch.device, run: Callable[[], object]) -> float:
    """Bytes at the most, over those before."""
    if device.type == "cuda":
        run()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


if __name__ == "__main__":
    main()
