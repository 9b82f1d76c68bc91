"""Events on packs of scenes: what is judged is what `tag --events` says; settings are chosen and obeyed."""

import csv
import json
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import tiny_model
from event_oracles import events_above, random_corpus, sed_scores_eval, slow_hits, slow_segments
from running import run

from auricle.artifact import load_artifact, save_changed
from auricle.datasets import Clip
from auricle.datasets.scene_recipe import SceneRecipe, SceneSplit
from auricle.engine import make_scenes, pack
from auricle.engine.packing import Range
from auricle.evaluation.event_choice import _onsets_of_labels, choose_events
from auricle.evaluation.events import Tolerances, count, evaluate_events, intervals_of
from auricle.evaluation.lines import score_lines
from auricle.evaluation.recordings import Recordings
from auricle.events import EventConfig, find_events, stretches
from auricle.formats.reading import read_events
from auricle.metrics.events import event_table, f1_figures
from auricle.runners import load_runner
from auricle.shards import Pack
from auricle.shards.writer import Decoded
from auricle.tagging import Tagger
from auricle.thresholds import NEVER

RATE = tiny_model.RATE
PITCHES = {"dog": 500, "rain": 1000, "clock": 2000, "owl": 3000}  # the model does not know owls


def tone(clip: Range, rate: int) -> Decoded:
    label = Path(clip.path).name.split("-")[0]
    time = np.arange(round(1.5 * rate)) / rate
    sound = 0.3 * np.sin(2 * np.pi * PITCHES[label] * time) * (time >= 0.3) * (time < 1.2)
    return Decoded(pcm=(32767 * sound).astype(np.int16), clipped=0, warnings=[])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events")
    clips = [
        Clip(
            id=f"{label}-{take}",
            path=str(folder / f"{label}-{take}"),
            labels=(label,),
            split="one",
            group=f"{label}-{take}",
        )
        for label in PITCHES
        for take in range(6)
    ]
    clips = [replace(clip, split="one" if int(clip.id[-1]) < 3 else "two") for clip in clips]
    pack(clips, folder / "singles", rate=RATE, jobs=1, quiet=True, decode=tone)
    splits = [
        SceneSplit(name="validation", sources=("one",), scenes=12, orders=0.0),
        SceneSplit(name="test", sources=("two",), scenes=8, orders=0.0),
    ]
    recipe = SceneRecipe(seed=1, seconds=6.1, longest=2.0, shortest=0.5, least=2, noise_share=0.0)
    make_scenes(folder / "singles", folder / "scenes", splits, recipe, jobs=1, quiet=True)
    return folder / "scenes"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that nobody trained, whose windows overlap and whose settings make events of what it says."""
    settings = EventConfig(smooth=0.3, onset=0.32, offset=0.3, max_gap=0.2, hop=0.1)
    folder = tmp_path_factory.mktemp("tiny") / "model"
    return tiny_model.save(folder, events=settings.as_dict()).path


class Listener:
    """A runner that hears the tones: the score of a label is high where its frequency is strong."""

    def __init__(self, path: Path):
        self.artifact = load_artifact(path)

    def run(self, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        time = np.arange(waveforms.shape[1]) / RATE
        waves = [np.exp(-2j * np.pi * PITCHES[label] * time) / len(time) for label in self.artifact.labels]
        level = 20 * np.log10(np.abs(waveforms @ np.stack(waves, axis=1)) + 1e-6)
        return ((level + 50) / 3).astype(np.float32), np.zeros((len(waveforms), 4), np.float32)


def found_of(folder: Path) -> list[dict[str, Any]]:
    with (folder / "events.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [row | {name: float(row[name]) for name in ("start", "end", "score")} for row in rows]


def test_the_events_that_are_judged_are_those_that_tag_finds(
    scenes: Path, tiny: Path, tmp_path: Path
) -> None:
    evaluate_events(tiny, scenes, splits=["test"], out=tmp_path / "out", quiet=True)
    judged = found_of(tmp_path / "out")
    assert len({row["id"] for row in judged}) > 3 and len({row["label"] for row in judged}) > 1
    mixed, tagger = Pack(scenes), Tagger(tiny)
    for position in mixed.select(["test"]).tolist():
        soundfile.write(tmp_path / "clip.wav", mixed.samples(position), RATE, subtype="PCM_16")
        config = EventConfig(**tagger.artifact.events)
        told = tagger.tag(tmp_path / "clip.wav", events=config)
        own = [row for row in judged if row["id"] == mixed.ids[position]]
        own = [{name: row[name] for name in ("start", "end", "label", "score")} for row in own]
        assert told["events"] == sorted(own, key=lambda row: (row["start"], row["label"]))
        assert list(told) == ["path", "duration", "tags", "events"]


def test_events_of_other_windows_are_judged_as_tag_finds_them(
    scenes: Path, tiny: Path, tmp_path: Path
) -> None:
    config = EventConfig(smooth=0.3, onset=0.32, offset=0.3, max_gap=0.2, hop=0.1, window=0.6)
    figures = evaluate_events(
        tiny, scenes, splits=["test"], config=config, out=tmp_path / "out", quiet=True, draws=0
    )
    assert (figures["window_seconds"], figures["hop_seconds"]) == (0.6, 0.1)
    assert figures["settings"]["window"] == 0.6
    own = evaluate_events(tiny, scenes, splits=["test"], quiet=True, draws=0)
    assert figures["model"] == own["model"] and own["window_seconds"] == 0.25, "it is the same model"
    judged, mixed, tagger = found_of(tmp_path / "out"), Pack(scenes), Tagger(tiny, threads=1)
    found, others = [], []
    for position in mixed.select(["test"]).tolist():
        soundfile.write(tmp_path / "clip.wav", mixed.samples(position), RATE, subtype="PCM_16")
        told = tagger.tag(tmp_path / "clip.wav", events=config)["events"]
        found += [{"id": mixed.ids[position]} | event for event in told]
        own_windows = tagger.tag(tmp_path / "clip.wav", events=replace(config, window=None))["events"]
        others.append(told != own_windows)
    by_place = itemgetter("id", "start", "label")
    assert sorted(judged, key=by_place) == sorted(found, key=by_place) and found
    assert any(others), "of the model's own windows they are others"


def test_settings_are_chosen_for_the_windows_that_are_asked_for(
    scenes: Path, tiny: Path, tmp_path: Path
) -> None:
    chosen = {"splits": ["validation"], "clips": 6, "per_label": 0, "quiet": True, "threads": 1}
    config, about = choose_events(tiny, scenes, window=0.6, **chosen)  # type: ignore[arg-type]
    assert (config.window, config.hop) == (0.6, 0.1)
    own, _ = choose_events(tiny, scenes, **chosen)  # type: ignore[arg-type]
    assert own.window is None
    stored = save_changed(load_artifact(tiny), tmp_path / "m", name="m", events=config.as_dict())
    again, told = choose_events(stored.path, scenes, **chosen)  # type: ignore[arg-type]
    assert again == config and told["f1_macro"] == about["f1_macro"], "which the model's settings have"
    figures = evaluate_events(stored.path, scenes, splits=["validation"], quiet=True, draws=0)
    assert figures["window_seconds"] == 0.6


def test_figures_are_those_of_slow_counts_over_the_truth(scenes: Path, tiny: Path, tmp_path: Path) -> None:
    tolerances = Tolerances(segment=0.5, onset_collar=0.4, offset_collar=0.5, offset_share=0.0)
    figures = evaluate_events(
        Listener(tiny), scenes, out=tmp_path / "out", tolerances=tolerances, quiet=True,
        config=EventConfig(onset=0.5, hop=0.125, min_length=0.25),
    )  # fmt: skip
    mixed = Pack(scenes)
    place = {name: row for row, name in enumerate(mixed.ids.tolist())}
    names = list(tiny_model.LABELS)
    truth = [
        (place[row["id"]], names.index(row["label"]), row["onset"], row["offset"])
        for row in pq.read_table(scenes / "events.parquet").to_pylist()
        if row["label"] in names
    ]
    found = [
        (place[row["id"]], names.index(row["label"]), row["start"], row["end"])
        for row in found_of(tmp_path / "out")
    ]
    hits, false, missed = slow_segments(truth, found, np.full(len(mixed), 6.1), 3, 0.5)
    micro = 2 * hits.sum() / (2 * hits.sum() + false.sum() + missed.sum())
    assert figures["segments"]["f1_micro"] == pytest.approx(micro)
    pairs = sum(slow_hits(truth, found, label, (0.4, 0.5, 0.0)) for label in range(3))
    assert figures["events"]["f1_micro"] == pytest.approx(2 * pairs / (len(truth) + len(found)))
    # It hears well, and so all figures are high.
    assert figures["segments"]["f1_macro"] > 0.8 and figures["events"]["f1_macro"] > 0.8
    assert figures["psds1"] > 0.6 and figures["psds2"] > 0.8
    assert (figures["true_events"], figures["found_events"]) == (len(truth), len(found))
    assert figures["labels_not_in_model"] == ["owl"] and figures["classes"] == 3
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == figures
    with (tmp_path / "out" / "per_class.csv").open(newline="") as stream:
        classes = list(csv.DictReader(stream))
    assert [row["label"] for row in classes] == names
    macro = np.mean([float(row["events_f1"]) for row in classes])
    assert figures["events"]["f1_macro"] == pytest.approx(macro)


def test_intervals_are_those_of_groups_that_are_drawn_again_and_again() -> None:
    scored, truth, durations = random_corpus(np.random.default_rng(3), 9, 3)
    found = [
        (clip, label, a, b)
        for clip, (bounds, scores) in enumerate(scored)
        for label in range(3)
        for a, b in events_above(bounds, scores[:, label], 0.45)
    ]
    groups = np.array(["c", "a", "b"] * 3)
    made = intervals_of(
        event_table(truth), event_table(found), durations, groups, 3, Tolerances(), draws=40, seed=5
    )
    weights = np.random.default_rng(5).multinomial(3, np.full(3, 1 / 3), 40)
    values: dict[str, list[float]] = {name: [] for name in made["intervals"]}
    for weight in weights:
        clips = [c for group, times in zip("abc", weight, strict=True) for _ in range(times)
                 for c in np.flatnonzero(groups == group)]  # fmt: skip
        rows = [
            event_table([(new, *row[1:]) for new, old in enumerate(clips) for row in part if row[0] == old])
            for part in (truth, found)
        ]
        for kind, counts in count(*rows, durations[clips], 3, Tolerances()).items():
            for mean in ("micro", "macro"):
                values[f"{kind}_f1_{mean}"].append(f1_figures(counts)[f"f1_{mean}"])
    assert len(values) == 4 and made["groups"] == 3
    for name, drawn in values.items():
        assert made["intervals"][name] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist())
    perfect = intervals_of(
        event_table(truth), event_table(truth), durations, groups, 3, Tolerances(), draws=40, seed=5
    )
    assert set(map(tuple, perfect["intervals"].values())) == {(None, None)}  # not 1 to 1
    one = intervals_of(
        event_table(truth), event_table(found), durations, np.zeros(9), 3, Tolerances(), draws=40, seed=5
    )
    assert one == {"groups": 1}


def test_a_batch_does_not_change_a_line_and_short_clips_have_one_window(scenes: Path, tiny: Path) -> None:
    runner = load_runner(load_artifact(tiny), threads=1, batch=7)
    mixed = Pack(scenes)
    lines = [
        list(score_lines(runner, mixed, np.arange(5), [2, 0], hop=800, batch=batch)) for batch in (1, 7, 500)
    ]
    for others in lines[1:]:
        for one, other in zip(lines[0], others, strict=True):
            assert np.array_equal(one.times, other.times) and np.array_equal(one.scores, other.scores)
    line = lines[0][0]
    # 6.1 s in windows of 0.25 s, 0.1 s apart; the last is aligned to the end.
    assert line.times[0].tolist() == [0.0, 0.25] and line.times[-1].tolist() == pytest.approx([5.85, 6.1])
    assert line.scores.shape == (60, 2)
    lengths = {0: 500, 1: 0}
    short = SimpleNamespace(rate=RATE, samples=lambda clip: np.ones(lengths[clip], np.int16))
    own = list(score_lines(runner, short, np.array([0, 1]), [0], hop=800, batch=4))
    assert own[0].times.tolist() == [[0.0, 500 / RATE]]
    assert own[1].times.tolist() == [[0.0, 1 / RATE]] and own[1].scores.shape == (1, 1)


def test_settings_are_chosen_by_f1_and_the_choice_is_the_same_every_time(scenes: Path, tiny: Path) -> None:
    listener = Listener(save_changed(load_artifact(tiny), tiny.parent / "plain", events=None).path)
    chosen = [
        choose_events(listener, scenes, splits=["validation"], hop=0.125, clips=10, seed=4, quiet=True)
        for _ in range(2)
    ]
    assert chosen[0] == chosen[1]
    config, about = chosen[0]
    assert config.hop == 0.125 and about["chosen_on"]["clips"] == 10
    assert about["f1_macro"] >= about["f1_macro_before"] and about["f1_macro"] > 0.8
    assert about["tried"] > 100 and not config.labels  # no label has 20 events
    better, about = choose_events(
        listener, scenes, splits=["validation"], hop=0.125, per_label=1, by="events",
        tolerances=Tolerances(onset_collar=0.3, offset_collar=0.3), quiet=True,
    )  # fmt: skip
    before = evaluate_events(listener, scenes, splits=["test"], config=EventConfig(onset=1e-5), quiet=True)
    after = evaluate_events(listener, scenes, splits=["test"], config=better, quiet=True)
    assert after["events"]["f1_macro"] > before["events"]["f1_macro"]


def test_a_label_with_an_onset_of_its_own_gets_an_offset_in_proportion() -> None:
    # A loud label over loud noise, a quiet one over quiet noise; between peak and noise, what belongs to it.
    times = np.stack([np.arange(8.0), np.arange(1.0, 9.0)], axis=1)
    scores = np.array(
        [[0.35, 0.08]] * 3 + [[0.5, 0.125], [0.85, 0.22], [0.5, 0.125]] + [[0.35, 0.08]] * 2
    )  # fmt: skip
    names, truth = ["loud", "quiet"], event_table([(0, 0, 3.0, 6.0), (0, 1, 3.0, 6.0)])

    def counts(config: EventConfig) -> Any:
        found = find_events(times, scores, names, config)
        rows = [(0, names.index(event["label"]), event["start"], event["end"]) for event in found]
        return count(truth, event_table(rows), np.array([8.0]), 2, Tolerances())["segments"]

    trial: Any = SimpleNamespace(names=names, truth=truth, counts=counts)
    common = EventConfig(onset=0.5, offset=0.3)  # noise is in the loud one, and the quiet one is not found
    config = _onsets_of_labels(trial, common, 1)
    assert config.labels == {"loud": {"onset": 0.6, "offset": 0.36}, "quiet": {"onset": 0.15, "offset": 0.09}}
    found = find_events(times, scores, names, config)
    assert [(event["label"], event["start"], event["end"]) for event in found] == [
        ("loud", 3.0, 6.0),
        ("quiet", 3.0, 6.0),
    ]
    alone = _onsets_of_labels(
        trial, EventConfig(onset=0.4), 1
    )  # no offset apart from the onset: none for them
    assert all(own["offset"] is None for own in alone.labels.values())


def test_chosen_settings_are_stored_in_a_copy_and_obeyed(
    scenes: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["--split", "validation", "--hop", "0.25", "--clips", "6", "--per-label", "0"]
    status, out, err = run(
        capsys, "events", tiny, scenes, *wanted, "--out", tmp_path / "mine", "--threads", 1
    )
    assert status == 0 and "macro F1 of segments on 6 clips" in out
    assert err.count("figures are too good where it heard these") == 1
    saved, old = load_artifact(tmp_path / "mine"), load_artifact(tiny)
    assert saved.events != old.events and saved.events["hop"] == 0.25
    assert not saved.changed_parts() and saved.metrics["events"]["by"] == "segments"
    assert (saved.labels, saved.window, saved.training) == (old.labels, old.window, old.training)
    assert run(capsys, "check", tmp_path / "mine")[0] == 0
    stored = evaluate_events(tmp_path / "mine", scenes, splits=["test"], quiet=True)
    assert stored["settings"] == saved.events and stored["hop_seconds"] == 0.25
    assert stored["clips_in_settings"] == 0
    for split, said in (("validation", True), ("test", False)):
        asked = ("evaluate", tmp_path / "mine", scenes, "--events", "--split", split, "--draws", 0)
        status, _, err = run(capsys, *asked, "--threads", 1)
        assert status == 0 and ("has event settings that were chosen on these" in err) == said
    given = [f"{key}={value}" for key, value in saved.events.items() if key != "labels"]
    typed = [word for setting in given for word in ("--set", setting)]
    status, out, _ = run(
        capsys, "evaluate", tiny, scenes, "--events", "--split", "test", *typed, "--format", "json"
    )
    assert status == 0
    figures = json.loads(out)
    for name in ("segments", "events", "psds1", "psds2", "settings"):
        assert figures[name] == stored[name]


def test_settings_without_a_pack_are_those_that_are_typed(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["--set", "onset=0.4", "--set", "dog.max_gap=2", "--hop", "0.2"]
    status, out, _ = run(capsys, "events", tiny, *typed, "--out", tmp_path / "mine")
    assert status == 0 and "max_gap 2: dog (1)" in out
    stored = load_artifact(tmp_path / "mine").events
    assert stored is not None
    assert (stored["onset"], stored["hop"], stored["smooth"]) == (0.4, 0.2, 0.3)
    assert stored["labels"] == {"dog": {"max_gap": 2.0}}
    status, _, err = run(capsys, "events", tiny, *typed, "--out", tiny)
    assert status == 1 and "is the model itself" in err


def test_settings_are_not_stored_over_another_model(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["--set", "onset=0.4", "--out", tmp_path / "mine"]
    assert run(capsys, "events", tiny, *typed)[0] == 0
    other = load_artifact(tiny)
    waveforms, logits, _ = other.read_check()
    save_changed(other, tmp_path / "names", labels=tuple(f"no {label}" for label in other.labels))
    tiny_model.save(tmp_path / "weights", check=(waveforms, logits + np.float32(1e-3)))
    for wrong in ("names", "weights"):
        status, _, err = run(capsys, "events", tmp_path / wrong, *typed)
        assert status == 1 and "is there already, and another model; one with settings is a new one" in err
        assert load_artifact(tmp_path / "mine").labels == other.labels
    save_changed(other, tmp_path / "copy", thresholds=[0.5] * len(other.labels))  # of the same network
    assert run(capsys, "events", tmp_path / "copy", *typed)[0] == 0
    assert load_artifact(tmp_path / "mine").thresholds is not None


@pytest.fixture(scope="module")
def recordings(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenes as files, and their events as a table of DCASE's form, quiet ones in rows of their own."""
    folder, mixed = tmp_path_factory.mktemp("recordings"), Pack(scenes)
    events = pq.read_table(scenes / "events.parquet").to_pylist()
    rows = ["filename\tonset\toffset\tevent_label"]
    for clip, name in enumerate(mixed.ids.tolist()):
        soundfile.write(folder / f"{name}.wav", mixed.samples(clip), RATE)
        own = [event for event in events if event["id"] == name]
        rows += [f"{name}.wav\t{e['onset']!r}\t{e['offset']!r}\t{e['label']}" for e in own]
        rows += [] if own else [f"{name}.wav\t\t\t"]
    (folder / "truth.tsv").write_text("\n".join(rows) + "\n")
    return folder


