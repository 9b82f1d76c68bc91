"""Clips of a model's training are known again in other packs; copies of one sound are told."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import tiny_model
from tiny_model import RATE

from auricle.artifact import load_artifact
from auricle.calibration import calibrate
from auricle.cli import main
from auricle.cli.output import print_warning
from auricle.engine import pack as pack_corpus
from auricle.evaluation import evaluate
from auricle.evaluation.events import UNPACKED
from auricle.evaluation.heard import KEYS, training_keys, untold_in_words, what_was_heard
from auricle.own_classes import OwnClasses, train_own
from auricle.own_classes.copies import NO_COPIES, copies_in_words, count_copies, join_copies
from auricle.own_classes.examples import open_examples
from auricle.shards import Pack, contents
from auricle.shards.contents import KEY, as_text, clip_keys, from_text, known_again

LABELS = ("dog", "rain")
CLIPS = 12


def sound(number: int, rate: int = RATE) -> np.ndarray:
    """4 s of noise that swells and fades as no other's does, the same at every rate up to 2 kHz."""
    random = np.random.default_rng(number)
    slow = soxr.resample(random.normal(0, 0.1, 16000), 4000, rate)
    gains = np.repeat(10 ** (random.uniform(-15, 0, 8) / 20), rate // 2)
    return np.rint(32000 * np.clip(slow[: len(gains)] * gains, -1, 1)).astype(np.int16)


def packed(
    folder: Path,
    numbers: list[int],
    *,
    suffix: str = "wav",
    names: str = "{}",
    rate: int = RATE,
    **options: Any,
) -> Pack:
    """A pack of some of the sounds, by a table."""
    folder.mkdir(parents=True)
    rows = ["path,labels,split"]
    for number in numbers:
        name = f"{names.format(number)}.{suffix}"
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, sound(number, rate), rate)
        rows.append(f"{name},{LABELS[number % 2]},{'test' if number % 3 == 0 else 'train'}")
    (folder / "clips.csv").write_text("\n".join(rows))
    pack_corpus(folder / "clips.csv", folder / "pack", rate=rate, jobs=1, quiet=True, **options)
    return Pack(folder / "pack")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return packed(tmp_path_factory.mktemp("mine") / "files", list(range(CLIPS)))


