"""The trials of a sweep: kept in Optuna's storage, taken by one process at a time, found again after a kill.

A trial that runs is held by a lock on a file under OUT/locks. The lock goes with its process, so a trial that
the storage calls running and whose lock is free was killed, and whoever comes next goes on with it. Trials
are handed out one at a time under OUT/locks/claim. Of several folders on one storage each has a name (its
place): a trial goes on where its checkpoint lies.
"""

import json
import os
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auricle.experiments.space import Range, Space, as_setting, distribution, grid
from auricle.sampling import hash_uint64
from auricle.shards.layout import write_json

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("median", "none")
BEFORE_PRUNING = 5  # finished trials that the median is of
WAIT_SECONDS = 60  # for another process that writes to an SQLite file


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The trials of one sweep, as seen from one folder.

    Args:
        study: Optuna's.
        storage: where it lies.
        study_id: its number there.
        out: the folder.
        place: the folder's name in the storage.
        space: what varies.
        sampler: how values are chosen.
        seed: of the choice.
    """

    study: Any
    storage: Any
    study_id: int
    out: Path
    place: str
    space: Space
    sampler: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A trial that this process holds until `lock` is closed."""

    trial: Any  # Optuna's, with its values chosen
    number: int
    settings: dict[str, str]
    lock: Any
    again: bool  # was begun before


