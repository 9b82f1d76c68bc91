"""What mixing gains, held against what it gains elsewhere: differences of differences of the same draws."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mixing import mixing_options

from auricle.experiments.claims import FAILS, HOLDS, OPEN, UNTESTED, Scored, draw_figures, judge, read_scores
from auricle.experiments.mix_training import mix_training
from auricle.experiments.options import Claim, GainClaim
from auricle.experiments.two_steps import STRATEGIES
from auricle.metrics.ranking import average_precision

FOUR = tuple(f"raw_waveform, {strategy}" for strategy in STRATEGIES)


def test_verdicts_on_gains_follow_from_differences_of_differences() -> None:
    spread = np.concatenate([[0.0], np.linspace(-0.01, 0.01, 200)])
    rows = {"plain": 0.5 + spread, "mixed": 0.52 + spread, "plain, 20%": np.full(201, 0.3)}
    rows |= {"mixed, 20%": 0.4 + spread, "noisy, 20%": 0.32 + 5 * spread}
    drawn = {row: {0: values} for row, values in rows.items()}

    def verdict(*gains: tuple[tuple[str, str], tuple[str, str]]) -> str:
        return judge(GainClaim(text="x", gains=gains), drawn).verdict

    few, many = ("mixed, 20%", "plain, 20%"), ("mixed", "plain")
    assert verdict((few, many)) == HOLDS and verdict((many, few)) == FAILS
    # Gains 0.02 or so more in the mean, which recordings cannot tell, nor that it gains at all.
    assert verdict((("noisy, 20%", "plain, 20%"), many)) == OPEN
    # 0.05 lost with little data, 0.2 with much: that is no gain, though it is the greater difference.
    losing = {"a": 0.25 + spread, "b": 0.3 + spread, "c": 0.5 + spread, "d": 0.7 + spread}
    said = judge(
        GainClaim(text="x", gains=((("a", "b"), ("c", "d")),)), {row: {0: v} for row, v in losing.items()}
    )
    assert said.verdict == FAILS
    assert [detail.rpartition(", ")[2] for detail in said.details] == [FAILS, HOLDS]
    assert verdict((("mixed, 5%", "plain, 20%"), many)) == UNTESTED == verdict()
    assert verdict((few, many), (many, few)) == FAILS
    # Gains that share a row: (mixed, 20% - plain) - (mixed - plain) = mixed, 20% - mixed.
    shared = judge(GainClaim(text="x", gains=((("mixed, 20%", "plain"), many),)), drawn)
    alone = judge(Claim(text="x", pairs=(("mixed, 20%", "mixed"),)), drawn)
    assert shared.details[1].partition(": ")[2] == alone.details[0].partition(": ")[2]


def test_a_difference_of_differences_is_drawn_over_the_same_recordings_for_all_four_rows() -> None:
    """Oracle: per draw, the four mAPs of the drawn clips by hand, then their double difference."""
    random = np.random.default_rng(5)
    targets = np.eye(3, dtype=bool)[random.integers(0, 3, 60)]
    groups = np.repeat([f"g{number}" for number in range(20)], 3)
    names = ("few mixed", "few plain", "many mixed", "many plain")
    skill = dict(zip(names, (0.5, 0.1, 0.7, 0.6), strict=True))
    rows = {
        name: Scored(
            targets, random.random((60, 3)) + skill[name] * targets, groups, np.arange(60).astype(str)
        )
        for name in names
    }
    claim = GainClaim(text="x", gains=((("few mixed", "few plain"), ("many mixed", "many plain")),))
    drawn = {name: {0: draw_figures(scored, draws=40, seed=7)["map"]} for name, scored in rows.items()}
    said = judge(claim, drawn).details[1]
    found = [float(number) for number in re.findall(r"[+-]\d\.\d{4}", said)]

    order, generator, gains = sorted(set(groups)), np.random.default_rng(7), []
    picks = [list(range(60))]
    for _ in range(40):
        chosen = generator.integers(20, size=20)
        picks.append([clip for g in chosen for clip in range(60) if groups[clip] == order[g]])
    for clips in picks:
        maps = {
            name: np.mean(
                [average_precision(targets[clips, k], scored.scores_NK[clips, k]) for k in range(3)]
            )
            for name, scored in rows.items()
        }
        gains.append((maps["few mixed"] - maps["few plain"]) - (maps["many mixed"] - maps["many plain"]))
    low, median, high = np.quantile(gains[1:], [0.025, 0.5, 0.975])
    assert abs(gains[0] - median) > 0.001  # copies in a draw raise the four figures, not all alike
    assert found == pytest.approx([gains[0], low + gains[0] - median, high + gains[0] - median], abs=5.1e-5)


def test_fractions_add_the_claim_that_mixing_gains_more_with_less() -> None:
    options = mixing_options(Path("pack"), Path("x"), fractions=(0.2, 1.0, 0.5))
    ends, each = mix_training(options).claims[4:]
    assert isinstance(ends, GainClaim) and isinstance(each, GainClaim)

    def gain(end: str) -> tuple[str, str]:
        return FOUR[3] + end, FOUR[0] + end

    assert ends.gains == ((gain(", 20%"), gain("")),)
    assert each.gains == tuple((gain(less), gain(more)) for more, less in pairwise(("", ", 50%", ", 20%")))
    assert len(mix_training(mixing_options(Path("pack"), Path("x"))).claims) == 4


def test_clips_without_a_recording_of_their_own_are_drawn_one_by_one(tmp_path: Path) -> None:
    """Drawn as one recording they would give the same figures in every draw, and intervals of nothing."""
    rows = 6
    table = pa.table(
        {
            "id": [str(number) for number in range(rows)],
            "group": ["", "", "", "", "g", "g"],
            "scores": pa.FixedSizeListArray.from_arrays(pa.array(np.linspace(0, 1, rows * 2)), 2),
            "labels": [["a"], ["b"]] * 3,
        }
    ).replace_schema_metadata({"labels": '["a", "b"]'})
    pq.write_table(table, tmp_path / "scores.parquet")
    assert len(set(read_scores(tmp_path, ["a", "b"]).groups_N)) == 5
