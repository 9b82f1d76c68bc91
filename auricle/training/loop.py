"""Training: one visible loop.

Nothing random is kept between steps: what a step draws is a function of (seed, step).  That is why a run that
was killed and resumed ends, on a CPU, with the same weights bit for bit as one that was not.

Several processes (torchrun) go through the same loop, each with its share of every batch: what they do
together is in `auricle.distributed`, which does nothing for one alone.  Rank 0 writes what a run leaves.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auricle import distributed, remote
from auricle.augment import source_samples
from auricle.disk import full_disk_told
from auricle.progress import Progress
from auricle.sampling import PatchSampler
from auricle.shards import Pack
from auricle.shards.layout import locked
from auricle.training.batches import Batches
from auricle.training.beside import check_stored, open_beside
from auricle.training.checkpoints import (
    CHECKPOINT,
    check_alike,
    load_checkpoint,
    open_run,
    save_checkpoint,
    what_counts,
)
from auricle.training.config import TrainConfig
from auricle.training.data import (
    check_shares,
    choose_clips,
    make_sampler,
    padding_in_words,
    partners_in_words,
)
from auricle.training.devices import full_memory_told, pick_device, pick_dtype, set_up
from auricle.training.log import RunLog
from auricle.training.outcome import LiveRunner, find_embedder, save_model
from auricle.training.stages import Stage, begin_finetuning, plan_stages, stage_in_words
from auricle.training.stagnation import after_validation
from auricle.training.start import BEFORE, in_words, take_weights
from auricle.training.state import State, as_saved, make_state, restore
from auricle.training.step import update
from auricle.training.task import Task, make_task
from auricle.training.teachers import open_teachers
from auricle.training.validation import validate

OnValidation = Callable[[int, int, Mapping[str, float]], None]  # step, of how many, figures


class Diverged(ValueError):
    """The loss is no longer a number.

    >>> issubclass(Diverged, ValueError)
    True
    """


@dataclass(kw_only=True)
class Setting:
    """What a run needs before its first step; all of it follows from the configuration and the pack."""

    pack: Pack
    sampler: PatchSampler
    stages: list[Stage]
    state: State
    live: LiveRunner
    task: Task


def train(
    config: TrainConfig,
    out: str | Path,
    *,
    resume: bool = False,
    quiet: bool = False,
    on_validation: OnValidation | None = None,
) -> Path:
    """Train a model on a pack.

    Started by torchrun, the processes train one model together; each calls this, and each returns.

    Args:
        config: everything that decides the result.
        out: the run's folder, or its address (what is in it is then put there with each checkpoint):
            config.json, log.jsonl, tensorboard/, checkpoint.pt, and the models last/ and, where there is
            validation, best/ (by the first of `config.monitors`, mAP as it comes) and
            best-NAME/ (by each other); of a two-step training also stage1/, what step one leaves.
        resume: go on from the run's last checkpoint; a finished run is left as it is. Also what is done where
            torchrun has started the processes again.
        quiet: print nothing.
        on_validation: called after each validation with the step, how many there are (of both stages), and
            the figures. What it raises ends the run, which can be resumed.

    Returns:
        The folder of the trained model: RUN/best with a validation split, RUN/last without.

    Raises:
        ValueError: the pack, the folder or the configuration do not fit (the message says which).
        Diverged: the loss is no longer a number; a ValueError too.
        OutOfMemoryError: the batch does not fit into memory; a ValueError too, and torch's.
        auricle.distributed.EndedElsewhere: another process has ended; a ValueError too.

    >>> train(TrainConfig(data=Path("packs/birds"), epochs=20), "runs/birds")  # doctest: +SKIP
    PosixPath('runs/birds/best')
    """
    resume = resume or distributed.restarts() > 0
    distributed.join(config.device, config.rank_timeout)
    remedy = "make room and go on with --resume"
    with ExitStack() as held, distributed.ends_told():
        copy = held.enter_context(remote.working_copy(out, last=(CHECKPOINT,)))
        run = copy.folder
        with distributed.agreed():
            setting = prepare(config, resume=resume)
        state, stages = setting.state, setting.stages
        counting = distributed.gather(what_counts(config, setting.pack, state.teachers))
        with distributed.agreed():
            check_alike(counting)
        held.enter_context(full_disk_told(run, remedy))
        held.enter_context(full_memory_told(setting.live.device, config))
        saved, finished = distributed.first(lambda: begin(copy, config, setting, held, resume=resume))
        if saved is not None:
            restore(state, saved)
        elif config.init_from:
            state.start = state.start or take_weights(state.net, config)
            state.average.load_state_dict(state.net.state_dict())
        state.predict = distributed.wrap(state.net, state.predict)
        if state.step < stages[-1].end or not finished:
            run_steps(setting, config, run, quiet=quiet, on_validation=on_validation, put=copy.put)
        return distributed.first(lambda: Path(out) / ("best" if (run / "best").is_dir() else "last"))


def prepare(config: TrainConfig, *, resume: bool) -> Setting:
    """All that can be wrong with a configuration is said here, before there is a run."""
    pack = Pack(config.data)
    device = pick_device(config.device)
    set_up(device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    check_shares(config)
    beside = open_beside(config, pack, device, find_embedder)
    embeddings = pack.embeddings(config.embeddings) if config.embeddings and beside is None else None
    train_clips, validation_clips = choose_clips(pack, config)
    check_stored(beside, pack, train_clips, config)
    sampler = make_sampler(pack, train_clips, config, embeddings)
    stages = plan_stages(config, sampler.epoch_size)
    labels = pack.label_names(config.label_set)
    if not labels:
        raise ValueError(
            f"{config.data}: label set {config.label_set!r} has no label, so there is nothing to learn"
        )
    with full_memory_told(device, config):
        state = make_state(config, len(labels), device, embeddings, beside)
    dtype = pick_dtype(config.precision, device)
    live = LiveRunner(
        config, pack, state.average, device, dtype, embeddings=embeddings, beside=beside, clips=train_clips
    )
    teachers = open_teachers(config, live, dtype)
    task = make_task(config, pack, (train_clips, validation_clips), sampler.epoch_size, device, teachers)
    if teachers is not None:
        state.taught, state.teachers = teachers.heard(), teachers.named()
    if embeddings is not None:
        find_embedder(config, embeddings)  # now, rather than when the first model is to be kept
    if config.init_from and not resume:
        state.start = take_weights(state.net, config)  # a model that does not fit leaves no run behind
    return Setting(pack=pack, sampler=sampler, stages=stages, state=state, live=live, task=task)


def begin(
    copy: remote.WorkingCopy, config: TrainConfig, setting: Setting, held: ExitStack, *, resume: bool
) -> tuple[dict[str, Any] | None, bool]:
    """Take the run's folder: its last checkpoint, if it has one, and whether it has its last model."""
    run = copy.folder
    run.mkdir(parents=True, exist_ok=True)
    held.enter_context(locked(run))
    if copy.address:
        held.enter_context(remote.held(copy.address))
        copy.fetch()
    with copy.told():
        open_run(run, config, setting.pack, setting.state.teachers, resume=resume)
    return load_checkpoint(run), (run / "last").is_dir()


