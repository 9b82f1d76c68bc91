"""Tables 1 and 3 of Chen et al. 2019: raw waveforms beside log-mels and embeddings; output and batch size.

Source: "An End-to-End Audio Classification System based on Raw Waveforms and Mix-Training Strategy", 2019
(https://arxiv.org/abs/1911.09349), tables 1 and 3. Its log-mel and embedding systems were published by others
([4] Hershey et al. 2017, [3] Kong et al. 2017, [2] Yu et al. 2018) and pre-trained on YouTube-100M; here
ResNet-50 on log-mel patches is trained on what all rows are trained on, without mixing and, which the paper
has not, with mix-training; the attention heads learn from stored embeddings of any model, which cannot be
mixed. The paper's batches of 192 are three quarters of the usual ones here, too.
"""

from collections.abc import Mapping
from typing import Any

import torch

from auricle.experiments.embeddings import stored_shape
from auricle.experiments.options import Claim, Experiment, Options, Run, with_seeds
from auricle.experiments.runs import build_without_memory
from auricle.experiments.two_steps import FIXED, finetune_steps, refuse_settings, two_step_config
from auricle.shards import Pack
from auricle.training import TrainConfig

RAW, LOGMEL_MODEL = "raw_waveform", "resnet50"
LOGMEL = f"log-mel, {LOGMEL_MODEL}"
LOGMEL_MIXED = f"{LOGMEL} with mix-training"
PLAIN, MIXED = f"{RAW} without mix-training", f"{RAW} with mix-training"
HEADS = ("single_attention", "multi_attention")
STRIDE, LARGER_STRIDE = 64, 128  # of the 1D ResNet: 2500 and 1250 steps in 10 s
BATCH_SHARE = 192 / 256
ELSEWHERE = {"pre-trained": "YouTube-100M"}
PAPER: dict[str, dict[str, Any]] = {
    LOGMEL: {"auc": 0.959, "d_prime": 2.452, "map": 0.314, **ELSEWHERE},
    "single_attention": {"auc": 0.965, "d_prime": 2.558, "map": 0.327, **ELSEWHERE},
    "multi_attention": {"auc": 0.970, "d_prime": 2.660, "map": 0.360, **ELSEWHERE},
    PLAIN: {"auc": 0.962, "d_prime": 2.510, "map": 0.351, "pre-trained": "no", "batch": 256},
    MIXED: {"auc": 0.968, "d_prime": 2.614, "map": 0.372, "pre-trained": "no", "batch": 256},
}
SMALLER = {  # stride -> the paper's row at a batch of 192
    LARGER_STRIDE: {"auc": 0.961, "d_prime": 2.500, "map": 0.349, "pre-trained": "no", "batch": 192},
    STRIDE: {"auc": 0.965, "d_prime": 2.558, "map": 0.372, "pre-trained": "no", "batch": 192},
}
COLUMNS = (
    "input",
    "pre-trained",
    "output",
    "batch",
    "train_clips",
    "steps",
    "hours",
    "weights",
    "multiplies",
)


def raw_waveform(options: Options) -> Experiment:
    """The rows of tables 1 and 3, or those whose network is among `options.models`.

    Raises:
        ValueError: a network is not of these tables, an embedding set is not there, or a setting or a
            configuration does not fit.
    """
    known = (LOGMEL_MODEL, *HEADS, RAW)
    wanted = options.models or known
    if unknown := [model for model in wanted if model not in known]:
        raise ValueError(f"{unknown[0]!r} has no row in these tables; those that have: {', '.join(known)}")
    if options.embeddings and not set(HEADS) & set(wanted):
        raise ValueError(
            f"--embeddings are for {' and '.join(HEADS)}, which --models leaves out; name one there"
        )
    refuse_settings(options, wanted, (*FIXED, "model_arguments.stride"))
    runs: tuple[Run, ...] = ()
    if LOGMEL_MODEL in wanted:
        runs += rows_of(options, LOGMEL, LOGMEL_MODEL, "none", PAPER[LOGMEL])
        runs += rows_of(options, LOGMEL_MIXED, LOGMEL_MODEL, "mix-training", {})
    heads: list[str] = []
    for entry in options.embeddings:
        for head in (head for head in HEADS if head in wanted):
            more = rows_on_embeddings(options, entry, head)
            heads.append(more[0].row)
            runs += more
    larger, smaller = (smaller_row(options, stride) for stride in (STRIDE, LARGER_STRIDE))
    if RAW in wanted:
        runs += rows_of(options, PLAIN, RAW, "none", PAPER[PLAIN])
        runs += rows_of(options, MIXED, RAW, "mix-training", PAPER[MIXED])
        batch = three_quarters(options)
        for row, stride in ((smaller, LARGER_STRIDE), (larger, STRIDE)):
            changes = {"batch": batch, "model_arguments": {"stride": stride}}
            runs += rows_of(options, row, RAW, "mix-training", SMALLER[stride], **changes)
    there = {run.row for run in runs}
    claims = (
        Claim(text="Mix-training helps.", pairs=((MIXED, PLAIN),)),
        Claim(text="A larger output of the 1D network helps.", pairs=((larger, smaller),)),
        Claim(
            text="A larger batch helps, by d': the paper's mAP are equal (at equal steps: the smaller one "
            "saw three quarters of the clips).",
            pairs=((MIXED, larger),),
            figure="d_prime",
            beside=("map",),
        ),
        Claim(
            text="Raw waveforms with mix-training beat the systems on embeddings.",
            pairs=tuple((MIXED, row) for row in heads),
        ),
        Claim(
            text="Raw waveforms beat log-mels: both without mix-training, and both with.",
            pairs=((PLAIN, LOGMEL), (MIXED, LOGMEL_MIXED)),
        ),
    )
    return Experiment(
        title="Raw waveforms",
        source="Chen et al. 2019, tables 1 and 3",
        columns=COLUMNS,
        runs=runs,
        claims=claims,
        paper_only=paper_only(there, heads, {LARGER_STRIDE: smaller, STRIDE: larger}),
        notes=notes(options, bool(heads)),
    )


