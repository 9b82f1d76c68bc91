"""What no score may pass, no score passes; what is told to be reached is; and labels are seen one by one."""

import itertools
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_model
from running import run

from auricle.artifact import load_artifact
from auricle.calibration import Goal, fit_thresholds
from auricle.calibration.choosing import Scored, Together, count_runs
from auricle.calibration.stages import Examples, clip_scores
from auricle.calibration.thresholds import SURE, Ranked, choose, measured, uncertainty
from auricle.cli.calibration import _row, _warn
from auricle.events import events_of
from auricle.probabilities import as_function, chosen_thresholds, of_windows
from auricle.runners.windows import sigmoid
from auricle.thresholds import NEVER, own_thresholds, thresholds_of

GOALS = [Goal(kind=kind, value=value) for kind, value in (
    ("precision", 0.5), ("precision", 0.9), ("recall", 0.5), ("recall", 1.0), ("false_alarms", 1.0),
    ("false_alarms", 20.0),
)]  # fmt: skip
DRAWN: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "any": lambda rng, n: rng.random(n),
    "ties and ones": lambda rng, n: rng.choice([0, 0.1, 0.2, 0.5, 0.9, 1.0], n),
    "saturated": lambda rng, n: sigmoid(rng.choice([-800, -40, 0, 12, 17, 17.5, 25, 36, 37, 40, 800.0], n)),
    "neighbours": lambda rng, n: 0.7 + rng.integers(0, 4, n) * np.spacing(0.7),
    "all one": lambda rng, n: np.ones(n),
}


def figure(passes: np.ndarray, true: np.ndarray, hours: float, goal: Goal) -> float | None:
    """What is asked for, counted."""
    if goal.kind == "false_alarms":
        return (passes & ~true).sum() / hours
    of = passes if goal.kind == "precision" else true
    return (passes & true).sum() / of.sum() if of.any() else None


def meets(value: float | None, goal: Goal) -> bool:
    if value is None:
        return False
    return value <= goal.value + 1e-9 if goal.kind == "false_alarms" else value >= goal.value - 1e-9


@pytest.mark.parametrize("drawn", DRAWN)
def test_what_passes_is_what_trying_every_score_finds(drawn: str) -> None:
    """Scores that float32 takes for 1 are one to whoever asks; nothing may pass means that nothing does."""
    rng = np.random.default_rng(0)
    for _, goal in itertools.product(range(60), GOALS):
        scores = DRAWN[drawn](rng, int(rng.integers(1, 40)))
        true = rng.random(len(scores)) < (0 if goal.kind == "false_alarms" else 0.1 + scores * 0.8)
        groups, hours = rng.integers(0, 8, len(scores)), rng.random(8) + 0.01
        threshold, reached = choose(ranked := Ranked.of(scores, true, groups, hours), goal)
        levels = np.where(scores.astype(np.float32) == 1, 1, scores)
        tried = {
            float(level): figure(levels >= level, true, hours.sum(), goal) for level in (*set(levels), NEVER)
        }
        good = [level for level, value in tried.items() if meets(value, goal)]
        best = (max if goal.kind == "recall" else min)(good) if good else NEVER
        np.testing.assert_array_equal(scores >= threshold, levels >= best)
        if drawn != "neighbours":  # which float32 takes for one
            in_float32 = scores.astype(np.float32).astype(np.float64)
            np.testing.assert_array_equal(in_float32 >= threshold, levels >= best)
        assert reached == meets(figure(scores >= threshold, true, hours.sum(), goal), goal)
        told = measured(ranked, goal, threshold)
        expected = figure(scores >= threshold, true, hours.sum(), goal)
        assert (np.isnan(told) and expected is None) or told == pytest.approx(expected)
        assert threshold <= SURE or threshold == NEVER


