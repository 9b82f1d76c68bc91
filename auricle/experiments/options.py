"""What an experiment is made of: options in, a list of runs and the claims on their rows out."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from auricle.recipes.hershey import hershey
from auricle.shards import Pack
from auricle.training import TrainConfig, configure

VALIDATION = ("validation", "validate", "valid", "val")  # names of splits that are for this
# Coarse choices for runs of some thousand steps, see docs/experiments.md; the paper's 3e-5 of the fully
# connected net is for five million.
LEARNING_RATES = {
    "fully_connected": 3e-4,
    "alexnet": 3e-4,
    "vgg": 3e-4,
    "inception_v3": 1e-3,
    "resnet50": 1e-3,
    "raw_waveform": 3e-4,  # the paper's (Chen et al. 2019, section 4.2)
}
LEARNING_RATE = 1e-3  # of every other model
RANKING = ("auc", "d_prime", "map", "accuracy")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What one comparison was asked for; the same for each of its runs.

    >>> Options(data=Path("pack"), out=Path("out"), train_splits=("a",), test_splits=("b",)).steps
    1000
    """

    data: Path
    out: Path
    train_splits: tuple[str, ...]
    test_splits: tuple[str, ...]
    validation_splits: tuple[str, ...] = ()
    models: tuple[str, ...] = ()  # () is the experiment's own choice
    rows: tuple[str, ...] = ()  # urban: names of rows; () is all that the pack can serve
    steps: int = 1000
    epochs: float | None = None  # urban: instead of steps, of the clips that each training has
    batch: int = 128
    width: float = 1.0
    seeds: tuple[int, ...] = (0,)
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)  # as `auricle train --set`, for every run
    model_settings: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict
    )  # and for those of one model
    device: str = "auto"
    threads: int | None = None
    draws: int = 1000  # of the intervals
    labels: tuple[str, ...] = ()  # label-set: numbers, or names of label sets; () is the experiment's choice
    label_set: str = "labels"
    unlabelled: str = "keep"  # label-set: training clips without any of the labels
    fractions: tuple[float, ...] = ()  # of the recordings to train on; () is the experiment's choice
    finetune_steps: int | None = None  # of step two, where there is one; None: a fifth of the steps
    mixtures: Path | None = None  # a pack of scenes, mixed from the test clips, to judge by too
    judge_training: bool = False  # judge each row on the clips that it was trained on, too
    mix_ranges: tuple[tuple[float, float], ...] = ()  # mix-training: further ranges of ratios, a row each
    embeddings: tuple[str, ...] = ()  # embeddings: sets of the pack; "own" is of a network trained here
    embedder_labels: tuple[str, ...] = ()  # () is every other label
    embedder: str = "resnet50"
    embedder_steps: int | None = None  # None: as many as the detectors'
    heads: tuple[str, ...] = ("fully_connected", "single_attention", "multi_attention")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training with its evaluation: one row of the table (one of several, with several seeds).

    Args:
        name: of its folder; the row's name and the seed.
        row: the name that it has in the table.
        config: all that training needs.
        evaluation: arguments of `auricle.evaluation.evaluate`.
        columns: what else the table says of it, e.g. {"bottleneck": "no"}.
        paper: the figures of the row of the paper beside it.
        makes_embeddings: name of an embedding set that the trained model adds to the pack.
        shown: whether the table has a row of it.
        family: arguments of `auricle.training.train_family`; None where one model is trained.
        of: name of the run whose training this one judges otherwise; "" for one of its own.
        checkpoints: level of labels -> the folder of the run whose model is judged at it, by the protocol of
            urban sound tagging; without any, `last` is judged by ranking.
    """

    name: str
    row: str
    config: TrainConfig
    evaluation: Mapping[str, Any]
    columns: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, Any] = field(default_factory=dict)
    makes_embeddings: str = ""
    shown: bool = True
    family: Mapping[str, Any] | None = None
    of: str = ""
    checkpoints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of a paper: for each pair of rows, that the first has the higher figure.

    What further figures (`beside`) say is told, and decides nothing.
    """

    text: str
    pairs: tuple[tuple[str, str], ...]
    figure: str = "map"
    beside: tuple[str, ...] = ()

    @property
    def rows(self) -> set[str]:
        """The rows it speaks of."""
        return {row for pair in self.pairs for row in pair}


