"""What the processes of tests of distributed training do: torchrun starts them with a case and arguments."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tiny_urban
import torch
from tones import TinyPlain, config_for

import auricle.training.loop as loop
from auricle import distributed
from auricle.models import MODELS
from auricle.training import TrainConfig, train, train_family
from auricle.training.state import State

PLAIN: dict[str, Any] = {
    "mixing": "none",
    "speed_spread": 0.0,
    "mask_frames": 0,
    "mask_bands": 0,
    "model_arguments": {"stem": 8, "widths": [8, 16], "blocks": [1, 1], "dropout": 0.0},
}
WITHOUT_NORM = PLAIN | {"model": "tiny_plain", "model_arguments": {}, "learning_rate": 0.01}


def spawn(
    count: int,
    *arguments: str,
    options: tuple[str, ...] = (),
    script: tuple[str, ...] = (),
    timeout: float = 600,
) -> subprocess.CompletedProcess[str]:
    """`arguments` done by so many processes, each with one thread."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    environment = {name: value for name, value in os.environ.items() if name not in distributed.ENVIRONMENT}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run(
        [*command, *options, *(script or (__file__,)), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
    )


def taken_steps(config: TrainConfig, steps: int) -> tuple[loop.Setting, list[dict[str, Any]]]:
    """Training's own steps one by one, and what each of them gave: its loss and gradient."""
    distributed.join(config.device, config.rank_timeout)
    setting = loop.prepare(config, resume=False)
    state = setting.state
    state.predict = distributed.wrap(state.net, state.predict)
    found = []
    with loop.read_ahead(
        setting.pack, setting.task.train_clips, setting.sampler, range(steps), setting.live, config
    ) as batches:
        for _ in range(steps):
            before = state.loss.item() * min(state.step, 49)
            figures = loop.update(state, batches.next(), 0.01, setting.live, config, setting.task)
            loss = state.loss.item() * min(state.step, 50) - before
            gradient = [p.grad.flatten() for p in state.net.parameters() if p.grad is not None]
            norm = float(figures["gradient_norm"])
            found.append({"loss": loss, "norm": norm, "gradient": torch.cat(gradient).numpy().copy()})
    return setting, found


def buffers(net: torch.nn.Module) -> np.ndarray:
    return torch.cat([buffer.flatten().double() for buffer in net.buffers()]).numpy()


def case_steps(corpus: str, out: str, changes: dict[str, Any]) -> None:
    """Steps, statistics and a validation, written by each process."""
    config = config_for(Path(corpus), **PLAIN | changes)
    setting, found = taken_steps(config, 4)
    state = setting.state
    own = buffers(state.average)
    loop.validate(setting.live, setting.pack, setting.task.validation_clips, config)
    figures = loop.validate(setting.live, setting.pack, setting.task.validation_clips[:1], config)
    whole = loop.validate(setting.live, setting.pack, setting.task.validation_clips, config)
    np.savez(
        Path(out) / f"rank{distributed.rank()}.npz",
        loss=[one["loss"] for one in found],
        norm=[one["norm"] for one in found],
        gradient=np.stack([one["gradient"] for one in found]),
        weights=torch.cat([p.detach().flatten() for p in state.net.parameters()]).numpy(),
        own=own,
        shared=buffers(state.average),
        figures=json.dumps([whole, figures]),
        drawn=np.stack([setting.sampler.draw(step)[0] for step in range(9)]),
        together=json.dumps(_together()),
    )


def _together() -> dict[str, Any]:
    """What the plain functions give."""
    rank = distributed.rank()
    found: dict[str, Any] = {
        "gather": distributed.gather({"rank": rank}),
        "broadcast": distributed.broadcast(f"of {rank}"),
        "mean": distributed.mean(torch.tensor(float(rank))).item(),
        "add": distributed.add(np.array([1, rank])).tolist(),
        "first": distributed.first(lambda: f"made by {rank}"),
    }
    try:
        with distributed.agreed():
            if rank == 1:
                raise OSError("no such disk")
    except Exception as error:
        found["agreed"] = f"{type(error).__name__}: {error}"
    return found


def case_train(corpus: str, out: str, changes: dict[str, Any], dying: dict[str, Any]) -> None:
    """A training, in which a process may come to an end: {"rank", "step", "how", "restarts"}."""
    plain: Callable[..., Any] = loop.update

    def update_or_die(state: State, *rest: Any) -> Any:
        now = (distributed.rank(), state.step, distributed.restarts())
        if "rank" in dying and now == (dying["rank"], dying["step"], dying.get("restarts", 0)):
            if dying["how"] == "error":
                raise ValueError("the disk of this machine has gone")
            os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[dying["how"]])
            time.sleep(60)
        return plain(state, *rest)

    loop.update = update_or_die
    if distributed.restarts() and os.environ["RANK"] == "1":
        time.sleep(1)  # the first must not take the addresses of those that ended for those of the new ones
    config = config_for(Path(corpus), **changes)
    best = train(config, out, resume=dying.get("resume", False), quiet=True)
    sys.stdout.write(f"{best}\n")  # as one: print writes the end of the line apart, amid another process's


def case_family(corpus: str, out: str, changes: dict[str, Any]) -> None:
    train_family(tiny_urban.config_for(Path(corpus), **changes), out, quiet=True)


def main() -> None:
    from auricle.cli import _say, leave

    case, *texts = sys.argv[1:]
    try:
        globals()[f"case_{case}"](*(json.loads(text) for text in texts))
        distributed.leave()
        leave(0)
    except Exception as error:
        if os.environ.get("AURICLE_DEBUG") == "1":
            raise
        _say(error)
        leave(1)


if __name__ == "__main__":
    MODELS["tiny_plain"] = TinyPlain  # of this process alone: tests go over all models that there are
    main()