def test_ones_that_are_too_many_are_never_shown() -> None:
    scores, groups = np.repeat([1.0, 0.2], [10, 90]), np.arange(100)
    hours = np.full(100, 1 / 36)
    alarms = Ranked.of(scores, groups < 0, groups, hours)
    goal = Goal(kind="false_alarms", value=1)
    assert choose(alarms, goal) == (NEVER, True) and measured(alarms, goal, NEVER) == 0
    clips, goal = Ranked.of(scores, groups < 5, groups, hours), Goal(kind="precision", value=0.9)
    assert choose(clips, goal) == (NEVER, False) and np.isnan(measured(clips, goal, NEVER))
    found = uncertainty(clips, goal, NEVER, draws=60, seed=0)
    assert found["interval"][1] == NEVER and found["measured"] is None


def test_between_a_score_and_never_there_is_nothing() -> None:
    """Draws of which some find no threshold: the interval ends at one of theirs, or at never."""
    rng = np.random.default_rng(0)
    true = rng.random(30) < 0.5
    clips = Ranked.of(rng.random(30), true, np.arange(30), np.ones(30))
    ends = [
        end
        for seed in range(20)
        for end in uncertainty(clips, Goal(kind="precision", value=0.97), 0.9, draws=50, seed=seed)[
            "interval"
        ]
    ]
    assert NEVER in ends and min(ends) < 1 and all(end <= SURE or end == NEVER for end in ends)


def test_tables_and_warnings_say_never(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"threshold": NEVER, "pooled": False, "reached": True, "measured": 0.0, "positives": 3}
    row |= {"interval": [0.5, NEVER], "measured_interval": None, "left_out": None, "runs": 0.0}
    assert _row("dog", row, "false_alarms")[:3] == ["dog", "never", "0.500 to never"]
    assert _row("dog", row | {"pooled": True}, "precision")[1] == "never (of all)"
    about = {"left_out_as_trained_on": 0, "training_not_told": [], "labels_not_in_pack": [], "method": "keep"}
    about |= {"goal": {"false_alarms": 2.0}, "thresholds": {"dog": row | {"hours_without": 9.0}}}
    _warn(about)
    assert "dog: scores of 1 alone are more false alarms than that; they will not be shown" in (
        capsys.readouterr().err
    )


def test_a_model_keeps_never_and_an_old_one_is_read_so(tmp_path: Path) -> None:
    tiny_model.save(tmp_path / "m", thresholds=[0.5, NEVER, 1.0])
    model = load_artifact(tmp_path / "m")
    assert chosen_thresholds(model).tolist() == [0.5, NEVER, 1.0]  # by hand: a score of 1 is shown
    assert events_of(model).of("rain").onset == NEVER and events_of(model).of("rain").offset == NEVER
    about = {"goal": {"precision": 0.9}}
    old = SimpleNamespace(
        thresholds=[0.5, 1.0], labels=("a", "b"), metrics={"calibration": about}, events=None
    )
    assert chosen_thresholds(old).tolist() == own_thresholds(old) == [0.5, NEVER]
    assert events_of(old).of("b").onset == NEVER


# --- all labels together


def some_examples(rng: np.random.Generator, labels: int = 7, spread: float = 2) -> Examples:
    counts = rng.integers(1, 6, 60)
    known = rng.random((60, labels)) < 0.9
    targets = rng.random((60, labels)) < 0.3
    known[:, 0], targets[:, 0] = True, True  # no sound without it
    targets[:, 1] = np.arange(60) < 2  # few
    starts = np.cumsum(counts) - counts
    logits = rng.normal(0, spread, (counts.sum(), labels)) + targets[np.repeat(np.arange(60), counts)]
    logits = np.round(logits, 1) if spread > 2 else logits
    return Examples(
        logits=logits.astype(np.float32),
        starts=starts,
        targets=targets,
        known=known,
        groups=np.arange(60) // 3,
    )


