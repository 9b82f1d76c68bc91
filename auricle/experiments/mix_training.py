"""Table 2 of Chen et al. 2019: training without mixing, with mixup, and with mix-training.

Source: "An End-to-End Audio Classification System based on Raw Waveforms and Mix-Training Strategy", 2019
(https://arxiv.org/abs/1911.09349), section 4.3.1: on Audio Set's balanced training set of about 20,000 clips.
Section 4.3.3 adds that mixing gains more where there is less to train on: table 1 (2 million clips) has a
gain of 0.021 in mAP, table 2 one of 0.065. Section 4.2 says that ratios in (0.4, 0.6) were found better,
and gives no figures of others.
"""

from itertools import pairwise
from typing import Any

from auricle.experiments.options import Claim, Experiment, GainClaim, Options, Run, with_seeds
from auricle.experiments.two_steps import (
    FIXED,
    STRATEGIES,
    finetune_steps,
    input_of,
    refuse_settings,
    two_step_config,
)
from auricle.training import TrainConfig

PLAIN, MIXUP, MIXED, FINETUNED = STRATEGIES
PAPER = {
    PLAIN: {"auc": 0.94, "d_prime": 2.22, "map": 0.231},
    MIXUP: {"auc": 0.94, "d_prime": 2.25, "map": 0.270},
    MIXED: {"auc": 0.94, "d_prime": 2.27, "map": 0.276},
    FINETUNED: {"auc": 0.95, "d_prime": 2.38, "map": 0.296},
}
PAPERS_MODEL = "raw_waveform"
BESIDE = ("d_prime", "auc")  # what the paper gives, too


def mix_training(options: Options) -> Experiment:
    """A row for each strategy, each of `options.models` and each of `options.fractions` of the recordings.

    With `options.mix_ranges` also a row of mix-training for each further range of its ratios.

    Raises:
        ValueError: a model does not take waveforms or log-mels, so nothing could be mixed; a range is given
            twice, or is the usual one; or a setting or a configuration does not fit.
    """
    models = options.models or (PAPERS_MODEL,)
    fractions = sorted(set(options.fractions or (1.0,)), reverse=True)
    for model in models:
        if input_of(model)[0] == "embedding":
            raise ValueError(
                f"{model} takes stored embeddings, which cannot be mixed; name networks that hear"
            )
    refuse_settings(options, models, (*FIXED, "mix_range") if options.mix_ranges else FIXED)
    ranges = {ranged(ends): ends for ends in options.mix_ranges}
    if ranged(TrainConfig.mix_range) in ranges or len(ranges) < len(options.mix_ranges):
        usual, *given = (f"{low:g}:{high:g}" for low, high in (TrainConfig.mix_range, *options.mix_ranges))
        raise ValueError(
            f"--mix-ranges {','.join(given)}: name each range once, and not {usual}, which mix-training has"
        )
    evaluation = {"splits": options.test_splits, "label_set": options.label_set}
    runs: tuple[Run, ...] = ()
    for model in models:
        for fraction in fractions:
            for strategy in (*STRATEGIES, *ranges):
                changes: dict[str, Any] = {"train_fraction": fraction}
                if strategy in ranges:
                    changes["mix_range"] = ranges[strategy]

                def make(
                    seed: int, model: str = model, strategy: str = strategy, changes: dict[str, Any] = changes
                ) -> Any:
                    way = strategy if strategy in STRATEGIES else FINETUNED
                    return two_step_config(options, model, way, seed=seed, **changes)

                runs += with_seeds(
                    options,
                    row_of(model, strategy, fraction),
                    make,
                    evaluation=evaluation,
                    columns={"fraction": fraction},
                    paper=PAPER.get(strategy, {}) if (model, fraction) == (PAPERS_MODEL, 1.0) else {},
                )
    beside = any(run.paper for run in runs)
    return Experiment(
        title="Training strategies",
        source="Chen et al. 2019, table 2" + (" and section 4.3.3" if len(fractions) > 1 else ""),
        columns=(*(["fraction"] if fractions != [1.0] else []), "train_clips", "steps", "weights"),
        runs=runs,
        claims=claims(models, fractions, tuple(ranges)),
        paper_only=() if beside else tuple(PAPER.items()),
        notes=notes(options, len(fractions) > 1),
        paper_digits={"auc": 2, "d_prime": 2},
    )


