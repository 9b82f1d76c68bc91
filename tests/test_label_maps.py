"""Vocabularies and maps between them: AudioSet's table, and a tagger judged on another corpus's labels."""

import csv
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import tiny_model
from running import run

from auricle.cli.completion import LABEL_MAPS
from auricle.datasets.audioset import labels as labels_for_importers
from auricle.datasets.audioset_labels import FOLDER, audioset_parents, audioset_sounds, ids, labels
from auricle.datasets.label_maps import (
    BUNDLED_MAPS,
    LabelMap,
    check_targets,
    fit_map,
    near_names,
    read_label_map,
)
from auricle.datasets.ontology import read_classes, read_ontology, read_parents
from auricle.engine import pack as pack_corpus
from auricle.evaluation import evaluate
from auricle.evaluation.events import evaluate_events
from auricle.evaluation.mapped import MappedRunner
from auricle.events import EventConfig
from auricle.formats.reading import read_events
from auricle.hierarchy import ancestors, in_order, parents_of
from auricle.interop.given import labels_for, read_labels
from auricle.metrics.ranking import summarise
from auricle.report.confusion import read_confusion
from auricle.report.folders import heading_of_folder
from auricle.shards import Pack

DATA = Path(__file__).parents[2] / "shared" / "data"
ESC50 = """airplane breathing brushing_teeth can_opening car_horn cat chainsaw chirping_birds church_bells
    clapping clock_alarm clock_tick coughing cow crackling_fire crickets crow crying_baby dog door_wood_creaks
    door_wood_knock drinking_sipping engine fireworks footsteps frog glass_breaking hand_saw helicopter hen
    insects keyboard_typing laughing mouse_click pig pouring_water rain rooster sea_waves sheep siren sneezing
    snoring thunderstorm toilet_flush train vacuum_cleaner washing_machine water_drops wind""".split()
RATE = 1000


# AudioSet's table


def test_the_ontology_has_632_sounds_of_which_taggers_list_527_and_521() -> None:
    sounds = audioset_sounds()
    assert len(sounds) == len({sound.name for sound in sounds.values()}) == 632
    assert [len(ids(name)) for name in ("audioset-527", "panns", "efficientat", "527")] == [527] * 4
    assert [len(labels(name)) for name in ("audioset-521", "yamnet", "521")] == [521] * 3
    for column in ("index_527", "index_521"):
        places = sorted(place for sound in sounds.values() if (place := getattr(sound, column)) is not None)
        assert places == list(range(len(places)))
    assert labels_for_importers is labels


def test_labels_stand_where_released_taggers_have_them() -> None:
    listed, yamnet = labels("panns"), labels("yamnet")
    # As published with AudioSet (class_labels_indices.csv) and with YAMNet (yamnet_class_map.csv).
    known_527 = {0: "Speech", 3: "Child speech, kid speaking", 74: "Dog", 137: "Music", 300: "Vehicle"}
    known_521 = {0: "Speech", 1: "Child speech, kid speaking", 69: "Dog", 132: "Music", 294: "Vehicle"}
    assert {place: listed[place] for place in known_527} == known_527 and listed[526] == "Field recording"
    assert {place: yamnet[place] for place in known_521} == known_521 and yamnet[520] == "Field recording"
    assert ids("panns")[74] == ids("yamnet")[69] == "/m/0bt9lr"


def test_yamnet_lacks_six_of_the_527_labels_and_keeps_the_order_of_the_rest() -> None:
    gone = {
        "Male speech, man speaking", "Female speech, woman speaking", "Male singing", "Female singing",
        "Battle cry", "Funny music",
    }  # fmt: skip
    assert [label for label in labels("527") if label not in gone] == labels("521")