@pytest.fixture(scope="module")
def trained(mine: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says it was trained on split train of `mine`, eight clips."""
    training = {
        "data": mine.fingerprint,
        "config": {"train_splits": ["train"]},
        KEYS: training_keys(mine, mine.select(["train"])),
    }
    return tiny_model.save(tmp_path_factory.mktemp("trained") / "m", training=training).path


def heard(model: Path, pack: Pack) -> tuple[list[str], bool]:
    """Names of the files that the model knows, and whether all is told."""
    found = what_was_heard(load_artifact(model), pack, np.arange(len(pack)))
    return [Path(path).stem for path in pack.places()[0][found.clips]], not found.untold


def test_in_its_own_pack_the_clips_are_those_of_the_splits(mine: Pack, trained: Path) -> None:
    names = [str(number) for number in range(CLIPS) if number % 3]
    assert heard(trained, mine) == (names, True)


@pytest.mark.parametrize(
    ("numbers", "how"),
    [
        (range(CLIPS), {}),
        ([1, 3, 5], {}),  # a part of them
        (range(CLIPS), {"suffix": "flac", "names": "renamed {}"}),
        (range(4), {"suffix": "ogg"}),  # other samples: by name and course
        (range(4), {"rate": 16000, "names": "moved/{}"}),
        (range(4), {"rate": 16000, "names": "renamed {}"}),  # neither name nor samples: nothing is known
    ],
    ids=["again", "part", "lossless", "coded", "rate", "lost"],
)
def test_clips_are_known_again_in_another_pack(
    trained: Path, mine: Pack, tmp_path: Path, numbers: Any, how: dict[str, Any]
) -> None:
    again = packed(tmp_path / "again", list(numbers), **how, about={"made": "again"})
    assert again.fingerprint != mine.fingerprint
    lost = how.get("rate") and "renamed" in how["names"]
    expected = [Path(how.get("names", "{}").format(n)).stem for n in numbers if n % 3 and not lost]
    assert heard(trained, again) == (expected, True)


def test_other_recordings_are_not_seen_whatever_their_names(
    mine: Pack, trained: Path, tmp_path: Path
) -> None:
    shifted = packed(tmp_path / "shifted", [101, 102])
    keys = clip_keys(shifted, np.arange(2))
    keys["name"] = clip_keys(mine, np.array([1, 2]))["name"]  # and these names mean nothing
    theirs = from_text(load_artifact(trained).training[KEYS]["keys"])
    assert set(keys["name"]) <= set(theirs["name"]) and not known_again(keys, theirs).any()
    assert heard(trained, shifted) == ([], True)
    keys, ours = clip_keys(shifted, np.arange(2)), clip_keys(shifted, np.arange(2))
    ours["sound"] += 1
    assert known_again(ours, keys).all()  # the same name, length and course
    for field, by in (("name", 1), ("seconds", 0.2), ("course", np.uint64(2**40 - 1))):
        changed = ours.copy()
        changed[field] = changed[field] ^ by if field == "course" else changed[field] + by
        assert not known_again(changed, keys).any(), field


def test_steady_noise_of_one_name_and_level_is_told_apart(tmp_path: Path) -> None:
    """Monday's 08-00.wav and Tuesday's: nothing happens in either."""
    for day in range(2):
        noise = np.random.default_rng(day).normal(0, 0.05, 2 * RATE)
        (tmp_path / f"{day}" / "yard").mkdir(parents=True)
        soundfile.write(tmp_path / f"{day}" / "yard" / "08-00.wav", noise, RATE)
        pack_corpus(tmp_path / f"{day}", tmp_path / f"pack{day}", rate=RATE, jobs=1, quiet=True)
    one, other = (clip_keys(Pack(tmp_path / f"pack{day}"), np.arange(1)) for day in range(2))
    assert one["name"] == other["name"] and (np.abs(one["levels"] - other["levels"]) <= 3).all()
    assert not known_again(one, other).any()


def test_a_short_sound_in_silence_is_known_by_its_levels() -> None:
    key, other = np.zeros((), KEY), np.zeros(1, KEY)
    key["levels"], other["levels"] = [-70] * 6 + [-20, -30], [-70] * 6 + [-21, -32]
    assert contents.alike(key, other).all()
    other["levels"][0, -1] = -40
    assert not contents.alike(key, other).any()
    key["levels"], other["levels"] = -30, -30  # steady: as many others are
    assert not contents.alike(key, other).any()


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    for label, gain in (("owl", 0.5), ("wren", 0.4)):
        (folder / label).mkdir(parents=True)
        noise = np.random.default_rng(len(label)).uniform(-gain, gain, RATE)  # as steady as each other
        soundfile.write(folder / label / "1.wav", noise, RATE)
    pack_corpus(folder, tmp_path / "pack", rate=RATE, jobs=1, quiet=True)
    keys = clip_keys(Pack(tmp_path / "pack"), np.arange(2))
    assert not known_again(keys[:1], keys[1:]).any()


def test_a_copy_of_a_training_clip_in_the_same_pack_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, number in (("a", 1), ("b", 2), ("c", 1)):
        soundfile.write(folder / f"{name}.wav", sound(number), RATE)
    (folder / "clips.csv").write_text("path,labels,split\na.wav,dog,train\nb.wav,rain,test\nc.wav,dog,test\n")
    pack_corpus(folder / "clips.csv", tmp_path / "pack", rate=RATE, jobs=1, quiet=True)
    pack = Pack(tmp_path / "pack")
    training = {"data": pack.fingerprint, "config": {"train_splits": ["train"]}}
    training[KEYS] = training_keys(pack, pack.select(["train"]))
    model = tiny_model.save(tmp_path / "m", training=training).path
    assert heard(model, pack) == (["a", "c"], True)


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({}, "m does not keep which clips it was trained on"),
        ({"data": "of before keys were kept"}, "m does not keep which clips it was trained on"),
        (
            {"data": "x", KEYS: {"clips": 200_000}},
            "m was trained on 200,000 clips, more than",
        ),
        ({"data": "x", "mixed_from": {"data": "y", "splits": {}}}, "m was trained on scenes, mixed from"),
    ],
)
def test_what_cannot_be_told_is_said(
    mine: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str], training: dict[str, Any], reason: str
) -> None:
    model = tiny_model.save(tmp_path / "m", training=training).path
    found = what_was_heard(load_artifact(model), mine, np.arange(CLIPS))
    assert not len(found.clips) and len(found.untold) == 1 and found.untold[0].startswith(reason)
    figures = evaluate(model, mine, draws=0, threads=1, quiet=True)
    assert figures["training_not_told"] == list(found.untold) and figures["clips_in_training"] == 0
    calibrating = ["calibrate", "--out", str(tmp_path / "new"), "--quiet", "--min-positives", "1"]
    for verb, *options in (["evaluate", "--draws", "0"], calibrating):
        with pytest.raises(SystemExit):
            main([verb, str(model), str(mine.path), *options])
        err = capsys.readouterr().err
        assert err.count("figures are too good where it heard these") == 1 and reason in err


def test_a_model_whose_pack_is_known_needs_no_keys(mine: Pack, tmp_path: Path) -> None:
    old = {"data": mine.fingerprint, "config": {"train_splits": ["train"]}}
    model = tiny_model.save(tmp_path / "m", training=old).path
    assert heard(model, mine) == ([str(number) for number in range(CLIPS) if number % 3], True)


def test_scenes_of_another_pack_hide_what_they_are_made_of(mine: Pack, trained: Path) -> None:
    scenes = Pack(mine.path)
    scenes.fingerprint = "of the scenes"
    scenes.manifest["mixed_from"] = {"fingerprint": "elsewhere", "splits": {}}
    found = what_was_heard(load_artifact(trained), scenes, np.arange(2))
    assert found.untold == ("these clips are scenes, mixed from clips of another pack",)
    scenes.manifest["mixed_from"]["fingerprint"] = mine.fingerprint
    assert what_was_heard(load_artifact(trained), scenes, np.arange(2)).untold == ()


def test_models_within_speak_for_themselves(mine: Pack, trained: Path) -> None:
    """Also those that an exported graph, or a network that started from them, only remembers."""
    known = load_artifact(trained).training | {"data": "another pack"}
    frame = SimpleNamespace(name="frame", training={"within": [known]})
    assert len(what_was_heard(frame, mine, np.arange(CLIPS)).clips) == 8
    assert what_was_heard(frame, mine, np.arange(CLIPS)).untold == ()
    part = SimpleNamespace(name="part", training={})
    both = SimpleNamespace(name="both", training=known, within={"embedder": ("", part)})
    found = what_was_heard(both, mine, np.arange(CLIPS))
    assert len(found.clips) == 8 and found.untold == ("part does not keep which clips it was trained on",)


def test_calibration_leaves_out_the_training_clips_of_a_pack_made_again(
    trained: Path, tmp_path: Path
) -> None:
    again = packed(tmp_path / "again", list(range(30)))
    made = calibrate(trained, again, tmp_path / "new", fewest=1, threads=1, quiet=True)
    about = made.metrics["calibration"]
    assert (about["clips"], about["left_out_as_trained_on"], about["training_not_told"]) == (22, 8, [])
    assert made.training == load_artifact(trained).training
    part = packed(tmp_path / "part", [1, 2])
    with pytest.raises(ValueError, match="the model was trained on these clips"):
        calibrate(trained, part, tmp_path / "none", threads=1, quiet=True)


def test_keys_are_small_and_none_are_kept_of_too_many(mine: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = training_keys(mine, np.arange(CLIPS))
    assert kept["clips"] == CLIPS and len(kept["keys"]) == 4 * -(-32 * CLIPS // 3)
    assert set(from_text(kept["keys"])["sound"]) == set(clip_keys(mine, np.arange(CLIPS))["sound"])
    monkeypatch.setattr("auricle.evaluation.heard.MOST", CLIPS - 1)
    assert training_keys(mine, np.arange(CLIPS)) == {"clips": CLIPS}
    json.dumps(kept)
    with pytest.raises(ValueError, match="no keys of clips, but 'damaged'"):
        from_text("damaged")


def test_silence_at_the_end_does_not_make_another_sound(tmp_path: Path) -> None:
    folder = tmp_path / "files" / "dog"
    folder.mkdir(parents=True)
    soundfile.write(folder / "a.wav", sound(1), RATE)
    soundfile.write(folder / "b.wav", np.concatenate([sound(1), np.zeros(500, np.int16)]), RATE)
    pack_corpus(folder.parent, tmp_path / "pack", rate=RATE, jobs=1, quiet=True)
    hashes = contents.sound_hashes(Pack(tmp_path / "pack"), np.arange(2))
    assert hashes[0] == hashes[1]


def test_keys_as_text_are_the_same_whatever_their_order() -> None:
    keys = np.zeros(5, KEY)
    keys["sound"] = [3, 1, 2, 1, 3]
    assert as_text(keys) == as_text(keys[::-1]) and sorted(from_text(as_text(keys))["sound"]) == [1, 2, 3]


def test_recordings_that_share_a_sound_become_one_as_a_graph_has_it() -> None:
    """The oracle spreads names along shared sounds until nothing changes."""
    random = np.random.default_rng(0)
    for _ in range(50):
        recordings = random.integers(0, 8, 12).astype(str)
        sounds = random.integers(0, 14, 12)
        groups = list(range(12))
        for _ in range(12):
            for i in range(12):
                for j in range(12):
                    if recordings[i] == recordings[j] or sounds[i] == sounds[j]:
                        groups[i] = groups[j] = min(groups[i], groups[j])
        found = join_copies(recordings, sounds)
        assert [list(found).index(name) for name in found] == groups
        assert [found[i] for i in groups] == [recordings[i] for i in groups]


@pytest.fixture
def examples_with_copies(tmp_path: Path) -> Path:
    """Two classes of six sounds; three are there once more, one of them in the wrong class."""
    root = tmp_path / "sounds"
    for number in range(12):
        label = LABELS[number % 2]
        (root / label).mkdir(parents=True, exist_ok=True)
        soundfile.write(root / label / f"{number}.wav", sound(number), RATE)
    soundfile.write(root / "dog" / "copy.wav", sound(0), RATE)
    soundfile.write(root / "rain" / "copy.flac", sound(1), RATE)  # the same sound, other bytes
    soundfile.write(root / "rain" / "wrong.wav", sound(2), RATE)
    return root


def test_copies_among_examples_share_a_fold_and_are_told(examples_with_copies: Path, tmp_path: Path) -> None:
    embedder = tiny_model.save(tmp_path / "embedder").path
    told: list[str] = []
    config = OwnClasses(init_from=str(embedder), folds="3")
    model = train_own(examples_with_copies, tmp_path / "run", config, threads=1, quiet=True, tell=told.append)
    said = (
        "3 clips have the same sound as others: copies share a fold; 1 of them has other labels, listen to it"
    )
    assert said in told and said in (tmp_path / "run" / "report.md").read_text()
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["copies"], report["copies_of_other_labels"], report["recordings"]) == (3, 1, 12)
    fold = {row["clip"].split(".")[0]: row["fold"] for row in report["folds"]}
    pairs = (("dog/0", "dog/copy"), ("rain/1", "rain/copy"), ("dog/2", "rain/wrong"))
    assert all(fold[one] == fold[other] for one, other in pairs)
    untold = "embedder does not keep which clips it was trained on"
    assert any(line.startswith(untold) for line in told)
    # The model keeps its own examples: they are known again in a pack of coded files.
    found = what_was_heard(load_artifact(model), Pack(tmp_path / "run" / "pack"), np.arange(15))
    assert len(found.clips) == 15 and load_artifact(model).training[KEYS]["clips"] == 15


def test_splits_that_are_taken_as_they_are_may_hold_copies_and_that_is_told(
    examples_with_copies: Path, tmp_path: Path
) -> None:
    examples = open_examples(examples_with_copies, tmp_path / "pack", rate=RATE, quiet=True)
    counts = count_copies(examples, np.arange(15) // 4)
    assert (counts["copies"], counts["copies_of_other_labels"]) == (3, 1) and counts["copies_apart"] > 0
    said = (
        f"{counts['copies_apart']} lie in another split, where one judges the other; leave out folds=splits"
    )
    assert said in copies_in_words(counts)
    one = {"copies": 1, "copies_of_other_labels": 1, "copies_apart": 0}
    assert copies_in_words(one).endswith("copies share a fold; it has other labels, listen to it")
    assert copies_in_words(NO_COPIES) == ""


def test_a_line_says_what_why_and_what_to_do() -> None:
    assert untold_in_words(()) == ""
    line = untold_in_words(("a does not say", "b does not say"))
    assert line == "a does not say; b does not say: figures are too good where it heard these; take new ones"


@pytest.mark.parametrize("why", [UNPACKED, "auricle-esc50 does not keep which clips it was trained on"])
def test_the_warning_of_what_is_not_told_fits_a_line(why: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_warning(untold_in_words([why]))
    assert len(capsys.readouterr().err) < 140


def test_the_bundled_model_knows_its_clips(shared_data: Path, tmp_path: Path) -> None:
    """Those of fold 1's first clips that it was trained on, by the list of whom they are from."""
    model = load_artifact("default")
    listed = (model.path / "ATTRIBUTION.csv").read_text().splitlines()[1:]
    names = {line.split(",")[0] for line in listed}
    files = sorted((shared_data / "esc50" / "audio").iterdir())[:8]
    rows = "\n".join(["path,labels", *(f"{file},dog" for file in files)])
    (tmp_path / "clips.csv").write_text(rows + "\n")
    pack_corpus(tmp_path / "clips.csv", tmp_path / "pack", rate=16000, jobs=1, quiet=True)
    found = what_was_heard(model, Pack(tmp_path / "pack"), np.arange(len(files)))
    expected = [n for n, file in enumerate(files) if any(file.stem in name for name in names)]
    assert found.clips.tolist() == expected and found.untold == () and 0 < len(expected)
    assert model.changed_parts() == []
