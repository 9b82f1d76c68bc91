"""Several processes that train one network: who they are, what they add up, and how they end together.

torchrun starts the processes and tells each its rank, its number among them. Everything here does nothing
where a process is alone, so that what calls it is written once. The only importer of torch.distributed.

Tensors on a GPU are summed by NCCL, all else by gloo; Python's objects (figures, names, arrays of counts) go
by gloo too.
"""

import gc
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Value = TypeVar("Value")

ENVIRONMENT = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # beside WORLD_SIZE; set by torchrun
OF_OTHERS = (
    "gloo",
    "nccl",
    "pair closure",
    "closed by peer",
    "reset by peer",
    "timed out waiting",
    "broken pipe",
)
QUIET = (  # what torch says of 1 x 1 kernels, and of an argument whose successor some of its versions lack
    "Grad strides do not match bucket view strides",
    "`broadcast_buffers` is deprecated",
)


class EndedElsewhere(ValueError):
    """Another process of the same training could not go on.

    >>> issubclass(EndedElsewhere, ValueError)
    True
    """

    elsewhere = True  # it is the other process that knows why


def join(device: str = "auto", seconds: float = 600.0) -> None:
    """Meet the processes that were started with this one; alone, or when they have met, do nothing.

    Args:
        device: that was asked for; "cpu" needs no NCCL.
        seconds: how long any of them waits for another, now and later, before it gives up.

    Raises:
        ValueError: the environment names other processes but not how to meet them.
        EndedElsewhere: they have not all come in time.

    >>> join()
    >>> rank(), world()
    (0, 1)
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count < 2 or _met():
        return
    if missing := [name for name in ENVIRONMENT if name not in os.environ]:
        raise ValueError(
            f"WORLD_SIZE is {count}, but {', '.join(missing)} is not set; start with torchrun "
            f"--nproc-per-node {count} -m auricle train ..., or unset WORLD_SIZE to train alone"
        )
    for message in QUIET:
        warnings.filterwarnings("ignore", message=message)
    if not dist.is_available():
        raise ValueError(f"WORLD_SIZE is {count}, but this torch was built without torch.distributed")
    with_gpu = device != "cpu" and torch.cuda.is_available() and dist.is_nccl_available()
    wait = timedelta(seconds=seconds)
    with ends_told():
        store, number, count = next(dist.rendezvous("env://", timeout=wait))
        # torchrun may give restarted processes the store of those that ended, with their addresses in it.
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if with_gpu else "gloo",
            store=dist.PrefixStore(f"{restarts()}/{count}", store),
            rank=number,
            world_size=count,
            timeout=wait,
        )


def leave() -> None:
    """Part from the other processes, at the end of what went well.

    gloo's threads may hold tensors still, and abort the process if Python ends under them: they end with the
    group, which a network that was wrapped (`wrap`) holds until it is collected.

    >>> leave()
    """
    if _met():
        dist.destroy_process_group()
        gc.collect()


def _met() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number, from 0.

    >>> rank()
    0
    """
    return dist.get_rank() if _met() else 0


def world() -> int:
    """How many processes there are.

    >>> world()
    1
    """
    return dist.get_world_size() if _met() else 1


def local_rank() -> int:
    """This process's number on its machine: which of its GPUs it takes.

    >>> local_rank()
    0
    """
    return int(os.environ["LOCAL_RANK"]) if _met() else 0


def restarts() -> int:
    """How often torchrun has started all processes again (`--max-restarts`).

    >>> restarts()
    0
    """
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def gather(value: Value) -> list[Value]:
    """The values of all processes, by rank, on each of them.

    >>> gather("mine")
    ['mine']
    """
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def broadcast(value: Value) -> Value:
    """The value of rank 0, on every process.

    >>> broadcast({"map": 0.5})
    {'map': 0.5}
    """
    if world() == 1:
        return value
    values = [value if rank() == 0 else None]
    dist.broadcast_object_list(values, src=0)
    return values[0]  # type: ignore[return-value]


def mean(value: Tensor) -> Tensor:
    """The mean over all processes, on each of them; the tensor itself is changed.

    >>> mean(torch.tensor(2.0)).item()
    2.0
    """
    if world() > 1:
        dist.all_reduce(value)
        value /= world()
    return value