def at_once(examples: Examples, calibration: Any, goal: Goal, hours_C: np.ndarray, names: list[str]) -> Any:
    """Every label ranked, all of them held, and then once more: what `fit_thresholds` once did."""
    scores, owners = clip_scores(examples, calibration), examples.owners
    windows = sigmoid(as_function(calibration)(examples.logits))
    every = []
    for k in range(len(names)):
        known, true = examples.known[:, k], examples.targets[:, k]
        hours = np.bincount(examples.groups, np.where(known & ~true, hours_C, 0))
        there = (known & ~true)[owners]
        if goal.kind == "false_alarms":
            part = (windows[there, k], np.zeros(there.sum(), bool), examples.groups[owners[there]])
        else:
            part = (scores[known, k], true[known], examples.groups[known])
        every.append((Ranked.of(*part, hours), windows[there, k], owners[there]))
    hours = np.array([sum(float(one.hours.sum()) for one, _, _ in every)])
    together = [np.concatenate([getattr(one, name) for one, _, _ in every]) for name in ("scores", "true")]
    of_all, _ = choose(Ranked.of(*together, np.zeros(len(together[0]), np.int64), hours), goal)
    found: dict[str, Any] = {"": of_all}
    for k, (name, (one, mine, clips)) in enumerate(zip(names, every, strict=True)):
        known = examples.known[:, k]
        positives = int((examples.targets[:, k] & known).sum())
        lent = min(positives, int(known.sum()) - positives) < 10
        if goal.kind == "false_alarms":
            lent = not one.hours.sum()
        threshold, reached = (of_all, None) if lent else choose(one, goal)
        value = measured(one, goal, threshold)
        row = {"positives": positives, "hours_without": one.hours.sum(), "threshold": threshold}
        row |= {"pooled": lent, "measured": None if np.isnan(value) else value}
        if not lent:
            row |= {"reached": reached} | uncertainty(one, goal, threshold, 20, 0)
            if goal.kind == "false_alarms":
                row["runs"] = count_runs(mine, clips, threshold) / one.hours.sum()
        found[name] = row
    return found