def open_storage(text: str) -> Any:
    """Optuna's storage: a database's URL, or `journal:FILE` for a file on a network disk.

    Raises:
        ValueError: it cannot be opened.

    >>> open_storage("sqlite:///sweep.db")  # doctest: +SKIP
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if text.startswith("journal:"):
            from optuna.storages.journal import JournalFileBackend, JournalStorage

            path = Path(text.removeprefix("journal:"))
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(path)))
        options = {"connect_args": {"timeout": WAIT_SECONDS}} if text.startswith("sqlite") else {}
        return optuna.storages.RDBStorage(text, engine_kwargs=options)
    except Exception as error:  # the many of SQLAlchemy, of drivers and of file systems
        where = text.rpartition("@")[2]  # without a password
        raise ValueError(
            f"storage {where}: cannot be opened ({type(error).__name__}); expected a database's URL such as "
            "sqlite:///FILE or postgresql://HOST/NAME with its driver installed, or journal:FILE"
        ) from error


@contextmanager
def open_trials(
    out: Path,
    *,
    storage: str,
    name: str,
    asked: dict[str, Any],
    space: Space,
    sampler: str,
    pruner: str,
    prune_after: int,
    seed: int,
) -> Iterator[Trials]:
    """The sweep of that name, made where there is none.

    Args:
        out: an existing folder.
        storage: as `open_storage` takes it; "" is an SQLite file in `out`.
        name: of the sweep in the storage.
        asked: what all of its trials have in common; the same for everyone who takes part.
        space: what varies.
        sampler: one of SAMPLERS.
        pruner: one of PRUNERS.
        prune_after: steps before which nothing is stopped.
        seed: of the choice.

    Raises:
        ValueError: the sweep that is there was asked for with something else.
    """
    import optuna

    pruning = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=BEFORE_PRUNING, n_warmup_steps=prune_after),
        "none": optuna.pruners.NopPruner(),
    }[pruner]
    (out / "locks").mkdir(exist_ok=True)
    with waiting_lock(out / "locks" / "claim"):  # two at once would both make the tables
        opened = open_storage(storage or f"sqlite:///{out.resolve()}/sweep.db")
        study = optuna.create_study(
            storage=opened, pruner=pruning, study_name=name, direction="maximize", load_if_exists=True
        )
        if "asked" not in study.user_attrs:
            study.set_user_attr("asked", json.dumps(asked))
        check_same(json.loads(study.user_attrs["asked"]), asked, name)
        place = out / "place.json"
        if not place.is_file():
            write_json(place, {"place": f"{platform.node()}-{uuid.uuid4().hex[:12]}"})
    try:
        yield Trials(
            study=study,
            storage=opened,
            study_id=opened.get_study_id_from_name(name),
            out=out,
            place=json.loads(place.read_text(encoding="utf-8"))["place"],
            space=space,
            sampler=sampler,
            seed=seed,
        )
    finally:
        if hasattr(opened, "engine"):
            opened.remove_session()
            opened.engine.dispose()


def check_same(was: dict[str, Any], now: dict[str, Any], name: str) -> None:
    """Refuse to put trials together that do not compare.

    >>> check_same({"recipe": "a"}, {"recipe": "b"}, "mine")
    Traceback (most recent call last):
    ValueError: sweep 'mine' was begun with recipe a, and b is asked for now; give the same, or ...
    """
    for key in now:
        if was.get(key) != now[key]:
            old, new = (
                ", ".join(f"{part}={text}" for part, text in value.items()) or "none"
                if isinstance(value, dict)
                else value
                for value in (was.get(key), now[key])
            )
            raise ValueError(
                f"sweep {name!r} was begun with {key} {old}, and {new} is asked for now; give the same, or "
                "another --out (with --storage, another --name)"
            )


def take(trials: Trials, most: int) -> Taken | None:
    """A trial to work on: one that was killed in this folder, else a new one; None where there are enough.

    Args:
        trials: of the sweep.
        most: trials that there may be in all.
    """
    import optuna

    running, worker = optuna.trial.TrialState.RUNNING, f"{platform.node()}:{os.getpid()}"
    with waiting_lock(trials.out / "locks" / "claim"):
        found = trials.storage.get_all_trials(trials.study_id, deepcopy=False)
        for old in found:
            if old.state == running and old.user_attrs.get("place") == trials.place:
                lock = try_lock(_lock_file(trials, old.number))
                if lock is None:
                    continue
                if trials.storage.get_trial(old._trial_id).state == running and _in_grid(
                    trials, old._trial_id
                ):
                    trials.storage.set_trial_user_attr(old._trial_id, "worker", worker)
                    return _attach(trials, old._trial_id, old.number, lock, again=True)
                lock.close()  # was finished between our two looks
        if len(found) >= most:
            return None
        begun = optuna.trial.create_trial(state=running, user_attrs={"place": trials.place, "worker": worker})
        identity = trials.storage.create_new_trial(trials.study_id, template_trial=begun)
        number = trials.storage.get_trial(identity).number
        if not _in_grid(trials, identity):
            return None
        lock = try_lock(_lock_file(trials, number))
        assert lock is not None, "a new trial is nobody's yet"
        return _attach(trials, identity, number, lock, again=False)


def _in_grid(trials: Trials, identity: int) -> bool:
    """Whether a trial has a point; where two folders share a storage both may begin the last one."""
    import optuna

    number = trials.storage.get_trial(identity).number
    if trials.sampler != "grid" or number < len(grid(trials.space, trials.seed)):
        return True
    trials.storage.set_trial_user_attr(identity, "ended", "failed: one more than the grid has points")
    trials.storage.set_trial_state_values(identity, optuna.trial.TrialState.FAIL)
    return False


def _attach(trials: Trials, identity: int, number: int, lock: Any, *, again: bool) -> Taken:
    """Choose the values that are not chosen yet; those of a trial depend on those before it and the seed."""
    import optuna

    seed = int(hash_uint64(trials.seed, number, 23)) % 2**32
    known = trials.storage.get_trial(identity).params
    if trials.sampler == "grid":
        for key, value in grid(trials.space, trials.seed)[number].items():
            if key not in known:
                kind = distribution(trials.space[key])
                trials.storage.set_trial_param(identity, key, kind.to_internal_repr(value), kind)
    trials.study.sampler = (
        optuna.samplers.TPESampler(seed=seed)
        if trials.sampler == "tpe"
        else optuna.samplers.RandomSampler(seed=seed)
    )
    trials.study.get_trials(deepcopy=False)  # its cache writes to no trial that it has not read
    trial = optuna.trial.Trial(trials.study, identity)
    settings = {key: as_setting(_choose(trial, key, item)) for key, item in trials.space.items()}
    return Taken(trial=trial, number=number, settings=settings, lock=lock, again=again)


def _choose(trial: Any, key: str, item: Range | tuple[str, ...]) -> Any:
    """A value by the study's sampler; the one that was chosen before, where there is one."""
    if isinstance(item, tuple):
        return trial.suggest_categorical(key, item)
    if item.whole:
        return trial.suggest_int(key, int(item.low), int(item.high), log=item.log)
    return trial.suggest_float(key, item.low, item.high, log=item.log)


def _lock_file(trials: Trials, number: int) -> Path:
    return trials.out / "locks" / f"{number:04d}"


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Hold a file against other processes, after those that hold it.

    >>> import tempfile
    >>> with waiting_lock(Path(tempfile.mkdtemp()) / "lock"):
    ...     pass
    """
    with path.open("a") as stream:
        _flock(stream, wait=True)
        yield


def try_lock(path: Path) -> Any:
    """An open file that holds the lock until it is closed; None where another process has it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "lock"
    >>> held = try_lock(path)
    >>> try_lock(path) is None
    True
    >>> held.close()
    """
    stream = path.open("a")
    if _flock(stream, wait=False):
        return stream
    stream.close()
    return None


def _flock(stream: Any, *, wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: a sweep is for one process at a time there
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
