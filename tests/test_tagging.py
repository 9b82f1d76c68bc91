"""Tagger: any length, any cut, the same scores; and nothing is left running."""

import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_model

from auricle import listening, scoring, tagging
from auricle.artifact import save_artifact
from auricle.audio import AudioError, AudioWarning, Block, RawFormat, read
from auricle.runners.windows import clip_scores, sigmoid, window_starts
from auricle.tagging import Tagger, TagOptions, tag_file

RATE, WINDOW = tiny_model.RATE, tiny_model.WINDOW


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.save(tmp_path_factory.mktemp("tagging") / "tiny").path


@pytest.fixture(scope="module")
def tagger(model: Path) -> Tagger:
    return Tagger(model, threads=1, batch=4)


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "auricle-decode"]


def sound(seconds: float, rate: int = RATE) -> np.ndarray:
    rng = np.random.default_rng(int(seconds * 1000))
    count = int(seconds * rate)
    envelope = np.linspace(0.1, 0.9, count)  # no two windows are alike
    return (envelope * rng.uniform(-1, 1, count)).astype(np.float32)


def write(path: Path, seconds: float, rate: int = RATE) -> Path:
    soundfile.write(path, sound(seconds, rate), rate, subtype="FLOAT")
    return path


def gather(tagger: Tagger, source: Any, **options: Any) -> tuple[np.ndarray, ...]:
    return tuple(np.concatenate(column) for column in zip(*tagger.windows(source, **options), strict=True))


def cut_in_blocks(monkeypatch: pytest.MonkeyPatch, samples: np.ndarray, size: int, start: int = 0) -> None:
    def blocks(*arguments: Any, **options: Any) -> Iterator[Block]:
        for begin in range(0, len(samples), size):
            yield Block(start + begin, samples[begin : begin + size])

    monkeypatch.setattr(listening, "blocks", blocks)


def test_windows_stand_where_window_starts_says(tagger: Tagger, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 2.83)
    samples = read(path, RATE)
    starts, stops, on_grid, logits, embeddings = gather(tagger, path)
    np.testing.assert_array_equal(starts, window_starts(len(samples), WINDOW, WINDOW, "align"))
    np.testing.assert_array_equal(stops, starts + WINDOW)
    assert on_grid.tolist() == [True] * 11 + [False]
    expected = tagger.runner.run(np.stack([samples[s : s + WINDOW] for s in starts]))
    np.testing.assert_array_equal(logits, expected[0])
    np.testing.assert_array_equal(embeddings, expected[1])


@pytest.mark.parametrize("hop", [WINDOW, 700, 3001])
def test_blocks_of_any_size_give_the_same_bits(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch, hop: int
) -> None:
    samples = sound(3.3)
    answers = []
    for size in (len(samples), 1000, 1999, 2000, 6007, 333):
        cut_in_blocks(monkeypatch, samples, size)
        answers.append((gather(tagger, "x", hop=hop), tagger.tag("x", windows=True)))
    columns, tags = answers[0]
    starts = window_starts(len(samples), WINDOW, hop, "align")
    np.testing.assert_array_equal(columns[0], starts)
    np.testing.assert_array_equal(
        columns[3], tagger.runner.run(np.stack([samples[s:][:WINDOW] for s in starts]))[0]
    )
    for others, other_tags in answers[1:]:
        for column, other in zip(columns, others, strict=True):
            np.testing.assert_array_equal(column, other)
        assert tags == other_tags


def test_batch_size_and_threads_do_not_change_tags(tagger: Tagger, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 2.1)
    for threads, batch in ((2, 16), (1, 1)):
        other = Tagger(model, threads=threads, batch=batch)
        np.testing.assert_allclose(gather(other, path)[3], gather(tagger, path)[3], atol=1e-5)


def test_a_clip_score_leaves_the_tail_out_where_the_model_drops_it(tagger: Tagger, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 1.1)
    samples = read(path, RATE)
    for tail, count in (("drop", 4), ("align", 5)):
        aligned = Tagger(tiny_model.save(tmp_path / tail, tail=tail).path, threads=1, batch=4)
        starts = window_starts(len(samples), WINDOW, WINDOW, tail)
        assert len(starts) == count
        scores = clip_scores(tagger.runner.run(np.stack([samples[s : s + WINDOW] for s in starts]))[0])
        result = aligned.tag(path, windows=True)
        assert {tag["label"]: tag["score"] for tag in result["tags"]} == {
            label: float(f"{score:.6g}") for label, score in zip(tiny_model.LABELS, scores, strict=True)
        }
        assert len(result["windows"]) == 5, "the time-line hears every second under either"