@pytest.mark.parametrize("spread", [1.0, 2.0, 40.0])
@pytest.mark.parametrize("goal", [*GOALS, Goal(kind="false_alarms", value=1e6)], ids=str)
def test_label_by_label_gives_what_all_at_once_gave(
    goal: Goal, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auricle.calibration.stages.VALUES", 400)  # two labels a block
    examples = some_examples(rng := np.random.default_rng(3), spread=spread)
    affine = {
        "kind": "affine",
        "scale": rng.uniform(0.5, 2, 7).tolist(),
        "offset": rng.normal(0, 1, 7).tolist(),
    }
    hours, names = rng.uniform(0.001, 0.02, 60), list("abcdefg")
    for calibration in (None, affine, affine | {"clips": affine}):
        found = fit_thresholds(examples, calibration, goal, hours, names, draws=20, quiet=True)
        assert found == at_once(examples, calibration, goal, hours, names)
        assert list(found) == ["", *names]


@pytest.mark.parametrize("drawn", DRAWN)
def test_the_threshold_of_all_labels_is_that_of_all_their_scores(drawn: str) -> None:
    rng = np.random.default_rng(1)
    for _, goal in itertools.product(range(40), GOALS):
        labels = []
        for count in rng.integers(0, 200, 4).tolist():
            scores = DRAWN[drawn](rng, count)
            true = rng.random(count) < (0 if goal.kind == "false_alarms" else scores * rng.random())
            labels.append(
                Scored(
                    scores=scores, true=true, clips=np.arange(count), hours=rng.random(3) * rng.choice([0, 1])
                )
            )
        scores, true = (np.concatenate([getattr(one, name) for one in labels]) for name in ("scores", "true"))
        hours = np.array([sum(float(one.hours.sum()) for one in labels)])
        expected, _ = choose(Ranked.of(scores, true, np.zeros(len(scores), np.int64), hours), goal)
        together = Together(goal)
        for one in labels:
            together.count(one)
        assert together.threshold(labels) == expected


@pytest.mark.parametrize("kind", ["precision", "recall", "false_alarms"])
def test_memory_is_that_of_a_few_labels(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty labels of 20,000 windows: no more than what one label takes, and a block."""
    monkeypatch.setattr("auricle.calibration.stages.VALUES", 20_000)
    rng = np.random.default_rng(0)
    goal = Goal(kind=kind, value=2 if kind == "false_alarms" else 0.8)

    def peak(labels: int) -> int:
        some = Examples(
            logits=rng.normal(-3, 2, (20_000, labels)).astype(np.float32),
            starts=np.arange(20_000),
            targets=rng.random((20_000, labels)) < 0.05,
            known=np.ones((20_000, labels), bool),
            groups=np.arange(20_000) // 10,
        )
        tracemalloc.start()
        fit_thresholds(
            some, None, goal, np.full(20_000, 2 / 3600), [str(k) for k in range(labels)], draws=0, quiet=True
        )
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = peak(2), peak(22)
    assert many - few < 20 * 20_000 * 9  # 8 bytes are a clip's own score and its mean; it was 83


# --- of which scores


def test_thresholds_say_which_scores_they_are_of() -> None:
    def model(about: Any) -> SimpleNamespace:
        return SimpleNamespace(thresholds=[0.5], rate=8000, hop=8000, metrics={"calibration": about})

    assert [thresholds_of(model(about)) for about in (
        {}, {"goal": {"false_alarms": 2.0}}, {"goal": {"recall": 0.8}},
        {"goal": {"recall": 0.8}, "windows_of_a_clip": 2}, {"goal": {"recall": 0.8}, "windows_of_a_clip": 1},
    )] == ["", "windows", "clips", "clips", "both"]  # fmt: skip
    assert "recall 0.8 of whole clips" in of_windows(model({"goal": {"recall": 0.8}}))
    assert of_windows(model({"goal": {"recall": 0.8}, "windows_of_a_clip": 1})) == ""
    assert of_windows(model({"goal": {"false_alarms": 2.0}})) == ""
    assert "false alarms an hour" in of_windows(model({"goal": {"false_alarms": 2.0}}), 0.5)
    assert json.dumps(NEVER) == "2.0"


def test_onsets_that_are_thresholds_of_false_alarms_are_told_at_another_hop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stored by `auricle events` or not, live or not; and not where they are of somebody's choice."""
    about = {"pack": "p", "clips": 9, "recordings": 9, "hours": 1.0, "method": "affine", "thresholds": {}}
    alarms = {"calibration": about | {"goal": {"false_alarms": 2.0}, "goal_hop": 0.25}}
    plain = tiny_model.save(tmp_path / "plain", thresholds=[0.2, 0.3, NEVER], metrics=alarms).path
    sound = tmp_path / "a.wav"
    soundfile.write(sound, np.random.default_rng(0).uniform(-0.3, 0.3, 8000), 8000)
    told = (
        "auricle: warning: the model's thresholds are for 2 false alarms an hour and label with a window "
        "every 0.25 s; with one every 0.125 s there are about 2 times as many (auricle calibrate --hop "
    )

    def said(*arguments: object) -> str:
        status, _, err = run(capsys, *arguments)
        assert status == 0, err
        return err

    made = tmp_path / "made"
    assert said("events", plain, "--set", "hop=0.125", "--out", made).startswith(told)
    tag = ["tag", sound, "--events", "--quiet", "--model"]
    for more in ([], ["--live"], ["--set", "rain.onset=0.9"]):
        assert said(*tag, made, *more).startswith(told), more
        assert said(*tag, plain, "--hop", 0.125, *more).startswith(told), more
    assert said(*tag, made, "--hop", 0.25) == said(*tag, plain) == ""
    assert said(*tag, made, "--threshold", 0.1) == ""
    chosen = ["--set", "dog.onset=0.9", "--set", "rain.onset=0.9"]
    assert said(*tag, made, *chosen) == ""
    assert said("events", plain, "--set", "hop=0.125", *chosen, "--out", tmp_path / "other") == ""
    assert said(*tag, tmp_path / "other") == ""
    # Who stores settings of events knows that a precision is of clips: it is told then, and no more.
    precise = {"calibration": about | {"goal": {"precision": 0.9}}}
    clips = tiny_model.save(tmp_path / "clips", thresholds=[0.2, 0.3, NEVER], metrics=precise).path
    assert "precision 0.9 of whole clips" in said(
        "events", clips, "--set", "hop=0.125", "--out", tmp_path / "c"
    )
    assert said(*tag, tmp_path / "c") == ""
