"""Sounds that nobody knows are what they say they are, and false alarms on them are counted rightly."""

import csv
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_model
from running import ROOT, load_script
from scipy.signal import welch

from auricle.artifact import load_artifact, save_changed
from auricle.calibration.stages import Examples
from auricle.engine import pack
from auricle.evaluation.heard import KEYS, training_keys
from auricle.evaluation.lines import Line
from auricle.event_settings import EventConfig
from auricle.recipes.quiet import CORPUS, corpus_examples, make_quiet, quiet_thresholds
from auricle.shards import Pack

RATE, SECONDS = 16000, 4.0
SHORT = {"rate": RATE, "seconds": SECONDS}


@pytest.fixture
def sounds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return load_script("examples/make_unknown.py")


@pytest.fixture
def script() -> ModuleType:
    return load_script("benchmarks/unknown_sounds.py")


def level(sound: np.ndarray) -> float:
    return float(10 * np.log10((sound.astype(float) ** 2).mean()))


def loudest(sound: np.ndarray) -> float:
    """The frequency of the highest peak."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.fft.rfftfreq(len(sound), 1 / RATE)[spectrum.argmax()])


def test_the_same_arguments_make_the_same_sound_and_others_another(sounds: ModuleType) -> None:
    kinds = [kind for kind in sounds.KINDS if kind not in sounds.NEED_ESPEAK]
    assert len(kinds) == 9
    for kind in kinds:
        number = 1  # of silence the dither; zeros are always the same
        first, words = sounds.make_sound(kind, "choose", number, **SHORT)
        again, same_words = sounds.make_sound(kind, "choose", number, **SHORT)
        assert first.dtype == np.float32 and first.shape == (SECONDS * RATE,)
        assert np.array_equal(first, again) and words == same_words
        for other in ({"half": "judge"}, {"number": 7}, {"seed": 1}):
            given = {"kind": kind, "half": "choose", "number": number, **SHORT, **other}
            assert not np.array_equal(sounds.make_sound(**given)[0], first), (kind, other)


def test_levels_are_as_stated(sounds: ModuleType) -> None:
    assert not sounds.make_sound("silence", "judge", 0, **SHORT)[0].any()
    dither, _ = sounds.make_sound("silence", "judge", 1, **SHORT)
    assert 0 < np.abs(dither).max() <= 1 / 32768
    assert np.std(dither) * 32768 == pytest.approx(6**-0.5, rel=0.02)  # two uniform draws, 1/12 each
    assert level(sounds.make_sound("silence", "judge", 2, **SHORT)[0]) == pytest.approx(-80, abs=0.01)
    for number, stated in ((0, -60), (7, -45), (14, -35), (21, -25), (27, -15)):
        sound, words = sounds.make_sound("noise", "judge", number, **SHORT)
        assert words.endswith(f"at {stated} dB") and level(sound) == pytest.approx(stated, abs=0.1)
    for kind in ("chords", "music", "murmur", "tone", "sweep", "hum"):
        for number in range(8):
            sound, words = sounds.make_sound(kind, "judge", number, **SHORT)
            stated = float(words.split()[-2])
            # A peak at full scale takes the level down; nothing takes it up.
            assert stated - 8 < level(sound) < stated + 0.6, words
            assert np.abs(sound).max() <= 1


@pytest.mark.parametrize(
    "colour, slope", [("white", 0), ("pink", -3), ("brown", -6), ("blue", 3), ("violet", 6)]
)
def test_noise_has_its_colour(sounds: ModuleType, colour: str, slope: float) -> None:
    noise = sounds.coloured(colour, 40 * RATE, np.random.default_rng(0), RATE)
    frequency, density = welch(noise, RATE, nperseg=4096)
    places = [np.abs(frequency - each).argmin() for each in (500, 4000)]
    low, high = (10 * np.log10(density[place - 5 : place + 6].mean()) for place in places)
    assert (high - low) / 3 == pytest.approx(slope, abs=0.3)  # dB an octave; 3.01 of pink


def test_tones_sweeps_and_mains_are_where_they_are_said_to_be(sounds: ModuleType) -> None:
    for number in (0, 4, 8):
        sound, words = sounds.make_sound("tone", "choose", number, **SHORT)
        assert loudest(sound) == pytest.approx(float(words.split()[1]), abs=1)
    for number in range(4):
        sound, words = sounds.make_sound("sweep", "choose", number, **SHORT)
        first, last = float(words.split()[0]), float(words.split()[2])
        assert loudest(sound[: RATE // 8]) == pytest.approx(first, abs=300)
        assert loudest(sound[-RATE // 8 :]) == pytest.approx(last, abs=300)
        assert (first < last) == (number < 2)
    for half, mains in (("choose", 50), ("judge", 60)):
        assert loudest(sounds.make_sound("hum", half, 0, **SHORT)[0]) == pytest.approx(mains, abs=0.5)


def test_music_has_the_notes_and_the_halves_share_no_instrument(sounds: ModuleType) -> None:
    music = sys.modules["unknown_music"]
    assert not set(music.INSTRUMENTS["choose"]) & set(music.INSTRUMENTS["judge"])
    rng = np.random.default_rng(0)
    for voice in (music.INSTRUMENTS["choose"]["piano"], music.INSTRUMENTS["judge"]["flute"]):
        sound = music.note(voice, 440.0, 2.0, rng, RATE)
        assert loudest(sound) == pytest.approx(440, abs=2) and np.abs(sound).max() <= 1.2
    for number, name in enumerate(music.STYLES):
        piece, words = sounds.make_sound("music", "judge", number, **SHORT)
        assert words.startswith(name)
        seconds = [level(part) for part in np.split(piece, int(SECONDS))]
        assert min(seconds) > -60, name  # it plays from the first second to the last


def test_a_drawn_instrument_is_another_each_time_and_is_made_only_where_it_is_asked_for(
    sounds: ModuleType, tmp_path: Path
) -> None:
    music = sys.modules["unknown_music"]
    voices = [music.draw_instrument(np.random.default_rng(seed)) for seed in range(60)]
    assert len({voice.ratios[-1] for voice in voices if voice.ratios[-1] % 1}) > 25  # stiff ones and bars
    assert {voice.ratios[-1] % 1 == 0 for voice in voices} == {True, False}
    assert min(voice.decay for voice in voices) < 0.3 and max(voice.decay for voice in voices) > 3
    for number in range(6):
        sound, words = sounds.make_sound("drawn", "choose", number, **SHORT)
        assert words.startswith("a drawn instrument") and level(sound) > -36
        again, _ = sounds.make_sound("drawn", "choose", number, **SHORT)
        assert np.array_equal(sound, again)
    sounds.write(tmp_path, share=0.01, **SHORT)
    with (tmp_path / "meta.csv").open(newline="") as stream:
        assert "drawn" not in {row["kind"] for row in csv.DictReader(stream)}


def test_the_twin_of_speech_pauses_and_is_low_as_voices_are(sounds: ModuleType) -> None:
    speech = sys.modules["unknown_speech"]
    sound = speech.murmur(20.0, np.random.default_rng(1), RATE)
    frames = 10 * np.log10((sound.reshape(-1, RATE // 50) ** 2).mean(axis=1) + 1e-12)
    silent = float((frames < frames.max() - 40).mean())
    assert 0.02 < silent < 0.6
    frequency, density = welch(sound, RATE, nperseg=2048)
    assert density[(frequency > 80) & (frequency < 4000)].sum() > 0.9 * density.sum()
    room = speech.in_a_room(sound, np.random.default_rng(2), RATE)
    later = 10 * np.log10((room.reshape(-1, RATE // 50) ** 2).mean(axis=1) + 1e-12)
    assert (later < later.max() - 40).mean() < silent  # it rings on into the pauses


def test_the_halves_share_neither_voice_nor_sentence(sounds: ModuleType) -> None:
    speech = sys.modules["unknown_speech"]
    for table in (speech.VOICES, speech.SENTENCES):
        assert len(table["choose"]) > 5 and len(table["judge"]) > 5
        assert not set(table["choose"]) & set(table["judge"])


def test_speech_is_spoken(sounds: ModuleType) -> None:
    speech = sys.modules["unknown_speech"]
    if not speech.has_espeak():
        pytest.skip("espeak-ng is not installed; its twin is tested above")
    first, second = (sounds.make_sound("speech", "judge", number, **SHORT)[0] for number in (0, 1))
    assert np.array_equal(first, sounds.make_sound("speech", "judge", 0, **SHORT)[0])
    assert not np.array_equal(first, second)
    for sound in (first, second):
        assert all(level(part) > -70 for part in np.split(sound, int(SECONDS)))
        assert np.abs(sound[: RATE // 100]).max() < 0.1  # no header is heard as a click


def test_speech_that_fails_is_an_error(sounds: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = sys.modules["unknown_speech"]
    if not speech.has_espeak():
        pytest.skip("espeak-ng is not installed")
    monkeypatch.setitem(speech.VOICES, "judge", ("xx-nonesuch",))
    with pytest.raises(RuntimeError, match="xx-nonesuch"):
        speech.say("judge", 0, 1.0, np.random.default_rng(0), RATE)


def line(*scores: tuple[float, ...]) -> Line:
    """Windows of 2 s side by side."""
    begins = 2.0 * np.arange(len(scores))
    return Line(np.stack([begins, begins + 2], 1), np.array(scores))


def test_false_alarms_are_counted_as_by_hand(script: ModuleType) -> None:
    # Of dog at 0.5: windows 1 and 2 are one event, window 4 another; of rain at 0.8: window 4.
    hum = line((0.6, 0.1), (0.5, 0.7), (0.4, 0.7), (0.9, 0.8))
    quiet = line((0.1, 0.1), (0.2, 0.7))
    config = EventConfig(labels={"dog": {"onset": 0.5}, "rain": {"onset": 0.8}})
    found = script.count([hum, quiet, hum], ["hum", "silence", "hum"], ["dog", "rain"], config)
    assert dict(found["hum"].events) == {"dog": 4, "rain": 2} and not found["silence"].events
    assert (found["hum"].windows, found["hum"].shown) == (8, 6)
    assert found["hum"].hours == pytest.approx(16 / 3600)
    assert found["hum"].rate == pytest.approx(6 * 3600 / 16) and found["silence"].rate == 0
    merged = script.count([hum], ["hum"], ["dog", "rain"], EventConfig(onset=0.5, max_gap=2.0))
    assert dict(merged["hum"].events) == {"dog": 1, "rain": 1}  # merged as `auricle events` would
    assert script.mean_rates([found, merged | {"silence": script.Count(hours=1.0)}])["hum"] == (
        pytest.approx((6 / 16 + 2 / 8) / 2 * 3600)
    )


def test_what_thresholds_keep_is_counted_as_by_hand(script: ModuleType) -> None:
    lines = [line((0.9, 0.6), (0.3, 0.2)), line((0.1, 0.4), (0.2, 0.4))]
    targets = np.array([[True, False], [False, True]])
    corpus = script.Corpus(targets, np.array([each.scores.mean(axis=0) for each in lines]), lines)
    kept = corpus.kept(["dog", "rain"], EventConfig(onset=0.5))
    # The dog's clip scores 0.6 and shows; the rain's 0.4 and does not; rain is heard once where a dog is.
    assert kept["recall"] == 0.5 and kept["recall_events"] == 0.5 and kept["precision"] == 1.0
    assert kept["wrong_events_an_hour"] == pytest.approx(1 / (8 / 3600))
    assert corpus.kept(["dog", "rain"], EventConfig(onset=0.4))["precision"] == 2 / 3


def some(*logits: float) -> Examples:
    """Clips of one window of one label, none of which has it."""
    none = np.zeros((len(logits), 1), bool)
    scores = np.array(logits, np.float32)[:, None]
    clips = np.arange(len(logits))
    return Examples(logits=scores, starts=clips, targets=none, known=~none, groups=clips)


def test_the_loudest_kind_sets_the_threshold() -> None:
    # 1800 windows of 2 s are an hour. Logits 0 and 2 are scores of 0.5 and 0.88.
    hum, tone = some(*[0.0] * 3, *[-9.0] * 1797), some(2.0, *[-9.0] * 1799)
    for parts, most, expected, of in (
        ({"hum": hum, "tone": tone}, 2, 0.75, "hum"),  # 3 windows at 0.5 are too many, one at 0.88 is not
        ({"hum": hum, "tone": tone}, 3, 0.44, "tone"),  # half way from 0.88 to nothing
        ({"hum": hum, "tone": tone}, 0.5, (1 + 1 / (1 + np.exp(-2))) / 2, "tone"),
    ):
        row = quiet_thresholds(parts, None, ("dog",), false_alarms=most, hop=2.0)["dog"]
        assert row["threshold"] == pytest.approx(expected, abs=1e-3) and row["of"] == of
    asked = {"false_alarms": 2, "hop": 2.0}
    row = quiet_thresholds({CORPUS: hum, "tone": tone}, None, ("dog",), confusions=5, **asked)["dog"]
    assert (
        row["threshold"] < 0.5 < quiet_thresholds({CORPUS: hum}, None, ("dog",), **asked)["dog"]["threshold"]
    )
    # A kind with a number of its own; and ends beyond which no threshold goes.
    row = quiet_thresholds({"hum": hum, "tone": tone}, None, ("dog",), allow={"hum": 3}, **asked)["dog"]
    assert (row["of"], row["threshold"]) == ("tone", pytest.approx(0.44, abs=1e-3))
    for ends, expected, of in (
        ({"greatest": 0.7}, 0.7, "held at the greatest"),
        ({"least": 0.8}, 0.8, "held at the l"),
    ):
        row = quiet_thresholds({"hum": hum, "tone": tone}, None, ("dog",), **asked, **ends)["dog"]
        assert row["threshold"] == expected and row["of"].startswith(of)


@pytest.fixture
def unknown(sounds: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pack of few and short ones, without speech."""
    monkeypatch.setattr(sounds, "has_espeak", lambda: False)
    count = sounds.write(tmp_path / "made", rate=tiny_model.RATE, seconds=2.0, share=0.05)
    with (tmp_path / "made" / "meta.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count and {row["kind"] for row in rows} == set(sounds.KINDS) - set(sounds.NEED_ESPEAK)
    assert {row["split"] for row in rows} == set(sounds.HALVES) and not any(row["labels"] for row in rows)
    pack(tmp_path / "made" / "meta.csv", tmp_path / "unknown", rate=tiny_model.RATE, jobs=1, quiet=True)
    return tmp_path / "unknown"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twelve clips of noise, in two folds."""
    rows = ["path,labels,split"]
    for number, label in enumerate(4 * tiny_model.LABELS):
        noise = np.random.default_rng(number).normal(0, 0.02 * (1 + number % 3), 2 * tiny_model.RATE)
        soundfile.write(tmp_path / f"{number}.wav", noise, tiny_model.RATE)
        rows.append(f"{number}.wav,{label},fold{1 + number % 2}")
    (tmp_path / "meta.csv").write_text("\n".join(rows) + "\n")
    pack(tmp_path / "meta.csv", tmp_path / "corpus", rate=tiny_model.RATE, jobs=1, quiet=True)
    return tmp_path / "corpus"


def test_a_loud_mouthed_model_is_told_and_quieted(
    script: ModuleType,
    unknown: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def judged(model: Path, *more: str) -> str:
        arguments = [
            "x",
            "--model",
            str(model),
            "--sounds",
            str(unknown),
            "--threads",
            "1",
            "--thresholds",
            "",
        ]
        monkeypatch.setattr(sys, "argv", [*arguments, "--most", "100", *more])
        script.main()
        return capsys.readouterr().out

    tiny_model.save(tmp_path / "loud", thresholds=[0.01] * 3)
    with pytest.raises(SystemExit, match="more than 100 false alarms an hour: .*noise"):
        judged(tmp_path / "loud")
    # Of every label one event from the first window to the last: 3 in 2 s.
    assert "| noise | 0.00 | 5400.0 | 1.000 |" in capsys.readouterr().out
    options = {"false_alarms": 1.0, "threads": 1}
    made = make_quiet(tmp_path / "loud", corpus, unknown, tmp_path / "quiet", **options)
    assert made.metrics["calibration"]["goal"] == {"false_alarms": 1.0}
    assert "python -m auricle.recipes.quiet" in (tmp_path / "quiet" / "README.md").read_text()
    written = load_artifact(tmp_path / "quiet")
    assert written.thresholds == made.thresholds and min(made.thresholds) > 0.01
    with pytest.raises(ValueError, match="no kind 'rain'; there are: chords, hum"):
        make_quiet(tmp_path / "loud", corpus, unknown, tmp_path / "other", without=["rain"], **options)
    with pytest.raises(ValueError, match="no kind 'rain'"):
        make_quiet(tmp_path / "loud", corpus, unknown, tmp_path / "other", allow={"rain": 3.0}, **options)
    # On the very half that they were chosen on, nothing may pass: it is shorter than an hour.
    out = judged(tmp_path / "quiet", "--split", "choose", "--data", str(corpus))
    own = next(row for row in out.splitlines() if row.startswith("| the model's own |"))
    assert own.split(" | ")[1] == "0.0"
    # What is measured of a model stands in its card, and changes nothing else of it.
    with pytest.raises(SystemExit):
        judged(tmp_path / "loud", "--data", str(corpus), "--card", str(tmp_path / "carded"))
    carded, loud = load_artifact(tmp_path / "carded"), load_artifact(tmp_path / "loud")
    assert carded.fingerprint == loud.fingerprint and carded.thresholds == loud.thresholds
    about = carded.metrics["unknown_sounds"]
    assert about["kinds"]["noise"]["false_alarms"] == pytest.approx(5400)
    assert about["kinds"]["noise"]["labels"] == pytest.approx(dict.fromkeys(tiny_model.LABELS, 1800))
    card = (tmp_path / "carded" / "README.md").read_text()
    assert "| noise | 0.00 | 5400.0 | " in card
    assert "show 1.000 of the labels that are there, and 0.333 of what they show is right" in card
    listened, windows = script.heard, []

    def noted(model: Any, *rest: Any) -> Any:
        windows.append((model.window / model.rate, model.hop / model.rate))
        return listened(model, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(script, "heard", noted)
        for given in ([], ["--window", "0.5", "--hop", "0.25"]):
            with pytest.raises(SystemExit):
                judged(tmp_path / "loud", *given)
    assert windows[1] == (0.5, 0.25) != windows[0]
    with pytest.raises(SystemExit):
        judged(tmp_path / "loud", "--window", "0.5", "--card", str(tmp_path / "other"))
    assert "the card tells of the model's own windows" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        judged(tmp_path / "loud", "--split", "choose", "--card", str(tmp_path / "other"))
    assert "on sounds that judge" in capsys.readouterr().err
    again = save_changed(carded, tmp_path / "again", thresholds=[0.5] * 3)
    assert "unknown_sounds" not in again.metrics, "of thresholds that it has no longer"
    named = save_changed(carded, tmp_path / "named", name="other")
    assert "unknown_sounds" in named.metrics
    for wrong, words in (
        ({"least": 0.9, "greatest": 0.5}, "least is 0.9 and greatest 0.5"),
        ({"allow": {"hum": -1.0}}, "expected more than 0 each"),
        ({"allow": {"hum": 3.0}, "without": ["hum"]}, "'hum' is to have a number and no say"),
    ):
        with pytest.raises(ValueError, match=words):
            make_quiet(tmp_path / "loud", corpus, unknown, tmp_path / "other", **options | wrong)


def test_clips_are_asked_about_out_of_fold(corpus: Path, tmp_path: Path) -> None:
    data, model = Pack(corpus), tiny_model.save(tmp_path / "model")
    for fold, other in (("fold1", "fold2"), ("fold2", "fold1")):
        heard = {KEYS: training_keys(data, data.select([other]))}
        tiny_model.save(tmp_path / "folds" / fold / "run" / "last", training=heard)
    examples, clips = corpus_examples(model, data, tmp_path / "folds", threads=1)
    assert clips.tolist() == [*data.select(["fold1"]), *data.select(["fold2"])]
    assert examples.targets.sum(axis=1).tolist() == [1] * 12 and examples.counts.tolist() == [8] * 12
    names = [tiny_model.LABELS[k] for k in examples.targets.argmax(axis=1)]
    assert names == [tiny_model.LABELS[int(Path(name).stem) % 3] for name in data.ids[clips]]
    knows = {KEYS: training_keys(data, data.select(["fold1"]))}
    tiny_model.save(tmp_path / "wrong" / "fold1" / "run" / "last", training=knows)
    with pytest.raises(ValueError, match="was trained on 6 of the clips"):
        corpus_examples(model, data, tmp_path / "wrong", threads=1)


def test_the_models_of_folds_are_counted_together(
    script: ModuleType,
    corpus: Path,
    unknown: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for fold, thresholds in (("fold1", [0.01] * 3), ("fold2", [0.01] * 3)):
        tiny_model.save(tmp_path / "folds" / fold / "run" / "last", thresholds=thresholds)
    arguments = ["--sounds", str(unknown), "--data", str(corpus), "--folds", str(tmp_path / "folds")]
    monkeypatch.setattr(sys, "argv", ["x", *arguments, "--threads", "1", "--thresholds", "1.0"])
    script.main()
    out = capsys.readouterr().out
    assert "2 models" in out
    # Means of two models that say the same, not their sum; a threshold that everything reaches keeps all.
    assert "| noise | 0.00 | 5400.0 | 1.000 |" in out
    rows = [row.split(" | ") for row in out.splitlines() if row.startswith(("| the model's own", "| 1.0 |"))]
    assert rows[0][3:6] == ["1.000", "1.000", "0.333"] and rows[1][1] == "0.0" and rows[1][3] == "0.000"
