"""The log-mel front ends beside librosa and torch.stft: same signal, same settings, same threads.

All compute Hershey's log-mel of the same signal from memory, and their results are compared before any time
is taken (librosa's triangles are straight in Hz, not in mel: the same work, values up to 0.05 away). Rounds
alternate, so that what else the machine does hits all; the median round counts. Each number of threads has a
process of its own, because BLAS libraries read it when they start.

A second table has librosa's own defaults at 44.1 kHz, clip by clip of 10 s: `power_to_db(melspectrogram(y),
ref=np.max)` beside ours.

    python benchmarks/features.py [--threads 1 2] [--seconds 600] [--quick]
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

CLIP_SECONDS = 2  # the torch front ends get clips of this length, as a model does
REFERENCES = ("librosa", "torch.stft")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=int, default=600, help="length of the signal")
    parser.add_argument("--quick", action="store_true", help="a minute of signal, few rounds")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        measure(options.threads[0], 60 if options.quick else options.seconds, 5 if options.quick else 15)
        return
    for threads in options.threads:
        arguments = ["--inside", "--threads", str(threads), "--seconds", str(options.seconds)]
        subprocess.run(
            [sys.executable, __file__, *arguments, *["--quick"] * options.quick],
            env=os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)),
            check=True,
        )


def measure(threads: int, seconds: int, rounds: int) -> None:
    """Time every front end on `seconds` of noise and print times real time, and ratios to the references."""
    import librosa
    import numpy as np
    import scipy
    import torch

    torch.set_num_threads(threads)
    signal = (0.1 * np.random.default_rng(0).standard_normal(seconds * 16000)).astype(np.float32)
    long_clips = (0.1 * np.random.default_rng(1).standard_normal((seconds // 10, 441_000))).astype(np.float32)
    groups = {
        "whole signal": whole_signal(signal, threads),
        f"clips of {CLIP_SECONDS} s, batches of 16": clips(signal.reshape(-1, CLIP_SECONDS * 16000)),
        "librosa's defaults, clips of 10 s": librosa_clips(long_clips, threads),
    }
    versions = [f"{m.__name__} {m.__version__}" for m in (np, scipy, torch, librosa)]
    print(f"{platform.processor() or platform.machine()}, {threads} threads, {', '.join(versions)}")
    for title, contenders in groups.items():
        outputs = {name: np.asarray(run()) for name, run in contenders.items()}  # also warms up
        first = next(iter(outputs))
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, run in contenders.items():
                begin = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - begin)
        speed = {name: seconds / statistics.median(taken) for name, taken in times.items()}
        references = [name for name in contenders if name in REFERENCES]
        print(f"{title:34}{'x real time':>12}" + "".join(f"{'/ ' + name:>14}" for name in references))
        for name, value in speed.items():
            difference = np.abs(outputs[name] - outputs[first]).max()
            # Of Hershey's bands librosa's triangles are straight in Hz, not in mel.
            limit = 1e-3 if "librosa" in title else 0.05 if name == "librosa" else 1e-4
            assert difference < limit, f"{name} computes something else: {difference}"
            ratios = "".join(f"{value / speed[reference]:14.2f}" for reference in references)
            print(f"  {name:32}{value:12,.0f}{ratios}")


def whole_signal(signal, threads: int) -> dict[str, Callable]:
    """Front ends on one long signal; each gives (T, F)."""
    import librosa
    import numpy as np
    import torch

    from auricle.features import FeatureConfig, log_mel
    from auricle.frontend import LogMel

    config, module = FeatureConfig(), LogMel(FeatureConfig())
    waveform, stft = torch.from_numpy(signal)[None], stft_composition()

    padded = np.pad(signal, (0, 112))  # librosa and torch.stft frame whole transforms, not whole windows

    def with_librosa():
        mel = librosa.feature.melspectrogram(
            y=padded, sr=16000, n_fft=512, hop_length=160, win_length=512, window=padded_hann(), center=False,
            power=1.0, n_mels=64, fmin=125.0, fmax=7500.0, htk=True, norm=None,
        )  # fmt: skip
        return np.log(mel + 0.01).T

    return {
        "auricle NumPy": lambda: log_mel(signal, config, threads=threads),
        "auricle torch, fft": lambda: module(waveform)[0, 0],
        "librosa": with_librosa,
        "torch.stft": lambda: stft(waveform)[0],
    }


def clips(signal_BN) -> dict[str, Callable]:
    """Front ends on many clips, batch by batch, as in front of a model; each gives (B, T, F)."""
    import torch

    from auricle.features import FeatureConfig
    from auricle.frontend import LogMel

    batches, stft = torch.from_numpy(signal_BN).split(16), stft_composition()
    modules = {method: LogMel(FeatureConfig(), method=method) for method in ("fft", "convolution")}

    @torch.no_grad()
    def run(function: Callable):
        return torch.cat([function(batch).reshape(len(batch), -1, 64) for batch in batches])

    return {
        "auricle torch, fft": lambda: run(modules["fft"]),
        "auricle torch, convolution": lambda: run(modules["convolution"]),
        "torch.stft": lambda: run(stft),
    }


def librosa_clips(signal_BN, threads: int) -> dict[str, Callable]:
    """Front ends on clips of 10 s, one by one or four at a time; each gives (B, T, F)."""
    import librosa
    import numpy as np
    import torch

    from auricle.features import log_mel
    from auricle.frontend import LogMel
    from auricle.presets import librosa_defaults

    config = librosa_defaults()
    batches = torch.from_numpy(signal_BN).split(4)
    modules = {method: LogMel(config, method=method) for method in ("fft", "convolution")}

    @torch.no_grad()
    def with_torch(method: str):
        return torch.cat([modules[method](batch)[:, 0] for batch in batches])

    def with_librosa():
        mels = (librosa.feature.melspectrogram(y=clip, sr=44100) for clip in signal_BN)
        return np.stack([librosa.power_to_db(mel, ref=np.max).T for mel in mels])

    return {
        "auricle NumPy": lambda: np.stack([log_mel(clip, config, threads=threads) for clip in signal_BN]),
        "auricle torch, fft": lambda: with_torch("fft"),
        "auricle torch, convolution": lambda: with_torch("convolution"),
        "librosa": with_librosa,
    }


def padded_hann():
    """The window where the published computation has it: at the start of the transform, zeros after it."""
    import numpy as np

    return np.pad(0.5 - 0.5 * np.cos(2 * np.pi / 400 * np.arange(400)), (0, 112)).astype(np.float32)


def stft_composition() -> Callable:
    """What people write: torch.stft, abs, a matrix product, log. (B, N) -> (B, T, F)."""
    import torch

    from auricle.features import FeatureConfig, mel_matrix

    window = torch.from_numpy(padded_hann())
    mel = torch.from_numpy(mel_matrix(FeatureConfig())).float()

    def run(waveform_BN):
        padded = torch.nn.functional.pad(waveform_BN, (0, 112))
        spectrum = torch.stft(padded, 512, 160, 512, window, center=False, return_complex=True).abs()
        return (spectrum.transpose(1, 2) @ mel + 0.01).log()

    return run


if __name__ == "__main__":
    main()