def test_every_parent_is_a_sound_and_none_is_above_itself() -> None:
    sounds = audioset_sounds()
    assert all(parent in sounds for sound in sounds.values() for parent in sound.parents)
    assert len(in_order(audioset_parents())) == 632  # raises where there is a circle
    top = [sound.name for sound in sounds.values() if not sound.parents]
    assert top == [
        "Human sounds", "Animal", "Music", "Natural sounds", "Sounds of things", "Source-ambiguous sounds",
        "Channel, environment and background",
    ]  # fmt: skip
    assert sum(len(sound.parents) > 1 for sound in sounds.values()) == 38


def test_known_sounds_descend_from_what_they_should() -> None:
    above = ancestors(audioset_parents())
    assert above["Speech"] == ("Human sounds", "Human voice")
    assert above["Meow"] == ("Animal", "Domestic animals, pets", "Cat")
    assert above["Siren"] == ("Sounds of things", "Alarm")
    assert set(above["Hiss"]) >= {"Cat", "Snake", "Steam", "Onomatopoeia", "Water", "Animal"}
    assert "Animal" in above["Growling"] and "Wild animals" in above["Growling"]


def test_parents_among_some_labels_step_over_the_others() -> None:
    found = audioset_parents(labels("527"))
    assert list(found) == labels("527")
    assert found["Speech"] == [], "Human voice and Human sounds are headings, no labels"
    assert found["Bark"] == ["Dog"] and found["Chainsaw"] == ["Light engine (high frequency)"]
    assert parents_of(labels("527"), list(found.values())) == found, "as an artifact has them"
    above, among = ancestors(audioset_parents()), ancestors(found)
    for label in labels("527"):  # nothing that stands above is lost, and nothing else comes in
        assert set(among[label]) == set(above[label]) & set(found)
        assert not any(one in among[other] for one in found[label] for other in found[label])


@pytest.mark.skipif(not (DATA / "audioset").is_dir(), reason="AudioSet's own files are not here")
def test_the_table_says_what_the_published_files_say() -> None:
    sounds = audioset_sounds()
    published = read_ontology(DATA / "audioset" / "ontology.json")
    assert [(s.id, s.name, s.parents) for s in sounds.values()] == [
        (s.mid, s.name, s.parents) for s in published.values()
    ]
    for vocabulary, file in (
        ("527", DATA / "audioset" / "class_labels_indices.csv"),
        ("521", DATA / "yamnet" / "class_map.csv"),
    ):
        named = read_classes(file)
        assert (ids(vocabulary), labels(vocabulary)) == (list(named), list(named.values()))


def test_an_unknown_vocabulary_is_told_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no vocabulary '528'; there are: audioset-527, audioset-521"):
        labels("528")


def test_importers_and_packs_take_the_lists_by_name() -> None:
    assert read_labels("audioset-527") == labels("527") and read_labels(Path("audioset-521")) == labels("521")
    assert labels_for("audioset-521", [521]) == labels("yamnet")
    assert read_parents("audioset") == audioset_parents()


def test_lists_go_by_all_the_names_that_the_page_has_and_a_file_goes_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("panns", "efficientat", "527", "yamnet", "521"):
        assert read_labels(name) == read_labels(Path(name)) == labels(name)
    for name, message in (
        ("yamnett", r"yamnett: no such file, and no list of that name \(did you mean yamnet\?\); lists"),
        ("audioset-528", r"no list of that name \(did you mean audioset-52\d\?\)"),
        ("quite-other", "quite-other: no such file, and no list of that name; lists are audioset-527"),
    ):
        with pytest.raises(ValueError, match=message):
            read_labels(name)
    with pytest.raises(FileNotFoundError):
        read_labels("quite-other.csv")
    (tmp_path / "yamnet").mkdir()
    assert read_labels("yamnet") == labels("yamnet"), "a model's folder is no list"
    (tmp_path / "panns").write_text("dog\nrain\n")
    assert read_labels("panns") == ["dog", "rain"]


def test_whose_the_vocabulary_is_stands_beside_it() -> None:
    said = (FOLDER / "ATTRIBUTION.md").read_text()
    assert "CC BY-SA 4.0" in said and "Google" in said
    assert all(file.name in said for file in FOLDER.glob("*.csv"))


