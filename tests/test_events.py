"""From scores over time to events: every step, against a raster, in pieces as at once."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from event_oracles import random_windows, slow_events

from auricle.events import (
    EventConfig,
    EventFinder,
    by_time,
    config_with,
    event_config,
    events_of,
    find_events,
    smoothed,
    stretches,
)

SECONDS = np.stack([np.arange(10.0), np.arange(1.0, 11.0)], axis=1)  # windows side by side


def found(scores: list[float], **settings: Any) -> list[tuple[float, float]]:
    rows = find_events(SECONDS[: len(scores)], np.array(scores)[:, None], ["dog"], EventConfig(**settings))
    return [(row["start"], row["end"]) for row in rows]


def random_config(rng: np.random.Generator, labels: list[str]) -> EventConfig:
    def some(*values: float) -> float:
        return float(rng.choice(values))

    onset = some(0.5, 0.6, 0.9)
    own: dict[str, float | None] = {"onset": 0.7, "offset": some(0.2, 0.7), "smooth": some(0.0, 1.0, 2.6)}
    own |= {"max_gap": some(0.0, 1.0), "min_length": some(0.0, 1.5)}
    return EventConfig(
        smooth=some(0.0, 0.5, 1.5, 4.0),
        onset=onset,
        offset=None if rng.random() < 0.3 else some(0.1, 0.4, 0.5),
        min_length=some(0.0, 0.5, 2.0),
        max_gap=some(0.0, 0.25, 2.0),
        labels={labels[0]: own} if rng.random() < 0.5 else {},
    )


@pytest.mark.parametrize("seed", range(40))
def test_events_are_what_a_raster_of_5_ms_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = ["dog", "rain", "clock"]
    times = random_windows(rng)
    scores = rng.integers(0, 11, (len(times), 3)) / 10
    config = random_config(rng, labels)
    expected = slow_events(times, scores, labels, config)
    events = find_events(times, scores, labels, config)
    assert [(row["start"], row["end"], row["label"]) for row in events] == [
        (pytest.approx(row["start"], abs=2e-6), pytest.approx(row["end"], abs=2e-6), row["label"])
        for row in expected
    ]
    assert [row["score"] for row in events] == pytest.approx([row["score"] for row in expected])


@pytest.mark.parametrize("seed", range(20))
def test_scores_that_come_in_pieces_give_the_same_events(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = ["dog", "rain"]
    times = random_windows(rng, most=200)
    scores = rng.random((len(times), 2)) ** 2
    config = random_config(rng, labels)
    whole = find_events(times, scores, labels, config)
    finder = EventFinder(labels, config)
    for _ in range(2):  # and the finder can be used again
        pieces, at = [], 0
        while at < len(times):
            upto = at + int(rng.integers(0, 5))
            pieces += finder.add(times[at:upto, 0], times[at:upto, 1], scores[at:upto])
            at = upto
        assert sorted([*pieces, *finder.finish()], key=by_time) == whole


def test_an_event_is_told_as_soon_as_it_is_certain_and_nothing_is_gathered() -> None:
    finder = EventFinder(["dog"], EventConfig(smooth=3.0, max_gap=2.0))
    told = []
    for second in range(1000):
        score = 0.9 if second % 10 in (3, 4, 5) else 0.0
        rows = finder.add(np.array([second]), np.array([second + 1]), np.array([[score]]))
        told += [(second, row["start"], row["end"]) for row in rows]
        assert len(finder._rows) <= 5
        assert len(finder._events) <= 1
    # From 3 to 6; the median of 8 to 9 needs the window of 10: then it was silent for more than 2 s.
    assert told[0] == (10, 3.0, 6.0)
    assert len(told) == 99


def test_windows_side_by_side_each_stand_for_themselves() -> None:
    assert stretches(*SECONDS.T).tolist() == list(range(11))


def test_of_windows_that_overlap_each_stands_for_a_hop_about_its_middle() -> None:
    starts = np.arange(5) * 0.5
    bounds = stretches(starts, starts + 2.0)
    assert bounds.tolist() == [0.0, 1.25, 1.75, 2.25, 2.75, 4.0]


def test_a_window_aligned_to_the_end_stands_for_what_is_nearer_to_its_middle() -> None:
    bounds = stretches(np.array([0.0, 2.0, 3.0]), np.array([2.0, 4.0, 5.0]))
    assert bounds.tolist() == [0.0, 2.0, 3.5, 5.0]
    for moment in np.linspace(0.01, 4.99, 500):
        nearest = np.argmin(np.abs(np.array([1.0, 3.0, 4.0]) - moment))
        assert np.searchsorted(bounds, moment) - 1 == nearest


def test_a_recording_shorter_than_a_window_is_one_stretch_as_long_as_it_is() -> None:
    events = find_events(np.array([[3.0, 3.25]]), np.array([[0.9]]), ["dog"])
    assert events == [{"start": 3.0, "end": 3.25, "label": "dog", "score": 0.9}]


def test_two_thresholds_keep_the_weak_parts_of_an_event_and_no_weak_event() -> None:
    scores = [0.1, 0.4, 0.9, 0.4, 0.1, 0.4, 0.4, 0.1]
    assert found(scores, onset=0.8) == [(2.0, 3.0)]
    assert found(scores, onset=0.8, offset=0.3) == [(1.0, 4.0)]
    assert found(scores, onset=0.3) == [(1.0, 4.0), (5.0, 7.0)]
    assert found([0.8], onset=0.8) == [(0.0, 1.0)]  # at the threshold counts


def test_gaps_are_closed_before_short_events_are_left_out() -> None:
    scores = [0.9, 0.1, 0.9, 0.1, 0.1, 0.9]
    assert found(scores, min_length=1.5) == []
    assert found(scores, max_gap=1.0) == [(0.0, 3.0), (5.0, 6.0)]
    assert found(scores, max_gap=1.0, min_length=1.5) == [(0.0, 3.0)]
    assert found(scores, max_gap=2.0) == [(0.0, 6.0)]


def test_what_is_too_weak_to_be_an_event_does_not_close_a_gap() -> None:
    scores = [0.9, 0.1, 0.4, 0.1, 0.9]
    assert found(scores, onset=0.8, offset=0.3, max_gap=1.0) == [(0.0, 1.0), (4.0, 5.0)]


def test_a_median_takes_single_windows_away_and_keeps_edges() -> None:
    scores = [0.0, 0.9, 0.0, 0.0, 0.9, 0.9, 0.9, 0.0, 0.9, 0.9]
    assert found(scores, smooth=2.0) == [(4.0, 10.0)]
    middles = SECONDS.mean(axis=1)
    column = np.array(scores)[:, None]
    expected = [0.45, 0.0, 0.0, 0.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    assert smoothed(middles, column, 2.0).ravel().tolist() == expected
    assert (smoothed(middles, column, 1.9) == column).all()
    assert smoothed(np.zeros(0), np.zeros((0, 2)), 2.0).shape == (0, 2)


def test_the_score_of_an_event_is_its_highest_and_at_least_its_onset() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random((10, 4))
    labels = ["a", "b", "c", "d"]
    config = EventConfig(onset=0.6, offset=0.2, max_gap=1.0)
    for event in find_events(SECONDS, scores, labels, config):
        inside = (SECONDS[:, 0] >= event["start"]) & (SECONDS[:, 1] <= event["end"])
        assert event["score"] == pytest.approx(scores[inside, labels.index(event["label"])].max(), rel=1e-5)
        assert event["score"] >= 0.6


def test_events_come_by_start_then_label() -> None:
    scores = np.array([[0.9, 0.9], [0.0, 0.9], [0.9, 0.0]])
    rows = find_events(SECONDS[:3], scores, ["rain", "dog"])
    assert [(row["start"], row["label"]) for row in rows] == [(0.0, "dog"), (0.0, "rain"), (2.0, "rain")]


def test_a_label_has_settings_of_its_own() -> None:
    config = EventConfig(onset=0.5, labels={"dog": {"onset": 0.95, "offset": 0.1}})
    rows = find_events(SECONDS[:2], np.array([[0.9, 0.9], [0.96, 0.2]]), ["dog", "rain"], config)
    assert [(row["label"], row["start"], row["end"]) for row in rows] == [("dog", 0, 2), ("rain", 0, 1)]


def test_settings_come_back_as_they_were_stored() -> None:
    config = EventConfig(smooth=1.0, onset=0.4, hop=0.5, labels={"dog": {"offset": 0.1}})
    assert event_config(config.as_dict(), ["dog"]) == config
    assert event_config(None) == EventConfig()


def test_a_model_without_settings_takes_its_thresholds() -> None:
    model = SimpleNamespace(events=None, thresholds=[0.3, 0.7], labels=("dog", "rain"))
    assert [events_of(model).of(label).onset for label in model.labels] == [0.3, 0.7]
    model.events = {"onset": 0.2}
    assert events_of(model) == EventConfig(onset=0.2)
    model.events = model.thresholds = None
    assert events_of(model) == EventConfig()


def test_settings_that_were_typed() -> None:
    config = config_with(EventConfig(offset=0.3), {"onset": "0.6", "a.b.max_gap": "2", "offset": "none"})
    assert config == EventConfig(onset=0.6, labels={"a.b": {"max_gap": 2.0}})
    for typed, message in {
        "pitch": "no setting of events",
        "dog.hop": "no setting",
        "onset": "number",
    }.items():
        with pytest.raises(ValueError, match=message):
            config_with(EventConfig(), {typed: "x"})


def test_what_is_typed_for_all_labels_takes_the_place_of_their_own() -> None:
    own: dict[str, dict[str, float | None]] = {
        "dog": {"onset": 0.9, "offset": 0.8}, "cat": {"onset": 0.3, "smooth": 2.0}
    }  # fmt: skip
    config = EventConfig(onset=0.5, offset=0.2, labels=own)
    low = config_with(config, {"onset": "0.3"})
    assert [low.of(label).onset for label in ("dog", "cat", "rain")] == [0.3, 0.3, 0.3]
    assert [low.of(label).offset for label in ("dog", "cat", "rain")] == [0.3, 0.2, 0.2]  # none is above
    assert low.of("cat").smooth == 2.0
    one = config_with(config, {"onset": "0.6", "dog.onset": "0.1", "smooth": "1"})
    assert [one.of(label).onset for label in ("dog", "cat", "rain")] == [0.1, 0.6, 0.6]
    assert one.of("dog").offset == 0.1 and one.of("cat").smooth == 1.0
    assert config_with(config, {"onset": "0.5", "offset": "none"}).labels == {"cat": {"smooth": 2.0}}
    with pytest.raises(ValueError, match=r"offset: expected no more than onset \(0.3\), got 0.4"):
        config_with(config, {"onset": "0.3", "offset": "0.4"})
    with pytest.raises(ValueError, match="onset: expected a score"):
        config_with(config, {"onset": "3"})


def test_an_offset_that_is_typed_goes_by_the_onsets_that_labels_have() -> None:
    labels = ("dog", "rain")
    model = SimpleNamespace(events=None, thresholds=[0.95, 2.0], labels=labels)
    config = config_with(events_of(model), {"offset": "0.9"}, labels)
    assert [config.of(label).offset for label in labels] == [0.9, 0.9]
    assert (
        config_with(events_of(model), {"offset": "0.9", "dog.offset": "0.1"}, labels).of("dog").offset == 0.1
    )
    with pytest.raises(ValueError, match=r"'dog': offset: expected no more than onset \(0.95\), got 0.97"):
        config_with(events_of(model), {"offset": "0.97"}, labels)
    model.thresholds = [0.3, 0.4]
    with pytest.raises(ValueError, match=r"'dog': offset: expected no more than onset \(0.3\), got 0.9"):
        config_with(events_of(model), {"offset": "0.9"}, labels)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"onset": 1.5}, "onset: expected a score from 0 to 1, or 2 for never, got 1.5"),
        ({"onset": None}, "onset"),
        ({"offset": 0.6}, "no more than onset"),
        ({"smooth": -1.0}, "smooth: expected seconds"),
        ({"min_length": float("nan")}, "min_length"),
        ({"max_gap": "1"}, "max_gap"),
        ({"hop": 0.0}, "hop: expected seconds above 0"),
        ({"pitch": 1}, "pitch: no setting"),
        ({"labels": {"cat": {"onset": 0.1}}}, "no such label"),
        ({"labels": {"dog": {"onset": 3}}}, "'dog': onset"),
        ({"labels": {"dog": {"hop": 1}}}, "'dog': expected some of"),
        ({"labels": {"dog": 0.5}}, "'dog'"),
        ({"labels": [1]}, "labels"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        event_config(settings, ["dog"])


def test_windows_out_of_order_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="rise"):
        find_events(np.array([[1.0, 2.0], [0.0, 1.0]]), np.zeros((2, 1)), ["dog"])
    with pytest.raises(ValueError, match="expected times"):
        find_events(SECONDS[:2], np.zeros((2, 3)), ["dog"])
    with pytest.raises(ValueError, match="rise"):
        stretches(np.array([0.0, 0.0]), np.array([1.0, 1.0]))
    assert find_events(np.zeros((0, 2)), np.zeros((0, 1)), ["dog"]) == []
