"""The rate follows the figures of validation: cut where they stand still, then from the start, gentler."""

import math
from pathlib import Path
from typing import Any

import pytest
import tiny_urban
from tones import TinyPlain, log_of, same_weights

import auricle.training.loop as loop
from auricle.models import MODELS
from auricle.training import TrainConfig, configure, train
from auricle.training.loop import learning_rate
from auricle.training.stages import plan_stages
from auricle.training.stagnation import after_validation, begin_stagnation

FLAT = {"map": 0.5, "accuracy": 0.5}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_urban.make_corpus(tmp_path_factory.mktemp("urban"))


@pytest.fixture(autouse=True)
def _tiny_net(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_plain", TinyPlain)


def config_of(**changes: Any) -> TrainConfig:
    given = {"steps": 1, "schedule": "stagnation", "learning_rate": 0.01} | changes
    return TrainConfig(data=Path("pack"), **given)


def rates_of(config: TrainConfig, figures: list[dict[str, float]]) -> list[float]:
    """The rate after each of these validations."""
    state, rates = begin_stagnation(config), []
    for found in figures:
        after_validation(state, found, config)
        rates.append(float(f"{state.rate:.6g}"))
    return rates


def test_the_rate_is_cut_down_to_the_lowest_which_is_used_and_then_begins_again() -> None:
    """As published: patience 10, tenfold, 1e-6; the first validation is better than none before."""
    rates = rates_of(config_of(), [{"map": 0.5}] * 61)
    expected = [0.01] * 10 + [1e-3] * 10 + [1e-4] * 10 + [1e-5] * 10 + [1e-6] * 10
    assert rates == expected + [0.01] * 10 + [0.002]


def test_each_beginning_has_gentler_cuts_and_at_a_factor_of_one_it_never_ends() -> None:
    """From 0.01 to 1e-6 by a factor f takes 4 / -log10(f) cuts, whole ones."""
    config = config_of(patience=1)
    state = begin_stagnation(config)
    cuts = {}
    while state.factor < 1:
        factor, count = state.factor, 0
        while "is cut" in after_validation(state, {"map": math.nan}, config):
            count += 1
            assert state.rate >= 1e-6
        assert state.rate == 0.01, "after the lowest the first"
        cuts[factor] = count
    by_hand = [4, 6, 8, 11, 14, 19, 26, 42, 88]
    assert cuts == {round(0.1 * k, 1): count for k, count in enumerate(by_hand, 1)}
    assert state.restarts == 9
    assert [after_validation(state, {"map": 0.0}, config) for _ in range(50)] == [""] * 50
    assert state.rate == 0.01 and state.factor == 1.0


def test_no_rate_is_below_the_lowest() -> None:
    rates = rates_of(config_of(cut=0.5, lowest_rate=1e-3, patience=1), [{"map": 0.1}] * 7)
    assert rates == [0.01, 0.005, 0.0025, 0.00125, 0.001, 0.01, 0.006]


def test_either_figure_that_improves_is_enough_and_no_number_is_no_improvement() -> None:
    config = config_of(patience=2)
    coarse = [{"fine": 0.5, "coarse": 0.1 * k} for k in range(1, 6)]
    assert rates_of(config, coarse) == [0.01] * 5
    lost = [{"fine": 0.5, "coarse": 0.5}, *[{"fine": math.nan, "coarse": 0.5}] * 2]
    assert rates_of(config, lost) == [0.01, 0.01, 0.001]
    waiting = [{"map": value} for value in (0.5, 0.4, 0.6, 0.5, 0.6, 0.7)]
    assert rates_of(config, waiting) == [0.01] * 4 + [0.001] * 2, "as good as ever is no better"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lowest_rate": 0.01}, "lowest_rate is 0.01; expected less than learning_rate, 0.01"),
        ({"schedule": "cosine", "patience": 5}, "patience is 5, but it is of schedule=stagnation"),
        ({"schedule": "step", "cut": 0.2}, "cut is 0.2, but it is of schedule=stagnation"),
        ({"cut": 1.0}, "cut is 1.0; expected at least 0, below 1"),
        ({"patience": 0}, "patience is 0; expected at least 1"),
    ],
)
def test_rates_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(**changes)


def test_without_clips_to_validate_on_the_schedule_is_refused(corpus: Path, tmp_path: Path) -> None:
    config = tiny_urban.config_for(
        corpus, schedule="stagnation", validation_splits=(), validation_fraction=0.0
    )
    with pytest.raises(ValueError, match="schedule='stagnation' follows the figures of validation"):
        train(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


STANDING = {
    "schedule": "stagnation",
    "learning_rate": 0.01,
    "patience": 1,
    "lowest_rate": 1e-3,
    "steps": 14,
    "validate_every": 2,
    "warmup_steps": 2,
}


def test_training_follows_and_a_run_that_was_killed_ends_the_same(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after a cut, and again after the rate has begun again."""
    monkeypatch.setattr(loop, "validate", lambda *_: dict(FLAT))
    config = tiny_urban.config_for(corpus, **STANDING, average=0.9)
    train(config, tmp_path / "whole", quiet=True)
    steps = [entry for entry in log_of(tmp_path / "whole") if "learning_rate" in entry and "loss" in entry]
    rates = [round(entry["learning_rate"], 9) for entry in steps]
    expected = [0.005] + [0.01] * 3 + [1e-3] * 2 + [0.01] * 2 + [2e-3] * 2 + [1e-3] * 2 + [0.01] * 2
    assert rates == expected
    said = [entry["what"] for entry in log_of(tmp_path / "whole") if entry.get("event") == "rate"]
    assert [("begins again" in what) for what in said] == [False, True, False, False, True, False]
    for stop in (5, 8):

        def until(config: TrainConfig, step: int, steps: int, stop: int = stop) -> float:
            if step == stop:
                raise KeyboardInterrupt
            return learning_rate(config, step, steps)

        monkeypatch.setattr(loop, "learning_rate", until)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "killed", resume=True, quiet=True)
    monkeypatch.setattr(loop, "learning_rate", learning_rate)
    train(config, tmp_path / "killed", resume=True, quiet=True)
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    again = [entry for entry in log_of(tmp_path / "killed") if "learning_rate" in entry and "loss" in entry]
    assert again == steps


def test_step_two_begins_at_its_own_rate(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "validate", lambda *_: dict(FLAT))
    settings = STANDING | {"steps": 6, "finetune_steps": 6, "finetune_rate": 0.2, "warmup_steps": 0}
    train(tiny_urban.config_for(corpus, **settings), tmp_path / "run", quiet=True)
    steps = [entry for entry in log_of(tmp_path / "run") if "learning_rate" in entry and "loss" in entry]
    rates = [round(entry["learning_rate"], 9) for entry in steps]
    assert rates == [0.01] * 4 + [1e-3] * 2 + [2e-3] * 4 + [1e-3] * 2, (
        "what was best in step one is forgotten, so the first validation of step two is better"
    )
    with pytest.raises(ValueError, match="lowest_rate is 0.001; .* learning_rate, 0.001"):
        plan_stages(tiny_urban.config_for(corpus, **settings | {"finetune_rate": 0.1}), 20)


def test_settings_of_the_schedule_are_read_from_text() -> None:
    config = configure(
        config_of(schedule="cosine"), {"schedule": "stagnation", "patience": "3", "cut": "0.5"}
    )
    assert (config.schedule, config.patience, config.cut) == ("stagnation", 3, 0.5)