# Maps


def test_the_bundled_map_knows_all_fifty_classes_and_only_labels_that_both_lists_have() -> None:
    found = read_label_map("audioset-esc50")
    assert sorted(found.sources) == ESC50
    none = {label for label, sources in found.sources.items() if not sources}
    assert none == {"can_opening", "drinking_sipping", "washing_machine"}
    for vocabulary in ("audioset-527", "audioset-521"):
        fitted = fit_map(found, labels(vocabulary))
        assert not fitted.unknown and set(fitted.without) == none and len(fitted.labels) == 47
    assert tuple(BUNDLED_MAPS) == LABEL_MAPS


def test_the_bundled_map_gives_no_label_to_two_classes_and_a_reason_for_each_row() -> None:
    with BUNDLED_MAPS["audioset-esc50"].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sources = [row["from"] for row in rows if row["from"]]
    assert len(sources) == len(set(sources)) == 111
    assert all(row["why"] for row in rows)
    # A label above others is taken only where no class but its own is below it.
    above, of = ancestors(audioset_parents()), {row["from"]: row["to"] for row in rows if row["from"]}
    for row in rows:
        if row["why"].startswith("above"):
            below = {of[source] for source in sources if row["from"] in above[source]}
            assert below == {row["to"]}, row
    # Of the others, these are above a label of another class, which is thought about.
    wide = {
        (row["from"], of[source])
        for row in rows
        for source in sources
        if row["from"] in above[source] and of[source] != row["to"]
    }
    assert wide == {
        ("Breathing", "snoring"), ("Engine", "chainsaw"), ("Engine", "airplane"), ("Clicking", "clock_tick"),
    }  # fmt: skip


def test_a_mapped_label_scores_what_its_greatest_source_does() -> None:
    outputs = labels("yamnet")
    logits = np.random.default_rng(0).normal(size=(5, 521))
    fitted = fit_map(read_label_map("audioset-esc50"), outputs)
    mapped = fitted.apply(logits)
    assert mapped.shape == (5, 47)
    for label, column in zip(fitted.labels, mapped.T, strict=True):
        slow = [max(row[outputs.index(name)] for name in _rows()[label]) for row in logits]
        assert column.tolist() == slow


def _rows() -> dict[str, list[str]]:
    """The bundled map, read in another way."""
    found: dict[str, list[str]] = {}
    with BUNDLED_MAPS["audioset-esc50"].open(encoding="utf-8", newline="") as file:
        for source, target, _ in csv.reader(file):
            if source:
                found.setdefault(target, []).append(source)
    return found