SAME = ("segments", "events", "psds1", "psds2", "true_events", "found_events", "intervals", "settings")


def test_recordings_with_a_table_of_events_are_judged_as_the_pack_with_its_own(
    scenes: Path, recordings: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--events", "--set", "hop=0.25", "--format", "json", "--draws", "50"]
    truth = ["--annotations", recordings / "truth.tsv"]
    # As many groups as clips, in the same order, so that the same draws give the same intervals.
    mixed = Pack(scenes)
    packed = json.loads(run(capsys, "evaluate", tiny, scenes, *base, *truth)[1])
    own = json.loads(run(capsys, "evaluate", tiny, scenes, *base)[1])
    status, out, err = run(capsys, "evaluate", tiny, recordings, *base, *truth, "--out", tmp_path / "judged")
    assert status == 0, err
    heard = json.loads(out)
    for name in SAME:
        assert own[name] == packed[name], name
        if name != "intervals":
            assert own[name] == heard[name], name
    assert heard["clips"] == heard["groups"] == len(mixed) and heard["clips_not_annotated"] == 0
    assert heard["labels_not_in_model"] == own["labels_not_in_model"] == ["owl"]
    # What was found, as a file, is as good as the model that found it: a file beside a file, and no model.
    found = tmp_path / "found.csv"
    text = (tmp_path / "judged" / "events.csv").read_text()
    found.write_text(text.replace("id,start", "path,start", 1))
    lines = (recordings / "truth.tsv").read_text().splitlines()
    known = [line if "owl" not in line else line.partition("\t")[0] + 3 * "\t" for line in lines]
    (tmp_path / "known.tsv").write_text("\n".join(known) + "\n")
    status, out, err = run(
        capsys,
        "evaluate",
        *base[:1],
        *base[3:],
        "--annotations",
        tmp_path / "known.tsv",
        "--predictions",
        found,
    )
    assert status == 0, err
    assert json.loads(out)["events"] == own["events"] and json.loads(out)["psds1"] is None
    segments = json.loads(out)["segments"]
    assert segments["recall_micro"] == pytest.approx(own["segments"]["recall_micro"])


def test_figures_of_a_table_of_events_are_those_of_sed_scores_eval(recordings: Path, tiny: Path) -> None:
    reference = sed_scores_eval()
    listener, config = Listener(tiny), EventConfig(onset=0.5, hop=0.1)
    files = Recordings(recordings, RATE)
    ours = evaluate_events(
        listener, files, config=config, annotations=read_events([recordings / "truth.tsv"]), quiet=True
    )
    labels = sorted(set(PITCHES) - {"owl"})
    lines = score_lines(
        listener, files, np.arange(len(files)), [listener.artifact.labels.index(n) for n in labels], hop=800
    )
    frames = {
        Path(name).stem: reference.base_modules.scores.create_score_dataframe(
            line.scores, stretches(*line.times.T), labels
        )
        for name, line in zip(files.ids, lines, strict=True)
    }
    read = reference.base_modules.io.read_ground_truth_events(recordings / "truth.tsv")
    truth = {Path(n).stem: [e for e in events if e[2] in labels] for n, events in read.items()}
    lengths = {Path(name).stem: n / RATE for name, n in zip(files.ids, files.lengths, strict=True)}
    rules = {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "cttc_threshold": None, "alpha_ct": 0.0}
    given = {"scores": frames, "ground_truth": truth}
    psds = reference.intersection_based.psds(
        **given, audio_durations=lengths, **rules, alpha_st=1, max_efpr=100
    )
    assert ours["psds1"] == pytest.approx(psds[0], abs=1e-9) and ours["psds1"] > 0.3
    segments = reference.segment_based.fscore(
        **given, audio_durations=lengths, threshold=0.5, segment_length=1.0
    )
    events = reference.collar_based.fscore(
        **given, threshold=0.5, onset_collar=0.2, offset_collar=0.2, offset_collar_rate=0.2
    )
    for name, theirs in (("segments", segments), ("events", events)):
        assert ours[name]["f1_macro"] == pytest.approx(theirs[0]["macro_average"], abs=1e-9), name
        assert ours[name]["f1_micro"] == pytest.approx(theirs[0]["micro_average"], abs=1e-9), name


def test_settings_are_chosen_on_recordings(
    recordings: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--annotations",
        recordings / "truth.tsv",
        "--clips",
        "4",
        "--hop",
        "0.25",
        "--per-label",
        "0",
    ]
    status, out, err = run(capsys, "events", tiny, recordings, *arguments, "--out", tmp_path / "mine")
    assert status == 0, err
    assert "on 4 clips" in out and load_artifact(tmp_path / "mine").events["hop"] == 0.25  # type: ignore[index]


def test_what_is_annotated_and_not_there_or_there_and_not_annotated_is_told(
    recordings: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = sorted(path.name for path in recordings.glob("*.wav"))
    head = "filename,onset,offset,event_label\n"
    truth = tmp_path / "t.csv"
    truth.write_text(
        f"{head}{names[0]},0.5,99,dog\n/else/{recordings.name}/{names[1]},1,2,dog\nowls/x.wav,1,2,owl\n"
    )
    judge = ["evaluate", tiny, recordings, "--events", "--annotations", truth]
    status, out, _ = run(capsys, *judge)
    assert status == 0 and "2 true and " in out and "2 clips of 2 groups, 1 class" in out
    assert f"recordings that the annotations do not name, left out: {len(names) - 2}" in out
    assert "recordings of the annotations that are not there, left out: 1: owls/x.wav" in out
    truth.write_text(f"{head}{names[0]},0.5,1,dog\n{names[0]},5000,6000,dog\n")
    status, _, err = run(capsys, *judge)
    assert status == 1 and "t.csv, row 3: begins at 5000 s, and " in err and " ends at 7.1 s" in err
    truth.write_text(f"{head}x.wav,0.5,1,dog\n")
    status, _, err = run(capsys, *judge)
    assert status == 1 and "the annotations name 'x.wav'" in err
    truth.write_text(f"{head}{names[0]},0.5,1,cat\n")
    assert "share" in run(capsys, *judge)[2]


@pytest.mark.filterwarnings("always:the annotations")
def test_events_that_are_annotated_twice_count_once(
    recordings: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = sorted(path.name for path in recordings.glob("*.wav"))[0]
    truth = tmp_path / "truth"
    truth.mkdir()
    (truth / "t.csv").write_text(f"filename,onset,offset,event_label\n{name},0.5,1,dog\n{name},1.5,2,dog\n")
    judge = ["evaluate", tiny, recordings, "--events", "--annotations", truth, "--format", "json"]
    once = run(capsys, *judge)
    (truth / f"{name}.labels.txt").write_text("0.500000\t1.000000\tdog\n1.500000\t2.000000\tdog\n")
    status, out, err = run(capsys, *judge)
    figures, before = json.loads(out), json.loads(once[1])
    assert status == 0 and figures["true_events"] == 2
    assert [figures[kind] == before[kind] for kind in ("segments", "events", "psds1")] == [True] * 3
    assert "the annotations: 2 events are written down more than once" in err and "the ann" not in once[2]


def test_recordings_that_the_predictions_do_not_name_are_counted_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, truth, found = "path,start,end,label\n", tmp_path / "t.csv", tmp_path / "f.csv"
    truth.write_text(f"{head}a.wav,0,1,dog\nb.wav,1,2,dog\nc.wav,,,\n")
    found.write_text(f"{head}a.wav,0,1,dog\n")
    judge = ["evaluate", "--events", "--annotations", truth, "--predictions", found, "--format", "json"]
    status, out, err = run(capsys, *judge)
    assert status == 0 and json.loads(out)["clips_not_predicted"] == 2
    assert json.loads(out)["events"]["recall_micro"] == 0.5
    assert err == (
        "auricle: warning: recordings of the annotations that the predictions do not name: 2 of 3; they "
        "count as without events found; where none were looked for, leave them out of the annotations\n"
    )
    found.write_text(f"{head}a.wav,0,1,dog\nb.wav,,,\nc.wav,,,\n")
    status, out, err = run(capsys, *judge)
    assert status == 0 and json.loads(out)["clips_not_predicted"] == 0 and not err


def test_an_onset_that_is_typed_goes_before_the_thresholds_of_a_model_everywhere(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = tiny_model.save(tmp_path / "held", thresholds=[NEVER] * len(tiny_model.LABELS)).path
    status, _, err = run(capsys, "events", held, "--set", "onset=0.3", "--out", tmp_path / "mine")
    assert status == 0, err
    stored = load_artifact(tmp_path / "mine").events
    assert stored is not None and stored["onset"] == 0.3 and not stored["labels"]
    file = sorted(recordings.glob("*.wav"))[0]
    told = []
    for model, typed in ((held, []), (held, ["--set", "onset=0.3"]), (tmp_path / "mine", [])):
        tag = ["tag", file, "--model", model, "--events", "--format", "csv", *typed]
        told.append([run(capsys, *tag)[1], run(capsys, *tag, "--live", "--quiet")[1]])
    assert told[0] == ["path,start,end,label,score\n"] * 2
    assert told[1] == told[2] != told[0]


def test_the_table_says_what_was_judged(scenes: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--events", "--set", "hop=0.25", "--collar", "0.5", "--segment", "0.5"]
    status, out, _ = run(capsys, "evaluate", tiny, scenes, *arguments)
    assert status == 0
    assert out.startswith("Scenes mixed from recordings of ")
    assert "segments of 0.5 s; events may begin 0.5 s early or late; a window every 0.25 s" in out
    assert "labels of the pack that the model lacks, left out: 1: owl" in out
    for name in ("segments: f1", "events: recall", "psds1", "psds2"):
        assert name in out


@pytest.mark.parametrize(
    "arguments, status, said",
    [
        (["evaluate", "MODEL", "SCENES", "--set", "onset=0.1"], 2, "goes with --events"),
        (["evaluate", "MODEL", "SCENES", "--events", "--half"], 2, "has no effect with --events"),
        (["evaluate", "MODEL", "SCENES", "--events", "--set", "pitch=1"], 2, "no setting of events"),
        (["evaluate", "MODEL", "SCENES", "--events", "--set", "owl.onset=0.9"], 2, "has no such label"),
        (["evaluate", "MODEL", "SCENES", "--events", "--set", "hop=9"], 1, "expected at most 0.25 s"),
        (["evaluate", "MODEL", "SINGLES", "--events"], 1, "has no events.parquet"),
        (["evaluate", "MODEL", "--events"], 2, "give MODEL and PACK"),
        (["evaluate", "--events", "--predictions", "MODEL"], 2, "give what is truly heard"),
        (["evaluate", "MODEL", "--events", "--predictions", "SCENES"], 2, "has no effect with --predictions"),
        (["evaluate", "MODEL", "SCENES", "--annotations", "SCENES"], 2, "goes with --events or --protocol"),
        (["events", "MODEL", "--annotations", "SCENES"], 2, "name them"),
        (["events", "MODEL"], 2, "give a PACK"),
        (["events", "MODEL", "SCENES", "--split", "train"], 1, "no split 'train'"),
    ],
)
def test_wrong_usage_is_named(
    scenes: Path, tiny: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    places = {"MODEL": tiny, "SCENES": scenes, "SINGLES": scenes.parent / "singles"}
    found = run(capsys, *(places.get(word, word) for word in arguments))
    assert found[0] == status
    assert said in " ".join(found[2].replace("│", " ").split())


def test_a_threshold_leaves_out_events_that_score_less(tiny: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    soundfile.write(tmp_path / "a.wav", rng.uniform(-0.5, 0.5, 5 * RATE) * rng.uniform(0, 1, 5 * RATE), RATE)
    tagger, config = Tagger(tiny), EventConfig(onset=0.2, hop=0.05, smooth=0.1)
    everything = tagger.tag(tmp_path / "a.wav", events=config)["events"]
    least = float(np.median([row["score"] for row in everything]))
    strong = tagger.tag(tmp_path / "a.wav", events=config, threshold=least)["events"]
    assert strong == [row for row in everything if row["score"] >= least] and len(strong) < len(everything)


def test_an_excerpt_keeps_the_times_of_the_recording_and_live_events_are_the_same(
    tiny: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    loud = np.repeat(rng.choice([0.0, 0.02, 0.5], 24), RATE // 4)
    soundfile.write(tmp_path / "a.wav", rng.uniform(-1, 1, len(loud)) * loud, RATE)
    tagger, config = Tagger(tiny), EventConfig(onset=0.35, hop=0.05)
    told = tagger.tag(tmp_path / "a.wav", events=config, start=1.5, end=4.5)["events"]
    assert told and all(1.5 <= row["start"] < row["end"] <= 4.5 for row in told)
    times, scores = [], []
    for part in tagger.windows(tmp_path / "a.wav", start=1.5, end=4.5, hop=400):
        times += list(zip(part.starts / RATE, part.stops / RATE, strict=True))
        scores += list(1 / (1 + np.exp(-part.logits.astype(np.float64))))
    plain = find_events(np.array(times), np.array(scores), tagger.artifact.labels, config)
    assert [(row["start"], row["end"], row["label"]) for row in told] == [
        (row["start"], row["end"], row["label"]) for row in plain
    ]
    *pieces, whole = tagger.follow(
        tmp_path / "a.wav", events=config, start=1.5, end=4.5, windows=False, live=True
    )
    assert "events" not in whole
    flat = [{"start": p["start"], "end": p["end"]} | p["tags"][0] for p in pieces]
    assert sorted(flat, key=lambda row: (row["start"], row["label"])) == told


def test_tag_writes_events_in_place_of_windows(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(5)
    loud = np.repeat(rng.choice([0.0, 0.02, 0.5], 24), RATE // 4)
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", rng.uniform(-1, 1, len(loud)) * loud, RATE)
    files = [tmp_path / "a.wav", tmp_path / "b.wav"]
    config = EventConfig(**(load_artifact(tiny).events or {}))
    tagger = Tagger(tiny)
    expected = {str(file): tagger.tag(file, events=config)["events"] for file in files}
    assert all(expected.values())
    base = ["tag", *files, "--model", tiny, "--events"]
    status, out, _ = run(capsys, *base, "--format", "jsonl")
    assert status == 0
    assert {row["path"]: row["events"] for row in map(json.loads, out.splitlines())} == expected
    rows = [
        [path, row["start"], row["end"], row["label"], row["score"]]
        for path, events in expected.items()
        for row in events
    ]
    for more in ([], ["--jobs", "2"], ["--out", tmp_path / "all.csv"]):
        status, out, _ = run(capsys, *base, "--format", "csv", *more)
        text = (tmp_path / "all.csv").read_text() if "--out" in more else out
        told = [row for row in csv.reader(text.splitlines())][1:]
        assert [[row[0], float(row[1]), float(row[2]), row[3], float(row[4])] for row in told] == rows
    assert run(capsys, *base, "--format", "csv", "--out", f"{tmp_path / 'each'}/", "--jobs", "1")[0] == 0
    own = (tmp_path / "each" / "b.wav.csv").read_text().splitlines()
    assert len(own) == 1 + len(expected[str(files[1])])
    status, out, _ = run(capsys, *base)
    assert "score  event" in out
    assert all(row["label"] in out for row in expected[str(files[0])])
    status, out, _ = run(capsys, *base, "--set", "onset=0.99", "--set", "offset=none")
    assert out.count("none") == 2
    live = ["tag", files[0], "--model", tiny, "--events", "--live", "--format", "csv", "--quiet"]
    status, out, _ = run(capsys, *live)
    told = sorted((float(row[1]), row[3]) for row in list(csv.reader(out.splitlines()))[1:])
    assert told == [(row["start"], row["label"]) for row in expected[str(files[0])]]
    for wrong, said in ((["--windows"], "in place of windows"), (["--format", "parquet"], "leave this out")):
        status, _, err = run(
            capsys, *base, *wrong, *(["--out", tmp_path / "x"] if "parquet" in wrong else [])
        )
        assert status == 2 and said in " ".join(err.split())
    status, _, err = run(capsys, "tag", files[0], "--set", "onset=0.3")
    assert status == 2 and "goes with --events" in err
