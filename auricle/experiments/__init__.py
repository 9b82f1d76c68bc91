"""Many trainings, one table: the experiments of a paper side by side, and searches over settings."""

from auricle.experiments.compare import EXPERIMENTS, compare
from auricle.experiments.options import Options, choose_splits
from auricle.experiments.rates import choose_rates

__all__ = ["EXPERIMENTS", "Options", "choose_rates", "choose_splits", "compare"]