@pytest.mark.parametrize(
    "table, said",
    [
        ("from,label\nDog,dog\n", r"has the columns from and to; to is missing from from, label"),
        ("from,to\n", r"holds no pair"),
        ("from,to\n,unicorn\n", r"holds no pair"),
        ("from,to\nDog,\n", r"row 2: 'Dog' goes nowhere"),
        ("from,to\nDog,dog\nDog,dog\n", r"row 3: 'Dog' to 'dog' stands there twice"),
        ("from,to\nDog,dog\n,dog\n", r"nothing corresponds to 'dog', another that 'Dog' does"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(tmp_path: Path, table: str, said: str) -> None:
    (tmp_path / "map.csv").write_text(table)
    with pytest.raises(ValueError, match=said):
        read_label_map(tmp_path / "map.csv")


def test_no_such_map_names_the_bundled_ones() -> None:
    with pytest.raises(
        ValueError, match=r"audioset-esc5: no such map of labels; bundled are: audioset-esc50"
    ):
        read_label_map("audioset-esc5")


def test_a_source_that_the_model_lacks_is_told_with_those_like_it() -> None:
    mapping = LabelMap(name="mine.csv", sources={"pet": ("Dogs", "Cat"), "bird": ("Brid",)}, sha256="")
    with pytest.raises(ValueError, match=r"'Dogs' \(Dog\?\), 'Brid' \(Bird\?\)$"):
        fit_map(mapping, ["Dog", "Cat", "Bird"])
    with pytest.raises(ValueError, match=r"'Dogs' \(Dog.*\), 'Brid' \(Bird"):
        fit_map(mapping, labels("yamnet"))


def test_a_sound_that_only_the_other_list_of_audioset_has_is_passed_over() -> None:
    mapping = LabelMap(name="m", sources={"song": ("Male singing", "Singing"), "yawn": ("Yawn",)}, sha256="")
    fitted = fit_map(mapping, labels("yamnet"))
    assert (fitted.labels, fitted.without) == (("song",), ("yawn",))
    assert fitted.unknown == ("Male singing", "Yawn")
    with pytest.raises(ValueError, match="'Male singing'"):  # of another model, that is a mistake
        fit_map(mapping, ["Singing", "my own"])
    with pytest.raises(ValueError, match="none of the model's labels, as 'Dog'"):
        fit_map(mapping, ["Dog"])


def test_a_target_that_is_only_written_otherwise_is_refused_and_one_that_is_not_there_is_not() -> None:
    mapping = read_label_map("audioset-esc50")
    check_targets(mapping, ESC50)
    check_targets(mapping, ["dog", "rain", "chainsaw"])
    with pytest.raises(ValueError, match=r"'car_horn' \(Car horn\?\)"):
        check_targets(mapping, [label for label in ESC50 if label != "car_horn"] + ["Car horn"])


def test_near_names_are_found_whatever_the_case() -> None:
    assert near_names("church bells", ["Bell", "Church bell", "Bark"])[0] == "Church bell"
    assert near_names("dog", ["Bird", "Music"]) == []


# Evaluation by a map


class Loudness:
    """A placeholder model: its logits are the mean, the largest and the last sample of a window."""

    def __init__(self, outputs: tuple[str, ...] = ("Bark", "Howl", "Rain")):
        self.artifact = SimpleNamespace(
            name="loudness", labels=outputs, window=100, hop=100, tail="drop", rate=RATE, fingerprint="f00d",
            training={},
        )  # fmt: skip

    def run(self, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits = np.stack([waveforms.mean(1) * 8, waveforms.max(1) * 4, waveforms[:, -1]], axis=1)
        return logits.astype(np.float32), np.zeros((len(waveforms), 2), np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of noise, each of one label: dog, rain or sneezing."""
    folder = tmp_path_factory.mktemp("mapped")
    rng, rows = np.random.default_rng(0), ["path,labels,group"]
    for index in range(12):
        soundfile.write(folder / f"{index}.wav", rng.uniform(-1, 1, 230), RATE, subtype="PCM_16")
        rows.append(f"{index}.wav,{('dog', 'rain', 'sneezing')[index % 3]},{index // 2}")
    (folder / "clips.csv").write_text("\n".join(rows))
    pack_corpus(folder / "clips.csv", folder / "pack", rate=RATE, jobs=1, quiet=True)
    (folder / "map.csv").write_text("from,to\nBark,dog\nHowl,dog\nRain,rain\n,sneezing\n")
    return folder


def test_figures_by_a_map_are_those_of_the_greatest_sources(corpus: Path, tmp_path: Path) -> None:
    pack, out = Pack(corpus / "pack"), tmp_path / "out"
    figures = evaluate(Loudness(), pack, label_map=corpus / "map.csv", out=out, draws=0, quiet=True)
    scores_MK = []
    for clip in range(12):
        windows = pack.samples(clip)[:200].reshape(2, 100).astype(np.float32) / 32768
        scores_MK.append((1 / (1 + np.exp(-Loudness().run(windows)[0].astype(np.float64)))).mean(0))
    slow = np.array([[max(bark, howl), rain] for bark, howl, rain in scores_MK])
    truth = np.array([[clip % 3 == 0, clip % 3 == 1] for clip in range(12)])
    expected = summarise(truth, slow)
    for name in ("map", "auc", "accuracy"):
        assert figures[name] == pytest.approx(expected[name], abs=1e-12)
    assert figures["excluded_accuracy"] == 4, "clips of the label that nothing is mapped to"
    assert figures["labels_not_in_model"] == ["sneezing"] and figures["labels_not_in_pack"] == []
    said = json.loads((out / "metrics.json").read_text())["label_map"]
    assert said == {
        "name": "map.csv",
        "sha256": hashlib.sha256((corpus / "map.csv").read_bytes()).hexdigest(),
        "sources": {"dog": ["Bark", "Howl"], "rain": ["Rain"]},
        "labels_without_source": ["sneezing"],
        "sources_not_in_model": [],
    }
    table = pq.read_table(out / "scores.parquet")
    np.testing.assert_allclose(np.stack(table["scores"].to_numpy()), slow, atol=1e-6)
    assert json.loads(table.schema.metadata[b"labels"]) == ["dog", "rain"]
    assert table.schema.metadata[b"label_map"] == b"map.csv"


def test_reports_say_which_map_and_leave_out_clips_that_nothing_is_mapped_to(
    corpus: Path, tmp_path: Path
) -> None:
    evaluate(
        Loudness(), Pack(corpus / "pack"), label_map=corpus / "map.csv", out=tmp_path, draws=0, quiet=True
    )
    assert heading_of_folder(tmp_path) == "labels by the map map.csv"
    found = read_confusion(tmp_path)
    assert found is not None and found[1] == ["dog", "rain"] and found[0].sum() == 8
    plain = tmp_path / "plain"
    figures = evaluate(
        Loudness(("dog", "Howl", "rain")), Pack(corpus / "pack"), out=plain, draws=0, quiet=True
    )
    assert figures["label_map"] is None and heading_of_folder(plain) == ""
    assert read_confusion(plain) is None, "without a map a label that the model lacks is no matter of course"


def test_a_calibrated_models_thresholds_are_not_those_of_mapped_labels(corpus: Path) -> None:
    model = Loudness()
    model.artifact.thresholds, model.artifact.metrics = [0.5, 0.5, 0.5], {}
    plain = Loudness(("dog", "Howl", "rain"))
    plain.artifact.thresholds, plain.artifact.metrics = [0.5, 0.5, 0.5], {}
    pack = Pack(corpus / "pack")
    assert "at_thresholds" in evaluate(plain, pack, draws=0, quiet=True)
    assert "at_thresholds" not in evaluate(model, pack, label_map=corpus / "map.csv", draws=0, quiet=True)


def test_the_verb_maps_labels_and_says_by_which_map(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model.save(tmp_path / "model")
    (tmp_path / "mine.csv").write_text("from,to\n" + "".join(f"{one},dog\n" for one in model.labels[:2]))
    status, out, err = run(
        capsys, "evaluate", model.path, corpus / "pack", "--label-map", tmp_path / "mine.csv", "--draws", 0
    )  # fmt: skip
    assert status == 1 and "--rate 8000" in err, "the rate is looked at first"
    pack_corpus(corpus / "clips.csv", tmp_path / "pack", rate=model.rate, jobs=1, quiet=True)
    arguments = ("evaluate", model.path, tmp_path / "pack", "--draws", 0, "--quiet", "--label-map")
    status, out, err = run(capsys, *arguments, tmp_path / "mine.csv", "--out", tmp_path / "eval")
    assert status == 0, err
    assert "1 label made of 2 of the model's by the map mine.csv" in out
    assert "labels of the pack that the model lacks, left out: 2: rain, sneezing" in out
    assert (tmp_path / "eval" / "reliability.png").is_file()
    status, out, err = run(capsys, "report", tmp_path / "eval", "--out", tmp_path / "figures")
    assert status == 0 and "labels by the map mine.csv" in out
    assert "labels by the map mine.csv" in (tmp_path / "figures" / "classes.html").read_text()
    (tmp_path / "truth.csv").write_text("path,start,end,label\n0.wav,0,0.1,dog\n3.wav,0,0.2,dog\n")
    events = ("--events", "--annotations", tmp_path / "truth.csv", "--set", "dog.onset=0.2")
    status, out, err = run(capsys, *arguments, tmp_path / "mine.csv", *events)
    assert status == 0 and "labels by the map mine.csv" in out, err
    status, out, err = run(capsys, *arguments, tmp_path / "mine.csv", *events[:-1], "rain.onset=0.2")
    assert status == 2 and "rain" in err, "settings are of the mapped labels"
    status, out, err = run(capsys, *arguments, "audioset-esc50")
    assert status == 1 and "maps from labels that the model lacks: 'Dog' (dog?)" in err


class Relabelled(Loudness):
    """What `Loudness` is by the map, done by hand."""

    def __init__(self) -> None:
        super().__init__(("dog", "rain"))

    def run(self, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (bark, howl, rain), embeddings = super().run(waveforms)[0].T, np.zeros((len(waveforms), 2))
        return np.stack([np.where(bark > howl, bark, howl), rain], axis=1), embeddings


def listener(runner: Loudness) -> Loudness:
    """A runner whose artifact says all that finding events asks for."""
    runner.artifact.events = runner.artifact.thresholds = runner.artifact.calibration = None
    runner.artifact.metrics, runner.artifact.step = {}, 0
    return runner


def test_events_by_a_map_are_those_of_a_model_that_has_the_mapped_labels(
    corpus: Path, tmp_path: Path
) -> None:
    rows = [f"{index}.wav,0.0,{0.1 + index / 100:.2f},{('dog', 'rain')[index % 2]}" for index in range(6)]
    (tmp_path / "truth.csv").write_text("\n".join(["path,start,end,label", *rows]))
    truth, pack = read_events([tmp_path / "truth.csv"]), Pack(corpus / "pack")
    chosen = {"annotations": truth, "draws": 0, "quiet": True, "config": EventConfig(onset=0.6, hop=0.05)}
    by_hand = evaluate_events(listener(Relabelled()), pack, **chosen)
    mapped = evaluate_events(listener(Loudness()), pack, label_map=corpus / "map.csv", **chosen)
    assert mapped["label_map"]["name"] == "map.csv" and by_hand["label_map"] is None
    assert mapped["found_events"] > 3
    for name in ("segments", "events", "psds1", "found_events", "classes", "labels_not_in_model"):
        assert mapped[name] == by_hand[name]


def test_a_mapped_runner_calibrates_before_it_maps() -> None:
    model = listener(Loudness())
    model.artifact.calibration = {"kind": "affine", "scale": [0.0, 0.0, 1.0], "offset": [2.0, 3.0, 0.5]}
    runner = MappedRunner(model, LabelMap(name="m", sources={"dog": ("Bark", "Howl")}, sha256=""))
    waveforms = np.random.default_rng(0).uniform(-1, 1, (4, 100)).astype(np.float32)
    assert runner.run(waveforms)[0].tolist() == [[3.0]] * 4
    assert runner.artifact.calibration is None, "or it would be calibrated twice"
    assert not hasattr(runner, "run_steps")
    model.run_steps = lambda rows: (np.zeros((len(rows), 7, 3)),)  # type: ignore[attr-defined]
    stepwise = MappedRunner(model, LabelMap(name="m", sources={"dog": ("Bark",)}, sha256=""))
    assert stepwise.run_steps(waveforms)[0].tolist() == [[[2.0]] * 7] * 4


@pytest.mark.parametrize(
    "other", [("--protocol", "urban"), ("--events", "--predictions", "found.csv", "--annotations", "x.csv")]
)
def test_where_a_map_has_no_effect_it_is_refused(
    other: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    models = ("default", "pack") if "--protocol" in other else ()
    status, _, err = run(capsys, "evaluate", *models, *other, "--label-map", "audioset-esc50")
    assert status == 2 and "--label-map" in err and "no effect" in err