def run_steps(
    setting: Setting,
    config: TrainConfig,
    run: Path,
    *,
    quiet: bool,
    on_validation: OnValidation | None = None,
    put: Callable[[], None] = lambda: None,
) -> None:
    """The loop: from the state's step to the last; log, validation, models and checkpoints on the way."""
    pack, sampler, stages, live = setting.pack, setting.sampler, setting.stages, setting.live
    state, task = setting.state, setting.task
    steps, writes = stages[-1].end, distributed.rank() == 0
    reading = read_ahead(pack, task.train_clips, sampler, range(state.step, steps), live, config)
    progress = Progress(steps, "training", "steps", quiet=quiet or not writes)
    with reading as batches, RunLog(run, state.step, quiet=not writes) as log, progress:
        progress.resume_at(state.step)
        counts = {"train_clips": len(task.train_clips), "validation_clips": len(task.validation_clips)}
        where: dict[str, Any] = {"device": str(live.device), "dtype": str(live.dtype).removeprefix("torch.")}
        where |= {"processes": distributed.world()} if distributed.world() > 1 else {}
        log.write(step=state.step, event="start", steps=steps, **counts, **where)
        if state.start and not state.step:
            progress.note(in_words(state.start))
            log.write(step=0, event="init", **{k: v for k, v in state.start.items() if k != BEFORE})
        if not state.step:
            warnings = padding_in_words(pack, task.train_clips, config), partners_in_words(sampler, config)
            for warning in filter(None, warnings):
                progress.note(warning)
        loss = 0.0
        for stage in stages:
            if stage.number > 1 and state.step == stage.first:
                if writes:
                    save_model(run / "stage1", config, pack, live, state)
                begin_finetuning(state, stage.config)
            if stage.first <= state.step < stage.end and len(stages) > 1:
                progress.note(stage_in_words(stage))
                now = {"mixing": stage.config.mixing, "learning_rate": stage.config.learning_rate}
                log.write(step=state.step, event="stage", stage=stage.number, steps=stage.steps, **now)
            for step in range(state.step, stage.end):
                rate = learning_rate(stage.config, step - stage.first, stage.steps)
                if state.stagnation is not None:  # which has no shape of its own but the warm-up's
                    rate = state.stagnation.rate * (rate / stage.config.learning_rate)
                figures = update(state, batches.next(), rate, live, stage.config, task)
                logging, validating, saving = (
                    is_due(state.step, every, stage.end)
                    for every in (config.log_every, task.validate_every, config.checkpoint_every)
                )
                # On a GPU a figure is only looked at when needed: that waits for all that was sent there.
                if logging or validating or saving or live.device.type == "cpu":
                    loss = finite(state.loss.item(), run, step)
                if logging:
                    shown = {name: float(value) for name, value in figures.items()}
                    shown = {"loss": loss, "waited": batches.waited()} | shown
                    log.write(step=state.step, stage=stage.number, **shown)
                validating = validating and len(task.validation_clips) > 0
                if validating:
                    state.metrics = validate(live, pack, task.validation_clips, config)
                    judged = {f"validation_{name}": value for name, value in state.metrics.items()}
                    log.write(step=state.step, stage=stage.number, **judged)
                    progress.note(f"step {state.step}: loss {loss:.3f}, {validation_in_words(state.metrics)}")
                    keep_best(state, run, config, pack, live)
                    if done := follow_figures(state, stage.config):
                        progress.note(done)
                        log.write(step=state.step, event="rate", what=done, **rate_now(state))
                if saving and writes:
                    save_checkpoint(run, as_saved(state))
                    put()  # to where the run lies, if that is elsewhere
                if validating and on_validation is not None:  # after the checkpoint: it may end the run
                    on_validation(state.step, steps, state.metrics)
                progress.advance(note=f"stage {stage.number}, " * (len(stages) > 1) + f"loss {loss:.3f}")
    if writes:
        save_model(run / "last", config, pack, live, state)
        put()


