"""What the benchmarks of training share: a network taking real steps, a pack of noise, the machine's rate."""

import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from auricle.engine import pack
from auricle.shards import Pack
from auricle.training import TrainConfig
from auricle.training.data import choose_clips, make_sampler
from auricle.training.devices import pick_device, pick_dtype, set_up
from auricle.training.loop import learning_rate, read_ahead
from auricle.training.outcome import LiveRunner
from auricle.training.state import make_state
from auricle.training.step import update

PASSES = 3  # forward, gradient of the maps, gradient of the weights: each as many multiplies


class Contender:
    """A configuration with its network and loader, ready to take training's own steps."""

    def __init__(self, config: TrainConfig, packed: Pack):
        self.config = config
        self.device = pick_device(config.device)
        set_up(self.device)
        self.pack = packed
        self.clips, _ = choose_clips(packed, config)
        self.sampler = make_sampler(packed, self.clips, config)
        self.state = make_state(config, len(packed.label_names()), self.device)
        self.dtype = pick_dtype(config.precision, self.device)
        self.live = LiveRunner(config, packed, self.state.average, self.device, self.dtype)

    def steps(self, count: int) -> list[float]:
        """Seconds of each of so many steps, from the moment its batch is asked for."""
        first = self.state.step
        seconds = []
        with self._reading(range(first, first + count)) as batches:
            for _ in range(count):
                started = time.perf_counter()
                rate = learning_rate(self.config, self.state.step, 10**9)
                update(self.state, batches.next(), rate, self.live, self.config)
                finish(self.device)
                seconds.append(time.perf_counter() - started)
        return seconds

    def patches_from_loader(self, batches_count: int) -> float:
        """Patches a second that the loader gives alone."""
        with self._reading(range(batches_count)) as batches:
            batches.next()
            started = time.perf_counter()
            for _ in range(batches_count - 1):
                batches.next()
        return (batches_count - 1) * self.config.batch / (time.perf_counter() - started)

    def _reading(self, steps: range):
        return read_ahead(self.pack, self.clips, self.sampler, steps, self.live, self.config)


def make_pack(folder: Path, *, clips: int = 200, seconds: float = 5.0, classes: int = 10) -> Path:
    """A pack of noise, where no real one is given."""
    import soundfile

    random = np.random.default_rng(0)
    for number in range(clips):
        path = folder / f"class{number % classes}" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, random.normal(0, 0.1, round(seconds * 16_000)), 16_000)
    pack(folder, folder / "pack", quiet=True)
    return folder / "pack"


def hardware(device: torch.device) -> str:
    """The processor or GPU, by name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def finish(device: torch.device) -> None:
    """Wait for what was sent to a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int, rounds: int) -> float:
    """Multiplies a second of a product of two square matrices: what a network could at most do."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(rounds):
        finish(device)
        started = time.perf_counter()
        left @ right
        finish(device)
        seconds.append(time.perf_counter() - started)
    return size**3 / statistics.median(seconds[rounds // 4 :])  # clocks and caches settle first


def peak_memory(device: torch.device) -> int:
    """Bytes, at most so far: what tensors took on a GPU, all of this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: on Linux its figure begins with the peak of the process that started this one.
        lines = status.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
