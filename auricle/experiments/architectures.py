"""Table 2 of Hershey et al. 2017: five networks after the same number of mini-batches, one trained longer.

Source: "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017, section 4.1: 5 M mini-batches
of 128 patches each; ResNet-50 again for 17 M, its rate cut tenfold after 13 M.
"""

from typing import Any

from auricle.experiments.options import Claim, Experiment, Options, Run, base_config, with_seeds

MODELS = ("fully_connected", "alexnet", "vgg", "inception_v3", "resnet50")
LONGER = "resnet50 longer"
LONGER_BY, DROP_AT = 17 / 5, 13 / 17
PAPER = {
    "fully_connected": {"steps": 5e6, "hours": 35, "auc": 0.851, "d_prime": 1.471, "map": 0.058},
    "alexnet": {"steps": 5e6, "hours": 82, "auc": 0.894, "d_prime": 1.764, "map": 0.115},
    "vgg": {"steps": 5e6, "hours": 184, "auc": 0.911, "d_prime": 1.909, "map": 0.161},
    "inception_v3": {"steps": 5e6, "hours": 137, "auc": 0.918, "d_prime": 1.969, "map": 0.181},
    "resnet50": {"steps": 5e6, "hours": 119, "auc": 0.916, "d_prime": 1.952, "map": 0.182},
    LONGER: {"steps": 17e6, "hours": 356, "auc": 0.926, "d_prime": 2.041, "map": 0.212},
}


def architectures(options: Options) -> Experiment:
    """The five networks, or those of `options.models`; "resnet50 longer" among them is the last row.

    Raises:
        ValueError: a configuration does not fit.
    """
    names = options.models or (*MODELS, LONGER)
    evaluation = {"splits": options.test_splits, "label_set": options.label_set}
    runs: tuple[Run, ...] = ()
    for name in names:
        model = name.removesuffix(" longer")
        changes: dict[str, Any] = {}
        if model != name:
            steps = round(options.steps * LONGER_BY)
            changes = {"steps": steps, "schedule": "step", "drop_at": DROP_AT}

        def make(seed: int, model: str = model, changes: dict[str, Any] = changes) -> Any:
            return base_config(options, model, seed=seed, **changes)

        runs += with_seeds(options, name, make, evaluation=evaluation, paper=PAPER.get(name, {}))
    return Experiment(
        title="Architectures",
        source="Hershey et al. 2017, table 2",
        columns=("steps", "hours", "weights", "multiplies"),
        runs=runs,
        claims=claims(),
        paper_only=tuple((name, figures) for name, figures in PAPER.items() if name not in names),
        notes=(
            f"Each network has seen {options.steps} mini-batches of {options.batch} patches; the paper's "
            "have seen 5 million of 128, of 70 million videos, and were judged on 100,000 with 3,087 labels.",
        ),
    )


def claims() -> tuple[Claim, ...]:
    """What section 4.1 concludes; a pair of which a row is missing is told as not tested."""
    convolutional = [name for name in MODELS if name != "fully_connected"]
    leading = ("inception_v3", "resnet50")
    others = [name for name in convolutional if name not in leading]
    return (
        Claim(
            text="Every CNN beats the fully connected net.",
            pairs=tuple((name, "fully_connected") for name in convolutional),
        ),
        Claim(
            text="Inception and ResNet lead the other CNNs.",
            pairs=tuple((one, two) for one in leading for two in others),
        ),
        Claim(
            text="ResNet-50 gains by training longer with a cut of the rate.",
            pairs=((LONGER, "resnet50"),),
        ),
    )