@dataclass(frozen=True, kw_only=True)
class GainClaim:
    """A sentence of a paper on gains: for each entry, that the first pair differs by more, and upwards.

    A pair is (better, base), as in `Claim`: ((mixed on few, plain on few), (mixed on many, plain on many)).
    What loses less does not gain more: the first pair's own difference has to be above zero, too.
    """

    text: str
    gains: tuple[tuple[tuple[str, str], tuple[str, str]], ...]
    figure: str = "map"
    beside: tuple[str, ...] = ()

    @property
    def rows(self) -> set[str]:
        """The rows it speaks of."""
        return {row for pairs in self.gains for pair in pairs for row in pair}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A table of the paper.

    Args:
        title: of the table.
        source: where it stands in the paper.
        columns: names of the columns before the figures.
        runs: in the order in which they are done.
        claims: what the paper concludes.
        paper_only: rows of the paper that no run stands beside.
        notes: sentences for the caption.
        paper_digits: figure -> decimals that the paper gives, where not three.
        figures: by which rows are judged on the test clips.
    """

    title: str
    source: str
    columns: tuple[str, ...]
    runs: tuple[Run, ...]
    claims: tuple[Claim | GainClaim, ...]
    paper_only: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    notes: tuple[str, ...] = ()
    paper_digits: Mapping[str, int] = field(default_factory=dict)
    figures: tuple[str, ...] = RANKING


def choose_splits(
    pack: Pack,
    train: tuple[str, ...] = (),
    validation: tuple[str, ...] = (),
    test: tuple[str, ...] = (),
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Splits to train on, to validate on and to judge by; what is not named is found by its name.

    Raises:
        ValueError: a split is named twice or is not there, or none is called "test" and none was named.

    >>> choose_splits(Pack("out/esc50"), test=("fold5",))  # doctest: +SKIP
    (('fold1', 'fold2', 'fold3', 'fold4'), (), ('fold5',))
    """
    known = sorted({str(split) for split in np.unique(pack.splits)} - {""})
    there = ", ".join(known) or "none"
    if not test:
        if "test" not in known:
            raise ValueError(
                f"{pack.path}: no split is called test (there are: {there}); name one with --test-splits"
            )
        test = ("test",)
    validation = validation or tuple(
        name for name in known if name in VALIDATION and name not in train + test
    )
    train = train or tuple(name for name in known if name not in validation + test)
    named = [*train, *validation, *test]
    for name in named:
        if name not in known:
            raise ValueError(f"{pack.path}: no split {name!r}; there are: {there}")
        if named.count(name) > 1:
            raise ValueError(f"split {name!r} is named for two purposes; a clip trained on cannot judge")
    if not train:
        raise ValueError(f"{pack.path}: no split is left to train on (there are: {there})")
    return train, validation, test


def base_config(
    options: Options, model: str, recipe: Callable[[Path], TrainConfig] = hershey, **changes: Any
) -> TrainConfig:
    """Training by a recipe, with what an experiment changes, then what `--set` changes.

    The recipe `hershey` (Hershey et al. 2017, section 3.1) at a constant rate: that of section 4.1 is not cut
    within five million batches.

    Args:
        options: of the comparison.
        model: its name.
        recipe: where to start.
        changes: fields of the configuration; `model_arguments` are added to the width.

    Raises:
        ValueError: a setting is not known, or does not fit.
    """
    arguments = dict(changes.pop("model_arguments", {}))
    if options.width != 1:
        arguments["width"] = options.width
    config = recipe(options.data)
    given: dict[str, Any] = {
        "name": f"{model}, compared",
        "model": model,
        "model_arguments": arguments,
        "label_set": options.label_set,
        "train_splits": options.train_splits,
        "validation_splits": options.validation_splits,
        "validation_fraction": 0.0,
        "steps": options.steps,
        "batch": options.batch,
        "learning_rate": options.learning_rates.get(model, LEARNING_RATES.get(model, LEARNING_RATE)),
        "schedule": "constant",
        "log_every": max(1, min(config.log_every, options.steps // 50)),
        "validate_every": max(1, min(config.validate_every, options.steps // 5)),
        "checkpoint_every": max(1, min(config.checkpoint_every, options.steps // 20)),
        "device": options.device,
        "threads": options.threads,
    }
    config = dataclasses.replace(config, **(given | changes))
    return configure(config, {**options.settings, **options.model_settings.get(model, {})})


def with_seeds(
    options: Options, row: str, make: Callable[[int], TrainConfig], **rest: Any
) -> tuple[Run, ...]:
    """The runs of one row, one for each seed.

    Args:
        options: whose seeds.
        row: its name in the table.
        make: seed -> configuration.
        rest: further arguments of `Run`.
    """
    folder = row.lower().replace(" ", "-").translate(str.maketrans("", "", ",%()"))
    return tuple(
        Run(name=f"{folder}-seed{seed}", row=row, config=make(seed), **rest) for seed in options.seeds
    )
