"""Table 4 of Hershey et al. 2017: the same network on nested parts of the recordings.

Source: "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017, section 4.3: ResNet-50 for
16 M mini-batches on 70 M to 23 K videos; here fractions of what there is. A recording is kept by the rank of
a hash of its name, so each part lies within the next larger one.
"""

from itertools import pairwise
from typing import Any

from auricle.experiments.options import Claim, Experiment, Options, Run, base_config, with_seeds

FRACTIONS = (1.0, 0.5, 0.2, 0.1, 0.05)
PAPER = (  # fraction of 70 M videos, and the row
    ("70M", {"fraction": 1.0, "steps": 16e6, "auc": 0.923, "d_prime": 2.019, "map": 0.206}),
    ("7M", {"fraction": 0.1, "steps": 16e6, "auc": 0.922, "d_prime": 2.006, "map": 0.202}),
    ("700K", {"fraction": 0.01, "steps": 16e6, "auc": 0.921, "d_prime": 1.997, "map": 0.203}),
    ("70K", {"fraction": 0.001, "steps": 16e6, "auc": 0.909, "d_prime": 1.883, "map": 0.162}),
    ("23K", {"fraction": 0.00033, "steps": 16e6, "auc": 0.868, "d_prime": 1.581, "map": 0.118}),
)


def training_size(options: Options) -> Experiment:
    """One row for each of `options.fractions` and each of `options.models` (ResNet-50 by default).

    Raises:
        ValueError: a configuration does not fit.
    """
    models = options.models or ("resnet50",)
    fractions = sorted(set(options.fractions or FRACTIONS), reverse=True)
    evaluation = {"splits": options.test_splits, "label_set": options.label_set}
    runs: tuple[Run, ...] = ()
    pairs: list[tuple[str, str]] = []
    for model in models:
        for fraction in fractions:

            def make(seed: int, model: str = model, fraction: float = fraction) -> Any:
                return base_config(options, model, seed=seed, train_fraction=fraction)

            columns = {"fraction": fraction}
            runs += with_seeds(options, _row(model, fraction), make, evaluation=evaluation, columns=columns)
        pairs += [(_row(model, more), _row(model, less)) for more, less in pairwise(fractions)]
    ends = [(_row(model, fractions[0]), _row(model, fractions[-1])) for model in models]
    return Experiment(
        title="Training set size",
        source="Hershey et al. 2017, table 4",
        columns=("fraction", "train_clips", "steps", "hours"),
        runs=runs,
        claims=(
            Claim(
                text="More recordings help: the most against the fewest.",
                pairs=tuple(ends) if len(fractions) > 1 else (),
            ),
            Claim(text="More recordings help: each step of the size.", pairs=tuple(pairs)),
        ),
        paper_only=PAPER,
        notes=(
            "Fractions are of the source recordings to train on; every row has the same number of steps.",
        ),
    )


def _row(model: str, fraction: float) -> str:
    return f"{model}, {100 * fraction:g}%"