def notes(options: Options, sizes: bool) -> tuple[str, ...]:
    """What the caption says of the rows."""
    again = ("Steps being equal, a row of fewer clips hears each of them as many times more often.",)
    return (
        f"Every row has {options.steps} mini-batches at the rate and {finetune_steps(options)} at a tenth of "
        "it, and differs from the others only in what is mixed in the two steps: nothing, mixup, the paper's "
        "mixing in both, or the paper's mixing and then nothing. Judged is what the second leaves; before "
        "fine-tuning, what the first leaves.",
        "The paper trained on about 20,000 clips of Audio Set and judged on about 20,000, with 527 labels.",
        "A verdict goes by mAP; what d' and AUC would say is told with it.",
        *(again if sizes else ()),
    )


def claims(
    models: tuple[str, ...], fractions: list[float], ranges: tuple[str, ...]
) -> tuple[Claim | GainClaim, ...]:
    """What sections 4.2, 4.3.1 and 4.3.3 conclude, over the rows that there are."""

    def pairs(better: str, base: str) -> tuple[tuple[str, str], ...]:
        return tuple(
            (row_of(model, better, fraction), row_of(model, base, fraction))
            for model in models
            for fraction in fractions
        )

    def gain(model: str, fraction: float) -> tuple[str, str]:
        return row_of(model, FINETUNED, fraction), row_of(model, PLAIN, fraction)

    found: list[Claim | GainClaim] = [
        Claim(text=text, pairs=pairs(better, base), beside=BESIDE)
        for text, better, base in (
            ("Mixup helps.", MIXUP, PLAIN),
            ("Mix-training, also without fine-tuning, beats mixup.", MIXED, MIXUP),
            ("Fine-tuning on unmixed clips adds to mix-training.", FINETUNED, MIXED),
            ("Mix-training beats training without mixing.", FINETUNED, PLAIN),
        )
    ]
    if ranges:
        low, high = TrainConfig.mix_range
        found.append(
            Claim(
                text=f"Ratios a in ({low:g}, {high:g}) are better than those of other ranges.",
                pairs=tuple(pair for other in ranges for pair in pairs(FINETUNED, other)),
                beside=BESIDE,
            )
        )
    if len(fractions) > 1:
        ends = tuple((gain(model, fractions[-1]), gain(model, fractions[0])) for model in models)
        each = tuple((gain(m, less), gain(m, more)) for m in models for more, less in pairwise(fractions))
        found.append(
            GainClaim(text="Mix-training gains more with less data: the least against the most.", gains=ends)
        )
        if len(fractions) > 2:
            found.append(
                GainClaim(text="Mix-training gains more with less data: each step of the size.", gains=each)
            )
    return tuple(found)


def ranged(mix_range: tuple[float, float]) -> str:
    """What rows with a further range of ratios are called.

    >>> ranged((0.0, 1.0))
    'mix-training, a in (0, 1)'
    """
    return f"{FINETUNED}, a in ({mix_range[0]:g}, {mix_range[1]:g})"


def row_of(model: str, strategy: str, fraction: float) -> str:
    """A row's name.

    >>> row_of("raw_waveform", "mixup", 1.0), row_of("raw_waveform", "mixup", 0.2)
    ('raw_waveform, mixup', 'raw_waveform, mixup, 20%')
    """
    return f"{model}, {strategy}" + (f", {100 * fraction:g}%" if fraction != 1 else "")
