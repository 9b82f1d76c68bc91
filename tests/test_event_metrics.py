"""Figures of events, against the packages that are the reference, and against slow ones of our own."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from event_oracles import (
    Row,
    events_above,
    random_corpus,
    sed_scores_eval,
    slow_hits,
    slow_psds,
    slow_segments,
)

from auricle.metrics.events import (
    Counts,
    EventTable,
    event_counts,
    event_table,
    f1_figures,
    f1_per_class,
    segment_counts,
)
from auricle.metrics.psds import PSDS1, PSDS2, Psds, PsdsRules, psds

# The corpora are short, and 100 false ones an hour are hardly one of a minute: the curves have to go further.
RULES = [
    PSDS1,
    dataclasses.replace(PSDS1, most=3000, alpha_st=0.5),
    dataclasses.replace(PSDS2, most=3000),
    PsdsRules(dtc=0.5, gtc=0.3, most=1000),
    PsdsRules(dtc=0.3, gtc=0.5, cttc=0.3, alpha_ct=2.0, most=2000),
]
NAMES = ["dog", "rain", "clock", "bell"]


def found_above(scored: list[tuple[np.ndarray, np.ndarray]], threshold: float) -> list[Row]:
    return [
        (clip, label, a, b)
        for clip, (bounds, scores) in enumerate(scored)
        for label in range(scores.shape[1])
        for a, b in events_above(bounds, scores[:, label], threshold)
    ]


def as_frames(reference: Any, scored: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    make = reference.base_modules.scores.create_score_dataframe
    classes = NAMES[: scored[0][1].shape[1]]
    return {f"{clip:03d}": make(scores, bounds, classes) for clip, (bounds, scores) in enumerate(scored)}


def as_lists(truth: list[Row], clips: int) -> dict[str, list[tuple[float, float, str]]]:
    return {
        f"{clip:03d}": [(a, b, NAMES[label]) for c, label, a, b in truth if c == clip]
        for clip in range(clips)
    }


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("length", [1.0, 0.1, 0.7])
def test_segments_are_counted_as_one_after_the_other(seed: int, length: float) -> None:
    rng = np.random.default_rng(seed)
    scored, truth, durations = random_corpus(rng, 5, 3)
    found = found_above(scored, 0.5)
    counts = segment_counts(event_table(truth), event_table(found), durations, 3, length)
    assert np.array_equal(np.stack(counts), slow_segments(truth, found, durations, 3, length))


@pytest.mark.parametrize("seed", range(8))
def test_events_are_paired_as_often_as_can_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Many short events close together and wide collars: each fits several others.
    rows: dict[str, list[Row]] = {"truth": [], "found": []}
    for name in rows:
        for clip in range(4):
            for label in range(2):
                for _ in range(int(rng.integers(0, 7))):
                    start = round(float(rng.uniform(0, 2)), 1)
                    rows[name].append((clip, label, start, round(start + float(rng.uniform(0.1, 0.8)), 1)))
    collars = (0.3, 0.3, 0.5)
    counts = event_counts(
        event_table(rows["truth"]),
        event_table(rows["found"]),
        2,
        onset_collar=collars[0],
        offset_collar=collars[1],
        offset_share=collars[2],
    )
    for label in range(2):
        assert counts.hits[label] == slow_hits(rows["truth"], rows["found"], label, collars)
        assert counts.hits[label] + counts.missed[label] == sum(row[1] == label for row in rows["truth"])
        assert counts.hits[label] + counts.false[label] == sum(row[1] == label for row in rows["found"])


def test_a_pair_is_given_up_where_that_makes_two() -> None:
    # The first true event fits both that were found, the second only the one that the first would take.
    truth = event_table([(0, 0, 1.0, 2.0), (0, 0, 1.2, 2.2)])
    found = event_table([(0, 0, 1.1, 2.1), (0, 0, 0.9, 1.9)])
    for rows in (truth, EventTable(*(column[::-1] for column in truth))):
        assert event_counts(rows, found, 1).hits.tolist() == [2]


def test_an_event_at_the_edge_of_the_collar_still_counts() -> None:
    truth = event_table([(0, 0, 0.1, 10.1)])
    inside = event_table([(0, 0, 0.1 + 0.2, 10.1 + 2.0)])  # 0.2 s late, and 20% of its length too long
    outside = event_table([(0, 0, 0.1 + 0.200002, 10.1 + 2.0)])
    assert event_counts(truth, inside, 1).hits.tolist() == [1]
    assert event_counts(truth, outside, 1).hits.tolist() == [0]
    late = event_table([(0, 0, 0.1, 99.0)])
    assert event_counts(truth, late, 1).hits.tolist() == [0]
    assert event_counts(truth, late, 1, offset_collar=math.inf).hits.tolist() == [1]


@pytest.mark.parametrize("rules", RULES, ids=range(len(RULES)))
@pytest.mark.parametrize("seed", range(4))
def test_psds_is_its_definition_at_every_threshold(seed: int, rules: PsdsRules) -> None:
    rng = np.random.default_rng(seed)
    scored, truth, durations = random_corpus(rng, 6, 3, steps=5 if seed % 2 else 1000)
    ours = psds(scored, event_table(truth), durations, rules)
    assert ours.score() == pytest.approx(slow_psds(scored, truth, durations, rules), abs=1e-9)
    alone = [row for row in truth if row[1] == 1]
    only = psds([(b, s[:, [1]]) for b, s in scored], event_table([(c, 0, a, b) for c, _, a, b in alone]),
                durations, PsdsRules(dtc=rules.dtc, gtc=rules.gtc, most=rules.most))  # fmt: skip
    if rules.cttc is None:
        assert ours.per_class()[1] == pytest.approx(only.per_class()[0], abs=1e-12)


@pytest.mark.parametrize("rules", RULES, ids=range(len(RULES)))
@pytest.mark.parametrize("seed", range(6))
def test_psds_is_that_of_sed_scores_eval(seed: int, rules: PsdsRules) -> None:
    reference = sed_scores_eval()
    rng = np.random.default_rng(seed)
    scored, truth, durations = random_corpus(rng, 12, 4, steps=5 if seed % 2 else 1000)
    theirs, per_class, *_ = reference.intersection_based.psds(
        scores=as_frames(reference, scored),
        ground_truth=as_lists(truth, len(scored)),
        audio_durations={f"{clip:03d}": float(length) for clip, length in enumerate(durations)},
        dtc_threshold=rules.dtc,
        gtc_threshold=rules.gtc,
        cttc_threshold=rules.cttc,
        alpha_ct=rules.alpha_ct,
        alpha_st=rules.alpha_st,
        max_efpr=rules.most,
    )
    ours = psds(scored, event_table(truth), durations, rules)
    assert ours.score() == pytest.approx(theirs, abs=1e-9)
    assert ours.per_class() == pytest.approx([per_class[name] for name in NAMES], abs=1e-9)
    assert theirs < 1
    assert theirs > 0 or rules is PSDS1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.2512, 0.5012, 0.8012])
def test_f1_is_that_of_sed_scores_eval(seed: int, threshold: float) -> None:
    reference = sed_scores_eval()
    rng = np.random.default_rng(seed)
    scored, truth, durations = random_corpus(rng, 12, 4)
    found = event_table(found_above(scored, threshold))
    given = {"scores": as_frames(reference, scored), "ground_truth": as_lists(truth, len(scored))}
    lengths = {f"{clip:03d}": float(length) for clip, length in enumerate(durations)}
    collars = {"onset_collar": 0.2, "offset_collar": 0.2}
    theirs = {
        "segments": reference.segment_based.fscore(
            **given, audio_durations=lengths, threshold=threshold, segment_length=1.0
        ),
        "events": reference.collar_based.fscore(
            **given, threshold=threshold, **collars, offset_collar_rate=0.2
        ),
    }
    ours = {
        "segments": segment_counts(event_table(truth), found, durations, 4, 1.0),
        "events": event_counts(event_table(truth), found, 4),
    }
    for kind, (f1, precision, recall, _) in theirs.items():
        figures, classes = f1_figures(ours[kind]), f1_per_class(ours[kind])
        for name, values in {"f1": f1, "precision": precision, "recall": recall}.items():
            for mean in ("micro", "macro"):
                assert figures[f"{name}_{mean}"] == pytest.approx(values[f"{mean}_average"], abs=1e-9)
            assert classes[name] == pytest.approx([values[label] for label in NAMES], abs=1e-9)


def test_perfect_scores_are_worth_one_and_no_score_is_worth_nothing() -> None:
    bounds = np.arange(11) / 2
    truth = [(0, 0, 0.5, 1.5), (0, 1, 1.0, 3.0), (0, 0, 4.0, 5.0)]
    scores = np.zeros((10, 2))
    for _, label, start, end in truth:
        scores[(bounds[:-1] >= start) & (bounds[1:] <= end), label] = 1.0
    for rules in (PSDS1, PSDS2):
        assert psds([(bounds, scores)], event_table(truth), [5.0], rules).score() == 1.0
        # One long event is no hit: less than dtc of it is in the true ones, but for the weak rule.
        flat = psds([(bounds, np.zeros((10, 2)))], event_table(truth), [5.0], PSDS1)
        assert flat.score() == 0.0
    table = event_table(found_above([(bounds, scores)], 0.5))
    assert f1_figures(event_counts(event_table(truth), table, 2))["f1_micro"] == 1.0
    assert f1_figures(segment_counts(event_table(truth), table, [5.0], 2))["f1_macro"] == 1.0


def test_the_order_of_clips_does_not_matter() -> None:
    scored, truth, durations = random_corpus(np.random.default_rng(3), 8, 3, steps=4)
    turned = [(7 - clip, label, a, b) for clip, label, a, b in reversed(truth)]
    for rules in RULES:
        one = psds(scored, event_table(truth), durations, rules)
        other = psds(scored[::-1], event_table(turned), durations[::-1], rules)
        assert one.score() == pytest.approx(other.score(), abs=1e-12)


def test_what_is_not_there_counts_nowhere() -> None:
    scored, truth, durations = random_corpus(np.random.default_rng(4), 6, 3)
    wider = [
        (bounds, np.concatenate([scores, np.ones((len(scores), 1))], axis=1)) for bounds, scores in scored
    ]
    for rules in RULES:
        without = psds(scored, event_table(truth), durations, rules)
        beside = psds(wider, event_table(truth), durations, rules)
        assert beside.score() == without.score()
        assert math.isnan(beside.per_class()[3])
    nothing = Psds(2, PSDS1).add(np.array([0.0, 1.0]), np.zeros((1, 2)), event_table([]))
    assert math.isnan(nothing.score())
    counts = event_counts(event_table([]), event_table([(0, 1, 0.0, 1.0)]), 2)
    assert counts.false.tolist() == [0, 1]
    assert all(math.isnan(value) for value in f1_figures(counts).values())
    counts = Counts(np.array([1, 0]), np.array([0, 3]), np.array([1, 0]))
    assert f1_figures(counts)["f1_macro"] == f1_per_class(counts)["f1"][0] == 2 / 3
    assert f1_figures(counts)["f1_micro"] == 2 / 6


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: event_table([(0, 0, 1.0, 1.0)]), "end after the start"),
        (lambda: event_table([(0, 0, 0.0, math.nan)]), "expected"),
        (
            lambda: event_counts(event_table([(0, 3, 0, 1)]), event_table([]), 3),
            "label 3, but there are 3",
        ),
        (lambda: event_counts(event_table([]), event_table([]), 1, onset_collar=-1), "collars from 0 on"),
        (
            lambda: segment_counts(event_table([(2, 0, 0, 1)]), event_table([]), [1.0], 1),
            "clip 2, but there are 1",
        ),
        (lambda: segment_counts(event_table([]), event_table([]), [1.0], 1, 0.0), "above 0"),
        (lambda: PsdsRules(dtc=0.0, gtc=0.5), "above 0 and at most 1"),
        (lambda: PsdsRules(dtc=0.1, gtc=0.5, cttc=0.3), "both cttc and alpha_ct"),
        (
            lambda: Psds(2, PSDS1).add(np.array([0.0, 1.0]), np.zeros((1, 3)), event_table([])),
            "expected bounds",
        ),
        (
            lambda: Psds(1, PSDS1).add(np.array([0.0, 1.0]), np.full((1, 1), np.nan), event_table([])),
            "NaN",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