def rows_of(
    options: Options, row: str, model: str, strategy: str, paper: Mapping[str, Any], **changes: Any
) -> tuple[Run, ...]:
    """The runs of one row that hears the clips themselves."""

    def make(seed: int) -> TrainConfig:
        return two_step_config(options, model, strategy, seed=seed, **changes)

    config = make(options.seeds[0])
    columns: dict[str, Any] = {"pre-trained": "no", "batch": config.batch, "input": "log-mel", "output": ""}
    if model == RAW:
        columns |= {"input": "waveform", "output": output_of(config)}
    columns["input"] += f", {config.window / config.features.rate:.3g} s"
    return with_seeds(
        options, row, make, evaluation=evaluation_of(options), columns=columns, paper=dict(paper)
    )


def rows_on_embeddings(options: Options, entry: str, head: str) -> tuple[Run, ...]:
    """The runs of one attention head on one embedding set of the pack, NAME or NAME=MODEL."""
    name, _, embedder = entry.partition("=")
    pack = Pack(options.data)
    windows, size = stored_shape(pack, name)
    changes = {
        "embeddings": name,
        "embedder": embedder,
        "embedding_windows": windows,
        "model_arguments": {"input_shape": [windows, size]},
    }

    def make(seed: int) -> TrainConfig:
        return two_step_config(options, head, "none", seed=seed, **changes)

    columns = {
        "input": f"{windows} x {size} embeddings",
        "pre-trained": str(pack.embeddings(name).about["model"]),
        "batch": options.batch,
    }
    return with_seeds(
        options,
        f"{name}, {head}",
        make,
        evaluation=evaluation_of(options),
        columns=columns,
        paper=PAPER[head],
    )


def evaluation_of(options: Options) -> dict[str, Any]:
    """How every row is judged."""
    return {"splits": options.test_splits, "label_set": options.label_set}


def output_of(config: TrainConfig) -> str:
    """Size of what the 1D network gives of one window: channels x steps."""
    net = build_without_memory(config.model, num_classes=1, **config.model_arguments)
    with torch.no_grad():
        channels, steps = net.front(torch.empty(1, config.window, device="meta")).shape[1:]
    return f"{channels} x {steps}"


def three_quarters(options: Options) -> int:
    """The smaller batch of table 3.

    >>> from pathlib import Path
    >>> three_quarters(
    ...     Options(data=Path("p"), out=Path("o"), train_splits=("a",), test_splits=("b",), batch=256)
    ... )
    192
    """
    return max(1, round(options.batch * BATCH_SHARE))


def smaller_row(options: Options, stride: int) -> str:
    """Name of a row of table 3."""
    return f"{RAW} with mix-training, stride {stride}, batch {three_quarters(options)}"


def paper_only(
    there: set[str], heads: list[str], smaller: Mapping[int, str]
) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Rows of the paper that none of ours stands beside."""
    missing: list[tuple[str, Mapping[str, Any]]] = [
        (row, {**PAPER[row], "input": "log-mel" if row == LOGMEL else "waveform"})
        for row in (LOGMEL, PLAIN, MIXED)
        if row not in there
    ]
    taken = {row.rpartition(", ")[2] for row in heads}
    missing += [
        (f"embeddings, {head}", {**PAPER[head], "input": "10 x 128 embeddings"})
        for head in HEADS
        if head not in taken
    ]
    missing += [
        (f"{RAW}, stride {stride}, batch 192", {**SMALLER[stride], "input": "waveform"})
        for stride, row in smaller.items()
        if row not in there
    ]
    return tuple(missing)


def notes(options: Options, embedded: bool) -> tuple[str, ...]:
    """What the caption says of the rows."""
    elsewhere = (
        ", but for the models that made embeddings: these were trained elsewhere, maybe on these classes or "
        "clips, too"
    )
    return (
        f"Every row has {options.steps} mini-batches at the rate and {finetune_steps(options)} at a tenth of "
        "it. An example of a row is what its column input says: where one row's is shorter than another's, "
        "its mini-batches hold less sound. A row with smaller batches has as many of them, so it has seen "
        "fewer clips: three quarters, in table 3.",
        "The paper trained on about 2 million clips of Audio Set, with 527 labels. Its log-mel and embedding "
        "rows are others' systems, pre-trained on YouTube-100M and not mixed in training. Nothing here is "
        f"pre-trained{elsewhere if embedded else ''}; stored embeddings are not mixed here either.",
    )
