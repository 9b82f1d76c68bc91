"""A coarse choice of each network's learning rate, inside the training folds.

Source: Hershey et al. 2017, section 3.3: the rate was coarsely optimised for each network; which ones were
tried it does not say.
"""

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from auricle.experiments.compare import EXPERIMENTS, show_plan
from auricle.experiments.estimate import WITHOUT_STEP_TWO, estimate
from auricle.experiments.options import Options, Run
from auricle.progress import is_silent
from auricle.shards import Pack
from auricle.training import Diverged, TrainConfig, train


def choose_rates(
    experiment: str, options: Options, rates: Sequence[float], *, steps: int, plan_only: bool = False
) -> Options:
    """Train each network shortly at each rate; the rate of the best validation mAP is taken.

    Trials lie in OUT/rates and go on where they were stopped; OUT/rates.json holds what they gave. A rate
    that is given by name is left as it is.

    Args:
        experiment: whose networks.
        options: with validation splits, which neither trains nor judges anything else.
        rates: to try.
        steps: of each trial.
        plan_only: print how long it would take, and choose nothing.

    Raises:
        ValueError: there is no validation split, no rate, or embeddings to learn from are not made yet.

    >>> options = Options(
    ...     data=Path("out/esc50"),
    ...     out=Path("out/t2"),
    ...     train_splits=("fold1",),
    ...     validation_splits=("fold4",),
    ...     test_splits=("fold5",),
    ... )
    >>> choose_rates("architectures", options, [3e-4, 1e-3], steps=200).learning_rates  # doctest: +SKIP
    {'fully_connected': 0.0003, 'alexnet': 0.0003, 'vgg': 0.0003, 'inception_v3': 0.001, 'resnet50': 0.001}
    """
    if not options.validation_splits:
        raise ValueError("--rates chooses by validation mAP: name splits for it with --validation-splits")
    if experiment == "urban":
        raise ValueError("--rates chooses by mAP, which urban has not; name rates with --learning-rate")
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise ValueError(f"expected learning rates above 0 to choose among, got {list(rates)}")
    configs: dict[str, TrainConfig] = {}
    for run in EXPERIMENTS[experiment](options).runs:
        if run.config.model not in options.learning_rates:
            configs.setdefault(run.config.model, run.config)
    made = Pack(options.data).embedding_sets
    if unmade := sorted(model for model, config in configs.items() if config.embeddings not in ("", *made)):
        raise ValueError(
            f"--rates cannot try {', '.join(unmade)}: the embeddings that it learns from are made in the "
            "comparison itself; give its rate with --learning-rate"
        )
    trials = {
        (model, rate): dataclasses.replace(
            config,
            learning_rate=rate,
            steps=steps,
            schedule="constant",
            validate_every=steps,
            **WITHOUT_STEP_TWO,
        )
        for model, config in configs.items()
        for rate in rates
    }
    if not trials:  # every rate is given
        return options
    folder = options.out / "rates"
    runs = [
        Run(
            name=f"{model}-{rate:g}",
            row=model,
            config=config,
            evaluation={"splits": options.validation_splits},
        )
        for (model, rate), config in trials.items()
    ]
    todo = [run for run in runs if not (folder / run.name / "last").is_dir()]
    if todo and (plan_only or not is_silent()):
        show_plan(estimate(todo), len(runs) - len(todo))
    if plan_only:
        return options
    found: dict[str, dict[str, float | None]] = {}
    chosen: dict[str, float] = {}
    for run in runs:
        try:
            train(run.config, folder / run.name, resume=True)
            reached = last_map(folder / run.name)
        except Diverged:  # as poor as can be
            reached = None
        found.setdefault(run.row, {})[f"{run.config.learning_rate:g}"] = reached
    for model, maps in found.items():
        best = max(maps, key=lambda rate: (maps[rate] is not None, maps[rate] or 0.0))
        chosen[model] = float(best)
        if not is_silent():
            print(f"{model}: learning rate {best} of {', '.join(maps)}", file=sys.stderr)
    (options.out / "rates.json").write_text(
        json.dumps({"steps": steps, "map": found, "chosen": chosen}, indent=2) + "\n", encoding="utf-8"
    )
    return dataclasses.replace(options, learning_rates={**chosen, **options.learning_rates})


def last_map(run: Path) -> float | None:
    """The last validation mAP in a run's log."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return next(
        (json.loads(line)["validation_map"] for line in reversed(lines) if "validation_map" in line), None
    )