def keep_best(state: State, run: Path, config: TrainConfig, pack: Pack, live: LiveRunner) -> None:
    """Keep the model for each figure that is higher than ever: best/ for the first, best-NAME/ for others."""
    for place, name in enumerate(config.monitors):
        if state.metrics[name] > state.best.get(name, -math.inf):
            state.best[name] = state.metrics[name]
            if distributed.rank() == 0:
                save_model(run / (f"best-{name}" if place else "best"), config, pack, live, state)


def follow_figures(state: State, config: TrainConfig) -> str:
    """Move the rate of a schedule that follows validation; what was done, for people, "" for nothing."""
    if state.stagnation is None:
        return ""
    monitored = {name: state.metrics[name] for name in config.monitors}
    return after_validation(state.stagnation, monitored, config)


def rate_now(state: State) -> dict[str, float]:
    """The rate of a schedule that follows validation, and how often it has begun again, for the log."""
    assert state.stagnation is not None
    return {"rate": state.stagnation.rate, "restarts": state.stagnation.restarts}


def read_ahead(
    pack: Pack,
    clips: np.ndarray,
    sampler: PatchSampler,
    steps: range,
    live: LiveRunner,
    config: TrainConfig,
) -> Batches:
    """The batches of these steps, read by a thread."""
    from_audio = source_samples(config.window, config.speed_spread)
    return Batches(
        pack,
        clips,
        sampler,
        samples=from_audio if live.embeddings is None else config.embedding_windows,
        label_set=config.label_set,
        steps=steps,
        embeddings=live.embeddings if live.beside is None else live.beside.stored,
        beside=None if live.beside is None else live.beside.rows_CT,
        pin=live.device.type == "cuda",
    )


def finite(loss: float, run: Path, step: int) -> float:
    """The loss, if it is a number.

    >>> finite(0.5, Path("run"), 3)
    0.5
    """
    if not math.isfinite(loss):
        raise Diverged(
            f"{run}: the loss of step {step} is {loss}; lower learning_rate, or set precision=float32"
        )
    return loss


def validation_in_words(metrics: Mapping[str, float]) -> str:
    """What is shown of a validation.

    >>> validation_in_words({"map": 0.5, "accuracy": 0.25, "auc": 0.75})
    'validation mAP 0.500, accuracy 0.250'
    """
    said = f"validation mAP {metrics['map']:.3f}, accuracy {metrics['accuracy']:.3f}"
    levels = [name for name in ("fine", "coarse") if f"micro_auprc_{name}" in metrics]
    urban = [f"{name} {metrics[f'micro_auprc_{name}']:.3f}" for name in levels]
    return said + (f", micro AUPRC {', '.join(urban)}" if urban else "")


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The rate of a step: a linear rise, then the schedule.

    >>> config = TrainConfig(data=Path("pack"), steps=10, learning_rate=1.0, warmup_steps=0, schedule="step")
    >>> [learning_rate(config, step, 17) for step in (0, 12, 13)]
    [1.0, 1.0, 0.1]
    """
    rise = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    shape = 1.0
    if config.schedule == "cosine":
        shape = 0.5 + 0.5 * math.cos(math.pi * step / steps)
    elif config.schedule == "step" and step >= config.drop_at * steps:
        shape = 0.1
    return config.learning_rate * rise * shape


def is_due(step: int, every: int, steps: int) -> bool:
    """Whether something done every so many steps, and at the end, is done now.

    >>> [is_due(step, 2, 5) for step in (1, 2, 5)]
    [False, True, True]
    """
    return step % every == 0 or step == steps
