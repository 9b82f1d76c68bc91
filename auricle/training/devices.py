"""Where a network trains, in which precision, and what is said where its memory is full."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from auricle import distributed
from auricle.training.config import TrainConfig

# In errors of torch that have no class of their own: its allocator for CPUs, CUDA beside torch's allocator.
FULL = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")


class OutOfMemoryError(ValueError, torch.OutOfMemoryError):
    """A training does not fit into memory; the message says which settings need less.

    >>> issubclass(OutOfMemoryError, torch.OutOfMemoryError)
    True
    """


@contextmanager
def full_memory_told(device: torch.device, config: TrainConfig) -> Iterator[None]:
    """Errors of full memory, a GPU's or the machine's, become an `OutOfMemoryError`; others pass.

    >>> from pathlib import Path
    >>> with full_memory_told(torch.device("cpu"), TrainConfig(data=Path("pack"), steps=1)):
    ...     raise MemoryError
    Traceback (most recent call last):
    auricle.training.devices.OutOfMemoryError: out of memory on cpu with batch=64, accumulate=1,
    checkpoint_activations=false; set checkpoint_activations=true (the same result, slower),
    a larger accumulate (more parts) or a smaller batch
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not known and not any(words in str(error) for words in FULL):
            raise
        again = config.checkpoint_activations
        ways = [] if again or config.compile else ["checkpoint_activations=true (the same result, slower)"]
        ways += ["a larger accumulate (more parts)"] * (config.accumulate < config.batch)
        ways += ["a smaller batch"] if config.batch > 1 else ["a smaller model or window"]
        raise OutOfMemoryError(
            f"out of memory on {device} with batch={config.batch}, accumulate={config.accumulate}, "
            f"checkpoint_activations={str(again).lower()}; set "
            + " or ".join(filter(None, (", ".join(ways[:-1]), ways[-1])))
        ) from None


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is the GPU where there is one. Of several processes each has its own.

    >>> pick_device("cpu").type
    'cpu'
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device is {name!r}; expected cpu, cuda, cuda:1 or auto") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but torch sees no CUDA device here; use --device cpu")
    return device if device.type == "cpu" or distributed.world() == 1 else own_gpu(device)


def own_gpu(device: torch.device) -> torch.device:
    """The GPU of this one of several processes on a machine."""
    number, count = distributed.local_rank(), torch.cuda.device_count()
    if device.index is not None:
        raise ValueError(
            f"device is '{device}', but there are {distributed.world()} processes, of which each takes a GPU "
            "of its own; use --device cuda"
        )
    if number >= count:
        raise ValueError(
            f"process {number} of this machine has no GPU: torch sees {count}; start as many processes as "
            "GPUs with torchrun --nproc-per-node, or use --device cpu"
        )
    return torch.device("cuda", number)


def set_up(device: torch.device) -> None:
    """Let cuDNN try once which of its algorithms is fastest: shapes are the same at every step.

    On a CPU, memory that a step gives back is kept for the next one. The C library hands large blocks back to
    the system, which then clears them page by page at each step: up to half of a step's time.

    The precision of float32 products stays torch's: training in bfloat16 has them in the front end only,
    where fewer bits would make other features than those of a CPU.

    >>> set_up(torch.device("cpu"))
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        if distributed.world() > 1:
            torch.cuda.set_device(device)  # what torch moves between processes goes by way of this one
    elif sys.platform == "linux":
        keep_memory()


def keep_memory() -> bool:
    """Tell the C library to keep what is given back to it; False where it is not one that can be told.

    >>> keep_memory() in (True, False)
    True
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(mmap_threshold, 2**30) and mallopt(trim_threshold, 2**31 - 1))


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What the network computes in: "auto" is bfloat16 where the hardware has it.

    >>> pick_dtype("float32", torch.device("cpu"))
    torch.float32
    """
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported()
        else:
            able = torch.cpu.get_capabilities()
            fast = bool(able.get("avx512_bf16") or able.get("amx_bf16"))
        precision = "bfloat16" if fast else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32
