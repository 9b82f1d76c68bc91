"""The steps that a training consists of: one, or a second that fine-tunes what the first leaves.

Source: Chen et al., "An End-to-End Audio Classification System based on Raw Waveforms and Mix-Training
Strategy", 2019, section 3.2: training on mixed clips, then on clips as they are at a tenth of the rate.
What the paper calls steps are stages here: a step is a batch.
"""

import dataclasses
from dataclasses import dataclass

from auricle.training.config import TrainConfig
from auricle.training.stagnation import begin_stagnation
from auricle.training.state import State, make_optimizer


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of steps with a schedule and a mixing of its own."""

    number: int  # from 1
    first: int  # its first step
    end: int  # the step after its last
    config: TrainConfig  # the run's, with the rate, warm-up and mixing of this stage

    @property
    def steps(self) -> int:
        """How many steps it has."""
        return self.end - self.first


def plan_stages(config: TrainConfig, epoch_size: int) -> list[Stage]:
    """One stage, or two: their steps are counted through.

    Args:
        config: of the run.
        epoch_size: draws of an epoch (`PatchSampler.epoch_size`), for lengths in epochs.

    >>> from pathlib import Path
    >>> config = TrainConfig(data=Path("pack"), steps=10, finetune_epochs=2, mixing="mix_training", batch=5)
    >>> [(stage.first, stage.end, stage.config.mixing) for stage in plan_stages(config, epoch_size=20)]
    [(0, 10, 'mix_training'), (10, 18, 'none')]
    """

    def length(steps: int | None, epochs: float | None) -> int:
        return steps or max(1, round(float(epochs or 0) * epoch_size / config.batch))

    end = length(config.steps, config.epochs)
    stages = [Stage(number=1, first=0, end=end, config=config)]
    if config.two_steps:
        more = length(config.finetune_steps, config.finetune_epochs)
        stages.append(Stage(number=2, first=end, end=end + more, config=finetuning(config)))
    return stages


def finetuning(config: TrainConfig) -> TrainConfig:
    """The configuration as step two has it.

    >>> from pathlib import Path
    >>> finetuning(TrainConfig(data=Path("pack"), steps=9, finetune_steps=3, learning_rate=0.5)).learning_rate
    0.05
    """
    mixes = config.finetune_mixing == "mix_training"  # only then may the range be another than the usual
    return dataclasses.replace(
        config,
        learning_rate=config.learning_rate * config.finetune_rate,
        mixing=config.finetune_mixing,
        mix_range=config.mix_range if mixes else TrainConfig.mix_range,
        warmup_steps=0,
    )


def begin_finetuning(state: State, config: TrainConfig) -> None:
    """Go on from the model that step one leaves, its average where there is one, with a fresh optimizer.

    The average and the running mean of the loss begin anew, too: they would else remember step one longer
    than a short step two lasts.
    """
    if state.average is not state.net:
        state.net.load_state_dict(state.average.state_dict())
    state.optimizer = make_optimizer(state.net, config)
    if state.stagnation is not None:
        state.stagnation = begin_stagnation(config)
    state.loss.zero_()
    state.began = state.step


def stage_in_words(stage: Stage) -> str:
    """What a stage is, for people.

    >>> from pathlib import Path
    >>> config = TrainConfig(data=Path("pack"), steps=10, finetune_steps=5, mixing="mix_training")
    >>> stage_in_words(plan_stages(config, 1)[1])
    'step two: fine-tuning for 5 steps at a rate of 0.0002, mixing none'
    """
    what = "step one: training" if stage.number == 1 else "step two: fine-tuning"
    config = stage.config
    return f"{what} for {stage.steps} steps at a rate of {config.learning_rate:g}, mixing {config.mixing}"
