"""Verdicts over several seeds: of those that all rows have, and of recordings and seeds together."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mixing import make_mixtures
from test_experiments import make_corpus, options_for

from auricle.experiments import compare
from auricle.experiments.architectures import architectures
from auricle.experiments.claims import FAILS, HOLDS, OPEN, UNTESTED, interval, judge, over_seeds
from auricle.experiments.options import Claim, GainClaim
from auricle.experiments.table import write_tables

CLAIM = Claim(text="x", pairs=(("one", "two"),))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def noisy(figure: float, by: float, seed: int, draws: int = 200) -> np.ndarray:
    """A figure, and draws about it."""
    return np.array([figure, *np.random.default_rng(seed).normal(figure, by, draws)])


def test_only_seeds_that_all_rows_have_are_compared() -> None:
    one = {0: noisy(0.5, 0.01, 1), 1: noisy(0.9, 0.01, 2), 2: noisy(0.9, 0.01, 3)}
    two = {0: noisy(0.6, 0.01, 4)}
    alone = judge(CLAIM, {"one": one, "two": two})  # the means say 0.77 against 0.6
    assert alone.verdict == FAILS
    assert re.fullmatch(
        r"one against two: mAP -0\.1000 \(-0\.\d{4} to -0\.\d{4}\), seed 0 alone, does not hold",
        alone.details[0],
    )
    both = judge(CLAIM, {"one": one, "two": two | {2: noisy(0.8, 0.01, 5)}})
    assert "mAP +0.0000" in both.details[0].replace("-0.0000", "+0.0000")
    assert "of 2 seeds (0, 2), within" in both.details[0]


def test_rows_without_a_common_seed_are_not_tested_and_the_seeds_are_named() -> None:
    rows = {"one": {0: noisy(0.5, 0.01, 1), 3: noisy(0.5, 0.01, 2)}, "two": {1: noisy(0.1, 0.01, 3)}}
    found = judge(CLAIM, rows)
    assert found.verdict == UNTESTED
    assert found.details == ("one against two: no seed in common (one: 0, 3; two: 1)",)
    rows["one"][1] = noisy(0.5, 0.01, 4)
    assert judge(CLAIM, rows).verdict == HOLDS
    gain = GainClaim(text="x", gains=((("one", "two"), ("three", "two")),))
    rows["three"] = {0: noisy(0.2, 0.01, 5)}
    assert judge(gain, rows).verdict == UNTESTED


def test_one_seed_of_all_rows_is_told() -> None:
    said = judge(CLAIM, {"one": {0: noisy(0.5, 0.01, 1)}, "two": {0: noisy(0.2, 0.01, 2)}}).details[0]
    assert said.endswith("), one seed, holds")


def test_what_differs_from_seed_to_seed_is_in_the_interval() -> None:
    """Recordings leave no doubt, seeds do: +0.3, +0.1 and -0.1."""
    two = {seed: noisy(0.5, 1e-4, 10 + seed) for seed in range(3)}
    one = {seed: noisy(0.8 - 0.2 * seed, 1e-4, seed) for seed in range(3)}
    found = judge(CLAIM, {"one": one, "two": two})
    assert found.verdict == OPEN and "2 of 3 seeds, within the interval" in found.details[0]
    low, high = (float(text) for text in re.findall(r"\(([+-][\d.]+) to ([+-][\d.]+)\)", found.details[0])[0])
    assert low == pytest.approx(-0.1, abs=0.01) and high == pytest.approx(0.3, abs=0.01)
    assert judge(CLAIM, {"one": {0: one[0]}, "two": {0: two[0]}}).verdict == HOLDS
    same = {seed: noisy(0.8, 1e-4, seed) for seed in range(3)}
    assert ", 3 of 3 seeds, holds" in judge(CLAIM, {"one": same, "two": two}).details[0]


def test_seeds_and_recordings_are_drawn_together() -> None:
    """Oracle: for each draw of recordings, seeds with replacement, one by one; the same for both rows."""
    one = {seed: noisy(0.5 + 0.1 * seed, 0.05, seed) for seed in (4, 5, 9)}
    two = {seed: noisy(0.3 + 0.02 * seed, 0.05, 20 + seed) for seed in (4, 5, 9)}
    differences = np.array([one[seed] - two[seed] for seed in (4, 5, 9)])
    picked = np.random.default_rng(1).integers(3, size=(3, 201))
    slow = [np.mean([differences[s, 0] for s in range(3)])]
    for draw in range(1, 201):
        slow.append(np.mean([differences[picked[place, draw], draw] for place in range(3)]))
    assert over_seeds(differences) == pytest.approx(np.array(slow))
    low, high = interval(np.array(slow))
    assert f"({low:+.4f} to {high:+.4f})" in judge(CLAIM, {"one": one, "two": two}).details[0]
    assert high - low > np.subtract(*interval(differences.mean(axis=0))[::-1])  # wider than recordings alone


def test_the_spread_over_seeds_is_that_of_their_mean() -> None:
    """Recordings leave no doubt: the variance of the mean of S values, each drawn from the S."""
    values = np.random.default_rng(0).normal(size=8)
    drawn = over_seeds(np.tile(values[:, None], (1, 20_001)))
    assert drawn[0] == pytest.approx(values.mean()) == pytest.approx(drawn[1:].mean(), abs=0.02)
    assert drawn[1:].std() == pytest.approx(values.std() / np.sqrt(8), rel=0.03)


def test_rows_of_unequal_seeds_are_compared_by_the_common_one_in_the_table(
    corpus: Path, tmp_path: Path
) -> None:
    """As in a table that is looked at before all is done."""
    options = options_for(corpus, tmp_path, seeds=(0, 1))
    runs = compare("architectures", options, quiet=True)
    maps = {run["name"]: run["figures"]["map"] for run in runs}
    caption = json.loads((tmp_path / "results.json").read_text())["caption"]
    assert any("its interval is over recordings and these seeds" in sentence for sentence in caption)
    assert not any("another seed" in sentence for sentence in caption)
    results = write_tables(architectures(options), runs[:3], tmp_path, options)  # alexnet has seed 0 alone
    said = results["verdicts"][0]["details"][0]
    difference = maps["alexnet-seed0"] - maps["fully_connected-seed0"]
    assert said.startswith(f"alexnet against fully_connected: mAP {difference:+.4f} (")
    assert ", seed 0 alone, " in said
    assert any("Where that is one seed, what another one's" in sentence for sentence in results["caption"])
    results = write_tables(architectures(options), runs[1:3], tmp_path, options)
    said = results["verdicts"][0]["details"][0]
    assert said.endswith("no seed in common (alexnet: 0; fully_connected: 1)")
    results = write_tables(architectures(options), runs[::2], tmp_path, options)
    assert any("over recordings; what another seed's" in sentence for sentence in results["caption"])


def test_verdicts_from_few_recordings_say_how_many(corpus: Path, tmp_path: Path) -> None:
    options = options_for(corpus, tmp_path / "few", models=("fully_connected",))
    compare("architectures", options, quiet=True)
    heading = (
        "What the paper says, and what these rows say (drawn from 8 groups that share no recording: rough"
    )
    for name in ("table.md", "table.html"):
        assert heading in (tmp_path / "few" / name).read_text()
    many = make_corpus(tmp_path / "many", clips=120)
    scenes = make_mixtures(many, tmp_path / "scenes")
    more = options_for(many, tmp_path / "out", models=("raw_waveform",), mixtures=scenes, finetune_steps=1)
    more = dataclasses.replace(
        more,
        settings={"window": "4096"},
        model_settings={"raw_waveform": {"model_arguments.depth_2d": "18", "model_arguments.bands": "8"}},
        steps=1,
    )
    compare("mix-training", more, quiet=True)
    text = (tmp_path / "out/table.md").read_text()
    assert "\nWhat the paper says, and what these rows say:\n" in text
    assert re.search(r"\nThe same, judged on mixtures \(drawn from \d+ groups that share no rec", text)