def add(counts: np.ndarray) -> np.ndarray:
    """Whole numbers added up over all processes, on each of them.

    >>> add(np.array([1, 2])).tolist()
    [1, 2]
    """
    if world() == 1:
        return counts
    summed = torch.from_numpy(np.ascontiguousarray(counts, np.int64).copy())
    dist.all_reduce(summed)
    return summed.numpy()


@contextmanager
def agreed() -> Iterator[None]:
    """What one process cannot do within ends all of them: none goes on to wait for one that is gone.

    Nothing within may itself wait for other processes.

    Raises:
        EndedElsewhere: another process has raised something; the first that has raises what it was.

    >>> with agreed():
    ...     raise ValueError("no such pack")
    Traceback (most recent call last):
    ValueError: no such pack
    """
    if world() == 1:
        yield
        return
    failed: Exception | None = None
    try:
        yield
    except Exception as error:
        failed = error
    said = gather(None if failed is None else str(failed) or type(failed).__name__)
    failing = [number for number, text in enumerate(said) if text is not None]
    if failed is not None and rank() == failing[0]:
        raise failed
    if failing:
        raise EndedElsewhere(f"process {failing[0]} could not go on: {said[failing[0]]}")


def first(work: Callable[[], Value]) -> Value:
    """What rank 0 makes of something that only one may do, on every process; the others wait.

    Raises:
        EndedElsewhere: rank 0 has raised something, which it raises itself.

    >>> first(lambda: 3)
    3
    """
    made: Any = None
    with agreed():
        if rank() == 0:
            made = work()
    return broadcast(made)


@contextmanager
def ends_told() -> Iterator[None]:
    """What torch says when another process is gone, or silent for too long, becomes an `EndedElsewhere`.

    >>> with ends_told():
    ...     raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    Traceback (most recent call last):
    auricle.distributed.EndedElsewhere: another process of this training has ended or no longer answers
    ([gloo/transport/tcp/pair.cc:534] Connection closed by peer); if one of them has said why, that is the
    reason; the same command with --resume goes on from the last checkpoint
    """
    try:
        yield
    except RuntimeError as error:
        known = isinstance(error, dist.DistError)
        if not known and not any(words in str(error).lower() for words in OF_OTHERS):
            raise
        said = " ".join(str(error).split("\n")[0].split())
        raise EndedElsewhere(
            f"another process of this training has ended or no longer answers ({said}); if one of them has "
            "said why, that is the reason; the same command with --resume goes on from the last checkpoint"
        ) from error


class _Called(nn.Module):
    """A network with the function that training calls, which need not be its forward."""

    def __init__(self, net: nn.Module, predict: Callable[..., Any]):
        super().__init__()
        self.net = net
        # Never used: torch warns at the first step where it looks for such parameters and finds none.
        self.unused = nn.Parameter(next(net.parameters()).new_zeros(1))
        self._predict = (predict,)  # in a tuple: a module would be counted twice

    def forward(self, inputs: Any) -> Any:
        return self._predict[0](inputs)


def wrap(net: nn.Module, predict: Callable[..., Any]) -> Callable[..., Any]:
    """The function that training calls, so that gradients of `net` become means over all processes.

    All begin with the weights of rank 0. Statistics of batch norm are each process's own, of its share of the
    batch, and those of rank 0 are kept (`share_buffers`), unless its layers are synchronised.

    The order in which gradients are packed together decides in which order three or more processes are added
    up. torch changes it after the first step, unless it is to look for parameters that are not used: then a
    resumed run adds up as one that was never stopped.

    >>> net = nn.Linear(2, 1)
    >>> wrap(net, net) is net
    True
    """
    if world() == 1:
        return predict
    return DistributedDataParallel(
        _Called(net, predict),
        broadcast_buffers=False,
        find_unused_parameters=True,
        gradient_as_bucket_view=True,
    )


def unsummed(predict: Callable[..., Any]) -> AbstractContextManager[None]:
    """Within, gradients are gathered on this process only: for all parts of a batch but the last.

    >>> with unsummed(nn.Linear(2, 1)):
    ...     pass
    """
    return predict.no_sync() if isinstance(predict, DistributedDataParallel) else nullcontext()


def share_buffers(net: nn.Module) -> None:
    """Give every process the buffers that rank 0's network has: its running statistics.

    >>> share_buffers(nn.BatchNorm1d(2))
    """
    if world() > 1:
        for buffer in net.buffers():
            dist.broadcast(buffer, src=0)