def test_a_tag_result_is_the_documented_object(tagger: Tagger, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 0.6)
    result = tagger.tag(path, windows=True)
    assert list(result) == ["path", "duration", "tags", "windows"]
    assert result["path"] == str(path) and result["duration"] == 0.6
    scores = [tag["score"] for tag in result["tags"]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 3
    assert [(w["start"], w["end"]) for w in result["windows"]] == [(0, 0.25), (0.25, 0.5), (0.35, 0.6)]
    assert all(list(tag) == ["label", "score"] for w in result["windows"] for tag in w["tags"])
    assert "windows" not in tagger.tag(path)


def test_top_and_threshold_choose_tags(tagger: Tagger, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 0.5)
    every = tagger.tag(path, top=None)["tags"]
    assert tagger.tag(path, top=1)["tags"] == every[:1]
    assert tagger.tag(path, threshold=every[1]["score"] - 1e-5)["tags"] == every[:2]
    assert tagger.tag(path, threshold=1.0)["tags"] == []
    for options, message in (({"top": 0}, "top is 0"), ({"threshold": 50}, "threshold is 50")):
        with pytest.raises(ValueError, match=message):
            tagger.tag(path, **options)


def test_a_short_recording_is_padded(tagger: Tagger, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 0.1)
    starts, stops, on_grid, logits, _ = gather(tagger, path)
    padded = np.zeros((1, WINDOW), np.float32)
    padded[0, :800] = read(path, RATE)
    np.testing.assert_array_equal(logits, tagger.runner.run(padded)[0])
    assert (starts.tolist(), stops.tolist(), on_grid.tolist()) == ([0], [800], [True])
    result = tagger.tag(path, windows=True)
    assert result["duration"] == 0.1 and result["windows"][0]["end"] == 0.1
    assert result["windows"][0]["tags"] == result["tags"]


def test_times_are_exact_a_day_into_a_recording(tagger: Tagger, tmp_path: Path) -> None:
    """A sparse file of 28 hours; six significant digits would make whole seconds of its times."""
    path, begin = tmp_path / "day.pcm", 100_000.5
    with path.open("wb") as stream:
        stream.truncate(int(100_010 * RATE * 2))
    raw = RawFormat(rate=RATE)
    result = tagger.tag(path, start=begin, end=begin + 0.75, windows=True, raw=raw)
    starts = window_starts(round(0.75 * RATE), tagger.artifact.window, tagger.artifact.hop, "align")
    assert [window["start"] for window in result["windows"]] == [begin + start / RATE for start in starts]


def test_a_range_keeps_the_recordings_own_times(tagger: Tagger, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 3.0)
    result = tagger.tag(path, start=1.0, end=1.6, windows=True)
    assert result["duration"] == 0.6
    assert [(w["start"], w["end"]) for w in result["windows"]] == [(1, 1.25), (1.25, 1.5), (1.35, 1.6)]
    starts, _, _, logits, _ = gather(tagger, path, start=1.0, end=1.5)
    whole = gather(tagger, path)
    np.testing.assert_array_equal(logits, whole[3][4:6])
    assert starts.tolist() == [8000, 10000]


def test_a_recording_at_another_rate_is_resampled(tagger: Tagger, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 1.0, rate=44100)
    samples = read(path, RATE)
    logits = gather(tagger, path)[3]
    np.testing.assert_array_equal(logits, tagger.runner.run(samples.reshape(4, WINDOW))[0])


def test_scores_of_windows_are_sigmoids_of_logits(tagger: Tagger, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 0.25)
    logits = gather(tagger, path)[3]
    best = int(logits[0].argmax())
    tag = tagger.tag(path, top=1)["tags"][0]
    assert tag == {"label": tiny_model.LABELS[best], "score": float(f"{sigmoid(logits)[0, best]:.6g}")}


def test_a_recording_without_sound_is_one_clear_error(
    tagger: Tagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), RATE)
    with pytest.raises(AudioError, match=r"none\.wav"):
        tagger.tag(tmp_path / "none.wav")
    cut_in_blocks(monkeypatch, np.zeros(0, np.float32), 10)
    with pytest.raises(AudioError, match="x: no sound between 3 s and its end"):
        tagger.tag("x", start=3)


def test_a_model_that_gives_nan_is_an_error(tmp_path: Path) -> None:
    check = tiny_model.check_vector(tiny_model.graph())
    broken = save_artifact(
        tmp_path / "nan", onnx=tiny_model.graph(not_a_number=True), check=check, **tiny_model.description()
    )
    path = write(tmp_path / "a.wav", 1.0)
    with pytest.raises(ValueError, match=r"a\.wav: the model nan gives a score that is no number at 0\.00 s"):
        Tagger(broken.path, threads=1, batch=2).tag(path)


