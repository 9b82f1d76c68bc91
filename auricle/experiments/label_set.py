"""Table 3 of Hershey et al. 2017: does training with more labels help on the labels that all have in common?

Source: "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017, section 4.2: ResNet-50 trained
with 30K, 3K and 400 labels, with and without a bottleneck of 128 units, all judged on the 400.
"""

from typing import Any

from auricle.experiments.options import Claim, Experiment, Options, Run, base_config, with_seeds
from auricle.experiments.views import choose_labels, label_view, labelled_subset
from auricle.shards import Pack

BOTTLENECK = 128
PAPER: dict[tuple[str, str], dict[str, Any]] = {  # bottleneck, labels
    ("no", "3K"): {"auc": 0.930, "d_prime": 2.087, "map": 0.381},
    ("no", "400"): {"auc": 0.928, "d_prime": 2.067, "map": 0.376},
    ("yes", "30K"): {"auc": 0.925, "d_prime": 2.035, "map": 0.369},
    ("yes", "3K"): {"auc": 0.919, "d_prime": 1.982, "map": 0.347},
    ("yes", "400"): {"auc": 0.924, "d_prime": 2.026, "map": 0.365},
}
SIZES = ("30K", "3K", "400")
PAPERS = "resnet50"  # the network that the paper has here


def label_set(options: Options) -> Experiment:
    """With and without the bottleneck, a row for each label set of `options.labels`, the largest first.

    Adds to the pack a label view for each set, and the subset of test clips that have a common label. Where
    three sets are asked for, the paper's three stand beside those of its network.

    Raises:
        ValueError: a label set is not there, or they do not lie within each other.
    """
    pack = Pack(options.data)
    total = len(pack.label_names(options.label_set))
    wanted = options.labels or tuple(str(size) for size in sorted({total, -(-total // 2), -(-total // 5)}))
    lists = choose_labels(pack, wanted, options.train_splits, options.label_set)
    views = [label_view(pack, "labels", labels, options.label_set) for labels in lists]
    common = views[-1]
    subset = labelled_subset(pack, options.test_splits, common)
    runs: tuple[Run, ...] = ()
    rows: dict[tuple[str, str, int], str] = {}  # model, bottleneck, size -> row
    models = options.models or (PAPERS,)
    beside = SIZES if len(lists) == len(SIZES) and PAPERS in models else ()
    for model in models:
        for bottleneck in ("no", "yes"):
            for rank, (labels, view) in enumerate(zip(lists, views, strict=True)):
                arguments = {"bottleneck": BOTTLENECK} if bottleneck == "yes" else {}
                changes = {"label_set": view, "unlabelled": options.unlabelled, "model_arguments": arguments}

                def make(seed: int, model: str = model, changes: dict[str, Any] = changes) -> Any:
                    return base_config(options, model, seed=seed, **changes)

                row = f"{model}, {len(labels)} labels" + ", bottleneck" * (bottleneck == "yes")
                rows[model, bottleneck, len(labels)] = row
                paper = PAPER.get((bottleneck, beside[rank]), {}) if beside and model == PAPERS else {}
                runs += with_seeds(
                    options,
                    row,
                    make,
                    evaluation={"subset": subset, "label_set": common},
                    columns={"bottleneck": bottleneck, "labels": len(labels)},
                    paper={"labels": beside[rank], **paper} if paper else {},
                )
    return Experiment(
        title="Label set size",
        source="Hershey et al. 2017, table 3",
        columns=("bottleneck", "labels", "train_clips", "steps", "hours", "weights"),
        runs=runs,
        claims=claims(rows, [len(labels) for labels in lists]),
        paper_only=tuple(
            (f"{size} labels" + ", bottleneck" * (bottleneck == "yes"), {"bottleneck": bottleneck, **figures})
            for (bottleneck, size), figures in PAPER.items()
            if not beside
        ),
        notes=(
            f"All rows are judged on the {len(lists[-1])} labels that the sets have in common, by the test "
            "clips that have one of them.",
            "Training clips without any of a row's labels "
            + ("are examples of none." if options.unlabelled == "keep" else "are left out of its training."),
        ),
    )


def claims(rows: dict[tuple[str, str, int], str], sizes: list[int]) -> tuple[Claim, ...]:
    """What section 4.2 concludes."""
    models = list(dict.fromkeys(model for model, _, _ in rows))
    return (
        Claim(
            text="The bottleneck costs a little.",
            pairs=tuple((rows[m, "no", size], rows[m, "yes", size]) for m in models for size in sizes),
        ),
        *(
            Claim(
                text=f"More labels help slightly, {text} the bottleneck: the most against the fewest.",
                pairs=tuple((rows[m, kind, sizes[0]], rows[m, kind, sizes[-1]]) for m in models)
                if len(sizes) > 1
                else (),
            )
            for kind, text in (("yes", "with"), ("no", "without"))
        ),
    )
