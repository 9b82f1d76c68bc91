"""A learning rate that is cut when the figures stand still, and starts again, gentler, from the bottom.

Source: Tompkins and Nichols, "DCASE 2019 Challenge Task 5: CNN+VGGish", 2019, section 5, after the warm
restarts of Loshchilov and Hutter; the numbers are those of their released code. There, too, the lowest rate
is trained at, until nothing has improved for as long as at any other: only then does the rate begin again.

Differs: the release cuts at the 11th validation in a row without a better figure, this at the 10th
(`patience`; the paper gives no number); no rate is below the lowest (gentler cuts would go past it; the
release lets them); Adam's running means are kept where the release begins a new Adam at each cut; a figure is
compared with its own best. The paper says that the rate is reduced when coarse *or* fine scores have not
improved; as in the release, one that improves is enough to go on.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from auricle.training.config import TrainConfig


@dataclass
class Stagnation:
    """Where the rate is, and since when nothing has improved.

    Args:
        rate: the rate now.
        factor: what the next cut multiplies it by.
        waited: validations since a figure was last better than ever.
        restarts: how often the rate has begun again.
        best: figure -> the highest that there has been.
    """

    rate: float
    factor: float
    waited: int = 0
    restarts: int = 0
    best: dict[str, float] = field(default_factory=dict)

    def as_saved(self) -> dict[str, Any]:
        """As a checkpoint holds it.

        >>> Stagnation(rate=0.01, factor=0.1).as_saved()["rate"]
        0.01
        """
        return asdict(self)


def begin_stagnation(config: TrainConfig) -> Stagnation:
    """At the rate of the configuration.

    >>> from pathlib import Path
    >>> begin_stagnation(TrainConfig(data=Path("pack"), steps=1, schedule="stagnation")).factor
    0.1
    """
    return Stagnation(rate=config.learning_rate, factor=config.cut)


def after_validation(state: Stagnation, figures: Mapping[str, float], config: TrainConfig) -> str:
    """Take in the figures of a validation; cut the rate, or begin again, where it is time to.

    A figure that is not a number has not improved. A factor of 1 or more would cut nothing: the rate then
    stays as it is until training ends. The lowest rate is used, and followed by the first.

    Args:
        state: is changed.
        figures: the monitored ones.
        config: of the run: `patience`, `lowest_rate`, `learning_rate` and `gentler`.

    Returns:
        What was done, for people; "" for nothing.

    >>> from pathlib import Path
    >>> config = TrainConfig(
    ...     data=Path("p"), steps=1, schedule="stagnation", learning_rate=0.01, patience=1, lowest_rate=1e-3
    ... )
    >>> state = begin_stagnation(config)
    >>> for _ in range(3):
    ...     print(after_validation(state, {"map": 0.5}, config))
    <BLANKLINE>
    no better for 1 validation: the rate is cut to 0.001
    no better for 1 validation: the rate begins again at 0.01, cuts are by 0.2 now
    """
    improved = False
    for name, value in figures.items():
        if not math.isnan(value) and value > state.best.get(name, -math.inf):
            state.best[name] = value
            improved = True
    state.waited = 0 if improved else state.waited + 1
    if state.waited < config.patience:
        return ""
    state.waited = 0
    if state.factor >= 1:
        return ""
    why = f"no better for {config.patience} validation{'s' * (config.patience > 1)}"
    if state.rate > config.lowest_rate * (1 + 1e-9):  # 0.01 x 0.1 x 0.1 ... is a little more than 1e-6
        state.rate = max(state.rate * state.factor, config.lowest_rate)
        return f"{why}: the rate is cut to {state.rate:.3g}"
    state.rate = config.learning_rate
    state.factor = round(state.factor + config.gentler, 12)
    state.restarts += 1
    return f"{why}: the rate begins again at {state.rate:.3g}, cuts are by {state.factor:.3g} now"