def test_an_error_while_decoding_reaches_the_caller_after_what_was_decoded(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blocks(*arguments: Any, **options: Any) -> Iterator[Block]:
        yield Block(0, sound(2.0))
        raise AudioError("x: the disk went away; plug it in")

    monkeypatch.setattr(listening, "blocks", blocks)
    parts = tagger.windows("x")
    assert len(next(parts).starts) == 4
    assert len(next(parts).starts) == 4
    with pytest.raises(AudioError, match="the disk went away"):
        next(parts)


def test_stopping_early_ends_the_decoder(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, given = threading.Event(), []

    def blocks(*arguments: Any, **options: Any) -> Iterator[Block]:
        try:
            for number in range(100_000):
                given.append(number)
                yield Block(number * 8000, sound(1.0))
        finally:
            closed.set()

    monkeypatch.setattr(listening, "blocks", blocks)
    parts = tagger.windows("x")
    next(parts)
    time.sleep(0.05)
    assert len(given) <= listening.BLOCKS_AHEAD + 4, "the decoder runs ahead without a bound"
    parts.close()  # type: ignore[attr-defined]
    assert closed.is_set()
    assert "auricle-decode" not in [thread.name for thread in threading.enumerate()]


def test_warnings_come_in_the_callers_thread_or_with_the_result(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blocks(*arguments: Any, warn: Any, **options: Any) -> Iterator[Block]:
        yield Block(0, sound(0.5))
        warn("x: ends at 0.5 s")

    monkeypatch.setattr(listening, "blocks", blocks)
    assert tagger.tag("x")["warnings"] == ["x: ends at 0.5 s"]
    told: list[tuple[str, str]] = []
    result = tagger.tag("x", warn=lambda text: told.append((text, threading.current_thread().name)))
    assert told == [("x: ends at 0.5 s", "MainThread")] and "warnings" not in result
    with pytest.warns(AudioWarning, match=r"ends at 0\.5 s"):
        list(tagger.windows("x"))


def test_memory_does_not_grow_with_length(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    block, peaks = sound(1.0), []
    for count in (30, 900):

        def blocks(*arguments: Any, count: int = count, **options: Any) -> Iterator[Block]:
            for number in range(count):
                yield Block(number * len(block), block)

        monkeypatch.setattr(listening, "blocks", blocks)
        tracemalloc.start()
        tagger.tag("x")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 50_000, peaks


def test_pieces_come_while_the_recording_goes_on(
    tagger: Tagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.wav", 2.3)
    whole = tagger.tag(path, top=2, windows=True)
    assert [*tagger.follow(path, top=2)] == [*whole.pop("windows"), whole]
    assert [*tagger.follow(path, top=2, windows=False)] == [whole]
    going_on = threading.Event()

    def blocks(*arguments: Any, **options: Any) -> Iterator[Block]:
        yield Block(0, sound(2.0))
        assert going_on.wait(10), "the first windows were not given before the rest was read"
        yield Block(2 * RATE, sound(1.0))

    monkeypatch.setattr(listening, "blocks", blocks)
    pieces = tagger.follow("x")
    assert next(pieces)["start"] == 0
    going_on.set()
    assert [*pieces][-1]["duration"] == 3.0


def test_an_interrupt_does_not_wait_for_a_silent_source(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = threading.Event()

    def blocks(*arguments: Any, **options: Any) -> Iterator[Block]:
        silent.wait(10)
        yield Block(0, sound(1.0))

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(listening, "blocks", blocks)
    monkeypatch.setattr(scoring.queue.Queue, "get", interrupted)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        tagger.tag("x")
    assert time.monotonic() - began < 2
    silent.set()
    for thread in threading.enumerate():
        if thread.name == "auricle-decode":
            thread.join(10)


def test_tag_file_goes_to_another_process_and_loads_its_model_once(model: Path, tmp_path: Path) -> None:
    options = TagOptions(model=str(model), threads=1)
    function, again = pickle.loads(pickle.dumps((tag_file, options)))
    assert again == options and function is tag_file
    tagging._tagger.cache_clear()
    for _ in range(3):
        tag_file(str(write(tmp_path / "a.wav", 0.5)), options)
    assert tagging._tagger.cache_info().misses == 1


def test_a_stream_is_tagged_like_its_file(tagger: Tagger, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 1.3)
    with path.open("rb") as stream:
        result = tagger.tag(stream)
    assert result == tagger.tag(path) | {"path": str(path)}


def test_a_real_recording_is_tagged_from_start_to_end(shared_data: Path, tagger: Tagger) -> None:
    path = sorted((shared_data / "esc50").rglob("*.ogg"))[0]
    result = tagger.tag(path, windows=True)
    assert result["duration"] == pytest.approx(5.0, abs=0.05)
    assert result["windows"][-1]["end"] == result["duration"]


def test_given_blocks_and_a_given_runner_are_tagged_like_the_file(tagger: Tagger, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 3.3)
    given = Tagger(runner=tagger.runner)
    assert given.artifact is tagger.artifact
    blocks = (
        Block(start, read(path, RATE)[start : start + 700]) for start in range(0, round(3.3 * RATE), 700)
    )
    wishes: dict[str, Any] = {"windows": True, "top": None}
    assert given.tag("a.wav", decoded=blocks, **wishes) | {"path": str(path)} == tagger.tag(path, **wishes)


def test_given_blocks_without_a_sample_are_one_clear_error(tagger: Tagger) -> None:
    with pytest.raises(AudioError, match="^a.wav: no sound was heard; nothing to tag$"):
        tagger.tag("a.wav", decoded=iter([]))
