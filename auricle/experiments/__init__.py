"""Many trainings, one table: the experiments of a paper side by side, and searches over settings."""

from auricle.experiments.compare import EXPERIMENTS, compare
from auricle.experiments.options import Options, choose_splits
from auricle.experiments.rates import choose_rates
from auricle.experiments.sweep import SweepOptions, sweep

__all__ = ["EXPERIMENTS", "Options", "SweepOptions", "choose_rates", "choose_splits", "compare", "sweep"]
